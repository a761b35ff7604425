//! Attacks through names of users, and through the files where they are looked up.

use std::time::{Duration, Instant};

use super::{Entry, evil};
use crate::harness::{ENGINE, Sandbox, program};

crate::cases!(ENGINE;
    a_user_of_exec_is_never_another_than_the_one_that_is_written,
    password_files_that_never_end_are_refused_at_once,
    a_library_of_the_image_is_never_loaded_by_us,
    what_an_image_says_of_itself_chooses_nothing_on_the_host,
);

/// CVE-2026-30892 (crun): a user that was not understood became root.
fn a_user_of_exec_is_never_another_than_the_one_that_is_written() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  u: {SLEEP, user: '1000:1000'}\n");
    hoist.ok("up -d");
    let id = |service: &str, user: &str| {
        let arguments = [
            "-p",
            &hoist.name,
            "exec",
            "-T",
            "-u",
            user,
            service,
            "sh",
            "-c",
            "id -u; id -g",
        ];
        let done = hoist.global(&arguments);
        (done.code == 0).then(|| done.out.trim().replace('\n', ":"))
    };
    for (user, want) in [
        ("0", Some("0:0")),
        ("0:", Some("0:0")),
        ("1000", Some("1000:1000")),
        ("1000:", Some("1000:1000")),
        (":1000", Some("0:1000")),
        ("app", Some("1000:1000")),
        ("app:extra", Some("1000:1001")),
        ("4242", Some("4242:0")),
        ("2147483647", Some("2147483647:0")),
        ("name", None),
        ("2147483648", None),
        ("4294967295", None),
        ("4294967296", None),
        ("18446744073709551616", None),
        ("1000:4294967296", None),
        ("-1", None),
        ("-0", None),
        ("+1000", None),
        (" 0", None),
        ("0 ", None),
        ("0x0", None),
        ("1e3", None),
        ("0:0:0", None),
        ("1000:x", None),
        ("root\n", None),
        ("app\0", None),
    ] {
        if user.contains('\0') {
            // Not even the kernel takes such an argument.
            continue;
        }
        assert_eq!(id("a", user).as_deref(), want, "{user:?}");
    }
    // Nothing said is the service's user, not root.
    assert_eq!(id("u", "").as_deref(), Some("1000:1000"));
    assert_eq!(
        hoist.sh("u", "id -u; awk '/^CapEff/{print $2}' /proc/self/status"),
        "1000\n0000000000000000"
    );
}

/// CVE-2024-9676, CVE-2026-47262 (containerd): a pipe, an endless device or a huge file stood for `/etc/passwd`.
fn password_files_that_never_end_are_refused_at_once() {
    let mut hoist = Sandbox::new();
    hoist.limit(Duration::from_secs(20));
    let links = [
        Entry::Dir("etc"),
        Entry::Link("etc/passwd", "/dev/zero"),
        Entry::Link("etc/group", "/dev/random"),
    ];
    for (entries, says) in [
        (&links[..], "not a regular file"),
        (
            &[Entry::Dir("etc"), Entry::Pipe("etc/passwd")],
            "not a regular file",
        ),
        (
            &[Entry::Dir("etc"), Entry::Pipe("etc/group")],
            "not a regular file",
        ),
        (
            &[
                Entry::Dir("etc"),
                Entry::Link("etc/passwd", "/proc/self/fd/0"),
            ],
            "/etc/passwd",
        ),
    ] {
        evil(&hoist, entries);
        for user in ["", ", user: app", ", user: '0'"] {
            hoist.compose(&format!(
                "services:\n  a: {{image: evil, command: sleep 3600, stop_signal: SIGKILL{user}}}\n"
            ));
            hoist.run("up -d").code(1).says(says);
        }
    }
    // One that grows while the container runs.
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    for (attack, says) in [
        ("truncate -s 100M /etc/group", "longer than 16 MiB"),
        ("rm /etc/group; mkfifo /etc/group", "not a regular file"),
        (
            "rm /etc/group; ln -s /dev/zero /etc/group",
            "not a regular file",
        ),
        ("rm /etc/group; mkdir /etc/group", "not a regular file"),
    ] {
        hoist.exec("a", attack).ok();
        let start = Instant::now();
        hoist.run("exec -T -u app a true").code(1).says(says);
        assert!(start.elapsed() < Duration::from_secs(10), "{attack}");
        hoist.compose("services:\n  a: {SLEEP}\n");
        hoist.ok("up -d --force-recreate");
    }
}

