//! Replaces containers under a policy of `deploy.update_config`, one step a container and one that concludes.
//!
//! A replacement that fails is undone on the spot: the old container serves on, or again. What that means for the others
//! is the policy's to say; the concluding step fails the plan, takes old containers away, or brings them back.
//! Imports: `base`, `engine`, `plan`, `run`, `steps`, `wait`, `hooks`.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::run::{Present, Run, tell};
use super::{ApplyError, report, wait};
use crate::base::event::{Event, Kind, Status};
use crate::base::name::{ContainerId, ServiceName};
use crate::compose::model::RolloutOrder;
use crate::engine::state::{HealthStatus, ObservedContainer};
use crate::engine::{AnonymousVolumes, Cancel, Force};
use crate::plan::action::{WaitFor, Who};
use crate::plan::desired::passing_name;
use crate::plan::hooks::Hook;
use crate::plan::rollout::{FailureAction, Policy, Roll};

/// How often a new container is looked at while it proves itself.
const LOOK: Duration = Duration::from_millis(50);

type Done = Result<(), ApplyError>;

/// How far the replacements of one service are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Those that went well, in order.
    rolled: Vec<Rolled>,
    failed: Vec<ApplyError>,
}

/// A container that was replaced.
#[derive(Debug, Clone)]
struct Rolled {
    roll: Roll,
    /// The new one.
    id: ContainerId,
    /// Whether the old one is there still, stopped.
    kept: bool,
}

