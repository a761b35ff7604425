//! `snapshot`: copies of volumes that are whole, at one moment, and come back whole.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_snapshot_brings_back_what_was_in_a_volume_as_it_was,
    containers_that_use_the_volumes_are_stopped_meanwhile_and_no_others,
    down_keeps_snapshots_and_a_volume_that_is_gone_is_made_anew,
    a_snapshot_goes_into_a_project_of_another_name_by_the_key_of_its_volume,
    one_volume_of_several_is_saved_and_restored,
    snapshots_are_listed_named_and_removed,
    a_snapshot_that_is_killed_leaves_volumes_whole_and_containers_come_back,
    a_restore_that_is_killed_leaves_the_old_or_the_new_and_never_a_half,
    what_would_be_done_is_shown_and_a_question_is_asked,
    frozen_containers_go_on_where_they_were,
    no_container_stays_frozen_when_a_copy_fails_or_is_killed,
    sockets_are_left_out_with_a_word,
);

const DB: &str = "services:\n  db: {SLEEP, volumes: ['data:/data']}\n  web: {SLEEP}\nvolumes: {data: , more: }\n";

fn project() -> Sandbox {
    let hoist = Sandbox::new();
    hoist.compose(DB);
    hoist.ok("up -d");
    hoist
}

/// Where a volume's files are.
fn files(hoist: &Sandbox, key: &str) -> PathBuf {
    hoist
        .data()
        .join(format!("volumes/{}_{key}/_data", hoist.name))
}

fn names(hoist: &Sandbox) -> Vec<String> {
    hoist
        .ok("snapshot ls -q")
        .out
        .lines()
        .map(str::to_owned)
        .collect()
}

fn a_snapshot_brings_back_what_was_in_a_volume_as_it_was() {
    let hoist = project();
    hoist.sh(
        "db",
        "cd /data && echo old > a && ln a hard && ln -s a soft && mkfifo pipe && mkdir -m 750 d && echo x > d/y && chown 12:34 d/y \
         && touch -t 200001020304 d/y && truncate -s 50000000 holes && echo end >> holes && chmod 4711 a",
    );
    let dir = files(&hoist, "data");
    let seen = |path: &str| {
        let about = dir.join(path).symlink_metadata().expect("it is there");
        (
            about.mode(),
            about.uid(),
            about.gid(),
            about.size(),
            about.mtime(),
            about.nlink(),
        )
    };
    let all = ["a", "hard", "soft", "d", "d/y", "holes"];
    let before: Vec<_> = all.iter().map(|path| seen(path)).collect();
    assert_eq!(hoist.ok("snapshot save first").out, "first\n");
    hoist.sh(
        "db",
        "cd /data && rm -rf d holes pipe && echo new > a && echo more > b",
    );
    hoist.ok("snapshot restore --yes first");
    let after: Vec<_> = all.iter().map(|path| seen(path)).collect();
    assert_eq!(after, before);
    assert_eq!(
        hoist.sh("db", "cat /data/a /data/hard /data/d/y"),
        "old\nold\nx"
    );
    assert!(!dir.join("b").exists());
    let about = |path: &str| dir.join(path).symlink_metadata().expect("it is there");
    assert_eq!(about("a").ino(), about("hard").ino());
    assert!(about("pipe").file_type().is_fifo());
    assert!(
        about("holes").blocks() * 512 < 10_000_000,
        "holes were filled"
    );
}

fn containers_that_use_the_volumes_are_stopped_meanwhile_and_no_others() {
    let hoist = project();
    let (db, web) = (hoist.init("db"), hoist.init("web"));
    hoist
        .ok("snapshot save --stop a")
        .says("db-1")
        .says_nothing_of("web-1");
    assert_eq!(hoist.init("web"), web);
    assert_ne!(hoist.init("db"), db);
    assert_eq!(hoist.state("db"), "running");
    // One that is down stays down.
    hoist.ok("stop db");
    hoist.ok("snapshot save b");
    hoist.ok("snapshot restore -y b");
    assert_eq!(hoist.state("db"), "exited");
}

fn down_keeps_snapshots_and_a_volume_that_is_gone_is_made_anew() {
    let hoist = project();
    hoist.sh("db", "echo kept > /data/x");
    hoist.ok("snapshot save s");
    hoist.ok("down -v").says("snapshots are kept: s");
    assert!(!files(&hoist, "data").exists());
    hoist.ok("snapshot restore --yes s");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("db", "cat /data/x"), "kept");
    // Nothing that clears up takes them.
    hoist.global(&["system", "prune", "--all", "--force"]).ok();
    assert_eq!(names(&hoist), ["s"]);
}

