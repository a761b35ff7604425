//! `cp`: what lands where, with which owner, mode and time, and what the command says when it can't be.
//!
//! What is expected was seen on Docker Engine 28 with docker compose 2.40.

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    files_and_directories_land_in_a_container_as_the_reference_puts_them,
    files_and_directories_land_on_the_host_as_the_reference_puts_them,
    copies_into_a_container_that_make_no_sense_are_refused,
    copies_to_the_host_that_make_no_sense_are_refused,
    links_are_copied_as_links_unless_they_are_followed,
    a_link_as_destination_is_followed,
    owners_modes_and_times_arrive,
    pipes_devices_hard_links_and_holes_arrive,
    names_that_are_no_text_arrive,
    archives_come_and_go_through_the_standard_streams,
    mounts_of_a_running_container_are_written_to_and_read,
    what_is_read_only_refuses_files,
    containers_that_do_not_run_give_and_take_files,
    every_replica_gets_a_file_and_an_index_chooses_one,
    a_dry_run_looks_and_copies_nothing,
    a_full_disk_leaves_no_half_file,
    an_interrupted_copy_leaves_no_half_file,
    files_that_change_while_they_are_copied_do_no_harm,
    a_stopped_container_is_not_started_while_files_are_copied_into_it,
);

/// A project with the service `a`, running.
fn one() -> Sandbox {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist
}

fn files_and_directories_land_in_a_container_as_the_reference_puts_them() {
    let hoist = one();
    hoist.file("f", "file");
    hoist.file("d/x", "x");
    hoist.file("d/sub/y", "y");
    hoist.sh("a", "mkdir -p /t/dir; echo old > /t/old");
    for (source, destination, place, content) in [
        ("f", "a:/t/dir", "/t/dir/f", "file"),
        ("f", "a:/t/dir/", "/t/dir/f", "file"),
        ("f", "a:/t/dir/.", "/t/dir/f", "file"),
        ("f", "a:/t/new", "/t/new", "file"),
        ("f", "a:/t/old", "/t/old", "file"),
        ("f", "a:t/relative", "/t/relative", "file"),
        ("f", "a:.", "/f", "file"),
        ("f", "a:/t/none/../up", "/t/up", "file"),
        ("d", "a:/t/dir", "/t/dir/d/x", "x"),
        ("d/", "a:/t/dir/", "/t/dir/d/sub/y", "y"),
        ("d/.", "a:/t/dir", "/t/dir/sub/y", "y"),
        ("d", "a:/t/made", "/t/made/sub/y", "y"),
        ("d/.", "a:/t/made2", "/t/made2/x", "x"),
        ("d/", "a:/t/made3/", "/t/made3/x", "x"),
        (".", "a:/t/made4", "/t/made4/d/x", "x"),
        ("./d", "a:/t/made5", "/t/made5/x", "x"),
    ] {
        hoist.sh("a", "rm -rf /t/dir; mkdir -p /t/dir");
        hoist.ok(&format!("cp {source} {destination}"));
        let found = hoist.sh("a", &format!("cat {place}"));
        assert_eq!(found, content, "{source} to {destination}");
    }
    // What is there already and is not copied stays.
    hoist.sh("a", "echo kept > /t/made/kept");
    hoist.ok("cp d/. a:/t/made");
    assert_eq!(hoist.sh("a", "cat /t/made/kept /t/made/x"), "kept\nx");
}

fn files_and_directories_land_on_the_host_as_the_reference_puts_them() {
    let hoist = one();
    hoist.sh(
        "a",
        "mkdir -p /s/d/sub; printf file > /s/f; printf x > /s/d/x; printf y > /s/d/sub/y",
    );
    hoist.file("there/kept", "");
    hoist.file("old", "old");
    for (source, destination, place, content) in [
        ("a:/s/f", ".", "f", "file"),
        ("a:/s/f", "there", "there/f", "file"),
        ("a:/s/f", "there/", "there/f", "file"),
        ("a:/s/f", "new", "new", "file"),
        ("a:/s/f", "old", "old", "file"),
        ("a:s/f", "relative", "relative", "file"),
        ("a:/s/../s/f", "cleaned", "cleaned", "file"),
        ("a:/s/d", "there", "there/d/x", "x"),
        ("a:/s/d/", "there/", "there/d/sub/y", "y"),
        ("a:/s/d/.", "there", "there/sub/y", "y"),
        ("a:/s/d", "made", "made/sub/y", "y"),
        ("a:/s/d/.", "made2", "made2/x", "x"),
        ("a:/s/d/", "made3/", "made3/x", "x"),
    ] {
        hoist.ok(&format!("cp {source} {destination}"));
        let found = std::fs::read_to_string(hoist.dir().join(place)).unwrap_or_default();
        assert_eq!(found, content, "{source} to {destination}");
    }
    assert!(hoist.dir().join("there/kept").exists());
    // The whole root, into a directory that is there: its entries, not a directory of that name.
    hoist.file("all/kept", "");
    hoist.ok("cp a:/s/. all");
    assert!(hoist.dir().join("all/d/sub/y").exists() && hoist.dir().join("all/kept").exists());
}

