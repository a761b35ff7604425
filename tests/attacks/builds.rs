//! Attacks of a Dockerfile, of a base image or of a step upon the machine that builds, or upon its secrets.

use std::path::Path;

use nix::sys::signal::Signal;

use super::{Canary, Entry, evil, rounds};
use crate::harness::process::Done;
use crate::harness::{ENGINE, Running, Sandbox};
use crate::images::build::found_in_store;
use crate::images::steps::{cgroups, gone, step};

crate::cases!(ENGINE;
    a_cache_whose_source_is_swapped_for_a_link_shows_nothing_of_the_host,
    a_stub_of_a_mount_behind_a_link_is_not_cleaned_up_outside,
    a_mount_source_that_is_a_link_out_stays_inside,
    writes_to_a_mounted_context_reach_nothing_behind_its_links,
    options_of_a_mount_cannot_change_the_hosts_mounts,
    the_id_of_a_cache_is_never_a_path,
    a_working_directory_of_a_step_that_is_a_descriptor_leads_nowhere,
    a_step_has_no_descriptor_of_the_builder,
    a_base_whose_users_never_end_does_not_hold_the_build_up,
    values_without_measure_or_sense_are_refused_without_a_crash,
    a_step_cannot_remount_or_unmount_what_protects_the_host,
    secrets_are_nowhere_but_in_the_step,
);

fn build(hoist: &Sandbox, text: impl AsRef<[u8]>, options: &str) -> Done {
    hoist.file("Dockerfile", text);
    let mut words = vec!["image", "build", "--progress", "plain"];
    words.extend(options.split_whitespace());
    words.push(".");
    hoist.global(&words)
}

/// CVE-2024-23651 (BuildKit): between the look at a cache's `source` and its mount another step put a link there.
fn a_cache_whose_source_is_swapped_for_a_link_shows_nothing_of_the_host() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let word = format!("swap{}{}", std::process::id(), hoist.name);
    let dir = canary.dir.display().to_string();
    let swap = format!(
        "FROM tiny\nRUN --mount=type=cache,id=r,target=/c cd /c; mkdir a; ln -s {dir} b; ln -s ../../../../../../../../..{dir} d; : {word}; \
         while :; do mv -T a x; mv -T x a; mv -T b x; mv -T x b; mv -T d x; mv -T x d; done\n"
    );
    hoist.file("swap/Dockerfile", swap);
    let mut swapping = Running::start(hoist.command(&["image", "build", "swap"]));
    let pid = step(&word);
    let groups = cgroups(pid);
    for round in 0..rounds(12) {
        let attack = format!(
            "FROM tiny\nRUN --mount=type=cache,id=r,source=x,target=/m cat /m/song && echo reached{round}; ls /m\n"
        );
        let done = build(&hoist, attack, "--no-cache");
        assert!(!done.all().contains("the canary sings"), "{}", done.story());
    }
    swapping.signal(Signal::SIGINT);
    swapping.wait();
    gone(&hoist, pid, &groups);
    canary.sings();
}

/// CVE-2024-23652 (BuildKit): what was made for a mount was removed by a path that the step had turned into a link.
fn a_stub_of_a_mount_behind_a_link_is_not_cleaned_up_outside() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    // Only what is empty is ever removed.
    let bait = hoist.dir().join("../bait");
    std::fs::create_dir_all(bait.join("dir")).expect("the sandbox is writable");
    std::fs::write(bait.join("file"), "").expect("the sandbox is writable");
    let bait = bait.canonicalize().expect("just made");
    let at = bait.display();
    hoist.file("f", "x");
    for target in [
        format!("{at}"),
        "/".to_owned(),
        format!("../../../../..{at}"),
    ] {
        build(
            &hoist,
            format!(
                "FROM tiny\nRUN --mount=type=bind,source=f,target=/a/b/file --mount=type=tmpfs,target=/a/b/dir \
                 mv /a/b /z && ln -s {target} /a/b\nRUN --mount=type=cache,target=/q/r mv /q /y && ln -s {target} /q && ls -la /\n"
            ),
            "--no-cache",
        )
        .ok();
        assert!(
            bait.join("file").is_file() && bait.join("dir").is_dir(),
            "{target}"
        );
    }
    canary.sings();
}

