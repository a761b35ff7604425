//! Builds on the real machine: stages, cache, secrets, errors.

use std::process::Command;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    stages_are_built_and_only_what_is_needed_of_them,
    a_second_build_is_all_cached_and_a_change_rebuilds_what_follows,
    an_image_is_as_old_as_its_layers_and_the_same_when_nothing_changed,
    a_failing_step_shows_its_output_and_its_line,
    the_dockerignore_file_keeps_files_out,
    a_secret_leaves_no_trace,
    a_cache_mount_is_kept_between_builds,
    owners_and_modes_of_copied_files_are_as_asked,
    what_the_dockerfile_says_of_the_process_is_done,
    steps_and_arguments_have_their_scopes,
    heredocs_are_files_and_scripts,
    a_service_is_rebuilt_on_demand_and_recreated,
    two_services_are_built_at_once,
    the_hosts_certificates_are_lent_and_leave_no_trace,
    a_dockerfile_with_an_unknown_instruction_is_an_error_with_a_place,
    a_build_interrupted_by_ctrl_c_can_be_done_again,
    files_are_copied_from_an_image_and_from_a_stage_by_number,
    proxies_of_every_kind_reach_a_step_and_stay_in_no_image,
);

/// Files below the data directory that hold a text, in any encoding a layer has.
pub fn found_in_store(hoist: &Sandbox, text: &str) -> String {
    let line = format!(
        "grep -rla '{text}' {0} ; find {0}/images -type f | while read f; do gzip -dc \"$f\" 2>/dev/null | grep -qa '{text}' && echo \"$f\"; \
         done; true",
        hoist.data().display()
    );
    let output = Command::new("sh")
        .args(["-c", &line])
        .output()
        .expect("a shell runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stages_are_built_and_only_what_is_needed_of_them() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny AS base\nRUN echo base > /base\nFROM base AS unused\nRUN exit 1\nFROM base AS made\nRUN echo made > /out\n\
         FROM tiny\nCOPY --from=made /out /final\nCMD [\"cat\", \"/final\"]\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    hoist.ok("build");
    hoist.ok("run --rm -T a").prints("made");
    hoist.run("run --rm -T a ls /base").code(1);
}

fn files_are_copied_from_an_image_and_from_a_stage_by_number() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo of the image > /note\n");
    hoist.global(&["image", "build", "-t", "other", "."]).ok();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN echo of the stage > /note\nFROM tiny\nCOPY --from=other /note /image\n\
         COPY --from=0 /note /stage\nCMD cat /image /stage\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    hoist.ok("build");
    hoist
        .ok("run --rm -T a")
        .prints("of the image\nof the stage");
}

fn proxies_of_every_kind_reach_a_step_and_stay_in_no_image() {
    let hoist = Sandbox::new();
    let kinds = ["HTTP", "HTTPS", "FTP", "NO", "ALL"];
    let mut seen = String::new();
    for kind in kinds {
        let name = format!("{kind}_PROXY");
        // One from the caller's environment as it is, one in small letters, the others as arguments.
        let value = format!("http://{}.example:1", kind.to_lowercase());
        match kind {
            "HTTP" => hoist.set(&name, &value),
            "NO" => hoist.set(&name.to_lowercase(), &value),
            _ => hoist.set(&format!("GIVEN_{kind}"), &value),
        };
        for name in [name.clone(), name.to_lowercase()] {
            // Written so that the file itself does not hold what is looked for.
            let split = value.replace(".example", ".''example");
            seen.push_str(&format!("RUN test \"${name}\" = {split}\n"));
        }
    }
    hoist.file("Dockerfile", format!("FROM tiny\n{seen}"));
    hoist.compose(
        "services:\n  a:\n    image: proxied\n    build:\n      context: .\n      args:\n        HTTPS_PROXY: $GIVEN_HTTPS\n        \
         ftp_proxy: $GIVEN_FTP\n        ALL_PROXY: $GIVEN_ALL\n",
    );
    hoist.ok("build");
    let text = hoist.global(&["image", "inspect", "proxied"]).ok().out;
    assert!(!text.contains(".example:1"), "{text}");
    assert_eq!(found_in_store(&hoist, "[.]example:1"), "");
}

fn a_second_build_is_all_cached_and_a_change_rebuilds_what_follows() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN echo first > /first\nCOPY file /file\nRUN cat /file > /second\n",
    );
    hoist.file("file", "one\n");
    hoist.compose("services:\n  a: {build: ., image: built}\n");
    hoist.ok("--progress plain build").says_nothing_of("CACHED");
    let id = hoist.global(&["image", "inspect", "built"]).ok().out;
    let second = hoist.ok("--progress plain build");
    assert_eq!(
        second.all().matches("CACHED").count(),
        3,
        "{}",
        second.story()
    );
    assert_eq!(hoist.global(&["image", "inspect", "built"]).ok().out, id);
    hoist.file("file", "two\n");
    let third = hoist.ok("--progress plain build");
    assert_eq!(
        third.all().matches("CACHED").count(),
        1,
        "{}",
        third.story()
    );
    hoist.ok("run --rm -T a cat /second").prints("two");
}