fn copies_into_a_container_that_make_no_sense_are_refused() {
    let hoist = one();
    hoist.file("f", "file");
    hoist.file("d/x", "x");
    hoist.sh("a", "mkdir -p /t/f /u; echo old > /t/old; echo old > /u/d");
    let before = hoist.sh("a", "find /t /u -exec ls -ld {} +");
    for (arguments, words) in [
        ("f a:/t/none/", "no such directory"),
        ("f a:/t/none/.", "no such directory"),
        ("f a:", "no such directory"),
        ("f a:/none/x", "Could not find the file /none"),
        ("d/. a:/none/x", "Could not find the file /none"),
        ("d a:/t/old", "cannot copy directory"),
        ("f a:/t/old/", "no such directory"),
        (
            "f a:/t",
            "cannot overwrite directory \"/t/f\" with non-directory",
        ),
        (
            "d a:/u",
            "cannot overwrite non-directory \"/u/d\" with directory",
        ),
        ("none a:/t", "none: no such file or directory"),
        ("f/ a:/t", "not a directory"),
        ("f/. a:/t", "not a directory"),
        (
            "f a:/dev/null",
            "must be a directory or a regular file: got a device",
        ),
        ("f a:/etc/hosts", "resource busy"),
        ("f a:/proc/none", "cannot write /proc/none"),
        ("f other:/t", "no container found for service \"other\""),
        (
            "--index 2 f a:/t",
            "service \"a\" is not running container #2",
        ),
        ("f g", "unknown copy direction"),
        ("f ./a:/t", "unknown copy direction"),
        ("- -", "unknown copy direction"),
        ("a:/t a:/u", "copying between services is not supported"),
    ] {
        let done = hoist.run(&format!("cp {arguments}"));
        assert_eq!(done.code, 1, "{arguments}: {}", done.story());
        done.says(words);
    }
    assert_eq!(hoist.sh("a", "find /t /u -exec ls -ld {} +"), before);
}

fn copies_to_the_host_that_make_no_sense_are_refused() {
    let hoist = one();
    hoist.sh("a", "mkdir -p /s/d; echo x > /s/f; echo x > /s/d/x");
    hoist.file("file", "kept");
    hoist.file("over/f/x", "kept");
    hoist.file("under/d", "kept");
    for (arguments, words) in [
        ("a:/s/none .", "Could not find the file /s/none"),
        ("a:/s/f/ .", "not a directory"),
        ("a:/s/f/. .", "not a directory"),
        ("a: .", "is empty"),
        ("a:/s/f none/", "no such directory"),
        ("a:/s/f none/x", "does not exist"),
        ("a:/s/d file", "cannot copy directory"),
        ("a:/s/f file/", "not a directory"),
        ("a:/s/f over", "with non-directory"),
        ("a:/s/d under", "with directory"),
        ("a:/s/f /dev/null", "got a device"),
    ] {
        let done = hoist.run(&format!("cp {arguments}"));
        assert_eq!(done.code, 1, "{arguments}: {}", done.story());
        done.says(words);
    }
    for name in ["file", "over/f/x", "under/d"] {
        let kept = std::fs::read_to_string(hoist.dir().join(name));
        assert_eq!(kept.ok().as_deref(), Some("kept"), "{name}");
    }
    let null = std::fs::metadata("/dev/null").expect("it is there");
    assert!(null.file_type().is_char_device());
}

