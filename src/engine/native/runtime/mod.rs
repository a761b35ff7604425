//! The birth of a container's first process, and of further ones inside it.
//!
//! In: a decided [`ContainerSpec`], directories, descriptors, a cgroup. Out: a running process, or the reason
//! why not, with the step's name. Never: runs beside other threads (the child of a fork allocates), decides a
//! policy, touches the host's mount table, leaves anything behind when it fails.
//! Imports: `engine`, `cgroup`, `sys`. Rules: DESIGN "Container birth"; the defaults as Docker, named at each.
//!
//! Order: clone with new namespaces → cgroup → namespaces of others → root and mounts → pivot → host name,
//! kernel parameters, limits → terminal, streams, directory → user, capabilities, label → filter → execution.

mod apparmor;
mod child;
mod dev;
mod exec;
pub mod hooks;
mod identity;
mod init;
mod join;
mod limits;
mod memory;
pub(super) mod message;
mod mounts;
mod profile;
mod rootfs;
mod seccomp;
mod terminal;
#[cfg(test)]
mod tests;
pub mod user;
mod visit;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::cdi::{Edits, Moment};
use super::cgroup::Cgroup;
use super::volumes::Place;
use crate::engine::spec::{ContainerSpec, Propagation, Share};
use crate::engine::{EngineError, Result};
use crate::sys::clone::{Plan, Side, clone};
use crate::sys::fs::Durability;
use crate::sys::{ns, pidfd};
pub use apparmor::AppArmor;
pub use dev::device_rules;
use identity::Identity;
pub use join::{JoinRequest, join, shared_memory};
use message::{Message, Wire, step};
pub use rootfs::{MARK, MOUNTS};
pub use visit::visit;

/// Everything that a container is born from.
#[derive(Debug)]
pub struct Birth<'a> {
    /// What was decided. Its `mounts`, `files` and `network` are not read: they come resolved, below.
    pub spec: &'a ContainerSpec,
    /// The root file system.
    pub rootfs: RootfsSpec,
    /// Mounts, those nearer to the root first.
    pub mounts: Vec<BirthMount>,
    /// Its network namespace; the caller's when `None`.
    pub netns: Option<BorrowedFd<'a>>,
    /// Namespaces of other containers.
    pub join: JoinedNamespaces<'a>,
    /// Its cgroup, made and limited.
    pub cgroup: &'a Cgroup,
    /// Its streams.
    pub stdio: BirthStdio<'a>,
    /// Whether PID 1 is ours: reaps, and passes signals on.
    pub init: bool,
    /// What its devices bring along.
    pub brought: Option<Brought<'a>>,
}

/// What devices bring along that are named by their full names; their mounts are among those of the birth.
#[derive(Debug, Clone, Copy)]
pub struct Brought<'a> {
    /// The edits.
    pub edits: &'a Edits,
    /// The directory with `config.json` that hooks among them are told of.
    pub bundle: &'a Path,
}

impl Birth<'_> {
    fn edits(&self) -> Option<&Edits> {
        self.brought.map(|brought| brought.edits)
    }
    fn has_hooks(&self, moments: &[Moment]) -> bool {
        let mut hooks = self.edits().into_iter().flat_map(|edits| &edits.hooks);
        hooks.any(|hook| moments.contains(&hook.moment))
    }
    /// Runs the hooks of some moments; `pid` is the container's process.
    fn run_hooks(&self, moments: &[Moment], pid: i32) -> Result<()> {
        let Some(Brought { edits, bundle }) = self.brought else {
            return Ok(());
        };
        let told = hooks::Told {
            spec: self.spec,
            bundle,
            pid,
        };
        hooks::run(&edits.hooks, moments, &told)
    }
}

/// When hooks run that want the host's namespaces, and the container's in the making.
const CREATE_RUNTIME: [Moment; 2] = [Moment::Prestart, Moment::CreateRuntime];

/// The directories of a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsSpec {
    /// Unpacked layers, base first.
    pub lower: Vec<PathBuf>,
    /// Takes the changes.
    pub upper: PathBuf,
    /// Overlay's own, on the same file system as `upper`.
    pub work: PathBuf,
    /// Whether the changes are to survive a power cut.
    pub durability: Durability,
}

/// One mount, ready to be made.
#[derive(Debug, Clone)]
pub struct BirthMount {
    /// Absolute path inside; made when missing.
    pub target: String,
    /// What is mounted.
    pub source: BirthSource,
    /// Whether writes are refused.
    pub read_only: ReadOnly,
}

/// How much of a mount refuses writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnly {
    /// Nothing.
    No,
    /// The mount itself, but not those below.
    Top,
    /// All of it.
    Whole,
}

