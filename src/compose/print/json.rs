//! A document as JSON, in the style of Go's encoder, which docker compose writes with.
//!
//! In: JSON values. Out: JSON without a newline at its end.
//! It decides on no key: `form` does. Imports: `form`.
//! Rules: as Go's `encoding/json`: `<`, `>` and `&` are written as escapes; a list of an extension that is empty is
//! written as `null`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::form::{Entry, Form};

/// Writes a document, `step` blanks a level.
pub(super) fn document(document: &Map<String, Value>, form: &'static Form, step: usize) -> String {
    let mut writer = Writer {
        out: String::new(),
        step: Some(step),
    };
    writer.entries(form.top_in_json(document), 0);
    writer.out
}

/// Writes an object on one line, without blanks.
pub(super) fn compact(object: &Map<String, Value>, form: &'static Form) -> String {
    let mut writer = Writer {
        out: String::new(),
        step: None,
    };
    writer.entries(form.in_json(object), 0);
    writer.out
}

struct Writer {
    out: String,
    /// Blanks a level; `None` writes all on one line.
    step: Option<usize>,
}

impl Writer {
    fn line(&mut self, depth: usize) {
        if let Some(step) = self.step {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', step * depth));
        }
    }

    fn entries(&mut self, entries: Vec<Entry<'_>>, depth: usize) {
        if entries.is_empty() {
            self.out.push_str("{}");
            return;
        }
        for (at, (key, value, form)) in entries.into_iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            self.line(depth + 1);
            text(&mut self.out, key);
            self.out.push(':');
            if self.step.is_some() {
                self.out.push(' ');
            }
            self.value(value, form, depth + 1);
        }
        self.line(depth);
        self.out.push('}');
    }

    fn value(&mut self, value: &Value, form: &'static Form, depth: usize) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(on) => self.out.push_str(if *on { "true" } else { "false" }),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(value) => self.out.push_str(&float(value)),
                None => {
                    let _ = write!(self.out, "{number}");
                }
            },
            Value::String(value) => text(&mut self.out, value),
            Value::Array(items) if items.is_empty() => self.out.push_str(match form {
                Form::Free => "null",
                _ => "[]",
            }),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.out.push(if at == 0 { '[' } else { ',' });
                    self.line(depth + 1);
                    self.value(item, form.item(), depth + 1);
                }
                self.line(depth);
                self.out.push(']');
            }
            Value::Object(object) => self.entries(form.in_json(object), depth),
        }
    }
}

fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\x08' => write!(out, "\\b"),
            '\x0c' => write!(out, "\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                write!(out, "\\u{:04x}", u32::from(c))
            }
            c => {
                out.push(c);
                Ok(())
            }
        };
    }
    out.push('"');
}

/// A number: with an exponent only where it is very large or very small.
fn float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some(_) => text,
        None => text.replace('e', "e+"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(value: &Value) -> String {
        let mut writer = Writer {
            out: String::new(),
            step: Some(2),
        };
        writer.value(value, &super::super::form::FREE, 0);
        writer.out
    }

    #[test]
    fn text_and_numbers_look_as_go_writes_them() {
        for (value, want) in [
            (
                json!("<a>&\u{2028}\u{1}\u{8}\u{7f}é"),
                "\"\\u003ca\\u003e\\u0026\\u2028\\u0001\\b\u{7f}é\"",
            ),
            (json!("a\"b\\c\n"), r#""a\"b\\c\n""#),
            (json!(1e20), "100000000000000000000"),
            (json!(1e21), "1e+21"),
            (json!(1.5e-9), "1.5e-9"),
            (json!(0.000001), "0.000001"),
            (json!(2.0), "2"),
            (json!(18446744073709551615u64), "18446744073709551615"),
            (json!([]), "null"),
            (json!({}), "{}"),
            (
                json!([1, {"b": 1, "a": [null]}]),
                "[\n  1,\n  {\n    \"a\": [\n      null\n    ],\n    \"b\": 1\n  }\n]",
            ),
        ] {
            assert_eq!(written(&value), want);
        }
    }

    #[test]
    fn an_empty_list_of_a_known_key_stays_a_list() {
        let value = json!({"services": {"a": {"command": [], "x-a": []}}, "x-a": []});
        let text = document(
            value.as_object().expect("an object"),
            &super::super::form::PROJECT,
            2,
        );
        assert!(
            text.contains("\"command\": []") && text.contains("\"x-a\": null"),
            "{text}"
        );
    }
}
