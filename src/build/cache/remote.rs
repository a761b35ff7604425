//! Results of steps from and to other places: a registry, a directory, the image itself.
//!
//! In: what a build has done; what another one has left somewhere. Out: a [`Document`] of keys and the layers they made,
//! beside the layers. A source is only asked when something is not known here, and only layers of steps that are needed
//! are fetched. Digests of all that is fetched are verified; a result itself is believed as far as its source is.
//! What is wrong with a source is told and never ends a build.
//!
//! Keys are hoist's own, so caches of BuildKit are of no use here, nor ours there. Form: an OCI image manifest with
//! `artifactType` [`KIND`], the document as its config, layers with their diff id as a remark.
//! Imports: `spec`, `image`. Rules: OCI image spec 1.1, `manifest.md`, "Guidelines for Artifact Usage"; `image-layout.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Made;
use super::spec::{CacheFrom, CacheTo, Sink};
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::base::event::EventSink;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Document as Named, Index, Manifest, media};
use crate::image::reference::Reference;
use crate::image::registry::{self, PullOptions, PushOptions};
use crate::image::store::Store;
use crate::sys::fs::{Durability, make_dirs, write_atomic};

/// What a cache is, among artifacts.
pub const KIND: &str = "application/vnd.hoist.buildcache.v1";
/// Media type of the document.
const CONFIG: &str = "application/vnd.hoist.buildcache.config.v1+json";
/// Remark of a layer.
const DIFF_ID: &str = "hoist.buildcache.diffid";
const TAG: &str = "org.opencontainers.image.ref.name";
/// How BuildKit's own caches are known.
const BUILDKIT: &str = "application/vnd.buildkit.cacheconfig";
/// Longest document in bytes.
const LONGEST: u64 = 8 << 20;

/// Keys and what they made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    version: u32,
    steps: BTreeMap<String, Made>,
}

impl Document {
    /// Of what a build has done.
    pub fn new(steps: impl IntoIterator<Item = (Digest, Made)>) -> Self {
        let steps = steps.into_iter().map(|(key, made)| (key.hex(), made));
        Self {
            version: 1,
            steps: steps.collect(),
        }
    }
    /// As it stands in an image's config.
    pub fn value(&self) -> serde_json::Value {
        json!({ "version": self.version, "steps": self.steps })
    }
    fn layers(&self) -> BTreeSet<Digest> {
        self.steps.values().flatten().copied().collect()
    }
}

/// What caches are read and written with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Images and layers.
    pub store: &'a Store,
    /// Proxies, credentials.
    pub env: &'a Env,
    /// The platform whose inline cache is read.
    pub platform: Option<&'a str>,
    /// Told what happens.
    pub events: &'a dyn EventSink,
    /// Ends it.
    pub cancel: &'a Cancel,
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").finish_non_exhaustive()
    }
}

/// A source that was read.
#[derive(Debug)]
struct Source {
    from: CacheFrom,
    steps: BTreeMap<Digest, Made>,
    blobs: BTreeMap<Digest, Descriptor>,
}

/// What other places know.
#[derive(Debug, Default)]
pub struct Imported(Vec<Source>);

/// How a source is shown.
pub fn shown(from: &CacheFrom) -> String {
    match from {
        CacheFrom::Registry(reference) => reference.to_string(),
        CacheFrom::Local { dir, .. } => dir.display().to_string(),
    }
}

impl Imported {
    /// Reads what sources have; `said` is told what can't be read.
    pub fn open(sources: &[CacheFrom], means: &Means<'_>, said: &dyn Fn(String)) -> Self {
        let mut found = Vec::new();
        for from in sources {
            match read(from, means) {
                Ok(source) => found.push(source),
                Err(why) => said(format!("the cache {} is not used: {why}", shown(from))),
            }
        }
        Self(found)
    }
    /// What a step made, with its layer fetched.
    pub fn get(&self, key: &Digest, means: &Means<'_>, said: &dyn Fn(String)) -> Option<Made> {
        for source in &self.0 {
            let Some(made) = source.steps.get(key) else {
                continue;
            };
            let Some(layer) = made else {
                return Some(None);
            };
            match source.fetch(layer, means) {
                Ok(()) => return Some(Some(*layer)),
                Err(why) => said(format!(
                    "a layer of the cache {} is not used: {why}",
                    shown(&source.from)
                )),
            }
        }
        None
    }
}

