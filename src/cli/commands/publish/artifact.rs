//! A project as an OCI artifact: its layers, its manifest, sending both.
//!
//! In: files. Out: a manifest that `docker compose -f oci://…` and hoist load, byte for byte as Compose writes it but
//! for the time and the version. Imports: `image`, `cli`.
//! Source: Compose, `internal/oci/push.go`; OCI image spec 1.1, `manifest.md`, "Guidelines for Artifact Usage".

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::base::event::EventSink;
use crate::cli::app::App;
use crate::cli::args::PublishArgs;
use crate::cli::exit::Failure;
use crate::compose::publish::Publication;
use crate::image::digest::Digest;
use crate::image::manifest::media;
use crate::image::reference::Reference;
use crate::image::registry::{self, PushError, PushOptions};
use crate::image::store::Store;

/// A project.
const PROJECT: &str = "application/vnd.docker.compose.project";
/// The config of a project for registries without artifact types.
const EMPTY: &str = "application/vnd.docker.compose.config.empty.v1+json";
/// The config of an artifact that needs none.
const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A layer: a compose file.
const FILE: &str = "application/vnd.docker.compose.file+yaml";
/// A layer: an env file.
const ENV: &str = "application/vnd.docker.compose.envfile";
/// Who wrote it.
const VERSION: &str = concat!("hoist-", env!("CARGO_PKG_VERSION"));

/// The form of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OciVersion {
    /// For registries that know no artifact types.
    V1_0,
    /// With the type of the artifact.
    V1_1,
}

impl OciVersion {
    /// The form that a flag names.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "1.0" => Ok(Self::V1_0),
            "1.1" => Ok(Self::V1_1),
            other => {
                let text = format!("unsupported OCI version: {other}");
                Err(Failure::new(text).hint("write 1.0 or 1.1"))
            }
        }
    }
}

/// A file of the artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    media_type: &'static str,
    annotations: BTreeMap<&'static str, String>,
    bytes: Vec<u8>,
}

impl Layer {
    /// A compose file.
    pub(super) fn compose(name: &str, extended: bool, text: String) -> Self {
        let mut annotations = BTreeMap::from([
            ("com.docker.compose.file", name.to_owned()),
            ("com.docker.compose.version", VERSION.to_owned()),
        ]);
        if extended {
            annotations.insert("com.docker.compose.extends", "true".to_owned());
        }
        Self {
            media_type: FILE,
            annotations,
            bytes: text.into_bytes(),
        }
    }

    fn env_file(name: String, bytes: Vec<u8>) -> Self {
        let annotations = BTreeMap::from([
            ("com.docker.compose.envfile", name),
            ("com.docker.compose.version", VERSION.to_owned()),
        ]);
        Self {
            media_type: ENV,
            annotations,
            bytes,
        }
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            annotations: Some(&self.annotations),
            ..Entry::of(self.media_type, &self.bytes)
        }
    }
}

/// What is published, as layers: compose files, then env files.
pub(super) fn layers(published: Publication) -> Vec<Layer> {
    let files = published.files.into_iter();
    let files = files.map(|file| Layer::compose(&file.name, file.extended, file.text));
    let env_files = published.env_files.into_iter();
    let env_files = env_files.map(|file| Layer::env_file(file.name, file.bytes));
    files.chain(env_files).collect()
}

/// A descriptor that holds its content; the order of the keys is that of Compose.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a BTreeMap<&'static str, String>>,
    data: String,
}

impl<'a> Entry<'a> {
    fn of(media_type: &'a str, bytes: &[u8]) -> Self {
        Entry {
            media_type,
            digest: Digest::of(bytes).to_string(),
            size: bytes.len(),
            annotations: None,
            data: STANDARD.encode(bytes),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    config: Entry<'a>,
    layers: Vec<Entry<'a>>,
    annotations: BTreeMap<&'a str, String>,
}

/// The manifest of an artifact of these layers, made at a time in seconds.
fn manifest(version: OciVersion, layers: &[Layer], now: Timestamp) -> Vec<u8> {
    let (artifact_type, config) = match version {
        OciVersion::V1_1 => (Some(PROJECT), OCI_EMPTY),
        OciVersion::V1_0 => (None, EMPTY),
    };
    let created = "org.opencontainers.image.created";
    // As Compose: without a fraction.
    let created_at = now.rfc3339();
    let created_at = match created_at.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => created_at,
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST,
        artifact_type,
        config: Entry::of(config, b"{}"),
        layers: layers.iter().map(Layer::entry).collect(),
        annotations: BTreeMap::from([(created, created_at)]),
    };
    serde_json::to_vec(&manifest).unwrap_or_default()
}

/// Sends artifacts.
pub(super) struct Sender<'a> {
    store: std::sync::Arc<Store>,
    to: &'a Reference,
    options: PushOptions,
    events: &'a dyn EventSink,
}

impl<'a> Sender<'a> {
    /// To a name.
    pub(super) fn new(
        app: &App,
        args: &PublishArgs,
        to: &'a Reference,
        events: &'a dyn EventSink,
    ) -> Result<Self, Failure> {
        let mut insecure = app.globals.insecure_registry.clone();
        if args.insecure {
            insecure.push(to.registry.clone());
        }
        Ok(Self {
            store: app.store()?,
            to,
            options: PushOptions {
                insecure,
                env: app.env.clone(),
                ..PushOptions::default()
            },
            events,
        })
    }

    /// Sends a project; gives the digest of its manifest. Without a version the newer form is tried first.
    pub(super) fn send(
        &self,
        version: Option<OciVersion>,
        layers: &[Layer],
    ) -> Result<Digest, PushError> {
        let now = Timestamp::now();
        let push = |version| {
            let bytes = manifest(version, layers, now);
            let mut documents = vec![b"{}".to_vec()];
            documents.extend(layers.iter().map(|layer| layer.bytes.clone()));
            registry::push_manifest(
                &self.store,
                &bytes,
                media::MANIFEST,
                &documents,
                self.to,
                &self.options,
                self.events,
            )
        };
        match (version, push(version.unwrap_or(OciVersion::V1_1))) {
            // A registry that knows no artifact types refuses the manifest.
            (None, Err(PushError::Registry { .. })) => push(OciVersion::V1_0),
            (_, done) => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_that_of_docker_compose() {
        let text = "services:\n  b: {labels: {x: y}}\n".to_owned();
        let layer = Layer::compose("over.yaml", false, text);
        let at = Timestamp(1_000_000_000_000_000_000);
        let found = manifest(OciVersion::V1_1, &[layer], at);
        let want = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"artifactType\":\
             \"application/vnd.docker.compose.project\",\"config\":{{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\
             \"digest\":\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2,\"data\":\"e30=\"}},\
             \"layers\":[{{\"mediaType\":\"application/vnd.docker.compose.file+yaml\",\"digest\":\
             \"sha256:54d963c9b42461701f3b40780d369743f992ea48724668de02c6dfd3fc506d63\",\"size\":32,\"annotations\":\
             {{\"com.docker.compose.file\":\"over.yaml\",\"com.docker.compose.version\":\"{VERSION}\"}},\"data\":\
             \"c2VydmljZXM6CiAgYjoge2xhYmVsczoge3g6IHl9fQo=\"}}],\"annotations\":\
             {{\"org.opencontainers.image.created\":\"2001-09-09T01:46:40Z\"}}}}"
        );
        assert_eq!(String::from_utf8(found).unwrap(), want);
    }
}
