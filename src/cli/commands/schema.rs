//! `schema`: prints the JSON schema of compose files, for editors.
//!
//! Imports: `compose`. It reads no project.

use crate::cli::app::App;
use crate::cli::args::SchemaArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose;
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &SchemaArgs) -> Outcome {
    let text = format!("{:#}\n", compose::json_schema());
    match &args.output {
        None => write_out(text)?,
        Some(path) => std::fs::write(app.env.cwd.join(path), text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?,
    }
    Ok(0)
}
