//! Which part of a value is wrong, and what was meant.
//!
//! In: a text that its parser refused. Out: the part to underline, words, and the text to write instead where it is
//! known. Imports: `base`.

use crate::base::diag::nearest;
use crate::base::scalar::SizeError;

/// A part of a value's text that can't be understood.
#[derive(Debug)]
pub(super) struct Wrong<'t> {
    /// A slice of the value's text.
    pub(super) part: &'t str,
    /// What is wrong.
    pub(super) fault: String,
    /// What was expected there.
    pub(super) label: String,
    /// What to write instead.
    pub(super) hint: Option<String>,
}

impl<'t> Wrong<'t> {
    /// A part without words on what to write instead.
    pub(super) fn of(part: &'t str, fault: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            part,
            fault: fault.into(),
            label: label.into(),
            hint: None,
        }
    }
    /// Adds what to write instead.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Words that people write for the units of a duration.
const UNITS: [(&str, &str); 18] = [
    ("s", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "m"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("h", "h"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("ms", "ms"),
    ("msec", "ms"),
    ("millisecond", "ms"),
    ("milliseconds", "ms"),
];

/// The wrong part of a text that is no duration.
pub(super) fn wrong_duration(text: &str) -> Wrong<'_> {
    let fault = format!("`{text}` is not a duration");
    let mut rest = text;
    let mut fixed = String::new();
    loop {
        let body = rest.trim_start();
        let digits = body.find(|c: char| !(c.is_ascii_digit() || c == '.'));
        let (number, tail) = body.split_at(digits.unwrap_or(body.len()));
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_alphabetic());
        let (unit, after) = tail.split_at(letters.unwrap_or(tail.len()));
        if number.is_empty() || unit.is_empty() && !after.is_empty() {
            let part = if body.is_empty() { text } else { body };
            return Wrong::of(part, fault, "expected a number and a unit, such as 1m30s");
        }
        if unit.is_empty() {
            return Wrong::of(number, fault, "expected a unit behind the number").hint(format!(
                "write {fixed}{number}s, {fixed}{number}m or {fixed}{number}h"
            ));
        }
        let known = ["ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "w"];
        let spaced = body.len() != number.len() + tail.len();
        if known.contains(&unit) && !spaced {
            fixed.push_str(&format!("{number}{unit}"));
            if after.trim().is_empty() {
                return Wrong::of(text, fault, "expected a duration such as 1m30s");
            }
            rest = after;
            continue;
        }
        let word = nearest(unit, UNITS.iter().map(|(word, _)| *word));
        let meant = UNITS.iter().find(|(known, _)| Some(*known) == word);
        let meant = meant.filter(|_| after.trim().is_empty());
        let wrong = Wrong::of(unit, fault, "the units are ms, s, m, h");
        return match meant {
            Some((_, unit)) => wrong.hint(format!("write {fixed}{number}{unit}")),
            None => wrong.hint("write a number and a unit without a space: 10s, 1m30s, 500ms"),
        };
    }
}

/// The wrong part of a text that is no size.
pub(super) fn wrong_size<'t>(text: &'t str, error: &SizeError) -> Wrong<'t> {
    let body = text.trim();
    let digits = body.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, unit) = body.split_at(digits.unwrap_or(body.len()));
    let unit = unit.trim();
    match error {
        SizeError::Number(_) => Wrong::of(
            text,
            format!("`{text}` is not a size"),
            "expected a number and a unit, such as 512m",
        )
        .hint("write a number and a unit: 512m, 1.5gb, 4096"),
        SizeError::Unit(_) => {
            let wrong = Wrong::of(
                unit,
                format!("unknown unit `{unit}` in the size `{text}`"),
                "the units are b, k, m, g, t",
            );
            let first = unit.chars().next().map(|c| c.to_ascii_lowercase());
            match first.filter(|c| "bkmgt".contains(*c)) {
                Some(first) => wrong.hint(format!("write {number}{first}")),
                None => wrong.hint(format!("write {number}m or {number}g")),
            }
        }
    }
}

/// The quote that nothing closes in a command line.
///
/// Source: POSIX, Shell Command Language, 2.2.
pub(super) fn open_quote(text: &str) -> &str {
    let mut open: Option<(usize, char)> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (open, c) {
            (None | Some((_, '"')), '\\') => {
                chars.next();
            }
            (None, '"' | '\'') => open = Some((at, c)),
            (Some((_, quote)), c) if c == quote => open = None,
            _ => {}
        }
    }
    match open {
        Some((at, _)) => &text[at..=at],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::scalar::{parse_duration, parse_size};

    #[test]
    fn the_wrong_part_of_a_duration_is_found_with_what_to_write() {
        for (text, part, hint) in [
            ("5 sconds", "sconds", "write 5s"),
            ("10", "10", "write 10s, 10m or 10h"),
            ("1m 30s", "30s", ""),
            ("1h30minutes", "minutes", "write 1h30m"),
            ("1y", "y", "write a number and a unit without"),
            ("soon", "soon", ""),
            ("10 s", "s", "write 10s"),
            ("-5s", "-5s", ""),
            ("é", "é", ""),
        ] {
            let wrong = wrong_duration(text);
            assert!(parse_duration(text).is_none() || text == "1m 30s", "{text}");
            let got = wrong.hint.unwrap_or_default();
            assert!(got.starts_with(hint), "{text}: {got}");
            if text != "1m 30s" {
                assert_eq!(wrong.part, part, "{text}");
            }
        }
    }

    #[test]
    fn the_wrong_unit_of_a_size_and_an_open_quote_are_found() {
        let wrong = |text| {
            let wrong = wrong_size(text, &parse_size(text).expect_err("refused"));
            (wrong.part, wrong.hint.unwrap_or_default())
        };
        assert_eq!(wrong("512 megs"), ("megs", "write 512m".to_owned()));
        assert_eq!(wrong("1x"), ("x", "write 1m or 1g".to_owned()));
        assert_eq!(wrong("lots").0, "lots");
        assert_eq!(open_quote("echo it's \"a\""), "'");
        assert_eq!(open_quote("sh -c \"a b"), "\"");
    }
}
