//! `hoist doctor` against the kernel's own files.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::leftovers::children;
use crate::harness::process::finish;
use crate::harness::{ENGINE, Sandbox, hoist, program};

crate::cases!(ENGINE;
    rows_agree_with_the_files_of_the_kernel,
    limits_agree_with_the_files_of_cgroups,
    the_page_fits_80_columns_and_says_what_mends_each_fault,
    looking_changes_nothing,
    an_ordinary_user_is_told_what_can_not_be_seen,
    described_devices_are_named_and_wrong_descriptions_told,
    a_data_directory_that_can_hold_nothing_is_an_error,
    a_format_that_is_not_known_is_refused,
);

/// The whole answer.
fn answer(hoist: &Sandbox) -> Value {
    let done = hoist.global(&["doctor", "--format", "json"]);
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {}", done.story()))
}

/// A field of a row.
fn field(answer: &Value, row: &str, field: &str) -> String {
    let rows = answer["checks"].as_array().expect("a list of checks");
    let found = rows.iter().find(|check| check["name"] == row);
    let found = found.unwrap_or_else(|| panic!("no row {row} in {answer}"));
    found[field].as_str().unwrap_or_default().to_owned()
}

fn text(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

fn rows_agree_with_the_files_of_the_kernel() {
    let hoist = Sandbox::empty();
    let answer = answer(&hoist);
    let status = |row: &str| field(&answer, row, "status");
    let found = |row: &str| field(&answer, row, "found");
    assert_eq!(answer["ok"], true, "these cases start containers: {answer}");
    let release = text("/proc/sys/kernel/osrelease").expect("a version");
    assert_eq!(found("kernel"), format!("Linux {release}"));
    let overlay = text("/proc/filesystems")
        .expect("a list")
        .contains("\toverlay");
    assert_eq!(status("overlayfs") == "ok", overlay);
    let on = text("/sys/module/apparmor/parameters/enabled").is_some_and(|text| text == "Y");
    assert_eq!(found("AppArmor").starts_with("on"), on);
    let actions = text("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    assert_eq!(status("seccomp") == "ok", actions.contains("errno"));
    let most = text("/proc/sys/user/max_user_namespaces").expect("a number");
    assert!(
        found("user namespaces").contains(&most),
        "{}",
        found("user namespaces")
    );
    let forward = text("/proc/sys/net/ipv4/ip_forward").expect("a number");
    assert_eq!(
        found("IP forwarding"),
        if forward == "1" { "on" } else { "off" }
    );
    if let Some(most) = text("/proc/sys/net/netfilter/nf_conntrack_max") {
        assert!(
            found("conntrack").contains(&format!("of {most} ")),
            "{}",
            found("conntrack")
        );
    }
    let inotify = |name: &str| text(&format!("/proc/sys/fs/inotify/{name}")).expect("a number");
    let want = format!(
        "{} instances and {} watches a user",
        inotify("max_user_instances"),
        inotify("max_user_watches")
    );
    assert_eq!(found("inotify"), want);
    let limits = text("/proc/self/limits").expect("a table");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = files
        .and_then(|line| line.split_whitespace().nth(4))
        .expect("a hard limit");
    assert!(
        found("open files").contains(hard),
        "{}",
        found("open files")
    );
    assert_eq!(found("KVM") == "/dev/kvm", Path::new("/dev/kvm").exists());
    let names: Vec<String> = found("namespaces").split(' ').map(str::to_owned).collect();
    assert!(
        names.len() >= 5
            && names
                .iter()
                .all(|name| Path::new("/proc/self/ns").join(name).exists()),
        "{names:?}"
    );
    let resources = text("/proc/self/status").expect("a table");
    let effective = resources
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.expect("a row").trim(), 16).expect("a number");
    // CAP_SYS_RESOURCE is 24. Source: linux/capability.h.
    assert_eq!(status("rights") == "ok", effective & 1 << 24 != 0);
    let data = hoist.data().display().to_string();
    assert!(
        found("data directory").starts_with(&format!("{data} on ")),
        "{}",
        found("data directory")
    );
}

fn limits_agree_with_the_files_of_cgroups() {
    let hoist = Sandbox::new();
    // So that there is a cgroup with files to compare with.
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let dirs = hoist.cgroups("a");
    let has = |names: &[&str]| {
        names
            .iter()
            .any(|name| dirs.iter().any(|dir| dir.join(name).exists()))
    };
    let answer = answer(&hoist);
    for (row, files) in [
        ("CPU limits", &["cpu.cfs_quota_us", "cpu.max"][..]),
        ("CPU sets", &["cpuset.cpus"]),
        ("memory limits", &["memory.limit_in_bytes", "memory.max"]),
        (
            "swap accounting",
            &["memory.memsw.limit_in_bytes", "memory.swap.max"],
        ),
        ("process limits", &["pids.max"]),
        (
            "block I/O rates",
            &["blkio.throttle.read_bps_device", "io.max"],
        ),
        (
            "block I/O weights",
            &[
                "blkio.weight",
                "blkio.bfq.weight",
                "io.weight",
                "io.bfq.weight",
            ],
        ),
        ("cgroup.kill", &["cgroup.kill"]),
        ("freezer", &["freezer.state", "cgroup.freeze"]),
    ] {
        assert_eq!(
            field(&answer, row, "status") == "ok",
            has(files),
            "{row}: {answer}"
        );
    }
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(field(&answer, "cgroups", "found") == "version 2", unified);
}

fn the_page_fits_80_columns_and_says_what_mends_each_fault() {
    let hoist = Sandbox::empty();
    let page = hoist.global(&["doctor"]).ok().out;
    assert!(
        page.starts_with("STATUS    CHECK               FOUND\n"),
        "{page}"
    );
    let mend = |line: &&str| line.starts_with("          mend: ");
    for line in page.lines().filter(|line| !mend(line)) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let answer = answer(&hoist);
    let rows = answer["checks"].as_array().expect("a list of checks");
    for row in rows {
        let told = ["found", "means"]
            .iter()
            .all(|name| row[name].as_str().is_some_and(|text| !text.is_empty()));
        assert!(told, "{row}");
        let faulty = matches!(row["status"].as_str(), Some("degraded" | "missing"));
        assert!(!faulty || row["mend"].is_string(), "no command mends {row}");
    }
    let faults = rows
        .iter()
        .filter(|row| matches!(row["status"].as_str(), Some("degraded" | "missing")));
    assert_eq!(page.lines().filter(mend).count(), faults.count(), "{page}");
    assert!(
        page.trim_end().ends_with("containers can run here"),
        "{page}"
    );
}

/// What a look could leave behind.
fn traces() -> Vec<PathBuf> {
    let places = ["/sys/class/net", "/run/netns", "/sys/module"];
    places
        .iter()
        .flat_map(|place| children(Path::new(place)))
        .collect()
}

fn looking_changes_nothing() {
    let hoist = Sandbox::empty();
    // The first look may load modules.
    hoist.global(&["doctor"]).ok();
    let links = |traces: &[PathBuf]| traces.iter().filter(|path| path.ends_with("probe")).count();
    assert_eq!(links(&traces()), 0);
    assert!(
        !hoist.data().exists() && !hoist.run_root().exists(),
        "directories were made"
    );
    let tables = program("nft").map(|nft| Command::new(nft).args(["list", "tables"]).output());
    if let Some(Ok(tables)) = tables {
        assert!(
            !String::from_utf8_lossy(&tables.stdout).contains("probe"),
            "a table stays"
        );
    }
}

fn an_ordinary_user_is_told_what_can_not_be_seen() {
    let sandbox = Sandbox::empty();
    // The binary may lie where others can't go.
    let binary = sandbox.dir().join("hoist");
    std::fs::copy(hoist(), &binary).expect("the binary can be copied");
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))
        .expect("the owner may");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command
            .env_clear()
            .env("HOME", "/")
            .args(arguments)
            .uid(65534)
            .gid(65534);
        finish(command, None, std::time::Duration::from_secs(60))
    };
    run(&["doctor"])
        .code(1)
        .says("missing   rights")
        .says("mend: sudo hoist doctor")
        .says("can't run here yet");
    let done = run(&["doctor", "--format", "json"]).code(1);
    let answer: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(answer["ok"], false);
    for row in ["nftables", "bridge and veth"] {
        assert_eq!(field(&answer, row, "status"), "unknown", "{row}");
    }
    assert_eq!(field(&answer, "openat2", "status"), "ok");
}

