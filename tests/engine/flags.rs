//! Flags that stand in no other case: what they do, and which of them can't stand together.

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox, ports};

crate::cases!(ENGINE;
    flags_of_up_choose_what_is_shown_made_and_awaited,
    flags_of_create_down_kill_and_rm_choose_what_is_made_and_removed,
    run_and_exec_take_rights_names_ports_and_terminals,
    flags_that_contradict_each_other_and_bad_values_are_refused,
    flags_before_the_command_reach_every_command,
    names_are_as_compose_v1_made_them_where_that_is_asked_for,
    flags_of_the_cache_and_of_prunes_are_understood,
    flags_of_image_commands_are_understood,
    flags_of_registries_are_understood_where_there_is_none,
    flags_of_start_pull_config_and_version_are_understood,
    ports_are_those_of_what_runs,
    all_resources_are_made_and_those_that_nothing_uses_are_not,
    a_job_that_has_ended_is_run_again_and_the_plan_says_so,
    a_format_that_is_mistyped_gets_a_suggestion,
    signals_of_every_kind_reach_the_container,
    commands_that_change_something_tell_their_beginning_and_end,
);

/// Commands of one project that end: `one` with 4, `two` never, `both` needs `two`.
fn project() -> Sandbox {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  one: {image: tiny, command: sh -c 'echo first; exit 4'}\n  two: {SLEEP, volumes: [/v]}\n  \
         both: {SLEEP, depends_on: [two]}\n",
    );
    hoist
}

fn flags_of_up_choose_what_is_shown_made_and_awaited() {
    let hoist = project();
    hoist.ok("up --no-start --quiet-pull");
    assert_eq!(hoist.state("two"), "created");
    let made = hoist.id("two");
    hoist
        .run("up --abort-on-container-failure --no-color -t 0")
        .code(4)
        .says("one-1   | first");
    let done = hoist
        .run("up --abort-on-container-exit --no-attach two --menu=false -t 0 one two")
        .code(4);
    assert!(!done.out.contains("two-1"), "{}", done.story());
    let aborts = "Aborting on container exit...";
    assert!(done.err.contains(aborts), "{}", done.story());
    assert!(!done.out.contains(aborts), "{}", done.story());
    hoist
        .run("up --abort-on-container-exit --attach one -t 0")
        .code(4)
        .says("one-1  | first");
    hoist
        .run("up --abort-on-container-exit --attach-dependencies -t 0 one")
        .code(4)
        .says("first");
    assert_eq!(hoist.id("two"), made);
    let file = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.compose(&file.replace("[/v]", "[/v, /w]"));
    hoist.ok("up -d --no-recreate two");
    assert_eq!(hoist.id("two"), made);
    let (two, both) = {
        hoist.ok("up -d both");
        (hoist.id("two"), hoist.id("both"))
    };
    assert_ne!(two, made);
    hoist.ok("up -d --always-recreate-deps --force-recreate both");
    assert!(hoist.id("two") != two && hoist.id("both") != both);
    let trace = hoist.dir().join("trace.json");
    hoist.ok("up -d --trace trace.json two");
    let text = std::fs::read_to_string(trace).expect("a timeline");
    assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
}

fn flags_of_create_down_kill_and_rm_choose_what_is_made_and_removed() {
    let hoist = project();
    hoist.ok("create --no-build --quiet-pull --pull never --scale two=2 two");
    assert_eq!(hoist.ps().len(), 2);
    let file = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.compose(&file.replace("[/v]", "[/v, /w]"));
    let ids = hoist.ok("ps -aq").out;
    hoist.ok("create --no-recreate --scale two=2 two");
    assert_eq!(hoist.ok("ps -aq").out, ids);
    hoist.ok("up -d --scale two=2 two");
    hoist.compose("services: {two: {SLEEP}}\n");
    hoist.ok("create --remove-orphans");
    hoist.ok("up -d");
    hoist.compose("services: {other: {SLEEP}}\n");
    hoist.ok("kill --remove-orphans");
    hoist.ok("rm -f --all");
    hoist.ok("up -d --remove-orphans");
    hoist.file("Dockerfile", "FROM tiny\nRUN true\n");
    hoist.compose("services: {built: {build: ., command: sleep 3600, stop_signal: SIGKILL}}\n");
    hoist.ok("up -d");
    hoist.ok("down --rmi local --remove-orphans");
    assert!(!hoist.global(&["image", "ls"]).ok().out.contains("built"));
    assert_eq!(hoist.ps(), Vec::<Value>::new());
}