fn links_are_copied_as_links_unless_they_are_followed() {
    let hoist = one();
    hoist.file("f", "file");
    hoist.file("d/x", "x");
    for (to, link) in [("f", "lf"), ("d", "ld"), ("none", "lb"), ("lf", "llf")] {
        symlink(to, hoist.dir().join(link)).expect("the project is writable");
    }
    hoist.sh("a", "mkdir /t");
    hoist.ok("cp lf a:/t/");
    hoist.ok("cp ld a:/t/");
    hoist.ok("cp lb a:/t/renamed");
    hoist.ok("cp ld/ a:/t/slash");
    hoist.ok("cp ld/. a:/t/dot");
    hoist.ok("cp -L llf a:/t/");
    hoist.ok("cp --follow-link ld a:/t/followed");
    hoist.run("cp -L lb a:/t/").code(1).says("no such file");
    let look = "cd /t; for l in lf ld renamed; do readlink $l; done; cat slash/x dot/x llf followed/x; ls | wc -l";
    assert_eq!(hoist.sh("a", look), "f\nd\nnone\nxxfilex7");

    hoist.sh("a", "mkdir -p /s/d; cd /s; printf file > f; printf x > d/x; ln -s f lf; ln -s /s/d ld; ln -s /etc/passwd abs; ln -s none lb; ln -s lf llf");
    for link in ["lf", "ld", "abs", "lb"] {
        std::fs::create_dir_all(hoist.dir().join("o")).expect("the project is writable");
        hoist.ok(&format!("cp a:/s/{link} o"));
    }
    let target = |name: &str| std::fs::read_link(hoist.dir().join("o").join(name)).ok();
    assert_eq!(target("lf").as_deref(), Some(Path::new("f")));
    assert_eq!(target("ld").as_deref(), Some(Path::new("/s/d")));
    assert_eq!(target("abs").as_deref(), Some(Path::new("/etc/passwd")));
    assert_eq!(target("lb").as_deref(), Some(Path::new("none")));
    hoist.ok("cp a:/s/ld/ slash");
    hoist.ok("cp a:/s/ld/. dot");
    hoist.ok("cp -L a:/s/ld dir");
    hoist.ok("cp -L a:/s/llf .");
    hoist.ok("cp -L a:/s/abs passwd");
    for (name, content) in [
        ("slash/x", "x"),
        ("dot/x", "x"),
        ("dir/x", "x"),
        ("llf", "file"),
    ] {
        let found = std::fs::read_to_string(hoist.dir().join(name)).unwrap_or_default();
        assert_eq!(found, content, "{name}");
    }
    // The container's own file, not the host's.
    let passwd = std::fs::read_to_string(hoist.dir().join("passwd")).unwrap_or_default();
    assert_eq!(passwd.trim(), hoist.sh("a", "cat /etc/passwd"));
    let done = hoist.run("cp -L a:/s/lb .").code(1);
    done.says("Could not find the file /s/none");
}

fn a_link_as_destination_is_followed() {
    let hoist = one();
    hoist.file("f", "file");
    hoist.file("d/x", "x");
    hoist.sh("a", "mkdir -p /t /v/dir; cd /t; ln -s /v/dir dir; echo old > /v/file; ln -s ../v/file file; ln -s /v/none none; ln -s ../../../../v up; ln -s dir twice");
    for (source, destination, place) in [
        ("f", "a:/t/dir", "/v/dir/f"),
        ("f", "a:/t/file", "/v/file"),
        ("f", "a:/t/none", "/v/none"),
        ("f", "a:/t/up/", "/v/f"),
        ("d", "a:/t/dir", "/v/dir/d/x"),
        ("f", "a:/t/twice/two", "/v/dir/two"),
        ("d", "a:/t/twice", "/v/dir/d/x"),
    ] {
        hoist.ok(&format!("cp {source} {destination}"));
        let found = hoist.sh("a", &format!("cat {place}; rm -rf {place}; touch /v/file"));
        assert!(["file", "x"].contains(&&*found), "{destination}: {found}");
    }
    assert_eq!(
        hoist.sh("a", "cd /t; readlink dir; readlink file; readlink none"),
        "/v/dir\n../v/file\n/v/none"
    );
    std::fs::create_dir(hoist.dir().join("real")).expect("the project is writable");
    symlink("real", hoist.dir().join("to-dir")).expect("the project is writable");
    symlink("made", hoist.dir().join("to-none")).expect("the project is writable");
    hoist.ok("cp a:/etc/passwd to-dir");
    hoist.ok("cp a:/etc/passwd to-none");
    assert!(hoist.dir().join("real/passwd").exists());
    assert!(hoist.dir().join("made").exists() && hoist.dir().join("to-none").is_symlink());
    hoist
        .run("cp a:/etc to-none")
        .code(1)
        .says("cannot copy directory");
}

