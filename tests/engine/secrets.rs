//! Configs and secrets: where their contents come from, how they look inside, and that no disk ever sees them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::leftovers::children;
use crate::harness::process::kill_and_wait;
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    contents_come_from_files_variables_the_compose_file_and_programs,
    owners_modes_and_targets_are_as_asked_for_in_both_forms,
    a_target_may_be_there_in_the_image_or_deep_in_directories_that_are_not,
    a_directory_and_a_large_file_are_shown_as_they_lie_on_the_host,
    a_missing_source_is_an_error_at_its_place_and_nothing_is_made,
    all_files_of_a_container_lie_in_one_memory_of_its_own,
    no_disk_no_list_and_no_command_line_ever_has_a_secret,
    contents_outlive_stops_starts_kills_and_supervisors,
    after_a_reboot_the_next_start_gives_contents_again,
    one_off_containers_and_commands_see_them_too,
    a_change_of_content_recreates_only_the_services_that_use_it,
    a_short_secret_can_not_be_guessed_from_what_is_kept,
    a_program_is_asked_once_by_up_and_by_nothing_that_only_looks,
    a_program_has_the_users_terminal_and_loses_one_line_end,
    a_program_that_fails_is_an_error_at_its_place_and_nothing_is_made,
    an_interrupt_ends_the_wait_for_a_program,
    stores_and_templates_that_are_not_there_are_errors_at_their_places,
    names_and_labels_of_contents_are_declarations_that_change_no_file,
);

/// A secret of each kind, none of which any other file of this machine has.
const PLANTED: [&str; 3] = [
    "of-a-variable-5ce1",
    "of-the-file-7ab2",
    "of-a-program-91d3",
];

