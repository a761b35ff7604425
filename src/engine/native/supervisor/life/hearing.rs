//! What a signal means to a container's program: looked at when its time to stop is over, and it runs still.
//!
//! Imports: `base`, `engine::stops`; beside it the container's life. Everything read here is the container's own word: it is
//! cut and cleaned, and nothing but a text for the user follows from it.
//! Source: proc(5), `/proc/pid/status` (`SigCgt`, `SigIgn`, `SigBlk`), `/proc/pid/task/tid/children`.

use std::fs;
use std::io::Read as _;

use crate::base::scalar::Signal;
use crate::engine::stops::Hearing;

/// Longest name of a program that is told.
const LONGEST: usize = 32;
/// Programs that start others and don't pass signals on.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox"];

/// A program, and what the signal means to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) hearing: Hearing,
    pub(super) program: String,
    pub(super) shell: bool,
}

/// Looks at the process; with an `init` before it, at the first one that that has started.
pub(super) fn look(pid: i32, signal: Signal, init: bool) -> Heard {
    let pid = match init {
        true => child(pid).unwrap_or(pid),
        false => pid,
    };
    let status = read(&format!("/proc/{pid}/status"));
    let program = program(pid);
    Heard {
        hearing: hearing(&status, signal),
        shell: SHELLS.contains(&program.as_str()),
        program,
    }
}

/// The first lines of a file of the kernel; empty when there is none.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(16 * 1024).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

fn child(pid: i32) -> Option<i32> {
    let children = read(&format!("/proc/{pid}/task/{pid}/children"));
    children.split_whitespace().next()?.parse().ok()
}

/// What the masks of a `/proc/pid/status` say of a signal.
fn hearing(status: &str, signal: Signal) -> Hearing {
    let bit = u32::try_from(signal.0.saturating_sub(1)).unwrap_or(u32::MAX);
    let has = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let mask = u64::from_str_radix(line.trim(), 16).ok()?;
        Some(mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
    };
    match (has("SigCgt:"), has("SigIgn:"), has("SigBlk:")) {
        (None, ..) | (_, None, _) => Hearing::Unknown,
        (_, Some(true), _) => Hearing::Ignored,
        (_, _, Some(true)) => Hearing::Blocked,
        (Some(true), ..) => Hearing::Handled,
        (Some(false), ..) => Hearing::Unhandled,
    }
}

/// The last part of the name it was started by.
fn program(pid: i32) -> String {
    let line = read(&format!("/proc/{pid}/cmdline"));
    let word = line.split('\0').next().unwrap_or_default();
    let name = word.rsplit('/').next().unwrap_or(word);
    let name = name.trim_start_matches('-');
    let name = match name.is_empty() {
        true => read(&format!("/proc/{pid}/comm")),
        false => name.to_owned(),
    };
    let plain = name.trim().chars().filter(|c| c.is_ascii_graphic());
    plain.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_tell_what_a_signal_means() {
        let status = |block: u64, ignore: u64, catch: u64| {
            format!(
                "Name:\tx\nSigBlk:\t{block:016x}\nSigIgn:\t{ignore:016x}\nSigCgt:\t{catch:016x}\n"
            )
        };
        let term = 1 << 14;
        for (text, want) in [
            (status(0, 0, 0), Hearing::Unhandled),
            (status(0, 0, 2), Hearing::Unhandled),
            (status(0, 0, term), Hearing::Handled),
            (status(0, term, 0), Hearing::Ignored),
            (status(term, 0, term), Hearing::Blocked),
            (String::new(), Hearing::Unknown),
        ] {
            assert_eq!(hearing(&text, Signal::TERM), want, "{text}");
        }
        assert_eq!(
            hearing(&status(0, 0, 1 << 63), Signal(64)),
            Hearing::Handled
        );
    }

    #[test]
    fn the_own_process_has_a_name_and_masks() {
        let pid = i32::try_from(std::process::id()).expect("a process id");
        let heard = look(pid, Signal::TERM, false);
        assert_ne!(heard.hearing, Hearing::Unknown);
        assert!(!heard.program.is_empty() && !heard.shell, "{heard:?}");
    }
}
