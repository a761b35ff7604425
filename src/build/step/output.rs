//! What a command prints, line by line, while it prints.
//!
//! In: the read side of a pipe. Out: lines as they end, and what stands on a line that has not ended yet when the command
//! pauses: a bar that moves, a question. Of a line that carriage returns wrote over, the last state counts.
//! A step that floods us costs neither memory nor disk: lines have a longest length, and what is beyond the limit is
//! dropped, as BuildKit does. Imports: `build::error`. Source: poll(2).

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;

use crate::base::scalar::ByteSize;
use crate::build::error::LAST_LINES;

/// Longest line that is passed on whole, in bytes.
const LONGEST: usize = 16 * 1024;
/// A line that has not ended is told at most so often.
const PAUSE: Duration = Duration::from_millis(50);

/// Most bytes of a step's output that are passed on where nothing else is said. Source: BuildKit, `defaultMaxLogSize`.
pub const LIMIT: u64 = 2 << 20;

/// The variable that sets the limit, in bytes; -1 is none. As BuildKit's.
pub const LIMIT_VARIABLE: &str = "BUILDKIT_STEP_LOG_MAX_SIZE";

/// The limit that a value of [`LIMIT_VARIABLE`] means.
pub fn limit(value: Option<&str>) -> u64 {
    match value.map(str::trim).map(str::parse::<i64>) {
        Some(Ok(bytes)) => u64::try_from(bytes).unwrap_or(u64::MAX),
        _ => LIMIT,
    }
}

/// Something that was printed, without the line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printed<'a> {
    /// A line.
    Line(&'a str),
    /// A line so far.
    Partial(&'a str),
}

/// Takes what is printed.
pub type Output<'a> = &'a (dyn Fn(Printed<'_>) + Sync);

/// Passes on what comes until the last writer is gone, up to `limit` bytes in all, and gives the last lines back.
pub(super) fn pass_on(from: &OwnedFd, limit: u64, output: Output<'_>) -> Vec<String> {
    let mut lines = Lines {
        output,
        limit,
        passed: 0,
        clipped: false,
        line: Vec::new(),
        told: true,
        last: VecDeque::new(),
    };
    let mut block = vec![0; 8 * 1024];
    let mut next = Instant::now();
    loop {
        if !lines.told && is_silent(from, next) {
            lines.tell_partial();
            next = Instant::now() + PAUSE;
        }
        match read(from, &mut block) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => return lines.end(),
            Ok(count) => lines.take(block.get(..count).unwrap_or_default()),
        }
    }
}

/// Whether nothing comes before a time, or it has passed.
fn is_silent(from: &OwnedFd, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let left =
        PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::ZERO);
    let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
    // A pipe that can't be waited for is read, which says why.
    let ready = poll(&mut fds, left).is_ok_and(|count| count > 0);
    !ready || Instant::now() >= until
}

struct Lines<'a> {
    output: Output<'a>,
    limit: u64,
    /// Bytes so far.
    passed: u64,
    clipped: bool,
    line: Vec<u8>,
    /// Whether the line so far was told, or is empty.
    told: bool,
    last: VecDeque<String>,
}