fn planted(hoist: &Sandbox) {
    hoist.set("TOKEN", PLANTED[0]);
    let program = hoist.file(
        "tell",
        format!("#!/bin/sh\nrev <<END\n{}\nEND\n", backwards(PLANTED[2])),
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    // The compose file has the middle of it from a variable, so that only the whole is looked for.
    hoist.set("MIDDLE", "the-file");
    hoist.compose(
        "services:\n  a: {SLEEP, restart: always, secrets: [env, told], configs: [{source: text, target: /text}]}\n\
         secrets:\n  env: {environment: TOKEN}\n  told: {x-hoist: {command: ./tell}}\n\
         configs:\n  text: {content: 'of-${MIDDLE}-7ab2'}\n",
    );
}

fn backwards(text: &str) -> String {
    text.chars().rev().collect()
}

const SHOW: &str = "cat /run/secrets/env /text /run/secrets/told";

/// What a service sees of what was [`planted`].
fn shown(hoist: &Sandbox) -> String {
    hoist.sh("a", SHOW)
}

/// Files below a directory that hold one of the texts; other file systems are left out: memory is no disk.
fn holders(root: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let Ok(device) = root.symlink_metadata().map(|meta| meta.dev()) else {
        return Vec::new();
    };
    let (mut open, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(dir) = open.pop() {
        for path in children(&dir) {
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            if meta.is_dir() && meta.dev() == device {
                open.push(path);
            } else if meta.is_file() && meta.dev() == device {
                let bytes = std::fs::read(&path).unwrap_or_default();
                let has = |text: &&str| {
                    bytes
                        .windows(text.len())
                        .any(|part| part == text.as_bytes())
                };
                if texts.iter().any(has) {
                    found.push(path);
                }
            }
        }
    }
    found
}

fn contents_come_from_files_variables_the_compose_file_and_programs() {
    let hoist = Sandbox::new();
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    hoist.file("binary", &binary);
    hoist.file("empty", "");
    hoist.file("real", "behind a link");
    symlink("real", hoist.dir().join("link")).expect("the project is writable");
    hoist
        .set("TOKEN", "of a variable\n")
        .set("NONE", "")
        .set("WHO", "me");
    hoist.compose(
        "services:\n  a: {SLEEP, configs: [inline, told, byenv], secrets: [binary, empty, link, env, none, words, list]}\n\
         configs:\n  inline: {content: 'for ${WHO}, ${ABSENT:-nobody} and $${WHO}'}\n  told: {x-hoist: {command: [echo, a config]}}\n  \
         byenv: {environment: WHO}\n\
         secrets:\n  binary: {file: ./binary}\n  empty: {file: ./empty}\n  link: {file: ./link}\n  env: {environment: TOKEN}\n  \
         none: {environment: NONE}\n  words: {x-hoist: {command: \"printf '%s-%s' 'two words' $WHO\"}}\n  \
         list: {x-hoist: {command: [sh, -c, 'echo of a list']}}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("a", "cat /inline /told /byenv"),
        "for me, nobody and ${WHO}a configme"
    );
    let of = |name: &str| {
        hoist
            .exec("a", &format!("cat /run/secrets/{name}"))
            .ok()
            .out
    };
    assert_eq!(of("env"), "of a variable\n");
    assert_eq!((of("none"), of("empty")), (String::new(), String::new()));
    assert_eq!(
        (of("link"), of("words")),
        ("behind a link".into(), "two words-me".into())
    );
    assert_eq!(of("list"), "of a list");
    hoist.ok("cp a:/run/secrets/binary got");
    assert_eq!(
        std::fs::read(hoist.dir().join("got")).expect("copied"),
        binary
    );
}

fn owners_modes_and_targets_are_as_asked_for_in_both_forms() {
    let hoist = Sandbox::new();
    let file = hoist.file("f", "x");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("ours");
    hoist.set("V", "x");
    let grants = "[plain, env, {source: env, target: renamed}, {source: env, target: /deep/abs, uid: '1000', gid: '1001', mode: 0400}, \
                  {source: plain, target: a/b, mode: '0755'}]";
    let text = format!(
        "services:\n  a: {{SLEEP, secrets: {grants}, configs: {grants}}}\n  \
         u: {{SLEEP, user: app, secrets: [env, {{source: env, target: own, gid: '7'}}]}}\n\
         secrets:\n  plain: {{file: ./f}}\n  env: {{environment: V}}\nconfigs:\n  plain: {{file: ./f}}\n  env: {{environment: V}}\n"
    );
    hoist.compose(&text.replacen("/deep/abs", "/secret/abs", 1));
    hoist.ok("up -d");
    let seen = |dir: &str, abs: &str| {
        hoist.sh(
            "a",
            &format!("stat -c '%u:%g %a' {dir}/plain {dir}/env {dir}/renamed {abs} {dir}/a/b | tr '\\n' ,"),
        )
    };
    let expected = "0:0 640,0:0 444,0:0 444,1000:1001 400,0:0 755,";
    assert_eq!(seen("/run/secrets", "/secret/abs"), expected);
    assert_eq!(seen("", "/deep/abs"), expected);
    // Who names no owner means the container's own user, whom a file of mode 0400 is no use to otherwise.
    assert_eq!(
        hoist.sh(
            "u",
            "stat -c '%u:%g %a' /run/secrets/env /run/secrets/own | tr '\\n' ,"
        ),
        "1000:1000 444,1000:7 444,"
    );
}

fn a_target_may_be_there_in_the_image_or_deep_in_directories_that_are_not() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, read_only: true, configs: [{source: c, target: /etc/passwd}, {source: c, target: /new/dirs/x}]}\n\
         configs: {c: {content: mine}}\n",
    );
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /etc/passwd /new/dirs/x"), "minemine");
    assert_ne!(hoist.exec("a", "echo x > /new/dirs/x").code, 0);
    assert_ne!(hoist.exec("a", "rm /etc/passwd").code, 0);
}

fn a_directory_and_a_large_file_are_shown_as_they_lie_on_the_host() {
    let hoist = Sandbox::new();
    hoist.file("d/one", "1");
    hoist.file("large", vec![b'l'; 9 << 20]);
    hoist.compose("services:\n  a: {SLEEP, secrets: [d, large]}\nsecrets: {d: {file: ./d}, large: {file: ./large}}\n");
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("a", "cat /run/secrets/d/one; stat -c %s /run/secrets/large"),
        "19437184"
    );
    assert_ne!(hoist.exec("a", "echo x > /run/secrets/d/two").code, 0);
    hoist.file("d/two", "2");
    assert_eq!(hoist.sh("a", "cat /run/secrets/d/two"), "2");
}

fn a_missing_source_is_an_error_at_its_place_and_nothing_is_made() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    secrets: [gone, unset]\n    configs: [absent]\nsecrets:\n  gone: {file: ./gone.txt}\n  \
         unset: {environment: UNSET_5CE1}\nconfigs:\n  absent: {file: ./absent.txt}\n",
    );
    let said = hoist.run("up -d").code(1).err;
    for text in [
        "compose.yaml:7",
        "gone.txt",
        "compose.yaml:10",
        "absent.txt",
        // What only planning finds is told with it.
        "compose.yaml:8",
        "environment variable `UNSET_5CE1` required by secret `unset` is not set",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    hoist.file("gone.txt", "");
    hoist.file("absent.txt", "");
    hoist.run("up -d").code(1).says("compose.yaml:8");
    assert!(hoist.ps().is_empty());
    hoist.ok("down");
    hoist.is_gone();
}

