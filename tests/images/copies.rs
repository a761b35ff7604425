//! `COPY` and `ADD`: every flag, ignore files, archives, and the same image from the same input.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    copied_folders_keep_their_parents_when_asked,
    what_is_excluded_is_not_copied,
    modes_are_octal_symbolic_and_from_variables,
    owners_are_numbers_or_names_of_the_image,
    a_linked_copy_is_used_again_on_another_base_and_follows_no_link,
    links_special_files_and_holes_are_copied_as_they_are,
    files_of_the_dockerfile_come_last_and_are_named_in_the_history,
    archives_are_told_by_their_content_and_unpacked_with_their_owners,
    the_ignore_file_of_a_dockerfile_beats_the_one_of_the_context,
    the_same_input_gives_the_same_image_everywhere,
    a_copy_of_what_changed_meanwhile_is_never_remembered_as_what_was_there,
    a_layer_that_lost_its_bytes_with_the_power_is_made_again_after_the_reboot,
);

/// A file of an image.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    kind: char,
    mode: u32,
    owner: (u64, u64),
    modified: u64,
    text: String,
}

/// What the built layers of an image hold, the last of each name.
fn files(hoist: &Sandbox, image: &str) -> BTreeMap<String, Node> {
    let archive = hoist.dir().join("saved.tar");
    let to = archive.to_string_lossy().into_owned();
    hoist.global(&["image", "save", image, "-o", &to]).ok();
    let mut entries = BTreeMap::new();
    let mut whole = tar::Archive::new(std::fs::File::open(&archive).expect("just saved"));
    for entry in whole.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a name").to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("content");
        entries.insert(path, bytes);
    }
    std::fs::remove_file(&archive).expect("just saved");
    let manifest: serde_json::Value =
        serde_json::from_slice(&entries["manifest.json"]).expect("a manifest");
    let mut found = BTreeMap::new();
    for layer in manifest[0]["Layers"].as_array().expect("layers") {
        let bytes = &entries[layer.as_str().expect("a name")];
        let mut layer = tar::Archive::new(bytes.as_slice());
        for entry in layer.entries().expect("a layer") {
            let mut entry = entry.expect("an entry");
            let header = entry.header().clone();
            let path = entry.path().expect("a name").to_string_lossy().into_owned();
            let mut text = String::new();
            if header.entry_type().is_file() {
                let mut bytes = Vec::new();
                entry
                    .by_ref()
                    .take(100)
                    .read_to_end(&mut bytes)
                    .expect("content");
                text = String::from_utf8_lossy(&bytes).into_owned();
            } else if let Some(link) = entry.link_name().expect("a link") {
                text = link.to_string_lossy().into_owned();
            }
            let node = Node {
                kind: match header.entry_type() {
                    tar::EntryType::Directory => 'd',
                    tar::EntryType::Symlink => 'l',
                    tar::EntryType::Link => 'h',
                    tar::EntryType::Fifo => 'p',
                    _ => 'f',
                },
                mode: header.mode().expect("a mode"),
                owner: (header.uid().expect("a uid"), header.gid().expect("a gid")),
                modified: header.mtime().expect("a time"),
                text,
            };
            found.insert(path.trim_end_matches('/').to_owned(), node);
        }
    }
    found
}

fn build(hoist: &Sandbox, dockerfile: &str) -> BTreeMap<String, Node> {
    hoist.file("Dockerfile", dockerfile);
    hoist.global(&["image", "build", "-t", "made", "."]).ok();
    files(hoist, "made")
}

fn names(found: &BTreeMap<String, Node>) -> Vec<&str> {
    found.keys().map(String::as_str).collect()
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
}

fn copied_folders_keep_their_parents_when_asked() {
    let hoist = Sandbox::new();
    for path in ["src/a/b/one", "src/a/c/two", "src/x/one"] {
        hoist.file(path, path);
    }
    chmod(&hoist.dir().join("src/a"), 0o750);
    let found = build(&hoist, "FROM scratch\nCOPY --parents src/a/b/one /o/\n");
    assert_eq!(
        names(&found),
        ["o", "o/src", "o/src/a", "o/src/a/b", "o/src/a/b/one"]
    );
    assert_eq!(found["o/src/a"].mode, 0o750);
    let found = build(
        &hoist,
        "FROM scratch\nCOPY --parents src/./a/*/two src/./x /o\n",
    );
    assert_eq!(
        names(&found),
        ["o", "o/a", "o/a/c", "o/a/c/two", "o/x", "o/x/one"]
    );
    let found = build(
        &hoist,
        "FROM scratch\nCOPY --parents --exclude=src/x **/one /o/\n",
    );
    assert_eq!(
        names(&found),
        ["o", "o/src", "o/src/a", "o/src/a/b", "o/src/a/b/one"]
    );
    hoist.file("Dockerfile", "FROM scratch\nCOPY --parents src/nope /o/\n");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("\"/src/nope\": not found");
}

