//! Results of steps on disk: `<cache>/steps/<key>`, one small JSON file each.
//!
//! In: keys. Out: the layer a step made, or that it made none. A record whose layer is gone is none.
//! Imports: `image`, `sys::fs`.

pub mod key;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image::digest::Digest;
use crate::image::layer::LayerStore;
use crate::sys::fs::{Durability, make_dirs, write_atomic};

/// What a step made: a layer, or nothing new.
pub type Made = Option<Digest>;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    layer: Option<Digest>,
}

/// Remembered results.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The results below a cache directory.
    pub fn new(cache_dir: &Path) -> Self {
        Self {
            dir: cache_dir.join("steps"),
        }
    }
    /// What the step with this key made, if that is known and still there.
    pub fn get(&self, key: &Digest, layers: &LayerStore) -> Option<Made> {
        let bytes = std::fs::read(self.dir.join(key.hex())).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let there = record
            .layer
            .as_ref()
            .is_none_or(|layer| layers.contains(layer));
        (record.version == 1 && there).then_some(record.layer)
    }
    /// Remembers what a step made.
    ///
    /// # Errors
    /// The system's.
    pub fn put(&self, key: &Digest, made: &Made) -> std::io::Result<()> {
        make_dirs(&self.dir, 0o700)?;
        let record = Record {
            version: 1,
            layer: *made,
        };
        let bytes = serde_json::to_vec(&record).map_err(std::io::Error::other)?;
        write_atomic(
            &self.dir.join(key.hex()),
            &bytes,
            0o600,
            Durability::Renamed,
        )
    }
}
