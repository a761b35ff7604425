//! One build step: a process in a root file system, in a process of ours that owns everything about it.
//!
//! In: a [`SandboxSpec`]. Out: an exit code, changes in `upper`. [`NativeSandbox::run`] starts our binary again
//! as `__sandbox`; [`main`] is that process: single-threaded, it makes cgroup, network and process, waits, and
//! takes everything away again, also when the command that started it is killed (it is told by a signal).
//! What mounts needed as targets and is still empty afterwards leaves no trace in `upper`.
//! Imports: `engine`, `runtime`, `cgroup`, `net`, `sys`. Rights of a step as Docker's builder: the default ones.

mod container;
#[cfg(test)]
mod tests;

use std::io::{Seek as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use super::cdi::{self, Edits, Moment};
use super::cgroup::{Cgroup, DeviceAccess};
use super::dns::Answerer;
use super::layout::Layout;
use super::net::{self, Networks};
use super::runtime::message::Report;
use super::runtime::{
    self, Birth, BirthStdio, Born, Brought, JoinedNamespaces, RootfsSpec, give_birth_bound,
};
use super::stubs;
use crate::engine::sandbox::{Ended, Sandbox, SandboxNetwork, SandboxSpec};
use crate::engine::spec::{ContainerSpec, Resources};
use crate::engine::{Cancel, EngineError, Result, Roots};
use crate::sys::fs::Durability;
use crate::sys::{pidfd, process, socket};
use container::{container, mounts};

/// Number of the descriptor that [`main`] reads its order from.
const ORDER: i32 = 3;
/// Number of the descriptor that [`main`] writes the outcome to.
const OUTCOME: i32 = 4;
/// Number of the descriptor that [`main`] sends the terminal through.
const TERMINAL: i32 = 5;
/// Processes and threads of a step where nothing else is said: more than any build needs, and less than a machine can
/// bear.
const MOST_TASKS: i64 = 8192;
/// Further attempts to kill all processes of a step.
const KILLS: u32 = 15;
/// How often a cancelled wait is noticed.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs build steps on this machine.
#[derive(Debug, Clone)]
pub struct NativeSandbox {
    roots: Roots,
}

/// What [`main`] is told.
#[derive(Serialize, Deserialize)]
struct Order {
    spec: SandboxSpec,
    data: PathBuf,
    run: PathBuf,
    /// Who waits for it.
    parent: i32,
}

impl Order {
    fn layout(&self) -> Layout {
        Layout::new(Roots {
            data: self.data.clone(),
            run: self.run.clone(),
        })
    }
}

/// What [`main`] tells.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ended(Ended),
    Failed(Report),
}

/// A network that a step is connected to.
struct Connection {
    netns: Option<OwnedFd>,
    resolv_conf: String,
    /// What `host-gateway` stands for.
    gateway: Option<IpAddr>,
    /// The step's name server, to be driven while it runs.
    answerer: Option<Answerer>,
}

impl NativeSandbox {
    /// A sandbox over the unpacked layers below `roots`.
    pub fn new(roots: Roots) -> Self {
        Self { roots }
    }
}

