//! One file of a `COPY` or `ADD`: its content, metadata and attributes.
//!
//! In: an open folder and a name. Out: a file below the writer's root, as the source was when it was opened, and its
//! content in memory where somebody hashes it; a large one is handed on piece by piece.
//! Imports: `sys::fs`, `image::{digest, layer}`, `build::context`. Source: BuildKit's copier, measured 2026-11.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::stat::FileStat;

use super::StepError;
use super::copy::{CopyStep, unreadable};
use super::write::{Meta, Writer};
use crate::build::context::Entry;
use crate::build::context::digest::Digests;
use crate::build::context::walk::{Fault, open_file};
use crate::image::digest::Digest;
use crate::image::layer::{Buffer, Buffers, Content, Final, Growing, Grown, keeps_attribute};
use crate::sys::fs::{Root, copy_bytes, fd_xattrs, is_kind, share_content};

/// A file that has more bytes is copied alone, and hashed while it grows.
pub(super) const LARGE: i64 = 16 << 20;

/// Bytes of files that one thread copies in a row: what is handed on of them is kept in memory together.
pub(super) const ROW: i64 = 1 << 20;

/// Files that one thread copies in a row.
const ROW_FILES: usize = 128;

/// Bytes of a file that are copied at a time, where somebody follows.
const PIECE: usize = 1 << 20;

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
    /// Where files are written to.
    pub(super) dest: &'a Root,
    /// The same for what is new in the layer, past the view of what lies below.
    pub(super) direct: Option<&'a Root>,
    /// Whether somebody hashes what is written.
    pub(super) hashed: bool,
    pub(super) buffers: Buffers,
    /// The last device whose blocks could not be shared.
    pub(super) refused: Arc<AtomicU64>,
}

/// A file that is to be copied.
pub(super) struct FileJob {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: OsString,
    pub(super) to: PathBuf,
    pub(super) entry: Entry,
}

/// Files of one folder that one thread copies.
#[derive(Default)]
pub(super) struct Row {
    pub(super) files: Vec<FileJob>,
    /// Bytes of their contents.
    pub(super) bytes: i64,
    /// Whether their folder is new in the layer.
    pub(super) direct: bool,
    /// Held while a file is made in their folder: the kernel lets only one thread do that, and others wait at work.
    pub(super) lane: Arc<Mutex<()>>,
}

impl Row {
    /// Whether a file of that folder may be added.
    pub(super) fn takes(&self, folder: &Arc<OwnedFd>, size: i64) -> bool {
        let Some(last) = self.files.last() else {
            return true;
        };
        Arc::ptr_eq(&last.folder, folder)
            && self.files.len() < ROW_FILES
            && self.bytes.saturating_add(size) < ROW
    }
}

/// A file that was copied.
pub(super) struct Copied {
    /// As it was found.
    pub(super) entry: Entry,
    pub(super) digest: Option<Digest>,
    /// What it became, and its content, where they are handed on.
    pub(super) handed: Option<(Box<FileStat>, usize, usize)>,
}

/// What became of a row: its files, and the memory that their contents are in.
pub(super) struct Copies {
    pub(super) files: Vec<(PathBuf, Result<Copied, StepError>)>,
    pub(super) buffer: Option<Arc<Buffer>>,
}

/// The memory that contents are read into.
struct Room<'b> {
    bytes: &'b mut [u8],
    used: usize,
}

