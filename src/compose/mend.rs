//! What Compose's YAML reader lets pass and ours does not, made passable.
//!
//! In: a text and the place where the parser stopped. Out: the text with something put in there that changes no value,
//! and the way back from places in it to places in the original. It runs only where a text was refused.
//! Imports: nothing. Rules: `yaml.v3`, which follows libyaml: a quoted text may go on at any column, `#` behind a
//! token starts a comment, `\'` is a quote.

use granit_parser::ErrorKind;

/// Places of a text that are mended at most.
const MOST: usize = 64;
/// Blanks in front of a line, which no value sees; wider than any indentation that is accepted.
const INDENT: &str = match std::str::from_utf8(&[b' '; 512]) {
    Ok(blanks) => blanks,
    Err(_) => "",
};

/// A text with insertions.
#[derive(Debug)]
pub(super) struct Mended {
    /// The text to parse.
    pub(super) text: String,
    /// Where something was put in, in the original text, and how many bytes; sorted.
    inserted: Vec<(usize, usize)>,
}

impl Mended {
    /// A text as it is.
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            inserted: Vec::new(),
        }
    }

    /// Makes the fault passable that the parser found at byte `at` of the text; false where it stays.
    pub(super) fn mend(&mut self, kind: &ErrorKind, at: usize) -> bool {
        if self.inserted.len() >= MOST {
            return false;
        }
        let rest = self.text.get(at..).unwrap_or_default();
        let (at, piece) = match kind {
            ErrorKind::InvalidQuotedScalarIndent => (at, INDENT),
            ErrorKind::CommentNotSeparated => match rest.find('#') {
                Some(0) => (at, " "),
                Some(1) => (at + 1, " "),
                _ => return false,
            },
            ErrorKind::UnknownQuotedScalarEscape => match self.quote_escape(at) {
                Some(quote) => (quote, "x2"),
                None => return false,
            },
            _ => return false,
        };
        self.insert(at, piece)
    }
}
