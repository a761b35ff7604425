//! Directories, file systems, devices of vendors, and how much of what a user or the host may have.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};

use super::{is_root, number, text};
use crate::base::scalar::ByteSize;
use crate::engine::Roots;
use crate::engine::host::{Row, Standing};
use crate::engine::native::cdi;
use crate::sys::mount::Fs;

/// Free bytes below which an image may not fit any more.
const LITTLE: u64 = 2 << 30;
/// Inotify instances below which programs that watch files fail once there are many containers.
const FEW_WATCHERS: u64 = 512;
/// Open files below which servers in containers run out.
const FEW_FILES: u64 = 65_536;

pub(super) fn rows(roots: &Roots, device_dirs: &[PathBuf]) -> Vec<Row> {
    vec![
        overlay(),
        data(&roots.data),
        run(&roots.run),
        vendor_devices(device_dirs),
        kvm(),
        inotify(),
        open_files(),
    ]
}

fn overlay() -> Row {
    let row = Row::ok(
        "overlayfs",
        "the kernel has it",
        "containers share the layers of their image",
    )
    .needed();
    let listed = text("/proc/filesystems")
        .is_some_and(|all| all.lines().any(|line| line.ends_with("\toverlay")));
    // Asking for it loads it.
    let opened = !listed && is_root() && Fs::open(c"overlay").is_ok();
    match listed || opened {
        true => row,
        false if !is_root() => Row {
            found: "not loaded; only root can try it".to_owned(),
            ..row
        }
        .stands(Standing::Unknown),
        false => Row {
            found: "not in this kernel".to_owned(),
            means: "no container can be made".to_owned(),
            ..row
        }
        .stands(Standing::Missing)
        .mend("modprobe overlay"),
    }
}

/// The nearest directory that is there: a missing one is made at first use.
fn nearest(path: &Path) -> &Path {
    path.ancestors()
        .find(|dir| dir.exists())
        .unwrap_or(Path::new("/"))
}

/// Type of the file system that a path is on, from the mount table.
fn file_system(path: &Path) -> Option<String> {
    let device = path.metadata().ok()?.dev();
    let id = format!("{}:{}", libc::major(device), libc::minor(device));
    let whole = std::fs::canonicalize(path).ok()?;
    let table = text("/proc/self/mountinfo")?;
    let rows = table.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let (number, place) = (left.next()?, left.nth(1)?);
        let kind = right.split(' ').next()?;
        (whole.starts_with(place)).then_some((number == id, place.len(), kind))
    });
    // btrfs has other numbers in the table than its files: the longest place counts then.
    rows.max_by_key(|(same, length, _)| (*same, *length))
        .map(|(.., kind)| kind.to_owned())
}

fn free(place: &Statvfs) -> u64 {
    u64::from(place.blocks_available()).saturating_mul(place.fragment_size())
}

fn data(path: &Path) -> Row {
    let dir = nearest(path);
    let (Ok(place), Some(kind)) = (statvfs(dir), file_system(dir)) else {
        let row = Row::ok(
            "data directory",
            format!("{} can't be looked at", path.display()),
            "images are kept there",
        );
        return row.needed().stands(Standing::Unknown);
    };
    let free = free(&place);
    let found = format!("{} on {kind}, {} free", path.display(), ByteSize(free));
    let row = Row::ok(
        "data directory",
        found,
        "images, volumes, logs and what containers write",
    )
    .needed();
    let flags = place.flags();
    let moved = "export HOIST_DATA_ROOT=DIRECTORY (on ext4, xfs or btrfs)";
    if flags.contains(FsFlags::ST_RDONLY) {
        let row = Row {
            means: "the file system is read-only: nothing can be kept".to_owned(),
            ..row
        };
        return row.stands(Standing::Missing).mend(moved);
    }
    if kind.starts_with("nfs")
        || ["overlay", "cifs", "smb3", "9p", "vfat", "exfat"].contains(&kind.as_str())
        || kind.starts_with("fuse")
    {
        let means = format!(
            "{kind} can't hold the upper directory of an overlay: no container can be made"
        );
        return Row { means, ..row }.stands(Standing::Missing).mend(moved);
    }
    let barred = [
        (FsFlags::ST_NOSUID, "nosuid"),
        (FsFlags::ST_NODEV, "nodev"),
        (FsFlags::ST_NOEXEC, "noexec"),
    ];
    let barred: Vec<&str> = barred
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, name)| *name)
        .collect();
    if !barred.is_empty() {
        let means = format!(
            "it is mounted {}: programs of images lose that too",
            barred.join(",")
        );
        return Row { means, ..row }.stands(Standing::Degraded).mend(moved);
    }
    let nodes = (place.files_available(), place.files());
    if free < LITTLE || (nodes.1 > 0 && u64::from(nodes.0) < 10_000) {
        let means = "an image may not fit, and containers that write stop".to_owned();
        return Row { means, ..row }
            .stands(Standing::Degraded)
            .mend("hoist image ls && hoist image rm IMAGE");
    }
    row
}

