//! What a container may use: the kernel's own files say it, on cgroup version 1 and 2.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::harness::leftovers::children;
use crate::harness::{ENGINE, Sandbox, program};

crate::cases!(ENGINE;
    cpu_time_is_limited_by_cpus_or_by_quota_and_period,
    cpu_shares_are_the_weight_of_the_cgroup,
    a_cpuset_is_where_the_processes_run,
    a_real_time_budget_is_given_on_version_1_and_refused_on_version_2,
    memory_swap_and_reservation_are_limited_as_asked,
    swappiness_and_the_memory_killer_are_set_on_version_1_and_warned_of_on_version_2,
    the_memory_killer_prefers_a_container_as_asked,
    the_number_of_processes_is_limited_as_asked,
    shared_memory_has_the_size_asked_for,
    block_devices_are_limited_by_their_numbers,
    a_block_device_with_a_scheduler_for_it_gets_its_weight,
    a_container_lives_below_its_cgroup_parent_and_takes_it_along,
    a_cgroup_parent_of_somebody_else_stays_and_holds_its_containers,
    limits_are_set_again_at_each_start,
    numbers_out_of_range_are_faults_with_their_place_before_anything_starts,
    limits_that_this_host_can_not_give_are_told,
    a_one_off_container_has_the_limits_and_warnings_of_its_service,
);

/// Whether the controllers are in the unified hierarchy.
fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// `WANT` on version 1 or 2.
fn by_version<'a>(v1: &'a str, v2: &'a str) -> &'a str {
    if is_v2() { v2 } else { v1 }
}

/// Quota and period of a service: `50000 100000`, `max 100000`.
fn cpu_max(hoist: &Sandbox, service: &str) -> String {
    if is_v2() {
        return hoist.cgroup_file(service, &["cpu.max"]);
    }
    let part = |name| hoist.cgroup_file(service, &[name]);
    let quota = part("cpu.cfs_quota_us").replace("-1", "max");
    format!("{quota} {}", part("cpu.cfs_period_us"))
}

fn cpu_time_is_limited_by_cpus_or_by_quota_and_period() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  whole: {SLEEP, cpus: 1}\n  part: {SLEEP, cpus: '0.0155'}\n  least: {SLEEP, cpus: 0.01}\n  deploy: {SLEEP, deploy: \
         {resources: {limits: {cpus: '0.25'}, reservations: {cpus: '0.1'}}}}\n  both: {SLEEP, cpu_quota: 7000, cpu_period: 20000}\n  \
         quota: {SLEEP, cpu_quota: 50000}\n  period: {SLEEP, cpu_period: 50000}\n  none: {SLEEP, cpu_quota: -1}\n",
    );
    hoist.ok("up -d");
    for (service, want) in [
        ("whole", "100000 100000"),
        ("part", "1550 100000"),
        ("least", "1000 100000"),
        ("deploy", "25000 100000"),
        ("both", "7000 20000"),
        ("quota", "50000 100000"),
        ("period", "max 50000"),
        ("none", "max 100000"),
    ] {
        assert_eq!(cpu_max(&hoist, service), want, "{service}");
    }
}

fn cpu_shares_are_the_weight_of_the_cgroup() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, cpu_shares: 512}\n  b: {SLEEP, cpu_shares: 262144}\n  c: {SLEEP}\n");
    hoist.ok("up -d");
    let weight = |service| hoist.cgroup_file(service, &["cpu.weight", "cpu.shares"]);
    assert_eq!(weight("a"), by_version("512", "59"));
    assert_eq!(weight("b"), by_version("262144", "10000"));
    assert_eq!(weight("c"), by_version("1024", "100"));
}

fn a_cpuset_is_where_the_processes_run() {
    let hoist = Sandbox::new();
    let all = std::fs::read_to_string("/sys/devices/system/cpu/online").expect("a list of CPUs");
    let last = all
        .trim()
        .rsplit(['-', ','])
        .next()
        .expect("at least one")
        .to_owned();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, cpuset: '{last}'}}\n  b: {{SLEEP}}\n"
    ));
    hoist.ok("up -d");
    let line = "awk '/^Cpus_allowed_list/{print $2}' /proc/1/status";
    assert_eq!(hoist.sh("a", line), last);
    assert_eq!(hoist.sh("b", line), all.trim());
    // Of exec too.
    assert_eq!(hoist.sh("a", &line.replace("/1/", "/self/")), last);
    if !is_v2() {
        // A set without memory nodes would take no process.
        let root =
            std::fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.mems").expect("memory nodes");
        assert_eq!(hoist.cgroup_file("a", &["cpuset.mems"]), root.trim());
    }
}

