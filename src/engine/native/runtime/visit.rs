//! A container's root without the container: for looking at, and changing, the files of one that does not run.
//!
//! Imports: `engine`, `sys`. The caller is single-threaded and stays there.

use std::os::fd::AsFd as _;

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

use super::message::step;
use super::rootfs::Stage;
use super::{BirthMount, RootfsSpec, mounts};
use crate::engine::Result;
use crate::sys::ns;

/// Puts a root file system together as a birth does, without what the kernel shows in it, and goes there. Nobody
/// else sees these mounts, and they end with the caller.
///
/// # Errors
/// [`crate::engine::EngineError`] with the step's name.
pub fn visit(rootfs: &RootfsSpec, wanted: &[BirthMount], read_only: bool) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(step("make room for mounts"))?;
    let cloned = mounts::clone_sources(wanted)?;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    nix::mount::mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)
        .map_err(step("cut mounts off from the host's"))?;
    let mut stage = Stage::new(rootfs)?;
    mounts::mount_users(&mut stage, wanted, cloned)?;
    if read_only {
        stage.make_read_only()?;
    }
    ns::pivot_root(stage.root().as_fd()).map_err(step("enter the root file system"))
}
