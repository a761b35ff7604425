//! When containers of `pre_start` run: before the first start of the containers they come before, never again.
//!
//! A container that was never started is what says that they have not all succeeded yet: the start comes right behind
//! them, so nothing else has to be kept. What is said once for the service runs when no container of it that stays was
//! ever started, so neither an `up` again nor a larger `scale` repeats it; a new definition makes new containers.
//! Pure. Imports: `base`, `compose::model`, `action`, `cause`, `graph`. Source: compose-spec, `pre_start`.

use super::Plan;
use super::action::{Action, ImageChange, Step, When, Who};
use super::cause::Cause;
use crate::compose::model::{InitContainer, Service};
use crate::graph::NodeId;

/// A container of a service whose start is planned, or that stays as it is.
pub(super) struct Start {
    pub(super) who: Who,
    pub(super) cause: Cause,
    /// `None`: it was started before. Else on which condition this is its first start.
    pub(super) first: Option<Vec<ImageChange>>,
    /// Steps that come before its start.
    pub(super) needs: Vec<NodeId>,
}

/// Adds the steps of a service; with each start the one it has to wait for.
pub(super) fn plan(
    plan: &mut Plan,
    service: &Service,
    starts: &[Start],
    gates: &[(NodeId, When)],
    image: impl Fn(&InitContainer) -> Option<NodeId>,
) -> Vec<Option<NodeId>> {
    let mut last: Vec<Option<NodeId>> = vec![None; starts.len()];
    let once = once(starts);
    for (at, init) in service.pre_start.iter().enumerate() {
        let groups: Vec<Vec<usize>> = match init.value.per_replica {
            true => (0..starts.len()).map(|n| vec![n]).collect(),
            false => vec![(0..starts.len()).collect()],
        };
        for mut group in groups {
            group.retain(|n| starts.get(*n).is_some_and(|start| start.first.is_some()));
            let Some(first) = group.first().and_then(|n| starts.get(*n)) else {
                continue;
            };
            let only_if = match init.value.per_replica {
                true => first.first.clone(),
                false => once.clone(),
            };
            let Some(only_if) = only_if else { continue };
            let action = Action::PreStart {
                who: first.who.clone(),
                at,
            };
            let node = plan.steps.add(Step {
                action,
                cause: first.cause.clone(),
                only_if,
            });
            for n in group {
                let before = last.get(n).copied().flatten();
                let own = starts.get(n).map_or(&[][..], |start| &start.needs);
                for need in before.iter().chain(own) {
                    plan.steps.need(node, *need, When::Done);
                }
                if let Some(last) = last.get_mut(n) {
                    *last = Some(node);
                }
            }
            for (gate, when) in gates {
                plan.steps.need(node, *gate, *when);
            }
            if let Some(fetched) = image(&init.value) {
                plan.steps.need(node, fetched, When::Done);
            }
        }
    }
    last
}

/// On which condition what is said once for the service runs; `None`: it does not.
fn once(starts: &[Start]) -> Option<Vec<ImageChange>> {
    let mut all: Vec<ImageChange> = Vec::new();
    for start in starts {
        for change in start.first.as_ref()? {
            if !all.contains(change) {
                all.push(change.clone());
            }
        }
    }
    (!starts.is_empty()).then_some(all)
}
