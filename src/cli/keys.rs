//! The keyboard of an attached command: each key as it is pressed, not line by line.
//!
//! In: this command's terminal. Out: bytes, from a thread of its own. Ctrl-C stays a signal; Ctrl-Z is a byte, since the
//! terminal must be given back before the process stops.
//! Imports: nothing of ours. Source: termios(3), poll(2), tcgetpgrp(3).

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{Pid, getpgrp, read, tcgetpgrp};

/// Time between two looks whether a command in the background has come to the front.
const BEHIND: Duration = Duration::from_millis(500);

/// The terminal, key by key; dropping it brings the old settings back and ends the thread.
#[derive(Debug)]
pub struct Keys {
    before: Termios,
    _end: PipeWriter,
}

impl Keys {
    /// Switches standard input's terminal and hands what is typed to `take`, until that answers `false`. `None` when
    /// there is no terminal, or it belongs to another process now.
    pub fn enter(take: impl FnMut(&[u8]) -> bool + Send + 'static) -> Option<Self> {
        if !in_front() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let (ended, end) = io::pipe().ok()?;
        let keys = Self { before, _end: end };
        keys.apply()?;
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || listen(&ended, take))
            .ok()?;
        Some(keys)
    }

    fn apply(&self) -> Option<()> {
        let mut own = self.before.clone();
        own.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO);
        let set = |own: &mut Termios, index: SpecialCharacterIndices, value| {
            if let Some(slot) = own.control_chars.get_mut(index as usize) {
                *slot = value;
            }
        };
        // 0 is _POSIX_VDISABLE on Linux.
        set(&mut own, SpecialCharacterIndices::VSUSP, 0);
        set(&mut own, SpecialCharacterIndices::VMIN, 1);
        set(&mut own, SpecialCharacterIndices::VTIME, 0);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &own).ok()
    }

    fn restore(&self) {
        // Who writes settings from behind is stopped. The terminal may be gone; then nobody needs the settings.
        if in_front() {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
        }
    }

    /// Gives the terminal back, stops this process with its group, and takes the terminal again when it goes on in front.
    pub fn suspend(&self) {
        self.restore();
        // The group of this process is there.
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        if in_front() {
            // A terminal that is gone is seen when it is written to.
            let _ = self.apply();
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Whether the terminal is this process's to use.
fn in_front() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

fn listen(ended: &PipeReader, mut take: impl FnMut(&[u8]) -> bool) {
    let stdin = io::stdin();
    let mut buffer = [0; 256];
    loop {
        let mut fds = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        }
        let [keys, end] = fds;
        if end.any() != Some(false) {
            return;
        }
        if keys.any() == Some(false) {
            continue;
        }
        if !in_front() {
            if tcgetpgrp(&stdin).is_err() {
                return;
            }
            // Who reads from behind is stopped.
            thread::sleep(BEHIND);
            continue;
        }
        match read(&stdin, &mut buffer) {
            Ok(count @ 1..) => {
                if !take(buffer.get(..count).unwrap_or_default()) {
                    return;
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            _ => return,
        }
    }
}
