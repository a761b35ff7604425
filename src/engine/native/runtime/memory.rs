//! Files of a container that lie in memory only: configs, secrets, what a build step is handed.
//!
//! All of one container lie in one file system that is mounted nowhere; each is mounted by itself, so that nobody who
//! sees one sees another. Runs in the child. Imports: `engine`, `held`, `sys`.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::message::step;
use super::rootfs::Stage;
use super::{BirthMount, BirthSource};
use crate::engine::Result;
use crate::engine::native::held;
use crate::sys::fs::{Resolve, openat2};
use crate::sys::mount::{self, Change, attr};

/// A mount for each that is [`BirthSource::Bytes`], in the order of `mounts`.
pub(super) fn files(stage: &Stage, mounts: &[BirthMount]) -> Result<Vec<Option<OwnedFd>>> {
    let lengths: Vec<usize> = mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            BirthSource::Bytes { content, .. } => Some(content.len()),
            _ => None,
        })
        .collect();
    if lengths.is_empty() {
        return Ok(mounts.iter().map(|_| None).collect());
    }
    let memory =
        held::memory(lengths.into_iter(), 0o700).map_err(step("make a memory file system"))?;
    stage.on_workbench(&memory, || {
        let each = mounts.iter().enumerate();
        each.map(|(at, mount)| {
            let made = file(&memory, at, &mount.source);
            made.map_err(step(format!("write {}", mount.target)))
        })
        .collect()
    })
}

fn file(
    memory: &OwnedFd,
    at: usize,
    source: &BirthSource,
) -> std::result::Result<Option<OwnedFd>, Errno> {
    let BirthSource::Bytes {
        content,
        uid,
        gid,
        mode,
    } = source
    else {
        return Ok(None);
    };
    let name = PathBuf::from(at.to_string());
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
    let file = openat2(memory, &name, flags, 0o600, Resolve::NoLinks)?;
    nix::unistd::fchown(&file, Some((*uid).into()), Some((*gid).into()))?;
    nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(*mode))?;
    std::fs::File::from(file)
        .write_all(content)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let mount = mount::clone_tree(memory, &name, false)?;
    if mode & 0o111 != 0 {
        // What its mode says may be run is run: scripts among configs, and those of a build.
        let change = Change {
            clear: attr::NOEXEC,
            ..Change::default()
        };
        mount::set_attr(&mount, change)?;
    }
    Ok(Some(mount))
}
