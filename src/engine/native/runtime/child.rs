//! The child's side of a birth: from the first instruction in new namespaces to the execution.
//!
//! Imports: `engine`, `sys`. It never returns: it executes, or reports and ends.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, umask};

use super::identity::Next;
use super::limits::{PrivateProc, set_oom_score, set_parameters, set_resource_limits};
use super::message::{Message, Wire, step};
use super::rootfs::{Kind, Stage};
use super::user::{User, lookup};
use super::{
    Birth, BirthSource, BirthStdio, Bond, Identity, Prepared, dev, exec, init, mounts, terminal,
};
use crate::engine::native::cdi::Moment;
use crate::engine::spec::{Process, Share};
use crate::engine::{EngineError, Result};
use crate::sys::clone::{Plan, Side, clone};
use crate::sys::fs::Root;
use crate::sys::process::{
    close_on_exec, default_signals, exit_now, is_single_threaded, keep_only, set_streams,
};
use crate::sys::{mount, ns};

/// Becomes the container's first process.
pub(super) fn run(birth: &Birth<'_>, prepared: &Prepared, wire: &Wire) -> ! {
    let Err(error) = become_first(birth, prepared, wire);
    report(wire, error)
}

/// Tells the parent and ends.
pub(super) fn report(wire: &Wire, error: EngineError) -> ! {
    let code = if let EngineError::CannotRun { code, .. } = &error {
        *code
    } else {
        1
    };
    // If nobody listens any more, the code is all there is.
    let _ = wire.send(&Message::Failed(error.into()), &[]);
    exit_now(code)
}

/// Leaves everything of the caller's behind that the container must not see or be hit by: who may trace inside could
/// open what this process has.
pub(super) fn cut_loose(kept: &[RawFd], stdio: BirthStdio<'_>) -> Result<()> {
    debug_assert!(is_single_threaded(), "a forked process has one thread");
    let cut = || {
        nix::sys::prctl::set_dumpable(false)?;
        default_signals()?;
        match stdio {
            BirthStdio::Streams {
                stdin,
                stdout,
                stderr,
            } => set_streams([stdin, stdout, stderr])?,
            BirthStdio::Terminal => {
                let null = mount::open_null()?;
                set_streams([null.as_fd(), null.as_fd(), null.as_fd()])?;
            }
        }
        keep_only(&[kept, &[0, 1, 2]].concat())
    };
    cut().map_err(step("leave the parent's descriptors and signals"))
}

fn become_first(birth: &Birth<'_>, prepared: &Prepared, wire: &Wire) -> Result<Infallible> {
    let given = [birth.netns, birth.join.ipc];
    let mut kept: Vec<RawFd> = given
        .into_iter()
        .flatten()
        .map(|fd| fd.as_raw_fd())
        .collect();
    kept.extend(birth.stdio.raw());
    kept.extend(birth.mounts.iter().filter_map(|mount| match &mount.source {
        BirthSource::Tree(tree) => Some(tree.as_raw_fd()),
        _ => None,
    }));
    kept.push(wire.as_fd().as_raw_fd());
    cut_loose(&kept, birth.stdio)?;
    birth.cgroup.enter_rest()?;
    enter_namespaces(birth)?;
    let slave = put_together(birth, prepared, wire)?;
    let proc = set_limits(birth)?;
    let process = &birth.spec.process;
    let mut user = lookup(&inside()?, &process.user, &process.groups)?;
    user.groups
        .extend(birth.edits().into_iter().flat_map(|edits| &edits.groups));
    user.groups.sort_unstable();
    user.groups.dedup();
    if birth.init {
        stay_as_init(prepared, &user, &proc)?;
    }
    // A build step is told its name by no variable. As BuildKit.
    let name = match prepared.bond {
        Bond::None => Some(host_name()?),
        Bond::EndsWithParent => None,
    };
    let last = Last {
        process,
        env: exec::environment(
            &[&process.env, birth.edits().map_or(&[], |edits| &edits.env)],
            name.as_deref(),
            is_terminal(&birth.stdio),
            &user,
        ),
        user,
        identity: &prepared.identity,
        stdio: birth.stdio,
        slave,
        bond: prepared.bond,
        birth: Some(birth),
    };
    last.execute(&proc, wire)
}

