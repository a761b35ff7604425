//! Blobs: files named by the digest of their bytes.
//!
//! Imports: `digest`, `sys`. Rules: OCI image spec, `image-layout.md`, "Blobs".

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Store, StoreError};
use crate::image::digest::Digest;
use crate::sys::fs::{self, Durability};
use crate::sys::lock::{Hold, Lock};

/// How long an unfinished download is kept for its next try.
const KEEP_UNFINISHED: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Where a blob lies, there or not.
    pub(in crate::image) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.images.join("blobs/sha256").join(digest.hex())
    }
    /// Where a blob is downloaded to.
    pub(in crate::image) fn ingest_path(&self, digest: &Digest) -> PathBuf {
        self.images.join("ingest").join(digest.hex())
    }
    /// Reads a document, whose bytes must still have its digest.
    pub(in crate::image) fn blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        match std::fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(bytes),
            Ok(_) => Err(StoreError::Corrupt(format!(
                "{} was changed on disk",
                path.display()
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::NotFound(digest.to_string()))
            }
            Err(error) => Err(StoreError::io(format!("read {}", path.display()))(error)),
        }
    }
    /// Keeps a document.
    pub(in crate::image) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        if !path.exists() {
            fs::write_atomic(&path, bytes, 0o600, Durability::Synced)
                .map_err(StoreError::io("keep a blob"))?;
        }
        Ok(digest)
    }
    /// Removes downloads that nobody has gone on with for a day.
    pub(super) fn clear_ingest(&self) {
        let Ok(entries) = std::fs::read_dir(self.images.join("ingest")) else {
            return;
        };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let age = path.metadata().and_then(|m| m.modified());
            let age = age
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > KEEP_UNFINISHED)
                && matches!(Lock::try_acquire(&path, Hold::Exclusive), Ok(Some(_)))
            {
                let _ = fs::remove_tree(&path);
            }
        }
    }
}
