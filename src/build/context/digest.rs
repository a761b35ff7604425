//! Digests of files: computed once, remembered while a file's inode, size and times stay the same.
//!
//! In: entries of a [`Tree`]. Out: one digest of all that counts: paths, modes, contents, link targets.
//! Times and, for a context, owners do not count. Imports: `sys::fs`, `image::digest`, `base::clock`.
//! On disk: one text file, a line a file: device, inode, size, mtime, ctime, digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;

use super::{Entry, Tree};
use crate::base::clock::Timestamp;
use crate::image::digest::{Digest, Hasher};
use crate::sys::fs::{Durability, write_atomic};

/// Files remembered at most; about 15 MB of text.
const MOST: usize = 100_000;

/// A file that changed less than this before it was read may change again within the same clock tick.
/// Nanoseconds; coarse file times move every 1 to 10 ms.
const SETTLED: i64 = 50_000_000;

/// Device, inode, size, mtime, ctime.
type Identity = (u64, u64, i64, i64, i64);

#[derive(Debug, Default)]
struct Known {
    digests: BTreeMap<Identity, Digest>,
    changed: bool,
}

/// Remembered digests of a data directory.
#[derive(Debug)]
pub struct Digests {
    file: PathBuf,
    known: Mutex<Known>,
}

fn identity(stat: &FileStat) -> Identity {
    let nanos = |s: i64, n: i64| s.saturating_mul(1_000_000_000).saturating_add(n);
    (
        stat.st_dev,
        stat.st_ino,
        stat.st_size,
        nanos(stat.st_mtime, stat.st_mtime_nsec),
        nanos(stat.st_ctime, stat.st_ctime_nsec),
    )
}

impl Digests {
    /// Reads what is remembered; a missing or broken file is an empty one.
    pub fn open(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let digests = text.lines().filter_map(line).collect();
        Self {
            file,
            known: Mutex::new(Known {
                digests,
                changed: false,
            }),
        }
    }
    /// Writes what is remembered, if there is something new.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self) -> std::io::Result<()> {
        let mut known = self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !known.changed {
            return Ok(());
        }
        while known.digests.len() > MOST {
            known.digests.pop_first();
        }
        let text: String = known
            .digests
            .iter()
            .map(|((dev, ino, size, mtime, ctime), digest)| {
                format!("{dev} {ino} {size} {mtime} {ctime} {digest}\n")
            })
            .collect();
        known.changed = false;
        write_atomic(&self.file, text.as_bytes(), 0o600, Durability::Renamed)
    }
    /// The digest of a file's content.
    fn content(&self, tree: &Tree, path: &Path, stat: &FileStat) -> Result<Digest, Errno> {
        let id = identity(stat);
        let lock = || {
            self.known
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        if let Some(digest) = lock().digests.get(&id) {
            return Ok(*digest);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mut file = File::from(tree.root().open_at(path, flags, 0)?);
        let now = Timestamp::now().0;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        let digest = hasher.finish();
        let same = nix::sys::stat::fstat(&file).is_ok_and(|after| identity(&after) == id);
        if same && now.saturating_sub(id.4) > SETTLED {
            let mut known = lock();
            known.digests.insert(id, digest);
            known.changed = true;
        }
        Ok(digest)
    }
    /// Adds all that counts of some entries to a hash.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add(
        &self,
        into: &mut Hasher,
        tree: &Tree,
        start: &Path,
        entries: &[Entry],
    ) -> Result<(), Errno> {
        for entry in entries {
            let stat = &entry.stat;
            let owner = if tree.keeps_owners() {
                (stat.st_uid, stat.st_gid)
            } else {
                (0, 0)
            };
            let head = format!(
                "{:o} {} {} {} ",
                stat.st_mode, owner.0, owner.1, stat.st_rdev
            );
            into.update(head.as_bytes());
            into.update(entry.path.as_os_str().as_bytes());
            into.update(b"\0");
            if let Some(link) = &entry.link {
                into.update(link.as_bytes());
            } else if entry.is_file() {
                let digest = self.content(tree, &entry.below(start), stat)?;
                into.update(digest.to_string().as_bytes());
            }
            into.update(b"\0");
        }
        Ok(())
    }
}

fn line(text: &str) -> Option<(Identity, Digest)> {
    let mut words = text.split(' ');
    let id = (
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    );
    Some((id, Digest::parse(words.next()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::ignore::Ignore;
    use super::*;
    use crate::sys::fs::Root;

    #[test]
    fn a_digest_changes_with_content_and_mode_but_not_with_times() {
        let dir = std::env::temp_dir().join(format!("hoist-digest-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("t")).unwrap();
        std::fs::write(dir.join("t/a"), "1").unwrap();
        let tree = Tree::of_dir(Root::open(&dir.join("t")).unwrap(), Ignore::default());
        let digests = Digests::open(dir.join("digests"));
        let of = || {
            let mut hasher = Hasher::default();
            let entries = tree.walk(Path::new(""), &Ignore::default()).unwrap();
            digests
                .add(&mut hasher, &tree, Path::new(""), &entries)
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
}
