//! `depends_on`, health checks and `--wait`.

use std::time::{Duration, Instant};

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_dependent_starts_when_its_dependency_is_healthy,
    a_dependent_starts_after_a_job_has_succeeded,
    a_failed_job_fails_up_with_its_exit_code_in_the_message,
    a_dependency_that_stays_unhealthy_fails_up_with_its_last_outputs_and_log_lines,
    wait_returns_when_everything_is_healthy,
    health_follows_the_check_in_both_directions,
    a_check_that_takes_too_long_counts_as_failed,
    up_of_one_service_brings_its_dependencies_along,
    all_replicas_of_a_dependency_must_be_healthy,
    all_replicas_of_a_job_must_succeed,
    a_dependency_that_dies_while_it_is_waited_for_fails_up_with_its_exit_code,
    up_waits_for_what_a_running_service_needs_too,
    a_job_runs_again_with_each_up,
    a_restart_of_a_dependency_restarts_those_that_ask_and_theirs,
    a_new_dependency_restarts_those_that_ask,
    a_dependency_that_restarts_by_itself_restarts_nobody,
    an_optional_dependency_that_fails_is_a_warning,
    an_optional_dependency_that_is_off_is_not_waited_for,
    start_and_run_bring_what_is_needed_in_order,
    start_starts_what_there_is,
    stop_and_down_end_dependents_first,
    without_dependencies_nothing_is_waited_for,
    services_that_wait_for_each_other_are_an_error,
    scale_and_replicas_say_how_many_containers_there_are,
    fewer_replicas_remove_the_highest_numbers,
    a_fixed_name_or_port_does_not_go_with_several_containers,
    replicas_take_ports_of_a_range,
    a_global_service_has_one_container_and_a_job_as_many_as_it_says,
    restarts_of_what_ends_are_told_between_its_lines,
    what_only_a_cluster_does_changes_no_container,
    killed_means_that_it_has_ended,
);

const HEALTH: &str = "healthcheck: {test: ['CMD', 'test', '-f', '/ok'], interval: 300ms, timeout: 2s, retries: 2, \
                      start_period: 20s, start_interval: 100ms}";

fn a_dependent_starts_when_its_dependency_is_healthy() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  d:\n    image: tiny\n    stop_signal: SIGKILL\n    command: sh -c 'sleep 1; cat /proc/uptime > /shared/d; \
         touch /ok; sleep 3600'\n    volumes: ['shared:/shared']\n    {HEALTH}\n  app:\n    image: tiny\n    stop_signal: \
         SIGKILL\n    command: sh -c 'cat /proc/uptime > /shared/app; sleep 3600'\n    volumes: ['shared:/shared']\n    \
         depends_on: {{d: {{condition: service_healthy}}}}\nvolumes: {{shared: }}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(hoist.field("d", "Health"), "healthy");
    let time = |name: &str| -> f64 {
        eventually("the time is written", || {
            let text = hoist.sh("app", &format!("cat /shared/{name}"));
            text.split(' ').next()?.parse().ok()
        })
    };
    assert!(time("d") <= time("app"), "app started before d was ready");
}

fn a_dependent_starts_after_a_job_has_succeeded() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  job: {image: tiny, command: sh -c 'sleep 0.5; echo done > /v/f', volumes: ['vol:/v']}\n  app: {image: \
         tiny, stop_signal: SIGKILL, command: sh -c 'cat /v/f; sleep 3600', volumes: ['vol:/v'], depends_on: {job: \
         {condition: service_completed_successfully}}}\nvolumes: {vol: }\n",
    );
    hoist.ok("up -d");
    assert_eq!(hoist.state("job"), "exited");
    hoist.logged("app", "done");
}

fn a_failed_job_fails_up_with_its_exit_code_in_the_message() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  job: {image: tiny, command: sh -c 'echo no such table; exit 3'}\n  app: {SLEEP, depends_on: {job: \
         {condition: service_completed_successfully}}}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("didn't complete successfully: exit 3")
        .says("no such table");
    assert!(
        hoist
            .ps()
            .iter()
            .all(|row| row["Service"] != "app" || row["State"] != "running")
    );
}

