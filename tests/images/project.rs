//! Builds of whole projects: every key of `build`, one graph for all services, the commands that build.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::pull::{REGISTRY, Registry};
use crate::harness::{ENGINE, Need, Sandbox, http, leftovers};

crate::cases!(ENGINE;
    contexts_dockerfiles_targets_and_arguments_of_a_build_are_as_asked,
    labels_and_tags_of_a_build_are_the_images,
    limits_hosts_and_networks_of_a_build_hold_in_its_steps,
    additional_contexts_are_directories_images_layouts_and_services,
    secrets_of_a_build_come_from_files_and_variables,
    rights_of_a_build_are_given_by_the_compose_file_only,
    stages_and_builds_are_done_anew_where_that_is_asked,
    a_cache_is_written_and_read_where_the_compose_file_says,
    an_ssh_key_of_a_build_is_lent_to_its_steps,
    what_a_build_can_not_do_is_said,
    a_build_is_for_the_platform_asked_for,
    a_build_waits_for_images_of_other_services_and_pulls_none_of_them,
    an_image_of_a_service_that_was_not_named_is_built_where_it_is_missing,
    builds_that_need_each_other_name_all_places,
    an_image_that_two_services_name_is_built_once,
    a_stage_that_two_services_share_is_built_once,
    stages_that_need_nothing_of_each_other_run_side_by_side,
    all_faults_of_all_builds_come_before_anything_is_built,
    services_without_a_build_are_no_fault,
    a_quiet_build_says_nothing_and_a_loud_one_what_it_does,
    up_create_and_run_build_when_asked,
    a_project_build_ended_by_ctrl_c_leaves_nothing_and_goes_on_from_the_cache,
);

/// Against a registry.
pub const PUSHES: &[crate::harness::Case] = &[crate::harness::Case {
    name: concat!(module_path!(), "::a_build_is_pushed_under_all_its_names"),
    needs: &[
        Need::Root,
        Need::Busybox,
        Need::Program(REGISTRY),
        Need::Program("curl"),
    ],
    run: a_build_is_pushed_under_all_its_names,
}];

/// What `image inspect` says of an image.
fn inspect(hoist: &Sandbox, image: &str) -> Value {
    let text = hoist.global(&["image", "inspect", image]).ok().out;
    let all: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    all.get(0).cloned().unwrap_or(all)
}

/// Files of the project with one line each.
fn files(hoist: &Sandbox, files: &[(&str, &str)]) {
    for (path, text) in files {
        hoist.file(path, text);
    }
}

fn contexts_dockerfiles_targets_and_arguments_of_a_build_are_as_asked() {
    let hoist = Sandbox::new();
    files(
        &hoist,
        &[
            ("ctx/name", "from the context"),
            ("ctx/other.df", "FROM tiny\nCOPY name /name\n"),
            (
                "ctx/Dockerfile",
                "FROM tiny AS first\nARG A=default\nARG B=default\nARG C=default\nRUN echo $A $B $C > /args\n\
                 FROM tiny AS second\nRUN exit 9\n",
            ),
        ],
    );
    hoist.set("C", "of the environment");
    hoist.compose(
        "services:\n  \
         a: {build: {context: ./ctx, target: first, args: {A: '1', B: , C: }}}\n  \
         b: {build: {context: ctx, dockerfile: other.df}}\n  \
         c: {build: {context: ctx, dockerfile_inline: \"FROM tiny\\nCOPY name /inline\\n\"}}\n  \
         d: {build: ctx}\n",
    );
    hoist.ok("build a b c");
    hoist
        .ok("run --rm -T a cat /args")
        .prints("1 default of the environment");
    hoist
        .ok("run --rm -T b cat /name")
        .prints("from the context");
    hoist
        .ok("run --rm -T c cat /inline")
        .prints("from the context");
    hoist.run("build d").code(1).says("ctx/Dockerfile:7");
    // An argument of the command line counts more; one without a value has that of the environment.
    hoist.set("B", "outside");
    hoist.ok("build --build-arg A=2 --build-arg B a");
    hoist
        .ok("run --rm -T a cat /args")
        .prints("2 outside of the environment");
}

