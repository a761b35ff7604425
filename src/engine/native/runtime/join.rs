//! A further process in a running container: `exec`, and health probes.
//!
//! The caller forks; the copy enters the container's cgroup and all its namespaces at once and forks again,
//! since only children are in a joined PID namespace. That last process is made the caller's own child.
//! Imports: `engine`, `cgroup`, `sys`. The texts of a command that can't be run are Docker's.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};

use super::child::{Last, cut_loose, host_name, inside, report};
use super::limits::{PrivateProc, set_oom_score, set_resource_limits};
use super::message::{Message, Wire, step};
use super::user::lookup;
use super::{BirthStdio, Bond, Born, Identity, bury, exec, own_clocks, terminal, until_execution};
use crate::engine::native::cgroup::Cgroup;
use crate::engine::spec::{ContainerSpec, Process};
use crate::engine::{EngineError, Result};
use crate::sys::clone::{Plan, Side, clone};
use crate::sys::fs::{Resolve, Root, openat2};
use crate::sys::process::exit_now;
use crate::sys::{mount, pidfd, socket};

/// What to run, where.
#[derive(Debug)]
pub struct JoinRequest<'a> {
    /// The container's first process.
    pub init_pid: i32,
    /// The container's spec: rights, limits, environment, and what `process` leaves empty.
    pub spec: &'a ContainerSpec,
    /// The command; its environment is added to the container's. Empty `user` and `cwd` are the container's.
    pub process: &'a Process,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// Its streams.
    pub stdio: BirthStdio<'a>,
}

/// How long a process may take to enter a container, which is a matter of milliseconds. Once it is inside, others there
/// may stop it, and with it a supervisor that waited for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// How Docker begins to tell of a command that could not be run in a container.
const EXEC_FAILED: &str = "OCI runtime exec failed: exec failed";

/// All a container may have for itself; entering one we are in already changes nothing.
fn every_namespace() -> CloneFlags {
    CloneFlags::from_bits_retain(own_clocks() as libc::c_int)
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP
}

/// Runs a command in a running container. The caller is single-threaded, and gets the process as its child.
///
/// # Errors
/// As [`super::give_birth`].
pub fn join(request: &JoinRequest<'_>) -> Result<Born> {
    let spec = request.spec;
    absolute(&request.process.cwd)?;
    let identity = Identity::prepare(&spec.security, request.process.privileged)?;
    let container = pidfd::open(request.init_pid).map_err(|_| not_running(spec))?;
    let process = merged(spec, request.process);
    let (ours, theirs) = Wire::pair()?;
    let cgroup = request.cgroup.fd()?;
    let plan = Plan {
        flags: 0,
        cgroup: cgroup.as_ref().map(|fd| fd.as_fd()),
    };
    let known = crate::sys::process::children();
    match clone(&plan).map_err(step("make a process"))? {
        Side::Child => {
            let Err(error) = enter(request, &identity, &process, &container, &theirs);
            report(&theirs, error)
        }
        Side::Parent { pidfd: between, .. } => {
            drop(theirs);
            ours.give_up_after(PATIENCE)?;
            let born = until_execution(&ours, None, &|_| Ok(()));
            if born.is_err() {
                // It may wait for what will never come.
                let _ = pidfd::send_signal(&between, libc::SIGKILL);
            }
            // It ends by itself as soon as its own child exists.
            pidfd::wait(&between).map_err(step("wait for the process in between"))?;
            if matches!(born, Err((_, None))) {
                // Killed between its child's birth and the word of it: ours is a child that nobody knows.
                bury_all_but(&known);
            }
            born.map_err(bury).map_err(worded)
        }
    }
}

/// Ends and reaps the caller's children that it did not have before. One that nobody waits for would keep the
/// container's PID namespace, and with it the container's end, for ever.
fn bury_all_but(known: &[i32]) {
    let children = crate::sys::process::children();
    for pid in children.into_iter().filter(|pid| !known.contains(pid)) {
        if let Ok(child) = pidfd::open(pid) {
            let _ = pidfd::send_signal(&child, libc::SIGKILL);
            let _ = pidfd::wait(&child);
        }
    }
}

fn not_running(spec: &ContainerSpec) -> EngineError {
    EngineError::NotRunning {
        name: spec.name.clone(),
    }
}

/// Refuses a working directory that is relative to nothing. As runc: `validateProcessSpec`.
fn absolute(cwd: &str) -> Result<()> {
    if cwd.is_empty() || cwd.starts_with('/') {
        return Ok(());
    }
    let text = format!("{EXEC_FAILED}: Cwd must be an absolute path");
    Err(EngineError::CannotRun {
        code: 128,
        message: text,
    })
}

