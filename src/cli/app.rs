//! What every command needs: the project, the image store, the engine, progress. Each is made when first asked for.
//!
//! In: global flags and the environment. Out: loaded values.
//! Imports: all. Rules: docker compose's global flags and `COMPOSE_*` variables.

use std::io::Read as _;
use std::sync::{Arc, OnceLock};

use super::args::{AnsiArg, Globals, ProgressArg};
use super::exit::Failure;
use super::interrupts::{Interrupts, ends};
use super::isolate::{self, Checkout};
use super::remote::Fetcher;
use super::roots;
use crate::apply::{self, ApplyError, Context, Plan};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::env::Env;
use crate::base::name::ProjectName;
use crate::base::span::SourceMap;
use crate::build::slots::Slots;
use crate::compose::model::Project;
use crate::compose::select::{Selection, select};
use crate::compose::{self, LoadError, LoadRequest};
use crate::engine::{self, Cancel, Engine, Roots};
use crate::image::store::Store;
use crate::plan::action::Action;
use crate::ui::{Ansi, Mode, Progress, Screen, events, json, render, write_err, write_out};

/// One command's surroundings.
#[derive(Debug)]
pub struct App {
    /// What stood before the command.
    pub globals: Globals,
    /// Variables and directories.
    pub env: Env,
    /// What the output streams can show.
    pub screen: Screen,
    /// Whether findings are told as JSON, for commands with `--format json`.
    pub json_findings: bool,
    mode: Mode,
    /// Fetches compose files that lie elsewhere; made when it is first needed.
    fetcher: OnceLock<Arc<Fetcher>>,
    /// The isolated checkout that the command is about, looked for when it is first needed.
    checkout: OnceLock<Option<Checkout>>,
    /// What it shares with other checkouts all the same.
    shared: OnceLock<Vec<String>>,
}

/// The variable for the form that builds are shown in.
const BUILD_FORM: &str = "BUILDKIT_PROGRESS";

/// What a command that changes things works with, until it ends.
#[derive(Debug)]
pub struct Work {
    /// For `apply`.
    pub context: Context,
    /// Shows what happens.
    pub progress: Arc<Progress>,
    /// Ctrl-C cancels `context`.
    pub interrupts: Interrupts,
    /// Whether the form that builds are shown in is what the environment says.
    form_of_environment: bool,
}

/// What a command works with that makes images and starts no container.
#[derive(Debug)]
pub struct Making {
    /// Where everything lies.
    pub roots: Roots,
    /// Keeps images.
    pub store: Arc<Store>,
    /// Shows what happens.
    pub progress: Arc<Progress>,
    /// Ctrl-C cancels it.
    pub cancel: Cancel,
    /// Where signals go.
    pub interrupts: Interrupts,
}

impl App {
    /// Reads the flags and variables that every command has.
    ///
    /// # Errors
    /// A variable with a value that is none of the allowed ones; with the screen to say it on.
    pub fn new(globals: Globals, env: Env) -> Result<Self, (Failure, Screen)> {
        let no_color = env.non_empty("NO_COLOR").is_some();
        let ansi = match globals.ansi {
            Some(arg) => ansi(arg),
            None => match env.non_empty("COMPOSE_ANSI") {
                Some("never") => Ansi::Never,
                Some("always") => Ansi::Always,
                // As Compose: any other word as well.
                _ => Ansi::Auto,
            },
        };
        let screen = Screen {
            status_out: env.flag("COMPOSE_STATUS_STDOUT"),
            ..Screen::new(ansi, no_color)
        };
        let mode = match globals.progress {
            Some(arg) => progress_mode(arg),
            None => variable_mode(&env).map_err(|failure| (failure, screen))?,
        };
        if globals.parallel.is_none() {
            parallel_limit(&env).map_err(|failure| (failure, screen))?;
        }
        Ok(Self {
            globals,
            env,
            screen,
            json_findings: false,
            mode,
            fetcher: OnceLock::new(),
            checkout: OnceLock::new(),
            shared: OnceLock::new(),
        })
    }

    /// Whether progress and errors are JSON.
    pub fn json_progress(&self) -> bool {
        self.mode == Mode::Json
    }

    /// Shows a warning.
    pub fn warn(&self, text: &str) {
        if self.json_progress() {
            return write_err(events::warning(text));
        }
        write_err(render::warning(text, self.screen.err_colour));
    }

