//! Tells why a container did not become what was wanted: how it ended, what it used, its last probes and lines, and
//! where the rest is written down.
//!
//! Imports: `base`, `engine`, `plan`.

use std::time::Duration;

use super::{ApplyError, Context};
use crate::base::name::ContainerId;
use crate::base::scalar::{ByteSize, format_duration};
use crate::engine::LogQuery;
use crate::engine::state::{Dossier, Exit, Health};
use crate::plan::action::Who;

/// Probes and log lines that an error repeats.
const LAST_PROBES: usize = 3;
const LAST_LINES: usize = 20;
/// Reading what is there already must not hold up the error.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

/// Adds to an error what is known of the container that it is about; `health` is what the error came of.
pub(super) fn of_failure(
    context: &Context,
    who: &Who,
    id: &ContainerId,
    health: Option<&Health>,
    error: ApplyError,
) -> ApplyError {
    let Ok(found) = context.engine.container(id) else {
        return error;
    };
    let name = &who.name;
    let exit = found.state.exit();
    let dossier = context.engine.dossier(id, error.message());
    let mut facts = Vec::new();
    facts.extend(exit.map(ended));
    if let Ok(dossier) = &dossier {
        facts.extend(used(dossier));
    }
    match found.restarts {
        0 => {}
        1 => facts.push("restarted once".to_owned()),
        times => facts.push(format!("restarted {times} times")),
    }
    let mut error = match exit.is_some_and(|exit| exit.oom) {
        true => error.hint("it ran out of memory: raise its `mem_limit`"),
        false => error,
    };
    if let Some(health) = health.or(found.health.as_ref()) {
        error = error.note(format!("last probes of {name}"), probes(health));
    }
    error = error.note(format!("last log lines of {name}"), last_lines(context, id));
    error = error.note(format!("the run of {name}"), facts);
    match dossier {
        Ok(dossier) => error.hint(format!("all about it is in {}", dossier.path.display())),
        // The error itself matters more.
        Err(_) => error,
    }
}

/// `ended with 137 (SIGKILL), out of memory`.
fn ended(exit: Exit) -> String {
    let mut text = match exit.code {
        Some(code) => format!("ended with {code}"),
        None => "ended, nothing can tell how".to_owned(),
    };
    if let Some(signal) = exit.signal() {
        text.push_str(&format!(" ({signal})"));
    }
    if exit.oom {
        text.push_str(", out of memory");
    }
    text
}

/// `ran 1.2s, used 20MiB of 20MiB memory at most, 3 tasks, 80ms of processor time`.
fn used(dossier: &Dossier) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(dossier.ran.map(|ran| format!("ran {}", rounded(ran))));
    if let Some(peak) = dossier.memory_peak {
        let limit = dossier.memory_limit;
        let limit = limit.map(|limit| format!(" of {}", ByteSize(limit)));
        let limit = limit.unwrap_or_default();
        parts.push(format!("memory {}{limit} at most", ByteSize(peak)));
    }
    if let Some(peak) = dossier.pids_peak {
        let limit = dossier.pids_limit.filter(|limit| *limit > 0);
        let limit = limit
            .map(|limit| format!(" of {limit}"))
            .unwrap_or_default();
        parts.push(format!("tasks {peak}{limit} at most"));
    }
    parts.extend(
        dossier
            .cpu
            .map(|cpu| format!("processor time {}", rounded(cpu))),
    );
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn rounded(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    format_duration(Duration::from_millis(millis))
}

fn probes(health: &Health) -> Vec<String> {
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
    lines.collect()
}

fn last_lines(context: &Context, id: &ContainerId) -> Vec<String> {
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
    lines
}
