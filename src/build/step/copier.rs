//! Writes the sources of a `COPY` or `ADD` into an image's tree.
//!
//! In: what was found. Out: files below a root, and what counts of them for the key. Files are copied by several threads,
//! batch by batch; folders get their times when all that is in them is written.
//! Folders that are made on the way have mode 0755 (or the octal `--chmod`) and the `--chown` owner.
//! Imports: `sys::fs`, `build::context`. Source: BuildKit's copier, measured 2026-11.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag};

use super::copy::{CopyStep, Source, unreadable};
use super::mode::Chmod;
use super::write::{Meta, Writer};
use super::{StepError, archive};
use crate::build::context::digest::{Digests, add_entry, in_parallel};
use crate::build::context::walk::{Fault, Item, Seen, open_file};
use crate::build::context::{Entry, Tree, resolve};
use crate::build::key::Key;
use crate::image::digest::Digest;
use crate::image::layer::keeps_attribute;
use crate::sys::fs::{Root, clean, copy_content, entry_path, is_kind, xattrs};

/// Files that are copied together.
const BATCH: usize = 256;

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
    File {
        folder: Arc<OwnedFd>,
        name: OsString,
        to: PathBuf,
        entry: Entry,
    },
    /// Gives a file that was copied before another name.
    Name { to: PathBuf, entry: Entry },
    /// What is there already: noted only.
    Note(Entry),
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
        writer: Writer<'a>,
    ) -> Self {
        Self {
            step,
            owned: false,
            owner,
            dest,
            writer,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            jobs: Vec::new(),
            linked: BTreeMap::new(),
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
        self.clear(&target)?;
        let mut file = self.writer.file(&target).map_err(told)?;
        let written = file.write_all(content.as_bytes());
        written.map_err(|e| told(errno(&e)))?;
        let chmod = self.step.chmod.as_ref();
        let meta = Meta {
            owner: self.owner.unwrap_or((0, 0)),
            mode: chmod.map_or(0o644, |chmod| chmod.apply(0o644, false)),
            modified: None,
        };
        self.writer.meta(&target, &meta, false).map_err(told)
    }
    fn clear(&mut self, target: &Path) -> Result<(), StepError> {
        self.writer.clear(target).map_err(|errno| match errno {
            Errno::EISDIR => StepError::new(format!(
                "cannot replace to directory /{} with file",
                target.display()
            )),
            errno => StepError::file("replace", target, errno),
        })
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
                Seen::Entry(item) => self.entry(item, target)?,
                Seen::Left(entry) => self.leave(entry, target)?,
            }
            match self.jobs.len() >= BATCH {
                true => Ok(self.flush(&source.path, watch)?),
                false => Ok::<(), Stop>(()),
            }
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
                self.writer.folder(&to).map_err(|errno| match errno {
                    Errno::ENOTDIR => {
                        StepError::new(format!("cannot copy to non-directory: /{}", to.display()))
                    }
                    errno => StepError::file("create", &to, errno),
                })?;
            }
            self.jobs.push(Job::Note(entry.clone()));
            return Ok(());
        }
        self.clear(&to)?;
        let entry = entry.clone();
        if !entry.is_file() {
            let made = self.special(&to, &entry);
            made.map_err(|errno| StepError::file("write", &to, errno))?;
            self.jobs.push(Job::Note(entry));
            return Ok(());
        }
        let stat = &entry.stat;
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if self.linked.contains_key(&id) {
                self.jobs.push(Job::Name { to, entry });
                return Ok(());
            }
            self.linked.insert(id, (to.clone(), None));
        }
        let Some(folder) = item.folder else {
            return Err(StepError::file("read", &entry.path, Errno::EISDIR));
        };
        self.jobs.push(Job::File {
            folder: Arc::clone(folder),
            name: item.name.to_owned(),
            to,
            entry,
        });
        Ok(())
    }
    /// A folder of which everything was seen.
    fn leave(&mut self, entry: &Entry, target: &Path) -> Result<(), StepError> {
        let to = entry.below(target);
        let mut meta = self.meta(&entry.stat);
        if entry.path.as_os_str().is_empty() {
            if self.step.parents {
                // Its contents were asked for, not itself.
                return Ok(());
            }
            // The folder that takes the contents keeps its own owner and mode.
            let told = |errno| StepError::file("write", &to, errno);
            let Some(own) = self.writer.stat(&to).map_err(told)? else {
                return Ok(());
            };
            meta = Meta {
                owner: (own.st_uid, own.st_gid),
                mode: own.st_mode,
                ..meta
            };
        }
        self.jobs.push(Job::Folder { to, meta });
        Ok(())
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
        let files: Vec<&Job> = jobs
            .iter()
            .filter(|job| matches!(job, Job::File { .. }))
            .collect();
        let work = Work {
            step: self.step,
            owner: self.owner,
            owned: self.owned,
            dest: self.dest,
            digests: watch.digests,
        };
        // Neighbours lie in the same folder: each thread takes some in a row, and finds it open.
        let rows: Vec<&[&Job]> = files.chunks(32).collect();
        let copied = in_parallel(self.threads, &rows, |row| {
            let mut writer = Writer::new(work.dest);
            let each = row.iter().map(|job| work.file(&mut writer, job, start));
            each.collect::<Vec<_>>()
        });
        drop(files);
        let mut copied = copied.into_iter().flatten();
        for job in jobs {
            let (entry, digest) = match job {
                Job::File { to, .. } => {
                    let (entry, digest) = copied
                        .next()
                        .unwrap_or_else(|| Err(StepError::file("write", &to, Errno::EIO)))?;
                    let id = (entry.stat.st_dev, entry.stat.st_ino);
                    if let Some((_, known)) = self.linked.get_mut(&id) {
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
                    (entry, digest)
                }
                Job::Note(entry) => (entry, None),
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

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

fn meta_of(step: &CopyStep, owner: Option<(u32, u32)>, owned: bool, stat: &FileStat) -> Meta {
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
struct Work<'a> {
    step: &'a CopyStep,
    owner: Option<(u32, u32)>,
    owned: bool,
    dest: &'a Root,
    digests: Option<&'a Digests>,
}

impl Work<'_> {
    /// Copies one file, as it is when it is opened; gives what was found then.
    fn file(
        &self,
        writer: &mut Writer<'_>,
        job: &Job,
        start: &Path,
    ) -> Result<(Entry, Option<Digest>), StepError> {
        let Job::File {
            folder,
            name,
            to,
            entry,
        } = job
        else {
            return Err(StepError::file("write", start, Errno::EINVAL));
        };
        let read = |errno| {
            let path = entry.path.clone();
            unreadable(start, &Fault { path, errno })
        };
        let wrote = |errno| StepError::file("write", to, errno);
        let source = open_file(folder.as_fd(), name).map_err(read)?;
        let stat = nix::sys::stat::fstat(&source).map_err(read)?;
        if !is_kind(&stat, libc::S_IFREG) {
            return Err(read(Errno::ESTALE));
        }
        let file = writer.file(to).map_err(wrote)?;
        copy_content(&source, &file).map_err(|error| wrote(errno(&error)))?;
        let meta = meta_of(self.step, self.owner, self.owned, &stat);
        writer.meta_of(&file, &meta).map_err(wrote)?;
        if self.owned {
            let attributes = xattrs(&entry_path(folder, name)).map_err(read)?;
            let kept = |(name, _): &(OsString, Vec<u8>)| {
                keeps_attribute(std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str()))
            };
            let attributes: Vec<_> = attributes.into_iter().filter(kept).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::context::ignore::Ignore;
    use crate::build::sources::{Fetched, Remote};
    use crate::build::step::Origin;
    use crate::build::step::copy::Selection;

    fn no_fetch(_: &Remote) -> Result<Fetched, StepError> {
        Err(StepError::new("nothing is fetched"))
    }

    /// A context whose file changes between the look at it and the copy.
    #[test]
    fn a_key_is_of_what_was_copied() {
        let dir = std::env::temp_dir().join(format!("hoist-copier-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("from")).unwrap();
        std::fs::write(dir.join("from/a"), "one").unwrap();
        let step = CopyStep::all(Origin::Context, ".".to_owned());
        let tree = Tree::of_dir(Root::open(&dir.join("from")).unwrap(), Ignore::default());
        let digests = Digests::open(dir.join("digests"));
        let look = || {
            let mut key = Key::of_step("copy", &[]);
            let found = Selection::find(&step, &tree, &no_fetch).unwrap();
            found.add_to(&mut key, &tree, &digests).unwrap();
            key.finish()
        };
        let before = look();
        let copy = |to: &str| {
            std::fs::create_dir(dir.join(to)).unwrap();
            let mut key = Key::of_step("copy", &[]);
            let found = Selection::find(&step, &tree, &no_fetch).unwrap();
            let root = Root::open(&dir.join(to)).unwrap();
            let watch = Some((&digests, &mut key));
            found.write(&tree, &root, None, watch).unwrap();
            key.finish()
        };
        assert_eq!(copy("same"), before);
        std::fs::write(dir.join("from/a"), "two").unwrap();
        let after = copy("other");
        assert_ne!(after, before);
        assert_eq!(after, look());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
