//! Steps of builds: what a `RUN` sees, may do and is limited to, and a look into one that failed.

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::process::{Done, is_alive};
use crate::harness::{ENGINE, Need, Running, Sandbox, eventually};

crate::cases!(ENGINE;
    bind_mounts_show_files_of_contexts_stages_and_images,
    a_tmpfs_is_empty_bounded_and_runs_programs,
    secrets_are_files_or_variables_with_the_owner_that_is_asked,
    a_secret_that_is_missing_is_left_out_or_fails_the_step,
    a_cache_begins_as_is_asked_and_is_known_by_its_id,
    caches_are_shared_or_kept_apart_or_waited_for,
    two_steps_that_want_the_same_caches_do_not_wait_for_each_other,
    a_namespace_keeps_caches_of_equal_names_apart,
    networks_of_a_step_are_the_outside_none_or_the_hosts_if_allowed,
    an_insecure_step_has_every_right_only_if_allowed,
    a_described_device_is_there_if_allowed,
    a_step_that_uses_too_much_memory_is_told_so,
    limits_of_a_build_hold_in_its_steps,
    a_step_that_forks_for_ever_is_bounded_and_ends_with_the_build,
    what_a_step_leaves_running_ends_with_it,
    a_flood_of_output_is_clipped_and_its_end_is_shown,
    control_sequences_of_a_step_do_not_reach_the_terminal,
    a_program_for_another_machine_is_told_with_a_way_out,
    a_build_that_is_killed_leaves_nothing_and_can_be_done_again,
    a_shell_opens_in_a_step_that_failed_and_the_build_goes_on_from_there,
    without_a_terminal_debug_says_that_it_does_nothing,
    a_step_that_fills_the_disk_says_so_and_leaves_room,
    further_hosts_have_names_in_a_step,
);

/// Cases with an agent.
pub const AGENTS: &[crate::harness::Case] = &[crate::harness::Case {
    name: concat!(
        module_path!(),
        "::an_agent_or_key_is_lent_to_a_step_for_signing_only"
    ),
    needs: &[
        Need::Root,
        Need::Busybox,
        Need::Program("ssh-agent"),
        Need::Program("ssh-add"),
        Need::Program("ssh-keygen"),
    ],
    run: an_agent_or_key_is_lent_to_a_step_for_signing_only,
}];

/// Builds the project's Dockerfile.
fn build(hoist: &Sandbox, text: &str, options: &str) -> Done {
    hoist.file("Dockerfile", text);
    let mut words = vec!["image", "build", "--progress", "plain"];
    words.extend(options.split_whitespace());
    words.push(".");
    hoist.global(&words)
}

/// The process of a step whose command holds a word.
pub fn step(word: &str) -> i32 {
    eventually(&format!("the step with {word} runs"), || {
        let dirs = std::fs::read_dir("/proc").ok()?.flatten();
        dirs.filter_map(|dir| dir.file_name().to_str()?.parse::<i32>().ok())
            .find(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let inside = std::fs::read_to_string(format!("/proc/{pid}/status"))
                    .unwrap_or_default()
                    .lines()
                    .any(|line| line.starts_with("NSpid:") && line.split_whitespace().count() == 3);
                inside && String::from_utf8_lossy(&line).contains(word)
            })
    })
}

/// The cgroup directories of a process.
pub fn cgroups(pid: i32) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let mut found = Vec::new();
    for line in text.lines() {
        let path = line
            .splitn(3, ':')
            .nth(2)
            .unwrap_or_default()
            .trim_start_matches('/');
        for top in crate::harness::leftovers::children(std::path::Path::new("/sys/fs/cgroup")) {
            found.push(top.join(path));
        }
        found.push(PathBuf::from("/sys/fs/cgroup").join(path));
    }
    found.retain(|dir| dir.is_dir() && dir.to_string_lossy().contains("/step-"));
    found
}

/// Nothing of a step is left in the kernel.
pub fn gone(hoist: &Sandbox, pid: i32, groups: &[PathBuf]) {
    eventually("the step is gone", || (!is_alive(pid)).then_some(()));
    eventually("its cgroups are gone", || {
        groups.iter().all(|dir| !dir.exists()).then_some(())
    });
    let root = hoist.data();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
    assert!(!mounts.contains(&*root.to_string_lossy()), "{mounts}");
    assert_eq!(hoist.leftovers(), Vec::<String>::new());
}