    /// A line of the command's own for standard error, in the form that all is shown in there.
    pub fn notice(&self, text: &str) -> String {
        match self.json_progress() {
            true => events::notice(text),
            false => format!("{text}\n"),
        }
    }

    /// Says how things are, where progress is shown.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say_status(&self, text: &str) -> std::io::Result<()> {
        let text = self.notice(text);
        if self.screen.status_out {
            return write_out(text);
        }
        write_err(text);
        Ok(())
    }

    /// Loads the project as the files say, without narrowing it down; warnings are shown.
    ///
    /// # Errors
    /// Every fault in the files.
    pub fn load(&self) -> Result<Project, Failure> {
        let mut project = compose::load(&self.request()?, &self.env).map_err(load_failure)?;
        self.show_warnings(&project.warnings, &project.sources);
        self.doubt_profiles(&project);
        self.isolate(&mut project)?;
        Ok(project)
    }

    /// A profile that no service has is no error, as with docker compose; one letter off it is a mistake all the same.
    fn doubt_profiles(&self, project: &Project) {
        let services = || project.services.values();
        for name in &self.globals.profile {
            let known = || services().flat_map(|service| &service.profiles);
            if known().any(|known| known == name) || name == "*" {
                continue;
            }
            if let Some(near) = crate::base::diag::nearest(name, known().map(String::as_str)) {
                self.warn(&format!(
                    "no service has the profile `{name}`; did you mean `{near}`?"
                ));
            }
        }
    }

    /// Changes a project to what this checkout has of it, where it is isolated.
    fn isolate(&self, project: &mut Project) -> Result<(), Failure> {
        if let Some(checkout) = self.checkout()? {
            let shared = isolate::rewrite(project, checkout);
            self.shared.get_or_init(|| shared);
        }
        Ok(())
    }

    /// What the loaded project of an isolated checkout shares with other checkouts.
    pub fn shared(&self) -> &[String] {
        self.shared.get().map_or(&[], Vec::as_slice)
    }

    /// The isolated checkout that this command is about.
    ///
    /// # Errors
    /// When what is known of checkouts can't be read.
    pub fn checkout(&self) -> Result<Option<&Checkout>, Failure> {
        self.request()?;
        Ok(self.checkout.get().and_then(Option::as_ref))
    }

    /// As [`App::load`], with the document that `config` prints.
    ///
    /// # Errors
    /// Every fault in the files.
    pub fn load_document(&self) -> Result<Project, Failure> {
        let request = LoadRequest {
            document: true,
            ..self.request()?
        };
        let mut project = compose::load(&request, &self.env).map_err(load_failure)?;
        self.show_warnings(&project.warnings, &project.sources);
        self.isolate(&mut project)?;
        Ok(project)
    }

    /// Shows warnings found in files.
    pub fn show_warnings(&self, warnings: &Diagnostics, sources: &SourceMap) {
        if warnings.is_empty() {
            return;
        }
        let warnings = warnings.clone().sorted();
        if self.json_progress() && !self.json_findings {
            for warning in &warnings {
                write_err(events::warning(&warning.headline(sources)));
            }
            return;
        }
        write_err(match self.json_findings {
            true => json::findings(&warnings, sources),
            false => render::diagnostics(&warnings, sources, self.screen.err_colour),
        });
    }

    /// What the global flags say about the project. Reads standard input when `-f -` asks for it.
    ///
    /// # Errors
    /// When standard input can't be read.
    pub fn request(&self) -> Result<LoadRequest, Failure> {
        let globals = &self.globals;
        let stdin = if globals.file.iter().any(|file| file == "-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
            Some(text)
        } else {
            None
        };
        let mut request = LoadRequest {
            files: globals.file.iter().map(Into::into).collect(),
            stdin,
            project_dir: globals.project_directory.clone(),
            project_name: globals.project_name.clone(),
            env_files: globals.env_file.clone(),
            profiles: globals.profile.clone(),
            all_resources: globals.all_resources,
            compatible: globals.compatibility || self.env.flag("COMPOSE_COMPATIBILITY"),
            remote: Some(self.fetcher()),
            ..LoadRequest::default()
        };
        let found = match self.checkout.get() {
            Some(found) => found,
            None => {
                let found = isolate::find(self, &request)?;
                self.checkout.get_or_init(|| found)
            }
        };
        if let Some(checkout) = found {
            request.project_name = Some(checkout.project.clone());
        }
        Ok(request)
    }

    /// Who fetches compose files that lie elsewhere: one a command, so that nothing is asked for twice.
    fn fetcher(&self) -> Arc<Fetcher> {
        let insecure = &self.globals.insecure_registry;
        let make = || Arc::new(Fetcher::new(self.env.clone(), insecure.clone()));
        Arc::clone(self.fetcher.get_or_init(make))
    }

    /// Loads the project and narrows it down to services and what they need.
    ///
    /// # Errors
    /// Faults in the files; a service that does not exist.
    pub fn select(
        &self,
        services: &[String],
        deps: Deps,
        scale: Vec<(String, u32)>,
    ) -> Result<Project, Failure> {
        narrow(self.load()?, services, deps, scale)
    }

    /// The project, or only its name when one is given and there is no compose file.
    ///
    /// # Errors
    /// Faults in the files; neither file nor name.
    pub fn project_or_name(&self) -> Result<(ProjectName, Option<Project>), Failure> {
        let request = LoadRequest {
            // As Compose: who only looks at containers, or takes them away, needs no `env_file`.
            resolve_env: false,
            ..self.request()?
        };
        let error = match compose::load(&request, &self.env) {
            Ok(mut project) => {
                self.isolate(&mut project)?;
                self.show_warnings(&project.warnings, &project.sources);
                return Ok((project.name.clone(), Some(project)));
            }
            Err(error) => error,
        };
        if !no_file(&error.diagnostics) {
            return Err(load_failure(error));
        }
        match compose::project_name_only(&request, &self.env).map_err(load_failure)? {
            Some(name) => Ok((name, None)),
            None => Err(load_failure(error)),
        }
    }

    /// Checks that services exist in a project, if it is loaded.
    ///
    /// # Errors
    /// `no such service`.
    pub fn known(&self, project: Option<&Project>, services: &[String]) -> Result<(), Failure> {
        let Some(project) = project else {
            return Ok(());
        };
        for name in services {
            if project.service(name).is_none() {
                let names = project.services.keys().map(|key| key.as_str());
                let near = crate::base::diag::nearest(name, names)
                    .map(|near| format!("did you mean `{near}`?"));
                let failure = Failure::new(format!("no such service: {name}"));
                return Err(match near {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                });
            }
        }
        Ok(())
    }

    /// Where everything lies.
    ///
    /// # Errors
    /// Without root.
    pub fn roots(&self) -> Result<Roots, Failure> {
        roots::usable(&self.env)
    }
    /// The image store.
    ///
    /// # Errors
    /// When its directories can't be made.
    pub fn store(&self) -> Result<Arc<Store>, Failure> {
        let roots = self.roots()?;
        if self.globals.dry_run {
            return Ok(Arc::new(Store::look(&roots.data)));
        }
        Ok(Arc::new(Store::open(&roots.data)?))
    }
    /// The engine.
    ///
    /// # Errors
    /// When the store or the engine can't be opened.
    pub fn engine(&self) -> Result<Arc<dyn Engine>, Failure> {
        if self.globals.dry_run {
            return Ok(engine::look(&self.roots()?, self.store()?));
        }
        Ok(engine::open(&self.roots()?, self.store()?)?)
    }

    /// Everything for a command that changes things. `quiet` shows no progress.
    ///
    /// # Errors
    /// When the store or the engine can't be opened.
    pub fn work(&self, quiet: bool) -> Result<Work, Failure> {
        Ok(Work {
            form_of_environment: !quiet,
            ..self.work_in(self.mode(quiet))?
        })
    }

    /// As [`App::work`] with a progress mode of the command's own.
    ///
    /// # Errors
    /// As [`App::work`].
    pub fn work_in(&self, mode: Mode) -> Result<Work, Failure> {
        let Making {
            roots,
            store,
            progress,
            cancel,
            interrupts,
        } = self.making(mode)?;
        let engine = match self.globals.dry_run {
            true => engine::look(&roots, Arc::clone(&store)),
            false => engine::open(&roots, Arc::clone(&store))?,
        };
        let context = Context {
            engine,
            store,
            sandbox: engine::open_sandbox(&roots),
            events: Arc::clone(&progress) as Arc<dyn crate::base::event::EventSink>,
            cancel,
            env: self.env.clone(),
            proxies: self.proxies(),
            roots,
            device_dirs: roots::device_dirs(&self.env),
            parallel: self.parallel(),
            slots: Arc::new(Slots::new(self.parallel())),
            trust_host_ca: self.trusted_ca()?.is_some(),
            host_ca: roots::host_ca(&self.env).ok(),
            told: Arc::default(),
            pins: None,
            debugger: None,
        };
        Ok(Work {
            context,
            progress,
            interrupts,
            form_of_environment: false,
        })
    }

    /// Proxies that the user's settings give to containers and builds. As Docker, a file of settings that is malformed is
    /// worth a warning and no more.
    pub fn proxies(&self) -> Vec<(String, String)> {
        crate::image::registry::proxies_of_containers(&self.env).unwrap_or_else(|error| {
            self.warn(&format!(
                "no proxies are given to containers and builds: {error}"
            ));
            Vec::new()
        })
    }

    /// Everything for a command that makes images without an engine.
    ///
    /// # Errors
    /// When the store can't be opened.
    pub fn making(&self, mode: Mode) -> Result<Making, Failure> {
        let roots = self.roots()?;
        let cancel = Cancel::default();
        let token = cancel.clone();
        let interrupts = Interrupts::catch(move |signal| {
            if ends(signal) {
                token.cancel();
            }
        })?;
        let store = Arc::new(match self.globals.dry_run {
            true => Store::look(&roots.data),
            false => Store::open(&roots.data)?,
        });
        let progress = Arc::new(Progress::new(mode, self.screen, self.globals.dry_run));
        Ok(Making {
            roots,
            store,
            progress,
            cancel,
            interrupts,
        })
    }

    /// The progress mode of the command line, or nothing but warnings.
    pub fn mode(&self, quiet: bool) -> Mode {
        if quiet { Mode::Quiet } else { self.mode }
    }

    /// The host's CA bundle, if the user has it trusted inside.
    ///
    /// # Errors
    /// When it is asked for and there is none.
    pub fn trusted_ca(&self) -> Result<Option<std::path::PathBuf>, Failure> {
        let trust = self.globals.trust_host_ca || self.env.flag("HOIST_TRUST_HOST_CA");
        trust.then(|| roots::host_ca(&self.env)).transpose()
    }

    /// Another progress display, for a second run of one command or for one without an engine.
    pub fn new_progress(&self, quiet: bool) -> Arc<Progress> {
        Arc::new(Progress::new(
            self.mode(quiet),
            self.screen,
            self.globals.dry_run,
        ))
    }

    /// The same context for a second run: with another display, and not cancelled.
    pub fn again(&self, context: &Context, progress: &Arc<Progress>) -> Context {
        Context {
            cancel: Cancel::default(),
            ..context.telling(Arc::clone(progress) as Arc<dyn crate::base::event::EventSink>)
        }
    }

    /// Takes the project's lock, plans, runs and lets go; with `--dry-run` it plans and tells what a run would.
    ///
    /// # Errors
    /// Those of planning and running.
    pub fn carry_out(
        &self,
        work: &Work,
        name: &ProjectName,
        plan: impl FnOnce(&Context) -> Result<Plan, ApplyError>,
    ) -> Result<Plan, Failure> {
        let result = self.carry(work, name, plan);
        work.progress.finish();
        result
    }

    fn carry(
        &self,
        work: &Work,
        name: &ProjectName,
        plan: impl FnOnce(&Context) -> Result<Plan, ApplyError>,
    ) -> Result<Plan, Failure> {
        if self.globals.dry_run {
            let plan = plan(&work.context)?;
            self.before(work, &plan)?;
            apply::rehearse(&work.context, &plan);
            return Ok(plan);
        }
        let _lock = apply::lock(&work.context, name)?;
        let plan = plan(&work.context)?;
        self.before(work, &plan)?;
        apply::run(&work.context, &plan)?;
        Ok(plan)
    }

    /// Shows what was noticed while deciding, and refuses builds in a form that is none.
    ///
    /// # Errors
    /// Those of [`App::build_form`].
    pub fn before(&self, work: &Work, plan: &Plan) -> Result<(), Failure> {
        let mut steps = plan.steps.nodes();
        let builds = steps.any(|(_, step)| matches!(step.action, Action::Build { .. }));
        if builds && work.form_of_environment {
            self.build_form()?;
        }
        self.plan_warnings(plan);
        Ok(())
    }

    /// Checks the form that the environment names for builds.
    ///
    /// # Errors
    /// BUILDKIT_PROGRESS names none, and nothing else does. As for Docker: what builds nothing does not mind.
    pub fn build_form(&self) -> Result<(), Failure> {
        let named =
            self.globals.progress.is_some() || self.env.non_empty("COMPOSE_PROGRESS").is_some();
        match self.env.non_empty(BUILD_FORM) {
            Some(text) if !named => named_mode(BUILD_FORM, text).map(drop),
            _ => Ok(()),
        }
    }

    /// Shows what was noticed while deciding.
    pub fn plan_warnings(&self, plan: &Plan) {
        for text in &plan.warnings {
            self.warn(text);
        }
    }

    /// So many actions at a time; 0 is no limit.
    pub fn parallel(&self) -> usize {
        // What is no number was refused when the command began.
        let variable = || parallel_limit(&self.env).ok().flatten();
        let limit: i64 = self.globals.parallel.or_else(variable).unwrap_or(-1);
        usize::try_from(limit).unwrap_or(0)
    }

    /// Whether orphans are not even mentioned, and whether they are removed without a flag.
    pub fn orphans(&self, remove: bool) -> (bool, bool) {
        let ignore = self.env.flag("COMPOSE_IGNORE_ORPHANS");
        (ignore, remove || self.env.flag("COMPOSE_REMOVE_ORPHANS"))
    }
}

