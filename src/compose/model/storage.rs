//! What a service mounts and is granted: volumes, configs, secrets, devices.

use std::path::PathBuf;

use super::Labels;
use crate::base::name::ServiceName;
use crate::base::scalar::ByteSize;
use crate::base::term::{IdMap, Propagation};

/// One entry of `volumes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    /// `target`, absolute.
    pub target: String,
    /// `type` and what belongs to it.
    pub source: VolumeSource,
    /// `read_only`.
    pub read_only: bool,
    /// `consistency`: a hint that means nothing on Linux.
    pub consistency: Option<String>,
}

/// What a [`VolumeMount`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// `type: bind`
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// `bind.create_host_path`.
        create_host_path: bool,
        /// `bind.propagation`.
        propagation: Option<Propagation>,
        /// `bind.recursive`.
        recursive: Recursion,
        /// `bind.selinux`.
        selinux: Option<Relabel>,
        /// `x-hoist.idmap`.
        idmap: Option<IdMap>,
    },
    /// `type: volume`
    Volume {
        /// Key under `volumes`; `None` is anonymous.
        key: Option<String>,
        /// `volume.nocopy`.
        nocopy: bool,
        /// `volume.subpath`.
        subpath: Option<String>,
        /// `volume.labels`.
        labels: Labels,
    },
    /// `type: tmpfs`
    Tmpfs {
        /// `tmpfs.size`.
        size: Option<ByteSize>,
        /// `tmpfs.mode`.
        mode: Option<u32>,
    },
    /// `type: image`
    Image {
        /// The image's reference.
        image: String,
        /// `image.subpath`.
        subpath: Option<String>,
    },
}

/// What a bind mount does with the mounts below its source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recursion {
    /// They are shown, and read-only where the kernel can do that.
    #[default]
    Enabled,
    /// They are not shown.
    Disabled,
    /// They are shown and stay writable, even if the mount is read-only.
    Writable,
    /// They are shown and must be read-only if the mount is.
    Readonly,
}

impl Recursion {
    /// Whether mounts below the source are shown.
    pub fn shows(self) -> bool {
        self != Self::Disabled
    }
}

/// Whom the content of a bind mount is for, to SELinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relabel {
    /// `z`: several containers.
    Shared,
    /// `Z`: this container alone.
    Private,
}

/// One entry of `volumes_from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumesFrom {
    /// Another service; `true` asks for read-only.
    Service(ServiceName, bool),
    /// `container:NAME`.
    Container(String, bool),
}

/// One entry of `configs` or `secrets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGrant {
    /// Key under the top-level `configs` or `secrets`.
    pub source: String,
    /// Absolute path inside the container.
    pub target: String,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
    /// `mode`.
    pub mode: Option<u32>,
}

/// One entry of `devices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Path on the host, or a CDI name.
    pub source: String,
    /// Path inside.
    pub target: String,
    /// Some of `rwm`.
    pub permissions: String,
}
