//! Removal: names, images, and what nothing needs any more.
//!
//! The index goes first, then layers, then blobs, so that a kill leaves only what [`Store::prune`] finds.
//! Imports: `layer`, `refs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::refs::Refs;
use super::{Store, StoreError};
use crate::image::digest::Digest;
use crate::image::manifest::Document;
use crate::image::reference::Reference;

/// How long a layer that nothing names is left alone by [`Store::prune`]: a build that made it may be
/// about to name it.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// What a removal must respect.
#[derive(Debug)]
pub struct Removal<'a> {
    /// Removes images that are in use or have several names.
    pub force: bool,
    /// Images that containers use, with who that is.
    pub in_use: &'a BTreeMap<Digest, String>,
    /// Layers that containers or build records need.
    pub keep: &'a BTreeSet<Digest>,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that were taken away.
    pub untagged: Vec<Reference>,
    /// Images that are gone.
    pub images: Vec<Digest>,
    /// Layers that are gone.
    pub layers: Vec<Digest>,
    /// Bytes of files in those layers.
    pub freed: u64,
}

impl Store {
    /// Takes a name away; the image stays even when it was its last one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn untag(&self, name: &Reference) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut refs = self.refs()?;
        refs.by_name(name)
            .ok_or_else(|| StoreError::NotFound(name.to_string()))?;
        refs.free(name);
        self.write_refs(&refs)
    }
    /// Removes a name, and the image with it when it was its last one; or, by id, an image with its names.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`], [`StoreError::InUse`],
    /// [`StoreError::SeveralNames`], [`StoreError::Io`].
    pub fn remove(&self, name_or_id: &str, how: &Removal<'_>) -> Result<Removed, StoreError> {
        let _lock = self.lock()?;
        let mut refs = self.refs()?;
        let id = refs.find(name_or_id)?;
        let names = refs.names_of(&id);
        let same = |name: &Reference| names.iter().find(|n| *n == name).cloned();
        let asked = Reference::parse(name_or_id).ok();
        let by_name = asked.as_ref().filter(|name| refs.by_name(name) == Some(id));
        let by_name = by_name.and_then(|name| same(name).or_else(|| Some(name.clone())));
        if let Some(name) = by_name.filter(|_| names.len() > 1) {
            refs.free(&name);
            self.write_refs(&refs)?;
            return Ok(Removed {
                untagged: vec![name],
                ..Removed::default()
            });
        }
        if !how.force {
            if let Some(by) = how.in_use.get(&id) {
                return Err(StoreError::InUse {
                    image: name_or_id.to_owned(),
                    by: by.clone(),
                });
            }
            if names.len() > 1 {
                let names = names.iter().map(ToString::to_string).collect();
                return Err(StoreError::SeveralNames {
                    image: name_or_id.to_owned(),
                    names,
                });
            }
        }
        let layers: BTreeSet<Digest> = self
            .image(&id)
            .map(|image| image.layers().iter().copied().collect())
            .unwrap_or_default();
        refs.drop_image(&id);
        self.write_refs(&refs)?;
        let mut removed = Removed {
            untagged: names,
            images: vec![id],
            ..Removed::default()
        };
        // A build or pull of another process may be about to use them; `prune` comes later.
        if !self.layers.busy() {
            self.remove_layers(&refs, &layers, how.keep, &mut removed)?;
        }
        self.remove_blobs(&refs)?;
        Ok(removed)
    }
    /// Removes images without a name that no container uses, and layers and blobs that nothing needs.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn prune(&self, how: &Removal<'_>) -> Result<Removed, StoreError> {
        let _lock = self.lock()?;
        let mut refs = self.refs()?;
        let mut removed = Removed::default();
        for id in refs.ids() {
            if refs.names_of(&id).is_empty() && !how.in_use.contains_key(&id) {
                refs.drop_image(&id);
                removed.images.push(id);
            }
        }
        self.write_refs(&refs)?;
        if !self.layers.busy() {
            let old = |id: &Digest| {
                let age = self
                    .layers
                    .made(id)
                    .and_then(|at| SystemTime::now().duration_since(at).ok());
                how.force || age.is_none_or(|age| age > GRACE)
            };
            let layers = self.layers.list()?.into_iter().filter(old).collect();
            self.remove_layers(&refs, &layers, how.keep, &mut removed)?;
        }
        self.remove_blobs(&refs)?;
        Ok(removed)
    }
    /// Removes those of some layers that neither an image nor `keep` needs, but none while somebody makes one.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn drop_layers(
        &self,
        layers: &BTreeSet<Digest>,
        keep: &BTreeSet<Digest>,
    ) -> Result<Removed, StoreError> {
        let _lock = self.lock()?;
        let mut removed = Removed::default();
        if !self.layers.busy() {
            let refs = self.refs()?;
            self.remove_layers(&refs, layers, keep, &mut removed)?;
            self.remove_blobs(&refs)?;
        }
        Ok(removed)
    }
    fn remove_layers(
        &self,
        refs: &Refs,
        layers: &BTreeSet<Digest>,
        keep: &BTreeSet<Digest>,
        removed: &mut Removed,
    ) -> Result<(), StoreError> {
        let used = self.layers_in_use(refs)?;
        for id in layers
            .iter()
            .filter(|id| !used.contains(id) && !keep.contains(id))
        {
            let content = self.layers.record(id).map_or(0, |record| record.content);
            self.layers.remove(id)?;
            removed.freed += content;
            removed.layers.push(*id);
        }
        Ok(())
    }
    /// Removes blobs that neither an image nor a layer needs.
    fn remove_blobs(&self, refs: &Refs) -> Result<(), StoreError> {
        // A pull has blobs before it has layers that name them.
        if self.layers.busy() || self.downloads() {
            return Ok(());
        }
        let mut used: BTreeSet<Digest> = refs.ids();
        used.extend(refs.known());
        for digest in refs.manifests() {
            used.insert(digest);
            if let Ok(Document::Manifest(manifest)) = Document::parse(&self.blob(&digest)?) {
                used.insert(manifest.config.digest);
            }
        }
        for layer in self.layers.list()? {
            used.extend(self.layers.record(&layer)?.blob.map(|blob| blob.digest));
        }
        let failed = || StoreError::io("remove blobs that nothing needs");
        for entry in std::fs::read_dir(self.images.join("blobs/sha256")).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let digest = Digest::parse(&format!("sha256:{name}"));
            // Other names are of writes that a kill has ended, or that go on just now.
            let left = || {
                let age = path.metadata().ok()?.modified().ok()?;
                SystemTime::now().duration_since(age).ok()
            };
            if digest.map_or_else(
                |_| left().is_some_and(|age| age > GRACE),
                |d| !used.contains(&d),
            ) {
                crate::sys::fs::remove_tree(&path).map_err(failed())?;
            }
        }
        Ok(())
    }
    /// Whether some process downloads just now.
    fn downloads(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(self.images.join("ingest")) else {
            return false;
        };
        entries.filter_map(Result::ok).any(|entry| {
            let held = std::fs::File::open(entry.path()).map(|file| file.try_lock().is_err());
            held.unwrap_or(false)
        })
    }
}