impl Lines<'_> {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(at);
            self.add(line);
            self.line_ends();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.add(bytes);
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LONGEST.saturating_sub(self.line.len()).max(1);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.line.extend_from_slice(now);
            self.passed = self.passed.saturating_add(now.len() as u64);
            self.told = false;
            self.forget_overwritten();
            if self.line.len() >= LONGEST {
                self.line_ends();
            }
            bytes = later;
        }
    }

    /// What a carriage return has gone back over. One at the end may still belong to the line's.
    fn forget_overwritten(&mut self) {
        let body = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if let Some(at) = body.iter().rposition(|byte| *byte == b'\r') {
            self.line.drain(..=at);
        }
    }

    fn line_ends(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches('\r');
        if self.passed <= self.limit {
            (self.output)(Printed::Line(text));
        } else if !self.clipped {
            self.clipped = true;
            let limit = ByteSize(self.limit);
            let note = format!("[output clipped, log limit {limit} reached]");
            (self.output)(Printed::Line(&note));
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(text.to_owned());
        self.line.clear();
        self.told = true;
    }

    fn tell_partial(&mut self) {
        self.told = true;
        if self.passed > self.limit {
            return;
        }
        let text = String::from_utf8_lossy(&self.line);
        (self.output)(Printed::Partial(text.trim_end_matches('\r')));
    }

    fn end(mut self) -> Vec<String> {
        if !self.line.is_empty() {
            self.line_ends();
        }
        self.last.into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::Mutex;

    use super::*;

    /// What is told of writes, each after the one before was told.
    fn told(writes: &[&[u8]]) -> (Vec<String>, Vec<String>) {
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        let told = Mutex::new(Vec::new());
        let output = |printed: Printed<'_>| {
            told.lock().unwrap().push(match printed {
                Printed::Line(text) => format!("line {text}"),
                Printed::Partial(text) => format!("partial {text}"),
            });
        };
        let last = std::thread::scope(|scope| {
            let reader = scope.spawn(|| pass_on(&read, LIMIT, &output));
            let mut write = File::from(write);
            for bytes in writes {
                let before = told.lock().unwrap().len();
                write.write_all(bytes).expect("it is read");
                while told.lock().unwrap().len() == before {
                    std::thread::yield_now();
                }
            }
            drop(write);
            reader.join().expect("no panic")
        });
        (told.into_inner().unwrap(), last)
    }

    #[test]
    fn a_line_is_told_when_it_ends_and_before_when_the_command_pauses() {
        let (told, last) = told(&[b"one\r\n", b"Continue? ", b"yes\ntwo\nthree"]);
        let want = [
            "line one",
            "partial Continue? ",
            "line Continue? yes",
            "line two",
        ];
        assert_eq!(told.get(..4), Some(want.map(str::to_owned).as_slice()));
        assert_eq!(told.last().map(String::as_str), Some("line three"));
        assert_eq!(last, ["one", "Continue? yes", "two", "three"]);
    }

    #[test]
    fn a_bar_that_moves_is_one_line_in_the_end() {
        let (told, last) = told(&[b"10%", b"\r20%\r30%", b"\r100%\r\n"]);
        assert_eq!(told, ["partial 10%", "partial 30%", "line 100%"]);
        assert_eq!(last, ["100%"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_only_the_last_lines_are_kept() {
        let long = vec![b'x'; LONGEST + 5];
        let (told, _) = told(&[&long]);
        let line = told.iter().find(|told| told.starts_with("line "));
        assert_eq!(line.map(String::len), Some(LONGEST + "line ".len()));
        let many = "y\n".repeat(1000);
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        File::from(write)
            .write_all(many.as_bytes())
            .expect("it fits");
        assert_eq!(pass_on(&read, LIMIT, &|_| ()).len(), LAST_LINES);
    }

    #[test]
    fn a_flood_is_clipped_and_its_end_is_kept() {
        let mut text = "0123456789\n".repeat(100);
        text.push_str("the reason\n");
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        File::from(write)
            .write_all(text.as_bytes())
            .expect("it fits");
        let told = Mutex::new(Vec::new());
        let last = pass_on(&read, 30, &|printed| {
            told.lock().unwrap().push(format!("{printed:?}"));
        });
        let told = told.into_inner().unwrap();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[3].contains("[output clipped, log limit"), "{told:?}");
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last.last().unwrap(), "the reason");
    }

    #[test]
    fn the_limit_is_a_number_of_bytes_or_none() {
        assert_eq!(limit(None), LIMIT);
        assert_eq!(limit(Some("junk")), LIMIT);
        assert_eq!(limit(Some("100")), 100);
        assert_eq!(limit(Some("-1")), u64::MAX);
    }
}