/// CVE-2024-1753, CVE-2024-11218 (buildah): a source that is a link was followed on the host.
fn a_mount_source_that_is_a_link_out_stays_inside() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let out = canary.dir.display().to_string();
    let up = format!("../../../../../../../../../../../..{out}");
    evil(
        &hoist,
        &[
            Entry::Link("link", &out),
            Entry::Link("up", &up),
            Entry::Link("root", "/"),
            Entry::Link("fd", "/proc/self/root"),
        ],
    );
    for (name, to) in [("link", out.as_str()), ("up", &up), ("root", "/")] {
        std::os::unix::fs::symlink(to, hoist.dir().join(name)).expect("the project is writable");
    }
    for from in ["from=evil,", ""] {
        for source in ["link", "/link", "up", "root", "fd", "../../..", "link/song"] {
            for more in ["", ",rw"] {
                let inside = canary.song();
                let done = build(
                    &hoist,
                    format!(
                        "FROM tiny\nRUN --mount=type=bind,{from}source={source},target=/m{more} \
                         for f in /m /m/song /m{inside}; do cat $f && echo more >> $f; done; true\n"
                    ),
                    "",
                );
                assert!(
                    !done.all().contains("the canary sings"),
                    "{from}{source}: {}",
                    done.story()
                );
                canary.sings();
            }
        }
    }
}

/// CVE-2024-9675, CVE-2025-4953 (buildah, podman): writes of a step were left in the context.
fn writes_to_a_mounted_context_reach_nothing_behind_its_links() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.file("ctx/kept", "kept\n");
    std::os::unix::fs::symlink(&canary.dir, hoist.dir().join("ctx/out")).expect("writable");
    std::os::unix::fs::symlink(canary.song(), hoist.dir().join("ctx/song")).expect("writable");
    build(
        &hoist,
        "FROM tiny\nRUN --mount=type=bind,source=ctx,target=/m,rw cd /m; echo changed > kept; echo new > new; \
         echo more >> song; echo more >> out/song; echo more > out/new; rm -rf out song; ln -s / root; true\n",
        "",
    )
    .ok();
    let names: Vec<_> = crate::harness::leftovers::children(&hoist.dir().join("ctx"))
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    assert_eq!(names, ["kept", "out", "song"]);
    let kept = std::fs::read_to_string(hoist.dir().join("ctx/kept"));
    assert_eq!(kept.expect("it was there"), "kept\n");
    canary.sings();
}

/// CVE-2024-9407 (buildah): `bind-propagation` reached the mount as it was written.
fn options_of_a_mount_cannot_change_the_hosts_mounts() {
    let hoist = Sandbox::new();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
    for option in [
        "bind-propagation=shared",
        "bind-propagation=rshared,rw",
        "relabel=shared",
        "propagation=shared",
        "z",
        "U=true",
        "type=devpts",
        "type=proc",
        "from=.,from=/",
    ] {
        let done = build(
            &hoist,
            format!("FROM tiny\nRUN --mount=type=bind,target=/m,{option} true\n"),
            "",
        );
        assert_eq!(done.code, 1, "{option}: {}", done.story());
    }
    build(
        &hoist,
        "FROM tiny\nRUN --security=insecure --mount=type=bind,target=/m mount --make-shared /m; mount -t tmpfs none /m; \
         mount --make-rshared /; mount -t tmpfs leaked /tmp; true\n",
        "--allow security.insecure",
    )
    .ok();
    assert!(
        !mounts().contains("leaked"),
        "a step's mount is on the host"
    );
}

/// CVE-2026-33747 (BuildKit): an id that was used as a path.
fn the_id_of_a_cache_is_never_a_path() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    for id in [
        "../../x",
        "/etc",
        "..",
        ".",
        "a/../../../../canary",
        "%2e%2e",
        "con\u{202e}",
    ] {
        build(
            &hoist,
            format!(
                "FROM tiny\nRUN --mount=type=cache,target=/c,id={id},source=.. touch /c/evil && test \"$(ls /c)\" = evil\n\
                 RUN --mount=type=cache,target=/d,id={id} test -e /d/evil\n"
            ),
            "",
        )
        .ok();
    }
    let secret = build(
        &hoist,
        "FROM tiny\nRUN --mount=type=secret,id=../../../etc/shadow ls /run/secrets /etc; true\n",
        "",
    );
    assert!(!secret.all().contains("root:"), "{}", secret.story());
    for dir in crate::harness::leftovers::children(&hoist.data().join("cache/mounts")) {
        let name = dir
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let hex = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(hex, "{}", dir.display());
    }
    canary.sings();
}

