//! One exchange with a registry: a request with what authorizes it, redirects, and the answer or why there is none.
//!
//! In: requests. Out: answers of status 2xx, or [`Failure`]s that say whether another try may end better and when. What
//! authorizes a request goes to the registry's own origin only: not to where it redirects, not to where it says an
//! upload goes on. Knows no manifest and no layer.
//! Imports: `client`. Rules: OCI distribution spec 1.1, "Error Codes"; RFC 9110, 10.2.3 (Retry-After), 15.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, NoProxy, Proxy, Request, Response, StatusCode, Url};

use super::client::{Again, Failure, Registry, causes, no_proxy, proxy};
use super::{PullError, trust};
use crate::base::env::Env;

/// Longest time to make a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Redirects that are followed. Source: Go `net/http`, `defaultCheckRedirect`.
const REDIRECTS: usize = 10;
/// Most bytes of a refusal that are read for its words.
const LONGEST_REFUSAL: usize = 64 * 1024;
/// Most characters of a registry's own words that are shown.
const LONGEST_WORDS: usize = 200;
const USER_AGENT: &str = concat!("hoist/", env!("CARGO_PKG_VERSION"));

/// How one repository of a registry is spoken to.
pub(super) struct Wire {
    http: Client,
    /// `https://registry.example/v2/library/busybox/`.
    base: Url,
    /// What authorizes requests, once the registry has asked for it.
    authorization: Mutex<Option<HeaderValue>>,
}

/// What a [`Wire`] is made with.
pub(super) struct Line<'a> {
    /// The registry's host and port.
    pub(super) host: &'a str,
    pub(super) repository: &'a str,
    /// Whether TLS is not used.
    pub(super) plain: bool,
    /// Longest silence within an answer; without one, whoever asks watches.
    pub(super) silence: Option<Duration>,
}

impl Wire {
    /// # Errors
    /// Why there can't be one, as a clause.
    pub(super) fn new(line: &Line<'_>, env: &Env) -> Result<Self, String> {
        let scheme = if line.plain { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}/", line.host, line.repository);
        let base = Url::parse(&text).map_err(|error| format!("{text} is no address: {error}"))?;
        let unusable = |error: reqwest::Error| causes(&error);
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .referer(false)
            .no_proxy()
            .redirect(Policy::limited(REDIRECTS));
        if let Some(silence) = line.silence {
            builder = builder.read_timeout(silence);
        }
        // Also when TLS is not used here: the registry may redirect to where it is.
        let all = trust::authorities(env);
        let all = all
            .iter()
            .filter_map(|one| Certificate::from_der(&one.data).ok());
        builder = builder.tls_certs_only(all);
        let exempt = NoProxy::from_string(&no_proxy(env));
        for (name, kind) in [
            ("HTTP_PROXY", Proxy::http as fn(String) -> _),
            ("HTTPS_PROXY", Proxy::https),
        ] {
            if let Some(said) = proxy(env, name) {
                let set = kind(said).map_err(unusable)?;
                builder = builder.proxy(set.no_proxy(exempt.clone()));
            }
        }
        Ok(Self {
            http: builder.build().map_err(unusable)?,
            base,
            authorization: Mutex::default(),
        })
    }
    pub(super) fn authorize(&self, value: Option<HeaderValue>) {
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = value;
    }
    fn authorization(&self) -> Option<HeaderValue> {
        let held = self.authorization.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// The address of something in the repository: `manifests/latest`.
    pub(super) fn address(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{rest}", self.base.path()));
        url
    }
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }
}

