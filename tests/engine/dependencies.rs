//! `depends_on`, health checks and `--wait`.

use std::time::{Duration, Instant};

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_dependent_starts_when_its_dependency_is_healthy,
    a_dependent_starts_after_a_job_has_succeeded,
    a_failed_job_fails_up_with_its_exit_code_in_the_message,
    a_dependency_that_stays_unhealthy_fails_up_with_its_last_outputs_and_log_lines,
    wait_returns_when_everything_is_healthy,
    health_follows_the_check_in_both_directions,
    a_check_that_takes_too_long_counts_as_failed,
    up_of_one_service_brings_its_dependencies_along,
);

const HEALTH: &str = "healthcheck: {test: ['CMD', 'test', '-f', '/ok'], interval: 300ms, timeout: 2s, retries: 2, \
                      start_period: 20s, start_interval: 100ms}";

fn a_dependent_starts_when_its_dependency_is_healthy() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  d:\n    image: tiny\n    stop_signal: SIGKILL\n    command: sh -c 'sleep 1; cat /proc/uptime > /shared/d; \
         touch /ok; sleep 3600'\n    volumes: ['shared:/shared']\n    {HEALTH}\n  app:\n    image: tiny\n    stop_signal: \
         SIGKILL\n    command: sh -c 'cat /proc/uptime > /shared/app; sleep 3600'\n    volumes: ['shared:/shared']\n    \
         depends_on: {{d: {{condition: service_healthy}}}}\nvolumes: {{shared: }}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(hoist.field("d", "Health"), "healthy");
    let time = |name: &str| -> f64 {
        eventually("the time is written", || {
            let text = hoist.sh("app", &format!("cat /shared/{name}"));
            text.split(' ').next()?.parse().ok()
        })
    };
    assert!(time("d") <= time("app"), "app started before d was ready");
}

fn a_dependent_starts_after_a_job_has_succeeded() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  job: {image: tiny, command: sh -c 'sleep 0.5; echo done > /v/f', volumes: ['vol:/v']}\n  app: {image: \
         tiny, stop_signal: SIGKILL, command: sh -c 'cat /v/f; sleep 3600', volumes: ['vol:/v'], depends_on: {job: \
         {condition: service_completed_successfully}}}\nvolumes: {vol: }\n",
    );
    hoist.ok("up -d");
    assert_eq!(hoist.state("job"), "exited");
    hoist.logged("app", "done");
}

fn a_failed_job_fails_up_with_its_exit_code_in_the_message() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  job: {image: tiny, command: sh -c 'echo no such table; exit 3'}\n  app: {SLEEP, depends_on: {job: \
         {condition: service_completed_successfully}}}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("didn't complete successfully: exit 3")
        .says("no such table");
    assert!(
        hoist
            .ps()
            .iter()
            .all(|row| row["Service"] != "app" || row["State"] != "running")
    );
}

fn a_dependency_that_stays_unhealthy_fails_up_with_its_last_outputs_and_log_lines() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  d: {image: tiny, stop_signal: SIGKILL, command: sh -c 'echo cannot read the disk; sleep 3600', \
         healthcheck: {test: 'echo probe says no; exit 1', interval: 200ms, retries: 2}}\n  app: {SLEEP, depends_on: {d: \
         {condition: service_healthy}}}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("unhealthy")
        .says("probe says no")
        .says("cannot read the disk");
    assert!(
        hoist
            .ps()
            .iter()
            .all(|row| row["Service"] != "app" || row["State"] != "running")
    );
    // What is half made can be gone on with.
    hoist.compose("services:\n  d: {SLEEP}\n  app: {SLEEP, depends_on: [d]}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.state("app"), "running");
}

fn wait_returns_when_everything_is_healthy() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, stop_signal: SIGKILL, command: sh -c 'sleep 1; touch /ok; sleep 3600', {HEALTH}}}\n"
    ));
    hoist.ok("up --wait");
    assert_eq!(hoist.field("a", "Health"), "healthy");
    hoist.compose(&format!("services:\n  a: {{SLEEP, {HEALTH}}}\n"));
    let begun = Instant::now();
    hoist
        .run("up --wait --wait-timeout 2")
        .code(1)
        .says(&format!("{}-a-1", hoist.name));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "the time limit of --wait is not kept"
    );
}

fn health_follows_the_check_in_both_directions() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, {HEALTH}}}\n  n: {{SLEEP, healthcheck: {{disable: true}}}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(hoist.field("a", "Health"), "starting");
    assert_eq!(hoist.field("n", "Health"), "");
    hoist.sh("a", "touch /ok");
    eventually("healthy", || {
        (hoist.field("a", "Health") == "healthy").then_some(())
    });
    hoist.sh("a", "rm /ok");
    eventually("unhealthy", || {
        (hoist.field("a", "Health") == "unhealthy").then_some(())
    });
    assert_eq!(hoist.state("a"), "running");
    hoist.ok("ps").says("(unhealthy)");
}

fn a_check_that_takes_too_long_counts_as_failed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: [CMD, sleep, '3600'], interval: 200ms, timeout: 300ms, retries: 1}}\n",
    );
    hoist.ok("up -d");
    eventually("unhealthy", || {
        (hoist.field("a", "Health") == "unhealthy").then_some(())
    });
    eventually("no probe is left running for long", || {
        (hoist
            .sh("a", "ps | grep -c '[s]leep 3600'")
            .parse::<u32>()
            .ok()?
            <= 2)
            .then_some(())
    });
}

fn up_of_one_service_brings_its_dependencies_along() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP, depends_on: [a]}\n  c: {SLEEP}\n");
    hoist.ok("up -d b");
    let mut services: Vec<String> = hoist
        .ok("ps --services")
        .out
        .lines()
        .map(str::to_owned)
        .collect();
    services.sort();
    assert_eq!(services, ["a", "b"]);
    hoist.ok("down -t 0");
    hoist.ok("up -d --no-deps b");
    hoist.ok("ps --services").prints("b");
}
