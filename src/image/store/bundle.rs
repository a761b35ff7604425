//! Images as one archive, for machines without a registry: written so that both readers of Docker archives and
//! readers of OCI layouts understand it, and read in either form.
//!
//! In: images, or an archive nobody vouches for. Out: an archive, or images. Layers that came as blobs are
//! written byte for byte as they came.
//! Imports: `archive`, `layer`, `manifest`. Rules: OCI image spec, `image-layout.md`; moby
//! `image/tarexport` (`manifest.json`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Image, Store, StoreError, parse_config};
use crate::image::archive::read::Members;
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::image::archive::{self, Compression, SNIFF, sniff};
use crate::image::digest::{Digest, Hasher};
use crate::image::layer::open_blob;
use crate::image::manifest::{Descriptor, Document, Index, Manifest, Platform, media};
use crate::image::reference::Reference;

/// Longest JSON document of an archive in bytes.
const LONGEST_DOCUMENT: u64 = 16 << 20;

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn corrupt(text: impl Into<String>) -> StoreError {
    StoreError::Corrupt(text.into())
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Store {
    /// Writes images, each with the names it should have where it is loaded.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn save(
        &self,
        images: &[(Image, Vec<Reference>)],
        out: impl Write,
    ) -> Result<(), StoreError> {
        let mut out = io::BufWriter::with_capacity(1 << 20, out);
        let mut written = BTreeSet::new();
        let mut index = Index::default();
        let mut listings = Vec::new();
        for (image, names) in images {
            let (manifest, layers) = self.save_one(image, &mut written, &mut out)?;
            let tags: Vec<String> = names
                .iter()
                .filter(|name| name.tag.is_some())
                .map(Reference::canonical)
                .collect();
            let mut entries: Vec<Descriptor> = vec![manifest];
            if !tags.is_empty() {
                let bare = entries.remove(0);
                for name in names.iter().filter(|name| name.tag.is_some()) {
                    let mut entry = bare.clone();
                    let tag = name.tag.clone().unwrap_or_default();
                    entry
                        .annotations
                        .insert("io.containerd.image.name".to_owned(), name.canonical());
                    entry
                        .annotations
                        .insert("org.opencontainers.image.ref.name".to_owned(), tag);
                    entries.push(entry);
                }
            }
            index.manifests.append(&mut entries);
            let tags = names
                .iter()
                .filter(|name| name.tag.is_some())
                .map(ToString::to_string)
                .collect();
            listings.push(Listing {
                config: blob_name(&image.id),
                repo_tags: Some(tags),
                layers,
            });
        }
        let text =
            |done: Result<Vec<u8>, serde_json::Error>| done.map_err(|e| corrupt(e.to_string()));
        let index = text(serde_json::to_vec(&index))?;
        let listings = text(serde_json::to_vec(&listings))?;
        let mut tail = || -> io::Result<()> {
            document(&mut out, "index.json", &index)?;
            document(&mut out, "manifest.json", &listings)?;
            document(&mut out, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            end(&mut out)?;
            out.flush()
        };
        tail().map_err(StoreError::io("write the archive"))
    }
    fn save_one(
        &self,
        image: &Image,
        written: &mut BTreeSet<Digest>,
        out: &mut impl Write,
    ) -> Result<(Descriptor, Vec<String>), StoreError> {
        let failed = || StoreError::io("write the archive");
        let mut layers = Vec::new();
        for id in image.layers() {
            let descriptor = self.layers().descriptor(id)?;
            if written.insert(descriptor.digest) {
                let name = blob_name(&descriptor.digest);
                let entry = Entry {
                    size: descriptor.size,
                    ..Entry::new(name.as_bytes(), EntryKind::File, 0o644)
                };
                entry.write(out).map_err(failed())?;
                let mut counted = Exact {
                    out: &mut *out,
                    left: descriptor.size,
                };
                if descriptor.digest == *id && !self.blob_path(id).exists() {
                    self.layers().archive(id, &mut counted)?;
                } else {
                    let mut blob = open_blob(&self.blob_path(&descriptor.digest))?;
                    io::copy(&mut blob, &mut counted).map_err(failed())?;
                }
                if counted.left != 0 {
                    return Err(corrupt(format!("layer {} was changed on disk", id.short())));
                }
                pad(out, descriptor.size).map_err(failed())?;
            }
            layers.push(descriptor);
        }
        let config = self.document(&image.id)?;
        let names = layers
            .iter()
            .map(|layer| blob_name(&layer.digest))
            .collect();
        let of_config = Descriptor::new(media::CONFIG, image.id, config.len() as u64);
        let manifest = serde_json::to_vec(&Manifest::new(of_config, layers))
            .map_err(|error| corrupt(error.to_string()))?;
        let digest = Digest::of(&manifest);
        for (digest, bytes) in [(image.id, &config), (digest, &manifest)] {
            if written.insert(digest) {
                document(out, &blob_name(&digest), bytes).map_err(failed())?;
            }
        }
        let mut descriptor = Descriptor::new(media::MANIFEST, digest, manifest.len() as u64);
        descriptor.platform = Some(Platform {
            os: image.config.os.clone(),
            architecture: image.config.architecture.clone(),
            variant: image.config.variant.clone(),
        });
        Ok((descriptor, names))
    }
    /// Takes the images of an archive that Docker or a tool for OCI layouts has written, compressed or not,
    /// with the names it says.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn load(&self, input: impl Read) -> Result<Vec<(Image, Vec<Reference>)>, StoreError> {
        let staging = self.layers().staging()?;
        let files = spread(input, staging.dir())?;
        let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
        for (listing, names) in listings(&files)? {
            let config = files.document(&listing.config)?;
            let image = parse_config(&config)?;
            if image.layers().len() != listing.layers.len() {
                return Err(corrupt(
                    "an image of the archive has not as many layers as its config says",
                ));
            }
            for (id, name) in image.layers().iter().zip(&listing.layers) {
                self.load_layer(id, &files.path(name)?)?;
            }
            self.keep(&config, &names)?;
            images.push((image, names));
        }
        Ok(images)
    }
    fn load_layer(&self, id: &Digest, path: &Path) -> Result<(), StoreError> {
        if self.layers().contains(id) {
            return Ok(());
        }
        let failed = || StoreError::io("read a layer of the archive");
        let mut file = open_blob(path)?;
        let mut head = Vec::new();
        (&file)
            .take(SNIFF as u64)
            .read_to_end(&mut head)
            .map_err(failed())?;
        file.rewind().map_err(failed())?;
        let media_type = match sniff(&head) {
            Compression::Gzip => media::LAYER_GZIP,
            Compression::Zstd => media::LAYER_ZSTD,
            _ => media::LAYER,
        };
        let mut hash = Hashed(Hasher::default());
        let size = io::copy(&mut file, &mut hash).map_err(failed())?;
        file.rewind().map_err(failed())?;
        let blob = Descriptor::new(media_type, hash.0.finish(), size);
        // The archive is on the store's own file system, so it becomes the blob without being copied.
        let kept = self.blob_path(&blob.digest);
        if !kept.exists() {
            std::fs::hard_link(path, &kept).map_err(failed())?;
        }
        self.layers().import(file, id, Some(&blob)).map(drop)
    }
}

