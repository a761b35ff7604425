//! The pull itself: manifest, config, layers side by side, then the image.
//!
//! In: a [`Registry`]. Out: an image in the store. A blob is downloaded to a file named by its digest that is held
//! by a lock: another process that pulls the same blob waits and finds it done, and what a killed one has left
//! is gone on with. Nothing becomes a blob before its digest is right, and no layer before its diff id is.
//! Imports: `client`, `store`, `layer`, `manifest`. Rules: OCI distribution spec 1.1, "Pull"; OCI image spec.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;

use super::client::{Again, Failure, Registry};
use super::{PullError, PullOptions};
use crate::base::event::{Event, EventSink};
use crate::image::digest::Digest;
use crate::image::layer::open_blob;
use crate::image::manifest::{Descriptor, Document, Manifest, ManifestError, Platform, media};
use crate::image::reference::Reference;
use crate::image::store::{Image, Store, StoreError, parse_config};

/// Layers that are downloaded at the same time. Source: dockerd, `--max-concurrent-downloads` plus one.
const SIDE_BY_SIDE: usize = 4;
/// Longest config document in bytes.
const LONGEST_CONFIG: u64 = 8 << 20;
/// Shortest time between two events of one layer.
const EVENT_PAUSE: Duration = Duration::from_millis(100);
/// Time between looks at a blob that another process downloads.
const LOOK: Duration = Duration::from_millis(100);

/// A manifest and its config, but no layer.
pub(super) async fn look(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    events: &dyn EventSink,
) -> Result<(Manifest, Vec<u8>), PullError> {
    let (pull, platform) = Pull::begin(store, reference, options, events)?;
    pull.registry.log_in().await?;
    let (manifest, _, _) = pull.manifest(&platform).await?;
    let config = pull.config(&manifest.config).await?;
    Ok((manifest, config))
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
    pull.registry.log_in().await?;
    pull.layer(*id, blob).await
}

/// One pull.
struct Pull<'a> {
    store: &'a Store,
    registry: Registry,
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
    let _no_removal = store
        .layers()
        .staging()
        .map_err(|source| PullError::Store {
            image: reference.to_string(),
            source,
        })?;
    pull.registry.log_in().await?;
    let (manifest, bytes, known_as) = pull.manifest(&platform).await?;
    let config = pull.config(&manifest.config).await?;
    let image = parse_config(&config).map_err(|error| pull.registry.corrupt(error.to_string()))?;
    if image.layers().len() != manifest.layers.len() {
        let text = "its config and its manifest don't have the same number of layers";
        return Err(pull.registry.corrupt(text.to_owned()));
    }
    let layers = image.layers().iter().zip(&manifest.layers);
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
    store
        .enter(&config, &bytes, media_type, names, Some(known_as))
        .map_err(pull.store_error())
}

