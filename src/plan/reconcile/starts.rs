//! Starts, each behind the starts and waits of what it depends on.
//!
//! Imports: `reconcile`. Source: compose-spec, `depends_on`.

use super::{Draft, Fate, Renewed};
use crate::base::diag::Diagnostic;
use crate::base::name::ServiceName;
use crate::compose::model::{Condition, InitContainer, Service};
use crate::graph::NodeId;
use crate::plan::action::{Action, ImageChange, Step, WaitFor, When, Who};
use crate::plan::cause::Cause;
use crate::plan::hooks::{self, Moment};
use crate::plan::order::Need;
use crate::plan::pre_start;

impl Draft<'_> {
    /// Plans the starts of one service.
    pub(super) fn starts(&mut self, service: &Service) {
        self.provide_after(service);
        let Some(fates) = self.fates.get(&service.name).cloned() else {
            return;
        };
        let reasons: Vec<_> = fates.iter().map(reason).collect();
        // As Compose: what runs already is up only when what it needs is as it should be.
        let gates = match fates.is_empty() {
            true => Vec::new(),
            false => self.dependencies(service),
        };
        let inits = self.pre_start(service, &fates, &reasons, &gates);
        for (at, (fate, reason)) in fates.iter().zip(reasons).enumerate() {
            let Some((cause, only_if)) = reason else {
                self.plan.unchanged.push(fate.who.clone());
                continue;
            };
            let init = inits.get(at).copied().flatten();
            if let (Some(roll), Some(made)) = (fate.rolled, fate.made) {
                for (need, when) in gates.iter().copied().chain(init.map(|n| (n, When::Done))) {
                    self.plan.steps.need(roll, need, when);
                }
                self.begun.insert(key(&fate.who), made);
                continue;
            }
            let needs: Vec<NodeId> = before(fate).chain(init).collect();
            let step = Step {
                action: Action::Start {
                    who: fate.who.clone(),
                },
                cause: cause.clone(),
                only_if: only_if.clone(),
            };
            let start = self.step(step, needs);
            for (need, when) in &gates {
                self.plan.steps.need(start, *need, *when);
            }
            let hooks = hooks::of_service(service, Moment::PostStart);
            let last = self
                .plan
                .hooks(hooks, &fate.who, (&cause, &only_if), &[start]);
            self.begun.insert(key(&fate.who), last.unwrap_or(start));
        }
    }

    /// The containers of `pre_start`; with each container of the service the last of them.
    fn pre_start(
        &mut self,
        service: &Service,
        fates: &[Fate],
        reasons: &[Option<(Cause, Vec<ImageChange>)>],
        gates: &[(NodeId, When)],
    ) -> Vec<Option<NodeId>> {
        if service.pre_start.is_empty() {
            return Vec::new();
        }
        let starts: Vec<_> = fates
            .iter()
            .zip(reasons)
            .map(|(fate, reason)| pre_start::Start {
                who: fate.who.clone(),
                cause: reason
                    .as_ref()
                    .map_or(Cause::New, |(cause, _)| cause.clone()),
                first: first(fate),
                needs: match fate.rolled {
                    Some(_) => self.before(service),
                    None => before(fate).collect(),
                },
            })
            .collect();
        let images: Vec<(String, Option<NodeId>)> = service
            .pre_start
            .iter()
            .filter_map(|init| init.value.image.as_ref())
            .map(|image| (image.value.clone(), self.image_step(&image.value)))
            .collect();
        let own = self.fetches.get(&service.name).copied();
        let image = |init: &InitContainer| match &init.image {
            None => own,
            Some(name) => {
                let known = images.iter().find(|(image, _)| *image == name.value);
                known.and_then(|(_, node)| *node)
            }
        };
        pre_start::plan(&mut self.plan, service, &starts, gates, image)
    }

    /// The steps a start of the service waits for.
    pub(super) fn dependencies(&mut self, service: &Service) -> Vec<(NodeId, When)> {
        let mut nodes = Vec::new();
        for need in self.needs.of(&service.name).to_vec() {
            nodes.extend(self.provided_by(&need.service));
            self.check_probe(service, &need);
            for fate in self.fates.get(&need.service).cloned().unwrap_or_default() {
                let start = self.begun.get(&key(&fate.who)).copied();
                match need.condition {
                    Condition::Started => nodes.extend(start.map(|node| (node, When::Done))),
                    Condition::Healthy => {
                        if start.is_some() || !fate.now.as_ref().is_some_and(|now| now.settled) {
                            let wait =
                                self.wait(&fate, WaitFor::Healthy, &need, &service.name, start);
                            nodes.push((wait, When::Healthy));
                        }
                    }
                    Condition::Completed => {
                        let wait =
                            self.wait(&fate, WaitFor::Completed, &need, &service.name, start);
                        nodes.push((wait, When::Succeeded));
                    }
                }
            }
        }
        nodes
    }

    /// The step that waits for a container; one for all who wait for the same.
    fn wait(
        &mut self,
        fate: &Fate,
        until: WaitFor,
        need: &Need,
        asking: &ServiceName,
        start: Option<NodeId>,
    ) -> NodeId {
        let (service, number) = key(&fate.who);
        let known = (service, number, until, need.required);
        if let Some(node) = self.waits.get(&known) {
            return *node;
        }
        let action = Action::Wait {
            who: fate.who.clone(),
            until,
            required: need.required,
        };
        let cause = Cause::NeededBy {
            service: asking.clone(),
        };
        let node = self.step(Step::new(action, cause), start.or(fate.made));
        self.waits.insert(known, node);
        node
    }

    /// Waiting for the health of what has no probe would never end well.
    fn check_probe(&mut self, service: &Service, need: &Need) {
        let Some(other) = self.desired.project.services.get(&need.service) else {
            return;
        };
        if other.provider.is_some() {
            return;
        }
        let image = self.desired.images.get(&need.service);
        let known = image
            .filter(|i| i.fetch.is_none())
            .and_then(|i| i.here.as_ref());
        if other.ready.is_some() {
            return;
        }
        let own = other.healthcheck.as_ref();
        let off = own.is_some_and(|h| {
            h.disable
                || h.test
                    .as_deref()
                    .is_some_and(|t| t.first().is_some_and(|k| k == "NONE"))
        });
        let has = own.is_some_and(|h| h.test.is_some())
            || known.is_none_or(|i| i.run.healthcheck.is_some());
        if need.condition == Condition::Healthy && need.required && (off || !has) {
            let text = format!(
                "service `{}` waits for `{}` to be healthy, but that has no healthcheck",
                service.name, need.service
            );
            let hint = format!(
                "give `{}` a `healthcheck`, or use `condition: service_started`",
                need.service
            );
            self.found.push(
                Diagnostic::error(text)
                    .at(need.span.or(service.span))
                    .hint(hint),
            );
        }
    }

    /// `--wait`: all containers run, and are healthy where they have a probe.
    pub(super) fn final_waits(&mut self, order: &[ServiceName]) {
        for name in order {
            if !self.desired.project.services.contains_key(name) {
                continue;
            }
            // As Compose: an end with 0 is right only where others wait for it.
            let done = self.is_awaited(name);
            for fate in self.fates.get(name).cloned().unwrap_or_default() {
                let start = self.begun.get(&key(&fate.who)).copied();
                if start.is_none() && fate.now.as_ref().is_some_and(|now| now.settled) {
                    continue;
                }
                let until = WaitFor::Up { done };
                let action = Action::Wait {
                    who: fate.who.clone(),
                    until,
                    required: true,
                };
                self.step(Step::new(action, Cause::Asked), start);
            }
        }
    }

    fn is_awaited(&self, name: &ServiceName) -> bool {
        self.desired.project.services.values().any(|service| {
            service
                .depends_on
                .get(name)
                .is_some_and(|need| need.condition == Condition::Completed)
        })
    }
}

