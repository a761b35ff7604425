//! Phase 5: every key is known and holds the kind of value it may.
//!
//! In: [`Merged`]. Out: [`Checked`]; what broke a rule is reported and taken out, so that the later phases can
//! report the rest. It looks at kinds, not at meanings: `canon` parses values, `bind` checks references.
//! Imports: `advice`, `base`, `merge`, `schema`, `tree`, `unsupported`.

use super::advice;
use super::merge::Merged;
use super::schema::{EXTERNAL, PROJECT, Rule, SERVICE, Shape, ULIMIT};
use super::tree::{Entries, Node, Value};
use super::unsupported;
use crate::base::diag::{Diagnostic, Diagnostics, nearest};
use crate::base::key::{Key, KeyPath};

/// A tree that fits the vocabulary.
#[derive(Debug)]
pub(super) struct Checked {
    /// Entries of the top level.
    pub(super) root: Entries,
}

/// Checks a project against the vocabulary.
pub(super) fn check(merged: Merged, diags: &mut Diagnostics) -> Checked {
    let mut walk = Walk {
        diags,
        path: KeyPath::root(),
        nameless: false,
    };
    let Some(mut root) = merged.root else {
        if !walk.diags.has_errors() {
            let fault = Diagnostic::error("the compose file is empty");
            walk.diags.push(fault.hint("add `services:`"));
        }
        return Checked {
            root: Entries::new(),
        };
    };
    walk.object(&PROJECT, &mut root);
    let mut root = match root.value {
        Value::Map(entries) => entries,
        _ => Entries::new(),
    };
    if let Some(version) = root.shift_remove("version") {
        let text = "the attribute `version` is obsolete and ignored";
        let fault = Diagnostic::warning(text).at(version.key_place());
        walk.diags.push(fault.hint("remove this line"));
    }
    unsupported::warn(&root, walk.diags);
    Checked { root }
}

/// Checks what the files read so far make, before a later one changes it; what broke a rule is reported and taken out.
pub(super) fn early(root: &mut Node, diags: &mut Diagnostics) {
    let mut walk = Walk {
        diags,
        path: KeyPath::root(),
        nameless: false,
    };
    walk.object(&PROJECT, root);
}

/// The names that may stand under `services`, `networks` and the other sections, as a regular expression.
pub(super) const NAME: &str = "^[a-zA-Z0-9._-]+$";

/// Whether a name fits [`NAME`].
fn is_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(good)
}

/// Source: the Engine's rule for container names.
fn is_container_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.len() > 1 && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(good)
}

struct Walk<'d> {
    diags: &'d mut Diagnostics,
    path: KeyPath,
    /// Whether keys of a service were found where names of services should be: told once.
    nameless: bool,
}

