//! What a command did, as a timeline that any Chrome-trace viewer opens.
//!
//! In: events with the time they came. Out: one JSON object. A target of a build is a process row, its stages are
//! thread rows; a step is one span, and what it waited for and the parts of its work are spans within. Spans of one row
//! never overlap without one lying inside the other: what would, gets a row of its own. Output of steps and values of
//! secrets are not in it.
//! Imports: `base`. Source: "Trace Event Format", Google, sections "Complete Events" and "Metadata Events".

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::base::clock::Timestamp;
use crate::base::event::{BuildStep, Event, Part, Status, stage_of};
use crate::ui::progress::resource_id;
use crate::ui::render::clean;

/// The process row of what belongs to no build.
const COMMAND: &str = "hoist";
/// The process row of pulls.
const PULLS: &str = "images";
/// Spans that are kept: more than any viewer shows, less than fills the memory.
const MOST: usize = 200_000;

/// A row: the process's name and the thread's.
type Row = (String, String);

/// What has happened so far.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    clock: Timestamp,
    spans: Vec<Span>,
    /// Spans that have not ended, by what they are of.
    open: BTreeMap<Of, usize>,
    /// The rows that steps are in, and their titles.
    steps: BTreeMap<(String, u32), (Row, String)>,
}

/// What a span is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Step(String, u32),
    Waiting(String, u32),
    Part(String, u32, String),
    Layer(String, String),
    Resource(String),
}

#[derive(Debug)]
struct Span {
    row: Row,
    name: String,
    category: &'static str,
    begun: Duration,
    ended: Option<Duration>,
    args: Map<String, Value>,
}

impl Trace {
    /// Begins now. `clock` is the time of day.
    pub fn new(now: Instant, clock: Timestamp) -> Self {
        Self {
            begun: now,
            clock,
            spans: Vec::new(),
            open: BTreeMap::new(),
            steps: BTreeMap::new(),
        }
    }

    /// Takes an event in.
    pub fn take(&mut self, event: &Event, now: Instant) {
        let at = now.saturating_duration_since(self.begun);
        match event {
            Event::Build { target, step, what } => self.build(target, *step, what, at),
            Event::Resource {
                kind, name, status, ..
            } => {
                let id = clean(&resource_id(*kind, name));
                let of = Of::Resource(id.clone());
                self.end(&of, at);
                if let Status::Working(verb) = status {
                    let row = (COMMAND.to_owned(), id.clone());
                    self.begin(of, row, format!("{verb} {id}"), "resource", at);
                }
            }
            Event::Pull {
                image,
                layer,
                done,
                phase,
                ..
            } => self.pulled(image, layer, phase, *done, at),
            Event::Output { .. } | Event::Notice(_) | Event::Warn(_) | Event::SlowStop(_) => {}
        }
    }

    fn pulled(&mut self, image: &str, layer: &str, phase: &'static str, bytes: u64, at: Duration) {
        let of = Of::Layer(image.to_owned(), layer.to_owned());
        let name = format!("{phase} {layer}");
        let open = self.open.get(&of).and_then(|at| self.spans.get(*at));
        if open.is_none_or(|span| span.name != name) {
            self.end(&of, at);
            if matches!(phase, "Pull complete" | "Already exists") {
                return;
            }
            let row = (PULLS.to_owned(), clean(image));
            self.begin(of.clone(), row, name, "pull", at);
        }
        self.note(&of, "bytes", json!(bytes));
    }

    fn build(&mut self, target: &str, step: u32, what: &BuildStep, at: Duration) {
        let key = (target.to_owned(), step);
        let of = Of::Step(target.to_owned(), step);
        match what {
            BuildStep::Planned { title, stage, .. } => {
                self.steps
                    .insert(key, ((clean(target), clean(stage)), clean(title)));
            }
            BuildStep::Started(title) => {
                let title = clean(title);
                let row = match self.steps.get(&key) {
                    Some((row, _)) => row.clone(),
                    None => (clean(target), stage_of(&title)),
                };
                self.steps.insert(key, (row.clone(), title.clone()));
                self.begin(of, row, title, "step", at);
            }
            BuildStep::Waiting(what) => {
                let waiting = Of::Waiting(target.to_owned(), step);
                self.end(&waiting, at);
                if let (Some(what), Some((row, _))) = (what, self.steps.get(&key)) {
                    let name = format!("waiting for {}", clean(what));
                    self.begin(waiting, row.clone(), name, "wait", at);
                }
            }
            BuildStep::Part(part) => self.part(key, part, at),
            BuildStep::Because(why) => {
                let why: Vec<String> = why.iter().map(|why| clean(why)).collect();
                self.note(&of, "because", json!(why));
            }
            BuildStep::Key(key) => self.note(&of, "key", json!(key)),
            BuildStep::Cached => self.step_ends(key, "cached", json!(true), at),
            BuildStep::Done(_) => self.step_ends(key, "cached", json!(false), at),
            BuildStep::Failed(why) => self.step_ends(key, "error", json!(clean(why)), at),
            BuildStep::Cancelled => self.step_ends(key, "cancelled", json!(true), at),
            BuildStep::Output(_) | BuildStep::Partial(_) | BuildStep::Warned(_) => {}
        }
    }

