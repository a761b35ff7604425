//! An image's files in an empty volume: content, owners, modes, times, attributes, hard links, holes.
//!
//! Directories are made by one thread in their order, files are copied by a few; blocks are shared with the layer where
//! the file system can do that. What a kill cuts short is begun again by the next start.
//!
//! Imports: `base`, `engine`, `sys`. Source: moby `daemon/create_unix.go` (`populateVolume`), `daemon/volumes_unix.go`
//! (`copyExistingContents`).

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;

use super::{open, place};
use crate::base::cancel::Cancel;
use crate::engine::native::layout::Layout;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{self, Resolve, Root, openat2};
use crate::sys::lock::{Hold, Lock};

type Done<T> = std::result::Result<T, Errno>;

/// Files that wait for a thread. Each keeps its directory open.
const QUEUE: usize = 64;
/// More threads than this only wait for the disk.
const MOST_THREADS: usize = 4;

/// An image's files.
#[derive(Debug)]
pub(in crate::engine::native) struct Image {
    /// As a container sees them.
    pub(in crate::engine::native) view: Root,
    /// Directories of its layers, base first.
    pub(in crate::engine::native) layers: Vec<PathBuf>,
}

/// Whether a volume is to be filled from an image: it is empty, or a command was killed while it filled it.
///
/// # Errors
/// [`EngineError`] when the volume can't be opened.
pub(in crate::engine::native) fn needs_content(layout: &Layout, name: &str) -> Result<bool> {
    let data = data(layout, name)?;
    Ok(is_empty(&data) || filling(layout, name).exists())
}

/// The volume's directory, for reading.
fn data(layout: &Layout, name: &str) -> Result<OwnedFd> {
    let found = open(name, &place(layout, name)?.0, None)?;
    reopened(found.as_fd())
        .map_err(|errno| EngineError::failed(format!("open volume {name}"), errno.desc()))
}

fn reopened(dir: BorrowedFd<'_>) -> Done<OwnedFd> {
    openat2(dir, Path::new("."), LISTED, 0, Resolve::NoLinks)
}

const LISTED: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_RDONLY);

fn filling(layout: &Layout, name: &str) -> PathBuf {
    layout.volumes().join(name).join("filling")
}

/// Whether a directory has no entries; one that can't be read is left alone.
fn is_empty(dir: impl AsFd) -> bool {
    entries(dir.as_fd()).is_ok_and(|names| names.is_empty())
}

