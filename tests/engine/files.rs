//! What a container sees as files: secrets, configs, volumes, binds, tmpfs.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    secrets_are_files_with_the_owner_and_mode_asked_for,
    configs_have_their_content_and_a_change_recreates_the_service,
    a_new_named_volume_starts_with_what_the_image_has_there,
    anonymous_volumes_survive_recreation_until_they_are_renewed,
    binds_work_both_ways_and_read_only_ones_refuse_writes,
    a_missing_bind_source_is_made_unless_that_is_forbidden,
    a_part_of_a_volume_can_be_mounted,
    tmpfs_has_its_size_and_mode,
    a_read_only_root_refuses_writes_and_its_mounts_do_not,
    a_tampered_bind_target_cannot_leave_the_container,
    external_volumes_must_exist_and_are_never_removed,
);

fn secrets_are_files_with_the_owner_and_mode_asked_for() {
    let hoist = Sandbox::new();
    hoist.file("s.txt", "from a file");
    hoist.set("TOKEN", "from the environment");
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    secrets:\n      - plain\n      \
         - {source: plain, target: owned, uid: '1000', gid: '1001', mode: 0400}\n      - {source: env, target: /abs/path}\n\
         secrets:\n  plain: {file: ./s.txt}\n  env: {environment: TOKEN}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("a", "cat /run/secrets/plain /run/secrets/owned"),
        "from a filefrom a file"
    );
    assert_eq!(hoist.sh("a", "cat /abs/path"), "from the environment");
    assert_eq!(
        hoist.sh("a", "stat -c '%u %g %a' /run/secrets/owned"),
        "1000 1001 400"
    );
    assert_ne!(hoist.exec("a", "echo x > /run/secrets/plain").code, 0);
    assert_eq!(
        std::fs::read_to_string(hoist.dir().join("s.txt")).expect("it is there"),
        "from a file"
    );
    hoist
        .run("exec -T -u app a cat /run/secrets/owned")
        .code(0)
        .says("from a file");
    hoist
        .run("exec -T -u 1234 a cat /run/secrets/owned")
        .code(1);
    // What came from the environment is on no disk; a secret's own cases say more.
    let found = std::process::Command::new("grep")
        .args(["-rl", "from the environment"])
        .arg(hoist.data())
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let mode = hoist
        .data()
        .metadata()
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "others may look into the data directory");
}

fn configs_have_their_content_and_a_change_recreates_the_service() {
    let hoist = Sandbox::new();
    let file = |text: &str| {
        format!(
            "services:\n  a: {{SLEEP, configs: [{{source: c, target: /etc/app.conf, uid: '1000', mode: 0440}}]}}\n\
             configs:\n  c: {{content: 'colour={text} ${{WHO:-nobody}}'}}\n"
        )
    };
    hoist.compose(&file("red"));
    hoist.ok("up -d");
    let id = hoist.id("a");
    assert_eq!(
        hoist.sh("a", "cat /etc/app.conf; stat -c '%u %a' /etc/app.conf"),
        "colour=red nobody1000 440"
    );
    hoist.compose(&file("blue"));
    hoist.ok("up -d");
    assert_ne!(hoist.id("a"), id);
    assert_eq!(hoist.sh("a", "cat /etc/app.conf"), "colour=blue nobody");
}

fn a_new_named_volume_starts_with_what_the_image_has_there() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['seed:/seed', {type: volume, source: bare, target: /seed2/x}]}\nvolumes: {seed: , bare: }\n");
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("a", "cat /seed/grain; stat -c '%u %g %a' /seed /seed/grain"),
        "from the image\n1000 1000 750\n1000 1000 640"
    );
    hoist.sh("a", "rm /seed/grain; echo new > /seed/other");
    hoist.ok("up -d --force-recreate");
    assert_eq!(
        hoist.sh("a", "ls /seed"),
        "other",
        "an old volume gets nothing from the image"
    );
}

fn anonymous_volumes_survive_recreation_until_they_are_renewed() {
    let hoist = Sandbox::new();
    let file = |value| {
        format!(
            "services:\n  a: {{SLEEP, volumes: ['/anonymous'], environment: {{V: '{value}'}}}}\n"
        )
    };
    hoist.compose(&file(1));
    hoist.ok("up -d");
    hoist.sh("a", "echo kept > /anonymous/file");
    hoist.compose(&file(2));
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /anonymous/file"), "kept");
    hoist.ok("up -d -V --force-recreate");
    assert_eq!(hoist.sh("a", "ls /anonymous"), "");
    hoist.ok("down -v -t 0");
    assert_eq!(hoist.volumes(), Vec::<std::path::PathBuf>::new());
}

