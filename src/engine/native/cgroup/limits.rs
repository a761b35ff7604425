//! Limits as lines to write: which file of which controller gets what. Pure.
//!
//! Imports: `engine::spec`. Rules: Linux admin-guide/cgroup-v1 and cgroup-v2.rst; conversions between the
//! two as runc does them, named at each.

use super::io::Disk;
use crate::engine::spec::{DeviceRate, Resources};

/// Default of `cpu.cfs_period_us` and `cpu.max`, in microseconds. Source: cgroup-v2.rst, `cpu.max`.
const CPU_PERIOD_US: u64 = 100_000;

/// One value for one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) controller: &'static str,
    /// Files and what each gets. Of several those are written that the kernel has: one must take it.
    pub(super) files: Vec<(&'static str, String)>,
    /// The limit in the user's words.
    pub(super) wanted_by: &'static str,
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
        value: Option<impl ToString>,
    ) {
        if let Some(value) = value {
            self.either(wanted_by, controller, vec![(file, value.to_string())]);
        }
    }
    fn either(
        &mut self,
        wanted_by: &'static str,
        controller: &'static str,
        files: Vec<(&'static str, String)>,
    ) {
        self.0.push(Write {
            controller,
            files,
            wanted_by,
        });
    }
}

/// For version 1. The real-time budget is not here: see `realtime`.
pub(super) fn v1(resources: &Resources, disks: &[Disk]) -> Vec<Write> {
    let mut to = Writes::default();
    let r = resources;
    to.want("cpu_shares", "cpu", "cpu.shares", r.cpu_shares);
    to.want("the CPU period", "cpu", "cpu.cfs_period_us", r.cpu_period);
    to.want("the CPU limit", "cpu", "cpu.cfs_quota_us", r.cpu_quota);
    to.want("cpuset", "cpuset", "cpuset.cpus", r.cpuset.as_ref());
    let nodes = r.cpuset_mems.as_ref();
    to.want("the memory nodes", "cpuset", "cpuset.mems", nodes);
    let (memory, soft) = ("memory.limit_in_bytes", "memory.soft_limit_in_bytes");
    to.want("the memory limit", "memory", memory, r.memory);
    to.want(
        "the memory reservation",
        "memory",
        soft,
        r.memory_reservation,
    );
    // Must follow the limit it may not be below.
    let both = "memory.memsw.limit_in_bytes";
    to.want("the swap limit", "memory", both, r.memory_swap);
    to.want(
        "mem_swappiness",
        "memory",
        "memory.swappiness",
        r.swappiness,
    );
    let disable = r.oom_kill_disable.then_some("1");
    to.want("oom_kill_disable", "memory", "memory.oom_control", disable);
    to.want("the process limit", "pids", "pids.max", pids(r));
    if let Some(weight) = r.blkio_weight {
        let files = ["blkio.weight", "blkio.bfq.weight"].map(|file| (file, weight.to_string()));
        to.either("blkio_config.weight", "blkio", files.to_vec());
    }
    for disk in disks {
        let line = format!("{}:{} {}", disk.major, disk.minor, disk.value);
        let files: &[&'static str] = match disk.what {
            DeviceRate::Weight => &["blkio.weight_device", "blkio.bfq.weight_device"],
            DeviceRate::ReadBytes => &["blkio.throttle.read_bps_device"],
            DeviceRate::WriteBytes => &["blkio.throttle.write_bps_device"],
            DeviceRate::Reads => &["blkio.throttle.read_iops_device"],
            DeviceRate::Writes => &["blkio.throttle.write_iops_device"],
        };
        let files = files.iter().map(|file| (*file, line.clone()));
        to.either(disk.what.as_str(), "blkio", files.collect());
    }
    to.0
}

/// For version 2.
pub(super) fn v2(resources: &Resources, disks: &[Disk]) -> Vec<Write> {
    let mut to = Writes::default();
    let r = resources;
    to.want(
        "cpu_shares",
        "cpu",
        "cpu.weight",
        r.cpu_shares.map(weight_of_shares),
    );
    let max = (r.cpu_quota.is_some() || r.cpu_period.is_some()).then(|| {
        let quota = r.cpu_quota.filter(|quota| *quota > 0);
        let quota = quota.map_or("max".into(), |quota| quota.to_string());
        format!("{quota} {}", r.cpu_period.unwrap_or(CPU_PERIOD_US))
    });
    to.want("the CPU limit", "cpu", "cpu.max", max);
    to.want("cpuset", "cpuset", "cpuset.cpus", r.cpuset.as_ref());
    let nodes = r.cpuset_mems.as_ref();
    to.want("the memory nodes", "cpuset", "cpuset.mems", nodes);
    to.want("the memory limit", "memory", "memory.max", r.memory);
    to.want(
        "the memory reservation",
        "memory",
        "memory.low",
        r.memory_reservation,
    );
    // As runc: ConvertMemorySwapToCgroupV2Value; version 2 counts swap alone.
    let swap = r.memory_swap.map(|both| match u64::try_from(both) {
        Err(_) => "max".to_owned(),
        Ok(both) => both.saturating_sub(r.memory.unwrap_or(0)).to_string(),
    });
    to.want("the swap limit", "memory", "memory.swap.max", swap);
    to.want("the process limit", "pids", "pids.max", pids(r));
    if let Some(weight) = r.blkio_weight.map(u64::from) {
        let files = vec![
            ("io.bfq.weight", weight.to_string()),
            ("io.weight", format!("default {}", io_weight(weight))),
        ];
        to.either("blkio_config.weight", "io", files);
    }
    for disk in disks {
        let line = |value: &str| format!("{}:{} {value}", disk.major, disk.minor);
        let rate = |key: &str| vec![("io.max", line(&format!("{key}={}", disk.value)))];
        let files = match disk.what {
            DeviceRate::Weight => vec![
                ("io.bfq.weight", line(&disk.value.to_string())),
                ("io.weight", line(&io_weight(disk.value).to_string())),
            ],
            DeviceRate::ReadBytes => rate("rbps"),
            DeviceRate::WriteBytes => rate("wbps"),
            DeviceRate::Reads => rate("riops"),
            DeviceRate::Writes => rate("wiops"),
        };
        to.either(disk.what.as_str(), "io", files);
    }
    to.0
}

