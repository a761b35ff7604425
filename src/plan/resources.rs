//! Networks and volumes: what is wanted of them, and what must be done to have them.
//!
//! Imports: `base`, `compose::model`, `engine::{spec, state}`, `action`, `cause`, `labels`, `hash`.
//! Source: Docker Compose, `pkg/compose/create.go` (`ensureNetwork`, `ensureVolume`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::action::{Action, Step, When};
use super::cause::Cause;
use super::desired::{BRIDGE, Desired};
use super::networks::bare;
use super::{Plan, World, addresses, hash, labels};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::compose::model::{Network, NetworkModeSpec, Project, Volume, VolumeSource};
use crate::engine::spec::volume::Backing;
use crate::engine::spec::{NetworkSpec, VolumeSpec};
use crate::graph::NodeId;

/// What a network is made from.
pub(super) fn network_spec(project: &Project, network: &Network) -> NetworkSpec {
    let mut spec = NetworkSpec {
        name: network.name.clone(),
        project: Some(project.name.clone()),
        driver: network
            .driver
            .as_ref()
            .map_or_else(|| "bridge".to_owned(), |driver| driver.value.clone()),
        options: bare(&network.driver_opts),
        subnets: network
            .subnets
            .iter()
            .filter_map(addresses::subnet)
            .collect(),
        internal: network.internal,
        ipv4: network.enable_ipv4.unwrap_or(true),
        ipv6: network.enable_ipv6,
        labels: network.labels.clone(),
    };
    let mut declared = json!({
        "driver": spec.driver, "options": spec.options, "subnets": spec.subnets,
        "internal": spec.internal, "ipv6": spec.ipv6, "labels": spec.labels,
    });
    // What is new is told apart only where it is used: networks of before are not made anew for it.
    if let (false, Some(declared)) = (spec.ipv4, declared.as_object_mut()) {
        declared.insert("ipv4".into(), false.into());
    }
    spec.labels
        .insert(labels::PROJECT.into(), project.name.to_string());
    spec.labels
        .insert(labels::NETWORK.into(), network.key.clone());
    spec.labels
        .insert(labels::CONFIG_HASH.into(), hash::of_resource(&declared));
    spec.labels
        .insert(labels::VERSION.into(), env!("CARGO_PKG_VERSION").into());
    spec
}

/// What a volume is made from.
pub(crate) fn volume_spec(project: &Project, volume: &Volume) -> VolumeSpec {
    let mut spec = VolumeSpec {
        name: volume.name.clone(),
        project: Some(project.name.clone()),
        driver: volume.driver.clone().unwrap_or_else(|| "local".to_owned()),
        options: volume.driver_opts.clone(),
        labels: volume.labels.clone(),
    };
    let declared = json!({ "driver": spec.driver, "options": spec.options, "labels": spec.labels });
    spec.labels
        .insert(labels::PROJECT.into(), project.name.to_string());
    spec.labels
        .insert(labels::VOLUME.into(), volume.key.clone());
    spec.labels
        .insert(labels::CONFIG_HASH.into(), hash::of_resource(&declared));
    spec.labels
        .insert(labels::VERSION.into(), env!("CARGO_PKG_VERSION").into());
    spec
}

/// The steps that networks and volumes need, for containers to wait for.
#[derive(Debug, Default)]
pub(super) struct Resources {
    /// The step that makes a network, by key. Without one it is there.
    pub(super) networks: BTreeMap<String, NodeId>,
    /// The step that makes a volume, by key.
    pub(super) volumes: BTreeMap<String, NodeId>,
    /// The step that makes the network of `network_mode: bridge`.
    pub(super) bridge: Option<NodeId>,
    /// Networks that are made anew: full name and the step that removes the old one.
    pub(super) rewired: BTreeMap<String, NodeId>,
    /// Volumes that are made anew: full name and the step that removes the old one.
    pub(super) renewed: BTreeMap<String, NodeId>,
}

/// Plans the networks and volumes that the project's services use, or with `--all-resources` all that it has.
pub(super) fn plan(
    plan: &mut Plan,
    desired: &Desired,
    world: &World,
    renew_volumes: bool,
    faults: &mut Diagnostics,
) -> Resources {
    let project = &desired.project;
    let mut made = Resources::default();
    addresses::check(project, faults);
    let used: BTreeSet<&String> = project
        .services
        .values()
        .flat_map(|service| service.networks.keys())
        .collect();
    for network in project
        .networks
        .values()
        .filter(|network| project.all_resources || used.contains(&network.key))
    {
        plan_network(plan, project, network, world, &mut made, faults);
    }
    let bridge =
        |mode: &crate::base::span::Spanned<NetworkModeSpec>| mode.value == NetworkModeSpec::Bridge;
    if project
        .services
        .values()
        .any(|s| s.network_mode.as_ref().is_some_and(bridge))
        && world.network(BRIDGE).is_none()
    {
        let default = Network {
            name: BRIDGE.into(),
            ..Network::default()
        };
        let spec = NetworkSpec {
            project: None,
            labels: BTreeMap::new(),
            ..network_spec(project, &default)
        };
        made.bridge = Some(plan.steps.add(Step::new(
            Action::CreateNetwork(Box::new(spec)),
            Cause::Missing,
        )));
    }
    let used: BTreeSet<&String> = project
        .services
        .values()
        .flat_map(|service| &service.volumes)
        .filter_map(|mount| match &mount.value.source {
            VolumeSource::Volume { key: Some(key), .. } => Some(key),
            _ => None,
        })
        .collect();
    for volume in project
        .volumes
        .values()
        .filter(|volume| project.all_resources || used.contains(&volume.key))
    {
        plan_volume(
            plan,
            desired,
            volume,
            (world, renew_volumes),
            &mut made,
            faults,
        );
    }
    made
}

