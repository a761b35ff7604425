//! What volumes there are: made, found by name, removed.
//!
//! Imports: `base`, `engine`, `sys`; beside it `device`.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{DATA, backing, device};
use crate::base::clock::Timestamp;
use crate::base::name::ProjectName;
use crate::engine::native::layout::Layout;
use crate::engine::native::{owner, records};
use crate::engine::spec::VolumeSpec;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{self, Durability};
use crate::sys::lock::{Hold, Lock};

/// A file that no volume can be called.
const LOCK: &str = ".lock";

/// What is kept of a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::engine::native) struct VolumeRecord {
    /// When it was made.
    pub(in crate::engine::native) created: Timestamp,
    /// What was asked for.
    pub(in crate::engine::native) spec: VolumeSpec,
}

/// Makes a volume; one that is there is left as it is.
///
/// # Errors
/// [`EngineError::Unsupported`] for another driver or other options, [`EngineError::Failed`].
pub(in crate::engine::native) fn create(layout: &Layout, spec: &VolumeSpec) -> Result<()> {
    // The name becomes a path: it is looked at first.
    backing(spec)?;
    let dir = layout.volumes().join(&spec.name);
    let record = dir.join("volume.json");
    if record.exists() && !is_damaged(layout, &spec.name) {
        return Ok(());
    }
    if owner::is_of_another(&dir, spec.project.as_ref()) {
        return get(layout, &spec.name).map(drop);
    }
    let failed =
        |error: io::Error| EngineError::failed(format!("make volume {}", spec.name), error);
    let _held = lock(layout, Hold::Shared).map_err(failed)?;
    let content = VolumeRecord {
        created: Timestamp::now(),
        spec: spec.clone(),
    };
    if dir.exists() {
        // Its record was lost; the files are somebody's.
        make_data(&dir).map_err(failed)?;
        owner::note(&dir, spec.project.as_ref()).map_err(failed)?;
        return records::write(&record, &content, Durability::Synced);
    }
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    let draft = format!(".{}.{}.{serial}", spec.name, std::process::id());
    let draft = layout.volumes().join(draft);
    let made = make_data(&draft).map_err(failed).and_then(|()| {
        owner::note(&draft, spec.project.as_ref()).map_err(failed)?;
        records::write(&draft.join("volume.json"), &content, Durability::Synced)?;
        match std::fs::rename(&draft, &dir) {
            // Another command was faster.
            Err(_) if record.exists() => fs::remove_tree(&draft).map_err(failed),
            other => other.map_err(failed),
        }
    });
    made.inspect_err(|_| {
        let _ = fs::remove_tree(&draft);
    })
}

/// 0711 lets processes of other users reach their files through a bind mount, but not list volumes.
pub(super) fn make_data(dir: &Path) -> io::Result<()> {
    fs::make_dirs(&dir.join(DATA), 0o711)?;
    set_mode(&dir.join(DATA), 0o755)
}

/// The lock of all volumes: shared while one is made or removed, alone to take away what was left of that.
pub(super) fn lock(layout: &Layout, hold: Hold) -> io::Result<Lock> {
    fs::make_dirs(&layout.volumes(), 0o711)?;
    Lock::acquire(&layout.volumes().join(LOCK), hold)
}

/// Takes away volumes that are half made or half removed, unless somebody is just making or removing one.
///
/// # Errors
/// [`EngineError::Failed`].
pub(in crate::engine::native) fn sweep(layout: &Layout) -> Result<()> {
    let names = records::entries(&layout.volumes())?;
    let mut hidden = names
        .iter()
        .filter(|name| name.starts_with('.') && *name != LOCK)
        .peekable();
    if hidden.peek().is_none() {
        return Ok(());
    }
    let failed = |error: io::Error| EngineError::failed("remove what is left of a volume", error);
    let lock = layout.volumes().join(LOCK);
    let Some(_held) = Lock::try_acquire(&lock, Hold::Exclusive).map_err(failed)? else {
        return Ok(());
    };
    for name in hidden {
        fs::remove_tree(&layout.volumes().join(name)).map_err(failed)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// A volume by name.
///
/// # Errors
/// [`EngineError::Failed`].
pub(in crate::engine::native) fn get(layout: &Layout, name: &str) -> Result<Option<VolumeRecord>> {
    records::read(&layout.volumes().join(name).join("volume.json"))
}

/// Whether a volume's record is there no more, or can't be read and is of no newer version.
fn is_damaged(layout: &Layout, name: &str) -> bool {
    records::is_broken::<VolumeRecord>(&layout.volumes().join(name).join("volume.json"))
}

/// Volumes of a project whose records are lost or broken.
///
/// # Errors
/// [`EngineError::Failed`].
pub(in crate::engine::native) fn damaged(
    layout: &Layout,
    project: &ProjectName,
) -> Result<Vec<String>> {
    let mut names = records::entries(&layout.volumes())?;
    names.retain(|name| {
        let dir = layout.volumes().join(name);
        !name.starts_with('.')
            && dir.is_dir()
            && is_damaged(layout, name)
            && owner::is_of(&dir, project)
    });
    Ok(names)
}

/// All volumes, by name.
///
/// # Errors
/// [`EngineError::Failed`].
pub(in crate::engine::native) fn list(layout: &Layout) -> Result<Vec<VolumeRecord>> {
    let names = records::entries(&layout.volumes())?;
    names
        .iter()
        .filter(|name| !name.starts_with('.'))
        // Whose a broken record is nobody knows; who asks for it by name is told.
        .filter_map(|name| get(layout, name).transpose())
        .filter(Result::is_ok)
        .collect()
}

/// Removes a volume's files and record; a missing one is fine. Users are the caller's concern.
///
/// # Errors
/// [`EngineError::Failed`].
pub(in crate::engine::native) fn remove(layout: &Layout, name: &str) -> Result<()> {
    let failed = |error: io::Error| EngineError::failed(format!("remove volume {name}"), error);
    let dir = layout.volumes().join(name);
    if !dir.exists() {
        return Ok(());
    }
    // What is mounted there is not the volume's own, and must not be removed with it.
    device::unmount(layout, name)?;
    // A full disk takes no new file for the lock; a sweep is all that it would keep out.
    let _held = lock(layout, Hold::Shared);
    // Renamed first: a crash half way leaves no volume that looks whole.
    let doomed = layout.volumes().join(format!(".{name}"));
    match std::fs::rename(&dir, &doomed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {
            fs::remove_tree(&doomed).map_err(failed)?;
            std::fs::rename(&dir, &doomed).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    fs::remove_tree(&doomed).map_err(failed)
}
