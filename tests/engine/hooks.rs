//! `pre_start`, `post_start` and `pre_stop`: what runs, as whom, when, how often, and what a failure does.

use std::path::PathBuf;

use crate::harness::process::kill_and_wait;
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    pre_start_runs_each_step_to_its_end_before_the_first_start,
    a_step_of_pre_start_has_its_own_image_user_directory_and_environment,
    pre_start_runs_once_for_the_service_or_once_for_each_replica,
    pre_start_is_not_run_again_by_up_start_or_restart_but_by_a_change,
    a_step_of_pre_start_that_fails_fails_up_with_its_output_and_runs_again,
    pre_start_waits_for_what_the_service_depends_on,
    a_killed_up_leaves_no_step_of_pre_start_behind,
    post_start_runs_in_the_container_after_each_start,
    a_dependent_starts_after_the_post_start_of_its_dependency,
    post_start_that_fails_fails_up_and_the_container_runs_on,
    pre_stop_runs_before_every_stop_that_was_asked_for,
    pre_stop_does_not_run_in_what_has_ended_by_itself_or_is_killed,
    pre_stop_that_fails_leaves_the_container_running,
    a_replaced_container_runs_the_pre_stop_it_was_made_with,
    hooks_run_without_a_compose_file_too,
    an_attached_up_shows_what_hooks_print,
    hooks_are_steps_of_the_plan,
);

/// A service's keys, each on a line: it does nothing, and has a directory of the host at `/out`.
const IDLE: &str =
    "image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    volumes: ['./out:/out']\n";

/// A project whose text may have `IDLE`, and the file that its containers write to.
fn project(text: &str) -> (Sandbox, PathBuf) {
    let hoist = Sandbox::new();
    let out = hoist.file("out/log", "");
    hoist.compose(&text.replace("IDLE\n", IDLE));
    (hoist, out)
}

/// What was written since the last look.
fn take(log: &PathBuf) -> String {
    let text = std::fs::read_to_string(log).expect("the file is there");
    std::fs::write(log, "").expect("the file is writable");
    text.lines().collect::<Vec<_>>().join(",")
}

fn pre_start_runs_each_step_to_its_end_before_the_first_start() {
    let (hoist, log) = project(
        "services:\n  a:\n    image: tiny\n    stop_signal: SIGKILL\n    volumes: ['./out:/out', 'vol:/vol', /anon]\n    \
         command: sh -c 'cat /vol/f /anon/f >> /out/log; sleep 3600'\n    pre_start:\n      - command: sh -c 'sleep 0.3; \
         echo first >> /out/log; echo named > /vol/f; echo anonymous > /anon/f'\n      - command: sh -c 'echo second >> \
         /out/log; grep -q init /proc/1/cgroup; ip addr show eth0 > /dev/null && echo network >> /out/log'\nvolumes: {vol: }\n",
    );
    hoist.ok("up -d");
    eventually("the service has read both", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("anonymous").then_some(())
    });
    assert_eq!(take(&log), "first,second,network,named,anonymous");
    assert_eq!(
        hoist.ps().len(),
        1,
        "a step of pre_start is left: {:?}",
        hoist.ps()
    );
}

fn a_step_of_pre_start_has_its_own_image_user_directory_and_environment() {
    let (hoist, log) = project(
        "services:\n  a:\n    image: tiny\n    command: ['0']\n    entrypoint: [/bin/false]\n    environment: {OWN: service, BOTH: service}\n    \
         volumes: ['./out:/out']\n    pre_start:\n      - image: other\n        command: [sh, -c, 'echo $$MARK $$OWN $$BOTH \
         $$(id -u) $$(pwd) >> /out/log']\n        user: '1000'\n        working_dir: /tmp\n        environment: {BOTH: \
         step}\n      - command: [sh, -c, 'mount -t tmpfs x /seed && echo privileged >> /out/log']\n        privileged: true\n",
    );
    std::fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("the owner may change the mode");
    let archive = crate::harness::image::archive()
        .to_string_lossy()
        .into_owned();
    let changes = ["-c", "ENV MARK=other", "-c", "ENV PATH=/bin"];
    let words = ["image", "import"].into_iter().chain(changes);
    let words: Vec<&str> = words.chain([archive.as_str(), "other"]).collect();
    hoist.global(&words).ok();
    hoist.ok("up -d");
    assert_eq!(take(&log), "other service step 1000 /tmp,privileged");
}

fn pre_start_runs_once_for_the_service_or_once_for_each_replica() {
    let (hoist, log) = project(
        "services:\n  a:\n    IDLE\n    scale: 2\n    pre_start:\n      - command: sh -c 'echo once >> /out/log'\n      - \
         command: sh -c 'echo each >> /out/log'\n        per_replica: true\n",
    );
    hoist.ok("up -d");
    assert_eq!(take(&log), "once,each,each");
    hoist.ok("up -d --scale a=3");
    assert_eq!(take(&log), "each");
    assert_eq!(hoist.ps().len(), 3);
}

