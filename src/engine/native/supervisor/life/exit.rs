//! How a process ended, and what a failed run has used.
//!
//! Imports: `engine`, `sys`; beside it the container's life.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Life;
use crate::base::clock::Timestamp;
use crate::engine::native::cgroup::Cgroup;
use crate::engine::native::records::LastRun;
use crate::engine::state::{Exit, State};
use crate::sys::pidfd::{self, Ended};
use crate::sys::process;

/// How a process ended: by `waitpid` for our own children, by the kernel's word about its pidfd for adopted ones.
/// The outer `None` means it runs; the inner one, that nothing can tell any more.
pub(super) fn ended(pid: i32, pidfd: &OwnedFd) -> Option<Option<i32>> {
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

impl Life {
    /// The exit of a process that ended just now.
    pub(super) fn exit_of(&self, code: Option<i32>) -> Exit {
        // As Docker: also when it was not the first process that the kernel has killed.
        let oom = self.cgroup.as_ref().is_some_and(|c| c.oom_kills() > 0);
        Exit {
            code,
            oom,
            at: Timestamp::now(),
        }
    }

    /// What the run that ends has used; the cgroup is still there.
    pub(super) fn last_run(&self, ran: Duration) -> LastRun {
        let used = self.cgroup.as_ref().map(Cgroup::usage).unwrap_or_default();
        let since = match self.standing.state {
            State::Running { since } | State::Paused { since } => since,
            _ => Timestamp::now(),
        };
        LastRun {
            since,
            ran,
            memory_peak: used.memory_peak,
            pids_peak: used.pids_peak,
            cpu: used.cpu,
        }
    }
}
