//! The life of one container: start, exit, restart, stop, probes, and what is left on disk at each step.
//!
//! Imports: `base`, `engine`, `sys`; beside it everything the supervisor is made of.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::birth::{self, Connected};
use super::health::Monitor;
use super::restart::Restarts;
use super::streams::Streams;
use crate::base::clock::Timestamp;
use crate::base::scalar::Signal;
use crate::engine::native::cdi::{Edits, Moment};
use crate::engine::native::cgroup::Cgroup;
use crate::engine::native::layout::{ContainerDir, Layout};
use crate::engine::native::logs::forward::Forward;
use crate::engine::native::logs::{LogWriter, Stream};
use crate::engine::native::records::{self, InitProcess, Record, Standing};
use crate::engine::native::runtime::{
    self, Birth, BirthStdio, Brought, JoinRequest, JoinedNamespaces, RootfsSpec,
};
use crate::engine::spec::{ContainerSpec, Process, Share};
use crate::engine::state::{Exit, Health, Probe, State};
use crate::engine::{EngineError, Result};
use crate::sys::fs::Durability;
use crate::sys::pidfd::{self, Ended};
use crate::sys::process;

/// Docker keeps this much of a probe's output.
const PROBE_OUTPUT: usize = 4096;

/// Reads of a probe's output in one turn.
const PROBE_READS: usize = 16;

/// A running container's init.
#[derive(Debug)]
struct Init {
    pid: i32,
    pidfd: OwnedFd,
    started: Instant,
}

/// A probe that runs.
#[derive(Debug)]
struct RunningProbe {
    pid: i32,
    pidfd: OwnedFd,
    /// `None` once it was closed, which may be before the end.
    output: Option<OwnedFd>,
    text: Vec<u8>,
    start: Timestamp,
    deadline: Instant,
    overdue: bool,
}

/// A stop that was asked for.
#[derive(Debug)]
struct Stopping {
    kill_at: Instant,
    killed: bool,
}

/// What the rest of the supervisor must tell its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing new.
    Same,
    /// State or health on disk is new.
    Changed,
}

/// One container and everything its supervisor owns of it.
#[derive(Debug)]
pub(super) struct Life {
    layout: Layout,
    dir: ContainerDir,
    spec: ContainerSpec,
    standing: Standing,
    streams: Streams,
    log: LogWriter,
    /// Where log lines go besides.
    forward: Option<Forward>,
    network: Option<Connected>,
    /// What its devices bring along, while it runs.
    edits: Option<Edits>,
    cgroup: Option<Cgroup>,
    init: Option<Init>,
    monitor: Option<Monitor>,
    probe: Option<RunningProbe>,
    stopping: Option<Stopping>,
    restarts: Restarts,
    restart_at: Option<Instant>,
    /// Ports published no more; whoever lets go of this waits for the kernel.
    withdrawn: Option<crate::engine::native::net::Withdrawn>,
}

