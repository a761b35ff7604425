//! What a hostile image or process tries, done for real, with proof that the host is as it was.
//!
//! Each case is named after what it attempts and says which hole of another runtime it is about. A canary lies outside of
//! the container, where the attack would land if it worked. Imports: `harness`.

pub mod artifacts;
pub mod binary;
pub mod builds;
pub mod calls;
pub mod contexts;
pub mod copy;
pub mod descriptors;
pub mod layers;
pub mod logs;
pub mod networks;
pub mod paths;
pub mod rights;
pub mod signals;
pub mod sources;
pub mod users;
pub mod volumes;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tar::{Builder, EntryType, Header};

use crate::harness::{Need, Sandbox, image};

/// What cases with the probe need.
pub const PROBE: &[Need] = &[Need::Root, Need::Busybox, Need::Program("cc")];

/// A directory of the host with one file in it, next to the project.
#[derive(Debug)]
pub struct Canary {
    /// Its place.
    pub dir: PathBuf,
}

/// What the canary holds.
const SONG: &str = "the canary sings\n";

impl Canary {
    /// Puts it out.
    pub fn new(hoist: &Sandbox) -> Self {
        let dir = hoist.dir().join("../canary");
        std::fs::create_dir(&dir).expect("the sandbox is writable");
        let dir = dir.canonicalize().expect("just made");
        std::fs::write(dir.join("song"), SONG).expect("the sandbox is writable");
        Self { dir }
    }
    /// The path of its file.
    pub fn song(&self) -> String {
        self.dir.join("song").to_string_lossy().into_owned()
    }
    /// Says whether it is alive: nothing changed, nothing added, nothing mounted on it.
    pub fn sings(&self) {
        let names: Vec<_> = crate::harness::leftovers::children(&self.dir);
        assert_eq!(names, [self.dir.join("song")], "something was made outside");
        let song = std::fs::read_to_string(self.dir.join("song"));
        assert_eq!(
            song.ok().as_deref(),
            Some(SONG),
            "a file outside was changed"
        );
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("there is one");
        assert!(
            !mounts.contains(&*self.dir.to_string_lossy()),
            "something was mounted outside"
        );
    }
}

/// How often an attack that is a race is tried: fewer times where each takes long.
pub fn rounds(many: u32) -> u32 {
    (many / crate::harness::slowness()).max(3)
}

/// Puts the probe into the project, as `probe`, to be bound as `./probe:/probe`. Its words are in `probe.c`.
pub fn probe(hoist: &Sandbox) {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BUILT.get_or_init(build);
    let path = hoist.file("probe", bytes);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .expect("the owner may change the mode");
}

/// Builds the probe.
pub fn build() -> Vec<u8> {
    let out = std::env::temp_dir().join(format!("hst-{}-probe", std::process::id()));
    let source = out.with_extension("c");
    std::fs::write(&source, include_str!("probe.c")).expect("the temporary directory is writable");
    let done = Command::new("cc")
        .args([
            "-O1",
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-pie",
            "-no-pie",
        ])
        .args(["-fno-stack-protector", "-o"])
        .args([&out, &source])
        .output()
        .expect("cc is there");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let bytes = std::fs::read(&out).expect("just built");
    for file in [&out, &source] {
        // What is left of it is in memory.
        let _ = std::fs::remove_file(file);
    }
    bytes
}

/// One entry of a hostile image.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A directory.
    Dir(&'a str),
    /// A link and where it leads.
    Link(&'a str, &'a str),
    /// An executable file.
    File(&'a str, &'a str),
    /// A pipe with a name.
    Pipe(&'a str),
}

/// Imports the image `evil`: busybox with its links in `/bin`, and these entries.
pub fn evil(hoist: &Sandbox, entries: &[Entry<'_>]) {
    let mut tar = Builder::new(Vec::new());
    let busybox = image::busybox().expect("asked for only where there is one");
    let busybox = std::fs::read(busybox).expect("busybox can be read");
    let mut add = |kind: EntryType, path: &str, mode: u32, content: &[u8], to: Option<&str>| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        match to {
            Some(to) => tar.append_link(&mut header, path, to),
            None => tar.append_data(&mut header, path, content),
        }
        .expect("memory takes the archive");
    };
    add(EntryType::Directory, "bin", 0o755, b"", None);
    add(EntryType::Regular, "bin/busybox", 0o755, &busybox, None);
    for name in image::applets() {
        let path = format!("bin/{name}");
        add(EntryType::Symlink, &path, 0o777, b"", Some("busybox"));
    }
    for entry in entries {
        match entry {
            Entry::Dir(path) => add(EntryType::Directory, path, 0o755, b"", None),
            Entry::Link(path, to) => add(EntryType::Symlink, path, 0o777, b"", Some(to)),
            Entry::File(path, text) => add(EntryType::Regular, path, 0o755, text.as_bytes(), None),
            Entry::Pipe(path) => add(EntryType::Fifo, path, 0o644, b"", None),
        }
    }
    let bytes = tar.into_inner().expect("memory takes the archive");
    let path = hoist.file("evil.tar", bytes);
    let path = path.to_string_lossy();
    hoist
        .global(&["image", "import", "-c", "ENV PATH=/bin", &*path, "evil"])
        .ok();
}
