//! Health: the command of `healthcheck`, the probes of `x-hoist.ready`, what happens to the unhealthy.
//!
//! Times are looked at from inside: a probe writes the machine's uptime.

use crate::harness::process::{is_alive, kill_and_wait};
use crate::harness::{ENGINE, Sandbox, eventually, image};

crate::cases!(ENGINE;
    a_command_is_run_as_it_is_and_a_text_by_a_shell,
    none_and_disable_turn_the_check_of_the_image_off,
    the_check_of_the_image_is_used_and_its_times_can_be_replaced,
    probes_come_an_interval_apart_and_the_first_an_interval_after_the_start,
    in_the_start_period_probes_come_at_its_own_interval_and_failures_do_not_count,
    so_many_failures_in_a_row_make_it_unhealthy_whatever_their_code,
    a_probe_that_takes_too_long_is_ended_with_all_that_it_has_started,
    what_a_probe_leaves_behind_neither_holds_it_up_nor_is_ended,
    a_flood_of_output_is_cut_and_a_missing_program_is_told,
    probes_that_fork_without_end_stay_below_the_limit_of_the_container,
    health_begins_anew_at_each_start,
    a_container_that_is_stopping_is_not_probed,
    a_supervisor_that_takes_over_goes_on_with_the_health,
    probes_leave_no_dead_process_and_no_group_behind,
    ready_asks_an_http_server_in_an_image_without_a_shell,
    ready_tries_a_tcp_port_and_says_why_it_is_not_there,
    ready_waits_for_a_line_of_the_log_and_probes_no_more,
    ready_and_a_health_check_must_both_hold,
    ready_takes_an_answer_that_is_no_http_for_a_failure,
    wrong_values_of_x_hoist_are_told_all_at_once_before_anything_starts,
    a_change_of_x_hoist_makes_a_new_container,
    an_unhealthy_container_is_stopped_and_started_again_where_that_is_asked_for,
    who_waits_is_told_what_the_last_probe_said,
);

/// Writes the time of each probe into a file, and fails.
const CLOCK: &str = "cut -d' ' -f1 /proc/uptime >> /t; exit 1";

fn healthy(hoist: &Sandbox, service: &str, status: &str) {
    eventually(&format!("{service} is {status}"), || {
        (hoist.field(service, "Health") == status).then_some(())
    });
}

/// The health file of a service's container: it is the supervisor's, and has the probes' outputs.
fn health_file(hoist: &Sandbox, service: &str) -> serde_json::Value {
    let id = hoist.id(service);
    let dirs = crate::harness::leftovers::children(&hoist.run_root().join("containers"));
    let dir = dirs
        .iter()
        .find(|dir| dir.to_string_lossy().contains(&id))
        .expect("its directory");
    let text = std::fs::read(dir.join("health.json")).expect("it has a health");
    serde_json::from_slice(&text).expect("JSON")
}

/// Times that [`CLOCK`] has written, once there are so many.
fn times(hoist: &Sandbox, service: &str, count: usize) -> Vec<f64> {
    eventually("so many probes", || {
        let text = hoist.exec(service, "cat /start /t").out;
        let times: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (times.len() > count).then_some(times)
    })
}

fn a_command_is_run_as_it_is_and_a_text_by_a_shell() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: [CMD, touch, '/a $$HOME'], interval: 100ms}}\n  b: {SLEEP, healthcheck: \
         {test: [CMD-SHELL, 'touch \"/b $$(id -u)\"'], interval: 100ms}}\n  c: {SLEEP, environment: {V: seen}, user: '1000', \
         working_dir: /tmp, healthcheck: {test: 'touch $$V.$$(id -u)', interval: 100ms}}\n",
    );
    hoist.ok("up -d --wait");
    assert_eq!(hoist.sh("a", "ls -d /a*"), "/a $HOME");
    assert_eq!(hoist.sh("b", "ls -d /b*"), "/b 0\n/bin");
    assert_eq!(hoist.sh("c", "ls /tmp"), "seen.1000");
}

/// An image with a health check that fails, as `checked`.
fn checked(hoist: &Sandbox) {
    hoist.file(
        "Dockerfile",
        format!(
            "FROM {}\nHEALTHCHECK --interval=200ms --timeout=5s --retries=1 CMD touch /probed; exit 1\n",
            image::TINY
        ),
    );
    hoist.global(&["image", "build", "-t", "checked", "."]).ok();
}

