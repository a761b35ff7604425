//! Attacks on a build by its context: what files, links and archives do to reach the host, or to wear it out.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use tar::{Builder, EntryType, Header};

use super::{Canary, PROBE};
use crate::harness::Sandbox;

crate::cases!(PROBE;
    links_of_a_context_lead_nowhere,
    a_dockerfile_or_ignore_file_that_is_a_link_out_is_refused,
    an_ignore_file_brings_nothing_in_from_above,
    pipes_and_sockets_and_devices_are_never_opened,
    names_of_any_bytes_are_copied,
    directories_exchanged_with_links_while_they_are_copied_lead_nowhere,
    a_deep_context_is_built_or_refused_and_leaves_nothing,
    archives_that_climb_or_write_through_links_stay_in_the_image,
    archives_that_claim_or_unpack_to_too_much_are_refused,
    a_context_is_the_same_after_a_build_that_writes_to_it,
);

/// Files of the store that hold the canary's song.
fn stolen(hoist: &Sandbox) -> String {
    let data = hoist.data();
    let found = Command::new("grep")
        .args(["-rl", "the canary sings"])
        .arg(&data)
        .output();
    String::from_utf8_lossy(&found.expect("grep runs").stdout).into_owned()
}

/// Docker and BuildKit follow links among sources inside the context only (GHSA-49p4-px3h-rq49 of buildah: they led out).
fn links_of_a_context_lead_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.file("d/x", "x");
    let dir = hoist.dir();
    symlink(canary.song(), dir.join("abs")).expect("new");
    symlink("../canary/song", dir.join("up")).expect("new");
    symlink("up", dir.join("chain")).expect("new");
    symlink("../canary", dir.join("folder")).expect("new");
    symlink("/proc/self/cwd", dir.join("magic")).expect("new");
    symlink("round", dir.join("round")).expect("new");
    for source in [
        "abs",
        "up",
        "chain",
        "folder/song",
        "folder",
        "../canary/song",
        "round",
        "magic/up",
    ] {
        hoist.file(
            "Dockerfile",
            format!("FROM scratch\nCOPY {source} /o/\nADD {source} /p/\n"),
        );
        let done = hoist.global(&["image", "build", "."]);
        assert_ne!(done.code, 0, "{source}: {}", done.story());
    }
    hoist.file(
        "Dockerfile",
        "FROM scratch\nCOPY . /o/\nCOPY ../../../canary* /p/\n",
    );
    hoist.global(&["image", "build", "."]).ok();
    assert_eq!(stolen(&hoist), "");
    canary.sings();
}

fn a_dockerfile_or_ignore_file_that_is_a_link_out_is_refused() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let dir = hoist.dir();
    symlink(canary.song(), dir.join("Dockerfile")).expect("new");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("leads out of the context")
        .says_nothing_of("canary sings");
    std::fs::remove_file(dir.join("Dockerfile")).expect("ours");
    hoist.file("Dockerfile", "FROM scratch\nCOPY . /\n");
    symlink("../canary/song", dir.join(".dockerignore")).expect("new");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("failed to read .dockerignore")
        .says_nothing_of("canary sings");
    canary.sings();
}

fn an_ignore_file_brings_nothing_in_from_above() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.file("Dockerfile", "FROM scratch\nCOPY . /o/\n");
    hoist.file(
        ".dockerignore",
        "*\n!../canary\n!/../canary/song\n!..\n!**/../canary\n!Dockerfile\n",
    );
    hoist.global(&["image", "build", "."]).ok();
    assert_eq!(stolen(&hoist), "");
    canary.sings();
}

