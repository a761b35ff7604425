//! Writes the sources of a `COPY` or `ADD` into an image's tree.
//!
//! In: what was found. Out: files below a root, and what counts of them for the key. Files are copied by several threads,
//! row by row; folders get their times when all that is in them is written. Where the files become a layer, each row is
//! hashed while the next ones are copied, from the memory it was read into.
//! What is below a folder that the layer made is written past the view of the layers below: nothing of them is there.
//! Folders that are made on the way have mode 0755 (or the octal `--chmod`) and the `--chown` owner.
//! Imports: `sys::fs`, `image::{digest, layer}`, `build::context`. Source: BuildKit's copier, measured 2026-11.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag};

use super::ahead::Ahead;
use super::copy::{CopyStep, Source, unreadable};
use super::crew::{Crew, with_crew};
use super::file::{Copied, Copies, FileJob, Row, Work, clear, errno, final_of, is_large, meta_of};
use super::mode::Chmod;
use super::write::{Meta, Writer};
use super::{StepError, archive};
use crate::build::context::digest::{Digests, add_entry};
use crate::build::context::walk::{Fault, Item, Seen};
use crate::build::context::{Entry, Tree, resolve};
use crate::build::key::Key;
use crate::image::digest::Digest;
use crate::image::layer::{Buffers, Content, Early, Written};
use crate::sys::fs::{Root, clean, is_kind};

/// Entries that wait for those before them at most.
const WAITING: usize = 1024;

/// Bytes of files that wait for those before them at most.
const WAITING_BYTES: i64 = 6 << 20;

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
    /// Files that are copied by somebody: the number of the work, how many they are, and their bytes.
    Row(u64, usize, i64),
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

/// Who copies files.
type Copyists<'c> = Crew<'c, Row, Copies>;

