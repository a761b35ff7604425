//! Which services a command means: names on the command line, profiles, dependencies, numbers of containers.
//!
//! In: a loaded [`Project`] and a [`Selection`]. Out: the project with nothing but what is meant, its document too;
//! networks, volumes, configs and secrets that nothing uses any more drop out. Imports: `base`, `model`.
//! Rules: Compose Specification, "Profiles"; as Compose (`types/project.go`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::model::{Dependency, Project, Service, VolumeSource};
use crate::base::diag::{Diagnostic, Diagnostics, nearest};
use crate::base::key::KeyPath;
use crate::base::name::ServiceName;

/// What a command means.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Services named on the command line; none means all that are on.
    pub services: Vec<String>,
    /// Further profiles; those of the project count as well.
    pub profiles: Vec<String>,
    /// Whether the dependencies of named services are meant too.
    pub with_dependencies: bool,
    /// Whether dependencies that are off are put up with: `config --no-consistency`.
    pub lenient: bool,
    /// `--scale`: numbers of containers by service.
    pub scale: BTreeMap<String, u32>,
}

impl Selection {
    /// All services that are on.
    pub fn all() -> Self {
        Self {
            with_dependencies: true,
            ..Self::default()
        }
    }
    /// The named services and their dependencies.
    pub fn of(services: &[String]) -> Self {
        Self {
            services: services.to_vec(),
            ..Self::all()
        }
    }
}

/// Narrows a project down to what is meant.
///
/// A named service turns its own profiles on, so that it needs no `--profile`.
///
/// # Errors
/// A name that is no service, or a required dependency that is off by its profiles.
pub fn select(mut project: Project, selection: &Selection) -> Result<Project, Diagnostics> {
    let mut diags = Diagnostics::default();
    let named: BTreeSet<&String> = selection.services.iter().collect();
    let scaled = selection.scale.keys().filter(|name| !named.contains(name));
    for name in selection.services.iter().chain(scaled) {
        if !project.services.contains_key(name.as_str()) {
            let fault = Diagnostic::error(format!("no such service: {name}"));
            let near = nearest(name, project.services.keys().map(ServiceName::as_str));
            diags.push(match near {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault,
            });
        }
    }
    if diags.has_errors() {
        return Err(diags);
    }
    let active = active_profiles(&project, selection);
    if !selection.lenient {
        loose_ends(&project, selection, &mut diags);
    }
    let kept = kept(&project, selection, &active, &mut diags);
    if diags.has_errors() {
        return Err(diags);
    }
    let (stay, left): (IndexMap<_, _>, IndexMap<_, _>) = std::mem::take(&mut project.services)
        .into_iter()
        .partition(|(name, _)| kept.contains(name));
    project.services = stay;
    let built = left
        .into_iter()
        .filter(|(_, service)| service.build.is_some());
    project.others.extend(built);
    let names: BTreeSet<ServiceName> = project.services.keys().cloned().collect();
    for (name, service) in &mut project.services {
        service.depends_on.retain(|other, _| names.contains(other));
        if let Some(scale) = selection.scale.get(name.as_str()) {
            service.scale = *scale;
        }
        if let Some(fixed) = service
            .container_name
            .as_ref()
            .filter(|_| service.scale > 1)
        {
            let text = format!(
                "`container_name: {}` allows one container, but {} are asked for",
                fixed.value, service.scale
            );
            let path = KeyPath::root().key("services").key(name.as_str());
            diags.push(
                Diagnostic::error(text)
                    .at(fixed.span)
                    .path(&path)
                    .hint("remove `container_name`"),
            );
        }
    }
    if diags.has_errors() {
        return Err(diags);
    }
    let mut used = Used::of(project.services.values());
    used.secrets
        .extend(Used::of(project.others.values()).built_with);
    let all = project.all_resources;
    project
        .networks
        .retain(|key, _| all || used.networks.contains(key));
    project
        .volumes
        .retain(|key, _| all || used.volumes.contains(key));
    project.secrets.retain(|key, _| used.secrets.contains(key));
    project.configs.retain(|key, _| used.configs.contains(key));
    project.profiles = active.into_iter().collect();
    narrow(
        &mut project.document,
        &names.iter().map(|name| name.as_str().to_owned()).collect(),
        all,
    );
    if !selection.services.is_empty() {
        forget_dependencies(&mut project.document, &names);
    }
    for (name, scale) in &selection.scale {
        set_scale(&mut project.document, name, *scale);
    }
    Ok(project)
}

