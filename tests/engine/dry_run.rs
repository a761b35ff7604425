//! `--dry-run`: every command tells what it would do, in docker compose's lines, and changes nothing.
//!
//! "Nothing" is compared byte by byte: everything below the data and the run directory, the project, the firewall.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_dry_run_on_a_fresh_machine_makes_not_even_a_directory,
    no_command_changes_anything_in_a_dry_run,
    the_lines_of_a_dry_run_are_those_of_docker_compose,
    what_can_not_tell_what_it_would_do_is_refused,
);

/// Everything below some directories: kind, mode, owner, time and content of each path.
pub(super) type Listing = BTreeMap<PathBuf, String>;

/// The whole state of a sandbox.
pub(super) fn listing(hoist: &Sandbox) -> Listing {
    let mut all = Listing::new();
    for root in [hoist.data(), hoist.run_root(), hoist.dir()] {
        walk(&root, &mut all);
    }
    all.insert("nft".into(), hoist.tables().join("\n"));
    all
}

fn walk(path: &Path, all: &mut Listing) {
    let Ok(found) = path.symlink_metadata() else {
        return;
    };
    let content = match found.file_type() {
        kind if kind.is_file() => format!("{:?}", std::fs::read(path).unwrap_or_default()),
        kind if kind.is_symlink() => format!("{:?}", path.read_link().ok()),
        _ => String::new(),
    };
    let (mode, owner, time) = (
        found.mode(),
        found.uid(),
        (found.mtime(), found.mtime_nsec()),
    );
    all.insert(
        path.to_owned(),
        format!("{mode:o} {owner} {time:?} {content}"),
    );
    // What a container sees is mounted there; it is listed where it comes from.
    if found.is_dir() && !path.ends_with("rootfs") {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), all);
        }
    }
}

/// Paths that differ.
pub(super) fn differences(before: &Listing, after: &Listing) -> Vec<PathBuf> {
    let paths = before.keys().chain(after.keys());
    let mut all: Vec<PathBuf> = paths
        .filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect();
    all.dedup();
    all
}

const PROJECT: &str = "services:\n  a: {SLEEP, environment: {V: '1'}, volumes: ['data:/data'], networks: [n]}\n  b: {build: ., image: made, \
                       command: sleep 3600, stop_signal: SIGKILL, networks: [n]}\nvolumes: {data: }\nnetworks: {n: }\n";

fn a_dry_run_on_a_fresh_machine_makes_not_even_a_directory() {
    let hoist = Sandbox::empty();
    hoist.file("Dockerfile", "FROM tiny\nRUN true\n");
    hoist.compose(PROJECT);
    let before = listing(&hoist);
    for command in [
        "up -d",
        "up --build",
        "create",
        "build",
        "pull",
        "push",
        "run --rm a true",
        "down -v",
        "kill",
        "rm -fs",
    ] {
        hoist.ok(&format!("--dry-run {command}"));
        let changed = differences(&before, &listing(&hoist));
        assert_eq!(changed, Vec::<PathBuf>::new(), "{command}");
    }
    hoist
        .run("plan")
        .code(2)
        .says("not here yet")
        .says("known once it is pulled");
    assert_eq!(
        differences(&before, &listing(&hoist)),
        Vec::<PathBuf>::new()
    );
    assert!(!hoist.data().exists() && !hoist.run_root().exists());
}

fn no_command_changes_anything_in_a_dry_run() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN true\n");
    hoist.compose(PROJECT);
    hoist.ok("up -d");
    hoist.compose(&PROJECT.replace("V: '1'", "V: '2'"));
    let before = listing(&hoist);
    let ids = (hoist.id("a"), hoist.id("b"));
    for command in [
        "up -d",
        "up",
        "up -d --build --force-recreate",
        "up -d --scale a=3 -V",
        "create",
        "build --no-cache",
        "pull",
        "push",
        "restart",
        "stop",
        "kill",
        "kill -s HUP",
        "rm -fsv",
        "down -v --rmi all",
        "run --rm a true",
        "start",
        "cp Dockerfile a:/new",
        "cp a:/etc/hostname here",
        "lock",
    ] {
        hoist
            .run(&format!("--dry-run {command}"))
            .says_nothing_of("panicked");
        let changed = differences(&before, &listing(&hoist));
        assert_eq!(changed, Vec::<PathBuf>::new(), "{command}");
    }
    for command in [
        "plan",
        "plan --build --format json",
        "plan --force-recreate --format svg",
        "graph",
    ] {
        let _done = hoist.run(command);
        let changed = differences(&before, &listing(&hoist));
        assert_eq!(changed, Vec::<PathBuf>::new(), "{command}");
    }
    assert_eq!((hoist.id("a"), hoist.id("b")), ids);
    assert_eq!(
        (hoist.state("a"), hoist.state("b")),
        ("running".into(), "running".into())
    );
}

fn the_lines_of_a_dry_run_are_those_of_docker_compose() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, networks: [n]}\nnetworks: {n: }\n");
    let name = &hoist.name;
    let dry = |lines: &[String]| -> String {
        let all = lines
            .iter()
            .map(|line| format!(" DRY-RUN MODE -  {line}\n"));
        all.collect()
    };
    let container = |word: &str| format!("Container {name}-a-1  {word}");
    let network = |word: &str| format!("Network {name}_n  {word}");
    let done = hoist.ok("--dry-run up -d");
    let fresh = [
        network("Creating"),
        network("Created"),
        container("Creating"),
        container("Created"),
        container("Starting"),
        container("Started"),
    ];
    assert_eq!((done.out.as_str(), done.err), ("", dry(&fresh)));
    hoist.ok("up -d");
    let done = hoist.ok("up -d --dry-run");
    assert_eq!(done.err, dry(&[container("Running")]));
    let done = hoist.ok("--dry-run stop");
    assert_eq!(
        done.err,
        dry(&[container("Stopping"), container("Stopped")])
    );
    let json = hoist.ok("--dry-run --progress json kill").err;
    let line = json.lines().nth(1).expect("a line");
    assert!(
        line.starts_with(&format!(
            "{{\"id\":\"Container {name}-a-1\",\"status\":\"Killing\",\"dry-run\":true"
        )),
        "{json}"
    );
}

fn what_can_not_tell_what_it_would_do_is_refused() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let before = listing(&hoist);
    // As docker compose.
    hoist
        .run("--dry-run exec a touch /made")
        .code(1)
        .says("interactive exec is not supported in dry-run mode");
    for command in [
        "image rm -f tiny",
        "image prune -af",
        "cache prune -af",
        "system prune -af",
        "image tag tiny other",
    ] {
        hoist
            .run(&format!("--dry-run {command}"))
            .code(1)
            .says("nothing was done");
    }
    assert_eq!(
        differences(&before, &listing(&hoist)),
        Vec::<PathBuf>::new()
    );
    hoist.ok("--dry-run image ls");
}
