//! What is mounted into a container: `/proc`, `/dev`, `/sys`, the cgroup, the user's own mounts, and the
//! masks over what must not be seen.
//!
//! Imports: `engine`, `volumes`, `sys`. Lists as Docker: `daemon/pkg/oci/defaults.go`. Runs in the child.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, fstat};

use super::message::step;
use super::rootfs::{Kind, Stage, new_mount};
use super::{Birth, BirthMount, BirthSource, ReadOnly, memory};
use crate::engine::native::volumes;
use crate::engine::spec::{Ipc, Propagation, Share};
use crate::engine::{EngineError, Result};
use crate::sys::fs::{self, Resolve, Root, is_kind, openat2};
use crate::sys::mount::{self, Change, Overlay, attr};
use crate::sys::mountinfo;

/// Hidden behind an empty file or directory.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Can be read only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Files of `/proc` that a mount may lie on: what lxcfs replaces. As runc: `checkProcMount`.
const PROC_TARGETS: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/net/dev",
];

/// Nothing in the mount may run, be a device, or change the user.
const QUIET: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;
/// Size of `/dev/shm` in bytes. As Docker: `DefaultShmSize`.
const SHM_SIZE: u64 = 64 << 20;

/// Host trees, cloned before the mount namespace is cut off from the host's, so that a shared one stays
/// shared; in the order of [`Birth::mounts`].
pub(super) fn clone_sources(mounts: &[BirthMount]) -> Result<Vec<Option<OwnedFd>>> {
    mounts
        .iter()
        .map(|mount| clone_source(&mount.source))
        .collect()
}

fn clone_source(source: &BirthSource) -> Result<Option<OwnedFd>> {
    match source {
        BirthSource::Path {
            path,
            recursive,
            propagation,
        }
        | BirthSource::Described {
            path,
            recursive,
            propagation,
            ..
        } => {
            spreads(path, *propagation)?;
            let cloned = mount::clone_tree(AT_FDCWD, path, *recursive);
            cloned.map(Some).map_err(|errno| match errno {
                Errno::ENOENT => EngineError::Unsupported {
                    what: format!("bind source path does not exist: {}", path.display()),
                },
                errno => step(format!("bind {}", path.display()))(errno),
            })
        }
        BirthSource::Beneath { root, path } => {
            let name = || {
                root.join(path.strip_prefix("/").unwrap_or(path))
                    .display()
                    .to_string()
            };
            let open = Root::open(root).and_then(|root| root.open_at(path, OFlag::O_PATH, 0));
            let cloned = open.and_then(|found| mount::clone_tree(found, Path::new(""), true));
            cloned.map(Some).map_err(step(format!("bind {}", name())))
        }
        BirthSource::Volume {
            name,
            place,
            subpath,
            ..
        } => {
            let found = volumes::open(name, place, subpath.as_deref())?;
            let cloned = mount::clone_tree(found, Path::new(""), true);
            cloned
                .map(Some)
                .map_err(step(format!("mount volume {name}")))
        }
        _ => Ok(None),
    }
}

/// Looks whether mounts can spread to or from where a path lies. As Docker: `daemon/oci_linux.go`, `ensureShared`.
fn spreads(path: &Path, wanted: Option<Propagation>) -> Result<()> {
    let (kind, needs_shared) = match wanted {
        Some(Propagation::Shared | Propagation::Rshared) => ("shared", true),
        Some(Propagation::Slave | Propagation::Rslave) => ("slave", false),
        _ => return Ok(()),
    };
    let shown = path.display();
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let found = nix::fcntl::open(path, flags, Mode::empty());
    let found = found.map_err(step(format!("open {shown}")))?;
    let point = mountinfo::of(&found)
        .map_err(|error| EngineError::failed(format!("look where {shown} is mounted"), error))?;
    match point {
        Some(point) if !point.shared && (needs_shared || !point.slave) => {
            let at = point.at.display();
            Err(EngineError::Unsupported {
                what: format!(
                    "the propagation of {shown} is to be {kind}, but it lies on the mount {at}, which is not shared: \
                     run `mount --make-shared {at}`"
                ),
            })
        }
        _ => Ok(()),
    }
}

/// Whether the user mounts something of their own at a default mount's place or above it.
pub(super) fn replaced(birth: &Birth<'_>, path: &str) -> bool {
    birth
        .mounts
        .iter()
        .any(|mount| Path::new(path).starts_with(fs::clean(Path::new(&mount.target))))
}

