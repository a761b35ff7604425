//! Manifests and indexes: which config and layers an image is made of, and which image suits a platform.
//!
//! In and out: JSON documents. Never reads or writes a file. Imports: `digest`, `archive::pack`.
//! Rules: OCI image spec 1.1, `manifest.md`, `image-index.md`, `descriptor.md`; Docker's schema 2 differs only
//! in its media types.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// Media types written and read here.
pub mod media {
    use crate::image::archive::pack::Packing;

    /// An OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer: an archive.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer: an archive compressed by gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer: an archive compressed by zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

    /// How the media types of Docker's schema 1 begin.
    pub(super) const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";

    /// Whether a config of this type is that of an image. Source: moby, `distribution/registry.go`, `ImageTypes`: some
    /// registries have written the others there.
    pub fn is_config(media_type: &str) -> bool {
        let other = [
            "application/octet-stream",
            "application/json",
            "text/html",
            "",
        ];
        [CONFIG, DOCKER_CONFIG].contains(&media_type) || other.contains(&media_type)
    }

    /// A layer compressed in this way, in an OCI manifest or in Docker's.
    pub fn layer(packing: Packing, docker: bool) -> &'static str {
        match (packing, docker) {
            (Packing::Gzip, false) => LAYER_GZIP,
            (Packing::Zstd, false) => LAYER_ZSTD,
            (Packing::Plain, false) => LAYER,
            (Packing::Gzip, true) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Packing::Zstd, true) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            (Packing::Plain, true) => "application/vnd.docker.image.rootfs.diff.tar",
        }
    }
}

/// Why a document is no manifest that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of the right form.
    #[error("the manifest is malformed: {0}")]
    Malformed(String),
    /// It has both `layers` and `manifests`, so that readers would disagree on what it is.
    ///
    /// Source: OCI image spec, `image-index.md`; GHSA-77vh-xpmg-72qh.
    #[error("the manifest has both `layers` and `manifests`")]
    Ambiguous,
    /// Something else that registries hold.
    #[error("it is no image but an artifact of type `{0}`")]
    Artifact(String),
    /// A layer that lies outside of registries, as those of Windows once did.
    #[error(
        "its layer {digest} (type `{media_type}`) lies outside of the registry; what it would take from elsewhere is not \
         part of the image"
    )]
    Foreign {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// The form of before 2016, whose digests say nothing of the content.
    #[error(
        "it is in the registry in Docker's old form only (manifest schema 1), which nothing can verify; pull it with a \
         Docker of before 2024 and push it anew"
    )]
    Old,
    /// A form no longer or not yet in use.
    #[error("manifests of type `{0}` are not supported")]
    Unsupported(String),
    /// An index without the platform.
    #[error(
        "no matching manifest for {wanted} in the manifest list entries: {}",
        others(offered)
    )]
    NoPlatform {
        /// `linux/amd64`.
        wanted: String,
        /// What it has.
        offered: Vec<String>,
    },
}

/// Points to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The platform it is for, in an index.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<Platform>,
    /// Remarks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor of content, with neither platform nor remarks.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self {
            media_type,
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// Systems that a platform may name by themselves, as Go names them.
const SYSTEMS: [&str; 16] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];
/// Architectures that a platform may name by themselves, as Go names them.
const ARCHITECTURES: [&str; 15] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x", "sparc64", "wasm",
];

fn is_system(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    SYSTEMS.contains(&word.as_str())
}

