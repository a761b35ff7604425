//! An image of an OCI layout, as `oci-layout://directory[:tag][@digest]` names it.
//!
//! In: text. Out: a [`Layout`]. It reads nothing: `image::store` does. Imports: `image::{digest, reference}`.
//! Rules: buildx, `--build-context`, "Source image from OCI layout directory".

use std::fmt;
use std::path::{Path, PathBuf};

use crate::image::digest::Digest;

/// Where the image is, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// Its tag; `latest`, or the only image, when neither is said.
    pub tag: Option<String>,
    /// The digest of its manifest or index.
    pub digest: Option<Digest>,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dir.display())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl Layout {
    /// Parses what follows `oci-layout://`; a relative directory begins at `base`.
    pub(super) fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = Digest::parse(digest).map_err(|_| {
                    format!("`{digest}` is no digest; write sha256: and 64 hex digits")
                })?;
                (rest, Some(digest))
            }
        };
        let (dir, tag) = match rest.rsplit_once(':') {
            Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag)),
            _ => (rest, None),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.chars().all(word)) {
            return Err(format!("`{}` is no tag", tag.unwrap_or_default()));
        }
        if dir.is_empty() {
            return Err("the layout has no directory".to_owned());
        }
        Ok(Self {
            dir: base.join(dir),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_a_directory_with_a_tag_or_a_digest() {
        let digest = Digest::of(b"x");
        let parse = |text: &str| Layout::parse(text, Path::new("/b"));
        let parts = |text: &str| {
            let found = parse(text).unwrap();
            (found.dir.display().to_string(), found.tag, found.digest)
        };
        assert_eq!(parts("/a/b"), ("/a/b".to_owned(), None, None));
        assert_eq!(
            parts("d:v1"),
            ("/b/d".to_owned(), Some("v1".to_owned()), None)
        );
        assert_eq!(parts("/x:1/d").0, "/x:1/d");
        assert_eq!(
            parts(&format!("d:v1@{digest}")),
            ("/b/d".to_owned(), Some("v1".to_owned()), Some(digest))
        );
        for wrong in ["", ":v1", "d:", "d@sha256:12", "d@../../etc", "d:a b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
