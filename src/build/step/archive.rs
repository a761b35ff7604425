//! `ADD` of a local archive: tar, plain or compressed with gzip, bzip2, xz or zstd, told by its content.
//!
//! Every name is looked up inside the destination, which bounds it as a root of its own; a name or a hard link that leads
//! out is an error. How much an archive may unpack to is bounded by its own size.
//! Imports: `sys::fs`, `image::archive`, `image::layer`. Rules: Dockerfile reference, "ADD"; as moby's `archive.Untar`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::write::{Meta, Writer};
use crate::build::context::resolve;
use crate::image::archive::decoder;
use crate::image::archive::read::{ContentError, Member, Members};
use crate::image::archive::write::EntryKind;
use crate::image::layer::keeps_attribute;
use crate::image::layer::unpack::Limits;
use crate::sys::fs::{Root, is_kind};

/// Most entries of one archive.
const MOST_ENTRIES: u64 = 10_000_000;
/// Mode of folders that an archive implies without having them.
const IMPLIED_MODE: u32 = 0o755;

/// Tells an archive by its content, compressed or not. An empty one is none.
pub fn is_archive(file: File) -> bool {
    matches!(Members::new(decoder(file)).next_member(), Ok(Some(_)))
}

/// Unpacks an archive below a root. What it holds belongs to `owner`, or to whom it names.
///
/// # Errors
/// The member at fault and why.
pub fn unpack(file: File, root: &Root, owner: Option<(u32, u32)>) -> Result<(), String> {
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    let mut members = Members::new(decoder(file));
    let mut unpacker = Unpacker {
        root,
        writer: Writer::new(root),
        owner,
        parent: None,
        folders: Vec::new(),
        entries: 0,
        bytes: 0,
        limits: Limits::for_archive(Some(size)),
        buffer: vec![0; 256 * 1024],
    };
    while let Some(member) = members.next_member().map_err(|e| e.to_string())? {
        let told = |why: io::Error| format!("{}: {why}", String::from_utf8_lossy(&member.path));
        unpacker.member(&member, &mut members).map_err(told)?;
    }
    for (path, meta) in unpacker.folders.iter().rev() {
        match unpacker.writer.meta(path, meta, false) {
            // A later member has taken its place.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(errno) => return Err(format!("{}: {errno}", path.display())),
        }
    }
    Ok(())
}

struct Unpacker<'a> {
    root: &'a Root,
    writer: Writer<'a>,
    owner: Option<(u32, u32)>,
    /// The last member's folder: as named, and where that is.
    parent: Option<(PathBuf, PathBuf)>,
    /// Folders with what they get at the end.
    folders: Vec<(PathBuf, Meta)>,
    entries: u64,
    bytes: u64,
    limits: Limits,
    buffer: Vec<u8>,
}

fn hostile(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// The path inside the destination, worked out by text; an error when it would leave.
fn inside(raw: &[u8], what: &str) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => {
                return Err(hostile(format!("{what} leads out of the destination")));
            }
            _ => {}
        }
    }
    Ok(path)
}

