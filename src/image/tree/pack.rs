//! Makes an archive of a file or directory while others may change it.
//!
//! In: a directory and a name in it. Out: a tar stream: whole seconds, numbers instead of names, hard links within
//! the tree kept, sockets left out, since archives have no word for them. What vanishes meanwhile is left out; what
//! is replaced meanwhile is looked at again. Never changes anything, never follows a link.
//! Imports: `archive`, `sys::fs`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode};

use super::CAPABILITIES;
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::image::listing::level;
use crate::sys::fs;

/// Bytes read at once. A file that fits is as long as what was read, whatever its size was said to be.
const CHUNK: usize = 256 * 1024;
/// How often an entry that changes its kind under our eyes is looked at again.
const LOOKS: u32 = 8;
/// Most pieces of a file with holes that are told; a file with more is written in full.
const MOST_PIECES: usize = 4096;

/// What is packed.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The directory it lies in.
    pub dir: BorrowedFd<'a>,
    /// Its name there; `.` is the directory itself.
    pub name: &'a OsStr,
    /// Its name in the archive, with neither slash at the end; `.` leaves what lies in it without one.
    pub stored_as: &'a [u8],
}

/// How regular files are opened, so that a device put in their place has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Directly: no device can be opened here, since every mount forbids it.
    Direct,
    /// First without effect, then again through `/proc`, which must be the caller's.
    Twice,
}

/// Whether holes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// As GNU tar tells them.
    Kept,
    /// They are zeros like others.
    Filled,
}

/// Why an archive could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// An entry could not be read.
    #[error("{path}: {source}")]
    Entry {
        /// Its path in the archive.
        path: String,
        /// The system's words.
        source: io::Error,
    },
    /// Whoever takes the archive does not take it.
    #[error("cannot write the archive: {0}")]
    Out(io::Error),
}

type Result<T> = std::result::Result<T, PackError>;

/// Writes the archive of `source`.
///
/// # Errors
/// [`PackError`].
pub fn write(source: Source<'_>, opening: Opening, holes: Holes, out: impl Write) -> Result<()> {
    write_all(&[source], opening, holes, out)
}

/// Writes one archive of several sources, one after the other.
///
/// # Errors
/// [`PackError`].
pub fn write_all(
    sources: &[Source<'_>],
    opening: Opening,
    holes: Holes,
    out: impl Write,
) -> Result<()> {
    let mut packer = Packer {
        out,
        opening,
        holes,
        exact: false,
        links: BTreeMap::new(),
        buffer: vec![0; CHUNK],
    };
    for source in sources {
        packer.tree(*source)?;
    }
    end(&mut packer.out).map_err(PackError::Out)?;
    packer.out.flush().map_err(PackError::Out)
}

/// Writes the archive of files that lie anywhere, each under a name of its own, and of directories without what is in
/// them. Times are exact, to the nanosecond. What is gone is left out; a last link is not followed.
///
/// # Errors
/// [`PackError`].
pub fn write_files<'p>(
    files: impl Iterator<Item = (&'p Path, &'p [u8])>,
    out: impl Write,
) -> Result<()> {
    let mut packer = Packer {
        out,
        opening: Opening::Twice,
        holes: Holes::Filled,
        exact: true,
        links: BTreeMap::new(),
        buffer: vec![0; CHUNK],
    };
    let mut above: Option<(&Path, File)> = None;
    for (file, stored_as) in files {
        let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else {
            continue;
        };
        let failed = fault(stored_as);
        let gone = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        };
        if above.as_ref().is_none_or(|(known, _)| *known != parent) {
            above = match File::open(parent) {
                Err(error) if gone(&error) => continue,
                other => Some((parent, other.map_err(&failed)?)),
            };
        }
        let Some((_, dir)) = &above else { continue };
        let opened = match packer.open(dir.as_fd(), name) {
            Err(error) if gone(&error) => continue,
            other => other.map_err(failed)?,
        };
        packer.entry(opened, &mut stored_as.to_vec())?;
    }
    end(&mut packer.out).map_err(PackError::Out)?;
    packer.out.flush().map_err(PackError::Out)
}

struct Packer<W> {
    out: W,
    /// Whether times are told to the nanosecond.
    exact: bool,
    opening: Opening,
    holes: Holes,
    /// First path of files with several names.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

fn fault(path: &[u8]) -> impl Fn(io::Error) -> PackError + '_ {
    |source| PackError::Entry {
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    }
}

/// What an entry is, opened if it has content.
enum Opened {
    File(File, FileStat),
    Dir(OwnedFd, FileStat),
    Link(OsString, FileStat),
    Node(EntryKind, FileStat),
    /// A socket.
    Nothing,
}

