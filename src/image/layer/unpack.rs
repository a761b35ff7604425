//! Unpacks a layer's archive into a directory, as overlay wants its layers.
//!
//! In: a stream nobody vouches for, and an open directory. Out: files inside that directory and nowhere else:
//! every parent is looked up by the kernel with the directory as root, every last name is created new and
//! never followed. Never reads the file system outside, never trusts a length.
//! Imports: `archive`, `whiteout`, `sys::fs`. Rules: OCI image spec, `layer.md`; where it is silent, as Docker
//! (moby `pkg/archive/diff.go`).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{LinkatFlags, UnlinkatFlags};

use super::recipe::Recorder;
use super::whiteout::{self, Meaning};
use crate::image::archive::read::{ContentError, Member, Members};
use crate::image::archive::write::EntryKind;
use crate::image::archive::{RATIO, SMALL_BOMB};
use crate::sys::fs::{self, Resolve, Root};

/// Most entries of one archive.
const MOST_ENTRIES: u64 = 20_000_000;
/// Open directories kept for the next entries.
const KEPT_DIRS: usize = 96;
/// Most remarks kept.
const MOST_NOTES: usize = 20;
/// Mode of directories that an archive implies without having them.
const IMPLIED_MODE: u32 = 0o755;

/// Bounds of what one archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// So many of them follow from the archive's own length.
    sure: u64,
}

impl Limits {
    /// Bounds for an archive that is `compressed` bytes long, if that is known.
    pub fn for_archive(compressed: Option<u64>) -> Self {
        match compressed.map(|size| size.saturating_mul(RATIO)) {
            None => Self {
                bytes: 1 << 42,
                sure: 1 << 42,
            },
            Some(sure) => Self {
                bytes: sure.max(SMALL_BOMB),
                sure,
            },
        }
    }
    /// The same where so many bytes are free: what can't be told from a bomb by its length leaves half of them.
    #[must_use]
    pub fn within(self, free: Option<u64>) -> Self {
        let most = free.map_or(u64::MAX, |free| self.sure.max(free / 2));
        Self {
            bytes: self.bytes.min(most),
            ..self
        }
    }
}

/// What came of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// What could not be made here and was left out.
    pub notes: Vec<String>,
}

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive itself is broken or hostile.
    #[error("{0}")]
    Archive(String),
    /// An entry could not be made.
    #[error("cannot unpack `{path}`: {source}")]
    Entry {
        /// The entry.
        path: String,
        /// The system's words.
        source: io::Error,
    },
}

/// Unpacks a layer's archive (not compressed) into `root`.
///
/// # Errors
/// [`UnpackError`]; what was unpacked until then stays.
pub fn unpack(archive: impl Read, root: &Root, limits: Limits) -> Result<Unpacked, UnpackError> {
    run(archive, root, limits, Names::Layer, None)
}

/// As [`unpack`], and tells `recorder`, through which the archive must be read, which of its bytes have become
/// files.
pub(super) fn unpack_recorded(
    archive: impl Read,
    root: &Root,
    limits: Limits,
    recorder: &Recorder,
) -> Result<Unpacked, UnpackError> {
    run(archive, root, limits, Names::Layer, Some(recorder))
}

/// Unpacks any other archive (not compressed) into `root`: `.wh.` names mean nothing special, and directories
/// that are there already are kept with what is in them.
///
/// # Errors
/// [`UnpackError`]; what was unpacked until then stays.
pub fn extract(archive: impl Read, root: &Root, limits: Limits) -> Result<Unpacked, UnpackError> {
    run(archive, root, limits, Names::Plain, None)
}

/// Whether `.wh.` names are whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Layer,
    Plain,
}

