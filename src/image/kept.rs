//! Directories that are named by their content: made once beside their place, then moved there whole.
//!
//! In: a name that stands for the content (a commit, a digest), and how to make it. Out: the directory. A killed
//! process leaves nothing half made: what it left is removed by the next that makes something.
//! Imports: `base`, `sys`. Rules: `lib.rs`, "On disk".

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::sys::fs;
use crate::sys::lock::{Hold, Lock};

/// Time between looks at the lock while another process makes something.
const LOOK: Duration = Duration::from_millis(50);
/// How names of what is being made begin.
const NEW: &str = ".new-";

/// A directory of such directories.
#[derive(Debug, Clone)]
pub struct Kept {
    dir: PathBuf,
}

impl Kept {
    /// Those below `dir`, which is made when it is needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory of a name, if it was made before.
    pub fn get(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        let found = std::fs::symlink_metadata(&path);
        found.is_ok_and(|found| found.is_dir()).then_some(path)
    }

    /// The directory of a name, made by `fill` in an empty directory if it is not there yet.
    ///
    /// # Errors
    /// Those of `fill`; the system's; `Interrupted` when `cancel` is used while another process is waited for.
    pub fn make<E: From<io::Error>>(
        &self,
        name: &str,
        cancel: &Cancel,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(path) = self.get(name) {
            return Ok(path);
        }
        fs::make_dirs(&self.dir, 0o700)?;
        let _lock = self.lock(cancel)?;
        if let Some(path) = self.get(name) {
            return Ok(path);
        }
        self.sweep()?;
        let new = self.dir.join(format!("{NEW}{}", std::process::id()));
        fs::make_dirs(&new, 0o700)?;
        let made = fill(&new).and_then(|()| Ok(self.publish(&new, name)?));
        made.inspect_err(|_| {
            // The next process sweeps what can't be removed now.
            let _ = fs::remove_tree(&new);
        })
    }

    /// Moves what was made to its place, on disk before it is there.
    fn publish(&self, new: &Path, name: &str) -> io::Result<PathBuf> {
        nix::unistd::syncfs(std::fs::File::open(new)?)?;
        let path = self.dir.join(name);
        std::fs::rename(new, &path)?;
        Ok(path)
    }

    fn lock(&self, cancel: &Cancel) -> io::Result<Lock> {
        let path = self.dir.join("lock");
        loop {
            if let Some(lock) = Lock::try_acquire(&path, Hold::Exclusive)? {
                return Ok(lock);
            }
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Removes what killed processes left; the lock is held.
    fn sweep(&self) -> io::Result<()> {
        for item in std::fs::read_dir(&self.dir)? {
            let item = item?;
            if item.file_name().to_string_lossy().starts_with(NEW) {
                fs::remove_tree(&item.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_once_whole_or_not_at_all() {
        let dir = std::env::temp_dir().join(format!("hoist-kept-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let kept = Kept::new(dir.join("k"));
        let cancel = Cancel::default();
        let failed: Result<PathBuf, io::Error> = kept.make("a", &cancel, |new| {
            std::fs::write(new.join("half"), "")?;
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert_eq!(kept.get("a"), None);
        // What a killed process left is swept away and never taken for content.
        std::fs::create_dir(dir.join("k/.new-1")).unwrap();
        let made: Result<PathBuf, io::Error> = kept.make("a", &cancel, |new| {
            assert_eq!(std::fs::read_dir(new)?.count(), 0);
            std::fs::write(new.join("file"), "1")
        });
        let made = made.unwrap();
        assert_eq!(std::fs::read(made.join("file")).unwrap(), b"1");
        let again: Result<PathBuf, io::Error> =
            kept.make("a", &cancel, |_| Err(io::Error::other("asked again")));
        assert_eq!(again.unwrap(), made);
        let mut names: Vec<_> = std::fs::read_dir(dir.join("k"))
            .unwrap()
            .map(|item| item.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a", "lock"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
