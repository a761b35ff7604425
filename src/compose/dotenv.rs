//! The format of `.env` files and `env_file`s.
//!
//! In: a text and a lookup for `${…}` inside values. Out: names and values in file order.
//! It opens no file. Imports: `template`.
//! Rules: Compose documentation, "Env-file syntax"; where it is silent as Compose (`dotenv/parser.go`).

use indexmap::IndexMap;

use super::template::{self, TemplateError};

/// Why a line can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotenvError {
    /// Byte offset of the place.
    pub at: usize,
    /// What is wrong there.
    pub fault: DotenvFault,
}

/// What is wrong with a line of an env file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DotenvFault {
    /// A character that no variable name may hold.
    #[error("unexpected character `{0}` in a variable name")]
    Name(char),
    /// A name of several words.
    #[error("the variable name `{0}` contains a blank")]
    Blank(String),
    /// `=` without a name in front, in a raw file.
    #[error("a name is missing in front of `=`")]
    Empty,
    /// A quote that nothing ends.
    #[error("the quote {0} is not closed")]
    Quote(char),
    /// A broken reference in a value.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl DotenvFault {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Name(_) | Self::Blank(_) | Self::Empty => {
                "write NAME=value; a comment starts with `#`".to_owned()
            }
            Self::Quote(quote) => format!("close it with {quote} at the end of the value"),
            Self::Template(error) => error.hint(),
        }
    }
}

/// Names and values of a file.
pub type Variables = IndexMap<String, String>;

/// Reads an env file.
///
/// `lookup` answers for `${…}` in values (before what the file itself has set) and for names that stand alone.
/// Names that a value refers to and nothing sets are added to `unset`.
///
/// As Compose, a name may be empty, and what stands alone on a last line that nothing ends is its value.
///
/// # Errors
/// [`DotenvError`] at the first line that breaks the format.
pub fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
) -> Result<Variables, DotenvError> {
    parse_over(text, lookup, &Variables::new(), unset)
}

/// Reads an env file that stands above others: `below` answers for `${…}` after `lookup` and the file itself.
///
/// # Errors
/// As [`parse`].
pub fn parse_over(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    below: &Variables,
    unset: &mut Vec<String>,
) -> Result<Variables, DotenvError> {
    let mut found = Variables::new();
    let mut at = text.len() - without_mark(text).len();
    let mut grown = 0;
    while let Some(start) = statement(text, at) {
        let (name, behind) = name(text, start)?;
        let value_at = match behind {
            Behind::Value(value_at) => value_at,
            Behind::Nothing(end) => {
                if let Some(value) = lookup(&name) {
                    found.insert(name, value);
                }
                at = end;
                continue;
            }
        };
        let (value, expand, end) = value(text, value_at)?;
        let value = if expand && value.contains('$') {
            let all = |name: &str| {
                lookup(name)
                    .or_else(|| found.get(name).cloned())
                    .or_else(|| below.get(name).cloned())
            };
            let filled = template::substitute(&value, &all, unset);
            grown += filled.as_ref().map_or(0, String::len);
            let long = grown > template::LONGEST.max(text.len());
            let filled = filled.and_then(|value| match long {
                false => Ok(value),
                true => Err(TemplateError::Long),
            });
            filled.map_err(|error| DotenvError {
                at: value_at,
                fault: error.into(),
            })?
        } else {
            value
        };
        found.insert(name, value);
        at = end;
    }
    Ok(found)
}

/// A line of an env file that names a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// Byte offset of the statement.
    pub start: usize,
    /// Byte offset behind it.
    pub end: usize,
}

/// Where an env file names its variables, in file order, up to the first line that breaks the format.
pub fn assignments(text: &str) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut at = text.len() - without_mark(text).len();
    while let Some(start) = statement(text, at) {
        let Ok((name, behind)) = name(text, start) else {
            break;
        };
        let end = match behind {
            Behind::Nothing(end) => end,
            Behind::Value(at) => match value(text, at) {
                Ok((_, _, end)) => end,
                Err(_) => break,
            },
        };
        found.push(Assignment { name, start, end });
        at = end;
    }
    found
}

