//! What a user reads: attached `up`, and `logs`.

use nix::sys::signal::Signal;

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    attached_up_prefixes_lines_and_stops_everything_on_ctrl_c,
    ctrl_c_twice_kills_what_does_not_want_to_stop,
    attached_up_ends_when_all_services_have_ended,
    exit_code_from_ends_up_with_that_services_code,
    a_terminal_gets_colours_and_a_file_does_not,
    closing_the_terminal_of_an_attached_up_leaves_no_half_written_log,
    logs_show_both_streams_with_prefixes_in_order,
    logs_follow_until_the_container_ends,
    logs_of_several_services_begin_by_time_and_go_on,
    logs_tail_and_timestamps,
    log_files_are_rotated_within_their_limits_and_read_as_one,
);

const TALKER: &str = "image: tiny, command: [sh, -c, \"trap 'exit 0' TERM; echo hello from $NAME; echo oops >&2; \
                      while :; do sleep 0.1; done\"]";

fn talkers() -> String {
    let talker = TALKER.replace("$NAME", "$$NAME");
    format!(
        "services:\n  a: {{{talker}, environment: {{NAME: a}}}}\n  longer: {{{talker}, environment: {{NAME: longer}}}}\n"
    )
}

fn attached_up_prefixes_lines_and_stops_everything_on_ctrl_c() {
    let hoist = Sandbox::new();
    hoist.compose(&talkers());
    let up = hoist.start("up");
    up.says("hello from a").says("hello from longer");
    let text = up.text();
    assert!(
        text.lines().any(|line| line == "a-1       | hello from a"),
        "{text}"
    );
    assert!(
        text.lines()
            .any(|line| line == "longer-1  | hello from longer"),
        "{text}"
    );
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), 130);
    assert!(
        hoist
            .ps()
            .iter()
            .all(|row| row["State"] == "exited" && row["ExitCode"] == 0),
        "{:?}",
        hoist.ps()
    );
}

fn ctrl_c_twice_kills_what_does_not_want_to_stop() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_grace_period: 1h, command: [sh, -c, \"trap 'echo never' TERM INT; echo ready; \
         while :; do sleep 0.1; done\"]}\n",
    );
    let up = hoist.start("up");
    up.says("ready");
    up.signal(Signal::SIGINT);
    up.says("never");
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), 130);
    hoist.reaches("a", "exited");
    assert_eq!(hoist.exit_code("a"), 137);
}

fn attached_up_ends_when_all_services_have_ended() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: sh -c 'echo one; exit 3'}\n  b: {image: tiny, command: echo two}\n");
    hoist
        .ok("up")
        .says("one")
        .says("two")
        .says("a-1 exited with code 3")
        .says("b-1 exited with code 0");
}

fn exit_code_from_ends_up_with_that_services_code() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  t: {image: tiny, command: sh -c 'exit 9'}\n");
    hoist.run("up --exit-code-from t").code(9);
    assert_ne!(hoist.state("a"), "running");
}

fn a_terminal_gets_colours_and_a_file_does_not() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: echo hello}\n");
    hoist.ok("up").says_nothing_of("\x1b[");
    let up = hoist.on_terminal("up");
    up.says("hello");
    up.says("\x1b[");
    assert_eq!(up.end(), 0);
    let plain = hoist.on_terminal("--ansi never up");
    plain.says("hello");
    let text = plain.text();
    assert!(!text.contains("\x1b[3"), "{text:?}");
    assert_eq!(plain.end(), 0);
}

fn closing_the_terminal_of_an_attached_up_leaves_no_half_written_log() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'i=0; while :; do i=$$((i+1)); echo line $$i; \
         sleep 0.05; done']}\n",
    );
    let up = hoist.on_terminal("up");
    up.says("line 5");
    crate::harness::process::kill_and_wait(up.pid());
    drop(up);
    assert_eq!(hoist.state("a"), "running");
    let count = || hoist.ok("logs --no-log-prefix a").out.lines().count();
    let before = count();
    eventually("more lines are logged", || {
        (count() > before + 3).then_some(())
    });
    let text = hoist.ok("logs --no-log-prefix a").out;
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, format!("line {}", number + 1));
    }
}

