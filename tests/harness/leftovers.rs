//! What a project may leave behind in the kernel, found by names that only that project can have.
//!
//! In: the roots and ids of a sandbox. Out: one line for each thing that is still there.
//! Imports: `harness`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Names by which the things of one sandbox are known.
#[derive(Debug, Default)]
pub struct Names {
    /// Ids of containers.
    pub containers: BTreeSet<String>,
    /// Ids of networks.
    pub networks: BTreeSet<String>,
    /// Bridges and the hosts' ends of cables.
    pub links: BTreeSet<String>,
}

impl Names {
    /// Adds what is there now below the roots.
    pub fn notice(&mut self, data: &Path, run: &Path) {
        for project in children(&data.join("projects")) {
            self.containers.extend(
                children(&project.join("containers"))
                    .iter()
                    .map(|dir| base(dir)),
            );
        }
        self.containers.extend(
            children(&run.join("containers"))
                .iter()
                .map(|dir| base(dir)),
        );
        for network in children(&data.join("networks")) {
            let Ok(text) = std::fs::read(network.join("network.json")) else {
                continue;
            };
            let Ok(record) = serde_json::from_slice::<serde_json::Value>(&text) else {
                continue;
            };
            self.networks
                .extend(record["id"].as_str().map(str::to_owned));
            self.links
                .extend(record["bridge"].as_str().map(str::to_owned));
        }
        for link in children(Path::new("/sys/class/net")) {
            let master = std::fs::read_link(link.join("master"))
                .map(|path| base(&path))
                .unwrap_or_default();
            if self.links.contains(&master) {
                self.links.insert(base(&link));
            }
        }
    }

    /// Whether a text carries the id of a container.
    fn in_text(&self, text: &str) -> bool {
        self.containers.iter().any(|id| text.contains(id.as_str()))
    }
}

/// All names of this run.
static RUN: Mutex<Option<Names>> = Mutex::new(None);

/// Keeps the names of a sandbox that ends, for [`of_the_run`].
pub fn remember(names: &Names) {
    let mut run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let all = run.get_or_insert_default();
    all.containers.extend(names.containers.iter().cloned());
    all.networks.extend(names.networks.iter().cloned());
    all.links.extend(names.links.iter().cloned());
}

/// What is left of the whole run when all cases have ended: others may work on this machine, so that only names that
/// this run has made count, and the directories that no other program would call so.
pub fn of_the_run() -> Vec<String> {
    let run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(names) = &*run else {
        return Vec::new();
    };
    let root = std::env::temp_dir().join(format!("hst-{}-", std::process::id()));
    let mut left = find(&root, names);
    left.extend(cables());
    // The host's own directories were not meant, whatever a case has forgotten to set.
    for root in [
        "/var/lib/hoist/projects",
        "/var/lib/hoist/volumes",
        "/run/hoist/containers",
    ] {
        let mut open = vec![(PathBuf::from(root), 0)];
        while let Some((dir, depth)) = open.pop() {
            for path in children(&dir) {
                if names.in_text(&base(&path)) {
                    left.push(format!("file {}", path.display()));
                } else if depth < 2 && !path.is_symlink() && path.is_dir() {
                    open.push((path, depth + 1));
                }
            }
        }
    }
    left
}

/// Cables of other machines that this run has made.
fn cables() -> Vec<String> {
    let ours = |link: &PathBuf| {
        let alias = std::fs::read_to_string(link.join("ifalias"));
        alias.is_ok_and(|alias| alias.trim() == super::outside::mark())
    };
    let links = children(Path::new("/sys/class/net")).into_iter();
    links
        .filter(ours)
        .map(|link| format!("link {}", base(&link)))
        .collect()
}

