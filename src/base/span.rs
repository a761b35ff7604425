//! Where a value came from: byte ranges in registered source texts.
//!
//! In: names and texts of files. Out: [`Span`]s small enough to copy, and their lines and columns. The lines of a text
//! are counted once, when the first place in it is asked for. It never reads a file. Imports: nothing.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

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
    /// Where another text names this one: an `include`, an `env_file`.
    pub named_at: Option<Span>,
    index: OnceLock<Index>,
}

impl Source {
    /// The bytes of the line that holds an offset, without its line break.
    pub fn line(&self, at: usize) -> Range<usize> {
        let starts = &self.index().starts;
        let line = starts.partition_point(|start| *start as usize <= at);
        let start = starts.get(line.wrapping_sub(1)).map_or(0, |s| *s as usize);
        let end = match starts.get(line) {
            Some(next) => *next as usize - 1,
            None => self.text.len(),
        };
        let end = match self.text.as_bytes().get(start..end) {
            Some([.., b'\r']) => end - 1,
            _ => end,
        };
        start..end
    }
    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(&self.text))
    }
}

/// Bytes from one known number of characters to the next: a column in a long line costs no look at all of it.
const BLOCK: usize = 4096;

/// Where the lines of a text start, and how many characters stand before each block of it.
#[derive(Debug, Clone)]
struct Index {
    starts: Vec<u32>,
    before: Vec<u32>,
}

impl Index {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let breaks = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| clamp(at + 1)));
        let mut count = 0;
        let mut before = vec![0];
        for block in bytes.chunks(BLOCK) {
            count += characters(block);
            before.push(clamp(count));
        }
        Self {
            before,
            starts: starts.collect(),
        }
    }
    /// Characters in front of an offset.
    fn characters(&self, text: &str, at: usize) -> usize {
        let block = at / BLOCK;
        let known = self.before.get(block).map_or(0, |count| *count as usize);
        known + characters(text.as_bytes().get(block * BLOCK..at).unwrap_or_default())
    }
}

/// Characters that start in these bytes.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b & 0xc0 != 0x80).count()
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
            named_at: None,
            index: OnceLock::new(),
        });
        id
    }
    /// Says where another text names this one.
    pub fn set_named_at(&mut self, id: SourceId, place: Option<Span>) {
        if let Some(source) = self.sources.get_mut(id.0 as usize) {
            source.named_at = place;
        }
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
        let index = source.index();
        let at = (span.start as usize).min(source.text.len());
        let line = index.starts.partition_point(|start| *start as usize <= at);
        let start = index.starts.get(line.wrapping_sub(1)).copied();
        let column = index.characters(&source.text, at)
            - index.characters(&source.text, start.unwrap_or_default() as usize);
        (line, column + 1)
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
    fn the_end_of_a_text_of_whole_blocks_has_a_place() {
        let mut map = SourceMap::default();
        let text = format!("{}\nab", "é".repeat((BLOCK * 2 - 3) / 2) + "x");
        assert_eq!(text.len() % BLOCK, 0, "as long as blocks are");
        let id = map.add("x", text.as_str());
        assert_eq!(map.line_col(Span::new(id, text.len(), text.len())), (2, 3));
    }

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let mut map = SourceMap::default();
        let id = map.add("compose.yaml", "a: 1\né: x\n");
        assert_eq!(map.place(Span::new(id, 9, 10)), "compose.yaml:2:4");
        assert_eq!(map.place(Span::new(id, 0, 1)), "compose.yaml:1:1");
    }

    #[test]
    fn a_place_in_a_long_line_beyond_ascii_is_counted_in_characters() {
        let mut map = SourceMap::default();
        let text = format!("a\n{}x\r\nb", "é".repeat(10_000));
        let id = map.add("f", text.as_str());
        let x = text.find('x').expect("it is there");
        assert_eq!(map.line_col(Span::new(id, x, x)), (2, 10_001));
        let source = map.get(id).expect("registered");
        assert_eq!(source.line(x), 2..x + 1);
        assert_eq!(source.line(text.len()), x + 3..text.len());
        assert_eq!(map.line_col(Span::new(id, text.len() + 9, 0)), (3, 2));
    }
}
