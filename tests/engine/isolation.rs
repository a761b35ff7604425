//! What a container shares with the host and with others, and what it may do: each mode and each option, as seen inside.

use std::path::Path;

use crate::harness::{ENGINE, Sandbox, eventually, leftovers::children};

crate::cases!(ENGINE;
    capabilities_are_named_in_any_spelling,
    a_privileged_container_has_everything_and_hides_nothing,
    each_security_option_takes_effect,
    a_filter_of_ones_own_replaces_the_default_one,
    processes_are_seen_as_pid_says,
    shared_memory_and_queues_are_shared_as_ipc_says,
    the_host_name_is_the_hosts_only_where_uts_says_so,
    the_cgroup_is_its_own_root_unless_cgroup_says_host,
    users_are_those_of_the_host_unless_there_is_another_choice,
    kernel_parameters_of_each_namespace_are_set_in_it_only,
    every_resource_limit_is_set_and_one_of_zero_too,
    mounts_devices_and_namespaces_are_dockers_by_default,
    what_linux_would_refuse_is_refused_where_it_is_written,
);

/// Which namespace of a kind process 1 of a service is in.
fn namespace(hoist: &Sandbox, service: &str, kind: &str) -> String {
    let process = hoist.init(service);
    link(&format!("/proc/{process}/ns/{kind}"))
}

fn link(path: &str) -> String {
    std::fs::read_link(path)
        .expect("a link")
        .to_string_lossy()
        .into_owned()
}

fn status(hoist: &Sandbox, service: &str, key: &str) -> String {
    hoist.sh(
        service,
        &format!("awk '/^{key}:/{{print $2}}' /proc/self/status"),
    )
}

fn capabilities_are_named_in_any_spelling() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, cap_add: [net_admin], cap_drop: [CAP_CHOWN, mknod]}\n  b: {SLEEP, cap_drop: [all], cap_add: [Cap_Kill]}\n  \
         c: {SLEEP, cap_add: [ALL], cap_drop: [MKNOD]}\n  d: {SLEEP, cap_add: [ALL], cap_drop: [ALL]}\n  p: {SLEEP, privileged: true, cap_drop: [ALL]}\n",
    );
    hoist.ok("up -d");
    assert_eq!(status(&hoist, "a", "CapBnd"), "00000000a00435fa");
    assert_eq!(status(&hoist, "b", "CapBnd"), "0000000000000020");
    let all = status(&hoist, "p", "CapBnd");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a number");
    assert_eq!(
        number(&status(&hoist, "c", "CapBnd")),
        number(&all) & !(1 << 27)
    );
    assert_eq!(status(&hoist, "d", "CapBnd"), all);
    // A right that is there is one that works.
    assert_eq!(
        hoist
            .exec("a", "ip link set lo down && ip link set lo up")
            .code,
        0
    );
    assert_ne!(hoist.exec("b", "chown app /tmp").code, 0);
}

fn a_privileged_container_has_everything_and_hides_nothing() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  p: {SLEEP, privileged: true}\n  d: {SLEEP}\n  u: {SLEEP, privileged: true, user: app}\n");
    hoist.ok("up -d");
    let own = std::fs::read_to_string("/proc/self/status").expect("there is one");
    let bounding = own
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .expect("a line")
        .trim();
    assert_eq!(status(&hoist, "p", "CapEff"), bounding);
    assert_eq!(
        status(&hoist, "u", "CapEff"),
        "0000000000000000",
        "who is not root"
    );
    assert_eq!(status(&hoist, "p", "Seccomp"), "0");
    let writable = "mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounts; echo guest > /proc/sys/kernel/domainname && echo parameters; \
                    for c in /sys/fs/cgroup /sys/fs/cgroup/pids; do mkdir $c/inner 2>/dev/null && rmdir $c/inner && echo cgroups && break; done";
    assert_eq!(hoist.sh("p", writable), "mounts\nparameters\ncgroups");
    let mounts = hoist.sh(
        "p",
        "awk '$5 ~ \"^/(proc|sys)\" {print $5, $6}' /proc/self/mountinfo",
    );
    assert!(mounts.lines().all(|line| !line.contains(" ro")), "{mounts}");
    assert!(
        !mounts.contains("/proc/keys") && !mounts.contains("/sys/firmware"),
        "{mounts}"
    );
    let devices = hoist.sh("p", "find /dev -type c -o -type b | wc -l");
    let few = hoist.sh("d", "find /dev -type c -o -type b | wc -l");
    let count = |text: &str| text.parse::<u32>().expect("a number");
    assert!(count(&devices) > count(&few), "{devices} devices");
    assert_eq!(
        hoist
            .exec("p", "mknod /tmp/kmsg c 1 11 && : < /tmp/kmsg")
            .code,
        0
    );
}

