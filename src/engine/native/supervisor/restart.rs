//! Whether and when an ended container is started again.
//!
//! Imports: `base`, `engine`. Source: as Docker, moby `internal/restartmanager`: the wait doubles from 100 ms to a
//! minute and begins anew after a run of ten seconds. `deploy.restart_policy` (`delay`, `window`, `max_attempts`) is
//! the Compose Specification's; Docker refuses or ignores those.

use std::time::Duration;

use crate::engine::native::records::Attempts;
use crate::engine::spec::{ContainerSpec, RestartPace, RestartPolicy};
use crate::engine::state::Exit;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// By itself.
    Own(Exit),
    /// It was stopped for being unhealthy, and is to be started again.
    Unhealthy,
}

/// The rules of one container.
#[derive(Debug)]
pub(super) struct Rules {
    policy: RestartPolicy,
    pace: RestartPace,
}

impl Rules {
    /// Those that the spec has.
    pub(super) fn of(spec: &ContainerSpec) -> Self {
        Self {
            policy: spec.restart,
            pace: spec.restart_pace,
        }
    }
    /// How long to wait before the next start after a run that lasted `ran`; `None` leaves it down.
    pub(super) fn after(
        &self,
        cause: Cause,
        ran: Duration,
        attempts: &mut Attempts,
    ) -> Option<Duration> {
        if self.pace.window.is_some_and(|window| ran >= window) {
            attempts.made = 0;
        }
        if ran >= GOOD_RUN {
            attempts.wait = Duration::ZERO;
        }
        let below = |most: Option<u32>| most.is_none_or(|most| most == 0 || attempts.made < most);
        let again = match (self.policy, cause) {
            (RestartPolicy::OnFailure(most), Cause::Own(exit)) => exit.code() != 0 && below(most),
            (RestartPolicy::OnFailure(most), Cause::Unhealthy) => below(most),
            (RestartPolicy::No, Cause::Own(_)) => false,
            _ => true,
        };
        if !again || !below(self.pace.most) {
            return None;
        }
        attempts.made = attempts.made.saturating_add(1);
        attempts.wait = match attempts.wait {
            Duration::ZERO => FIRST_WAIT,
            last => last.saturating_mul(2).min(LONGEST_WAIT),
        };
        // A container that ends at once must not keep the machine busy, whatever the file says.
        let delay = self.pace.delay.filter(|delay| !delay.is_zero());
        Some(delay.map_or(attempts.wait, |delay| delay.max(FIRST_WAIT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    fn end(code: impl Into<Option<i32>>) -> Cause {
        Cause::Own(Exit {
            code: code.into(),
            oom: false,
            at: Timestamp(0),
        })
    }

    fn rules(policy: RestartPolicy) -> Rules {
        Rules {
            policy,
            pace: RestartPace::default(),
        }
    }

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn the_wait_doubles_and_begins_anew_after_a_good_run() {
        let rules = rules(RestartPolicy::Always);
        let mut attempts = Attempts::default();
        let mut millis = |ran| {
            let wait = rules.after(end(0), ran, &mut attempts);
            wait.map(|wait| wait.as_millis())
        };
        assert_eq!(millis(SHORT), Some(100));
        assert_eq!(millis(SHORT), Some(200));
        assert_eq!(millis(GOOD_RUN), Some(100));
        for _ in 0..20 {
            millis(SHORT);
        }
        assert_eq!(millis(SHORT), Some(60_000));
    }

    #[test]
    fn on_failure_counts_and_leaves_successes_down() {
        let on_failure = |most| rules(RestartPolicy::OnFailure(most));
        let mut attempts = Attempts::default();
        let two = on_failure(Some(2));
        assert!(two.after(end(0), SHORT, &mut attempts).is_none());
        assert!(two.after(end(1), SHORT, &mut attempts).is_some());
        assert!(two.after(end(None), SHORT, &mut attempts).is_some());
        assert!(two.after(end(1), SHORT, &mut attempts).is_none());
        let never = rules(RestartPolicy::No);
        assert!(never.after(end(1), SHORT, &mut attempts).is_none());
    }

    #[test]
    fn a_run_as_long_as_the_window_counts_attempts_anew_and_the_delay_is_as_said() {
        let window = Duration::from_secs(5);
        let rules = Rules {
            policy: RestartPolicy::Always,
            pace: RestartPace {
                delay: Some(Duration::from_secs(3)),
                window: Some(window),
                most: Some(1),
            },
        };
        let mut attempts = Attempts::default();
        let delay = Some(Duration::from_secs(3));
        assert_eq!(rules.after(end(1), SHORT, &mut attempts), delay);
        assert_eq!(rules.after(end(1), window, &mut attempts), delay);
        assert_eq!(rules.after(end(1), SHORT, &mut attempts), None);
        // Attempts that one supervisor made count for its successor.
        let text = serde_json::to_string(&attempts).expect("JSON");
        let mut later: Attempts = serde_json::from_str(&text).expect("it reads again");
        assert_eq!(rules.after(end(1), SHORT, &mut later), None);
    }

    #[test]
    fn an_unhealthy_container_is_started_again_by_any_policy_within_its_number() {
        let again = |policy| {
            let mut attempts = Attempts::default();
            let rules = rules(policy);
            let mut turns = 0;
            while turns < 5
                && rules
                    .after(Cause::Unhealthy, SHORT, &mut attempts)
                    .is_some()
            {
                turns += 1;
            }
            turns
        };
        assert_eq!(again(RestartPolicy::No), 5);
        assert_eq!(again(RestartPolicy::UnlessStopped), 5);
        assert_eq!(again(RestartPolicy::OnFailure(Some(2))), 2);
    }
}
