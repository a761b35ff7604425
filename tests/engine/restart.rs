//! Restarts, stops, exits: what policies do, what signals do, and that none of it is lost with a supervisor.

use crate::harness::process::{is_alive, kill_and_wait};
use crate::harness::{ENGINE, Sandbox, eventually, image};

crate::cases!(ENGINE;
    no_leaves_it_down_and_the_others_start_it_again,
    waits_between_restarts_double,
    the_deploy_policy_wins_over_restart_and_has_its_own_number,
    a_delay_is_kept_and_a_long_run_counts_attempts_anew,
    attempts_and_waits_survive_the_supervisor,
    a_container_that_waits_to_be_started_again_can_be_stopped_and_killed,
    kill_and_the_stop_signal_leave_it_down_and_other_signals_do_not,
    a_start_by_the_user_counts_anew,
    exit_codes_tell_how_it_ended,
    a_command_that_can_not_run_says_why,
    the_end_of_a_child_for_memory_is_told,
    the_stop_signal_is_a_name_a_number_or_that_of_the_image,
    the_grace_period_ends_what_does_not_listen,
    a_grace_period_below_zero_does_not_end,
    the_exit_of_an_adopted_container_is_read,
    a_stop_that_began_goes_on_with_another_supervisor,
    an_idle_supervisor_does_nothing,
    a_supervisor_with_probes_needs_at_most_two_mebibytes_of_its_own,
);

/// Adds the time to a file that lasts, and ends.
const TURN: &str = "cut -d\" \" -f1 /proc/uptime >> /v/t";

/// Times that [`TURN`] has written, read through the service `v`.
fn turns(hoist: &Sandbox) -> Vec<f64> {
    let text = hoist.exec("v", "cat /v/t").out;
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A project with a service `a` that ends, and `v` that looks at its volume.
fn ending(hoist: &Sandbox, command: &str, keys: &str) {
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: [sh, -c, '{TURN}; {command}'], volumes: ['vol:/v'], {keys}}}\n  v: {{SLEEP, volumes: \
         ['vol:/v']}}\nvolumes: {{vol: }}\n"
    ));
    hoist.ok("up -d");
}

fn after(hoist: &Sandbox, count: usize) -> Vec<f64> {
    eventually(&format!("{count} turns"), || {
        let turns = turns(hoist);
        (turns.len() >= count).then_some(turns)
    })
}

/// Seconds since boot.
fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("the kernel tells");
    let first = text.split(' ').next().and_then(|text| text.parse().ok());
    first.expect("a number")
}

/// Waits for the clock alone.
fn pass(seconds: f64) {
    let end = uptime() + seconds;
    eventually("time passes", || (uptime() >= end).then_some(()));
}

fn no_leaves_it_down_and_the_others_start_it_again() {
    let hoist = Sandbox::new();
    let service = |name: &str, restart: &str, code: u8| {
        format!(
            "  {name}: {{image: tiny, stop_signal: SIGKILL, restart: {restart}, command: [sh, -c, 'echo turn; test $$(cat /n | wc -l) \
             -ge 2 && exec sleep 3600; echo >> /n; exit {code}']}}\n"
        )
    };
    hoist.compose(&format!(
        "services:\n{}{}{}{}",
        service("no", "'no'", 3),
        service("always", "always", 0),
        service("unless", "unless-stopped", 0),
        service("failure", "on-failure", 3),
    ));
    hoist.ok("up -d");
    let turns = |service: &str| {
        let log = hoist.ok(&format!("logs --no-log-prefix {service}")).out;
        log.matches("turn").count()
    };
    for service in ["always", "unless", "failure"] {
        eventually("three turns", || (turns(service) == 3).then_some(()));
        hoist.reaches(service, "running");
    }
    assert_eq!(hoist.state("no"), "exited");
    assert_eq!((turns("no"), hoist.exit_code("no")), (1, 3));
}

fn waits_between_restarts_double() {
    let hoist = Sandbox::new();
    ending(&hoist, "exit 0", "restart: always, stop_signal: SIGKILL");
    let times = after(&hoist, 5);
    for (at, pair) in times.windows(2).take(4).enumerate() {
        let apart = pair[1] - pair[0];
        // The clock has hundredths; a busy machine is late, but nothing is early.
        let wait = 0.1 * f64::from(1u32 << at);
        assert!(apart > wait - 0.02, "{times:?}");
    }
}