fn described_devices_are_named_and_wrong_descriptions_told() {
    let hoist = Sandbox::empty();
    let place = hoist.dir().join("cdi");
    hoist.set("HOIST_CDI_DIRS", &place.display().to_string());
    let row = |name: &str| field(&answer(&hoist), "CDI devices", name);
    if !Path::new("/dev/nvidiactl").exists() {
        assert_eq!(row("status"), "ok");
        assert!(
            row("found").contains(&place.display().to_string()),
            "{}",
            row("found")
        );
    }
    let device = r#"{"name": "one", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}]}}"#;
    let text =
        format!(r#"{{"cdiVersion": "0.6.0", "kind": "maker.com/thing", "devices": [{device}]}}"#);
    hoist.file("cdi/maker.json", &text);
    assert!(
        row("found").contains("maker.com/thing=one"),
        "{}",
        row("found")
    );
    hoist.file("cdi/maker.json", &text[1..]);
    assert_eq!(row("status"), "degraded");
    assert!(row("found").contains("maker.json"), "{}", row("found"));
}

fn a_data_directory_that_can_hold_nothing_is_an_error() {
    let sandbox = Sandbox::empty();
    let Some(unshare) = program("unshare") else {
        return;
    };
    let place = sandbox.dir().join("place");
    std::fs::create_dir(&place).expect("the project is writable");
    let run = |options: &str| {
        let mut command = Command::new(&unshare);
        let line = format!(
            "mount -t tmpfs {options} none {0} && HOIST_DATA_ROOT={0}/data exec {1} doctor",
            place.display(),
            hoist().display()
        );
        command.args(["-m", "sh", "-c", &line]);
        finish(command, None, std::time::Duration::from_secs(60))
    };
    run("-o ro")
        .code(1)
        .says("missing   data directory")
        .says("read-only")
        .says("export HOIST_DATA_ROOT=");
    run("-o noexec,nosuid")
        .ok()
        .says("degraded  data directory")
        .says("nosuid,noexec");
    run("-o size=1m")
        .ok()
        .says("degraded  data directory")
        .says("may not fit");
}

fn a_format_that_is_not_known_is_refused() {
    let sandbox = Sandbox::empty();
    sandbox
        .global(&["doctor", "--format", "xml"])
        .code(1)
        .says("table or json");
}
