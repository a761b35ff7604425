//! Steps as lines that are never taken back.
//!
//! In: what happened to steps, and the time. Out: lines: `#5 [build 2/4] RUN make`, `#5 0.312 cc main.c`, `#5 DONE 0.4s`.
//! A step has one number for the whole command. Steps that print at the same time do not tear each other's output
//! apart: the one that is shown keeps its place while it goes on printing, up to a limit, and others' lines wait.
//! Imports: `base`. As BuildKit: `util/progress/progressui/printer.go`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::{coloured, headline, line_of, measure, seconds};
use crate::base::event::{BuildStep, Part};
use crate::ui::render::clean;

/// A step that prints keeps its place for so long while others have something to show.
const HOLD: Duration = Duration::from_secs(3);
/// A step that is silent for so long gives its place to others.
const SILENT: Duration = Duration::from_millis(400);
/// Time between two lines about one part of a step's work.
const SELDOM: Duration = Duration::from_secs(5);

/// What has been written, and what waits.
#[derive(Debug, Default)]
pub struct Plain {
    colour: bool,
    rows: IndexMap<(String, u32), Row>,
    /// Steps that have a number.
    numbered: u32,
    shown: Option<Shown>,
}

/// The step whose lines were written last.
#[derive(Debug, Clone, Copy)]
struct Shown {
    at: usize,
    since: Instant,
    heard: Instant,
}

#[derive(Debug, Default)]
struct Row {
    /// Its number, from the first time it was shown.
    number: Option<u32>,
    title: String,
    begun: Option<Instant>,
    ended: bool,
    /// Lines without their number that wait.
    pending: Vec<String>,
    /// Whether its title, at least, is still to be shown.
    due: bool,
    /// When parts began, and when they were last told of.
    parts: BTreeMap<String, (Instant, Instant)>,
}

impl Plain {
    /// Nothing written yet.
    pub fn new(colour: bool) -> Self {
        Self {
            colour,
            ..Self::default()
        }
    }

    /// The lines that an event adds now.
    pub fn take(&mut self, target: &str, step: u32, what: &BuildStep, now: Instant) -> String {
        let colour = self.colour;
        let entry = self.rows.entry((target.to_owned(), step));
        let at = entry.index();
        let row = entry.or_default();
        if let BuildStep::Planned { title, .. } = what {
            row.title = one_line(title);
            return String::new();
        }
        row.take(what, now, colour);
        if let Some(shown) = self.shown.as_mut().filter(|shown| shown.at == at) {
            shown.heard = now;
        }
        self.write(now, false)
    }

    /// What has waited long enough.
    pub fn tick(&mut self, now: Instant) -> String {
        self.write(now, false)
    }

    /// Everything that waits.
    pub fn flush(&mut self, now: Instant) -> String {
        self.write(now, true)
    }

    fn write(&mut self, now: Instant, all: bool) -> String {
        let mut text = String::new();
        loop {
            if let Some(shown) = self.shown {
                if !self.leave(shown, now, all, &mut text) {
                    return text;
                }
                self.shown = None;
            }
            // Steps that have ended are out of the way at once.
            let due = |ended: bool| {
                let mut rows = self.rows.values();
                rows.position(|row| row.is_due() && row.ended == ended)
            };
            let Some(at) = due(true).or_else(|| due(false)) else {
                return text;
            };
            self.enter(at, now, &mut text);
        }
    }

    /// Writes the lines of the step that is shown; whether another one's turn has come.
    fn leave(&mut self, shown: Shown, now: Instant, all: bool, text: &mut String) -> bool {
        let others = self.rows.values().enumerate();
        let mut others = others.filter(|(at, row)| *at != shown.at && row.is_due());
        let waited = others.next().is_some();
        let Some((_, row)) = self.rows.get_index_mut(shown.at) else {
            return true;
        };
        row.write(text);
        let number = row.number.unwrap_or_default();
        if row.ended {
            text.push('\n');
            return true;
        }
        let long = now.saturating_duration_since(shown.since) >= HOLD;
        let silent = now.saturating_duration_since(shown.heard) >= SILENT;
        let leaves = waited && (all || long || silent);
        if leaves {
            let _ = writeln!(text, "#{number} ...\n");
        }
        leaves
    }