fn memory(name: &std::ffi::CStr, content: &[u8]) -> std::io::Result<std::fs::File> {
    let fd = nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

impl Sandbox for NativeSandbox {
    fn run(&self, spec: &SandboxSpec, output: BorrowedFd<'_>, cancel: &Cancel) -> Result<Ended> {
        let stdio = [None, Some(output), Some(output)];
        let step = Step::start(&self.roots, spec, stdio, None)?;
        step.wait(&self.roots, spec, cancel)
    }
    fn between_runs(&self) -> Box<dyn Send> {
        match Networks::keep_between_steps(&self.roots) {
            Ok(kept) => Box::new(kept),
            // It only saves time.
            Err(_) => Box::new(()),
        }
    }
    fn tidy(&self, spec: &SandboxSpec) {
        clean_up(&self.roots, spec);
    }
    fn run_in_terminal(
        &self,
        spec: &SandboxSpec,
        connect: &mut dyn FnMut(OwnedFd),
        cancel: &Cancel,
    ) -> Result<Ended> {
        let fail = |errno: Errno| EngineError::failed("make a terminal", errno);
        let mut spec = spec.clone();
        spec.process.tty = true;
        let (ours, theirs) = socket::pair().map_err(fail)?;
        let step = Step::start(&self.roots, &spec, [None; 3], Some(theirs.as_fd()))?;
        drop(theirs);
        // Without one the process has not started, and says why.
        let master = socket::receive(&ours).map_err(fail)?;
        if let Some(master) = master.and_then(|(_, fds)| fds.into_iter().next()) {
            connect(master);
        }
        step.wait(&self.roots, &spec, cancel)
    }
}

/// The process of a step, as the command that wants it sees it.
struct Step {
    child: process::Spawned,
    outcome: std::fs::File,
}

impl Step {
    fn start(
        roots: &Roots,
        spec: &SandboxSpec,
        stdio: [Option<BorrowedFd<'_>>; 3],
        terminal: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        let order = Order {
            spec: spec.clone(),
            data: roots.data.clone(),
            run: roots.run.clone(),
            parent: nix::unistd::getpid().as_raw(),
        };
        let fail = |error| EngineError::failed("start a build step", error);
        let bytes = serde_json::to_vec(&order)
            .map_err(|e| EngineError::failed("encode a build step", e))?;
        let order = memory(c"hoist-order", &bytes).map_err(fail)?;
        let outcome = memory(c"hoist-outcome", b"").map_err(fail)?;
        let mut pass = vec![(ORDER, order.as_fd()), (OUTCOME, outcome.as_fd())];
        pass.extend(terminal.map(|fd| (TERMINAL, fd)));
        let child = process::spawn_self("hoist build step", &["__sandbox"], stdio, &pass, true)
            .map_err(fail)?;
        Ok(Self { child, outcome })
    }
    /// Waits until everything of it is gone.
    fn wait(self, roots: &Roots, spec: &SandboxSpec, cancel: &Cancel) -> Result<Ended> {
        let fail = |error| EngineError::failed("wait for a build step", error);
        let child = &self.child;
        let mut told = false;
        loop {
            let ended = pidfd::has_ended(&child.pidfd, Some(GLANCE));
            if ended.map_err(|errno| fail(errno.into()))? {
                break;
            }
            if cancel.is_cancelled() && !told {
                told = true;
                // It may have ended just now; then there is nobody to tell.
                let _ = pidfd::send_signal(&child.pidfd, libc::SIGTERM);
            }
        }
        let ended = pidfd::wait(&child.pidfd).map_err(|errno| fail(errno.into()))?;
        let bytes = std::fs::read(crate::sys::fs::fd_path(&self.outcome)).map_err(fail)?;
        match serde_json::from_slice(&bytes) {
            Ok(Outcome::Ended(ended)) => Ok(ended),
            Ok(Outcome::Failed(report)) => Err(report.into()),
            Err(_) => {
                clean_up(roots, spec);
                let cause = format!(
                    "its process ended with code {} before it was done",
                    ended.code()
                );
                Err(EngineError::failed("run a build step", cause))
            }
        }
    }
}

/// The process of one build step, as [`NativeSandbox::run`] starts it. Gives its exit code.
pub fn main(_args: &[std::ffi::OsString]) -> i32 {
    process::set_name(c"hoist-step");
    let outcome = match obey() {
        Ok(ended) => Outcome::Ended(ended),
        Err(error) => Outcome::Failed(error.into()),
    };
    let told = serde_json::to_vec(&outcome)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(format!("/proc/self/fd/{OUTCOME}"), bytes));
    i32::from(told.is_err())
}

fn obey() -> Result<Ended> {
    let fail = |errno: Errno| EngineError::failed("begin a build step", errno);
    let bytes = std::fs::read(format!("/proc/self/fd/{ORDER}"));
    let bytes = bytes.map_err(|error| EngineError::failed("read a build step", error))?;
    let order: Order = serde_json::from_slice(&bytes)
        .map_err(|error| EngineError::failed("read a build step", error))?;
    let mut stops = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        stops.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stops), None).map_err(fail)?;
    let signals = SignalFd::with_flags(&stops, SfdFlags::SFD_CLOEXEC).map_err(fail)?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(fail)?;
    if nix::unistd::getppid().as_raw() != order.parent {
        // Whoever wanted this was gone before we could be told.
        return Ok(Ended {
            code: 137,
            ..Ended::default()
        });
    }
    let id = cgroup_name(&order.spec);
    let roots = Roots {
        data: order.data.clone(),
        run: order.run.clone(),
    };
    let done = connect(&roots, &order.spec).and_then(|connection| {
        let spec = container(&order.spec);
        let edits = devices(&order)?;
        let cgroup = make_cgroup(&id, &order.spec, &spec, edits.as_ref())?;
        let run = Run {
            order: &order,
            spec: &spec,
            edits: edits.as_ref(),
            cgroup: &cgroup,
            signals: &signals,
        };
        let ended = run.step(connection);
        let cleaned = end(&cgroup).and_then(|()| cgroup.remove());
        ended.and_then(|ended| cleaned.map(|()| ended))
    });
    let left = disconnect(&roots, &order.spec);
    match (done, left) {
        // A step that has filled the disk leaves no room to note that its network went; that it failed matters more.
        (Ok(ended), Err(_)) if ended.code != 0 => Ok(ended),
        (done, left) => done.and_then(|ended| left.map(|()| ended)),
    }
}