fn labels_and_tags_of_a_build_are_the_images() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nLABEL own=yes both=dockerfile\n");
    hoist.compose(
        "name: named\nservices:\n  a:\n    image: built:1\n    build:\n      context: .\n      \
         labels: {both: compose, added: 'yes'}\n      tags: [other, built:2]\n",
    );
    hoist.ok("build");
    let config = &inspect(&hoist, "built:1")["Config"]["Labels"];
    for (name, value) in [("own", "yes"), ("both", "compose"), ("added", "yes")] {
        assert_eq!(config[name], value, "{config}");
    }
    assert_eq!(config["com.docker.compose.service"], "a");
    assert!(config["com.docker.compose.project"].is_string());
    let id = &inspect(&hoist, "built:1")["Id"];
    for name in ["other", "built:2"] {
        assert_eq!(&inspect(&hoist, name)["Id"], id);
    }
}

fn limits_hosts_and_networks_of_a_build_hold_in_its_steps() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN ulimit -n > /files; ulimit -Hn > /hard; cp /etc/hosts /seen; df -k /dev/shm | tail -1 > /shm\n\
         RUN cat /proc/net/dev > /devices\n",
    );
    hoist.compose(
        "services:\n  a:\n    build:\n      context: .\n      shm_size: 8m\n      network: none\n      \
         ulimits: {nofile: {soft: 77, hard: 99}}\n      extra_hosts: ['far:192.0.2.7', 'near=::1']\n  \
         h: {build: {context: ., network: host}}\n",
    );
    hoist.ok("build");
    let cat =
        |service: &str, path: &str| hoist.ok(&format!("run --rm -T {service} cat {path}")).out;
    assert_eq!(cat("a", "/files").trim(), "77");
    assert_eq!(cat("a", "/hard").trim(), "99");
    assert!(cat("a", "/shm").contains(" 8192 "), "{}", cat("a", "/shm"));
    let seen = cat("a", "/seen");
    assert!(
        seen.contains("192.0.2.7\tfar") && seen.contains("::1\tnear"),
        "{seen}"
    );
    let names = |text: &str| {
        let lines = text
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
        let mut all: Vec<String> = lines.collect();
        all.sort();
        all
    };
    assert_eq!(names(&cat("a", "/devices")), ["lo"]);
    // Devices of the host come and go beside this case, but it has always more than a network of its own.
    let devices = names(&cat("h", "/devices"));
    let here = names(&std::fs::read_to_string("/proc/net/dev").expect("Linux has it"));
    assert!(
        here.iter()
            .any(|name| name != "lo" && devices.contains(name)),
        "{devices:?}"
    );
}

fn additional_contexts_are_directories_images_layouts_and_services() {
    let hoist = Sandbox::new();
    files(
        &hoist,
        &[
            ("base/Dockerfile", "FROM tiny\nRUN echo base > /made\n"),
            ("more/file", "of a directory"),
            (
                "Dockerfile",
                "FROM tiny\nCOPY --from=dir file /dir\nCOPY --from=image /bin/busybox /image\nCOPY --from=service /made /service\n\
                 COPY --from=layout /made /layout\n",
            ),
        ],
    );
    hoist.compose(
        "services:\n  base: {build: base, image: based}\n  a:\n    build:\n      context: .\n      additional_contexts:\n        \
         dir: ./more\n        image: docker-image://tiny\n        service: service:base\n        layout: oci-layout://./layout:x\n",
    );
    hoist.ok("build base");
    let archive = hoist.dir().join("based.tar").display().to_string();
    hoist
        .global(&["image", "save", "-o", &archive, "based"])
        .ok();
    std::fs::create_dir(hoist.dir().join("layout")).expect("the project is writable");
    let unpacked = std::process::Command::new("tar")
        .args([
            "-C",
            &hoist.dir().join("layout").display().to_string(),
            "-xf",
            &archive,
        ])
        .status();
    assert!(unpacked.expect("tar runs").success());
    let index = hoist.dir().join("layout/index.json");
    let text = std::fs::read_to_string(&index).expect("a layout has an index");
    let mut json: Value = serde_json::from_str(&text).expect("it is JSON");
    json["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "x".into();
    std::fs::write(&index, json.to_string()).expect("the project is writable");
    hoist.ok("build a");
    for (path, text) in [
        ("/dir", "of a directory"),
        ("/service", "base"),
        ("/layout", "base"),
    ] {
        hoist.ok(&format!("run --rm -T a cat {path}")).prints(text);
    }
    hoist.ok("run --rm -T a test -s /image");
}

fn secrets_of_a_build_come_from_files_and_variables() {
    let hoist = Sandbox::new();
    hoist.file("file.txt", "of a file");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN --mount=type=secret,id=renamed --mount=type=secret,id=variable \
         --mount=type=secret,id=unset \
         cat /run/secrets/renamed /run/secrets/variable /run/secrets/unset | tr a-z A-Z > /upper\n",
    );
    hoist.set("SECRET", "-of a variable-");
    hoist.compose(
        "services:\n  a:\n    build:\n      context: .\n      secrets: [{source: file, target: renamed, uid: '7', mode: 0440}, variable, unset]\n\
         secrets:\n  file: {file: ./file.txt}\n  variable: {environment: SECRET}\n  unset: {environment: NOBODY_SETS_THIS}\n",
    );
    hoist.ok("build");
    hoist
        .ok("run --rm -T a cat /upper")
        .prints("OF A FILE-OF A VARIABLE-");
}

