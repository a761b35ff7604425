//! Replacing running containers as `deploy.update_config` says: the order, how many at a time, and what a failure does.

use std::path::PathBuf;

use crate::harness::process::kill_and_wait;
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    start_first_stops_the_old_container_when_the_new_one_is_healthy,
    stop_first_is_the_default_and_stops_the_old_container_before,
    a_start_first_replacement_that_fails_leaves_the_old_container_serving,
    a_stop_first_replacement_that_fails_brings_the_old_container_back,
    a_container_that_only_keeps_starting_does_not_replace_another,
    a_published_port_makes_start_first_a_stop_first_and_says_why,
    monitor_watches_a_new_container_for_longer,
    parallelism_and_delay_say_how_many_are_replaced_at_a_time,
    a_failure_pauses_the_others,
    a_failure_continues_with_the_others,
    a_failure_rolls_back_those_that_were_replaced,
    a_part_of_the_containers_may_fail,
    a_replacement_runs_hooks_and_restarts_dependents_that_ask,
    an_up_that_is_killed_while_a_new_container_proves_itself_loses_nothing,
    a_change_of_the_policy_replaces_nothing,
);

/// A service that tells its beginning and its end in `/out/log`, and lives as `${LIFE}` says.
fn project(deploy: &str) -> (Sandbox, PathBuf) {
    let hoist = Sandbox::new();
    let log = hoist.file("out/log", "");
    hoist.compose(&format!(
        "services:\n  a:\n    image: tiny\n    stop_grace_period: 5s\n    volumes: ['./out:/out']\n    environment: {{V: \
         '${{V}}'}}\n    command: sh -c 'trap \"echo $$V down >> /out/log; exit 0\" TERM; echo $$V up >> /out/log; \
         ${{LIFE:-:}}; while :; do sleep 0.05; done'\n    healthcheck: {{test: [CMD, test, -e, /ok], interval: 100ms, \
         retries: 2, start_period: 300ms, start_interval: 50ms}}\n    deploy: {{{deploy}}}\n"
    ));
    (hoist, log)
}

/// Runs `up -d` with a version whose life begins with a shell line.
fn up(hoist: &Sandbox, version: &str, life: &str) -> crate::harness::process::Done {
    hoist.set("V", version).set("LIFE", life);
    hoist.run("up -d")
}

const WELL: &str = "touch /ok";
const ILL: &str = "true";

fn take(log: &PathBuf) -> String {
    let text = std::fs::read_to_string(log).expect("the file is there");
    std::fs::write(log, "").expect("the file is writable");
    text.lines().collect::<Vec<_>>().join(",")
}

/// Values of `V` in the running containers, sorted.
fn versions(hoist: &Sandbox) -> Vec<String> {
    let mut all: Vec<String> = hoist
        .ps()
        .iter()
        .filter(|row| row["State"] == "running")
        .map(|row| {
            let name = row["Name"].as_str().expect("a name");
            let number = name.rsplit('-').next().expect("a number");
            let words = format!("exec -T --index {number} a sh -c 'echo $V'");
            hoist.ok(&words).out.trim().to_owned()
        })
        .collect();
    all.sort();
    all
}

fn names(hoist: &Sandbox) -> Vec<String> {
    let rows = hoist.ps();
    let mut all: Vec<String> = rows
        .iter()
        .map(|row| row["Name"].as_str().expect("a name").to_owned())
        .collect();
    all.sort();
    all
}

fn start_first_stops_the_old_container_when_the_new_one_is_healthy() {
    let (hoist, log) = project("update_config: {order: start-first}");
    up(&hoist, "1", WELL).ok();
    eventually("the first is up", || {
        (std::fs::read(&log).ok()?.len() > 4).then_some(())
    });
    up(&hoist, "2", "sleep 0.3; touch /ok").ok();
    assert_eq!(take(&log), "1 up,2 up,1 down");
    assert_eq!(names(&hoist), [format!("{}-a-1", hoist.name)]);
    assert_eq!(hoist.field("a", "Health"), "healthy");
    assert_eq!(versions(&hoist), ["2"]);
}

fn stop_first_is_the_default_and_stops_the_old_container_before() {
    for order in ["order: stop-first", "parallelism: 1"] {
        let (hoist, log) = project(&format!("update_config: {{{order}}}"));
        up(&hoist, "1", WELL).ok();
        eventually("the first is up", || {
            (std::fs::read(&log).ok()?.len() > 4).then_some(())
        });
        up(&hoist, "2", WELL).ok();
        assert_eq!(take(&log), "1 up,1 down,2 up", "{order}");
        assert_eq!(versions(&hoist), ["2"]);
    }
}

