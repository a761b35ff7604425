//! Signal dispositions of this process.
//!
//! Imports: nothing of ours. Source: signal(7).
#![expect(unsafe_code, reason = "changing a disposition has no safe binding")]

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

/// Gives SIGPIPE its default again, which Rust's start-up code changes to "ignore": a command whose reader has gone
/// ends quietly, and no child inherits the change.
///
/// # Errors
/// The kernel's.
pub fn default_pipe() -> Result<(), Errno> {
    // SAFETY: the default disposition runs no code of ours, so nothing of a handler's rules can be broken.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}

/// Ignores SIGPIPE: who writes to somebody that has gone gets `EPIPE`.
///
/// # Errors
/// The kernel's.
pub fn ignore_pipe() -> Result<(), Errno> {
    // SAFETY: ignoring runs no code of ours, so nothing of a handler's rules can be broken.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map(drop)
}

/// Lets every signal through to the calling thread: a process started by one that blocks some inherits that.
///
/// # Errors
/// The kernel's.
pub fn unblock_all() -> Result<(), Errno> {
    SigSet::empty().thread_set_mask()
}
