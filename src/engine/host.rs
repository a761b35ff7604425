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