impl<W: Write> Packer<W> {
    fn tree(&mut self, source: Source<'_>) -> Result<()> {
        let mut path = source.stored_as.to_vec();
        let top = self.open(source.dir, source.name).map_err(fault(&path))?;
        let Some(top) = self.entry(top, &mut path)? else {
            return Ok(());
        };
        let mut levels = vec![level(top, path.len()).map_err(fault(&path))?];
        while let Some(here) = levels.last_mut() {
            let Some(name) = here.names.pop() else {
                levels.pop();
                continue;
            };
            path.truncate(here.prefix);
            path.extend_from_slice(name.as_bytes());
            let opened = match self.open(here.dir.as_fd(), &name) {
                // Gone since its directory was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(fault(&path))?,
            };
            if let Some(dir) = self.entry(opened, &mut path)? {
                let next = level(dir, path.len()).map_err(fault(&path))?;
                levels.push(next);
            }
        }
        Ok(())
    }
    /// Looks at a name and opens what is there; what was put in its place in between is looked at again.
    fn open(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Opened> {
        for _ in 0..LOOKS {
            let stat = fs::lstat_at(dir, name)?;
            let found = match stat.st_mode & libc::S_IFMT {
                libc::S_IFREG => self.regular(dir, name),
                libc::S_IFDIR => {
                    let flags =
                        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    nix::fcntl::openat(dir, name, flags, Mode::empty())
                        .map(|open| Opened::Dir(open, stat))
                }
                libc::S_IFLNK => {
                    nix::fcntl::readlinkat(dir, name).map(|link| Opened::Link(link, stat))
                }
                libc::S_IFCHR => Ok(Opened::Node(EntryKind::Char, stat)),
                libc::S_IFBLK => Ok(Opened::Node(EntryKind::Block, stat)),
                libc::S_IFIFO => Ok(Opened::Node(EntryKind::Fifo, stat)),
                _ => Ok(Opened::Nothing),
            };
            match found {
                // Not what it was a moment ago. EACCES is what a device says where none may be opened.
                Err(Errno::ELOOP | Errno::ENOTDIR | Errno::EINVAL | Errno::ENXIO) => {}
                Err(Errno::EACCES) if !is_still(dir, name, &stat) => {}
                other => return Ok(other?),
            }
        }
        Err(io::Error::other("it was replaced while it was read"))
    }
    /// Opens a regular file; `EINVAL` when it is none any more.
    fn regular(&self, dir: BorrowedFd<'_>, name: &OsStr) -> std::result::Result<Opened, Errno> {
        let read = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let check = |file: &OwnedFd| {
            let stat = nix::sys::stat::fstat(file)?;
            match fs::is_kind(&stat, libc::S_IFREG) {
                true => Ok(stat),
                false => Err(Errno::EINVAL),
            }
        };
        let file = match self.opening {
            Opening::Direct => {
                nix::fcntl::openat(dir, name, read | OFlag::O_NOFOLLOW, Mode::empty())?
            }
            Opening::Twice => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let seen = nix::fcntl::openat(dir, name, flags, Mode::empty())?;
                check(&seen)?;
                nix::fcntl::open(&fs::fd_path(&seen), read, Mode::empty())?
            }
        };
        let stat = check(&file)?;
        Ok(Opened::File(File::from(file), stat))
    }
    /// Writes one entry; a directory is given back, with `path` ending in a slash.
    fn entry(&mut self, opened: Opened, path: &mut Vec<u8>) -> Result<Option<OwnedFd>> {
        match opened {
            Opened::Nothing => {}
            Opened::Dir(open, stat) => {
                path.push(b'/');
                self.header(&described(path, EntryKind::Dir, &stat), &stat)?;
                return Ok(Some(open));
            }
            Opened::File(file, stat) => {
                if !self.again(path, &stat)? {
                    self.file(file, path, &stat)?;
                }
            }
            Opened::Link(link, stat) => {
                if !self.again(path, &stat)? {
                    let entry = Entry {
                        link: link.as_bytes(),
                        ..described(path, EntryKind::Symlink, &stat)
                    };
                    self.header(&entry, &stat)?;
                }
            }
            Opened::Node(kind, stat) => {
                let device = match kind {
                    EntryKind::Fifo => (0, 0),
                    _ => (
                        nix::sys::stat::major(stat.st_rdev),
                        nix::sys::stat::minor(stat.st_rdev),
                    ),
                };
                if !self.again(path, &stat)? {
                    let entry = Entry {
                        device,
                        ..described(path, kind, &stat)
                    };
                    self.header(&entry, &stat)?;
                }
            }
        }
        Ok(None)
    }
    /// Whether it is another name of something written already; then that is what is written.
    fn again(&mut self, path: &[u8], stat: &FileStat) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
            return Ok(false);
        };
        let link = first.clone();
        let entry = Entry {
            link: &link,
            ..described(path, EntryKind::HardLink, stat)
        };
        self.header(&entry, stat)?;
        Ok(true)
    }
    fn header(&mut self, entry: &Entry<'_>, stat: &FileStat) -> Result<()> {
        let exact = format!("{}.{:09}", stat.st_mtime.max(0), stat.st_mtime_nsec);
        let exact = [(b"mtime".to_vec(), exact.into_bytes())];
        let written = match self.exact {
            // Holes have records, too, and are told only where times are not.
            true => Entry {
                records: &exact,
                ..entry.clone()
            }
            .write(&mut self.out),
            false => entry.write(&mut self.out),
        };
        written.map_err(PackError::Out)
    }
    fn file(&mut self, mut file: File, path: &[u8], stat: &FileStat) -> Result<()> {
        let failed = fault(path);
        let said = u64::try_from(stat.st_size).unwrap_or(0);
        let capabilities =
            fs::fd_xattr(file.as_fd(), CAPABILITIES).map_err(|e| failed(e.into()))?;
        let xattrs: Vec<(Vec<u8>, Vec<u8>)> = capabilities
            .map(|value| (CAPABILITIES.to_bytes().to_vec(), value))
            .into_iter()
            .collect();
        let entry = Entry {
            xattrs: &xattrs,
            ..described(path, EntryKind::File, stat)
        };
        // Fewer blocks than bytes is what a file with holes has.
        let holes = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512)
            < said;
        if holes && self.holes == Holes::Kept && said > CHUNK as u64 {
            let pieces = pieces(&file, said).map_err(|e| failed(e.into()))?;
            if let Some(pieces) = pieces {
                return self.sparse(&file, (&entry, stat), said, &pieces);
            }
        }
        let mut got = 0;
        while got < self.buffer.len() {
            match file.read(&mut self.buffer[got..]) {
                Ok(0) => break,
                Ok(read) => got += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let fits = got < self.buffer.len();
        let size = if fits {
            got as u64
        } else {
            said.max(got as u64)
        };
        self.header(&Entry { size, ..entry }, stat)?;
        self.out
            .write_all(&self.buffer[..got])
            .map_err(PackError::Out)?;
        if !fits {
            self.piece(&file, path, got as u64, size)?;
        }
        pad(&mut self.out, size).map_err(PackError::Out)
    }
    /// Writes a file's bytes from `at` to `end`.
    fn piece(&mut self, file: &File, path: &[u8], mut at: u64, end: u64) -> Result<()> {
        while at < end {
            let most = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let read = match file.read_at(&mut self.buffer[..most], at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(fault(path))?,
            };
            if read == 0 {
                let short = io::Error::other("it became shorter while it was read");
                return Err(fault(path)(short));
            }
            self.out
                .write_all(&self.buffer[..read])
                .map_err(PackError::Out)?;
            at += read as u64;
        }
        Ok(())
    }
    /// Writes a file with holes: a map of its pieces, then these. Source: GNU tar manual, "PAX Format, Version 1.0".
    fn sparse(
        &mut self,
        file: &File,
        (entry, stat): (&Entry<'_>, &FileStat),
        size: u64,
        pieces: &[(u64, u64)],
    ) -> Result<()> {
        let mut map = format!("{}\n", pieces.len());
        for (offset, length) in pieces {
            map.push_str(&format!("{offset}\n{length}\n"));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(512), 0);
        let stored = map.len() as u64 + pieces.iter().map(|(_, length)| length).sum::<u64>();
        let records = [
            (b"GNU.sparse.major".to_vec(), b"1".to_vec()),
            (b"GNU.sparse.minor".to_vec(), b"0".to_vec()),
            (
                b"GNU.sparse.realsize".to_vec(),
                size.to_string().into_bytes(),
            ),
        ];
        let entry = Entry {
            size: stored,
            records: &records,
            ..entry.clone()
        };
        self.header(&entry, stat)?;
        self.out.write_all(&map).map_err(PackError::Out)?;
        for (offset, length) in pieces {
            self.piece(file, entry.path, *offset, offset + length)?;
        }
        pad(&mut self.out, stored).map_err(PackError::Out)
    }
}

/// Where a file has data; `None` when that can't be told in few words.
fn pieces(file: &File, size: u64) -> std::result::Result<Option<Vec<(u64, u64)>>, Errno> {
    use nix::unistd::{Whence, lseek};
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let offset = |at: u64| i64::try_from(at).map_err(|_| Errno::EOVERFLOW);
        let begin = match lseek(file, offset(at)?, Whence::SeekData) {
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => size,
            other => u64::try_from(other?).unwrap_or(0),
        };
        if begin >= size {
            break;
        }
        let end = lseek(file, offset(begin)?, Whence::SeekHole)?;
        let end = u64::try_from(end).unwrap_or(0).min(size);
        found.push((begin, end.saturating_sub(begin)));
        if found.len() > MOST_PIECES || end <= begin {
            lseek(file, 0, Whence::SeekSet)?;
            return Ok(None);
        }
        at = end;
    }
    Ok(Some(found))
}

/// Whether a name still means the same file.
fn is_still(dir: BorrowedFd<'_>, name: &OsStr, stat: &FileStat) -> bool {
    let same = |now: FileStat| {
        (now.st_dev, now.st_ino, now.st_mode) == (stat.st_dev, stat.st_ino, stat.st_mode)
    };
    fs::lstat_at(dir, name).is_ok_and(same)
}

fn described<'a>(path: &'a [u8], kind: EntryKind, stat: &FileStat) -> Entry<'a> {
    let mode = match kind {
        // A link's permissions are the same everywhere, whatever a file system says.
        EntryKind::Symlink => 0o777,
        _ => stat.st_mode & 0o7777,
    };
    Entry {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        ..Entry::new(path, kind, mode)
    }
}
