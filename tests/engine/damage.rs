//! `down` in any state of damage: it takes away exactly what the project made, says nothing the second time, and `up`
//! works again.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use crate::harness::leftovers::children;
use crate::harness::process::{LIMIT, finish, kill_and_wait};
use crate::harness::{ENGINE, Need, Sandbox, eventually};

/// These look at links and rules with the host's own tools.
const TOOLS: &[Need] = &[
    Need::Root,
    Need::Busybox,
    Need::Program("ip"),
    Need::Program("nft"),
];

/// Cases that need the host's tools.
pub mod tools {
    use super::*;

    crate::cases!(TOOLS;
        links_and_rules_that_somebody_has_deleted_or_renamed,
        a_network_that_is_half_there_in_either_direction,
    );
}

crate::cases!(ENGINE;
    processes_that_were_killed_in_any_combination,
    everything_in_memory_is_gone_and_the_same_boot_goes_on,
    records_of_containers_that_are_lost_cut_short_or_garbage,
    records_of_networks_that_are_lost_cut_short_or_garbage,
    records_of_volumes_that_are_lost_cut_short_or_garbage,
    a_volume_whose_record_is_lost_keeps_its_files_until_down_v,
    names_leases_and_locks_that_are_lost_or_left,
    namespaces_groups_and_memory_that_somebody_has_taken_away,
    foreign_files_and_mounts_in_a_containers_directory,
    compose_files_that_are_gone_or_broken,
    what_another_project_uses_stays_until_it_is_down_too,
    an_interrupt_in_the_middle_of_up_and_of_down,
    a_removal_cut_short_gives_its_name_back,
);

const STORE: &str = "\
services:
  a: {SLEEP, volumes: ['data:/data', '/anonymous'], networks: [n], ports: ['127.0.0.1::80'], secrets: [s], restart: always}
  b: {SLEEP, networks: [n, default], depends_on: [a]}
volumes: {data: }
networks:
  n: {ipam: {config: [{subnet: NET.0/25}]}}
  default: {ipam: {config: [{subnet: NET.128/25}]}}
secrets: {s: {environment: SECRET}}
";

fn store() -> Sandbox {
    let hoist = Sandbox::new();
    hoist.set("SECRET", "x");
    // Other runs of these cases beside this one choose from the same pools at the same moment.
    let number: u32 = hoist.name[1..].parse().expect("a number");
    let net = format!("10.{}.{}", 100 + std::process::id() % 100, number % 250);
    hoist.compose(&STORE.replace("NET", &net));
    hoist
}

/// Both containers run, and find each other.
fn works(hoist: &Sandbox, when: &str) {
    let done = hoist.run("up -d");
    assert_eq!(done.code, 0, "{when}: {}", done.story());
    eventually(&format!("{when}: b finds a"), || {
        let done = hoist.exec("b", "ping -c1 -W2 a && nslookup a >/dev/null");
        (done.code == 0).then_some(())
    });
    assert_eq!(hoist.sh("a", "cat /run/secrets/s"), "x", "{when}");
}

/// `down -v` succeeds and leaves nothing, is silent the second time, and `up` works again.
fn goes(hoist: &Sandbox, what: &str) {
    let done = hoist.run("down -v -t 0");
    assert_eq!(done.code, 0, "down after {what}: {}", done.story());
    hoist.is_gone();
    let done = hoist.run("down -v -t 0");
    assert_eq!(done.code, 0, "second down after {what}: {}", done.story());
    works(hoist, what);
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}

/// A damage: its name, and what does it.
type Damage<'a> = (&'a str, &'a dyn Fn(&Sandbox));

