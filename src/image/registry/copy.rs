//! Copies: an image goes from one repository to another with all its platforms, byte for byte.
//!
//! In: two names. Out: what a manifest says of the copy, or a typed error. A blob that the other side has, or takes from
//! the first repository, is not sent; others are held in a file between, so that nothing goes out whose digest is wrong.
//! The copy has no name of its own: whoever wants it names its digest.
//! Imports: `client`, `push`, `manifest`. Rules: OCI distribution spec 1.1, "Pull", "Push".

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::PullError;
use super::client::{Again, Failure, Registry};
use super::push::{Push, PushError, PushOptions, run};
use super::upload::Upload;
use crate::base::event::EventSink;
use crate::image::digest::{Digest, Hasher};
use crate::image::manifest::{Descriptor, Document, media};
use crate::image::reference::Reference;
use crate::image::store::Store;

/// Copies an image into the repository of `to`, without a name.
///
/// # Errors
/// [`PushError`]; what the first registry says is in its words, too.
pub fn copy(
    store: &Store,
    from: &Reference,
    to: &Reference,
    options: &PushOptions,
    events: &dyn EventSink,
) -> Result<Descriptor, PushError> {
    run(store, to, options, events, |push| async move {
        let source = Registry::new(from, &options.connection())?;
        source.log_in().await?;
        let copy = Copy { source, from, push };
        copy.document(None).await
    })
}

/// Pushes a manifest or an index under its digest alone.
///
/// # Errors
/// [`PushError`].
pub fn push_nameless(
    store: &Store,
    manifest: &[u8],
    media_type: &'static str,
    to: &Reference,
    options: &PushOptions,
    events: &dyn EventSink,
) -> Result<Digest, PushError> {
    run(store, to, options, events, |push| async move {
        let digest = Some(Digest::of(manifest));
        push.manifest(manifest, media_type, digest).await
    })
}

/// One copy.
struct Copy<'a> {
    source: Registry,
    from: &'a Reference,
    push: Arc<Push<'a>>,
}

impl Copy<'_> {
    /// Copies what a manifest or an index names, and then itself.
    async fn document(&self, digest: Option<Digest>) -> Result<Descriptor, PullError> {
        let (bytes, digest) = self.source.manifest(digest).await?;
        let parsed = Document::parse(&bytes).map_err(|source| PullError::Manifest {
            image: self.from.to_string(),
            source,
        })?;
        let media_type = match parsed {
            Document::Manifest(manifest) => {
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    self.blob(blob).await?;
                }
                match manifest.media_type.as_deref() {
                    Some(media::DOCKER_MANIFEST) => media::DOCKER_MANIFEST,
                    _ => media::MANIFEST,
                }
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    if [media::INDEX, media::DOCKER_LIST].contains(&entry.media_type.as_str()) {
                        let text = "it has an index within an index";
                        return Err(self.source.corrupt(text.to_owned()));
                    }
                    Box::pin(self.document(Some(entry.digest))).await?;
                }
                match index.media_type.as_deref() {
                    Some(media::DOCKER_LIST) => media::DOCKER_LIST,
                    _ => media::INDEX,
                }
            }
        };
        self.push.manifest(&bytes, media_type, Some(digest)).await?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), PullError> {
        // Such a layer is not the registry's to give.
        if blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign") {
            return Ok(());
        }
        let push = &self.push;
        let same = self.from.registry == push.reference.registry;
        let _alone = push.alone(&blob.digest).await;
        if push.exists(blob).await? {
            return Ok(());
        }
        let mut begun = None;
        if same {
            // It may not want to: then it has begun an upload, or the blob is sent in the usual way.
            let from = self.from.repository.as_str();
            let asked = push.registry.begin_upload(Some((&blob.digest, from)));
            match tokio::time::timeout(push.registry.silence(), asked).await {
                Ok(Ok(Upload::Mounted)) => return Ok(()),
                Ok(Ok(Upload::To(url))) => begun = Some(url),
                _ => {}
            }
        }
        let kept = push.store.blob_path(&blob.digest);
        let path = match kept.metadata() {
            Ok(found) if found.len() == blob.size => kept,
            _ => self.fetch(blob).await?,
        };
        push.send(blob, &path, begun, &|_, _| {}).await?;
        if path.starts_with(push.staging.dir()) {
            let _ = std::fs::remove_file(&path);
        }
        Ok(())
    }

    /// Brings a blob into a file.
    async fn fetch(&self, blob: &Descriptor) -> Result<PathBuf, PullError> {
        let name = format!("copy-{}", blob.digest.hex());
        let path = self.push.staging.dir().join(name);
        self.source.retry(|| self.receive(blob, &path)).await?;
        Ok(path)
    }

    async fn receive(&self, blob: &Descriptor, path: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure {
            error: self.push.io("keep a layer", error),
            again: Again::No,
        };
        let corrupt = |text: String| Failure {
            error: self.source.corrupt(text),
            again: Again::No,
        };
        let mut answer = self.source.blob(&blob.digest, None).await?;
        let mut file = File::create(path).map_err(failed)?;
        let (mut hash, mut size) = (Hasher::default(), 0u64);
        loop {
            let chunk = answer
                .chunk()
                .await
                .map_err(|error| self.source.broken(&error))?;
            let Some(chunk) = chunk else { break };
            size += chunk.len() as u64;
            if size > blob.size {
                return Err(corrupt(format!(
                    "a blob is longer than {} bytes",
                    blob.size
                )));
            }
            hash.update(&chunk);
            file.write_all(&chunk).map_err(failed)?;
        }
        let found = hash.finish();
        if size < blob.size || found != blob.digest {
            return Err(corrupt(format!(
                "the digest of a blob is {found} instead of {}",
                blob.digest
            )));
        }
        Ok(())
    }
}
