//! Builds as users see them: what is known of each step, and four ways to show it.
//!
//! In: [`BuildStep`]s with the time they came. Out: lines. [`Steps`] holds what all of them need; `tty` draws a list,
//! [`plain`] and [`raw`] write a line an event, [`trace`] a timeline. Nothing a step prints steers the terminal.
//! Imports: `base`. As BuildKit: `util/progress/progressui`, words and layout.

pub mod plain;
pub mod raw;
pub mod trace;
pub mod tty;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::render::clean;
use crate::base::event::{BuildStep, BuildWarning, Part};
use crate::base::scalar::ByteSize;

/// So many of the last lines of a step's output are kept for showing.
const KEPT: usize = 6;

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has not begun.
    Planned,
    /// It is at work, or waits.
    Running,
    /// Its result was known.
    Cached,
    /// It ended well.
    Done,
    /// It failed; the text says why.
    Failed(String),
    /// It was ended before it was done.
    Cancelled,
}

/// What is known of one step.
#[derive(Debug, Clone)]
pub struct Step {
    /// `[build 2/4] RUN make`, fit for a terminal.
    pub title: String,
    /// The stage it belongs to.
    pub stage: String,
    /// Where it stands.
    pub standing: Standing,
    /// When it began.
    pub begun: Option<Instant>,
    /// When it ended.
    pub ended: Option<Instant>,
    /// What it waits for.
    pub waiting: Option<String>,
    /// Why it was not cached.
    pub because: Vec<String>,
    /// Parts of its work, in the order they began, with the times of begin and end.
    pub parts: IndexMap<String, (Part, Instant, Option<Instant>)>,
    /// The last lines it printed.
    pub last: VecDeque<String>,
    /// What stands on its unfinished line.
    pub partial: Option<String>,
}

impl Step {
    fn new() -> Self {
        Self {
            title: String::new(),
            stage: String::new(),
            standing: Standing::Planned,
            begun: None,
            ended: None,
            waiting: None,
            because: Vec::new(),
            parts: IndexMap::new(),
            last: VecDeque::new(),
            partial: None,
        }
    }

    /// How long it has been at work.
    pub fn elapsed(&self, now: Instant) -> Duration {
        let begun = self.begun.unwrap_or(now);
        self.ended.unwrap_or(now).saturating_duration_since(begun)
    }

    /// Whether it ended, in any way.
    pub fn has_ended(&self) -> bool {
        !matches!(self.standing, Standing::Planned | Standing::Running)
    }

    fn take(&mut self, what: &BuildStep, now: Instant) {
        match what {
            BuildStep::Planned { title, stage, .. } => {
                self.title = clean(title);
                self.stage = clean(stage);
            }
            BuildStep::Started(title) => {
                self.title = clean(title);
                // A step may be done once more, when the user has changed something.
                if self.has_ended() {
                    self.ended = None;
                    self.parts.clear();
                    self.last.clear();
                    self.begun = Some(now);
                }
                self.standing = Standing::Running;
                self.begun.get_or_insert(now);
            }
            BuildStep::Waiting(what) => self.waiting = what.as_deref().map(clean),
            BuildStep::Because(why) => self.because = why.iter().map(|why| clean(why)).collect(),
            BuildStep::Part(part) => self.part(part, now),
            BuildStep::Output(line) => {
                self.partial = None;
                self.last.push_back(line_of(line));
                if self.last.len() > KEPT {
                    self.last.pop_front();
                }
            }
            BuildStep::Partial(text) => {
                self.partial = Some(line_of(text)).filter(|text| !text.is_empty());
            }
            BuildStep::Cached => self.end(Standing::Cached, now),
            BuildStep::Done(_) => self.end(Standing::Done, now),
            BuildStep::Failed(why) => self.end(Standing::Failed(clean(why)), now),
            BuildStep::Cancelled => self.end(Standing::Cancelled, now),
            BuildStep::Key(_) | BuildStep::Warned(_) => {}
        }
    }

