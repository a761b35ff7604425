//! Finds where the last so many lines of a log begin, from its end.
//!
//! Imports: beside it `entry`, `files`, `reader`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::entry::Decoder;
use super::files::{self, Segment, Source};
use super::reader::{LONGEST, Place};

/// So much is read at once.
const BLOCK: u64 = 64 * 1024;

/// The place from which on there are `want` lines; parts of a long one count once.
pub(super) fn begin(
    dir: &Path,
    segments: &[Segment],
    end: Place,
    want: usize,
) -> io::Result<Place> {
    let mut count = Tally {
        want,
        seen: 0,
        open: [false; 2],
    };
    for segment in segments.iter().rev() {
        let number = segment.number;
        let from = if number == end.segment {
            end.offset
        } else {
            u64::MAX
        };
        let found = match File::open(files::plain(dir, number)) {
            Ok(file) => count.back(&file, file.metadata()?.len().min(from))?,
            Err(_) => count.packed(dir, number)?,
        };
        if let Some(offset) = found {
            return Ok(Place {
                segment: number,
                offset,
            });
        }
    }
    Ok(Place::default())
}

/// Counts lines from the end.
struct Tally {
    want: usize,
    seen: usize,
    /// Streams of which the end of a line has been seen.
    open: [bool; 2],
}

impl Tally {
    /// Whether this line is one too many.
    fn is_full(&mut self, line: &[u8], decoder: &mut Decoder) -> bool {
        let Some(record) = decoder.decode(line) else {
            return false;
        };
        let open = &mut self.open[usize::from(record.stderr)];
        if record.line.ends_with(b"\n") || !*open {
            if self.seen == self.want {
                return true;
            }
            self.seen += 1;
        }
        *open = true;
        false
    }

    /// Goes back through a file; gives the offset behind the line that is one too many.
    fn back(&mut self, file: &File, length: u64) -> io::Result<Option<u64>> {
        let mut decoder = Decoder::default();
        // `bytes` is what the file holds from `base` on, up to the end of the line that is looked for.
        let (mut base, mut bytes) = (length, Vec::new());
        loop {
            let line_end = bytes.len();
            let inner = bytes.get(..line_end.saturating_sub(1)).unwrap_or_default();
            let begin = match inner.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => at + 1,
                None if base == 0 => 0,
                None => {
                    let step = BLOCK.min(base);
                    let mut block = vec![0; step as usize];
                    file.read_exact_at(&mut block, base - step)?;
                    if bytes.len() > LONGEST {
                        bytes.truncate(1);
                    }
                    block.append(&mut bytes);
                    (bytes, base) = (block, base - step);
                    continue;
                }
            };
            let line = bytes.get(begin..).unwrap_or_default();
            if self.is_full(line.strip_suffix(b"\n").unwrap_or(line), &mut decoder) {
                return Ok(Some(base + line_end as u64));
            }
            bytes.truncate(begin);
            if begin == 0 && base == 0 {
                return Ok(None);
            }
        }
    }

    /// The same for a compressed segment, which can be read from its beginning only.
    fn packed(&mut self, dir: &Path, number: u64) -> io::Result<Option<u64>> {
        let Some(mut source) = Source::open(dir, number)? else {
            return Ok(None);
        };
        let (mut offset, mut line, mut ends) = (0u64, Vec::new(), Vec::new());
        let mut decoder = Decoder::default();
        loop {
            line.clear();
            // What can't be read any more is behind what can.
            let Ok(length) = source.reader().read_until(b'\n', &mut line) else {
                break;
            };
            if length == 0 {
                break;
            }
            offset += length as u64;
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if let Some(record) = decoder.decode(text) {
                ends.push((offset, record.stderr, record.line.ends_with(b"\n")));
            }
        }
        for (end, stderr, whole) in ends.into_iter().rev() {
            let open = &mut self.open[usize::from(stderr)];
            if whole || !*open {
                if self.seen == self.want {
                    return Ok(Some(end));
                }
                self.seen += 1;
            }
            *open = true;
        }
        Ok(None)
    }
}
