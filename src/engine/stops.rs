//! How a container took it when it was told to stop: what cost time, and why.
//!
//! Imports: `base`. Source: signal(7), pid_namespaces(7): the kernel drops signals that the first process of a namespace
//! has no handler for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::scalar::Signal;

/// A stop that was not quick: it ended by force, or late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowStop {
    /// The signal that asked it to end.
    pub signal: Signal,
    /// From the signal to the end.
    pub took: Duration,
    /// Whether it was killed when its time was over.
    pub killed: bool,
    /// What the signal meant to it then.
    pub hearing: Hearing,
    /// The program that it was sent to, as far as its name can be shown.
    pub program: String,
    /// Whether that is a shell.
    pub shell: bool,
    /// Whether hoist's own first process stands before it (`init: true`).
    pub init: bool,
}

/// What a signal means to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hearing {
    /// Nothing: it has no handler, and as the first process it is spared what ends others.
    Unhandled,
    /// It said that it wants none.
    Ignored,
    /// It holds it back.
    Blocked,
    /// It has a handler.
    Handled,
    /// Nobody could tell.
    Unknown,
}

impl Hearing {
    /// `unhandled`, `ignored`, `blocked`, `handled`, `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unhandled => "unhandled",
            Self::Ignored => "ignored",
            Self::Blocked => "blocked",
            Self::Handled => "handled",
            Self::Unknown => "unknown",
        }
    }
}
