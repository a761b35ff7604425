//! `build`: builds the images of services.
//!
//! Imports: `apply`, `cli::bake`. As Compose: `cmd/compose/build.go`, `pkg/compose/build.go`.

use std::collections::BTreeSet;

use super::build_call::check_services;
use crate::apply::{self, BuildOptions, BuildTweaks};
use crate::base::name::ServiceName;
use crate::base::scalar::parse_size;
use crate::build::attest::Attest;
use crate::build::grants::SshSource;
use crate::cli::app::{App, Deps, narrow, progress_mode};
use crate::cli::args::BuildArgs;
use crate::cli::bake::{self, Print};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::remote::consent;
use crate::cli::trace::TraceFile;
use crate::cli::{debugger, lockfile, parse};
use crate::compose::model::{ContextRef, Project};
use crate::ui::{Mode, write_out};

pub(super) fn run(app: &App, args: &BuildArgs) -> Outcome {
    let tweaks = tweaks(args)?;
    own_builder(args.builder.as_deref())?;
    if args.print {
        return print(app, args, tweaks);
    }
    let deps = if args.with_dependencies {
        Deps::Include
    } else {
        Deps::Leave
    };
    let project = app.select(&args.services, deps, Vec::new())?;
    consent::ask(app, &project, false)?;
    let services = match args.with_dependencies {
        true => Vec::new(),
        false => args.services.clone(),
    };
    let options = BuildOptions {
        services,
        tweaks,
        // A timeline has the steps that are not shown.
        quiet: args.quiet && args.trace.is_none(),
    };
    if args.check {
        return check_services(app, &project, &options.services, &options.tweaks);
    }
    let (mode, mut work) = match args.progress {
        Some(mode) if !args.quiet => {
            let mode = progress_mode(mode);
            (mode, app.work_in(mode)?)
        }
        _ => (app.mode(args.quiet), app.work(args.quiet)?),
    };
    work.context.pins = lockfile::pins(app, &project)?;
    let trace = args.trace.as_deref().filter(|_| !app.globals.dry_run);
    let _trace = TraceFile::begin(app, &work.progress, trace)?;
    work.context.debugger = debugger::of(app, args.debug, &work.progress);
    let plan = app.carry_out(&work, &project.name, |context| {
        apply::plan_build(context, &project, &options)
    });
    let plan = plan.map_err(|failure| failure.in_json(mode == Mode::Json))?;
    if plan.is_empty() && !app.globals.dry_run {
        app.warn("no services to build");
    }
    if !app.globals.dry_run {
        super::cache::tidy(app);
    }
    Ok(0)
}

/// Refuses builders of others.
pub(super) fn own_builder(name: Option<&str>) -> Result<(), Failure> {
    match name.filter(|name| !matches!(*name, "" | "default")) {
        None => Ok(()),
        Some(name) => {
            let failure = Failure::new(format!("no builder \"{name}\" found"));
            Err(failure.hint("hoist builds by itself: leave out --builder"))
        }
    }
}

fn tweaks(args: &BuildArgs) -> Result<BuildTweaks, Failure> {
    let mut attest = Attest::default();
    for (flag, text, read) in [
        (
            "--provenance",
            &args.provenance,
            attest.provenance(args.provenance.as_deref().unwrap_or("false")),
        ),
        (
            "--sbom",
            &args.sbom,
            attest.sbom(args.sbom.as_deref().unwrap_or("false")),
        ),
    ] {
        let text = text.as_deref().unwrap_or_default();
        read.map_err(|why| Failure::new(format!("invalid {flag} `{text}`: {why}")))?;
    }
    let ssh = |text: &String| {
        let (id, source) = SshSource::parse(text).map_err(Failure::new)?;
        Ok((id, source.paths))
    };
    let memory = args.memory.as_ref().map(|text| {
        let size = parse_size(text).map(|size| size.0);
        size.map_err(|error| Failure::new(format!("invalid --memory `{text}`: {error}")))
    });
    Ok(BuildTweaks {
        no_cache: args.no_cache,
        pull: args.pull,
        args: args.build_arg.iter().map(|arg| parse::pair(arg)).collect(),
        ssh: args.ssh.iter().map(ssh).collect::<Result<_, Failure>>()?,
        memory: memory.transpose()?,
        push: args.push,
        all_platforms: true,
        provenance: args.provenance.clone(),
        sbom: args.sbom.clone(),
    })
}

/// Prints what would be built, for `docker buildx bake`.
fn print(app: &App, args: &BuildArgs, tweaks: BuildTweaks) -> Outcome {
    let project = app.load_document()?;
    app.known(Some(&project), &args.services)?;
    let chosen = with_contexts(&project, &args.services);
    let names: Vec<String> = chosen.iter().map(ToString::to_string).collect();
    let project = narrow(project, &names, Deps::Include, Vec::new())?;
    let services = match args.with_dependencies || names.is_empty() {
        true => project.services.keys().cloned().collect(),
        false => chosen,
    };
    let print = Print {
        services,
        tweaks,
        check: args.check,
        env: Some(&app.env),
    };
    if let Some(text) = bake::text(&project, &print) {
        write_out(format!("{text}\n"))?;
    }
    Ok(0)
}

/// The named services, and those whose images their builds take as contexts.
fn with_contexts(project: &Project, services: &[String]) -> Vec<ServiceName> {
    let mut all: Vec<ServiceName> = services
        .iter()
        .map(|name| ServiceName::new(name.as_str()))
        .collect();
    let mut seen: BTreeSet<ServiceName> = all.iter().cloned().collect();
    let mut at = 0;
    while let Some(name) = all.get(at) {
        let build = project.buildable(name.as_str()).map(|(_, build)| build);
        let contexts = build
            .into_iter()
            .flat_map(|build| build.additional_contexts.values());
        let more: Vec<ServiceName> = contexts
            .filter_map(|context| match &context.value {
                ContextRef::Service(other) => Some(other.clone()),
                _ => None,
            })
            .filter(|other| seen.insert(other.clone()))
            .collect();
        all.extend(more);
        at += 1;
    }
    all
}
