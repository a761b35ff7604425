//! Block devices of the host: their numbers, and whether they can be limited.
//!
//! Imports: `engine`. Rules: Linux admin-guide/cgroup-v1/blkio-controller.rst, cgroup-v2.rst "IO"; a partition can't
//! be limited (`blkg_conf_prep`); the files of a disk: Documentation/ABI/stable/sysfs-block.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::engine::host::{BlockDevice, Lack};
use crate::engine::spec::{DeviceLimit, DeviceRate};
use crate::engine::{EngineError, Result};

/// A limit of a disk that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) what: DeviceRate,
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) value: u64,
}

/// Looks the disks of limits up.
///
/// # Errors
/// [`EngineError::Unsupported`] for what is no disk.
pub(super) fn disks(limits: &[DeviceLimit]) -> Result<Vec<Disk>> {
    let find = |limit: &DeviceLimit| {
        let wrong = |why| EngineError::Unsupported {
            what: format!(
                "{}: `{}` {why}",
                limit.what.as_str(),
                limit.device.display()
            ),
        };
        let (major, minor) = number(&limit.device).map_err(wrong)?;
        Ok(Disk {
            what: limit.what,
            major,
            minor,
            value: limit.value,
        })
    };
    limits.iter().map(find).collect()
}

/// A disk's number, or why it is none.
fn number(path: &Path) -> std::result::Result<(u64, u64), String> {
    if !path.is_absolute() {
        return Err("is no absolute path".to_owned());
    }
    let meta = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("can't be looked at: {error}"),
    })?;
    if !meta.file_type().is_block_device() {
        return Err("is no block device".to_owned());
    }
    let number = (
        libc::major(meta.rdev()).into(),
        libc::minor(meta.rdev()).into(),
    );
    let system = system(number);
    if system.join("partition").exists() {
        let disk = fs::canonicalize(&system).ok();
        let disk = disk
            .as_deref()
            .and_then(Path::parent)
            .and_then(Path::file_name);
        let disk = disk.map(|name| format!(": name the disk, /dev/{}", name.to_string_lossy()));
        return Err(format!(
            "is a partition, and only whole disks can be limited{}",
            disk.unwrap_or_default()
        ));
    }
    Ok(number)
}

fn system((major, minor): (u64, u64)) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}

/// What a path is, as far as limits go. `costs` is `io.cost.qos` of version 2: disks whose controller knows weights
/// without a scheduler.
pub(super) fn examine(path: &Path, costs: &str) -> BlockDevice {
    let number = match number(path) {
        Ok(number) => number,
        Err(why) => return BlockDevice::Unfit(why),
    };
    let system = system(number);
    let schedulers = fs::read_to_string(system.join("queue/scheduler")).unwrap_or_default();
    let name = fs::canonicalize(&system).unwrap_or_default();
    let name = name
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let cost = format!("{}:{} enable=1", number.0, number.1);
    if costs.lines().any(|line| line.starts_with(&cost)) {
        return BlockDevice::Disk(None);
    }
    BlockDevice::Disk(lack_of_weight(&name, &schedulers))
}

/// Why a disk knows no weights, from its list of schedulers with the one in use in brackets.
fn lack_of_weight(name: &str, schedulers: &str) -> Option<Lack> {
    if schedulers.contains("[bfq]") {
        return None;
    }
    let used = schedulers.split(['[', ']']).nth(1).unwrap_or("none");
    let load = match schedulers
        .split_ascii_whitespace()
        .any(|word| word == "bfq")
    {
        true => "",
        false => "modprobe bfq && ",
    };
    Some(Lack {
        what: format!("the disk {name} has the scheduler `{used}`, which knows no weights"),
        mend: format!("choose bfq: `{load}echo bfq > /sys/block/{name}/queue/scheduler`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_disk_with_bfq_knows_weights() {
        assert_eq!(lack_of_weight("sda", "none mq-deadline [bfq]"), None);
        let lack = lack_of_weight("sda", "[none] mq-deadline kyber bfq").unwrap();
        assert_eq!(
            lack.mend,
            "choose bfq: `echo bfq > /sys/block/sda/queue/scheduler`"
        );
        assert!(
            lack_of_weight("sda", "[none]")
                .unwrap()
                .mend
                .contains("modprobe bfq")
        );
    }

    #[test]
    fn what_is_no_disk_is_told_apart() {
        let why = |path: &str| match examine(Path::new(path), "") {
            BlockDevice::Unfit(why) => why,
            BlockDevice::Disk(_) => String::new(),
        };
        assert_eq!(why("/dev/null"), "is no block device");
        assert_eq!(why("/dev/no-such-disk"), "is not there");
        assert_eq!(why("sda"), "is no absolute path");
    }
}
