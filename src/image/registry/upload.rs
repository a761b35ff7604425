//! What a push asks of a registry.
//!
//! In: a [`Registry`]. Out: answers. Imports: `client`. Rules: OCI distribution spec 1.1, "Push".

use bytes::Bytes;
use reqwest::{Body, Method, RequestBuilder, StatusCode, Url, header};

use super::PullError;
use super::client::{Failure, Registry};
use super::wire::At;
use crate::image::digest::Digest;

/// Where an upload goes.
pub(super) enum Upload {
    /// Nowhere: the registry has taken the content from another repository.
    Mounted,
    /// To this address.
    To(Url),
}

impl Registry {
    /// Whether the repository has a blob.
    pub(super) async fn has_blob(&self, digest: &Digest) -> Result<bool, Failure> {
        let path = format!("blobs/{digest}");
        match self
            .ask(Method::HEAD, At::Path(&path), |request| request)
            .await
        {
            Ok(_) => Ok(true),
            Err(failure) if matches!(failure.error, PullError::NotFound(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
    /// Begins an upload, or has the registry take the blob from another of its repositories.
    pub(super) async fn begin_upload(
        &self,
        mount: Option<(&Digest, &str)>,
    ) -> Result<Upload, Failure> {
        let path = match mount {
            None => "blobs/uploads/".to_owned(),
            Some((digest, from)) => format!("blobs/uploads/?mount={digest}&from={from}"),
        };
        let empty = |request: RequestBuilder| request.header(header::CONTENT_LENGTH, 0);
        let answer = self.ask(Method::POST, At::Path(&path), empty).await?;
        if answer.status() == StatusCode::CREATED && mount.is_some() {
            return Ok(Upload::Mounted);
        }
        self.location(&answer).map(Upload::To)
    }
    /// Sends a blob in one piece. `body` makes it, maybe twice.
    pub(super) async fn upload(
        &self,
        digest: &Digest,
        size: u64,
        body: impl Fn() -> Body,
    ) -> Result<(), Failure> {
        let Upload::To(mut to) = self.begin_upload(None).await? else {
            return Ok(());
        };
        to.query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        self.ask(Method::PUT, At::Url(&to), |request| {
            request
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, size)
                .body(body())
        })
        .await
        .map(drop)
    }
    /// Puts a manifest under a tag or a digest.
    pub(super) async fn put_manifest(
        &self,
        name: &str,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<(), Failure> {
        let path = format!("manifests/{name}");
        let bytes = Bytes::copy_from_slice(bytes);
        let shape = |request: RequestBuilder| {
            let request = request.header(header::CONTENT_TYPE, media_type);
            request.body(bytes.clone())
        };
        self.ask(Method::PUT, At::Path(&path), shape)
            .await
            .map(drop)
    }
}