fn what_is_excluded_is_not_copied() {
    let hoist = Sandbox::new();
    for path in ["d/keep.c", "d/k/drop.o", "d/k/keep.o", "d/z/x"] {
        hoist.file(path, path);
    }
    let found = build(
        &hoist,
        "FROM scratch\nCOPY --exclude=**/*.o --exclude=!k/keep.o --exclude=z d /o\nADD --exclude=k d /p\n",
    );
    let want = [
        "o",
        "o/k",
        "o/k/keep.o",
        "o/keep.c",
        "p",
        "p/keep.c",
        "p/z",
        "p/z/x",
    ];
    assert_eq!(names(&found), want);
}

fn modes_are_octal_symbolic_and_from_variables() {
    let hoist = Sandbox::new();
    chmod(&hoist.file("d/f", "f"), 0o640);
    chmod(&hoist.file("d/x", "x"), 0o711);
    let found = build(
        &hoist,
        "FROM scratch\nARG mode=u=rwX,go=rX\nCOPY --chmod=$mode d /s\nCOPY --chmod=4751 d/f /new/f\nADD --chmod=600 d/f /a\n\
         COPY --chmod=u+x <<h /h\nx\nh\n",
    );
    let mode = |path: &str| found[path].mode;
    assert_eq!([mode("s/f"), mode("s/x")], [0o644, 0o755]);
    assert_eq!([mode("new/f"), mode("new")], [0o4751, 0o751]);
    assert_eq!([mode("a"), mode("h")], [0o600, 0o744]);
    hoist.file("Dockerfile", "FROM scratch\nCOPY --chmod=u+q d /o\n");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("invalid chmod parameter: 'u+q'");
}

fn owners_are_numbers_or_names_of_the_image() {
    let hoist = Sandbox::new();
    hoist.file("f", "f");
    let found = build(
        &hoist,
        "FROM tiny\nRUN echo bob:x:1000:1001::/: >> /etc/passwd; echo ops:x:7: >> /etc/group\n\
         COPY --chown=bob f /a\nCOPY --chown=bob:ops f /b\nCOPY --chown=5 f /c\nADD --chown=5: f /d\n\
         COPY --chown=:9 f /new/e\nCOPY --link --chown=bob f /l\n",
    );
    let owner = |path: &str| found[path].owner;
    assert_eq!([owner("a"), owner("b")], [(1000, 1001), (1000, 7)]);
    assert_eq!([owner("c"), owner("d")], [(5, 5), (5, 0)]);
    assert_eq!([owner("new"), owner("new/e")], [(0, 9), (0, 9)]);
    assert_eq!(owner("l"), (1000, 1001));
    hoist.file("Dockerfile", "FROM scratch\nCOPY --chown=app f /a\n");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("no user or group `app`");
}

fn a_linked_copy_is_used_again_on_another_base_and_follows_no_link() {
    let hoist = Sandbox::new();
    hoist.file("f", "f");
    let text = |base: &str| {
        format!(
            "FROM tiny\nRUN mkdir -m 711 /there /real; ln -s /real /lnk; echo {base} > /base\n\
             COPY --link f /there/f\nCOPY --link f /lnk/f\nADD --link f /new/\n"
        )
    };
    let found = build(&hoist, &text("one"));
    assert_eq!((found["lnk"].kind, found["there"].mode), ('d', 0o711));
    assert!(!found.contains_key("real/f"));
    assert_eq!(found["lnk/f"].text, "f");
    hoist.file("Dockerfile", text("two"));
    let again = hoist.global(&["image", "build", "--progress", "plain", "-t", "made", "."]);
    let again = again.ok();
    assert_eq!(
        again.all().matches("CACHED").count(),
        3,
        "{}",
        again.story()
    );
    assert_eq!(files(&hoist, "made")["lnk/f"].text, "f");
}

