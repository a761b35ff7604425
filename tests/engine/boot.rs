//! `enable`, `disable`: the unit by which a project comes back after a boot.

use std::path::PathBuf;

use crate::harness::{ENGINE, Need, Sandbox};

crate::cases!(ENGINE;
    enable_writes_a_unit_and_disable_removes_exactly_that,
    a_unit_of_somebody_else_is_left_alone,
    a_unit_names_everything_the_project_was_named_by,
    the_line_of_a_unit_brings_the_project_up_from_anywhere,
);

const ONE: &str = "services: {a: {SLEEP}}\n";

/// A project, and a directory where systemd would look for units.
fn project() -> (Sandbox, PathBuf) {
    let hoist = Sandbox::new();
    hoist.compose(ONE);
    let units = hoist.dir().with_file_name("units");
    hoist.set("SYSTEMD_UNIT_PATH", &format!("{}:", units.display()));
    (hoist, units)
}

fn enable_writes_a_unit_and_disable_removes_exactly_that() {
    let (hoist, units) = project();
    hoist.ok("disable --user").says("is not enabled");
    hoist
        .ok("enable --user --print")
        .says("WantedBy=default.target");
    hoist.ok("disable").says("is not enabled");
    let printed = hoist.ok("enable --print").out;
    assert!(!units.exists());
    hoist
        .ok("enable")
        .says("is enabled")
        .says("systemd does not run here");
    let name = format!("hoist-{}.service", hoist.name);
    let text = std::fs::read_to_string(units.join(&name)).expect("a unit");
    assert_eq!(text, printed);
    for part in [
        "Type=oneshot",
        "RemainAfterExit=yes",
        "After=network-online.target",
        "RequiresMountsFor=",
        "KillMode=process",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let link = units.join("multi-user.target.wants").join(&name);
    assert_eq!(
        std::fs::read_link(&link).expect("a link"),
        PathBuf::from(format!("../{name}"))
    );
    hoist.ok("enable --system");
    hoist.ok("up -d");
    hoist.global(&["ls"]).ok().says("BOOT").says("enabled");
    hoist
        .global(&["ls", "--format", "json"])
        .ok()
        .says("\"Enabled\":true");
    std::fs::write(units.join("other.service"), "").expect("writable");
    hoist.ok("disable --system").says("is disabled");
    let left: Vec<_> = std::fs::read_dir(&units)
        .expect("a directory")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left, ["other.service"]);
    assert_eq!(hoist.state("a"), "running");
    hoist.run("enable --now").code(1).says("and not now");
    hoist.run("disable --now").says("is disabled");
}

fn a_unit_of_somebody_else_is_left_alone() {
    let (hoist, units) = project();
    let path = units.join(format!("hoist-{}.service", hoist.name));
    std::fs::create_dir(&units).expect("writable");
    std::fs::write(&path, "[Unit]\n").expect("writable");
    hoist
        .run("enable")
        .code(1)
        .says("was not written by `hoist enable`");
    hoist
        .run("disable")
        .code(1)
        .says("was not written by `hoist enable`");
    assert_eq!(
        std::fs::read_to_string(&path).expect("it is there"),
        "[Unit]\n"
    );
    hoist
        .pipe(
            "-f - enable",
            ONE.replace("SLEEP", "image: tiny").as_bytes(),
        )
        .code(1)
        .says("standard input");
}

fn a_unit_names_everything_the_project_was_named_by() {
    let (hoist, _) = project();
    hoist.file(
        "odd %n $HOME \"q\"/b.yaml",
        "services: {b: {image: tiny, profiles: [x]}}\n",
    );
    hoist.file("vars", "A=1\n");
    let text = hoist
        .ok("-f compose.yaml -f 'odd %n $HOME \"q\"/b.yaml' --profile x --env-file vars --trust enable --print")
        .out;
    let start = text
        .lines()
        .find(|line| line.starts_with("ExecStart="))
        .expect("a command");
    for part in [
        format!("\"-p\" \"{}\"", hoist.name),
        format!("\"--project-directory\" \"{}\"", hoist.dir().display()),
        format!("\"-f\" \"{}/compose.yaml\"", hoist.dir().display()),
        "/odd %%n $$HOME \\\"q\\\"/b.yaml\"".to_owned(),
        "\"--profile\" \"x\"".to_owned(),
        "/vars\"".to_owned(),
        "\"--trust\"".to_owned(),
        "\"up\" \"-d\"".to_owned(),
    ] {
        assert!(start.contains(&part), "{part} in {start}");
    }
    assert!(
        text.contains(&format!(
            "Environment=\"HOIST_DATA_ROOT={}\"",
            hoist.data().display()
        )),
        "{text}"
    );
}

fn the_line_of_a_unit_brings_the_project_up_from_anywhere() {
    let (hoist, _) = project();
    let text = hoist.ok("enable --print").out;
    for (key, state) in [("ExecStart=", "running"), ("ExecStop=", "exited")] {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect("a command");
        // Without odd characters the words are a shell's as well.
        let words = shell_words::split(line).expect("quotes in pairs");
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let mut command = hoist.command(&words);
        command.current_dir("/");
        crate::harness::process::finish(command, None, crate::harness::process::LIMIT).ok();
        hoist.notice();
        assert_eq!(hoist.state("a"), state);
    }
}

/// With systemd's own judgement.
pub mod judged {
    use super::*;
    use crate::harness::process::{LIMIT, finish};

    crate::cases!(&[Need::Root, Need::Busybox, Need::Program("systemd-analyze")];
        systemd_finds_nothing_wrong_with_a_unit_in_an_odd_place,
    );

    fn systemd_finds_nothing_wrong_with_a_unit_in_an_odd_place() {
        let (hoist, units) = project();
        hoist.file("a b%c'd/compose.yaml", ONE.replace("SLEEP", "image: tiny"));
        hoist.ok("--project-directory \"a b%c'd\" enable");
        let unit = units.join(format!("hoist-{}.service", hoist.name));
        let mut command = std::process::Command::new("systemd-analyze");
        command
            .arg("verify")
            .arg("--man=no")
            .arg(&unit)
            .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()));
        let done = finish(command, None, LIMIT);
        let name = format!("hoist-{}.service", hoist.name);
        let about: Vec<&str> = done
            .err
            .lines()
            .filter(|line| line.contains(&name))
            .collect();
        assert_eq!(about, Vec::<&str>::new(), "{}", done.story());
        hoist.ok("--project-directory \"a b%c'd\" disable");
    }
}
