//! Image names: `[registry/]repository[:tag][@digest]`.
//!
//! In: text as users write it. Out: a [`Reference`] with everything implied filled in. Knows no store and no
//! registry. Imports: `digest`.
//! Rules: distribution `reference` grammar; the first part is a registry when it has a `.` or a `:` or is
//! `localhost` (distribution `reference/normalize.go`); `docker.io` and `library/` are implied.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

/// The registry of names that say none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of names that say neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// Longest registry and repository together, in bytes. Source: distribution `NameTotalLengthMax`.
const LONGEST_NAME: usize = 255;
/// Longest tag in bytes.
const LONGEST_TAG: usize = 128;

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
        split(text).map_err(|why| ReferenceError {
            text: text.to_owned(),
            why,
        })
    }
    /// With everything said: `docker.io/library/busybox:latest`.
    pub fn canonical(&self) -> String {
        format!("{}/{}{}", self.registry, self.repository, self.suffix())
    }
    /// Without tag and digest, as users write it: `busybox`, `ghcr.io/a/b`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.repository.clone(),
        }
    }
    /// The same repository, by digest only.
    #[must_use]
    pub fn by_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }
    fn suffix(&self) -> String {
        let tag = self
            .tag
            .as_ref()
            .map(|tag| format!(":{tag}"))
            .unwrap_or_default();
        let digest = self
            .digest
            .map(|digest| format!("@{digest}"))
            .unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    /// As users write it: `busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.familiar_name(), self.suffix())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

fn split(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.trim() != text {
        return Err("it begins or ends with white space");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = Digest::parse(digest)
                .map_err(|_| "after `@` comes sha256: and 64 lower-case hex digits")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(checked_tag(tag)?)),
        _ => (rest, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => (checked_registry(first)?, path),
        _ => (DEFAULT_REGISTRY.to_owned(), name),
    };
    let registry = match registry.as_str() {
        "index.docker.io" => DEFAULT_REGISTRY.to_owned(),
        _ => registry,
    };
    check_path(path)?;
    let bare = registry == DEFAULT_REGISTRY && !path.contains('/');
    let repository = if bare {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if registry.len() + 1 + repository.len() > LONGEST_NAME {
        return Err("it is longer than 255 characters");
    }
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if bare && path.len() == 64 && path.bytes().all(hex) {
        return Err("a name of 64 hex digits would be taken for an image id");
    }
    let tag = match (tag, digest) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (tag, _) => tag,
    };
    Ok(Reference {
        registry,
        repository,
        tag,
        digest,
    })
}

fn is_registry(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn checked_registry(text: &str) -> Result<String, &'static str> {
    const WHY: &str = "the registry must be a host name or address, with `:port` if any";
    let port_ok = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']').ok_or(WHY)?;
            inner.parse::<std::net::Ipv6Addr>().map_err(|_| WHY)?;
            match after.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if after.is_empty() => (None, None),
                None => return Err(WHY),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let host_ok = host.is_none_or(|host| host.split('.').all(label));
    if host_ok && port.is_none_or(port_ok) {
        Ok(text.to_owned())
    } else {
        Err(WHY)
    }
}

fn checked_tag(tag: &str) -> Result<String, &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match tag.as_bytes() {
        [] => Err("the tag after `:` is empty"),
        [first, rest @ ..]
            if word(*first)
                && rest.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
                && tag.len() <= LONGEST_TAG =>
        {
            Ok(tag.to_owned())
        }
        _ => Err(
            "a tag is at most 128 letters, digits, `_`, `.`, `-`, not beginning with `.` or `-`",
        ),
    }
}

/// Parts separated by `/`; each of lower-case letters and digits, joined by `.`, `_`, `__` or hyphens.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it has no repository");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository must be lower case");
    }
    let part_ok = |part: &str| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let between = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-');
        let runs_ok = part
            .split(|c: char| c.is_ascii() && word(c as u8))
            .filter(|run| !run.is_empty())
            .all(between);
        let ends = |b: Option<&u8>| b.is_some_and(|b| word(*b));
        runs_ok && ends(part.as_bytes().first()) && ends(part.as_bytes().last())
    };
    if path.split('/').all(part_ok) {
        Ok(())
    } else {
        Err(
            "parts of the repository are lower-case letters and digits, joined by `.`, `_`, `__` or `-`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_is_implied_is_filled_in_and_left_out_again_when_shown() {
        for (text, canonical, shown) in [
            (
                "busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            (
                "busybox:1.36",
                "docker.io/library/busybox:1.36",
                "busybox:1.36",
            ),
            (
                "grafana/grafana",
                "docker.io/grafana/grafana:latest",
                "grafana/grafana:latest",
            ),
            (
                "docker.io/busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            ("index.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            (
                "localhost:5000/x:y",
                "localhost:5000/x:y",
                "localhost:5000/x:y",
            ),
            (
                "127.0.0.1:5000/x",
                "127.0.0.1:5000/x:latest",
                "127.0.0.1:5000/x:latest",
            ),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            (
                "ghcr.io/a/b/c",
                "ghcr.io/a/b/c:latest",
                "ghcr.io/a/b/c:latest",
            ),
            (
                "x/a--b__c.d_e",
                "docker.io/x/a--b__c.d_e:latest",
                "x/a--b__c.d_e:latest",
            ),
        ] {
            let name = Reference::parse(text).unwrap();
            assert_eq!(
                (name.canonical().as_str(), name.to_string().as_str()),
                (canonical, shown)
            );
            assert_eq!(Reference::parse(canonical).as_ref(), Ok(&name));
            assert_eq!(Reference::parse(shown).as_ref(), Ok(&name));
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_implied_tag_but_not_of_a_written_one() {
        let only = Reference::parse(&format!("busybox@sha256:{HEX}")).unwrap();
        assert_eq!(
            (only.tag.as_deref(), only.to_string()),
            (None, format!("busybox@sha256:{HEX}"))
        );
        let both = Reference::parse(&format!("busybox:1@sha256:{HEX}")).unwrap();
        assert_eq!(both.tag.as_deref(), Some("1"));
        assert_eq!(
            both.canonical(),
            format!("docker.io/library/busybox:1@sha256:{HEX}")
        );
    }

    #[test]
    fn what_breaks_the_grammar_is_refused_with_the_rule() {
        for (text, why) in [
            ("", "it is empty"),
            (" a", "it begins or ends with white space"),
            ("Busybox", "the repository must be lower case"),
            ("a:", "the tag after `:` is empty"),
            (
                "a@sha256:00",
                "after `@` comes sha256: and 64 lower-case hex digits",
            ),
            (
                HEX,
                "a name of 64 hex digits would be taken for an image id",
            ),
            ("localhost:5000/", "it has no repository"),
            (
                "-x.y/a",
                "the registry must be a host name or address, with `:port` if any",
            ),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().why, why, "{text}");
        }
        for text in [
            "a//b", "/a", "a/", "a..b", "a___b", "-a", "a_", "a:.x", "a b", "ä", "a:b:c", "x/../y",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
