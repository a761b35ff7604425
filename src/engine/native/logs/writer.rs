//! Appends to a container's log: every byte once, whatever process of hoist is killed, and however full the disk is.
//!
//! Bytes come in batches through the [`spool`](super::spool); whole lines of a batch are written at once, all with the
//! time at which the batch was taken. A write that fails is tried again, and until it works nothing more is taken:
//! what the container writes waits in its pipe. Only when that is full too, for longer than [`PATIENCE`], is the
//! pipe emptied and counted, so that no container waits for ever; the log tells later how much is missing there.
//! Imports: `base`, `engine`, `sys`; beside it `entry`, `files`, `pack`, `spool`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::FcntlArg;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::pack::Packer;
use super::spool::{BATCH, Head, Kind, Spool};
use super::{LINE_LIMIT, Stream, entry, files};
use crate::base::clock::Timestamp;
use crate::engine::native::layout::ContainerDir;
use crate::engine::spec::LogConfig;

/// So much text is made before it is written.
const PIECE: usize = 64 * 1024;

/// Buffers keep no more room than this between batches.
const KEPT_ROOM: usize = 16 * 1024;

/// Room of a pipe whose reader does not keep up.
const WIDE_PIPE: i32 = 1 << 20;

/// So long may a full pipe make the container wait for a full disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a failed write is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Limits of a log that is only for those attached, and for what is sent elsewhere and not kept.
const PASSING: (u64, u32) = (512 * 1024, 2);

/// A batch on its way into the log.
#[derive(Debug, Default)]
struct Batch {
    stderr: bool,
    /// Whether what is left without a line end is a line.
    last: bool,
    /// Whether it is a line of hoist's own.
    note: bool,
    payload: Vec<u8>,
    /// Length of the line's beginning that it goes on with.
    begun: usize,
    /// Lengths of both beginnings as the spool has them.
    held: [usize; 2],
    time: i64,
    /// What stands behind each line.
    tail: Vec<u8>,
    /// How far the payload is in `text`.
    at: usize,
    text: Vec<u8>,
    /// How far `text` is written.
    written: usize,
    /// Whether the next line begins another segment.
    turn: bool,
    done: bool,
}

/// Trouble with writing.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// When the pipe was first seen full.
    full: Option<Instant>,
    again: Instant,
    why: String,
}

/// What could not be kept.
#[derive(Debug, Default)]
struct Lost {
    bytes: u64,
    lines: u64,
    why: String,
}

/// Appends to a container's log.
#[derive(Debug)]
pub(in crate::engine::native) struct LogWriter {
    dir: PathBuf,
    max_size: Option<u64>,
    max_files: usize,
    compress: bool,
    /// Whether a full pipe is emptied at once when the log can't be written.
    impatient: bool,
    attributes: String,
    file: Option<File>,
    segment: u64,
    /// Length of the segment.
    size: u64,
    /// So many bytes of the text that comes next are there already.
    skip: u64,
    spool: Spool,
    begun: [Vec<u8>; 2],
    batch: Batch,
    trouble: Option<Trouble>,
    lost: Lost,
    packer: Packer,
    /// Lines written by this process, and how many before each segment of it.
    lines: u64,
    marks: std::collections::VecDeque<(u64, u64)>,
}