fn a_real_time_budget_is_given_on_version_1_and_refused_on_version_2() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, cpu_rt_runtime: 2000}\n  b: {SLEEP, cpu_rt_runtime: 3000, cpu_rt_period: 500000}\n  c: {SLEEP, \
         cgroup_parent: hst-rt/below, cpu_rt_runtime: 1000}\n",
    );
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        hoist
            .run("up -d")
            .code(1)
            .says("compose.yaml:2:")
            .says("this host can't give `cpu_rt_runtime`")
            .says("this host can't give `cpu_rt_period`");
        return;
    }
    hoist.ok("up -d");
    let budget = |service| {
        let part = |name| hoist.cgroup_file(service, &[name]);
        (part("cpu.rt_runtime_us"), part("cpu.rt_period_us"))
    };
    assert_eq!(budget("a"), ("2000".into(), "1000000".into()));
    assert_eq!(budget("b"), ("3000".into(), "500000".into()));
    assert_eq!(budget("c"), ("1000".into(), "1000000".into()));
    // More than the whole host gives.
    hoist.compose("services:\n  a: {SLEEP, cpu_rt_runtime: 990000}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("cpu_rt_runtime")
        .says("all cgroups together");
}

fn memory_swap_and_reservation_are_limited_as_asked() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  plain: {SLEEP, mem_limit: 48m}\n  exact: {SLEEP, mem_limit: 48m, memswap_limit: 48m, mem_reservation: 16m}\n  more: \
         {SLEEP, mem_limit: 48m, memswap_limit: 64m}\n  free: {SLEEP, mem_limit: 48m, memswap_limit: -1}\n  zero: {SLEEP, mem_limit: 48m, \
         memswap_limit: 0}\n  deploy: {SLEEP, deploy: {resources: {limits: {memory: 32M}, reservations: {memory: 8M}}}}\n",
    );
    hoist.ok("up -d");
    let file = |service: &str, v1, v2| hoist.cgroup_file(service, &[v1, v2]);
    let memory = |service: &str| file(service, "memory.limit_in_bytes", "memory.max");
    let kept = |service: &str| file(service, "memory.soft_limit_in_bytes", "memory.low");
    // Swap alone, as version 2 counts; version 1 has both together.
    let swap = |service: &str| {
        if is_v2() {
            return hoist.cgroup_file(service, &["memory.swap.max"]);
        }
        let both: u64 = hoist
            .cgroup_file(service, &["memory.memsw.limit_in_bytes"])
            .parse()
            .expect("a number");
        let memory: u64 = memory(service).parse().expect("a number");
        match both > 1 << 60 {
            true => "max".to_owned(),
            false => (both - memory).to_string(),
        }
    };
    let mib = |number: u64| (number << 20).to_string();
    for (service, most, swapped) in [
        ("plain", 48, mib(48)),
        ("exact", 48, mib(0)),
        ("more", 48, mib(16)),
        ("free", 48, "max".to_owned()),
        ("zero", 48, mib(48)),
        ("deploy", 32, mib(32)),
    ] {
        assert_eq!(
            (memory(service), swap(service)),
            (mib(most), swapped),
            "{service}"
        );
    }
    assert_eq!((kept("exact"), kept("deploy")), (mib(16), mib(8)));
    let inside = by_version(
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory.max",
    );
    assert_eq!(hoist.sh("plain", &format!("cat {inside}")), mib(48));
}

fn swappiness_and_the_memory_killer_are_set_on_version_1_and_warned_of_on_version_2() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, mem_limit: 48m, mem_swappiness: 10, oom_kill_disable: true}\n  b: {SLEEP, mem_swappiness: 100}\n  c: {SLEEP, \
         oom_kill_disable: false, mem_swappiness: -1}\n  d: {SLEEP, oom_kill_disable: true}\n",
    );
    let up = hoist.ok("up -d");
    if is_v2() {
        up.says("compose.yaml:2:")
            .says("Memory swappiness discarded")
            .says("OomKillDisable discarded");
        return;
    }
    up.says("compose.yaml:5:")
        .says("OOM killer is disabled for the container, but no memory limit is set");
    let swappiness = |service| hoist.cgroup_file(service, &["memory.swappiness"]);
    assert_eq!(
        (swappiness("a"), swappiness("b")),
        ("10".into(), "100".into())
    );
    let killer = |service: &str| {
        let text = hoist.cgroup_file(service, &["memory.oom_control"]);
        text.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(
        (killer("a"), killer("c")),
        ("oom_kill_disable 1".into(), "oom_kill_disable 0".into())
    );
    assert_eq!(killer("d"), "oom_kill_disable 1");
}