fn run(path: &Path) -> Row {
    let dir = nearest(path);
    let kind = file_system(dir).unwrap_or_default();
    let row = Row::ok(
        "run directory",
        format!("{} on {kind}", path.display()),
        "sockets of supervisors, network namespaces",
    );
    let free = statvfs(dir).map_or(u64::MAX, |place| free(&place));
    match free < 4 << 20 {
        false => row.needed(),
        true => Row {
            means: format!(
                "only {} free: supervisors can't write their state",
                ByteSize(free)
            ),
            ..row
        }
        .stands(Standing::Degraded)
        .mend(format!("df -h {}", dir.display())),
    }
}

/// Devices that files of their vendors describe (Container Device Interface).
fn vendor_devices(dirs: &[PathBuf]) -> Row {
    let name = "CDI devices";
    let catalog = cdi::catalog(dirs);
    let places: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let faults = catalog.devices.values().flatten().chain(&catalog.faults);
    if let Some(fault) = faults.into_iter().next() {
        let means = "a device that is described wrongly can't be had; each fault is told where it is asked for";
        return Row::ok(name, fault.clone(), means)
            .stands(Standing::Degraded)
            .mend(format!(
                "mend or remove that file, in {}",
                places.join(" or ")
            ));
    }
    let described: Vec<String> = catalog.devices.keys().map(ToString::to_string).collect();
    let nvidia = described.iter().any(|name| name.starts_with("nvidia.com/"));
    if !catalog.nvidia.is_empty() && !nvidia {
        let nodes: Vec<String> = catalog
            .nvidia
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let means =
            "no file describes them: `gpus` and reservations of devices are errors until then";
        return Row::ok(name, nodes.join(" "), means)
            .stands(Standing::Degraded)
            .mend("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
    }
    if described.is_empty() {
        let means = "`gpus`, and `devices: vendor.com/class=name`, have nothing to give; other devices need none";
        return Row::ok(
            name,
            format!("none described in {}", places.join(", ")),
            means,
        );
    }
    Row::ok(
        name,
        described.join(" "),
        "each can be named in `devices`, and `gpus` takes those of a GPU's vendor",
    )
}

fn kvm() -> Row {
    match Path::new("/dev/kvm").exists() {
        true => Row::ok(
            "KVM",
            "/dev/kvm",
            "`devices: [/dev/kvm]` can be had; hoist itself needs none",
        ),
        false => Row::ok(
            "KVM",
            "none",
            "hoist needs none; only `devices: [/dev/kvm]` can't be had",
        ),
    }
}

fn inotify() -> Row {
    let read = |file: &str| number(Path::new("/proc/sys/fs/inotify").join(file));
    let (Some(instances), Some(watches)) = (read("max_user_instances"), read("max_user_watches"))
    else {
        let means = "programs that watch files can't";
        return Row::ok("inotify", "not in this kernel", means)
            .stands(Standing::Degraded)
            .mend("boot a kernel with CONFIG_INOTIFY_USER");
    };
    let found = format!("{instances} instances and {watches} watches a user");
    let row = Row::ok("inotify", found, "programs that watch files can");
    match instances < FEW_WATCHERS {
        false => row,
        true => Row {
            means: "containers of one user share them: with many, programs that watch files fail"
                .to_owned(),
            ..row
        }
        .stands(Standing::Degraded)
        .mend("sysctl -w fs.inotify.max_user_instances=8192"),
    }
}

fn open_files() -> Row {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let row = Row::ok(
        "open files",
        format!("up to {hard} a process"),
        "containers start with the caller's limit",
    );
    match hard < FEW_FILES {
        false => row,
        true => Row {
            means: format!("servers may run out, and `ulimits: {{nofile: N}}` above {hard} needs CAP_SYS_RESOURCE"),
            ..row
        }
        .stands(Standing::Degraded)
        .mend("ulimit -Hn 1048576 (in the shell that starts hoist, as root)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_judged_by_the_one_it_will_be_made_in() {
        assert_eq!(
            nearest(Path::new("/proc/no/such/place")),
            Path::new("/proc")
        );
        assert_eq!(
            file_system(Path::new("/proc/self")).as_deref(),
            Some("proc")
        );
        let row = data(Path::new("/proc/no/such/place"));
        assert!(row.found.contains("on proc"), "{row:?}");
    }
}
