//! What is found in an engine: containers, networks and volumes as they are now.
//!
//! Imports: `base`, `image`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{Labels, Protocol};
use crate::base::clock::Timestamp;
use crate::base::device::DeviceName;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::{Measure, Signal};
use crate::image::digest::Digest;

/// Everything of one project, taken at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Containers with the project's label, by name; one-off ones too.
    pub containers: Vec<ObservedContainer>,
    /// Networks with the project's label, by name.
    pub networks: Vec<ObservedNetwork>,
    /// Volumes with the project's label, by name.
    pub volumes: Vec<ObservedVolume>,
    /// Networks of the project whose records are lost or broken: nothing is known of them but their names.
    pub broken_networks: Vec<String>,
    /// Volumes of it of which the same is true.
    pub broken_volumes: Vec<String>,
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedContainer {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: ProjectName,
    /// Its labels.
    pub labels: Labels,
    /// The image's name as the spec had it.
    pub image: String,
    /// The image's id.
    pub image_id: Digest,
    /// Entry point and command.
    pub command: Vec<String>,
    /// When it was created.
    pub created: Timestamp,
    /// What it does now.
    pub state: State,
    /// Health, if it has a probe.
    pub health: Option<Health>,
    /// Containers whose namespaces it was made to join.
    pub joins: Vec<ContainerId>,
    /// Networks and addresses it has (or will have again).
    pub networks: Vec<Attachment>,
    /// Ports published on the host now; empty unless it runs.
    pub ports: Vec<PublishedPort>,
    /// Ports it is said to listen on; empty unless it runs on networks of its own.
    pub exposed: Vec<(u16, Protocol)>,
    /// Full names of the volumes it mounts; `true` for anonymous ones.
    pub volumes: Vec<(String, bool)>,
    /// Anonymous volumes by target, to hand on when it is recreated.
    pub anonymous: Vec<(String, String)>,
    /// Targets of its bind and volume mounts, as `ps` shows them.
    pub mounts: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// So many times its restart policy has started it again.
    pub restarts: u32,
    /// Its init's process id on the host, while it runs.
    pub pid: Option<i32>,
}

/// What a container does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Its process runs but is frozen.
    Paused {
        /// Since when it runs.
        since: Timestamp,
    },
    /// It ended and its restart policy is waiting to start it again.
    Restarting {
        /// How it ended.
        exit: Exit,
    },
    /// It ended.
    Exited {
        /// How it ended.
        exit: Exit,
    },
    /// It is being removed, or a removal was cut short.
    Removing,
}

impl State {
    /// `created`, `running`, `paused`, `restarting`, `exited`, `removing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited { .. } => "exited",
            Self::Removing => "removing",
        }
    }
    /// Whether a process of it exists.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
    }
    /// How it ended, if it has.
    pub fn exit(self) -> Option<Exit> {
        match self {
            Self::Exited { exit } | Self::Restarting { exit } => Some(exit),
            _ => None,
        }
    }
}

/// How a container's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, or 128 plus the signal; `None` where nothing can tell it any more.
    pub code: Option<i32>,
    /// Whether the kernel killed it for memory.
    pub oom: bool,
    /// When.
    pub at: Timestamp,
}

impl Exit {
    /// The code to show and to act on: an unknown one is 255, never 0.
    pub fn code(self) -> i32 {
        self.code.unwrap_or(255)
    }
    /// The signal that a code above 128 stands for.
    pub fn signal(self) -> Option<Signal> {
        let number = self.code?.checked_sub(128)?;
        (1..=64).contains(&number).then_some(Signal(number))
    }
}

/// A container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Where it stands.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// So many failures in a row make it unhealthy; 0 where that is not known.
    #[serde(default)]
    pub retries: u32,
    /// The last five probes, oldest first.
    pub log: Vec<Probe>,
}

impl Health {
    /// `probe 3 of 10: connection refused`: what the last probe missed; `None` when it passed, or there was none.
    pub fn shortfall(&self) -> Option<String> {
        let probe = self.log.last().filter(|probe| probe.code != 0)?;
        let line = probe.output.lines().map(str::trim).find(|l| !l.is_empty());
        let line: Option<String> = line.map(|l| l.chars().filter(|c| !c.is_control()).collect());
        let why = line.unwrap_or_else(|| format!("exit code {}", probe.code));
        Some(match (self.failing_streak, self.retries) {
            (0, _) => format!("a probe in the start period: {why}"),
            (streak, 0) => format!("probe {streak}: {why}"),
            (streak, retries) if streak > retries => format!("{streak} probes in a row: {why}"),
            (streak, retries) => format!("probe {streak} of {retries}: {why}"),
        })
    }
}

