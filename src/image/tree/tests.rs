//! Trees there and back, and archives that nobody should trust.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::pack::{self, Holes, Opening, Source};
use super::swap::Swap;
use super::unpack::{self, Links, Owner, Target, UnpackFault};
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::sys::fs::Root;

/// A directory that goes with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-tree-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn packed(dir: &Path, name: &str, stored_as: &str, opening: Opening, holes: Holes) -> Vec<u8> {
    let root = Root::open(dir).unwrap();
    let source = Source {
        dir: root.as_fd(),
        name: OsStr::new(name),
        stored_as: stored_as.as_bytes(),
    };
    let mut bytes = Vec::new();
    pack::write(source, opening, holes, &mut bytes).unwrap();
    bytes
}

fn unpacked(bytes: &[u8], dir: &Path, links: Links) -> Result<(), UnpackFault> {
    let top = Root::open(dir).unwrap();
    let target = Target {
        at_once: None,
        top: &top,
        links,
        owner: Owner::Caller,
    };
    unpack::read(bytes, target)
}

fn archive(entries: &[(Entry<'_>, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (entry, content) in entries {
        let size = content.len() as u64;
        Entry {
            size,
            ..entry.clone()
        }
        .write(&mut bytes)
        .unwrap();
        bytes.extend_from_slice(content.as_bytes());
        pad(&mut bytes, size).unwrap();
    }
    end(&mut bytes).unwrap();
    bytes
}

fn file(path: &str) -> Entry<'_> {
    Entry::new(path.as_bytes(), EntryKind::File, 0o644)
}

