//! Phase 7: the canonical tree becomes the typed project, and what its parts say about each other is checked.
//!
//! In: [`Canonical`]. Out: the parts of a [`Project`]. It reads no file.
//! Imports: `base`, `canon`, `model`, `session`, `tree`.
//! Rules: Compose Specification; consistency as Compose (`loader/validate.go`).

mod build;
mod refs;
mod resource;
mod runtime;
mod service;
mod storage;

use indexmap::IndexMap;

use super::canon::{Canonical, Frame};
use super::model::{FileObject, Network, Service, Volume};
use super::session::Session;
use super::tree::{Entries, Node, Value};
use crate::base::diag::Diagnostic;
use crate::base::key::{Key, KeyPath};
use crate::base::name::ServiceName;

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
            .insert(key.clone(), binder.file_object(key, node));
    }
    for (key, node) in sorted(&canonical.secrets) {
        bound
            .secrets
            .insert(key.clone(), binder.file_object(key, node));
    }
    for (key, node) in sorted(&canonical.services) {
        binder.path = KeyPath::root().key("services").key(key);
        binder.off = frame.print_only || frame.is_off(node);
        let service = binder.service(key, node);
        bound
            .services
            .insert(ServiceName::new(key.as_str()), service);
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
        let fault = match self.off {
            true => Diagnostic::warning(text),
            false => Diagnostic::error(text),
        };
        self.session
            .diags
            .push(fault.at(node.place()).path(&self.path));
    }

    /// Goes one key down.
    fn under<T>(&mut self, key: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.0.push(Key::Name(key.to_owned()));
        let out = work(self);
        self.path.0.pop();
        out
    }

    /// Parses the text of a key; `expected` completes "is not …" when that fails.
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
            self.under(key, |binder| {
                binder.fault(value, format!("`{text}` is not {expected}"));
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

/// A mapping to texts; entries without a value are empty.
fn labels(node: &Node, key: &str) -> std::collections::BTreeMap<String, String> {
    let entries = node.get(key).and_then(Node::entries);
    let pair = |(key, value): (&String, &Node)| (key.clone(), value.scalar().unwrap_or_default());
    entries.into_iter().flatten().map(pair).collect()
}