fn the_memory_killer_prefers_a_container_as_asked() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, oom_score_adj: 321}\n  b: {SLEEP, oom_score_adj: 1000}\n  c: {SLEEP}\n");
    hoist.ok("up -d");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("our own");
    for (service, want) in [("a", "321"), ("b", "1000"), ("c", own.trim())] {
        assert_eq!(
            hoist.sh(service, "cat /proc/1/oom_score_adj"),
            want,
            "{service}"
        );
    }
    hoist.compose("services:\n  a: {SLEEP, oom_score_adj: -1001}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:2:")
        .says("-1000 to 1000");
}

fn the_number_of_processes_is_limited_as_asked() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, pids_limit: 10}\n  free: {SLEEP, pids_limit: -1}\n  zero: {SLEEP, pids_limit: 0}\n  deploy: {SLEEP, deploy: \
         {resources: {limits: {pids: 20}}}}\n",
    );
    hoist.ok("up -d");
    for (service, want) in [
        ("a", "10"),
        ("free", "max"),
        ("zero", "max"),
        ("deploy", "20"),
    ] {
        assert_eq!(hoist.cgroup_file(service, &["pids.max"]), want, "{service}");
    }
    let many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait";
    hoist.exec("a", many).says("fork");
}

fn shared_memory_has_the_size_asked_for() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, shm_size: 8m}\n  b: {SLEEP}\n  c: {SLEEP, shm_size: 0}\n  d: {SLEEP, shm_size: 1048576}\n");
    hoist.ok("up -d");
    for (service, want) in [("a", "8192"), ("b", "65536"), ("c", "65536"), ("d", "1024")] {
        assert_eq!(
            hoist.sh(service, "df -k /dev/shm | awk 'END{print $2}'"),
            want,
            "{service}"
        );
    }
    let line = "dd if=/dev/zero of=/dev/shm/f bs=1024 count=1025 2>&1";
    assert_ne!(
        hoist.exec("d", line).code,
        0,
        "more than its size was written"
    );
}

/// A disk of this machine: its node and its number.
fn disk() -> (PathBuf, String) {
    let found = children(Path::new("/sys/block"))
        .into_iter()
        .find_map(|dir| {
            let node = Path::new("/dev").join(dir.file_name()?);
            let number = std::fs::read_to_string(dir.join("dev")).ok()?;
            node.exists().then(|| (node, number.trim().to_owned()))
        });
    found.expect("a block device")
}

/// Lines of the files of a service's block limits, each once.
fn block_lines(hoist: &Sandbox, service: &str, names: &[&str]) -> BTreeSet<String> {
    let dirs = hoist.cgroups(service);
    let files = dirs
        .iter()
        .flat_map(|dir| names.iter().map(|name| dir.join(name)));
    let texts: Vec<String> = files
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    texts
        .iter()
        .flat_map(|text| text.lines())
        .map(str::to_owned)
        .collect()
}

/// Held by the cases that look at weights of disks: choosing bfq loads it, and all cgroups have its files from then on, those of running containers too.
static WEIGHTS: Mutex<()> = Mutex::new(());

