//! Progress as a list that is redrawn in place, as docker compose draws it on a terminal.
//!
//! In: events and the time. Out: lines. [`Live`] holds what is shown; `progress` draws it.
//! Imports: `base`. As Compose: `pkg/progress/tty.go`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::paint;
use super::progress::resource_id;
use crate::base::event::{BuildStep, Event, Status};
use crate::base::scalar::ByteSize;

/// Frames of the spinner; one each 100 ms.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// So many of the last lines of a running build step are shown.
const BUILD_LINES: usize = 4;

/// Everything that is shown.
#[derive(Debug)]
pub struct Live {
    colour: bool,
    dry_run: bool,
    begun: Instant,
    rows: IndexMap<String, Row>,
}

#[derive(Debug)]
struct Row {
    status: String,
    state: Standing,
    begun: Instant,
    ended: Option<Instant>,
    detail: Option<String>,
    layers: IndexMap<String, (u64, Option<u64>, bool)>,
    steps: IndexMap<u32, Step>,
}

#[derive(Debug)]
struct Step {
    title: String,
    begun: Instant,
    last: VecDeque<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Working,
    Done,
    Failed,
    Warning,
}

impl Live {
    /// Nothing shown yet.
    pub fn new(colour: bool, dry_run: bool, now: Instant) -> Self {
        Self {
            colour,
            dry_run,
            begun: now,
            rows: IndexMap::new(),
        }
    }
    /// Whether anything is shown.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes an event in. Text that belongs above the list is given back.
    pub fn take(&mut self, event: &Event, now: Instant) -> Option<String> {
        match event {
            Event::Resource {
                kind,
                name,
                status,
                detail,
            } => {
                let row = self.row(resource_id(*kind, name), now);
                let (state, text) = match status {
                    Status::Working(verb) => (Standing::Working, (*verb).to_owned()),
                    Status::Done(verb) => (Standing::Done, (*verb).to_owned()),
                    Status::Failed(why) => (Standing::Failed, first_line(why)),
                    Status::Warning(why) => (Standing::Warning, first_line(why)),
                };
                row.ended = (state != Standing::Working).then_some(now);
                row.state = state;
                row.status = text;
                if detail.is_some() {
                    row.detail.clone_from(detail);
                }
                None
            }
            Event::Pull {
                image,
                layer,
                done,
                total,
                phase,
            } => {
                let complete = matches!(*phase, "Pull complete" | "Already exists");
                let row = self.row(format!("Image {image}"), now);
                row.layers.insert(layer.clone(), (*done, *total, complete));
                None
            }
            Event::Build { target, step, what } => {
                self.build(target, *step, what, now);
                None
            }
            Event::Output { .. } => None,
            Event::Notice(text) => Some(format!("{text}\n")),
            Event::Warn(text) => Some(super::render::warning(text, self.colour)),
        }
    }

    fn row(&mut self, id: String, now: Instant) -> &mut Row {
        self.rows.entry(id).or_insert_with(|| Row {
            status: String::new(),
            state: Standing::Working,
            begun: now,
            ended: None,
            detail: None,
            layers: IndexMap::new(),
            steps: IndexMap::new(),
        })
    }

    fn build(&mut self, target: &str, step: u32, what: &BuildStep, now: Instant) {
        let row = self.row(format!("Image {target}"), now);
        if row.status.is_empty() {
            "Building".clone_into(&mut row.status);
        }
        match what {
            BuildStep::Started(title) => {
                let step_row = Step {
                    title: title.clone(),
                    begun: now,
                    last: VecDeque::new(),
                };
                row.steps.insert(step, step_row);
            }
            BuildStep::Output(line) => {
                if let Some(entry) = row.steps.get_mut(&step) {
                    let clean = super::logs::sanitise(line.as_bytes());
                    entry
                        .last
                        .push_back(String::from_utf8_lossy(&clean).into_owned());
                    if entry.last.len() > BUILD_LINES {
                        entry.last.pop_front();
                    }
                }
            }
            BuildStep::Cached | BuildStep::Done(_) | BuildStep::Failed(_) => {
                row.steps.shift_remove(&step);
            }
            _ => {}
        }
    }

    /// What is to be seen now: at most `height` lines of at most `width` characters. Rows that have
    /// ended give way first when there is no room.
    pub fn lines(&self, now: Instant, width: usize, height: usize) -> Vec<String> {
        let done = self
            .rows
            .values()
            .filter(|row| row.state != Standing::Working)
            .count();
        let label = if self.dry_run { "DRY-RUN MODE - " } else { "" };
        let head = format!("{label}[+] Running {done}/{}", self.rows.len());
        let all_done = done == self.rows.len();
        let mut lines = vec![paint(self.colour && all_done, "34", &head)];
        let room = height.saturating_sub(1).max(1);
        let longest = self
            .rows
            .keys()
            .map(|id| id.chars().count())
            .max()
            .unwrap_or(0);
        let mut blocks: Vec<(bool, Vec<String>)> = Vec::new();
        for (id, row) in &self.rows {
            let mut block = vec![self.line(id, longest, row, now, width)];
            block.extend(self.step_lines(row, now, width));
            blocks.push((row.state == Standing::Working, block));
        }
        let mut total: usize = blocks.iter().map(|(_, block)| block.len()).sum();
        blocks.retain(|(working, block)| {
            let drop = total > room && !working;
            total -= if drop { block.len() } else { 0 };
            !drop
        });
        lines.extend(blocks.into_iter().flat_map(|(_, block)| block).take(room));
        lines
    }

