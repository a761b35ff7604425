//! `run`: a new container of a service for one command; ends as that command does.
//!
//! Imports: `apply::oneoff`, `engine`, `cli::streams`. As Compose: `cmd/compose/run.go`, `pkg/compose/run.go`.

use std::io::{self, IsTerminal as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use super::exec::wants_terminal;
use crate::apply::{self, BuildChoice, RunOptions, UpOptions, oneoff};
use crate::base::name::ContainerId;
use crate::base::scalar::Signal;
use crate::cli::app::{App, Deps, Work, narrow};
use crate::cli::args::RunArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::{Others, ends};
use crate::cli::remote::consent;
use crate::cli::{lockfile, parse, streams};
use crate::compose::dotenv;
use crate::compose::model::Project;
use crate::engine::{AnonymousVolumes, Engine, Force, Until, Waited};
use crate::sys::caps::Caps;
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &RunArgs) -> Outcome {
    let mut options = options(app, args)?;
    let services = std::slice::from_ref(&args.service);
    let deps = if args.no_deps {
        Deps::Leave
    } else {
        Deps::Include
    };
    let whole = app.load()?;
    options.declared = whole.services.keys().map(ToString::to_string).collect();
    let project = narrow(whole, services, deps, Vec::new())?;
    consent::ask(app, &project, false)?;
    let passed = !args.detach && !app.globals.dry_run;
    let others = passed.then(Others::catch).transpose()?;
    let mut work = app.work(args.quiet)?;
    work.context.pins = lockfile::pins(app, &project)?;
    if app.globals.dry_run {
        return show(app, &work, project, args);
    }
    let target = Arc::new(OnceLock::new());
    if let Some(others) = others {
        let (engine, target) = (Arc::clone(&work.context.engine), Arc::clone(&target));
        let cancel = work.context.cancel.clone();
        others.each(move |number| match target.get() {
            // A container that has just ended takes no signal.
            Some(id) => drop(engine.kill(id, Signal(number))),
            None => cancel.cancel(),
        })?;
    }
    let prepared = {
        let _lock = apply::lock(&work.context, &project.name)?;
        let prepared = oneoff::prepare(&work.context, &project, &args.service, &options);
        work.progress.finish();
        prepared?
    };
    for text in &prepared.warnings {
        app.warn(text);
    }
    let engine = Arc::clone(&work.context.engine);
    if args.detach {
        engine.start(&prepared.id)?;
        write_out(format!("{}\n", prepared.id))?;
        return Ok(0);
    }
    target.get_or_init(|| prepared.id.clone());
    let result = attached(&engine, &prepared.id, &options, &work);
    if args.rm {
        let removed = engine.remove(&prepared.id, Force::Yes, AnonymousVolumes::Remove);
        // The command's own failure is worth more than the removal's.
        let code = result?;
        removed?;
        return Ok(code);
    }
    result
}

/// Prints what would be done for the services this one depends on, and then what would run.
fn show(app: &App, work: &Work, mut project: Project, args: &RunArgs) -> Outcome {
    project.services.shift_remove(args.service.as_str());
    let name = project.name.clone();
    app.carry_out(work, &name, |context| {
        apply::plan_up(context, &project, &UpOptions::default())
    })?;
    write_out(format!("run {} in a new container\n", args.service))?;
    Ok(0)
}

