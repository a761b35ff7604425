//! What is wanted of an engine: containers, networks and volumes, fully decided.
//!
//! In: nothing. Out: values that serialise, so that a backend can keep them as records.
//! Nothing here knows a backend, a compose file or a clock. Imports: `base`, `image`.

pub mod volume;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::device::DeviceName;
use crate::base::line::LinePattern;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::Signal;
pub use crate::base::term::{
    IdMap, OnUnhealthy, Propagation, Protocol, RestartPace, RestartPolicy,
};
use crate::image::digest::Digest;

pub use super::subnet::{Subnet, SubnetPart};

/// Labels, sorted by key.
pub type Labels = BTreeMap<String, String>;

/// One container, fully decided: nothing is looked up after this but the image's layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique id; names every kernel object of the container.
    pub id: ContainerId,
    /// Name among all containers: `demo-api-1`.
    pub name: String,
    /// The project it belongs to.
    pub project: ProjectName,
    /// `com.docker.compose.*` and the user's own labels.
    pub labels: Labels,
    /// OCI annotations.
    pub annotations: Labels,
    /// The image it starts from.
    pub image: ImageRef,
    /// What runs, and as whom.
    pub process: Process,
    /// How its standard streams are connected.
    pub stdio: Stdio,
    /// Whether hoist's own init reaps and forwards signals as PID 1.
    pub init: bool,
    /// UTS host name.
    pub hostname: String,
    /// UTS domain name.
    pub domainname: Option<String>,
    /// Whether the root file system refuses writes.
    pub read_only: bool,
    /// Mounts in the order of their targets' depth.
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm`; 64 MiB when `None`.
    pub shm_size: Option<u64>,
    /// Namespaces that are not the container's own.
    pub namespaces: Namespaces,
    /// Where it is reached.
    pub network: NetworkMode,
    /// Name resolution.
    pub dns: DnsConfig,
    /// Extra lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, HostAddr)>,
    /// Ports published on the host.
    pub ports: Vec<PortMapping>,
    /// Ports it is said to listen on.
    #[serde(default)]
    pub exposed: Vec<(u16, Protocol)>,
    /// Cgroup limits.
    pub resources: Resources,
    /// Capabilities, filters, masks.
    pub security: Security,
    /// Device nodes.
    pub devices: Vec<Device>,
    /// Devices by name, looked up at each start.
    #[serde(default)]
    pub named_devices: NamedDevices,
    /// Raw device cgroup rules: `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// `name` → value, namespaced sysctls only.
    pub sysctls: BTreeMap<String, String>,
    /// `name` → (soft, hard); `u64::MAX` is unlimited.
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How restarts follow each other.
    #[serde(default)]
    pub restart_pace: RestartPace,
    /// The signal `stop` sends first.
    pub stop_signal: Signal,
    /// How long `stop` waits before it kills; [`FOREVER`] never does.
    pub stop_grace: Duration,
    /// The probe, if any.
    pub healthcheck: Option<Healthcheck>,
    /// The probe that needs nothing in the image, if any.
    #[serde(default)]
    pub ready: Option<Ready>,
    /// What happens when a probe says unhealthy.
    #[serde(default)]
    pub on_unhealthy: OnUnhealthy,
    /// How its output is kept.
    pub log: LogConfig,
    /// Small files put into the container (configs and secrets), read-only.
    pub files: Vec<InjectedFile>,
}

/// The image a container starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// As the user wrote it: `postgres:16`.
    pub name: String,
    /// Digest of the image's config, which is its id.
    pub id: Digest,
    /// Unpacked layers, base first.
    pub layers: Vec<Digest>,
}

/// What runs, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Entry point and command in one; never empty once a container is created.
    pub args: Vec<String>,
    /// `NAME=value`, in order; later entries win.
    pub env: Vec<String>,
    /// Working directory inside the container; `/` when empty. Made when missing.
    pub cwd: String,
    /// `user[:group]`, names or numbers, resolved in the container's own `/etc/passwd`.
    pub user: String,
    /// Extra groups, names or numbers.
    pub groups: Vec<String>,
    /// Whether it runs with every capability and no filter.
    pub privileged: bool,
    /// A terminal instead of three streams.
    pub tty: bool,
}

