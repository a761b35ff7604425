//! What the files say, before anything was replaced, merged or filled in.
//!
//! In: the texts of a run. Out: the value that was written at a place, and every reference to a variable.
//! It reads the registered texts again: nothing of this is kept while a project is loaded.
//! Imports: `base`, `read`, `session`, `template`, `tree`.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::diag::Diagnostics;
use crate::base::key::{Key, KeyPath};
use crate::base::span::{SourceId, Span};
use crate::compose::read;
use crate::compose::session::{Reason, Session};
use crate::compose::template;
use crate::compose::tree::{Node, Value};

/// A value as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing, `null` or `~`.
    Null,
    /// One value: its text, without quotes.
    Scalar(String),
    /// A list or a mapping.
    Collection,
}

/// A reference to a variable.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// The variable.
    pub(super) name: String,
    /// The place of the reference, from `$` to its end.
    pub(super) span: Span,
    /// It as written: `${TAG:-latest}`.
    pub(super) text: String,
    /// The key path of the value it stands in.
    pub(super) path: KeyPath,
}

/// All values of all compose files by their place.
#[derive(Debug, Default)]
pub(super) struct Index {
    values: BTreeMap<Span, Written>,
    keys: BTreeSet<Span>,
    /// References in file order.
    pub(super) references: Vec<Reference>,
    /// The last top-level `name` of each text.
    pub(super) names: BTreeMap<SourceId, Span>,
}

impl Index {
    /// Reads all compose files of a run again.
    pub(super) fn of(session: &Session<'_>) -> Self {
        let mut index = Self::default();
        for reason in [Reason::Project, Reason::Include, Reason::Extends] {
            for id in session.read_for(reason) {
                let text = session.text(id);
                for document in read::read(id, &text, &mut Diagnostics::default()).documents {
                    if let Some(name) = document.get("name").filter(|name| !name.is_null()) {
                        index.names.insert(id, name.span);
                    }
                    index.add(&document, &text, &mut KeyPath::root());
                }
            }
        }
        // The first path stays: the one under which the text stands, not those that aliases add.
        index.references.sort_by_key(|reference| reference.span);
        index.references.dedup_by_key(|reference| reference.span);
        index
    }
    /// What is written as the value at a place.
    pub(super) fn value(&self, span: Span) -> Option<&Written> {
        self.values.get(&span)
    }
    /// Whether a place is a key.
    pub(super) fn is_key(&self, span: Span) -> bool {
        self.keys.contains(&span)
    }

    fn add(&mut self, node: &Node, text: &str, path: &mut KeyPath) {
        self.keys.extend(node.key);
        let slice = text
            .get(node.span.start as usize..node.span.end as usize)
            .unwrap_or_default();
        let written = match &node.value {
            Value::Null => Written::Null,
            Value::Text(text) => Written::Scalar(text.clone()),
            Value::List(_) | Value::Map(_) => Written::Collection,
            _ => Written::Scalar(slice.to_owned()),
        };
        self.values.entry(node.span).or_insert(written);
        match &node.value {
            Value::Map(entries) => {
                for (key, entry) in entries {
                    path.0.push(Key::Name(key.clone()));
                    self.add(entry, text, path);
                    path.0.pop();
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.0.push(Key::Index(at));
                    self.add(item, text, path);
                    path.0.pop();
                }
            }
            Value::Text(value) if value.contains('$') => {
                self.references
                    .extend(references(slice).map(|(at, name, text)| {
                        let start = node.span.start as usize + at;
                        Reference {
                            name: name.to_owned(),
                            span: Span::new(node.span.source, start, start + text.len()),
                            text: text.to_owned(),
                            path: path.clone(),
                        }
                    }));
            }
            _ => {}
        }
    }
}

/// References of a text: where each starts, its name, and it as written; nested ones too.
fn references(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text.get(at..)?.find('$')?;
            let rest = text.get(start..)?;
            if rest.starts_with("$$") {
                at = start + 2;
                continue;
            }
            at = start + 1;
            if let Some((name, whole)) = template::reference(rest) {
                return Some((start, name, whole));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_nested_and_escaped_ones_are_not() {
        let text = "a $A ${B:-x ${C}} $$D $${E} ${F $(g) $";
        let found: Vec<_> = references(text).collect();
        assert_eq!(
            found,
            [(2, "A", "$A"), (5, "B", "${B:-x ${C}}"), (12, "C", "${C}")]
        );
    }
}
