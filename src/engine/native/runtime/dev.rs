//! Device nodes of a container.
//!
//! In: the spec. Out: [`Node`]s with the numbers they have on the host, rules for the cgroup, and the nodes
//! themselves. Imports: `engine`, `sys`, `cgroup`. The default set as Docker and runc (`AllowedDevices`).

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mknodat, umask};

use super::message::step;
use super::rootfs::{Kind, Stage};
use crate::engine::native::cgroup::{DeviceAccess, DeviceKind, DeviceRule};
use crate::engine::spec::{ContainerSpec, Device};
use crate::engine::{EngineError, Result};
use crate::sys::fs::{Resolve, openat2};
use crate::sys::mount;

/// One device of the host as the container gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    target: PathBuf,
    source: PathBuf,
    kind: SFlag,
    number: u64,
    mode: u32,
    owner: (u32, u32),
    access: String,
}

/// Nodes of every container: name, major and minor number.
const DEFAULT: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// Links of every `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];
/// Not taken along from the host's `/dev`: they are the container's own.
const OWN: [&str; 10] = [
    "pts",
    "shm",
    "fd",
    "mqueue",
    "console",
    "ptmx",
    ".lxc",
    ".lxd-mounts",
    ".udev",
    "hugepages",
];

/// The devices a spec asks for, looked up on the host: those named, what lies in directories named, and
/// everything for a privileged container.
pub(super) fn nodes(spec: &ContainerSpec) -> Result<Vec<Node>> {
    let mut found = Vec::new();
    for device in &spec.devices {
        let before = found.len();
        collect(
            &device.source,
            Path::new(&device.target),
            device,
            &mut found,
        )
        .map_err(|errno| {
            let what = format!("add device {}", device.source.display());
            step(what)(errno)
        })?;
        if found.len() == before {
            let what = format!("add device {}", device.source.display());
            return Err(EngineError::failed(what, "not a device"));
        }
    }
    if spec.security.privileged {
        let all = Device {
            source: PathBuf::from("/dev"),
            target: "/dev".to_owned(),
            permissions: "rwm".to_owned(),
        };
        collect_dir(Path::new("/dev"), Path::new("/dev"), &all, &mut found, &OWN);
        let default = |node: &Node| {
            DEFAULT
                .iter()
                .any(|(name, ..)| node.target == Path::new("/dev").join(name))
        };
        found.retain(|node| !default(node));
    }
    Ok(found)
}

fn collect(
    source: &Path,
    target: &Path,
    device: &Device,
    found: &mut Vec<Node>,
) -> std::result::Result<(), Errno> {
    let stat = nix::sys::stat::stat(source)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
    if kind == SFlag::S_IFDIR {
        collect_dir(source, target, device, found, &[]);
    } else if kind == SFlag::S_IFCHR || kind == SFlag::S_IFBLK {
        found.push(Node {
            target: target.to_owned(),
            source: source.to_owned(),
            kind,
            number: stat.st_rdev,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            access: device.permissions.clone(),
        });
    }
    Ok(())
}

fn collect_dir(
    source: &Path,
    target: &Path,
    device: &Device,
    found: &mut Vec<Node>,
    skip: &[&str],
) {
    let entries = std::fs::read_dir(source).into_iter().flatten().flatten();
    // A link would be looked up on the host; what it names comes by its own name.
    let real = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
    let mut names: Vec<_> = real.map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names
        .iter()
        .filter(|name| !skip.iter().any(|own| *name == own))
    {
        // One that goes away meanwhile is no loss.
        let _ = collect(&source.join(name), &target.join(name), device, found);
    }
}

