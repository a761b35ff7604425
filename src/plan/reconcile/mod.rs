//! `up`: compares what is wanted with what is there, and plans the difference.
//!
//! Images, networks and volumes first; then each service's containers, needs before dependents; then
//! starts, each behind the starts and waits of what it depends on. Pure.
//! Imports: `base`, `compose::model`, `engine::state`, `graph`, and the parts of `plan`.
//! Source: Docker Compose, `pkg/compose/{convergence,reconcile,start}.go`.

mod fetch;
mod ports;
pub(crate) mod provided;
mod replicas;
mod starts;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::{Action, ImageChange, Step, WaitFor, When, Who};
use super::cause::Cause;
use super::desired::{Desired, Peer, Replica};
use super::hooks::{self, Moment};
use super::images::ImageFacts;
use super::order::Needs;
use super::policy::UpPolicy;
use super::resources::{self, Resources};
use super::{Plan, PlanError, World, labels, networks};
use crate::base::diag::Diagnostics;
use crate::base::name::{ContainerId, ServiceName};
use crate::compose::model::Service;
use crate::engine::state::{ObservedContainer, State};
use crate::graph::NodeId;

/// What becomes of one wanted container.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) who: Who,
    /// The step after which it exists under its name.
    pub(super) made: Option<NodeId>,
    /// Whether, and on which condition, it is another container than before.
    pub(super) renewed: Renewed,
    /// The step that replaces it under a policy, start included.
    pub(super) rolled: Option<NodeId>,
    /// The step that stops it for the sake of a dependency, with that dependency.
    pub(super) stopped: Option<(NodeId, ServiceName, Vec<ImageChange>)>,
    /// What is there now, if it stays or is replaced.
    pub(super) now: Option<Now>,
}

/// A container as it is, as far as starting it goes.
#[derive(Debug, Clone)]
pub(super) struct Now {
    pub(super) up: bool,
    pub(super) settled: bool,
    /// Whether it was made and never started.
    pub(super) fresh: bool,
    pub(super) state: String,
}

/// Whether a container is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Renewed {
    No,
    Yes,
    /// Only if one of these images turns out to be another one.
    If(Vec<ImageChange>),
}

impl Renewed {
    fn conditions(&self) -> Vec<ImageChange> {
        match self {
            Self::If(changes) => changes.clone(),
            _ => Vec::new(),
        }
    }
    /// Both together.
    fn or(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::If(mut a), Self::If(b)) => {
                a.extend(
                    b.iter()
                        .filter(|c| !a.contains(c))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
                Self::If(a)
            }
            (Self::If(a), Self::No) => Self::If(a),
            (Self::No, other) => other.clone(),
        }
    }
}

/// The plan while it is made.
pub(super) struct Draft<'a> {
    pub(super) desired: &'a Desired,
    pub(super) world: &'a World,
    pub(super) policy: &'a UpPolicy,
    pub(super) needs: Needs,
    pub(super) plan: Plan,
    pub(super) found: Diagnostics,
    pub(super) resources: Resources,
    /// The step that gets a service's image.
    pub(super) fetches: BTreeMap<ServiceName, NodeId>,
    /// The step that gets an image by name.
    pub(super) pulls: BTreeMap<String, NodeId>,
    pub(super) fates: BTreeMap<ServiceName, Vec<Fate>>,
    /// The step after which a container has been started, hooks included.
    pub(super) begun: BTreeMap<(ServiceName, u32), NodeId>,
    /// Waits for containers: one for all who wait for the same.
    pub(super) waits: BTreeMap<(ServiceName, u32, WaitFor, bool), NodeId>,
    /// Containers of each service, without those of `run` and of `pre_start`.
    pub(super) there: BTreeMap<ServiceName, Vec<&'a ObservedContainer>>,
    /// The step that gives variables to who depends on a service, or uses a model.
    pub(super) provided: BTreeMap<ServiceName, NodeId>,
}

/// Plans whatever makes the selected services be as the project says.
///
/// # Errors
/// [`PlanError::Faults`]: an external thing is missing, or a service asks for what can't be.
pub fn reconcile(desired: Desired, world: &World, policy: &UpPolicy) -> Result<Plan, PlanError> {
    let mut draft = Draft::new(&desired, world, policy);
    draft.plan.wait_timeout = policy.wait_timeout;
    draft.found.append(desired.unread.clone());
    draft.fetch_all();
    let project = &desired.project;
    draft.resources = resources::plan(
        &mut draft.plan,
        &desired,
        world,
        policy.renew_volumes,
        &mut draft.found,
    );
    networks::check(project, world, &mut draft.found);
    let order = draft.needs.order(project.services.keys().cloned());
    draft.models();
    for name in &order {
        match project.services.get(name) {
            Some(service) if service.provider.is_some() => draft.provide(service),
            Some(service) => {
                draft.replicas(service);
                draft.stops_before(service);
            }
            None => {}
        }
    }
    if !policy.create_only {
        for name in &order {
            if let Some(service) = project.services.get(name) {
                draft.starts(service);
            }
        }
        if policy.wait {
            draft.final_waits(&order);
        }
    }
    draft.orphans();
    draft.leftovers();
    let Draft { plan, found, .. } = draft;
    finish(plan, found, desired)
}