fn all_files_of_a_container_lie_in_one_memory_of_its_own() {
    let hoist = Sandbox::new();
    hoist.set("V", "x");
    hoist.file("f", "x");
    let service =
        "{SLEEP, secrets: [e, f], configs: [c, {source: c, target: /script, mode: 0755}]}";
    hoist.compose(&format!(
        "services:\n  a: {service}\n  b: {service}\nsecrets: {{e: {{environment: V}}, f: {{file: ./f}}}}\n\
         configs: {{c: {{content: \"#!/bin/sh\\necho run\"}}}}\n"
    ));
    hoist.ok("up -d");
    let mounts = |service: &str| -> Vec<(String, String, String)> {
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", hoist.init(service)));
        let targets = ["/run/secrets/e", "/run/secrets/f", "/c", "/script"];
        let table = table.expect("it runs");
        let each = targets.map(|target| {
            let line = table
                .lines()
                .find(|line| line.split(' ').nth(4) == Some(target));
            let line = line.unwrap_or_else(|| panic!("{target} is no mount: {table}"));
            let words: Vec<&str> = line.split(' ').collect();
            assert!(line.contains(" - tmpfs "), "{line}");
            (words[2].to_owned(), words[5].to_owned(), line.to_owned())
        });
        each.to_vec()
    };
    let (a, b) = (mounts("a"), mounts("b"));
    assert!(
        a.iter().all(|mount| mount.0 == a[0].0),
        "more than one file system: {a:?}"
    );
    assert_ne!(a[0].0, b[0].0, "two containers share a file system");
    for (_, options, line) in &a {
        for option in ["ro", "nosuid", "nodev"] {
            assert!(options.split(',').any(|have| have == option), "{line}");
        }
        let runs = line.contains(" /script ");
        assert_eq!(options.contains("noexec"), !runs, "{line}");
        // A bound, so that whoever could write would not get far.
        assert!(line.contains("size="), "{line}");
    }
    assert_eq!(hoist.sh("a", "/script"), "run");
}

fn no_disk_no_list_and_no_command_line_ever_has_a_secret() {
    let hoist = Sandbox::new();
    planted(&hoist);
    let looked = |when: &str| {
        for root in [hoist.data(), hoist.run_root()] {
            let found = holders(&root, &PLANTED);
            assert!(found.is_empty(), "{when}: {found:?}");
        }
        for pid in hoist.supervisors() {
            for name in ["cmdline", "environ"] {
                let text = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                // The user's own variables are the command's; those of the compose file and programs are nobody's.
                assert!(
                    !text.contains(PLANTED[1]) && !text.contains(PLANTED[2]),
                    "{when}: {name}: {text}"
                );
            }
        }
    };
    // The search finds what is there.
    std::fs::create_dir_all(hoist.data()).expect("ours");
    let bait = hoist.data().join("bait");
    std::fs::write(&bait, format!("x{}x", PLANTED[2])).expect("ours");
    assert_eq!(
        holders(&hoist.data(), &PLANTED),
        std::slice::from_ref(&bait)
    );
    std::fs::remove_file(bait).expect("ours");

    let quiet = |line: &str| {
        let said = hoist.ok(line).all();
        assert!(
            PLANTED.iter().all(|text| !said.contains(text)),
            "{line}: {said}"
        );
    };
    quiet("up -d --dry-run");
    quiet("create");
    looked("after create");
    quiet("up -d");
    assert_eq!(shown(&hoist), PLANTED.concat());
    looked("while it runs");
    quiet("ps -a --format json");
    quiet("logs");
    quiet("restart -t 0");
    looked("after a restart");
    kill_and_wait(hoist.supervisor("a"));
    quiet("ps");
    looked("after an adoption");
    quiet("stop -t 0");
    looked("after a stop");
    // A start that fails tells all it knows, but for this.
    let text = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("ours");
    hoist.file(
        "compose.yaml",
        text.replace("command: sleep 3600", "command: /no/such/program"),
    );
    let said = hoist.run("up -d").all();
    assert!(PLANTED.iter().all(|text| !said.contains(text)), "{said}");
    looked("after a start that failed");
    hoist.ok("down -v");
    hoist.is_gone();
    looked("after down");
}