/// A service with one of each hook, as a block.
const HOOKED: &str = "services:\n  a:\n    image: tiny\n    stop_grace_period: 3s\n    volumes: ['./out:/out']\n    environment: \
                      {V: '1'}\n    command: sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.05; done'\n    pre_start: \
                      [{command: sh -c 'echo pre >> /out/log'}]\n    post_start: [{command: sh -c 'echo post >> \
                      /out/log'}]\n    pre_stop: [{command: sh -c 'echo stop >> /out/log'}]\n";

fn pre_start_is_not_run_again_by_up_start_or_restart_but_by_a_change() {
    let (hoist, log) = project(HOOKED);
    hoist.ok("create");
    assert_eq!(take(&log), "");
    hoist.ok("start");
    assert_eq!(take(&log), "pre,post");
    hoist.ok("up -d");
    hoist.ok("restart");
    hoist.ok("stop");
    hoist.ok("up -d");
    assert_eq!(take(&log), "stop,post,stop,post");
    hoist.compose(&HOOKED.replace("V: '1'", "V: '2'"));
    hoist.ok("up -d");
    assert_eq!(take(&log), "stop,pre,post");
    hoist.ok("up -d --force-recreate");
    assert_eq!(take(&log), "stop,pre,post");
}

fn a_step_of_pre_start_that_fails_fails_up_with_its_output_and_runs_again() {
    let (hoist, log) = project(
        "services:\n  a:\n    IDLE\n    pre_start:\n      - command: sh -c 'echo begun >> \
         /out/log; test -e /out/ready || { echo no such table; exit 7; }'\n  b: {SLEEP, depends_on: [a]}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("pre_start[0] of service `a`: it exited with status 7")
        .says("no such table");
    assert_eq!(hoist.state("a"), "created");
    assert_eq!(hoist.state("b"), "created");
    hoist.file("out/ready", "");
    hoist.ok("up -d");
    assert_eq!(hoist.state("b"), "running");
    assert_eq!(take(&log), "begun,begun");
}

fn pre_start_waits_for_what_the_service_depends_on() {
    let (hoist, log) = project(
        "services:\n  db:\n    image: tiny\n    stop_signal: SIGKILL\n    volumes: ['./out:/out']\n    command: sh -c 'sleep \
         0.5; echo ready >> /out/log; touch /ok; sleep 3600'\n    healthcheck: {test: [CMD, test, -f, /ok], interval: 100ms, \
         start_period: 20s, start_interval: 50ms}\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    \
         volumes: ['./out:/out']\n    depends_on: {db: {condition: service_healthy}}\n    pre_start: [{command: sh -c \
         'nslookup db > /dev/null && echo migrated >> /out/log'}]\n",
    );
    hoist.ok("up -d");
    assert_eq!(take(&log), "ready,migrated");
}

fn a_killed_up_leaves_no_step_of_pre_start_behind() {
    let (hoist, log) = project(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    volumes: ['./out:/out']\n    \
         pre_start: [{command: sh -c 'echo begun >> /out/log; until test -e /out/go; do sleep 0.05; done'}]\n",
    );
    let up = hoist.start("up -d");
    eventually("the step runs", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("begun").then_some(())
    });
    kill_and_wait(up.pid());
    drop(up);
    hoist.notice();
    hoist.file("out/go", "");
    hoist.ok("up -d");
    assert_eq!(take(&log), "begun,begun");
    assert_eq!(hoist.ps().len(), 1, "{:?}", hoist.ps());
    assert_eq!(hoist.state("a"), "running");
}

fn post_start_runs_in_the_container_after_each_start() {
    let (hoist, log) = project(
        "services:\n  a:\n    image: tiny\n    command: sh -c 'touch /mine; sleep 3600'\n    stop_signal: SIGKILL\n    volumes: \
         ['./out:/out']\n    environment: {OWN: service, BOTH: service}\n    post_start:\n      - command: [sh, -c, 'until test \
         -e /mine; do sleep 0.02; done; echo $$OWN $$BOTH $$(pwd) >> /out/log']\n        working_dir: /tmp\n        \
         environment: [BOTH=hook]\n      - command: [sh, -c, 'id -u > /tmp/who']\n        user: '1000'\n      - command: [sh, -c, \
         'ip link set lo down && ip link set lo up && cat /tmp/who >> /out/log']\n        privileged: true\n",
    );
    hoist.ok("up -d");
    assert_eq!(take(&log), "service hook /tmp,1000");
    hoist.ok("restart -t 0");
    assert_eq!(take(&log), "service hook /tmp,1000");
}

fn a_dependent_starts_after_the_post_start_of_its_dependency() {
    let (hoist, log) = project(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    volumes: ['./out:/out']\n    \
         post_start: [{command: sh -c 'sleep 0.3; echo prepared >> /out/log'}]\n  b:\n    image: tiny\n    command: sh -c 'echo \
         started >> /out/log'\n    volumes: ['./out:/out']\n    depends_on: [a]\n",
    );
    hoist.ok("up -d");
    hoist.reaches("b", "exited");
    assert_eq!(take(&log), "prepared,started");
}

