//! `up`, `down` and `ps`: what is made, what is left alone, what is replaced and why.

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    up_starts_every_service_and_down_removes_all_of_it,
    ps_shows_a_table_with_dockers_columns,
    a_second_up_touches_nothing,
    a_changed_service_is_recreated_and_the_cause_is_printed,
    a_service_no_longer_in_the_file_is_reported_and_removed_only_on_demand,
    profiles_are_off_until_a_flag_the_environment_or_a_name_turns_them_on,
    what_is_off_and_orphans_are_left_alone_unless_they_are_named,
    a_dry_run_says_what_would_be_done_and_does_nothing,
    down_removes_volumes_only_when_asked,
    stop_start_and_restart_keep_the_container,
    two_projects_at_once_do_not_disturb_each_other,
    a_stopped_container_keeps_its_exit_code_and_its_files,
    kill_sends_any_signal_and_stop_the_one_the_service_asks_for,
    scale_makes_and_removes_replicas,
    down_works_without_the_compose_file,
    ls_lists_running_projects,
    a_service_that_exits_at_once_is_no_error_of_up,
);

fn up_starts_every_service_and_down_removes_all_of_it() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP}\n  b: {SLEEP, volumes: ['data:/data']}\nvolumes: {data: }\n",
    );
    hoist.ok("up -d");
    let row = hoist.one("a");
    assert_eq!(row["Name"], format!("{}-a-1", hoist.name));
    assert_eq!(row["Project"], hoist.name.as_str());
    assert_eq!(row["State"], "running");
    assert!(
        row["Command"]
            .as_str()
            .is_some_and(|command| command.contains("sleep 3600")),
        "{row}"
    );
    assert_eq!(hoist.state("b"), "running");
    hoist.ok("down -v -t 0");
    assert_eq!(hoist.ps(), Vec::<serde_json::Value>::new());
}

fn ps_shows_a_table_with_dockers_columns() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  x: {image: tiny, command: sh -c 'exit 3'}\n");
    hoist.ok("up -d");
    hoist.reaches("x", "exited");
    let table = hoist.ok("ps -a").out;
    let head: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        head,
        [
            "NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"
        ]
    );
    assert!(table.contains("Exited (3)"), "{table}");
    hoist.ok("ps --services").prints("a");
    hoist.ok("ps -a --status exited --services").prints("x");
    assert_eq!(hoist.ok("ps -q").out.lines().count(), 1);
    hoist.run("ps nosuch").code(1).says("nosuch");
}

fn a_second_up_touches_nothing() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['data:/data']}\n  b: {SLEEP, depends_on: [a]}\nvolumes: {data: }\n");
    hoist.ok("up -d");
    let before = (
        hoist.id("a"),
        hoist.id("b"),
        hoist.init("a"),
        hoist.init("b"),
    );
    hoist
        .ok("up -d")
        .says("Running")
        .says_nothing_of("Recreate")
        .says_nothing_of("Created");
    assert_eq!(
        (
            hoist.id("a"),
            hoist.id("b"),
            hoist.init("a"),
            hoist.init("b")
        ),
        before
    );
}

fn a_changed_service_is_recreated_and_the_cause_is_printed() {
    let hoist = Sandbox::new();
    let file = |value| {
        format!("services:\n  a: {{SLEEP, environment: {{COLOUR: {value}}}}}\n  b: {{SLEEP}}\n")
    };
    hoist.compose(&file("red"));
    hoist.ok("up -d");
    let (a, b) = (hoist.id("a"), hoist.id("b"));
    hoist.compose(&file("blue"));
    hoist.ok("up -d").says("COLOUR").says("red").says("blue");
    assert_ne!(hoist.id("a"), a);
    assert_eq!(hoist.id("b"), b);
    assert_eq!(hoist.sh("a", "echo $COLOUR"), "blue");
}

