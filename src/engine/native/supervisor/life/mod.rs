//! The life of one container: start, exit, restart, stop, probes, and what is left on disk at each step.
//!
//! Imports: `base`, `engine`, `sys`; beside it everything the supervisor is made of.

mod exit;
mod hearing;
mod note;
mod pause;
mod probe;
mod stop;

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::birth::{self, Connected};
use super::health::{Kept, Watch};
use super::ready::Runner;
use super::restart::{Cause, Rules};
use super::streams::Streams;
use crate::base::clock::Timestamp;
use crate::engine::native::cdi::{self, Edits};
use crate::engine::native::cgroup::Cgroup;
use crate::engine::native::layout::{ContainerDir, Layout};
use crate::engine::native::logs::forward::Forward;
use crate::engine::native::logs::{LogWriter, Stream};
use crate::engine::native::moment::Moment;
use crate::engine::native::records::{self, Attempts, InitProcess, Record, Standing};
use crate::engine::native::runtime::{
    self, Birth, BirthStdio, Brought, JoinRequest, JoinedNamespaces, RootfsSpec,
};
use crate::engine::native::volumes;
use crate::engine::spec::{ContainerSpec, Process};
use crate::engine::state::{Exit, State};
use crate::engine::{EngineError, Result};
use crate::sys::fs::Durability;
use crate::sys::pidfd;

use exit::ended;
use probe::{Child, RunningProbe};
use stop::Stopping;

/// A running container's init.
#[derive(Debug)]
struct Init {
    pid: i32,
    pidfd: OwnedFd,
    started: Instant,
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
    watch: Option<Watch>,
    probe: Option<RunningProbe>,
    /// Probes that were killed, until they have ended.
    dying: Vec<Child>,
    ready: Option<Runner>,
    stopping: Option<Stopping>,
    /// Whether it was told to end by a signal, so that it stays down.
    leave_down: bool,
    rules: Rules,
    restart_at: Option<Instant>,
    /// Ports published no more; whoever lets go of this waits for the kernel.
    withdrawn: Option<crate::engine::native::net::Withdrawn>,
    /// Whether the last take-down has left something.
    unclean: bool,
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
        let standing = records::read(&dir.state())?.unwrap_or_else(|| Standing::created(&spec));
        let failed = |error| EngineError::failed("open the container's log and streams", error);
        let log = LogWriter::open(&dir, &spec.log).map_err(failed)?;
        Ok(Self {
            streams: Streams::open(&dir, spec.stdio).map_err(failed)?,
            forward: Forward::new(&dir, &spec, &log),
            log,
            rules: Rules::of(&spec),
            layout,
            dir,
            standing,
            spec,
            network: None,
            edits: None,
            cgroup: None,
            init: None,
            watch: None,
            probe: None,
            dying: Vec::new(),
            ready: None,
            stopping: None,
            leave_down: false,
            restart_at: None,
            withdrawn: None,
            unclean: false,
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
        let stop = self.stopping.as_ref().and_then(Stopping::due);
        let probes = self.probe_deadlines().into_iter().flatten();
        let sending = self.forward.as_ref().and_then(Forward::deadline);
        [stop, self.restart_at, self.log.deadline(), sending]
            .into_iter()
            .flatten()
            .chain(probes)
            .min()
    }

    fn write_standing(&self) -> Result<()> {
        records::write(&self.dir.state(), &self.standing, Durability::Synced)
    }

    /// Starts the container as the user asked for it: restarts are counted anew, and who takes its log must be there.
    ///
    /// # Errors
    /// As [`Life::start_again`].
    pub(super) fn start(&mut self) -> Result<()> {
        if let Some(forward) = &mut self.forward {
            forward.connect(&self.standing.name)?;
        }
        self.standing.restarts = 0;
        self.standing.attempts = Attempts::default();
        self.start_again()
    }

    /// Starts the container's process. Its network is made on the first call and kept over restarts.
    ///
    /// # Errors
    /// [`EngineError`]; nothing of the attempt is left in the kernel then.
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
                durability: Durability::Synced,
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
        self.standing.state = State::Running {
            since: Timestamp::now(),
        };
        self.standing.process = InitProcess::of(born.pid);
        self.standing.stopped = false;
        self.standing.stopping = None;
        self.standing.again = None;
        self.standing.last = None;
        self.standing.slow = None;
        self.restart_at = None;
        self.stopping = None;
        self.leave_down = false;
        let now = Instant::now();
        self.init = Some(Init {
            pid: born.pid,
            pidfd: born.pidfd,
            started: now,
        });
        self.watch = Watch::new(&self.spec, now);
        self.ready = self.spec.ready.as_ref().map(Runner::new).transpose()?;
        self.write_health()?;
        self.write_standing()?;
        self.note("start", &[]);
        Ok(())
    }