/// How a container's standard streams are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    /// A pseudo terminal instead of separate streams.
    pub tty: bool,
    /// Standard input stays open; `/dev/null` otherwise.
    pub stdin: bool,
    /// Standard input ends when the first attached client leaves.
    pub stdin_once: bool,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute, on the host.
        path: PathBuf,
        /// Whether a missing path is made as a directory.
        create: bool,
        /// Mount propagation; private when `None`.
        propagation: Option<Propagation>,
        /// Whether mounts below `path` come along.
        recursive: bool,
        /// Whether they stay writable where the mount itself is not.
        #[serde(default)]
        writable_below: bool,
        /// Whose files on the host those of the container's user are.
        #[serde(default)]
        idmap: Option<IdMap>,
    },
    /// A named or anonymous volume.
    Volume {
        /// Full name of the volume.
        name: String,
        /// A directory inside it.
        subpath: Option<String>,
        /// Whether an empty volume is not filled from the image.
        nocopy: bool,
        /// Whether the volume has no name in the compose file and goes with its container.
        anonymous: bool,
        /// Labels of the volume, if it is anonymous.
        #[serde(default)]
        labels: Labels,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; half of memory when `None`.
        size: Option<u64>,
        /// Mode of its root, 0o1777 when `None`.
        mode: Option<u32>,
        /// Further options: `noexec`, `nosuid`, `uid=1000`.
        options: Vec<String>,
    },
    /// The root file system of an image, read-only.
    Image {
        /// The image.
        image: ImageRef,
        /// A directory inside it.
        subpath: Option<String>,
    },
}

/// Namespaces that can be shared with the host or another container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// PID namespace.
    pub pid: Share,
    /// IPC namespace.
    pub ipc: Ipc,
    /// UTS namespace; `Container` is not allowed here.
    pub uts: Share,
    /// Cgroup namespace; private unless `Host`.
    pub cgroup: Share,
}

/// Whose namespace a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Its own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// Another container's.
    Container(ContainerId),
}

/// Whose System V and POSIX queues, semaphores and shared memory a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ipc {
    /// Its own, which no other container joins.
    #[default]
    Own,
    /// Its own, which others may join.
    Shareable,
    /// Its own, without `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// Another container's.
    Container(ContainerId),
}

impl Ipc {
    /// Whether the namespace is made for this container.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own | Self::Shareable | Self::None)
    }
    /// Whether another container may join it.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Own | Self::None)
    }
}

/// Where a container is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// On networks of its own, in the order of its devices.
    Networks(Vec<Endpoint>),
    /// Only a loopback device.
    None,
    /// The host's own network namespace.
    Host,
    /// Another container's network namespace.
    Container(ContainerId),
}

/// A container's place on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Full name of the network: `demo_default`.
    pub network: String,
    /// Names it answers to there: service name, container name, short id, aliases.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// A fixed hardware address, `02:42:…`.
    pub mac: Option<String>,
    /// The device's name inside; `ethN` when `None`.
    pub interface: Option<String>,
    /// The network with the highest value gives the default route, of equals the first by name.
    pub gw_priority: i32,
    /// Extra names for other containers, seen from this one only: `alias` → container name (`links`).
    pub links: Vec<(String, String)>,
    /// Addresses beside those of the network.
    #[serde(default)]
    pub extra: Vec<IpAddr>,
    /// Settings of the device: paths below `/proc/sys/net` with `IFNAME` in its place, and values.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// Whether it may send in the name of addresses that are not its own.
    #[serde(default)]
    pub forwards: bool,
}

/// Name resolution inside a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Resolvers instead of the host's.
    pub servers: Vec<IpAddr>,
    /// Search domains instead of the host's.
    pub search: Vec<String>,
    /// `resolv.conf` options.
    pub options: Vec<String>,
}

/// The address of an extra host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAddr {
    /// A fixed address.
    Ip(IpAddr),
    /// `host-gateway`: the host as the container sees it.
    Gateway,
}