fn active_profiles(project: &Project, selection: &Selection) -> BTreeSet<String> {
    let named = selection
        .services
        .iter()
        .filter_map(|name| project.services.get(name.as_str()));
    let theirs = named.flat_map(|service| service.profiles.iter());
    project
        .profiles
        .iter()
        .chain(&selection.profiles)
        .chain(theirs)
        .cloned()
        .collect()
}

fn is_on(service: &Service, active: &BTreeSet<String>) -> bool {
    service.is_on(|profile| active.contains(profile))
}

/// Reports the required dependencies that are off of all services that the project's own profiles turn on, named or
/// not: a project that can't be started as a whole is broken.
fn loose_ends(project: &Project, selection: &Selection, diags: &mut Diagnostics) {
    let profiles = project.profiles.iter().chain(&selection.profiles);
    let active: BTreeSet<String> = profiles.cloned().collect();
    for (name, service) in &project.services {
        if !is_on(service, &active) {
            continue;
        }
        for (other, dependency) in &service.depends_on {
            if let Some((other, target)) = project.services.get_key_value(other)
                && dependency.required
                && !is_on(target, &active)
            {
                off_dependency(name, other, dependency, target, diags);
            }
        }
    }
}

/// Reports a required dependency that is off, once.
fn off_dependency(
    name: &ServiceName,
    other: &ServiceName,
    dependency: &Dependency,
    target: &Service,
    diags: &mut Diagnostics,
) {
    let profiles = target.profiles.join(", ");
    let text = format!(
        "service `{other}` is required by `{name}` but is off: it belongs to the profiles {profiles}"
    );
    if diags.iter().any(|diag| diag.message == text) {
        return;
    }
    let path = KeyPath::root()
        .key("services")
        .key(name.as_str())
        .key("depends_on");
    let profile = target.profiles.first().map_or("NAME", String::as_str);
    diags.push(
        Diagnostic::error(text)
            .at(dependency.span)
            .path(&path)
            .hint(format!("add --profile {profile}")),
    );
}

/// The services that stay: the named ones or all that are on, and what they depend on.
fn kept(
    project: &Project,
    selection: &Selection,
    active: &BTreeSet<String>,
    diags: &mut Diagnostics,
) -> BTreeSet<ServiceName> {
    let all = selection.services.is_empty();
    let named = |name: &ServiceName| {
        selection
            .services
            .iter()
            .any(|wanted| wanted == name.as_str())
    };
    let mut queue: VecDeque<&ServiceName> = project
        .services
        .iter()
        .filter(|(name, service)| {
            if all {
                is_on(service, active)
            } else {
                named(name)
            }
        })
        .map(|(name, _)| name)
        .collect();
    let mut kept: BTreeSet<ServiceName> = queue.iter().map(|name| (*name).clone()).collect();
    if !all && !selection.with_dependencies {
        return kept;
    }
    while let Some(name) = queue.pop_front() {
        let Some(service) = project.services.get(name) else {
            continue;
        };
        for (other, dependency) in &service.depends_on {
            let Some((other, target)) = project.services.get_key_value(other) else {
                if dependency.required && !selection.lenient {
                    let text =
                        format!("service `{name}` depends on `{other}`, which is not defined");
                    let path = KeyPath::root().key("services").key(name.as_str());
                    diags.push(Diagnostic::error(text).at(dependency.span).path(&path));
                }
                continue;
            };
            if is_on(target, active) {
                if kept.insert(other.clone()) {
                    queue.push_back(other);
                }
            } else if dependency.required && !selection.lenient {
                off_dependency(name, other, dependency, target, diags);
            }
        }
    }
    kept
}

