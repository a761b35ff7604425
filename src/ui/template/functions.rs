//! What templates can call, and how values are printed.
//!
//! Imports: `template`. Rules: Go's `text/template`, `funcs.go`, and `fmt`; docker's `cli/templates/templates.go`.

use std::cmp::Ordering;

use serde_json::Value;

use super::Filling;
use super::eval::sorted;

/// Widest field of `printf` and `pad`, so that no template makes gigabytes of blanks.
const WIDEST: usize = 4096;

const KNOWN: [&str; 25] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "json", "le", "len", "lower", "lt", "ne",
    "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate",
    "upper", "urlquery",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Whether a value counts as true: neither nothing nor empty nor zero.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go's `fmt` prints it with `%v`.
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(printed).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let entries = sorted(map).map(|(key, value)| format!("{key}:{}", printed(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// A value as Go's `encoding/json` writes it: what HTML means something by is escaped.
pub fn go_json(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text
}

/// As [`go_json`], with the keys of objects in order, as Go writes maps.
fn json_of(value: &Value) -> String {
    fn in_order(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(in_order).collect(),
            Value::Object(map) => sorted(map)
                .map(|(key, value)| (key.clone(), in_order(value)))
                .collect(),
            other => other.clone(),
        }
    }
    go_json(&in_order(value))
}

fn text_of(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| {
        format!(
            "wrong type for value; expected string; got {}",
            printed(value)
        )
    })
}

fn count_of(value: &Value) -> Result<usize, String> {
    let number = value
        .as_i64()
        .ok_or_else(|| format!("wrong type for value; expected int; got {}", printed(value)))?;
    usize::try_from(number).map_err(|_| format!("index out of range: {number}"))
}

/// Calls a function.
pub(super) fn call(name: &str, given: Vec<Value>, filling: Filling) -> Result<Value, String> {
    let want = |count: usize| match given.len() == count {
        true => Ok(()),
        false => Err(format!(
            "wrong number of args for {name}: want {count} got {}",
            given.len()
        )),
    };
    let heading = filling == Filling::Headings;
    let one = given.first().unwrap_or(&Value::Null);
    let failed = |why: String| format!("error calling {name}: {why}");
    Ok(match name {
        "and" | "or" => given.last().cloned().unwrap_or_default(),
        "not" => Value::Bool(!truth(one)),
        "json" | "title" | "lower" | "upper" | "truncate" if heading => one.clone(),
        "json" => {
            want(1)?;
            Value::from(json_of(one))
        }
        "print" => Value::from(print(&given)),
        "println" => {
            let words: Vec<String> = given.iter().map(printed).collect();
            Value::from(words.join(" ") + "\n")
        }
        "printf" => {
            let (form, values) = given
                .split_first()
                .ok_or("wrong number of args for printf: want at least 1 got 0")?;
            Value::from(printf(text_of(form)?, values))
        }
        "html" => Value::from(html(&print(&given))),
        "urlquery" => Value::from(url::form_urlencoded(&print(&given))),
        "len" => {
            want(1)?;
            Value::from(length(one).map_err(failed)?)
        }
        "index" => index(&given).map_err(failed)?,
        "slice" => slice(&given).map_err(failed)?,
        "split" => {
            want(2)?;
            let by = text_of(given.get(1).unwrap_or(&Value::Null))?;
            match by {
                "" => text_of(one)?.chars().map(String::from).collect(),
                by => text_of(one)?.split(by).collect(),
            }
        }
        "join" => {
            want(2)?;
            let by = text_of(given.get(1).unwrap_or(&Value::Null))?;
            match one {
                Value::Array(items) => {
                    let items: Vec<String> = items.iter().map(printed).collect();
                    Value::from(items.join(by))
                }
                Value::Null => Value::from(""),
                other if heading => other.clone(),
                other => {
                    return Err(format!(
                        "wrong type for value; expected []string; got {}",
                        printed(other)
                    ));
                }
            }
        }
        "title" => Value::from(title(text_of(one)?)),
        "lower" => Value::from(text_of(one)?.to_lowercase()),
        "upper" => Value::from(text_of(one)?.to_uppercase()),
        "truncate" => {
            want(2)?;
            let most = count_of(given.get(1).unwrap_or(&Value::Null))?;
            Value::from(text_of(one)?.chars().take(most).collect::<String>())
        }
        "pad" => {
            want(3)?;
            let blanks = |at: usize| -> Result<String, String> {
                Ok(" ".repeat(count_of(given.get(at).unwrap_or(&Value::Null))?.min(WIDEST)))
            };
            match text_of(one)? {
                "" => Value::from(""),
                text => Value::from(blanks(1)? + text + &blanks(2)?),
            }
        }
        _ => Value::Bool(compare(name, &given).map_err(failed)?),
    })
}

mod url {
    /// As Go's `url.QueryEscape`.
    pub(super) fn form_urlencoded(text: &str) -> String {
        let mut out = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(char::from(byte));
                }
                b' ' => out.push('+'),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// As `fmt.Sprint`: a blank between two values of which neither is a text.
fn print(given: &[Value]) -> String {
    let mut text = String::new();
    let mut bare = false;
    for (at, value) in given.iter().enumerate() {
        let now = !value.is_string();
        if at > 0 && bare && now {
            text.push(' ');
        }
        text.push_str(&printed(value));
        bare = now;
    }
    text
}

/// The first letter of each word as a capital.
fn title(text: &str) -> String {
    let mut begins = true;
    let mut out = String::new();
    for c in text.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.push(c),
        }
        begins = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
    }
    out
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        other => Err(format!("len of type {}", printed(other))),
    }
}

