//! References to what lies in a git repository: `https://host/repo.git#ref:directory` and the forms beside it.
//!
//! In: text as users write it. Out: a [`GitRef`], or that the text is none. It opens no connection and looks at no
//! file. Imports: nothing of ours.
//! Rules: BuildKit, `dfgitutil.ParseGitRef` (which addresses are taken for repositories, the fragment, the query);
//! what could be taken for an option, or leads out of the repository, is refused besides (GHSA-4vrq-3vrq-g6gg,
//! GHSA-hw3h-2gp9-cxpv).

use std::fmt;

/// Protocols that addresses may begin with.
const SCHEMES: [&str; 4] = ["http", "https", "ssh", "git"];

/// A repository, and what of it is meant.
#[derive(Clone, PartialEq, Eq)]
pub struct GitRef {
    /// The address for git, without password: `https://host/repo.git`, `git@host:repo.git`.
    pub url: String,
    /// The password that the address held.
    pub password: Option<String>,
    /// Branch, tag or commit; the default branch when `None`.
    pub reference: Option<String>,
    /// A directory or file in the repository, relative, without `.` and `..`; empty is its root.
    pub subdir: String,
    /// How the commit must begin: hex digits.
    pub checksum: Option<String>,
    /// Whether files of submodules are wanted, if the address says so.
    pub submodules: Option<bool>,
    /// Whether `.git` is wanted, if the address says so.
    pub keep_git_dir: Option<bool>,
}

impl fmt::Debug for GitRef {
    /// As [`fmt::Display`]: the password stays out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitRef({self})")
    }
}

impl fmt::Display for GitRef {
    /// The reference without credentials: `https://host/repo.git#main:sub`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown_url())?;
        match (self.reference.as_deref(), self.subdir.as_str()) {
            (None, "") => Ok(()),
            (reference, "") => write!(f, "#{}", reference.unwrap_or_default()),
            (reference, subdir) => write!(f, "#{}:{subdir}", reference.unwrap_or_default()),
        }
    }
}

/// Why a reference to a repository is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitRefError {
    /// Host, path or reference could be taken for an option of a program.
    #[error("{what} `{text}` begins with `-`, which git could take for an option")]
    Option {
        /// `the address`, `the host`, `the path`, `the reference`.
        what: &'static str,
        /// It.
        text: String,
    },
    /// No name of a branch, tag or commit.
    #[error("`{0}` can't be the name of a branch, tag or commit")]
    Name(String),
    /// The directory is absolute or leads out of the repository.
    #[error("the directory `{0}` leads out of the repository; write a path relative to its root")]
    Outside(String),
    /// An address without a host.
    #[error("the address has no host")]
    NoHost,
    /// `checksum` is no beginning of a commit's name.
    #[error("the checksum `{0}` is no commit; write 7 to 64 hex digits")]
    Checksum(String),
}

impl GitRef {
    /// The address as the user may see it. What stands before the host of an HTTP address may be a token.
    pub fn shown_url(&self) -> String {
        match self.url.split_once("://") {
            Some((scheme, rest)) if scheme.starts_with("http") => {
                let end = rest.find('/').unwrap_or(rest.len());
                let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
                format!("{scheme}://{}", &rest[host..])
            }
            _ => self.url.clone(),
        }
    }
    /// Whether the address holds what must not be shown.
    pub fn has_credentials(&self) -> bool {
        self.password.is_some() || self.shown_url() != self.url
    }
    /// Parses a reference; `None` when the text is not taken for one and thus names a local file.
    ///
    /// # Errors
    /// [`GitRefError`] when it is one, but must not be used.
    pub fn parse(text: &str) -> Result<Option<Self>, GitRefError> {
        if text.starts_with("./") || text.starts_with("../") {
            return Ok(None);
        }
        let parts = if text.starts_with("github.com/") {
            address("https", text, true)
        } else if let Some((scheme, rest)) = scheme(text) {
            address(&scheme, rest, false)
        } else {
            short(text)
        };
        parts.map(Parts::into_ref).transpose()
    }
}