fn each_security_option_takes_effect() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  d: {SLEEP}\n  n: {SLEEP, security_opt: [no-new-privileges]}\n  t: {SLEEP, security_opt: ['no-new-privileges:true']}\n  \
         f: {SLEEP, security_opt: ['no-new-privileges=false']}\n  s: {SLEEP, security_opt: ['systempaths=unconfined']}\n  \
         u: {SLEEP, security_opt: ['seccomp:unconfined', 'apparmor:unconfined', 'label:disable', 'label=type:x']}\n  \
         b: {SLEEP, security_opt: ['seccomp=builtin']}\n  w: {SLEEP, security_opt: ['writable-cgroups=true']}\n  \
         o: {SLEEP, security_opt: ['writable-cgroups=false']}\n",
    );
    hoist.ok("up -d");
    for (service, want) in [("d", "0"), ("n", "1"), ("t", "1"), ("f", "0")] {
        assert_eq!(status(&hoist, service, "NoNewPrivs"), want, "{service}");
        let first = hoist.sh(service, "awk '/^NoNewPrivs:/{print $2}' /proc/1/status");
        assert_eq!(first, want, "{service}");
    }
    for (service, want) in [("d", "2"), ("u", "0"), ("b", "2")] {
        assert_eq!(status(&hoist, service, "Seccomp"), want, "{service}");
    }
    let covered =
        "awk '$5 ~ \"^/(proc|sys/firmware)\" && $5 != \"/proc\"' /proc/self/mountinfo | wc -l";
    assert_eq!(hoist.sh("s", covered), "0");
    assert_ne!(hoist.sh("d", covered), "0");
    let make = "for c in /sys/fs/cgroup /sys/fs/cgroup/pids; do mkdir $c/inner 2>/dev/null && rmdir $c/inner && echo made && break; done; true";
    for (service, want) in [("d", ""), ("w", "made"), ("o", "")] {
        assert_eq!(hoist.sh(service, make), want, "{service}");
    }
    let label = hoist.sh(
        "u",
        "cat /proc/self/attr/apparmor/current 2>/dev/null; true",
    );
    assert!(["", "unconfined"].contains(&label.as_str()), "{label}");
}

