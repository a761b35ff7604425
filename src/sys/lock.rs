//! Locks on files.
//!
//! Order, everywhere: project lock, then a volume's, then all volumes', then store lock, then network lock. A lock that
//! is held may only be followed by one further to the right. The lock of `image::kept` is waited for by nobody who holds another.
//!
//! Builds share the lock of the network of their steps, and wait for it while they hold none of these; whoever holds the network
//! lock only tries it. The lock of layers that are doubted follows any other, and none follows it; that of the record of events
//! is only tried, too.
//! The build cache's come before the store's: `use` (a build, shared), then one of `running` (a step), then those of cache mounts.
//! Imports: nothing of ours. Source: flock(2).

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A lock that is held; dropping it lets go. The kernel lets go too when the process dies.
#[derive(Debug)]
pub struct Lock {
    held: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing lets go as well, but not while a process that is just being started has the descriptor, too.
        let _ = self.held.unlock();
    }
}

/// Whether others may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Only this holder.
    Exclusive,
    /// Other shared holders too.
    Shared,
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

impl Lock {
    /// Waits for the lock on `path`, making the file when missing.
    ///
    /// # Errors
    /// The system's.
    pub fn acquire(path: &Path, hold: Hold) -> io::Result<Self> {
        let held = open(path)?;
        loop {
            let locked = match hold {
                Hold::Exclusive => held.lock(),
                Hold::Shared => held.lock_shared(),
            };
            match locked {
                Ok(()) => return Ok(Self { held }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    /// Whether `path` still names the file that is locked: it may have been removed, or made anew, meanwhile.
    pub fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let same = |ours: std::fs::Metadata, there: std::fs::Metadata| {
            (ours.dev(), ours.ino()) == (there.dev(), there.ino())
        };
        self.held
            .metadata()
            .is_ok_and(|ours| std::fs::metadata(path).is_ok_and(|there| same(ours, there)))
    }
    /// Whether somebody holds the lock on `path` alone; nobody does when there is no such file.
    ///
    /// # Errors
    /// The system's.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
    /// Takes the lock if nobody holds it; `None` if somebody does.
    ///
    /// # Errors
    /// The system's.
    pub fn try_acquire(path: &Path, hold: Hold) -> io::Result<Option<Self>> {
        let held = open(path)?;
        let locked = match hold {
            Hold::Exclusive => held.try_lock(),
            Hold::Shared => held.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(Some(Self { held })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
