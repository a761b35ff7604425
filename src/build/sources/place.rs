//! A context as users write it → what it is.
//!
//! In: text of the command line or of a compose file. Out: a [`Place`]. It looks at no file but whether a directory is
//! there. Imports: `base`, `image::reference`. Rules: buildx, `--build-context` and the context argument; compose
//! specification, `context` and `additional_contexts`.

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::{Address, Remote, Repository};
use crate::base::gitref::GitRef;
use crate::image::reference::Reference;
use crate::image::url::{self, Checksum};

/// Where files or an image are.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory of the host, absolute; nobody has looked whether it is there.
    Dir(PathBuf),
    /// Something that is fetched.
    Remote(Remote),
    /// An image by name: `docker-image://`.
    Image(Reference),
    /// An image of an OCI layout: `oci-layout://`.
    Layout(Layout),
    /// A stage: `target:`.
    Stage(String),
}

/// What is wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlaceError(String);

impl Place {
    /// Parses a place; relative directories begin at `base`.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn parse(text: &str, base: &Path) -> Result<Self, PlaceError> {
        let wrong = |error: &dyn std::fmt::Display| PlaceError(error.to_string());
        if text.is_empty() {
            return Err(PlaceError("it is empty".to_owned()));
        }
        if let Some(name) = text.strip_prefix("docker-image://") {
            return Reference::parse(name)
                .map(Self::Image)
                .map_err(|e| wrong(&e));
        }
        if let Some(rest) = text.strip_prefix("oci-layout://") {
            return Layout::parse(rest, base)
                .map(Self::Layout)
                .map_err(PlaceError);
        }
        if let Some(stage) = text.strip_prefix("target:") {
            return Ok(Self::Stage(stage.to_lowercase()));
        }
        if let Some(reference) = GitRef::parse(text).map_err(|e| wrong(&e))? {
            let keep_git_dir = reference.keep_git_dir == Some(true);
            return Ok(Self::Remote(Remote::Git(Repository {
                reference,
                keep_git_dir,
            })));
        }
        if is_http(text) {
            url::parse(text).map_err(|e| wrong(&e))?;
            return Ok(Self::Remote(Remote::Archive(Address {
                url: text.to_owned(),
                checksum: None,
            })));
        }
        match text.split_once("://") {
            Some(("file", path)) => Ok(Self::Dir(base.join(path))),
            Some((scheme, _))
                if scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
            {
                let known = "a directory, a git repository, http://, https://, docker-image://, oci-layout:// and target:";
                Err(PlaceError(format!(
                    "`{scheme}://` is unknown; a context is one of {known}"
                )))
            }
            _ => Ok(Self::Dir(base.join(text))),
        }
    }
}

