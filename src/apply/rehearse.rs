//! Tells what a run of a plan would tell, and does nothing.
//!
//! In: a plan. Out: the events of a run in which everything goes well, one step after another. What is only known later
//! (an image that is pulled first) stands behind as the condition.
//! It calls no engine. Imports: `base`, `plan`. The words are those of `steps`, which are Compose's.

use super::run::tell;
use super::{Context, Plan};
use crate::base::event::{Kind, Status};
use crate::plan::action::{Action, Step, WaitFor};
use crate::plan::cause::Cause;

/// Sends the events that a run would send.
pub fn rehearse(context: &Context, plan: &Plan) {
    for who in &plan.unchanged {
        let running = Status::Done("Running");
        tell(context, Kind::Container, &who.name, running, None);
    }
    for (name, why) in &plan.skipped {
        let why = why.map(str::to_owned);
        tell(context, Kind::Image, name, Status::Done("Skipped"), why);
    }
    for id in plan.order() {
        if let Some(step) = plan.steps.get(id) {
            rehearse_step(context, step);
        }
    }
}

fn rehearse_step(context: &Context, step: &Step) {
    let Some((begins, ends)) = words(&step.action) else {
        return;
    };
    let kind = match step.action.kind() {
        "image" => Kind::Image,
        "network" => Kind::Network,
        "volume" => Kind::Volume,
        "provider" => Kind::Provider,
        "model" => Kind::Model,
        _ => Kind::Container,
    };
    let name = step.action.name();
    let detail = detail(step);
    if !begins.is_empty() {
        let begins = Status::Working(begins);
        tell(context, kind, name, begins, detail.clone());
    }
    tell(context, kind, name, Status::Done(ends), detail);
}

/// What is told at the beginning and at the end of a step; `None` for one that says nothing.
fn words(action: &Action) -> Option<(&'static str, &'static str)> {
    Some(match action {
        Action::Pull { .. } => ("Pulling", "Pulled"),
        Action::Push { .. } => ("Pushing", "Pushed"),
        Action::Build { .. } => ("Building", "Built"),
        Action::CreateNetwork(_) | Action::CreateVolume(_) | Action::Create { .. } => {
            ("Creating", "Created")
        }
        Action::RemoveNetwork { .. }
        | Action::RemoveVolume { .. }
        | Action::RemoveImage { .. }
        | Action::Remove { .. } => ("Removing", "Removed"),
        Action::Replace { .. } | Action::Roll(_) => ("Recreate", "Recreated"),
        Action::Rename { .. } | Action::Conclude { .. } => return None,
        Action::Start { .. } => ("Starting", "Started"),
        Action::Stop { .. } => ("Stopping", "Stopped"),
        Action::Kill { .. } => ("Killing", "Killed"),
        Action::Freeze { frozen, .. } => ("", if *frozen { "Paused" } else { "Unpaused" }),
        Action::PreStart { .. } => ("", "pre_start"),
        Action::Hook { hook, .. } => ("", hook.moment.key()),
        Action::Wait { until, .. } => match until {
            WaitFor::Completed => ("Waiting", "Exited"),
            WaitFor::Healthy | WaitFor::Up { .. } => ("Waiting", "Healthy"),
        },
        Action::Provide { .. } | Action::Models { .. } => ("Creating", "Created"),
        Action::Withdraw { .. } => ("Removing", "Removed"),
    })
}

/// Why, where that says more than the verb.
fn detail(step: &Step) -> Option<String> {
    let plain = matches!(step.cause, Cause::Missing | Cause::New | Cause::Asked);
    if plain {
        return step.condition_text().map(|text| format!("if {text}"));
    }
    Some(step.cause_text())
}
