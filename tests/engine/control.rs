//! `pause`, `unpause`, `wait`, `scale`, `attach`, `events`, `stats`.

use serde_json::Value;

use nix::sys::signal::Signal;

use crate::harness::process::kill_and_wait;
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_paused_container_stands_still_until_it_is_unpaused,
    what_is_paused_or_not_already_is_an_error,
    a_paused_container_is_stopped_killed_restarted_and_removed,
    a_supervisor_that_dies_leaves_a_container_paused,
    rm_says_what_goes_and_asks,
    wait_ends_as_the_last_container_and_takes_the_project_down,
    scale_makes_as_many_containers_as_are_wanted,
    attach_passes_the_streams_and_the_exit_code_on,
    attach_leaves_by_its_keys_and_passes_signals_on,
    events_tell_what_happens_as_it_happens,
    stats_show_what_containers_use,
    dry_run_of_alpha_changes_nothing,
);

fn state(hoist: &Sandbox, name: &str) -> String {
    let rows = hoist.ok("ps -a --format json").out;
    let rows = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut mine = rows.filter(|row| row["Service"] == name);
    let row = mine.next().expect("it is there");
    format!("{} {}", row["State"], row["Status"]).replace('"', "")
}

fn a_paused_container_stands_still_until_it_is_unpaused() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: [sh, -c, 'while :; do date +%N > /tmp/now; sleep 0.01; done'], stop_grace_period: 0s}\n  b: {SLEEP}\n",
    );
    hoist.ok("up -d");
    hoist.ok("pause a").says("-a-1  Paused");
    assert!(
        state(&hoist, "a").starts_with("paused Up "),
        "{}",
        state(&hoist, "a")
    );
    assert!(state(&hoist, "a").ends_with("(Paused)"));
    assert!(state(&hoist, "b").starts_with("running"));
    hoist.run("exec -T a true").code(1).says("paused");
    hoist
        .run("attach a")
        .code(1)
        .says("cannot attach to a paused container");
    hoist
        .run("start a")
        .code(1)
        .says("cannot start a paused container, try unpause instead");
    hoist
        .run("up -d")
        .code(1)
        .says("cannot start a paused container");
    let now = || hoist.ok("cp a:/tmp/now -").out;
    let before = now();
    assert_eq!(before, now());
    hoist.ok("unpause a").says("-a-1  Unpaused");
    assert!(state(&hoist, "a").starts_with("running Up "));
    eventually("it goes on", || (now() != before).then_some(()));
    hoist.ok("exec -T a true");
}

fn what_is_paused_or_not_already_is_an_error() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP}\n");
    hoist.ok("pause");
    hoist.ok("unpause");
    hoist.ok("up -d");
    hoist.run("unpause b").code(1).says("is not paused");
    hoist.ok("pause a");
    // The others are paused all the same.
    hoist
        .run("pause")
        .code(1)
        .says("is already paused")
        .says("-b-1  Paused");
    hoist
        .run("pause nosuch")
        .code(1)
        .says("no such service: nosuch");
    hoist
        .run("unpause nosuch")
        .code(1)
        .says("no such service: nosuch");
    hoist.ok("--dry-run unpause");
    assert!(state(&hoist, "a").starts_with("paused"));
    hoist.ok("unpause");
}

fn a_paused_container_is_stopped_killed_restarted_and_removed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: [sh, -c, \"trap 'exit 3' TERM; while :; do sleep 0.01; done\"]\n    stop_grace_period: 60s\n",
    );
    hoist.ok("up -d");
    hoist.ok("pause");
    hoist.ok("restart");
    assert!(state(&hoist, "a").starts_with("running"));
    eventually("its trap is set", || {
        let said = hoist.exec("a", "grep SigCgt /proc/1/status").out;
        let caught = u64::from_str_radix(said.split_whitespace().last()?, 16).ok()?;
        (caught & (1 << 14) != 0).then_some(())
    });
    hoist.ok("pause");
    hoist.ok("stop");
    // It took its stop signal, and was not killed.
    assert!(
        state(&hoist, "a").contains("Exited (3)"),
        "{}",
        state(&hoist, "a")
    );
    hoist.ok("start");
    hoist.ok("pause");
    hoist.ok("kill");
    assert!(
        state(&hoist, "a").contains("Exited (137)"),
        "{}",
        state(&hoist, "a")
    );
    hoist.ok("start");
    hoist.ok("pause");
    hoist.ok("down");
    hoist.ok("ps -aq").prints("");
}

