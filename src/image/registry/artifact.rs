//! Artifacts: content of any kind in a registry, small enough for memory.
//!
//! In: a [`Registry`]. Out: the layers' bytes with their remarks, every digest verified, or a typed error. Images are
//! pulled by `pull`. Imports: `client`, `digest`. Rules: OCI image spec 1.1, `manifest.md`, "Guidelines for Artifact
//! Usage".

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Registry;
use super::{PullError, PullOptions};
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use crate::image::reference::Reference;

/// Longest layer in bytes.
const LONGEST_PART: u64 = 16 << 20;
/// Longest artifact in bytes.
const LONGEST: u64 = 64 << 20;
/// Most layers.
const MOST: usize = 128;

/// An artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The digest of its manifest, or of the index that was named.
    pub digest: Digest,
    /// `artifactType`, or the media type of its config where there is none.
    pub kind: String,
    /// Its layers in order; `None` where the caller has them, or the kind is not asked for.
    pub parts: Option<Vec<Part>>,
}

/// One layer of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub media_type: String,
    /// Remarks.
    pub annotations: BTreeMap<String, String>,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A manifest or an index, as far as artifacts need it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    artifact_type: Option<String>,
    config: Option<Entry>,
    #[serde(default)]
    layers: Vec<Entry>,
    #[serde(default)]
    manifests: Vec<Entry>,
}

/// A descriptor.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    media_type: String,
    artifact_type: Option<String>,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Document {
    fn kind(&self) -> String {
        let own = self.artifact_type.clone().filter(|kind| !kind.is_empty());
        let config = || self.config.as_ref().map(|config| config.media_type.clone());
        own.or_else(config).unwrap_or_default()
    }
}

/// Fetches an artifact; of an index the last one of the first of `kinds`.
pub(super) async fn run(
    reference: &Reference,
    kinds: &[&str],
    options: &PullOptions,
    known: impl Fn(&Digest) -> bool,
) -> Result<Artifact, PullError> {
    let registry = Registry::new(reference, options)?;
    let (bytes, digest) = registry.manifest(None).await?;
    let parse = |bytes: &[u8]| {
        let parsed = serde_json::from_slice::<Document>(bytes);
        parsed.map_err(|error| registry.corrupt(format!("its manifest is malformed: {error}")))
    };
    let mut document = parse(&bytes)?;
    if !document.manifests.is_empty() {
        let kind = kinds.first().copied();
        let fits = |entry: &&Entry| entry.artifact_type.as_deref() == kind;
        let Some(chosen) = document.manifests.iter().rfind(fits) else {
            let kind = kind.unwrap_or_default();
            let text = format!("its index names nothing of the type {kind}");
            return Err(refused(reference, text));
        };
        let (bytes, _) = registry.manifest(Some(chosen.digest)).await?;
        document = parse(&bytes)?;
    }
    let mut artifact = Artifact {
        digest,
        kind: document.kind(),
        parts: None,
    };
    if known(&digest) || !kinds.contains(&artifact.kind.as_str()) {
        return Ok(artifact);
    }
    let total = document
        .layers
        .iter()
        .fold(0u64, |total, layer| total.saturating_add(layer.size));
    if document.layers.len() > MOST || total > LONGEST {
        let text = format!(
            "it has {} layers of {total} bytes; at most {MOST} of {LONGEST} bytes are read",
            document.layers.len()
        );
        return Err(refused(reference, text));
    }
    let mut parts = Vec::new();
    for layer in document.layers {
        parts.push(part(&registry, reference, layer).await?);
    }
    artifact.parts = Some(parts);
    Ok(artifact)
}

fn refused(reference: &Reference, cause: String) -> PullError {
    PullError::Registry {
        image: reference.to_string(),
        registry: reference.registry.clone(),
        cause,
    }
}

/// Fetches one layer.
async fn part(registry: &Registry, reference: &Reference, layer: Entry) -> Result<Part, PullError> {
    if layer.size > LONGEST_PART {
        let text = format!(
            "a layer is {} bytes long; at most {LONGEST_PART} are read",
            layer.size
        );
        return Err(refused(reference, text));
    }
    let blob = Descriptor::new(&layer.media_type, layer.digest, layer.size);
    let bytes = registry.small_blob(&blob, "a layer").await?;
    Ok(Part {
        media_type: layer.media_type,
        annotations: layer.annotations,
        bytes,
    })
}
