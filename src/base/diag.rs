//! What is wrong with the user's input, with its place and what to do about it.
//!
//! In: findings of any stage. Out: one list in file order. It never prints: `ui::render` does.
//! Imports: `span`, `key`.

use std::collections::BTreeSet;

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
    /// The variable that is missing, if that is what is wrong.
    pub variable: Option<String>,
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
            variable: None,
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
    /// Says that a variable is missing.
    #[must_use]
    pub fn misses(mut self, variable: impl Into<String>) -> Self {
        self.variable = Some(variable.into());
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
    /// Key paths of the errors.
    faulty: BTreeSet<KeyPath>,
}

impl Diagnostics {
    /// Adds one finding.
    pub fn push(&mut self, item: Diagnostic) {
        if let (Severity::Error, Some(path)) = (item.severity, &item.path) {
            self.faulty.insert(path.clone());
        }
        self.items.push(item);
    }
    /// Adds all findings of another list.
    pub fn append(&mut self, mut other: Self) {
        self.items.append(&mut other.items);
        self.faulty.append(&mut other.faulty);
    }
    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.items
            .iter()
            .any(|item| item.severity == Severity::Error)
    }
    /// Whether an error was found at a key path or below it: what is missing there may be what was refused.
    pub fn is_faulty(&self, path: &KeyPath) -> bool {
        let next = self.faulty.range(path.clone()..).next();
        next.is_some_and(|known| known.0.starts_with(&path.0))
    }
    /// Whether an error was found at exactly this key path.
    pub fn is_refused(&self, path: &KeyPath) -> bool {
        self.faulty.contains(path)
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
    /// Drops what was found before: the same words at the same place, also where a file was read more than once.
    pub fn dedup(&mut self, sources: &SourceMap) {
        let mut seen = BTreeSet::new();
        self.items.retain(|item| {
            let place = item.span.map(|span| {
                let name = sources.get(span.source).map(|source| source.name.clone());
                (name, span.start, span.end)
            });
            seen.insert((item.severity, place, item.message.clone()))
        });
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
        let mut all = Self::default();
        all.push(item);
        all
    }
}

/// The candidate nearest to `word` by edit distance, if one is near enough to be meant; of equals the first.
///
/// Letter case counts for nothing, and `-` is as good as `_`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |text: &str| -> Vec<char> {
        let lower = text.chars().flat_map(char::to_lowercase);
        lower.map(|c| if c == '-' { '_' } else { c }).collect()
    };
    // Longer words than this are no typing errors, and comparing them takes long.
    if word.len() > 256 {
        return None;
    }
    let word = letters(word);
    let limit = (word.len() / 3).max(1) + 1;
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other = letters(candidate);
        let least = word.len().abs_diff(other.len());
        if least > limit || least >= other.len() || best.is_some_and(|(far, _)| far <= least) {
            continue;
        }
        let far = distance(&word, &other);
        let near = far <= limit && far < other.len();
        if near && best.is_none_or(|(known, _)| far < known) {
            best = Some((far, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let (mut last, mut row) = (vec![0; b.len() + 1], (0..=b.len()).collect::<Vec<usize>>());
    let mut before_last = Vec::new();
    for (i, x) in a.iter().enumerate() {
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut row);
        row.clear();
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
    }
    row.last().copied().unwrap_or_default()
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
        assert_eq!(
            nearest("depends-on", ["deploy", "depends_on"]),
            Some("depends_on")
        );
        assert_eq!(nearest("Always", ["no", "always"]), Some("always"));
        assert_eq!(nearest("ab", ["ba", "abc"]), Some("ba"));
        assert_eq!(nearest(&"x".repeat(1 << 20), keys), None);
    }

    #[test]
    fn errors_below_a_path_are_known_by_it() {
        let mut all = Diagnostics::default();
        let web = KeyPath::root().key("services").key("web");
        all.push(Diagnostic::error("m").path(&web.key("ports").index(1)));
        all.push(Diagnostic::warning("m").path(&KeyPath::root().key("networks")));
        assert!(all.is_faulty(&web) && all.is_faulty(&web.key("ports")));
        assert!(!all.is_faulty(&web.key("image")) && !all.is_refused(&web.key("ports")));
        assert!(!all.is_faulty(&KeyPath::root().key("networks")));
    }

    #[test]
    fn a_finding_of_a_file_that_was_read_twice_is_kept_once() {
        let mut map = SourceMap::default();
        let spans = [(); 2].map(|()| Span::new(map.add("base.yaml", "a: 1"), 0, 1));
        let mut all = Diagnostics::default();
        for span in spans {
            all.push(Diagnostic::error("m").at(span));
        }
        all.push(Diagnostic::error("n").at(spans[0]));
        all.dedup(&map);
        assert_eq!(all.sorted().len(), 2);
    }
}