fn binds_work_both_ways_and_read_only_ones_refuse_writes() {
    let hoist = Sandbox::new();
    hoist.file("d/in", "host\n");
    hoist.file("one.txt", "1\n");
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['./d:/d', './one.txt:/one.txt:ro', {type: bind, source: ./d, target: /e, \
         read_only: true}]}\n",
    );
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /d/in /one.txt /e/in"), "host\n1\nhost");
    hoist.sh("a", "echo inside > /d/out");
    assert_eq!(
        std::fs::read_to_string(hoist.dir().join("d/out")).expect("written inside"),
        "inside\n"
    );
    hoist
        .exec("a", "echo x > /one.txt")
        .code(1)
        .says("ead-only");
    hoist.exec("a", "echo x > /e/in").code(1).says("ead-only");
    hoist.file("d/in", "changed\n");
    assert_eq!(hoist.sh("a", "cat /d/in"), "changed");
}

fn a_missing_bind_source_is_made_unless_that_is_forbidden() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['./made:/made']}\n");
    hoist.ok("up -d");
    assert!(hoist.dir().join("made").is_dir());
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: [{type: bind, source: ./missing, target: /m, bind: {create_host_path: false}}]}\n",
    );
    hoist.run("up -d").code(1).says("missing");
    assert!(!hoist.dir().join("missing").exists());
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.state("a"), "running");
}

fn a_part_of_a_volume_can_be_mounted() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  w: {SLEEP, volumes: ['vol:/v']}\n  s: {SLEEP, profiles: [x], volumes: [{type: volume, source: vol, target: /s, \
         volume: {subpath: a/b}}]}\nvolumes: {vol: }\n",
    );
    hoist.ok("up -d");
    hoist.sh(
        "w",
        "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s /etc /v/a/out",
    );
    hoist.ok("up -d s");
    assert_eq!(hoist.sh("s", "cat /s/f"), "deep");
}

fn tmpfs_has_its_size_and_mode() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, tmpfs: ['/t1', '/t2:size=1m,mode=700'], volumes: [{type: tmpfs, target: /t3, tmpfs: {size: 2m, \
         mode: 01770}}]}\n",
    );
    hoist.ok("up -d");
    let line = "for t in 1 2 3; do grep -c \" /t$t tmpfs \" /proc/mounts; done; df -k /t2 | awk 'END{print $2}'; \
                stat -c %a /t2 /t3; df -k /t3 | awk 'END{print $2}'";
    assert_eq!(hoist.sh("a", line), "1\n1\n1\n1024\n700\n1770\n2048");
}

fn a_read_only_root_refuses_writes_and_its_mounts_do_not() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, read_only: true, tmpfs: [/tmp], volumes: ['vol:/v']}\nvolumes: {vol: }\n");
    hoist.ok("up -d");
    hoist.exec("a", "touch /x").code(1).says("ead-only");
    hoist.sh("a", "touch /tmp/x /v/x");
}

fn a_tampered_bind_target_cannot_leave_the_container() {
    let hoist = Sandbox::new();
    hoist.file("d/f", "mine\n");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN ln -s ../../../../../../../../../../hst-escape /trap\n",
    );
    hoist.compose("services:\n  a: {build: ., command: sleep 3600, stop_signal: SIGKILL, volumes: ['./d:/trap/inner']}\n");
    let done = hoist.run("up -d");
    let outside = std::path::Path::new("/hst-escape");
    assert!(
        !outside.exists(),
        "a link of the image led to the host: {}",
        done.story()
    );
    if done.code == 0 {
        assert_eq!(hoist.sh("a", "cat /trap/inner/f"), "mine");
    }
}

fn external_volumes_must_exist_and_are_never_removed() {
    let hoist = Sandbox::new();
    hoist.file(
        "owner/compose.yaml",
        format!(
            "name: {0}own\nservices:\n  a: {{image: tiny, command: sleep 3600, stop_signal: SIGKILL, volumes: ['vol:/v']}}\nvolumes: \
             {{vol: {{name: {0}-shared}}}}\n",
            hoist.name
        ),
    );
    hoist.compose(&format!(
        "services:\n  b: {{SLEEP, volumes: ['vol:/v']}}\nvolumes: {{vol: {{external: true, name: {}-shared}}}}\n",
        hoist.name
    ));
    hoist.run("up -d").code(1).says("shared").says("external");
    hoist.global(&["-f", "owner/compose.yaml", "up", "-d"]).ok();
    hoist
        .global(&[
            "-f",
            "owner/compose.yaml",
            "exec",
            "-T",
            "a",
            "sh",
            "-c",
            "echo own > /v/f",
        ])
        .ok();
    hoist.ok("up -d");
    assert_eq!(hoist.sh("b", "cat /v/f"), "own");
    hoist.ok("down -v -t 0");
    hoist
        .global(&["-f", "owner/compose.yaml", "exec", "-T", "a", "cat", "/v/f"])
        .ok()
        .prints("own");
}