fn owners_modes_and_times_arrive() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  u: {SLEEP, user: app}\n");
    hoist.ok("up -d");
    let f = hoist.file("f", "file");
    std::os::unix::fs::chown(&f, Some(1234), Some(1235)).expect("root may");
    std::fs::set_permissions(&f, std::fs::Permissions::from_mode(0o4751)).expect("root may");
    let touched = Command::new("touch")
        .args(["-d", "2001-02-03 04:05:06 UTC"])
        .arg(&f)
        .status();
    assert!(touched.expect("touch runs").success());
    let look =
        |service: &str, path: &str| hoist.sh(service, &format!("stat -c '%u:%g %a %Y' {path}"));
    hoist.ok("cp f a:/tmp/f");
    assert_eq!(look("a", "/tmp/f"), "1234:1235 4751 981173106");
    hoist.ok("cp -a f a:/tmp/g");
    assert_eq!(look("a", "/tmp/g"), "1234:1235 4751 981173106");
    hoist.ok("cp f u:/tmp/f");
    assert_eq!(look("u", "/tmp/f"), "1234:1235 4751 981173106");
    hoist.ok("cp --archive f u:/tmp/g");
    assert_eq!(look("u", "/tmp/g"), "1000:1000 4751 981173106");
    // Directories have theirs too, although files were made in them afterwards.
    hoist.file("d/x", "x");
    let d = hoist.dir().join("d");
    std::fs::set_permissions(&d, std::fs::Permissions::from_mode(0o2750)).expect("root may");
    let touched = Command::new("touch")
        .args(["-d", "2001-02-03 04:05:06 UTC"])
        .arg(&d)
        .status();
    assert!(touched.expect("touch runs").success());
    hoist.ok("cp d a:/tmp/d");
    assert_eq!(look("a", "/tmp/d"), "0:0 2750 981173106");

    hoist.sh("a", "cd /tmp; echo x > o; chown 7:8 o; chmod 2604 o; touch -d '2002-01-01 00:00:00' o; mkdir od; echo x > od/x; chown -R 7:8 od; chmod 711 od; touch -d '2002-01-01 00:00:00' od");
    hoist.ok("cp a:/tmp/o o");
    hoist.ok("cp -a a:/tmp/od od");
    let mine = |name: &str| {
        let found = hoist.dir().join(name).metadata().expect("it was copied");
        (
            found.uid(),
            found.gid(),
            found.mode() & 0o7777,
            found.mtime(),
        )
    };
    assert_eq!(mine("o"), (0, 0, 0o2604, 1_009_843_200));
    assert_eq!(mine("od"), (0, 0, 0o711, 1_009_843_200));
    assert_eq!((mine("od/x").0, mine("od/x").1), (0, 0));
}

fn pipes_devices_hard_links_and_holes_arrive() {
    let hoist = one();
    hoist.sh("a", "mkdir /s; cd /s; mkfifo -m 640 p; mknod n c 1 3; echo linked > h1; ln h1 h2; truncate -s 64M holes; echo end >> holes");
    hoist.ok("cp a:/s s");
    let found = |name: &str| {
        hoist
            .dir()
            .join("s")
            .join(name)
            .symlink_metadata()
            .expect("it was copied")
    };
    assert!(found("p").file_type().is_fifo());
    assert_eq!(found("p").mode() & 0o777, 0o640);
    assert!(found("n").file_type().is_char_device());
    assert_eq!(found("n").rdev(), nix::sys::stat::makedev(1, 3));
    assert_eq!(found("h1").ino(), found("h2").ino());
    assert_eq!(found("holes").len(), (64 << 20) + 4);
    assert!(
        found("holes").blocks() < 1024,
        "{}",
        found("holes").blocks()
    );
    hoist.ok("cp s a:/back");
    let look = "cd /back; stat -c '%F %a' p n; [ h1 -ef h2 ] && cat h2; stat -c %s holes; tail -c 4 holes; [ $(stat -c %b holes) -lt 1024 ] && echo sparse";
    assert_eq!(
        hoist.sh("a", look),
        "fifo 640\ncharacter special file 644\nlinked\n67108868\nend\nsparse"
    );
    // On a stream they are plain files, which every reader of archives understands.
    let out = output(&hoist, &["cp", "a:/s/holes", "-"]);
    assert!(out.len() > 64 << 20);
}

