//! Manifests, indexes and configs: small contents, fetched into memory and verified.
//!
//! In: a name or a descriptor. Out: bytes that have the digest they should. Imports: `wire`, `client`, `manifest`.
//! Rules: OCI distribution spec 1.1, "Pulling manifests", "Checking if content exists in the registry".

use reqwest::header;
use reqwest::{Method, RequestBuilder, Response};

use super::PullError;
use super::client::{Again, Failure, Registry};
use super::wire::At;
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;

/// Longest manifest or index in bytes. Source: OCI distribution spec 1.1, "Pushing Manifests".
const LONGEST_MANIFEST: u64 = 4 << 20;
/// What is understood, best first.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// Header with the digest of a manifest.
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Registry {
    async fn ask_for_manifest(
        &self,
        method: Method,
        digest: Option<Digest>,
    ) -> Result<Response, Failure> {
        let path = format!("manifests/{}", self.mark(digest));
        let shape = |request: RequestBuilder| request.header(header::ACCEPT, ACCEPTED);
        self.ask(method, At::Path(&path), shape).await
    }
    /// The digest that the name has in the registry now, without fetching anything; `None` when it does not say.
    pub(super) async fn head(&self) -> Result<Option<Digest>, PullError> {
        let ask = || async {
            let answer = self.ask_for_manifest(Method::HEAD, None).await?;
            let said = answer.headers().get(CONTENT_DIGEST);
            Ok(said.and_then(|value| Digest::parse(value.to_str().ok()?.trim()).ok()))
        };
        self.retry(ask).await
    }
    /// A manifest or index, and its digest; by the name, or by the digest given.
    pub(super) async fn manifest(
        &self,
        digest: Option<Digest>,
    ) -> Result<(Vec<u8>, Digest), PullError> {
        let ask = || async {
            let answer = self.ask_for_manifest(Method::GET, digest).await?;
            self.small_body(answer, LONGEST_MANIFEST, "a manifest")
                .await
        };
        loop {
            let bytes = self.retry(ask).await?;
            let found = Digest::of(&bytes);
            match digest.or(self.reference().digest) {
                Some(wanted) if wanted != found => {
                    let text = format!("a manifest's digest is {found} instead of {wanted}");
                    if !self.leave_mirror(&text) {
                        return Err(self.corrupt(text));
                    }
                }
                _ => return Ok((bytes, found)),
            }
        }
    }
    /// A small blob, in memory: a config, a layer of an artifact. The caller has looked at its size.
    pub(super) async fn small_blob(
        &self,
        blob: &Descriptor,
        what: &str,
    ) -> Result<Vec<u8>, PullError> {
        let corrupt = |text: String| Failure {
            error: self.corrupt(text),
            again: Again::No,
        };
        let ask = || async {
            let mut answer = self.blob(&blob.digest, None).await?;
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < blob.size {
                let chunk = answer.chunk().await.map_err(|error| self.broken(&error))?;
                let Some(chunk) = chunk else { break };
                bytes.extend_from_slice(&chunk);
            }
            // What comes behind the end is left alone: the digest tells whether this was all.
            bytes.truncate(usize::try_from(blob.size).unwrap_or(usize::MAX));
            if (bytes.len() as u64) < blob.size {
                let text = format!("{what} ends after {} of {} bytes", bytes.len(), blob.size);
                return Err(Failure {
                    error: self.corrupt(text),
                    again: Again::Later,
                });
            }
            let found = Digest::of(&bytes);
            if found != blob.digest {
                return Err(corrupt(format!(
                    "{what} has the digest {found} instead of {}",
                    blob.digest
                )));
            }
            Ok(bytes)
        };
        self.retry(ask).await
    }
    /// Asks for a blob, or for what follows its first `from` bytes.
    pub(super) async fn blob(
        &self,
        digest: &Digest,
        from: Option<u64>,
    ) -> Result<Response, Failure> {
        let path = format!("blobs/{digest}");
        let shape = |request: RequestBuilder| match from {
            Some(from) => request.header(header::RANGE, format!("bytes={from}-")),
            None => request,
        };
        let asked = self.ask(Method::GET, At::Path(&path), shape).await;
        asked.map_err(|failure| Failure {
            error: match failure.error {
                PullError::NotFound(_) => self.corrupt(format!(
                    "it has no blob {digest}, though a manifest names it"
                )),
                other => other,
            },
            ..failure
        })
    }
}