    /// Has a step take the place of the last one.
    fn enter(&mut self, at: usize, now: Instant, text: &mut String) {
        let Some((_, row)) = self.rows.get_index_mut(at) else {
            return;
        };
        let numbered = &mut self.numbered;
        let number = *row.number.get_or_insert_with(|| {
            *numbered += 1;
            *numbered
        });
        // Writing to a string can't fail.
        let _ = writeln!(text, "#{number} {}", row.title);
        row.due = false;
        self.shown = Some(Shown {
            at,
            since: now,
            heard: now,
        });
    }
}

impl Row {
    fn is_due(&self) -> bool {
        self.due || !self.pending.is_empty()
    }

    fn take(&mut self, what: &BuildStep, now: Instant, colour: bool) {
        let begun = *self.begun.get_or_insert(now);
        let time = now.saturating_duration_since(begun).as_secs_f64();
        match what {
            BuildStep::Started(title) => {
                // One that has ended is done once more, when the user has changed something.
                if self.ended {
                    *self = Self::default();
                }
                self.title = one_line(title);
                self.begun = Some(now);
                self.due = true;
            }
            BuildStep::Waiting(Some(what)) => self.say(format!("waiting for {}", one_line(what))),
            BuildStep::Because(why) => {
                let why: Vec<String> = why.iter().map(|why| one_line(why)).collect();
                self.say(format!("not cached: {}", why.join(", ")));
            }
            BuildStep::Part(part) => self.part(part, now),
            BuildStep::Output(line) => {
                let line = coloured(&line_of(line), colour);
                self.say(format!("{time:.3} {line}"));
            }
            BuildStep::Warned(warning) => self.say(format!("WARN: {}", headline(warning))),
            BuildStep::Cached => self.end("CACHED".to_owned()),
            BuildStep::Done(time) => self.end(format!("DONE {time:.1}s")),
            BuildStep::Failed(why) => self.end(format!("ERROR: {}", clean(why))),
            BuildStep::Cancelled => self.end("CANCELED".to_owned()),
            BuildStep::Planned { .. }
            | BuildStep::Waiting(None)
            | BuildStep::Partial(_)
            | BuildStep::Key(_) => {}
        }
    }

    fn say(&mut self, line: String) {
        self.pending.push(line);
    }

    fn end(&mut self, line: String) {
        self.say(line);
        self.ended = true;
    }

    /// A line when a part ends, and now and then before.
    fn part(&mut self, part: &Part, now: Instant) {
        let known = self.parts.contains_key(&part.id);
        let (begun, told) = *self.parts.entry(part.id.clone()).or_insert((now, now));
        if !part.done && now.saturating_duration_since(told) < SELDOM {
            return;
        }
        let mut words = vec![one_line(&part.id), measure(part)];
        let time = now.saturating_duration_since(begun);
        if time >= Duration::from_millis(50) {
            words.push(seconds(time));
        }
        if part.done {
            words.push("done".to_owned());
        }
        words.retain(|word| !word.is_empty());
        // What took no time and has no measure was only worth a look while it lasted.
        if known && part.done && words.len() == 2 {
            return;
        }
        self.say(words.join(" "));
        self.parts.insert(part.id.clone(), (begun, now));
    }

    fn write(&mut self, text: &mut String) {
        let number = self.number.unwrap_or_default();
        for line in self.pending.drain(..) {
            // Writing to a string can't fail.
            let _ = writeln!(text, "#{number} {line}");
        }
        self.due = false;
    }
}

