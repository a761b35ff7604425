//! What a container mounts: of the host, of volumes, of images, of memory.
//!
//! Imports: `base`, `compose::model`, `engine::spec`. Source: compose-spec, `volumes`, `tmpfs`, `volumes_from`; moby
//! `daemon/create_unix.go` for anonymous volumes of the image.

use super::Replica;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::Span;
use crate::compose::model::{Project, Service, VolumeMount, VolumeSource, VolumesFrom};
use crate::engine::spec::{ImageRef, InjectedFile, Mount, MountSource};
use crate::image::digest::Digest;

/// All mounts, the shallow ones first. Of several with one target the service's own wins over
/// `volumes_from`, and that over the image's volumes.
pub(super) fn mounts(
    project: &Project,
    service: &Service,
    replica: &Replica<'_>,
    files: &[InjectedFile],
    found: &mut Diagnostics,
) -> Vec<Mount> {
    let mut all: Vec<Mount> = Vec::new();
    for mount in &service.volumes {
        let made = source(project, &mount.value, replica, mount.span, found);
        all.extend(made.map(|source| Mount {
            target: tidy(&mount.value.target),
            source,
            read_only: mount.value.read_only,
        }));
    }
    for (target, options) in &service.tmpfs {
        all.push(Mount {
            target: tidy(target),
            source: tmpfs(options),
            read_only: options.iter().any(|o| o == "ro"),
        });
    }
    for from in &service.volumes_from {
        for mount in inherited(project, service, from, replica, found) {
            add(&mut all, mount);
        }
    }
    for target in &replica.image.run.volumes {
        let target = tidy(target);
        if !files.iter().any(|file| file.target == target) {
            let source = anonymous(&target, replica, false);
            add(
                &mut all,
                Mount {
                    target,
                    source,
                    read_only: false,
                },
            );
        }
    }
    all.sort_by_key(|mount| mount.target.matches('/').count() - usize::from(mount.target == "/"));
    all
}

fn add(all: &mut Vec<Mount>, mount: Mount) {
    if !all.iter().any(|have| have.target == mount.target) {
        all.push(mount);
    }
}

/// `/data/` → `/data`.
pub(super) fn tidy(target: &str) -> String {
    let parts: Vec<&str> = target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// A volume without a name: taken over from the container before, or named by container and target.
fn anonymous(target: &str, replica: &Replica<'_>, nocopy: bool) -> MountSource {
    let fresh = || Digest::of(format!("{}{target}", replica.id).as_bytes()).hex();
    let name = replica.anonymous.get(target).cloned().unwrap_or_else(fresh);
    MountSource::Volume {
        name,
        subpath: None,
        nocopy,
        anonymous: true,
    }
}

fn source(
    project: &Project,
    mount: &VolumeMount,
    replica: &Replica<'_>,
    span: Option<Span>,
    found: &mut Diagnostics,
) -> Option<MountSource> {
    Some(match &mount.source {
        VolumeSource::Bind {
            path,
            create_host_path,
            propagation,
            recursive,
            ..
        } => MountSource::Bind {
            path: path.clone(),
            create: *create_host_path,
            propagation: *propagation,
            recursive: recursive.shows(),
        },
        VolumeSource::Volume {
            key: None, nocopy, ..
        } => anonymous(&tidy(&mount.target), replica, *nocopy),
        VolumeSource::Volume {
            key: Some(key),
            nocopy,
            subpath,
            ..
        } => {
            let Some(volume) = project.volumes.get(key) else {
                found.push(Diagnostic::error(format!("undefined volume `{key}`")).at(span));
                return None;
            };
            MountSource::Volume {
                name: volume.name.clone(),
                subpath: subpath.clone(),
                nocopy: *nocopy,
                anonymous: false,
            }
        }
        VolumeSource::Tmpfs { size, mode } => MountSource::Tmpfs {
            size: size.map(|size| size.0),
            mode: *mode,
            options: Vec::new(),
        },
        VolumeSource::Image { image, subpath } => {
            let facts = replica.mount_images.get(image).cloned().unwrap_or_default();
            let id = facts.id.unwrap_or_else(|| Digest::of(b""));
            let image = ImageRef {
                name: image.clone(),
                id,
                layers: facts.layers,
            };
            MountSource::Image {
                image,
                subpath: subpath.clone(),
            }
        }
    })
}

/// `size=64m`, `mode=1777` are read; the other options go on as they are.
fn tmpfs(options: &[String]) -> MountSource {
    let (mut size, mut mode, mut rest) = (None, None, Vec::new());
    for option in options {
        match option.split_once('=') {
            Some(("size", text)) => match crate::base::scalar::parse_size(text) {
                Ok(bytes) => size = Some(bytes.0),
                Err(_) => rest.push(option.clone()),
            },
            Some(("mode", text)) => match u32::from_str_radix(text, 8) {
                Ok(bits) => mode = Some(bits),
                Err(_) => rest.push(option.clone()),
            },
            _ if option == "ro" || option == "rw" || option.is_empty() => {}
            _ => rest.push(option.clone()),
        }
    }
    MountSource::Tmpfs {
        size,
        mode,
        options: rest,
    }
}

/// Mounts of another service's first container. As Compose: its `:ro` does not take writing away.
fn inherited(
    project: &Project,
    service: &Service,
    from: &VolumesFrom,
    replica: &Replica<'_>,
    found: &mut Diagnostics,
) -> Vec<Mount> {
    let name = match from {
        VolumesFrom::Service(name, _) => name,
        VolumesFrom::Container(name, _) => {
            let text = format!(
                "service `{}`: volumes_from a container (`{name}`)",
                service.name
            );
            found.push(
                Diagnostic::error(format!("{text} is not available"))
                    .at(service.span)
                    .hint("name the volumes under `volumes` in both"),
            );
            return Vec::new();
        }
    };
    let Some(other) = project.services.get(name) else {
        return Vec::new();
    };
    let anonymous = (replica.peer)(name.as_str()).unwrap_or_default().anonymous;
    let mut all = Vec::new();
    for mount in &other.volumes {
        let named = match &mount.value.source {
            VolumeSource::Volume { key, .. } => key.is_some(),
            VolumeSource::Bind { .. } => true,
            _ => false,
        };
        if named && let Some(source) = source(project, &mount.value, replica, mount.span, found) {
            let target = tidy(&mount.value.target);
            all.push(Mount {
                target,
                source,
                read_only: mount.value.read_only,
            });
        }
    }
    for (target, name) in anonymous {
        // It stays with the container it belongs to.
        let source = MountSource::Volume {
            name,
            subpath: None,
            nocopy: true,
            anonymous: false,
        };
        add(
            &mut all,
            Mount {
                target,
                source,
                read_only: false,
            },
        );
    }
    all
}