fn run_and_exec_take_rights_names_ports_and_terminals() {
    let hoist = Sandbox::new();
    let (own, more) = (ports::free(), ports::free());
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, ports: ['127.0.0.1:{own}:80'], volumes: ['kept:/k']}}\n  b: {{SLEEP, depends_on: [a]}}\nvolumes: {{kept: }}\n"
    ));
    let name = format!("{}-special", hoist.name);
    hoist.file("ctl/begun", "");
    hoist.ok(&format!(
        "run --quiet --quiet-pull --pull never -d --name {name} --service-ports --publish 127.0.0.1:{more}:81 --label x=y \
         --volume ./ctl:/ctl --use-aliases --cap-drop ALL --cap-add CHOWN --user 0 --workdir /bin -e A=1 a sh -c 'while [ ! -e /ctl/end ]; do sleep 0.05; done'"
    ));
    let row = hoist
        .ps()
        .into_iter()
        .find(|row| row["Name"] == name.as_str())
        .expect("it runs");
    assert_eq!(
        row["Ports"],
        format!("127.0.0.1:{own}->80/tcp, 127.0.0.1:{more}->81/tcp")
    );
    assert!(
        row["Labels"]
            .as_str()
            .is_some_and(|labels| labels.contains("x=y")),
        "{row}"
    );
    hoist.file("ctl/end", "");
    crate::harness::eventually("the container ends", || {
        hoist.ok("ps -q").out.is_empty().then_some(())
    });
    hoist.ok("down -t 0 --remove-orphans");
    let rights = hoist.ok("run --rm --no-tty --no-deps --cap-drop ALL --cap-add CHOWN b grep CapEff /proc/self/status").out;
    assert_eq!(
        rights.split_whitespace().last(),
        Some("0000000000000001"),
        "{rights}"
    );
    hoist.ok("run --rm --no-TTY --interactive=false --workdir /bin --env A=1 b sh -c 'echo $A $PWD; cat'").prints("1 /bin");
    hoist.ok("up -d b");
    let mut shell = hoist.on_terminal("run --rm --tty --no-deps b sh");
    shell.types("tty; exit 5\n");
    shell.says("/dev/pts/");
    assert_eq!(shell.end(), 5);
    let mut shell = hoist.on_terminal("exec --tty --interactive b sh");
    shell.types("tty; exit 6\n");
    shell.says("/dev/pts/");
    assert_eq!(shell.end(), 6);
    let few = hoist
        .ok("exec --no-TTY b grep CapEff /proc/self/status")
        .out;
    let all = hoist
        .ok("exec -T --privileged b grep CapEff /proc/self/status")
        .out;
    assert_ne!(few, all);
    hoist.compose("services:\n  b: {SLEEP}\n");
    hoist.ok("run --rm -T --remove-orphans b true");
    hoist
        .run("run --rm -T --cap-add NONE b true")
        .code(1)
        .says("invalid CapAdd: unknown capability: \"CAP_NONE\"");
    // A volume that only the command line names is made, and stays.
    let volume = format!("{}own", hoist.name);
    hoist.ok(&format!("run --rm -T -v {volume}:/v b touch /v/x"));
    hoist.ok("down -v");
    hoist
        .ok(&format!("run --rm -T -v {volume}:/v b ls /v"))
        .prints("x");
    // What runs on in the background goes with the orphans, and not without them.
    let id = hoist.ok("run -d b").out;
    assert_eq!(id.trim().len(), 64, "{id}");
    hoist.ok("down -t 0");
    let left = hoist.ok("ps -a").out;
    assert_eq!(left.lines().count(), 2, "{left}");
    hoist.ok("down -t 0 --remove-orphans");
    hoist.ok("ps -aq").prints("");
}

