//! Places where layers are made: held by a lock while their process lives, removed when it does not.
//!
//! Imports: `sys`. Source: flock(2): a lock on the directory itself ends with its last descriptor.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::fs;
use crate::sys::lock::{Hold, Lock};

/// A place on the layers' own file system for an overlay's upper and work directories. Removed when dropped.
/// While anyone has one, no layer is removed: a pull or build that holds one finds the layers it has seen.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    _held: File,
}

const FOLDER: &str = ".staging";
/// The lock that is shared while a place is made.
pub(super) const QUIET: &str = ".quiet";

impl Staging {
    /// The upper directory: empty, or seeded.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }
    /// Overlay's work directory.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }
    /// The place itself; what is put beside `upper` and `work` is removed with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    pub(super) fn make(layers: &Path) -> io::Result<Self> {
        fs::make_dirs(layers, 0o700)?;
        // Whoever removes layers has it alone, so that it knows of every place or none sees its layers.
        let _begun = Lock::acquire(&layers.join(QUIET), Hold::Shared)?;
        Self::make_beside(layers)
    }
    /// The same for who has the lock alone.
    pub(super) fn make_beside(layers: &Path) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let folder = layers.join(FOLDER);
        fs::make_dirs(&folder, 0o700)?;
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let dir = folder.join(format!("{}-{serial}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&dir) {
                // A dead process had the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            // Another process may take it for a dead one's and remove it before it is locked.
            let held = match File::open(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            held.lock()?;
            let same = |there: &std::fs::Metadata| -> io::Result<bool> {
                Ok((there.dev(), there.ino()) == (held.metadata()?.dev(), held.metadata()?.ino()))
            };
            match dir.metadata() {
                Ok(there) if same(&there)? => {}
                _ => continue,
            }
            // A merged root directory looks like its topmost layer's, so this one must look as a root does.
            for name in ["upper", "work"] {
                let path = dir.join(name);
                std::fs::create_dir(&path)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
            }
            return Ok(Self { dir, _held: held });
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next process that opens the store.
        let _ = fs::remove_tree(&self.dir);
    }
}

/// Places below `layers`, each with whether its process lives.
fn places(layers: &Path) -> io::Result<Vec<(PathBuf, Option<File>)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(layers.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let Ok(open) = File::open(&path) else {
            continue;
        };
        match open.try_lock() {
            Ok(()) => found.push((path, Some(open))),
            Err(std::fs::TryLockError::WouldBlock) => found.push((path, None)),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(found)
}

/// Removes the places of dead processes.
pub(super) fn clear_dead(layers: &Path) -> io::Result<()> {
    for (path, held) in places(layers)? {
        if held.is_some() {
            // The step of a process that was killed may still be ending and write there. That holds nobody
            // up: what stays is removed by the next process that opens the store.
            let _ = fs::remove_tree(&path);
        }
    }
    Ok(())
}

/// Whether a living process has a place.
pub(super) fn any_alive(layers: &Path) -> bool {
    places(layers).map_or(true, |found| found.iter().any(|(_, held)| held.is_none()))
}
