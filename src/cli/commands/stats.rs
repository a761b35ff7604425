//! `stats`: what containers use now, once or again and again.
//!
//! Imports: `engine`, `ui::rows`. As Docker: docker/cli `command/container/{stats,formatter_stats}.go`; but that a
//! terminal is only controlled where there is one.

use std::os::fd::AsFd as _;
use std::time::Duration;

use serde_json::{Map, Value};

use super::containers::{is_oneoff, label};
use super::events::{left_by_signal, wait};
use super::gauge::{Gauge, Reading};
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::StatsArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::state::ObservedContainer;
use crate::ui::rows::Fields;
use crate::ui::write_out;

/// Time between two pictures.
const PERIOD: Duration = Duration::from_secs(1);

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
    let wanted = |c: &ObservedContainer| {
        let service = args.service.as_ref();
        service.is_none_or(|service| service == label(c, "service"))
            && !is_oneoff(c)
            && (args.all || c.state.is_up())
    };
    let mut gauge = Gauge::new(engine.as_ref(), name, &wanted)?;
    let mut period = FIRST;
    loop {
        if wait(&[left.as_fd()], Some(period))?.contains(&0) {
            return Err(Failure::said(130));
        }
        period = PERIOD;
        gauge.look(false)?;
        let rows: Vec<Map<String, Value>> = gauge
            .readings()
            .map(|reading| row(&reading, args.no_trunc))
            .collect();
        let text = format.text(&FIELDS, &SHOWN, &rows).map_err(failed)?;
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

fn row(reading: &Reading<'_>, whole: bool) -> Map<String, Value> {
    let container = reading.container;
    let id = container.id.as_str();
    let (cpu, limit) = (reading.processor(), reading.memory_limit());
    let load = reading.now.copied().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_clears_what_it_takes_the_place_of() {
        assert_eq!(picture("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }
}
