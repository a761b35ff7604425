//! What is fetched for a build: repositories, files and archives at addresses, archives on standard input.
//!
//! In: what a context, a named context or `ADD` names. Out: a directory of this machine with its files, and an id that
//! stands for them: a commit, a digest. Everything is kept below `<cache>/sources`, asked for again as the kind
//! allows (a commit never, an address with its validators), and got once a build. What comes is nobody's friend:
//! no link of it leads out, no name of it becomes a path of ours, and credentials are neither kept nor shown.
//! Imports: `base`, `sys::fs`, `image::{git, url, archive, tree, kept}`. Rules: BuildKit (`dockerui`, `source/git`,
//! `source/http`), measured 2026-11: a remote context has no `.dockerignore`; an address that is no archive is a
//! directory with the one file `context`, which is the Dockerfile.

mod context;
pub mod layout;
mod place;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use super::attest::Material;
use super::error::BuildError;
use super::step::StepError;
use super::{BuildRequest, SecretSource};
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::base::gitref::GitRef;
use crate::image::archive::{self, Compression, Hashing, SNIFF, sniff};
use crate::image::digest::Digest;
use crate::image::git::{self, Credentials, GitError, GitOptions};
use crate::image::kept::Kept;
use crate::image::layer::unpack::Limits;
use crate::image::tree::unpack::{self, Links, Owner, Target};
use crate::image::url::{self, Checksum, Progress, UrlError, Wanted};
use crate::sys::fs::{Root, is_kind};

pub(super) use context::prepare;
pub(super) use place::{AddFlags, added, without_credentials};
pub use place::{Place, PlaceError};

/// The name of the only file of a context that is a file. As BuildKit.
pub(super) const SINGLE: &str = "context";

/// Something that is fetched when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// Files of a repository.
    Git(Repository),
    /// The file at an address.
    File(Address),
    /// The files of the archive at an address; another file is there as `context`.
    Archive(Address),
}

/// A repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Where it is.
    pub reference: GitRef,
    /// Its `.git` is wanted too.
    pub keep_git_dir: bool,
}

/// An address of HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// As it is asked for.
    pub url: String,
    /// What the content must be.
    pub checksum: Option<Checksum>,
}

impl std::fmt::Debug for Address {
    /// Without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = url::parse(&self.url).map_or_else(|_| "?".to_owned(), |url| url::shown(&url));
        write!(f, "Address({shown})")
    }
}

impl std::fmt::Display for Remote {
    /// As users may see it: without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Git(repository) => write!(f, "{}", repository.reference),
            Self::File(address) | Self::Archive(address) => match url::parse(&address.url) {
                Ok(url) => f.write_str(&url::shown(&url)),
                Err(_) => f.write_str("an address"),
            },
        }
    }
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The directory.
    pub dir: PathBuf,
    /// Stands for its files.
    pub id: String,
    /// The only file, where a file was asked for.
    pub file: Option<String>,
}

/// Why something could not be fetched.
#[derive(Debug)]
pub enum SourceError {
    /// The caller ended it.
    Cancelled,
    /// It is not to be had.
    Failed {
        /// Why.
        message: String,
        /// What the user can do.
        hint: Option<String>,
    },
}

impl SourceError {
    fn new(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
        }
    }
}

impl From<SourceError> for StepError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Cancelled => Self::Build(BuildError::Cancelled),
            SourceError::Failed {
                message,
                hint: None,
            } => Self::new(message),
            SourceError::Failed {
                message,
                hint: Some(hint),
            } => Self::hinted(message, hint),
        }
    }
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => Self::Cancelled,
            _ => Self::new(error.to_string()),
        }
    }
}

/// What one build fetches. Two steps that want the same get the same.
#[derive(Debug)]
pub struct Sources<'a> {
    dir: PathBuf,
    env: &'a Env,
    secrets: &'a BTreeMap<String, SecretSource>,
    known: Mutex<BTreeMap<String, Arc<Mutex<Option<Fetched>>>>>,
    /// What was fetched, as provenance tells it.
    materials: Mutex<Vec<Material>>,
}

