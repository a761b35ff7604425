//! What a container's mounts need on the host before it starts: volumes, missing bind sources, the image's files.
//!
//! Imports: `engine`, `image`, `sys`; beside it `idmap`, `volumes`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Native, idmap, volumes};
use crate::engine::spec::{ContainerSpec, Labels, MountSource, VolumeSpec};
use crate::engine::{EngineError, Result};
use crate::sys::fs::{self, Root};

impl Native {
    /// Makes what a container's mounts need on the host: volumes, missing bind sources, copied content.
    pub(super) fn prepare_mounts(&self, spec: &ContainerSpec) -> Result<()> {
        let mut image = None;
        for mount in &spec.mounts {
            match &mount.source {
                MountSource::Bind {
                    path,
                    create,
                    idmap,
                    ..
                } => {
                    if *create && !path.exists() {
                        let owner = match idmap {
                            // It is the container user's by its map.
                            Some(map) => Some(idmap::owner_of_new(path, *map)?),
                            None => idmap::service_user(&self.layout, spec)?,
                        };
                        make_source(path, owner)?;
                    }
                    bind_source(spec, path)?;
                }
                MountSource::Volume {
                    name,
                    anonymous,
                    nocopy,
                    labels,
                    ..
                } => {
                    if *anonymous {
                        volumes::create(&self.layout, &anonymous_volume(spec, name, labels))?;
                    }
                    if !nocopy {
                        self.fill(spec, name, &mount.target, &mut image)?;
                    }
                }
                MountSource::Tmpfs { .. } | MountSource::Image { .. } => {}
            }
        }
        Ok(())
    }

    /// Gives an empty volume what the image has at its place.
    fn fill(
        &self,
        spec: &ContainerSpec,
        name: &str,
        target: &str,
        image: &mut Option<volumes::Image>,
    ) -> Result<()> {
        let mounted = volumes::file_system(&self.layout, name)?;
        if mounted.as_ref().is_some_and(|fs| fs.is_memory()) {
            // It begins empty with its first user, whatever was put there now.
            return Ok(());
        }
        if mounted.is_some() {
            volumes::hold(&self.layout, name, &spec.id)?;
        }
        let filled = volumes::needs_content(&self.layout, name).and_then(|needed| {
            if needed {
                let image = self.view(spec, image)?;
                volumes::fill(&self.layout, name, image, target)?;
            }
            Ok(())
        });
        match mounted {
            Some(_) => filled.and(volumes::release(&self.layout, &spec.id)),
            None => filled,
        }
    }

    /// The image's files, opened on first use.
    fn view<'a>(
        &self,
        spec: &ContainerSpec,
        image: &'a mut Option<volumes::Image>,
    ) -> Result<&'a volumes::Image> {
        if image.is_none() {
            let view = self.store.layers().view(&spec.image.layers);
            let view = view.map_err(|error| {
                EngineError::failed(format!("read image {}", spec.image.name), error)
            })?;
            return Ok(image.insert(volumes::Image {
                view: Root::from_fd(view),
                layers: self.layout.lower(&spec.image.layers),
            }));
        }
        image
            .as_ref()
            .ok_or_else(|| EngineError::failed("read the image", "it was closed"))
    }
}

fn anonymous_volume(spec: &ContainerSpec, name: &str, labels: &Labels) -> VolumeSpec {
    let mut labels = labels.clone();
    labels.insert("com.docker.volume.anonymous".to_owned(), String::new());
    VolumeSpec {
        name: name.to_owned(),
        project: Some(spec.project.clone()),
        driver: "local".to_owned(),
        options: BTreeMap::new(),
        labels,
    }
}

/// Looks whether the source of a bind mount is there.
fn bind_source(spec: &ContainerSpec, path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let what = format!(
        "container {}: bind source path does not exist: {}; make it, or set \
         `bind: {{create_host_path: true}}`",
        spec.name,
        path.display()
    );
    Err(EngineError::Unsupported { what })
}

/// Makes the missing source of a bind mount, for the user who is to write there.
fn make_source(path: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let made = match owner.filter(|owner| *owner != (0, 0)) {
        None => fs::make_dirs(path, 0o755),
        Some(owner) => fs::make_owned_dirs(path, 0o755, owner),
    };
    made.map_err(|error| EngineError::failed(format!("make {}", path.display()), error))
}
