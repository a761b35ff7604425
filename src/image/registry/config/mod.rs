//! Configuration of registries: mirrors, other places, blocked and insecure ones.
//!
//! In: files that users of podman, skopeo and Docker have, found by way of the environment. Out: for an image, the
//! places it is asked for at, in order. What Docker's short names mean is not changed by any file: search
//! registries and aliases are read and not used. Imports: `base::env`, `reference`.
//! Rules: containers-registries.conf(5), containers-registries.conf.d(5); dockerd, `daemon.json`
//! (`registry-mirrors`, `insecure-registries`).

mod daemon;
mod registries;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::base::env::Env;
use crate::image::reference::{DEFAULT_REGISTRY, Reference};
use registries::Rule;

/// A file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {what}", path.display())]
pub(super) struct ConfigError {
    path: PathBuf,
    line: usize,
    column: usize,
    what: String,
}

impl ConfigError {
    /// A fault at a byte of a file's text.
    fn at(path: &Path, text: &str, byte: usize, what: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: what.into(),
        }
    }
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS, with a certificate that is verified.
    Tls,
    /// On this machine: plain, else TLS with any certificate. Source: Docker, which does so for 127.0.0.0/8.
    Loopback,
    /// TLS with any certificate, else plain.
    Insecure,
    /// Plain only.
    Plain,
}

/// A place where an image is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The image's name there.
    pub(super) reference: Reference,
    pub(super) security: Security,
}

/// What all files say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    rules: Vec<Rule>,
    /// Helpers that are asked for credentials, and `containers-auth.json` for files.
    pub(super) helpers: Vec<String>,
    daemon: daemon::Daemon,
    /// Files that were read.
    pub(super) files: Vec<PathBuf>,
}

impl Settings {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that can't be read or is malformed: leaving it out could contact what it blocks.
    pub(super) fn read(env: &Env) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        registries::read(env, &mut settings)?;
        settings.daemon = daemon::read(env, &mut settings.files)?;
        Ok(settings)
    }
    /// Where an image is pulled from: mirrors, then its own place. `insecure` are registries that the caller names.
    ///
    /// # Errors
    /// Why it may not be pulled, or has no place.
    pub(super) fn places(
        &self,
        image: &Reference,
        insecure: &[String],
    ) -> Result<Vec<Place>, String> {
        let rule = self.rule(image);
        if let Some(rule) = rule.filter(|rule| rule.blocked) {
            return Err(format!("{} blocks `{}`", rule.shown(), rule.prefix));
        }
        let mut places = Vec::new();
        for mirror in rule.map(|rule| rule.mirrors.as_slice()).unwrap_or_default() {
            if mirror.serves(image) {
                let reference = mirror.rewrite(image)?;
                let security = self.security(&reference.registry, mirror.insecure, insecure);
                places.push(Place {
                    reference,
                    security,
                });
            }
        }
        if image.registry == DEFAULT_REGISTRY {
            places.extend(self.daemon.mirrors.iter().map(|(host, plain)| Place {
                reference: Reference {
                    registry: host.clone(),
                    ..image.clone()
                },
                security: match plain {
                    true => Security::Plain,
                    false => self.security(host, false, insecure),
                },
            }));
        }
        places.push(self.own(image, rule, insecure)?);
        Ok(places)
    }
    /// Where an image is pushed to: what is said of reading only does not count.
    ///
    /// # Errors
    /// As [`Settings::places`].
    pub(super) fn target(&self, image: &Reference, insecure: &[String]) -> Result<Place, String> {
        let rule = self.rule(image);
        if let Some(rule) = rule.filter(|rule| rule.blocked) {
            return Err(format!("{} blocks `{}`", rule.shown(), rule.prefix));
        }
        let said = rule.is_some_and(|rule| rule.insecure);
        Ok(Place {
            security: self.security(&image.registry, said, insecure),
            reference: image.clone(),
        })
    }
    /// How a registry is spoken to of which only the host is known.
    pub(super) fn of_host(&self, host: &str, insecure: &[String]) -> Security {
        let matches = |rule: &&Rule| rule.prefix == host || rule.matches_host(host);
        let said = self.rules.iter().find(matches);
        self.security(host, said.is_some_and(|rule| rule.insecure), insecure)
    }
    fn own(
        &self,
        image: &Reference,
        rule: Option<&Rule>,
        insecure: &[String],
    ) -> Result<Place, String> {
        let reference = match rule {
            Some(rule) => rule.rewrite(image)?,
            None => image.clone(),
        };
        let said = rule.is_some_and(|rule| rule.insecure);
        Ok(Place {
            security: self.security(&reference.registry, said, insecure),
            reference,
        })
    }
    /// The rule with the longest prefix.
    fn rule(&self, image: &Reference) -> Option<&Rule> {
        let matching = self.rules.iter().filter(|rule| rule.matches(image));
        matching.max_by_key(|rule| rule.prefix.len())
    }
    fn security(&self, registry: &str, said: bool, insecure: &[String]) -> Security {
        let host = host_of(registry);
        let address = host.parse::<IpAddr>().ok();
        let named = |entry: &String| {
            entry == registry
                || entry == host
                || entry
                    .parse::<IpNet>()
                    .ok()
                    .is_some_and(|net| address.is_some_and(|address| net.contains(&address)))
        };
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            Security::Loopback
        } else if said || insecure.iter().chain(&self.daemon.insecure).any(named) {
            Security::Insecure
        } else {
            Security::Tls
        }
    }
}

/// The host of `host:port`, without the brackets of IPv6.
pub(super) fn host_of(registry: &str) -> &str {
    match registry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((inside, _)) => inside,
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    }
}

/// A user's directory of settings.
pub(super) fn user_config(env: &Env) -> Option<PathBuf> {
    match env.non_empty("XDG_CONFIG_HOME") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => Some(env.home.as_ref()?.join(".config")),
    }
}

/// A file's text; `None` where there is none.
fn text(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let what = format!("it can't be read: {error}");
            Err(ConfigError::at(path, "", 0, what))
        }
    }
}