impl LogWriter {
    /// The log of a container, going on where an earlier writer ended: what that one had taken and not written comes first.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::engine::native) fn open(
        dir: &ContainerDir,
        config: &LogConfig,
    ) -> io::Result<Self> {
        let (max_size, max_files) = match config.keep {
            true => (config.max_size, config.max_files),
            false => (Some(PASSING.0), PASSING.1),
        };
        let mut writer = Self {
            dir: dir.log(),
            max_size,
            max_files: max_files.max(1) as usize,
            compress: config.compress && config.keep,
            impatient: config.impatient,
            attributes: entry::attributes(&config.attributes),
            file: None,
            segment: 1,
            size: 0,
            skip: 0,
            spool: Spool::new(&dir.run),
            begun: Default::default(),
            batch: Batch {
                done: true,
                ..Batch::default()
            },
            trouble: None,
            lost: Lost::default(),
            packer: Packer::default(),
            lines: 0,
            marks: Default::default(),
        };
        crate::sys::fs::make_dirs(&writer.dir, 0o700)?;
        let segments = files::list(&writer.dir)?;
        if let Some(newest) = segments.last() {
            writer.segment = newest.number + u64::from(newest.packed);
            for old in segments.iter().filter(|s| writer.compress && !s.packed) {
                if old.number != writer.segment {
                    writer.packer.add(old.number);
                }
            }
        }
        if !writer.resume() {
            writer.mend()?;
        }
        writer.marks.push_back((writer.segment, 0));
        Ok(writer)
    }

    /// Takes up the batch that a predecessor left; whether there was one.
    fn resume(&mut self) -> bool {
        let Some(left) = self.spool.left() else {
            return false;
        };
        let head = left.head;
        let stderr = usize::from(head.stderr);
        let held = left.begun.each_ref().map(Vec::len);
        self.begun = left.begun;
        self.begin_batch(head.kind, head.stderr, head.time);
        self.batch.held = held;
        if head.kind != Kind::Note {
            self.batch.payload = std::mem::take(&mut self.begun[stderr]);
        }
        self.batch.begun = self.batch.payload.len();
        self.batch.payload.extend_from_slice(&left.bytes);
        let start = usize::try_from(head.start).unwrap_or(usize::MAX);
        self.batch.at = start.min(self.batch.payload.len());
        if let Ok(meta) = std::fs::metadata(files::plain(&self.dir, head.segment)) {
            self.segment = head.segment;
            self.size = head.offset.min(meta.len());
            self.skip = meta.len() - self.size;
        }
        // What can't be written now is tried again later.
        let _ = self.advance();
        true
    }

    /// Cuts off a line that a crash of the machine has left half written.
    fn mend(&mut self) -> io::Result<()> {
        let path = files::plain(&self.dir, self.segment);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let (mut end, mut block) = (length, [0u8; 4096]);
        while end > 0 {
            let begin = end.saturating_sub(block.len() as u64);
            let part = block.get_mut(..(end - begin) as usize).unwrap_or_default();
            file.read_exact_at(part, begin)?;
            if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
                end = begin + at as u64 + 1;
                break;
            }
            end = begin;
        }
        if end < length {
            file.set_len(end)?;
        }
        self.size = end;
        Ok(())
    }

    /// Takes what a pipe holds; gives the bytes taken, which may be lost to the log when the disk is full.
    pub(in crate::engine::native) fn take(
        &mut self,
        from: BorrowedFd<'_>,
        stream: Stream,
    ) -> &[u8] {
        if !self.goes_on() {
            return self.relieve(from);
        }
        if !is_ready(from, PollFlags::POLLIN) {
            return &[];
        }
        self.begin(Kind::Bytes, stream, Timestamp::now());
        let payload = &mut self.batch.payload;
        let taken = match self.spool.take(from, payload) {
            Ok(taken) => taken,
            // The spool's place is full or can't splice: then a killed supervisor may lose this batch, and only then.
            Err(_) => read(from, payload),
        };
        if taken == BATCH {
            widen(from);
        }
        self.carry_on();
        self.batch
            .payload
            .get(self.batch.begun..)
            .unwrap_or_default()
    }

    /// Takes bytes that were read elsewhere; they are dropped and counted while the log can't be written.
    pub(in crate::engine::native) fn put(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        for part in bytes.chunks(BATCH) {
            if !self.goes_on() {
                self.lose(part);
                continue;
            }
            self.begin(Kind::Bytes, stream, now);
            let _ = self.spool.put(part);
            self.batch.payload.extend_from_slice(part);
            self.carry_on();
        }
    }

    /// Tries again what could not be written, if it is time to.
    pub(in crate::engine::native) fn retry(&mut self) {
        self.goes_on();
    }

    /// Writes a line of hoist's own to the log, as if it came from standard error.
    pub(in crate::engine::native) fn note(&mut self, text: &str) {
        if self.goes_on() {
            self.write_note(text);
        }
    }

    fn write_note(&mut self, text: &str) {
        let line = format!("hoist: {text}\n");
        self.begin(Kind::Note, Stream::Err, Timestamp::now());
        let _ = self.spool.put(line.as_bytes());
        self.batch.payload.extend_from_slice(line.as_bytes());
        self.carry_on();
    }

    /// Writes what still waits for its line end.
    pub(in crate::engine::native) fn flush(&mut self, now: Timestamp) {
        for stream in [Stream::Out, Stream::Err] {
            if self.goes_on() && !self.begun[stream as usize].is_empty() {
                self.begin(Kind::Rest, stream, now);
                self.carry_on();
            }
        }
    }

    /// Whether the log can't be written now, so that nothing should be read from the container.
    pub(in crate::engine::native) fn is_held(&self) -> bool {
        self.trouble.is_some()
    }

    /// When a failed write is to be tried again.
    pub(in crate::engine::native) fn deadline(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.again)
    }

    /// Looks after what goes on beside: segments that are compressed.
    pub(in crate::engine::native) fn turn(&mut self) {
        self.packer.turn(&self.dir);
    }

    /// Lines written so far, and how many of them before a segment, as far as this process knows.
    pub(super) fn lines_before(&self, segment: u64) -> Option<u64> {
        let mark = self.marks.iter().find(|(number, _)| *number == segment);
        mark.map(|(_, lines)| *lines)
    }

    /// The end of the log: segment and offset.
    pub(super) fn end(&self) -> (u64, u64) {
        (self.segment, self.size)
    }

    fn head(&self) -> Head {
        Head {
            kind: match (self.batch.note, self.batch.last) {
                (true, _) => Kind::Note,
                (false, true) => Kind::Rest,
                (false, false) => Kind::Bytes,
            },
            stderr: self.batch.stderr,
            time: self.batch.time,
            segment: self.segment,
            offset: self.size,
            start: self.batch.at as u64,
        }
    }

    fn begin_batch(&mut self, kind: Kind, stderr: bool, time: i64) {
        let batch = &mut self.batch;
        // A storm is over when a batch was small.
        if batch.payload.len() < KEPT_ROOM {
            batch.payload.shrink_to(KEPT_ROOM);
            batch.text.shrink_to(KEPT_ROOM);
        }
        batch.payload.clear();
        batch.text.clear();
        batch.stderr = stderr;
        batch.last = kind != Kind::Bytes;
        batch.note = kind == Kind::Note;
        batch.time = time;
        batch.tail = entry::tail(stderr, &self.attributes, Timestamp(time));
        (batch.at, batch.written, batch.begun) = (0, 0, 0);
        (batch.turn, batch.done) = (false, false);
    }

    /// Begins a batch in the spool and here.
    fn begin(&mut self, kind: Kind, stream: Stream, time: Timestamp) {
        self.begin_batch(kind, stream == Stream::Err, time.0);
        let head = self.head();
        let [out, err] = &self.begun;
        self.batch.held = [out.len(), err.len()];
        // Without a spool the log is as good, until somebody is killed.
        let _ = self.spool.begin(&head, [out, err]);
        if kind != Kind::Note {
            self.batch.payload.append(&mut self.begun[stream as usize]);
        }
        self.batch.begun = self.batch.payload.len();
    }

    /// Brings the batch into the log as far as it goes now.
    fn carry_on(&mut self) {
        if let Err(error) = self.advance() {
            let trouble = self.trouble.get_or_insert_with(|| Trouble {
                since: Instant::now(),
                full: None,
                again: Instant::now(),
                why: String::new(),
            });
            trouble.again = Instant::now() + AGAIN;
            trouble.why = error.to_string();
        }
    }

    /// Whether everything taken so far is in the log; tries again when it is time to.
    fn goes_on(&mut self) -> bool {
        if self.batch.done && self.trouble.is_none() {
            return true;
        }
        if self.deadline().is_some_and(|again| again > Instant::now()) {
            return false;
        }
        self.carry_on();
        if !self.batch.done {
            return false;
        }
        self.trouble = None;
        let lost = std::mem::take(&mut self.lost);
        if lost.bytes > 0 {
            self.write_note(&format!(
                "{} bytes ({} lines) of output are missing here, the log could not be written: {}",
                lost.bytes, lost.lines, lost.why
            ));
        }
        self.batch.done
    }

    fn advance(&mut self) -> io::Result<()> {
        loop {
            self.write_text()?;
            if self.batch.done {
                return Ok(());
            }
            if self.batch.turn {
                self.rotate()?;
            }
            self.fill();
        }
    }

    fn write_text(&mut self) -> io::Result<()> {
        while let Some(rest) = self.batch.text.get(self.batch.written..)
            && !rest.is_empty()
        {
            let there = usize::try_from(self.skip).unwrap_or(usize::MAX);
            let written = match there.min(rest.len()) {
                0 => match open(&mut self.file, &self.dir, self.segment)?.write(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                },
                skipped => {
                    self.skip -= skipped as u64;
                    skipped
                }
            };
            self.batch.written += written;
            self.size += written as u64;
        }
        Ok(())
    }

    /// Makes the text of the lines that come next and fit.
    fn fill(&mut self) {
        let batch = &mut self.batch;
        batch.text.clear();
        batch.written = 0;
        while batch.text.len() < PIECE {
            let rest = batch.payload.get(batch.at..).unwrap_or_default();
            let whole = cut(rest).or((batch.last && !rest.is_empty()).then_some(rest.len()));
            let Some(length) = whole else {
                if batch.text.is_empty() {
                    if !batch.note {
                        self.begun[usize::from(batch.stderr)] = rest.to_vec();
                    }
                    batch.done = true;
                    // What is there beyond is not of this batch.
                    self.size += std::mem::take(&mut self.skip);
                }
                return;
            };
            let before = batch.text.len();
            let line = rest.get(..length).unwrap_or_default();
            entry::encode(&mut batch.text, line, &batch.tail);
            let used = self.size + before as u64;
            let grown = self.size + batch.text.len() as u64;
            if used > 0 && self.max_size.is_some_and(|max| grown > max) {
                batch.text.truncate(before);
                batch.turn = true;
                return;
            }
            batch.at += length;
            self.lines += 1;
        }
    }

    /// Begins another segment.
    fn rotate(&mut self) -> io::Result<()> {
        let full = self.segment;
        let mut next = None;
        let size = open(&mut next, &self.dir, full + 1)?.metadata()?.len();
        (self.file, self.segment, self.size, self.skip) = (next, full + 1, size, 0);
        self.batch.turn = false;
        let _ = self.spool.redirect(&self.head(), self.batch.held);
        // One too many is removed the next time.
        let oldest = files::prune(&self.dir, self.max_files).unwrap_or(0);
        self.marks.push_back((self.segment, self.lines));
        while self
            .marks
            .front()
            .is_some_and(|(number, _)| *number < oldest)
        {
            self.marks.pop_front();
        }
        if self.compress {
            self.packer.add(full);
        }
        Ok(())
    }

    /// Empties a pipe that has been full for too long while the log can't be written.
    fn relieve(&mut self, from: BorrowedFd<'_>) -> &[u8] {
        let Some(trouble) = &mut self.trouble else {
            return &[];
        };
        if is_ready(from, PollFlags::POLLOUT) {
            return &[];
        }
        widen(from);
        let since = *trouble.full.get_or_insert_with(Instant::now);
        if !self.impatient && since.elapsed() < PATIENCE {
            return &[];
        }
        // One pipe's worth at a time: everything else of the supervisor has its turn between.
        let mut bytes = Vec::new();
        for _ in 0..WIDE_PIPE as usize / BATCH {
            bytes.clear();
            if read(from, &mut bytes) == 0 {
                break;
            }
            self.lose(&bytes);
        }
        &[]
    }

    /// Whether so much time has gone by that what can't be written is no longer waited for.
    pub(in crate::engine::native) fn gives_up(&self) -> bool {
        let begun = self.trouble.as_ref().map(|trouble| trouble.since);
        begun.is_some_and(|since| self.impatient || since.elapsed() >= PATIENCE)
    }

    fn lose(&mut self, bytes: &[u8]) {
        self.lost.bytes += bytes.len() as u64;
        self.lost.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        if let Some(trouble) = &self.trouble {
            self.lost.why.clone_from(&trouble.why);
        }
    }
}

