//! Which limits this host's kernel can give, and what would give the others.
//!
//! In: nothing. Out: [`Offers`]. It looks at files, and makes our empty directory for a moment where no other shows
//! which files a cgroup has. Imports: `engine`. Rules: the files of each limit: Linux admin-guide/cgroup-v1 and
//! cgroup-v2.rst; what switches them on: kernel-parameters.txt, init/Kconfig.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::tree::{self, Hierarchy};
use super::{PARENT, io};
use crate::base::cpus::Cpus;
use crate::engine::Result;
use crate::engine::host::{Lack, Limit, Offers};

/// A limit of version 1: its controller, files of which one must be there, and what gives the file.
type Row = (Limit, &'static str, &'static [&'static str], &'static str);

const V1: [Row; 13] = [
    (
        Limit::Cpu,
        "cpu",
        &["cpu.cfs_quota_us"],
        "use a kernel with CONFIG_CFS_BANDWIDTH",
    ),
    (
        Limit::CpuShares,
        "cpu",
        &["cpu.shares"],
        "use a kernel with CONFIG_FAIR_GROUP_SCHED",
    ),
    (
        Limit::CpuRealtime,
        "cpu",
        &["cpu.rt_runtime_us"],
        "use a kernel with CONFIG_RT_GROUP_SCHED",
    ),
    (
        Limit::CpuSet,
        "cpuset",
        &["cpuset.cpus"],
        "mount it without `noprefix`",
    ),
    (
        Limit::Memory,
        "memory",
        &["memory.limit_in_bytes"],
        "use a kernel with CONFIG_MEMCG_V1",
    ),
    (
        Limit::MemoryReservation,
        "memory",
        &["memory.soft_limit_in_bytes"],
        "use a kernel with CONFIG_MEMCG_V1",
    ),
    (
        Limit::Swap,
        "memory",
        &["memory.memsw.limit_in_bytes"],
        "add swapaccount=1 to the kernel's command line",
    ),
    (
        Limit::Swappiness,
        "memory",
        &["memory.swappiness"],
        "use a kernel with CONFIG_MEMCG_V1",
    ),
    (
        Limit::OomKillDisable,
        "memory",
        &["memory.oom_control"],
        "use a kernel with CONFIG_MEMCG_V1",
    ),
    (
        Limit::Pids,
        "pids",
        &["pids.max"],
        "use a kernel with CONFIG_CGROUP_PIDS",
    ),
    (
        Limit::IoWeight,
        "blkio",
        &["blkio.weight", "blkio.bfq.weight"],
        "load the scheduler: `modprobe bfq`",
    ),
    (
        Limit::IoDeviceWeight,
        "blkio",
        &["blkio.weight_device", "blkio.bfq.weight_device"],
        "load the scheduler: `modprobe bfq`",
    ),
    (
        Limit::IoRate,
        "blkio",
        &["blkio.throttle.read_bps_device"],
        "use a kernel with CONFIG_BLK_DEV_THROTTLING",
    ),
];

/// Of version 2. Files that it has not at all have no name here.
const V2: [Row; 13] = [
    (
        Limit::Cpu,
        "cpu",
        &["cpu.max"],
        "use a kernel with CONFIG_CFS_BANDWIDTH",
    ),
    (
        Limit::CpuShares,
        "cpu",
        &["cpu.weight"],
        "use a kernel with CONFIG_FAIR_GROUP_SCHED",
    ),
    (
        Limit::CpuRealtime,
        "cpu",
        &[],
        "remove the key; only version 1 has it",
    ),
    (
        Limit::CpuSet,
        "cpuset",
        &["cpuset.cpus"],
        "use a kernel with CONFIG_CPUSETS",
    ),
    (
        Limit::Memory,
        "memory",
        &["memory.max"],
        "use a kernel with CONFIG_MEMCG",
    ),
    (
        Limit::MemoryReservation,
        "memory",
        &["memory.low"],
        "use a kernel with CONFIG_MEMCG",
    ),
    (
        Limit::Swap,
        "memory",
        &["memory.swap.max"],
        "use a kernel with CONFIG_SWAP, and no swapaccount=0 on its command line",
    ),
    (
        Limit::Swappiness,
        "memory",
        &[],
        "set vm.swappiness for the whole host, or remove the key; only version 1 has it",
    ),
    (
        Limit::OomKillDisable,
        "memory",
        &[],
        "use oom_score_adj: -1000, or remove the key; only version 1 has it",
    ),
    (
        Limit::Pids,
        "pids",
        &["pids.max"],
        "use a kernel with CONFIG_CGROUP_PIDS",
    ),
    (
        Limit::IoWeight,
        "io",
        &["io.weight", "io.bfq.weight"],
        "load the scheduler: `modprobe bfq`",
    ),
    (
        Limit::IoDeviceWeight,
        "io",
        &["io.weight", "io.bfq.weight"],
        "load the scheduler: `modprobe bfq`",
    ),
    (
        Limit::IoRate,
        "io",
        &["io.max"],
        "use a kernel with CONFIG_BLK_DEV_THROTTLING",
    ),
];

/// Limits that this host can give, and what these block devices are.
///
/// # Errors
/// [`crate::engine::EngineError::Unsupported`] without cgroups.
pub fn offers(devices: &BTreeSet<PathBuf>) -> Result<Offers> {
    let hierarchies = tree::hierarchies()?;
    let unified = hierarchies.iter().all(|hierarchy| hierarchy.unified);
    let lacking = match unified {
        true => hierarchies.first().map(lacking_v2).unwrap_or_default(),
        false => lacking_v1(&hierarchies),
    };
    let costs = fs::read_to_string("/sys/fs/cgroup/io.cost.qos").unwrap_or_default();
    let examined = devices
        .iter()
        .map(|path| (path.clone(), io::examine(path, &costs)));
    Ok(Offers {
        cpus: cpus(&hierarchies, unified),
        lacking,
        devices: examined.collect(),
    })
}

fn lacking_v1(hierarchies: &[Hierarchy]) -> BTreeMap<Limit, Lack> {
    let mut lacking = BTreeMap::new();
    let known = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    for (limit, controller, files, mend) in V1 {
        let Some(hierarchy) = hierarchies
            .iter()
            .find(|hierarchy| hierarchy.has(controller))
        else {
            lacking.insert(limit, not_mounted(controller, &known));
            continue;
        };
        if !shows(hierarchy, files) {
            lacking.insert(limit, no_file(files, mend));
        }
    }
    lacking
}

/// Whether the cgroups of a hierarchy of version 1 have one of these files. Yes, where that can't be seen: a limit that
/// can't be set is an error at the start then.
fn shows(hierarchy: &Hierarchy, files: &[&str]) -> bool {
    let has = |dir: &Path| files.iter().any(|file| dir.join(file).exists());
    if has(&hierarchy.mount) {
        return true;
    }
    // Some files are in all cgroups but the root.
    let any = tree::directories(&hierarchy.mount).into_iter().next();
    any.map(|dir| has(&dir))
        .or_else(|| sample(hierarchy, has))
        .unwrap_or(true)
}

/// Looks at our directory, which is made for the moment when it is not there.
fn sample<T>(hierarchy: &Hierarchy, look: impl Fn(&Path) -> T) -> Option<T> {
    let ours = Hierarchy {
        dir: hierarchy.dir.join(PARENT),
        ..hierarchy.clone()
    };
    tree::make_levels(&ours).ok()?;
    let seen = look(&ours.dir);
    // It stays where containers are in it, and comes back where one is about to be.
    let _ = fs::remove_dir(&ours.dir);
    Some(seen)
}

/// Controllers that a directory of version 2 has.
fn controllers(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn lacking_v2(hierarchy: &Hierarchy) -> BTreeMap<Limit, Lack> {
    let held = controllers(&hierarchy.dir);
    // Not everybody can make one: what such a user's kernel lacks shows at the start.
    let below = sample(hierarchy, |dir| (controllers(dir), names(dir)));
    let mut lacking = BTreeMap::new();
    for (limit, controller, files, mend) in V2 {
        let has = |controllers: &[String]| controllers.iter().any(|held| held == controller);
        let lack = match &below {
            _ if files.is_empty() => Lack {
                what: "cgroup version 2 has no such limit".to_owned(),
                mend: mend.to_owned(),
            },
            _ if !has(&held) => not_delegated(controller, &hierarchy.dir),
            Some((passed, _)) if !has(passed) => not_passed_on(controller, &hierarchy.dir),
            Some((_, names)) if !files.iter().any(|file| names.contains(*file)) => {
                no_file(files, mend)
            }
            _ => continue,
        };
        lacking.insert(limit, lack);
    }
    lacking
}

/// Names of the files of a directory.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// A controller that the cgroups below our own can't have. Source: cgroup-v2.rst, "No Internal Process Constraint".
fn not_passed_on(controller: &str, dir: &Path) -> Lack {
    Lack {
        what: format!(
            "the cgroup controller `{controller}` can't be switched on below {}",
            dir.display()
        ),
        mend: format!(
            "move the processes of {0} to a cgroup below it, then `echo +{controller} > {0}/cgroup.subtree_control`",
            dir.display()
        ),
    }
}

fn no_file(files: &[&str], mend: &str) -> Lack {
    Lack {
        what: format!("the kernel has no cgroup file {}", files.join(" or ")),
        mend: mend.to_owned(),
    }
}

/// Why a controller of version 1 is not there. `known` is `/proc/cgroups`.
fn not_mounted(controller: &str, known: &str) -> Lack {
    let row = known
        .lines()
        .find(|line| line.split_ascii_whitespace().next() == Some(controller));
    let enabled = row.and_then(|row| row.split_ascii_whitespace().nth(3));
    let mend = match enabled {
        Some("0") => format!("add cgroup_enable={controller} to the kernel's command line"),
        Some(_) => {
            let dir = format!("/sys/fs/cgroup/{controller}");
            format!("mount it: `mkdir -p {dir} && mount -t cgroup -o {controller} cgroup {dir}`")
        }
        None => format!("use a kernel with the cgroup controller `{controller}`"),
    };
    Lack {
        what: format!("the cgroup controller `{controller}` is not mounted"),
        mend,
    }
}

/// Why a controller of version 2 is not there for us.
fn not_delegated(controller: &str, dir: &Path) -> Lack {
    let root = Path::new("/sys/fs/cgroup");
    let there = controllers(root).iter().any(|held| held == controller);
    let mend = match (there, dir == root) {
        (true, _) => format!(
            "delegate it: `systemctl set-property user-$(id -u).slice Delegate=yes`, or have root write +{controller} to \
             cgroup.subtree_control of each level above {}",
            dir.display()
        ),
        (false, true) => format!(
            "add cgroup_enable={controller} to the kernel's command line, or use a kernel that has it; a version 1 \
             mount of it takes it away too"
        ),
        (false, false) => format!("use a kernel with the cgroup controller `{controller}`"),
    };
    Lack {
        what: format!(
            "the cgroup controller `{controller}` is not in {}/cgroup.controllers",
            dir.display()
        ),
        mend,
    }
}

/// CPUs that containers may run on.
fn cpus(hierarchies: &[Hierarchy], unified: bool) -> Cpus {
    let cpuset = hierarchies.iter().find(|hierarchy| match unified {
        true => hierarchy.unified,
        false => hierarchy.has("cpuset"),
    });
    let files = [
        "cpuset.cpus.effective",
        "cpuset.effective_cpus",
        "cpuset.cpus",
    ];
    let sets = cpuset
        .into_iter()
        .flat_map(|hierarchy| files.map(|file| hierarchy.dir.join(file)));
    let all = sets.chain([PathBuf::from("/sys/devices/system/cpu/online")]);
    let read = |path: PathBuf| Cpus::parse(&fs::read_to_string(path).ok()?);
    all.filter_map(read)
        .find(|set| !set.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_off_is_told_from_one_that_is_not_mounted() {
        let known =
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t5\t1\nmemory\t0\t1\t0\n";
        assert!(
            not_mounted("memory", known)
                .mend
                .contains("cgroup_enable=memory")
        );
        assert!(
            not_mounted("cpuset", known)
                .mend
                .contains("mount -t cgroup -o cpuset")
        );
        assert!(not_mounted("blkio", known).mend.contains("use a kernel"));
    }

    #[test]
    fn this_machine_answers() {
        let found = offers(&BTreeSet::new()).unwrap();
        let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
        assert!(
            found
                .cpus
                .without(&Cpus::parse(&online).unwrap())
                .is_empty()
        );
        for (limit, lack) in &found.lacking {
            assert!(!lack.what.is_empty() && !lack.mend.is_empty(), "{limit:?}");
        }
    }
}
