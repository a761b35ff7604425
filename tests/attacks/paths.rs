//! Attacks through names in the root file system, which is the image's and the container's to fill.

use std::time::{Duration, Instant};

use super::{Canary, Entry, evil, rounds};
use crate::harness::{ENGINE, Sandbox, slowness};

crate::cases!(ENGINE;
    an_image_whose_proc_or_sys_is_a_link_is_refused,
    a_mount_of_ones_own_over_proc_is_refused,
    an_image_whose_dev_is_a_link_makes_no_device_on_the_host,
    a_null_device_of_ones_own_does_not_become_a_mask,
    a_terminal_of_ones_own_does_not_become_the_console,
    links_exchanged_in_a_shared_volume_while_containers_start_lead_nowhere,
    mount_targets_that_are_links_are_followed_inside_only,
);

/// CVE-2019-19921, CVE-2023-27561, CVE-2025-52881 (runc): what the runtime wrote to `/proc` went to a file of the image.
fn an_image_whose_proc_or_sys_is_a_link_is_refused() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let outside = format!("../../../../../../../../..{}", canary.dir.display());
    for (name, to) in [
        ("proc", "tmp/fake"),
        ("proc", outside.as_str()),
        ("sys", "/tmp/fake"),
        ("sys", outside.as_str()),
    ] {
        evil(
            &hoist,
            &[
                Entry::Dir("tmp"),
                Entry::Dir("tmp/fake"),
                Entry::Dir("tmp/fake/self"),
                Entry::Dir("tmp/fake/self/attr"),
                Entry::File("tmp/fake/self/attr/exec", ""),
                Entry::Link(name, to),
            ],
        );
        hoist.compose("services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL, sysctls: {net.core.somaxconn: 77}}\n");
        let done = hoist.run("up -d");
        assert_eq!(done.code, 1, "{name} -> {to}: {}", done.story());
        done.says(&format!(
            "the image has something else than a directory at /{name}: refused"
        ));
        canary.sings();
    }
}

/// CVE-2019-16884, CVE-2023-28642, CVE-2025-52881 (runc): a volume over `/proc` hid the masks and took the label.
fn a_mount_of_ones_own_over_proc_is_refused() {
    let hoist = Sandbox::new();
    hoist.file("fake/self/attr/exec", "");
    for target in [
        "/proc",
        "/proc/",
        "/x/../proc",
        "/proc/self",
        "/proc/sys",
        "/proc/sys/kernel",
        "/proc/1/attr",
        "/proc/sysrq-trigger",
        "/link",
    ] {
        evil(&hoist, &[Entry::Link("link", "/proc/sys/kernel")]);
        for source in ["./fake", "named"] {
            hoist.compose(&format!(
                "services:\n  a: {{image: evil, command: sleep 3600, stop_signal: SIGKILL, volumes: ['{source}:{target}']}}\nvolumes: {{named: }}\n"
            ));
            let done = hoist.run("up -d");
            assert_eq!(done.code, 1, "{source} on {target}: {}", done.story());
        }
        hoist.compose(&format!(
            "services:\n  a: {{image: evil, command: sleep 3600, stop_signal: SIGKILL, tmpfs: '{target}'}}\n"
        ));
        let done = hoist.run("up -d");
        assert_eq!(done.code, 1, "tmpfs on {target}: {}", done.story());
    }
}

/// CVE-2026-41579 (runc), CVE-2026-47766 (crun): devices and links were made where `/dev` of the image led.
fn an_image_whose_dev_is_a_link_makes_no_device_on_the_host() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let up = "../../../../../../../../..";
    for to in [
        format!("{up}{}", canary.dir.display()),
        canary.dir.display().to_string(),
    ] {
        evil(&hoist, &[Entry::Link("dev", &to)]);
        hoist.compose("services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL, devices: ['/dev/null:/dev/x']}\n");
        hoist.run("up -d").code(1).says("/dev: refused");
        canary.sings();
        // A target below another link of the image.
        evil(&hoist, &[Entry::Link("over", &to)]);
        hoist.compose(
            "services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL, devices: ['/dev/null:/over/x'], working_dir: /over/w}\n",
        );
        hoist.run("up -d").ok();
        assert_eq!(
            hoist.sh("a", "test -c /over/x && test -d /over/w && pwd"),
            format!("{}/w", canary.dir.display())
        );
        canary.sings();
    }
}

/// CVE-2025-31133 (runc): `/dev/null` of the container was a link to a file of `/proc`, which then could be written.
fn a_null_device_of_ones_own_does_not_become_a_mask() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    evil(
        &hoist,
        &[
            Entry::Dir("dev"),
            Entry::Link("dev/null", "/proc/sys/kernel/core_pattern"),
            Entry::Dir("tmp"),
        ],
    );
    std::fs::create_dir(hoist.dir().join("dev")).expect("the project is writable");
    std::os::unix::fs::symlink(
        "/proc/sys/kernel/core_pattern",
        hoist.dir().join("dev/null"),
    )
    .expect("the project is writable");
    let pattern =
        || std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("there is one");
    let before = pattern();
    hoist.compose(
        "services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL}\n  \
         v: {image: evil, command: sleep 3600, stop_signal: SIGKILL, volumes: ['./dev:/dev']}\n",
    );
    hoist.ok("up -d");
    for service in ["a", "v"] {
        for file in ["/proc/keys", "/proc/timer_list", "/proc/interrupts"] {
            let line = format!("[ ! -e {file} ] || stat -c '%t %T' {file}");
            let device = hoist.sh(service, &line);
            assert!(
                ["", "1 3"].contains(&device.as_str()),
                "{service}: {file} is {device}"
            );
            // Swallowed by the null device, or refused by AppArmor where the kernel has it.
            hoist
                .exec(
                    service,
                    &format!("echo '|/evil' > {file}; test ! -s {file}"),
                )
                .ok();
        }
        let attack = "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /dev/null; do echo '|/evil' > $f; done 2>/dev/null; true";
        hoist.exec(service, attack).ok();
        hoist.ok(&format!("restart -t 0 {service}"));
    }
    assert_eq!(pattern(), before, "a parameter of the host was changed");
    canary.sings();
}

