//! One image's registry: asked at its mirrors and its own place in turn, again where that may help, its errors ours.
//!
//! In: a reference and the environment. Out: answers, or [`PullError`]s. A mirror that fails once is not asked again.
//! Imports: `config`, `source`. Rules: OCI distribution spec 1.1; containers-registries.conf(5), "mirror".

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::header::{self, HeaderMap};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};

use super::config::Settings;
pub(super) use super::source::{Again, SILENCE};
use super::source::{Ask, At, Fault, Kind, Means, Source};
use super::words::causes;
use super::{PullError, PullOptions};
use crate::image::digest::Digest;
use crate::image::manifest::media;
use crate::image::reference::Reference;

/// Waits between tries that the registry or the network may make good. 31 s in all: as long as limits
/// counted by the minute ask for, on average.
const WAITS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_secs(4),
    Duration::from_secs(9),
    Duration::from_secs(16),
];
/// Wait before the only second try of a connection that was never made.
const QUICK: Duration = Duration::from_millis(300);
/// Longest wait that a registry may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest manifest in bytes. Source: OCI distribution spec, "Pushing Manifests" (4 MiB at least).
const LONGEST_MANIFEST: usize = 16 << 20;

/// Speaks to the registry of one image.
pub(super) struct Registry {
    /// Mirrors, and last the place itself.
    sources: Vec<Source>,
    /// The one that is asked.
    at: AtomicUsize,
    /// Mirrors that failed, and why.
    tried: Mutex<Vec<String>>,
    reference: Reference,
    actions: &'static str,
}

/// An error and whether another try may end better.
pub(super) struct Failure {
    pub(super) error: PullError,
    pub(super) again: Again,
}

/// Content that is on its way.
pub(super) struct Blob {
    /// The byte at which it begins: what was asked for, or 0 where the registry gives the whole.
    pub(super) from: u64,
    /// The bytes.
    pub(super) stream: BoxStream<'static, io::Result<Bytes>>,
}

/// Where an upload goes.
pub(super) enum Upload {
    /// Nowhere: the registry has taken the content from another repository.
    Mounted,
    /// To this address.
    To(Url),
}

impl Registry {
    pub(super) fn new(reference: &Reference, options: &PullOptions) -> Result<Self, PullError> {
        Self::to(reference, options, false)
    }
    /// As [`Registry::new`], to write there. Nothing is waited for with a limit of time: an answer comes only after
    /// the whole request, however long it is, so that the caller must watch.
    pub(super) fn for_push(
        reference: &Reference,
        options: &PullOptions,
    ) -> Result<Self, PullError> {
        Self::to(reference, options, true)
    }
    fn to(reference: &Reference, options: &PullOptions, push: bool) -> Result<Self, PullError> {
        let failed = |cause: String| PullError::Registry {
            image: reference.to_string(),
            registry: reference.registry.clone(),
            cause,
        };
        let settings = Settings::read(&options.env).map_err(|error| failed(error.to_string()))?;
        let places = match push {
            false => settings.places(reference, &options.insecure),
            true => settings
                .target(reference, &options.insecure)
                .map(|place| vec![place]),
        };
        let (env, cancel) = (&options.env, &options.cancel);
        let means = Arc::new(Means::new(env, cancel, settings.helpers.clone(), push));
        let sources = places.map_err(failed)?.into_iter();
        Ok(Self {
            sources: sources
                .map(|place| Source::new(place, Arc::clone(&means)))
                .collect(),
            at: AtomicUsize::new(0),
            tried: Mutex::default(),
            reference: reference.clone(),
            actions: if push { "pull,push" } else { "pull" },
        })
    }

