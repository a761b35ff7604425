//! Waits for containers.
//!
//! Imports: `base`, `engine`, `plan`, `report`. Source: Docker Compose, `pkg/compose/convergence.go`, for the words.

use std::time::Duration;

use super::run::tell;
use super::{ApplyError, Context, report};
use crate::base::event::{Kind, Status};
use crate::base::name::ContainerId;
use crate::engine::state::Health;
use crate::engine::{Cancel, Until, Waited};
use crate::plan::action::{WaitFor, Who};

/// `--wait` believes a service without a probe once it has run for so long: one that ends at once is an error.
/// As Compose, whose first look comes after this time.
const STEADY: Duration = Duration::from_millis(500);

/// How a wait ended well: the word for it. What it waits for is told whenever that changes.
pub(super) fn wait(
    context: &Context,
    who: &Who,
    id: &ContainerId,
    until: WaitFor,
    cancel: &Cancel,
) -> Result<&'static str, ApplyError> {
    let mut last = None;
    let mut seen = |health: &Health| {
        let now = health.shortfall();
        if now != last {
            last.clone_from(&now);
            let status = Status::Working("Waiting");
            tell(context, Kind::Container, &who.name, status, now);
        }
    };
    let goal = match until {
        WaitFor::Completed => Until::Exited,
        WaitFor::Up { .. } => Until::Steady(STEADY),
        _ => Until::Healthy,
    };
    let name = &who.name;
    let failed = |text: String| match until {
        WaitFor::Up { .. } => ApplyError::new(text),
        _ => ApplyError::new(format!("dependency failed to start: {text}")),
    };
    let told = |error| report::of_failure(context, who, id, None, error);
    let engine = &context.engine;
    let waited = engine.wait_telling(id, goal, cancel, &mut seen)?;
    match (waited, until) {
        (Waited::Exited(exit), WaitFor::Completed) if exit.code() == 0 => Ok("Exited"),
        (Waited::Exited(exit), WaitFor::Completed) => {
            let text = format!(
                "service \"{}\" didn't complete successfully: exit {}",
                who.service,
                exit.code()
            );
            Err(told(ApplyError::new(text)))
        }
        (Waited::Exited(exit), WaitFor::Up { done: true }) if exit.code() == 0 => Ok("Exited"),
        (Waited::Exited(exit), _) => {
            let text = format!("container {name} exited ({})", exit.code());
            Err(told(failed(text)))
        }
        (Waited::Unhealthy(health), _) => {
            let error = failed(format!("container {name} is unhealthy"));
            Err(report::of_failure(context, who, id, Some(&health), error))
        }
        (Waited::Gone, _) => Err(failed(format!("container {name} is gone"))),
        (Waited::Cancelled, _) => Err(ApplyError::cancelled()),
        (Waited::Reached, WaitFor::Completed) => Ok("Exited"),
        (Waited::Reached, _) => Ok("Healthy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::engine::state::{HealthStatus, Probe};

    fn health(failing_streak: u32, code: i32, output: &str) -> Health {
        let at = Timestamp(0);
        let probe = Probe {
            start: at,
            end: at,
            code,
            output: output.to_owned(),
        };
        Health {
            status: HealthStatus::Starting,
            failing_streak,
            retries: 10,
            log: vec![probe],
        }
    }

    #[test]
    fn the_last_probe_says_what_is_missing() {
        let text = |streak, code, output| health(streak, code, output).shortfall();
        let refused = "\n\x1b[31m connection refused\nmore\n";
        assert_eq!(
            text(3, 1, refused).as_deref(),
            Some("probe 3 of 10: [31m connection refused")
        );
        assert_eq!(
            text(1, 7, "").as_deref(),
            Some("probe 1 of 10: exit code 7")
        );
        assert_eq!(
            text(11, 7, "").as_deref(),
            Some("11 probes in a row: exit code 7")
        );
        assert_eq!(
            text(0, 1, "not yet").as_deref(),
            Some("a probe in the start period: not yet")
        );
        assert_eq!(text(0, 0, "fine"), None);
    }
}