impl Room<'_> {
    /// Reads a file to its end, if it fits: where it begins and ends then.
    fn read(&mut self, mut from: &File) -> std::io::Result<Option<(usize, usize)>> {
        let begin = self.used;
        let mut at = begin;
        loop {
            let rest = self.bytes.get_mut(at..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(None);
            }
            match from.read(rest) {
                Ok(0) => break,
                Ok(length) => at += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.used = at;
        Ok(Some((begin, at)))
    }
}

/// How a file's content came over.
enum Came {
    /// It was read, and lies there in the row's memory.
    Read(usize, usize),
    /// Nobody has seen it.
    Unseen,
}

/// Who is told how a file grows.
pub(super) type Follow<'f> = &'f mut dyn FnMut(Growing) -> Option<SyncSender<Grown>>;

impl Work<'_> {
    /// A writer of the row's folder.
    fn writer(&self, direct: bool) -> Writer<'_> {
        let root = self.direct.filter(|_| direct).unwrap_or(self.dest);
        Writer::new(root)
    }
    /// Copies files that lie in one folder.
    pub(super) fn row(&self, row: Row) -> Copies {
        let mut writer = self.writer(row.direct);
        let most = usize::try_from(row.bytes.min(ROW)).unwrap_or(0);
        // One more than is wanted tells that a file has grown.
        let mut buffer = self.buffers.take(most + 1);
        let mut room = Room {
            bytes: buffer.bytes_mut(),
            used: 0,
        };
        let mut files = Vec::with_capacity(row.files.len());
        for job in row.files {
            let copied = self.file(&mut writer, &job, &row.lane, Some(&mut room), &mut |_| None);
            files.push((job.to, copied));
        }
        let used = room.used > 0 && self.hashed;
        Copies {
            files,
            buffer: used.then(|| Arc::new(buffer)),
        }
    }
    /// Copies a large file, while another one may follow.
    pub(super) fn alone(
        &self,
        row: &Row,
        job: &FileJob,
        follow: Follow<'_>,
    ) -> Result<Copied, StepError> {
        self.file(&mut self.writer(row.direct), job, &row.lane, None, follow)
    }
    /// Copies what is in a file. A device whose blocks can't be shared is not asked again for each file.
    fn content(
        &self,
        from: &File,
        mut to: &File,
        stat: &FileStat,
        room: Option<&mut Room<'_>>,
        follower: Option<&SyncSender<Grown>>,
    ) -> std::io::Result<Came> {
        let mut shared = false;
        if self.refused.load(Ordering::Relaxed) != stat.st_dev {
            match share_content(from, to) {
                Ok(()) => shared = true,
                Err(_) => self.refused.store(stat.st_dev, Ordering::Relaxed),
            }
        }
        if let Some(follower) = follower {
            if shared {
                let length = u64::try_from(stat.st_size).unwrap_or(0);
                // One who does not listen any more does not mind.
                let _ = follower.send(Grown::Length(length));
                return Ok(Came::Unseen);
            }
            return self.followed(from, to, follower);
        }
        let hollow = stat.st_blocks.saturating_mul(512) < stat.st_size;
        if let Some(room) = room.filter(|_| !shared && !hollow && stat.st_size < ROW) {
            if let Some((begin, end)) = room.read(from)? {
                to.write_all(room.bytes.get(begin..end).unwrap_or_default())?;
                return Ok(Came::Read(begin, end));
            }
            // It has grown: from the beginning, by another way.
            std::io::Seek::rewind(&mut &*from)?;
        }
        if !shared {
            copy_bytes(from, to, stat)?;
        }
        Ok(Came::Unseen)
    }
    /// Copies a file piece by piece, and hands each on.
    fn followed(
        &self,
        mut from: &File,
        mut to: &File,
        follower: &SyncSender<Grown>,
    ) -> std::io::Result<Came> {
        loop {
            let mut buffer = self.buffers.take(PIECE);
            let piece = buffer.bytes_mut();
            let length = match from.read(piece) {
                Ok(0) => return Ok(Came::Unseen),
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            to.write_all(piece.get(..length).unwrap_or_default())?;
            // One who does not listen any more does not mind.
            let _ = follower.send(Grown::Bytes(Content {
                buffer: Arc::new(buffer),
                from: 0,
                to: length,
            }));
        }
    }
    /// A new file, in place of one that may be there.
    fn new_file(
        &self,
        writer: &mut Writer<'_>,
        lane: &Mutex<()>,
        to: &Path,
        mode: u32,
    ) -> Result<File, StepError> {
        let wrote = |errno| StepError::file("write", to, errno);
        let _lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
        match writer.file_of_mode(to, mode & 0o777) {
            Err(Errno::EEXIST | Errno::ELOOP) => {
                clear(writer, to)?;
                writer.file_of_mode(to, mode & 0o777).map_err(wrote)
            }
            other => other.map_err(wrote),
        }
    }
    /// Copies one file, as it is when it is opened; gives what was found then. One that is worth it may be followed.
    fn file(
        &self,
        writer: &mut Writer<'_>,
        job: &FileJob,
        lane: &Mutex<()>,
        mut room: Option<&mut Room<'_>>,
        follow: Follow<'_>,
    ) -> Result<Copied, StepError> {
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
        let file = self.new_file(writer, lane, to, meta.mode)?;
        let follower = match final_of(&meta) {
            Some(meta) if is_large(&stat) && attributes.is_empty() => follow(Growing {
                path: to.clone(),
                meta,
                size: stat.st_size,
                linked: stat.st_nlink > 1,
            }),
            _ => None,
        };
        let came = self.content(
            &source,
            &file,
            &stat,
            room.as_deref_mut(),
            follower.as_ref(),
        );
        let came = came.map_err(|error| wrote(errno(&error)))?;
        let is = writer.meta_of(&file, &meta).map_err(wrote)?;
        if !attributes.is_empty() {
            writer.xattrs(to, &attributes).map_err(wrote)?;
        }
        let seen = match (&came, &room) {
            (Came::Read(begin, end), Some(room)) => room.bytes.get(*begin..*end),
            _ => None,
        };
        let digest = match (self.digests, seen) {
            (None, _) => None,
            (Some(digests), Some(bytes)) => Some(digests.of_bytes(&stat, &source, bytes)),
            (Some(digests), None) => Some(digests.of_copy(&stat, &source, &file)),
        };
        let handed = match came {
            Came::Read(begin, end)
                if self.hashed && stat.st_nlink == 1 && attributes.is_empty() =>
            {
                Some((Box::new(is), begin, end))
            }
            _ => None,
        };
        Ok(Copied {
            entry: Entry {
                stat,
                ..entry.clone()
            },
            digest: digest.transpose().map_err(read)?,
            handed,
        })
    }
}
