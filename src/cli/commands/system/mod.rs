//! `system …`: all that hoist keeps: how much of the disk it takes, what of it can go, whether it is whole.
//!
//! [`df`], [`prune`] with its [`budget`], [`room`] (what could be freed, for who has a full disk).
//! Imports: `engine`, `image`, `build::cache`, `ui`. As Docker: `docker system`.

mod budget;
mod df;
mod projects;
mod prune;
pub(in crate::cli) mod room;

use crate::cli::app::App;
use crate::cli::args::{SystemCheckArgs, SystemCommand};
use crate::cli::exit::{Failure, Outcome};
use crate::ui::write_out;

pub(super) fn run(app: &App, command: &SystemCommand) -> Outcome {
    match command {
        SystemCommand::Check(args) => check(app, args),
        SystemCommand::Df(args) => df::run(app, args),
        SystemCommand::Prune(args) => prune::run(app, args),
    }
}

fn check(app: &App, args: &SystemCheckArgs) -> Outcome {
    let store = app.store()?;
    let damages = store.check(args.deep)?;
    let mut text = String::new();
    for damage in &damages {
        let image = damage
            .image
            .as_deref()
            .map(|name| format!("image {name}: "));
        text += &format!("{}{}\n", image.unwrap_or_default(), damage.what);
    }
    if damages.is_empty() {
        let count = store.list()?.len();
        let layers = store.layers().list()?.len();
        write_out(format!("images: {count}, layers: {layers}, all whole\n"))?;
        return Ok(0);
    }
    write_out(text)?;
    Err(Failure::new(format!(
        "{} found",
        match damages.len() {
            1 => "1 fault".to_owned(),
            count => format!("{count} faults"),
        }
    ))
    .hint("remove these images with `hoist image rm --force`, and pull or build them again"))
}
