//! Tar entries written: ustar headers, preceded by pax headers only where ustar's fields are too small.
//!
//! In: an [`Entry`] and a writer. Out: bytes that depend on the entry alone. Imports: nothing of ours.
//! Rules: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header"; extended attributes as
//! `SCHILY.xattr.` records (star(5)).

use std::io::{self, Write};

const BLOCK: usize = 512;

/// What an archive entry is. Source: `typeflag` of the ustar header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with content.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A FIFO.
    Fifo,
}

/// The header of one archive entry.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Its path; directories end with a slash.
    pub path: &'a [u8],
    /// Target of a link.
    pub link: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of its content in bytes.
    pub size: u64,
    /// Whole seconds since 1970.
    pub mtime: i64,
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Extended attributes, sorted.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Further records of the pax header, as they are.
    pub records: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Entry<'a> {
    /// An entry without content, owned by root, from 1970.
    pub fn new(path: &'a [u8], kind: EntryKind, mode: u32) -> Self {
        Self {
            path,
            link: b"",
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            device: (0, 0),
            xattrs: &[],
            records: &[],
        }
    }
    /// Writes the header, preceded by a pax header where ustar's fields are too small. The content,
    /// padded by [`pad`], must follow.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut pax = Vec::new();
        if self.path.len() > 100 {
            record(&mut pax, b"path", self.path);
        }
        if self.link.len() > 100 {
            record(&mut pax, b"linkpath", self.link);
        }
        for (name, value, most) in [
            (b"uid".as_slice(), u64::from(self.uid), 0o777_7777),
            (b"gid", u64::from(self.gid), 0o777_7777),
            (b"size", self.size, 0o777_7777_7777),
        ] {
            if value > most {
                record(&mut pax, name, value.to_string().as_bytes());
            }
        }
        if !(0..=0o777_7777_7777).contains(&self.mtime) {
            record(&mut pax, b"mtime", self.mtime.to_string().as_bytes());
        }
        for (name, value) in self.xattrs {
            record(
                &mut pax,
                &[b"SCHILY.xattr.", name.as_slice()].concat(),
                value,
            );
        }
        for (name, value) in self.records {
            record(&mut pax, name, value);
        }
        if !pax.is_empty() {
            let extended = Entry {
                size: pax.len() as u64,
                ..Entry::new(b"PaxHeader", EntryKind::File, 0o644)
            };
            out.write_all(&extended.block(b'x'))?;
            out.write_all(&pax)?;
            pad(out, pax.len() as u64)?;
        }
        let flag = match self.kind {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::Char => b'3',
            EntryKind::Block => b'4',
            EntryKind::Dir => b'5',
            EntryKind::Fifo => b'6',
        };
        out.write_all(&self.block(flag))
    }
    fn block(&self, flag: u8) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8], most: usize| {
            let bytes = bytes.get(..most).unwrap_or(bytes);
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, self.path, 100);
        put(100, &octal::<7>(u64::from(self.mode)), 8);
        put(108, &octal::<7>(u64::from(self.uid)), 8);
        put(116, &octal::<7>(u64::from(self.gid)), 8);
        put(124, &octal::<11>(self.size), 12);
        put(
            136,
            &octal::<11>(u64::try_from(self.mtime).unwrap_or(0)),
            12,
        );
        put(148, b"        ", 8);
        put(156, &[flag], 1);
        put(157, self.link, 100);
        put(257, b"ustar\x0000", 8);
        if matches!(self.kind, EntryKind::Char | EntryKind::Block) {
            put(329, &octal::<7>(self.device.0), 8);
            put(337, &octal::<7>(self.device.1), 8);
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(&octal::<6>(u64::from(sum)));
        block[154..156].copy_from_slice(b"\0 ");
        block
    }
}

/// A number in octal digits. What does not fit is said in the pax header; here comes 0.
fn octal<const DIGITS: usize>(value: u64) -> [u8; DIGITS] {
    let fits = value >> (3 * DIGITS) == 0;
    let mut left = if fits { value } else { 0 };
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += (left & 7) as u8;
        left >>= 3;
    }
    digits
}

/// One record of a pax header: its own length in decimal, a space, `key=value`, a line feed.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend_from_slice(length.to_string().as_bytes());
    pax.push(b' ');
    pax.extend_from_slice(key);
    pax.push(b'=');
    pax.extend_from_slice(value);
    pax.push(b'\n');
}

/// Fills the last block of `size` bytes of content with zeros.
///
/// # Errors
/// The writer's.
pub fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let left = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    out.write_all(&[0; BLOCK][..left as usize])
}

/// Writes the two blocks that end an archive.
///
/// # Errors
/// The writer's.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::archive::read::Members;
    use crate::image::archive::{Compression, sniff};

    #[test]
    fn a_header_reads_back_as_written_even_when_ustar_is_too_small() {
        let path = b"d/".repeat(100);
        let xattrs = [(b"user.a".to_vec(), b"x\n\0y\n9 path=z\n".to_vec())];
        let entry = Entry {
            uid: 3_000_000,
            mtime: -5,
            size: 3,
            xattrs: &xattrs,
            ..Entry::new(&path[..199], EntryKind::File, 0o4755)
        };
        let mut bytes = Vec::new();
        entry.write(&mut bytes).unwrap();
        bytes.extend(b"abc");
        pad(&mut bytes, 3).unwrap();
        end(&mut bytes).unwrap();
        assert_eq!(sniff(&bytes), Compression::Tar);
        let mut members = Members::new(bytes.as_slice());
        let member = members.next_member().unwrap().unwrap();
        assert_eq!(member.path, &path[..199]);
        assert_eq!(
            (member.uid, member.mode, member.mtime),
            (3_000_000, 0o4755, (-5, 0))
        );
        assert_eq!(member.xattrs, xattrs);
        assert!(members.next_member().unwrap().is_none());
    }
}
