//! What of the machine a container is handed in: device nodes, devices by name with all that they bring, rules, GPUs.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_device_has_its_place_and_its_permissions,
    a_directory_hands_in_every_device_below_and_a_link_the_one_it_names,
    device_rules_open_what_they_say_and_nothing_else,
    a_privileged_container_has_every_device_of_the_machine,
    devices_that_are_wrong_are_told_with_their_place,
    a_device_by_name_brings_nodes_mounts_variables_and_groups,
    a_later_directory_and_a_changed_description_win,
    hooks_run_in_their_order_and_place,
    a_hook_that_fails_or_could_be_changed_by_others_ends_the_start,
    gpus_are_counted_and_named,
    a_gpu_that_is_not_described_names_the_command_that_does_it,
    annotations_labels_and_images_add_no_device,
    a_description_that_others_may_change_is_not_used,
    other_runtimes_sockets_and_quotas_are_refused,
    countable_resources_of_a_cluster_are_told_as_ignored,
);

/// A sandbox whose devices are described in `etc` and `run` below the project.
fn sandbox() -> Sandbox {
    let hoist = Sandbox::new();
    for dir in ["etc", "run"] {
        std::fs::create_dir_all(hoist.dir().join(dir)).expect("the project is writable");
    }
    hoist.set("HOIST_CDI_DIRS", "etc:run");
    hoist
}

fn script(hoist: &Sandbox, name: &str, text: &str) -> String {
    let path = hoist.file(name, format!("#!/bin/sh\n{text}\n"));
    let run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, run).expect("the owner may change the mode");
    path.display().to_string()
}

/// A device that may be opened for both without any right but its node's, and does nothing then: 10:229.
const FUSE: &str = "/dev/fuse";
/// Its numbers as `stat` tells them.
const NUMBERS: &str = "a:e5";

fn a_device_has_its_place_and_its_permissions() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, devices: ['{FUSE}', '/dev/null:/dev/k', {{source: {FUSE}, target: /opt/deep/w, permissions: w}}]}}\n  r: \
         {{SLEEP, devices: ['{FUSE}:/dev/k:r']}}\n  b: {{SLEEP, devices: ['{FUSE}:/dev/k:r', '{FUSE}:/dev/l:w']}}\n  m: {{SLEEP, devices: \
         ['{FUSE}:/dev/k:m']}}\n"
    ));
    hoist.ok("up -d");
    let numbers = "stat -c '%n %t:%T' /dev/fuse /dev/k /opt/deep/w";
    let want = format!("/dev/fuse {NUMBERS}\n/dev/k 1:3\n/opt/deep/w {NUMBERS}");
    assert_eq!(hoist.sh("a", numbers), want);
    for (service, read, write, both) in [
        ("r", true, false, false),
        // Two entries for one device add up.
        ("b", true, true, true),
        ("m", false, false, false),
    ] {
        let can = |how: &str| hoist.exec(service, &format!("exec 5{how}/dev/k")).code == 0;
        assert_eq!(
            (can("<"), can(">"), can("<>")),
            (read, write, both),
            "{service}"
        );
    }
    // The rule is for the device, not for the node that was handed in.
    assert_ne!(
        hoist
            .exec("r", "mknod /tmp/own c 10 229 && : > /tmp/own")
            .code,
        0
    );
}

fn a_directory_hands_in_every_device_below_and_a_link_the_one_it_names() {
    let hoist = Sandbox::new();
    std::os::unix::fs::symlink("/dev/kmsg", hoist.dir().join("link")).expect("a link can be made");
    let link = hoist.dir().join("link").display().to_string();
    hoist.file("node/plain", "no device");
    let nodes = hoist.dir().join("node/sub");
    std::fs::create_dir_all(&nodes).expect("the project is writable");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o640);
    for (name, minor) in [("one", 5), ("two", 11)] {
        let number = nix::sys::stat::makedev(1, minor);
        nix::sys::stat::mknod(
            &nodes.join(name),
            nix::sys::stat::SFlag::S_IFCHR,
            mode,
            number,
        )
        .expect("root makes nodes");
    }
    let dir = hoist.dir().join("node").display().to_string();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, devices: ['{link}:/dev/named', '{dir}:/dev/all:r']}}\n"
    ));
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh(
            "a",
            "cd /dev; stat -c '%n %a %t:%T' named all/sub/*; ls all"
        ),
        "named 644 1:b\nall/sub/one 640 1:5\nall/sub/two 640 1:b\nsub"
    );
}

