//! Makes a layer's archive from its directory: the same directory always gives the same bytes.
//!
//! In: a directory as overlay keeps it. Out: a tar stream, sorted by name, whole seconds, numbers instead of
//! names, hard links kept, overlay's whiteouts written as `.wh.` files. Sockets are left out, since archives
//! have no word for them. Never changes the directory, never follows a link.
//! Imports: `archive`, `digest`, `whiteout`, `sys::fs`. Rules: OCI image spec, `layer.md`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode};

use super::early::Grown;
use super::whiteout;
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::image::digest::{Digest, Hasher};
use crate::image::listing::level;
use crate::sys::fs;

/// What a layer's directory holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of file content, each file counted once.
    pub content: u64,
    /// Bytes of the archive.
    pub archive: u64,
}

/// Writes the archive of the directory at `path`.
///
/// # Errors
/// The system's and the writer's, with the path of the entry in the text.
pub fn write(path: &Path, out: impl Write) -> io::Result<Measure> {
    write_until(path, i64::MAX, out)
}

/// As [`write`], but no time is later than `latest`, in seconds since 1970.
///
/// # Errors
/// As [`write`].
pub fn write_until(path: &Path, latest: i64, out: impl Write) -> io::Result<Measure> {
    let mut writer = Writer::new(out, latest, Reads::Everything);
    writer.tree(open(path)?)?;
    writer.end()
}

/// The digest of all that is known of the directory's entries without opening them: names, kinds, modes, owners,
/// lengths, times, links.
///
/// # Errors
/// As [`write`].
pub(super) fn outline(path: &Path) -> io::Result<Digest> {
    let mut writer = Writer::new(io::sink(), i64::MAX, Reads::Outline);
    writer.tree(open(path)?)?;
    Ok(writer.outline.finish())
}

pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// What of a directory is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// All that the archive holds.
    Everything,
    /// That too, and the outline is noted.
    Both,
    /// What the outline holds; no archive is written.
    Outline,
}

