//! Phase 7: the canonical tree becomes the typed project, and what its parts say about each other is checked.
//!
//! In: [`Canonical`]. Out: the parts of a [`Project`]. It reads no file.
//! Imports: `base`, `canon`, `model`, `session`, `tree`.
//! Rules: Compose Specification; consistency as Compose (`loader/validate.go`).

mod build;
mod deploy;
mod develop;
mod limits;
mod own;
mod privileges;
mod refs;
mod resource;
mod runtime;
mod service;
mod storage;
#[cfg(test)]
mod tests;

use std::time::Duration;

use indexmap::IndexMap;

use super::canon::{Canonical, Frame};
use super::model::{FileObject, Job, Model, Network, Service, Volume};
use super::session::Session;
use super::tree::{Entries, Node, Value};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::key::{Key, KeyPath};
use crate::base::name::ServiceName;
use crate::base::scalar::{ByteSize, parse_duration};
use crate::base::span::Spanned;

/// The typed parts of a project, each sorted by name.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// Services.
    pub(super) services: IndexMap<ServiceName, Service>,
    /// Networks.
    pub(super) networks: IndexMap<String, Network>,
    /// Volumes.
    pub(super) volumes: IndexMap<String, Volume>,
    /// Configs.
    pub(super) configs: IndexMap<String, FileObject>,
    /// Secrets.
    pub(super) secrets: IndexMap<String, FileObject>,
    /// Models.
    pub(super) models: IndexMap<String, Model>,
    /// Jobs.
    pub(super) jobs: IndexMap<String, Job>,
}

/// Makes the typed project of its canonical form.
pub(super) fn bind(canonical: &Canonical, frame: &Frame<'_>, session: &mut Session<'_>) -> Bound {
    let mut binder = Binder {
        session,
        path: KeyPath::root(),
        off: frame.print_only,
    };
    let mut bound = Bound::default();
    for (key, node) in sorted(&canonical.networks) {
        binder.path = KeyPath::root().key("networks").key(key);
        bound
            .networks
            .insert(key.clone(), binder.network(key, node));
    }
    for (key, node) in sorted(&canonical.volumes) {
        binder.path = KeyPath::root().key("volumes").key(key);
        bound.volumes.insert(key.clone(), binder.volume(key, node));
    }
    for (key, node) in sorted(&canonical.configs) {
        bound
            .configs
            .insert(key.clone(), binder.file_object("configs", key, node));
    }
    for (key, node) in sorted(&canonical.secrets) {
        bound
            .secrets
            .insert(key.clone(), binder.file_object("secrets", key, node));
    }
    for (key, node) in sorted(&canonical.models) {
        bound.models.insert(key.clone(), resource::model(key, node));
    }
    for (key, node) in sorted(&canonical.services) {
        binder.path = KeyPath::root().key("services").key(key);
        binder.off = frame.print_only || frame.is_off(node);
        let service = binder.service(key, node);
        bound
            .services
            .insert(ServiceName::new(key.as_str()), service);
    }
    // Nothing runs a job yet, so that nothing of it is an error.
    binder.off = true;
    for (key, node) in sorted(&canonical.jobs) {
        binder.path = KeyPath::root().key("jobs").key(key);
        bound.jobs.insert(key.clone(), binder.job(key, node));
    }
    if frame.consistent {
        refs::check(canonical, &bound, frame, binder.session);
    }
    bound
}

/// The entries of a mapping by name.
fn sorted_of(node: &Node) -> Vec<(&String, &Node)> {
    node.entries().map(sorted).unwrap_or_default()
}

fn sorted(entries: &Entries) -> Vec<(&String, &Node)> {
    let mut all: Vec<(&String, &Node)> = entries.iter().collect();
    all.sort_by_key(|(key, _)| key.as_str());
    all
}

/// The walk over one project.
struct Binder<'s, 'e> {
    session: &'s mut Session<'e>,
    path: KeyPath,
    /// Whether the service at hand is off by its profiles, or nothing will be run.
    off: bool,
}

impl Binder<'_, '_> {
    /// Reports a value that can't be used; where it will not be run only as a warning.
    fn fault(&mut self, node: &Node, text: impl Into<String>) {
        let fault = self.faulty(node, text);
        self.session.diags.push(fault);
    }