fn pipes_and_sockets_and_devices_are_never_opened() {
    let mut hoist = Sandbox::new();
    hoist.limit(Duration::from_secs(60));
    let dir = hoist.dir();
    nix::unistd::mkfifo(&dir.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("new");
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("new");
    let zero = nix::sys::stat::makedev(1, 5);
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&dir.join("zero"), kind, nix::sys::stat::Mode::S_IRUSR, zero)
        .expect("new");
    hoist.file(
        "Dockerfile",
        "FROM scratch\nCOPY . /o/\nADD pipe socket zero /p/\n",
    );
    hoist.global(&["image", "build", "."]).ok();
    // Overlay would take it for the deletion of a file.
    let none = nix::sys::stat::makedev(0, 0);
    nix::sys::stat::mknod(&dir.join("none"), kind, nix::sys::stat::Mode::S_IRUSR, none)
        .expect("new");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("cannot write /o/none");
}

fn names_of_any_bytes_are_copied() {
    let hoist = Sandbox::new();
    let dir = hoist.dir();
    for name in [
        &b"new\nline"[..],
        b"not\xffutf8",
        b"\x1b[2J",
        b" ",
        b"*",
        b"-rf",
    ] {
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
        std::fs::create_dir_all(dir.join("d")).expect("ours");
        std::fs::write(dir.join("d").join(name), "x").expect("ours");
    }
    hoist.file("Dockerfile", "FROM tiny\nCOPY d /d\nRUN test $(ls -A /d | tr -dc x | wc -c) -ge 0 && test $(find /d -type f -print0 | tr -dc '\\0' | wc -c) = 6\n");
    let done = hoist.global(&["image", "build", "."]).ok();
    assert!(!done.all().contains('\x1b'), "{}", done.story());
}

/// What is a directory when it is looked at and a link when it is entered (CVE-2024-23651's kind of race, in the context).
fn directories_exchanged_with_links_while_they_are_copied_lead_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.file("c/d/song", "inside");
    hoist.file("c/s", "inside");
    let dir = hoist.dir();
    symlink(&canary.dir, dir.join("c/l")).expect("new");
    symlink(canary.song(), dir.join("c/t")).expect("new");
    hoist.file("Dockerfile", "FROM scratch\nCOPY c /o/\n");
    let swap = "cd \"$0\"/c; while :; do mv -T d x; mv -T l d; mv -T d l; mv -T x d; mv -T s y; mv -T t s; mv -T s t; mv -T y s; done 2>/dev/null";
    let mut swapper = Command::new("sh")
        .args(["-c", swap])
        .arg(&dir)
        .spawn()
        .expect("a shell");
    let end = Instant::now() + Duration::from_secs(8);
    let mut rounds = 0;
    while rounds < 10 || (rounds < 60 && Instant::now() < end) {
        // It may say that the context changed; it must not copy what lies outside.
        let _ = hoist.global(&["image", "build", "--no-cache", "."]);
        rounds += 1;
    }
    swapper.kill().expect("ours");
    swapper.wait().expect("ours");
    assert_eq!(stolen(&hoist), "");
    canary.sings();
}

fn a_deep_context_is_built_or_refused_and_leaves_nothing() {
    let hoist = Sandbox::new();
    let dir = hoist.dir();
    let deep = |levels: usize| {
        let line = format!(
            "cd \"$0\"; rm -rf deep; mkdir deep; cd deep; i=0; while [ $i -lt {levels} ]; do mkdir dddddddddd; cd -P dddddddddd; i=$((i+1)); done; echo x > f"
        );
        let done = Command::new("sh").args(["-c", &line]).arg(&dir).status();
        assert!(done.expect("a shell").success());
    };
    hoist.file("Dockerfile", "FROM scratch\nCOPY deep /o\n");
    deep(200);
    hoist.global(&["image", "build", "."]).ok();
    // Longer than any path of the kernel's.
    deep(600);
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("File name too long");
    let staging = crate::harness::leftovers::children(&hoist.data().join("layers/.staging"));
    assert_eq!(staging, Vec::<std::path::PathBuf>::new());
}

fn member(archive: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, link: &str, body: &[u8]) {
    let mut header = Header::new_gnu();
    // Written by hand: the builder refuses names that leave the archive.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o6777);
    header.set_size(body.len() as u64);
    if !link.is_empty() {
        header.set_link_name_literal(link).expect("short");
    }
    header.set_cksum();
    archive.append(&header, body).expect("memory");
}

