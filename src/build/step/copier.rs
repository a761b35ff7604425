//! Writes the sources of a `COPY` or `ADD` into an image's tree.
//!
//! In: what was found. Out: files below a root, and what counts of them for the key. Files are copied by several threads,
//! batch by batch; folders get their times when all that is in them is written. Where the files become a layer, each
//! batch is hashed while the next one is copied.
//! Folders that are made on the way have mode 0755 (or the octal `--chmod`) and the `--chown` owner.
//! Imports: `sys::fs`, `image::{digest, layer}`, `build::context`. Source: BuildKit's copier, measured 2026-11.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag};

use super::copy::{CopyStep, Source, unreadable};
use super::file::{FileJob, LARGE, Work, clear, errno, final_of, is_large, meta_of};
use super::mode::Chmod;
use super::write::{Meta, Writer};
use super::{StepError, archive};
use crate::build::context::digest::{Digests, add_entry, in_parallel};
use crate::build::context::walk::{Fault, Item, Seen};
use crate::build::context::{Entry, Tree, resolve};
use crate::build::key::Key;
use crate::image::digest::Digest;
use crate::image::layer::{Early, Growing, Written};
use crate::sys::fs::{Root, clean, is_kind};

/// Entries that are copied together.
const BATCH: usize = 1024;

/// Where it is noted what was copied.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    /// Known digests.
    pub(super) digests: Option<&'a Digests>,
    /// The key that is made of it.
    pub(super) key: Option<&'a mut Key>,
}

/// Something to be done when its turn comes.
enum Job {
    /// Copies a file.
    File(FileJob),
    /// Gives a file that was copied before another name.
    Name { to: PathBuf, entry: Entry },
    /// What is there already: noted only.
    Note {
        entry: Entry,
        written: Option<Written>,
    },
    /// Sets a folder's metadata.
    Folder { to: PathBuf, meta: Meta },
}

/// Copies sources one after the other.
pub(super) struct Copier<'a> {
    step: &'a CopyStep,
    /// Whether the tree that is copied has owners of its own.
    owned: bool,
    owner: Option<(u32, u32)>,
    dest: &'a Root,
    writer: Writer<'a>,
    threads: usize,
    jobs: Vec<Job>,
    /// Bytes of the files among the jobs.
    bytes: i64,
    ahead: Ahead<'a>,
    /// The last device whose blocks could not be shared.
    refused: AtomicU64,
    /// Where a file with several names was written first, and its content's digest.
    linked: BTreeMap<(u64, u64), (PathBuf, Option<Digest>)>,
}

/// A layer that is hashed while it is made.
enum Ahead<'a> {
    /// There is none, or it is in vain.
    Off,
    /// What was written to this upper directory is too little yet.
    Little(&'a Path, Vec<Written>),
    /// It is told.
    On(Early),
}

impl Ahead<'_> {
    fn take(&mut self, mut written: Vec<Written>) {
        match self {
            Self::Off => {}
            Self::Little(_, before) => {
                before.append(&mut written);
                if before.len() >= BATCH {
                    self.begin();
                }
            }
            Self::On(early) => early.take(written),
        }
    }
    fn follow(&mut self, file: Growing) -> Option<Sender<u64>> {
        match self {
            Self::On(early) => Some(early.follow(file)),
            Self::Off | Self::Little(..) => None,
        }
    }
    /// There is much: now it is worth a thread.
    fn begin(&mut self) {
        if let Self::Little(upper, before) = self {
            let before = std::mem::take(before);
            *self = match Early::begin(upper) {
                Ok(mut early) => {
                    early.take(before);
                    Self::On(early)
                }
                // It is hashed afterwards, and what is wrong is told then.
                Err(_) => Self::Off,
            };
        }
    }
}

/// What goes wrong while a source is walked.
enum Stop {
    Read(Fault),
    Step(StepError),
    /// It was an archive, and all is done.
    Done,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Read(fault)
    }
}

