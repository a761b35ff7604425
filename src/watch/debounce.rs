//! When a hint is acted upon: at once where a file is known to be whole, after a moment where it may still be written,
//! and together with the others when many come.
//!
//! In: hints and the time. Out: paths that are due. Imports: nothing; it reads no clock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a hint says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// It is whole: a writer has closed it, or it was moved here.
    Whole,
    /// It is being written, or was just made.
    Growing,
    /// It has gone; often something else takes its place at once.
    Going,
    /// Its mode, owner or times were set.
    Touched,
}

/// How long a path waits that may not be whole.
const GROWING: Duration = Duration::from_millis(40);
/// How long a path waits at most that never becomes whole.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long many paths wait for others at most.
const TOGETHER: Duration = Duration::from_millis(300);

/// What comes so soon after others were given belongs to them: somebody is changing many files, and not fast.
const BURST: Duration = Duration::from_millis(50);

/// How long nothing else must have come, by how many paths wait.
fn quiet(waiting: usize) -> Duration {
    Duration::from_millis(match waiting {
        0..=8 => 2,
        9..=64 => 5,
        65..=1024 => 15,
        _ => 40,
    })
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// Until when it may not be whole.
    until: Option<Instant>,
    written: bool,
}

/// Paths that wait.
#[derive(Debug, Default)]
pub(super) struct Debounce {
    waiting: BTreeMap<PathBuf, Waiting>,
    whole: usize,
    last: Option<Instant>,
    first: Option<Instant>,
    /// When paths were given last, and how many of them in one burst.
    given: Option<(Instant, usize)>,
}

impl Debounce {
    /// Takes a hint.
    pub(super) fn hint(&mut self, now: Instant, path: PathBuf, nature: Nature) {
        let waiting = self.waiting.entry(path).or_insert(Waiting {
            since: now,
            until: Some(now),
            written: false,
        });
        let was_whole = waiting.until.is_none();
        waiting.written |= matches!(nature, Nature::Whole | Nature::Growing);
        waiting.until = match nature {
            Nature::Whole => None,
            Nature::Touched if was_whole => None,
            _ => Some((now + GROWING).min(waiting.since + PATIENCE)),
        };
        let is_whole = waiting.until.is_none();
        match (was_whole, is_whole) {
            (false, true) => self.whole += 1,
            (true, false) => self.whole -= 1,
            _ => {}
        }
        if is_whole {
            self.last = Some(now);
            self.first.get_or_insert(now);
        }
    }

    /// How many paths of the burst that something at this time belongs to were given already.
    fn given_before(&self, time: Instant) -> usize {
        let given = self
            .given
            .filter(|(last, _)| time.saturating_duration_since(*last) < BURST);
        given.map_or(0, |(_, count)| count)
    }

    /// When [`Debounce::take`] will give something.
    pub(super) fn due(&self) -> Option<Instant> {
        let growing = self.waiting.values().filter_map(|path| path.until).min();
        let whole = match (self.first, self.last) {
            (Some(first), Some(last)) if self.whole > 0 => {
                let all = self.whole + self.given_before(first);
                Some((last + quiet(all)).min(first + TOGETHER))
            }
            _ => None,
        };
        match (whole, growing) {
            (Some(whole), Some(growing)) => Some(whole.min(growing)),
            (whole, growing) => whole.or(growing),
        }
    }

    /// Paths that are due, and whether each was written to for sure.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(PathBuf, bool)> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let before = self.given_before(self.first.unwrap_or(now));
        self.first = None;
        self.last = None;
        self.whole = 0;
        let (due, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, path)| path.until.is_none_or(|until| until <= now));
        self.waiting = rest;
        self.given = Some((now, before + due.len()));
        due.into_iter()
            .map(|(path, waiting)| (path, waiting.written))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_file_that_was_closed_is_due_at_once() {
        let begin = Instant::now();
        let mut debounce = Debounce::default();
        debounce.hint(begin, "a".into(), Nature::Growing);
        assert_eq!(debounce.due(), Some(begin + GROWING));
        debounce.hint(begin + ms(1), "a".into(), Nature::Whole);
        debounce.hint(begin + ms(1), "a".into(), Nature::Touched);
        assert_eq!(debounce.due(), Some(begin + ms(3)));
        assert_eq!(debounce.take(begin + ms(2)), []);
        assert_eq!(debounce.take(begin + ms(3)), [(PathBuf::from("a"), true)]);
        assert_eq!(debounce.due(), None);
    }

    #[test]
    fn what_grows_or_goes_waits_by_itself_but_not_for_ever() {
        let begin = Instant::now();
        let mut debounce = Debounce::default();
        debounce.hint(begin, "gone".into(), Nature::Going);
        debounce.hint(begin, "whole".into(), Nature::Whole);
        let due = debounce.take(begin + ms(5));
        assert_eq!(due, [(PathBuf::from("whole"), true)]);
        assert_eq!(
            debounce.take(begin + GROWING),
            [(PathBuf::from("gone"), false)]
        );
        for at in 0..50 {
            debounce.hint(begin + ms(at * 20), "log".into(), Nature::Growing);
        }
        assert_eq!(debounce.due(), Some(begin + PATIENCE));
    }

    #[test]
    fn many_wait_for_each_other_up_to_a_bound() {
        let begin = Instant::now();
        let mut debounce = Debounce::default();
        for at in 0..2000_u32 {
            let now = begin + ms(1) * at / 10;
            debounce.hint(now, at.to_string().into(), Nature::Whole);
        }
        assert_eq!(debounce.due(), Some(begin + ms(1) * 1999 / 10 + ms(40)));
        for at in 0..200 {
            debounce.hint(begin + ms(200 + at), "more".into(), Nature::Whole);
        }
        assert_eq!(debounce.due(), Some(begin + TOGETHER));
        assert_eq!(debounce.take(begin + TOGETHER).len(), 2001);
    }

    #[test]
    fn who_changes_many_files_slowly_is_waited_for_longer_than_who_saves_now_and_then() {
        let begin = Instant::now();
        let (mut often, mut seldom) = (Debounce::default(), Debounce::default());
        for at in 0..100 {
            for (debounce, step) in [(&mut often, 10), (&mut seldom, 100)] {
                let now = begin + ms(at * step);
                debounce.hint(now, at.to_string().into(), Nature::Whole);
                let quiet = match (step, at) {
                    (100, _) | (_, ..8) => 2,
                    (_, ..64) => 5,
                    _ => 15,
                };
                if quiet < step {
                    assert_eq!(debounce.due(), Some(now + ms(quiet)), "{at} every {step}");
                    assert_eq!(debounce.take(now + ms(quiet)).len(), 1);
                }
            }
        }
        // From then on they come together.
        assert_eq!(often.due(), Some(begin + ms(64 * 10) + TOGETHER));
    }
}