impl Unpacker<'_> {
    fn member<R: io::Read>(&mut self, member: &Member, members: &mut Members<R>) -> io::Result<()> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(member.size);
        if self.entries > MOST_ENTRIES {
            return Err(hostile("the archive has too many entries"));
        }
        if self.bytes > self.limits.bytes {
            return Err(hostile("the archive unpacks to far more than its own size"));
        }
        let path = inside(&member.path, "the name")?;
        let meta = self.meta(member);
        let Some(name) = path.file_name() else {
            // The archive's own top is the destination.
            if member.kind == EntryKind::Dir {
                self.folders.push((PathBuf::new(), meta));
            }
            return Ok(());
        };
        let to = self
            .folder(path.parent().unwrap_or(Path::new("")))?
            .join(name);
        let there = self.writer.stat(&to)?;
        let is_folder = |stat| is_kind(stat, libc::S_IFDIR);
        if member.kind == EntryKind::Dir && there.as_ref().is_some_and(is_folder) {
            self.folders.push((to, meta));
            return Ok(());
        }
        if there.is_some() {
            self.parent = None;
            self.writer.remove(&to)?;
        }
        self.make(&to, member, members, &meta)
    }
    /// Where a folder is, made with its parents when missing.
    fn folder(&mut self, path: &Path) -> io::Result<PathBuf> {
        match &self.parent {
            Some((named, real)) if named == path => return Ok(real.clone()),
            _ => {}
        }
        self.root.mkdir_all(path, IMPLIED_MODE, None)?;
        let real = resolve(self.root, path)?;
        self.parent = Some((path.to_owned(), real.clone()));
        Ok(real)
    }
    fn make<R: io::Read>(
        &mut self,
        to: &Path,
        member: &Member,
        members: &mut Members<R>,
        meta: &Meta,
    ) -> io::Result<()> {
        let device = nix::sys::stat::makedev(member.device.0, member.device.1);
        match member.kind {
            EntryKind::Dir => {
                self.writer.folder(to)?;
                self.folders.push((to.to_owned(), *meta));
                return self.attributes(to, member);
            }
            EntryKind::Symlink => {
                self.writer.symlink(to, OsStr::from_bytes(&member.link))?;
                return Ok(self.writer.meta(to, meta, true)?);
            }
            EntryKind::HardLink => {
                let target = inside(&member.link, "the hard link")?;
                let folder = resolve(self.root, target.parent().unwrap_or(Path::new("")))?;
                let existing = folder.join(target.file_name().ok_or(Errno::EINVAL)?);
                return Ok(self.writer.hard_link(to, &existing)?);
            }
            EntryKind::Fifo => self.writer.node(to, SFlag::S_IFIFO, 0)?,
            EntryKind::Char => self.writer.node(to, SFlag::S_IFCHR, device)?,
            EntryKind::Block => self.writer.node(to, SFlag::S_IFBLK, device)?,
            EntryKind::File => {
                let file = self.writer.file(to)?;
                let written = members.write_content(member, &file, &mut self.buffer);
                written.map_err(|error| match error {
                    ContentError::Archive(error) | ContentError::Machine(error) => error,
                })?;
            }
        }
        self.writer.meta(to, meta, false)?;
        self.attributes(to, member)
    }
    fn attributes(&mut self, to: &Path, member: &Member) -> io::Result<()> {
        let kept: Vec<_> = member
            .xattrs
            .iter()
            .filter(|(name, _)| keeps_attribute(name))
            .map(|(name, value)| (OsStr::from_bytes(name).to_owned(), value.clone()))
            .collect();
        Ok(self.writer.xattrs(to, &kept)?)
    }
    fn meta(&self, member: &Member) -> Meta {
        Meta {
            owner: self.owner.unwrap_or((member.uid, member.gid)),
            mode: member.mode & 0o7777,
            modified: Some((member.mtime.0, member.mtime.1.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tar::EntryType;

    use super::*;

    fn member(
        builder: &mut tar::Builder<Vec<u8>>,
        name: &str,
        kind: EntryType,
        link: &str,
        body: &[u8],
    ) {
        let mut header = tar::Header::new_gnu();
        // Written by hand: the builder refuses names that leave the archive.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hoist-untar-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("dest")).unwrap();
        std::fs::write(dir.join("outside"), "safe").unwrap();
        dir
    }

    fn unpacked(dir: &Path, archive: Vec<u8>) -> Result<(), String> {
        std::fs::write(dir.join("a.tar"), archive).unwrap();
        assert!(is_archive(File::open(dir.join("a.tar")).unwrap()));
        let me = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        let root = Root::open(&dir.join("dest")).unwrap();
        unpack(File::open(dir.join("a.tar")).unwrap(), &root, Some(me))
    }

    #[test]
    fn a_link_in_an_archive_leads_nowhere_but_into_the_destination() {
        let dir = scratch("links");
        let mut builder = tar::Builder::new(Vec::new());
        member(&mut builder, "up", EntryType::Symlink, "..", b"");
        member(&mut builder, "up/outside2", EntryType::Regular, "", b"in");
        member(&mut builder, "abs", EntryType::Symlink, "/", b"");
        member(&mut builder, "abs/outside", EntryType::Regular, "", b"in");
        unpacked(&dir, builder.into_inner().unwrap()).unwrap();
        let read = |path: &str| std::fs::read_to_string(dir.join(path)).unwrap();
        assert_eq!(read("outside"), "safe");
        assert_eq!(read("dest/outside"), "in");
        assert_eq!(read("dest/outside2"), "in");
        assert!(!dir.join("outside2").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn names_and_hard_links_that_lead_out_are_refused() {
        for (name, kind, link) in [
            ("../outside", EntryType::Regular, ""),
            ("a/../../outside", EntryType::Regular, ""),
            ("hard", EntryType::Link, "../outside"),
        ] {
            let dir = scratch("out");
            let mut builder = tar::Builder::new(Vec::new());
            member(&mut builder, name, kind, link, b"");
            let error = unpacked(&dir, builder.into_inner().unwrap()).unwrap_err();
            assert!(error.contains("leads out of the destination"), "{error}");
            let safe = std::fs::read_to_string(dir.join("outside")).unwrap();
            assert_eq!(safe, "safe");
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn an_archive_that_says_it_is_huge_is_refused_before_it_is_written() {
        let dir = scratch("huge");
        let mut header = tar::Header::new_gnu();
        header.set_path("big").unwrap();
        header.set_size(1 << 40);
        header.set_mode(0o644);
        header.set_cksum();
        let error = unpacked(&dir, header.as_bytes().to_vec()).unwrap_err();
        assert!(error.contains("far more than its own size"), "{error}");
        assert!(!dir.join("dest/big").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn archives_are_told_by_their_content() {
        let dir = scratch("content");
        let is = |bytes: &[u8]| {
            std::fs::write(dir.join("x"), bytes).unwrap();
            is_archive(File::open(dir.join("x")).unwrap())
        };
        let mut builder = tar::Builder::new(Vec::new());
        member(&mut builder, "a", EntryType::Regular, "", b"a");
        assert!(is(&builder.into_inner().unwrap()));
        assert!(!is(b"not a tar\n"));
        assert!(!is(b""));
        assert!(!is(&[0; 10240]));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
