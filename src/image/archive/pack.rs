//! Archives compressed while they are written: the same bytes in give the same bytes out.
//!
//! In: bytes. Out: bytes. Imports: nothing of ours.
//! Rules: RFC 1952 (gzip: no name, no time), RFC 8878, 3.1 (zstd: frames one after the other are one stream).

use std::io::{self, Write};
use std::str::FromStr;

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// Bytes in one frame of zstd. The library compresses only what it has as a whole, so this is what is held in memory.
const FRAME: usize = 4 << 20;
/// Bytes given to gzip at once: what comes out depends on how it is cut, so it is always cut the same.
const PIECE: usize = 64 << 10;

/// How a layer is compressed on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// RFC 1952: every registry and runtime reads it.
    #[default]
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Not at all.
    Plain,
}

impl FromStr for Packing {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "uncompressed" => Ok(Self::Plain),
            "estargz" => Err("`estargz` is not supported; use gzip or zstd".to_owned()),
            other => Err(format!(
                "`{other}` is no compression; use gzip, zstd or uncompressed"
            )),
        }
    }
}

/// Compresses what is written to it.
pub struct Packer<W: Write> {
    kind: Kind<W>,
    held: Vec<u8>,
    most: usize,
}

enum Kind<W: Write> {
    Plain(W),
    Gzip(Box<GzEncoder<W>>),
    /// Whether there is a frame already.
    Zstd(W, bool),
}

impl<W: Write> std::fmt::Debug for Packer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl<W: Write> Packer<W> {
    /// Begins to write to `out`.
    pub fn new(packing: Packing, out: W) -> Self {
        let (kind, most) = match packing {
            Packing::Plain => (Kind::Plain(out), PIECE),
            Packing::Gzip => {
                let level = flate2::Compression::default();
                (Kind::Gzip(Box::new(GzEncoder::new(out, level))), PIECE)
            }
            Packing::Zstd => (Kind::Zstd(out, false), FRAME),
        };
        Self {
            kind,
            held: Vec::with_capacity(most),
            most,
        }
    }
    /// Writes what is held back, and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.pass_on(true)?;
        match self.kind {
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Plain(mut out) | Kind::Zstd(mut out, _) => out.flush().map(|()| out),
        }
    }
    fn pass_on(&mut self, last: bool) -> io::Result<()> {
        match &mut self.kind {
            Kind::Plain(out) => out.write_all(&self.held)?,
            Kind::Gzip(encoder) => encoder.write_all(&self.held)?,
            // One frame at least: nothing at all would be no zstd.
            Kind::Zstd(_, true) if last && self.held.is_empty() => {}
            Kind::Zstd(out, begun) => {
                let level = CompressionLevel::Fastest;
                out.write_all(&compress_to_vec(self.held.as_slice(), level))?;
                *begun = true;
            }
        }
        self.held.clear();
        Ok(())
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.most - self.held.len());
        self.held
            .extend_from_slice(bytes.get(..taken).unwrap_or(bytes));
        if self.held.len() == self.most {
            self.pass_on(false)?;
        }
        Ok(taken)
    }
    /// Nothing: where a piece ends must not depend on it.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::image::archive::decoder;

    #[test]
    fn what_is_packed_is_the_same_each_time_and_unpacks_to_what_it_was() {
        let long: Vec<u8> = (0..FRAME + 70_000).map(|n| (n / 3 % 251) as u8).collect();
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            for text in [b"".as_slice(), b"hello", &long] {
                let pack = |piece: usize| {
                    let mut packer = Packer::new(packing, Vec::new());
                    for part in text.chunks(piece) {
                        packer.write_all(part).unwrap();
                    }
                    packer.finish().unwrap()
                };
                let packed = pack(1 << 20);
                assert!(packed == pack(60_001), "{packing:?}");
                let mut back = Vec::new();
                decoder(packed.as_slice()).read_to_end(&mut back).unwrap();
                assert!(back == text, "{packing:?} {}", text.len());
            }
        }
        assert_eq!("zstd".parse(), Ok(Packing::Zstd));
        assert!("estargz".parse::<Packing>().unwrap_err().contains("gzip"));
    }
}
