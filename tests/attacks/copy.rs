//! Attacks on `cp`: what a container, or an archive, does to reach the host through it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tar::{Builder, EntryType, Header};

use super::{Canary, Entry, PROBE, evil};
use crate::harness::Sandbox;

crate::cases!(PROBE;
    directories_exchanged_with_links_while_files_are_copied_in_lead_nowhere,
    directories_exchanged_with_links_while_files_are_copied_out_lead_nowhere,
    a_shared_directory_exchanged_with_a_link_gives_nothing_of_the_host_away,
    files_exchanged_with_pipes_and_devices_are_never_opened,
    libraries_of_the_image_are_never_loaded,
    decompressors_of_the_image_are_never_run,
    archives_that_climb_stay_in_the_directory_they_are_unpacked_in,
    links_that_an_earlier_copy_has_made_are_not_written_through,
    links_to_the_host_are_copied_as_links_or_followed_inside,
    descriptors_and_roots_below_proc_lead_nowhere,
    a_mount_made_over_the_source_shows_only_what_the_container_may_see,
);

/// How many copies are tried.
const ROUNDS: u32 = 200;
/// On a slow machine they are fewer after so long, but never fewer than these.
const LONGEST: Duration = Duration::from_secs(20);
const FEWEST: u32 = 20;

/// Runs `body` so often.
fn again(mut body: impl FnMut(u32)) {
    let end = Instant::now() + LONGEST;
    let mut rounds = 0;
    while rounds < FEWEST || (rounds < ROUNDS && Instant::now() < end) {
        body(rounds);
        rounds += 1;
    }
}

/// A service that exchanges directories and links below `/v` all the time, where `/v/d` is sometimes a directory,
/// sometimes a link to the canary, absolute or upwards, and sometimes nothing.
fn exchanging(hoist: &Sandbox, canary: &Canary, mounts: &str) {
    let out = canary.dir.display();
    let up = "../../../../../../../../../../../../";
    let swap = format!(
        "mkdir -p /v/d/e; cd /v; echo inside > d/song; echo inside > d/e/song; ln -sfn {out} l; ln -sfn {up}{out} r; \
         while :; do mv -T d x; mv -T l d; mv -T d l; mv -T r d; mv -T d r; mv -T x d; done 2>/dev/null"
    );
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: [sh, -c, \"{swap}\"], {mounts} stop_signal: SIGKILL}}\n"
    ));
    hoist.ok("up -d");
}

/// CVE-2018-15664, CVE-2026-41568, CVE-2026-42306 (moby): between the look-up of a path and its use, the container put a
/// link, or a mount, in its place, and what was copied in went to the host.
fn directories_exchanged_with_links_while_files_are_copied_in_lead_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    exchanging(&hoist, &canary, "");
    hoist.file("song", "stolen\n");
    hoist.file("tree/e/song", "stolen\n");
    hoist.file("tree/new", "stolen\n");
    let mut through = 0;
    again(|round| {
        let arguments = match round % 4 {
            0 => "cp song a:/v/d/song",
            1 => "cp song a:/v/d",
            2 => "cp tree/. a:/v/d",
            _ => "cp tree/. a:/v/d/e/",
        };
        let done = hoist.run(arguments);
        assert!(done.code <= 1, "{}", done.story());
        through += u32::from(done.code == 0);
        canary.sings();
    });
    assert!(through > 0, "no copy succeeded: the attack was not tried");
}

