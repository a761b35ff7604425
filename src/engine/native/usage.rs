//! What containers and volumes need: images they must keep, and the disk.
//!
//! In: records. Out: [`ImageUser`]s and a [`Usage`]. Nothing is changed. Imports: `records`, `volumes`, `sys::measure`.

use std::path::PathBuf;

use super::records::Found;
use super::{Native, volumes};
use crate::engine::Result;
use crate::engine::spec::MountSource;
use crate::engine::state::{ContainerUsage, ImageUser, Usage, VolumeUsage};
use crate::sys::measure;

/// Who uses which image: each container the one it starts from, and those it mounts.
pub(super) fn image_users(all: &[Found]) -> Vec<ImageUser> {
    let mut users = Vec::new();
    for found in all {
        let spec = &found.record.spec;
        let mounted = spec.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Image { image, .. } => Some(image),
            _ => None,
        });
        for image in std::iter::once(&spec.image).chain(mounted) {
            users.push(ImageUser {
                id: spec.id.clone(),
                name: found.standing.name.clone(),
                running: found.state().is_up(),
                image: image.id,
                layers: image.layers.clone(),
            });
        }
    }
    users
}

/// All volumes. Of those whose files lie elsewhere, the place is where they are mounted.
pub(super) fn volumes(native: &Native, all: &[Found]) -> Result<Vec<VolumeUsage>> {
    let records = volumes::list(&native.layout)?.into_iter();
    let one = |record: volumes::VolumeRecord| VolumeUsage {
        anonymous: is_anonymous(&record.spec.name),
        size: None,
        place: volumes::files(&native.layout, &record.spec.name),
        volume: Native::observed_volume(record, all),
    };
    Ok(records.map(one).collect())
}

/// A volume without a name of its own is called by 64 hex digits, as docker's.
fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Measures everything, several directories at a time.
pub(super) fn measure(native: &Native) -> Result<Usage> {
    let all = native.everywhere()?;
    let mut volumes = volumes(native, &all)?;
    let mut roots: Vec<PathBuf> = Vec::new();
    for found in &all {
        roots.extend([found.dir.upper(), found.dir.log()]);
    }
    // What is mounted from elsewhere takes nothing of this disk, and a server may not answer.
    let own: Vec<bool> = (volumes.iter())
        .map(|one| volumes::is_own(&native.layout, &one.volume.name))
        .collect();
    let places = volumes.iter().zip(&own).filter(|(_, own)| **own);
    roots.extend(places.map(|(one, _)| one.place.clone()));
    let mut sizes = measure::trees(&roots).into_iter();
    let mut next = || sizes.next().unwrap_or_default();
    let containers = all.iter().map(|found| ContainerUsage {
        container: found.observed(),
        written: next(),
        log: next(),
    });
    let containers = containers.collect();
    for (one, own) in volumes.iter_mut().zip(own) {
        one.size = own.then(&mut next);
    }
    Ok(Usage {
        containers,
        volumes,
    })
}