fn contents_outlive_stops_starts_kills_and_supervisors() {
    let hoist = Sandbox::new();
    planted(&hoist);
    let seen = |when: &str| {
        hoist.reaches("a", "running");
        let text = eventually(when, || {
            let done = hoist.exec("a", SHOW);
            (done.code == 0).then_some(done.out)
        });
        assert_eq!(text, PLANTED.concat(), "{when}");
    };
    hoist.ok("create");
    // What tells the secrets is gone, as are the files: what was created has all it needs.
    std::fs::remove_file(hoist.dir().join("tell")).expect("ours");
    let file = hoist.dir().join("compose.yaml");
    let aside = hoist.dir().join("aside");
    std::fs::rename(&file, &aside).expect("ours");
    hoist.ok("start");
    seen("after a start without files");
    hoist.ok("restart -t 0");
    seen("after a restart");
    kill_and_wait(hoist.init("a"));
    seen("after its end");
    kill_and_wait(hoist.supervisor("a"));
    seen("after an adoption");
    kill_and_wait(hoist.supervisor("a"));
    kill_and_wait(hoist.init("a"));
    seen("after both are gone");
    hoist.ok("stop -t 0");
    hoist.ok("start");
    seen("after a stop and a start");
    std::fs::rename(&aside, &file).expect("ours");
    hoist.ok("down -v");
    hoist.is_gone();
}

fn after_a_reboot_the_next_start_gives_contents_again() {
    let hoist = Sandbox::new();
    planted(&hoist);
    let text = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("ours");
    // Its policy would be at work all the time: it is the same boot still.
    hoist.file("compose.yaml", text.replace("restart: always, ", ""));
    for way in ["start", "up -d", "restart"] {
        hoist.ok("up -d");
        let id = hoist.id("a");
        hoist.wipe_kernel();
        std::fs::remove_dir_all(hoist.run_root()).expect("nothing is mounted there");
        // Without the files nobody knows them; that is said, with what to do.
        let aside = hoist.dir().join("aside");
        std::fs::rename(hoist.dir().join("compose.yaml"), &aside).expect("ours");
        hoist
            .run("start")
            .code(1)
            .says("configs.text")
            .says("kept in memory only")
            .says("compose file");
        std::fs::rename(&aside, hoist.dir().join("compose.yaml")).expect("ours");
        hoist.ok(way);
        assert_eq!(hoist.id("a"), id, "{way} made another one");
        assert_eq!(shown(&hoist), PLANTED.concat(), "after {way}");
    }
}

fn one_off_containers_and_commands_see_them_too() {
    let hoist = Sandbox::new();
    planted(&hoist);
    let show = format!("run --rm -T a sh -c '{SHOW}'");
    assert_eq!(hoist.ok(&show).out, PLANTED.concat());
    hoist.ok("up -d");
    assert_eq!(hoist.exec("a", SHOW).ok().out, PLANTED.concat());
}

fn a_change_of_content_recreates_only_the_services_that_use_it() {
    let hoist = Sandbox::new();
    hoist.file("f", "1");
    hoist.file("told", "1");
    hoist.set("V", "1");
    let write = |text: &str| {
        hoist.compose(&format!(
            "services:\n  file: {{SLEEP, secrets: [f]}}\n  env: {{SLEEP, secrets: [e]}}\n  text: {{SLEEP, configs: [c]}}\n  \
             told: {{SLEEP, configs: [p]}}\n  none: {{SLEEP}}\n\
             secrets: {{f: {{file: ./f}}, e: {{environment: V}}}}\n\
             configs: {{c: {{content: '{text}'}}, p: {{x-hoist: {{command: [cat, ./told]}}}}}}\n"
        ));
    };
    write("1");
    hoist.ok("up -d");
    let services = ["file", "env", "text", "told", "none"];
    let ids = || services.map(|service| hoist.id(service));
    let mut before = ids();
    hoist.ok("up -d");
    assert_eq!(ids(), before, "nothing has changed");
    for changed in 0..5 {
        match changed {
            0 => drop(hoist.file("f", "2")),
            1 => drop(hoist.set("V", "2")),
            2 => write("2"),
            3 => drop(hoist.file("told", "2")),
            _ => {}
        }
        let said = hoist.ok("up -d").err;
        let now = ids();
        for (at, service) in services.iter().enumerate() {
            let same = now[at] == before[at];
            assert_eq!(
                same,
                at != changed || changed == 4,
                "{service} after change {changed}: {said}"
            );
        }
        before = now;
    }
    assert_eq!(hoist.sh("file", "cat /run/secrets/f"), "2");
    assert_eq!(hoist.sh("env", "cat /run/secrets/e"), "2");
    assert_eq!(hoist.sh("told", "cat /p"), "2");
}

