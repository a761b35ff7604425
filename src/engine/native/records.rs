//! What the native engine knows of its containers, on disk.
//!
//! A record is complete before its process exists; every kernel object's name follows from its id. State is
//! written by one process at a time: the creating command, then the supervisor that holds the container's lock.
//! Imports: `base`, `engine`, `sys`.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layout::{ContainerDir, Layout};
use super::moment::{Moment, boot_id};
use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::spec::{ContainerSpec, Ipc, MountSource, NetworkMode, Share};
use crate::engine::state::{Attachment, Exit, Health, ObservedContainer, PublishedPort, State};
use crate::engine::stops::SlowStop;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{Durability, write_atomic};
use crate::sys::lock::Lock;
use crate::sys::pidfd::Ended;

/// Version of every file below; a newer one is refused.
const VERSION: u32 = 1;

/// A file with its version.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// A container as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// When it was created.
    pub(super) created: Timestamp,
    /// What was asked for. [`ContainerSpec::name`] is the first name; [`Standing::name`] may be newer.
    pub(super) spec: ContainerSpec,
}

/// Where a container stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Its name now.
    pub(super) name: String,
    /// What it does.
    pub(super) state: State,
    /// Its process, while it is up.
    pub(super) process: Option<InitProcess>,
    /// So many times its restart policy has started it.
    pub(super) restarts: u32,
    /// Whether the user stopped it, so that it stays down.
    pub(super) stopped: bool,
    /// What counts towards the next restart.
    #[serde(default)]
    pub(super) attempts: Attempts,
    /// When it is started again, while it is [`State::Restarting`].
    #[serde(default)]
    pub(super) again: Option<Moment>,
    /// A stop that is under way.
    #[serde(default)]
    pub(super) stopping: Option<PendingStop>,
    /// The last run, where it failed.
    #[serde(default)]
    pub(super) last: Option<LastRun>,
    /// The last stop, where it was by force or late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) slow: Option<SlowStop>,
}

impl Standing {
    /// Of a container that was never started.
    pub(super) fn created(spec: &ContainerSpec) -> Self {
        Self {
            name: spec.name.clone(),
            state: State::Created,
            process: None,
            restarts: 0,
            stopped: false,
            attempts: Attempts::default(),
            again: None,
            stopping: None,
            last: None,
            slow: None,
        }
    }
}

/// Restarts so far, as far as they decide about the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attempts {
    /// The last wait; zero before the first.
    pub(super) wait: Duration,
    /// Those that count towards the limit.
    pub(super) made: u32,
}

/// A stop that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingStop {
    /// When what still runs is killed; `None` is never.
    pub(super) kill_at: Option<Moment>,
    /// Whether it is started again afterwards, as it was unhealthy.
    pub(super) renew: bool,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastRun {
    /// When it began.
    pub(super) since: Timestamp,
    /// How long it lasted.
    pub(super) ran: Duration,
    /// Most memory at one time, in bytes.
    pub(super) memory_peak: Option<u64>,
    /// Most tasks at one time.
    pub(super) pids_peak: Option<u64>,
    /// Processor time.
    pub(super) cpu: Option<Duration>,
}

/// A process that can't be taken for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InitProcess {
    /// Process id in the host's namespace.
    pub(super) pid: i32,
    /// Start time in clock ticks since boot.
    pub(super) start: u64,
    /// The boot it belongs to.
    pub(super) boot: String,
}

/// What only holds while the container is up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Live {
    /// Addresses by network.
    pub(super) networks: Vec<Attachment>,
    /// Ports on the host.
    pub(super) ports: Vec<PublishedPort>,
}

/// Writes a value with the version around it.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn write<T: Serialize>(path: &Path, value: &T, how: Durability) -> Result<()> {
    let text = serde_json::to_vec(&Versioned {
        version: VERSION,
        content: value,
    })
    .map_err(|error| EngineError::failed(format!("write {}", path.display()), error))?;
    write_atomic(path, &text, 0o600, how)
        .map_err(|error| EngineError::failed("write the container's state", error))
}

/// Reads a value; a missing file is `None`.
///
/// # Errors
/// [`EngineError::Failed`] when it is broken or of a newer version.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let failed = |why: String| EngineError::failed(format!("read {}", path.display()), why);
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    if let Some(version) = newer(&bytes) {
        return Err(failed(format!(
            "it was written by a newer hoist (format {version}, known is {VERSION}); use that one"
        )));
    }
    let found: Versioned<T> = serde_json::from_slice(&bytes).map_err(|error| {
        failed(format!(
            "it is broken ({error}); put a good copy in its place, or let `hoist down` take away what it belongs to"
        ))
    })?;
    Ok(Some(found.content))
}

/// The version of a file that a newer hoist has written, of which only this much is known.
fn newer(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes).ok()?;
    (head.version > VERSION).then_some(head.version)
}

