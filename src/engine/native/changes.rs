//! The files of a container as an image would have them: all of them, or what it has changed.
//!
//! In: a container, running or not. Out: a view, or a directory in the form of overlay's upper ones. What lies on mounts is
//! not the container's own and stays out, and so does what was made only to mount on.
//! Imports: `image::layer`, `runtime`, `stubs`, `layout`, `sys`. As Docker: `docker export`, `docker commit`.

use std::io::{self, BufReader, BufWriter};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::layout::Layout;
use super::records::Found;
use super::{runtime, stubs};
use crate::engine::{EngineError, Result};
use crate::image::layer::diff;
use crate::image::layer::unpack::{self, Limits};
use crate::sys::fs::{Resolve, Root, openat2};
use crate::sys::mount::{self, Overlay};

/// What every container has besides its own mounts.
const OWN: [&str; 7] = [
    runtime::MARK,
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];
/// Bytes passed on at a time.
const BLOCK: usize = 1 << 20;

/// A read-only view of all its files: a detached mount.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn view(layout: &Layout, found: &Found) -> Result<OwnedFd> {
    let mut lower = layout.lower(&found.record.spec.image.layers);
    lower.push(found.dir.upper());
    let overlay = Overlay {
        lower: &lower,
        upper: None,
    };
    mount::overlay(&overlay).map_err(|error| {
        EngineError::failed(
            format!("look at the files of {}", found.standing.name),
            error,
        )
    })
}

/// Copies what it has changed into an empty directory.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn copy(layout: &Layout, found: &Found, into: &Path) -> Result<()> {
    let failed = |cause: &dyn std::fmt::Display| {
        let step = format!("copy the files of {}", found.standing.name);
        EngineError::failed(step, cause)
    };
    let root = Root::open(into).map_err(|errno| failed(&errno.desc()))?;
    let upper = found.dir.upper();
    let (reader, writer) = io::pipe().map_err(|error| failed(&error))?;
    let (packed, unpacked) = std::thread::scope(|scope| {
        let packing = scope.spawn(|| {
            let mut out = BufWriter::with_capacity(BLOCK, writer);
            diff::write(&upper, &mut out).and_then(|_| io::Write::flush(&mut out))
        });
        let reader = BufReader::with_capacity(BLOCK, reader);
        let unpacked = unpack::unpack(reader, &root, Limits::for_archive(None));
        (packing.join(), unpacked)
    });
    // Whoever reads says why he has stopped; the writer then only knows that nobody reads.
    let unpacked = unpacked.map_err(|error| failed(&error));
    match packed {
        Ok(Err(error)) if unpacked.is_ok() => return Err(failed(&error)),
        Err(_) => return Err(failed(&"its reader has failed")),
        _ => {
            unpacked?;
        }
    }
    let spec = &found.record.spec;
    let own = OWN.iter().map(PathBuf::from);
    let mounts = spec.mounts.iter().map(|mount| PathBuf::from(&mount.target));
    let made: Vec<PathBuf> = own.chain(mounts).collect();
    let lower = layout.lower(&spec.image.layers);
    forget_mounts(&root).map_err(|errno| failed(&errno.desc()))?;
    stubs::remove(into, &lower, &made).map_err(|errno| failed(&errno.desc()))
}

/// Removes the link that every container has to the list of mounts.
fn forget_mounts(root: &Root) -> std::result::Result<(), Errno> {
    let (link, to) = runtime::MOUNTS;
    let path = Path::new(link);
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let above = match openat2(root, above, flags, 0, Resolve::NoLinks) {
        Ok(above) => above,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    match readlinkat(&above, name) {
        Ok(found) if found == to => unlinkat(&above, name, UnlinkatFlags::NoRemoveDir),
        _ => Ok(()),
    }
}