fn bind_mounts_show_files_of_contexts_stages_and_images() {
    let hoist = Sandbox::new();
    hoist.file("in/a", "from the context\n");
    hoist.file("secret.log", "ignored\n");
    hoist.file(".dockerignore", "*.log\n");
    build(
        &hoist,
        "FROM tiny AS made\nRUN mkdir /out && echo made > /out/b && ln -s /out/b /link\n\
         FROM tiny\nARG WHERE=in\nWORKDIR /here\n\
         RUN --mount=type=bind,source=$WHERE,target=x test \"$(cat /here/x/a)\" = 'from the context' && ! touch x/new\n\
         RUN --mount=type=bind,source=in/a,target=/file,readonly,id=unused test \"$(cat /file)\" = 'from the context'\n\
         RUN --mount=target=/all test -e /all/Dockerfile && test ! -e /all/secret.log\n\
         RUN --mount=type=bind test -e /here/Dockerfile && test ! -e /here/secret.log\n\
         RUN --mount=from=made,source=/out,dst=/m,rw test \"$(cat /m/b)\" = made && echo more > /m/c && test -e /m/c\n\
         RUN --mount=from=made,source=/out,dst=/m,rw test \"$(df -Pk /m | awk 'END {print $2}')\" = \"$(df -Pk / | awk 'END {print $2}')\"\n\
         RUN --mount=from=made,source=/out,dst=/m test ! -e /m/c\n\
         RUN --mount=from=made,source=/link,target=/l test \"$(cat /l)\" = made\n\
         RUN --mount=from=tiny,target=/tiny test -x /tiny/bin/busybox\n\
         RUN --mount=type=bind,source=in,target=/w,rw echo changed > /w/a && test \"$(cat /w/a)\" = changed\n\
         RUN test ! -e /m && test ! -e /tiny && test ! -e /file && test ! -e /here/x && test -z \"$(ls /here)\"\n",
        "-t out",
    )
    .ok();
    let kept = std::fs::read_to_string(hoist.dir().join("in/a")).expect("it was there");
    assert_eq!(kept, "from the context\n", "a build changes no context");
}

fn a_tmpfs_is_empty_bounded_and_runs_programs() {
    let hoist = Sandbox::new();
    build(
        &hoist,
        "FROM tiny\nRUN mkdir /t && echo below > /t/below\n\
         RUN --mount=type=tmpfs,target=/t,size=1m test -z \"$(ls /t)\" && test \"$(stat -c %a /t)\" = 1777 && \
         ! dd if=/dev/zero of=/t/big bs=64k count=32 && cp /bin/busybox /t/sh; rm /t/big; printf '#!/bin/sh\\nexit 0\\n' > /t/x && \
         chmod 755 /t/x && /t/x\n\
         RUN --mount=type=tmpfs,target=/t,ro ! touch /t/x\n\
         RUN test \"$(ls /t)\" = below\n",
        "",
    )
    .ok();
}

fn secrets_are_files_or_variables_with_the_owner_that_is_asked() {
    let hoist = Sandbox::new();
    hoist.file("../token", "swordfish\n");
    build(
        &hoist,
        "FROM tiny\nWORKDIR /w\n\
         RUN --mount=type=secret,id=t test \"$(cat /run/secrets/t)\" = swordfish && \
         test \"$(stat -c '%a %u %g' /run/secrets/t)\" = '400 0 0'\n\
         RUN --mount=type=secret,id=t,target=rel,mode=0640,uid=3,gid=4 test \"$(stat -c '%a %u %g' /w/rel)\" = '640 3 4'\n\
         RUN --mount=type=secret,id=t,env=TOKEN test \"$TOKEN\" = \"$(printf 'swordfish\\n.' | tr -d .)\" || test \"$TOKEN\" = 'swordfish'; \
         test -n \"$TOKEN\" && test ! -e /run/secrets\n\
         RUN --mount=type=secret,id=t,env=TOKEN,target=/both test -n \"$TOKEN\" && test -e /both\n\
         RUN --mount=type=secret,source=t,dst=/old,required=true test -e /old && ! echo x > /old\n\
         RUN test -z \"$TOKEN\" && test ! -e /run && test ! -e /both && test -z \"$(ls /w)\"\n",
        "--secret id=t,src=../token",
    )
    .ok();
}

