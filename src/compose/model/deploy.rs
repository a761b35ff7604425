//! `deploy` of a service, in full: what one host acts on and what only a cluster does.

use std::time::Duration;

use super::{DeviceRequest, Labels};
use crate::base::scalar::ByteSize;
use crate::base::span::Spanned;

/// `deploy`. Words without a type of their own are kept as written: each orchestrator has further ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deploy {
    /// `mode`: `replicated`, `global` and other words.
    pub mode: Option<Spanned<String>>,
    /// `endpoint_mode`: `vip`, `dnsrr`.
    pub endpoint_mode: Option<Spanned<String>>,
    /// `replicas`.
    pub replicas: Option<u32>,
    /// `labels`, of the service and not of its containers.
    pub labels: Labels,
    /// `resources.limits`.
    pub limits: Limits,
    /// `resources.reservations`.
    pub reservations: Reservations,
    /// `restart_policy`.
    pub restart_policy: Option<DeployRestart>,
    /// `update_config`.
    pub update: Option<Rollout>,
    /// `rollback_config`.
    pub rollback: Option<Rollout>,
    /// `placement`.
    pub placement: Placement,
}

/// `deploy.resources.limits`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// `cpus`: number of CPUs, with fractions.
    pub cpus: Option<f64>,
    /// `memory`.
    pub memory: Option<ByteSize>,
    /// `pids`; -1 is no limit.
    pub pids: Option<i64>,
}

/// `deploy.resources.reservations`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reservations {
    /// `cpus`: number of CPUs, with fractions.
    pub cpus: Option<f64>,
    /// `memory`.
    pub memory: Option<ByteSize>,
    /// `devices`.
    pub devices: Vec<Spanned<DeviceRequest>>,
    /// `generic_resources`: each `discrete_resource_spec`.
    pub generic: Vec<Spanned<GenericResource>>,
}

/// A countable resource of a cluster's own kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenericResource {
    /// `kind`.
    pub kind: String,
    /// `value`.
    pub value: i64,
}

/// `deploy.restart_policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeployRestart {
    /// `condition`: `none`, `on-failure`, `any`.
    pub condition: Option<Spanned<String>>,
    /// `delay`.
    pub delay: Option<Duration>,
    /// `max_attempts`.
    pub max_attempts: Option<u32>,
    /// `window`.
    pub window: Option<Duration>,
}

/// `deploy.update_config` or `deploy.rollback_config`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rollout {
    /// `parallelism`: containers at a time; 0 is all at once.
    pub parallelism: Option<u64>,
    /// `delay` between groups.
    pub delay: Option<Duration>,
    /// `failure_action`: `continue`, `pause`, `rollback`.
    pub failure_action: Option<Spanned<String>>,
    /// `monitor`: how long a container is watched.
    pub monitor: Option<Duration>,
    /// `max_failure_ratio`, 0 to 1.
    pub max_failure_ratio: Option<f64>,
    /// `order`.
    pub order: Option<RolloutOrder>,
}

/// Whether the new container starts before the old one stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutOrder {
    /// `stop-first`
    StopFirst,
    /// `start-first`
    StartFirst,
}

/// `deploy.placement`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// `constraints`.
    pub constraints: Vec<String>,
    /// `preferences`: each the label to spread over.
    pub spread: Vec<String>,
    /// `max_replicas_per_node`; `None` is no limit.
    pub max_replicas_per_node: Option<u64>,
}
