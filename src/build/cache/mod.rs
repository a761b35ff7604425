//! Results of steps on disk: `<cache>/steps/<key>`, one small JSON file each.
//!
//! In: keys. Out: the layer a step made, or that it made none. A record whose layer is gone is none.
//! [`Key`](key::Key)s of steps; [`seen`]: why a step is not cached; [`flight`]: a step that two builds need at the same
//! time is done once; [`list`] and [`prune`]: what there is, and making room; [`bundle`]: carried as an archive;
//! [`remote`] and [`spec`]: shared by a registry or a directory. When a record was used last is its file's time of change.
//! Imports: `image`, `sys::fs`.

pub mod bundle;
pub mod flight;
pub mod key;
pub mod list;
pub mod prune;
pub mod remote;
pub mod seen;
pub mod spec;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::image::digest::Digest;
use crate::image::layer::LayerStore;
use crate::sys::fs::{Durability, make_dirs, write_atomic};

/// What a step made: a layer, or nothing new.
pub type Made = Option<Digest>;

/// Form of records.
const VERSION: u32 = 2;
/// Longest record in bytes.
const LONGEST: u64 = 64 << 10;
/// How exactly the last use of a record is known: writing it down each time would make every hit a write.
const EXACT: Duration = Duration::from_secs(10 * 60);

/// What is known of a step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Form of this record.
    pub version: u32,
    /// The layer it made; none if it changed nothing.
    pub layer: Option<Digest>,
    /// When it was made: nanoseconds since 1970.
    #[serde(default)]
    pub made: i64,
    /// The instruction, for lists.
    #[serde(default)]
    pub title: String,
}

impl Record {
    /// Reads a record; `None` for one of another form, or none at all.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        (record.version == VERSION).then_some(record)
    }
}

/// Remembered results.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The results below a cache directory.
    pub fn new(cache_dir: &Path) -> Self {
        Self {
            dir: cache_dir.to_owned(),
        }
    }
    fn path(&self, key: &Digest) -> PathBuf {
        self.dir.join("steps").join(key.hex())
    }
    /// What the step with this key made, if that is known, still there, and was made after `since` (nanoseconds since
    /// 1970). It counts as used.
    pub fn get(&self, key: &Digest, layers: &LayerStore, since: Option<i64>) -> Option<Made> {
        let mut file = File::open(self.path(key)).ok()?;
        let mut bytes = Vec::new();
        (&mut file).take(LONGEST).read_to_end(&mut bytes).ok()?;
        let record = Record::parse(&bytes)?;
        let there = record
            .layer
            .as_ref()
            .is_none_or(|layer| layers.contains(layer));
        if !there || since.is_some_and(|since| record.made < since) {
            return None;
        }
        let used = file.metadata().and_then(|meta| meta.modified()).ok();
        let now = SystemTime::now();
        if used.is_none_or(|used| now.duration_since(used).is_ok_and(|ago| ago > EXACT)) {
            // A list that is a little wrong is no reason to fail.
            let _ = file.set_modified(now);
        }
        Some(record.layer)
    }
    /// When what is remembered under a key was made.
    pub fn made_at(&self, key: &Digest) -> Option<Timestamp> {
        let bytes = std::fs::read(self.path(key)).ok()?;
        Record::parse(&bytes).map(|record| Timestamp(record.made))
    }
    /// Remembers what a step made.
    ///
    /// # Errors
    /// The system's.
    pub fn put(&self, key: &Digest, made: &Made, title: &str) -> std::io::Result<()> {
        self.enter(
            key,
            &Record {
                version: VERSION,
                layer: *made,
                made: Timestamp::now().0,
                title: title.to_owned(),
            },
        )
    }
    /// Enters a record.
    ///
    /// # Errors
    /// The system's.
    pub fn enter(&self, key: &Digest, record: &Record) -> std::io::Result<()> {
        make_dirs(&self.dir.join("steps"), 0o700)?;
        let bytes = serde_json::to_vec(record).map_err(std::io::Error::other)?;
        write_atomic(&self.path(key), &bytes, 0o600, Durability::Renamed)
    }
}
