//! A directory for a test, which goes with the value. Imports: nothing of ours.

use std::path::{Path, PathBuf};

/// A directory of its own.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// `name` tells those of one run apart.
    pub(super) fn new(name: &str) -> Self {
        let dir = format!("hoist-watch-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).expect("the temporary directory is writable");
        Self(dir)
    }
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in the temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
