//! Several commands at once: on one project the second waits and says for whom; on several they don't meet.

use nix::sys::signal::Signal;

use crate::harness::process::{Running, kill_and_wait};
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_second_command_waits_and_says_who_holds_the_project,
    ctrl_c_ends_a_wait_for_another_command_at_once,
    a_holder_that_was_killed_blocks_nobody,
    commands_on_two_projects_do_not_wait_for_each_other,
    a_hundred_commands_on_ten_projects_end_clean,
);

/// A project whose `up` holds the lock until `release` is called.
fn held() -> (Sandbox, Running) {
    let hoist = Sandbox::new();
    hoist.file("out/begun", "");
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    volumes: ['./out:/out']\n    \
         pre_start: [{command: sh -c 'echo x >> /out/begun; until test -e /out/go; do sleep 0.05; done'}]\n",
    );
    let up = hoist.start("up -d");
    let begun = hoist.dir().join("out/begun");
    eventually("the first command is at work", || {
        (!std::fs::read(&begun).ok()?.is_empty()).then_some(())
    });
    (hoist, up)
}

fn release(hoist: &Sandbox) {
    hoist.file("out/go", "");
}

fn a_second_command_waits_and_says_who_holds_the_project() {
    let (hoist, up) = held();
    let second = hoist.start("down -t 0");
    second.says(&format!(
        "waiting for `hoist -p {0} up -d` (pid {1}) to finish with project {0}",
        hoist.name,
        up.pid()
    ));
    release(&hoist);
    assert_eq!(up.end(), 0);
    assert_eq!(second.end(), 0);
    assert!(hoist.ps().is_empty());
}

fn ctrl_c_ends_a_wait_for_another_command_at_once() {
    let (hoist, up) = held();
    for command in ["stop", "up", "up -d", "run --rm -T a true"] {
        let second = hoist.start(command);
        if command.starts_with("run") {
            // It says so on standard error all the same.
            second.says("waiting for");
        } else {
            second.says("waiting for `hoist");
        }
        second.signal(Signal::SIGINT);
        assert_eq!(second.end(), 130, "{command}");
    }
    release(&hoist);
    assert_eq!(up.end(), 0);
    assert_eq!(hoist.state("a"), "running");
}

fn a_holder_that_was_killed_blocks_nobody() {
    let (hoist, up) = held();
    let second = hoist.start("up -d");
    second.says("waiting for");
    release(&hoist);
    kill_and_wait(up.pid());
    assert_eq!(second.end(), 0);
    assert_eq!(hoist.state("a"), "running");
    hoist.ok("up -d").says_nothing_of("waiting");
}

fn commands_on_two_projects_do_not_wait_for_each_other() {
    let (hoist, up) = held();
    hoist.file(
        "other.yaml",
        "services: {b: {image: tiny, command: sleep 3600, stop_signal: SIGKILL}}\n",
    );
    let other = format!("{}b", hoist.name);
    let done = hoist.global(&["-p", &other, "-f", "other.yaml", "up", "-d"]);
    done.ok().says_nothing_of("waiting");
    hoist.global(&["-p", &other, "down"]).ok();
    release(&hoist);
    assert_eq!(up.end(), 0);
}

fn a_hundred_commands_on_ten_projects_end_clean() {
    const PROJECTS: usize = 10;
    const ROUNDS: usize = 5;
    let hoist = Sandbox::new();
    hoist.compose("services: {a: {SLEEP}, b: {SLEEP, depends_on: [a]}}\n");
    let command = |project: usize, words: &[&str]| {
        let name = format!("{}-{project}", hoist.name);
        let words: Vec<&str> = ["-p", &name]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        Running::start(hoist.command(&words))
    };
    // Ups and downs of one project come in any order; each has to end well.
    for _ in 0..ROUNDS {
        let mut running = Vec::new();
        for project in 0..PROJECTS {
            running.push(command(project, &["up", "-d"]));
            running.push(command(project, &["down", "-t", "0"]));
        }
        for one in running {
            let (text, code) = end(one);
            assert_eq!(code, 0, "{text}");
        }
        hoist.notice();
    }
    for project in 0..PROJECTS {
        let (text, code) = end(command(project, &["down", "-t", "0"]));
        assert_eq!(code, 0, "{text}");
        let name = format!("{}-{project}", hoist.name);
        hoist.global(&["-p", &name, "ps", "-aq"]).ok().prints("");
    }
}

/// Waits for the end of a command: what it printed, and its exit code.
fn end(mut running: Running) -> (String, i32) {
    let code = running.wait();
    (running.text(), code)
}