impl<'a> Pull<'a> {
    fn begin(
        store: &'a Store,
        reference: &Reference,
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
            events,
            image: reference.to_string(),
        };
        Ok((pull, platform))
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
    /// The platform's manifest with its bytes, and the digest by which the registry knows the name.
    async fn manifest(
        &self,
        platform: &Platform,
    ) -> Result<(Manifest, Vec<u8>, Digest), PullError> {
        let (bytes, known_as) = self.registry.manifest(None).await?;
        let index = match Document::parse(&bytes).map_err(self.unusable())? {
            Document::Manifest(manifest) => return Ok((manifest, bytes, known_as)),
            Document::Index(index) => index,
        };
        let chosen = index.select(platform).map_err(self.unusable())?;
        let (bytes, _) = self.registry.manifest(Some(chosen.digest)).await?;
        match Document::parse(&bytes).map_err(self.unusable())? {
            Document::Manifest(manifest) => Ok((manifest, bytes, known_as)),
            Document::Index(_) => Err(self
                .registry
                .corrupt("it has an index within an index".to_owned())),
        }
    }
    async fn config(&self, config: &Descriptor) -> Result<Vec<u8>, PullError> {
        if config.size > LONGEST_CONFIG {
            return Err(self
                .registry
                .corrupt(format!("its config is {} bytes long", config.size)));
        }
        match self.store.blob(&config.digest) {
            Ok(bytes) => return Ok(bytes),
            Err(StoreError::Corrupt(_)) => {
                drop(std::fs::remove_file(self.store.blob_path(&config.digest)));
            }
            Err(_) => {}
        }
        let held = self.download(config, None).await?;
        self.store
            .blob(&config.digest)
            .map_err(self.store_error())
            .inspect(|_| drop(held))
    }
    async fn layer(&self, id: Digest, blob: &Descriptor) -> Result<(), PullError> {
        let tell = |phase| self.tell(blob, blob.size, phase);
        if self.store.layers().contains(&id) {
            tell("Already exists");
            return Ok(());
        }
        if blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign") {
            let kind = ManifestError::Unsupported(blob.media_type.clone());
            return Err(self.unusable()(kind));
        }
        // Held until the layer names its blob, so that no removal takes the blob for a leftover.
        let _held = self.download(blob, Some("Downloading")).await?;
        tell("Extracting");
        let layers = self.store.layers().clone();
        let (path, known) = (self.store.blob_path(&blob.digest), blob.clone());
        let unpacking = tokio::task::spawn_blocking(move || {
            layers
                .import(open_blob(&path)?, &id, Some(&known))
                .map(drop)
        });
        match unpacking.await {
            Ok(Ok(())) => {}
            Ok(Err(StoreError::Corrupt(text))) => {
                // It may have been damaged here; the next pull gets it anew.
                let _ = std::fs::remove_file(self.store.blob_path(&blob.digest));
                return Err(self.registry.corrupt(text));
            }
            Ok(Err(error)) => return Err(self.store_error()(error)),
            Err(error) => {
                return Err(self
                    .registry
                    .corrupt(format!("it can't be unpacked: {error}")));
            }
        }
        tell("Pull complete");
        Ok(())
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
    /// Downloads a blob into the store, unless it is there. What is given back holds it against removal.
    async fn download(
        &self,
        blob: &Descriptor,
        phase: Option<&'static str>,
    ) -> Result<File, PullError> {
        let path = self.store.ingest_path(&blob.digest);
        let done = self.store.blob_path(&blob.digest);
        let file = self
            .hold(&path)
            .await
            .map_err(|source| self.failed_write(&path, source))?;
        if done.metadata().is_ok_and(|found| found.len() == blob.size) {
            let _ = std::fs::remove_file(&path);
            return Ok(file);
        }
        // A wrong digest is tried once more from the beginning: a killed machine may have left a bad part.
        for last in [false, true] {
            let attempt = || self.receive(&file, blob, phase);
            self.registry.retry(attempt).await?;
            let read = (&file).rewind().and_then(|()| Digest::of_stream(&file));
            let found = read.map_err(|source| self.failed_write(&path, source))?;
            if found == blob.digest {
                break;
            }
            file.set_len(0)
                .map_err(|source| self.failed_write(&path, source))?;
            if last {
                let text = format!("a blob's digest is {found} instead of {}", blob.digest);
                return Err(self.registry.corrupt(text));
            }
        }
        file.sync_data()
            .and_then(|()| std::fs::rename(&path, &done))
            .map_err(|e| self.failed_write(&path, e))?;
        Ok(file)
    }
    fn failed_write(&self, path: &Path, source: io::Error) -> PullError {
        let step = format!("write {}", path.display());
        self.store_error()(StoreError::Io { step, source })
    }
    /// Opens the file of an unfinished download and waits until no other process writes it.
    async fn hold(&self, path: &Path) -> io::Result<File> {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        loop {
            let mut options = File::options();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600);
            let file = options.open(path)?;
            loop {
                match file.try_lock() {
                    Ok(()) => break,
                    Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
                    Err(std::fs::TryLockError::Error(error)) => return Err(error),
                }
            }
            // The process that held it may have finished and moved it.
            let own = file.metadata()?;
            match path.metadata() {
                Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {
                    return Ok(file);
                }
                _ => {}
            }
        }
    }
    /// Appends to the file what is missing of a blob.
    async fn receive(
        &self,
        mut file: &File,
        blob: &Descriptor,
        phase: Option<&'static str>,
    ) -> Result<(), Failure> {
        let write_failed = |source: io::Error| {
            let path = self.store.ingest_path(&blob.digest);
            Failure {
                error: self.failed_write(&path, source),
                again: Again::No,
            }
        };
        let mut have = file.seek(SeekFrom::End(0)).map_err(write_failed)?;
        if have >= blob.size {
            // Complete, or wrong: the digest will tell.
            return if have == 0 || have == blob.size {
                Ok(())
            } else {
                file.set_len(0).map_err(write_failed)
            };
        }
        let mut coming = self.registry.blob(&blob.digest, have).await?;
        if coming.from != have {
            have = 0;
            file.set_len(0)
                .and_then(|()| file.rewind())
                .map_err(write_failed)?;
        }
        let mut told = Instant::now();
        while let Some(chunk) = coming.stream.next().await {
            let chunk = chunk.map_err(|error| self.registry.broken_stream(&error))?;
            have += chunk.len() as u64;
            if have > blob.size {
                let error = self
                    .registry
                    .corrupt(format!("a blob is longer than {} bytes", blob.size));
                let _ = file.set_len(0);
                return Err(Failure {
                    error,
                    again: Again::No,
                });
            }
            file.write_all(&chunk).map_err(write_failed)?;
            if let Some(phase) = phase.filter(|_| told.elapsed() >= EVENT_PAUSE) {
                self.tell(blob, have, phase);
                told = Instant::now();
            }
        }
        if have < blob.size {
            let early = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(self.registry.broken_stream(&early));
        }
        Ok(())
    }
}
