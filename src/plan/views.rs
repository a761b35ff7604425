//! The other commands as views of the same graph: build, stop, start, restart, rm, kill, pause, unpause. Those that move images are in
//! `transfers`.
//!
//! Pure. Imports: `base`, `compose::model`, `engine::state`, and the parts of `plan`.
//! Source: Docker Compose, `pkg/compose/{build,stop,start,restart,remove,kill}.go`.

use std::collections::BTreeMap;

use super::action::{Action, Step, WaitFor, When};
use super::cause::Cause;
use super::desired::Desired;
use super::down::{Stops, stop_all};
use super::hooks::{self, Moment};
use super::images::Fetch;
use super::order::Needs;
use super::policy::{KillPolicy, PausePolicy, RmPolicy, StartPolicy, StopPolicy};
use super::reconcile::{self, runs, who};
use super::{Plan, PlanError, World, labels, pre_start};
use crate::base::diag::{Diagnostics, nearest};
use crate::base::name::{ProjectName, ServiceName};
use crate::compose::model::{Condition, Project, Service};
use crate::engine::state::{HealthStatus, ObservedContainer, State};
use crate::graph::NodeId;

/// Leaves only the builds of the services wanted (of all that have a `build` when none is named).
///
/// # Errors
/// A named service that does not exist.
pub fn only_builds(desired: &mut Desired, services: &[String]) -> Result<(), PlanError> {
    known(Some(&desired.project), services)?;
    let named =
        |name: &ServiceName| services.is_empty() || services.iter().any(|s| s == name.as_str());
    for (name, image) in &mut desired.images {
        let builds = matches!(image.fetch, Some((Fetch::Build { .. }, _)));
        if !builds || !named(name) {
            image.fetch = None;
        }
    }
    desired.facts.mount_images.clear();
    // Of the host's files only those of builds count.
    desired.unread = Diagnostics::default();
    Ok(())
}

/// Plans the builds that are wanted.
///
/// # Errors
/// Faults of the builds; builds that need each other.
pub fn build(desired: Desired) -> Result<Plan, PlanError> {
    reconcile::images_only(desired, false)
}