fn block_devices_are_limited_by_their_numbers() {
    let _weights = WEIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
    let hoist = Sandbox::new();
    let (node, number) = disk();
    let list = |rate: &str| format!("[{{path: {}, rate: {rate}}}]", node.display());
    hoist.compose(&format!(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    blkio_config:\n      weight: 300\n      \
         device_read_bps: {}\n      device_write_bps: {}\n      device_read_iops: {}\n      device_write_iops: {}\n  b: {{SLEEP, \
         blkio_config: {{device_read_bps: {}}}}}\n",
        list("'1mb'"),
        list("2m"),
        list("30"),
        list("'40'"),
        list("0")
    ));
    let up = hoist.ok("up -d");
    if is_v2() {
        let want = format!("{number} rbps=1048576 wbps=2097152 riops=30 wiops=40");
        assert_eq!(hoist.cgroup_file("a", &["io.max"]), want);
        assert_eq!(
            hoist.cgroup_file("b", &["io.max"]),
            "",
            "no rate is no limit"
        );
    } else {
        for (file, rate) in [
            ("read_bps", "1048576"),
            ("write_bps", "2097152"),
            ("read_iops", "30"),
            ("write_iops", "40"),
        ] {
            let file = format!("blkio.throttle.{file}_device");
            assert_eq!(
                hoist.cgroup_file("a", &[&file]),
                format!("{number} {rate}"),
                "{file}"
            );
        }
        assert_eq!(
            hoist.cgroup_file("b", &["blkio.throttle.read_bps_device"]),
            "",
            "no rate is no limit"
        );
    }
    let weights = block_lines(
        &hoist,
        "a",
        &[
            "blkio.weight",
            "blkio.bfq.weight",
            "io.bfq.weight",
            "io.weight",
        ],
    );
    if weights.is_empty() {
        up.says("Weight discarded").says("modprobe bfq");
    } else {
        let known = ["300", "default 300", "default 2930"];
        assert!(
            weights.iter().all(|line| known.contains(&line.as_str())),
            "{weights:?}"
        );
    }
}

/// A loop device of a test, given back at its end.
struct Loop {
    tool: PathBuf,
    node: String,
    scheduler: PathBuf,
    before: String,
}

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        let tool = program("losetup")?;
        let made = Command::new(&tool)
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .ok()?;
        let node = String::from_utf8(made.stdout).ok()?.trim().to_owned();
        let name = node.strip_prefix("/dev/")?;
        let scheduler = PathBuf::from(format!("/sys/block/{name}/queue/scheduler"));
        let list = std::fs::read_to_string(&scheduler).unwrap_or_default();
        let before = list.split(['[', ']']).nth(1).unwrap_or("none").to_owned();
        Some(Self {
            tool,
            node,
            scheduler,
            before,
        })
    }
    fn number(&self) -> String {
        let name = self.node.trim_start_matches("/dev/");
        let number = std::fs::read_to_string(format!("/sys/block/{name}/dev"));
        number.expect("a number").trim().to_owned()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(std::fs::write(&self.scheduler, &self.before));
        drop(
            Command::new(&self.tool)
                .args(["--detach", &self.node])
                .status(),
        );
    }
}

fn a_block_device_with_a_scheduler_for_it_gets_its_weight() {
    let _weights = WEIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
    let hoist = Sandbox::new();
    let file = hoist.file("disk", vec![0; 1 << 20]);
    let Some(device) = Loop::new(&file) else {
        // No loop device can be had here: what is told of a disk that knows no weights is another case's.
        return;
    };
    let compose = format!(
        "services:\n  a: {{SLEEP, blkio_config: {{weight: 300, weight_device: [{{path: {}, weight: 200}}]}}}}\n",
        device.node
    );
    hoist.compose(&compose);
    std::fs::write(&device.scheduler, "none").expect("each disk can have none");
    hoist
        .ok("up -d")
        .says("compose.yaml:2:")
        .says("Weight-device discarded");
    hoist.ok("down");
    if std::fs::write(&device.scheduler, "bfq").is_err() {
        return;
    }
    hoist.ok("up -d");
    let lines = block_lines(&hoist, "a", &["blkio.bfq.weight_device", "io.bfq.weight"]);
    let want = format!("{} 200", device.number());
    assert!(lines.contains(&want), "no {want} in {lines:?}");
    hoist.ok("down");
}

/// Roots of the hierarchies.
fn roots() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a table of mounts");
    let mounts = table.lines().filter(|line| line.contains(" - cgroup"));
    mounts
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect()
}

fn a_container_lives_below_its_cgroup_parent_and_takes_it_along() {
    let hoist = Sandbox::new();
    let parent = format!("hst-{}-a.slice/hst-b-c.slice", std::process::id());
    let top = parent.split('/').next().expect("a first part").to_owned();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, cgroup_parent: {parent}, mem_limit: 48m}}\n  b: {{SLEEP, cgroup_parent: /{top}/}}\n"
    ));
    hoist.ok("up -d");
    for (service, parent) in [("a", &parent), ("b", &top)] {
        let dirs = hoist.cgroups(service);
        assert_eq!(dirs.len(), roots().len(), "{dirs:?}");
        for root in roots() {
            let below = root.join(parent);
            let dir = dirs.iter().find(|dir| dir.parent() == Some(&below));
            let dir = dir.unwrap_or_else(|| panic!("none below {} in {dirs:?}", below.display()));
            let pids = std::fs::read_to_string(dir.join("cgroup.procs")).expect("a cgroup");
            let init = hoist.init(service).to_string();
            assert!(pids.lines().any(|pid| pid == init), "{}", dir.display());
        }
    }
    let limit = hoist.cgroup_file("a", &["memory.max", "memory.limit_in_bytes"]);
    assert_eq!(limit, (48 << 20).to_string());
    hoist.ok("rm -fs a");
    let is_there = |path: &str| roots().iter().any(|root| root.join(path).exists());
    assert!(!is_there(&parent) && is_there(&top));
    hoist.ok("down");
    assert!(!is_there(&top), "the directory stays");
}

