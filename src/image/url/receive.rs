//! One request and its answer: connections, redirects, limits; the body goes into a file without a name.
//!
//! In: an address and what is remembered of it. Out: a body with what the server said of it, or that nothing has
//! changed. A server that stalls, lies about the length or never ends is given up on. Imports: `registry`'s
//! proxies and authorities.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode};

use super::{Means, Progress, Record, UrlError, Wanted, shown};
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::image::digest::{Digest, Hasher};
use crate::image::registry::web;
use crate::sys::fs;

/// Longest time to make a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest silence within an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// Redirects that are followed. Source: Go `net/http`, `defaultCheckRedirect`.
const REDIRECTS: usize = 10;
/// Waits between tries where the connection broke or the server was busy.
const WAITS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1500)];
/// Shortest time between two reports.
const PAUSE: Duration = Duration::from_millis(500);
/// Time between looks at the token.
const LOOK: Duration = Duration::from_millis(50);
/// Part of the free space that a download may take: the rest is for what is made of it.
const SHARE: u64 = 2;
const USER_AGENT: &str = concat!("hoist/", env!("CARGO_PKG_VERSION"));

/// What came.
pub(super) enum Answer {
    Unchanged,
    Body(Body),
}

/// A content, and what the server said of it.
pub(super) struct Body {
    /// Without a name: it is gone when this process is.
    pub(super) file: File,
    pub(super) digest: Digest,
    /// Seconds since 1970.
    pub(super) modified: Option<i64>,
    pub(super) last_modified: Option<String>,
    pub(super) etag: Option<String>,
    /// The name in `Content-Disposition`.
    pub(super) disposition: Option<String>,
}

/// A failure, and whether another try may end better.
struct Failed(UrlError, bool);

impl<E: Into<UrlError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into(), false)
    }
}

/// Asks for a file, again where that may help.
pub(super) fn ask(
    wanted: &Wanted<'_>,
    means: &Means<'_>,
    known: Option<&Record>,
    tell: &dyn Fn(Progress),
) -> Result<Answer, UrlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(async {
        let work = std::pin::pin!(tries(wanted, means, known, tell));
        let stop = std::pin::pin!(cancelled(means.cancel));
        match futures_util::future::select(work, stop).await {
            futures_util::future::Either::Left((done, _)) => done,
            futures_util::future::Either::Right(_) => Err(UrlError::Cancelled),
        }
    });
    // A name lookup that still waits for its answer must not hold up the error.
    runtime.shutdown_background();
    answer
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn tries(
    wanted: &Wanted<'_>,
    means: &Means<'_>,
    known: Option<&Record>,
    tell: &dyn Fn(Progress),
) -> Result<Answer, UrlError> {
    let client = client(wanted, means.env)?;
    let mut waits = WAITS.iter();
    loop {
        match one(&client, wanted, means, known, tell).await {
            Ok(answer) => return Ok(answer),
            Err(Failed(error, again)) => match waits.next().filter(|_| again) {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(error),
            },
        }
    }
}

fn client(wanted: &Wanted<'_>, env: &Env) -> Result<Client, UrlError> {
    let unusable = |error: reqwest::Error| UrlError::Unreachable {
        url: shown(wanted.url),
        cause: format!("cannot set up its connections: {}", web::causes(&error)),
    };
    web::install_provider();
    let proxies = web::Proxies::read(env).map_err(|cause| UrlError::Unreachable {
        url: shown(wanted.url),
        cause,
    })?;
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .referer(false)
        .redirect(Policy::limited(REDIRECTS));
    if wanted.url.scheme() == "https"
        || env
            .vars
            .keys()
            .any(|name| name.to_ascii_lowercase().ends_with("_proxy"))
    {
        let all = web::authorities(env);
        let all = all.iter().filter_map(|der| Certificate::from_der(der).ok());
        builder = builder.tls_certs_only(all);
    }
    proxies.set(builder).build().map_err(unusable)
}

async fn one(
    client: &Client,
    wanted: &Wanted<'_>,
    means: &Means<'_>,
    known: Option<&Record>,
    tell: &dyn Fn(Progress),
) -> Result<Answer, Failed> {
    // The content counts as it is, not as a server would pack it.
    let mut request = client
        .get(wanted.url.clone())
        .header(header::ACCEPT_ENCODING, "identity");
    if let Some(text) = wanted.authorization {
        let mut value = HeaderValue::from_str(text).map_err(|_| UrlError::Unreachable {
            url: shown(wanted.url),
            cause: "the given authorization can't be sent in a header".to_owned(),
        })?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    if let Some(record) = known {
        if let Some(etag) = &record.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        } else if let Some(time) = &record.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, time);
        }
    }
    let response = request
        .send()
        .await
        .map_err(|error| failed(&error, wanted))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(Answer::Unchanged),
        other => {
            let status = other.as_u16();
            let url = shown(wanted.url);
            let again = matches!(status, 429 | 502..=504);
            return Err(Failed(UrlError::Status { url, status }, again));
        }
    }
    body(response, wanted, means, tell).await.map(Answer::Body)
}

