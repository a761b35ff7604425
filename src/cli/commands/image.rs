//! `image …`: the images of the store.
//!
//! Imports: `image`, `engine` (which images containers use). As Docker: `docker image`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use super::store;
use crate::cli::app::App;
use crate::cli::args::{
    ImageCommand, ImagePullArgs, ImagePushArgs, ImportArgs, LoadArgs, SaveArgs,
};
use crate::cli::exit::{Failure, Outcome};
use crate::image::config::ImageConfig;
use crate::image::reference::Reference;
use crate::image::registry::{self, PullOptions, PushOptions};
use crate::image::store::{Image, Import};
use crate::ui::write_out;

pub(super) fn run(app: &App, command: &ImageCommand) -> Outcome {
    match command {
        ImageCommand::Build(args) => super::image_build::run(app, args),
        ImageCommand::Import(args) => import(app, args),
        ImageCommand::History(args) => store::history::run(app, args),
        ImageCommand::Inspect(args) => store::inspect::run(app, args),
        ImageCommand::Load(args) => load(app, args),
        ImageCommand::Ls(args) => store::ls::run(app, args),
        ImageCommand::Prune(args) => store::prune::run(app, args),
        ImageCommand::Pull(args) => pull(app, args),
        ImageCommand::Push(args) => push(app, args),
        ImageCommand::Rm(args) => store::rm::run(app, args),
        ImageCommand::Save(args) => save(app, args),
        ImageCommand::Tag(args) => store::rm::tag(app, args),
    }
}

fn import(app: &App, args: &ImportArgs) -> Outcome {
    let names = args
        .name
        .iter()
        .map(|name| Reference::parse(name))
        .collect::<Result<_, _>>()?;
    let how = Import {
        names,
        changes: args.change.clone(),
        message: args.message.clone(),
        ..Import::default()
    };
    let store = app.store()?;
    let imported = store.import_rootfs(input(app, Path::new(&args.file))?, &how);
    let (image, notes) = imported.map_err(|error| {
        Failure::new(format!("cannot import {}: {error}", args.file))
            .hint("it must be a tar archive of a root file system, plain or packed with gzip, bzip2 or zstd")
    })?;
    for note in notes {
        app.warn(&note);
    }
    write_out(format!("{}\n", image.id))?;
    Ok(0)
}

/// An archive to read: a file, or standard input as `-`.
fn input(app: &App, path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(app.env.cwd.join(path))
        .map_err(|error| Failure::new(format!("cannot open {}: {error}", path.display())))?;
    Ok(Box::new(file))
}

fn load(app: &App, args: &LoadArgs) -> Outcome {
    let path = args.input.as_deref().unwrap_or(Path::new("-"));
    if args.input.is_none() && io::stdin().is_terminal() {
        return Err(Failure::new("no archive given").hint("name one with -i, or pipe it in"));
    }
    let mut text = String::new();
    for (image, names) in app.store()?.load(input(app, path)?)? {
        if names.is_empty() {
            text.push_str(&format!("Loaded image ID: {}\n", image.id));
        }
        for name in names {
            text.push_str(&format!("Loaded image: {name}\n"));
        }
    }
    if !args.quiet {
        write_out(text)?;
    }
    Ok(0)
}

fn save(app: &App, args: &SaveArgs) -> Outcome {
    let store = app.store()?;
    let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
    for text in &args.images {
        let image = store.find(text)?;
        let named = Reference::parse(text).ok().filter(|name| {
            store
                .resolve(name)
                .ok()
                .flatten()
                .is_some_and(|found| found.id == image.id)
        });
        match images.iter_mut().find(|(known, _)| known.id == image.id) {
            Some((_, names)) => names.extend(named),
            None => images.push((image, named.into_iter().collect())),
        }
    }
    match &args.output {
        Some(path) => {
            let file = File::create(app.env.cwd.join(path)).map_err(|error| {
                Failure::new(format!("cannot create {}: {error}", path.display()))
            })?;
            store.save(&images, file)?;
        }
        None if io::stdout().is_terminal() => {
            let text = "an archive can't be written to a terminal";
            return Err(Failure::new(text).hint("name a file with -o, or redirect the output"));
        }
        None => store.save(&images, io::stdout().lock())?,
    }
    Ok(0)
}

fn pull(app: &App, args: &ImagePullArgs) -> Outcome {
    let references = args
        .images
        .iter()
        .map(|name| Reference::parse(name))
        .collect::<Result<Vec<_>, _>>()?;
    let store = app.store()?;
    // Nothing is to be finished when a pull ends early: Ctrl-C simply ends the command.
    let progress = app.new_progress(args.quiet);
    let options = PullOptions {
        platform: args.platform.clone(),
        env: app.env.clone(),
        ..PullOptions::default()
    };
    let mut pulled = String::new();
    for reference in &references {
        let result = registry::pull(&store, reference, &options, progress.as_ref());
        if result.is_err() {
            progress.finish();
        }
        result?;
        pulled.push_str(&format!("{}\n", reference.canonical()));
    }
    progress.finish();
    write_out(pulled)?;
    Ok(0)
}

fn push(app: &App, args: &ImagePushArgs) -> Outcome {
    let store = app.store()?;
    let mut found = Vec::new();
    for name in &args.images {
        let reference = Reference::parse(name)?;
        let image = store.resolve(&reference)?;
        let missing = || Failure::new(format!("no image `{reference}` is here"));
        found.push((image.ok_or_else(missing)?, reference));
    }
    // As with a pull, Ctrl-C simply ends the command.
    let progress = app.new_progress(args.quiet);
    let options = PushOptions {
        env: app.env.clone(),
        ..PushOptions::default()
    };
    let mut pushed = String::new();
    for (image, reference) in &found {
        let result = registry::push(&store, image, reference, &options, progress.as_ref());
        if result.is_err() {
            progress.finish();
        }
        pushed.push_str(&format!("{}\n", reference.by_digest(result?)));
    }
    progress.finish();
    write_out(pushed)?;
    Ok(0)
}

/// An image's name as lists show it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) repository: String,
    pub(super) tag: String,
}

impl Words {
    fn of(name: &Reference) -> Self {
        Self {
            repository: name.familiar_name(),
            tag: name.tag.clone().unwrap_or_else(|| "<none>".into()),
        }
    }
    /// Of a name that a spec holds; text that is none is shown as it is.
    pub(super) fn of_text(text: &str) -> Self {
        match Reference::parse(text) {
            Ok(name) => Self::of(&name),
            Err(_) => Self {
                repository: text.to_owned(),
                tag: "<none>".into(),
            },
        }
    }
}

/// `linux/amd64`, `linux/arm64/v8`.
pub(super) fn platform(config: &ImageConfig) -> String {
    let variant = config
        .variant
        .as_deref()
        .map(|v| format!("/{v}"))
        .unwrap_or_default();
    format!("{}/{}{variant}", config.os, config.architecture)
}