fn options(app: &App, args: &RunArgs) -> Result<RunOptions, Failure> {
    let interactive = args.interactive.unwrap_or(true) && !args.detach;
    let entrypoint = match args.entrypoint.as_deref() {
        None => None,
        Some(text) => {
            let wrong = |error| Failure::new(format!("invalid --entrypoint `{text}`: {error}"));
            Some(shell_words::split(text).map_err(wrong)?)
        }
    };
    let label = |text: &String| {
        let (name, value) = parse::pair(text);
        (name, value.unwrap_or_default())
    };
    if let Some(dir) = args
        .workdir
        .as_deref()
        .filter(|dir| !dir.starts_with('/') && !dir.is_empty())
    {
        let text =
            format!("the working directory '{dir}' is invalid, it needs to be an absolute path");
        return Err(Failure::new(text));
    }
    let (ignore_orphans, remove_orphans) = app.orphans(args.remove_orphans);
    for (what, names) in [("CapAdd", &args.cap_add), ("CapDrop", &args.cap_drop)] {
        for name in names {
            let known = name.to_ascii_uppercase();
            let known = known.strip_prefix("CAP_").unwrap_or(&known);
            if known != "ALL" && Caps::named(known).is_none() {
                let text = format!("invalid {what}: unknown capability: \"CAP_{known}\"");
                return Err(Failure::new(text));
            }
        }
    }
    Ok(RunOptions {
        command: args.command.clone(),
        entrypoint,
        env: variables(app, args)?,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        volumes: args
            .volume
            .iter()
            .map(|text| parse::volume(text, &app.env))
            .collect::<Result<_, _>>()?,
        publish: args
            .publish
            .iter()
            .map(|text| parse::port(text))
            .collect::<Result<_, _>>()?,
        service_ports: args.service_ports,
        name: args.name.clone(),
        labels: args.label.iter().map(label).collect(),
        tty: wants_terminal(args.no_tty || args.detach, args.tty),
        stdin: interactive,
        detach: args.detach,
        rm: args.rm,
        no_deps: args.no_deps,
        use_aliases: args.use_aliases,
        build: if args.build {
            BuildChoice::Always
        } else {
            BuildChoice::Missing
        },
        pull: args.pull.as_deref().map(parse::pull_policy).transpose()?,
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        remove_orphans,
        declared: Vec::new(),
        ignore_orphans,
        quiet_pull: args.quiet_pull || args.quiet,
        quiet_build: args.quiet_build || args.quiet,
    })
}

/// Variables of `--env-from-file`, then those of `-e`.
fn variables(app: &App, args: &RunArgs) -> Result<Vec<(String, Option<String>)>, Failure> {
    let mut all = Vec::new();
    for file in &args.env_from_file {
        let cannot = |why: String| Failure::new(format!("cannot read {}: {why}", file.display()));
        let text = std::fs::read_to_string(app.env.cwd.join(file))
            .map_err(|error| cannot(error.to_string()))?;
        let lookup = |name: &str| app.env.get(name).map(str::to_owned);
        let mut unset = Vec::new();
        let parsed = dotenv::parse(&text, &lookup, &mut unset).map_err(|error| {
            let before = text.get(..error.at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Failure::new(format!("{}:{line}: {}", file.display(), error.fault))
        })?;
        for name in unset {
            app.warn(&format!(
                "{}: the variable {name} is not set; it is left empty",
                file.display()
            ));
        }
        all.extend(parsed.into_iter().map(|(name, value)| (name, Some(value))));
    }
    all.extend(args.env.iter().map(|text| parse::pair(text)));
    Ok(all)
}

/// Connects this command's streams, starts the container and waits for its end.
pub(super) fn attached(
    engine: &Arc<dyn Engine>,
    id: &ContainerId,
    options: &RunOptions,
    work: &Work,
) -> Outcome {
    let socket = Arc::new(engine.attach(id)?.socket);
    forward(engine, id, options.tty, &socket, work);
    engine.start(id)?;
    let raw = if options.tty && io::stdin().is_terminal() {
        streams::Raw::enter()
    } else {
        None
    };
    if options.tty {
        streams::send_size(socket.as_ref());
    }
    let ended = streams::attached(&socket, options.stdin);
    drop(raw);
    if let Some(code) = ended? {
        return Ok(code);
    }
    // The connection broke: the container's own record says how it ended.
    match engine.wait(id, Until::Exited, &work.context.cancel)? {
        Waited::Exited(exit) => Ok(exit.code()),
        Waited::Cancelled => Ok(130),
        _ => Err(Failure::new(
            "the container is gone; its exit code is not known",
        )),
    }
}

/// Signals of this command go to the container; with a terminal only its size does.
fn forward(
    engine: &Arc<dyn Engine>,
    id: &ContainerId,
    tty: bool,
    socket: &Arc<OwnedFd>,
    work: &Work,
) {
    let (engine, id, socket) = (Arc::clone(engine), id.clone(), Arc::clone(socket));
    work.interrupts.hand_to(move |signal| {
        if ends(signal) {
            // A container that has just ended takes no signal.
            let _ = engine.kill(&id, Signal(signal as i32));
        } else if tty {
            streams::send_size(socket.as_ref());
        }
    });
}