/// Told what happens, line by line.
pub type Tell<'a> = &'a dyn Fn(&str);

impl<'a> Sources<'a> {
    /// Sources of a build, kept below its cache.
    pub fn new(request: &'a BuildRequest, cache_dir: &Path) -> Self {
        Self {
            dir: cache_dir.join("sources"),
            env: &request.env,
            secrets: &request.secrets,
            known: Mutex::default(),
            materials: Mutex::default(),
        }
    }
    /// Brings something here, unless this build has it already.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn fetch(
        &self,
        remote: &Remote,
        cancel: &Cancel,
        tell: Tell<'_>,
    ) -> Result<Fetched, SourceError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(known.entry(key(remote)).or_default());
        drop(known);
        // Whoever wants the same waits here, and finds it.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetched) = &*slot {
            return Ok(fetched.clone());
        }
        let fetched = match remote {
            Remote::Git(repository) => self.git(repository, cancel, tell),
            Remote::File(address) => self.file(address, None, cancel, tell),
            Remote::Archive(address) => {
                let got = self.file(address, Some(SINGLE), cancel, tell)?;
                let file = File::open(got.dir.join(SINGLE))?;
                match self.unpack(&file, cancel)? {
                    Some(unpacked) => Ok(unpacked),
                    None => Ok(Fetched { file: None, ..got }),
                }
            }
        }?;
        let mut materials = self
            .materials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        materials.push(Material::remote(remote, &fetched.id));
        *slot = Some(fetched.clone());
        Ok(fetched)
    }
    /// What was fetched.
    pub(super) fn materials(&self) -> Vec<Material> {
        let materials = self
            .materials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        materials.clone()
    }
    fn git(
        &self,
        repository: &Repository,
        cancel: &Cancel,
        tell: Tell<'_>,
    ) -> Result<Fetched, SourceError> {
        let reference = &repository.reference;
        let whole = reference.subdir.is_empty();
        let options = GitOptions {
            env: self.env.clone(),
            cancel: cancel.clone(),
            submodules: reference.submodules.unwrap_or(true),
            // Of a directory alone there is no repository.
            keep_git_dir: repository.keep_git_dir && whole,
            credentials: self.git_credentials(&reference.url)?,
        };
        tell(&format!("fetching {reference}"));
        let failed = |error: GitError| match error {
            GitError::Cancelled => SourceError::Cancelled,
            GitError::Io(error) => error.into(),
            error => SourceError::Failed {
                message: format!("{reference}: {error}"),
                hint: error.hint(),
            },
        };
        let kept = Kept::new(self.dir.join("git"));
        let found = git::checkout(&kept, reference, &options).map_err(failed)?;
        tell(&format!("commit {}", found.commit));
        let dir = subdir(&found.dir, &reference.subdir)
            .map_err(|why| SourceError::new(format!("{reference}: {why}")))?;
        let id = format!(
            "git {} {} {} {}",
            found.commit, options.submodules, options.keep_git_dir, reference.subdir
        );
        Ok(Fetched {
            dir,
            id,
            file: None,
        })
    }
    fn file(
        &self,
        address: &Address,
        name: Option<&str>,
        cancel: &Cancel,
        tell: Tell<'_>,
    ) -> Result<Fetched, SourceError> {
        let failed = |error: UrlError| match error {
            UrlError::Cancelled => SourceError::Cancelled,
            UrlError::Io(error) => error.into(),
            error => SourceError::Failed {
                hint: error.hint(),
                message: error.to_string(),
            },
        };
        let url = url::parse(&address.url).map_err(failed)?;
        let authorization = self.authorization(url.host_str().unwrap_or_default())?;
        let wanted = Wanted {
            url: &url,
            name,
            checksum: address.checksum.as_ref(),
            authorization: authorization.as_deref(),
        };
        let means = url::Means {
            dir: &self.dir,
            env: self.env,
            cancel,
        };
        let shown = url::shown(&url);
        let told = |progress: Progress| match progress {
            Progress::Unchanged => tell(&format!("{shown} has not changed")),
            Progress::Bytes(done, None) => tell(&format!("{done} bytes of {shown}")),
            Progress::Bytes(done, Some(total)) => {
                tell(&format!("{done} of {total} bytes of {shown}"));
            }
        };
        let got = url::fetch(&wanted, &means, &told).map_err(failed)?;
        Ok(Fetched {
            dir: got.dir,
            id: format!("url {}", got.id),
            file: Some(got.name),
        })
    }
    /// The files of an archive, compressed or not; `None` if it is none.
    fn unpack(&self, file: &File, cancel: &Cancel) -> Result<Option<Fetched>, SourceError> {
        let rewound = || -> io::Result<&File> {
            let mut again = file;
            again.rewind()?;
            Ok(file)
        };
        let mut head = Vec::new();
        rewound()?.take(SNIFF as u64).read_to_end(&mut head)?;
        if sniff(&head) == Compression::Unknown {
            return Ok(None);
        }
        let digest = Digest::of_stream(rewound()?)?;
        let limits = Limits::for_archive(Some(file.metadata()?.len()));
        let wrong = |why: String| SourceError::new(format!("the archive can't be unpacked: {why}"));
        let fill = |new: &Path| -> Result<(), SourceError> {
            let root = Root::open(new).map_err(io::Error::from)?;
            let target = Target {
                at_once: None,
                top: &root,
                links: Links::Inside,
                owner: Owner::Caller,
            };
            let decoded = archive::decoder(rewound()?);
            let bounded = Hashing::new(Stoppable(decoded, cancel), limits.bytes);
            unpack::read(bounded, target).map_err(|fault| match cancel.is_cancelled() {
                true => SourceError::Cancelled,
                false => wrong(fault.to_string()),
            })
        };
        let dir = Kept::new(self.dir.join("archives")).make(&digest.hex(), cancel, fill)?;
        Ok(Some(Fetched {
            dir,
            id: format!("archive {digest}"),
            file: None,
        }))
    }
    /// A secret's text, if there is one of that name.
    fn secret(&self, id: &str) -> Result<Option<String>, SourceError> {
        let bytes = match self.secrets.get(id) {
            None => return Ok(None),
            Some(SecretSource::Bytes(bytes)) => bytes.clone(),
            Some(SecretSource::File(path)) => std::fs::read(path)
                .map_err(|error| SourceError::new(format!("secret {id}: {error}")))?,
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| SourceError::new(format!("secret {id} is no text")))?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
    /// Source: BuildKit, `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`, for one host or for all.
    fn git_credentials(&self, url: &str) -> Result<Option<Credentials>, SourceError> {
        let Some((_, rest)) = url
            .split_once("://")
            .filter(|(scheme, _)| scheme.starts_with("http"))
        else {
            return Ok(None);
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        for end in [format!(".{host}"), String::new()] {
            if let Some(header) = self.secret(&format!("GIT_AUTH_HEADER{end}"))? {
                return Ok(Some(Credentials::Header(header)));
            }
            if let Some(token) = self.secret(&format!("GIT_AUTH_TOKEN{end}"))? {
                return Ok(Some(Credentials::Token(token)));
            }
        }
        Ok(None)
    }
    /// Source: BuildKit, `HTTP_AUTH_HEADER_<host>` and `HTTP_AUTH_TOKEN_<host>`.
    fn authorization(&self, host: &str) -> Result<Option<String>, SourceError> {
        if let Some(header) = self.secret(&format!("HTTP_AUTH_HEADER_{host}"))? {
            return Ok(Some(header));
        }
        let token = self.secret(&format!("HTTP_AUTH_TOKEN_{host}"))?;
        Ok(token.map(|token| format!("Bearer {token}")))
    }
}

/// What tells one thing to fetch from another within a build.
fn key(remote: &Remote) -> String {
    match remote {
        Remote::Git(Repository {
            reference,
            keep_git_dir,
        }) => format!(
            "git {keep_git_dir} {:?} {:?} {} {reference}",
            reference.submodules, reference.checksum, reference.url
        ),
        Remote::File(Address { url, checksum }) => format!("file {checksum:?} {url}"),
        Remote::Archive(Address { url, checksum }) => format!("archive {checksum:?} {url}"),
    }
}

/// A directory inside a checkout. A link on the way could lead anywhere, so there may be none.
fn subdir(dir: &Path, inside: &str) -> Result<PathBuf, String> {
    if inside.is_empty() {
        return Ok(dir.to_owned());
    }
    let mut path = PathBuf::new();
    let root = Root::open(dir).map_err(|errno| errno.desc().to_owned())?;
    for part in Path::new(inside) {
        path.push(part);
        match root.lstat(&path) {
            Ok(stat) if is_kind(&stat, libc::S_IFDIR) => {}
            Ok(stat) if is_kind(&stat, libc::S_IFLNK) => {
                return Err(format!(
                    "`{}` is a symbolic link, which is not followed",
                    path.display()
                ));
            }
            Ok(_) => return Err(format!("`{}` is no directory", path.display())),
            Err(Errno::ENOENT) => {
                return Err(format!(
                    "the repository has no directory `{}`",
                    path.display()
                ));
            }
            Err(errno) => return Err(format!("`{}`: {}", path.display(), errno.desc())),
        }
    }
    Ok(dir.join(path))
}

/// Ends when the token is used.
struct Stoppable<'a, R>(R, &'a Cancel);

