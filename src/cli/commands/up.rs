//! `up`: makes the project run as its files say; attached, it shows what containers print and stops them on Ctrl-C.
//!
//! Imports: `apply`, `engine`, `cli::follow`. As Compose: `cmd/compose/up.go`, `pkg/compose/up.go`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::change::{chosen, make_options};
use super::containers::{is_oneoff, label, will_print};
use super::watch::{Alone, cannot, checked, follow, ready, showing, tell_failure};
use crate::apply::{self, ApplyError, Context, Plan, StopOptions, UpOptions, UpPolicy};
use crate::base::clock::Timestamp;
use crate::base::event::EventSink;
use crate::base::scalar::Signal;
use crate::cli::app::{App, Deps, Work};
use crate::cli::args::UpArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::follow::{Done, HookLines, Message, Printer, Scope, WAITING, follow_into};
use crate::cli::interrupts::ends;
use crate::cli::trace::TraceFile;
use crate::cli::{lockfile, parse};
use crate::compose::model::{Project, Service};
use crate::engine::LogQuery;
use crate::ui::logs::{Lines, Look};
use crate::watch::{Busy, Report, Session};

/// How often an attached `up` looks whether anything still runs.
const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(app: &App, args: &UpArgs) -> Outcome {
    let deps = if args.no_deps {
        Deps::Leave
    } else {
        Deps::Include
    };
    let (project, declared) = chosen(app, &args.make, deps)?;
    let options = options(app, args, declared)?;
    let rules = args.watch.then(|| checked(app, &project)).transpose()?;
    if let Some(service) = &args.exit_code_from {
        app.known(Some(&project), std::slice::from_ref(service))?;
    }
    app.known(Some(&project), &args.attach)?;
    app.known(Some(&project), &args.no_attach)?;
    let mut work = app.work(false)?;
    work.context.pins = lockfile::pins(app, &project)?;
    let _trace = TraceFile::begin(app, &work.progress, args.trace.as_deref())?;
    if args.quiet_build {
        work.progress.hide_builds();
    }
    if args.detach || args.wait || args.no_start || app.globals.dry_run {
        app.carry_out(&work, &project.name, |context| {
            apply::plan_up(context, &project, &options)
        })?;
        return Ok(0);
    }
    let enter = |_: &_| Alone::enter(&work.context.roots, &project.name);
    let alone = rules.as_ref().map(enter).transpose()?;
    let attached = Attached {
        app,
        args,
        project: &project,
        work: &work,
    };
    let begin = |rules| {
        ready()?;
        Session::begin(rules, work.context.cancel.clone()).map_err(cannot)
    };
    let session = rules.map(begin).transpose()?;
    let result = attached.run(&options, session);
    drop(alone);
    work.progress.finish();
    result
}

fn options(app: &App, args: &UpArgs, declared: Vec<String>) -> Result<UpOptions, Failure> {
    refuse_watch(args)?;
    if args.wait && (args.abort_on_container_exit || args.exit_code_from.is_some()) {
        return Err(Failure::new(
            "--wait can't be combined with --abort-on-container-exit or --exit-code-from",
        ));
    }
    let made = make_options(app, &args.make, declared)?;
    Ok(UpOptions {
        policy: UpPolicy {
            recreate_deps: args.always_recreate_deps,
            renew_anonymous: args.renew_anon_volumes,
            timeout: parse::timeout(args.timeout),
            create_only: args.no_start,
            wait: args.wait,
            wait_timeout: args.wait_timeout.map(Duration::from_secs),
            ..made.policy
        },
        // A timeline has the steps that are not shown.
        quiet_build: args.quiet_build && args.trace.is_none(),
        ..made
    })
}

/// What `--watch` can't be combined with. As Compose: `cmd/compose/up.go`.
fn refuse_watch(args: &UpArgs) -> Result<(), Failure> {
    if !args.watch {
        return Ok(());
    }
    let others = "--abort-on-container-exit, --abort-on-container-failure, --attach, --attach-dependencies or --watch";
    let text = match () {
        () if args.wait => format!("--wait cannot be combined with {others}"),
        () if args.detach => format!("--detach cannot be combined with {others}"),
        () if args.no_start => "--no-start and --watch are incompatible".to_owned(),
        () if args.make.no_build => "--no-build and --watch are incompatible".to_owned(),
        () => return Ok(()),
    };
    Err(Failure::new(text))
}

