//! The pull itself: manifest, config, layers side by side, then the image.
//!
//! In: a [`Registry`]. Out: an image in the store. Each layer is unpacked while it arrives; nothing becomes a blob before
//! its digest is right, and no layer before its diff id is. The image gets its name last, when all that it is made of is
//! on disk: a kill leaves parts that the next pull goes on with, and no half image.
//! Imports: `client`, `fetch`, `store`, `layer`, `manifest`. Rules: OCI distribution spec 1.1, "Pull"; OCI image spec.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use tokio::task::JoinHandle;

use super::client::Registry;
use super::fetch::{Fetch, Received};
use super::growing::{Growing, Watch};
use super::{PullError, PullOptions};
use crate::base::event::{Event, EventSink};
use crate::image::digest::Digest;
use crate::image::layer::open_blob;
use crate::image::manifest::{Descriptor, Document, Manifest, ManifestError, Platform, media};
use crate::image::reference::Reference;
use crate::image::store::{Image, Store, StoreError, parse_config};

/// Layers of one image that are looked at the same time; how many are downloaded is bounded over all images.
const SIDE_BY_SIDE: usize = 4;
/// Longest config document in bytes.
const LONGEST_CONFIG: u64 = 8 << 20;
/// Time between looks at how far the unpacking of a layer is.
const LOOK: Duration = Duration::from_millis(100);
/// Indexes that may lie within each other.
const DEEPEST_INDEX: usize = 4;

/// A manifest and its config, but no layer.
pub(super) async fn look(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    events: &dyn EventSink,
) -> Result<(Manifest, Vec<u8>), PullError> {
    let (pull, platform) = Pull::begin(store, reference, options, events)?;
    let found = pull.manifest(&platform).await?;
    let config = pull.config(&found.manifest.config).await?;
    Ok((found.manifest, config))
}

/// One layer by its digests.
pub(super) async fn one(
    store: &Store,
    reference: &Reference,
    id: &Digest,
    blob: &Descriptor,
    options: &PullOptions,
    events: &dyn EventSink,
) -> Result<(), PullError> {
    let (pull, _) = Pull::begin(store, reference, options, events)?;
    pull.layer(*id, blob).await?;
    pull.settle().await
}

/// One pull.
struct Pull<'a> {
    store: &'a Store,
    registry: Registry,
    reference: &'a Reference,
    events: &'a dyn EventSink,
    image: String,
}

pub(super) async fn run(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    events: &dyn EventSink,
) -> Result<Image, PullError> {
    let (pull, platform) = Pull::begin(store, reference, options, events)?;
    // Layers that are seen here now must still be there when the image is entered.
    let _no_removal = store.layers().staging().map_err(pull.store_error())?;
    if !options.nameless
        && let Some(image) = pull.unchanged(&platform).await?
    {
        return Ok(image);
    }
    let Found {
        manifest,
        bytes,
        known_as,
        indexes,
    } = pull.manifest(&platform).await?;
    pull.check(&manifest)?;
    let config = pull.config(&manifest.config).await?;
    let image = parse_config(&config).map_err(|error| pull.registry.corrupt(error.to_string()))?;
    if image.layers().len() != manifest.layers.len() {
        let text = "its config and its manifest don't have the same number of layers";
        return Err(pull.registry.corrupt(text.to_owned()));
    }
    let layers: Vec<_> = image.layers().iter().zip(&manifest.layers).collect();
    pull.room(&layers)?;
    futures_util::stream::iter(layers)
        .map(|(id, blob)| pull.layer(*id, blob))
        .buffer_unordered(SIDE_BY_SIDE)
        .try_collect::<()>()
        .await?;
    let media_type = manifest.media_type.as_deref().unwrap_or(media::MANIFEST);
    let names = if options.nameless {
        &[]
    } else {
        std::slice::from_ref(reference)
    };
    pull.settle().await?;
    for index in &indexes {
        store.put_blob(index).map_err(pull.store_error())?;
    }
    store
        .enter(&config, &bytes, media_type, names, Some(known_as))
        .map_err(pull.store_error())
}

