//! `watch`: what a change on the host does in containers, and that nothing is missed.
//!
//! Words and owners were seen on docker compose 2.40.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::harness::{ENGINE, Running, Sandbox, eventually};

crate::cases!(ENGINE;
    a_saved_file_is_copied_whole_with_the_owner_mode_and_time_it_has_to_have,
    files_and_directories_that_come_move_and_go_do_so_in_the_container,
    an_editor_that_replaces_a_file_never_leaves_it_missing,
    what_is_ignored_is_left_alone,
    one_file_and_a_directory_that_goes_and_comes_back_are_followed,
    a_checkout_of_many_files_arrives_also_when_the_kernel_loses_its_hints,
    a_restart_is_of_that_service_alone_and_comes_after_the_files,
    a_command_runs_after_the_files_as_its_keys_say,
    a_rebuild_replaces_that_service_alone_and_a_failed_one_is_told,
    changes_during_a_build_start_one_more_afterwards,
    every_replica_and_later_ones_get_what_has_changed,
    a_container_that_does_not_run_gets_what_has_changed,
    files_newer_than_the_image_are_copied_at_the_start_where_that_is_asked_for,
    rules_that_cannot_be_are_refused_with_their_places,
    what_the_container_sees_already_is_not_copied,
    one_command_watches_a_project_and_others_work_beside_it,
    up_follows_files_between_the_lines_of_containers,
    a_read_only_root_is_told_and_watching_goes_on,
    a_process_outside_of_containers_waits_for_the_next_save_and_ends_with_watch,
);

/// A project whose service `a` is up and watched.
struct Watched {
    // It ends before its world is looked through.
    watch: Running,
    hoist: Sandbox,
}

impl Watched {
    /// `rules` are entries of `develop.watch`; `keys` are further ones of the service.
    fn new(keys: &str, rules: &str) -> Self {
        Self::of(Sandbox::new(), keys, rules)
    }
    fn of(hoist: Sandbox, keys: &str, rules: &str) -> Self {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, {keys} develop: {{watch: [{rules}]}}}}\n"
        ));
        fs::create_dir_all(hoist.dir().join("src")).expect("made");
        hoist.ok("up -d");
        let watch = begin(&hoist, "watch --no-up");
        Self { hoist, watch }
    }
    /// Where a path of the project is.
    fn at(&self, path: &str) -> PathBuf {
        self.hoist.dir().join(path)
    }
    /// A path as processes of the service `a` see it.
    fn inside(&self, path: &str) -> PathBuf {
        root(&self.hoist, "a").join(path)
    }
    fn shows(&self, path: &str, content: &str) {
        let path = self.inside(path);
        shows(&path, content);
    }
}

fn begin(hoist: &Sandbox, command: &str) -> Running {
    let watch = hoist.start(command);
    watch.says("Watch enabled");
    watch
}

/// The root of the process of a service's first container.
fn root(hoist: &Sandbox, service: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", hoist.init(service)))
}

fn shows(path: &std::path::Path, content: &str) {
    eventually(&format!("{} says {content:?}", path.display()), || {
        (fs::read_to_string(path).ok()? == content).then_some(())
    });
}

fn goes(path: &std::path::Path) {
    eventually(&format!("{} goes", path.display()), || {
        fs::symlink_metadata(path).is_err().then_some(())
    });
}

const SYNC: &str = "{path: ./src, action: sync, target: /app}";