/// A port of a container shown on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    /// Host address; all when `None`.
    pub host_ip: Option<IpAddr>,
    /// First and last host port to try; the first free one is taken. `(0, 0)` is any.
    pub host: (u16, u16),
    /// The container's port.
    pub container: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// Cgroup limits; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Relative weight, 2 to 262144; 1024 is one share.
    pub cpu_shares: Option<u64>,
    /// CFS period in microseconds.
    pub cpu_period: Option<u64>,
    /// CFS quota in microseconds; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// Real-time period in microseconds, cgroup v1 only.
    #[serde(default)]
    pub cpu_rt_period: Option<u64>,
    /// Real-time budget of a period in microseconds, cgroup v1 only.
    #[serde(default)]
    pub cpu_rt_runtime: Option<u64>,
    /// CPUs it may run on: `0-2,4`.
    pub cpuset: Option<String>,
    /// Memory nodes it may use: `0,1`.
    #[serde(default)]
    pub cpuset_mems: Option<String>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory that reclaim leaves alone, in bytes.
    pub memory_reservation: Option<u64>,
    /// Memory plus swap in bytes; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// 0 to 100, cgroup v1 only.
    pub swappiness: Option<u64>,
    /// Never killed for memory, cgroup v1 only.
    pub oom_kill_disable: bool,
    /// Number of tasks; -1 is no limit.
    pub pids: Option<i64>,
    /// Block I/O weight, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Limits of single block devices.
    #[serde(default)]
    pub devices: Vec<DeviceLimit>,
    /// Cgroup to live under instead of hoist's own.
    pub cgroup_parent: Option<String>,
}

/// A limit of one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    /// What is limited.
    pub what: DeviceRate,
    /// Path of the device on the host; its number is looked up at each start.
    pub device: PathBuf,
    /// The share, or bytes or operations a second.
    pub value: u64,
}

/// What a [`DeviceLimit`] limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceRate {
    /// Share of the device's time, 10 to 1000.
    Weight,
    /// Bytes read a second.
    ReadBytes,
    /// Bytes written a second.
    WriteBytes,
    /// Reads a second.
    Reads,
    /// Writes a second.
    Writes,
}

impl DeviceRate {
    /// As Compose spells it in `blkio_config`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight_device",
            Self::ReadBytes => "device_read_bps",
            Self::WriteBytes => "device_write_bps",
            Self::Reads => "device_read_iops",
            Self::Writes => "device_write_iops",
        }
    }
}

/// What a container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Every capability, every device, no filter, no masks.
    pub privileged: bool,
    /// Added to the default set: `NET_ADMIN`, `ALL`.
    pub cap_add: Vec<String>,
    /// Taken from the default set.
    pub cap_drop: Vec<String>,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// System call filter.
    pub seccomp: Seccomp,
    /// AppArmor profile; `None` is the engine's default where AppArmor is on.
    pub apparmor: Option<String>,
    /// Whether `/proc` and `/sys` are neither masked nor read-only.
    pub unmask_system_paths: bool,
    /// Whether its own cgroup can be written to from inside.
    #[serde(default)]
    pub writable_cgroups: bool,
}

/// System call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// The default allow list.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile in Docker's JSON format, its text.
    Profile(String),
}

/// A device node of the host shown in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub source: PathBuf,
    /// Path inside.
    pub target: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// Devices that their makers describe (Container Device Interface).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedDevices {
    /// Their full names, in order, each once.
    pub names: Vec<DeviceName>,
    /// Where the descriptions are; later directories win.
    pub dirs: Vec<PathBuf>,
}

/// A grace period that does not end.
pub const FOREVER: Duration = Duration::MAX;

/// A probe that runs inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// What runs: `CMD-SHELL` is resolved to the image's shell already.
    pub command: Vec<String>,
    /// When it runs, and what its failures mean.
    #[serde(flatten)]
    pub timing: Timing,
}

/// When a probe runs, and what its failures mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Time between the end of a probe and the next.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
    /// Failures do not count for so long after the start.
    pub start_period: Duration,
    /// Time between probes during the start period.
    pub start_interval: Duration,
}

/// A probe that hoist makes itself, in the container's network or in its output; all parts that are there must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// An HTTP server answers well.
    pub http: Option<HttpProbe>,
    /// A TCP port takes connections.
    pub tcp: Option<u16>,
    /// A line was written since the start.
    pub log: Option<LinePattern>,
    /// When it is looked, and what failures mean.
    pub timing: Timing,
}