fn index(given: &[Value]) -> Result<Value, String> {
    let (first, keys) = given.split_first().ok_or("index of nothing")?;
    let mut value = first.clone();
    for key in keys {
        value = match &value {
            Value::Object(map) => map.get(text_of(key)?).cloned().unwrap_or(Value::from("")),
            Value::Array(items) => {
                let at = count_of(key)?;
                let item = items.get(at).cloned();
                item.ok_or_else(|| format!("reflect: slice index out of range: {at}"))?
            }
            Value::String(text) => {
                let at = count_of(key)?;
                let byte = text.as_bytes().get(at);
                Value::from(*byte.ok_or_else(|| format!("index out of range: {at}"))?)
            }
            Value::Null => return Err("index of untyped nil".to_owned()),
            other => return Err(format!("can't index item of type {}", printed(other))),
        };
    }
    Ok(value)
}

fn slice(given: &[Value]) -> Result<Value, String> {
    let (first, ends) = given.split_first().ok_or("slice of nothing")?;
    let whole = length(first)?;
    let from = ends.first().map_or(Ok(0), count_of)?;
    let to = ends.get(1).map_or(Ok(whole), count_of)?;
    let out = || format!("index out of range: {}", if to > whole { to } else { from });
    if from > to || to > whole {
        return Err(out());
    }
    match first {
        Value::String(text) => text.get(from..to).map(Value::from).ok_or_else(out),
        Value::Array(items) => Ok(items
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .cloned()
            .collect()),
        other => Err(format!("can't slice item of type {}", printed(other))),
    }
}

fn compare(name: &str, given: &[Value]) -> Result<bool, String> {
    let (first, rest) = given
        .split_first()
        .ok_or("missing argument for comparison")?;
    if rest.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    let order = |one: &Value, other: &Value| -> Result<Ordering, String> {
        let wrong = || "incompatible types for comparison".to_owned();
        match (one, other) {
            (Value::String(one), Value::String(other)) => Ok(one.cmp(other)),
            (Value::Number(one), Value::Number(other)) => one
                .as_f64()
                .zip(other.as_f64())
                .and_then(|(one, other)| one.partial_cmp(&other))
                .ok_or_else(wrong),
            (Value::Bool(one), Value::Bool(other)) => Ok(one.cmp(other)),
            (one, other) if one == other => Ok(Ordering::Equal),
            (Value::Null, _) | (_, Value::Null) => Ok(Ordering::Less),
            _ => Err(wrong()),
        }
    };
    if name == "eq" {
        for other in rest {
            if order(first, other)? == Ordering::Equal {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let found = order(first, rest.first().unwrap_or(&Value::Null))?;
    Ok(match name {
        "ne" => found != Ordering::Equal,
        "lt" => found == Ordering::Less,
        "le" => found != Ordering::Greater,
        "gt" => found == Ordering::Greater,
        _ => found != Ordering::Less,
    })
}

/// As `fmt.Sprintf`, for the verbs that make sense for JSON.
fn printf(form: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = form.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | '#' | '0' | ' ')) {
            flags.push(flag);
        }
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(|c| c.is_ascii_digit() || *c == '.') {
            digits.push(digit);
        }
        let (width, precision) = digits.split_once('.').unwrap_or((&digits, ""));
        let width = width.parse().unwrap_or(0usize).min(WIDEST);
        let precision = digits
            .contains('.')
            .then(|| precision.parse().unwrap_or(0usize).min(WIDEST));
        let verb = match chars.next() {
            None => {
                out.push_str("%!(NOVERB)");
                break;
            }
            Some('%') => {
                out.push('%');
                continue;
            }
            Some(verb) => verb,
        };
        let Some(value) = values.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let text = formatted(verb, value, precision, &flags);
        let gap = " ".repeat(width.saturating_sub(text.chars().count()));
        match (
            flags.contains('-'),
            flags.contains('0') && value.is_number(),
        ) {
            (true, _) => out.push_str(&(text + &gap)),
            (false, true) => out.push_str(&(gap.replace(' ', "0") + &text)),
            (false, false) => out.push_str(&(gap + &text)),
        }
    }
    let left: Vec<String> = values.map(printed).collect();
    if !left.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", left.join(", ")));
    }
    out
}

fn formatted(verb: char, value: &Value, precision: Option<usize>, flags: &str) -> String {
    let cut = |text: String| match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    match (verb, value) {
        ('s', value) => cut(printed(value)),
        ('v' | 't', value) => printed(value),
        ('q', Value::String(text)) => format!("{text:?}"),
        ('q', Value::Array(items)) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| format!("{:?}", printed(item)))
                .collect();
            format!("[{}]", items.join(" "))
        }
        ('d', Value::Number(number))
            if flags.contains('+') && number.as_i64().is_some_and(|n| n >= 0) =>
        {
            format!("+{number}")
        }
        ('d', Value::Number(number)) => number.to_string(),
        ('x', Value::Number(number)) => format!("{:x}", number.as_i64().unwrap_or_default()),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('f', Value::Number(number)) => {
            format!(
                "{:.*}",
                precision.unwrap_or(6),
                number.as_f64().unwrap_or_default()
            )
        }
        (verb, value) => format!("%!{verb}({})", printed(value)),
    }
}
