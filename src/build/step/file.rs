//! One file of a `COPY` or `ADD`: its content, metadata and attributes.
//!
//! In: an open folder and a name. Out: a file below the writer's root, as the source was when it was opened. A large one tells
//! how far it is, so that it is hashed while it is copied.
//! Imports: `sys::fs`, `image::{digest, layer}`, `build::context`. Source: BuildKit's copier, measured 2026-11.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use nix::errno::Errno;
use nix::sys::stat::FileStat;

use super::StepError;
use super::copy::{CopyStep, unreadable};
use super::write::{Meta, Writer};
use crate::build::context::Entry;
use crate::build::context::digest::Digests;
use crate::build::context::walk::{Fault, open_file};
use crate::image::digest::Digest;
use crate::image::layer::{Final, Growing, keeps_attribute};
use crate::sys::fs::{copy_bytes, fd_xattrs, is_kind, share_content};

/// Bytes of content that are copied together. A file that has more is copied alone, and hashed while it grows.
pub(super) const LARGE: i64 = 32 << 20;

/// Bytes of a file that are copied at a time, where somebody follows.
const PIECE: u64 = 4 << 20;

/// Removes what a file is to take the place of.
pub(super) fn clear(writer: &mut Writer<'_>, target: &Path) -> Result<(), StepError> {
    writer.clear(target).map_err(|errno| match errno {
        Errno::EISDIR => StepError::new(format!(
            "cannot replace to directory /{} with file",
            target.display()
        )),
        errno => StepError::file("replace", target, errno),
    })
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Whether a file is copied alone. One with holes keeps them, and is not.
pub(super) fn is_large(stat: &FileStat) -> bool {
    is_kind(stat, libc::S_IFREG)
        && stat.st_size >= LARGE
        && stat.st_blocks.saturating_mul(512) >= stat.st_size
}

/// The attributes of a file that belong to an image.
fn kept_xattrs(file: &File) -> Result<Vec<(OsString, Vec<u8>)>, Errno> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut all = fd_xattrs(file)?;
    all.retain(|(name, _)| keeps_attribute(name.as_bytes()));
    Ok(all)
}

/// What a layer is told of it.
pub(super) fn final_of(meta: &Meta) -> Option<Final> {
    Some(Final {
        mode: meta.mode,
        owner: meta.owner,
        modified: meta.modified?.0,
    })
}

/// The metadata that something has when it is copied.
pub(super) fn meta_of(
    step: &CopyStep,
    owner: Option<(u32, u32)>,
    owned: bool,
    stat: &FileStat,
) -> Meta {
    let own = match owned {
        true => (stat.st_uid, stat.st_gid),
        false => (0, 0),
    };
    let folder = is_kind(stat, libc::S_IFDIR);
    let mode = stat.st_mode & 0o7777;
    let chmod = step.chmod.as_ref();
    Meta {
        owner: owner.unwrap_or(own),
        mode: chmod.map_or(mode, |chmod| chmod.apply(mode, folder)),
        modified: Some((stat.st_mtime, stat.st_mtime_nsec)),
    }
}

/// What the threads share that copy files.
pub(super) struct Work<'a> {
    pub(super) step: &'a CopyStep,
    pub(super) owner: Option<(u32, u32)>,
    /// Whether the tree that is copied has owners of its own.
    pub(super) owned: bool,
    /// Where the tree's part that is copied lies in it.
    pub(super) start: &'a Path,
    pub(super) digests: Option<&'a Digests>,
    /// The last device whose blocks could not be shared.
    pub(super) refused: &'a AtomicU64,
}

/// A file that is to be copied.
pub(super) struct FileJob {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: OsString,
    pub(super) to: PathBuf,
    pub(super) entry: Entry,
}

impl Work<'_> {
    /// Copies what is in a file. A device whose blocks can't be shared is not asked again for each file.
    fn content(
        &self,
        from: &File,
        mut to: &File,
        stat: &FileStat,
        follower: Option<&Sender<u64>>,
    ) -> std::io::Result<()> {
        // One who does not listen any more does not mind.
        let tell = |follower: &Sender<u64>, length| follower.send(length).unwrap_or(());
        if self.refused.load(Ordering::Relaxed) != stat.st_dev {
            match share_content(from, to) {
                Ok(()) => {
                    if let Some(follower) = follower {
                        tell(follower, u64::try_from(stat.st_size).unwrap_or(0));
                    }
                    return Ok(());
                }
                Err(_) => self.refused.store(stat.st_dev, Ordering::Relaxed),
            }
        }
        let Some(follower) = follower else {
            return copy_bytes(from, to, stat);
        };
        let mut done = 0;
        loop {
            match std::io::copy(&mut from.take(PIECE), &mut to)? {
                0 => return Ok(()),
                length => done += length,
            }
            tell(follower, done);
        }
    }
    /// A new file, in place of one that may be there.
    fn new_file(&self, writer: &mut Writer<'_>, to: &Path, mode: u32) -> Result<File, StepError> {
        let wrote = |errno| StepError::file("write", to, errno);
        match writer.file_of_mode(to, mode & 0o777) {
            Err(Errno::EEXIST | Errno::ELOOP) => {
                clear(writer, to)?;
                writer.file_of_mode(to, mode & 0o777).map_err(wrote)
            }
            other => other.map_err(wrote),
        }
    }
    /// Copies one file, as it is when it is opened; gives what was found then. One that is worth it may be followed.
    pub(super) fn file(
        &self,
        writer: &mut Writer<'_>,
        job: &FileJob,
        follow: &mut dyn FnMut(Growing) -> Option<Sender<u64>>,
    ) -> Result<(Entry, Option<Digest>), StepError> {
        let FileJob {
            folder,
            name,
            to,
            entry,
        } = job;
        let read = |errno| {
            let path = entry.path.clone();
            unreadable(self.start, &Fault { path, errno })
        };
        let wrote = |errno| StepError::file("write", to, errno);
        let source = open_file(folder.as_fd(), name).map_err(read)?;
        let stat = nix::sys::stat::fstat(&source).map_err(read)?;
        if !is_kind(&stat, libc::S_IFREG) {
            return Err(read(Errno::ESTALE));
        }
        let meta = meta_of(self.step, self.owner, self.owned, &stat);
        let attributes = match self.owned {
            true => kept_xattrs(&source).map_err(read)?,
            false => Vec::new(),
        };
        let file = self.new_file(writer, to, meta.mode)?;
        let follower = match final_of(&meta) {
            Some(meta) if is_large(&stat) && attributes.is_empty() => follow(Growing {
                path: to.clone(),
                meta,
                size: stat.st_size,
                linked: stat.st_nlink > 1,
            }),
            _ => None,
        };
        let copied = self.content(&source, &file, &stat, follower.as_ref());
        copied.map_err(|error| wrote(errno(&error)))?;
        writer.meta_of(&file, &meta).map_err(wrote)?;
        if !attributes.is_empty() {
            writer.xattrs(to, &attributes).map_err(wrote)?;
        }
        let digest = match self.digests {
            Some(digests) => Some(digests.of_copy(&stat, &source, &file).map_err(read)?),
            None => None,
        };
        let entry = Entry {
            stat,
            ..entry.clone()
        };
        Ok((entry, digest))
    }
}