fn a_secret_that_is_missing_is_left_out_or_fails_the_step() {
    let hoist = Sandbox::new();
    let optional = "FROM tiny\nRUN --mount=type=secret,id=t test ! -e /run/secrets\n";
    build(&hoist, optional, "").ok();
    let required = "FROM tiny\nRUN --mount=type=secret,id=t,required true\n";
    build(&hoist, required, "")
        .code(1)
        .says("secret t: not found")
        .says("Dockerfile:2")
        .says("--secret id=t");
    hoist.file("../token", "swordfish\n");
    build(&hoist, required, "--secret id=t,src=../token").ok();
    build(&hoist, required, "").ok().says("CACHED");
    build(
        &hoist,
        "FROM tiny\nRUN --mount=type=ssh,required true\n",
        "",
    )
    .code(1)
    .says("no ssh agent or key was given as \"default\"");
    build(
        &hoist,
        "FROM tiny\nRUN --mount=type=ssh test \"$SSH_AUTH_SOCK\" = /run/buildkit/ssh_agent.0 && test ! -e /run\n",
        "",
    )
    .ok();
}

fn a_cache_begins_as_is_asked_and_is_known_by_its_id() {
    let hoist = Sandbox::new();
    build(
        &hoist,
        "FROM tiny AS seed\nRUN mkdir /d && echo hi > /d/f && chown -R 7:8 /d && chmod 700 /d\n\
         FROM tiny\nWORKDIR /w\n\
         RUN --mount=type=cache,target=c test \"$(stat -c '%a %u %g' c)\" = '755 0 0' && mkdir c/sub && touch c/sub/x\n\
         RUN --mount=type=cache,id=c,target=/other test -e /other/sub/x\n\
         RUN --mount=type=cache,id=c,source=sub,target=/s test -e /s/x\n\
         RUN --mount=type=cache,target=/w/c test -z \"$(ls c)\"\n\
         RUN --mount=type=cache,target=/o,uid=5,gid=6,mode=0770 test \"$(stat -c '%a %u %g' /o)\" = '770 5 6' && touch /o/y\n\
         RUN --mount=type=cache,target=/o test -z \"$(ls /o)\"\n\
         RUN --mount=type=cache,target=/o,ro ! touch /o/x\n\
         RUN --mount=type=cache,target=/f,from=seed,source=/d test \"$(stat -c '%a %u %g' /f)\" = '700 7 8' && \
         test \"$(cat /f/f)\" = hi && touch /f/new\n\
         RUN --mount=type=cache,target=/f,from=seed,source=/d test -e /f/new && test ! -e /d\n\
         RUN test ! -e /o && test ! -e /s && test ! -e /f && test -z \"$(ls /w)\"\n",
        "",
    )
    .ok();
    build(
        &hoist,
        "FROM tiny\nRUN --mount=type=cache,id=c,target=/s,source=nope true\n",
        "",
    )
    .code(1)
    .says("source \"nope\" of the cache \"c\"");
}

/// Two stages that run side by side, each in a cache for as long as the other needs to be seen there.
fn caches_are_shared_or_kept_apart_or_waited_for() {
    let hoist = Sandbox::new();
    let met = |sharing: &str, look: &str| {
        let mount = format!("--mount=type=cache,id={sharing},target=/c,sharing={sharing}");
        let meet = "--mount=type=cache,id=meet,target=/meet";
        format!(
            "FROM tiny AS a\nRUN {mount} {meet} touch /c/a /meet/a; i=0; while [ ! -e /meet/b ] && [ $i -lt {look} ]; do sleep 0.1; \
             i=$((i+1)); done; ls /c > /saw\nFROM tiny AS b\nRUN {mount} {meet} while [ ! -e /meet/a ]; do sleep 0.1; done; ls /c > /saw; \
             touch /c/b /meet/b\nFROM tiny\nCOPY --from=a /saw /a\nCOPY --from=b /saw /b\n"
        )
    };
    let saw = |sharing: &str, look: &str| {
        build(&hoist, &met(sharing, look), "--no-cache -t out").ok();
        hoist.compose("services:\n  a: {image: out}\n");
        let out = hoist
            .ok("run --rm -T a sh -c 'echo $(cat /a) / $(cat /b)'")
            .out;
        let clean = "FROM tiny\nRUN --mount=type=cache,id=meet,target=/meet rm -f /meet/*\n";
        build(&hoist, clean, "--no-cache").ok();
        out.trim().to_owned()
    };
    assert_eq!(saw("shared", "300"), "a b / a");
    assert_eq!(saw("private", "300"), "a /");
}