/// Whether services that the named ones depend on come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deps {
    /// They do.
    Include,
    /// They don't.
    Leave,
}

/// Narrows a loaded project down to services and, with `deps`, what they need.
///
/// # Errors
/// A service that does not exist, or a dependency that is off by its profiles.
pub fn narrow(
    project: Project,
    services: &[String],
    deps: Deps,
    scale: Vec<(String, u32)>,
) -> Result<Project, Failure> {
    let sources = project.sources.clone();
    let selection = Selection {
        services: services.to_vec(),
        with_dependencies: deps == Deps::Include,
        scale: scale.into_iter().collect(),
        ..Selection::default()
    };
    select(project, &selection).map_err(|faults| Failure::faults(faults.sorted(), sources))
}

/// Faults of loading as a failure.
pub fn load_failure(error: LoadError) -> Failure {
    Failure::faults(error.diagnostics.sorted(), error.sources)
}

/// Whether the only thing wrong is that there is no compose file.
fn no_file(diagnostics: &Diagnostics) -> bool {
    let missing = |item: &Diagnostic| item.message.starts_with("no configuration file provided");
    diagnostics.iter().all(missing) && !diagnostics.is_empty()
}

fn ansi(arg: AnsiArg) -> Ansi {
    match arg {
        AnsiArg::Never => Ansi::Never,
        AnsiArg::Always => Ansi::Always,
        AnsiArg::Auto => Ansi::Auto,
    }
}

