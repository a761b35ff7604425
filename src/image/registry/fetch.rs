//! One blob on its way into the store.
//!
//! A blob is downloaded to a file named by its digest that is held by a lock: another pull of the same blob, in this
//! process or another one, waits and finds it done, and what a killed one has left is gone on with. A connection that
//! breaks is gone on with by a range; a registry that knows none sends what is there already once more, which is
//! passed over. Nothing becomes a blob before its digest is right.
//! Imports: `client`, `growing`, `store`. Rules: OCI distribution spec 1.1, "Pulling blobs"; RFC 9110, 14.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::header;
use reqwest::{Response, StatusCode};

use super::PullError;
use super::client::{Again, Failure, Registry};
use super::growing::Growing;
use super::wire::is_page;
use crate::image::digest::Hasher;
use crate::image::manifest::Descriptor;
use crate::image::store::{Store, StoreError};

/// Shortest time between two events of one layer.
const EVENT_PAUSE: Duration = Duration::from_millis(100);
/// Time between looks at a blob that another process downloads.
const LOOK: Duration = Duration::from_millis(100);
/// What a connection must bring before it breaks, so that its break is the first one again.
const PROGRESS: u64 = 1 << 20;
/// Bytes hashed at a time of what an earlier pull left.
const PART: usize = 256 * 1024;

/// How far a download is, for whoever shows it: bytes and what is done with them.
pub(super) type Tell<'a> = &'a (dyn Fn(u64, &'static str) + Sync);

/// One blob, and what it takes to get it.
pub(super) struct Fetch<'a> {
    pub(super) store: &'a Store,
    pub(super) registry: &'a Registry,
    pub(super) blob: &'a Descriptor,
    pub(super) tell: Tell<'a>,
}

/// How a download ended.
pub(super) enum Received {
    /// The blob is in the store.
    Whole,
    /// Whoever reads along needs no more.
    Enough,
    /// It has another digest; nothing of it is kept.
    Wrong(PullError),
}

/// What is there of a blob.
struct Part<'a> {
    file: &'a File,
    length: u64,
    hasher: Hasher,
    growing: &'a Growing,
    told: Instant,
}

