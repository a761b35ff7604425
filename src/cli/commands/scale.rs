//! `scale`: as many containers of services as are wanted: `up -d` with numbers for these services.
//!
//! Imports: `apply`. As Compose: `cmd/compose/scale.go`.

use super::change::{chosen, make_options};
use crate::apply;
use crate::cli::app::{App, Deps};
use crate::cli::args::{MakeArgs, ScaleArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::lockfile;

pub(super) fn run(app: &App, args: &ScaleArgs) -> Outcome {
    let services = args
        .services
        .iter()
        .map(|text| named(text))
        .collect::<Result<Vec<_>, _>>()?;
    let make = MakeArgs {
        scale: args.services.clone(),
        services,
        ..MakeArgs::default()
    };
    let deps = match args.no_deps {
        true => Deps::Leave,
        false => Deps::Include,
    };
    let (project, declared) = chosen(app, &make, deps)?;
    let options = make_options(app, &make, declared)?;
    let mut work = app.work(false)?;
    work.context.pins = lockfile::pins(app, &project)?;
    app.carry_out(&work, &project.name, |context| {
        apply::plan_up(context, &project, &options)
    })?;
    Ok(0)
}

/// The service of `SERVICE=REPLICAS`. In Compose's words.
fn named(text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::new(format!("invalid scale specifier: {why}{text}"))
            .hint("write it as SERVICE=REPLICAS: web=3")
    };
    let (name, number) = text.split_once('=').ok_or_else(|| wrong(""))?;
    match number.parse::<u32>() {
        Ok(_) if !name.is_empty() => Ok(name.to_owned()),
        Ok(_) => Err(wrong("")),
        Err(_) => Err(wrong("can't parse replica value as int: ")),
    }
}