    fn part(&mut self, (target, step): (String, u32), part: &Part, at: Duration) {
        let id = clean(&part.id);
        let of = Of::Part(target.clone(), step, id.clone());
        if !self.open.contains_key(&of) {
            let Some((row, _)) = self.steps.get(&(target, step)) else {
                return;
            };
            self.begin(of.clone(), row.clone(), id, "part", at);
        }
        let unit = match part.unit {
            "" => "bytes",
            unit => unit,
        };
        if part.current > 0 {
            self.note(&of, unit, json!(part.current));
        }
        if part.done {
            self.end(&of, at);
        }
    }

    /// Ends a step with all that belongs to it.
    fn step_ends(&mut self, (target, step): (String, u32), name: &str, value: Value, at: Duration) {
        let parts = self
            .open
            .keys()
            .filter(|of| matches!(of, Of::Part(of, number, _) if *of == target && *number == step));
        for of in parts.cloned().collect::<Vec<_>>() {
            self.end(&of, at);
        }
        self.end(&Of::Waiting(target.clone(), step), at);
        let of = Of::Step(target, step);
        self.note(&of, name, value);
        self.end(&of, at);
    }

    fn begin(&mut self, of: Of, row: Row, name: String, category: &'static str, at: Duration) {
        if self.spans.len() >= MOST {
            return;
        }
        self.open.insert(of, self.spans.len());
        self.spans.push(Span {
            row,
            name,
            category,
            begun: at,
            ended: None,
            args: Map::new(),
        });
    }

    fn note(&mut self, of: &Of, name: &str, value: Value) {
        let span = self.open.get(of).and_then(|at| self.spans.get_mut(*at));
        if let Some(span) = span {
            span.args.insert(name.to_owned(), value);
        }
    }

    fn end(&mut self, of: &Of, at: Duration) {
        let span = self.open.remove(of).and_then(|at| self.spans.get_mut(at));
        if let Some(span) = span {
            span.ended = Some(at);
        }
    }

    /// The timeline up to now; what has not ended does so now, marked as unfinished.
    pub fn json(&self, now: Instant) -> String {
        let last = now.saturating_duration_since(self.begun);
        let mut rows: IndexMap<&str, IndexMap<&str, Vec<&Span>>> = IndexMap::new();
        for span in &self.spans {
            let threads = rows.entry(&span.row.0).or_default();
            threads.entry(&span.row.1).or_default().push(span);
        }
        let mut events = Vec::new();
        for (at, (process, threads)) in rows.iter().enumerate() {
            let pid = at + 1;
            events.push(label("process_name", pid, 0, process));
            let mut tid = 0;
            for (thread, spans) in threads {
                for (lane, spans) in lanes(spans, last).into_iter().enumerate() {
                    tid += 1;
                    let name = match lane {
                        0 => (*thread).to_owned(),
                        lane => format!("{thread} #{}", lane + 1),
                    };
                    events.push(label("thread_name", pid, tid, &name));
                    events.extend(spans.iter().map(|span| span.event(pid, tid, last)));
                }
            }
        }
        let all = json!({
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": { "producer": "hoist", "started": self.clock.rfc3339() },
        });
        format!("{all}\n")
    }
}

impl Span {
    /// When it began and ended, in whole microseconds.
    fn range(&self, last: Duration) -> (u128, u128) {
        let end = self.ended.unwrap_or(last).max(self.begun);
        (self.begun.as_micros(), end.as_micros())
    }

    fn event(&self, pid: usize, tid: usize, last: Duration) -> Value {
        let (begun, ended) = self.range(last);
        let mut args = self.args.clone();
        if self.ended.is_none() {
            args.insert("unfinished".to_owned(), json!(true));
        }
        json!({
            "name": self.name, "cat": self.category, "ph": "X", "pid": pid, "tid": tid,
            "ts": micros(begun), "dur": micros(ended - begun), "args": args,
        })
    }
}