impl Registry {
    /// Sends what `make` builds, once more with a new authorization if the registry asks for one, and gives the answer
    /// if its status is 2xx.
    pub(super) async fn exchange(
        &self,
        make: impl Fn(&Client) -> reqwest::Result<Request>,
    ) -> Result<Response, Failure> {
        let answer = self.any_answer(make).await?;
        self.success(answer).await
    }
    /// As [`Registry::exchange`], with an answer of any status.
    pub(super) async fn any_answer(
        &self,
        make: impl Fn(&Client) -> reqwest::Result<Request>,
    ) -> Result<Response, Failure> {
        let wire = self.wire();
        let mut asked = false;
        loop {
            let broken = |error: reqwest::Error| self.broken(&error);
            let mut request = make(&wire.http).map_err(broken)?;
            let own = wire.is_own(request.url());
            if own && let Some(value) = wire.authorization() {
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            let answer = wire.http.execute(request).await.map_err(broken)?;
            let refused = answer.status() == StatusCode::UNAUTHORIZED;
            if !refused || !own || asked || !wire.is_own(answer.url()) {
                return Ok(answer);
            }
            // The token may have ended, or there was none yet.
            asked = true;
            self.log_in_now().await?;
        }
    }
    /// Makes a refusal a failure.
    pub(super) async fn success(&self, answer: Response) -> Result<Response, Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let after = retry_after(answer.headers());
        let body = beginning(answer).await;
        Err(self.refusal(status, after, &body))
    }
    fn refusal(&self, status: StatusCode, after: Option<Duration>, body: &str) -> Failure {
        let (image, registry) = (self.image(), self.registry());
        let later = after.map_or(Again::Later, Again::After);
        let said = words(body);
        let (error, again) = match status.as_u16() {
            404 => (PullError::NotFound(image), Again::No),
            401 | 403 => (self.unauthorized(), Again::No),
            429 => {
                let wait = after.map_or_else(String::new, |wait| {
                    format!(" (it asks to wait {} s)", wait.as_secs())
                });
                let error = PullError::TooManyRequests {
                    image,
                    registry,
                    wait,
                };
                (error, later)
            }
            code => {
                let again = match code {
                    408 | 500 | 502..=504 => later,
                    _ => Again::No,
                };
                let cause = format!("it answers with status {code}{said}");
                let error = PullError::Registry {
                    image,
                    registry,
                    cause,
                };
                (error, again)
            }
        };
        Failure { error, again }
    }
    /// Makes an error of a connection ours.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Failure {
        let cause = causes(error);
        let other = |cause: String| Failure {
            error: PullError::Registry {
                image: self.image(),
                registry: self.registry(),
                cause,
            },
            again: Again::No,
        };
        if error.is_redirect() {
            return other(format!("it redirects without end: {cause}"));
        }
        if error.is_builder() {
            return other(format!(
                "it leads to an address that can't be asked: {cause}"
            ));
        }
        let (cause, again) = match error {
            error if error.is_connect() => (cause, Again::Once),
            error if error.is_timeout() => {
                let seconds = self.silence().as_secs();
                (format!("it was silent for {seconds} s"), Again::Later)
            }
            _ => (format!("the connection broke: {cause}"), Again::Later),
        };
        let error = PullError::Unreachable {
            image: self.image(),
            registry: self.registry(),
            cause,
        };
        Failure { error, again }
    }
    /// Reads an answer of at most `limit` bytes.
    pub(super) async fn small_body(
        &self,
        mut answer: Response,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, Failure> {
        let too_long = || Failure {
            error: self.corrupt(format!("{what} is longer than {limit} bytes")),
            again: Again::No,
        };
        if answer.content_length().is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        if is_page(answer.headers()) {
            let text = format!(
                "it sends a web page instead of {what}; whatever answers there is no registry, or something between \
                 wants a log-in first"
            );
            return Err(Failure {
                error: self.corrupt(text),
                again: Again::No,
            });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Err(too_long());
            }
        }
        Ok(bytes)
    }
}

/// Whether a body is HTML, which nothing of a registry is.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| {
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("text/html")
    })
}

/// How long the registry asks to wait, in seconds or until a time by its own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let said = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = said.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| {
        let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(parsed.timestamp().as_second())
    };
    let wait = date(said)?.checked_sub(date(text(header::DATE)?)?)?;
    Some(Duration::from_secs(wait.try_into().unwrap_or(0)))
}

/// The first bytes of an answer, as text; what can't be read is left out.
async fn beginning(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST_REFUSAL {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a registry says in the body of a refusal, if it speaks as the specification asks: `: CODE: message`.
pub(super) fn words(body: &str) -> String {
    let Ok(envelope) = serde_json::from_str::<serde_json::Value>(body) else {
        return String::new();
    };
    let said = |key: &str| {
        let text = envelope.pointer(&format!("/errors/0/{key}"))?.as_str()?;
        let shown = text.chars().filter(|c| !c.is_control()).take(LONGEST_WORDS);
        Some(format!(": {}", shown.collect::<String>()))
    };
    [said("code"), said("message")]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        let pair = |pair: &(header::HeaderName, &'static str)| {
            (pair.0.clone(), HeaderValue::from_static(pair.1))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_wait_is_said_in_seconds_or_as_a_time() {
        let after = |pairs: &[_]| retry_after(&headers(pairs)).map(|wait| wait.as_secs());
        assert_eq!(after(&[(header::RETRY_AFTER, "120")]), Some(120));
        let date = (header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        let at = |text| (header::RETRY_AFTER, text);
        assert_eq!(
            after(&[date.clone(), at("Sun, 06 Nov 1994 08:50:07 GMT")]),
            Some(30)
        );
        assert_eq!(after(&[date, at("Sun, 06 Nov 1994 08:00:00 GMT")]), Some(0));
        for none in ["soon", "-1", "1.5"] {
            assert_eq!(after(&[at(none)]), None, "{none}");
        }
        assert_eq!(after(&[]), None);
    }

    #[test]
    fn addresses_keep_to_the_repository_and_other_origins_are_known() {
        super::super::client::install_provider();
        let line = Line {
            host: "r.example:5000",
            repository: "a/b",
            plain: true,
            silence: None,
        };
        let wire = Wire::new(&line, &Env::default()).unwrap();
        let blob = wire.address("blobs/sha256:00");
        assert_eq!(
            blob.as_str(),
            "http://r.example:5000/v2/a/b/blobs/sha256:00"
        );
        assert!(wire.is_own(&blob));
        for other in ["http://r.example/v2/x", "https://r.example:5000/x"] {
            assert!(!wire.is_own(&Url::parse(other).unwrap()), "{other}");
        }
    }
}