/// Reads an env file of `format: raw`: `NAME=value` lines, values taken literally.
///
/// `lookup` answers for names that stand alone.
///
/// # Errors
/// [`DotenvError`] at the first line whose name is empty or has a blank in it.
pub fn parse_raw(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Variables, DotenvError> {
    let mut found = Variables::new();
    let mut next = text.len() - without_mark(text).len();
    for line in text[next..].split('\n') {
        let start = next;
        next += line.len() + 1;
        let line = line.strip_suffix('\r').unwrap_or(line);
        let body = line.trim_start();
        let at = start + line.len() - body.len();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, lookup(body)),
        };
        let fault = match name {
            "" => Some(DotenvFault::Empty),
            _ if name.contains([' ', '\t']) => Some(DotenvFault::Blank(name.to_owned())),
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(DotenvError { at, fault });
        }
        if let Some(value) = value {
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

/// A text without the byte order mark in front.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Where the next statement starts, past blank lines and comments.
fn statement(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        at += rest.len() - rest.trim_start().len();
        match text.get(at..)?.chars().next()? {
            '#' => at += text.get(at..)?.find('\n')?,
            _ => return Some(at),
        }
    }
}

/// Whether a character is blank and ends no line.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}'
    )
}

/// What follows a name.
enum Behind {
    /// A value, here.
    Value(usize),
    /// The end of the line; the next begins here.
    Nothing(usize),
}

/// The name at `start`, and what follows it.
fn name(text: &str, start: usize) -> Result<(String, Behind), DotenvError> {
    let rest = &text[start..];
    let body = match rest.strip_prefix("export") {
        Some(tail) if tail.starts_with([' ', '\t', '\n', '\u{c}', '\r']) => {
            tail.trim_start_matches(is_blank)
        }
        _ => rest,
    };
    let start = start + rest.len() - body.len();
    for (at, c) in body.char_indices() {
        if matches!(c, '=' | ':' | '\n') {
            let name = body[..at].trim_end();
            if name.contains(' ') {
                let fault = DotenvFault::Blank(name.to_owned());
                return Err(DotenvError { at: start, fault });
            }
            let next = start + at + 1;
            let behind = match c {
                '\n' => Behind::Nothing(next),
                _ => Behind::Value(next),
            };
            return Ok((name.to_owned(), behind));
        }
        let good = is_blank(c) || matches!(c, '_' | '.' | '-' | '[' | ']') || c.is_alphanumeric();
        if !good {
            return Err(DotenvError {
                at: start + at,
                fault: DotenvFault::Name(c),
            });
        }
    }
    Ok((String::new(), Behind::Value(start)))
}

/// The value at `at`: its text, whether `${…}` counts in it, and where it ends.
fn value(text: &str, at: usize) -> Result<(String, bool, usize), DotenvError> {
    let rest = &text[at..];
    let body = rest.trim_start_matches(is_blank);
    let start = at + rest.len() - body.len();
    let Some(quote) = body.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = body.find('\n').unwrap_or(body.len());
        let line = &body[..end];
        let line = line.find(" #").map_or(line, |comment| &line[..comment]);
        return Ok((line.trim_end().to_owned(), true, start + end));
    };
    let mut escaped = false;
    for (offset, c) in body.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => {
                let inner = &body[1..offset];
                let (inner, expand) = match quote {
                    '"' => (unescape(inner), true),
                    _ => (unquote(inner), false),
                };
                return Ok((inner, expand, start + offset + 1));
            }
            _ => {}
        }
    }
    Err(DotenvError {
        at: start,
        fault: DotenvFault::Quote(quote),
    })
}

