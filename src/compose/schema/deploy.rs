//! `deploy`.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bytes, Choice, Count, DeviceCount, Duration, Float, Int, Labels, List, Object, Set, Text, Texts,
};
use super::shape;

shape! {
    /// `deploy`.
    DEPLOY {
        "endpoint_mode": Text,
        "labels": Labels,
        "mode": Text,
        "placement": Object(&PLACEMENT),
        "replicas": Count,
        "resources": Object(&RESOURCES),
        "restart_policy": Object(&RESTART),
        "rollback_config": Object(&UPDATE),
        "update_config": Object(&UPDATE),
    }
}
shape! {
    /// `deploy.placement`.
    PLACEMENT {
        "constraints": Texts,
        "max_replicas_per_node": Int,
        "preferences": List(&Object(&PREFERENCE)),
    }
}
shape! {
    /// An entry of `deploy.placement.preferences`.
    PREFERENCE { "spread": Text }
}
shape! {
    /// `deploy.resources`.
    RESOURCES { "limits": Object(&LIMITS), "reservations": Object(&RESERVATIONS) }
}
shape! {
    /// `deploy.resources.limits`.
    LIMITS { "cpus": Float, "memory": Bytes, "pids": Int }
}
shape! {
    /// `deploy.resources.reservations`.
    RESERVATIONS {
        "cpus": Float,
        "devices": List(&Object(&DEVICE_REQUEST)),
        "generic_resources": List(&Object(&GENERIC)),
        "memory": Bytes,
    }
}
shape! {
    /// An entry of `generic_resources`.
    GENERIC { "discrete_resource_spec": Object(&DISCRETE) }
}
shape! {
    /// `discrete_resource_spec`.
    DISCRETE { "kind": Text, "value": Int }
}
shape! {
    /// An entry of `deploy.resources.reservations.devices`.
    DEVICE_REQUEST {
        "capabilities": Set,
        "count": DeviceCount,
        "device_ids": Set,
        "driver": Text,
        "options": Labels,
    } requires "capabilities"
}
shape! {
    /// `deploy.restart_policy`.
    RESTART { "condition": Text, "delay": Duration, "max_attempts": Count, "window": Duration }
}
shape! {
    /// `deploy.update_config`, `deploy.rollback_config`.
    UPDATE {
        "delay": Duration,
        "failure_action": Text,
        "max_failure_ratio": Float,
        "monitor": Duration,
        "order": Choice(&["start-first", "stop-first"]),
        "parallelism": Count,
    }
}