fn a_saved_file_is_copied_whole_with_the_owner_mode_and_time_it_has_to_have() {
    let w = Watched::new("user: '1234:55',", SYNC);
    let file = w.hoist.file("src/new/f", "one");
    w.shows("app/new/f", "one");
    for path in ["app", "app/new", "app/new/f"] {
        let found = w.inside(path).metadata().expect("there");
        assert_eq!((found.uid(), found.gid()), (1234, 55), "{path}");
    }
    let (here, there) = (file.metadata().expect("here"), w.inside("app/new/f"));
    let there = there.metadata().expect("there");
    assert_eq!(
        (here.mode(), here.mtime(), here.mtime_nsec()),
        (there.mode(), there.mtime(), there.mtime_nsec())
    );
    w.watch
        .says("Syncing service \"a\" after 2 changes were detected");
    assert!(
        fs::read_dir(w.inside("app/new"))
            .expect("a directory")
            .all(|entry| entry.expect("an entry").file_name() == "f"),
        "something else was left"
    );
    w.hoist.ok("exec -T a sh -c 'echo mine > /app/new/mine'");
}

fn files_and_directories_that_come_move_and_go_do_so_in_the_container() {
    let w = Watched::new("", SYNC);
    // Made and filled at once.
    w.hoist.file("src/d/e/f", "f");
    w.hoist.file("src/d/g", "g");
    symlink("d/g", w.at("src/link")).expect("linked");
    w.shows("app/d/e/f", "f");
    w.shows("app/d/g", "g");
    eventually("the link is one", || {
        let link = fs::read_link(w.inside("app/link")).ok()?;
        (link.to_str() == Some("d/g")).then_some(())
    });
    fs::rename(w.at("src/d"), w.at("src/moved")).expect("moved");
    w.shows("app/moved/e/f", "f");
    goes(&w.inside("app/d"));
    // What lies in a directory that was moved is still followed.
    w.hoist.file("src/moved/e/f", "changed");
    w.shows("app/moved/e/f", "changed");
    fs::remove_file(w.at("src/link")).expect("removed");
    goes(&w.inside("app/link"));
    // A file in the place of a directory.
    fs::remove_dir_all(w.at("src/moved")).expect("removed");
    w.hoist.file("src/moved", "a file");
    w.shows("app/moved", "a file");
}

fn an_editor_that_replaces_a_file_never_leaves_it_missing() {
    let w = Watched::new("", SYNC);
    w.hoist.file("src/f", "0");
    w.shows("app/f", "0");
    let look = "n=0; while [ ! -e /stop ]; do [ -s /app/f ] || n=$((n+1)); done; echo missing $n";
    let look = w.hoist.start(&format!("exec -T a sh -c '{look}'"));
    for round in 1..=5 {
        let text = round.to_string();
        // As vim does with a backup, and as most others do.
        fs::rename(w.at("src/f"), w.at("src/f~")).expect("moved");
        w.hoist.file("src/f", &text);
        fs::remove_file(w.at("src/f~")).expect("removed");
        w.shows("app/f", &text);
        w.hoist.file("src/.f.tmp", format!("{text}{text}"));
        fs::rename(w.at("src/.f.tmp"), w.at("src/f")).expect("moved");
        w.shows("app/f", &format!("{text}{text}"));
    }
    w.hoist.sh("a", "touch /stop");
    look.says("missing 0");
    assert!(!w.inside("app/f~").exists());
}

fn what_is_ignored_is_left_alone() {
    let hoist = Sandbox::new();
    hoist.file(".dockerignore", "src/secret\n");
    hoist.file("Dockerfile", "FROM tiny\n");
    let rules = "{path: ./src, action: sync, target: /app, ignore: [node_modules/, '*.log'], include: ['**/*.py', 'node_modules', '*.log', secret]}";
    let w = Watched::of(hoist, "build: .,", rules);
    for path in [
        "src/node_modules/a.py",
        "src/x.log",
        "src/secret/a.py",
        "src/.git/a.py",
        "src/.a.py.swp",
        "src/4913",
        "src/a.rs",
    ] {
        w.hoist.file(path, "1");
    }
    w.hoist.file("src/d/last.py", "1");
    w.shows("app/d/last.py", "1");
    let found = w.hoist.sh("a", "cd /app; find . -type f");
    assert_eq!(found, "./d/last.py");
}