/// A request to a container's own HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Its port.
    pub port: u16,
    /// Path and query, from the first `/`.
    pub path: String,
    /// The one good status; 200 to 399 when `None`.
    pub status: Option<u16>,
    /// Further header lines: name and value.
    pub headers: Vec<(String, String)>,
}

/// How a container's output is kept, and where else it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Whether it can be read later.
    pub keep: bool,
    /// A log file is rotated at this size in bytes; never when `None`.
    pub max_size: Option<u64>,
    /// So many files are kept, the current one included.
    pub max_files: u32,
    /// Whether files that are full are compressed.
    #[serde(default)]
    pub compress: bool,
    /// Whether lines are dropped rather than the container made to wait (`mode: non-blocking`).
    #[serde(default)]
    pub impatient: bool,
    /// What stands beside each line: labels, variables, the tag.
    #[serde(default)]
    pub attributes: Labels,
    /// Where lines are sent besides.
    #[serde(default)]
    pub target: Option<LogTarget>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            keep: true,
            max_size: None,
            max_files: 1,
            compress: false,
            impatient: false,
            attributes: Labels::new(),
            target: None,
        }
    }
}

/// Where log lines are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    /// The journal of this host.
    Journal {
        /// `SYSLOG_IDENTIFIER` and `CONTAINER_TAG`.
        tag: String,
    },
    /// A syslog server.
    Syslog {
        /// Where it is.
        address: SyslogAddress,
        /// Facility, 0 to 23.
        facility: u8,
        /// How a line is put.
        format: SyslogFormat,
        /// The program's name in each line.
        tag: String,
    },
}

/// Where a syslog server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogAddress {
    /// This host's own: `/dev/log` and its older names.
    Local,
    /// Host and port.
    Udp(String, u16),
    /// Host and port.
    Tcp(String, u16),
    /// A stream socket.
    Unix(PathBuf),
    /// A datagram socket.
    Unixgram(PathBuf),
}

/// How a syslog line is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// As programs do it on the host itself: no host name.
    Unix,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

/// A small file put into a container: a config or a secret. It never lies in a layer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedFile {
    /// Absolute path inside.
    pub target: String,
    /// Where the content is.
    pub content: FileContent,
    /// Owner; the process's user when `None`.
    pub uid: Option<u32>,
    /// Group; the process's group when `None`.
    pub gid: Option<u32>,
    /// Permission bits; the source file's, or 0o444, when `None`.
    pub mode: Option<u32>,
}

impl std::fmt::Debug for InjectedFile {
    /// Leaves the content out: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InjectedFile")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Longest content of an [`InjectedFile`] that is copied into memory, in bytes; a longer file of the host is shown as it
/// is. Memory is charged to the host.
pub const LARGEST_FILE: u64 = 8 << 20;

/// Where the content of an [`InjectedFile`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileContent {
    /// A file of the host, read at each start, or a directory of it, shown as it is.
    Host(PathBuf),
    /// What [`crate::engine::Engine::hold`] was given under this name: `secrets.db`. It is in no record.
    Given(String),
    /// The text itself: what records of before have.
    Inline(String),
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Full name: `demo_default`.
    pub name: String,
    /// The project that made it, if any.
    pub project: Option<ProjectName>,
    /// `bridge`.
    pub driver: String,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Fixed subnets: CIDR, gateway, range to hand out. Empty takes one from the pool.
    pub subnets: Vec<Subnet>,
    /// Whether nothing outside is reachable.
    pub internal: bool,
    /// Whether it has IPv4.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Labels.
    pub labels: Labels,
}

/// What a record means that does not say.
fn yes() -> bool {
    true
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Full name: `demo_data`, or 64 hex digits when it is anonymous.
    pub name: String,
    /// The project that made it, if any.
    pub project: Option<ProjectName>,
    /// `local`.
    pub driver: String,
    /// Driver options: `type`, `o`, `device`.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: Labels,
}

/// A command to run inside a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Command, environment additions, directory and user; empty ones are the container's own.
    pub process: Process,
    /// Whether the command's standard input is connected.
    pub stdin: bool,
}