/// Copies sources one after the other.
pub(super) struct Copier<'a> {
    step: &'a CopyStep,
    /// Whether the tree that is copied has owners of its own.
    owned: bool,
    owner: Option<(u32, u32)>,
    dest: &'a Root,
    writer: Writer<'a>,
    /// The upper directory, where it may be written to past `dest`.
    direct: Option<&'a Root>,
    past: Option<Writer<'a>>,
    /// The topmost folder that the layer made: all that is below it is of this layer alone.
    fresh: Option<PathBuf>,
    threads: usize,
    /// Files of one folder that were not given away yet.
    row: Row,
    jobs: VecDeque<Job>,
    /// Files among the jobs.
    files: usize,
    /// Bytes of the files among the jobs.
    bytes: i64,
    ahead: Ahead<'a>,
    buffers: Buffers,
    /// The last device whose blocks could not be shared.
    refused: Arc<AtomicU64>,
    /// Where a file with several names was written first, and its content's digest.
    linked: BTreeMap<(u64, u64), (PathBuf, Option<Digest>)>,
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
        upper: Option<(&'a Path, &'a Root)>,
    ) -> Self {
        Self {
            step,
            owned: false,
            owner,
            dest,
            writer: Writer::new(dest),
            direct: upper.map(|(_, root)| root),
            past: upper.map(|(_, root)| Writer::new(root)),
            fresh: None,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            row: Row::default(),
            jobs: VecDeque::new(),
            files: 0,
            bytes: 0,
            ahead: upper.map_or(Ahead::Off, |(upper, _)| Ahead::of(upper)),
            buffers: Buffers::default(),
            refused: Arc::new(AtomicU64::new(u64::MAX)),
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
    /// Whether all that is at a path is of this layer, and may be written past what lies below.
    fn is_direct(&self, path: &Path) -> bool {
        let fresh = self.fresh.as_deref().filter(|_| self.direct.is_some());
        fresh.is_some_and(|fresh| path != fresh && path.starts_with(fresh))
    }
    /// What writes at a path.
    fn writer(&mut self, path: &Path) -> &mut Writer<'a> {
        match self.is_direct(path) {
            true => self.past.as_mut().unwrap_or(&mut self.writer),
            false => &mut self.writer,
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
    fn target(&mut self, name: &OsStr, folder: bool) -> Result<PathBuf, StepError> {
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
            (true, None) => {
                self.ensure(&real)?;
                self.fresh = Some(real.clone());
            }
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
        // What an earlier source made has been looked at through the view since.
        self.fresh = None;
        let work = Work {
            step: self.step,
            owner: self.owner,
            owned: self.owned,
            start: &source.path,
            digests: watch.digests,
            dest: self.dest,
            direct: self.direct,
            hashed: !matches!(self.ahead, Ahead::Off),
            buffers: self.buffers.clone(),
            refused: Arc::clone(&self.refused),
        };
        let copied = with_crew(
            self.threads,
            |row| work.row(row),
            |crew| self.walk((crew, &work), tree, source, unpack, watch),
        );
        // Others may write to what was open until now.
        self.past = self.direct.map(Writer::new);
        copied
    }
    fn walk(
        &mut self,
        (crew, work): (&mut Copyists<'_>, &Work<'_>),
        tree: &Tree,
        source: &Source,
        unpack: bool,
        watch: &mut Watch<'_>,
    ) -> Result<(), StepError> {
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
                Seen::Entry(item) => self.entry((crew, work), item, target, watch)?,
                Seen::Left(entry) => self.leave(crew, entry, target)?,
            }
            while self.jobs.len() + self.files >= WAITING || self.bytes >= WAITING_BYTES {
                self.ahead.begin();
                self.next(crew, watch)?;
            }
            Ok::<(), Stop>(())
        });
        match walked {
            Ok(()) => self.finish_all(crew, watch),
            Err(Stop::Done) => Ok(()),
            Err(Stop::Step(error)) => Err(error),
            Err(Stop::Read(fault)) => Err(unreadable(&source.path, &fault)),
        }
    }
    /// One entry: folders, links and nodes are made at once, files when somebody has time for them.
    fn entry(
        &mut self,
        (crew, work): (&mut Copyists<'_>, &Work<'_>),
        item: Item<'_>,
        target: &Path,
        watch: &mut Watch<'_>,
    ) -> Result<(), StepError> {
        let entry = item.entry;
        let to = entry.below(target);
        if entry.is_dir() {
            if !entry.path.as_os_str().is_empty() {
                self.folder(entry, &to)?;
            }
            let written = self.folder_told(entry, to)?;
            let entry = entry.clone();
            self.push(crew, Job::Note { entry, written });
            return Ok(());
        }
        let entry = entry.clone();
        if !entry.is_file() {
            clear(self.writer(&to), &to)?;
            let made = self.special(&to, &entry);
            made.map_err(|errno| StepError::file("write", &to, errno))?;
            let written = Some(Written::Other {
                path: to,
                linked: false,
            });
            self.push(crew, Job::Note { entry, written });
            return Ok(());
        }
        let stat = &entry.stat;
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if self.linked.contains_key(&id) {
                clear(self.writer(&to), &to)?;
                self.push(crew, Job::Name { to, entry });
                return Ok(());
            }
            self.linked.insert(id, (to.clone(), None));
        }
        let Some(folder) = item.folder else {
            return Err(StepError::file("read", &entry.path, Errno::EISDIR));
        };
        let job = FileJob {
            folder: Arc::clone(folder),
            name: item.name.to_owned(),
            to,
            entry,
        };
        if is_large(&job.entry.stat) {
            self.ahead.begin();
            self.finish_all(crew, watch)?;
            return self.alone(work, job, watch);
        }
        self.file(crew, folder, job);
        Ok(())
    }
    /// Makes a folder, or takes the one that is there.
    fn folder(&mut self, entry: &Entry, to: &Path) -> Result<(), StepError> {
        let made = self.writer(to).folder(to).map_err(|errno| match errno {
            Errno::ENOTDIR => {
                StepError::new(format!("cannot copy to non-directory: /{}", to.display()))
            }
            errno => StepError::file("create", to, errno),
        })?;
        if made && !self.is_direct(to) {
            self.fresh = Some(to.to_owned());
        }
        if !made && !matches!(self.ahead, Ahead::Off) {
            // One of a layer below appears among the changes with the first of its own.
            let meta = self.meta(&entry.stat);
            let changed = self.writer(to).meta(to, &meta, false);
            changed.map_err(|errno| StepError::file("write", to, errno))?;
        }
        Ok(())
    }
    /// A file to be copied, beside its neighbours if there is room for it.
    fn file(&mut self, crew: &mut Copyists<'_>, folder: &Arc<OwnedFd>, job: FileJob) {
        let size = job.entry.stat.st_size;
        if !self.row.takes(folder, size) {
            self.give(crew);
        }
        if self.row.files.is_empty() {
            self.row.direct = self.is_direct(&job.to);
        }
        self.row.bytes = self.row.bytes.saturating_add(size);
        self.row.files.push(job);
    }
    /// Gives the files of the row to who copies them.
    fn give(&mut self, crew: &mut Copyists<'_>) {
        if self.row.files.is_empty() {
            return;
        }
        let next = Row {
            lane: Arc::clone(&self.row.lane),
            ..Row::default()
        };
        let row = std::mem::replace(&mut self.row, next);
        let (files, bytes) = (row.files.len(), row.bytes);
        self.files += files;
        self.bytes = self.bytes.saturating_add(bytes);
        let ticket = crew.give(row);
        self.jobs.push_back(Job::Row(ticket, files, bytes));
    }
    /// Something to be done after all that came before.
    fn push(&mut self, crew: &mut Copyists<'_>, job: Job) {
        self.give(crew);
        if matches!(job, Job::Note { .. } | Job::Folder { .. }) {
            // What follows lies elsewhere.
            self.row.lane = Arc::new(Mutex::new(()));
        }
        self.jobs.push_back(job);
    }
    /// A folder of which everything was seen.
    fn leave(
        &mut self,
        crew: &mut Copyists<'_>,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), StepError> {
        let to = entry.below(target);
        if let Some(meta) = self.folder_meta(entry, &to)? {
            self.push(crew, Job::Folder { to, meta });
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
        let own = self.writer(to).stat(to);
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
        let writer = self.writer(to);
        if let Some(link) = &entry.link {
            writer.symlink(to, link)?;
            return writer.meta(to, &meta, true);
        }
        match SFlag::from_bits_truncate(entry.stat.st_mode & libc::S_IFMT) {
            SFlag::S_IFSOCK => drop(writer.file(to)?),
            kind => writer.node(to, kind, entry.stat.st_rdev)?,
        }
        writer.meta(to, &meta, false)
    }
    /// Does all that waits.
    fn finish_all(
        &mut self,
        crew: &mut Copyists<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), StepError> {
        self.give(crew);
        while !self.jobs.is_empty() {
            self.next(crew, watch)?;
        }
        Ok(())
    }
    /// Does what has waited longest.
    fn next(&mut self, crew: &mut Copyists<'_>, watch: &mut Watch<'_>) -> Result<(), StepError> {
        let (entry, digest, written) = match self.jobs.pop_front() {
            None => return Ok(()),
            Some(Job::Row(ticket, files, bytes)) => {
                self.files -= files;
                self.bytes -= bytes;
                let lost = || StepError::file("write", self.step.dest.as_ref(), Errno::EIO);
                let copies = crew.take(ticket).ok_or_else(lost)?;
                return self.copied(copies, watch);
            }
            Some(Job::Name { to, entry }) => {
                let id = (entry.stat.st_dev, entry.stat.st_ino);
                let known = self.linked.get(&id).cloned();
                let (first, digest) = known.unwrap_or_default();
                let linked = self.writer(&to).hard_link(&to, &first);
                linked.map_err(|errno| StepError::file("write", &to, errno))?;
                let written = Written::Other {
                    path: to,
                    linked: true,
                };
                (entry, digest, Some(written))
            }
            Some(Job::Note { entry, written }) => (entry, None, written),
            Some(Job::Folder { to, meta }) => {
                let done = self.writer(&to).meta(&to, &meta, false);
                return done.map_err(|errno| StepError::file("write", &to, errno));
            }
        };
        if let Some(key) = watch.key.as_deref_mut() {
            add_entry(key.hasher(), self.owned, &entry, digest);
        }
        self.ahead.take(written.into_iter().collect());
        Ok(())
    }
    /// Notes files that were copied.
    fn copied(&mut self, copies: Copies, watch: &mut Watch<'_>) -> Result<(), StepError> {
        let Copies { files, buffer } = copies;
        let mut written = Vec::with_capacity(files.len());
        for (to, copied) in files {
            let copied = copied?;
            let linked = self.note(&copied, watch);
            written.push(match (copied.handed, &buffer) {
                (Some((stat, from, end)), Some(buffer)) if !linked => Written::File {
                    path: to,
                    stat,
                    content: Content {
                        buffer: Arc::clone(buffer),
                        from,
                        to: end,
                    },
                },
                _ => Written::Other { path: to, linked },
            });
        }
        self.ahead.take(written);
        Ok(())
    }
    /// Adds a file that was copied to the key; whether it may get more names.
    fn note(&mut self, copied: &Copied, watch: &mut Watch<'_>) -> bool {
        let Copied { entry, digest, .. } = copied;
        if let Some(key) = watch.key.as_deref_mut() {
            add_entry(key.hasher(), self.owned, entry, *digest);
        }
        let id = (entry.stat.st_dev, entry.stat.st_ino);
        let linked = self.linked.get_mut(&id);
        let is_linked = linked.is_some();
        if let Some((_, known)) = linked {
            *known = *digest;
        }
        is_linked
    }
    /// Copies a large file, with nothing beside it.
    fn alone(
        &mut self,
        work: &Work<'_>,
        job: FileJob,
        watch: &mut Watch<'_>,
    ) -> Result<(), StepError> {
        let row = Row {
            direct: self.is_direct(&job.to),
            ..Row::default()
        };
        let mut followed = false;
        let ahead = &mut self.ahead;
        let copied = work.alone(&row, &job, &mut |file| {
            let sender = ahead.follow(file)?;
            followed = true;
            Some(sender)
        })?;
        let linked = self.note(&copied, watch);
        if !followed {
            let path = job.to;
            self.ahead.take(vec![Written::Other { path, linked }]);
        }
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