fn a_service_no_longer_in_the_file_is_reported_and_removed_only_on_demand() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  old: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d").says("orphan").says("old");
    assert_eq!(hoist.ok("ps -a --orphans -q").out.lines().count(), 2);
    hoist.ok("up -d --remove-orphans");
    assert_eq!(hoist.ok("ps -a --orphans -q").out.lines().count(), 1);
}

fn profiles_are_off_until_a_flag_the_environment_or_a_name_turns_them_on() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  d: {SLEEP, profiles: [debug]}\n  t: {SLEEP, profiles: [test]}\n");
    let services = || {
        let mut names: Vec<String> = hoist
            .ok("ps -a --orphans --services")
            .out
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    };
    hoist.ok("up -d");
    assert_eq!(services(), ["a"]);
    hoist.ok("--profile debug up -d");
    assert_eq!(services(), ["a", "d"]);
    hoist.ok("up -d t");
    assert_eq!(services(), ["a", "d", "t"]);
    hoist.ok("--profile '*' down -t 0");
    hoist.set("COMPOSE_PROFILES", "test");
    hoist.ok("up -d");
    assert_eq!(services(), ["a", "t"]);
}

fn what_is_off_and_orphans_are_left_alone_unless_they_are_named() {
    let hoist = Sandbox::new();
    let file = |orphan: &str| {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP}}\n  d: {{SLEEP, profiles: [debug]}}\n{orphan}"
        ));
    };
    file("  o: {SLEEP}\n");
    let states = || {
        let mut states: Vec<String> = hoist
            .ok("ps -a --orphans --format '{{.Service}} {{.State}}'")
            .out
            .lines()
            .map(str::to_owned)
            .collect();
        states.sort();
        states
    };
    hoist.ok("--profile debug up -d");
    file("");
    for (command, a) in [
        ("pause", "paused"),
        ("unpause", "running"),
        ("stop", "exited"),
        ("start", "running"),
        ("kill", "exited"),
    ] {
        hoist.ok(command);
        let want = [&format!("a {a}"), "d running", "o running"];
        assert_eq!(states(), want, "{command}");
    }
    let since = hoist.init("d");
    hoist.ok("restart");
    assert_eq!(hoist.init("d"), since);
    hoist
        .ok("rm -fs")
        .says("Going to remove")
        .says_nothing_of("-d-1")
        .says_nothing_of("-o-1");
    assert_eq!(states(), ["d running", "o running"]);
    hoist.ok("up -d");
    hoist
        .ok("down")
        .says("off by their profiles stay")
        .says("Found orphan containers");
    assert_eq!(states(), ["d running", "o running"]);
    hoist.ok("down --remove-orphans");
    assert_eq!(states(), ["d running"]);
    hoist.ok("stop d");
    assert_eq!(states(), ["d exited"]);
    hoist.ok("--profile debug down");
    hoist.is_gone();
}

fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['data:/data']}\nvolumes: {data: }\n");
    hoist.ok("--dry-run up -d").says(&format!(
        " DRY-RUN MODE -  Container {}-a-1  Created",
        hoist.name
    ));
    assert_eq!(hoist.ps(), Vec::<serde_json::Value>::new());
    assert!(
        !hoist
            .data()
            .join("volumes")
            .join(format!("{}_data", hoist.name))
            .exists()
    );
    hoist.ok("up -d");
    hoist
        .ok("up -d --dry-run --force-recreate")
        .says("a-1  Recreated");
    hoist.ok("--dry-run down -v");
    assert_eq!(hoist.state("a"), "running");
}

fn down_removes_volumes_only_when_asked() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['data:/data']}\nvolumes: {data: }\n");
    hoist.ok("up -d");
    hoist.sh("a", "echo kept > /data/file");
    hoist.ok("down -t 0");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /data/file"), "kept");
    hoist.ok("down -v -t 0");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "ls /data"), "");
}

