//! `deploy.update_config`: how the running containers of a service are replaced, and what a failure does.
//!
//! In: what the file says. Out: a [`Policy`], with warnings where one host can't do as asked. Pure.
//! A container whose replacement fails is always left serving, or is started again; `failure_action` says what becomes
//! of the others. Imports: `base`, `compose::model`, `action`, `hooks`.
//! Source: compose-spec, `deploy.update_config`; Docker's swarm mode for what the words mean, Compose ignores them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{Old, Who};
use super::hooks::Hook;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::term::RestartPolicy;
use crate::compose::model::{NetworkModeSpec, Rollout, RolloutOrder, Service};

/// What a replacement that fails does to the others of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// The next ones are not begun.
    Pause,
    /// They are replaced all the same.
    Continue,
    /// Those that were replaced already get their old containers back.
    Rollback,
}

/// How containers of a service are replaced, or brought back.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether the new one runs before the old one is stopped.
    pub order: RolloutOrder,
    /// So many at a time; 0 is all.
    pub parallelism: usize,
    /// The pause before those that come after the first.
    pub delay: Duration,
    /// What a failure does.
    pub failure: FailureAction,
    /// So long a new container is watched once it runs or is healthy.
    pub monitor: Duration,
    /// The part of the containers that may fail, 0 to 1.
    pub tolerated: f64,
}

impl Policy {
    /// `start-first`, `stop-first`.
    pub fn word(&self) -> &'static str {
        match self.order {
            RolloutOrder::StartFirst => "start-first",
            RolloutOrder::StopFirst => "stop-first",
        }
    }
    /// Whether more have failed than may.
    pub fn exceeded(&self, failed: usize, total: usize) -> bool {
        let count = |number: usize| u32::try_from(number).map_or(f64::MAX, f64::from);
        failed > 0 && count(failed) > count(total) * self.tolerated
    }
    /// Whether no further container is replaced.
    pub fn halts(&self, failed: usize, total: usize) -> bool {
        self.failure != FailureAction::Continue && self.exceeded(failed, total)
    }
}

/// One container that is replaced under a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Roll {
    /// The new one.
    pub who: Who,
    /// The old one.
    pub old: Old,
    /// Anonymous volumes it takes over: target → volume.
    pub anonymous: BTreeMap<String, String>,
    /// Replaces the old one's stop grace period.
    pub timeout: Option<Duration>,
    /// How.
    pub policy: Policy,
    /// Whether others come before it, so that the delay counts.
    pub later: bool,
    /// How many containers of the service are replaced.
    pub total: usize,
    /// Whether an end with exit code 0 is fine.
    pub job: bool,
    /// Hooks of the new one.
    pub hooks: Hooks,
    /// Hooks of the old one.
    pub old_hooks: Hooks,
}

/// The hooks of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// After its start.
    pub post_start: Vec<Hook>,
    /// Before its stop.
    pub pre_stop: Vec<Hook>,
}

/// The policy of a service for replacements; `None` where the file says nothing.
pub(super) fn update(service: &Service, found: &mut Diagnostics) -> Option<Policy> {
    let said = service.deploy.as_ref()?.update.as_ref()?;
    let mut policy = policy(service, said, found);
    if policy.order == RolloutOrder::StartFirst
        && let Some(why) = conflict(service, policy.parallelism)
    {
        policy.order = RolloutOrder::StopFirst;
        let text = format!(
            "service `{}`: `order: start-first` is not possible, so each container is stopped before its replacement \
             starts: {why}",
            service.name
        );
        found.push(Diagnostic::warning(text).at(service.span));
    }
    Some(policy)
}

/// The policy of a service for going back.
pub(super) fn rollback(service: &Service, found: &mut Diagnostics) -> Policy {
    let default = Rollout::default();
    let deploy = service.deploy.as_ref();
    let said = deploy.and_then(|deploy| deploy.rollback.as_ref());
    let mut policy = policy(service, said.unwrap_or(&default), found);
    if conflict(service, policy.parallelism).is_some() {
        policy.order = RolloutOrder::StopFirst;
    }
    policy
}

/// Whether a container that is replaced may end with 0.
pub(super) fn is_job(service: &Service) -> bool {
    service.restart == RestartPolicy::No
}

fn policy(service: &Service, said: &Rollout, found: &mut Diagnostics) -> Policy {
    let word = said.failure_action.as_ref();
    let failure = match word.map(|word| word.value.as_str()) {
        None | Some("pause") => FailureAction::Pause,
        Some("continue") => FailureAction::Continue,
        Some("rollback") => FailureAction::Rollback,
        Some(other) => {
            let text = format!(
                "service `{}`: unknown `failure_action: {other}`, so a failure pauses",
                service.name
            );
            let span = word.and_then(|word| word.span).or(service.span);
            let hint = "write pause, continue or rollback";
            found.push(Diagnostic::warning(text).at(span).hint(hint));
            FailureAction::Pause
        }
    };
    Policy {
        order: said.order.unwrap_or(RolloutOrder::StopFirst),
        parallelism: usize::try_from(said.parallelism.unwrap_or(1)).unwrap_or(0),
        delay: said.delay.unwrap_or_default(),
        failure,
        monitor: said.monitor.unwrap_or_default(),
        tolerated: said.max_failure_ratio.unwrap_or_default(),
    }
}

/// Why two containers of a service can't run side by side in the place of one.
fn conflict(service: &Service, parallelism: usize) -> Option<String> {
    let scale = usize::try_from(service.scale).unwrap_or(usize::MAX);
    let more = if parallelism == 0 {
        scale
    } else {
        parallelism.min(scale)
    };
    for port in &service.ports {
        let Some((first, last)) = port.value.published else {
            continue;
        };
        let room = usize::from(last.saturating_sub(first)) + 1;
        if room < scale.saturating_add(more) {
            let range = if first == last {
                format!("{first}")
            } else {
                format!("{first}-{last}")
            };
            return Some(format!(
                "port {range} of the host has no room for one more; publish a range with a free port, or none"
            ));
        }
    }
    let mode = service.network_mode.as_ref().map(|mode| &mode.value);
    if mode == Some(&NetworkModeSpec::Host) {
        return Some("both would use the ports of the host".to_owned());
    }
    let fixed = |place: &crate::compose::model::ServiceNetwork| {
        place.ipv4_address.is_some() || place.ipv6_address.is_some() || place.mac_address.is_some()
    };
    let named = service.networks.iter().find(|(_, place)| fixed(place));
    if let Some((network, _)) = named {
        return Some(format!("its address on network `{network}` is fixed"));
    }
    service
        .mac_address
        .as_ref()
        .map(|_| "its hardware address is fixed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_of(failure: FailureAction, tolerated: f64) -> Policy {
        Policy {
            order: RolloutOrder::StopFirst,
            parallelism: 1,
            delay: Duration::ZERO,
            failure,
            monitor: Duration::ZERO,
            tolerated,
        }
    }

    #[test]
    fn a_failure_halts_the_others_once_more_have_failed_than_may() {
        let strict = policy_of(FailureAction::Pause, 0.0);
        assert!(!strict.halts(0, 4));
        assert!(strict.halts(1, 4));
        let half = policy_of(FailureAction::Rollback, 0.5);
        assert!(!half.halts(2, 4));
        assert!(half.halts(3, 4));
        let on = policy_of(FailureAction::Continue, 0.0);
        assert!(!on.halts(4, 4));
        assert!(on.exceeded(4, 4));
    }
}
