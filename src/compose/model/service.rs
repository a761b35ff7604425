//! One service.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::{BuildSpec, Labels};
use crate::base::name::ServiceName;
use crate::base::scalar::{ByteSize, Signal};
use crate::base::span::{Span, Spanned};
use crate::base::term::{Propagation, Protocol, RestartPolicy};

/// A service as the files declare it. `None` and empty mean: not said.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Its key under `services`.
    pub name: ServiceName,
    /// Where it is declared.
    pub span: Option<Span>,
    /// Profiles it belongs to; empty is always on.
    pub profiles: Vec<String>,
    /// `image`.
    pub image: Option<Spanned<String>>,
    /// `build`.
    pub build: Option<BuildSpec>,
    /// `pull_policy`.
    pub pull_policy: Option<Spanned<PullPolicy>>,
    /// `platform`.
    pub platform: Option<Spanned<String>>,
    /// `command`: `Some(empty)` resets the image's.
    pub command: Option<Vec<String>>,
    /// `entrypoint`: `Some(empty)` resets the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `working_dir`.
    pub working_dir: Option<String>,
    /// `user`.
    pub user: Option<String>,
    /// `group_add`.
    pub group_add: Vec<String>,
    /// `environment` with `env_file` merged below it; `None` is a name the host did not set.
    pub environment: IndexMap<String, Option<Spanned<String>>>,
    /// `init`.
    pub init: bool,
    /// `stdin_open`.
    pub stdin_open: bool,
    /// `tty`.
    pub tty: bool,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
    /// `container_name`.
    pub container_name: Option<Spanned<String>>,
    /// `labels` with `label_file` merged below.
    pub labels: Labels,
    /// `annotations`.
    pub annotations: Labels,
    /// `scale` or `deploy.replicas`; 1 when neither is said.
    pub scale: u32,
    /// `attach`; true when not said.
    pub attach: bool,
    /// `restart`, or what `deploy.restart_policy` makes of it.
    pub restart: RestartPolicy,
    /// `stop_signal`.
    pub stop_signal: Option<Signal>,
    /// `stop_grace_period`.
    pub stop_grace_period: Option<Duration>,
    /// `depends_on`, and what `links`, `volumes_from` and `network_mode: service:` imply.
    pub depends_on: IndexMap<ServiceName, Dependency>,
    /// `healthcheck`.
    pub healthcheck: Option<HealthcheckSpec>,
    /// `logging`.
    pub logging: Option<Logging>,
    /// `networks`, or `default` where none is said and `network_mode` is not set either.
    pub networks: IndexMap<String, ServiceNetwork>,
    /// `network_mode`.
    pub network_mode: Option<Spanned<NetworkModeSpec>>,
    /// `ports`, ranges expanded to single container ports.
    pub ports: Vec<Spanned<Port>>,
    /// `expose`.
    pub expose: Vec<String>,
    /// `dns`.
    pub dns: Vec<IpAddr>,
    /// `dns_search`.
    pub dns_search: Vec<String>,
    /// `dns_opt`.
    pub dns_opt: Vec<String>,
    /// `extra_hosts`: name and address text (`host-gateway` too).
    pub extra_hosts: Vec<(String, String)>,
    /// `links`: service and alias.
    pub links: Vec<(ServiceName, String)>,
    /// `mac_address`.
    pub mac_address: Option<String>,
    /// `volumes`.
    pub volumes: Vec<Spanned<VolumeMount>>,
    /// `tmpfs`: path and options.
    pub tmpfs: Vec<(String, Vec<String>)>,
    /// `volumes_from`.
    pub volumes_from: Vec<VolumesFrom>,
    /// `read_only`.
    pub read_only: bool,
    /// `shm_size`.
    pub shm_size: Option<ByteSize>,
    /// `configs`.
    pub configs: Vec<Spanned<FileGrant>>,
    /// `secrets`.
    pub secrets: Vec<Spanned<FileGrant>>,
    /// `privileged`.
    pub privileged: bool,
    /// `cap_add`.
    pub cap_add: Vec<String>,
    /// `cap_drop`.
    pub cap_drop: Vec<String>,
    /// `security_opt`, as written.
    pub security_opt: Vec<Spanned<String>>,
    /// `userns_mode`.
    pub userns_mode: Option<String>,
    /// `pid`.
    pub pid: Option<Spanned<ShareSpec>>,
    /// `ipc`.
    pub ipc: Option<Spanned<ShareSpec>>,
    /// `uts: host`.
    pub uts_host: bool,
    /// `cgroup: host`.
    pub cgroup_host: bool,
    /// `cgroup_parent`.
    pub cgroup_parent: Option<String>,
    /// `devices`.
    pub devices: Vec<Spanned<DeviceSpec>>,
    /// `device_cgroup_rules`.
    pub device_cgroup_rules: Vec<String>,
    /// `sysctls`.
    pub sysctls: BTreeMap<String, String>,
    /// `ulimits`: soft and hard; `-1` is unlimited.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// `cpus`, `mem_limit` and kin, with `deploy.resources` merged in.
    pub resources: ResourceLimits,
    /// `x-hoist.trust_host_ca` of the service.
    pub trust_host_ca: bool,
}

