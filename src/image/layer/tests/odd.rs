//! Archives as old, foreign and careless tools write them, and such as no tool writes.

use super::*;
use crate::image::archive::read::Members;

/// A pax header before the next entry.
fn pax(mut tar: Tar, records: &[(&[u8], &[u8])], flag: u8) -> Tar {
    let records: Vec<(Vec<u8>, Vec<u8>)> = records
        .iter()
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    let mut bytes = Vec::new();
    Entry {
        records: &records,
        ..Entry::new(b"x", EntryKind::File, 0)
    }
    .write(&mut bytes)
    .unwrap();
    bytes.truncate(bytes.len() - 512);
    bytes[156] = flag;
    checksum(&mut bytes[..512]);
    tar.0.extend(bytes);
    tar
}

fn checksum(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn members(tar: &Tar) -> std::io::Result<Vec<archive::read::Member>> {
    let bytes = tar.finished();
    let mut members = Members::new(bytes.as_slice());
    let mut found = Vec::new();
    while let Some(member) = members.next_member()? {
        found.push(member);
    }
    Ok(found)
}

#[test]
fn what_aufs_kept_for_itself_is_no_part_of_the_image() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("aufs");
    let tar = Tar::default()
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/101.1", "linked")
        .dir(".wh..wh.orph")
        .file(".wh..wh.orph/x", "gone")
        .file(".wh..wh.aufs", "")
        .link(EntryKind::HardLink, "a", ".wh..wh.plnk/101.1")
        .link(EntryKind::HardLink, "d/b", ".wh..wh.plnk/101.1");
    let staging = scratch.files(&tar);
    assert_eq!(
        listing(&staging.upper()),
        ["a \"linked\"", "d/", "d/b \"linked\""]
    );
    let meta = staging.upper().join("a").metadata().unwrap();
    assert_eq!(meta.nlink(), 2);
}

#[test]
fn hard_links_name_what_is_there_and_nothing_else() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("links");
    let hard = |tar: Tar, path: &str, target: &str| tar.link(EntryKind::HardLink, path, target);
    let why = |tar: Tar| scratch.unpack(&tar).map(drop).unwrap_err().to_string();
    let later = hard(Tar::default(), "b", "a").file("a", "1");
    assert!(why(later).contains("not in this layer"));
    let deleted = hard(Tar::default().file(".wh.a", ""), "b", "a");
    assert!(why(deleted).contains("not in this layer"));
    assert!(why(hard(Tar::default().dir("d"), "b", "d")).contains("to a directory"));
    // To a link of either kind; to itself; over what is there; to what is replaced afterwards.
    let tar = Tar::default().file("a", "1").symlink("s", "a");
    let tar = hard(hard(hard(tar, "b", "a"), "c", "b"), "t", "s");
    let tar = hard(hard(tar, "c", "./c"), "c", "a").file("o", "2");
    let tar = hard(tar, "o", "a").file("a", "3");
    assert_eq!(
        listing(&scratch.files(&tar).upper()),
        [
            "a \"3\"", "b \"1\"", "c \"1\"", "o \"1\"", "s -> a", "t -> a"
        ]
    );
}

#[test]
fn directories_keep_their_times_however_many_there_are_and_however_they_are_reached() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("times");
    let dir = |tar: Tar, path: &str, mtime: i64| {
        let entry = Entry::new(path.as_bytes(), EntryKind::Dir, 0o755);
        tar.add(Entry { mtime, ..entry }, b"")
    };
    let mut tar = Tar::default();
    for number in 0..200 {
        tar = dir(tar, &format!("d{number}/"), 1_000 + number);
        tar = dir(tar, &format!("d{number}/in/"), 5_000 + number);
    }
    tar = tar.symlink("link", "d3");
    for number in (0..200).rev() {
        tar = tar.file(&format!("d{number}/in/late"), "x");
    }
    tar = tar
        .file("link/a", "1")
        .file("d3/b", "2")
        .file("link/c", "3");
    tar = tar.file("new/x", "1").file("link/c", "replaced");
    let staging = scratch.files(&tar);
    let time = |path: &str| staging.upper().join(path).metadata().unwrap().mtime();
    for number in 0..200 {
        assert_eq!(time(&format!("d{number}")), 1_000 + number);
        assert_eq!(time(&format!("d{number}/in")), 5_000 + number);
    }
    assert_eq!(time("new"), 0, "nobody has said its time");
}

