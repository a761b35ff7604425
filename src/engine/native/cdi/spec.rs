//! One specification file: its fields, and whether they make sense.
//!
//! In: a value as read. Out: [`Spec`], checked, or what is wrong with it. Imports: `base`.
//! Rules: Container Device Interface, versions 0.3.0 to 1.1.0; a field that none of them has is refused, as there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::base::device::{DeviceName, check_kind, is_access};

/// Versions that are understood.
const VERSIONS: [&str; 8] = [
    "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];

/// A file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    cdi_version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    /// What it describes.
    #[serde(default, deserialize_with = "nullable")]
    pub(super) devices: Vec<Device>,
    /// What each container gets that has one of its devices.
    #[serde(default, deserialize_with = "nullable")]
    pub(super) container_edits: Edits,
}

/// A device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Device {
    /// Its name among those of its kind.
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    /// What a container gets with it.
    #[serde(default, deserialize_with = "nullable")]
    pub(super) container_edits: Edits,
}

/// What is changed in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Edits {
    /// `NAME=value`, later ones win.
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// Device nodes.
    #[serde(deserialize_with = "nullable")]
    pub device_nodes: Vec<NodeEdit>,
    /// Mounts.
    #[serde(deserialize_with = "nullable")]
    pub mounts: Vec<MountEdit>,
    /// Programs.
    #[serde(deserialize_with = "nullable")]
    pub hooks: Vec<Hook>,
    /// Further groups of the process.
    #[serde(rename = "additionalGids", deserialize_with = "nullable")]
    pub groups: Vec<u32>,
    intel_rdt: Option<Value>,
    #[serde(deserialize_with = "nullable")]
    net_devices: Vec<Value>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeEdit {
    /// Path inside.
    pub path: String,
    /// Path on the host; as inside when `None`.
    #[serde(default)]
    pub host_path: Option<PathBuf>,
    /// `b`, `c`, `u` or `p`; as on the host when empty.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Major number; as on the host when 0.
    #[serde(default)]
    pub major: u32,
    /// Minor number.
    #[serde(default)]
    pub minor: u32,
    /// Permission bits.
    #[serde(default)]
    pub file_mode: Option<u32>,
    /// Some of `rwm`; `none` is none, all when empty.
    #[serde(default)]
    pub permissions: String,
    /// Owner; the process's when `None`.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Group; the process's when `None`.
    #[serde(default)]
    pub gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MountEdit {
    /// Path on the host.
    pub host_path: PathBuf,
    /// Path inside.
    pub container_path: String,
    /// `ro`, `nosuid`, `rbind` …
    #[serde(default, deserialize_with = "nullable")]
    pub options: Vec<String>,
    /// `bind` when empty.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// When a [`Hook`] runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Moment {
    /// Once the container's namespaces and mounts are there; in the host's namespaces. The older name of the next.
    Prestart,
    /// As the one before.
    CreateRuntime,
    /// After that, in the container's namespaces, with the host's files.
    CreateContainer,
    /// Before the program, inside the container, as its user.
    StartContainer,
    /// After the start, in the host's namespaces.
    Poststart,
    /// After the end, in the host's namespaces.
    Poststop,
}

/// A program that is run on the way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Hook {
    /// When.
    #[serde(rename = "hookName")]
    pub moment: Moment,
    /// The program.
    pub path: PathBuf,
    /// Its arguments, its own name first; the path when empty.
    #[serde(default, deserialize_with = "nullable")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(default, deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// Seconds it may take.
    #[serde(default)]
    pub timeout: Option<u32>,
}

/// `null` is what is not there.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl Spec {
    /// Reads and checks a specification.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(value: Value) -> Result<Self, String> {
        let spec: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let version = spec.cdi_version.as_str();
        if !VERSIONS.contains(&version) {
            return Err(format!(
                "cdiVersion `{version}` is not known: known are 0.3.0 to 1.1.0"
            ));
        }
        check_kind(&spec.kind)?;
        annotations(&spec.annotations)?;
        spec.container_edits.check()?;
        if spec.devices.is_empty() {
            return Err("it describes no device".to_owned());
        }
        let mut names = std::collections::BTreeSet::new();
        for device in &spec.devices {
            let name = DeviceName::new(&spec.kind, &device.name)?;
            let at = |fault| format!("device `{name}`: {fault}");
            if !names.insert(&device.name) {
                return Err(at("it is there twice".to_owned()));
            }
            annotations(&device.annotations).map_err(at)?;
            if device.container_edits == Edits::default() {
                return Err(at("its containerEdits are empty".to_owned()));
            }
            device.container_edits.check().map_err(at)?;
        }
        Ok(spec)
    }
}

/// They name nothing that we read; only their form counts.
fn annotations(all: &BTreeMap<String, String>) -> Result<(), String> {
    match all.keys().find(|key| key.is_empty()) {
        Some(_) => Err("an annotation has no name".to_owned()),
        None => Ok(()),
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        variables(&self.env)?;
        for node in &self.device_nodes {
            node.check()
                .map_err(|fault| format!("device node `{}`: {fault}", node.path))?;
        }
        for mount in &self.mounts {
            let absolute = mount.host_path.is_absolute() || mount.kind == "tmpfs";
            if !absolute || !mount.container_path.starts_with('/') {
                let (from, to) = (mount.host_path.display(), &mount.container_path);
                return Err(format!(
                    "mount of `{from}` at `{to}`: both must be absolute paths"
                ));
            }
        }
        for hook in &self.hooks {
            let at = |fault: String| format!("hook `{}`: {fault}", hook.path.display());
            if !hook.path.is_absolute() {
                return Err(at("its path must be absolute".to_owned()));
            }
            variables(&hook.env).map_err(at)?;
            if hook.timeout == Some(0) {
                return Err(at("its timeout must be greater than 0".to_owned()));
            }
        }
        Ok(())
    }

    /// What of it can't be had here.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match self {
            Self {
                intel_rdt: Some(_), ..
            } => Some("cache and bandwidth allocation (intelRdt)"),
            Self { net_devices, .. } if !net_devices.is_empty() => {
                Some("network devices of the host (netDevices)")
            }
            _ => None,
        }
    }

    /// Adds others to them.
    pub(super) fn append(&mut self, other: &Self) {
        self.env.extend_from_slice(&other.env);
        for node in &other.device_nodes {
            self.device_nodes.retain(|have| have.path != node.path);
            self.device_nodes.push(node.clone());
        }
        for mount in &other.mounts {
            self.mounts
                .retain(|have| have.container_path != mount.container_path);
            self.mounts.push(mount.clone());
        }
        self.hooks.extend_from_slice(&other.hooks);
        self.groups
            .extend(other.groups.iter().filter(|gid| **gid != 0));
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl NodeEdit {
    fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err("its path must be absolute".to_owned());
        }
        if !["", "b", "c", "u", "p"].contains(&self.kind.as_str()) {
            return Err(format!("the type `{}` is none of b, c, u, p", self.kind));
        }
        let permissions = self.permissions.as_str();
        if !matches!(permissions, "" | "none") && !is_access(permissions) {
            return Err(format!(
                "the permissions `{permissions}` are not some of r, w, m"
            ));
        }
        Ok(())
    }

    /// Where it is on the host.
    pub fn source(&self) -> &Path {
        self.host_path.as_deref().unwrap_or(Path::new(&self.path))
    }
}

fn variables(env: &[String]) -> Result<(), String> {
    match env
        .iter()
        .find(|entry| entry.find('=').is_none_or(|at| at == 0))
    {
        Some(entry) => Err(format!("`{entry}` is not like NAME=value")),
        None => Ok(()),
    }
}
