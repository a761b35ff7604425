//! How the live view looks: a line about the project, the containers, the chosen one, the lines, the keys.
//!
//! In: a board and a frame of any size. Out: cells. Only colours of the terminal's own are used, and none where there are to be
//! none: any background will do.
//! Imports: `ui::board`, `base`, `ratatui`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, TableState};

use super::{Board, Mood, Row, Use};
use crate::base::scalar::ByteSize;
use crate::ui::menu::has;

/// Blanks between two columns.
const GAP: u16 = 2;

/// Rows that the lines keep when there are many containers.
const LINES: u16 = 6;

/// Colours of names before lines, in the order of the containers.
const NAMES: [Color; 5] = [
    Color::Cyan,
    Color::Yellow,
    Color::Green,
    Color::Magenta,
    Color::Blue,
];

/// Widths of names and of what is said of them, at the most.
const NAME: usize = 40;
const STATUS: usize = 28;

/// A column of numbers, which stand to the right.
struct Number {
    title: &'static str,
    width: u16,
    text: fn(&Use) -> String,
}

/// Columns of numbers; where there is no room they are left out from the last.
const NUMBERS: [Number; 7] = [
    Number {
        title: "CPU %",
        width: 6,
        text: |used| format!("{:.1}", used.cpu),
    },
    Number {
        title: "MEMORY",
        width: 8,
        text: |used| ByteSize(used.memory).binary(),
    },
    Number {
        title: "IN/S",
        width: 7,
        text: |used| ByteSize(used.received).decimal(),
    },
    Number {
        title: "OUT/S",
        width: 7,
        text: |used| ByteSize(used.sent).decimal(),
    },
    Number {
        title: "MEM %",
        width: 6,
        text: |used| format!("{:.1}", share(used)),
    },
    Number {
        title: "READ/S",
        width: 7,
        text: |used| ByteSize(used.read).decimal(),
    },
    Number {
        title: "WRITE/S",
        width: 7,
        text: |used| ByteSize(used.written).decimal(),
    },
];

