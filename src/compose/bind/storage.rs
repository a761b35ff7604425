//! Mounts, devices, configs and secrets of a service.
//!
//! In: canonical entries. Out: their typed form. Imports: `base`, `model`, `tree`.

use std::path::PathBuf;

use super::{Binder, flag, integer, labels, text};
use crate::base::name::ServiceName;
use crate::base::scalar::ByteSize;
use crate::base::span::Spanned;
use crate::base::term::Propagation;
use crate::compose::model::{
    DeviceSpec, FileGrant, Recursion, Relabel, VolumeMount, VolumeSource, VolumesFrom,
};
use crate::compose::tree::{Node, Value};

impl Binder<'_, '_> {
    pub(super) fn mount(&mut self, node: &Node) -> Option<Spanned<VolumeMount>> {
        let target = text(node, "target")?;
        if let Some(path) = node.text_of("source").filter(|path| is_drive(path)) {
            self.fault(node, drive_fault(path));
            return None;
        }
        if !target.starts_with('/') {
            let fault = match is_drive(&target) {
                true => drive_fault(&target),
                false => format!("the target `{target}` must be an absolute path"),
            };
            self.fault(node, fault);
            return None;
        }
        if node.text_of("type") != Some("bind") && self.idmap(node).is_some() {
            self.fault(node, "`x-hoist.idmap` is for mounts of type `bind`");
        }
        let source = self.mount_source(node)?;
        let mount = VolumeMount {
            target,
            source,
            read_only: flag(node, "read_only"),
            consistency: text(node, "consistency"),
        };
        Some(Spanned::new(mount, node.span))
    }

    /// `path[:options]` of `tmpfs`.
    pub(super) fn tmpfs(&mut self, node: &Node) -> Option<(String, Vec<String>)> {
        let text = node.as_text()?;
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        if !path.starts_with('/') {
            self.fault(
                node,
                format!("the target `{path}` must be an absolute path"),
            );
            return None;
        }
        let options = options
            .split(',')
            .filter(|option| !option.is_empty())
            .map(str::to_owned)
            .collect();
        Some((path.to_owned(), options))
    }

    fn mount_source(&mut self, node: &Node) -> Option<VolumeSource> {
        match node.text_of("type")? {
            "bind" => {
                let bind = node.get("bind");
                let create = bind.and_then(|bind| bind.get("create_host_path"));
                let recursive = bind.and_then(|bind| bind.text_of("recursive"));
                let propagation = bind.and_then(|bind| {
                    self.under("bind", |binder| {
                        binder.parse(bind, "propagation", "a mount propagation", propagation)
                    })
                });
                Some(VolumeSource::Bind {
                    path: PathBuf::from(text(node, "source")?),
                    create_host_path: bind.is_some()
                        && !matches!(create.map(|node| &node.value), Some(Value::Bool(false))),
                    propagation,
                    recursive: match recursive {
                        Some("disabled") => Recursion::Disabled,
                        Some("writable") => Recursion::Writable,
                        Some("readonly") => Recursion::Readonly,
                        _ => Recursion::Enabled,
                    },
                    selinux: match bind.and_then(|bind| bind.text_of("selinux")) {
                        Some("z") => Some(Relabel::Shared),
                        Some("Z") => Some(Relabel::Private),
                        _ => None,
                    },
                    idmap: self.idmap(node),
                })
            }
            "volume" => {
                let volume = node.get("volume");
                Some(VolumeSource::Volume {
                    key: text(node, "source"),
                    nocopy: volume.is_some_and(|volume| flag(volume, "nocopy")),
                    subpath: volume.and_then(|volume| text(volume, "subpath")),
                    labels: volume
                        .map(|volume| labels(volume, "labels"))
                        .unwrap_or_default(),
                })
            }
            "tmpfs" => {
                let tmpfs = node.get("tmpfs");
                let number = |key: &str| tmpfs.and_then(|tmpfs| integer(tmpfs, key));
                Some(VolumeSource::Tmpfs {
                    size: number("size")
                        .and_then(|n| u64::try_from(n).ok())
                        .map(ByteSize),
                    mode: number("mode").and_then(|n| u32::try_from(n).ok()),
                })
            }
            "image" => {
                let Some(image) = text(node, "source") else {
                    self.fault(node, "an image mount needs the key `source`");
                    return None;
                };
                let subpath = node.get("image").and_then(|image| text(image, "subpath"));
                Some(VolumeSource::Image { image, subpath })
            }
            kind => {
                self.fault(
                    node,
                    format!("mounts of type `{kind}` are not supported by hoist"),
                );
                None
            }
        }
    }

    pub(super) fn device(&mut self, node: &Node) -> Option<Spanned<DeviceSpec>> {
        let source = text(node, "source")?;
        let target = text(node, "target").unwrap_or_else(|| source.clone());
        let permissions = text(node, "permissions").unwrap_or_else(|| "rwm".to_owned());
        Some(Spanned::new(
            DeviceSpec {
                source,
                target,
                permissions,
            },
            node.span,
        ))
    }

    /// A config or secret a service gets; relative targets lie in `dir`.
    pub(super) fn grant(&mut self, node: &Node, dir: &str) -> Option<Spanned<FileGrant>> {
        let source = text(node, "source")?;
        let target = text(node, "target").unwrap_or_else(|| source.clone());
        let target = match target.starts_with('/') {
            true => target,
            false => format!("{dir}{target}"),
        };
        let id = |text: &str| text.parse::<u32>().ok();
        let uid = self.parse(node, "uid", "a user id; write a number", id);
        let gid = self.parse(node, "gid", "a group id; write a number", id);
        let octal = |text: &str| u32::from_str_radix(text, 8).ok();
        let mode = self.parse(node, "mode", "a file mode", octal);
        Some(Spanned::new(
            FileGrant {
                source,
                target,
                uid,
                gid,
                mode,
            },
            node.span,
        ))
    }

    pub(super) fn volumes_from(&mut self, node: &Node) -> Option<VolumesFrom> {
        let text = node.as_text()?;
        let (container, rest) = match text.strip_prefix("container:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (name, read_only) = match rest.rsplit_once(':') {
            Some((name, "ro")) => (name, true),
            Some((name, "rw")) => (name, false),
            Some((_, other)) => {
                self.fault(
                    node,
                    format!("unknown option `{other}`; the options are ro and rw"),
                );
                return None;
            }
            None => (rest, false),
        };
        Some(match container {
            true => VolumesFrom::Container(name.to_owned(), read_only),
            false => VolumesFrom::Service(ServiceName::from(name), read_only),
        })
    }
}

/// Whether a path starts with a drive's letter, as Compose reads a source of one letter.
fn is_drive(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.get(1) == Some(&b':')
}

fn drive_fault(path: &str) -> String {
    format!(
        "`{path}` reads as a Windows path; write the mount of a one-letter volume in the long form"
    )
}

fn propagation(text: &str) -> Option<Propagation> {
    Some(match text {
        "private" => Propagation::Private,
        "rprivate" => Propagation::Rprivate,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::Rshared,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::Rslave,
        _ => return None,
    })
}
