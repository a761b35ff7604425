//! Pushes: layers, documents and manifests to a registry that does not have them yet.
//!
//! In: images of the store. Out: their digest in the registry, or a typed error that says which registry and what to
//! do. A layer that the registry has, under this name or another one that is known, is not sent; one that came as a
//! blob is sent byte for byte; another one is compressed once beside the layers, so that its length and digest are
//! known before it goes out and another try begins without compressing again. The manifest goes last: what a killed
//! push leaves is content that nothing names.
//! Imports: `client`, `upload`, `store`, `manifest`, `attest`. Rules: OCI distribution spec 1.1, "Push"; Docker's image manifest 2.2.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::Url;
use tokio::sync::OwnedMutexGuard;

use super::client::{Again, Failure, Registry};
use super::upload::{Send, Upload};
use super::{PullError, PullOptions, wait};
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::base::event::{Event, EventSink};
use crate::image::archive::pack::Packing;
use crate::image::attest::{self, Along, Level, Statement};
use crate::image::digest::Digest;
use crate::image::layer::Staging;
use crate::image::manifest::{Descriptor, Document, Index, Manifest, media};
use crate::image::reference::{DEFAULT_TAG, Reference};
use crate::image::store::packed::packing_of;
use crate::image::store::{Image, Store, StoreError};

/// Layers of one image that are prepared at the same time; how many are sent is bounded over all images.
const SIDE_BY_SIDE: usize = 5;
/// Bytes written at once of a layer that is compressed.
const CHUNK: usize = 128 * 1024;

/// Why something could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The caller's token was used.
    #[error("the push of `{0}` was cancelled")]
    Cancelled(String),
    /// A name that can't be given.
    #[error("cannot push `{0}`: a digest follows from the content; name a tag instead")]
    ByDigest(String),
    /// The registry wants other credentials, or these may not write there.
    #[error(
        "registry {registry} refuses the push of `{image}`: it needs credentials that may write there; {credentials}"
    )]
    Unauthorized {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// What credentials were used, and where others can be put.
        credentials: String,
    },
    /// No connection to the registry.
    #[error(
        "cannot push `{image}`: registry {registry} is not in reach ({cause}); check the network and proxy settings"
    )]
    Unreachable {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// What failed.
        cause: String,
    },
    /// The registry limits how much may be pushed.
    #[error("registry {registry} allows no more pushes of `{image}` for now{wait}; try later")]
    TooManyRequests {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// How long it asks to wait, in parentheses, if it says so.
        wait: String,
    },
    /// Another answer of the registry.
    #[error("cannot push `{image}` to registry {registry}: {cause}")]
    Registry {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// The registry's words.
        cause: String,
    },
    /// The image could not be read.
    #[error("cannot read the image `{image}`: {source}")]
    Store {
        /// The image.
        image: String,
        /// Why.
        source: StoreError,
    },
}

impl PushError {
    /// A registry's client speaks of pulls; this is about a push.
    fn of(error: PullError, to: &Reference) -> Self {
        let (image, registry) = (to.to_string(), to.registry.clone());
        let other = |cause: String| Self::Registry {
            image: image.clone(),
            registry: registry.clone(),
            cause,
        };
        match error {
            PullError::Cancelled(_) => Self::Cancelled(image),
            PullError::NotFound(_) => other("it has no such repository and makes none".to_owned()),
            PullError::Unauthorized { credentials, .. } => Self::Unauthorized {
                image,
                registry,
                credentials,
            },
            PullError::Unreachable { cause, .. } => Self::Unreachable {
                image,
                registry,
                cause,
            },
            PullError::TooManyRequests { wait, .. } => Self::TooManyRequests {
                image,
                registry,
                wait,
            },
            PullError::Store { source, .. } => Self::Store { image, source },
            PullError::Registry { cause, .. } | PullError::Corrupt { cause, .. } => other(cause),
            PullError::Manifest { source, .. } => other(source.to_string()),
            PullError::Platform(text) => other(text),
            error @ PullError::NoRoom { .. } => other(error.to_string()),
        }
    }
}

