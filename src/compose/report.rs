//! What is added to the findings of a run once its files were read: the aliases and variables behind a place.
//!
//! In: a run. Out: the same findings, each once, with what led to its place; the files that did, its text knows. It finds nothing itself and reads texts
//! again only where a finding asks for it. Imports: `base`, `dotenv`, `explain` (sources of variables), `read`,
//! `session`, `trace`.

use std::collections::BTreeMap;

use super::dotenv;
use super::explain::Settings;
use super::read;
use super::session::{Reason, Session};
use super::trace::{By, Step};
use super::tree::Node;
use crate::base::diag::{Diagnostic, Diagnostics, Severity};
use crate::base::key::{Key, KeyPath};
use crate::base::span::Span;

/// So many errors are told the variables and aliases behind them; nobody reads more in one go.
const EXPLAINED: usize = 200;

/// Completes the findings of a run.
pub(super) fn finish(session: &mut Session<'_>) {
    if session.diags.is_empty() {
        return;
    }
    let mut diags = std::mem::take(&mut session.diags);
    diags.dedup(&session.sources);
    env_file_hints(session, &mut diags);
    if diags.has_errors() {
        let trees = trees(session);
        let all = diags.iter_mut();
        let errors = all.filter(|item| item.severity == Severity::Error);
        for error in errors.take(EXPLAINED) {
            variables(session, error);
            aliases(&trees, error);
        }
    }
    session.diags = diags;
}

/// Says of a variable that is not set where an `env_file` has it, since there it has no effect.
fn env_file_hints(session: &Session<'_>, diags: &mut Diagnostics) {
    if !diags.iter().any(|item| item.variable.is_some()) {
        return;
    }
    let mut set: BTreeMap<String, Span> = BTreeMap::new();
    for id in session.read_for(Reason::Service) {
        for line in dotenv::assignments(&session.text(id)) {
            let place = Span::new(id, line.start, line.start);
            set.entry(line.name).or_insert(place);
        }
    }
    for item in diags.iter_mut() {
        if let Some((name, place)) = item
            .variable
            .as_ref()
            .and_then(|name| set.get_key_value(name))
        {
            item.hints.push(format!(
                "{} sets `{name}`, but an `env_file` only reaches the inside of containers: \
                 put it in .env, or pass a file with --env-file",
                session.sources.place(*place)
            ));
        }
    }
}

/// Variables of a value that a finding tells the origin of; more of them help nobody.
const SHOWN: usize = 3;
/// Bytes of a value that is looked at for variables.
const READABLE: usize = 500;

/// Says of a value with variables who set them.
fn variables(session: &Session<'_>, error: &mut Diagnostic) {
    let Some(span) = error.span.filter(|_| error.variable.is_none()) else {
        return;
    };
    let text = session.text(span.source);
    let written = text.get(span.start as usize..span.end as usize);
    let Some(written) =
        written.filter(|text| text.len() <= READABLE && text.contains('$') && !text.contains('\n'))
    else {
        return;
    };
    let settings = Settings {
        session,
        project: None,
    };
    for used in settings
        .used_in(span.source, written)
        .into_iter()
        .take(SHOWN)
    {
        let place = used.from.as_ref().map(|from| match &from.place {
            Some(place) => place.to_string(),
            None => "the environment".to_owned(),
        });
        error.hints.extend(match (place, used.default) {
            (_, Some(default)) => Some(format!(
                "`{}` is not set: its default `{default}` counts",
                used.name
            )),
            (Some(place), None) => Some(format!("`{}` is set by {place}", used.name)),
            (None, None) => None,
        });
    }
}

/// All documents of all compose files as they are written, if an alias stands in any.
fn trees(session: &Session<'_>) -> Vec<Node> {
    let reasons = [Reason::Project, Reason::Include, Reason::Extends];
    let ids = reasons
        .into_iter()
        .flat_map(|reason| session.read_for(reason));
    ids.flat_map(|id| {
        let text = session.text(id);
        match text.contains('*') {
            true => read::read(id, &text, &mut Diagnostics::default()).documents,
            false => Vec::new(),
        }
    })
    .collect()
}

/// Adds the aliases through which the place of an error comes to where it is used.
fn aliases(trees: &[Node], error: &mut Diagnostic) {
    let (Some(mut place), Some(path)) = (error.span, &error.path) else {
        return;
    };
    let mut steps: Vec<Step> = trees.iter().flat_map(|tree| steps(tree, path)).collect();
    while let Some(at) = steps.iter().position(|step| step.brings(place)) {
        let step = steps.swap_remove(at);
        let what = match step.by {
            By::MergeKey => "used here through a merge key",
            By::Alias | By::Extends => "used here through an alias",
        };
        add(error, step.at, what);
        place = step.at;
    }
}

/// The steps noted on the way along a path, the innermost first.
fn steps(tree: &Node, path: &KeyPath) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut next = Some(tree);
    for key in path.0.iter().map(Some).chain([None]) {
        let Some(node) = next else { break };
        steps.extend(node.notes.iter().flat_map(|notes| notes.steps.clone()));
        next = match key {
            Some(Key::Name(name)) => node.get(name),
            Some(Key::Index(at)) => node.items().and_then(|items| items.get(*at)),
            None => None,
        };
    }
    steps.reverse();
    steps
}

/// Adds a place unless it is shown already.
fn add(error: &mut Diagnostic, place: Span, what: &str) {
    let known = error.related.iter().any(|(known, _)| *known == place);
    if !known && error.span != Some(place) {
        error.related.push((place, what.to_owned()));
    }
}