/// What the cgroup of a container lets it use.
///
/// # Errors
/// [`EngineError::Failed`] for a device that is not there, [`EngineError::Unsupported`] for a rule that
/// can't be read.
pub fn device_rules(spec: &ContainerSpec) -> Result<DeviceAccess> {
    if spec.security.privileged {
        return Ok(DeviceAccess::All);
    }
    let narrow = |number: u64| u32::try_from(number).ok();
    let mut rules: Vec<DeviceRule> = nodes(spec)?
        .iter()
        .map(|node| DeviceRule {
            kind: if node.kind == SFlag::S_IFBLK {
                DeviceKind::Block
            } else {
                DeviceKind::Char
            },
            major: narrow(major(node.number)),
            minor: narrow(minor(node.number)),
            access: node.access.clone(),
        })
        .collect();
    for text in &spec.device_cgroup_rules {
        rules.push(
            DeviceRule::parse(text).ok_or_else(|| EngineError::Unsupported {
                what: format!("device_cgroup_rules: `{text}` is not like `c 1:3 rwm`"),
            })?,
        );
    }
    Ok(DeviceAccess::Listed(rules))
}

/// Makes `/dev/null` and its like, the links, and the nodes asked for.
pub(super) fn make_nodes(stage: &mut Stage, nodes: &[Node], own_dev: bool) -> Result<()> {
    let old = umask(Mode::empty());
    let done = make_all(stage, nodes, own_dev);
    umask(old);
    done
}

fn make_all(stage: &mut Stage, nodes: &[Node], own_dev: bool) -> Result<()> {
    if own_dev {
        let dev = stage
            .root()
            .open_at(Path::new("/dev"), OFlag::O_DIRECTORY, 0);
        let dev = dev.map_err(step("open /dev"))?;
        for (name, major, minor) in DEFAULT {
            let node = Node {
                target: Path::new("/dev").join(name),
                source: Path::new("/dev").join(name),
                kind: SFlag::S_IFCHR,
                number: makedev(major, minor),
                mode: 0o666,
                owner: (0, 0),
                access: String::new(),
            };
            make(stage, &node)?;
        }
        for (to, name) in LINKS {
            match nix::unistd::symlinkat(to, &dev, name) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(step(format!("make /dev/{name}"))(errno)),
            }
        }
    }
    nodes.iter().try_for_each(|node| make(stage, node))
}

fn make(stage: &mut Stage, node: &Node) -> Result<()> {
    let name = node.target.display().to_string();
    let fail = || step(format!("make the device {name}"));
    let (Some(above), Some(leaf)) = (node.target.parent(), node.target.file_name()) else {
        return Err(fail()(Errno::EINVAL));
    };
    let above = stage.target(above, Kind::Dir)?;
    let mode = Mode::from_bits_truncate(node.mode);
    match mknodat(&above, leaf, node.kind, mode, node.number) {
        Ok(()) => {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
            let made =
                openat2(&above, Path::new(leaf), flags, 0, Resolve::NoLinks).map_err(fail())?;
            let (uid, gid) = node.owner;
            nix::unistd::fchownat(
                made.as_fd(),
                c"",
                Some(uid.into()),
                Some(gid.into()),
                nix::fcntl::AtFlags::AT_EMPTY_PATH,
            )
            .map_err(fail())
        }
        // In a user namespace nobody makes devices: the host's own is shown instead.
        Err(Errno::EPERM | Errno::EEXIST) => {
            let tree = mount::clone_tree(AT_FDCWD, &node.source, false).map_err(fail())?;
            // The node is the host's: nobody inside may change its mode or owner. Its device can be written to.
            let sealed = mount::Change {
                set: mount::attr::RDONLY,
                ..mount::Change::default()
            };
            mount::set_attr(&tree, sealed).map_err(fail())?;
            let target = stage.target(&node.target, Kind::File)?;
            stage.attach(tree, target, &name)
        }
        Err(errno) => Err(fail()(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_nodes_have_their_well_known_numbers() {
        for (name, major_number, minor_number) in DEFAULT {
            let found = nix::sys::stat::stat(&Path::new("/dev").join(name)).unwrap();
            assert_eq!(
                (major(found.st_rdev), minor(found.st_rdev)),
                (major_number, minor_number),
                "{name}"
            );
        }
    }
}