impl InitProcess {
    /// A running process by its id; `None` when it is gone.
    pub(super) fn of(pid: i32) -> Option<Self> {
        Some(Self {
            pid,
            start: crate::sys::process::start_time(pid).ok()?,
            boot: boot_id(),
        })
    }
    /// Whether exactly this process still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.is_known() && !crate::sys::pidfd::open(self.pid).is_ok_and(|pidfd| has_ended(&pidfd))
    }
    /// Its exit code when it has ended and the system still knows it.
    pub(super) fn code(&self) -> Option<i32> {
        let status = crate::sys::process::status_of_zombie(self.pid).filter(|_| self.is_known())?;
        Some(Ended::from_wait_status(status).code())
    }
    /// How long ago it began, on the clock that nobody can set.
    pub(super) fn age(&self) -> Duration {
        super::moment::age(self.start)
    }
    fn is_known(&self) -> bool {
        crate::sys::process::start_time(self.pid).is_ok_and(|start| start == self.start)
            && self.boot == boot_id()
    }
}

fn has_ended(pidfd: &std::os::fd::OwnedFd) -> bool {
    crate::sys::pidfd::has_ended(pidfd, Some(Duration::ZERO)).unwrap_or(false)
}

/// A container as read from disk.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its directories.
    pub(super) dir: ContainerDir,
    /// What was asked for.
    pub(super) record: Record,
    /// Where it stands.
    pub(super) standing: Standing,
    /// Whether a supervisor lives.
    pub(super) supervised: bool,
}

/// Containers whose namespaces a container joins.
fn joins(spec: &ContainerSpec) -> Vec<ContainerId> {
    let network = match &spec.network {
        NetworkMode::Container(id) => Some(id),
        _ => None,
    };
    let pid = match &spec.namespaces.pid {
        Share::Container(id) => Some(id),
        _ => None,
    };
    let ipc = match &spec.namespaces.ipc {
        Ipc::Container(id) => Some(id),
        _ => None,
    };
    [network, pid, ipc].into_iter().flatten().cloned().collect()
}

impl Found {
    /// Reads one container; `None` when it has no record (never finished, or gone).
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub(super) fn read(dir: ContainerDir) -> Result<Option<Self>> {
        let Some(record) = read::<Record>(&dir.record())? else {
            return Ok(None);
        };
        let standing = read(&dir.state())?.unwrap_or_else(|| Standing::created(&record.spec));
        let mut found = Self {
            supervised: is_supervised(&dir)?,
            dir,
            record,
            standing,
        };
        if !found.supervised {
            // The supervisor may have written its last word between the two looks.
            if let Some(standing) = read::<Standing>(&found.dir.state())? {
                found.standing = standing;
            }
        }
        Ok(Some(found))
    }
    /// Whether its process runs with nobody looking after it.
    pub(super) fn is_orphaned(&self) -> bool {
        !self.supervised
            && matches!(
                self.standing.state,
                State::Running { .. } | State::Paused { .. } | State::Restarting { .. }
            )
            && self
                .standing
                .process
                .as_ref()
                .is_none_or(|init| init.boot == boot_id())
            // A wait of before the reboot is over for good: the next command decides.
            && self
                .standing
                .again
                .as_ref()
                .is_none_or(|again| again.remaining().is_some())
    }
    /// What it does, seen from outside: a process that ended unseen has an unknown exit code.
    pub(super) fn state(&self) -> State {
        let alive = || {
            self.standing
                .process
                .as_ref()
                .is_some_and(InitProcess::is_alive)
        };
        match self.standing.state {
            State::Running { since } | State::Paused { since } if !self.supervised && !alive() => {
                State::Exited {
                    exit: Exit {
                        code: None,
                        oom: false,
                        at: since,
                    },
                }
            }
            State::Restarting { exit } if !self.supervised => State::Exited { exit },
            state => state,
        }
    }
    /// The picture `observe` gives.
    pub(super) fn observed(&self) -> ObservedContainer {
        let spec = &self.record.spec;
        let state = self.state();
        let live = match self.supervised || state.is_up() {
            true => read::<Live>(&self.dir.live())
                .ok()
                .flatten()
                .unwrap_or_default(),
            false => Live::default(),
        };
        let health = match state.is_up() {
            true => read::<Health>(&self.dir.health()).ok().flatten(),
            false => None,
        };
        let volumes = spec.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume {
                name, anonymous, ..
            } => Some((mount, name.clone(), *anonymous)),
            _ => None,
        });
        let shown = |mount: &crate::engine::spec::Mount| match &mount.source {
            MountSource::Bind { path, .. } => Some(path.display().to_string()),
            MountSource::Volume { name, .. } => Some(name.clone()),
            _ => None,
        };
        let exposed = match &spec.network {
            NetworkMode::Networks(places) if !places.is_empty() && state.is_up() => {
                spec.exposed.clone()
            }
            _ => Vec::new(),
        };
        ObservedContainer {
            id: spec.id.clone(),
            name: self.standing.name.clone(),
            project: spec.project.clone(),
            labels: spec.labels.clone(),
            image: spec.image.name.clone(),
            image_id: spec.image.id,
            command: spec.process.args.clone(),
            created: self.record.created,
            state,
            health,
            joins: joins(spec),
            networks: live.networks,
            ports: live.ports,
            exposed,
            volumes: volumes
                .clone()
                .map(|(_, name, anonymous)| (name, anonymous))
                .collect(),
            anonymous: volumes
                .filter(|(_, _, anonymous)| *anonymous)
                .map(|(mount, name, _)| (mount.target.clone(), name))
                .collect(),
            mounts: spec.mounts.iter().filter_map(shown).collect(),
            tty: spec.stdio.tty,
            restarts: self.standing.restarts,
            pid: self
                .standing
                .process
                .as_ref()
                .filter(|_| state.is_up())
                .map(|init| init.pid),
        }
    }
}

