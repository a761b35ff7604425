//! A document as YAML, in the style of Go's `yaml.v3`, which docker compose writes with.
//!
//! In: JSON values. Out: YAML in block style, that reads back as the same values.
//! It decides on no key: `form` does. Imports: `form`, `scalar` (what a plain text would mean).
//! Rules: YAML 1.2; where there is a choice as Go's `yaml.v3` makes it: text is plain where it may be, else in single
//! quotes, in double quotes where it would mean another type or holds what can't be shown, with lines as a block.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::form::Form;
use crate::compose::scalar;
use crate::compose::tree;

/// Keys of more bytes than this are written behind a `?`.
const SIMPLE_KEY: usize = 128;

/// Writes a document, `step` blanks a level.
pub(super) fn document(document: &Map<String, Value>, form: &'static Form, step: usize) -> String {
    let mut writer = Writer {
        out: String::new(),
        step,
    };
    if document.is_empty() {
        return "{}\n".to_owned();
    }
    writer.entries(document, form, 0, false);
    writer.out
}

struct Writer {
    out: String,
    /// Blanks a level.
    step: usize,
}

impl Writer {
    fn pad(&mut self, width: usize) {
        self.out.extend(std::iter::repeat_n(' ', width));
    }

    /// Writes a mapping's entries at `indent`; with `inline` the first one stays on the line that has begun.
    fn entries(
        &mut self,
        object: &Map<String, Value>,
        form: &'static Form,
        indent: usize,
        inline: bool,
    ) {
        let entries = form.in_yaml(object);
        if entries.is_empty() {
            // Nothing is left of it: the line that has begun ends with an empty mapping.
            self.out.truncate(self.out.trim_end_matches('\n').len());
            self.out.push_str(" {}\n");
            return;
        }
        for (at, (key, value, form)) in entries.into_iter().enumerate() {
            match at == 0 && inline {
                true => self.out.push(' '),
                false => self.pad(indent),
            }
            let shape = Shape::of(key);
            if key.len() <= SIMPLE_KEY && !shape.lines {
                self.text(key, &shape, indent, true);
                self.out.push(':');
                self.value(value, form, indent, false);
            } else {
                self.out.push_str("? ");
                self.text(key, &shape, indent, false);
                self.end_line();
                self.pad(indent);
                self.out.push(':');
                self.value(value, form, indent, true);
            }
        }
    }

    /// Writes a value behind the `:`, `-` or `?` of an entry at `indent`.
    fn value(&mut self, value: &Value, form: &'static Form, indent: usize, inline: bool) {
        match value {
            Value::Object(object) if !object.is_empty() => {
                if !inline {
                    self.out.push('\n');
                }
                self.entries(object, form, indent + self.step, inline);
            }
            Value::Array(items) if !items.is_empty() => {
                if !inline {
                    self.out.push('\n');
                }
                for (at, item) in items.iter().enumerate() {
                    match at == 0 && inline {
                        true => self.out.push(' '),
                        false => self.pad(indent + self.step),
                    }
                    self.out.push('-');
                    self.value(item, form.item(), indent + self.step, true);
                }
            }
            _ => {
                self.out.push(' ');
                self.scalar(value, indent);
                self.end_line();
            }
        }
    }