/// Makes the step's cgroup. Where this machine can't count processes, a step without a limit of its own has none.
fn make_cgroup(
    id: &str,
    order: &SandboxSpec,
    spec: &ContainerSpec,
    edits: Option<&Edits>,
) -> Result<Cgroup> {
    let access = match spec.security.privileged {
        true => DeviceAccess::All,
        false => runtime::device_rules(spec, edits)?,
    };
    let parent = order.limits.cgroup_parent.as_deref();
    let make = |limits: &Resources| Cgroup::create(id, parent, limits, &access);
    if order.limits.pids.is_some() {
        return make(&order.limits);
    }
    let bounded = Resources {
        pids: Some(MOST_TASKS),
        ..order.limits.clone()
    };
    match make(&bounded) {
        Err(EngineError::Unsupported { .. }) => make(&order.limits),
        other => other,
    }
}

/// What described devices of a step bring along; one that is not required may be missing.
fn devices(order: &Order) -> Result<Option<Edits>> {
    let dirs = &order.spec.device_dirs;
    let mut names = Vec::new();
    for device in &order.spec.devices {
        match cdi::resolve(dirs, std::slice::from_ref(&device.name)) {
            Ok(_) => names.push(device.name.clone()),
            Err(error) if device.required => return Err(error),
            Err(_) => {}
        }
    }
    let edits = cdi::resolve(dirs, &names)?;
    Ok((!edits.is_empty()).then_some(edits))
}

/// Kills everything of a step. Thousands of processes on a busy machine need longer than one attempt.
fn end(cgroup: &Cgroup) -> Result<()> {
    let mut left = KILLS;
    loop {
        match cgroup.kill() {
            Err(_) if left > 0 => left -= 1,
            other => return other,
        }
    }
}

/// Takes away what a step's process has left that was killed.
fn clean_up(roots: &Roots, spec: &SandboxSpec) {
    let parent = spec.limits.cgroup_parent.as_deref();
    if let Some(cgroup) = Cgroup::find(&cgroup_name(spec), parent) {
        let _ = end(&cgroup);
        let _ = cgroup.remove();
    }
    let _ = disconnect(roots, spec);
}

fn cgroup_name(spec: &SandboxSpec) -> String {
    format!("step-{}", spec.id)
}

/// Everything of one step that runs.
struct Run<'a> {
    order: &'a Order,
    spec: &'a ContainerSpec,
    edits: Option<&'a Edits>,
    cgroup: &'a Cgroup,
    signals: &'a SignalFd,
}

