//! Whether and when an ended container is started again.
//!
//! Imports: `engine`. Source: as Docker, moby `internal/restartmanager`: the wait doubles from 100 ms to a minute
//! and begins anew after a run of ten seconds.

use std::time::Duration;

use crate::engine::spec::RestartPolicy;
use crate::engine::state::Exit;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Counts and waits of one container.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    wait: Duration,
}

impl Restarts {
    /// Begins with the shortest wait.
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            wait: FIRST_WAIT,
        }
    }
    /// How long to wait before the next start; `None` leaves it down. `done` counts restarts so far.
    pub(super) fn after(&mut self, exit: Exit, ran: Duration, done: u32) -> Option<Duration> {
        let again = match self.policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure(most) => {
                exit.code() != 0 && most.is_none_or(|most| most == 0 || done < most)
            }
        };
        if !again {
            return None;
        }
        if ran >= GOOD_RUN {
            self.wait = FIRST_WAIT;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    fn exit(code: i32) -> Exit {
        Exit {
            code: Some(code),
            oom: false,
            at: Timestamp(0),
        }
    }

    #[test]
    fn the_wait_doubles_and_begins_anew_after_a_good_run() {
        let mut restarts = Restarts::new(RestartPolicy::Always);
        let short = Duration::from_secs(1);
        let millis = |d: Option<Duration>| d.map(|d| d.as_millis());
        assert_eq!(millis(restarts.after(exit(0), short, 0)), Some(100));
        assert_eq!(millis(restarts.after(exit(0), short, 1)), Some(200));
        assert_eq!(millis(restarts.after(exit(0), GOOD_RUN, 2)), Some(100));
        for _ in 0..20 {
            restarts.after(exit(0), short, 3);
        }
        assert_eq!(restarts.after(exit(0), short, 3), Some(LONGEST_WAIT));
    }

    #[test]
    fn on_failure_counts_and_leaves_successes_down() {
        let mut restarts = Restarts::new(RestartPolicy::OnFailure(Some(2)));
        let ran = Duration::ZERO;
        assert!(restarts.after(exit(0), ran, 0).is_none());
        assert!(restarts.after(exit(1), ran, 1).is_some());
        assert!(restarts.after(exit(1), ran, 2).is_none());
        let unknown = Exit {
            code: None,
            ..exit(0)
        };
        assert!(restarts.after(unknown, ran, 0).is_some());
        assert!(
            Restarts::new(RestartPolicy::No)
                .after(exit(1), ran, 0)
                .is_none()
        );
    }
}
