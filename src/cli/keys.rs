//! The keyboard of an attached command: each key as it is pressed, not line by line.
//!
//! In: this command's terminal. Out: bytes, from a thread of its own. Ctrl-C stays a signal; Ctrl-Z is a byte, since the
//! terminal must be given back before the process stops.
//! Imports: `cli::terminal`, `ui::keys`. Source: termios(3), poll(2), tcgetpgrp(3).

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{Pid, read, tcgetpgrp};

use super::terminal::{Settings, in_front};
use crate::ui::keys::AGAIN;

/// Milliseconds between two looks whether a shell has given the terminal its own settings meanwhile.
const LOOK: u16 = 500;

/// The terminal, key by key; dropping it brings the old settings back and ends the thread.
#[derive(Debug)]
pub struct Keys {
    mode: Arc<Mode>,
    _end: PipeWriter,
}

/// How the terminal was, and whether it is to be key by key now.
#[derive(Debug)]
struct Mode {
    before: Settings,
    taken: Mutex<bool>,
}

impl Keys {
    /// Switches standard input's terminal and hands what is typed to `take`, until that answers `false`. `None` when
    /// there is no terminal, or it belongs to another process now.
    pub fn enter(take: impl FnMut(&[u8]) -> bool + Send + 'static) -> Option<Self> {
        if !in_front() {
            return None;
        }
        let mode = Arc::new(Mode {
            before: Settings::of_stdin()?,
            taken: Mutex::new(false),
        });
        let (ended, end) = io::pipe().ok()?;
        let keys = Self {
            mode: Arc::clone(&mode),
            _end: end,
        };
        mode.take()?;
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || listen(&ended, &mode, take))
            .ok()?;
        Some(keys)
    }

    /// Gives the terminal back, stops this process with its group, and takes the terminal again when it goes on. Where
    /// it goes on behind others, the terminal is taken once it comes to the front.
    pub fn suspend(&self) {
        self.mode.give_back();
        // The group of this process is there.
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        // A terminal that is gone is seen when it is written to.
        let _ = self.mode.take();
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.mode.give_back();
    }
}

impl Mode {
    fn taken(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<()> {
        let mut taken = self.taken();
        *taken = true;
        self.apply()
    }

    fn give_back(&self) {
        let mut taken = self.taken();
        *taken = false;
        self.before.restore();
    }

    /// Switches the terminal again if a shell has it line by line meanwhile; whether it was so.
    fn retake(&self) -> bool {
        let taken = self.taken();
        let by_line = |mode: Termios| mode.local_flags.contains(LocalFlags::ICANON);
        *taken && in_front() && tcgetattr(io::stdin()).is_ok_and(by_line) && self.apply().is_some()
    }

    fn apply(&self) -> Option<()> {
        if !in_front() {
            // Who writes settings from behind is stopped.
            return Some(());
        }
        let mut own = self.before.copy();
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
}

fn listen(ended: &PipeReader, mode: &Mode, mut take: impl FnMut(&[u8]) -> bool) {
    let stdin = io::stdin();
    let mut buffer = [0; 256];
    let mut behind = false;
    loop {
        let keys = PollFd::new(stdin.as_fd(), PollFlags::POLLIN);
        let mut fds = [PollFd::new(ended.as_fd(), PollFlags::POLLIN), keys];
        // Who reads from behind is stopped: what is typed there is not even looked for.
        let count = if behind { 1 } else { 2 };
        match poll(
            fds.get_mut(..count).unwrap_or_default(),
            PollTimeout::from(LOOK),
        ) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        }
        let [end, keys] = fds;
        if end.any() != Some(false) {
            return;
        }
        behind = !in_front();
        if behind {
            if tcgetpgrp(&stdin).is_err() {
                return;
            }
            continue;
        }
        if mode.retake() && !take(&[AGAIN]) {
            return;
        }
        if count == 1 || keys.any() == Some(false) {
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
