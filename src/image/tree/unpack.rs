//! Makes the files of an archive below a directory, as `docker cp` does.
//!
//! In: a stream nobody vouches for and an open directory. Out: files inside that directory and nowhere else. What is
//! there is replaced, but never a directory by something else or the other way round. Every last name is made new
//! and never followed; a file whose content does not arrive is taken away again.
//! Imports: `swap`, `archive`, `sys::fs`. Rules: moby `pkg/archive/archive.go`, `Unpack` with `NoOverwriteDirNonDir`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{LinkatFlags, UnlinkatFlags};

use super::swap::Swap;
use crate::image::archive::read::{ContentError, Member, Members};
use crate::image::archive::write::EntryKind;
use crate::image::layer::keeps_attribute;
use crate::sys::fs::{self, Resolve, Root, is_kind, openat2};

/// Mode of directories that an archive implies without having them.
const IMPLIED_MODE: u32 = 0o755;
/// So often another writer of the same file may be faster.
const RACES: u32 = 8;

/// What links on the way to an entry mean. The last name is never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// An error: every directory comes from the archive itself.
    Refused,
    /// They are followed as if the directory were the root.
    Inside,
}

/// Who owns what is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Whom the archive names.
    AsArchived,
    /// One user and group.
    Fixed(u32, u32),
    /// Whoever makes it.
    Caller,
}

/// Where and how files are made.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The directory.
    pub top: &'a Root,
    /// What links on the way mean.
    pub links: Links,
    /// Who owns what is made.
    pub owner: Owner,
    /// Whether a file takes the place of what is there only when it is whole, under another name until then, and how;
    /// and whether directories that are missing on the way are owned as the files are.
    pub at_once: Option<&'a Swap>,
}

/// Why an archive could not be unpacked. What was made until then stays.
#[derive(Debug, thiserror::Error)]
pub enum UnpackFault {
    /// The archive itself is broken or hostile.
    #[error("{0}")]
    Archive(String),
    /// A file would replace a directory.
    #[error("cannot overwrite directory \"{path}\" with non-directory")]
    FileOverDirectory {
        /// Its path below the target.
        path: String,
    },
    /// A directory would replace a file.
    #[error("cannot overwrite non-directory \"{path}\" with directory")]
    DirectoryOverFile {
        /// Its path below the target.
        path: String,
    },
    /// An entry could not be made.
    #[error("{path}: {source}")]
    Entry {
        /// Its path below the target.
        path: String,
        /// The system's words.
        source: io::Error,
    },
}

impl UnpackFault {
    /// With paths that begin with the target's own.
    #[must_use]
    pub fn below(self, top: &Path) -> Self {
        let whole = |path: String| {
            let path = path.trim_start_matches('/');
            top.join(path).display().to_string()
        };
        match self {
            Self::Archive(text) => Self::Archive(text),
            Self::FileOverDirectory { path } => Self::FileOverDirectory { path: whole(path) },
            Self::DirectoryOverFile { path } => Self::DirectoryOverFile { path: whole(path) },
            Self::Entry { path, source } => Self::Entry {
                path: whole(path),
                source,
            },
        }
    }
}

type Result<T> = std::result::Result<T, UnpackFault>;

/// Unpacks an archive that is not compressed. An empty stream is an empty archive.
///
/// # Errors
/// [`UnpackFault`].
pub fn read(archive: impl Read, target: Target<'_>) -> Result<()> {
    let mut members = Members::new(archive);
    let mut unpacker = Unpacker {
        target,
        last: None,
        times: Vec::new(),
        buffer: vec![0; 256 * 1024],
    };
    let broken = |error: io::Error| UnpackFault::Archive(error.to_string());
    while let Some(member) = members.next_member().map_err(broken)? {
        unpacker.member(&member, &mut members)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    target: Target<'a>,
    /// The directory of the last entry, by its path.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Modification times of directories, set last.
    times: Vec<(PathBuf, (i64, u32))>,
    buffer: Vec<u8>,
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The path below the target, worked out by text; an error when it would leave. A leading slash means nothing.
fn inside(raw: &[u8], what: &str) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => {
                let text = format!("invalid {what} \"{}\": it leads out", shown(raw));
                return Err(UnpackFault::Archive(text));
            }
            _ => {}
        }
    }
    Ok(path)
}

/// Why one entry was not made.
enum Fault {
    System(io::Error),
    Whole(UnpackFault),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}
impl From<UnpackFault> for Fault {
    fn from(fault: UnpackFault) -> Self {
        Self::Whole(fault)
    }
}

type Made<T> = std::result::Result<T, Fault>;

