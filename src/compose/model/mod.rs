//! The typed project: what the compose files say, checked and complete, in the terms of the specification.
//!
//! In: the canonical tree (`compose::bind`). Out: plain values with the places they came from.
//! It knows no image, no engine, no file. Keys that nothing acts on yet are here too, and `compose::unsupported` names them.
//! Imports: `base`.
//! Source: Compose Specification, services, networks, volumes, configs, secrets, build, deploy.

mod build;
mod deploy;
mod develop;
mod health;
mod job;
mod limits;
mod resources;
mod service;
mod storage;

pub use build::*;
pub use deploy::*;
pub use develop::*;
pub use health::*;
pub use job::*;
pub use limits::*;
pub use resources::*;
pub use service::*;
pub use storage::*;

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::base::diag::Diagnostics;
use crate::base::name::{ProjectName, ServiceName};
use crate::base::span::SourceMap;
use crate::compose::remote::Remote;

/// A loaded project. All services are here, enabled or not: `select` narrows them down.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its name, from `-p`, `COMPOSE_PROJECT_NAME`, `name:` or the directory.
    pub name: ProjectName,
    /// The project directory, absolute; relative paths were resolved against it.
    pub dir: PathBuf,
    /// The compose files, absolute, in merge order; `-` for standard input.
    pub files: Vec<PathBuf>,
    /// The env files that interpolation read, absolute.
    pub env_files: Vec<PathBuf>,
    /// Active profiles as asked for; `*` is all.
    pub profiles: Vec<String>,
    /// Services by name, sorted.
    pub services: IndexMap<ServiceName, Service>,
    /// Services with a `build` that a selection has left out: builds of those that stay may take their images.
    pub others: IndexMap<ServiceName, Service>,
    /// Networks by key, sorted.
    pub networks: IndexMap<String, Network>,
    /// Volumes by key, sorted.
    pub volumes: IndexMap<String, Volume>,
    /// Configs by key, sorted.
    pub configs: IndexMap<String, FileObject>,
    /// Secrets by key, sorted.
    pub secrets: IndexMap<String, FileObject>,
    /// Models by key, sorted.
    pub models: IndexMap<String, Model>,
    /// Jobs by key, sorted.
    pub jobs: IndexMap<String, Job>,
    /// Whether networks and volumes that no service uses stay when a part is selected.
    pub all_resources: bool,
    /// What stands between the parts of the names of containers and images: `-`, or `_` as Compose v1 wrote them.
    pub separator: char,
    /// What of it lies elsewhere and was fetched.
    pub remote: Remote,
    /// The same project as the canonical document that `config` prints; empty where the request did not want it.
    pub document: serde_json::Map<String, serde_json::Value>,
    /// Every text that spans point into.
    pub sources: SourceMap,
    /// Warnings found while loading.
    pub warnings: Diagnostics,
}

impl Project {
    /// A service that `select` has kept.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }
    /// Whether a service of the files is on without being named: it has no profiles, or an active one.
    pub fn is_on(&self, name: &ServiceName) -> bool {
        self.services.get(name).is_some_and(|service| {
            service.is_on(|profile| self.profiles.iter().any(|p| p == profile))
        })
    }
    /// The name of a service's image: its own, or project and service.
    pub fn image_of(&self, service: &Service) -> String {
        match &service.image {
            Some(image) => image.value.clone(),
            None => format!("{}{}{}", self.name, self.separator, service.name),
        }
    }
    /// A service that can be built, whether `select` has kept it or not.
    pub fn buildable(&self, name: &str) -> Option<(&Service, &BuildSpec)> {
        let service = self.services.get(name).or_else(|| self.others.get(name))?;
        Some((service, service.build.as_ref()?))
    }
    /// All services that can be built, kept ones first.
    pub fn buildables(&self) -> impl Iterator<Item = (&Service, &BuildSpec)> {
        let all = self.services.values().chain(self.others.values());
        all.filter_map(|service| Some((service, service.build.as_ref()?)))
    }
}
