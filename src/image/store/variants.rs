//! The images of several platforms that one build has made: the name is that of one, the others are known beside it.
//!
//! On disk: `images/platforms/<digest of the name>`, one small file each. It counts as long as the name is still that of the
//! image it was written for. Imports: `reference`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::refs::Refs;
use super::{Image, Store, StoreError};
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::sys::fs::{self, Durability};

/// What is remembered of a name.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// The image that has the name.
    named: Digest,
    /// All images, in the order they were asked for.
    all: Vec<Digest>,
}

impl Store {
    fn variants_path(&self, name: &Reference) -> PathBuf {
        let digest = Digest::of(name.canonical().as_bytes());
        self.images.join("platforms").join(digest.hex())
    }
    /// Remembers the images that a name stands for, one of which has it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn keep_variants(
        &self,
        name: &Reference,
        named: &Image,
        all: &[Image],
    ) -> Result<(), StoreError> {
        let path = self.variants_path(name);
        let record = Record {
            version: 1,
            named: named.id,
            all: all.iter().map(|image| image.id).collect(),
        };
        let bytes = serde_json::to_vec(&record).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let failed = || StoreError::io("write the platforms of an image");
        fs::make_dirs(&self.images.join("platforms"), 0o700).map_err(failed())?;
        fs::write_atomic(&path, &bytes, 0o600, Durability::Synced).map_err(failed())
    }
    /// Images that stand behind a name another image has, each with that image.
    pub(super) fn all_variants(&self, refs: &Refs) -> BTreeMap<Digest, Digest> {
        let mut found = BTreeMap::new();
        for id in refs.ids() {
            for name in refs.names_of(&id) {
                let Some(record) = self
                    .variants_record(&name)
                    .filter(|record| record.named == id)
                else {
                    continue;
                };
                let others = record.all.into_iter().filter(|other| *other != id);
                found.extend(others.map(|other| (other, id)));
            }
        }
        found
    }
    fn variants_record(&self, name: &Reference) -> Option<Record> {
        let bytes = std::fs::read(self.variants_path(name)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (record.version == 1).then_some(record)
    }
    /// The images that a name stands for, of several platforms where a build made several; what was removed since is left
    /// out. None if there is no such name.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn variants(&self, name: &Reference) -> Result<Vec<Image>, StoreError> {
        let Some(named) = self.resolve(name)? else {
            return Ok(Vec::new());
        };
        let record = self
            .variants_record(name)
            .filter(|record| record.named == named.id);
        let Some(record) = record else {
            return Ok(vec![named]);
        };
        let mut all = Vec::new();
        for id in &record.all {
            match self.find(&id.to_string()) {
                Ok(image) => all.push(image),
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}
