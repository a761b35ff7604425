//! Attacks through what a process has open, or had for a moment.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::{Canary, Entry, evil};
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_working_directory_that_is_a_descriptor_leads_nowhere,
    no_process_of_a_container_has_a_descriptor_of_the_host,
    a_process_that_traces_finds_nothing_of_the_host_while_another_is_entering,
    a_change_of_a_masked_file_or_of_the_empty_input_does_not_reach_the_host,
    a_command_gets_no_file_or_directory_that_the_callers_shell_has_opened,
);

/// CVE-2024-21626 (runc): `WORKDIR /proc/self/fd/7` was a directory of the host that had been left open.
fn a_working_directory_that_is_a_descriptor_leads_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    evil(
        &hoist,
        &[
            Entry::Link("seven", "/proc/self/fd/7"),
            Entry::Link("nine", "/proc/self/fd/9/../../.."),
        ],
    );
    hoist.compose("services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL}\n");
    hoist.ok("up -d");
    let song = canary.song();
    let places = (0..40).map(|number| format!("/proc/self/fd/{number}"));
    let further = [
        "/seven",
        "/nine",
        "/proc/1/fd/7",
        "/proc/self/cwd/../..",
        "/proc/thread-self/fd/8",
    ];
    for place in places.chain(further.map(str::to_owned)) {
        for command in ["run --rm -T", "exec -T"] {
            let attack = format!(
                "for up in . .. ../.. ../../.. ../../../../../..; do cat $up{song} && echo reached; done"
            );
            let done = hoist.run(&format!("{command} -w {place} a sh -c '{attack}'"));
            assert!(
                !done.out.contains("reached"),
                "{command} {place}: {}",
                done.story()
            );
            if place.starts_with("/proc/self/fd/") {
                assert_ne!(done.code, 0, "{command} {place}: {}", done.story());
            }
        }
    }
    canary.sings();
}

/// Everything that is open, by what it is, in all processes that a shell sees.
const LIST: &str =
    "for p in /proc/[0-9]*; do for f in $p/fd/*; do readlink $f; done; done 2>/dev/null | sort -u";

/// The descriptors of [`LIST`] that are neither the container's own nor its streams.
fn foreign(list: &str) -> Vec<&str> {
    let known = |line: &&str| {
        let own = [
            "pipe:[",
            "/dev/null",
            "/dev/pts/",
            "/dev/console",
            "/proc/",
            "/dev/ptmx",
        ];
        own.iter().any(|start| line.starts_with(start))
            || line.ends_with("/stdout")
            || line.ends_with("/stderr")
            || line.ends_with("/stdin")
            || [
                "",
                "/probed",
                "/built",
                "/hooked",
                "/tmp/list",
                "/seen",
                "/dev/tty",
                "/etc/passwd",
                "/etc/group",
            ]
            .contains(line)
    };
    list.lines()
        .map(str::trim)
        .filter(|line| !known(line))
        .collect()
}

/// CVE-2024-21626, CVE-2016-9962 (runc): whatever a process of a container has open must be the container's.
fn no_process_of_a_container_has_a_descriptor_of_the_host() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", format!("FROM tiny\nRUN {LIST} > /built\n"));
    let list = LIST.replace('$', "$$");
    hoist.compose(&format!(
        "services:\n  a: {{build: ., command: sleep 3600, stop_signal: SIGKILL, init: true, cap_add: [SYS_PTRACE], healthcheck: {{test: \
         '{list} > /probed', interval: 1s, start_interval: 100ms, start_period: 60s}}, post_start: [{{command: [sh, -c, '{list} > /hooked']}}]}}\n  t: {{SLEEP, tty: true}}\n  s: {{SLEEP, \
         stdin_open: true}}\n  h: {{SLEEP, network_mode: host, pid: host}}\n",
    ));
    hoist.ok("up -d --build");
    for service in ["a", "t", "s"] {
        let list = hoist.sh(service, LIST);
        assert_eq!(foreign(&list), [""; 0], "{service}");
        let directories = "for f in /proc/1/fd/* /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; do test ! -d $f || echo $f; done";
        assert_eq!(hoist.sh(service, directories), "", "{service}");
    }
    let probed = eventually("a probe has run", || {
        let text = hoist.exec("a", "cat /probed").out;
        (!text.is_empty()).then_some(text)
    });
    assert_eq!(foreign(&probed), [""; 0], "of a probe");
    assert_eq!(foreign(&hoist.sh("a", "cat /hooked")), [""; 0], "of a hook");
    assert_eq!(
        foreign(&hoist.sh("a", "cat /built")),
        [""; 0],
        "of a build step"
    );
    let mut terminal = hoist.on_terminal("exec t sh");
    terminal.types(&format!("{LIST} > /tmp/list; echo do''ne\n"));
    terminal.says("done");
    terminal.types("exit\n");
    assert_eq!(terminal.end(), 0);
    assert_eq!(
        foreign(&hoist.sh("t", "cat /tmp/list")),
        [""; 0],
        "on a terminal"
    );
    // The host's processes are seen there; the container's own have nothing of theirs.
    let own = "for f in /proc/self/fd/*; do readlink $f; done; true";
    assert_eq!(
        foreign(&hoist.sh("h", own)),
        [""; 0],
        "beside the host's processes"
    );
}