fn options(means: &Means<'_>) -> PullOptions {
    PullOptions {
        platform: means.platform.map(str::to_owned),
        env: means.env.clone(),
        cancel: means.cancel.clone(),
        ..PullOptions::default()
    }
}

fn read(from: &CacheFrom, means: &Means<'_>) -> Result<Source, String> {
    let (manifest, config) = match from {
        CacheFrom::Registry(reference) => {
            registry::look(means.store, reference, &options(means), means.events)
                .map_err(|error| error.to_string())?
        }
        CacheFrom::Local { dir, tag, digest } => {
            let manifest = local_manifest(dir, tag, *digest)?;
            let config = document(dir, &manifest.config)?;
            (manifest, config)
        }
    };
    source(from, &manifest, &config)
}

/// Takes a source's documents apart.
fn source(from: &CacheFrom, manifest: &Manifest, config: &[u8]) -> Result<Source, String> {
    let (document, ids) = if manifest.config.media_type == CONFIG {
        let id = |blob: &Descriptor| Digest::parse(blob.annotations.get(DIFF_ID)?).ok();
        let ids: Vec<Option<Digest>> = manifest.layers.iter().map(id).collect();
        let document = serde_json::from_slice::<Document>(config);
        (document.map_err(|error| error.to_string())?, ids)
    } else {
        let image: Inline = serde_json::from_slice(config).map_err(|error| error.to_string())?;
        let other = match manifest.config.media_type.starts_with(BUILDKIT)
            || image.buildkit.is_some()
        {
            true => {
                "it is one of BuildKit's, whose keys are others; write it once with `--cache-to`"
            }
            false => "there is none of hoist's in it; build it with `--cache-to type=inline`",
        };
        let document = image.cache.ok_or_else(|| other.to_owned())?;
        let ids = image.rootfs.map(|rootfs| rootfs.diff_ids);
        let ids = ids.unwrap_or_default().into_iter().map(Some).collect();
        (document, ids)
    };
    if document.version != 1 {
        let text = format!(
            "its form {} is of another version of hoist",
            document.version
        );
        return Err(text);
    }
    let blobs = ids.iter().zip(&manifest.layers);
    let blobs: BTreeMap<Digest, Descriptor> = blobs
        .filter_map(|(id, blob)| Some(((*id)?, blob.clone())))
        .collect();
    let mut steps = BTreeMap::new();
    for (key, made) in document.steps {
        let key = Digest::parse(&format!("sha256:{key}")).map_err(|error| error.to_string())?;
        steps.insert(key, made);
    }
    Ok(Source {
        from: from.clone(),
        steps,
        blobs,
    })
}

/// An image's config, as far as it may have a cache in it.
#[derive(Deserialize)]
struct Inline {
    #[serde(rename = "hoist.buildcache.v1")]
    cache: Option<Document>,
    #[serde(rename = "moby.buildkit.cache.v0")]
    buildkit: Option<serde::de::IgnoredAny>,
    rootfs: Option<crate::image::config::RootFs>,
}