#[test]
fn headers_of_other_tools_are_read() {
    let mut tar = Tar::default();
    // GNU's binary numbers: before 1970, and a large owner.
    tar = tar.file("old", "");
    let header = &mut tar.0[..512];
    header[136..148].copy_from_slice(&[0xff; 12]);
    header[147] = 0xfb;
    header[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0, 0x30, 0, 1]);
    checksum(header);
    // A label of the whole, a global header, and attributes as bsdtar writes them.
    let label = tar.0.len();
    tar = tar.file("LABEL", "");
    tar.0[label + 156] = b'V';
    checksum(&mut tar.0[label..label + 512]);
    tar = pax(tar, &[(b"path", b"no/such"), (b"comment", b"x")], b'g');
    let records: &[(&[u8], &[u8])] = &[
        (b"LIBARCHIVE.xattr.user.%61b", b"AQIDCg"),
        (b"LIBARCHIVE.xattr.user.both", b"AAAA"),
        (b"SCHILY.xattr.user.both", b"\0=\n7 a=b\n"),
        (b"mtime", b"253402300800.75"),
    ];
    tar = pax(tar, records, b'x').file("attributes", "");
    let found = members(&tar).unwrap();
    let names: Vec<_> = found.iter().map(|one| one.path.as_slice()).collect();
    assert_eq!(names, [b"old".as_slice(), b"attributes"]);
    assert_eq!((found[0].mtime, found[0].uid), ((-5, 0), 0x30_0001));
    assert_eq!(found[1].mtime, (253_402_300_800, 750_000_000));
    assert_eq!(
        found[1].xattrs,
        [
            (b"user.ab".to_vec(), vec![1, 2, 3, 10]),
            (b"user.both".to_vec(), b"\0=\n7 a=b\n".to_vec())
        ]
    );
}

#[test]
fn what_follows_the_end_means_nothing_and_nothing_is_hidden_behind_zeros() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("end");
    let tar = Tar::default().file("a", "1");
    let whole = tar.finished();
    let layer = |bytes: &[u8]| {
        let imported = scratch.layers.import_any(bytes);
        imported.map(|(id, unpacked)| (id == Digest::of(bytes), unpacked.entries))
    };
    let with = |tail: &[u8]| [whole.as_slice(), tail].concat();
    for bytes in [
        whole[..whole.len() - 1024].to_vec(),
        whole[..whole.len() - 512].to_vec(),
        with(&[0; 10_000]),
        with(b"garbage that is no header"),
        Vec::new(),
        vec![0; 1024],
    ] {
        let entries = u64::from(bytes.len() > 1024 || bytes.len() == 512 * 2 && bytes[0] != 0);
        assert_eq!(layer(&bytes).unwrap(), (true, entries), "{}", bytes.len());
    }
    let hidden = [&tar.0[..], &[0; 512], &whole].concat();
    let why = layer(&hidden).unwrap_err().to_string();
    assert!(why.contains("goes on behind a block of zeros"), "{why}");
}

#[test]
fn an_archive_is_made_again_of_its_files_byte_for_byte() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("recipe");
    // Nothing of it is as our own archives are.
    let long = "n".repeat(99);
    let tar = pax(Tar::default(), &[(b"comment", b"x")], b'g')
        .file("./z", "last first")
        .dir("./d")
        .file(&format!("d/../d/./{long}"), &"content".repeat(100_000))
        .symlink("l", "d")
        .file("l/through", "the link")
        .link(EntryKind::HardLink, "hard", "z")
        .file(".wh.gone", "not empty")
        .file("empty", "");
    let mut bytes = tar.finished();
    bytes.extend([0; 5_000]);
    let (id, _) = scratch.layers.import_any(bytes.as_slice()).unwrap();
    assert_eq!(id, Digest::of(&bytes));
    let again = |id: &Digest| {
        let mut out = Vec::new();
        scratch.layers.archive(id, &mut out).map(|()| out)
    };
    assert!(again(&id).unwrap() == bytes);
    let about = scratch.layers.descriptor(&id).unwrap();
    assert_eq!((about.digest, about.size), (id, bytes.len() as u64));
    // What is replaced is no more among the files: the layer is what is left.
    let twice = tar.file("z", "again").finished();
    let (id, _) = scratch.layers.import_any(twice.as_slice()).unwrap();
    assert_ne!(id, Digest::of(&twice));
    assert_eq!(Digest::of(&again(&id).unwrap()), id);
    // A recipe goes with its layer.
    let quiet = scratch.layers.quiet().unwrap().unwrap();
    for id in scratch.layers.list().unwrap() {
        quiet.remove(&id).unwrap();
    }
    drop(quiet);
    let mut left: Vec<_> = std::fs::read_dir(scratch.dir.join("layers"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [OsStr::new(".quiet"), OsStr::new(".staging")]);
}
