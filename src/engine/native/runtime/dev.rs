//! Device nodes of a container.
//!
//! In: the spec, and edits of the devices it names. Out: [`Node`]s with the numbers they have on the host, rules for
//! the cgroup, and the nodes themselves. Imports: `base`, `engine`, `sys`, `cdi`, `cgroup`.
//! The default set as Docker and runc (`AllowedDevices`).

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mknodat, umask};

use super::message::step;
use super::rootfs::{Kind, Stage};
use super::user::User;
use crate::engine::native::cdi::{Edits, NodeEdit};
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
    /// `None` is the process's own.
    owner: (Option<u32>, Option<u32>),
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
/// Not taken along from a directory. As runc: `GetDevices`.
const NOT_LISTED: [&str; 8] = [
    "pts",
    "shm",
    "fd",
    "mqueue",
    "console",
    ".lxc",
    ".lxd-mounts",
    ".udev",
];
/// Not taken along from the host's `/dev` besides: they are the container's own.
const OWN: [&str; 2] = ["/dev/ptmx", "/dev/hugepages"];

/// The devices a container gets, looked up on the host: those its spec names, what lies in directories named, those
/// of `edits`, and everything for a privileged one.
pub(super) fn nodes(spec: &ContainerSpec, edits: Option<&Edits>) -> Result<Vec<Node>> {
    let mut found = Vec::new();
    for device in &spec.devices {
        let what = || format!("add device {}", device.source.display());
        let before = found.len();
        collect(
            &device.source,
            Path::new(&device.target),
            device,
            &mut found,
        )
        .map_err(|errno| step(what())(errno))?;
        if found.len() == before {
            return Err(EngineError::failed(what(), "not a device"));
        }
    }
    for edit in edits.into_iter().flat_map(|edits| &edits.device_nodes) {
        let node = edited(edit)?;
        found.retain(|have| have.target != node.target);
        found.push(node);
    }
    if spec.security.privileged {
        let asked: Vec<PathBuf> = found.iter().map(|node| node.target.clone()).collect();
        let all = Device {
            source: PathBuf::from("/dev"),
            target: "/dev".to_owned(),
            permissions: "rwm".to_owned(),
        };
        let first = found.len();
        collect_dir(Path::new("/dev"), Path::new("/dev"), &all, &mut found);
        let default = |node: &Node| {
            let mut own = DEFAULT
                .iter()
                .map(|(name, ..)| Path::new("/dev").join(name));
            own.any(|path| path == node.target)
                || OWN.iter().any(|own| node.target == Path::new(own))
        };
        let mut at = 0;
        found.retain(|node| {
            at += 1;
            at <= first || !(default(node) || asked.contains(&node.target))
        });
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
        collect_dir(source, target, device, found);
    } else if kind == SFlag::S_IFCHR || kind == SFlag::S_IFBLK {
        found.push(Node {
            target: target.to_owned(),
            source: source.to_owned(),
            kind,
            number: stat.st_rdev,
            mode: stat.st_mode & 0o7777,
            owner: (Some(stat.st_uid), Some(stat.st_gid)),
            access: device.permissions.clone(),
        });
    }
    Ok(())
}

fn collect_dir(source: &Path, target: &Path, device: &Device, found: &mut Vec<Node>) {
    let entries = std::fs::read_dir(source).into_iter().flatten().flatten();
    // A link would be looked up on the host; what it names comes by its own name.
    let real = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
    let mut names: Vec<_> = real.map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names
        .iter()
        .filter(|name| !NOT_LISTED.iter().any(|own| *name == own))
    {
        // One that goes away meanwhile is no loss.
        let _ = collect(&source.join(name), &target.join(name), device, found);
    }
}

