//! `top`: the processes of containers, read from `/proc`.
//!
//! Imports: `engine::state`. Source: proc_pid_stat(5), cgroups(7). As Docker: the columns of `ps -ef` on the host.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::tz::TimeZone;

use super::containers::{known_or_made, label};
use crate::base::clock::Timestamp;
use crate::cli::app::App;
use crate::cli::args::ServicesArgs;
use crate::cli::exit::Outcome;
use crate::engine::state::ObservedContainer;
use crate::ui::table::Table;
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &ServicesArgs) -> Outcome {
    let (name, project) = app.project_or_name()?;
    let world = app.engine()?.observe(&name)?;
    known_or_made(app, project.as_ref(), &world, &args.services)?;
    let named = |c: &&ObservedContainer| {
        args.services.is_empty() || args.services.iter().any(|name| name == label(c, "service"))
    };
    let number = |c: &ObservedContainer| label(c, "container-number").parse::<u32>().unwrap_or(0);
    let mut shown: Vec<_> = world.containers.iter().filter(named).collect();
    shown.sort_by_key(|c| (label(c, "service").to_owned(), number(c), c.name.clone()));
    let (processes, host) = (processes(), Host::look());
    let mut table = Table::new(4, &HEAD).gap(2);
    let mut any = false;
    for container in shown {
        let Some(init) = container.pid else { continue };
        for process in family(&processes, init) {
            any = true;
            let [service, number] =
                ["service", "container-number"].map(|key| label(container, key));
            let own = [service.to_owned(), number.to_owned()];
            table.row(own.into_iter().chain(host.cells(process)));
        }
    }
    // As Compose: where nothing runs, nothing stands above it either.
    if any {
        write_out(table.text())?;
    }
    Ok(0)
}

const HEAD: [&str; 10] = [
    "SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD",
];

/// What of the host gives the numbers of processes a meaning.
struct Host {
    users: BTreeMap<u32, String>,
    now: Timestamp,
    /// Seconds since it started.
    uptime: u64,
    /// So many ticks are a second.
    ticks: u64,
    zone: TimeZone,
}

impl Host {
    fn look() -> Self {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        };
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
        let ticks = ticks
            .ok()
            .flatten()
            .and_then(|count| u64::try_from(count).ok());
        Self {
            // The first line of a number counts.
            users: users.lines().rev().filter_map(user).collect(),
            now: Timestamp::now(),
            uptime: uptime
                .split('.')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            ticks: ticks.filter(|count| *count > 0).unwrap_or(100),
            zone: TimeZone::system(),
        }
    }

    fn cells(&self, process: &Process) -> [String; 8] {
        let used = process.used / self.ticks;
        let age = self.uptime.saturating_sub(process.started / self.ticks);
        let busy = (process.used * 100 / self.ticks)
            .checked_div(age.max(1))
            .unwrap_or(0);
        // As `ps`: a name that is too long for the column is a number.
        let user = self.users.get(&process.uid).filter(|name| name.len() <= 8);
        [
            user.cloned().unwrap_or_else(|| process.uid.to_string()),
            process.pid.to_string(),
            process.parent.to_string(),
            busy.min(99).to_string(),
            self.start(age),
            process.terminal.clone().unwrap_or_else(|| "?".to_owned()),
            format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60),
            process.command.clone(),
        ]
    }

    /// When a process of this age in seconds began: `21:03`, before today `Nov22`, before this year `2025`.
    fn start(&self, age: u64) -> String {
        let now = self.now.seconds();
        let zoned = |seconds: i64| {
            let at = jiff::Timestamp::from_second(seconds).ok()?;
            Some(at.to_zoned(self.zone.clone()))
        };
        let begun = zoned(now.saturating_sub(i64::try_from(age).unwrap_or(0)));
        let (Some(begun), Some(now)) = (begun, zoned(now)) else {
            return "?".to_owned();
        };
        let form = match (begun.year() == now.year(), begun.date() == now.date()) {
            (_, true) => "%H:%M",
            (true, false) => "%b%d",
            (false, false) => "%Y",
        };
        begun.strftime(form).to_string()
    }
}

/// One process of the host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    uid: u32,
    /// Identifies its process namespace: descendants of an init share it, commands run beside it do too.
    namespace: String,
    /// `pts/0`, `tty1`.
    terminal: Option<String>,
    /// Processor time it has used, in ticks.
    used: u64,
    /// When it began, in ticks since the host started.
    started: u64,
    command: String,
}

