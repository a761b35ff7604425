//! Runs a plan: each step as soon as what it waits for is done, bounded, ended by a failure or Ctrl-C.
//!
//! In: a plan. Out: an [`Outcome`], or the error that matters with the others of the run beside it.
//! It decides nothing. Imports: `base`, `graph`, `engine`, `plan`, `steps`.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::images;
use super::provide::Variables;
use super::rollout::Progress;
use super::{ApplyError, Context, Plan};
use crate::base::event::{Event, Kind, Status, StopReport};
use crate::base::name::{ContainerId, ServiceName};
use crate::base::scalar::format_duration;
use crate::engine::Cancel;
use crate::graph::schedule::{OnFailure, Rules, Slot, run as schedule};
use crate::plan::action::{Action, Who};
use crate::plan::images::{Fetch, ImageFacts};

/// How often waits look whether the run was ended.
const TICK: Duration = Duration::from_millis(20);

/// What a run left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The containers the plan was about that exist now, by service and number.
    pub containers: Vec<Final>,
    /// So many steps were done.
    pub done: usize,
    /// What providers and models told.
    pub(super) given: BTreeMap<ServiceName, Variables>,
}

/// A container after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// Its service.
    pub service: ServiceName,
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: ContainerId,
}

/// A container that is there while a plan runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Present {
    pub(super) id: Option<ContainerId>,
    pub(super) name: String,
    /// Anonymous volumes, where this run made it.
    pub(super) anonymous: Option<BTreeMap<String, String>>,
}

/// What steps of one run share.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) plan: &'a Plan,
    /// Ends waits: Ctrl-C, a failure elsewhere, the time is up.
    pub(super) waits: Cancel,
    pub(super) expired: Cancel,
    images: Mutex<BTreeMap<ServiceName, ImageFacts>>,
    mounts: Mutex<BTreeMap<String, ImageFacts>>,
    /// How far replacements under a policy are.
    pub(super) rollouts: Mutex<BTreeMap<ServiceName, Progress>>,
    present: Mutex<BTreeMap<(ServiceName, u32), Present>>,
    given: Mutex<BTreeMap<ServiceName, Variables>>,
    /// Stops that cost time; the first of a service.
    slow: Mutex<BTreeMap<ServiceName, StopReport>>,
}

/// The value, even if a thread that held it has panicked: all changes to it are single inserts.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a plan to its end. The caller holds the project's lock.
///
/// # Errors
/// The first failure, with the others beside it; exit code 130 when the user ended it.
pub fn run(context: &Context, plan: &Plan) -> Result<Outcome, ApplyError> {
    for who in &plan.unchanged {
        tell(
            context,
            Kind::Container,
            &who.name,
            Status::Done("Running"),
            None,
        );
    }
    for (name, why) in &plan.skipped {
        let why = why.map(str::to_owned);
        tell(context, Kind::Image, name, Status::Done("Skipped"), why);
    }
    let run = Run::new(context, plan);
    if plan.is_empty() {
        return Ok(run.outcome(0));
    }
    images::check_settings(context, plan)?;
    let on_failure = if plan.go_on {
        OnFailure::GoOn
    } else {
        OnFailure::Stop
    };
    let rules = Rules {
        parallel: context.parallel,
        on_failure,
    };
    let waits = plan.steps.nodes().any(|(_, step)| step.action.waits());
    let slots = std::thread::scope(|scope| {
        let (over, told) = channel::<()>();
        let run = &run;
        if waits {
            scope.spawn(move || run.watch(&told));
        }
        let slots = schedule(
            &plan.steps,
            rules,
            |_, ()| true,
            || context.cancel.is_cancelled() || run.expired.is_cancelled(),
            |_, step| {
                let result = run.step(step);
                if result.is_err() && !plan.go_on {
                    run.waits.cancel();
                }
                result
            },
        );
        drop(over);
        slots
    });
    run.tell_slow_stops();
    let done = slots
        .iter()
        .filter(|slot| matches!(slot, Slot::Done(())))
        .count();
    let errors: Vec<ApplyError> = slots
        .into_iter()
        .filter_map(|slot| {
            if let Slot::Failed(error) = slot {
                Some(error)
            } else {
                None
            }
        })
        .collect();
    run.verdict(errors, done)
}

