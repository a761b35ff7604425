//! `system prune`.
//!
//! Imports: `engine`, `image::store`, `build::cache`. As Docker: `cli/command/system/prune.go`; the budget is ours, with the
//! words of `docker buildx prune`.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::budget;
use super::room::Room;
use crate::base::clock::Timestamp;
use crate::base::name::ProjectName;
use crate::build::cache::list::{Entry, Kind};
use crate::build::cache::prune::{Prune, Pruned};
use crate::cli::app::App;
use crate::cli::args::SystemPruneArgs;
use crate::cli::ask::agreed;
use crate::cli::commands::cache::{Here, budget_of};
use crate::cli::commands::store::prune::{self, reclaimed};
use crate::cli::commands::store::{Filters, asker};
use crate::cli::exit::{Failure, Outcome};
use crate::engine::state::State;
use crate::engine::{AnonymousVolumes, Cancel, Engine, EngineError, Force};
use crate::image::store::{Removal, Removed};
use crate::ui::write_out;

const FILTERS: [&str; 3] = ["label", "label!", "until"];

pub(super) fn run(app: &App, args: &SystemPruneArgs) -> Outcome {
    let filters = Filters::parse(&args.filter, &FILTERS, &*app.store()?, Timestamp::now())?;
    if args.volumes && filters.until.is_some() {
        return Err(Failure::new(
            "the \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    let wish = budget_of(&args.budget)?;
    if !args.force && !agreed(&question(args))? {
        return Ok(0);
    }
    let engine = app.engine()?;
    let before = match args.volumes {
        true => engine.usage()?,
        false => Default::default(),
    };
    let mut freed = 0;
    let mut text = String::new();
    let containers = containers(&*engine, &filters)?;
    freed += containers.1;
    section(&mut text, "Deleted Containers", &containers.0);
    section(
        &mut text,
        "Deleted Networks",
        &networks(&*engine, &filters)?,
    );
    if args.volumes {
        let mut gone = Vec::new();
        for one in before.volumes.iter().filter(|one| one.anonymous) {
            if !filters.fits(&one.volume.labels, None) {
                continue;
            }
            match locked(&*engine, one.volume.project.as_ref(), || {
                engine.remove_volume(&one.volume.name)
            }) {
                Ok(()) => {
                    freed += one.size.unwrap_or_default().content;
                    gone.push(one.volume.name.clone());
                }
                Err(EngineError::InUse { .. } | EngineError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        section(&mut text, "Deleted Volumes", &gone);
    }
    let (images, cache) = made(app, args, &wish, &filters)?;
    freed += images.freed + cache.freed;
    text += &prune::told(&images);
    let ids: Vec<String> = cache.removed.iter().map(|entry| entry.id.clone()).collect();
    section(&mut text, "Deleted build cache objects", &ids);
    write_out(text + &reclaimed(freed))?;
    if cache.held_up {
        app.warn("a build is running: layers are left to the next time");
    }
    Ok(0)
}

fn question(args: &SystemPruneArgs) -> String {
    let mut lines = vec![
        "all stopped containers",
        "all networks not used by at least one container",
    ];
    if args.volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    lines.extend(match args.all {
        true => [
            "all images without at least one container associated to them",
            "all build cache",
        ],
        false => ["all dangling images", "unused build cache"],
    });
    let mut text = "WARNING! This will remove:\n".to_owned();
    for line in lines {
        let _ = writeln!(text, "  - {line}");
    }
    if !args.filter.is_empty() {
        text += "\n  Items to be pruned will be filtered with:\n";
        for filter in &args.filter {
            let _ = writeln!(text, "  - {filter}");
        }
    }
    text + "\nAre you sure you want to continue?"
}

fn section(text: &mut String, title: &str, names: &[String]) {
    if !names.is_empty() {
        let _ = writeln!(text, "{title}:\n{}\n", names.join("\n"));
    }
}

/// Holds a project's lock meanwhile: a command may be making what is not used yet.
fn locked<T>(
    engine: &dyn Engine,
    project: Option<&ProjectName>,
    act: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let _held = match project {
        Some(project) => engine.lock(project, &Cancel::default(), &|_| {})?,
        None => None,
    };
    act()
}

/// Removes containers that don't run; gives their ids and what they had written.
fn containers(engine: &dyn Engine, filters: &Filters) -> Result<(Vec<String>, u64), Failure> {
    let (mut gone, mut freed) = (Vec::new(), 0);
    let stopped = |state: State| matches!(state, State::Created | State::Exited { .. });
    for one in engine.usage()?.containers {
        let container = &one.container;
        if !stopped(container.state) || !filters.fits(&container.labels, Some(container.created)) {
            continue;
        }
        let done = locked(engine, Some(&container.project), || {
            // It may have been started meanwhile.
            if !stopped(engine.container(&container.id)?.state) {
                return Ok(false);
            }
            engine.remove(&container.id, Force::No, AnonymousVolumes::Keep)?;
            Ok(true)
        });
        match done {
            Ok(true) => {
                freed += one.written.content + one.log.content;
                gone.push(container.id.as_str().to_owned());
            }
            Ok(false) | Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((gone, freed))
}

/// Removes networks of projects that no container uses.
fn networks(engine: &dyn Engine, filters: &Filters) -> Result<Vec<String>, Failure> {
    let mut gone = Vec::new();
    for project in engine.projects()? {
        locked(engine, Some(&project), || {
            let world = engine.observe(&project)?;
            let used = |name: &str| {
                let mut all = world
                    .containers
                    .iter()
                    .flat_map(|container| &container.networks);
                all.any(|attachment| attachment.network == name)
            };
            for network in &world.networks {
                if used(&network.name)
                    || !network.users.is_empty()
                    || !filters.fits(&network.labels, None)
                {
                    continue;
                }
                match engine.remove_network(&network.name) {
                    Ok(()) => gone.push(network.name.clone()),
                    Err(EngineError::InUse { .. } | EngineError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
    }
    Ok(gone)
}

/// Removes images and build cache: all that may go, or as far as a budget asks for.
fn made(
    app: &App,
    args: &SystemPruneArgs,
    wish: &Prune,
    filters: &Filters,
) -> Result<(Removed, Pruned), Failure> {
    let here = Here::of(app)?;
    let now = SystemTime::now();
    let unused_for = filters.until.map(|until| until.until(Timestamp::now()));
    let cache = Prune {
        all: args.all,
        unused_for,
        ..Prune::default()
    };
    if !wish.has_budget() {
        let images = prune::images(app, args.all, filters)?;
        let needs = asker(app, false)?()?;
        let done = cache.run(&here.places(), &needs.layers, here.disk().0, now)?;
        return Ok((images, done));
    }
    let image = |image: &crate::image::store::Image, dangling| {
        (args.all || dangling) && filters.fits_image(&image.config, image.created())
    };
    let entry = |entry: &Entry| {
        (args.all || (!entry.shared && entry.kind != Kind::Project)) && cache.selects(entry, now)
    };
    let room = Room::look(app, &image, &entry)?;
    let chosen = budget::choose(room, wish, here.disk().0);
    let mut done = Pruned::default();
    if !chosen.entries.is_empty() {
        let these = Prune {
            ids: chosen.entries.into_iter().collect(),
            ..cache
        };
        let needs = asker(app, false)?()?;
        done = these.run(&here.places(), &needs.layers, here.disk().0, now)?;
    }
    let needs = asker(app, true)?;
    let how = Removal {
        force: false,
        needs: &needs,
    };
    let mut goes = |image: &crate::image::store::Image, _: &[_]| chosen.images.contains(&image.id);
    let images = match chosen.images.is_empty() {
        true => Removed::default(),
        false => here.store.prune(&how, &mut goes)?,
    };
    Ok((images, done))
}
