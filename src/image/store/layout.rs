//! An image of an OCI layout, taken into the store without a name.
//!
//! In: a directory nobody vouches for. Out: an image whose layers are unpacked here. Every name in it is made of a
//! digest, every content is checked against its digest, and no link leads out of the directory.
//! Imports: `layer`, `manifest`. Rules: OCI image spec 1.1, `image-layout.md`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::{Image, Store, StoreError, parse_config};
use crate::image::digest::{Digest, Hasher};
use crate::image::layer::open_blob;
use crate::image::manifest::{Descriptor, Document, Index, Manifest, Platform};
use crate::sys::fs::{Resolve, Root, openat2};

/// Longest document in bytes.
const LONGEST: u64 = 16 << 20;
/// Deepest nesting of indexes.
const DEEPEST: usize = 4;
/// The annotation that holds a tag.
const TAG: &str = "org.opencontainers.image.ref.name";
/// The annotation that holds a whole name.
const NAME: &str = "io.containerd.image.name";

/// Which image of a layout is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Which<'a> {
    /// Its tag; `latest`, or the only image, when neither is said.
    pub tag: Option<&'a str>,
    /// The digest of its manifest or index.
    pub digest: Option<Digest>,
    /// For which platform, where there are several.
    pub platform: &'a Platform,
}

fn corrupt(text: impl Into<String>) -> StoreError {
    StoreError::Corrupt(text.into())
}

impl Store {
    /// Takes an image of an OCI layout. It gets no name here: whoever takes it holds it by using its layers.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`], [`StoreError::NotFound`].
    pub fn from_layout(&self, dir: &Path, which: &Which<'_>) -> Result<Image, StoreError> {
        let root = Root::open(dir).map_err(StoreError::io(format!("open {}", dir.display())))?;
        let layout = Layout { dir, root };
        let manifest = layout.manifest(which)?;
        let config = layout.document(&manifest.config.digest)?;
        let image = parse_config(&config)?;
        if image.layers().len() != manifest.layers.len() {
            return Err(corrupt(
                "its config and its manifest don't have the same number of layers",
            ));
        }
        let mut taken = false;
        for (id, blob) in image.layers().iter().zip(&manifest.layers) {
            if !self.layers().contains(id) {
                self.take_blob(&layout, blob)?;
                let file = open_blob(&self.blob_path(&blob.digest))?;
                self.layers().import_ahead(file, id, Some(blob))?;
                taken = true;
            }
        }
        if taken {
            self.settle()?;
        }
        Ok(image)
    }
    /// Copies a blob: what stays where it is could be changed by its owner.
    fn take_blob(&self, layout: &Layout<'_>, blob: &Descriptor) -> Result<(), StoreError> {
        let kept = self.blob_path(&blob.digest);
        if kept.exists() {
            return Ok(());
        }
        let path = self.ingest_path(&blob.digest);
        let failed = || StoreError::io(format!("write {}", path.display()));
        let mut from = layout.blob(&blob.digest)?;
        let mut to = File::create(&path).map_err(failed())?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 256 * 1024];
        let mut done = 0u64;
        loop {
            let read = from
                .read(&mut buffer)
                .map_err(StoreError::io("read a blob of the layout"))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            done += read as u64;
            if read == 0 || done > blob.size {
                break;
            }
            hasher.update(bytes);
            to.write_all(bytes).map_err(failed())?;
        }
        let found = hasher.finish();
        if found != blob.digest || done != blob.size {
            drop(std::fs::remove_file(&path));
            return Err(corrupt(format!(
                "the layout's blob {} has another content",
                blob.digest
            )));
        }
        to.sync_data().map_err(failed())?;
        std::fs::rename(&path, &kept).map_err(failed())
    }
}

struct Layout<'a> {
    dir: &'a Path,
    root: Root,
}

impl Layout<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.root
            .read_beneath(Path::new(name), LONGEST)
            .map_err(|errno| match errno {
                Errno::ENOENT => corrupt(format!(
                    "{} has no {name}: it is no OCI layout",
                    self.dir.display()
                )),
                Errno::EXDEV => corrupt(format!("{name} of the layout leads out of it")),
                errno => StoreError::io(format!("read {name} of the layout"))(errno),
            })
    }
    fn blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let name = super::bundle::blob_name(digest);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let open = openat2(&self.root, Path::new(&name), flags, 0, Resolve::Beneath);
        let file = open.map(File::from).map_err(|errno| match errno {
            Errno::ENOENT => corrupt(format!("the layout has no blob {digest}")),
            Errno::EXDEV | Errno::ELOOP => {
                corrupt(format!("the blob {digest} of the layout is a link"))
            }
            errno => StoreError::io(format!("read {name} of the layout"))(errno),
        })?;
        match file.metadata() {
            Ok(meta) if meta.is_file() => Ok(file),
            Ok(_) => Err(corrupt(format!(
                "the blob {digest} of the layout is no file"
            ))),
            Err(error) => Err(StoreError::io(format!("read {name} of the layout"))(error)),
        }
    }
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.blob(digest)?
            .take(LONGEST)
            .read_to_end(&mut bytes)
            .map_err(StoreError::io("read a document of the layout"))?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(corrupt(format!(
            "the layout's blob {digest} has another content"
        )))
    }
    fn manifest(&self, which: &Which<'_>) -> Result<Manifest, StoreError> {
        let malformed =
            |error: &dyn std::fmt::Display| corrupt(format!("the layout's index.json: {error}"));
        let version: serde_json::Value =
            serde_json::from_slice(&self.read("oci-layout")?).map_err(|e| malformed(&e))?;
        if version
            .get("imageLayoutVersion")
            .and_then(serde_json::Value::as_str)
            != Some("1.0.0")
        {
            return Err(corrupt("the layout is of another version than 1.0.0"));
        }
        let index: Index =
            serde_json::from_slice(&self.read("index.json")?).map_err(|e| malformed(&e))?;
        let mut digest = match which.digest {
            Some(digest) => digest,
            None => choose(&index, which.tag)?,
        };
        for _ in 0..DEEPEST {
            let bytes = self.document(&digest)?;
            match Document::parse(&bytes).map_err(|error| corrupt(error.to_string()))? {
                Document::Manifest(manifest) => return Ok(manifest),
                Document::Index(index) => {
                    let chosen = index.select(which.platform);
                    digest = chosen.map_err(|error| corrupt(error.to_string()))?.digest;
                }
            }
        }
        Err(corrupt("the layout's indexes are nested too deep"))
    }
}

/// The entry with a tag; without one `latest`, or the only one.
fn choose(index: &Index, tag: Option<&str>) -> Result<Digest, StoreError> {
    let wanted = tag.unwrap_or("latest");
    let has = |entry: &&Descriptor| {
        let tagged = entry.annotations.get(TAG).is_some_and(|tag| {
            tag == wanted || tag.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted)
        });
        let name = entry.annotations.get(NAME);
        tagged
            || name.is_some_and(|name| name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted))
    };
    if let Some(found) = index.manifests.iter().find(has) {
        return Ok(found.digest);
    }
    match index.manifests.as_slice() {
        [only] if tag.is_none() => Ok(only.digest),
        all => {
            let known = all
                .iter()
                .filter_map(|entry| entry.annotations.get(TAG).map(String::as_str));
            let known: Vec<&str> = known.collect();
            let rest = match known.as_slice() {
                [] => "it has images without tags alone; name one by its digest".to_owned(),
                known => format!("its tags are {}", known.join(", ")),
            };
            Err(corrupt(format!(
                "the layout has no image `{wanted}`; {rest}"
            )))
        }
    }
}