/// Where a container's health stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No verdict yet.
    Starting,
    /// The last probe passed.
    Healthy,
    /// Too many probes failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// `starting`, `healthy`, `unhealthy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One run of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its exit code; -1 when it took too long or could not be started.
    pub code: i32,
    /// The first 4 KiB of what it printed.
    pub output: String,
}

/// What a container that failed has used, and where everything about it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dossier {
    /// The file.
    pub path: PathBuf,
    /// How long it ran.
    pub ran: Option<Duration>,
    /// Most memory at one time, in bytes.
    pub memory_peak: Option<u64>,
    /// What it might have used.
    pub memory_limit: Option<u64>,
    /// Most tasks at one time.
    pub pids_peak: Option<u64>,
    /// What it might have had; -1 is no limit.
    pub pids_limit: Option<i64>,
    /// Processor time.
    pub cpu: Option<Duration>,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Full name of the network.
    pub network: String,
    /// Addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Names it answers to.
    pub aliases: Vec<String>,
}

/// A port published on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Host address.
    pub host_ip: IpAddr,
    /// Host port.
    pub host: u16,
    /// The container's port.
    pub container: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// A network as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedNetwork {
    /// Full name.
    pub name: String,
    /// The project that made it.
    pub project: Option<ProjectName>,
    /// Its labels.
    pub labels: Labels,
    /// Driver.
    pub driver: String,
    /// Subnets in CIDR form.
    pub subnets: Vec<String>,
    /// Containers that use it.
    pub users: Vec<ContainerId>,
}

/// A volume as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVolume {
    /// Full name.
    pub name: String,
    /// The project that made it.
    pub project: Option<ProjectName>,
    /// Its labels.
    pub labels: Labels,
    /// Driver.
    pub driver: String,
    /// Containers that mount it.
    pub users: Vec<ContainerId>,
}

/// A container that an image must stay for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Whether a process of it exists.
    pub running: bool,
    /// The image it starts from, or mounts.
    pub image: Digest,
    /// The layers it needs to start.
    pub layers: Vec<Digest>,
}

/// What a running container uses: counters since its start, and what it has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// When it was measured, on a clock that nobody sets.
    pub at: Duration,
    /// Processor time of all its processes.
    pub cpu: Duration,
    /// Bytes of memory, without files that could be forgotten at once.
    pub memory: u64,
    /// What it may have; `None` without a limit.
    pub memory_limit: Option<u64>,
    /// Bytes that came over its links.
    pub received: u64,
    /// Bytes that it sent over its links.
    pub sent: u64,
    /// Bytes that it read from disks.
    pub read: u64,
    /// Bytes that it wrote to disks.
    pub written: u64,
    /// Tasks.
    pub pids: u64,
}

/// What containers and volumes take of the disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// All containers.
    pub containers: Vec<ContainerUsage>,
    /// All volumes.
    pub volumes: Vec<VolumeUsage>,
}

/// What a container takes of the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerUsage {
    /// The container.
    pub container: ObservedContainer,
    /// What it wrote into its own file system.
    pub written: Measure,
    /// Its log.
    pub log: Measure,
}

/// What a volume takes of the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: ObservedVolume,
    /// Where its files are.
    pub place: PathBuf,
    /// Whether it has no name of its own: it was made for one container.
    pub anonymous: bool,
    /// Its files; `None` where they are not on this disk.
    pub size: Option<Measure>,
}

/// Devices that containers can ask for by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceCatalog {
    /// Each by its full name, and why it can't be had.
    pub devices: BTreeMap<DeviceName, Option<String>>,
    /// Where their descriptions were looked for.
    pub dirs: Vec<PathBuf>,
    /// Descriptions that can't be used, and why.
    pub faults: Vec<String>,
    /// Nodes of NVIDIA cards that this machine has.
    pub nvidia: Vec<PathBuf>,
}
