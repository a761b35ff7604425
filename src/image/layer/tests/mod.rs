//! Layers: hostile archives are refused or contained, and what is written reads back.

mod odd;

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::image::archive::write::{Entry, EntryKind, end, pad};

/// A data directory that goes away, and what lies outside the layers and must not change.
struct Scratch {
    dir: PathBuf,
    layers: LayerStore,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-layer-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("victim"), "untouched").unwrap();
        let layers = LayerStore::open(&dir).unwrap();
        Self { dir, layers }
    }
    fn unpack(&self, tar: &Tar) -> Result<(Staging, Unpacked), UnpackError> {
        let staging = self.layers.staging().unwrap();
        let root = Root::open(&staging.upper()).unwrap();
        let bytes = tar.finished();
        let done = unpack::unpack(bytes.as_slice(), &root, Limits::for_archive(None));
        assert_eq!(
            std::fs::read_to_string(self.dir.join("victim")).unwrap(),
            "untouched"
        );
        done.map(|unpacked| (staging, unpacked))
    }
    fn files(&self, tar: &Tar) -> Staging {
        self.unpack(tar).unwrap().0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: unpacking owners and whiteouts needs root");
    }
    root
}

#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, entry: Entry<'_>, content: &[u8]) -> Self {
        let size = content.len() as u64;
        Entry { size, ..entry }.write(&mut self.0).unwrap();
        self.0.extend_from_slice(content);
        pad(&mut self.0, size).unwrap();
        self
    }
    fn file(self, path: &str, content: &str) -> Self {
        self.add(
            Entry::new(path.as_bytes(), EntryKind::File, 0o644),
            content.as_bytes(),
        )
    }
    fn dir(self, path: &str) -> Self {
        self.add(Entry::new(path.as_bytes(), EntryKind::Dir, 0o755), b"")
    }
    fn link(self, kind: EntryKind, path: &str, target: &str) -> Self {
        self.add(
            Entry {
                link: target.as_bytes(),
                ..Entry::new(path.as_bytes(), kind, 0o777)
            },
            b"",
        )
    }
    fn symlink(self, path: &str, target: &str) -> Self {
        self.link(EntryKind::Symlink, path, target)
    }
    fn finished(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        end(&mut bytes).unwrap();
        bytes
    }
}

/// Everything below a directory, as text.
fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(here) = left.pop() {
        for entry in std::fs::read_dir(here).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            let opaque = fs::xattrs(&path).unwrap();
            let opaque = opaque.iter().any(|(n, v)| whiteout::is_opaque(n, v));
            found.push(match meta.mode() & libc::S_IFMT {
                libc::S_IFDIR if opaque => format!("{name}/ opaque"),
                libc::S_IFDIR => format!("{name}/"),
                libc::S_IFLNK => format!("{name} -> {}", path.read_link().unwrap().display()),
                libc::S_IFCHR if meta.rdev() == 0 => format!("{name} deleted"),
                libc::S_IFREG => format!("{name} {:?}", std::fs::read_to_string(&path).unwrap()),
                other => format!("{name} {other:o}"),
            });
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_hostile_leaves_the_root() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("hostile");
    let up = "../".repeat(12);
    let victim = scratch.dir.join("victim").display().to_string();
    let why = |tar: Tar| scratch.unpack(&tar).map(drop).unwrap_err().to_string();
    assert_eq!(
        why(Tar::default().file("../victim", "x")),
        "`../victim`: the name leads out of the image"
    );
    assert!(why(Tar::default().file("a/../../victim", "x")).contains("leads out"));
    assert!(
        why(Tar::default().link(EntryKind::HardLink, "l", &format!("{up}etc/passwd")))
            .contains("leads out")
    );
    assert!(
        why(Tar::default().link(EntryKind::HardLink, "l", &victim)).contains("not in this layer")
    );
    assert!(why(Tar::default().file(".wh...", "")).contains("whiteout of no possible name"));
    assert!(why(Tar::default().file("d/.wh..", "")).contains("whiteout of no possible name"));
    assert!(why(Tar::default().file("/.", "x")).contains("without a name"));
    assert!(why(Tar::default().file("f", "x").file("f/g", "y")).contains("a file lies where"));

    // Absolute names and links are inside, whatever they say.
    let dir = scratch.dir.display().to_string();
    let tar = Tar::default()
        .file(&victim, "a")
        .symlink("out", &dir)
        .symlink("up", &up)
        .file("out/victim", "b")
        .file("up/w", "c")
        .symlink("leaf", &victim)
        .file("leaf", "d")
        .link(EntryKind::HardLink, "hard", "out/victim")
        .file("hard", "e");
    let staging = scratch.files(&tar);
    let read = |path: &str| std::fs::read_to_string(staging.upper().join(path)).unwrap();
    assert_eq!(read(victim.trim_start_matches('/')), "b");
    assert_eq!(
        (read("w"), read("leaf"), read("hard")),
        ("c".to_owned(), "d".to_owned(), "e".to_owned())
    );

    // An opaque mark through a link marks the directory inside.
    let tar = Tar::default()
        .dir("real")
        .symlink("link", "/real")
        .file("link/.wh..wh..opq", "");
    assert_eq!(
        listing(&scratch.files(&tar).upper()),
        ["link -> /real", "real/ opaque"]
    );
}

