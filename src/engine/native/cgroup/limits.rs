//! Limits as lines to write: which file of which controller gets what. Pure.
//!
//! Imports: `engine::spec`. Rules: Linux admin-guide/cgroup-v1 and cgroup-v2.rst; conversions between the
//! two as runc does them, named at each.

use crate::engine::spec::Resources;

/// Default of `cpu.cfs_period_us` and `cpu.max`, in microseconds. Source: cgroup-v2.rst, `cpu.max`.
const CPU_PERIOD_US: u64 = 100_000;

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
    /// The limit in the user's words.
    pub(super) wanted_by: &'static str,
    /// Whether a kernel without the file or controller is fine.
    pub(super) optional: bool,
}

/// Collects writes, in the order they must be made.
#[derive(Default)]
struct Writes(Vec<Write>);

impl Writes {
    fn want(
        &mut self,
        wanted_by: &'static str,
        controller: &'static str,
        file: &'static str,
        value: Option<String>,
    ) {
        let write = |value| Write {
            controller,
            file,
            value,
            wanted_by,
            optional: false,
        };
        self.0.extend(value.map(write));
    }
    /// The last one may be left out where the kernel does not have its file.
    fn optional(&mut self, made_before: usize) {
        for write in self.0.iter_mut().skip(made_before) {
            write.optional = true;
        }
    }
}

/// Quota in microseconds (-1 is no limit) and its period.
fn cpu(resources: &Resources) -> (Option<i64>, Option<u64>) {
    match resources.cpu_millis {
        Some(millis) => {
            let quota = millis.saturating_mul(CPU_PERIOD_US / 1000);
            (
                Some(i64::try_from(quota).unwrap_or(i64::MAX)),
                Some(CPU_PERIOD_US),
            )
        }
        None => (
            resources.cpu_quota.filter(|quota| *quota != 0),
            resources.cpu_period,
        ),
    }
}

/// Memory plus swap in bytes, -1 for no limit. As Docker: twice the memory when only that is limited.
fn memory_and_swap(resources: &Resources) -> Option<i64> {
    match (resources.memory_swap, resources.memory) {
        (Some(0) | None, Some(memory)) => {
            Some(i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX))
        }
        (given, _) => given.filter(|both| *both != 0),
    }
}

fn text<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// For version 1.
pub(super) fn v1(resources: &Resources) -> Vec<Write> {
    let mut to = Writes::default();
    let (quota, period) = cpu(resources);
    to.want(
        "the CPU shares",
        "cpu",
        "cpu.shares",
        text(resources.cpu_shares),
    );
    to.want("the CPU period", "cpu", "cpu.cfs_period_us", text(period));
    to.want("the CPU limit", "cpu", "cpu.cfs_quota_us", text(quota));
    to.want(
        "the CPU set",
        "cpuset",
        "cpuset.cpus",
        resources.cpuset.clone(),
    );
    let memory = "memory.limit_in_bytes";
    to.want("the memory limit", "memory", memory, text(resources.memory));
    let soft = "memory.soft_limit_in_bytes";
    let before = to.0.len();
    to.want(
        "the memory reservation",
        "memory",
        soft,
        text(resources.memory_reservation),
    );
    // Must follow the limit it may not be below. Kernels without swap accounting lack the file, and
    // Docker then goes on without it too.
    let both = "memory.memsw.limit_in_bytes";
    to.want(
        "the swap limit",
        "memory",
        both,
        text(memory_and_swap(resources)),
    );
    to.want(
        "the swappiness",
        "memory",
        "memory.swappiness",
        text(resources.swappiness),
    );
    to.optional(before);
    let disable = resources.oom_kill_disable.then(|| "1".to_owned());
    to.want("oom_kill_disable", "memory", "memory.oom_control", disable);
    to.want("the process limit", "pids", "pids.max", pids(resources));
    let before = to.0.len();
    to.want(
        "the block I/O weight",
        "blkio",
        "blkio.weight",
        text(resources.blkio_weight),
    );
    to.want(
        "the block I/O weight",
        "blkio",
        "blkio.bfq.weight",
        text(resources.blkio_weight),
    );
    to.optional(before);
    to.0
}