/// What a command writes, as bytes.
fn output(hoist: &Sandbox, arguments: &[&str]) -> Vec<u8> {
    let arguments = [&["-p", &hoist.name], arguments].concat();
    let out = hoist.command(&arguments).output().expect("it runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

fn names_that_are_no_text_arrive() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt as _;
    let hoist = one();
    let dir = hoist.dir().join("d");
    std::fs::create_dir(&dir).expect("the project is writable");
    let odd: [&[u8]; 5] = [b"\xff\xfe", b"a\nb", b" ", b"-n", &[b'x'; 255]];
    for name in odd {
        std::fs::write(dir.join(OsStr::from_bytes(name)), name).expect("the project is writable");
    }
    let run = |from: &OsStr, to: &OsStr| {
        let mut command = hoist.command(&["-p", &hoist.name, "cp", "--"]);
        let done = command.arg(from).arg(to).output().expect("it runs");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let inside = OsString::from("a:/odd");
    run(dir.as_os_str(), &inside);
    run(&inside, OsStr::new("back"));
    for name in odd {
        let back = std::fs::read(hoist.dir().join("back").join(OsStr::from_bytes(name)));
        assert_eq!(back.ok().as_deref(), Some(name));
    }
    run(
        OsStr::from_bytes(b"d/\xff\xfe"),
        OsStr::from_bytes(b"a:/\xff"),
    );
    run(OsStr::from_bytes(b"a:/\xff"), OsStr::from_bytes(b"\xfd"));
    assert!(hoist.dir().join(OsStr::from_bytes(b"\xfd")).exists());
}

/// An archive with one file.
fn tar_of(path: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_uid(5);
    header.set_gid(6);
    tar.append_data(&mut header, path, content)
        .expect("memory takes the archive");
    tar.into_inner().expect("memory takes the archive")
}

fn archives_come_and_go_through_the_standard_streams() {
    use std::io::Write as _;
    let hoist = one();
    let plain = tar_of("sub/f", b"from an archive");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip.write_all(&plain).expect("memory takes it");
    let bzip = bzip.finish().expect("memory takes it");
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(plain.as_slice(), level);
    for (kind, bytes) in [
        ("tar", &plain),
        ("gzip", &gzip),
        ("bzip2", &bzip),
        ("zstd", &zstd),
    ] {
        hoist.sh("a", "rm -rf /t; mkdir /t");
        hoist.pipe("cp - a:/t", bytes).ok();
        let look = "cat /t/sub/f; stat -c ' %u:%g %a' /t/sub/f; stat -c '%u:%g %a' /t/sub";
        assert_eq!(
            hoist.sh("a", look),
            "from an archive 5:6 640\n0:0 755",
            "{kind}"
        );
    }
    hoist.pipe("cp - a:/t", b"").ok();
    let xz = b"\xfd7zXZ\0 and what follows";
    hoist.pipe("cp - a:/t", xz).code(1).says("XZ");
    hoist
        .pipe("cp - a:/t", b"no archive")
        .code(1)
        .says("ends within a header");
    hoist
        .pipe("cp - a:/t", &plain[..600])
        .code(1)
        .says("ends within");
    hoist
        .pipe("cp - a:/none", &plain)
        .code(1)
        .says("must be a directory");
    hoist
        .pipe("cp - a:/etc/passwd", &plain)
        .code(1)
        .says("must be a directory");

    hoist.sh(
        "a",
        "rm -rf /s; mkdir -p /s/d/e; echo x > /s/d/x; ln -s d /s/l; chown 7:8 /s/d/x",
    );
    let names = |arguments: &[&str]| -> Vec<String> {
        let bytes = output(&hoist, arguments);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("an archive");
        entries
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let mut text = String::new();
                entry.read_to_string(&mut text).expect("text");
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let uid = entry.header().uid().expect("a number");
                format!("{name}={}{uid}", text.trim())
            })
            .collect()
    };
    assert_eq!(names(&["cp", "a:/s/d", "-"]), ["d/=0", "d/e/=0", "d/x=x7"]);
    assert_eq!(
        names(&["cp", "a:/s/d/.", "-"]),
        ["./=0", "./e/=0", "./x=x7"]
    );
    assert_eq!(names(&["cp", "a:/s/d/x", "-"]), ["x=x7"]);
    assert_eq!(names(&["cp", "a:/s/l", "-"]), ["l=0"]);
    assert_eq!(
        names(&["cp", "-L", "a:/s/l", "-"]),
        ["d/=0", "d/e/=0", "d/x=x7"]
    );
    // From one container to another, as the hint says.
    let archive = output(&hoist, &["cp", "a:/s", "-"]);
    hoist.sh("a", "mkdir /again");
    hoist.pipe("cp - a:/again", &archive).ok();
    assert_eq!(hoist.sh("a", "cat /again/s/d/x"), "x");
}