/// All that is left of a sandbox.
pub fn find(root: &Path, names: &Names) -> Vec<String> {
    let mut found = processes(root, names);
    found.extend(mounts(root));
    found.extend(
        cgroups(names)
            .iter()
            .map(|dir| format!("cgroup {}", dir.display())),
    );
    found.extend(
        names
            .links
            .iter()
            .filter(|name| Path::new("/sys/class/net").join(name).exists())
            .map(|name| format!("link {name}")),
    );
    found.extend(tables(names));
    found
}

/// Processes whose command line or environment names the sandbox's directory.
fn processes(root: &Path, names: &Names) -> Vec<String> {
    let root = root.to_string_lossy();
    let mut found = Vec::new();
    for dir in children(Path::new("/proc")) {
        let Ok(pid) = base(&dir).parse::<i32>() else {
            continue;
        };
        let read = |name: &str| {
            std::fs::read(dir.join(name)).map(|b| String::from_utf8_lossy(&b).into_owned())
        };
        let command = read("cmdline").unwrap_or_default().replace('\0', " ");
        let environment = read("environ").unwrap_or_default();
        let cgroup = read("cgroup").unwrap_or_default();
        let ours =
            command.contains(&*root) || environment.contains(&*root) || names.in_text(&cgroup);
        if ours && super::process::is_alive(pid) {
            found.push(format!("process {pid}: {}", command.trim()));
        }
    }
    found
}

/// Ends the processes and mounts of a sandbox whose own teardown has failed, so that one bug does not spoil the
/// machine for the cases that follow.
pub fn force(root: &Path, names: &Names) {
    for line in processes(root, names) {
        let pid = line
            .strip_prefix("process ")
            .and_then(|rest| rest.split(':').next()?.parse().ok());
        pid.into_iter().for_each(super::process::kill_and_wait);
    }
    let mut points: Vec<String> = mounts(root)
        .iter()
        .filter_map(|line| {
            line.strip_prefix("mount ")?
                .split(' ')
                .nth(4)
                .map(str::to_owned)
        })
        .filter(|point| Path::new(point).starts_with(root))
        .collect();
    points.reverse();
    for point in points {
        // What can't be detached stays in the report.
        let _ = nix::mount::umount2(Path::new(&point), nix::mount::MntFlags::MNT_DETACH);
    }
    // Groups and links are empty now, or stay in the report.
    cgroups(names)
        .iter()
        .for_each(|dir| drop(std::fs::remove_dir(dir)));
    for link in &names.links {
        drop(Command::new("ip").args(["link", "delete", link]).output());
    }
    for line in tables(names) {
        let words = line.split_whitespace().skip(1);
        drop(
            Command::new("nft")
                .args(["delete", "table"])
                .args(words)
                .output(),
        );
    }
}

fn mounts(root: &Path) -> Vec<String> {
    let root = root.to_string_lossy();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter(|line| line.contains(&*root))
        // A data directory with a file system of its own is a case's doing, which takes it away itself.
        .filter(|line| line.split(' ').nth(4) != Some(&format!("{root}/d")))
        .map(|line| format!("mount {line}"))
        .collect()
}

/// Cgroup directories named for a container.
pub fn cgroups(names: &Names) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = open.pop() {
        for child in children(&dir).into_iter().filter(|child| child.is_dir()) {
            if names.in_text(&base(&child)) {
                found.push(child);
            } else if depth < 5 {
                open.push((child, depth + 1));
            }
        }
    }
    found
}

/// Tables of nftables named for a container or a network; nothing where there is no `nft` to ask.
pub fn tables(names: &Names) -> Vec<String> {
    let Some(nft) = super::program("nft") else {
        return Vec::new();
    };
    let Ok(output) = Command::new(nft).args(["list", "tables"]).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ids = names.containers.iter().chain(&names.networks);
    let short: Vec<&str> = ids.filter_map(|id| id.get(..12)).collect();
    text.lines()
        .filter(|line| short.iter().any(|id| line.contains(id)))
        .map(str::to_owned)
        .collect()
}

/// Entries of a directory; none where there is no such directory.
pub fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn base(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
