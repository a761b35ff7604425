//! Top-level networks, volumes, configs, secrets and models.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::span::{Span, Spanned};

/// Labels, sorted by key.
pub type Labels = BTreeMap<String, String>;

/// One entry of `networks`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Network {
    /// Its key.
    pub key: String,
    /// Where it is declared; `None` for an implied `default`.
    pub span: Option<Span>,
    /// Full name: `name:`, or project and key.
    pub name: String,
    /// Whether it must exist already.
    pub external: bool,
    /// `driver`.
    pub driver: Option<Spanned<String>>,
    /// `driver_opts`.
    pub driver_opts: BTreeMap<String, Spanned<String>>,
    /// `ipam.config`.
    pub subnets: Vec<IpamConfig>,
    /// `ipam.driver`.
    pub ipam_driver: Option<Spanned<String>>,
    /// `ipam.options`.
    pub ipam_options: BTreeMap<String, String>,
    /// `attachable`: whether containers outside of the project may join.
    pub attachable: bool,
    /// `enable_ipv4`; true when not said.
    pub enable_ipv4: Option<bool>,
    /// `internal`.
    pub internal: bool,
    /// `enable_ipv6`.
    pub enable_ipv6: bool,
    /// `labels`.
    pub labels: Labels,
}

/// One entry of `ipam.config`. What is no network stays a text: it matters only to who makes the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpamConfig {
    /// Where it is.
    pub span: Option<Span>,
    /// `subnet`.
    pub subnet: Option<Spanned<String>>,
    /// `ip_range`.
    pub ip_range: Option<Spanned<String>>,
    /// `gateway`.
    pub gateway: Option<Spanned<IpAddr>>,
    /// `aux_addresses`.
    pub aux_addresses: BTreeMap<String, Spanned<IpAddr>>,
}

/// One entry of `volumes`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Volume {
    /// Its key.
    pub key: String,
    /// Where it is declared.
    pub span: Option<Span>,
    /// Full name.
    pub name: String,
    /// Whether it must exist already.
    pub external: bool,
    /// `driver`.
    pub driver: Option<String>,
    /// `driver_opts`.
    pub driver_opts: BTreeMap<String, String>,
    /// Where `driver` and each of its options stand.
    pub places: BTreeMap<String, Span>,
    /// `labels`.
    pub labels: Labels,
}

/// One entry of `configs` or `secrets`.
#[derive(Debug, Clone, PartialEq)]
pub struct FileObject {
    /// Its key.
    pub key: String,
    /// Where it is declared.
    pub span: Option<Span>,
    /// Full name.
    pub name: String,
    /// Where its content comes from.
    pub source: FileSource,
    /// `labels`.
    pub labels: Labels,
    /// `template_driver`.
    pub template_driver: Option<Spanned<String>>,
    /// `driver`, of secrets only.
    pub driver: Option<Spanned<String>>,
    /// `driver_opts`, of secrets only.
    pub driver_opts: BTreeMap<String, String>,
}

/// Where the content of a config or secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum FileSource {
    /// `file`, absolute.
    File(PathBuf),
    /// `environment`: the variable's name, and its value if it is set.
    Environment(String, Option<String>),
    /// `content`.
    Content(String),
    /// `x-hoist.command`: a program of the host that prints it, with its arguments.
    Command(Spanned<Vec<String>>),
    /// `external: true`.
    External,
}

impl std::fmt::Debug for FileSource {
    /// Leaves values out: they may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Environment(name, _) => write!(f, "Environment({name})"),
            Self::Content(_) => f.write_str("Content"),
            Self::Command(words) => write!(f, "Command({:?})", words.value),
            Self::External => f.write_str("External"),
        }
    }
}

/// One entry of the top-level `models`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Its key.
    pub key: String,
    /// Where it is declared.
    pub span: Option<Span>,
    /// `name`; the key where it is not said.
    pub name: String,
    /// `model`: the reference.
    pub model: Spanned<String>,
    /// `context_size` in tokens.
    pub context_size: Option<u64>,
    /// `runtime_flags`.
    pub runtime_flags: Vec<String>,
}
