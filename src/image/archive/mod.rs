//! Archives as streams: compression recognised and undone, or made ([`pack`]); tar entries read ([`read`]) and
//! written ([`write`]).
//!
//! In: bytes. Out: bytes. Never touches a file by name. Imports: `digest`.
//! Rules: RFC 1952 (gzip), RFC 8878 (zstd), bzip2's and xz's magic numbers.

pub mod pack;
pub mod read;
pub mod write;

use std::cell::Cell;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use super::digest::{Digest, Hasher};

/// How many bytes [`sniff`] wants to see.
pub const SNIFF: usize = 512;
const BLOCK: usize = 512;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, but it is a tar archive.
    Tar,
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// RFC 8878.
    Zstd,
    /// xz, of any number of streams.
    Xz,
    /// Nothing that is known.
    Unknown,
}

/// Recognises compression by the first bytes; [`SNIFF`] of them are enough.
pub fn sniff(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame of zstd may come first.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        _ if is_tar(head) => Compression::Tar,
        _ => Compression::Unknown,
    }
}

/// Whether a block is a tar header: its checksum is right. Two blocks of zeros are an empty archive.
fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..BLOCK) else {
        return false;
    };
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let stored = block.get(148..156).unwrap_or_default();
    let sum = sum - stored.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    let digits = stored
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|b| b.is_ascii_digit());
    let said = digits.fold(0u32, |value, digit| {
        value.wrapping_mul(8).wrapping_add(u32::from(digit - b'0'))
    });
    said == sum
}

/// Gives the bytes with compression undone; bytes that are not compressed come as they are. What it finds
/// can be asked beforehand with [`sniff`].
pub fn decoder<'a>(mut input: impl Read + 'a) -> Box<dyn Read + 'a> {
    let mut head = Vec::with_capacity(SNIFF);
    if let Err(error) = input.by_ref().take(SNIFF as u64).read_to_end(&mut head) {
        return Box::new(Failed(Some(error)));
    }
    let kind = sniff(&head);
    let whole = Cursor::new(head).chain(input);
    match kind {
        Compression::Gzip => {
            let buffered = io::BufReader::with_capacity(256 * 1024, whole);
            Box::new(Gzip::Between(buffered))
        }
        Compression::Bzip2 => {
            let buffered = io::BufReader::with_capacity(256 * 1024, whole);
            Box::new(bzip2::bufread::MultiBzDecoder::new(buffered))
        }
        Compression::Zstd => Box::new(Zstd::Between(io::BufReader::with_capacity(
            256 * 1024,
            whole,
        ))),
        Compression::Xz => {
            let buffered = io::BufReader::with_capacity(256 * 1024, whole);
            Box::new(lzma_rust2::XzReader::new_mem_limit(
                buffered, true, XZ_MEMORY,
            ))
        }
        Compression::Tar | Compression::Unknown => Box::new(whole),
    }
}

/// Most memory in KiB that an xz stream may want: four times what `xz -9` does.
const XZ_MEMORY: u32 = 256 << 10;

/// A reader whose beginning failed.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Gives the bytes as [`decoder`] does, but ends with an error where they become far more than came in.
pub fn bounded<'a>(input: impl Read + 'a) -> Box<dyn Read + 'a> {
    let came = Rc::new(Cell::new(0));
    let counted = Counted {
        inner: input,
        count: Rc::clone(&came),
    };
    Box::new(Bounded {
        inner: decoder(counted),
        came,
        gave: 0,
    })
}

/// Bytes that may come of any archive, however short.
pub const SMALL_BOMB: u64 = 8 << 30;
/// How many times its own length a longer archive may become.
pub const RATIO: u64 = 200;

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

struct Bounded<'a> {
    inner: Box<dyn Read + 'a>,
    came: Rc<Cell<u64>>,
    gave: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.gave += read as u64;
        if self.gave > SMALL_BOMB && self.gave > self.came.get().saturating_mul(RATIO) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the archive unpacks to far more than its own size",
            ));
        }
        Ok(read)
    }
}

/// All members of a gzip stream. Zeros behind the last one fill a block of a tape or a disk, and mean nothing.
/// Source: RFC 1952, 2.2; gzip(1), "CAVEATS".
enum Gzip<R: io::BufRead> {
    Between(R),
    Member(Box<flate2::bufread::GzDecoder<R>>),
    Ended,
}

impl<R: io::BufRead> Gzip<R> {
    /// Begins the next member; `false` at the end of the stream.
    fn begin(&mut self, mut source: R) -> io::Result<bool> {
        match source.fill_buf()? {
            [] => return Ok(false),
            [0, ..] => {
                let mut buffer = [0; 4096];
                loop {
                    match source.read(&mut buffer)? {
                        0 => return Ok(false),
                        read if buffer.iter().take(read).all(|byte| *byte == 0) => {}
                        _ => {
                            let text = "something follows the compressed archive";
                            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                        }
                    }
                }
            }
            _ => {}
        }
        *self = Self::Member(Box::new(flate2::bufread::GzDecoder::new(source)));
        Ok(true)
    }
}

