//! `push`: pushes the images that services build.
//!
//! Imports: `apply`. As Compose: `cmd/compose/push.go`, `pkg/compose/push.go`.

use crate::apply::{self, PushOptions};
use crate::cli::app::{App, Deps};
use crate::cli::args::PushArgs;
use crate::cli::exit::Outcome;

pub(super) fn run(app: &App, args: &PushArgs) -> Outcome {
    let deps = if args.include_deps {
        Deps::Include
    } else {
        Deps::Leave
    };
    let project = app.select(&args.services, deps, Vec::new())?;
    let options = PushOptions {
        services: args.services.clone(),
        include_deps: args.include_deps,
        ignore_failures: args.ignore_push_failures,
    };
    let work = app.work(args.quiet)?;
    app.carry_out(&work, &project.name, |_| {
        apply::plan_push(&project, &options)
    })?;
    Ok(0)
}