/// Directories in each hierarchy that a test makes, removed at its end.
struct Parent(String);

impl Parent {
    fn new(name: &str) -> Self {
        for root in roots() {
            std::fs::create_dir(root.join(name)).expect("cgroups can be made");
        }
        Self(name.to_owned())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for root in roots() {
            drop(std::fs::remove_dir(root.join(&self.0)));
        }
    }
}

fn a_cgroup_parent_of_somebody_else_stays_and_holds_its_containers() {
    let parent = Parent::new(&format!("hst-{}-p", std::process::id()));
    let hoist = Sandbox::new();
    let dir = |controller: &str| match is_v2() {
        true => Path::new("/sys/fs/cgroup").join(&parent.0),
        false => Path::new("/sys/fs/cgroup").join(controller).join(&parent.0),
    };
    // What its owner limits holds for the containers in it.
    std::fs::write(dir("pids").join("pids.max"), "5").expect("it is ours");
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, cgroup_parent: {}}}\n",
        parent.0
    ));
    hoist.ok("up -d");
    hoist
        .exec("a", "for i in 1 2 3 4 5 6 7; do sleep 5 & done; wait")
        .says("fork");
    hoist.ok("down");
    let limit = std::fs::read_to_string(dir("pids").join("pids.max")).expect("it is still there");
    assert_eq!(limit.trim(), "5");
}

fn limits_are_set_again_at_each_start() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, mem_limit: 48m, cpus: 0.5, pids_limit: 50}\n");
    hoist.ok("up -d");
    let first = hoist.init("a");
    hoist.ok("restart");
    assert_ne!(hoist.init("a"), first);
    let limit = hoist.cgroup_file("a", &["memory.max", "memory.limit_in_bytes"]);
    assert_eq!(limit, (48 << 20).to_string());
    assert_eq!(cpu_max(&hoist, "a"), "50000 100000");
    assert_eq!(hoist.cgroup_file("a", &["pids.max"]), "50");
}

