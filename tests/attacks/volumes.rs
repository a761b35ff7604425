//! Attacks through volumes: their content is the containers' to make, and several may share one.

use std::time::{Duration, Instant};

use super::{Canary, rounds};
use crate::harness::{ENGINE, Sandbox, slowness};

crate::cases!(ENGINE;
    links_exchanged_in_a_volume_while_a_part_of_it_is_mounted_show_nothing_of_the_host,
    a_volume_whose_directory_was_replaced_by_a_link_is_refused,
    links_in_a_volume_are_not_followed_when_it_is_removed_or_filled,
    a_missing_source_below_a_volume_of_another_changes_no_owner_on_the_host,
);

/// CVE-2021-30465, CVE-2024-45310 (runc) as it would be for subpaths: what is checked must be what is mounted.
fn links_exchanged_in_a_volume_while_a_part_of_it_is_mounted_show_nothing_of_the_host() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let outside = canary.dir.display();
    let up = format!("../../../../../../../../../../../..{outside}");
    let swap = format!(
        "cd /v; mkdir -p d/e; echo mine > d/e/f; mkdir t; ln -s {up} t/l; ln -s {outside} t/m; while :; do mv -T d x; mv -T t/l d; mv -T d t/l; \
         mv -T t/m d; mv -T d t/m; mv -T x d; mv -T d/e d/y; ln -s {up} d/e; rm d/e; mv -T d/y d/e; done 2>/dev/null"
    );
    let part = |at: &str, path: &str| {
        format!(
            "{{type: volume, source: shared, target: {at}, volume: {{subpath: {path}, nocopy: true}}}}"
        )
    };
    hoist.compose(&format!(
        "services:\n  swap: {{image: tiny, command: [sh, -c, \"{swap}\"], volumes: ['shared:/v'], stop_signal: SIGKILL}}\n  \
         hit: {{image: tiny, volumes: [{}, {}], profiles: [hit]}}\nvolumes: {{shared: }}\n",
        part("/a", "d"),
        part("/b", "d/e")
    ));
    hoist.ok("up -d");
    let end = Instant::now() + Duration::from_secs(20) * slowness();
    let mut tried = 0;
    // As many as the time allows, and some on the slowest machine.
    while tried < rounds(250) && (tried * slowness() < 20 || Instant::now() < end) {
        let done =
            hoist.run("run --rm -T hit sh -c 'ls /a /b; cat /a/song /b/song; touch /a/new /b/new'");
        assert!(
            !done.all().contains("sings"),
            "the host is seen: {}",
            done.story()
        );
        let refused = ["leads out of volume", "to mount: make it first"];
        if refused.iter().any(|why| done.all().contains(why)) {
            assert_ne!(done.code, 0);
        }
        tried += 1;
        canary.sings();
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
    let data = hoist.data().display().to_string();
    let ours = |line: &&str| line.contains(&data) || line.contains(&outside.to_string());
    assert_eq!(mounts.lines().find(ours), None);
    canary.sings();
}

/// A volume path that is a link to the host's `/etc`: whoever could write beside volumes once must gain nothing by it.
fn a_volume_whose_directory_was_replaced_by_a_link_is_refused() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.compose("services:\n  a: {SLEEP, volumes: ['vv:/v']}\nvolumes: {vv: }\n");
    hoist.ok("up -d");
    hoist.ok("stop -t 0");
    let volume = hoist.data().join(format!("volumes/{}_vv", hoist.name));
    std::fs::remove_dir_all(volume.join("_data")).expect("it is there");
    std::os::unix::fs::symlink(&canary.dir, volume.join("_data")).expect("it is writable");
    hoist.run("start").code(1).says("refused");
    hoist.run("up -d --force-recreate").code(1).says("refused");
    hoist.ok("down -v -t 0");
    assert!(!volume.exists());
    canary.sings();
}

/// Links, devices and modes that a container leaves in a volume are its own affair.
fn links_in_a_volume_are_not_followed_when_it_is_removed_or_filled() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let outside = canary.dir.display();
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['vv:/v', 'ww:/seed']}\nvolumes: {vv: , ww: }\n",
    );
    hoist.ok("up -d");
    hoist.sh(
        "a",
        &format!("cd /v; ln -s {outside} out; ln -s {outside}/song song; mkdir -p deep/er; ln -s {outside} deep/er/out; chmod 0 deep; mkfifo pipe; mknod null c 1 3"),
    );
    // A copy that was cut short finds a link where the image has a file.
    hoist.sh(
        "a",
        &format!(
            "rm /seed/grain; ln -s {}/song /seed/grain",
            canary.dir.display()
        ),
    );
    let marker = hoist
        .data()
        .join(format!("volumes/{}_ww/filling", hoist.name));
    std::fs::write(&marker, "/seed").expect("it is writable");
    hoist.ok("up -d --force-recreate");
    assert_eq!(
        hoist.sh("a", "test ! -L /seed/grain && cat /seed/grain"),
        "from the image"
    );
    canary.sings();
    hoist.ok("down -v -t 0");
    hoist.is_gone();
    canary.sings();
}

/// A missing source is made for the service's user: whoever may write above must not get the owner of other files changed.
fn a_missing_source_below_a_volume_of_another_changes_no_owner_on_the_host() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.file("shared/f", "");
    let outside = canary.dir.display();
    let swap = format!(
        "cd /v; while :; do rm -rf d; mkdir d; rm -rf d; ln -s {outside} d; done 2>/dev/null"
    );
    hoist.compose(&format!(
        "services:\n  swap: {{image: tiny, command: [sh, -c, \"{swap}\"], volumes: ['./shared:/v'], stop_signal: SIGKILL}}\n  \
         hit: {{image: tiny, command: 'true', user: '1000', volumes: ['./shared/d/e:/d'], profiles: [hit]}}\n"
    ));
    hoist.ok("up -d");
    let end = Instant::now() + Duration::from_secs(10) * slowness();
    let mut tried = 0;
    while tried < rounds(100) && Instant::now() < end {
        let _ = hoist.run("run --rm -T hit");
        tried += 1;
        use std::os::unix::fs::MetadataExt as _;
        let meta = canary.dir.metadata().expect("it is there");
        assert_eq!((meta.uid(), meta.gid()), (0, 0), "the owner was changed");
        // Docker, too, makes what is missing where a link of the host's leads: its place is the user's to choose.
        let _ = std::fs::remove_dir(canary.dir.join("e"));
    }
    hoist.ok("down -t 0");
    canary.sings();
}
