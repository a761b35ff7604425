//! `live`: what its screen shows, what its keys do, and what it leaves of a terminal.

use nix::sys::signal::Signal;

use super::menu::{SETTINGS, child_of};
use crate::harness::process::eventually_or;
use crate::harness::{ENGINE, Running, Sandbox, screen};

crate::cases!(ENGINE;
    containers_are_shown_with_what_they_use_and_print,
    keys_stop_start_pause_and_restart_the_chosen_service,
    lines_are_those_of_the_chosen_container_or_with_a_text,
    what_was_asked_for_is_done_when_the_view_is_left,
    a_shell_gets_its_terminal_back_however_the_view_ends,
    what_cannot_be_drawn_is_refused_with_what_to_do,
);

/// Rows and columns of [`Sandbox::on_terminal`].
const SIZE: (u16, u16) = (33, 101);

const TWO: &str = "\
services:
  one:
    image: tiny
    stop_signal: SIGKILL
    command: [sh, -c, 'echo first of one; exec sleep 1000']
    healthcheck: {test: [CMD, sh, -c, 'echo nobody answers; exit 1'], interval: 100ms, retries: 2}
  two:
    image: tiny
    stop_signal: SIGKILL
    command: [sh, -c, 'echo first of two; while :; do :; done']
    cpus: 0.2
    mem_limit: 64m
";

fn seen(live: &Running) -> Vec<String> {
    screen::lines(live.text().as_bytes(), SIZE.0, SIZE.1)
}

/// Waits until a line of the screen has all these texts.
fn shows(live: &Running, texts: &[&str]) {
    eventually_or(
        &format!("a line has {texts:?}"),
        || seen(live).join("\n"),
        || {
            let lines = seen(live);
            let has = |line: &String| texts.iter().all(|text| line.contains(text));
            lines.iter().any(has)
        },
    );
}

fn containers_are_shown_with_what_they_use_and_print() {
    let hoist = Sandbox::new();
    hoist.compose(TWO);
    let mut live = hoist.on_terminal("live");
    shows(&live, &["0 of 0 up"]);
    shows(&live, &["no containers", "hoist up -d"]);
    hoist.ok("up -d");
    shows(&live, &["2 of 2 up"]);
    shows(&live, &["one-1", "Up ", "unhealthy"]);
    shows(&live, &["─ one-1 · ", "probes in a row: nobody answers"]);
    shows(&live, &["one-1 | first of one"]);
    shows(&live, &["two-1 | first of two"]);
    eventually_or(
        "the share of a processor",
        || seen(&live).join("\n"),
        || {
            let lines = seen(&live);
            let row = lines.iter().find(|line| line.starts_with("two-1  "));
            // Six columns stand behind it. A fifth of a processor, as far as the machine is exact.
            row.and_then(|row| row.split_whitespace().rev().nth(6)?.parse::<f64>().ok())
                .is_some_and(|cpu| cpu > 5.0 && cpu < 40.0)
        },
    );
    live.types("j");
    shows(&live, &["─ two-1", "memory of 64MiB"]);
    hoist.ok("up -d --scale two=2");
    shows(&live, &["3 of 3 up"]);
    shows(&live, &["two-2 | first of two"]);
    hoist.ok("down");
    shows(&live, &["0 of 0 up"]);
    live.types("q");
    assert_eq!(live.wait(), 0, "{}", live.text());
}

fn keys_stop_start_pause_and_restart_the_chosen_service() {
    let hoist = Sandbox::new();
    hoist.compose(TWO);
    hoist.ok("up -d");
    let before = hoist.ok("ps -a --format '{{.Service}} {{.ID}}'").out;
    let mut live = hoist.on_terminal("live");
    shows(&live, &["2 of 2 up"]);
    live.types("\x1b[Bs");
    shows(&live, &["two was stopped"]);
    shows(&live, &["two-1", "Exited (137)"]);
    assert_eq!(hoist.state("two"), "exited");
    assert_eq!(hoist.state("one"), "running");
    shows(&live, &["s start"]);
    live.types("s");
    shows(&live, &["two was started"]);
    shows(&live, &["two-1", "Up "]);
    shows(&live, &["s stop"]);
    live.types("p");
    shows(&live, &["two was paused"]);
    shows(&live, &["two-1", "(Paused)"]);
    assert_eq!(hoist.state("two"), "paused");
    shows(&live, &["p go on"]);
    live.types("p");
    shows(&live, &["two was unpaused"]);
    live.types("kr");
    shows(&live, &["one was restarted"]);
    let after = hoist.ok("ps -a --format '{{.Service}} {{.ID}}'").out;
    assert_eq!(before, after);
    live.types("q");
    assert_eq!(live.wait(), 0);
}

