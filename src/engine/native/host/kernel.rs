//! The kernel's version and calls, namespaces, and the caller's rights.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::{is_root, number, text};
use crate::engine::host::{Row, Standing};
use crate::sys::caps::Caps;
use crate::sys::fs::{Resolve, openat2};
use crate::sys::mount::Fs;
use crate::sys::pidfd;

/// Oldest kernel with every call that hoist makes: `mount_setattr`. Source: mount_setattr(2).
const OLDEST: (u32, u32) = (5, 12);

/// Namespaces of each container, and whether it can do without.
const NAMESPACES: [(&str, bool); 6] = [
    ("mnt", true),
    ("pid", true),
    ("ipc", true),
    ("uts", true),
    ("net", true),
    ("cgroup", false),
];

pub(super) fn rows() -> Vec<Row> {
    vec![
        version(),
        rights(),
        mounts(),
        lookups(),
        pidfds(),
        namespaces(),
        user_namespaces(),
    ]
}

/// The first two numbers of a version.
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn version() -> Row {
    let release = text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let new = parse_version(&release).is_some_and(|version| version >= OLDEST);
    let row = Row::ok(
        "kernel",
        format!("Linux {release}"),
        "new enough for all that hoist calls",
    )
    .needed();
    if new {
        return row;
    }
    let (major, minor) = OLDEST;
    Row {
        means: format!("containers need Linux {major}.{minor} or later"),
        ..row
    }
    .stands(Standing::Missing)
    .mend("apt-get install linux-image-generic || dnf upgrade kernel; reboot")
}

fn rights() -> Row {
    if !is_root() {
        let user = nix::unistd::geteuid();
        let means =
            "hoist runs containers as root only for now; what only root sees is `unknown` below";
        return Row::ok("rights", format!("user {user}"), means)
            .needed()
            .stands(Standing::Missing)
            .mend("sudo hoist doctor");
    }
    let held = Caps::available().ok();
    let has = |name: &str| held.is_some_and(|held| held.has(name));
    let lacking: Vec<&str> = ["SYS_ADMIN", "NET_ADMIN", "SETUID", "SETGID", "MKNOD"]
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    if !lacking.is_empty() {
        let found = format!("root without CAP_{}", lacking.join(", CAP_"));
        return Row::ok(
            "rights",
            found,
            "containers can't be made: this is inside another container",
        )
        .needed()
        .stands(Standing::Missing)
        .mend("run hoist on the host, or the outer container with `--privileged`");
    }
    if has("SYS_RESOURCE") {
        return Row::ok("rights", "root with all rights", "containers can be made").needed();
    }
    let means =
        "an `oom_score_adj` below hoist's own, and `ulimits` above the host's, can't be set";
    Row::ok("rights", "root without CAP_SYS_RESOURCE", means)
        .needed()
        .stands(Standing::Degraded)
        .mend("give the outer container the right: `--cap-add SYS_RESOURCE`")
}

/// A row for something that is called once to see whether the kernel knows it.
fn called(name: &'static str, means: &str, since: &str, result: Result<(), Errno>) -> Row {
    let row = Row::ok(name, "the kernel has it", means).needed();
    match result {
        Ok(()) => row,
        Err(Errno::EPERM | Errno::EACCES) if !is_root() => Row {
            found: "only root can try it".to_owned(),
            ..row
        }
        .stands(Standing::Unknown),
        Err(errno) => Row {
            found: format!("{} (Linux {since} has it)", errno.desc()),
            ..row
        }
        .stands(Standing::Missing)
        .mend("boot a newer kernel; inside another container: `--security-opt seccomp=unconfined`"),
    }
}

fn mounts() -> Row {
    let tried = Fs::open(c"tmpfs").map(drop);
    called(
        "new mount API",
        "mounts are made where no other process sees them",
        "5.2",
        tried,
    )
}

fn lookups() -> Row {
    let look = |root: std::fs::File| {
        openat2(&root, Path::new("proc"), OFlag::O_PATH, 0, Resolve::InRoot).map(drop)
    };
    let root = std::fs::File::open("/").map_err(|_| Errno::EACCES);
    let means = "paths inside a container can't lead out of it";
    called("openat2", means, "5.6", root.and_then(look))
}

fn pidfds() -> Row {
    let own = i32::try_from(std::process::id()).unwrap_or(1);
    let means = "a signal never reaches another process that got the same number";
    called("pidfd", means, "5.3", pidfd::open(own).map(drop))
}

fn namespaces() -> Row {
    let there = |name: &str| Path::new("/proc/self/ns").join(name).exists();
    let lacking = |needed: bool| {
        let all = NAMESPACES.iter();
        let names = all.filter(|(name, need)| *need == needed && !there(name));
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    };
    let names = NAMESPACES.map(|(name, _)| name).join(" ");
    let row = Row::ok("namespaces", names, "a container sees only its own").needed();
    match (lacking(true), lacking(false)) {
        (needed, _) if !needed.is_empty() => Row {
            found: format!("not there: {needed}"),
            ..row
        }
        .stands(Standing::Missing)
        .mend("boot a kernel with CONFIG_NAMESPACES and all below it"),
        (_, other) if !other.is_empty() => Row {
            found: format!("not there: {other}"),
            means: "`cgroup: private` has no effect: containers see the host's cgroups".to_owned(),
            ..row
        }
        .stands(Standing::Degraded)
        .mend("boot a kernel with CONFIG_CGROUPS, 4.6 or later"),
        _ => row,
    }
}

/// Not needed as root; they are what containers of ordinary users will need.
fn user_namespaces() -> Row {
    let most = number("/proc/sys/user/max_user_namespaces").unwrap_or(0);
    let name = "user namespaces";
    let row = |found: String| {
        Row::ok(
            name,
            found,
            "containers of ordinary users need them; those of root do not",
        )
    };
    if !Path::new("/proc/self/ns/user").exists() {
        let row = row("not in this kernel".to_owned()).stands(Standing::Degraded);
        return row.mend("boot a kernel with CONFIG_USER_NS");
    }
    if most == 0 {
        let row = row("user.max_user_namespaces is 0".to_owned()).stands(Standing::Degraded);
        return row.mend("sysctl -w user.max_user_namespaces=15000");
    }
    for (file, off, command) in [
        (
            "kernel/unprivileged_userns_clone",
            0,
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            1,
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ] {
        if number(Path::new("/proc/sys").join(file)) == Some(off) {
            let found = format!("only for root: {} is {off}", file.replace('/', "."));
            return row(found).stands(Standing::Degraded).mend(command);
        }
    }
    row(format!("up to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_kinds_are_read() {
        for (release, want) in [
            ("6.18.44-fc-v769", Some((6, 18))),
            ("5.4-rc1", Some((5, 4))),
            ("4.19.0+", Some((4, 19))),
            ("x", None),
        ] {
            assert_eq!(parse_version(release), want, "{release}");
        }
    }
}