fn none_and_disable_turn_the_check_of_the_image_off() {
    let hoist = Sandbox::new();
    checked(&hoist);
    let sleep = "image: checked, command: sleep 3600, stop_signal: SIGKILL";
    hoist.compose(&format!(
        "services:\n  on: {{{sleep}}}\n  none: {{{sleep}, healthcheck: {{test: [NONE]}}}}\n  off: {{{sleep}, healthcheck: \
         {{disable: true}}}}\n"
    ));
    hoist.ok("up -d");
    healthy(&hoist, "on", "unhealthy");
    for service in ["none", "off"] {
        assert_eq!(hoist.field(service, "Health"), "");
        assert_ne!(hoist.exec(service, "ls /probed").code, 0);
    }
}

fn the_check_of_the_image_is_used_and_its_times_can_be_replaced() {
    let hoist = Sandbox::new();
    checked(&hoist);
    hoist.compose(
        "services:\n  a: {image: checked, command: sleep 3600, stop_signal: SIGKILL, healthcheck: {retries: 1000, interval: \
         100ms}}\n",
    );
    hoist.ok("up -d");
    eventually("the probe of the image runs", || {
        (hoist.exec("a", "ls /probed").code == 0).then_some(())
    });
    eventually("many failures", || {
        (health_file(&hoist, "a")["failing_streak"].as_u64()? > 5).then_some(())
    });
    assert_eq!(hoist.field("a", "Health"), "starting");
}

fn probes_come_an_interval_apart_and_the_first_an_interval_after_the_start() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, stop_signal: SIGKILL, command: sh -c 'cut -d\" \" -f1 /proc/uptime > /start; sleep \
         3600', healthcheck: {{test: \"{CLOCK}\", interval: 1s, start_interval: 100ms}}}}\n"
    ));
    hoist.ok("up -d");
    let times = times(&hoist, "a", 3);
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        // The clock in /proc has hundredths; a busy machine is late, but nothing is early.
        assert!(apart > 0.9, "{times:?}");
    }
}

fn in_the_start_period_probes_come_at_its_own_interval_and_failures_do_not_count() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, stop_signal: SIGKILL, command: sh -c 'cut -d\" \" -f1 /proc/uptime > /start; sleep \
         3600', healthcheck: {{test: \"{CLOCK}\", interval: 1h, start_interval: 100ms, start_period: 2s, retries: 2}}}}\n"
    ));
    hoist.ok("up -d");
    let seen = times(&hoist, "a", 4);
    assert_eq!(hoist.field("a", "Health"), "starting", "{seen:?}");
    assert_eq!(health_file(&hoist, "a")["failing_streak"], 0);
    // Behind the period the long interval begins.
    let begun = seen[0];
    eventually("the period is over", || {
        let now = hoist.sh("a", "cut -d' ' -f1 /proc/uptime");
        (now.parse::<f64>().ok()? > begun + 3.0).then_some(())
    });
    let last = times(&hoist, "a", 4);
    let beyond = last.iter().filter(|time| **time > begun + 2.5).count();
    assert_eq!(beyond, 0, "{last:?}");
    assert_eq!(hoist.field("a", "Health"), "starting");
}

fn so_many_failures_in_a_row_make_it_unhealthy_whatever_their_code() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: 'echo >> /n; test $$(wc -l < /n) = 3 && exit 0; exit 2', interval: 200ms, \
         retries: 4}}\n",
    );
    hoist.ok("up -d");
    healthy(&hoist, "a", "unhealthy");
    let probes: u32 = hoist.sh("a", "wc -l < /n").parse().expect("a number");
    // Two failures, a success, four failures.
    assert!(probes >= 7, "{probes} probes");
    let health = health_file(&hoist, "a");
    let last = health["log"].as_array().and_then(|log| log.last().cloned());
    assert_eq!(last.expect("a probe")["code"], 2);
    assert!(health["log"].as_array().expect("a list").len() <= 5);
}

