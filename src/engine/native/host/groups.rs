//! Cgroups: version, controllers, the limits they give, killing and freezing.

use std::collections::BTreeSet;
use std::path::Path;

use super::is_root;
use crate::engine::host::{Lack, Limit, Offers, Row, Standing};
use crate::engine::native::cgroup::{Version, offers, version};

/// Limits that stand and fall together: their names, and the keys that need them.
const GROUPS: [(&str, &[Limit], &str); 8] = [
    (
        "CPU limits",
        &[Limit::Cpu, Limit::CpuShares],
        "`cpus`, `cpu_quota`, `cpu_period`, `cpu_shares`",
    ),
    ("CPU sets", &[Limit::CpuSet], "`cpuset`"),
    (
        "memory limits",
        &[Limit::Memory, Limit::MemoryReservation],
        "`mem_limit`, `mem_reservation`",
    ),
    ("swap accounting", &[Limit::Swap], "`memswap_limit`"),
    ("process limits", &[Limit::Pids], "`pids_limit`"),
    (
        "block I/O rates",
        &[Limit::IoRate],
        "`blkio_config.device_*`",
    ),
    (
        "block I/O weights",
        &[Limit::IoWeight, Limit::IoDeviceWeight],
        "`blkio_config.weight`, `weight_device`",
    ),
    (
        "version 1 limits",
        &[Limit::CpuRealtime, Limit::Swappiness, Limit::OomKillDisable],
        "`cpu_rt_*`, `mem_swappiness`, `oom_kill_disable`",
    ),
];

pub(super) fn rows() -> Vec<Row> {
    let ((version, root), offers) = match (version(), offers(&BTreeSet::new())) {
        (Ok(version), Ok(offers)) => (version, offers),
        (Err(error), _) | (_, Err(error)) => {
            let row = Row::ok("cgroups", error.to_string(), "no container can be made").needed();
            let mount = "mount -t cgroup2 none /sys/fs/cgroup";
            return vec![row.stands(Standing::Missing).mend(mount)];
        }
    };
    let mut rows = vec![hierarchies(version)];
    rows.extend(GROUPS.map(|(name, limits, keys)| group(name, limits, keys, version, &offers)));
    rows.extend([killing(root.as_deref()), freezing(root.as_deref())]);
    rows
}

fn hierarchies(version: Version) -> Row {
    let found = match version {
        Version::One => "version 1",
        Version::Both => "version 1, and 2 without controllers beside it",
        Version::Two => "version 2",
    };
    let row = Row::ok(
        "cgroups",
        found,
        "containers are counted, limited and ended together",
    )
    .needed();
    let means = match (is_root(), version) {
        (true, _) => return row,
        (false, Version::Two) => {
            "an ordinary user's containers have the controllers that are delegated to the user"
        }
        (false, _) => "an ordinary user's containers can't be limited on version 1",
    };
    let means = means.to_owned();
    Row { means, ..row }
}

fn group(
    name: &'static str,
    limits: &[Limit],
    keys: &str,
    version: Version,
    offers: &Offers,
) -> Row {
    let lacking: Vec<&Lack> = limits
        .iter()
        .filter_map(|limit| offers.lack(*limit))
        .collect();
    let Some(lack) = lacking.first() else {
        return Row::ok(name, "the kernel has them", format!("for {keys}"));
    };
    let old = limits.contains(&Limit::CpuRealtime);
    if old && version == Version::Two {
        let means = format!("{keys} are warned of or refused, as the reference does");
        return Row::ok(name, "version 2 has none of them", means);
    }
    let standing = match lacking.len() == limits.len() && !old {
        true => Standing::Missing,
        false => Standing::Degraded,
    };
    let means = match standing {
        Standing::Missing => format!("{keys}: not set, and that is said at `up`"),
        _ => format!("a part of {keys} is not set, and that is said at `up`"),
    };
    let row = Row::ok(name, lack.what.clone(), means).stands(standing);
    row.mend(lack.mend.clone())
}

fn killing(root: Option<&Path>) -> Row {
    // The root itself has no such file, but each cgroup below it.
    let there = root.is_some_and(|root| below_has(root, "cgroup.kill"));
    let row = Row::ok(
        "cgroup.kill",
        "the kernel has it",
        "all processes of a container end at once",
    );
    match there {
        true => row,
        false => Row {
            found: "not there (Linux 5.14 with cgroup version 2)".to_owned(),
            means: "processes of a container are ended one by one, which takes longer".to_owned(),
            ..row
        }
        .stands(Standing::Degraded)
        .mend("boot Linux 5.14 or later, and: mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}

fn freezing(root: Option<&Path>) -> Row {
    let there = Path::new("/sys/fs/cgroup/freezer").exists()
        || root.is_some_and(|root| below_has(root, "cgroup.freeze"));
    let row = Row::ok("freezer", "the kernel has it", "containers can be paused");
    match there {
        true => row,
        false => Row {
            found: "no controller `freezer`, no cgroup.freeze".to_owned(),
            means: "containers can't be paused".to_owned(),
            ..row
        }
        .stands(Standing::Degraded)
        .mend("boot a kernel with CONFIG_CGROUP_FREEZER"),
    }
}

/// Whether some cgroup below a root has a file. A kernel with a cgroup version 2 and no cgroup in it is asked by its
/// version.
fn below_has(root: &Path, file: &str) -> bool {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut below = entries
        .filter(|entry| entry.path().join("cgroup.procs").exists())
        .peekable();
    match below.peek() {
        Some(first) => first.path().join(file).exists(),
        None => root.join("cgroup.procs").exists(),
    }
}