fn flags_that_contradict_each_other_and_bad_values_are_refused() {
    let hoist = project();
    for (line, text) in [
        ("up --build --no-build", "--no-build"),
        ("up --force-recreate --no-recreate", "--no-recreate"),
        ("up --always-recreate-deps --no-recreate", "--no-recreate"),
        (
            "up --attach one --attach-dependencies",
            "--attach-dependencies",
        ),
        (
            "up --abort-on-container-exit --abort-on-container-failure",
            "--abort-on-container-exit",
        ),
        ("up -d --attach one", "--detach cannot be combined with"),
        (
            "up -d --attach-dependencies",
            "--detach cannot be combined with",
        ),
        ("up -d --abort-on-container-exit", "--detach"),
        ("up -d --exit-code-from one", "--detach"),
        ("up -d --watch", "--detach cannot be combined with"),
        (
            "up --wait --abort-on-container-exit",
            "--wait cannot be combined with",
        ),
        (
            "up --wait --abort-on-container-failure",
            "--wait cannot be combined with",
        ),
        (
            "up --wait --exit-code-from one",
            "--wait cannot be combined with",
        ),
        ("up --wait --attach one", "--wait cannot be combined with"),
        ("up --wait --watch", "--wait cannot be combined with"),
        ("up --exit-code-from nosuch", "no such service: nosuch"),
        ("up --scale one=x -d", "invalid --scale `one=x`"),
        ("up --scale one -d", "invalid --scale `one`"),
        ("up --scale one=-1 -d", "invalid --scale `one=-1`"),
        ("up --scale =1 -d", "invalid --scale `=1`"),
        ("up --scale nosuch=2 -d", "nosuch"),
        ("up --pull bogus -d", "bogus"),
        ("up -d -t x", "x"),
        ("up --wait-timeout x", "x"),
        ("up -t", "--timeout"),
        ("up --nosuch", "--nosuch"),
        ("create --build --no-build", "--no-build"),
        ("create --scale one=x", "invalid --scale `one=x`"),
        ("down --rmi bogus", "bogus"),
        ("down nosuch", "no such service: nosuch"),
        ("kill -s BOGUS", "BOGUS"),
        ("kill nosuch", "no such service: nosuch"),
        ("stop nosuch", "no such service: nosuch"),
        ("start nosuch", "no such service: nosuch"),
        ("restart nosuch", "no such service: nosuch"),
        ("rm -f nosuch", "no such service: nosuch"),
        ("pull nosuch", "no such service: nosuch"),
        ("push nosuch", "no such service: nosuch"),
        ("volumes nosuch", "no such service: nosuch"),
        ("exec two", "COMMAND"),
        ("exec nosuch x", "service \"nosuch\" is not running"),
        (
            "exec --index 3 two x",
            "service \"two\" is not running container #3",
        ),
        (
            "cp one:/x two:/y",
            "copying between services is not supported",
        ),
        ("cp one two", "unknown copy direction"),
        ("run -p x one", "invalid port `x`"),
        ("run -v x:y:z:w one", "invalid volume `x:y:z:w`"),
        ("--ansi x config", "x"),
        ("--progress x config", "x"),
        ("--parallel x config", "x"),
        ("-p Bad_Name! -p Bad_Name! config", "Bad_Name!"),
        ("ps --all=maybe", "maybe"),
        ("--env-file nosuch config", "nosuch"),
    ] {
        let done = hoist.run(line).code(1);
        assert!(done.err.contains(text), "no {text:?} in: {}", done.story());
        assert!(!done.err.contains("panicked"), "{}", done.story());
    }
    assert_eq!(hoist.ps(), Vec::<Value>::new());
    for (service, text) in [
        ("{SLEEP, profiles: [p]}", "no service selected"),
        ("{image: ''}", "neither an image nor a build context"),
        (
            "{SLEEP, working_dir: rel}",
            "`rel` must be an absolute path",
        ),
        (
            "{SLEEP, tmpfs: 'rel:size=1m'}",
            "`rel` must be an absolute path",
        ),
        ("{SLEEP, platform: bogus}", "`bogus` is no platform"),
    ] {
        hoist.compose(&format!("services: {{a: {service}}}\n"));
        hoist.run("up -d").code(1).says(text);
    }
    hoist.compose("services: {a: {SLEEP}}\n");
    hoist
        .run("run --rm -w rel a pwd")
        .code(1)
        .says("'rel' is invalid");
    // Who only looks, or takes away, needs no `env_file`.
    hoist.ok("up -d");
    hoist.compose("services: {a: {SLEEP, env_file: nosuch}}\n");
    hoist.run("up -d").code(1).says("nosuch");
    assert_eq!(hoist.state("a"), "running");
    hoist.ok("down -t 0");
    hoist.ok("ps -aq").prints("");
}