/// Sends one event about a thing.
pub(super) fn tell(
    context: &Context,
    kind: Kind,
    name: &str,
    status: Status,
    detail: Option<String>,
) {
    context.events.send(Event::Resource {
        kind,
        name: name.to_owned(),
        status,
        detail,
    });
}

impl<'a> Run<'a> {
    fn new(context: &'a Context, plan: &'a Plan) -> Self {
        let mut images = BTreeMap::new();
        let mut mounts = BTreeMap::new();
        if let Some(desired) = &plan.desired {
            for (service, image) in &desired.images {
                images.extend(image.here.clone().map(|facts| (service.clone(), facts)));
            }
            for (name, image) in &desired.facts.mount_images {
                mounts.extend(image.here.clone().map(|facts| (name.clone(), facts)));
            }
        }
        let mut present = BTreeMap::new();
        let mut note = |who: &Who, id: &ContainerId| {
            let there = Present {
                id: Some(id.clone()),
                name: who.name.clone(),
                anonymous: None,
            };
            present.insert((who.service.clone(), who.number), there);
        };
        let named = plan
            .steps
            .nodes()
            .filter_map(|(_, step)| match &step.action {
                Action::Replace { who, old, .. } => Some((who, &old.id)),
                Action::Roll(roll) => Some((&roll.who, &roll.old.id)),
                action => action.who().and_then(|who| Some((who, who.id.as_ref()?))),
            });
        for (who, id) in named {
            note(who, id);
        }
        for who in &plan.unchanged {
            if let Some(id) = &who.id {
                note(who, id);
            }
        }
        Self {
            context,
            plan,
            waits: Cancel::default(),
            expired: Cancel::default(),
            images: Mutex::new(images),
            mounts: Mutex::new(mounts),
            rollouts: Mutex::default(),
            present: Mutex::new(present),
            given: Mutex::new(BTreeMap::new()),
            slow: Mutex::default(),
        }
    }