/// Fills a volume from what an image has at `target`. A volume that got files since [`needs_content`] is left alone,
/// as is one whose target is missing in the image or no directory.
///
/// # Errors
/// [`EngineError::Failed`].
pub(in crate::engine::native) fn fill(
    layout: &Layout,
    name: &str,
    image: &Image,
    target: &str,
) -> Result<()> {
    let step = format!("copy the image's {target} into volume {name}");
    let failed = |error: Errno| EngineError::failed(&step, error);
    let from = match image.view.open_at(Path::new(target), LISTED, 0) {
        Ok(from) => from,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    let marker = filling(layout, name);
    let system = |error: io::Error| EngineError::failed(&step, error);
    // One at a time; who waited for another looks again.
    let _held = loop {
        let held = Lock::acquire(&marker, Hold::Exclusive).map_err(system)?;
        if held.is_at(&marker) {
            break held;
        }
    };
    // The lock makes the file; only who copies writes into it, so that it says whether that came to its end.
    let cut_short = std::fs::metadata(&marker).is_ok_and(|meta| meta.len() > 0);
    let to = data(layout, name)?;
    if cut_short || is_empty(&to) {
        std::fs::write(&marker, target).map_err(system)?;
        let sources = Sources::new(image, from.as_fd());
        copy_tree(Pair { from, to }, &sources, cut_short).map_err(failed)?;
    }
    std::fs::remove_file(&marker).map_err(system)
}

/// Copies what is in one directory into an empty one, as it is; sockets, which belong to a process, are left out, and
/// their paths given.
///
/// # Errors
/// The system's; `ECANCELED` when `cancel` was used.
pub(super) fn duplicate(from: OwnedFd, to: OwnedFd, cancel: &Cancel) -> Done<Vec<PathBuf>> {
    let sources = Sources {
        layers: Vec::new(),
        shares: AtomicBool::new(false),
        cancel: cancel.clone(),
    };
    copy_tree(Pair { from, to }, &sources, false)
}

/// Where the blocks of files can be had from.
struct Sources {
    /// The target inside each layer, the topmost first.
    layers: Vec<OwnedFd>,
    /// Whether blocks can be shared, as far as is known.
    shares: AtomicBool,
    /// Ends the copy before its time.
    cancel: Cancel,
}

impl Sources {
    fn new(image: &Image, from: BorrowedFd<'_>) -> Self {
        // Links in the target were followed; a layer is asked for where they led.
        let path = |fd: BorrowedFd<'_>| nix::fcntl::readlink(&fs::fd_path(fd)).map(PathBuf::from);
        let inside = match (path(image.view.as_fd()), path(from)) {
            (Ok(root), Ok(path)) => path.strip_prefix(root).map(Path::to_owned).ok(),
            _ => None,
        };
        let open = |layer: &PathBuf| {
            let layer = Root::open(layer).ok()?;
            openat2(&layer, inside.as_deref()?, LISTED, 0, Resolve::NoLinks).ok()
        };
        Self {
            layers: image.layers.iter().rev().filter_map(open).collect(),
            shares: AtomicBool::new(true),
            cancel: Cancel::default(),
        }
    }

    /// Makes a file that shares its blocks with the layer it comes from: a stacked view can't do that itself. The topmost
    /// layer that has a path is the one that is seen, as anything else above would hide it.
    fn share(&self, path: &Path, to: &File) -> bool {
        if !self.shares.load(Ordering::Relaxed) {
            return false;
        }
        let found = self
            .layers
            .iter()
            .find_map(|layer| openat2(layer, path, OFlag::O_RDONLY, 0, Resolve::NoLinks).ok());
        let Some(found) = found else { return false };
        let shared = fs::share_content(&File::from(found), to).is_ok();
        self.shares.fetch_and(shared, Ordering::Relaxed);
        shared
    }
}

/// A directory of the image, and what becomes of it.
struct Pair {
    from: OwnedFd,
    to: OwnedFd,
}

/// A file that a thread is to copy.
struct Job {
    dirs: Arc<Pair>,
    /// Below the target.
    path: PathBuf,
    name: OsString,
    stat: FileStat,
}

/// The one thread that makes directories.
struct Walk<'a> {
    root: Arc<Pair>,
    sources: &'a Sources,
    /// To those who copy files; `None` where no thread could be had.
    queue: Option<SyncSender<Job>>,
    /// Files with several names: device and number → the first.
    links: HashMap<(u64, u64), PathBuf>,
    /// Directories, those above first: what they are is set when nothing is made in them any more.
    dirs: Vec<(PathBuf, FileStat)>,
    /// Sockets.
    left_out: Vec<PathBuf>,
    /// Whether a copy before this one may have made a part of it.
    again: bool,
}

