//! The port to whatever runs containers: [`Engine`], what it is told ([`spec`]) and what it tells ([`state`]).
//!
//! In: fully decided specs. Out: what is there now, exits, logs. Nothing outside this module may know
//! which backend is in use; a backend is found only through [`open`].
//! Imports: `base`, `image`. Rules: DESIGN notes in `lib.rs`.

pub mod driver;
pub mod files;
pub mod happening;
pub mod host;
pub mod native;
pub mod sandbox;
pub mod spec;
pub mod state;
pub mod stops;
pub mod subnet;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crate::base::cancel::Cancel;
use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::Signal;
use crate::base::secret::Contents;
use crate::image::digest::Digest;
use crate::image::store::Store;
use files::Files;
use happening::Happenings;
use host::Offers;
use sandbox::Sandbox;
use spec::{ContainerSpec, ExecSpec, Mount, NetworkSpec, Process, VolumeSpec};
use state::{
    DeviceCatalog, Dossier, Exit, Health, ImageUser, Load, Observed, ObservedContainer,
    ObservedNetwork, ObservedVolume, Usage, VolumeUsage,
};

/// Why an engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such container, network or volume.
    #[error("no such {kind}: {name}")]
    NotFound {
        /// `container`, `network`, `volume`.
        kind: &'static str,
        /// Its name or id.
        name: String,
    },
    /// The name is taken by another one.
    #[error("the {kind} name `{name}` is already in use by {holder}")]
    NameInUse {
        /// `container`, `network`, `volume`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Who has it: an id, a project.
        holder: String,
    },
    /// A network or volume still has users.
    #[error("the {kind} `{name}` is in use by {}", users.join(", "))]
    InUse {
        /// `network`, `volume`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Names of the containers that use it.
        users: Vec<String>,
    },
    /// A host port is taken.
    #[error("port {address} is already taken by {holder}")]
    PortTaken {
        /// `0.0.0.0:8080/tcp`.
        address: String,
        /// `nginx (pid 4711)`, `container demo-web-1`, `another process`.
        holder: String,
    },
    /// What lies behind a volume can't be had: a directory, a device, a server.
    #[error("volume {name}: {why}")]
    VolumeUnavailable {
        /// Its name.
        name: String,
        /// Why, and what to do.
        why: String,
    },
    /// The container does not run.
    #[error("container {name} is not running")]
    NotRunning {
        /// Its name.
        name: String,
    },
    /// The container's own command could not be started; `code` is 127 or 126, as a shell says it.
    #[error("{message}")]
    CannotRun {
        /// 127: not found, also its directory; 126: found, but not executable; 128: not even looked for.
        code: i32,
        /// `exec: "foo": executable file not found in $PATH`.
        message: String,
    },
    /// What was asked can't be done by this engine or on this machine.
    #[error("{what}")]
    Unsupported {
        /// The thing, why not, and what to do.
        what: String,
    },
    /// A step of the engine's own work failed.
    #[error("cannot {step}: {cause}")]
    Failed {
        /// `mount /proc in demo-api-1`.
        step: String,
        /// The kernel's or another part's words.
        cause: String,
    },
}

impl EngineError {
    /// A volume whose files are not the engine's own.
    pub fn unsaved(name: &str) -> Self {
        Self::Unsupported {
            what: format!(
                "the files of volume {name} lie elsewhere (driver options): they are not copied; use the tools of that place"
            ),
        }
    }
    /// A failed step with the system's own words.
    pub fn failed(step: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Failed {
            step: step.into(),
            cause: cause.to_string(),
        }
    }
}

/// Result of every engine call.
pub type Result<T> = std::result::Result<T, EngineError>;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The container has ended for good (its restart policy has had its say).
    Exited,
    /// Its probe has passed, or it has none and runs.
    Healthy,
    /// Its probe has passed, or it has none and has run for so long.
    Steady(Duration),
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Waited {
    /// It became what was waited for, or it had no probe and runs.
    Reached,
    /// It ended.
    Exited(Exit),
    /// Its probe says unhealthy.
    Unhealthy(state::Health),
    /// It is gone.
    Gone,
    /// The caller's token was cancelled.
    Cancelled,
}