/// Plans only the images of `desired`; `tolerate` makes failed pulls warnings.
pub(super) fn images_only(desired: Desired, tolerate: bool) -> Result<Plan, PlanError> {
    let (world, policy) = (World::default(), UpPolicy::default());
    let mut draft = Draft::new(&desired, &world, &policy);
    draft.found.append(desired.unread.clone());
    draft.fetch_all();
    let Draft { plan, found, .. } = draft;
    let mut plan = finish(plan, found, desired)?;
    for id in (0..plan.steps.len()).map(NodeId) {
        if let Some(Step {
            action: Action::Pull { tolerate: kept, .. },
            ..
        }) = plan.steps.get_mut(id)
        {
            *kept = tolerate;
        }
    }
    plan.go_on = tolerate;
    Ok(plan)
}

/// The plan with what was found besides; errors among that are the outcome.
fn finish(mut plan: Plan, found: Diagnostics, desired: Desired) -> Result<Plan, PlanError> {
    let sources = &desired.project.sources;
    if found.has_errors() {
        let sources = Box::new(sources.clone());
        return Err(PlanError::Faults {
            faults: found,
            sources,
        });
    }
    let warnings = found.iter().map(|warning| warning.headline(sources));
    plan.warnings.extend(warnings);
    plan.desired = Some(Arc::new(desired));
    Ok(plan)
}

/// Containers of each service, without those of `run` and of `pre_start`.
fn by_service(world: &World) -> BTreeMap<ServiceName, Vec<&ObservedContainer>> {
    let mut all: BTreeMap<ServiceName, Vec<&ObservedContainer>> = BTreeMap::new();
    for container in &world.observed.containers {
        if let Some(service) = labels::service(container).filter(|_| !labels::is_oneoff(container))
        {
            all.entry(service).or_default().push(container);
        }
    }
    all
}

impl<'a> Draft<'a> {
    fn new(desired: &'a Desired, world: &'a World, policy: &'a UpPolicy) -> Self {
        Self {
            needs: Needs::read(Some(&desired.project), &[]),
            plan: Plan::new(&desired.project.name),
            found: Diagnostics::default(),
            resources: Resources::default(),
            fetches: BTreeMap::new(),
            pulls: BTreeMap::new(),
            fates: BTreeMap::new(),
            begun: BTreeMap::new(),
            waits: BTreeMap::new(),
            there: by_service(world),
            provided: BTreeMap::new(),
            desired,
            world,
            policy,
        }
    }
}