/// What a [`BirthMount`] shows.
#[derive(Clone)]
pub enum BirthSource {
    /// A path of the host that we name ourselves.
    Path {
        /// Absolute.
        path: PathBuf,
        /// Recursively private when `None`.
        propagation: Option<Propagation>,
        /// Whether mounts below come along.
        recursive: bool,
    },
    /// A path of the host as a device's description wants it.
    Described {
        /// Absolute.
        path: PathBuf,
        /// Recursively private when `None`.
        propagation: Option<Propagation>,
        /// Whether mounts below come along.
        recursive: bool,
        /// Attributes of `sys::mount::attr`.
        attrs: u64,
    },
    /// A path inside a directory that others may have filled; the lookup can't leave it.
    Beneath {
        /// The directory.
        root: PathBuf,
        /// The path inside.
        path: PathBuf,
    },
    /// What a container sees of a volume.
    Volume {
        /// The volume's name, for what is told.
        name: String,
        /// Where its files are.
        place: Place,
        /// A path inside it.
        subpath: Option<PathBuf>,
        /// Attributes of `sys::mount::attr`.
        attrs: u64,
    },
    /// A detached mount, such as another container's `/dev/shm` from [`shared_memory`].
    Tree(Arc<OwnedFd>),
    /// Memory.
    Tmpfs {
        /// Bytes; half of memory when `None`.
        size: Option<u64>,
        /// Mode of its root; 0o1777 when `None`.
        mode: Option<u32>,
        /// `noexec`, `uid=1000`, …
        options: Vec<String>,
    },
    /// Stacked layers.
    ImageView {
        /// Unpacked layers, base first.
        lower: Vec<PathBuf>,
        /// A path inside them.
        subpath: PathBuf,
        /// An upper and a work directory for writes, if the mount allows them; they stay in memory when `None`.
        changes: Option<(PathBuf, PathBuf)>,
    },
    /// A file in memory only.
    Bytes {
        /// Content.
        content: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
}

impl std::fmt::Debug for BirthSource {
    /// Leaves contents out: they may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path { path, .. } | Self::Described { path, .. } => {
                f.debug_tuple("Path").field(path).finish()
            }
            Self::Beneath { root, path } => {
                f.debug_tuple("Beneath").field(root).field(path).finish()
            }
            Self::Volume { name, subpath, .. } => {
                f.debug_tuple("Volume").field(name).field(subpath).finish()
            }
            Self::Tree(_) => f.write_str("Tree"),
            Self::Tmpfs { .. } => f.write_str("Tmpfs"),
            Self::ImageView { subpath, .. } => f.debug_tuple("ImageView").field(subpath).finish(),
            Self::Bytes { content, .. } => write!(f, "Bytes({})", content.len()),
        }
    }
}

/// Namespaces of another container; its own when `None`. Who shares the IPC namespace wants the other's
/// `/dev/shm` too, as a mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct JoinedNamespaces<'a> {
    /// PID namespace.
    pub pid: Option<BorrowedFd<'a>>,
    /// IPC namespace.
    pub ipc: Option<BorrowedFd<'a>>,
}

/// Streams of a process that is born.
#[derive(Debug, Clone, Copy)]
pub enum BirthStdio<'a> {
    /// Three open ones.
    Streams {
        /// Standard input.
        stdin: BorrowedFd<'a>,
        /// Standard output.
        stdout: BorrowedFd<'a>,
        /// Standard error.
        stderr: BorrowedFd<'a>,
    },
    /// A new terminal of the container; its master side comes back in [`Born::master`].
    Terminal,
}

impl BirthStdio<'_> {
    fn raw(&self) -> Vec<RawFd> {
        match self {
            Self::Streams {
                stdin,
                stdout,
                stderr,
            } => [stdin, stdout, stderr].map(|fd| fd.as_raw_fd()).to_vec(),
            Self::Terminal => Vec::new(),
        }
    }
}

/// A process that runs.
#[derive(Debug)]
pub struct Born {
    /// Its number, as the caller sees it. It is a child of the caller.
    pub pid: i32,
    /// The process.
    pub pidfd: OwnedFd,
    /// The master side of its terminal.
    pub master: Option<OwnedFd>,
    /// Files and directories made below the root for mounts, in order; none for an exec.
    pub made: Vec<PathBuf>,
}

/// What is worked out before the process exists.
#[derive(Debug)]
struct Prepared {
    identity: Identity,
    nodes: Vec<dev::Node>,
    bond: Bond,
}

/// Starts a container's first process. The caller is single-threaded.
///
/// Returns once the program is executed. Nothing is left of the process when it fails; the cgroup is the
/// caller's to remove.
///
/// # Errors
/// [`EngineError::CannotRun`] for the program itself, [`EngineError::Unsupported`] for what the spec asks and
/// this machine can't do, [`EngineError::Failed`] with the step's name.
pub fn give_birth(birth: &Birth<'_>) -> Result<Born> {
    born(birth, Bond::None)
}

/// As [`give_birth`], for a process that is killed when the caller ends.
///
/// # Errors
/// As [`give_birth`].
pub fn give_birth_bound(birth: &Birth<'_>) -> Result<Born> {
    born(birth, Bond::EndsWithParent)
}