/// Copies a tree; gives the paths of the sockets in it.
fn copy_tree(pair: Pair, sources: &Sources, again: bool) -> Done<Vec<PathBuf>> {
    let (queue, jobs) = sync_channel::<Job>(QUEUE);
    let (jobs, fault) = (Mutex::new(jobs), Mutex::new(None));
    let mut walk = Walk {
        root: Arc::new(pair),
        sources,
        queue: Some(queue),
        links: HashMap::new(),
        dirs: Vec::new(),
        left_out: Vec::new(),
        again,
    };
    let root = Arc::clone(&walk.root);
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (walked, dirs, left_out) = std::thread::scope(|scope| {
        let helper = || work(&jobs, sources, &fault);
        let helpers = (0..processors.min(MOST_THREADS))
            .map(|_| std::thread::Builder::new().spawn_scoped(scope, helper));
        if helpers.filter(|started| started.is_ok()).count() == 0 {
            walk.queue = None;
        }
        let walked = walk.dir(&root, Path::new(""));
        let dirs = std::mem::take(&mut walk.dirs);
        let left_out = std::mem::take(&mut walk.left_out);
        // The queue ends with it, and the threads with the queue.
        drop(walk);
        (walked, dirs, left_out)
    });
    let fault = fault.into_inner().unwrap_or_else(PoisonError::into_inner);
    fault.map_or(Ok(()), Err)?;
    walked?;
    for (path, stat) in dirs.iter().rev() {
        let from = openat2(&root.from, path, LISTED, 0, Resolve::NoLinks)?;
        let to = openat2(&root.to, path, LISTED, 0, Resolve::NoLinks)?;
        copy_metadata(&fs::fd_path(&from).join("."), to.as_fd(), stat)?;
    }
    Ok(left_out)
}

/// Copies files until there are no more; after a failure it only empties the queue.
fn work(jobs: &Mutex<Receiver<Job>>, sources: &Sources, fault: &Mutex<Option<Errno>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let mut failed = fault.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some() {
            continue;
        }
        drop(failed);
        if let Err(errno) = copy_file(&job, sources) {
            failed = fault.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(errno);
        }
    }
}

