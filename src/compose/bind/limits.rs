//! What a service's containers may use.
//!
//! In: canonical values. Out: their typed form. Imports: `base`, `model`, `tree`.

use super::{Binder, flag, integer, labels, number, text, texts};
use crate::base::scalar::ByteSize;
use crate::base::span::Spanned;
use crate::compose::model::{BlkioDevices, BlkioLimit, DeviceCount, DeviceRequest, ResourceLimits};
use crate::compose::tree::Node;

impl Binder<'_, '_> {
    /// `cpus`, `mem_limit` and kin; `deploy.resources` says the same in other words.
    pub(super) fn resources(&mut self, node: &Node) -> ResourceLimits {
        let part = |name: &str| node.get("deploy")?.get("resources")?.get(name);
        let (limits, reservations) = (part("limits"), part("reservations"));
        let of = |part: Option<&Node>, key: &str| part.and_then(|part| part.get(key)).cloned();
        let number = |node: Option<Node>| number(&node?);
        let whole = |node: Option<Node>| number(node).map(|value| value as i64);
        let size = |node: Option<Node>| whole(node).filter(|n| *n > 0).map(|n| ByteSize(n as u64));
        let count = |key: &str| integer(node, key).and_then(|n| u64::try_from(n).ok());
        let own = |key: &str| node.get(key).cloned();
        let cpus = number(own("cpus").or_else(|| of(limits, "cpus"))).filter(|cpus| *cpus > 0.0);
        let weight = node
            .get("blkio_config")
            .and_then(|blkio| integer(blkio, "weight"));
        ResourceLimits {
            cpu_millis: cpus.map(|cpus| ((cpus * 1000.0).round() as u64).max(1)),
            cpu_shares: count("cpu_shares"),
            cpu_period: count("cpu_period"),
            cpu_quota: integer(node, "cpu_quota"),
            cpuset: text(node, "cpuset"),
            memory: size(own("mem_limit").or_else(|| of(limits, "memory"))),
            memory_reservation: size(own("mem_reservation").or_else(|| of(reservations, "memory"))),
            memory_swap: whole(own("memswap_limit")),
            swappiness: count("mem_swappiness"),
            oom_kill_disable: flag(node, "oom_kill_disable"),
            pids: whole(own("pids_limit").or_else(|| of(limits, "pids"))),
            blkio_weight: weight.and_then(|weight| u16::try_from(weight).ok()),
            blkio: self.blkio(node),
            cpu_count: count("cpu_count"),
            cpu_percent: count("cpu_percent"),
            cpu_rt_period: count("cpu_rt_period"),
            cpu_rt_runtime: count("cpu_rt_runtime"),
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
                let value = integer(item, number).and_then(|value| u64::try_from(value).ok())?;
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
