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
use super::menu::{self, Step, Writer};
use super::watch::{Alone, cannot, checked, follow, ready, tell_failure};
use crate::apply::{self, ApplyError, Context, Plan, StopOptions, UpOptions, UpPolicy};
use crate::base::cancel::Cancel;
use crate::base::clock::Timestamp;
use crate::base::event::EventSink;
use crate::base::scalar::Signal;
use crate::cli::app::{App, Deps, Work};
use crate::cli::args::UpArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::focus::Focus;
use crate::cli::follow::{Done, HookLines, Message, Printer, Scope, WAITING, follow_into};
use crate::cli::interrupts::{Others, ends};
use crate::cli::keys::Keys;
use crate::cli::terminal::{Settings, give_back_at};
use crate::cli::trace::TraceFile;
use crate::cli::{isolate, lockfile, parse};
use crate::compose::model::{Project, Service};
use crate::engine::LogQuery;
use crate::engine::state::ObservedContainer;
use crate::ui::logs::{Lines, Look};
use crate::ui::menu::{Asked, Menu};
use crate::ui::{Mode, Progress};
use crate::watch::{Busy, Report, Rule, Session};

/// How often an attached `up` looks whether anything still runs.
const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(app: &App, args: &UpArgs) -> Outcome {
    let deps = if args.no_deps {
        Deps::Leave
    } else {
        Deps::Include
    };
    isolate::leave(app)?;
    let (project, declared) = chosen(app, &args.make, deps)?;
    if project.services.is_empty() {
        let failure = Failure::new("no service selected");
        return Err(match declared.is_empty() {
            true => failure.hint("the compose file has no services"),
            false => failure.hint("profiles turn services on: `--profile NAME`, or name a service"),
        });
    }
    isolate::announce(app)?;
    let options = options(app, args, declared)?;
    let rules = args.watch.then(|| checked(app, &project)).transpose()?;
    if let Some(service) = &args.exit_code_from {
        app.known(Some(&project), std::slice::from_ref(service))?;
    }
    app.known(Some(&project), &args.attach)?;
    app.known(Some(&project), &args.no_attach)?;
    let stays = !(args.detach || args.wait || args.no_start || app.globals.dry_run);
    // Before there are other threads, which would let them through.
    let last = stays.then(Others::last).transpose()?;
    let mut work = app.work(false)?;
    if let Some(last) = last {
        give_back_at(last, Settings::leave)?;
    }
    work.context.pins = lockfile::pins(app, &project)?;
    let trace = args.trace.as_deref().filter(|_| !app.globals.dry_run);
    let _trace = TraceFile::begin(app, &work.progress, trace)?;
    if args.quiet_build {
        work.progress.hide_builds();
    }
    if !stays {
        app.carry_out(&work, &project.name, |context| {
            apply::plan_up(context, &project, &options)
        })?;
        return Ok(0);
    }
    let attached = Attached {
        app,
        args,
        project: &project,
        work: &work,
    };
    let session = rules.map(|rules| attached.watching(rules)).transpose()?;
    let result = attached.run(&options, session);
    work.progress.finish();
    result
}