fn rights_of_a_build_are_given_by_the_compose_file_only() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN --security=insecure --network=host grep CapBnd /proc/self/status > /caps\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    hoist
        .run("build")
        .code(1)
        .says("Dockerfile:2")
        .says("is not allowed");
    for rights in [
        "privileged: true, entitlements: [network.host]",
        "entitlements: [security.insecure, network.host]",
    ] {
        hoist.compose(&format!(
            "services:\n  a: {{build: {{context: ., {rights}}}}}\n"
        ));
        hoist.ok("build --no-cache");
        let caps = hoist.ok("run --rm -T a cat /caps").out;
        let here = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let bound = |text: &str| {
            text.lines()
                .find_map(|l| Some(l.strip_prefix("CapBnd:")?.trim().to_owned()))
        };
        assert_eq!(bound(&caps), bound(&here));
    }
}

fn stages_and_builds_are_done_anew_where_that_is_asked() {
    let hoist = Sandbox::new();
    let dockerfile = "FROM tiny AS one\nRUN cat /proc/sys/kernel/random/uuid > /1\nFROM tiny AS two\nRUN cat /proc/sys/kernel/random/uuid > /2\n\
                      FROM tiny\nCOPY --from=one /1 /1\nCOPY --from=two /2 /2\n";
    hoist.file("Dockerfile", dockerfile);
    let build = |more: &str, flags: &str| {
        hoist.compose(&format!(
            "services:\n  a: {{build: {{context: .{more}}}}}\n"
        ));
        hoist.ok(&format!("build {flags}"));
        let read = |path: &str| hoist.ok(&format!("run --rm -T a cat {path}")).out;
        (read("/1"), read("/2"))
    };
    let first = build("", "");
    assert_eq!(build("", ""), first);
    let filtered = build(", no_cache_filter: [TWO]", "");
    assert_eq!(filtered.0, first.0);
    assert_ne!(filtered.1, first.1);
    let anew = build(", no_cache: true", "");
    assert!(anew.0 != filtered.0 && anew.1 != filtered.1);
    let again = build("", "--no-cache");
    assert!(again.0 != anew.0 && again.1 != anew.1);
}

fn a_cache_is_written_and_read_where_the_compose_file_says() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN cat /proc/sys/kernel/random/uuid > /made\n",
    );
    hoist.compose("services:\n  a: {build: {context: ., cache_to: ['type=local,dest=./kept']}}\n");
    hoist.ok("build");
    let made = hoist.ok("run --rm -T a cat /made").out;
    // Another machine knows nothing but what the directory holds.
    let other = Sandbox::new();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([hoist.dir().join("kept"), other.dir().join("kept")])
        .status();
    assert!(copied.expect("cp runs").success());
    other.file(
        "Dockerfile",
        "FROM tiny\nRUN cat /proc/sys/kernel/random/uuid > /made\n",
    );
    other.compose("services:\n  a: {build: {context: ., cache_from: ['type=local,src=./kept', 'type=nothing']}}\n");
    // A cache that can't be read is told, and costs time only.
    other.ok("build").says("`nothing` is no cache type");
    assert_eq!(other.ok("run --rm -T a cat /made").out, made);
    other.compose("services:\n  a: {build: {context: ., cache_to: ['type=nothing']}}\n");
    other
        .run("build")
        .code(1)
        .says("compose.yaml:2:")
        .says("`nothing` is no cache type");
}

