//! Copies: what they are known by, and what their layers are.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use std::ffi::OsStr;

use super::copy::{CopyStep, Selection};
use super::*;
use crate::build::context::Tree;
use crate::build::context::digest::Digests;
use crate::build::context::ignore::Ignore;
use crate::build::context::list::List;
use crate::build::key::Key;
use crate::build::sources::{Fetched, Remote};
use crate::sys::fs::set_xattr;

fn no_fetch(_: &Remote) -> Result<Fetched, StepError> {
    Err(StepError::new("nothing is fetched"))
}

/// A context whose file changes between the look at it and the copy.
#[test]
fn a_key_is_of_what_was_copied() {
    let dir = std::env::temp_dir().join(format!("hoist-copier-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("from")).unwrap();
    std::fs::write(dir.join("from/a"), "one").unwrap();
    let step = CopyStep::all(Origin::Context, ".".to_owned());
    let tree = Tree::of_dir(Root::open(&dir.join("from")).unwrap(), Ignore::default());
    let digests = Digests::open(dir.join("digests"));
    let look = || {
        let mut key = Key::of_step("copy", &[]);
        let found = Selection::find(&step, &tree, &no_fetch).unwrap();
        let mut list = List::new(9);
        found.add_to(&mut key, &tree, &digests, &mut list).unwrap();
        assert_eq!(list.text().unwrap().lines().count(), 1);
        key.finish()
    };
    let before = look();
    let copy = |to: &str| {
        std::fs::create_dir(dir.join(to)).unwrap();
        let mut key = Key::of_step("copy", &[]);
        let found = Selection::find(&step, &tree, &no_fetch).unwrap();
        let root = Root::open(&dir.join(to)).unwrap();
        let watch = Some((&digests, &mut key));
        found.write(&tree, &root, None, None, watch).unwrap();
        key.finish()
    };
    assert_eq!(copy("same"), before);
    std::fs::write(dir.join("from/a"), "two").unwrap();
    let after = copy("other");
    assert_ne!(after, before);
    assert_eq!(after, look());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn of_equal_layers_the_uppermost_stays() {
    let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
    assert_eq!(distinct(&[a, b, a]), [b, a]);
    assert_eq!(distinct(&[]), []);
}

/// Everything that a file system can hold, in more than one batch, with one large file.
fn nasty(dir: &Path) {
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let put = |name: &[u8], content: &[u8], mode: u32| {
        let path = dir.join(OsStr::from_bytes(name));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    for folder in ["a", "a-b", "a/deep/er", "empty", "z"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for (at, name) in ["a.b", "a/.b", "a/b", "a-b/c", "a b", "\u{e9}", "z/last"]
        .iter()
        .enumerate()
    {
        let path = put(name.as_bytes(), &vec![b'x'; at * 300], 0o644);
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(time(1_000_000_000 + at as u64)).unwrap();
    }
    put(b"a/bytes\xff\xfe\n", b"odd", 0o600);
    put(&[b'n'; 200], b"long", 0o640);
    put(b"a/setuid", b"#!", 0o6755);
    put(b"a/closed", b"secret", 0o000);
    let old = std::fs::File::open(put(b"a/old", b"", 0o444)).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(9))
        .unwrap();
    nix::unistd::chown(&dir.join("a/b"), Some(7.into()), Some(8.into())).unwrap();
    symlink("../nowhere", dir.join("a/link")).unwrap();
    symlink("n".repeat(150), dir.join("long-link")).unwrap();
    nix::unistd::mkfifo(&dir.join("a/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Its second name comes a batch later.
    std::fs::hard_link(dir.join("a/b"), dir.join("z/b")).unwrap();
    std::fs::hard_link(dir.join("a/b"), dir.join("a/b2")).unwrap();
    std::fs::create_dir(dir.join("many")).unwrap();
    for at in 0..1500 {
        put(
            format!("many/{at}").as_bytes(),
            format!("{at}").as_bytes(),
            0o644,
        );
    }
    put(b"large", &vec![9; (super::file::LARGE as usize) + 5], 0o755);
    let hollow = std::fs::File::create(dir.join("hollow")).unwrap();
    hollow.set_len(super::file::LARGE as u64 * 2).unwrap();
    let mode = std::fs::Permissions::from_mode(0o3770);
    std::fs::set_permissions(dir.join("a/deep"), mode).unwrap();
    let attribute = OsStr::new("user.mark");
    // Not every file system has attributes.
    let _ = set_xattr(&dir.join("a/b"), attribute, b"1");
    let deep = std::fs::File::open(dir.join("a/deep")).unwrap();
    deep.set_modified(time(5)).unwrap();
}

#[test]
fn a_layer_that_was_hashed_while_it_was_copied_is_the_one_that_lies_there() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting and owners need root");
        return;
    }
    let dir = std::env::temp_dir().join(format!("hoist-ahead-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let store = Store::open(&dir.join("data")).unwrap();
    let from = dir.join("from");
    std::fs::create_dir(&from).unwrap();
    nasty(&from);
    // What lies below: a folder that takes the files, a link to it, one of the files, a folder of the same name.
    let below = store.layers().staging().unwrap();
    std::fs::create_dir_all(below.upper().join("into/a")).unwrap();
    std::fs::write(below.upper().join("into/a.b"), "older").unwrap();
    symlink("/into", below.upper().join("link")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o2775);
    std::fs::set_permissions(below.upper().join("into"), mode).unwrap();
    let below = store.layers().commit(below).unwrap();

    let tree = |owned: bool| {
        let root = Root::open(&from).unwrap();
        match owned {
            true => Tree::of_layers(
                root.open_at(Path::new(""), nix::fcntl::OFlag::O_DIRECTORY, 0)
                    .unwrap(),
            ),
            false => Tree::of_dir(root, Ignore::default()),
        }
    };
    let digests = Digests::open(dir.join("digests"));
    for (layers, dest) in [
        (&[][..], "/"),
        (&[below][..], "/"),
        (&[below], "/into/"),
        (&[below], "/link"),
        (&[below], "/new/one"),
    ] {
        for owned in [false, true] {
            let step = CopyStep {
                dest: dest.to_owned(),
                ..CopyStep::all(Origin::Context, "/".to_owned())
            };
            let found = Selection::find(&step, &tree(owned), &no_fetch).unwrap();
            let bench = Workbench::open(&store, layers).unwrap();
            let upper = bench.upper();
            let mut key = Key::of_step("copy", &[]);
            let watch = (!owned).then_some((&digests, &mut key));
            let tree = tree(owned);
            let early = found
                .write(&tree, bench.root(), Some(&upper), None, watch)
                .unwrap();
            let ahead = early.expect("much was copied").finish(&upper).unwrap();
            let (ahead, measure) = ahead.unwrap_or_else(|| panic!("{dest} {owned}: in vain"));
            assert!(measure.content > super::file::LARGE as u64);
            let layer = bench.finish(&store, None).unwrap();
            assert_eq!(Some(ahead), layer, "{dest} {owned}");
            let lies = |name: &str| {
                let place = match dest {
                    "/" => "",
                    "/link" => "into",
                    other => other.trim_matches('/'),
                };
                std::fs::metadata(store.layers().path(&ahead).join(place).join(name)).unwrap()
            };
            assert_eq!(
                (lies("a/b").ino(), lies("a/b").nlink()),
                (lies("z/b").ino(), 3)
            );
            assert_eq!(lies("a/b").uid(), if owned { 7 } else { 0 });
            assert_eq!(lies("a/setuid").mode() & 0o7777, 0o6755);
            assert_eq!(lies("a/closed").mode() & 0o7777, 0);
            assert!(lies("hollow").blocks() < 100);
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