/// A reference taken apart, not yet judged.
struct Parts {
    url: String,
    host: String,
    path: String,
    password: Option<String>,
    reference: String,
    subdir: String,
    checksum: Option<String>,
    submodules: Option<bool>,
    keep_git_dir: Option<bool>,
}

impl Parts {
    fn into_ref(self) -> Result<GitRef, GitRefError> {
        if self.host.is_empty() {
            return Err(GitRefError::NoHost);
        }
        let path = self.path.trim_start_matches('/');
        for (what, text) in [
            ("the address", self.url.as_str()),
            ("the host", self.host.as_str()),
            ("the path", path),
            ("the reference", &self.reference),
        ] {
            if text.starts_with('-') {
                let text = text.to_owned();
                return Err(GitRefError::Option { what, text });
            }
        }
        let odd = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
        if self.reference.contains(odd) || self.reference.contains("..") {
            return Err(GitRefError::Name(self.reference));
        }
        if let Some(sum) = &self.checksum {
            let hex = sum.bytes().all(|b| b.is_ascii_hexdigit());
            if !hex || !(7..=64).contains(&sum.len()) {
                return Err(GitRefError::Checksum(sum.clone()));
            }
        }
        Ok(GitRef {
            url: self.url,
            password: self.password,
            reference: Some(self.reference).filter(|name| !name.is_empty()),
            subdir: inner_path(&self.subdir)?,
            checksum: self.checksum.map(|sum| sum.to_ascii_lowercase()),
            submodules: self.submodules,
            keep_git_dir: self.keep_git_dir,
        })
    }
}

