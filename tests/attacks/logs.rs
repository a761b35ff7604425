//! Attacks through what a container prints, and through the files where that is kept.

use super::{Canary, Entry, evil};
use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    control_sequences_in_a_log_do_not_reach_the_terminal,
    links_of_an_image_in_the_places_of_logs_and_state_are_not_followed,
);

/// Escapes in a log line set the title, the clipboard, or answer for the user.
fn control_sequences_in_a_log_do_not_reach_the_terminal() {
    let hoist = Sandbox::new();
    hoist.compose(
        r#"services:
  a: {image: tiny, command: ["printf", "a\\033]52;c;cm0gLXJmIH4=\\007b\\033]0;title\\007c\\033[6nd\\033Pq\\033\\\\e\\233c\\n\\033[31mred\\033[0m end\\n"]}
"#,
    );
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    let terminal = hoist.on_terminal("logs a");
    terminal.says("end");
    let shown = terminal.text();
    for bad in ["\x1b]", "\x1bP", "\x1b[6n", "\u{9b}", "\x07"] {
        assert!(!shown.contains(bad), "{bad:?} in {shown:?}");
    }
    assert_eq!(terminal.end(), 0);
}

/// incus CVE-2026-48750: the file for the output of a command was a symbolic link of the image.
fn links_of_an_image_in_the_places_of_logs_and_state_are_not_followed() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let song = canary.song();
    let names = [
        "stdout",
        "stderr",
        "log",
        "container.log",
        "log.json",
        "state.json",
        "record.json",
        "supervisor.log",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "run/secrets/key",
    ];
    let links: Vec<Entry<'_>> = names.iter().map(|name| Entry::Link(name, &song)).collect();
    evil(&hoist, &links);
    hoist.file("key", "secret");
    hoist.compose(
        "services:\n  a: {image: evil, command: sh -c 'echo out; echo err >&2; sleep 3600', stop_signal: SIGKILL, secrets: [key], \
         healthcheck: {test: [CMD, echo, probed], interval: 1s}}\nsecrets: {key: {file: ./key}}\n",
    );
    // Refused or started, nothing is written where the links lead.
    if hoist.run("up -d").code == 0 {
        hoist.logged("a", "out");
        hoist.exec("a", "echo more; cat /etc/hosts").ok();
        hoist.ok("restart -t 0");
    }
    canary.sings();
}
