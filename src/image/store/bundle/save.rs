//! Images written to an archive or a directory.
//!
//! Each layer and document once, whatever images share it; all documents about the whole come last. Every layer is hashed while it
//! is written. Imports: `archive::pack`, `attest`, `layer`, `manifest`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek as _, Write};

use serde_json::json;

use super::target::Target;
use super::{LAYOUT, Listing, NAME, StoreError, TAG, blob_name, corrupt};
use crate::base::cancel::Cancel;
use crate::image::archive::decoder;
use crate::image::archive::pack::Packing;
use crate::image::attest::{self, Along, Level};
use crate::image::digest::{Digest, Hasher};
use crate::image::layer::open_blob;
use crate::image::manifest::{Descriptor, Document, Index, Manifest, media};
use crate::image::reference::Reference;
use crate::image::store::packed::packing_of;
use crate::image::store::{Image, Store};
use crate::sys::fs;

/// What an archive or directory looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// An OCI layout with Docker's `manifest.json` and `repositories` beside it: read by all.
    #[default]
    Docker,
    /// An OCI layout.
    Oci,
    /// skopeo's `dir:`, with a manifest of Docker's; holds one image of one platform.
    Dir,
}

/// How images are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Saving {
    /// What it looks like.
    pub format: Format,
    /// How layers are compressed; as they came when `None`.
    pub packing: Option<Packing>,
}

/// What is written of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// The image for each platform; first the one that readers get who know nothing of platforms.
    pub images: Vec<Image>,
    /// The names it shall have where it is loaded.
    pub names: Vec<Reference>,
    /// What goes along with the images; an archive for Docker has no place for statements.
    pub along: Along,
}

/// The manifest an image came with.
struct Own {
    bytes: Vec<u8>,
    kind: String,
    layers: Vec<Descriptor>,
}

/// What was written of an image.
struct Written {
    descriptor: Descriptor,
    layers: Vec<Descriptor>,
}

struct Saver<'a, 't> {
    store: &'a Store,
    how: Saving,
    target: Target<'t>,
    written: BTreeSet<Digest>,
}

impl Store {
    /// Writes images.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`]; [`StoreError::Corrupt`] when a layer is not any more what it was.
    pub fn save(&self, all: &[Saved], how: &Saving, target: Target<'_>) -> Result<(), StoreError> {
        let saver = Saver {
            store: self,
            how: *how,
            target,
            written: BTreeSet::new(),
        };
        match how.format {
            Format::Dir => saver.dir(all),
            Format::Docker | Format::Oci => saver.layout(all),
        }
    }
}

fn text(document: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(document).map_err(|error| corrupt(error.to_string()))
}