impl<'a> Pull<'a> {
    fn begin(
        store: &'a Store,
        reference: &'a Reference,
        options: &PullOptions,
        events: &'a dyn EventSink,
    ) -> Result<(Self, Platform), PullError> {
        let platform = match &options.platform {
            Some(text) => Platform::parse(text).map_err(PullError::Platform)?,
            None => Platform::host(),
        };
        let pull = Self {
            store,
            registry: Registry::new(reference, options)?,
            reference,
            events,
            image: reference.to_string(),
        };
        Ok((pull, platform))
    }
    /// What was unpacked is on disk: after a reboot nothing could tell whether it is what the blobs hold.
    async fn settle(&self) -> Result<(), PullError> {
        let settling = self.store.clone();
        let settled = tokio::task::spawn_blocking(move || settling.settle()).await;
        settled
            .unwrap_or_else(|error| Err(StoreError::Corrupt(error.to_string())))
            .map_err(self.store_error())
    }
    fn store_error(&self) -> impl Fn(StoreError) -> PullError + use<> {
        let image = self.image.clone();
        move |source| PullError::Store {
            image: image.clone(),
            source,
        }
    }
    fn unusable(&self) -> impl Fn(ManifestError) -> PullError + use<> {
        let image = self.image.clone();
        move |source| PullError::Manifest {
            image: image.clone(),
            source,
        }
    }
    /// The image as it is here, if the registry still means the same by its name: to ask that counts as no pull.
    async fn unchanged(&self, platform: &Platform) -> Result<Option<Image>, PullError> {
        let Ok(Some(image)) = self.store.resolve(self.reference) else {
            return Ok(None);
        };
        let layers = self.store.layers();
        if !image.layers().iter().all(|id| layers.contains(id)) {
            return Ok(None);
        }
        let now = match self.registry.head().await {
            Ok(Some(now)) => now,
            // Some registries don't say, or not in this way.
            Ok(None) | Err(PullError::Registry { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let known = self.store.repo_digests(&image.id);
        let known = known.map_err(self.store_error())?;
        if !known.contains(&self.reference.by_digest(now).to_string()) {
            return Ok(None);
        }
        Ok((self.chosen(now, platform) == Some(image.id)).then_some(image))
    }
    /// The image that a digest means for a platform, as far as the documents here tell.
    fn chosen(&self, mut digest: Digest, platform: &Platform) -> Option<Digest> {
        for _ in 0..=DEEPEST_INDEX {
            match Document::parse(&self.store.blob(&digest).ok()?).ok()? {
                Document::Manifest(manifest) => return Some(manifest.config.digest),
                Document::Index(index) => digest = index.select(platform).ok()?.digest,
            }
        }
        None
    }
    /// The platform's manifest, and how it was found.
    async fn manifest(&self, platform: &Platform) -> Result<Found, PullError> {
        let (mut bytes, known_as) = self.registry.manifest(None).await?;
        let mut indexes = Vec::new();
        while indexes.len() <= DEEPEST_INDEX {
            let index = match Document::parse(&bytes).map_err(self.unusable())? {
                Document::Manifest(manifest) => {
                    return Ok(Found {
                        manifest,
                        bytes,
                        known_as,
                        indexes,
                    });
                }
                Document::Index(index) => index,
            };
            let chosen = index.select(platform).map_err(self.unusable())?;
            indexes.push(bytes);
            (bytes, _) = self.registry.manifest(Some(chosen.digest)).await?;
        }
        let text = format!("more than {DEEPEST_INDEX} indexes lie within each other");
        Err(self.registry.corrupt(text))
    }
    /// Whether the manifest is that of an image, and all of it lies in the registry.
    fn check(&self, manifest: &Manifest) -> Result<(), PullError> {
        if !media::is_config(&manifest.config.media_type) {
            let kind = manifest.config.media_type.clone();
            return Err(self.unusable()(ManifestError::Artifact(kind)));
        }
        let foreign = manifest.layers.iter().find(|layer| {
            layer.media_type.contains("nondistributable") || layer.media_type.contains("foreign")
        });
        foreign.map_or(Ok(()), |layer| {
            Err(self.unusable()(ManifestError::Foreign {
                digest: layer.digest,
                media_type: layer.media_type.clone(),
            }))
        })
    }
    /// Whether what is missing has room: once as it comes, and at least as much again unpacked.
    fn room(&self, layers: &[(&Digest, &Descriptor)]) -> Result<(), PullError> {
        let missing = layers
            .iter()
            .filter(|(id, _)| !self.store.layers().contains(id))
            .fold(0u64, |sum, (_, blob)| sum.saturating_add(blob.size));
        let Some(free) = self.store.free() else {
            return Ok(());
        };
        let needed = missing.saturating_mul(2);
        if needed <= free {
            return Ok(());
        }
        Err(PullError::NoRoom {
            image: self.image.clone(),
            needed,
            free,
        })
    }
    async fn config(&self, config: &Descriptor) -> Result<Vec<u8>, PullError> {
        if config.size > LONGEST_CONFIG {
            let text = format!("its config is {} bytes long", config.size);
            return Err(self.registry.corrupt(text));
        }
        match self.store.blob(&config.digest) {
            Ok(bytes) => return Ok(bytes),
            Err(StoreError::Corrupt(_)) => {
                drop(std::fs::remove_file(self.store.blob_path(&config.digest)));
            }
            Err(_) => {}
        }
        self.registry.small_blob(config, "its config").await
    }
    async fn layer(&self, id: Digest, blob: &Descriptor) -> Result<(), PullError> {
        let tell = |done, phase| self.tell(blob, done, phase);
        if self.store.layers().contains(&id) {
            tell(blob.size, "Already exists");
            return Ok(());
        }
        tell(0, "Pulling fs layer");
        let fetch = Fetch {
            store: self.store,
            registry: &self.registry,
            blob,
            tell: &tell,
        };
        // Held until the layer names its blob: nobody fetches it too, and no removal takes it for a leftover.
        let file = fetch.hold().await?;
        if self.store.layers().contains(&id) {
            fetch.forget();
            tell(blob.size, "Pull complete");
            return Ok(());
        }
        if fetch.is_kept() {
            match self.unpack_kept(id, blob).await {
                Ok(()) => {
                    fetch.forget();
                    return Ok(());
                }
                // It was damaged here.
                Err(StoreError::Corrupt(_)) => {
                    let _ = std::fs::remove_file(self.store.blob_path(&blob.digest));
                }
                Err(error) => return Err(self.store_error()(error)),
            }
        }
        // What a killed machine has left may be bad, and so may what came on the way: that is tried once more.
        if let Streamed::Wrong(_) = self.stream(id, &fetch, &file).await?
            && let Streamed::Wrong(error) = self.stream(id, &fetch, &file).await?
        {
            return Err(error);
        }
        tell(blob.size, "Pull complete");
        Ok(())
    }
    async fn unpack_kept(&self, id: Digest, blob: &Descriptor) -> Result<(), StoreError> {
        let layers = self.store.layers().clone();
        let (path, known) = (self.store.blob_path(&blob.digest), blob.clone());
        let _lane = self.store.lanes().down().await;
        self.tell(blob, 0, "Extracting");
        let unpacking = tokio::task::spawn_blocking(move || {
            layers
                .import_ahead(open_blob(&path)?, &id, Some(&known))
                .map(drop)
        });
        unpacking.await.unwrap_or_else(broken_off)?;
        self.tell(blob, blob.size, "Pull complete");
        Ok(())
    }
    /// Downloads a layer and unpacks it meanwhile.
    async fn stream(
        &self,
        id: Digest,
        fetch: &Fetch<'_>,
        file: &std::fs::File,
    ) -> Result<Streamed, PullError> {
        let blob = fetch.blob;
        let copy = file
            .try_clone()
            .map_err(StoreError::io("follow a download"))
            .map_err(self.store_error())?;
        // Nobody who waits for it holds up others: the blob is this one's already. It is kept until the layer is unpacked,
        // so that memory and open files are bounded too.
        let _lane = self.store.lanes().down().await;
        let (growing, follower) = Growing::new(copy);
        let (watch, ours) = (growing.watch(), growing.watch());
        let (layers, known) = (self.store.layers().clone(), blob.clone());
        let unpacking = tokio::task::spawn_blocking(move || {
            let done = layers.import_ahead(follower, &id, Some(&known)).map(drop);
            // An archive that is broken is followed to its end: its digest tells whose fault that is.
            if !matches!(done, Err(StoreError::Corrupt(_))) {
                watch.enough();
            }
            done
        });
        let received = fetch.receive(file, &growing).await;
        match received {
            Ok(Received::Whole) => {
                growing.finish();
                let done = self.unpacked(unpacking, &ours, blob).await;
                done.map(|()| Streamed::Done)
            }
            Ok(Received::Enough) => {
                let done = unpacking.await.unwrap_or_else(broken_off);
                done.map_err(self.store_error())?;
                fetch.forget();
                Ok(Streamed::Done)
            }
            Ok(Received::Wrong(error)) => {
                drop(growing);
                let _ = unpacking.await;
                Ok(Streamed::Wrong(error))
            }
            Err(error) => {
                drop(growing);
                let _ = unpacking.await;
                Err(error)
            }
        }
    }
    /// Waits until a layer is unpacked whose blob is whole, telling how far that is.
    async fn unpacked(
        &self,
        mut unpacking: JoinHandle<Result<(), StoreError>>,
        watch: &Watch,
        blob: &Descriptor,
    ) -> Result<(), PullError> {
        let done = loop {
            self.tell(blob, watch.read(), "Extracting");
            if let Ok(done) = tokio::time::timeout(LOOK, &mut unpacking).await {
                break done.unwrap_or_else(broken_off);
            }
        };
        done.map_err(|error| match error {
            StoreError::Corrupt(text) => {
                // Nothing needs it: its bytes are what they should be, but no layer.
                let _ = std::fs::remove_file(self.store.blob_path(&blob.digest));
                self.registry.corrupt(text)
            }
            error => self.store_error()(error),
        })
    }
    fn tell(&self, blob: &Descriptor, done: u64, phase: &'static str) {
        self.events.send(Event::Pull {
            image: self.image.clone(),
            layer: blob.digest.short(),
            done,
            total: Some(blob.size),
            phase,
        });
    }
}

/// A manifest and its way from the name.
struct Found {
    manifest: Manifest,
    bytes: Vec<u8>,
    /// The digest by which the registry knows the name: the outermost index's, or the manifest's own.
    known_as: Digest,
    /// From the outermost one on. They are kept: without them nothing here tells what a name means for a platform.
    indexes: Vec<Vec<u8>>,
}

/// How a layer's way into the store ended.
enum Streamed {
    Done,
    /// What came has another digest.
    Wrong(PullError),
}

/// The end of a thread that did not come to its end.
fn broken_off(error: tokio::task::JoinError) -> Result<(), StoreError> {
    Err(StoreError::Corrupt(format!(
        "it can't be unpacked: {error}"
    )))
}