fn a_supervisor_that_dies_leaves_a_container_paused() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.ok("pause");
    kill_and_wait(hoist.supervisor("a"));
    assert!(
        state(&hoist, "a").starts_with("paused"),
        "{}",
        state(&hoist, "a")
    );
    hoist.ok("unpause");
    assert!(state(&hoist, "a").starts_with("running"));
    hoist.ok("exec -T a true");
}

fn rm_says_what_goes_and_asks() {
    let hoist = Sandbox::new();
    hoist
        .compose("services:\n  a: {SLEEP}\n  b: {SLEEP}\n  done: {image: tiny, command: 'true'}\n");
    assert_eq!(hoist.ok("rm -f").all().trim(), "No stopped containers");
    hoist.ok("up -d");
    hoist.reaches("done", "exited");
    let going = |service: &str| format!("Going to remove {}-{service}-1", hoist.name);
    let there = |count: usize| assert_eq!(hoist.ps().len(), count, "{:?}", hoist.ps());
    // No answer is a no.
    hoist.ok("rm").prints(&going("done"));
    hoist.pipe("rm", b"n\n").ok().prints(&going("done"));
    let dry = hoist.ok("--dry-run rm -fs").out;
    assert_eq!(dry.matches("-1").count(), 3, "{dry}");
    there(3);
    assert_eq!(hoist.state("a"), "running");
    hoist.pipe("rm", b"y\n").ok().prints(&going("done"));
    there(2);
    // What is asked is whether to remove, not whether to stop.
    hoist.ok("rm -s b").prints(&going("b"));
    assert_eq!(hoist.state("b"), "exited");
    let mut asks = hoist.on_terminal("rm");
    asks.says(&format!("? {} (y/N) ", going("b")));
    asks.types("\x03");
    assert_eq!(asks.end(), 130);
    there(2);
    let mut asks = hoist.on_terminal("rm");
    asks.says("(y/N)");
    asks.types("y\n");
    assert_eq!(asks.end(), 0);
    there(1);
    hoist.ok("rm -fs").prints(&going("a"));
    there(0);
}

fn wait_ends_as_the_last_container_and_takes_the_project_down() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: [sh, -c, 'until [ -e /tmp/go ]; do sleep 0.01; done; rm /tmp/go; exit 7']}\n  b: {SLEEP}\n",
    );
    hoist.run("wait").code(1);
    hoist
        .run("wait a")
        .code(1)
        .says("no containers for project");
    hoist.ok("up -d");
    hoist.run("wait nosuch").code(1).says("nosuch");
    let mut waiting = hoist.start("wait a");
    eventually("it waits", || {
        (std::fs::read_dir(format!("/proc/{}/task", waiting.pid()))
            .ok()?
            .count()
            > 2)
        .then_some(())
    });
    hoist.sh("a", "touch /tmp/go");
    assert_eq!(waiting.wait(), 7);
    waiting.says("\" exited with status code 7\n");
    hoist.ok("up -d");
    let mut waiting = hoist.start("wait --down-project a");
    eventually("it waits", || {
        (std::fs::read_dir(format!("/proc/{}/task", waiting.pid()))
            .ok()?
            .count()
            > 2)
        .then_some(())
    });
    hoist.ok("kill a");
    assert_eq!(waiting.wait(), 137);
    waiting
        .says("exited with status code 137")
        .says("-b-1  Removed");
    hoist.ok("ps -aq").prints("");
}