fn two_steps_that_want_the_same_caches_do_not_wait_for_each_other() {
    let hoist = Sandbox::new();
    let [x, y] =
        ["x", "y"].map(|id| format!("--mount=type=cache,id={id},target=/{id},sharing=locked"));
    let add = "n=$(cat /x/n 2>/dev/null || echo 0); sleep 0.3; echo $((n+1)) > /x/n";
    build(
        &hoist,
        &format!(
            "FROM tiny AS a\nRUN {x} {y} {add}; touch /a\nFROM tiny AS b\nRUN {y} {x} {add}; touch /b\n\
             FROM tiny AS c\nRUN {x} --mount=type=cache,id=x,target=/again,sharing=locked {add}; test -e /again/n; touch /c\n\
             FROM tiny\nCOPY --from=a /a /a\nCOPY --from=b /b /b\nCOPY --from=c /c /c\n\
             RUN {x} test \"$(cat /x/n)\" = 3\n"
        ),
        "",
    )
    .ok();
}

fn a_namespace_keeps_caches_of_equal_names_apart() {
    let hoist = Sandbox::new();
    let text = "FROM tiny\nRUN --mount=type=cache,target=/c test ! -e /c/x && touch /c/x\n";
    build(&hoist, text, "--no-cache").ok();
    build(&hoist, text, "--no-cache").code(1);
    build(
        &hoist,
        text,
        "--no-cache --build-arg BUILDKIT_CACHE_MOUNT_NS=own",
    )
    .ok();
    build(
        &hoist,
        "FROM tiny\nRUN test \"$(hostname)\" = mine\n",
        "--build-arg BUILDKIT_SANDBOX_HOSTNAME=mine",
    )
    .ok();
    build(
        &hoist,
        "FROM tiny\nRUN test \"$(hostname)\" = buildkitsandbox && ! env | grep HOSTNAME\n",
        "",
    )
    .ok();
}

fn networks_of_a_step_are_the_outside_none_or_the_hosts_if_allowed() {
    let hoist = Sandbox::new();
    let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    let own = own.display();
    build(
        &hoist,
        &format!(
            "FROM tiny\nRUN --network=none test \"$(ls /sys/class/net)\" = lo && test \"$(readlink /proc/self/ns/net)\" != '{own}'\n\
             RUN --network=default test -e /sys/class/net/eth0 && test \"$(readlink /proc/self/ns/net)\" != '{own}'\n"
        ),
        "",
    )
    .ok();
    let host =
        format!("FROM tiny\nRUN --network=host test \"$(readlink /proc/self/ns/net)\" = '{own}'\n");
    build(&hoist, &host, "")
        .code(1)
        .says("network.host is not allowed")
        .says("Dockerfile:2")
        .says("--allow network.host");
    build(&hoist, &host, "--allow network.host").ok();
    build(&hoist, &host, "--network host --no-cache").ok();
    build(&hoist, "FROM tiny\nRUN true\n", "--allow everything")
        .code(1)
        .says("unknown entitlement `everything`");
}

fn an_insecure_step_has_every_right_only_if_allowed() {
    let hoist = Sandbox::new();
    let text = "FROM tiny\nRUN --security=insecure mkdir /m && mount -t tmpfs none /m && grep -q '^Seccomp:.*0' /proc/self/status && \
                umount /m && rmdir /m && : > /proc/sys/kernel/domainname\nRUN --security=sandbox ! mount -t tmpfs none /tmp\n";
    build(&hoist, text, "")
        .code(1)
        .says("security.insecure is not allowed");
    build(&hoist, text, "--allow network.host").code(1);
    build(&hoist, text, "--allow security.insecure").ok();
    // A known result does not make up for the permission.
    build(&hoist, text, "")
        .code(1)
        .says("security.insecure is not allowed");
    hoist.compose("services:\n  a: {build: {context: .}}\n");
    hoist
        .run("build")
        .code(1)
        .says("security.insecure is not allowed");
    hoist
        .run("up -d")
        .code(1)
        .says("security.insecure is not allowed");
    hoist.compose("services:\n  a: {build: {context: ., entitlements: [security.insecure]}}\n");
    hoist.ok("build --no-cache");
    hoist.compose("services:\n  a: {build: {context: ., privileged: true}}\n");
    hoist.ok("build --no-cache");
}

