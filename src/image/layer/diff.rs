//! Makes a layer's archive from its directory: the same directory always gives the same bytes.
//!
//! In: a directory as overlay keeps it. Out: a tar stream, sorted by name, whole seconds, numbers instead of
//! names, hard links kept, overlay's whiteouts written as `.wh.` files. Sockets are left out, since archives
//! have no word for them. Never changes the directory, never follows a link.
//! Imports: `archive`, `whiteout`, `sys::fs`. Rules: OCI image spec, `layer.md`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode};

use super::whiteout;
use crate::image::archive::write::{Entry, EntryKind, end, pad};
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
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = nix::fcntl::open(path, flags, Mode::empty())?;
    let mut writer = Writer {
        out: Counting {
            inner: out,
            count: 0,
        },
        links: BTreeMap::new(),
        content: 0,
        latest,
        buffer: vec![0; 256 * 1024],
    };
    writer.tree(dir)?;
    end(&mut writer.out)?;
    writer.out.inner.flush()?;
    Ok(Measure {
        content: writer.content,
        archive: writer.out.count,
    })
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

struct Writer<W> {
    out: Counting<W>,
    /// First path of files with several names.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    content: u64,
    /// Times of files are no later.
    latest: i64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
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
    fn top(&mut self, dir: &OwnedFd) -> io::Result<()> {
        let stat = nix::sys::stat::fstat(dir)?;
        let (xattrs, opaque) = attributes(dir, OsStr::new("."))?;
        if stat.st_mode & 0o7777 != 0o755
            || (stat.st_uid, stat.st_gid) != (0, 0)
            || !xattrs.is_empty()
        {
            self.described(b"./", EntryKind::Dir, &stat, &xattrs)
                .write(&mut self.out)?;
        }
        if opaque {
            Entry::new(whiteout::OPAQUE, EntryKind::File, 0).write(&mut self.out)?;
        }
        Ok(())
    }
    /// Writes one entry; a directory is given back, open, with `path` ending in a slash.
    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &mut Vec<u8>,
        at: usize,
    ) -> io::Result<Option<OwnedFd>> {
        let stat = fs::lstat_at(dir, name)?;
        if whiteout::is_whiteout(&stat) {
            path.splice(at..at, whiteout::PREFIX.iter().copied());
            Entry::new(path, EntryKind::File, 0).write(&mut self.out)?;
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
                entry.write(&mut self.out)?;
                return Ok(None);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        match kind {
            EntryKind::Dir => return self.dir(dir, name, path, &stat).map(Some),
            EntryKind::File => self.file(dir, name, path)?,
            EntryKind::Symlink => {
                let target = nix::fcntl::readlinkat(dir, name)?;
                let (xattrs, _) = attributes(dir, name)?;
                let entry = self.described(path, kind, &stat, &xattrs);
                Entry {
                    link: target.as_bytes(),
                    ..entry
                }
                .write(&mut self.out)?;
            }
            _ => {
                let (xattrs, _) = attributes(dir, name)?;
                let device = match kind {
                    EntryKind::Fifo => (0, 0),
                    _ => (
                        nix::sys::stat::major(stat.st_rdev),
                        nix::sys::stat::minor(stat.st_rdev),
                    ),
                };
                let entry = self.described(path, kind, &stat, &xattrs);
                Entry { device, ..entry }.write(&mut self.out)?;
            }
        }
        Ok(None)
    }
    fn dir(
        &mut self,
        above: &OwnedFd,
        name: &OsStr,
        path: &mut Vec<u8>,
        stat: &FileStat,
    ) -> io::Result<OwnedFd> {
        path.push(b'/');
        let (xattrs, opaque) = attributes(above, name)?;
        self.described(path, EntryKind::Dir, stat, &xattrs)
            .write(&mut self.out)?;
        if opaque {
            let mark = [path.as_slice(), whiteout::OPAQUE].concat();
            Entry::new(&mark, EntryKind::File, 0).write(&mut self.out)?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::openat(above, name, flags, Mode::empty())?)
    }
    fn file(&mut self, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = File::from(nix::fcntl::openat(dir, name, flags, Mode::empty())?);
        let stat = nix::sys::stat::fstat(file.as_fd())?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let (xattrs, _) = attributes(dir, name)?;
        Entry {
            size,
            ..self.described(path, EntryKind::File, &stat, &xattrs)
        }
        .write(&mut self.out)?;
        self.content += size;
        let mut left = size;
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
        pad(&mut self.out, size)
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

/// The attributes that belong to the image, sorted, and whether the entry is opaque.
fn attributes(dir: &OwnedFd, name: &OsStr) -> io::Result<(Attributes, bool)> {
    let mut opaque = false;
    let mut kept = Vec::new();
    for (name, value) in fs::xattrs(&fs::entry_path(dir, name))? {
        opaque |= whiteout::is_opaque(&name, &value);
        if whiteout::keeps_attribute(name.as_bytes()) {
            kept.push((name.as_bytes().to_vec(), value));
        }
    }
    Ok((kept, opaque))
}
