//! A plan as users and programs read it: one item a thing, with everything that happens to it and why.
//!
//! In: a [`Plan`]. Out: a [`Summary`], which `plan` prints as text, as JSON and as a picture. Its JSON has a version:
//! fields may be added, none changes its meaning. Pure. Imports: `base`, the parts of `plan`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::Plan;
use super::action::{Action, Step};
use super::cause::Cause;
use crate::graph::NodeId;

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// What a plan would do, thing by thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// [`VERSION`].
    pub version: u32,
    /// The project.
    pub project: String,
    /// Whether anything would change.
    pub changes: bool,
    /// So many things of each sign.
    pub counts: Counts,
    /// Things that something happens to: images, networks, volumes, containers.
    pub items: Vec<Item>,
    /// Containers that stay as they are.
    pub unchanged: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Every single step, in an order in which they can be done.
    pub steps: Value,
}

/// So many things are added, changed, removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// `+`
    pub add: usize,
    /// `~`
    pub change: usize,
    /// `-`
    pub remove: usize,
}

/// What happens to a thing, at one glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// It comes: `+`.
    Add,
    /// It becomes another one, or another state: `~`.
    Change,
    /// It goes: `-`.
    Remove,
    /// It is only waited for or asked: a space.
    Look,
}

impl Sign {
    /// `+`, `~`, `-` or a space.
    pub fn mark(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
            Self::Look => ' ',
        }
    }
}

/// One thing and what happens to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// `image`, `network`, `volume`, `container`, `service`, `provider`, `model`.
    pub kind: &'static str,
    /// Its full name.
    pub name: String,
    /// The service it belongs to, if it belongs to one.
    pub service: Option<String>,
    /// What happens, at one glance.
    pub sign: Sign,
    /// What happens in one word: `create`, `replace`, `restart`, `pull`.
    pub action: &'static str,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The condition on which it happens, if it may not happen: what is known only later.
    pub only_if: Option<String>,
    /// What only carrying it out tells.
    pub later: Option<&'static str>,
    /// Ids of its steps.
    pub steps: Vec<usize>,
}

/// Why something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// One word that never changes: `configuration_changed`.
    pub code: &'static str,
    /// One phrase.
    pub text: String,
    /// What changed, key by key.
    pub changes: Vec<Difference>,
}

/// One key with its value before and after; a value that is not for showing is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `environment.DEBUG`.
    pub path: String,
    /// Before.
    pub was: Option<String>,
    /// After.
    pub now: Option<String>,
}

/// What all steps of one thing say together.
struct Gathered<'p> {
    steps: Vec<(usize, &'p Step)>,
}

/// A thing that steps are about: its kind, and what tells it from others of the kind.
type Key = (&'static str, String);

impl Summary {
    /// Reads a plan.
    pub fn of(plan: &Plan) -> Self {
        let numbers = plan.numbers();
        let (order, gathered) = gather(plan, &numbers);
        let known = services_there(plan);
        let items: Vec<Item> = order
            .into_iter()
            .filter_map(|key| item(&key, gathered.get(&key)?, &known, plan))
            .collect();
        let count = |sign| items.iter().filter(|item| item.sign == sign).count();
        let counts = Counts {
            add: count(Sign::Add),
            change: count(Sign::Change),
            remove: count(Sign::Remove),
        };
        Self {
            version: VERSION,
            project: plan.project.to_string(),
            changes: items.iter().any(|item| item.sign != Sign::Look),
            counts,
            unchanged: plan.unchanged.iter().map(|who| who.name.clone()).collect(),
            warnings: plan.warnings.clone(),
            steps: plan.json()["actions"].clone(),
            items,
        }
    }
}

/// The steps of each thing, and the things in the order in which they come up.
fn gather<'p>(
    plan: &'p Plan,
    numbers: &BTreeMap<NodeId, usize>,
) -> (Vec<Key>, BTreeMap<Key, Gathered<'p>>) {
    let (mut order, mut all) = (Vec::new(), BTreeMap::new());
    for id in plan.order() {
        let (Some(step), Some(number)) = (plan.steps.get(id), numbers.get(&id)) else {
            continue;
        };
        let key = match step.action.who() {
            Some(who) => ("container", format!("{}/{}", who.service, who.number)),
            None => (step.action.kind(), step.action.name().to_owned()),
        };
        let gathered = all.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            Gathered { steps: Vec::new() }
        });
        gathered.steps.push((*number, step));
    }
    (order, all)
}

/// Services that have a container now.
fn services_there(plan: &Plan) -> BTreeSet<String> {
    let kept = plan.unchanged.iter().map(|who| who.service.to_string());
    let steps = plan.steps.nodes().filter_map(|(_, step)| {
        let who = step.action.who()?;
        let old = matches!(step.action, Action::Replace { .. } | Action::Roll(_));
        (old || who.id.is_some()).then(|| who.service.to_string())
    });
    kept.chain(steps).collect()
}