fn one_file_and_a_directory_that_goes_and_comes_back_are_followed() {
    let hoist = Sandbox::new();
    hoist.file("conf", "1");
    let rules = format!(
        "{SYNC}, {{path: ./conf, action: sync, target: /etc/my.conf}}, {{path: ./later/x, action: sync, target: /x}}"
    );
    let w = Watched::of(hoist, "", &rules);
    w.watch
        .says("later/x yet; it is watched as soon as there is");
    w.hoist.file("conf", "2");
    w.shows("etc/my.conf", "2");
    w.hoist.file("src/f", "1");
    w.shows("app/f", "1");
    fs::rename(w.at("src"), w.at("away")).expect("moved");
    goes(&w.inside("app/f"));
    w.hoist.file("src/g", "2");
    w.shows("app/g", "2");
    w.hoist.file("src/g", "3");
    w.shows("app/g", "3");
    w.hoist.file("later/x", "there");
    w.shows("x", "there");
    fs::remove_file(w.at("conf")).expect("removed");
    goes(&w.inside("etc/my.conf"));
    // What lies elsewhere now is nobody's.
    w.hoist.file("away/f", "9");
    w.hoist.file("conf", "3");
    w.shows("etc/my.conf", "3");
    assert!(!w.inside("app/f").exists());
}

fn a_checkout_of_many_files_arrives_also_when_the_kernel_loses_its_hints() {
    let w = Watched::new("", SYNC);
    let write = |text: &str| {
        for number in 0..600 {
            w.hoist
                .file(&format!("src/d{}/f{number}", number % 20), text);
        }
    };
    write("one");
    w.shows("app/d19/f599", "one");
    // The kernel's queue holds 16,384 events; while nobody reads them the rest is lost.
    w.watch.signal(Signal::SIGSTOP);
    for _ in 0..5000 {
        fs::rename(w.at("src/d1/f1"), w.at("src/moved")).expect("moved");
        fs::rename(w.at("src/moved"), w.at("src/d1/f1")).expect("moved");
    }
    write("three");
    fs::remove_file(w.at("src/d0/f0")).expect("removed");
    w.watch.signal(Signal::SIGCONT);
    goes(&w.inside("app/d0/f0"));
    eventually("all files are as they are here", || {
        let all = |number: u32| {
            let path = w.inside(&format!("app/d{}/f{number}", number % 20));
            fs::read_to_string(path).is_ok_and(|text| text == "three")
        };
        (1..600).all(all).then_some(())
    });
    assert!(!w.inside("app/moved").exists());
}

fn a_restart_is_of_that_service_alone_and_comes_after_the_files() {
    let hoist = Sandbox::new();
    hoist.file("conf", "1");
    hoist.file("soft", "1");
    hoist.compose(
        "services:
  a:
    image: tiny
    command: sh -c 'cat /conf > /started; sleep 3600'
    stop_signal: SIGKILL
    develop: {watch: [{path: conf, action: sync+restart, target: /conf}, {path: soft, action: restart}]}
  b: {SLEEP}
",
    );
    hoist.ok("up -d");
    let (id, other) = (hoist.id("a"), hoist.init("b"));
    let watch = begin(&hoist, "watch --no-up");
    hoist.file("conf", "2");
    watch.says("service(s) [\"a\"] restarted");
    eventually("it was started with the new file", || {
        let done = hoist.exec("a", "cat /started");
        (done.out == "2").then_some(())
    });
    let pid = hoist.init("a");
    hoist.file("soft", "2");
    eventually("it is restarted", || (hoist.init("a") != pid).then_some(()));
    assert_eq!((hoist.id("a"), hoist.init("b")), (id, other));
    // A file that is saved again after its restart gets there, too.
    hoist.file("conf", "3");
    eventually("it was started with the newest file", || {
        let done = hoist.exec("a", "cat /started");
        (done.out == "3").then_some(())
    });
}