/// The form of manifests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// As OCI writes them.
    #[default]
    Oci,
    /// Docker's schema 2, for registries that take no other.
    Docker,
}

/// What a push needs beside the name.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// How layers are compressed that don't come compressed.
    pub packing: Packing,
    /// Layers that came compressed in another way are compressed anew.
    pub repack: bool,
    /// The form of manifests that are made. One that an image came with is kept where its blobs are.
    pub form: Form,
    /// The name is only where it goes: no tag there is moved.
    pub by_digest: bool,
    /// Registries spoken to over plain HTTP, besides `localhost` and loopback addresses.
    pub insecure: Vec<String>,
    /// The process environment: proxies, `DOCKER_CONFIG`, CA bundle.
    pub env: Env,
    /// Ends the push when used.
    pub cancel: Cancel,
}

impl PushOptions {
    pub(super) fn connection(&self) -> PullOptions {
        PullOptions {
            platform: None,
            nameless: false,
            insecure: self.insecure.clone(),
            env: self.env.clone(),
            cancel: self.cancel.clone(),
        }
    }
}

/// Pushes an image under a name; gives the digest of its manifest. The store then knows the name by this digest.
///
/// # Errors
/// [`PushError`].
pub fn push(
    store: &Store,
    image: &Image,
    reference: &Reference,
    options: &PushOptions,
    events: &dyn EventSink,
) -> Result<Digest, PushError> {
    push_described(store, image, reference, options, events).map(|manifest| manifest.digest)
}

/// As [`push`]; gives what is to be known of the manifest.
///
/// # Errors
/// [`PushError`].
pub fn push_described(
    store: &Store,
    image: &Image,
    reference: &Reference,
    options: &PushOptions,
    events: &dyn EventSink,
) -> Result<Descriptor, PushError> {
    let manifest = run(store, reference, options, events, |push| async move {
        let (bytes, media_type) = push.image(image, BTreeMap::new()).await?;
        let digest = push.manifest(&bytes, media_type, None).await?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    })?;
    let digest = manifest.digest;
    let known = store.know(&image.id, reference, digest);
    known.map_err(|source| PushError::Store {
        image: reference.to_string(),
        source,
    })?;
    Ok(manifest)
}

/// Pushes the images of one build under a name, with what goes along with them: images of several platforms, and those with
/// statements, as an index. Gives the digest of what has the name; the store then knows the first image by it.
///
/// # Errors
/// [`PushError`].
pub fn push_index(
    store: &Store,
    images: &[Image],
    along: &Along,
    reference: &Reference,
    options: &PushOptions,
    events: &dyn EventSink,
) -> Result<Digest, PushError> {
    let digest = run(store, reference, options, events, |push| async move {
        match images {
            [image] if !along.needs_index() => {
                let notes = along.notes(Level::Manifest, Some(&image.platform()));
                let (bytes, media_type) = push.image(image, notes).await?;
                push.manifest(&bytes, media_type, None).await
            }
            images => push.index(images, along).await,
        }
    })?;
    if let Some(first) = images.first() {
        let known = store.know(&first.id, reference, digest);
        known.map_err(|source| PushError::Store {
            image: reference.to_string(),
            source,
        })?;
    }
    Ok(digest)
}

/// Pushes layers alone, for content that is no image; gives what a manifest says of them, in their order.
///
/// # Errors
/// [`PushError`].
pub fn push_layers(
    store: &Store,
    layers: &[Digest],
    reference: &Reference,
    options: &PushOptions,
    events: &dyn EventSink,
) -> Result<Vec<Descriptor>, PushError> {
    run(store, reference, options, events, |push| async move {
        push.layers(layers, As::Wanted).await
    })
}

/// Pushes documents and files, then a manifest that names them; gives its digest. What it names must be there.
///
/// # Errors
/// [`PushError`].
pub fn push_manifest(
    store: &Store,
    manifest: &[u8],
    media_type: &'static str,
    documents: &[Vec<u8>],
    reference: &Reference,
    options: &PushOptions,
    events: &dyn EventSink,
) -> Result<Digest, PushError> {
    run(store, reference, options, events, |push| async move {
        for document in documents {
            push.document(document).await?;
        }
        push.manifest(manifest, media_type, None).await
    })
}

