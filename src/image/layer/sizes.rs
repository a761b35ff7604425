//! What layers take of the disk. They never change, so each is measured once.
//!
//! On disk: `layers/.sizes`, bytes by digest; it may be lost. Imports: `sys::measure`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::LayerStore;
use crate::image::digest::Digest;
use crate::image::store::StoreError;
use crate::sys::fs::{Durability, write_atomic};
use crate::sys::measure;

impl LayerStore {
    /// Bytes that are allocated for each layer.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the layers can't be listed.
    pub fn disk_sizes(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let path = self.root.join(".sizes");
        let bytes = std::fs::read(&path).unwrap_or_default();
        let known: BTreeMap<String, u64> = serde_json::from_slice(&bytes).unwrap_or_default();
        let mut sizes = BTreeMap::new();
        let mut new = Vec::new();
        for id in self.list()? {
            match known.get(&id.hex()) {
                Some(size) => drop(sizes.insert(id, *size)),
                None => new.push(id),
            }
        }
        let roots: Vec<PathBuf> = new.iter().map(|id| self.path(id)).collect();
        let measured = measure::trees(&roots);
        let is_same = new.is_empty() && sizes.len() == known.len();
        sizes.extend(
            new.into_iter()
                .zip(measured)
                .map(|(id, found)| (id, found.disk)),
        );
        if !is_same {
            let kept: BTreeMap<String, u64> =
                sizes.iter().map(|(id, size)| (id.hex(), *size)).collect();
            if let Ok(text) = serde_json::to_vec(&kept) {
                // It is only measured again.
                let _ = write_atomic(&path, &text, 0o600, Durability::Renamed);
            }
        }
        Ok(sizes)
    }
}
