//! Files: lookups that can't leave a root, writes that are whole or not there, copies without copying.
//!
//! Imports: nothing of ours. Source: openat2(2), rename(2), ioctl_ficlonerange(2), xattr(7).
#![expect(
    unsafe_code,
    reason = "openat2, extended attributes and FICLONE have no safe binding"
)]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode};

/// How [`openat2`] treats what it meets on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// `RESOLVE_IN_ROOT`: the directory is `/`; `..` and absolute links stay inside. No magic links.
    InRoot,
    /// `RESOLVE_BENEATH`: a path that would leave the directory is an error. No magic links.
    Beneath,
    /// `RESOLVE_IN_ROOT`, and a symbolic link anywhere is an error.
    NoLinks,
}

/// Opens `path` below `dir`.
///
/// # Errors
/// The kernel's: `ENOENT`, `ELOOP` for a refused link, `EXDEV` for an escape, `ENOTDIR`.
///
/// Source: openat2(2).
pub fn openat2(
    dir: impl AsFd,
    path: &Path,
    flags: OFlag,
    mode: u32,
    resolve: Resolve,
) -> Result<OwnedFd, Errno> {
    let path = relative(path)?;
    // SAFETY: open_how is plain data for which all zero bytes are valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
    how.mode = u64::from(mode);
    how.resolve = libc::RESOLVE_NO_MAGICLINKS
        | match resolve {
            Resolve::InRoot => libc::RESOLVE_IN_ROOT,
            Resolve::Beneath => libc::RESOLVE_BENEATH,
            Resolve::NoLinks => libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS,
        };
    // EAGAIN: a rename raced with the lookup of `..`; the man page asks to try again.
    for _ in 0..64 {
        // SAFETY: `path` is NUL-terminated and `how` is a live open_how of the size given; the kernel
        // only reads both during the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_fd().as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        match Errno::result(fd) {
            // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EAGAIN)
}

/// The path without its leading slash, `.` when empty, for lookups below a descriptor.
fn relative(path: &Path) -> Result<CString, Errno> {
    let bytes = path.as_os_str().as_bytes();
    let bytes = if bytes.is_empty() {
        b".".as_slice()
    } else {
        bytes
    };
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}

/// A directory that bounds every lookup below it: a container's root, a build context, a layer.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

impl Root {
    /// Opens a directory of the host as a root.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        Ok(Self {
            dir: nix::fcntl::open(path, flags, Mode::empty())?,
        })
    }
    /// Takes an open directory (or detached mount) as a root.
    pub fn from_fd(dir: OwnedFd) -> Self {
        Self { dir }
    }
    /// Opens a path inside; links are followed inside the root.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_at(&self, path: &Path, flags: OFlag, mode: u32) -> Result<OwnedFd, Errno> {
        openat2(&self.dir, path, flags, mode, Resolve::InRoot)
    }
    /// Metadata of a path inside, the last link followed inside the root.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stat(&self, path: &Path) -> Result<FileStat, Errno> {
        nix::sys::stat::fstat(self.open_at(path, OFlag::O_PATH, 0)?)
    }
    /// Metadata of a path inside; a last link is not followed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn lstat(&self, path: &Path) -> Result<FileStat, Errno> {
        nix::sys::stat::fstat(self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?)
    }
    /// Reads a file inside, at most `limit` bytes; a FIFO or device is refused with `EINVAL`.
    ///
    /// # Errors
    /// The kernel's; `EFBIG` when the file is longer than `limit`.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Errno> {
        let fd = self.open_at(path, READ, 0)?;
        read_regular(fd, limit)
    }
    /// Metadata of a path inside; one that `..` or a link leads out of the root is `EXDEV`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stat_beneath(&self, path: &Path) -> Result<FileStat, Errno> {
        nix::sys::stat::fstat(openat2(
            &self.dir,
            path,
            OFlag::O_PATH,
            0,
            Resolve::Beneath,
        )?)
    }
    /// As [`Root::read`], but a path that `..` or a link leads out of the root is `EXDEV`.
    ///
    /// # Errors
    /// The kernel's; `EFBIG` when the file is longer than `limit`.
    pub fn read_beneath(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Errno> {
        read_regular(openat2(&self.dir, path, READ, 0, Resolve::Beneath)?, limit)
    }
    /// Opens the directory that holds `path`'s last component, and gives that component. The path must
    /// have one: `/` and paths ending in `..` are `EINVAL`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_parent(&self, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
        let clean = clean(path);
        let leaf = clean.file_name().ok_or(Errno::EINVAL)?.to_owned();
        let parent = clean.parent().unwrap_or(Path::new("/"));
        Ok((
            self.open_at(parent, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0)?,
            leaf,
        ))
    }
    /// Makes a directory and its missing parents inside; existing ones (through links too) are kept.
    /// Each made one gets `mode` and, if given, the owner. Gives the open directory.
    ///
    /// # Errors
    /// The kernel's; `ENOTDIR` when a file is in the way.
    pub fn mkdir_all(
        &self,
        path: &Path,
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<OwnedFd, Errno> {
        let mut done = PathBuf::from("/");
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        let mut here = self.open_at(&done, flags, 0)?;
        for part in clean(path).components() {
            let Component::Normal(name) = part else {
                continue;
            };
            done.push(name);
            here = match self.open_at(&done, flags, 0) {
                Ok(next) => next,
                Err(Errno::ENOENT) => {
                    match nix::sys::stat::mkdirat(&here, name, Mode::from_bits_truncate(mode)) {
                        Ok(()) => {
                            let made = openat2(&here, Path::new(name), flags, 0, Resolve::NoLinks)?;
                            nix::sys::stat::fchmod(&made, Mode::from_bits_truncate(mode))?;
                            if let Some((uid, gid)) = owner {
                                nix::unistd::fchown(&made, Some(uid.into()), Some(gid.into()))?;
                            }
                        }
                        Err(Errno::EEXIST) => {}
                        Err(errno) => return Err(errno),
                    }
                    self.open_at(&done, flags, 0)?
                }
                Err(errno) => return Err(errno),
            };
        }
        Ok(here)
    }
}