/// Services whose output is shown: the named ones or all, but those that ask not to.
fn shown_services(project: &Project, args: &UpArgs) -> BTreeSet<String> {
    let named = &args.make.services;
    let wanted = |name: &str, service: &Service| {
        let listed = |names: &[String]| names.iter().any(|n| n == name);
        let meant = match (
            args.attach.is_empty(),
            named.is_empty() || args.attach_dependencies,
        ) {
            (false, _) => listed(&args.attach),
            (true, true) => true,
            (true, false) => listed(named),
        };
        meant && (service.attach || listed(&args.attach)) && !listed(&args.no_attach)
    };
    let all = project
        .services
        .iter()
        .map(|(name, service)| (name.as_str(), service));
    all.filter(|(name, service)| wanted(name, service))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Names of the containers whose output is shown, as they are on screen.
fn shown_names(project: &Project, services: &BTreeSet<String>) -> Vec<String> {
    let names = |(name, service): (&crate::base::name::ServiceName, &Service)| match &service
        .container_name
    {
        Some(own) => vec![own.value.clone()],
        None => (1..=service.scale).map(|n| format!("{name}-{n}")).collect(),
    };
    let shown = project
        .services
        .iter()
        .filter(|(name, _)| services.contains(name.as_str()));
    shown.flat_map(names).collect()
}

/// The same context, with what hooks print among the containers' lines.
fn with_hooks(context: &Context, lines: &SyncSender<Message>) -> Context {
    context.telling(Arc::new(HookLines {
        beside: Arc::clone(&context.events),
        lines: lines.clone(),
    }))
}

/// Why an attached `up` stops its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    /// Ctrl-C or SIGTERM.
    Interrupt,
    /// A container ended, with this code.
    Ended { code: i32 },
}

/// Tells what `watch` does among the containers' lines.
struct Beside<'a> {
    app: &'a App,
    work: &'a Work,
    quiet: bool,
    lines: SyncSender<Message>,
}

impl Report for Beside<'_> {
    fn say(&self, text: &str) {
        // Nobody looks any more when the command ends.
        let _ = self.lines.send(Message::Watch(text.to_owned()));
    }
    fn warn(&self, text: &str) {
        let _ = self.lines.send(Message::Problem(text.to_owned()));
    }
    fn failed(&self, what: &str, error: ApplyError) {
        tell_failure(self.app, what, error, &|text| self.say(text));
    }
    fn showing(
        &self,
        steps: bool,
        act: &mut dyn FnMut(&Context) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let wrap = |beside| {
            let lines = self.lines.clone();
            Arc::new(HookLines { beside, lines }) as Arc<dyn EventSink>
        };
        let steps = steps && !self.quiet;
        showing(self.app, &self.work.context, (steps, &wrap), act)
    }
}

/// An `up` that stays.
struct Attached<'a> {
    app: &'a App,
    args: &'a UpArgs,
    project: &'a Project,
    work: &'a Work,
}

