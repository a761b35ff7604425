//! Local stand-in for the builder's interface.
#![expect(missing_docs, reason = "replaced on merge")]
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::env::Env;
use crate::base::event::EventSink;
use crate::engine::Cancel;
use crate::engine::sandbox::{Sandbox, SandboxNetwork};
use crate::engine::spec::HostAddr;
use crate::image::reference::Reference;
use crate::image::registry::PullError;
use crate::image::store::{Image, Store};

#[derive(Debug, Clone)]
pub enum ContextSource { Dir(PathBuf), Empty }
#[derive(Debug, Clone)]
pub enum DockerfileSource { Path(PathBuf), Inline(String) }
#[derive(Debug, Clone)]
pub enum SecretSource { File(PathBuf), Bytes(Vec<u8>) }
#[derive(Debug, Clone)]
pub enum NamedContext { Dir(PathBuf), Image(Reference), Built(Image) }

#[derive(Debug, Clone)]
pub struct BuildRequest {
    pub target_name: String,
    pub context: ContextSource,
    pub dockerfile: DockerfileSource,
    pub target: Option<String>,
    pub args: Vec<(String, Option<String>)>,
    pub labels: BTreeMap<String, String>,
    pub tags: Vec<Reference>,
    pub secrets: BTreeMap<String, SecretSource>,
    pub no_cache: bool,
    pub pull: bool,
    pub network: SandboxNetwork,
    pub extra_hosts: Vec<(String, HostAddr)>,
    pub shm_size: Option<u64>,
    pub platform: Option<String>,
    pub named_contexts: BTreeMap<String, NamedContext>,
    pub trust_host_ca: Option<PathBuf>,
    pub env: Env,
}
pub struct Builder<'a> {
    pub store: &'a Store,
    pub sandbox: &'a dyn Sandbox,
    pub events: &'a dyn EventSink,
    pub cancel: &'a Cancel,
    pub pull: &'a (dyn Fn(&Reference) -> Result<Image, PullError> + Sync),
    pub cache_dir: PathBuf,
    pub parallel: usize,
}
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("invalid")]
    Invalid { diagnostics: Vec<crate::base::diag::Diagnostic>, sources: crate::base::span::SourceMap },
    #[error("the build was cancelled")]
    Cancelled,
    #[error("{0}")]
    Other(String),
}
pub fn build(request: &BuildRequest, _: &Builder<'_>) -> Result<Image, BuildError> {
    Err(BuildError::Other(request.target_name.clone()))
}