impl Board {
    /// Draws all of it.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let rows = u16::try_from(self.rows.len()).unwrap_or(u16::MAX);
        let table = match (self.focused, rows) {
            (true, _) | (_, 0) => 0,
            _ => (rows.saturating_add(1)).min(area.height.saturating_sub(3 + LINES).max(3)),
        };
        let note = u16::from(!self.note.is_empty());
        let parts = [
            Constraint::Length(1),
            Constraint::Length(table),
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(note),
            Constraint::Length(1),
        ];
        let [head, table, about, lines, note, foot] = Layout::vertical(parts).areas(area);
        frame.render_widget(self.head(head.width), head);
        self.table(frame, table);
        frame.render_widget(self.lines(lines), lines);
        // Behind the lines: only then it is known how many are below.
        frame.render_widget(self.about(about.width), about);
        frame.render_widget(Line::raw(self.note.as_str()), note);
        frame.render_widget(self.foot(), foot);
    }

    fn head(&self, width: u16) -> Line<'static> {
        let used = || self.rows.iter().filter_map(|row| row.used.as_ref());
        let sum = |of: fn(&Use) -> u64| ByteSize(used().map(of).sum());
        let up = self.rows.iter().filter(|row| row.up).count();
        let cpu = used().map(|used| used.cpu).fold(0.0, |sum, one| sum + one);
        let text = format!(
            " {}   {up} of {} up   cpu {cpu:.1} %   memory {}   in {}/s out {}/s",
            self.project,
            self.rows.len(),
            sum(|used| used.memory).binary(),
            sum(|used| used.received).decimal(),
            sum(|used| used.sent).decimal(),
        );
        let text = format!("{text:<width$}", width = usize::from(width));
        Line::styled(text, Modifier::REVERSED)
    }

    fn table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let longest = |of: fn(&Row) -> &str, title: &str, most: usize| {
            let widths = self.rows.iter().map(|row| width(of(row)));
            let wanted = widths.max().unwrap_or(0).max(title.len()).min(most);
            u16::try_from(wanted).unwrap_or(u16::MAX)
        };
        let narrow = usize::from(area.width) * 3 / 10;
        let name = longest(|row| &row.name, "NAME", NAME.min(narrow.max(12)));
        let status = longest(|row| &row.status, "STATUS", STATUS);
        let probed = self.rows.iter().any(|row| !row.health.is_empty());
        let health = match probed {
            true => longest(|row| &row.health, "HEALTH", usize::MAX),
            false => 0,
        };
        let mut widths = vec![name, status];
        widths.extend(probed.then_some(health));
        let taken = |widths: &[u16]| widths.iter().map(|width| width + GAP).sum::<u16>();
        let mut numbers = Vec::new();
        for number in &NUMBERS {
            if taken(&widths) + number.width > area.width {
                break;
            }
            widths.push(number.width);
            numbers.push(number);
        }
        let right = |text: String| Cell::from(Line::from(text).right_aligned());
        let mut titles = vec![Cell::from("NAME"), Cell::from("STATUS")];
        titles.extend(probed.then(|| Cell::from("HEALTH")));
        titles.extend(numbers.iter().map(|number| right(number.title.to_owned())));
        let rows = self.rows.iter().map(|row| {
            let mood = self.mood(row.mood);
            let mut cells = vec![
                Cell::from(cut(&row.name, name)),
                Cell::from(cut(&row.status, status)).style(mood),
            ];
            cells.extend(probed.then(|| Cell::from(row.health.as_str()).style(mood)));
            cells.extend(numbers.iter().map(|number| match &row.used {
                Some(used) => right((number.text)(used)),
                None => Cell::default(),
            }));
            Cells::new(cells)
        });
        let table = Table::new(rows, widths)
            .column_spacing(GAP)
            .header(Cells::new(titles).style(Modifier::BOLD))
            .row_highlight_style(Modifier::REVERSED);
        let mut state = TableState::default()
            .with_selected(self.chosen.as_ref().map(|_| self.at()))
            .with_offset(self.first);
        frame.render_stateful_widget(table, area, &mut state);
        if area.height > 0 {
            self.first = state.offset();
        }
    }

    /// A rule with what there is to say of the chosen container, and of the lines below it.
    fn about(&self, width: u16) -> Line<'_> {
        let mut parts: Vec<Span<'_>> = Vec::new();
        let mut say = |text: String, style: Style| {
            parts.push(Span::raw(if parts.is_empty() { "─ " } else { " · " }));
            parts.push(Span::styled(text, style));
        };
        let plain = Style::new();
        match self.chosen_row() {
            None => say("no containers: `hoist up -d` starts them".to_owned(), plain),
            Some(row) => {
                say(row.name.clone(), Modifier::BOLD.into());
                if let Some(missing) = &row.missing {
                    say(missing.clone(), self.mood(row.mood));
                }
                if let Some(used) = &row.used {
                    let limit = ByteSize(used.limit).binary();
                    let tasks = if used.pids == 1 { "task" } else { "tasks" };
                    say(format!("{} {tasks}, memory of {limit}", used.pids), plain);
                }
                for text in [&row.ports, &row.image] {
                    if !text.is_empty() {
                        say(text.clone(), plain);
                    }
                }
            }
        }
        if !self.filter.is_empty() {
            say(format!("lines with `{}`", self.filter), plain);
        }
        if self.below > 0 {
            say(format!("{} lines below", self.below), plain);
        }
        let line = Line::from(parts);
        let rest = usize::from(width).saturating_sub(line.width() + 1);
        let mut line = line;
        line.push_span(Span::raw(format!(" {}", "─".repeat(rest))));
        line
    }

    /// The last lines that have room, or those that were asked for.
    fn lines(&mut self, area: Rect) -> Paragraph<'static> {
        let height = usize::from(area.height);
        self.page = height;
        let chosen = self.chosen.clone();
        let shown = |name: &str| !self.focused || chosen.as_deref() == Some(name);
        let lines = || {
            let lines = self.history.backwards(shown);
            lines.filter(|(_, text)| has(text.as_bytes(), &self.filter))
        };
        let below = match self.below {
            0 => 0,
            // The first line does not leave the screen.
            below => below.min(lines().count().saturating_sub(height)),
        };
        let names = self.rows.iter().map(|row| width(&row.name));
        let prefix = match self.focused {
            true => 0,
            false => names.max().unwrap_or(0),
        };
        let room = usize::from(area.width);
        let room = room.saturating_sub(if self.focused { 0 } else { prefix + 3 });
        let mut rows: Vec<Line<'static>> = Vec::new();
        for (name, text) in lines().skip(below) {
            for (at, part) in wrapped(text, room).into_iter().enumerate().rev() {
                let mut line = Line::default();
                if !self.focused {
                    let name = if at == 0 { name } else { "" };
                    let gap = prefix.saturating_sub(width(name));
                    let text = format!("{name}{:gap$} | ", "");
                    line.push_span(Span::styled(text, self.name_style(name)));
                }
                line.push_span(Span::raw(part.to_owned()));
                rows.push(line);
            }
            if rows.len() >= height {
                break;
            }
        }
        rows.truncate(height);
        rows.reverse();
        self.below = below;
        Paragraph::new(rows)
    }

    fn foot(&self) -> Line<'static> {
        if let Some(typed) = &self.typing {
            let text = format!("show only lines with (empty: all): {}", typed.shown());
            return Line::raw(text);
        }
        let row = self.chosen_row();
        let stop = match row {
            Some(row) if !row.up => "start",
            _ => "stop",
        };
        let pause = match row {
            Some(row) if row.paused => "go on",
            _ => "pause",
        };
        let enter = match self.focused {
            true => "all",
            false => "lines",
        };
        let keys = [
            ("↑↓", "choose"),
            ("⏎", enter),
            ("r", "restart"),
            ("s", stop),
            ("p", pause),
            ("/", "filter"),
            ("PgUp", "older"),
            ("q", "quit"),
        ];
        let mut line = Line::default();
        for (key, what) in keys {
            line.push_span(Span::styled(key, Modifier::BOLD));
            line.push_span(Span::raw(format!(" {what}  ")));
        }
        line
    }

    fn mood(&self, mood: Mood) -> Style {
        let colour = match mood {
            Mood::Good => Color::Green,
            Mood::Waiting => Color::Yellow,
            Mood::Bad => Color::Red,
            Mood::Idle => return Modifier::DIM.into(),
        };
        self.coloured(colour)
    }

    fn coloured(&self, colour: Color) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn name_style(&self, name: &str) -> Style {
        let at = self.rows.iter().position(|row| row.name == name);
        let colour = at.and_then(|at| NAMES.get(at % NAMES.len()));
        colour.map_or(Style::new(), |colour| self.coloured(*colour))
    }
}

/// Percents of the memory it may have.
fn share(used: &Use) -> f64 {
    match used.limit {
        0 => 0.0,
        limit => used.memory as f64 / limit as f64 * 100.0,
    }
}

fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

fn cut(text: &str, width: u16) -> String {
    console::truncate_str(text, usize::from(width), "…").into_owned()
}

/// A line in parts that have room; one that is empty is one part.
fn wrapped(text: &str, room: usize) -> Vec<&str> {
    let (mut parts, mut begin, mut wide) = (Vec::new(), 0, 0);
    let mut buffer = [0; 4];
    for (at, character) in text.char_indices() {
        let one = width(character.encode_utf8(&mut buffer));
        if wide + one > room.max(1) {
            parts.push(text.get(begin..at).unwrap_or_default());
            (begin, wide) = (at, 0);
        }
        wide += one;
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}