/// Which log lines to give.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only the last so many lines of what is there.
    pub tail: Option<usize>,
    /// Only lines at or after this time.
    pub since: Option<Timestamp>,
    /// Only lines before this time.
    pub until: Option<Timestamp>,
    /// Go on with new lines until the container ends or is removed. With a container that is
    /// started again later, reading goes on.
    pub follow: bool,
    /// Also what is not kept: the last lines, as one who is attached sees them (`driver: none`).
    pub passing: bool,
}

/// A line (or part of one over 16 KiB) of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// When hoist read it.
    pub time: Timestamp,
    /// Whether it came from standard error.
    pub stderr: bool,
    /// Its bytes, with the line end if it had one.
    pub line: Vec<u8>,
}

/// A stream of log lines. `Ok(None)` is the end: nothing more will come.
pub trait LogStream: Send {
    /// Waits for the next line at most until `timeout`; `Err(TimedOut)` when none came.
    ///
    /// # Errors
    /// [`LogEnd::TimedOut`] when nothing came in time, [`LogEnd::Failed`] when the log can't be read.
    fn next(&mut self, timeout: Duration) -> std::result::Result<Option<LogRecord>, LogEnd>;
    /// What another thread calls to end a wait in [`LogStream::next`] before its time.
    fn waker(&self) -> Option<Waker> {
        None
    }
}

/// Ends a wait for log lines early, also one that has not begun.
pub type Waker = Box<dyn Fn() + Send>;

/// Why [`LogStream::next`] gave no line.
#[derive(Debug, thiserror::Error)]
pub enum LogEnd {
    /// Nothing came in time.
    #[error("no line came in time")]
    TimedOut,
    /// The log can't be read.
    #[error("cannot read the log: {0}")]
    Failed(String),
}

/// The three streams a client connects to an [`Engine::exec`]. With a terminal only `input` and
/// `output` are used and [`ExecSession::master`] is given back instead.
#[derive(Debug)]
pub struct ExecIo {
    /// Standard input.
    pub input: OwnedFd,
    /// Standard output.
    pub output: OwnedFd,
    /// Standard error.
    pub error: OwnedFd,
}

/// A command that runs inside a container.
pub trait ExecSession: Send {
    /// The terminal's master side, if the command has a terminal. The caller copies and resizes.
    fn master(&mut self) -> Option<OwnedFd>;
    /// Waits for its end and gives its exit code (128 plus signal).
    ///
    /// # Errors
    /// [`EngineError`] when the container's supervisor is lost before the end.
    fn wait(&mut self) -> Result<i32>;
    /// As [`ExecSession::wait`], but at most so long; `None` when it runs on.
    ///
    /// # Errors
    /// As [`ExecSession::wait`].
    fn wait_for(&mut self, limit: Duration) -> Result<Option<i32>>;
    /// Sends it a signal.
    ///
    /// # Errors
    /// [`EngineError`] when it can't be delivered.
    fn signal(&mut self, signal: Signal) -> Result<()>;
}

/// A live connection to a container's own streams (`run`, `attach`).
///
/// The descriptor is a stream socket that carries [`sandbox::frame`]s both ways.
#[derive(Debug)]
pub struct AttachSession {
    /// The connection.
    pub socket: OwnedFd,
}