#[test]
fn later_entries_replace_earlier_ones_of_any_kind() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("replace");
    let tar = Tar::default()
        .dir("a/")
        .file("a/b/c", "1")
        .file("a", "file over directory")
        .symlink("s", "/t")
        .dir("s/")
        .file("s/x", "below the directory, not the link's target")
        .file("f", "1")
        .file("f", "2")
        .dir("d")
        .file("d/x", "1")
        .symlink("d", "elsewhere")
        .dir("elsewhere")
        .file("d/y", "through the link")
        .file("./dots/./x", "dots");
    assert_eq!(
        listing(&scratch.files(&tar).upper()),
        [
            "a \"file over directory\"",
            "d -> elsewhere",
            "dots/",
            "dots/x \"dots\"",
            "elsewhere/",
            "elsewhere/y \"through the link\"",
            "f \"2\"",
            "s/",
            "s/x \"below the directory, not the link's target\"",
        ]
    );
}

#[test]
fn whiteouts_delete_what_lies_below_and_nothing_of_their_own_layer() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("whiteout");
    let tar = Tar::default()
        .file("d/.wh.gone", "")
        .file("own", "kept")
        .file(".wh.own", "")
        .dir("new")
        .file(".wh.new", "")
        .file(".wh.again", "")
        .file("again/x", "1")
        .file(".wh.third", "")
        .dir("third")
        .file(".wh..wh.plnk", "")
        .file("e/.wh..wh..opq", "");
    let staging = scratch.files(&tar);
    let expected = [
        "again/ opaque",
        "again/x \"1\"",
        "d/",
        "d/gone deleted",
        "e/ opaque",
        "new/ opaque",
        "own \"kept\"",
        "third/ opaque",
    ];
    assert_eq!(listing(&staging.upper()), expected);

    // And they come back as whiteouts in the archive made of it, and again from that.
    let mut bytes = Vec::new();
    diff::write(&staging.upper(), &mut bytes).unwrap();
    let again = scratch.files(&Tar(bytes[..bytes.len() - 1024].to_vec()));
    assert_eq!(listing(&again.upper()), expected);
    let id = scratch.layers.commit(again).unwrap();
    assert_eq!(id, Digest::of(&bytes));
    drop(staging);
}

