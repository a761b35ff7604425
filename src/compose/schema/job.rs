//! Jobs: what a service has and a task needs, and when the task is done.
//!
//! In: nothing. Out: shapes. Imports: its siblings.
//! Source: the draft of the specification's jobs, which is not final.

use super::Rule::{Flag, Object, Text};
use super::service::SERVICE;
use super::shape;

/// Keys of a service that say how it lives on; a job ends.
const LASTING: [&str; 12] = [
    "attach",
    "container_name",
    "deploy",
    "develop",
    "extends",
    "post_start",
    "pre_start",
    "pre_stop",
    "provider",
    "restart",
    "scale",
    "x-hoist",
];

shape! {
    /// A container that does a task and ends.
    JOB: (&SERVICE, &LASTING) => {
        /// What starts the job.
        "triggers": Object(&TRIGGERS),
    }
}
shape! {
    /// What starts a job.
    TRIGGERS {
        /// Whether it may be run by hand.
        "manual": Flag => "true",
        /// When it runs by itself, as a line of a crontab: minute, hour, day, month, weekday.
        "schedule": Text,
    }
}