fn a_start_first_replacement_that_fails_leaves_the_old_container_serving() {
    for (life, reason) in [
        (ILL, "is unhealthy"),
        ("echo cannot bind; exit 3", "exited (3)"),
    ] {
        let (hoist, log) = project("update_config: {order: start-first}");
        up(&hoist, "1", WELL).ok();
        let id = hoist.id("a");
        up(&hoist, "2", life)
            .code(1)
            .says(reason)
            .says("run as before");
        assert_eq!(hoist.id("a"), id);
        assert_eq!(versions(&hoist), ["1"]);
        assert_eq!(names(&hoist), [format!("{}-a-1", hoist.name)]);
        assert!(!take(&log).contains("1 down"), "the old one was touched");
        up(&hoist, "3", WELL).ok();
        assert_eq!(versions(&hoist), ["3"]);
    }
}

fn a_stop_first_replacement_that_fails_brings_the_old_container_back() {
    let (hoist, log) = project("update_config: {failure_action: rollback}");
    up(&hoist, "1", WELL).ok();
    eventually("the first is up", || {
        (std::fs::read(&log).ok()?.len() > 4).then_some(())
    });
    let id = hoist.id("a");
    up(&hoist, "2", "exit 3").code(1).says("exited (3)");
    assert_eq!(hoist.id("a"), id);
    assert_eq!(versions(&hoist), ["1"]);
    eventually("the old one is up again", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.ends_with("1 up\n").then_some(())
    });
    assert_eq!(take(&log), "1 up,1 down,2 up,1 up");
    assert_eq!(names(&hoist), [format!("{}-a-1", hoist.name)]);
}

fn a_container_that_only_keeps_starting_does_not_replace_another() {
    let hoist = Sandbox::new();
    let text = |command: &str| {
        format!(
            "services:\n  a:\n    image: tiny\n    stop_signal: SIGKILL\n    restart: always\n    command: {command}\n    deploy: \
             {{update_config: {{order: start-first, monitor: 1s}}}}\n"
        )
    };
    hoist.compose(&text("sleep 3600"));
    hoist.ok("up -d");
    let id = hoist.id("a");
    hoist.compose(&text("sh -c 'echo no config; exit 1'"));
    hoist.run("up -d").code(1).says("no config");
    assert_eq!(hoist.id("a"), id);
    assert_eq!(hoist.state("a"), "running");
}

fn a_published_port_makes_start_first_a_stop_first_and_says_why() {
    let (hoist, log) = project("update_config: {order: start-first}");
    let port = crate::harness::ports::free();
    let text = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    let with = |port: &str| {
        text.replace(
            "    environment:",
            &format!("    ports: ['{port}:80']\n    environment:"),
        )
    };
    hoist.compose(&with(&format!("127.0.0.1:{port}")));
    up(&hoist, "1", WELL).ok().says_nothing_of("start-first");
    eventually("the first is up", || {
        (std::fs::read(&log).ok()?.len() > 4).then_some(())
    });
    up(&hoist, "2", WELL)
        .ok()
        .says("`order: start-first` is not possible")
        .says(&format!("port {port} of the host"));
    assert_eq!(take(&log), "1 up,1 down,2 up");
    // Any free port is no conflict.
    hoist.compose(&with("127.0.0.1:"));
    up(&hoist, "3", WELL).ok();
    take(&log);
    up(&hoist, "4", WELL).ok().says_nothing_of("not possible");
    assert_eq!(take(&log), "4 up,3 down");
}

fn monitor_watches_a_new_container_for_longer() {
    let dies = "touch /ok; sleep 0.8; exit 5";
    let (hoist, _) = project("update_config: {order: start-first, monitor: 2s}");
    up(&hoist, "1", WELL).ok();
    up(&hoist, "2", dies).code(1).says("exited (5)");
    assert_eq!(versions(&hoist), ["1"]);
    let (hoist, _) = project("update_config: {order: start-first}");
    up(&hoist, "1", WELL).ok();
    up(&hoist, "2", dies).ok();
    hoist.reaches("a", "exited");
}

fn parallelism_and_delay_say_how_many_are_replaced_at_a_time() {
    for (said, expected) in [
        ("parallelism: 1", "2 up,1 down,2 up,1 down,2 up,1 down"),
        (
            "parallelism: 1, delay: 300ms",
            "2 up,1 down,2 up,1 down,2 up,1 down",
        ),
        ("parallelism: 0", "2 up,2 up,2 up,1 down,1 down,1 down"),
    ] {
        let (hoist, log) = project(&format!(
            "replicas: 3, update_config: {{order: start-first, {said}}}"
        ));
        up(&hoist, "1", WELL).ok();
        eventually("all are up", || (take(&log).is_empty()).then_some(()));
        let begun = std::time::Instant::now();
        up(&hoist, "2", "sleep 0.3; touch /ok").ok();
        assert_eq!(take(&log), expected, "{said}");
        if said.contains("delay") {
            assert!(begun.elapsed() > std::time::Duration::from_millis(3 * 300 + 2 * 300));
        }
        assert_eq!(names(&hoist).len(), 3);
    }
}

/// Lets two containers of the new version become healthy and no more.
const TWO: &str = "echo x >> /out/count; if test $$(wc -l < /out/count) -le 2; then touch /ok; fi";