fn plan_network(
    plan: &mut Plan,
    project: &Project,
    network: &Network,
    world: &World,
    made: &mut Resources,
    faults: &mut Diagnostics,
) {
    let name = &network.name;
    let found = world.network(name);
    if network.external {
        if found.is_none() {
            faults.push(missing("network", name).at(network.span));
        }
        return;
    }
    let spec = network_spec(project, network);
    let create = |plan: &mut Plan, spec, cause| {
        plan.steps
            .add(Step::new(Action::CreateNetwork(Box::new(spec)), cause))
    };
    let Some(found) = found else {
        made.networks
            .insert(network.key.clone(), create(plan, spec, Cause::Missing));
        return;
    };
    if found.project.as_ref() != Some(&project.name) {
        plan.warnings.push(format!(
            "a network with name {name} exists but was not created for project \"{}\".\n\
             Set `external: true` to use an existing network",
            project.name
        ));
        return;
    }
    let hash = found.labels.get(labels::CONFIG_HASH);
    if hash == spec.labels.get(labels::CONFIG_HASH) {
        return;
    }
    let ours = |id: &crate::base::name::ContainerId| {
        world.observed.containers.iter().any(|c| {
            c.id == *id
                && !labels::is_oneoff(c)
                && labels::service(c).is_some_and(|s| project.services.contains_key(&s))
        })
    };
    if !found.users.iter().all(ours) {
        plan.warnings.push(format!(
            "network {name} has changed in the compose file, but others use it; it stays as it is until `down`"
        ));
        return;
    }
    let cause = Cause::Rewired { name: name.clone() };
    let remove = plan.steps.add(Step::new(
        Action::RemoveNetwork { name: name.clone() },
        cause.clone(),
    ));
    let node = create(plan, spec, cause);
    plan.steps.need(node, remove, When::Done);
    made.rewired.insert(name.clone(), remove);
    made.networks.insert(network.key.clone(), node);
}

fn plan_volume(
    plan: &mut Plan,
    desired: &Desired,
    volume: &Volume,
    (world, renew): (&World, bool),
    made: &mut Resources,
    faults: &mut Diagnostics,
) {
    let name = &volume.name;
    let found = world.volume(name);
    if volume.external {
        if found.is_none() {
            faults.push(missing("volume", name).at(volume.span));
        }
        return;
    }
    let project = &desired.project;
    let spec = volume_spec(project, volume);
    if let Some(fault) = volume_fault(desired, volume, &spec) {
        faults.push(fault);
        return;
    }
    match found {
        None => {
            let step = Step::new(Action::CreateVolume(Box::new(spec)), Cause::Missing);
            made.volumes
                .insert(volume.key.clone(), plan.steps.add(step));
        }
        Some(found) if found.project.as_ref() != Some(&project.name) => {
            plan.warnings.push(format!(
                "volume \"{name}\" already exists but was not created for project \"{}\". \
             Use `external: true` to use an existing volume",
                project.name
            ));
        }
        Some(found) => {
            if found.labels.get(labels::CONFIG_HASH) == spec.labels.get(labels::CONFIG_HASH) {
                return;
            }
            if renew {
                let cause = Cause::Rewired { name: name.clone() };
                let action = Action::RemoveVolume { name: name.clone() };
                let remove = plan.steps.add(Step::new(action, cause.clone()));
                let action = Action::CreateVolume(Box::new(spec));
                let node = plan.steps.add(Step::new(action, cause));
                plan.steps.need(node, remove, When::Done);
                made.renewed.insert(name.clone(), remove);
                made.volumes.insert(volume.key.clone(), node);
            } else {
                plan.warnings.push(format!(
                    "volume \"{name}\" exists but doesn't match configuration in compose file; \
                     it stays as it is (`up -y` makes it anew, without its data)"
                ));
            }
        }
    }
}

/// What of a volume can't be had: its driver, an option, a directory of the host.
fn volume_fault(desired: &Desired, volume: &Volume, spec: &VolumeSpec) -> Option<Diagnostic> {
    match spec.backing() {
        Err(refusal) => {
            let place = refusal.key.and_then(|key| volume.places.get(&key).copied());
            let fault = Diagnostic::error(refusal.what).at(place.or(volume.span));
            Some(fault.hint(refusal.hint))
        }
        Ok(Backing::Bind { dir, .. }) if desired.facts.missing.contains(&dir) => {
            let shown = dir.display();
            let text = format!(
                "volume `{}` lies in {shown}, which does not exist",
                spec.name
            );
            let place = volume.places.get("device").copied();
            let fault = Diagnostic::error(text).at(place.or(volume.span));
            Some(fault.hint(format!("make it with `mkdir -p {shown}`")))
        }
        Ok(_) => None,
    }
}

/// As Compose words it.
fn missing(kind: &str, name: &str) -> Diagnostic {
    Diagnostic::error(format!(
        "{kind} {name} declared as external, but could not be found"
    ))
}
