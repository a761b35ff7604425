//! Writing files into an image's tree: each call names a folder that is known to have no links in it.
//!
//! Imports: `sys::fs`. Source: openat2(2), linkat(2), utimensat(2).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{LinkatFlags, UnlinkatFlags};

use crate::sys::fs::{Resolve, Root, entry_path, is_kind, lstat_at, openat2, set_xattr};

/// Owner, mode and times of what is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub(super) owner: (u32, u32),
    /// Permission bits; a link has none.
    pub(super) mode: u32,
    /// Seconds and nanoseconds; now when `None`.
    pub(super) modified: Option<(i64, i64)>,
}

/// Writes below a root; remembers the last folder, since neighbours are written one after another.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    root: &'a Root,
    folder: Option<(PathBuf, OwnedFd)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, folder: None }
    }
    /// The open folder of a path without links, and the path's last name.
    fn enter(&mut self, path: &Path) -> Result<(&OwnedFd, OsString), Errno> {
        let name = path.file_name().ok_or(Errno::EISDIR)?.to_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.folder.as_ref().is_none_or(|(at, _)| at != parent) {
            let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
            let fd = openat2(self.root, parent, flags, 0, Resolve::NoLinks)?;
            self.folder = Some((parent.to_owned(), fd));
        }
        let (_, fd) = self.folder.as_ref().ok_or(Errno::ENOENT)?;
        Ok((fd, name))
    }
    /// What is at a path, if anything.
    pub(super) fn stat(&mut self, path: &Path) -> Result<Option<FileStat>, Errno> {
        if path.as_os_str().is_empty() {
            return self.root.lstat(path).map(Some);
        }
        let (folder, name) = self.enter(path)?;
        match lstat_at(folder, &name) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
    /// Removes a file or link; `EISDIR` for a folder.
    pub(super) fn clear(&mut self, path: &Path) -> Result<(), Errno> {
        match self.stat(path)? {
            None => Ok(()),
            Some(stat) if is_kind(&stat, libc::S_IFDIR) => Err(Errno::EISDIR),
            Some(_) => {
                let (folder, name) = self.enter(path)?;
                nix::unistd::unlinkat(folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir)
            }
        }
    }
    /// Removes whatever is at a path, a folder with all that is in it.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        match self.clear(path) {
            Err(Errno::EISDIR) => {
                let (folder, name) = self.enter(path)?;
                remove_folder(folder, &name)
            }
            other => other,
        }
    }
    /// Makes a folder; false if it is there. A file in its place is `ENOTDIR`.
    pub(super) fn folder(&mut self, path: &Path) -> Result<bool, Errno> {
        match self.stat(path)? {
            Some(stat) if is_kind(&stat, libc::S_IFDIR) => Ok(false),
            Some(_) => Err(Errno::ENOTDIR),
            None => {
                let (folder, name) = self.enter(path)?;
                nix::sys::stat::mkdirat(folder, name.as_os_str(), Mode::from_bits_truncate(0o755))
                    .map(|()| true)
            }
        }
    }
    /// A new empty file for writing.
    pub(super) fn file(&mut self, path: &Path) -> Result<File, Errno> {
        self.file_of_mode(path, 0o600)
    }
    /// A new empty file for writing, with a mode if the process's mask allows it.
    pub(super) fn file_of_mode(&mut self, path: &Path, mode: u32) -> Result<File, Errno> {
        let (folder, name) = self.enter(path)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        openat2(folder, Path::new(&name), flags, mode, Resolve::NoLinks).map(File::from)
    }
    /// A new link.
    pub(super) fn symlink(&mut self, path: &Path, target: &OsStr) -> Result<(), Errno> {
        let (folder, name) = self.enter(path)?;
        nix::unistd::symlinkat(target, folder, name.as_os_str())
    }
    /// A new name of a file that was written before.
    pub(super) fn hard_link(&mut self, path: &Path, existing: &Path) -> Result<(), Errno> {
        let root = self.root.as_fd();
        let old = openat2(
            root,
            existing.parent().unwrap_or(Path::new("")),
            OFlag::O_PATH,
            0,
            Resolve::NoLinks,
        )?;
        let old_name = existing.file_name().ok_or(Errno::EINVAL)?;
        let (folder, name) = self.enter(path)?;
        nix::unistd::linkat(
            old,
            old_name,
            folder,
            name.as_os_str(),
            LinkatFlags::empty(),
        )
    }
    /// A new FIFO or device.
    pub(super) fn node(&mut self, path: &Path, kind: SFlag, device: u64) -> Result<(), Errno> {
        if kind == SFlag::S_IFCHR && device == 0 {
            // Overlay would take it for the deletion of the name.
            return Err(Errno::EPERM);
        }
        let (folder, name) = self.enter(path)?;
        nix::sys::stat::mknodat(
            folder,
            name.as_os_str(),
            kind,
            Mode::from_bits_truncate(0o600),
            device,
        )
    }
    /// Sets owner, mode and times of what is at a path; a link itself is meant, never its target.
    pub(super) fn meta(&mut self, path: &Path, meta: &Meta, link: bool) -> Result<(), Errno> {
        if path.as_os_str().is_empty() {
            return self.own_root(meta);
        }
        let (folder, name) = self.enter(path)?;
        let (uid, gid) = meta.owner;
        let at = AtFlags::AT_SYMLINK_NOFOLLOW;
        nix::unistd::fchownat(
            folder,
            name.as_os_str(),
            Some(uid.into()),
            Some(gid.into()),
            at,
        )?;
        if !link {
            // The name is no link: it was made by us a moment ago in a tree that nobody else sees.
            let mode = Mode::from_bits_truncate(meta.mode & 0o7777);
            nix::sys::stat::fchmodat(folder, name.as_os_str(), mode, FchmodatFlags::FollowSymlink)?;
        }
        if let Some((seconds, nanos)) = meta.modified {
            let time = TimeSpec::new(seconds, nanos);
            let flags = UtimensatFlags::NoFollowSymlink;
            nix::sys::stat::utimensat(folder, name.as_os_str(), &time, &time, flags)?;
        }
        Ok(())
    }
    /// Sets owner, mode and times of an open file where they differ, and gives what it is then. The owner comes first,
    /// since its change clears set-id bits.
    pub(super) fn meta_of(&self, file: &File, meta: &Meta) -> Result<FileStat, Errno> {
        let (uid, gid) = meta.owner;
        let mut is = nix::sys::stat::fstat(file)?;
        let same = (is.st_uid, is.st_gid) == meta.owner;
        if !same {
            nix::unistd::fchown(file, Some(uid.into()), Some(gid.into()))?;
        }
        if !same || is.st_mode & 0o7777 != meta.mode & 0o7777 {
            nix::sys::stat::fchmod(file, Mode::from_bits_truncate(meta.mode & 0o7777))?;
        }
        (is.st_uid, is.st_gid) = meta.owner;
        is.st_mode = is.st_mode & libc::S_IFMT | meta.mode & 0o7777;
        if let Some((seconds, nanos)) = meta.modified {
            let time = TimeSpec::new(seconds, nanos);
            nix::sys::stat::futimens(file, &time, &time)?;
            (is.st_mtime, is.st_mtime_nsec) = (seconds, nanos);
        }
        Ok(is)
    }
    /// The root itself: of an archive's top, or a folder whose contents were copied.
    fn own_root(&self, meta: &Meta) -> Result<(), Errno> {
        let (uid, gid) = meta.owner;
        // A mount that was just made is open only as a place.
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        let root = openat2(self.root, Path::new(""), flags, 0, Resolve::NoLinks)?;
        nix::unistd::fchown(&root, Some(uid.into()), Some(gid.into()))?;
        nix::sys::stat::fchmod(&root, Mode::from_bits_truncate(meta.mode & 0o7777))?;
        if let Some((seconds, nanos)) = meta.modified {
            let time = TimeSpec::new(seconds, nanos);
            nix::sys::stat::futimens(&root, &time, &time)?;
        }
        Ok(())
    }
    /// Sets extended attributes of what is at a path.
    pub(super) fn xattrs(
        &mut self,
        path: &Path,
        attrs: &[(OsString, Vec<u8>)],
    ) -> Result<(), Errno> {
        let (folder, name) = self.enter(path)?;
        let place = entry_path(folder, &name);
        for (key, value) in attrs {
            match set_xattr(&place, key, value) {
                Ok(()) | Err(Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Removes a folder of an open one, links in it never followed.
fn remove_folder(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
    let mut dir = nix::dir::Dir::from_fd(openat2(
        parent,
        Path::new(name),
        flags,
        0,
        Resolve::NoLinks,
    )?)?;
    let items: Vec<nix::dir::Entry> = dir.iter().collect::<Result<_, _>>()?;
    let here = openat2(parent, Path::new(name), flags, 0, Resolve::NoLinks)?;
    for item in items {
        let name = OsStr::from_bytes(item.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if is_kind(&lstat_at(&here, name)?, libc::S_IFDIR) {
            remove_folder(&here, name)?;
        } else {
            nix::unistd::unlinkat(&here, name, UnlinkatFlags::NoRemoveDir)?;
        }
    }
    nix::unistd::unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}