impl Source {
    /// Fetches a layer, unless it is here.
    fn fetch(&self, layer: &Digest, means: &Means<'_>) -> Result<(), String> {
        if means.store.layers().contains(layer) {
            return Ok(());
        }
        let blob = self.blobs.get(layer);
        let blob = blob.ok_or_else(|| format!("it has no layer {}", layer.short()))?;
        match &self.from {
            CacheFrom::Registry(reference) => {
                let options = options(means);
                registry::layer(means.store, reference, layer, blob, &options, means.events)
                    .map_err(|error| error.to_string())
            }
            CacheFrom::Local { dir, .. } => {
                let file = open(&blob_path(dir, &blob.digest))?;
                // Its own digest is that of what it unpacks to.
                let taken = means.store.layers().import(file, layer, None);
                taken.map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

fn blob_path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

/// Opens a file of a layout; nothing that is no file, and through no link.
fn open(path: &Path) -> Result<File, String> {
    let said = |why: String| format!("{}: {why}", path.display());
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options
        .open(path)
        .map_err(|error| said(error.to_string()))?;
    let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
    match is_file {
        true => Ok(file),
        false => Err(said("it is no file".to_owned())),
    }
}

fn small(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    match bytes.len() as u64 > LONGEST {
        true => Err(format!("{}: it is too long", path.display())),
        false => Ok(bytes),
    }
}

fn document(dir: &Path, blob: &Descriptor) -> Result<Vec<u8>, String> {
    let bytes = small(&blob_path(dir, &blob.digest))?;
    match Digest::of(&bytes) == blob.digest {
        true => Ok(bytes),
        false => Err(format!("the blob {} is damaged", blob.digest.short())),
    }
}

fn local_manifest(dir: &Path, tag: &str, digest: Option<Digest>) -> Result<Manifest, String> {
    let digest = match digest {
        Some(digest) => digest,
        None => {
            let index: Index = serde_json::from_slice(&small(&dir.join("index.json"))?)
                .map_err(|error| format!("index.json: {error}"))?;
            let named =
                |entry: &&Descriptor| entry.annotations.get(TAG).map(String::as_str) == Some(tag);
            let found = index.manifests.iter().find(named);
            let found = found.or_else(|| {
                index
                    .manifests
                    .first()
                    .filter(|_| index.manifests.len() == 1)
            });
            found
                .ok_or_else(|| format!("it has no cache `{tag}`"))?
                .digest
        }
    };
    let bytes = document(dir, &Descriptor::new(media::MANIFEST, digest, 0))?;
    match Named::parse(&bytes).map_err(|error| error.to_string())? {
        Named::Manifest(manifest) => Ok(manifest),
        Named::Index(index) => {
            let theirs = index.manifests.iter();
            let theirs = theirs
                .into_iter()
                .any(|entry| entry.media_type.starts_with(BUILDKIT));
            Err(match theirs {
                true => "it is one of BuildKit's, whose keys are others",
                false => "it is an index of several images",
            }
            .to_owned())
        }
    }
}

/// Writes results to a place. A registry gets what it lacks; a directory is an OCI layout, each file of it put in its
/// place by rename and the index last.
///
/// # Errors
/// What went wrong.
pub fn export(document: &Document, to: &CacheTo, means: &Means<'_>) -> Result<(), String> {
    match &to.to {
        Sink::Inline => Ok(()),
        Sink::Registry(reference) => to_registry(document, reference, to, means),
        Sink::Local { dir, tag, reset } => to_dir(document, dir, tag, *reset, to, means)
            .map_err(|error| format!("{}: {error}", dir.display())),
    }
}

/// The manifest of a cache.
fn manifest(config: &[u8], layers: &[(Digest, Descriptor)]) -> serde_json::Result<Vec<u8>> {
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|(id, blob)| {
            let mut blob = blob.clone();
            blob.annotations = BTreeMap::from([(DIFF_ID.to_owned(), id.to_string())]);
            blob
        })
        .collect();
    serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "artifactType": KIND,
        "config": Descriptor::new(CONFIG, Digest::of(config), config.len() as u64),
        "layers": layers,
    }))
}

fn to_registry(
    document: &Document,
    reference: &Reference,
    to: &CacheTo,
    means: &Means<'_>,
) -> Result<(), String> {
    let how = PushOptions {
        packing: to.packing,
        repack: to.repack,
        env: means.env.clone(),
        cancel: means.cancel.clone(),
        ..PushOptions::default()
    };
    let ids: Vec<Digest> = document.layers().into_iter().collect();
    let blobs = registry::push_layers(means.store, &ids, reference, &how, means.events)
        .map_err(|error| error.to_string())?;
    let layers: Vec<_> = ids.into_iter().zip(blobs).collect();
    let config = serde_json::to_vec(document).map_err(|error| error.to_string())?;
    let manifest = manifest(&config, &layers).map_err(|error| error.to_string())?;
    registry::push_manifest(
        means.store,
        &manifest,
        media::MANIFEST,
        &[config],
        reference,
        &how,
        means.events,
    )
    .map(drop)
    .map_err(|error| error.to_string())
}