    fn faulty(&self, node: &Node, text: impl Into<String>) -> Diagnostic {
        let fault = match self.off {
            true => Diagnostic::warning(text),
            false => Diagnostic::error(text),
        };
        fault.at(node.place()).path(&self.path)
    }

    /// Goes one key down.
    fn under<T>(&mut self, key: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.0.push(Key::Name(key.to_owned()));
        let out = work(self);
        self.path.0.pop();
        out
    }

    /// Parses the text of a key; `expected` completes "is not …" when that fails, and behind "; write " it has the words
    /// that are known.
    fn parse<T>(
        &mut self,
        node: &Node,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = node.get(key)?;
        let text = value.scalar()?;
        let parsed = parse(&text);
        if parsed.is_none() {
            let (kind, words) = expected.split_once("; write ").unwrap_or((expected, ""));
            let label = match words {
                "" => format!("expected {kind}"),
                words => format!("expected {words}"),
            };
            let known = words.split(", ").flat_map(|part| part.split(" or "));
            let near = nearest(&text, known);
            self.under(key, |binder| {
                let fault = binder.faulty(value, format!("`{text}` is not {kind}"));
                let fault = fault.label(label);
                binder.session.diags.push(match near {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault,
                });
            });
        }
        parsed
    }

    /// Binds each item of a list under its index.
    fn items<T>(
        &mut self,
        node: &Node,
        key: &str,
        mut bind: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        let items = node.get(key).and_then(Node::items).unwrap_or_default();
        self.path.0.push(Key::Name(key.to_owned()));
        let mut out = Vec::new();
        for (at, item) in items.iter().enumerate() {
            self.path.0.push(Key::Index(at));
            out.extend(bind(self, item));
            self.path.0.pop();
        }
        self.path.0.pop();
        out
    }
}

/// The text of a key and its place.
fn spanned(node: &Node, key: &str) -> Option<Spanned<String>> {
    let value = node.get(key)?;
    Some(Spanned::new(value.scalar()?, value.span))
}

/// The duration of a key.
fn duration(node: &Node, key: &str) -> Option<Duration> {
    parse_duration(node.text_of(key)?)
}

/// The byte size of a key.
fn bytes(node: &Node, key: &str) -> Option<ByteSize> {
    node.text_of(key)?.parse().ok().map(ByteSize)
}

/// A number with or without a fraction.
fn number(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// The text of a key.
fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.scalar()
}

/// Whether a key is true.
fn flag(node: &Node, key: &str) -> bool {
    matches!(
        node.get(key).map(|node| &node.value),
        Some(Value::Bool(true))
    )
}

/// The integer of a key, clamped to 64 bits.
fn integer(node: &Node, key: &str) -> Option<i64> {
    match node.get(key)?.value {
        Value::Int(value) => Some(i64::try_from(value).unwrap_or(i64::MAX)),
        Value::Text(ref text) => text.parse().ok(),
        _ => None,
    }
}

/// The texts of a list.
fn texts(node: &Node, key: &str) -> Vec<String> {
    let items = node.get(key).and_then(Node::items).unwrap_or_default();
    items.iter().filter_map(Node::scalar).collect()
}

/// A list of texts with their places.
fn spanned_texts(node: &Node, key: &str) -> Vec<Spanned<String>> {
    let items = node.get(key).and_then(Node::items).unwrap_or_default();
    let one = |item: &Node| Some(Spanned::new(item.scalar()?, item.span));
    items.iter().filter_map(one).collect()
}

/// A mapping to texts; entries without a value are empty.
fn labels(node: &Node, key: &str) -> std::collections::BTreeMap<String, String> {
    let bare = |(key, value): (String, Spanned<String>)| (key, value.value);
    options(node, key).into_iter().map(bare).collect()
}

/// The entries of a key as texts with their places, sorted.
fn options(node: &Node, key: &str) -> std::collections::BTreeMap<String, Spanned<String>> {
    let entries = node.get(key).and_then(Node::entries);
    let pair = |(key, value): (&String, &Node)| {
        let text = value.scalar().unwrap_or_default();
        (key.clone(), Spanned::new(text, value.place()))
    };
    entries.into_iter().flatten().map(pair).collect()
}
