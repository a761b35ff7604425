//! What is wrong with the user's input, with its place and what to do about it.
//!
//! In: findings of any stage. Out: one list in file order. It never prints: `ui::render` does.
//! Imports: `span`, `key`.

use super::key::KeyPath;
use super::span::{SourceMap, Span};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The command can't go on.
    Error,
    /// The command goes on; the user should know.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// Lower case, no final stop: ``unknown key `imge` ``.
    pub message: String,
    /// The place in a source text, if a file holds it.
    pub span: Option<Span>,
    /// The key path, if it has one.
    pub path: Option<KeyPath>,
    /// Text under the caret: what was expected.
    pub label: Option<String>,
    /// Acts the user can do: ``did you mean `image`?``.
    pub hints: Vec<String>,
    /// Other places that matter, with what is there: the first definition, the including file.
    pub related: Vec<(Span, String)>,
}

impl Diagnostic {
    /// An error with nothing but its message.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            path: None,
            label: None,
            hints: Vec::new(),
            related: Vec::new(),
        }
    }
    /// A warning with nothing but its message.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }
    /// Adds the place.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }
    /// Adds the key path.
    #[must_use]
    pub fn path(mut self, path: &KeyPath) -> Self {
        self.path = Some(path.clone());
        self
    }
    /// Adds the text under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
    /// Adds an act the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
    /// Adds another place that matters.
    #[must_use]
    pub fn related(mut self, span: impl Into<Option<Span>>, what: impl Into<String>) -> Self {
        if let Some(span) = span.into() {
            self.related.push((span, what.into()));
        }
        self
    }
    /// The first line of the rendered text: `compose.yaml:12:7: services.api.ports[0]: …`.
    pub fn headline(&self, sources: &SourceMap) -> String {
        let mut line = String::new();
        if let Some(span) = self.span {
            line.push_str(&sources.place(span));
            line.push_str(": ");
        }
        if let Some(path) = self.path.as_ref().filter(|path| !path.0.is_empty()) {
            line.push_str(&path.to_string());
            line.push_str(": ");
        }
        line.push_str(&self.message);
        line
    }
}

/// Findings in the order of the files they were found in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds one finding.
    pub fn push(&mut self, item: Diagnostic) {
        self.items.push(item);
    }
    /// Adds all findings of another list.
    pub fn append(&mut self, mut other: Self) {
        self.items.append(&mut other.items);
    }
    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.items
            .iter()
            .any(|item| item.severity == Severity::Error)
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The findings sorted by source and place; those without a place come last.
    pub fn sorted(mut self) -> Vec<Diagnostic> {
        self.items
            .sort_by_key(|item| item.span.map_or((u32::MAX, 0), |s| (s.source.0, s.start)));
        self.items
    }
    /// The findings as they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }
    /// The findings as they were added, for additions.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Diagnostic> {
        self.items.iter_mut()
    }
    /// `value` if no finding is an error, else the findings.
    ///
    /// # Errors
    /// The findings themselves.
    pub fn or_value<T>(self, value: T) -> Result<(T, Self), Self> {
        if self.has_errors() {
            Err(self)
        } else {
            Ok((value, self))
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(item: Diagnostic) -> Self {
        Self { items: vec![item] }
    }
}

/// The candidate nearest to `word` by edit distance, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1) + 1;
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(far, candidate)| *far <= limit && *far < candidate.chars().count())
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let last = &rows[i];
            let mut best = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_meant_or_none() {
        let keys = ["image", "ports", "volumes", "environment"];
        assert_eq!(nearest("imgae", keys), Some("image"));
        assert_eq!(nearest("volume", keys), Some("volumes"));
        assert_eq!(nearest("zzz", keys), None);
    }
}