/// Logs in and does what is to be done, until its end or until the token is used.
pub(super) fn run<'a, T, F>(
    store: &'a Store,
    reference: &'a Reference,
    options: &'a PushOptions,
    events: &'a dyn EventSink,
    work: impl FnOnce(Arc<Push<'a>>) -> F,
) -> Result<T, PushError>
where
    F: Future<Output = Result<T, PullError>>,
{
    if reference.digest.is_some() {
        return Err(PushError::ByDigest(reference.to_string()));
    }
    let connection = options.connection();
    let all = async {
        let push = Push::begin(store, reference, options, &connection, events)?;
        push.soon(push.registry.log_in()).await?;
        work(Arc::new(push)).await
    };
    wait(reference, &connection, all).map_err(|error| PushError::of(error, reference))
}

/// One push.
pub(super) struct Push<'a> {
    pub(super) store: &'a Store,
    pub(super) registry: Registry,
    pub(super) reference: &'a Reference,
    events: &'a dyn EventSink,
    how: &'a PushOptions,
    /// Holds layers against removal; what is compressed is written here.
    pub(super) staging: Staging,
    /// Where else in the registry blobs are.
    places: BTreeMap<Digest, String>,
}

/// A blob to be sent.
struct Blob {
    descriptor: Descriptor,
    path: PathBuf,
}

impl<'a> Push<'a> {
    fn begin(
        store: &'a Store,
        reference: &'a Reference,
        how: &'a PushOptions,
        connection: &PullOptions,
        events: &'a dyn EventSink,
    ) -> Result<Self, PullError> {
        let failed = |source| PullError::Store {
            image: reference.to_string(),
            source,
        };
        let mut places = store.places(&reference.registry).map_err(failed)?;
        places.retain(|_, repository| *repository != reference.repository);
        Ok(Self {
            store,
            registry: Registry::for_push(reference, connection)?,
            reference,
            events,
            how,
            staging: store.layers().staging().map_err(failed)?,
            places,
        })
    }
    fn store_error(&self, source: StoreError) -> PullError {
        PullError::Store {
            image: self.reference.to_string(),
            source,
        }
    }
    pub(super) fn io(&self, step: &str, source: io::Error) -> PullError {
        self.store_error(StoreError::Io {
            step: step.to_owned(),
            source,
        })
    }
    fn json(&self, value: &impl serde::Serialize) -> Result<Vec<u8>, PullError> {
        let written = serde_json::to_vec(value);
        written.map_err(|error| self.store_error(StoreError::Corrupt(error.to_string())))
    }
    /// Tells of a layer by its diff id, as Docker: its blob may not be known yet.
    fn tell(&self, id: &Digest, done: u64, total: Option<u64>, phase: &'static str) {
        self.events.send(Event::Pull {
            image: self.reference.to_string(),
            layer: id.short(),
            done,
            total,
            phase,
        });
    }
    /// The client waits for an answer without limit; small requests have one here.
    async fn soon<T>(
        &self,
        work: impl Future<Output = Result<T, PullError>>,
    ) -> Result<T, PullError> {
        // All tries together; each one that is silent ends here too.
        match tokio::time::timeout(self.registry.silence() * 2, work).await {
            Ok(done) => done,
            Err(_) => Err(PullError::Unreachable {
                image: self.reference.to_string(),
                registry: self.reference.registry.clone(),
                cause: "it does not answer".to_owned(),
            }),
        }
    }

