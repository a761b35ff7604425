//! What is on disk: after a reboot, of other times, of other processes, broken.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::leftovers::children;
use crate::harness::process::{is_alive, kill_and_wait};
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    after_a_reboot_ps_shows_exited_and_up_brings_everything_back,
    after_a_reboot_down_leaves_nothing,
    after_a_reboot_a_fixed_address_is_free_again,
    a_process_that_only_has_the_number_is_never_signalled,
    records_from_the_future_and_the_past_change_nothing,
    a_broken_record_is_named_and_other_projects_go_on,
    a_record_of_a_newer_version_is_left_alone,
    links_planted_among_the_records_are_not_followed,
    a_container_whose_directory_is_half_gone_is_taken_away,
);

const STORE: &str = "\
services:
  a: {SLEEP, volumes: ['data:/data'], restart: always, networks: {n: {ipv4_address: 10.213.7.9}}, ports: ['127.0.0.1::80']}
  b: {SLEEP, networks: [n]}
volumes: {data: }
networks: {n: {ipam: {config: [{subnet: 10.213.7.0/24}]}}}
";

/// Cases run side by side, each on a subnet of its own.
fn number(hoist: &Sandbox) -> u32 {
    let number: u32 = hoist
        .name
        .trim_start_matches('t')
        .parse()
        .expect("a number");
    number % 250
}

fn store(hoist: &Sandbox) -> String {
    STORE.replace("10.213.7.", &format!("10.213.{}.", number(hoist)))
}

/// The directory of a service's container in `<data>`.
fn dir(hoist: &Sandbox, service: &str) -> PathBuf {
    let id = hoist.id(service);
    let all = hoist.data().join("projects").join(&hoist.name);
    children(&all.join("containers"))
        .into_iter()
        .find(|dir| dir.to_string_lossy().contains(&id))
        .expect("its directory")
}

fn change(path: &std::path::Path, edit: impl FnOnce(&mut Value)) {
    let text = std::fs::read(path).expect("the file is there");
    let mut value = serde_json::from_slice(&text).expect("it is JSON");
    edit(&mut value);
    std::fs::write(path, value.to_string()).expect("it can be written");
}

/// What a reboot leaves: nothing in the kernel, nothing in `<run>`, and records of another boot.
fn reboot(hoist: &Sandbox) {
    for service in ["a", "b"] {
        let state = dir(hoist, service).join("state.json");
        change(&state, |value| {
            value["process"]["boot"] = json!("00000000-0000-4000-8000-000000000000");
        });
    }
    hoist.notice();
    hoist.wipe_kernel();
    std::fs::remove_dir_all(hoist.run_root()).expect("nothing is mounted there any more");
}

fn after_a_reboot_ps_shows_exited_and_up_brings_everything_back() {
    let hoist = Sandbox::new();
    hoist.compose(&store(&hoist));
    hoist.ok("up -d");
    hoist.sh("a", "echo kept > /data/f; echo own > /own");
    let id = hoist.id("a");
    reboot(&hoist);
    assert_eq!(hoist.state("a"), "exited");
    assert_ne!(hoist.exit_code("a"), 0, "an end nobody saw is no success");
    hoist.ok("up -d");
    assert_eq!((hoist.state("a"), hoist.id("a")), ("running".into(), id));
    assert_eq!(hoist.sh("a", "cat /data/f /own"), "kept\nown");
    assert!(
        hoist
            .sh("a", "ip -4 addr")
            .contains(&format!("10.213.{}.9/24", number(&hoist)))
    );
    hoist.sh("b", "ping -c1 -W2 a");
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}

fn after_a_reboot_down_leaves_nothing() {
    let hoist = Sandbox::new();
    hoist.compose(&store(&hoist));
    hoist.ok("up -d");
    reboot(&hoist);
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}

fn after_a_reboot_a_fixed_address_is_free_again() {
    let hoist = Sandbox::new();
    hoist.compose(&store(&hoist));
    hoist.ok("up -d");
    reboot(&hoist);
    // Another container wants the address.
    hoist.compose(&store(&hoist).replace("command: sleep 3600", "command: sleep 3601"));
    hoist.ok("rm -f a");
    hoist.ok("up -d --force-recreate");
    assert!(
        hoist
            .sh("a", "ip -4 addr")
            .contains(&format!("10.213.{}.9/24", number(&hoist)))
    );
}