/// CVE-2024-21626 (runc), through a Dockerfile.
fn a_working_directory_of_a_step_that_is_a_descriptor_leads_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let song = canary.song();
    evil(&hoist, &[Entry::Link("seven", "/proc/self/fd/7")]);
    let numbers = (3..3 + rounds(9)).map(|number| format!("/proc/self/fd/{number}"));
    let further = [
        "/seven",
        "/proc/self/cwd",
        "/proc/1/root",
        "/proc/self/fd/4/../..",
    ];
    for place in numbers.chain(further.map(str::to_owned)) {
        let done = build(
            &hoist,
            format!(
                "FROM evil\nWORKDIR {place}\nRUN for up in . .. ../.. ../../../../../..; do cat $up{song}; done; pwd\n"
            ),
            "",
        );
        assert!(
            !done.all().contains("the canary sings"),
            "{place}: {}",
            done.story()
        );
    }
    canary.sings();
}

/// What the builder has open must not be open in a step.
fn a_step_has_no_descriptor_of_the_builder() {
    let hoist = Sandbox::new();
    let done = build(
        &hoist,
        "FROM tiny\nRUN --mount=type=secret,id=x --mount=type=cache,target=/c for f in /proc/1/fd/* /proc/self/fd/*; do \
         echo \"<$(readlink $f)>\"; done\n",
        "",
    )
    .ok();
    let mut seen = 0;
    for line in done.all().lines() {
        let Some(open) = line
            .split_once('<')
            .and_then(|(_, rest)| rest.strip_suffix('>'))
        else {
            continue;
        };
        seen += 1;
        let own = open.is_empty()
            || open == "/dev/null"
            || ["pipe:[", "/proc/"]
                .iter()
                .any(|kind| open.starts_with(kind));
        assert!(own, "{open} is open in a step");
    }
    assert!(seen >= 3, "{}", done.story());
}