fn mounts_of_a_running_container_are_written_to_and_read() {
    let hoist = Sandbox::new();
    hoist.file("bound/in", "host");
    hoist.compose("services:\n  a: {SLEEP, volumes: ['vol:/vol', './bound:/bound'], tmpfs: [/memory]}\nvolumes: {vol: }\n");
    hoist.ok("up -d");
    hoist.file("f", "file");
    for place in ["vol", "bound", "memory", "dev/shm"] {
        hoist.ok(&format!("cp f a:/{place}/f"));
        assert_eq!(hoist.sh("a", &format!("cat /{place}/f")), "file", "{place}");
        hoist.sh("a", &format!("printf back > /{place}/b"));
        hoist.ok(&format!("cp a:/{place}/b got"));
        let got = std::fs::read_to_string(hoist.dir().join("got"));
        assert_eq!(got.ok().as_deref(), Some("back"), "{place}");
    }
    let bound = std::fs::read_to_string(hoist.dir().join("bound/f"));
    assert_eq!(bound.ok().as_deref(), Some("file"));
    // Files of the kernel have no length beforehand.
    hoist.ok("cp a:/proc/1/cmdline cmdline");
    let cmdline = std::fs::read(hoist.dir().join("cmdline")).expect("it was copied");
    assert_eq!(cmdline, b"sleep\x003600\0");
    hoist.ok("cp a:/etc/hosts hosts");
    let hosts = std::fs::read_to_string(hoist.dir().join("hosts")).expect("it was copied");
    assert_eq!(hosts.trim(), hoist.sh("a", "cat /etc/hosts"));
}

fn what_is_read_only_refuses_files() {
    let hoist = Sandbox::new();
    hoist.file("bound/in", "host");
    hoist.file("f", "file");
    hoist.compose("services:\n  a: {SLEEP, read_only: true, volumes: ['vol:/vol', './bound:/bound:ro'], tmpfs: [/memory]}\nvolumes: {vol: }\n");
    hoist.ok("up -d");
    for state in ["running", "stopped"] {
        let done = hoist.run("cp f a:/home/f").code(1);
        done.says("container rootfs is marked read-only");
        let done = hoist.run("cp f a:/bound/").code(1);
        done.says("mounted volume is marked read-only");
        let done = hoist.run("cp f a:/bound/in").code(1);
        done.says("mounted volume is marked read-only");
        hoist.ok("cp f a:/vol/");
        hoist.ok(&format!("cp a:/bound/in {state}"));
        hoist.ok("stop -t 0");
    }
    hoist.ok("start");
    hoist.ok("cp f a:/memory/");
    assert_eq!(hoist.sh("a", "cat /vol/f /memory/f"), "filefile");
    assert_eq!(
        std::fs::read_to_string(hoist.dir().join("bound/in"))
            .ok()
            .as_deref(),
        Some("host")
    );
}

fn containers_that_do_not_run_give_and_take_files() {
    let hoist = Sandbox::new();
    hoist.file("f", "file");
    hoist.file("bound/in", "host");
    hoist.file("secret", "hidden");
    hoist.compose("services:\n  a: {SLEEP, volumes: ['vol:/vol', './bound:/bound'], tmpfs: [/memory], secrets: [s]}\nvolumes: {vol: }\nsecrets: {s: {file: ./secret}}\n");
    hoist.ok("create");
    hoist.ok("cp f a:/made/../early");
    hoist.ok("cp f a:/vol/");
    hoist.ok("cp f a:/bound/");
    hoist.ok("cp a:/seed/grain grain");
    hoist.ok("cp a:/run/secrets/s s");
    assert_eq!(
        std::fs::read_to_string(hoist.dir().join("s"))
            .ok()
            .as_deref(),
        Some("hidden")
    );
    assert_eq!(hoist.state("a"), "created");
    hoist.ok("start");
    assert_eq!(hoist.sh("a", "cat /early /vol/f /bound/f"), "filefilefile");
    hoist.sh(
        "a",
        "printf late > /late; printf late > /vol/late; printf gone > /memory/gone",
    );
    hoist.ok("stop -t 0");
    for path in ["/late", "/vol/late"] {
        hoist.ok(&format!("cp a:{path} got"));
        let got = std::fs::read_to_string(hoist.dir().join("got"));
        assert_eq!(got.ok().as_deref(), Some("late"), "{path}");
    }
    hoist
        .run("cp a:/memory/gone gone")
        .code(1)
        .says("Could not find");
    assert_eq!(hoist.state("a"), "exited");
    // A bind source that has gone keeps nobody from the rest.
    std::fs::remove_dir_all(hoist.dir().join("bound")).expect("the project is writable");
    hoist.ok("cp a:/late again");
    hoist.file("bound/in", "host");
    hoist.ok("start");
    assert_eq!(hoist.sh("a", "cat /early /late"), "filelate");
}

