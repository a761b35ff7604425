//! A volume's files copied elsewhere, and such a copy put in their place.
//!
//! A copy that takes the place of a volume's files is made beside them first, whole and on disk; then the two change places
//! in one step. What a kill leaves has a hidden name and goes with the next sweep.
//!
//! Imports: `base`, `engine`, `sys`; beside it `fill`, `record`. Source: renameat2(2), syncfs(2).

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::fill::duplicate;
use super::{DATA, files, is_own, record, recorded};
use crate::base::cancel::Cancel;
use crate::engine::native::layout::Layout;
use crate::engine::{EngineError, Result};
use crate::sys::fs;
use crate::sys::lock::Hold;

fn directory(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

fn copy(from: &Path, to: &Path, cancel: &Cancel) -> std::result::Result<Vec<PathBuf>, Errno> {
    duplicate(directory(from)?, directory(to)?, cancel)
}

/// Only what is in the volume's own directory is ours.
fn own(layout: &Layout, name: &str) -> Result<PathBuf> {
    recorded(layout, name)?;
    match is_own(layout, name) {
        true => Ok(files(layout, name)),
        false => Err(EngineError::unsaved(name)),
    }
}

/// Copies a volume's files into an empty directory; gives the paths of sockets, which are left out.
///
/// # Errors
/// [`EngineError`].
pub(in crate::engine::native) fn save(
    layout: &Layout,
    name: &str,
    to: &Path,
    cancel: &Cancel,
) -> Result<Vec<PathBuf>> {
    let from = own(layout, name)?;
    copy(&from, to, cancel)
        .map_err(|errno| EngineError::failed(format!("copy volume {name}"), errno))
}

/// Puts copies in the place of what is in volumes.
///
/// # Errors
/// [`EngineError`]; before the first one has taken its place, nothing has changed.
pub(in crate::engine::native) fn restore(
    layout: &Layout,
    copies: &[(String, PathBuf)],
    cancel: &Cancel,
) -> Result<()> {
    for (name, _) in copies {
        own(layout, name)?;
    }
    let failed = |name: &str, error: io::Error| {
        EngineError::failed(format!("put the copy into volume {name}"), error)
    };
    let first = copies.first().map_or("", |(name, _)| name);
    // Nobody sweeps what is being made.
    let _held = record::lock(layout, Hold::Shared).map_err(|error| failed(first, error))?;
    let mut drafts = Drafts(Vec::new());
    for (name, from) in copies {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        let draft = format!(".{name}.restore.{}.{serial}", std::process::id());
        let draft = layout.volumes().join(draft);
        drafts.0.push(draft.clone());
        record::make_data(&draft).map_err(|error| failed(name, error))?;
        copy(from, &draft.join(DATA), cancel).map_err(|errno| failed(name, errno.into()))?;
    }
    fs::settle(&[&layout.volumes()]).map_err(|error| failed(first, error))?;
    for ((name, _), draft) in copies.iter().zip(&drafts.0) {
        let place = files(layout, name);
        fs::exchange(&draft.join(DATA), &place).map_err(|error| failed(name, error))?;
    }
    fs::settle(&[&layout.volumes()]).map_err(|error| failed(first, error))
}

/// Directories that are removed at the end: copies that did not take their place, or what they took the place of.
struct Drafts(Vec<PathBuf>);

impl Drop for Drafts {
    fn drop(&mut self) {
        for draft in &self.0 {
            // What can't be removed now goes with the next sweep.
            let _ = fs::remove_tree(draft);
        }
    }
}