fn an_ssh_key_of_a_build_is_lent_to_its_steps() {
    let hoist = Sandbox::new();
    let socket = hoist.dir().join("agent");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).expect("a short path");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN --mount=type=ssh,id=mine test -S $SSH_AUTH_SOCK && echo lent > /mine\n\
         RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo lent > /default\n",
    );
    hoist.compose("services:\n  a: {build: {context: ., ssh: ['mine=./agent', default]}}\n");
    hoist
        .run("build")
        .code(1)
        .says("SSH_AUTH_SOCK is not set")
        .says("compose.yaml:2:");
    hoist.set("SSH_AUTH_SOCK", &socket.display().to_string());
    hoist.ok("build");
    for path in ["/mine", "/default"] {
        hoist
            .ok(&format!("run --rm -T a cat {path}"))
            .prints("lent");
    }
    hoist.compose("services:\n  a: {build: {context: ., ssh: ['mine=./nothing']}}\n");
    hoist.run("build").code(1).says("there is no file");
}

fn what_a_build_can_not_do_is_said() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist.compose("services:\n  a:\n    build:\n      context: .\n      isolation: hyperv\n");
    hoist.ok("build").says("it is for Windows only");
    hoist.compose("services:\n  a: {build: {context: ., provenance: false, sbom: false}}\n");
    hoist
        .ok("build")
        .says_nothing_of("provenance")
        .says_nothing_of("bill of materials");
    hoist
        .run("build --builder nope")
        .code(1)
        .says("no builder \"nope\" found");
    hoist.ok("build --builder default --compress --force-rm --no-rm --parallel=false");
}

fn a_build_is_for_the_platform_asked_for() {
    let hoist = Sandbox::new();
    let own = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    hoist.file(
        "Dockerfile",
        "FROM scratch\nARG TARGETPLATFORM\nCOPY Dockerfile /\n",
    );
    let of = |yaml: &str| {
        hoist.compose(&format!("services:\n  a: {{image: one, {yaml}}}\n"));
        hoist.ok("build");
        inspect(&hoist, "one")["Architecture"].clone()
    };
    let other = of("build: {context: ., platforms: [linux/riscv64]}");
    assert_eq!(other, "riscv64");
    assert_eq!(of("platform: linux/s390x, build: {context: .}"), "s390x");
    // Of several, the one of this machine has the name.
    let several = format!("build: {{context: ., platforms: [linux/riscv64, linux/{own}]}}");
    assert_eq!(of(&several), own);
    hoist.set("DOCKER_DEFAULT_PLATFORM", "linux/ppc64le");
    assert_eq!(of("build: {context: .}"), "ppc64le");
    hoist.compose("services:\n  a: {build: {context: ., platforms: [linux/a/b/c/d]}}\n");
    hoist
        .run("build")
        .code(1)
        .says("compose.yaml:2:")
        .says("is no platform");
}

/// A base and two services upon it, found by its image's name and by a name in an argument.
const UPON: &str = "services:\n  web: {build: {context: web, pull: true}}\n  cli: {build: {context: cli, args: {BASE: own/base}}}\n  \
                    base: {build: base, image: own/base}\n";

fn upon(hoist: &Sandbox) {
    files(
        hoist,
        &[
            ("base/Dockerfile", "FROM tiny\nRUN echo base > /base\n"),
            (
                "web/Dockerfile",
                "FROM scratch\nCOPY --from=own/base:latest /base /web\n",
            ),
            (
                "cli/Dockerfile",
                "ARG BASE=tiny\nFROM $BASE\nRUN cat /base > /cli\n",
            ),
        ],
    );
    hoist.compose(UPON);
}