fn is_terminal(stdio: &BirthStdio<'_>) -> bool {
    matches!(stdio, BirthStdio::Terminal)
}

/// The container's root, once it is ours.
pub(super) fn inside() -> Result<Root> {
    Root::open(Path::new("/")).map_err(step("open the container's root"))
}

/// The host name of the current UTS namespace.
pub(super) fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().map_err(step("read the host name"))?;
    Ok(name.to_string_lossy().into_owned())
}

fn enter_namespaces(birth: &Birth<'_>) -> Result<()> {
    // Only now that we are in the cgroup: its namespace begins where we are.
    if birth.spec.namespaces.cgroup != Share::Host {
        unshare(CloneFlags::CLONE_NEWCGROUP).map_err(step("make a cgroup namespace"))?;
    }
    if let Some(net) = birth.netns {
        setns(net, CloneFlags::CLONE_NEWNET).map_err(step("join the network namespace"))?;
    }
    if let Some(ipc) = birth.join.ipc {
        setns(ipc, CloneFlags::CLONE_NEWIPC).map_err(step("join the other IPC namespace"))?;
    }
    // Keys of whoever started us are not the container's. A kernel without keys has none to hide.
    let _ = ns::new_session_keyring(c"_ses.hoist");
    Ok(())
}

/// Builds the root file system and goes there. Gives the terminal, if there is one.
fn put_together(birth: &Birth<'_>, prepared: &Prepared, wire: &Wire) -> Result<Option<OwnedFd>> {
    let cloned = mounts::clone_sources(&birth.mounts)?;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    nix::mount::mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)
        .map_err(step("cut mounts off from the host's"))?;
    let mut stage = Stage::new(&birth.rootfs)?;
    // A build step has none. As BuildKit.
    if prepared.bond == Bond::None {
        stage.make_marks()?;
    }
    mounts::mount_defaults(&mut stage, birth)?;
    mounts::mount_users(&mut stage, &birth.mounts, cloned)?;
    dev::make_nodes(
        &mut stage,
        &prepared.nodes,
        !mounts::replaced(birth, "/dev"),
        |stage| lookup(stage.root(), &birth.spec.process.user, &[]),
    )?;
    let security = &birth.spec.security;
    if !security.privileged && !security.unmask_system_paths {
        mounts::mask(&stage)?;
    }
    let slave = match birth.stdio {
        BirthStdio::Streams { .. } => None,
        BirthStdio::Terminal => {
            let slave = terminal::open(stage.root(), wire)?;
            let console = stage.target(Path::new("/dev/console"), Kind::File)?;
            let shown = mount::clone_tree(&slave, Path::new(""), false);
            stage.attach(
                shown.map_err(step("show the terminal"))?,
                console,
                "/dev/console",
            )?;
            Some(slave)
        }
    };
    stage.make_working_directory(&birth.spec.process.cwd)?;
    run_hooks(birth, wire)?;
    if birth.spec.read_only {
        stage.make_read_only()?;
    }
    wire.send(&Message::Made(stage.made().to_vec()), &[])?;
    ns::pivot_root(stage.root().as_fd()).map_err(step("enter the root file system"))?;
    Ok(slave)
}

/// Has the parent run its hooks, and runs those that want our namespaces and the host's files.
fn run_hooks(birth: &Birth<'_>, wire: &Wire) -> Result<()> {
    if birth.has_hooks(&super::CREATE_RUNTIME) {
        wire.send(&Message::Hooks, &[])?;
        match wire.receive()? {
            Some((Message::GoOn, _)) => {}
            _ => {
                return Err(EngineError::failed(
                    "go on after the hooks",
                    "the parent is gone",
                ));
            }
        }
    }
    birth.run_hooks(&[Moment::CreateContainer], own_pid())
}