fn a_probe_that_takes_too_long_is_ended_with_all_that_it_has_started() {
    let hoist = Sandbox::new();
    // One in the background, one that has left its session, one that is waited for.
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: 'sleep 1111 & setsid sleep 1111 & sleep 1111 | cat', interval: 1h, \
         start_interval: 100ms, start_period: 1s, timeout: 3s, retries: 1}}\n",
    );
    hoist.ok("up -d");
    let probes = || {
        let text = hoist.sh("a", "ps -o args");
        text.lines().filter(|line| line.contains("1111")).count()
    };
    eventually("a probe runs", || (probes() >= 3).then_some(()));
    eventually("it has taken too long", || {
        let log = health_file(&hoist, "a")["log"].clone();
        let text = log.get(0)?["output"].as_str()?.to_owned();
        text.contains("Health check exceeded timeout (3s)")
            .then_some(())
    });
    eventually("all of it is ended", || (probes() == 0).then_some(()));
}

fn what_a_probe_leaves_behind_neither_holds_it_up_nor_is_ended() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: 'test -e /once || { touch /once; sleep 2222 & }; exit 0', interval: 200ms, \
         timeout: 10s}}\n",
    );
    hoist.ok("up -d --wait");
    let left = || {
        let text = hoist.sh("a", "ps -o args");
        text.lines().filter(|line| line.contains("2222")).count()
    };
    assert!(left() >= 1);
    let log = |hoist: &Sandbox| {
        health_file(hoist, "a")["log"]
            .as_array()
            .map_or(0, Vec::len)
    };
    eventually("more probes", || (log(&hoist) == 5).then_some(()));
    assert!(left() >= 1, "the probes after it have ended it");
}

fn a_flood_of_output_is_cut_and_a_missing_program_is_told() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: 'yes hello | head -c 50000000; exit 1', interval: 100ms, timeout: 60s, \
         retries: 1}}\n  b: {SLEEP, healthcheck: {test: [CMD, nothere], interval: 100ms, retries: 1}}\n",
    );
    hoist.ok("up -d");
    healthy(&hoist, "a", "unhealthy");
    let probe = health_file(&hoist, "a")["log"][0].clone();
    let output = probe["output"].as_str().expect("text").to_owned();
    assert_eq!(output.len(), 4096 + 3, "Docker keeps so much");
    assert!(output.starts_with("hello\n") && output.ends_with("..."));
    healthy(&hoist, "b", "unhealthy");
    let probe = health_file(&hoist, "b")["log"][0].clone();
    assert_eq!(probe["code"], -1);
    let output = probe["output"].as_str().expect("text").to_owned();
    assert!(
        output.contains("\"nothere\": executable file not found in $PATH"),
        "{output}"
    );
}

fn probes_that_fork_without_end_stay_below_the_limit_of_the_container() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, init: true, pids_limit: 30, healthcheck: {test: 'f() { f | f & }; f; sleep 60', interval: 1h, \
         start_interval: 100ms, start_period: 1s, timeout: 1s, retries: 1}}\n",
    );
    hoist.ok("up -d");
    let supervisor = hoist.supervisor("a");
    eventually("the probe is over", || {
        let text = health_file(&hoist, "a")["log"].to_string();
        text.contains("exceeded timeout").then_some(())
    });
    eventually(
        "only the init and the container's own process are left",
        || {
            let dirs = hoist.cgroups("a");
            let mut pids: Vec<String> = dirs
                .iter()
                .flat_map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")))
                .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
                .collect();
            pids.sort();
            pids.dedup();
            (pids.len() <= 2).then_some(())
        },
    );
    assert!(is_alive(supervisor));
    assert_eq!(hoist.state("a"), "running");
    assert_eq!(hoist.sh("a", "echo works"), "works");
}

fn health_begins_anew_at_each_start() {
    let hoist = Sandbox::new();
    let check = "healthcheck: {test: test -e /ok, interval: 200ms, start_period: 1h, start_interval: 200ms}";
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, restart: always, command: sh -c 'sleep 3600', stop_signal: SIGKILL, tmpfs: [/x], {check}}}\n"
    ));
    hoist.ok("up -d");
    hoist.sh("a", "touch /ok");
    healthy(&hoist, "a", "healthy");
    hoist.sh("a", "rm /ok");
    hoist.ok("restart -t 0");
    assert_eq!(hoist.field("a", "Health"), "starting");
    hoist.ok("ps").says("(health: starting)");
    hoist.sh("a", "touch /ok");
    healthy(&hoist, "a", "healthy");
    hoist.ok("ps").says("(healthy)");
    hoist.sh("a", "rm /ok");
    let first = hoist.init("a");
    kill_and_wait(first);
    eventually("it was started again", || {
        (hoist.state("a") == "running" && hoist.init("a") != first).then_some(())
    });
    assert_eq!(hoist.field("a", "Health"), "starting");
    hoist.ok("stop -t 0");
    assert_eq!(hoist.field("a", "Health"), "");
}