/// Keys of the top-level sections that services use.
#[derive(Default)]
struct Used {
    networks: BTreeSet<String>,
    volumes: BTreeSet<String>,
    secrets: BTreeSet<String>,
    configs: BTreeSet<String>,
    /// Secrets of builds.
    built_with: BTreeSet<String>,
}

impl Used {
    fn of<'s>(services: impl Iterator<Item = &'s Service>) -> Self {
        let mut used = Self::default();
        for service in services {
            used.networks.extend(service.networks.keys().cloned());
            used.volumes.extend(
                service
                    .volumes
                    .iter()
                    .filter_map(|mount| match &mount.source {
                        VolumeSource::Volume { key, .. } => key.clone(),
                        _ => None,
                    }),
            );
            used.secrets
                .extend(service.secrets.iter().map(|grant| grant.source.clone()));
            used.configs
                .extend(service.configs.iter().map(|grant| grant.source.clone()));
            let build = service.build.iter().flat_map(|build| &build.secrets);
            used.built_with
                .extend(build.map(|secret| secret.source.clone()));
        }
        used.secrets.extend(used.built_with.iter().cloned());
        used
    }
}

/// Narrows a document to services, and drops what they do not use; `all` keeps the resources of the project.
fn narrow(document: &mut Map<String, Value>, services: &BTreeSet<String>, all: bool) {
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    if let Some(Value::Object(all)) = document.get_mut("services") {
        all.retain(|name, _| services.contains(name));
    }
    for section in ["services", "jobs"] {
        let all = document.get(section).and_then(Value::as_object);
        for service in all.into_iter().flat_map(Map::values) {
            let keys = service
                .get("networks")
                .and_then(Value::as_object)
                .into_iter();
            used.entry("networks")
                .or_default()
                .extend(keys.flat_map(Map::keys).cloned());
            let models = service.get("models").and_then(Value::as_object).into_iter();
            used.entry("models")
                .or_default()
                .extend(models.flat_map(Map::keys).cloned());
            for (section, list) in [("volumes", service.get("volumes"))]
                .into_iter()
                .chain(["secrets", "configs"].map(|section| (section, service.get(section))))
                .chain([(
                    "secrets",
                    service.get("build").and_then(|build| build.get("secrets")),
                )])
            {
                let items = list.and_then(Value::as_array).into_iter().flatten();
                let named = items.filter(|item| section != "volumes" || item["type"] == "volume");
                let sources = named.filter_map(|item| item.get("source")?.as_str());
                used.entry(section)
                    .or_default()
                    .extend(sources.map(str::to_owned));
            }
        }
    }
    for section in ["networks", "volumes", "secrets", "configs", "models"] {
        if all {
            break;
        }
        let used = used.remove(section).unwrap_or_default();
        let Some(Value::Object(entries)) = document.get_mut(section) else {
            continue;
        };
        entries.retain(|key, _| used.contains(key));
        if entries.is_empty() {
            document.remove(section);
        }
    }
}

/// Drops the dependencies on services that are not meant.
fn forget_dependencies(document: &mut Map<String, Value>, names: &BTreeSet<ServiceName>) {
    let services = document.get_mut("services").and_then(Value::as_object_mut);
    for service in services.into_iter().flat_map(Map::values_mut) {
        let Some(service) = service.as_object_mut() else {
            continue;
        };
        let Some(needs) = service.get_mut("depends_on").and_then(Value::as_object_mut) else {
            continue;
        };
        needs.retain(|other, _| names.contains(other.as_str()));
        if needs.is_empty() {
            service.remove("depends_on");
        }
    }
}

fn set_scale(document: &mut Map<String, Value>, name: &str, scale: u32) {
    let service = document
        .get_mut("services")
        .and_then(|all| all.get_mut(name));
    if let Some(service) = service.and_then(Value::as_object_mut) {
        service.insert("scale".to_owned(), Value::from(scale));
    }
}