pub(super) fn options(
    app: &App,
    args: &UpArgs,
    declared: Vec<String>,
) -> Result<UpOptions, Failure> {
    refuse(args)?;
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

/// What can't be combined. As Compose: `cmd/compose/up.go`, in its order and words.
fn refuse(args: &UpArgs) -> Result<(), Failure> {
    let aborts = args.abort_on_container_exit
        || args.abort_on_container_failure
        || args.exit_code_from.is_some();
    let shows = !args.attach.is_empty() || args.attach_dependencies;
    let few = "--abort-on-container-exit, --attach or --attach-dependencies";
    let all = "--abort-on-container-exit, --abort-on-container-failure, --attach, --attach-dependencies or --watch";
    let text = match () {
        () if args.wait && args.watch => format!("--wait cannot be combined with {all}"),
        () if args.wait && (aborts || shows) => format!("--wait cannot be combined with {few}"),
        () if args.detach && (aborts || shows || args.watch) => {
            format!("--detach cannot be combined with {all}")
        }
        () if args.no_start && args.watch => "--no-start and --watch are incompatible".to_owned(),
        () if args.make.no_build && args.watch => {
            "--no-build and --watch are incompatible".to_owned()
        }
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

/// Where messages come from, and where others leave them.
type Channel<'a> = (&'a Receiver<Message>, &'a SyncSender<Message>);

/// What is at hand while lines are shown.
struct Show<'a> {
    channel: Channel<'a>,
    interrupts: &'a AtomicU32,
    keys: Option<&'a Keys>,
    /// Services that files are brought to.
    busy: Option<&'a Busy>,
}

/// Why an attached `up` ends before its containers do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    /// A key: the containers go on.
    Detached,
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
    /// Ends what is under way.
    cancel: Cancel,
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
        // Above the menu, as all that is shown.
        let text = tell_failure(self.app, what, error, &|text| self.say(text));
        let _ = self.lines.send(Message::Text {
            stderr: true,
            text: text.into_bytes(),
        });
    }
    fn showing(
        &self,
        steps: bool,
        act: &mut dyn FnMut(&Context) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let quiet = !steps || self.quiet;
        // A list that is redrawn would draw over the lines of containers; lines come between theirs.
        let progress = Arc::new(match self.app.mode(quiet) {
            Mode::Auto | Mode::Tty | Mode::Plain => Writer::progress(self.app, &self.lines),
            mode => Progress::new(mode, self.app.screen, false),
        });
        let sink = Arc::new(HookLines {
            beside: Arc::clone(&progress) as Arc<dyn EventSink>,
            lines: self.lines.clone(),
        });
        let result = act(&Context {
            cancel: self.cancel.clone(),
            ..self.work.context.telling(sink)
        });
        progress.finish();
        result
    }
}

/// Files that are followed.
struct Watching {
    session: Session,
    /// Ends it with what it has under way.
    cancel: Cancel,
    _alone: Alone,
}

/// An `up` that stays.
struct Attached<'a> {
    app: &'a App,
    args: &'a UpArgs,
    project: &'a Project,
    work: &'a Work,
}

