//! `top`: the processes of containers, read from `/proc`.
//!
//! Imports: `engine::state`. Source: proc_pid_stat(5), cgroups(7).

use std::path::Path;

use super::containers::{is_oneoff, label};
use crate::cli::app::App;
use crate::cli::args::ServicesArgs;
use crate::cli::exit::Outcome;
use crate::ui::table::Table;
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &ServicesArgs) -> Outcome {
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    let world = app.engine()?.observe(&name)?;
    let mut table = Table::new(0, &["SERVICE", "#", "UID", "PID", "PPID", "CMD"]);
    let processes = processes();
    for container in &world.containers {
        let service = label(container, "service");
        let named = args.services.is_empty() || args.services.iter().any(|name| name == service);
        let Some(init) = container.pid.filter(|_| named && !is_oneoff(container)) else {
            continue;
        };
        for process in family(&processes, init) {
            table.row([
                service.to_owned(),
                label(container, "container-number").to_owned(),
                process.uid.to_string(),
                process.pid.to_string(),
                process.parent.to_string(),
                process.command.clone(),
            ]);
        }
    }
    write_out(table.text())?;
    Ok(0)
}

/// One process of the host.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    uid: u32,
    /// Identifies its process namespace: descendants of an init share it, commands run beside it do too.
    namespace: String,
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
    let dir = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(dir.join("status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let raw = std::fs::read(dir.join("cmdline")).ok()?;
    let words: Vec<String> = raw
        .split(|b| *b == 0)
        .filter(|w| !w.is_empty())
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect();
    let command = match words.is_empty() {
        true => format!("[{}]", field("Name:")?),
        false => words.join(" "),
    };
    Some(Process {
        pid,
        parent: field("PPid:")?.parse().ok()?,
        uid: field("Uid:")?.parse().ok()?,
        namespace: std::fs::read_link(dir.join("ns/pid"))
            .ok()?
            .to_string_lossy()
            .into_owned(),
        command: command
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    })
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
            uid: 0,
            namespace: namespace.into(),
            command: String::new(),
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
}