fn a_short_secret_can_not_be_guessed_from_what_is_kept() {
    let hoist = Sandbox::new();
    hoist.set("PIN", "4711");
    hoist.compose("services:\n  a: {SLEEP, secrets: [pin]}\nsecrets: {pin: {environment: PIN}}\n");
    hoist.ok("up -d");
    let digest = hoist::image::digest::Digest::of(b"4711").hex();
    let found = holders(&hoist.data(), &[&digest, &digest[..12]]);
    assert!(found.is_empty(), "{found:?}");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode();
    assert_eq!(
        mode(&hoist.data()) & 0o077,
        0,
        "others may look into the data directory"
    );
    assert_eq!(
        mode(&hoist.data().join("key")) & 0o077,
        0,
        "others may read the key"
    );
}

fn a_program_is_asked_once_by_up_and_by_nothing_that_only_looks() {
    let hoist = Sandbox::new();
    hoist.file("value", "one\n");
    hoist.file("ask", "echo asked >> asked; cat value\n");
    hoist.compose(
        "services:\n  a: {SLEEP, scale: 2, secrets: [s]}\n  b: {SLEEP, secrets: [s]}\n  c: {SLEEP}\n\
         secrets: {s: {x-hoist: {command: [sh, ask]}}}\n",
    );
    let asked = || {
        let text = std::fs::read_to_string(hoist.dir().join("asked")).unwrap_or_default();
        let _ = std::fs::remove_file(hoist.dir().join("asked"));
        text.lines().count()
    };
    hoist.ok("up -d --dry-run");
    assert_eq!(asked(), 0, "a dry run asks");
    hoist.ok("up -d");
    assert_eq!(asked(), 1, "three containers of one up");
    assert_eq!(hoist.sh("b", "cat /run/secrets/s"), "one");
    let ids = || (hoist.id("b"), hoist.id("c"));
    let before = ids();
    for line in [
        "ps",
        "logs",
        "config",
        "top",
        "images",
        "stop -t 0",
        "start",
        "restart -t 0",
        "ls",
        "pull --ignore-pull-failures --policy missing",
    ] {
        hoist.ok(line);
        assert_eq!(asked(), 0, "{line} asks");
    }
    hoist.ok("up -d");
    assert_eq!((asked(), ids()), (1, before.clone()), "nothing has changed");
    hoist.file("value", "two\n");
    // What was not asked for counts as unchanged.
    hoist.ok("up -d --dry-run").says_nothing_of("Recreate");
    assert_eq!(asked(), 0);
    // A service that does not use it asks for nothing.
    hoist.ok("up -d c");
    assert_eq!(asked(), 0, "c needs no secret");
    hoist.ok("up -d");
    assert_eq!(asked(), 1);
    let now = ids();
    assert_ne!(now.0, before.0);
    assert_eq!(now.1, before.1);
    assert_eq!(hoist.sh("b", "cat /run/secrets/s"), "two");
    hoist.ok("down");
    assert_eq!(asked(), 0, "down asks");
}

fn a_program_has_the_users_terminal_and_loses_one_line_end() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, secrets: [s]}\n\
         secrets: {s: {x-hoist: {command: [sh, -c, 'echo passphrase? >&2; read x; printf \"%s\\n\\n\" \"$$x\"']}}}\n",
    );
    hoist.pipe("up -d", b"typed\n").ok().says("passphrase?");
    assert_eq!(hoist.exec("a", "cat /run/secrets/s").ok().out, "typed\n");
    hoist.ok("down");
    let mut up = hoist.on_terminal("up -d");
    up.says("passphrase?");
    up.types("by hand\n");
    assert_eq!(up.wait(), 0);
    assert_eq!(hoist.sh("a", "cat /run/secrets/s"), "by hand");
}

