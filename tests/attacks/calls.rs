//! Attacks through system calls: each gate of the filter is tried from inside, with a program that makes any call.
#![cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "numbers of calls are those of x86-64")
)]

use super::{PROBE, probe};
use crate::harness::Sandbox;

crate::cases!(PROBE;
    the_kernels_cryptography_is_out_of_reach_in_each_way_to_make_a_socket,
    calls_that_no_capability_opens_stay_closed,
    each_call_behind_a_capability_opens_with_it_and_only_with_it,
    calls_are_filtered_by_their_arguments,
);

/// `EPERM`, as the probe prints it.
const REFUSED: &str = "-1";

/// A project with these services, which all have the probe.
fn started(services: &str) -> Sandbox {
    let hoist = Sandbox::new();
    probe(&hoist);
    hoist.compose(&services.replace("PROBED", "SLEEP, volumes: ['./probe:/probe:ro']"));
    hoist.ok("up -d");
    hoist
}

fn gives(hoist: &Sandbox, service: &str, call: &str) -> String {
    let done = hoist.run(&format!("exec -T {service} /probe {call}"));
    assert!([0, 139].contains(&done.code), "{call}: {}", done.story());
    done.out.trim().replace('\n', " ")
}

/// copy.fail: a socket of family `AF_ALG` (38) reached the kernel's cryptography, by 32-bit programs, too.
fn the_kernels_cryptography_is_out_of_reach_in_each_way_to_make_a_socket() {
    let hoist = started(
        "services:\n  d: {PROBED}\n  all: {PROBED, cap_add: [ALL]}\n  u: {PROBED, security_opt: ['seccomp=unconfined', 'apparmor=unconfined']}\n",
    );
    let refused = [REFUSED, "-13"];
    for service in ["d", "all"] {
        // AF_ALG, AF_VSOCK; bits that the kernel drops do not hide the family.
        for call in [
            "41 38 5 0",
            "41 40 1 0",
            "41 0x100000026 5 0",
            "41 0x100000028 1 0",
        ] {
            assert_eq!(gives(&hoist, service, call), REFUSED, "{service}: {call}");
        }
        assert!(
            gives(&hoist, service, "41 2 1 0")
                .parse::<i32>()
                .is_ok_and(|fd| fd > 2),
            "TCP"
        );
        // As an x32 program: that way is closed as on a kernel without it.
        assert_eq!(gives(&hoist, service, "0x40000029 38 5 0"), "-38");
        // A kernel that runs 32-bit programs shows it by answering getpid (20).
        if gives(&hoist, "u", "32 20")
            .parse::<i32>()
            .is_ok_and(|pid| pid > 0)
        {
            for call in [
                "32 359 38 5 0",
                "32 359 40 1 0",
                "32 102 1 :38,5,0",
                "32 102 1 :40,1,0",
            ] {
                let got = gives(&hoist, service, call);
                assert!(refused.contains(&got.as_str()), "{service}: {call}: {got}");
            }
            assert!(
                gives(&hoist, service, "32 359 2 1 0")
                    .parse::<i32>()
                    .is_ok_and(|fd| fd > 2),
                "TCP of 32-bit programs"
            );
        }
    }
}

