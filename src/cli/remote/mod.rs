//! Fetches compose files that lie elsewhere, and asks before they act.
//!
//! In: references of `compose::remote`. Out: directories on this machine, named by commit or digest; content that is
//! there is not fetched again. What the files ask for is shown by `consent` before anything of them runs.
//! Imports: `base`, `compose`, `image`, `cli::roots`.
//! Rules: `COMPOSE_EXPERIMENTAL_GIT_REMOTE`, `COMPOSE_EXPERIMENTAL_OCI_REMOTE` as Compose (`pkg/remote`).

mod artifact;
pub mod consent;
mod risk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::roots;
use crate::base::env::Env;
use crate::base::gitref::GitRef;
use crate::compose::remote::{Fetch, FetchError, Fetched, RemoteRef};
use crate::image::git::{self, GitOptions};
use crate::image::kept::Kept;

/// Fetches into the data directory.
#[derive(Debug)]
pub struct Fetcher {
    env: Env,
    insecure: Vec<String>,
    /// What this command has fetched: a project may be loaded more than once.
    known: Mutex<BTreeMap<String, Fetched>>,
}

impl Fetcher {
    /// For one command. `insecure` names registries spoken to without TLS.
    pub fn new(env: Env, insecure: Vec<String>) -> Self {
        Self {
            env,
            insecure,
            known: Mutex::default(),
        }
    }

    /// The directories of one kind of content below the data directory.
    fn kept(&self, kind: &str) -> Kept {
        let root = nix::unistd::geteuid().is_root();
        Kept::new(roots::roots(&self.env, root).data.join(kind))
    }

    fn git(&self, reference: &GitRef) -> Result<Fetched, FetchError> {
        self.allowed("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "git repositories")?;
        let options = GitOptions {
            env: self.env.clone(),
            ..GitOptions::default()
        };
        let found = git::checkout(&self.kept("git"), reference, &options).map_err(|error| {
            let fault = FetchError::new(error.to_string());
            match error.hint() {
                Some(hint) => fault.hint(hint),
                None => fault,
            }
        })?;
        let short = found.commit.get(..12).unwrap_or(&found.commit);
        let name = format!("{}#{short}", reference.shown_url());
        fetched(&found.dir, reference.subdir.clone(), found.commit, name)
    }

    /// Refuses what a variable switches off.
    fn allowed(&self, variable: &str, what: &str) -> Result<(), FetchError> {
        match self.env.non_empty(variable) {
            None | Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(()),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => {
                let text = format!("{variable} switches {what} off");
                Err(FetchError::new(text).hint(format!("unset {variable}")))
            }
            Some(other) => {
                let text = format!("{variable} is `{other}`, which is neither true nor false");
                Err(FetchError::new(text).hint("write true or false"))
            }
        }
    }
}

impl Fetch for Fetcher {
    fn fetch(&self, reference: &RemoteRef) -> Result<Fetched, FetchError> {
        // The whole of it: the same repository may be asked for with different credentials and places.
        let key = format!("{reference} {:?}", password(reference));
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetched) = known().get(&key) {
            return Ok(fetched.clone());
        }
        let fetched = match reference {
            RemoteRef::Git(git) => self.git(git)?,
            RemoteRef::Oci(name) => self.artifact(name)?,
        };
        known().insert(key, fetched.clone());
        Ok(fetched)
    }
}

fn password(reference: &RemoteRef) -> Option<&str> {
    match reference {
        RemoteRef::Git(git) => git.password.as_deref(),
        RemoteRef::Oci(_) => None,
    }
}

/// What lies in a directory; its path without links, so that paths below it begin with it.
fn fetched(dir: &Path, entry: String, pin: String, name: String) -> Result<Fetched, FetchError> {
    let root = dir
        .canonicalize()
        .map_err(|error| FetchError::new(format!("cannot read what was fetched: {error}")))?;
    Ok(Fetched {
        root,
        entry,
        pin,
        name,
    })
}
