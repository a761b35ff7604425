//! `image …`: the images of the store.
//!
//! Imports: `image`. As Docker: `docker image`.

use super::{image_archive, image_build, image_transfer, store};
use crate::cli::app::App;
use crate::cli::args::ImageCommand;
use crate::cli::exit::Outcome;
use crate::image::config::ImageConfig;
use crate::image::reference::Reference;

pub(super) fn run(app: &App, command: &ImageCommand) -> Outcome {
    match command {
        ImageCommand::Build(args) => image_build::run(app, args),
        ImageCommand::History(args) => store::history::run(app, args),
        ImageCommand::Import(args) => image_archive::import(app, args),
        ImageCommand::Inspect(args) => store::inspect::run(app, args),
        ImageCommand::Load(args) => image_archive::load(app, args),
        ImageCommand::Ls(args) => store::ls::run(app, args),
        ImageCommand::Prune(args) => store::prune::run(app, args),
        ImageCommand::Pull(args) => image_transfer::pull(app, args),
        ImageCommand::Push(args) => image_transfer::push(app, args),
        ImageCommand::Rm(args) => store::rm::run(app, args),
        ImageCommand::Save(args) => image_archive::save(app, args),
        ImageCommand::Tag(args) => store::rm::tag(app, args),
    }
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