/// Runs containers. All calls may come from several threads at once.
pub trait Engine: Send + Sync {
    /// Takes one picture of a project.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when records can't be read.
    fn observe(&self, project: &ProjectName) -> Result<Observed>;
    /// Names of all projects that have containers, networks or volumes.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    fn projects(&self) -> Result<Vec<ProjectName>>;
    /// One container, by id.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    fn container(&self, id: &ContainerId) -> Result<ObservedContainer>;
    /// A network of any project, by full name.
    ///
    /// # Errors
    /// As [`Engine::observe`]; a missing one is `None`.
    fn network(&self, name: &str) -> Result<Option<ObservedNetwork>>;
    /// Which limits of containers this host can give; looks at these block devices too.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] without cgroups, [`EngineError::Failed`].
    fn offers(&self, devices: &BTreeSet<PathBuf>) -> Result<Offers>;
    /// What a container mounts of the host and of volumes, as it was decided when it was made.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Failed`].
    fn mounts(&self, id: &ContainerId) -> Result<Vec<Mount>>;
    /// What a container runs, as it was decided when it was made.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Failed`].
    fn process(&self, id: &ContainerId) -> Result<Process> {
        let _ = id;
        Ok(Process::default())
    }
    /// A read-only view of all files of a container, without what is mounted into it: a directory that is mounted nowhere.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Failed`].
    fn view(&self, id: &ContainerId) -> Result<OwnedFd> {
        let what = format!("the files of container {id} can't be seen");
        Err(EngineError::Unsupported { what })
    }
    /// Copies what a container has changed in its files into an empty directory, as the upper one of an overlay.
    ///
    /// # Errors
    /// As [`Engine::view`].
    fn changes(&self, id: &ContainerId, into: &Path) -> Result<()> {
        let _ = into;
        self.view(id).map(drop)
    }
    /// A volume of any project, by full name.
    ///
    /// # Errors
    /// As [`Engine::observe`]; a missing one is `None`.
    fn volume(&self, name: &str) -> Result<Option<ObservedVolume>>;
    /// Who of all projects' containers uses which image.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    fn image_users(&self) -> Result<Vec<ImageUser>>;
    /// All volumes, not measured.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    fn volumes(&self) -> Result<Vec<VolumeUsage>> {
        Ok(Vec::new())
    }
    /// What all containers and volumes take of the disk.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    /// Devices that these directories describe (Container Device Interface); later ones win.
    fn devices(&self, dirs: &[PathBuf]) -> DeviceCatalog;

    /// Makes a network; one that is there already with the same name is an error.
    ///
    /// # Errors
    /// [`EngineError::NameInUse`], [`EngineError::Failed`].
    fn create_network(&self, spec: &NetworkSpec) -> Result<()>;
    /// Removes a network nobody uses; a missing one is fine.
    ///
    /// # Errors
    /// [`EngineError::InUse`], [`EngineError::Failed`].
    fn remove_network(&self, name: &str) -> Result<()>;
    /// Makes a volume; one that is there already is left as it is.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn create_volume(&self, spec: &VolumeSpec) -> Result<()>;
    /// Removes a volume nobody uses; a missing one is fine.
    ///
    /// # Errors
    /// [`EngineError::InUse`], [`EngineError::Failed`].
    fn remove_volume(&self, name: &str) -> Result<()>;

    /// Copies a volume's files into an empty directory, as they are: owners, modes, times, attributes, hard links, holes; blocks
    /// are shared where the file system can. Nobody writes meanwhile. Gives the paths of sockets in it, which are left out.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Unsupported`] for a volume whose files lie elsewhere,
    /// [`EngineError::Failed`], also when `cancel` was used.
    fn save_volume(&self, name: &str, to: &Path, cancel: &Cancel) -> Result<Vec<PathBuf>> {
        let _ = (to, cancel);
        Err(EngineError::unsaved(name))
    }
    /// Puts copies that [`Engine::save_volume`] made in the place of what is in volumes: all are made before the first takes its
    /// place, each of which is one step. Nobody uses the volumes meanwhile.
    ///
    /// # Errors
    /// As [`Engine::save_volume`].
    fn restore_volumes(&self, copies: &[(String, PathBuf)], cancel: &Cancel) -> Result<()> {
        let _ = cancel;
        match copies.first() {
            Some((name, _)) => Err(EngineError::unsaved(name)),
            None => Ok(()),
        }
    }

    /// Removes what is left of a project's containers whose records are lost or broken, with their processes; gives
    /// their ids. Every other method fails on such a container.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn remove_damaged(&self, project: &ProjectName) -> Result<Vec<ContainerId>> {
        let _ = project;
        Ok(Vec::new())
    }

    /// Writes a container's record: it exists from then on, but no process does. Anonymous volumes it
    /// names are made; empty volumes are filled from the image.
    ///
    /// # Errors
    /// [`EngineError::NameInUse`], [`EngineError::NotFound`] (a network or volume), [`EngineError::Failed`].
    fn create_container(&self, spec: &ContainerSpec) -> Result<()>;
    /// Names of contents ([`spec::FileContent::Given`]) that a container needs and that are not held for it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Failed`].
    fn lacks(&self, id: &ContainerId) -> Result<Vec<String>> {
        let _ = id;
        Ok(Vec::new())
    }
    /// Holds contents for a container, in memory only, until it is removed or the machine starts anew. The caller has
    /// the project's lock.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn hold(&self, id: &ContainerId, contents: &Contents) -> Result<()> {
        let _ = (id, contents);
        Ok(())
    }
    /// What tells of a content, given by its digest, whether it is the same as before, and tells nothing else to who
    /// has not this engine's key: of a short one all digests could be tried.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn fingerprint(&self, content: Digest) -> Result<Digest> {
        Ok(content)
    }
    /// Starts a container that does not run; one that runs is left alone.
    ///
    /// # Errors
    /// [`EngineError::PortTaken`], [`EngineError::CannotRun`], [`EngineError::Failed`].
    fn start(&self, id: &ContainerId) -> Result<()>;
    /// Stops a container: its stop signal, then `timeout` (the spec's own when `None`), then KILL.
    /// Returns when it has ended; it will not be restarted.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn stop(&self, id: &ContainerId, timeout: Option<Duration>) -> Result<()>;
    /// How its last stop went, where that was by force or late.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    fn slow_stop(&self, id: &ContainerId) -> Result<Option<stops::SlowStop>> {
        let _ = id;
        Ok(None)
    }
    /// Sends a signal to its process; with KILL, returns when it has ended.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`].
    fn kill(&self, id: &ContainerId, signal: Signal) -> Result<()>;
    /// Freezes a running container where it is, or lets it go on.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`]; [`EngineError::Unsupported`] when it is so already, or can't be done here.
    fn pause(&self, id: &ContainerId, frozen: bool) -> Result<()> {
        let _ = (id, frozen);
        Err(EngineError::Unsupported {
            what: "this engine can't pause containers".to_owned(),
        })
    }
    /// Writes down that something happened to a container that only the caller knows of.
    fn note(&self, id: &ContainerId, action: &str, more: &[(&str, String)]) {
        let _ = (id, action, more);
    }
    /// What happens in a project from now on; with `past`, what has happened comes first, as far as it is kept.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn happenings(&self, project: &ProjectName, past: bool) -> Result<Box<dyn Happenings>> {
        let _ = (project, past);
        Err(EngineError::Unsupported {
            what: "this engine keeps no events".to_owned(),
        })
    }
    /// What a running container uses now.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::NotRunning`].
    fn load(&self, id: &ContainerId) -> Result<Load> {
        let _ = id;
        Err(EngineError::Unsupported {
            what: "this engine can't measure containers".to_owned(),
        })
    }
    /// Removes a container that does not run, with its anonymous volumes if `volumes` says so.
    /// `force` kills it first. A missing one is fine.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn remove(&self, id: &ContainerId, force: Force, volumes: AnonymousVolumes) -> Result<()>;
    /// Gives a container another name.
    ///
    /// # Errors
    /// [`EngineError::NameInUse`], [`EngineError::NotFound`].
    fn rename(&self, id: &ContainerId, name: &str) -> Result<()>;
    /// Waits until the container is what `until` says, ends, or `cancel` is used. Its health meanwhile, if it has one, is
    /// told again and again, changed or not.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn wait_telling(
        &self,
        id: &ContainerId,
        until: Until,
        cancel: &Cancel,
        told: &mut dyn FnMut(&Health),
    ) -> Result<Waited>;
    /// As [`Engine::wait_telling`], for who only wants to know the end.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn wait(&self, id: &ContainerId, until: Until, cancel: &Cancel) -> Result<Waited> {
        self.wait_telling(id, until, cancel, &mut |_| {})
    }

    /// Runs a command in a running container.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`], [`EngineError::CannotRun`].
    fn exec(&self, id: &ContainerId, spec: &ExecSpec, io: ExecIo) -> Result<Box<dyn ExecSession>>;
    /// Opens a container's files, whether it runs or not. While one that does not run has its files open, the
    /// caller holds the project's lock, so that nobody starts it. `cancel` ends whatever is under way. The caller
    /// ignores SIGPIPE.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Failed`].
    fn files(&self, id: &ContainerId, cancel: &Cancel) -> Result<Box<dyn Files>>;
    /// Says that files of so many containers will be opened soon and at once, where each millisecond counts. What is
    /// made ready for it is not tied to any container, and goes with the engine.
    fn expect_files(&self, _count: usize) {}
    /// Connects to a container's own streams. Allowed before the start: nothing is lost then.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    fn attach(&self, id: &ContainerId) -> Result<AttachSession>;
    /// Reads its log.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    fn logs(&self, id: &ContainerId, query: &LogQuery) -> Result<Box<dyn LogStream>>;

    /// Writes down all that is known of a container that failed; `failure` is what the user is told.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Failed`].
    fn dossier(&self, id: &ContainerId, failure: &str) -> Result<Dossier>;

    /// The lock a command holds while it changes a project. Waits for another command's end;
    /// `on_wait` is called once if it has to. `None` when `cancel` was used before it had it.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn lock(
        &self,
        project: &ProjectName,
        cancel: &Cancel,
        on_wait: &dyn Fn(&Holder),
    ) -> Result<Option<Box<dyn Send>>>;
}

