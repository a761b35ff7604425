//! Carries plans out. Everything a command changes goes through here; what to change is [`crate::plan`]'s to say.
//!
//! In: a project (or only its name), options, an engine and an image store. Out: a [`Plan`], and once it
//! was run an [`Outcome`] or an [`ApplyError`]. Progress is told as events while it happens.
//! It decides nothing: every question is answered by a pure function of `plan`.
//! Imports: `base`, `graph`, `compose::model`, `image`, `build`, `plan`, `engine` (the trait, never a backend).
//! Rules: Docker Compose v5 for the words of the events and for exit codes.
//!
//! A command that changes things calls [`lock`], then one of the `plan_*` functions, then [`run`]:
//! what was observed stays true until the lock is dropped. `--dry-run` leaves out the lock and has [`rehearse`] in place of [`run`]; `plan` leaves out both.

mod builds;
mod error;
mod files;
mod hooks;
mod images;
pub mod needs;
mod observe;
pub mod oneoff;
mod options;
mod pins;
mod provide;
mod push;
mod rehearse;
mod report;
mod rollout;
mod run;
mod secrets;
mod steps;
mod stops;
#[cfg(test)]
mod tests;
mod wait;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::env::Env;
use crate::base::event::{Event, EventSink};
use crate::base::name::ProjectName;
use crate::build::Debugger;
use crate::build::slots::Slots;
use crate::compose::model::{Project, PullPolicy};
use crate::engine::sandbox::Sandbox;
use crate::engine::{Cancel, Engine, Holder, Roots};
use crate::image::store::Store;
pub use crate::plan::BuildTweaks;
pub use crate::plan::Plan;
use crate::plan::action::Action;
use crate::plan::pins::Pins;
use crate::plan::{down, reconcile, transfers, views};
pub use builds::ask_builds;

pub use crate::plan::policy::{BuildChoice, ImagePolicy, Recreate, Rmi, UpPolicy};
pub use error::{ApplyError, Note};
pub use observe::observe_project;
pub use options::{
    BuildOptions, DownOptions, KillOptions, PauseOptions, PullOptions, PushOptions, RmOptions,
    RunOptions, StartOptions, StopOptions, UpOptions,
};
pub use pins::{Uses, images_used};
pub use rehearse::rehearse;
pub use run::{Final, Outcome, run};
pub use secrets::Told;
pub use watched::{drop_unnamed, exec};

/// What every command works with.
pub struct Context {
    /// Runs containers.
    pub engine: Arc<dyn Engine>,
    /// Keeps images.
    pub store: Arc<Store>,
    /// Runs build steps.
    pub sandbox: Arc<dyn Sandbox>,
    /// Takes progress.
    pub events: Arc<dyn EventSink>,
    /// Ends the run early (Ctrl-C); what was begun is finished, nothing new is begun.
    pub cancel: Cancel,
    /// Variables and directories of the command.
    pub env: Env,
    /// Proxies that the user wants in every container and build, as variables in upper case.
    pub proxies: Vec<(String, String)>,
    /// Where everything lies.
    pub roots: Roots,
    /// Where devices are described (Container Device Interface); later directories win.
    pub device_dirs: Vec<PathBuf>,
    /// So many actions at a time; 0 is no limit.
    pub parallel: usize,
    /// Places for the steps of all builds.
    pub slots: Arc<Slots>,
    /// The host's CA bundle, if it has one, for builds and containers that ask for it.
    pub host_ca: Option<PathBuf>,
    /// Whether every build trusts it, asked or not.
    pub trust_host_ca: bool,
    /// What programs have told that know configs and secrets, so that each is asked once.
    pub told: Arc<Told>,
    /// Digests that names of images stand for, if nothing else may be taken.
    pub pins: Option<Arc<Pins>>,
    /// Asked what to do when a step of a build fails.
    pub debugger: Option<Arc<dyn Debugger>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The same, with events sent elsewhere.
    #[must_use]
    pub fn telling(&self, events: Arc<dyn EventSink>) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            store: Arc::clone(&self.store),
            sandbox: Arc::clone(&self.sandbox),
            events,
            cancel: self.cancel.clone(),
            env: self.env.clone(),
            proxies: self.proxies.clone(),
            roots: self.roots.clone(),
            device_dirs: self.device_dirs.clone(),
            parallel: self.parallel,
            slots: Arc::clone(&self.slots),
            host_ca: self.host_ca.clone(),
            trust_host_ca: self.trust_host_ca,
            told: Arc::clone(&self.told),
            pins: self.pins.clone(),
            debugger: self.debugger.clone(),
        }
    }
}

/// Takes the lock of a project for as long as the value lives.
///
/// # Errors
/// The engine's, when the lock can't be taken; [`ApplyError::cancelled`] when the user did not want to wait.
pub fn lock(context: &Context, project: &ProjectName) -> Result<Box<dyn Send>, ApplyError> {
    let waiting = |holder: &Holder| {
        let who = match &holder.command {
            Some(command) => format!("`{command}`"),
            None => "another hoist command".to_owned(),
        };
        let pid = holder.pid.map(|pid| format!(" (pid {pid})"));
        let pid = pid.unwrap_or_default();
        let text = format!("waiting for {who}{pid} to finish with project {project}");
        context.events.send(Event::Notice(text));
    };
    let lock = context.engine.lock(project, &context.cancel, &waiting)?;
    lock.ok_or_else(ApplyError::cancelled)
}

