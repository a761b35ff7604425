//! What killed commands leave, and how the next one takes it away.
//!
//! What is looked for each time costs a listing of a directory; the rest only comes when [`super::turn`] tells that
//! a command was killed.
//! Imports: `base`, `engine`, `sys`; beside it `layout`, `records`, `volumes`, `net`, `supervisor`.

use std::io;
use std::path::Path;

use super::layout::{GONE, Layout};
use super::net::{self, Networks};
use super::records::{self, Record, Standing};
use super::{cgroup, held, volumes};
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::spec::MountSource;
use crate::engine::{EngineError, Result};
use crate::sys::fs;
use crate::sys::lock::{Hold, Lock};

fn left(error: io::Error) -> EngineError {
    EngineError::failed("remove what a killed command has left", error)
}

/// Takes away what is half made or half removed, of containers, networks and volumes. The caller has the project's lock.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn halves(layout: &Layout, project: &ProjectName) -> Result<()> {
    let containers = layout.containers(project);
    for name in records::entries(&containers)? {
        if name.starts_with('.') {
            let hidden = containers.join(&name);
            own_names(layout, &hidden);
            discard(layout, &hidden)?;
        }
    }
    prune(layout, project);
    Networks::open(layout.roots())?.sweep()?;
    volumes::sweep(layout)
}

/// Removes the hidden directory of a container that never came to be or that is going, and the anonymous volumes that
/// nobody else will ever find.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn discard(layout: &Layout, hidden: &Path) -> Result<()> {
    anonymous_volumes(layout, hidden);
    fs::remove_tree(hidden).map_err(left)
}

/// Gives back the names that a container has still whose hidden directory this is.
fn own_names(layout: &Layout, hidden: &Path) {
    let Ok(Some(Record { spec, .. })) = records::read(&hidden.join("record.json")) else {
        return;
    };
    let standing = records::read::<Standing>(&hidden.join("state.json"));
    let now = standing.ok().flatten().map(|standing| standing.name);
    for name in now.iter().chain([&spec.name]) {
        records::release_name(layout, name, &spec.project, &spec.id);
    }
}

/// Takes away the directories of a project that has no containers.
pub(super) fn prune(layout: &Layout, project: &ProjectName) {
    // They go only when they are empty; another command may be making a container just now.
    let containers = layout.containers(project);
    if std::fs::remove_dir(&containers).is_ok() || !containers.exists() {
        let _ = fs::remove_tree(&layout.dossiers(project));
        let _ = std::fs::remove_dir(layout.projects().join(project.as_str()));
    }
}

/// Removes the anonymous volumes of a container that never came to be, or that was to go with them.
fn anonymous_volumes(layout: &Layout, dir: &Path) {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(GONE) {
        return;
    }
    let Ok(Some(record)) = records::read::<Record>(&dir.join("record.json")) else {
        return;
    };
    // A command that was killed while it filled one had it mounted.
    let _ = volumes::release(layout, &record.spec.id);
    for mount in &record.spec.mounts {
        if let MountSource::Volume {
            name,
            anonymous: true,
            ..
        } = &mount.source
            && !is_used(layout, name)
        {
            // A volume that stays is no harm; `down -v` finds it by its labels.
            let _ = volumes::remove(layout, name);
        }
    }
}

/// Whether a container of any project mounts a volume, or may do so: of one that can't be read nobody knows.
fn is_used(layout: &Layout, volume: &str) -> bool {
    let uses = |record: Result<Option<Record>>| match record {
        Ok(Some(record)) => record.spec.mounts.iter().any(
            |mount| matches!(&mount.source, MountSource::Volume { name, .. } if name == volume),
        ),
        Ok(None) => false,
        Err(_) => true,
    };
    let projects = records::entries(&layout.projects()).unwrap_or_default();
    let projects = projects
        .iter()
        .filter_map(|name| ProjectName::new(name).ok());
    projects
        .flat_map(|project| {
            let ids = records::ids(layout, &project).unwrap_or_default();
            ids.into_iter()
                .map(move |id| layout.container(&project, &id).record())
        })
        .any(|record| uses(records::read(&record)))
}

/// Takes away names without a container, and what is in the kernel and in `<run>` of containers without a record.
/// The caller has the project's lock; of other projects only what can't be about to be used goes.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn remains(layout: &Layout, project: &ProjectName) -> Result<()> {
    names(layout, project)?;
    let held = records::entries(&layout.all_held())?;
    for id in records::entries(&layout.runs())?.into_iter().chain(held) {
        let id = ContainerId::new(id);
        let missing = matches!(
            records::locate(layout, &id),
            Err(EngineError::NotFound { .. })
        );
        if missing {
            stray(layout, &id)?;
        }
    }
    Ok(())
}

fn names(layout: &Layout, project: &ProjectName) -> Result<()> {
    for name in records::entries(&layout.names())? {
        let path = layout.name(&name);
        let Some((owner, id)) = records::holder(&path) else {
            // Neither form that was ever written: a draft of an older version, cut short.
            if name.starts_with('.') {
                std::fs::remove_file(&path).map_err(left)?;
            }
            continue;
        };
        let dir = layout.container(&owner, &id);
        // A name is taken when the container is there: without one it is nobody's.
        let misnamed = || {
            let standing = records::read::<Standing>(&dir.state()).ok().flatten();
            let record = records::read::<Record>(&dir.record()).ok().flatten();
            let first = record.is_none_or(|record| record.spec.name == name);
            owner == *project && !first && standing.is_some_and(|now| now.name != name)
        };
        if name.starts_with('.') || !dir.data.exists() || misnamed() {
            records::release_name(layout, &name, &owner, &id);
        }
    }
    Ok(())
}

/// Takes away what a container without a record has: its supervisor was killed, or comes too late.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn stray(layout: &Layout, id: &ContainerId) -> Result<()> {
    let run = layout.run(id);
    let alone = match Lock::try_acquire(&run.join("lock"), Hold::Exclusive) {
        Ok(Some(lock)) => Some(lock),
        // It lives, and will find that it has nothing to do.
        Ok(None) => return Ok(()),
        Err(_) => None,
    };
    drop(net::unpublish(id));
    if let Ok(Some(live)) = records::read::<records::Live>(&layout.live(id)) {
        let places = live.networks.into_iter();
        net::forget(&places.flat_map(|place| place.addresses).collect::<Vec<_>>());
    }
    let _ = net::unpin(&layout.netns(id));
    let _ = net::disconnect(id);
    let _ = volumes::release(layout, id);
    if let Some(cgroup) = cgroup::Cgroup::find(id.as_str(), None) {
        let _ = cgroup.kill();
        let _ = cgroup.remove();
    }
    fs::remove_tree(&run).map_err(left)?;
    drop(alone);
    held::release(layout, id)
}
