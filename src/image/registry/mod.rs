//! Registries: where images are pulled from and pushed to.
//!
//! In: a reference and credentials files. Out: an image in the store, every digest verified, or a typed error
//! that says which registry and what to do. It knows no policy: whether to pull at all is decided elsewhere.
//! Imports: `base`, `store`, `layer`, `manifest`, `reference`. Rules: OCI distribution spec 1.1; credentials as
//! `docker login` leaves them, containers-registries.conf(5).

mod artifact;
mod challenge;
mod client;
mod config;
mod copy;
mod credentials;
mod documents;
mod fetch;
mod growing;
pub mod login;
mod proxy;
mod pull;
mod push;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod trust;
mod upload;
mod wire;
mod words;

/// How servers are spoken to, for what else is downloaded.
pub(in crate::image) mod web {
    use std::sync::Once;

    pub(in crate::image) use super::proxy::Proxies;
    pub(in crate::image) use super::trust::authorities;
    pub(in crate::image) use super::words::causes;

    /// Chooses the cryptography once for the process; the library has none of its own.
    pub(in crate::image) fn install_provider() {
        static DONE: Once = Once::new();
        DONE.call_once(|| {
            // Someone else's choice is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
    }
}

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::StreamExt as _;

pub use artifact::{Artifact, Part};
pub use copy::{copy, push_nameless};
pub use credentials::KeepError;
pub use credentials::proxies::of_containers as proxies_of_containers;
pub use login::LoginError;
pub use push::{
    Form, PushError, PushOptions, push, push_described, push_index, push_layers, push_manifest,
};
pub use secret::Secret;

use super::digest::Digest;
use super::manifest::{Descriptor, Manifest, ManifestError};
use super::reference::Reference;
use super::store::{Image, Store, StoreError};
use crate::base::cancel::Cancel;
use crate::base::event::EventSink;
use crate::base::scalar::ByteSize;

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The caller's token was used.
    #[error("the pull of `{0}` was cancelled")]
    Cancelled(String),
    /// The registry has no such image.
    #[error("no image `{0}` in its registry")]
    NotFound(String),
    /// The registry wants other credentials, or has no such image and does not say so.
    #[error(
        "registry {registry} refuses access to `{image}`: it may not exist, or need credentials; \
         {credentials}"
    )]
    Unauthorized {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// What credentials were used, and where others can be put.
        credentials: String,
    },
    /// No connection to the registry.
    #[error(
        "cannot pull `{image}`: registry {registry} is not in reach ({cause}); check the network and \
         proxy settings, or bring the image in with `hoist image import`"
    )]
    Unreachable {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// What failed: the name's lookup, the connection.
        cause: String,
    },
    /// Content that is not what its digest says.
    #[error("what registry {registry} sent for `{image}` is damaged: {cause}")]
    Corrupt {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// What is wrong.
        cause: String,
    },
    /// The registry limits how much may be pulled.
    #[error(
        "registry {registry} allows no more pulls of `{image}` for now{wait}; try later, or log in"
    )]
    TooManyRequests {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// How long it asks to wait, in parentheses, if it says so.
        wait: String,
    },
    /// A manifest that can't be used here.
    #[error("cannot use the image `{image}`: {source}")]
    Manifest {
        /// The image.
        image: String,
        /// Why.
        source: ManifestError,
    },
    /// The disk is too full to begin.
    #[error(
        "cannot pull `{image}`: it needs at least {} of disk space and {} is free; `hoist image prune` may make room",
        ByteSize(*needed).decimal(), ByteSize(*free).decimal()
    )]
    NoRoom {
        /// The image.
        image: String,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A platform that is none.
    #[error("`{0}` is no platform; write it as linux/amd64")]
    Platform(String),
    /// Another answer of the registry.
    #[error("cannot pull `{image}` from registry {registry}: {cause}")]
    Registry {
        /// The image.
        image: String,
        /// The registry.
        registry: String,
        /// The registry's words.
        cause: String,
    },
    /// The image could not be kept.
    #[error("cannot keep the image `{image}`: {source}")]
    Store {
        /// The image.
        image: String,
        /// Why.
        source: StoreError,
    },
}

/// What a pull needs beside the name.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// `linux/amd64`; the host's own when `None`.
    pub platform: Option<String>,
    /// The image gets no name: it is another than the name means on this machine.
    pub nameless: bool,
    /// Registries spoken to over plain HTTP, besides `localhost` and loopback addresses.
    pub insecure: Vec<String>,
    /// The process environment: proxies, `DOCKER_CONFIG`, CA bundle.
    pub env: crate::base::env::Env,
    /// Ends the pull when used.
    pub cancel: Cancel,
}

