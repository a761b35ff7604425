//! Signals of the terminal as calls: Ctrl-C, termination, a changed window size.
//!
//! In: signals. Out: calls of the current handler, on a thread of its own. The three signals are blocked in every
//! other thread; hoist's own processes let them through again at their start.
//! Imports: nothing of ours. Source: signalfd(2).

use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};

use super::exit::Failure;

/// Takes one signal.
type Handler = Box<dyn FnMut(Signal) + Send>;

/// The thread that waits for signals, and what it does with them.
pub struct Interrupts {
    handler: Arc<Mutex<Handler>>,
}

impl std::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupts").finish_non_exhaustive()
    }
}

impl Interrupts {
    /// Catches SIGINT, SIGTERM and SIGWINCH from now on. Must be called before other threads are started.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn catch(handler: impl FnMut(Signal) + Send + 'static) -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGWINCH);
        let cannot = |why: String| Failure::new(format!("cannot catch signals: {why}"));
        set.thread_block()
            .map_err(|errno| cannot(errno.to_string()))?;
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let shared = Arc::clone(&handler);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                while let Ok(signal) = set.wait() {
                    let mut handler = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    handler(signal);
                }
            })
            .map_err(|error| cannot(error.to_string()))?;
        Ok(Self { handler })
    }
    /// Has later signals go to another handler.
    pub fn hand_to(&self, handler: impl FnMut(Signal) + Send + 'static) {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(handler);
    }
}

/// Whether a signal asks the command to end.
pub fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGTERM)
}
