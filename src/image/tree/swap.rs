//! Puts a whole file in the place of another without waiting for the disk.
//!
//! In: two names in a directory. Out: the new file under the old one's name, at every moment either of them.
//! A rename over a file makes file systems write the new one out at once and free the old one's blocks, which costs
//! milliseconds each on a busy disk; where thousands of files change, that is most of the time they take. So names
//! are exchanged where that costs nothing else, and files that were replaced end only afterwards.
//! Imports: `sys::fs`. Source: rename(2), `RENAME_EXCHANGE`; ext4(5), `auto_da_alloc`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, Mode};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::sys::fs::is_kind;

/// So many descriptors are left for everything else.
const SPARE: u64 = 200;
/// So many files that were replaced are held at most.
const HELD: u64 = 1 << 16;

/// How files take the place of others.
#[derive(Debug)]
pub struct Swap {
    /// Files of before this time, in seconds, lie in a layer below: the kernel would copy those to exchange them. A
    /// wrong guess costs time and nothing else.
    pub since: i64,
    /// Files that were replaced. Their blocks are freed when they are dropped.
    held: Mutex<Vec<OwnedFd>>,
    /// How many may be held.
    room: usize,
}

impl Swap {
    /// Exchanges files that have changed since a time, in seconds. As many that were replaced are held as the process
    /// may have descriptors.
    pub fn new(since: i64) -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let room = limit.saturating_sub(SPARE).min(HELD);
        Self {
            since,
            held: Mutex::default(),
            room: usize::try_from(room).unwrap_or_default(),
        }
    }

    /// Gives `from` the name `to`, where `there` was seen.
    ///
    /// # Errors
    /// The system's; then `from` may still be there.
    pub(super) fn place(
        &self,
        parent: &OwnedFd,
        (from, to): (&OsStr, &OsStr),
        there: Option<&FileStat>,
    ) -> Result<(), Errno> {
        let Some(there) = there.filter(|there| is_kind(there, libc::S_IFREG)) else {
            return renameat(parent, from, parent, to);
        };
        self.hold(parent, to);
        if there.st_ctime < self.since {
            return renameat(parent, from, parent, to);
        }
        match renameat2(parent, from, parent, to, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => {}
            // It has just gone, or the file system can't.
            Err(_) => return renameat(parent, from, parent, to),
        }
        let gone = unlinkat(parent, from, UnlinkatFlags::NoRemoveDir);
        if gone.is_err() {
            // Somebody has put a directory there since it was seen, and gets it back.
            let _ = renameat2(parent, from, parent, to, RenameFlags::RENAME_EXCHANGE);
        }
        gone
    }

    fn hold(&self, parent: &OwnedFd, name: &OsStr) {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // One that is not held ends at once, and costs its time.
        let Ok(file) = openat(parent, name, flags, Mode::empty()) else {
            return;
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() < self.room {
            held.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_takes_the_place_of_another_and_nothing_is_left_beside() {
        let dir = std::env::temp_dir().join(format!("hoist-swap-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("made");
        let parent = OwnedFd::from(std::fs::File::open(&dir).expect("opened"));
        for since in [0, i64::MAX] {
            let swap = Swap::new(since);
            for (old, new) in [(None, "1"), (Some("1"), "2")] {
                let to = dir.join("a");
                assert_eq!(std::fs::read_to_string(&to).ok().as_deref(), old);
                std::fs::write(dir.join("b"), new).expect("written");
                let there = crate::sys::fs::lstat_at(&parent, OsStr::new("a")).ok();
                let names = (OsStr::new("b"), OsStr::new("a"));
                assert_eq!(swap.place(&parent, names, there.as_ref()), Ok(()));
                assert_eq!(std::fs::read_to_string(&to).expect("read"), new);
                assert!(!dir.join("b").exists());
            }
            std::fs::remove_file(dir.join("a")).expect("removed");
        }
        std::fs::write(dir.join("b"), "file").expect("written");
        std::fs::write(dir.join("a"), "old").expect("written");
        let there = crate::sys::fs::lstat_at(&parent, OsStr::new("a")).ok();
        std::fs::remove_file(dir.join("a")).expect("removed");
        std::fs::create_dir(dir.join("a")).expect("made");
        let names = (OsStr::new("b"), OsStr::new("a"));
        let placed = Swap::new(0).place(&parent, names, there.as_ref());
        assert!(placed.is_err(), "a directory was replaced");
        assert!(dir.join("a").is_dir() && dir.join("b").is_file());
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
