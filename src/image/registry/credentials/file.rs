//! One file of credentials: Docker's `config.json` or podman's `auth.json`.
//!
//! In: a path. Out: credentials, the helpers that are named, and the file written again with one entry changed and
//! all else as it was. Imports: `sys::fs`. Source: docker CLI `configfile` (keys that are addresses count for their
//! host), containers-auth.json(5) (keys with a namespace).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value, json};

use super::super::secret::Secret;
use super::{Login, is_hub, key_of};
use crate::sys::fs::{Durability, make_dirs, write_atomic};

/// Longest file in bytes.
const LONGEST: u64 = 4 << 20;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is no JSON, or another one.
    #[error("{path}:{line}:{column}: {what}")]
    Malformed {
        /// The file, or the variable.
        path: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong, without any of the text.
        what: String,
    },
    /// An entry is of another kind.
    #[error("{path}: {what}")]
    Value {
        /// The file.
        path: String,
        /// Where in it, and what was expected.
        what: String,
    },
    /// The system's.
    #[error("cannot {step} {path}: {source}")]
    Io {
        /// `read` or `write`.
        step: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A file's content.
pub(in crate::image::registry) struct File {
    path: PathBuf,
    content: Map<String, Value>,
}

impl File {
    pub(super) fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            content: Map::new(),
        }
    }
    /// Reads a file; `None` where there is none.
    pub(in crate::image::registry) fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let failed = |source| FileError::Io {
            step: "read",
            path: path.display().to_string(),
            source,
        };
        let text = match std::fs::File::open(path) {
            Ok(file) => {
                use std::io::Read as _;
                let mut text = String::new();
                let read = file.take(LONGEST).read_to_string(&mut text);
                read.map_err(failed)?;
                Secret::new(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let parsed = Self::parse(&path.display().to_string(), text.expose())?;
        Ok(Some(Self {
            path: path.to_owned(),
            ..parsed
        }))
    }
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, FileError> {
        let malformed = |line: usize, column: usize, what: String| FileError::Malformed {
            path: name.to_owned(),
            line,
            column,
            what,
        };
        let content = match text.trim() {
            // As Docker, which takes an empty file for one without entries.
            "" => Value::Object(Map::new()),
            _ => serde_json::from_str(text).map_err(|error| {
                // The library's words about syntax have none of the text in them.
                let what = error.to_string();
                let end = what.rfind(" at line ").unwrap_or(what.len());
                malformed(error.line(), error.column(), what[..end].to_owned())
            })?,
        };
        match content {
            Value::Object(content) => Ok(Self {
                path: PathBuf::from(name),
                content,
            }),
            _ => Err(malformed(1, 1, "expected an object, `{…}`".to_owned())),
        }
    }

    /// The helper for a registry, and the name under which it is asked: that of the most specific key, else the store.
    pub(super) fn helper(&self, registry: &str, repository: &str) -> Option<(&str, String)> {
        let own = self.object("credHelpers");
        for key in keys(registry, repository) {
            let found = own.and_then(|own| own.get(&key)).and_then(Value::as_str);
            if let Some(name) = found.filter(|name| !name.is_empty()) {
                let server = match is_hub(registry) {
                    true => key_of(registry).to_owned(),
                    false => key,
                };
                return Some((name, server));
            }
        }
        let store = self.content.get("credsStore")?.as_str()?;
        (!store.is_empty()).then(|| (store, key_of(registry).to_owned()))
    }

    /// The credentials of the most specific key.
    pub(super) fn login(&self, registry: &str, repository: &str) -> Option<Login> {
        let auths = self.object("auths")?;
        for key in keys(registry, repository) {
            if let Some(login) = auths.get(&key).and_then(entry) {
                return Some(login);
            }
        }
        // As Docker: `https://host/v1/` and `host/v1/` count for their host.
        let of_host = |key: &str| as_host(key) == Some(registry);
        let found = auths.iter().filter(|(key, _)| of_host(key));
        found.filter_map(|(_, value)| entry(value)).next()
    }

    /// One of its entries.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.content.get(key)
    }

    /// The registries with credentials in it, and the user's name where one is known.
    pub(in crate::image::registry) fn logins(&self) -> Vec<(String, Option<String>)> {
        let auths = self.object("auths").into_iter().flatten();
        let known = auths.filter_map(|(key, value)| Some((key, entry(value)?)));
        known
            .map(|(key, login)| match login {
                Login::Password(user, _) => (key.clone(), Some(user)),
                Login::Identity(_) | Login::Bearer(_) => (key.clone(), None),
            })
            .collect()
    }

    /// The helpers that it names.
    pub(in crate::image::registry) fn helpers(&self) -> Vec<String> {
        let own = self.object("credHelpers").into_iter().flatten();
        let own = own.filter_map(|(_, name)| name.as_str());
        let store = self.content.get("credsStore").and_then(Value::as_str);
        let mut all: Vec<String> = own.chain(store).map(str::to_owned).collect();
        all.retain(|name| !name.is_empty());
        all.sort();
        all.dedup();
        all
    }

    fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.content.get(key)?.as_object()
    }

    /// Writes the file with one entry changed; `None` leaves the key without credentials.
    pub(super) fn write(
        mut self,
        key: &str,
        login: Option<(&str, &Login)>,
    ) -> Result<(), FileError> {
        let entry = match login {
            None => json!({}),
            Some((user, Login::Password(_, password))) => {
                let pair = Secret::new(format!("{user}:{}", password.expose()));
                json!({ "auth": STANDARD.encode(pair.expose()) })
            }
            Some((user, Login::Identity(token))) => json!({
                "auth": STANDARD.encode(format!("{user}:")),
                "identitytoken": token.expose(),
            }),
            Some((_, Login::Bearer(token))) => json!({ "registrytoken": token.expose() }),
        };
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.to_owned(), entry);
        }
        self.save()
    }

    /// Removes a registry's entries; whether there was one.
    pub(super) fn remove(mut self, registry: &str) -> Result<bool, FileError> {
        let Some(Value::Object(auths)) = self.content.get_mut("auths") else {
            return Ok(false);
        };
        let before = auths.len();
        let exact = keys(registry, "");
        auths.retain(|key, _| !exact.contains(key) && as_host(key) != Some(registry));
        if auths.len() == before {
            return Ok(false);
        }
        self.save().map(|()| true)
    }

    /// Writes it whole or not at all. A link is followed: what it names may lie in somebody's repository of settings.
    fn save(&self) -> Result<(), FileError> {
        let failed = |source| FileError::Io {
            step: "write",
            path: self.path.display().to_string(),
            source,
        };
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        if let Some(dir) = target.parent() {
            make_dirs(dir, 0o700).map_err(failed)?;
        }
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, indent);
        serde::Serialize::serialize(&self.content, &mut writer)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let text = zeroize::Zeroizing::new(text);
        write_atomic(&target, &text, 0o600, Durability::Synced).map_err(failed)
    }
}

