//! One image's registry: asked at its mirrors and its own place in turn, again where that may help, its errors ours.
//!
//! In: a reference and the environment. Out: answers, or [`PullError`]s. A mirror that fails once is not asked again.
//! Imports: `config`, `source`. Rules: OCI distribution spec 1.1; containers-registries.conf(5), "mirror".

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header;
use reqwest::{Method, RequestBuilder, Response, Url};

use super::config::Settings;
pub(super) use super::source::Again;
use super::source::{Ask, At, Fault, Kind, Means, Source};
use super::words::causes;
use super::{PullError, PullOptions};
use crate::image::digest::Digest;
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
/// Longest wait that a registry may ask for; whoever wants a longer one is given up on.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Longest silence within an answer.
const SILENCE: Duration = Duration::from_secs(60);

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
    /// Longest silence within an answer.
    silence: Duration,
    /// How often is tried again what may end better.
    tries: usize,
}

/// An error and whether another try may end better.
pub(super) struct Failure {
    pub(super) error: PullError,
    pub(super) again: Again,
}

impl From<PullError> for Failure {
    /// One that comes again each time.
    fn from(error: PullError) -> Self {
        Self {
            error,
            again: Again::No,
        }
    }
}

/// The waits of something that is tried again.
pub(super) struct Tries {
    done: usize,
    most: usize,
    quick: bool,
}

impl Tries {
    /// How long to wait before another try; `None` when it is to end.
    pub(super) fn wait(&mut self, again: Again) -> Option<Duration> {
        if again == Again::No {
            return None;
        }
        if again == Again::Once {
            return std::mem::take(&mut self.quick).then_some(QUICK);
        }
        let usual = WAITS.get(self.done).copied();
        let usual = usual.filter(|_| self.done < self.most)?;
        self.done += 1;
        match again {
            Again::After(asked) if asked > LONGEST_WAIT => None,
            Again::After(asked) => Some(asked.max(QUICK)),
            _ => Some(usual),
        }
    }
    /// Begins to count anew: it went on meanwhile.
    pub(super) fn forget(&mut self) {
        (self.done, self.quick) = (0, true);
    }
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
        let number = |name| {
            env.non_empty(name)
                .and_then(|text| text.trim().parse().ok())
        };
        let seconds = number("HOIST_REGISTRY_TIMEOUT").filter(|seconds| *seconds > 0);
        let silence = seconds.map_or(SILENCE, Duration::from_secs);
        let tries = number("HOIST_REGISTRY_RETRIES").and_then(|tries| tries.try_into().ok());
        let limit = (!push).then_some(silence);
        let means = Arc::new(Means::new(env, cancel, settings.helpers.clone(), limit));
        let sources = places.map_err(failed)?.into_iter();
        Ok(Self {
            sources: sources
                .map(|place| Source::new(place, Arc::clone(&means)))
                .collect(),
            at: AtomicUsize::new(0),
            tried: Mutex::default(),
            reference: reference.clone(),
            actions: if push { "pull,push" } else { "pull" },
            silence,
            tries: tries.unwrap_or(WAITS.len()),
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
                from: mounted_from(&at),
            };
            source.send(&ask, shape).await
        })
        .await
    }
    /// Where an answer says that it goes on. An address of the registry itself keeps its way of being spoken to: some
    /// behind a proxy don't know that it is TLS.
    pub(super) fn location(&self, response: &Response) -> Result<Url, PullError> {
        let said = response.headers().get(header::LOCATION);
        let joined = said.and_then(|said| response.url().join(said.to_str().ok()?).ok());
        let joined = joined.filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(mut url) = joined else {
            return Err(self.other("it does not say where an upload goes on".to_owned()));
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
        let mut tries = self.tries();
        loop {
            let failure = match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let Some(wait) = tries.wait(failure.again) else {
                return Err(failure.error);
            };
            tokio::time::sleep(wait).await;
        }
    }
    pub(super) fn tries(&self) -> Tries {
        Tries {
            done: 0,
            most: self.tries,
            quick: true,
        }
    }
    /// Longest silence within an answer.
    pub(super) fn silence(&self) -> Duration {
        self.silence
    }
    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }
    /// What stands for the name in addresses: a digest, else the tag.
    pub(super) fn mark(&self, digest: Option<Digest>) -> String {
        let tag = || self.reference.tag.as_deref().unwrap_or("latest").to_owned();
        let digest = digest.or(self.reference.digest);
        digest.map_or_else(tag, |digest| digest.to_string())
    }
    /// Leaves a mirror whose content is not what it should be; whether there is another place to ask.
    pub(super) fn leave_mirror(&self, why: &str) -> bool {
        self.pass(self.at.load(Ordering::Relaxed), why)
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
    pub(super) fn registry(&self) -> String {
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
            Kind::Busy(wait) => PullError::TooManyRequests {
                image,
                registry,
                wait: wait.map_or_else(String::new, |wait| {
                    format!(" (it asks to wait {} s)", wait.as_secs())
                }),
            },
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

/// The other repository of an upload that is to be a mount: reading it must be allowed as well.
fn mounted_from<'a>(at: &At<'a>) -> Option<&'a str> {
    let At::Path(path) = at else { return None };
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("from="))
}
