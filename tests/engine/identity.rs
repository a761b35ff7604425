//! What a process in a container is and may do: identity, privileges, limits.

use std::path::PathBuf;

use crate::harness::{ENGINE, Sandbox, eventually, leftovers::children};

crate::cases!(ENGINE;
    user_directory_environment_and_host_name_are_as_asked,
    environment_files_and_the_environment_of_the_image_are_combined,
    capabilities_are_dockers_default_set_and_can_be_changed,
    the_seccomp_profile_is_in_force_and_can_be_switched_off,
    kernel_files_are_masked_and_read_only,
    a_process_starts_with_three_descriptors_and_nothing_else,
    init_reaps_and_forwards_signals,
    limits_are_in_the_cgroup_files,
    a_process_over_its_memory_limit_is_killed_and_that_is_told,
    too_many_processes_are_refused,
    system_settings_and_ulimits_are_those_of_the_container,
    devices_are_the_default_ones_and_those_asked_for,
    the_host_is_not_visible,
);

fn user_directory_environment_and_host_name_are_as_asked() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, user: 'app', working_dir: /var/new, hostname: box, environment: {A: one, EMPTY: ''}}\n  n: {SLEEP, \
         user: '12:34', group_add: ['56']}\n  d: {SLEEP}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh(
            "a",
            "id -u; id -g; id -G; pwd; hostname; echo $A; echo ${EMPTY-unset}; echo $HOME"
        ),
        "1000\n1000\n1000 1001\n/var/new\nbox\none\n\n/home/app"
    );
    assert_eq!(hoist.sh("n", "id -u; id -g; id -G"), "12\n34\n34 56");
    assert_eq!(hoist.sh("d", "hostname"), hoist.id("d")[..12]);
    hoist.compose("services:\n  a: {SLEEP, user: nosuchuser}\n");
    hoist.run("up -d").code(1).says("nosuchuser");
}

fn environment_files_and_the_environment_of_the_image_are_combined() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nENV IMAGE=image A=image\n");
    hoist.file("one.env", "A=file\nB=file\nQUOTED=\"two words\"\n");
    hoist.set("FROM_SHELL", "shell");
    hoist.compose(
        "services:\n  a: {build: ., command: sleep 3600, stop_signal: SIGKILL, env_file: one.env, environment: [B=service, FROM_SHELL, \
         UNKNOWN]}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh(
            "a",
            "echo $IMAGE $A $B $FROM_SHELL $QUOTED ${UNKNOWN-unset}"
        ),
        "image file service shell two words unset"
    );
}

fn capabilities_are_dockers_default_set_and_can_be_changed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  d: {SLEEP}\n  u: {SLEEP, user: app}\n  a: {SLEEP, cap_add: [NET_ADMIN]}\n  x: {SLEEP, cap_drop: [ALL], cap_add: \
         [CHOWN]}\n  p: {SLEEP, privileged: true}\n  n: {SLEEP, security_opt: ['no-new-privileges:true']}\n",
    );
    hoist.ok("up -d");
    let status = |service: &str, key: &str| {
        hoist.sh(
            service,
            &format!("awk '/^{key}:/{{print $2}}' /proc/1/status"),
        )
    };
    for key in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status("d", key), "00000000a80425fb", "{key}");
    }
    for key in ["CapInh", "CapAmb"] {
        assert_eq!(status("d", key), "0000000000000000", "{key}");
    }
    assert_eq!(
        (status("u", "CapEff"), status("u", "CapBnd")),
        ("0000000000000000".into(), "00000000a80425fb".into())
    );
    assert_eq!(status("a", "CapBnd"), "00000000a80435fb");
    assert_eq!(status("x", "CapEff"), "0000000000000001");
    let all = u64::from_str_radix(&status("p", "CapEff"), 16).expect("a number");
    assert!(all & 1 << 21 != 0, "privileged has no SYS_ADMIN");
    assert_eq!(
        (status("n", "NoNewPrivs"), status("d", "NoNewPrivs")),
        ("1".into(), "0".into())
    );
    assert_eq!(
        hoist.sh("d", "awk '/^CapEff:/{print $2}' /proc/self/status"),
        "00000000a80425fb",
        "of exec"
    );
}

fn the_seccomp_profile_is_in_force_and_can_be_switched_off() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  d: {SLEEP}\n  u: {SLEEP, security_opt: ['seccomp:unconfined']}\n  p: {SLEEP, privileged: true}\n");
    hoist.ok("up -d");
    let mode = |service: &str| hoist.sh(service, "awk '/^Seccomp:/{print $2}' /proc/1/status");
    assert_eq!(
        (mode("d"), mode("u"), mode("p")),
        ("2".into(), "0".into(), "0".into())
    );
    assert_eq!(
        hoist.sh("d", "awk '/^Seccomp:/{print $2}' /proc/self/status"),
        "2",
        "of exec"
    );
    hoist.exec("d", "unshare -U true").code(1);
    hoist.exec("d", "mount -t tmpfs none /tmp").code(1);
}

fn kernel_files_are_masked_and_read_only() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    for line in [
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "mkdir /sys/x",
        "echo 1 > /sys/kernel/uevent_helper",
    ] {
        assert_ne!(hoist.exec("a", line).code, 0, "{line}");
    }
    let empty = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug; do [ ! -e $f ] || head -c1 $f 2>/dev/null; done; \
                 ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : | tr -d '\\n'";
    assert_eq!(hoist.sh("a", empty), "");
}

