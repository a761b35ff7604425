//! `commit` and `export`: the files of a container as an image and as an archive.

use std::process::Command;

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    what_a_container_has_become_is_an_image,
    an_image_of_nothing_new_has_no_new_layer,
    files_of_a_container_are_an_archive_without_what_is_mounted,
    what_can_not_be_committed_or_exported_is_said,
);

const LIVES: &str = "sh -c 'trap exit TERM; while :; do sleep 0.1; done'";

fn inspect(hoist: &Sandbox, image: &str) -> Value {
    let text = hoist.ok(&format!("image inspect {image}")).out;
    let found: Value = serde_json::from_str(&text).expect("JSON");
    found[0].clone()
}

fn what_a_container_has_become_is_an_image() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a:\n    image: tiny\n    command: {LIVES}\n    environment: {{COLOUR: red}}\n    labels: {{mine: '1'}}\n    \
         working_dir: /made\n    volumes: [\"data:/data\"]\nvolumes:\n  data:\n"
    ));
    hoist.ok("up -d");
    hoist.ok(
        "exec -T a sh -c 'echo new > /new; rm /bin/true; echo no > /data/no; chown 12:34 /new'",
    );
    hoist
        .ok("commit -a me -m 'as it was' -c 'CMD [\"cat\", \"/new\"]' -c 'ENV SIZE=big' a made:1")
        .says("Committed");
    hoist.ok("down -v");
    let image = inspect(&hoist, "made:1");
    let before = inspect(&hoist, "tiny");
    let layers = |image: &Value| image["RootFS"]["Layers"].as_array().map_or(0, Vec::len);
    assert_eq!(layers(&image), layers(&before) + 1);
    assert_eq!(image["Author"], "me");
    assert_eq!(image["Comment"], "as it was");
    let config = &image["Config"];
    assert_eq!(config["Cmd"], serde_json::json!(["cat", "/new"]));
    assert_eq!(config["WorkingDir"], "/made");
    assert_eq!(config["Labels"], serde_json::json!({"mine": "1"}));
    let env = config["Env"].to_string();
    assert!(
        env.contains("COLOUR=red") && env.contains("SIZE=big"),
        "{env}"
    );
    hoist.compose("services:\n  b: {image: 'made:1'}\n");
    hoist.ok("run --rm -T b").prints("new");
    hoist
        .ok("run --rm -T b sh -c 'stat -c %u:%g /new; ls /data; test -e /bin/true || echo gone; cat /etc/hostname > /dev/null'")
        .prints("12:34\ngone");
}

fn an_image_of_nothing_new_has_no_new_layer() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: {LIVES}}}\n"
    ));
    hoist.ok("up -d");
    // As Docker: what programs know a container by, and where old ones look for mounts.
    hoist.sh(
        "a",
        "test -f /.dockerenv && test \"$(readlink /etc/mtab)\" = /proc/mounts",
    );
    let made = hoist.ok("commit --pause=false a same");
    let image = inspect(&hoist, "same");
    let before = inspect(&hoist, "tiny");
    assert_eq!(image["RootFS"]["Layers"], before["RootFS"]["Layers"]);
    assert_eq!(made.out.trim(), image["Id"]);
    // Without a name it is there all the same.
    let id = hoist.ok("commit a").out;
    hoist.ok(&format!("image inspect {}", id.trim()));
    hoist.ok("--dry-run commit a never");
    hoist.run("image inspect never").code(1);
}

fn files_of_a_container_are_an_archive_without_what_is_mounted() {
    let hoist = Sandbox::new();
    hoist.file("host/secret", "x");
    hoist.compose(&format!(
        "services:\n  a:\n    image: tiny\n    command: {LIVES}\n    volumes: [./host:/seen]\n"
    ));
    hoist.ok("up -d");
    hoist.ok("exec -T a sh -c 'echo hi > /new; rm /bin/true'");
    hoist.ok("export -o all.tar a");
    let listed = Command::new("tar")
        .arg("-tf")
        .arg(hoist.dir().join("all.tar"))
        .output()
        .expect("tar runs");
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let has = |name: &str| names.lines().any(|line| line == name);
    assert!(has("new") && has("bin/busybox") && has("seen/"), "{names}");
    assert!(!has("seen/secret") && !has("bin/true"), "{names}");
    // A device is written as it is, and not replaced by a file.
    std::os::unix::fs::symlink("/dev/full", hoist.dir().join("full")).expect("writable");
    hoist.run("export -o full a").code(1).says("No space left");
    let full = std::fs::metadata("/dev/full")
        .expect("it is there")
        .file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&full));
    hoist.ok("image import all.tar whole");
    hoist.compose("services:\n  b: {image: whole, command: cat /new}\n");
    hoist.ok("run --rm -T b").prints("hi");
}

fn what_can_not_be_committed_or_exported_is_said() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: {LIVES}}}\n  b: {{image: tiny, command: 'true'}}\n"
    ));
    hoist.ok("up -d a");
    for command in ["commit", "export"] {
        hoist
            .run(&format!("{command} b"))
            .code(1)
            .says("service \"b\" is not running");
        hoist
            .run(&format!("{command} --index 7 a"))
            .code(1)
            .says("service \"a\" is not running container #7");
    }
    hoist.run("commit -c 'RUN true' a x").code(1).says("RUN");
    hoist.run("commit a Bad:Name:x").code(1).says("Bad:Name:x");
    hoist
        .run("export -o /nowhere/x.tar a")
        .code(1)
        .says("cannot write /nowhere/x.tar");
}
