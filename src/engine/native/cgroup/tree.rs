//! The directories of cgroups: which hierarchies are mounted, making levels and removing them.
//!
//! Imports: `engine`, `sys`. Rules: Linux admin-guide/cgroup-v1/cgroups.rst and cpusets.rst, cgroup-v2.rst "Controlling
//! controllers". A directory that we make for a `cgroup_parent` carries a mark, so that the last container there takes
//! it along, and one that somebody else made stays.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::PARENT;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{set_xattr, xattrs};

/// Extended attribute of a directory that we made above a container's own. The second is for other users than root.
const MARKS: [&str; 2] = ["trusted.hoist.made", "user.hoist.made"];

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// Controllers of version 1, empty for the unified hierarchy beside them.
    pub(super) controllers: Vec<String>,
    /// Whether it is version 2.
    pub(super) unified: bool,
    /// Our directory in it; where others begin, in [`hierarchies`].
    pub(super) dir: PathBuf,
}

impl Hierarchy {
    /// Whether it has a controller of version 1.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|held| held == controller)
    }
}

/// Which version of cgroups has the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Version 1.
    One,
    /// Version 1, with a unified hierarchy without controllers beside it.
    Both,
    /// Version 2.
    Two,
}

/// The version of this machine, and the root of its unified hierarchy if it has one.
///
/// # Errors
/// [`EngineError::Unsupported`] when there is none.
pub fn version() -> Result<(Version, Option<PathBuf>)> {
    let all = hierarchies()?;
    let unified = all.iter().find(|hierarchy| hierarchy.unified);
    let version = match (unified, all.len()) {
        (Some(_), 1) => Version::Two,
        (Some(_), _) => Version::Both,
        (None, _) => Version::One,
    };
    Ok((version, unified.map(|hierarchy| hierarchy.mount.clone())))
}

/// The hierarchies of this machine, each with the directory that ours are in.
///
/// # Errors
/// [`EngineError::Unsupported`] when there is none.
pub(super) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
    let mut found = mounted(&text);
    if found.is_empty() {
        let what = "no cgroup file system is mounted at /sys/fs/cgroup: mount one with \
                    `mount -t cgroup2 none /sys/fs/cgroup`";
        return Err(EngineError::Unsupported {
            what: what.to_owned(),
        });
    }
    if !nix::unistd::geteuid().is_root() {
        let own = own_unified();
        for hierarchy in found.iter_mut().filter(|hierarchy| hierarchy.unified) {
            hierarchy.dir.push(&own);
        }
    }
    Ok(found)
}

/// Hierarchies of this machine, from `/proc/self/mountinfo`.
fn mounted(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
        let Some(mount) = left.split(' ').nth(4) else {
            continue;
        };
        let unified = kind == "cgroup2";
        if !unified && kind != "cgroup" {
            continue;
        }
        let not_ours = ["rw", "ro", "xattr", "clone_children", "noprefix"];
        let controllers: Vec<String> = options
            .split(',')
            .filter(|word| {
                !unified && !not_ours.contains(word) && !word.starts_with("release_agent")
            })
            .map(str::to_owned)
            .collect();
        let mount = PathBuf::from(mount);
        // The same hierarchy may be mounted twice, in a container's file system for one.
        let again = found
            .iter()
            .any(|h| h.unified == unified && h.controllers == controllers);
        if mount.starts_with("/sys/fs/cgroup") && !again {
            found.push(Hierarchy {
                dir: mount.clone(),
                mount,
                controllers,
                unified,
            });
        }
    }
    found
}

pub(super) fn failed(step: &str, path: &Path, error: &io::Error) -> EngineError {
    EngineError::failed(format!("{step} {}", path.display()), error)
}

/// Our own cgroup in the unified hierarchy, relative to its root.
fn own_unified() -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    PathBuf::from(own.unwrap_or(""))
}