impl Walk<'_> {
    fn dir(&mut self, dirs: &Arc<Pair>, path: &Path) -> Done<()> {
        self.dirs
            .push((path.to_owned(), nix::sys::stat::fstat(&dirs.from)?));
        for name in entries(dirs.from.as_fd())? {
            self.entry(dirs, path.join(&name), &name)?;
        }
        Ok(())
    }

    fn entry(&mut self, dirs: &Arc<Pair>, path: PathBuf, name: &OsStr) -> Done<()> {
        if self.sources.cancel.is_cancelled() {
            return Err(Errno::ECANCELED);
        }
        let stat = fs::lstat_at(&dirs.from, name)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if self.again && kind != SFlag::S_IFDIR {
            match nix::unistd::unlinkat(&dirs.to, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        if kind == SFlag::S_IFDIR {
            match nix::sys::stat::mkdirat(&dirs.to, name, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            let below = Pair {
                from: openat2(&dirs.from, Path::new(name), LISTED, 0, Resolve::NoLinks)?,
                to: openat2(&dirs.to, Path::new(name), LISTED, 0, Resolve::NoLinks)?,
            };
            return self.dir(&Arc::new(below), &path);
        }
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
        {
            let flags = AtFlags::empty();
            return nix::unistd::linkat(&self.root.to, first.as_path(), &dirs.to, name, flags);
        }
        if kind == SFlag::S_IFSOCK {
            self.left_out.push(path);
            return Ok(());
        }
        if kind != SFlag::S_IFREG {
            make_special(dirs, name, kind, &stat)?;
            if stat.st_nlink > 1 {
                self.links.insert(key, path);
            }
            return Ok(());
        }
        let job = Job {
            dirs: Arc::clone(dirs),
            path,
            name: name.to_owned(),
            stat,
        };
        if stat.st_nlink > 1 {
            // Here, so that it is there when its next name comes.
            copy_file(&job, self.sources)?;
            self.links.insert(key, job.path);
            return Ok(());
        }
        match &self.queue {
            // Nobody is there to take it only when all threads have died.
            Some(queue) => queue.send(job).map_err(|_| Errno::EIO),
            None => copy_file(&job, self.sources),
        }
    }
}

/// Names in a directory, without those of itself and the one above.
fn entries(dir: BorrowedFd<'_>) -> Done<Vec<OsString>> {
    let mut listing = nix::dir::Dir::openat(dir, ".", LISTED, Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(os_name(entry.file_name()));
        }
    }
    Ok(names)
}

fn os_name(name: &CStr) -> OsString {
    OsStr::from_bytes(name.to_bytes()).to_owned()
}

fn copy_file(job: &Job, sources: &Sources) -> Done<()> {
    let name = Path::new(&job.name);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let made = File::from(openat2(&job.dirs.to, name, flags, 0o600, Resolve::NoLinks)?);
    if job.stat.st_size > 0 && !sources.share(&job.path, &made) {
        let from = openat2(&job.dirs.from, name, OFlag::O_RDONLY, 0, Resolve::NoLinks)?;
        fs::copy_content(&File::from(from), &made)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    }
    let source = fs::entry_path(&job.dirs.from, &job.name);
    copy_metadata(&source, made.as_fd(), &job.stat)
}

/// Makes what is neither a file nor a directory.
fn make_special(dirs: &Pair, name: &OsStr, kind: SFlag, stat: &FileStat) -> Done<()> {
    match kind {
        SFlag::S_IFLNK => {
            let target = nix::fcntl::readlinkat(&dirs.from, name)?;
            nix::unistd::symlinkat(target.as_os_str(), &dirs.to, name)?;
        }
        SFlag::S_IFCHR | SFlag::S_IFBLK | SFlag::S_IFIFO => {
            let mode = Mode::from_bits_truncate(stat.st_mode);
            nix::sys::stat::mknodat(&dirs.to, name, kind, mode, stat.st_rdev)?;
        }
        // There is no other kind; sockets were left out before.
        _ => return Ok(()),
    }
    let owner = (Some(stat.st_uid.into()), Some(stat.st_gid.into()));
    nix::unistd::fchownat(
        &dirs.to,
        name,
        owner.0,
        owner.1,
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    if kind != SFlag::S_IFLNK {
        // The umask has had its say, and a change of owner too.
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        let follow = nix::sys::stat::FchmodatFlags::FollowSymlink;
        nix::sys::stat::fchmodat(&dirs.to, name, mode, follow)?;
    }
    for (attribute, value) in kept_xattrs(&fs::entry_path(&dirs.from, name))? {
        as_far_as_it_goes(fs::set_xattr(
            &fs::entry_path(&dirs.to, name),
            &attribute,
            &value,
        ))?;
    }
    let (accessed, modified) = times(stat);
    let flags = UtimensatFlags::NoFollowSymlink;
    nix::sys::stat::utimensat(&dirs.to, name, &accessed, &modified, flags)
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (
        TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
        TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
    )
}

/// Owner first: changing it clears set-user-id bits and capabilities.
fn copy_metadata(source: &Path, to: BorrowedFd<'_>, stat: &FileStat) -> Done<()> {
    nix::unistd::fchown(to, Some(stat.st_uid.into()), Some(stat.st_gid.into()))?;
    nix::sys::stat::fchmod(to, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
    for (name, value) in kept_xattrs(source)? {
        as_far_as_it_goes(fs::set_fd_xattr(to, &name, &value))?;
    }
    let (accessed, modified) = times(stat);
    nix::sys::stat::futimens(to, &accessed, &modified)
}

/// A volume whose file system has no such attributes goes without. As Docker.
fn as_far_as_it_goes(set: Done<()>) -> Done<()> {
    match set {
        Err(Errno::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Attributes worth keeping: overlay's own marks and this machine's labels stay behind.
fn kept_xattrs(source: &Path) -> Done<Vec<(OsString, Vec<u8>)>> {
    let mut found = fs::xattrs(source)?;
    found.retain(|(name, _)| {
        let name = name.to_string_lossy();
        !name.starts_with("trusted.overlay.") && !name.starts_with("security.selinux")
    });
    Ok(found)
}