fn device_rules_open_what_they_say_and_nothing_else() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  d: {SLEEP}\n  r: {SLEEP, device_cgroup_rules: ['c 10:229 mr']}\n  w: {SLEEP, device_cgroup_rules: ['c *:229 w', 'c 10:* m']}\n  \
         a: {SLEEP, device_cgroup_rules: ['a *:* rwm']}\n  o: {SLEEP, device_cgroup_rules: ['a *:* r']}\n  b: {SLEEP, device_cgroup_rules: \
         ['b 10:* rw']}\n",
    );
    hoist.ok("up -d");
    for (service, read, write) in [
        ("d", false, false),
        ("r", true, false),
        // A wildcard allows what it says for each device it fits.
        ("w", false, true),
        ("a", true, true),
        // Nothing but reading, although version 1 of the kernel's controller knows only "all" for it.
        ("o", true, false),
        ("b", false, false),
    ] {
        let _ = hoist.exec(service, "mknod /tmp/k c 10 229").ok();
        let reads = hoist.exec(service, ": < /tmp/k").code == 0;
        let writes = hoist.exec(service, ": > /tmp/k").code == 0;
        assert_eq!((reads, writes), (read, write), "{service}");
    }
}

fn a_privileged_container_has_every_device_of_the_machine() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, privileged: true, devices: ['/dev/null:/dev/mine']}\n  d: {SLEEP}\n");
    hoist.ok("up -d");
    let list = "find /dev -type c -o -type b | grep -v -e /pts/ -e /dev/ptmx -e /dev/console -e /dev/mine | sort";
    let host = std::process::Command::new("sh")
        .args(["-c", list])
        .output()
        .expect("sh runs");
    let inside = hoist.sh("a", list);
    let missing: Vec<&str> = std::str::from_utf8(&host.stdout)
        .expect("text")
        .lines()
        .filter(|path| !path.contains("/shm/") && !inside.lines().any(|have| have == *path))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(hoist.sh("a", "stat -c '%t:%T' /dev/mine"), "1:3");
    assert_eq!(
        hoist
            .exec(
                "a",
                "mknod /tmp/k c 1 11 && dd if=/tmp/k bs=8192 count=1 of=/dev/null"
            )
            .code,
        0
    );
    assert_eq!(hoist.sh("d", "ls /dev/kmsg 2>/dev/null | wc -l"), "0");
}

fn devices_that_are_wrong_are_told_with_their_place() {
    let hoist = Sandbox::new();
    for (entry, told) in [
        (
            "devices: ['/dev/nope:/dev/x']",
            "device `/dev/nope`: this machine has no such device",
        ),
        ("devices: ['/etc/passwd:/dev/x']", "it is no device"),
        ("devices: ['/dev/null:/dev/x:q']", "`q` are no permissions"),
        ("devices: ['/dev/null:x']", "`x` is not an absolute path"),
        (
            "devices: ['null:/dev/x']",
            "neither an absolute path nor a device's full name",
        ),
        (
            "device_cgroup_rules: ['c 1:3']",
            "invalid device cgroup rule `c 1:3`",
        ),
        (
            "device_cgroup_rules: ['c 1:3 x']",
            "invalid device cgroup rule",
        ),
    ] {
        hoist.compose(&format!("services:\n  a:\n    image: tiny\n    {entry}\n"));
        let done = hoist.run("up -d").code(1).says(told);
        assert!(done.all().contains("compose.yaml:4:"), "{}", done.all());
        assert!(hoist.ps().is_empty(), "{entry}");
    }
    // What is missing on this machine must not keep an image from being made.
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist.compose("services:\n  a: {build: ., devices: ['/dev/nope']}\n");
    hoist.ok("build");
}

const ALL: &str = "\
cdiVersion: 0.7.0
kind: v.com/c
containerEdits:
  env: [FROM=etc, OVER=device]
devices:
- name: one
  annotations: {some.key: value}
  containerEdits:
    env: [ONE=1]
    additionalGids: [4242]
    deviceNodes:
    - {path: /dev/mine, hostPath: /dev/fuse, permissions: r, fileMode: 0640, uid: 7, gid: 8}
    - {path: /opt/node, type: c, major: 1, minor: 5}
    - {path: /dev/kmsg, permissions: none}
    mounts:
    - {hostPath: DIR/lib, containerPath: /opt/lib, options: [ro, nosuid, nodev, rbind, rprivate]}
    - {hostPath: DIR/lib/file, containerPath: /opt/rw, options: [rw, noexec]}
    - {hostPath: tmpfs, containerPath: /opt/mem, type: tmpfs, options: [size=64k]}
