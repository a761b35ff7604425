//! The last lines of each container, so that one that says much leaves the others theirs.
//!
//! In: what containers print. Out: lines without anything that steers a terminal, in the order of their times.
//! Imports: `ui::{keys, logs}`, `base`.

use std::collections::{BTreeMap, VecDeque};

use crate::base::clock::Timestamp;
use crate::ui::keys::plain;
use crate::ui::logs::Lines;

/// So many lines are kept of each container.
const KEPT: usize = 1000;

/// So many bytes are kept of a line.
const LONGEST: usize = 4096;

/// A line.
#[derive(Debug)]
struct Line {
    /// When it was printed, and as the how manyth of all.
    at: (Timestamp, u64),
    text: String,
}

/// Lines by container.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: Lines,
    kept: BTreeMap<String, VecDeque<Line>>,
    count: u64,
}

impl History {
    /// Takes what a container has printed; gives the line that is complete with it.
    pub(super) fn printed(
        &mut self,
        name: &str,
        stderr: bool,
        time: Timestamp,
        bytes: &[u8],
    ) -> Option<&str> {
        let line = self.lines.record(name, stderr, time, bytes);
        if line.is_empty() {
            return None;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.get(..LONGEST).unwrap_or(line);
        // A tab stop is another in a part of a screen.
        let text = plain(line).replace('\t', "    ");
        self.count += 1;
        let at = (time, self.count);
        let kept = self.kept.entry(name.to_owned()).or_default();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Line { at, text });
        kept.back().map(|line| line.text.as_str())
    }

    /// Forgets the lines of a container.
    pub(super) fn forget(&mut self, name: &str) {
        self.kept.remove(name);
    }

    /// The lines of containers that `wanted` says yes to, the last one first.
    pub(super) fn backwards<'h>(
        &'h self,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&'h str, &'h str)> {
        // Each with so many lines that were not given yet.
        let of = |(name, lines): (&'h String, &'h VecDeque<Line>)| {
            wanted(name).then_some((name.as_str(), lines, lines.len()))
        };
        let mut heads: Vec<_> = self.kept.iter().filter_map(of).collect();
        std::iter::from_fn(move || {
            let last = heads.iter_mut().max_by_key(|(_, lines, left)| {
                let line = left.checked_sub(1).and_then(|at| lines.get(at));
                line.map(|line| line.at)
            })?;
            last.2 = last.2.checked_sub(1)?;
            let line = last.1.get(last.2)?;
            Some((last.0, line.text.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_the_order_of_their_times_and_quiet_containers_keep_theirs() {
        let mut history = History::default();
        history.printed("quiet", false, Timestamp(5), b"one\n");
        for at in 0..3 * KEPT as i64 {
            history.printed("loud", false, Timestamp(10 + at), b"noise\n");
        }
        assert_eq!(history.printed("late", true, Timestamp(1), b"half"), None);
        let done = history.printed("late", true, Timestamp(2), b" whole\n");
        assert_eq!(done, Some("half whole"));
        let all: Vec<_> = history.backwards(|_| true).collect();
        assert_eq!(all.len(), KEPT + 2);
        assert_eq!(all.first(), Some(&("loud", "noise")));
        assert_eq!(
            all.get(KEPT..),
            Some(&[("quiet", "one"), ("late", "half whole")][..])
        );
        assert_eq!(history.backwards(|name| name == "quiet").count(), 1);
        history.forget("loud");
        assert_eq!(history.backwards(|_| true).count(), 2);
    }

    #[test]
    fn lines_steer_nothing_and_are_bounded() {
        let mut history = History::default();
        let line = b"\x1b[31mred\x1b[0m\tx\x1b[2J\x1b]0;title\x07 10%\n";
        assert_eq!(
            history.printed("a", false, Timestamp(1), line),
            Some("red    x 10%")
        );
        let long = [b"x".repeat(2 * LONGEST), b"\n".to_vec()].concat();
        let kept = history.printed("a", false, Timestamp(2), &long);
        assert_eq!(kept.map(str::len), Some(LONGEST));
    }
}
