//! `develop`, and the hooks of a service.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{Bool, Choice, Command, List, Object, Text, TextOrSet, Vars};
use super::shape;

shape! {
    /// `develop`.
    DEVELOP { "watch": List(&Object(&WATCH)) }
}
shape! {
    /// An entry of `develop.watch`.
    WATCH {
        "action": Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        "exec": Object(&HOOK),
        "ignore": TextOrSet,
        "include": TextOrSet,
        "initial_sync": Bool,
        "path": Text,
        "target": Text,
    } requires "path", "action"
}
shape! {
    /// `post_start`, `pre_stop`, `develop.watch[].exec`.
    HOOK {
        "command": Command,
        "environment": Vars,
        "privileged": Bool,
        "user": Text,
        "working_dir": Text,
    } requires "command"
}
shape! {
    /// `pre_start`.
    PRE_START {
        "command": Command,
        "environment": Vars,
        "image": Text,
        "per_replica": Bool,
        "privileged": Bool,
        "user": Text,
        "working_dir": Text,
    }
}