fn a_filter_of_ones_own_replaces_the_default_one() {
    let hoist = Sandbox::new();
    hoist.file(
        "no-mkdir.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95},
            {"names":["unlink","unlinkat"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_NET_ADMIN"]}}]}"#,
    );
    hoist.compose(
        "services:\n  a: {SLEEP, security_opt: ['seccomp=./no-mkdir.json']}\n  b: {SLEEP, cap_add: [NET_ADMIN], security_opt: ['seccomp:no-mkdir.json']}\n  \
         p: {SLEEP, privileged: true, security_opt: ['seccomp=no-mkdir.json']}\n",
    );
    hoist.ok("up -d");
    for service in ["a", "b", "p"] {
        hoist
            .exec(service, "mkdir /tmp/x")
            .code(1)
            .says("not supported");
    }
    assert_ne!(hoist.exec("a", "touch /tmp/f; rm /tmp/f").code, 0);
    hoist.exec("b", "touch /tmp/f; rm /tmp/f").ok();
    hoist.ok("exec -T --privileged a sh -c '! mkdir /tmp/x'");
    for (text, says) in [
        ("{", "seccomp profile"),
        (r#"{"defaultAction":"SCMP_ACT_FLY"}"#, "SCMP_ACT_FLY"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "argument 9",
        ),
    ] {
        hoist.file("broken.json", text);
        hoist.compose("services:\n  a: {SLEEP, security_opt: ['seccomp=./broken.json']}\n");
        hoist.run("up -d").code(1).says(says);
    }
    hoist.compose("services:\n  a: {SLEEP, security_opt: ['seccomp=./gone.json']}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:2:")
        .says("gone.json");
}

fn processes_are_seen_as_pid_says() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  own: {SLEEP}\n  host: {SLEEP, pid: host}\n  first: {SLEEP, container_name: first-one, hostname: one}\n  \
         joins: {SLEEP, pid: 'service:first'}\n",
    );
    hoist.ok("up -d");
    let here = link("/proc/self/ns/pid");
    assert_ne!(namespace(&hoist, "own", "pid"), here);
    // Process 1 of the others is not their own, so they are asked.
    let asked = |service: &str| hoist.sh(service, "readlink /proc/self/ns/pid");
    assert_eq!(asked("host"), here);
    assert_eq!(asked("joins"), asked("first"));
    assert_ne!(asked("first"), asked("own"));
    let mark = std::process::id();
    hoist.exec("host", &format!("test -d /proc/{mark}")).ok();
    assert_ne!(hoist.exec("own", &format!("test -d /proc/{mark}")).code, 0);
    assert_eq!(
        hoist
            .sh("joins", "pgrep -c sleep || ps | grep -c '[s]leep 3600'")
            .lines()
            .next_back(),
        Some("2")
    );
    let name = hoist.field("first", "Name");
    hoist.compose(&format!(
        "services:\n  own: {{SLEEP}}\n  host: {{SLEEP, pid: host}}\n  first: {{SLEEP, container_name: first-one, hostname: one}}\n  \
         joins: {{SLEEP, pid: 'container:{name}'}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(asked("joins"), asked("first"));
    // Each ends by itself: the other's processes stay.
    hoist.ok("stop -t 0 joins");
    hoist.exec("first", "true").ok();
    hoist.ok("stop -t 0 host");
}

fn shared_memory_and_queues_are_shared_as_ipc_says() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  own: {SLEEP}\n  private: {SLEEP, ipc: private}\n  share: {SLEEP, ipc: shareable, container_name: sharer-of-memory, shm_size: 8m}\n  \
         joins: {SLEEP, ipc: 'service:share'}\n  named: {SLEEP, ipc: 'container:sharer-of-memory', depends_on: [share], profiles: [named]}\n  \
         none: {SLEEP, ipc: none}\n  host: {SLEEP, ipc: host}\n",
    );
    hoist.ok("up -d");
    hoist.ok("--profile named up -d");
    let here = link("/proc/self/ns/ipc");
    for service in ["own", "private", "share", "none"] {
        assert_ne!(namespace(&hoist, service, "ipc"), here, "{service}");
    }
    assert_ne!(
        namespace(&hoist, "own", "ipc"),
        namespace(&hoist, "private", "ipc")
    );
    for service in ["joins", "named"] {
        assert_eq!(
            namespace(&hoist, service, "ipc"),
            namespace(&hoist, "share", "ipc"),
            "{service}"
        );
    }
    assert_eq!(namespace(&hoist, "host", "ipc"), here);
    hoist.exec("share", "echo note > /dev/shm/note").ok();
    assert_eq!(
        hoist.sh(
            "joins",
            "cat /dev/shm/note; df -k /dev/shm | awk 'END {print $2}'"
        ),
        "note\n8192"
    );
    for service in ["own", "private", "host"] {
        assert_ne!(
            hoist.exec(service, "test -e /dev/shm/note").code,
            0,
            "{service}"
        );
    }
    let mark = format!("hst-{}-shm", std::process::id());
    hoist
        .exec("host", &format!("echo x > /dev/shm/{mark}"))
        .ok();
    std::fs::remove_file(Path::new("/dev/shm").join(&mark)).expect("it is the host's /dev/shm");
    assert_eq!(
        hoist.sh("none", "ls -d /dev/shm 2>/dev/null; ls -d /dev/mqueue"),
        "/dev/mqueue"
    );
    // As Docker: only who says so is joined.
    for mode in ["", ", ipc: private", ", ipc: none"] {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP{mode}}}\n  b: {{SLEEP, ipc: 'service:a'}}\n"
        ));
        hoist
            .run("up -d")
            .code(1)
            .says("compose.yaml:3:")
            .says("`ipc: shareable`");
    }
    hoist.compose("services:\n  own: {SLEEP, container_name: keeps-its-memory}\n  b: {SLEEP, ipc: 'container:keeps-its-memory', profiles: [b]}\n");
    hoist.ok("up -d");
    hoist
        .run("--profile b up -d")
        .code(1)
        .says("does not share its IPC namespace");
}