    fn part(&mut self, part: &Part, now: Instant) {
        let part = Part {
            id: clean(&part.id),
            ..part.clone()
        };
        let ended = part.done.then_some(now);
        match self.parts.get_mut(&part.id) {
            Some(known) => {
                known.2 = known.2.or(ended);
                known.0 = part;
            }
            None => {
                self.parts.insert(part.id.clone(), (part, now, ended));
            }
        }
    }

    fn end(&mut self, standing: Standing, now: Instant) {
        self.standing = standing;
        self.begun.get_or_insert(now);
        self.ended = Some(now);
        self.waiting = None;
        self.partial = None;
    }
}

/// A line of output as it may be shown: colours stay, nothing else that steers the terminal.
fn line_of(line: &str) -> String {
    let safe = super::logs::sanitise(line.as_bytes());
    let text = String::from_utf8_lossy(&safe).into_owned();
    match text.contains(super::render::is_hidden) {
        true => text.replace(super::render::is_hidden, "\u{fffd}"),
        false => text,
    }
}

/// A text without the colours that [`line_of`] leaves, where none are wanted.
fn coloured(text: &str, colour: bool) -> String {
    match colour {
        true => text.to_owned(),
        false => console::strip_ansi_codes(text).into_owned(),
    }
}

/// All steps of all builds of a command, in the order in which they were first told of.
#[derive(Debug, Default)]
pub struct Steps {
    rows: IndexMap<(String, u32), Step>,
    /// Rows that began, in that order.
    order: Vec<usize>,
    warnings: Vec<BuildWarning>,
    begun: Option<Instant>,
}

impl Steps {
    /// Whether nothing was told.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes in what happened to a step.
    pub fn take(&mut self, target: &str, number: u32, what: &BuildStep, now: Instant) {
        self.begun.get_or_insert(now);
        if let BuildStep::Warned(warning) = what {
            self.warnings.push(warning.clone());
            return;
        }
        let entry = self.rows.entry((target.to_owned(), number));
        let at = entry.index();
        let step = entry.or_insert_with(Step::new);
        let before = step.begun.is_some();
        step.take(what, now);
        if !before && step.begun.is_some() {
            self.order.push(at);
        }
    }

    /// Takes in how far the pull of a layer is, when a step at work says that it waits for just that image. Gives back
    /// whether one did.
    pub fn pull(&mut self, image: &str, layer: &str, part: Part, now: Instant) -> bool {
        let tail = format!(" for {image}");
        let waits =
            |step: &&mut Step| step.standing == Standing::Running && step.title.ends_with(&tail);
        let Some(step) = self.rows.values_mut().find(waits) else {
            return false;
        };
        let ended = part.done.then_some(now);
        let known = step.parts.entry(layer.to_owned());
        let known = known.or_insert_with(|| (part.clone(), now, None));
        *known = (part, known.1, known.2.or(ended));
        true
    }

    /// Steps that began, in that order.
    pub fn started(&self) -> impl Iterator<Item = &Step> {
        self.order
            .iter()
            .filter_map(|at| self.rows.get_index(*at).map(|(_, step)| step))
    }

    /// Steps that ended, and all.
    pub fn count(&self) -> (usize, usize) {
        let ended = self.rows.values().filter(|step| step.has_ended());
        (ended.count(), self.rows.len())
    }

    /// Whether no step is at work.
    pub fn at_rest(&self) -> bool {
        let running = |step: &Step| step.standing == Standing::Running;
        !self.rows.values().any(running)
    }

    /// How long it has taken, from the first thing that was told to the end of the last step.
    pub fn elapsed(&self, now: Instant) -> Duration {
        let end = match self.at_rest() {
            true => self.rows.values().filter_map(|step| step.ended).max(),
            false => None,
        };
        let begun = self.begun.unwrap_or(now);
        end.unwrap_or(now).saturating_duration_since(begun)
    }

