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
    #[error("unexpected character `{0}` in a variable name; write NAME=value")]
    Name(char),
    /// `=` without a name in front.
    #[error("a name is missing in front of `=`")]
    Empty,
    /// A quote that nothing ends.
    #[error("the quote {0} is not closed")]
    Quote(char),
    /// A broken reference in a value.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Names and values of a file.
pub type Variables = IndexMap<String, String>;

/// Reads an env file.
///
/// `lookup` answers for `${…}` in values (before what the file itself has set) and for names that stand alone.
/// Names that a value refers to and nothing sets are added to `unset`.
///
/// # Errors
/// [`DotenvError`] at the first line that breaks the format.
pub fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
) -> Result<Variables, DotenvError> {
    let mut found = Variables::new();
    let mut at = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    while let Some(start) = statement(text, at) {
        let (name, value_at) = name(text, start)?;
        let Some(value_at) = value_at else {
            if let Some(value) = lookup(&name) {
                found.insert(name, value);
            }
            at = line_end(text, start);
            continue;
        };
        let (value, expand, end) = value(text, value_at)?;
        let value = if expand {
            let both = |name: &str| lookup(name).or_else(|| found.get(name).cloned());
            template::substitute(&value, &both, unset).map_err(|error| DotenvError {
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
    let mut at = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    while let Some(start) = statement(text, at) {
        let Ok((name, value_at)) = name(text, start) else {
            break;
        };
        let end = match value_at.map(|at| value(text, at)) {
            None => line_end(text, start),
            Some(Ok((_, _, end))) => end,
            Some(Err(_)) => break,
        };
        found.push(Assignment { name, start, end });
        at = end;
    }
    found
}

/// Reads an env file of `format: raw`: `NAME=value` lines, values taken literally.
pub fn parse_raw(text: &str) -> Variables {
    text.trim_start_matches('\u{feff}')
        .lines()
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .collect()
}

/// Where the next statement starts, past blank lines and comments.
fn statement(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        at += rest.len() - rest.trim_start().len();
        match text.get(at..)?.chars().next()? {
            '#' => at = line_end(text, at),
            _ => return Some(at),
        }
    }
}

fn line_end(text: &str, at: usize) -> usize {
    text.get(at..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |end| at + end + 1)
}

/// The name at `start`, and where its value begins; `None` when it stands alone on its line.
fn name(text: &str, start: usize) -> Result<(String, Option<usize>), DotenvError> {
    let rest = &text[start..];
    let body = match rest.strip_prefix("export") {
        Some(tail) if tail.starts_with([' ', '\t']) => tail.trim_start_matches([' ', '\t']),
        _ => rest,
    };
    let start = start + rest.len() - body.len();
    for (at, c) in body.char_indices() {
        match c {
            '=' | ':' if body[..at].trim().is_empty() => {
                return Err(DotenvError {
                    at: start,
                    fault: DotenvFault::Empty,
                });
            }
            '=' | ':' => return Ok((body[..at].trim().to_owned(), Some(start + at + 1))),
            '\n' => return Ok((body[..at].trim().to_owned(), None)),
            ' ' | '\t' | '\r' | '_' | '.' | '-' | '[' | ']' => {}
            c if c.is_alphanumeric() => {}
            c => {
                return Err(DotenvError {
                    at: start + at,
                    fault: DotenvFault::Name(c),
                });
            }
        }
    }
    Ok((body.trim().to_owned(), None))
}

/// The value at `at`: its text, whether `${…}` counts in it, and where the next line begins.
fn value(text: &str, at: usize) -> Result<(String, bool, usize), DotenvError> {
    let rest = &text[at..];
    let body = rest.trim_start_matches([' ', '\t', '\r']);
    let start = at + rest.len() - body.len();
    let Some(quote) = body.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = body.find('\n').unwrap_or(body.len());
        let line = &body[..end];
        let line = match line.starts_with('#') {
            true => "",
            false => line.find(" #").map_or(line, |comment| &line[..comment]),
        };
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
                    _ => (inner.replace("\\'", "'"), false),
                };
                return Ok((inner, expand, line_end(text, start + offset + 1)));
            }
            _ => {}
        }
    }
    Err(DotenvError {
        at: start,
        fault: DotenvFault::Quote(quote),
    })
}

/// Resolves the escapes of double quotes; `\$` stays a dollar sign for good.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\' | '\'')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
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
        let want = [("A", "A=1"), ("B", "export B=\"x\ny\" # c\n"), ("C", "C\n")];
        assert_eq!(found, want.map(|(name, text)| (name.to_owned(), text)));
    }

    #[test]
    fn broken_lines_are_refused_with_their_place() {
        assert_eq!(
            read("A=1\nB!=2").unwrap_err(),
            DotenvError {
                at: 5,
                fault: DotenvFault::Name('!')
            }
        );
        assert_eq!(read("A='x").unwrap_err().fault, DotenvFault::Quote('\''));
        assert_eq!(read("=x").unwrap_err().fault, DotenvFault::Empty);
    }

    #[test]
    fn the_raw_format_takes_values_literally() {
        let found = parse_raw("A='$X' # y\n# c\nB=\n");
        assert_eq!(found.get("A").map(String::as_str), Some("'$X' # y"));
        assert_eq!(found.len(), 2);
    }
}