/// Whether a container can't be used any more: its record is lost or broken. One of a newer version is neither.
pub(super) fn is_damaged(dir: &ContainerDir) -> bool {
    let lost = is_broken::<Record>(&dir.record()) && dir.data.exists();
    lost || dir.state().exists() && is_broken::<Standing>(&dir.state())
}

/// Whether a file that [`write`] has written is lost, or can't be read and is of no newer version.
pub(super) fn is_broken<T: DeserializeOwned>(path: &Path) -> bool {
    match read::<T>(path) {
        Ok(found) => found.is_none(),
        Err(_) => std::fs::read(path).is_ok_and(|bytes| newer(&bytes).is_none()),
    }
}

/// Whether a live supervisor holds the container's lock.
///
/// # Errors
/// [`EngineError::Failed`]: a container must not get a second supervisor because a look at the first one failed.
fn is_supervised(dir: &ContainerDir) -> Result<bool> {
    // Its file is only looked for, never made: the directory may be on its way out.
    let lock = dir.lock();
    Lock::is_held(&lock)
        .map_err(|error| EngineError::failed(format!("look at {}", lock.display()), error))
}

/// Ids of a project's containers.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn ids(layout: &Layout, project: &ProjectName) -> Result<Vec<ContainerId>> {
    entries(&layout.containers(project)).map(|names| {
        names
            .into_iter()
            .filter(|n| !n.starts_with('.'))
            .map(ContainerId::new)
            .collect()
    })
}

/// Names of the entries of a directory, sorted; a missing directory has none.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn entries(dir: &Path) -> Result<Vec<String>> {
    let failed = |error: io::Error| EngineError::failed(format!("read {}", dir.display()), error);
    let listing = match std::fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in listing {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Finds a container of any project.
///
/// # Errors
/// [`EngineError::NotFound`].
pub(super) fn locate(layout: &Layout, id: &ContainerId) -> Result<(ProjectName, ContainerDir)> {
    for name in entries(&layout.projects())? {
        let Ok(project) = ProjectName::new(&name) else {
            continue;
        };
        let dir = layout.container(&project, id);
        if dir.record().exists() {
            return Ok((project, dir));
        }
    }
    Err(EngineError::NotFound {
        kind: "container",
        name: id.short().to_owned(),
    })
}

/// Takes a container name for an id, atomically: a symbolic link is made with its text or not at all.
///
/// # Errors
/// [`EngineError::NameInUse`] with the holder.
pub(super) fn reserve_name(
    layout: &Layout,
    name: &str,
    project: &ProjectName,
    id: &ContainerId,
) -> Result<()> {
    let path = layout.name(name);
    let failed = |error: io::Error| {
        EngineError::failed(format!("take the name {name} in {}", path.display()), error)
    };
    loop {
        match std::os::unix::fs::symlink(format!("{project}/{id}"), &path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let has = holder(&path);
        if let Some((owner, other)) = &has {
            if (owner, other) == (project, id) {
                return Ok(());
            }
            // Its container was there before the name was: gone without it, it was removed by a killed command.
            if layout.container(owner, other).data.exists() {
                let holder = format!("a container of project {owner}");
                return Err(EngineError::NameInUse {
                    kind: "container",
                    name: name.into(),
                    holder,
                });
            }
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
}

/// Who has the name that a file of `<data>/names` stands for; before names were links, the file held the text.
pub(super) fn holder(path: &Path) -> Option<(ProjectName, ContainerId)> {
    let text = match std::fs::read_link(path) {
        Ok(target) => target.to_str()?.to_owned(),
        Err(_) => std::fs::read_to_string(path).ok()?,
    };
    let (project, id) = text.split_once('/')?;
    let plain = !id.is_empty() && !id.starts_with('.') && !id.contains('/');
    let project = ProjectName::new(project).ok().filter(|_| plain)?;
    Some((project, ContainerId::new(id)))
}

/// Gives a name back if the container has it.
pub(super) fn release_name(layout: &Layout, name: &str, project: &ProjectName, id: &ContainerId) {
    let path = layout.name(name);
    if holder(&path).is_some_and(|(owner, held)| (&owner, &held) == (project, id)) {
        let _ = std::fs::remove_file(path);
    }
}
