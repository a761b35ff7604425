//! Phase 2: variables in values are replaced.
//!
//! In: [`Raw`] and the variables of its file. Out: [`Expanded`], the same trees with the same places.
//! Keys are never touched. It reads no environment. Imports: `base`, `read`, `template`, `tree`.
//! Rules: Compose Specification, "Interpolation".

use std::collections::{BTreeMap, BTreeSet};

use super::read::Raw;
use super::template::{self, TemplateError};
use super::tree::{Node, Tag, Value};
use crate::base::diag::{Diagnostic, Diagnostics, nearest};
use crate::base::key::{Key, KeyPath};
use crate::base::span::Span;

/// Bytes that the values of one file may grow to.
const LONGEST: usize = 8 * template::LONGEST;

/// Variables by name.
pub(super) type Vars = BTreeMap<String, String>;

/// One file with its variables replaced.
#[derive(Debug)]
pub(super) struct Expanded {
    /// Documents in file order.
    pub(super) documents: Vec<Node>,
}

/// Replaces variables in all values. `source` is the text they were read from.
///
/// A variable that nothing sets becomes blank with a warning, once a name; a value with a broken reference is an error
/// and leaves the tree with the merge.
pub(super) fn expand(
    raw: Raw,
    source: &str,
    vars: &Vars,
    warned: &mut BTreeSet<String>,
    diags: &mut Diagnostics,
) -> Expanded {
    let mut walk = Walk {
        source,
        vars,
        warned,
        diags,
        path: KeyPath::root(),
        grown: 0,
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
    /// The text that was read.
    source: &'a str,
    vars: &'a Vars,
    warned: &'a mut BTreeSet<String>,
    diags: &'a mut Diagnostics,
    path: KeyPath,
    /// Bytes that values with variables add up to.
    grown: usize,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node) {
        if node.tag == Tag::Reset {
            return;
        }
        let place = node.place();
        match &mut node.value {
            Value::Map(entries) => {
                for (key, entry) in entries {
                    self.path.0.push(Key::Name(key.clone()));
                    self.node(entry);
                    self.path.0.pop();
                }
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
                let mut whole = String::new();
                let lookup = |name: &str| self.vars.get(name).cloned();
                let filled = match self.grown > LONGEST.max(self.source.len()) {
                    false => template::substitute(text, &lookup, &mut unset),
                    true => Err(TemplateError::Long),
                };
                self.grown += filled.as_ref().map_or(0, String::len);
                match filled {
                    Ok(filled) => whole = std::mem::replace(text, filled),
                    Err(error) => {
                        let fault = self.fault(text, node.span, place, &error);
                        self.diags.push(fault);
                        // What could not be filled in means nothing: the later phases must not look at it.
                        node.tag = Tag::Reset;
                    }
                }
                for name in unset {
                    let part = [format!("${{{name}"), format!("${name}")];
                    let written = part
                        .iter()
                        .find_map(|part| part_of(self.source, &whole, part, node.span));
                    self.unset(&name, written.unwrap_or(place));
                }
            }
            _ => {}
        }
    }

    fn fault(&self, text: &str, written: Span, place: Span, error: &TemplateError) -> Diagnostic {
        let (part, label) = match error {
            TemplateError::Invalid(part) => (part.clone(), "expected ${NAME}".to_owned()),
            TemplateError::Required { name, .. } => {
                let state = match self.vars.get(name) {
                    Some(_) => "is empty",
                    None => "is not set",
                };
                (name.clone(), format!("`{name}` {state}"))
            }
            TemplateError::Long => ("$".to_owned(), "too long".to_owned()),
            TemplateError::Deep => ("${".to_owned(), "too many levels".to_owned()),
        };
        let place = part_of(self.source, text, &part, written).unwrap_or(place);
        let message = error.to_string();
        let fault = Diagnostic::error(message.trim_end_matches(": "))
            .at(place)
            .path(&self.path)
            .label(label);
        let near = match error {
            TemplateError::Required { name, .. } if !self.vars.contains_key(name) => {
                nearest(name, self.vars.keys().map(String::as_str))
            }
            _ => None,
        };
        let fault = match error {
            TemplateError::Required { name, .. } => fault.misses(name.as_str()),
            _ => fault,
        };
        match near {
            Some(near) => fault.hint(format!("did you mean `{near}`, which is set?")),
            None => fault.hint(error.hint()),
        }
    }

    fn unset(&mut self, name: &str, place: Span) {
        if self.warned.insert(name.to_owned()) {
            self.diags.push(unset(name).at(place).path(&self.path));
        }
    }
}

/// That nothing sets a variable; in Compose's own words, which people search for.
pub(super) fn unset(name: &str) -> Diagnostic {
    let text = format!("The \"{name}\" variable is not set. Defaulting to a blank string.");
    Diagnostic::warning(text).misses(name)
}

/// The place of a part of a text that the file holds as it is, plain or in quotes.
fn part_of(source: &str, text: &str, part: &str, written: Span) -> Option<Span> {
    let quote = match (written.end - written.start) as usize {
        length if length == text.len() => 0,
        length if length == text.len() + 2 => 1,
        _ => return None,
    };
    let start = written.start as usize + quote + text.find(part)?;
    // Lines that were joined have other lengths, which may add up to this.
    (source.get(start..start + part.len())? == part)
        .then(|| Span::new(written.source, start, start + part.len()))
}
