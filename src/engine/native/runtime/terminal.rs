//! A container's own terminal, made inside it and by descriptor only.
//!
//! Imports: `engine`, `sys`. Rules: pty(7); no name in `/dev/pts` is looked up but `ptmx` itself, and that
//! must lie on a devpts, so that nothing of the image can stand in for a terminal.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::message::{Message, Wire, step};
use super::user::User;
use crate::engine::Result;
use crate::sys::fs::{Resolve, openat2};
use crate::sys::tty;

/// Source: linux/magic.h, `DEVPTS_SUPER_MAGIC`.
const DEVPTS: i64 = 0x1cd1;

/// Makes a terminal of the devpts below `root`, hands its master side over, and gives the other.
pub(super) fn open(root: impl AsFd, wire: &Wire) -> Result<OwnedFd> {
    let make = || {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
        let master = openat2(
            &root,
            Path::new("/dev/pts/ptmx"),
            flags,
            0,
            Resolve::NoLinks,
        )?;
        if nix::sys::statfs::fstatfs(&master)?.filesystem_type().0 as i64 != DEVPTS {
            return Err(Errno::ENOTTY);
        }
        let slave = tty::peer(&master)?;
        Ok((master, slave))
    };
    let (master, slave) = make().map_err(step("make a terminal"))?;
    wire.send(&Message::Terminal, &[master.as_fd()])?;
    Ok(slave)
}

/// Makes the terminal the caller's own: controlling terminal, streams, owner.
pub(super) fn take(slave: &OwnedFd, user: &User) -> Result<()> {
    let take = || {
        tty::take_control(slave)?;
        nix::unistd::fchown(slave, Some(user.uid.into()), None)?;
        crate::sys::process::set_streams([slave.as_fd(), slave.as_fd(), slave.as_fd()])
    };
    take().map_err(step("take the terminal"))
}
