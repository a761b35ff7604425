//! Reads a container's log, also while it is written, rotated and compressed.
//!
//! Nothing but the line at hand is held, however long the log is. `--tail` is found from the end.
//! Imports: `base`, `engine`, `sys`; beside it `entry`, `files`. Source: moby `daemon/logger/loggerutils/logfile.go`:
//! first the last so many lines are taken, then those outside of the times are left out, both bounds included.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::entry::Decoder;
use super::files::{self, Segment, Source};
use super::tail;
use crate::base::clock::Timestamp;
use crate::engine::native::layout::ContainerDir;
use crate::engine::native::records::Found;
use crate::engine::state::State;
use crate::engine::{LogEnd, LogQuery, LogRecord, LogStream, Waker};

/// A longer line of the file is damaged: what is written never is.
pub(super) const LONGEST: usize = 4 << 20;

/// A supervisor's lock is let go a moment after its last word: so often is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    /// The segment.
    pub(super) segment: u64,
    /// Bytes before it in the segment.
    pub(super) offset: u64,
}

/// Goes through the lines of a log's files.
#[derive(Debug)]
pub(super) struct Cursor {
    dir: PathBuf,
    /// Behind the last line that was given out.
    place: Place,
    /// `None` before the first segment is there.
    source: Option<Source>,
    line: Vec<u8>,
    decoder: Decoder,
    /// Lines that were damaged since the last good one.
    damaged: u64,
    time: Timestamp,
}

impl Cursor {
    /// Begins at a place; a segment that is gone is passed over.
    pub(super) fn at(dir: PathBuf, place: Place) -> Self {
        Self {
            dir,
            place,
            source: None,
            line: Vec::new(),
            decoder: Decoder::default(),
            damaged: 0,
            time: Timestamp(0),
        }
    }

    /// Behind the last line that was given out.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The next line, if it is there by now.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn next(&mut self) -> io::Result<Option<LogRecord>> {
        loop {
            if !self.open()? {
                return Ok(None);
            }
            if !self.read_line()? {
                if !self.advance()? {
                    return Ok(self.tell_damage());
                }
                continue;
            }
            let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let record = self.decoder.decode(text);
            let length = self.line.len() as u64;
            let Some(record) = record else {
                self.place.offset += length;
                self.line.clear();
                self.damaged += 1;
                continue;
            };
            if let Some(word) = self.tell_damage() {
                // The good line comes the next time: its bytes are still here.
                return Ok(Some(word));
            }
            self.place.offset += length;
            self.line.clear();
            self.time = record.time;
            return Ok(Some(record));
        }
    }

    fn tell_damage(&mut self) -> Option<LogRecord> {
        let lines = std::mem::take(&mut self.damaged);
        let text = format!("hoist: {lines} damaged lines of the log were left out\n");
        (lines > 0).then(|| LogRecord {
            time: self.time,
            stderr: true,
            line: text.into_bytes(),
        })
    }

    /// Opens the segment of the place, or the next one that is there.
    fn open(&mut self) -> io::Result<bool> {
        if self.source.is_some() {
            return Ok(true);
        }
        if let Some(mut source) = Source::open(&self.dir, self.place.segment)? {
            source.skip(self.place.offset)?;
            self.source = Some(source);
            return Ok(true);
        }
        match self.newer()? {
            Some(segment) => {
                self.place = Place { segment, offset: 0 };
                self.source = Source::open(&self.dir, segment)?;
                Ok(self.source.is_some())
            }
            None => Ok(false),
        }
    }

    fn newer(&self) -> io::Result<Option<u64>> {
        let all = files::list(&self.dir)?;
        let mut numbers = all.iter().map(|segment| segment.number);
        Ok(numbers.find(|number| *number > self.place.segment))
    }

    /// Reads on until a line is whole; whether one is.
    fn read_line(&mut self) -> io::Result<bool> {
        if self.line.ends_with(b"\n") {
            return Ok(true);
        }
        let Some(source) = &mut self.source else {
            return Ok(false);
        };
        let reader = source.reader();
        loop {
            let chunk = match reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A compressed segment that is broken or cut off ends where it can't be read.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput
                            | io::ErrorKind::InvalidData
                            | io::ErrorKind::UnexpectedEof
                    ) =>
                {
                    self.damaged += 1;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk
                .get(..end.map_or(chunk.len(), |at| at + 1))
                .unwrap_or_default();
            if part.is_empty() {
                return Ok(false);
            }
            let length = part.len();
            if self.line.len() > LONGEST {
                // Only its length still counts.
                self.place.offset += length as u64;
                if end.is_some() {
                    self.line.push(b'\n');
                    self.place.offset -= 1;
                }
            } else {
                self.line.extend_from_slice(part);
            }
            reader.consume(length);
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    /// At a segment's end: goes on with the next one, if there is one; whether there may be more to read.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(segment) = self.newer()? else {
            if let Some(Source::Plain(reader)) = &self.source
                && reader.get_ref().metadata()?.len() < self.place.offset
            {
                // Somebody has emptied the file.
                self.line.clear();
                self.source = None;
                self.place.offset = 0;
                return Ok(true);
            }
            return Ok(false);
        };
        // Written before the next one was begun, but behind the last look.
        if self.read_line()? {
            return Ok(true);
        }
        if !self.line.is_empty() {
            self.damaged += 1;
            self.line.clear();
        }
        self.place = Place { segment, offset: 0 };
        self.source = None;
        Ok(true)
    }
}