/// As above, the other way: what was copied out came from the host.
fn directories_exchanged_with_links_while_files_are_copied_out_lead_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    exchanging(&hoist, &canary, "");
    let mut through = 0;
    again(|round| {
        let arguments = match round % 4 {
            0 => "cp a:/v/d/song got",
            1 => "cp a:/v/d/e/song got",
            2 => "cp -L a:/v/d got",
            _ => "cp a:/v got",
        };
        let done = hoist.run(arguments);
        assert!(done.code <= 1, "{}", done.story());
        through += u32::from(done.code == 0);
        canary.sings();
        let got = hoist.dir().join("got");
        // A link that was copied is not what it leads to, and `grep` follows the one it is given.
        if !got.is_symlink() {
            let found = Command::new("grep")
                .args(["-rs", "canary sings"])
                .arg(&got)
                .output();
            let found = String::from_utf8_lossy(&found.expect("grep runs").stdout).into_owned();
            assert!(found.is_empty(), "{arguments}: {found}");
        }
        let _ = std::fs::remove_file(&got).or_else(|_| std::fs::remove_dir_all(&got));
    });
    assert!(through > 0, "no copy succeeded: the attack was not tried");
}

/// The same with a directory of the host that the container may write to: there the host's own names are exchanged.
fn a_shared_directory_exchanged_with_a_link_gives_nothing_of_the_host_away() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    std::fs::create_dir(hoist.dir().join("shared")).expect("the project is writable");
    exchanging(&hoist, &canary, "volumes: ['./shared:/v'],");
    hoist.file("tree/d/song", "stolen\n");
    hoist.file("tree/d/e/song", "stolen\n");
    crate::harness::eventually("it is at work", || {
        hoist.dir().join("shared/r").is_symlink().then_some(())
    });
    hoist.sh("a", "mkdir -p /source");
    let archive = hoist.ok("cp tree/. a:/source");
    drop(archive);
    again(|round| {
        // `shared` itself is the user's word; what lies below it is the container's.
        let done = match round % 2 {
            0 => hoist.run("cp shared/. a:/copy"),
            _ => hoist.run("cp a:/source/. shared"),
        };
        assert!(done.code <= 1, "{}", done.story());
        canary.sings();
        let found = hoist.exec("a", "grep -rs 'canary sings' /copy");
        assert_eq!(found.out, "", "{}", done.story());
    });
}

/// What was a file is a pipe or a device when it is opened: the copy must neither hang nor touch a device.
fn files_exchanged_with_pipes_and_devices_are_never_opened() {
    let hoist = Sandbox::new();
    let swap = "mkdir -p /v/d; cd /v; echo inside > f; mkfifo p; mknod n c 1 5; cp f d/x; \
                while :; do mv -T f d/x; mv -T d/x f; mv -T p d/x; mv -T d/x p; mv -T n d/x; mv -T d/x n; done 2>/dev/null";
    hoist.file("empty/.keep", "");
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: [sh, -c, \"{swap}\"], volumes: ['./shared:/shared'], stop_signal: SIGKILL}}\n"
    ));
    hoist.ok("up -d");
    again(|_| {
        let done = hoist.run("cp a:/v/d got");
        assert!(done.code <= 1, "{}", done.story());
        let got = hoist.dir().join("got/x");
        if let Ok(found) = got.symlink_metadata() {
            // A file of zeros would be what the device gives.
            assert!(!found.is_file() || found.len() == 7, "{}", found.len());
        }
        let _ = std::fs::remove_dir_all(hoist.dir().join("got"));
    });
}

/// A library that leaves a mark when it is loaded by anybody.
fn marking_library(hoist: &Sandbox) -> Vec<u8> {
    let source = hoist.file(
        "mark.c",
        "#include <fcntl.h>\n#include <unistd.h>\n__attribute__((constructor)) static void mark(void)\n\
         { int fd = open(\"loaded\", O_CREAT | O_WRONLY, 0644); if (fd >= 0) close(fd); }\n",
    );
    let library = hoist.dir().join("mark.so");
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .expect("cc is there");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    // It does what it is meant to do.
    let dir = hoist.dir().join("control");
    std::fs::create_dir(&dir).expect("the project is writable");
    let done = Command::new("true")
        .env("LD_PRELOAD", &library)
        .current_dir(&dir)
        .status();
    assert!(done.expect("it runs").success() && dir.join("loaded").exists());
    std::fs::read(&library).expect("just built")
}