fn a_container_that_is_stopping_is_not_probed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_grace_period: 3s, command: [sh, -c, 'trap \"touch /told\" TERM; while :; do sleep 0.1; \
         done'], volumes: ['vol:/v'], healthcheck: {test: 'test -e /told && echo late >> /v/late; exit 0', interval: 100ms}}\n  \
         b: {SLEEP, volumes: ['vol:/v']}\nvolumes: {vol: }\n",
    );
    hoist.ok("up -d --wait");
    hoist.ok("stop a");
    assert_eq!(hoist.exit_code("a"), 137);
    // One that had begun may end.
    let late = hoist.exec("b", "cat /v/late").out;
    assert!(late.lines().count() <= 1, "{late}");
}

fn a_supervisor_that_takes_over_goes_on_with_the_health() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: sh -c 'echo it is up; sleep 3600', healthcheck: {test: \
         test -e /ok, interval: 200ms, retries: 3}, x-hoist: {ready: {log: it is up, interval: 200ms}}}\n",
    );
    hoist.ok("up -d");
    hoist.sh("a", "touch /ok");
    healthy(&hoist, "a", "healthy");
    let process = hoist.init("a");
    for _ in 0..3 {
        kill_and_wait(hoist.supervisor("a"));
        assert_eq!(hoist.field("a", "Health"), "healthy", "not starting again");
    }
    hoist.sh("a", "rm /ok");
    healthy(&hoist, "a", "unhealthy");
    kill_and_wait(hoist.supervisor("a"));
    assert_eq!(hoist.field("a", "Health"), "unhealthy");
    hoist.sh("a", "touch /ok");
    healthy(&hoist, "a", "healthy");
    assert_eq!(hoist.init("a"), process);
}

fn probes_leave_no_dead_process_and_no_group_behind() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, restart: always, stop_signal: SIGKILL, command: sleep 3600, healthcheck: {test: 'echo >> \
         /n; sleep 0.2', interval: 100ms}}\n",
    );
    hoist.ok("up -d");
    let supervisor = hoist.supervisor("a");
    for _ in 0..3 {
        eventually("probes run", || {
            (hoist.exec("a", "test $(wc -l < /n) -gt 2 && rm /n").code == 0).then_some(())
        });
        kill_and_wait(hoist.init("a"));
        eventually("it runs again", || {
            (hoist.state("a") == "running").then_some(())
        });
    }
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    eventually("only the container and at most one probe", || {
        let children = std::fs::read_to_string(&path).expect("the supervisor lives");
        (children.split_whitespace().count() <= 2).then_some(())
    });
    let groups: usize = hoist
        .cgroups("a")
        .iter()
        .map(|dir| {
            let below = crate::harness::leftovers::children(dir);
            below.iter().filter(|dir| dir.is_dir()).count()
        })
        .sum();
    assert!(groups <= 1, "{groups} groups");
}

/// An image with one program and nothing else, as `bare`.
fn bare(hoist: &Sandbox) {
    let busybox = image::busybox().expect("asked for only where there is one");
    hoist.file(
        "bare/httpd",
        std::fs::read(busybox).expect("it can be read"),
    );
    hoist.file(
        "bare/Dockerfile",
        "FROM scratch\nCOPY --chmod=755 httpd /httpd\nCOPY Dockerfile /srv/ok\n",
    );
    hoist.global(&["image", "build", "-t", "bare", "bare"]).ok();
}

