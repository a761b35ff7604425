//! What a YAML scalar means.
//!
//! In: its text, style and tag. Out: a [`Value`]. It never fails: what fits no other type is text.
//! Imports: `tree`. Rules: the resolver of Go's `yaml.v3`, which Compose reads with: `0440` and `0o440` are
//! octal, `1_000` is an integer, `yes` and `22:22` are text, an unquoted date is a timestamp.

use granit_parser::ScalarStyle;

use super::tree::Value;

/// Prefix of YAML's own tags.
const CORE: &str = "tag:yaml.org,2002:";

/// Resolves a scalar.
pub(super) fn resolve(text: &str, style: ScalarStyle, tag: Option<&str>) -> Value {
    match tag.and_then(|tag| tag.strip_prefix(CORE)) {
        Some("str" | "binary") => return Value::Text(text.to_owned()),
        Some("null") => return Value::Null,
        Some("float") => {
            if let Value::Int(value) = plain(text) {
                return Value::Float(value as f64);
            }
            return plain(text);
        }
        Some(_) => return plain(text),
        None => {}
    }
    match style {
        ScalarStyle::Plain => plain(text),
        _ => Value::Text(text.to_owned()),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !number {
        return Value::Text(text.to_owned());
    }
    if is_timestamp(text) {
        return Value::Time(text.to_owned());
    }
    let digits = text.replace('_', "");
    if let Some(value) = integer(&digits) {
        return Value::Int(value);
    }
    if is_float(&digits)
        && let Ok(value) = digits.parse()
    {
        return Value::Float(value);
    }
    Value::Text(text.to_owned())
}

/// An integer with Go's prefixes `0x`, `0b`, `0o`, `0`, if it fits 64 bits.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if body.is_empty() || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = sign * i128::from_str_radix(body, base).ok()?;
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&value)
        .then_some(value)
}

fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let good = match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && mantissa.len() > 1,
        None => !mantissa.is_empty() && digits(mantissa),
    };
    good && exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    })
}

/// `2001-1-2`, alone or with a time after `T`, `t` or a space.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let number = |part: &str, most: usize| {
        !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit())
    };
    let parts: Vec<&str> = date.split('-').collect();
    let dated = matches!(parts.as_slice(), [year, month, day]
        if year.len() == 4 && number(year, 4) && number(month, 2) && number(day, 2));
    let in_range = || {
        let at = |n: usize| parts[n].parse::<u32>().unwrap_or(0);
        (1..=12).contains(&at(1)) && (1..=31).contains(&at(2))
    };
    let timed = time.is_none_or(|time| {
        let mut fields = time.splitn(3, ':');
        let seconds = |s: &str| s.get(..1).is_some_and(|c| number(c, 1));
        fields.next().is_some_and(|hour| number(hour, 2))
            && fields.next().is_some_and(|minute| number(minute, 2))
            && fields.next().is_some_and(seconds)
    });
    dated && in_range() && timed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match resolve(text, ScalarStyle::Plain, None) {
            Value::Null => "null".into(),
            Value::Bool(value) => format!("bool {value}"),
            Value::Int(value) => format!("int {value}"),
            Value::Float(value) => format!("float {value}"),
            Value::Time(_) => "time".into(),
            _ => "text".into(),
        }
    }

    #[test]
    fn plain_scalars_mean_what_compose_reads() {
        for (text, want) in [
            ("0440", "int 288"),
            ("0o17", "int 15"),
            ("0x1F", "int 31"),
            ("1_000", "int 1000"),
            ("-5", "int -5"),
            ("08", "float 8"),
            ("12345678901234567890", "int 12345678901234567890"),
            ("123456789012345678901", "float 123456789012345680000"),
            ("1e3", "float 1000"),
            (".5", "float 0.5"),
            ("22:22", "text"),
            ("yes", "text"),
            ("on", "text"),
            ("1.2.3", "text"),
            ("-", "text"),
            (".", "text"),
            ("2020-01-02", "time"),
            ("2020-01-02T03:04:05Z", "time"),
            ("2020-13-02", "text"),
            ("1-2", "text"),
            ("True", "bool true"),
            ("~", "null"),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
    }

    #[test]
    fn quotes_and_the_str_tag_make_text() {
        assert!(matches!(
            resolve("1", ScalarStyle::DoubleQuoted, None),
            Value::Text(_)
        ));
        let tag = Some("tag:yaml.org,2002:str");
        assert!(matches!(
            resolve("1", ScalarStyle::Plain, tag),
            Value::Text(_)
        ));
    }
}
