//! `logs`: what containers have printed, oldest first over all of them, and what they print next.
//!
//! Imports: `engine`, `plan::desired` (names), `ui::logs`, `cli::follow`, `cli::merge`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::containers::will_print;

use crate::base::clock::Timestamp;
use crate::cli::app::App;
use crate::cli::args::LogsArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::follow::{Done, Message, Printer, Scope, follow};
use crate::cli::merge::{Log, merge};
use crate::cli::parse;
use crate::engine::state::ObservedContainer;
use crate::engine::{Engine, EngineError, LogQuery};
use crate::plan::desired::screen_name;
use crate::ui::logs::{Lines, Look};

/// Time without a line after which it is looked whether anything still runs, at first and when something ended.
const LOOK: Duration = Duration::from_millis(300);

/// The same when something runs.
const SELDOM: Duration = Duration::from_secs(5);

pub(super) fn run(app: &App, args: &LogsArgs) -> Outcome {
    let now = Timestamp::now();
    let time = |text: &Option<String>| {
        text.as_deref()
            .map(|text| parse::time(text, now))
            .transpose()
    };
    let query = LogQuery {
        tail: parse::tail(&args.tail, |text| app.warn(text)),
        since: time(&args.since)?,
        until: time(&args.until)?,
        follow: args.follow,
        passing: false,
    };
    let index = args.index.filter(|index| *index > 0);
    if index.is_some() && args.services.len() != 1 {
        let text = "--index requires one service to be selected";
        return Err(Failure::new(text).hint("write the service: `hoist logs --index 2 web`"));
    }
    let (project, loaded) = app.project_or_name()?;
    app.known(loaded.as_ref(), &args.services)?;
    let services =
        (!args.services.is_empty()).then(|| args.services.iter().cloned().collect::<BTreeSet<_>>());
    let scope = Scope {
        project,
        services,
        index,
        query,
        after: now,
    };
    let engine = app.engine()?;
    let look = Look {
        prefix: !args.no_log_prefix,
        colour: app.screen.out_colour && !args.no_color,
        timestamps: args.timestamps,
        terminal: app.screen.out_terminal,
    };
    let mut printer = Printer::new(Lines::new(look), None, args.follow);
    let world = engine.observe(&scope.project)?;
    let containers: Vec<&ObservedContainer> = world
        .containers
        .iter()
        .filter(|c| scope.covers(c))
        .collect();
    if let (Some(index), [service], true) = (index, &args.services[..], containers.is_empty()) {
        return Err(Failure::new(format!(
            "service \"{service}\" is not running container #{index}"
        )));
    }
    for container in &containers {
        printer.add(screen_name(&scope.project, &container.name));
    }
    if args.follow {
        return go_on(&engine, scope, &mut printer);
    }
    past(engine.as_ref(), &scope, &containers, &mut printer)?;
    Ok(0)
}

/// Prints lines as they come, until nothing of the scope runs any more.
fn go_on(engine: &Arc<dyn Engine>, scope: Scope, printer: &mut Printer) -> Outcome {
    let done = Done::default();
    let messages = follow(Arc::clone(engine), scope.clone(), done.clone());
    let mut pause = LOOK;
    loop {
        // What is there is written together; nothing is held while nothing comes.
        let next = match messages.try_recv() {
            Ok(message) => Ok(message),
            Err(_) => {
                printer.flush()?;
                messages.recv_timeout(pause)
            }
        };
        match next {
            Ok(message) => {
                if !matches!(message, Message::Line { .. }) {
                    pause = LOOK;
                }
                printer.show(&message)?;
            }
            Err(RecvTimeoutError::Timeout) => {
                // An end is told; this is for what happens unseen.
                pause = SELDOM;
                let world = engine.observe(&scope.project)?;
                if !world
                    .containers
                    .iter()
                    .any(|c| scope.covers(c) && will_print(c))
                {
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(0),
        }
    }
    done.tell();
    for message in messages {
        printer.print(&message)?;
    }
    Ok(0)
}

/// Prints what is there, by time over all containers.
fn past(
    engine: &dyn Engine,
    scope: &Scope,
    containers: &[&ObservedContainer],
    printer: &mut Printer,
) -> Result<(), Failure> {
    let (mut names, mut logs) = (Vec::new(), Vec::new());
    for container in containers {
        match engine.logs(&container.id, &scope.query) {
            Ok(stream) => {
                names.push(screen_name(&scope.project, &container.name).to_owned());
                logs.push(Log::new(stream));
            }
            // One that has no log must not keep the others' from being shown.
            Err(error @ EngineError::Unsupported { .. }) => {
                printer.print(&Message::Problem(error.to_string()))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    merge(&mut logs, None, |at, record| {
        let name = names.get(at).cloned().unwrap_or_default();
        printer.show(&Message::Line { name, record })
    })?;
    let fault = names
        .iter()
        .zip(&logs)
        .find_map(|(name, log)| Some(format!("{name}: cannot read the log: {}", log.fault()?)));
    for name in names {
        printer.show(&Message::Gone { name })?;
    }
    printer.flush()?;
    fault.map_or(Ok(()), |text| Err(Failure::new(text)))
}