#[test]
fn metadata_is_kept_exactly() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("metadata");
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let xattrs = [
        (b"security.capability".to_vec(), capability),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.note".to_vec(), b"a\nb".to_vec()),
    ];
    let long = format!("{}/{}", "n".repeat(120), "m".repeat(200));
    let entry = Entry::new(b"bin", EntryKind::File, 0o6755);
    let tar = Tar::default()
        .add(
            Entry {
                mtime: 77,
                ..Entry::new(b"./", EntryKind::Dir, 0o750)
            },
            b"",
        )
        .add(
            Entry {
                mtime: 1000,
                ..Entry::new(b"dir/", EntryKind::Dir, 0o1777)
            },
            b"",
        )
        .add(
            Entry {
                uid: 7,
                gid: 3_000_000,
                mtime: 5,
                xattrs: &xattrs,
                ..entry
            },
            b"#!",
        )
        .add(
            Entry {
                device: (1, 3),
                ..Entry::new(b"dir/null", EntryKind::Char, 0o666)
            },
            b"",
        )
        .add(Entry::new(b"dir/fifo", EntryKind::Fifo, 0o600), b"")
        .add(
            Entry {
                link: b"bin",
                uid: 9,
                mtime: -1,
                ..Entry::new(b"dir/s", EntryKind::Symlink, 0)
            },
            b"",
        )
        .link(EntryKind::HardLink, "dir/hard", "/bin")
        .file(&long, "deep");
    let staging = scratch.files(&tar);
    let at = |path: &str| staging.upper().join(path).symlink_metadata().unwrap();
    let bin = at("bin");
    assert_eq!(
        (bin.mode() & 0o7777, bin.uid(), bin.gid(), bin.mtime()),
        (0o6755, 7, 3_000_000, 5)
    );
    assert_eq!((at("dir/hard").ino(), bin.nlink()), (bin.ino(), 2));
    let names: Vec<_> = fs::xattrs(&staging.upper().join("bin")).unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(
        (at("dir").mode() & 0o7777, at("dir").mtime()),
        (0o1777, 1000)
    );
    assert_eq!((at("").mode() & 0o7777, at("").mtime()), (0o750, 77));
    assert_eq!(
        (at("dir/null").rdev(), at("dir/null").mode() & 0o777),
        (nix::sys::stat::makedev(1, 3), 0o666)
    );
    assert_eq!((at("dir/s").uid(), at("dir/s").mtime()), (9, -1));
    assert_eq!(
        std::fs::read_to_string(staging.upper().join(&long)).unwrap(),
        "deep"
    );

    // The same again from the archive that is made of it: same bytes, so nothing is lost on the way.
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let measure = diff::write(&staging.upper(), &mut first).unwrap();
    assert_eq!((measure.archive, measure.content), (first.len() as u64, 6));
    let copy = scratch.files(&Tar(first[..first.len() - 1024].to_vec()));
    diff::write(&copy.upper(), &mut second).unwrap();
    assert!(first == second);
}

#[test]
fn sparse_files_keep_their_holes_in_every_format() {
    if !root()
        || std::process::Command::new("tar")
            .arg("--version")
            .output()
            .is_err()
    {
        return;
    }
    let scratch = Scratch::new("sparse");
    let from = scratch.dir.join("from");
    std::fs::create_dir(&from).unwrap();
    let file = File::create(from.join("s")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"begin", 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", 5 << 20).unwrap();
    file.set_len(9 << 20).unwrap();
    let content = std::fs::read(from.join("s")).unwrap();
    for format in [
        ["--format=gnu", "--sparse-version=1.0"],
        ["--format=posix", "--sparse-version=1.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=0.0"],
    ] {
        let mut tar = std::process::Command::new("tar");
        let bytes = tar
            .args(format)
            .args(["-cS", "-C"])
            .arg(&from)
            .arg("s")
            .output()
            .unwrap()
            .stdout;
        assert!(bytes.len() < 1 << 20, "{format:?} is not sparse");
        let staging = scratch.layers.staging().unwrap();
        let root = Root::open(&staging.upper()).unwrap();
        unpack::unpack(bytes.as_slice(), &root, Limits::for_archive(None)).unwrap();
        let path = staging.upper().join("s");
        assert!(std::fs::read(&path).unwrap() == content, "{format:?}");
        assert!(
            path.metadata().unwrap().blocks() < 1000,
            "{format:?} lost its holes"
        );
    }
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let scratch = Scratch::new("bomb");
    let staging = scratch.layers.staging().unwrap();
    let root = Root::open(&staging.upper()).unwrap();
    let mut bytes = Vec::new();
    Entry {
        size: 1 << 40,
        ..Entry::new(b"a", EntryKind::File, 0)
    }
    .write(&mut bytes)
    .unwrap();
    let error =
        unpack::unpack(bytes.as_slice(), &root, Limits::for_archive(Some(1000))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`a`: the archive unpacks to far more than its own size"
    );
}

#[test]
fn a_layer_is_committed_once_and_its_staging_place_goes_away() {
    let scratch = Scratch::new("commit");
    let commit = |content: &str| {
        let staging = scratch.layers.staging().unwrap();
        let path = staging.upper().join("a");
        std::fs::write(&path, content).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1500);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        scratch.layers.commit(staging).unwrap()
    };
    let id = commit("x");
    assert_eq!(commit("x"), id);
    assert_ne!(commit("y"), id);
    let mut bytes = Vec::new();
    scratch.layers.archive(&id, &mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), id);
    assert_eq!(scratch.layers.record(&id).unwrap().content, 1);
    assert_eq!(scratch.layers.descriptor(&id).unwrap().digest, id);
    assert_eq!(scratch.layers.list().unwrap().len(), 2);
    assert_eq!(
        std::fs::read_dir(scratch.dir.join("layers/.staging"))
            .unwrap()
            .count(),
        0
    );
    let mode = scratch
        .layers
        .path(&id)
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn sockets_are_left_out() {
    let scratch = Scratch::new("socket");
    let staging = scratch.layers.staging().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(staging.upper().join("s")).unwrap();
    symlink("x", staging.upper().join("l")).unwrap();
    let mut bytes = Vec::new();
    diff::write(&staging.upper(), &mut bytes).unwrap();
    let mut members = archive::read::Members::new(bytes.as_slice());
    assert_eq!(members.next_member().unwrap().unwrap().path, b"l");
    assert!(members.next_member().unwrap().is_none());
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_a_living_one_makes_is_not() {
    let scratch = Scratch::new("dead");
    let alive = scratch.layers.staging().unwrap();
    let dead = scratch.dir.join("layers/.staging/1-999");
    std::fs::create_dir_all(dead.join("upper/x")).unwrap();
    let again = LayerStore::open(&scratch.dir).unwrap();
    assert!(!dead.exists());
    assert!(alive.upper().exists() && again.quiet().unwrap().is_none());
    drop(alive);
    assert!(again.quiet().unwrap().is_some());
}

#[test]
fn an_archive_with_another_digest_is_no_layer() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("digest");
    let bytes = Tar::default().file("a", "1").finished();
    let wrong = Digest::of(b"");
    let error = scratch
        .layers
        .import(bytes.as_slice(), &wrong, None)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!("layer {wrong} unpacks to {}", Digest::of(&bytes))
    );
    assert!(!scratch.layers.contains(&wrong));
    let id = Digest::of(&bytes);
    scratch.layers.import(bytes.as_slice(), &id, None).unwrap();
    assert!(scratch.layers.contains(&id));
}

