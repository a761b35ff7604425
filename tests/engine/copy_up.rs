//! What of an image's directory is in a volume that was empty: all that a file system can say of a file.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use tar::{Builder, EntryType, Header};

use crate::harness::{Need, Sandbox, eventually, image, process};

crate::cases!(NEEDS;
    a_copy_keeps_links_holes_owners_and_times,
    a_copy_keeps_extended_attributes,
    a_copy_that_was_cut_short_comes_to_its_end,
    many_files_are_copied_at_the_speed_of_the_disk,
);

/// Attributes are looked at from outside.
const NEEDS: &[Need] = &[Need::Root, Need::Busybox, Need::Program("python3")];

/// One entry of an archive.
struct Entry<'a> {
    path: &'a str,
    kind: EntryType,
    mode: u32,
    to: &'a str,
    content: &'a [u8],
    attributes: &'a [(&'a str, &'a [u8])],
}

const FILE: Entry<'_> = Entry {
    path: "",
    kind: EntryType::Regular,
    mode: 0o644,
    to: "",
    content: b"",
    attributes: &[],
};

/// Imports the image `full`: the tiny one with more entries.
fn import(hoist: &Sandbox, entries: &[Entry<'_>]) {
    let mut tar = Builder::new(std::fs::read(image::archive()).map_or_else(
        |error| panic!("the archive is there: {error}"),
        |mut bytes| {
            // Without the two blocks that end it.
            bytes.truncate(bytes.len() - 1024);
            bytes
        },
    ));
    for entry in entries {
        let names = entry.attributes.iter();
        let names: Vec<(String, &[u8])> = names
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), *value))
            .collect();
        if !names.is_empty() {
            tar.append_pax_extensions(names.iter().map(|(name, value)| (name.as_str(), *value)))
                .expect("memory takes the archive");
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(1_000_000_000);
        header.set_size(entry.content.len() as u64);
        let added = match entry.to {
            "" => tar.append_data(&mut header, entry.path, entry.content),
            to => tar.append_link(&mut header, entry.path, to),
        };
        added.expect("memory takes the archive");
    }
    let bytes = tar.into_inner().expect("memory takes the archive");
    let path = hoist.file("full.tar", bytes);
    let path = path.to_string_lossy().into_owned();
    hoist
        .global(&["image", "import", "-c", "ENV PATH=/bin", &path, "full"])
        .ok();
}

fn service(hoist: &Sandbox) {
    hoist.compose(
        "services:\n  a: {image: full, command: sleep 3600, stop_signal: SIGKILL, volumes: ['vv:/full']}\n  raw: {image: full, command: sleep 3600, \
         stop_signal: SIGKILL}\nvolumes: {vv: }\n",
    );
}

fn a_copy_keeps_links_holes_owners_and_times() {
    let hoist = Sandbox::new();
    let dir = |path| Entry {
        path,
        kind: EntryType::Directory,
        mode: 0o2750,
        ..FILE
    };
    let link = |path, kind, to| Entry {
        path,
        kind,
        to,
        ..FILE
    };
    import(
        &hoist,
        &[
            dir("full"),
            dir("full/sub"),
            Entry {
                path: "full/sub/one",
                mode: 0o4711,
                content: b"one\n",
                ..FILE
            },
            link("full/two", EntryType::Link, "full/sub/one"),
            link("full/sub/three", EntryType::Link, "full/sub/one"),
            link("full/away", EntryType::Symlink, "/etc/passwd"),
            Entry {
                path: "full/pipe",
                kind: EntryType::Fifo,
                mode: 0o622,
                ..FILE
            },
        ],
    );
    service(&hoist);
    hoist.ok("up -d");
    let line = "cd /full; stat -c '%n %F %a %u %g %Y %h' . sub sub/one two sub/three away pipe; readlink away; cat two";
    assert_eq!(hoist.sh("a", line), hoist.sh("raw", line));
    assert_eq!(
        hoist.sh("a", "stat -c '%a %u %g %Y %h' /full/two"),
        "4711 1000 1001 1000000000 3"
    );
    let inodes = hoist.sh("a", "cd /full; stat -c %i two sub/one sub/three");
    let first = inodes.lines().next().unwrap_or_default();
    assert!(inodes.lines().all(|inode| inode == first), "{inodes}");
    // A file with a hole: archives have no holes, so a layer is built with one.
    hoist.file(
        "Dockerfile",
        "FROM full\nRUN truncate -s 64M /full/holes && printf middle | dd of=/full/holes bs=1M seek=32 conv=notrunc\n",
    );
    hoist.compose("services:\n  b: {build: ., command: sleep 3600, stop_signal: SIGKILL, volumes: ['ww:/full']}\nvolumes: {ww: }\n");
    hoist.ok("up -d --build --remove-orphans");
    let file = hoist
        .data()
        .join(format!("volumes/{}_ww/_data/holes", hoist.name));
    let meta = file.metadata().expect("it was copied");
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() * 512 < 8 << 20, "{} blocks", meta.blocks());
    assert_eq!(
        hoist.sh(
            "b",
            "dd if=/full/holes bs=1M skip=32 count=1 2>/dev/null | head -c 6"
        ),
        "middle"
    );
}