impl Walk<'_> {
    /// Checks a value; false when it must be taken out.
    fn value(&mut self, rule: &Rule, node: &mut Node) -> bool {
        use Value::{List, Map, Text};
        match (rule, &mut node.value) {
            (Rule::Text, Text(text))
                if self.is_key("container_name") && !is_container_name(text) =>
            {
                let hint = advice::as_name(text).map(|name| format!("write `{name}`"));
                let fault = format!("`{text}` is no container name");
                let label = "expected letters, digits, `_`, `.` and `-`, a letter or digit first"
                    .to_owned();
                self.report(node, fault, label, hint);
                false
            }
            (rule, value) if fits(rule, value) => true,
            (Rule::Choice(words), Text(text)) => {
                let known = words.contains(&text.as_str());
                if !known {
                    let within = || words.iter().copied().find(|word| word.contains(&**text));
                    let near = nearest(text, words.iter().copied()).or_else(within);
                    let fault = format!("`{text}` is not one of {}", words.join(", "));
                    let label = "expected one of these words".to_owned();
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    self.report(node, fault, label, hint);
                }
                known
            }
            (Rule::AllOrList(_), Text(_)) => self.value(&Rule::Choice(&["all"]), node),
            (Rule::Nullable(rule), _) => self.value(rule, node),
            (Rule::Object(shape) | Rule::Short(_, shape), Map(_)) => {
                self.object(shape, node);
                true
            }
            (Rule::Each(rule) | Rule::Named(_, rule), Map(entries)) => {
                self.each(rule, entries);
                true
            }
            (Rule::External, Map(_)) => {
                self.object(&EXTERNAL, node);
                true
            }
            (Rule::List(rule) | Rule::OneOrList(rule) | Rule::AllOrList(rule), List(items)) => {
                self.items(items, |walk, item| walk.value(rule, item));
                true
            }
            (Rule::Texts | Rule::Command | Rule::Test | Rule::Named(..), List(items)) => {
                self.items(items, |walk, item| walk.value(&Rule::Text, item));
                true
            }
            (Rule::Set | Rule::TextOrSet, List(items)) => {
                self.items(items, |walk, item| walk.value(&Rule::TextOrNumber, item));
                true
            }
            (Rule::Labels | Rule::Vars | Rule::Hosts, List(items)) => {
                self.items(items, |walk, item| walk.value(&Rule::Text, item));
                true
            }
            (Rule::Labels | Rule::Vars | Rule::Options, Map(entries)) => {
                self.entries(entries, |walk, node| walk.scalar(node));
                true
            }
            (Rule::Hosts, Map(entries)) => {
                self.entries(entries, |walk, node| walk.value(&Rule::TextOrSet, node));
                true
            }
            (Rule::ProviderOptions, Map(entries)) => {
                self.entries(entries, |walk, node| match &mut node.value {
                    List(items) => {
                        walk.items(items, Self::scalar);
                        true
                    }
                    _ => walk.scalar(node),
                });
                true
            }
            (Rule::Ulimit, Map(_)) => {
                self.object(&ULIMIT, node);
                true
            }
            _ => {
                self.wrong_kind(rule, node);
                false
            }
        }
    }

    fn is_key(&self, name: &str) -> bool {
        matches!(self.path.0.last(), Some(Key::Name(last)) if last == name)
    }

    fn wrong_kind(&mut self, rule: &Rule, node: &Node) {
        // Keys that are no strings make a list of ports a mapping; that has been told.
        if node.entries().is_some() && self.diags.is_refused(&self.path) {
            return;
        }
        if let [Key::Name(section), Key::Name(key)] = self.path.0.as_slice()
            && section == "services"
            && SERVICE.rule(key).is_some()
        {
            return self.nameless(key.clone(), node);
        }
        let wanted = advice::expected(rule);
        let fault = format!("expected {wanted}, but this is {}", node.kind());
        let label = advice::label(rule, &self.path);
        let hint = advice::wrong_kind(rule, &self.path, node);
        self.report(node, fault, label, hint);
    }

    /// A key of a service directly below `services`.
    fn nameless(&mut self, key: String, node: &Node) {
        if std::mem::replace(&mut self.nameless, true) {
            return;
        }
        let fault = format!("`{key}` stands where the name of a service is expected");
        let value = node.as_text().unwrap_or("…");
        self.diags.push(
            Diagnostic::error(fault)
                .at(node.key_place())
                .path(&self.path)
                .label("a key of a service")
                .hint(format!(
                    "put a name above it and indent the keys of the service:\n  services:\n    app:\n      {key}: {value}"
                )),
        );
    }

    fn report(&mut self, node: &Node, fault: String, label: String, hint: Option<String>) {
        let fault = Diagnostic::error(fault).at(node.place()).path(&self.path);
        let fault = fault.label(label);
        self.diags.push(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
    }

    /// A value of a free mapping: text, number, boolean or nothing.
    fn scalar(&mut self, node: &mut Node) -> bool {
        let good = node.is_null() || node.scalar().is_some();
        if !good {
            let wanted = "expected a string, number, boolean or nothing";
            let hint = match &node.value {
                Value::Time(text) => Some(format!("put it in quotes: \"{text}\"")),
                _ => advice::wrong_kind(&Rule::Text, &self.path, node),
            };
            let fault = format!("{wanted}, but this is {}", node.kind());
            self.report(node, fault, "expected a single value".to_owned(), hint);
        }
        good
    }

    fn object(&mut self, shape: &'static Shape, node: &mut Node) {
        let place = node.key_place();
        let Some(entries) = node.entries_mut() else {
            return;
        };
        for key in shape.required {
            if !entries.contains_key(*key) && !self.diags.is_faulty(&self.path.key(*key)) {
                let rule = shape.rule(key).unwrap_or(&Rule::Text);
                let value = match rule {
                    Rule::Choice(words) => words.join(" | "),
                    rule => advice::expected(rule).to_owned(),
                };
                let fault = Diagnostic::error(format!("the key `{key}` is missing"))
                    .at(place)
                    .label(format!("`{key}:` is needed here"))
                    .hint(format!("add `{key}:` with {value}"));
                self.diags.push(fault.path(&self.path));
            }
        }
        entries.retain(|key, entry| {
            self.path.0.push(Key::Name(key.clone()));
            let keep = match shape.rule(key) {
                Some(rule) => self.value(rule, entry),
                None if key.starts_with("x-") => true,
                None => {
                    self.unknown(shape, key, entry);
                    false
                }
            };
            self.path.0.pop();
            keep
        });
    }

    fn unknown(&mut self, shape: &Shape, key: &str, entry: &Node) {
        let mut outer = self.path.clone();
        outer.0.pop();
        let fault = Diagnostic::error(format!("unknown key `{key}`"))
            .at(entry.key_place())
            .path(&self.path)
            .label(format!("not a key of {}", advice::noun(&outer)))
            .hint(advice::unknown_key(&outer, shape, key, entry));
        self.diags.push(fault);
    }

    fn each(&mut self, rule: &'static Rule, entries: &mut Entries) {
        let named = self.path.0.len() == 1;
        entries.retain(|key, entry| {
            self.path.0.push(Key::Name(key.clone()));
            let good = !named || is_name(key);
            if !good {
                let fault = Diagnostic::error(format!("`{key}` is no name"))
                    .at(entry.key_place())
                    .path(&self.path)
                    .label("expected letters, digits, `.`, `_` and `-`");
                self.diags.push(match advice::as_name(key) {
                    Some(name) => fault.hint(format!("write `{name}:`")),
                    None => fault,
                });
            }
            let keep = good && (key.starts_with("x-") && !named || self.value(rule, entry));
            self.path.0.pop();
            keep
        });
    }

    fn entries(
        &mut self,
        entries: &mut Entries,
        mut check: impl FnMut(&mut Self, &mut Node) -> bool,
    ) {
        entries.retain(|key, entry| {
            self.path.0.push(Key::Name(key.clone()));
            let keep = check(self, entry);
            self.path.0.pop();
            keep
        });
    }

    fn items(
        &mut self,
        items: &mut Vec<Node>,
        mut check: impl FnMut(&mut Self, &mut Node) -> bool,
    ) {
        let mut at = 0;
        items.retain_mut(|item| {
            self.path.0.push(Key::Index(at));
            at += 1;
            let keep = check(self, item);
            self.path.0.pop();
            keep
        });
    }
}