fn link<'a>(path: &'a str, kind: EntryKind, to: &'a str) -> Entry<'a> {
    Entry {
        link: to.as_bytes(),
        ..Entry::new(path.as_bytes(), kind, 0o777)
    }
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let dir = Scratch::new("back");
    let from = dir.0.join("from");
    fs::create_dir_all(from.join("sub/empty")).unwrap();
    fs::write(from.join("sub/f"), "content").unwrap();
    fs::set_permissions(from.join("sub/f"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(from.join("sub/f"), from.join("twin")).unwrap();
    symlink("sub/f", from.join("link")).unwrap();
    let long = vec![7; 700_000];
    fs::write(from.join("long"), &long).unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 4 << 20).unwrap();
    for (at, opening) in [Opening::Direct, Opening::Twice].into_iter().enumerate() {
        let to = dir.0.join(format!("to{at}"));
        fs::create_dir(&to).unwrap();
        let bytes = packed(&from, ".", "new", opening, Holes::Kept);
        assert!(bytes.len() < 2 << 20, "holes were written: {}", bytes.len());
        unpacked(&bytes, &to, Links::Refused).unwrap();
        let new = to.join("new");
        assert_eq!(fs::read(new.join("sub/f")).unwrap(), b"content");
        assert_eq!(fs::read(new.join("long")).unwrap(), long);
        let meta = |name: &str| fs::symlink_metadata(new.join(name)).unwrap();
        assert_eq!(meta("sub/f").mode() & 0o7777, 0o640);
        assert_eq!(meta("sub/f").ino(), meta("twin").ino());
        assert_eq!(
            meta("sub/f").mtime(),
            fs::metadata(from.join("sub/f")).unwrap().mtime()
        );
        assert_eq!(
            meta("sub").mtime(),
            fs::metadata(from.join("sub")).unwrap().mtime()
        );
        assert_eq!(fs::read_link(new.join("link")).unwrap(), Path::new("sub/f"));
        let sparse = fs::read(new.join("sparse")).unwrap();
        assert_eq!(
            (sparse.len(), &sparse[4 << 20..][..6]),
            (8 << 20, b"middle".as_slice())
        );
        assert!(
            meta("sparse").blocks() < 4096,
            "{}",
            meta("sparse").blocks()
        );
    }
    let plain = packed(&from, "sparse", "sparse", Opening::Direct, Holes::Filled);
    assert!(plain.len() > 8 << 20);
}

#[test]
fn the_first_name_is_the_one_asked_for() {
    let dir = Scratch::new("name");
    fs::create_dir(dir.0.join("d")).unwrap();
    fs::write(dir.0.join("d/x"), "x").unwrap();
    let names = |name: &str, stored_as: &str| -> Vec<String> {
        let bytes = packed(&dir.0, name, stored_as, Opening::Direct, Holes::Kept);
        let mut members = crate::image::archive::read::Members::new(bytes.as_slice());
        let mut names = Vec::new();
        while let Some(member) = members.next_member().unwrap() {
            names.push(String::from_utf8(member.path).unwrap());
        }
        names
    };
    assert_eq!(names("d", "e"), ["e/", "e/x"]);
    assert_eq!(names("d", "."), ["./", "./x"]);
    assert_eq!(names("d/x", "y"), ["y"]);
}

#[test]
fn what_is_there_is_replaced_only_by_its_like() {
    let dir = Scratch::new("replace");
    let outside = dir.0.join("outside");
    let to = dir.0.join("to");
    fs::create_dir_all(to.join("d")).unwrap();
    fs::write(&outside, "kept").unwrap();
    symlink(&outside, to.join("l")).unwrap();
    fs::write(to.join("f"), "old").unwrap();
    unpacked(
        &archive(&[(file("l"), "new"), (file("f"), "new")]),
        &to,
        Links::Refused,
    )
    .unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
    assert_eq!(fs::read_to_string(to.join("l")).unwrap(), "new");
    assert_eq!(fs::read_to_string(to.join("f")).unwrap(), "new");
    let fault = unpacked(&archive(&[(file("d"), "")]), &to, Links::Refused).unwrap_err();
    assert!(matches!(&fault, UnpackFault::FileOverDirectory { path } if path == "d"));
    assert_eq!(
        fault.below(Path::new("/x")).to_string(),
        "cannot overwrite directory \"/x/d\" with non-directory"
    );
    let new = Entry::new(b"f/", EntryKind::Dir, 0o755);
    let fault = unpacked(&archive(&[(new, "")]), &to, Links::Refused).unwrap_err();
    assert!(matches!(fault, UnpackFault::DirectoryOverFile { path } if path == "f"));
}

#[test]
fn nothing_is_made_outside_whatever_an_archive_says() {
    let dir = Scratch::new("outside");
    let outside = dir.0.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("song"), "kept").unwrap();
    let out = outside.to_str().unwrap();
    let song = format!("{out}/song");
    let upward = format!("../../../../../..{out}/new");
    let symbolic = EntryKind::Symlink;
    let hard = EntryKind::HardLink;
    for links in [Links::Refused, Links::Inside] {
        for entries in [
            vec![(file("../new"), "")],
            vec![(file("a/../../new"), "")],
            vec![(file(&upward), "")],
            vec![(link("l", symbolic, out), ""), (file("l/new"), "")],
            vec![(link("l", symbolic, ".."), ""), (file("l/outside/new"), "")],
            vec![(link("h", hard, &song), "")],
            vec![(link("h", hard, "../outside/song"), "")],
            vec![
                (link("l", symbolic, out), ""),
                (link("h", hard, "l/song"), ""),
                (file("h"), "x"),
            ],
            vec![(link("h", hard, "/"), "")],
        ] {
            let to = dir.0.join("to");
            fs::create_dir(&to).unwrap();
            let _ = unpacked(&archive(&entries), &to, links);
            assert_eq!(fs::read_to_string(outside.join("song")).unwrap(), "kept");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
            assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 2);
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

#[test]
fn links_on_the_way_are_followed_inside_only_where_that_is_meant() {
    let dir = Scratch::new("way");
    let to = dir.0.join("to");
    fs::create_dir_all(to.join("real")).unwrap();
    symlink("/real", to.join("l")).unwrap();
    let bytes = archive(&[(file("l/deep/f"), "x")]);
    assert!(unpacked(&bytes, &to, Links::Refused).is_err());
    unpacked(&bytes, &to, Links::Inside).unwrap();
    assert_eq!(fs::read_to_string(to.join("real/deep/f")).unwrap(), "x");
}

#[test]
fn a_file_whose_content_does_not_arrive_is_taken_away() {
    let dir = Scratch::new("half");
    let whole = archive(&[(file("a"), "first"), (file("b"), &"x".repeat(5000))]);
    let fault = unpacked(&whole[..3000], &dir.0, Links::Refused);
    assert!(matches!(fault, Err(UnpackFault::Archive(_))));
    let names: Vec<_> = fs::read_dir(&dir.0)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn what_a_killed_one_left_beside_a_file_gives_way() {
    let dir = Scratch::new("beside");
    let top = Root::open(&dir.0).unwrap();
    let swap = Swap::new(0);
    for (kind, content) in [(EntryKind::File, "new"), (EntryKind::Symlink, "")] {
        fs::write(dir.0.join("a"), "old").unwrap();
        fs::write(dir.0.join(".a.hoist~"), "half").unwrap();
        let entry = match kind {
            EntryKind::File => file("a"),
            kind => link("a", kind, "elsewhere"),
        };
        let target = Target {
            at_once: Some(&swap),
            top: &top,
            links: Links::Inside,
            owner: Owner::Caller,
        };
        unpack::read(&archive(&[(entry, content)])[..], target).unwrap();
        match kind {
            EntryKind::File => assert_eq!(fs::read_to_string(dir.0.join("a")).unwrap(), content),
            _ => assert_eq!(
                fs::read_link(dir.0.join("a")).unwrap(),
                Path::new("elsewhere")
            ),
        }
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1, "{kind:?}");
        fs::remove_file(dir.0.join("a")).unwrap();
    }
}
