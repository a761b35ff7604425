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
use crate::base::span::Span;

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
    let says = |key: &String| key != "version";
    let filled = |root: &Node| {
        root.entries()
            .is_none_or(|entries| entries.keys().any(says))
    };
    let Some(mut root) = merged.root.filter(filled) else {
        if !walk.diags.has_errors() {
            let fault = Diagnostic::error("the compose file is empty");
            walk.diags.push(fault.hint("add `services:`"));
        }
        return Checked {
            root: Entries::default(),
        };
    };
    walk.object(&PROJECT, &mut root);
    let mut root = match root.value {
        Value::Map(entries) => entries,
        _ => Entries::default(),
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

/// Shapes that allow no `x-*` keys.
const CLOSED: [&str; 6] = [
    "BLKIO",
    "BLKIO_RATE",
    "BLKIO_WEIGHT",
    "ENV_FILE",
    "EXTENDS",
    "INCLUDE",
];

/// The words of `pull_policy`.
const PULL_POLICIES: [&str; 8] = [
    "always",
    "build",
    "daily",
    "if_not_present",
    "missing",
    "never",
    "refresh",
    "weekly",
];

/// Whether a text holds one of the words, or `every_` and times such as `12h`; as Compose looks anywhere in it.
fn is_pull_policy(text: &str) -> bool {
    let timed = |rest: &str| {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        unit.len() < rest.len() && unit.starts_with(['w', 'd', 'h', 'm', 's'])
    };
    PULL_POLICIES.iter().any(|word| text.contains(word))
        || text
            .match_indices("every_")
            .any(|(at, word)| timed(&text[at + word.len()..]))
}

/// A key's name; of an index nothing.
fn name_of(key: &Key) -> &str {
    match key {
        Key::Name(name) => name,
        Key::Index(_) => "",
    }
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
                if self.is_key("container_name")
                    && !is_container_name(text)
                    && !text.contains("${") =>
            {
                let hint = advice::as_name(text).map(|name| format!("write `{name}`"));
                let fault = format!("`{text}` is no container name");
                let label = "expected letters, digits, `_`, `.` and `-`, a letter or digit first"
                    .to_owned();
                self.report(node, fault, label, hint);
                false
            }
            (Rule::Text, Text(text)) if self.is_key("pull_policy") && !is_pull_policy(text) => {
                let near = nearest(text, PULL_POLICIES);
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                let fault = format!("`{text}` is no pull policy");
                let label = format!("expected one of {} or every_12h", PULL_POLICIES.join(", "));
                self.report(node, fault, label, hint);
                false
            }
            (Rule::Count, Value::Float(number)) if self.is_key("retries") && *number >= 0.0 => true,
            (rule, value) if fits(rule, value) => true,
            (Rule::Strict(rule), _) => {
                self.wrong_kind(rule, node);
                false
            }
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
            (
                Rule::Texts | Rule::Command | Rule::Test | Rule::Set | Rule::TextOrSet,
                List(items),
            ) => {
                self.items(items, |walk, item| walk.value(&Rule::Text, item));
                true
            }
            (Rule::Unique | Rule::TextOrUnique | Rule::Named(..) | Rule::Hosts, List(items)) => {
                self.items(items, |walk, item| walk.value(&Rule::Text, item));
                self.once(items);
                true
            }
            (Rule::Exposed, List(items)) => {
                self.items(items, |walk, item| walk.value(&Rule::TextOrNumber, item));
                true
            }
            (Rule::Groups, List(items)) => {
                self.items(items, |walk, item| walk.value(&Rule::TextOrNumber, item));
                self.once(items);
                true
            }
            (Rule::Labels | Rule::Contexts | Rule::Vars, List(items)) => {
                let contexts = matches!(rule, Rule::Contexts);
                let named = matches!(rule, Rule::Vars);
                self.items(items, |walk, item| {
                    walk.value(&Rule::Text, item) && walk.pair(item, contexts, named)
                });
                if !self.replaces() {
                    self.once(items);
                }
                true
            }
            (
                Rule::Labels
                | Rule::Contexts
                | Rule::Vars
                | Rule::Options
                | Rule::LogOptions
                | Rule::TextMap,
                Map(entries),
            ) => {
                self.entries(entries, |walk, node| {
                    let named = walk.is_named(node);
                    walk.scalar(rule, node) && named
                });
                true
            }
            (Rule::Hosts, Map(entries)) => {
                self.entries(entries, |walk, node| match &mut node.value {
                    List(items) => {
                        walk.items(items, |walk, item| walk.value(&Rule::Text, item));
                        true
                    }
                    _ => walk.is_named(node) && walk.value(&Rule::Text, node),
                });
                true
            }
            (Rule::ProviderOptions, Map(entries)) => {
                self.entries(entries, |walk, node| match &mut node.value {
                    List(items) => {
                        walk.items(items, |walk, item| {
                            walk.scalar(&Rule::ProviderOptions, item)
                        });
                        true
                    }
                    _ => walk.scalar(&Rule::ProviderOptions, node),
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

    /// Whether a later item of this list of pairs replaces an earlier one of the same name.
    fn replaces(&self) -> bool {
        let names: Vec<&str> = self.path.0.iter().map(name_of).collect();
        matches!(
            names.as_slice(),
            [
                "services",
                _,
                "annotations" | "environment" | "labels" | "sysctls"
            ] | ["networks", _, "labels"]
                | [
                    "services",
                    _,
                    "build",
                    "additional_contexts" | "args" | "labels"
                ]
                | ["services", _, "deploy", "labels"]
        )
    }

    /// Whether the key at hand has a name; reports one that is empty, but not of a line of a list that was merged.
    fn is_named(&mut self, node: &Node) -> bool {
        let named = !self.is_key("") || node.key == Some(node.span);
        if !named {
            let fault = Diagnostic::error("the name is empty")
                .at(node.key_place())
                .path(&self.path)
                .label("expected a name");
            self.diags
                .push(fault.hint("write a name in front of the colon"));
        }
        named
    }

    /// Checks an item of a list of pairs: a context has a value, a variable's name no space at its end.
    fn pair(&mut self, item: &Node, contexts: bool, named: bool) -> bool {
        let text = item.as_text().unwrap_or_default();
        let (fault, label, hint) = match text.split_once('=') {
            None if contexts && !text.contains('$') => (
                format!("the context `{text}` has no value"),
                "expected NAME=PATH",
                format!("write `{text}=PATH`"),
            ),
            Some((name, value)) if named && name.ends_with(char::is_whitespace) => (
                format!("the name `{name}` ends with a space"),
                "expected NAME=value",
                format!("write `{}={}`", name.trim(), value.trim()),
            ),
            _ => return true,
        };
        self.report(item, fault, label.to_owned(), Some(hint));
        false
    }

    /// Reports texts that a list holds more than once, and takes them out.
    fn once(&mut self, items: &mut Vec<Node>) {
        let mut seen: std::collections::BTreeMap<String, Span> = std::collections::BTreeMap::new();
        let mut at = 0;
        items.retain(|item| {
            at += 1;
            let Some(text) = item.scalar() else {
                return true;
            };
            let kind = matches!(item.value, Value::Text(_));
            let Some(first) = seen.get(&format!("{kind}{text}")) else {
                seen.insert(format!("{kind}{text}"), item.span);
                return true;
            };
            let fault = Diagnostic::error(format!("`{text}` stands in the list twice"))
                .at(item.span)
                .path(&self.path.index(at - 1))
                .label("the second one")
                .related(*first, "the first one")
                .hint("remove one of them");
            self.diags.push(fault);
            false
        });
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

    /// A value of a free mapping: text, and what else its rule allows.
    fn scalar(&mut self, rule: &Rule, node: &mut Node) -> bool {
        let (null, on, number) = beside_text(rule);
        let good = match &node.value {
            Value::Null => null,
            Value::Bool(_) => on,
            Value::Int(_) | Value::Float(_) => number,
            Value::Text(_) => true,
            Value::Time(_) | Value::List(_) | Value::Map(_) => false,
        };
        if !good {
            let wanted = match (null, on, number) {
                (_, _, false) => "expected a string",
                (false, false, _) => "expected a string or number",
                (true, false, _) => "expected a string, number or nothing",
                (false, true, _) => "expected a string, number or boolean",
                (true, true, _) => "expected a string, number, boolean or nothing",
            };
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
        // the specification forgets it, and Compose asks for it
        let more = (shape.name == "DEVICE").then_some(&"target");
        for key in shape.required.iter().chain(more) {
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
                None if key.starts_with("x-") && !CLOSED.contains(&shape.name) => true,
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

/// Whether the values of a free mapping may be nothing, booleans and numbers, besides text.
pub(super) fn beside_text(rule: &Rule) -> (bool, bool, bool) {
    match rule {
        Rule::TextMap | Rule::Contexts => (false, false, false),
        Rule::Options => (false, false, true),
        Rule::LogOptions => (true, false, true),
        Rule::ProviderOptions => (false, true, true),
        _ => (true, true, true),
    }
}

/// Whether a value needs no closer look: a scalar that its rule allows.
pub(super) fn fits(rule: &Rule, value: &Value) -> bool {
    use Rule as R;
    if let R::Strict(rule) = rule {
        return !matches!(value, Value::Text(_)) && fits(rule, value);
    }
    match value {
        Value::Null => matches!(rule, R::Any | R::Own(_) | R::Nullable(_) | R::Command),
        Value::Bool(_) => {
            matches!(
                rule,
                R::Any | R::Own(_) | R::Bool | R::Flag | R::External | R::TextOrBool
            )
        }
        Value::Int(_) => matches!(
            rule,
            R::Any
                | R::Own(_)
                | R::TextOrNumber
                | R::Int
                | R::Natural
                | R::Count
                | R::Number
                | R::Float
                | R::Bytes
                | R::WholeBytes
                | R::Mode
                | R::Bits
                | R::Ulimit
                | R::DeviceCount
                | R::Short(super::schema::Short::Port, _)
        ),
        Value::Float(number) => match rule {
            R::Any | R::Own(_) | R::Float | R::Bytes | R::Number | R::Bits => true,
            R::Count | R::Natural | R::Int | R::WholeBytes => {
                number.fract() == 0.0 && number.abs() < 9.2e18
            }
            _ => false,
        },
        Value::Text(_) => !matches!(
            rule,
            R::Choice(_)
                | R::Texts
                | R::Set
                | R::Unique
                | R::Exposed
                | R::Groups
                | R::Labels
                | R::Contexts
                | R::Vars
                | R::Options
                | R::LogOptions
                | R::TextMap
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
