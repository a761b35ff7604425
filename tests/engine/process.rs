//! What runs in a container, as whom and under which name: all forms of the keys that say so.

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    commands_and_entry_points_join_those_of_the_image,
    a_working_directory_is_the_services_or_the_images,
    user_texts_are_read_as_the_reference_does,
    groups_are_added_by_name_and_number,
    environment_files_have_forms_and_an_order,
    an_init_passes_signals_on_and_leaves_no_zombie,
    standard_input_and_a_terminal_are_as_asked,
    names_of_the_host_and_the_domain_are_the_kernels,
    labels_of_files_images_and_services_are_joined,
    annotations_change_nothing_of_what_runs,
    a_container_name_is_taken_whole_and_once,
    an_image_of_another_platform_is_not_taken_for_the_one_asked,
    an_extended_service_runs_with_what_both_say,
    a_read_only_root_is_read_only_to_root,
);

/// A sandbox with an image of its own, `own`, from these lines over the tiny one.
fn with_image(lines: &str) -> Sandbox {
    let hoist = Sandbox::new();
    hoist.file("img/Dockerfile", format!("FROM tiny\n{lines}"));
    let _ = hoist.global(&["image", "build", "-t", "own", "img"]).ok();
    hoist
}

/// What each service has printed, by its name.
fn output(hoist: &Sandbox, service: &str) -> String {
    hoist.reaches(service, "exited");
    let all = hoist.ok(&format!("logs --no-color --no-log-prefix {service}"));
    all.out.trim_end().to_owned()
}

