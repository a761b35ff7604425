//! The live view of a project: its containers with what they use, and their lines, on a whole screen.
//!
//! In: rows, lines, keys. Out: what is shown ([`Board::draw`]), what a user [`Wish`]es. It looks at nothing itself and
//! changes nothing; `screen` is the terminal it is drawn on.
//! Imports: `ui::{keys, logs, menu}`, `base`.

mod draw;
mod history;
mod screen;

pub use screen::{Picture, leave_at_once};

use std::collections::BTreeSet;

use super::keys::{AGAIN, Decoder, Edit, INTERRUPT, Key, SUSPEND, Typed, plain};
use super::menu::has;
use crate::base::clock::Timestamp;
use history::History;

/// How a container fares, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It runs, and its probe passes if it has one.
    Good,
    /// It is on its way, or paused.
    Waiting,
    /// It has failed, or its probe does.
    Bad,
    /// It does nothing.
    Idle,
}

/// What a container uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Use {
    /// Percents of one processor.
    pub cpu: f64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes it may have; the machine's without a limit.
    pub limit: u64,
    /// Bytes a second that come over its links.
    pub received: u64,
    /// Bytes a second that it sends over its links.
    pub sent: u64,
    /// Bytes a second that it reads from disks.
    pub read: u64,
    /// Bytes a second that it writes to disks.
    pub written: u64,
    /// Tasks.
    pub pids: u64,
}

/// A container.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name on screen, as before its lines.
    pub name: String,
    /// The service it belongs to.
    pub service: String,
    /// `Up 3 minutes`.
    pub status: String,
    /// How it fares.
    pub mood: Mood,
    /// Where its health stands; empty without a probe.
    pub health: String,
    /// What its last probe missed.
    pub missing: Option<String>,
    /// What it uses, while it runs.
    pub used: Option<Use>,
    /// Its image's name.
    pub image: String,
    /// Its ports, as `ps` shows them.
    pub ports: String,
    /// Whether a process of it exists, or will again by itself.
    pub up: bool,
    /// Whether it is frozen.
    pub paused: bool,
}

/// What a user asks for with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// End the view.
    Quit,
    /// End the view as Ctrl-C does.
    Interrupt,
    /// Stop this process, as a shell's Ctrl-Z does.
    Suspend,
    /// Draw everything anew.
    Again,
    /// Do something with a service.
    Act(Act, String),
}

/// What can be done with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Stop its containers and start them again.
    Restart,
    /// Stop them.
    Stop,
    /// Start them.
    Start,
    /// Freeze them.
    Pause,
    /// Let them go on.
    Unpause,
}

/// The view as it stands.
#[derive(Debug)]
pub struct Board {
    project: String,
    colour: bool,
    rows: Vec<Row>,
    /// The chosen container's name: rows come and go.
    chosen: Option<String>,
    history: History,
    /// Only the chosen container's lines are shown, on the whole screen.
    focused: bool,
    filter: String,
    typing: Option<Typed>,
    /// So many lines below the last one that is shown.
    below: usize,
    /// So many rows of lines were shown last.
    page: usize,
    /// The first row that was shown last.
    first: usize,
    note: String,
    decoder: Decoder,
}

impl Board {
    /// A view of a project without containers.
    pub fn new(project: &str, colour: bool) -> Self {
        Self {
            project: project.to_owned(),
            colour,
            rows: Vec::new(),
            chosen: None,
            history: History::default(),
            focused: false,
            filter: String::new(),
            typing: None,
            below: 0,
            page: 0,
            first: 0,
            note: String::new(),
            decoder: Decoder::default(),
        }
    }

    /// These are its containers now.
    pub fn rows(&mut self, rows: Vec<Row>) {
        let at = self.at();
        let before = std::mem::replace(&mut self.rows, rows);
        let names: BTreeSet<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        for gone in before
            .iter()
            .filter(|row| !names.contains(row.name.as_str()))
        {
            self.history.forget(&gone.name);
        }
        if self.chosen_row().is_none() {
            // What stands there now, or the last.
            let last = self.rows.len().saturating_sub(1);
            self.choose(at.min(last));
        }
    }