/// Operating system and processor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, as Go names it.
    pub architecture: String,
    /// `v7`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }
    /// Parses `os[/architecture[/variant]]`; a lone `amd64` is an architecture of Linux. Names that mean the same become
    /// one. Source: containerd, `platforms`, `normalizeArch`.
    ///
    /// # Errors
    /// The text itself when it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os] if is_system(os) => {
                let host = Self::host();
                return Ok(Self {
                    os: os.to_ascii_lowercase(),
                    ..host
                });
            }
            [architecture] => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some(*variant)),
            _ => return Err(text.to_owned()),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(text.to_owned());
        }
        let lower = |text: &str| text.to_ascii_lowercase();
        let (os, variant) = (lower(os), variant.map(lower));
        let (architecture, variant) = match (lower(architecture).as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64".to_owned(), None),
            ("x86_64" | "x86-64", Some(_)) => ("amd64".to_owned(), variant),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64".to_owned(), None),
            ("aarch64", Some(_)) => ("arm64".to_owned(), variant),
            ("armhf", _) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
            ("arm", None | Some("7")) => ("arm".to_owned(), Some("v7".to_owned())),
            ("arm", Some(level @ ("5" | "6" | "8"))) => {
                ("arm".to_owned(), Some(format!("v{level}")))
            }
            ("i386" | "i486" | "i586" | "i686", _) => ("386".to_owned(), None),
            (other, _) => (other.to_owned(), variant),
        };
        // With a system in front any word may be an architecture that is not known here.
        if parts.len() == 1 && !ARCHITECTURES.contains(&architecture.as_str()) {
            return Err(text.to_owned());
        }
        Ok(Self {
            os,
            architecture,
            variant,
        })
    }
    /// Whether what is made for `offer` is right for this platform.
    pub fn takes(&self, offer: &Self) -> bool {
        self.suits(offer).is_some()
    }
    /// How well an offered platform suits; `None` when it does not.
    fn suits(&self, offer: &Self) -> Option<u32> {
        if self.os != offer.os || self.architecture != offer.architecture {
            return None;
        }
        let level = |variant: &Option<String>, absent: u32| {
            let text = variant
                .as_deref()
                .unwrap_or_default()
                .trim_start_matches('v');
            text.parse().unwrap_or(absent)
        };
        let absent = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            "amd64" => 1,
            _ => 0,
        };
        let (wanted, offered) = (level(&self.variant, absent), level(&offer.variant, absent));
        (offered <= wanted).then_some(offered)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// One image: its config and its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::MANIFEST`] or [`media::DOCKER_MANIFEST`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
    /// Remarks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }
}

