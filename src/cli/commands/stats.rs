//! `stats`: what containers use now, once or again and again.
//!
//! Imports: `engine`, `ui::rows`. As Docker: docker/cli `command/container/{stats,formatter_stats}.go`; but that a
//! terminal is only controlled where there is one.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::containers::{is_oneoff, label};
use super::events::{left_by_signal, wait};
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::StatsArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::Engine;
use crate::engine::happening::Happenings;
use crate::engine::state::{Load, ObservedContainer};
use crate::ui::rows::Fields;
use crate::ui::write_out;

/// Time between two pictures.
const PERIOD: Duration = Duration::from_secs(1);

/// Time after which containers are looked for again though nothing was told of them.
const LOOK: Duration = Duration::from_secs(10);

/// Time that the first picture's processor time is taken of.
const FIRST: Duration = Duration::from_millis(300);

const FIELDS: Fields = Fields {
    kind: "*container.statsContext",
    all: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    width: 10,
};

const SHOWN: [&str; 8] = [
    "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
];

/// What was measured last, by container.
type Loads = BTreeMap<ContainerId, Load>;

pub(super) fn run(app: &App, args: &StatsArgs) -> Outcome {
    let failed = |fault: crate::ui::template::Fault| Failure::new(fault.to_string());
    let format = super::format::rows(app, &args.format).map_err(failed)?;
    let (name, project) = app.project_or_name()?;
    if let (Some(project), Some(service)) = (&project, &args.service)
        && project.service(service).is_none()
    {
        // As Compose: there are just no containers of it.
        app.warn(&format!("no such service: {service}"));
    }
    let left = left_by_signal()?;
    let engine = app.engine()?;
    let memory = total_memory();
    // Before the first look: what happens after it is told.
    let mut happenings = engine.happenings(&name, false).ok();
    let mut shown = containers(engine.as_ref(), &name, args)?;
    let mut looked = Instant::now();
    let mut before = measured(engine.as_ref(), &shown);
    let mut period = FIRST;
    loop {
        if wait(&[left.as_fd()], Some(period))?.contains(&0) {
            return Err(Failure::said(130));
        }
        period = PERIOD;
        if looked.elapsed() >= LOOK || has_changed(happenings.as_deref_mut()) {
            shown = containers(engine.as_ref(), &name, args)?;
            looked = Instant::now();
        }
        let loads = measured(engine.as_ref(), &shown);
        let rows: Vec<Map<String, Value>> = shown
            .iter()
            .map(|one| {
                row(
                    one,
                    (before.get(&one.id), loads.get(&one.id)),
                    memory,
                    args.no_trunc,
                )
            })
            .collect();
        let text = format.text(&FIELDS, &SHOWN, &rows).map_err(failed)?;
        before = loads;
        if args.no_stream {
            write_out(text)?;
            return Ok(0);
        }
        match app.screen.out_terminal {
            true => write_out(picture(&text))?,
            false => write_out(text)?,
        }
    }
}

/// A text that takes the place of the one before: from the upper left, each line and the rest cleared.
fn picture(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\r\n"))
}

/// The containers to show, by name.
fn containers(
    engine: &dyn Engine,
    name: &ProjectName,
    args: &StatsArgs,
) -> Result<Vec<ObservedContainer>, Failure> {
    let mut found = engine.observe(name)?.containers;
    found.retain(|c| {
        let wanted = args
            .service
            .as_ref()
            .is_none_or(|s| s == label(c, "service"));
        wanted && !is_oneoff(c) && (args.all || c.state.is_up())
    });
    Ok(found)
}

/// Whether other containers may run than before; true where nobody tells.
fn has_changed(happenings: Option<&mut (dyn Happenings + 'static)>) -> bool {
    let happened = happenings.and_then(|happenings| happenings.read().ok());
    // Health checks come and go all the time.
    happened.is_none_or(|happened| happened.iter().any(|one| !one.action.starts_with("exec_")))
}

/// One that has just ended uses nothing.
fn measured(engine: &dyn Engine, containers: &[ObservedContainer]) -> Loads {
    let up = containers.iter().filter(|one| one.state.is_up());
    up.filter_map(|one| Some((one.id.clone(), engine.load(&one.id).ok()?)))
        .collect()
}

fn row(
    container: &ObservedContainer,
    (before, load): (Option<&Load>, Option<&Load>),
    memory: u64,
    whole: bool,
) -> Map<String, Value> {
    let id = container.id.as_str();
    let (cpu, limit) = match load {
        Some(load) => {
            let limit = load.memory_limit.map_or(memory, |limit| limit.min(memory));
            (processor(before, load), limit)
        }
        None => (0.0, 0),
    };
    let load = load.copied().unwrap_or_default();
    let share = match limit {
        0 => 0.0,
        limit => load.memory as f64 / limit as f64 * 100.0,
    };
    let both = |one: u64, other: u64| {
        format!(
            "{} / {}",
            ByteSize(one).decimal(),
            ByteSize(other).decimal()
        )
    };
    let pairs = [
        ("BlockIO", both(load.read, load.written)),
        ("CPUPerc", format!("{cpu:.2}%")),
        ("Container", id.to_owned()),
        ("ID", super::containers::id(&container.id, whole)),
        ("MemPerc", format!("{share:.2}%")),
        (
            "MemUsage",
            format!(
                "{} / {}",
                ByteSize(load.memory).binary(),
                ByteSize(limit).binary()
            ),
        ),
        ("Name", container.name.clone()),
        ("NetIO", both(load.received, load.sent)),
        ("PIDs", load.pids.to_string()),
    ];
    let pair = |(key, value): (&str, String)| (key.to_owned(), Value::from(value));
    pairs.into_iter().map(pair).collect()
}

/// Processor time between two looks as percents of one processor.
fn processor(before: Option<&Load>, now: &Load) -> f64 {
    let Some(before) = before else { return 0.0 };
    let time = now.at.saturating_sub(before.at).as_secs_f64();
    // One that was started again has used less than before.
    let used = now.cpu.saturating_sub(before.cpu).as_secs_f64();
    if time > 0.0 { used / time * 100.0 } else { 0.0 }
}

/// The machine's memory: `MemTotal` of proc_meminfo(5).
fn total_memory() -> u64 {
    let read = || -> io::Result<String> { std::fs::read_to_string("/proc/meminfo") };
    let text = read().unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_a_share_of_the_time_between() {
        let at = |at: u64, cpu: u64| Load {
            at: Duration::from_millis(at),
            cpu: Duration::from_millis(cpu),
            ..Load::default()
        };
        let close = |found: f64, wanted: f64| (found - wanted).abs() < 1e-9;
        assert!(close(processor(Some(&at(0, 0)), &at(1000, 500)), 50.0));
        assert!(close(processor(Some(&at(0, 0)), &at(500, 1000)), 200.0));
        assert!(close(processor(None, &at(500, 1000)), 0.0));
        assert!(close(processor(Some(&at(0, 900)), &at(500, 10)), 0.0));
        assert!(close(processor(Some(&at(5, 0)), &at(5, 10)), 0.0));
    }

    #[test]
    fn a_picture_clears_what_it_takes_the_place_of() {
        assert_eq!(picture("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }
}