/// The segment's file, opened when it is written for the first time.
fn open<'a>(
    file: &'a mut Option<File>,
    dir: &std::path::Path,
    segment: u64,
) -> io::Result<&'a mut File> {
    if file.is_none() {
        let mut how = File::options();
        how.append(true).create(true).mode(0o600);
        *file = Some(how.open(files::plain(dir, segment))?);
    }
    file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Where the next line ends: after a line end, or at the limit.
fn cut(bytes: &[u8]) -> Option<usize> {
    let window = bytes.get(..LINE_LIMIT).unwrap_or(bytes);
    match window.iter().position(|byte| *byte == b'\n') {
        Some(at) => Some(at + 1),
        None => (bytes.len() >= LINE_LIMIT).then_some(LINE_LIMIT),
    }
}

fn is_ready(fd: BorrowedFd<'_>, what: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, what)];
    nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds
            .iter()
            .any(|fd| fd.revents().is_some_and(|seen| seen.intersects(what)))
}

/// Reads once without the spool.
fn read(from: BorrowedFd<'_>, into: &mut Vec<u8>) -> usize {
    let begin = into.len();
    into.resize(begin + BATCH, 0);
    let read = nix::unistd::read(from.as_fd(), into.get_mut(begin..).unwrap_or_default());
    let length = read.unwrap_or(0);
    into.truncate(begin + length);
    length
}

/// Gives a pipe more room, where the system allows it: its reader is called less often then, and its writers wait less.
fn widen(pipe: BorrowedFd<'_>) {
    if nix::fcntl::fcntl(pipe, FcntlArg::F_GETPIPE_SZ).is_ok_and(|size| size < WIDE_PIPE) {
        let _ = nix::fcntl::fcntl(pipe, FcntlArg::F_SETPIPE_SZ(WIDE_PIPE));
    }
}
