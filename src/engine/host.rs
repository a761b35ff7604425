//! What a host can give its containers: [`Offers`] of limits, and [`Row`]s about everything else for `hoist doctor`.
//!
//! In: nothing. Out: facts that a backend has found. Nothing here knows how a host is asked.
//! Imports: `base`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::cpus::Cpus;

/// A kind of limit that a kernel may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// CPU time: quota and period.
    Cpu,
    /// CPU shares.
    CpuShares,
    /// Real-time CPU budget.
    CpuRealtime,
    /// The set of CPUs.
    CpuSet,
    /// Memory.
    Memory,
    /// Memory that reclaim leaves alone.
    MemoryReservation,
    /// Swap.
    Swap,
    /// How readily memory is swapped.
    Swappiness,
    /// Memory killer switched off.
    OomKillDisable,
    /// Number of tasks.
    Pids,
    /// Share of block I/O.
    IoWeight,
    /// Share of one block device.
    IoDeviceWeight,
    /// Rates of one block device.
    IoRate,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Cpu,
        Self::CpuShares,
        Self::CpuRealtime,
        Self::CpuSet,
        Self::Memory,
        Self::MemoryReservation,
        Self::Swap,
        Self::Swappiness,
        Self::OomKillDisable,
        Self::Pids,
        Self::IoWeight,
        Self::IoDeviceWeight,
        Self::IoRate,
    ];
}

/// Why a limit can't be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The controller or file that is missing.
    pub what: String,
    /// What mends it.
    pub mend: String,
}

/// What a block device of the host is, as far as limits go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockDevice {
    /// A whole disk; why it can't have a weight, if it can't.
    Disk(Option<Lack>),
    /// Something that can't be limited: why.
    Unfit(String),
}

/// Limits that a host can give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// CPUs that containers may run on.
    pub cpus: Cpus,
    /// Limits that can't be given.
    pub lacking: BTreeMap<Limit, Lack>,
    /// The block devices that were asked for.
    pub devices: BTreeMap<PathBuf, BlockDevice>,
}

impl Offers {
    /// Why a limit can't be given; `None` when it can.
    pub fn lack(&self, limit: Limit) -> Option<&Lack> {
        self.lacking.get(&limit)
    }
    /// What is known of a block device.
    pub fn device(&self, path: &Path) -> Option<&BlockDevice> {
        self.devices.get(path)
    }
}

/// How something of a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there, and does all that hoist asks.
    Ok,
    /// It is there in part, or not at all and a part of what a compose file may say has no effect.
    Degraded,
    /// It is not there.
    Missing,
    /// The caller may not see it.
    Unknown,
}

impl Standing {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// What a host was asked for, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is, in few words.
    pub name: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// Whether no container starts without it.
    pub needed: bool,
    /// What was found.
    pub found: String,
    /// What that means for a compose file.
    pub means: String,
    /// The command that mends it, where one does.
    pub mend: Option<String>,
}

impl Row {
    /// Something that is as it should be.
    pub fn ok(name: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self {
            name,
            standing: Standing::Ok,
            needed: false,
            found: found.into(),
            means: means.into(),
            mend: None,
        }
    }
    /// The same with another standing.
    #[must_use]
    pub fn stands(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }
    /// The same, and no container starts without it.
    #[must_use]
    pub fn needed(self) -> Self {
        Self {
            needed: true,
            ..self
        }
    }
    /// The same with the command that mends it.
    #[must_use]
    pub fn mend(self, command: impl Into<String>) -> Self {
        Self {
            mend: Some(command.into()),
            ..self
        }
    }
}
