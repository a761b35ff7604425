//! What a project may leave behind in the kernel, found by names that only that project can have.
//!
//! In: the roots and ids of a sandbox. Out: one line for each thing that is still there.
//! Imports: `harness`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::host::Host;

/// Names by which the things of one sandbox are known.
#[derive(Debug, Default)]
pub struct Names {
    /// Ids of containers.
    pub containers: BTreeSet<String>,
    /// Ids of networks.
    pub networks: BTreeSet<String>,
    /// Bridges and the hosts' ends of cables.
    pub links: BTreeSet<String>,
    /// Address ranges of networks.
    pub subnets: BTreeSet<String>,
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
            let pools = record["subnets"].as_array().into_iter().flatten();
            self.subnets
                .extend(pools.filter_map(|pool| pool["subnet"].as_str().map(str::to_owned)));
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

    /// Whether a line of the host is ours: it has one of our names in it, or an address of ours that nobody else's
    /// network has now.
    fn has_made(&self, line: &str, root: &Path, taken: &[(std::net::IpAddr, u8)]) -> bool {
        let ids = self.containers.iter().chain(&self.networks);
        let mut ids = ids.filter_map(|id| id.get(..12));
        let word = |name: &str| {
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
            words.any(|word| word == name)
        };
        // What has a name of hoist's that is none of ours is another run's, whatever its addresses.
        let marked = ["hst", "hsv", "hoist-"]
            .iter()
            .any(|mark| line.contains(mark));
        ids.any(|id| line.contains(id))
            || self.links.iter().any(|link| word(link))
            || is_below(line, &root.to_string_lossy())
            || !marked
                && addresses(line).iter().any(|address| {
                    let within =
                        |(net, length): &(std::net::IpAddr, u8)| covers(*net, *length, *address);
                    let ours = self.subnets.iter().filter_map(|subnet| range(subnet));
                    ours.into_iter().any(|range| within(&range)) && !taken.iter().any(within)
                })
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
    all.subnets.extend(names.subnets.iter().cloned());
}

/// Whether a line names a path or what lies below it; `/tmp/hst-1-1` is not `/tmp/hst-1-10`.
fn is_below(line: &str, path: &str) -> bool {
    let mut rest = line
        .match_indices(path)
        .map(|(at, _)| &line[at + path.len()..]);
    rest.any(|rest| path.ends_with('-') || !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// `10.1.2.0/24` as an address and a length.
fn range(text: &str) -> Option<(std::net::IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

fn covers(net: std::net::IpAddr, length: u8, address: std::net::IpAddr) -> bool {
    use std::net::IpAddr::{V4, V6};
    let same = |a: u128, b: u128, bits: u32| {
        let shift = bits.saturating_sub(u32::from(length));
        shift >= 128 || a >> shift == b >> shift
    };
    match (net, address) {
        (V4(a), V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (V6(a), V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

/// All addresses in a line.
fn addresses(line: &str) -> Vec<std::net::IpAddr> {
    let words = line.split(|c: char| !c.is_ascii_hexdigit() && c != '.' && c != ':');
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Address ranges of the links that there are now.
fn taken(host: &Host) -> Vec<(std::net::IpAddr, u8)> {
    let lines = host.lines().filter(|line| line.starts_with("address "));
    let words = lines.flat_map(|line| line.split(' ').filter_map(range));
    // Loopback, and whole versions of IP, are nobody's network.
    words
        .filter(|(address, length)| *length > 0 && !address.is_loopback())
        .collect()
}

/// Lines of the host that one who has these names has made, with the host's own directories and those below `root`.
/// What was there before the first case is somebody else's: rules of an engine that has ended name the addresses that
/// a network of a case has next.
pub fn of_host(root: &Path, names: &Names, host: &Host) -> Vec<String> {
    let taken = taken(host);
    let before = before();
    let lines = host
        .lines()
        .filter(|line| !before.has(line) && names.has_made(line, root, &taken));
    // The directory itself goes last of all.
    let root = format!("file {}", root.display());
    lines
        .filter(|line| *line != root)
        .map(str::to_owned)
        .collect()
}

/// The host before the first case.
static BEFORE: Mutex<Option<Host>> = Mutex::new(None);

/// Takes a picture of the host, to compare with in [`of_the_run`].
pub fn begin() {
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Host::named());
}

/// The host before the first case; nothing where nobody has looked.
fn before() -> Host {
    let picture = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    picture.clone().unwrap_or_default()
}

/// Whether nothing else runs on this machine: then the whole host must be as it was, after each case.
pub fn is_alone() -> bool {
    std::env::var_os("HOIST_TEST_ALONE").is_some_and(|value| value == "1")
}

/// Runs a case with the whole host looked at before and after it.
///
/// # Errors
/// The case's own; what is different.
pub fn around(case: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let before = Host::now();
    case()?;
    let end = Instant::now() + super::patience();
    loop {
        let now = Host::now();
        let run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
        let left = before
            .differs(&now)
            .into_iter()
            .filter(|line| counts(line, run.as_ref()));
        let left: Vec<String> = left.collect();
        drop(run);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!(
                "the host is not as it was before:\n  {}",
                left.join("\n  ")
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a difference is one: connections of others come and go, and the files of the whole run stay until its end.
fn counts(line: &str, run: Option<&Names>) -> bool {
    let line = &line[2..];
    if line.starts_with("connection ") {
        let subnets = || run.into_iter().flat_map(|names| &names.subnets);
        let ours = |address: &std::net::IpAddr| {
            let mut ranges = subnets().filter_map(|subnet| range(subnet));
            ranges.any(|(net, length)| covers(net, length, *address))
        };
        return addresses(line).iter().any(ours);
    }
    let kept = file_of_the_run("");
    !line.contains(&*kept.to_string_lossy())
}

/// Where a file lies that the cases share: it is there until the end of the run.
pub fn file_of_the_run(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hst-{}-run-{name}", std::process::id()))
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
    let now = Host::named();
    let others = before()
        .differs(&now)
        .into_iter()
        .filter(|line| match is_alone() {
            true => counts(line, Some(names)),
            // Docker's own bridge and what leads to it are nobody's to touch.
            false => line.starts_with("- ") && line.contains("docker0"),
        });
    left.extend(others);
    let lines = of_host(&root, names, &now);
    let kept = std::env::var_os("HOIST_TEST_KEEP").is_some();
    let counts = |line: &String| !(kept && line.starts_with("file "));
    left.extend(lines.into_iter().filter(counts));
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
