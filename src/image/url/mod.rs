//! Files at HTTP addresses: downloaded once, kept by their content, asked for again with what the server said of them.
//!
//! In: an address, the environment. Out: a directory that holds the one file, named by all that counts of it, or a
//! typed error without credentials. What is kept of an address is its validator (`ETag`, else `Last-Modified`): the
//! server then says that nothing has changed, and nothing is sent. With a checksum that is known the server is not
//! even asked. Redirects lead to HTTP alone, and take no credentials to another host.
//! Imports: `base`, `kept`, `registry`'s proxies and authorities. Rules: RFC 9110 (validators, redirects), RFC 6266
//! (`Content-Disposition`); BuildKit's HTTP source where they are silent: mode 0600, the time is `Last-Modified`
//! or 1970.

mod checksum;
mod receive;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::digest::{Digest, Hasher};
use super::kept::Kept;
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::sys::fs::{self, Durability};
pub use checksum::{Checksum, ChecksumError};
use receive::{Answer, Body};

/// What a file is called whose address and server give it no name. As BuildKit.
const UNNAMED: &str = "download";

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// No address of HTTP.
    #[error("`{text}` is no HTTP address: {why}")]
    Address {
        /// Without credentials.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// The server has something else to say.
    #[error("{url}: the server answers with status {status}")]
    Status {
        /// The address.
        url: String,
        /// Three digits.
        status: u16,
    },
    /// A redirect that is not followed.
    #[error("{url}: the server leads elsewhere: {why}")]
    Redirect {
        /// The address.
        url: String,
        /// Where to, and why not.
        why: String,
    },
    /// No connection, or one that broke.
    #[error("{url}: {cause}")]
    Unreachable {
        /// The address.
        url: String,
        /// What failed.
        cause: String,
    },
    /// Larger than what fits here.
    #[error("{url}: more than {limit} bytes came, and no more can be kept here")]
    TooLarge {
        /// The address.
        url: String,
        /// What fits.
        limit: u64,
    },
    /// Another content than the checksum says.
    #[error("{url}: its checksum is {found}, not {wanted}")]
    Checksum {
        /// The address.
        url: String,
        /// What it is.
        found: String,
        /// What was promised.
        wanted: String,
    },
    /// The caller's token was used.
    #[error("it was cancelled")]
    Cancelled,
    /// The system's.
    #[error("it can't be kept: {0}")]
    Io(#[from] io::Error),
}

impl UrlError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { .. } => "check the address, the network and the proxy settings".to_owned(),
            Self::Status { status: 401 | 403, .. } => {
                "give a token as the secret HTTP_AUTH_TOKEN_<host>, or a whole header as HTTP_AUTH_HEADER_<host>"
                    .to_owned()
            }
            Self::Status { status: 404 | 410, .. } => "check the address".to_owned(),
            Self::Checksum { found, .. } => {
                format!("if the new content is what is wanted, write --checksum={found}")
            }
            _ => return None,
        })
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The address.
    pub url: &'a Url,
    /// The file's name; from the address or the server when `None`.
    pub name: Option<&'a str>,
    /// What its content must be.
    pub checksum: Option<&'a Checksum>,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
}

/// What is needed beside it.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The directory that downloads are kept in.
    pub dir: &'a Path,
    /// The process environment: proxies, CA bundle.
    pub env: &'a Env,
    /// Ends the work when used.
    pub cancel: &'a Cancel,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bytes so far, and in all if the server has said so.
    Bytes(u64, Option<u64>),
    /// The server says that what is here is still right.
    Unchanged,
}

/// A file on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The directory that holds it alone.
    pub dir: PathBuf,
    /// Its name there.
    pub name: String,
    /// Stands for name, time and content.
    pub id: Digest,
    /// Its content's digest.
    pub digest: Digest,
}

/// What is remembered of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    name: String,
    digest: String,
    /// Seconds since 1970.
    modified: i64,
    etag: Option<String>,
    last_modified: Option<String>,
    /// The content by other algorithms, where they were asked for.
    #[serde(default)]
    sums: Vec<String>,
}

impl Record {
    fn digest(&self) -> Option<Digest> {
        Digest::parse(&self.digest).ok()
    }
    fn id(&self, digest: &Digest) -> Digest {
        let mut hasher = Hasher::default();
        let text = format!("url 1\0{}\0{}\0{digest}", self.name, self.modified);
        hasher.update(text.as_bytes());
        hasher.finish()
    }
    /// Whether the content is the promised one.
    fn has(&self, sum: &Checksum) -> bool {
        let text = sum.to_string();
        self.digest == text || self.sums.contains(&text)
    }
}

/// Parses an address: `http` or `https`, with a host.
///
/// # Errors
/// [`UrlError::Address`].
pub fn parse(text: &str) -> Result<Url, UrlError> {
    let wrong = |why: &str| UrlError::Address {
        text: text.chars().filter(|c| !c.is_control()).take(200).collect(),
        why: why.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        "http" | "https" => Err(wrong("it has no host")),
        _ => Err(wrong("it begins with neither http:// nor https://")),
    }
}

/// The address as it may be shown and kept: without user, password and fragment.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // An address that can't have them has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url.to_string()
}

/// The file name an address ends in, if any.
pub fn name_of(url: &Url) -> Option<String> {
    let path = decoded(url.path())?;
    usable(path.trim_end_matches('/').rsplit('/').next()?)
}