fn a_process_starts_with_three_descriptors_and_nothing_else() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  i: {SLEEP, init: true}\n");
    hoist.ok("up -d");
    let open: Vec<_> = children(&PathBuf::from(format!("/proc/{}/fd", hoist.init("a"))));
    let names: Vec<_> = open
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(names, ["0", "1", "2"]);
    // The third is the directory that `ls` lists.
    let line = "ls -l /proc/self/fd | awk 'NR > 1 {print $9}' | tr '\\n' ' '";
    assert_eq!(hoist.sh("a", line), "0 1 2 3");
}

fn init_reaps_and_forwards_signals() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, init: true, command: [sh, -c, \"trap 'echo stopped; exit 3' TERM; (sleep 0.1 &); echo ready; while :; \
         do sleep 0.1; done\"]}\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "ready");
    assert_ne!(hoist.sh("a", "cat /proc/1/comm"), "sh");
    eventually("no zombie is left", || {
        (hoist.sh("a", "grep -l 'State:.Z' /proc/[0-9]*/status | wc -l") == "0").then_some(())
    });
    hoist.ok("stop");
    assert_eq!(hoist.exit_code("a"), 3);
    hoist.logged("a", "stopped");
}

fn limits_are_in_the_cgroup_files() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, mem_limit: 48m, cpus: 0.5, pids_limit: 50, cpu_shares: 512}\n  b: {SLEEP, deploy: {resources: {limits: \
         {memory: 32M, cpus: '0.25', pids: 20}}}}\n",
    );
    hoist.ok("up -d");
    for (service, memory, share, pids) in [("a", 48 << 20, 0.5, "50"), ("b", 32 << 20, 0.25, "20")]
    {
        let bytes = hoist.cgroup_file(service, &["memory.max", "memory.limit_in_bytes"]);
        assert_eq!(bytes.parse::<u64>(), Ok(memory), "{service}");
        assert_eq!(hoist.cgroup_file(service, &["pids.max"]), pids, "{service}");
        let dirs = hoist.cgroups(service);
        let cpu = if dirs.iter().any(|dir| dir.join("cpu.max").exists()) {
            hoist.cgroup_file(service, &["cpu.max"])
        } else {
            let part = |name| hoist.cgroup_file(service, &[name]);
            format!("{} {}", part("cpu.cfs_quota_us"), part("cpu.cfs_period_us"))
        };
        let (quota, period) = cpu.split_once(' ').expect("a quota and a period");
        let (quota, period): (f64, f64) = (
            quota.parse().expect("a number"),
            period.parse().expect("a number"),
        );
        assert!((quota / period - share).abs() < 1e-9, "{service}: {cpu}");
    }
    let shares = hoist.cgroup_file("a", &["cpu.weight", "cpu.shares"]);
    assert!(
        shares == "512" || shares.parse::<u32>().is_ok_and(|weight| weight < 100),
        "{shares}"
    );
}

fn a_process_over_its_memory_limit_is_killed_and_that_is_told() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, mem_limit: 16m, memswap_limit: 16m, command: tail /dev/zero}\n");
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    assert_eq!(hoist.exit_code("a"), 137);
}

fn too_many_processes_are_refused() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, pids_limit: 10}\n");
    hoist.ok("up -d");
    hoist
        .exec(
            "a",
            "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait",
        )
        .says("fork");
}

fn system_settings_and_ulimits_are_those_of_the_container() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, sysctls: {net.core.somaxconn: 77}, ulimits: {nofile: {soft: 123, hard: 456}}, shm_size: 8m, oom_score_adj: \
         321}\n",
    );
    hoist.ok("up -d");
    let line = "cat /proc/sys/net/core/somaxconn; awk '/Max open files/{print $4, $5}' /proc/1/limits; cat /proc/1/oom_score_adj; \
                df -k /dev/shm | awk 'END{print $2}'";
    assert_eq!(hoist.sh("a", line), "77\n123 456\n321\n8192");
}

fn devices_are_the_default_ones_and_those_asked_for() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, devices: ['/dev/null:/dev/mynull', '/dev/zero:/dev/z:r']}\n",
    );
    hoist.ok("up -d");
    let line = "for d in null zero full random urandom tty mynull z; do test -c /dev/$d || echo missing $d; done; echo x > /dev/mynull; \
                head -c2 /dev/z | wc -c; test -d /dev/pts && test -d /dev/shm && readlink /dev/stdin";
    assert_eq!(hoist.sh("a", line), "2\n/proc/self/fd/0");
    // The device controller refuses what is not on the list, whatever node is made for it.
    assert_ne!(
        hoist
            .exec("a", "mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg")
            .code,
        0
    );
}

fn the_host_is_not_visible() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let process = hoist.init("a");
    for kind in ["mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        let link =
            |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        assert_ne!(link(&process.to_string()), link("self"), "{kind}");
    }
    assert_eq!(
        hoist.sh(
            "a",
            "ls /proc | grep -c '^[0-9]' | awk '$1 < 8 {print \"few\"}'"
        ),
        "few"
    );
    let mounts = hoist.sh("a", "cat /proc/self/mountinfo");
    let upper = mounts
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/"))
        .count();
    assert_eq!(upper, 1, "{mounts}");
    assert!(
        !mounts.contains("/.old") && !mounts.contains("put_old"),
        "{mounts}"
    );
}