fn a_snapshot_goes_into_a_project_of_another_name_by_the_key_of_its_volume() {
    let hoist = project();
    hoist.sh("db", "echo from > /data/x");
    hoist.ok("snapshot save s");
    let other = format!("{}x", hoist.name);
    let run = |words: &[&str]| hoist.global(&[&["-p", &other], words].concat());
    run(&["up", "-d"]).ok();
    run(&["snapshot", "restore", "--yes", "s"])
        .code(1)
        .says("no snapshot `s`");
    run(&["snapshot", "restore", "--yes", "--from", &hoist.name, "s"]).ok();
    let text = run(&["exec", "-T", "db", "cat", "/data/x"]).ok().out;
    assert_eq!(text, "from\n");
    run(&["down", "-v"]).ok();
}

fn one_volume_of_several_is_saved_and_restored() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services: {a: {SLEEP, volumes: ['one:/one', 'two:/two']}}\nvolumes: {one: , two: }\n",
    );
    hoist.ok("up -d");
    hoist.sh("a", "echo old > /one/x; echo old > /two/x");
    hoist.ok("snapshot save --volume one part");
    hoist.ok("snapshot save whole");
    hoist.sh("a", "echo new > /one/x; echo new > /two/x");
    hoist.ok("snapshot restore -y part");
    assert_eq!(hoist.sh("a", "cat /one/x /two/x"), "old\nnew");
    hoist.ok("snapshot restore -y --volume two whole");
    assert_eq!(hoist.sh("a", "cat /one/x /two/x"), "old\nold");
    hoist
        .run("snapshot save --volume none x")
        .code(1)
        .says("no such volume: none")
        .says("one, two");
    hoist
        .run("snapshot restore -y --volume two part")
        .code(1)
        .says("has no volume two");
}

fn snapshots_are_listed_named_and_removed() {
    let hoist = project();
    hoist.sh("db", "echo 12345 > /data/x");
    hoist.ok("snapshot save -m 'before the migration' a");
    let second = hoist.ok("snapshot save").out.trim().to_owned();
    assert_eq!(second.len(), "20261122-201500".len(), "{second}");
    hoist
        .ok("snapshot ls")
        .says("NAME")
        .says("before the migration")
        .says("6B");
    let list: Value =
        serde_json::from_str(&hoist.ok("snapshot ls --format json").out).expect("JSON");
    assert_eq!(list[0]["Name"], "a");
    assert_eq!(list[0]["Comment"], "before the migration");
    assert_eq!(list[0]["Size"], 6);
    assert_eq!(list[0]["Volumes"][0]["Key"], "data");
    hoist
        .run("snapshot save a")
        .code(1)
        .says("has a snapshot `a` already");
    for name in ["../x", ".x", "a/b", "", "-x"] {
        hoist
            .run(&format!("snapshot save -- '{name}'"))
            .code(1)
            .says("invalid snapshot name");
    }
    hoist
        .run("snapshot rm a nosuch")
        .code(1)
        .says("no snapshot `nosuch`");
    assert_eq!(names(&hoist), ["a", second.as_str()]);
    hoist.ok(&format!("snapshot rm a {second}"));
    assert_eq!(names(&hoist), Vec::<String>::new());
    hoist
        .run("snapshot restore -y a")
        .code(1)
        .says("no snapshot `a`");
}

/// The sum over all files, as the container sees them.
fn sum(hoist: &Sandbox) -> String {
    hoist.sh(
        "db",
        "cd /data && find . -type f | sort | xargs cat | md5sum",
    )
}

fn fill(hoist: &Sandbox, what: &str) {
    let line = format!(
        "cd /data && for i in $(seq 300); do echo {what} $i > f$i; done; dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' {what} > big"
    );
    hoist.sh("db", &line);
}

/// Starts a command and kills it after a while, whatever it does by then.
fn killed(hoist: &Sandbox, arguments: &str, millis: u64) {
    let running = hoist.start(arguments);
    std::thread::sleep(Duration::from_millis(millis));
    running.signal(Signal::SIGKILL);
    running.end();
}

fn a_snapshot_that_is_killed_leaves_volumes_whole_and_containers_come_back() {
    let hoist = project();
    fill(&hoist, "a");
    let want = sum(&hoist);
    for (number, millis) in [5, 30, 60, 100, 150, 220].into_iter().enumerate() {
        killed(&hoist, &format!("snapshot save k{number}"), millis);
        // What has a name is whole.
        for name in names(&hoist) {
            assert!(store(&hoist).join(&name).join("snapshot.json").exists());
        }
    }
    hoist.ok("snapshot save last");
    assert_eq!(hoist.state("db"), "running");
    assert_eq!(sum(&hoist), want);
    let left: Vec<_> = std::fs::read_dir(store(&hoist))
        .expect("a directory")
        .flatten()
        .collect();
    let hidden = left
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "{left:?}");
    for name in names(&hoist) {
        hoist.sh("db", "rm /data/*");
        hoist.ok(&format!("snapshot restore -y {name}"));
        assert_eq!(sum(&hoist), want, "{name}");
    }
}

fn store(hoist: &Sandbox) -> PathBuf {
    hoist.data().join("snapshots").join(Path::new(&hoist.name))
}