/// CVE-2019-14271 (moby): the process among the container's files loaded the container's `libnss_*.so`.
fn libraries_of_the_image_are_never_loaded() {
    let hoist = Sandbox::new();
    let library = marking_library(&hoist);
    let mut tar = Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content)
            .expect("memory takes the archive");
    };
    for dir in [
        "lib",
        "lib64",
        "usr/lib",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "lib/aarch64-linux-gnu",
    ] {
        for name in [
            "nss_files.so.2",
            "nss_compat.so.2",
            "nss_dns.so.2",
            "nss_systemd.so.2",
            "c.so.6",
            "gcc_s.so.1",
            "resolv.so.2",
            "z.so.1",
            "lzma.so.5",
        ] {
            add(&format!("{dir}/lib{name}"), &library);
        }
    }
    add("mark.so", &library);
    add("etc/ld.so.preload", b"/mark.so\n");
    add(
        "etc/nsswitch.conf",
        b"passwd: files compat systemd\ngroup: files compat systemd\nhosts: files dns\n",
    );
    add("etc/ld.so.conf", b"/lib\n");
    let bytes = tar.into_inner().expect("memory takes the archive");
    hoist.file("libraries.tar", bytes);
    hoist.file("Dockerfile", "FROM tiny\nADD libraries.tar /\n");
    hoist.compose(
        "services:\n  a: {build: ., command: sleep 3600, user: app, stop_signal: SIGKILL}\n",
    );
    hoist.ok("up -d");
    hoist.file("f", "file");
    let archive = std::fs::read(hoist.dir().join("libraries.tar")).expect("just written");
    for _ in 0..2 {
        // Owners by name, which is what somebody would look up.
        hoist.ok("cp -a f a:/tmp/f");
        hoist.ok("cp f a:/tmp/g");
        hoist.pipe("cp -a - a:/tmp", &archive).ok();
        hoist.ok("cp a:/lib got");
        hoist.run("cp a:/none got").code(1);
        hoist.ok("stop -t 0");
    }
    let upper = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    for container in crate::harness::leftovers::children(&upper) {
        for place in ["loaded", "tmp/loaded", "lib/loaded", "root/loaded"] {
            assert!(
                !container.join("upper").join(place).exists(),
                "a library was loaded"
            );
        }
    }
    assert!(!hoist.dir().join("loaded").exists() && !Path::new("/loaded").exists());
}

/// CVE-2026-41567 (moby): the program that undoes a compression was looked for among the container's files.
fn decompressors_of_the_image_are_never_run() {
    use std::io::Write as _;
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    let script = "#!/bin/busybox sh\n/bin/busybox touch /run-by-cp\n/bin/busybox cat\n";
    let names = [
        "xz", "unxz", "xzcat", "unpigz", "pigz", "gzip", "gunzip", "bzip2", "bunzip2", "zstd",
        "unzstd", "igzip", "tar",
    ];
    let mut paths: Vec<String> = Vec::new();
    for dir in ["bin", "usr/bin", "usr/local/bin", "sbin"] {
        paths.extend(names.iter().map(|name| format!("{dir}/{name}")));
    }
    let mut entries = vec![
        Entry::Dir("usr"),
        Entry::Dir("usr/bin"),
        Entry::Dir("usr/local"),
        Entry::Dir("usr/local/bin"),
        Entry::Dir("sbin"),
        Entry::Dir("tmp"),
    ];
    entries.extend(paths.iter().map(|path| Entry::File(path, script)));
    evil(&hoist, &entries);
    hoist.compose("services:\n  a: {image: evil, command: sleep 3600, stop_signal: SIGKILL}\n");
    hoist.ok("up -d");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let plain = archive(&[Member::file("f", "x")]);
    gzip.write_all(&plain).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    let xz = [b"\xfd7zXZ\0".as_slice(), &[0; 600]].concat();
    hoist.file("x.tar.xz", &xz);
    hoist.file("x.tar.gz", &gzip);
    for state in ["running", "stopped"] {
        hoist.pipe("cp - a:/tmp", &xz).code(1);
        hoist.pipe("cp - a:/tmp", &gzip).ok();
        hoist.ok("cp x.tar.xz a:/tmp/");
        hoist.ok("cp x.tar.gz a:/tmp/");
        hoist.ok(&format!("cp a:/tmp {state}"));
        hoist.ok("stop -t 0");
    }
    hoist.ok("start");
    assert_eq!(
        hoist.sh("a", "ls -d /run-by-cp 2>/dev/null; cat /tmp/f"),
        "x"
    );
    canary.sings();
}