/// CVE-2016-9962 (runc): while a process enters, one inside that may trace looked through its descriptors and its root.
fn a_process_that_traces_finds_nothing_of_the_host_while_another_is_entering() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let look = format!(
        "while :; do for p in /proc/[0-9]*; do [ $p = /proc/$$$$ ] && continue; \
         [ -e $$p/root{song} ] && echo root >> /found; [ -e $$p/cwd{song} ] && echo cwd >> /found; \
         for f in $$p/fd/*; do l=$$(readlink $$f) && echo $$l >> /seen; [ -d $$f ] && [ -e $$f/../../../../../../../..{song} ] && echo dir >> /found; \
         [ -e $$f/self ] && [ -e $$f/sys ] && echo proc >> /found; done; \
         done 2>/dev/null; done",
        song = canary.song(),
    );
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: [sh, -c, \"{look}\"], cap_add: [SYS_PTRACE], stop_signal: SIGKILL}}\n  \
         d: {{image: tiny, command: [sh, -c, \"{look}\"], stop_signal: SIGKILL}}\n",
    ));
    hoist.ok("up -d");
    for service in ["a", "d"] {
        for _ in 0..40 {
            hoist.exec(service, "true").ok();
        }
        assert_eq!(
            hoist.sh(service, "cat /found 2>/dev/null; true"),
            "",
            "{service}"
        );
        let seen = hoist.sh(
            service,
            "grep -v -e '^socket:' -e '^anon_inode:' -e '^/$' /seen | sort -u",
        );
        assert_eq!(foreign(&seen), [""; 0], "{service}");
        assert_ne!(
            hoist.sh(service, "wc -l < /seen"),
            "0",
            "{service}: no attack was made"
        );
    }
    canary.sings();
}

/// A masked file is a null device: its inode must not be the host's to change, nor that of an input that is empty.
fn a_change_of_a_masked_file_or_of_the_empty_input_does_not_reach_the_host() {
    struct Restore(u32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // Only a host that was hit needs it.
            let _ = std::fs::set_permissions("/dev/null", std::fs::Permissions::from_mode(self.0));
        }
    }
    let hoist = Sandbox::new();
    let meta = std::fs::metadata("/dev/null").expect("there is one");
    let _restore = Restore(meta.mode() & 0o7777);
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN chmod 667 /proc/self/fd/0; chmod 667 /proc/timer_list /proc/keys; true\n",
    );
    hoist.compose(
        "services:\n  a: {build: ., command: sleep 3600, stop_signal: SIGKILL, devices: ['/dev/null:/dev/mine']}\n  \
         v: {SLEEP, volumes: ['dev:/dev'], devices: ['/dev/null:/dev/null']}\n  p: {SLEEP, privileged: true}\nvolumes: {dev: }\n",
    );
    hoist.ok("up -d --build");
    let files = "/proc/1/fd/0 /proc/self/fd/0 /proc/keys /proc/timer_list /proc/interrupts /proc/kcore /proc/sched_debug /dev/null /dev/mine";
    for service in ["a", "v", "p"] {
        let attack = format!(
            "for f in {files}; do chmod 667 $f; chown 7:7 $f; touch -d @5 $f; done 2>/dev/null; true"
        );
        hoist.exec(service, &attack).ok();
    }
    hoist.ok("exec -d a sh -c 'chmod 667 /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2'");
    hoist.ok("run --rm -T a sh -c 'chmod 667 /proc/self/fd/0; true'");
    let after = std::fs::metadata("/dev/null").expect("there is one");
    let of = |meta: &std::fs::Metadata| (meta.mode(), meta.uid(), meta.gid(), meta.mtime() == 5);
    assert_eq!(of(&after), of(&meta));
}

/// CVE-2024-21626 (runc), of what the caller hands over: a directory as standard input would be a way out.
fn a_command_gets_no_file_or_directory_that_the_callers_shell_has_opened() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let run = |line: &str, input: std::fs::File| {
        let mut command = hoist.command(&["-p", &hoist.name, "exec", "-T", "a", "sh", "-c", line]);
        let file =
            std::fs::File::create(hoist.dir().join("errors")).expect("the project is writable");
        // Standard error is a file of the host, too.
        let done = command
            .stdin(input)
            .stderr(file)
            .output()
            .expect("hoist runs");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let dir = std::fs::File::open(&canary.dir).expect("there is one");
    assert_eq!(run("cd /proc/self/fd/0 && ls && cat song", dir), "");
    let file = || std::fs::File::open(canary.dir.join("song")).expect("there is one");
    assert_eq!(run("cat", file()), "the canary sings\n");
    // Descriptors are pipes: what they lead to is not the file.
    assert_eq!(
        run(
            "exec 7<>/proc/self/fd/2; dd if=/dev/zero of=/proc/self/fd/2 conv=notrunc bs=1 count=0; chmod 777 /proc/self/fd/0; readlink /proc/self/fd/0 | cut -d: -f1",
            file()
        ),
        "pipe\n"
    );
    let mode = std::fs::metadata(canary.dir.join("song"))
        .expect("there is one")
        .mode();
    assert_eq!(mode & 0o111, 0, "the mode of a file outside was changed");
    canary.sings();
}
