//! `pull`: pulls the images of services.
//!
//! Imports: `apply`.

use crate::apply::{self, PullOptions};
use crate::cli::app::{App, Deps};
use crate::cli::args::PullArgs;
use crate::cli::exit::Outcome;
use crate::cli::{lockfile, parse};

pub(super) fn run(app: &App, args: &PullArgs) -> Outcome {
    let deps = if args.include_deps {
        Deps::Include
    } else {
        Deps::Leave
    };
    let project = app.select(&args.services, deps, Vec::new())?;
    let options = PullOptions {
        services: args.services.clone(),
        include_deps: args.include_deps,
        ignore_buildable: args.ignore_buildable,
        ignore_failures: args.ignore_pull_failures,
        policy: args.policy.as_deref().map(parse::pull_policy).transpose()?,
        quiet: args.quiet,
    };
    let mut work = app.work(args.quiet)?;
    work.context.pins = lockfile::pins(app, &project)?;
    app.carry_out(&work, &project.name, |context| {
        apply::plan_pull(context, &project, &options)
    })?;
    Ok(0)
}
