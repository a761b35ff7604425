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
/// Longest repository in bytes. Source: distribution/reference, `RepositoryNameTotalLengthMax`.
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
            let digest = Digest::parse(digest).map_err(|_| wrong_digest(digest))?;
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
    if repository.len() > LONGEST_NAME {
        return Err("its repository is longer than 255 characters");
    }
    if text.len() == 64 && text.bytes().all(is_hex) {
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

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

/// Why a text is no digest that can be used.
fn wrong_digest(text: &str) -> &'static str {
    let others = [("sha384:", 96), ("sha512:", 128)];
    let other = others.iter().any(|(kind, length)| {
        text.strip_prefix(kind)
            .is_some_and(|hex| hex.len() == *length && hex.bytes().all(is_hex))
    });
    match other {
        true => "only digests of the kind sha256 are supported",
        false => "after `@` comes sha256: and 64 lower-case hex digits",
    }
}

fn is_registry(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// What a registry's name must be.
const REGISTRY: &str = "the registry must be a host name or address, with `:port` if any";

fn checked_registry(text: &str) -> Result<String, &'static str> {
    const WHY: &str = REGISTRY;
    let port_ok = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']').ok_or(WHY)?;
            inner.parse::<std::net::Ipv6Addr>().map_err(|_| WHY)?;
            if inner.contains('.') {
                return Err(WHY);
            }
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

    /// What Docker 28 answered to `docker tag` (measured 2026-11), and by which name the image was known then.
    const ACCEPTED: [(&str, &str); 54] = [
        ("busybox", "busybox:latest"),
        ("busybox:1.36", "busybox:1.36"),
        ("a/b", "a/b:latest"),
        ("a/b/c:1", "a/b/c:1"),
        ("docker.io/busybox", "busybox:latest"),
        ("docker.io/library/x", "x:latest"),
        ("docker.io/a/b/c", "a/b/c:latest"),
        ("index.docker.io/busybox:1", "busybox:1"),
        ("index.docker.io/a/b", "a/b:latest"),
        (
            "registry-1.docker.io/a/b",
            "registry-1.docker.io/a/b:latest",
        ),
        ("library/x", "x:latest"),
        ("library/a/b", "library/a/b:latest"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y"),
        ("LOCALHOST/x", "LOCALHOST/x:latest"),
        ("Localhost:5000/x", "Localhost:5000/x:latest"),
        ("127.0.0.1/x", "127.0.0.1/x:latest"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
        ("[::1]/x", "[::1]/x:latest"),
        ("[::1]:5000/x:1", "[::1]:5000/x:1"),
        ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest"),
        ("a.b/c", "a.b/c:latest"),
        ("a:5000/b", "a:5000/b:latest"),
        ("a:99999/b", "a:99999/b:latest"),
        ("x.y", "x.y:latest"),
        ("x.y:1", "x.y:1"),
        ("X/a", "X/a:latest"),
        ("Abc/def", "Abc/def:latest"),
        ("aBc/def:1", "aBc/def:1"),
        ("foo--bar/x", "foo--bar/x:latest"),
        ("foo_bar", "foo_bar:latest"),
        ("foo__bar", "foo__bar:latest"),
        ("foo-bar", "foo-bar:latest"),
        ("foo---bar", "foo---bar:latest"),
        ("foo.bar", "foo.bar:latest"),
        ("a:_x", "a:_x"),
        ("a:x_", "a:x_"),
        ("a:1.2-3_4", "a:1.2-3_4"),
        (
            "a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "a:t@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "a:t@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85:latest",
        ),
        (
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550:latest",
        ),
        (
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:t",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:t",
        ),
        (
            "x/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "x/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:latest",
        ),
        (
            "docker.io/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:latest",
        ),
        (
            "localhost/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "localhost/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:latest",
        ),
        ("scratch", "scratch:latest"),
        ("0", "0:latest"),
        ("0/1", "0/1:latest"),
        ("00.0/x", "00.0/x:latest"),
        ("1.2.3.4.5/x", "1.2.3.4.5/x:latest"),
        ("a.b:0/x", "a.b:0/x:latest"),
        ("xn--bcher-kva.example/x", "xn--bcher-kva.example/x:latest"),
    ];
    const REFUSED: [&str; 70] = [
        "[fe80::1%eth0]/x",
        "[::g]/x",
        "[1.2.3.4]/x",
        "::1/x",
        "a:b/c",
        "a:/b",
        "a/B",
        "A",
        "Ä/x",
        "a.b/C",
        "-a.b/x",
        "a-.b/x",
        "a..b/x",
        ".a/x",
        "a./x",
        "a.b./x",
        "foo___bar",
        "foo..bar",
        "foo._bar",
        "foo-_bar",
        "foo-.bar",
        "_foo",
        "foo_",
        "foo.",
        "-foo",
        "foo-",
        ".foo",
        "a//b",
        "/a",
        "a/",
        "//",
        "/",
        "",
        "  ",
        " a",
        "a ",
        "a b",
        "a\tb",
        "a:",
        "a:b:c",
        "a:.x",
        "a:-x",
        "a@",
        "a@sha256:",
        "a@sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        "a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
        "a@sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "a@md5:e3b0c44298fc1c149afbf4c8996fb924",
        "a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:t",
        "a@b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "a:t@",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        "x/../y",
        "x/./y",
        "..",
        "../x",
        "http://a.b/c",
        "https://a.b/c",
        "docker://x",
        "a\\b",
        "a;b",
        "a*b",
        "a%2fb",
        "~a",
        "@",
        "a,b",
        "a=b",
        "a+b",
        "a.b+c/x",
    ];

    #[test]
    fn names_are_accepted_refused_and_shown_as_docker_does() {
        for (text, shown) in ACCEPTED {
            let parsed = Reference::parse(text).map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), Ok(shown), "{text}");
        }
        for text in REFUSED {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        // Lengths: a tag, a repository without its registry.
        let ok = |text: String| Reference::parse(&text).is_ok();
        assert!(ok(format!("a:{}", "x".repeat(128))) && !ok(format!("a:{}", "x".repeat(129))));
        assert!(ok("a".repeat(247)) && !ok("a".repeat(248)));
        assert!(ok(format!("a.b/{}", "c".repeat(255))) && !ok(format!("a.b/{}", "c".repeat(256))));
    }

    #[test]
    fn what_docker_takes_and_hoist_does_not_is_refused_with_the_reason() {
        for (text, why) in [
            // Docker takes these for names without any registry, which can't be pulled.
            ("a_b.c/x".to_owned(), REGISTRY),
            (
                format!("a@sha512:{HEX}{HEX}"),
                "only digests of the kind sha256 are supported",
            ),
            (
                format!("a@sha384:{HEX}{}", &HEX[..32]),
                "only digests of the kind sha256 are supported",
            ),
        ] {
            assert_eq!(Reference::parse(&text).unwrap_err().why, why, "{text}");
        }
    }
}
