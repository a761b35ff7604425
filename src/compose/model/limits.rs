//! What the containers of a service may use: CPUs, memory, block devices, requested devices.

use std::collections::BTreeMap;

use crate::base::span::Spanned;

/// Cgroup limits of a service, as written: whether a number can be had is decided later. Zero is not said, as
/// Compose reads it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceLimits {
    /// `cpus`.
    pub cpus: Option<Spanned<f64>>,
    /// `cpu_shares`.
    pub cpu_shares: Option<Spanned<i64>>,
    /// `cpu_period` in microseconds.
    pub cpu_period: Option<Spanned<i64>>,
    /// `cpu_quota` in microseconds.
    pub cpu_quota: Option<Spanned<i64>>,
    /// `cpuset`.
    pub cpuset: Option<Spanned<String>>,
    /// `mem_limit` in bytes.
    pub memory: Option<Spanned<i64>>,
    /// `mem_reservation` in bytes.
    pub memory_reservation: Option<Spanned<i64>>,
    /// `memswap_limit`: memory and swap in bytes; -1 is no limit.
    pub memory_swap: Option<Spanned<i64>>,
    /// `mem_swappiness`.
    pub swappiness: Option<Spanned<i64>>,
    /// `oom_kill_disable`.
    pub oom_kill_disable: Spanned<bool>,
    /// `pids_limit`; -1 is no limit.
    pub pids: Option<Spanned<i64>>,
    /// `blkio_config.weight`.
    pub blkio_weight: Option<Spanned<i64>>,
    /// The devices of `blkio_config`.
    pub blkio: BlkioDevices,
    /// `cpu_count`; Windows only.
    pub cpu_count: Option<u64>,
    /// `cpu_percent`; Windows only.
    pub cpu_percent: Option<u64>,
    /// `cpu_rt_period` in microseconds; cgroup v1 only.
    pub cpu_rt_period: Option<Spanned<i64>>,
    /// `cpu_rt_runtime` in microseconds; cgroup v1 only.
    pub cpu_rt_runtime: Option<Spanned<i64>>,
    /// `storage_opt`.
    pub storage: BTreeMap<String, String>,
}

/// What `blkio_config` says of single devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlkioDevices {
    /// `weight_device`: shares of 10 to 1000.
    pub weights: Vec<Spanned<BlkioLimit>>,
    /// `device_read_bps`: bytes a second.
    pub read_bytes: Vec<Spanned<BlkioLimit>>,
    /// `device_write_bps`: bytes a second.
    pub write_bytes: Vec<Spanned<BlkioLimit>>,
    /// `device_read_iops`: operations a second.
    pub reads: Vec<Spanned<BlkioLimit>>,
    /// `device_write_iops`: operations a second.
    pub writes: Vec<Spanned<BlkioLimit>>,
}

/// A number that holds for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkioLimit {
    /// Path of the device.
    pub path: String,
    /// The share, or bytes or operations a second.
    pub value: i64,
}

/// A request for devices: an entry of `gpus` or `deploy.resources.reservations.devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// `capabilities`.
    pub capabilities: Vec<String>,
    /// `count`; `None` where `device_ids` says which.
    pub count: Option<DeviceCount>,
    /// `device_ids`.
    pub device_ids: Vec<String>,
    /// `driver`.
    pub driver: Option<String>,
    /// `options`.
    pub options: BTreeMap<String, String>,
}

/// How many devices are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceCount {
    /// All there are.
    All,
    /// So many.
    Number(u64),
}