    /// Pushes images and statements, each under its digest, and the index of them under the name.
    async fn index(&self, images: &[Image], along: &Along) -> Result<Digest, PullError> {
        let mut index = Index::default();
        let mut beside = Vec::new();
        for (at, image) in images.iter().enumerate() {
            let platform = image.platform();
            let notes = along.notes(Level::Manifest, Some(&platform));
            let (bytes, media_type) = self.image(image, notes).await?;
            let own = Some(Digest::of(&bytes));
            let digest = self.manifest(&bytes, media_type, own).await?;
            let mut entry = Descriptor::new(media_type, digest, bytes.len() as u64);
            entry.annotations = along.notes(Level::ManifestDescriptor, Some(&platform));
            entry.platform = Some(platform);
            let statements = along.statements_of(at);
            if !statements.is_empty() {
                beside.push(self.statements(statements, &entry).await?);
            }
            index.manifests.push(entry);
        }
        // Docker's own list has no place for statements.
        let media_type = match self.how.form {
            Form::Docker if beside.is_empty() => media::DOCKER_LIST,
            _ => media::INDEX,
        };
        index.manifests.extend(beside);
        index.media_type = Some(media_type.to_owned());
        index.annotations = along.notes(Level::Index, None);
        let bytes = self.json(&index)?;
        self.manifest(&bytes, media_type, None).await
    }
    /// Pushes statements about an image; gives what the index says of them.
    async fn statements(
        &self,
        statements: &[Statement],
        image: &Descriptor,
    ) -> Result<Descriptor, PullError> {
        let sealed = attest::seal(statements, image, &[self.reference]);
        let sealed =
            sealed.map_err(|error| self.store_error(StoreError::Corrupt(error.to_string())))?;
        for document in &sealed.documents {
            self.document(document).await?;
        }
        let digest = Some(sealed.descriptor.digest);
        self.manifest(&sealed.manifest, media::MANIFEST, digest)
            .await?;
        Ok(sealed.descriptor)
    }
    /// Pushes what an image is made of; gives its manifest, with remarks, and that one's media type.
    async fn image(
        &self,
        image: &Image,
        notes: BTreeMap<String, String>,
    ) -> Result<(Vec<u8>, &'static str), PullError> {
        let config = self
            .store
            .document(&image.id)
            .map_err(|source| self.store_error(source))?;
        let own = self.own_manifest(image)?.filter(|_| notes.is_empty());
        let form = if own.is_some() { As::Came } else { As::Wanted };
        let layers = self.layers(image.layers(), form).await?;
        self.document(&config).await?;
        if let Some(own) = own {
            return Ok(own);
        }
        let mut of_config = Descriptor::new(media::CONFIG, image.id, config.len() as u64);
        let mut manifest = Manifest::new(of_config.clone(), layers);
        let media_type = match self.how.form {
            Form::Oci => media::MANIFEST,
            Form::Docker => {
                of_config.media_type = media::DOCKER_CONFIG.to_owned();
                manifest.config = of_config;
                media::DOCKER_MANIFEST
            }
        };
        manifest.media_type = Some(media_type.to_owned());
        manifest.annotations = notes;
        for layer in &mut manifest.layers {
            let packing = packing_of(&layer.media_type);
            layer.media_type = media::layer(packing, self.how.form == Form::Docker).to_owned();
            layer.annotations.clear();
        }
        Ok((self.json(&manifest)?, media_type))
    }
    /// The manifest that an image came with, if it still says what is pushed: its digest is what others know it by.
    fn own_manifest(&self, image: &Image) -> Result<Option<(Vec<u8>, &'static str)>, PullError> {
        let found = self
            .store
            .manifest(&image.id)
            .map_err(|source| self.store_error(source))?;
        let Some((bytes, media_type)) = found else {
            return Ok(None);
        };
        let media_type = match media_type.as_str() {
            media::MANIFEST => media::MANIFEST,
            media::DOCKER_MANIFEST => media::DOCKER_MANIFEST,
            _ => return Ok(None),
        };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else {
            return Ok(None);
        };
        // What no registry has seen may have come as an archive without compression, which is no form to send.
        let known = self.store.repo_digests(&image.id);
        let known = known.map_err(|source| self.store_error(source))?;
        let form = match known.is_empty() || self.how.repack {
            true => As::Wanted,
            false => As::Came,
        };
        let mut same =
            manifest.config.digest == image.id && manifest.layers.len() == image.layers().len();
        for (id, said) in image.layers().iter().zip(&manifest.layers) {
            let kept = self.kept(id, form)?;
            same &= kept.is_some_and(|blob| blob.descriptor.digest == said.digest);
        }
        Ok(same.then_some((bytes, media_type)))
    }