fn commands_and_entry_points_join_those_of_the_image() {
    let hoist = with_image("ENTRYPOINT [\"echo\", \"E\"]\nCMD [\"C\", \"D\"]\n");
    // Each answer is Docker's.
    let table = [
        ("", "E C D"),
        ("command: ", "E C D"),
        ("command: []", "E C D"),
        ("command: ''", "E C D"),
        ("command: ['']", "E"),
        (
            "command: \"a 'b  c' \\\"d e\\\" f\\\\ g\"",
            "E a b  c d e f g",
        ),
        ("command: [a, 'b  c', \"$$HOME\"]", "E a b  c $HOME"),
        ("command: 'a | b && c'", "E a"),
        ("entrypoint: ", "E C D"),
        ("entrypoint: \"echo X 'y  z'\"", "X y  z"),
        ("entrypoint: [echo, X], command: [k, l]", "X k l"),
        ("entrypoint: [echo, X], command: 'k l'", "X k l"),
        ("entrypoint: [], command: [echo, k]", "k"),
        ("entrypoint: '', command: echo k", "k"),
        ("entrypoint: [''], command: echo k", "k"),
    ];
    let services: Vec<String> = table
        .iter()
        .enumerate()
        .map(|(at, (keys, _))| {
            let comma = if keys.is_empty() { "" } else { ", " };
            format!("  s{at}: {{image: own{comma}{keys}}}\n")
        })
        .collect();
    hoist.compose(&format!("services:\n{}", services.concat()));
    hoist.ok("up -d");
    for (at, (keys, want)) in table.iter().enumerate() {
        assert_eq!(output(&hoist, &format!("s{at}")), *want, "{keys}");
    }
    // Without its entry point the image's command runs alone.
    for keys in ["entrypoint: []", "entrypoint: ''"] {
        hoist.compose(&format!("services:\n  a: {{image: own, {keys}}}\n"));
        hoist
            .run("up -d")
            .code(1)
            .says("\"C\": executable file not found");
    }
    hoist.compose("services:\n  a: {image: own, entrypoint: ['']}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("service `a` has no command");
}

fn a_working_directory_is_the_services_or_the_images() {
    let hoist = with_image("WORKDIR /srv/img\n");
    hoist.compose(
        "services:\n  i: {image: own, command: pwd}\n  s: {image: own, working_dir: /var/made, command: [sh, -c, 'pwd; stat -c %u:%g .'], user: app}\n  \
         r: {image: tiny, command: pwd}\n",
    );
    hoist.ok("up -d");
    assert_eq!(output(&hoist, "i"), "/srv/img");
    assert_eq!(output(&hoist, "s"), "/var/made\n0:0");
    assert_eq!(output(&hoist, "r"), "/");
    hoist.compose("services:\n  f: {image: tiny, working_dir: /etc/passwd, command: pwd}\n");
    hoist.run("up -d").code(1).says("/etc/passwd");
}

/// CVE-2026-30892 and its kin: a text that is read in another way than it looks gives another user.
fn user_texts_are_read_as_the_reference_does() {
    let hoist = Sandbox::new();
    let ids = "id -u; id -g; awk '/^Groups:/{$1 = \"\"; print}' /proc/self/status";
    let good = [
        ("app", "1000 1000 1000 1001"),
        ("1000", "1000 1000 1000 1001"),
        ("1000:", "1000 1000 1000 1001"),
        ("app:extra", "1000 1001 1001"),
        ("1000:0", "1000 0 0"),
        ("0:", "0 0 0"),
        (":1000", "0 1000 1000"),
        (":", "0 0 0"),
        ("4242", "4242 0 0"),
        ("4242:4243", "4242 4243 4243"),
        ("2147483647", "2147483647 0 0"),
    ];
    let services: Vec<String> = good
        .iter()
        .enumerate()
        .map(|(at, (user, _))| {
            format!(
                "  s{at}: {{image: tiny, user: '{user}', command: [sh, -c, '{}']}}\n",
                ids.replace('\'', "''").replace('$', "$$")
            )
        })
        .collect();
    hoist.compose(&format!("services:\n{}", services.concat()));
    hoist.ok("up -d");
    for (at, (user, want)) in good.iter().enumerate() {
        let got = output(&hoist, &format!("s{at}"));
        let got: Vec<&str> = got.split_whitespace().collect();
        assert_eq!(got.join(" "), *want, "{user:?}");
    }
    let range = "uids and gids must be in range 0-2147483647";
    for (user, told) in [
        ("4294967296", range),
        ("4294967295", range),
        ("2147483648", range),
        ("-1", range),
        // Docker takes it for 1: nobody writes it so by intent.
        ("+1", range),
        ("1:-1", range),
        ("0:4294967296", range),
        (" 0", "unable to find user  0"),
        ("0 ", "unable to find user 0 "),
        ("0x0", "unable to find user 0x0"),
        ("1e3", "unable to find user 1e3"),
        (
            "nosuch",
            "unable to find user nosuch: no matching entries in passwd file",
        ),
        (
            "root:nosuch",
            "unable to find group nosuch: no matching entries in group file",
        ),
        ("0:0:0", "unable to find group 0:0"),
        ("٣", "unable to find user ٣"),
    ] {
        hoist.compose(&format!(
            "services:\n  a: {{image: tiny, user: '{user}', command: id}}\n"
        ));
        hoist.run("up -d").code(1).says(told);
        hoist.ok("down -t 0");
    }
}

fn groups_are_added_by_name_and_number() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, user: '1000:1000', group_add: [extra, 77]}\n  r: {SLEEP, group_add: ['5', app]}\n  b: {image: tiny, command: id, group_add: \
         [nosuch], profiles: [bad]}\n  n: {image: tiny, command: id, group_add: ['-1'], profiles: [bad]}\n",
    );
    hoist.ok("up -d");
    let groups = "awk '/^Groups:/{$1 = \"\"; print}' /proc/1/status";
    assert_eq!(hoist.sh("a", groups), "77 1000 1001");
    assert_eq!(hoist.sh("r", groups), "0 5 1000");
    assert_eq!(hoist.sh("a", "id -G"), "1000 77 1001", "of exec");
    hoist
        .run("up -d b")
        .code(1)
        .says("unable to find group nosuch");
    hoist.run("up -d n").code(1).says("must be in range");
}

fn environment_files_have_forms_and_an_order() {
    let hoist = Sandbox::new();
    hoist.set("HOST", "host");
    hoist.file(
        "one.env",
        "A=1\nB=1\nD='quo $HOST'\nE=\"x $HOST\"\n# no\nexport F=f\nHOST\n",
    );
    hoist.file("two.env", "B=2\nC=${A}-2\n");
    hoist.file("raw.env", "R='kept $HOST' # kept\nS=\"s\"\n");
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    env_file: [one.env, two.env, {path: gone.env, required: \
         false}, {path: raw.env, format: raw}]\n    environment: {C: mine}\n  s:\n    image: tiny\n    command: sleep 3600\n    stop_signal: \
         SIGKILL\n    env_file: two.env\n",
    );
    hoist.ok("up -d");
    let show = "for n in A B C D E F HOST R S; do eval echo $n=\\\"\\$$n\\\"; done";
    assert_eq!(
        hoist.sh("a", show),
        "A=1\nB=2\nC=mine\nD=quo $HOST\nE=x host\nF=f\nHOST=host\nR='kept $HOST' # kept\nS=\"s\""
    );
    assert_eq!(hoist.sh("s", "echo $B $C"), "2 -2");
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    env_file: [{path: gone.env, required: true}]\n",
    );
    hoist.run("up -d").code(1).says("gone.env");
}

