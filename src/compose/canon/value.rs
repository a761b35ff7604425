//! The canonical form of single values, rule by rule.
//!
//! In: a checked value and its rule. Out: its long form, or nothing where it says nothing.
//! Imports: `base`, `merge` (list forms), `schema`, `session`, `tree`, `yaml` (quotes).
//! Rules: Compose Specification, the short syntaxes; what is left out when empty as Compose's JSON has it.

use super::Canon;
use super::short;
use super::unit::{self, Wrong};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::key::Key;
use crate::base::scalar;
use crate::compose::merge;
use crate::compose::schema::{Named, Rule, Shape, Short};
use crate::compose::tree::{Entries, Node, Value};
use crate::compose::yaml;

impl Canon<'_, '_> {
    /// The canonical form of a value; `None` leaves the key out.
    pub(super) fn value(&mut self, rule: &Rule, node: Node) -> Option<Node> {
        match rule {
            Rule::Any | Rule::Own(_) => Some(node),
            Rule::Nullable(rule) => match node.is_null() {
                true => None,
                false => self.value(rule, node),
            },
            Rule::Text | Rule::TextOrNumber | Rule::Choice(_) => {
                let text = node.scalar().filter(|text| !text.is_empty())?;
                Some(node.with(Value::Text(text)))
            }
            Rule::Bool => self
                .boolean(&node)
                .filter(|on| *on)
                .map(|on| node.with(Value::Bool(on))),
            Rule::Flag => self.boolean(&node).map(|on| node.with(Value::Bool(on))),
            Rule::External => match node.entries() {
                Some(_) => Some(node),
                None => self
                    .boolean(&node)
                    .filter(|on| *on)
                    .map(|on| node.with(Value::Bool(on))),
            },
            Rule::Int => self
                .integer(&node)
                .filter(|n| *n != 0)
                .map(|n| node.with(Value::Int(n))),
            Rule::Count => self.integer(&node).map(|n| node.with(Value::Int(n))),
            Rule::Float => self
                .float(&node)
                .filter(|n| *n != 0.0)
                .map(|n| node.with(Value::Float(n))),
            Rule::Bytes => {
                let bytes = self.bytes(&node).filter(|n| *n != 0)?;
                if bytes < 0 && !self.may_be_negative() {
                    self.fault(&node, "a size must not be negative");
                    return None;
                }
                Some(node.with(Value::Text(bytes.to_string())))
            }
            Rule::Duration => self.duration(node),
            Rule::Mode => self
                .mode(&node)
                .map(|n| node.with(Value::Text(format!("0{n:o}")))),
            Rule::Texts => filled(node.with(Value::List(texts(&node)))),
            Rule::Set | Rule::TextOrSet => filled(node.with(Value::List(unique(texts(&node))))),
            Rule::Labels | Rule::Options => filled(self.labels(node)),
            Rule::Vars => filled(self.vars(node)),
            Rule::Hosts => filled(hosts(node)),
            Rule::Command => self.command(node),
            Rule::Test => self.test(node),
            Rule::Ulimit => self.ulimit(node),
            Rule::DeviceCount => match node.as_text() {
                Some("all") => Some(node.with(Value::Int(-1))),
                _ => self.integer(&node).map(|n| node.with(Value::Int(n))),
            },
            Rule::ProviderOptions => Some(options(node)),
            Rule::Object(shape) => Some(self.object(shape, node)),
            Rule::Each(rule) => filled(self.each(rule, node)),
            Rule::List(rule) => filled(self.list(rule, node)),
            Rule::AllOrList(rule) => filled(match node.value {
                Value::List(_) => self.list(rule, node),
                _ => node,
            }),
            Rule::OneOrList(rule) => filled(match node.value {
                Value::List(_) => self.list(rule, node),
                _ => {
                    let item = Node {
                        key: None,
                        ..node.clone()
                    };
                    self.list(rule, node.with(Value::List(vec![item])))
                }
            }),
            Rule::Short(short, shape) => match node.value {
                Value::Map(_) => Some(self.object(shape, node)),
                _ => self.short(*short, node),
            },
            Rule::Named(named, rule) => filled(self.named(*named, rule, node)),
        }
    }

    /// `-1` stands for "no limit" or "the host's default" under these keys.
    fn may_be_negative(&self) -> bool {
        let last = self.path.0.last();
        ["memswap_limit", "mem_swappiness"]
            .iter()
            .any(|key| last == Some(&Key::Name((*key).to_owned())))
    }

