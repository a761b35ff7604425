//! What must hold for ignore files and for archives that are unpacked: nothing gets in that is left out, nothing gets out.
//!
//! In: a text; for archives a list of members, a line each, and of damage. Out: nothing, or a panic that says which rule is broken.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use hoist::build::context::ignore::Ignore;
use hoist::build::step::archive;
use hoist::sys::fs::Root;
use tar::{EntryType, Header};

/// Ignore files, with the paths they are asked about after a line of dashes.
pub(super) const IGNORES: &[&str] = &[
    "*.log\n!keep.log\nbuild/\n---\na.log\nkeep.log\nbuild/x\nsrc/build/x",
    "**/node_modules\n!**/node_modules/keep\n---\na/b/node_modules/x\nnode_modules/keep/y",
    "# comment\n\n/abs\n./rel\n../up\na/./b//c\n---\nabs\nrel\nup\na/b/c",
    "[a-c]?\\*\n!\n!!x\n**\n!**/*.rs\n---\nab*\nsrc/main.rs\n.",
    "\u{feff}*\r\n!a\r\n---\na\nb\na/b",
];
/// Pieces of ignore files.
pub(super) const IGNORE_TOKENS: &[&str] = &[
    "**", "*", "?", "[", "]", "[^a]", "[!a-", "\\", "!", "#", "/", "..", ".", "---\n", "\n",
    "\r\n", " ", "\t", "é", "\u{feff}",
];

/// Members of archives.
pub(super) const ARCHIVES: &[&str] = &[
    "d dir 0755\nf dir/file hello\ns dir/link file\nh dir/hard dir/file",
    "s out ../../..\nf out/canary gone",
    "s etc /\nf etc/canary gone\nd etc/new 0777",
    "h hard ../canary\nf hard gone\nf ../canary gone\nf /canary gone",
    "d a 0700\ns a/b ..\nf a/b/../../canary gone\nd a 0000",
    "f x one\nd x 0755\nf x/y two\ns x z\nf x/y three\nh x x",
    "f .wh.a b\nf .wh..wh..opq\nd . 0711\nf ./././b c\nflip 300\ncut 900",
];
/// Pieces of such lists.
pub(super) const ARCHIVE_TOKENS: &[&str] = &[
    "f ",
    "d ",
    "s ",
    "h ",
    "c ",
    "p ",
    "flip 257\n",
    "cut 512\n",
    "../",
    "/",
    "./",
    "canary",
    "dir/",
    ".wh.",
    "é",
    " ",
    "\n",
    "0000",
    "link",
];

/// Rules of ignore files.
pub(super) fn ignore(text: &str) {
    let (rules, paths) = text.split_once("---\n").unwrap_or((text, "a\na/b\n.x/y.z"));
    let (Ok(ignore), Ok(again)) = (Ignore::parse(rules), Ignore::parse(rules)) else {
        let (first, second) = (Ignore::parse(rules).err(), Ignore::parse(rules).err());
        assert_eq!(first, second, "two answers");
        return;
    };
    for path in paths.lines().take(50) {
        let path = path.trim_matches('/');
        if path.is_empty() || path.len() > 300 {
            continue;
        }
        assert_eq!(ignore.ignores(path), again.ignores(path), "two answers");
        let below = format!("{path}/below");
        if !ignore.has_exceptions() && ignore.ignores(path) {
            assert!(ignore.ignores(&below), "{below}: no rule takes it back in");
        }
        if ignore.ignores(path) && !ignore.may_hold_exceptions(path) {
            assert!(ignore.ignores(&below), "{below}: said to have no exception");
        }
        if ignore.is_empty() {
            assert!(!ignore.ignores(path), "{path}: no rule leaves it out");
        }
    }
}

/// Where archives are unpacked: `top` beside a file that must stay as it is.
fn place() -> PathBuf {
    std::env::temp_dir().join(format!("hst-{}-fuzz-trees", std::process::id()))
}

/// Removes what the inputs have left.
pub(super) fn clean_up() {
    drop(std::fs::remove_dir_all(place()));
}

/// Archives that are unpacked.
pub(super) fn unpacked(text: &str) {
    let (base, bytes) = (place(), packed(text));
    let (top, canary) = (base.join("top"), base.join("canary"));
    drop(std::fs::remove_dir_all(&base));
    std::fs::create_dir_all(&top).expect("a temporary directory");
    std::fs::write(&canary, "alive").expect("a temporary directory");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(base.join("archive"))
        .expect("a temporary directory");
    file.write_all(&bytes).expect("a temporary directory");
    file.rewind().expect("a file");
    let root = Root::open(&top).expect("it was just made");
    if let Err(why) = archive::unpack(file, &root, Some((0, 0))) {
        assert!(!why.is_empty(), "a fault without words");
    }
    assert_eq!(
        std::fs::read_to_string(&canary).ok().as_deref(),
        Some("alive"),
        "a file outside was changed"
    );
    let mut outside = names(&base);
    outside.sort();
    assert_eq!(
        outside,
        ["archive", "canary", "top"],
        "something was made outside"
    );
}

fn names(dir: &Path) -> Vec<String> {
    let items = std::fs::read_dir(dir).expect("it is there");
    let names = items.map(|item| item.expect("an item").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The archive of a list.
pub(super) fn packed(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut damage = Vec::new();
    for line in text.lines().take(200) {
        let mut words = line.splitn(3, ' ');
        let (kind, name, rest) = (
            words.next().unwrap_or(""),
            words.next().unwrap_or(""),
            words.next().unwrap_or(""),
        );
        let kind = match kind {
            "f" => EntryType::Regular,
            "d" => EntryType::Directory,
            "s" => EntryType::Symlink,
            "h" => EntryType::Link,
            "c" => EntryType::Char,
            "p" => EntryType::Fifo,
            "flip" | "cut" => {
                damage.push((kind == "flip", name.parse::<usize>().unwrap_or(0)));
                continue;
            }
            _ => continue,
        };
        member(&mut bytes, kind, name, rest);
    }
    bytes.extend([0; 1024]);
    for (flip, at) in damage {
        let at = at % bytes.len().max(1);
        match (flip, bytes.get_mut(at)) {
            (true, Some(byte)) => *byte ^= 0x55,
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// One member, with a name as it is written: no library would write most of them.
fn member(bytes: &mut Vec<u8>, kind: EntryType, name: &str, rest: &str) {
    let mut header = Header::new_ustar();
    let field = |field: &mut [u8], text: &str| {
        let length = field.len().min(text.len());
        field[..length].copy_from_slice(&text.as_bytes()[..length]);
    };
    field(&mut header.as_old_mut().name, name);
    let content = if kind == EntryType::Regular {
        rest.as_bytes()
    } else {
        b""
    };
    match kind {
        EntryType::Symlink | EntryType::Link => field(&mut header.as_old_mut().linkname, rest),
        _ => {}
    }
    let mode = u32::from_str_radix(rest.get(..4).unwrap_or(""), 8).unwrap_or(0o644);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}