fn stop_start_and_restart_keep_the_container() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let (id, process) = (hoist.id("a"), hoist.init("a"));
    hoist.sh("a", "echo mine > /tmp/file");
    hoist.ok("stop");
    assert_eq!(hoist.state("a"), "exited");
    hoist.ok("start");
    assert_eq!(hoist.state("a"), "running");
    assert_eq!(hoist.id("a"), id);
    let second = hoist.init("a");
    assert_ne!(second, process);
    hoist.ok("restart -t 0");
    assert_eq!(hoist.id("a"), id);
    assert_ne!(hoist.init("a"), second);
    assert_eq!(hoist.sh("a", "cat /tmp/file"), "mine");
}

fn two_projects_at_once_do_not_disturb_each_other() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP, depends_on: [a]}\n");
    let names: Vec<String> = (0..3).map(|n| format!("{}-{n}", hoist.name)).collect();
    let start = |verb: &[&str]| -> Vec<crate::harness::Running> {
        names
            .iter()
            .map(|name| {
                crate::harness::Running::start(
                    hoist.command(&[&["-p", name.as_str()], verb].concat()),
                )
            })
            .collect()
    };
    for running in start(&["up", "-d"]) {
        assert_eq!(running.end(), 0);
    }
    hoist.notice();
    for name in &names {
        assert_eq!(
            hoist
                .global(&["-p", name, "ps", "-q"])
                .ok()
                .out
                .lines()
                .count(),
            2,
            "{name}"
        );
    }
    for running in start(&["down", "-t", "0"]) {
        assert_eq!(running.end(), 0);
    }
    for name in &names {
        hoist
            .global(&["-p", name, "ps", "-a", "-q"])
            .ok()
            .prints("");
    }
}

fn a_stopped_container_keeps_its_exit_code_and_its_files() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: [sh, -c, 'test -e /tmp/seen && exit 7; touch /tmp/seen; exit 3']}\n",
    );
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    assert_eq!(hoist.exit_code("a"), 3);
    hoist.ok("start");
    eventually("the second exit code", || {
        (hoist.exit_code("a") == 7).then_some(())
    });
}

fn kill_sends_any_signal_and_stop_the_one_the_service_asks_for() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    stop_signal: SIGUSR1\n    command:\n      - sh\n      - -c\n      - |\n        \
         trap 'echo got hup' HUP\n        trap 'echo got usr1; exit 5' USR1\n        echo ready\n        \
         while :; do sleep 0.1; done\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "ready");
    hoist.ok("kill -s HUP a");
    hoist.logged("a", "got hup");
    assert_eq!(hoist.state("a"), "running");
    hoist.ok("stop");
    assert_eq!(hoist.exit_code("a"), 5);
    hoist.logged("a", "got usr1");
}

fn scale_makes_and_removes_replicas() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d --scale a=3");
    assert_eq!(hoist.ok("ps -q").out.lines().count(), 3);
    hoist.ok("up -d --scale a=1");
    assert_eq!(hoist.field("a", "Name"), format!("{}-a-1", hoist.name));
}

fn down_works_without_the_compose_file() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    std::fs::remove_file(hoist.dir().join("compose.yaml")).expect("it was just written");
    hoist.ok("ps").says(&format!("{}-a-1", hoist.name));
    hoist.ok("logs a");
    hoist.ok("down -t 0");
    hoist.ok("ps -a -q").prints("");
}

fn ls_lists_running_projects() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist
        .global(&["ls"])
        .ok()
        .says(&hoist.name)
        .says("running(1)");
    hoist.ok("down -t 0");
    hoist
        .global(&["ls", "-a"])
        .ok()
        .says_nothing_of("running(1)");
}

fn a_service_that_exits_at_once_is_no_error_of_up() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: sh -c 'echo last words; exit 4'}\n");
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    assert_eq!(hoist.exit_code("a"), 4);
    hoist
        .run("up --wait")
        .code(1)
        .says(&format!("{}-a-1", hoist.name))
        .says("4");
}