impl Run<'_> {
    fn progress(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Progress>> {
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces one container. A failure is kept for [`Run::conclude`].
    pub(super) fn roll(&self, roll: &Roll, cause: &str) -> Done {
        let service = &roll.who.service;
        let failed = |run: &Self| run.progress().get(service).map_or(0, |p| p.failed.len());
        if roll.later && !roll.policy.halts(failed(self), roll.total) {
            self.pause(roll.policy.delay)?;
        }
        if roll.policy.halts(failed(self), roll.total) {
            return Ok(());
        }
        let say = |status| {
            let detail = Some(cause.to_owned());
            tell(
                self.context,
                Kind::Container,
                &roll.who.name,
                status,
                detail,
            );
        };
        say(Status::Working("Recreate"));
        match self.replaced(roll) {
            Ok(rolled) => {
                say(Status::Done("Recreated"));
                let mut all = self.progress();
                all.entry(service.clone()).or_default().rolled.push(rolled);
            }
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                say(Status::Failed(error.to_string()));
                let mut all = self.progress();
                all.entry(service.clone()).or_default().failed.push(error);
            }
        }
        Ok(())
    }

    /// Makes the new container and puts it in the old one's place, or takes it away again.
    fn replaced(&self, roll: &Roll) -> Result<Rolled, ApplyError> {
        let passing = passing_name(&roll.old.id, &roll.who.name);
        let before = self.find(&roll.who).unwrap_or_default();
        self.create(&roll.who, &roll.anonymous, Some(passing))?;
        let id = self.id(&roll.who)?;
        if let Err(error) = self.switched(roll, &id) {
            let undone = self.undone(roll, &id, before);
            return Err(error.with(undone.err().into_iter().collect()));
        }
        let kept = roll.policy.failure == FailureAction::Rollback && roll.total > 1;
        let engine = &self.context.engine;
        match kept {
            true => {
                let name = passing_name(&id, &roll.who.name);
                engine.rename(&roll.old.id, &name)?;
            }
            false => engine.remove(&roll.old.id, Force::Yes, AnonymousVolumes::Keep)?,
        }
        self.named(&roll.who, &id)?;
        Ok(Rolled {
            roll: roll.clone(),
            id,
            kept,
        })
    }

    /// Gives a container the name it should have.
    fn named(&self, who: &Who, id: &ContainerId) -> Done {
        self.context.engine.rename(id, &who.name)?;
        let there = self.find(who).unwrap_or_default();
        let there = Present {
            id: Some(id.clone()),
            name: who.name.clone(),
            ..there
        };
        self.note(who, there);
        Ok(())
    }

    /// Starts the new container and stops the old one, in the order asked for.
    fn switched(&self, roll: &Roll, id: &ContainerId) -> Done {
        let stop = || {
            self.all_hooks(&old(roll), &roll.old_hooks.pre_stop)?;
            let who = (&roll.who.service, roll.who.name.as_str());
            Ok(self.stop(who, &roll.old.id, roll.timeout)?)
        };
        let start = || {
            self.context.engine.start(id).map_err(|error| {
                ApplyError::new(format!("container {}: {error}", roll.who.name))
            })?;
            self.all_hooks(&roll.who, &roll.hooks.post_start)?;
            self.proven(roll, id)
        };
        match roll.policy.order {
            RolloutOrder::StartFirst => start().and_then(|()| stop()),
            RolloutOrder::StopFirst => stop().and_then(|()| start()),
        }
    }

    /// Takes the new container away and sees to it that the old one runs.
    fn undone(&self, roll: &Roll, id: &ContainerId, before: Present) -> Done {
        let engine = &self.context.engine;
        engine.remove(id, Force::Yes, AnonymousVolumes::Keep)?;
        self.note(&roll.who, before);
        let up = |old: ObservedContainer| old.state.is_up();
        if !engine.container(&roll.old.id).is_ok_and(up) {
            self.supply(&roll.who.service, &roll.old.id)?;
            engine.start(&roll.old.id)?;
            self.all_hooks(&old(roll), &roll.old_hooks.post_start)?;
        }
        Ok(())
    }

    fn all_hooks(&self, who: &Who, hooks: &[Hook]) -> Done {
        hooks.iter().try_for_each(|hook| self.hook(who, hook))
    }

    /// Waits until a new container runs or is healthy, and stays so as long as it is watched.
    fn proven(&self, roll: &Roll, id: &ContainerId) -> Done {
        let cancel = Cancel::default();
        let waited = std::thread::scope(|scope| {
            let (over, told) = channel::<()>();
            let cancel = &cancel;
            scope.spawn(move || {
                while told.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    if self.waits.is_cancelled() || self.fault(roll, id).is_some() {
                        cancel.cancel();
                    }
                }
            });
            let until = WaitFor::Up { done: roll.job };
            let waited = wait::wait(self.context, &roll.who, id, until, cancel);
            drop(over);
            waited
        });
        let fault = |found: String| {
            report::of_failure(self.context, &roll.who, id, None, ApplyError::new(found))
        };
        match waited {
            Err(error) if error.is_cancelled() && !self.waits.is_cancelled() => {
                return Err(self.fault(roll, id).map_or(error, fault));
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let begun = Instant::now();
        while begun.elapsed() < roll.policy.monitor {
            if let Some(found) = self.fault(roll, id) {
                return Err(fault(found));
            }
            self.pause(LOOK.min(roll.policy.monitor))?;
        }
        Ok(())
    }

    /// What is wrong with a new container, if anything is. Its restart policy does not make up for an end.
    fn fault(&self, roll: &Roll, id: &ContainerId) -> Option<String> {
        let name = &roll.who.name;
        let Ok(found) = self.context.engine.container(id) else {
            return Some(format!("container {name} is gone"));
        };
        if let Some(exit) = found.state.exit()
            && !(roll.job && exit.code() == 0)
        {
            return Some(format!("container {name} exited ({})", exit.code()));
        }
        if found.restarts > 0 {
            return Some(format!("container {name} ended and was started again"));
        }
        let health = found.health.map(|health| health.status);
        (health == Some(HealthStatus::Unhealthy)).then(|| format!("container {name} is unhealthy"))
    }

    /// Waits so long, unless the run is ended.
    fn pause(&self, long: Duration) -> Done {
        let begun = Instant::now();
        while begun.elapsed() < long {
            if self.waits.is_cancelled() {
                return Err(ApplyError::cancelled());
            }
            std::thread::sleep(LOOK.min(long));
        }
        Ok(())
    }

    /// Ends the replacements of a service: well, with what failed, or by going back.
    pub(super) fn conclude(
        &self,
        service: &ServiceName,
        total: usize,
        policy: &Policy,
        back: &Policy,
    ) -> Done {
        let Progress { rolled, mut failed } = self.progress().remove(service).unwrap_or_default();
        let exceeded = policy.exceeded(failed.len(), total);
        if exceeded && policy.failure == FailureAction::Rollback {
            let went = self.all_back(&rolled, back);
            let count = rolled.len();
            let hint = format!(
                "`{service}` runs as before: {count} of {total} containers had been replaced and were brought back"
            );
            let first = failed.remove(0).hint(hint);
            failed.extend(went.err());
            return Err(first.with(failed));
        }
        for one in rolled.iter().filter(|one| one.kept) {
            let old = &one.roll.old.id;
            (self.context.engine).remove(old, Force::Yes, AnonymousVolumes::Keep)?;
        }
        if !exceeded {
            for error in failed {
                let text = format!("service `{service}`: one container stays as it was: {error}");
                self.context.events.send(Event::Warn(text));
            }
            return Ok(());
        }
        let count = rolled.len();
        let hint = format!(
            "{count} of {total} containers of `{service}` were replaced; the others run as before"
        );
        let first = failed.remove(0).hint(hint);
        Err(first.with(failed))
    }

    /// Brings old containers back, the last replaced first. One that fails does not keep the others.
    fn all_back(&self, rolled: &[Rolled], policy: &Policy) -> Done {
        let many = match policy.parallelism {
            0 => rolled.len().max(1),
            some => some,
        };
        let mut errors = Vec::new();
        let reversed: Vec<&Rolled> = rolled.iter().rev().collect();
        for (at, group) in reversed.chunks(many).enumerate() {
            if at > 0 {
                self.pause(policy.delay)?;
            }
            let results: Vec<Done> = std::thread::scope(|scope| {
                let threads: Vec<_> = group
                    .iter()
                    .map(|one| scope.spawn(|| self.back(one, policy.order)))
                    .collect();
                let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
                ended.filter_map(Result::ok).collect()
            });
            errors.extend(results.into_iter().filter_map(Result::err));
            if !errors.is_empty() && policy.failure != FailureAction::Continue {
                break;
            }
        }
        match errors.is_empty() {
            true => Ok(()),
            false => {
                let first = errors.remove(0);
                Err(first.on("bring back").with(errors))
            }
        }
    }

    /// Puts an old container back in its place.
    fn back(&self, rolled: &Rolled, order: RolloutOrder) -> Done {
        let (roll, engine) = (&rolled.roll, &self.context.engine);
        let say = |status| {
            let detail = Some("rolled back".to_owned());
            tell(
                self.context,
                Kind::Container,
                &roll.who.name,
                status,
                detail,
            );
        };
        say(Status::Working("Recreate"));
        let stop = || -> Done {
            self.all_hooks(&roll.who, &roll.hooks.pre_stop)?;
            Ok(engine.stop(&rolled.id, roll.timeout)?)
        };
        let start = || -> Done {
            self.supply(&roll.who.service, &roll.old.id)?;
            engine.start(&roll.old.id)?;
            self.all_hooks(&old(roll), &roll.old_hooks.post_start)
        };
        match order {
            RolloutOrder::StartFirst => start().and_then(|()| stop())?,
            RolloutOrder::StopFirst => stop().and_then(|()| start())?,
        }
        engine.remove(&rolled.id, Force::Yes, AnonymousVolumes::Keep)?;
        self.named(&roll.who, &roll.old.id)?;
        say(Status::Done("Recreated"));
        Ok(())
    }
}

/// The old container of a replacement.
fn old(roll: &Roll) -> Who {
    Who {
        id: Some(roll.old.id.clone()),
        name: roll.old.name.clone(),
        ..roll.who.clone()
    }
}
