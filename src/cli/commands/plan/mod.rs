//! `plan`: what `up` would do and why, as text, JSON or a picture. It changes nothing, which `App` sees to: for this
//! command the store and the engine are opened for looking.
//!
//! Imports: `apply`, `plan::summary`, `graph::draw`.

mod picture;
mod text;

use super::change::chosen;
use super::format;
use super::graph::{self, Format};
use super::up::options;
use crate::apply;
use crate::cli::app::{App, Deps};
use crate::cli::args::PlanArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::lockfile;
use crate::plan::summary::Summary;

pub(super) fn run(app: &App, args: PlanArgs) -> Outcome {
    let (up, wanted, output) = args.up();
    let picture =
        match wanted.as_str() {
            "text" | "json" => None,
            other => Some(Format::parse(other).ok_or_else(|| {
                format::unknown(other, &["text", "json", "mermaid", "dot", "svg"])
            })?),
        };
    let deps = if up.no_deps {
        Deps::Leave
    } else {
        Deps::Include
    };
    let (project, declared) = chosen(app, &up.make, deps)?;
    let options = options(app, &up, declared)?;
    let mut work = app.work(true)?;
    work.context.pins = lockfile::pins(app, &project)?;
    let planned = apply::plan_up(&work.context, &project, &options);
    work.progress.finish();
    let planned = planned?;
    let summary = Summary::of(&planned);
    if wanted != "json" {
        app.plan_warnings(&planned);
    }
    let shown = match picture {
        Some(format) => graph::draw(
            &picture::drawing(&project, &summary),
            format,
            graph::look(app, output.as_deref()),
        ),
        None if wanted == "json" => {
            let text = serde_json::to_string_pretty(&summary);
            let text = text.map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
            format!("{text}\n")
        }
        None => text::text(&summary, graph::look(app, output.as_deref()).colour),
    };
    graph::put(app, output.as_deref(), &shown)?;
    Ok(if summary.changes { 2 } else { 0 })
}