/// CVE-2024-9676, CVE-2026-47262: lists of users that are pipes, endless or huge.
fn a_base_whose_users_never_end_does_not_hold_the_build_up() {
    let text = "FROM evil\nUSER app:staff\nRUN id > /dev/null\n";
    let copy = "FROM evil\nCOPY --chown=app:staff Dockerfile /x\n";
    let huge = "x:x:1:\n".repeat(3 << 20);
    let lists: [&[Entry<'_>]; 4] = [
        &[
            Entry::Dir("etc"),
            Entry::Pipe("etc/passwd"),
            Entry::Pipe("etc/group"),
        ],
        &[
            Entry::Dir("etc"),
            Entry::Link("etc/passwd", "/dev/zero"),
            Entry::Link("etc/group", "/dev/zero"),
        ],
        &[
            Entry::Dir("etc"),
            Entry::Link("etc/passwd", "/etc/group"),
            Entry::Link("etc/group", "/etc/passwd"),
        ],
        &[
            Entry::Dir("etc"),
            Entry::File("etc/passwd", &huge),
            Entry::File("etc/group", &huge),
        ],
    ];
    for list in lists {
        let hoist = Sandbox::new();
        evil(&hoist, list);
        for dockerfile in [text, copy] {
            let done = build(&hoist, dockerfile, "");
            let said = done.all();
            assert!(!said.contains("panicked"), "{}", done.story());
            // Who can't be found is nobody: no step runs as somebody else.
            assert!(dockerfile != text || done.code == 1, "{}", done.story());
        }
        let done = build(&hoist, "FROM evil\nUSER 5:6\nRUN true\n", "");
        assert!(!done.all().contains("panicked"), "{}", done.story());
    }
}

/// Values from a Dockerfile that nobody can mean.
fn values_without_measure_or_sense_are_refused_without_a_crash() {
    let hoist = Sandbox::new();
    let long = "x".repeat(3 << 20);
    let refused: Vec<Vec<u8>> = vec![
        b"FROM tiny\nENV A=b\0c\nRUN true\n".to_vec(),
        b"FROM tiny\nWORKDIR /a\0b\nRUN true\n".to_vec(),
        b"FROM tiny\nUSER a\0b\nRUN true\n".to_vec(),
        b"FROM tiny\nRUN [\"sh\\u0000\"]\n".to_vec(),
        format!("FROM tiny\nUSER {long}\nRUN true\n").into_bytes(),
        format!("FROM tiny\nWORKDIR /{long}\nRUN true\n").into_bytes(),
        format!("FROM tiny\nENV A={long}\nRUN true\n").into_bytes(),
        format!("FROM tiny\nRUN --mount=type=tmpfs,target=/{long} true\n").into_bytes(),
        format!("FROM tiny\nRUN : {long}\n").into_bytes(),
    ];
    for text in refused {
        let head = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        let done = build(&hoist, &text, "");
        let said = done.all();
        assert_eq!(done.code, 1, "{head}: exit code");
        assert!(!said.contains("panicked"), "{head}: crash");
        assert!(
            said.contains("Dockerfile"),
            "{head}: no place in {} bytes",
            said.len()
        );
    }
    assert_eq!(hoist.leftovers(), Vec::<String>::new());
}

/// A step has the rights of any container, not those of the builder.
fn a_step_cannot_remount_or_unmount_what_protects_the_host() {
    let hoist = Sandbox::new();
    build(
        &hoist,
        "FROM tiny\nRUN ! mount -o remount,rw /sys && ! umount /proc/sys && ! echo 1 > /proc/sys/kernel/panic && \
         ! mount -t proc none /tmp && test -z \"$(cat /proc/kcore)\" && test \"$(id -u)\" = 0\n\
         RUN mknod /mem c 1 1; ! head -c 1 /mem; rm -f /mem\n",
        "",
    )
    .ok();
}

/// A secret is used in every way; its bytes are in no file below the roots, whether the build is at work, done, failed or
/// killed.
fn secrets_are_nowhere_but_in_the_step() {
    let hoist = Sandbox::new();
    let secret = format!("sekrit{}battery{}staple", std::process::id(), hoist.name);
    std::fs::write(hoist.dir().join("../token"), &secret).expect("the sandbox is writable");
    hoist.set("TOKEN", &secret);
    let nowhere = |when: &str| {
        assert_eq!(found_in_store(&hoist, &secret), "", "{when}");
        let run = found_below(&hoist.run_root(), &secret);
        assert_eq!(run, Vec::<String>::new(), "{when}");
        let trace = hoist.dir().join("trace.json");
        let traced = std::fs::read_to_string(trace).unwrap_or_default();
        assert!(!traced.contains(&secret), "{when}: in the trace");
    };
    let word = format!("hidden{}{}", std::process::id(), hoist.name);
    let mounts = "--mount=type=secret,id=t --mount=type=secret,id=t,target=/w/t,mode=0444 --mount=type=secret,id=e,env=E \
                  --mount=type=cache,target=/cache";
    let text = |end: &str| {
        format!(
            "FROM tiny\nWORKDIR /w\nRUN {mounts} test \"$(cat t)\" = \"$E\" && test \"$(cat /run/secrets/t)\" = \"$E\" && \
             echo ${{#E}} > /length; : {word}; {end}\n"
        )
    };
    let help = hoist.global(&["image", "build", "--help"]).ok().out;
    let trace = if help.contains("--trace") {
        "--trace trace.json"
    } else {
        ""
    };
    let options = format!("--secret id=t,src=../token --secret id=e,env=TOKEN {trace} -t out");
    let options = options.as_str();
    let done = build(&hoist, text("true"), options).ok();
    assert!(!done.all().contains(&secret), "{}", done.story());
    nowhere("after a build");
    let told = hoist.global(&["image", "inspect", "out"]).ok().out;
    assert!(!told.contains(&secret), "{told}");
    hoist
        .global(&["image", "save", "out", "-o", "out.tar"])
        .ok();
    let saved = std::fs::read(hoist.dir().join("out.tar")).expect("just written");
    assert!(
        !String::from_utf8_lossy(&saved).contains(&secret),
        "in the saved image"
    );
    // The same with another secret is the same step.
    std::fs::write(hoist.dir().join("../token"), "other").expect("the sandbox is writable");
    build(&hoist, text("true"), options).ok().says("CACHED");
    std::fs::write(hoist.dir().join("../token"), &secret).expect("the sandbox is writable");
    let failed = build(&hoist, text("exit 3"), options).code(1);
    assert!(!failed.all().contains(&secret), "{}", failed.story());
    nowhere("after a failure");
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        hoist.file(
            "Dockerfile",
            text(&format!(": {signal}; while :; do sleep 1; done")),
        );
        let words: Vec<&str> = ["image", "build"]
            .into_iter()
            .chain(options.split_whitespace())
            .chain(["."])
            .collect();
        let mut building = Running::start(hoist.command(&words));
        let pid = step(&word);
        let groups = cgroups(pid);
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
        assert!(
            !String::from_utf8_lossy(&line).contains(&secret),
            "in the command"
        );
        nowhere("while a step runs");
        building.signal(signal);
        building.wait();
        gone(&hoist, pid, &groups);
        nowhere("after an interruption");
    }
}

/// Files below a directory that hold a text.
fn found_below(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for path in crate::harness::leftovers::children(dir) {
        let meta = std::fs::symlink_metadata(&path);
        if meta.as_ref().is_ok_and(|meta| meta.is_dir()) {
            found.extend(found_below(&path, text));
        } else if meta.is_ok_and(|meta| meta.is_file())
            && std::fs::read(&path)
                .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        {
            found.push(path.display().to_string());
        }
    }
    found
}
