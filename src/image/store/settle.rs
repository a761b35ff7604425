//! What was unpacked is on disk before a name says so.
//!
//! Imports: `sys::fs`. Source: syncfs(2). Layers are thousands of files; syncing each would cost more than unpacking it,
//! syncing their file system once costs what is still to be written.

use super::{Store, StoreError};
use crate::sys::fs;

impl Store {
    /// Waits until all layers and blobs that are here now would survive a power cut.
    ///
    /// # Errors
    /// [`StoreError::Io`]: also when what was written before can't reach the disk.
    pub(in crate::image) fn settle(&self) -> Result<(), StoreError> {
        let waiting = self.layers.unsettled();
        fs::settle(&[&self.images, self.layers.root()])
            .map_err(StoreError::io("write what was pulled to the disk"))?;
        self.layers.settled(&waiting);
        Ok(())
    }
    /// Bytes that are free where images are kept, if that can be asked.
    pub(in crate::image) fn free(&self) -> Option<u64> {
        self.layers().free()
    }
}
