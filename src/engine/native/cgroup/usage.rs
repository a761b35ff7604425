//! What a cgroup's processes have used, for whoever asks why they failed.
//!
//! Imports: nothing but its parent. Source: Linux admin-guide/cgroup-v1 (memory, cpuacct), cgroup-v2.rst.

use std::time::Duration;

use super::{Cgroup, fs};

/// Most of each resource at one time; `None` where the kernel does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory.
    pub memory_peak: Option<u64>,
    /// Tasks.
    pub pids_peak: Option<u64>,
    /// Processor time, all of it.
    pub cpu: Option<Duration>,
}

impl Cgroup {
    /// What was used since it was made.
    pub fn usage(&self) -> Usage {
        let number = |controller: &str, file: &str| {
            let text = fs::read_to_string(self.controller(controller)?.join(file)).ok()?;
            text.trim().parse::<u64>().ok()
        };
        let (memory, cpu) = if self.pure_v2 {
            let stat = || {
                let text = fs::read_to_string(self.controller("cpu")?.join("cpu.stat")).ok()?;
                let line = text.lines().find_map(|l| l.strip_prefix("usage_usec "))?;
                line.trim().parse().ok().map(Duration::from_micros)
            };
            (number("memory", "memory.peak"), stat())
        } else {
            let used = number("cpuacct", "cpuacct.usage").map(Duration::from_nanos);
            (number("memory", "memory.max_usage_in_bytes"), used)
        };
        Usage {
            memory_peak: memory,
            pids_peak: number("pids", "pids.peak"),
            cpu,
        }
    }
}
