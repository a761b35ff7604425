//! Logging in and out: credentials are proved to the registry before they are kept.
//!
//! In: a server's name, who logs in. Out: where the credentials are, or a typed error. Nothing is kept that the
//! registry refuses. Imports: `config`, `credentials`, `source`. Source: docker CLI `command/registry/login.go`,
//! `logout.go`; where a token server gives a token to be kept, that one is kept and the password is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Place, Settings};
use super::credentials::{self, KeepError, Kept, Login, key_of};
use super::secret::Secret;
use super::source::{Fault, Kind, Means, Source};
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::image::reference::{DEFAULT_REGISTRY, Reference};

/// Longest silence within an answer.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No host.
    #[error("`{0}` is no registry: write HOST or HOST:PORT")]
    Server(String),
    /// The registry wants other credentials.
    #[error("registry {registry} refuses the login of `{user}`: incorrect username or password")]
    Refused {
        /// The registry.
        registry: String,
        /// Who wanted to log in.
        user: String,
    },
    /// No connection.
    #[error(
        "cannot log in to registry {registry}: it is not in reach ({cause}); check the network and proxy settings"
    )]
    Unreachable {
        /// The registry.
        registry: String,
        /// What failed.
        cause: String,
    },
    /// Another answer.
    #[error("cannot log in to registry {registry}: {cause}")]
    Registry {
        /// The registry.
        registry: String,
        /// The registry's words.
        cause: String,
    },
    /// The caller's token was used.
    #[error("the login was cancelled")]
    Cancelled,
    /// They could not be kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The file in which whoever may read it finds the credentials; `None` where a helper has them.
    pub open_in: Option<PathBuf>,
}

/// The registry that a text names: `https://host/v2/` is `host`, nothing is Docker Hub.
///
/// # Errors
/// [`LoginError::Server`].
pub fn server(text: Option<&str>) -> Result<String, LoginError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_REGISTRY.to_owned());
    };
    let wrong = || LoginError::Server(text.to_owned());
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let host = bare.split_once('/').map_or(bare, |(host, _)| host);
    if credentials::is_hub(host) {
        return Ok(DEFAULT_REGISTRY.to_owned());
    }
    // The port makes any name a host's.
    let probe = match host.contains(':') {
        true => format!("{host}/x"),
        false => format!("{host}:1/x"),
    };
    Reference::parse(&probe).map_err(|_| wrong())?;
    Ok(host.to_owned())
}

/// Logs in: proves the credentials to the registry, then keeps them.
///
/// # Errors
/// [`LoginError`].
pub fn login(
    registry: &str,
    user: &str,
    password: Secret,
    env: &Env,
    cancel: &Cancel,
) -> Result<Outcome, LoginError> {
    let login = Login::Password(user.to_owned(), password);
    let identity = prove(registry, user, login.clone(), env, cancel)?;
    let kept = match identity {
        Some(token) => Login::Identity(token),
        None => login,
    };
    Ok(
        match credentials::keep(registry, user, &kept, env, cancel)? {
            Kept::File(path) => Outcome {
                open_in: Some(path),
            },
            Kept::Helper => Outcome { open_in: None },
        },
    )
}