fn a_program_that_fails_is_an_error_at_its_place_and_nothing_is_made() {
    let hoist = Sandbox::new();
    for (command, why) in [
        (
            "[sh, -c, 'echo vault is sealed >&2; exit 3']",
            "vault is sealed",
        ),
        ("[sh, -c, 'exit 3']", "`sh` failed (exit status: 3)"),
        (
            "[no-such-program-5ce1]",
            "`no-such-program-5ce1` can't be run",
        ),
        ("./absent", "`./absent` can't be run"),
        ("['true']", "`true` printed nothing"),
    ] {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, secrets: [s]}}\nsecrets:\n  s:\n    x-hoist:\n      command: {command}\n"
        ));
        hoist
            .run("up -d")
            .code(1)
            .says(why)
            .says("compose.yaml:6")
            .says("the content of secret `s` can't be had");
        assert!(hoist.ps().is_empty(), "{command}");
    }
    for (command, why) in [
        ("''", "a command of one line"),
        ("{a: b}", "a command of one line"),
        ("[]", "a command of one line"),
    ] {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, secrets: [s]}}\nsecrets:\n  s:\n    x-hoist:\n      command: {command}\n"
        ));
        let done = hoist.run("up -d");
        assert!(
            done.code != 0 && done.err.contains(why) && done.err.contains("compose.yaml:6"),
            "{}",
            done.story()
        );
    }
    // One way to tell it, and not two.
    hoist.compose("services:\n  a: {SLEEP, secrets: [s]}\nsecrets:\n  s: {environment: PATH, x-hoist: {command: [id]}}\n");
    let done = hoist.run("up -d");
    assert!(
        done.code != 0 && done.err.contains("exclude each other"),
        "{}",
        done.story()
    );
    hoist.is_gone();
}

fn an_interrupt_ends_the_wait_for_a_program() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, secrets: [s]}\nsecrets: {s: {x-hoist: {command: [sh, -c, 'echo waiting >&2; exec sleep 3600']}}}\n",
    );
    let mut up = hoist.start("up -d");
    up.says("waiting");
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait(), 130);
    assert!(hoist.ps().is_empty());
    hoist.is_gone();
}

fn stores_and_templates_that_are_not_there_are_errors_at_their_places() {
    let hoist = Sandbox::new();
    for (kind, what, why) in [
        (
            "secrets",
            "external: true",
            "unsupported external secret `s`",
        ),
        (
            "configs",
            "external: true",
            "unsupported external config `s`",
        ),
        (
            "secrets",
            "external: {name: other}",
            "unsupported external secret `s`",
        ),
        (
            "secrets",
            "file: ./f\n    driver: vault\n    driver_opts: {a: b}",
            "driver `vault` of secret `s` is not available",
        ),
        (
            "secrets",
            "file: ./f\n    template_driver: golang",
            "template_driver `golang` of secret `s` is not available",
        ),
        (
            "configs",
            "file: ./f\n    template_driver: golang",
            "template_driver `golang` of config `s` is not available",
        ),
    ] {
        hoist.file("f", "x");
        let file = |used: bool| {
            let grant = if used {
                format!(", {kind}: [s]")
            } else {
                String::new()
            };
            format!("services:\n  a: {{SLEEP{grant}}}\n{kind}:\n  s:\n    {what}\n")
        };
        hoist.compose(&file(true));
        let line = if what.contains('\n') {
            "compose.yaml:6"
        } else {
            "compose.yaml:4"
        };
        hoist.run("up -d").code(1).says(why).says(line);
        assert!(hoist.ps().is_empty());
        // As Compose: nobody is kept from a project by what no service of it uses.
        hoist.compose(&file(false));
        hoist.ok("up -d");
        hoist.ok("down");
    }
}

fn names_and_labels_of_contents_are_declarations_that_change_no_file() {
    let hoist = Sandbox::new();
    hoist.file("f", "x");
    let file = |name: &str| {
        format!(
            "services:\n  a: {{SLEEP, secrets: [s], configs: [c]}}\nsecrets: {{s: {{file: ./f, name: {name}, labels: {{l: {name}}}}}}}\n\
             configs: {{c: {{file: ./f, name: {name}, labels: {{l: {name}}}}}}}\n"
        )
    };
    hoist.compose(&file("one"));
    hoist.ok("up -d");
    let id = hoist.id("a");
    hoist.compose(&file("two"));
    hoist.ok("up -d");
    assert_eq!(hoist.id("a"), id);
    assert_eq!(
        hoist.sh("a", "cat /run/secrets/s /c; ls /run/secrets"),
        "xxs"
    );
}
