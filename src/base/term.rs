//! Small vocabularies that the compose file and the engine share word for word.
//!
//! Imports: nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Mount propagation. Source: mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// `private`
    Private,
    /// `rprivate`
    Rprivate,
    /// `shared`
    Shared,
    /// `rshared`
    Rshared,
    /// `slave`
    Slave,
    /// `rslave`
    Rslave,
}

/// Whom the files of a bind mount belong to on the host, where the container's user sees them as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMap {
    /// The owner of what is mounted.
    HostUser,
    /// A user and a group of the host.
    Ids {
        /// The user's number.
        uid: u32,
        /// The group's number.
        gid: u32,
    },
}

/// Transport of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// `tcp`, `udp`, `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whatever its exit code, and after a reboot.
    Always,
    /// As `Always`, but not after the user stopped it.
    UnlessStopped,
    /// When it fails, at most so many times.
    OnFailure(Option<u32>),
}

/// How restarts follow each other where `deploy.restart_policy` says it; what it leaves out is Docker's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPace {
    /// Time before each restart; `None` is 100 ms, doubled each time up to a minute.
    pub delay: Option<Duration>,
    /// A run that lasts so long has succeeded, and attempts are counted anew.
    pub window: Option<Duration>,
    /// At most so many restarts, whatever the policy; `None` is the policy's own number.
    pub most: Option<u32>,
}

/// What happens to a container that has become unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// Nothing: its health is told, as Docker does.
    #[default]
    Tell,
    /// It is stopped and started again.
    Restart,
}