fn the_deploy_policy_wins_over_restart_and_has_its_own_number() {
    let hoist = Sandbox::new();
    let service = |name: &str, code: u8, keys: &str| {
        format!("  {name}: {{image: tiny, command: [sh, -c, 'echo turn; exit {code}'], {keys}}}\n")
    };
    hoist.compose(&format!(
        "services:\n{}{}{}{}",
        service(
            "none",
            3,
            "restart: always, deploy: {restart_policy: {condition: none}}"
        ),
        service(
            "any",
            0,
            "restart: 'no', deploy: {restart_policy: {condition: any, max_attempts: 2}}"
        ),
        service(
            "failure",
            3,
            "deploy: {restart_policy: {condition: on-failure, max_attempts: 1}}"
        ),
        service(
            "success",
            0,
            "deploy: {restart_policy: {condition: on-failure, max_attempts: 1}}"
        ),
    ));
    hoist.ok("up -d");
    for (service, turns) in [("none", 1), ("any", 3), ("failure", 2), ("success", 1)] {
        hoist.reaches(service, "exited");
        let log = hoist.ok(&format!("logs --no-log-prefix {service}")).out;
        assert_eq!(log.matches("turn").count(), turns, "{service}");
    }
}

fn a_delay_is_kept_and_a_long_run_counts_attempts_anew() {
    let hoist = Sandbox::new();
    // The second run is a long one.
    ending(
        &hoist,
        "test $$(wc -l < /v/t) = 2 && sleep 2; exit 1",
        "deploy: {restart_policy: {condition: any, delay: 700ms, window: 1500ms, max_attempts: 2}}",
    );
    hoist.reaches("a", "exited");
    let times = turns(&hoist);
    // One restart, the long run, then two more.
    assert_eq!(times.len(), 4, "{times:?}");
    assert!(times[1] - times[0] > 0.68, "{times:?}");
    assert!(times[3] - times[2] > 0.68, "{times:?}");
}

fn attempts_and_waits_survive_the_supervisor() {
    let hoist = Sandbox::new();
    ending(
        &hoist,
        "exit 1",
        "deploy: {restart_policy: {condition: on-failure, delay: 2s, max_attempts: 3}}",
    );
    for count in 1..=3 {
        after(&hoist, count);
        hoist.reaches("a", "restarting");
        kill_and_wait(hoist.supervisor("a"));
        // Whoever looks next gives it another one.
        assert_eq!(hoist.state("a"), "restarting");
    }
    hoist.reaches("a", "exited");
    let times = turns(&hoist);
    assert_eq!(times.len(), 4, "{times:?}");
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart > 1.95, "the wait was cut short: {times:?}");
    }
}

fn a_container_that_waits_to_be_started_again_can_be_stopped_and_killed() {
    let hoist = Sandbox::new();
    let policy = "deploy: {restart_policy: {condition: any, delay: 1h}}";
    for how in ["stop -t 5 a", "kill a"] {
        ending(&hoist, "exit 3", policy);
        hoist.reaches("a", "restarting");
        hoist.ok("ps -a a").says("Restarting (3)");
        hoist.ok(how);
        hoist.reaches("a", "exited");
        assert_eq!(hoist.exit_code("a"), 3);
        hoist.ok("down -v -t 0");
    }
}

fn kill_and_the_stop_signal_leave_it_down_and_other_signals_do_not() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, restart: always, command: [sh, -c, 'trap \"exit 4\" HUP; trap \"exit 5\" TERM; echo up; while \
         :; do sleep 0.1; done']}\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "up");
    let first = hoist.init("a");
    hoist.ok("kill -s HUP");
    eventually("it was started again", || {
        (hoist.state("a") == "running" && hoist.init("a") != first).then_some(())
    });
    eventually("it listens", || {
        (hoist.ok("logs a").out.matches("up").count() == 2).then_some(())
    });
    hoist.ok("kill -s TERM");
    hoist.reaches("a", "exited");
    assert_eq!(hoist.exit_code("a"), 5);
    hoist.ok("up -d");
    hoist.ok("kill");
    hoist.reaches("a", "exited");
    assert_eq!(hoist.exit_code("a"), 137);
}

fn a_start_by_the_user_counts_anew() {
    let hoist = Sandbox::new();
    ending(&hoist, "exit 3", "restart: 'on-failure:1'");
    hoist.reaches("a", "exited");
    assert_eq!(turns(&hoist).len(), 2);
    hoist.ok("start a");
    after(&hoist, 4);
    hoist.reaches("a", "exited");
    assert_eq!(turns(&hoist).len(), 4);
}

