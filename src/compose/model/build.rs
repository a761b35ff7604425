//! `build` of a service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;

use super::Labels;
use crate::base::name::ServiceName;
use crate::base::scalar::ByteSize;
use crate::base::span::{Span, Spanned};

/// How a service's image is built.
#[derive(Debug, Clone, Default)]
pub struct BuildSpec {
    /// Where it is declared.
    pub span: Option<Span>,
    /// `context`.
    pub context: Option<Spanned<ContextRef>>,
    /// `dockerfile`, relative to the context; `Dockerfile` when `None`.
    pub dockerfile: Option<Spanned<String>>,
    /// `dockerfile_inline`.
    pub dockerfile_inline: Option<Spanned<String>>,
    /// `target`.
    pub target: Option<Spanned<String>>,
    /// `args`; `None` is a name the host did not set.
    pub args: IndexMap<String, Option<String>>,
    /// `labels`.
    pub labels: Labels,
    /// `tags`.
    pub tags: Vec<Spanned<String>>,
    /// `additional_contexts`.
    pub additional_contexts: IndexMap<String, Spanned<ContextRef>>,
    /// `secrets`: id inside the build and key under the top-level `secrets`.
    pub secrets: Vec<BuildSecret>,
    /// `no_cache`.
    pub no_cache: bool,
    /// `pull`.
    pub pull: bool,
    /// `network`: `default`, `none`, `host`.
    pub network: Option<Spanned<String>>,
    /// `shm_size`.
    pub shm_size: Option<ByteSize>,
    /// `extra_hosts`: name and address text.
    pub extra_hosts: Vec<(String, String)>,
    /// `ulimits`: soft and hard.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// `platforms`.
    pub platforms: Vec<Spanned<String>>,
    /// `privileged`.
    pub privileged: bool,
    /// `cache_from`.
    pub cache_from: Vec<Spanned<String>>,
    /// `cache_to`.
    pub cache_to: Vec<Spanned<String>>,
    /// `no_cache_filter`: stages that are built again.
    pub no_cache_filter: Vec<String>,
    /// `ssh`: ids, and for each the path of its socket or key; `None` is the agent of the user.
    pub ssh: IndexMap<String, Spanned<Option<String>>>,
    /// `entitlements`.
    pub entitlements: Vec<Spanned<String>>,
    /// `provenance`.
    pub provenance: Option<Spanned<Attestation>>,
    /// `sbom`.
    pub sbom: Option<Spanned<Attestation>>,
    /// `isolation`; Windows only.
    pub isolation: Option<Spanned<String>>,
    /// `x-hoist.trust_host_ca` of the build.
    pub trust_host_ca: bool,
}

/// Where a build context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextRef {
    /// A directory of the host, absolute.
    Dir(PathBuf),
    /// An image: `docker-image://alpine`.
    Image(String),
    /// The image of another service: `service:base`.
    Service(ServiceName),
    /// A git repository, an archive's address, an OCI layout, a stage of the Dockerfile: as written.
    Remote(String),
}

/// One entry of `build.secrets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSecret {
    /// The id that `RUN --mount=type=secret` names.
    pub id: String,
    /// Key under the top-level `secrets`.
    pub source: String,
    /// `uid`: the file's owner.
    pub uid: Option<String>,
    /// `gid`: the file's group.
    pub gid: Option<String>,
    /// `mode`: permission bits.
    pub mode: Option<u32>,
    /// Where it is said.
    pub span: Option<Span>,
}

/// `provenance`, `sbom`: what is attested about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attestation {
    /// Nothing.
    Off,
    /// What the builder makes by itself.
    On,
    /// As these parameters of the builder say: `mode=max`.
    With(String),
}
