//! `develop`, and the hooks of a service.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{Bool, Choice, Command, List, Object, Strict, Text, TextOrUnique, Vars};
use super::shape;

shape! {
    /// What happens when source files change while `watch` runs.
    DEVELOP {
        /// Paths that are watched, and what a change of them does.
        "watch": List(&Object(&WATCH)),
    }
}
shape! {
    /// A path that is watched.
    WATCH {
        /// What a change does.
        "action": Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        /// Command that runs after the files were copied, for `sync+exec`.
        "exec": Object(&HOOK),
        /// Patterns of paths that are not watched.
        "ignore": TextOrUnique,
        /// Patterns of the paths that are watched; all where none is said.
        "include": TextOrUnique,
        /// Whether all files are copied once at the start.
        "initial_sync": Strict(&Bool),
        /// File or directory of the host.
        "path": Text,
        /// Where the files are copied to in the containers.
        "target": Text,
    } requires "path", "action"
}
shape! {
    /// A command that runs in a container of the service.
    HOOK {
        /// The command line, as text or a list.
        "command": Command,
        /// Further environment variables of the command.
        "environment": Vars,
        /// Whether the command gets all capabilities.
        "privileged": Bool,
        /// User that the command runs as; the container's where it is not said.
        "user": Text,
        /// Directory that the command starts in.
        "working_dir": Text,
    } requires "command"
}
shape! {
    /// A container that runs to its end before the service's container starts.
    PRE_START {
        /// The command line, as text or a list; the image's where it is not said.
        "command": Command,
        /// Environment variables, on top of the service's.
        "environment": Vars,
        /// Image of the container; the service's where it is not said.
        "image": Text,
        /// Whether it runs for each container of the service instead of once.
        "per_replica": Bool => "false",
        /// Whether it gets all devices and capabilities of the host.
        "privileged": Bool,
        /// User that it runs as.
        "user": Text,
        /// Directory that it starts in; the service's where it is not said.
        "working_dir": Text,
    }
}
