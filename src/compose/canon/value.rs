//! The canonical form of single values, rule by rule.
//!
//! In: a checked value and its rule. Out: its long form, or nothing where it says nothing.
//! Imports: `base`, `merge` (list forms), `schema`, `session`, `tree`, `yaml` (quotes).
//! Rules: Compose Specification, the short syntaxes; what is left out when empty as Compose's JSON has it.

use std::collections::BTreeMap;

use super::Canon;
use super::short;
use super::unit::{self, Wrong};
use super::words;
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
        if self.as_written {
            return self.written(rule, node);
        }
        match rule {
            Rule::Any | Rule::Own(_) => Some(node),
            Rule::Strict(rule) => self.value(rule, node),
            Rule::Nullable(rule) => match node.is_null() {
                true => None,
                false => self.value(rule, node),
            },
            Rule::TextOrNumber if matches!(node.value, Value::Int(_)) => Some(node),
            Rule::Text | Rule::TextOrNumber | Rule::TextOrBool | Rule::Choice(_) => {
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
            Rule::Int | Rule::Number => self
                .integer(&node)
                .and_then(|n| self.in_range(&node, n))
                .filter(|n| *n != 0)
                .map(|n| node.with(Value::Int(n))),
            Rule::Bits => self
                .mode(&node)
                .filter(|bits| *bits != 0)
                .map(|bits| node.with(Value::Int(bits.into()))),
            Rule::Natural => self
                .natural(&node)
                .filter(|n| *n != 0)
                .map(|n| node.with(Value::Int(n))),
            Rule::Count => self.natural(&node).map(|n| node.with(Value::Int(n))),
            Rule::Float => self
                .float(&node)
                .filter(|n| *n != 0.0)
                .map(|n| node.with(Value::Float(single(n)))),
            Rule::Bytes | Rule::WholeBytes | Rule::BytesText => {
                let bytes = self.bytes(&node).filter(|n| *n != 0)?;
                let size = Some(&Key::Name("size".to_owned()));
                if bytes < 0 && self.path.0.last() == size {
                    self.fault(&node, "a size must not be below zero");
                    return None;
                }
                Some(node.with(Value::Text(bytes.to_string())))
            }
            Rule::Duration => self.duration(node),
            Rule::Period => self
                .duration(node)
                .filter(|node| node.as_text() != Some("0s")),
            Rule::Mode => self
                .mode(&node)
                .map(|n| node.with(Value::Text(format!("0{n:o}")))),
            Rule::Texts => filled(node.with(Value::List(texts(&node)))),
            Rule::Unique | Rule::TextOrUnique | Rule::Groups => {
                filled(node.with(Value::List(texts(&node))))
            }
            // Each label file goes over those before it, one that was named before as well.
            Rule::TextOrSet if self.at_key("label_file") => {
                filled(node.with(Value::List(texts(&node))))
            }
            Rule::Set | Rule::TextOrSet | Rule::Exposed => {
                let mut items = unique(texts(&node));
                if self.path.0.last() == Some(&Key::Name("dns".to_owned())) {
                    items.retain(|item| item.as_text() != Some(""));
                }
                filled(node.with(Value::List(items)))
            }
            Rule::Labels | Rule::Contexts | Rule::TextMap => filled(self.labels(node)),
            Rule::Options | Rule::LogOptions => {
                self.whole_options(&node);
                filled(self.labels(node))
            }
            Rule::Vars => filled(self.vars(node)),
            Rule::Hosts => {
                let some = node.entries().is_some_and(|hosts| !hosts.is_empty());
                let node = self.hosts(node);
                self.named_hosts(&node);
                // hosts without an address are a list without items
                if some { Some(node) } else { filled(node) }
            }
            Rule::Command => self.command(node),
            Rule::Test => self.test(node),
            Rule::Ulimit => self.ulimit(node),
            Rule::DeviceCount => match node.as_text() {
                Some(text) if text.eq_ignore_ascii_case("all") => Some(node.with(Value::Int(-1))),
                _ => self.integer(&node).map(|n| node.with(Value::Int(n))),
            },
            Rule::ProviderOptions => filled(options(node)),
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
        let mut out = Entries::default();
        for (key, entry) in entries {
            let rule = shape
                .rule(&key)
                .unwrap_or(&crate::compose::schema::EXTENSION);
            let bare = Node {
                key: entry.key,
                ..Node::new(entry.span, Value::Null)
            };
            self.path.0.push(Key::Name(key.clone()));
            let value = self.value(rule, entry);
            self.path.0.pop();
            if let Some(value) = value.or_else(|| is_kept(shape, &key).then_some(bare)) {
                out.insert(key, value);
            }
        }
        shell.with(Value::Map(out))
    }

    pub(super) fn each(&mut self, rule: &Rule, node: Node) -> Node {
        let shell = node.with(Value::Null);
        let Value::Map(entries) = node.value else {
            return shell;
        };
        let mut out = Entries::default();
        for (key, entry) in entries {
            let empty = entry.with(Value::Null);
            self.path.0.push(Key::Name(key.clone()));
            let value = self.value(rule, entry);
            self.path.0.pop();
            out.insert(key, value.unwrap_or(empty));
        }
        shell.with(Value::Map(out))
    }

    pub(super) fn list(&mut self, rule: &Rule, node: Node) -> Node {
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

    pub(super) fn named(&mut self, named: Named, rule: &Rule, node: Node) -> Node {
        if let Value::List(items) = &node.value {
            let mut out = Entries::default();
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
                "y" | "yes" | "true" | "on" => Some(true),
                "n" | "no" | "false" | "off" => Some(false),
                _ if self.raw(text) => None,
                _ => {
                    let near = match text.as_str() {
                        "1" | "t" | "T" => Some("true"),
                        "0" | "f" | "F" => Some("false"),
                        text => nearest(text, ["true", "false"]),
                    };
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
            Value::Float(value) if value.abs() < 9.2e18 => Some(value.trunc() as i128),
            Value::Text(text) => {
                let parsed = text.parse::<i64>().ok();
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

    /// An integer that is not below zero.
    fn natural(&mut self, node: &Node) -> Option<i128> {
        let number = self.integer(node)?;
        if number < 0 {
            let text = node.scalar().unwrap_or_default();
            let fault = format!("`{text}` is below zero");
            self.wrong(node, &text, Wrong::of(&text, fault, "expected 0 or more"));
            return None;
        }
        self.in_range(node, number)
    }

    /// The number, where it is in the range that its key has.
    fn in_range(&mut self, node: &Node, number: i128) -> Option<i128> {
        let range = match self.path.0.last() {
            Some(Key::Name(key)) if key == "cpu_percent" => 0..=100,
            Some(Key::Name(key)) if key == "oom_score_adj" => -1000..=1000,
            // of a mount in memory
            Some(Key::Name(key)) if key == "mode" => 0..=i128::from(u32::MAX),
            _ => return Some(number),
        };
        if range.contains(&number) {
            return Some(number);
        }
        let text = node.scalar().unwrap_or_default();
        let fault = format!("`{text}` is out of range");
        let label = format!("expected {} to {}", range.start(), range.end());
        self.wrong(node, &text, Wrong::of(&text, fault, label));
        None
    }

    /// A number in the precision that Compose keeps: that of 32 bits.
    fn float(&mut self, node: &Node) -> Option<f64> {
        let short = |number: f64| {
            let number = number as f32;
            let text = number.to_string();
            text.parse().ok().filter(|_| number.is_finite())
        };
        match &node.value {
            Value::Int(value) => short(*value as f64),
            Value::Float(value) => {
                let parsed = short(*value);
                if parsed.is_none() {
                    self.fault(node, "the number is too large");
                }
                parsed
            }
            Value::Text(text) => {
                let parsed = text.parse::<f64>().ok().and_then(short);
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
            Value::Int(value) if i64::try_from(*value).is_err() => {
                self.too_large(node);
                None
            }
            Value::Int(value) => Some(*value),
            Value::Float(_) => {
                self.unread_size(node);
                None
            }
            Value::Text(text) => {
                let unsigned = text.strip_prefix('+').unwrap_or(text);
                let odd = |c: char| c.is_whitespace() && c != ' ';
                let spaced = unsigned.trim() != unsigned
                    || unsigned.contains("  ")
                    || unsigned.contains(odd);
                match scalar::parse_size(unsigned) {
                    Ok(size) if i64::try_from(size.0).is_err() => {
                        self.too_large(node);
                        None
                    }
                    Ok(_) if spaced => {
                        let fault = format!("`{text}` has spaces that no size has");
                        let wrong = Wrong::of(text, fault, "expected a size such as 512m");
                        self.wrong(node, text, wrong.hint("write it without spaces"));
                        None
                    }
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

    /// Refuses a size of more than 63 bits, which Compose makes a negative one of.
    fn too_large(&mut self, node: &Node) {
        let text = node.scalar().unwrap_or_default();
        let fault = format!("the size `{text}` is too large");
        let label = "expected less than 8 exabytes";
        self.wrong(node, &text, Wrong::of(&text, fault, label));
    }

    /// A size that YAML reads as a fraction: Compose drops it without a word.
    fn unread_size(&mut self, node: &Node) {
        let text = "a size with a fraction or an exponent is ignored";
        let warning = Diagnostic::warning(text).at(node.place()).path(&self.path);
        let hint = "write whole bytes, or a unit: 512m, 1.5g";
        self.session.diags.push(warning.hint(hint));
    }

    fn duration(&mut self, node: Node) -> Option<Node> {
        let text = node.as_text()?;
        let (sign, size) = match text.strip_prefix('-') {
            Some(size) => ("-", size),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let parsed = scalar::parse_duration(size).filter(|_| size.trim() == size);
        match parsed {
            Some(duration) => {
                let sign = if duration.is_zero() { "" } else { sign };
                // A grace period below zero has a meaning: it never ends.
                if !sign.is_empty() && !self.path.matches("services.*.stop_grace_period") {
                    let text = "a duration below zero is ignored when the service runs";
                    let warning = Diagnostic::warning(text).at(node.place()).path(&self.path);
                    self.session.diags.push(warning);
                }
                let text = format!("{sign}{}", scalar::format_duration(duration));
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
            // As Compose, which drops the fraction.
            Value::Float(value) if (0.0..4e9).contains(value) => Some(*value as u32),
            Value::Text(text) => u32::from_str_radix(text, 8).ok(),
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

    /// Reports fractions in options that take texts and whole numbers only.
    fn whole_options(&mut self, node: &Node) {
        let part = |at: usize| match self.path.0.get(at) {
            Some(Key::Name(name)) => name.as_str(),
            _ => "",
        };
        if part(2) != "storage_opt" && (part(0), part(2)) != ("secrets", "driver_opts") {
            return;
        }
        for entry in node
            .entries()
            .into_iter()
            .flat_map(|entries| entries.values())
        {
            if matches!(entry.value, Value::Float(_)) {
                let text = entry.scalar().unwrap_or_default();
                let fault = format!("the option is no whole number, but `{text}`");
                let wrong = Wrong::of(&text, fault, "expected a text or a whole number");
                self.wrong(
                    entry,
                    &text,
                    wrong.hint(format!("put it in quotes: \"{text}\"")),
                );
            }
        }
    }

    /// Bare names take their value from the variables of the file they stand in; unset ones stay empty.
    /// Whether the value at hand is that of a key.
    pub(super) fn at_key(&self, key: &str) -> bool {
        matches!(self.path.0.last(), Some(Key::Name(name)) if name == key)
    }

    fn vars(&mut self, node: Node) -> Node {
        for item in node.items().unwrap_or_default() {
            let text = item.as_text().unwrap_or_default();
            let name = text.split('=').next().unwrap_or_default();
            // As Compose, an unset argument of a build is gone before its name is looked at.
            let gone = name == text && self.at_key("args");
            if name.ends_with(char::is_whitespace) && !gone {
                let fault = format!("the variable name `{name}` ends in a blank; write NAME=value");
                self.fault(item, fault);
            }
        }
        let mut node = merge::pairs(node);
        let bare = !self.normalize && self.path.0.last() == Some(&Key::Name("args".to_owned()));
        if let Some(entries) = node.entries_mut() {
            for (name, entry) in entries {
                let source = entry.key_place().source;
                let set = || {
                    let origin = self.session.origin(source).filter(|_| !bare)?;
                    origin.vars.get(name.as_str()).cloned()
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
            Value::Text(text) if self.interpolated => match words::split(text) {
                Ok(split) => {
                    if let Some(rest) = split.end.and_then(|end| text.get(end..)) {
                        self.no_shell(&node, text, rest);
                    }
                    let words = split.words.into_iter();
                    let words = words.map(|word| Node::text(node.span, word)).collect();
                    Some(node.with(Value::List(words)))
                }
                Err(words::Fault::Parenthesis(at)) => {
                    let part = text.get(at..=at).unwrap_or(text);
                    let fault = "no shell reads the command: a parenthesis must stand in quotes";
                    let wrong = Wrong::of(part, fault, "outside of quotes");
                    let hint = "write the words as a list: [\"sh\", \"-c\", \"…\"]";
                    self.wrong(&node, text, wrong.hint(hint));
                    None
                }
                Err(words::Fault::Open) => {
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

    /// Warns of an operator that ends a command: what follows is never run.
    fn no_shell(&mut self, node: &Node, text: &str, rest: &str) {
        let long = rest.find(|c| !";&|<>".contains(c)).unwrap_or(rest.len());
        let operator = rest.get(..long).unwrap_or(rest);
        let place = self.session.part(node.span, text, operator);
        let fault = format!("no shell reads the command: `{operator}` and what follows is dropped");
        let warning = Diagnostic::warning(fault)
            .at(place.unwrap_or_else(|| node.place()))
            .path(&self.path)
            .hint("write [\"sh\", \"-c\", \"…\"] to run it in a shell");
        self.session.diags.push(warning);
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

    /// Hosts and addresses in the order of their texts, without the brackets of IPv6.
    fn hosts(&mut self, node: Node) -> Node {
        for (name, entry) in node.entries().into_iter().flatten() {
            if name.contains('=') && !self.raw(name) {
                let fault = Diagnostic::error(format!("`{name}` is no name of a host"));
                let fault = fault.at(entry.key_place()).path(&self.path);
                self.session.diags.push(fault.label("expected a name"));
            }
        }
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
            items.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
        }
        node
    }

    /// Reports hosts without a name or an address.
    fn named_hosts(&mut self, node: &Node) {
        for item in node.items().unwrap_or_default() {
            let text = item.as_text().unwrap_or_default();
            let good = text
                .split_once('=')
                .is_some_and(|(name, _)| !name.is_empty() && !name.contains(':'));
            if !good && !self.raw(text) {
                let fault = format!("`{text}` names no host and address");
                let label = "expected NAME=ADDRESS";
                let wrong = Wrong::of(text, fault, label);
                self.wrong(item, text, wrong.hint("write for example `db=10.0.0.5`"));
            }
        }
    }

    fn ulimit(&mut self, node: Node) -> Option<Node> {
        let shell = node.with(Value::Null);
        match node.value {
            Value::Map(entries) => {
                let mut out = Entries::default();
                for (key, entry) in entries {
                    if let Some(number) = self.integer(&entry).filter(|number| *number != 0) {
                        out.insert(key, entry.with(Value::Int(number)));
                    }
                }
                Some(shell.with(Value::Map(out)))
            }
            Value::Null => None,
            _ => self.integer(&node).map(|number| match number {
                // Compose writes a limit of zero as one that says nothing
                0 => node.with(Value::Map(Entries::default())),
                number => node.with(Value::Int(number)),
            }),
        }
    }

    pub(super) fn short(&mut self, short: Short, node: Node) -> Option<Node> {
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
            Short::Device => short::device(self, &node, &text),
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
        Value::Text(text) => vec![Node::text(node.span, text.clone())],
        _ => Vec::new(),
    }
}

/// Of texts with the same words before `=` the last one, at the place of the first.
fn unique(items: Vec<Node>) -> Vec<Node> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Node> = Vec::new();
    for item in items {
        let text = item.as_text().unwrap_or_default();
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        match seen.get(name) {
            Some(at) => kept[*at] = item,
            None => {
                seen.insert(name.to_owned(), kept.len());
                kept.push(item);
            }
        }
    }
    kept
}

/// Keys whose presence says something even where their value is empty: no default takes their place, and they exclude
/// others. What completes the mapping takes them out at its end.
fn is_kept(shape: &Shape, key: &str) -> bool {
    matches!(
        (shape.name, key),
        ("BUILD", "context" | "dockerfile" | "dockerfile_inline")
            | ("CONFIG", "content")
            | ("CONFIG" | "SECRET", "environment" | "external" | "file")
            | ("CONFIG" | "NETWORK" | "SECRET" | "VOLUME", "name")
            | ("DEVICE_REQUEST" | "GPU", "device_ids")
            | ("ENV_FILE", "path")
            | ("GRANT", "target")
            | ("JOB" | "SERVICE", "network_mode")
            | ("MOUNT", "source" | "target")
            | ("PORT", "host_ip" | "mode" | "protocol" | "target")
            | ("VOLUME", "driver" | "driver_opts" | "labels")
    )
}

/// Takes out keys that were kept without a value.
pub(super) fn drop_bare(entries: &mut Entries, keys: &[&str]) {
    for key in keys {
        if entries.get(*key).is_some_and(Node::is_null) {
            entries.shift_remove(*key);
        }
    }
}

/// A number with the digits that 32 bits hold, as Compose keeps it.
fn single(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
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
        .filter(|(_, entry)| entry.items().is_some_and(|items| !items.is_empty()))
        .collect();
    node.with(Value::Map(out))
}
