//! What is wanted: the project and its images as container specs.
//!
//! In: a [`Project`], images, and facts read beforehand. Out: [`Desired`], which makes one [`ContainerSpec`]
//! for each replica on demand (an image may come to be known only while the plan runs).
//! It never reads a file or asks an engine. Imports: `base`, `compose::model`, `engine::spec`, `engine::host`, `image`.
//! Rules: compose-spec, services; Docker Engine for how service and image are merged (moby
//! `daemon/commit.go`, `merge`).

mod devices;
pub mod files;
mod health;
mod init;
mod logging;
mod network;
mod ports;
mod process;
mod resources;
mod security;
mod storage;
mod tag;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::builds::BuildNeeds;
use super::hash::SpecHash;
use super::images::{ImageFacts, WantedImage};
use super::labels;
use crate::base::diag::Diagnostics;
use crate::base::name::{ContainerId, ProjectName, ServiceName};
use crate::base::scalar::Signal;
use crate::base::secret::Contents;
use crate::compose::model::{Condition, Project, Service};
use crate::engine::host::Offers;
use crate::engine::spec::{ContainerSpec, ImageRef, Labels, Mount, Stdio};
use crate::engine::state::DeviceCatalog;
use crate::image::digest::Digest;

pub use devices::names_devices;
pub(super) use network::BRIDGE;
pub(crate) use network::host_address;
pub(crate) use resources::{asks_the_host, block_devices};

/// Docker's grace period between the stop signal and KILL. Source: moby `container/container.go`.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Things of the host that decisions need, read beforehand.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Fingerprints of contents: `configs.app`, `secrets.db` →.
    pub contents: BTreeMap<String, Digest>,
    /// Contents that no file of the host has, by the same names.
    pub given: Contents,
    /// Contents that were not asked for, as their programs are not to be run: they count as unchanged.
    pub untold: BTreeSet<String>,
    /// Texts of seccomp profiles, by the `security_opt` entry that names them.
    pub profiles: BTreeMap<String, String>,
    /// Images that `type: image` mounts show and that containers of `pre_start` run, by name.
    pub mount_images: BTreeMap<String, WantedImage>,
    /// Containers of others that the project names (`container:NAME`, `external_links`), by that name.
    pub containers: BTreeMap<String, Foreign>,
    /// The host's own name.
    pub host_name: String,
    /// Limits that the host can give, if any is wanted.
    pub offers: Offers,
    /// Sources of `devices` that can't be handed in, and why.
    pub absent: BTreeMap<String, String>,
    /// Directories and files that mounts need and that are missing.
    pub missing: BTreeSet<PathBuf>,
    /// Mounts of the containers in `containers`, where `volumes_from` names one.
    pub mounts_of: BTreeMap<String, Vec<Mount>>,
    /// Whether SELinux guards this machine's files.
    pub selinux: bool,
    /// Devices that have names; `None` where no service asks for one.
    pub devices: Option<DeviceCatalog>,
    /// What the builds that are wanted take of each other.
    pub builds: BuildNeeds,
    /// Proxies that the user wants in every container, as variables in upper case. No part of what a container is
    /// compared by: a change of theirs makes none anew. As Compose.
    pub proxies: Vec<(String, String)>,
}

/// A container that belongs to another project, or to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Full names of its networks.
    pub networks: Vec<String>,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The selected project.
    pub project: Project,
    /// The image of each service.
    pub images: BTreeMap<ServiceName, WantedImage>,
    /// The hash of each service.
    pub hashes: BTreeMap<ServiceName, SpecHash>,
    /// Things of the host.
    pub facts: Facts,
    /// What could not be read of the host, to be told with the faults that planning finds.
    pub unread: Diagnostics,
}

/// Another container that a spec refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: Option<ContainerId>,
    /// Its anonymous volumes: target → volume.
    pub anonymous: BTreeMap<String, String>,
}

