//! The bytes of a file the user names become text.
//!
//! In: a path. Out: its text, or why there is none, in words that say what to do. It reads regular files and what
//! stands for one (`/dev/stdin`, a pipe of the shell), never more than [`LIMIT`]. Imports: nothing.
//! Rules: YAML 1.2.2, 5.2 (encodings).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes of a file that are read. The largest compose files have some megabytes.
pub(super) const LIMIT: u64 = 64 << 20;
/// How long a named pipe may have no writer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a file has no text.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The system says why.
    Io(io::Error),
    /// A directory.
    Directory,
    /// A socket or a disk.
    Kind,
    /// A named pipe that nothing writes to.
    Silent,
    /// Over [`LIMIT`].
    Large,
    /// A file that came from elsewhere asks for it, and must not have it.
    Outside,
    /// Bytes that are no UTF-8: the text with marks in their place, the offset of the first mark, and that byte.
    Encoding(String, usize, u8),
}

/// What was read already in another way.
pub(super) type Given = Option<Result<Vec<u8>, Unreadable>>;

/// Reads a YAML file: UTF-8, or UTF-16 that says so. `given` stands for the file's bytes.
///
/// # Errors
/// [`Unreadable`].
pub(super) fn yaml(path: &Path, given: Given) -> Result<String, Unreadable> {
    let bytes = given.unwrap_or_else(|| bytes(path))?;
    let units = |swap: fn([u8; 2]) -> u16| {
        let pairs = bytes.chunks_exact(2).skip(1);
        let units: Vec<u16> = pairs.map(|pair| swap([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes.as_slice() {
        [0xff, 0xfe, ..] => return Ok(units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => return Ok(units(u16::from_be_bytes)),
        _ => {}
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        Unreadable::Encoding(text, at, byte)
    })
}

/// Reads an env file; what is no UTF-8 is marked, since values of any bytes are let through.
///
/// # Errors
/// [`Unreadable`], but for [`Unreadable::Encoding`].
pub(super) fn env(path: &Path, given: Given) -> Result<String, Unreadable> {
    let bytes = given.unwrap_or_else(|| bytes(path))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn bytes(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let meta = std::fs::metadata(path).map_err(Unreadable::Io)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        return Err(Unreadable::Directory);
    }
    if kind.is_socket() || kind.is_block_device() {
        return Err(Unreadable::Kind);
    }
    if meta.len() > LIMIT {
        return Err(Unreadable::Large);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default() + 1);
    if kind.is_fifo() {
        pipe(path, &mut bytes)?;
    } else {
        let file = File::open(path).map_err(Unreadable::Io)?;
        let read = file.take(LIMIT + 1).read_to_end(&mut bytes);
        read.map_err(Unreadable::Io)?;
    }
    match bytes.len() as u64 > LIMIT {
        true => Err(Unreadable::Large),
        false => Ok(bytes),
    }
}

/// Reads a pipe to its end, but does not wait for ever for a first writer.
///
/// Source: fifo(7), open(2) `O_NONBLOCK`; poll(2): a pipe is not ready before its first writer came.
fn pipe(path: &Path, bytes: &mut Vec<u8>) -> Result<(), Unreadable> {
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut pipe = options.open(path).map_err(Unreadable::Io)?;
    let mut limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::NONE);
    let mut block = vec![0; 1 << 16];
    while bytes.len() as u64 <= LIMIT {
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, limit) {
            Ok(0) => return Err(Unreadable::Silent),
            Ok(_) => limit = PollTimeout::NONE,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(Unreadable::Io(error.into())),
        }
        match pipe.read(&mut block) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Unreadable::Io(error)),
        }
    }
    Ok(())
}
