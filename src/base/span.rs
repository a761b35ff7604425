//! Where a value came from: byte ranges in registered source texts.
//!
//! In: names and texts of files. Out: [`Span`]s small enough to copy, and their lines and columns.
//! It never reads a file. Imports: nothing.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Names one text in a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A byte range of one source text. `start == end` marks a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text the range lies in.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A span over `start..end` of `source`. Texts over 4 GiB are refused before they get here.
    pub fn new(source: SourceId, start: usize, end: usize) -> Self {
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            source,
            start: clamp(start),
            end: clamp(end),
        }
    }
}

/// A value and the place it was written. Equality and order look at the value only.
#[derive(Clone, Copy)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place; `None` for values that no file holds (defaults, command line, environment).
    pub span: Option<Span>,
}

impl<T> Spanned<T> {
    /// A value written at `span`.
    pub fn new(value: T, span: impl Into<Option<Span>>) -> Self {
        Self {
            value,
            span: span.into(),
        }
    }
    /// A value that no file holds.
    pub fn bare(value: T) -> Self {
        Self { value, span: None }
    }
    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: f(self.value),
            span: self.span,
        }
    }
    /// A borrowed view.
    pub fn as_ref(&self) -> Spanned<&T> {
        Spanned {
            value: &self.value,
            span: self.span,
        }
    }
}

impl<T: Default> Default for Spanned<T> {
    fn default() -> Self {
        Self::bare(T::default())
    }
}
impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
impl<T: Eq> Eq for Spanned<T> {}
impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}
impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}
impl<T: std::hash::Hash> std::hash::Hash for Spanned<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}
impl<T: serde::Serialize> serde::Serialize for Spanned<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(s)
    }
}

/// One registered text.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the user should read it: a path relative to where hoist was called, `<stdin>`, `Dockerfile`.
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
}

/// All texts that spans point into.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// Registers a text and returns its id.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> SourceId {
        let id = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        self.sources.push(Source {
            name: name.into(),
            text: text.into(),
        });
        id
    }
    /// The text behind an id of this map.
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0 as usize)
    }
    /// Line and column of the span's start, both from 1, columns in characters.
    pub fn line_col(&self, span: Span) -> (usize, usize) {
        let Some(source) = self.get(span.source) else {
            return (0, 0);
        };
        let at = (span.start as usize).min(source.text.len());
        let before = source.text.as_bytes().get(..at).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |p| p + 1);
        let col = String::from_utf8_lossy(before.get(start..).unwrap_or_default())
            .chars()
            .count();
        (line, col + 1)
    }
    /// `compose.yaml:12:7`.
    pub fn place(&self, span: Span) -> String {
        let (line, col) = self.line_col(span);
        let name = self.get(span.source).map_or("?", |s| s.name.as_str());
        format!("{name}:{line}:{col}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let mut map = SourceMap::default();
        let id = map.add("compose.yaml", "a: 1\né: x\n");
        assert_eq!(map.place(Span::new(id, 9, 10)), "compose.yaml:2:4");
        assert_eq!(map.place(Span::new(id, 0, 1)), "compose.yaml:1:1");
    }
}