impl Saver<'_, '_> {
    fn layout(mut self, all: &[Saved]) -> Result<(), StoreError> {
        let mut index = Index::default();
        let mut listings: Vec<Listing> = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for saved in all {
            let along = &saved.along;
            let mut written = Vec::new();
            for image in &saved.images {
                let mut one = self.image(image, along)?;
                let platform = one.descriptor.platform.as_ref();
                one.descriptor.annotations = along.notes(Level::ManifestDescriptor, platform);
                written.push(one);
            }
            let Some((first, image)) = written.first().zip(saved.images.first()) else {
                continue;
            };
            let last = first
                .layers
                .last()
                .map(|layer| layer.digest.hex().to_owned());
            for name in &saved.names {
                if let (Some(tag), Some(last)) = (&name.tag, &last) {
                    let tags = repositories.entry(name.familiar_name()).or_default();
                    tags.insert(tag.clone(), last.clone());
                }
            }
            listings.push(listing(image, first, &saved.names));
            let entry = match written.as_slice() {
                [_] if !self.needs_index(along) => written.swap_remove(0).descriptor,
                _ => self.index(written, saved)?,
            };
            index.manifests.extend(named(&entry, &saved.names));
        }
        let docker = self.how.format == Format::Docker;
        self.target.document("index.json", &text(&index)?)?;
        if docker {
            self.target.document("manifest.json", &text(&listings)?)?;
        }
        self.target.document("oci-layout", LAYOUT.as_bytes())?;
        if docker && !repositories.is_empty() {
            self.target
                .document("repositories", &text(&repositories)?)?;
        }
        self.target.finish()
    }
    fn needs_index(&self, along: &Along) -> bool {
        self.how.format == Format::Oci && along.needs_index()
    }
    /// The images of several platforms as one, and statements beside them.
    fn index(&mut self, written: Vec<Written>, saved: &Saved) -> Result<Descriptor, StoreError> {
        let along = &saved.along;
        let mut manifests: Vec<Descriptor> =
            written.into_iter().map(|one| one.descriptor).collect();
        if self.needs_index(along) {
            let names: Vec<&Reference> = saved.names.iter().collect();
            let mut beside = Vec::new();
            for (at, image) in manifests.iter().enumerate() {
                let statements = along.statements_of(at);
                if statements.is_empty() {
                    continue;
                }
                let sealed = attest::seal(statements, image, &names);
                let sealed = sealed.map_err(|error| corrupt(error.to_string()))?;
                for document in sealed.documents.iter().chain([&sealed.manifest]) {
                    self.blob(document)?;
                }
                beside.push(sealed.descriptor);
            }
            manifests.extend(beside);
        }
        let index = Index {
            manifests,
            annotations: along.notes(Level::Index, None),
            ..Index::default()
        };
        let bytes = text(&index)?;
        let digest = self.blob(&bytes)?;
        let mut descriptor = Descriptor::new(media::INDEX, digest, bytes.len() as u64);
        descriptor.annotations = along.notes(Level::IndexDescriptor, None);
        Ok(descriptor)
    }
    fn dir(mut self, all: &[Saved]) -> Result<(), StoreError> {
        let [Saved { images, .. }] = all else {
            return Err(corrupt("a directory of this form holds one image"));
        };
        let [image] = images.as_slice() else {
            return Err(corrupt("a directory of this form holds one platform"));
        };
        let own = self.own_manifest(image)?;
        let layers = self.layers(image, own.as_ref())?;
        let config = self.store.document(&image.id)?;
        self.blob(&config)?;
        let bytes = match own {
            Some(own) => own.bytes,
            None => text(&docker_manifest(image, config.len(), &layers))?,
        };
        self.target.document("manifest.json", &bytes)?;
        let version = b"Directory Transport Version: 1.1\n";
        self.target.document("version", version)?;
        self.target.finish()
    }
    fn image(&mut self, image: &Image, along: &Along) -> Result<Written, StoreError> {
        let platform = image.platform();
        let notes = along.notes(Level::Manifest, Some(&platform));
        let own = self.own_manifest(image)?.filter(|_| notes.is_empty());
        let layers = self.layers(image, own.as_ref())?;
        let config = self.store.document(&image.id)?;
        self.blob(&config)?;
        let (bytes, kind) = match own {
            Some(own) => (own.bytes, own.kind),
            None => {
                let config = Descriptor::new(media::CONFIG, image.id, config.len() as u64);
                let mut made = Manifest::new(config, layers.clone());
                made.annotations = notes;
                let made = text(&made)?;
                (made, media::MANIFEST.to_owned())
            }
        };
        let digest = self.blob(&bytes)?;
        let mut descriptor = Descriptor::new(&kind, digest, bytes.len() as u64);
        descriptor.platform = Some(platform);
        Ok(Written { descriptor, layers })
    }
    /// The manifest the image came with, if what it names can be written.
    fn own_manifest(&self, image: &Image) -> Result<Option<Own>, StoreError> {
        let Some((bytes, kind)) = self.store.manifest(&image.id)? else {
            return Ok(None);
        };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else {
            return Ok(None);
        };
        let there = |(id, layer): (&Digest, &Descriptor)| {
            let packing = packing_of(&layer.media_type);
            (layer.digest == *id || self.store.blob_path(&layer.digest).exists())
                && self.how.packing.is_none_or(|wanted| wanted == packing)
        };
        let right = manifest.layers.len() == image.layers().len()
            && image.layers().iter().zip(&manifest.layers).all(there)
            && (self.how.format != Format::Dir || kind == media::DOCKER_MANIFEST);
        let layers = manifest.layers;
        Ok(right.then_some(Own {
            bytes,
            kind,
            layers,
        }))
    }
    fn layers(&mut self, image: &Image, own: Option<&Own>) -> Result<Vec<Descriptor>, StoreError> {
        if let Some(own) = own {
            for (id, layer) in image.layers().iter().zip(&own.layers) {
                self.own_layer(id, layer)?;
            }
            return Ok(own.layers.clone());
        }
        image.layers().iter().map(|id| self.layer(id)).collect()
    }
    fn layer(&mut self, id: &Digest) -> Result<Descriptor, StoreError> {
        let own = self.store.layers().descriptor(id)?;
        let is = packing_of(&own.media_type);
        match self.how.packing {
            Some(Packing::Plain) if is != Packing::Plain => {
                let length = self.store.layers().record(id)?.archive;
                let plain = Descriptor::new(media::LAYER, *id, length);
                self.own_layer(id, &plain)?;
                Ok(plain)
            }
            Some(wanted) if wanted != is => self.packed(id, wanted),
            _ => {
                self.own_layer(id, &own)?;
                Ok(own)
            }
        }
    }
    /// A layer as it is, or its archive without compression.
    fn own_layer(&mut self, id: &Digest, own: &Descriptor) -> Result<(), StoreError> {
        if !self.written.insert(own.digest) {
            return Ok(());
        }
        let store = self.store;
        let blob = store.blob_path(&own.digest);
        let failed = || StoreError::io("write the archive");
        let fill = |out: &mut dyn Write| {
            let mut hashed = Hashed::new(out);
            if blob.exists() {
                io::copy(&mut open_blob(&blob)?, &mut hashed).map_err(failed())?;
            } else if let Some(packed) = store.layers().record(id)?.blob {
                let mut plain = decoder(open_blob(&store.blob_path(&packed.digest))?);
                io::copy(&mut plain, &mut hashed).map_err(failed())?;
            } else {
                store.layers().archive(id, &mut hashed)?;
            }
            hashed.must_be(&own.digest, id)
        };
        let name = self.name(&own.digest);
        self.target.file(&name, own.size, &mut { fill })
    }
    /// A layer compressed in another way than it came in.
    fn packed(&mut self, id: &Digest, wanted: Packing) -> Result<Descriptor, StoreError> {
        let store = self.store;
        if let Some(known) = store.packed(id, wanted)?
            && self.written.contains(&known.digest)
        {
            return Ok(known);
        }
        // How long it is must be known before it is written.
        let place = store.layers().staging()?;
        let mut file = fs::unnamed(place.dir()).map_err(StoreError::io("compress a layer"))?;
        let packed = store.pack(id, wanted, &Cancel::default(), &file)?;
        if self.written.insert(packed.digest) {
            file.rewind().map_err(StoreError::io("compress a layer"))?;
            let fill = |out: &mut dyn Write| copied(&file, out);
            let name = self.name(&packed.digest);
            self.target.file(&name, packed.size, &mut { fill })?;
        }
        Ok(packed)
    }
    /// Writes a document as a blob, once.
    fn blob(&mut self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.written.insert(digest) {
            let name = self.name(&digest);
            self.target.document(&name, bytes)?;
        }
        Ok(digest)
    }
    fn name(&self, digest: &Digest) -> String {
        match self.how.format {
            Format::Dir => digest.hex().to_owned(),
            _ => blob_name(digest),
        }
    }
}