fn every_replica_gets_a_file_and_an_index_chooses_one() {
    let hoist = Sandbox::new();
    hoist.file("f", "file");
    hoist
        .compose("services:\n  a: {SLEEP, scale: 3, volumes: ['vol:/shared']}\nvolumes: {vol: }\n");
    hoist.ok("up -d");
    let at = |index: u32, line: &str| {
        let index = index.to_string();
        let arguments = [
            "-p",
            &hoist.name,
            "exec",
            "-T",
            "--index",
            &index,
            "a",
            "sh",
            "-c",
            line,
        ];
        hoist.global(&arguments)
    };
    hoist.ok("cp f a:/all");
    // Two of them write the same file at a time here.
    for _ in 0..5 {
        hoist.ok("cp f a:/shared/");
    }
    at(2, "cat /shared/f").ok().prints("file");
    hoist.ok("cp --index 2 f a:/two");
    hoist.ok("cp --index 0 f a:/zero");
    for index in 1..=3 {
        at(index, "cat /all /zero").ok().prints("filefile");
        let two = at(index, "cat /two");
        assert_eq!(two.code == 0, index == 2, "{}", two.story());
        at(index, &format!("echo {index} > /n")).ok();
    }
    let got = |arguments: &str| {
        hoist.ok(&format!("cp {arguments} n"));
        std::fs::read_to_string(hoist.dir().join("n")).unwrap_or_default()
    };
    assert_eq!(got("a:/n"), "1\n");
    assert_eq!(got("--index 3 a:/n"), "3\n");
    let done = hoist.pipe("cp - a:/", &tar_of("t", b"x")).code(1);
    done.says("--index");
    hoist.pipe("cp --index 3 - a:/", &tar_of("t", b"x")).ok();
    at(3, "cat /t").ok().prints("x");
    // What `run` has made takes part only when asked.
    let once = hoist
        .start("run --rm -T a sh -c 'trap \"exit 0\" TERM; echo up; while :; do sleep 0.1; done'");
    once.says("up");
    hoist.ok("cp f a:/some");
    hoist.ok("cp --all f a:/every");
    let containers = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    let with = |name: &str| {
        crate::harness::leftovers::children(&containers)
            .iter()
            .filter(|dir| dir.join("upper").join(name).exists())
            .count()
    };
    assert_eq!((with("some"), with("every")), (3, 4));
    once.signal(Signal::SIGTERM);
    once.end();
}

fn a_dry_run_looks_and_copies_nothing() {
    let hoist = one();
    hoist.file("f", "file");
    hoist.ok("cp --dry-run f a:/new");
    hoist.ok("cp --dry-run a:/etc/passwd passwd");
    hoist
        .run("cp --dry-run none a:/new")
        .code(1)
        .says("no such file");
    hoist
        .run("cp --dry-run a:/none x")
        .code(1)
        .says("Could not find");
    hoist
        .run("cp --dry-run f a:/none/")
        .code(1)
        .says("no such directory");
    assert_ne!(hoist.exec("a", "test -e /new").code, 0);
    assert!(!hoist.dir().join("passwd").exists());
}

