//! Splitting an instruction's text: name, flags, words, pairs, JSON.
//!
//! Imports: `base`. Rules: as BuildKit's line parsers.

use std::collections::BTreeMap;

use crate::base::diag::nearest;

/// A fault of one instruction: what, where in its text, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Lower case, no final stop.
    pub message: String,
    /// The word at fault, if it is one.
    pub token: Option<String>,
    /// What the user can do.
    pub hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            token: None,
            hint: None,
        }
    }
    pub(super) fn at(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

pub(super) type Parsed<T> = Result<T, Fault>;

/// `NAME rest`, both trimmed.
pub(super) fn split_name(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace)
        .map_or((text, ""), |(name, rest)| (name, rest.trim()))
}

/// Flags in front, and the rest. Quotes in flags are taken away.
pub(super) fn split_flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, ch)) = chars.next() {
            match ch {
                _ if quote.is_none() && ch.is_whitespace() => {
                    end = at;
                    break;
                }
                '\\' if quote != Some('\'') => word.extend(chars.next().map(|(_, ch)| ch)),
                '"' | '\'' if quote.is_none() => quote = Some(ch),
                _ if quote == Some(ch) => quote = None,
                _ => word.push(ch),
            }
        }
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// One value.
    Value,
    /// A value each time it is given.
    Values,
    /// `true` or `false`; nothing is `true`.
    Switch,
}

/// An instruction's flags and their values.
pub(super) fn read_flags(
    given: &[String],
    known: &[(&'static str, Takes)],
) -> Parsed<BTreeMap<&'static str, Vec<String>>> {
    let mut read: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for flag in given {
        let body = flag.trim_start_matches("--");
        let (name, value) = body
            .split_once('=')
            .map_or((body, None), |(n, v)| (n, Some(v)));
        let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
            let mut fault = Fault::new(format!("unknown flag: --{name}")).at(format!("--{name}"));
            let names = known.iter().map(|(name, _)| *name);
            fault.hint = match nearest(name, names.clone()) {
                Some(near) => Some(format!("did you mean --{near}?")),
                None if known.is_empty() => Some("this instruction has no flags".to_owned()),
                None => Some(format!(
                    "the flags here are --{}",
                    names.collect::<Vec<_>>().join(", --")
                )),
            };
            return Err(fault);
        };
        let value = match (takes, value) {
            (Takes::Switch, None) => "true",
            (Takes::Switch, Some(value))
                if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") =>
            {
                return Err(Fault::new(format!(
                    "expecting boolean value for flag {name}, not: {value}"
                ))
                .at(format!("--{name}")));
            }
            (_, Some(value)) => value,
            (_, None) => {
                return Err(
                    Fault::new(format!("missing a value on flag: {name}")).at(format!("--{name}"))
                );
            }
        };
        let values = read.entry(name).or_default();
        if !values.is_empty() && *takes != Takes::Values {
            return Err(
                Fault::new(format!("duplicate flag specified: --{name}")).at(format!("--{name}"))
            );
        }
        values.push(value.to_owned());
    }
    Ok(read)
}

/// `["a", "b"]`: `Some` if the text is a list of strings, a fault if it is a list with other things.
pub(super) fn json_list(text: &str) -> Parsed<Option<Vec<String>>> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(list) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let strings: Option<Vec<String>> = list.iter().map(|v| v.as_str().map(str::to_owned)).collect();
    match strings {
        Some(strings) => Ok(Some(strings)),
        None => Err(Fault::new(
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    }
}

/// Words as `ENV` splits them: at blanks that are neither quoted nor escaped. Quotes stay.
pub(super) fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut blank_ok = false;
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        match quote {
            None if ch.is_whitespace() => {
                if blank_ok || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                blank_ok = false;
                continue;
            }
            None if ch == '"' || ch == '\'' => {
                quote = Some(ch);
                blank_ok = true;
            }
            Some(open) if ch == open => quote = None,
            _ => {}
        }
        if ch == escape && quote != Some('\'') {
            let Some(escaped) = chars.next() else { break };
            word.push(ch);
            word.push(escaped);
        } else {
            word.push(ch);
        }
    }
    if blank_ok || !word.is_empty() {
        words.push(word);
    }
    words
}