/// Calls that Docker's profile has no gate for, with arguments that would be harmless or wrong.
fn calls_that_no_capability_opens_stay_closed() {
    let hoist = started(
        "services:\n  d: {PROBED}\n  all: {PROBED, cap_add: [ALL]}\n  p: {PROBED, privileged: true}\n",
    );
    let calls = [
        ("io_uring_setup", "425 1 0"),
        ("io_uring_enter", "426 -1 0 0 0 0 0"),
        ("io_uring_register", "427 -1 0 0 0"),
        ("add_key", "248 0 0 0 0 0"),
        ("request_key", "249 0 0 0 0"),
        ("keyctl", "250 0 -3 0"),
        ("userfaultfd", "323 0xffff"),
        ("kexec_load", "246 0 0 0 0xffff"),
        ("kexec_file_load", "320 -1 -1 0 0 0xffff"),
        ("swapon", "167 0 0"),
        ("swapoff", "168 0"),
        ("pivot_root", "155 0 0"),
        ("move_pages", "279 0 1 0 0 0 0xff"),
        ("migrate_pages", "256 0 0 0 0"),
        ("uselib", "134 0"),
        ("ustat", "136 0 0"),
        ("sysfs", "139 99"),
        ("nfsservctl", "180 0 0 0"),
        ("vserver", "236 0 0 0 0 0"),
        ("get_kernel_syms", "177 0"),
        ("query_module", "178 0 0 0 0 0"),
        ("create_module", "174 0 0"),
    ];
    for (name, call) in calls {
        for service in ["d", "all"] {
            assert_eq!(gives(&hoist, service, call), REFUSED, "{service}: {name}");
        }
    }
    // As 32-bit programs number them.
    for (name, call) in [
        ("keyctl", "32 288 0 -3 0"),
        ("userfaultfd", "32 374 0xffff"),
        ("io_uring_setup", "32 425 1 0"),
        ("bpf", "32 357 999 0 0"),
        ("unshare", "32 310 0x10000000"),
    ] {
        let got = gives(&hoist, "d", call);
        assert!(["", REFUSED].contains(&got.as_str()), "{name}: {got}");
    }
    // Without a filter the kernel itself answers; that shows that the filter did above.
    for (name, call) in [
        ("keyctl", "250 99 0 0"),
        ("ustat", "136 0 0"),
        ("sysfs", "139 99"),
        ("pivot_root", "155 0 0"),
    ] {
        assert_ne!(gives(&hoist, "p", call), REFUSED, "{name}");
    }
}

/// Capability, call, and arguments that the kernel refuses with another error once it looks at them.
const GATES: &[(&str, &str, &str)] = &[
    ("SYS_ADMIN", "unshare", "272 0x7fffffff"),
    ("SYS_ADMIN", "setns", "308 -1 0"),
    ("SYS_ADMIN", "mount", "165 @none @/no/such/place @tmpfs 0 0"),
    ("SYS_ADMIN", "umount2", "166 @/no/such/place 0"),
    ("SYS_ADMIN", "mount_setattr", "442 -1 @x 0x7fffffff 0 0"),
    ("SYS_ADMIN", "move_mount", "429 -1 @x -1 @y 0x7fffffff"),
    ("SYS_ADMIN", "open_tree", "428 -1 @x 0x7fffffff"),
    ("SYS_ADMIN", "fsopen", "430 @nosuchfs 0"),
    ("SYS_ADMIN", "fsconfig", "431 -1 0 0 0 0"),
    ("SYS_ADMIN", "fsmount", "432 -1 0 0"),
    ("SYS_ADMIN", "fspick", "433 -1 @x 0x7fffffff"),
    ("SYS_ADMIN", "bpf", "321 999 0 0"),
    ("SYS_ADMIN", "perf_event_open", "298 0 0 -1 -1 0x7fff"),
    ("SYS_ADMIN", "fanotify_init", "300 0x7fffffff 0"),
    ("SYS_ADMIN", "sethostname", "170 0 -1"),
    ("SYS_ADMIN", "setdomainname", "171 0 -1"),
    ("SYS_ADMIN", "clone3", "435 0 0"),
    (
        "SYS_ADMIN",
        "clone into new namespaces",
        "56 0x10000200 0 0 0 0",
    ),
    ("DAC_READ_SEARCH", "open_by_handle_at", "304 -1 0 0"),
    ("SYS_PTRACE", "kcmp", "312 1 1 99 0 0"),
    ("SYS_PTRACE", "pidfd_getfd", "438 -1 0 0"),
    ("SYS_PTRACE", "process_madvise", "440 -1 0 0 0 1"),
    ("SYS_MODULE", "init_module", "175 0 0 @"),
    ("SYS_MODULE", "finit_module", "313 -1 @ 0"),
    ("SYS_MODULE", "delete_module", "176 @nosuchmodule 0"),
    ("SYS_TIME", "settimeofday", "164 0 0"),
    ("SYS_TIME", "clock_settime", "227 99 0"),
    ("SYS_NICE", "get_mempolicy", "239 0 0 0 0 0xff"),
    ("SYS_NICE", "set_mempolicy", "238 99 0 0"),
    ("SYS_NICE", "mbind", "237 0 0 99 0 0 0"),
    ("SYS_NICE", "set_mempolicy_home_node", "450 1 1 0 1"),
    ("SYS_RAWIO", "iopl", "172 99"),
    ("SYS_RAWIO", "ioperm", "173 0 -1 1"),
    ("SYS_BOOT", "reboot", "169 1 2 3 0"),
    ("SYS_PACCT", "acct", "163 @/no/such/file"),
    ("SYS_TTY_CONFIG", "vhangup", "153"),
    ("SYSLOG", "syslog", "103 99 0 0"),
    ("BPF", "bpf", "321 999 0 0"),
    ("PERFMON", "perf_event_open", "298 0 0 -1 -1 0x7fff"),
];