fn item(key: &Key, gathered: &Gathered<'_>, known: &BTreeSet<String>, plan: &Plan) -> Option<Item> {
    let (main, (sign, action)) = gathered.verdict(plan)?;
    let who = main.action.who();
    let service = match &main.action {
        Action::Build { service, .. } | Action::Conclude { service, .. } => {
            Some(service.to_string())
        }
        _ => who.map(|who| who.service.to_string()),
    };
    let only_if = gathered.steps.iter().map(|(_, step)| step.condition_text());
    // What is done in any case needs no condition.
    let only_if: Option<Vec<String>> = only_if.collect();
    Some(Item {
        kind: key.0,
        name: main.action.name().to_owned(),
        sign,
        action,
        reasons: gathered.reasons(main, service.as_deref().is_some_and(|s| known.contains(s))),
        only_if: only_if.and_then(|all| all.into_iter().next()),
        later: later(&main.action),
        steps: gathered.steps.iter().map(|(number, _)| *number).collect(),
        service,
    })
}

/// What only carrying it out tells.
fn later(action: &Action) -> Option<&'static str> {
    match action {
        Action::Pull { .. } => Some("what it holds is known once it is pulled"),
        Action::Build {
            pull_first: true, ..
        } => Some("the registry is asked first, else it is built"),
        Action::Build { .. } => Some("whether its inputs have changed is known once it is built"),
        _ => None,
    }
}

impl<'p> Gathered<'p> {
    fn first(&self, is: impl Fn(&Action) -> bool) -> Option<&'p Step> {
        let mut all = self.steps.iter().map(|(_, step)| *step);
        all.find(|step| is(&step.action))
    }

    /// The step that stands for all, and what it comes to.
    fn verdict(&self, plan: &Plan) -> Option<(&'p Step, (Sign, &'static str))> {
        use Action as A;
        let made = self.first(|a| matches!(a, A::Create { .. }));
        let gone = self.first(|a| matches!(a, A::Remove { .. }));
        let stop = self.first(|a| matches!(a, A::Stop { .. }));
        let start = self.first(|a| matches!(a, A::Start { .. }));
        if let Some(step) = self.first(|a| matches!(a, A::Replace { .. } | A::Roll(_))) {
            return Some((step, (Sign::Change, "replace")));
        }
        match (made, gone, stop, start) {
            (Some(step), Some(_), _, _) => return Some((step, (Sign::Change, "replace"))),
            (Some(step), ..) => return Some((step, (Sign::Add, "create"))),
            (_, Some(step), ..) => return Some((step, (Sign::Remove, "remove"))),
            (_, _, Some(step), Some(_)) => return Some((step, (Sign::Change, "restart"))),
            (_, _, Some(step), _) => return Some((step, (Sign::Remove, "stop"))),
            (_, _, _, Some(step)) => return Some((step, (Sign::Change, "start"))),
            _ => {}
        }
        let made = self.first(|a| matches!(a, A::CreateNetwork(_) | A::CreateVolume(_)));
        let gone = self.first(|a| matches!(a, A::RemoveNetwork { .. } | A::RemoveVolume { .. }));
        match (made, gone) {
            (Some(step), Some(_)) => return Some((step, (Sign::Change, "replace"))),
            (Some(step), _) => return Some((step, (Sign::Add, "create"))),
            (_, Some(step)) => return Some((step, (Sign::Remove, "remove"))),
            _ => {}
        }
        let step = self.steps.first().map(|(_, step)| *step)?;
        let sign = match &step.action {
            // What is in a registry is not of this host; what is here already becomes another one.
            A::Pull { image, .. } | A::Build { image, .. } if is_here(plan, image) => Sign::Change,
            A::Pull { .. } | A::Build { .. } => Sign::Add,
            A::Push { .. } | A::Kill { .. } | A::Freeze { .. } | A::Rename { .. } => Sign::Change,
            A::RemoveImage { .. } | A::Withdraw { .. } => Sign::Remove,
            _ => Sign::Look,
        };
        Some((step, (sign, step.action.verb())))
    }

    /// Why, without what follows from it by itself.
    fn reasons(&self, main: &Step, service_is_there: bool) -> Vec<Reason> {
        let causes = std::iter::once(main)
            .chain(self.steps.iter().map(|(_, step)| *step))
            .filter(|step| !matches!(step.action, Action::Wait { .. } | Action::Hook { .. }));
        let mut reasons: Vec<Reason> = Vec::new();
        for step in causes {
            if matches!(step.cause, Cause::New) && !reasons.is_empty() {
                continue;
            }
            let reason = reason(step, service_is_there);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }
}

fn is_here(plan: &Plan, image: &str) -> bool {
    let wanted = plan
        .desired
        .iter()
        .flat_map(|desired| desired.images.values());
    wanted
        .filter(|wanted| wanted.name == image)
        .any(|wanted| wanted.here.is_some())
}

fn reason(step: &Step, service_is_there: bool) -> Reason {
    let changes = step.cause.changes().iter().map(|change| Difference {
        path: change.path.clone(),
        was: change.was.clone(),
        now: change.now.clone(),
    });
    let text = match (&step.cause, &step.action) {
        (Cause::Missing, Action::Create { .. }) if !service_is_there => "new service".to_owned(),
        (Cause::Missing, Action::Create { .. }) => "one more is wanted".to_owned(),
        (Cause::Missing, Action::Pull { .. } | Action::Build { .. }) => "not here yet".to_owned(),
        (Cause::Missing, _) => "not there yet".to_owned(),
        (Cause::NotRunning { state }, _) => format!("it is {state}"),
        // All of them stand below.
        (Cause::SpecChanged(all), _) if !all.is_empty() => "configuration changed".to_owned(),
        (cause, _) => cause.to_string(),
    };
    Reason {
        code: step.cause.code(),
        text,
        changes: changes.collect(),
    }
}
