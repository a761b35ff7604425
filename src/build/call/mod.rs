//! Questions about a Dockerfile that are answered without building: `--call`.
//!
//! In: a [`BuildRequest`] and a [`Call`]. Out: an [`Answer`] as text and as JSON, both of the shapes of `docker build --call`.
//! Nothing runs and nothing is copied; images are fetched where an answer depends on what they say.
//! Imports: `build::{definition, dockerfile, lint, lower}`, `base`.

mod outline;
mod targets;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::definition::Definition;
use super::error::BuildError;
use super::lint::report;
use super::{BuildRequest, Builder, lower};
use crate::base::span::SourceMap;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// What works and should be different?
    Check,
    /// What can be given to a build of this target?
    Outline,
    /// Which targets are there?
    Targets,
    /// Which questions are there?
    Describe,
}

impl Call {
    /// The question of a name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix("frontend.").unwrap_or(name);
        Some(match name {
            "check" | "lint" => Self::Check,
            "outline" => Self::Outline,
            "targets" => Self::Targets,
            "subrequests.describe" => Self::Describe,
            _ => return None,
        })
    }
}

/// What is known.
#[derive(Debug)]
pub struct Answer {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// Whether something was found that should be different.
    pub found: bool,
    /// What a build would fail with.
    pub fault: Option<BuildError>,
}

impl Answer {
    fn plain(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            found: false,
            fault: None,
        }
    }
}

/// Answers a question.
///
/// # Errors
/// [`BuildError`] where there is no answer; for [`Call::Check`] most faults are part of it.
pub fn call(
    call: Call,
    request: &BuildRequest,
    builder: &Builder<'_>,
) -> Result<Answer, BuildError> {
    if call == Call::Describe {
        return Ok(describe());
    }
    let mut sources = SourceMap::default();
    let definition = Definition::read(request, &mut sources)?;
    if call == Call::Check {
        return Ok(check(&definition, request, builder, &mut sources));
    }
    definition.good(&sources)?;
    if call == Call::Targets {
        return Ok(targets::answer(&definition, &sources));
    }
    let (file, lints) = (&definition.file, &definition.lints);
    let graph = lower::ask(file, request, builder, &mut sources, lints, false)?;
    Ok(outline::answer(&definition, &graph, request, &sources))
}

fn check(
    definition: &Definition,
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &mut SourceMap,
) -> Answer {
    let lints = &definition.lints;
    let outcome = definition
        .good(sources)
        .and_then(|()| {
            let every = request.target.as_deref().is_none_or(str::is_empty);
            lower::ask(&definition.file, request, builder, sources, lints, every)
        })
        .and_then(|_| definition.strict(sources));
    let findings = lints.findings();
    let fault = outcome.err();
    let first = match &fault {
        Some(BuildError::Invalid { diagnostics, .. }) => diagnostics.first(),
        _ => None,
    };
    let json = report::document(&findings, first, sources);
    let text = match fault.is_some() && findings.is_empty() {
        true => String::new(),
        false => report::text(&findings, sources),
    };
    Answer {
        text,
        json,
        found: !findings.is_empty(),
        fault,
    }
}

/// The questions that a front end answers when it is asked which.
fn describe() -> Answer {
    let calls = [
        (
            Call::Outline,
            "outline",
            "List all parameters current build target supports",
        ),
        (
            Call::Targets,
            "targets",
            "List all targets current build supports",
        ),
        (
            Call::Describe,
            "subrequests.describe",
            "List available subrequest types",
        ),
    ];
    let version = "1.0.0";
    let mut rows = vec![
        ["NAME", "VERSION", "DESCRIPTION"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut list = Vec::new();
    for (call, name, description) in calls {
        rows.push([name, version, description].map(str::to_owned).to_vec());
        let options = match call {
            Call::Outline => json!([{ "name": "target", "description": "Target build stage" }]),
            Call::Targets => json!([]),
            _ => Value::Null,
        };
        list.push(json!({
            "name": format!("frontend.{name}"),
            "version": version,
            "type": "rpc",
            "description": description,
            "opts": options,
            "inputs": null,
            "metadata": [
                { "name": "result.json", "description": "" },
                { "name": "result.txt", "description": "" },
            ],
            "refs": null,
        }));
    }
    Answer::plain(table(&rows, 1), Value::Array(list))
}

/// Rows with their cells below each other, `gap` blanks between columns.
fn table(rows: &[Vec<String>], gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < columns {
                let blanks = (widths[column] + gap).saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        text.push('\n');
    }
    text
}
