//! Digests of files: computed once, remembered while a file's inode, size and times stay the same.
//!
//! In: a part of a [`Tree`]. Out: one digest of all that counts: paths, modes, contents, link targets.
//! Times and, for a context, owners do not count. Files that are not known are read by several threads.
//! Imports: `sys::fs`, `image::digest`, `base::clock`, [`super::known`].

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::stat::FileStat;

use super::known::{Identity, Known};
use super::list::List;
use super::walk::{Fault, Seen, Taken, open_file};
use super::{Entry, Tree};
use crate::base::clock::Timestamp;
use crate::image::digest::{Digest, Hasher};

/// A file that changed less than this before it was read may change again within the same clock tick.
/// Nanoseconds; coarse file times move every 1 to 10 ms.
const SETTLED: i64 = 50_000_000;

/// Entries that are looked at together.
const BATCH: usize = 512;

/// How often a file is read that changes while it is.
const TRIES: u32 = 5;

/// Remembered digests of a context.
#[derive(Debug)]
pub struct Digests {
    known: Mutex<Known>,
    threads: usize,
}

/// An entry, and what of its content counts.
struct Waiting {
    entry: Entry,
    content: Content,
}

enum Content {
    /// It has none that is hashed.
    None,
    Known(Digest),
    /// To be read: its folder and its name there.
    Unknown(Arc<OwnedFd>, OsString),
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

pub(super) fn identity(stat: &FileStat) -> Identity {
    Identity {
        inode: stat.st_ino,
        device: stat.st_dev,
        size: stat.st_size,
        modified: nanos(stat.st_mtime, stat.st_mtime_nsec),
        changed: nanos(stat.st_ctime, stat.st_ctime_nsec),
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Digests {
    /// Reads what is remembered; a missing or broken file is an empty one.
    pub fn open(file: PathBuf) -> Self {
        Self {
            known: Mutex::new(Known::open(file)),
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
    /// Writes what is remembered, if there is something new.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self) -> std::io::Result<()> {
        self.lock().save()
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The digest of a file that was just copied: as it is remembered, if the file was the same before and after,
    /// else that of the copy. What is in the image is what counts.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_copy(&self, before: &FileStat, source: &File, copy: &File) -> Result<Digest, Errno> {
        let id = identity(before);
        let after = identity(&nix::sys::stat::fstat(source)?);
        let known = self.lock().get(&id).filter(|_| after == id);
        match known {
            Some(digest) => Ok(digest),
            None => hash(copy),
        }
    }
    /// As [`Digests::of_copy`], of a copy whose bytes are these.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_bytes(&self, before: &FileStat, source: &File, copy: &[u8]) -> Result<Digest, Errno> {
        let id = identity(before);
        let after = identity(&nix::sys::stat::fstat(source)?);
        let known = self.lock().get(&id).filter(|_| after == id);
        Ok(known.unwrap_or_else(|| Digest::of(copy)))
    }
    /// The digest of a file's content.
    fn content(&self, folder: &OwnedFd, name: &OsStr) -> Result<Digest, Errno> {
        let file = open_file(folder.as_fd(), name)?;
        for _ in 0..TRIES {
            let before = identity(&nix::sys::stat::fstat(&file)?);
            let now = Timestamp::now().0;
            let digest = hash(&file)?;
            if identity(&nix::sys::stat::fstat(&file)?) == before {
                if now.saturating_sub(before.changed) > SETTLED {
                    self.lock().put(before, digest);
                }
                return Ok(digest);
            }
        }
        // Whatever it is now: what is copied is looked at again.
        hash(&file)
    }
    /// Adds all that counts of a part of a tree to a hash.
    ///
    /// # Errors
    /// The kernel's, with the path at fault.
    pub fn add(
        &self,
        into: &mut Hasher,
        tree: &Tree,
        start: &Path,
        taken: &Taken,
    ) -> Result<(), Fault> {
        self.add_listed(into, tree, start, taken, None)
    }
    /// As [`Digests::add`], and notes each file in a list.
    ///
    /// # Errors
    /// As [`Digests::add`].
    pub fn add_listed(
        &self,
        into: &mut Hasher,
        tree: &Tree,
        start: &Path,
        taken: &Taken,
        mut list: Option<&mut List>,
    ) -> Result<(), Fault> {
        let owned = tree.keeps_owners();
        let mut counts = Vec::with_capacity(128);
        self.each(tree, start, taken, &mut |entry, content| {
            counts.clear();
            describe(&mut counts, owned, entry, content);
            into.update(&counts);
            if let Some(list) = list.as_deref_mut() {
                list.note(start, &entry.path, &counts);
            }
        })
    }
    /// Gives all entries of a part of a tree, files with the digests of their contents.
    fn each(
        &self,
        tree: &Tree,
        start: &Path,
        taken: &Taken,
        give: &mut dyn FnMut(&Entry, Option<Digest>),
    ) -> Result<(), Fault> {
        let mut batch: Vec<Waiting> = Vec::new();
        tree.walk(start, taken, &mut |seen| {
            let Seen::Entry(item) = seen else {
                return Ok(());
            };
            let content = match item.folder.filter(|_| item.entry.is_file()) {
                None => Content::None,
                Some(folder) => match self.lock().get(&identity(&item.entry.stat)) {
                    Some(digest) => Content::Known(digest),
                    None => Content::Unknown(Arc::clone(folder), item.name.to_owned()),
                },
            };
            batch.push(Waiting {
                entry: item.entry.clone(),
                content,
            });
            match batch.len() {
                BATCH => self.flush(&mut batch, give),
                _ => Ok::<(), Fault>(()),
            }
        })?;
        self.flush(&mut batch, give)
    }
    /// Gives what waits, in order.
    fn flush(
        &self,
        batch: &mut Vec<Waiting>,
        give: &mut dyn FnMut(&Entry, Option<Digest>),
    ) -> Result<(), Fault> {
        let unknown: Vec<usize> = (0..batch.len())
            .filter(|at| matches!(batch[*at].content, Content::Unknown(..)))
            .collect();
        let found = in_parallel(self.threads, &unknown, |at| match &batch[*at].content {
            Content::Unknown(folder, name) => self.content(folder, name),
            Content::Known(digest) => Ok(*digest),
            Content::None => Err(Errno::EINVAL),
        });
        for (at, digest) in unknown.into_iter().zip(found) {
            let path = &batch[at].entry.path;
            let digest = digest.map_err(|errno| Fault {
                path: path.clone(),
                errno,
            })?;
            batch[at].content = Content::Known(digest);
        }
        for waiting in batch.drain(..) {
            let digest = match waiting.content {
                Content::Known(digest) => Some(digest),
                _ => None,
            };
            give(&waiting.entry, digest);
        }
        Ok(())
    }
}

/// Does one thing with each item, by several threads; the results are in the items' order.
pub fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if items.len() < 2 || threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let some = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(item);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(some);
        }
        some();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Adds what counts of one entry to a hash; `owned` says that owners count.
pub fn add_entry(into: &mut Hasher, owned: bool, entry: &Entry, content: Option<Digest>) {
    let mut counts = Vec::with_capacity(128);
    describe(&mut counts, owned, entry, content);
    into.update(&counts);
}

/// Writes down what counts of one entry.
fn describe(into: &mut Vec<u8>, owned: bool, entry: &Entry, content: Option<Digest>) {
    let stat = &entry.stat;
    let owner = match owned {
        true => (stat.st_uid, stat.st_gid),
        false => (0, 0),
    };
    let numbers = [stat.st_mode, owner.0, owner.1];
    for number in numbers {
        into.extend_from_slice(&number.to_be_bytes());
    }
    into.extend_from_slice(&stat.st_rdev.to_be_bytes());
    into.extend_from_slice(entry.path.as_os_str().as_bytes());
    into.push(0);
    if let Some(link) = &entry.link {
        into.extend_from_slice(link.as_bytes());
    }
    if let Some(digest) = content {
        into.extend_from_slice(digest.bytes());
    }
    into.push(0);
}

fn hash(mut file: &File) -> Result<Digest, Errno> {
    use std::io::Seek as _;
    file.rewind().map_err(|error| errno(&error))?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer).map_err(|error| errno(&error))? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::Root;

    #[test]
    fn a_digest_changes_with_content_and_mode_but_not_with_times() {
        use crate::build::context::ignore::Ignore;
        let dir = std::env::temp_dir().join(format!("hoist-digest-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("t")).unwrap();
        std::fs::write(dir.join("t/a"), "1").unwrap();
        let tree = Tree::of_dir(Root::open(&dir.join("t")).unwrap(), Ignore::default());
        let digests = Digests::open(dir.join("digests"));
        let of = || {
            let mut hasher = Hasher::default();
            let all = Taken::default();
            digests
                .add(&mut hasher, &tree, Path::new(""), &all)
                .unwrap();
            hasher.finish()
        };
        let first = of();
        let old = std::time::SystemTime::UNIX_EPOCH;
        File::options()
            .write(true)
            .open(dir.join("t/a"))
            .unwrap()
            .set_modified(old)
            .unwrap();
        assert_eq!(of(), first);
        std::fs::write(dir.join("t/a"), "2").unwrap();
        let second = of();
        assert_ne!(second, first);
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(dir.join("t/a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(of(), second);
        digests.save().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn results_of_several_threads_come_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(
            in_parallel(4, &items, |n| n * 2),
            (0..1000).map(|n| n * 2).collect::<Vec<_>>()
        );
    }
}
