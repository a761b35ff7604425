//! Starts, each behind the starts and waits of what it depends on.
//!
//! Imports: `reconcile`. Source: compose-spec, `depends_on`.

use super::{Draft, Fate, Renewed};
use crate::base::diag::Diagnostic;
use crate::base::name::ServiceName;
use crate::base::term::RestartPolicy;
use crate::compose::model::{Condition, Service};
use crate::graph::NodeId;
use crate::plan::action::{Action, ImageChange, Step, WaitFor, When};
use crate::plan::cause::Cause;
use crate::plan::order::Need;

impl Draft<'_> {
    /// Plans the starts of one service.
    pub(super) fn starts(&mut self, service: &Service) {
        let Some(fates) = self.fates.get(&service.name).cloned() else {
            return;
        };
        let mut needs: Option<Vec<(NodeId, When)>> = None;
        for fate in &fates {
            let Some((cause, only_if)) = reason(fate) else {
                self.plan.unchanged.push(fate.who.clone());
                continue;
            };
            let needs = match &needs {
                Some(needs) => needs.clone(),
                None => needs.insert(self.dependencies(service)).clone(),
            };
            let action = Action::Start {
                who: fate.who.clone(),
            };
            let before = fate
                .made
                .into_iter()
                .chain(fate.stopped.as_ref().map(|(node, ..)| *node));
            let before: Vec<NodeId> = before.collect();
            let start = self.step(
                Step {
                    action,
                    cause,
                    only_if,
                },
                before,
            );
            for (need, when) in needs {
                self.plan.steps.need(start, need, when);
            }
        }
    }

    /// The steps a start of the service waits for.
    fn dependencies(&mut self, service: &Service) -> Vec<(NodeId, When)> {
        let mut nodes = Vec::new();
        for need in self.needs.of(&service.name).to_vec() {
            self.check_probe(service, &need);
            for fate in self.fates.get(&need.service).cloned().unwrap_or_default() {
                let start =
                    self.find(|action| matches!(action, Action::Start { who } if *who == fate.who));
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
        let action = Action::Wait {
            who: fate.who.clone(),
            until,
            required: need.required,
        };
        if let Some(node) = self.find(|have| *have == action) {
            return node;
        }
        let cause = Cause::NeededBy {
            service: asking.clone(),
        };
        self.step(Step::new(action, cause), start.or(fate.made))
    }

    fn find(&self, fits: impl Fn(&Action) -> bool) -> Option<NodeId> {
        self.plan
            .steps
            .nodes()
            .find(|(_, step)| fits(&step.action))
            .map(|(id, _)| id)
    }

    /// Waiting for the health of what has no probe would never end well.
    fn check_probe(&mut self, service: &Service, need: &Need) {
        let Some(other) = self.desired.project.services.get(&need.service) else {
            return;
        };
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
            let Some(service) = self.desired.project.services.get(name) else {
                continue;
            };
            // As an end with 0 is the purpose of a service that others wait to complete, and nothing
            // would start one with `restart: no` again, both count as done.
            let done = service.restart == RestartPolicy::No || self.is_awaited(name);
            for fate in self.fates.get(name).cloned().unwrap_or_default() {
                let start = self.find(|a| matches!(a, Action::Start { who } if *who == fate.who));
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
