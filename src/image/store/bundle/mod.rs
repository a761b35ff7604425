//! Images as archives and directories, for machines without a registry.
//!
//! In: images, or files nobody vouches for. Out: files, or images. What Docker writes since 25 is written: an OCI layout
//! with a `manifest.json` beside it, so that readers of either form understand it. Read are these, OCI layouts alone,
//! Docker's archives of all ages ([`legacy`]) and skopeo's `dir:`. What came as blobs is written byte for byte as it came, with
//! the manifest it came with, so that digests stay what they are.
//! Imports: `archive`, `layer`, `manifest`. Rules: OCI image spec 1.1, `image-layout.md`; moby `image/tarexport`; containers/image
//! `docs/containers-transports.5.md`.

mod files;
mod find;
mod legacy;
mod load;
mod save;
mod target;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StoreError;
use crate::image::digest::Digest;
pub use files::Input;
pub use load::Loaded;
pub use save::{Format, Saved, Saving};
pub use target::Target;

/// The annotation with a whole name. Source: containerd `images.AnnotationImageName`.
const NAME: &str = "io.containerd.image.name";
/// The annotation with a tag. Source: OCI image spec, `annotations.md`.
const TAG: &str = "org.opencontainers.image.ref.name";
/// The annotation of what a builder puts beside images. Source: BuildKit `docs/attestations/attestation-storage.md`.
const ATTESTATION: &str = "vnd.docker.reference.type";
/// The file that makes an OCI layout of a directory.
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    /// What the layers are, by their diff ids; only written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer_sources: Option<Value>,
}

fn corrupt(text: impl Into<String>) -> StoreError {
    StoreError::Corrupt(text.into())
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
