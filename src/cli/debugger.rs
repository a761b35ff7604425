//! A look at a build's step that failed: a shell in it, then the question how to go on.
//!
//! Imports: `build`, `cli::streams`. It needs a terminal; without one it says what it would have done.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::build::{Debugger, Failed, Next};
use crate::cli::app::App;
use crate::cli::streams::{Raw, follow_size, terminal, window};
use crate::engine::EngineError;
use crate::ui::Progress;

/// Asks on this command's terminal, and keeps what draws on it still meanwhile: steps that fail side by side come one after
/// another.
pub struct Asking {
    progress: Arc<Progress>,
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

/// Who is asked about failing steps with `--debug`; `None` where nobody could answer, which is said.
pub fn of(app: &App, wanted: bool, progress: &Arc<Progress>) -> Option<Arc<dyn Debugger>> {
    if !wanted {
        return None;
    }
    if !(io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()) {
        app.warn("--debug does nothing here: it needs a terminal for input and output, to open a shell in a step that fails");
        return None;
    }
    let progress = Arc::clone(progress);
    Some(Arc::new(Asking { progress }))
}

impl Debugger for Asking {
    fn ask(&self, failed: &Failed<'_>) -> Next {
        let mut next = Next::GiveUp;
        self.progress.above(|| next = ask(failed));
        next
    }
}

/// Opens a shell in the step, then asks how to go on.
fn ask(failed: &Failed<'_>) -> Next {
    say(&format!("\n{} failed: {}\n", failed.title, failed.reason()));
    say(
        "a shell opens in the step as it failed, with its files, mounts, environment, user and network; leave it with exit\n",
    );
    loop {
        if failed.cancel.is_cancelled() {
            return Next::GiveUp;
        }
        if let Err(error) = shell(failed) {
            say(&format!("no shell can be had: {error}\n"));
        }
        if let Some(next) = question() {
            return next;
        }
    }
}

/// Shells that are tried, in this order.
const SHELLS: [&str; 3] = ["/bin/bash", "/bin/sh", "/bin/busybox"];

/// Runs a shell in the step's state until it ends.
fn shell(failed: &Failed<'_>) -> Result<(), EngineError> {
    let mut last = None;
    let own = failed
        .spec
        .process
        .args
        .first()
        .filter(|first| first.ends_with("sh"));
    let shells = own.map(String::as_str).into_iter().chain(SHELLS);
    for shell in shells {
        let mut spec = failed.spec.clone();
        spec.process.args = match shell {
            "/bin/busybox" => vec![shell.to_owned(), "sh".to_owned()],
            shell => vec![shell.to_owned()],
        };
        let mut connect = |master: OwnedFd| talk(&master);
        match failed
            .sandbox
            .run_in_terminal(&spec, &mut connect, failed.cancel)
        {
            Ok(_) => return Ok(()),
            Err(error @ EngineError::CannotRun { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    match last {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// How often the terminal's size is looked at while a shell runs.
const GLANCE: Duration = Duration::from_millis(250);

/// Connects this terminal and the shell's until the shell ends.
fn talk(master: &OwnedFd) {
    let _raw = Raw::enter();
    follow_size(master);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut known = window();
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(GLANCE);
                let now = window();
                if now != known {
                    known = now;
                    follow_size(master);
                }
            }
        });
        // A terminal that is gone ends the shell: it hangs up.
        let _ = terminal(master);
        done.store(true, Ordering::Relaxed);
    });
}

/// Asks how to go on; `None` is another look. The end of the input gives up.
fn question() -> Option<Next> {
    loop {
        say("[r]etry the step, read the Dockerfile [a]gain, open the [s]hell again, [g]ive up? ");
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => return Some(Next::GiveUp),
            Ok(_) => {}
        }
        match line.trim().to_ascii_lowercase().as_str() {
            "r" | "retry" => return Some(Next::Retry),
            "a" | "again" => return Some(Next::ReadAgain),
            "s" | "shell" => return None,
            "g" | "give up" | "q" => return Some(Next::GiveUp),
            _ => {}
        }
    }
}

/// Speaks on standard error, beside what the command prints.
fn say(text: &str) {
    // A terminal that is gone has nobody who reads it.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
