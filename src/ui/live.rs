//! Progress as a list that is redrawn in place, as docker compose draws it on a terminal.
//!
//! In: events and the time. Out: lines. [`Live`] holds what is shown; `progress` draws it. Steps of builds stand above all
//! else, as [`tty`] draws them.
//! Imports: `base`. As Compose: `pkg/progress/tty.go`.

use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::build::{Steps, tty};
use super::paint;
use super::progress::resource_id;
use crate::base::event::{Event, Part, Status, is_last_phase};
use crate::base::scalar::ByteSize;

/// Frames of the spinner; one each 100 ms.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// What is said of an image whose steps are shown anyway.
const BUILDING: &str = "Building";
/// What a row says while something else is waited for.
const WAITING: &str = "Waiting";

/// Everything that is shown.
#[derive(Debug)]
pub struct Live {
    colour: bool,
    dry_run: bool,
    begun: Instant,
    rows: IndexMap<String, Row>,
    builds: Steps,
}

#[derive(Debug)]
struct Row {
    status: String,
    state: Standing,
    begun: Instant,
    ended: Option<Instant>,
    detail: Option<String>,
    /// What is waited for.
    missing: Option<String>,
    layers: IndexMap<String, (u64, Option<u64>, bool)>,
    moved: Moved,
}

/// Bytes that went over the network, and when.
#[derive(Debug, Default, Clone, Copy)]
struct Moved {
    bytes: u64,
    /// The first and the last time that some did.
    times: Option<(Instant, Instant)>,
}

impl Moved {
    fn add(&mut self, bytes: u64, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        let begun = self.times.map_or(now, |(begun, _)| begun);
        self.times = Some((begun, now));
    }
    /// Bytes a second, once there is something to tell from.
    fn rate(&self) -> Option<u64> {
        let (begun, last) = self.times?;
        let seconds = last.duration_since(begun).as_secs_f64();
        (seconds >= 0.5).then(|| (self.bytes as f64 / seconds) as u64)
    }
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
            builds: Steps::default(),
        }
    }
    /// Whether anything is shown.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.builds.is_empty()
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
                // What is told of a wait holds as long as it lasts; other causes stay.
                let detail = detail.as_deref().map(first_line);
                match text == WAITING {
                    true => row.missing = detail,
                    false => {
                        row.missing = None;
                        row.detail = detail.or_else(|| row.detail.take());
                    }
                }
                row.status = text;
                None
            }
            Event::Pull {
                image,
                layer,
                done,
                total,
                phase,
            } => {
                let complete = is_last_phase(phase);
                let part = Part {
                    id: format!("{layer} {phase}"),
                    current: *done,
                    total: *total,
                    done: complete,
                    unit: "",
                };
                if self.builds.pull(image, layer, part, now) {
                    return None;
                }
                let row = self.row(format!("Image {image}"), now);
                let before = row.layers.get(layer).map_or(0, |(bytes, ..)| *bytes);
                // What is unpacked has come before.
                let bytes = match *phase {
                    "Extracting" | "Download complete" => total.unwrap_or(*done),
                    _ => *done,
                };
                if matches!(*phase, "Downloading" | "Pushing" | "Download complete") {
                    row.moved.add(bytes.saturating_sub(before), now);
                }
                row.layers.insert(layer.clone(), (bytes, *total, complete));
                None
            }
            Event::Build { target, step, what } => {
                self.builds.take(target, *step, what, now);
                None
            }
            Event::Output { .. } => None,
            Event::SlowStop(report) => Some(super::render::slow_stop(report, self.colour)),
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
            missing: None,
            layers: IndexMap::new(),
            moved: Moved::default(),
        })
    }

    /// What is to be seen now: at most `height` lines of at most `width` columns. What has ended gives way first when
    /// there is no room.
    pub fn lines(&self, now: Instant, width: usize, height: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let rows = self.wanted();
        if !self.builds.is_empty() {
            let beside = match rows.is_empty() {
                true => 0,
                false => (rows.len() + 1).min(height / 2),
            };
            let room = tty::Room {
                width,
                height: height.saturating_sub(beside),
                colour: self.colour,
            };
            lines = tty::lines(&self.builds, now, room);
        }
        if !rows.is_empty() {
            let height = height.saturating_sub(lines.len());
            lines.extend(self.resources(&rows, now, width, height));
        }
        lines
    }

    /// What was found in files that were built, as a list for the end.
    pub fn warnings(&self) -> String {
        self.builds.warnings(self.colour)
    }

    /// Rows that say more than the steps of builds do.
    fn wanted(&self) -> Vec<(&String, &Row)> {
        let says_more = |row: &Row| row.state != Standing::Working || row.status != BUILDING;
        let rows = self.rows.iter();
        rows.filter(|(_, row)| self.builds.is_empty() || says_more(row))
            .collect()
    }

    fn resources(
        &self,
        rows: &[(&String, &Row)],
        now: Instant,
        width: usize,
        height: usize,
    ) -> Vec<String> {
        let done = rows
            .iter()
            .filter(|(_, row)| row.state != Standing::Working)
            .count();
        let label = if self.dry_run { "DRY-RUN MODE - " } else { "" };
        let head = format!("{label}[+] Running {done}/{}", self.rows.len());
        let all_done = done == self.rows.len();
        let mut lines = vec![paint(self.colour && all_done, "34", &head)];
        let room = height.saturating_sub(1).max(1);
        let longest = rows
            .iter()
            .map(|(id, _)| console::measure_text_width(id))
            .max()
            .unwrap_or(0)
            // What is done with it must be seen, too.
            .min((width * 3 / 5).min(width.saturating_sub(20)));
        let mut drop = rows.len().saturating_sub(room);
        for (id, row) in rows {
            if drop > 0 && row.state != Standing::Working {
                drop -= 1;
                continue;
            }
            lines.push(self.line(id, longest, row, now, width));
        }
        lines.truncate(room + 1);
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
        if let Some(detail) = row.missing.as_ref().or(row.detail.as_ref()) {
            status = format!("{status} ({detail})");
        }
        let time = seconds(row.ended.unwrap_or(now).duration_since(row.begun));
        let id = console::truncate_str(id, longest, "…");
        let gap = longest.saturating_sub(console::measure_text_width(&id));
        let begin = format!(" {mark} {id}{:gap$}  ", "");
        let plain = format!("{begin}{status}");
        let room = width.saturating_sub(time.chars().count() + 2);
        let cut = console::truncate_str(&plain, room, "…");
        let gap = room.saturating_sub(console::measure_text_width(&cut));
        let body = match (self.colour, cut.strip_prefix(begin.as_str())) {
            (true, Some(status)) => {
                let (mark, status) = (paint(true, code, mark), paint(true, code, status));
                let pad = longest.saturating_sub(console::measure_text_width(&id));
                format!(" {mark} {id}{:pad$}  {status}", "")
            }
            _ => cut.into_owned(),
        };
        format!(
            "{body}{} {}",
            " ".repeat(gap),
            paint(self.colour, "34", &time)
        )
    }
}