fn an_init_passes_signals_on_and_leaves_no_zombie() {
    let hoist = Sandbox::new();
    let script = "trap 'echo got HUP' HUP; trap 'echo got USR1' USR1; trap 'echo got TERM; exit 5' TERM; sh -c 'sleep 0.05 & exec true'; echo ready; while :; do \
                  sleep 0.05; done";
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, init: true, command: [sh, -c, \"{script}\"]}}\n  o: {{image: tiny, init: true, command: [sh, -c, 'exit 9']}}\n  \
         k: {{image: tiny, init: true, command: [sh, -c, 'kill -9 $$$$']}}\n  n: {{SLEEP}}\n"
    ));
    hoist.ok("up -d");
    hoist.logged("a", "ready");
    for signal in ["HUP", "USR1"] {
        hoist.ok(&format!("kill -s {signal} a"));
        hoist.logged("a", &format!("got {signal}"));
    }
    eventually("no zombie is left", || {
        (hoist.sh(
            "a",
            "grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l",
        ) == "0")
            .then_some(())
    });
    assert_ne!(
        hoist.sh("a", "cat /proc/1/comm"),
        hoist.sh("n", "cat /proc/1/comm")
    );
    // The first process has no right more than the program.
    let of = |key: &str| hoist.sh("a", &format!("awk '/^{key}:/{{print $2}}' /proc/1/status"));
    assert_eq!(
        (of("CapEff").as_str(), of("Seccomp").as_str()),
        ("00000000a80425fb", "2")
    );
    hoist.ok("stop a");
    assert_eq!(hoist.exit_code("a"), 5);
    hoist.reaches("o", "exited");
    hoist.reaches("k", "exited");
    assert_eq!((hoist.exit_code("o"), hoist.exit_code("k")), (9, 137));
}

fn standard_input_and_a_terminal_are_as_asked() {
    let hoist = Sandbox::new();
    let look = "test -p /dev/stdin && echo pipe || readlink /proc/1/fd/0 | sed 's/[0-9]*$$//'; test -t 1 && echo tty || echo none; echo $${TERM-unset}; sleep 3600";
    hoist.compose(&format!(
        "services:\n  n: {{image: tiny, stop_signal: SIGKILL, command: [sh, -c, \"{look}\"]}}\n  i: {{image: tiny, stop_signal: SIGKILL, stdin_open: true, \
         command: [sh, -c, \"{look}\"]}}\n  t: {{image: tiny, stop_signal: SIGKILL, tty: true, command: [sh, -c, \"{look}\"]}}\n"
    ));
    hoist.ok("up -d");
    for (service, want) in [
        ("n", "/dev/null\nnone\nunset"),
        ("i", "pipe\nnone\nunset"),
        ("t", "/dev/pts/\ntty\nxterm"),
    ] {
        let last = want.lines().last().unwrap_or_default();
        hoist.logged(service, last);
        let out = hoist
            .ok(&format!("logs --no-color --no-log-prefix {service}"))
            .out
            .replace('\r', "");
        assert_eq!(out.trim_end(), want, "{service}");
    }
    // A command without a terminal has none, whatever the service's own has.
    assert_eq!(hoist.sh("t", "echo ${TERM-unset}"), "unset");
    assert_eq!(
        hoist.sh(
            "t",
            "test -c /dev/console && stat -c %t:%T /dev/console | cut -d: -f1"
        ),
        "88"
    );
}

fn names_of_the_host_and_the_domain_are_the_kernels() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, hostname: box, domainname: inner.test}\n  u: {SLEEP, uts: host}\n",
    );
    hoist.ok("up -d");
    let names = "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname; cat /etc/hostname; grep -c 'box.inner.test' /etc/hosts; echo $HOSTNAME";
    assert_eq!(hoist.sh("a", names), "box\ninner.test\nbox\n1\nbox");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!(hoist.sh("u", "cat /proc/sys/kernel/hostname"), host.trim());
}

/// The record of a service's container, as it is on disk.
fn record(hoist: &Sandbox, service: &str) -> Value {
    let id = hoist.id(service);
    let containers = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    let mut dirs = std::fs::read_dir(containers)
        .expect("there are some")
        .flatten();
    let dir = dirs
        .find(|dir| dir.file_name().to_string_lossy().starts_with(&id))
        .expect("a directory");
    let text = std::fs::read_to_string(dir.path().join("record.json")).expect("a record");
    serde_json::from_str(&text).expect("JSON")
}