/// Refuses a name the project does not have.
pub(super) fn known(project: Option<&Project>, services: &[String]) -> Result<(), PlanError> {
    let Some(project) = project else {
        return Ok(());
    };
    for name in services {
        if project.service(name).is_none() {
            let all = project.services.keys().map(ServiceName::as_str);
            let near = nearest(name, all).map(|near| format!("; did you mean `{near}`?"));
            return Err(PlanError::Refused(format!(
                "no such service: {name}{}",
                near.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// The project's containers of the named services, without those of `run`. When none is named, of all services, but as
/// Compose, where there are files, only of those that are on by them.
fn chosen<'w>(
    world: &'w World,
    project: Option<&Project>,
    services: &[String],
) -> Vec<&'w ObservedContainer> {
    let wanted = |c: &&ObservedContainer| {
        let service = labels::service(c).unwrap_or_default();
        let meant = match services {
            [] => project.is_none_or(|project| project.is_on(&service)),
            named => named.iter().any(|name| name == service.as_str()),
        };
        meant && !labels::is_oneoff(c)
    };
    world.observed.containers.iter().filter(wanted).collect()
}

/// Plans `stop`.
///
/// # Errors
/// A named service that does not exist.
pub fn stop(
    name: &ProjectName,
    project: Option<&Project>,
    world: &World,
    policy: &StopPolicy,
) -> Result<Plan, PlanError> {
    known(project, &policy.services)?;
    let mut plan = Plan::new(name);
    plan.go_on = true;
    let going: Vec<_> = chosen(world, project, &policy.services)
        .into_iter()
        .filter(|c| runs(c))
        .map(|c| (c, Cause::Asked))
        .collect();
    stop_all(
        &mut plan,
        project,
        &going,
        &Stops {
            timeout: policy.timeout,
            remove: None,
        },
    );
    Ok(plan)
}

/// Plans `start` of what exists. With [`StartPolicy::wait`], running or healthy is waited for.
///
/// # Errors
/// A named service that does not exist; no container at all; none of a service that must be healthy or have ended first.
pub fn start(
    name: &ProjectName,
    project: Option<&Project>,
    world: &World,
    policy: &StartPolicy,
) -> Result<Plan, PlanError> {
    known(project, &policy.services)?;
    let needs = Needs::read(project, &world.observed.containers);
    let mut containers = chosen(world, project, &needs.with_needs(&policy.services));
    // As Compose: orphans, and services that are off by their profiles, stay as they are.
    containers.retain(|c| {
        let service = labels::service(c);
        project.is_none_or(|p| service.is_some_and(|name| p.services.contains_key(&name)))
    });
    let mut plan = Plan::new(name);
    plan.warnings = startable(project, world, &policy.services)?;
    plan.wait_timeout = policy.wait_timeout;
    let fresh = start_all(&mut plan, project, &containers, &BTreeMap::new());
    if policy.wait {
        for (container, node) in fresh {
            let done = labels::service(container).is_some_and(|name| needs.is_awaited(&name));
            let until = WaitFor::Up { done };
            let action = Action::Wait {
                who: who(container),
                until,
                required: true,
            };
            let step = plan.steps.add(Step::new(action, Cause::Asked));
            plan.steps.need(step, node, When::Done);
        }
    }
    Ok(plan)
}

/// Whether there is something to start. As Compose, a project that has any container at all has: what a service lacks is
/// handed back as warnings then, but for a container whose health or end is waited for.
fn startable(
    project: Option<&Project>,
    world: &World,
    named: &[String],
) -> Result<Vec<String>, PlanError> {
    let all = chosen(world, None, &[]);
    let has = |name: &str| {
        let of = |c: &&ObservedContainer| labels::service(c).is_some_and(|s| s.as_str() == name);
        all.iter().any(of)
    };
    let Some(project) = project else {
        let missing = named.iter().find(|name| !has(name));
        return missing.map_or(Ok(Vec::new()), |name| {
            Err(PlanError::Refused(format!("no such service: {name}")))
        });
    };
    let made = |service: &&Service| service.scale > 0 && service.provider.is_none();
    let none =
        |service: &Service| format!("service \"{}\" has no container to start", service.name);
    let mut services = project.services.values().filter(made);
    if all.is_empty() {
        return services
            .next()
            .map_or(Ok(Vec::new()), |one| Err(PlanError::Refused(none(one))));
    }
    let mut warnings = Vec::new();
    for service in services {
        for (need, how) in &service.depends_on {
            let counts = project.services.get(need).is_some_and(|need| made(&need));
            if how.condition == Condition::Started || !counts || has(need.as_str()) {
                continue;
            }
            let text = format!("{} is missing dependency {need}", service.name);
            if how.required {
                return Err(PlanError::Refused(text));
            }
            warnings.push(text);
        }
        if !has(service.name.as_str()) && named.iter().any(|name| name == service.name.as_str()) {
            warnings.push(none(service));
        }
    }
    Ok(warnings)
}

/// Starts containers that do not run (or that `stopped` names a step for), what they need first.
fn start_all<'w>(
    plan: &mut Plan,
    project: Option<&Project>,
    containers: &[&'w ObservedContainer],
    stopped: &BTreeMap<String, NodeId>,
) -> Vec<(&'w ObservedContainer, NodeId)> {
    let needs = Needs::read(project, containers.iter().copied());
    let order = needs.order(containers.iter().filter_map(|c| labels::service(c)));
    let mut gates: BTreeMap<(ServiceName, Gate), Vec<NodeId>> = BTreeMap::new();
    let mut started = Vec::new();
    for name in &order {
        let mine: Vec<_> = containers
            .iter()
            .filter(|c| labels::service(c).as_ref() == Some(name))
            .copied()
            .collect();
        if mine
            .iter()
            .all(|c| serves(c) && !stopped.contains_key(c.id.as_str()))
        {
            continue;
        }
        let mut waits = Vec::new();
        for need in needs.of(name) {
            let same = containers
                .iter()
                .filter(|c| labels::service(c).as_ref() == Some(&need.service));
            let others: Vec<&ObservedContainer> = same.copied().collect();
            waits.extend(open_gate(plan, &mut gates, need, &others, name));
        }
        let inits = first_starts(plan, project, name, &mine, &waits);
        for (at, container) in mine.iter().enumerate() {
            let before = stopped.get(container.id.as_str()).copied();
            // One that is paused is asked to start, so that whoever tries is told.
            if before.is_none() && serves(container) {
                continue;
            }
            let cause = match before {
                Some(_) => Cause::Asked,
                None => Cause::NotRunning {
                    state: labels::state_text(container.state),
                },
            };
            let who = who(container);
            let node = plan
                .steps
                .add(Step::new(Action::Start { who: who.clone() }, cause.clone()));
            let inits = inits.get(at).copied().flatten();
            for need in before.into_iter().chain(inits) {
                plan.steps.need(node, need, When::Done);
            }
            for (gate, when) in &waits {
                plan.steps.need(node, *gate, *when);
            }
            let hooks = hooks::of_container(project, container, Moment::PostStart);
            let last = plan.hooks(hooks, &who, (&cause, &[]), &[node]);
            let last = last.unwrap_or(node);
            gates
                .entry((name.clone(), Gate::Started))
                .or_default()
                .push(last);
            started.push((*container, last));
        }
    }
    started
}

/// The steps of `pre_start` of containers that were made and never started; with each container the last.
fn first_starts(
    plan: &mut Plan,
    project: Option<&Project>,
    name: &ServiceName,
    containers: &[&ObservedContainer],
    waits: &[(NodeId, When)],
) -> Vec<Option<NodeId>> {
    let Some(service) = project.and_then(|project| project.services.get(name)) else {
        return Vec::new();
    };
    let starts: Vec<_> = containers
        .iter()
        .map(|container| pre_start::Start {
            who: who(container),
            cause: Cause::NotRunning {
                state: labels::state_text(container.state),
            },
            first: (container.state == State::Created).then(Vec::new),
            needs: Vec::new(),
        })
        .collect();
    pre_start::plan(plan, service, &starts, waits, |_| None)
}

/// What of a service can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    Started,
    Healthy(bool),
    Completed(bool),
}

/// The steps a dependent waits for, made once.
fn open_gate(
    plan: &mut Plan,
    gates: &mut BTreeMap<(ServiceName, Gate), Vec<NodeId>>,
    need: &super::order::Need,
    others: &[&ObservedContainer],
    asking: &ServiceName,
) -> Vec<(NodeId, When)> {
    let starts = gates
        .get(&(need.service.clone(), Gate::Started))
        .cloned()
        .unwrap_or_default();
    let (gate, until, when) = match need.condition {
        Condition::Started => return starts.into_iter().map(|node| (node, When::Done)).collect(),
        Condition::Healthy => (
            Gate::Healthy(need.required),
            WaitFor::Healthy,
            When::Healthy,
        ),
        Condition::Completed => (
            Gate::Completed(need.required),
            WaitFor::Completed,
            When::Succeeded,
        ),
    };
    let key = (need.service.clone(), gate);
    if let Some(nodes) = gates.get(&key) {
        return nodes.iter().map(|node| (*node, when)).collect();
    }
    let mut nodes = Vec::new();
    for other in others {
        let healthy = other
            .health
            .as_ref()
            .is_none_or(|h| h.status == HealthStatus::Healthy);
        if starts.is_empty() && when == When::Healthy && healthy {
            continue;
        }
        let action = Action::Wait {
            who: who(other),
            until,
            required: need.required,
        };
        let node = plan.steps.add(Step::new(
            action,
            Cause::NeededBy {
                service: asking.clone(),
            },
        ));
        for start in &starts {
            plan.steps.need(node, *start, When::Done);
        }
        nodes.push(node);
    }
    gates.insert(key, nodes.clone());
    nodes.into_iter().map(|node| (node, when)).collect()
}

/// Plans `restart`.
///
/// # Errors
/// A named service that does not exist.
pub fn restart(
    name: &ProjectName,
    project: Option<&Project>,
    world: &World,
    policy: &StopPolicy,
) -> Result<Plan, PlanError> {
    known(project, &policy.services)?;
    let mut services = policy.services.clone();
    let needs = Needs::read(project, &world.observed.containers);
    // Dependents that ask for it, and their dependents.
    let mut at = 0;
    while !policy.no_deps && at < services.len() {
        for container in chosen(world, project, &[]) {
            let service = labels::service(container).unwrap_or_default();
            let asks = needs
                .of(&service)
                .iter()
                .any(|n| n.restart && n.service.as_str() == services[at]);
            if asks && runs(container) && !services.iter().any(|s| s == service.as_str()) {
                services.push(service.to_string());
            }
        }
        at += 1;
    }
    let containers = chosen(world, project, &services);
    let mut plan = Plan::new(name);
    let going: Vec<_> = containers
        .iter()
        .filter(|c| runs(c))
        .map(|c| (*c, Cause::Asked))
        .collect();
    let stops = stop_all(
        &mut plan,
        project,
        &going,
        &Stops {
            timeout: policy.timeout,
            remove: None,
        },
    );
    let mut stopped = BTreeMap::new();
    for node in stops {
        let id = plan
            .steps
            .get(node)
            .and_then(|step| step.action.who())
            .and_then(|who| who.id.clone());
        stopped.extend(id.map(|id| (id.as_str().to_owned(), node)));
    }
    start_all(&mut plan, project, &containers, &stopped);
    Ok(plan)
}

/// Plans `rm`.
///
/// # Errors
/// A named service that does not exist.
pub fn rm(
    name: &ProjectName,
    project: Option<&Project>,
    world: &World,
    policy: &RmPolicy,
) -> Result<Plan, PlanError> {
    known(project, &policy.services)?;
    let mut plan = Plan::new(name);
    plan.go_on = true;
    let ended = |c: &ObservedContainer| {
        matches!(
            c.state,
            State::Exited { .. } | State::Created | State::Removing
        )
    };
    let going: Vec<_> = chosen(world, project, &policy.services)
        .into_iter()
        .filter(|c| policy.stop || ended(c))
        .filter(|c| policy.only.as_ref().is_none_or(|ids| ids.contains(&c.id)))
        .map(|c| (c, Cause::Asked))
        .collect();
    stop_all(
        &mut plan,
        project,
        &going,
        &Stops {
            timeout: None,
            remove: Some(policy.volumes),
        },
    );
    Ok(plan)
}

/// Whether a container runs and is not paused.
fn serves(container: &ObservedContainer) -> bool {
    runs(container) && !matches!(container.state, State::Paused { .. })
}

/// Plans `pause` and `unpause`. As Compose: each container that runs is asked, also one that is so already.
///
/// # Errors
/// A named service that does not exist.
pub fn pause(
    name: &ProjectName,
    project: Option<&Project>,
    world: &World,
    policy: &PausePolicy,
) -> Result<Plan, PlanError> {
    known(project, &policy.services)?;
    let mut plan = Plan::new(name);
    plan.go_on = true;
    for container in chosen(world, project, &policy.services) {
        if runs(container) {
            let action = Action::Freeze {
                who: who(container),
                frozen: policy.frozen,
            };
            plan.steps.add(Step::new(action, Cause::Asked));
        }
    }
    Ok(plan)
}

/// Plans `kill`.
///
/// # Errors
/// A named service that does not exist.
pub fn kill(
    name: &ProjectName,
    project: Option<&Project>,
    world: &World,
    policy: &KillPolicy,
) -> Result<Plan, PlanError> {
    known(project, &policy.services)?;
    let mut plan = Plan::new(name);
    plan.go_on = true;
    let among = project.filter(|_| !policy.orphans);
    for container in chosen(world, among, &policy.services) {
        // One that waits to be started again counts as running, as for Compose.
        if runs(container) {
            let action = Action::Kill {
                who: who(container),
                signal: policy.signal,
            };
            plan.steps.add(Step::new(action, Cause::Asked));
        }
    }
    if plan.is_empty() {
        plan.warnings
            .push(format!("no container to kill for project \"{name}\""));
    }
    Ok(plan)
}