    /// Ends a line, unless a block has.
    fn end_line(&mut self) {
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(on) => self.out.push_str(if *on { "true" } else { "false" }),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(number) => self.out.push_str(&float(number)),
                None => {
                    let _ = write!(self.out, "{number}");
                }
            },
            Value::String(text) => self.text(text, &Shape::of(text), indent, false),
            Value::Array(_) => self.out.push_str("[]"),
            Value::Object(_) => self.out.push_str("{}"),
        }
    }

    /// Writes a text of an entry at `indent` in the plainest style it may have.
    fn text(&mut self, text: &str, shape: &Shape, indent: usize, key: bool) {
        if text.contains('\n') {
            match shape.block && !key {
                true => self.block(text, indent + self.step),
                false => self.double(text),
            }
        } else if means_another_type(text) {
            self.double(text);
        } else if shape.plain {
            self.out.push_str(text);
        } else if shape.single {
            self.single(text, indent + self.step);
        } else {
            self.double(text);
        }
    }

    fn single(&mut self, text: &str, indent: usize) {
        self.out.push('\'');
        let mut broken = false;
        for c in text.chars() {
            if broken && !is_break(c) {
                self.pad(indent);
            }
            broken = is_break(c);
            if c == '\'' {
                self.out.push('\'');
            }
            self.out.push(c);
        }
        self.out.push('\'');
    }

    fn double(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            if is_printable(c) && !is_break(c) && c != '"' && c != '\\' {
                self.out.push(c);
                continue;
            }
            let short = match c {
                '\0' => "\\0",
                '\x07' => "\\a",
                '\x08' => "\\b",
                '\t' => "\\t",
                '\n' => "\\n",
                '\x0b' => "\\v",
                '\x0c' => "\\f",
                '\r' => "\\r",
                '\x1b' => "\\e",
                '"' => "\\\"",
                '\\' => "\\\\",
                '\u{85}' => "\\N",
                '\u{2028}' => "\\L",
                '\u{2029}' => "\\P",
                _ => "",
            };
            let code = u32::from(c);
            let _ = match (short, code) {
                ("", 0..=0xff) => write!(self.out, "\\x{code:02X}"),
                ("", 0x100..=0xffff) => write!(self.out, "\\u{code:04X}"),
                ("", _) => write!(self.out, "\\U{code:08X}"),
                _ => {
                    self.out.push_str(short);
                    Ok(())
                }
            };
        }
        self.out.push('"');
    }

    /// Writes a literal block with its header.
    fn block(&mut self, text: &str, indent: usize) {
        self.out.push('|');
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            let _ = write!(self.out, "{}", self.step);
        }
        let mut last = text.chars().rev();
        match (last.next().map(is_break), last.next().map(is_break)) {
            (Some(true), None | Some(true)) => self.out.push('+'),
            (Some(true), Some(false)) => {}
            _ => self.out.push('-'),
        }
        self.out.push('\n');
        let mut begun = true;
        for c in text.chars() {
            if begun && !is_break(c) {
                self.pad(indent);
            }
            begun = is_break(c);
            self.out.push(c);
        }
    }
}

/// What the characters of a text allow.
#[derive(Debug, Default)]
struct Shape {
    /// Without quotes.
    plain: bool,
    /// In single quotes.
    single: bool,
    /// As a block.
    block: bool,
    /// It has more than one line.
    lines: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let (mut indicator, mut special, mut tab) = (false, false, false);
        let (mut lines, mut space_break, mut break_space) = (false, false, false);
        let mut before = ' ';
        let mut chars = text.chars().peekable();
        let mut first = true;
        if text.starts_with("---") || text.starts_with("...") {
            indicator = true;
        }
        while let Some(c) = chars.next() {
            let blank_follows = chars.peek().is_none_or(|next| is_blank(*next));
            indicator |= match c {
                '#' => first || is_blank(before),
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
                | '@' | '`' => first,
                '?' | '-' => first && blank_follows,
                ':' => blank_follows,
                _ => false,
            };
            match c {
                '\t' => tab = true,
                // Line breaks of YAML 1.1 are none to readers of YAML 1.2: only an escape means the same to both.
                _ => special |= !is_printable(c) || (is_break(c) && c != '\n'),
            }
            if c == ' ' {
                break_space |= !first && is_break(before);
            } else if is_break(c) {
                lines = true;
                space_break |= !first && before == ' ';
            }
            before = c;
            first = false;
        }
        let edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
        let edges = edge(text.chars().next()) || edge(text.chars().next_back());
        let strange = space_break || tab || special;
        Self {
            plain: !(indicator || lines || edges || break_space || strange),
            single: !(break_space || strange),
            block: !(space_break || special || text.is_empty() || text.ends_with(' ')),
            lines,
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t') || is_break(c)
}

/// Whether a character stands for itself; characters beyond the first plane are escaped.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

/// Whether a plain text would be read as another type, by this program or by readers of YAML 1.1.
fn means_another_type(text: &str) -> bool {
    let first = text.bytes().next();
    match first {
        None => return true,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'~') => {}
        // Only these begin a word that is none.
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O')
            if text.len() <= 5 => {}
        Some(_) => return false,
    }
    let read = scalar::plain(text);
    !matches!(read, tree::Value::Text(_)) || is_old_bool(text) || is_sexagesimal(text)
}

