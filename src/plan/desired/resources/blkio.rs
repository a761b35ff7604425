//! Block I/O: a weight among containers, and weights and rates of single disks.
//!
//! Imports: `base`, `compose::model`, `engine::host`, `engine::spec`. Rules: as its parent; the ranges: Linux
//! cgroup-v1/blkio-controller.rst.

use std::path::Path;

use super::Check;
use crate::base::span::Spanned;
use crate::compose::model::{BlkioLimit, Service};
use crate::engine::host::{BlockDevice, Limit};
use crate::engine::spec::{DeviceLimit, DeviceRate};

/// Weights that the kernel takes.
const WEIGHTS: std::ops::RangeInclusive<i64> = 10..=1000;

/// Paths of the block devices that a service limits.
pub(crate) fn block_devices(service: &Service) -> impl Iterator<Item = &Path> {
    let lists = device_lists(service).into_iter();
    lists
        .flat_map(|(_, list)| list)
        .map(|limit| Path::new(&limit.value.path))
}

fn device_lists(service: &Service) -> [(DeviceRate, &[Spanned<BlkioLimit>]); 5] {
    let devices = &service.resources.blkio;
    [
        (DeviceRate::Weight, &devices.weights),
        (DeviceRate::ReadBytes, &devices.read_bytes),
        (DeviceRate::WriteBytes, &devices.write_bytes),
        (DeviceRate::Reads, &devices.reads),
        (DeviceRate::Writes, &devices.writes),
    ]
}

impl Check<'_> {
    pub(super) fn weight(&mut self) -> Option<u16> {
        let weight = self.service.resources.blkio_weight.as_ref()?;
        let words = "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.";
        let value = self.within("blkio_config.weight", weight, &WEIGHTS)?;
        let value = u16::try_from(value).ok()?;
        self.has(Limit::IoWeight, weight.span, words)
            .then_some(value)
    }

    pub(super) fn devices(&mut self) -> Vec<DeviceLimit> {
        let mut made = Vec::new();
        for (what, list) in device_lists(self.service) {
            for limit in list {
                made.extend(self.device(what, limit));
            }
        }
        made
    }

    fn device(&mut self, what: DeviceRate, limit: &Spanned<BlkioLimit>) -> Option<DeviceLimit> {
        let key = format!("blkio_config.{}", what.as_str());
        let range = match what {
            DeviceRate::Weight => WEIGHTS,
            DeviceRate::ReadBytes | DeviceRate::WriteBytes => 0..=i64::MAX,
            // The kernel counts operations in 32 bits.
            DeviceRate::Reads | DeviceRate::Writes => 0..=i64::from(u32::MAX),
        };
        let number = Spanned::new(limit.value.value, limit.span);
        let value = self.within(&key, &number, &range);
        let device = Path::new(&limit.value.path);
        let lack = match self.offers.device(device).cloned() {
            Some(BlockDevice::Unfit(why)) => {
                let text = format!("{key}: `{}` {why}", limit.value.path);
                self.wrong(
                    limit.span,
                    &text,
                    "expected a disk of the host, such as /dev/sda",
                );
                return None;
            }
            Some(BlockDevice::Disk(lack)) => lack.filter(|_| what == DeviceRate::Weight),
            None => None,
        };
        // No rate is no limit, as Docker reads it.
        let value = value.filter(|value| *value > 0)?;
        if let Some(lack) = lack {
            let text = format!(
                "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device \
                 discarded. ({}; {})",
                lack.what, lack.mend
            );
            self.warn(limit.span, &text);
            return None;
        }
        let (kind, words) = rate_words(what);
        self.has(kind, limit.span, words).then(|| DeviceLimit {
            what,
            device: device.to_owned(),
            value,
        })
    }
}

/// What a kernel must have for a rate, and Docker's words where it has not.
fn rate_words(what: DeviceRate) -> (Limit, &'static str) {
    match what {
        DeviceRate::Weight => (
            Limit::IoDeviceWeight,
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
        ),
        DeviceRate::ReadBytes => (
            Limit::IoRate,
            "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read \
             limit discarded.",
        ),
        DeviceRate::WriteBytes => (
            Limit::IoRate,
            "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write \
             limit discarded.",
        ),
        DeviceRate::Reads => (
            Limit::IoRate,
            "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read \
             limit discarded.",
        ),
        DeviceRate::Writes => (
            Limit::IoRate,
            "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write \
             limit discarded.",
        ),
    }
}