fn to_dir(
    document: &Document,
    dir: &Path,
    tag: &str,
    reset: bool,
    to: &CacheTo,
    means: &Means<'_>,
) -> io::Result<()> {
    let blobs = dir.join("blobs/sha256");
    make_dirs(&blobs, 0o755)?;
    for inside in [dir.join("blobs"), blobs.clone()] {
        if !std::fs::symlink_metadata(&inside)?.is_dir() {
            return Err(io::Error::other(format!("{} is a link", inside.display())));
        }
    }
    let mut layers = Vec::new();
    for id in document.layers() {
        let blob = layer_file(&blobs, &id, to, means)?;
        layers.push((id, blob));
    }
    let config = serde_json::to_vec(document)?;
    let manifest = manifest(&config, &layers)?;
    for bytes in [&config, &manifest] {
        let path = blobs.join(Digest::of(bytes).hex());
        write_atomic(&path, bytes, 0o644, Durability::Synced)?;
    }
    write_atomic(
        &dir.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
        0o644,
        Durability::Renamed,
    )?;
    let known = small(&dir.join("index.json")).ok().filter(|_| !reset);
    let known = known.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    let mut index = known.unwrap_or_default();
    let named = |entry: &Descriptor| entry.annotations.get(TAG).map(String::as_str) == Some(tag);
    index.manifests.retain(|entry| !named(entry));
    let size = manifest.len() as u64;
    let mut entry = Descriptor::new(media::MANIFEST, Digest::of(&manifest), size);
    entry.annotations.insert(TAG.to_owned(), tag.to_owned());
    index.manifests.push(entry);
    let text = serde_json::to_vec(&index)?;
    write_atomic(&dir.join("index.json"), &text, 0o644, Durability::Synced)?;
    if reset {
        let kept = [Digest::of(&config), Digest::of(&manifest)].into_iter();
        let kept: BTreeSet<String> = kept
            .chain(layers.iter().map(|(_, blob)| blob.digest))
            .map(|digest| digest.hex())
            .collect();
        for path in super::list::children(&blobs)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !kept.contains(name.as_ref()) {
                std::fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

/// Puts a layer's blob into a layout, unless it is there.
fn layer_file(
    blobs: &Path,
    id: &Digest,
    to: &CacheTo,
    means: &Means<'_>,
) -> io::Result<Descriptor> {
    let failed = |error: crate::image::store::StoreError| io::Error::other(error.to_string());
    if let Some(blob) = means.store.packed(id, to.packing).map_err(failed)?
        && std::fs::symlink_metadata(blobs.join(blob.digest.hex()))
            .is_ok_and(|meta| meta.is_file() && meta.len() == blob.size)
    {
        return Ok(blob);
    }
    let beside = blobs.join(format!(".new-{}", std::process::id()));
    // Whatever has the name is taken away, never written through.
    let _ = std::fs::remove_file(&beside);
    let done = (|| {
        let file = File::create_new(&beside)?;
        let out = io::BufWriter::with_capacity(1 << 17, &file);
        let blob = means.store.pack(id, to.packing, means.cancel, out);
        let blob = blob.map_err(failed)?;
        file.sync_all()?;
        std::fs::rename(&beside, blobs.join(blob.digest.hex()))?;
        Ok(blob)
    })();
    done.inspect_err(|_| {
        let _ = std::fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config_type: &str, config: &str) -> Result<Source, String> {
        let from = CacheFrom::Registry(Reference::parse("x").unwrap());
        let blob = Descriptor::new(config_type, Digest::of(b""), 0);
        let mut layer = Descriptor::new(media::LAYER_GZIP, Digest::of(b"blob"), 1);
        let id = Digest::of(b"layer").to_string();
        layer.annotations.insert(DIFF_ID.to_owned(), id);
        source(&from, &Manifest::new(blob, vec![layer]), config.as_bytes())
    }

    #[test]
    fn caches_of_buildkit_and_images_without_one_are_told_apart_and_keys_are_no_paths() {
        let key = "0".repeat(64);
        let id = Digest::of(b"layer");
        let text = format!("{{\"version\":1,\"steps\":{{\"{key}\":\"{id}\"}}}}");
        let found = of(CONFIG, &text).unwrap();
        assert_eq!(found.steps.values().next(), Some(&Some(id)));
        assert_eq!(found.blobs.keys().next(), Some(&id));
        let inline = format!(
            "{{\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{id}\"]}},\"hoist.buildcache.v1\":{text}}}"
        );
        assert_eq!(of(media::CONFIG, &inline).unwrap().blobs, found.blobs);
        for (kind, text, why) in [
            (
                "application/vnd.buildkit.cacheconfig.v0",
                "{}",
                "one of BuildKit's",
            ),
            (
                media::CONFIG,
                "{\"moby.buildkit.cache.v0\":\"e30=\"}",
                "one of BuildKit's",
            ),
            (media::CONFIG, "{}", "--cache-to type=inline"),
            (
                CONFIG,
                "{\"version\":1,\"steps\":{\"../../x\":null}}",
                "not a digest",
            ),
            (CONFIG, "{\"version\":2,\"steps\":{}}", "another version"),
            (CONFIG, "[", "EOF"),
        ] {
            let error = of(kind, text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
