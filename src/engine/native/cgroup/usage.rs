//! What a cgroup's processes have used, for whoever asks why they failed, and what they use now.
//!
//! Imports: `engine::state`, its parent. Source: Linux admin-guide/cgroup-v1 (memory, cpuacct), cgroup-v2.rst.

use std::time::Duration;

use super::{Cgroup, fs};
use crate::engine::state::Load;

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

impl Cgroup {
    /// What is used now, but for links.
    pub fn load(&self) -> Load {
        let text = |controller: &str, file: &str| {
            let dir = self.controller(controller)?;
            fs::read_to_string(dir.join(file)).ok()
        };
        let number = |controller: &str, file: &str| -> Option<u64> {
            text(controller, file)?.trim().parse().ok()
        };
        let field = |controller: &str, file: &str, name: &str| -> Option<u64> {
            let text = text(controller, file)?;
            let line = text.lines().find_map(|line| {
                let (key, value) = line.split_once(' ')?;
                (key == name).then_some(value)
            })?;
            line.trim().parse().ok()
        };
        let (used, cache, limit, cpu, (read, written)) = if self.pure_v2 {
            let usage = field("cpu", "cpu.stat", "usage_usec").map(Duration::from_micros);
            (
                number("memory", "memory.current"),
                field("memory", "memory.stat", "inactive_file"),
                number("memory", "memory.max"),
                usage,
                io_v2(&text("io", "io.stat").unwrap_or_default()),
            )
        } else {
            let usage = number("cpuacct", "cpuacct.usage").map(Duration::from_nanos);
            let bytes = text("blkio", "blkio.throttle.io_service_bytes_recursive")
                .or_else(|| text("blkio", "blkio.throttle.io_service_bytes"));
            (
                number("memory", "memory.usage_in_bytes"),
                field("memory", "memory.stat", "total_inactive_file"),
                number("memory", "memory.limit_in_bytes"),
                usage,
                io_v1(&bytes.unwrap_or_default()),
            )
        };
        let used = used.unwrap_or(0);
        let cache = cache.filter(|cache| *cache < used).unwrap_or(0);
        Load {
            cpu: cpu.unwrap_or_default(),
            memory: used - cache,
            // Version 1 says a number close to the largest there is.
            memory_limit: limit.filter(|limit| *limit < 1 << 62),
            read,
            written,
            pids: number("pids", "pids.current").unwrap_or(0),
            ..Load::default()
        }
    }
}

/// Bytes read and written, of `io.stat`: `8:0 rbytes=1 wbytes=2 …`.
fn io_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let words = text.split_ascii_whitespace();
        let counts = words.filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        counts.fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// The same of `blkio.throttle.io_service_bytes`: `8:0 Read 1`.
fn io_v1(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        let lines = text
            .lines()
            .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let counts = lines.filter_map(|line| match line[..] {
            [_, found, count] if found == kind => count.parse::<u64>().ok(),
            _ => None,
        });
        counts.fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_disks_are_added_up() {
        let text =
            "8:0 rbytes=10 wbytes=5 rios=1 wios=1 dbytes=0 dios=0\n259:0 rbytes=1 wbytes=2\n";
        assert_eq!(io_v2(text), (11, 7));
        let text = "8:0 Read 10\n8:0 Write 5\n8:0 Sync 5\n8:0 Total 15\n259:0 Read 1\nTotal 16\n";
        assert_eq!(io_v1(text), (11, 5));
        assert_eq!((io_v1(""), io_v2("")), ((0, 0), (0, 0)));
    }
}
