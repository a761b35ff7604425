//! The way to a container's files: into its mounts when it runs, else to mounts as its start would make them.
//!
//! Imports: `engine`, `runtime`, `supervisor`, `sys`. Runs in a process of its own, which can't come back.

use std::os::fd::AsFd as _;
use std::path::Path;

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};

use crate::engine::native::layout::Layout;
use crate::engine::native::records::{Found, InitProcess};
use crate::engine::native::runtime::{self, RootfsSpec, message::step};
use crate::engine::native::{supervisor, volumes};
use crate::engine::spec::{ContainerSpec, Mount, MountSource};
use crate::engine::{EngineError, Result};
use crate::sys::fs::{Durability, Root};
use crate::sys::mount::{self, Change, attr};
use crate::sys::pidfd;

/// Goes where the container's files are. Gives its root; nothing of the host's can be named any more.
///
/// # Errors
/// [`EngineError`].
pub(super) fn enter(layout: &Layout, found: &Found) -> Result<Root> {
    nix::sys::prctl::set_dumpable(false).map_err(step("hide from the container"))?;
    match found
        .standing
        .process
        .as_ref()
        .filter(|init| init.is_alive())
    {
        Some(init) => join(init)?,
        None => assemble(layout, &found.record.spec, found)?,
    }
    let root = Root::open(Path::new("/")).map_err(step("open the container's root"))?;
    forbid(&root)?;
    // Modes are those of the files that are copied.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    Ok(root)
}

/// Enters a running container's mounts, in a copy of them: what is changed about them below, it does not see.
fn join(init: &InitProcess) -> Result<()> {
    let process = pidfd::open(init.pid).map_err(step("find the container's process"))?;
    if !init.is_alive() {
        // Its number may be somebody else's since we looked.
        return Err(EngineError::failed(
            "enter the container",
            "it has just ended; try again",
        ));
    }
    setns(&process, CloneFlags::CLONE_NEWNS).map_err(step("enter the container's mounts"))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(step("copy the container's mounts"))?;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(step("cut mounts off from the container's"))
}

/// Mounts a container's files as its start would, but for what lives only in memory.
fn assemble(layout: &Layout, spec: &ContainerSpec, found: &Found) -> Result<()> {
    let rootfs = RootfsSpec {
        lower: layout.lower(&spec.image.layers),
        upper: found.dir.upper(),
        work: found.dir.work(),
        durability: Durability::Synced,
    };
    let mut mounts = Vec::new();
    for mount in &spec.mounts {
        if is_lasting(layout, mount)? {
            mounts.push(supervisor::own_mount(layout, spec, mount)?);
        }
    }
    mounts.extend(supervisor::injected(
        layout,
        spec,
        supervisor::Missing::LeftOut,
    )?);
    runtime::visit(&rootfs, &mounts, spec.read_only)
}

/// Whether a mount shows something also while its container does not run.
fn is_lasting(layout: &Layout, mount: &Mount) -> Result<bool> {
    Ok(match &mount.source {
        MountSource::Tmpfs { .. } => false,
        // What is gone from the host need not keep anybody from the rest.
        MountSource::Bind { path, .. } => path.exists(),
        MountSource::Image { .. } => true,
        MountSource::Volume { name, .. } => match volumes::file_system(layout, name)? {
            None => true,
            Some(fs) if fs.is_memory() => false,
            Some(_) => {
                let what = format!(
                    "volume {name} is mounted only while a container uses it: start the container first"
                );
                return Err(EngineError::Unsupported { what });
            }
        },
    })
}

/// From here on no device can be opened and nothing executed or loaded from any mount.
fn forbid(root: &Root) -> Result<()> {
    let change = Change {
        set: attr::NODEV | attr::NOEXEC | attr::NOSUID,
        recursive: true,
        ..Change::default()
    };
    mount::set_attr(root.as_fd(), change).map_err(step("forbid devices and execution"))
}
