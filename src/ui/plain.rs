//! Progress as one line an event: resources as docker compose prints them, build steps as BuildKit does.
//!
//! Imports: `base`. As BuildKit: `util/progress/progressui/printer.go`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use super::progress::resource_id;
use crate::base::event::{BuildStep, Event, Status};

/// What has been printed so far, as far as the next line depends on it.
#[derive(Debug, Default)]
pub struct Plain {
    dry_run: bool,
    /// Steps by (target, number in that target), with their number over all targets.
    steps: BTreeMap<(String, u32), Step>,
    /// The step whose lines were printed last.
    current: Option<u32>,
}

#[derive(Debug)]
struct Step {
    number: u32,
    title: String,
    begun: Instant,
    ended: bool,
}

impl Plain {
    /// Nothing printed yet. `dry_run` marks each line as not real.
    pub fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
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
            Event::Pull { layer, phase, .. } => match *phase {
                "Pull complete" | "Already exists" => format!("{dry} {layer} {phase}\n"),
                _ => String::new(),
            },
            Event::Build { target, step, what } => self.build(target, *step, what, now),
            Event::Output { .. } => String::new(),
            Event::Notice(text) => format!("{text}\n"),
            Event::Warn(text) => format!("warning: {text}\n"),
        }
    }

    fn build(&mut self, target: &str, step: u32, what: &BuildStep, now: Instant) -> String {
        if !matches!(
            what,
            BuildStep::Started(_)
                | BuildStep::Output(_)
                | BuildStep::Cached
                | BuildStep::Done(_)
                | BuildStep::Failed(_)
        ) {
            return String::new();
        }
        let next = u32::try_from(self.steps.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let entry = self
            .steps
            .entry((target.to_owned(), step))
            .or_insert_with(|| Step {
                number: next,
                title: String::new(),
                begun: now,
                ended: false,
            });
        let number = entry.number;
        if let BuildStep::Started(title) = what {
            entry.title.clone_from(title);
        }
        let title = entry.title.clone();
        let seconds = now.duration_since(entry.begun).as_secs_f64();
        entry.ended = matches!(
            what,
            BuildStep::Cached | BuildStep::Done(_) | BuildStep::Failed(_)
        );
        let mut text = self.switch(number, &title);
        // Writing to a string can't fail.
        let _ = match what {
            BuildStep::Output(line) => writeln!(text, "#{number} {seconds:.3} {line}"),
            BuildStep::Cached => writeln!(text, "#{number} CACHED\n"),
            BuildStep::Done(seconds) => writeln!(text, "#{number} DONE {seconds:.1}s\n"),
            BuildStep::Failed(why) => writeln!(text, "#{number} ERROR: {why}\n"),
            _ => Ok(()),
        };
        if !matches!(what, BuildStep::Started(_) | BuildStep::Output(_)) {
            self.current = None;
        }
        text
    }

    /// The headline of a step whose lines were not the last ones printed.
    fn switch(&mut self, number: u32, title: &str) -> String {
        if self.current == Some(number) {
            return String::new();
        }
        let left = self.current.replace(number);
        let unfinished =
            left.filter(|left| self.steps.values().any(|s| s.number == *left && !s.ended));
        let gap = unfinished
            .map(|left| format!("#{left} ...\n\n"))
            .unwrap_or_default();
        format!("{gap}#{number} {title}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Kind;

    fn all(events: &[Event], dry_run: bool) -> String {
        let (mut plain, now) = (Plain::new(dry_run), Instant::now());
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
    fn build(target: &str, step: u32, what: BuildStep) -> Event {
        Event::Build {
            target: target.into(),
            step,
            what,
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

    #[test]
    fn build_steps_print_as_buildkit_does_and_are_numbered_over_all_targets() {
        let events = [
            build("a", 1, BuildStep::Started("[a 1/2] FROM x".into())),
            build("a", 1, BuildStep::Cached),
            build("a", 2, BuildStep::Started("[a 2/2] RUN make".into())),
            build("a", 2, BuildStep::Output("cc".into())),
            build("b", 1, BuildStep::Started("[b 1/1] RUN true".into())),
            build("b", 1, BuildStep::Done(0.12)),
            build("a", 2, BuildStep::Output("ld".into())),
            build("a", 2, BuildStep::Failed("exit code: 2".into())),
        ];
        let want = "\
#1 [a 1/2] FROM x
#1 CACHED

#2 [a 2/2] RUN make
#2 0.000 cc
#2 ...

#3 [b 1/1] RUN true
#3 DONE 0.1s

#2 [a 2/2] RUN make
#2 0.000 ld
#2 ERROR: exit code: 2

";
        assert_eq!(all(&events, false), want);
    }
}