fn a_build_waits_for_images_of_other_services_and_pulls_none_of_them() {
    let hoist = Sandbox::new();
    upon(&hoist);
    // `web` pulls its images, but for those of the project.
    let plan = hoist.ok("--dry-run build");
    let at = |text: String| {
        let found = plan.err.find(&text);
        found.unwrap_or_else(|| panic!("{text}: {}", plan.story()))
    };
    for name in ["web", "cli"] {
        let begins = at(format!("{}-{name}  Building", hoist.name));
        assert!(
            at("own/base  Built".to_owned()) < begins,
            "{}",
            plan.story()
        );
    }
    hoist.ok("build").says_nothing_of("Pulling");
    hoist.ok("run --rm -T cli cat /cli").prints("base");
    // A change of the base reaches what stands upon it.
    hoist.file("base/Dockerfile", "FROM tiny\nRUN echo changed > /base\n");
    hoist.ok("build");
    hoist.ok("run --rm -T cli cat /cli").prints("changed");
}

fn an_image_of_a_service_that_was_not_named_is_built_where_it_is_missing() {
    let hoist = Sandbox::new();
    upon(&hoist);
    hoist.ok("--dry-run build cli").says("needed by `cli`");
    hoist.ok("build cli").says("Image own/base  Built");
    // It is there now, and nobody asked for it.
    hoist.ok("build cli").says_nothing_of("Image own/base");
    hoist
        .ok("--dry-run build base cli")
        .says("own/base  Building (build asked for)");
    // A service that was not asked for is built and not started.
    hoist.global(&["image", "rm", "-f", "own/base"]).ok();
    hoist.compose(&UPON.replace(
        "cli: {",
        "cli: {command: sleep 3600, stop_signal: SIGKILL, ",
    ));
    hoist.ok("up -d --build cli");
    assert_eq!(hoist.ps().len(), 1);
    // A context is always built before, as Compose does it.
    hoist.compose("services:\n  a: {build: {context: ., dockerfile_inline: FROM x, additional_contexts: {x: 'service:base'}}}\n  base: {build: base}\n");
    hoist.ok("build a").says("-base  Built");
    hoist.ok("--dry-run build a").says("needed by `a`");
    hoist.ok("down");
}

fn builds_that_need_each_other_name_all_places() {
    let hoist = Sandbox::new();
    hoist.file("b/Dockerfile", "FROM scratch\nCOPY --from=img-a / /\n");
    hoist.compose(
        "services:\n  a: {image: img-a, build: {dockerfile_inline: FROM c, additional_contexts: {c: 'service:c'}}}\n  \
         b: {image: img-b, build: b}\n  c: {build: {dockerfile_inline: FROM img-b}}\n",
    );
    for command in ["build", "build b", "up -d", "--dry-run build"] {
        hoist
            .run(command)
            .code(1)
            .says("builds need each other's images: `a` → `c` → `b` → `a`")
            .says("compose.yaml:2:")
            .says("b/Dockerfile:2:1")
            .says("`c` takes the image of `b` here");
    }
    // Who builds upon an image of the name that it gives means another one than its own.
    hoist.compose("services:\n  a: {image: tiny, build: {dockerfile_inline: \"FROM tiny\\nRUN echo again > /again\\n\"}}\n");
    hoist.ok("build");
    hoist.ok("run --rm -T a cat /again").prints("again");
}

fn an_image_that_two_services_name_is_built_once() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  web: {image: shared, pull_policy: build, build: {dockerfile_inline: \"FROM tiny\\nRUN echo it > /it\\n\"}, \
         command: sleep 3600, stop_signal: SIGKILL}\n  worker: {image: shared, command: sleep 3600, stop_signal: SIGKILL}\n",
    );
    hoist.ok("up -d").says_nothing_of("Pulling");
    for service in ["web", "worker"] {
        assert_eq!(hoist.sh(service, "cat /it").trim(), "it");
    }
    hoist.ok("down");
}

fn a_stage_that_two_services_share_is_built_once() {
    let hoist = Sandbox::new();
    let counted = "FROM tiny AS shared\nRUN --mount=type=cache,target=/count,id=count echo x >> /count/runs; sleep 1\n";
    hoist.file(
        "Dockerfile",
        format!(
            "{counted}FROM shared AS a\nRUN --mount=type=cache,target=/count,id=count cat /count/runs > /a\n\
             FROM shared AS b\nRUN echo b > /b\n"
        ),
    );
    hoist.compose(
        "services:\n  a: {build: {context: ., target: a}}\n  b: {build: {context: ., target: b}}\n  c: {build: {context: ., target: shared}}\n",
    );
    hoist.ok("build");
    hoist.ok("run --rm -T a cat /a").prints("x");
}