fn a_dependency_that_stays_unhealthy_fails_up_with_its_last_outputs_and_log_lines() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  d: {image: tiny, stop_signal: SIGKILL, command: sh -c 'echo cannot read the disk; sleep 3600', \
         healthcheck: {test: 'echo probe says no; exit 1', interval: 200ms, retries: 2}}\n  app: {SLEEP, depends_on: {d: \
         {condition: service_healthy}}}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("unhealthy")
        .says("probe says no")
        .says("cannot read the disk");
    assert!(
        hoist
            .ps()
            .iter()
            .all(|row| row["Service"] != "app" || row["State"] != "running")
    );
    // What is half made can be gone on with.
    hoist.compose("services:\n  d: {SLEEP}\n  app: {SLEEP, depends_on: [d]}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.state("app"), "running");
}

fn wait_returns_when_everything_is_healthy() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, stop_signal: SIGKILL, command: sh -c 'sleep 1; touch /ok; sleep 3600', {HEALTH}}}\n"
    ));
    hoist.ok("up --wait");
    assert_eq!(hoist.field("a", "Health"), "healthy");
    // One that ends is none to wait for, unless others wait for its end.
    hoist.compose("services:\n  once: {image: tiny, command: 'true'}\n");
    hoist.run("up --wait").code(1).says("once-1 exited (0)");
    hoist.compose(
        "services:\n  once: {image: tiny, command: 'true'}\n  a: {SLEEP, depends_on: {once: {condition: service_completed_successfully}}}\n",
    );
    hoist.ok("up --wait");
    hoist.compose(&format!("services:\n  a: {{SLEEP, {HEALTH}}}\n"));
    let begun = Instant::now();
    hoist
        .run("up --wait --wait-timeout 2")
        .code(1)
        .says(&format!("{}-a-1", hoist.name));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "the time limit of --wait is not kept"
    );
}

fn health_follows_the_check_in_both_directions() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, {HEALTH}}}\n  n: {{SLEEP, healthcheck: {{disable: true}}}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(hoist.field("a", "Health"), "starting");
    assert_eq!(hoist.field("n", "Health"), "");
    hoist.sh("a", "touch /ok");
    eventually("healthy", || {
        (hoist.field("a", "Health") == "healthy").then_some(())
    });
    hoist.sh("a", "rm /ok");
    eventually("unhealthy", || {
        (hoist.field("a", "Health") == "unhealthy").then_some(())
    });
    assert_eq!(hoist.state("a"), "running");
    hoist.ok("ps").says("(unhealthy)");
}

fn a_check_that_takes_too_long_counts_as_failed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, healthcheck: {test: [CMD, sleep, '3600'], interval: 200ms, timeout: 300ms, retries: 1}}\n",
    );
    hoist.ok("up -d");
    eventually("unhealthy", || {
        (hoist.field("a", "Health") == "unhealthy").then_some(())
    });
    eventually("no probe is left running for long", || {
        (hoist
            .sh("a", "ps | grep -c '[s]leep 3600'")
            .parse::<u32>()
            .ok()?
            <= 2)
            .then_some(())
    });
}

fn up_of_one_service_brings_its_dependencies_along() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP, depends_on: [a]}\n  c: {SLEEP}\n");
    hoist.ok("up -d b");
    let mut services: Vec<String> = hoist
        .ok("ps --services")
        .out
        .lines()
        .map(str::to_owned)
        .collect();
    services.sort();
    assert_eq!(services, ["a", "b"]);
    hoist.ok("down -t 0");
    hoist.ok("up -d --no-deps b");
    hoist.ok("ps --services").prints("b");
}

/// A service that tells in `/out/log` that it begins and ends; the file is made by [`told`].
fn teller(name: &str, more: &str) -> String {
    format!(
        "  {name}:\n    image: tiny\n    stop_grace_period: 5s\n    volumes: ['./out:/out']\n    command: sh -c 'trap \"echo {name} \
         down >> /out/log; exit 0\" TERM; echo {name} up >> /out/log; touch /ok; while :; do sleep 0.05; done'\n{more}"
    )
}