fn copied(mut from: &File, out: &mut dyn Write) -> Result<(), StoreError> {
    io::copy(&mut from, out)
        .map(drop)
        .map_err(StoreError::io("write the archive"))
}

/// The entry for each name; one without a name if there is none.
fn named(bare: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    let tagged = names.iter().filter_map(|name| {
        let mut entry = bare.clone();
        let mut note = |key: &str, text: String| entry.annotations.insert(key.to_owned(), text);
        note(TAG, name.tag.clone()?);
        note(NAME, name.canonical());
        Some(entry)
    });
    let tagged: Vec<Descriptor> = tagged.collect();
    match tagged.is_empty() {
        true => vec![bare.clone()],
        false => tagged,
    }
}

fn listing(image: &Image, written: &Written, names: &[Reference]) -> Listing {
    let tagged = names.iter().filter(|name| name.tag.is_some());
    let tags: Vec<String> = tagged.map(ToString::to_string).collect();
    let sources = image.layers().iter().zip(&written.layers).map(|(id, layer)| {
        let about = json!({
            "mediaType": layer.media_type, "size": layer.size, "digest": layer.digest.to_string(),
        });
        (id.to_string(), about)
    });
    Listing {
        config: blob_name(&image.id),
        repo_tags: Some(tags).filter(|tags| !tags.is_empty()),
        layers: written
            .layers
            .iter()
            .map(|layer| blob_name(&layer.digest))
            .collect(),
        layer_sources: Some(sources.collect()),
    }
}

fn docker_manifest(image: &Image, config: usize, layers: &[Descriptor]) -> Manifest {
    let layer = |layer: &Descriptor| {
        let kind = media::layer(packing_of(&layer.media_type), true);
        Descriptor::new(kind, layer.digest, layer.size)
    };
    Manifest {
        media_type: Some(media::DOCKER_MANIFEST.to_owned()),
        ..Manifest::new(
            Descriptor::new(media::DOCKER_CONFIG, image.id, config as u64),
            layers.iter().map(layer).collect(),
        )
    }
}

/// Hashes what is written through it.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
}

impl<'a> Hashed<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        let hasher = Hasher::default();
        Self { out, hasher }
    }
    fn must_be(self, digest: &Digest, layer: &Digest) -> Result<(), StoreError> {
        match self.hasher.finish() == *digest {
            true => Ok(()),
            false => Err(corrupt(format!(
                "layer {} was changed on disk",
                layer.short()
            ))),
        }
    }
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