/// As Docker words it for `exec`.
fn worded(error: EngineError) -> EngineError {
    match error {
        EngineError::CannotRun { code, message } => EngineError::CannotRun {
            code,
            message: format!("{EXEC_FAILED}: unable to start container process: {message}"),
        },
        other => other,
    }
}

/// The command with what the container gives it.
fn merged(spec: &ContainerSpec, wanted: &Process) -> Process {
    let or = |own: &String, other: &String| {
        if own.is_empty() {
            other.clone()
        } else {
            own.clone()
        }
    };
    Process {
        args: wanted.args.clone(),
        env: wanted.env.clone(),
        cwd: or(&wanted.cwd, &spec.process.cwd),
        user: or(&wanted.user, &spec.process.user),
        groups: spec
            .process
            .groups
            .iter()
            .chain(&wanted.groups)
            .cloned()
            .collect(),
        privileged: wanted.privileged,
        tty: wanted.tty,
    }
}

/// The process in between, and, behind its fork, the one that will run the command.
fn enter(
    request: &JoinRequest<'_>,
    identity: &Identity,
    process: &Process,
    container: &OwnedFd,
    wire: &Wire,
) -> Result<Infallible> {
    let mut kept: Vec<RawFd> = request.stdio.raw();
    kept.extend([container.as_raw_fd(), wire.as_fd().as_raw_fd()]);
    cut_loose(&kept, request.stdio)?;
    request.cgroup.enter_rest()?;
    setns(container, every_namespace()).map_err(step("enter the container"))?;
    let plan = Plan {
        flags: libc::CLONE_PARENT as u64,
        cgroup: None,
    };
    match clone(&plan).map_err(step("make the command's process"))? {
        Side::Parent { pid, pidfd } => {
            let told = wire.send(&Message::Process(pid), &[pidfd.as_fd()]);
            exit_now(i32::from(told.is_err()));
        }
        Side::Child => become_command(request, identity, process, wire),
    }
}

fn become_command(
    request: &JoinRequest<'_>,
    identity: &Identity,
    process: &Process,
    wire: &Wire,
) -> Result<Infallible> {
    let spec = request.spec;
    let proc = PrivateProc::of_processes()?;
    set_oom_score(&proc, spec.oom_score_adj)?;
    set_resource_limits(spec)?;
    let root = inside()?;
    let user = lookup(&root, &process.user, &process.groups)?;
    let (slave, tty) = match request.stdio {
        BirthStdio::Streams { .. } => (None, false),
        BirthStdio::Terminal => (Some(terminal::open(&root, wire)?), true),
    };
    let env = exec::environment(
        &[&spec.process.env, &process.env],
        Some(&host_name()?),
        tty,
        &user,
    );
    let stdio = request.stdio;
    let last = Last {
        process,
        env,
        user,
        identity,
        stdio,
        slave,
        bond: Bond::None,
        birth: None,
    };
    last.execute(&proc, wire)
}

/// A copy of a running container's `/dev/shm`, for one that shares its IPC namespace; `container` is its first
/// process. The caller is single-threaded.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn shared_memory(container: BorrowedFd<'_>) -> Result<OwnedFd> {
    let (ours, theirs) = socket::pair().map_err(step("make a socket pair"))?;
    match clone(&Plan {
        flags: 0,
        cgroup: None,
    })
    .map_err(step("make a process"))?
    {
        Side::Child => {
            let copy = || {
                nix::sys::prctl::set_dumpable(false)?;
                setns(container, CloneFlags::CLONE_NEWNS)?;
                let root = Root::open(Path::new("/"))?;
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
                // No link of the other container says what its memory is.
                let shm = openat2(&root, Path::new("dev/shm"), flags, 0, Resolve::NoLinks)?;
                let tree = mount::clone_tree(&shm, Path::new(""), false)?;
                let fds: [BorrowedFd<'_>; 1] = [tree.as_fd()];
                socket::send(&theirs, b"shm", &fds)
            };
            exit_now(copy().map_or_else(|errno| errno as i32, |()| 0))
        }
        Side::Parent { pidfd: child, .. } => {
            drop(theirs);
            let got = socket::receive(&ours).map_err(step("share /dev/shm"));
            let ended = pidfd::wait(&child).map_err(step("share /dev/shm"))?;
            let tree = got?.and_then(|(_, fds)| fds.into_iter().next());
            tree.ok_or_else(|| step("share /dev/shm")(nix::errno::Errno::from_raw(ended.code())))
        }
    }
}