async fn body(
    mut response: Response,
    wanted: &Wanted<'_>,
    means: &Means<'_>,
    tell: &dyn Fn(Progress),
) -> Result<Body, Failed> {
    fs::make_dirs(means.dir, 0o700)?;
    let mut file = fs::unnamed(means.dir)?;
    let limit = free(means)? / SHARE;
    let too_large = || UrlError::TooLarge {
        url: shown(wanted.url),
        limit,
    };
    let total = response.content_length();
    if total.is_some_and(|total| total > limit) {
        return Err(too_large().into());
    }
    let headers = response.headers().clone();
    let (mut hasher, mut done) = (Hasher::default(), 0u64);
    let mut told = Instant::now();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failed(&error, wanted))?
    {
        done += chunk.len() as u64;
        if done > limit {
            return Err(too_large().into());
        }
        hasher.update(&chunk);
        file.write_all(&chunk)?;
        if told.elapsed() >= PAUSE {
            tell(Progress::Bytes(done, total));
            told = Instant::now();
        }
    }
    tell(Progress::Bytes(done, total));
    let text = |name: header::HeaderName| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned()).filter(|value| !value.is_empty())
    };
    let last_modified = text(header::LAST_MODIFIED);
    let modified = last_modified.as_deref().and_then(date);
    Ok(Body {
        file,
        digest: hasher.finish(),
        modified,
        // A file that was changed within the second it was sent would go unseen.
        last_modified: last_modified.filter(|_| settled(&headers, modified)),
        etag: text(header::ETAG),
        disposition: text(header::CONTENT_DISPOSITION).and_then(|text| file_name(&text)),
    })
}

/// Bytes that are free where downloads are kept.
fn free(means: &Means<'_>) -> Result<u64, io::Error> {
    let found = nix::sys::statvfs::statvfs(means.dir)?;
    Ok(found
        .blocks_available()
        .saturating_mul(found.fragment_size()))
}

/// The time of a header in seconds since 1970.
fn date(text: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(parsed.timestamp().as_second())
}

/// Whether a time is old enough, by the server's own clock, to tell versions apart. Source: RFC 9110, 8.8.2.2.
fn settled(headers: &HeaderMap, modified: Option<i64>) -> bool {
    let now = headers
        .get(header::DATE)
        .and_then(|value| date(value.to_str().ok()?));
    matches!((now, modified), (Some(now), Some(modified)) if now - modified >= 60)
}

/// The name in `attachment; filename="a.txt"`, its last part only.
fn file_name(text: &str) -> Option<String> {
    let parameters = text.split(';').skip(1);
    let found = parameters.filter_map(|part| part.trim().split_once('='));
    let (_, value) = found
        .into_iter()
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("filename"))?;
    let value = value.trim().trim_matches('"');
    value.rsplit(['/', '\\']).next().map(str::to_owned)
}

/// Makes one of the library's errors ours; its own words hold the address with all that is in it.
fn failed(error: &reqwest::Error, wanted: &Wanted<'_>) -> Failed {
    let url = shown(wanted.url);
    let cause = web::causes(error);
    if error.is_redirect() {
        return Failed(UrlError::Redirect { url, why: cause }, false);
    }
    if error.is_builder() {
        let why = "to an address that is not of HTTP".to_owned();
        return Failed(UrlError::Redirect { url, why }, false);
    }
    let cause = if error.is_timeout() && !error.is_connect() {
        format!("the server was silent for {} s", SILENCE.as_secs())
    } else if error.is_body() || error.is_decode() {
        format!("the connection broke: {cause}")
    } else {
        cause
    };
    let again = !error.is_timeout();
    Failed(UrlError::Unreachable { url, cause }, again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_server_are_their_last_part() {
        let name = |text: &str| file_name(text);
        assert_eq!(
            name("attachment; filename=\"a b.txt\"").as_deref(),
            Some("a b.txt")
        );
        assert_eq!(
            name("inline; x=y; FILENAME=../../etc/passwd").as_deref(),
            Some("passwd")
        );
        assert_eq!(name("attachment"), None);
    }

    #[test]
    fn times_of_headers_are_read_and_must_be_old_enough() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("yesterday"), None);
        let mut headers = HeaderMap::new();
        assert!(!settled(&headers, Some(784_111_777)));
        headers.insert(
            header::DATE,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:40 GMT"),
        );
        assert!(!settled(&headers, Some(784_111_777)));
        assert!(settled(&headers, Some(784_111_000)));
    }
}