/// Whether a text is an address of HTTP.
fn is_http(text: &str) -> bool {
    let begins = |scheme: &str| {
        let head = text.get(..scheme.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    begins("http://") || begins("https://")
}

/// A text in which addresses have lost what lets one in: progress and what is remembered of a build show it to others.
pub(in crate::build) fn without_credentials(text: &str) -> String {
    let clean = |word: &str| {
        let (scheme, rest) = word.split_once("://")?;
        let end = rest.find(['/', '"', ',', '\'']).unwrap_or(rest.len());
        let at = rest.get(..end)?.rfind('@')?;
        let ssh = scheme.ends_with("ssh");
        (!ssh).then(|| format!("{scheme}://{}", &rest[at + 1..]))
    };
    let words = text
        .split(' ')
        .map(|word| clean(word).unwrap_or_else(|| word.to_owned()));
    words.collect::<Vec<_>>().join(" ")
}

/// What flags of `ADD` say of an address.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::build) struct AddFlags<'a> {
    /// `--checksum`
    pub(in crate::build) checksum: Option<&'a str>,
    /// `--keep-git-dir`
    pub(in crate::build) keep_git_dir: Option<bool>,
}

/// What `ADD` fetches; `None` for a path of the context. A repository is told from a file by its address alone, and
/// what looks like a path is one: `github.com/a/b`.
pub(in crate::build) fn added(text: &str, flags: &AddFlags<'_>) -> Result<Option<Remote>, String> {
    let local = text.starts_with("github.com/");
    let reference = if local {
        None
    } else {
        GitRef::parse(text).map_err(|e| e.to_string())?
    };
    if let Some(mut reference) = reference {
        if let Some(sum) = flags.checksum {
            let hex = sum.bytes().all(|b| b.is_ascii_hexdigit());
            if !hex || !(7..=64).contains(&sum.len()) {
                return Err(format!(
                    "invalid checksum `{sum}`: write 7 to 64 hex digits of the commit"
                ));
            }
            reference.checksum = Some(sum.to_ascii_lowercase());
        }
        let keep_git_dir = flags.keep_git_dir.or(reference.keep_git_dir) == Some(true);
        return Ok(Some(Remote::Git(Repository {
            reference,
            keep_git_dir,
        })));
    }
    if !is_http(text) {
        return Ok(None);
    }
    url::parse(text).map_err(|error| error.to_string())?;
    let checksum = flags.checksum.map(Checksum::parse).transpose();
    Ok(Some(Remote::File(Address {
        url: text.to_owned(),
        checksum: checksum.map_err(|error| error.to_string())?,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> String {
        match Place::parse(text, Path::new("/base")) {
            Ok(Place::Dir(dir)) => format!("dir {}", dir.display()),
            Ok(Place::Remote(Remote::Git(repository))) => format!("git {}", repository.reference),
            Ok(Place::Remote(remote)) => format!("url {remote}"),
            Ok(Place::Image(name)) => format!("image {name}"),
            Ok(Place::Layout(layout)) => format!("layout {layout}"),
            Ok(Place::Stage(name)) => format!("stage {name}"),
            Err(error) => format!("error {error}"),
        }
    }

    #[test]
    fn every_kind_of_context_is_known_by_how_it_is_written() {
        for (text, expected) in [
            ("dir", "dir /base/dir"),
            (".", "dir /base/."),
            ("/abs", "dir /abs"),
            ("./github.com/a/b", "dir /base/./github.com/a/b"),
            ("github.com/a/b", "git https://github.com/a/b"),
            ("https://h/a.git#m:s", "git https://h/a.git#m:s"),
            ("git@h:a.git", "git git@h:a.git"),
            ("ssh://git@h/a", "git ssh://git@h/a"),
            ("https://h/a.tar.gz", "url https://h/a.tar.gz"),
            ("HTTP://u:p@h/Dockerfile", "url http://h/Dockerfile"),
            ("docker-image://alpine:3", "image alpine:3"),
            ("oci-layout:///l:v1", "layout /l:v1"),
            ("target:Base", "stage base"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        let add = |text: &str| {
            added(text, &AddFlags::default())
                .unwrap()
                .map(|remote| remote.to_string())
        };
        assert_eq!(
            add("https://github.com/a/b/archive/v1.tgz").as_deref(),
            Some("https://github.com/a/b/archive/v1.tgz")
        );
        assert_eq!(
            add("https://u:p@h/b.git#v1").as_deref(),
            Some("https://h/b.git#v1")
        );
        for path in ["github.com/a/b", "a.tar", "ftp://h/a", "http:/a"] {
            assert_eq!(add(path), None, "{path}");
        }
        assert_eq!(
            without_credentials(
                "ADD --x http://u:p@h/a https://t@h:1/b#c@d ssh://git@h/r [\"http://u@h/a\"] git@h:r /x@y/"
            ),
            "ADD --x http://h/a https://h:1/b#c@d ssh://git@h/r [\"http://h/a\"] git@h:r /x@y/"
        );
        let sum = |sum| AddFlags {
            checksum: Some(sum),
            keep_git_dir: None,
        };
        assert!(added("http://h/a", &sum("sha256:00")).is_err());
        assert!(added("git://h/a", &sum("xyz")).is_err());
        for wrong in [
            "",
            "ftp://h/a",
            "http://",
            "docker-image://A B",
            "s3://b/k",
            "git://-x/y",
        ] {
            assert!(kind(wrong).starts_with("error"), "{wrong}: {}", kind(wrong));
        }
    }
}