fn a_described_device_is_there_if_allowed() {
    let hoist = Sandbox::new();
    hoist.set("HOIST_CDI_DIRS", "cdi");
    hoist.file(
        "cdi/v.json",
        r#"{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"one","containerEdits":{"env":["ONE=here"],
           "deviceNodes":[{"path":"/dev/mine","hostPath":"/dev/zero"}]}}]}"#,
    );
    let text = "FROM tiny\nRUN --device=v.com/c=one,required test \"$ONE\" = here && head -c 1 /dev/mine > /byte\n";
    build(&hoist, text, "")
        .code(1)
        .says("device is not allowed");
    build(&hoist, text, "--allow device=other.com/c").code(1);
    build(&hoist, text, "--allow device").ok();
    build(&hoist, text, "--allow device=v.com/c --no-cache").ok();
    let absent =
        |options: &str| format!("FROM tiny\nRUN --device=v.com/c=two{options} test -z \"$ONE\"\n");
    build(&hoist, &absent(""), "--allow device").ok();
    build(&hoist, &absent(",required"), "--allow device")
        .code(1)
        .says("v.com/c=two");
}

fn a_step_that_uses_too_much_memory_is_told_so() {
    let hoist = Sandbox::new();
    let text = "FROM tiny\nRUN x=$(dd if=/dev/zero bs=1M count=200 | tr '\\0' a); echo done\n";
    build(&hoist, text, "-m 32m")
        .code(1)
        .says("was killed: it used more than its memory limit of 32MiB")
        .says("Dockerfile:2")
        .says("raise --memory");
    hoist.compose("services:\n  a: {build: .}\n");
    hoist
        .run("build -m 32m")
        .code(1)
        .says("memory limit of 32MiB");
}

fn limits_of_a_build_hold_in_its_steps() {
    let hoist = Sandbox::new();
    let file = |v1: &str, v2: &str| {
        format!("$(cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2})")
    };
    let [memory, pids, shares] = [
        file("memory/memory.limit_in_bytes", "memory.max"),
        file("pids/pids.max", "pids.max"),
        file("cpu/cpu.shares", "cpu.weight"),
    ];
    let limits = "FROM tiny\n";
    build(&hoist, &format!("{limits}RUN test \"{pids}\" = 8192\n"), "").ok();
    build(
        &hoist,
        &format!(
            "{limits}RUN test \"{memory}\" = 67108864 && test \"{pids}\" = 50 && echo \"{shares}\" | grep -qE '^(512|20|59)$'\n\
             RUN test \"$(ulimit -n)\" = 100 && test \"$(ulimit -Hn)\" = 200 && test \"$(df -k /dev/shm | awk 'NR == 2 {{print $2}}')\" = 1024\n"
        ),
        "-m 64m --pids-limit 50 -c 512 --ulimit nofile=100:200 --shm-size 1m",
    )
    .ok();
    build(
        &hoist,
        "FROM tiny\nRUN i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; jobs | wc -l; exit 4\n",
        "--pids-limit 20",
    )
    .code(1)
    .says("reached its limit of 20 processes");
    for (options, says) in [
        ("-m 1m", "the least is 6m"),
        ("--memory-swap 1g", "give --memory as well"),
        (
            "--ulimit nofile=3:2",
            "the soft limit is above the hard one",
        ),
        ("--ulimit nope=3", "nope"),
    ] {
        build(&hoist, "FROM tiny\nRUN false\n", options)
            .code(1)
            .says(says);
    }
    hoist.compose(
        "services:\n  a: {build: {context: ., ulimits: {nofile: {soft: 100, hard: 200}}}}\n",
    );
    hoist.file("Dockerfile", "FROM tiny\nRUN test \"$(ulimit -n)\" = 100\n");
    hoist.ok("build");
    let parent = format!("hst-{}-{}", std::process::id(), hoist.name);
    let text = format!(
        "FROM tiny\nRUN echo {parent}; touch /on; while [ ! -e /off ]; do sleep 0.05; done\n"
    );
    hoist.file("Dockerfile", &text);
    let building =
        Running::start(hoist.command(&["image", "build", "--cgroup-parent", &parent, "."]));
    let pid = step(&parent);
    let groups = cgroups(pid);
    assert!(
        groups
            .iter()
            .any(|dir| dir.to_string_lossy().contains(&parent)),
        "{groups:?}"
    );
    std::fs::write(format!("/proc/{pid}/root/off"), "").expect("the step's files");
    assert_eq!(building.end(), 0);
    gone(&hoist, pid, &groups);
}