/// CVE-2019-14271 (moby): a helper inside loaded the container's libraries to look a user up.
fn a_library_of_the_image_is_never_loaded_by_us() {
    let Some(cc) = program("cc") else { return };
    let hoist = Sandbox::new();
    let source = hoist.file(
        "evil.c",
        "#include <fcntl.h>\n__attribute__((constructor)) void go(void) { open(\"/pwned\", O_CREAT | O_WRONLY, 0644); }\n",
    );
    let library = hoist.dir().join("evil.so");
    let done = std::process::Command::new(cc)
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .expect("cc runs");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let names = [
        "libnss_files.so.2",
        "libnss_dns.so.2",
        "libnss_compat.so.2",
        "libc.so.6",
        "ld-linux-x86-64.so.2",
        "libresolv.so.2",
    ];
    let dirs = [
        "/lib",
        "/lib64",
        "/usr/lib",
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
    ];
    let copies: Vec<String> = dirs
        .iter()
        .flat_map(|dir| {
            names
                .iter()
                .map(move |name| format!("'./evil.so:{dir}/{name}'"))
        })
        .collect();
    hoist.file(
        "nsswitch.conf",
        "passwd: files dns compat\ngroup: files dns compat\nhosts: files dns\n",
    );
    hoist.file("preload", "/lib/libc.so.6\n");
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, init: true, user: app, environment: {{LD_PRELOAD: /lib/libc.so.6}}, volumes: [{}, \
         './nsswitch.conf:/etc/nsswitch.conf', './preload:/etc/ld.so.preload']}}\n",
        copies.join(", ")
    ));
    hoist.ok("up -d");
    for user in ["app", "root", "1000:extra"] {
        hoist.ok(&format!("exec -T -u {user} a true"));
    }
    assert_eq!(hoist.sh("a", "ls /pwned 2>/dev/null; true"), "");
}

/// CVE-2026-53488, CVE-2026-53492 (containerd): labels and annotations of an image reached commands and devices of the host.
fn what_an_image_says_of_itself_chooses_nothing_on_the_host() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nLABEL com.docker.compose.project=other com.docker.compose.service=ghost com.docker.compose.oneoff=True \
         com.docker.compose.container-number=9 com.docker.compose.project.environment_file=/etc/shadow \
         com.docker.compose.slug=abc com.docker.compose.depends_on=ghost:service_started:true com.docker.compose.later=x \
         io.hoist.spec=x io.hoist.on_unhealthy=restart plain=kept\n\
         LABEL cdi.k8s.io/all=vendor.com/class=all io.kubernetes.cri-o.Devices=/dev/kmsg io.katacontainers.config=x \
         run.oci.hooks.stderr=/etc/passwd org.criu.config=/etc/passwd io.containerd.image.log-driver=syslog\n\
         ENV HOIST_DATA_ROOT=/evil HOIST_RUN_ROOT=/evil NVIDIA_VISIBLE_DEVICES=all PATH=/bin\n",
    );
    let annotations = "annotations: {cdi.k8s.io/x: vendor.com/class=all, run.oci.keep_original_groups: '1', io.kubernetes.cri-o.Devices: /dev/kmsg}";
    hoist.compose(&format!(
        "services:\n  a: {{build: ., command: sleep 3600, stop_signal: SIGKILL}}\n  d: {{SLEEP}}\n  n: {{SLEEP, {annotations}}}\n"
    ));
    hoist.ok("up -d --build");
    let row = hoist.one("a");
    let labels = row["Labels"].as_str().unwrap_or_default();
    assert!(labels.contains("plain=kept"), "{labels}");
    for bad in [
        "ghost",
        "environment_file",
        "slug",
        "=other",
        "compose.later",
        "on_unhealthy",
    ] {
        assert!(!labels.contains(bad), "{bad} in {labels}");
    }
    // What is in /dev, mounted and limited is what a plain container has.
    let look = "ls /dev; awk '{print $5}' /proc/self/mountinfo; cat /proc/self/limits; awk '/^Cap|^Groups/' /proc/self/status";
    for service in ["a", "n"] {
        assert_eq!(hoist.sh(service, look), hoist.sh("d", look), "{service}");
    }
    hoist.ok("up -d");
    hoist.ok("down");
    assert!(
        hoist.ps().is_empty(),
        "the image's labels hide its container"
    );
}