/// A project of such services, and what looks at the log: it waits until so many lines are there and takes them.
fn told(services: &[String]) -> (Sandbox, impl Fn(usize) -> String + use<>) {
    let hoist = Sandbox::new();
    let log = hoist.file("out/log", "");
    hoist.compose(&format!("services:\n{}", services.concat()));
    let take = move |lines: usize| {
        let text = eventually("the services have told enough", || {
            let text = std::fs::read_to_string(&log).ok()?;
            (text.lines().count() >= lines).then_some(text)
        });
        std::fs::write(&log, "").expect("the file is writable");
        text.lines().collect::<Vec<_>>().join(",")
    };
    (hoist, take)
}

fn all_replicas_of_a_dependency_must_be_healthy() {
    let hoist = Sandbox::new();
    hoist.file("out/begun", "");
    hoist.compose(&format!(
        "services:\n  d:\n    image: tiny\n    stop_signal: SIGKILL\n    scale: 2\n    volumes: ['./out:/out']\n    command: sh -c \
         'mkdir /out/first && touch /ok; until test -e /out/go; do sleep 0.02; done; touch \
         /ok; sleep 3600'\n    {HEALTH}\n  app: {{SLEEP, depends_on: {{d: {{condition: service_healthy}}}}}}\n"
    ));
    let up = hoist.start("up -d");
    // Whichever was first.
    up.says("  Healthy");
    let states = || {
        let rows = hoist.ps();
        let mut all: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {}", row["Service"], row["Health"]).replace('"', ""))
            .collect();
        all.sort();
        all
    };
    eventually("one of two is healthy", || {
        (states() == ["app ", "d healthy", "d starting"]).then_some(())
    });
    assert_eq!(hoist.state("app"), "created");
    hoist.file("out/go", "");
    assert_eq!(up.end(), 0);
    assert_eq!(hoist.state("app"), "running");
}