fn the_host_name_is_the_hosts_only_where_uts_says_so() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  own: {SLEEP, hostname: box, domainname: example.org}\n  host: {SLEEP, uts: host}\n");
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("own", "hostname; cat /proc/sys/kernel/domainname"),
        "box\nexample.org"
    );
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("there is one");
    assert_eq!(hoist.sh("host", "hostname"), name.trim());
    assert_eq!(namespace(&hoist, "host", "uts"), link("/proc/self/ns/uts"));
    assert_ne!(namespace(&hoist, "own", "uts"), link("/proc/self/ns/uts"));
    // It is seen, not changed.
    assert_ne!(hoist.exec("host", "hostname other").code, 0);
}

fn the_cgroup_is_its_own_root_unless_cgroup_says_host() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  own: {SLEEP}\n  private: {SLEEP, cgroup: private}\n  host: {SLEEP, cgroup: host}\n");
    hoist.ok("up -d");
    let here = link("/proc/self/ns/cgroup");
    for service in ["own", "private"] {
        assert_ne!(namespace(&hoist, service, "cgroup"), here, "{service}");
        let paths = hoist.sh(service, "cut -d: -f3 /proc/self/cgroup | sort -u");
        assert_eq!(paths, "/", "{service}");
    }
    assert_eq!(namespace(&hoist, "host", "cgroup"), here);
    let id = hoist.id("host");
    let paths = hoist.sh("host", "cat /proc/self/cgroup");
    assert!(paths.contains(&id), "{paths}");
    for service in ["own", "host"] {
        let write = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x 2>/dev/null && echo $d; done; true";
        assert_eq!(hoist.sh(service, write), "", "{service}");
    }
}

fn users_are_those_of_the_host_unless_there_is_another_choice() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, userns_mode: host}\n  b: {SLEEP, userns_mode: ''}\n");
    hoist.run("up -d").ok().says_nothing_of("userns");
    for service in ["a", "b"] {
        assert_eq!(
            namespace(&hoist, service, "user"),
            link("/proc/self/ns/user"),
            "{service}"
        );
    }
    hoist.compose("services:\n  a: {SLEEP, userns_mode: keep-id}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:2:")
        .says("services.a.userns_mode");
}