/// Makes a directory and those above it, each able to hold limits: version 1 copies CPU sets down, version
/// 2 switches controllers on.
pub(super) fn make_levels(hierarchy: &Hierarchy) -> Result<()> {
    // Another command may remove the empty directory above between our two steps.
    for attempt in 0.. {
        match try_make_levels(hierarchy) {
            Err((_, error)) if attempt < 16 && error.kind() == io::ErrorKind::NotFound => {}
            Err((path, error)) => return Err(failed("make cgroup", &path, &error)),
            Ok(()) => return Ok(()),
        }
    }
    Ok(())
}

fn try_make_levels(hierarchy: &Hierarchy) -> std::result::Result<(), (PathBuf, io::Error)> {
    let below = hierarchy
        .dir
        .strip_prefix(&hierarchy.mount)
        .unwrap_or(Path::new(""));
    let mut dir = hierarchy.mount.clone();
    for part in below.components() {
        if hierarchy.unified {
            switch_on_controllers(&dir);
        }
        let above = dir.clone();
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err((dir, error)),
            Ok(()) => mark(hierarchy, &dir),
        }
        if hierarchy.controllers.iter().any(|name| name == "cpuset") {
            copy_cpuset(&above, &dir)?;
        }
    }
    Ok(())
}

/// A controller that can't be switched on is missed later, by the limit that needs it.
fn switch_on_controllers(dir: &Path) {
    let there = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let path = dir.join("cgroup.subtree_control");
    let on = fs::read_to_string(&path).unwrap_or_default();
    let on: Vec<&str> = on.split_ascii_whitespace().collect();
    let wanted = ["cpuset", "cpu", "io", "memory", "pids"];
    for name in there
        .split_ascii_whitespace()
        .filter(|name| wanted.contains(name))
    {
        if !on.contains(&name) {
            let _ = fs::write(&path, format!("+{name}"));
        }
    }
}

/// A new CPU set of version 1 is empty and takes no process.
fn copy_cpuset(above: &Path, dir: &Path) -> std::result::Result<(), (PathBuf, io::Error)> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (above.join(file), dir.join(file));
        let has = fs::read_to_string(&to).map_err(|error| (to.clone(), error))?;
        if has.trim().is_empty() {
            let value = fs::read_to_string(&from).map_err(|error| (from, error))?;
            fs::write(&to, value.trim()).map_err(|error| (to, error))?;
        }
    }
    Ok(())
}

pub(super) fn collect_pids(dir: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for below in directories(dir) {
        collect_pids(&below, found);
    }
}

pub(super) fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

/// Removes a cgroup with those that the container made below it. A process that has just ended keeps its
/// cgroup busy for a moment.
pub(super) fn remove_levels(dir: &Path) -> Result<()> {
    for below in directories(dir) {
        remove_levels(&below)?;
    }
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(failed("remove cgroup", dir, &error)),
        }
    }
}

/// Marks a directory that was made for a `cgroup_parent`. One that can't be marked stays for good.
fn mark(hierarchy: &Hierarchy, dir: &Path) {
    if *dir != hierarchy.dir && !dir.ends_with(PARENT) {
        let _ = MARKS
            .map(OsStr::new)
            .into_iter()
            .find(|name| set_xattr(dir, name, b"1").is_ok());
    }
}

/// Removes the directories above that are empty and ours.
pub(super) fn remove_parents(hierarchy: &Hierarchy) {
    let mut above = hierarchy.dir.parent();
    while let Some(dir) = above.filter(|dir| *dir != hierarchy.mount) {
        let marked = || {
            xattrs(dir)
                .unwrap_or_default()
                .iter()
                .any(|(name, _)| MARKS.iter().any(|mark| name == mark))
        };
        // Others may live there.
        if !(dir.ends_with(PARENT) || marked()) || fs::remove_dir(dir).is_err() {
            break;
        }
        above = dir.parent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_the_mount_table() {
        let hybrid = "\
30 29 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 30 0:27 / /other/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
";
        let found: Vec<_> = mounted(hybrid)
            .into_iter()
            .map(|h| (h.controllers.join("+"), h.unified))
            .collect();
        let want = [("cpu+cpuacct", false), ("name=systemd", false), ("", true)];
        assert_eq!(
            found,
            want.map(|(name, unified)| (name.to_owned(), unified))
        );
        let pure = "25 20 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounted(pure).len(), 1);
    }
}