/// Capabilities that this process could hand on at all.
fn available(name: &str) -> bool {
    let order = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let status = std::fs::read_to_string("/proc/self/status").expect("there is one");
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    let bits = line
        .and_then(|line| u64::from_str_radix(line.trim(), 16).ok())
        .expect("a number");
    order
        .iter()
        .position(|known| *known == name)
        .is_some_and(|at| bits >> at & 1 == 1)
}

/// The gates of Docker's profile: closed without the capability, open with it.
fn each_call_behind_a_capability_opens_with_it_and_only_with_it() {
    let mut caps: Vec<&str> = GATES.iter().map(|(cap, ..)| *cap).collect();
    caps.dedup();
    let one = |cap: &&str| {
        format!(
            "  {}: {{PROBED, cap_add: [{cap}]}}\n",
            cap.to_ascii_lowercase()
        )
    };
    let services: String = caps.iter().map(one).collect();
    let hoist = started(&format!(
        "services:\n  d: {{PROBED}}\n{services}  sys_chroot: {{PROBED, cap_drop: [SYS_CHROOT]}}\n"
    ));
    for (cap, name, call) in GATES {
        let closed = gives(&hoist, "d", call);
        let want = if *name == "clone3" { "-38" } else { REFUSED };
        assert_eq!(closed, want, "{name} without {cap}");
        if available(cap) {
            let open = gives(&hoist, &cap.to_ascii_lowercase(), call);
            assert!(open != REFUSED, "{name} with {cap}: {open}");
        }
    }
    // chroot is the one gate that is open by default.
    let call = "161 @/no/such/place";
    assert_eq!(gives(&hoist, "d", call), "-2", "chroot");
    assert_eq!(
        gives(&hoist, "sys_chroot", call),
        REFUSED,
        "chroot without SYS_CHROOT"
    );
}

/// personality, clone and ptrace: some of their arguments are allowed.
fn calls_are_filtered_by_their_arguments() {
    let hoist = started("services:\n  d: {PROBED}\n");
    for (call, want) in [
        // Plain, 32-bit addresses shown, with the old version, both, ask.
        ("135 0", "0"),
        ("135 8", "0"),
        ("135 0x20000", "0"),
        ("135 0x20008", "0"),
        ("135 0xffffffff", "0"),
        // Without random addresses, with executable data, other systems.
        ("135 0x40000", REFUSED),
        ("135 0x400000", REFUSED),
        ("135 0x100000", REFUSED),
        ("135 1", REFUSED),
        // New namespaces, each alone: user, process, network, IPC, UTS, cgroup, mount.
        ("56 0x10000011 0 0 0 0", REFUSED),
        ("56 0x20000011 0 0 0 0", REFUSED),
        ("56 0x40000011 0 0 0 0", REFUSED),
        ("56 0x8000011 0 0 0 0", REFUSED),
        ("56 0x4000011 0 0 0 0", REFUSED),
        ("56 0x2000011 0 0 0 0", REFUSED),
        ("56 0x20011 0 0 0 0", REFUSED),
        // Tracing one's own kind is allowed.
        ("101 0 0 0 0", "0"),
    ] {
        assert_eq!(gives(&hoist, "d", call), want, "{call}");
    }
    // 32-bit programs meet the same answers.
    if gives(&hoist, "d", "32 20")
        .parse::<i32>()
        .is_ok_and(|pid| pid > 0)
    {
        for (call, want) in [
            ("32 136 0x40000", REFUSED),
            ("32 136 0xffffffff", "0"),
            ("32 120 0x10000011 0 0 0 0", REFUSED),
            ("32 435 0 0", "-38"),
        ] {
            assert_eq!(gives(&hoist, "d", call), want, "{call}");
        }
    }
}
