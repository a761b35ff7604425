//! `ADD` of a local archive: tar, plain or compressed with gzip, bzip2 or zstd. (xz is copied as a file.)
//!
//! Every name is looked up inside the destination, which bounds it as a root of its own.
//! Imports: `sys::fs`, `image::archive`. Rules: Dockerfile reference, "ADD"; as moby's `archive.Untar`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use tar::EntryType;

use super::write::{Meta, Writer};
use crate::build::context::resolve;
use crate::image::archive::decoder;
use crate::sys::fs::{Root, clean, is_kind};

/// Tells an archive by its content, compressed or not.
pub fn is_archive(file: File) -> bool {
    let mut header = [0; 512];
    if decoder(file).read_exact(&mut header).is_err() {
        return false;
    }
    // A tar header carries the sum of its bytes, its own field counted as blanks.
    let sum = header.iter().enumerate().map(|(at, byte)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(*byte),
    });
    tar::Header::from_byte_slice(&header).cksum().ok() == Some(sum.sum())
}

/// Unpacks an archive below a root; everything belongs to `owner`, whatever the archive says.
///
/// # Errors
/// The member at fault and why.
pub fn unpack(file: File, root: &Root, owner: (u32, u32)) -> Result<(), String> {
    let mut archive = tar::Archive::new(decoder(file));
    let mut unpacker = Unpacker {
        root,
        writer: Writer::new(root),
        owner,
        folders: Vec::new(),
    };
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let path = entry.path().map_err(|e| e.to_string())?.into_owned();
        unpacker
            .member(&mut entry, &path)
            .map_err(|why| format!("{}: {why}", path.display()))?;
    }
    for (path, meta) in unpacker.folders.iter().rev() {
        unpacker
            .writer
            .meta(path, meta, false)
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

struct Unpacker<'a> {
    root: &'a Root,
    writer: Writer<'a>,
    owner: (u32, u32),
    /// Folders with what they get at the end.
    folders: Vec<(PathBuf, Meta)>,
}

impl Unpacker<'_> {
    fn member<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &Path) -> io::Result<()> {
        let clean = clean(path);
        let Some(name) = clean.file_name() else {
            return Ok(());
        };
        let parent = clean.parent().unwrap_or(Path::new("/"));
        self.root.mkdir_all(parent, 0o755, Some(self.owner))?;
        let to = resolve(self.root, parent)?.join(name);
        let meta = self.meta(entry.header())?;
        let kind = entry.header().entry_type();
        let there = self.writer.stat(&to)?;
        if kind == EntryType::Directory
            && there
                .as_ref()
                .is_some_and(|stat| is_kind(stat, libc::S_IFDIR))
        {
            self.folders.push((to, meta));
            return Ok(());
        }
        self.writer.remove(&to)?;
        match kind {
            EntryType::Directory => {
                self.writer.folder(&to)?;
                self.folders.push((to, meta));
                return Ok(());
            }
            EntryType::Symlink => {
                let link = entry.link_name()?.ok_or(Errno::EINVAL)?;
                self.writer.symlink(&to, link.as_os_str())?;
                self.writer.meta(&to, &meta, true)?;
                return Ok(());
            }
            EntryType::Link => {
                let link = entry.link_name()?.ok_or(Errno::EINVAL)?;
                let target = crate::sys::fs::clean(&link);
                let folder = resolve(self.root, target.parent().unwrap_or(Path::new("/")))?;
                let existing = folder.join(target.file_name().ok_or(Errno::EINVAL)?);
                self.writer.hard_link(&to, &existing)?;
                return Ok(());
            }
            EntryType::Fifo => self.writer.node(&to, SFlag::S_IFIFO, 0)?,
            EntryType::Char | EntryType::Block => {
                let kind = if kind == EntryType::Char {
                    SFlag::S_IFCHR
                } else {
                    SFlag::S_IFBLK
                };
                let major = entry.header().device_major()?.unwrap_or(0);
                let minor = entry.header().device_minor()?.unwrap_or(0);
                self.writer.node(
                    &to,
                    kind,
                    nix::sys::stat::makedev(major.into(), minor.into()),
                )?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                io::copy(entry, &mut self.writer.file(&to)?)?;
            }
            _ => return Ok(()),
        }
        self.writer.meta(&to, &meta, false)?;
        Ok(())
    }
    fn meta(&self, header: &tar::Header) -> io::Result<Meta> {
        let time = i64::try_from(header.mtime()?).unwrap_or(0);
        Ok(Meta {
            owner: self.owner,
            mode: header.mode()? & 0o7777,
            modified: Some((time, 0)),
        })
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_hostile_archive_stays_in_the_destination() {
        let dir = std::env::temp_dir().join(format!("hoist-untar-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("dest")).unwrap();
        std::fs::write(dir.join("outside"), "safe").unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        member(&mut builder, "../outside", EntryType::Regular, "", b"bad");
        member(&mut builder, "up", EntryType::Symlink, "..", b"");
        member(&mut builder, "up/outside2", EntryType::Regular, "", b"in");
        member(&mut builder, "hard", EntryType::Link, "../outside", b"");
        std::fs::write(dir.join("a.tar"), builder.into_inner().unwrap()).unwrap();
        assert!(is_archive(File::open(dir.join("a.tar")).unwrap()));
        let root = Root::open(&dir.join("dest")).unwrap();
        let file = File::open(dir.join("a.tar")).unwrap();
        unpack(
            file,
            &root,
            (
                nix::unistd::geteuid().as_raw(),
                nix::unistd::getegid().as_raw(),
            ),
        )
        .unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.join("outside")).unwrap(),
            "safe"
        );
        assert_eq!(
            std::fs::read_to_string(dir.join("dest/outside")).unwrap(),
            "bad"
        );
        assert_eq!(
            std::fs::read_to_string(dir.join("dest/outside2")).unwrap(),
            "in"
        );
        assert!(!dir.join("outside2").exists());
        std::fs::write(dir.join("fake.tar"), "not a tar\n").unwrap();
        assert!(!is_archive(File::open(dir.join("fake.tar")).unwrap()));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
