//! One service.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use indexmap::IndexMap;

use super::{
    BuildSpec, Deploy, Develop, DeviceRequest, DeviceSpec, FileGrant, HealthcheckSpec, Hook,
    InitContainer, Labels, ReadySpec, ResourceLimits, VolumeMount, VolumesFrom,
};
use crate::base::name::ServiceName;
use crate::base::scalar::Signal;
use crate::base::span::{Span, Spanned};
use crate::base::term::{OnUnhealthy, Protocol, RestartPace, RestartPolicy};

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
    /// `command`; an empty one is as none.
    pub command: Option<Vec<String>>,
    /// `entrypoint`: `Some(empty)` takes the image's away.
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
    /// `restart`, or what `deploy.restart_policy` says instead.
    pub restart: RestartPolicy,
    /// The rest of what `deploy.restart_policy` says.
    pub restart_pace: RestartPace,
    /// `stop_signal`.
    pub stop_signal: Option<Signal>,
    /// `stop_grace_period`; one below zero, which never ends, is [`Duration::MAX`].
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
    pub dns_search: Vec<Spanned<String>>,
    /// `dns_opt`.
    pub dns_opt: Vec<Spanned<String>>,
    /// `extra_hosts`: name and address text (`host-gateway` too), in the order they were written.
    pub extra_hosts: Vec<Spanned<(String, String)>>,
    /// `links`: service and alias.
    pub links: Vec<(ServiceName, String)>,
    /// `mac_address`.
    pub mac_address: Option<Spanned<String>>,
    /// `volumes`.
    pub volumes: Vec<Spanned<VolumeMount>>,
    /// `tmpfs`: path and options.
    pub tmpfs: Vec<(String, Vec<String>)>,
    /// `volumes_from`.
    pub volumes_from: Vec<VolumesFrom>,
    /// `read_only`.
    pub read_only: bool,
    /// `shm_size` in bytes, as written.
    pub shm_size: Option<Spanned<i64>>,
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
    /// `cgroup`.
    pub cgroup: Option<CgroupSpec>,
    /// `cgroup_parent`.
    pub cgroup_parent: Option<Spanned<String>>,
    /// `devices`.
    pub devices: Vec<Spanned<DeviceSpec>>,
    /// `device_cgroup_rules`.
    pub device_cgroup_rules: Vec<Spanned<String>>,
    /// `sysctls`.
    pub sysctls: BTreeMap<String, String>,
    /// `ulimits`: soft and hard; `-1` is unlimited.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// `cpus`, `mem_limit` and kin, with `deploy.resources` merged in.
    pub resources: ResourceLimits,
    /// `gpus`; `all` is one request for all.
    pub gpus: Vec<Spanned<DeviceRequest>>,
    /// `deploy`: what it says itself; the parts that other keys say too are in `scale`, `restart` and `resources`.
    pub deploy: Option<Deploy>,
    /// `develop`.
    pub develop: Option<Develop>,
    /// `pre_start`, in order.
    pub pre_start: Vec<Spanned<InitContainer>>,
    /// `post_start`, in order.
    pub post_start: Vec<Spanned<Hook>>,
    /// `pre_stop`, in order.
    pub pre_stop: Vec<Spanned<Hook>>,
    /// `provider`.
    pub provider: Option<Spanned<Provider>>,
    /// `models`: entries of the top-level `models`, by key.
    pub models: IndexMap<String, Spanned<ModelGrant>>,
    /// `external_links`: a container's name and the alias it has for this service.
    pub external_links: Vec<Spanned<(String, String)>>,
    /// `runtime`.
    pub runtime: Option<Spanned<String>>,
    /// `isolation`; Windows only.
    pub isolation: Option<Spanned<String>>,
    /// `credential_spec`; Windows only.
    pub credential_spec: Option<Spanned<CredentialSpec>>,
    /// `pull_refresh_after`: the age at which an image counts as outdated, as written.
    pub pull_refresh_after: Option<Spanned<String>>,
    /// `use_api_socket`.
    pub use_api_socket: bool,
    /// `x-hoist.trust_host_ca` of the service.
    pub trust_host_ca: bool,
    /// `x-hoist.ready`.
    pub ready: Option<ReadySpec>,
    /// `x-hoist.on_unhealthy`.
    pub on_unhealthy: OnUnhealthy,
}

impl Service {
    /// Whether it is on: it has no profiles, or one of them is active, or all are by `*`.
    pub fn is_on(&self, active: impl Fn(&str) -> bool) -> bool {
        self.profiles.is_empty()
            || active("*")
            || self.profiles.iter().any(|profile| active(profile))
    }
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

/// `logging`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// `driver`.
    pub driver: Option<Spanned<String>>,
    /// `options`.
    pub options: BTreeMap<String, LogOption>,
}

/// One of the options of `logging`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOption {
    /// What is given.
    pub value: String,
    /// Its place.
    pub span: Option<Span>,
    /// The place of the option's name.
    pub key_span: Option<Span>,
}

/// A service's place on a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceNetwork {
    /// Where it is declared; `None` for an implied `default`.
    pub span: Option<Span>,
    /// `aliases`.
    pub aliases: Vec<String>,
    /// `ipv4_address`.
    pub ipv4_address: Option<Spanned<Ipv4Addr>>,
    /// `ipv6_address`.
    pub ipv6_address: Option<Spanned<Ipv6Addr>>,
    /// `link_local_ips`.
    pub link_local_ips: Vec<IpAddr>,
    /// `driver_opts`.
    pub driver_opts: BTreeMap<String, Spanned<String>>,
    /// `mac_address`.
    pub mac_address: Option<Spanned<String>>,
    /// `interface_name`.
    pub interface_name: Option<Spanned<String>>,
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
    /// `private`
    Private,
    /// `shareable`: its own, which others may join; `ipc` only
    Shareable,
    /// `none`: its own, without shared memory; `ipc` only
    None,
    /// `service:NAME`
    Service(ServiceName),
    /// `container:NAME`
    Container(String),
}

/// `cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupSpec {
    /// `host`
    Host,
    /// `private`
    Private,
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
    /// `mode`: `host` or `ingress`, which is the same on one host.
    pub mode: Option<String>,
    /// `name`, for people.
    pub name: Option<String>,
    /// `app_protocol`, for proxies: `http`.
    pub app_protocol: Option<String>,
}

/// `provider`: a program that provides what the service stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// `type`: a plugin's name or an executable of `PATH`.
    pub kind: String,
    /// `options`: each a list, of one text where a single one is written.
    pub options: BTreeMap<String, Vec<String>>,
}

/// An entry of a service's `models`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelGrant {
    /// `endpoint_var`: the variable that gets the address; `None` is made of the model's key.
    pub endpoint_var: Option<String>,
    /// `model_var`: the variable that gets the name; `None` is made of the model's key.
    pub model_var: Option<String>,
}

/// `credential_spec`: where the credentials of a managed service account are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialSpec {
    /// `config`: key under the top-level `configs`.
    pub config: Option<String>,
    /// `file`, as written.
    pub file: Option<String>,
    /// `registry`: name of a registry value.
    pub registry: Option<String>,
}