fn a_step_that_forks_for_ever_is_bounded_and_ends_with_the_build() {
    let hoist = Sandbox::new();
    let word = format!("bomb{}{}", std::process::id(), hoist.name);
    let text =
        format!("FROM tiny\nRUN : {word}; b() {{ b | b & }}; b; while :; do sleep 1; done\n");
    hoist.file("Dockerfile", &text);
    let building = Running::start(hoist.command(&["image", "build", "--pids-limit", "200", "."]));
    let pid = step(&word);
    let groups = cgroups(pid);
    eventually("the bomb has reached its limit", || {
        groups
            .iter()
            .filter_map(|dir| std::fs::read_to_string(dir.join("pids.events")).ok())
            .any(|text| !text.contains("max 0"))
            .then_some(())
    });
    building.signal(Signal::SIGINT);
    assert_eq!(building.end(), 130);
    gone(&hoist, pid, &groups);
    build(&hoist, "FROM tiny\nRUN true\n", "").ok();
}

fn what_a_step_leaves_running_ends_with_it() {
    let hoist = Sandbox::new();
    let marker = format!("98{}", std::process::id());
    build(
        &hoist,
        &format!("FROM tiny\nRUN (setsid sleep {marker} &) ; (setsid sh -c 'trap : TERM; sleep {marker}' &); echo done\n"),
        "",
    )
    .ok()
    .says("done");
    let still = crate::harness::leftovers::children(std::path::Path::new("/proc"))
        .into_iter()
        .filter_map(|dir| std::fs::read(dir.join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(&marker));
    assert!(!still, "something of the step is alive");
}

fn a_flood_of_output_is_clipped_and_its_end_is_shown() {
    let hoist = Sandbox::new();
    let done = build(
        &hoist,
        "FROM tiny\nRUN yes 'a line of forty characters, more or less' | head -n 200000; echo the reason; exit 3\n",
        "",
    )
    .code(1)
    .says("[output clipped, log limit 2MiB reached]")
    .says("the reason");
    assert!(done.all().len() < 8 << 20, "{}", done.all().len());
    hoist.set("BUILDKIT_STEP_LOG_MAX_SIZE", "1000");
    let done = build(&hoist, "FROM tiny\nRUN yes x | head -n 5000\n", "").ok();
    assert!(done.all().len() < 100_000, "{}", done.all().len());
}

fn control_sequences_of_a_step_do_not_reach_the_terminal() {
    let hoist = Sandbox::new();
    let done = build(
        &hoist,
        "FROM tiny\nRUN printf 'a\\033]52;c;aGk=\\007b\\033[2Jc\\033]0;title\\007\\n'; exit 1\n",
        "",
    )
    .code(1);
    for bad in ["\u{1b}]", "\u{1b}[2J", "\u{7}"] {
        assert!(!done.all().contains(bad), "{:?}", done.all());
    }
}

fn a_program_for_another_machine_is_told_with_a_way_out() {
    let hoist = Sandbox::new();
    // The head of a program for a machine that nobody has (e_machine 0xfeed).
    let mut elf = vec![
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xed, 0xfe,
    ];
    elf.resize(256, 0);
    hoist.file("foreign", elf);
    build(
        &hoist,
        "FROM tiny\nCOPY --chmod=755 foreign /foreign\nRUN [\"/foreign\"]\n",
        "",
    )
    .code(1)
    .says("exec format error")
    .says("another machine")
    .says("binfmt");
}

fn a_build_that_is_killed_leaves_nothing_and_can_be_done_again() {
    let hoist = Sandbox::new();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let word = format!("{signal}{}{}", std::process::id(), hoist.name);
        let text = format!(
            "FROM tiny\nRUN touch /first\nRUN --mount=type=cache,target=/{word},sharing=locked cd /{word}; [ -e again ] || \
             {{ touch again; sleep 1000 & while :; do sleep 1; done; }}\n"
        );
        hoist.file("Dockerfile", text);
        let mut building = Running::start(hoist.command(&["image", "build", "."]));
        let pid = step(&word);
        eventually("the step is at work", || {
            let there = format!("/proc/{pid}/root/{word}/again");
            std::path::Path::new(&there).exists().then_some(())
        });
        let groups = cgroups(pid);
        building.signal(signal);
        building.wait();
        gone(&hoist, pid, &groups);
        hoist
            .global(&["image", "build", "--progress", "plain", "."])
            .ok()
            .says("CACHED");
        let staging = hoist.data().join("layers/.staging");
        let left = crate::harness::leftovers::children(&staging);
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

fn a_shell_opens_in_a_step_that_failed_and_the_build_goes_on_from_there() {
    let hoist = Sandbox::new();
    hoist.file("../token", "swordfish");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN mkdir /w && chown app /w && mkdir -m 777 /cache\nUSER app\nWORKDIR /w\nENV COLOUR=green\nRUN echo built-before\n\
         RUN --mount=type=secret,id=t,uid=1000,mode=0444 --mount=type=cache,target=/cache,mode=0777 echo half > made; \
         [ -e /cache/mended ]\nRUN echo all-went-well\n",
    );
    hoist.compose(
        "services:\n  a: {build: {context: ., secrets: [t]}}\nsecrets: {t: {file: ../token}}\n",
    );
    let mut building = hoist.on_terminal("build --debug");
    building.says("a shell opens in the step");
    building.types("echo \"<$(cat made) $(cat /run/secrets/t) $COLOUR $(id -un) $(pwd)>\"\r");
    building.says("<half swordfish green app /w>");
    building.types("tty; stty size; touch /cache/mended; exit\r");
    building.says("/dev/").says("33 101").says("[r]etry");
    building.types("r\r");
    building.says("all-went-well");
    assert_eq!(building.wait(), 0, "{}", building.text());
    // The Dockerfile may be mended, too; what is given up fails as ever.
    hoist.file("Dockerfile", "FROM tiny\nRUN echo one\nRUN exit 3\n");
    let mut building = hoist.on_terminal("image build --debug -t again .");
    building.says("a shell opens");
    building.types("exit\r");
    building.says("[r]etry");
    hoist.file("Dockerfile", "FROM tiny\nRUN echo one\nRUN exit 5\n");
    building.types("a\r");
    building.says("exit code: 5");
    eventually("the second shell", || {
        (building.text().matches("a shell opens").count() == 2).then_some(())
    });
    building.types("exit\r");
    eventually("the second question", || {
        (building.text().matches("[r]etry").count() >= 2).then_some(())
    });
    building.types("g\r");
    assert_eq!(building.wait(), 1, "{}", building.text());
}

fn without_a_terminal_debug_says_that_it_does_nothing() {
    let hoist = Sandbox::new();
    build(&hoist, "FROM tiny\nRUN exit 3\n", "--debug")
        .code(1)
        .says("--debug does nothing here")
        .says("exit code: 3");
}

fn an_agent_or_key_is_lent_to_a_step_for_signing_only() {
    let hoist = Sandbox::new();
    let key = hoist.dir().join("../key");
    let run = |command: &mut Command| -> (bool, String) {
        let done = command.output().expect("it is in PATH");
        let text = [done.stdout, done.stderr].concat();
        (
            done.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let made = run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "borrowed", "-f"])
        .arg(&key));
    assert!(made.0, "{}", made.1);
    let private = std::fs::read_to_string(&key).expect("just made");
    let secret = private.lines().nth(2).expect("a key has lines").to_owned();
    let word = format!("lent{}{}", std::process::id(), hoist.name);
    let text = format!(
        "FROM tiny\nRUN --mount=type=ssh,id=k,target=/agent,mode=0666,uid=5,gid=6,required test \"$SSH_AUTH_SOCK\" = /agent && \
         test \"$(stat -c '%a %u %g' /agent)\" = '666 5 6'; echo {word}; while [ ! -e /off ]; do sleep 0.05; done; rm /off\n\
         RUN test ! -e /agent && test -z \"$SSH_AUTH_SOCK\"\n"
    );
    hoist.file("Dockerfile", text);
    // Not below the sandbox: the agent is none of hoist's processes.
    let place = std::env::temp_dir().join(format!("agent-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("the temporary directory is writable");
    let agent = place.join("sock");
    let held = Running::start({
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&agent);
        command
    });
    let added = || {
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(&key)
            .env("SSH_AUTH_SOCK", &agent))
    };
    eventually("the agent takes the key", || added().0.then_some(()));
    for source in ["k=../key".to_owned(), format!("k={}", agent.display())] {
        let source = source.as_str();
        let building =
            Running::start(hoist.command(&["image", "build", "--no-cache", "--ssh", source, "."]));
        building.says(" DONE");
        let pid = step(&word);
        let groups = cgroups(pid);
        let socket = format!("/proc/{pid}/root/agent");
        let ask = |word: &str| {
            run(Command::new("ssh-add")
                .arg(word)
                .env("SSH_AUTH_SOCK", &socket))
        };
        assert!(ask("-l").1.contains("borrowed"), "{source}");
        assert!(!ask("-D").0, "{source}: a step removes no key");
        assert!(!ask("-X").0 && ask("-l").1.contains("borrowed"), "{source}");
        assert_eq!(
            crate::images::build::found_in_store(&hoist, &secret),
            "",
            "{source}"
        );
        std::fs::write(format!("/proc/{pid}/root/off"), "").expect("the step's files");
        assert_eq!(building.end(), 0, "{source}");
        gone(&hoist, pid, &groups);
        assert_eq!(
            crate::images::build::found_in_store(&hoist, &secret),
            "",
            "{source}"
        );
    }
    drop(held);
    std::fs::remove_dir_all(&place).expect("it is ours");
    for (source, says) in [
        ("default", "SSH_AUTH_SOCK is not set"),
        ("k=../nope", "cannot use"),
        ("k=../token.pub", "cannot use"),
        ("k=..", "neither an agent's socket nor a key file"),
    ] {
        hoist
            .global(&["image", "build", "--ssh", source, "."])
            .code(1)
            .says(says);
    }
}