fn a_command_runs_after_the_files_as_its_keys_say() {
    let w = Watched::new(
        "user: '0', working_dir: /,",
        "{path: ./src, action: sync+exec, target: /app, exec: {command: [sh, -c, 'echo got $$(cat /app/f) as $$(id -u) in $$PWD with $$V; [ $$(cat /app/f) != bad ]'], user: '7', working_dir: /app, environment: {V: var}}}",
    );
    w.hoist.file("src/f", "good");
    w.watch.says("got good as 7 in /app with var");
    w.hoist.file("src/f", "bad");
    w.watch.says("exited with status 1");
    w.hoist.file("src/f", "again");
    w.watch.says("got again as 7");
}

/// A service whose image is built, and one beside it.
fn built(prune: &str) -> (Sandbox, Running) {
    let hoist = Sandbox::new();
    hoist.file("req", "1");
    fs::create_dir_all(hoist.dir().join("src")).expect("made");
    hoist.file("Dockerfile", "FROM tiny\nCOPY req /req\n");
    hoist.compose(
        "services:
  a:
    build: .
    command: sleep 3600
    stop_signal: SIGKILL
    depends_on: [b]
    develop: {watch: [{path: req, action: rebuild}, {path: src, action: sync, target: /app}, {path: Dockerfile, action: rebuild}]}
  b: {SLEEP}
",
    );
    let watch = begin(&hoist, &format!("watch {prune}"));
    (hoist, watch)
}

fn images(hoist: &Sandbox) -> usize {
    let listed = hoist.global(&["image", "ls", "-q"]).ok().out;
    listed.lines().count()
}

fn a_rebuild_replaces_that_service_alone_and_a_failed_one_is_told() {
    let (hoist, watch) = built("");
    let (id, other, count) = (hoist.id("a"), hoist.init("b"), images(&hoist));
    hoist.file("src/f", "kept");
    shows(&root(&hoist, "a").join("app/f"), "kept");
    hoist.file("req", "2");
    watch.says("Rebuilding service(s) [\"a\"] after changes were detected...");
    watch.says("service(s) [\"a\"] successfully built");
    eventually("it is replaced", || {
        let done = hoist.exec("a", "cat /req");
        (done.out == "2").then_some(())
    });
    assert_ne!(hoist.id("a"), id);
    assert_eq!(hoist.init("b"), other, "the other one was touched");
    // What was copied into the container before is in this one, too, though no image has it.
    shows(&root(&hoist, "a").join("app/f"), "kept");
    eventually("the image of before goes", || {
        (images(&hoist) == count).then_some(())
    });
    let id = hoist.id("a");
    hoist.file("Dockerfile", "FROM tiny\nWRONG\n");
    watch.says("Build failed. Error: ").says("Dockerfile:2:1");
    assert_eq!(hoist.id("a"), id);
    hoist.file("src/f", "followed");
    shows(&root(&hoist, "a").join("app/f"), "followed");
    hoist.file("Dockerfile", "FROM tiny\nCOPY req /other\n");
    eventually("it is built again", || {
        let done = hoist.exec("a", "cat /other");
        (done.out == "2").then_some(())
    });
}

fn changes_during_a_build_start_one_more_afterwards() {
    let (hoist, watch) = built("--prune=false");
    let count = images(&hoist);
    let held = "FROM tiny\nCOPY req /req\nRUN while [ ! -e /hold/go ]; do sleep 0.05; done\n";
    let held = held.replace("RUN ", "RUN --mount=type=cache,target=/hold ");
    hoist.file("Dockerfile", held);
    watch.says("RUN --mount");
    for round in 2..6 {
        hoist.file("req", round.to_string());
        hoist.file("src/f", round.to_string());
        // Files are copied meanwhile.
        shows(&root(&hoist, "a").join("app/f"), &round.to_string());
    }
    hoist.file(
        "go/Dockerfile",
        "FROM tiny\nRUN --mount=type=cache,target=/hold touch /hold/go\n",
    );
    hoist
        .global(&[
            "image",
            "build",
            "-q",
            &hoist.dir().join("go").display().to_string(),
        ])
        .ok();
    eventually("the last change is built", || {
        let done = hoist.exec("a", "cat /req /app/f");
        (done.out == "55").then_some(())
    });
    let text = watch.text();
    assert_eq!(text.matches("Rebuilding service(s)").count(), 2, "{text}");
    assert!(images(&hoist) > count, "the image of before was to stay");
}