    /// Pushes layers; one that occurs twice is sent once.
    async fn layers(&self, layers: &[Digest], form: As) -> Result<Vec<Descriptor>, PullError> {
        let each: BTreeSet<Digest> = layers.iter().copied().collect();
        let sent: BTreeMap<Digest, Descriptor> = futures_util::stream::iter(each)
            .map(|id| async move { self.layer(&id, form).await.map(|blob| (id, blob)) })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        Ok(layers
            .iter()
            .filter_map(|id| sent.get(id).cloned())
            .collect())
    }
    async fn layer(&self, id: &Digest, form: As) -> Result<Descriptor, PullError> {
        self.tell(id, 0, None, "Preparing");
        let _alone = self.alone(id).await;
        let kept = self.kept(id, form)?;
        let known = match &kept {
            Some(blob) => Some(blob.descriptor.clone()),
            None => self
                .store
                .packed(id, self.how.packing)
                .map_err(|source| self.store_error(source))?,
        };
        let mut place = None;
        if let Some(known) = &known {
            match self.there(id, known).await? {
                There::Yes => return Ok(known.clone()),
                There::No(to) => place = to,
            }
        }
        let blob = match kept {
            Some(blob) => blob,
            None => self.pack(id).await?,
        };
        if known.as_ref() != Some(&blob.descriptor) {
            match self.there(id, &blob.descriptor).await? {
                There::Yes => return Ok(blob.descriptor),
                There::No(to) => place = to,
            }
        }
        let size = blob.descriptor.size;
        let tell = |done, phase| self.tell(id, done, Some(size), phase);
        self.send(&blob.descriptor, &blob.path, place, &tell)
            .await?;
        tell(size, "Pushed");
        // What was compressed for this push is not needed any longer.
        if blob.path.starts_with(self.staging.dir()) {
            let _ = std::fs::remove_file(&blob.path);
        }
        Ok(blob.descriptor)
    }
    /// The blob that a layer came as, if it is here and as it is wanted.
    fn kept(&self, id: &Digest, form: As) -> Result<Option<Blob>, PullError> {
        let record = self
            .store
            .layers()
            .record(id)
            .map_err(|source| self.store_error(source))?;
        let packing = |blob: &Descriptor| packing_of(&blob.media_type);
        let fits = |blob: &Descriptor| match packing(blob) {
            _ if form == As::Came => true,
            Packing::Plain => self.how.packing == Packing::Plain,
            other => !self.how.repack || other == self.how.packing,
        };
        let found = record.blob.filter(fits).map(|descriptor| Blob {
            path: self.store.blob_path(&descriptor.digest),
            descriptor,
        });
        let whole = |blob: &Blob| {
            let found = blob.path.metadata();
            found.is_ok_and(|found| found.len() == blob.descriptor.size)
        };
        Ok(found.filter(whole))
    }
    /// Compresses a layer into a file.
    async fn pack(&self, id: &Digest) -> Result<Blob, PullError> {
        let path = self.staging.dir().join(format!("blob-{}", id.hex()));
        let (store, id, packing) = (self.store.clone(), *id, self.how.packing);
        let (to, cancel) = (path.clone(), self.how.cancel.clone());
        let packing = tokio::task::spawn_blocking(move || {
            let file = File::create(&to).map_err(|source| StoreError::Io {
                step: format!("create {}", to.display()),
                source,
            })?;
            store.pack(
                &id,
                packing,
                &cancel,
                io::BufWriter::with_capacity(CHUNK, file),
            )
        });
        match packing.await {
            Ok(Ok(descriptor)) => Ok(Blob { descriptor, path }),
            Ok(Err(error)) => Err(self.store_error(error)),
            Err(error) => Err(self.io("compress a layer", io::Error::other(error.to_string()))),
        }
    }
    /// Pushes a document; gives what a manifest says of it, but for its media type.
    async fn document(&self, bytes: &[u8]) -> Result<(), PullError> {
        let descriptor = Descriptor::new(media::CONFIG, Digest::of(bytes), bytes.len() as u64);
        let _alone = self.alone(&descriptor.digest).await;
        if self.exists(&descriptor).await? {
            return Ok(());
        }
        let path = self
            .staging
            .dir()
            .join(format!("document-{}", descriptor.digest.hex()));
        std::fs::write(&path, bytes).map_err(|error| self.io("write a document", error))?;
        self.send(&descriptor, &path, None, &|_, _| {}).await
    }
    /// Sends a blob, when as many as may are not on their way.
    pub(super) async fn send(
        &self,
        blob: &Descriptor,
        path: &Path,
        begun: Option<Url>,
        tell: &(dyn Fn(u64, &'static str) + Sync),
    ) -> Result<(), PullError> {
        let _lane = self.store.lanes().up().await;
        let send = Send {
            registry: &self.registry,
            blob,
            path,
            tell,
        };
        send.run(begun).await
    }
    /// Waits until no other push of this process sends the same thing to this repository.
    pub(super) async fn alone(&self, what: &Digest) -> OwnedMutexGuard<()> {
        let place = self.reference.by_digest(*what).to_string();
        self.store.lanes().alone(place).await
    }

    /// Whether the registry has a blob in this repository, or takes it from another one.
    async fn there(&self, id: &Digest, blob: &Descriptor) -> Result<There, PullError> {
        if self.exists(blob).await? {
            self.tell(id, blob.size, Some(blob.size), "Layer already exists");
            return Ok(There::Yes);
        }
        let Some(from) = self.places.get(&blob.digest) else {
            return Ok(There::No(None));
        };
        // It may not want to: then it has begun an upload, or the blob is sent in the usual way.
        let asked = self.registry.begin_upload(Some((&blob.digest, from)));
        match tokio::time::timeout(self.registry.silence(), asked).await {
            Ok(Ok(Upload::Mounted)) => {
                self.tell(id, blob.size, Some(blob.size), "Mounted");
                Ok(There::Yes)
            }
            Ok(Ok(Upload::To(url))) => Ok(There::No(Some(url))),
            _ => Ok(There::No(None)),
        }
    }
    pub(super) async fn exists(&self, blob: &Descriptor) -> Result<bool, PullError> {
        let ask = || self.registry.has_blob(&blob.digest);
        match self.soon(self.registry.retry(ask)).await {
            // Who may write but not look is told so by the upload, if that is refused too.
            Err(PullError::Unauthorized { .. } | PullError::Registry { .. }) => Ok(false),
            other => other,
        }
    }
    /// Pushes a manifest under its digest, or under the name.
    pub(super) async fn manifest(
        &self,
        bytes: &[u8],
        media_type: &'static str,
        by: Option<Digest>,
    ) -> Result<Digest, PullError> {
        let by = by.or(self.how.by_digest.then(|| Digest::of(bytes)));
        let name = match by {
            Some(digest) => digest.to_string(),
            None => self
                .reference
                .tag
                .as_deref()
                .unwrap_or(DEFAULT_TAG)
                .to_owned(),
        };
        let digest = Digest::of(bytes);
        let _alone = self.alone(&digest).await;
        let ask = || async {
            let put = self.registry.put_manifest(&name, bytes, media_type).await;
            put.map_err(|failure| Failure {
                again: match is_digest_refused(&failure) {
                    // All that is named was made of what is there: another process sends some of it just now.
                    true => Again::Once,
                    false => failure.again,
                },
                ..failure
            })
        };
        self.soon(self.registry.retry(ask)).await?;
        Ok(digest)
    }
}

fn is_digest_refused(failure: &Failure) -> bool {
    matches!(&failure.error, PullError::Registry { cause, .. } if cause.contains("DIGEST_INVALID"))
}

/// In which form a layer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    /// As it came, so that the manifest and its digest stay what they are.
    Came,
    /// Compressed as the push is asked to.
    Wanted,
}

/// Whether a blob is in the registry.
enum There {
    Yes,
    /// It is to be sent, to this address if an upload has begun.
    No(Option<Url>),
}
