//! Layers compressed for their way to a registry or a cache, and what these blobs were, so that the next time nothing
//! is compressed when the other side has it.
//!
//! Imports: `archive::pack`. The record of a layer names its blobs.

use std::io::{self, Write};

use super::{Store, StoreError};
use crate::base::cancel::Cancel;
use crate::image::archive::decoder;
use crate::image::archive::pack::{Packer, Packing};
use crate::image::digest::{Digest, Hasher};
use crate::image::layer::open_blob;
use crate::image::manifest::{Descriptor, media};

/// How a blob of this media type is compressed.
pub(in crate::image) fn packing_of(media_type: &str) -> Packing {
    match media_type {
        name if name.ends_with("gzip") => Packing::Gzip,
        name if name.ends_with("zstd") => Packing::Zstd,
        _ => Packing::Plain,
    }
}

impl Store {
    /// The blob that [`Store::pack`] would make of a layer: the one that it came as, or that was made before.
    ///
    /// # Errors
    /// As [`super::LayerStore::record`].
    pub fn packed(&self, id: &Digest, packing: Packing) -> Result<Option<Descriptor>, StoreError> {
        let record = self.layers.record(id)?;
        let fits = |blob: &Descriptor| packing_of(&blob.media_type) == packing;
        let own = record.blob.filter(fits);
        Ok(own.or_else(|| record.packed.into_iter().find(fits)))
    }
    /// Writes a layer's archive, compressed, and remembers what came out.
    ///
    /// # Errors
    /// [`StoreError::Io`], also when `cancel` is used; [`StoreError::Corrupt`] when the layer is not there, or is no
    /// more what it was.
    pub fn pack(
        &self,
        id: &Digest,
        packing: Packing,
        cancel: &Cancel,
        out: impl Write,
    ) -> Result<Descriptor, StoreError> {
        let failed = || StoreError::io(format!("compress layer {}", id.short()));
        let mut plain = Counted::new(Packer::new(packing, Counted::new(out, cancel)), cancel);
        match self.layers.record(id)?.blob {
            // Only its own bytes are sure to have its digest.
            Some(blob) => {
                let mut archive = decoder(open_blob(&self.blob_path(&blob.digest))?);
                io::copy(&mut archive, &mut plain).map_err(failed())?;
            }
            None => self.layers.archive(id, &mut plain)?,
        }
        if plain.hasher.finish() != *id {
            let text = format!("layer {} was changed on disk", id.short());
            return Err(StoreError::Corrupt(text));
        }
        let mut packed = plain.out.finish().map_err(failed())?;
        packed.flush().map_err(failed())?;
        let blob = Descriptor::new(
            media::layer(packing, false),
            packed.hasher.finish(),
            packed.size,
        );
        self.layers.remember_packed(id, &blob)?;
        Ok(blob)
    }
}

/// Hashes and counts what is written through it; ends when it is told to.
struct Counted<'a, W> {
    out: W,
    hasher: Hasher,
    size: u64,
    cancel: &'a Cancel,
}

impl<'a, W> Counted<'a, W> {
    fn new(out: W, cancel: &'a Cancel) -> Self {
        Self {
            out,
            hasher: Hasher::default(),
            size: 0,
            cancel,
        }
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            // Not `Interrupted`: that is tried again.
            return Err(io::Error::other("it was cancelled"));
        }
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