/// One damage after another, each to a project that works.
fn damaged(damages: &[Damage<'_>]) {
    let hoist = store();
    for (what, damage) in damages {
        works(&hoist, &format!("before {what}"));
        hoist.notice();
        damage(&hoist);
        goes(&hoist, what);
    }
}

fn container(hoist: &Sandbox, service: &str) -> PathBuf {
    let id = hoist.id(service);
    let all = hoist.data().join("projects").join(&hoist.name);
    children(&all.join("containers"))
        .into_iter()
        .find(|dir| dir.to_string_lossy().contains(&id))
        .expect("its directory")
}

fn run_dir(hoist: &Sandbox, service: &str) -> PathBuf {
    let id = hoist.id(service);
    children(&hoist.run_root().join("containers"))
        .into_iter()
        .find(|dir| dir.to_string_lossy().contains(&id))
        .expect("its directory")
}

fn detach(path: &Path) {
    umount2(path, MntFlags::MNT_DETACH).expect("it is mounted");
}

/// What may become of a file; the last is its loss.
const SPOILED: [(&str, Option<&[u8]>); 5] = [
    ("empty", Some(b"")),
    ("cut short", Some(b"{\"version\":1,\"cre")),
    ("garbage", Some(b"\xff\x00garbage")),
    ("another thing", Some(b"[1,2]")),
    ("lost", None),
];

fn spoil(path: &Path, how: Option<&[u8]>) {
    match how {
        Some(bytes) => std::fs::write(path, bytes).expect("it can be written"),
        None => std::fs::remove_file(path).expect("it is there"),
    }
}

fn processes_that_were_killed_in_any_combination() {
    damaged(&[
        ("the end of a supervisor", &|hoist| {
            kill_and_wait(hoist.supervisor("a"));
        }),
        ("the end of all supervisors", &|hoist| {
            hoist.supervisors().into_iter().for_each(kill_and_wait);
        }),
        ("the end of a container's process", &|hoist| {
            kill_and_wait(hoist.init("a"));
        }),
        ("the end of a supervisor, then of its process", &|hoist| {
            let init = hoist.init("a");
            kill_and_wait(hoist.supervisor("a"));
            kill_and_wait(init);
        }),
        ("the end of everything", &|hoist| {
            let inits = [hoist.init("a"), hoist.init("b")];
            hoist.supervisors().into_iter().for_each(kill_and_wait);
            inits.into_iter().for_each(kill_and_wait);
        }),
    ]);
}

fn everything_in_memory_is_gone_and_the_same_boot_goes_on() {
    damaged(&[
        (
            "a loss of the run root and of the kernel's state",
            &|hoist| {
                hoist.wipe_kernel();
                std::fs::remove_dir_all(hoist.run_root()).expect("nothing is mounted there");
            },
        ),
        ("a loss of the run root alone", &|hoist| {
            hoist.supervisors().into_iter().for_each(kill_and_wait);
            // What is mounted there can't be removed by anybody.
            let _ = std::fs::remove_dir_all(hoist.run_root().join("containers"));
            let _ = std::fs::remove_dir_all(hoist.run_root().join("locks"));
        }),
    ]);
}

fn records_of_containers_that_are_lost_cut_short_or_garbage() {
    let hoist = store();
    for file in ["record.json", "state.json"] {
        for (what, how) in SPOILED {
            works(&hoist, &format!("before {file} is {what}"));
            hoist.notice();
            spoil(&container(&hoist, "a").join(file), how);
            goes(&hoist, &format!("{file} is {what}"));
        }
    }
}

fn records_of_networks_that_are_lost_cut_short_or_garbage() {
    let hoist = store();
    for file in ["network.json", "leases.json"] {
        for (what, how) in SPOILED {
            works(&hoist, &format!("before {file} is {what}"));
            hoist.notice();
            let network = format!("networks/{}_n", hoist.name);
            spoil(&hoist.data().join(network).join(file), how);
            goes(&hoist, &format!("{file} is {what}"));
        }
    }
}

fn records_of_volumes_that_are_lost_cut_short_or_garbage() {
    let hoist = store();
    for (what, how) in SPOILED {
        works(&hoist, &format!("before volume.json is {what}"));
        hoist.notice();
        for volume in hoist.volumes() {
            spoil(&volume.join("volume.json"), how);
        }
        goes(&hoist, &format!("volume.json is {what}"));
    }
}

fn a_volume_whose_record_is_lost_keeps_its_files_until_down_v() {
    let hoist = store();
    let volume = hoist.data().join(format!("volumes/{}_data", hoist.name));
    for (what, how) in SPOILED {
        works(&hoist, what);
        hoist.sh("a", &format!("echo '{what}' >> /data/kept"));
        hoist.ok("down -t 0");
        spoil(&volume.join("volume.json"), how);
        works(&hoist, &format!("volume.json is {what}"));
        assert!(
            hoist.sh("a", "cat /data/kept").ends_with(what),
            "{what}: its files are gone"
        );
        // It is the project's own again, and goes with it.
        hoist.ok("down -t 0");
        assert!(volume.join("_data/kept").exists(), "{what}");
    }
    hoist.ok("up -d");
    hoist.ok("down -v -t 0");
    hoist.is_gone();
    // One that is another project's is neither taken nor taken away.
    let other =
        "services:\n  o: {image: tiny, volumes: ['vol:/x']}\nvolumes: {vol: {name: shared}}\n";
    let file = hoist
        .file("other/compose.yaml", other)
        .display()
        .to_string();
    let other = |words: &[&str]| hoist.global(&[&["-p", "other", "-f", &file], words].concat());
    other(&["create"]).ok();
    let record = hoist.data().join("volumes/shared/volume.json");
    let whole = std::fs::read(&record).expect("it is there");
    spoil(&record, Some(b"garbage"));
    hoist.ok("down -v -t 0");
    assert!(record.exists(), "another project's volume was removed");
    std::fs::write(&record, whole).expect("it can be written");
    other(&["down", "-v"]).ok();
    hoist.is_gone();
}

fn links_and_rules_that_somebody_has_deleted_or_renamed() {
    let bridges = |hoist: &Sandbox| -> Vec<String> {
        let dirs = children(&hoist.data().join("networks"));
        let records = dirs
            .iter()
            .filter_map(|dir| std::fs::read(dir.join("network.json")).ok());
        let of = |bytes: Vec<u8>| {
            let record: serde_json::Value = serde_json::from_slice(&bytes).expect("it is JSON");
            record["bridge"].as_str().expect("a name").to_owned()
        };
        records.map(of).collect()
    };
    let ip = |words: &[&str]| {
        let done = Command::new("ip").args(words).output().expect("ip runs");
        assert!(done.status.success(), "ip {words:?}: {done:?}");
    };
    let cables = |bridge: &str| children(&Path::new("/sys/class/net").join(bridge).join("brif"));
    damaged(&[
        ("the loss of bridges", &|hoist| {
            bridges(hoist)
                .iter()
                .for_each(|name| ip(&["link", "delete", name]));
        }),
        ("the loss of cables", &|hoist| {
            for cable in bridges(hoist).iter().flat_map(|bridge| cables(bridge)) {
                let name = cable
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned();
                ip(&["link", "delete", &name]);
            }
        }),
        ("another name of a bridge", &|hoist| {
            let bridge = bridges(hoist).remove(0);
            let other = format!("hstx{}", std::process::id() % 100_000);
            ip(&["link", "set", &bridge, "down"]);
            ip(&["link", "set", &bridge, "name", &other]);
            hoist.expect_link(&other);
        }),
        ("the loss of tables", &|hoist| {
            for table in hoist.tables() {
                let words: Vec<&str> = table.split_whitespace().collect();
                let done = Command::new("nft").arg("delete").args(words).output();
                assert!(done.expect("nft runs").status.success(), "{table}");
            }
        }),
    ]);
}

fn a_network_that_is_half_there_in_either_direction() {
    let hoist = store();
    // A bridge, its rules, no record.
    works(&hoist, "a network without a record");
    hoist.notice();
    hoist.ok("stop -t 0");
    let networks = hoist.data().join("networks");
    for dir in children(&networks).iter().filter(|path| path.is_dir()) {
        std::fs::remove_dir_all(dir).expect("ours");
    }
    goes(&hoist, "networks whose directories are lost");
    // A record, no bridge.
    works(&hoist, "a record without a network");
    hoist.notice();
    hoist.wipe_kernel();
    goes(&hoist, "records without networks");
}

fn names_leases_and_locks_that_are_lost_or_left() {
    damaged(&[
        ("the loss of names", &|hoist| {
            for name in children(&hoist.data().join("names")) {
                std::fs::remove_file(name).expect("ours");
            }
        }),
        ("a lock of a process that is gone", &|hoist| {
            let locks = hoist.run_root().join("locks");
            std::fs::write(locks.join(format!("{}.lock", hoist.name)), "4194000").expect("ours");
        }),
        ("a lock of no process", &|hoist| {
            let locks = hoist.run_root().join("locks");
            std::fs::write(locks.join(format!("{}.lock", hoist.name)), "\u{0}?").expect("ours");
        }),
        ("the loss of sockets and locks", &|hoist| {
            for service in ["a", "b"] {
                for file in ["sock", "lock", "live.json"] {
                    let _ = std::fs::remove_file(run_dir(hoist, service).join(file));
                }
            }
        }),
        ("a name of a container that never was", &|hoist| {
            let name = hoist.data().join("names/ghost");
            let target = format!("{}/{}", hoist.name, "0".repeat(64));
            std::os::unix::fs::symlink(target, name).expect("ours");
            // Only a command that was killed leaves such a thing, and its lock.
            let locks = hoist.run_root().join("locks");
            std::fs::write(locks.join(format!("{}.lock", hoist.name)), "4194000").expect("ours");
        }),
    ]);
}

fn namespaces_groups_and_memory_that_somebody_has_taken_away() {
    damaged(&[
        ("the loss of a namespace's pin", &|hoist| {
            detach(&run_dir(hoist, "a").join("netns"));
        }),
        (
            "the loss of a namespace's pin and of the supervisor",
            &|hoist| {
                let dir = run_dir(hoist, "a");
                kill_and_wait(hoist.supervisor("a"));
                detach(&dir.join("netns"));
                std::fs::remove_file(dir.join("netns")).expect("it is mounted no more");
            },
        ),
        ("the loss of held contents", &|hoist| {
            for dir in children(&hoist.run_root().join("held")) {
                detach(&dir);
            }
        }),
        ("the loss of a control group", &|hoist| {
            let dirs = hoist.cgroups("a");
            let init = hoist.init("a");
            kill_and_wait(hoist.supervisor("a"));
            kill_and_wait(init);
            for dir in dirs {
                eventually("the group is empty", || std::fs::remove_dir(&dir).ok());
            }
        }),
    ]);
}

fn foreign_files_and_mounts_in_a_containers_directory() {
    damaged(&[
        ("files of somebody's", &|hoist| {
            let dir = container(hoist, "a");
            std::fs::create_dir_all(dir.join("upper/foreign/deep")).expect("ours");
            std::fs::write(dir.join("foreign"), "x").expect("ours");
            std::fs::write(dir.join("upper/foreign/deep/file"), "x").expect("ours");
            std::fs::write(run_dir(hoist, "a").join("foreign"), "x").expect("ours");
        }),
        (
            "a file that can't be changed nor removed by its mode",
            &|hoist| {
                hoist.sh(
                    "a",
                    "mkdir /locked; echo x > /locked/f; chmod 0 /locked/f; chmod 0 /locked",
                );
            },
        ),
        ("planted projects and containers", &|hoist| {
            let projects = hoist.data().join("projects");
            std::fs::create_dir_all(projects.join(&hoist.name).join("containers/.half"))
                .expect("ours");
        }),
    ]);
}

fn compose_files_that_are_gone_or_broken() {
    let hoist = store();
    let file = hoist.dir().join("compose.yaml");
    let text = std::fs::read(&file).expect("ours");
    for what in ["gone", "broken", "of another project", "with its directory"] {
        works(&hoist, what);
        hoist.notice();
        let mut command = hoist.command(&["-p", &hoist.name, "down", "-v", "-t", "0"]);
        match what {
            "gone" => std::fs::remove_file(&file).expect("ours"),
            "broken" => std::fs::write(&file, "services: [").expect("ours"),
            "of another project" => {
                std::fs::write(&file, "services: {z: {image: tiny}}").expect("ours");
            }
            _ => std::fs::remove_dir_all(hoist.dir()).expect("ours"),
        }
        match what {
            "of another project" => drop(command.arg("--remove-orphans")),
            "gone" => {}
            // From elsewhere, as the files are of no use.
            _ => drop(command.current_dir("/")),
        }
        for _ in 0..2 {
            let mut again = Command::new(command.get_program());
            again.args(command.get_args()).env_clear();
            again.envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            again.current_dir(command.get_current_dir().expect("it is set"));
            let done = finish(again, None, LIMIT);
            assert_eq!(done.code, 0, "{what}: {}", done.story());
            hoist.is_gone();
        }
        std::fs::create_dir_all(hoist.dir()).expect("ours");
        std::fs::write(&file, &text).expect("ours");
    }
    works(&hoist, "again");
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}

fn what_another_project_uses_stays_until_it_is_down_too() {
    let hoist = store();
    hoist.ok("up -d");
    let text = format!(
        "services:\n  o: {{image: tiny, command: sleep 3600, stop_signal: SIGKILL, networks: [s]}}\nnetworks: {{s: {{external: true, name: {}_n}}}}\n",
        hoist.name
    );
    let file = hoist.file("other/compose.yaml", text).display().to_string();
    let other = |words: &[&str]| hoist.global(&[&["-p", "other", "-f", &file], words].concat());
    for _ in 0..3 {
        hoist.ok("up -d");
        // At once: either the other is on the network and keeps it, or finds none and says so.
        let words = ["-p", &hoist.name, "down", "-v", "-t", "0"];
        let mut down = crate::harness::process::Running::start(hoist.command(&words));
        let up = other(&["up", "-d"]);
        assert_eq!(down.wait(), 0, "{}", down.text());
        hoist.notice();
        if up.code == 0 {
            let done = other(&["exec", "-T", "o", "ip", "route"]).ok();
            assert!(!done.out.trim().is_empty(), "it runs without its network");
        } else {
            assert!(up.err.contains("network"), "{}", up.story());
        }
        other(&["down", "-t", "0"]).ok();
        hoist.ok("down -v -t 0");
        hoist.is_gone();
    }
    hoist.ok("up -d");
    other(&["up", "-d"]).ok();
    hoist.ok("down -v -t 0").says("still in use");
    other(&["exec", "-T", "o", "ip", "route"]).ok();
    other(&["down", "-t", "0"]).ok();
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}

fn an_interrupt_in_the_middle_of_up_and_of_down() {
    let hoist = store();
    for word in ["Creating", "Starting", "Started", "Network"] {
        let mut up = hoist.start("up -d");
        up.says(word);
        // It may have ended by itself just now.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(up.pid()), Signal::SIGINT);
        let code = up.wait();
        assert!(code == 0 || code == 130, "{word}: {code}: {}", up.text());
        hoist.notice();
        goes(&hoist, &format!("an interrupt of up at {word}"));
    }
    for word in ["Stopping", "Removing", "Removed"] {
        works(&hoist, word);
        let mut down = hoist.start("down -v -t 0");
        down.says(word);
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(down.pid()), Signal::SIGINT);
        let code = down.wait();
        assert!(code == 0 || code == 130, "{word}: {code}: {}", down.text());
        goes(&hoist, &format!("an interrupt of down at {word}"));
    }
}

fn a_removal_cut_short_gives_its_name_back() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, container_name: special}\n");
    hoist.ok("create");
    let containers = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    let only = std::fs::read_dir(&containers).expect("there is one").next();
    let dir = only.expect("there is one").expect("it is listed");
    let hidden = format!(".{}", dir.file_name().to_string_lossy());
    let name = hoist.data().join("names/special");
    assert!(name.is_symlink());
    std::fs::rename(dir.path(), containers.join(hidden)).expect("ours");
    hoist.ok("down");
    assert!(!name.is_symlink(), "nobody has that name");
}