fn stages_that_need_nothing_of_each_other_run_side_by_side() {
    let hoist = Sandbox::new();
    // Each ends only once the other has begun.
    let meets = |mine: &str, other: &str| {
        format!(
            "FROM tiny AS {mine}\nRUN --mount=type=cache,target=/meet,id=meet touch /meet/{mine}; \
             for i in $(seq 300); do test -e /meet/{other} && exit 0; sleep 0.1; done; exit 1\n"
        )
    };
    hoist.file(
        "Dockerfile",
        format!(
            "{}{}FROM tiny\nCOPY --from=a /bin/busybox /a\nCOPY --from=b /bin/busybox /b\n",
            meets("a", "b"),
            meets("b", "a")
        ),
    );
    hoist.compose("services:\n  s: {build: .}\n");
    hoist.ok("build");
}

fn all_faults_of_all_builds_come_before_anything_is_built() {
    let hoist = Sandbox::new();
    hoist.file("good/Dockerfile", "FROM tiny AS stage\n");
    hoist.file("bad/Dockerfile", "FROM tiny\nRUM true\n");
    hoist.compose(
        "services:\n  good: {build: good}\n  context: {build: nowhere}\n  \
         file:\n    build:\n      context: good\n      dockerfile: Other\n  \
         target:\n    build:\n      context: good\n      target: stag\n  \
         text: {build: bad}\n  \
         keys:\n    build:\n      context: good\n      network: weird\n      tags: ['A B']\n      ssh: [default]\n      \
         entitlements: [everything]\n      extra_hosts: ['a=nowhere']\n      platforms: [a/b/c/d]\n      \
         additional_contexts: {x: ./missing}\n      secrets: [gone]\nsecrets: {gone: {file: ./gone}}\n",
    );
    let faults = [
        "compose.yaml:3:",
        "nowhere does not exist",
        "compose.yaml:7:",
        "failed to read dockerfile good/Other: no such file",
        "compose.yaml:11:",
        "did you mean stage?",
        "bad/Dockerfile:2:1: unknown instruction: RUM",
        "compose.yaml:16:",
        "`weird`: expected default, none or host",
        "compose.yaml:17:",
        "`A B`",
        "SSH_AUTH_SOCK is not set",
        "unknown entitlement `everything`",
        "`nowhere` of `a` is not an address",
        "`a/b/c/d` is no platform",
        "missing does not exist",
        "secret `gone`: cannot read",
    ];
    for command in ["build", "up -d", "--dry-run build"] {
        let mut done = hoist.run(command).code(1);
        for fault in faults {
            done = done.says(fault);
        }
        done.says_nothing_of("Building");
    }
    // What is not built is not looked at.
    hoist.ok("build good");
    hoist.compose("services:\n  a: {build: {context: good, additional_contexts: {x: 'service:nobody', y: 'service:b'}, secrets: [no]}}\n  b: {image: tiny}\n");
    hoist
        .run("build")
        .code(1)
        .says("the service `nobody` is not defined")
        .says("the service `b` is not built")
        .says("the secret `no` is not defined");
}

fn services_without_a_build_are_no_fault() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist.compose("services:\n  a: {image: tiny}\n  b: {build: ., depends_on: [a]}\n");
    hoist
        .ok("build a")
        .says("no services to build")
        .says_nothing_of("-b");
    hoist
        .run("build nobody")
        .code(1)
        .says("no such service: nobody");
    hoist.ok("build a b").says("-b  Built");
    hoist.compose("services:\n  a: {image: tiny}\n  b: {build: ., depends_on: [c]}\n  c: {depends_on: [d], image: tiny}\n  d: {build: .}\n");
    hoist.ok("build b").says_nothing_of("-d  Built");
    hoist.ok("build --with-dependencies b").says("-d  Built");
    hoist.ok("build --print a").says_nothing_of("{");
}

fn a_quiet_build_says_nothing_and_a_loud_one_what_it_does() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo loud\n");
    hoist.compose("services:\n  a: {build: ., command: 'true'}\n");
    assert_eq!(hoist.ok("build -q").all(), "");
    hoist
        .ok("build --no-cache --progress plain")
        .says("RUN echo loud");
    hoist
        .ok("--progress plain up -d --build --quiet-build")
        .says_nothing_of("RUN echo loud");
    hoist
        .ok("run --rm -T --build --quiet-build a true")
        .says_nothing_of("RUN");
    hoist.ok("down");
}

