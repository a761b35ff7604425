//! How a value of the document came about.
//!
//! In: a target in the document. Out: its place, what it replaced, the way it took. Imports: `base`, `dotenv`,
//! `session`, `trace`, `tree`.

use serde::Serialize;
use serde_json::Value as Json;

use super::path::{self, Target};
use super::settings::Used;
use super::written::Written;
use super::{Explainer, Place, defaults};
use crate::base::key::{Key, KeyPath};
use crate::base::span::{SourceId, Span};
use crate::compose::dotenv;
use crate::compose::session::{Asked, Reason};
use crate::compose::trace::{By, Step};
use crate::compose::tree::{Node, Value};

/// Keys that make a service depend on another without `depends_on`.
const IMPLYING: [&str; 7] = [
    "links",
    "volumes_from",
    "network_mode",
    "ipc",
    "pid",
    "uts",
    "cgroup",
];

/// One step from where a value is written to where it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// `alias`, `<<`, `extends`, `include`, `env_file` or `label_file`.
    pub by: &'static str,
    /// What refers: `*database`, the service, the file.
    pub text: String,
    /// The place that refers.
    pub place: Place,
}

/// Where a value comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// Where it is written; for a value that was filled in, what it was filled in for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The rule that gave the value, if no file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What is written there, where that differs from the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The variables in the text, with where their values come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Used>,
    /// The steps from there to here, the first one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Hop>,
}

/// A value that another one replaced.
#[derive(Debug, Clone, Serialize)]
pub struct Lower {
    /// What was replaced, if it is not the value itself but one that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The value as written there, variables replaced.
    pub value: Json,
    /// Where it comes from.
    #[serde(flatten)]
    pub provenance: Provenance,
}

/// A single value inside of a list or mapping that was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its path.
    pub path: String,
    /// The value.
    pub value: Json,
    /// Where it comes from.
    #[serde(flatten)]
    pub provenance: Provenance,
}

/// A value and how it came about.
#[derive(Debug, Clone, Serialize)]
pub struct PathExplanation {
    /// The path, written out.
    pub path: String,
    /// The value as containers get it: a `$` is one, not two as `config` prints it.
    pub value: Json,
    /// The profiles of its service, if none of them is active.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<String>,
    /// Where it comes from.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// What it replaced, the oldest first.
    pub overrode: Vec<Lower>,
    /// The single values in it, if it is a list or mapping.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
}

/// Collects the single values and the empty lists and mappings of a target.
pub(super) fn leaves<'t>(target: &Target<'t>, out: &mut Vec<Target<'t>>) {
    let children = target.children();
    if children.is_empty() {
        out.push(target.clone());
    }
    for child in children {
        leaves(&child, out);
    }
}