fn post_start_that_fails_fails_up_and_the_container_runs_on() {
    let (hoist, _) = project(
        "services:\n  a: {SLEEP, post_start: [{command: sh -c 'echo cannot seed; exit 3'}, {command: touch /after}]}\n  b: \
         {SLEEP, depends_on: [a]}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("hook exited with status 3")
        .says("cannot seed");
    assert_eq!(hoist.state("a"), "running");
    assert_eq!(hoist.state("b"), "created");
    assert_eq!(hoist.sh("a", "test -e /after || echo missing"), "missing");
    hoist.compose("services:\n  a: {SLEEP, post_start: [{command: no-such-program}]}\n");
    hoist
        .run("up -d --remove-orphans")
        .code(1)
        .says("no-such-program");
}

fn pre_stop_runs_before_every_stop_that_was_asked_for() {
    let (hoist, log) = project(
        &HOOKED
            .replace(
                "    pre_start: [{command: sh -c 'echo pre >> /out/log'}]\n",
                "",
            )
            .replace(
                "trap \"exit 0\" TERM",
                "trap \"echo ended >> /out/log; exit 0\" TERM",
            ),
    );
    hoist.ok("up -d");
    assert_eq!(take(&log), "post");
    for (command, expected) in [
        ("stop", "stop,ended"),
        ("up -d", "post"),
        ("restart", "stop,ended,post"),
        ("up -d --force-recreate", "stop,ended,post"),
        ("up -d --scale a=0", "stop,ended"),
        ("up -d", "post"),
        ("rm -sf", "stop,ended"),
        ("up -d", "post"),
        ("down", "stop,ended"),
    ] {
        hoist.ok(command);
        assert_eq!(take(&log), expected, "after {command}");
    }
}

fn pre_stop_does_not_run_in_what_has_ended_by_itself_or_is_killed() {
    let (hoist, log) = project(HOOKED);
    hoist.ok("up -d");
    hoist.ok("kill");
    hoist.reaches("a", "exited");
    hoist.ok("stop");
    hoist.ok("down");
    assert_eq!(take(&log), "pre,post");
}

fn pre_stop_that_fails_leaves_the_container_running() {
    let (hoist, _) = project(
        "services:\n  a: {SLEEP, pre_stop: [{command: sh -c 'echo not drained; exit 4'}]}\n  b: {SLEEP, depends_on: [a]}\n  c: \
         {SLEEP}\n",
    );
    hoist.ok("up -d");
    for command in ["stop", "restart", "down"] {
        hoist
            .run(command)
            .code(1)
            .says("hook exited with status 4")
            .says("not drained")
            .says("hoist kill a");
        assert_eq!(hoist.state("a"), "running", "after {command}");
    }
    // What does not depend on it went its way.
    assert!(hoist.ps().iter().all(|row| row["Service"] != "c"));
    hoist.ok("kill");
    hoist.ok("down");
}

fn a_replaced_container_runs_the_pre_stop_it_was_made_with() {
    let (hoist, log) = project(HOOKED);
    hoist.ok("up -d");
    hoist.compose(&HOOKED.replace("echo stop", "echo newer"));
    hoist.ok("up -d");
    assert_eq!(take(&log), "pre,post,stop,pre,post");
    hoist.ok("stop");
    assert_eq!(take(&log), "newer");
}

fn hooks_run_without_a_compose_file_too() {
    let (hoist, log) = project(HOOKED);
    hoist.ok("up -d");
    std::fs::remove_file(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.ok("restart");
    hoist.ok("down");
    assert_eq!(take(&log), "pre,post,stop,post,stop");
}

fn an_attached_up_shows_what_hooks_print() {
    let (hoist, _) = project(
        "services:\n  a: {SLEEP, pre_start: [{command: echo prepared}], post_start: [{command: echo seeded}], pre_stop: \
         [{command: echo drained}]}\n",
    );
    let up = hoist.start("up");
    up.says("a-pre_start-0 ->").says("| prepared");
    up.says("a-1 ->").says("| seeded");
    up.signal(nix::sys::signal::Signal::SIGINT);
    up.says("| drained");
    assert_eq!(up.end(), 130);
    // In the background nobody looks at them.
    hoist.ok("up -d").says_nothing_of("seeded");
}

fn hooks_are_steps_of_the_plan() {
    let (hoist, _) = project(HOOKED);
    let lines = |command: &str| -> Vec<String> {
        let (err, name) = (hoist.ok(command).err, format!("{}-a-1  ", hoist.name));
        let words = err.lines().filter_map(|line| line.split_once(&name));
        words.map(|(_, word)| word.to_owned()).collect()
    };
    assert_eq!(
        lines("--dry-run up -d"),
        [
            "Creating",
            "Created",
            "pre_start",
            "Starting",
            "Started",
            "post_start"
        ]
    );
    hoist.ok("up -d");
    let down = lines("--dry-run down");
    assert_eq!(down[..3], ["pre_stop", "Stopping", "Stopped"]);
}
