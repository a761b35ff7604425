//! `deploy`.
//!
//! In: a canonical `deploy`. Out: [`Deploy`]. Imports: `base`, `model`, `tree`.

use super::{Binder, bytes, duration, integer, labels, number, spanned, text, texts};
use crate::base::span::Spanned;
use crate::compose::model::{
    Deploy, DeployRestart, GenericResource, Limits, Placement, Reservations, Rollout, RolloutOrder,
};
use crate::compose::tree::Node;

impl Binder<'_, '_> {
    pub(super) fn deploy(&mut self, node: &Node) -> Deploy {
        let resources = node.get("resources");
        let limits = resources.and_then(|resources| resources.get("limits"));
        let reservations = resources.and_then(|resources| resources.get("reservations"));
        Deploy {
            mode: spanned(node, "mode"),
            endpoint_mode: spanned(node, "endpoint_mode"),
            replicas: integer(node, "replicas").and_then(|n| u32::try_from(n).ok()),
            labels: labels(node, "labels"),
            limits: limits.map(limit).unwrap_or_default(),
            reservations: reservations
                .map(|node| self.under("resources", |binder| binder.reservations(node)))
                .unwrap_or_default(),
            restart_policy: node.get("restart_policy").map(restart_policy),
            update: node.get("update_config").map(rollout),
            rollback: node.get("rollback_config").map(rollout),
            placement: node.get("placement").map(placement).unwrap_or_default(),
        }
    }

    fn reservations(&mut self, node: &Node) -> Reservations {
        self.under("reservations", |binder| Reservations {
            cpus: node.get("cpus").and_then(number),
            memory: bytes(node, "memory"),
            devices: binder.items(node, "devices", Self::device_request),
            generic: binder.items(node, "generic_resources", |_, item| {
                let spec = item.get("discrete_resource_spec")?;
                let resource = GenericResource {
                    kind: text(spec, "kind").unwrap_or_default(),
                    value: integer(spec, "value").unwrap_or_default(),
                };
                Some(Spanned::new(resource, item.span))
            }),
        })
    }
}

fn limit(node: &Node) -> Limits {
    Limits {
        cpus: node.get("cpus").and_then(number),
        memory: bytes(node, "memory"),
        pids: integer(node, "pids"),
    }
}

fn restart_policy(node: &Node) -> DeployRestart {
    DeployRestart {
        condition: spanned(node, "condition"),
        delay: duration(node, "delay"),
        max_attempts: integer(node, "max_attempts").and_then(|n| u32::try_from(n).ok()),
        window: duration(node, "window"),
    }
}

fn rollout(node: &Node) -> Rollout {
    Rollout {
        parallelism: integer(node, "parallelism").and_then(|n| u64::try_from(n).ok()),
        delay: duration(node, "delay"),
        failure_action: spanned(node, "failure_action"),
        monitor: duration(node, "monitor"),
        max_failure_ratio: node.get("max_failure_ratio").and_then(number),
        order: node.text_of("order").map(|word| match word {
            "start-first" => RolloutOrder::StartFirst,
            _ => RolloutOrder::StopFirst,
        }),
    }
}

fn placement(node: &Node) -> Placement {
    let preferences = node.get("preferences").and_then(Node::items);
    Placement {
        constraints: texts(node, "constraints"),
        spread: preferences
            .unwrap_or_default()
            .iter()
            .filter_map(|preference| text(preference, "spread"))
            .collect(),
        max_replicas_per_node: integer(node, "max_replicas_per_node")
            .and_then(|n| u64::try_from(n).ok()),
    }
}