fn ready_asks_an_http_server_in_an_image_without_a_shell() {
    let hoist = Sandbox::new();
    bare(&hoist);
    let server =
        "image: bare, command: [/httpd, '-f', '-p', '8080', '-h', /srv], stop_signal: SIGKILL";
    let quick = "interval: 100ms, start_period: 0s, retries: 2";
    hoist.compose(&format!(
        "services:\n  good: {{{server}, x-hoist: {{ready: {{http: {{port: 8080, path: /ok, status: 200, headers: {{X-A: b}}}}}}}}}}\n  \
         alone: {{{server}, network_mode: none, x-hoist: {{ready: {{http: {{port: '8080', path: /ok}}}}}}}}\n  \
         bad: {{{server}, x-hoist: {{ready: {{http: {{port: 8080, path: /no}}, {quick}}}}}}}\n"
    ));
    hoist.ok("up -d --wait good alone");
    assert_eq!(hoist.field("good", "Health"), "healthy");
    assert_eq!(hoist.field("alone", "Health"), "healthy");
    hoist
        .run("up -d --wait bad")
        .code(1)
        .says("bad-1 is unhealthy")
        .says("GET http://localhost:8080/no: 404 Not Found");
}

fn ready_tries_a_tcp_port_and_says_why_it_is_not_there() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: sh -c 'sleep 1; cut -d\" \" -f1 /proc/uptime > /up; nc -ll -p \
         5432 -e cat', x-hoist: {ready: {tcp: {port: 5432}}}}\n  b: {image: tiny, stop_signal: SIGKILL, command: sh -c 'cut -d\" \
         \" -f1 /proc/uptime > /up; sleep 3600', depends_on: {a: {condition: service_healthy}}}\n  c: {SLEEP, x-hoist: {ready: \
         {tcp: {port: 1}, interval: 100ms, retries: 2, start_period: 0s}}}\n",
    );
    hoist.ok("up -d a b");
    let time = |service| -> f64 { hoist.sh(service, "cat /up").parse().expect("a time") };
    assert!(time("a") <= time("b"), "b was started before a was ready");
    hoist
        .run("up -d --wait c")
        .code(1)
        .says("port 1: Connection refused");
}

fn ready_waits_for_a_line_of_the_log_and_probes_no_more() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: sh -c 'echo starting; sleep 1; echo \"ready after 1 s\" >&2; \
         sleep 3600', logging: {driver: none}, x-hoist: {ready: {log: '/^ready after \\d+ s$$/', start_interval: 1h}}}\n  b: \
         {SLEEP, x-hoist: {ready: {log: never said, interval: 100ms, retries: 2, start_period: 0s}}}\n",
    );
    // The line itself ends the wait, not the next look at it.
    hoist.ok("up -d --wait a");
    assert_eq!(health_file(&hoist, "a")["seen"], true);
    hoist
        .run("up -d --wait b")
        .code(1)
        .says("no line of its output has `never said` yet");
}

fn ready_and_a_health_check_must_both_hold() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: test -e /ok, interval: 100ms, retries: 2, start_period: 1h, start_interval: \
         100ms}, x-hoist: {ready: {tcp: {port: 80}}}}\n",
    );
    hoist.ok("up -d");
    hoist.sh("a", "touch /ok");
    eventually("the check holds", || {
        let log = health_file(&hoist, "a")["log"].to_string();
        (log.contains("\"code\":0") && log.contains("refused")).then_some(())
    });
    assert_eq!(hoist.field("a", "Health"), "starting");
    hoist.ok("exec -d a nc -ll -p 80 -e cat");
    healthy(&hoist, "a", "healthy");
    hoist.sh("a", "rm /ok");
    healthy(&hoist, "a", "unhealthy");
}

fn ready_takes_an_answer_that_is_no_http_for_a_failure() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  text: {image: tiny, stop_signal: SIGKILL, command: nc -ll -p 80 -e yes, x-hoist: {ready: {http: {port: 80}, \
         interval: 100ms, retries: 2, start_period: 0s}}}\n  mute: {image: tiny, stop_signal: SIGKILL, command: nc -ll -p 80 -e \
         sleep 3600, x-hoist: {ready: {http: {port: 80}, interval: 100ms, timeout: 300ms, retries: 2, start_period: 0s}}}\n",
    );
    hoist
        .run("up -d --wait text")
        .code(1)
        .says("the answer is not HTTP");
    hoist
        .run("up -d --wait mute")
        .code(1)
        .says("HTTP on port 80: no answer within 300ms");
    assert_eq!(hoist.state("mute"), "running");
}