    /// Reports a part of a value's text that can't be understood: `part` is a slice of `text`.
    pub(super) fn wrong(&mut self, node: &Node, text: &str, wrong: Wrong<'_>) {
        let place = self.session.part(node.span, text, wrong.part);
        let fault = Diagnostic::error(wrong.fault)
            .at(place.unwrap_or_else(|| node.place()))
            .path(&self.path)
            .label(wrong.label);
        self.session.diags.push(match wrong.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
    }

    /// Reports a value that can't be understood.
    pub(super) fn fault(&mut self, node: &Node, text: impl Into<String>) {
        self.session
            .diags
            .push(Diagnostic::error(text).at(node.place()).path(&self.path));
    }

    /// The canonical entries of a mapping with known keys.
    pub(super) fn object(&mut self, shape: &'static Shape, node: Node) -> Node {
        let shell = node.with(Value::Null);
        let Value::Map(entries) = node.value else {
            return shell;
        };
        let mut out = Entries::new();
        for (key, entry) in entries {
            let rule = shape
                .rule(&key)
                .unwrap_or(&crate::compose::schema::EXTENSION);
            self.path.0.push(Key::Name(key.clone()));
            let value = self.value(rule, entry);
            self.path.0.pop();
            if let Some(value) = value {
                out.insert(key, value);
            }
        }
        shell.with(Value::Map(out))
    }

    fn each(&mut self, rule: &Rule, node: Node) -> Node {
        let shell = node.with(Value::Null);
        let Value::Map(entries) = node.value else {
            return shell;
        };
        let mut out = Entries::new();
        for (key, entry) in entries {
            let empty = entry.with(Value::Null);
            self.path.0.push(Key::Name(key.clone()));
            let value = self.value(rule, entry);
            self.path.0.pop();
            out.insert(key, value.unwrap_or(empty));
        }
        shell.with(Value::Map(out))
    }

    fn list(&mut self, rule: &Rule, node: Node) -> Node {
        let shell = node.with(Value::Null);
        let Value::List(items) = node.value else {
            return shell;
        };
        let mut out = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            self.path.0.push(Key::Index(at));
            match (rule, &item.value) {
                (Rule::Short(Short::Port, _), Value::Text(_) | Value::Int(_)) => {
                    out.extend(short::ports(self, &item));
                }
                _ => out.extend(self.value(rule, item)),
            }
            self.path.0.pop();
        }
        shell.with(Value::List(out))
    }

    fn named(&mut self, named: Named, rule: &Rule, node: Node) -> Node {
        if let Value::List(items) = &node.value {
            let mut out = Entries::new();
            for item in items {
                let Some(name) = item.as_text() else { continue };
                let value = match named {
                    Named::Null => item.with(Value::Null),
                    Named::Dependency => merge::dependency(item),
                };
                out.entry(name.to_owned()).or_insert(Node {
                    key: Some(item.span),
                    ..value
                });
            }
            return node.with(Value::Map(out));
        }
        let mut node = self.each(rule, node);
        if named == Named::Dependency
            && let Some(entries) = node.entries_mut()
        {
            for entry in entries.values_mut() {
                let required = Node::new(entry.span, Value::Bool(true));
                if let Some(entry) = entry.entries_mut() {
                    entry.entry("required".to_owned()).or_insert(required);
                }
            }
        }
        node
    }

