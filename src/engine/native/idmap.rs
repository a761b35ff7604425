//! Bind mounts whose files belong to one user on the host and to another one inside.
//!
//! A mount is given a map of users (`x-hoist.idmap`): the container's user and the owner on the host change places, all
//! others stay who they are. So what the container's user writes is the host user's, and root's files stay root's.
//!
//! In: a spec, a path. Out: numbers of users; a detached mount. Imports: `engine`, `runtime`, `sys`.
//! Source: mount_setattr(2), "ID-mapped mounts"; user_namespaces(7), "User and group ID mappings".

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;

use super::layout::Layout;
use super::runtime::{self, message::step};
use crate::engine::spec::{ContainerSpec, IdMap};
use crate::engine::{EngineError, Result};
use crate::sys::fs::Root;
use crate::sys::mount::{self, Overlay};
use crate::sys::{mountinfo, ns};

/// The container's own user and group, as its image names them.
///
/// # Errors
/// [`EngineError`] when the image can't be read or has no such user.
pub(super) fn container_user(layout: &Layout, spec: &ContainerSpec) -> Result<(u32, u32)> {
    let user = spec.process.user.as_str();
    if matches!(user, "" | "root" | "0" | "0:0") {
        return Ok((0, 0));
    }
    let layers = layout.lower(&spec.image.layers);
    let view = mount::overlay(&Overlay {
        lower: &layers,
        upper: None,
    })
    .map_err(|error| EngineError::failed("read the image's users", error))?;
    let user = runtime::user::lookup(&Root::from_fd(view), user, &[])?;
    Ok((user.uid, user.gid))
}

/// As [`container_user`], for a directory that is made for it: `None` for a user that only the start can tell of.
///
/// # Errors
/// [`EngineError::Failed`] when the image can't be read.
pub(super) fn service_user(layout: &Layout, spec: &ContainerSpec) -> Result<Option<(u32, u32)>> {
    match container_user(layout, spec) {
        Ok(owner) => Ok(Some(owner)),
        Err(error @ EngineError::Failed { .. }) => Err(error),
        // The start says what is wrong with it.
        Err(_) => Ok(None),
    }
}

/// Who owns a missing source of a mapped bind mount that is to be made: who owns what it lies in.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn owner_of_new(path: &Path, map: IdMap) -> Result<(u32, u32)> {
    match map {
        IdMap::Ids { uid, gid } => Ok((uid, gid)),
        IdMap::HostUser => {
            let there = path.ancestors().find(|above| above.exists());
            owner_of(there.unwrap_or(Path::new("/")))
        }
    }
}

fn owner_of(path: &Path) -> Result<(u32, u32)> {
    let meta = std::fs::metadata(path)
        .map_err(|error| EngineError::failed(format!("look at {}", path.display()), error))?;
    Ok((meta.uid(), meta.gid()))
}

/// A detached mount of a path whose users are mapped. The caller is single-threaded.
///
/// # Errors
/// [`EngineError::Unsupported`] where a file system can't do that, by name; [`EngineError::Failed`].
pub(super) fn mapped(
    layout: &Layout,
    spec: &ContainerSpec,
    path: &Path,
    recursive: bool,
    map: IdMap,
) -> Result<OwnedFd> {
    let shown = path.display();
    let tree = mount::clone_tree(AT_FDCWD, path, recursive).map_err(|errno| match errno {
        Errno::ENOENT => EngineError::Unsupported {
            what: format!("bind source path does not exist: {shown}"),
        },
        errno => step(format!("bind {shown}"))(errno),
    })?;
    let host = match map {
        IdMap::Ids { uid, gid } => (uid, gid),
        IdMap::HostUser => owner_of(path)?,
    };
    let inside = container_user(layout, spec)?;
    if host == inside {
        return Ok(tree);
    }
    let users = swap(host.0, inside.0);
    let groups = swap(host.1, inside.1);
    let space = ns::mapped_users(&users, &groups).map_err(|errno| {
        let why = format!(
            "{}; is `user.max_user_namespaces` of this host 0?",
            errno.desc().to_lowercase()
        );
        EngineError::failed(format!("map the users of {shown}"), why)
    })?;
    mount::map_users(&tree, space.as_fd(), recursive).map_err(|errno| match errno {
        Errno::EINVAL | Errno::EOPNOTSUPP => EngineError::Unsupported {
            what: format!(
                "x-hoist.idmap of {shown}: users of its file system{} can't be mapped by this kernel",
                kind_of(path)
            ),
        },
        errno => step(format!("map the users of {shown}"))(errno),
    })?;
    Ok(tree)
}

fn kind_of(path: &Path) -> String {
    let found = std::fs::File::open(path).and_then(mountinfo::of);
    let kind = found.ok().flatten().map(|point| point.kind);
    kind.map_or_else(String::new, |kind| format!(" ({kind})"))
}

/// Lines of a map in which two numbers change places: on disk, in the container, how many.
fn swap(host: u32, inside: u32) -> Vec<(u32, u32, u32)> {
    let whole = u32::MAX;
    if host == inside {
        return vec![(0, 0, whole)];
    }
    let (low, high) = (host.min(inside), host.max(inside));
    let lines = [
        (0, 0, low),
        (low, high, 1),
        (low + 1, low + 1, high - low - 1),
        (high, low, 1),
        (high + 1, high + 1, whole - high - 1),
    ];
    lines
        .into_iter()
        .filter(|(_, _, count)| *count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_change_places_and_no_other_is_lost() {
        assert_eq!(
            swap(1000, 33),
            [
                (0, 0, 33),
                (33, 1000, 1),
                (34, 34, 966),
                (1000, 33, 1),
                (1001, 1001, u32::MAX - 1001)
            ]
        );
        assert_eq!(swap(0, 1), [(0, 1, 1), (1, 0, 1), (2, 2, u32::MAX - 2)]);
        assert_eq!(swap(7, 7), [(0, 0, u32::MAX)]);
    }
}