fn flags_before_the_command_reach_every_command() {
    let hoist = Sandbox::new();
    hoist.file(
        "sub/compose.yaml",
        "services: {a: {build: ., image: x}}\nvolumes: {spare: }\n",
    );
    let sub = hoist.dir().join("sub").display().to_string();
    for flag in ["--project-directory", "--workdir"] {
        let text = hoist
            .global(&[flag, &sub, "config", "--format", "json"])
            .ok()
            .out;
        assert!(text.contains(&format!("\"context\": \"{sub}\"")), "{text}");
    }
    hoist.compose("services: {a: {SLEEP}}\nvolumes: {spare: }\nnetworks: {spare: }\n");
    hoist
        .ok("--verbose --compatibility --parallel 1 config -q")
        .prints("");
    assert!(!hoist.ok("config").out.contains("spare"));
    assert_eq!(
        hoist
            .ok("--all-resources config")
            .out
            .matches("spare:")
            .count(),
        2
    );
    let port = ports::free();
    hoist
        .run(&format!(
            "--insecure-registry localhost:{port} -f oci://localhost:{port}/x config"
        ))
        .code(1)
        .says(&format!("localhost:{port}"));
}

fn names_are_as_compose_v1_made_them_where_that_is_asked_for() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo built > /is\n");
    hoist.compose(
        "services:\n  a: {SLEEP, scale: 2, links: [b:other]}\n  b: {build: ., command: sh -c 'cat /is; exec sleep 900', stop_grace_period: 0s}\n",
    );
    let name = &hoist.name;
    hoist.ok("--compatibility up -d");
    let names = |flags: &str| hoist.ok(&format!("{flags} ps --format {{{{.Name}}}}")).out;
    let old = format!("{name}_a_1\n{name}_a_2\n{name}_b_1\n");
    assert_eq!(names("--compatibility"), old);
    hoist
        .ok("--compatibility images b --format json")
        .says(&format!("\"Repository\":\"{name}_b\""));
    hoist.logged("b", "b_1  | built");
    hoist.ok("exec -T --index 2 a ping -c1 -W5 other");
    let id = hoist.ok("--compatibility run -d a sleep 900").out;
    let rows = hoist.ok("ps -a --no-trunc --format {{.ID}}={{.Name}}").out;
    let own = format!("{}={name}_a_run_", id.trim());
    assert!(rows.contains(&own), "{rows}");
    // What runs is not made again for a name: it is given the new one.
    let id = hoist.ok("ps -q --no-trunc a").out;
    hoist
        .ok("up -d --no-deps a")
        .says(&format!("Container {name}-a-1  Running"));
    let new = format!("{name}-a-1\n{name}-a-2\n{name}_b_1\n");
    assert_eq!((names(""), hoist.ok("ps -q --no-trunc a").out), (new, id));
    hoist.ok("exec -T --index 2 a ping -c1 -W5 a");
    let down = "--compatibility down -t 0 --rmi local --remove-orphans";
    hoist
        .ok(down)
        .says(&format!("Image {name}_b:latest  Removed"));
    hoist.ok("ps -aq").prints("");
}

fn flags_of_the_cache_and_of_prunes_are_understood() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo one > /one\n");
    hoist.compose("services: {a: {build: {context: .}, image: app}}\n");
    hoist.ok("build");
    let table = hoist.ok("cache ls --no-trunc").out;
    assert_eq!(hoist.ok("cache du --no-trunc").out, table);
    let ids = hoist.ok("cache ls --quiet").out;
    assert!(
        ids.lines().all(|id| table.contains(id)) && !ids.is_empty(),
        "{table}"
    );
    let rows = hoist.ok("cache ls --format json").out;
    assert!(
        rows.lines()
            .all(|row| serde_json::from_str::<Value>(row).is_ok()),
        "{rows}"
    );
    hoist
        .ok("cache export --quiet --project all.tar")
        .prints("");
    let other = Sandbox::empty();
    let archive = hoist.dir().join("all.tar").display().to_string();
    other
        .global(&["cache", "import", "--quiet", &archive])
        .ok()
        .prints("");
    other
        .global(&[
            "cache",
            "export",
            "--quiet",
            &other.dir().join("x.tar").display().to_string(),
        ])
        .ok();
    for line in [
        "cache prune -f --format json --reserved-space 1gb",
        "cache prune -f --max-used-space 1gb --min-free-space 1kb",
        "system prune -f --reserved-space 1gb --max-used-space 1gb --min-free-space 1kb",
        "system prune -f --keep-storage 1gb",
        "system prune -f --filter until=24h",
    ] {
        hoist.ok(line);
        assert_eq!(hoist.ok("cache ls --quiet").out, ids, "{line}");
    }
    hoist
        .run("cache prune -f --reserved-space much")
        .code(1)
        .says("much");
}