impl Life {
    /// Reads the container's record and opens its log and streams.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) fn open(layout: Layout, dir: ContainerDir) -> Result<Self> {
        let record: Record =
            records::read(&dir.record())?.ok_or_else(|| EngineError::NotFound {
                kind: "container",
                name: dir.data.display().to_string(),
            })?;
        let spec = record.spec;
        let standing = records::read(&dir.state())?.unwrap_or_else(|| Standing {
            name: spec.name.clone(),
            state: State::Created,
            process: None,
            restarts: 0,
            stopped: false,
        });
        let failed = |error| EngineError::failed("open the container's log and streams", error);
        let log = LogWriter::open(&dir, &spec.log).map_err(failed)?;
        Ok(Self {
            streams: Streams::open(&dir, spec.stdio).map_err(failed)?,
            forward: Forward::new(&dir, &spec, &log),
            log,
            restarts: Restarts::new(spec.restart),
            layout,
            dir,
            standing,
            spec,
            network: None,
            edits: None,
            cgroup: None,
            init: None,
            monitor: None,
            probe: None,
            stopping: None,
            restart_at: None,
            withdrawn: None,
        })
    }

    /// What was asked for.
    pub(super) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }
    /// The streams.
    pub(super) fn streams(&mut self) -> &mut Streams {
        &mut self.streams
    }
    /// The streams, to look at.
    pub(super) fn streams_ref(&self) -> &Streams {
        &self.streams
    }
    /// The DNS answerer, while there is one.
    pub(super) fn network(&mut self) -> Option<&mut Connected> {
        self.network.as_mut()
    }
    /// The same, to look at.
    pub(super) fn network_ref(&self) -> Option<&Connected> {
        self.network.as_ref()
    }
    /// The init's descriptor, readable when it has ended.
    pub(super) fn pidfd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.init.as_ref().map(|init| init.pidfd.as_fd())
    }
    /// The running probe's output.
    pub(super) fn probe_output(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.probe
            .as_ref()?
            .output
            .as_ref()
            .map(|output| output.as_fd())
    }
    /// Whether its process exists or will again.
    pub(super) fn is_live(&self) -> bool {
        self.init.is_some() || self.restart_at.is_some()
    }
    /// How it ended.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.standing.state.exit()
    }
    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let stop = self
            .stopping
            .as_ref()
            .filter(|s| !s.killed)
            .map(|s| s.kill_at);
        let probe = match (&self.probe, &self.monitor) {
            (Some(probe), _) => (!probe.overdue).then_some(probe.deadline),
            (None, Some(monitor)) => Some(monitor.due()),
            (None, None) => None,
        };
        let sending = self.forward.as_ref().and_then(Forward::deadline);
        [stop, probe, self.restart_at, self.log.deadline(), sending]
            .into_iter()
            .flatten()
            .min()
    }

    fn write_standing(&self) -> Result<()> {
        records::write(&self.dir.state(), &self.standing, Durability::Synced)
    }

    /// Starts the container's process, as it was asked for: who takes its log must be there.
    ///
    /// # Errors
    /// [`EngineError`]; nothing of the attempt is left in the kernel then.
    pub(super) fn start(&mut self) -> Result<()> {
        if let Some(forward) = &mut self.forward {
            forward.connect(&self.standing.name)?;
        }
        self.start_again()
    }

    /// Starts the container's process. Its network is made on the first call and kept over restarts.
    fn start_again(&mut self) -> Result<()> {
        let outcome = self.try_start();
        if outcome.is_err() {
            self.take_down();
        }
        outcome
    }

    fn try_start(&mut self) -> Result<()> {
        let network = match self.network.take() {
            Some(network) => network,
            None => {
                let network = birth::connect(&self.layout, &self.spec)?;
                records::write(&self.dir.live(), &network.live, Durability::Renamed)?;
                network
            }
        };
        let network = self.network.insert(network);
        if let Some(old) = self.cgroup.take() {
            let _ = old.remove();
        }
        let spec = &self.spec;
        self.edits = birth::edits(&self.dir, spec)?;
        let edits = self.edits.as_ref();
        let devices = runtime::device_rules(spec, edits)?;
        let parent = spec.resources.cgroup_parent.as_deref();
        let cgroup = Cgroup::create(spec.id.as_str(), parent, &spec.resources, &devices)?;
        let cgroup = self.cgroup.insert(cgroup);
        let mounts = birth::mounts(&self.layout, spec, edits)?;
        let pid = birth::shared_processes(&self.layout, &spec.namespaces.pid)?;
        let ipc = birth::shared_ipc(&self.layout, &spec.namespaces.ipc)?;
        let ends = self
            .streams
            .ends(&self.dir, spec.stdio)
            .map_err(|error| EngineError::failed("open the container's streams", error))?;
        let stdio = match spec.stdio.tty {
            true => BirthStdio::Terminal,
            false => BirthStdio::Streams {
                stdin: ends.input.as_fd(),
                stdout: ends.output.as_fd(),
                stderr: ends.error.as_fd(),
            },
        };
        let bundle = self.dir.bundle();
        let born = runtime::give_birth(&Birth {
            spec,
            rootfs: RootfsSpec {
                lower: self.layout.lower(&spec.image.layers),
                upper: self.dir.upper(),
                work: self.dir.work(),
            },
            mounts,
            netns: network.netns.as_ref().map(|fd| fd.as_fd()),
            join: JoinedNamespaces {
                pid: pid.as_ref().map(|fd| fd.as_fd()),
                ipc: ipc.as_ref().map(|fd| fd.as_fd()),
            },
            cgroup,
            stdio,
            init: spec.init,
            brought: edits.map(|edits| Brought {
                edits,
                bundle: &bundle,
            }),
        })?;
        if let Some(master) = born.master {
            self.streams
                .set_master(master)
                .map_err(|error| EngineError::failed("use the container's terminal", error))?;
        }
        let now = Instant::now();
        self.standing.state = State::Running {
            since: Timestamp::now(),
        };
        self.standing.process = InitProcess::of(born.pid);
        self.standing.stopped = false;
        self.init = Some(Init {
            pid: born.pid,
            pidfd: born.pidfd,
            started: now,
        });
        self.restart_at = None;
        self.stopping = None;
        self.monitor = self
            .spec
            .healthcheck
            .clone()
            .map(|check| Monitor::new(check, now));
        self.write_health()?;
        self.write_standing()
    }

    /// Takes over a container whose supervisor is gone.
    ///
    /// # Errors
    /// [`EngineError`] when it has ended meanwhile and can't be started again.
    pub(super) fn adopt(&mut self) -> Result<()> {
        let running = self.standing.process.clone().filter(InitProcess::is_alive);
        self.cgroup = Cgroup::find(
            self.spec.id.as_str(),
            self.spec.resources.cgroup_parent.as_deref(),
        );
        let now = Instant::now();
        let since = match self.standing.state {
            State::Running { since } | State::Paused { since } => since,
            _ => Timestamp::now(),
        };
        let age = since.until(Timestamp::now());
        let Some(init) = running else {
            self.clear();
            let code = self.standing.process.as_ref().and_then(InitProcess::code);
            let exit = self.exit().unwrap_or(Exit {
                code,
                oom: false,
                at: Timestamp::now(),
            });
            self.ended(exit, age)?;
            self.settle()?;
            return Ok(());
        };
        let pidfd = pidfd::open(init.pid)
            .map_err(|errno| EngineError::failed("adopt the container", errno))?;
        self.network = Some(birth::reconnect(&self.layout, &self.spec)?);
        // Only what is to run after the end is still wanted; a description that is gone meanwhile has none.
        self.edits = birth::edits(&self.dir, &self.spec).unwrap_or_default();
        self.init = Some(Init {
            pid: init.pid,
            pidfd,
            started: now.checked_sub(age).unwrap_or(now),
        });
        let health = records::read::<Health>(&self.dir.health())?;
        self.monitor = self.spec.healthcheck.clone().map(|check| match health {
            Some(health) => Monitor::resume(check, now, age, health),
            None => Monitor::new(check, now),
        });
        Ok(())
    }

    fn write_health(&self) -> Result<()> {
        match &self.monitor {
            Some(monitor) => {
                records::write(&self.dir.health(), monitor.health(), Durability::Renamed)
            }
            None => Ok(()),
        }
    }

    /// Takes a part of what the container has written into the log and gives it to `give`; whether there was any.
    pub(super) fn read(&mut self, stream: Stream, give: &mut dyn FnMut(&[u8])) -> bool {
        if let Some(pipe) = self.streams.pipe(stream) {
            let bytes = self.log.take(pipe, stream);
            give(bytes);
            return !bytes.is_empty();
        }
        // The terminal of a container makes it wait, too; the log says when that was enough.
        if stream == Stream::Err || self.log.is_held() && !self.log.gives_up() {
            self.log.retry();
            return false;
        }
        let mut buffer = [0u8; 16 * 1024];
        let Some(length) = self.streams.read_terminal(&mut buffer) else {
            return false;
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        self.log.put(stream, bytes, Timestamp::now());
        give(bytes);
        true
    }
    /// Writes beginnings of lines, since nothing more will come.
    pub(super) fn flush_log(&mut self) {
        self.log.flush(Timestamp::now());
    }
    /// Whether nothing should be read now, since it could not be kept.
    pub(super) fn is_held(&self) -> bool {
        self.log.is_held()
    }
    /// Looks after the log: what is compressed, and what is sent elsewhere.
    pub(super) fn tend_log(&mut self) {
        self.log.turn();
        if let Some(forward) = &mut self.forward {
            forward.pump(&mut self.log);
        }
    }
    /// Whether log lines are still on their way to somebody who is there.
    pub(super) fn is_sending(&self) -> bool {
        self.forward
            .as_ref()
            .is_some_and(|f| f.is_connected() && !f.is_done(&self.log))
    }
    /// What sending log lines waits for.
    pub(super) fn sending(&self) -> Option<(std::os::fd::BorrowedFd<'_>, PollFlags)> {
        self.forward.as_ref()?.wants()
    }

    /// Reads one turn of the probe's output.
    pub(super) fn read_probe(&mut self) {
        let Some(probe) = &mut self.probe else { return };
        let mut buffer = [0u8; 4096];
        // A flood must not keep the supervisor from everything else.
        for _ in 0..PROBE_READS {
            let Some(output) = &probe.output else { break };
            let Ok(length) = nix::unistd::read(output, &mut buffer) else {
                break;
            };
            if length == 0 {
                probe.output = None;
            }
            let room = PROBE_OUTPUT.saturating_sub(probe.text.len()).min(length);
            probe
                .text
                .extend_from_slice(buffer.get(..room).unwrap_or_default());
        }
    }

    /// Looks whether the init or a probe has ended.
    pub(super) fn reap(&mut self) -> Result<Turn> {
        let mut turn = Turn::Same;
        if let Some(probe) = &self.probe
            && let Some(code) = ended(probe.pid, &probe.pidfd)
        {
            self.read_probe();
            self.finish_probe(code)?;
            turn = Turn::Changed;
        }
        if let Some(init) = &self.init
            && let Some(code) = ended(init.pid, &init.pidfd)
        {
            let oom = self
                .cgroup
                .as_ref()
                .is_some_and(|cgroup| cgroup.oom_kills() > 0);
            let exit = Exit {
                code,
                oom: oom && code == Some(137),
                at: Timestamp::now(),
            };
            let ran = init.started.elapsed();
            self.ended(exit, ran)?;
            turn = Turn::Changed;
        }
        Ok(turn)
    }

    /// The container's process is gone: restart later, or leave it down.
    fn ended(&mut self, exit: Exit, ran: Duration) -> Result<()> {
        if let Some(cgroup) = &self.cgroup {
            // With the host's PID namespace its children outlive it.
            let _ = cgroup.kill();
        }
        let process = self.standing.process.take();
        self.init = None;
        self.monitor = None;
        self.probe = None;
        self.run_last_hooks(process.map_or(0, |process| process.pid));
        let stopped = self.stopping.is_some() || self.standing.stopped;
        let wait = match stopped {
            true => None,
            false => self.restarts.after(exit, ran, self.standing.restarts),
        };
        self.standing.stopped = stopped;
        match wait {
            Some(wait) => {
                self.restart_at = Some(Instant::now() + wait);
                self.standing.restarts += 1;
                self.standing.state = State::Restarting { exit };
            }
            None => self.standing.state = State::Exited { exit },
        }
        Ok(())
    }

    /// Runs what devices want run after the container's end. That can't be undone: what goes wrong is in the log.
    fn run_last_hooks(&mut self, pid: i32) {
        let Some(edits) = self.edits.take() else {
            return;
        };
        let bundle = self.dir.bundle();
        let told = runtime::hooks::Told {
            spec: &self.spec,
            bundle: &bundle,
            pid,
        };
        if let Err(error) = runtime::hooks::run(&edits.hooks, &[Moment::Poststop], &told) {
            self.log.note(&error.to_string());
        }
    }

    /// Writes the standing that [`Life::reap`] has changed, after the last output was read.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.init.is_none() {
            self.flush_log();
            self.streams.drop_master();
            if self.restart_at.is_none() {
                self.take_down();
            }
            self.write_standing()?;
        }
        Ok(())
    }

    /// Does what is due.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) fn tick(&mut self) -> Result<Turn> {
        let now = Instant::now();
        let mut turn = Turn::Same;
        if self
            .stopping
            .as_ref()
            .is_some_and(|s| !s.killed && now >= s.kill_at)
        {
            self.kill_all();
        }
        if let Some(probe) = &mut self.probe
            && now >= probe.deadline
            && !probe.overdue
        {
            probe.overdue = true;
            let _ = pidfd::send_signal(&probe.pidfd, Signal::KILL.0);
        }
        if self.probe.is_none()
            && self.init.is_some()
            && self
                .monitor
                .as_ref()
                .is_some_and(|monitor| now >= monitor.due())
        {
            self.begin_probe()?;
        }
        if self.restart_at.is_some_and(|at| now >= at) {
            turn = Turn::Changed;
            self.restart_at = None;
            if let Err(error) = self.start_again() {
                self.log
                    .note(&format!("cannot start the container again: {error}"));
                let exit = Exit {
                    code: Some(128),
                    oom: false,
                    at: Timestamp::now(),
                };
                self.ended(exit, Duration::ZERO)?;
                self.settle()?;
            }
        }
        Ok(turn)
    }

    /// Begins to stop it: the stop signal now, KILL after `timeout`.
    ///
    /// # Errors
    /// [`EngineError`] when the standing can't be written.
    pub(super) fn stop(&mut self, timeout: Option<Duration>) -> Result<Turn> {
        self.standing.stopped = true;
        if let (Some(_), None) = (self.restart_at.take(), &self.init) {
            if let State::Restarting { exit } = self.standing.state {
                self.standing.state = State::Exited { exit };
            }
            self.settle()?;
            return Ok(Turn::Changed);
        }
        let timeout = timeout.unwrap_or(self.spec.stop_grace);
        let kill_at = Instant::now() + timeout;
        let earlier = self
            .stopping
            .as_ref()
            .map_or(kill_at, |stop| stop.kill_at.min(kill_at));
        let killed = self.stopping.as_ref().is_some_and(|stop| stop.killed);
        if self
            .stopping
            .replace(Stopping {
                kill_at: earlier,
                killed,
            })
            .is_none()
        {
            // Whoever finds it running must know that it will not for long.
            let _ = records::write(&self.dir.state(), &self.standing, Durability::Renamed);
        }
        if timeout.is_zero() || self.spec.stop_signal == Signal::KILL {
            self.kill_all();
        } else if let Some(init) = &self.init {
            let _ = pidfd::send_signal(&init.pidfd, self.spec.stop_signal.0);
        }
        Ok(Turn::Same)
    }

    fn kill_all(&mut self) {
        if let Some(init) = &self.init {
            let _ = pidfd::send_signal(&init.pidfd, Signal::KILL.0);
        }
        if let Some(cgroup) = self
            .cgroup
            .as_ref()
            .filter(|_| self.spec.namespaces.pid != Share::Own)
        {
            let _ = cgroup.kill();
        }
        if let Some(stopping) = &mut self.stopping {
            stopping.killed = true;
        }
    }

    /// Sends its process a signal. KILL keeps it from being started again, as Docker's `kill` does.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`].
    pub(super) fn signal(&mut self, signal: Signal) -> Result<()> {
        let name = || self.standing.name.clone();
        let init = self
            .init
            .as_ref()
            .ok_or_else(|| EngineError::NotRunning { name: name() })?;
        if signal == Signal::KILL {
            self.standing.stopped = true;
        }
        pidfd::send_signal(&init.pidfd, signal.0)
            .map_err(|error| EngineError::failed(format!("send {signal}"), error))
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// [`EngineError`] when the standing can't be written.
    pub(super) fn rename(&mut self, name: String) -> Result<()> {
        self.standing.name = name;
        self.write_standing()
    }

    /// Runs a command in the container.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`], [`EngineError::CannotRun`].
    pub(super) fn exec(&self, process: &Process, stdio: BirthStdio<'_>) -> Result<runtime::Born> {
        let (Some(init), Some(cgroup)) = (&self.init, &self.cgroup) else {
            return Err(EngineError::NotRunning {
                name: self.standing.name.clone(),
            });
        };
        runtime::join(&JoinRequest {
            init_pid: init.pid,
            spec: &self.spec,
            process,
            cgroup,
            stdio,
        })
    }

    fn begin_probe(&mut self) -> Result<()> {
        let Some(monitor) = &self.monitor else {
            return Ok(());
        };
        let (timeout, args) = (monitor.check().timeout, monitor.check().command.clone());
        let start = Timestamp::now();
        let process = Process {
            args,
            ..Process::default()
        };
        let failed = |error: nix::errno::Errno| EngineError::failed("begin a probe", error);
        let flags = nix::fcntl::OFlag::O_CLOEXEC;
        let (output, write) = nix::unistd::pipe2(flags).map_err(failed)?;
        let nonblocking = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&output, nonblocking).map_err(failed)?;
        let null = crate::sys::mount::open_null()
            .map_err(|error| EngineError::failed("open /dev/null", error))?;
        let stdio = BirthStdio::Streams {
            stdin: null.as_fd(),
            stdout: write.as_fd(),
            stderr: write.as_fd(),
        };
        match self.exec(&process, stdio) {
            Ok(born) => {
                let deadline = Instant::now() + timeout;
                self.probe = Some(RunningProbe {
                    pid: born.pid,
                    pidfd: born.pidfd,
                    output: Some(output),
                    text: Vec::new(),
                    start,
                    deadline,
                    overdue: false,
                });
                Ok(())
            }
            Err(error) => {
                let code = if let EngineError::CannotRun { code, .. } = &error {
                    *code
                } else {
                    -1
                };
                let output = error.to_string();
                self.take_result(Probe {
                    start,
                    end: Timestamp::now(),
                    code,
                    output,
                })
            }
        }
    }

    fn finish_probe(&mut self, code: Option<i32>) -> Result<()> {
        let Some(probe) = self.probe.take() else {
            return Ok(());
        };
        let mut output = String::from_utf8_lossy(&probe.text).into_owned();
        let mut code = code.unwrap_or(-1);
        if probe.overdue {
            code = -1;
            let limit = self
                .monitor
                .as_ref()
                .map_or(Duration::ZERO, |m| m.check().timeout);
            let limit = crate::base::scalar::format_duration(limit);
            output = match output.is_empty() {
                true => format!("Health check exceeded timeout ({limit})"),
                false => format!("Health check exceeded timeout ({limit}): {output}"),
            };
        }
        self.take_result(Probe {
            start: probe.start,
            end: Timestamp::now(),
            code,
            output,
        })
    }

    fn take_result(&mut self, probe: Probe) -> Result<()> {
        if let Some(monitor) = &mut self.monitor {
            monitor.record(probe, Instant::now());
        }
        self.write_health()
    }

    /// Takes away what a killed supervisor may have left of a container that does not run, its process among
    /// it when that came into being but not into the record.
    pub(super) fn clear(&mut self) {
        self.cgroup = None;
        super::clean_up(&self.layout, &self.spec);
    }

    /// Takes away what the container had in the kernel; goes on after a failure.
    fn take_down(&mut self) {
        self.network = None;
        self.withdrawn = birth::disconnect(&self.layout, &self.spec);
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}

/// How a process ended: by `waitpid` for our own children, by the kernel's word about its pidfd for adopted ones.
/// The outer `None` means it runs; the inner one, that nothing can tell any more.
fn ended(pid: i32, pidfd: &OwnedFd) -> Option<Option<i32>> {
    match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(Some(code)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(Some(128 + signal as i32)),
        Ok(_) => None,
        Err(_) => match pidfd::has_ended(pidfd, Some(Duration::ZERO)) {
            Ok(false) => None,
            // Who waits for it is the host's init; until then its status can be seen, and later the pidfd has it.
            _ => {
                let seen = process::status_of_zombie(pid).map(Ended::from_wait_status);
                Some(seen.or_else(|| pidfd::exit_of(pidfd)).map(Ended::code))
            }
        },
    }
}