/// A command that takes longer than five hundred thousand years has other troubles.
fn micros(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn label(what: &str, pid: usize, tid: usize, name: &str) -> Value {
    json!({ "name": what, "ph": "M", "pid": pid, "tid": tid, "args": { "name": name } })
}

/// Spans of one row in as many lanes as are needed so that two of one lane lie side by side or one inside the other.
fn lanes<'a>(spans: &[&'a Span], last: Duration) -> Vec<Vec<&'a Span>> {
    let mut sorted = spans.to_vec();
    sorted.sort_by_key(|span| {
        let (begun, ended) = span.range(last);
        // What lies around others comes before them.
        (begun, u128::MAX - ended, span.category != "step")
    });
    let mut lanes: Vec<(Vec<u128>, Vec<&Span>)> = Vec::new();
    for span in sorted {
        let (begun, ended) = span.range(last);
        let fits = |open: &mut Vec<u128>| {
            while open.last().is_some_and(|end| *end <= begun) {
                open.pop();
            }
            open.last().is_none_or(|end| ended <= *end)
        };
        match lanes
            .iter_mut()
            .find_map(|(open, spans)| fits(open).then_some((open, spans)))
        {
            Some((open, spans)) => {
                open.push(ended);
                spans.push(span);
            }
            None => lanes.push((vec![ended], vec![span])),
        }
    }
    lanes.into_iter().map(|(_, spans)| spans).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Kind;

    fn build(step: u32, what: BuildStep) -> Event {
        Event::Build {
            target: "web".into(),
            step,
            what,
        }
    }
    /// A timeline of events with their times in ms, ended after 100 ms.
    fn traced(events: &[(u64, Event)]) -> Vec<Value> {
        let now = Instant::now();
        let mut trace = Trace::new(now, Timestamp(0));
        for (at, event) in events {
            trace.take(event, now + Duration::from_millis(*at));
        }
        let text = trace.json(now + Duration::from_millis(100));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        value["traceEvents"].as_array().cloned().unwrap_or_default()
    }
    fn span<'a>(events: &'a [Value], name: &str) -> &'a Value {
        let found = events.iter().find(|event| event["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {events:?}"))
    }

    #[test]
    fn a_step_is_a_span_with_its_waits_and_parts_inside() {
        let part = |current, done| {
            build(
                3,
                BuildStep::Part(Part {
                    id: "reading".into(),
                    current,
                    done,
                    ..Part::default()
                }),
            )
        };
        let events = traced(&[
            (
                10,
                build(3, BuildStep::Started("[build 2/4] COPY . .".into())),
            ),
            (10, build(3, BuildStep::Waiting(Some("a slot".into())))),
            (15, build(3, BuildStep::Waiting(None))),
            (20, part(1, false)),
            (30, part(7, true)),
            (31, build(3, BuildStep::Because(vec!["a changed".into()]))),
            (31, build(3, BuildStep::Key("sha256:k".into()))),
            (31, build(3, BuildStep::Output("password".into()))),
            (40, build(3, BuildStep::Done(0.03))),
        ]);
        let step = span(&events, "[build 2/4] COPY . .");
        assert_eq!(
            (&step["ts"], &step["dur"]),
            (&json!(10_000), &json!(30_000))
        );
        assert_eq!(
            step["args"],
            json!({"because": ["a changed"], "key": "sha256:k", "cached": false})
        );
        let (wait, part) = (
            span(&events, "waiting for a slot"),
            span(&events, "reading"),
        );
        assert_eq!((&wait["ts"], &wait["dur"]), (&json!(10_000), &json!(5_000)));
        assert_eq!(part["args"], json!({"bytes": 7}));
        for inner in [wait, part] {
            assert_eq!((&inner["pid"], &inner["tid"]), (&step["pid"], &step["tid"]));
        }
        assert_eq!(span(&events, "process_name")["args"]["name"], "web");
        assert_eq!(span(&events, "thread_name")["args"]["name"], "build");
        assert!(!json!(events).to_string().contains("password"));
    }

    #[test]
    fn what_overlaps_gets_a_row_of_its_own_and_what_is_open_ends_with_the_command() {
        let pull = |layer: &str, phase| Event::Pull {
            image: "docker.io/library/a:1".into(),
            layer: layer.into(),
            done: 5,
            total: None,
            phase,
        };
        let events = traced(&[
            (0, pull("one", "Downloading")),
            (10, pull("two", "Downloading")),
            (20, pull("one", "Extracting")),
            (30, pull("one", "Pull complete")),
            (40, build(1, BuildStep::Started("[1/1] RUN sleep".into()))),
        ]);
        let (one, two) = (
            span(&events, "Downloading one"),
            span(&events, "Downloading two"),
        );
        assert_ne!(one["tid"], two["tid"]);
        assert_eq!(one["tid"], span(&events, "Extracting one")["tid"]);
        let open = span(&events, "[1/1] RUN sleep");
        assert_eq!(
            (&open["dur"], &open["args"]["unfinished"]),
            (&json!(60_000), &json!(true))
        );
    }

    #[test]
    fn resources_are_spans_of_the_command() {
        let working = |status| Event::Resource {
            kind: Kind::Container,
            name: "demo-a-1".into(),
            status,
            detail: None,
        };
        let events = traced(&[
            (0, working(Status::Working("Creating"))),
            (5, working(Status::Done("Created"))),
            (5, working(Status::Working("Starting"))),
            (9, working(Status::Failed("no".into()))),
        ]);
        assert_eq!(span(&events, "Creating Container demo-a-1")["dur"], 5_000);
        assert_eq!(span(&events, "Starting Container demo-a-1")["dur"], 4_000);
    }
}