/// Keys that count for a repository, the most specific first. Source: containers-auth.json(5).
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let names: &[&str] = match is_hub(registry) {
        true => &[
            super::DOCKER_HUB,
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
        ],
        false => &[registry],
    };
    let host = match is_hub(registry) {
        true => "docker.io",
        false => registry,
    };
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{host}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.extend(names.iter().map(|name| (*name).to_owned()));
    keys
}

/// The host of a key that is an address, or ends in the version of a protocol; a namespace is none.
fn as_host(key: &str) -> Option<&str> {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let (host, path) = match bare.unwrap_or(key).split_once('/') {
        Some(split) => split,
        None => (bare.unwrap_or(key), ""),
    };
    let version = matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
    (bare.is_some() || version).then_some(host)
}

/// What an entry says; an empty one says nothing.
fn entry(value: &Value) -> Option<Login> {
    let text = |key: &str| value.get(key)?.as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Login::Identity(Secret::new(token)));
    }
    if let Some(token) = text("registrytoken") {
        return Some(Login::Bearer(Secret::new(token)));
    }
    if let Some(auth) = text("auth") {
        let auth = auth.trim();
        let decoded = STANDARD
            .decode(auth)
            .or_else(|_| STANDARD_NO_PAD.decode(auth));
        let pair = Secret::new(String::from_utf8(decoded.ok()?).ok()?);
        let (user, password) = pair.expose().split_once(':')?;
        let password = password.trim_end_matches('\0');
        return (!user.is_empty()).then(|| Login::Password(user.to_owned(), Secret::new(password)));
    }
    let user = text("username")?;
    Some(Login::Password(
        user.to_owned(),
        Secret::new(text("password")?),
    ))
}
