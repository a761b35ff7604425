//! The files of one log: numbered segments, of which the highest number is being written.
//!
//! A segment keeps its name for good, so that a reader which holds one open knows what comes behind it, and nothing
//! that works on an older one is in a writer's way. `container.<n>.log` is a segment, `container.<n>.log.gz` the same
//! one compressed; `container.log`, which logs of before have, is number 0.
//! Imports: `sys`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

/// How many bytes of a segment are read at once.
const READ: usize = 64 * 1024;

/// One file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Higher is newer.
    pub(super) number: u64,
    /// Whether it is there in compressed form only.
    pub(super) packed: bool,
}

/// Path of a segment as it is written.
pub(super) fn plain(dir: &Path, number: u64) -> PathBuf {
    match number {
        0 => dir.join("container.log"),
        _ => dir.join(format!("container.{number}.log")),
    }
}

/// Path of a segment that was compressed.
pub(super) fn packed(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("container.{number}.log.gz"))
}

/// Path of a segment that is being compressed.
pub(super) fn draft(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!(".container.{number}.log.gz"))
}

fn parse(name: &str) -> Option<Segment> {
    if name == "container.log" {
        return Some(Segment {
            number: 0,
            packed: false,
        });
    }
    let rest = name.strip_prefix("container.")?;
    let (number, packed) = match rest.strip_suffix(".log.gz") {
        Some(number) => (number, true),
        None => (rest.strip_suffix(".log")?, false),
    };
    Some(Segment {
        number: number.parse().ok()?,
        packed,
    })
}

/// The segments there are, oldest first; one that is there in both forms counts as plain. A missing directory has none.
///
/// # Errors
/// The system's.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let listing = match std::fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in listing {
        all.extend(entry?.file_name().to_str().and_then(parse));
    }
    // Plain sorts before packed.
    all.sort_unstable();
    all.dedup_by_key(|segment| segment.number);
    Ok(all)
}

/// Removes all but the newest `keep` segments, in every form they have; gives the number of the oldest that stays.
pub(super) fn prune(dir: &Path, keep: usize) -> io::Result<u64> {
    let all = list(dir)?;
    let gone = all.len().saturating_sub(keep);
    for segment in all.iter().take(gone) {
        for path in [
            plain(dir, segment.number),
            packed(dir, segment.number),
            draft(dir, segment.number),
        ] {
            // What is not there needs no removing; what can't be removed is tried again at the next rotation.
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(all.get(gone).map_or(0, |segment| segment.number))
}

/// A segment opened for reading, whichever form it has.
#[derive(Debug)]
pub(super) enum Source {
    /// As it is written.
    Plain(BufReader<File>),
    /// Compressed.
    Packed(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
}

impl Source {
    /// Opens a segment; `None` when it is gone. It may change its form between a look and this.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(dir: &Path, number: u64) -> io::Result<Option<Self>> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match File::open(plain(dir, number)) {
            Ok(file) => return Ok(Some(Self::Plain(BufReader::with_capacity(READ, file)))),
            Err(error) if !missing(&error) => return Err(error),
            Err(_) => {}
        }
        match File::open(packed(dir, number)) {
            Ok(file) => {
                let unpacked = MultiGzDecoder::new(BufReader::new(file));
                let reader = BufReader::with_capacity(READ, unpacked);
                Ok(Some(Self::Packed(Box::new(reader))))
            }
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The reader.
    pub(super) fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Self::Plain(reader) => reader,
            Self::Packed(reader) => reader,
        }
    }

    /// Goes on behind the first `bytes` of what it holds.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Plain(reader) => io::Seek::seek(reader, io::SeekFrom::Start(bytes)).map(drop),
            Self::Packed(reader) => {
                io::copy(&mut io::Read::take(reader, bytes), &mut io::sink()).map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_number_and_form_and_nothing_else_is_a_segment() {
        for number in [0, 1, 77] {
            for (path, is_packed) in [
                (plain(Path::new("/d"), number), false),
                (packed(Path::new("/d"), number), true),
            ] {
                let name = path.file_name().and_then(|name| name.to_str());
                let want = Segment {
                    number,
                    packed: is_packed,
                };
                assert_eq!(name.and_then(parse), Some(want));
            }
        }
        for name in [
            "forwarded",
            "container.x.log",
            ".container.1.log.gz",
            "container.1.log.gz.gz",
            "container.-1.log",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
