//! Image names: `[registry/]repository[:tag][@digest]`.
//!
//! Imports: `digest`. Source: distribution `reference` grammar; `docker.io` and `library/` are implied.

use std::fmt;

use super::digest::Digest;

/// Why a text is no image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name `{text}`: {why}")]
pub struct ReferenceError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A name of an image, with registry and repository filled in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/busybox`.
    pub repository: String,
    /// `latest` when neither tag nor digest is written.
    pub tag: Option<String>,
    /// A digest the content must have.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses a name.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Err(ReferenceError { text: text.to_owned(), why: "" })
    }
    /// With everything said: `docker.io/library/busybox:latest`.
    pub fn canonical(&self) -> String {
        String::new()
    }
}

impl fmt::Display for Reference {
    /// As users write it: `busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}