/// A boolean of YAML 1.1.
fn is_old_bool(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "off"
            | "Off"
            | "OFF"
    )
}

/// A number to the base of sixty of YAML 1.1: `22:22`, `1:30:00.5`.
fn is_sexagesimal(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (text, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    let digit = |b: u8| b.is_ascii_digit() || b == b'_';
    let mut parts = text.split(':');
    let head = parts.next().unwrap_or_default();
    let sixty = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    text.contains(':')
        && head.starts_with(|c: char| c.is_ascii_digit())
        && head.bytes().all(digit)
        && parts.all(sixty)
        && fraction.bytes().all(digit)
}

/// A number in the shortest form: `0.5`, `1e+06`, `.inf`.
fn float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let size: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&size) {
        return format!("{value}");
    }
    let sign = if size < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", size.abs())
}

#[cfg(test)]
mod tests {
    use super::super::form::FREE;
    use super::*;
    use crate::base::diag::Diagnostics;
    use crate::base::span::SourceId;
    use serde_json::json;

    fn yaml(value: &Value) -> String {
        document(value.as_object().expect("an object"), &FREE, 2)
    }

    #[test]
    fn text_is_in_the_plainest_style_that_keeps_its_meaning() {
        for (text, want) in [
            ("a b", "a b"),
            ("", r#""""#),
            ("yes", r#""yes""#),
            ("nO", "nO"),
            ("0o7", r#""0o7""#),
            ("22:22", r#""22:22""#),
            ("1.2:3", "1.2:3"),
            ("-", "'-'"),
            ("--", "--"),
            ("---", "'---'"),
            ("a:", "'a:'"),
            (":a", ":a"),
            ("a #b", "'a #b'"),
            ("it's", "it's"),
            ("'a'", "'''a'''"),
            (" a", "' a'"),
            ("a\tb", r#""a\tb""#),
            ("\u{1f600}", r#""\U0001F600""#),
            ("\u{1b}", r#""\e""#),
            ("é", "é"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\n\n", "|+\n  a\n"),
            (" a\n", "|2\n   a"),
            ("\n", "|2+\n"),
            ("a \nb", r#""a \nb""#),
            ("a\r\nb", r#""a\r\nb""#),
        ] {
            assert_eq!(
                yaml(&json!({ "k": text })),
                format!("k: {want}\n"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn keys_that_are_long_or_have_lines_stand_behind_a_question_mark() {
        let long = "k".repeat(129);
        let value = json!({ &long: {"a": [1]}, "l\nm": 1 });
        let want = format!("? {long}\n: a:\n    - 1\n? |-\n  l\n  m\n: 1\n");
        assert_eq!(yaml(&value), want);
    }

    #[test]
    fn floats_are_in_their_shortest_form() {
        for (value, want) in [
            (1e6, "1e+06"),
            (100_000.0, "100000"),
            (0.000_01, "1e-05"),
            (1.5, "1.5"),
        ] {
            assert_eq!(yaml(&json!({ "k": value })), format!("k: {want}\n"));
        }
    }

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        let value = json!({
            "name": "x",
            "a": {
                "list": [{"k": 1, "l": ["x: y", "0440", "yes", ""]}, {}, [], [[1, 2], ["a\nb"]]],
                "text": "a\nb\n",
                "n": null,
            },
            "b": {
                "deep": [[1, 2], "t\n u"], "s": "# no", "t": "22:22", "d2": "1m30s", "ip": "1.2.3.4",
                "p": "./a b", "d": "$X",
            },
            "~": "\u{85}", "old": "a \u{2028} b\n c\u{85}d\n", "older": "it's \u{2029} x",
            "l\nm": {"a": "b\n"},
        });
        let text = yaml(&value);
        let mut diags = Diagnostics::default();
        let raw = crate::compose::read::read(SourceId(0), &text, &mut diags);
        assert!(diags.is_empty(), "{text}\n{diags:?}");
        let read = raw.documents[0].to_json().to_string();
        let read: Value = serde_json::from_str(&read).expect("JSON");
        assert_eq!(read, value, "{text}");
    }
}
