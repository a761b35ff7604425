//! Progress as one line an event: resources as docker compose prints them, steps of builds as [`plain`] writes them.
//!
//! Imports: `base`.

use std::time::Instant;

use super::build::{Steps, plain};
use super::progress::resource_id;
use super::render;
use crate::base::event::{BuildStep, Event, Status, is_last_phase};

/// What has been printed so far, as far as the next line depends on it.
#[derive(Debug, Default)]
pub struct Plain {
    dry_run: bool,
    colour: bool,
    builds: plain::Plain,
    /// For what is told at the end.
    steps: Steps,
}

impl Plain {
    /// Nothing printed yet. `dry_run` marks each line as not real.
    pub fn new(dry_run: bool, colour: bool) -> Self {
        Self {
            dry_run,
            colour,
            builds: plain::Plain::new(colour),
            steps: Steps::default(),
        }
    }

    /// Lines that have waited long enough for those of other steps.
    pub fn tick(&mut self, now: Instant) -> String {
        self.builds.tick(now)
    }

    /// All that is left to say.
    pub fn end(&mut self, now: Instant) -> String {
        self.builds.flush(now) + &self.steps.warnings(self.colour)
    }

    /// The lines an event adds, each with its end.
    pub fn lines(&mut self, event: &Event, now: Instant) -> String {
        let dry = if self.dry_run { " DRY-RUN MODE - " } else { "" };
        match event {
            Event::Resource {
                kind,
                name,
                status,
                detail,
            } => {
                let id = resource_id(*kind, name);
                let detail = detail
                    .as_deref()
                    .map(|d| format!(" ({d})"))
                    .unwrap_or_default();
                match status {
                    Status::Working(verb) | Status::Done(verb) => {
                        format!("{dry} {id}  {verb}{detail}\n")
                    }
                    Status::Failed(why) => format!("{dry} {id}  Error {why}{detail}\n"),
                    Status::Warning(why) => format!("{dry} {id}  Warning {why}{detail}\n"),
                }
            }
            Event::Pull { layer, phase, .. } if is_last_phase(phase) => {
                format!("{dry} {layer} {phase}\n")
            }
            Event::Pull { .. } => String::new(),
            Event::Build { target, step, what } => {
                if matches!(what, BuildStep::Warned(_)) {
                    self.steps.take(target, *step, what, now);
                }
                self.builds.take(target, *step, what, now)
            }
            Event::Output { .. } => String::new(),
            Event::SlowStop(report) => render::slow_stop(report, self.colour),
            Event::Notice(text) => format!("{text}\n"),
            Event::Warn(text) => format!("warning: {text}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Kind;

    fn all(events: &[Event], dry_run: bool) -> String {
        let (mut plain, now) = (Plain::new(dry_run, false), Instant::now());
        events.iter().map(|event| plain.lines(event, now)).collect()
    }
    fn container(status: Status, detail: Option<&str>) -> Event {
        let detail = detail.map(str::to_owned);
        Event::Resource {
            kind: Kind::Container,
            name: "demo-a-1".into(),
            status,
            detail,
        }
    }

    #[test]
    fn resources_print_as_docker_compose_does_with_the_cause_behind() {
        let events = [
            container(Status::Working("Recreate"), Some("environment.V changed")),
            container(Status::Done("Recreated"), None),
            container(Status::Failed("port taken".into()), None),
        ];
        let want = " Container demo-a-1  Recreate (environment.V changed)\n \
                    Container demo-a-1  Recreated\n Container demo-a-1  Error port taken\n";
        assert_eq!(all(&events, false), want);
        let dry = all(&events[1..2], true);
        assert_eq!(dry, " DRY-RUN MODE -  Container demo-a-1  Recreated\n");
    }
}