fn logs_show_both_streams_with_prefixes_in_order() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: sh -c 'echo one; echo two >&2; printf three'}\n",
    );
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    let done = hoist.ok("logs");
    let mut lines: Vec<&str> = done.out.lines().chain(done.err.lines()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a-1  | one", "a-1  | three", "a-1  | two"]);
    let mut bare: Vec<String> = hoist
        .ok("logs --no-log-prefix")
        .all()
        .lines()
        .map(str::to_owned)
        .collect();
    bare.sort();
    assert_eq!(bare, ["one", "three", "two"]);
}

fn logs_follow_until_the_container_ends() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'echo early; until [ -e /go ]; do sleep 0.05; \
         done; echo late']}\n",
    );
    hoist.ok("up -d");
    let logs = hoist.start("logs -f a");
    logs.says("early");
    assert!(!logs.text().contains("late"));
    hoist.sh("a", "touch /go");
    logs.says("late");
    assert_eq!(logs.end(), 0);
}

fn logs_of_several_services_begin_by_time_and_go_on() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP}\n  c: {SLEEP}\n");
    hoist.ok("up -d");
    let line = |number: usize| {
        let service = ["a", "b", "c"][number % 3];
        hoist.sh(service, &format!("echo line {number}. > /proc/1/fd/1"));
        // Recorded before the next one is printed.
        hoist.logged(service, &format!("line {number}."));
    };
    (0..12).for_each(line);
    let lines =
        |until: usize| -> Vec<String> { (0..until).map(|n| format!("line {n}.")).collect() };
    let told = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let whole = hoist.ok("logs --no-log-prefix").out;
    assert_eq!(told(&whole), lines(12));
    let logs = hoist.start("logs -f --no-log-prefix");
    logs.says("line 11.");
    assert_eq!(told(&logs.text()), lines(12));
    line(12);
    logs.says("line 12.");
    // The last lines of each, and nothing twice.
    let last = hoist.start("logs -f --no-log-prefix --tail 2");
    last.says("line 12.");
    assert_eq!(told(&last.text()), lines(13)[7..]);
    hoist.ok("stop");
    for running in [logs, last] {
        running.says("c-1 exited");
        assert_eq!(running.text().matches("line 12.").count(), 1);
        assert_eq!(running.end(), 0);
    }
}

fn logs_tail_and_timestamps() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: seq 1 20}\n");
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    hoist.ok("logs --no-log-prefix --tail 2").prints("19\n20");
    hoist.ok("logs --no-log-prefix --tail 0").prints("");
    let line = hoist.ok("logs --no-log-prefix -t --tail 1").out;
    let (time, text) = line.trim().split_once(' ').expect("a time and a line");
    assert_eq!(text, "20");
    assert!(
        time.len() >= 20 && time.contains('T') && time.ends_with('Z'),
        "{time}"
    );
}

fn log_files_are_rotated_within_their_limits_and_read_as_one() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: seq 10001 20000, logging: {options: {max-size: 20k, max-file: '3'}}}\n",
    );
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    let text = hoist.ok("logs --no-log-prefix a").out;
    let lines: Vec<u32> = text
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(lines.last(), Some(&20000));
    assert!(
        lines.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "a gap in the log"
    );
    assert!(lines.len() < 10000, "nothing was rotated away");
    let id = hoist.id("a");
    let containers = crate::harness::leftovers::children(
        &hoist
            .data()
            .join("projects")
            .join(&hoist.name)
            .join("containers"),
    );
    let dir = containers
        .iter()
        .find(|dir| dir.to_string_lossy().contains(&id))
        .expect("the container's directory");
    let size: u64 = crate::harness::leftovers::children(&dir.join("log"))
        .iter()
        .map(|file| file.metadata().map_or(0, |meta| meta.len()))
        .sum();
    assert!(size <= 3 * 24 * 1024, "{size} bytes of log");
}