fn wrong_values_of_x_hoist_are_told_all_at_once_before_anything_starts() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    SLEEP2\n    x-hoist:\n      on_unhealthy: reboot\n      redy: {}\n      ready: {http: {path: x, status: 9}, \
         tcp: {port: 70000}, log: '/a(b/', interval: fast, headers: 1}\n  b: {image: tiny, x-hoist: {ready: {}}}\n"
            .replace("SLEEP2", "image: tiny")
            .as_str(),
    );
    hoist
        .run("up -d")
        .code(1)
        .says("services.a.x-hoist.on_unhealthy: `reboot` is not a reaction; write restart or none")
        .says("did you mean `ready`?")
        .says("services.a.x-hoist.ready.http: `port` is missing")
        .says("services.a.x-hoist.ready.http.path: `x` is not a path")
        .says("services.a.x-hoist.ready.http.status: `9` is not a status from 100 to 599")
        .says("services.a.x-hoist.ready.tcp.port: `70000` is not a port")
        .says(
            "services.a.x-hoist.ready.log: `/a(b/` can't be looked for in the log: unclosed group",
        )
        .says("services.a.x-hoist.ready.interval: `fast` is not a duration")
        .says("services.b.x-hoist.ready: nothing is looked at");
    assert!(
        hoist
            .global(&["-p", &hoist.name, "ps", "-aq"])
            .out
            .is_empty()
    );
}

fn a_change_of_x_hoist_makes_a_new_container() {
    let hoist = Sandbox::new();
    let with = |own: &str| {
        hoist.compose(&format!("services:\n  a: {{SLEEP, x-hoist: {{{own}}}}}\n"));
        hoist.ok("up -d");
        hoist.id("a")
    };
    let first = with("ready: {log: a}");
    assert_eq!(with("ready: {log: a}"), first);
    let second = with("ready: {log: b}");
    assert_ne!(second, first);
    assert_ne!(with("ready: {log: b}, on_unhealthy: restart"), second);
}

fn an_unhealthy_container_is_stopped_and_started_again_where_that_is_asked_for() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_grace_period: 10s, command: [sh, -c, 'rm -f /bad; trap \"echo told; exit 0\" TERM; echo begun; while :; \
         do sleep 0.1; done'], healthcheck: {test: test ! -e /bad, interval: 200ms, retries: 2}, x-hoist: {on_unhealthy: \
         restart}}\n",
    );
    hoist.ok("up -d --wait");
    let (id, first) = (hoist.id("a"), hoist.init("a"));
    hoist.sh("a", "touch /bad");
    eventually("it was started again", || {
        (hoist.state("a") == "running" && hoist.init("a") != first).then_some(())
    });
    assert_eq!(hoist.id("a"), id);
    let log = hoist.ok("logs --no-log-prefix a").out;
    assert!(log.starts_with("begun\ntold\nbegun"), "{log}");
    healthy(&hoist, "a", "healthy");
    // What the user stops stays down.
    hoist.sh("a", "touch /bad");
    hoist.ok("stop");
    assert_eq!(hoist.state("a"), "exited");
}

fn who_waits_is_told_what_the_last_probe_said() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  db:\n    image: tiny\n    command: sleep 1000\n    stop_signal: SIGKILL\n    healthcheck:\n      \
         test: test -e /ready || { echo connection refused; exit 1; }\n      interval: 100ms\n      retries: 1000\n",
    );
    for (flags, told) in [
        (
            "--progress plain",
            "Waiting (probe 2 of 1000: connection refused)",
        ),
        ("--progress json", "probe 2 of 1000: connection refused"),
    ] {
        let up = hoist.start(&format!("{flags} up -d --wait"));
        up.says(told);
        hoist.exec("db", "touch /ready").ok();
        assert_eq!(up.end(), 0, "{flags}");
        hoist.ok("down");
    }
    let mut up = hoist.on_terminal("up -d --wait");
    up.says("of 1000: connection refused)");
    hoist.exec("db", "touch /ready").ok();
    assert_eq!(up.wait(), 0);
    let text = up.text();
    let last = text.rfind("Healthy").expect("it says so in the end");
    assert!(!text[last..].contains("refused"), "{text}");
}
