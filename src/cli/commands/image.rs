//! `image …`: the images of the store.
//!
//! Imports: `image`, `engine` (which images containers use). As Docker: `docker image`.

use super::store;
use crate::cli::app::App;
use crate::cli::args::{ImageCommand, ImagePullArgs, ImagePushArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::image::config::ImageConfig;
use crate::image::reference::Reference;
use crate::image::registry::{self, PullOptions, PushOptions};
use crate::ui::write_out;

pub(super) fn run(app: &App, command: &ImageCommand) -> Outcome {
    match command {
        ImageCommand::Build(args) => super::image_build::run(app, args),
        ImageCommand::History(args) => store::history::run(app, args),
        ImageCommand::Import(args) => super::image_archive::import(app, args),
        ImageCommand::Inspect(args) => store::inspect::run(app, args),
        ImageCommand::Load(args) => super::image_archive::load(app, args),
        ImageCommand::Ls(args) => store::ls::run(app, args),
        ImageCommand::Prune(args) => store::prune::run(app, args),
        ImageCommand::Pull(args) => pull(app, args),
        ImageCommand::Push(args) => push(app, args),
        ImageCommand::Rm(args) => store::rm::run(app, args),
        ImageCommand::Save(args) => super::image_archive::save(app, args),
        ImageCommand::Tag(args) => store::rm::tag(app, args),
    }
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