    /// Makes the first connection and learns how the registry wants to be asked.
    pub(super) async fn log_in(&self) -> Result<(), PullError> {
        let meet = || self.in_turn(|source| async move { source.base().await.map(drop) });
        self.retry(meet).await
    }
    /// Asks below the repository's address, or at an address that the registry has given. `shape` adds headers and a
    /// body; it may be called more than once.
    pub(super) async fn ask(
        &self,
        method: Method,
        at: At<'_>,
        shape: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let shape = &shape;
        let method = &method;
        self.in_turn(|source| async move {
            let ask = Ask {
                method: method.clone(),
                at,
                actions: self.actions,
                from: None,
            };
            source.send(&ask, shape).await
        })
        .await
    }
    /// A manifest or index, and its digest; by tag, or by the digest given.
    pub(super) async fn manifest(
        &self,
        digest: Option<Digest>,
    ) -> Result<(Vec<u8>, Digest), PullError> {
        self.retry(|| self.manifest_once(digest)).await
    }
    async fn manifest_once(&self, digest: Option<Digest>) -> Result<(Vec<u8>, Digest), Failure> {
        let accepted = [
            media::MANIFEST,
            media::INDEX,
            media::DOCKER_MANIFEST,
            media::DOCKER_LIST,
        ]
        .join(", ");
        let accepted = accepted.as_str();
        loop {
            let at = self.at.load(Ordering::Relaxed);
            let (bytes, wanted) = self
                .in_turn(|source| async move {
                    let wanted = digest.or(source.reference.digest);
                    let path = manifest_path(&source.reference, wanted);
                    let ask = Ask {
                        method: Method::GET,
                        at: At::Path(&path),
                        actions: self.actions,
                        from: None,
                    };
                    let shape = |request: RequestBuilder| request.header(header::ACCEPT, accepted);
                    let response = source.send(&ask, &shape).await?;
                    Ok((whole(response).await?, wanted))
                })
                .await?;
            let found = Digest::of(&bytes);
            match wanted {
                Some(wanted) if wanted != found => {
                    let cause = format!("a manifest's digest is {found} instead of {wanted}");
                    if !self.pass(at, &cause) {
                        return Err(Failure {
                            error: self.corrupt(cause),
                            again: Again::No,
                        });
                    }
                }
                _ => return Ok((bytes, found)),
            }
        }
    }
    /// A blob, from a byte on if the registry can do that.
    pub(super) async fn blob(&self, digest: &Digest, from: u64) -> Result<Blob, Failure> {
        let path = format!("blobs/{digest}");
        let get = |from: u64| {
            self.ask(Method::GET, At::Path(&path), move |request| match from {
                0 => request,
                from => request.header(header::RANGE, format!("bytes={from}-")),
            })
        };
        let mut response = get(from).await;
        if from > 0
            && let Err(failure) = &response
            && failure.error.to_string().contains("status 416")
        {
            response = get(0).await;
        }
        let response = response?;
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT if begin(response.headers()) == Some(from) => from,
            StatusCode::PARTIAL_CONTENT => {
                return Err(Failure {
                    error: self
                        .corrupt("it sends another part of a blob than was asked for".to_owned()),
                    again: Again::No,
                });
            }
            _ => 0,
        };
        Ok(Blob {
            from: begins,
            stream: response.bytes_stream().map_err(io::Error::other).boxed(),
        })
    }
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
        let path = path.as_str();
        let from = mount.map(|(_, from)| from);
        let response = self
            .in_turn(|source| async move {
                let ask = Ask {
                    method: Method::POST,
                    at: At::Path(path),
                    actions: self.actions,
                    from,
                };
                let empty = |request: RequestBuilder| request.header(header::CONTENT_LENGTH, 0);
                source.send(&ask, &empty).await
            })
            .await?;
        if response.status() == StatusCode::CREATED && mount.is_some() {
            return Ok(Upload::Mounted);
        }
        self.location(&response).map(Upload::To)
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
        self.ask(Method::PUT, At::Path(&path), |request| {
            request
                .header(header::CONTENT_TYPE, media_type)
                .body(bytes.clone())
        })
        .await
        .map(drop)
    }
    /// Where an answer says that it goes on. An address of the registry itself keeps its way of being spoken to: some
    /// behind a proxy don't know that it is TLS.
    pub(super) fn location(&self, response: &Response) -> Result<Url, Failure> {
        let said = response.headers().get(header::LOCATION);
        let joined = said.and_then(|said| response.url().join(said.to_str().ok()?).ok());
        let Some(mut url) = joined else {
            return Err(Failure {
                error: self.other("it does not say where an upload goes on".to_owned()),
                again: Again::No,
            });
        };
        let own = response.url();
        if url.scheme() == "http"
            && own.scheme() == "https"
            && url.host_str() == own.host_str()
            && url.port().is_none()
        {
            // Both are schemes with a known port, which can be changed for each other.
            let _ = url.set_scheme("https");
            let _ = url.set_port(own.port());
        }
        Ok(url)
    }

    /// Asks the place whose turn it is, and the next one where that fails.
    async fn in_turn<'a, T, F>(&'a self, ask: impl Fn(&'a Source) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        loop {
            let at = self.at.load(Ordering::Relaxed);
            let Some(source) = self.sources.get(at) else {
                return Err(Failure {
                    error: self.other("it has no place".to_owned()),
                    again: Again::No,
                });
            };
            match ask(source).await {
                Ok(done) => return Ok(done),
                Err(fault) if self.pass(at, &fault.kind.short()) => {}
                Err(fault) => return Err(self.failure(source, fault)),
            }
        }
    }
    /// Goes on to the next place, if there is one.
    fn pass(&self, at: usize, why: &str) -> bool {
        if at + 1 >= self.sources.len() {
            return false;
        }
        let next = self
            .at
            .compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed);
        if next.is_ok()
            && let (Ok(mut tried), Some(source)) = (self.tried.lock(), self.sources.get(at))
        {
            tried.push(format!("{} ({why})", source.host()));
        }
        true
    }
    /// Tries again as long as that may help.
    pub(super) async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, PullError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut waits = WAITS.iter();
        let mut quick = Some(QUICK);
        loop {
            let failure = match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let wait = match failure.again {
                Again::No => None,
                Again::Once => quick.take(),
                Again::Later => waits.next().copied(),
                Again::After(wait) if wait > LONGEST_WAIT => None,
                Again::After(wait) => waits.next().map(|own| wait.max(*own)),
            };
            let Some(wait) = wait else {
                return Err(failure.error);
            };
            tokio::time::sleep(wait).await;
        }
    }
    pub(super) fn corrupt(&self, cause: String) -> PullError {
        PullError::Corrupt {
            image: self.image(),
            registry: self.registry(),
            cause: cause + &self.mirrors(),
        }
    }
    fn other(&self, cause: String) -> PullError {
        PullError::Registry {
            image: self.image(),
            registry: self.registry(),
            cause: cause + &self.mirrors(),
        }
    }
    pub(super) fn image(&self) -> String {
        self.reference.to_string()
    }
    /// Who is asked: the place whose turn it is.
    fn registry(&self) -> String {
        let source = self.sources.get(self.at.load(Ordering::Relaxed));
        source.map_or_else(
            || self.reference.registry.clone(),
            |source| source.host().to_owned(),
        )
    }
    /// The mirrors that were asked before, for the end of an error's text.
    fn mirrors(&self) -> String {
        match self.tried.lock().as_deref().map(Vec::as_slice) {
            Ok([]) | Err(_) => String::new(),
            Ok(tried) => format!("; mirrors asked before: {}", tried.join(", ")),
        }
    }
    pub(super) fn broken_stream(&self, error: &io::Error) -> Failure {
        let error = PullError::Unreachable {
            image: self.image(),
            registry: self.registry(),
            cause: format!("the connection broke: {}", causes(error)) + &self.mirrors(),
        };
        Failure {
            error,
            again: Again::Later,
        }
    }
    /// Makes a place's fault an error about the image.
    fn failure(&self, source: &Source, fault: Fault) -> Failure {
        let (image, registry) = (self.image(), source.host().to_owned());
        let mirrors = self.mirrors();
        let error = match fault.kind {
            Kind::NotFound if mirrors.is_empty() => PullError::NotFound(image),
            Kind::NotFound => self.other("it has no such image".to_owned()),
            Kind::Unauthorized(remark) => PullError::Unauthorized {
                image,
                registry,
                credentials: remark + &mirrors,
            },
            Kind::Busy => PullError::TooManyRequests { image, registry },
            Kind::Unreachable(cause) => PullError::Unreachable {
                image,
                registry,
                cause: cause + &mirrors,
            },
            Kind::Answer(cause) => self.other(cause),
        };
        Failure {
            error,
            again: fault.again,
        }
    }
}

fn manifest_path(reference: &Reference, digest: Option<Digest>) -> String {
    match digest {
        Some(digest) => format!("manifests/{digest}"),
        None => format!("manifests/{}", reference.tag.as_deref().unwrap_or("latest")),
    }
}

/// A manifest's bytes.
async fn whole(response: Response) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            let cause = format!("the connection broke: {}", causes(&error));
            Fault::of(Kind::Unreachable(cause), Again::Later)
        })?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_MANIFEST {
            let text = format!("its manifest is longer than {LONGEST_MANIFEST} bytes");
            return Err(Fault::of(Kind::Answer(text), Again::No));
        }
    }
    Ok(bytes)
}

/// The first byte of a part.
fn begin(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}