/// A path inside the repository with `.` and `..` worked out.
fn inner_path(text: &str) -> Result<String, GitRefError> {
    let outside = || GitRefError::Outside(text.to_owned());
    if text.starts_with('/') || text.contains('\0') {
        return Err(outside());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(outside)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The protocol, in lower case, and what follows `://`; `None` without one of the known.
fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    SCHEMES.contains(&scheme.as_str()).then_some((scheme, rest))
}

/// Takes `host/path?query#fragment` apart. Source: Go, `net/url`, whose rules decide what is an address.
///
/// An address of HTTP ends in `.git`, unless it is `known` to name a repository.
fn address(scheme: &str, rest: &str, known: bool) -> Option<Parts> {
    if rest.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let good_user = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !user.is_none_or(|user| user.chars().all(good_user)) || !is_host(host) {
        return None;
    }
    let decoded = decode(path)?;
    if scheme.starts_with("http") && !decoded.ends_with(".git") && !known {
        return None;
    }
    let (name, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((name, "")) => (Some(name), None),
        Some((name, password)) => (Some(name), Some(decode(password)?)),
        None => (None, None),
    };
    let name = name.filter(|name| !name.is_empty());
    let name = name.map(|name| format!("{name}@")).unwrap_or_default();
    let path: String = path.chars().map(encode).collect();
    let fragment = decode(fragment)?;
    let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let mut parts = Parts {
        url: format!("{scheme}://{name}{host}{path}"),
        host: host.to_owned(),
        path: decoded,
        password,
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        checksum: None,
        submodules: None,
        keep_git_dir: None,
    };
    parts.take_query(query)?;
    Some(parts)
}

/// Whether a text may stand as host with an optional port.
fn is_host(text: &str) -> bool {
    let port = match text.rsplit_once(']') {
        Some((_, after)) => after,
        None => text.rfind(':').map_or("", |at| &text[at..]),
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let good = |c: char| {
        !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"".contains(c)
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(digits)) && text.chars().all(good)
}

/// Replaces `%2F` and the like; `None` when a `%` is followed by anything else than two hex digits, or the result
/// is no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

/// One character of a path as an address may hold it.
fn encode(c: char) -> String {
    if c.is_ascii_graphic() {
        return c.to_string();
    }
    let mut buffer = [0; 4];
    let bytes = c.encode_utf8(&mut buffer).bytes();
    bytes.map(|b| format!("%{b:02X}")).collect()
}

impl Parts {
    /// Reads `?ref=main&subdir=x`; `None` for what makes the text no reference: an unknown name, a missing or a
    /// second value, a contradiction.
    fn take_query(&mut self, query: &str) -> Option<()> {
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decode(&key.replace('+', " "))?;
            let value = decode(&value.replace('+', " "))?;
            if seen.contains(&key) {
                return None;
            }
            match key.as_str() {
                "submodules" => self.submodules = Some(switch(&value)?),
                "keep-git-dir" => self.keep_git_dir = Some(switch(&value)?),
                _ if value.is_empty() => return None,
                "ref" => set(&mut self.reference, value)?,
                "subdir" => set(&mut self.subdir, value)?,
                "tag" => tag = Some(full("refs/tags/", value)),
                "branch" => branch = Some(full("refs/heads/", value)),
                "checksum" | "commit" => self.checksum = Some(value),
                _ => return None,
            }
            seen.push(key);
        }
        if tag.is_some() && branch.is_some() {
            return None;
        }
        if let Some(name) = tag.or(branch) {
            set(&mut self.reference, name)?;
        }
        Some(())
    }
}

/// The value of a switch, as Go's `strconv.ParseBool` reads it; none is on.
fn switch(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn full(prefix: &str, name: String) -> String {
    match name.starts_with(prefix) {
        true => name,
        false => format!("{prefix}{name}"),
    }
}

/// Sets what the fragment may have set already; `None` when that was something else.
fn set(slot: &mut String, value: String) -> Option<()> {
    if !slot.is_empty() && *slot != value {
        return None;
    }
    *slot = value;
    Some(())
}

/// Takes `user@host:path#fragment` apart.
fn short(text: &str) -> Option<Parts> {
    let (user, rest) = text.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let word = |text: &str, more: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && text.chars().all(good)
    };
    if !word(user, "-_") || !word(host, "-.") || rest.contains('\n') {
        return None;
    }
    let (path, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    Some(Parts {
        url: format!("{user}@{host}:{path}"),
        host: host.to_owned(),
        path: path.to_owned(),
        password: None,
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        checksum: None,
        submodules: None,
        keep_git_dir: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Address, reference, directory.
    fn parts(text: &str) -> (String, String, String) {
        let parsed = GitRef::parse(text).unwrap();
        let found = parsed.unwrap_or_else(|| panic!("{text} is no reference"));
        (found.url, found.reference.unwrap_or_default(), found.subdir)
    }

    #[test]
    fn the_fragment_names_reference_and_directory() {
        for (text, url, reference, subdir) in [
            ("https://h/a/b.git", "https://h/a/b.git", "", ""),
            ("https://u@h/b.git", "https://u@h/b.git", "", ""),
            ("https://h/a/b.git#", "https://h/a/b.git", "", ""),
            ("HTTPS://h:8443/b.git#v1", "https://h:8443/b.git", "v1", ""),
            ("https://h/b.git#v/1:x/y/", "https://h/b.git", "v/1", "x/y"),
            ("https://h/b.git#:x/../y", "https://h/b.git", "", "y"),
            ("http://h/b%20c.git#a%2Fb", "http://h/b%20c.git", "a/b", ""),
            ("git://[::1]:9418/b#m", "git://[::1]:9418/b", "m", ""),
            ("ssh://git@h:22/b", "ssh://git@h:22/b", "", ""),
            ("git@h.example:a/b.git", "git@h.example:a/b.git", "", ""),
            ("me@host:x.yaml#t:d", "me@host:x.yaml", "t", "d"),
            ("git@h:b?ref=m", "git@h:b?ref=m", "", ""),
            ("github.com/a/b", "https://github.com/a/b", "", ""),
            ("github.com/a/b#m:s", "https://github.com/a/b", "m", "s"),
        ] {
            let expected = (url.to_owned(), reference.to_owned(), subdir.to_owned());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn the_query_names_the_same_things_and_a_checksum() {
        let (_, reference, subdir) = parts("https://h/b.git?ref=main&subdir=x");
        assert_eq!((reference.as_str(), subdir.as_str()), ("main", "x"));
        assert_eq!(parts("https://h/b.git?branch=m").1, "refs/heads/m");
        assert_eq!(parts("git://h/b?tag=refs/tags/v").1, "refs/tags/v");
        assert_eq!(parts("git://h/b?submodules&keep-git-dir=0#m").1, "m");
        let pinned = GitRef::parse("git://h/b?checksum=ABCDEF0").unwrap();
        assert_eq!(
            pinned.unwrap().checksum.as_deref(),
            Some("abcdef0"),
            "a checksum is compared with what git prints"
        );
    }

    #[test]
    fn the_query_says_what_is_wanted_beside_the_files() {
        let switches = |text: &str| {
            let found = GitRef::parse(text).unwrap().unwrap();
            (found.submodules, found.keep_git_dir)
        };
        assert_eq!(switches("https://h/b.git"), (None, None));
        assert_eq!(
            switches("https://h/b.git?submodules=0&keep-git-dir"),
            (Some(false), Some(true))
        );
        assert_eq!(switches("git@h:b.git"), (None, None));
    }

    #[test]
    fn what_names_a_local_file_is_no_reference() {
        for text in [
            "compose.yaml",
            "./github.com/a/b.git",
            "../a@b:c",
            "https://h/a/b",
            "https://github.com/a/b/archive/v1.tar.gz",
            "https://h/b.git/",
            "https://h/b%zz.git",
            "https://h/b.git?foo=1",
            "https://h/b.git?ref",
            "https://h/b.git?ref=a&ref=b",
            "https://h/b.git?ref=a#b",
            "https://h/b.git?tag=a&branch=b",
            "https://h:port/b.git",
            "https://h h/b.git",
            "git://h/b?submodules=perhaps",
            "file:///tmp/x.git",
            "ftp://h/a.git",
            "git+ssh://h/a.git",
            "ext::sh -c id",
            "127.0.0.1:a/b",
            "host:compose.yaml",
            "c:compose.yaml",
            "a b@host:c",
            "gitlab.com/a/b.git",
            "/abs/host:dir",
            "",
        ] {
            assert_eq!(GitRef::parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_git_could_take_for_an_option_is_refused() {
        for text in [
            "https://h/b.git#--upload-pack=id",
            "git://h/b#-x",
            "ssh://-oProxyCommand=id/b",
            "git@-oProxyCommand:b",
            "-oProxyCommand@h:b",
            "git@h:-b",
            "git://h/b?ref=-x",
        ] {
            let found = GitRef::parse(text);
            assert!(
                matches!(found, Err(GitRefError::Option { .. })),
                "{text}: {found:?}"
            );
        }
        assert!(GitRef::parse("https://h/b.git#a..b").is_err());
        assert!(GitRef::parse("https://h/b.git#a*").is_err());
        assert_eq!(GitRef::parse("https:///b.git"), Err(GitRefError::NoHost));
    }

    #[test]
    fn directories_that_lead_out_are_refused() {
        for text in ["../x", "a/../../x", "/etc", "..", "a/../.."] {
            let error = GitRef::parse(&format!("git://h/b#m:{text}"));
            assert_eq!(error, Err(GitRefError::Outside(text.to_owned())), "{text}");
        }
        // Written in another way they are the same.
        assert!(GitRef::parse("https://h/b.git#m:%2e%2e/x").is_err());
        assert!(GitRef::parse("https://h/b.git?subdir=..%2Fx").is_err());
    }

    #[test]
    fn a_password_is_never_shown() {
        let found = GitRef::parse("https://me:s%40cret@h/b.git#m").unwrap();
        let found = found.unwrap();
        assert_eq!(found.password.as_deref(), Some("s@cret"));
        assert_eq!(found.to_string(), "https://h/b.git#m");
        assert!(!format!("{found:?}").contains("cret"));
        // A token that stands where a user's name belongs is as secret.
        let token = GitRef::parse("https://ghp_abc@h/b.git").unwrap().unwrap();
        assert_eq!(token.to_string(), "https://h/b.git");
        assert!(token.has_credentials() && found.has_credentials());
        let ssh = GitRef::parse("git@h:b").unwrap().unwrap();
        assert_eq!(
            (ssh.to_string().as_str(), ssh.has_credentials()),
            ("git@h:b", false)
        );
    }
}