    /// What was found in the files, once each, as a list for the end; empty when nothing was.
    pub fn warnings(&self, colour: bool) -> String {
        let mut lines: Vec<String> = Vec::new();
        for warning in &self.warnings {
            let line = format!(" - {}", headline(warning));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let head = match lines.len() {
            0 => return String::new(),
            1 => "1 warning found:".to_owned(),
            count => format!("{count} warnings found:"),
        };
        let head = super::paint(colour, "33", &head);
        format!("\n {head}\n{}\n", lines.join("\n"))
    }
}

/// `StageNameCasing: Stage name 'X' should be lowercase (Dockerfile:1)`.
fn headline(warning: &BuildWarning) -> String {
    let place = match warning.lines.0 {
        0 => String::new(),
        line if warning.file.is_empty() => format!(" (line {line})"),
        line => format!(" ({}:{line})", warning.file),
    };
    let rule = match warning.rule.as_str() {
        "" => String::new(),
        rule => format!("{rule}: "),
    };
    clean(&format!("{rule}{}{place}", warning.message)).replace('\n', " ")
}

/// `1.2MB / 3.4MB`, `12 files`; nothing for a part without a measure.
fn measure(part: &Part) -> String {
    let amount = |value: u64| match part.unit {
        "" => ByteSize(value).decimal(),
        unit => format!("{value} {unit}"),
    };
    match (part.current, part.total) {
        (0, None | Some(0)) => String::new(),
        (current, Some(total)) if !part.done && total > 0 => {
            format!("{} / {}", amount(current), amount(total))
        }
        (current, _) => amount(current),
    }
}

/// `3.2s`.
fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_belongs_to_the_step_that_waits_for_the_image() {
        let (mut steps, now) = (Steps::default(), Instant::now());
        let part = Part {
            id: "abc".into(),
            current: 1,
            ..Part::default()
        };
        let pull = |steps: &mut Steps, image: &str| steps.pull(image, "abc", part.clone(), now);
        assert!(!pull(&mut steps, "docker.io/library/a:1"));
        let title = "[internal] load metadata for docker.io/library/a:1".to_owned();
        steps.take("t", 9, &BuildStep::Started(title), now);
        assert!(pull(&mut steps, "docker.io/library/a:1"));
        assert!(!pull(&mut steps, "docker.io/library/b:1"));
        steps.take("t", 9, &BuildStep::Done(0.1), now);
        assert!(!pull(&mut steps, "docker.io/library/a:1"));
    }

    #[test]
    fn steps_are_counted_with_those_that_have_not_begun() {
        let (mut steps, now) = (Steps::default(), Instant::now());
        for number in 1..=3 {
            let what = BuildStep::Planned {
                title: format!("[{number}/3] RUN x"),
                stage: String::new(),
                inputs: Vec::new(),
            };
            steps.take("t", number, &what, now);
        }
        steps.take("t", 2, &BuildStep::Started("[2/3] RUN x".into()), now);
        assert_eq!((steps.count(), steps.started().count()), ((0, 3), 1));
        let later = now + Duration::from_secs(2);
        steps.take("t", 2, &BuildStep::Done(2.0), later);
        assert_eq!(steps.count(), (1, 3));
        // Nothing is at work: the clock stands.
        let much_later = later + Duration::from_secs(60);
        assert_eq!(steps.elapsed(much_later), Duration::from_secs(2));
    }

    #[test]
    fn warnings_are_listed_once_each_with_their_line() {
        let (mut steps, now) = (Steps::default(), Instant::now());
        let warning = BuildWarning {
            rule: "StageNameCasing".into(),
            message: "Stage name 'X' should be \x1b[2Jlowercase".into(),
            file: "Dockerfile".into(),
            lines: (3, 3),
            ..BuildWarning::default()
        };
        assert_eq!(steps.warnings(false), "");
        for target in ["a", "b"] {
            steps.take(target, 1, &BuildStep::Warned(warning.clone()), now);
        }
        let want = "\n 1 warning found:\n - StageNameCasing: Stage name 'X' should be lowercase (Dockerfile:3)\n";
        assert_eq!(steps.warnings(false), want);
    }
}