/// Whether a process outlives who started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bond {
    None,
    EndsWithParent,
}

fn born(birth: &Birth<'_>, bond: Bond) -> Result<Born> {
    let prepared = Prepared {
        identity: Identity::prepare(&birth.spec.security, false)?,
        nodes: dev::nodes(birth.spec, birth.edits())?,
        bond,
    };
    let (ours, theirs) = Wire::pair()?;
    let cgroup = birth.cgroup.fd()?;
    let plan = Plan {
        flags: flags(birth),
        cgroup: cgroup.as_ref().map(|fd| fd.as_fd()),
    };
    match in_pid_namespace(birth.join.pid, || clone(&plan))? {
        Side::Child => child::run(birth, &prepared, &theirs),
        Side::Parent { pid, pidfd } => {
            drop(theirs);
            let born = Born {
                pid,
                pidfd,
                master: None,
                made: Vec::new(),
            };
            let create = |pid| birth.run_hooks(&CREATE_RUNTIME, pid);
            let born = until_execution(&ours, Some(born), &create).map_err(bury)?;
            match birth.run_hooks(&[Moment::Poststart], born.pid) {
                Ok(()) => Ok(born),
                Err(error) => Err(bury((error, Some(born)))),
            }
        }
    }
}

fn flags(birth: &Birth<'_>) -> u64 {
    let spaces = &birth.spec.namespaces;
    let mut flags = CloneFlags::CLONE_NEWNS;
    for (own, flag) in [
        (spaces.pid == Share::Own, CloneFlags::CLONE_NEWPID),
        (spaces.ipc.is_own(), CloneFlags::CLONE_NEWIPC),
        (spaces.uts == Share::Own, CloneFlags::CLONE_NEWUTS),
    ] {
        if own {
            flags |= flag;
        }
    }
    flags.bits() as u64 | own_clocks()
}

/// A time namespace, where the kernel has them: clocks of its own are every container's. As Docker.
fn own_clocks() -> u64 {
    if std::path::Path::new("/proc/self/ns/time").exists() {
        libc::CLONE_NEWTIME as u64
    } else {
        0
    }
}

/// Runs `body` so that its child is born into another PID namespace.
fn in_pid_namespace(
    other: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> std::result::Result<Side, Errno>,
) -> Result<Side> {
    let fail = || step("make the container's process");
    let Some(other) = other else {
        return body().map_err(fail());
    };
    let own = ns::own("pid").map_err(fail())?;
    setns(other, CloneFlags::CLONE_NEWPID).map_err(step("join the other PID namespace"))?;
    let side = body();
    if !matches!(side, Ok(Side::Child)) {
        setns(&own, CloneFlags::CLONE_NEWPID).map_err(step("return to our PID namespace"))?;
    }
    side.map_err(fail())
}

/// An error, and the process it is about.
type Stillborn = (EngineError, Option<Born>);

/// Follows a process until its program is executed; `hooks` runs what it asks for on the way.
fn until_execution(
    wire: &Wire,
    mut born: Option<Born>,
    hooks: &dyn Fn(i32) -> Result<()>,
) -> std::result::Result<Born, Stillborn> {
    let (mut master, mut made, mut ready) = (None, Vec::new(), false);
    loop {
        match wire.receive() {
            Ok(Some((Message::Made(paths), _))) => made = paths,
            Ok(Some((Message::Terminal, fds))) => master = fds.into_iter().next(),
            Ok(Some((Message::Process(pid), fds))) => {
                let fd = fds.into_iter().next();
                born = fd.map(|pidfd| Born {
                    pid,
                    pidfd,
                    master: None,
                    made: Vec::new(),
                });
            }
            Ok(Some((Message::Hooks, _))) => {
                let pid = born.as_ref().map_or(0, |born| born.pid);
                if let Err(error) = hooks(pid).and_then(|()| wire.send(&Message::GoOn, &[])) {
                    return Err((error, born));
                }
            }
            Ok(Some((Message::GoOn, _))) => {}
            Ok(Some((Message::Ready, _))) => ready = true,
            Ok(Some((Message::Failed(report), _))) => return Err((report.into(), born)),
            Ok(None) => break,
            Err(error) => return Err((error, born)),
        }
    }
    match born {
        Some(born) if ready => Ok(Born {
            master,
            made,
            ..born
        }),
        born => {
            let cause = "its process was killed before the program could start: is the memory limit too small?";
            Err((EngineError::failed("start the container", cause), born))
        }
    }
}

/// Makes sure that nothing is left of a process that did not come to life.
fn bury((error, born): Stillborn) -> EngineError {
    if let Some(born) = born {
        // It may have ended by itself; the error we have says more than any of these could.
        let _ = pidfd::send_signal(&born.pidfd, libc::SIGKILL);
        let _ = pidfd::wait(&born.pidfd);
    }
    error
}