/// One container that is to be made.
#[derive(Clone)]
pub struct Replica<'a> {
    /// Its number, from 1.
    pub number: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: &'a ImageFacts,
    /// Images of `type: image` mounts, by name.
    pub mount_images: &'a BTreeMap<String, ImageFacts>,
    /// Anonymous volumes it takes over: target → volume.
    pub anonymous: &'a BTreeMap<String, String>,
    /// The first container of another service, if there is one.
    pub peer: &'a dyn Fn(&str) -> Option<Peer>,
    /// The random part of the name, for a container of `run`.
    pub slug: Option<String>,
}

impl std::fmt::Debug for Replica<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The name of a service's container: `container_name`, or `<project>-<service>-<n>` with the project's separator.
pub fn container_name(project: &Project, service: &Service, number: u32) -> String {
    match &service.container_name {
        Some(name) => name.value.clone(),
        None => {
            let mark = project.separator;
            format!("{}{mark}{}{mark}{number}", project.name, service.name)
        }
    }
}

/// The name of a container on screen: without the project in front, whichever separator it was made with. As Compose:
/// `getContainerNameWithoutProject`. One with a [`passing_name`] is called as it will be.
pub fn screen_name<'n>(project: &ProjectName, name: &'n str) -> &'n str {
    let name = match name.split_once('_') {
        Some((id, rest)) if ContainerId::is_short(id) => rest,
        _ => name,
    };
    let rest = name.strip_prefix(project.as_str());
    rest.and_then(|rest| rest.strip_prefix(['-', '_']))
        .unwrap_or(name)
}

/// The name of a container while another one has the name that is meant for it. As Compose.
pub fn passing_name(other: &ContainerId, name: &str) -> String {
    format!("{}_{name}", other.short())
}

impl Desired {
    /// An image that is here and that no service has for itself: one of `pre_start` or of a mount.
    pub fn beside(&self, name: &str) -> Option<&ImageFacts> {
        let images = &self.facts.mount_images;
        images.get(name).and_then(|image| image.here.as_ref())
    }

    /// Decides everything about one container. Faults and warnings go to `found`; a spec that came with
    /// an error among them must not be used.
    pub fn container_spec(
        &self,
        service: &Service,
        replica: &Replica<'_>,
        found: &mut Diagnostics,
    ) -> ContainerSpec {
        let security = security::security(service, &self.facts, found);
        let files = files::files(&self.project, service, found);
        let mounts = storage::mounts(self, service, replica, &files, found);
        let surroundings = process::Surroundings {
            hostname: &self.hostname(service, replica),
            proxies: &self.facts.proxies,
        };
        let process = process::process(service, replica, &surroundings, found);
        devices::refusals(service, found);
        let named_devices = devices::named(service, &self.facts, &process.env, found);
        let image = replica.image;
        // A container of `run` does one thing.
        let lasting = replica.slug.is_none();
        let name = self
            .images
            .get(&service.name)
            .map(|image| image.name.clone())
            .unwrap_or_default();
        let labels = self.labels(service, replica);
        let image_ref = ImageRef {
            name,
            id: image.id.unwrap_or_else(|| Digest::of(b"")),
            layers: image.layers.clone(),
        };
        let about = tag::About {
            id: &replica.id,
            name: &replica.name,
            image: &image_ref,
            labels: &labels,
            env: &process.env,
            args: &process.args,
        };
        let log = logging::log(service, &about, found);
        ContainerSpec {
            id: replica.id.clone(),
            name: replica.name.clone(),
            project: self.project.name.clone(),
            labels,
            annotations: service.annotations.clone(),
            image: image_ref,
            hostname: self.hostname(service, replica),
            domainname: service.domainname.clone(),
            process,
            stdio: Stdio {
                tty: service.tty,
                stdin: service.stdin_open,
                stdin_once: service.stdin_open && replica.slug.is_some(),
            },
            init: service.init,
            read_only: service.read_only,
            mounts,
            shm_size: resources::shared_memory(service, found),
            namespaces: network::namespaces(&self.project, service, replica, &self.facts, found),
            network: network::mode(&self.project, service, replica, &self.facts, found),
            dns: network::dns(service, found),
            extra_hosts: network::extra_hosts(service, found),
            ports: ports::published(&self.project, service, found),
            exposed: ports::exposed(service, &image.run, found),
            resources: resources::resources(service, &self.facts, found),
            security,
            devices: devices::nodes(service, &self.facts, found),
            named_devices,
            device_cgroup_rules: devices::rules(service, found),
            sysctls: service.sysctls.clone(),
            ulimits: service
                .ulimits
                .iter()
                .map(|(k, v)| (k.clone(), (limit(v.0), limit(v.1))))
                .collect(),
            oom_score_adj: service.oom_score_adj,
            restart: if lasting {
                service.restart
            } else {
                Default::default()
            },
            restart_pace: service.restart_pace,
            stop_signal: service
                .stop_signal
                .or_else(|| image.run.stop_signal.as_deref().and_then(Signal::parse))
                .unwrap_or(Signal::TERM),
            stop_grace: service.stop_grace_period.unwrap_or(STOP_GRACE),
            healthcheck: health::healthcheck(service, &image.run),
            ready: health::ready(service),
            on_unhealthy: if lasting {
                service.on_unhealthy
            } else {
                Default::default()
            },
            log,
            files,
        }
    }

