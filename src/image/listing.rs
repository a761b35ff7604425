//! Directories read by descriptor, for walks that keep their own stack: a deep tree must not use up the thread's.
//!
//! It follows no link and reads no file. Imports: nothing of ours. Source: readdir(3).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

/// A directory whose entries are being looked at.
pub(super) struct Level {
    pub(super) dir: OwnedFd,
    /// Names left, last first.
    pub(super) names: Vec<OsString>,
    /// Length of its path within the path so far.
    pub(super) prefix: usize,
}

/// Reads a directory's names, in the order of their bytes.
///
/// # Errors
/// The system's.
pub(super) fn level(dir: OwnedFd, prefix: usize) -> io::Result<Level> {
    let mut names = Vec::new();
    let mut open = nix::dir::Dir::from_fd(dir.try_clone()?)?;
    for entry in open.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Level { dir, names, prefix })
}