struct Counting<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes entries, one after the other; their order is the caller's.
pub(super) struct Writer<W> {
    out: Counting<W>,
    /// First path of files with several names.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    content: u64,
    /// Times of files are no later.
    latest: i64,
    buffer: Vec<u8>,
    reads: Reads,
    outline: Hasher,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, latest: i64, reads: Reads) -> Self {
        Self {
            out: Counting {
                inner: out,
                count: 0,
            },
            links: BTreeMap::new(),
            content: 0,
            latest,
            buffer: vec![0; 256 * 1024],
            reads,
            outline: Hasher::default(),
        }
    }
    /// Ends the archive.
    pub(super) fn end(&mut self) -> io::Result<Measure> {
        end(&mut self.out)?;
        self.out.inner.flush()?;
        Ok(Measure {
            content: self.content,
            archive: self.out.count,
        })
    }
    /// What was written to, and the outline of what was written.
    pub(super) fn into_parts(self) -> (W, Digest) {
        (self.out.inner, self.outline.finish())
    }
    /// Writes the header of an entry.
    fn put(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if self.reads != Reads::Everything {
            let outline = &mut self.outline;
            outline.update(entry.path);
            outline.update(b"\0");
            outline.update(entry.link);
            outline.update(&[0, entry.kind as u8]);
            let numbers = [entry.mode, entry.uid, entry.gid];
            let longer = [entry.size, entry.device.0, entry.device.1];
            numbers
                .iter()
                .for_each(|n| outline.update(&n.to_be_bytes()));
            longer.iter().for_each(|n| outline.update(&n.to_be_bytes()));
            outline.update(&entry.mtime.to_be_bytes());
        }
        match self.reads {
            Reads::Outline => Ok(()),
            Reads::Everything | Reads::Both => entry.write(&mut self.out),
        }
    }
    /// The attributes that belong to the image, and whether the entry is opaque: neither is of the outline.
    fn attributes(&self, dir: &OwnedFd, name: &OsStr) -> io::Result<(Attributes, bool)> {
        match self.reads {
            Reads::Outline => Ok((Attributes::new(), false)),
            Reads::Everything | Reads::Both => Ok(sorted(fs::xattrs(&fs::entry_path(dir, name))?)),
        }
    }
    fn tree(&mut self, top: OwnedFd) -> io::Result<()> {
        self.top(&top)?;
        let mut path = Vec::new();
        let mut levels = vec![level(top, 0)?];
        while let Some(here) = levels.last_mut() {
            let Some(name) = here.names.pop() else {
                levels.pop();
                continue;
            };
            path.truncate(here.prefix);
            let at = path.len();
            path.extend_from_slice(name.as_bytes());
            let below = self
                .entry(&here.dir, &name, &mut path, at)
                .map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("{}: {error}", String::from_utf8_lossy(&path)),
                    )
                })?;
            if let Some(dir) = below {
                levels.push(level(dir, path.len())?);
            }
        }
        Ok(())
    }
    /// The top directory is written only when it differs from the one every layer starts with.
    pub(super) fn top(&mut self, dir: &OwnedFd) -> io::Result<()> {
        let stat = nix::sys::stat::fstat(dir)?;
        let (xattrs, opaque) = self.attributes(dir, OsStr::new("."))?;
        if stat.st_mode & 0o7777 != 0o755
            || (stat.st_uid, stat.st_gid) != (0, 0)
            || !xattrs.is_empty()
        {
            let entry = self.described(b"./", EntryKind::Dir, &stat, &xattrs);
            self.put(&entry)?;
        }
        if opaque {
            Entry::new(whiteout::OPAQUE, EntryKind::File, 0).write(&mut self.out)?;
        }
        Ok(())
    }
    /// Writes one entry; a directory is given back, open, with `path` ending in a slash.
    pub(super) fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &mut Vec<u8>,
        at: usize,
    ) -> io::Result<Option<OwnedFd>> {
        let stat = fs::lstat_at(dir, name)?;
        if whiteout::is_whiteout(&stat) {
            path.splice(at..at, whiteout::PREFIX.iter().copied());
            self.put(&Entry::new(path, EntryKind::File, 0))?;
            return Ok(None);
        }
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => EntryKind::File,
            libc::S_IFDIR => EntryKind::Dir,
            libc::S_IFLNK => EntryKind::Symlink,
            libc::S_IFCHR => EntryKind::Char,
            libc::S_IFBLK => EntryKind::Block,
            libc::S_IFIFO => EntryKind::Fifo,
            _ => return Ok(None),
        };
        if kind != EntryKind::Dir && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let link = first.clone();
                let entry = Entry {
                    link: &link,
                    ..self.described(path, EntryKind::HardLink, &stat, &[])
                };
                self.put(&entry)?;
                return Ok(None);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        match kind {
            EntryKind::Dir => return self.dir(dir, name, path, &stat).map(Some),
            EntryKind::File if self.reads == Reads::Outline => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let entry = self.described(path, kind, &stat, &[]);
                self.put(&Entry { size, ..entry })?;
            }
            EntryKind::File => self.file(dir, name, path)?,
            EntryKind::Symlink => {
                let target = nix::fcntl::readlinkat(dir, name)?;
                let (xattrs, _) = self.attributes(dir, name)?;
                let entry = self.described(path, kind, &stat, &xattrs);
                self.put(&Entry {
                    link: target.as_bytes(),
                    ..entry
                })?;
            }
            _ => {
                let (xattrs, _) = self.attributes(dir, name)?;
                let device = match kind {
                    EntryKind::Fifo => (0, 0),
                    _ => (
                        nix::sys::stat::major(stat.st_rdev),
                        nix::sys::stat::minor(stat.st_rdev),
                    ),
                };
                let entry = self.described(path, kind, &stat, &xattrs);
                self.put(&Entry { device, ..entry })?;
            }
        }
        Ok(None)
    }
    /// Writes a directory with the metadata that are given, and gives it open; `path` gets a slash at its end.
    pub(super) fn dir(
        &mut self,
        above: &OwnedFd,
        name: &OsStr,
        path: &mut Vec<u8>,
        stat: &FileStat,
    ) -> io::Result<OwnedFd> {
        path.push(b'/');
        let (xattrs, opaque) = self.attributes(above, name)?;
        let entry = self.described(path, EntryKind::Dir, stat, &xattrs);
        self.put(&entry)?;
        if opaque {
            let mark = [path.as_slice(), whiteout::OPAQUE].concat();
            Entry::new(&mark, EntryKind::File, 0).write(&mut self.out)?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::openat(above, name, flags, Mode::empty())?)
    }
    /// Keeps the path of a file that was written, so that a name that it gets later is a hard link.
    pub(super) fn remember(&mut self, stat: &FileStat, path: &[u8]) {
        let id = (stat.st_dev, stat.st_ino);
        self.links.entry(id).or_insert_with(|| path.to_vec());
    }
    fn file(&mut self, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = File::from(nix::fcntl::openat(dir, name, flags, Mode::empty())?);
        let stat = nix::sys::stat::fstat(file.as_fd())?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let (xattrs, _) = sorted(fs::fd_xattrs(&file)?);
        let entry = self.described(path, EntryKind::File, &stat, &xattrs);
        self.put(&Entry { size, ..entry })?;
        self.pass(&mut file, size)?;
        pad(&mut self.out, size)
    }
    /// Writes a file that was read before, and has one name and no attributes.
    pub(super) fn handed(
        &mut self,
        path: &[u8],
        stat: &FileStat,
        content: &[u8],
    ) -> io::Result<()> {
        let size = content.len() as u64;
        let entry = self.described(path, EntryKind::File, stat, &[]);
        self.put(&Entry { size, ..entry })?;
        self.content += size;
        self.out.write_all(content)?;
        pad(&mut self.out, size)
    }
    /// Writes a file that is still being written and has no attributes, with the metadata that it will have. `pieces`
    /// gives how much of it is there, or what.
    pub(super) fn growing(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        stat: &FileStat,
        pieces: impl Iterator<Item = Grown>,
    ) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = File::from(nix::fcntl::openat(dir, name, flags, Mode::empty())?);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let entry = self.described(path, EntryKind::File, stat, &[]);
        self.put(&Entry { size, ..entry })?;
        let mut done = 0;
        for piece in pieces {
            match piece {
                Grown::Length(length) => {
                    file.seek(io::SeekFrom::Start(done))?;
                    self.pass(&mut file, length.saturating_sub(done))?;
                    done = done.max(length);
                }
                Grown::Bytes(content) => {
                    let bytes = content.bytes();
                    self.content += bytes.len() as u64;
                    self.out.write_all(bytes)?;
                    done += bytes.len() as u64;
                }
            }
        }
        if done != size {
            return Err(io::Error::other("it is of another length than was told"));
        }
        pad(&mut self.out, size)
    }
    /// Writes the next bytes of a file.
    fn pass(&mut self, file: &mut File, length: u64) -> io::Result<()> {
        self.content += length;
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let read = file.read(&mut self.buffer[..most])?;
            if read == 0 {
                return Err(io::Error::other("it became shorter while it was read"));
            }
            self.out.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        Ok(())
    }
    fn described<'a>(
        &self,
        path: &'a [u8],
        kind: EntryKind,
        stat: &FileStat,
        xattrs: &'a [(Vec<u8>, Vec<u8>)],
    ) -> Entry<'a> {
        Entry {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime.min(self.latest),
            xattrs,
            // A link's permissions are the same everywhere, whatever a file system says.
            ..Entry::new(
                path,
                kind,
                if kind == EntryKind::Symlink {
                    0o777
                } else {
                    stat.st_mode & 0o7777
                },
            )
        }
    }
}

type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes that belong to the image, sorted, and whether they say that the entry is opaque.
fn sorted(all: Vec<(OsString, Vec<u8>)>) -> (Attributes, bool) {
    let mut opaque = false;
    let mut kept = Vec::new();
    for (name, value) in all {
        opaque |= whiteout::is_opaque(&name, &value);
        if whiteout::keeps_attribute(name.as_bytes()) {
            kept.push((name.as_bytes().to_vec(), value));
        }
    }
    (kept, opaque)
}