/// Who holds a project's lock, as far as it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: Option<i32>,
    /// Its command line: `hoist -p demo up`.
    pub command: Option<String>,
}

/// Whether [`Engine::remove`] kills a running container first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// A running one is an error.
    No,
    /// A running one is killed.
    Yes,
}

/// What [`Engine::remove`] does with a container's anonymous volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousVolumes {
    /// They stay.
    Keep,
    /// They go too.
    Remove,
}

/// The two directories everything lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// What must survive a reboot: `/var/lib/hoist`.
    pub data: PathBuf,
    /// What need not: `/run/hoist`.
    pub run: PathBuf,
}

/// Opens the native engine over its two directories, making them when missing.
///
/// # Errors
/// [`EngineError::Failed`] when a directory can't be made.
pub fn open(roots: &Roots, store: Arc<Store>) -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(native::Native::open(roots, store)?))
}

/// Opens the backend without making anything, for commands that only look.
pub fn look(roots: &Roots, store: Arc<Store>) -> Arc<dyn Engine> {
    Arc::new(native::Native::look(roots, store))
}

/// Looks at what this machine offers containers; `device_dirs` are where devices are described. It needs no engine, and
/// works for any user.
pub fn examine(roots: &Roots, device_dirs: &[PathBuf]) -> Vec<host::Row> {
    native::host::examine(roots, device_dirs)
}

/// Opens what runs build steps, over the same directories.
pub fn open_sandbox(roots: &Roots) -> Arc<dyn Sandbox> {
    Arc::new(native::sandbox::NativeSandbox::new(roots.clone()))
}