/// Resolves the only escape of single quotes, `\'`; another backslash takes the next character along.
fn unquote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('\\', Some('\'')) => {
                chars.next();
                out.push('\'');
            }
            ('\\', Some(next)) => {
                chars.next();
                out.extend([c, next]);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Resolves the escapes of double quotes; `\$` stays a dollar sign for good.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let next = rest.chars().next();
        rest = &rest[next.map_or(0, char::len_utf8)..];
        match next {
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some('0') => {
                let digits = rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
                match u8::from_str_radix(&rest[..digits], 8) {
                    Ok(code) if digits == 3 => out.push(char::from(code)),
                    _ => {
                        out.push('\\');
                        out.push_str(&rest[..digits]);
                    }
                }
                rest = &rest[digits..];
            }
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, DotenvError> {
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        let found = parse(text, &lookup, &mut Vec::new())?;
        Ok(found
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect())
    }

    #[test]
    fn quotes_comments_exports_and_references_are_understood() {
        let text = "\u{feff}# c\nA=1\r\nexport B=\"two\\n$A\" # c\nC='$A # x'\nD=v#w # c\n\nE=${A}-${HOST}\nHOST\nNONE\nF=\nG: y\nH=\"a\nb\"\nI=\"\\$A\"\n";
        assert_eq!(
            read(text).unwrap(),
            [
                "A=1", "B=two\n1", "C=$A # x", "D=v#w", "E=1-h", "HOST=h", "F=", "G=y", "H=a\nb",
                "I=$A"
            ]
        );
    }

    #[test]
    fn assignments_have_their_places_also_over_lines_and_behind_comments() {
        let text = "# A=0\nA=1\nexport B=\"x\ny\" # c\nC\n'";
        let found: Vec<(String, &str)> = assignments(text)
            .into_iter()
            .map(|a| (a.name, &text[a.start..a.end]))
            .collect();
        let want = [("A", "A=1"), ("B", "export B=\"x\ny\""), ("C", "C\n")];
        assert_eq!(found, want.map(|(name, text)| (name.to_owned(), text)));
    }

    #[test]
    fn escapes_are_those_of_a_shell_and_differ_by_the_quote() {
        for (text, want) in [
            (r#"A="\a\f\v\c\x""#, "A=\u{7}\u{c}\u{b}\\c\\x"),
            (r#"A="\0101\0377\012\0400\0""#, "A=A\u{ff}\\12\\400\\"),
            (r#"A="\0044HOST \\$HOST \"q\" \'""#, "A=h \\h \"q\" \\'"),
            (r"A='it\'s \n \\'", r"A=it's \n \\"),
            (r"A=\n\$HOST", r"A=\n\h"),
        ] {
            assert_eq!(read(text).unwrap(), [want], "{text}");
        }
    }

    #[test]
    fn what_compose_reads_in_its_own_way_is_read_that_way() {
        for (text, want) in [
            ("A=# c", &["A=# c"][..]),
            ("A= #c\nB=x #c", &["A=#c", "B=x"]),
            ("A=\"1\" B=2\nC='3'D=4", &["A=1", "B=2", "C=3", "D=4"]),
            ("=x\nA==\nB:=1", &["=x", "A==", "B==1"]),
            ("export\nexport=1\nHOST", &["export=1", "=HOST"]),
            ("A\u{a0}B=\u{a0}\u{b}x", &["A\u{a0}B=x"]),
        ] {
            assert_eq!(read(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn a_file_above_others_sees_its_own_values_first() {
        let below = [("A", "1"), ("B", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let text = "A=3\nC=$A$B$HOST\nB\n";
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        let found = parse_over(text, &lookup, &below.into(), &mut Vec::new()).unwrap();
        let found: Vec<String> = found.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(found, ["A=3", "C=32h"]);
    }

    #[test]
    fn a_file_that_doubles_its_values_is_refused() {
        let text = format!("A=x\n{}", "A=$A$A\n".repeat(100));
        let fault = read(&text).unwrap_err().fault;
        assert_eq!(fault, DotenvFault::Template(TemplateError::Long));
    }

    #[test]
    fn broken_lines_are_refused_with_their_place() {
        for (text, at, fault) in [
            ("A=1\nB!=2", 5, DotenvFault::Name('!')),
            ("A='x", 2, DotenvFault::Quote('\'')),
            ("\nexport A B=1", 8, DotenvFault::Blank("A B".into())),
            ("A=\"x\"\"y\"", 5, DotenvFault::Name('"')),
        ] {
            assert_eq!(read(text).unwrap_err(), DotenvError { at, fault }, "{text}");
        }
    }

    #[test]
    fn the_raw_format_takes_values_literally() {
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        let found = parse_raw("\u{feff}A='$X' # y\r\n # c\nB=\nHOST\nNONE\n", &lookup).unwrap();
        let found: Vec<String> = found.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(found, ["A='$X' # y", "B=", "HOST=h"]);
        for (text, at, fault) in [
            ("A=1\n =x", 5, DotenvFault::Empty),
            ("A=1\nexport B=2", 4, DotenvFault::Blank("export B".into())),
        ] {
            let error = DotenvError { at, fault };
            assert_eq!(parse_raw(text, &lookup).unwrap_err(), error, "{text}");
        }
    }
}