fn an_image_is_as_old_as_its_layers_and_the_same_when_nothing_changed() {
    let hoist = Sandbox::new();
    let build = |text: &str| {
        hoist.file("Dockerfile", text);
        let id = hoist.global(&["image", "build", "-q", "."]).ok().out;
        id.trim().to_owned()
    };
    let created = |image: &str| {
        let format = ["image", "inspect", "-f", "{{.Created}}", image];
        hoist.global(&format).ok().out
    };
    let text = "FROM tiny\nENV A=b\nRUN echo made > /made\nENV C=d\n";
    let first = build(text);
    assert_eq!(build(text), first, "nothing changed");
    let more = format!("{text}LABEL x=y\n");
    let labelled = build(&more);
    assert_ne!(labelled, first);
    assert_eq!(created(&labelled), created(&first), "no layer is younger");
    let settings = build("FROM tiny\nENV A=c\n");
    assert_eq!(created(&settings), created("tiny"), "no layer is its own");
}

fn a_failing_step_shows_its_output_and_its_line() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN true\nRUN echo compiling; echo file.c is broken >&2; exit 7\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    hoist
        .run("build")
        .code(1)
        .says("Dockerfile:3")
        .says("file.c is broken")
        .says("7");
    hoist.run("up -d").code(1).says("file.c is broken");
    assert_eq!(hoist.ps(), Vec::<serde_json::Value>::new());
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN true\nCMD sleep 3600\nSTOPSIGNAL KILL\n",
    );
    hoist.ok("up -d");
}

fn the_dockerignore_file_keeps_files_out() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nCOPY . /all\n");
    hoist.file(".dockerignore", "# comment\n**/*.log\nsecret\n!keep.log\n");
    for name in [
        "a.txt",
        "b.log",
        "keep.log",
        "secret/key",
        "deep/er/c.log",
        "deep/er/d.txt",
    ] {
        hoist.file(&format!("context/{name}"), "x");
        hoist.file(name, "x");
    }
    std::fs::remove_dir_all(hoist.dir().join("context")).expect("it was just made");
    hoist.global(&["image", "build", "-t", "all", "."]).ok();
    hoist.compose("services:\n  a: {image: all}\n");
    hoist
        .ok("run --rm -T a sh -c 'cd /all && find . -type f | sort | tr \"\\n\" \" \"'")
        .prints("./.dockerignore ./Dockerfile ./a.txt ./deep/er/d.txt ./keep.log");
}

fn a_secret_leaves_no_trace() {
    let hoist = Sandbox::new();
    let secret = "correct-horse-battery-staple";
    hoist.file("../outside.txt", secret);
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN --mount=type=secret,id=key test \"$(wc -c < /run/secrets/key)\" = 28 && echo used > /used\n\
         RUN --mount=type=secret,id=key,env=KEY test \"${#KEY}\" = 28\n",
    );
    hoist.compose("services:\n  a: {build: {context: ., secrets: [key]}, command: cat /used}\nsecrets: {key: {file: ../outside.txt}}\n");
    hoist.ok("build");
    hoist.ok("run --rm -T a").prints("used");
    hoist
        .ok("run --rm -T a sh -c 'ls /run/secrets 2>/dev/null || true'")
        .says_nothing_of("key");
    assert_eq!(found_in_store(&hoist, secret), "");
}

fn a_cache_mount_is_kept_between_builds() {
    let hoist = Sandbox::new();
    let dockerfile = |turn| {
        format!(
            "FROM tiny\nRUN --mount=type=cache,target=/cache echo {turn} >> /cache/turns; cp /cache/turns /turns\n"
        )
    };
    hoist.compose("services:\n  a: {build: ., command: cat /turns}\n");
    hoist.file("Dockerfile", dockerfile(1));
    hoist.ok("build");
    hoist.file("Dockerfile", dockerfile(2));
    hoist.ok("build");
    hoist.ok("run --rm -T a").prints("1\n2");
}

fn owners_and_modes_of_copied_files_are_as_asked() {
    let hoist = Sandbox::new();
    hoist.file("script", "#!/bin/sh\n");
    hoist.file("tree/leaf", "leaf\n");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nCOPY --chown=app:extra --chmod=0751 script /script\nCOPY --chown=7:8 tree /tree\nUSER app\nWORKDIR /home/app/job\n\
         RUN touch made\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    hoist.ok("build");
    hoist
        .ok("run --rm -T a stat -c '%u:%g %a' /script /tree/leaf /home/app/job/made")
        .prints("1000:1001 751\n7:8 644\n1000:1000 644");
}

