//! One blob on its way to a registry.
//!
//! In: a file. Out: nothing, once the registry has said that it has the blob. It goes out in one request, which every
//! registry takes. Where that is cut, the registry is asked how much it has, and the rest follows from there; one that
//! has kept nothing, or does not take so much at once, gets the next try in parts, so that a cut costs a part only.
//! Imports: `client`. Rules: OCI distribution spec 1.1, "Pushing a blob monolithically", "in chunks"; not every registry
//! keeps what came before a cut (distribution 2 and 3 give the whole upload up), so that nothing depends on it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use reqwest::header;
use reqwest::{Body, Method, RequestBuilder, Response, Url};

use super::PullError;
use super::client::{Again, Failure, Registry};
use super::wire::At;
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;

/// Bytes read and sent at once.
const CHUNK: u64 = 128 * 1024;
/// Bytes of one request where a blob goes in parts. Source: no registry wants more at least; ECR wants 5 MiB.
const PART: u64 = 16 << 20;
/// Time between looks at how far an upload is.
const LOOK: Duration = Duration::from_millis(100);
/// How long a registry may be silent after it has all of a blob: it may copy it to where it is kept.
const COMMIT: Duration = Duration::from_secs(300);
/// What a connection must take before it breaks, so that its break is the first one again.
const PROGRESS: u64 = PART;

/// Where an upload goes.
pub(super) enum Upload {
    /// Nowhere: the registry has taken the content from another repository.
    Mounted,
    /// To this address.
    To(Url),
}

/// One blob, and what it takes to send it.
pub(super) struct Send<'a> {
    pub(super) registry: &'a Registry,
    pub(super) blob: &'a Descriptor,
    pub(super) path: &'a Path,
    /// Told how many bytes are out, and what is done.
    pub(super) tell: &'a (dyn Fn(u64, &'static str) + Sync),
}

/// How a blob goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Whole,
    Parts,
}

/// What is known of an upload that has begun.
struct Begun {
    to: Url,
    /// Bytes that the registry has.
    have: u64,
}

impl Registry {
    /// Whether the repository has a blob.
    pub(super) async fn has_blob(&self, digest: &Digest) -> Result<bool, Failure> {
        let path = format!("blobs/{digest}");
        let asked = self.ask(Method::HEAD, At::Path(&path), |request| request);
        match asked.await {
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
        if answer.status() == reqwest::StatusCode::CREATED && mount.is_some() {
            return Ok(Upload::Mounted);
        }
        Ok(Upload::To(self.location(&answer)?))
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

impl Send<'_> {
    /// Sends the blob. `begun` is where an upload of it may go that has begun already.
    pub(super) async fn run(&self, begun: Option<Url>) -> Result<(), PullError> {
        let mut tries = self.registry.tries();
        let mut manner = Manner::Whole;
        let mut begun = begun.map(|to| Begun { to, have: 0 });
        // The most that the registry has had: what it loses and gets once more is no progress.
        let mut most = 0;
        loop {
            let failure = match self.attempt(&mut begun, manner).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let refused = status(&failure);
            let wait = match refused {
                // Something in between takes no more at once.
                Some(413) if manner == Manner::Whole => {
                    (manner, begun) = (Manner::Parts, None);
                    continue;
                }
                // It does not know parts, or not any more of this upload.
                Some(400 | 404 | 405 | 501) if manner == Manner::Parts => {
                    (manner, begun) = (Manner::Whole, None);
                    tries.wait(Again::Later)
                }
                // It has another part of it than it has said.
                Some(416) if begun.is_some() => tries.wait(Again::Later),
                // It has forgotten an upload that was begun a while ago.
                Some(404) if begun.is_some() => {
                    begun = None;
                    tries.wait(Again::Later)
                }
                _ => tries.wait(failure.again),
            };
            let Some(wait) = wait else {
                return Err(failure.error);
            };
            (self.tell)(begun.as_ref().map_or(0, |begun| begun.have), "Retrying");
            tokio::time::sleep(wait).await;
            // Its answer may be all that was lost.
            if matches!(self.registry.has_blob(&self.blob.digest).await, Ok(true)) {
                return Ok(());
            }
            begun = match begun {
                Some(begun) => self.kept(&begun.to).await,
                None => None,
            };
            let have = begun.as_ref().map_or(0, |begun| begun.have);
            if have >= most + PROGRESS {
                tries.forget();
                most = have;
            }
            if refused.is_none() {
                manner = Manner::Parts;
            }
        }
    }
    /// How much the registry has of an upload that was cut; `None` when it has given it up.
    async fn kept(&self, to: &Url) -> Option<Begun> {
        let asked = self
            .registry
            .ask(Method::GET, At::Url(to), |request| request);
        let answer = tokio::time::timeout(self.registry.silence(), asked);
        let answer = answer.await.ok()?.ok()?;
        let have = range_end(&answer)?;
        let to = self
            .registry
            .location(&answer)
            .unwrap_or_else(|_| to.clone());
        (have < self.blob.size).then_some(Begun { to, have })
    }
    async fn attempt(&self, begun: &mut Option<Begun>, manner: Manner) -> Result<(), Failure> {
        if begun.is_none() {
            let asked = self.registry.begin_upload(None);
            match self.soon(asked).await? {
                Upload::Mounted => return Ok(()),
                Upload::To(to) => *begun = Some(Begun { to, have: 0 }),
            }
        }
        let Some(begun) = begun else { return Ok(()) };
        // What is left of an upload that was cut can only follow as a part.
        while begun.have > 0 || manner == Manner::Parts {
            if begun.have >= self.blob.size {
                break;
            }
            let end = (begun.have + PART).min(self.blob.size);
            let range = format!("{}-{}", begun.have, end - 1);
            let sent = self
                .body(Method::PATCH, &begun.to, begun.have..end, Some(&range))
                .await;
            let answer = sent?;
            begun.to = self.registry.location(&answer)?;
            // It may have taken less.
            begun.have = match range_end(&answer) {
                Some(have) if have < end && have > begun.have => have,
                Some(have) if have < end => return Err(self.silent()),
                _ => end,
            };
        }
        let mut to = begun.to.clone();
        to.query_pairs_mut()
            .append_pair("digest", &self.blob.digest.to_string());
        let rest = begun.have..self.blob.size;
        self.body(Method::PUT, &to, rest, None).await.map(drop)
    }
    /// Sends a part of the file, watching that it goes on.
    async fn body(
        &self,
        method: Method,
        to: &Url,
        part: std::ops::Range<u64>,
        range: Option<&str>,
    ) -> Result<Response, Failure> {
        let file = File::open(self.path).map_err(|error| self.unreadable(error))?;
        let file = Arc::new(file);
        let sent = Arc::new(AtomicU64::new(part.start));
        let length = part.end - part.start;
        let shape = |request: RequestBuilder| {
            sent.store(part.start, Ordering::Relaxed);
            let mut request = request
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, length);
            if let Some(range) = range {
                request = request.header(header::CONTENT_RANGE, range);
            }
            match length {
                0 => request,
                _ => request.body(body(Arc::clone(&file), part.clone(), Arc::clone(&sent))),
            }
        };
        let work = self.registry.ask(method, At::Url(to), shape);
        let silence = self.registry.silence();
        let watch = async {
            let (mut last, mut since) = (part.start, Instant::now());
            loop {
                tokio::time::sleep(LOOK).await;
                let now = sent.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                    (self.tell)(now, "Pushing");
                }
                let limit = if now < part.end {
                    silence
                } else {
                    COMMIT.max(silence)
                };
                if since.elapsed() > limit {
                    return;
                }
            }
        };
        match select(std::pin::pin!(work), std::pin::pin!(watch)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(self.silent()),
        }
    }
    async fn soon<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.registry.silence(), work).await {
            Ok(done) => done,
            Err(_) => Err(self.silent()),
        }
    }
    fn silent(&self) -> Failure {
        let error = io::Error::other("it does not take any more");
        self.registry.broken_stream(&error)
    }
    fn unreadable(&self, source: io::Error) -> Failure {
        let step = format!("read {}", self.path.display());
        let error = PullError::Store {
            image: self.registry.image(),
            source: crate::image::store::StoreError::Io { step, source },
        };
        Failure {
            error,
            again: Again::No,
        }
    }
}