    /// A container has printed this.
    pub fn printed(&mut self, name: &str, stderr: bool, time: Timestamp, bytes: &[u8]) {
        let shown = self.below > 0 && self.shows(name);
        let line = self.history.printed(name, stderr, time, bytes);
        if shown && line.is_some_and(|line| has(line.as_bytes(), &self.filter)) {
            // Who looks at old lines keeps them before the eyes.
            self.below += 1;
        }
    }

    /// Something is told of a container among its lines.
    pub fn told(&mut self, name: &str, time: Timestamp, what: &str) {
        self.printed(name, false, time, format!("{what}\n").as_bytes());
    }

    /// Says something below everything, until something else is said.
    pub fn note(&mut self, text: &str) {
        self.note = plain(text.as_bytes());
    }

    /// Takes what was typed.
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Wish> {
        let keys = self.decoder.keys(bytes);
        keys.into_iter().filter_map(|key| self.key(key)).collect()
    }

    fn key(&mut self, key: Key) -> Option<Wish> {
        match key {
            Key::Byte(INTERRUPT) => return Some(Wish::Interrupt),
            Key::Byte(SUSPEND) => return Some(Wish::Suspend),
            Key::Byte(AGAIN) => return Some(Wish::Again),
            _ => {}
        }
        if let Some(typed) = &mut self.typing {
            match key {
                Key::Escape => self.typing = None,
                Key::Byte(byte) => {
                    if let Edit::Done(text) = typed.take(byte) {
                        self.typing = None;
                        self.filter = text;
                        self.below = 0;
                    }
                }
                _ => {}
            }
            return None;
        }
        let page = self.page.saturating_sub(1).max(1);
        match key {
            Key::Up | Key::Byte(b'k') => self.choose(self.at().saturating_sub(1)),
            Key::Down | Key::Byte(b'j') => self.choose(self.at() + 1),
            Key::Home | Key::Byte(b'g') => self.choose(0),
            Key::End | Key::Byte(b'G') => self.below = 0,
            // The first line stays on the screen: `draw` knows how far it is.
            Key::PageUp | Key::Byte(b'b') => self.below += page,
            Key::PageDown | Key::Byte(b' ') => self.below = self.below.saturating_sub(page),
            Key::Byte(b'\r' | b'\n' | b'l') => {
                self.focused = !self.focused && self.chosen.is_some();
                self.below = 0;
            }
            Key::Escape if self.focused => {
                self.focused = false;
                self.below = 0;
            }
            Key::Escape => self.filter.clear(),
            Key::Byte(b'/') => self.typing = Some(Typed::default()),
            Key::Byte(b'q') => return Some(Wish::Quit),
            Key::Byte(b'r') => return self.act(|_| Act::Restart),
            Key::Byte(b's') => return self.act(|row| if row.up { Act::Stop } else { Act::Start }),
            Key::Byte(b'p') => {
                return self.act(|row| if row.paused { Act::Unpause } else { Act::Pause });
            }
            Key::Byte(_) => {}
        }
        None
    }

    fn act(&self, which: impl Fn(&Row) -> Act) -> Option<Wish> {
        let row = self.chosen_row()?;
        Some(Wish::Act(which(row), row.service.clone()))
    }

    fn chosen_row(&self) -> Option<&Row> {
        let name = self.chosen.as_ref()?;
        self.rows.iter().find(|row| row.name == *name)
    }

    /// Where the chosen row stands.
    fn at(&self) -> usize {
        let chosen = self.chosen.as_ref();
        let at = self.rows.iter().position(|row| Some(&row.name) == chosen);
        at.unwrap_or(0)
    }

    /// Chooses a row; one behind the last is the last.
    fn choose(&mut self, at: usize) {
        let row = self.rows.get(at).or_else(|| self.rows.last());
        self.chosen = row.map(|row| row.name.clone());
        if self.focused {
            self.below = 0;
        }
    }

    /// Whether lines of this container are shown.
    fn shows(&self, name: &str) -> bool {
        !self.focused || self.chosen.as_deref() == Some(name)
    }
}

#[cfg(test)]
mod tests;