    fn line(&self, id: &str, longest: usize, row: &Row, now: Instant, width: usize) -> String {
        let spin = now.duration_since(self.begun).as_millis() / 100 % 10;
        let (mark, code) = match row.state {
            Standing::Working => (SPINNER.get(spin as usize).copied().unwrap_or("⠋"), "33"),
            Standing::Done => ("✔", "32"),
            Standing::Failed => ("✘", "31"),
            Standing::Warning => ("!", "33"),
        };
        let mut status = row.status.clone();
        if row.state == Standing::Working && !row.layers.is_empty() {
            status = format!("{status} {}", layers(row));
        }
        if let Some(detail) = &row.detail {
            status = format!("{status} ({detail})");
        }
        let time = seconds(row.ended.unwrap_or(now).duration_since(row.begun));
        let plain = format!(" {mark} {id:<longest$}  {status}");
        let room = width.saturating_sub(time.chars().count() + 2);
        let cut = console::truncate_str(&plain, room, "…");
        let gap = room.saturating_sub(console::measure_text_width(&cut));
        let body = match (
            self.colour,
            cut.strip_prefix(&format!(" {mark} {id:<longest$}  ")),
        ) {
            (true, Some(status)) => {
                let (mark, status) = (paint(true, code, mark), paint(true, code, status));
                format!(" {mark} {id:<longest$}  {status}")
            }
            _ => cut.into_owned(),
        };
        format!(
            "{body}{} {}",
            " ".repeat(gap),
            paint(self.colour, "34", &time)
        )
    }

    fn step_lines(&self, row: &Row, now: Instant, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for step in row.steps.values() {
            let time = seconds(now.duration_since(step.begun));
            let title = format!("   => {} {time}", step.title);
            lines.push(console::truncate_str(&title, width.saturating_sub(1), "…").into_owned());
            for line in &step.last {
                let text = format!("      {line}");
                let cut = console::truncate_str(&text, width.saturating_sub(1), "…").into_owned();
                lines.push(paint(self.colour, "2", &cut));
            }
        }
        lines
    }
}

/// `3/5 layers 12MiB / 40MiB`.
fn layers(row: &Row) -> String {
    let complete = row
        .layers
        .values()
        .filter(|(_, _, complete)| *complete)
        .count();
    let done: u64 = row.layers.values().map(|(done, ..)| *done).sum();
    let total: Option<u64> = row.layers.values().map(|(_, total, _)| *total).sum();
    let total = total
        .map(|t| format!(" / {}", ByteSize(t)))
        .unwrap_or_default();
    format!(
        "{complete}/{} layers {}{total}",
        row.layers.len(),
        ByteSize(done)
    )
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Kind;

    fn event(name: &str, status: Status) -> Event {
        Event::Resource {
            kind: Kind::Container,
            name: name.into(),
            status,
            detail: None,
        }
    }

    #[test]
    fn rows_show_mark_name_status_and_time_at_the_right_edge() {
        let begun = Instant::now();
        let mut live = Live::new(false, false, begun);
        live.take(&event("demo-api-1", Status::Working("Starting")), begun);
        live.take(&event("db", Status::Working("Starting")), begun);
        live.take(
            &event("db", Status::Done("Started")),
            begun + Duration::from_millis(200),
        );
        let lines = live
            .lines(begun + Duration::from_millis(300), 50, 24)
            .join("\n");
        let want = "\
[+] Running 1/2
 ⠸ Container demo-api-1  Starting            0.3s
 ✔ Container db          Started             0.2s";
        assert_eq!(lines, want);
    }

    #[test]
    fn finished_rows_give_way_when_the_terminal_is_too_low() {
        let now = Instant::now();
        let mut live = Live::new(false, false, now);
        for n in 0..20 {
            let status = if n == 15 {
                Status::Working("Starting")
            } else {
                Status::Done("Started")
            };
            live.take(&event(&format!("c{n}"), status), now);
        }
        let lines = live.lines(now, 60, 5);
        assert_eq!(lines.len(), 5);
        assert!(lines.iter().any(|line| line.contains("c15")), "{lines:?}");
    }

    #[test]
    fn a_running_build_step_shows_its_last_lines_and_folds_when_done() {
        let now = Instant::now();
        let mut live = Live::new(false, false, now);
        let step = |what| Event::Build {
            target: "web".into(),
            step: 1,
            what,
        };
        live.take(&step(BuildStep::Started("[1/1] RUN make".into())), now);
        for n in 0..6 {
            live.take(&step(BuildStep::Output(format!("line {n}"))), now);
        }
        let lines = live.lines(now, 40, 24);
        assert_eq!(
            lines.get(2).map(String::as_str),
            Some("   => [1/1] RUN make 0.0s")
        );
        assert_eq!(lines.get(3).map(String::as_str), Some("      line 2"));
        live.take(&step(BuildStep::Done(1.0)), now);
        assert_eq!(live.lines(now, 40, 24).len(), 2);
    }
}
