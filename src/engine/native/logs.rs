//! A container's log: JSON lines in Docker's `json-file` form, rotated by size.
//!
//! The supervisor writes through [`LogWriter`]; any command reads with [`FileLog`], also while it is written.
//! `container.log` is the current file, `container.log.1` the one before it.
//! Imports: `base`, `engine`, `sys`. Source: moby `daemon/logger/jsonfilelog` (the form of a line).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};

use super::layout::ContainerDir;
use super::records::Found;
use crate::base::clock::Timestamp;
use crate::engine::spec::LogConfig;
use crate::engine::state::State;
use crate::engine::{LogEnd, LogQuery, LogRecord, LogStream};

/// A longer line is kept in parts of this size, as Docker does.
pub(super) const LINE_LIMIT: usize = 16 * 1024;

/// One line of a log file.
#[derive(Debug, Serialize, Deserialize)]
struct Entry<'a> {
    log: std::borrow::Cow<'a, str>,
    stream: std::borrow::Cow<'a, str>,
    time: std::borrow::Cow<'a, str>,
}

/// Appends to a container's log.
#[derive(Debug)]
pub(super) struct LogWriter {
    dir: PathBuf,
    config: LogConfig,
    file: Option<File>,
    size: u64,
    partial: [Vec<u8>; 2],
}

/// Which stream bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output, or the terminal.
    Out = 0,
    /// Standard error.
    Err = 1,
}

fn current(dir: &Path) -> PathBuf {
    dir.join("container.log")
}

fn older(dir: &Path, age: u32) -> PathBuf {
    dir.join(format!("container.log.{age}"))
}

impl LogWriter {
    /// Opens the log in `dir`, going on where an earlier writer ended.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(dir: PathBuf, config: LogConfig) -> io::Result<Self> {
        let mut writer = Self {
            dir,
            config,
            file: None,
            size: 0,
            partial: [Vec::new(), Vec::new()],
        };
        if writer.config.keep {
            crate::sys::fs::make_dirs(&writer.dir, 0o700)?;
            writer.reopen()?;
        }
        Ok(writer)
    }

    fn reopen(&mut self) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = current(&self.dir);
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Takes bytes as they came; whole lines are written, the rest waits for its line end.
    ///
    /// # Errors
    /// The system's. The bytes are dropped then: a full disk must not stop the container.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.partial[stream as usize]);
        held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(held.len() + 128);
        let mut rest = held.as_slice();
        while let Some(end) = cut(rest) {
            let (line, tail) = rest.split_at(end);
            encode(&mut out, stream, line, now);
            rest = tail;
        }
        self.partial[stream as usize] = rest.to_vec();
        self.append(&out)
    }

    /// Writes what still waits for its line end.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn flush(&mut self, now: Timestamp) -> io::Result<()> {
        let mut out = Vec::new();
        for stream in [Stream::Out, Stream::Err] {
            let held = std::mem::take(&mut self.partial[stream as usize]);
            if !held.is_empty() {
                encode(&mut out, stream, &held, now);
            }
        }
        self.append(&out)
    }

    /// Appends entries, each ended by a line end; a full file is rotated between two of them.
    fn append(&mut self, mut entries: &[u8]) -> io::Result<()> {
        while !entries.is_empty() && self.file.is_some() {
            let mut fits = self.fitting(entries);
            if fits == 0 && self.size > 0 {
                self.rotate()?;
                fits = self.fitting(entries);
            }
            let first = || {
                entries
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(entries.len(), |at| at + 1)
            };
            let (now, later) = entries.split_at(if fits == 0 { first() } else { fits });
            if let Some(file) = &mut self.file {
                file.write_all(now)?;
            }
            self.size += now.len() as u64;
            entries = later;
        }
        Ok(())
    }

    /// Length of the whole entries that the current file has room for.
    fn fitting(&self, entries: &[u8]) -> usize {
        let Some(max) = self.config.max_size else {
            return entries.len();
        };
        let room = usize::try_from(max.saturating_sub(self.size)).unwrap_or(usize::MAX);
        match entries.get(..room) {
            None => entries.len(),
            Some(window) => window
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1),
        }
    }

    /// Moves each file one further; the last one falls off.
    fn rotate(&mut self) -> io::Result<()> {
        let keep = self.config.max_files.max(1);
        if keep == 1 {
            std::fs::remove_file(current(&self.dir))?;
        } else {
            for age in (1..keep - 1).rev() {
                let _ = std::fs::rename(older(&self.dir, age), older(&self.dir, age + 1));
            }
            std::fs::rename(current(&self.dir), older(&self.dir, 1))?;
        }
        self.reopen()
    }
}

