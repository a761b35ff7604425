//! Bodies of a registry's answers, and what its headers say beside them.
//!
//! In: answers. Out: bytes, or [`Failure`]s that say whether another try may end better. Knows no manifest and no layer.
//! Imports: `client`, `source`. Rules: RFC 9110, 10.2.3 (Retry-After).

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{self, HeaderMap};

use super::PullError;
use super::client::{Again, Failure, Registry};
pub(super) use super::source::At;
use super::words::causes;

impl Registry {
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
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

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
}
