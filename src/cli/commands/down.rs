//! `down`: stops and removes what `up` made.
//!
//! Imports: `apply`.

use crate::apply::{self, DownOptions, Rmi};
use crate::cli::app::{App, Work};
use crate::cli::args::DownArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::parse;

pub(super) fn run(app: &App, args: &DownArgs) -> Outcome {
    let work = app.work(false)?;
    take(app, args, &work)
}

/// The same for a command that works already.
pub(super) fn take(app: &App, args: &DownArgs, work: &Work) -> Outcome {
    let rmi = match args.rmi.as_deref() {
        None => None,
        Some("local") => Some(Rmi::Local),
        Some("all") => Some(Rmi::All),
        Some(other) => {
            return Err(Failure::new(format!(
                "invalid --rmi `{other}`: write local or all"
            )));
        }
    };
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    let (ignore_orphans, remove_orphans) = app.orphans(args.remove_orphans);
    let options = DownOptions {
        services: args.services.clone(),
        remove_orphans,
        ignore_orphans,
        volumes: args.volumes,
        timeout: parse::timeout(args.timeout),
        rmi,
    };
    let plan = app.carry_out(work, &name, |context| {
        if args.services.is_empty() && !app.globals.dry_run {
            apply::remove_damaged(context, &name)?;
        }
        apply::plan_down(context, &name, project.as_ref(), &options)
    })?;
    if args.volumes && !app.globals.dry_run {
        super::snapshot::tell_kept(app, &name);
    }
    if plan.is_empty() && project.is_none() && !app.globals.dry_run {
        app.warn(&format!("no resource found to remove for project `{name}`"));
    }
    Ok(0)
}