fn what_the_dockerfile_says_of_the_process_is_done() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nENV GREETING=hello\nWORKDIR /work\nUSER 1000\nVOLUME /seed\nEXPOSE 80\nLABEL who=me\nSTOPSIGNAL SIGUSR2\n\
         HEALTHCHECK --interval=200ms CMD test -d /work\nENTRYPOINT [\"sh\", \"-c\", \"echo $GREETING $(pwd) $(id -u) $0; trap 'exit 4' USR2; \
         while :; do sleep 0.1; done\"]\nCMD [\"argument\"]\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    hoist.ok("up --wait");
    hoist.logged("a", "hello /work 1000 argument");
    assert_eq!(hoist.field("a", "Health"), "healthy");
    assert_eq!(
        hoist.sh("a", "cat /seed/grain; grep -c ' /seed ' /proc/mounts"),
        "from the image\n1"
    );
    hoist.ok("stop");
    assert_eq!(hoist.exit_code("a"), 4);
}

fn steps_and_arguments_have_their_scopes() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "ARG BASE=tiny\nFROM $BASE\nARG A=default\nARG B\nENV E=env-$A\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo \"$A ${B:-none} $E\" > /out\n",
    );
    hoist.compose("services:\n  a: {build: {context: ., args: {A: given}}, command: cat /out}\n");
    hoist.ok("build");
    hoist.ok("run --rm -T a").prints("given none env-given");
    hoist.ok("build --build-arg B=flag");
    hoist.ok("run --rm -T a").prints("given flag env-given");
}

fn heredocs_are_files_and_scripts() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    command: cat /out /etc/app.conf\n    build:\n      dockerfile_inline: |\n        FROM tiny\n        RUN <<EOF\n        \
         echo one > /out\n        echo two >> /out\n        EOF\n        COPY <<CONF /etc/app.conf\n        key = value\n        CONF\n",
    );
    hoist.ok("build");
    hoist.ok("run --rm -T a").prints("one\ntwo\nkey = value");
}

fn a_service_is_rebuilt_on_demand_and_recreated() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nCOPY v /v\nCMD [\"sleep\", \"3600\"]\nSTOPSIGNAL KILL\n",
    );
    hoist.file("v", "1\n");
    hoist.compose("services:\n  a: {build: .}\n");
    hoist.ok("up -d");
    let id = hoist.id("a");
    hoist.file("v", "2\n");
    hoist.ok("up -d");
    assert_eq!(hoist.id("a"), id, "up builds only what is missing");
    hoist.ok("up -d --build").says("image changed");
    assert_eq!(hoist.sh("a", "cat /v"), "2");
    let id = hoist.id("a");
    hoist.ok("up -d --build");
    assert_eq!(hoist.id("a"), id, "the same image is no change");
}

fn two_services_are_built_at_once() {
    let hoist = Sandbox::new();
    // Each waits for the other through a shared cache mount.
    let step = |mine: &str, other: &str| {
        format!(
            "FROM tiny\nRUN --mount=type=cache,id=meet,target=/meet,sharing=shared touch /meet/{mine}; n=0; until [ -e /meet/{other} ]; \
             do sleep 0.1; n=$((n+1)); [ $n -lt 200 ] || exit 1; done\n"
        )
    };
    hoist.file("a/Dockerfile", step("a", "b"));
    hoist.file("b/Dockerfile", step("b", "a"));
    hoist.compose("services:\n  a: {build: ./a}\n  b: {build: ./b}\n");
    hoist.ok("build");
}

fn the_hosts_certificates_are_lent_and_leave_no_trace() {
    let hoist = Sandbox::new();
    let mark = "hoist-test-authority";
    let bundle = hoist.file("host-ca.pem", format!("# {mark}\n"));
    hoist.set("SSL_CERT_FILE", &bundle.to_string_lossy());
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN wc -l < \"$SSL_CERT_FILE\" > /lines; env | grep -c CERT > /count\n",
    );
    hoist.file(".dockerignore", "host-ca.pem\n");
    hoist.compose("services:\n  a: {build: ., command: cat /lines}\n");
    hoist.ok("--trust-host-ca build");
    hoist.ok("run --rm -T a").prints("1");
    hoist
        .ok("run --rm -T a sh -c 'echo ${SSL_CERT_FILE-unset}'")
        .prints("unset");
    assert_eq!(found_in_store(&hoist, mark), "");
}

fn a_dockerfile_with_an_unknown_instruction_is_an_error_with_a_place() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUM true\n");
    hoist
        .global(&["image", "build", "-t", "x", "."])
        .code(1)
        .says("Dockerfile:2:1")
        .says("RUM")
        .says("RUN");
    hoist.file("Dockerfile", "FROM tiny\nCOPY nosuch /x\n");
    hoist
        .global(&["image", "build", "-t", "x", "."])
        .code(1)
        .says("Dockerfile:2")
        .says("nosuch");
    hoist.file(
        "Dockerfile",
        "FROM nosuchstage AS a\nCOPY --from=missing /x /x\n",
    );
    hoist
        .global(&["image", "build", "-t", "x", "-f", "Nofile", "."])
        .code(1)
        .says("Nofile");
}

fn a_build_interrupted_by_ctrl_c_can_be_done_again() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo begun; sleep 3600\n");
    hoist.compose("services:\n  a: {build: .}\n");
    let build = hoist.start("--progress plain build");
    build.says("begun");
    build.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(build.end(), 130);
    hoist.file("Dockerfile", "FROM tiny\nRUN echo begun\n");
    hoist.ok("build");
}
