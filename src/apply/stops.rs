//! Stops that cost time are told, once a service and at the end: what happened, why, and what mends it.
//!
//! Imports: `base`, `engine`, `run`. Sources: signal(7); Docker documentation, `STOPSIGNAL`, exec form of `CMD`.

use std::time::Duration;

use super::run::Run;
use crate::base::event::{Event, StopReport};
use crate::base::name::{ContainerId, ServiceName};
use crate::base::scalar::Signal;
use crate::engine::EngineError;
use crate::engine::stops::{Hearing, SlowStop};

impl Run<'_> {
    /// Stops a container and keeps how it took that.
    ///
    /// # Errors
    /// The engine's.
    pub(super) fn stop(
        &self,
        (service, name): (&ServiceName, &str),
        id: &ContainerId,
        timeout: Option<Duration>,
    ) -> Result<(), EngineError> {
        let engine = &self.context.engine;
        engine.stop(id, timeout)?;
        // It is down: what can't be told about that is no failure.
        if let Ok(Some(slow)) = engine.slow_stop(id) {
            self.was_slow(service, report(service.as_str(), name, &slow));
        }
        Ok(())
    }

    /// Tells what was kept, in the order of services.
    pub(super) fn tell_slow_stops(&self) {
        for report in self.slow_stops() {
            self.context.events.send(Event::SlowStop(Box::new(report)));
        }
    }
}

/// Whole seconds from ten on, tenths below.
fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..=9 => format!("{:.1}s", took.as_secs_f64()),
        whole => format!("{whole}s"),
    }
}

fn report(service: &str, container: &str, slow: &SlowStop) -> StopReport {
    let (signal, took) = (slow.signal, seconds(slow.took));
    let text = match slow.killed {
        true => format!(
            "service `{service}` was killed {took} after {signal}: {}",
            reason(slow)
        ),
        false => format!("service `{service}` took {took} to end after {signal}"),
    };
    StopReport {
        service: service.to_owned(),
        container: container.to_owned(),
        signal: signal.to_string(),
        seconds: slow.took.as_secs_f64(),
        killed: slow.killed,
        reason: match slow.killed {
            true => slow.hearing.as_str(),
            false => "slow",
        },
        text,
        hints: match slow.killed {
            true => hints(slow),
            false => Vec::new(),
        },
    }
}

fn reason(slow: &SlowStop) -> String {
    let who = match (slow.program.as_str(), slow.shell) {
        ("", _) => "its first process".to_owned(),
        (program, true) => format!("its first process is a shell (`{program}`), which"),
        (program, false) => format!("its first process (`{program}`)"),
    };
    let who = match slow.init {
        true => who.replacen("its first process", "its program", 1),
        false => who,
    };
    match slow.hearing {
        Hearing::Unhandled => format!("{who} has no handler for it"),
        Hearing::Ignored => format!("{who} ignores it"),
        Hearing::Blocked => format!("{who} holds it back"),
        Hearing::Handled => format!("{who} has a handler for it, and did not end in time"),
        Hearing::Unknown => format!("{who} did not end"),
    }
}

fn hints(slow: &SlowStop) -> Vec<String> {
    let signal = slow.signal;
    let other = match signal {
        Signal::TERM => "`stop_signal: SIGINT`, for instance",
        _ => "`stop_signal: SIGTERM`, for instance",
    };
    let exec = "write the command as a list (command: [\"program\", \"argument\"]) or put `exec` before the last command of the \
                line, so that signals reach the program";
    let init =
        "`init: true` puts a small first process before it, with which the signal ends it at once";
    let hints: Vec<String> = match (slow.hearing, slow.shell) {
        (Hearing::Unhandled, true) => vec![exec.to_owned(), init.to_owned()],
        (Hearing::Unhandled, false) => vec![
            init.to_owned(),
            format!("or give the program a handler, or name the signal that it knows: {other}"),
        ],
        (Hearing::Ignored | Hearing::Blocked, true) => vec![
            format!("take the `trap` for {signal} away; what the shell starts ignores the signal as well"),
            format!("or name a signal that ends it: {other}"),
        ],
        (Hearing::Ignored | Hearing::Blocked, false) => {
            vec![format!("name the signal that ends it: {other}")]
        }
        (Hearing::Handled, true) => vec![
            "a shell runs its `trap` only when the command that it waits for has ended: start that with `&` and `wait`, or with `exec`"
                .to_owned(),
        ],
        (Hearing::Handled | Hearing::Unknown, _) => vec![
            "`stop_grace_period` gives it more time; the last lines of `logs` may tell what it waits for".to_owned(),
        ],
    };
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(hearing: Hearing, shell: bool, killed: bool) -> SlowStop {
        SlowStop {
            signal: Signal::TERM,
            took: Duration::from_millis(10_020),
            killed,
            hearing,
            program: if shell { "sh" } else { "python" }.to_owned(),
            shell,
            init: false,
        }
    }

    #[test]
    fn what_happened_why_and_what_mends_it_are_told() {
        let told = |slow: &SlowStop| {
            let report = report("web", "demo-web-1", slow);
            (report.text, report.reason, report.hints.len())
        };
        let want = "service `web` was killed 10s after SIGTERM: its first process is a shell (`sh`), which ignores it";
        assert_eq!(
            told(&slow(Hearing::Ignored, true, true)),
            (want.to_owned(), "ignored", 2)
        );
        let want = "service `web` was killed 10s after SIGTERM: its first process (`python`) has no handler for it";
        assert_eq!(
            told(&slow(Hearing::Unhandled, false, true)),
            (want.to_owned(), "unhandled", 2)
        );
        let late = SlowStop {
            took: Duration::from_millis(7_240),
            ..slow(Hearing::Handled, false, false)
        };
        let want = "service `web` took 7.2s to end after SIGTERM";
        assert_eq!(told(&late), (want.to_owned(), "slow", 0));
    }
}