    /// Ends waits when the user or the clock says so; returns when the run is over.
    fn watch(&self, over: &Receiver<()>) {
        // A timer, not a decision: the only clock here counts down what the user gave.
        let begun = Instant::now();
        while over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if self
                .plan
                .wait_timeout
                .is_some_and(|limit| begun.elapsed() >= limit)
            {
                self.expired.cancel();
            }
            if self.context.cancel.is_cancelled() || self.expired.is_cancelled() {
                self.waits.cancel();
            }
        }
    }

    /// Whether the time that the user gave is over.
    pub(super) fn is_expired(&self) -> bool {
        self.expired.is_cancelled() && !self.context.cancel.is_cancelled()
    }

    /// One error for the run: the first that is not only an end of waiting.
    fn verdict(&self, errors: Vec<ApplyError>, done: usize) -> Result<Outcome, ApplyError> {
        let (ended, mut real): (Vec<_>, Vec<_>) =
            errors.into_iter().partition(ApplyError::is_cancelled);
        if !real.is_empty() {
            let first = real.remove(0);
            return Err(first.with(real));
        }
        if self.context.cancel.is_cancelled() {
            return Err(ApplyError::cancelled());
        }
        if self.expired.is_cancelled() {
            let limit = format_duration(self.plan.wait_timeout.unwrap_or_default());
            let late = ended.into_iter().filter(|error| !error.notes().is_empty());
            let error = ApplyError::new(format!("application not healthy after {limit}"));
            return Err(error.with(late.map(|error| error.ending(false)).collect()));
        }
        match ended.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(self.outcome(done)),
        }
    }

    fn outcome(&self, done: usize) -> Outcome {
        let containers = held(&self.present)
            .iter()
            .filter_map(|((service, number), there)| {
                let id = there.id.clone()?;
                Some(Final {
                    service: service.clone(),
                    number: *number,
                    name: there.name.clone(),
                    id,
                })
            })
            .collect();
        Outcome {
            containers,
            done,
            given: self.given(),
        }
    }

    /// Ids of the images that are known by now, and digests of the variables that providers told.
    pub(super) fn image_ids(&self) -> BTreeMap<ServiceName, crate::image::digest::Digest> {
        let images = held(&self.images);
        let images = images
            .iter()
            .filter_map(|(name, facts)| Some((name.clone(), facts.id?)));
        let given = held(&self.given);
        let given = given
            .iter()
            .map(|(name, variables)| (name.clone(), variables.digest()));
        images.chain(given).collect()
    }
    /// Keeps how a service's container took its stop.
    pub(super) fn was_slow(&self, service: &ServiceName, report: StopReport) {
        held(&self.slow).entry(service.clone()).or_insert(report);
    }
    /// What [`Run::was_slow`] has kept.
    pub(super) fn slow_stops(&self) -> Vec<StopReport> {
        held(&self.slow).values().cloned().collect()
    }
    /// Keeps what a provider, or the models, told.
    pub(super) fn gave(&self, service: &ServiceName, variables: Variables) {
        held(&self.given).insert(service.clone(), variables);
    }
    /// What providers and models have told so far.
    pub(super) fn given(&self) -> BTreeMap<ServiceName, Variables> {
        held(&self.given).clone()
    }
    pub(super) fn image(&self, service: &ServiceName) -> Option<ImageFacts> {
        held(&self.images).get(service).cloned()
    }
    pub(super) fn mount_images(&self) -> BTreeMap<String, ImageFacts> {
        held(&self.mounts).clone()
    }
    /// Keeps a pulled image for every service and mount that means it.
    pub(super) fn pulled(&self, name: &str, platform: Option<&str>, facts: &ImageFacts) {
        let Some(desired) = &self.plan.desired else {
            return;
        };
        for (service, wanted) in &desired.images {
            if wanted.name == name && wanted.platform.as_deref() == platform {
                held(&self.images).insert(service.clone(), facts.clone());
            }
        }
        if desired.facts.mount_images.contains_key(name) && platform.is_none() {
            held(&self.mounts).insert(name.to_owned(), facts.clone());
        }
    }
    /// Keeps a built image; other services that name the same one mean it too.
    pub(super) fn built(&self, service: &ServiceName, facts: &ImageFacts) {
        held(&self.images).insert(service.clone(), facts.clone());
        let Some(desired) = &self.plan.desired else {
            return;
        };
        let name = desired.images.get(service).map(|image| &image.name);
        for (other, wanted) in &desired.images {
            let builds = matches!(wanted.fetch, Some((Fetch::Build { .. }, _)));
            if Some(&wanted.name) == name && !builds {
                held(&self.images).insert(other.clone(), facts.clone());
            }
        }
    }
    pub(super) fn find(&self, who: &Who) -> Option<Present> {
        held(&self.present)
            .get(&(who.service.clone(), who.number))
            .cloned()
    }
    /// The first container of a service.
    pub(super) fn first(&self, service: &str) -> Option<Present> {
        let present = held(&self.present);
        present
            .iter()
            .find(|((name, _), _)| name.as_str() == service)
            .map(|(_, there)| there.clone())
    }
    pub(super) fn note(&self, who: &Who, there: Present) {
        held(&self.present).insert((who.service.clone(), who.number), there);
    }
    pub(super) fn forget(&self, who: &Who, id: &ContainerId) {
        let key = (who.service.clone(), who.number);
        let mut present = held(&self.present);
        if present
            .get(&key)
            .is_some_and(|there| there.id.as_ref() == Some(id))
        {
            present.remove(&key);
        }
    }
}