fn a_copy_keeps_extended_attributes() {
    let hoist = Sandbox::new();
    // `cap_net_raw+ep` in its second form, and a list that lets user 77 read and write.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let entry = |tag: u8, bits: u8, id: u32| {
        let mut bytes = vec![tag, 0, bits, 0];
        bytes.extend(id.to_le_bytes());
        bytes
    };
    let any = u32::MAX;
    let list = [
        vec![2, 0, 0, 0],
        entry(1, 6, any),
        entry(2, 6, 77),
        entry(4, 4, any),
        entry(0x10, 6, any),
        entry(0x20, 4, any),
    ]
    .concat();
    import(
        &hoist,
        &[
            Entry {
                path: "full",
                kind: EntryType::Directory,
                mode: 0o755,
                attributes: &[("user.place", b"dir")],
                ..FILE
            },
            Entry {
                path: "full/tool",
                mode: 0o755,
                content: b"tool",
                attributes: &[
                    ("security.capability", &capability),
                    ("user.colour", b"red"),
                ],
                ..FILE
            },
            Entry {
                path: "full/listed",
                mode: 0o664,
                content: b"listed",
                attributes: &[("user.colour", b"blue")],
                ..FILE
            },
        ],
    );
    service(&hoist);
    hoist.ok("up -d");
    let data = hoist
        .data()
        .join(format!("volumes/{}_vv/_data", hoist.name));
    let attribute = |path: &str, name: &str| {
        let code = "import os,sys; sys.stdout.write(os.getxattr(sys.argv[1], sys.argv[2]).hex())";
        let done = Command::new("python3")
            .args(["-c", code])
            .arg(data.join(path))
            .arg(name)
            .output()
            .expect("python runs");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(attribute("tool", "security.capability"), hex(&capability));
    assert_eq!(attribute("tool", "user.colour"), hex(b"red"));
    assert_eq!(attribute("listed", "user.colour"), hex(b"blue"));
    assert_eq!(attribute(".", "user.place"), hex(b"dir"));
    // Lists of access are attributes, too: one that the image's layer has comes along.
    hoist.ok("down -v -t 0");
    let layers = crate::harness::leftovers::children(&hoist.data().join("layers"));
    let file = layers.iter().map(|layer| layer.join("full/listed"));
    let file = file
        .into_iter()
        .find(|file| file.exists())
        .expect("a layer has it");
    let code = "import os,sys; os.setxattr(sys.argv[1], 'system.posix_acl_access', bytes.fromhex(sys.argv[2]))";
    let done = Command::new("python3")
        .args(["-c", code])
        .arg(&file)
        .arg(hex(&list))
        .output();
    assert!(done.expect("python runs").status.success());
    hoist.ok("up -d");
    assert_eq!(attribute("listed", "system.posix_acl_access"), hex(&list));
}

fn a_copy_that_was_cut_short_comes_to_its_end() {
    let hoist = Sandbox::new();
    let names: Vec<String> = (0..3000)
        .map(|n| format!("full/d{}/f{n}", n % 30))
        .collect();
    let content = vec![b'x'; 4096];
    let mut entries = vec![Entry {
        path: "full",
        kind: EntryType::Directory,
        mode: 0o755,
        ..FILE
    }];
    entries.extend(names.iter().map(|path| Entry {
        path,
        content: &content,
        ..FILE
    }));
    import(&hoist, &entries);
    service(&hoist);
    let volume = hoist.data().join(format!("volumes/{}_vv", hoist.name));
    let cut = (0..20).any(|_| {
        let command = hoist.start("up -d a");
        eventually("some of it is copied", || {
            volume.join("_data/d3").exists().then_some(())
        });
        process::kill_and_wait(command.pid());
        let cut = volume.join("filling").exists();
        if !cut {
            // It was through before it could be killed.
            hoist.ok("down -v -t 0");
        }
        cut
    });
    assert!(cut, "each was through before it could be killed");
    hoist.ok("up -d a");
    assert_eq!(
        hoist.sh(
            "a",
            "find /full -type f | wc -l; find /full -type f -size 8 | wc -l"
        ),
        "3000\n3000"
    );
    assert!(!volume.join("filling").exists());
}

/// Not slower than a plain copy of the same files, by far.
fn many_files_are_copied_at_the_speed_of_the_disk() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN mkdir /full && for n in 1 2 3 4 5 6 7 8 9 10; do dd if=/dev/zero of=/full/big$n bs=1M count=20; done\n",
    );
    hoist.compose("services:\n  a: {build: ., command: sleep 3600, stop_signal: SIGKILL, volumes: ['vv:/full']}\nvolumes: {vv: }\n");
    hoist.ok("build");
    let begun = std::time::Instant::now();
    hoist.ok("up -d");
    let ours = begun.elapsed();
    let from = hoist
        .data()
        .join(format!("volumes/{}_vv/_data", hoist.name));
    let begun = std::time::Instant::now();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&from)
        .arg(hoist.dir().join("copy"))
        .status();
    assert!(copied.expect("cp runs").success());
    let plain = begun.elapsed();
    assert_eq!(hoist.sh("a", "find /full -size +20479k | wc -l"), "10");
    assert!(
        ours < plain * 4 + std::time::Duration::from_secs(2),
        "{ours:?} against {plain:?}"
    );
}