fn a_restore_that_is_killed_leaves_the_old_or_the_new_and_never_a_half() {
    let hoist = project();
    fill(&hoist, "a");
    let (old, mut both) = (sum(&hoist), Vec::new());
    hoist.ok("snapshot save s");
    fill(&hoist, "b");
    both.extend([old, sum(&hoist)]);
    for millis in [20, 50, 90, 130, 180] {
        killed(&hoist, "snapshot restore -y s", millis);
        hoist.ok("start db");
        let now = sum(&hoist);
        assert!(both.contains(&now), "after {millis} ms: {now}");
    }
    hoist.ok("snapshot restore -y s");
    assert_eq!(sum(&hoist), both[0]);
    let volumes = hoist.volumes();
    let hidden = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'))
    };
    hoist.ok("ps");
    assert!(volumes.iter().filter(hidden).count() <= 5, "{volumes:?}");
}

fn what_would_be_done_is_shown_and_a_question_is_asked() {
    let hoist = project();
    hoist.sh("db", "echo old > /data/x");
    let init = hoist.init("db");
    hoist
        .ok("snapshot save --dry-run s")
        .says("copy volume")
        .says("db-1");
    assert_eq!(names(&hoist), Vec::<String>::new());
    hoist.ok("snapshot save s");
    hoist.sh("db", "echo new > /data/x");
    hoist
        .ok("snapshot restore --dry-run s")
        .says("replace what is in");
    hoist
        .pipe("snapshot restore s", b"n\n")
        .code(1)
        .says("[y/N]")
        .says("nothing was restored");
    assert_eq!(hoist.sh("db", "cat /data/x"), "new");
    hoist.pipe("snapshot restore s", b"y\n").ok();
    assert_eq!(hoist.sh("db", "cat /data/x"), "old");
    hoist.ok("snapshot rm --dry-run s");
    assert_eq!(names(&hoist), ["s"]);
    assert_ne!(hoist.init("db"), init);
}

fn frozen_containers_go_on_where_they_were() {
    let hoist = project();
    hoist.sh("db", "echo old > /data/x");
    let (db, web) = (hoist.init("db"), hoist.init("web"));
    hoist
        .ok("snapshot save --dry-run --pause s")
        .says("pause and unpause container");
    hoist
        .ok("snapshot save --pause s")
        .says("Paused")
        .says("Unpaused")
        .says_nothing_of("web-1");
    assert_eq!((hoist.init("db"), hoist.init("web")), (db, web));
    assert_eq!(hoist.state("db"), "running");
    let list: Value =
        serde_json::from_str(&hoist.ok("snapshot ls --format json").out).expect("JSON");
    assert_eq!(list[0]["Containers"], "paused");
    hoist.sh("db", "echo new > /data/x");
    hoist.ok("snapshot restore --yes s");
    assert_eq!(hoist.sh("db", "cat /data/x"), "old");
    // One that was frozen before stays so.
    hoist.ok("pause db");
    hoist.ok("snapshot save --pause t");
    assert_eq!(hoist.state("db"), "paused");
    hoist.ok("unpause db");
    hoist
        .run("snapshot save --pause --stop u")
        .code(1)
        .says("cannot be used with");
}

fn no_container_stays_frozen_when_a_copy_fails_or_is_killed() {
    let hoist = Sandbox::new();
    let elsewhere = hoist.dir().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    hoist.compose(&format!(
        "services:\n  db: {{SLEEP, volumes: ['data:/data', 'far:/far']}}\nvolumes:\n  data:\n  \
         far: {{driver_opts: {{type: none, o: bind, device: {}}}}}\n",
        elsewhere.display()
    ));
    hoist.ok("up -d");
    fill(&hoist, "a");
    let db = hoist.init("db");
    hoist
        .run("snapshot save --pause s")
        .code(1)
        .says(&format!("{}_far", hoist.name));
    assert_eq!(hoist.state("db"), "running");
    assert_eq!(names(&hoist), Vec::<String>::new());
    // Killed at any moment, the next one lets it go on.
    for (number, millis) in [20, 40, 60, 80, 110].into_iter().enumerate() {
        let line = format!("snapshot save --pause --volume data k{number}");
        killed(&hoist, &line, millis);
    }
    hoist.ok("snapshot save --pause --volume data last");
    assert_eq!(hoist.state("db"), "running");
    assert_eq!(hoist.init("db"), db);
}

fn sockets_are_left_out_with_a_word() {
    use nix::sys::stat::{Mode, SFlag, mknod};
    let hoist = project();
    hoist.sh("db", "mkdir /data/run && echo kept > /data/x");
    let dir = files(&hoist, "data");
    mknod(&dir.join("run/db.sock"), SFlag::S_IFSOCK, Mode::S_IRWXU, 0).expect("a socket");
    hoist
        .ok("snapshot save s")
        .says("left out")
        .says("run/db.sock");
    hoist.ok("snapshot restore --yes s");
    assert_eq!(
        hoist.sh("db", "ls /data /data/run"),
        "/data:\nrun\nx\n\n/data/run:"
    );
    hoist.ok("snapshot save none").says_nothing_of("left out");
}