fn run(
    archive: impl Read,
    root: &Root,
    limits: Limits,
    names: Names,
    recorder: Option<&Recorder>,
) -> Result<Unpacked, UnpackError> {
    let mut members = Members::new(archive);
    let mut unpacker = Unpacker {
        root,
        dirs: BTreeMap::new(),
        limits,
        names,
        recorder,
        me: (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        ),
        links_kept: false,
        done: Unpacked::default(),
        buffer: vec![0; 256 * 1024],
    };
    loop {
        let member = members
            .next_member()
            .map_err(|e| UnpackError::Archive(e.to_string()))?;
        let Some(member) = member else { break };
        unpacker.member(&member, &mut members).map_err(|source| {
            let path = String::from_utf8_lossy(&member.path).into_owned();
            match source.kind() {
                io::ErrorKind::InvalidData => UnpackError::Archive(format!("`{path}`: {source}")),
                _ => UnpackError::Entry { path, source },
            }
        })?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: &'a Root,
    /// Open directories by cleaned path.
    dirs: BTreeMap<PathBuf, Rc<Dir>>,
    limits: Limits,
    names: Names,
    recorder: Option<&'a Recorder>,
    /// The process's user and group.
    me: (u32, u32),
    /// Whether there is a directory of AUFS's hard links, which is no part of the image.
    links_kept: bool,
    done: Unpacked,
    buffer: Vec<u8>,
}

/// An open directory, which gets its own time back when it is closed: what is made in it changes that. So
/// nothing has to be remembered of directories that are not open, however many there are.
struct Dir {
    open: OwnedFd,
    id: (u64, u64),
    mtime: Cell<(i64, u32)>,
    group: Cell<u32>,
    /// The number of the entry that was made in it last.
    used: Cell<u64>,
}

impl Dir {
    fn new(open: OwnedFd) -> io::Result<Self> {
        let stat = nix::sys::stat::fstat(&open)?;
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(Self {
            id: (stat.st_dev, stat.st_ino),
            mtime: Cell::new((stat.st_mtime, nanos)),
            group: Cell::new(stat.st_gid),
            used: Cell::new(0),
            open,
        })
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let time = spec(self.mtime.get());
        // Of an own open directory this fails on no file system that takes layers.
        let _ = nix::sys::stat::futimens(&self.open, &time, &time);
    }
}

fn hostile(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// The path inside the root, worked out by text; an error when it would leave.
fn inside(raw: &[u8]) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => {
                return Err(hostile("the name leads out of the image"));
            }
            _ => {}
        }
    }
    Ok(path)
}

