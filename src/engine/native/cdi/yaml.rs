//! YAML as JSON values, as far as device specifications use it: one document, plain data.
//!
//! In: a text. Out: a value, or what is wrong with it and in which line. Anchors are not needed by any of them and
//! refused, so that a file is never bigger than it looks. Imports: nothing of ours.
//! Rules: YAML 1.2.2, core schema; as the reference (`sigs.k8s.io/yaml`) it takes JSON too and refuses double keys.

use granit_parser::{Event, Options, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Depth of nesting that is accepted; real files have 6.
const DEPTH: usize = 32;

/// What is open: a list, or a mapping with the key whose value comes next.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// Reads one document.
///
/// # Errors
/// Why it can't be read, with the line.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut options = Options::default();
    options.emit_comments = false;
    options.flow_nesting_limit = DEPTH;
    options.block_nesting_limit = DEPTH;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let (mut open, mut root): (Vec<Open>, Option<Value>) = (Vec::new(), None);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let wrong = |what: &str| format!("line {}: {what}", span.start.line());
        let done = match event {
            Event::Scalar(text, style, 0, None) => Some(scalar(&text, style)),
            Event::SequenceStart(_, 0, None) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(_, 0, None) => {
                open.push(Open::Map(Map::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|closed| match closed {
                Open::List(items) => Value::Array(items),
                Open::Map(entries, _) => Value::Object(entries),
            }),
            Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..) => {
                return Err(wrong("anchors, aliases and tags are not accepted here"));
            }
            Event::DocumentStart(..) if root.is_some() => {
                return Err(wrong("a second document is not accepted here"));
            }
            _ => None,
        };
        if let Some(value) = done {
            put(&mut open, &mut root, value).map_err(|what| wrong(&what))?;
        }
    }
    root.ok_or_else(|| "the file is empty".to_owned())
}

/// Puts a finished value where it belongs.
fn put(open: &mut [Open], root: &mut Option<Value>, value: Value) -> Result<(), String> {
    match open.last_mut() {
        None => *root = Some(value),
        Some(Open::List(items)) => items.push(value),
        Some(Open::Map(entries, key)) => match (key.take(), value) {
            (Some(key), value) => {
                if entries.contains_key(&key) {
                    return Err(format!("the key `{key}` is there twice"));
                }
                entries.insert(key, value);
            }
            (None, Value::String(text)) => *key = Some(text),
            (None, Value::Array(_) | Value::Object(_)) => {
                return Err("a key must be a word".to_owned());
            }
            (None, other) => *key = Some(other.to_string()),
        },
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => integer(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// Decimal, `0x`, and octal as `0o666` or, as older YAML and file modes have it, `0666`.
fn integer(text: &str) -> Option<Number> {
    let (minus, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x', ..] => (digits.get(2..)?, 16),
        [b'0', b'o', ..] => (digits.get(2..)?, 8),
        [b'0', _, ..] => (digits.get(1..)?, 8),
        _ => (digits, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(Number::from(if minus { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn block_flow_and_json_are_read_alike() {
        let want = json!({"a": {"b": [1, "x", true, null, 438]}, "c": "007"});
        for text in [
            "---\na:\n  b:\n  - 1\n  - x\n  - true\n  -\n  - 0666\nc: '007'\n",
            "a: {b: [1, x, true, ~, 0o666]}\nc: \"007\"",
            r#"{"a": {"b": [1, "x", true, null, 438]}, "c": "007"}"#,
        ] {
            assert_eq!(read(text).unwrap(), want, "{text}");
        }
        assert_eq!(
            read("a: -3\nb: 0x10\nc: 1.5\nd: 0xzz").unwrap(),
            json!({"a": -3, "b": 16, "c": "1.5", "d": "0xzz"})
        );
    }

    #[test]
    fn what_is_no_plain_data_is_refused_with_its_line() {
        for (text, told) in [
            ("", "the file is empty"),
            ("a: 1\na: 2", "line 2: the key `a` is there twice"),
            ("a: &x 1\nb: *x", "line 1: anchors, aliases and tags"),
            ("a: !!str 1", "line 1: anchors, aliases and tags"),
            ("a: 1\n---\nb: 2", "a second document"),
            ("[a", "unclosed bracket"),
            ("? [a]\n: 1", "a key must be a word"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.contains(told), "{text:?}: {fault}");
        }
        assert!(read(&"[".repeat(1000)).is_err());
    }
}
