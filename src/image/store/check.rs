//! Looks whether every image is whole: its documents, its layers, the blobs they came as.
//!
//! In: the store as it lies on disk. Out: what is damaged; nothing is changed. Imports: `layer`, `refs`.

use std::collections::BTreeSet;
use std::fs::File;

use super::{Store, StoreError};
use crate::image::archive::decoder;
use crate::image::digest::Digest;
use crate::image::layer::open_blob;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The image, by a name or its id; none for what belongs to no image.
    pub image: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl Store {
    /// Examines all images. With `deep`, every blob is read and every layer without one is packed again, so that each byte is
    /// compared with its digest.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Corrupt`] when the index can't be read.
    pub fn check(&self, deep: bool) -> Result<Vec<Damage>, StoreError> {
        let refs = self.refs()?;
        let mut damages = Vec::new();
        let mut seen = BTreeSet::new();
        for id in refs.ids() {
            let name = refs.names_of(&id).first().map(ToString::to_string);
            let name = name.unwrap_or_else(|| id.short());
            let mut damaged = |what: String| {
                damages.push(Damage {
                    image: Some(name.clone()),
                    what,
                });
            };
            if let Some(entry) = refs.manifest_of(&id)
                && let Err(error) = self.blob(&entry.digest)
            {
                damaged(format!("its manifest: {error}"));
            }
            let image = match self.image(&id) {
                Ok(image) => image,
                Err(error) => {
                    damaged(error.to_string());
                    continue;
                }
            };
            for layer in image.layers() {
                if let Some(what) = self.check_layer(layer, deep && seen.insert(*layer)) {
                    damaged(format!("layer {}: {what}", layer.short()));
                }
            }
        }
        Ok(damages)
    }
    fn check_layer(&self, id: &Digest, deep: bool) -> Option<String> {
        let layers = self.layers();
        if !layers.lies(id) {
            return Some("it is not there".to_owned());
        }
        let record = match layers.record(id) {
            Ok(record) => record,
            Err(error) => return Some(error.to_string()),
        };
        let Some(blob) = record.blob else {
            return deep.then(|| self.check_packed(id)).flatten();
        };
        let path = self.blob_path(&blob.digest);
        match path.metadata() {
            Err(_) => return Some(format!("its blob {} is not there", blob.digest.short())),
            Ok(found) if found.len() != blob.size => {
                return Some(format!(
                    "its blob {} has {} bytes instead of {}",
                    blob.digest.short(),
                    found.len(),
                    blob.size
                ));
            }
            Ok(_) => {}
        }
        let same = |found: std::io::Result<Digest>, want: &Digest| match found {
            Ok(found) if found == *want => None,
            Ok(_) => Some(format!(
                "its blob {} was changed on disk",
                blob.digest.short()
            )),
            Err(error) => Some(format!(
                "its blob {} can't be read: {error}",
                blob.digest.short()
            )),
        };
        let found = || Digest::of_stream(File::open(&path)?);
        let unpacked = || {
            let file =
                open_blob(&path).map_err(|error| std::io::Error::other(error.to_string()))?;
            Digest::of_stream(decoder(file))
        };
        deep.then(|| same(found(), &blob.digest).or_else(|| same(unpacked(), id)))
            .flatten()
    }
    fn check_packed(&self, id: &Digest) -> Option<String> {
        let (reader, writer) = match std::io::pipe() {
            Ok(ends) => ends,
            Err(error) => return Some(error.to_string()),
        };
        let (written, found) = std::thread::scope(|scope| {
            let writing = scope.spawn(|| self.layers().archive(id, writer));
            let found = Digest::of_stream(reader);
            (writing.join(), found)
        });
        match (written, found) {
            (Ok(Ok(())), Ok(found)) if found == *id => None,
            (Ok(Err(error)), _) => Some(error.to_string()),
            (_, Err(error)) => Some(error.to_string()),
            _ => Some("its files were changed on disk".to_owned()),
        }
    }
}