    fn boolean(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(on) => Some(*on),
            Value::Text(text) => match text.to_lowercase().as_str() {
                "1" | "t" | "y" | "yes" | "true" | "on" => Some(true),
                "0" | "f" | "n" | "no" | "false" | "off" => Some(false),
                "" => None,
                _ if self.raw(text) => None,
                _ => {
                    let near = nearest(text, ["true", "false"]);
                    let wrong = Wrong {
                        part: text,
                        fault: format!("`{text}` is not a boolean"),
                        label: "expected true or false".to_owned(),
                        hint: near.map(|near| format!("write {near}")),
                    };
                    self.wrong(node, text, wrong);
                    None
                }
            },
            _ => None,
        }
    }

    pub(super) fn integer(&mut self, node: &Node) -> Option<i128> {
        match &node.value {
            Value::Int(value) => Some(*value),
            Value::Float(value) if value.fract() == 0.0 => Some(*value as i128),
            Value::Text(text) => {
                let parsed = text.trim().parse::<i64>().ok();
                if parsed.is_none() && !self.raw(text) {
                    let fault = format!("`{text}` is not an integer");
                    self.wrong(node, text, Wrong::of(text, fault, "expected an integer"));
                }
                parsed.map(i128::from)
            }
            _ => {
                self.fault(node, "expected an integer");
                None
            }
        }
    }

    fn float(&mut self, node: &Node) -> Option<f64> {
        match &node.value {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::Text(text) => {
                let parsed = text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
                if parsed.is_none() && !self.raw(text) {
                    let fault = format!("`{text}` is not a number");
                    let label = "expected a number such as 0.5";
                    self.wrong(node, text, Wrong::of(text, fault, label));
                }
                parsed
            }
            _ => None,
        }
    }

    fn bytes(&mut self, node: &Node) -> Option<i128> {
        match &node.value {
            Value::Int(value) => Some(*value),
            Value::Float(value) => Some(*value as i128),
            Value::Text(text) => {
                if let Ok(number) = text.parse::<i64>() {
                    return Some(i128::from(number));
                }
                match scalar::parse_size(text) {
                    Ok(size) => Some(i128::from(size.0)),
                    Err(_) if self.raw(text) => None,
                    Err(error) => {
                        let wrong = unit::wrong_size(text, &error);
                        self.wrong(node, text, wrong);
                        None
                    }
                }
            }
            _ => None,
        }
    }

    fn duration(&mut self, node: Node) -> Option<Node> {
        let text = node.as_text().filter(|text| !text.is_empty())?;
        match scalar::parse_duration(text) {
            Some(duration) => {
                let text = scalar::format_duration(duration);
                Some(node.with(Value::Text(text)))
            }
            None if self.raw(text) => Some(node),
            None => {
                let text = text.to_owned();
                self.wrong(&node, &text, unit::wrong_duration(&text));
                None
            }
        }
    }

    /// A number is taken as it was resolved (`0440` is octal to YAML), a text as octal digits.
    fn mode(&mut self, node: &Node) -> Option<u32> {
        let mode = match &node.value {
            Value::Int(value) => u32::try_from(*value).ok(),
            Value::Text(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
            _ => None,
        };
        if mode.is_none() {
            let text = node.scalar().unwrap_or_default();
            let fault = format!("`{text}` is not a file mode");
            let label = "expected octal digits such as 0440";
            self.wrong(node, &text, Wrong::of(&text, fault, label));
        }
        mode
    }

    fn labels(&mut self, node: Node) -> Node {
        let mut node = merge::pairs(node);
        if let Some(entries) = node.entries_mut() {
            for entry in entries.values_mut() {
                entry.value = Value::Text(entry.scalar().unwrap_or_default());
            }
        }
        node
    }

    /// Bare names take their value from the variables of the file they stand in; unset ones stay empty.
    fn vars(&mut self, node: Node) -> Node {
        let mut node = merge::pairs(node);
        if let Some(entries) = node.entries_mut() {
            for (name, entry) in entries {
                let source = entry.key_place().source;
                let set = || {
                    self.session
                        .origin(source)?
                        .vars
                        .get(name.as_str())
                        .cloned()
                };
                entry.value = match entry.scalar().or_else(set) {
                    Some(text) => Value::Text(text),
                    None => Value::Null,
                };
            }
        }
        node
    }

    fn command(&mut self, node: Node) -> Option<Node> {
        match &node.value {
            Value::Text(text) if self.interpolated => match shell_words::split(text) {
                Ok(words) => {
                    let words = words
                        .into_iter()
                        .map(|word| Node::text(node.span, word))
                        .collect();
                    Some(node.with(Value::List(words)))
                }
                Err(_) => {
                    let text = text.clone();
                    let part = unit::open_quote(&text);
                    let fault = format!("the quote {part} of the command line is not closed");
                    let mut wrong = Wrong::of(part, fault, "opened here");
                    wrong.hint = Some(
                        "close it, or write the words as a list: [\"sh\", \"-c\", \"…\"]"
                            .to_owned(),
                    );
                    self.wrong(&node, &text, wrong);
                    None
                }
            },
            Value::Null => None,
            _ => Some(node),
        }
    }

    fn test(&mut self, node: Node) -> Option<Node> {
        match &node.value {
            Value::Text(text) => {
                let words = ["CMD-SHELL", text].map(|word| Node::text(node.span, word));
                Some(node.with(Value::List(words.into())))
            }
            Value::List(items) => {
                let first = items.first().and_then(Node::as_text);
                if !items.is_empty() && !matches!(first, Some("NONE" | "CMD" | "CMD-SHELL")) {
                    let words = items.iter().filter_map(Node::scalar);
                    let words: Vec<String> = words.map(|word| yaml::quoted(&word)).collect();
                    let place = items.first().map_or(node.span, Node::place);
                    let fault = "the list must start with `CMD`, `CMD-SHELL` or `NONE`";
                    let fault = Diagnostic::error(fault)
                        .at(place)
                        .path(&self.path)
                        .label("expected `CMD`")
                        .hint(format!("write [\"CMD\", {}]", words.join(", ")));
                    self.session.diags.push(fault);
                    return None;
                }
                filled(node)
            }
            _ => None,
        }
    }

    fn ulimit(&mut self, node: Node) -> Option<Node> {
        let shell = node.with(Value::Null);
        match node.value {
            Value::Map(entries) => {
                let mut out = Entries::new();
                for (key, entry) in entries {
                    if let Some(number) = self.integer(&entry) {
                        out.insert(key, entry.with(Value::Int(number)));
                    }
                }
                Some(shell.with(Value::Map(out)))
            }
            Value::Null => None,
            _ => self
                .integer(&node)
                .map(|number| node.with(Value::Int(number))),
        }
    }

    fn short(&mut self, short: Short, node: Node) -> Option<Node> {
        let text = node.as_text()?.to_owned();
        let entry = |key: &str| {
            let value = Node {
                key: None,
                ..node.clone()
            };
            Some(node.with(Value::Map([(key.to_owned(), value)].into_iter().collect())))
        };
        match short {
            Short::Build => entry("context"),
            Short::Grant => entry("source"),
            Short::EnvFile | Short::Include => entry("path"),
            Short::Extends => entry("service"),
            Short::Volume => short::volume(self, &node, &text),
            Short::Device => Some(short::device(&node, &text)),
            Short::Port => None,
        }
    }
}

