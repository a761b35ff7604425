//! `watch`, and what `up --watch` has in common with it: files that change on the host, followed in the containers.
//!
//! Imports: `watch`, `apply`. As Compose: `cmd/compose/watch.go`. Of a project only one command watches at a time.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::change::{chosen, make_options};
use crate::apply::{self, ApplyError, Context};
use crate::base::event::{Event, EventSink};
use crate::base::name::ProjectName;
use crate::base::span::Spanned;
use crate::cli::app::{App, Deps, Work};
use crate::cli::args::{MakeArgs, WatchArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::ends;
use crate::compose::model::{Project, PullPolicy};
use crate::engine::Roots;
use crate::sys::lock::{Hold, Lock};
use crate::ui::{Mode, Progress, events, write_err, write_out};
use crate::watch::{Options, Report, Rule, Session, Stop, World, rules};

pub(super) fn run(app: &App, args: &WatchArgs) -> Outcome {
    let make = MakeArgs {
        services: args.services.clone(),
        ..MakeArgs::default()
    };
    let (mut project, declared) = chosen(app, &make, Deps::Include)?;
    let rules = checked(app, &project)?;
    let work = app.work(false)?;
    let _alone = Alone::enter(&work.context.roots, &project.name)?;
    if args.quiet {
        work.progress.hide_builds();
    }
    if app.globals.dry_run {
        let options = make_options(app, &make, declared)?;
        app.carry_out(&work, &project.name, |context| {
            apply::plan_up(context, &project, &options)
        })?;
        return Ok(0);
    }
    ready()?;
    // What changes from here on is not missed.
    let session = Session::begin(rules, work.context.cancel.clone()).map_err(cannot)?;
    if !args.no_up {
        let own = own_builds(&mut project);
        let mut options = make_options(app, &make, declared)?;
        options.quiet_build = args.quiet;
        app.carry_out(&work, &project.name, |context| {
            apply::plan_up(context, &project, &options)
        })?;
        give_back(&mut project, own);
    }
    work.progress.finish();
    let stop = session.stop();
    stop_on_signal(&work, stop.clone());
    let report = Plain {
        app,
        work: &work,
        quiet: args.quiet,
        stop,
    };
    follow(&work, &project, session, args.prune, &report)?;
    Ok(match work.context.cancel.is_cancelled() {
        true => 130,
        false => 0,
    })
}

/// The rules of a project; what is odd about them is shown.
///
/// # Errors
/// Rules that can't be; none at all.
pub(super) fn checked(app: &App, project: &Project) -> Result<Vec<Rule>, Failure> {
    let sources = project.sources.clone();
    let (rules, odd) = match rules(project) {
        Ok(found) => found,
        Err(faults) => return Err(Failure::faults(faults.sorted(), sources)),
    };
    app.show_warnings(&odd, &sources);
    if rules.is_empty() {
        let text = "none of the selected services is configured for watch, consider setting a 'develop' section";
        return Err(Failure::new(text));
    }
    Ok(rules)
}

/// Writes to a container that has just ended must not end this command.
///
/// # Errors
/// The system's.
pub(super) fn ready() -> Result<(), Failure> {
    let ready = crate::sys::signal::ignore_pipe();
    ready.map_err(|errno| Failure::new(format!("cannot ignore SIGPIPE: {errno}")))
}

pub(super) fn cannot(error: io::Error) -> Failure {
    Failure::new(format!("cannot watch files: {error}"))
}

/// Runs a session to its end.
///
/// # Errors
/// Those that end it.
pub(super) fn follow(
    work: &Work,
    project: &Project,
    session: Session,
    prune: bool,
    report: &dyn Report,
) -> Result<(), ApplyError> {
    let options = Options { prune };
    session.run(World {
        project,
        engine: work.context.engine.as_ref(),
        store: &work.context.store,
        options: &options,
        report,
    })
}

fn stop_on_signal(work: &Work, stop: Stop) {
    work.interrupts.hand_to(move |signal| {
        if ends(signal) {
            stop.stop();
        }
    });
}

/// A service's own policy, by the place of the service.
type Own = Vec<(usize, Option<Spanned<PullPolicy>>)>;

/// Services that are watched and can be built are built before they start. As Compose.
fn own_builds(project: &mut Project) -> Own {
    let mut own = Vec::new();
    for (at, service) in project.services.values_mut().enumerate() {
        if service.build.is_some() && service.develop.is_some() {
            let build = Some(Spanned::bare(PullPolicy::Build));
            own.push((at, std::mem::replace(&mut service.pull_policy, build)));
        }
    }
    own
}

fn give_back(project: &mut Project, own: Own) {
    for (at, policy) in own {
        if let Some((_, service)) = project.services.get_index_mut(at) {
            service.pull_policy = policy;
        }
    }
}

/// The word that a project's files are watched by this command alone, until it is dropped.
#[derive(Debug)]
pub(super) struct Alone {
    path: PathBuf,
    _lock: Lock,
}

impl Alone {
    /// # Errors
    /// When another command watches them; the system's.
    pub(super) fn enter(roots: &Roots, project: &ProjectName) -> Result<Self, Failure> {
        let path = roots.run.join(format!("watch-{project}.lock"));
        let cannot =
            |error: io::Error| Failure::new(format!("cannot lock {}: {error}", path.display()));
        loop {
            let Some(lock) = Lock::try_acquire(&path, Hold::Exclusive).map_err(cannot)? else {
                let pid = fs::read_to_string(&path).unwrap_or_default();
                let who = match pid.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process with PID {pid}"),
                };
                return Err(Failure::new(format!(
                    "cannot take exclusive lock for project \"{project}\": {who} is still running"
                )));
            };
            // Whoever has just ended has taken its file away.
            if lock.is_at(&path) {
                fs::write(&path, std::process::id().to_string()).map_err(cannot)?;
                return Ok(Self { path, _lock: lock });
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // One that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// Tells on the two output streams.
struct Plain<'a> {
    app: &'a App,
    work: &'a Work,
    quiet: bool,
    stop: Stop,
}

/// Prints what commands in containers print; the rest goes elsewhere.
struct Lines(Arc<dyn EventSink>);

impl EventSink for Lines {
    fn send(&self, event: Event) {
        match event {
            // A closed output ends the command at its next word of its own.
            Event::Output { source, line } => drop(write_out(format!("{source} {line}\n"))),
            event => self.0.send(event),
        }
    }
}

impl Report for Plain<'_> {
    fn say(&self, text: &str) {
        if self.app.json_progress() {
            return write_err(events::notice(text));
        }
        if write_out(format!("{text}\n")).is_err() {
            // Nobody reads any more.
            self.stop.stop();
        }
    }
    fn warn(&self, text: &str) {
        self.app.warn(text);
    }
    fn failed(&self, what: &str, error: ApplyError) {
        write_err(tell_failure(self.app, what, error, &|text| self.say(text)));
    }
    fn showing(
        &self,
        steps: bool,
        act: &mut dyn FnMut(&Context) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let wrap = |sink| Arc::new(Lines(sink)) as Arc<dyn EventSink>;
        let steps = steps && !self.quiet;
        showing(self.app, &self.work.context, (steps, &wrap), act)
    }
}

/// Takes out of events what is shown elsewhere.
pub(super) type Wrap<'a> = &'a dyn Fn(Arc<dyn EventSink>) -> Arc<dyn EventSink>;

/// Says what failed; gives what is to be told on standard error, which says why in full.
pub(super) fn tell_failure(app: &App, what: &str, error: ApplyError, say: &dyn Fn(&str)) -> String {
    if !what.is_empty() {
        let first = error.message().lines().next().unwrap_or_default();
        say(&format!("{what}{first}"));
    }
    Failure::from(error).told(app.screen, app.json_progress())
}

/// Runs `act` with a display of its own; without `steps` it shows only what went wrong.
///
/// # Errors
/// Those of `act`.
pub(super) fn showing(
    app: &App,
    context: &Context,
    (steps, wrap): (bool, Wrap<'_>),
    act: &mut dyn FnMut(&Context) -> Result<(), ApplyError>,
) -> Result<(), ApplyError> {
    // A list that is redrawn would draw over the lines of containers.
    let mode = match app.mode(!steps) {
        Mode::Auto | Mode::Tty => Mode::Plain,
        mode => mode,
    };
    let progress = Arc::new(Progress::new(mode, app.screen, false));
    let sink = Arc::clone(&progress) as Arc<dyn EventSink>;
    let result = act(&context.telling(wrap(sink)));
    progress.finish();
    result
}