fn every_replica_and_later_ones_get_what_has_changed() {
    let w = Watched::new("scale: 2,", SYNC);
    w.hoist.file("src/f", "1");
    let all = |count: usize| {
        eventually("every container has the file", || {
            let has = |index: usize| {
                let done = w
                    .hoist
                    .run(&format!("exec -T --index {index} a cat /app/f"));
                done.out == "1"
            };
            (1..=count).all(has).then_some(())
        });
    };
    all(2);
    w.hoist.ok("up -d --scale a=3");
    all(3);
    w.hoist.ok("up -d --scale a=3 --force-recreate");
    all(3);
}

fn a_container_that_does_not_run_gets_what_has_changed() {
    let w = Watched::new("", SYNC);
    w.hoist.ok("stop");
    w.hoist.file("src/f", "late");
    eventually("the file is there", || {
        let done = w.hoist.run("cp a:/app/f got");
        (done.code == 0).then_some(())
    });
    w.hoist.ok("start");
    w.shows("app/f", "late");
    w.hoist.file("src/f", "later");
    w.shows("app/f", "later");
}

fn files_newer_than_the_image_are_copied_at_the_start_where_that_is_asked_for() {
    let hoist = Sandbox::new();
    hoist.file("src/new", "new");
    hoist.file("src/gone/x", "x");
    hoist.file("other/f", "f");
    let rules = "{path: ./src, action: sync, target: /app, initial_sync: true, ignore: [gone]}, {path: ./other, action: sync, target: /other}";
    let w = Watched::of(hoist, "", rules);
    w.shows("app/new", "new");
    assert!(!w.inside("app/gone").exists() && !w.inside("other").exists());
}

fn rules_that_cannot_be_are_refused_with_their_places() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    for command in ["watch", "up --watch", "watch --no-up a"] {
        hoist.run(command).code(1).says(
            "none of the selected services is configured for watch, consider setting a 'develop' section",
        );
    }
    hoist
        .run("watch nosuch")
        .code(1)
        .says("no such service: nosuch");
    hoist.compose(
        "services:
  a:
    SLEEP
    develop:
      watch:
        - {path: ., action: rebuild}
        - {path: ., action: sync+exec, target: /x}
        - {path: ., action: sync, target: /x, ignore: ['[']}
"
        .replace("SLEEP", "image: tiny")
        .as_str(),
    );
    hoist
        .run("watch")
        .code(1)
        .says("compose.yaml:6:11: services.a.develop.watch[0]")
        .says("can't watch service \"a\" with action rebuild without a build context")
        .says("compose.yaml:7:11: services.a.develop.watch[1]")
        .says("without a command")
        .says("compose.yaml:8:11: services.a.develop.watch[2]");
    assert_eq!(hoist.ps().len(), 0, "something was started");
    for (flags, words) in [
        ("-d", "--detach cannot be combined with"),
        ("--wait", "--wait cannot be combined with"),
        ("--no-build", "--no-build and --watch are incompatible"),
    ] {
        hoist
            .run(&format!("up --watch {flags}"))
            .code(1)
            .says(words);
    }
}

fn what_the_container_sees_already_is_not_copied() {
    let hoist = Sandbox::new();
    fs::create_dir_all(hoist.dir().join("src")).expect("made");
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, volumes: ['./src:/app'], develop: {{watch: [{SYNC}]}}}}\n"
    ));
    hoist
        .run("watch")
        .code(1)
        .says("also declared by a bind mount volume, this path won't be monitored!")
        .says("none of the selected services is configured for watch");
    // Into a volume files are copied like anywhere else.
    let w = Watched::new("volumes: ['/app'],", SYNC);
    w.hoist.file("src/f", "in the volume");
    w.shows("app/f", "in the volume");
}