fn links_special_files_and_holes_are_copied_as_they_are() {
    let hoist = Sandbox::new();
    hoist.file("d/f", "f");
    let dir = hoist.dir();
    symlink("f", dir.join("d/rel")).expect("new");
    symlink("/etc/shadow", dir.join("d/abs")).expect("new");
    symlink("d", dir.join("ld")).expect("new");
    std::fs::hard_link(dir.join("d/f"), dir.join("d/h")).expect("new");
    nix::unistd::mkfifo(&dir.join("d/p"), nix::sys::stat::Mode::S_IRUSR).expect("new");
    let hole = std::fs::File::create(dir.join("d/hole")).expect("new");
    hole.set_len(64 << 20).expect("room");
    let found = build(&hoist, "FROM scratch\nCOPY ld /o\nCOPY d/rel /single\n");
    assert_eq!(found["o/rel"].text, "f");
    assert_eq!(
        (found["o/abs"].kind, found["o/abs"].text.as_str()),
        ('l', "/etc/shadow")
    );
    assert_eq!((found["o/h"].kind, found["o/p"].kind), ('h', 'p'));
    assert_eq!(
        (found["single"].kind, found["single"].text.as_str()),
        ('f', "f")
    );
    let line = format!(
        "find {}/layers -name hole -size +1000k",
        hoist.data().display()
    );
    let used = Command::new("sh")
        .args(["-c", &line])
        .output()
        .expect("a shell");
    // Its size on disk: `find -size` counts bytes, so blocks are asked for.
    let path = String::from_utf8_lossy(&used.stdout).trim().to_owned();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).expect("there"));
    assert!(blocks < 1000, "a hole of 64 MB takes {blocks} blocks");
}

fn files_of_the_dockerfile_come_last_and_are_named_in_the_history() {
    let hoist = Sandbox::new();
    hoist.file("h", "of the context");
    let found = build(
        &hoist,
        "FROM scratch\nADD <<h h /o/\nof the Dockerfile\nh\n",
    );
    assert_eq!(
        (found["o/h"].text.as_str(), found["o/h"].mode),
        ("of the Dockerfile\n", 0o644)
    );
    hoist
        .global(&["image", "inspect", "made"])
        .ok()
        .says_nothing_of("of the Dockerfile");
}

fn archives_are_told_by_their_content_and_unpacked_with_their_owners() {
    let hoist = Sandbox::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o4711);
    header.set_uid(3);
    header.set_gid(4);
    header.set_mtime(1_234_567_890);
    builder
        .append_data(&mut header, "sub/f", &b"hi"[..])
        .expect("memory");
    let plain = builder.into_inner().expect("memory");
    let packed = |program: &str| {
        let dir = hoist.dir();
        let from = dir.join("plain");
        let line = format!(
            "{program} -c < {} > {}/{program}.data",
            from.display(),
            dir.display()
        );
        let made = Command::new("sh").args(["-c", &line]).status();
        made.is_ok_and(|status| status.success())
    };
    hoist.file("plain", &plain);
    let mut text = "FROM scratch\nADD plain /plain\nADD --chown=8:9 plain /own\nADD --unpack=false plain /kept\n".to_owned();
    let mut kinds = vec!["plain"];
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        if packed(program) {
            text.push_str(&format!("ADD {program}.data /{program}\n"));
            kinds.push(program);
        }
    }
    let found = build(&hoist, &text);
    for kind in kinds {
        let node = &found[&format!("{kind}/sub/f")];
        assert_eq!(
            (node.owner, node.mode, node.modified),
            ((3, 4), 0o4711, 1_234_567_890),
            "{kind}"
        );
        assert_eq!(node.text, "hi");
    }
    assert_eq!(found["own/sub/f"].owner, (8, 9));
    assert_eq!(found["kept"].kind, 'f');
}

fn the_ignore_file_of_a_dockerfile_beats_the_one_of_the_context() {
    let hoist = Sandbox::new();
    for path in ["a", "b", "Dockerfile.k"] {
        hoist.file(path, path);
    }
    hoist.file(
        ".dockerignore",
        "\u{feff}# comment\r\na\r\nDockerfile*\r\n.dockerignore\r\nsaved.tar\r\ncompose.yaml\r\n",
    );
    let found = build(&hoist, "FROM scratch\nCOPY . /o/\n");
    assert_eq!(names(&found), ["o", "o/b"]);
    hoist.file("Dockerfile.dockerignore", "*\n!a\n");
    let found = build(&hoist, "FROM scratch\nCOPY . /o/\n");
    assert_eq!(names(&found), ["o", "o/a"]);
}

