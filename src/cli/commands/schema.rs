//! `schema`: prints the JSON schema of compose files, for editors, or of progress, for programs.
//!
//! Imports: `compose`. It reads no project.

use crate::cli::app::App;
use crate::cli::args::SchemaArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose;
use crate::ui::{events, write_out};

pub(super) fn run(app: &App, args: &SchemaArgs) -> Outcome {
    let schema = match args.events {
        true => events::schema(),
        false => compose::json_schema(),
    };
    let text = format!("{schema:#}\n");
    match &args.output {
        None => write_out(text)?,
        Some(path) => std::fs::write(app.env.cwd.join(path), text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?,
    }
    Ok(0)
}