/// `3/5 layers 12MiB / 40MiB, 8MiB/s`.
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
    let rate = row.moved.rate();
    let rate = rate
        .map(|rate| format!(", {}/s", ByteSize(rate)))
        .unwrap_or_default();
    format!(
        "{complete}/{} layers {}{total}{rate}",
        row.layers.len(),
        ByteSize(done)
    )
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect()
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
    fn each_line_fits_with_wide_names_on_narrow_screens_and_with_hostile_texts() {
        let now = Instant::now();
        let mut live = Live::new(true, false, now);
        live.take(
            &event(
                "日本語のとても長い名前の容器-🦀-1",
                Status::Working("Starting"),
            ),
            now,
        );
        live.take(
            &event("a", Status::Failed("\x1b[2Jgone\rwrong\u{9b}2J".into())),
            now,
        );
        for n in 0..100 {
            live.take(
                &event(&format!("service-{n}-1"), Status::Working("Creating")),
                now,
            );
        }
        for (width, height) in [(40, 10), (80, 24), (200, 50)] {
            let lines = live.lines(now, width, height);
            assert!(lines.len() <= height);
            for line in &lines {
                let shown = console::measure_text_width(line);
                assert!(shown < width, "{shown} columns of {width}: {line:?}");
            }
            let times = lines.iter().filter(|line| line.contains("0.0s"));
            assert_eq!(times.count(), lines.len() - 1);
        }
        let lines = live.lines(now, 200, 200).join("\n");
        assert!(lines.contains("[2Jgonewrong2J"), "{lines:?}");
        assert!(!lines.contains("\x1b[2J") && !lines.contains('\u{9b}'));
        let narrow = live.lines(now, 40, 200).join("\n");
        assert!(narrow.contains("Creating"), "{narrow}");
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
    fn steps_of_builds_stand_above_the_rows_and_images_at_work_are_not_told_twice() {
        use crate::base::event::BuildStep;
        let now = Instant::now();
        let mut live = Live::new(false, false, now);
        let image = |status| Event::Resource {
            kind: Kind::Image,
            name: "web".into(),
            status,
            detail: None,
        };
        let step = |what| Event::Build {
            target: "web".into(),
            step: 1,
            what,
        };
        live.take(&image(Status::Working("Building")), now);
        live.take(&step(BuildStep::Started("[1/1] RUN make".into())), now);
        let title = " => [1/1] RUN make                 0.0s";
        let shown = live.lines(now, 40, 24).join("\n");
        assert_eq!(shown, format!("[+] Building 0.0s (0/1)\n{title}"));
        live.take(&step(BuildStep::Done(0.0)), now);
        live.take(&image(Status::Done("Built")), now);
        let shown = live.lines(now, 40, 24).join("\n");
        let row = " ✔ Image web  Built                0.0s";
        let want = format!("[+] Building 0.0s (1/1) FINISHED\n{title}\n[+] Running 1/1\n{row}");
        assert_eq!(shown, want);
    }
}