/// Several images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::INDEX`] or [`media::DOCKER_LIST`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub media_type: Option<String>,
    /// The images.
    pub manifests: Vec<Descriptor>,
    /// Remarks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl Default for Index {
    fn default() -> Self {
        let media_type = Some(media::INDEX.to_owned());
        Self {
            schema_version: 2,
            media_type,
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// What can be had instead of an image that there is not.
fn others(offered: &[String]) -> String {
    match offered.first() {
        None => "it has none for any platform".to_owned(),
        Some(first) => format!(
            "it has {}; write `platform: {first}` to take that one",
            offered.join(", ")
        ),
    }
}

impl Index {
    /// The image for a platform.
    ///
    /// # Errors
    /// [`ManifestError::NoPlatform`].
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, ManifestError> {
        let images = || {
            // Build tools put signatures and the like beside the images, for no platform at all.
            let real = |d: &&Descriptor| !d.annotations.contains_key("vnd.docker.reference.type");
            self.manifests.iter().filter(real)
        };
        let mut best: Option<(u32, &Descriptor)> = None;
        for descriptor in images() {
            let Some(fit) = descriptor
                .platform
                .as_ref()
                .and_then(|offer| wanted.suits(offer))
            else {
                continue;
            };
            // The first of equals, as the specification asks.
            if best.is_none_or(|(so_far, _)| fit > so_far) {
                best = Some((fit, descriptor));
            }
        }
        match best {
            Some((_, descriptor)) => Ok(descriptor),
            None => match self.manifests.as_slice() {
                [only] if only.platform.is_none() => Ok(only),
                _ => Err(ManifestError::NoPlatform {
                    wanted: wanted.to_string(),
                    offered: images()
                        .filter_map(|d| Some(d.platform.as_ref()?.to_string()))
                        .collect(),
                }),
            },
        }
    }
}

/// What a registry may answer when asked for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several to select from.
    Index(Index),
}

impl Document {
    /// Parses a manifest or an index.
    ///
    /// # Errors
    /// [`ManifestError`] except `NoPlatform`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let malformed = |error: serde_json::Error| ManifestError::Malformed(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
        let has = |key: &str| value.get(key).is_some_and(|value| !value.is_null());
        if has("layers") && has("manifests") {
            return Err(ManifestError::Ambiguous);
        }
        let said = value
            .get("mediaType")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let index = match said {
            "" => has("manifests"),
            media::MANIFEST | media::DOCKER_MANIFEST => false,
            media::INDEX | media::DOCKER_LIST => true,
            other if other.starts_with(media::SCHEMA_1) => return Err(ManifestError::Old),
            other => return Err(ManifestError::Unsupported(other.to_owned())),
        };
        match value
            .get("schemaVersion")
            .and_then(serde_json::Value::as_u64)
        {
            Some(2) => {}
            Some(1) => return Err(ManifestError::Old),
            other => {
                let version = other.map_or_else(|| "none".to_owned(), |number| number.to_string());
                return Err(ManifestError::Unsupported(format!(
                    "schema version {version}"
                )));
            }
        }
        if index {
            serde_json::from_value(value)
                .map(Self::Index)
                .map_err(malformed)
        } else {
            serde_json::from_value(value)
                .map(Self::Manifest)
                .map_err(malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(platform: &str, byte: u8) -> Descriptor {
        let mut descriptor = Descriptor::new(media::MANIFEST, Digest::from_bytes([byte; 32]), 1);
        descriptor.platform = Some(Platform::parse(platform).unwrap());
        descriptor
    }

    #[test]
    fn the_highest_variant_that_still_runs_is_selected() {
        let manifests = vec![
            offer("linux/arm/v5", 1),
            offer("linux/arm/v7", 2),
            offer("linux/amd64", 3),
        ];
        let index = Index {
            manifests,
            ..Index::default()
        };
        let pick = |wanted: &str| {
            index
                .select(&Platform::parse(wanted).unwrap())
                .map(|d| d.digest.hex()[..2].to_owned())
        };
        assert_eq!(pick("linux/arm/v7"), Ok("02".to_owned()));
        assert_eq!(pick("linux/arm/v6"), Ok("01".to_owned()));
        assert_eq!(pick("amd64"), Ok("03".to_owned()));
        assert_eq!(
            pick("linux/s390x").unwrap_err().to_string(),
            "no matching manifest for linux/s390x in the manifest list entries: it has linux/arm/v5, linux/arm/v7, \
             linux/amd64; write `platform: linux/arm/v5` to take that one"
        );
    }

    #[test]
    fn one_word_is_a_known_system_or_architecture() {
        let host = Platform::host();
        assert_eq!(Platform::parse("Linux"), Ok(host.clone()));
        let arm = Platform::parse("aarch64").unwrap();
        assert_eq!(
            (arm.os.as_str(), arm.architecture.as_str()),
            ("linux", "arm64")
        );
        let windows = Platform::parse("windows").unwrap();
        assert_eq!(
            (windows.os.as_str(), windows.architecture),
            ("windows", host.architecture)
        );
        assert_eq!(Platform::parse("bogus"), Err("bogus".to_owned()));
        let unheard = Platform::parse("linux/bogus").unwrap();
        assert_eq!(unheard.architecture, "bogus");
    }

    #[test]
    fn a_document_that_is_both_is_refused() {
        let both = br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
        assert_eq!(Document::parse(both), Err(ManifestError::Ambiguous));
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert_eq!(Document::parse(old), Err(ManifestError::Old));
        let unknown = Document::parse(br#"{"schemaVersion":3,"layers":[]}"#);
        assert_eq!(
            unknown.unwrap_err().to_string(),
            "manifests of type `schema version 3` are not supported"
        );
        assert!(matches!(
            Document::parse(b"{"),
            Err(ManifestError::Malformed(_))
        ));
    }
}
