//! Waits for one line in a container's output.
//!
//! Imports: `base`, `engine`.

use crate::base::line::{LineMatcher, LinePattern};
use crate::engine::{EngineError, Result};

/// A longer line is looked at in parts.
const LONGEST: usize = 16 * 1024;

/// Looks for one line in both streams.
#[derive(Debug)]
pub(super) struct Lines {
    /// `None` once it was seen: what comes then costs nothing.
    matcher: Option<LineMatcher>,
    /// Lines that have begun, of each stream.
    begun: [Vec<u8>; 2],
}

impl Lines {
    /// Begins to look.
    pub(super) fn new(pattern: &LinePattern) -> Result<Self> {
        let failed = |why| EngineError::failed(format!("look for the log line {pattern}"), why);
        Ok(Self {
            matcher: Some(pattern.matcher().map_err(failed)?),
            begun: [Vec::new(), Vec::new()],
        })
    }
    /// Whether it was there.
    pub(super) fn has_seen(&self) -> bool {
        self.matcher.is_none()
    }
    /// It was there.
    pub(super) fn set_seen(&mut self) {
        self.matcher = None;
        self.begun = [Vec::new(), Vec::new()];
    }
    /// Looks at more output; whether the line has just come.
    pub(super) fn feed(&mut self, stream: usize, bytes: &[u8]) -> bool {
        let Some(matcher) = &self.matcher else {
            return false;
        };
        let Some(begun) = self.begun.get_mut(stream) else {
            return false;
        };
        let mut found = false;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.ends_with(b"\n");
            if begun.is_empty() && ends {
                found = matcher.matches(trimmed(part));
            } else {
                begun.extend_from_slice(part);
                if ends || begun.len() >= LONGEST {
                    found = matcher.matches(trimmed(begun));
                    begun.clear();
                }
            }
            if found {
                self.set_seen();
                return true;
            }
        }
        false
    }
}

/// The line without its end.
fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_whole_in_pieces_and_at_its_ends() {
        let lines = |text: &str| {
            let pattern = LinePattern::parse(text).expect("a pattern");
            Lines::new(&pattern).expect("a pattern")
        };
        let mut exact = lines("/^ready$/");
        assert!(!exact.feed(0, b"is ready\nrea"));
        assert!(!exact.feed(1, b"dy\n"));
        assert!(exact.feed(0, b"dy\r\n"));
        assert!(exact.has_seen());
        assert!(!exact.feed(0, b"ready\n"), "it is told once");
        let mut long = lines("end");
        assert!(!long.feed(0, &vec![b'x'; 10 * LONGEST]));
        assert!(long.begun.iter().all(|line| line.len() < LONGEST));
        assert!(long.feed(0, b"the end\n"));
    }
}