impl Explainer<'_> {
    pub(super) fn of_target(&self, target: &Target<'_>) -> PathExplanation {
        let mut inner = Vec::new();
        if !target.children().is_empty() {
            leaves(target, &mut inner);
        }
        let entry = |target: &Target<'_>| Entry {
            path: path::shown(&target.path),
            value: json(target.node()),
            provenance: self.provenance(target),
        };
        PathExplanation {
            path: path::shown(&target.path),
            value: json(target.node()),
            off: self.off(target),
            provenance: self.provenance(target),
            overrode: self.overrode(target),
            entries: inner.iter().map(entry).collect(),
        }
    }

    /// The profiles of the service a target is in, if they leave it off.
    pub(super) fn off(&self, target: &Target<'_>) -> Vec<String> {
        let service = match target.path.0.first() {
            Some(Key::Name(section)) if section == "services" => target.nodes.get(2),
            _ => None,
        };
        let Some(service) = service else {
            return Vec::new();
        };
        let profiles = service.get("profiles").and_then(Node::items);
        let profiles: Vec<String> = profiles
            .unwrap_or_default()
            .iter()
            .filter_map(Node::scalar)
            .collect();
        let active = &self.stage.found.profiles;
        let on = |name: &String| active.iter().any(|known| known == "*" || known == name);
        match profiles.iter().any(on) {
            true => Vec::new(),
            false => profiles,
        }
    }

    /// What a target replaced, itself or as a part of something larger; the oldest first.
    pub(super) fn overrode(&self, target: &Target<'_>) -> Vec<Lower> {
        let mut lower = Vec::new();
        for (depth, node) in target.nodes.iter().enumerate().rev() {
            let mut below = Vec::new();
            flatten(node, &mut below);
            let rest = target.path.0.get(depth..).unwrap_or_default();
            let mut here = Vec::new();
            for old in below {
                let mut replaced = Target {
                    path: KeyPath(target.path.0.iter().take(depth).cloned().collect()),
                    nodes: target.nodes.iter().take(depth).copied().collect(),
                };
                replaced.nodes.push(old);
                let part = descend(replaced.clone(), rest);
                let whole = part.is_none().then(|| path::shown(&replaced.path));
                let old = part.unwrap_or(replaced);
                here.push(Lower {
                    path: whole,
                    value: json(old.node()),
                    provenance: self.provenance(&old),
                });
            }
            here.append(&mut lower);
            lower = here;
        }
        lower
    }

    /// Where a target comes from.
    pub(super) fn provenance(&self, target: &Target<'_>) -> Provenance {
        let Some(node) = target.node() else {
            return Provenance::default();
        };
        if target.path.matches("name") {
            return self.project_name();
        }
        if let Some(found) = self.file_of_service(target, node) {
            return found;
        }
        let parent = target.nodes.iter().rev().nth(1);
        let within = parent.is_some_and(|parent| parent.span == node.span);
        let written = self.index.value(node.span);
        let filled = match (written, &node.value) {
            _ if self.implied(target, node) => true,
            (None, _) => self.index.is_key(node.span) || self.is_nowhere(node.span),
            (Some(Written::Null), Value::Null) => false,
            (Some(Written::Null), Value::Text(text)) => {
                !text.is_empty() && !is_variable_list(&target.path)
            }
            (Some(Written::Null), _) => within,
            (Some(Written::Scalar(_)), _) => false,
            (Some(Written::Collection), Value::List(_) | Value::Map(_)) => within,
            (Some(Written::Collection), _) => true,
        };
        let place = match target.path.0.len() {
            0 | 1 if self.is_nowhere(node.span) => self.section_place(node),
            _ if self.is_nowhere(node.span) => None,
            _ if filled => self.filled_place(target),
            _ => Some(self.first_line(node.place())),
        };
        let mut found = Provenance {
            place: place.map(|place| self.place(place)),
            via: self.way(target, place.unwrap_or(node.span)),
            ..Provenance::default()
        };
        if filled && (target.path.0.len() > 1 || place.is_none()) {
            found.default = Some(rule(target));
        } else if let Some(written) = written {
            self.as_written(target, node, written, &mut found);
        }
        found
    }

    /// Adds the text, its variables and, for a part of a short form, what the text does not say.
    fn as_written(
        &self,
        target: &Target<'_>,
        node: &Node,
        written: &Written,
        found: &mut Provenance,
    ) {
        let key = match target.path.0.last() {
            Some(Key::Name(key)) => key.as_str(),
            _ => "",
        };
        let text = match written {
            Written::Scalar(text) => text.as_str(),
            Written::Null | Written::Collection => "",
        };
        let bare = text.is_empty() || text == key;
        if is_variable_list(&target.path) && bare && !node.is_null() {
            found.text = Some(key.to_owned());
            found.variables = vec![
                self.settings()
                    .used(node.key_place().source, key, key, None),
            ];
            return;
        }
        let Written::Scalar(text) = written else {
            return;
        };
        let shown = node.scalar();
        let same = shown.as_deref() == Some(text.as_str())
            || shown.is_some_and(|value| format!("{key}={value}") == *text);
        if !same {
            found.text = Some(text.clone());
        }
        found.variables = self.settings().used_in(node.span.source, text);
        let parent = target.nodes.iter().rev().nth(1);
        if parent.is_some_and(|parent| parent.span == node.span) {
            found.default = defaults::silent(&target.path, text).map(str::to_owned);
        }
    }

    /// A variable or label that an `env_file` or a `label_file` gives.
    fn file_of_service(&self, target: &Target<'_>, node: &Node) -> Option<Provenance> {
        let (by, reason) = if target.path.matches("services.*.environment.*") {
            ("env_file", Reason::Service)
        } else if target.path.matches("services.*.labels.*") {
            ("label_file", Reason::Labels)
        } else {
            return None;
        };
        let Some(Key::Name(name)) = target.path.0.last() else {
            return None;
        };
        let id = self.session.read_for(reason).find(|id| {
            let at = self.session.asked(*id).and_then(|asked| asked.at);
            at == Some(node.span)
        })?;
        let text = self.session.text(id);
        let (start, end) = assignment(&text, name)?;
        let mut via = vec![self.hop(by, node.span)];
        via.extend(self.way(target, node.span));
        let place = Span::new(id, start, end);
        let written = text.get(start..end).unwrap_or_default();
        let value = node.scalar().unwrap_or_default();
        let same = written.split_once('=').map(|(_, text)| text.trim()) == Some(value.as_str());
        Some(Provenance {
            place: Some(self.place(place)),
            text: (!same).then(|| written.to_owned()),
            variables: match same {
                true => Vec::new(),
                false => self.settings().used_in(node.span.source, written),
            },
            via,
            default: None,
        })
    }

    /// Whether a dependency comes from another key than `depends_on`.
    fn implied(&self, target: &Target<'_>, node: &Node) -> bool {
        let Some(service) = target.nodes.get(2) else {
            return false;
        };
        let deep = target.path.0.get(2) == Some(&Key::Name("depends_on".to_owned()));
        let said = |key: &str| {
            let value = service.get(key);
            let items = value.and_then(Node::items).unwrap_or_default();
            value.into_iter().chain(items).any(|n| n.span == node.span)
        };
        deep && target.path.0.len() > 3 && IMPLYING.iter().any(|key| said(key))
    }

    /// The steps that brought a value from its place to where it is.
    fn way(&self, target: &Target<'_>, mut place: Span) -> Vec<Hop> {
        let notes = target.nodes.iter().rev().flat_map(|node| &node.notes);
        let mut steps: Vec<Step> = notes.flat_map(|notes| notes.steps.clone()).collect();
        let mut way = Vec::new();
        loop {
            let fits = steps.iter().enumerate().filter(|(_, s)| s.brings(place));
            // The innermost first; `at` last keeps the order fixed.
            let next = fits.min_by_key(|(_, s)| (s.of.end - s.of.start, s.at));
            if let Some(at) = next.map(|(at, _)| at) {
                let step = steps.swap_remove(at);
                way.push(self.hop(by(step.by), step.at));
                place = step.at;
                continue;
            }
            match self.session.asked(place.source) {
                Some(Asked {
                    reason: Reason::Include,
                    at: Some(at),
                }) => {
                    way.push(self.hop("include", at));
                    place = at;
                }
                _ => return way,
            }
        }
    }

    fn hop(&self, by: &'static str, at: Span) -> Hop {
        let text = self.session.text(at.source);
        let text = text.get(at.start as usize..at.end as usize);
        let text = text.unwrap_or_default().lines().next().unwrap_or_default();
        Hop {
            by,
            text: text.trim().to_owned(),
            place: self.place(at),
        }
    }

    /// What a value was filled in for: the nearest key above it, or the item of a list.
    fn filled_place(&self, target: &Target<'_>) -> Option<Span> {
        let steps = [None].into_iter().chain(target.path.0.iter().map(Some));
        let nodes: Vec<_> = target.nodes.iter().zip(steps).collect();
        nodes.into_iter().rev().find_map(|(node, step)| match step {
            Some(Key::Index(_)) if node.key.is_none() => Some(self.first_line(node.span)),
            _ => node.key,
        })
    }

    /// A place without the lines after its first.
    fn first_line(&self, span: Span) -> Span {
        let text = self.session.text(span.source);
        let text = text.get(span.start as usize..span.end as usize);
        let line = text.and_then(|text| text.find('\n'));
        let end = line.map_or(span.end as usize, |line| span.start as usize + line);
        Span::new(span.source, span.start as usize, end)
    }

    /// Whether a place stands for no place: the start of the first text, where nothing is written.
    fn is_nowhere(&self, span: Span) -> bool {
        span == Span::new(SourceId(0), 0, 0)
    }

    /// Where a section of the document begins: at the key above its first entry.
    fn section_place(&self, node: &Node) -> Option<Span> {
        let places = node.entries()?.values().map(Node::key_place);
        places.filter(|place| !self.is_nowhere(*place)).min()
    }

    /// Where the name of the project comes from.
    fn project_name(&self) -> Provenance {
        let given = |text: &str| Provenance {
            default: Some(text.to_owned()),
            ..Provenance::default()
        };
        if self.given_name.as_ref().is_some_and(|n| !n.is_empty()) {
            return given("-p on the command line");
        }
        if let Some(found) = self.settings().name_variable() {
            return Provenance {
                variables: vec![found],
                ..Provenance::default()
            };
        }
        let files = self.session.read_for(Reason::Project);
        let last = files.filter_map(|id| self.index.names.get(&id)).last();
        let Some((span, Written::Scalar(text))) =
            last.and_then(|span| Some((*span, self.index.value(*span)?)))
        else {
            return given("the name of the project's directory");
        };
        Provenance {
            place: Some(self.place(span)),
            text: (*text != self.stage.name.to_string()).then(|| text.clone()),
            variables: self.settings().used_in(span.source, text),
            ..Provenance::default()
        }
    }
}