fn scale_makes_as_many_containers_as_are_wanted() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, depends_on: [b]}\n  b: {SLEEP}\n");
    let count = |service: &str| hoist.ok(&format!("ps -q {service}")).out.lines().count();
    hoist.ok("scale --no-deps a=2");
    assert_eq!((count("a"), count("b")), (2, 0));
    hoist.ok("scale a=3 b=2");
    assert_eq!((count("a"), count("b")), (3, 2));
    hoist.ok("alpha scale a=1 b=0");
    assert_eq!((count("a"), count("b")), (1, 0));
    hoist.run("scale").code(1);
    hoist
        .run("scale a")
        .code(1)
        .says("invalid scale specifier: a");
    hoist
        .run("scale a=x")
        .code(1)
        .says("invalid scale specifier: can't parse replica value as int: a=x");
    hoist.run("scale a=-1").code(1).says("a=-1");
    let unknown = hoist.run("scale nosuch=1").code(1);
    assert_eq!(unknown.err.matches("nosuch").count(), 1, "{}", unknown.err);
}

fn attach_passes_the_streams_and_the_exit_code_on() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stdin_open: true, command: [sh, -c, 'while read line; do echo got $$line; [ $$line = end ] && exit 9; done; echo over']}\n  b: {image: tiny, command: 'true'}\n",
    );
    hoist
        .run("attach a")
        .code(1)
        .says("service \"a\" is not running");
    hoist.ok("up -d a");
    hoist
        .run("attach --index 2 a")
        .code(1)
        .says("service \"a\" is not running container #2");
    hoist
        .run("attach --detach-keys bogus a")
        .code(1)
        .says("Unknown character: 'bogus'");
    hoist
        .pipe("attach a", b"one\nend\n")
        .code(9)
        .says("got one\ngot end\n");
    hoist.ok("up -d a");
    // Without its input nothing is passed on, and the container goes on.
    let looking = hoist.start("attach --no-stdin a");
    eventually("somebody is attached", || {
        let seen = hoist.ok("events --since 1h --until 0s --json a").out;
        (seen.matches("\"action\":\"attach\"").count() >= 2).then_some(())
    });
    hoist.pipe("attach a", b"end\n").code(9);
    looking.says("got end");
    assert_eq!(looking.end(), 9);
}

fn attach_leaves_by_its_keys_and_passes_signals_on() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, tty: true, stdin_open: true, command: sh, stop_grace_period: 0s}\n");
    hoist.ok("up -d");
    let mut shell = hoist.on_terminal("attach a");
    shell.types("stty size; echo here''-it-is\n");
    shell.says("33 101").says("here-it-is");
    shell.types("\x10\x11");
    shell.says("read escape sequence");
    assert_eq!(shell.end(), 1);
    let mut shell = hoist.on_terminal("attach --sig-proxy=false --detach-keys ctrl-a,q a");
    shell.types("echo again''-here\n");
    shell.says("again-here");
    shell.types("\x01q");
    assert_eq!(shell.end(), 1);
    assert!(state(&hoist, "a").starts_with("running"));
    hoist
        .pipe("attach a", b"")
        .code(1)
        .says("the input device is not a TTY");
    let mut shell = hoist.on_terminal("attach a");
    shell.types("exit 7\n");
    assert_eq!(shell.end(), 7);
}