- name: two
  containerEdits: {env: [TWO=2]}
";

fn describe(hoist: &Sandbox) {
    hoist.file("lib/file", "driver");
    hoist.file(
        "etc/v.yaml",
        ALL.replace("DIR", &hoist.dir().display().to_string()),
    );
}

fn a_device_by_name_brings_nodes_mounts_variables_and_groups() {
    let hoist = sandbox();
    describe(&hoist);
    hoist.compose(
        "services:\n  a: {SLEEP, user: '1000:1000', environment: {OVER: mine}, devices: ['v.com/c=one']}\n  \
         d: {SLEEP, gpus: [{driver: cdi, device_ids: ['v.com/c=two']}]}\n  \
         r: {SLEEP, deploy: {resources: {reservations: {devices: [{driver: cdi, capabilities: [x], device_ids: ['v.com/c=two']}]}}}}\n  n: {SLEEP}\n",
    );
    hoist.ok("up -d");
    let one = "tr '\\0' '\\n' < /proc/1/environ | grep -e ^FROM -e ^ONE -e ^TWO -e ^OVER | sort";
    assert_eq!(hoist.sh("a", one), "FROM=etc\nONE=1\nOVER=device");
    for service in ["d", "r"] {
        assert_eq!(hoist.sh(service, one), "FROM=etc\nOVER=device\nTWO=2");
    }
    assert_eq!(hoist.sh("n", one), "");
    assert_eq!(
        hoist.sh("a", "awk '/^Groups:/{print $2, $3, $4}' /proc/1/status"),
        "1000 4242"
    );
    assert_eq!(
        hoist.sh(
            "a",
            "stat -c '%a %u:%g %t:%T' /dev/mine /opt/node /dev/kmsg"
        ),
        "640 7:8 a:e5\n666 1000:1000 1:5\n666 1000:1000 1:b"
    );
    let root = |line: &str| hoist.run(&format!("exec -T -u 0 a sh -c '{line}'"));
    assert_eq!(root(": < /dev/mine").code, 0);
    root(": > /dev/mine").code(1);
    assert_eq!(root("cat /opt/lib/file").out, "driver");
    root("echo x > /opt/lib/file").code(1).says("Read-only");
    root("echo x > /opt/rw").ok();
    assert_eq!(
        std::fs::read_to_string(hoist.dir().join("lib/file")).expect("it is there"),
        "x\n"
    );
    let options = |place: &str| {
        hoist.sh(
            "a",
            &format!("awk '$5 == \"{place}\" {{print $6}}' /proc/self/mountinfo"),
        )
    };
    for word in ["ro", "nosuid", "nodev"] {
        assert!(
            options("/opt/lib").split(',').any(|have| have == word),
            "{}",
            options("/opt/lib")
        );
    }
    assert!(options("/opt/rw").contains("noexec"));
    assert_eq!(hoist.sh("a", "df -k /opt/mem | awk 'END{print $2}'"), "64");
}

fn a_later_directory_and_a_changed_description_win() {
    let hoist = sandbox();
    describe(&hoist);
    let one = |value: &str| {
        format!(
            r#"{{"cdiVersion":"1.0.0","kind":"v.com/c","devices":[{{"name":"two","containerEdits":{{"env":["TWO={value}"]}}}}]}}"#
        )
    };
    hoist.file("run/later.json", one("later"));
    hoist.compose("services:\n  a: {SLEEP, devices: ['v.com/c=two']}\n");
    hoist.ok("up -d");
    let two = "tr '\\0' '\\n' < /proc/1/environ | grep ^TWO";
    assert_eq!(hoist.sh("a", two), "TWO=later");
    hoist.file("run/later.json", one("changed"));
    hoist.ok("restart -t 0");
    assert_eq!(hoist.sh("a", two), "TWO=changed");
    // Two descriptions in one directory are none.
    hoist.file("run/other.json", one("other"));
    hoist.compose("services:\n  b: {SLEEP, devices: ['v.com/c=two']}\n");
    hoist
        .run("up -d b")
        .code(1)
        .says("later.json and")
        .says("other.json describe it");
    // A container that exists says so when it is started.
    for name in ["run/later.json", "run/other.json", "etc/v.yaml"] {
        std::fs::remove_file(hoist.dir().join(name)).expect("it is there");
    }
    hoist.compose("services:\n  a: {SLEEP, devices: ['v.com/c=two']}\n");
    hoist
        .run("restart -t 0")
        .code(1)
        .says("`v.com/c=two` is not described in");
}

