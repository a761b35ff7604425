//! Volumes: directories that outlive containers.
//!
//! `<data>/volumes/<name>/volume.json` says what it is, `_data` holds its files. A volume with
//! `type: none, o: bind` lies where `device` says; one with another `type` is mounted on `_data` while containers use
//! it, whose ids are files in `<run>/volumes/<name>/`. What is half made or half removed has a hidden name; who makes
//! or removes holds `<data>/volumes/.lock` with others. `filling` in a volume's directory says that the image's files
//! are not all in it yet.
//!
//! | part | what |
//! |---|---|
//! | [`record`] | what volumes there are: made, found, removed |
//! | [`device`] | what is mounted for one, from the first use to the last |
//! | [`fill`] | an image's files in an empty one |
//! | [`snapshot`] | its files copied elsewhere, and back |
//!
//! Imports: `base`, `engine`, `image`, `sys`.

mod device;
mod fill;
mod record;
mod snapshot;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::layout::Layout;
use super::runtime::{BirthSource, message::step};
use crate::engine::spec::VolumeSpec;
use crate::engine::spec::volume::{Backing, FileSystem, MountWords};
use crate::engine::{EngineError, Result};
use crate::sys::fs::{Resolve, openat2};
use crate::sys::mount::attr;

pub use device::main as mount_main;
pub(super) use device::{hold, release};
pub(super) use fill::{Image, fill, needs_content};
pub(super) use record::{VolumeRecord, create, damaged, get, list, remove, sweep};
pub(super) use snapshot::{restore, save};

/// The name of the directory with a volume's files.
const DATA: &str = "_data";

/// What lies behind a volume.
fn backing(spec: &VolumeSpec) -> Result<Backing> {
    spec.backing().map_err(|refusal| EngineError::Unsupported {
        what: format!("{}: {}", refusal.what, refusal.hint),
    })
}

fn recorded(layout: &Layout, name: &str) -> Result<VolumeRecord> {
    get(layout, name)?.ok_or_else(|| EngineError::NotFound {
        kind: "volume",
        name: name.to_owned(),
    })
}

/// The file system that is mounted for a volume; `None` for one whose files are in a directory.
///
/// # Errors
/// [`EngineError::NotFound`], [`EngineError::Unsupported`].
pub(super) fn file_system(layout: &Layout, name: &str) -> Result<Option<FileSystem>> {
    Ok(match backing(&recorded(layout, name)?.spec)? {
        Backing::Mount(fs) => Some(fs),
        Backing::Own | Backing::Bind { .. } => None,
    })
}

/// Where a volume's files are, or are mounted.
pub(super) fn files(layout: &Layout, name: &str) -> PathBuf {
    layout.volumes().join(name).join(DATA)
}

/// Whether a volume's files lie in its own directory.
pub(super) fn is_own(layout: &Layout, name: &str) -> bool {
    matches!(place(layout, name), Ok((Place::Own(_), _)))
        && matches!(file_system(layout, name), Ok(None))
}

/// What a container mounts of a volume. Nothing is looked up before the mount is made.
///
/// # Errors
/// [`EngineError::NotFound`], [`EngineError::Unsupported`].
pub(super) fn source(layout: &Layout, name: &str, subpath: Option<&str>) -> Result<BirthSource> {
    let (place, words) = place(layout, name)?;
    Ok(BirthSource::Volume {
        name: name.to_owned(),
        place,
        subpath: subpath.map(PathBuf::from),
        attrs: attrs(words),
    })
}

/// Where a volume's files are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In `_data` of its own directory.
    Own(PathBuf),
    /// In a directory that the user named.
    Named(PathBuf),
}

fn place(layout: &Layout, name: &str) -> Result<(Place, MountWords)> {
    let own = || Place::Own(layout.volumes().join(name));
    Ok(match backing(&recorded(layout, name)?.spec)? {
        Backing::Own => (own(), MountWords::default()),
        Backing::Bind { dir, words } => (Place::Named(dir), words),
        Backing::Mount(fs) => (own(), fs.words),
    })
}

fn attrs(words: MountWords) -> u64 {
    let bits = [
        (words.read_only, attr::RDONLY),
        (words.no_suid, attr::NOSUID),
        (words.no_dev, attr::NODEV),
        (words.no_exec, attr::NOEXEC),
        (words.no_atime, attr::NOATIME),
    ];
    let set = bits.into_iter().filter(|(on, _)| *on);
    set.fold(0, |all, (_, bit)| all | bit)
}

/// Opens what a container is to see of a volume: a link inside it leads nowhere outside, also while another container
/// changes it, since what was looked up is what gets mounted.
///
/// # Errors
/// [`EngineError::Unsupported`] when a directory of the user or the subpath is missing, or the subpath leaves the volume.
pub(super) fn open(name: &str, place: &Place, subpath: Option<&Path>) -> Result<OwnedFd> {
    let data = match place {
        Place::Own(dir) => open_own(name, dir)?,
        Place::Named(dir) => open_named(name, dir)?,
    };
    let Some(subpath) = subpath else {
        return Ok(data);
    };
    let shown = subpath.display();
    let refuse = |what: String| EngineError::Unsupported { what };
    openat2(&data, subpath, OFlag::O_PATH, 0, Resolve::Beneath).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => refuse(format!(
            "volume {name} has no `{shown}` to mount: make it first, as a subpath is not made by itself"
        )),
        Errno::EXDEV | Errno::ELOOP => refuse(format!(
            "the subpath `{shown}` leads out of volume {name}: refused"
        )),
        errno => step(format!("open `{shown}` in volume {name}"))(errno),
    })
}

fn open_own(name: &str, dir: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fail = || step(format!("open volume {name}"));
    let own = nix::fcntl::open(dir, flags | OFlag::O_NOFOLLOW, Mode::empty()).map_err(fail())?;
    openat2(&own, Path::new(DATA), flags, 0, Resolve::NoLinks).map_err(|errno| match errno {
        Errno::ELOOP | Errno::ENOTDIR => EngineError::Unsupported {
            what: format!(
                "{} is not the directory that was made for volume {name}: refused",
                dir.join(DATA).display()
            ),
        },
        errno => fail()(errno),
    })
}

fn open_named(name: &str, dir: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let shown = dir.display();
    let refuse = |why: String| EngineError::VolumeUnavailable {
        name: name.to_owned(),
        why,
    };
    nix::fcntl::open(dir, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT => refuse(format!(
            "its directory {shown} does not exist: make it with `mkdir -p {shown}`"
        )),
        Errno::ENOTDIR => refuse(format!("{shown} is not a directory")),
        errno => step(format!("open {shown}, where volume {name} lies"))(errno),
    })
}