impl Unpacker<'_> {
    fn member<R: Read>(&mut self, member: &Member, members: &mut Members<R>) -> io::Result<()> {
        self.done.entries += 1;
        self.done.bytes = self.done.bytes.saturating_add(member.size);
        if self.done.entries > MOST_ENTRIES {
            return Err(hostile("the archive has too many entries"));
        }
        if self.done.bytes > self.limits.bytes {
            return Err(hostile("the archive unpacks to far more than its own size"));
        }
        let path = inside(&member.path)?;
        let Some(name) = path.file_name() else {
            return self.top(member);
        };
        if self.names == Names::Layer && whiteout::is_internal(&path) {
            // Hard links name the files among them.
            if member.kind != EntryKind::File || !path.starts_with(whiteout::AUFS_LINKS) {
                return Ok(());
            }
            self.links_kept = true;
            self.lost();
        }
        let parent_path = path.parent().unwrap_or(Path::new(""));
        let folder = self.parent(parent_path)?;
        let parent = &folder.open;
        match whiteout::meaning(name.as_bytes()) {
            _ if self.names == Names::Plain => {}
            Meaning::Plain => {}
            Meaning::Opaque => return Ok(whiteout::mark_opaque(parent)?),
            Meaning::Reserved => return Ok(()),
            Meaning::Hostile => return Err(hostile("a whiteout of no possible name")),
            Meaning::Whiteout(hidden) => return self.whiteout(parent, OsStr::from_bytes(hidden)),
        }
        match member.kind {
            EntryKind::Dir => return self.dir(&path, parent, name, member),
            EntryKind::File => {
                let file = self.file(parent, name, member)?;
                self.content(&path, &file, member, members)?;
                return finish_file(&file, parent, name, member);
            }
            EntryKind::HardLink => return self.hard_link(&path, parent, name, member),
            EntryKind::Symlink => {
                let link = OsStr::from_bytes(&member.link);
                self.replacing(parent, name, || nix::unistd::symlinkat(link, parent, name))?;
            }
            EntryKind::Char if member.device == (0, 0) => return self.whiteout(parent, name),
            EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                if !self.node(parent, name, member)? {
                    return Ok(());
                }
            }
        }
        finish_node(self.new_owner(&folder), parent, name, member)
    }
    /// Who owns what is made in a directory, if that is known: which group it gets, the process's or the directory's,
    /// depends on the directory's mode and on how the file system is mounted. Source: open(2), `O_CREAT`.
    fn new_owner(&self, folder: &Dir) -> Option<(u32, u32)> {
        (folder.group.get() == self.me.1).then_some(self.me)
    }
    /// The archive's own top directory: its metadata only.
    fn top(&mut self, member: &Member) -> io::Result<()> {
        if member.kind != EntryKind::Dir {
            return Err(hostile("an entry without a name"));
        }
        let dir = self.parent(Path::new(""))?;
        own_dir(&dir.open, member)?;
        dir.mtime.set(member.mtime);
        dir.group.set(member.gid);
        Ok(())
    }
    /// The open directory at a path, made with its parents when missing.
    fn parent(&mut self, path: &Path) -> io::Result<Rc<Dir>> {
        if let Some(open) = self.dirs.get(path) {
            open.used.set(self.done.entries);
            return Ok(Rc::clone(open));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match self.root.open_at(path, flags, 0) {
            Ok(open) => self.keep(path, open),
            Err(Errno::ENOENT | Errno::ENOTDIR) if !path.as_os_str().is_empty() => {
                let above = self.parent(path.parent().unwrap_or(Path::new("")))?;
                let name = path.file_name().unwrap_or_default();
                self.implied_dir(&above.open, name)?;
                let open = fs::openat2(&above.open, Path::new(name), flags, 0, Resolve::NoLinks)?;
                let made = self.keep(path, open)?;
                // No entry has said its time.
                made.mtime.set((0, 0));
                Ok(made)
            }
            Err(errno) => Err(errno.into()),
        }
    }
    fn keep(&mut self, path: &Path, open: OwnedFd) -> io::Result<Rc<Dir>> {
        if self.dirs.len() >= KEPT_DIRS {
            self.close_one();
        }
        let new = Dir::new(open)?;
        // Links lead to one directory by several paths; only one may know its time.
        let known = self.dirs.values().find(|dir| dir.id == new.id).cloned();
        let dir = match known {
            Some(known) => {
                new.mtime.set(known.mtime.get());
                known
            }
            None => Rc::new(new),
        };
        dir.used.set(self.done.entries);
        self.dirs.insert(path.to_owned(), Rc::clone(&dir));
        Ok(dir)
    }
    /// Closes the directory in which nothing was made for the longest time.
    fn close_one(&mut self) {
        let oldest = self.dirs.iter().min_by_key(|(_, dir)| dir.used.get());
        if let Some(path) = oldest.map(|(path, _)| path.clone()) {
            self.dirs.remove(&path);
        }
    }
    /// Makes a directory that an entry implies. A whiteout in its place means that what lies below
    /// stays hidden.
    fn implied_dir(&self, above: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(IMPLIED_MODE);
        match nix::sys::stat::mkdirat(above, name, mode) {
            Err(Errno::EEXIST) if whiteout::is_whiteout(&fs::lstat_at(above, name)?) => {
                nix::unistd::unlinkat(above, name, UnlinkatFlags::NoRemoveDir)?;
                nix::sys::stat::mkdirat(above, name, mode)?;
                let made =
                    fs::openat2(above, Path::new(name), OFlag::O_RDONLY, 0, Resolve::NoLinks)?;
                whiteout::mark_opaque(&made)?;
            }
            Err(Errno::EEXIST) => return Err(hostile("a file lies where its directory should be")),
            other => other?,
        }
        Ok(nix::sys::stat::fchmodat(
            above,
            name,
            mode,
            FchmodatFlags::FollowSymlink,
        )?)
    }
    /// Deletes a name of the layers below. What this layer has itself by that name stays.
    fn whiteout(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match whiteout::make(parent, name) {
            Err(Errno::EEXIST) => {
                if fs::is_kind(&fs::lstat_at(parent, name)?, libc::S_IFDIR) {
                    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
                    let dir = fs::openat2(parent, Path::new(name), flags, 0, Resolve::NoLinks)?;
                    whiteout::mark_opaque(&dir)?;
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }
    /// Makes something new, in the place of whatever has its name.
    fn replacing<T>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        make: impl Fn() -> Result<T, Errno>,
    ) -> io::Result<T> {
        match make() {
            Err(Errno::EEXIST) => {
                self.remove(parent, name)?;
                Ok(make()?)
            }
            other => Ok(other?),
        }
    }
    fn lost(&self) {
        if let Some(recorder) = self.recorder {
            recorder.lost();
        }
    }
    fn remove(&mut self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.lost();
        // Kept directories may be what is removed, or lie below it.
        self.dirs.clear();
        match nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => fs::remove_tree(&fs::entry_path(parent, name)),
            other => Ok(other?),
        }
    }
    fn dir(
        &mut self,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        member: &Member,
    ) -> io::Result<()> {
        let make = || nix::sys::stat::mkdirat(parent, name, Mode::from_bits_truncate(0o700));
        match make() {
            Err(Errno::EEXIST) => {
                let there = fs::lstat_at(parent, name)?;
                if !fs::is_kind(&there, libc::S_IFDIR) {
                    self.remove(parent, name)?;
                    make()?;
                    if whiteout::is_whiteout(&there) {
                        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
                        let made =
                            fs::openat2(parent, Path::new(name), flags, 0, Resolve::NoLinks)?;
                        whiteout::mark_opaque(&made)?;
                    }
                }
            }
            other => other?,
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let open = fs::openat2(parent, Path::new(name), flags, 0, Resolve::NoLinks)?;
        own_dir(&open, member)?;
        let kept = self.keep(path, open)?;
        kept.mtime.set(member.mtime);
        kept.group.set(member.gid);
        Ok(())
    }
    fn file(&mut self, parent: &OwnedFd, name: &OsStr, member: &Member) -> io::Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Most get the bits they need at once. Others have rights that are only for who gets the file in the end.
        let plain = member.mode & !0o777 == 0;
        let mode = Mode::from_bits_truncate(if plain { member.mode } else { 0o600 });
        self.replacing(parent, name, || {
            nix::fcntl::openat(parent, name, flags, mode)
        })
        .map(File::from)
    }
    fn content<R: Read>(
        &mut self,
        path: &Path,
        file: &File,
        member: &Member,
        members: &mut Members<R>,
    ) -> io::Result<()> {
        if let Some(recorder) = self.recorder {
            recorder.file(path, member)?;
        }
        let written = members.write_content(member, file, &mut self.buffer);
        if let Some(recorder) = self.recorder {
            recorder.file_ends();
        }
        written.map_err(|error| match error {
            ContentError::Archive(error) => hostile(&error.to_string()),
            ContentError::Machine(error) => error,
        })
    }
    fn hard_link(
        &mut self,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        member: &Member,
    ) -> io::Result<()> {
        let target = inside(&member.link)?;
        if target == path {
            return Ok(());
        }
        let leaf: OsString = target
            .file_name()
            .ok_or_else(|| hostile("a hard link to the image's root"))?
            .to_owned();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let from = self
            .root
            .open_at(target.parent().unwrap_or(Path::new("")), flags, 0);
        let missing = |errno: Errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR => hostile(&format!(
                "a hard link to `{}`, which is not in this layer",
                String::from_utf8_lossy(&member.link)
            )),
            errno => errno.into(),
        };
        let from = from.map_err(missing)?;
        let target = fs::lstat_at(&from, &leaf).map_err(missing)?;
        if fs::is_kind(&target, libc::S_IFDIR) {
            return Err(hostile("a hard link to a directory"));
        }
        if whiteout::is_whiteout(&target) {
            return Err(missing(Errno::ENOENT));
        }
        // Two names of one file already; taking one away first could take the last.
        let same = |there: nix::sys::stat::FileStat| {
            (there.st_dev, there.st_ino) == (target.st_dev, target.st_ino)
        };
        if fs::lstat_at(parent, name).is_ok_and(same) {
            return Ok(());
        }
        let link =
            || nix::unistd::linkat(&from, leaf.as_os_str(), parent, name, LinkatFlags::empty());
        self.replacing(parent, name, link)
    }
    /// Makes a device or FIFO; `false` when that is not permitted here and was left out.
    fn node(&mut self, parent: &OwnedFd, name: &OsStr, member: &Member) -> io::Result<bool> {
        let kind = match member.kind {
            EntryKind::Char => SFlag::S_IFCHR,
            EntryKind::Block => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        let device = nix::sys::stat::makedev(member.device.0, member.device.1);
        let make =
            || nix::sys::stat::mknodat(parent, name, kind, Mode::from_bits_truncate(0o600), device);
        match self.replacing(parent, name, make) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && kind != SFlag::S_IFIFO => {
                if self.done.notes.len() < MOST_NOTES {
                    let path = String::from_utf8_lossy(&member.path);
                    self.done
                        .notes
                        .push(format!("device `{path}` was left out: not permitted here"));
                }
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }
    fn finish(mut self) -> Result<Unpacked, UnpackError> {
        if self.links_kept {
            let remove = |all: &mut Self| -> io::Result<()> {
                let top = all.parent(Path::new(""))?;
                all.dirs.clear();
                fs::remove_tree(&fs::entry_path(&top.open, OsStr::new(whiteout::AUFS_LINKS)))
            };
            remove(&mut self).map_err(|source| UnpackError::Entry {
                path: whiteout::AUFS_LINKS.to_owned(),
                source,
            })?;
        }
        self.dirs.clear();
        Ok(self.done)
    }
}

fn spec((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, nanos.into())
}

fn times_at(dir: &OwnedFd, name: &OsStr, mtime: (i64, u32)) -> Result<(), Errno> {
    let time = spec(mtime);
    nix::sys::stat::utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

fn own_dir(dir: &OwnedFd, member: &Member) -> io::Result<()> {
    nix::unistd::fchown(dir, Some(member.uid.into()), Some(member.gid.into()))?;
    nix::sys::stat::fchmod(dir, Mode::from_bits_truncate(member.mode))?;
    attributes(dir, OsStr::new("."), member)
}

/// Owner before mode, since a change of owner clears the set-id bits, and capabilities after it, since it
/// clears them too. Source: chown(2), capabilities(7).
fn finish_file(file: &File, parent: &OwnedFd, name: &OsStr, member: &Member) -> io::Result<()> {
    // To look costs much less than to write what is right already.
    let made = nix::sys::stat::fstat(file)?;
    if (made.st_uid, made.st_gid) != (member.uid, member.gid) {
        nix::unistd::fchown(file, Some(member.uid.into()), Some(member.gid.into()))?;
    }
    if made.st_mode & 0o7777 != member.mode {
        nix::sys::stat::fchmod(file, Mode::from_bits_truncate(member.mode))?;
    }
    attributes(parent, name, member)?;
    let time = spec(member.mtime);
    Ok(nix::sys::stat::futimens(file, &time, &time)?)
}

fn finish_node(
    new: Option<(u32, u32)>,
    parent: &OwnedFd,
    name: &OsStr,
    member: &Member,
) -> io::Result<()> {
    if new != Some((member.uid, member.gid)) {
        let owner = (Some(member.uid.into()), Some(member.gid.into()));
        nix::unistd::fchownat(parent, name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    if member.kind != EntryKind::Symlink {
        // Just made here by mknod, so it is no link.
        let mode = Mode::from_bits_truncate(member.mode);
        nix::sys::stat::fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    attributes(parent, name, member)?;
    Ok(times_at(parent, name, member.mtime)?)
}

fn attributes(parent: &OwnedFd, name: &OsStr, member: &Member) -> io::Result<()> {
    if member.xattrs.is_empty() {
        return Ok(());
    }
    let path = fs::entry_path(parent, name);
    for (name, value) in &member.xattrs {
        if !whiteout::keeps_attribute(name) {
            continue;
        }
        match fs::set_xattr(&path, OsStr::from_bytes(name), value) {
            // The file system has none, or links and devices may have no user attributes: as Docker.
            Err(Errno::EOPNOTSUPP | Errno::EPERM) => {}
            other => other?,
        }
    }
    Ok(())
}