fn json(node: Option<&Node>) -> Json {
    node.map(super::value_of).unwrap_or_default()
}

fn by(by: By) -> &'static str {
    match by {
        By::Alias => "alias",
        By::MergeKey => "<<",
        By::Extends => "extends",
    }
}

/// Everything below a value, the oldest first.
fn flatten<'t>(node: &'t Node, out: &mut Vec<&'t Node>) {
    for below in node.notes.iter().flat_map(|notes| &notes.below) {
        flatten(below, out);
        out.push(below);
    }
}

/// The part of a replaced value at the same path.
fn descend<'t>(target: Target<'t>, rest: &[Key]) -> Option<Target<'t>> {
    rest.iter().try_fold(target, |target, key| {
        let node = target.node()?;
        let child = match key {
            Key::Name(name) => node.get(name)?,
            Key::Index(at) => node.items()?.get(*at)?,
        };
        Some(target.child(key.clone(), child))
    })
}

/// Whether an entry without a value takes it from the variable of its name.
fn is_variable_list(path: &KeyPath) -> bool {
    path.matches("services.*.environment.*") || path.matches("services.*.build.args.*")
}

/// The rule that filled a value in.
fn rule(target: &Target<'_>) -> String {
    let parent = target.nodes.iter().rev().nth(1);
    let external = parent.is_some_and(|parent| parent.get("external").is_some());
    let last = target.path.0.last() == Some(&Key::Name("name".to_owned()));
    match external && last && target.path.0.len() == 3 {
        true => {
            "the name under `external`, else the key: it exists outside of the project".to_owned()
        }
        false => defaults::rule(&target.path).to_owned(),
    }
}

/// Where an env file names a variable last.
fn assignment(text: &str, name: &str) -> Option<(usize, usize)> {
    let trimmed = |start: usize, end: usize| {
        let line = text.get(start..end).unwrap_or_default().trim_end();
        (start, start + line.len())
    };
    let all = dotenv::assignments(text);
    if let Some(found) = all.iter().rev().find(|found| found.name == name) {
        return Some(trimmed(found.start, found.end));
    }
    // `format: raw` knows no quotes: a line is a line.
    let mut at = 0;
    let mut last = None;
    for line in text.split_inclusive('\n') {
        if line
            .split_once('=')
            .is_some_and(|(key, _)| key.trim() == name)
        {
            last = Some(trimmed(at, at + line.len()));
        }
        at += line.len();
    }
    last
}