/// A node as a description wants it; what that leaves open is as on the host.
fn edited(edit: &NodeEdit) -> Result<Node> {
    let source = edit.source();
    let what = || format!("add device {}", source.display());
    let mut kind = match edit.kind.as_str() {
        "b" => Some(SFlag::S_IFBLK),
        "c" | "u" => Some(SFlag::S_IFCHR),
        "p" => Some(SFlag::S_IFIFO),
        _ => None,
    };
    let mut number = makedev(edit.major.into(), edit.minor.into());
    if kind.is_none() || (edit.major == 0 && kind != Some(SFlag::S_IFIFO)) {
        let stat = nix::sys::stat::stat(source).map_err(step(what()))?;
        let there = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
        if ![SFlag::S_IFBLK, SFlag::S_IFCHR, SFlag::S_IFIFO].contains(&there) {
            return Err(EngineError::failed(what(), "not a device"));
        }
        if kind.is_some_and(|kind| kind != there) {
            return Err(EngineError::failed(
                what(),
                "it is of another type than its description says",
            ));
        }
        kind = Some(there);
        if edit.major == 0 {
            number = stat.st_rdev;
        }
    }
    let access = match edit.permissions.as_str() {
        "" => "rwm",
        "none" => "",
        some => some,
    };
    Ok(Node {
        target: PathBuf::from(&edit.path),
        source: source.to_owned(),
        kind: kind.unwrap_or(SFlag::S_IFCHR),
        number,
        mode: edit.file_mode.unwrap_or(0o666) & 0o7777,
        owner: (edit.uid, edit.gid),
        access: access.to_owned(),
    })
}

/// What the cgroup of a container lets it use.
///
/// # Errors
/// [`EngineError::Failed`] for a device that is not there, [`EngineError::Unsupported`] for a rule that
/// can't be read.
pub fn device_rules(spec: &ContainerSpec, edits: Option<&Edits>) -> Result<DeviceAccess> {
    if spec.security.privileged {
        return Ok(DeviceAccess::All);
    }
    let mut rules = Rules::default();
    for node in nodes(spec, edits)? {
        let narrow = |number: u64| u32::try_from(number).ok();
        let kind = match node.kind {
            SFlag::S_IFBLK => DeviceKind::Block,
            SFlag::S_IFCHR => DeviceKind::Char,
            _ => continue,
        };
        rules.allow(
            kind,
            narrow(major(node.number)),
            narrow(minor(node.number)),
            &node.access,
        );
    }
    for text in &spec.device_cgroup_rules {
        let rule = DeviceRule::parse(text).ok_or_else(|| EngineError::Unsupported {
            what: format!("device_cgroup_rules: `{text}` is not like `c 1:3 rwm`"),
        })?;
        // Version 1 takes an `a` for everything, whatever stands behind it.
        let kinds = match rule.kind {
            DeviceKind::Any => vec![DeviceKind::Block, DeviceKind::Char],
            kind => vec![kind],
        };
        for kind in kinds {
            rules.allow(kind, rule.major, rule.minor, &rule.access);
        }
    }
    Ok(DeviceAccess::Listed(rules.0))
}

/// Rules, one for each device: the kernel looks for a single one that allows all that is asked.
#[derive(Default)]
struct Rules(Vec<DeviceRule>);

impl Rules {
    fn allow(&mut self, kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: &str) {
        if access.is_empty() {
            return;
        }
        let same =
            |rule: &&mut DeviceRule| (rule.kind, rule.major, rule.minor) == (kind, major, minor);
        match self.0.iter_mut().find(same) {
            Some(rule) => {
                let held =
                    |letter: &char| rule.access.contains(*letter) || access.contains(*letter);
                rule.access = "rwm".chars().filter(held).collect();
            }
            None => self.0.push(DeviceRule {
                kind,
                major,
                minor,
                access: access.to_owned(),
            }),
        }
    }
}

/// Makes `/dev/null` and its like, the links, and the nodes asked for.
///
/// `user` looks up whom the process runs as, for nodes that are to be its own.
pub(super) fn make_nodes(
    stage: &mut Stage,
    nodes: &[Node],
    own_dev: bool,
    user: impl FnOnce(&Stage) -> Result<User>,
) -> Result<()> {
    let mut nodes = nodes.to_vec();
    if nodes
        .iter()
        .any(|node| node.owner.0.is_none() || node.owner.1.is_none())
    {
        let user = user(stage)?;
        for node in &mut nodes {
            let (uid, gid) = &mut node.owner;
            uid.get_or_insert(user.uid);
            gid.get_or_insert(user.gid);
        }
    }
    let old = umask(Mode::empty());
    let done = make_all(stage, &nodes, own_dev);
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
                owner: (Some(0), Some(0)),
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
                uid.map(Into::into),
                gid.map(Into::into),
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
