//! Credentials: what `hoist login`, `docker login` and `podman login` have kept for a registry.
//!
//! In: the environment, a registry and a repository. Out: credentials for that registry, sent to no other, and a
//! remark that says where they come from. A file or a helper that fails means no credentials, with a remark, since
//! most images need none. Imports: `base::env`, `reference`.
//! Rules: docker CLI `config.json` (`auths`, `credsStore`, `credHelpers`), `DOCKER_AUTH_CONFIG`;
//! containers-auth.json(5) (files, keys with namespaces), `REGISTRY_AUTH_FILE`.

pub(super) mod file;
pub(super) mod helper;
pub(super) mod proxies;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use super::config::user_config;
use super::secret::Secret;
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::image::reference::DEFAULT_REGISTRY;
use file::{File, FileError};

/// Key under which Docker keeps credentials of `docker.io`.
pub(super) const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// Helper that stands for files in `credential-helpers` of registries.conf.
const FILES: &str = "containers-auth.json";

/// What proves to a registry who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// A name and its password, or access token.
    Password(String, Secret),
    /// A token that is changed for others. Source: Docker, `identitytoken`.
    Identity(Secret),
    /// A token for the registry itself. Source: Docker, `registrytoken`.
    Bearer(Secret),
}

/// Credentials for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) login: Option<Login>,
    /// What was used, and what to do for others: a clause for an error's text.
    pub(super) remark: String,
}

/// The names under which Docker Hub is known.
pub(super) fn is_hub(server: &str) -> bool {
    matches!(
        server,
        DEFAULT_REGISTRY | "index.docker.io" | "registry-1.docker.io"
    )
}

/// The name under which credentials of a registry are kept.
pub(super) fn key_of(registry: &str) -> &str {
    if is_hub(registry) {
        DOCKER_HUB
    } else {
        registry
    }
}

/// The file that `login` writes.
pub(super) fn own_file(env: &Env) -> Option<PathBuf> {
    if let Some(named) = env.non_empty("REGISTRY_AUTH_FILE") {
        return Some(env.cwd.join(named));
    }
    if let Some(dir) = env.non_empty("DOCKER_CONFIG") {
        return Some(env.cwd.join(dir).join("config.json"));
    }
    Some(env.home.as_ref()?.join(".docker/config.json"))
}

/// The files in the order in which they are asked. One that a variable names stands alone.
pub(super) fn files(env: &Env) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = own_file(env).into_iter().collect();
    let named = ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG"];
    if named.iter().any(|name| env.non_empty(name).is_some()) {
        return files;
    }
    let auth = |dir: PathBuf| dir.join("containers/auth.json");
    files.extend(env.non_empty("XDG_RUNTIME_DIR").map(|dir| auth(dir.into())));
    files.extend(user_config(env).map(auth));
    files
}

/// Looks up the credentials for a repository. `helpers` are those of registries.conf.
pub(super) fn find(
    registry: &str,
    repository: &str,
    helpers: &[String],
    env: &Env,
    cancel: &Cancel,
) -> Found {
    let mut remarks = Vec::new();
    let used = |login: Login, from: &str| {
        let remark = format!("{}; {}", who(&login, from), advice(registry));
        Found {
            login: Some(login),
            remark,
        }
    };
    if let Some(text) = env.non_empty("DOCKER_AUTH_CONFIG") {
        let name = "DOCKER_AUTH_CONFIG";
        match File::parse(name, text) {
            Ok(file) => {
                if let Some(login) = file.login(registry, repository) {
                    return used(login, name);
                }
            }
            Err(error) => remarks.push(error.to_string()),
        }
    }
    let mut looked = Vec::new();
    for path in files(env) {
        let shown = path.display().to_string();
        let file = match File::read(&path) {
            Ok(Some(file)) => file,
            Ok(None) => continue,
            Err(error) => {
                remarks.push(error.to_string());
                continue;
            }
        };
        if let Some((name, server)) = file.helper(registry, repository) {
            match helper::get(name, &server, env, cancel) {
                Ok(Some(login)) => {
                    return used(login, &format!("docker-credential-{name} ({shown})"));
                }
                Ok(None) => {}
                Err(error) => remarks.push(format!("{error}, which {shown} names")),
            }
        }
        if let Some(login) = file.login(registry, repository) {
            return used(login, &shown);
        }
        looked.push(shown);
    }
    for name in helpers.iter().filter(|name| *name != FILES) {
        match helper::get(name, key_of(registry), env, cancel) {
            Ok(Some(login)) => return used(login, &format!("docker-credential-{name}")),
            Ok(None) => {}
            Err(error) => remarks.push(format!("{error}, which registries.conf names")),
        }
    }
    if remarks.is_empty() {
        remarks.push(match looked.as_slice() {
            [] => match own_file(env) {
                Some(path) => format!("there is no {}", path.display()),
                None => "there is no home directory with any; set DOCKER_CONFIG".to_owned(),
            },
            files => format!("{} has none for it", files.join(", ")),
        });
    }
    Found {
        login: None,
        remark: format!("{}; {}", remarks.join("; "), advice(registry)),
    }
}

fn who(login: &Login, from: &str) -> String {
    match login {
        Login::Password(user, _) => format!("those of `{user}` from {from} were used"),
        Login::Identity(_) => format!("the identity token from {from} was used"),
        Login::Bearer(_) => format!("the token from {from} was used"),
    }
}

/// The command that makes others.
pub(super) fn advice(registry: &str) -> String {
    match is_hub(registry) {
        true => "log in with `hoist login`".to_owned(),
        false => format!("log in with `hoist login {registry}`"),
    }
}

/// Why credentials could not be kept or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is no home directory.
    #[error("there is no home directory to keep credentials in; set DOCKER_CONFIG to a directory")]
    NoHome,
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A helper.
    #[error(transparent)]
    Helper(#[from] helper::HelperError),
}

/// Where credentials were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// In a file, readable by whoever may read it.
    File(PathBuf),
    /// By a helper.
    Helper,
}

/// Keeps credentials for a registry: by the helper that the file names, else in the file.
pub(super) fn keep(
    registry: &str,
    user: &str,
    login: &Login,
    env: &Env,
    cancel: &Cancel,
) -> Result<Kept, KeepError> {
    let path = own_file(env).ok_or(KeepError::NoHome)?;
    let file = File::read(&path)?.unwrap_or_else(|| File::empty(&path));
    let key = key_of(registry);
    if let Some((name, _)) = file.helper(registry, "") {
        helper::store(name, key, user, login, env, cancel)?;
        // As Docker: an empty entry says that there is one, and a password of before must not stay.
        file.write(key, None)?;
        return Ok(Kept::Helper);
    }
    file.write(key, Some((user, login)))?;
    Ok(Kept::File(path))
}

/// Forgets the credentials of a registry, in every form in which its name is a key; whether there were any.
pub(super) fn forget(registry: &str, env: &Env, cancel: &Cancel) -> Result<bool, KeepError> {
    let path = own_file(env).ok_or(KeepError::NoHome)?;
    let Some(file) = File::read(&path)? else {
        return Ok(false);
    };
    let mut known = false;
    if let Some((name, _)) = file.helper(registry, "") {
        known |= helper::erase(name, key_of(registry), env, cancel)?;
    }
    known |= file.remove(registry)?;
    Ok(known)
}
