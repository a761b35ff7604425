//! Whether a layer is what it was when it was made, though the power may have gone since.
//!
//! A build does not wait until its layers are on disk. So a layer's record names the boot in which it was made, until its
//! file system was synced ([`LayerStore::settled`]) or it was read whole in a later one. A layer of an earlier boot is
//! read once before it counts as there: one that has not its digest any more, or whose archive can't be made again, is
//! removed, and is made or fetched anew.
//! Whoever asks pays for one small file a layer, once a process.
//! Imports: `diff`, `staging`, `sys`.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::behind::Behind;
use super::{LayerStore, Record, Staging, hash};
use crate::image::digest::Digest;
use crate::image::store::StoreError;
use crate::sys::fs;
use crate::sys::lock::{Hold, Lock};

/// The lock that is held while a layer is read and perhaps removed.
const DOUBTS: &str = ".doubts";

/// What this process knows of layers.
#[derive(Debug)]
pub(super) struct Trust {
    /// This boot.
    boot: String,
    /// Nothing is examined or removed: what lies there is taken for what it was.
    looks: bool,
    /// Layers that were looked at.
    sound: Mutex<BTreeSet<Digest>>,
}

impl Trust {
    pub(super) fn new(boot: String) -> Self {
        Self {
            boot,
            looks: false,
            sound: Mutex::default(),
        }
    }
    /// Of one who changes nothing.
    pub(super) fn looking() -> Self {
        Self {
            looks: true,
            ..Self::new(String::new())
        }
    }
    fn sound(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What the record of a layer says that is made now.
    pub(super) fn unsynced(&self) -> Option<String> {
        Some(self.boot.clone())
    }
    /// Whether a record leaves no doubt.
    fn believes(&self, record: &Record) -> bool {
        let boot = record.boot.as_ref();
        boot.is_none_or(|boot| *boot == self.boot)
    }
}

impl LayerStore {
    /// Whether a layer is there, and is what it was.
    pub fn contains(&self, diff_id: &Digest) -> bool {
        if !self.lies(diff_id) {
            return false;
        }
        if self.trust.looks || self.trust.sound().contains(diff_id) {
            return true;
        }
        let known = self.record(diff_id);
        let sound = known.is_ok_and(|record| self.trust.believes(&record))
            || self.examined(diff_id).unwrap_or(false);
        if sound {
            self.trust.sound().insert(*diff_id);
        }
        sound
    }
    /// Reads a layer of an earlier boot. One that is not sound is removed.
    fn examined(&self, diff_id: &Digest) -> Result<bool, StoreError> {
        let failed = || StoreError::io("look at a layer that was made before the last reboot");
        let _alone = Lock::acquire(&self.root.join(DOUBTS), Hold::Exclusive).map_err(failed())?;
        if !self.lies(diff_id) {
            return Ok(false);
        }
        // Somebody else may have looked meanwhile.
        let known = self.record(diff_id).ok();
        if known
            .as_ref()
            .is_some_and(|record| self.trust.believes(record))
        {
            return Ok(true);
        }
        let whole = match known {
            // What it came as proves nothing of what was unpacked.
            Some(record) if record.blob.is_some() => None,
            Some(record) if self.has_digest(diff_id) => Some(record),
            Some(_) => None,
            None => self.measured(diff_id),
        };
        match whole {
            Some(record) => {
                let record = Record {
                    boot: None,
                    ..record
                };
                self.write_record(diff_id, &record).map(|()| true)
            }
            None => {
                let doomed = Staging::make_beside(&self.root).map_err(failed())?;
                let to = doomed.dir().join("unsound");
                std::fs::rename(self.path(diff_id), to).map_err(failed())?;
                fs::remove_tree(&self.recipe_path(diff_id)).map_err(failed())?;
                fs::remove_tree(&self.record_path(diff_id)).map_err(failed())?;
                Ok(false)
            }
        }
    }
    fn has_digest(&self, diff_id: &Digest) -> bool {
        let mut found = Behind::default();
        let written = self.archive(diff_id, &mut found);
        written.is_ok() && found.finish().is_ok_and(|found| found == *diff_id)
    }
    /// The record of a layer that has lost its own, if it is one that was built.
    fn measured(&self, diff_id: &Digest) -> Option<Record> {
        let (found, measure) = hash(&self.path(diff_id)).ok()?;
        (found == *diff_id).then(|| Record {
            version: 1,
            content: measure.content,
            archive: measure.archive,
            blob: None,
            packed: Vec::new(),
            boot: None,
        })
    }
    /// Layers that are there, but perhaps not on disk yet. They are, once the file system was synced; then
    /// [`LayerStore::settled`] is to be told.
    pub(in crate::image) fn unsettled(&self) -> Vec<Digest> {
        let boot = self.trust.unsynced();
        let mut found = self.list().unwrap_or_default();
        found.retain(|id| self.record(id).is_ok_and(|record| record.boot == boot));
        found
    }
    /// Notes of layers that they are on disk. What can't be noted is looked at again after the next reboot.
    pub(in crate::image) fn settled(&self, layers: &[Digest]) {
        for id in layers {
            if let Ok(record) = self.record(id) {
                let record = Record {
                    boot: None,
                    ..record
                };
                let _ = self.write_record(id, &record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A layer of one file, made in a boot.
    fn made(layers: &LayerStore, text: &str) -> Digest {
        let staging = layers.staging().unwrap();
        std::fs::write(staging.upper().join("file"), text).unwrap();
        layers.commit(staging).unwrap()
    }

    fn fresh(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("hoist-trust-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn boot(dir: &Path, id: &str) -> LayerStore {
        LayerStore::open_in(dir, id.to_owned()).unwrap()
    }

    #[test]
    fn a_layer_that_lost_bytes_with_the_power_is_gone_after_the_reboot_and_others_are_believed() {
        let dir = fresh("lost");
        let first = boot(&dir, "one");
        let [whole, cut, bare, empty] = ["whole", "cut", "bare", "empty"].map(|t| made(&first, t));
        let file = |id: &Digest| first.path(id).join("file");
        let spoil = |id: &Digest| {
            let size = std::fs::metadata(file(id)).unwrap().len();
            let open = std::fs::File::options().write(true).open(file(id)).unwrap();
            open.set_len(0).and_then(|()| open.set_len(size)).unwrap();
        };
        spoil(&cut);
        // Its record is empty, as a rename that was not synced may leave it.
        std::fs::write(first.record_path(&bare), "").unwrap();
        std::fs::write(first.record_path(&empty), "").unwrap();
        spoil(&empty);
        // In the same boot nothing is read.
        assert!(first.contains(&cut));
        let second = boot(&dir, "two");
        assert!(second.contains(&whole) && second.contains(&bare));
        assert_eq!(second.record(&bare).unwrap().content, 4);
        assert!(!second.contains(&cut) && !second.contains(&empty));
        assert!(!second.lies(&cut) && second.record(&cut).is_err());
        // It was looked at once: what happens to it now is not this module's matter.
        spoil(&whole);
        assert!(boot(&dir, "three").contains(&whole));
        // Made again, it is there again.
        assert_eq!(made(&second, "cut"), cut);
        assert!(second.contains(&cut));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_was_synced_is_not_read_after_a_reboot() {
        let dir = fresh("synced");
        let first = boot(&dir, "one");
        let layer = made(&first, "text");
        assert_eq!(first.unsettled(), [layer]);
        first.settled(&[layer]);
        assert!(first.unsettled().is_empty());
        std::fs::write(first.path(&layer).join("file"), "other").unwrap();
        assert!(boot(&dir, "two").contains(&layer));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