fn two_of_four_fail(said: &str) -> (Sandbox, crate::harness::process::Done) {
    let (hoist, _) = project(&format!(
        "replicas: 4, update_config: {{order: start-first, {said}}}"
    ));
    up(&hoist, "1", WELL).ok();
    let done = up(&hoist, "2", &TWO.replace("$$", "$"));
    assert_eq!(names(&hoist).len(), 4, "{}", done.story());
    (hoist, done)
}

fn a_failure_pauses_the_others() {
    for said in ["failure_action: pause", "parallelism: 1"] {
        let (hoist, done) = two_of_four_fail(said);
        done.code(1)
            .says("is unhealthy")
            .says("2 of 4 containers of `a` were replaced");
        assert_eq!(versions(&hoist), ["1", "1", "2", "2"], "{said}");
        let count = std::fs::read_to_string(hoist.dir().join("out/count")).expect("it is there");
        assert_eq!(count.lines().count(), 3, "the fourth was begun");
    }
}

fn a_failure_continues_with_the_others() {
    let (hoist, done) = two_of_four_fail("failure_action: continue");
    done.code(1).says("2 of 4 containers of `a` were replaced");
    assert_eq!(versions(&hoist), ["1", "1", "2", "2"]);
    let count = std::fs::read_to_string(hoist.dir().join("out/count")).expect("it is there");
    assert_eq!(count.lines().count(), 4, "the fourth was not begun");
}

fn a_failure_rolls_back_those_that_were_replaced() {
    for back in ["order: stop-first", "order: start-first, parallelism: 0"] {
        let said = format!("failure_action: rollback}}, rollback_config: {{{back}");
        let (hoist, done) = two_of_four_fail(&said);
        done.code(1).says("is unhealthy").says("runs as before");
        assert_eq!(versions(&hoist), ["1", "1", "1", "1"], "{back}");
        let expected: Vec<String> = (1..5).map(|n| format!("{}-a-{n}", hoist.name)).collect();
        assert_eq!(names(&hoist), expected);
    }
}

fn a_part_of_the_containers_may_fail() {
    let (hoist, done) = two_of_four_fail("max_failure_ratio: 0.5");
    done.ok().says("one container stays as it was");
    assert_eq!(versions(&hoist), ["1", "1", "2", "2"]);
}

fn a_replacement_runs_hooks_and_restarts_dependents_that_ask() {
    let (hoist, log) = project("update_config: {order: start-first}");
    let text = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.compose(&format!(
        "{text}    pre_start: [{{command: sh -c 'echo pre $$V >> /out/log'}}]\n    post_start: [{{command: sh -c 'echo post $$V \
         >> /out/log'}}]\n    pre_stop: [{{command: sh -c 'echo stop $$V >> /out/log'}}]\n  b: {{SLEEP, depends_on: {{a: \
         {{condition: service_healthy, restart: true}}}}}}\n"
    ));
    up(&hoist, "1", WELL).ok();
    let (id, init) = (hoist.id("b"), hoist.init("b"));
    take(&log);
    up(&hoist, "2", WELL).ok();
    let told = take(&log);
    let told: Vec<&str> = told.split(',').filter(|line| *line != "2 up").collect();
    assert_eq!(told, ["pre 2", "post 2", "stop 1", "1 down"]);
    assert_eq!(hoist.id("b"), id);
    assert_ne!(hoist.init("b"), init, "the dependent was not restarted");
}

fn an_up_that_is_killed_while_a_new_container_proves_itself_loses_nothing() {
    let (hoist, log) = project("update_config: {order: start-first, monitor: 60s}");
    up(&hoist, "1", WELL).ok();
    let id = hoist.id("a");
    hoist.set("V", "2").set("LIFE", WELL);
    let second = hoist.start("up -d");
    eventually("the new one is up", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("2 up").then_some(())
    });
    kill_and_wait(second.pid());
    drop(second);
    hoist.notice();
    assert!(serves(&hoist, &id), "the old one does not serve");
    let text = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.compose(&text.replace("monitor: 60s", "monitor: 0s"));
    up(&hoist, "2", WELL).ok();
    assert_eq!(names(&hoist), [format!("{}-a-1", hoist.name)]);
    assert_eq!(versions(&hoist), ["2"]);
}

fn serves(hoist: &Sandbox, id: &str) -> bool {
    let rows = hoist.ps();
    let mut rows = rows.iter();
    rows.any(|row| row["ID"] == id && row["State"] == "running")
}

fn a_change_of_the_policy_replaces_nothing() {
    let (hoist, _) = project("update_config: {order: start-first}");
    up(&hoist, "1", WELL).ok();
    let id = hoist.id("a");
    let text = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.compose(&text.replace("start-first", "stop-first, parallelism: 3"));
    up(&hoist, "1", WELL).ok();
    assert_eq!(hoist.id("a"), id);
}
