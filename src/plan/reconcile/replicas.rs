//! What becomes of each container of a service: made, replaced, kept, or removed.
//!
//! Imports: `reconcile`.

use std::collections::BTreeMap;

use super::{Draft, Fate, Now, Renewed, ports, runs};
use crate::base::diag::Diagnostics;
use crate::base::name::ServiceName;
use crate::compose::model::{NetworkModeSpec, Service, ShareSpec, VolumeSource, VolumesFrom};
use crate::engine::state::{HealthStatus, ObservedContainer, State};
use crate::graph::NodeId;
use crate::plan::action::{Action, ImageChange, Old, Step, When, Who};
use crate::plan::cause::Cause;
use crate::plan::desired::container_name;
use crate::plan::hooks::{self, Hook, Moment};
use crate::plan::policy::Recreate;
use crate::plan::rollout::{self, Hooks, Policy, Roll};
use crate::plan::{hash, labels};

impl Draft<'_> {
    /// Plans a service's containers, but not their start.
    pub(super) fn replicas(&mut self, service: &Service) {
        let mut by_number: BTreeMap<u32, Vec<&ObservedContainer>> = BTreeMap::new();
        for container in self.there.get(&service.name).cloned().unwrap_or_default() {
            by_number
                .entry(labels::number(container))
                .or_default()
                .push(container);
        }
        for (number, containers) in &by_number {
            if *number == 0 || *number > service.scale {
                for container in containers {
                    self.take_away(
                        container,
                        &Cause::Excess {
                            scale: service.scale,
                        },
                    );
                }
            }
        }
        let services = &self.desired.project.services;
        let before = self.fates.keys().filter_map(|name| services.get(name));
        ports::faults(service, before, &mut self.found);
        let mut said = Diagnostics::default();
        let update = match self.policy.create_only {
            true => None,
            false => rollout::update(service, &mut said),
        };
        let mut fates = Vec::new();
        for number in 1..=service.scale {
            let found = by_number.remove(&number).unwrap_or_default();
            fates.push(self.replica(service, number, &found, update.as_ref()));
        }
        if let Some(policy) = update {
            self.conclude(service, &mut fates, policy, said);
        }
        self.fates.insert(service.name.clone(), fates);
    }

    /// One number: keeps the best of what is there, takes the rest away.
    fn replica(
        &mut self,
        service: &Service,
        number: u32,
        found: &[&ObservedContainer],
        update: Option<&Policy>,
    ) -> Fate {
        let name = container_name(&self.desired.project, service, number);
        let new = Who {
            service: service.name.clone(),
            number,
            name: name.clone(),
            id: None,
        };
        let wanted = self
            .desired
            .hashes
            .get(&service.name)
            .map(|h| h.hash.as_str());
        let best = found
            .iter()
            .filter(|c| c.state != State::Removing)
            .max_by_key(|c| {
                let fits = c.labels.get(labels::CONFIG_HASH).map(String::as_str) == wanted;
                // One that has not proved itself yet must not be what stays.
                let serves = update.is_some() && c.name == name && runs(c);
                (serves, fits, runs(c), c.created, std::cmp::Reverse(&c.id))
            })
            .copied();
        let mut gone: Vec<NodeId> = Vec::new();
        for container in found
            .iter()
            .filter(|c| best.is_none_or(|best| best.id != c.id))
        {
            gone.push(self.take_away(container, &Cause::Leftover));
        }
        let Some(old) = best else {
            self.check(service, number, &name);
            let node = self.create(service, new.clone(), BTreeMap::new(), Cause::Missing, gone);
            return Fate {
                who: new,
                made: Some(node),
                renewed: Renewed::Yes,
                rolled: None,
                stopped: None,
                now: None,
            };
        };
        let now = Some(now(old));
        let kept = Who {
            id: Some(old.id.clone()),
            ..new.clone()
        };
        let Some((renewed, cause)) = self.verdict(service, old) else {
            let mut made = None;
            if old.name != name {
                let action = Action::Rename { who: kept.clone() };
                made = Some(self.step(Step::new(action, Cause::Leftover), gone));
            }
            return Fate {
                who: kept,
                made,
                renewed: Renewed::No,
                rolled: None,
                stopped: None,
                now,
            };
        };
        self.check(service, number, &name);
        if let Some(policy) = update.filter(|_| runs(old) && self.made_anew(old).is_none()) {
            let node = self.roll(service, new.clone(), old, (&renewed, cause), gone, policy);
            return Fate {
                who: new,
                made: Some(node),
                renewed,
                rolled: Some(node),
                stopped: None,
                now,
            };
        }
        let node = self.renew(service, new.clone(), old, (&renewed, cause), gone);
        // On condition only: until then it may be the old one that is spoken of.
        Fate {
            who: new,
            made: Some(node),
            renewed,
            rolled: None,
            stopped: None,
            now,
        }
    }

    /// Replaces a container under a policy.
    fn roll(
        &mut self,
        service: &Service,
        who: Who,
        old: &ObservedContainer,
        (renewed, cause): (&Renewed, Cause),
        gone: Vec<NodeId>,
        policy: &Policy,
    ) -> NodeId {
        let needs: Vec<NodeId> = self.before(service).into_iter().chain(gone).collect();
        let roll = Roll {
            who,
            old: Old {
                id: old.id.clone(),
                name: old.name.clone(),
            },
            anonymous: self.handed_on(old),
            timeout: self.policy.timeout,
            policy: policy.clone(),
            later: false,
            total: 0,
            job: rollout::is_job(service),
            hooks: Hooks {
                post_start: hooks::of_service(service, Moment::PostStart),
                pre_stop: hooks::of_service(service, Moment::PreStop),
            },
            old_hooks: Hooks {
                post_start: self.old_hooks(service, old, Moment::PostStart),
                pre_stop: self.old_hooks(service, old, Moment::PreStop),
            },
        };
        let step = Step {
            action: Action::Roll(Box::new(roll)),
            cause,
            only_if: renewed.conditions(),
        };
        self.step(step, needs)
    }

    /// Puts the replacements of a service into groups, and a last step behind them.
    fn conclude(
        &mut self,
        service: &Service,
        fates: &mut [Fate],
        policy: Policy,
        said: Diagnostics,
    ) {
        let rolls: Vec<NodeId> = fates.iter().filter_map(|fate| fate.rolled).collect();
        let total = rolls.len();
        let many = if policy.parallelism == 0 {
            total
        } else {
            policy.parallelism
        };
        let mut why = None;
        let mut only_if: Option<Vec<ImageChange>> = None;
        for (at, node) in rolls.iter().enumerate() {
            if let Some(before) = at.checked_sub(many).and_then(|at| rolls.get(at)) {
                self.plan.steps.need(*node, *before, When::Done);
            }
            let Some(step) = self.plan.steps.get_mut(*node) else {
                continue;
            };
            why.get_or_insert_with(|| step.cause.clone());
            // All or none of them are on a condition, as they have one image.
            only_if.get_or_insert_with(|| step.only_if.clone());
            if let Action::Roll(roll) = &mut step.action {
                (roll.later, roll.total) = (at >= many, total);
            }
        }
        let Some(cause) = why else { return };
        for item in said.iter() {
            self.found.push(item.clone());
        }
        let action = Action::Conclude {
            service: service.name.clone(),
            total,
            back: rollout::rollback(service, &mut self.found),
            policy,
        };
        let step = Step {
            action,
            cause,
            only_if: only_if.unwrap_or_default(),
        };
        let last = self.step(step, rolls);
        for fate in fates.iter_mut().filter(|fate| fate.rolled.is_some()) {
            fate.made = Some(last);
        }
    }

    /// Anonymous volumes that a container leaves to the one that replaces it.
    fn handed_on(&self, old: &ObservedContainer) -> BTreeMap<String, String> {
        match self.policy.renew_anonymous {
            true => BTreeMap::new(),
            false => old.anonymous.iter().cloned().collect(),
        }
    }

    /// Replaces a container; where its network is made anew it has to go before.
    fn renew(
        &mut self,
        service: &Service,
        who: Who,
        old: &ObservedContainer,
        (renewed, cause): (&Renewed, Cause),
        gone: Vec<NodeId>,
    ) -> NodeId {
        let anonymous = self.handed_on(old);
        if self.made_anew(old).is_some() {
            let away = self.take_away(old, &cause);
            let needs = gone.into_iter().chain([away]).collect();
            return self.create(service, who, anonymous, cause, needs);
        }
        let needs: Vec<NodeId> = self.before(service).into_iter().chain(gone).collect();
        // The old one is stopped on the way.
        let hook = runs(old).then(|| {
            let hooks = self.old_hooks(service, old, Moment::PreStop);
            let why = (&cause, &renewed.conditions()[..]);
            self.plan.hooks(hooks, &super::who(old), why, &needs)
        });
        let old = Old {
            id: old.id.clone(),
            name: old.name.clone(),
        };
        let action = Action::Replace {
            who,
            old,
            anonymous,
            timeout: self.policy.timeout,
        };
        let step = Step {
            action,
            cause,
            only_if: renewed.conditions(),
        };
        self.step(step, needs.into_iter().chain(hook.flatten()))
    }

    /// The hooks of a container that is replaced.
    fn old_hooks(&self, service: &Service, old: &ObservedContainer, when: Moment) -> Vec<Hook> {
        let now = self.desired.hashes.get(&service.name);
        let document = now.map_or("", |hash| &hash.document);
        hooks::of_replaced(service, document, old, when)
    }

    fn create(
        &mut self,
        service: &Service,
        who: Who,
        anonymous: BTreeMap<String, String>,
        cause: Cause,
        gone: Vec<NodeId>,
    ) -> NodeId {
        let needs = self
            .before(service)
            .into_iter()
            .chain(gone)
            .collect::<Vec<_>>();
        self.step(Step::new(Action::Create { who, anonymous }, cause), needs)
    }

    /// Steps that must be done before a container of the service can be made.
    pub(super) fn before(&self, service: &Service) -> Vec<NodeId> {
        let mut nodes = self.image_steps(&service.name);
        nodes.extend(
            service
                .networks
                .keys()
                .filter_map(|key| self.resources.networks.get(key)),
        );
        if service
            .network_mode
            .as_ref()
            .is_some_and(|m| m.value == NetworkModeSpec::Bridge)
        {
            nodes.extend(self.resources.bridge);
        }
        for mount in &service.volumes {
            if let VolumeSource::Volume { key: Some(key), .. } = &mount.value.source {
                nodes.extend(self.resources.volumes.get(key));
            }
        }
        nodes.extend(self.sources(service));
        for other in shared(service) {
            nodes.extend(
                self.fates
                    .get(other)
                    .iter()
                    .flat_map(|fates| fates.iter())
                    .filter_map(|f| f.made),
            );
        }
        nodes
    }

    /// Whether a container must be replaced, and why; `None` keeps it.
    fn verdict(&self, service: &Service, old: &ObservedContainer) -> Option<(Renewed, Cause)> {
        if let Some(name) = self.made_anew(old) {
            return Some((Renewed::Yes, Cause::Rewired { name }));
        }
        let recreate = self.policy.recreate(service.name.as_str());
        if recreate == Recreate::Never {
            return None;
        }
        if let Some(wanted) = self.desired.hashes.get(&service.name)
            && old.labels.get(labels::CONFIG_HASH) != Some(&wanted.hash)
        {
            let before = old.labels.get(labels::SPEC).map_or("", String::as_str);
            let changes = hash::changes(before, &wanted.document);
            let untold = &self.desired.facts.untold;
            let told = hash::without_contents(&changes, untold);
            // What nobody has asked for is no reason.
            if told.len() == changes.len() || !told.is_empty() {
                return Some((Renewed::Yes, Cause::SpecChanged(told)));
            }
        }
        if recreate == Recreate::Force {
            return Some((Renewed::Yes, Cause::Forced));
        }
        let image = self.desired.images.get(&service.name);
        let mut verdict = None;
        if image.is_some_and(|image| image.fetch.is_some()) {
            let change = ImageChange {
                service: service.name.clone(),
                was: old.image_id,
                provided: false,
            };
            verdict = Some((Renewed::If(vec![change]), Cause::ImagePending));
        } else if let Some(now) = image.and_then(|image| image.here.as_ref()?.id)
            && now != old.image_id
        {
            let cause = Cause::ImageChanged {
                was: old.image_id.short(),
                now: now.short(),
            };
            return Some((Renewed::Yes, cause));
        }
        if let Some((changes, why)) = self.variables_change(service, old) {
            verdict = Some(match verdict {
                Some((have, cause)) => (have.or(&changes), cause),
                None => (changes, why),
            });
        }
        for other in shared(service) {
            let mut renewed = self.renewed(other);
            if renewed == Renewed::No && self.has_moved_on(service, other, old) {
                renewed = Renewed::Yes;
            }
            if renewed == Renewed::No {
                continue;
            }
            let cause = Cause::DependencyReplaced {
                service: other.clone(),
            };
            verdict = Some(match verdict {
                Some((have, cause)) => (have.or(&renewed), cause),
                None => (renewed, cause),
            });
        }
        verdict
    }

    /// Whether a container joins one of another service that is there no more: that was replaced alone.
    fn has_moved_on(
        &self,
        service: &Service,
        other: &ServiceName,
        old: &ObservedContainer,
    ) -> bool {
        let fates = self.fates.get(other).map_or(&[][..], Vec::as_slice);
        let mut now = fates.iter().filter_map(|fate| fate.who.id.as_ref());
        joined(service).contains(&other)
            && !old.joins.is_empty()
            && !now.any(|id| old.joins.contains(id))
    }

    /// Whether any container of a service is replaced.
    fn renewed(&self, service: &ServiceName) -> Renewed {
        let fates = self.fates.get(service).map_or(&[][..], Vec::as_slice);
        fates
            .iter()
            .fold(Renewed::No, |all, fate| all.or(&fate.renewed))
    }

    /// Containers that stay but ask to be restarted with what they depend on are stopped before it is
    /// replaced. As Compose: `depends_on.restart`.
    pub(super) fn stops_before(&mut self, service: &Service) {
        for need in self.needs.of(&service.name).to_vec() {
            let renewed = self.renewed(&need.service);
            let others = self.fates.get(&need.service).cloned().unwrap_or_default();
            let replaced: Vec<&Fate> = others
                .iter()
                .filter(|f| f.renewed != Renewed::No && f.now.is_some())
                .collect();
            if !need.restart || replaced.is_empty() {
                continue;
            }
            let Some(mut fates) = self.fates.remove(&service.name) else {
                continue;
            };
            for fate in &mut fates {
                let up = fate.now.as_ref().is_some_and(|now| now.up);
                if fate.renewed != Renewed::No || !up || fate.stopped.is_some() {
                    continue;
                }
                let only_if = renewed.conditions();
                let step = Step {
                    action: Action::Stop {
                        who: fate.who.clone(),
                        timeout: self.policy.timeout,
                    },
                    cause: Cause::DependencyReplaced {
                        service: need.service.clone(),
                    },
                    only_if: only_if.clone(),
                };
                let needs: Vec<NodeId> = only_if
                    .iter()
                    .filter_map(|change| {
                        let fetched = self.fetches.get(&change.service);
                        fetched
                            .or_else(|| self.provided.get(&change.service))
                            .copied()
                    })
                    .collect();
                let hooks = hooks::of_service(service, Moment::PreStop);
                let why = (&step.cause, &only_if[..]);
                let hook = self.plan.hooks(hooks, &fate.who, why, &needs);
                let stop = self.step(step, needs.into_iter().chain(hook));
                for other in &replaced {
                    if let Some(made) = other.rolled.or(other.made) {
                        self.plan.steps.need(made, stop, When::Done);
                    }
                }
                fate.stopped = Some((stop, need.service.clone(), only_if));
            }
            self.fates.insert(service.name.clone(), fates);
        }
    }
}

/// Services whose containers this one shares something with, by id.
fn shared(service: &Service) -> Vec<&ServiceName> {
    let mut all = joined(service);
    for from in &service.volumes_from {
        if let VolumesFrom::Service(name, _) = from {
            all.push(name);
        }
    }
    all
}

/// Services whose containers' namespaces this one joins.
fn joined(service: &Service) -> Vec<&ServiceName> {
    let mut all: Vec<&ServiceName> = Vec::new();
    if let Some(NetworkModeSpec::Service(name)) = service.network_mode.as_ref().map(|m| &m.value) {
        all.push(name);
    }
    for share in [&service.pid, &service.ipc].into_iter().flatten() {
        if let ShareSpec::Service(name) = &share.value {
            all.push(name);
        }
    }
    all
}

fn now(container: &ObservedContainer) -> Now {
    let healthy = container
        .health
        .as_ref()
        .is_none_or(|h| h.status == HealthStatus::Healthy);
    // One that is paused is asked to start, so that whoever tries is told.
    let up = runs(container) && !matches!(container.state, State::Paused { .. });
    Now {
        up,
        settled: container.state.is_up() && healthy,
        fresh: container.state == State::Created,
        state: labels::state_text(container.state),
    }
}