/// CVE-2025-52565 (runc): `/dev/pts/N` was a link by the time it was put on `/dev/console`.
fn a_terminal_of_ones_own_does_not_become_the_console() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    std::fs::create_dir(hoist.dir().join("pts")).expect("the project is writable");
    for (name, to) in [
        ("ptmx", "/proc/sysrq-trigger"),
        ("0", "/proc/sysrq-trigger"),
        ("1", &canary.song()),
    ] {
        std::os::unix::fs::symlink(to, hoist.dir().join("pts").join(name))
            .expect("the project is writable");
    }
    hoist.compose("services:\n  a: {SLEEP, tty: true, volumes: ['./pts:/dev/pts']}\n");
    hoist.run("up -d").code(1).says("terminal");
    // A container that may mount puts its own things there while it runs.
    hoist.compose(
        "services:\n  a: {SLEEP, tty: true, privileged: true, volumes: ['./pts:/evil']}\n  b: {SLEEP, tty: true}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("b", "stat -c %t /dev/console"),
        "88",
        "the console is no terminal"
    );
    hoist.exec("a", "mount -o bind /evil /dev/pts").ok();
    let terminal = hoist.on_terminal("exec a sh -c 'echo on $(tty)'");
    assert_ne!(terminal.end(), 0);
    canary.sings();
}

/// CVE-2021-30465, CVE-2024-45310 (runc): a directory of a shared volume became a link between the look and the mount.
fn links_exchanged_in_a_shared_volume_while_containers_start_lead_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let up = format!(
        "../../../../../../../../../../../..{}",
        canary.dir.display()
    );
    // The exchange is two renames: sometimes there is a directory, sometimes a link, sometimes nothing.
    let swap = format!(
        "cd /v; mkdir -p d; ln -sfn {up} l; ln -sfn / r; while :; do mv -T d x; mv -T l d; mv -T d l; mv -T r d; mv -T d r; mv -T x d; done 2>/dev/null"
    );
    hoist.compose(&format!(
        "services:\n  swap: {{image: tiny, command: [sh, -c, \"{swap}\"], volumes: ['shared:/v'], stop_signal: SIGKILL}}\n  \
         hit: {{image: tiny, volumes: ['shared:/v', 'other:/v/d/made/deep', './compose.yaml:/v/d/file'], tmpfs: /v/d/memory, working_dir: /v/d/place, \
         devices: ['/dev/null:/v/d/device'], profiles: [hit]}}\nvolumes: {{shared: , other: }}\n"
    ));
    hoist.ok("up -d");
    let before = std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
    let end = Instant::now() + Duration::from_secs(20) * slowness();
    let mut tried = 0;
    // As many as the time allows, and some on the slowest machine.
    while tried < rounds(250) && (tried * slowness() < 20 || Instant::now() < end) {
        let done = hoist.run(&format!(
            "run --rm -T hit sh -c 'grep -rs sings {}; touch /v/d/made/deep/x'",
            canary.dir.display()
        ));
        // A directory of that name may be there, made in the container's own root by way of the link.
        assert!(
            !done.out.contains("canary sings"),
            "the host is seen: {}",
            done.story()
        );
        tried += 1;
        canary.sings();
    }
    let after = std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
    let overlays = |text: &str| {
        text.lines()
            .filter(|line| line.contains("/canary") || line.contains("/made/deep"))
            .count()
    };
    assert_eq!(overlays(&before), overlays(&after));
    for name in ["made", "memory", "place", "device"] {
        assert!(
            !std::path::Path::new("/").join(name).exists(),
            "/{name} was made on the host"
        );
    }
    canary.sings();
}

/// Links of the image in the way of a mount: the target is what they mean inside.
fn mount_targets_that_are_links_are_followed_inside_only() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let up = format!("../../../../../../../..{}", canary.dir.display());
    evil(
        &hoist,
        &[
            Entry::Link("etc", &up),
            Entry::Link("data", "/../../../../../../etc/data"),
            Entry::Link("loop", "loop"),
            Entry::Link("chain", "chain2"),
            Entry::Link("chain2", &up),
        ],
    );
    hoist.file("d/f", "mounted\n");
    hoist.compose(
        "services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL, volumes: ['./d:/data', './d:/chain/below']}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("a", "cat /data/f /chain/below/f; ls -d /etc/hosts"),
        "mounted\nmounted\n/etc/hosts"
    );
    canary.sings();
    hoist.compose("services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL, volumes: ['./d:/loop/x']}\n");
    assert_eq!(hoist.run("up -d").code, 1);
    canary.sings();
}
