//! The tree that the loading phases hand on: YAML values, each with the place it was written.
//!
//! In: values made by `read`. Out: lookups, words for messages, JSON. It never parses text and resolves nothing.
//! Imports: `base`, `scalar` (timestamps), `trace`.

use std::ops::{Deref, DerefMut};

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::trace::Notes;
use crate::base::span::Span;

/// Entries of a mapping in the order they were written.
///
/// One pointer wide: most nodes are scalars, and what a mapping needs must not make them larger.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries(Box<Map>);

type Map = IndexMap<String, Node, foldhash::fast::RandomState>;

impl Deref for Entries {
    type Target = Map;
    fn deref(&self) -> &Map {
        &self.0
    }
}
impl DerefMut for Entries {
    fn deref_mut(&mut self) -> &mut Map {
        &mut self.0
    }
}
impl FromIterator<(String, Node)> for Entries {
    fn from_iter<I: IntoIterator<Item = (String, Node)>>(entries: I) -> Self {
        Self(Box::new(entries.into_iter().collect()))
    }
}
impl IntoIterator for Entries {
    type Item = (String, Node);
    type IntoIter = indexmap::map::IntoIter<String, Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
impl<'e> IntoIterator for &'e Entries {
    type Item = (&'e String, &'e Node);
    type IntoIter = indexmap::map::Iter<'e, String, Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
impl<'e> IntoIterator for &'e mut Entries {
    type Item = (&'e String, &'e mut Node);
    type IntoIter = indexmap::map::IterMut<'e, String, Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

/// What a node's tag asks the merge to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tag {
    /// Merge by the rules of its key.
    #[default]
    Plain,
    /// `!reset`: remove what stands below.
    Reset,
    /// `!override`: replace what stands below.
    Override,
}

/// One value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Place of the mapping key it stands under.
    pub(super) key: Option<Span>,
    /// Place of the value.
    pub(super) span: Span,
    /// Merge tag.
    pub(super) tag: Tag,
    /// What the places don't say, for `explain`.
    pub(super) notes: Notes,
    /// The value.
    pub(super) value: Value,
}

/// A resolved YAML value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer; wide enough for both signed and unsigned 64 bit.
    Int(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Text, quoted or plain.
    Text(String),
    /// A plain timestamp, as written; YAML gives it a type of its own that no Compose key takes.
    Time(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Entries),
}

impl Node {
    /// A value without tag and key at a place.
    pub(super) fn new(span: Span, value: Value) -> Self {
        Self {
            key: None,
            span,
            tag: Tag::Plain,
            notes: None,
            value,
        }
    }
    /// A text at a place.
    pub(super) fn text(span: Span, text: impl Into<String>) -> Self {
        Self::new(span, Value::Text(text.into()))
    }
    /// The same place, key, tag and notes with another value.
    pub(super) fn with(&self, value: Value) -> Self {
        Self {
            key: self.key,
            span: self.span,
            tag: self.tag,
            notes: self.notes.clone(),
            value,
        }
    }
    /// The place to show: the value's, or its key's where the value has no text or spans lines.
    pub(super) fn place(&self) -> Span {
        match (&self.value, self.key) {
            (Value::Map(_) | Value::List(_), Some(key)) => key,
            (_, Some(key)) if self.span.start == self.span.end => key,
            _ => self.span,
        }
    }
    /// The place of the key, or of the value in a list.
    pub(super) fn key_place(&self) -> Span {
        self.key.unwrap_or(self.span)
    }
    /// An entry of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.get(key)
    }
    /// The entries, if it is a mapping.
    pub(super) fn entries(&self) -> Option<&Entries> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }
    /// The entries for change, if it is a mapping.
    pub(super) fn entries_mut(&mut self) -> Option<&mut Entries> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }
    /// The items, if it is a list.
    pub(super) fn items(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
    /// The text of an entry.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }
    /// Whether it is `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
    /// The scalar as text the way Go prints it; `None` for lists, mappings and null.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(format_float(*value)),
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::Time(_) | Value::List(_) | Value::Map(_) => None,
        }
    }
    /// Whether it is a list or mapping without items.
    pub(super) fn is_bare(&self) -> bool {
        match &self.value {
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }
    /// What it is, for messages: `a mapping`.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "empty",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::Time(_) => "a timestamp",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
    /// Whether both hold the same values, wherever they were written.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(key, a)| b.get(key).is_some_and(|b| a.same(b)))
            }
            (Value::Null, Value::Null) => true,
            (Value::Time(a), Value::Time(b)) => a == b,
            _ => self.scalar().is_some() && self.scalar() == other.scalar(),
        }
    }
    /// As JSON, the keys of each mapping sorted.
    pub(super) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => i64::try_from(*value)
                .map(Json::from)
                .or_else(|_| u64::try_from(*value).map(Json::from))
                .unwrap_or_else(|_| Json::String(value.to_string())),
            Value::Float(value) => float_json(*value),
            Value::Text(text) => Json::String(text.clone()),
            Value::Time(text) => {
                Json::String(super::scalar::timestamp(text).unwrap_or_else(|| text.clone()))
            }
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => Json::Object(entries_json(entries)),
        }
    }
}

/// A mapping as a JSON object with sorted keys.
pub(super) fn entries_json(entries: &Entries) -> serde_json::Map<String, Json> {
    let mut keys: Vec<&String> = entries.keys().collect();
    keys.sort_unstable();
    keys.into_iter()
        .map(|key| (key.clone(), entries[key.as_str()].to_json()))
        .collect()
}

/// A number as JSON; one that JSON can't hold is text.
fn float_json(value: f64) -> Json {
    serde_json::Number::from_f64(value)
        .map_or_else(|| Json::String(format_float(value)), Json::Number)
}

/// A float as Go's `%v` prints it: `1.5`, `1000`, `1e+06`, `+Inf`.
fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, size) = match exponent.strip_prefix('-') {
            Some(size) => ('-', size),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{size:0>2}");
    }
    format!("{value}")
}