/// How files are opened to be read: a FIFO must not hold the caller up, a terminal not become its own.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// Reads a regular file that is open; `EINVAL` for every other kind, `EFBIG` beyond `limit` bytes.
fn read_regular(fd: OwnedFd, limit: u64) -> Result<Vec<u8>, Errno> {
    use std::io::Read as _;
    if !is_kind(&nix::sys::stat::fstat(&fd)?, libc::S_IFREG) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = Vec::new();
    let read = File::from(fd)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes);
    read.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    if bytes.len() as u64 > limit {
        Err(Errno::EFBIG)
    } else {
        Ok(bytes)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A path with `.` and `..` worked out by text alone, absolute: `/a/../../b` is `/b`.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// Whether a file is of a kind such as `S_IFDIR`.
pub fn is_kind(stat: &FileStat, kind: libc::mode_t) -> bool {
    stat.st_mode & libc::S_IFMT == kind
}

/// How surely [`write_atomic`] keeps what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Synced before the rename: survives a power cut.
    Synced,
    /// Not synced: for what a reboot may lose.
    Renamed,
}

/// A path in the same directory that nobody else uses, for what is to take a file's place by rename.
pub fn temporary_beside(path: &Path) -> PathBuf {
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let serial = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{serial}", std::process::id()))
}

/// Writes a file whole or not at all: a temporary file in the same directory, then a rename.
///
/// # Errors
/// The system's, with the path in the text.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, how: Durability) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let write = || -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        if how == Durability::Synced {
            file.sync_data()?;
        }
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })
}

/// Waits until everything that was written to the file systems of these directories is on disk.
///
/// # Errors
/// The system's, with the path in the text.
///
/// Source: syncfs(2); since Linux 5.8 it also tells of writes that failed.
pub fn settle(dirs: &[&Path]) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let mut done = Vec::new();
    for dir in dirs {
        let mut sync = || -> io::Result<()> {
            let open = File::open(dir)?;
            let device = open.metadata()?.dev();
            if !done.contains(&device) {
                nix::unistd::syncfs(&open)?;
                done.push(device);
            }
            Ok(())
        };
        let told = |error| io::Error::other(format!("{}: {error}", dir.display()));
        sync().map_err(told)?;
    }
    Ok(())
}

