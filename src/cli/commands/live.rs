//! `live`: a project's containers with what they use and print, on a whole screen; keys restart, stop and pause services.
//!
//! One thread takes what happens and draws; lines, keys and signals reach it through one channel. What keys ask for is done by a
//! thread of its own, one thing after the other.
//! Imports: `apply`, `engine`, `plan::desired` (names), `ui::board`, `cli::{follow, keys, terminal}`.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::containers::{is_oneoff, label, ports, state, will_print};
use super::gauge::{Gauge, Reading};
use super::menu::Writer;
use crate::apply::{self, ApplyError, Context, PauseOptions, StartOptions, StopOptions};
use crate::base::clock::Timestamp;
use crate::base::event::EventSink;
use crate::base::name::ProjectName;
use crate::cli::app::App;
use crate::cli::args::LiveArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::follow::{Done, Message, Scope, WAITING, ended, follow_into};
use crate::cli::interrupts::{Others, ends};
use crate::cli::keys::Keys;
use crate::cli::parse;
use crate::cli::terminal::{Settings, before_panic, give_back_at};
use crate::compose::model::Project;
use crate::engine::LogQuery;
use crate::engine::state::{HealthStatus, ObservedContainer, State};
use crate::plan::desired::screen_name;
use crate::ui::board::{Act, Board, Mood, Picture, Row, Use, Wish, leave_at_once};
use crate::ui::keys::{AGAIN, INTERRUPT};
use crate::ui::write_err;

/// Time between two measurements.
const PERIOD: Duration = Duration::from_secs(1);

/// Time before the first.
const FIRST: Duration = Duration::from_millis(300);

/// Time between two pictures, at least.
const FRAME: Duration = Duration::from_millis(100);

/// What is to be done with a service.
type Order = (Act, String);

pub(super) fn run(app: &App, args: &LiveArgs) -> Outcome {
    needs_terminal(app)?;
    let tail = parse::tail(&args.tail, |text| app.warn(text));
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    // Before there are other threads, which would let them through.
    let last = Others::last()?;
    let work = app.work(false)?;
    let (sender, messages) = sync_channel(WAITING);
    give_back_at(last, |settings: &Settings| {
        leave_at_once();
        settings.restore();
    })?;
    before_panic(leave_at_once);
    let keys = sender.clone();
    work.interrupts.hand_to(move |signal| {
        // Any other says that the terminal has another size.
        let key = if ends(signal) { INTERRUPT } else { AGAIN };
        let _ = keys.send(Message::Keys(vec![key]));
    });
    let live = Live {
        app,
        context: work.context,
        project,
        services: args.services.iter().cloned().collect(),
        name,
    };
    live.run(tail, &messages, &sender)
}

/// # Errors
/// Where nothing can be drawn, or nobody could press keys.
fn needs_terminal(app: &App) -> Result<(), Failure> {
    let simple = app.env.non_empty("TERM").is_none_or(|term| term == "dumb");
    if app.screen.out_terminal && std::io::stdin().is_terminal() && !simple {
        return Ok(());
    }
    let text = "`live` needs a terminal for its input and output that can be drawn on";
    Err(Failure::new(text)
        .hint("`hoist ps`, `hoist stats --no-stream` and `hoist logs` print the same"))
}

/// The view of one project.
struct Live<'a> {
    app: &'a App,
    context: Context,
    name: ProjectName,
    project: Option<Project>,
    /// All when it is empty.
    services: BTreeSet<String>,
}