fn kernel_parameters_of_each_namespace_are_set_in_it_only() {
    let hoist = Sandbox::new();
    let here =
        |path: &str| std::fs::read_to_string(Path::new("/proc/sys").join(path)).unwrap_or_default();
    let names = [
        "net/ipv4/ip_forward",
        "net/core/somaxconn",
        "kernel/shmmax",
        "kernel/msgmax",
        "kernel/sem",
        "fs/mqueue/msg_max",
        "kernel/domainname",
    ];
    let before = names.map(here);
    hoist.compose(
        "services:\n  a: {SLEEP, sysctls: {net.core.somaxconn: 77, net/ipv4/ip_local_port_range: 20000 30000, kernel.shmmax: 4096000, kernel.msgmax: 4096, \
         kernel.sem: 32000 1024000000 500 32000, fs.mqueue.msg_max: 5, kernel.domainname: inside}}\n  \
         l: {SLEEP, sysctls: [net.ipv4.ip_forward=0, net.ipv4.conf.all.rp_filter=2]}\n  s: {SLEEP, network_mode: 'service:a', sysctls: {net.core.somaxconn: 78}}\n",
    );
    hoist.ok("up -d");
    let line = "cd /proc/sys; cat net/ipv4/ip_local_port_range kernel/shmmax kernel/msgmax fs/mqueue/msg_max kernel/domainname | tr '\\t' ' '";
    assert_eq!(hoist.sh("a", line), "20000 30000\n4096000\n4096\n5\ninside");
    assert_eq!(
        hoist.sh("a", "cat /proc/sys/kernel/sem | tr '\\t' ' '"),
        "32000 1024000000 500 32000"
    );
    assert_eq!(hoist.sh("a", "cat /proc/sys/net/core/somaxconn"), "78");
    assert_eq!(
        hoist.sh(
            "l",
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/rp_filter"
        ),
        "0\n2"
    );
    // As Docker's defaults.
    let defaults =
        "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range | tr '\\t' ' '";
    assert_eq!(hoist.sh("a", defaults), "0\n0 2147483647");
    assert_eq!(
        names.map(here),
        before,
        "a parameter of the host was changed"
    );
    hoist.compose("services:\n  a: {SLEEP, sysctls: {net.ipv4.nosuchthing: 1}}\n");
    hoist.run("up -d").code(1).says("net.ipv4.nosuchthing");
    hoist.compose("services:\n  a: {SLEEP, sysctls: {net.core.somaxconn: many}}\n");
    hoist.run("up -d").code(1).says("net.core.somaxconn");
}

fn every_resource_limit_is_set_and_one_of_zero_too() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    ulimits:\n      as: 8589934592\n      core: 0\n      \
         cpu: 1000\n      data: 8589934592\n      fsize: {soft: 1048576, hard: -1}\n      locks: 100\n      memlock: 65536\n      msgqueue: 4096\n      \
         nice: 0\n      nofile: {soft: 100, hard: 200}\n      nproc: 500\n      rss: -1\n      rtprio: 0\n      rttime: 1000000\n      \
         sigpending: {soft: 0, hard: 100}\n      stack: {soft: 4194304, hard: 8388608}\n",
    );
    hoist.ok("up -d");
    let line = "cat /proc/self/limits";
    for text in [hoist.sh("a", line), hoist.sh("a", "cat /proc/1/limits")] {
        for (name, soft, hard) in [
            ("Max address space", "8589934592", "8589934592"),
            ("Max core file size", "0", "0"),
            ("Max cpu time", "1000", "1000"),
            ("Max data size", "8589934592", "8589934592"),
            ("Max file size", "1048576", "unlimited"),
            ("Max file locks", "100", "100"),
            ("Max locked memory", "65536", "65536"),
            ("Max msgqueue size", "4096", "4096"),
            ("Max nice priority", "0", "0"),
            ("Max open files", "100", "200"),
            ("Max processes", "500", "500"),
            ("Max resident set", "unlimited", "unlimited"),
            ("Max realtime priority", "0", "0"),
            ("Max realtime timeout", "1000000", "1000000"),
            ("Max pending signals", "0", "100"),
            ("Max stack size", "4194304", "8388608"),
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let words: Vec<&str> = line
                .unwrap_or_default()
                .split_whitespace()
                .take(2)
                .collect();
            assert_eq!(words, [soft, hard], "{name}");
        }
    }
    let own = std::fs::read_to_string("/proc/self/status").expect("there is one");
    let caps = own
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .expect("a line");
    let caps = u64::from_str_radix(caps.trim(), 16).expect("a number");
    let files = std::fs::read_to_string("/proc/self/limits").expect("there is one");
    let most = files
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let most: Option<u64> = most.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    if let Some(most) = most.filter(|_| caps >> 24 & 1 == 0) {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, ulimits: {{nofile: {}}}}}\n",
            most + 1
        ));
        hoist
            .run("up -d")
            .code(1)
            .says("nofile")
            .says("CAP_SYS_RESOURCE");
    }
}