impl From<StepError> for Stop {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        step: &'a CopyStep,
        owner: Option<(u32, u32)>,
        dest: &'a Root,
        upper: Option<&'a Path>,
    ) -> Self {
        Self {
            step,
            owned: false,
            owner,
            dest,
            writer: Writer::new(dest),
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            jobs: Vec::new(),
            bytes: 0,
            ahead: upper.map_or(Ahead::Off, |upper| Ahead::Little(upper, Vec::new())),
            refused: AtomicU64::new(u64::MAX),
            linked: BTreeMap::new(),
        }
    }
    /// What was hashed so far of the layer.
    pub(super) fn finish(self) -> Option<Early> {
        match self.ahead {
            Ahead::On(early) => Some(early),
            Ahead::Off | Ahead::Little(..) => None,
        }
    }
    /// Makes a folder and its parents as the copier makes them.
    fn ensure(&self, path: &Path) -> Result<(), StepError> {
        let mode = self.step.chmod.as_ref().map_or(0o755, Chmod::implied);
        self.folders(path, mode)
    }
    fn folders(&self, path: &Path, mode: u32) -> Result<(), StepError> {
        let told = |errno| StepError::file("create", path, errno);
        // A link to nothing gets a folder where it points.
        let real = resolve(self.dest, path).map_err(told)?;
        let owner = self.owner.unwrap_or((0, 0));
        let made = self.dest.mkdir_all(&real, mode, Some(owner));
        made.map(drop).map_err(told)
    }
    /// Where a source goes: the destination itself, or its name in the destination.
    fn target(&self, name: &OsStr, folder: bool) -> Result<PathBuf, StepError> {
        let dest = self.step.dest.as_str();
        let path = clean(Path::new(dest));
        let into = dest.ends_with('/') || dest.ends_with("/.");
        let ensure = if into {
            path.as_path()
        } else {
            path.parent().unwrap_or(Path::new("/"))
        };
        self.ensure(ensure)?;
        let told = |errno| StepError::file("look up", &path, errno);
        let mut real = resolve(self.dest, &path).map_err(told)?;
        let there = match self.dest.lstat(&real) {
            Ok(stat) => Some(is_kind(&stat, libc::S_IFDIR)),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(told(errno)),
        };
        match (folder, there) {
            (false, Some(true)) => real.push(name),
            (true, None) => self.ensure(&real)?,
            (true, Some(false)) => {
                return Err(StepError::new(format!(
                    "cannot copy to non-directory: /{}",
                    real.display()
                )));
            }
            _ => {}
        }
        if let Some(parent) = real.parent() {
            self.ensure(parent)?;
        }
        Ok(real)
    }
    /// Writes a file of the Dockerfile's own.
    pub(super) fn inline(&mut self, name: &str, content: &str) -> Result<(), StepError> {
        let target = self.target(name.as_ref(), false)?;
        let told = |errno| StepError::file("write", &target, errno);
        clear(&mut self.writer, &target)?;
        let mut file = self.writer.file(&target).map_err(told)?;
        let written = file.write_all(content.as_bytes());
        written.map_err(|e| told(errno(&e)))?;
        let chmod = self.step.chmod.as_ref();
        let meta = Meta {
            owner: self.owner.unwrap_or((0, 0)),
            mode: chmod.map_or(0o644, |chmod| chmod.apply(0o644, false)),
            modified: None,
        };
        self.writer.meta(&target, &meta, false).map_err(told)?;
        self.ahead.take(vec![Written::Other {
            path: target,
            linked: false,
        }]);
        Ok(())
    }
    /// Copies a part of a tree.
    pub(super) fn source(
        &mut self,
        tree: &Tree,
        source: &Source,
        unpack: bool,
        watch: &mut Watch<'_>,
    ) -> Result<(), StepError> {
        self.owned = tree.keeps_owners();
        let mut target = None;
        let walked = tree.walk(&source.path, &source.taken, &mut |seen| {
            let target = match (&target, &seen) {
                (Some(target), _) => target,
                (None, Seen::Entry(item)) => {
                    let entry = item.entry;
                    if unpack && entry.is_file() && self.unpacked(item, source, watch)? {
                        return Err(Stop::Done);
                    }
                    let name = source.given.file_name().unwrap_or_default();
                    let found = self.target(name, entry.is_dir())?;
                    target.insert(found)
                }
                (None, Seen::Left(_)) => return Ok(()),
            };
            match seen {
                Seen::Entry(item) => {
                    if is_large(&item.entry.stat) {
                        self.ahead.begin();
                        self.flush(&source.path, watch)?;
                    }
                    self.entry(item, target)?;
                }
                Seen::Left(entry) => self.leave(entry, target)?,
            }
            if self.jobs.len() >= BATCH || self.bytes >= LARGE {
                self.ahead.begin();
                self.flush(&source.path, watch)?;
            }
            Ok::<(), Stop>(())
        });
        match walked {
            Ok(()) => self.flush(&source.path, watch),
            Err(Stop::Done) => Ok(()),
            Err(Stop::Step(error)) => Err(error),
            Err(Stop::Read(fault)) => Err(unreadable(&source.path, &fault)),
        }
    }
    /// One entry: folders, links and nodes are made at once, files when their turn comes.
    fn entry(&mut self, item: Item<'_>, target: &Path) -> Result<(), StepError> {
        let entry = item.entry;
        let to = entry.below(target);
        if entry.is_dir() {
            if !entry.path.as_os_str().is_empty() {
                let made = self.writer.folder(&to).map_err(|errno| match errno {
                    Errno::ENOTDIR => {
                        StepError::new(format!("cannot copy to non-directory: /{}", to.display()))
                    }
                    errno => StepError::file("create", &to, errno),
                })?;
                if !made && !matches!(self.ahead, Ahead::Off) {
                    // One of a layer below appears among the changes with the first of its own.
                    let meta = self.meta(&entry.stat);
                    let changed = self.writer.meta(&to, &meta, false);
                    changed.map_err(|errno| StepError::file("write", &to, errno))?;
                }
            }
            let written = self.folder_told(entry, to)?;
            let entry = entry.clone();
            self.jobs.push(Job::Note { entry, written });
            return Ok(());
        }
        let entry = entry.clone();
        if !entry.is_file() {
            clear(&mut self.writer, &to)?;
            let made = self.special(&to, &entry);
            made.map_err(|errno| StepError::file("write", &to, errno))?;
            let written = Some(Written::Other {
                path: to,
                linked: false,
            });
            self.jobs.push(Job::Note { entry, written });
            return Ok(());
        }
        let stat = &entry.stat;
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if self.linked.contains_key(&id) {
                clear(&mut self.writer, &to)?;
                self.jobs.push(Job::Name { to, entry });
                return Ok(());
            }
            self.linked.insert(id, (to.clone(), None));
        }
        let Some(folder) = item.folder else {
            return Err(StepError::file("read", &entry.path, Errno::EISDIR));
        };
        self.bytes = self.bytes.saturating_add(stat.st_size);
        self.jobs.push(Job::File(FileJob {
            folder: Arc::clone(folder),
            name: item.name.to_owned(),
            to,
            entry,
        }));
        Ok(())
    }
    /// A folder of which everything was seen.
    fn leave(&mut self, entry: &Entry, target: &Path) -> Result<(), StepError> {
        let to = entry.below(target);
        if let Some(meta) = self.folder_meta(entry, &to)? {
            self.jobs.push(Job::Folder { to, meta });
        }
        Ok(())
    }
    /// The metadata that a folder has in the end; `None` for one that is left as it is.
    fn folder_meta(&mut self, entry: &Entry, to: &Path) -> Result<Option<Meta>, StepError> {
        let meta = self.meta(&entry.stat);
        if !entry.path.as_os_str().is_empty() {
            return Ok(Some(meta));
        }
        if self.step.parents {
            // Its contents were asked for, not itself.
            return Ok(None);
        }
        // The folder that takes the contents keeps its own owner and mode.
        let own = self.writer.stat(to);
        let own = own.map_err(|errno| StepError::file("write", to, errno))?;
        Ok(own.map(|own| Meta {
            owner: (own.st_uid, own.st_gid),
            mode: own.st_mode,
            ..meta
        }))
    }
    fn folder_told(&mut self, entry: &Entry, to: PathBuf) -> Result<Option<Written>, StepError> {
        if matches!(self.ahead, Ahead::Off) || to.as_os_str().is_empty() {
            return Ok(None);
        }
        let meta = self.folder_meta(entry, &to)?;
        Ok(meta.and_then(|meta| {
            let meta = final_of(&meta)?;
            Some(Written::Folder { path: to, meta })
        }))
    }
    fn meta(&self, stat: &FileStat) -> Meta {
        meta_of(self.step, self.owner, self.owned, stat)
    }
    /// Makes a link or a node. A socket is an empty file, as BuildKit makes it: an image can't hold one.
    fn special(&mut self, to: &Path, entry: &Entry) -> Result<(), Errno> {
        let meta = self.meta(&entry.stat);
        if let Some(link) = &entry.link {
            self.writer.symlink(to, link)?;
            return self.writer.meta(to, &meta, true);
        }
        match SFlag::from_bits_truncate(entry.stat.st_mode & libc::S_IFMT) {
            SFlag::S_IFSOCK => drop(self.writer.file(to)?),
            kind => self.writer.node(to, kind, entry.stat.st_rdev)?,
        }
        self.writer.meta(to, &meta, false)
    }
    /// Does all jobs: files first and side by side, then the others in their order.
    fn flush(&mut self, start: &Path, watch: &mut Watch<'_>) -> Result<(), StepError> {
        let jobs = std::mem::take(&mut self.jobs);
        let files: Vec<&FileJob> = jobs
            .iter()
            .filter_map(|job| match job {
                Job::File(file) => Some(file),
                _ => None,
            })
            .collect();
        let work = Work {
            step: self.step,
            owner: self.owner,
            owned: self.owned,
            start,
            digests: watch.digests,
            refused: &self.refused,
        };
        let dest = self.dest;
        let mut followed = false;
        let copied = if let [alone] = files.as_slice() {
            let ahead = &mut self.ahead;
            vec![vec![work.file(&mut self.writer, alone, &mut |file| {
                let sender = ahead.follow(file)?;
                followed = true;
                Some(sender)
            })]]
        } else {
            // Neighbours lie in the same folder: each thread takes some in a row, and finds it open.
            let rows: Vec<&[&FileJob]> = files.chunks(32).collect();
            in_parallel(self.threads, &rows, |row| {
                let mut writer = Writer::new(dest);
                let each = row
                    .iter()
                    .map(|job| work.file(&mut writer, job, &mut |_| None));
                each.collect::<Vec<_>>()
            })
        };
        drop(files);
        self.bytes = 0;
        let mut written = Vec::with_capacity(jobs.len());
        let mut copied = copied.into_iter().flatten();
        for job in jobs {
            let (entry, digest) = match job {
                Job::File(FileJob { to, .. }) => {
                    let (entry, digest) = copied
                        .next()
                        .unwrap_or_else(|| Err(StepError::file("write", &to, Errno::EIO)))?;
                    let id = (entry.stat.st_dev, entry.stat.st_ino);
                    let linked = self.linked.get_mut(&id);
                    if !followed {
                        written.push(Written::Other {
                            path: to,
                            linked: linked.is_some(),
                        });
                    }
                    if let Some((_, known)) = linked {
                        *known = digest;
                    }
                    (entry, digest)
                }
                Job::Name { to, entry } => {
                    let id = (entry.stat.st_dev, entry.stat.st_ino);
                    let known = self.linked.get(&id).cloned();
                    let (first, digest) = known.unwrap_or_default();
                    let linked = self.writer.hard_link(&to, &first);
                    linked.map_err(|errno| StepError::file("write", &to, errno))?;
                    written.push(Written::Other {
                        path: to,
                        linked: true,
                    });
                    (entry, digest)
                }
                Job::Note { entry, written: at } => {
                    written.extend(at);
                    (entry, None)
                }
                Job::Folder { to, meta } => {
                    let done = self.writer.meta(&to, &meta, false);
                    done.map_err(|errno| StepError::file("write", &to, errno))?;
                    continue;
                }
            };
            if let Some(key) = watch.key.as_deref_mut() {
                add_entry(key.hasher(), self.owned, &entry, digest);
            }
        }
        self.ahead.take(written);
        Ok(())
    }
    /// Unpacks an archive into the destination; false if the file is none.
    fn unpacked(
        &mut self,
        item: &Item<'_>,
        source: &Source,
        watch: &mut Watch<'_>,
    ) -> Result<bool, StepError> {
        let told = |errno| {
            let path = PathBuf::new();
            unreadable(&source.path, &Fault { path, errno })
        };
        if !archive::is_archive(item.open().map_err(told)?) {
            return Ok(false);
        }
        self.ahead = Ahead::Off;
        let dest = clean(Path::new(&self.step.dest));
        self.folders(&dest, 0o755)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        let inside = self.dest.open_at(&dest, flags, 0);
        let inside = Root::from_fd(inside.map_err(|errno| StepError::file("open", &dest, errno))?);
        // Contexts know no owners, but their archives do.
        let file = item.open().map_err(told)?;
        archive::unpack(file, &inside, self.owner).map_err(|why| {
            StepError::new(format!("cannot unpack /{}: {why}", source.path.display()))
        })?;
        let (Some(digests), Some(key)) = (watch.digests, watch.key.as_deref_mut()) else {
            return Ok(true);
        };
        let file = item.open().map_err(told)?;
        let digest = digests
            .of_copy(&item.entry.stat, &file, &file)
            .map_err(told)?;
        add_entry(key.hasher(), self.owned, item.entry, Some(digest));
        Ok(true)
    }
}