/// Mounts `/proc`, `/dev`, `/sys` and what lies in them.
pub(super) fn mount_defaults(stage: &mut Stage, birth: &Birth<'_>) -> Result<()> {
    let proc = stage.plain_dir("/proc")?;
    stage.attach(new_mount(c"proc", &[], QUIET)?, proc, "/proc")?;
    if !replaced(birth, "/dev") {
        let options = [("mode", "755".to_owned()), ("size", "65536k".to_owned())];
        let dev = stage.plain_dir("/dev")?;
        stage.attach(
            new_mount(c"tmpfs", &options, attr::NOSUID | attr::STRICTATIME)?,
            dev,
            "/dev",
        )?;
    }
    if !replaced(birth, "/dev/pts") {
        let terminals = [
            ("ptmxmode", "0666".to_owned()),
            ("mode", "0620".to_owned()),
            ("gid", "5".to_owned()),
        ];
        let pts = stage.plain_dir("/dev/pts")?;
        let made = new_mount(c"devpts", &terminals, attr::NOSUID | attr::NOEXEC)?;
        stage.attach(made, pts, "/dev/pts")?;
    }
    mount_ipc(stage, birth)?;
    mount_sys(stage, birth)
}

fn mount_ipc(stage: &mut Stage, birth: &Birth<'_>) -> Result<()> {
    let ipc = &birth.spec.namespaces.ipc;
    if *ipc != Ipc::None && !replaced(birth, "/dev/shm") {
        let shm = stage.plain_dir("/dev/shm")?;
        let made = if *ipc == Ipc::Host {
            mount::clone_tree(AT_FDCWD, Path::new("/dev/shm"), false)
                .map_err(step("bind the host's /dev/shm"))?
        } else {
            let size = birth.spec.shm_size.unwrap_or(SHM_SIZE).to_string();
            new_mount(
                c"tmpfs",
                &[
                    ("source", "shm".to_owned()),
                    ("mode", "1777".to_owned()),
                    ("size", size),
                ],
                QUIET,
            )?
        };
        stage.attach(made, shm, "/dev/shm")?;
    }
    if !replaced(birth, "/dev/mqueue") {
        // A kernel without POSIX queues has no such file system.
        if let Ok(made) = new_mount(c"mqueue", &[], QUIET) {
            let queues = stage.plain_dir("/dev/mqueue")?;
            stage.attach(made, queues, "/dev/mqueue")?;
        }
    }
    Ok(())
}

fn mount_sys(stage: &mut Stage, birth: &Birth<'_>) -> Result<()> {
    if replaced(birth, "/sys") {
        return Ok(());
    }
    let privileged = birth.spec.security.privileged;
    let sealed = |open: bool| if open { 0 } else { attr::RDONLY };
    let read_only = sealed(privileged);
    let sys = stage.plain_dir("/sys")?;
    stage.attach(new_mount(c"sysfs", &[], QUIET | read_only)?, sys, "/sys")?;
    if replaced(birth, "/sys/fs/cgroup") {
        return Ok(());
    }
    let read_only = sealed(privileged || birth.spec.security.writable_cgroups);
    let target = stage.plain_dir("/sys/fs/cgroup")?;
    let change = Change {
        set: QUIET | read_only,
        recursive: true,
        ..Change::default()
    };
    let bind = |dir: &Path, recursive| {
        let made = mount::clone_tree(AT_FDCWD, dir, recursive)?;
        mount::set_attr(&made, change)?;
        Ok(made)
    };
    let fail = || step("bind the container's cgroup");
    if birth.spec.namespaces.cgroup == Share::Host {
        let all = bind(Path::new("/sys/fs/cgroup"), true).map_err(fail())?;
        return stage.attach(all, target, "/sys/fs/cgroup");
    }
    let paths = birth.cgroup.paths();
    if let [only] = paths.as_slice()
        && only.name.is_empty()
    {
        let own = bind(&only.dir, false).map_err(fail())?;
        return stage.attach(own, target, "/sys/fs/cgroup");
    }
    let all = new_mount(c"tmpfs", &[("mode", "755".to_owned())], QUIET)?;
    stage.attach(&all, target, "/sys/fs/cgroup")?;
    for path in &paths {
        let place = stage.plain_dir(&format!("/sys/fs/cgroup/{}", path.name))?;
        stage.attach(
            bind(&path.dir, false).map_err(fail())?,
            place,
            "/sys/fs/cgroup",
        )?;
        for alias in path
            .controllers
            .iter()
            .filter(|alias| **alias != path.name && !alias.contains('='))
        {
            // Controllers that share a hierarchy are found under each name.
            let _ = nix::unistd::symlinkat(path.name.as_str(), &all, alias.as_str());
        }
    }
    mount::set_attr(
        &all,
        Change {
            set: read_only,
            ..Change::default()
        },
    )
    .map_err(step("make /sys/fs/cgroup read-only"))
}