/// As runc: `ConvertBlkIOToIOWeightValue`, 10..1000 to 1..10000.
fn io_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
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
        let line = |(file, value): (&str, String)| format!("{file} = {value}\n");
        let files = writes.into_iter().flat_map(|write| write.files);
        files.map(line).collect()
    }

    #[test]
    fn one_set_of_limits_becomes_files_of_either_version() {
        let resources = Resources {
            cpu_quota: Some(150_000),
            cpu_period: Some(100_000),
            cpu_shares: Some(1024),
            cpuset: Some("0-1".into()),
            memory: Some(1000),
            memory_reservation: Some(500),
            memory_swap: Some(2000),
            pids: Some(-1),
            blkio_weight: Some(1000),
            ..Resources::default()
        };
        assert_eq!(
            lines(v1(&resources, &[])),
            "cpu.shares = 1024\ncpu.cfs_period_us = 100000\ncpu.cfs_quota_us = 150000\n\
             cpuset.cpus = 0-1\nmemory.limit_in_bytes = 1000\n\
             memory.soft_limit_in_bytes = 500\nmemory.memsw.limit_in_bytes = 2000\npids.max = max\n\
             blkio.weight = 1000\nblkio.bfq.weight = 1000\n"
        );
        assert_eq!(
            lines(v2(&resources, &[])),
            "cpu.weight = 100\ncpu.max = 150000 100000\ncpuset.cpus = 0-1\nmemory.max = 1000\n\
             memory.low = 500\nmemory.swap.max = 1000\npids.max = max\n\
             io.bfq.weight = 1000\nio.weight = default 10000\n"
        );
        assert_eq!(lines(v1(&Resources::default(), &[])), "");
        assert_eq!(lines(v2(&Resources::default(), &[])), "");
    }

    #[test]
    fn limits_that_are_none_are_said_in_each_versions_words() {
        let resources = Resources {
            cpu_quota: Some(-1),
            memory_swap: Some(-1),
            swappiness: Some(0),
            oom_kill_disable: true,
            ..Resources::default()
        };
        assert_eq!(
            lines(v1(&resources, &[])),
            "cpu.cfs_quota_us = -1\nmemory.memsw.limit_in_bytes = -1\nmemory.swappiness = 0\nmemory.oom_control = 1\n"
        );
        assert_eq!(
            lines(v2(&resources, &[])),
            "cpu.max = max 100000\nmemory.swap.max = max\n"
        );
    }

    #[test]
    fn rates_of_a_disk_are_lines_with_its_number() {
        let disk = |what, value| Disk {
            what,
            major: 8,
            minor: 16,
            value,
        };
        let disks = [
            disk(DeviceRate::Weight, 10),
            disk(DeviceRate::ReadBytes, 5),
            disk(DeviceRate::WriteBytes, 6),
            disk(DeviceRate::Reads, 7),
            disk(DeviceRate::Writes, 8),
        ];
        assert_eq!(
            lines(v1(&Resources::default(), &disks)),
            "blkio.weight_device = 8:16 10\nblkio.bfq.weight_device = 8:16 10\n\
             blkio.throttle.read_bps_device = 8:16 5\nblkio.throttle.write_bps_device = 8:16 6\n\
             blkio.throttle.read_iops_device = 8:16 7\nblkio.throttle.write_iops_device = 8:16 8\n"
        );
        assert_eq!(
            lines(v2(&Resources::default(), &disks)),
            "io.bfq.weight = 8:16 10\nio.weight = 8:16 1\nio.max = 8:16 rbps=5\nio.max = 8:16 wbps=6\n\
             io.max = 8:16 riops=7\nio.max = 8:16 wiops=8\n"
        );
    }

    #[test]
    fn the_usual_shares_are_the_usual_weight() {
        let weights = [1, 2, 512, 1024, 2048, 262_144, u64::MAX].map(weight_of_shares);
        assert_eq!(weights, [1, 1, 59, 100, 174, 10_000, 10_000]);
    }
}