fn one_command_watches_a_project_and_others_work_beside_it() {
    let mut w = Watched::new("", SYNC);
    w.hoist.run("watch --no-up").code(1).says(&format!(
        "cannot take exclusive lock for project \"{}\": process with PID {} is still running",
        w.hoist.name,
        w.watch.pid()
    ));
    w.hoist.ok("up -d");
    w.hoist.ok("restart");
    w.hoist.file("src/f", "after a restart");
    w.shows("app/f", "after a restart");
    w.watch.signal(Signal::SIGINT);
    assert_eq!(w.watch.wait(), 130);
    w.watch = begin(&w.hoist, "watch --no-up --quiet a");
    // Nobody else is left without his watch when one was killed.
    w.watch.signal(Signal::SIGKILL);
    w.watch.wait();
    w.watch = begin(&w.hoist, "watch --no-up");
    w.watch.signal(Signal::SIGTERM);
    assert_eq!(w.watch.wait(), 130);
    assert_eq!(w.hoist.state("a"), "running");
}

fn up_follows_files_between_the_lines_of_containers() {
    let hoist = Sandbox::new();
    hoist.file("conf", "1");
    hoist.compose(
        "services:
  a:
    image: tiny
    command: sh -c 'echo begins with $$(cat /conf); sleep 3600'
    stop_signal: SIGKILL
    develop: {watch: [{path: conf, action: sync+restart, target: /conf}]}
",
    );
    let mut up = begin(&hoist, "up --watch");
    hoist.file("conf", "2");
    up.says("⦿ Syncing service \"a\" after 1 changes were detected")
        .says("a-1  | begins with 2")
        .says("⦿ service(s) [\"a\"] restarted");
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait(), 130);
    assert_eq!(hoist.state("a"), "exited");
}

fn a_read_only_root_is_told_and_watching_goes_on() {
    let w = Watched::new(
        "read_only: true, tmpfs: [/tmp],",
        &format!("{SYNC}, {{path: ./tmp, action: sync, target: /tmp}}"),
    );
    w.hoist.file("src/f", "1");
    w.watch.says("container rootfs is marked read-only");
    w.hoist.file("tmp/f", "in memory");
    w.shows("tmp/f", "in memory");
}

/// Processes of hoist's own that a command has started to copy files.
fn copiers(command: i32) -> Vec<i32> {
    let all = fs::read_dir("/proc").expect("there").filter_map(Result::ok);
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (name, rest) = stat.rsplit_once(") ").unwrap_or_default();
        let mut rest = rest.split(' ');
        let ended = rest.next() == Some("Z");
        name.ends_with("(hoist-copy") && !ended && rest.next() == Some(&command.to_string())
    })
    .collect()
}

fn a_process_outside_of_containers_waits_for_the_next_save_and_ends_with_watch() {
    let w = Watched::new("", SYNC);
    let mine = fs::read_link("/proc/self/ns/mnt").expect("read");
    // Whoever has gone to a container does not come back: each save finds another one.
    let waiting = |last: i32| {
        eventually("another process waits outside of containers", || {
            let outside = |pid: &i32| {
                let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt"));
                *pid != last && namespace.is_ok_and(|namespace| namespace == mine)
            };
            copiers(w.watch.pid()).into_iter().find(outside)
        })
    };
    let mut last = 0;
    for turn in ["1", "2", "3"] {
        last = waiting(last);
        if turn == "2" {
            // Whoever ends it costs a moment and nothing else.
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(last), Signal::SIGKILL)
                .expect("killed");
        }
        w.hoist.file("src/f", turn);
        w.shows("app/f", turn);
    }
    let pid = waiting(last);
    w.watch.signal(Signal::SIGKILL);
    let gone = || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(());
    eventually("the process that waits ends with watch", gone);
}