fn all_replicas_of_a_job_must_succeed() {
    let hoist = Sandbox::new();
    hoist.file("out/count", "");
    hoist.compose(
        "services:\n  job:\n    image: tiny\n    scale: 3\n    volumes: ['./out:/out']\n    command: sh -c 'echo x >> /out/count; \
         test $$(wc -l < /out/count) -lt 3'\n  app: {SLEEP, depends_on: {job: {condition: service_completed_successfully}}}\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("didn't complete successfully: exit 1");
    assert_eq!(hoist.state("app"), "created");
}

fn a_dependency_that_dies_while_it_is_waited_for_fails_up_with_its_exit_code() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  d: {{image: tiny, command: sh -c 'echo out of paper; sleep 0.3; exit 6', {HEALTH}}}\n  app: {{SLEEP, depends_on: \
         {{d: {{condition: service_healthy}}}}}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says(&format!(
            "dependency failed to start: container {}-d-1 exited (6)",
            hoist.name
        ))
        .says("out of paper");
    assert_eq!(hoist.state("app"), "created");
}

fn up_waits_for_what_a_running_service_needs_too() {
    let hoist = Sandbox::new();
    let text = |v: u32| {
        format!(
            "services:\n  d: {{image: tiny, stop_signal: SIGKILL, environment: {{V: '{v}'}}, command: sh -c 'sleep 0.5; touch /ok; \
             sleep 3600', {HEALTH}}}\n  app: {{SLEEP, depends_on: {{d: {{condition: service_healthy}}}}}}\n"
        )
    };
    hoist.compose(&text(1));
    hoist.ok("up -d");
    let init = hoist.init("app");
    hoist.compose(&text(2));
    hoist.ok("up -d");
    assert_eq!(hoist.field("d", "Health"), "healthy");
    assert_eq!(
        hoist.init("app"),
        init,
        "a dependent that does not ask was restarted"
    );
}

fn a_job_runs_again_with_each_up() {
    let hoist = Sandbox::new();
    let log = hoist.file("out/log", "");
    hoist.compose(
        "services:\n  job: {image: tiny, volumes: ['./out:/out'], command: sh -c 'echo ran >> /out/log'}\n  app: {SLEEP, \
         depends_on: {job: {condition: service_completed_successfully}}}\n",
    );
    for times in 1..3 {
        hoist.ok("up -d");
        let text = std::fs::read_to_string(&log).expect("it is there");
        assert_eq!(text.lines().count(), times);
    }
}

fn chain() -> [String; 4] {
    [
        teller("db", "    environment: {V: '1'}\n"),
        teller(
            "app",
            "    depends_on: {db: {condition: service_started, restart: true}}\n",
        ),
        teller(
            "top",
            "    depends_on: {app: {condition: service_started, restart: true}}\n",
        ),
        teller("other", "    depends_on: [db]\n"),
    ]
}

fn a_restart_of_a_dependency_restarts_those_that_ask_and_theirs() {
    let (hoist, take) = told(&chain());
    hoist.ok("up -d");
    take(4);
    hoist.ok("restart db");
    let told = take(6);
    assert_eq!(
        &told[..told.find(",db up").expect("it is up again")],
        "top down,app down,db down"
    );
    assert!(!told.contains("other"), "{told}");
    hoist.ok("restart --no-deps db");
    assert_eq!(take(2), "db down,db up");
    hoist.ok("restart app");
    assert!(!take(4).contains("db"));
}

fn a_new_dependency_restarts_those_that_ask() {
    let (hoist, take) = told(&chain());
    hoist.ok("up -d");
    take(4);
    let text = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.compose(&text.replace("V: '1'", "V: '2'"));
    hoist.ok("up -d");
    let told = take(4);
    assert!(told.starts_with("app down,db down,"), "{told}");
    assert!(!told.contains("other") && !told.contains("top"), "{told}");
}

fn a_dependency_that_restarts_by_itself_restarts_nobody() {
    let (hoist, take) = told(&[
        teller("db", "    restart: always\n"),
        teller(
            "app",
            "    depends_on: {db: {condition: service_started, restart: true}}\n",
        ),
    ]);
    hoist.ok("up -d");
    take(2);
    let init = hoist.init("app");
    let pid = nix::unistd::Pid::from_raw(hoist.init("db"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    assert_eq!(take(1), "db up");
    assert_eq!(hoist.init("app"), init);
}

fn an_optional_dependency_that_fails_is_a_warning() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  ill: {SLEEP, healthcheck: {test: 'exit 1', interval: 100ms, retries: 1}}\n  bad: {image: tiny, command: sh -c \
         'exit 3'}\n  app: {SLEEP, depends_on: {ill: {condition: service_healthy, required: false}, bad: {condition: \
         service_completed_successfully, required: false}}}\n",
    );
    hoist
        .ok("up -d")
        .says("optional dependency \"bad\" didn't complete successfully: exit 3")
        .says("optional dependency \"ill\" failed to start: container");
    assert_eq!(hoist.state("app"), "running");
}

fn an_optional_dependency_that_is_off_is_not_waited_for() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  off: {{SLEEP, profiles: [x], {HEALTH}}}\n  app: {{SLEEP, depends_on: {{off: {{condition: service_healthy, \
         required: false}}}}}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(hoist.state("app"), "running");
    assert_eq!(hoist.ps().len(), 1);
    hoist.compose("services:\n  off: {SLEEP, profiles: [x]}\n  app: {SLEEP, depends_on: {off: {condition: service_started}}}\n");
    hoist.run("up -d").code(1).says("off");
}

fn start_and_run_bring_what_is_needed_in_order() {
    let healthy = format!("    {HEALTH}\n");
    let (hoist, take) = told(&[
        teller("db", &healthy),
        teller(
            "app",
            "    depends_on: {db: {condition: service_healthy}}\n",
        ),
        teller("other", ""),
    ]);
    hoist.ok("create");
    hoist.ok("start app");
    assert_eq!(take(2), "db up,app up");
    assert_eq!(hoist.state("other"), "created");
    hoist.ok("down");
    take(2);
    hoist.ok("run --rm -T app echo one-off").says("one-off");
    assert_eq!(take(1), "db up");
    assert_eq!(hoist.field("db", "Health"), "healthy");
}

fn start_starts_what_there_is() {
    let hoist = Sandbox::new();
    let ended = "condition: service_completed_successfully";
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP}}\n  b: {{SLEEP}}\n  none: {{SLEEP, scale: 0}}\n  needs: {{SLEEP, depends_on: {{b: {{{ended}}}}}}}\n  \
         may: {{SLEEP, depends_on: {{b: {{{ended}, required: false}}}}}}\n"
    ));
    let missing = "service \"b\" has no container to start";
    hoist.run("start b").code(1).says(missing);
    hoist.ok("start none").prints("");
    hoist.ok("create a");
    // The project has a container, though not this service.
    let started = hoist.ok("start a b");
    assert!(started.err.contains(missing), "{}", started.story());
    assert_eq!(hoist.state("a"), "running");
    assert!(!hoist.ok("start none").all().contains("no container"));
    hoist
        .run("start needs")
        .code(1)
        .says("needs is missing dependency b");
    hoist.ok("start may").says("may is missing dependency b");
}

