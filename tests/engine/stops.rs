//! What is said of a container that did not listen when it was told to stop.

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_shell_that_ignores_the_signal_is_named_with_what_mends_it,
    a_program_without_a_handler_is_told_of_init,
    what_ends_at_once_or_is_killed_on_purpose_is_not_told_of,
    a_stop_that_cost_time_is_an_object_of_its_own_in_json,
    it_is_told_when_an_attached_up_is_ended,
    it_is_told_once_a_service_also_when_up_replaces_the_container,
);

const DEAF: &str = "services:\n  deaf:\n    image: tiny\n    stop_grace_period: 300ms\n    \
                    command: ['sh', '-c', 'trap \"\" TERM; echo ready; while :; do sleep 1000; done']\n";

fn deaf() -> Sandbox {
    let hoist = Sandbox::new();
    hoist.compose(DEAF);
    hoist.ok("up -d");
    hoist.logged("deaf", "ready");
    hoist
}

fn a_shell_that_ignores_the_signal_is_named_with_what_mends_it() {
    let hoist = deaf();
    let done = hoist.ok("stop");
    for part in [
        "service `deaf` was killed ",
        "s after SIGTERM",
        "a shell (`sh`), which ignores it",
        "hint:",
        "stop_signal",
    ] {
        assert!(done.err.contains(part), "{part}: {}", done.story());
    }
    hoist.ok("start");
    hoist.logged("deaf", "ready");
    hoist.ok("down").says("a shell (`sh`), which ignores it");
}

fn a_program_without_a_handler_is_told_of_init() {
    let hoist = Sandbox::new();
    let file = |more: &str| {
        format!(
            "services:\n  a: {{image: tiny, command: sleep 1000, stop_grace_period: 300ms{more}}}\n"
        )
    };
    hoist.compose(&file(""));
    hoist.ok("up -d");
    hoist
        .ok("stop")
        .says("its first process (`sleep`) has no handler for it")
        .says("`init: true`");
    hoist.compose(&file(", init: true"));
    hoist.ok("up -d");
    let done = hoist.ok("down");
    assert!(!done.err.contains("was killed"), "{}", done.story());
}

fn what_ends_at_once_or_is_killed_on_purpose_is_not_told_of() {
    let hoist = deaf();
    let quiet = |arguments: &str| {
        let done = hoist.ok(arguments);
        assert!(!done.all().contains("was killed"), "{}", done.story());
    };
    quiet("kill");
    hoist.reaches("deaf", "exited");
    quiet("start");
    hoist.logged("deaf", "ready");
    // Who gives it no time does not wonder.
    quiet("stop -t 0");
    quiet("down");
}

fn a_stop_that_cost_time_is_an_object_of_its_own_in_json() {
    let hoist = deaf();
    let done = hoist.ok("--progress json stop");
    let lines = done
        .err
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told: Vec<Value> = lines.filter(|line| line["stop"].is_object()).collect();
    assert_eq!(told.len(), 1, "{}", done.story());
    let stop = &told[0]["stop"];
    assert_eq!(stop["service"], "deaf");
    assert_eq!(stop["signal"], "SIGTERM");
    assert_eq!(stop["killed"], true);
    assert_eq!(stop["reason"], "ignored");
    assert!(stop["seconds"].as_f64() >= Some(0.3), "{stop}");
    assert_eq!(told[0]["status"], "Warning");
}

fn it_is_told_when_an_attached_up_is_ended() {
    let hoist = Sandbox::new();
    hoist.compose(DEAF);
    let up = hoist.start("up");
    up.says("ready");
    up.signal(nix::sys::signal::Signal::SIGINT);
    up.says("a shell (`sh`), which ignores it");
    assert_eq!(up.end(), 130);
}

fn it_is_told_once_a_service_also_when_up_replaces_the_container() {
    let hoist = Sandbox::new();
    hoist.compose(&format!("{DEAF}    scale: 2\n"));
    hoist.ok("up -d");
    hoist.logged("deaf", "ready");
    hoist.compose(&format!("{DEAF}    scale: 2\n    environment: {{A: b}}\n"));
    let done = hoist.ok("up -d");
    assert_eq!(
        done.err.matches("was killed").count(),
        1,
        "{}",
        done.story()
    );
    hoist.ok("down -t 0");
}