/// A new file in a directory that has no name: it is gone when nobody holds it any more.
///
/// # Errors
/// The system's, with the path in the text.
pub fn unnamed(dir: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    let told =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    match options.clone().custom_flags(libc::O_TMPFILE).open(dir) {
        Ok(file) => return Ok(file),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {}
        Err(error) => return Err(told(error)),
    }
    // The file system can't make one: it gets a name for a moment.
    let serial = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = dir.join(format!(".unnamed.{}.{serial}", std::process::id()));
    let file = options.create_new(true).open(&path).map_err(told)?;
    std::fs::remove_file(&path).map_err(told)?;
    Ok(file)
}

/// Makes a directory and its missing parents, each with `mode`.
///
/// # Errors
/// The system's, with the path in the text.
pub fn make_dirs(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Makes a directory and its missing parents, each with `mode` and owner. What is there is left as it is; who may write
/// above can't have the owner of anything else changed.
///
/// # Errors
/// The system's, with the path in the text.
pub fn make_owned_dirs(path: &Path, mode: u32, owner: (u32, u32)) -> io::Result<()> {
    let make = || -> Result<(), Errno> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let mut there = path;
        while !there.exists() {
            there = there.parent().ok_or(Errno::ENOENT)?;
        }
        let mut here = nix::fcntl::open(there, flags, Mode::empty())?;
        let missing = path.strip_prefix(there).map_err(|_| Errno::EINVAL)?;
        for name in missing.components() {
            let name = Path::new(name.as_os_str());
            let made = nix::sys::stat::mkdirat(&here, name, mode);
            here = match made {
                Ok(()) => {
                    let made = openat2(&here, name, flags, 0, Resolve::NoLinks)?;
                    nix::sys::stat::fchmod(&made, mode)?;
                    nix::unistd::fchown(&made, Some(owner.0.into()), Some(owner.1.into()))?;
                    made
                }
                // Another command was faster.
                Err(Errno::EEXIST) => openat2(&here, name, flags, 0, Resolve::NoLinks)?,
                Err(errno) => return Err(errno),
            };
        }
        Ok(())
    };
    make().map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })
}

/// Removes a tree without following links; a missing one is fine.
///
/// # Errors
/// The system's, with the path in the text.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => std::fs::remove_file(path),
        other => other,
    }
    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Makes two entries of one file system change places, in one step.
///
/// # Errors
/// The system's.
///
/// Source: renameat2(2), `RENAME_EXCHANGE`.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let path = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes());
    let (one, other) = (path(one)?, path(other)?);
    let (at, flags) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // SAFETY: both pointers are to NUL-terminated strings that live during the call; the kernel keeps neither.
    match unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            at,
            one.as_ptr(),
            at,
            other.as_ptr(),
            flags,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes an empty file share all blocks of another one.