fn stop_and_down_end_dependents_first() {
    let (hoist, take) = told(&[
        teller("db", ""),
        teller("app", "    depends_on: [db]\n"),
        teller("top", "    depends_on: [app]\n"),
    ]);
    hoist.ok("up -d");
    assert_eq!(take(3), "db up,app up,top up");
    hoist.ok("stop");
    assert_eq!(take(3), "top down,app down,db down");
    hoist.ok("start");
    assert_eq!(take(3), "db up,app up,top up");
    hoist.ok("down");
    assert_eq!(take(3), "top down,app down,db down");
}

fn without_dependencies_nothing_is_waited_for() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  ill: {SLEEP, healthcheck: {test: 'exit 1', interval: 100ms, retries: 1}}\n  app: {SLEEP, depends_on: {ill: \
         {condition: service_healthy}}}\n",
    );
    hoist.ok("up -d --no-deps app");
    assert_eq!(hoist.ps().len(), 1);
    hoist.ok("run --rm --no-deps -T app true");
    hoist
        .run("run --rm -T app true")
        .code(1)
        .says("is unhealthy");
}

fn services_that_wait_for_each_other_are_an_error() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, depends_on: [b]}\n  b: {SLEEP, depends_on: {a: {condition: service_healthy}}}\n");
    hoist.run("up -d").code(1).says("depends_on");
    assert!(!hoist.data().join("projects").join(&hoist.name).exists());
}

/// Names of the containers that run, without the project's.
fn running(hoist: &Sandbox) -> Vec<String> {
    let rows = hoist.ps();
    let up = rows.iter().filter(|row| row["State"] == "running");
    let prefix = format!("{}-", hoist.name);
    let mut all: Vec<String> = up
        .map(|row| row["Name"].as_str().expect("a name").replace(&prefix, ""))
        .collect();
    all.sort();
    all
}

fn scale_and_replicas_say_how_many_containers_there_are() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, scale: 2}\n  b: {SLEEP, deploy: {mode: replicated, replicas: 3}}\n  none: {SLEEP, scale: 0}\n");
    hoist.ok("up -d");
    assert_eq!(running(&hoist), ["a-1", "a-2", "b-1", "b-2", "b-3"]);
    hoist.ok("up -d --scale a=1 --scale none=1");
    assert_eq!(running(&hoist), ["a-1", "b-1", "b-2", "b-3", "none-1"]);
}