fn a_step_that_fills_the_disk_says_so_and_leaves_room() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    /// A small file system, for as long as this lives.
    struct Small(PathBuf);
    impl Drop for Small {
        fn drop(&mut self) {
            // What uses it still is in the sandbox's own report.
            let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        }
    }
    let mut hoist = Sandbox::empty();
    std::fs::create_dir_all(hoist.data()).expect("the sandbox is writable");
    let (none, size) = (None::<&str>, Some("size=48m"));
    mount(none, &hoist.data(), Some("tmpfs"), MsFlags::empty(), size).expect("root may mount");
    let _small = Small(hoist.data());
    hoist.import_tiny();
    build(
        &hoist,
        "FROM tiny\nRUN touch /before\nRUN dd if=/dev/zero of=/big bs=1M count=100\n",
        "",
    )
    .code(1)
    .says("No space left")
    .says("is full: make room")
    .says("Dockerfile:3");
    let staging = crate::harness::leftovers::children(&hoist.data().join("layers/.staging"));
    assert_eq!(staging, Vec::<PathBuf>::new());
    build(
        &hoist,
        "FROM tiny\nRUN touch /before\nRUN touch /after\n",
        "",
    )
    .ok()
    .says("CACHED");
}

fn further_hosts_have_names_in_a_step() {
    let hoist = Sandbox::new();
    build(
        &hoist,
        "FROM tiny\nRUN grep -q '^1.2.3.4.there$' /etc/hosts && grep -q '^::5.six$' /etc/hosts && \
         grep -q '^127.0.0.1.localhost buildkitsandbox$' /etc/hosts && grep -qE '^[0-9.]+.up$' /etc/hosts\nRUN test ! -s /etc/hosts || \
         ! grep there /etc/hosts.kept\n",
        "--add-host there:1.2.3.4 --add-host six=::5 --add-host up:host-gateway",
    )
    .ok();
}
