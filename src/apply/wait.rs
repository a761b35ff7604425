//! Waits for containers, and tells why one did not become what was waited for.
//!
//! Imports: `base`, `engine`, `plan`. Source: Docker Compose, `pkg/compose/convergence.go`, for the words.

use std::time::Duration;

use super::{ApplyError, Context};
use crate::base::name::ContainerId;
use crate::engine::state::{Exit, Health};
use crate::engine::{Cancel, LogQuery, Until, Waited};
use crate::plan::action::{WaitFor, Who};

/// `--wait` believes a service without a probe once it has run for so long: one that ends at once is an error.
/// As Compose, whose first look comes after this time.
const STEADY: Duration = Duration::from_millis(500);
/// Probes and log lines that an error repeats.
const LAST_PROBES: usize = 3;
const LAST_LINES: usize = 20;
/// Reading what is there already must not hold up the error.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

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
    match (context.engine.wait(id, goal, cancel)?, until) {
        (Waited::Exited(exit), WaitFor::Completed) if exit.code() == 0 => Ok("Exited"),
        (Waited::Exited(exit), WaitFor::Completed) => {
            let text = format!(
                "service \"{}\" didn't complete successfully: exit {}",
                who.service,
                exit.code()
            );
            Err(with_log(
                context,
                who,
                id,
                with_exit(ApplyError::new(text), exit),
            ))
        }
        (Waited::Exited(exit), WaitFor::Up { done: true }) if exit.code() == 0 => Ok("Exited"),
        (Waited::Exited(exit), _) => {
            let text = format!("container {name} exited ({})", exit.code());
            Err(with_log(context, who, id, with_exit(failed(text), exit)))
        }
        (Waited::Unhealthy(health), _) => {
            let error = failed(format!("container {name} is unhealthy"));
            Err(with_log(
                context,
                who,
                id,
                with_probes(error, name, &health),
            ))
        }
        (Waited::Gone, _) => Err(failed(format!("container {name} is gone"))),
        (Waited::Cancelled, _) => Err(ApplyError::cancelled()),
        (Waited::Reached, WaitFor::Completed) => Ok("Exited"),
        (Waited::Reached, _) => Ok("Healthy"),
    }
}

fn with_exit(error: ApplyError, exit: Exit) -> ApplyError {
    match exit.oom {
        true => error.hint("it ran out of memory: raise its `mem_limit`"),
        false => error,
    }
}

fn with_probes(error: ApplyError, name: &str, health: &Health) -> ApplyError {
    let from = health.log.len().saturating_sub(LAST_PROBES);
    let lines = health.log.iter().skip(from).flat_map(|probe| {
        let mut output = probe.output.trim_end().lines();
        let first = output.next().unwrap_or_default();
        let head = format!("exit {}: {first}", probe.code)
            .trim_end_matches([':', ' '])
            .to_owned();
        std::iter::once(head)
            .chain(output.map(|line| format!("  {line}")))
            .collect::<Vec<_>>()
    });
    error.note(format!("last probes of {name}"), lines.collect())
}

pub(super) fn with_log(
    context: &Context,
    who: &Who,
    id: &ContainerId,
    error: ApplyError,
) -> ApplyError {
    let query = LogQuery {
        tail: Some(LAST_LINES),
        passing: true,
        ..LogQuery::default()
    };
    let mut lines = Vec::new();
    if let Ok(mut log) = context.engine.logs(id, &query) {
        while let Ok(Some(record)) = log.next(LOG_PATIENCE) {
            lines.push(String::from_utf8_lossy(&record.line).trim_end().to_owned());
            if lines.len() > LAST_LINES {
                lines.remove(0);
            }
        }
    }
    error.note(format!("last log lines of {}", who.name), lines)
}