fn lines_are_those_of_the_chosen_container_or_with_a_text() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'for i in 1 2 3; do echo apple $$i; done; exec sleep 1000']}\n  \
         b: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'for i in 1 2 3; do echo pear $$i; done; exec sleep 1000']}\n",
    );
    hoist.ok("up -d");
    let mut live = hoist.on_terminal("live --tail 2");
    shows(&live, &["a-1 | apple 2"]);
    shows(&live, &["b-1 | pear 3"]);
    let all = seen(&live).join("\n");
    assert!(!all.contains("apple 1") && !all.contains("pear 1"), "{all}");
    live.types("/PEAR\r");
    shows(&live, &["lines with `PEAR`"]);
    let some = seen(&live).join("\n");
    assert!(some.contains("pear 2") && !some.contains("apple"), "{some}");
    live.types("\x1b");
    shows(&live, &["a-1 | apple 3"]);
    live.types("\r");
    eventually_or(
        "only lines of one",
        || seen(&live).join("\n"),
        || {
            let lines = seen(&live);
            lines.iter().any(|line| line == "apple 3") && !lines.join("\n").contains("pear")
        },
    );
    live.types("q");
    assert_eq!(live.wait(), 0);
    let mut one = hoist.on_terminal("live --tail 0 b");
    shows(&one, &["1 of 1 up"]);
    assert!(!seen(&one).join("\n").contains("pear"));
    one.types("\x03");
    assert_eq!(one.wait(), 130);
}

fn what_was_asked_for_is_done_when_the_view_is_left() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  slow: {image: tiny, stop_grace_period: 1s, command: [sh, -c, 'trap \"\" TERM; echo ready; while :; do sleep 1000; done']}\n",
    );
    hoist.ok("up -d");
    let mut live = hoist.on_terminal("live");
    shows(&live, &["slow-1 | ready"]);
    live.types("s");
    shows(&live, &["Stopping"]);
    live.types("q");
    assert_eq!(live.wait(), 0);
    assert_eq!(hoist.state("slow"), "exited");
    let text = live.text();
    let (_, after) = text.rsplit_once("\x1b[?1049l").expect("the screen is left");
    assert!(after.contains("slow was stopped"), "{after:?}");
}

fn a_shell_gets_its_terminal_back_however_the_view_ends() {
    let hoist = Sandbox::new();
    hoist.compose(TWO);
    let script = format!("ulimit -c 0; trap : HUP; \"$@\"; echo \"[$?]\"; {SETTINGS}; echo end");
    for (signal, code) in [(Signal::SIGHUP, 129), (Signal::SIGTERM, 130)] {
        let mut shell = hoist.on_terminal_of_shell(&script, "live");
        shows(&shell, &["0 of 0 up"]);
        nix::sys::signal::kill(child_of(&shell), signal).expect("the command runs");
        shell.says(&format!("[{code}]")).says("end");
        let text = shell.text();
        let (_, after) = text.rsplit_once("\x1b[?1049l").expect("the screen is left");
        assert!(
            !after.contains("-icanon") && !after.contains("-echo"),
            "{after:?}"
        );
        shell.wait();
    }
    let script = "set -m; \"$@\"; echo \"[$?]\"; read -r word; echo \"<$word>\"; fg; echo \"[$?]\"";
    let mut shell = hoist.on_terminal_of_shell(script, "live");
    shows(&shell, &["0 of 0 up"]);
    shell.types("\x1a");
    // 128 + SIGTSTP
    shell.says("[148]");
    shell.types("word\n");
    shell.says("<word>");
    shows(&shell, &["0 of 0 up"]);
    shell.types("q");
    shell.says("[0]");
    shell.wait();
}

fn what_cannot_be_drawn_is_refused_with_what_to_do() {
    let hoist = Sandbox::new();
    hoist.compose(TWO);
    let done = hoist.run("live");
    assert_eq!(done.code, 1);
    assert!(done.err.contains("`live` needs a terminal"), "{}", done.err);
    assert!(done.err.contains("hoist stats --no-stream"), "{}", done.err);
    let mut live = hoist.on_terminal("live tow");
    assert_eq!(live.wait(), 1);
    assert!(
        live.text().contains("did you mean `two`?"),
        "{}",
        live.text()
    );
}