/// Looks whether the files can be used that say how registries are spoken to, and the certificates of those of these
/// images: whoever is about to ask for several says once what is wrong.
///
/// # Errors
/// The first file that can't be used, where and why.
pub fn check_settings(references: &[Reference], env: &crate::base::env::Env) -> Result<(), String> {
    config::Settings::read(env).map_err(|error| error.to_string())?;
    let registries: BTreeSet<&str> = references.iter().map(|one| one.registry.as_str()).collect();
    for registry in registries {
        trust::own(registry, env).map_err(|text| format!("registry {registry}: {text}"))?;
    }
    Ok(())
}

/// Pulls an image: manifest, config and missing layers, every digest verified while streaming.
///
/// # Errors
/// [`PullError`].
pub fn pull(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    events: &dyn EventSink,
) -> Result<Image, PullError> {
    wait(
        reference,
        options,
        pull::run(store, reference, options, events),
    )
}

/// Fetches the manifest of an image, or of what looks like one, and its config.
///
/// # Errors
/// [`PullError`].
pub fn look(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    events: &dyn EventSink,
) -> Result<(Manifest, Vec<u8>), PullError> {
    wait(
        reference,
        options,
        pull::look(store, reference, options, events),
    )
}

/// Fetches one layer, by its diff id and the blob it comes as.
///
/// # Errors
/// [`PullError`].
pub fn layer(
    store: &Store,
    reference: &Reference,
    id: &Digest,
    blob: &Descriptor,
    options: &PullOptions,
    events: &dyn EventSink,
) -> Result<(), PullError> {
    let work = pull::one(store, reference, id, blob, options, events);
    wait(reference, options, work)
}

/// Fetches an artifact: its manifest, and its layers if it is one of `kinds`, unless `known` says of its digest that
/// they are here.
///
/// # Errors
/// [`PullError`].
pub fn artifact(
    reference: &Reference,
    kinds: &[&str],
    options: &PullOptions,
    known: impl Fn(&Digest) -> bool,
) -> Result<Artifact, PullError> {
    wait(
        reference,
        options,
        artifact::run(reference, kinds, options, known),
    )
}

/// Runs work of a registry to its end, or until the token is used.
fn wait<T>(
    reference: &Reference,
    options: &PullOptions,
    work: impl Future<Output = Result<T, PullError>>,
) -> Result<T, PullError> {
    let failed = |cause: String| PullError::Registry {
        image: reference.to_string(),
        registry: reference.registry.clone(),
        cause,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(format!("cannot start its connections: {error}")))?;
    let done = runtime.block_on(async {
        let work = std::pin::pin!(work);
        let stop = std::pin::pin!(cancelled(&options.cancel));
        match futures_util::future::select(work, stop).await {
            futures_util::future::Either::Left((done, _)) => done,
            futures_util::future::Either::Right(_) => {
                Err(PullError::Cancelled(reference.to_string()))
            }
        }
    });
    // A name lookup that still waits for its answer must not hold up the error.
    runtime.shutdown_background();
    done
}

/// Registries that are asked for digests at the same time.
const ASKED_AT_ONCE: usize = 8;

/// Asks registries for the digests that names have now, in the order of the names. Nothing is kept.
///
/// # Errors
/// The first name that can't be resolved, in the order of the names, and why.
pub fn digests(
    references: &[Reference],
    options: &PullOptions,
) -> Result<Vec<Digest>, Box<(Reference, PullError)>> {
    let answers = ask_digests(references, options).into_iter();
    let named = |(answer, reference): (Result<Digest, PullError>, &Reference)| {
        answer.map_err(|error| Box::new((reference.clone(), error)))
    };
    answers.zip(references).map(named).collect()
}

/// As [`digests`], with an answer for each name.
pub fn ask_digests(
    references: &[Reference],
    options: &PullOptions,
) -> Vec<Result<Digest, PullError>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = |reference: &Reference| PullError::Registry {
                image: reference.to_string(),
                registry: reference.registry.clone(),
                cause: format!("cannot start its connections: {error}"),
            };
            return references.iter().map(|one| Err(failed(one))).collect();
        }
    };
    let answers = runtime.block_on(
        futures_util::stream::iter(references)
            .map(|reference| digest(reference, options))
            .buffered(ASKED_AT_ONCE)
            .collect(),
    );
    runtime.shutdown_background();
    answers
}

async fn digest(reference: &Reference, options: &PullOptions) -> Result<Digest, PullError> {
    let registry = client::Registry::new(reference, options)?;
    match registry.head().await {
        Ok(Some(digest)) => Ok(digest),
        // Some registries don't say, or not in this way.
        Ok(None) | Err(PullError::Registry { .. }) => {
            registry.manifest(None).await.map(|(_, digest)| digest)
        }
        Err(error) => Err(error),
    }
}

/// How often is looked whether a pull was cancelled.
const CANCEL_LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// Ends once the token is used.
async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_LOOK).await;
    }
}