/// The same files at other places, with other times, in other orders, by another store.
fn the_same_input_gives_the_same_image_everywhere() {
    let digests = |order: &[&str], age: u64| {
        let hoist = Sandbox::new();
        for path in order {
            let path = hoist.file(path, path);
            let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            let file = std::fs::File::options()
                .append(true)
                .open(path)
                .expect("ours");
            file.set_modified(time).expect("ours");
        }
        std::fs::hard_link(hoist.dir().join(order[0]), hoist.dir().join("second")).expect("new");
        hoist.file(
            "Dockerfile",
            "FROM tiny\nWORKDIR /w\nCOPY d /o\nCOPY <<h /h\nx\nh\nRUN mkdir /r; echo x > /r/x\nLABEL a=b\n",
        );
        let arg = "SOURCE_DATE_EPOCH=1500000000";
        hoist
            .global(&["image", "build", "--build-arg", arg, "-t", "made", "."])
            .ok();
        let found = files(&hoist, "made");
        for path in ["o/a", "h", "r/x", "w"] {
            assert_eq!(found[path].modified, 1_500_000_000, "{path}");
        }
        let shown = hoist.global(&["image", "inspect", "made"]).ok().out;
        assert!(shown.contains("2017-07-14T02:40:00Z"), "{shown}");
        let value: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let layers = value[0]["RootFS"]["Layers"]
            .as_array()
            .expect("layers")
            .clone();
        // The base is imported anew in each sandbox, so its layer and what the id is made of count only if they agree.
        (layers, value[0]["Id"].clone())
    };
    let one = digests(&["d/a", "d/b", "d/c/x"], 10);
    let other = digests(&["d/c/x", "d/b", "d/a"], 5000);
    assert_eq!(one.0, other.0);

    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    hoist.set("SOURCE_DATE_EPOCH", "0");
    hoist.global(&["image", "build", "-t", "made", "."]).ok();
    let shown = hoist.global(&["image", "inspect", "made"]).ok().out;
    assert!(shown.contains("1970-01-01T00:00:00Z"), "{shown}");
    hoist.set("SOURCE_DATE_EPOCH", "yesterday");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("invalid SOURCE_DATE_EPOCH: yesterday");
}

/// A file that is written all the time: whatever a build has copied, a later build of the file as it is then copies that.
fn a_copy_of_what_changed_meanwhile_is_never_remembered_as_what_was_there() {
    let hoist = Sandbox::new();
    let path = hoist.file("f", "0");
    hoist.file("Dockerfile", "FROM scratch\nCOPY f /f\n");
    let mut writer = Command::new("sh")
        .args(["-c", "i=0; while :; do i=$((i+1)); echo $i > \"$0\"; done"])
        .arg(&path)
        .spawn()
        .expect("a shell");
    for _ in 0..5 {
        hoist.global(&["image", "build", "-t", "made", "."]).ok();
    }
    writer.kill().expect("ours");
    writer.wait().expect("ours");
    for text in ["1\n", "2\n", "7\n"] {
        std::fs::write(&path, text).expect("ours");
        hoist.global(&["image", "build", "-t", "made", "."]).ok();
        assert_eq!(files(&hoist, "made")["f"].text, text);
    }
}

/// The power went after a build: of one layer the names are there, but not the content. The other one is whole.
fn a_layer_that_lost_its_bytes_with_the_power_is_made_again_after_the_reboot() {
    let hoist = Sandbox::new();
    hoist.file("lost", "this was not written yet");
    hoist.file("kept", "this was");
    hoist.file(
        "Dockerfile",
        "FROM scratch\nCOPY kept /kept\nCOPY lost /lost\n",
    );
    let build = || {
        let done = hoist.global(&["image", "build", "--progress=plain", "-t", "made", "."]);
        done.ok().err.matches("CACHED").count()
    };
    build();
    assert_eq!(build(), 2);
    let layers = hoist.data().join("layers");
    let record = |file: &str| {
        let all = std::fs::read_dir(&layers).expect("layers");
        let found = all.filter_map(Result::ok).map(|entry| entry.path());
        let mut found = found.filter(|path| path.join(file).exists());
        found.next().expect("a layer").with_extension("json")
    };
    for file in ["kept", "lost"] {
        let path = record(file);
        let text = std::fs::read_to_string(&path).expect("a record");
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(value["boot"].is_string(), "{text}");
        value["boot"] = "00000000-0000-0000-0000-000000000000".into();
        std::fs::write(&path, value.to_string()).expect("ours");
    }
    let layer = record("lost").with_extension("");
    std::fs::write(layer.join("lost"), [0; 24]).expect("ours");
    assert_eq!(build(), 1);
    let found = files(&hoist, "made");
    assert_eq!(found["lost"].text, "this was not written yet");
    assert_eq!(found["kept"].text, "this was");
    let text = std::fs::read_to_string(record("kept")).expect("a record");
    assert!(!text.contains("boot"), "it is looked at once: {text}");
    assert_eq!(build(), 2);
}
