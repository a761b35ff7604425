//! Attacks on hoist's own binary, which runs for a moment inside each container, and for long as its init.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Entry, evil};
use crate::harness::{ENGINE, Sandbox, hoist as binary};

crate::cases!(ENGINE;
    an_interpreter_that_is_proc_self_exe_and_writes_to_it_do_not_change_the_binary,
    an_init_process_of_ours_cannot_be_read_traced_or_overwritten,
);

/// Content, length and times of the binary.
fn binary_as_it_is() -> (u64, u64, std::time::SystemTime) {
    let content = std::fs::read(binary()).expect("the binary can be read");
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let meta = std::fs::metadata(binary()).expect("the binary is there");
    let changed = meta.modified().expect("files have times");
    (hasher.finish(), meta.len(), changed)
}

/// Opens each process's program for writing, as long as it is told to. A text that says `wrote` is a success of the attack.
const WRITER: &str = "#!/bin/sh\n\
    # dd opens what it writes to without cutting it off; the size tells hoist from busybox.\n\
    while :; do for p in /proc/[0-9]*; do\n\
      [ \"$(readlink $p/exe)\" = /bin/busybox ] && continue\n\
      [ -r $p/exe ] && echo met >> /met\n\
      dd if=/dev/zero of=$p/exe bs=1 count=1 conv=notrunc 2>/dev/null && echo wrote >> /hits\n\
      (exec 7<$p/exe; sleep 0.02; dd if=/dev/zero of=/proc/self/fd/7 bs=1 count=1 conv=notrunc 2>/dev/null && echo wrote >> /hits)\n\
    done 2>/dev/null; done\n";

/// CVE-2019-5736 (runc): a container made the runtime execute itself inside, and overwrote it through `/proc/PID/exe`.
fn an_interpreter_that_is_proc_self_exe_and_writes_to_it_do_not_change_the_binary() {
    let hoist = Sandbox::new();
    let before = binary_as_it_is();
    let script = "#!/proc/self/exe\n";
    evil(
        &hoist,
        &[
            Entry::File("entry", script),
            Entry::File("writer", WRITER),
            Entry::Link("loader", "/proc/self/exe"),
        ],
    );
    // With every right that a container can be given the binary must stay as it is.
    hoist.compose(
        "services:\n  w: {image: evil, command: /writer, cap_add: [SYS_PTRACE], stop_signal: SIGKILL}\n  \
         p: {image: evil, command: /writer, privileged: true, stop_signal: SIGKILL}\n  \
         e: {image: evil, entrypoint: /entry, pid: 'service:w', stop_signal: SIGKILL, profiles: [e]}\n",
    );
    hoist.ok("up -d");
    for service in ["w", "p"] {
        // The interpreter is our own binary then: it runs, and knows no command of that name.
        for program in ["/entry", "/loader"] {
            for _ in 0..15 {
                let done = hoist.run(&format!("exec -T {service} {program}"));
                assert_ne!(done.code, 0, "{}", done.story());
            }
        }
        let hits = "[ ! -e /hits ] || cat /hits";
        assert_eq!(
            hoist.sh(service, hits),
            "",
            "the binary was opened for writing"
        );
    }
    for _ in 0..10 {
        assert_ne!(hoist.run("run --rm --no-deps -T e").code, 0);
    }
    // The attack is one: at least the writers have seen a program that is not busybox.
    assert!(
        hoist.exec("p", "grep -q met /met").code == 0,
        "no attack was made"
    );
    assert!(binary_as_it_is() == before, "the binary has changed");
}

/// CVE-2019-5736, CVE-2016-9962 (runc): PID 1 of `init: true` is our code.
fn an_init_process_of_ours_cannot_be_read_traced_or_overwritten() {
    let hoist = Sandbox::new();
    let before = binary_as_it_is();
    hoist.compose(
        "services:\n  a: {SLEEP, init: true}\n  t: {SLEEP, init: true, cap_add: [SYS_PTRACE]}\n  p: {SLEEP, init: true, privileged: true}\n",
    );
    hoist.ok("up -d");
    for line in [
        "cat /proc/1/exe > /dev/null",
        "readlink /proc/1/cwd",
        "cat /proc/1/maps",
        "cat /proc/1/environ",
        "echo x > /proc/1/exe",
    ] {
        assert_ne!(hoist.exec("a", line).code, 0, "{line}");
    }
    for service in ["t", "p"] {
        // It has nothing that could be taken from it.
        assert_eq!(
            hoist.sh(service, "ls /proc/1/fd/ | wc -l"),
            "0",
            "{service}"
        );
        assert_eq!(
            hoist.sh(service, "readlink /proc/1/root; readlink /proc/1/cwd"),
            "/\n/",
            "{service}"
        );
        for line in [
            "dd if=/dev/zero of=/proc/1/exe bs=1 count=1 conv=notrunc",
            "exec 7</proc/1/exe; kill -9 1; dd if=/dev/zero of=/proc/self/fd/7 bs=1 count=1 conv=notrunc",
            "mount -o remount,rw /proc/1/exe",
        ] {
            assert_ne!(hoist.exec(service, line).code, 0, "{service}: {line}");
        }
    }
    assert!(binary_as_it_is() == before, "the binary has changed");
}