fn hooks_run_in_their_order_and_place() {
    let hoist = sandbox();
    let log = hoist.dir().join("log");
    let told = hoist.dir().join("told");
    // The first looks at the container from outside, the second from its namespaces at its root before it is one.
    let outside = script(
        &hoist,
        "outside",
        &format!(
            "cat > {told}; echo $1 pid=$(grep -o '\"pid\":[0-9]*' {told} | cut -d: -f2 | xargs -I% sh -c 'test -d /proc/%/ns && echo seen') $LEFT$KEPT \
         net=$(test $(readlink /proc/self/ns/mnt) = $(readlink /proc/{}/ns/mnt) && echo host) >> {}",
            std::process::id(),
            log.display(),
            told = told.display(),
        ),
    );
    let inside = script(
        &hoist,
        "inside",
        &format!(
            "state=$(cat); bundle=$(echo \"$state\" | sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/'); root=$(sed 's/.*\"path\":\"\\([^\"]*\\)\".*/\\1/' \
         $bundle/config.json); echo made > $root/opt/made-by-hook; ln -s libx.so.1 $root/opt/link; echo $1 \
         $(test -e $root/bin/busybox && echo image) $(test -c $root/dev/null && echo dev) \
         net=$(test $(readlink /proc/self/ns/mnt) = $(readlink /proc/{}/ns/mnt) && echo host) >> {}",
            std::process::id(),
            log.display(),
        ),
    );
    hoist.file(
        "etc/h.yaml",
        format!(
            "cdiVersion: 0.6.0\nkind: v.com/c\ndevices:\n- name: x\n  containerEdits:\n    mounts: [{{hostPath: /etc/hostname, containerPath: \
             /opt/x}}]\n    hooks:\n    - {{hookName: poststop, path: {outside}, args: [o, poststop], env: [KEPT=kept, 'PATH=/usr/bin:/bin']}}\n    - \
             {{hookName: startContainer, path: /bin/sh, args: [sh, -c, 'cat > /tmp/state; id -u > /tmp/started']}}\n    - {{hookName: createContainer, \
             path: {inside}, args: [i, createContainer], env: ['PATH=/usr/bin:/bin']}}\n    - {{hookName: createRuntime, path: {outside}, args: [o, \
             createRuntime], env: ['PATH=/usr/bin:/bin']}}\n    - {{hookName: poststart, path: {outside}, args: [o, poststart], env: \
             ['PATH=/usr/bin:/bin']}}\n"
        ),
    );
    hoist.set("LEFT", "leaked");
    hoist.compose("services:\n  a: {SLEEP, user: '1000', read_only: true, tmpfs: ['/tmp:mode=1777'], devices: ['v.com/c=x'], annotations: {an: note}}\n");
    hoist.ok("up -d");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(
        lines(),
        "createRuntime pid=seen net=host\ncreateContainer image dev net=\npoststart pid=seen net=host\n"
    );
    assert_eq!(
        hoist.sh(
            "a",
            "cat /opt/made-by-hook; readlink /opt/link; cat /tmp/started"
        ),
        "made\nlibx.so.1\n1000"
    );
    let state = hoist.sh("a", "cat /tmp/state");
    assert!(
        state.contains("\"status\":\"created\"") && state.contains("\"an\":\"note\""),
        "{state}"
    );
    assert_eq!(
        hoist.exec("a", "touch /opt/y").code,
        1,
        "the root is read-only in the end"
    );
    hoist.ok("down -t 0");
    eventually("the last hook has run", || {
        lines()
            .contains("poststop pid= kept net=host")
            .then_some(())
    });
}