/// Where the next entry ends: after a line end, or at the limit.
fn cut(bytes: &[u8]) -> Option<usize> {
    let window = &bytes[..bytes.len().min(LINE_LIMIT)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(at) => Some(at + 1),
        None => (bytes.len() >= LINE_LIMIT).then_some(LINE_LIMIT),
    }
}

fn encode(out: &mut Vec<u8>, stream: Stream, line: &[u8], now: Timestamp) {
    let entry = Entry {
        log: String::from_utf8_lossy(line),
        stream: if stream == Stream::Out {
            "stdout"
        } else {
            "stderr"
        }
        .into(),
        time: now.rfc3339().into(),
    };
    if serde_json::to_writer(&mut *out, &entry).is_ok() {
        out.push(b'\n');
    }
}

fn decode(line: &str) -> Option<LogRecord> {
    let entry: Entry<'_> = serde_json::from_str(line).ok()?;
    Some(LogRecord {
        time: Timestamp::parse(&entry.time)?,
        stderr: entry.stream == "stderr",
        line: entry.log.into_owned().into_bytes(),
    })
}

/// Reads a container's log files.
#[derive(Debug)]
pub(super) struct FileLog {
    dir: ContainerDir,
    query: LogQuery,
    /// Lines read but not given out yet.
    ready: VecDeque<LogRecord>,
    reader: Option<(BufReader<File>, u64)>,
    /// An unfinished line of the current file.
    begun: String,
    watch: Option<Inotify>,
    ended: bool,
}