fn fewer_replicas_remove_the_highest_numbers() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, deploy: {replicas: 4}}\n");
    hoist.ok("up -d");
    hoist.compose("services:\n  a: {SLEEP, deploy: {replicas: 2}}\n");
    hoist.ok("up -d");
    assert_eq!(running(&hoist), ["a-1", "a-2"]);
    hoist.compose("services:\n  a: {SLEEP, deploy: {replicas: 3}, environment: {V: '2'}}\n");
    hoist.ok("up -d");
    assert_eq!(running(&hoist), ["a-1", "a-2", "a-3"]);
    for number in 1..4 {
        hoist
            .ok(&format!("exec -T --index {number} a sh -c 'echo $V'"))
            .prints("2");
    }
}

fn a_fixed_name_or_port_does_not_go_with_several_containers() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, container_name: fixed, scale: 2}\n");
    hoist.run("up -d").code(1).says("container_name");
    hoist.compose("services:\n  a: {SLEEP, container_name: fixed}\n");
    hoist
        .run("up -d --scale a=2")
        .code(1)
        .says("container_name");
    let port = crate::harness::ports::free();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, ports: ['127.0.0.1:{port}:80'], scale: 2}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:2:")
        .says(&format!("port {port} of the host can be given to 1 only"));
    assert!(hoist.ps().is_empty());
}

fn replicas_take_ports_of_a_range() {
    let hoist = Sandbox::new();
    let port = crate::harness::ports::free();
    // Some of them may be taken by others of this machine: there is room for all.
    let last = port.saturating_add(40);
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, ports: ['127.0.0.1:{port}-{last}:80'], scale: 3}}\n"
    ));
    hoist.ok("up -d");
    let mut ports: Vec<String> = (1..4)
        .map(|number| {
            hoist
                .ok(&format!("port --index {number} a 80"))
                .out
                .trim()
                .to_owned()
        })
        .collect();
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 3, "{ports:?}");
}

fn restarts_of_what_ends_are_told_between_its_lines() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: sh -c 'echo in; exit 3', restart: 'on-failure:2'}\n",
    );
    let told = hoist.ok("up").out;
    let again = "a-1  | in\na-1 exited with code 3 (restarting)\n";
    let last = "a-1  | in\na-1 exited with code 3\n";
    assert_eq!(told, format!("Attaching to a-1\n{again}{again}{last}"));
    // Also of one that says nothing.
    hoist.compose(
        "services:\n  a: {image: tiny, command: sh -c 'exit 3', restart: 'on-failure:1'}\n",
    );
    let told = hoist.ok("up").out;
    let again = "a-1 exited with code 3 (restarting)\n";
    let last = "a-1 exited with code 3\n";
    assert_eq!(told, format!("Attaching to a-1\n{again}{last}"));
}

fn a_global_service_has_one_container_and_a_job_as_many_as_it_says() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  g: {SLEEP, deploy: {mode: global}}\n  many: {SLEEP, deploy: {mode: global, replicas: 3}}\n  j: {image: tiny, \
         command: 'true', deploy: {mode: replicated-job, replicas: 2}}\n  gj: {image: tiny, command: 'true', deploy: {mode: \
         global-job}}\n",
    );
    hoist
        .ok("up -d")
        .says("`mode: global` means one container a machine, not 3");
    eventually("the jobs have ended", || {
        let rows = hoist.ps();
        let ended = rows
            .iter()
            .filter(|row| row["State"] == "exited" && row["ExitCode"] == 0);
        (ended.count() == 3).then_some(())
    });
    assert_eq!(running(&hoist), ["g-1", "many-1"]);
}

fn what_only_a_cluster_does_changes_no_container() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, deploy: {endpoint_mode: dnsrr, labels: {only.of: the-service}, replicas: 2, placement: \
         {constraints: [node.role==manager], preferences: [{spread: node.labels.zone}], max_replicas_per_node: 1}}}\n",
    );
    hoist.ok("up -d");
    assert_eq!(running(&hoist), ["a-1", "a-2"]);
    hoist.ok("ps --format json").says_nothing_of("only.of");
}

fn killed_means_that_it_has_ended() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, scale: 5, restart: always}\n");
    hoist.ok("up -d");
    hoist.ok("kill");
    assert!(running(&hoist).is_empty());
}