fn events_tell_what_happens_as_it_happens() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, labels: {k: 'v w'}}\n  b: {image: tiny, command: [sh, -c, 'exit 4']}\n",
    );
    let following = hoist.start("events --json a b");
    hoist.ok("up -d");
    eventually("b has ended", || {
        state(&hoist, "b").contains("Exited (4)").then_some(())
    });
    hoist.ok("exec -T a true");
    hoist.ok("pause a");
    hoist.ok("unpause a");
    hoist.ok("restart a");
    hoist.ok("run --rm -T a true");
    hoist.ok("kill -s HUP a");
    hoist.ok("kill a");
    hoist.ok("down");
    following.says("\"action\":\"destroy\"");
    let past = hoist.ok("events --json --since 1h --until 0s").out;
    let of = |service: &str| -> Vec<String> {
        let lines = past
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines
            .filter(|event| event["service"] == service)
            .map(|event| event["action"].as_str().expect("a word").to_owned())
            .collect()
    };
    let wanted = "create start exec_create: true exec_start: true exec_die pause unpause kill die stop start restart kill kill die destroy";
    assert_eq!(of("a").join(" "), wanted);
    assert_eq!(of("b").join(" "), "create start die destroy");
    assert!(
        past.contains("\"exitCode\":\"4\"") && past.contains("\"execDuration\":\"0\""),
        "{past}"
    );
    assert!(
        past.contains("\"signal\":\"1\"")
            && past.contains("\"k\":\"v w\"")
            && !past.contains("io.hoist."),
        "{past}"
    );
    assert!(!past.contains("com.docker.compose"), "{past}");
    let text = hoist.ok("events --since 1h --until 0s a").out;
    let first = text.lines().next().expect("a line");
    assert!(
        first.contains(" container create ") && first.contains("k=v w, name="),
        "{first}"
    );
    assert!(!text.contains("-b-1"), "{text}");
    hoist.ok("events --since 1h --until 1h").prints("");
    hoist
        .run("events --since zzz")
        .code(1)
        .says("failed to parse value as time or duration: \"zzz\"");
    hoist
        .run("events nosuch")
        .code(1)
        .says("no such service: nosuch");
    following.signal(Signal::SIGINT);
    assert_eq!(following.end(), 130);
}

fn stats_show_what_containers_use() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, mem_limit: 64m}\n  b: {image: tiny, command: [sh, -c, 'while :; do :; done'], stop_grace_period: 0s}\n  c: {image: tiny, command: 'true'}\n",
    );
    let head = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS";
    hoist.ok("stats --no-stream").prints(head);
    hoist.ok("up -d");
    hoist.reaches("c", "exited");
    let rows = hoist.ok("stats --no-stream --format json").out;
    let rows: Vec<Value> = rows
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows[0]["MemUsage"]
            .as_str()
            .is_some_and(|text| text.ends_with(" / 64MiB")),
        "{rows:?}"
    );
    assert_eq!(rows[0]["ID"].as_str().map(str::len), Some(12));
    assert_eq!(rows[0]["Container"].as_str().map(str::len), Some(64));
    let busy = rows[1]["CPUPerc"]
        .as_str()
        .and_then(|text| text.trim_end_matches('%').parse::<f64>().ok());
    assert!(busy.is_some_and(|share| share > 5.0), "{rows:?}");
    let ids = hoist
        .ok("stats --no-stream --no-trunc --all --format {{.ID}}={{.PIDs}}")
        .out;
    assert_eq!(ids.lines().count(), 3, "{ids}");
    assert!(ids.lines().all(|line| line.find('=') == Some(64)), "{ids}");
    assert_eq!(
        ids.lines().filter(|line| line.ends_with("=0")).count(),
        1,
        "{ids}"
    );
    hoist
        .ok("stats --no-stream a --format 'table {{.Name}}\\t{{.MemPerc}}'")
        .says("NAME")
        .says("MEM %");
    hoist.run("stats a b").code(1);
    hoist
        .run("stats --format {{.Nope}} --no-stream")
        .code(1)
        .says("Nope");
    let live = hoist.start("stats a");
    live.says("CONTAINER ID");
    live.signal(Signal::SIGINT);
    assert_eq!(live.end(), 130);
}

fn dry_run_of_alpha_changes_nothing() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("alpha dry-run -- up -d").says("-a-1  Created");
    hoist.ok("ps -aq").prints("");
    hoist.run("alpha dry-run -- nosuch").code(1).says("nosuch");
}