fn a_hook_that_fails_or_could_be_changed_by_others_ends_the_start() {
    let hoist = sandbox();
    let bad = script(&hoist, "bad", "echo it broke; echo badly >&2; exit 3");
    let slow = script(&hoist, "slow", "exec sleep 1000");
    let open = script(&hoist, "open", "exit 0");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777))
        .expect("the owner may change the mode");
    let hook = |moment: &str, path: &str| {
        hoist.file(
            "etc/h.yaml",
            format!(
                "cdiVersion: 0.6.0\nkind: v.com/c\ndevices:\n- name: x\n  containerEdits:\n    hooks:\n    - {{hookName: {moment}, path: {path}, timeout: 1}}\n"
            ),
        );
    };
    hoist.compose("services:\n  a: {SLEEP, devices: ['v.com/c=x']}\n");
    for moment in ["createRuntime", "createContainer", "poststart"] {
        for (path, told) in [
            (bad.as_str(), "ended with exit code 3: it broke\nbadly"),
            (slow.as_str(), "did not end within 1 s"),
            (open.as_str(), "others than root may change it"),
            ("/no/such/hook", "cannot run the hook /no/such/hook"),
        ] {
            hook(moment, path);
            hoist.run("up -d").code(1).says(told);
            assert_ne!(hoist.state("a"), "running", "{moment} {path}");
        }
    }
}

const CARDS: &str = "\
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- {name: '0', containerEdits: {env: [G0=y]}}
- {name: '1', containerEdits: {env: [G1=y]}}
- {name: GPU-aa, containerEdits: {env: [GA=y]}}
- {name: all, containerEdits: {env: [GALL=y]}}
";

fn gpus_are_counted_and_named() {
    let hoist = sandbox();
    hoist.file("etc/nvidia.yaml", CARDS);
    hoist.file(
        "img/Dockerfile",
        "FROM tiny\nENV NVIDIA_VISIBLE_DEVICES=1\n",
    );
    let reserve = |request: &str| {
        format!("SLEEP, deploy: {{resources: {{reservations: {{devices: [{request}]}}}}}}")
    };
    hoist.compose(&format!(
        "services:\n  all: {{SLEEP, gpus: all}}\n  one: {{SLEEP, gpus: [{{count: 1}}]}}\n  two: {{SLEEP, gpus: [{{count: 2, driver: nvidia, capabilities: \
         [compute, utility]}}]}}\n  id: {{SLEEP, gpus: [{{device_ids: ['GPU-aa', '1']}}]}}\n  opt: {{SLEEP, gpus: [{{count: all, options: {{a: b}}}}]}}\n  \
         res: {{{}}}\n  resid: {{{}}}\n  run: {{SLEEP, build: img, image: ownimg, runtime: nvidia}}\n  off: {{SLEEP, image: ownimg, runtime: runc}}\n",
        reserve("{driver: nvidia, count: 1, capabilities: [gpu]}"),
        reserve("{device_ids: ['1'], capabilities: [gpu]}"),
    ).replace("SLEEP, build: img, image: ownimg", "build: img, image: ownimg, command: sleep 3600, stop_signal: SIGKILL").replace("SLEEP, image: ownimg", "image: ownimg, command: sleep 3600, stop_signal: SIGKILL"));
    hoist.ok("build run");
    let told = hoist.ok("up -d").all();
    assert!(told.contains("`options` of a device request"), "{told}");
    let cards = "tr '\\0' '\\n' < /proc/1/environ | grep ^G | sort | tr '\\n' ' '";
    for (service, want) in [
        ("all", "GALL=y"),
        ("one", "G0=y"),
        ("two", "G0=y G1=y"),
        ("id", "G1=y GA=y"),
        ("opt", "GALL=y"),
        ("res", "G0=y"),
        ("resid", "G1=y"),
        ("run", "G1=y"),
        ("off", ""),
    ] {
        assert_eq!(hoist.sh(service, cards), want, "{service}");
    }
    for (request, told) in [
        (
            "gpus: [{count: 3}]",
            "3 devices of `nvidia.com/gpu` are asked for, but this machine has 2",
        ),
        (
            "gpus: [{device_ids: ['9']}]",
            "this machine has no device `nvidia.com/gpu=9`",
        ),
        (
            "gpus: [{driver: tpu, count: 1}]",
            "could not select device driver \"tpu\"",
        ),
        (
            "gpus: [{driver: cdi, count: 1}]",
            "driver `cdi` takes devices by name",
        ),
        (
            "gpus: [{driver: cdi, device_ids: [nvidia.com/gpu=0], options: {a: b}}]",
            "driver `cdi` takes no options",
        ),
    ] {
        hoist.compose(&format!(
            "services:\n  a:\n    image: tiny\n    {request}\n"
        ));
        let done = hoist.run("up -d").code(1).says(told);
        assert!(done.all().contains("compose.yaml:4:"), "{}", done.all());
    }
}