/// Plans `up`: whatever makes the selected services be as the project says. `create` is the same with
/// [`UpPolicy::create_only`].
///
/// # Errors
/// Faults in the project that only show beside the image or the engine's state; engine failures.
pub fn plan_up(
    context: &Context,
    project: &Project,
    options: &UpOptions,
) -> Result<Plan, ApplyError> {
    let mut desired = observe::desired(context, project, options)?;
    builds::complete(context, &mut desired, &BuildTweaks::default())?;
    for text in images::strange(project, &desired.images) {
        context.events.send(Event::Warn(text));
    }
    let world = observe::world(context, &project.name, Some(project))?;
    let mut plan = reconcile::reconcile(desired, &world, &options.policy)?;
    plan.quiet_pull = options.quiet_pull;
    plan.quiet_build = options.quiet_build;
    Ok(plan)
}

/// Removes the containers of a project whose records are lost or broken: no plan can be made of what can't be read, so
/// `down` does this first.
///
/// # Errors
/// Engine failures.
pub fn remove_damaged(context: &Context, name: &ProjectName) -> Result<(), ApplyError> {
    for id in context.engine.remove_damaged(name)? {
        let text = format!("removed container {}, whose record was broken", id.short());
        context.events.send(Event::Notice(text));
    }
    Ok(())
}

/// Plans `down`. Without a project the engine's labels say what belongs to it.
///
/// # Errors
/// Engine failures.
pub fn plan_down(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
    options: &DownOptions,
) -> Result<Plan, ApplyError> {
    let world = observe::world(context, name, project)?;
    Ok(down::down(name, project, &world, options))
}

/// Plans `build`.
///
/// # Errors
/// A named service that has no `build`.
pub fn plan_build(
    context: &Context,
    project: &Project,
    options: &BuildOptions,
) -> Result<Plan, ApplyError> {
    let mut desired = observe::desired(context, project, &options.as_up())?;
    views::only_builds(&mut desired, &options.services)?;
    builds::complete(context, &mut desired, &options.tweaks)?;
    let mut plan = views::build(desired)?;
    plan.quiet_build = options.quiet;
    plan.tweaks = options.tweaks.clone();
    Ok(plan)
}

/// Plans `pull`.
///
/// # Errors
/// A named service that does not exist.
pub fn plan_pull(
    context: &Context,
    project: &Project,
    options: &PullOptions,
) -> Result<Plan, ApplyError> {
    // What services say of it is heeded by the view.
    let pull = Some(PullPolicy::Always);
    let desired = observe::desired(
        context,
        project,
        &UpOptions {
            images: ImagePolicy {
                pull,
                ..ImagePolicy::default()
            },
            ..UpOptions::default()
        },
    )?;
    let mut view = options.view();
    if context.pins.is_some() {
        // What can be built is not what a lock has, and what it has does not change.
        view.ignore_buildable = true;
        view.policy = view.policy.or(Some(PullPolicy::Missing));
    }
    let mut plan = transfers::pull(desired, &view)?;
    plan.quiet_pull = options.quiet;
    Ok(plan)
}

/// Plans `push`.
///
/// # Errors
/// A named service that does not exist.
pub fn plan_push(project: &Project, options: &PushOptions) -> Result<Plan, ApplyError> {
    Ok(transfers::push(project, options)?)
}

/// Plans `stop`: running containers of the services (all when none is named), dependents first.
///
/// # Errors
/// Engine failures.
pub fn plan_stop(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
    options: &StopOptions,
) -> Result<Plan, ApplyError> {
    let world = observe::world(context, name, project)?;
    Ok(views::stop(name, project, &world, options)?)
}

/// Plans `start`: existing containers that do not run, dependencies first, conditions waited for.
///
/// # Errors
/// A service without a container; engine failures.
pub fn plan_start(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
    options: &StartOptions,
) -> Result<Plan, ApplyError> {
    let world = observe::world(context, name, project)?;
    let plan = views::start(name, project, &world, options)?;
    wanted(context, project, plan)
}

/// Plans `restart`: stop and start of existing containers, with dependents that ask for it.
///
/// # Errors
/// Engine failures.
pub fn plan_restart(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
    options: &StopOptions,
) -> Result<Plan, ApplyError> {
    let world = observe::world(context, name, project)?;
    let plan = views::restart(name, project, &world, options)?;
    wanted(context, project, plan)
}

/// The same plan with what its containers of `pre_start` are made from, if it has some.
fn wanted(
    context: &Context,
    project: Option<&Project>,
    mut plan: Plan,
) -> Result<Plan, ApplyError> {
    // A container that starts may need contents that only the files tell.
    plan.files = project.map(|project| Arc::new(project.clone()));
    let makes = |action: &Action| matches!(action, Action::PreStart { .. });
    if let Some(project) = project
        && plan.steps.nodes().any(|(_, step)| makes(&step.action))
    {
        let options = UpOptions::default();
        let desired = observe::desired(context, project, &options)?;
        if desired.unread.has_errors() {
            return Err(ApplyError::faults(desired.unread, &project.sources));
        }
        plan.desired = Some(Arc::new(desired));
    }
    Ok(plan)
}

/// Plans `rm`: containers that do not run; with [`RmOptions::stop`] all of them.
///
/// # Errors
/// Engine failures.
pub fn plan_rm(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
    options: &RmOptions,
) -> Result<Plan, ApplyError> {
    let world = observe::world(context, name, project)?;
    Ok(views::rm(name, project, &world, options)?)
}

/// Plans `pause` and `unpause`.
///
/// # Errors
/// Engine failures.
pub fn plan_pause(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
    options: &PauseOptions,
) -> Result<Plan, ApplyError> {
    let world = observe::world(context, name, project)?;
    Ok(views::pause(name, project, &world, options)?)
}

/// Plans `kill`.
///
/// # Errors
/// Engine failures.
pub fn plan_kill(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
    options: &KillOptions,
) -> Result<Plan, ApplyError> {
    let world = observe::world(context, name, project)?;
    Ok(views::kill(name, project, &world, options)?)
}
