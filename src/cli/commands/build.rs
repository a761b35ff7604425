//! `build`: builds the images of services.
//!
//! Imports: `apply`.

use crate::apply::{self, BuildOptions, BuildTweaks};
use crate::cli::app::{App, Deps, progress_mode};
use crate::cli::args::BuildArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::parse;
use crate::cli::remote::consent;
use crate::cli::trace::TraceFile;
use crate::ui::Mode;

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
        // A timeline has the steps that are not shown.
        quiet: args.quiet && args.trace.is_none(),
    };
    let mode = match args.progress {
        Some(mode) if !args.quiet => progress_mode(mode),
        _ => app.mode(args.quiet),
    };
    let work = app.work_in(mode)?;
    let _trace = TraceFile::begin(app, &work.progress, args.trace.as_deref())?;
    let plan = app.carry_out(&work, &project.name, |context| {
        apply::plan_build(context, &project, &options)
    });
    let plan = plan.map_err(|failure| failure.in_json(mode == Mode::Json))?;
    if plan.is_empty() && !app.globals.dry_run {
        app.warn("no services to build");
    }
    Ok(0)
}
