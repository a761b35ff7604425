//! What mounts needed as targets is taken away again, so that it does not become part of a layer: of a build step, of a container that is committed.
//!
//! Nothing is followed: whoever ran there may have put links anywhere (CVE-2024-23652). Imports: `sys`.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::sys::fs::{Root, is_kind};

/// Takes what was made for mounts out of `upper` where it is still empty, and with it the copies of
/// directories that overlay made only to hold it. Nothing is followed: the step may have put links anywhere.
pub(super) fn remove(
    upper: &Path,
    lower: &[PathBuf],
    made: &[PathBuf],
) -> std::result::Result<(), Errno> {
    let root = Root::open(upper)?;
    let mut above: Vec<&Path> = Vec::new();
    for path in made.iter().rev() {
        remove_empty(&root, path)?;
        above.extend(
            path.ancestors()
                .skip(1)
                .filter(|dir| *dir != Path::new("/")),
        );
    }
    above.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
    above.dedup();
    for dir in above {
        if is_mere_copy(&root, lower, dir) {
            remove_empty(&root, dir)?;
        }
    }
    Ok(())
}

/// Removes an empty file or directory; anything else stays.
fn remove_empty(root: &Root, path: &Path) -> std::result::Result<(), Errno> {
    use crate::sys::fs::{Resolve, openat2};
    use nix::fcntl::{AtFlags, OFlag};
    use nix::unistd::{UnlinkatFlags, unlinkat};
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let above = match openat2(root, above, OFlag::O_DIRECTORY, 0, Resolve::NoLinks) {
        Ok(above) => above,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let Ok(found) = nix::sys::stat::fstatat(&above, name, AtFlags::AT_SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    let flag = if is_kind(&found, libc::S_IFDIR) {
        UnlinkatFlags::RemoveDir
    } else if is_kind(&found, libc::S_IFREG) && found.st_size == 0 {
        UnlinkatFlags::NoRemoveDir
    } else {
        return Ok(());
    };
    match unlinkat(&above, name, flag) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether a directory of `upper` says nothing that the layers below do not say: same owner and mode, and
/// no attributes, which an opaque one would have.
fn is_mere_copy(root: &Root, lower: &[PathBuf], dir: &Path) -> bool {
    let key = |found: &nix::sys::stat::FileStat| (found.st_mode, found.st_uid, found.st_gid);
    let Ok(copy) = root.lstat(dir) else {
        return false;
    };
    let below = lower
        .iter()
        .rev()
        .find_map(|layer| Root::open(layer).ok()?.lstat(dir).ok());
    let opaque = root
        .open_at(dir, nix::fcntl::OFlag::O_DIRECTORY, 0)
        .map_or(true, |open| {
            crate::sys::fs::xattrs(&crate::sys::fs::fd_path(&open).join(".")).is_ok_and(|found| {
                found
                    .iter()
                    .any(|(name, _)| name.to_string_lossy().ends_with("overlay.opaque"))
            })
        });
    below.is_some_and(|below| key(&below) == key(&copy)) && !opaque
}
