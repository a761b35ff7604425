//! Runs the probes: the command of `healthcheck` in the container, and what `x-hoist.ready` asks for from here.
//!
//! A probe and all it starts are in a cgroup of their own below the container's, so that one that takes too long is
//! ended as a whole. Imports: `base`, `engine`, `sys`; beside it the container's life, `health`, `ready`.
//! Source: as Docker, moby `daemon/health.go`, for codes and texts.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::exit::ended;
use super::{Life, Turn};
use crate::base::clock::Timestamp;
use crate::base::scalar::format_duration;
use crate::engine::native::cgroup::Below;
use crate::engine::native::records;
use crate::engine::native::runtime::{self, BirthStdio, JoinRequest};
use crate::engine::native::supervisor::health::Kind;
use crate::engine::native::supervisor::ready::Outcome;
use crate::engine::spec::{OnUnhealthy, Process};
use crate::engine::state::{HealthStatus, Probe};
use crate::engine::{EngineError, Result};
use crate::sys::fs::Durability;
use crate::sys::pidfd;

/// Docker keeps this much of a probe's output.
const PROBE_OUTPUT: usize = 4096;

/// Reads of a probe's output in one turn.
const PROBE_READS: usize = 16;

/// The code of a probe that gave none: it took too long, or could not be started.
const NO_CODE: i32 = -1;

/// A probe that runs.
#[derive(Debug)]
pub(super) struct RunningProbe {
    child: Child,
    /// `None` once it was closed, which may be before the end.
    output: Option<OwnedFd>,
    text: Vec<u8>,
    truncated: bool,
    start: Timestamp,
    began: Instant,
    deadline: Option<Instant>,
}

/// A probe's first process, which is our child.
#[derive(Debug)]
pub(super) struct Child {
    pid: i32,
    pidfd: OwnedFd,
    /// All it has started; `None` where the group could not be made.
    group: Option<Below>,
}

impl Child {
    fn kill(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        let _ = pidfd::send_signal(&self.pidfd, libc::SIGKILL);
    }
}

impl RunningProbe {
    fn read(&mut self) {
        let mut buffer = [0u8; 4096];
        // A flood must not keep the supervisor from everything else.
        for _ in 0..PROBE_READS {
            let Some(output) = &self.output else { break };
            let Ok(length) = nix::unistd::read(output, &mut buffer) else {
                break;
            };
            if length == 0 {
                self.output = None;
            }
            let room = PROBE_OUTPUT.saturating_sub(self.text.len()).min(length);
            self.truncated |= room < length;
            self.text
                .extend_from_slice(buffer.get(..room).unwrap_or_default());
        }
    }
    /// What it printed, as Docker marks it where it was too much.
    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if self.truncated {
            text.push_str("...");
        }
        text
    }
}

fn result(start: Timestamp, code: i32, output: String) -> Probe {
    Probe {
        start,
        end: Timestamp::now(),
        code,
        output,
    }
}