/// The value unless it is an empty list or mapping.
fn filled(node: Node) -> Option<Node> {
    match &node.value {
        Value::List(items) if items.is_empty() => None,
        Value::Map(entries) if entries.is_empty() => None,
        Value::Null => None,
        _ => Some(node),
    }
}

/// One text or a list of scalars as texts.
fn texts(node: &Node) -> Vec<Node> {
    match &node.value {
        Value::List(items) => items
            .iter()
            .filter_map(|item| Some(item.with(Value::Text(item.scalar()?))))
            .collect(),
        Value::Text(text) if !text.is_empty() => vec![Node::text(node.span, text.clone())],
        _ => Vec::new(),
    }
}

fn unique(items: Vec<Node>) -> Vec<Node> {
    let mut seen = std::collections::BTreeSet::new();
    items
        .into_iter()
        .filter(|item| seen.insert(item.scalar()))
        .collect()
}

/// Hosts by name, each pair once, without the brackets of IPv6.
fn hosts(node: Node) -> Node {
    let mut node = merge::hosts(node);
    if let Value::List(items) = &mut node.value {
        for item in items.iter_mut() {
            if let Value::Text(text) = &mut item.value
                && let Some((name, address)) = text.split_once('=')
                && let Some(inner) = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'))
            {
                *text = format!("{name}={inner}");
            }
        }
        let mut list = unique(std::mem::take(items));
        let name = |item: &Node| {
            item.as_text()
                .and_then(|text| text.split('=').next())
                .unwrap_or_default()
                .to_owned()
        };
        list.sort_by_key(name);
        *items = list;
    }
    node
}

fn options(node: Node) -> Node {
    let Value::Map(entries) = &node.value else {
        return node;
    };
    let listed = |entry: &Node| {
        let list = match &entry.value {
            Value::List(_) => texts(entry),
            _ => entry
                .scalar()
                .map(|text| Node::text(entry.span, text))
                .into_iter()
                .collect(),
        };
        entry.with(Value::List(list))
    };
    let out = entries
        .iter()
        .map(|(key, entry)| (key.clone(), listed(entry)))
        .collect();
    node.with(Value::Map(out))
}
