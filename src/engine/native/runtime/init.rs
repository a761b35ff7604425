//! PID 1 of a container with `init: true`: reaps what is left to it and passes signals on.
//!
//! It is our own code, forked, never executed: there is no file of it in the container. It holds no
//! descriptor, can't be traced, and ends as its child ended. As tini does.
//! Imports: `sys`.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys::process::exit_now;

/// Lets every signal wait until [`run`] asks for it. Before the fork, so that none is missed.
pub(super) fn hold_signals() -> Result<(), Errno> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
}

/// Runs until `child` has ended, and ends with its code.
pub(super) fn run(child: i32) -> ! {
    let child = Pid::from_raw(child);
    let waiting = SigSet::all();
    loop {
        if let Some(code) = reap(child) {
            exit_now(code);
        }
        match waiting.wait() {
            // Terminal stops are for the program in front, not for us.
            Ok(Signal::SIGCHLD | Signal::SIGTTIN | Signal::SIGTTOU) | Err(_) => {}
            // The child may just have ended: the next round sees it.
            Ok(signal) => drop(kill(child, signal)),
        }
    }
}

/// Waits for all that have ended; gives the code when `child` is one of them.
fn reap(child: Pid) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) => return None,
            Err(Errno::ECHILD) => return Some(0),
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return None,
        }
    }
}