fn one_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::BuildWarning;

    fn start(plain: &mut Plain, (target, step): (&str, u32), title: &str, now: Instant) -> String {
        plain.take(target, step, &BuildStep::Started(title.into()), now)
    }
    fn says(plain: &mut Plain, (target, step): (&str, u32), line: &str, now: Instant) -> String {
        plain.take(target, step, &BuildStep::Output(line.into()), now)
    }

    #[test]
    fn steps_are_numbered_over_all_targets_and_do_not_tear_each_other_apart() {
        let (mut plain, now) = (Plain::new(false), Instant::now());
        let (a, b) = (("a", 1), ("b", 1));
        assert_eq!(
            start(&mut plain, a, "[a 1/1] RUN make", now),
            "#1 [a 1/1] RUN make\n"
        );
        assert_eq!(says(&mut plain, a, "cc", now), "#1 0.000 cc\n");
        // The other one waits while this one prints.
        assert_eq!(start(&mut plain, b, "[b 1/1] RUN true", now), "");
        assert_eq!(says(&mut plain, b, "hi", now), "");
        let soon = now + Duration::from_millis(300);
        assert_eq!(says(&mut plain, a, "ld", soon), "#1 0.300 ld\n");
        assert_eq!(plain.tick(soon + Duration::from_millis(100)), "");
        let silent = soon + SILENT;
        let want = "#1 ...\n\n#2 [b 1/1] RUN true\n#2 0.000 hi\n";
        assert_eq!(plain.tick(silent), want);
        let end = plain.take("b", 1, &BuildStep::Done(0.12), silent);
        assert_eq!(end, "#2 DONE 0.1s\n\n");
        let why = BuildStep::Failed("exit code: 2".into());
        let end = plain.take("a", 1, &why, silent);
        assert_eq!(end, "#1 [a 1/1] RUN make\n#1 ERROR: exit code: 2\n\n");
        assert_eq!(plain.flush(silent), "");
    }

    #[test]
    fn a_step_that_never_stops_printing_gives_way_in_the_end() {
        let (mut plain, now) = (Plain::new(false), Instant::now());
        start(&mut plain, ("a", 1), "[1/2] RUN yes", now);
        start(&mut plain, ("a", 2), "[2/2] RUN true", now);
        let text: String = (0..40)
            .map(|n| {
                says(
                    &mut plain,
                    ("a", 1),
                    "y",
                    now + Duration::from_millis(100 * n),
                )
            })
            .collect();
        assert!(
            text.contains("#1 3.000 y\n#1 ...\n\n#2 [2/2] RUN true\n"),
            "{text}"
        );
    }

    #[test]
    fn causes_parts_and_warnings_are_lines_of_their_step() {
        let (mut plain, now) = (Plain::new(false), Instant::now());
        let mut all = start(&mut plain, ("a", 1), "[1/1] COPY . .", now);
        let part = |current, done| Part {
            id: "reading context:".into(),
            current,
            done,
            ..Part::default()
        };
        let warning = BuildWarning {
            rule: "Rule".into(),
            message: "wrong".into(),
            lines: (2, 2),
            ..BuildWarning::default()
        };
        let later = now + Duration::from_secs(6);
        for (what, at) in [
            (
                BuildStep::Because(vec!["a changed".into(), "b is new".into()]),
                now,
            ),
            (BuildStep::Part(part(0, false)), now),
            (BuildStep::Part(part(5, false)), now),
            (BuildStep::Part(part(1200, false)), later),
            (BuildStep::Part(part(22_000, true)), later),
            (BuildStep::Warned(warning), later),
            (BuildStep::Cached, later),
        ] {
            all += &plain.take("a", 1, &what, at);
        }
        let want = "\
#1 [1/1] COPY . .
#1 not cached: a changed, b is new
#1 reading context: 1.2kB 6.0s
#1 reading context: 22kB 6.0s done
#1 WARN: Rule: wrong (line 2)
#1 CACHED

";
        assert_eq!(all, want);
    }

    #[test]
    fn output_and_titles_steer_nothing_and_have_colours_only_where_allowed() {
        let now = Instant::now();
        for (colour, sequences) in [(false, 0), (true, 3)] {
            let mut plain = Plain::new(colour);
            let title = "[1/1] RUN \x1b]0;title\x07\x1b[2Jx\n#9 DONE 0.0s";
            let mut all = start(&mut plain, ("a", 1), title, now);
            all += &says(
                &mut plain,
                ("a", 1),
                "a\x1b[2J\x1b[31mred\x1b[0m\u{9b}2J\rend",
                now,
            );
            all += &says(
                &mut plain,
                ("a", 1),
                "\x1b[32mgreen\x1b[0m\x1b[9999;1H",
                now,
            );
            assert_eq!(all.matches('\x1b').count(), sequences, "{all:?}");
            assert!(
                all.starts_with("#1 [1/1] RUN x #9 DONE 0.0s\n#1 0.000 end\n"),
                "{all:?}"
            );
        }
    }
}
