//! Dossiers: what a container that failed leaves for whoever looks for the reason.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::leftovers::children;
use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    an_end_with_a_code_leaves_its_command_log_and_times,
    an_end_for_memory_leaves_the_peak_and_the_limit,
    an_unhealthy_container_leaves_its_probes,
    a_command_that_is_not_there_leaves_the_error,
    a_wait_that_takes_too_long_tells_what_it_waited_for,
    the_newest_dossiers_stay_and_all_go_with_the_project,
);

fn files(hoist: &Sandbox) -> Vec<PathBuf> {
    let mut files = children(
        &hoist
            .data()
            .join("projects")
            .join(&hoist.name)
            .join("dossiers"),
    );
    files.sort();
    files
}

/// The one dossier; the output must point to it.
fn dossier(hoist: &Sandbox, said: &str) -> Value {
    let files = files(hoist);
    assert_eq!(files.len(), 1, "{files:?}");
    let path = files[0].to_string_lossy().into_owned();
    assert!(said.contains(&path), "no {path} in:\n{said}");
    let mode = std::os::unix::fs::MetadataExt::mode(&files[0].metadata().expect("it is there"));
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read(&files[0]).expect("it can be read");
    serde_json::from_slice(&text).expect("JSON")
}

fn an_end_with_a_code_leaves_its_command_log_and_times() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  job: {image: tiny, environment: {PASSWORD: hunter2}, command: [sh, -c, 'echo cannot find the table; sleep 0.3; exit \
         3']}\n  app: {SLEEP, depends_on: {job: {condition: service_completed_successfully}}}\n",
    );
    let done = hoist.run("up -d").code(1);
    let done = done
        .says("ended with 3")
        .says("cannot find the table")
        .says("ran ");
    let found = dossier(&hoist, &done.all());
    assert_eq!(found["exit"]["code"], 3);
    assert_eq!(found["exit"]["out_of_memory"], false);
    assert_eq!(found["command"][0], "sh");
    assert_eq!(found["log"][0], "cannot find the table");
    assert_eq!(found["state"], "exited");
    assert!(found["times"]["started"].as_str() < found["times"]["ended"].as_str());
    assert!(
        found["failure"]
            .as_str()
            .is_some_and(|text| text.contains("exit 3"))
    );
    assert!(found["resources"]["cpu_time"].is_string());
    assert!(
        found["resources"]["memory_peak"]
            .as_u64()
            .is_some_and(|bytes| bytes > 0)
    );
    assert!(
        !found.to_string().contains("hunter2"),
        "the environment has secrets"
    );
}

fn an_end_for_memory_leaves_the_peak_and_the_limit() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, mem_limit: 20m, memswap_limit: 20m, command: tail /dev/zero}\n");
    let done = hoist.run("up --wait").code(1);
    let done = done
        .says("(SIGKILL), out of memory")
        .says("of 20MiB at most");
    let found = dossier(&hoist, &done.all());
    assert_eq!(found["exit"]["signal"], "SIGKILL");
    assert_eq!(found["exit"]["out_of_memory"], true);
    assert_eq!(found["resources"]["memory_limit"], 20 << 20);
    assert!(
        found["resources"]["memory_peak"]
            .as_u64()
            .is_some_and(|peak| peak > 18 << 20)
    );
}

fn an_unhealthy_container_leaves_its_probes() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  db: {SLEEP, pids_limit: 50, healthcheck: {test: 'echo no route to the disk; exit 9', interval: 100ms, retries: \
         2}}\n  app: {SLEEP, depends_on: {db: {condition: service_healthy}}}\n",
    );
    let done = hoist.run("up -d").code(1);
    let done = done.says("no route to the disk").says("exit 9");
    let found = dossier(&hoist, &done.all());
    assert_eq!(found["state"], "running");
    assert_eq!(found["health"]["status"], "unhealthy");
    assert_eq!(found["health"]["probes"][0]["code"], 9);
    assert_eq!(found["resources"]["pids_limit"], 50);
    assert!(found["exit"].is_null());
}

fn a_command_that_is_not_there_leaves_the_error() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: [nothere, --flag]}\n");
    let done = hoist.run("up -d").code(1);
    let done = done.says("executable file not found");
    let found = dossier(&hoist, &done.all());
    assert_eq!(found["state"], "created");
    assert_eq!(found["command"][1], "--flag");
    let failure = found["failure"].as_str().expect("text");
    assert!(failure.contains("executable file not found"), "{failure}");
}

fn a_wait_that_takes_too_long_tells_what_it_waited_for() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: 'echo still loading; exit 1', interval: 100ms, retries: 100000}}\n",
    );
    let done = hoist.run("up --wait --wait-timeout 2").code(1);
    let done = done
        .says("application not healthy after 2s")
        .says("a-1 is not healthy yet")
        .says("still loading");
    assert_eq!(dossier(&hoist, &done.all())["health"]["status"], "starting");
}

fn the_newest_dossiers_stay_and_all_go_with_the_project() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: nothere}\n");
    for _ in 0..22 {
        let _ = hoist.run("up -d").code(1);
    }
    assert_eq!(files(&hoist).len(), 20);
    hoist.ok("down");
    let left = hoist.data().join("projects").join(&hoist.name);
    assert!(!left.exists(), "{:?}", children(&left));
}