impl Fetch<'_> {
    /// Opens the file of an unfinished download and waits until nobody else writes it, telling how far that one is.
    pub(super) async fn hold(&self) -> Result<File, PullError> {
        let path = self.store.ingest_path(&self.blob.digest);
        let held = self.held(&path).await;
        held.map_err(|error| self.failed_write(error).error)
    }
    async fn held(&self, path: &Path) -> io::Result<File> {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        loop {
            let file = options.mode(0o600).open(path)?;
            loop {
                match file.try_lock() {
                    Ok(()) => break,
                    Err(std::fs::TryLockError::WouldBlock) => {
                        let done = file.metadata()?.len().min(self.blob.size);
                        (self.tell)(done, "Waiting");
                        tokio::time::sleep(LOOK).await;
                    }
                    Err(std::fs::TryLockError::Error(error)) => return Err(error),
                }
            }
            // Whoever held it may have finished and moved it.
            let own = file.metadata()?;
            match path.metadata() {
                Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {
                    return Ok(file);
                }
                _ => {}
            }
        }
    }
    /// Whether the blob is in the store, as long as it should be.
    pub(super) fn is_kept(&self) -> bool {
        let found = self.store.blob_path(&self.blob.digest).metadata();
        found.is_ok_and(|found| found.len() == self.blob.size)
    }
    /// Forgets what there is of an unfinished download.
    pub(super) fn forget(&self) {
        let _ = std::fs::remove_file(self.store.ingest_path(&self.blob.digest));
    }
    /// Downloads what is missing of the blob, verifies it and puts it into the store.
    pub(super) async fn receive(
        &self,
        file: &File,
        growing: &Growing,
    ) -> Result<Received, PullError> {
        let mut part = self.left(file, growing).await?;
        let watch = growing.watch();
        let (mut tries, mut since) = (self.registry.tries(), part.length);
        while part.length < self.blob.size {
            let failure = match self.attempt(&mut part).await {
                Ok(()) if watch.has_enough() => return Ok(Received::Enough),
                Ok(()) => continue,
                Err(failure) => failure,
            };
            if part.length - since >= PROGRESS {
                tries.forget();
            }
            since = part.length;
            let Some(wait) = tries.wait(failure.again) else {
                return Err(failure.error);
            };
            (self.tell)(part.length, "Retrying");
            tokio::time::sleep(wait).await;
        }
        let found = part.hasher.finish();
        if found != self.blob.digest {
            file.set_len(0)
                .map_err(|error| self.failed_write(error).error)?;
            let text = format!("a blob's digest is {found} instead of {}", self.blob.digest);
            return Ok(Received::Wrong(self.registry.corrupt(text)));
        }
        let (from, to) = (
            self.store.ingest_path(&self.blob.digest),
            self.store.blob_path(&self.blob.digest),
        );
        std::fs::rename(from, to).map_err(|error| self.failed_write(error).error)?;
        (self.tell)(self.blob.size, "Download complete");
        Ok(Received::Whole)
    }
    /// What an earlier download has left of the blob.
    async fn left<'f>(&self, file: &'f File, growing: &'f Growing) -> Result<Part<'f>, PullError> {
        let failed = |error| self.failed_write(error).error;
        let mut length = file.metadata().map_err(failed)?.len();
        if length > self.blob.size {
            file.set_len(0).map_err(failed)?;
            length = 0;
        }
        let mut hasher = Hasher::default();
        if length > 0 {
            let copy = file.try_clone().map_err(failed)?;
            let hashed = tokio::task::spawn_blocking(move || hashed(&copy, length)).await;
            hasher = hashed
                .map_err(io::Error::other)
                .and_then(|hashed| hashed)
                .map_err(failed)?;
            growing.reached(length);
        }
        Ok(Part {
            file,
            length,
            hasher,
            growing,
            told: Instant::now(),
        })
    }
    /// Asks for what is missing and appends what comes.
    async fn attempt(&self, part: &mut Part<'_>) -> Result<(), Failure> {
        let from = (part.length > 0).then_some(part.length);
        let answer = match self.registry.blob(&self.blob.digest, from).await {
            // It has less than that, or counts in another way.
            Err(failure) if from.is_some() && is_range_refused(&failure) => {
                self.registry.blob(&self.blob.digest, None).await?
            }
            other => other?,
        };
        let passed_over = self.passed_over(&answer, part.length)?;
        self.append(answer, part, passed_over).await
    }
    /// How many bytes come once more; a failure when what comes can't be the blob.
    fn passed_over(&self, answer: &Response, have: u64) -> Result<u64, PullError> {
        let corrupt = |text| self.registry.corrupt(text);
        let begins = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(header::CONTENT_RANGE);
                let range = range.and_then(|value| range_begin(value.to_str().ok()?));
                range.unwrap_or(have)
            }
            _ => 0,
        };
        if begins > have {
            let text =
                format!("asked for a blob from byte {have} on, it sends it from byte {begins}");
            return Err(corrupt(text));
        }
        let wanted = self.blob.size - begins;
        match answer.content_length() {
            Some(length) if length != wanted && is_page(answer.headers()) => Err(corrupt(
                "it sends a web page instead of a layer; something between may want a log-in first"
                    .to_owned(),
            )),
            Some(length) if length != wanted => {
                let said = length.saturating_add(begins);
                let text = format!("a blob is {said} bytes long instead of {}", self.blob.size);
                Err(corrupt(text))
            }
            _ => Ok(have - begins),
        }
    }
    async fn append(
        &self,
        mut answer: Response,
        part: &mut Part<'_>,
        mut passed_over: u64,
    ) -> Result<(), Failure> {
        let watch = part.growing.watch();
        while part.length < self.blob.size {
            let chunk = answer.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.registry.broken(&error))? else {
                let early = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(self.registry.broken_stream(&early));
            };
            let skip = usize::try_from(passed_over)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            passed_over -= skip as u64;
            let chunk = chunk.get(skip..).unwrap_or_default();
            // What comes behind the end is left alone: the digest tells whether this was all.
            let left = usize::try_from(self.blob.size - part.length).unwrap_or(usize::MAX);
            let chunk = chunk.get(..left).unwrap_or(chunk);
            part.hasher.update(chunk);
            let written = part.file.write_all_at(chunk, part.length);
            written.map_err(|error| self.failed_write(error))?;
            part.length += chunk.len() as u64;
            part.growing.reached(part.length);
            if part.told.elapsed() >= EVENT_PAUSE {
                (self.tell)(part.length, "Downloading");
                part.told = Instant::now();
                if watch.has_enough() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
    fn failed_write(&self, source: io::Error) -> Failure {
        let path = self.store.ingest_path(&self.blob.digest);
        if source.kind() == io::ErrorKind::StorageFull {
            // Half a download must not be what keeps the disk full.
            let _ = std::fs::remove_file(&path);
        }
        let step = format!("write {}", path.display());
        let error = PullError::Store {
            image: self.registry.image(),
            source: StoreError::Io { step, source },
        };
        Failure {
            error,
            again: Again::No,
        }
    }
}

fn is_range_refused(failure: &Failure) -> bool {
    matches!(&failure.error, PullError::Registry { cause, .. } if cause.contains("status 416"))
}

/// Where a range begins: `bytes 10-19/20`.
fn range_begin(text: &str) -> Option<u64> {
    let range = text.trim().strip_prefix("bytes")?.trim_start();
    range.split_once('-')?.0.trim().parse().ok()
}

/// Hashes the first bytes of a file.
fn hashed(file: &File, length: u64) -> io::Result<Hasher> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; PART];
    let mut at = 0;
    while at < length {
        let most = usize::try_from(length - at).unwrap_or(usize::MAX).min(PART);
        let Some(into) = buffer.get_mut(..most) else {
            break;
        };
        let read = file.read_at(into, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(into.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(hasher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    #[test]
    fn ranges_say_where_they_begin() {
        assert_eq!(range_begin("bytes 10-19/20"), Some(10));
        assert_eq!(range_begin("bytes 0-19/*"), Some(0));
        for none in ["", "bytes */20", "lines 1-2/3", "bytes x-1/2"] {
            assert_eq!(range_begin(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_left_is_hashed_as_if_it_had_just_come() {
        let path = std::env::temp_dir().join(format!("hoist-left-{}", std::process::id()));
        let content = vec![7; PART * 2 + 5];
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let found = hashed(&file, content.len() as u64).unwrap();
        assert_eq!(found.finish(), Digest::of(&content));
        assert!(hashed(&file, content.len() as u64 + 1).is_err());
    }
}