    /// Takes over a container whose supervisor is gone.
    ///
    /// # Errors
    /// [`EngineError`] when it has ended meanwhile and can't be started again.
    pub(super) fn adopt(&mut self) -> Result<()> {
        if matches!(self.standing.state, State::Restarting { .. }) {
            self.clear();
            let again = self.standing.again.as_ref().and_then(Moment::remaining);
            self.restart_at = Instant::now().checked_add(again.unwrap_or_default());
            return Ok(());
        }
        let process = self.standing.process.clone();
        let age = process.as_ref().map_or(Duration::ZERO, InitProcess::age);
        self.cgroup = Cgroup::find(
            self.spec.id.as_str(),
            self.spec.resources.cgroup_parent.as_deref(),
        );
        let Some(init) = process.filter(InitProcess::is_alive) else {
            return self.adopt_ended(age);
        };
        self.relieve(init.pid);
        let pidfd = pidfd::open(init.pid)
            .map_err(|errno| EngineError::failed("adopt the container", errno))?;
        self.network = Some(birth::reconnect(&self.layout, &self.spec)?);
        // Only what is to run after the end is still wanted; a description that is gone meanwhile has none.
        self.edits = birth::edits(&self.dir, &self.spec).unwrap_or_default();
        let now = Instant::now();
        let started = now.checked_sub(age).unwrap_or(now);
        self.init = Some(Init {
            pid: init.pid,
            pidfd,
            started,
        });
        let kept = records::read::<Kept>(&self.dir.health())?;
        self.ready = self.spec.ready.as_ref().map(Runner::new).transpose()?;
        if kept.as_ref().is_some_and(|kept| kept.seen)
            && let Some(ready) = &mut self.ready
        {
            ready.set_seen();
        }
        self.watch = Watch::resume(&self.spec, started, now, kept);
        self.match_freezer();
        self.resume_stop();
        Ok(())
    }

    /// Ends a supervisor that nobody can reach any more, as somebody has removed its socket and its lock: it is the
    /// parent of the container's process still.
    fn relieve(&self, init: i32) {
        let Ok(parent) = crate::sys::process::parent(init) else {
            return;
        };
        let ours = || {
            let line = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let id = self.spec.id.as_str().as_bytes();
            words.nth(1) == Some(b"__supervise") && words.any(|word| word == id)
        };
        if u32::try_from(parent) == Ok(std::process::id()) {
            return;
        }
        if let Ok(supervisor) = pidfd::open(parent)
            && ours()
        {
            let _ = pidfd::send_signal(&supervisor, libc::SIGKILL);
            let _ = pidfd::has_ended(&supervisor, Some(Duration::from_secs(2)));
        }
    }

    /// Its process has ended with nobody there to see it.
    fn adopt_ended(&mut self, ran: Duration) -> Result<()> {
        let code = self.standing.process.as_ref().and_then(InitProcess::code);
        let exit = self.exit().unwrap_or_else(|| self.exit_of(code));
        self.resume_stop();
        self.ended(exit, ran);
        self.clear();
        self.settle()
    }

