//! What a container mounts: of the host, of volumes, of images, of memory.
//!
//! Imports: `base`, `compose::model`, `engine::spec`. Source: compose-spec, `volumes`, `tmpfs`, `volumes_from`; moby
//! `daemon/create_unix.go` for anonymous volumes of the image.

use std::path::Component;

use super::{Desired, Facts, Replica};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::name::ServiceName;
use crate::base::span::{Span, Spanned};
use crate::compose::model::{Recursion, Service, VolumeMount, VolumeSource, VolumesFrom};
use crate::engine::spec::{ImageRef, InjectedFile, Labels, Mount, MountSource};
use crate::image::digest::Digest;

/// All mounts, the shallow ones first. Of several with one target the service's own wins over
/// `volumes_from`, and that over the image's volumes.
pub(super) fn mounts(
    desired: &Desired,
    service: &Service,
    replica: &Replica<'_>,
    files: &[InjectedFile],
    found: &mut Diagnostics,
) -> Vec<Mount> {
    let mut all: Vec<Mount> = Vec::new();
    for mount in &service.volumes {
        let made = source(desired, mount, replica, found);
        all.extend(made.map(|source| Mount {
            target: tidy(&mount.value.target),
            source,
            read_only: mount.value.read_only,
        }));
    }
    for (target, options) in &service.tmpfs {
        if let Some(unknown) = options.iter().find(|option| !is_tmpfs_option(option)) {
            let text = format!(
                "`{unknown}` is not an option of a tmpfs, which `tmpfs` asks for at {target}"
            );
            let hint = format!("the options are {}", TMPFS_WORDS.join(", "));
            found.push(Diagnostic::error(text).at(service.span).hint(hint));
        }
        all.push(Mount {
            target: tidy(target),
            source: tmpfs(options),
            read_only: options.iter().any(|o| o == "ro"),
        });
    }
    for from in &service.volumes_from {
        let mounts = match from {
            VolumesFrom::Service(name, _) => of_service(desired, name, replica, found),
            VolumesFrom::Container(name, read_only) => {
                of_container(desired, service, (name, *read_only), found)
            }
        };
        for mount in mounts {
            add(&mut all, mount);
        }
    }
    for target in &replica.image.run.volumes {
        let target = tidy(target);
        if !files.iter().any(|file| file.target == target) {
            let source = anonymous(&target, replica, false, &Labels::new());
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
fn anonymous(target: &str, replica: &Replica<'_>, nocopy: bool, labels: &Labels) -> MountSource {
    let fresh = || Digest::of(format!("{}{target}", replica.id).as_bytes()).hex();
    let name = replica.anonymous.get(target).cloned().unwrap_or_else(fresh);
    MountSource::Volume {
        name,
        subpath: None,
        nocopy,
        anonymous: true,
        labels: labels.clone(),
    }
}

fn source(
    desired: &Desired,
    mount: &Spanned<VolumeMount>,
    replica: &Replica<'_>,
    found: &mut Diagnostics,
) -> Option<MountSource> {
    let project = &desired.project;
    let span = mount.span;
    Some(match &mount.value.source {
        VolumeSource::Bind {
            path,
            create_host_path,
            propagation,
            recursive,
            idmap,
            ..
        } => {
            for fault in bind_faults(&desired.facts, &mount.value, span) {
                found.push(fault);
            }
            MountSource::Bind {
                path: path.clone(),
                create: *create_host_path,
                propagation: *propagation,
                recursive: recursive.shows(),
                writable_below: *recursive == Recursion::Writable,
                idmap: *idmap,
            }
        }
        VolumeSource::Volume {
            key,
            nocopy,
            subpath,
            labels,
        } => {
            subpath_is_below(subpath.as_deref(), span, found);
            let Some(key) = key else {
                let mut made = anonymous(&tidy(&mount.value.target), replica, *nocopy, labels);
                if let MountSource::Volume {
                    subpath: inside, ..
                } = &mut made
                {
                    inside.clone_from(subpath);
                }
                return Some(made);
            };
            let Some(volume) = project.volumes.get(key) else {
                found.push(Diagnostic::error(format!("undefined volume `{key}`")).at(span));
                return None;
            };
            MountSource::Volume {
                name: volume.name.clone(),
                subpath: subpath.clone(),
                nocopy: *nocopy,
                anonymous: false,
                labels: Labels::new(),
            }
        }
        VolumeSource::Tmpfs { size, mode } => MountSource::Tmpfs {
            size: size.map(|size| size.0),
            mode: *mode,
            options: Vec::new(),
        },
        VolumeSource::Image { image, subpath } => {
            subpath_is_below(subpath.as_deref(), span, found);
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

/// What is wrong with a bind mount on this machine.
fn bind_faults(facts: &Facts, mount: &VolumeMount, span: Option<Span>) -> Vec<Diagnostic> {
    let VolumeSource::Bind {
        path,
        create_host_path,
        propagation,
        recursive,
        selinux,
        idmap,
    } = &mount.source
    else {
        return Vec::new();
    };
    let shown = path.display();
    let mut faults = Vec::new();
    if !create_host_path && facts.missing.contains(path) {
        let hint = "make it, or write `bind: {create_host_path: true}`";
        let text = format!("bind source path does not exist: {shown}");
        faults.push(Diagnostic::error(text).at(span).hint(hint));
    }
    if *recursive == Recursion::Readonly && !mount.read_only {
        let text = "`recursive: readonly` is for mounts that are read-only";
        let hint = "write `read_only: true` beside `source`";
        faults.push(Diagnostic::error(text).at(span).hint(hint));
    }
    if idmap.is_some() && propagation.is_some() {
        let text = "`x-hoist.idmap` and `bind.propagation` can't be combined: a mount that is mapped is the container's own";
        let hint = "drop one of them";
        faults.push(Diagnostic::error(text).at(span).hint(hint));
    }
    if selinux.is_some() && facts.selinux {
        let text = format!("SELinux guards this host, and {shown} is not relabelled");
        let hint =
            format!("if the container may not read it, run `chcon -Rt container_file_t {shown}`");
        faults.push(Diagnostic::warning(text).at(span).hint(hint));
    }
    faults
}

/// As Docker: a subpath lies below what it is a part of.
fn subpath_is_below(subpath: Option<&str>, span: Option<Span>, found: &mut Diagnostics) {
    let Some(subpath) = subpath else { return };
    let leaves = std::path::Path::new(subpath)
        .components()
        .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
    let text = format!("the subpath `{subpath}` must be relative and without `..`");
    if leaves {
        let hint = "write for example `subpath: a/b`";
        found.push(Diagnostic::error(text).at(span).hint(hint));
    }
}

/// Options that `tmpfs` knows besides those with a value. Source: tmpfs(5), mount(8).
const TMPFS_WORDS: [&str; 15] = [
    "size=",
    "mode=",
    "uid=",
    "gid=",
    "nr_inodes=",
    "nr_blocks=",
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "defaults",
];

fn is_tmpfs_option(option: &str) -> bool {
    let quiet = ["", "async", "relatime"].contains(&option);
    quiet
        || TMPFS_WORDS
            .iter()
            .any(|known| match known.strip_suffix('=') {
                Some(_) => option.starts_with(known),
                None => option == *known,
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

/// Mounts of a container that the project does not make. As Docker: what of it is in memory stays its own.
fn of_container(
    desired: &Desired,
    service: &Service,
    (name, read_only): (&String, bool),
    found: &mut Diagnostics,
) -> Vec<Mount> {
    let Some(mounts) = desired.facts.mounts_of.get(name) else {
        let text = format!(
            "service `{}` wants the volumes of container `{name}`, which does not exist",
            service.name
        );
        let hint = "`hoist ls` and `hoist ps` show what there is; start its project first";
        found.push(Diagnostic::error(text).at(service.span).hint(hint));
        return Vec::new();
    };
    let shared = |mount: &Mount| {
        let mut mount = mount.clone();
        mount.read_only |= read_only;
        if let MountSource::Volume {
            anonymous, nocopy, ..
        } = &mut mount.source
        {
            // It stays with the container it belongs to.
            (*anonymous, *nocopy) = (false, true);
        }
        mount
    };
    mounts.iter().map(shared).collect()
}

/// Mounts of another service's first container. As Compose: its `:ro` does not take writing away.
fn of_service(
    desired: &Desired,
    name: &ServiceName,
    replica: &Replica<'_>,
    found: &mut Diagnostics,
) -> Vec<Mount> {
    let Some(other) = desired.project.services.get(name) else {
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
        if named && let Some(source) = source(desired, mount, replica, found) {
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
            labels: Labels::new(),
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
