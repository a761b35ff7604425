//! The host as a list of lines, to compare before and after: links, addresses, routes of all tables, policy rules,
//! firewall rules of all tables, tracked connections, mounts, cgroups, processes, files, settings of the kernel.
//!
//! Out: sorted lines, each with its kind in front and nothing in it that changes by itself. It judges nothing: whose a
//! line is, [`super::leftovers`] knows. What there is no tool for is left out.
//! Imports: `harness`. Source: proc_pid_mountinfo(5), ip(8), nft(8), `nf_conntrack` of proc.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::leftovers::children;

/// The host at one time.
#[derive(Debug, Clone, Default)]
pub struct Host(BTreeSet<String>);

/// Directories of the host that are listed, and how deep.
const LISTED: [(&str, usize); 8] = [
    ("/etc", 2),
    ("/tmp", 1),
    ("/dev/shm", 1),
    ("/run", 1),
    ("/run/netns", 1),
    ("/run/hoist", 3),
    ("/var/lib", 1),
    ("/var/lib/hoist", 3),
];

/// Settings of the kernel that networks have to do with.
const SETTINGS: [&str; 8] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv6/conf/default/disable_ipv6",
    "net/ipv6/conf/all/accept_ra",
    "net/bridge/bridge-nf-call-iptables",
];

impl Host {
    /// Looks at everything.
    pub fn now() -> Self {
        let mut host = Self::named();
        host.put("process", processes());
        host.put("setting", settings());
        host
    }

    /// Looks at what can have a name of ours in it: everything but processes and settings.
    pub fn named() -> Self {
        let mut host = Self::default();
        host.put("link", names(Path::new("/sys/class/net")));
        host.put(
            "address",
            asked("ip", &["-o", "address", "show"]).map(|line| still(&line)),
        );
        for version in ["-4", "-6"] {
            let routes = asked("ip", &[version, "route", "show", "table", "all"]);
            host.put("route", routes.map(|line| still(&line)));
            host.put("rule", asked("ip", &[version, "rule", "show"]));
        }
        host.put("firewall", firewall());
        host.put("connection", connections());
        host.put("mount", mounts());
        host.put("cgroup", cgroups());
        host.put("file", files());
        host
    }

    fn put(&mut self, kind: &str, lines: impl IntoIterator<Item = String>) {
        let lines = lines
            .into_iter()
            .map(|line| format!("{kind} {}", line.trim()));
        self.0.extend(lines);
    }

    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether this line is one of its own.
    pub fn has(&self, line: &str) -> bool {
        self.0.contains(line)
    }

    /// What is different now: `+` is new, `-` is gone.
    pub fn differs(&self, now: &Self) -> Vec<String> {
        let new = now.0.difference(&self.0).map(|line| format!("+ {line}"));
        let gone = self.0.difference(&now.0).map(|line| format!("- {line}"));
        new.chain(gone).collect()
    }
}

/// The lines a program prints; none where there is no such program.
fn asked(program: &str, arguments: &[&str]) -> impl Iterator<Item = String> + use<> {
    let output =
        super::program(program).and_then(|path| Command::new(path).args(arguments).output().ok());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let lines: Vec<String> = text
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.into_iter()
}

/// A line without what changes by itself: the number of a link, times that run out.
fn still(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words.first().is_some_and(|word| word.ends_with(':')) {
        words.remove(0);
    }
    let mut kept = Vec::new();
    let mut skip = false;
    for word in words {
        if !skip
            && !matches!(
                word,
                "valid_lft" | "preferred_lft" | "expires" | "linkdown" | "\\"
            )
        {
            kept.push(word);
        }
        skip = matches!(word, "valid_lft" | "preferred_lft" | "expires");
    }
    kept.join(" ")
}

/// Every rule with its table and chain in front; without counters.
fn firewall() -> Vec<String> {
    let (mut place, mut lines) = (Vec::<String>::new(), Vec::new());
    for line in asked("nft", &["--stateless", "list", "ruleset"]) {
        let line = line.trim().to_owned();
        if line == "}" {
            place.pop();
        } else if let Some(opened) = line.strip_suffix('{') {
            place.push(opened.trim().to_owned());
            lines.push(place.join(" / "));
        } else if !line.is_empty() {
            lines.push(format!("{}: {line}", place.join(" / ")));
        }
    }
    lines
}

/// Who talks to whom by which protocol, where another answers than the one who was asked: an entry of a published port
/// that stays would lead to whoever gets the address next. Others run out by themselves and lead nobody anywhere.
fn connections() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/net/nf_conntrack").unwrap_or_default();
    let kept = ["src=", "dst=", "sport=", "dport="];
    let each = text.lines().filter_map(|line| {
        let words = line.split_whitespace();
        let ends: Vec<&str> = words
            .filter(|word| kept.iter().any(|name| word.starts_with(name)))
            .collect();
        let second = |name: &str| {
            let all = ends.iter().filter_map(|word| word.strip_prefix(name));
            all.collect::<Vec<_>>()
        };
        let (src, dst) = (second("src="), second("dst="));
        let led = src
            .get(1)
            .is_some_and(|answers| dst.first() != Some(answers));
        led.then(|| ends.join(" "))
    });
    each.collect()
}

/// Without numbers, which a mount that comes back need not have again.
fn mounts() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let each = table.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let kind = words
            .iter()
            .position(|word| *word == "-")
            .map_or(&[][..], |at| &words[at + 1..]);
        let place = words.get(3..5).unwrap_or_default();
        format!(
            "{} ({})",
            place.join(" on "),
            kind.get(..2).unwrap_or_default().join(" ")
        )
    });
    each.collect()
}

fn cgroups() -> Vec<String> {
    below(Path::new("/sys/fs/cgroup"), 6, &|path| path.is_dir())
}

/// Programs, not threads of the kernel.
fn processes() -> Vec<String> {
    let dirs = children(Path::new("/proc")).into_iter();
    let each = dirs.filter_map(|dir| {
        let pid: u32 = dir.file_name()?.to_str()?.parse().ok()?;
        let line = std::fs::read(dir.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (!line.trim().is_empty()).then(|| format!("{pid} {line}"))
    });
    each.collect()
}

fn settings() -> Vec<String> {
    let each = SETTINGS.iter().filter_map(|name| {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some(format!("{name} = {}", value.trim()))
    });
    each.collect()
}

fn files() -> Vec<String> {
    let each = LISTED
        .iter()
        .flat_map(|(dir, depth)| below(Path::new(dir), *depth, &|_| true));
    each.collect()
}

fn names(dir: &Path) -> Vec<String> {
    let each = children(dir)
        .into_iter()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    each.collect()
}

/// Paths below a directory, links not followed.
fn below(root: &Path, depth: usize, wanted: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let (mut open, mut found) = (vec![(PathBuf::from(root), 1)], Vec::new());
    while let Some((dir, level)) = open.pop() {
        for path in children(&dir).into_iter().filter(|path| wanted(path)) {
            found.push(path.display().to_string());
            if level < depth && path.is_dir() && !path.is_symlink() {
                open.push((path, level + 1));
            }
        }
    }
    found
}
