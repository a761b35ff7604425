//! What cannot work ends with an error that names it, and with nothing that the next command cannot handle.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::harness::{ENGINE, Sandbox, leftovers::children, ports};

crate::cases!(ENGINE;
    an_unreachable_registry_is_named,
    a_registry_that_never_answers_does_not_hold_up_ctrl_c,
    a_program_that_is_not_in_the_image_is_named,
    a_missing_image_leaves_what_runs_alone,
    a_full_command_line_of_nonsense_is_an_error,
    records_of_a_newer_version_are_refused_not_destroyed,
    a_project_directory_that_went_away_can_be_taken_down,
);

fn an_unreachable_registry_is_named() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  a: {{image: 'localhost:{port}/x:1'}}\n  b: {{SLEEP}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says(&format!("localhost:{port}"))
        .says("refused");
    hoist
        .global(&["image", "pull", &format!("localhost:{port}/x")])
        .code(1)
        .says(&format!("localhost:{port}"));
    hoist.ok("down");
    assert_eq!(
        children(&hoist.data().join("networks"))
            .iter()
            .filter(|path| path.is_dir())
            .count(),
        0
    );
}

fn a_registry_that_never_answers_does_not_hold_up_ctrl_c() {
    let hoist = Sandbox::new();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    hoist.compose(&format!(
        "services:\n  a: {{image: 'localhost:{port}/x:1'}}\n"
    ));
    let up = hoist.start("up -d");
    let (stream, _) = silent.accept().expect("hoist connects");
    let begun = Instant::now();
    up.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(up.end(), 130);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        begun.elapsed()
    );
    drop(stream);
}

fn a_program_that_is_not_in_the_image_is_named() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: nosuchprogram}\n  b: {SLEEP}\n");
    let done = hoist.run("up -d").says("nosuchprogram");
    assert_ne!(done.code, 0);
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.state("a"), "running");
    hoist
        .run("run --rm -T a nosuchprogram")
        .code(127)
        .says("nosuchprogram");
    hoist.run("run --rm -T a /etc").code(126);
    assert_eq!(hoist.ps().len(), 2, "a failed run left its container");
}

fn a_missing_image_leaves_what_runs_alone() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let process = hoist.init("a");
    hoist.compose(
        &format!(
            "services:\n  a: {{SLEEP, image: 'localhost:{}/gone'}}\n",
            ports::free()
        )
        .replace("image: tiny, ", ""),
    );
    assert_ne!(hoist.run("up -d").code, 0);
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d").says("Running");
    assert_eq!(hoist.init("a"), process);
}

fn a_full_command_line_of_nonsense_is_an_error() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    for line in [
        "up -d nosuch",
        "logs nosuch",
        "exec -T nosuch true",
        "run --rm nosuch",
        "build nosuch",
        "ps nosuch",
        "down -t soon",
    ] {
        let done = hoist.run(line);
        assert_ne!(done.code, 0, "{line}");
        assert!(
            done.err.contains("nosuch") || done.err.contains("soon"),
            "{}",
            done.story()
        );
    }
    hoist.ok("ps -a -q").prints("");
}

fn records_of_a_newer_version_are_refused_not_destroyed() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.ok("stop -t 0");
    let dir = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    let record = children(&dir)[0].join("record.json");
    let text = std::fs::read_to_string(&record).expect("a record");
    let newer = text
        .replacen("\"version\":1", "\"version\":99", 1)
        .replacen("\"version\": 1", "\"version\": 99", 1);
    assert_ne!(newer, text, "{text}");
    std::fs::write(&record, &newer).expect("writable");
    assert_ne!(hoist.run("up -d").says("99").code, 0);
    assert_eq!(
        std::fs::read_to_string(&record).expect("still there"),
        newer
    );
    std::fs::write(&record, text).expect("writable");
    hoist.ok("up -d");
}

fn a_project_directory_that_went_away_can_be_taken_down() {
    let hoist = Sandbox::new();
    hoist.file("sub/bound/file", "x");
    hoist.file("sub/compose.yaml", "services:\n  a: {image: tiny, command: sleep 3600, stop_signal: SIGKILL, volumes: ['./bound:/b']}\n");
    hoist.ok("-f sub/compose.yaml up -d");
    std::fs::remove_dir_all(hoist.dir().join("sub")).expect("it can be removed");
    hoist.ok("down -t 0");
    hoist.ok("ps -a -q").prints("");
}