/// Our number as we see it ourselves.
fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

fn set_limits(birth: &Birth<'_>) -> Result<PrivateProc> {
    let spec = birth.spec;
    if spec.namespaces.uts == Share::Own {
        nix::unistd::sethostname(&spec.hostname)
            .map_err(step(format!("set the host name {}", spec.hostname)))?;
        if let Some(domain) = &spec.domainname {
            ns::set_domain_name(domain).map_err(step(format!("set the domain name {domain}")))?;
        }
    }
    let proc = PrivateProc::open()?;
    set_parameters(&proc, spec, birth.netns.is_some())?;
    set_oom_score(&proc, spec.oom_score_adj)?;
    set_resource_limits(spec)?;
    Ok(proc)
}

/// Splits in two: PID 1, which never returns, and its child, which goes on.
fn stay_as_init(prepared: &Prepared, user: &User, proc: &PrivateProc) -> Result<()> {
    init::hold_signals().map_err(step("hold signals"))?;
    match clone(&Plan {
        flags: 0,
        cgroup: None,
    })
    .map_err(step("start the program"))?
    {
        Side::Child => default_signals().map_err(step("reset signals")),
        Side::Parent { pid, .. } => {
            // The child has its own connection; from here on a failure can only end the container.
            let ready = prepared.identity.assume(user, proc, Next::Stay).is_ok()
                && (prepared.bond == Bond::None || end_with_parent().is_ok())
                && keep_only(&[]).is_ok();
            crate::sys::process::set_name(c"hoist-init");
            // Inside, PID 1 is as little trusted as the program: it gets the same filter and no right more.
            let identity = &prepared.identity;
            let ready = ready && identity.confine().is_ok() && identity.give_up_admin().is_ok();
            if ready { init::run(pid) } else { exit_now(1) }
        }
    }
}

/// A change of user takes this away, so it comes after.
fn end_with_parent() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(step("end with the parent"))
}

/// The last steps, the same for a birth and an exec.
pub(super) struct Last<'a> {
    pub(super) process: &'a Process,
    pub(super) env: indexmap::IndexMap<String, String>,
    pub(super) user: User,
    pub(super) identity: &'a Identity,
    pub(super) stdio: BirthStdio<'a>,
    pub(super) slave: Option<OwnedFd>,
    pub(super) bond: Bond,
    /// Of the container's first process.
    pub(super) birth: Option<&'a Birth<'a>>,
}

impl Last<'_> {
    /// Executes the program; gives the reason when it can't.
    pub(super) fn execute(&self, proc: &PrivateProc, wire: &Wire) -> Result<Infallible> {
        nix::unistd::setsid().map_err(step("make a session"))?;
        match (self.stdio, &self.slave) {
            (
                BirthStdio::Streams {
                    stdin,
                    stdout,
                    stderr,
                },
                _,
            ) => {
                let null = exec::own_null(proc);
                let own = |stream| exec::null_in_place_of(stream, null.as_ref());
                set_streams([own(stdin), own(stdout), own(stderr)])
                    .map_err(step("connect the streams"))?;
            }
            (BirthStdio::Terminal, Some(slave)) => terminal::take(slave, &self.user)?,
            (BirthStdio::Terminal, None) => {
                return Err(EngineError::failed("take the terminal", "there is none"));
            }
        }
        exec::own_streams(&self.user);
        umask(Mode::from_bits_truncate(0o022));
        exec::enter_directory(&self.process.cwd)?;
        self.identity.assume(&self.user, proc, Next::Execute)?;
        if self.bond == Bond::EndsWithParent {
            end_with_parent()?;
        }
        if let Some(birth) = self.birth {
            birth.run_hooks(&[Moment::StartContainer], own_pid())?;
        }
        close_on_exec(3).map_err(step("close descriptors"))?;
        wire.send(&Message::Ready, &[])?;
        self.identity.confine()?;
        Err(exec::execute(self.process, &self.env))
    }
}
