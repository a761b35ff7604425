//! The image that cases run: the machine's static busybox and a few files, as a root filesystem archive.
//!
//! Out: a tar file, made once a test run. Imports: `harness`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tar::{Builder, EntryType, Header};

/// The name that cases use.
pub const TINY: &str = "tiny";

/// Path of a busybox that runs without libraries.
pub fn busybox() -> Option<PathBuf> {
    let given = std::env::var_os("BUSYBOX").map(PathBuf::from);
    let path = given.or_else(|| super::program("busybox"))?;
    let bytes = std::fs::read(&path).ok()?;
    // A dynamically linked program names its loader.
    let linked = [&b"/lib64/ld-linux"[..], b"/lib/ld-linux", b"/lib/ld-musl"];
    let dynamic = linked
        .iter()
        .any(|name| bytes.windows(name.len()).any(|part| part == *name));
    (!dynamic).then_some(path)
}

/// The names that busybox answers to, but its own.
pub fn applets() -> Vec<String> {
    let busybox = busybox().expect("asked for only where there is one");
    let names = Command::new(busybox)
        .arg("--list")
        .output()
        .expect("busybox runs")
        .stdout;
    let names = String::from_utf8(names).expect("names of programs are ASCII");
    let others = names.lines().filter(|name| *name != "busybox");
    others.map(str::to_owned).collect()
}

/// The archive, made on first use and kept for the whole test run.
pub fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let path = super::leftovers::file_of_the_run("tiny.tar");
        std::fs::write(&path, rootfs()).expect("the temporary directory is writable");
        path
    })
}

/// Removes the archive.
pub fn clean_up() {
    let path = super::leftovers::file_of_the_run("tiny.tar");
    // Not made when every case was skipped.
    let _ = std::fs::remove_file(path);
}

/// A file of an archive: path, mode, owner, content.
fn file(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, owner: u64, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content)
        .expect("memory takes the archive");
}

fn directory(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, owner: u64) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(0);
    tar.append_data(&mut header, path, std::io::empty())
        .expect("memory takes the archive");
}

fn link(tar: &mut Builder<Vec<u8>>, path: &str, target: &str) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    tar.append_link(&mut header, path, target)
        .expect("memory takes the archive");
}

/// The root filesystem: busybox under all its names, two users, and `/seed`, which belongs to user 1000.
fn rootfs() -> Vec<u8> {
    let busybox = busybox().expect("asked for only where there is one");
    let mut tar = Builder::new(Vec::new());
    for (path, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("var", 0o755),
    ] {
        directory(&mut tar, path, mode, 0);
    }
    let binary = std::fs::read(&busybox).expect("busybox can be read");
    file(&mut tar, "bin/busybox", 0o755, 0, &binary);
    for name in applets() {
        link(&mut tar, &format!("bin/{name}"), "busybox");
    }
    file(
        &mut tar,
        "etc/passwd",
        0o644,
        0,
        b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
    );
    file(
        &mut tar,
        "etc/group",
        0o644,
        0,
        b"root:x:0:\napp:x:1000:\nextra:x:1001:app\n",
    );
    directory(&mut tar, "home", 0o755, 0);
    directory(&mut tar, "home/app", 0o755, 1000);
    directory(&mut tar, "seed", 0o750, 1000);
    file(&mut tar, "seed/grain", 0o640, 1000, b"from the image\n");
    tar.into_inner().expect("memory takes the archive")
}
