//! One registry's client: protocol, proxies, authorities, credentials, and its errors made ours.
//!
//! In: a reference and the environment. Out: answers, or [`PullError`]s. Wraps `oci-client`, whose types stay in
//! this module and in `pull`. What that library does not tell us (`Retry-After`) is made up for by waiting
//! longer each time.
//! Imports: `auth`, `trust`. Rules: OCI distribution spec 1.1; proxies as curl reads them, but never for
//! loopback addresses.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Once;
use std::time::Duration;

use base64::Engine as _;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference as OciReference, RegistryOperation};
use reqwest::header::HeaderValue;

use super::auth::{self, Credentials};
use super::trust;
use super::wire::{Line, Wire, words};
use super::{PullError, PullOptions};
use crate::base::env::Env;
use crate::image::digest::Digest;
use crate::image::reference::{DEFAULT_REGISTRY, Reference};

/// Longest time to make a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence within an answer.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
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
/// The host of `docker.io`.
const HUB: &str = "registry-1.docker.io";
const USER_AGENT: &str = concat!("hoist/", env!("CARGO_PKG_VERSION"));

/// Speaks to the registry of one image.
pub(super) struct Registry {
    client: Client,
    credentials: Credentials,
    reference: Reference,
    operation: RegistryOperation,
    wire: Wire,
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

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It would end the same.
    No,
    /// Once, soon: there was no connection at all.
    Once,
    /// After waits: it was busy, or the connection broke.
    Later,
    /// After the wait that the registry asks for.
    After(Duration),
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
        Self::to(reference, options, RegistryOperation::Pull)
    }
    /// As [`Registry::new`], to write there. Nothing is waited for with a limit of time: an answer comes only after
    /// the whole request, however long it is, so that the caller must watch.
    pub(super) fn for_push(
        reference: &Reference,
        options: &PullOptions,
    ) -> Result<Self, PullError> {
        Self::to(reference, options, RegistryOperation::Push)
    }
    fn to(
        reference: &Reference,
        options: &PullOptions,
        operation: RegistryOperation,
    ) -> Result<Self, PullError> {
        install_provider();
        let plain = is_plain(&reference.registry, &options.insecure);
        let exceptions = if plain {
            vec![reference.registry.clone()]
        } else {
            Vec::new()
        };
        let env = &options.env;
        let push = matches!(operation, RegistryOperation::Push);
        let seconds = env.non_empty("HOIST_REGISTRY_TIMEOUT");
        let seconds = seconds.and_then(|text| text.trim().parse::<u64>().ok());
        let silence = seconds
            .filter(|n| *n > 0)
            .map_or(SILENCE, Duration::from_secs);
        let tries = env.non_empty("HOIST_REGISTRY_RETRIES");
        let tries = tries.and_then(|text| text.trim().parse().ok());
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(exceptions),
            tls_certs_only: trust::authorities(env),
            connect_timeout: Some(CONNECT),
            read_timeout: (!push).then_some(silence),
            use_monolithic_push: push,
            user_agent: USER_AGENT,
            https_proxy: proxy(env, "HTTPS_PROXY"),
            http_proxy: proxy(env, "HTTP_PROXY"),
            no_proxy: Some(no_proxy(env)),
            ..ClientConfig::default()
        };
        let failed = |cause: String| PullError::Registry {
            image: reference.to_string(),
            registry: reference.registry.clone(),
            cause: format!("cannot set up its connections: {cause}"),
        };
        let client = Client::try_from(config).map_err(|error| failed(causes(&error)))?;
        let credentials = auth::find(&reference.registry, env);
        let line = Line {
            host: match reference.registry.as_str() {
                DEFAULT_REGISTRY => HUB,
                other => other,
            },
            repository: &reference.repository,
            plain,
            silence: (!push).then_some(silence),
        };
        Ok(Self {
            client,
            credentials,
            reference: reference.clone(),
            operation,
            wire: Wire::new(&line, env).map_err(failed)?,
            silence,
            tries: tries.unwrap_or(WAITS.len()),
        })
    }
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }
    /// Longest silence within an answer.
    pub(super) fn silence(&self) -> Duration {
        self.silence
    }
    pub(super) fn tries(&self) -> Tries {
        Tries {
            done: 0,
            most: self.tries,
            quick: true,
        }
    }
    /// Gets what the registry wants requests to be authorized with.
    pub(super) async fn log_in_now(&self) -> Result<(), Failure> {
        let (image, auth) = (self.oci(None), &self.credentials.auth);
        let got = self.client.auth(&image, auth, self.operation).await;
        let token = got.map_err(|error| self.failure(error))?;
        let text = match (token, auth) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, RegistryAuth::Basic(user, password)) => {
                let pair =
                    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
            (None, _) => None,
        };
        let value = text.and_then(|text| HeaderValue::from_str(&text).ok());
        self.wire.authorize(value.map(|mut value| {
            value.set_sensitive(true);
            value
        }));
        Ok(())
    }
    pub(super) fn unauthorized(&self) -> PullError {
        PullError::Unauthorized {
            image: self.image(),
            registry: self.registry(),
            credentials: self.credentials.remark.clone(),
        }
    }
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
    /// The name as the library wants it.
    pub(super) fn oci(&self, digest: Option<Digest>) -> OciReference {
        let (registry, repository) = (
            self.reference.registry.clone(),
            self.reference.repository.clone(),
        );
        match digest.or(self.reference.digest) {
            Some(digest) => OciReference::with_digest(registry, repository, digest.to_string()),
            None => {
                let tag = self
                    .reference
                    .tag
                    .clone()
                    .unwrap_or_else(|| "latest".to_owned());
                OciReference::with_tag(registry, repository, tag)
            }
        }
    }
    /// Makes the first connection and gets a token, if the registry wants one.
    pub(super) async fn log_in(&self) -> Result<(), PullError> {
        self.retry(|| self.log_in_now()).await
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
    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }
    /// What stands for the name in addresses: a digest, else the tag.
    pub(super) fn mark(&self, digest: Option<Digest>) -> String {
        let tag = || self.reference.tag.as_deref().unwrap_or("latest").to_owned();
        let digest = digest.or(self.reference.digest);
        digest.map_or_else(tag, |digest| digest.to_string())
    }
    pub(super) fn corrupt(&self, cause: String) -> PullError {
        PullError::Corrupt {
            image: self.image(),
            registry: self.registry(),
            cause,
        }
    }
    pub(super) fn image(&self) -> String {
        self.reference.to_string()
    }
    pub(super) fn registry(&self) -> String {
        self.reference.registry.clone()
    }
    pub(super) fn broken_stream(&self, error: &std::io::Error) -> Failure {
        let error = PullError::Unreachable {
            image: self.image(),
            registry: self.registry(),
            cause: format!("the connection broke: {}", causes(error)),
        };
        Failure {
            error,
            again: Again::Later,
        }
    }
    /// Makes one of the library's errors ours.
    pub(super) fn failure(&self, error: OciDistributionError) -> Failure {
        use OciDistributionError as Theirs;
        let (image, registry) = (self.image(), self.registry());
        let unauthorized = || self.unauthorized();
        let other = |cause| PullError::Registry {
            image: image.clone(),
            registry: registry.clone(),
            cause,
        };
        let busy = || PullError::TooManyRequests {
            image: image.clone(),
            registry: registry.clone(),
            wait: String::new(),
        };
        let (error, again) = match error {
            Theirs::ImageManifestNotFoundError(_) => {
                (PullError::NotFound(image.clone()), Again::No)
            }
            Theirs::AuthenticationFailure(text) if text.contains("TOOMANYREQUESTS") => {
                (busy(), Again::Later)
            }
            Theirs::UnauthorizedError { .. } | Theirs::AuthenticationFailure(_) => {
                (unauthorized(), Again::No)
            }
            Theirs::RegistryError { envelope, .. } => {
                match envelope.errors.first().map(|e| &e.code) {
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound
                        | OciErrorCode::BlobUnknown,
                    ) => (PullError::NotFound(image.clone()), Again::No),
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                        (unauthorized(), Again::No)
                    }
                    Some(OciErrorCode::Toomanyrequests) => (busy(), Again::Later),
                    _ => (other(envelope.to_string()), Again::No),
                }
            }
            Theirs::ServerError { code: 404, .. } => {
                (PullError::NotFound(image.clone()), Again::No)
            }
            Theirs::ServerError {
                code: 401 | 403, ..
            } => (unauthorized(), Again::No),
            Theirs::ServerError { code: 429, .. } => (busy(), Again::Later),
            Theirs::ServerError { code, message, .. } => {
                let again = if code >= 500 { Again::Later } else { Again::No };
                let text = format!("it answers with status {code}{}", words(&message));
                (other(text), again)
            }
            Theirs::RequestError(error) if error.status().is_some() => {
                let code = error.status().map_or(0, |status| status.as_u16());
                match code {
                    404 => (PullError::NotFound(image.clone()), Again::No),
                    401 | 403 => (unauthorized(), Again::No),
                    429 => (busy(), Again::Later),
                    _ => {
                        let again = if code >= 500 { Again::Later } else { Again::No };
                        (other(format!("it answers with status {code}")), again)
                    }
                }
            }
            Theirs::RequestError(error) => {
                let again = if error.is_connect() {
                    Again::Once
                } else {
                    Again::Later
                };
                let cause = causes(&error);
                (
                    PullError::Unreachable {
                        image,
                        registry,
                        cause,
                    },
                    again,
                )
            }
            Theirs::DigestError(error) => (self.corrupt(error.to_string()), Again::No),
            error => (other(error.to_string()), Again::No),
        };
        Failure { error, again }
    }
}

