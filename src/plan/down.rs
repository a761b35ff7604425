//! `down`: takes everything of a project away, dependents before what they need.
//!
//! Without a project the containers' labels say what depends on what.
//! Imports: `base`, `compose::model`, `engine::state`, `graph`, `image::reference`, and the parts of `plan`.
//! Source: Docker Compose, `pkg/compose/down.go`.

use std::collections::{BTreeMap, BTreeSet};

use super::action::{Action, Step, When};
use super::cause::Cause;
use super::hooks::{self, Moment};
use super::order::Needs;
use super::policy::{DownPolicy, Rmi};
use super::reconcile::{orphan_warning, runs, who};
use super::{Plan, World, labels};
use crate::base::name::{ProjectName, ServiceName};
use crate::compose::model::Project;
use crate::engine::state::ObservedContainer;
use crate::graph::NodeId;
use crate::image::reference::Reference;
use std::sync::Arc;
use std::time::Duration;

/// Plans `down`.
pub fn down(
    name: &ProjectName,
    project: Option<&Project>,
    world: &World,
    policy: &DownPolicy,
) -> Plan {
    let mut plan = Plan::new(name);
    plan.go_on = true;
    let mut going: Vec<(&ObservedContainer, Cause)> = Vec::new();
    let mut staying = Vec::new();
    for container in &world.observed.containers {
        match belongs(container, project, policy) {
            Some(cause) => going.push((container, cause)),
            None => staying.push(container),
        }
    }
    let stops = Stops {
        timeout: policy.timeout,
        remove: Some(policy.volumes),
    };
    let removed = stop_all(&mut plan, project, &going, &stops);
    withdraw(&mut plan, project, world, policy, &removed);
    if !policy.ignore_orphans && policy.services.is_empty() {
        staying.retain(|c| !labels::is_oneoff(c));
        let declared = |c: &&ObservedContainer| {
            let service = labels::service(c).unwrap_or_default();
            project.is_some_and(|project| project.services.contains_key(&service))
        };
        let (off, orphans): (Vec<_>, Vec<_>) = staying.into_iter().partition(declared);
        let names = |all: &[&ObservedContainer]| -> Vec<String> {
            all.iter().map(|c| c.name.clone()).collect()
        };
        if !orphans.is_empty() {
            let names = names(&orphans);
            plan.warnings
                .push(orphan_warning(names.iter().map(String::as_str)));
        }
        if !off.is_empty() {
            plan.warnings.push(format!(
                "containers of services that are off by their profiles stay: {}; `--profile NAME` takes them along",
                names(&off).join(", ")
            ));
        }
    }
    if policy.services.is_empty() {
        let mut after = |action| {
            let node = plan.steps.add(Step::new(action, Cause::Asked));
            for need in &removed {
                plan.steps.need(node, *need, When::Done);
            }
        };
        let whole = world.observed.networks.iter().map(|network| &network.name);
        for name in whole.chain(&world.observed.broken_networks) {
            after(Action::RemoveNetwork { name: name.clone() });
        }
        if policy.volumes {
            for volume in volumes(project, world) {
                after(Action::RemoveVolume { name: volume });
            }
        }
        for image in images(project, &going, policy.rmi) {
            after(Action::RemoveImage { image });
        }
    }
    if plan.is_empty() {
        plan.warnings.push(format!(
            "No resource found to remove for project \"{name}\"."
        ));
    }
    plan
}

/// Takes away what programs provide, once nobody is left who uses it. Only the project's files say what that is.
fn withdraw(
    plan: &mut Plan,
    project: Option<&Project>,
    world: &World,
    policy: &DownPolicy,
    removed: &[NodeId],
) {
    let services = project.iter().flat_map(|project| project.services.values());
    let named = |name: &ServiceName| match policy.services.as_slice() {
        [] => project.is_some_and(|project| project.is_on(name)),
        named => named.iter().any(|n| n == name.as_str()),
    };
    for service in services.filter(|service| named(&service.name)) {
        let Some(provider) = &service.provider else {
            continue;
        };
        let Some(program) = world.programs.providers.get(&provider.value.kind).cloned() else {
            plan.warnings.push(format!(
                "what service \"{}\" stands for stays: there is no provider `{}` on this machine",
                service.name, provider.value.kind
            ));
            continue;
        };
        plan.files = project.map(|project| Arc::new(project.clone()));
        let action = Action::Withdraw {
            service: service.name.clone(),
            program,
        };
        let node = plan.steps.add(Step::new(action, Cause::Asked));
        for need in removed {
            plan.steps.need(node, *need, When::Done);
        }
    }
}

