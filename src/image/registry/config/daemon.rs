//! Docker's `daemon.json`, as far as it is about registries: who leaves Docker has mirrors and insecure registries there.
//!
//! Imports: `base::env`. Source: dockerd, `registry-mirrors` (of Docker Hub only), `insecure-registries` (hosts, with
//! port if any, or networks).

use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;

use super::{ConfigError, text, user_config};
use crate::base::env::Env;

/// What is taken from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Daemon {
    /// Hosts, and whether they are spoken to without TLS.
    pub(super) mirrors: Vec<(String, bool)>,
    pub(super) insecure: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry_mirrors: Vec<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
}

/// Reads the system's file, else that of the user's own daemon.
pub(super) fn read(env: &Env, files: &mut Vec<PathBuf>) -> Result<Daemon, ConfigError> {
    let system = env.etc.as_ref().map(|etc| etc.join("docker/daemon.json"));
    let user = user_config(env).map(|dir| dir.join("docker/daemon.json"));
    for path in [system, user].into_iter().flatten() {
        let Some(text) = text(&path)? else { continue };
        // As Docker, which takes an empty file for one without settings.
        if text.trim().is_empty() {
            continue;
        }
        let file: File = serde_json::from_str(&text).map_err(|error| ConfigError {
            path: path.clone(),
            line: error.line(),
            column: error.column(),
            what: position_cut(&error.to_string()),
        })?;
        let mut daemon = Daemon {
            insecure: file.insecure_registries,
            ..Daemon::default()
        };
        for said in &file.registry_mirrors {
            let mirror = mirror(said).ok_or_else(|| {
                let byte = text.find(said.as_str()).unwrap_or_default();
                let what = format!("`{said}` is no mirror: write https://HOST[:PORT]");
                ConfigError::at(&path, &text, byte, what)
            })?;
            daemon.mirrors.push(mirror);
        }
        files.push(path);
        return Ok(daemon);
    }
    Ok(Daemon::default())
}

fn mirror(text: &str) -> Option<(String, bool)> {
    let url = Url::parse(text).ok()?;
    let plain = match url.scheme() {
        "https" => false,
        "http" => true,
        _ => return None,
    };
    let clean = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let host = url.host_str().filter(|_| clean)?;
    Some(match url.port() {
        Some(port) => (format!("{host}:{port}"), plain),
        None => (host.to_owned(), plain),
    })
}

/// The position stands before the text already.
fn position_cut(text: &str) -> String {
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}
