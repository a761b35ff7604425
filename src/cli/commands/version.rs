//! `version`: which hoist this is.
//!
//! Imports: `ui`.

use crate::cli::args::VersionArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::ui::write_out;

const NUMBER: &str = env!("CARGO_PKG_VERSION");

pub(super) fn run(args: &VersionArgs) -> Outcome {
    let text = match (args.short, args.format.as_str()) {
        (true, _) => format!("{NUMBER}\n"),
        (_, "json") => format!("{}\n", serde_json::json!({ "version": NUMBER })),
        (_, "pretty") => format!("hoist version {NUMBER}\n"),
        (_, other) => {
            return Err(Failure::new(format!(
                "unknown format `{other}`; write pretty or json"
            )));
        }
    };
    write_out(text)?;
    Ok(0)
}