/// Where a container stands, as far as its log is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Up,
    /// Its last word is being written.
    Ending,
    /// Nothing more will be written until it is started again.
    Ended,
}

/// Reads a container's log files.
#[derive(Debug)]
pub(in crate::engine::native) struct FileLog {
    dir: ContainerDir,
    query: LogQuery,
    cursor: Cursor,
    /// Without `follow`: where the log ended when it was opened.
    end: Option<Place>,
    watch: Option<(Inotify, Option<WatchDescriptor>)>,
    bell: Option<Arc<EventFd>>,
    stand: Stand,
    /// Whether where the container stands may have changed.
    look: bool,
    over: bool,
}

impl FileLog {
    /// Opens the log of a container for a query.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::engine::native) fn open(dir: ContainerDir, query: LogQuery) -> io::Result<Self> {
        // The watch comes first, so that nothing written after the first look is missed.
        let watch = match query.follow {
            true => Some(Self::watch(&dir)?),
            false => None,
        };
        let bell = match query.follow {
            true => Some(Arc::new(EventFd::from_flags(
                EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
            )?)),
            false => None,
        };
        let log = dir.log();
        let segments = files::list(&log)?;
        let end = match segments.last() {
            Some(newest) => Place {
                segment: newest.number,
                offset: std::fs::metadata(files::plain(&log, newest.number))
                    .map_or(u64::MAX, |meta| meta.len()),
            },
            None => Place::default(),
        };
        let place = match query.tail {
            Some(0) => end,
            Some(want) => tail::begin(&log, &segments, end, want)?,
            None => Place {
                segment: first(&log, &segments, query.since),
                offset: 0,
            },
        };
        Ok(Self {
            cursor: Cursor::at(log, place),
            end: (!query.follow).then_some(end),
            dir,
            query,
            watch,
            bell,
            stand: Stand::Up,
            look: true,
            over: false,
        })
    }

    fn watch(dir: &ContainerDir) -> io::Result<(Inotify, Option<WatchDescriptor>)> {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        crate::sys::fs::make_dirs(&dir.log(), 0o700)?;
        let logs = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
        watch.add_watch(&dir.log(), logs)?;
        // state.json is renamed into place; the directory itself goes with the container.
        let states = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF;
        let states = watch.add_watch(&dir.data, states | AddWatchFlags::IN_MOVE_SELF)?;
        Ok((watch, Some(states)))
    }

    fn stand(&self) -> Stand {
        match Found::read(self.dir.clone()) {
            Ok(Some(found)) => {
                let down = |state| matches!(state, State::Exited { .. } | State::Removing);
                match found.supervised {
                    false if down(found.state()) => Stand::Ended,
                    true if down(found.standing.state) => Stand::Ending,
                    _ => Stand::Up,
                }
            }
            Ok(None) => Stand::Ended,
            Err(_) => Stand::Up,
        }
    }

    /// The next line that is wanted.
    fn read(&mut self) -> io::Result<Option<LogRecord>> {
        loop {
            if self.over || self.end.is_some_and(|end| self.cursor.place() >= end) {
                return Ok(None);
            }
            let Some(record) = self.cursor.next()? else {
                return Ok(None);
            };
            if self.query.until.is_some_and(|until| record.time > until) {
                // Times only grow, but for a clock that was set back: what comes then is not asked for either.
                self.over = true;
                return Ok(None);
            }
            if self.query.since.is_none_or(|since| record.time >= since) {
                return Ok(Some(record));
            }
        }
    }

    /// Waits for a change; whether one came.
    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        let (Some((watch, states)), Some(bell)) = (&self.watch, &self.bell) else {
            return Ok(false);
        };
        let mut fds = [watch.as_fd(), bell.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // Rounded up, so that the time is over when it returns.
        let timeout = PollTimeout::try_from(timeout + Duration::from_millis(1));
        match nix::poll::poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(0) => Ok(false),
            Err(nix::errno::Errno::EINTR) => Ok(true),
            Ok(_) => {
                let events = watch.read_events().unwrap_or_default();
                // A full queue tells nothing of what it has lost.
                self.look |= events.iter().any(|event| {
                    Some(event.wd) == *states || event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
                });
                Ok(true)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The segment to begin with: older ones were last written before `since`.
fn first(dir: &std::path::Path, segments: &[Segment], since: Option<Timestamp>) -> u64 {
    let is_old = |segment: &Segment| {
        let changed =
            std::fs::metadata(files::plain(dir, segment.number)).and_then(|meta| meta.modified());
        changed.is_ok_and(|changed| since.is_some_and(|since| Timestamp::from(changed) < since))
    };
    let wanted = segments.iter().find(|segment| !is_old(segment));
    wanted
        .or(segments.last())
        .map_or(0, |segment| segment.number)
}

impl LogStream for FileLog {
    fn waker(&self) -> Option<Waker> {
        let bell = Arc::clone(self.bell.as_ref()?);
        Some(Box::new(move || {
            // It only fails when it rings already.
            let _ = bell.write(1);
        }))
    }

    fn next(&mut self, timeout: Duration) -> Result<Option<LogRecord>, LogEnd> {
        let failed = |error: io::Error| LogEnd::Failed(error.to_string());
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(record) = self.read().map_err(failed)? {
                return Ok(Some(record));
            }
            if !self.query.follow || self.over {
                return Ok(None);
            }
            if std::mem::take(&mut self.look) {
                let stand = self.stand();
                let before = std::mem::replace(&mut self.stand, stand);
                // What was written before the end is read after the look.
                if let Some(record) = self.read().map_err(failed)? {
                    self.look = true;
                    return Ok(Some(record));
                }
                match self.stand {
                    Stand::Ended => {
                        self.look = true;
                        return Ok(None);
                    }
                    // Who reads may want to tell of it.
                    stand if stand != before => return Err(LogEnd::TimedOut),
                    _ => {}
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.look = true;
                return Err(LogEnd::TimedOut);
            }
            let ending = self.stand == Stand::Ending;
            let wait = if ending { left.min(LOOK_AGAIN) } else { left };
            let changed = self.wait(wait).map_err(failed)?;
            if self.bell.as_ref().is_some_and(|bell| bell.read().is_ok()) {
                return Err(LogEnd::TimedOut);
            }
            self.look |= ending || !changed;
        }
    }
}
