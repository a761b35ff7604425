//! Images on disk: an OCI image layout for documents and blobs, beside it the unpacked layers.
//!
//! In: config documents with layers that are unpacked, archives of root file systems, manifests from
//! registries. Out: images by name or id. It never speaks to a registry and never asks who uses an image:
//! callers say what is in use.
//!
//! On disk: `images/oci-layout`, `images/index.json` (one entry a name; an image without a name has one entry
//! without), `images/blobs/sha256/`, `images/ingest/` (downloads in progress), `images/held/` (what commands
//! need just now), `images/lock`. The index is changed
//! only under the lock, and replaced by rename; blobs and layers come before the index that names them and go
//! after it.
//! Imports: `base`, `sys`, the rest of `image` but `registry`. Rules: OCI image spec 1.1, `image-layout.md`.

mod blobs;
mod bundle;
mod check;
mod gc;
mod hold;
mod import;
pub mod layout;
pub(super) mod packed;
mod refs;
mod settle;
#[cfg(test)]
mod tests;
mod variants;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::ImageConfig;
use super::digest::Digest;
use super::lanes::Lanes;
use super::layer::LayerStore;
use super::manifest::{Descriptor, Manifest, Platform, media};
use super::reference::Reference;
use crate::base::clock::Timestamp;
use crate::sys::fs::{self, Durability};
use crate::sys::lock::{Hold, Lock};
pub use bundle::{Format, Input, Loaded, Saved, Saving, Target};
pub use check::Damage;
pub use gc::{Gone, Needs, Removal, Removed, User};
pub use import::Import;
use refs::Refs;

/// Most layers of an image: twice what overlay stacks. Source: Linux `fs/overlayfs/params.h`, `OVL_MAX_STACK`.
const MOST_LAYERS: usize = 1_000;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("cannot {step}: {source}")]
    Io {
        /// `write /var/lib/hoist/images/index.json`.
        step: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A name or id that no image has.
    #[error("no such image: {0}")]
    NotFound(String),
    /// More than one image's id begins so.
    #[error("`{0}` is the beginning of several image ids; write more digits")]
    Ambiguous(String),
    /// Content that is not what it should be.
    #[error("{0}")]
    Corrupt(String),
    /// An image that containers use, or that has several names.
    #[error("conflict: unable to {what} ({force}) - {why}")]
    Conflict {
        /// `delete 7d4567d1c7b4`
        what: String,
        /// Whether force helps.
        force: &'static str,
        /// Why not.
        why: String,
        /// The container that uses it.
        user: Option<String>,
    },
}

impl StoreError {
    /// Makes the error of a failed step.
    pub(super) fn io<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |source| Self::Io {
            step,
            source: source.into(),
        }
    }
}

/// An image of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Digest of its config document.
    pub id: Digest,
    /// The document.
    pub config: ImageConfig,
}

impl Image {
    /// What it is made for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.config.os.clone(),
            architecture: self.config.architecture.clone(),
            variant: self.config.variant.clone(),
        }
    }
    /// Diff ids of its layers, base first: names of unpacked directories.
    pub fn layers(&self) -> &[Digest] {
        &self.config.rootfs.diff_ids
    }
    /// When it was made, if it says so.
    pub fn created(&self) -> Option<Timestamp> {
        Timestamp::parse(self.config.created.as_deref()?)
    }
}

/// An image as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The image.
    pub image: Image,
    /// Its names, sorted; none for an image that lost them.
    pub names: Vec<Reference>,
    /// The image that has the name, of one that a build made for another platform.
    pub behind: Option<Digest>,
    /// When it was given a name last.
    pub tagged: Option<Timestamp>,
    /// Bytes of its files, layer by layer.
    pub size: u64,
}

/// All images of a data directory.
#[derive(Debug, Clone)]
pub struct Store {
    images: PathBuf,
    layers: LayerStore,
    /// What this process holds against removal by others.
    holds: Arc<hold::Holds>,
    /// What moves to and from registries at the same time.
    lanes: Arc<Lanes>,
    /// Whether nothing is written: not even what is held, or when it was used.
    only_looks: bool,
}

