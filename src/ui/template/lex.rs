//! Text → pieces: text between actions, and the tokens of each action.
//!
//! Imports: `template`. Rules: Go's `text/template/parse`, `lex.go`.

use super::{At, Fault};

/// What a template is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// As it is.
    Text(String),
    /// What stands between `{{` and `}}`.
    Action(Vec<(At, Token)>, At),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.Name`, or `.` alone with an empty name.
    Field(String),
    /// `$name`, or `$` alone with an empty name.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    /// A string or a character.
    Text(String),
    /// A number.
    Number(serde_json::Number),
    /// `( ) | , = :=`
    Mark(&'static str),
    /// Blanks, which tell `.A.B` from `.A .B`.
    Blank,
}

const MARKS: [&str; 6] = [":=", "=", "(", ")", "|", ","];

/// Cuts a template.
pub(super) fn pieces(source: &str) -> Result<Vec<Piece>, Fault> {
    let mut found = Vec::new();
    let mut rest = 0;
    let mut trim = false;
    while let Some(at) = source.get(rest..).and_then(|text| text.find("{{")) {
        let begin = rest + at;
        let inner = begin + 2;
        let here = At::of(source, inner);
        let after = source.get(inner..).unwrap_or_default();
        let cuts_left = after
            .strip_prefix('-')
            .is_some_and(|text| text.starts_with(char::is_whitespace));
        text(
            &mut found,
            source.get(rest..begin).unwrap_or_default(),
            trim,
            cuts_left,
        );
        let start = inner + usize::from(cuts_left);
        let (tokens, end) = action(source, start, here)?;
        trim = tokens.1;
        if let Some(tokens) = tokens.0 {
            found.push(Piece::Action(tokens, here));
        }
        rest = end;
    }
    text(
        &mut found,
        source.get(rest..).unwrap_or_default(),
        trim,
        false,
    );
    Ok(found)
}

fn text(found: &mut Vec<Piece>, mut text: &str, left: bool, right: bool) {
    if left {
        text = text.trim_start();
    }
    if right {
        text = text.trim_end();
    }
    if !text.is_empty() {
        found.push(Piece::Text(text.to_owned()));
    }
}

/// The tokens of one action (none for a comment), whether it takes away the blanks behind it; and where it ends.
type Cut = (Option<Vec<(At, Token)>>, bool);

fn action(source: &str, start: usize, here: At) -> Result<(Cut, usize), Fault> {
    let unclosed = || Fault::at(here, "unclosed action");
    let rest = source.get(start..).unwrap_or_default();
    if let Some(comment) = rest.trim_start().strip_prefix("/*") {
        let skipped = rest.len() - comment.len();
        let close = comment
            .find("*/")
            .ok_or_else(|| Fault::at(here, "unclosed comment"))?;
        let tail = comment.get(close + 2..).unwrap_or_default();
        let blank = tail.len() - tail.trim_start().len();
        let at = start + skipped + close + 2 + blank;
        let tail = tail.trim_start();
        return match (tail.strip_prefix("-}}"), tail.strip_prefix("}}")) {
            (Some(_), _) => Ok(((None, true), at + 3)),
            (None, Some(_)) => Ok(((None, false), at + 2)),
            _ => Err(Fault::at(here, "comment ends before closing delimiter")),
        };
    }
    let mut tokens = Vec::new();
    let mut at = start;
    loop {
        let rest = source.get(at..).unwrap_or_default();
        if rest.starts_with("}}") {
            return Ok(((Some(tokens), false), at + 2));
        }
        let Some(first) = rest.chars().next() else {
            return Err(unclosed());
        };
        let place = At::of(source, at);
        if first.is_whitespace() {
            let length = rest.len() - rest.trim_start().len();
            if rest.trim_start().starts_with("-}}") {
                return Ok(((Some(tokens), true), at + length + 3));
            }
            tokens.push((place, Token::Blank));
            at += length;
            continue;
        }
        let (token, length) = token(rest, place)?;
        tokens.push((place, token));
        at += length;
    }
}

fn token(rest: &str, place: At) -> Result<(Token, usize), Fault> {
    let word = |text: &str| -> usize {
        text.find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(text.len())
    };
    let taken = |text: &str| text.get(..word(text)).unwrap_or_default().to_owned();
    if let Some(mark) = MARKS.into_iter().find(|mark| rest.starts_with(mark)) {
        return Ok((Token::Mark(mark), mark.len()));
    }
    let mut chars = rest.chars();
    let first = chars.next().unwrap_or_default();
    let second = chars.next().unwrap_or_default();
    match first {
        '"' | '`' | '\'' => quoted(rest, first, place),
        '.' if !second.is_ascii_digit() => {
            let name = taken(chars_after(rest));
            let length = 1 + name.len();
            Ok((Token::Field(name), length))
        }
        '$' => {
            let name = taken(chars_after(rest));
            let length = 1 + name.len();
            Ok((Token::Variable(name), length))
        }
        '0'..='9' | '.' | '+' | '-' => number(rest, place),
        c if c.is_alphabetic() || c == '_' => {
            let name = taken(rest);
            let length = name.len();
            Ok((Token::Word(name), length))
        }
        c => Err(Fault::at(place, format!("unexpected {c:?} in command"))),
    }
}

fn chars_after(text: &str) -> &str {
    text.get(1..).unwrap_or_default()
}

fn number(rest: &str, place: At) -> Result<(Token, usize), Fault> {
    let length = rest
        .char_indices()
        .find(|(at, c)| {
            !(c.is_ascii_alphanumeric()
                || matches!(c, '.' | '_')
                || (*at == 0 && matches!(c, '+' | '-')))
        })
        .map_or(rest.len(), |(at, _)| at);
    let text = rest.get(..length).unwrap_or_default();
    let parsed = text.parse::<i64>().map(serde_json::Number::from).ok();
    let parsed = parsed.or_else(|| {
        text.parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
    });
    parsed
        .map(|number| (Token::Number(number), length))
        .ok_or_else(|| Fault::at(place, format!("bad number syntax: {text:?}")))
}

fn quoted(rest: &str, quote: char, place: At) -> Result<(Token, usize), Fault> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    let unclosed = || Fault::at(place, "unterminated quoted string");
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Text(text), at + c.len_utf8())),
            '\\' if quote != '`' => {
                let (_, escaped) = chars.next().ok_or_else(unclosed)?;
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
            }
            '\n' if quote != '`' => return Err(unclosed()),
            c => text.push(c),
        }
    }
    Err(unclosed())
}