fn a_process_that_only_has_the_number_is_never_signalled() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    let mut canary = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .expect("there is a sleep");
    let pid = i32::try_from(canary.id()).expect("a process id fits");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit_once(") ").expect("a name in parentheses").1;
    let start: u64 = rest
        .split(' ')
        .nth(19)
        .and_then(|f| f.parse().ok())
        .expect("a start time");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let others = [
        json!({"pid": pid, "start": start + 1, "boot": boot.trim()}),
        json!({"pid": pid, "start": start, "boot": "00000000-0000-4000-8000-000000000000"}),
    ];
    for command in [
        "up -d -t 0",
        "stop -t 0",
        "kill",
        "restart -t 0",
        "rm -sf",
        "down -t 0",
    ] {
        for process in &others {
            hoist.ok("up -d");
            let state = dir(&hoist, "a").join("state.json");
            let init = hoist.init("a");
            kill_and_wait(hoist.supervisor("a"));
            kill_and_wait(init);
            change(&state, |value| value["process"] = process.clone());
            // Whether it has anything to do does not matter here.
            let _ = hoist.run(command);
            assert!(is_alive(pid), "`{command}` has signalled a stranger");
        }
    }
    hoist.ok("down -t 0");
    canary
        .kill()
        .and_then(|()| canary.wait().map(drop))
        .expect("it still runs");
}

fn records_from_the_future_and_the_past_change_nothing() {
    let hoist = Sandbox::new();
    let check = "healthcheck: {test: 'true', interval: 200ms, start_period: 1s}";
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, {check}, restart: always}}\n"
    ));
    for since in [
        json!(4_000_000_000_000_000_000_i64),
        json!(1_000),
        json!(-5_000_000_000_i64),
    ] {
        hoist.ok("up -d --wait");
        let (state, init) = (dir(&hoist, "a").join("state.json"), hoist.init("a"));
        kill_and_wait(hoist.supervisor("a"));
        change(&state, |value| value["state"]["running"]["since"] = since);
        hoist.ok("up -d --wait");
        assert_eq!(hoist.init("a"), init);
        hoist.ok("ps -a");
        hoist.ok("logs a");
        hoist.reaches("a", "running");
        hoist.ok("restart -t 0");
        eventually("it is healthy again", || {
            (hoist.field("a", "Health") == "healthy").then_some(())
        });
    }
    hoist.ok("down -t 0");
    hoist.is_gone();
}

fn a_broken_record_is_named_and_other_projects_go_on() {
    let hoist = Sandbox::new();
    hoist.compose(&store(&hoist));
    let broken: [(&str, &[u8]); 4] = [
        ("empty", b""),
        ("cut short", b"{\"version\":1,\"crea"),
        ("garbage", b"\xff\x00garbage"),
        ("another thing", b"[1,2]"),
    ];
    for file in ["record.json", "state.json"] {
        for (what, bytes) in broken {
            hoist.ok("up -d");
            let path = dir(&hoist, "a").join(file);
            hoist.notice();
            std::fs::write(&path, bytes).expect("it can be written");
            let ps = hoist.run("ps -a");
            assert_ne!(ps.code, 0, "{file} is {what}: {}", ps.story());
            let ps = ps.says(&path.display().to_string()).says("hoist down");
            assert!(!ps.err.contains("panicked"), "{}", ps.story());
            // Another project does not mind.
            let text = "services:\n  o: {image: tiny, command: sleep 9, stop_signal: SIGKILL}\n";
            let project = hoist.file("other/compose.yaml", text).display().to_string();
            let other = |command: &[&str]| {
                hoist
                    .global(&[&["-p", "other", "-f", &project], command].concat())
                    .ok()
            };
            other(&["up", "-d"]);
            other(&["down", "-v", "-t", "0"]);
            hoist.ok("down -v -t 0");
            hoist.is_gone();
        }
    }
}

fn a_record_of_a_newer_version_is_left_alone() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let path = dir(&hoist, "a").join("record.json");
    let init = hoist.init("a");
    change(&path, |value| value["version"] = json!(99));
    for command in ["up -d", "ps", "down -t 0"] {
        let done = hoist.run(command);
        assert_ne!(done.code, 0, "{}", done.story());
        done.says("newer hoist").says(&path.display().to_string());
        assert!(is_alive(init), "`{command}` has touched it");
    }
    change(&path, |value| value["version"] = json!(1));
    hoist.ok("down -t 0");
    hoist.is_gone();
}

fn links_planted_among_the_records_are_not_followed() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['data:/data']}\nvolumes: {data: }\n");
    hoist.ok("up -d");
    let canary = hoist.file("canary/file", "alive");
    let target = canary.parent().expect("its directory");
    let link = |at: PathBuf| {
        std::os::unix::fs::symlink(target, &at).expect("a link can be made");
    };
    let containers = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    link(containers.join(".planted"));
    link(hoist.data().join("volumes/.planted"));
    link(hoist.data().join("networks/planted"));
    link(dir(&hoist, "a").join("upper/planted"));
    hoist.ok("up -d");
    hoist.ok("down -v -t 0");
    assert_eq!(
        std::fs::read_to_string(&canary).ok().as_deref(),
        Some("alive")
    );
}

fn a_container_whose_directory_is_half_gone_is_taken_away() {
    let hoist = Sandbox::new();
    hoist.compose(&store(&hoist));
    hoist.ok("up -d");
    let path = dir(&hoist, "b");
    hoist.notice();
    std::fs::remove_file(path.join("record.json")).expect("it is there");
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}
