//! A time in which nobody makes layers or counts on them, so that some may be removed.
//!
//! Who makes a [`Staging`] shares a lock for that moment; who removes layers has it alone and then looks for places. So a pull or a
//! build begins either before, and keeps all layers, or after, and sees which are gone. What is removed is renamed away, and its
//! files go when the lock is free again.
//! Imports: `staging`, `sys`.

use std::cell::Cell;
use std::io;

use super::staging::{QUIET, any_alive};
use super::{LayerStore, Staging};
use crate::image::digest::Digest;
use crate::image::store::StoreError;
use crate::sys::fs;
use crate::sys::lock::{Hold, Lock};

/// As long as it is there, nobody begins to make a layer.
#[derive(Debug)]
pub(in crate::image) struct Quiet {
    layers: LayerStore,
    removed: Cell<usize>,
    // Dropped in this order: others go on while files are removed.
    _alone: Lock,
    doomed: Staging,
}

impl LayerStore {
    /// Keeps others from making layers; `None` while somebody does.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(in crate::image) fn quiet(&self) -> Result<Option<Quiet>, StoreError> {
        let failed = || StoreError::io("lock the layers");
        let alone = Lock::acquire(&self.root.join(QUIET), Hold::Exclusive).map_err(failed())?;
        if any_alive(&self.root) {
            return Ok(None);
        }
        Ok(Some(Quiet {
            layers: self.clone(),
            removed: Cell::new(0),
            doomed: Staging::make_beside(&self.root).map_err(failed())?,
            _alone: alone,
        }))
    }
}

impl Quiet {
    /// Removes a layer. The caller knows that nobody needs it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(in crate::image) fn remove(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let failed = || StoreError::io(format!("remove layer {}", diff_id.short()));
        let number = self.removed.replace(self.removed.get() + 1);
        // Renamed first, so that a kill while files are removed leaves no half layer behind.
        let to = self.doomed.dir().join(format!("removed{number}"));
        match std::fs::rename(self.layers.path(diff_id), to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
            _ => {}
        }
        fs::remove_tree(&self.layers.recipe_path(diff_id)).map_err(failed())?;
        fs::remove_tree(&self.layers.record_path(diff_id)).map_err(failed())
    }
}