fn flags_of_image_commands_are_understood() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nARG A\nRUN nproc > /cpus\n");
    hoist.ok(
        "image build --quiet=true --pull=false --cpu-shares 512 --cpu-period 100000 --cpu-quota 50000 --cpuset-cpus 0 --cpuset-mems 0 \
         --label made=here --rm --force-rm --compress --builder default -t app .",
    );
    let labels = "{{index .Config.Labels \"made\"}}";
    hoist
        .global(&["image", "inspect", "-f", labels, "app"])
        .ok()
        .prints("here");
    hoist.ok("image history --no-trunc --quiet app");
    let listed = hoist.ok("image list --digests").out;
    assert!(
        listed
            .lines()
            .next()
            .is_some_and(|head| head.contains("DIGEST")),
        "{listed}"
    );
    assert!(hoist.ok("image ls --tree").out.contains("app"));
    hoist.ok("image remove --no-prune app");
    assert!(!hoist.ok("image ls").out.contains("app"));
}

fn flags_of_registries_are_understood_where_there_is_none() {
    let hoist = Sandbox::new();
    let place = format!("localhost:{}", ports::free());
    hoist.compose(&format!("services: {{a: {{image: '{place}/y'}}}}\n"));
    hoist
        .run(&format!("login --username me --password secret {place}"))
        .code(1)
        .says(&place)
        .says_nothing_of("secret");
    hoist
        .pipe(&format!("login --password-stdin {place}"), b"secret")
        .code(1)
        .says("--username");
    hoist
        .pipe(
            &format!("login --username me --password-stdin {place}"),
            b"secret",
        )
        .code(1)
        .says(&place);
    hoist.ok(&format!("logout {place}"));
    hoist
        .run(&format!(
            "publish --insecure-registry --resolve-image-digests -y {place}/x"
        ))
        .code(1);
    hoist
        .run(&format!("image pull --platform linux/amd64 {place}/x"))
        .code(1)
        .says(&place);
    hoist.run("image rm --platform linux/s390x tiny").code(1);
}

fn flags_of_start_pull_config_and_version_are_understood() {
    let hoist = Sandbox::new();
    hoist.compose("services: {a: {SLEEP}}\n");
    hoist.ok("create");
    hoist.ok("start --wait --wait-timeout 60");
    assert_eq!(hoist.state("a"), "running");
    assert_eq!(
        hoist.ok("pull --quiet --no-parallel --policy missing").out,
        ""
    );
    assert_eq!(
        hoist.ok("config --no-env-resolution").out,
        hoist.ok("config").out
    );
    let number = env!("CARGO_PKG_VERSION");
    hoist
        .ok("version --format json")
        .prints(&format!("{{\"version\":\"{number}\"}}"));
    hoist.ok("version --format '{{.Version}}'").prints(number);
    hoist
        .ok("version --format other")
        .prints(&format!("hoist version {number}"));
}

fn ports_are_those_of_what_runs() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, ports: ['127.0.0.1:{port}:80'], expose: [81]}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(
        hoist.one("a")["Publishers"].as_array().map(Vec::len),
        Some(2)
    );
    hoist.ok("stop");
    // As Docker: neither what is published nor what is exposed.
    let row = hoist.one("a");
    assert_eq!(row["Ports"], "");
    assert_eq!(row["Publishers"], Value::Array(Vec::new()));
    hoist.ok("ps -a").says_nothing_of("80/tcp");
}

fn all_resources_are_made_and_those_that_nothing_uses_are_not() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\nvolumes: {spare: }\nnetworks: {other: }\n");
    let (volume, network) = (
        format!("{}_spare", hoist.name),
        format!("{}_other", hoist.name),
    );
    hoist
        .ok("up -d")
        .says_nothing_of(&volume)
        .says_nothing_of(&network);
    hoist
        .ok("--all-resources up -d")
        .says(&format!("Volume {volume}"))
        .says(&format!("Network {network}"));
    hoist.ok("volumes -q").prints(&volume);
    hoist.ok("down -v").says(&volume).says(&network);
}

