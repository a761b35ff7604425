//! Sends a container's log lines elsewhere: to the journal or to a syslog server.
//!
//! Lines are sent from the log itself, from a place that is kept beside it. So whoever gets them may be away for as
//! long as the log holds what was not sent, nothing of it is in memory, and the container never waits. Lines that fell
//! off the log unsent are counted and told of. After a kill the last lines may be sent again.
//! Imports: `base`, `engine`, `sys`; beside it `reader`, `writer`.

mod journal;
mod link;
mod syslog;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Instant;

use nix::poll::PollFlags;

use self::link::{Link, Sent};
use super::LogWriter;
use super::reader::{Cursor, Place};
use crate::engine::native::layout::ContainerDir;
use crate::engine::spec::{ContainerSpec, LogTarget};
use crate::engine::{EngineError, LogRecord, Result};

/// So many messages are sent before it is the others' turn.
const SHARE: usize = 1024;

/// A stream gets so many bytes at once, where there are so many.
const STREAM_PIECE: usize = 32 * 1024;

/// Room of the file that says how far it is.
const MARK: usize = 256;

/// What a message is made of besides the line.
#[derive(Debug)]
enum Form {
    Journal(journal::Form),
    Syslog(syslog::Form),
}

/// Sends a container's lines.
#[derive(Debug)]
pub(in crate::engine::native) struct Forward {
    cursor: Cursor,
    form: Form,
    link: Link,
    /// What is being sent.
    message: Vec<u8>,
    mark: PathBuf,
    marked: Place,
    /// Lines of this writer's that were passed, once it is known.
    passed: Option<u64>,
}

impl Forward {
    /// Goes on where a predecessor was; `None` when the container's lines go nowhere. Nothing is connected yet.
    pub(in crate::engine::native) fn new(
        dir: &ContainerDir,
        spec: &ContainerSpec,
        log: &LogWriter,
    ) -> Option<Self> {
        let target = spec.log.target.as_ref()?;
        let mark = dir.log().join("forwarded");
        let text = std::fs::read_to_string(&mark).unwrap_or_default();
        let (place, address) = parse_mark(&text).unwrap_or_default();
        let (form, link) = match target {
            LogTarget::Journal { tag } => (
                Form::Journal(journal::Form::new(spec, tag)),
                Link::journal(),
            ),
            LogTarget::Syslog {
                address: to,
                facility,
                format,
                tag,
            } => (
                Form::Syslog(syslog::Form::new(*facility, *format, tag)),
                Link::syslog(to, address),
            ),
        };
        let (segment, offset) = log.end();
        let end = Place { segment, offset };
        Some(Self {
            passed: (place == end || text.is_empty() && offset == 0).then_some(0),
            cursor: Cursor::at(dir.log(), place),
            form,
            link,
            message: Vec::new(),
            mark,
            marked: place,
        })
    }

    /// Connects for the first time, as a start needs it.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when nobody is there.
    pub(in crate::engine::native) fn connect(&mut self, name: &str) -> Result<()> {
        if let Form::Journal(form) = &mut self.form {
            form.set_name(name);
        }
        let outcome = self.link.connect_first();
        outcome.map_err(|error: io::Error| {
            EngineError::failed(format!("send the log to {}", self.link.name()), error)
        })
    }

    /// The descriptor to wait on, if something waits to be sent.
    pub(in crate::engine::native) fn wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let waits = !self.message.is_empty() || self.link.is_connecting();
        self.link
            .fd()
            .filter(|_| waits)
            .map(|fd| (fd, PollFlags::POLLOUT))
    }

    /// When to try again.
    pub(in crate::engine::native) fn deadline(&self) -> Option<Instant> {
        self.link.again()
    }

    /// Whether everything was sent.
    pub(in crate::engine::native) fn is_done(&self, log: &LogWriter) -> bool {
        let place = self.cursor.place();
        self.message.is_empty() && (place.segment, place.offset) >= log.end()
    }

    /// Whether what waits can be sent now or soon.
    pub(in crate::engine::native) fn is_connected(&self) -> bool {
        self.link.is_up()
    }

    /// Sends as much as goes now.
    pub(in crate::engine::native) fn pump(&mut self, log: &mut LogWriter) {
        if self.is_done(log) || !self.link.is_ready() {
            return;
        }
        for _ in 0..SHARE {
            if self.message.is_empty() && !self.compose(log) {
                break;
            }
            match self.link.send(&self.message) {
                Sent::Whole => self.message.clear(),
                Sent::Later => break,
                Sent::TooLong => {
                    self.message.clear();
                    log.note(&format!(
                        "a line was too long to be sent to {}",
                        self.link.name()
                    ));
                }
            }
        }
        if self.message.is_empty() {
            self.message.shrink_to(STREAM_PIECE);
            self.keep_mark();
        }
    }

    /// Makes the next message; a stream gets many lines at once.
    fn compose(&mut self, log: &mut LogWriter) -> bool {
        loop {
            let before = self.cursor.place().segment;
            // What can't be read now is tried again with the next lines.
            let Ok(Some(record)) = self.cursor.next() else {
                return !self.message.is_empty();
            };
            if before != self.cursor.place().segment {
                self.tell_lost(log);
            }
            self.passed = self.passed.map(|passed| passed + 1);
            self.add(&record);
            let filled = match self.link.is_stream() {
                true => self.message.len() >= STREAM_PIECE,
                false => !self.message.is_empty(),
            };
            if filled {
                return true;
            }
        }
    }

    fn add(&mut self, record: &LogRecord) {
        match &mut self.form {
            Form::Journal(form) => form.put(&mut self.message, record),
            Form::Syslog(form) => form.put(&mut self.message, record),
        }
    }

    /// In another segment: whether lines before it fell off unsent.
    fn tell_lost(&mut self, log: &mut LogWriter) {
        let Some(before) = log.lines_before(self.cursor.place().segment) else {
            self.passed = None;
            return;
        };
        let lost = self
            .passed
            .map_or(0, |passed| before.saturating_sub(passed));
        self.passed = Some(before);
        if lost > 0 {
            log.note(&format!(
                "{lost} lines were not sent to {}: it was away for too long",
                self.link.name()
            ));
        }
    }

    fn keep_mark(&mut self) {
        let place = self.cursor.place();
        if place == self.marked {
            return;
        }
        self.marked = place;
        let address = self
            .link
            .address()
            .map_or_else(|| "-".to_owned(), |a| a.to_string());
        let text = format!("{} {} {address}\n", place.segment, place.offset);
        let mut how = File::options();
        how.write(true).create(true).truncate(false).mode(0o600);
        // Without it lines are sent twice after a kill.
        if let Ok(file) = how.open(&self.mark) {
            let _ = file.write_all_at(format!("{text:<MARK$}").as_bytes(), 0);
        }
    }
}

fn parse_mark(text: &str) -> Option<(Place, Option<std::net::SocketAddr>)> {
    let mut words = text.split_whitespace();
    let mut number = || words.next()?.parse::<u64>().ok();
    let place = Place {
        segment: number()?,
        offset: number()?,
    };
    Some((place, words.next().and_then(|address| address.parse().ok())))
}