/// Mounts what the user asked for; `cloned` are the trees of [`clone_sources`].
pub(super) fn mount_users(
    stage: &mut Stage,
    mounts: &[BirthMount],
    cloned: Vec<Option<OwnedFd>>,
) -> Result<()> {
    let written = memory::files(stage, mounts)?;
    for ((wanted, cloned), written) in mounts.iter().zip(cloned).zip(written) {
        let source = match cloned.or(written) {
            Some(tree) => tree,
            None => make_source(stage, wanted)?,
        };
        // A cloned tree was cut off from the host by now; only what asks for it is joined again.
        let propagation = match &wanted.source {
            BirthSource::Path {
                propagation: Some(kind),
                ..
            }
            | BirthSource::Described {
                propagation: Some(kind),
                ..
            } => *kind,
            _ => Propagation::Rprivate,
        };
        let found = fstat(&source).map_err(step(format!("look at {}", wanted.target)))?;
        let target = user_target(stage, &wanted.target, Kind::of(&found))?;
        set_propagation(&source, propagation)
            .map_err(step(format!("set the propagation of {}", wanted.target)))?;
        let asked = match &wanted.source {
            BirthSource::Described { attrs, .. } | BirthSource::Volume { attrs, .. } => *attrs,
            _ => 0,
        };
        let (top, whole) = match wanted.read_only {
            ReadOnly::No => (0, 0),
            ReadOnly::Top => (attr::RDONLY, 0),
            ReadOnly::Whole => (0, attr::RDONLY),
        };
        for (set, recursive) in [(asked | whole, true), (top, false)] {
            let change = Change {
                set,
                clear: if set & attr::NOATIME == 0 {
                    0
                } else {
                    attr::ATIME
                },
                recursive,
                ..Change::default()
            };
            if set != 0 {
                mount::set_attr(&source, change)
                    .map_err(step(format!("restrict {}", wanted.target)))?;
            }
        }
        stage.attach(source, target, &wanted.target)?;
    }
    Ok(())
}

fn set_propagation(tree: impl AsFd, kind: Propagation) -> std::result::Result<(), Errno> {
    let (flag, recursive) = match kind {
        Propagation::Private => (MsFlags::MS_PRIVATE, false),
        Propagation::Rprivate => (MsFlags::MS_PRIVATE, true),
        Propagation::Shared => (MsFlags::MS_SHARED, false),
        Propagation::Rshared => (MsFlags::MS_SHARED, true),
        Propagation::Slave => (MsFlags::MS_SLAVE, false),
        Propagation::Rslave => (MsFlags::MS_SLAVE, true),
    };
    mount::set_attr(
        tree,
        Change {
            propagation: flag.bits(),
            recursive,
            ..Change::default()
        },
    )
}

/// Opens a user's target. Nothing may lie on `/proc`: what checks masks and kernel parameters relies on it.
fn user_target(stage: &mut Stage, name: &str, kind: Kind) -> Result<OwnedFd> {
    let path = fs::clean(Path::new(name));
    if path == Path::new("/") {
        let what =
            format!("mount target `{name}` is the root of the container: choose a path below");
        return Err(EngineError::Unsupported { what });
    }
    let target = stage.target(&path, kind)?;
    let proc = nix::sys::statfs::fstatfs(&target)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC);
    if proc
        && !PROC_TARGETS
            .iter()
            .any(|allowed| path == Path::new(allowed))
    {
        let what = format!("mount target `{name}` is inside /proc: refused");
        return Err(EngineError::Unsupported { what });
    }
    Ok(target)
}

fn make_source(stage: &Stage, wanted: &BirthMount) -> Result<OwnedFd> {
    match &wanted.source {
        BirthSource::Tree(tree) => tree
            .try_clone()
            .map_err(|error| EngineError::failed("share a mount", error)),
        BirthSource::Tmpfs {
            size,
            mode,
            options,
        } => tmpfs(*size, *mode, options),
        BirthSource::ImageView {
            lower,
            subpath,
            changes,
        } => {
            let writes = match (wanted.read_only, changes) {
                (ReadOnly::No, Some((upper, work))) => Writes::Kept(upper, work),
                (ReadOnly::No, None) => Writes::InMemory,
                _ => Writes::Refused,
            };
            image_view(stage, lower, subpath, writes)
        }
        BirthSource::Path { .. }
        | BirthSource::Described { .. }
        | BirthSource::Beneath { .. }
        | BirthSource::Bytes { .. } => Err(EngineError::failed(
            format!("mount {}", wanted.target),
            "not cloned",
        )),
        BirthSource::Volume { name, .. } => {
            let step = format!("mount volume {name}");
            Err(EngineError::failed(step, "not cloned"))
        }
    }
}