impl Default for ServiceName {
    fn default() -> Self {
        Self::new("")
    }
}

/// When to contact the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// At each `up`.
    Always,
    /// Not at all.
    Never,
    /// When the image is not here.
    Missing,
    /// Build it instead.
    Build,
    /// When the last pull is older than this.
    Every(Duration),
}

/// What must hold of another service before this one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// What must hold.
    pub condition: Condition,
    /// Whether this one is restarted when Compose restarts or recreates the other.
    pub restart: bool,
    /// Whether a failure of the other fails this one; `false` only warns.
    pub required: bool,
    /// Where it is written.
    pub span: Option<Span>,
}

/// `depends_on.*.condition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its containers were started.
    Started,
    /// Its health checks pass.
    Healthy,
    /// It ended with exit code 0.
    Completed,
}

impl Condition {
    /// As the specification spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::Completed => "service_completed_successfully",
        }
    }
}

/// `healthcheck`; fields that are `None` come from the image or the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthcheckSpec {
    /// `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`; `None` takes the image's.
    pub test: Option<Vec<String>>,
    /// `interval`.
    pub interval: Option<Duration>,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `retries`.
    pub retries: Option<u32>,
    /// `start_period`.
    pub start_period: Option<Duration>,
    /// `start_interval`.
    pub start_interval: Option<Duration>,
    /// `disable`.
    pub disable: bool,
}

/// `logging`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// `driver`.
    pub driver: Option<Spanned<String>>,
    /// `options`.
    pub options: BTreeMap<String, String>,
}

/// A service's place on a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceNetwork {
    /// `aliases`.
    pub aliases: Vec<String>,
    /// `ipv4_address`.
    pub ipv4_address: Option<Ipv4Addr>,
    /// `ipv6_address`.
    pub ipv6_address: Option<Ipv6Addr>,
    /// `mac_address`.
    pub mac_address: Option<String>,
    /// `interface_name`.
    pub interface_name: Option<String>,
    /// `priority`.
    pub priority: i32,
    /// `gw_priority`.
    pub gw_priority: i32,
}

/// `network_mode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkModeSpec {
    /// `none`
    None,
    /// `host`
    Host,
    /// `bridge`
    Bridge,
    /// `service:NAME`
    Service(ServiceName),
    /// `container:NAME`
    Container(String),
}

/// `pid`, `ipc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareSpec {
    /// `host`
    Host,
    /// `private`, `shareable`
    Private,
    /// `service:NAME`
    Service(ServiceName),
    /// `container:NAME`
    Container(String),
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `host_ip`.
    pub host_ip: Option<IpAddr>,
    /// `published`: first and last; `None` is any free port.
    pub published: Option<(u16, u16)>,
    /// `target`.
    pub target: u16,
    /// `protocol`.
    pub protocol: Protocol,
}

/// One entry of `volumes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    /// `target`, absolute.
    pub target: String,
    /// `type` and what belongs to it.
    pub source: VolumeSource,
    /// `read_only`.
    pub read_only: bool,
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
        /// `bind.recursive` is not `disabled`.
        recursive: bool,
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

/// Cgroup limits of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceLimits {
    /// `cpus` in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// `cpu_shares`.
    pub cpu_shares: Option<u64>,
    /// `cpu_period` in microseconds.
    pub cpu_period: Option<u64>,
    /// `cpu_quota` in microseconds.
    pub cpu_quota: Option<i64>,
    /// `cpuset`.
    pub cpuset: Option<String>,
    /// `mem_limit`.
    pub memory: Option<ByteSize>,
    /// `mem_reservation`.
    pub memory_reservation: Option<ByteSize>,
    /// `memswap_limit`; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// `mem_swappiness`.
    pub swappiness: Option<u64>,
    /// `oom_kill_disable`.
    pub oom_kill_disable: bool,
    /// `pids_limit`; -1 is no limit.
    pub pids: Option<i64>,
    /// `blkio_config.weight`.
    pub blkio_weight: Option<u16>,
}
