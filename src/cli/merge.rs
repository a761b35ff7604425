//! What several containers have printed so far, as one text: the oldest line first.
//!
//! In: log streams. Out: their lines by time, and the streams at the place behind them. Imports: `base`, `engine`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::engine::{LogEnd, LogRecord, LogStream, Waker};

/// What a stream has answered.
type Answer = Result<Option<LogRecord>, LogEnd>;

/// A log whose next line may be in hand already.
pub(super) struct Log {
    stream: Box<dyn LogStream>,
    next: Option<Answer>,
}

impl Log {
    /// None in hand.
    pub(super) fn new(stream: Box<dyn LogStream>) -> Self {
        Self { stream, next: None }
    }

    /// The time of the next line, if there is one now.
    fn time(&mut self) -> Option<Timestamp> {
        let stream = &mut self.stream;
        let next = self.next.get_or_insert_with(|| stream.next(Duration::ZERO));
        let line = next.as_ref().ok()?.as_ref()?;
        Some(line.time)
    }

    /// Why no line can be read any more, if that was found.
    pub(super) fn fault(&self) -> Option<&str> {
        match &self.next {
            Some(Err(LogEnd::Failed(why))) => Some(why),
            _ => None,
        }
    }

    /// Lets go of the word that there was no line: there may be one by now.
    fn ask_again(&mut self) {
        if matches!(self.next, Some(Ok(None) | Err(LogEnd::TimedOut))) {
            self.next = None;
        }
    }
}

impl LogStream for Log {
    fn next(&mut self, timeout: Duration) -> Answer {
        match self.next.take() {
            Some(answer) => answer,
            None => self.stream.next(timeout),
        }
    }
    fn waker(&self) -> Option<Waker> {
        self.stream.waker()
    }
}

/// Hands out the lines that are there, the oldest first, each with the place of its log in `logs`; with `until` none
/// that is newer. What comes while lines are handed out may be left for later.
///
/// # Errors
/// Those of `show`.
pub(super) fn merge<E>(
    logs: &mut [Log],
    until: Option<Timestamp>,
    mut show: impl FnMut(usize, LogRecord) -> Result<(), E>,
) -> Result<(), E> {
    let mut heads: BinaryHeap<Reverse<(Timestamp, usize)>> = logs
        .iter_mut()
        .enumerate()
        .filter_map(|(at, log)| Some(Reverse((log.time()?, at))))
        .collect();
    while let Some(Reverse((time, at))) = heads.pop() {
        if until.is_some_and(|until| time > until) {
            break;
        }
        let Some(log) = logs.get_mut(at) else { break };
        if let Some(Ok(Some(record))) = log.next.take() {
            show(at, record)?;
        }
        heads.extend(log.time().map(|time| Reverse((time, at))));
    }
    logs.iter_mut().for_each(Log::ask_again);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines at these times, then this.
    struct Fixed(Vec<i64>, fn() -> Answer);

    impl LogStream for Fixed {
        fn next(&mut self, _: Duration) -> Answer {
            if self.0.is_empty() {
                return (self.1)();
            }
            Ok(Some(line(self.0.remove(0))))
        }
    }

    fn line(time: i64) -> LogRecord {
        LogRecord {
            time: Timestamp(time),
            stderr: false,
            line: time.to_string().into_bytes(),
        }
    }

    fn merged(logs: &mut [Log], until: Option<i64>) -> Vec<(usize, i64)> {
        let mut shown = Vec::new();
        let all = merge(logs, until.map(Timestamp), |at, record| {
            shown.push((at, record.time.0));
            Ok::<(), ()>(())
        });
        all.expect("nothing fails");
        shown
    }

    #[test]
    fn lines_of_all_logs_come_by_time_and_the_newer_ones_stay_in_hand() {
        let log = |times: &[i64], end| Log::new(Box::new(Fixed(times.to_vec(), end)));
        let silent = || Err(LogEnd::TimedOut);
        let mut logs = [
            log(&[1, 4, 5, 9, 10], silent),
            log(&[2, 4, 3], || Ok(None)),
            log(&[], silent),
            log(&[6], || Err(LogEnd::Failed("broken".to_owned()))),
        ];
        assert_eq!(
            merged(&mut logs, Some(8)),
            [(0, 1), (1, 2), (0, 4), (1, 4), (1, 3), (0, 5), (3, 6)]
        );
        let mut next = |at: usize| logs[at].next(Duration::ZERO);
        assert_eq!(next(0).expect("a line"), Some(line(9)));
        assert_eq!(next(0).expect("a line"), Some(line(10)));
        assert!(matches!(next(1), Ok(None)));
        assert!(matches!(next(2), Err(LogEnd::TimedOut)));
        assert_eq!(logs[3].fault(), Some("broken"));
        let mut ended = [log(&[2], || Ok(None)), log(&[1], || Ok(None))];
        assert_eq!(merged(&mut ended, None), [(1, 1), (0, 2)]);
    }
}
