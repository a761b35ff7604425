//! Layers and archives of images that lead out, lie, or unpack to more than there is.

use std::io::Write as _;

use tar::{EntryType, Header};

use super::Canary;
use crate::harness::leftovers::children;
use crate::harness::{Need, Sandbox};

crate::cases!(&[Need::Root];
    a_layer_that_leads_out_changes_nothing_outside,
    a_layer_that_says_to_be_larger_than_any_disk_ends_at_once,
);

/// A header as it is written, whatever it says.
fn header(bytes: &mut Vec<u8>, kind: EntryType, name: &str, link: &str, size: u64) {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
}

fn file(bytes: &mut Vec<u8>, name: &str) {
    header(bytes, EntryType::Regular, name, "", 5);
    bytes.extend_from_slice(b"gone\n");
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

/// Imports an archive, which ends soon and leaves nothing half made whatever it is.
fn import(hoist: &Sandbox, bytes: &[u8]) -> crate::harness::process::Done {
    let done = hoist.pipe("image import - evil", bytes);
    assert_eq!(
        children(&hoist.data().join("layers/.staging")),
        Vec::<std::path::PathBuf>::new()
    );
    done
}

/// CVE-2026-17106 and its class: names with `..`, absolute names, links of both kinds and writes through them.
fn a_layer_that_leads_out_changes_nothing_outside() {
    let hoist = Sandbox::empty();
    let canary = Canary::new(&hoist);
    let up = "../".repeat(15);
    let outside = canary.dir.to_string_lossy().into_owned();
    let far = format!("{up}{}", outside.trim_start_matches('/'));
    for (name, refused) in [(format!("{far}/song"), true), (canary.song(), false)] {
        let mut bytes = Vec::new();
        header(&mut bytes, EntryType::Link, "l", &name, 0);
        assert_eq!(import(&hoist, &bytes).code, 1, "a hard link to {name}");
        let mut bytes = Vec::new();
        file(&mut bytes, &name);
        assert_eq!(
            import(&hoist, &bytes).code,
            i32::from(refused),
            "a file {name}"
        );
        canary.sings();
    }
    for target in [outside.as_str(), &far, "/", "/proc/self/cwd"] {
        let mut bytes = Vec::new();
        header(&mut bytes, EntryType::Symlink, "out", target, 0);
        for name in ["out/song", "out/new", "out/.wh.song", "out/.wh..wh..opq"] {
            file(&mut bytes, name);
        }
        header(&mut bytes, EntryType::Directory, "out/d/", "", 0);
        drop(import(&hoist, &bytes));
        canary.sings();
    }
    for name in [".wh...", ".wh..", ".wh.", "a/.wh..."] {
        let mut bytes = Vec::new();
        file(&mut bytes, name);
        import(&hoist, &bytes)
            .code(1)
            .says("a whiteout of no possible name");
        canary.sings();
    }
}

/// Bombs: a file, a sparse file and a header whose lengths are lies, all packed to next to nothing.
fn a_layer_that_says_to_be_larger_than_any_disk_ends_at_once() {
    let hoist = Sandbox::empty();
    let packed = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).expect("memory");
        gzip.finish().expect("memory")
    };
    let mut huge = Vec::new();
    header(&mut huge, EntryType::Regular, "huge", "", 1 << 50);
    import(&hoist, &packed(&huge))
        .code(1)
        .says("far more than its own size");
    // Its length counts its own digits.
    let record = |key: &str, value: &str| {
        let rest = key.len() + value.len() + 3;
        let digits = if rest + 2 < 100 { 2 } else { 3 };
        format!("{} {key}={value}\n", rest + digits)
    };
    let map = format!(
        "{}{}{}",
        record("GNU.sparse.size", "1125899906842624"),
        record("GNU.sparse.numblocks", "0"),
        record("GNU.sparse.map", "0,5")
    );
    let mut sparse = Vec::new();
    header(&mut sparse, EntryType::XHeader, "x", "", map.len() as u64);
    sparse.extend_from_slice(map.as_bytes());
    sparse.resize(sparse.len().next_multiple_of(512), 0);
    file(&mut sparse, "sparse");
    import(&hoist, &packed(&sparse))
        .code(1)
        .says("far more than its own size");
    for kind in [
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::XGlobalHeader,
    ] {
        let mut long = Vec::new();
        header(&mut long, kind, "x", "", 1 << 33);
        import(&hoist, &packed(&long))
            .code(1)
            .says("longer than 1 MiB");
    }
    // Headers without end, each in place of the last.
    let mut flood = Vec::new();
    for _ in 0..20_000 {
        let text = record("comment", &"x".repeat(400));
        header(&mut flood, EntryType::XHeader, "x", "", text.len() as u64);
        flood.extend_from_slice(text.as_bytes());
        flood.resize(flood.len().next_multiple_of(512), 0);
    }
    file(&mut flood, "end");
    import(&hoist, &packed(&flood)).ok();
}