/// All processes; those that end meanwhile are left out.
fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = pids.filter_map(process).collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn process(pid: i32) -> Option<Process> {
    use std::os::unix::fs::MetadataExt as _;
    let dir = Path::new("/proc").join(pid.to_string());
    let stat = std::fs::read(dir.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name is in parentheses and may hold anything.
    let (front, rest) = stat.rsplit_once(')')?;
    let name = front.split_once('(')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The first of these is the state, the third field of the line.
    let number = |at: usize| -> Option<u64> { fields.get(at - 3)?.parse().ok() };
    let raw = std::fs::read(dir.join("cmdline")).ok()?;
    let words: Vec<String> = raw
        .split(|b| *b == 0)
        .filter(|w| !w.is_empty())
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect();
    let command = match (words.is_empty(), fields.first()) {
        (true, Some(&"Z")) => format!("[{name}] <defunct>"),
        (true, _) => format!("[{name}]"),
        (false, _) => words.join(" "),
    };
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        uid: std::fs::metadata(&dir).ok()?.uid(),
        namespace: std::fs::read_link(dir.join("ns/pid"))
            .ok()?
            .to_string_lossy()
            .into_owned(),
        terminal: terminal(fields.get(4)?.parse().ok()?),
        used: number(14)? + number(15)?,
        started: number(22)?,
        command: command
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    })
}

/// The name of a terminal by its number, as proc_pid_stat(5) puts it together.
fn terminal(number: i64) -> Option<String> {
    let (major, minor) = (
        (number >> 8) & 0xfff,
        (number & 0xff) | ((number >> 12) & 0xfff00),
    );
    match major {
        0 => None,
        4 if minor < 64 => Some(format!("tty{minor}")),
        // Eight numbers in a row, each for 256 of them; today the first one takes all.
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        _ => Some("?".to_owned()),
    }
}

/// A container's init and everything in its process namespace; where that is the host's, its descendants.
fn family(all: &[Process], init: i32) -> Vec<&Process> {
    let Some(first) = all.iter().find(|process| process.pid == init) else {
        return Vec::new();
    };
    let host = all
        .iter()
        .find(|process| process.pid == 1)
        .map(|process| &process.namespace);
    if host != Some(&first.namespace) {
        return all
            .iter()
            .filter(|process| process.namespace == first.namespace)
            .collect();
    }
    let mut kin = vec![init];
    let mut family = vec![first];
    while let Some(parent) = kin.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            kin.push(child.pid);
            family.push(child);
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, namespace: &str) -> Process {
        Process {
            pid,
            parent,
            namespace: namespace.into(),
            ..Process::default()
        }
    }

    #[test]
    fn a_family_is_a_namespace_or_on_the_hosts_the_descendants() {
        let all = [
            process(1, 0, "host"),
            process(5, 1, "host"),
            process(6, 5, "host"),
            process(7, 1, "a"),
            process(8, 1, "a"),
        ];
        let pids = |init| family(&all, init).iter().map(|p| p.pid).collect::<Vec<_>>();
        assert_eq!(pids(7), [7, 8]);
        assert_eq!(pids(5), [5, 6]);
        assert!(pids(99).is_empty());
    }

    #[test]
    fn cells_are_those_of_ps() {
        let host = Host {
            users: [(0, "root".to_owned()), (7, "somebody-else".to_owned())].into(),
            now: Timestamp(1_700_000_000 * 1_000_000_000),
            uptime: 10_000,
            ticks: 100,
            zone: TimeZone::UTC,
        };
        let process = Process {
            pid: 12,
            parent: 3,
            used: 366_200,
            started: 200_000,
            terminal: terminal(0x8803),
            command: "sh -c x".into(),
            ..Process::default()
        };
        let want = [
            "root", "12", "3", "45", "20:00", "pts/3", "01:01:02", "sh -c x",
        ];
        assert_eq!(host.cells(&process), want);
        let other = Process {
            uid: 7,
            ..Process::default()
        };
        assert_eq!(host.cells(&other)[0], "7");
        assert_eq!(host.start(86_400), "Nov13");
        assert_eq!(host.start(366 * 86_400), "2022");
        assert_eq!(terminal(0), None);
    }
}