/// One entry of an archive that no decent program would write.
struct Member<'a> {
    path: &'a str,
    kind: EntryType,
    link: &'a str,
    content: &'a str,
}

impl<'a> Member<'a> {
    fn file(path: &'a str, content: &'a str) -> Self {
        Self {
            path,
            kind: EntryType::Regular,
            link: "",
            content,
        }
    }
    fn link(path: &'a str, link: &'a str) -> Self {
        Self {
            path,
            kind: EntryType::Symlink,
            link,
            content: "",
        }
    }
    fn hard(path: &'a str, link: &'a str) -> Self {
        Self {
            path,
            kind: EntryType::Link,
            link,
            content: "",
        }
    }
    fn of(path: &'a str, kind: EntryType) -> Self {
        Self {
            path,
            kind,
            link: "",
            content: "",
        }
    }
}

/// Names go into the header as they are, which the `tar` crate would refuse.
fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut header = Header::new_gnu();
        header.set_entry_type(member.kind);
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(member.content.len() as u64);
        header.set_mtime(0);
        if matches!(member.kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(1).expect("a small number");
            header.set_device_minor(3).expect("a small number");
        }
        let raw = header.as_mut_bytes();
        for (at, text) in [(0, member.path), (157, member.link)] {
            let text = text.as_bytes();
            let short = &text[..text.len().min(100)];
            raw[at..at + short.len()].copy_from_slice(short);
        }
        header.set_cksum();
        if member.path.len() > 100 {
            let mut long = Header::new_gnu();
            long.set_entry_type(EntryType::GNULongName);
            long.set_size(member.path.len() as u64 + 1);
            long.set_cksum();
            bytes.extend_from_slice(long.as_bytes());
            bytes.extend_from_slice(member.path.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(member.content.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Tar streams that leave the directory by their names, their links, or links they have made just before.
fn archives_that_climb_stay_in_the_directory_they_are_unpacked_in() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let out = canary.dir.display().to_string();
    let up = format!("../../../../../../../../../../../..{out}");
    let upward = format!("{up}/new");
    let absolute = format!("{out}/new");
    let long = vec!["d".repeat(200); 40].join("/");
    let name = "n".repeat(300);
    let song = canary.song();
    let song_up = format!("../../../../../../../../../../../..{song}");
    let hostile: &[(&str, &[Member<'_>], bool)] = &[
        ("a name upwards", &[Member::file("../escaped", "x")], false),
        ("a name far upwards", &[Member::file(&upward, "x")], false),
        (
            "a name up from below",
            &[Member::file("a/../../escaped", "x")],
            false,
        ),
        ("an absolute name", &[Member::file(&absolute, "x")], true),
        (
            "a file through a link",
            &[Member::link("l", &out), Member::file("l/new", "x")],
            false,
        ),
        (
            "a file through a link upwards",
            &[Member::link("l", &up), Member::file("l/new", "x")],
            false,
        ),
        (
            "a file onto a link",
            &[Member::link("l", &song), Member::file("l", "x")],
            true,
        ),
        (
            "a directory onto a link",
            &[
                Member::link("l", &out),
                Member::of("l/", EntryType::Directory),
                Member::file("l/new", "x"),
            ],
            false,
        ),
        (
            "a link through a link",
            &[Member::link("l", &out), Member::link("l/m", "/")],
            false,
        ),
        ("a hard link upwards", &[Member::hard("h", &song_up)], false),
        (
            "a hard link to an absolute name",
            &[Member::hard("h", &song)],
            false,
        ),
        (
            "a hard link through a link",
            &[
                Member::link("l", &out),
                Member::hard("h", "l/song"),
                Member::file("h", "x"),
            ],
            false,
        ),
        (
            "a hard link to a link, written to",
            &[
                Member::link("l", &song),
                Member::hard("h", "l"),
                Member::file("h", "x"),
            ],
            true,
        ),
        ("a device", &[Member::of("null", EntryType::Char)], true),
        ("a disk", &[Member::of("disk", EntryType::Block)], true),
        ("a deep name", &[Member::file(&long, "x")], false),
        ("a long name", &[Member::file(&name, "x")], false),
        ("a whiteout", &[Member::file(".wh.passwd", "")], true),
        (
            "the directory itself",
            &[
                Member::of("./", EntryType::Directory),
                Member::of("..", EntryType::Directory),
            ],
            false,
        ),
    ];
    for (what, members, fine) in hostile {
        hoist.sh("a", "rm -rf /t /escaped /new; mkdir /t");
        let done = hoist.pipe("cp - a:/t", &archive(members));
        assert_eq!(done.code == 0, *fine, "{what}: {}", done.story());
        canary.sings();
        // Nor does it leave the directory inside the container.
        let found = hoist.exec("a", &format!("ls -d /escaped /new {out} 2>/dev/null"));
        assert_eq!(found.out, "", "{what}");
        assert!(!Path::new("/escaped").exists(), "{what}");
    }
    // What came as a device can't be used for more than the container may.
    hoist
        .pipe(
            "cp - a:/t",
            &archive(&[Member::of("disk", EntryType::Block)]),
        )
        .ok();
    assert_ne!(hoist.exec("a", "head -c 1 /t/disk").code, 0);
}

/// Two copies to the same place: the first leaves a link, the second has a directory of that name.
fn links_that_an_earlier_copy_has_made_are_not_written_through() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let out = canary.dir.display();
    hoist.sh(
        "a",
        &format!("mkdir /s; ln -s {out} /s/d; ln -s {out}/song /s/song; ln -s {out}/new /s/f"),
    );
    hoist.ok("cp a:/s got");
    hoist.sh(
        "a",
        "cd /s; rm d song f; mkdir d; echo x > d/new; echo x > song; echo x > f",
    );
    let done = hoist.run("cp a:/s/. got").code(1);
    done.says("cannot overwrite non-directory")
        .says("with directory");
    canary.sings();
    // Files take the place of links, never what these lead to.
    hoist.sh("a", "rm -r /s/d");
    hoist.ok("cp a:/s/. got");
    for name in ["song", "f"] {
        let found = hoist.dir().join("got").join(name).symlink_metadata();
        assert!(found.expect("it was copied").is_file(), "{name}");
    }
    canary.sings();
    // A link of the user's own on the way is not the container's to use either.
    std::fs::create_dir(hoist.dir().join("own")).expect("the project is writable");
    symlink(&canary.dir, hoist.dir().join("own/s")).expect("the project is writable");
    hoist.run("cp a:/s own").code(1).says("with directory");
    canary.sings();
}

/// Links are the container's own words: they are copied as such, and followed where the container's root is `/`.
fn links_to_the_host_are_copied_as_links_or_followed_inside() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let out = canary.dir.display().to_string();
    let up = format!("../../../../../../../../../../../..{out}");
    hoist.sh("a", &format!("mkdir /s; cd /s; ln -s {out} abs; ln -s {up} up; ln -s {out}/song song; ln -s {up}/song upsong; ln -s loop loop"));
    for link in ["abs", "up", "song", "upsong"] {
        hoist.ok(&format!("cp a:/s/{link} ."));
        let copied = hoist.dir().join(link);
        assert!(copied.is_symlink(), "{link}");
        std::fs::remove_file(copied).expect("the project is writable");
        hoist.run(&format!("cp -L a:/s/{link} .")).code(1);
        hoist.run(&format!("cp a:/s/{link}/ .")).code(1);
        hoist.run(&format!("cp a:/s/{link}/song .")).code(1);
        hoist.run(&format!("cp -L a:/s/{link}/song .")).code(1);
        assert!(
            !hoist.dir().join("song").exists() && !copied_exists(&hoist, link),
            "{link}"
        );
    }
    hoist.file("f", "stolen");
    // A chain without an end is no way to anywhere.
    hoist.run("cp a:/s/loop .").code(1).says("symbolic links");
    hoist.run("cp f a:/s/loop").code(1).says("symbolic links");
    for link in ["abs", "up"] {
        hoist.run(&format!("cp f a:/s/{link}/song")).code(1);
        hoist.run(&format!("cp f a:/s/{link}/")).code(1);
        canary.sings();
    }
    // Where the same path exists inside, that is what is meant.
    hoist.sh("a", &format!("mkdir -p {out}"));
    for link in ["abs", "up"] {
        hoist.ok(&format!("cp f a:/s/{link}/{link}"));
        assert_eq!(hoist.sh("a", &format!("cat {out}/{link}")), "stolen");
        canary.sings();
    }
    hoist.ok("cp f a:/s/song");
    assert_eq!(hoist.sh("a", &format!("cat {out}/song")), "stolen");
    canary.sings();
}

fn copied_exists(hoist: &Sandbox, name: &str) -> bool {
    hoist.dir().join(name).symlink_metadata().is_ok()
}

/// The kernel's own links to places: `/proc/PID/root`, `cwd`, `fd`, also of the process that copies.
fn descriptors_and_roots_below_proc_lead_nowhere() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    // The strongest that a container can have of others' processes without being privileged.
    hoist.compose("services:\n  a: {SLEEP, pid: host, cap_add: [SYS_PTRACE]}\n");
    hoist.ok("up -d");
    let song = canary.song();
    let own = std::process::id();
    hoist.sh(
        "a",
        &format!("ln -s /proc/{own}/root /root-of-test; ln -s /proc/self/root /self"),
    );
    for path in [
        format!("/proc/{own}/root{song}"),
        format!("/proc/{own}/cwd/Cargo.toml"),
        format!("/root-of-test{song}"),
        format!("/self{song}"),
        format!("/proc/self/root{song}"),
        "/proc/self/fd/3".to_owned(),
        "/proc/thread-self/root/".to_owned(),
        "/proc/self/cwd/.".to_owned(),
    ] {
        let done = hoist.run(&format!("cp -L a:{path} got"));
        assert_eq!(done.code, 1, "{path}: {}", done.story());
        hoist.file("f", "stolen");
        let done = hoist.run(&format!("cp f a:{path}"));
        assert_eq!(done.code, 1, "{path}: {}", done.story());
        canary.sings();
    }
    assert!(!hoist.dir().join("got").exists());
}

/// A container that may mount puts other file systems over what is copied: they are what it sees, so they are what is
/// copied, and nothing can be run or opened as a device from them.
fn a_mount_made_over_the_source_shows_only_what_the_container_may_see() {
    let hoist = Sandbox::new();
    let canary = Canary::new(&hoist);
    hoist.compose("services:\n  a: {SLEEP, cap_add: [SYS_ADMIN], security_opt: [apparmor=unconfined, seccomp=unconfined], volumes: ['vol:/vol']}\nvolumes: {vol: }\n");
    hoist.ok("up -d");
    hoist.sh(
        "a",
        "mkdir -p /s /o; echo under > /s/f; echo bound > /o/f; mount -o bind /o /s",
    );
    hoist.ok("cp a:/s/f got");
    assert_eq!(
        std::fs::read_to_string(hoist.dir().join("got"))
            .ok()
            .as_deref(),
        Some("bound\n")
    );
    hoist.sh("a", "umount /s; mount -t tmpfs none /s");
    hoist.file("f", "file");
    hoist.ok("cp f a:/s/f");
    assert_eq!(hoist.sh("a", "cat /s/f; umount /s; cat /s/f"), "fileunder");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
    assert!(!mounts.contains("/canary"));
    canary.sings();
}
