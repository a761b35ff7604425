//! The settings of this command's terminal, and how it gets them back, also when the command ends without warning.
//!
//! In: standard input's terminal. Out: its settings as they were.
//! Imports: `cli::interrupts`. Source: termios(3), tcgetpgrp(3).

use std::io::{self, IsTerminal as _};
use std::panic;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};

use super::exit::Failure;
use super::interrupts::{Others, end_by};

/// The settings as they were when they were asked for.
#[derive(Debug)]
pub struct Settings(Mutex<Termios>);

impl Settings {
    /// Those of standard input's terminal; `None` when it is none.
    pub fn of_stdin() -> Option<Self> {
        tcgetattr(io::stdin()).ok().map(Mutex::new).map(Self)
    }
    /// A copy to change.
    pub fn copy(&self) -> Termios {
        self.held().clone()
    }
    fn held(&self) -> MutexGuard<'_, Termios> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Gives them back.
    pub fn restore(&self) {
        // Who writes settings from behind is stopped. The terminal may be gone; then nobody needs the settings.
        if in_front() {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.held());
        }
    }
    /// Gives them back in the midst of everything, and clears the line that was drawn below the others.
    pub fn leave(&self) {
        self.restore();
        let out = io::stdout();
        if in_front() && out.is_terminal() {
            // Past the stream's lock: whoever holds it may wait for ever. Nobody is left to be told of a failure.
            let _ = write(&out, b"\r\x1b[J");
        }
    }
}

/// Whether the terminal is this process's to use.
pub fn in_front() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Gives the terminal back before one of these signals ends this command.
///
/// # Errors
/// When no thread can wait for them.
pub fn give_back_at(
    last: Others,
    leave: impl Fn(&Settings) + Send + 'static,
) -> Result<(), Failure> {
    let settings = Settings::of_stdin();
    last.each(move |number| {
        settings.iter().for_each(&leave);
        end_by(number);
    })
}

/// From now on a panic, which ends a release build at once, does this before it is told.
pub fn before_panic(act: impl Fn() + Send + Sync + 'static) {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |why| {
        act();
        tell(why);
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_does_first_what_it_is_given() {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let this = thread::Builder::new().name("panics-for-a-test".to_owned());
        before_panic(move || {
            if thread::current().name() == Some("panics-for-a-test") {
                seen.store(true, Ordering::SeqCst);
            }
        });
        let panics = this.spawn(|| panic::panic_any(())).unwrap();
        assert!(panics.join().is_err());
        assert!(done.load(Ordering::SeqCst));
    }
}
