//! A layer's digest, worked out while its files are still being written.
//!
//! In: what was written so far, in the archive's order ([`Early::take`]). Out: the digest of the archive, if it was what
//! the directory is in the end: names, kinds, modes, owners, lengths, times and links are looked at again then, and
//! anything that came in another order, or changed after it was told, makes the result worthless, never wrong. The
//! caller alone writes to the directory, and writes nothing again that it has told.
//! A thread hashes; when it falls behind, the one who tells waits, so that memory stays bounded. What is handed to it
//! with its content is not read again. Large files are followed while they grow ([`Early::follow`]).
//! Imports: `diff`, `digest`, `handed`, `sys::fs`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use nix::sys::stat::FileStat;

use super::diff::{self, Measure, Reads};
use super::handed::Content;
use super::{Digest, HashWriter, Hasher};
use crate::sys::fs;

/// Lists of [`Written`] and files that wait at most.
const QUEUE: usize = 4;
/// Pieces of a file that is followed that wait at most.
const PIECES: usize = 4;

/// The metadata that something will have in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Final {
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds since 1970.
    pub modified: i64,
}

impl Final {
    fn of(&self, mut stat: FileStat) -> FileStat {
        stat.st_mode = stat.st_mode & libc::S_IFMT | self.mode & 0o7777;
        (stat.st_uid, stat.st_gid) = self.owner;
        stat.st_mtime = self.modified;
        stat
    }
}

/// One entry of a layer that is being made. Its path counts from the layer's top.
#[derive(Debug, Clone)]
pub enum Written {
    /// A directory that is there.
    Folder {
        /// Where.
        path: PathBuf,
        /// What it will be.
        meta: Final,
    },
    /// Anything else; it is complete.
    Other {
        /// Where.
        path: PathBuf,
        /// It may get more names.
        linked: bool,
    },
    /// A file that is complete and was just written by the caller; it has one name and no attributes.
    File {
        /// Where.
        path: PathBuf,
        /// What it is.
        stat: Box<FileStat>,
        /// What is in it.
        content: Content,
    },
}

/// How far a file has grown.
#[derive(Debug)]
pub enum Grown {
    /// So many bytes of it are there.
    Length(u64),
    /// These came behind those before.
    Bytes(Content),
}

/// A file that is there, but not complete; it has no attributes.
#[derive(Debug)]
pub struct Growing {
    /// Where, from the layer's top.
    pub path: PathBuf,
    /// What it will be.
    pub meta: Final,
    /// Bytes that it will have.
    pub size: i64,
    /// It may get more names.
    pub linked: bool,
}

#[derive(Debug)]
enum Told {
    Written(Vec<Written>),
    Growing(Growing, Receiver<Grown>),
}

/// What was worked out.
#[derive(Debug)]
struct Ahead {
    id: Digest,
    measure: Measure,
    /// [`diff::outline`] of what was hashed.
    outline: Digest,
}

/// Hashes a layer while it is made.
#[derive(Debug)]
pub struct Early {
    told: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<io::Result<Ahead>>>,
}

impl Early {
    /// Begins with a directory.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(upper: &Path) -> io::Result<Self> {
        let top = diff::open(upper)?;
        let (told, tells) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().spawn(move || hash(top, &tells))?;
        Ok(Self {
            told: Some(told),
            thread: Some(thread),
        })
    }
    /// Takes what was written since, in the archive's order.
    pub fn take(&mut self, written: Vec<Written>) {
        self.tell(Told::Written(written));
    }
    /// Takes a file that is still being written. How far it is, is to be sent whenever it is longer; the file is done
    /// when the sender goes.
    pub fn follow(&mut self, file: Growing) -> SyncSender<Grown> {
        let (grown, pieces) = sync_channel(PIECES);
        self.tell(Told::Growing(file, pieces));
        grown
    }
    fn tell(&mut self, what: Told) {
        // One who does not listen any more has found that it is in vain.
        if let Some(told) = &self.told
            && told.send(what).is_err()
        {
            self.told = None;
        }
    }
    /// The digest and sizes of the archive of `upper`, if the directory is what was told.
    ///
    /// # Errors
    /// The system's, when the directory can't be looked at.
    pub fn finish(mut self, upper: &Path) -> io::Result<Option<(Digest, Measure)>> {
        self.told = None;
        let hashed = self.thread.take().and_then(|thread| thread.join().ok());
        let Some(Ok(ahead)) = hashed else {
            return Ok(None);
        };
        let same = ahead.outline == diff::outline(upper)?;
        Ok(same.then_some((ahead.id, ahead.measure)))
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.told = None;
        if let Some(thread) = self.thread.take() {
            // Nobody wants to know any more.
            let _ = thread.join();
        }
    }
}

/// A directory that the walk is in.
struct Level {
    dir: OwnedFd,
    /// Length of its path, with the slash at its end.
    prefix: usize,
}