#[test]
fn a_view_shows_stacked_layers_even_when_one_comes_twice() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("view");
    let layer = |tar: Tar| scratch.layers.commit(scratch.files(&tar)).unwrap();
    let base = layer(Tar::default().file("a", "low").file("b", "low"));
    let top = layer(Tar::default().file("a", "high").file(".wh.b", ""));
    let empty = layer(Tar::default());
    let shown = |layers: &[Digest]| {
        let view = Root::from_fd(scratch.layers.view(layers).unwrap());
        let read = |name: &str| {
            view.read(Path::new(name), 9)
                .ok()
                .map(|b| String::from_utf8(b).unwrap())
        };
        (read("a").unwrap_or_default(), read("b").unwrap_or_default())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(shown(&[]), pair("", ""));
    assert_eq!(shown(&[base]), pair("low", "low"));
    assert_eq!(shown(&[base, top]), pair("high", ""));
    assert_eq!(shown(&[empty, base, empty, top, empty]), pair("high", ""));
    assert_eq!(shown(&[base, top, base]), pair("low", "low"));
    let view = scratch.layers.view(&[base]).unwrap();
    let write = fs::set_xattr(
        &fs::entry_path(&view, OsStr::new("a")),
        OsStr::new("user.x"),
        b"1",
    );
    assert_eq!(write, Err(nix::errno::Errno::EROFS));
}

#[test]
fn other_archives_are_added_to_what_is_there_and_know_no_whiteouts() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("extract");
    let staging = scratch.files(&Tar::default().file("d/old", "1").file("d/both", "1"));
    let tar = Tar::default()
        .dir("d")
        .file("d/both", "2")
        .file("d/.wh.old", "plain")
        .finished();
    let root = Root::open(&staging.upper()).unwrap();
    unpack::extract(tar.as_slice(), &root, Limits::for_archive(None)).unwrap();
    let expected = ["d/", "d/.wh.old \"plain\"", "d/both \"2\"", "d/old \"1\""];
    assert_eq!(listing(&staging.upper()), expected);
}

#[test]
fn a_short_archive_leaves_half_of_the_disk_and_a_long_one_what_follows_from_its_length() {
    let within = |length, free| Limits::for_archive(length).within(free).bytes;
    let all = 8 << 30;
    assert_eq!(within(Some(1000), None), all);
    assert_eq!(within(Some(1000), Some(100 << 30)), all);
    assert_eq!(within(Some(1000), Some(1 << 30)), 1 << 29);
    assert_eq!(within(Some(1 << 20), Some(0)), 200 << 20);
    assert_eq!(within(Some(1 << 30), Some(1 << 30)), 200 << 30);
    assert_eq!(within(None, Some(1 << 30)), 1 << 42);
}