/// The credentials that are kept for a registry, proved anew; `None` where there are none that still serve. Gives
/// the user's name, if one is known.
///
/// # Errors
/// [`LoginError`], but for a refusal.
pub fn again(
    registry: &str,
    env: &Env,
    cancel: &Cancel,
) -> Result<Option<Option<String>>, LoginError> {
    let found = credentials::find(registry, "", &[], env, cancel);
    let Some(login) = found.login else {
        return Ok(None);
    };
    let user = match &login {
        Login::Password(user, _) => Some(user.clone()),
        Login::Identity(_) | Login::Bearer(_) => None,
    };
    match prove(
        registry,
        user.as_deref().unwrap_or_default(),
        login,
        env,
        cancel,
    ) {
        Ok(_) => Ok(Some(user)),
        Err(LoginError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Forgets the credentials of a registry; whether there were any.
///
/// # Errors
/// [`KeepError`].
pub fn logout(registry: &str, env: &Env, cancel: &Cancel) -> Result<bool, KeepError> {
    credentials::forget(registry, env, cancel)
}

/// The name under which users see a registry's credentials.
pub fn shown(registry: &str) -> &str {
    key_of(registry)
}

/// A file of credentials that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The file.
    pub path: PathBuf,
    /// Registries with credentials in it, and who is logged in, where that is known.
    pub logins: Vec<(String, Option<String>)>,
    /// The helper programs that it names, and whether they are installed.
    pub helpers: Vec<(String, bool)>,
}

/// The files whose settings of registries count.
///
/// # Errors
/// A file that can't be used, and where.
pub fn settings(env: &Env) -> Result<Vec<PathBuf>, String> {
    let settings = Settings::read(env).map_err(|error| error.to_string())?;
    Ok(settings.files)
}

/// What is known of credentials, by file, without any secret; or why a file can't be used.
pub fn known(env: &Env) -> Vec<Result<Known, String>> {
    let of_file = |path: PathBuf| match credentials::file::File::read(&path) {
        Err(error) => Some(Err(error.to_string())),
        Ok(None) => None,
        Ok(Some(file)) => {
            let named = file.helpers().into_iter();
            let helpers = named.map(|name| {
                let there = credentials::helper::is_there(&name, env);
                (name, there)
            });
            Some(Ok(Known {
                logins: file.logins(),
                helpers: helpers.collect(),
                path,
            }))
        }
    };
    let files = credentials::files(env).into_iter();
    files.filter_map(of_file).collect()
}

/// Asks the registry whether it takes credentials; gives what it wants to be kept in their place, if anything.
fn prove(
    registry: &str,
    user: &str,
    login: Login,
    env: &Env,
    cancel: &Cancel,
) -> Result<Option<Secret>, LoginError> {
    let other = |cause: String| LoginError::Registry {
        registry: registry.to_owned(),
        cause,
    };
    let settings = Settings::read(env).map_err(|error| other(error.to_string()))?;
    let place = Place {
        reference: Reference {
            registry: registry.to_owned(),
            repository: String::new(),
            tag: None,
            digest: None,
        },
        security: settings.of_host(registry, &[]),
    };
    let means = Arc::new(Means::new(env, cancel, Vec::new(), Some(SILENCE)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| other(format!("cannot start its connections: {error}")))?;
    let proved = runtime.block_on(async {
        let source = Source::new(place, means)
            .with_login(login, String::new())
            .await;
        let work = std::pin::pin!(source.verify());
        let stop = std::pin::pin!(super::cancelled(cancel));
        match futures_util::future::select(work, stop).await {
            futures_util::future::Either::Left((done, _)) => Some(done),
            futures_util::future::Either::Right(_) => None,
        }
    });
    // A name lookup that still waits for its answer must not hold up the error.
    runtime.shutdown_background();
    match proved.ok_or(LoginError::Cancelled)? {
        Ok(identity) => Ok(identity),
        Err(Fault { kind, .. }) => Err(match kind {
            Kind::Unauthorized(_) => LoginError::Refused {
                registry: registry.to_owned(),
                user: user.to_owned(),
            },
            Kind::Unreachable(cause) => LoginError::Unreachable {
                registry: registry.to_owned(),
                cause,
            },
            Kind::NotFound | Kind::Busy(_) | Kind::Answer(_) => other(kind.short()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_however_it_is_written() {
        for (text, host) in [
            (None, "docker.io"),
            (Some(""), "docker.io"),
            (Some("docker.io"), "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("r.example:5000"), "r.example:5000"),
            (Some("https://r.example/v2/"), "r.example"),
            (Some("http://localhost:5000"), "localhost:5000"),
            (Some("registry"), "registry"),
            (Some("[::1]:5000"), "[::1]:5000"),
        ] {
            assert_eq!(server(text).unwrap(), host);
        }
        for text in ["a b", "user@host", "-x.y", "h:port", "https://", "/x"] {
            assert!(server(Some(text)).is_err(), "{text}");
        }
    }
}
