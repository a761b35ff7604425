//! What lives on: restart policies, and what happens when a process of hoist is killed.

use nix::sys::signal::Signal;

use crate::harness::process::{is_alive, kill_and_wait};
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    on_failure_restarts_so_many_times_and_no_more,
    always_restarts_what_was_killed,
    a_stopped_service_stays_down_whatever_its_policy,
    a_killed_supervisor_leaves_its_container_running_and_the_next_command_goes_on,
    the_exit_of_a_container_without_supervisor_is_noticed,
    an_up_killed_in_the_middle_is_completed_by_the_next,
    a_down_killed_in_the_middle_is_completed_by_the_next,
    a_container_survives_the_terminal_it_was_started_from,
);

fn on_failure_restarts_so_many_times_and_no_more() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, restart: 'on-failure:2', command: sh -c 'echo turn; exit 3'}\n  b: {image: tiny, restart: \
         on-failure, command: 'true'}\n",
    );
    hoist.ok("up -d");
    let turns = || {
        hoist
            .ok("logs --no-log-prefix a")
            .out
            .lines()
            .filter(|line| *line == "turn")
            .count()
    };
    eventually("three turns", || (turns() == 3).then_some(()));
    hoist.reaches("a", "exited");
    assert_eq!(hoist.exit_code("a"), 3);
    assert_eq!(turns(), 3);
    assert_eq!(hoist.state("b"), "exited");
}

fn always_restarts_what_was_killed() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, restart: always}\n");
    hoist.ok("up -d");
    let (id, first) = (hoist.id("a"), hoist.init("a"));
    kill_and_wait(first);
    eventually("another process", || {
        (hoist.state("a") == "running").then_some(())?;
        (hoist.init("a") != first).then_some(())
    });
    assert_eq!(hoist.id("a"), id);
    assert_eq!(hoist.sh("a", "echo works"), "works");
}

fn a_stopped_service_stays_down_whatever_its_policy() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, restart: always}\n");
    hoist.ok("up -d");
    hoist.ok("stop -t 0");
    assert_eq!(hoist.state("a"), "exited");
    hoist.ok("up -d");
    assert_eq!(hoist.state("a"), "running");
}

fn a_killed_supervisor_leaves_its_container_running_and_the_next_command_goes_on() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'i=0; until [ -e /stop ]; do i=$$((i+1)); echo line $$i; \
         sleep 0.05; done; exit 8']}\n  b: {SLEEP}\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "line 3");
    let (id, process) = (hoist.id("a"), hoist.init("a"));
    kill_and_wait(hoist.supervisor("a"));
    assert!(is_alive(process), "the container died with its supervisor");
    assert_eq!(hoist.state("a"), "running");
    assert_eq!(hoist.id("a"), id);
    assert_eq!(hoist.sh("a", "echo exec works"), "exec works");
    hoist.sh("b", "ping -c1 -W2 a");
    hoist.sh("a", "ping -c1 -W2 b");
    let count = || hoist.ok("logs --no-log-prefix a").out.lines().count();
    let before = count();
    eventually("the log goes on", || (count() > before + 3).then_some(()));
    let text = hoist.ok("logs --no-log-prefix a").out;
    for (number, line) in text.lines().enumerate() {
        assert_eq!(
            line,
            format!("line {}", number + 1),
            "a line is lost or broken"
        );
    }
    hoist.ok("up -d").says("Running");
    assert_eq!(hoist.init("a"), process);
    hoist.let_end("a");
    hoist.reaches("a", "exited");
    // Before Linux 6.15 the kernel does not tell a process that is not the parent; it is unknown then, never 0.
    let code = hoist.exit_code("a");
    assert!(code == 8 || code == 255 || code == -1, "exit code {code}");
    hoist.ok("down -t 0");
}

fn the_exit_of_a_container_without_supervisor_is_noticed() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let process = hoist.init("a");
    kill_and_wait(hoist.supervisor("a"));
    kill_and_wait(process);
    assert_ne!(hoist.state("a"), "running");
    assert_ne!(
        hoist.exit_code("a"),
        0,
        "an exit nobody saw is never a success"
    );
    hoist.ok("up -d");
    assert_eq!(hoist.state("a"), "running");
    assert_eq!(hoist.sh("a", "echo works"), "works");
}

fn an_up_killed_in_the_middle_is_completed_by_the_next() {
    let hoist = Sandbox::new();
    let services: String = (0..6)
        .map(|n| {
            format!(
                "  s{n}: {{SLEEP, volumes: ['v{n}:/v'], networks: [n{}]}}\n",
                n % 2
            )
        })
        .collect();
    let volumes: String = (0..6).map(|n| format!("  v{n}:\n")).collect();
    hoist.compose(&format!(
        "services:\n{services}volumes:\n{volumes}networks: {{n0: , n1: }}\n"
    ));
    // Killed at several depths: after so many containers have a directory.
    for depth in 0..5 {
        let up = hoist.start("up -d");
        let dir = hoist
            .data()
            .join("projects")
            .join(&hoist.name)
            .join("containers");
        eventually("some containers", || {
            (crate::harness::leftovers::children(&dir).len() >= depth).then_some(())
        });
        kill_and_wait(up.pid());
        drop(up);
        hoist.notice();
        hoist.ok("up -d");
        let rows = hoist.ps();
        assert_eq!(rows.len(), 6, "{rows:?}");
        assert!(rows.iter().all(|row| row["State"] == "running"), "{rows:?}");
        hoist.sh("s0", "ping -c1 -W2 s2");
        hoist.ok("down -v -t 0");
    }
}

fn a_down_killed_in_the_middle_is_completed_by_the_next() {
    let hoist = Sandbox::new();
    let services: String = (0..4).map(|n| format!("  s{n}: {{SLEEP}}\n")).collect();
    hoist.compose(&format!("services:\n{services}"));
    hoist.ok("up -d");
    let down = hoist.start("down -t 0");
    let dir = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    eventually("one is gone", || {
        (crate::harness::leftovers::children(&dir).len() < 4).then_some(())
    });
    kill_and_wait(down.pid());
    hoist.ok("down -t 0");
    hoist.ok("ps -a -q").prints("");
    hoist.ok("up -d");
    assert_eq!(hoist.ps().len(), 4);
}

fn a_container_survives_the_terminal_it_was_started_from() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    let up = hoist.on_terminal("up -d");
    assert_eq!(up.end(), 0);
    let supervisor = hoist.supervisor("a");
    let stat = std::fs::read_to_string(format!("/proc/{supervisor}/stat")).expect("it runs");
    let terminal = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(4))
        .expect("the field tty_nr");
    assert_eq!(terminal, "0", "the supervisor has a controlling terminal");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), Signal::SIGHUP)
        .expect("it runs");
    assert_eq!(hoist.sh("a", "echo works"), "works");
}