/// Whether a value needs no closer look: a scalar that its rule allows.
pub(super) fn fits(rule: &Rule, value: &Value) -> bool {
    use Rule as R;
    match value {
        Value::Null => matches!(
            rule,
            R::Any | R::Own(_) | R::Nullable(_) | R::Command | R::Ulimit
        ),
        Value::Bool(_) => {
            matches!(
                rule,
                R::Any | R::Own(_) | R::Bool | R::Flag | R::External | R::TextOrNumber
            )
        }
        Value::Int(_) => matches!(
            rule,
            R::Any
                | R::Own(_)
                | R::TextOrNumber
                | R::Int
                | R::Count
                | R::Float
                | R::Bytes
                | R::Mode
                | R::Ulimit
                | R::DeviceCount
                | R::Short(super::schema::Short::Port, _)
        ),
        Value::Float(_) => {
            matches!(
                rule,
                R::Any | R::Own(_) | R::Float | R::Bytes | R::TextOrNumber | R::Count
            )
        }
        Value::Text(_) => !matches!(
            rule,
            R::Choice(_)
                | R::Texts
                | R::Set
                | R::Labels
                | R::Vars
                | R::Options
                | R::Hosts
                | R::ProviderOptions
                | R::Object(_)
                | R::Nullable(_)
                | R::Each(_)
                | R::List(_)
                | R::AllOrList(_)
                | R::Named(..)
        ),
        Value::Time(_) | Value::List(_) | Value::Map(_) => matches!(rule, R::Any | R::Own(_)),
    }
}
