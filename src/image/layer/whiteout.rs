//! Deletions in layers: how archives write them and how overlay keeps them.
//!
//! In an archive an empty file `.wh.name` deletes `name` of the layers below, and `.wh..wh..opq` all that the
//! directory has there. Overlay keeps a character device 0:0 called `name`, and an extended attribute.
//! Imports: `sys::fs`. Rules: OCI image spec, `layer.md`, "Whiteouts"; kernel
//! `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, Mode, SFlag};

use crate::sys::fs;

/// Beginning of an archive's whiteout names.
pub(super) const PREFIX: &[u8] = b".wh.";
/// An archive's mark of an opaque directory.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Beginning of names that older tools used for themselves.
const RESERVED: &[u8] = b".wh..wh.";
/// Where AUFS kept files with several names. Source: moby `pkg/archive`, `WhiteoutLinkDir`.
pub(super) const AUFS_LINKS: &str = ".wh..wh.plnk";

const ATTRIBUTE: &str = "trusted.overlay.opaque";
/// Where `trusted` attributes are not permitted, in a user namespace.
const USER_ATTRIBUTE: &str = "user.overlay.opaque";

/// What an entry's last name says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// Nothing special.
    Plain,
    /// The name is deleted.
    Whiteout(&'a [u8]),
    /// The directory is opaque.
    Opaque,
    /// To be left out.
    Reserved,
    /// No tool writes this.
    Hostile,
}

/// Reads an entry's last name.
pub(super) fn meaning(name: &[u8]) -> Meaning<'_> {
    match name.strip_prefix(PREFIX) {
        None => Meaning::Plain,
        Some(_) if name == OPAQUE => Meaning::Opaque,
        Some(_) if name.starts_with(RESERVED) => Meaning::Reserved,
        Some(b"" | b"." | b"..") => Meaning::Hostile,
        Some(hidden) => Meaning::Whiteout(hidden),
    }
}

/// Whether a path lies in a directory that an older tool had for itself.
pub(super) fn is_internal(path: &Path) -> bool {
    let mut parts = path.iter();
    let first = parts.next().unwrap_or_default();
    first.as_bytes().starts_with(RESERVED) && parts.next().is_some()
}

/// Whether an entry is overlay's whiteout.
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    fs::is_kind(stat, libc::S_IFCHR) && stat.st_rdev == 0
}

/// Makes overlay's whiteout.
pub(super) fn make(dir: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    nix::sys::stat::mknodat(dir, name, SFlag::S_IFCHR, Mode::empty(), 0)
}

/// Marks an open directory as opaque.
pub(super) fn mark_opaque(dir: impl AsFd) -> Result<(), Errno> {
    let path = fs::entry_path(dir, OsStr::new("."));
    match fs::set_xattr(&path, OsStr::new(ATTRIBUTE), b"y") {
        Err(Errno::EPERM) => fs::set_xattr(&path, OsStr::new(USER_ATTRIBUTE), b"y"),
        other => other,
    }
}

/// Whether a directory's attributes say that it is opaque.
pub(super) fn is_opaque(name: &OsStr, value: &[u8]) -> bool {
    value == b"y" && (name == ATTRIBUTE || name == USER_ATTRIBUTE)
}

/// Whether an attribute is part of an image: file capabilities and what users set. Overlay's own, labels
/// and access lists belong to the machine.
pub(crate) fn keeps_attribute(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_specification_says() {
        assert_eq!(meaning(b"a.wh.b"), Meaning::Plain);
        assert_eq!(meaning(b".wh.a"), Meaning::Whiteout(b"a"));
        assert_eq!(meaning(b".wh..a"), Meaning::Whiteout(b".a"));
        assert_eq!(meaning(b".wh..wh..opq"), Meaning::Opaque);
        assert_eq!(meaning(b".wh..wh.plnk"), Meaning::Reserved);
        for hostile in [b".wh.".as_slice(), b".wh..", b".wh..."] {
            assert_eq!(meaning(hostile), Meaning::Hostile);
        }
    }
}