fn a_gpu_that_is_not_described_names_the_command_that_does_it() {
    let hoist = sandbox();
    for request in [
        "gpus: all",
        "devices: ['nvidia.com/gpu=0']",
        "gpus: [{count: 1}]",
    ] {
        hoist.compose(&format!(
            "services:\n  a:\n    image: tiny\n    {request}\n"
        ));
        let done = hoist.run("up -d").code(1);
        let done = done
            .says("sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")
            .says("nvidia.com/gpu");
        assert!(done.all().contains("/dev/nvidia"), "{}", done.all());
    }
    // A file that can't be used is told then too.
    hoist.file("etc/broken.yaml", "cdiVersion: 9.0.0\nkind: a\n");
    hoist.run("up -d").code(1).says("broken.yaml is not used");
    hoist.compose("services: {a: {image: tiny, devices: ['v.com/c=x y']}}\n");
    hoist.run("up -d").code(1).says("the name `x y` must");
}

fn annotations_labels_and_images_add_no_device() {
    let hoist = sandbox();
    describe(&hoist);
    hoist.file("etc/nvidia.yaml", CARDS);
    hoist.file(
        "Dockerfile",
        "FROM tiny\nLABEL cdi.k8s.io/evil=v.com/c=one devices=v.com/c=one\nENV NVIDIA_VISIBLE_DEVICES=all CDI_DEVICES=v.com/c=one\n",
    );
    hoist.compose(
        "services:\n  a:\n    build: .\n    command: sleep 3600\n    stop_signal: SIGKILL\n    annotations: {cdi.k8s.io/evil: v.com/c=one}\n    labels: \
         {cdi.k8s.io/evil: v.com/c=one}\n",
    );
    hoist.ok("up -d");
    let line = "tr '\\0' '\\n' < /proc/1/environ | grep -c -e ^ONE -e ^FROM -e ^G; ls /dev/mine /opt/lib 2>/dev/null | wc -l";
    assert_eq!(hoist.exec("a", line).out.trim(), "0\n0");
    // Where the image may choose among GPUs, it can't name anything else.
    hoist.file(
        "Dockerfile",
        "FROM tiny\nENV NVIDIA_VISIBLE_DEVICES=v.com/c=one\n",
    );
    hoist.compose("services: {a: {build: ., runtime: nvidia}}\n");
    hoist.ok("build");
    hoist
        .run("up -d")
        .code(1)
        .says("NVIDIA_VISIBLE_DEVICES: the name `v.com/c=one` must");
}

fn a_description_that_others_may_change_is_not_used() {
    let hoist = sandbox();
    describe(&hoist);
    let path = hoist.dir().join("etc/v.yaml");
    hoist.compose("services: {a: {SLEEP, devices: ['v.com/c=two']}}\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
        .expect("the owner may change the mode");
    hoist
        .run("up -d")
        .code(1)
        .says("v.yaml is not used: others than root may change it");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
        .expect("the owner may change the mode");
    hoist.ok("up -d");
}

fn other_runtimes_sockets_and_quotas_are_refused() {
    let hoist = Sandbox::new();
    for (entry, told) in [
        ("runtime: runsc", "unknown or invalid runtime name: runsc"),
        (
            "use_api_socket: true",
            "hoist has no engine, and so no engine's socket to hand in",
        ),
        ("storage_opt: {size: 1G}", "project quotas"),
        ("storage_opt: {sise: 1G}", "unknown option `sise`"),
    ] {
        hoist.compose(&format!("services:\n  a:\n    image: tiny\n    {entry}\n"));
        let done = hoist.run("up -d").code(1).says(told);
        assert!(done.all().contains("compose.yaml:"), "{}", done.all());
    }
    for name in ["runc", "io.containerd.runc.v2", "crun", "youki", "''"] {
        hoist.compose(&format!(
            "services:\n  a: {{image: tiny, command: 'true', runtime: {name}}}\n"
        ));
        let done = hoist.ok("up -d --force-recreate");
        assert!(!done.all().contains("warning"), "{}", done.all());
    }
}

fn countable_resources_of_a_cluster_are_told_as_ignored() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: ssd, value: 1}}]}}}}\n",
    );
    let told = hoist.ok("up -d").all();
    assert!(told.contains("generic_resources"), "{told}");
    assert_eq!(hoist.state("a"), "running");
}