/// Why a container goes; `None` lets it stay. As Compose: containers of `run` are orphans, running or not.
fn belongs(
    container: &ObservedContainer,
    project: Option<&Project>,
    policy: &DownPolicy,
) -> Option<Cause> {
    let service = labels::service(container).unwrap_or_default();
    let named = policy.services.iter().any(|name| name == service.as_str());
    if labels::is_hook(container) {
        // Whoever ran it was killed over it.
        return (named || policy.services.is_empty()).then_some(Cause::Leftover);
    }
    if !policy.services.is_empty() {
        return (named && !labels::is_oneoff(container)).then_some(Cause::Asked);
    }
    if labels::is_oneoff(container) {
        return policy.remove_orphans.then_some(Cause::Orphan);
    }
    match project {
        Some(project) if !project.services.contains_key(&service) => {
            policy.remove_orphans.then_some(Cause::Orphan)
        }
        // A service that is off by its profiles is no orphan, and stays.
        Some(project) => project.is_on(&service).then_some(Cause::Asked),
        None => Some(Cause::Asked),
    }
}

/// Volumes of the project, never external ones, each once.
fn volumes(project: Option<&Project>, world: &World) -> BTreeSet<String> {
    let external: BTreeSet<&str> = project
        .iter()
        .flat_map(|project| project.volumes.values())
        .filter(|volume| volume.external)
        .map(|volume| volume.name.as_str())
        .collect();
    let ours = world
        .observed
        .volumes
        .iter()
        .map(|volume| volume.name.clone());
    ours.chain(world.observed.broken_volumes.iter().cloned())
        .filter(|name| !external.contains(name.as_str()))
        .collect()
}

fn images(
    project: Option<&Project>,
    going: &[(&ObservedContainer, Cause)],
    rmi: Option<Rmi>,
) -> BTreeSet<String> {
    let Some(rmi) = rmi else {
        return BTreeSet::new();
    };
    let local = |name: &str, service: &ServiceName, container: &ObservedContainer| {
        let made = |mark: char| format!("{}{mark}{service}", container.project);
        name == made('-') || name == made('_')
    };
    let mut names: BTreeSet<String> = going
        .iter()
        .filter(|(container, _)| {
            let service = labels::service(container).unwrap_or_default();
            rmi == Rmi::All || local(&container.image, &service, container)
        })
        .map(|(container, _)| container.image.clone())
        .collect();
    if let Some(project) = project {
        let wanted = project
            .services
            .values()
            .filter(|s| s.provider.is_none() && project.is_on(&s.name))
            .filter(|s| rmi == Rmi::All || s.image.is_none());
        names.extend(wanted.map(|service| project.image_of(service)));
    }
    // One image may be written in two ways. As Compose: `normalizeAndDedupeImages`.
    let whole = |name: String| Reference::parse(&name).map_or(name, |name| name.to_string());
    names.into_iter().map(whole).collect()
}

/// How [`stop_all`] ends containers.
pub(super) struct Stops {
    pub(super) timeout: Option<Duration>,
    /// Whether they are removed too, and then whether their anonymous volumes are.
    pub(super) remove: Option<bool>,
}

/// Stops (and removes) containers, dependents first; the last step of each.
pub(super) fn stop_all(
    plan: &mut Plan,
    project: Option<&Project>,
    going: &[(&ObservedContainer, Cause)],
    stops: &Stops,
) -> Vec<NodeId> {
    let needs = Needs::read(project, going.iter().map(|(c, _)| *c));
    let order = needs.order(going.iter().filter_map(|(c, _)| labels::service(c)));
    let mut last = Vec::new();
    let mut stopping: BTreeMap<ServiceName, Vec<NodeId>> = BTreeMap::new();
    for name in order.iter().rev() {
        let dependents: Vec<NodeId> = stopping
            .iter()
            .filter(|(other, _)| needs.of(other).iter().any(|need| need.service == *name))
            .flat_map(|(_, nodes)| nodes.iter().copied())
            .collect();
        let mine = going
            .iter()
            .filter(|(c, _)| labels::service(c).as_ref() == Some(name));
        let mut nodes = Vec::new();
        for (container, cause) in mine {
            let who = who(container);
            let mut node = None;
            if runs(container) {
                let action = Action::Stop {
                    who: who.clone(),
                    timeout: stops.timeout,
                };
                let hooks = hooks::of_container(project, container, Moment::PreStop);
                let before = plan.hooks(hooks, &who, (cause, &[]), &dependents);
                let stop = plan.steps.add(Step::new(action, cause.clone()));
                for need in before.iter().chain(&dependents) {
                    plan.steps.need(stop, *need, When::Done);
                }
                nodes.push(stop);
                node = Some(stop);
            }
            if let Some(volumes) = stops.remove {
                let remove = plan
                    .steps
                    .add(Step::new(Action::Remove { who, volumes }, cause.clone()));
                for need in node.into_iter().chain(dependents.iter().copied()) {
                    plan.steps.need(remove, need, When::Done);
                }
                node = Some(remove);
            }
            last.extend(node);
        }
        // What stands behind a service that has nothing to stop still waits for those before it.
        if nodes.is_empty() {
            nodes = dependents;
        }
        stopping.insert(name.clone(), nodes);
    }
    last
}