impl Store {
    /// Opens the store below `data`, making its directories when missing.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let store = Self {
            images: data.join("images"),
            layers: LayerStore::open(data)?,
            holds: Arc::default(),
            lanes: Arc::default(),
            only_looks: false,
        };
        for dir in ["blobs/sha256", "ingest"] {
            fs::make_dirs(&store.images.join(dir), 0o700)
                .map_err(StoreError::io("make the image directory"))?;
        }
        let layout = store.images.join("oci-layout");
        if !layout.exists() {
            let text = br#"{"imageLayoutVersion":"1.0.0"}"#;
            fs::write_atomic(&layout, text, 0o600, Durability::Synced)
                .map_err(StoreError::io("write the image layout"))?;
        }
        store.clear_ingest();
        Ok(store)
    }
    /// The images below `data` as they lie there: makes nothing and tidies nothing, so it is only for looking.
    pub fn look(data: &Path) -> Self {
        Self {
            images: data.join("images"),
            layers: LayerStore::look(data),
            holds: Arc::default(),
            lanes: Arc::default(),
            only_looks: true,
        }
    }
    /// What moves to and from registries at the same time.
    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }
    /// The unpacked layers.
    pub fn layers(&self) -> &LayerStore {
        &self.layers
    }
    /// The image a reference names here. One that lost a layer when the power went is not there: it is to be built or
    /// pulled again.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Image>, StoreError> {
        let refs = self.refs()?;
        let found = refs.by_name(reference).map(|found| self.image(&found));
        let image = found.transpose()?;
        let whole = |image: &Image| image.layers().iter().all(|id| self.layers.contains(id));
        Ok(image.filter(whole))
    }
    /// The image a name, an id or the beginning of an id names here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Image, StoreError> {
        let id = self.refs()?.find(text)?;
        self.image(&id)
    }
    /// All images, newest first.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let refs = self.refs()?;
        let variants = self.all_variants(&refs);
        let mut listed = Vec::new();
        for id in refs.ids() {
            let image = self.image(&id)?;
            let size =
                |layer: &Digest| self.layers.record(layer).map_or(0, |record| record.content);
            let size = image.layers().iter().map(size).sum();
            listed.push(Listed {
                names: refs.names_of(&id),
                behind: variants.get(&id).copied(),
                tagged: refs.tagged(&id),
                size,
                image,
            });
        }
        listed.sort_by_key(|listed| std::cmp::Reverse(listed.image.created()));
        Ok(listed)
    }
    /// The names of an image, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn names(&self, id: &Digest) -> Result<Vec<Reference>, StoreError> {
        Ok(self.refs()?.names_of(id))
    }
    /// The names of a repository's tags, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn tags(&self, repository: &Reference) -> Result<Vec<Reference>, StoreError> {
        Ok(self.refs()?.tags(repository))
    }
    /// Digests under which registries know an image, as `repository@sha256:…`, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn repo_digests(&self, id: &Digest) -> Result<Vec<String>, StoreError> {
        Ok(self.refs()?.repo_digests(id))
    }
    /// An image's config document, byte for byte.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn document(&self, id: &Digest) -> Result<Vec<u8>, StoreError> {
        self.blob(id)
    }
    /// Keeps an image whose layers are unpacked already, and gives it the names.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put(&self, config: &ImageConfig, names: &[Reference]) -> Result<Image, StoreError> {
        let text = serde_json::to_vec(config).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        self.keep(&text, names)
    }
    /// As [`Store::put`], with the config document as it came; its id is the digest of exactly these bytes.
    pub(super) fn keep(&self, config: &[u8], names: &[Reference]) -> Result<Image, StoreError> {
        let image = parse_config(config)?;
        let layers = image.layers().iter().map(|id| self.layers.descriptor(id));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let descriptor = Descriptor::new(media::CONFIG, image.id, config.len() as u64);
        let manifest = serde_json::to_vec(&Manifest::new(descriptor, layers))
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.enter(config, &manifest, media::MANIFEST, names, None)
    }
    /// Enters an image with the manifest it came with. `known_as` is the digest that its registry gave
    /// for the name: the index's, or the manifest's own.
    pub(super) fn enter(
        &self,
        config: &[u8],
        manifest: &[u8],
        media_type: &str,
        names: &[Reference],
        known_as: Option<Digest>,
    ) -> Result<Image, StoreError> {
        let image = parse_config(config)?;
        if let Some(missing) = image.layers().iter().find(|id| !self.layers.contains(id)) {
            return Err(StoreError::Corrupt(format!(
                "layer {missing} is not in the store"
            )));
        }
        let _lock = self.lock()?;
        self.put_blob(config)?;
        let digest = self.put_blob(manifest)?;
        let descriptor = Descriptor::new(media_type, digest, manifest.len() as u64);
        let mut refs = self.refs()?;
        refs.enter(&image, &descriptor, names, known_as, Timestamp::now());
        self.write_refs(&refs)?;
        Ok(image)
    }
    /// Gives an image one more name, taking it from another image that has it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut refs = self.refs()?;
        if refs.tag(id, name, Timestamp::now()) {
            self.write_refs(&refs)
        } else {
            Err(StoreError::NotFound(id.to_string()))
        }
    }
    /// Notes the digest under which a registry knows the name of an image now.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn know(
        &self,
        id: &Digest,
        name: &Reference,
        digest: Digest,
    ) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut refs = self.refs()?;
        if refs.know(id, name, digest) {
            self.write_refs(&refs)?;
        }
        Ok(())
    }
    /// The manifest an image came with, and its media type.
    pub(super) fn manifest(&self, id: &Digest) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        let Some(entry) = self.refs()?.manifest_of(id) else {
            return Ok(None);
        };
        Ok(Some((self.blob(&entry.digest)?, entry.media_type)))
    }
    /// Repositories of a registry that are known to have certain blobs.
    pub(super) fn places(&self, registry: &str) -> Result<BTreeMap<Digest, String>, StoreError> {
        let mut places = BTreeMap::new();
        for (id, repository) in self.refs()?.repositories(registry) {
            let Ok(image) = self.image(&id) else { continue };
            for record in image
                .layers()
                .iter()
                .filter_map(|id| self.layers.record(id).ok())
            {
                for blob in record.blob.iter().chain(&record.packed) {
                    places.insert(blob.digest, repository.clone());
                }
            }
        }
        Ok(places)
    }
    fn image(&self, id: &Digest) -> Result<Image, StoreError> {
        let image = parse_config(&self.blob(id)?)?;
        if image.id == *id {
            return Ok(image);
        }
        Err(StoreError::Corrupt(format!(
            "the config of image {} was changed on disk",
            id.short()
        )))
    }
    fn lock(&self) -> Result<Lock, StoreError> {
        Lock::acquire(&self.images.join("lock"), Hold::Exclusive)
            .map_err(StoreError::io("lock the image store"))
    }
    fn refs(&self) -> Result<Refs, StoreError> {
        Refs::read(&self.images.join("index.json"))
    }
    fn write_refs(&self, refs: &Refs) -> Result<(), StoreError> {
        refs.write(&self.images.join("index.json"))
    }
    /// Layers of all images here.
    fn layers_in_use(&self, refs: &Refs) -> Result<BTreeSet<Digest>, StoreError> {
        let mut used = BTreeSet::new();
        for id in refs.ids() {
            used.extend(self.image(&id)?.layers());
        }
        Ok(used)
    }
}

/// Reads a config document.
pub(super) fn parse_config(bytes: &[u8]) -> Result<Image, StoreError> {
    let id = Digest::of(bytes);
    let config: ImageConfig = serde_json::from_slice(bytes).map_err(|error| {
        StoreError::Corrupt(format!("the config of image {}: {error}", id.short()))
    })?;
    let layers = config.rootfs.diff_ids.len();
    if layers > MOST_LAYERS {
        let text = format!(
            "image {} has {layers} layers; at most {MOST_LAYERS} can be used",
            id.short()
        );
        return Err(StoreError::Corrupt(text));
    }
    Ok(Image { id, config })
}