/// Memory with the options of a `tmpfs` entry. As Docker: nosuid, nodev and noexec unless told otherwise.
fn tmpfs(size: Option<u64>, mode: Option<u32>, options: &[String]) -> Result<OwnedFd> {
    let mut attrs = QUIET;
    let mut values: Vec<(&str, String)> = Vec::new();
    values.extend(size.map(|size| ("size", size.to_string())));
    values.push(("mode", format!("{:o}", mode.unwrap_or(0o1777))));
    for option in options.iter().flat_map(|options| options.split(',')) {
        match option.split_once('=') {
            Some((key @ ("size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks"), value)) => {
                values.retain(|(known, _)| *known != key);
                values.push((key, value.to_owned()));
            }
            None if ["", "rw", "defaults", "async", "relatime"].contains(&option) => {}
            None if option == "ro" => attrs |= attr::RDONLY,
            None if option == "exec" => attrs &= !attr::NOEXEC,
            None if option == "suid" => attrs &= !attr::NOSUID,
            None if option == "dev" => attrs &= !attr::NODEV,
            None if ["noexec", "nosuid", "nodev"].contains(&option) => {}
            _ => {
                let what = format!("tmpfs option `{option}` is not known");
                return Err(EngineError::Unsupported { what });
            }
        }
    }
    new_mount(c"tmpfs", &values, attrs)
}

/// What becomes of writes to an image that is mounted.
enum Writes<'a> {
    Refused,
    /// They are dropped with the mount.
    InMemory,
    /// In an upper directory, beside a work directory.
    Kept(&'a Path, &'a Path),
}

/// A path inside stacked layers.
fn image_view(
    stage: &Stage,
    lower: &[PathBuf],
    subpath: &Path,
    writes: Writes<'_>,
) -> Result<OwnedFd> {
    let fail = |error| EngineError::failed("mount an image", error);
    let overlay =
        |upper: Option<(&Path, &Path)>| mount::overlay(&Overlay { lower, upper }).map_err(fail);
    let view = match writes {
        Writes::Refused => overlay(None)?,
        Writes::Kept(upper, work) => {
            let upper = Some((upper, work));
            mount::overlay_unsynced(&Overlay { lower, upper }).map_err(fail)?
        }
        Writes::InMemory => {
            let memory = new_mount(c"tmpfs", &[("mode", "0755".to_owned())], 0)?;
            for part in ["upper", "work"] {
                nix::sys::stat::mkdirat(&memory, part, Mode::from_bits_truncate(0o755))
                    .map_err(step("make room for writes"))?;
            }
            let at = fs::fd_path(&memory);
            stage.on_workbench(&memory, || {
                overlay(Some((&at.join("upper"), &at.join("work"))))
            })?
        }
    };
    let root = Root::from_fd(view);
    if fs::clean(subpath) == Path::new("/") {
        return root
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| EngineError::failed("mount an image", e));
    }
    let fail = || step(format!("mount {} of an image", subpath.display()));
    stage.on_workbench(&root, || {
        let found = root.open_at(subpath, OFlag::O_PATH, 0).map_err(fail())?;
        mount::clone_tree(&found, Path::new(""), false).map_err(fail())
    })
}

/// Hides and protects parts of `/proc` and `/sys`. Runs where `/dev/null` is still the host's.
pub(super) fn mask(stage: &Stage) -> Result<()> {
    let open = |path: &str| {
        openat2(
            stage.root(),
            Path::new(path),
            OFlag::O_PATH,
            0,
            Resolve::NoLinks,
        )
    };
    for path in READ_ONLY {
        let Ok(target) = open(path) else { continue };
        let fail = || step(format!("make {path} read-only"));
        let again = mount::clone_tree(&target, Path::new(""), true).map_err(fail())?;
        let change = Change {
            set: attr::RDONLY,
            recursive: true,
            ..Change::default()
        };
        mount::set_attr(&again, change).map_err(fail())?;
        stage.attach(again, target, path)?;
    }
    let thermal = thermal_paths();
    for path in MASKED
        .iter()
        .copied()
        .chain(thermal.iter().map(String::as_str))
    {
        let Ok(target) = open(path) else { continue };
        let found = fstat(&target).map_err(step(format!("look at {path}")))?;
        let cover = if is_kind(&found, libc::S_IFDIR) {
            let options = [("nr_inodes", "1".to_owned()), ("mode", "755".to_owned())];
            new_mount(c"tmpfs", &options, QUIET | attr::RDONLY)?
        } else {
            // Made anew each time: before Linux 6.15 what is detached can't be copied.
            mount::null_tree().map_err(step("mask with /dev/null"))?
        };
        stage.attach(cover, target, path)?;
    }
    Ok(())
}

/// `thermal_throttle` of each processor: how hot others run.
fn thermal_paths() -> Vec<String> {
    let dir = "/sys/devices/system/cpu";
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let cpus = names.filter(|name| {
        name.strip_prefix("cpu")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    let mut paths: Vec<String> = cpus
        .map(|cpu| format!("{dir}/{cpu}/thermal_throttle"))
        .collect();
    paths.sort();
    paths
}