fn exit_codes_tell_how_it_ended() {
    let hoist = Sandbox::new();
    let all = [
        ("plain", "exit 42", 42),
        ("most", "exit 255", 255),
        ("wrong", "nothere", 127),
        ("refused", "/etc/passwd", 126),
    ];
    let services: String = all
        .iter()
        .map(|(name, command, _)| {
            format!("  {name}: {{image: tiny, command: [sh, -c, '{command}']}}\n")
        })
        .collect();
    // Process 1 of a namespace gets no signal that it does not handle.
    let inits = "  segv: {image: tiny, command: [sh, -c, 'kill -SEGV $$$$'], init: true}\n  term: {image: tiny, command: sleep 3600, init: true}\n";
    hoist.compose(&format!("services:\n{services}{inits}"));
    hoist.ok("up -d");
    hoist.ok("kill -s TERM term");
    for (name, _, code) in all
        .into_iter()
        .chain([("segv", "", 139), ("term", "", 143)])
    {
        hoist.reaches(name, "exited");
        assert_eq!(hoist.exit_code(name), code, "{name}");
    }
}

fn a_command_that_can_not_run_says_why() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: nothere, restart: always}\n  b: {image: tiny, command: /etc/passwd}\n");
    hoist
        .run("up -d a")
        .code(1)
        .says("\"nothere\": executable file not found in $PATH");
    hoist.run("up -d b").code(1).says("permission denied");
    for service in ["a", "b"] {
        assert_eq!(hoist.state(service), "created");
    }
}

fn the_end_of_a_child_for_memory_is_told() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  child: {image: tiny, mem_limit: 20m, memswap_limit: 20m, command: [sh, -c, 'tail /dev/zero; exit 5']}\n  first: \
         {image: tiny, mem_limit: 20m, memswap_limit: 20m, command: tail /dev/zero}\n",
    );
    hoist
        .run("up --wait child")
        .code(1)
        .says("exited (5)")
        .says("out of memory")
        .says("mem_limit");
    hoist
        .run("up --wait first")
        .code(1)
        .says("exited (137)")
        .says("(SIGKILL), out of memory");
}

fn the_stop_signal_is_a_name_a_number_or_that_of_the_image() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        format!("FROM {}\nSTOPSIGNAL SIGUSR2\n", image::TINY),
    );
    hoist.global(&["image", "build", "-t", "usr", "."]).ok();
    let service = |name: &str, image: &str, signal: &str, keys: &str| {
        format!(
            "  {name}: {{image: {image}, {keys} command: [sh, -c, 'trap \"echo got {signal}; exit 0\" {signal}; echo up; while :; do \
             sleep 0.1; done']}}\n"
        )
    };
    hoist.compose(&format!(
        "services:\n{}{}{}{}{}{}",
        service("default", "tiny", "TERM", ""),
        service("name", "tiny", "INT", "stop_signal: SIGINT,"),
        service("short", "tiny", "QUIT", "stop_signal: quit,"),
        service("number", "tiny", "USR1", "stop_signal: '10',"),
        service("real", "tiny", "37", "stop_signal: SIGRTMIN+3,"),
        service("image", "usr", "USR2", ""),
    ));
    hoist.ok("up -d");
    let all = ["default", "name", "short", "number", "real", "image"];
    for service in all {
        hoist.logged(service, "up");
    }
    hoist.ok("stop -t 20");
    for service in all {
        hoist.logged(service, "got ");
        assert_eq!(hoist.exit_code(service), 0, "{service}");
    }
}

fn the_grace_period_ends_what_does_not_listen() {
    let hoist = Sandbox::new();
    let deaf = "command: [sh, -c, 'trap \"\" TERM; echo up; while :; do sleep 0.1; done']";
    hoist.compose(&format!(
        "services:\n  none: {{image: tiny, stop_grace_period: 0s, {deaf}}}\n  some: {{image: tiny, stop_grace_period: 1500ms, {deaf}}}\n"
    ));
    hoist.ok("up -d");
    for (service, least, most) in [("none", 0.0, 5.0), ("some", 1.5, 9.0)] {
        hoist.logged(service, "up");
        let begun = uptime();
        hoist.ok(&format!("stop {service}"));
        let took = uptime() - begun;
        assert!((least..most).contains(&took), "{service} took {took} s");
        assert_eq!(hoist.exit_code(service), 137);
    }
}

fn a_grace_period_below_zero_does_not_end() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_grace_period: -1s, command: [sh, -c, 'trap \"sleep 11; exit 7\" TERM; echo up; while :; do \
         sleep 0.1; done']}\n",
    );
    hoist.ok("up -d").says_nothing_of("below zero");
    hoist.logged("a", "up");
    hoist.ok("stop");
    assert_eq!(
        hoist.exit_code("a"),
        7,
        "it was killed after the usual time"
    );
}