impl<R: io::BufRead> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Ok(0),
                Self::Between(source) => {
                    if !self.begin(source)? {
                        return Ok(0);
                    }
                }
                Self::Member(mut member) => {
                    let read = member.read(into)?;
                    if read > 0 || into.is_empty() {
                        *self = Self::Member(member);
                        return Ok(read);
                    }
                    *self = Self::Between(member.into_inner());
                }
            }
        }
    }
}

/// Largest window of a zstd frame that is accepted: what `zstd --ultra` writes without `--long`.
const ZSTD_WINDOW: u64 = 128 << 20;

/// All frames of a zstd stream, skippable ones too.
enum Zstd<R: io::BufRead> {
    Between(R),
    Frame(Box<ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    Ended,
}

impl<R: io::BufRead> Zstd<R> {
    /// Begins the next frame; `false` at the end of the stream.
    fn begin(&mut self, mut source: R) -> io::Result<bool> {
        loop {
            let head = source.fill_buf()?;
            match head {
                [] => return Ok(false),
                // A skippable frame: magic number, length, bytes. Source: RFC 8878, 3.1.2.
                [0x50..=0x5f, ..] => {
                    let mut header = [0; 8];
                    source.read_exact(&mut header)?;
                    let [_, magic @ .., a, b, c, d] = header;
                    if magic != [0x2a, 0x4d, 0x18] {
                        let text = "something that is no zstd follows a frame";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
                    io::copy(&mut source.by_ref().take(length), &mut io::sink())?;
                }
                _ => break,
            }
        }
        let frame =
            ruzstd::decoding::StreamingDecoder::new_with_max_window_size(source, ZSTD_WINDOW)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        *self = Self::Frame(Box::new(frame));
        Ok(true)
    }
}

impl<R: io::BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Ok(0),
                Self::Between(source) => {
                    if !self.begin(source)? {
                        return Ok(0);
                    }
                }
                Self::Frame(mut frame) => {
                    let read = frame.read(into)?;
                    if read > 0 || into.is_empty() {
                        *self = Self::Frame(frame);
                        return Ok(read);
                    }
                    *self = Self::Between(frame.into_inner());
                }
            }
        }
    }
}

/// What is said of an archive that becomes longer than `limit` bytes.
pub fn too_much(limit: u64) -> io::Error {
    let text =
        format!("the archive unpacks to more than {limit} bytes, far more than its own size");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Hashes and counts what is read through it.
#[derive(Debug)]
pub struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
    limit: u64,
}

impl<R: Read> Hashing<R> {
    /// Reads `inner`, at most `limit` bytes of it; more is an error.
    pub fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            hasher: Hasher::default(),
            count: 0,
            limit,
        }
    }
    /// Reads what is left, then gives the digest and the number of all bytes.
    ///
    /// # Errors
    /// The reader's.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        let mut buffer = vec![0; 64 * 1024];
        while self.read(&mut buffer)? > 0 {}
        Ok((self.hasher.finish(), self.count))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.count += read as u64;
        if self.count > self.limit {
            return Err(too_much(self.limit));
        }
        self.hasher.update(into.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn all(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decoder(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn every_compression_is_undone() {
        let plain = b"hello hello hello".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        assert_eq!(all(&gzip.finish().unwrap()).unwrap(), plain);
        let member = |text: &[u8]| {
            let level = flate2::Compression::fast();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
            gzip.write_all(text).unwrap();
            gzip.finish().unwrap()
        };
        let members = [member(b"a"), member(b""), member(b"b")].concat();
        assert_eq!(all(&members).unwrap(), b"ab");
        let padded = [members.as_slice(), &[0; 9_000]].concat();
        assert_eq!(all(&padded).unwrap(), b"ab");
        assert!(all(&[padded.as_slice(), b"x"].concat()).is_err());
        assert!(all(&[members.as_slice(), b"x"].concat()).is_err());
        let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip.write_all(&plain).unwrap();
        assert_eq!(all(&bzip.finish().unwrap()).unwrap(), plain);
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let frame = ruzstd::encoding::compress_to_vec(plain.as_slice(), level);
        let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc".as_slice(), &frame, &frame].concat();
        assert_eq!(all(&skipped).unwrap(), plain.repeat(2));
        assert_eq!(all(&plain).unwrap(), plain);
        assert_eq!(all(b"").unwrap(), b"");
        // "hello hello", as `xz --check=none` writes it.
        const XZ: [u8; 60] = [
            253, 55, 122, 88, 90, 0, 0, 0, 255, 18, 217, 65, 2, 0, 33, 1, 22, 0, 0, 0, 116, 47,
            229, 163, 1, 0, 10, 104, 101, 108, 108, 111, 32, 104, 101, 108, 108, 111, 0, 0, 0, 1,
            27, 11, 57, 167, 98, 30, 6, 114, 158, 122, 1, 0, 0, 0, 0, 0, 89, 90,
        ];
        assert_eq!(all(&XZ).unwrap(), b"hello hello");
        assert!(all(b"\xfd7zXZ\0 and what follows").is_err());
    }
}