/// A container within the project.
fn key(who: &Who) -> (ServiceName, u32) {
    (who.service.clone(), who.number)
}

/// Steps of a container's own that come before its start.
fn before(fate: &Fate) -> impl Iterator<Item = NodeId> {
    let stopped = fate.stopped.as_ref().map(|(node, ..)| *node);
    fate.made.into_iter().chain(stopped)
}

/// On which condition a container is started for the first time; `None`: it was started before.
fn first(fate: &Fate) -> Option<Vec<ImageChange>> {
    match &fate.renewed {
        _ if fate.now.as_ref().is_some_and(|now| now.fresh) => Some(Vec::new()),
        Renewed::Yes => Some(Vec::new()),
        Renewed::If(changes) => Some(changes.clone()),
        Renewed::No => None,
    }
}

/// Why a container is started, and on which condition; `None` if it runs and stays.
fn reason(fate: &Fate) -> Option<(Cause, Vec<ImageChange>)> {
    let now = fate.now.as_ref();
    match (&fate.renewed, now) {
        (Renewed::Yes, _) => Some((Cause::New, Vec::new())),
        (_, Some(now)) if !now.up => Some((
            Cause::NotRunning {
                state: now.state.clone(),
            },
            Vec::new(),
        )),
        (Renewed::If(changes), _) => Some((Cause::New, changes.clone())),
        (Renewed::No, _) => fate.stopped.as_ref().map(|(_, service, changes)| {
            (
                Cause::DependencyReplaced {
                    service: service.clone(),
                },
                changes.clone(),
            )
        }),
    }
}
