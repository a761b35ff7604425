//! What a line of a program's output must look like.
//!
//! In: text of a compose file. Out: a pattern that serialises, and what finds it in bytes. Imports: nothing of ours.

use serde::{Deserialize, Serialize};

/// Most memory that a compiled expression, and its cache, may take in bytes: a supervisor is small.
const ROOM: usize = 256 * 1024;

/// A text that a line holds, or a regular expression that it matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinePattern {
    /// The line holds this.
    Text(String),
    /// This matches somewhere in the line.
    Regex(String),
}

impl LinePattern {
    /// Reads `/REGEX/`, or else a text.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'))
            .filter(|inner| !inner.is_empty());
        let pattern = match inner {
            Some(inner) => Self::Regex(inner.to_owned()),
            None => Self::Text(text.to_owned()),
        };
        if text.trim().is_empty() {
            return Err("it is empty, so that every line would match".to_owned());
        }
        if text.contains(['\n', '\r']) {
            return Err("it has several lines, but is looked for in one line".to_owned());
        }
        pattern.matcher().map(|_| pattern)
    }

    /// Makes what finds it.
    ///
    /// # Errors
    /// What is wrong with the expression, in one line.
    pub fn matcher(&self) -> Result<LineMatcher, String> {
        match self {
            Self::Text(text) => Ok(LineMatcher::Text(text.clone().into_bytes())),
            Self::Regex(text) => regex::bytes::RegexBuilder::new(text)
                .size_limit(ROOM)
                .dfa_size_limit(ROOM)
                .build()
                .map(LineMatcher::Regex)
                .map_err(|error| in_one_line(&error)),
        }
    }
}

/// The last line of the parser's drawing says what is wrong.
fn in_one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

impl std::fmt::Display for LinePattern {
    /// As the file has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Regex(text) => write!(f, "/{text}/"),
        }
    }
}

/// Finds a [`LinePattern`].
#[derive(Debug, Clone)]
pub enum LineMatcher {
    /// By comparing bytes.
    Text(Vec<u8>),
    /// By an expression; the time it takes is linear in the line's length.
    Regex(regex::bytes::Regex),
}

impl LineMatcher {
    /// Whether a line has it.
    pub fn matches(&self, line: &[u8]) -> bool {
        match self {
            Self::Text(text) => line.windows(text.len().max(1)).any(|part| part == text),
            Self::Regex(regex) => regex.is_match(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_make_an_expression_and_everything_else_is_a_text() {
        let matches = |pattern: &str, line: &str| {
            let pattern = LinePattern::parse(pattern).expect("a good pattern");
            let found = pattern.matcher().expect("a good pattern");
            found.matches(line.as_bytes())
        };
        assert!(matches("ready (v1.0)", "db: ready (v1.0) in 3 s"));
        assert!(!matches("ready (v1.0)", "ready v1.0"));
        assert!(matches("/^ready in \\d+/", "ready in 30 ms"));
        assert!(!matches("/^ready in \\d+/", "not ready in 30 ms"));
        assert!(matches("/etc", "reads /etc/passwd"));
        assert!(!matches("longer than the line", "longer"));
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        let wrong = |text: &str| LinePattern::parse(text).expect_err(text);
        assert_eq!(wrong("/a(b/"), "unclosed group");
        assert!(wrong(" ").contains("empty"));
        assert!(wrong("a\nb").contains("several lines"));
        assert!(!wrong("/(a{1000}){1000}/").contains('\n'));
    }
}
