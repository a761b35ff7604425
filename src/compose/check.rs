//! Phase 5: every key is known and holds the kind of value it may.
//!
//! In: [`Merged`]. Out: [`Checked`]; what broke a rule is reported and taken out, so that the later phases can
//! report the rest. It looks at kinds, not at meanings: `canon` parses values, `bind` checks references.
//! Imports: `base`, `merge`, `schema`, `tree`, `unsupported`.

use super::merge::Merged;
use super::schema::{PROJECT, Rule, Shape};
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
    };
    let filled = |root: &Node| root.entries().is_none_or(|entries| !entries.is_empty());
    let Some(mut root) = merged.root.filter(filled) else {
        walk.diags
            .push(Diagnostic::error("the compose file is empty").hint("add `services:`"));
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
        let hint = "remove it to avoid confusion";
        walk.diags
            .push(Diagnostic::warning(text).at(version.key_place()).hint(hint));
    }
    unsupported::warn(&root, walk.diags);
    Checked { root }
}

/// Whether a name may stand under `services`, `networks` and the other sections.
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
}

impl Walk<'_> {
    /// Checks a value; false when it must be taken out.
    fn value(&mut self, rule: &Rule, node: &mut Node) -> bool {
        use Value::{List, Map, Text};
        match (rule, &mut node.value) {
            (Rule::Text, Text(text))
                if self.is_key("container_name") && !is_container_name(text) =>
            {
                let fault = format!(
                    "`{text}` is no container name: use letters, digits, `_`, `.` and `-`, and start with a letter or digit"
                );
                self.report(node, fault, None);
                false
            }
            (rule, value) if fits(rule, value) => true,
            (Rule::Choice(words), Text(text)) => {
                let known = words.contains(&text.as_str());
                if !known {
                    let near = nearest(text, words.iter().copied());
                    let fault = format!("`{text}` is not one of {}", words.join(", "));
                    self.report(
                        node,
                        fault,
                        near.map(|near| format!("did you mean `{near}`?")),
                    );
                }
                known
            }
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
            (Rule::List(rule) | Rule::OneOrList(rule), List(items)) => {
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
                let fault = format!("expected {}, but this is {}", expected(rule), node.kind());
                self.report(node, fault, advice(rule, node));
                false
            }
        }
    }

    fn is_key(&self, name: &str) -> bool {
        matches!(self.path.0.last(), Some(Key::Name(last)) if last == name)
    }

    fn report(&mut self, node: &Node, fault: String, hint: Option<String>) {
        let fault = Diagnostic::error(fault).at(node.place()).path(&self.path);
        self.diags.push(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
    }

    /// A value of a free mapping: text, number, boolean or nothing.
    fn scalar(&mut self, node: &mut Node) -> bool {
        let good = node.is_null() || node.scalar().is_some();
        if !good {
            let fault = format!(
                "expected a string, number, boolean or nothing, but this is {}",
                node.kind()
            );
            let hint = matches!(node.value, Value::Time(_)).then(|| "put it in quotes".to_owned());
            self.report(node, fault, hint);
        }
        good
    }

    fn object(&mut self, shape: &'static Shape, node: &mut Node) {
        let place = node.key_place();
        let Some(entries) = node.entries_mut() else {
            return;
        };
        for key in shape.required {
            if !entries.contains_key(*key) {
                let fault = Diagnostic::error(format!("the key `{key}` is missing")).at(place);
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
        let near = nearest(key, shape.keys.iter().map(|(name, _)| *name));
        let fault = Diagnostic::error(format!("unknown key `{key}`"))
            .at(entry.key_place())
            .path(&self.path);
        self.diags.push(match near {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("keys of your own must start with `x-`"),
        });
    }

    fn each(&mut self, rule: &'static Rule, entries: &mut Entries) {
        let named = self.path.0.len() == 1;
        entries.retain(|key, entry| {
            self.path.0.push(Key::Name(key.clone()));
            let good = !named || is_name(key);
            if !good {
                let fault = format!("`{key}` is no name: use letters, digits, `.`, `_` and `-`");
                let fault = Diagnostic::error(fault)
                    .at(entry.key_place())
                    .path(&self.path);
                self.diags.push(fault);
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

static EXTERNAL: Shape = Shape {
    keys: &[("name", Rule::Text)],
    required: &[],
};
static ULIMIT: Shape = Shape {
    keys: &[("hard", Rule::Int), ("soft", Rule::Int)],
    required: &["soft", "hard"],
};

/// Whether a value needs no closer look: a scalar that its rule allows.
fn fits(rule: &Rule, value: &Value) -> bool {
    use Rule as R;
    match value {
        Value::Null => matches!(rule, R::Any | R::Nullable(_) | R::Command | R::Ulimit),
        Value::Bool(_) => {
            matches!(
                rule,
                R::Any | R::Bool | R::Flag | R::External | R::TextOrNumber
            )
        }
        Value::Int(_) => matches!(
            rule,
            R::Any
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
                R::Any | R::Float | R::Bytes | R::TextOrNumber | R::Count
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
                | R::Named(..)
        ),
        Value::Time(_) | Value::List(_) | Value::Map(_) => matches!(rule, R::Any),
    }
}

/// What a rule asks for, for messages.
fn expected(rule: &Rule) -> &'static str {
    match rule {
        Rule::Any => "anything",
        Rule::Text | Rule::Choice(_) => "a string",
        Rule::TextOrNumber => "a string or number",
        Rule::Bool | Rule::Flag => "a boolean",
        Rule::Int | Rule::Count => "an integer",
        Rule::Float => "a number",
        Rule::Bytes => "a byte size such as 512m",
        Rule::Duration => "a duration such as 10s",
        Rule::Mode => "a file mode such as 0440",
        Rule::Texts | Rule::Set | Rule::List(_) => "a list",
        Rule::TextOrSet | Rule::OneOrList(_) => "a string or a list",
        Rule::Labels | Rule::Vars | Rule::Hosts => "a mapping or a list",
        Rule::Command | Rule::Test => "a string or a list of strings",
        Rule::Ulimit => "a number or a mapping with soft and hard",
        Rule::External => "a boolean",
        Rule::DeviceCount => "a number or `all`",
        Rule::Options | Rule::ProviderOptions | Rule::Object(_) | Rule::Each(_) => "a mapping",
        Rule::Nullable(rule) => expected(rule),
        Rule::Short(super::schema::Short::Port, _) => "a number, a string or a mapping",
        Rule::Short(..) => "a string or a mapping",
        Rule::Named(..) => "a list of names or a mapping",
    }
}

/// What to do about a value of the wrong kind.
fn advice(rule: &Rule, node: &Node) -> Option<String> {
    let scalar = node.scalar();
    match (rule, &node.value) {
        (_, Value::Null) => Some("give it a value or remove the key".to_owned()),
        (Rule::Duration, Value::Int(value)) => Some(format!("write it with a unit: {value}s")),
        (Rule::Text | Rule::Choice(_), Value::Time(text)) => {
            Some(format!("put it in quotes: \"{text}\""))
        }
        (Rule::Text | Rule::Choice(_), _) => {
            scalar.map(|text| format!("put it in quotes: \"{text}\""))
        }
        (Rule::Set | Rule::Texts | Rule::List(_), Value::Text(text)) => {
            Some(format!("write it as a list: [{text}]"))
        }
        _ => None,
    }
}