    /// Image labels below the service's, below our own.
    fn labels(&self, service: &Service, replica: &Replica<'_>) -> Labels {
        let project = &self.project;
        let mut all = replica.image.run.labels.clone();
        // What an image says of itself must not pass for what we say of a container.
        all.retain(|key, _| !labels::is_ours(key));
        all.extend(service.labels.clone());
        let mut put = |key: &str, value: String| all.insert(key.to_owned(), value);
        let joined = |paths: &[std::path::PathBuf]| {
            let texts: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
            texts.join(",")
        };
        put(labels::PROJECT, project.name.to_string());
        put(labels::SERVICE, service.name.to_string());
        put(labels::NUMBER, replica.number.to_string());
        put(
            labels::ONEOFF,
            if replica.slug.is_some() {
                "True"
            } else {
                "False"
            }
            .to_owned(),
        );
        put(labels::WORKING_DIR, project.dir.display().to_string());
        put(labels::CONFIG_FILES, joined(&project.files));
        if !project.env_files.is_empty() {
            put(labels::ENV_FILES, joined(&project.env_files));
        }
        put(labels::DEPENDS_ON, depends_on(service));
        put(labels::VERSION, env!("CARGO_PKG_VERSION").to_owned());
        if let Some(id) = replica.image.id {
            put(labels::IMAGE, id.to_string());
        }
        if let Some(slug) = &replica.slug {
            put(labels::SLUG, slug.clone());
        }
        if let Some(hash) = self.hashes.get(&service.name) {
            put(labels::CONFIG_HASH, hash.hash.clone());
            put(labels::SPEC, hash.document.clone());
        }
        all
    }

    /// The service's, the host's where the network is the host's, or the short id (as Docker).
    fn hostname(&self, service: &Service, replica: &Replica<'_>) -> String {
        use crate::compose::model::NetworkModeSpec::Host;
        let on_host = service
            .network_mode
            .as_ref()
            .is_some_and(|m| m.value == Host);
        match &service.hostname {
            Some(name) => name.clone(),
            None if service.uts_host || on_host => self.facts.host_name.clone(),
            None => replica.id.short().to_owned(),
        }
    }
}

/// `db:service_healthy:false`, with commas between, as Compose writes it.
fn depends_on(service: &Service) -> String {
    let one = |(name, need): (&ServiceName, &crate::compose::model::Dependency)| {
        format!("{name}:{}:{}", need.condition.as_str(), need.restart)
    };
    service
        .depends_on
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(",")
}

/// Reads what [`depends_on`] wrote: service, condition, restart.
pub(super) fn parse_depends_on(label: &str) -> Vec<(ServiceName, Condition, bool)> {
    let one = |text: &str| {
        let mut parts = text.split(':');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let condition = match parts.next() {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::Completed,
            _ => Condition::Started,
        };
        Some((
            ServiceName::new(name),
            condition,
            parts.next() == Some("true"),
        ))
    };
    label.split(',').filter_map(one).collect()
}

/// `-1` is unlimited.
fn limit(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