/// Something in an archive: its name, its kind, where a link points.
type Member<'a> = (&'a str, EntryType, &'a str);

fn archives_that_climb_or_write_through_links_stay_in_the_image() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let song = canary.song();
    let out = canary.dir.display().to_string();
    let up = format!("../../../../../../../../../../..{out}");
    let evil: [(&str, &[Member<'_>]); 6] = [
        ("climb", &[(&format!("{up}/new"), EntryType::Regular, "")]),
        (
            "absolute",
            &[(&format!("{out}/new"), EntryType::Regular, "")],
        ),
        (
            "through",
            &[
                ("l", EntryType::Symlink, &out),
                ("l/new", EntryType::Regular, ""),
            ],
        ),
        (
            "upwards",
            &[
                ("l", EntryType::Symlink, &up),
                ("l/new", EntryType::Regular, ""),
            ],
        ),
        (
            "hard",
            &[("h", EntryType::Link, &song), ("h", EntryType::Regular, "")],
        ),
        (
            "replaced",
            &[
                ("d", EntryType::Directory, ""),
                ("d", EntryType::Symlink, &out),
                ("d/song", EntryType::Regular, ""),
            ],
        ),
    ];
    for (name, members) in evil {
        let mut archive = Builder::new(Vec::new());
        for (path, kind, link) in members {
            let body: &[u8] = if *kind == EntryType::Regular {
                b"evil"
            } else {
                b""
            };
            member(&mut archive, path, *kind, link, body);
        }
        hoist.file("a.tar", archive.into_inner().expect("memory"));
        hoist.file("Dockerfile", "FROM tiny\nADD a.tar /o/\n");
        let done = hoist.global(&["image", "build", "."]);
        assert!(!done.all().contains("panicked"), "{name}: {}", done.story());
        canary.sings();
    }
    assert_eq!(stolen(&hoist), "");
}

fn archives_that_claim_or_unpack_to_too_much_are_refused() {
    let mut hoist = Sandbox::new();
    hoist.limit(Duration::from_secs(100));
    let mut header = Header::new_gnu();
    header.set_path("big").expect("short");
    header.set_size(1 << 50);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(4096, 0);
    hoist.file("claim.tar", &bytes);
    hoist.file("Dockerfile", "FROM scratch\nADD claim.tar /o/\n");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("far more than its own size");
    // An extended header without an end, well packed.
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_path("pax").expect("short");
    header.set_size(8 << 30);
    header.set_cksum();
    hoist.file("head", header.as_bytes());
    let line = "cd \"$0\"; (cat head; head -c 50000000 /dev/zero) | gzip > pax.tgz";
    let made = Command::new("sh")
        .args(["-c", line])
        .arg(hoist.dir())
        .status();
    assert!(made.expect("a shell").success());
    hoist.file("Dockerfile", "FROM scratch\nADD pax.tgz /o/\n");
    let begun = Instant::now();
    // It is no archive that can be read, and so a file.
    let _ = hoist.global(&["image", "build", "."]);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

fn a_context_is_the_same_after_a_build_that_writes_to_it() {
    let hoist = Sandbox::new();
    hoist.file("d/f", "mine");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN --mount=type=bind,source=d,target=/d,rw echo theirs > /d/f; rm -f /d/f; echo new > /d/new; chmod 777 /d\n\
         RUN --mount=type=bind,target=/c ! sh -c 'echo x > /c/d/f'\n",
    );
    hoist.global(&["image", "build", "."]).ok();
    let names = crate::harness::leftovers::children(&hoist.dir().join("d"));
    assert_eq!(names, [hoist.dir().join("d/f")]);
    let text = std::fs::read_to_string(hoist.dir().join("d/f")).expect("there");
    assert_eq!(text, "mine");
}