/// Mount points with their type and options; what differs from machine to machine is left out.
const MOUNTS: &str =
    "awk '{for (i = 7; $i != \"-\"; i++); print $5, $6, $(i + 1), $(i + 2)}' /proc/self/mountinfo";

fn mounts_devices_and_namespaces_are_dockers_by_default() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  t: {SLEEP, tty: true}\n");
    hoist.ok("up -d");
    let mounts = hoist.sh("a", MOUNTS);
    for want in [
        "/proc rw,nosuid,nodev,noexec,relatime proc proc",
        "/dev rw,nosuid tmpfs tmpfs",
        "/dev/pts rw,nosuid,noexec,relatime devpts devpts",
        "/dev/mqueue rw,nosuid,nodev,noexec,relatime mqueue mqueue",
        "/dev/shm rw,nosuid,nodev,noexec,relatime tmpfs shm",
        "/sys ro,nosuid,nodev,noexec,relatime sysfs sysfs",
        "/proc/sys ro,nosuid,nodev,noexec,relatime proc proc",
    ] {
        assert!(
            mounts.lines().any(|line| line == want),
            "no `{want}` in\n{mounts}"
        );
    }
    let under = |start: &str| -> Vec<&str> {
        mounts
            .lines()
            .filter(|line| line.starts_with(start))
            .collect()
    };
    let cgroups = under("/sys/fs/cgroup");
    assert!(
        !cgroups.is_empty()
            && cgroups
                .iter()
                .all(|line| line.contains(" ro,nosuid,nodev,noexec,")),
        "{cgroups:?}"
    );
    let tmpfs = "awk '$2 == \"/dev\" {print $4}' /proc/mounts";
    let options = hoist.sh("a", tmpfs);
    assert!(
        options.contains("size=65536k") && options.contains("mode=755"),
        "{options}"
    );
    let pts = hoist.sh("a", "awk '$2 == \"/dev/pts\" {print $4}' /proc/mounts");
    assert!(pts.contains("gid=5,mode=620,ptmxmode=666"), "{pts}");
    let list = "cd /dev; for f in *; do [ $f = core ] || stat -c '%n %F %t,%T %a %u:%g' $f; done";
    assert_eq!(
        hoist.sh("a", list),
        "fd symbolic link 0,0 777 0:0\nfull character special file 1,7 666 0:0\nmqueue directory 0,0 1777 0:0\nnull character special file 1,3 666 0:0\n\
         ptmx symbolic link 0,0 777 0:0\npts directory 0,0 755 0:0\nrandom character special file 1,8 666 0:0\nshm directory 0,0 1777 0:0\n\
         stderr symbolic link 0,0 777 0:0\nstdin symbolic link 0,0 777 0:0\nstdout symbolic link 0,0 777 0:0\ntty character special file 5,0 666 0:0\n\
         urandom character special file 1,9 666 0:0\nzero character special file 1,5 666 0:0"
    );
    assert_eq!(
        hoist.sh("t", "stat -c '%F' /dev/console; readlink /dev/ptmx"),
        "character special file\npts/ptmx"
    );
    for kind in ["mnt", "net", "uts", "pid", "ipc", "cgroup", "time"] {
        if !Path::new("/proc/self/ns").join(kind).exists() {
            continue;
        }
        let first = namespace(&hoist, "a", kind);
        assert_ne!(first, link(&format!("/proc/self/ns/{kind}")), "{kind}");
        assert_eq!(
            hoist.sh("a", &format!("readlink /proc/self/ns/{kind}")),
            first,
            "{kind} of exec"
        );
    }
    let allowed = "for d in '1 3' '1 5' '1 7' '1 8' '1 9' '5 0' '5 2'; do mknod /tmp/n c $d && (: < /tmp/n) 2>&1 | grep -c 'not permitted'; rm /tmp/n; done";
    assert_eq!(hoist.sh("a", allowed).replace('\n', " "), "0 0 0 0 0 0 0");
    for device in [
        "c 1 1", "c 1 4", "c 1 11", "c 10 229", "c 10 200", "b 7 0", "b 254 0", "b 8 0",
    ] {
        let line = format!("mknod /tmp/n {device} && (: < /tmp/n)");
        hoist.exec("a", &line).says("not permitted");
        hoist.exec("a", "rm -f /tmp/n").ok();
    }
}