impl Life {
    /// The running probe's output.
    pub(in super::super) fn probe_output(&self) -> Option<BorrowedFd<'_>> {
        Some(self.probe.as_ref()?.output.as_ref()?.as_fd())
    }
    /// The connection of a probe that is made from here, and what it waits for.
    pub(in super::super) fn ready_socket(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.ready.as_ref()?.socket()
    }
    /// Whether new probes may begin: a container that is about to end is let alone.
    fn may_probe(&self) -> bool {
        self.init.is_some() && self.stopping.is_none()
    }
    /// When a probe begins or has taken too long.
    pub(super) fn probe_deadlines(&self) -> [Option<Instant>; 2] {
        let due = |kind| {
            let watch = self.watch.as_ref().filter(|_| self.may_probe())?;
            watch.due(kind)
        };
        let ready = self.ready.as_ref().filter(|ready| ready.is_running());
        [
            match &self.probe {
                Some(probe) => probe.deadline,
                None => due(Kind::Check),
            },
            match ready {
                Some(ready) => ready.deadline(),
                None => due(Kind::Ready),
            },
        ]
    }

    /// Reads one turn of the probe's output.
    pub(in super::super) fn read_probe(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.read();
        }
    }

    /// Looks whether a probe's process has ended.
    pub(super) fn reap_probes(&mut self) -> Result<Turn> {
        self.dying
            .retain(|child| ended(child.pid, &child.pidfd).is_none());
        let Some(probe) = &self.probe else {
            return Ok(Turn::Same);
        };
        let Some(code) = ended(probe.child.pid, &probe.child.pidfd) else {
            return Ok(Turn::Same);
        };
        let Some(mut probe) = self.probe.take() else {
            return Ok(Turn::Same);
        };
        probe.read();
        let found = result(probe.start, code.unwrap_or(NO_CODE), probe.text());
        self.take_result(Kind::Check, found, probe.began)
    }

    /// The container has ended: so have its probes, which are only waited for.
    pub(super) fn drop_probes(&mut self) {
        self.dying
            .extend(self.probe.take().map(|probe| probe.child));
        self.ready = None;
        self.watch = None;
    }

    /// Does what is due of probes.
    pub(super) fn probes_due(&mut self, now: Instant) -> Result<Turn> {
        let mut turn = self.overdue(now)?;
        if self.turn_ready(now)? == Turn::Changed {
            turn = Turn::Changed;
        }
        for kind in [Kind::Check, Kind::Ready] {
            if self.is_due(kind, now) && self.begin(kind, now)? == Turn::Changed {
                turn = Turn::Changed;
            }
        }
        Ok(turn)
    }

    fn is_due(&self, kind: Kind, now: Instant) -> bool {
        let busy = match kind {
            Kind::Check => self.probe.is_some(),
            Kind::Ready => self.ready.as_ref().is_some_and(|ready| ready.is_running()),
        };
        let due = self.watch.as_ref().and_then(|watch| watch.due(kind));
        !busy && self.may_probe() && due.is_some_and(|due| now >= due)
    }

    /// Ends a probe that has taken too long; its verdict does not wait for its end.
    fn overdue(&mut self, now: Instant) -> Result<Turn> {
        let frozen = self
            .cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.is_frozen());
        if let Some(probe) = self.probe.as_mut().filter(|_| frozen)
            && let (Some(watch), Some(deadline)) = (&self.watch, probe.deadline)
            && now >= deadline
        {
            // It is frozen with the container, which says nothing about it: its time begins anew.
            probe.deadline = now.checked_add(watch.timeout(Kind::Check));
            return Ok(Turn::Same);
        }
        let late = |probe: &RunningProbe| probe.deadline.is_some_and(|at| now >= at);
        let Some(mut probe) = self.probe.take_if(|probe| late(probe)) else {
            return Ok(Turn::Same);
        };
        probe.child.kill();
        probe.read();
        let watch = self.watch.as_ref();
        let limit = watch.map_or(Duration::ZERO, |watch| watch.timeout(Kind::Check));
        let mut text = format!("Health check exceeded timeout ({})", format_duration(limit));
        if !probe.text.is_empty() {
            text = format!("{text}: {}", probe.text());
        }
        let (start, began) = (probe.start, probe.began);
        self.dying.push(probe.child);
        self.take_result(Kind::Check, result(start, NO_CODE, text), began)
    }

    fn begin(&mut self, kind: Kind, now: Instant) -> Result<Turn> {
        if self.cgroup.as_ref().is_some_and(|c| c.is_frozen()) {
            // As Docker: a paused container is not probed. What entered it now would hang until it is thawed.
            if let Some(watch) = &mut self.watch {
                watch.postpone(kind, now);
            }
            return Ok(Turn::Same);
        }
        let timeout = match &self.watch {
            Some(watch) => watch.timeout(kind),
            None => return Ok(Turn::Same),
        };
        let deadline = now.checked_add(timeout);
        if kind == Kind::Ready {
            if let (Some(ready), Some(init)) = (&mut self.ready, &self.init) {
                ready.begin(init.pidfd.as_fd(), now, deadline);
            }
            return self.turn_ready(now);
        }
        let start = Timestamp::now();
        if !self.dying.is_empty() {
            let text = "the probe before it was killed and has not ended yet".to_owned();
            return self.take_result(kind, result(start, NO_CODE, text), now);
        }
        match self.start_check() {
            Ok((child, output)) => {
                self.probe = Some(RunningProbe {
                    child,
                    output: Some(output),
                    text: Vec::new(),
                    truncated: false,
                    start,
                    began: now,
                    deadline,
                });
                Ok(Turn::Same)
            }
            // As Docker: whatever kept it from running, it has no code of its own.
            Err(error) => {
                let found = result(start, NO_CODE, error.to_string());
                self.take_result(kind, found, now)
            }
        }
    }

    /// Starts the command of `healthcheck`; gives what it prints.
    fn start_check(&self) -> Result<(Child, OwnedFd)> {
        let (Some(init), Some(cgroup), Some(check)) =
            (&self.init, &self.cgroup, &self.spec.healthcheck)
        else {
            return Err(EngineError::NotRunning {
                name: self.standing.name.clone(),
            });
        };
        let process = Process {
            args: check.command.clone(),
            ..Process::default()
        };
        let failed = |error: nix::errno::Errno| EngineError::failed("begin a probe", error);
        let flags = nix::fcntl::OFlag::O_CLOEXEC;
        let (output, write) = nix::unistd::pipe2(flags).map_err(failed)?;
        let nonblocking = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&output, nonblocking).map_err(failed)?;
        let null = crate::sys::mount::open_null()
            .map_err(|error| EngineError::failed("open /dev/null", error))?;
        // Without a group it is ended alone, which is better than not to be run.
        let group = cgroup.below().ok();
        let born = runtime::join(&JoinRequest {
            init_pid: init.pid,
            spec: &self.spec,
            process: &process,
            cgroup: group.as_ref().map_or(cgroup, Below::whole),
            stdio: BirthStdio::Streams {
                stdin: null.as_fd(),
                stdout: write.as_fd(),
                stderr: write.as_fd(),
            },
        })?;
        let child = Child {
            pid: born.pid,
            pidfd: born.pidfd,
            group,
        };
        Ok((child, output))
    }

    fn turn_ready(&mut self, now: Instant) -> Result<Turn> {
        let Some(Outcome { probe, began, last }) =
            self.ready.as_mut().and_then(|ready| ready.turn(now))
        else {
            return Ok(Turn::Same);
        };
        let turn = self.take_result(Kind::Ready, probe, began)?;
        if let Some(watch) = self.watch.as_mut().filter(|_| last) {
            watch.rest(Kind::Ready);
        }
        Ok(turn)
    }

    /// The awaited log line has come: the probe that looks for it is due now.
    pub(super) fn line_was_seen(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.hasten(Kind::Ready, Instant::now());
        }
        // The line may never come again: a successor must know of it.
        let _ = self.write_health();
    }

    fn take_result(&mut self, kind: Kind, probe: Probe, began: Instant) -> Result<Turn> {
        let Some(watch) = &mut self.watch else {
            return Ok(Turn::Same);
        };
        let before = watch.status();
        watch.record(kind, probe, began, Instant::now());
        let status = watch.status();
        let unhealthy = status == HealthStatus::Unhealthy;
        if status != before {
            self.note(&format!("health_status: {}", status.as_str()), &[]);
        }
        self.write_health()?;
        if unhealthy && self.spec.on_unhealthy == OnUnhealthy::Restart {
            self.renew();
        }
        Ok(Turn::Changed)
    }

    pub(super) fn write_health(&self) -> Result<()> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let seen = self.ready.as_ref().is_some_and(|ready| ready.has_seen());
        records::write(&self.dir.health(), &watch.kept(seen), Durability::Renamed)
    }
}