impl Run<'_> {
    /// Runs the process to its end.
    fn step(&self, mut network: Connection) -> Result<Ended> {
        let order = &self.order.spec;
        let layout = self.order.layout();
        let lower = layout.lower(&order.layers);
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let bundle = order.upper.with_file_name("bundle");
        let brought = self.bring(&bundle)?;
        let birth = Birth {
            spec: self.spec,
            rootfs: RootfsSpec {
                lower: lower.clone(),
                upper: order.upper.clone(),
                work: order.work.clone(),
                durability: Durability::Renamed,
            },
            mounts: mounts(order, &layout, &network, self.edits)?,
            netns: network.netns.as_ref().map(|fd| fd.as_fd()),
            join: JoinedNamespaces::default(),
            cgroup: self.cgroup,
            stdio: match order.process.tty {
                true => BirthStdio::Terminal,
                false => BirthStdio::Streams {
                    stdin: stdin.as_fd(),
                    stdout: stdout.as_fd(),
                    stderr: stderr.as_fd(),
                },
            },
            init: false,
            brought,
        };
        let born = give_birth_bound(&birth)?;
        hand_over(&born)?;
        let code = wait(&born, network.answerer.as_mut(), self.cgroup, self.signals)?;
        if let Some(Brought { edits, bundle }) = birth.brought {
            let told = runtime::hooks::Told {
                spec: self.spec,
                bundle,
                pid: born.pid,
            };
            runtime::hooks::run(&edits.hooks, &[Moment::Poststop], &told)?;
        }
        let ended = Ended {
            code,
            out_of_memory: self.cgroup.oom_kills(),
            forks_refused: self.cgroup.forks_refused(),
        };
        // Nothing of the step may move what is looked at now.
        end(self.cgroup)?;
        stubs::remove(&order.upper, &lower, &born.made)
            .map_err(|errno| EngineError::failed("take mount targets away", errno))?;
        Ok(ended)
    }
    /// What devices bring along. The bundle that hooks read says nothing of the environment, which may hold secrets.
    fn bring<'a>(&'a self, bundle: &'a std::path::Path) -> Result<Option<Brought<'a>>> {
        let Some(edits) = self.edits else {
            return Ok(None);
        };
        if !edits.hooks.is_empty() {
            let mut spec = self.spec.clone();
            spec.process.env.clear();
            runtime::hooks::write_bundle(bundle, &self.order.spec.upper, &spec)?;
        }
        Ok(Some(Brought { edits, bundle }))
    }
}

/// Gives the terminal, if there is one, to the command that wants to talk to the step.
fn hand_over(born: &Born) -> Result<()> {
    let Some(master) = &born.master else {
        return Ok(());
    };
    let fail = |errno: Errno| EngineError::failed("hand the terminal over", errno);
    let Some(to) = crate::sys::stream::inherited(TERMINAL) else {
        return Err(fail(Errno::EBADF));
    };
    socket::send(&to, b"t", &[master.as_fd()]).map_err(fail)
}

fn wait(
    born: &Born,
    mut answerer: Option<&mut Answerer>,
    cgroup: &Cgroup,
    signals: &SignalFd,
) -> Result<i32> {
    let fail = |errno: Errno| EngineError::failed("wait for a build step", errno);
    loop {
        let deadline = answerer.as_ref().and_then(|answerer| answerer.deadline());
        let timeout = deadline.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![
            PollFd::new(born.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(
            answerer
                .as_ref()
                .map(|server| PollFd::new(server.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        if ready.first() == Some(&true) {
            return pidfd::wait(&born.pidfd)
                .map(pidfd::Ended::code)
                .map_err(fail);
        }
        if ready.get(1) == Some(&true) {
            cgroup
                .kill()
                .or_else(|_| pidfd::send_signal(&born.pidfd, libc::SIGKILL).map_err(fail))?;
            return pidfd::wait(&born.pidfd)
                .map(pidfd::Ended::code)
                .map_err(fail);
        }
        if let Some(answerer) = answerer.as_mut() {
            answerer.turn();
        }
    }
}

/// Gives a step its network.
fn connect(roots: &Roots, spec: &SandboxSpec) -> Result<Connection> {
    let host = || std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    match spec.network {
        SandboxNetwork::Host => Ok(Connection {
            netns: None,
            resolv_conf: host(),
            gateway: Some(IpAddr::from([127, 0, 0, 1])),
            answerer: None,
        }),
        SandboxNetwork::None => Ok(Connection {
            netns: Some(net::new_netns(None)?),
            resolv_conf: host(),
            gateway: None,
            answerer: None,
        }),
        SandboxNetwork::Default => {
            let netns = net::new_netns(None)?;
            let outside = Networks::open(roots)?.outside(&spec.id, netns.as_fd())?;
            Ok(Connection {
                netns: Some(netns),
                resolv_conf: outside.resolv_conf,
                gateway: outside.gateway.map(IpAddr::V4),
                answerer: Some(outside.answerer),
            })
        }
    }
}

/// Takes back what [`connect`] gave, also after a failure.
fn disconnect(roots: &Roots, spec: &SandboxSpec) -> Result<()> {
    match spec.network {
        SandboxNetwork::Default => Networks::open(roots)?.leave_outside(&spec.id),
        SandboxNetwork::None | SandboxNetwork::Host => Ok(()),
    }
}
