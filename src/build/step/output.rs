//! What a step prints: passed on by line, and its end kept for the error.
//!
//! A step that floods us costs neither memory nor disk: lines have a longest length, and what is beyond the limit is
//! dropped, as BuildKit does. Imports: `build::error`.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};

use crate::build::error::LAST_LINES;

/// Longest line of output that is passed on whole, in bytes.
const LONGEST_LINE: u64 = 16 * 1024;

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

/// Passes each line on, up to `limit` bytes in all, and gives the last ones back.
pub(super) fn pass_on(from: impl Read, limit: u64, output: &(dyn Fn(&str) + Sync)) -> Vec<String> {
    let mut last = VecDeque::new();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    let (mut passed, mut clipped) = (0u64, false);
    loop {
        line.clear();
        match from
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return last.into(),
            Ok(count) => passed = passed.saturating_add(count as u64),
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if passed <= limit {
            output(text);
        } else if !clipped {
            clipped = true;
            let limit = crate::base::scalar::ByteSize(limit);
            output(&format!("[output clipped, log limit {limit} reached]"));
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn passed(text: &[u8], limit: u64) -> (Vec<String>, Vec<String>) {
        let told = Mutex::new(Vec::new());
        let last = pass_on(text, limit, &|line| {
            told.lock().unwrap().push(line.to_owned())
        });
        (told.into_inner().unwrap(), last)
    }

    #[test]
    fn a_flood_is_clipped_and_its_end_is_kept() {
        let mut text = "0123456789\n".repeat(100);
        text.push_str("the reason\n");
        let (told, last) = passed(text.as_bytes(), 33);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told[3].starts_with("[output clipped, log limit"),
            "{told:?}"
        );
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last.last().unwrap(), "the reason");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let text = vec![b'x'; 40_000];
        let (told, _) = passed(&text, LIMIT);
        assert_eq!(
            told.iter().map(String::len).collect::<Vec<_>>(),
            [16384, 16384, 7232]
        );
    }

    #[test]
    fn the_limit_is_a_number_of_bytes_or_none() {
        assert_eq!(limit(None), LIMIT);
        assert_eq!(limit(Some("junk")), LIMIT);
        assert_eq!(limit(Some("100")), 100);
        assert_eq!(limit(Some("-1")), u64::MAX);
    }
}
