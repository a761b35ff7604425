//! Where bytes of the container are between its stream and the log, so that a killed supervisor loses none of them
//! and writes none twice.
//!
//! A batch is moved (never copied) from the stream into a file by one splice, which the kernel does wholly or not at
//! all, and is written to the log from there. Its head says where in the log it goes; as a batch always gives the
//! same text, a successor makes that again and writes what is not there yet. Two files take turns, since a new batch
//! holds the beginning of a line that the one before it ended with.
//!
//! ```text
//! 0   magic, sequence, kind, stream, time, segment, offset, start, lengths of both beginnings
//! 64  the beginnings of lines of both streams, then the batch's bytes
//! ```
//!
//! Imports: nothing of ours. Source: splice(2); `iter_file_splice_write` of Linux lets go of exactly what was written.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::SpliceFFlags;

/// Most bytes that are taken at once.
pub(super) const BATCH: usize = 64 * 1024;

/// Length of a head.
const HEAD: usize = 64;

/// How a head begins.
const MAGIC: u64 = u64::from_le_bytes(*b"hoistlog");

/// What a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of a stream, which go on where its last line began.
    Bytes,
    /// No bytes: the beginning of a line is a line, since nothing more will come.
    Rest,
    /// A line of hoist's own.
    Note,
}

/// Where a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// What it holds.
    pub(super) kind: Kind,
    /// Which stream it came from.
    pub(super) stderr: bool,
    /// When, in nanoseconds since 1970.
    pub(super) time: i64,
    /// The segment its text goes to.
    pub(super) segment: u64,
    /// Where in that segment.
    pub(super) offset: u64,
    /// The place in the batch from which on it goes there.
    pub(super) start: u64,
}

/// A batch that a predecessor left.
#[derive(Debug)]
pub(super) struct Left {
    /// Where it goes.
    pub(super) head: Head,
    /// Beginnings of lines of both streams.
    pub(super) begun: [Vec<u8>; 2],
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// The two files.
#[derive(Debug)]
pub(super) struct Spool {
    paths: [PathBuf; 2],
    files: [Option<File>; 2],
    sequence: u64,
    /// Where the current batch's bytes begin.
    data: u64,
}

impl Spool {
    /// The spool in a directory; its files are made when they are needed.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            paths: ["spool0", "spool1"].map(|name| dir.join(name)),
            files: [None, None],
            sequence: 0,
            data: HEAD as u64,
        }
    }

    fn file(&mut self) -> io::Result<&File> {
        let at = usize::from(self.sequence % 2 == 1);
        let slot = self.files.get_mut(at).ok_or(io::ErrorKind::NotFound)?;
        if slot.is_none() {
            let path = self.paths.get(at).ok_or(io::ErrorKind::NotFound)?;
            let mut how = File::options();
            how.read(true).write(true).create(true).truncate(false);
            *slot = Some(how.mode(0o600).open(path)?);
        }
        slot.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Begins a batch. The one before it must be in the log by now.
    ///
    /// # Errors
    /// The system's; nothing is left to a successor then.
    pub(super) fn begin(&mut self, head: &Head, begun: [&[u8]; 2]) -> io::Result<()> {
        self.sequence += 1;
        let outcome = self.try_begin(head, begun);
        if outcome.is_err() {
            // What goes to the log from now on is not known here: an older batch would be written again.
            for file in self.files.iter().flatten() {
                let _ = file.set_len(0);
            }
        }
        outcome
    }

    fn try_begin(&mut self, head: &Head, begun: [&[u8]; 2]) -> io::Result<()> {
        let bytes = encode(self.sequence, head, begun.map(<[u8]>::len));
        let file = self.file()?;
        file.set_len(0)?;
        let mut at = HEAD as u64;
        for part in begun {
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        // The head comes last: with it the batch counts.
        file.write_all_at(&bytes, 0)?;
        self.data = at;
        Ok(())
    }

    /// Says that the rest of the current batch, from `head.start` on, goes elsewhere.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn redirect(&mut self, head: &Head, begun: [usize; 2]) -> io::Result<()> {
        let bytes = encode(self.sequence, head, begun);
        self.file()?.write_all_at(&bytes, 0)
    }

    /// Moves what a pipe holds into the batch and appends it to `into`; 0 when it holds nothing now.
    ///
    /// # Errors
    /// The system's; everything is still in the pipe then, unless it came from reading the file.
    pub(super) fn take(&mut self, from: BorrowedFd<'_>, into: &mut Vec<u8>) -> io::Result<usize> {
        let data = self.data;
        let file = self.file()?;
        let mut at = i64::try_from(data).map_err(io::Error::other)?;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let taken = match nix::fcntl::splice(from, None, file, Some(&mut at), BATCH, flags) {
            Ok(taken) => taken,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let begin = into.len();
        into.reserve_exact(taken);
        into.resize(begin + taken, 0);
        file.read_exact_at(into.get_mut(begin..).unwrap_or_default(), data)?;
        Ok(taken)
    }

    /// Puts bytes into the batch that came from elsewhere.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let data = self.data;
        self.file()?.write_all_at(bytes, data)
    }

    /// Finds the batch that a predecessor left, if there is one.
    pub(super) fn left(&mut self) -> Option<Left> {
        let mut found: Option<(u64, Left)> = None;
        for path in &self.paths {
            let Ok(bytes) = std::fs::read(path) else {
                continue;
            };
            if let Some((sequence, left)) = decode(&bytes)
                && found.as_ref().is_none_or(|(other, _)| sequence > *other)
            {
                found = Some((sequence, left));
            }
        }
        let (sequence, left) = found?;
        self.sequence = sequence;
        self.data = (HEAD + left.begun.iter().map(Vec::len).sum::<usize>()) as u64;
        Some(left)
    }
}

fn encode(sequence: u64, head: &Head, begun: [usize; 2]) -> [u8; HEAD] {
    let kind = match head.kind {
        Kind::Bytes => 0,
        Kind::Rest => 1,
        Kind::Note => 2,
    };
    let [out, err] = begun;
    let words = [
        MAGIC,
        sequence,
        kind << 1 | u64::from(head.stderr),
        head.time.cast_unsigned(),
        head.segment,
        head.offset,
        head.start,
        (out as u64) << 32 | err as u64 & 0xffff_ffff,
    ];
    let mut bytes = [0; HEAD];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn decode(file: &[u8]) -> Option<(u64, Left)> {
    let (head, mut rest) = file.split_first_chunk::<HEAD>()?;
    let mut words = [0u64; 8];
    for (word, place) in words.iter_mut().zip(head.chunks_exact(8)) {
        *word = u64::from_le_bytes(place.try_into().ok()?);
    }
    let [magic, sequence, what, time, segment, offset, start, lengths] = words;
    let kind = match what >> 1 {
        0 => Kind::Bytes,
        1 => Kind::Rest,
        2 => Kind::Note,
        _ => return None,
    };
    if magic != MAGIC {
        return None;
    }
    let mut part = |length: u64| -> Option<Vec<u8>> {
        let (part, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = behind;
        Some(part.to_vec())
    };
    let begun = [part(lengths >> 32)?, part(lengths & 0xffff_ffff)?];
    let head = Head {
        kind,
        stderr: what & 1 == 1,
        time: time.cast_signed(),
        segment,
        offset,
        start,
    };
    let bytes = rest.to_vec();
    Some((sequence, Left { head, begun, bytes }))
}
