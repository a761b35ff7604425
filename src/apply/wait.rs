//! Waits for containers.
//!
//! Imports: `base`, `engine`, `plan`, `report`. Source: Docker Compose, `pkg/compose/convergence.go`, for the words.

use std::time::Duration;

use super::{ApplyError, Context, report};
use crate::base::name::ContainerId;
use crate::engine::{Cancel, Until, Waited};
use crate::plan::action::{WaitFor, Who};

/// `--wait` believes a service without a probe once it has run for so long: one that ends at once is an error.
/// As Compose, whose first look comes after this time.
const STEADY: Duration = Duration::from_millis(500);

/// How a wait ended well: the word for it.
pub(super) fn wait(
    context: &Context,
    who: &Who,
    id: &ContainerId,
    until: WaitFor,
    cancel: &Cancel,
) -> Result<&'static str, ApplyError> {
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
    match (context.engine.wait(id, goal, cancel)?, until) {
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