/// The innermost causes of an error, which say most; the outer ones repeat the address.
pub(in crate::image) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    let text = texts.last().cloned().unwrap_or_default();
    if texts.iter().any(|text| text == "dns error") {
        return format!("its name is not known to the name servers: {text}");
    }
    text
}

/// Chooses the cryptography once for the process; the library has none of its own.
pub(in crate::image) fn install_provider() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // Someone else's choice is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Whether a registry is spoken to without TLS.
fn is_plain(registry: &str, insecure: &[String]) -> bool {
    let host = match registry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((inside, _)) => inside,
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
        || insecure.iter().any(|said| said == registry || said == host)
}

pub(in crate::image) fn proxy(env: &Env, name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    // A web server sets HTTP_PROXY from a request's header, but hoist is never one.
    [lower.as_str(), name, "all_proxy", "ALL_PROXY"]
        .iter()
        .find_map(|name| env.non_empty(name))
        .map(str::to_owned)
}

pub(in crate::image) fn no_proxy(env: &Env) -> String {
    let said = env
        .non_empty("no_proxy")
        .or_else(|| env.non_empty("NO_PROXY"));
    let local = "localhost,127.0.0.0/8,::1";
    said.map_or_else(|| local.to_owned(), |said| format!("{said},{local}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_registries_are_spoken_to_without_tls() {
        for plain in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.3.2.1",
            "[::1]:5000",
        ] {
            assert!(is_plain(plain, &[]), "{plain}");
        }
        for secure in [
            "docker.io",
            "localhost.example",
            "10.0.0.1:5000",
            "127.example.com",
        ] {
            assert!(!is_plain(secure, &[]), "{secure}");
        }
        assert!(is_plain("r.example:5000", &["r.example:5000".to_owned()]));
        assert!(is_plain("r.example:5000", &["r.example".to_owned()]));
    }

    #[test]
    fn proxies_come_from_the_environment_and_never_serve_loopback() {
        let mut env = Env::default();
        assert_eq!(
            (proxy(&env, "HTTPS_PROXY"), no_proxy(&env).as_str()),
            (None, "localhost,127.0.0.0/8,::1")
        );
        env.vars
            .insert("ALL_PROXY".to_owned(), "http://a".to_owned());
        env.vars
            .insert("https_proxy".to_owned(), "http://b".to_owned());
        env.vars
            .insert("NO_PROXY".to_owned(), "x.example".to_owned());
        assert_eq!(proxy(&env, "HTTPS_PROXY").as_deref(), Some("http://b"));
        assert_eq!(proxy(&env, "HTTP_PROXY").as_deref(), Some("http://a"));
        assert_eq!(no_proxy(&env), "x.example,localhost,127.0.0.0/8,::1");
    }
}