/// The status of a refusal, as far as it is in its words.
fn status(failure: &Failure) -> Option<u16> {
    match &failure.error {
        PullError::NotFound(_) => Some(404),
        PullError::Registry { cause, .. } => {
            let (_, rest) = cause.split_once("status ")?;
            rest.get(..3)?.parse().ok()
        }
        _ => None,
    }
}

/// How many bytes the registry says it has: `Range: 0-1023`. Nothing is said in the same way as one byte, which
/// therefore is sent once more.
fn range_end(answer: &Response) -> Option<u64> {
    let text = answer.headers().get(header::RANGE)?.to_str().ok()?;
    counted(text)
}

fn counted(text: &str) -> Option<u64> {
    let text = text.trim();
    let (begin, end) = text
        .strip_prefix("bytes=")
        .unwrap_or(text)
        .split_once('-')?;
    match (begin, end.parse::<u64>().ok()?) {
        ("0", 0) => Some(0),
        ("0", end) => end.checked_add(1),
        _ => None,
    }
}

/// A part of a file, counted as it goes out.
fn body(file: Arc<File>, part: std::ops::Range<u64>, sent: Arc<AtomicU64>) -> Body {
    Body::wrap_stream(futures_util::stream::unfold(part.start, move |at| {
        let (file, sent) = (Arc::clone(&file), Arc::clone(&sent));
        async move {
            let left = part.end.checked_sub(at).filter(|left| *left > 0)?;
            let mut buffer = vec![0; usize::try_from(left.min(CHUNK)).unwrap_or(0)];
            let read = file.read_exact_at(&mut buffer, at);
            let next = at + buffer.len() as u64;
            sent.store(next, Ordering::Relaxed);
            Some((read.map(|()| Bytes::from(buffer)), next))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_has_is_read_from_its_range() {
        for (text, have) in [
            ("0-1023", Some(1024)),
            ("bytes=0-9", Some(10)),
            ("0-0", Some(0)),
            ("5-9", None),
            ("0-", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(counted(text), have, "{text}");
        }
    }
}
