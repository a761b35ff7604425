//! `build`: builds the images of services.
//!
//! Imports: `apply`.

use crate::apply::{self, BuildOptions, BuildTweaks};
use crate::cli::app::{App, Deps, progress_mode};
use crate::cli::args::BuildArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::parse;
use crate::cli::remote::consent;

pub(super) fn run(app: &App, args: &BuildArgs) -> Outcome {
    let deps = if args.with_dependencies {
        Deps::Include
    } else {
        Deps::Leave
    };
    let project = app.select(&args.services, deps, Vec::new())?;
    if let Some(name) = args
        .services
        .iter()
        .find(|name| project.service(name).is_some_and(|s| s.build.is_none()))
    {
        return Err(Failure::new(format!("service `{name}` has no `build`")));
    }
    consent::ask(app, &project, false)?;
    let services = match args.with_dependencies {
        true => Vec::new(),
        false => args.services.clone(),
    };
    let options = BuildOptions {
        services,
        tweaks: BuildTweaks {
            no_cache: args.no_cache,
            pull: args.pull,
            args: args.build_arg.iter().map(|arg| parse::pair(arg)).collect(),
            ..BuildTweaks::default()
        },
        quiet: args.quiet,
    };
    let work = match args.progress {
        Some(mode) if !args.quiet => app.work_in(progress_mode(mode))?,
        _ => app.work(args.quiet)?,
    };
    let plan = app.carry_out(&work, &project.name, |context| {
        apply::plan_build(context, &project, &options)
    })?;
    if plan.is_empty() && !app.globals.dry_run {
        app.warn("no services to build");
    }
    super::cache::tidy(app);
    Ok(0)
}