impl Attached<'_> {
    /// What changes from now on is followed, by this command alone.
    fn watching(&self, rules: Vec<Rule>) -> Result<Watching, Failure> {
        let alone = Alone::enter(&self.work.context.roots, &self.project.name)?;
        ready()?;
        let cancel = Cancel::default();
        let session = Session::begin(rules, cancel.clone()).map_err(cannot)?;
        Ok(Watching {
            session,
            cancel,
            _alone: alone,
        })
    }

    fn run(&self, options: &UpOptions, session: Option<Watching>) -> Outcome {
        let begun = Timestamp::now();
        let interrupts = self.count_interrupts();
        let lock = apply::lock(&self.work.context, &self.project.name)?;
        let plan = apply::plan_up(&self.work.context, self.project, options)?;
        self.app.before(self.work, &plan)?;
        let shown = shown_services(self.project, self.args);
        let mut printer = self.printer(&shown);
        let names = shown_names(self.project, &shown);
        if !names.is_empty() {
            // As Compose: behind what is pulled, built and made, before what containers print.
            printer.head(format!("Attaching to {}", names.join(", ")));
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
            None => {
                printer.say_heading()?;
                self.stay(session, (&messages, &lines), &mut printer, &interrupts)?
            }
        };
        let code = match &reason {
            Some(Reason::Detached) => {
                printer.say("detached: the containers go on; `hoist logs -f` shows them again")?;
                0
            }
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
        let result = self.beside((messages, None), printer, ended, || {
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
        (messages, keys): (&Receiver<Message>, Option<&Keys>),
        printer: &mut Printer,
        ended: &mut Option<Reason>,
        act: impl FnOnce() -> Result<(), ApplyError> + Send,
    ) -> Result<Result<(), ApplyError>, Failure> {
        thread::scope(|scope| {
            let worker = scope.spawn(act);
            while !worker.is_finished() {
                match messages.recv_timeout(TICK) {
                    Ok(message) => {
                        menu::meanwhile(&message, printer, keys)?;
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

    /// Shows lines until there is a reason to end; files are followed meanwhile when there is a session, and keys are
    /// taken.
    fn stay(
        &self,
        mut watching: Option<Watching>,
        (messages, lines): Channel<'_>,
        printer: &mut Printer,
        interrupts: &AtomicU32,
    ) -> Result<Option<Reason>, Failure> {
        let keys = self.keys(lines, printer);
        let result = loop {
            if let Some(menu) = printer.menu() {
                menu.watching(watching.is_some());
            }
            printer.draw_menu();
            let (busy, on) = (
                watching.as_ref().map(|w| w.session.busy()),
                watching.is_some(),
            );
            let show = Show {
                channel: (messages, lines),
                interrupts,
                keys: keys.as_ref(),
                busy: busy.as_ref(),
            };
            let step = match watching.take() {
                None => self.show(&show, printer),
                Some(watching) => self.show_watching(watching, &show, printer),
            };
            match step {
                Ok(Step::Watch) if !on => watching = self.watch_now(printer)?,
                Ok(Step::Watch) => {}
                Ok(Step::Detach) => break Ok(Some(Reason::Detached)),
                Ok(Step::Over(reason)) => break Ok(reason),
                Err(error) => break Err(error),
            }
        };
        printer.close_menu();
        result
    }

    /// Begins to take keys, where that is wanted and can be.
    fn keys(&self, lines: &SyncSender<Message>, printer: &mut Printer) -> Option<Keys> {
        if !menu::wanted(self.app, self.args.menu) {
            return None;
        }
        let sender = lines.clone();
        let keys = Keys::enter(move |bytes| sender.send(Message::Keys(bytes.to_vec())).is_ok())?;
        let services = self.project.services.keys().map(ToString::to_string);
        printer.with_menu(Menu::new(services.collect()));
        Some(keys)
    }

    /// What `w` does; why it can't is said.
    fn watch_now(&self, printer: &mut Printer) -> Result<Option<Watching>, Failure> {
        printer.hide_menu();
        match checked(self.app, self.project).and_then(|rules| self.watching(rules)) {
            Ok(watching) => Ok(Some(watching)),
            Err(failure) => {
                failure.report(self.app.screen, self.app.json_progress());
                Ok(None)
            }
        }
    }

    /// As [`Attached::show`], while files are followed.
    fn show_watching(
        &self,
        watching: Watching,
        show: &Show<'_>,
        printer: &mut Printer,
    ) -> Result<Step<Reason>, Failure> {
        let (messages, lines) = show.channel;
        let stop = watching.session.stop();
        let report = Beside {
            app: self.app,
            work: self.work,
            quiet: self.args.quiet_build,
            lines: lines.clone(),
            cancel: watching.cancel.clone(),
        };
        thread::scope(|scope| {
            let act = || {
                let ended = follow(self.work, self.project, watching.session, true, &report);
                if let Err(error) = ended {
                    report.failed("", error);
                }
            };
            let worker = scope.spawn(act);
            let step = self.show(show, printer);
            stop.stop();
            while !worker.is_finished() {
                // Somebody must take what it says, or it would never end.
                if let Ok(message) = messages.recv_timeout(TICK) {
                    menu::meanwhile(&message, printer, show.keys)?;
                }
            }
            step
        })
    }

    /// Shows lines until a key or a reason to stop, or until nothing runs any more. Where files are followed that is
    /// none: with the next change it may run again.
    fn show(&self, show: &Show<'_>, printer: &mut Printer) -> Result<Step<Reason>, Failure> {
        let (messages, _) = show.channel;
        loop {
            if show.interrupts.load(Ordering::SeqCst) > 0 {
                return Ok(Step::Over(Some(Reason::Interrupt)));
            }
            match printer.menu().and_then(Menu::due) {
                Some(Asked::Watch) => return Ok(Step::Watch),
                Some(Asked::Detach) => return Ok(Step::Detach),
                Some(Asked::Restart(word)) => {
                    self.restart(&word, show, printer)?;
                    continue;
                }
                Some(Asked::Focus(word)) => {
                    self.focus(&word, printer)?;
                    continue;
                }
                Some(other) => {
                    menu::take(other, printer, show.keys)?;
                    continue;
                }
                None => {}
            }
            // What is there is written together; nothing is held while nothing comes.
            let next = match messages.try_recv() {
                Ok(message) => Ok(message),
                Err(_) => {
                    printer.flush()?;
                    messages.recv_timeout(TICK)
                }
            };
            match next {
                Ok(message @ Message::Keys(_)) => {
                    menu::meanwhile(&message, printer, show.keys)?;
                }
                Ok(message) => {
                    printer.show(&message)?;
                    if let Some(reason) = self.reason(&message, show.busy) {
                        printer.flush()?;
                        return Ok(Step::Over(Some(reason)));
                    }
                }
                Err(RecvTimeoutError::Timeout)
                    if show.busy.is_some() || self.anything_runs()? =>
                {
                    printer.refit_menu();
                }
                Err(_) => return Ok(Step::Over(None)),
            }
        }
    }

    /// Restarts the service that a word means. That its containers end is no reason to stop the others.
    fn restart(&self, word: &str, show: &Show<'_>, printer: &mut Printer) -> Result<(), Failure> {
        let (messages, lines) = show.channel;
        let service = match printer.menu().map(|menu| menu.service(word)) {
            Some(Ok(service)) => service,
            Some(Err(why)) => return Ok(printer.say(&why)?),
            None => return Ok(()),
        };
        let progress = Arc::new(Writer::progress(self.app, lines));
        let sink = Arc::clone(&progress) as Arc<dyn EventSink>;
        let context = with_hooks(&self.work.context.telling(sink), lines);
        let options = StopOptions {
            services: vec![service.clone()],
            timeout: parse::timeout(self.args.timeout),
            no_deps: true,
        };
        let name = &self.project.name;
        let mut ignored = None;
        let done = self.beside((messages, show.keys), printer, &mut ignored, || {
            let _lock = apply::lock(&context, name)?;
            let plan = apply::plan_restart(&context, name, Some(self.project), &options)?;
            apply::run(&context, &plan).map(drop)
        })?;
        progress.finish();
        if let Err(error) = done {
            printer.say(&format!("{service} was not restarted: {}", error.message()))?;
        }
        Ok(())
    }

    /// Shows only the service that a word means, and gives it the keyboard if it takes input.
    fn focus(&self, word: &str, printer: &mut Printer) -> Result<(), Failure> {
        let service = match printer.menu().map(|menu| menu.service(word)) {
            Some(Ok(service)) => service,
            Some(Err(why)) => return Ok(printer.say(&why)?),
            None => return Ok(()),
        };
        let model = self.project.service(&service);
        let takes = model.is_some_and(|model| model.stdin_open || model.tty);
        let engine = self.work.context.engine.as_ref();
        let world = engine.observe(&self.project.name)?;
        let of = |c: &&ObservedContainer| label(c, "service") == service && !is_oneoff(c);
        let containers: Vec<&ObservedContainer> = world.containers.iter().filter(of).collect();
        match Focus::on(engine, &self.project.name, &containers, takes) {
            Ok(focus) => {
                let takes = focus.takes();
                printer.focus(Some(focus));
                if let Some(menu) = printer.menu() {
                    menu.focus(Some((service, takes)));
                }
                printer.draw_menu();
            }
            Err(error) => printer.say(&format!("{service} can't have the keyboard: {error}"))?,
        }
        Ok(())
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
        // As Compose, which has the two in different streams.
        match reason {
            Reason::Interrupt | Reason::Detached => {
                printer.say("Gracefully Stopping... press Ctrl+C again to force")?;
            }
            Reason::Ended { .. } => {
                printer.say_aside(&self.app.notice("Aborting on container exit..."))?;
            }
        }
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
        let stopped = self.beside((messages, None), printer, &mut ignored, || {
            let _lock = apply::lock(&context, &self.project.name)?;
            let plan =
                apply::plan_stop(&context, &self.project.name, Some(self.project), &options)?;
            apply::run(&context, &plan).map(drop)
        })?;
        progress.finish();
        stopped?;
        match (reason, &self.args.exit_code_from) {
            (Reason::Interrupt | Reason::Detached, _) => Ok(130),
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
