//! `explain`: where a value of the document or a variable comes from, and what it replaced.
//!
//! Imports: `compose::explain`, `ui`. It opens neither store nor engine.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::format;
use crate::base::span::SourceMap;
use crate::cli::app::{App, load_failure};
use crate::cli::args::ExplainArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::LoadRequest;
use crate::compose::explain::{
    Container, Explainer, Explanation, Lower, PathExplanation, Place, Provenance, ScopeOf, Setting,
    SettingKind, Used, VariableExplanation, one_line,
};
use crate::ui::{render, write_out};

/// So many single values of a list or mapping are shown.
const SHOWN: usize = 60;

pub(super) fn run(app: &App, args: &ExplainArgs) -> Outcome {
    if !matches!(args.format.as_str(), "text" | "json") {
        return Err(format::unknown(&args.format, &["text", "json"]));
    }
    let request = LoadRequest {
        print_only: true,
        ..app.request()?
    };
    let explainer = Explainer::load(&request, &app.env).map_err(load_failure)?;
    app.show_warnings(explainer.warnings(), explainer.sources());
    let found = explainer.explain(&args.what).map_err(load_failure)?;
    if args.format == "json" {
        let text = serde_json::to_string_pretty(&found)
            .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        write_out(text + "\n")?;
        return Ok(0);
    }
    let mut page = Page {
        sources: explainer.sources(),
        colour: app.screen.out_colour,
        text: String::new(),
    };
    match &found {
        Explanation::Path(found) => page.path(found),
        Explanation::Variable(found) => page.variable(found),
    }
    write_out(page.text)?;
    Ok(0)
}

/// An answer being written.
struct Page<'s> {
    sources: &'s SourceMap,
    colour: bool,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.text, "{:1$}{2}", "", depth * 2, render::clean(text));
    }

    fn path(&mut self, found: &PathExplanation) {
        match found.entries.is_empty() {
            true => self.line(0, &format!("{}: {}", found.path, one_line(&found.value))),
            false => self.line(0, &found.path),
        }
        self.off(1, &found.off);
        if let Some(place) = &found.provenance.place {
            self.place(place);
        }
        self.provenance(0, &found.provenance);
        self.overrode(0, &found.overrode);
        if found.entries.is_empty() {
            return;
        }
        self.line(0, "holds:");
        for entry in found.entries.iter().take(SHOWN) {
            let path = entry.path.strip_prefix(&found.path).unwrap_or(&entry.path);
            let path = path.trim_start_matches('.');
            let value = one_line(&entry.value);
            let origin = origin(&entry.provenance);
            self.line(1, &format!("{path}: {value}  ({origin})"));
        }
        let more = found.entries.len().saturating_sub(SHOWN);
        if more > 0 {
            self.line(
                1,
                &format!("and {more} more: ask for a part, or for --format json"),
            );
        }
    }

    fn variable(&mut self, found: &VariableExplanation) {
        for scope in &found.scopes {
            self.scope(&found.variable, scope);
        }
        match found.references.is_empty() {
            true => self.line(0, "no compose file refers to it"),
            false => self.line(0, "referred to by:"),
        }
        for reference in &found.references {
            let line = format!(
                "{}: {} in {}",
                reference.place, reference.text, reference.path
            );
            self.line(1, &line);
        }
        if found.containers.is_empty() {
            self.line(0, "no service has it in its environment");
            return;
        }
        self.line(0, "in the environment of:");
        for container in &found.containers {
            self.container(container);
        }
    }

    fn scope(&mut self, name: &str, scope: &ScopeOf) {
        let value = match &scope.value {
            Some(value) => format!(": {}", shown(value)),
            None => " is not set for the compose files".to_owned(),
        };
        match &scope.include {
            Some(place) => self.line(
                0,
                &format!("{name}{value}, in the files included by {place}"),
            ),
            None => self.line(0, &format!("{name}{value}")),
        }
        for setting in &scope.sources {
            let word = if setting.wins { "set by" } else { "over" };
            let value = match setting.wins {
                true => String::new(),
                false => format!(": {}", shown(&setting.value)),
            };
            self.line(1, &format!("{word} {}{value}", source(setting)));
        }
        if scope.sources.is_empty() {
            self.line(1, "neither the environment nor an env file sets it");
        }
    }

    fn container(&mut self, container: &Container) {
        let value = match &container.value {
            Json::Null => "not set".to_owned(),
            value => one_line(value),
        };
        let origin = origin(&container.provenance);
        self.line(1, &format!("{}: {value}  ({origin})", container.service));
        self.off(2, &container.off);
        self.provenance(2, &container.provenance);
        self.overrode(2, &container.overrode);
    }

    fn off(&mut self, depth: usize, profiles: &[String]) {
        if !profiles.is_empty() {
            let text = format!("the service is off: profiles {}", profiles.join(", "));
            self.line(depth, &text);
        }
    }

    fn place(&mut self, place: &Place) {
        self.line(0, &place.to_string());
        let snippet = render::place(place.span, self.sources, self.colour);
        self.text.push_str(&snippet);
    }

    fn provenance(&mut self, depth: usize, found: &Provenance) {
        if let Some(rule) = &found.default {
            self.line(depth, &format!("no file says it: {rule}"));
        }
        if let Some(text) = &found.text {
            self.line(depth, &format!("written as: {}", shown(text)));
        }
        for used in &found.variables {
            self.line(depth + 1, &variable(used));
        }
        for hop in &found.via {
            let by = match hop.by {
                "<<" => "the merge key `<<`",
                "alias" => "the alias",
                other => other,
            };
            self.line(
                depth,
                &format!("through {by} at {}: {}", hop.place, hop.text),
            );
        }
    }

    fn overrode(&mut self, depth: usize, lower: &[Lower]) {
        for old in lower {
            let part = match &old.path {
                Some(path) => format!("{path}: "),
                None => String::new(),
            };
            let origin = origin(&old.provenance);
            let value = one_line(&old.value);
            self.line(depth, &format!("over {part}{value}  ({origin})"));
            let below = Provenance {
                default: None,
                ..old.provenance.clone()
            };
            self.provenance(depth + 1, &below);
        }
    }
}

/// The place of a value, and that it was filled in.
fn origin(found: &Provenance) -> String {
    match (&found.place, &found.default) {
        (Some(place), None) => place.to_string(),
        (Some(place), Some(rule)) => format!("{place}, {rule}"),
        (None, Some(rule)) => rule.clone(),
        (None, None) => "no place".to_owned(),
    }
}

/// A variable of a text with its value and source.
fn variable(used: &Used) -> String {
    let from = match (&used.value, &used.from) {
        (Some(value), Some(from)) => format!("{}, from {}", shown(value), source(from)),
        _ => "neither the environment nor an env file sets it".to_owned(),
    };
    match &used.default {
        Some(default) => format!(
            "{}: {from}; its default counts: {}",
            used.name,
            shown(default)
        ),
        None => format!("{}: {from}", used.name),
    }
}

fn source(setting: &Setting) -> String {
    match (setting.source, &setting.place) {
        (SettingKind::EnvFile, Some(place)) => place.to_string(),
        (SettingKind::ProjectName, _) => "hoist: the project's name".to_owned(),
        _ => "the environment".to_owned(),
    }
}

/// A text as one line.
fn shown(text: &str) -> String {
    one_line(&Json::String(text.to_owned()))
}