fn labels_of_files_images_and_services_are_joined() {
    let hoist = with_image("LABEL from=image over=image\n");
    hoist.file("labels", "file=file\nover=file\nboth=file\n");
    hoist.compose(
        "services:\n  a: {image: own, command: sleep 3600, stop_signal: SIGKILL, label_file: labels, labels: {both: service, com.docker.compose.project: \
         other}}\n  l: {image: own, command: sleep 3600, stop_signal: SIGKILL, labels: ['x=y=z', bare]}\n",
    );
    hoist.ok("up -d");
    let a = record(&hoist, "a");
    let label = |name: &str| {
        a.pointer("/spec/labels")
            .and_then(|all| all.get(name)?.as_str())
    };
    assert_eq!(
        [
            "from",
            "over",
            "file",
            "both",
            "com.docker.compose.project",
            "com.docker.compose.service"
        ]
        .map(label),
        [
            Some("image"),
            Some("file"),
            Some("file"),
            Some("service"),
            Some(hoist.name.as_str()),
            Some("a")
        ]
    );
    let l = record(&hoist, "l");
    assert_eq!(l.pointer("/spec/labels/x"), Some(&Value::from("y=z")));
    assert_eq!(l.pointer("/spec/labels/bare"), Some(&Value::from("")));
}

fn annotations_change_nothing_of_what_runs() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, annotations: {run.oci.keep_original_groups: '1', cdi.k8s.io/x: v.com/c=x, note: text}}\n  n: {SLEEP}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        record(&hoist, "a").pointer("/spec/annotations/note"),
        Some(&Value::from("text"))
    );
    let look = "grep -e ^Cap -e ^Groups -e Seccomp /proc/1/status; cut -d' ' -f5- /proc/self/mountinfo | grep -v -e ' / / ' -e overlay -e /etc/ | sort; ls /dev";
    let own = |service: &str| hoist.sh(service, look).replace(&hoist.id(service), "ID");
    let strip = |text: String| {
        text.lines()
            .filter(|line| !line.contains("cgroup"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(strip(own("a")), strip(own("n")));
}

fn a_container_name_is_taken_whole_and_once() {
    let hoist = Sandbox::new();
    let name = format!("named-{}", std::process::id());
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, container_name: {name}}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(hoist.field("a", "Name"), name);
    hoist.compose(&format!("services:\n  a: {{SLEEP, container_name: {name}}}\n  b: {{SLEEP, container_name: {name}}}\n"));
    hoist.run("up -d").code(1).says(&name);
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, container_name: {name}, scale: 2}}\n"
    ));
    hoist.run("up -d").code(1).says(&name);
    hoist.compose("services:\n  a: {SLEEP, container_name: 'a b'}\n");
    hoist.run("up -d").code(1).says("a b");
}

fn an_image_of_another_platform_is_not_taken_for_the_one_asked() {
    let hoist = Sandbox::new();
    let other = if cfg!(target_arch = "x86_64") {
        "arm64"
    } else {
        "amd64"
    };
    let own = if cfg!(target_arch = "x86_64") {
        "amd64"
    } else {
        "arm64"
    };
    hoist.compose(&format!(
        "services:\n  a:\n    image: tiny\n    platform: linux/{other}\n    pull_policy: never\n    command: 'true'\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says("image `tiny` of service `a` is not here");
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, platform: linux/{own}}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(hoist.state("a"), "running");
    hoist.compose("services:\n  a: {SLEEP, platform: linux/x/y/z}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("`linux/x/y/z` is no platform");
}

fn an_extended_service_runs_with_what_both_say() {
    let hoist = Sandbox::new();
    hoist.file("base.yaml", "services:\n  base: {image: tiny, command: sleep 3600, stop_signal: SIGKILL, environment: {A: base, B: base}, user: app}\n");
    hoist.compose("services:\n  a: {extends: {file: base.yaml, service: base}, environment: {B: own}}\n  b: {extends: a, hostname: bee}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "echo $A $B; id -un"), "base own\napp");
    assert_eq!(
        hoist.sh("b", "echo $A $B; id -un; hostname"),
        "base own\napp\nbee"
    );
}

fn a_read_only_root_is_read_only_to_root() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, read_only: true, tmpfs: /scratch, volumes: ['data:/data']}\nvolumes: {data: }\n");
    hoist.ok("up -d");
    for path in [
        "/x",
        "/etc/passwd",
        "/bin/new",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ] {
        hoist
            .exec("a", &format!("echo x >> {path}"))
            .code(1)
            .says("Read-only file system");
    }
    hoist
        .exec("a", "mount -o remount,rw / || chmod 777 /")
        .code(1);
    assert_eq!(
        hoist.sh(
            "a",
            "echo x > /scratch/x && echo x > /data/x && echo x > /dev/shm/x && echo fine"
        ),
        "fine"
    );
}