/// A text as a file's name, if it can be one.
fn usable(name: &str) -> Option<String> {
    let good = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']) && name.len() <= 255;
    good.then(|| name.to_owned())
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let pair = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Brings a file here, or finds out that it is here already.
///
/// # Errors
/// [`UrlError`].
pub fn fetch(
    wanted: &Wanted<'_>,
    means: &Means<'_>,
    tell: &dyn Fn(Progress),
) -> Result<Got, UrlError> {
    let files = Kept::new(means.dir.join("files"));
    let place = record_place(means.dir, wanted);
    let known = read_record(&place).filter(|record| kept(&files, record).is_some());
    if let (Some(record), Some(sum)) = (&known, wanted.checksum)
        && record.has(sum)
        && let Some(got) = kept(&files, record)
    {
        return Ok(got);
    }
    let answer = receive::ask(wanted, means, known.as_ref(), tell)?;
    let body = match (answer, &known) {
        (Answer::Body(body), _) => body,
        (Answer::Unchanged, Some(record)) => {
            tell(Progress::Unchanged);
            let got = kept(&files, record).ok_or_else(|| unkept(wanted.url))?;
            // It has no checksum, or another: the content that is here was not promised.
            return match wanted.checksum.filter(|sum| !record.has(sum)) {
                None => Ok(got),
                Some(sum) => check_kept(&got, record, sum, wanted.url, &place),
            };
        }
        (Answer::Unchanged, None) => return Err(unkept(wanted.url)),
    };
    if let Some(sum) = wanted.checksum {
        check(sum, &body.file, wanted.url)?;
    }
    let record = record_of(wanted, &body);
    let got = keep(&files, &record, &body, means)?;
    write_record(&place, &record)?;
    Ok(got)
}

fn unkept(url: &Url) -> UrlError {
    UrlError::Unreachable {
        url: shown(url),
        cause: "the server says that nothing has changed, but was not asked that".to_owned(),
    }
}

fn check(sum: &Checksum, file: &File, url: &Url) -> Result<(), UrlError> {
    let found = sum.like(file)?;
    match found == *sum {
        true => Ok(()),
        false => Err(UrlError::Checksum {
            url: shown(url),
            found: found.to_string(),
            wanted: sum.to_string(),
        }),
    }
}

/// Checks what is here against a checksum of another algorithm, and remembers that it is right.
fn check_kept(
    got: &Got,
    record: &Record,
    sum: &Checksum,
    url: &Url,
    place: &Path,
) -> Result<Got, UrlError> {
    check(sum, &File::open(got.dir.join(&got.name))?, url)?;
    let mut record = record.clone();
    record.sums.push(sum.to_string());
    write_record(place, &record)?;
    Ok(got.clone())
}

/// Where the record of an address lies: its name is a digest, whatever the address says.
fn record_place(dir: &Path, wanted: &Wanted<'_>) -> PathBuf {
    let mut hasher = Hasher::default();
    // Who is let in by other credentials may be shown another file.
    let parts = [
        wanted.url.as_str(),
        wanted.name.unwrap_or_default(),
        wanted.authorization.unwrap_or_default(),
    ];
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    dir.join("addresses").join(hasher.finish().hex())
}

fn read_record(place: &Path) -> Option<Record> {
    let record: Record = serde_json::from_slice(&std::fs::read(place).ok()?).ok()?;
    (record.version == 1 && usable(&record.name).is_some()).then_some(record)
}

fn write_record(place: &Path, record: &Record) -> Result<(), UrlError> {
    if let Some(dir) = place.parent() {
        fs::make_dirs(dir, 0o700)?;
    }
    let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
    Ok(fs::write_atomic(place, &bytes, 0o600, Durability::Renamed)?)
}

fn kept(files: &Kept, record: &Record) -> Option<Got> {
    let digest = record.digest()?;
    let id = record.id(&digest);
    let dir = files.get(&id.hex())?;
    Some(Got {
        dir,
        name: record.name.clone(),
        id,
        digest,
    })
}

fn record_of(wanted: &Wanted<'_>, body: &Body) -> Record {
    let given = wanted.name.map(str::to_owned);
    let name = given.or_else(|| name_of(wanted.url));
    let name = name.or_else(|| body.disposition.as_deref().and_then(usable));
    let other = wanted.checksum.map(Checksum::to_string);
    let digest = body.digest.to_string();
    Record {
        version: 1,
        name: name.unwrap_or_else(|| UNNAMED.to_owned()),
        modified: body.modified.unwrap_or(0),
        etag: body.etag.clone(),
        last_modified: body.last_modified.clone(),
        sums: other.into_iter().filter(|sum| *sum != digest).collect(),
        digest,
    }
}

/// Makes the directory of a download.
fn keep(files: &Kept, record: &Record, body: &Body, means: &Means<'_>) -> Result<Got, UrlError> {
    let id = record.id(&body.digest);
    let fill = |new: &Path| -> io::Result<()> {
        let mut from = &body.file;
        from.rewind()?;
        let to = File::create_new(new.join(&record.name))?;
        fs::copy_content(from, &to)?;
        to.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let time = time_of(record.modified);
        to.set_times(
            std::fs::FileTimes::new()
                .set_modified(time)
                .set_accessed(time),
        )
    };
    let made = files.make(&id.hex(), means.cancel, fill);
    let dir = made.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => UrlError::Cancelled,
        _ => UrlError::Io(error),
    })?;
    Ok(Got {
        dir,
        name: record.name.clone(),
        id,
        digest: body.digest,
    })
}

fn time_of(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
