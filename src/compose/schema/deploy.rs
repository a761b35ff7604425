//! `deploy`.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    BytesText, Choice, Count, DeviceCount, Duration, Float, Int, Labels, List, Natural, Number,
    Object, Period, Text, Texts, Unique,
};
use super::shape;

shape! {
    /// Number of containers, their resources, and how an orchestrator places and updates them.
    DEPLOY {
        /// How clients find the service in a cluster: `vip` or `dnsrr`.
        "endpoint_mode": Text => "vip",
        /// Labels of the service itself, not of its containers.
        "labels": Labels,
        /// How a cluster counts the containers: `replicated`, `global`, `replicated-job` or `global-job`.
        "mode": Text => "replicated",
        /// Which nodes of a cluster the containers may run on.
        "placement": Object(&PLACEMENT),
        /// Number of containers.
        "replicas": Count,
        /// What the containers may use, and what is kept for them.
        "resources": Object(&RESOURCES),
        /// What happens when a container ends; it wins over `restart`.
        "restart_policy": Object(&RESTART),
        /// How a cluster takes back an update.
        "rollback_config": Object(&UPDATE),
        /// How a cluster updates the containers.
        "update_config": Object(&UPDATE),
    }
}
shape! {
    /// Which nodes of a cluster the containers may run on.
    PLACEMENT {
        /// What a node must satisfy, such as `node.role==manager`.
        "constraints": Texts,
        /// Number of containers that one node may run at most.
        "max_replicas_per_node": Natural,
        /// How containers are spread over nodes.
        "preferences": List(&Object(&PREFERENCE)),
    }
}
shape! {
    /// One way to spread containers over nodes.
    PREFERENCE {
        /// Label of the nodes over whose values containers are spread evenly.
        "spread": Text,
    }
}
shape! {
    /// What the containers may use, and what is kept for them.
    RESOURCES {
        /// What a container may use at most.
        "limits": Object(&LIMITS),
        /// What is kept for a container.
        "reservations": Object(&RESERVATIONS),
    }
}
shape! {
    /// What a container may use at most.
    LIMITS {
        /// Number of CPUs; fractions are allowed.
        "cpus": Float,
        /// Memory, such as `512M`.
        "memory": BytesText,
        /// Number of processes.
        "pids": Int,
    }
}
shape! {
    /// What is kept for a container.
    RESERVATIONS {
        /// Number of CPUs that a cluster keeps free.
        "cpus": Float,
        /// Devices such as GPUs that the container gets.
        "devices": List(&Object(&DEVICE_REQUEST)),
        /// Resources of the cluster's own kinds.
        "generic_resources": List(&Object(&GENERIC)),
        /// Memory that the container keeps when the host runs short of it.
        "memory": BytesText,
    }
}
shape! {
    /// A resource of the cluster's own kind.
    GENERIC {
        /// A resource that is counted.
        "discrete_resource_spec": Object(&DISCRETE),
    }
}
shape! {
    /// A resource that is counted.
    DISCRETE {
        /// Kind of the resource, such as `SSD`.
        "kind": Text,
        /// How many of them.
        "value": Number,
    }
}
shape! {
    /// A request for devices.
    DEVICE_REQUEST {
        /// What a device must be able to do, such as `gpu` or `compute`.
        "capabilities": Unique,
        /// How many devices; `all` is all of them.
        "count": DeviceCount,
        /// Ids of certain devices, instead of a count.
        "device_ids": Unique,
        /// Driver of the devices, such as `nvidia`.
        "driver": Text,
        /// Options for the driver.
        "options": Labels,
    } requires "capabilities"
}
shape! {
    /// What happens when a container ends.
    RESTART {
        /// When it is started again: `none`, `on-failure`, `any` or `unless-stopped`.
        "condition": Text => "any",
        /// Time between attempts, such as `5s`; where it is not said it doubles from 100ms to 1m.
        "delay": Duration,
        /// Number of attempts before it is given up.
        "max_attempts": Count,
        /// Time that a container must run to count as started; attempts are counted anew then.
        "window": Duration,
    }
}
shape! {
    /// How a cluster updates containers, or takes an update back.
    UPDATE {
        /// Time between two groups of containers.
        "delay": Period,
        /// What happens when one fails: `continue`, `pause`, and for updates `rollback`.
        "failure_action": Text,
        /// Share of containers that may fail.
        "max_failure_ratio": Float,
        /// Time that each container is watched for a failure.
        "monitor": Period,
        /// Whether the new container is started before or after the old one is stopped.
        "order": Choice(&["start-first", "stop-first"]) => "stop-first",
        /// Number of containers at a time; 0 is all at once.
        "parallelism": Count,
    }
}