impl Live<'_> {
    fn run(
        &self,
        tail: Option<usize>,
        messages: &Receiver<Message>,
        sender: &SyncSender<Message>,
    ) -> Outcome {
        let wanted = |c: &ObservedContainer| {
            !is_oneoff(c)
                && (self.services.is_empty() || self.services.contains(label(c, "service")))
        };
        let mut gauge = Gauge::new(self.context.engine.as_ref(), self.name.clone(), &wanted)?;
        let scope = Scope {
            project: self.name.clone(),
            services: (!self.services.is_empty()).then(|| self.services.clone()),
            index: None,
            query: LogQuery {
                tail,
                ..LogQuery::default()
            },
            after: Timestamp::now(),
        };
        let (done, engine) = (Done::default(), Arc::clone(&self.context.engine));
        follow_into(engine, scope, done, sender.clone());
        thread::scope(|scope| {
            let (orders, todo) = mpsc::channel();
            let worker = scope.spawn(|| self.carry_out(todo, sender));
            let result = self.show(&mut gauge, messages, sender, &orders);
            // What was asked for is done all the same.
            drop(orders);
            self.finish(messages, || worker.is_finished());
            result
        })
    }

    /// Shows everything until a key ends it.
    fn show(
        &self,
        gauge: &mut Gauge<'_>,
        messages: &Receiver<Message>,
        sender: &SyncSender<Message>,
        orders: &Sender<Order>,
    ) -> Outcome {
        let typed = sender.clone();
        let keys = Keys::enter(move |bytes| typed.send(Message::Keys(bytes.to_vec())).is_ok());
        let Some(keys) = keys else {
            return Err(Failure::new(
                "`live` can't take the terminal's keyboard: another process has it",
            )
            .hint("start it in the foreground"));
        };
        let mut board = Board::new(self.name.as_str(), self.app.screen.out_colour);
        board.rows(self.rows(gauge));
        let mut picture = Picture::open()?;
        picture.draw(&mut board)?;
        let mut drawn = Instant::now();
        let mut due = drawn + FIRST;
        let mut changed = false;
        loop {
            let now = Instant::now();
            if now >= due {
                due = now + PERIOD;
                let unsettled = gauge.readings().any(|reading| is_unsettled(&reading));
                gauge.look(unsettled)?;
                board.rows(self.rows(gauge));
                changed = true;
            }
            if changed && drawn.elapsed() >= FRAME {
                picture.draw(&mut board)?;
                (drawn, changed) = (Instant::now(), false);
            }
            let next = if changed { due.min(drawn + FRAME) } else { due };
            let message =
                match messages.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return Ok(0),
                };
            changed = true;
            for wish in taken(&mut board, &message) {
                match wish {
                    Wish::Quit => return Ok(0),
                    Wish::Interrupt => return Err(Failure::said(130)),
                    Wish::Again => picture.again()?,
                    Wish::Suspend => {
                        drop(picture);
                        keys.suspend();
                        picture = Picture::open()?;
                    }
                    Wish::Act(act, service) => {
                        board.note(&format!("{service}: {}…", words(act).0));
                        // Its thread is there as long as this one.
                        let _ = orders.send((act, service));
                    }
                }
            }
        }
    }

    fn rows(&self, gauge: &Gauge<'_>) -> Vec<Row> {
        let now = Timestamp::now();
        gauge
            .readings()
            .map(|reading| row(&self.name, &reading, now))
            .collect()
    }

    /// Does what keys have asked for, until there are no more keys.
    fn carry_out(&self, todo: Receiver<Order>, sender: &SyncSender<Message>) {
        for (act, service) in todo {
            let text = match self.act(act, &service, sender) {
                Ok(()) => format!("{service} was {}\n", words(act).1),
                Err(error) => format!("{service} was not {}: {}\n", words(act).1, error.message()),
            };
            let _ = sender.send(Message::Text {
                stderr: true,
                text: text.into_bytes(),
            });
        }
    }

    fn act(&self, act: Act, service: &str, sender: &SyncSender<Message>) -> Result<(), ApplyError> {
        let progress = Arc::new(Writer::progress(self.app, sender));
        let context = &self
            .context
            .telling(Arc::clone(&progress) as Arc<dyn EventSink>);
        let (name, project) = (&self.name, self.project.as_ref());
        let services = vec![service.to_owned()];
        let stop = || StopOptions {
            services: services.clone(),
            timeout: None,
            no_deps: true,
        };
        let freeze = |frozen| PauseOptions {
            services: services.clone(),
            frozen,
        };
        let start = || StartOptions {
            services: services.clone(),
            ..StartOptions::default()
        };
        let plan = || match act {
            Act::Restart => apply::plan_restart(context, name, project, &stop()),
            Act::Stop => apply::plan_stop(context, name, project, &stop()),
            Act::Start => apply::plan_start(context, name, project, &start()),
            Act::Pause => apply::plan_pause(context, name, project, &freeze(true)),
            Act::Unpause => apply::plan_pause(context, name, project, &freeze(false)),
        };
        let result = match self.app.globals.dry_run {
            true => plan().map(|plan| apply::rehearse(context, &plan)),
            false => {
                apply::lock(context, name).and_then(|_lock| apply::run(context, &plan()?).map(drop))
            }
        };
        progress.finish();
        result
    }

    /// Tells what is still done when the view is left; Ctrl-C ends it.
    fn finish(&self, messages: &Receiver<Message>, finished: impl Fn() -> bool) {
        while !finished() {
            // Somebody must take what is said, or it would never end.
            match messages.recv_timeout(FRAME) {
                Ok(Message::Text { text, .. }) => write_err(text),
                Ok(Message::Keys(bytes)) if bytes.contains(&INTERRUPT) => {
                    self.context.cancel.cancel();
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// What is said while it is done, and when it is done.
fn words(act: Act) -> (&'static str, &'static str) {
    match act {
        Act::Restart => ("restarting", "restarted"),
        Act::Stop => ("stopping", "stopped"),
        Act::Start => ("starting", "started"),
        Act::Pause => ("pausing", "paused"),
        Act::Unpause => ("unpausing", "unpaused"),
    }
}

/// Puts a message on the board; gives what a user wishes with it.
fn taken(board: &mut Board, message: &Message) -> Vec<Wish> {
    match message {
        Message::Line { name, record } => {
            board.printed(name, record.stderr, record.time, &record.line);
        }
        Message::Exited {
            name,
            code,
            restarting,
            ..
        } => {
            board.told(name, Timestamp::now(), &ended(*code, *restarting));
        }
        Message::Problem(text) | Message::Watch(text) => board.note(text),
        Message::Text { text, .. } => {
            let text = String::from_utf8_lossy(text);
            // The last of several lines says how far it is.
            let line = text
                .lines()
                .rev()
                .map(str::trim)
                .find(|line| !line.is_empty());
            line.into_iter().for_each(|line| board.note(line));
        }
        Message::Gone { .. } => {}
        Message::Keys(bytes) => return board.typed(bytes),
    }
    Vec::new()
}

/// Whether what its probes say may be different soon, of which nobody tells.
fn is_unsettled(reading: &Reading<'_>) -> bool {
    let health = reading.container.health.as_ref();
    reading.container.state.is_up() && health.is_some_and(|h| h.status != HealthStatus::Healthy)
}

fn row(project: &ProjectName, reading: &Reading<'_>, now: Timestamp) -> Row {
    let container = reading.container;
    let health = container
        .health
        .as_ref()
        .filter(|_| container.state.is_up());
    let mood = match (container.state, health.map(|health| health.status)) {
        (State::Running { .. }, Some(HealthStatus::Unhealthy)) | (State::Restarting { .. }, _) => {
            Mood::Bad
        }
        (State::Running { .. }, Some(HealthStatus::Starting)) | (State::Paused { .. }, _) => {
            Mood::Waiting
        }
        (State::Running { .. }, _) => Mood::Good,
        (State::Exited { exit }, _) if exit.code() != 0 => Mood::Bad,
        _ => Mood::Idle,
    };
    Row {
        name: screen_name(project, &container.name).to_owned(),
        service: label(container, "service").to_owned(),
        status: state(container.state, now),
        mood,
        health: health.map_or_else(String::new, |health| health.status.as_str().to_owned()),
        missing: health.and_then(|health| health.shortfall()),
        used: reading.now.map(|load| Use {
            cpu: reading.processor(),
            memory: load.memory,
            limit: reading.memory_limit(),
            received: reading.rate(|load| load.received),
            sent: reading.rate(|load| load.sent),
            read: reading.rate(|load| load.read),
            written: reading.rate(|load| load.written),
            pids: load.pids,
        }),
        image: container.image.clone(),
        ports: ports(container),
        up: will_print(container),
        paused: matches!(container.state, State::Paused { .. }),
    }
}