    /// Takes a part of what the container has written into the log and gives it to `give`; whether there was any.
    pub(super) fn read(&mut self, stream: Stream, give: &mut dyn FnMut(&[u8])) -> bool {
        let awaits = usize::from(stream == Stream::Err);
        let (seen, any);
        if let Some(pipe) = self.streams.pipe(stream) {
            let bytes = self.log.take(pipe, stream);
            give(bytes);
            let ready = self.ready.as_mut();
            seen = ready.is_some_and(|ready| ready.feed(awaits, bytes));
            any = !bytes.is_empty();
        } else {
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
            let ready = self.ready.as_mut();
            seen = ready.is_some_and(|ready| ready.feed(awaits, bytes));
            any = true;
        }
        if seen {
            self.line_was_seen();
        }
        any
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

    /// Looks whether the init or a probe has ended.
    pub(super) fn reap(&mut self) -> Result<Turn> {
        let mut turn = self.reap_probes()?;
        if let Some(init) = &self.init
            && let Some(code) = ended(init.pid, &init.pidfd)
        {
            let (exit, ran) = (self.exit_of(code), init.started.elapsed());
            self.ended(exit, ran);
            turn = Turn::Changed;
        }
        Ok(turn)
    }

    /// The container's process is gone: restart later, or leave it down.
    fn ended(&mut self, exit: Exit, ran: Duration) {
        let stopping = self.stopping.take();
        let renew = stopping.as_ref().is_some_and(|stop| stop.renew);
        self.standing.slow = stopping
            .as_ref()
            .and_then(|stop| self.slow_stop(stop, exit));
        let told = self.standing.stopped || self.leave_down;
        let stopped = told || (stopping.is_some() && !renew);
        let failed = exit.code() != 0 && !stopped;
        self.standing.last = failed.then(|| self.last_run(ran));
        if let Some(cgroup) = &self.cgroup {
            // With the host's PID namespace its children outlive it.
            let _ = cgroup.kill();
        }
        self.note_end(exit, ran, stopping.is_some() && !renew);
        let process = self.standing.process.take();
        self.init = None;
        self.drop_probes();
        self.run_last_hooks(process.map_or(0, |process| process.pid));
        self.standing.stopping = None;
        let cause = match renew {
            true => Cause::Unhealthy,
            false => Cause::Own(exit),
        };
        let wait = match stopped {
            true => None,
            false => self.rules.after(cause, ran, &mut self.standing.attempts),
        };
        self.standing.stopped = stopped;
        self.restart_at = wait.and_then(|wait| Instant::now().checked_add(wait));
        match wait {
            Some(wait) => {
                self.standing.again = Moment::after(wait);
                self.standing.restarts = self.standing.restarts.saturating_add(1);
                self.standing.state = State::Restarting { exit };
            }
            None => self.standing.state = State::Exited { exit },
        }
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
        if let Err(error) = runtime::hooks::run(&edits.hooks, &[cdi::Moment::Poststop], &told) {
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
        self.stop_due(now);
        let mut turn = self.probes_due(now)?;
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
                self.ended(exit, Duration::ZERO);
                self.settle()?;
            }
        }
        Ok(turn)
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
        if cgroup.is_frozen() {
            // What entered it now would not answer until it is thawed, and neither would we.
            let what = format!(
                "container {} is paused; unpause it first",
                self.standing.name
            );
            return Err(EngineError::Unsupported { what });
        }
        runtime::join(&JoinRequest {
            init_pid: init.pid,
            spec: &self.spec,
            process,
            cgroup,
            stdio,
        })
    }

    /// Takes away what a killed supervisor may have left of a container that does not run, its process among
    /// it when that came into being but not into the record.
    pub(super) fn clear(&mut self) {
        self.cgroup = None;
        self.unclean = super::clean_up(&self.layout, &self.spec).is_err();
    }

    /// Whether something of it is still in the kernel, so that what finds it again must stay.
    pub(super) fn is_unclean(&self) -> bool {
        self.unclean
    }

    /// Takes away what the container had in the kernel; goes on after a failure.
    fn take_down(&mut self) {
        // The ports are let go of last: as long as a rule takes its packets, nobody else can use one.
        let doors = self.network.take().map(|network| network.doors);
        let (withdrawn, network) = birth::disconnect(&self.layout, &self.spec);
        drop(doors);
        self.withdrawn = withdrawn;
        let cgroup = self.cgroup.take();
        let cgroup = cgroup.map_or(Ok(()), |cgroup| {
            cgroup.kill().and_then(|()| cgroup.remove())
        });
        // After its processes: what is still open in a file system keeps that alive.
        let volumes = volumes::release(&self.layout, &self.spec.id);
        self.unclean = network.and(cgroup).and(volumes).is_err();
    }
}