/// Whether the kernel tells everybody how a process ended: from Linux 6.15 on.
fn tells_exits() -> bool {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel tells");
    let mut parts = text
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    (parts.next(), parts.next()) >= (Some(6), Some(15))
}

fn the_exit_of_an_adopted_container_is_read() {
    let hoist = Sandbox::new();
    let until = |end: &str| {
        format!("[sh, -c, 'trap : USR1; until [ -e /stop ]; do sleep 0.05; done; {end}']")
    };
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: {}}}\n  b: {{image: tiny, command: {}}}\n  c: {{SLEEP}}\n",
        until("exit 8"),
        until("exit 0")
    ));
    hoist.ok("up -d");
    for service in ["a", "b", "c"] {
        kill_and_wait(hoist.supervisor(service));
        // Whoever looks gives it another one, which is not its parent.
        assert_eq!(hoist.state(service), "running");
    }
    hoist.let_end("a");
    hoist.let_end("b");
    kill_and_wait(hoist.init("c"));
    for (service, code) in [("a", 8), ("b", 0), ("c", 137)] {
        hoist.reaches(service, "exited");
        let found = hoist.exit_code(service);
        match tells_exits() {
            true => assert_eq!(found, code, "{service}"),
            false => assert!(found == code || found == 255, "{service}: {found}"),
        }
    }
}

fn a_stop_that_began_goes_on_with_another_supervisor() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, restart: always, command: [sh, -c, 'trap \"echo told\" TERM; echo up; while :; do sleep 0.1; \
         done']}\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "up");
    let (process, supervisor) = (hoist.init("a"), hoist.supervisor("a"));
    let begun = uptime();
    let stop = hoist.start("stop -t 4");
    hoist.logged("a", "told");
    kill_and_wait(stop.pid());
    kill_and_wait(supervisor);
    drop(stop);
    assert!(is_alive(process), "it is still in its grace period");
    eventually("it is down", || {
        (hoist.state("a") == "exited").then_some(())
    });
    let took = uptime() - begun;
    assert!((3.9..20.0).contains(&took), "{took} s");
    assert!(!is_alive(process));
}

/// Context switches and processor time of a process.
fn activity(pid: i32) -> (u64, String) {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
    let status = read("status");
    let switches = status
        .lines()
        .filter(|line| line.contains("ctxt_switches"))
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    let stat = read("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("the name ends");
    let times: Vec<&str> = rest.split(' ').skip(11).take(4).collect();
    (switches.sum(), times.join(" "))
}

fn an_idle_supervisor_does_nothing() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  plain: {SLEEP}\n  ready: {image: tiny, stop_signal: SIGKILL, command: sh -c 'echo now; exec sleep 3600', x-hoist: \
         {ready: {log: now}}}\n  slow: {SLEEP, restart: always, healthcheck: {test: 'true', interval: 1h}}\n",
    );
    hoist.ok("up -d");
    hoist.ok("up -d --wait plain ready");
    for service in ["plain", "ready", "slow"] {
        let supervisor = hoist.supervisor(service);
        let quiet = eventually("what is under way is over", || {
            let first = activity(supervisor);
            pass(0.3);
            (activity(supervisor) == first).then_some(first)
        });
        pass(3.0);
        assert_eq!(activity(supervisor), quiet, "{service}");
    }
}

fn a_supervisor_with_probes_needs_at_most_two_mebibytes_of_its_own() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: sh -c 'echo it is 12 now; nc -ll -p 80 -e cat', healthcheck: \
         {test: 'yes | head -c 100000', interval: 100ms}, x-hoist: {ready: {tcp: {port: 80}, log: '/^it is \\d+/', interval: 100ms}}}\n",
    );
    hoist.ok("up -d --wait");
    pass(2.0);
    let supervisor = hoist.supervisor("a");
    let text = std::fs::read_to_string(format!("/proc/{supervisor}/smaps_rollup"))
        .expect("root may read it");
    // Pages of the program's file are not its own, whoever else runs it and whether they are on disk yet.
    let kib: u64 = text
        .lines()
        .filter(|line| line.starts_with("Anonymous:") || line.starts_with("Pss_Shmem:"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(kib > 0, "no figure in:\n{text}");
    // A program that is not optimised has more tables that the loader writes to.
    let most = if cfg!(debug_assertions) { 3 } else { 2 };
    assert!(kib <= most * 1024, "{kib} KiB:\n{text}");
}
