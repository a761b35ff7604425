//! `create`, `start`, `stop`, `restart`, `kill`, `pause`, `unpause`, `rm`: small views of what `up` and `down` plan.
//!
//! Imports: `apply`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::apply::{
    self, ApplyError, BuildChoice, Context, ImagePolicy, KillOptions, PauseOptions, Plan, Recreate,
    RmOptions, StartOptions, StopOptions, UpOptions, UpPolicy,
};
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::Signal;
use crate::cli::app::{App, Deps, Work, narrow};
use crate::cli::args::{
    CreateArgs, KillArgs, MakeArgs, RestartArgs, RmArgs, ServicesArgs, StartArgs, StopArgs,
};
use crate::cli::ask::confirmed;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::{end_by, ends};
use crate::cli::remote::consent;
use crate::cli::{lockfile, parse};
use crate::compose::model::Project;
use crate::plan::action::Action;
use crate::ui::write_out;

/// The project narrowed down to what `up` or `create` mean, and the names of all services that its files declare.
///
/// # Errors
/// Faults in the files or the selection.
pub(super) fn chosen(
    app: &App,
    args: &MakeArgs,
    deps: Deps,
) -> Result<(Project, Vec<String>), Failure> {
    let whole = app.load()?;
    let declared = whole.services.keys().map(ToString::to_string).collect();
    let project = narrow(whole, &args.services, deps, parse::scale(&args.scale)?)?;
    consent::ask(app, &project, args.yes)?;
    Ok((project, declared))
}

/// What `up` and `create` have in common, as options.
///
/// # Errors
/// A pull policy that is none.
pub(super) fn make_options(
    app: &App,
    args: &MakeArgs,
    declared: Vec<String>,
) -> Result<UpOptions, Failure> {
    let (ignore_orphans, remove_orphans) = app.orphans(args.remove_orphans);
    if ignore_orphans && remove_orphans {
        let text = "COMPOSE_IGNORE_ORPHANS and --remove-orphans can't be combined";
        return Err(Failure::new(text));
    }
    Ok(UpOptions {
        // Nothing on the host is run for a picture of what would be done.
        ask: !app.globals.dry_run,
        policy: UpPolicy {
            services: args.services.clone(),
            declared,
            recreate: match (args.force_recreate, args.no_recreate) {
                (true, _) => Recreate::Force,
                (_, true) => Recreate::Never,
                _ => Recreate::Changed,
            },
            remove_orphans,
            ignore_orphans,
            renew_volumes: args.yes,
            ..UpPolicy::default()
        },
        images: ImagePolicy {
            build: match (args.build, args.no_build) {
                (true, _) => BuildChoice::Always,
                (_, true) => BuildChoice::Never,
                _ => BuildChoice::Missing,
            },
            pull: args.pull.as_deref().map(parse::pull_policy).transpose()?,
        },
        quiet_pull: args.quiet_pull,
        ..UpOptions::default()
    })
}

pub(super) fn create(app: &App, args: &CreateArgs) -> Outcome {
    let (project, declared) = chosen(app, &args.make, Deps::Include)?;
    let mut options = make_options(app, &args.make, declared)?;
    options.policy.create_only = true;
    let mut work = app.work(false)?;
    work.context.pins = lockfile::pins(app, &project)?;
    app.carry_out(&work, &project.name, |context| {
        apply::plan_up(context, &project, &options)
    })?;
    Ok(0)
}

/// Asks before what comes from elsewhere runs again.
fn asked(app: &App, project: Option<&Project>) -> Result<(), Failure> {
    project.map_or(Ok(()), |project| consent::ask(app, project, false))
}

/// Runs a view that needs no more of the project than its name.
fn view(
    app: &App,
    services: &[String],
    plan: impl FnOnce(&Context, &ProjectName, Option<&Project>) -> Result<Plan, ApplyError>,
) -> Result<Plan, Failure> {
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), services)?;
    let work = app.work(false)?;
    app.carry_out(&work, &name, |context| {
        plan(context, &name, project.as_ref())
    })
}

pub(super) fn start(app: &App, args: &StartArgs) -> Outcome {
    let options = StartOptions {
        services: args.services.clone(),
        wait: args.wait,
        wait_timeout: args.wait_timeout.map(Duration::from_secs),
    };
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    // A container of a service that is off by its profiles is left alone.
    let only = |project| narrow(project, &args.services, Deps::Include, Vec::new());
    let project = project.map(only).transpose()?;
    asked(app, project.as_ref())?;
    let work = app.work(false)?;
    app.carry_out(&work, &name, |context| {
        apply::plan_start(context, &name, project.as_ref(), &options)
    })?;
    Ok(0)
}