/// For version 2.
pub(super) fn v2(resources: &Resources) -> Vec<Write> {
    let mut to = Writes::default();
    let weight = text(resources.cpu_shares.map(weight_of_shares));
    to.want("the CPU shares", "cpu", "cpu.weight", weight);
    let (quota, period) = cpu(resources);
    let max = (quota.is_some() || period.is_some()).then(|| {
        let quota = quota
            .filter(|quota| *quota > 0)
            .map_or("max".into(), |quota| quota.to_string());
        format!("{quota} {}", period.unwrap_or(CPU_PERIOD_US))
    });
    to.want("the CPU limit", "cpu", "cpu.max", max);
    to.want(
        "the CPU set",
        "cpuset",
        "cpuset.cpus",
        resources.cpuset.clone(),
    );
    to.want(
        "the memory limit",
        "memory",
        "memory.max",
        text(resources.memory),
    );
    let reservation = text(resources.memory_reservation);
    to.want(
        "the memory reservation",
        "memory",
        "memory.low",
        reservation,
    );
    // Version 2 counts swap by itself. As runc: ConvertMemorySwapToCgroupV2Value.
    let swap = memory_and_swap(resources).map(|both| match u64::try_from(both) {
        Err(_) => "max".to_owned(),
        Ok(both) => both
            .saturating_sub(resources.memory.unwrap_or(0))
            .to_string(),
    });
    let before = to.0.len();
    to.want("the swap limit", "memory", "memory.swap.max", swap);
    to.optional(before);
    to.want("the process limit", "pids", "pids.max", pids(resources));
    let before = to.0.len();
    let weight = resources.blkio_weight.map(u64::from);
    to.want("the block I/O weight", "io", "io.bfq.weight", text(weight));
    // As runc: ConvertBlkIOToIOWeightValue, 10..1000 to 1..10000.
    let io = weight.map(|weight| 1 + weight.saturating_sub(10) * 9999 / 990);
    to.want(
        "the block I/O weight",
        "io",
        "io.weight",
        io.map(|io| format!("default {io}")),
    );
    to.optional(before);
    to.0
}

fn pids(resources: &Resources) -> Option<String> {
    let limit = resources.pids.filter(|limit| *limit != 0)?;
    Some(if limit < 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    })
}

/// Shares (2 to 262144, 1024 is usual) as a weight (1 to 10000, 100 is usual).
///
/// As runc since 1.4 and crun since 1.23: a curve through (2, 1), (1024, 100) and (262144, 10000); the
/// straight line used before made 39 of the usual value.
fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(writes: Vec<Write>) -> String {
        let lines = writes.iter().map(|write| {
            let mark = if write.optional { " (optional)" } else { "" };
            format!("{} = {}{mark}\n", write.file, write.value)
        });
        lines.collect()
    }

    #[test]
    fn one_set_of_limits_becomes_files_of_either_version() {
        let resources = Resources {
            cpu_millis: Some(1500),
            cpu_shares: Some(1024),
            cpuset: Some("0-1".into()),
            memory: Some(1000),
            memory_reservation: Some(500),
            pids: Some(-1),
            blkio_weight: Some(1000),
            ..Resources::default()
        };
        assert_eq!(
            lines(v1(&resources)),
            "cpu.shares = 1024\ncpu.cfs_period_us = 100000\ncpu.cfs_quota_us = 150000\n\
             cpuset.cpus = 0-1\nmemory.limit_in_bytes = 1000\n\
             memory.soft_limit_in_bytes = 500 (optional)\n\
             memory.memsw.limit_in_bytes = 2000 (optional)\npids.max = max\n\
             blkio.weight = 1000 (optional)\nblkio.bfq.weight = 1000 (optional)\n"
        );
        assert_eq!(
            lines(v2(&resources)),
            "cpu.weight = 100\ncpu.max = 150000 100000\ncpuset.cpus = 0-1\nmemory.max = 1000\n\
             memory.low = 500\nmemory.swap.max = 1000 (optional)\npids.max = max\n\
             io.bfq.weight = 1000 (optional)\nio.weight = default 10000 (optional)\n"
        );
        assert_eq!(lines(v1(&Resources::default())), "");
        assert_eq!(lines(v2(&Resources::default())), "");
    }

    #[test]
    fn the_usual_shares_are_the_usual_weight() {
        let weights = [1, 2, 512, 1024, 2048, 262_144, u64::MAX].map(weight_of_shares);
        assert_eq!(weights, [1, 1, 59, 100, 174, 10_000, 10_000]);
    }
}