struct Walk {
    writer: diff::Writer<HashWriter>,
    levels: Vec<Level>,
    /// The last path that was told.
    last: PathBuf,
    /// Of the entry, as archives write it.
    bytes: Vec<u8>,
}

fn hash(top: OwnedFd, tells: &Receiver<Told>) -> io::Result<Ahead> {
    let hasher = HashWriter(Hasher::default());
    let mut walk = Walk {
        writer: diff::Writer::new(hasher, i64::MAX, Reads::Both),
        levels: Vec::new(),
        last: PathBuf::new(),
        bytes: Vec::new(),
    };
    walk.writer.top(&top)?;
    walk.levels.push(Level {
        dir: top,
        prefix: 0,
    });
    for told in tells {
        match told {
            Told::Written(list) => list.iter().try_for_each(|written| walk.take(written))?,
            Told::Growing(file, pieces) => walk.growing(&file, &pieces)?,
        }
    }
    let measure = walk.writer.end()?;
    let (hasher, outline) = walk.writer.into_parts();
    Ok(Ahead {
        id: hasher.0.finish(),
        measure,
        outline,
    })
}

impl Walk {
    fn take(&mut self, written: &Written) -> io::Result<()> {
        match written {
            Written::Folder { path, meta } => {
                let name = self.way(path)?;
                self.enter(name, Some(meta))
            }
            Written::Other { path, linked } => {
                let name = self.way(path)?;
                self.other(name, *linked)
            }
            Written::File {
                path,
                stat,
                content,
            } => {
                let name = self.way(path)?;
                self.begin(name)?;
                self.writer.handed(&self.bytes, stat, content.bytes())
            }
        }
    }
    /// Goes to the directory of a path, and gives the last name.
    fn way<'p>(&mut self, path: &'p Path) -> io::Result<&'p OsStr> {
        // Component by component, as the archive's walk goes; and nothing comes twice.
        if path <= self.last.as_path() {
            return Err(io::Error::other("told in another order than the archive's"));
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        let common = self.last.iter().zip(parent.iter());
        let common = common.take_while(|(a, b)| a == b).count();
        // What was told last is a level only if it is a directory.
        self.levels.truncate(common + 1);
        let entered = self.levels.len().saturating_sub(1);
        for name in parent.iter().skip(entered) {
            self.enter(name, None)?;
        }
        self.last = path.to_owned();
        Ok(path.file_name().unwrap_or_default())
    }
    fn here(&self) -> io::Result<&Level> {
        let lost = || io::Error::other("outside of the layer");
        self.levels.last().ok_or_else(lost)
    }
    /// Begins an entry's path.
    fn begin(&mut self, name: &OsStr) -> io::Result<usize> {
        let prefix = self.here()?.prefix;
        self.bytes.truncate(prefix);
        self.bytes.extend_from_slice(name.as_bytes());
        Ok(prefix)
    }
    /// Writes a directory and goes into it; without better knowledge it is as it is now.
    fn enter(&mut self, name: &OsStr, meta: Option<&Final>) -> io::Result<()> {
        self.begin(name)?;
        let Some(Level { dir: above, .. }) = self.levels.last() else {
            return Ok(());
        };
        let is = fs::lstat_at(above, name)?;
        let stat = meta.map_or(is, |meta| meta.of(is));
        let dir = self.writer.dir(above, name, &mut self.bytes, &stat)?;
        let prefix = self.bytes.len();
        self.levels.push(Level { dir, prefix });
        Ok(())
    }
    fn other(&mut self, name: &OsStr, linked: bool) -> io::Result<()> {
        let at = self.begin(name)?;
        let Some(Level { dir, .. }) = self.levels.last() else {
            return Ok(());
        };
        let below = self.writer.entry(dir, name, &mut self.bytes, at)?;
        if below.is_some() {
            return Err(io::Error::other("a directory in place of a file"));
        }
        if linked {
            let stat = fs::lstat_at(dir, name)?;
            self.writer.remember(&stat, &self.bytes);
        }
        Ok(())
    }
    fn growing(&mut self, file: &Growing, pieces: &Receiver<Grown>) -> io::Result<()> {
        let name = self.way(&file.path)?;
        self.begin(name)?;
        let Some(Level { dir, .. }) = self.levels.last() else {
            return Ok(());
        };
        let mut stat = file.meta.of(fs::lstat_at(dir, name)?);
        stat.st_size = file.size;
        let bytes = &self.bytes;
        self.writer
            .growing(dir, name, bytes, &stat, pieces.iter())?;
        if file.linked {
            self.writer.remember(&stat, bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::LayerStore;
    use super::*;

    fn other(path: &str) -> Written {
        Written::Other {
            path: path.into(),
            linked: false,
        }
    }

    fn folder(path: &str, modified: i64) -> Written {
        let owner = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        Written::Folder {
            path: path.into(),
            meta: Final {
                mode: 0o750,
                owner,
                modified,
            },
        }
    }

    /// What is found early of a directory, told in lists, and whether it is the digest of the layer.
    fn found(name: &str, told: &[&[Written]], late: fn(&Path)) -> Option<bool> {
        let dir = std::env::temp_dir().join(format!("hoist-early-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let layers = LayerStore::open(&dir).unwrap();
        let staging = layers.staging().unwrap();
        let upper = staging.upper();
        std::fs::create_dir_all(upper.join("d/e")).unwrap();
        for file in ["a", "d/a", "d/e/x", "d.z"] {
            std::fs::write(upper.join(file), file).unwrap();
        }
        symlink("/etc", upper.join("d/link")).unwrap();
        std::fs::hard_link(upper.join("d/a"), upper.join("d/e/name")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o750);
        std::fs::set_permissions(upper.join("d"), mode).unwrap();
        let mut early = Early::begin(&upper).unwrap();
        for list in told {
            early.take(list.to_vec());
        }
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7);
        let open = std::fs::File::open(upper.join("d")).unwrap();
        open.set_modified(time).unwrap();
        late(&upper);
        let found = early.finish(&upper).unwrap();
        let id = layers.commit(staging).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        found.map(|(found, measure)| {
            assert!(measure.archive > measure.content && measure.content >= 8);
            found == id
        })
    }

    #[test]
    fn what_is_told_in_order_has_the_digest_of_the_directory() {
        let first = [other("a"), folder("d", 7), other("d/a")];
        // The folder `d/e` was not told: it is as it is.
        let rest = ["d/e/name", "d/e/x", "d/link", "d.z"].map(other);
        let all: Vec<Written> = first.iter().chain(&rest).cloned().collect();
        assert_eq!(found("one", &[&all], |_| ()), Some(true));
        assert_eq!(found("two", &[&first, &rest], |_| ()), Some(true));
    }

    #[test]
    fn what_was_told_otherwise_than_it_is_in_the_end_is_worthless() {
        let all = [
            other("a"),
            folder("d", 7),
            other("d/a"),
            other("d/e/name"),
            other("d/e/x"),
            other("d/link"),
            other("d.z"),
        ];
        let none = |name: &str, told: &[Written], late: fn(&Path)| {
            assert_eq!(found(name, &[told], late), None, "{name}");
        };
        // It may not have been read yet when it changes; then the change is seen.
        let late = |name: &str, told: &[Written], late: fn(&Path)| {
            assert_ne!(found(name, &[told], late), Some(false), "{name}");
        };
        let mut turned = all.clone();
        turned.swap(2, 3);
        none("turned", &turned, |_| ());
        let twice: Vec<Written> = all
            .iter()
            .flat_map(|one| [one.clone(), one.clone()])
            .collect();
        none("twice", &twice, |_| ());
        none("missing", &all[..6], |_| ());
        let mut time = all.clone();
        time[1] = folder("d", 8);
        none("time", &time, |_| ());
        let mut gone = all.to_vec();
        gone.push(other("e"));
        none("gone", &gone, |_| ());
        late("grown", &all, |upper| {
            std::fs::write(upper.join("a"), "aa").unwrap();
        });
        none("more", &all, |upper| {
            std::fs::write(upper.join("b"), "").unwrap();
        });
        late("mode", &all, |upper| {
            let mode = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(upper.join("d/e"), mode).unwrap();
        });
        late("link", &all, |upper| {
            std::fs::remove_file(upper.join("d/link")).unwrap();
            symlink("/usr", upper.join("d/link")).unwrap();
        });
        late("two", &all, |upper| {
            std::fs::remove_file(upper.join("d/e/name")).unwrap();
            std::fs::write(upper.join("d/e/name"), "d/a").unwrap();
        });
    }

    #[test]
    fn a_file_is_followed_while_it_grows() {
        use std::io::Write as _;
        let dir = std::env::temp_dir().join(format!("hoist-early-grows-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let layers = LayerStore::open(&dir).unwrap();
        // Whole, too short, longer than was told.
        for (pieces, good) in [(5, true), (4, false), (6, false)] {
            let staging = layers.staging().unwrap();
            let path = staging.upper().join("large");
            let mut file = std::fs::File::create(&path).unwrap();
            let mut early = Early::begin(&staging.upper()).unwrap();
            let piece = vec![7; 300_000];
            let Written::Folder { meta, .. } = folder("", 9) else {
                unreachable!("it is one");
            };
            let length = early.follow(Growing {
                path: "large".into(),
                meta,
                size: 1_500_000,
                linked: false,
            });
            for at in 1..=pieces {
                file.write_all(&piece).unwrap();
                // One who has heard enough does not listen.
                let _ = length.send(Grown::Length(at * 300_000));
            }
            drop(length);
            file.set_permissions(std::fs::Permissions::from_mode(0o750))
                .unwrap();
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(9);
            file.set_modified(time).unwrap();
            let found = early.finish(&staging.upper()).unwrap();
            let id = layers.commit(staging).unwrap();
            assert_eq!(found.map(|(found, _)| found == id), good.then_some(true));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
