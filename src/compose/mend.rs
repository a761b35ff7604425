//! What Compose's YAML reader lets pass and ours does not, made passable.
//!
//! In: a text and the place where the parser stopped. Out: a text that the parser takes further and that means the
//! same, and the way from places in it to places in the original. It runs only where a text was refused.
//! Imports: nothing. Rules: `yaml.v3`, which follows libyaml: a quoted text may go on at any column, a `#` behind a
//! token starts a comment, `\'` is a quote.

use granit_parser::ErrorKind;

/// Places of a text that are mended at most.
const MOST: usize = 64;
/// Blanks put in front of a line; wider than any indentation that is accepted.
const INDENT: usize = 512;

/// One change of the text.
#[derive(Debug)]
struct Change {
    /// Where, in the changed text.
    at: usize,
    /// Bytes put in.
    added: usize,
    /// Bytes taken out.
    removed: usize,
}

/// A changed text.
#[derive(Debug)]
pub(super) struct Mended {
    /// What to parse.
    pub(super) text: String,
    changes: Vec<Change>,
}

impl Mended {
    /// A text without a change.
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            changes: Vec::new(),
        }
    }

    /// Changes what the parser stopped at, byte `at` of the text; false where the fault stays.
    pub(super) fn mend(&mut self, kind: &ErrorKind, at: usize) -> bool {
        let rest = self.text.get(at..).unwrap_or_default();
        match kind {
            ErrorKind::InvalidQuotedScalarIndent if !self.is_marker(at) => {
                self.change(at, 0, &" ".repeat(INDENT))
            }
            ErrorKind::CommentNotSeparated if rest.starts_with('#') => self.change(at, 0, " "),
            ErrorKind::UnknownQuotedScalarEscape => match escaped_quote(rest) {
                Some(offset) => self.change(at + offset, 1, ""),
                None => false,
            },
            _ => false,
        }
    }

    /// Whether a line is `---` or `...`, which begin and end documents even in quotes.
    fn is_marker(&self, at: usize) -> bool {
        let Some((before, rest)) = self.text.split_at_checked(at) else {
            return false;
        };
        let marker = rest.strip_prefix("---").or(rest.strip_prefix("..."));
        let alone = |rest: &str| rest.chars().next().is_none_or(char::is_whitespace);
        before.ends_with('\n') && marker.is_some_and(alone)
    }

    /// The place in the original of a place in the text.
    pub(super) fn original(&self, at: usize) -> usize {
        let mut original = at;
        for change in self.changes.iter().rev() {
            if original >= change.at + change.added {
                original = original - change.added + change.removed;
            } else {
                original = original.min(change.at);
            }
        }
        original
    }

    fn change(&mut self, at: usize, removed: usize, added: &str) -> bool {
        let good = self.changes.len() < MOST && self.text.is_char_boundary(at);
        if good {
            self.text.replace_range(at..at + removed, added);
            let added = added.len();
            self.changes.push(Change { at, added, removed });
        }
        good
    }
}

/// Where `\'` stands in the double-quoted text that `rest` begins with, if no other escape is in question.
fn escaped_quote(rest: &str) -> Option<usize> {
    let mut bytes = rest.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' if bytes.next()?.1 == b'\'' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_back_over_every_change() {
        let mut text = Mended::new("a: \"b\nc\\'d\"#e");
        assert!(text.mend(&ErrorKind::InvalidQuotedScalarIndent, 6));
        assert!(text.mend(&ErrorKind::UnknownQuotedScalarEscape, 3));
        let comment = 12 + INDENT - 2;
        assert_eq!(text.text.find('#'), Some(comment));
        assert!(text.mend(&ErrorKind::CommentNotSeparated, comment));
        assert!(text.text.ends_with("c'd\" #e"), "{}", text.text);
        for (at, want) in [
            (0, 0),
            (6, 6),
            (100, 6),
            (6 + INDENT, 6),
            (7 + INDENT, 8),
            (text.text.len(), 13),
        ] {
            assert_eq!(text.original(at), want, "{at}");
        }
    }

    #[test]
    fn other_faults_stay() {
        let mut text = Mended::new("a: \"\\d\"");
        assert!(!text.mend(&ErrorKind::UnknownQuotedScalarEscape, 3));
        assert!(!text.mend(&ErrorKind::TabInIndentation, 0));
        assert_eq!(text.text, "a: \"\\d\"");
        let mut text = Mended::new("a: 'b\n--- c'");
        assert!(!text.mend(&ErrorKind::InvalidQuotedScalarIndent, 6));
    }
}