/// Refuses more bytes than were announced.
struct Exact<'a, W> {
    out: &'a mut W,
    left: u64,
}

impl<W: Write> Write for Exact<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other(
                "a layer was changed on disk: it is longer than recorded",
            ));
        }
        let written = self.out.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Hashed(Hasher);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn document(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    let size = bytes.len() as u64;
    Entry {
        size,
        ..Entry::new(name.as_bytes(), EntryKind::File, 0o644)
    }
    .write(out)?;
    out.write_all(bytes)?;
    pad(out, size)
}

/// An archive's files, each under a number, so that its names mean nothing to the file system.
#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<String, PathBuf>,
    /// Older archives keep a layer that occurs twice as a link.
    links: BTreeMap<String, String>,
}

impl Files {
    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let name = self.links.get(name).map_or(name, String::as_str);
        let missing = || corrupt(format!("the archive has no `{name}`"));
        self.files.get(name).cloned().ok_or_else(missing)
    }
    fn document(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let file = open_blob(&self.path(name)?)?;
        file.take(LONGEST_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(StoreError::io("read a document of the archive"))?;
        Ok(bytes)
    }
}

fn spread(input: impl Read, dir: &Path) -> Result<Files, StoreError> {
    let mut found = Files::default();
    let mut members = Members::new(archive::decoder(input));
    while let Some(member) = members.next_member().map_err(|e| corrupt(e.to_string()))? {
        let name = String::from_utf8_lossy(&member.path)
            .trim_start_matches("./")
            .to_owned();
        match member.kind {
            EntryKind::File => {
                let path = dir.join(found.files.len().to_string());
                let mut copy = || -> io::Result<()> {
                    io::copy(&mut members.content(), &mut File::create_new(&path)?).map(drop)
                };
                copy().map_err(StoreError::io(format!("unpack `{name}` of the archive")))?;
                found.files.insert(name, path);
            }
            EntryKind::Symlink | EntryKind::HardLink => {
                let link = String::from_utf8_lossy(&member.link);
                let base = if member.kind == EntryKind::Symlink {
                    Path::new(&name).parent()
                } else {
                    None
                };
                let target =
                    crate::sys::fs::clean(&base.unwrap_or(Path::new("")).join(link.as_ref()));
                let target = target.to_string_lossy().trim_start_matches('/').to_owned();
                found.links.insert(name, target);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// What an archive says it holds, each image with its names.
fn listings(files: &Files) -> Result<Vec<(Listing, Vec<Reference>)>, StoreError> {
    let parse = |text: &String| Reference::parse(text).map_err(|error| corrupt(error.to_string()));
    if files.files.contains_key("manifest.json") {
        let bytes = files.document("manifest.json")?;
        let listings: Vec<Listing> = serde_json::from_slice(&bytes)
            .map_err(|error| corrupt(format!("the archive's manifest.json: {error}")))?;
        return listings
            .into_iter()
            .map(|listing| {
                let names = listing
                    .repo_tags
                    .iter()
                    .flatten()
                    .map(parse)
                    .collect::<Result<_, _>>()?;
                Ok((listing, names))
            })
            .collect();
    }
    if !files.files.contains_key("index.json") {
        return Err(corrupt(
            "the archive holds no image: it has neither manifest.json nor index.json; \
             an archive of a root file system is taken by `hoist image import`",
        ));
    }
    let malformed =
        |error: serde_json::Error| corrupt(format!("the archive's index.json: {error}"));
    let index: Index = serde_json::from_slice(&files.document("index.json")?).map_err(malformed)?;
    let mut found = Vec::new();
    for entry in &index.manifests {
        let name = entry.annotations.get("io.containerd.image.name");
        let names = name.map(parse).transpose()?.into_iter().collect();
        let manifest = manifest_of(files, entry)?;
        let layers = manifest
            .layers
            .iter()
            .map(|layer| blob_name(&layer.digest))
            .collect();
        let config = blob_name(&manifest.config.digest);
        found.push((
            Listing {
                config,
                repo_tags: None,
                layers,
            },
            names,
        ));
    }
    Ok(found)
}

fn manifest_of(files: &Files, entry: &Descriptor) -> Result<Manifest, StoreError> {
    let read = |digest: &Digest| -> Result<Document, StoreError> {
        let bytes = files.document(&blob_name(digest))?;
        if Digest::of(&bytes) != *digest {
            return Err(corrupt(format!(
                "the archive's blob {digest} has another content"
            )));
        }
        Document::parse(&bytes).map_err(|error| corrupt(error.to_string()))
    };
    match read(&entry.digest)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(index) => {
            let chosen = index
                .select(&Platform::host())
                .map_err(|error| corrupt(error.to_string()))?;
            match read(&chosen.digest)? {
                Document::Manifest(manifest) => Ok(manifest),
                Document::Index(_) => Err(corrupt("the archive has an index within an index")),
            }
        }
    }
}