impl Unpacker<'_> {
    fn member<R: Read>(&mut self, member: &Member, members: &mut Members<R>) -> Result<()> {
        self.make(member, members).map_err(|fault| match fault {
            Fault::Whole(fault) => fault,
            Fault::System(source) => UnpackFault::Entry {
                path: shown(&member.path),
                source,
            },
        })
    }
    fn make<R: Read>(&mut self, member: &Member, members: &mut Members<R>) -> Made<()> {
        let path = inside(&member.path, "entry name")?;
        let Some(name) = path.file_name() else {
            // The directory itself: it is the user's, and stays as it is.
            return Ok(());
        };
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        let there = match fs::lstat_at(&*parent, name) {
            Ok(there) => Some(there),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        if member.kind == EntryKind::Dir {
            return self.dir(&path, &parent, name, there.as_ref(), member);
        }
        if there.is_some_and(|there| is_kind(&there, libc::S_IFDIR)) {
            let path = path.display().to_string();
            return Err(UnpackFault::FileOverDirectory { path }.into());
        }
        if member.kind == EntryKind::HardLink {
            return self.hard_link(&parent, name, there.as_ref(), member);
        }
        let Some(swap) = self.target.at_once else {
            if there.is_some() {
                remove(&parent, name)?;
            }
            return self.fill(&parent, name, member, members);
        };
        let beside = beside(name);
        let mut filled = self.fill(&parent, &beside, member, members);
        if matches!(&filled, Err(Fault::System(error)) if error.kind() == io::ErrorKind::AlreadyExists)
        {
            // Left by one that was killed. Nothing of the content was read.
            remove(&parent, &beside)?;
            filled = self.fill(&parent, &beside, member, members);
        }
        let placed = filled.and_then(|()| {
            let names = (beside.as_os_str(), name);
            Ok(swap.place(&parent, names, there.as_ref())?)
        });
        if placed.is_err() {
            // The failure itself is told.
            let _ = remove(&parent, &beside);
        }
        placed
    }
    /// Makes anything but a directory or a hard link under a name that is free.
    fn fill<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        member: &Member,
        members: &mut Members<R>,
    ) -> Made<()> {
        match member.kind {
            EntryKind::Symlink => {
                nix::unistd::symlinkat(OsStr::from_bytes(&member.link), parent, name)?;
                self.finish_node(parent, name, member)
            }
            EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                node(parent, name, member)?;
                self.finish_node(parent, name, member)
            }
            _ => self.file(parent, name, member, members),
        }
    }
    /// The open directory at a path, made with its parents, as root's, when missing.
    fn directory(&mut self, path: &Path) -> Made<Rc<OwnedFd>> {
        if let Some((known, open)) = &self.last
            && known == path
        {
            return Ok(Rc::clone(open));
        }
        let resolve = match self.target.links {
            Links::Refused => Resolve::NoLinks,
            Links::Inside => Resolve::InRoot,
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        let open = match openat2(self.target.top, path, flags, 0, resolve) {
            Err(Errno::ENOENT) if self.target.links == Links::Inside => {
                let owner = match self.target.owner {
                    Owner::Caller => None,
                    Owner::Fixed(uid, gid) if self.target.at_once.is_some() => Some((uid, gid)),
                    _ => Some((0, 0)),
                };
                self.target.top.mkdir_all(path, IMPLIED_MODE, owner)?
            }
            other => other?,
        };
        let open = Rc::new(open);
        self.last = Some((path.to_owned(), Rc::clone(&open)));
        Ok(open)
    }
    fn dir(
        &mut self,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        there: Option<&FileStat>,
        member: &Member,
    ) -> Made<()> {
        match there {
            None => nix::sys::stat::mkdirat(parent, name, Mode::S_IRWXU)?,
            Some(there) if is_kind(there, libc::S_IFDIR) => {}
            Some(_) => {
                let path = path.display().to_string();
                return Err(UnpackFault::DirectoryOverFile { path }.into());
            }
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let open = openat2(parent, Path::new(name), flags, 0, Resolve::NoLinks)?;
        self.own(open.as_fd(), member)?;
        self.times.push((path.to_owned(), member.mtime));
        self.last = Some((path.to_owned(), Rc::new(open)));
        Ok(())
    }
    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        member: &Member,
        members: &mut Members<R>,
    ) -> Made<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let create = || nix::fcntl::openat(parent, name, flags, mode);
        let mut made = create();
        for _ in 0..RACES {
            if !matches!(made, Err(Errno::EEXIST)) {
                break;
            }
            // Who writes to the same place, as a copy into a volume of several containers does, was faster.
            match nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => made = create(),
                Err(errno) => return Err(errno.into()),
            }
        }
        let file = File::from(made?);
        let filled = self.content(&file, member, members).and_then(|()| {
            self.own(file.as_fd(), member)?;
            let time = spec(member.mtime);
            Ok(nix::sys::stat::futimens(&file, &time, &time)?)
        });
        if filled.is_err() {
            // Half a file is worse than none. If it can't be removed, the failure itself is still told.
            let _ = nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
        }
        filled
    }
    fn content<R: Read>(
        &mut self,
        file: &File,
        member: &Member,
        members: &mut Members<R>,
    ) -> Made<()> {
        let written = members.write_content(member, file, &mut self.buffer);
        written.map_err(|error| match error {
            ContentError::Archive(error) => UnpackFault::Archive(error.to_string()).into(),
            ContentError::Machine(error) => error.into(),
        })
    }
    fn hard_link(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        there: Option<&FileStat>,
        member: &Member,
    ) -> Made<()> {
        let path = inside(&member.link, "hardlink target")?;
        let Some(leaf) = path.file_name() else {
            let text = format!("invalid hardlink target \"{}\"", shown(&member.link));
            return Err(UnpackFault::Archive(text).into());
        };
        let resolve = match self.target.links {
            Links::Refused => Resolve::NoLinks,
            Links::Inside => Resolve::InRoot,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let above = path.parent().unwrap_or(Path::new(""));
        let from = openat2(self.target.top, above, flags, 0, resolve)?;
        let target = fs::lstat_at(&from, leaf)?;
        if let Some(there) = there {
            // Two names of one file already; taking one away first could take the last.
            if (there.st_dev, there.st_ino) == (target.st_dev, target.st_ino) {
                return Ok(());
            }
            remove(parent, name)?;
        }
        Ok(nix::unistd::linkat(
            &from,
            leaf,
            parent,
            name,
            LinkatFlags::empty(),
        )?)
    }
    /// Owner before mode, since a change of owner clears the set-id bits, and capabilities after it, since it
    /// clears them too. Source: chown(2), capabilities(7).
    fn own(&self, open: BorrowedFd<'_>, member: &Member) -> Made<()> {
        if let Some((uid, gid)) = self.owner(member) {
            nix::unistd::fchown(open, Some(uid.into()), Some(gid.into()))?;
        }
        nix::sys::stat::fchmod(open, Mode::from_bits_truncate(member.mode))?;
        for (name, value) in &member.xattrs {
            if !keeps_attribute(name) {
                continue;
            }
            match fs::set_fd_xattr(open, OsStr::from_bytes(name), value) {
                // The file system has none, or the user may not: as Docker.
                Err(Errno::EOPNOTSUPP | Errno::EPERM) => {}
                other => other?,
            }
        }
        Ok(())
    }
    fn owner(&self, member: &Member) -> Option<(u32, u32)> {
        match self.target.owner {
            Owner::AsArchived => Some((member.uid, member.gid)),
            Owner::Fixed(uid, gid) => Some((uid, gid)),
            Owner::Caller => None,
        }
    }
    fn finish_node(&self, parent: &OwnedFd, name: &OsStr, member: &Member) -> Made<()> {
        if let Some((uid, gid)) = self.owner(member) {
            let flag = AtFlags::AT_SYMLINK_NOFOLLOW;
            nix::unistd::fchownat(parent, name, Some(uid.into()), Some(gid.into()), flag)?;
        }
        Ok(times_at(parent, name, member.mtime)?)
    }
    /// Sets what later entries would have disturbed.
    fn finish(mut self) -> Result<()> {
        for (path, mtime) in std::mem::take(&mut self.times) {
            let set = |unpacker: &mut Self| -> Made<()> {
                let parent = unpacker.directory(path.parent().unwrap_or(Path::new("")))?;
                let name = path.file_name().unwrap_or_default();
                Ok(times_at(&parent, name, mtime)?)
            };
            match set(&mut self) {
                Ok(()) => {}
                // Somebody has removed it already.
                Err(Fault::System(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(Fault::Whole(fault)) => return Err(fault),
                Err(Fault::System(source)) => {
                    let path = path.display().to_string();
                    return Err(UnpackFault::Entry { path, source });
                }
            }
        }
        Ok(())
    }
}

/// The name that a file has until it is whole: as editors name such files, so that what watches leaves it alone.
fn beside(name: &OsStr) -> std::ffi::OsString {
    // A name has at most 255 bytes.
    let kept = name.as_bytes().get(..240).unwrap_or(name.as_bytes());
    let mut beside = std::ffi::OsString::from(".");
    beside.push(OsStr::from_bytes(kept));
    beside.push(".hoist~");
    beside
}

/// Removes a name that is no directory; a missing one is fine.
fn remove(parent: &OwnedFd, name: &OsStr) -> std::result::Result<(), Errno> {
    match nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// Makes a device or FIFO. Its mode is given to the call that makes it, since a later one would need a name that
/// somebody may have given to something else; the caller's umask takes its share.
fn node(parent: &OwnedFd, name: &OsStr, member: &Member) -> std::result::Result<(), Errno> {
    let kind = match member.kind {
        EntryKind::Char => SFlag::S_IFCHR,
        EntryKind::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    let device = nix::sys::stat::makedev(member.device.0, member.device.1);
    let mode = Mode::from_bits_truncate(member.mode);
    nix::sys::stat::mknodat(parent, name, kind, mode, device)
}

fn spec((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, nanos.into())
}

fn times_at(dir: &OwnedFd, name: &OsStr, mtime: (i64, u32)) -> std::result::Result<(), Errno> {
    let time = spec(mtime);
    nix::sys::stat::utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}
