//! Stops and signals: the stop signal, the grace period, the end of what does not listen.
//!
//! Imports: `base`, `engine`, `sys`; beside it the container's life. Source: as Docker, moby `daemon/stop.go`,
//! `daemon/kill.go`.

use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::hearing::{self, Heard};
use super::{Life, Turn};
use crate::base::scalar::Signal;
use crate::engine::native::moment::Moment;
use crate::engine::native::records::{self, PendingStop};
use crate::engine::spec::Share;
use crate::engine::state::{Exit, State};
use crate::engine::stops::{Hearing, SlowStop};
use crate::engine::{EngineError, Result};
use crate::sys::fs::Durability;
use crate::sys::pidfd;

/// What ends after so long is told of, even if it ends by itself.
const SLOW: Duration = Duration::from_secs(5);

/// A stop that was asked for.
#[derive(Debug)]
pub(super) struct Stopping {
    /// When it is killed; `None` is never.
    kill_at: Option<Instant>,
    killed: bool,
    /// Whether it is started again afterwards, as it was unhealthy.
    pub(super) renew: bool,
    /// When the signal was sent; not known of one that another supervisor has begun.
    begun: Option<Instant>,
    /// What the signal meant to it when its time was over.
    heard: Option<Heard>,
}

impl Stopping {
    /// When something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.kill_at.filter(|_| !self.killed)
    }
}

impl Life {
    /// Begins to stop it for good: the stop signal now, KILL after `timeout`.
    ///
    /// # Errors
    /// [`EngineError`] when the standing can't be written.
    pub(in super::super) fn stop(&mut self, timeout: Option<Duration>) -> Result<Turn> {
        self.standing.stopped = true;
        if self.cancel_restart()? {
            return Ok(Turn::Changed);
        }
        self.begin_stop(timeout.unwrap_or(self.spec.stop_grace), false);
        Ok(Turn::Same)
    }

    /// Leaves it down where it waits to be started again; `false` where it does not wait.
    fn cancel_restart(&mut self) -> Result<bool> {
        let waited = self.restart_at.take().is_some() && self.init.is_none();
        if waited {
            self.standing.again = None;
            if let State::Restarting { exit } = self.standing.state {
                self.standing.state = State::Exited { exit };
            }
            self.settle()?;
        }
        Ok(waited)
    }

    /// Stops it to start it again.
    pub(super) fn renew(&mut self) {
        if self.stopping.is_none() {
            self.begin_stop(self.spec.stop_grace, true);
        }
    }

    fn begin_stop(&mut self, timeout: Duration, renew: bool) {
        let kill_at = Instant::now().checked_add(timeout);
        let before = self.stopping.as_ref();
        let stopping = Stopping {
            // The earlier of two: who comes second may hurry it, not hold it up.
            kill_at: [before.and_then(|s| s.kill_at), kill_at]
                .into_iter()
                .flatten()
                .min(),
            killed: before.is_some_and(|s| s.killed),
            renew,
            begun: before.map_or_else(|| Some(Instant::now()), |s| s.begun),
            heard: before.and_then(|s| s.heard.clone()),
        };
        let known = before.is_some_and(|s| s.renew == renew && s.kill_at == stopping.kill_at);
        self.stopping = Some(stopping);
        if !known && self.init.is_some() {
            let left = |at: Instant| Moment::after(at.saturating_duration_since(Instant::now()));
            let kill_at = self.stopping.as_ref().and_then(|s| s.kill_at);
            self.standing.stopping = Some(PendingStop {
                kill_at: kill_at.and_then(left),
                renew,
            });
            // Whoever finds it running must know that it will not for long; so must another supervisor.
            let _ = records::write(&self.dir.state(), &self.standing, Durability::Renamed);
        }
        if timeout.is_zero() || self.spec.stop_signal == Signal::KILL {
            self.kill_all();
        } else {
            self.send(self.spec.stop_signal);
        }
        // As Docker: the signal is there when it goes on.
        self.thaw();
    }

    /// Goes on with a stop that another supervisor has begun.
    pub(super) fn resume_stop(&mut self) {
        let Some(pending) = self.standing.stopping.clone() else {
            return;
        };
        let now = Instant::now();
        let left = pending.kill_at.as_ref().and_then(Moment::remaining);
        self.stopping = Some(Stopping {
            kill_at: left.and_then(|left| now.checked_add(left)),
            killed: false,
            renew: pending.renew,
            begun: None,
            heard: None,
        });
        // Whether the other one got that far is not known; a second signal says nothing new.
        if self.spec.stop_signal == Signal::KILL {
            self.kill_all();
        } else {
            self.send(self.spec.stop_signal);
        }
        self.thaw();
    }

    /// Kills it when its time is over.
    pub(super) fn stop_due(&mut self, now: Instant) {
        let due = self.stopping.as_ref().and_then(Stopping::due);
        if due.is_some_and(|at| now >= at) {
            let look = |pid| hearing::look(pid, self.spec.stop_signal, self.spec.init);
            let heard = self.init.as_ref().map(|init| look(init.pid));
            if let Some(stopping) = &mut self.stopping {
                stopping.heard = heard;
            }
            self.kill_all();
        }
    }

    /// How a stop went that has come to its end, where there is something to tell.
    pub(super) fn slow_stop(&self, stopping: &Stopping, exit: Exit) -> Option<SlowStop> {
        let took = stopping.begun.map(|begun| begun.elapsed())?;
        // One that was killed beside its stop was somebody's wish.
        let ended = exit.signal() != Some(Signal::KILL);
        let heard = match &stopping.heard {
            Some(heard) if !ended => heard.clone(),
            _ if ended && took >= SLOW => Heard {
                hearing: Hearing::Handled,
                program: String::new(),
                shell: false,
            },
            _ => return None,
        };
        (!stopping.renew).then_some(SlowStop {
            signal: self.spec.stop_signal,
            took,
            killed: !ended,
            hearing: heard.hearing,
            program: heard.program,
            shell: heard.shell,
            init: self.spec.init,
        })
    }

    /// Sends its process a signal, and gives whether that worked. One that has ended by now is what is wanted.
    fn send(&self, signal: Signal) -> bool {
        self.note_signal(signal);
        let sent = self
            .init
            .as_ref()
            .map_or(Ok(()), |init| pidfd::send_signal(&init.pidfd, signal.0));
        matches!(sent, Ok(()) | Err(Errno::ESRCH))
    }

    fn kill_all(&mut self) {
        let sent = self.send(Signal::KILL);
        // The cgroup is the other way to it, and the only one to those who outlive their parent.
        if let Some(cgroup) = self
            .cgroup
            .as_ref()
            .filter(|_| !sent || self.spec.namespaces.pid != Share::Own)
        {
            let _ = cgroup.kill();
        }
        if let Some(stopping) = &mut self.stopping {
            stopping.killed = true;
        }
    }

    /// Sends its process a signal. KILL and its own stop signal keep it from being started again.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`].
    pub(in super::super) fn signal(&mut self, signal: Signal) -> Result<Turn> {
        let ends = signal == Signal::KILL || signal == self.spec.stop_signal;
        if ends && self.cancel_restart()? {
            return Ok(Turn::Changed);
        }
        let Some(init) = &self.init else {
            return Err(EngineError::NotRunning {
                name: self.standing.name.clone(),
            });
        };
        self.leave_down |= ends;
        pidfd::send_signal(&init.pidfd, signal.0)
            .map_err(|error| EngineError::failed(format!("send {signal}"), error))?;
        self.note_signal(signal);
        if ends {
            self.thaw();
        }
        Ok(Turn::Same)
    }
}
