//! What a service's containers may use.
//!
//! In: canonical values. Out: their typed form. Imports: `base`, `model`, `tree`.

use super::{Binder, flag, integer, labels, number, spanned, text, texts};
use crate::base::span::Spanned;
use crate::compose::model::{BlkioDevices, BlkioLimit, DeviceCount, DeviceRequest, ResourceLimits};
use crate::compose::tree::Node;

impl Binder<'_, '_> {
    /// `cpus`, `mem_limit` and kin; `deploy.resources` says the same in other words.
    pub(super) fn resources(&mut self, node: &Node) -> ResourceLimits {
        let part = |name: &str| node.get("deploy")?.get("resources")?.get(name);
        let (limits, reservations) = (part("limits"), part("reservations"));
        let count = |key: &str| integer(node, key).and_then(|n| u64::try_from(n).ok());
        let own = |key: &str| said(node, key);
        let both = |key: &str, part: Option<&Node>, inner: &str| {
            own(key).or_else(|| part.and_then(|part| said(part, inner)))
        };
        let blkio = node.get("blkio_config");
        ResourceLimits {
            cpus: cpus(node).or_else(|| limits.and_then(cpus)),
            cpu_shares: own("cpu_shares"),
            cpu_period: own("cpu_period"),
            cpu_quota: own("cpu_quota"),
            cpuset: spanned(node, "cpuset").filter(|set| !set.value.is_empty()),
            memory: both("mem_limit", limits, "memory"),
            memory_reservation: both("mem_reservation", reservations, "memory"),
            memory_swap: own("memswap_limit"),
            swappiness: whole(node, "mem_swappiness"),
            oom_kill_disable: Spanned::new(
                flag(node, "oom_kill_disable"),
                node.get("oom_kill_disable").map(|node| node.span),
            ),
            pids: both("pids_limit", limits, "pids"),
            blkio_weight: blkio.and_then(|blkio| said(blkio, "weight")),
            blkio: self.blkio(node),
            cpu_count: count("cpu_count"),
            cpu_percent: count("cpu_percent"),
            cpu_rt_period: own("cpu_rt_period"),
            cpu_rt_runtime: own("cpu_rt_runtime"),
            storage: labels(node, "storage_opt"),
        }
    }

    /// What `blkio_config` says of single devices. Their keys are in capitals in the canonical form.
    fn blkio(&mut self, node: &Node) -> BlkioDevices {
        let Some(blkio) = node.get("blkio_config") else {
            return BlkioDevices::default();
        };
        let mut list = |key: &str, number: &str| {
            self.items(blkio, key, |_, item| {
                let path = text(item, "Path")?;
                let value = integer(item, number)?;
                Some(Spanned::new(BlkioLimit { path, value }, item.span))
            })
        };
        BlkioDevices {
            weights: list("weight_device", "Weight"),
            read_bytes: list("device_read_bps", "Rate"),
            write_bytes: list("device_write_bps", "Rate"),
            reads: list("device_read_iops", "Rate"),
            writes: list("device_write_iops", "Rate"),
        }
    }

    /// A request for devices of `gpus` or of a reservation.
    pub(super) fn device_request(&mut self, node: &Node) -> Option<Spanned<DeviceRequest>> {
        let count = integer(node, "count").map(|count| match u64::try_from(count) {
            Ok(count) => DeviceCount::Number(count),
            Err(_) => DeviceCount::All,
        });
        let request = DeviceRequest {
            capabilities: texts(node, "capabilities"),
            count,
            device_ids: texts(node, "device_ids"),
            driver: text(node, "driver"),
            options: labels(node, "options"),
        };
        Some(Spanned::new(request, node.span))
    }
}

/// The whole number of a key and its place.
fn whole(node: &Node, key: &str) -> Option<Spanned<i64>> {
    Some(Spanned::new(integer(node, key)?, node.get(key)?.span))
}

/// The whole number of a key, where it is not the zero that says nothing.
pub(super) fn said(node: &Node, key: &str) -> Option<Spanned<i64>> {
    whole(node, key).filter(|number| number.value != 0)
}

/// A number of CPUs and its place.
fn cpus(node: &Node) -> Option<Spanned<f64>> {
    let node = node.get("cpus")?;
    let cpus = Spanned::new(number(node)?, node.span);
    (cpus.value != 0.0).then_some(cpus)
}
