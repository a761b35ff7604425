//! `version`: which hoist this is.
//!
//! Imports: `ui`.

use serde_json::json;

use super::store::template_failure;
use crate::cli::args::VersionArgs;
use crate::cli::called::STANDS_FOR;
use crate::cli::exit::Outcome;
use crate::ui::template::{Filling, Template};
use crate::ui::write_out;

const NUMBER: &str = env!("CARGO_PKG_VERSION");

pub(super) fn run(args: &VersionArgs) -> Outcome {
    let text = match (args.short, args.format.as_str()) {
        (true, _) => format!("{NUMBER}\n"),
        (_, "json") => format!("{}\n", json!({ "version": NUMBER })),
        (_, text) if text.contains("{{") => {
            let fields = json!({ "Version": NUMBER, "version": NUMBER });
            let filled = Template::parse(text)
                .and_then(|template| template.fill(&fields, None, Filling::Value));
            filled.map_err(|fault| template_failure(&fault))? + "\n"
        }
        // As Compose: whatever else is asked for.
        _ => format!("hoist version {NUMBER}\n"),
    };
    write_out(text)?;
    Ok(0)
}

/// As [`run`], where hoist stands in for docker compose: scripts and editors ask which one that is.
///
/// # Errors
/// An unknown format; a closed output.
pub(in crate::cli) fn stand_in(args: &VersionArgs) -> Outcome {
    let text = match (args.short, args.format.as_str()) {
        (true, _) => format!("{STANDS_FOR}\n"),
        (_, "json") => format!("{}\n", serde_json::json!({ "version": STANDS_FOR })),
        (_, "pretty") => format!("Docker Compose version {STANDS_FOR} (hoist {NUMBER})\n"),
        _ => return run(args),
    };
    write_out(text)?;
    Ok(0)
}