pub(super) fn stop(app: &App, args: &StopArgs) -> Outcome {
    let timeout = parse::timeout(args.timeout);
    let options = StopOptions {
        services: args.services.clone(),
        timeout,
        no_deps: false,
    };
    view(app, &args.services, |context, name, project| {
        apply::plan_stop(context, name, project, &options)
    })?;
    Ok(0)
}

pub(super) fn restart(app: &App, args: &RestartArgs) -> Outcome {
    let timeout = parse::timeout(args.timeout);
    let options = StopOptions {
        services: args.services.clone(),
        timeout,
        no_deps: args.no_deps,
    };
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    asked(app, project.as_ref())?;
    let work = app.work(false)?;
    let plan = app.carry_out(&work, &name, |context| {
        apply::plan_restart(context, &name, project.as_ref(), &options)
    })?;
    if !app.globals.dry_run {
        // Only this command knows that what stopped and started was one thing.
        for (_, step) in plan.steps.nodes() {
            if let Action::Start { who } = &step.action
                && let Some(id) = &who.id
            {
                work.context.engine.note(id, "restart", &[]);
            }
        }
    }
    Ok(0)
}

/// `pause`, and with `frozen` off `unpause`.
pub(super) fn pause(app: &App, args: &ServicesArgs, frozen: bool) -> Outcome {
    let options = PauseOptions {
        services: args.services.clone(),
        frozen,
    };
    view(app, &args.services, |context, name, project| {
        apply::plan_pause(context, name, project, &options)
    })?;
    Ok(0)
}

pub(super) fn kill(app: &App, args: &KillArgs) -> Outcome {
    let signal = Signal::parse(&args.signal)
        .ok_or_else(|| Failure::new(format!("invalid signal `{}`", args.signal)))?;
    let options = KillOptions {
        services: args.services.clone(),
        signal,
        orphans: args.remove_orphans,
    };
    view(app, &args.services, |context, name, project| {
        apply::plan_kill(context, name, project, &options)
    })?;
    Ok(0)
}

pub(super) fn rm(app: &App, args: &RmArgs) -> Outcome {
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    let project = project.as_ref();
    let mut work = app.work(false)?;
    if args.stop && !app.globals.dry_run {
        // As Compose: before it asks.
        let options = StopOptions {
            services: args.services.clone(),
            ..StopOptions::default()
        };
        app.carry_out(&work, &name, |context| {
            apply::plan_stop(context, &name, project, &options)
        })?;
        work.progress = app.new_progress(false);
        work.context = work.context.telling(Arc::clone(&work.progress) as _);
    }
    let mut options = RmOptions {
        services: args.services.clone(),
        // A dry run has stopped nothing.
        stop: args.stop && app.globals.dry_run,
        volumes: args.volumes,
        only: None,
    };
    let (ids, names) = {
        let lock = || apply::lock(&work.context, &name);
        let _lock = (!app.globals.dry_run).then(lock).transpose()?;
        goes(&apply::plan_rm(&work.context, &name, project, &options)?)
    };
    if names.is_empty() {
        app.say_status("No stopped containers")?;
        return Ok(0);
    }
    let what = format!("Going to remove {}", names.join(", "));
    if args.force {
        write_out(format!("{what}\n"))?;
    } else if !asking(&work, || confirmed(&what))? {
        return Ok(0);
    }
    // What has ended since then was not spoken of.
    options.only = Some(ids);
    app.carry_out(&work, &name, |context| {
        apply::plan_rm(context, &name, project, &options)
    })?;
    Ok(0)
}

/// The containers that a plan removes, with their names in its order.
fn goes(plan: &Plan) -> (BTreeSet<ContainerId>, Vec<String>) {
    let removed = plan
        .order()
        .into_iter()
        .filter_map(|id| match &plan.steps.get(id)?.action {
            Action::Remove { who, .. } => Some((who.id.clone()?, who.name.clone())),
            _ => None,
        });
    removed.unzip()
}

/// Asks something, so that Ctrl-C ends the command at once.
fn asking<T>(work: &Work, ask: impl FnOnce() -> T) -> T {
    work.interrupts.hand_to(|signal| {
        if ends(signal) {
            end_by(signal as i32);
        }
    });
    let answer = ask();
    let token = work.context.cancel.clone();
    work.interrupts.hand_to(move |signal| {
        if ends(signal) {
            token.cancel();
        }
    });
    answer
}
