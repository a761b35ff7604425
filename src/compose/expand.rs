//! Phase 2: variables in values are replaced.
//!
//! In: [`Raw`] and the variables of its file. Out: [`Expanded`], the same trees with the same places.
//! Keys are never touched. It reads no environment. Imports: `base`, `read`, `template`, `tree`.
//! Rules: Compose Specification, "Interpolation".

use std::collections::{BTreeMap, BTreeSet};

use super::read::Raw;
use super::template::{self, TemplateError};
use super::tree::{Node, Value};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::{Key, KeyPath};

/// Variables by name.
pub(super) type Vars = BTreeMap<String, String>;

/// One file with its variables replaced.
#[derive(Debug)]
pub(super) struct Expanded {
    /// Documents in file order.
    pub(super) documents: Vec<Node>,
}

/// Replaces variables in all values.
///
/// A variable that nothing sets becomes blank with a warning, once a name; a broken reference is an error and its text stays.
pub(super) fn expand(
    raw: Raw,
    vars: &Vars,
    warned: &mut BTreeSet<String>,
    diags: &mut Diagnostics,
) -> Expanded {
    let mut walk = Walk {
        vars,
        warned,
        diags,
        path: KeyPath::root(),
    };
    let mut documents = raw.documents;
    for document in &mut documents {
        walk.node(document);
    }
    Expanded { documents }
}

/// Takes the values as they are, for `--no-interpolate`.
pub(super) fn keep(raw: Raw) -> Expanded {
    Expanded {
        documents: raw.documents,
    }
}

struct Walk<'a> {
    vars: &'a Vars,
    warned: &'a mut BTreeSet<String>,
    diags: &'a mut Diagnostics,
    path: KeyPath,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node) {
        let place = node.place();
        match &mut node.value {
            Value::Map(entries) => {
                for (key, entry) in entries {
                    self.path.0.push(Key::Name(key.clone()));
                    self.node(entry);
                    self.path.0.pop();
                }
            }
            // As Compose, whose copy of a list without items is none; only extensions show it.
            Value::List(items) if items.is_empty() && self.is_extension() => {
                node.value = Value::Null;
            }
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.path.0.push(Key::Index(at));
                    self.node(item);
                    self.path.0.pop();
                }
            }
            Value::Text(text) if text.contains('$') => {
                let mut unset = Vec::new();
                match template::substitute(text, &|name| self.vars.get(name).cloned(), &mut unset) {
                    Ok(filled) => *text = filled,
                    Err(error) => {
                        let required = matches!(error, TemplateError::Required { .. });
                        let fault = Diagnostic::error(error.to_string())
                            .at(place)
                            .path(&self.path);
                        self.diags.push(match required {
                            true => fault.hint("set it in the environment or in an env file"),
                            false => fault,
                        });
                    }
                }
                for name in unset {
                    self.unset(&name, place);
                }
            }
            _ => {}
        }
    }

    /// Whether the walk stands below an `x-` key.
    fn is_extension(&self) -> bool {
        let own = |key: &Key| matches!(key, Key::Name(name) if name.starts_with("x-"));
        self.path.0.iter().any(own)
    }

    fn unset(&mut self, name: &str, place: crate::base::span::Span) {
        if self.warned.insert(name.to_owned()) {
            let text = format!("The \"{name}\" variable is not set. Defaulting to a blank string.");
            self.diags
                .push(Diagnostic::warning(text).at(place).path(&self.path));
        }
    }
}