fn numbers_out_of_range_are_faults_with_their_place_before_anything_starts() {
    let hoist = Sandbox::new();
    let partition = children(Path::new("/sys/class/block")).into_iter();
    let partition = partition.filter(|dir| dir.join("partition").exists());
    let partition = partition.filter_map(|dir| Some(Path::new("/dev").join(dir.file_name()?)));
    let partition = partition.filter(|node| node.exists()).map(|node| {
        let keys = format!(
            "blkio_config: {{device_read_bps: [{{path: {}, rate: 1m}}]}}",
            node.display()
        );
        (keys, "is a partition")
    });
    let cases = [
        ("mem_limit: 6143k", "expected at least 6m"),
        ("mem_limit: -1", "expected at least 6m"),
        ("memswap_limit: 10m", "says nothing without mem_limit"),
        (
            "mem_limit: 20m, memswap_limit: 10m",
            "expected at least `mem_limit`",
        ),
        (
            "mem_limit: 20m, memswap_limit: -2",
            "memswap_limit -2 is out of range",
        ),
        ("mem_reservation: 1m", "expected at least 6m"),
        (
            "mem_limit: 10m, mem_reservation: 20m",
            "more than the memory limit",
        ),
        ("mem_swappiness: 101", "expected 0 to 100"),
        ("cpus: 4096", "cpus 4096 is too much"),
        ("cpus: 0.009", "expected 0.01 to"),
        ("cpus: -1", "expected 0.01 to"),
        (
            "deploy: {resources: {limits: {cpus: '4096'}}}",
            "cpus 4096 is too much",
        ),
        (
            "cpus: 1, cpu_quota: 5000",
            "`cpus` and `cpu_quota` say the same twice",
        ),
        (
            "cpus: 1, cpu_period: 50000",
            "`cpus` and `cpu_period` say the same twice",
        ),
        (
            "cpus: 1, deploy: {resources: {limits: {cpus: '0.5'}}}",
            "differ",
        ),
        (
            "pids_limit: 9, deploy: {resources: {limits: {pids: 5}}}",
            "differ",
        ),
        ("cpu_quota: 999", "expected at least 1000"),
        ("cpu_period: 999", "expected 1000 to 1000000"),
        ("cpu_period: 1000001", "expected 1000 to 1000000"),
        ("cpu_shares: 1", "expected 2 to 262144"),
        ("cpu_shares: 262145", "expected 2 to 262144"),
        ("cpu_rt_runtime: -1", "expected at least 1"),
        ("cpuset: 0-8191", "names CPUs that are not there"),
        ("cpuset: '1-0'", "is no list of CPUs"),
        ("cpuset: all", "is no list of CPUs"),
        ("pids_limit: 4194305", "expected 1 to 4194304"),
        ("oom_score_adj: 1001", "expected -1000 to 1000"),
        ("shm_size: -1", "shm_size -1 is below zero"),
        ("blkio_config: {weight: 9}", "expected 10 to 1000"),
        ("blkio_config: {weight: 1001}", "expected 10 to 1000"),
        (
            "blkio_config: {weight_device: [{path: /dev/null, weight: 9}]}",
            "expected 10 to 1000",
        ),
        (
            "blkio_config: {device_read_bps: [{path: /dev/null, rate: 1m}]}",
            "is no block device",
        ),
        (
            "blkio_config: {device_write_bps: [{path: /dev/nothing, rate: 1m}]}",
            "is not there",
        ),
        (
            "blkio_config: {device_read_iops: [{path: sda, rate: 5}]}",
            "is no absolute path",
        ),
        (
            "blkio_config: {device_write_iops: [{path: /dev/null, rate: 4294967296}]}",
            "expected 0 to 4294967295",
        ),
        ("cgroup_parent: ../../x", "leads out of the cgroups"),
        ("cgroup_parent: /a/../b", "leads out of the cgroups"),
    ];
    let cases = cases.map(|(keys, says)| (keys.to_owned(), says));
    for (keys, says) in cases.into_iter().chain(partition.take(1)) {
        hoist.compose(&format!(
            "services:\n  good: {{SLEEP}}\n  bad: {{SLEEP, {keys}}}\n"
        ));
        hoist
            .run("up -d")
            .code(1)
            .says("compose.yaml:3:")
            .says(says);
        hoist.compose("services:\n  good: {SLEEP}\n");
        assert_eq!(hoist.ps(), Vec::<serde_json::Value>::new(), "{keys}");
    }
    // All at once.
    hoist.compose("services:\n  a: {SLEEP, mem_limit: 1m}\n  b: {SLEEP, cpu_shares: 1, pids_limit: 9999999}\n");
    let all = hoist.run("up -d").code(1);
    all.says("compose.yaml:2:")
        .says("mem_limit")
        .says("cpu_shares")
        .says("pids_limit");
}

fn limits_that_this_host_can_not_give_are_told() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    cpu_percent: 50\n    cpu_count: 1\n");
    hoist
        .ok("up -d")
        .says("compose.yaml:6:")
        .says("cpu_percent")
        .says("cpu_count");
    // Nothing to tell where nothing is lacking.
    hoist.compose(
        "services:\n  b: {SLEEP, mem_limit: 48m, cpus: 0.5, pids_limit: 50, cpu_shares: 100}\n",
    );
    let done = hoist.ok("up -d --remove-orphans");
    assert!(!done.all().contains("warning"), "{}", done.all());
}

fn a_one_off_container_has_the_limits_and_warnings_of_its_service() {
    let hoist = Sandbox::new();
    let (file, want) = match is_v2() {
        true => ("/sys/fs/cgroup/pids.max", "mem_swappiness: 10"),
        false => ("/sys/fs/cgroup/pids/pids.max", "oom_kill_disable: true"),
    };
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, pids_limit: 33, {want}}}\n"
    ));
    let done = hoist.ok(&format!("run --rm -T a cat {file}"));
    assert_eq!(done.out.trim(), "33");
    done.says("compose.yaml:2:");
    hoist.compose("services:\n  a: {SLEEP, mem_limit: 1m}\n");
    hoist
        .run("run --rm -T a true")
        .code(1)
        .says("expected at least 6m");
}