impl FileLog {
    /// Opens the log of a container for a query.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(dir: ContainerDir, query: LogQuery) -> io::Result<Self> {
        // The watch comes first, so that nothing written after the first look is missed.
        let watch = if query.follow {
            Some(Self::watch(&dir)?)
        } else {
            None
        };
        let mut log = Self {
            dir,
            query,
            ready: VecDeque::new(),
            reader: None,
            begun: String::new(),
            watch,
            ended: false,
        };
        let mut age = 1;
        while older(&log.dir.log(), age).exists() {
            age += 1;
        }
        for age in (1..age).rev() {
            let file = File::open(older(&log.dir.log(), age))?;
            log.reader = Some((BufReader::new(file), 0));
            log.read_on()?;
        }
        log.reader = None;
        log.read_on()?;
        if let Some(tail) = log.query.tail {
            let surplus = log.ready.len().saturating_sub(tail);
            log.ready.drain(..surplus);
        }
        Ok(log)
    }

    fn watch(dir: &ContainerDir) -> io::Result<Inotify> {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        crate::sys::fs::make_dirs(&dir.log(), 0o700)?;
        let logs = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        watch.add_watch(&dir.log(), logs)?;
        // state.json is renamed into place; the directory itself goes with the container.
        let states = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF;
        watch.add_watch(&dir.data, states | AddWatchFlags::IN_MOVE_SELF)?;
        Ok(watch)
    }

    /// Reads all whole lines there are now.
    fn read_on(&mut self) -> io::Result<()> {
        loop {
            if self.reader.is_none() {
                match File::open(current(&self.dir.log())) {
                    Ok(file) => {
                        let inode = file.metadata()?.ino();
                        self.reader = Some((BufReader::new(file), inode));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            let Some((reader, inode)) = &mut self.reader else {
                return Ok(());
            };
            loop {
                let mut bytes = Vec::new();
                if reader.read_until(b'\n', &mut bytes)? == 0 {
                    break;
                }
                self.begun.push_str(&String::from_utf8_lossy(&bytes));
                if self.begun.ends_with('\n') {
                    let line = std::mem::take(&mut self.begun);
                    self.ready
                        .extend(decode(&line).filter(|record| wanted(record, &self.query)));
                }
            }
            // After a rotation the file under the name is another one: read that from its start.
            let now = std::fs::metadata(current(&self.dir.log())).map(|meta| meta.ino());
            if *inode == 0 || now.as_ref().is_ok_and(|now| now == inode) {
                // Forgets the buffered end of file.
                reader
                    .stream_position()
                    .and_then(|at| reader.seek(io::SeekFrom::Start(at)))?;
                return Ok(());
            }
            if now.is_err() {
                return Ok(());
            }
            self.reader = None;
        }
    }

    /// Whether nothing more will be written: the container ended for good, or is gone.
    fn has_ended(&self) -> bool {
        match Found::read(self.dir.clone()) {
            Ok(Some(found)) => {
                !found.supervised && matches!(found.state(), State::Exited { .. } | State::Removing)
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Ok(_) => watch.read_events().map(drop).or(Ok(())),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn wanted(record: &LogRecord, query: &LogQuery) -> bool {
    query.since.is_none_or(|since| record.time >= since)
        && query.until.is_none_or(|until| record.time < until)
}

/// A supervisor's lock is let go a moment after its last word: so often is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl LogStream for FileLog {
    fn next(&mut self, timeout: Duration) -> Result<Option<LogRecord>, LogEnd> {
        let failed = |error: io::Error| LogEnd::Failed(error.to_string());
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Some(record));
            }
            if !self.query.follow || self.ended {
                return Ok(None);
            }
            // Looked at before the last read: what was written before the end is read after the look.
            let ended = self.has_ended();
            self.read_on().map_err(failed)?;
            if !self.ready.is_empty() {
                continue;
            }
            if ended {
                self.ended = true;
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LogEnd::TimedOut);
            }
            let exiting = Found::read(self.dir.clone())
                .is_ok_and(|found| found.is_none_or(|f| !f.standing.state.is_up()));
            self.wait(if exiting { left.min(LOOK_AGAIN) } else { left })
                .map_err(failed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> ContainerDir {
        let data = std::env::temp_dir().join(format!("hoist-logs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(&data).unwrap();
        ContainerDir {
            run: data.join("run"),
            data,
        }
    }

    fn lines(dir: &ContainerDir, query: LogQuery) -> Vec<String> {
        let mut log = FileLog::open(dir.clone(), query).unwrap();
        std::iter::from_fn(|| log.next(Duration::ZERO).unwrap())
            .map(|record| String::from_utf8(record.line).unwrap())
            .collect()
    }

    #[test]
    fn lines_come_back_whole_also_when_they_were_written_in_parts() {
        let dir = scratch("parts");
        let mut writer = LogWriter::open(dir.log(), LogConfig::default()).unwrap();
        writer.write(Stream::Out, b"one\ntw", Timestamp(1)).unwrap();
        writer.write(Stream::Err, b"error\n", Timestamp(2)).unwrap();
        writer.write(Stream::Out, b"o\nlast", Timestamp(3)).unwrap();
        writer.flush(Timestamp(4)).unwrap();
        assert_eq!(
            lines(&dir, LogQuery::default()),
            ["one\n", "error\n", "two\n", "last"]
        );
        let tail = LogQuery {
            tail: Some(1),
            ..LogQuery::default()
        };
        assert_eq!(lines(&dir, tail), ["last"]);
        let since = LogQuery {
            since: Some(Timestamp(3)),
            ..LogQuery::default()
        };
        assert_eq!(lines(&dir, since), ["two\n", "last"]);
        std::fs::remove_dir_all(&dir.data).unwrap();
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_falls_off() {
        let dir = scratch("rotate");
        let config = LogConfig {
            keep: true,
            max_size: Some(200),
            max_files: 3,
        };
        let mut writer = LogWriter::open(dir.log(), config).unwrap();
        for n in 0..20 {
            writer
                .write(Stream::Out, format!("line {n}\n").as_bytes(), Timestamp(n))
                .unwrap();
        }
        let kept = lines(&dir, LogQuery::default());
        assert_eq!(kept.last().map(String::as_str), Some("line 19\n"));
        assert!(kept.len() < 20 && kept.len() > 3, "{kept:?}");
        assert_eq!(std::fs::read_dir(dir.log()).unwrap().count(), 3);
        std::fs::remove_dir_all(&dir.data).unwrap();
    }
}