impl<R: io::Read> io::Read for Stoppable<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.1.is_cancelled() {
            return Err(io::Error::other("it was cancelled"));
        }
        self.0.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_a_repository_is_reached_by_directories_alone() {
        let dir = std::env::temp_dir().join(format!("hoist-subdir-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("a/file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("out")).unwrap();
        std::os::unix::fs::symlink("a", dir.join("in")).unwrap();
        assert_eq!(subdir(&dir, ""), Ok(dir.clone()));
        assert_eq!(subdir(&dir, "a/b"), Ok(dir.join("a/b")));
        for (path, why) in [
            ("out", "`out` is a symbolic link, which is not followed"),
            ("in/b", "`in` is a symbolic link, which is not followed"),
            ("a/file", "`a/file` is no directory"),
            ("a/none", "the repository has no directory `a/none`"),
        ] {
            assert_eq!(subdir(&dir, path), Err(why.to_owned()), "{path}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn credentials_are_taken_for_their_host_first_and_never_shown() {
        let mut request = BuildRequest::default();
        let mut give = |id: &str, text: &str| {
            let content = SecretSource::Bytes(text.as_bytes().to_vec());
            request.secrets.insert(id.to_owned(), content);
        };
        give("GIT_AUTH_TOKEN", "all");
        give("GIT_AUTH_TOKEN.h:8080", "one\n");
        give("HTTP_AUTH_TOKEN_h", "web");
        let sources = Sources::new(&request, Path::new("/c"));
        let git = |url: &str| sources.git_credentials(url).unwrap();
        assert_eq!(
            git("https://me@h:8080/r.git"),
            Some(Credentials::Token("one".into()))
        );
        assert_eq!(
            git("https://other/r.git"),
            Some(Credentials::Token("all".into()))
        );
        assert_eq!(git("ssh://git@h:8080/r.git"), None);
        assert_eq!(
            sources.authorization("h").unwrap().as_deref(),
            Some("Bearer web")
        );
        assert_eq!(sources.authorization("other").unwrap(), None);
        let address = Address {
            url: "https://me:pw@h/x".to_owned(),
            checksum: None,
        };
        assert_eq!(Remote::File(address.clone()).to_string(), "https://h/x");
        assert_eq!(format!("{address:?}"), "Address(https://h/x)");
    }
}