fn a_job_that_has_ended_is_run_again_and_the_plan_says_so() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  job: {image: tiny, command: 'true'}\n  \
         web: {SLEEP, depends_on: {job: {condition: service_completed_successfully}}}\n",
    );
    hoist.ok("up -d");
    let begun = || {
        let events = hoist.ok("events --since 1h --until 0s --json job").out;
        events.matches("\"action\":\"start\"").count()
    };
    assert_eq!(begun(), 1);
    hoist.run("plan").code(2).says("start").says("exited (0)");
    assert_eq!(begun(), 1);
    // As docker compose, which starts what does not run.
    hoist.ok("up -d");
    assert_eq!(begun(), 2);
    hoist.compose("services:\n  web: {SLEEP}\n");
    hoist.ok("up -d --remove-orphans");
    hoist.run("plan").code(0);
}

fn a_format_that_is_mistyped_gets_a_suggestion() {
    let hoist = project();
    hoist.ok("up -d two");
    for line in [
        "images --format jsn",
        "ls --format jsn",
        "config --format jsn",
        "plan --format jsn",
        "explain --format jsn services",
        "doctor --format jsn",
        "snapshot ls --format jsn",
        "cache ls --format jsn",
    ] {
        hoist.run(line).code(1).says("did you mean `json`?");
    }
    hoist
        .run("graph --format svgg")
        .code(1)
        .says("did you mean `svg`?");
    // As Docker, these take it for a template.
    for line in [
        "ps --format jsn",
        "image ls --format jsn",
        "stats --no-stream --format jsn",
    ] {
        hoist.ok(line).prints("jsn").says("did you mean `json`?");
    }
    let done = hoist.ok("ps --format '{{.Service}}'");
    assert_eq!((done.out.as_str(), done.err.as_str()), ("two\n", ""));
}

fn signals_of_every_kind_reach_the_container() {
    use nix::sys::signal::Signal;
    let hoist = Sandbox::new();
    let traps = "for s in HUP USR1 USR2 QUIT ALRM; do trap \"echo got $$s\" $$s; done";
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, stop_signal: SIGKILL, command: [sh, -c, '{traps}; \
         echo ready; while :; do sleep 0.05; done']}}\n"
    ));
    let sent = [
        (Signal::SIGHUP, "got HUP"),
        (Signal::SIGUSR1, "got USR1"),
        (Signal::SIGUSR2, "got USR2"),
        (Signal::SIGQUIT, "got QUIT"),
        (Signal::SIGALRM, "got ALRM"),
    ];
    let run = hoist.start("run --rm -T a");
    run.says("ready");
    for (signal, text) in sent {
        run.signal(signal);
        run.says(text);
    }
    run.signal(Signal::SIGKILL);
    run.end();
    hoist.ok("down --remove-orphans -t 0");
    hoist.ok("up -d");
    let attached = hoist.start("attach a");
    hoist.logged("a", "ready");
    // Only one that is attached passes them on.
    crate::harness::eventually("it is attached", || {
        let seen = hoist.ok("events --since 1h --until 0s --json a").out;
        seen.contains("\"action\":\"attach\"").then_some(())
    });
    for (signal, text) in sent {
        attached.signal(signal);
        attached.says(text);
    }
    // Not asked to pass signals on, it ends by its own.
    let other = hoist.start("attach --sig-proxy=false a");
    crate::harness::eventually("another one is attached", || {
        let seen = hoist.ok("events --since 1h --until 0s --json a").out;
        (seen.matches("\"action\":\"attach\"").count() >= 2).then_some(())
    });
    other.signal(Signal::SIGHUP);
    assert_eq!(other.end(), 129);
    assert_eq!(hoist.state("a"), "running");
    hoist.ok("kill a");
    assert_eq!(attached.end(), 137);
}

fn commands_that_change_something_tell_their_beginning_and_end() {
    let hoist = project();
    hoist.ok("up -d two");
    for line in [
        "pause two",
        "unpause two",
        "scale two=1",
        "alpha scale two=1",
        "--all-resources up -d --no-recreate two",
    ] {
        let done = hoist.ok(&format!("--progress json {line}"));
        let lines: Vec<Value> = done
            .err
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect();
        let kind = |line: Option<&Value>| line.map(|line| line["event"].clone());
        assert_eq!(
            kind(lines.first()),
            Some("start".into()),
            "{line}: {}",
            done.err
        );
        assert_eq!(
            kind(lines.last()),
            Some("result".into()),
            "{line}: {}",
            done.err
        );
    }
}