fn what_linux_would_refuse_is_refused_where_it_is_written() {
    let hoist = Sandbox::new();
    for (keys, place, says) in [
        (
            "cap_add: [FLY]",
            "services.a.cap_add[0]",
            "`FLY` is not a capability",
        ),
        (
            "cap_drop: [KILL, CAP_NET_ADMN]",
            "services.a.cap_drop[1]",
            "did you mean `NET_ADMIN`?",
        ),
        (
            "sysctls: {kernel.panic: 1}",
            "services.a.sysctls.kernel.panic",
            "the whole machine's",
        ),
        (
            "sysctls: [kernel.hostname=x]",
            "services.a.sysctls.kernel.hostname",
            "the whole machine's",
        ),
        (
            "sysctls: {net/../kernel/panic: 1}",
            "sysctls",
            "the whole machine's",
        ),
        (
            "network_mode: host, sysctls: {net.core.somaxconn: 1}",
            "sysctls.net.core.somaxconn",
            "`network_mode: host`",
        ),
        (
            "ipc: host, sysctls: {kernel.msgmax: 1}",
            "sysctls.kernel.msgmax",
            "`ipc: host`",
        ),
        (
            "uts: host, sysctls: {kernel.domainname: x}",
            "sysctls.kernel.domainname",
            "`uts: host`",
        ),
        (
            "ulimits: {nofiles: 1}",
            "services.a.ulimits.nofiles",
            "did you mean `nofile`?",
        ),
        (
            "ulimits: {nofile: {soft: 5, hard: 2}}",
            "services.a.ulimits.nofile",
            "above its hard limit 2",
        ),
        (
            "ulimits: {nofile: {soft: -1, hard: 2}}",
            "services.a.ulimits.nofile",
            "above its hard limit 2",
        ),
        ("uts: other", "services.a.uts", "not a UTS namespace"),
        (
            "uts: host, hostname: x",
            "services.a.hostname",
            "exclude each other",
        ),
        (
            "pid: everything",
            "services.a.pid",
            "not a process namespace",
        ),
        (
            "pid: 'service:'",
            "services.a.pid",
            "not a process namespace",
        ),
        ("ipc: shared", "services.a.ipc", "shareable"),
        ("security_opt: [no-new-privilege]", "", "no-new-privileges"),
        (
            "security_opt: ['no-new-privileges=perhaps']",
            "",
            "`true` or `false`",
        ),
        ("security_opt: [apparmor]", "", "the name of a profile"),
        ("security_opt: ['systempaths=x']", "", "`unconfined`"),
        (
            "security_opt: ['writable-cgroups=x']",
            "",
            "`true` or `false`",
        ),
        ("security_opt: [label]", "", "a label"),
        ("pid: 'container:nobody'", "", "no such container"),
    ] {
        hoist.compose(&format!("services:\n  a: {{SLEEP, {keys}}}\n"));
        let done = hoist.run("up -d");
        assert_eq!(done.code, 1, "{keys}: {}", done.story());
        done.says("compose.yaml:2:").says(place).says(says);
        let containers = hoist
            .data()
            .join("projects")
            .join(&hoist.name)
            .join("containers");
        assert_eq!(children(&containers).len(), 0, "{keys}: something was made");
    }
    // A profile that can't be had is no reason to go without one.
    hoist.compose("services:\n  a: {SLEEP, security_opt: ['apparmor=nosuchprofile']}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("AppArmor profile `nosuchprofile`");
    eventually("nothing runs", || {
        (hoist.state("a") != "running").then_some(())
    });
}