///
/// # Errors
/// The system's: `EOPNOTSUPP`, `EXDEV` or `EINVAL` where the file systems can't.
///
/// Source: ioctl_ficlonerange(2).
pub fn share_content(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: both descriptors are open; FICLONE takes the source descriptor as its plain argument.
    match unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Copies a file's content into an empty one: shared blocks where the file system can, else inside the kernel; holes
/// stay holes.
///
/// # Errors
/// The system's.
///
/// Source: copy_file_range(2), lseek(2) (`SEEK_DATA`).
pub fn copy_content(from: &File, to: &File) -> io::Result<()> {
    if share_content(from, to).is_ok() {
        return Ok(());
    }
    copy_bytes(from, to, &nix::sys::stat::fstat(from)?)
}

/// As [`copy_content`], but nothing is shared; `stat` is what is known of the first one.
///
/// # Errors
/// The system's.
pub fn copy_bytes(from: &File, to: &File, stat: &FileStat) -> io::Result<()> {
    let (mut from, mut to) = (from, to);
    if stat.st_blocks.saturating_mul(512) < stat.st_size && copy_pieces(from, to, stat.st_size)? {
        return Ok(());
    }
    if stat.st_size <= SMALL {
        return copy_small(from, to);
    }
    io::copy(&mut from, &mut to).map(drop)
}

/// Files up to this size in bytes are read and written: to pass pages through a pipe in the kernel costs more for them.
const SMALL: i64 = 256 << 10;

fn copy_small(mut from: &File, mut to: &File) -> io::Result<()> {
    use std::io::{Read as _, Write as _};

    let mut buffer = [0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Copies what lies between holes; `false` where the file system does not tell, and nothing was done.
fn copy_pieces(from: &File, mut to: &File, size: i64) -> io::Result<bool> {
    use std::io::Read as _;

    use nix::unistd::{Whence, lseek};
    let mut at = 0;
    while at < size {
        let begin = match lseek(from, at, Whence::SeekData) {
            Ok(begin) => begin,
            // A hole up to the end.
            Err(Errno::ENXIO) => break,
            Err(Errno::EINVAL) if at == 0 => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        at = lseek(from, begin, Whence::SeekHole)?;
        lseek(from, begin, Whence::SeekSet)?;
        lseek(to, begin, Whence::SeekSet)?;
        let length = u64::try_from(at.saturating_sub(begin)).unwrap_or(0);
        io::copy(&mut from.take(length), &mut to)?;
    }
    to.set_len(u64::try_from(size).unwrap_or(0))?;
    Ok(true)
}

/// Path of a descriptor for calls that take only paths.
pub fn fd_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Path of an entry of an open directory, for calls that take only paths and do not follow a last link.
pub fn entry_path(dir: impl AsFd, name: &OsStr) -> PathBuf {
    fd_path(dir).join(name)
}

/// Extended attributes of a path; a last link is not followed. None where the file system has none.
///
/// # Errors
/// The kernel's.
///
/// Source: llistxattr(2), lgetxattr(2).
pub fn xattrs(path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    listed(
        // SAFETY: the pointer and length describe one live buffer that the kernel fills.
        |buffer| unsafe {
            libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        },
        // SAFETY: as above; `name` is NUL-terminated.
        |name, buffer| unsafe {
            libc::lgetxattr(
                path.as_ptr(),
                name.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        },
    )
}

/// Extended attributes of an open file or directory. None where the file system has none.
///
/// # Errors
/// The kernel's.
///
/// Source: flistxattr(2), fgetxattr(2).
pub fn fd_xattrs(fd: impl AsFd) -> Result<Vec<(OsString, Vec<u8>)>, Errno> {
    let raw = fd.as_fd().as_raw_fd();
    listed(
        // SAFETY: the descriptor is open; pointer and length describe one live buffer that the kernel fills.
        |buffer| unsafe { libc::flistxattr(raw, buffer.as_mut_ptr().cast(), buffer.len()) },
        // SAFETY: as above; `name` is NUL-terminated.
        |name, buffer| unsafe {
            libc::fgetxattr(raw, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        },
    )
}

/// All attributes, sorted by name, from what lists them and what reads one.
fn listed(
    list: impl FnMut(&mut [u8]) -> isize,
    mut get: impl FnMut(&CStr, &mut [u8]) -> isize,
) -> Result<Vec<(OsString, Vec<u8>)>, Errno> {
    let names = match grow(list) {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        match grow(|buffer| get(name, buffer)) {
            Ok(value) => found.push((OsString::from_vec(name.to_bytes().to_vec()), value)),
            Err(Errno::ENODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort();
    Ok(found)
}

/// Calls with growing buffers until the answer fits.
fn grow(mut call: impl FnMut(&mut [u8]) -> isize) -> Result<Vec<u8>, Errno> {
    let mut size = 256;
    loop {
        let mut buffer = vec![0; size];
        match Errno::result(call(&mut buffer)) {
            Ok(length) => {
                buffer.truncate(length as usize);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) if size < 1 << 20 => size *= 4,
            Err(errno) => return Err(errno),
        }
    }
}

/// Sets an extended attribute of a path; a last link is not followed.
///
/// # Errors
/// The kernel's.
///
/// Source: lsetxattr(2).
pub fn set_xattr(path: &Path, name: &OsStr, value: &[u8]) -> Result<(), Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both strings are NUL-terminated and `value` is live with the length given.
    let done = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// An extended attribute of an open file or directory; `None` when it, or its file system, has none.
///
/// # Errors
/// The kernel's.
///
/// Source: fgetxattr(2).
pub fn fd_xattr(fd: impl AsFd, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let raw = fd.as_fd().as_raw_fd();
    let value = grow(|buffer| {
        // SAFETY: the descriptor is open, the name NUL-terminated; pointer and length describe one live buffer
        // that the kernel fills.
        unsafe { libc::fgetxattr(raw, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    });
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets an extended attribute of an open file or directory.
///
/// # Errors
/// The kernel's.
///
/// Source: fsetxattr(2).
pub fn set_fd_xattr(fd: impl AsFd, name: &OsStr, value: &[u8]) -> Result<(), Errno> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let raw = fd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, the name NUL-terminated, and `value` live with the length given.
    let done =
        unsafe { libc::fsetxattr(raw, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(done).map(drop)
}

/// Metadata of an entry of an open directory; a link is not followed.
///
/// # Errors
/// The kernel's.
pub fn lstat_at(dir: impl AsFd, name: &OsStr) -> Result<FileStat, Errno> {
    nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hoist-fs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_link_that_points_outside_stays_inside_the_root() {
        let dir = scratch("root");
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(dir.join("etc/passwd"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("abs")).unwrap();
        std::os::unix::fs::symlink("../../../../../etc/passwd", dir.join("up")).unwrap();
        let root = Root::open(&dir).unwrap();
        assert_eq!(root.read(Path::new("/abs"), 100), Ok(b"inside".to_vec()));
        assert_eq!(root.read(Path::new("up"), 100), Ok(b"inside".to_vec()));
        assert_eq!(root.read(Path::new("abs"), 3), Err(Errno::EFBIG));
        assert_eq!(
            root.read(Path::new("../../etc/shadow"), 9),
            Err(Errno::ENOENT)
        );
        for leaving in ["abs", "up", "../x", "/etc/passwd"] {
            let path = Path::new(leaving);
            assert_eq!(root.read_beneath(path, 100), Err(Errno::EXDEV), "{leaving}");
            assert_eq!(root.stat_beneath(path).err(), Some(Errno::EXDEV));
        }
        std::os::unix::fs::symlink("etc/passwd", dir.join("in")).unwrap();
        let inside = root.read_beneath(Path::new("in"), 100);
        assert_eq!(inside, Ok(b"inside".to_vec()));
        assert_eq!(root.read_beneath(Path::new("etc"), 9), Err(Errno::EINVAL));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn directories_are_made_inside_and_through_links() {
        let dir = scratch("mkdir");
        std::fs::create_dir(dir.join("real")).unwrap();
        std::os::unix::fs::symlink("/real", dir.join("link")).unwrap();
        let root = Root::open(&dir).unwrap();
        root.mkdir_all(Path::new("/link/a/../b/c"), 0o750, None)
            .unwrap();
        let made = std::fs::metadata(dir.join("real/b/c")).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o750);
        std::fs::write(dir.join("file"), "").unwrap();
        assert_eq!(
            root.mkdir_all(Path::new("file/x"), 0o755, None).err(),
            Some(Errno::ENOTDIR)
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_copy_keeps_holes_and_content() {
        use std::os::unix::fs::{FileExt as _, MetadataExt as _};
        let dir = scratch("holes");
        let from = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.join("a"))
            .unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"middle", 40 << 20).unwrap();
        from.set_len(80 << 20).unwrap();
        copy_content(&from, &File::create(dir.join("b")).unwrap()).unwrap();
        let copy = File::open(dir.join("b")).unwrap();
        let meta = copy.metadata().unwrap();
        assert_eq!(meta.len(), 80 << 20);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let mut word = [0; 6];
        copy.read_exact_at(&mut word, 40 << 20).unwrap();
        assert_eq!(&word, b"middle");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_atomic_write_leaves_no_temporary_file() {
        let dir = scratch("atomic");
        write_atomic(&dir.join("a"), b"1", 0o600, Durability::Synced).unwrap();
        write_atomic(&dir.join("a"), b"2", 0o600, Durability::Renamed).unwrap();
        assert_eq!(std::fs::read(dir.join("a")).unwrap(), b"2");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