impl Draft<'_> {
    /// Adds a step and what it waits for.
    pub(super) fn step(&mut self, step: Step, needs: impl IntoIterator<Item = NodeId>) -> NodeId {
        let id = self.plan.steps.add(step);
        for need in needs {
            self.plan.steps.need(id, need, When::Done);
        }
        id
    }

    /// Makes a spec on trial, so that faults show before anything is done. Warnings come of it too.
    pub(super) fn check(&mut self, service: &Service, number: u32, name: &str) {
        let unknown = ImageFacts::default();
        let image = self.desired.images.get(&service.name);
        let image = image
            .filter(|image| image.fetch.is_none())
            .and_then(|image| image.here.as_ref());
        let peer = |_: &str| {
            Some(Peer {
                id: Some(ContainerId::new("peer")),
                ..Peer::default()
            })
        };
        let replica = Replica {
            number,
            id: ContainerId::new("trial"),
            name: name.to_owned(),
            image: image.unwrap_or(&unknown),
            mount_images: &BTreeMap::new(),
            anonymous: &BTreeMap::new(),
            peer: &peer,
            slug: None,
        };
        let mut found = Diagnostics::default();
        self.desired.container_spec(service, &replica, &mut found);
        for init in &service.pre_start {
            let none = BTreeMap::new();
            let replica = match &init.value.image {
                Some(name) => Replica {
                    image: self.desired.beside(&name.value).unwrap_or(&unknown),
                    ..replica.clone()
                },
                None => replica.clone(),
            };
            self.desired
                .init_spec(service, &init.value, &replica, &none, &mut found);
        }
        for item in found.iter() {
            if !self.found.iter().any(|have| have == item) {
                self.found.push(item.clone());
            }
        }
    }

    /// Containers of services that the project does not have.
    fn orphans(&mut self) {
        let declared = &self.policy.declared;
        if declared.is_empty() && !self.policy.services.is_empty() {
            return;
        }
        let known = |c: &ObservedContainer| {
            labels::service(c).is_some_and(|name| {
                self.desired.project.services.contains_key(&name)
                    || declared.iter().any(|declared| declared == name.as_str())
            })
        };
        let ended =
            |c: &ObservedContainer| matches!(c.state, State::Exited { .. } | State::Created);
        // As Compose: a container of `run` is an orphan once it has ended.
        let orphan = |c: &&ObservedContainer| match labels::is_oneoff(c) {
            true if labels::is_hook(c) => false,
            true => self.policy.remove_orphans && ended(c),
            false => !known(c),
        };
        let orphans: Vec<&ObservedContainer> = self
            .world
            .observed
            .containers
            .iter()
            .filter(orphan)
            .collect();
        if self.policy.remove_orphans {
            for orphan in orphans {
                self.take_away(orphan, &Cause::Orphan);
            }
        } else if !self.policy.ignore_orphans && !orphans.is_empty() {
            self.plan
                .warnings
                .push(orphan_warning(orphans.iter().map(|c| c.name.as_str())));
        }
    }

    /// Containers of `pre_start` that a command which was killed has left: nobody waits for them any more.
    fn leftovers(&mut self) {
        let left: Vec<&ObservedContainer> = self
            .world
            .observed
            .containers
            .iter()
            .filter(|c| labels::is_hook(c))
            .collect();
        for container in left {
            let removed = self.take_away(container, &Cause::Leftover);
            let service = labels::service(container).unwrap_or_default();
            let runs = self.plan.steps.nodes().filter(|(_, step)| {
                matches!(&step.action, Action::PreStart { who, .. } if who.service == service)
            });
            for id in runs.map(|(id, _)| id).collect::<Vec<_>>() {
                self.plan.steps.need(id, removed, When::Done);
            }
        }
    }

    /// Stops a container if it runs, and removes it.
    pub(super) fn take_away(&mut self, container: &ObservedContainer, cause: &Cause) -> NodeId {
        let who = who(container);
        let mut needs = Vec::new();
        if runs(container) {
            let action = Action::Stop {
                who: who.clone(),
                timeout: self.policy.timeout,
            };
            let project = Some(&self.desired.project);
            let hooks = hooks::of_container(project, container, Moment::PreStop);
            let before = self.plan.hooks(hooks, &who, (cause, &[]), &[]);
            needs.push(self.step(Step::new(action, cause.clone()), before));
        }
        let action = Action::Remove {
            who,
            volumes: false,
        };
        let node = self.step(Step::new(action, cause.clone()), needs);
        // A network that is made anew goes after all its containers.
        for place in &container.networks {
            if let Some(removal) = self.resources.rewired.get(&place.network) {
                self.plan.steps.need(*removal, node, When::Done);
            }
        }
        for (volume, _) in &container.volumes {
            if let Some(removal) = self.resources.renewed.get(volume) {
                self.plan.steps.need(*removal, node, When::Done);
            }
        }
        node
    }

    /// What of a container's networks and volumes is made anew, by name: it has to go before.
    pub(super) fn made_anew(&self, container: &ObservedContainer) -> Option<String> {
        let mut networks = container.networks.iter().map(|place| &place.network);
        let network = networks.find(|name| self.resources.rewired.contains_key(*name));
        let mut volumes = container.volumes.iter().map(|(name, _)| name);
        let volume = volumes.find(|name| self.resources.renewed.contains_key(*name));
        network.or(volume).cloned()
    }
}

/// As Compose words it; the project may be one of a selection, so the text does not say "remove".
pub(super) fn orphan_warning<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    format!(
        "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your \
         compose file, you can run this command with the --remove-orphans flag to clean it up.",
        names.join(" ")
    )
}

/// Whether a stop has something to do.
pub(super) fn runs(container: &ObservedContainer) -> bool {
    container.state.is_up() || matches!(container.state, State::Restarting { .. })
}

/// A container as a plan speaks of it.
pub(super) fn who(container: &ObservedContainer) -> Who {
    Who {
        service: labels::service(container).unwrap_or_default(),
        number: labels::number(container),
        name: container.name.clone(),
        id: Some(container.id.clone()),
    }
}