fn up_create_and_run_build_when_asked() {
    let hoist = Sandbox::new();
    let write = |text: &str| {
        hoist.file(
            "Dockerfile",
            format!("FROM tiny\nRUN echo {text} > /text\n"),
        )
    };
    write("one");
    hoist.compose("services:\n  a: {build: ., command: sleep 3600, stop_signal: SIGKILL}\n");
    hoist
        .run("up -d --no-build")
        .code(1)
        .says("has no image here");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /text").trim(), "one");
    write("two");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /text").trim(), "one");
    hoist.ok("up -d --build");
    assert_eq!(hoist.sh("a", "cat /text").trim(), "two");
    write("three");
    hoist.ok("create --build");
    hoist.ok("start");
    assert_eq!(hoist.sh("a", "cat /text").trim(), "three");
    write("four");
    hoist.ok("run --rm -T a cat /text").prints("three");
    hoist.ok("run --rm -T --build a cat /text").prints("four");
    hoist.ok("pull --ignore-buildable").says_nothing_of("Error");
    hoist.ok("down");
}

/// Mounts whose place or layers are below a directory.
fn mounts_below(dir: &Path) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/self/mounts").expect("Linux has it");
    let dir = dir.display().to_string();
    all.lines()
        .filter(|line| line.contains(&dir))
        .map(str::to_owned)
        .collect()
}

fn a_project_build_ended_by_ctrl_c_leaves_nothing_and_goes_on_from_the_cache() {
    let hoist = Sandbox::new();
    files(
        &hoist,
        &[
            (
                "a/Dockerfile",
                "FROM tiny\nRUN echo done-a > /done\nRUN echo begun-a; sleep 3600\n",
            ),
            (
                "b/Dockerfile",
                "FROM tiny\nRUN echo begun-b; (sleep 3600 &) ; sleep 3600\n",
            ),
        ],
    );
    hoist.compose("services:\n  a: {build: a}\n  b: {build: b}\n");
    let build = hoist.start("--progress plain build");
    build.says("begun-a").says("begun-b");
    build.signal(Signal::SIGINT);
    assert_eq!(build.end(), 130);
    hoist.is_gone();
    assert_eq!(mounts_below(&hoist.data()), Vec::<String>::new());
    assert_eq!(
        leftovers::children(&hoist.data().join("layers/tmp")),
        Vec::<std::path::PathBuf>::new()
    );
    hoist.file(
        "a/Dockerfile",
        "FROM tiny\nRUN echo done-a > /done\nRUN true\n",
    );
    hoist.file("b/Dockerfile", "FROM tiny\n");
    let again = hoist.ok("--progress plain build");
    assert_eq!(
        again.all().matches("CACHED").count(),
        1,
        "{}",
        again.story()
    );
}

fn a_build_is_pushed_under_all_its_names() {
    let hoist = Sandbox::new();
    let registry = Registry::start(&hoist);
    hoist.file("Dockerfile", "FROM tiny\nRUN echo pushed > /pushed\n");
    let (one, two) = (registry.name("one:1"), registry.name("two:2"));
    hoist.compose(&format!(
        "services:\n  a: {{image: '{one}', build: {{context: ., tags: ['{two}']}}}}\n  b: {{build: .}}\n"
    ));
    // A service without a name of its own is built and not pushed.
    hoist.ok("build --push").says("Pushed").says("-b  Built");
    for path in ["/v2/one/tags/list", "/v2/two/tags/list"] {
        let answer = http::get(registry.address(), path).expect("the registry answers");
        assert_eq!(answer.status, 200, "{path}");
    }
    hoist.global(&["image", "rm", "-f", &one, &two]).ok();
    hoist.compose(&format!("services:\n  a: {{image: '{two}'}}\n"));
    hoist.ok("run --rm -T a cat /pushed").prints("pushed");
    drop(registry);
    hoist.compose(&format!("services:\n  a: {{image: '{one}', build: .}}\n"));
    hoist.run("build --push").code(1).says("push");
}
