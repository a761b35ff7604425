//! Signals of the terminal as calls: Ctrl-C, termination, a changed window size; for commands that pass signals on, all the others.
//!
//! In: signals. Out: calls of the current handler, on a thread of its own. The signals are blocked in every
//! other thread; hoist's own processes let them through again at their start.
//! Imports: nothing of ours. Source: signalfd(2).

use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

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

/// All other signals that can be passed on to a container; nobody else takes them from now on.
#[derive(Debug)]
pub struct Others(SignalFd);

impl Others {
    /// Blocks them. Must be called before other threads are started.
    ///
    /// As Docker, all that can be had. But a shell stops and continues this command, not the container; and what tells of
    /// its children and pipes is its own.
    ///
    /// # Errors
    /// When they can't be caught.
    pub fn catch() -> Result<Self, Failure> {
        const OWN: [Signal; 12] = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGWINCH,
            Signal::SIGCHLD,
            Signal::SIGPIPE,
            Signal::SIGURG,
            Signal::SIGTSTP,
            Signal::SIGCONT,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
            Signal::SIGKILL,
            Signal::SIGSTOP,
        ];
        let mut set = SigSet::all();
        for signal in OWN {
            set.remove(signal);
        }
        Self::of(&set)
    }
    /// As [`Others::catch`], but only those with which a terminal or its user ends a command at once: SIGHUP and SIGQUIT.
    /// Who takes them brings in order what would be left, and then lets them do it with [`end_by`].
    ///
    /// # Errors
    /// When they can't be caught.
    pub fn last() -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGHUP);
        set.add(Signal::SIGQUIT);
        Self::of(&set)
    }
    fn of(set: &SigSet) -> Result<Self, Failure> {
        let cannot = |errno| Failure::new(format!("cannot catch signals: {errno}"));
        set.thread_block().map_err(cannot)?;
        let waiting = SignalFd::with_flags(set, SfdFlags::SFD_CLOEXEC).map_err(cannot)?;
        Ok(Self(waiting))
    }
    /// Calls for each from now on, with its number, on a thread of its own.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn each(self, mut handler: impl FnMut(i32) + Send + 'static) -> Result<(), Failure> {
        let wait = move || {
            while let Ok(Some(told)) = self.0.read_signal() {
                if let Ok(number) = i32::try_from(told.ssi_signo) {
                    handler(number);
                }
            }
        };
        let thread = std::thread::Builder::new().name("other-signals".to_owned());
        let started = thread.spawn(wait);
        started.map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
        Ok(())
    }
}

/// Whether a signal asks the command to end.
pub fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGTERM)
}

/// Ends this command by a signal that it has caught, as it ends commands that don't; from the thread that took it. One
/// that the command was told to ignore ends nothing.
pub fn end_by(number: i32) {
    let Ok(signal) = Signal::try_from(number) else {
        return;
    };
    let mut set = SigSet::empty();
    set.add(signal);
    if set.thread_unblock().is_ok() {
        let _ = raise(signal);
        let _ = set.thread_block();
    }
}