/// `k=v …` or the old `k v`.
pub(super) fn pairs(text: &str, name: &str, escape: char) -> Parsed<Vec<(String, String)>> {
    let words = quoted_words(text, escape);
    let Some(first) = words.first() else {
        return Err(Fault::new(format!("{name} requires at least one argument")));
    };
    let pairs = if first.contains('=') {
        let split = words.iter().map(|word| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Fault::new(format!(
                "syntax error - can't find = in {word:?}; must be of the form: name=value"
            ))
            .at(word.clone())
            .hint("quote a value that has blanks in it")),
        });
        split.collect::<Parsed<Vec<_>>>()?
    } else {
        let Some((key, value)) = text.trim().split_once(char::is_whitespace) else {
            return Err(Fault::new(format!("{name} must have two arguments"))
                .at(text.trim())
                .hint(format!("write {name} {}=value", text.trim())));
        };
        vec![(key.to_owned(), value.trim_start().to_owned())]
    };
    if pairs.iter().any(|(key, _)| key.is_empty()) {
        return Err(Fault::new(format!("{name} names can not be blank")));
    }
    Ok(pairs)
}

/// The one argument of an instruction that takes the whole text.
pub(super) fn one(text: &str, name: &str) -> Parsed<String> {
    if text.is_empty() {
        return Err(Fault::new(format!("{name} requires exactly one argument")));
    }
    Ok(text.to_owned())
}

/// Words split at blanks, whatever the quotes.
pub(super) fn plain_words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes_and_escapes() {
        assert_eq!(
            quoted_words(
                r#"a=1 b="two words" "c d"=e f='s q' g="q\"q" h=\ x "" "#,
                '\\'
            ),
            [
                "a=1",
                "b=\"two words\"",
                "\"c d\"=e",
                "f='s q'",
                "g=\"q\\\"q\"",
                "h=\\ x",
                "\"\""
            ]
        );
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let (flags, rest) = split_flags("--a=1 --b=\"x y\" -- --c d");
        assert_eq!(
            (flags, rest),
            (vec!["--a=1".to_owned(), "--b=x y".to_owned()], "--c d")
        );
    }

    #[test]
    fn a_flag_given_twice_or_misspelt_is_refused_with_a_hint() {
        let known = [
            ("chmod", Takes::Value),
            ("link", Takes::Switch),
            ("exclude", Takes::Values),
        ];
        let of = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
            read_flags(&flags, &known)
                .map_err(|fault| (fault.message, fault.hint.unwrap_or_default()))
        };
        assert_eq!(
            of(&["--chmod=1", "--chmod=2"]).unwrap_err().0,
            "duplicate flag specified: --chmod"
        );
        assert_eq!(of(&["--chmdo=1"]).unwrap_err().1, "did you mean --chmod?");
        assert_eq!(
            of(&["--chmod"]).unwrap_err().0,
            "missing a value on flag: chmod"
        );
        assert!(of(&["--link=maybe"]).is_err());
        assert_eq!(
            of(&["--exclude=a", "--exclude=b", "--link"]).unwrap()["exclude"],
            ["a", "b"]
        );
    }

    #[test]
    fn broken_json_is_text_and_other_values_are_a_fault() {
        assert_eq!(json_list("[\"a\", \"b\"]").unwrap().unwrap(), ["a", "b"]);
        assert_eq!(json_list("['a']").unwrap(), None);
        assert_eq!(json_list("[]").unwrap().unwrap(), Vec::<String>::new());
        assert!(json_list("[1]").is_err());
    }

    #[test]
    fn the_old_pair_form_takes_the_rest_of_the_line() {
        assert_eq!(
            pairs("a  b c", "ENV", '\\').unwrap(),
            [("a".to_owned(), "b c".to_owned())]
        );
        assert_eq!(
            pairs("A", "ENV", '\\').unwrap_err().message,
            "ENV must have two arguments"
        );
        assert!(pairs("a=1 b", "ENV", '\\').is_err());
    }
}
