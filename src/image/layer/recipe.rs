//! Recipes: how an archive is put together again, byte for byte, from the files that were unpacked from it.
//!
//! In: an archive while it is unpacked ([`Recorder`]). Out: everything of it that is no content of a file, with the
//! places where contents belong; and the archive again ([`assemble`]). So a layer that came uncompressed is kept once
//! and not twice. Whoever assembles checks the digest: a recipe proves nothing.
//!
//! On disk, compressed by gzip: [`MAGIC`], then records: [`BYTES`], a length, bytes; [`CONTENT`], the length of a path,
//! the path, the number of its pieces, offset and length of each; [`END`]. Numbers are of 64 bits, little-endian.
//! Imports: `archive`, `sys::fs`. As the tar-split of containers/storage and moby.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::fcntl::OFlag;

use crate::image::archive::{self, read::Member};
use crate::sys::fs::Root;

const MAGIC: &[u8] = b"hoist recipe 1\n";
const BYTES: u8 = 0;
const CONTENT: u8 = 1;
const END: u8 = 2;
/// Bytes that are held back before they are written.
const HELD: usize = 64 << 10;
/// Longest path in bytes.
const LONGEST_PATH: u64 = 1 << 20;

/// Notes what an archive is made of while it is unpacked.
pub(super) struct Recorder(RefCell<State>);

struct State {
    out: GzEncoder<BufWriter<File>>,
    held: Vec<u8>,
    /// Whether what is read is the content of a file.
    within: bool,
    /// Whether a content is no more among the files.
    lost: bool,
}

impl State {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.within || self.lost {
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        match self.held.len() >= HELD {
            true => self.write_held(),
            false => Ok(()),
        }
    }
    fn write_held(&mut self) -> io::Result<()> {
        if !self.held.is_empty() {
            self.out.write_all(&[BYTES])?;
            self.number(self.held.len() as u64)?;
            self.out.write_all(&self.held)?;
            self.held.clear();
        }
        Ok(())
    }
    fn number(&mut self, number: u64) -> io::Result<()> {
        self.out.write_all(&number.to_le_bytes())
    }
}

impl Recorder {
    /// Writes the recipe to `file`.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut out = GzEncoder::new(BufWriter::new(file), Compression::fast());
        out.write_all(MAGIC)?;
        Ok(Self(RefCell::new(State {
            out,
            held: Vec::with_capacity(HELD),
            within: false,
            lost: false,
        })))
    }
    /// The archive, which must be read through this.
    pub(super) fn reader<R: Read>(&self, input: R) -> Recording<'_, R> {
        Recording {
            input,
            recorder: self,
        }
    }
    /// What is read next is the content of a file, until [`Recorder::file_ends`].
    pub(super) fn file(&self, path: &Path, member: &Member) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if !state.lost {
            let whole = [(0, member.size)];
            let pieces = member.pieces.as_deref().unwrap_or(&whole);
            let path = path.as_os_str().as_bytes();
            state.write_held()?;
            state.out.write_all(&[CONTENT])?;
            state.number(path.len() as u64)?;
            state.out.write_all(path)?;
            state.number(pieces.len() as u64)?;
            for (offset, length) in pieces {
                state.number(*offset)?;
                state.number(*length)?;
            }
        }
        state.within = true;
        Ok(())
    }
    pub(super) fn file_ends(&self) {
        self.0.borrow_mut().within = false;
    }
    /// Something was removed again: the archive can't be made of the files.
    pub(super) fn lost(&self) {
        self.0.borrow_mut().lost = true;
    }
    /// Writes what is held back; `false` when the archive can't be made of the files.
    pub(super) fn finish(self) -> io::Result<bool> {
        let mut state = self.0.into_inner();
        if state.lost {
            return Ok(false);
        }
        state.write_held()?;
        state.out.write_all(&[END])?;
        state.out.finish()?.flush()?;
        Ok(true)
    }
}

/// Reads an archive and notes what is read.
pub(super) struct Recording<'a, R> {
    input: R,
    recorder: &'a Recorder,
}

impl<R: Read> Read for Recording<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        let bytes = into.get(..read).unwrap_or_default();
        self.recorder.0.borrow_mut().bytes(bytes)?;
        Ok(read)
    }
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// Writes the archive that a recipe is of, from the files below `dir`.
pub(super) fn assemble(recipe: File, dir: &Path, mut out: impl Write) -> io::Result<()> {
    let mut recipe = BufReader::with_capacity(HELD, archive::decoder(recipe));
    let root = Root::open(dir)?;
    let mut magic = vec![0; MAGIC.len()];
    recipe.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(bad("the layer's recipe is of another version"));
    }
    let mut buffer = vec![0; 256 << 10];
    loop {
        let mut word = [0];
        recipe.read_exact(&mut word)?;
        match word {
            [END] => return out.flush(),
            [BYTES] => {
                let length = number(&mut recipe)?;
                let copied = io::copy(&mut recipe.by_ref().take(length), &mut out)?;
                if copied != length {
                    return Err(bad("the layer's recipe is cut short"));
                }
            }
            [CONTENT] => content(&mut recipe, &root, &mut buffer, &mut out)?,
            _ => return Err(bad("the layer's recipe is damaged")),
        }
    }
}

fn number(recipe: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    recipe.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn content(
    recipe: &mut impl Read,
    root: &Root,
    buffer: &mut [u8],
    out: &mut impl Write,
) -> io::Result<()> {
    let length = number(recipe)?;
    if length > LONGEST_PATH {
        return Err(bad("the layer's recipe is damaged"));
    }
    let mut path = Vec::new();
    recipe.take(length).read_to_end(&mut path)?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
    let told =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = root.open_at(&path, flags, 0).map_err(|e| told(e.into()))?;
    let file = File::from(file);
    for _ in 0..number(recipe)? {
        let (mut at, mut left) = (number(recipe)?, number(recipe)?);
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let read = file.read_at(&mut buffer[..most], at).map_err(told)?;
            if read == 0 {
                return Err(told(io::Error::other("it is shorter than it was")));
            }
            out.write_all(&buffer[..read])?;
            at += read as u64;
            left -= read as u64;
        }
    }
    Ok(())
}