/// The mode a `--progress` names.
pub fn progress_mode(arg: ProgressArg) -> Mode {
    match arg {
        ProgressArg::Auto => Mode::Auto,
        ProgressArg::Tty => Mode::Tty,
        ProgressArg::Plain => Mode::Plain,
        ProgressArg::Json => Mode::Json,
        ProgressArg::Quiet => Mode::Quiet,
    }
}

/// The limit that the environment sets.
fn parallel_limit(env: &Env) -> Result<Option<i64>, Failure> {
    let Some(text) = env.get("COMPOSE_PARALLEL_LIMIT") else {
        return Ok(None);
    };
    let wrong = || {
        let text = format!("COMPOSE_PARALLEL_LIMIT must be an integer (found: {text:?})");
        Failure::new(text).hint("-1 is no limit, as is leaving it out")
    };
    text.parse().map(Some).map_err(|_| wrong())
}

/// The mode that the environment names. What is none is no matter where nothing is built: [`App::build_form`].
fn variable_mode(env: &Env) -> Result<Mode, Failure> {
    const NAME: &str = "COMPOSE_PROGRESS";
    if let Some(text) = env.non_empty(NAME) {
        return named_mode(NAME, text);
    }
    let builds = env.non_empty(BUILD_FORM);
    Ok(builds
        .and_then(|text| named_mode(BUILD_FORM, text).ok())
        .unwrap_or_default())
}

fn named_mode(variable: &str, text: &str) -> Result<Mode, Failure> {
    match text {
        "auto" => Ok(Mode::Auto),
        "tty" => Ok(Mode::Tty),
        "plain" => Ok(Mode::Plain),
        "json" | "rawjson" => Ok(Mode::Json),
        "quiet" | "none" => Ok(Mode::Quiet),
        other => {
            let text = format!("invalid {variable} `{other}`");
            Err(Failure::new(text).hint("write auto, tty, plain, json or quiet"))
        }
    }
}