impl Attached<'_> {
    fn run(&self, options: &UpOptions, session: Option<Session>) -> Outcome {
        let begun = Timestamp::now();
        let interrupts = self.count_interrupts();
        let lock = apply::lock(&self.work.context, &self.project.name)?;
        let plan = apply::plan_up(&self.work.context, self.project, options)?;
        self.app.plan_warnings(&plan);
        let shown = shown_services(self.project, self.args);
        let mut printer = self.printer(&shown);
        let names = shown_names(self.project, &shown);
        if !names.is_empty() {
            printer.say(&format!("Attaching to {}", names.join(", ")))?;
        }
        let done = Done::default();
        let scope = Scope {
            project: self.project.name.clone(),
            services: Some(shown),
            index: None,
            query: LogQuery {
                since: Some(begun),
                passing: true,
                ..LogQuery::default()
            },
            after: begun,
        };
        let (sender, messages) = sync_channel(WAITING);
        let lines = sender.clone();
        let engine = Arc::clone(&self.work.context.engine);
        follow_into(engine, scope, done.clone(), sender);
        let mut ended = None;
        self.carry(&plan, (&messages, &lines), &mut printer, &mut ended)?;
        drop(lock);
        self.work.progress.finish();
        let reason = match ended {
            Some(reason) => Some(reason),
            None => self.stay(session, (&messages, &lines), &mut printer, &interrupts)?,
        };
        let code = match &reason {
            Some(reason) => self.stop(reason, (&messages, &lines), &mut printer, &interrupts)?,
            None => 0,
        };
        done.tell();
        drop(lines);
        for message in messages {
            printer.print(&message)?;
        }
        Ok(code)
    }

    fn printer(&self, shown: &BTreeSet<String>) -> Printer {
        let screen = self.app.screen;
        let look = Look {
            prefix: !self.args.no_log_prefix,
            colour: screen.out_colour && !self.args.no_color,
            timestamps: self.args.timestamps,
            terminal: screen.out_terminal,
        };
        let mut printer = Printer::new(
            Lines::new(look),
            Some(Arc::clone(&self.work.progress)),
            true,
        );
        for name in shown_names(self.project, shown) {
            printer.add(&name);
        }
        printer
    }

    /// From now on Ctrl-C is counted; the first one also ends what is being carried out.
    fn count_interrupts(&self) -> Arc<AtomicU32> {
        let count = Arc::new(AtomicU32::new(0));
        let (counter, cancel) = (Arc::clone(&count), self.work.context.cancel.clone());
        self.work.interrupts.hand_to(move |signal| {
            if ends(signal) {
                counter.fetch_add(1, Ordering::SeqCst);
                cancel.cancel();
            }
        });
        count
    }

    /// Carries the plan out while lines are shown. A cancelled run is a reason to stop, not a failure.
    fn carry(
        &self,
        plan: &Plan,
        (messages, lines): (&Receiver<Message>, &SyncSender<Message>),
        printer: &mut Printer,
        ended: &mut Option<Reason>,
    ) -> Result<(), Failure> {
        let context = with_hooks(&self.work.context, lines);
        let result = self.beside(messages, printer, ended, || {
            apply::run(&context, plan).map(drop)
        })?;
        match result {
            Err(error) if error.is_cancelled() => {
                *ended = Some(Reason::Interrupt);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Runs `act` on a thread of its own and shows lines until it ends.
    fn beside(
        &self,
        messages: &Receiver<Message>,
        printer: &mut Printer,
        ended: &mut Option<Reason>,
        act: impl FnOnce() -> Result<(), ApplyError> + Send,
    ) -> Result<Result<(), ApplyError>, Failure> {
        thread::scope(|scope| {
            let worker = scope.spawn(act);
            while !worker.is_finished() {
                match messages.recv_timeout(TICK) {
                    Ok(message) => {
                        printer.print(&message)?;
                        *ended = ended.take().or_else(|| self.reason(&message, None));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            worker
                .join()
                .map_err(|_| Failure::new("a part of hoist itself failed; this is a bug"))
        })
    }

    /// Whether a message is a reason to stop everything.
    fn reason(&self, message: &Message, busy: Option<&Busy>) -> Option<Reason> {
        let Message::Exited {
            code,
            service,
            restarting: false,
            ..
        } = message
        else {
            return None;
        };
        if busy.is_some_and(|busy| busy.has(service)) {
            // It ends because its files have changed.
            return None;
        }
        let any = self.args.abort_on_container_exit || self.args.exit_code_from.is_some();
        let failed = self.args.abort_on_container_failure && *code != 0;
        (any || failed).then_some(Reason::Ended { code: *code })
    }

    /// Shows lines as [`Attached::show`] does; with a session, files are followed meanwhile.
    fn stay(
        &self,
        session: Option<Session>,
        (messages, lines): (&Receiver<Message>, &SyncSender<Message>),
        printer: &mut Printer,
        interrupts: &AtomicU32,
    ) -> Result<Option<Reason>, Failure> {
        let Some(session) = session else {
            return self.show(messages, printer, interrupts, None);
        };
        let (stop, busy) = (session.stop(), session.busy());
        let report = Beside {
            app: self.app,
            work: self.work,
            quiet: self.args.quiet_build,
            lines: lines.clone(),
        };
        thread::scope(|scope| {
            let act = || {
                let ended = follow(self.work, self.project, session, true, &report);
                if let Err(error) = ended {
                    report.failed("", error);
                }
            };
            let worker = scope.spawn(act);
            let reason = self.show(messages, printer, interrupts, Some(&busy));
            stop.stop();
            while !worker.is_finished() {
                // Somebody must take what it says, or it would never end.
                if let Ok(message) = messages.recv_timeout(TICK) {
                    printer.print(&message)?;
                }
            }
            reason
        })
    }

    /// Shows lines until a reason to stop, or until nothing runs any more (`None`). Where files are followed that is
    /// none: with the next change it may run again.
    fn show(
        &self,
        messages: &Receiver<Message>,
        printer: &mut Printer,
        interrupts: &AtomicU32,
        busy: Option<&Busy>,
    ) -> Result<Option<Reason>, Failure> {
        loop {
            if interrupts.load(Ordering::SeqCst) > 0 {
                return Ok(Some(Reason::Interrupt));
            }
            match messages.recv_timeout(TICK) {
                Ok(message) => {
                    printer.print(&message)?;
                    if let Some(reason) = self.reason(&message, busy) {
                        return Ok(Some(reason));
                    }
                }
                Err(RecvTimeoutError::Timeout) if busy.is_some() || self.anything_runs()? => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Whether a container of the watched services runs or will run again.
    fn anything_runs(&self) -> Result<bool, Failure> {
        let named = &self.args.make.services;
        let world = self.work.context.engine.observe(&self.project.name)?;
        Ok(world.containers.iter().any(|c| {
            let service = label(c, "service");
            let meant = match named.is_empty() {
                true => self.project.service(service).is_some(),
                false => named.iter().any(|name| name == service),
            };
            meant && !is_oneoff(c) && will_print(c)
        }))
    }

    /// Stops what this `up` has started and gives the command's exit code.
    fn stop(
        &self,
        reason: &Reason,
        (messages, lines): (&Receiver<Message>, &SyncSender<Message>),
        printer: &mut Printer,
        interrupts: &Arc<AtomicU32>,
    ) -> Outcome {
        printer.say(match reason {
            Reason::Interrupt => "Gracefully Stopping... press Ctrl+C again to force",
            Reason::Ended { .. } => "Aborting on container exit...",
        })?;
        let mut ignored = None;
        let progress = self.app.new_progress(false);
        printer.above(&progress);
        let context = with_hooks(&self.app.again(&self.work.context, &progress), lines);
        self.kill_on_next(interrupts);
        let options = StopOptions {
            services: self.args.make.services.clone(),
            timeout: parse::timeout(self.args.timeout),
            ..StopOptions::default()
        };
        let stopped = self.beside(messages, printer, &mut ignored, || {
            let _lock = apply::lock(&context, &self.project.name)?;
            let plan =
                apply::plan_stop(&context, &self.project.name, Some(self.project), &options)?;
            apply::run(&context, &plan).map(drop)
        })?;
        progress.finish();
        stopped?;
        match (reason, &self.args.exit_code_from) {
            (Reason::Interrupt, _) => Ok(130),
            (Reason::Ended { .. }, Some(service)) => self.exit_code_of(service),
            (Reason::Ended { code }, None) => Ok(*code),
        }
    }

    /// The next Ctrl-C kills every container of the project.
    fn kill_on_next(&self, interrupts: &Arc<AtomicU32>) {
        let engine = Arc::clone(&self.work.context.engine);
        let (name, count) = (self.project.name.clone(), Arc::clone(interrupts));
        self.work.interrupts.hand_to(move |signal| {
            if !ends(signal) {
                return;
            }
            count.fetch_add(1, Ordering::SeqCst);
            let Ok(world) = engine.observe(&name) else {
                return;
            };
            for container in world
                .containers
                .iter()
                .filter(|c| c.state.is_up() && !is_oneoff(c))
            {
                // One that has just ended can't be killed and need not be.
                let _ = engine.kill(&container.id, Signal::KILL);
            }
        });
    }

    /// The exit code of a service's container, after everything was stopped.
    fn exit_code_of(&self, service: &str) -> Outcome {
        let world = self.work.context.engine.observe(&self.project.name)?;
        let exits = world
            .containers
            .iter()
            .filter(|c| label(c, "service") == service && !is_oneoff(c));
        let code = exits
            .filter_map(|c| c.state.exit())
            .map(|exit| exit.code())
            .next();
        Ok(code.unwrap_or(0))
    }
}