fn a_full_disk_leaves_no_half_file() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, tmpfs: ['/small:size=256k']}\n");
    hoist.ok("up -d");
    hoist.file("big", vec![7; 1 << 20]);
    let done = hoist.run("cp big a:/small/").code(1);
    done.says("cannot write /small/big").says("no space left");
    assert_eq!(hoist.sh("a", "ls /small"), "");
    // The other way: a disk of the host that is too small.
    let disk = hoist.dir().join("disk");
    std::fs::create_dir(&disk).expect("the project is writable");
    let none = None::<&str>;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(none, &disk, Some("tmpfs"), flags, Some("size=256k")).expect("root may");
    hoist.ok("cp big a:/big");
    let done = hoist.run("cp a:/big disk/");
    let left = crate::harness::leftovers::children(&disk);
    nix::mount::umount(&disk).expect("nobody uses it");
    done.code(1).says("disk/big").says("no space left");
    assert!(left.is_empty(), "{left:?}");
}

fn an_interrupted_copy_leaves_no_half_file() {
    let hoist = one();
    hoist.sh("a", "mkdir /t");
    let archive = tar_of("half", &vec![7; 1 << 20]);
    let (reads, mut writes) = std::io::pipe().expect("descriptors are free");
    let mut command = hoist.command(&["-p", &hoist.name, "cp", "-", "a:/t"]);
    let mut child = command.stdin(reads).spawn().expect("it runs");
    drop(command);
    // More than any pipe on the way holds is left out, so that it must wait for the rest.
    std::io::Write::write_all(&mut writes, &archive[..600_000]).expect("somebody reads");
    eventually("half of the file is there", || {
        (hoist.sh("a", "ls /t") == "half").then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a number"));
    nix::sys::signal::kill(pid, Signal::SIGINT).expect("it is alive");
    let ended = child.wait().expect("it is ours");
    assert_eq!(ended.code(), Some(130));
    eventually("the half is gone", || {
        hoist.sh("a", "ls /t").is_empty().then_some(())
    });
    // The same when it is killed outright.
    let (reads, mut writes) = std::io::pipe().expect("descriptors are free");
    let mut command = hoist.command(&["-p", &hoist.name, "cp", "-", "a:/t"]);
    let mut child = command.stdin(reads).spawn().expect("it runs");
    drop(command);
    std::io::Write::write_all(&mut writes, &archive[..600_000]).expect("somebody reads");
    eventually("half of the file is there", || {
        (hoist.sh("a", "ls /t") == "half").then_some(())
    });
    child.kill().expect("it is alive");
    child.wait().expect("it is ours");
    eventually("the half is gone", || {
        hoist.sh("a", "ls /t").is_empty().then_some(())
    });
}

fn files_that_change_while_they_are_copied_do_no_harm() {
    let hoist = Sandbox::new();
    let busy = "mkdir -p /s/d; cd /s; i=0; while :; do i=$$((i+1)); echo $$i >> grows; echo $$i > d/$$((i%20)); rm -f d/$$(((i+7)%20)); head -c 3000000 /dev/zero > shrinks; : > shrinks; done";
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: [sh, -c, '{busy}'], stop_signal: SIGKILL}}\n"
    ));
    hoist.ok("up -d");
    eventually("it is at work", || {
        (hoist.exec("a", "test -e /s/shrinks").code == 0).then_some(())
    });
    let mut whole = 0;
    for round in 0..20 {
        let done = hoist.run(&format!("cp a:/s out{round}"));
        // A long file that becomes shorter is told; everything else is as it was at some moment.
        if done.code != 0 {
            done.code(1).says("became shorter");
        } else {
            whole += 1;
        }
    }
    assert!(whole > 0, "no copy succeeded");
}

fn a_stopped_container_is_not_started_while_files_are_copied_into_it() {
    let hoist = one();
    hoist.ok("stop -t 0");
    let (reads, mut writes) = std::io::pipe().expect("descriptors are free");
    let mut command = hoist.command(&["-p", &hoist.name, "cp", "-", "a:/tmp"]);
    let mut child = command.stdin(reads).spawn().expect("it runs");
    drop(command);
    let archive = tar_of("late", &vec![7; 1 << 20]);
    std::io::Write::write_all(&mut writes, &archive[..600_000]).expect("somebody reads");
    let starts = hoist.start("start");
    starts.says("wait");
    assert_eq!(hoist.state("a"), "exited");
    std::io::Write::write_all(&mut writes, &archive[600_000..]).expect("somebody reads");
    drop(writes);
    assert!(child.wait().expect("it is ours").success());
    assert_eq!(starts.end(), 0);
    assert_eq!(hoist.sh("a", "stat -c %s /tmp/late"), "1048576");
}
