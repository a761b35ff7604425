//! Whose turn it is: a project's lock, waited for in a way that Ctrl-C ends at once.
//!
//! The lock is the kernel's: whoever dies has let go of it. The process id in its file is a courtesy for those who wait.
//! The file goes with the lock: one that is there and held by nobody tells that its command was killed.
//! Imports: `engine`, `sys`. Source: flock(2), proc(5).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::engine::{Cancel, Holder};
use crate::sys::lock::{Hold, Lock};

/// How often one who waits looks whether its user has had enough.
const LOOK_FOR_CANCEL: Duration = Duration::from_millis(20);

/// The lock of a project, held.
#[derive(Debug)]
pub(super) struct Turn {
    path: PathBuf,
    _held: Lock,
    /// Whether the last holder was killed, or may have been.
    pub(super) was_killed: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is held: who has waited looks whether the file is there still.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the lock on `path`, after its holder if there is one; `None` when `cancel` was used before.
///
/// # Errors
/// The system's.
pub(super) fn take(
    path: &Path,
    cancel: &Cancel,
    on_wait: &dyn Fn(&Holder),
) -> io::Result<Option<Turn>> {
    let mut told = false;
    loop {
        let was_killed = path.exists();
        let held = match Lock::try_acquire(path, Hold::Exclusive)? {
            Some(held) => held,
            None => {
                if !told {
                    on_wait(&holder(path));
                    told = true;
                }
                match queue(path, cancel)? {
                    Some(held) => held,
                    None => return Ok(None),
                }
            }
        };
        // Its holder may have taken the file along.
        if held.is_at(path) {
            // The lock does not depend on it.
            let _ = std::fs::write(path, std::process::id().to_string());
            return Ok(Some(Turn {
                path: path.to_owned(),
                _held: held,
                was_killed,
            }));
        }
    }
}

/// Waits in the kernel's queue, on a thread of its own: nothing else ends a wait there. A lock that comes after the
/// user's end is let go again, by the thread or with the process.
fn queue(path: &Path, cancel: &Cancel) -> io::Result<Option<Lock>> {
    let (tell, told) = channel();
    let path = path.to_owned();
    std::thread::Builder::new().spawn(move || {
        let _ = tell.send(Lock::acquire(&path, Hold::Exclusive));
    })?;
    loop {
        match told.recv_timeout(LOOK_FOR_CANCEL) {
            Ok(lock) => return lock.map(Some),
            Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that waits has died"));
            }
        }
    }
}

/// Who has the lock: its process id from the file, its command line from the kernel.
fn holder(path: &Path) -> Holder {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pid: Option<i32> = text.trim().parse().ok();
    let line = pid.and_then(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
    Holder {
        pid,
        command: line.and_then(|line| command(&line)),
    }
}

/// `/usr/bin/hoist\0up\0-d\0` as `hoist up -d`.
fn command(line: &[u8]) -> Option<String> {
    let mut words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned());
    let program = words.next()?;
    let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let shown: Vec<String> = std::iter::once(program)
        .chain(words)
        // What a terminal could take for a command of its own is not shown.
        .map(|word| word.chars().filter(|c| !c.is_control()).collect())
        .collect();
    Some(shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_shown_without_the_programs_directory() {
        assert_eq!(
            command(b"/usr/bin/hoist\0-p\0demo\0up\0").as_deref(),
            Some("hoist -p demo up")
        );
        assert_eq!(command(b""), None);
    }

    #[test]
    fn a_wait_for_the_lock_ends_when_it_is_cancelled() {
        let path = std::env::temp_dir().join(format!("hoist-turn-{}", std::process::id()));
        let held = take(&path, &Cancel::default(), &|_| {}).expect("nobody else is there");
        assert!(held.is_some());
        let cancel = Cancel::default();
        let seen = std::cell::RefCell::new(Holder::default());
        let second = take(&path, &cancel, &|holder: &Holder| {
            *seen.borrow_mut() = holder.clone();
            cancel.cancel();
        });
        assert!(second.expect("it only waits").is_none());
        assert_eq!(
            seen.borrow().pid,
            Some(i32::try_from(std::process::id()).expect("a process id"))
        );
        drop(held);
        assert!(!path.exists(), "the file goes with the lock");
    }

    #[test]
    fn a_file_that_nobody_holds_tells_of_a_killed_command() {
        let path = std::env::temp_dir().join(format!("hoist-killed-{}", std::process::id()));
        let take = || take(&path, &Cancel::default(), &|_| {}).expect("nobody else is there");
        assert!(take().is_some_and(|turn| !turn.was_killed));
        std::fs::write(&path, "1").expect("the directory is writable");
        assert!(take().is_some_and(|turn| turn.was_killed));
        assert!(!path.exists());
    }
}
