//! What a YAML scalar means.
//!
//! In: its text, style and tag. Out: a [`Value`], or why the text does not fit its tag. What fits no other type is text.
//! Imports: `tree`. Rules: the resolver of Go's `yaml.v3`, which Compose reads with: `0440` and `0o440` are
//! octal, `1_000` is an integer, `yes` and `22:22` are text, an unquoted date is a timestamp, the value behind a
//! tag of one's own is text.

use granit_parser::ScalarStyle;

use super::tree::Value;

/// Prefix of YAML's own tags.
const CORE: &str = "tag:yaml.org,2002:";

/// Resolves a scalar.
///
/// # Errors
/// What the tag asks for and the text is not, in words.
pub(super) fn resolve(text: &str, style: ScalarStyle, tag: Option<&str>) -> Result<Value, String> {
    let Some(tag) = tag.filter(|tag| *tag != "!") else {
        return Ok(match style {
            ScalarStyle::Plain => plain(text),
            _ => Value::Text(text.to_owned()),
        });
    };
    let value = match tag.strip_prefix(CORE) {
        Some("binary") => return binary(text).map(Value::Text),
        Some("timestamp") if is_timestamp(text) => Value::Time(text.to_owned()),
        Some("null" | "bool" | "timestamp") => plain(text),
        Some("int" | "float") => match number(text) {
            Some(value) => value,
            None => plain(text),
        },
        _ => return Ok(Value::Text(text.to_owned())),
    };
    match (tag.strip_prefix(CORE), value) {
        (Some("float"), Value::Int(value)) => Ok(Value::Float(value as f64)),
        (Some("float"), value @ Value::Float(_))
        | (Some("int"), value @ Value::Int(_))
        | (Some("bool"), value @ Value::Bool(_))
        | (Some("null"), value @ Value::Null)
        | (Some("timestamp"), value @ Value::Time(_)) => Ok(value),
        (kind, _) => Err(format!("`{text}` is no !!{}", kind.unwrap_or_default())),
    }
}

/// Resolves a scalar without quotes and tag.
pub(super) fn plain(text: &str) -> Value {
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
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::Text(text.to_owned());
    }
    if is_timestamp(text) {
        return Value::Time(text.to_owned());
    }
    number(text).unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// A number, if the text is one; `_` may stand between its digits.
fn number(text: &str) -> Option<Value> {
    let digits = match text.starts_with('.') {
        true => text.to_owned(),
        false => text.replace('_', ""),
    };
    if let Some(value) = integer(&digits) {
        return Some(Value::Int(value));
    }
    let value: f64 = digits.parse().ok().filter(|_| is_float(&digits))?;
    value.is_finite().then_some(Value::Float(value))
}

/// An integer with Go's prefixes `0x`, `0b`, `0o`, `0`, if it fits 64 bits.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let unsigned = digits.len() == text.len();
    let lower = digits.to_ascii_lowercase();
    let (base, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // The resolver's second look at `0b` and `0o` takes a sign behind them.
    let signed = unsigned && (digits.starts_with("0b") || digits.starts_with("0o"));
    let bare = body.strip_prefix(['-', '+']).filter(|_| signed);
    let bare = bare.unwrap_or(body);
    if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = sign * i128::from_str_radix(body, base).ok()?;
    let most = match unsigned {
        true => i128::from(u64::MAX),
        false => i128::from(i64::MAX),
    };
    (i128::from(i64::MIN)..=most)
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

fn is_timestamp(text: &str) -> bool {
    timestamp(text).is_some()
}

/// A timestamp as RFC 3339 writes it: `2001-1-2` is `2001-01-02T00:00:00Z`.
///
/// `2001-1-2`, or with a time: behind `T` or `t` it needs a zone, behind a space it has none. `None` for other texts.
pub(super) fn timestamp(text: &str) -> Option<String> {
    if !text
        .as_bytes()
        .get(..5)?
        .iter()
        .enumerate()
        .all(|(at, b)| match at {
            4 => *b == b'-',
            _ => b.is_ascii_digit(),
        })
    {
        return None;
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((text.as_bytes()[at], &text[at + 1..]))),
        None => (text, None),
    };
    let (month, day) = date[5..].split_once('-')?;
    let year = date[..4].parse::<u32>().ok()?;
    let (month, day) = (short(month, 1, 12)?, short(day, 1, 31)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day > days {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some((mark, time)) = time else {
        return Some(format!("{date}T00:00:00Z"));
    };
    let (hour, rest) = time.split_once(':')?;
    let (minute, rest) = rest.split_once(':')?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (second, rest) = rest.split_at(digits(rest).min(2));
    let (hour, minute, second) = (
        short(hour, 0, 23)?,
        short(minute, 0, 59)?,
        short(second, 0, 59)?,
    );
    let (fraction, zone) = match rest
        .strip_prefix(['.', ','])
        .map(|rest| (digits(rest), rest))
    {
        Some((len @ 1.., rest)) => rest.split_at(len),
        _ => ("", rest),
    };
    let fraction = fraction[..fraction.len().min(9)].trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let zone = match (mark, zone) {
        (b' ', "") => "Z",
        (b'T' | b't', "Z" | "+00:00" | "-00:00") => "Z",
        (b'T' | b't', zone) => offset(zone)?,
        _ => return None,
    };
    Some(format!(
        "{date}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}{zone}"
    ))
}

/// A number of one or two digits in a range.
fn short(text: &str, least: u32, most: u32) -> Option<u32> {
    let good = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| good)?;
    (least..=most).contains(&number).then_some(number)
}

/// `+01:00`.
fn offset(zone: &str) -> Option<&str> {
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let two = |text: &str, most: u32| text.len() == 2 && short(text, 0, most).is_some();
    (two(hours, 24) && two(minutes, 60)).then_some(zone)
}

/// The text that base 64 stands for; line breaks in it don't count.
fn binary(text: &str) -> Result<String, String> {
    let wrong = || "the value of !!binary is no base 64".to_owned();
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !matches!(b, b'\n' | b'\r'))
        .collect();
    if !digits.len().is_multiple_of(4) {
        return Err(wrong());
    }
    let padding = digits.iter().rev().take_while(|b| **b == b'=').count();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for digit in &digits[..digits.len() - padding.min(2)] {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(wrong()),
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        word(plain(text))
    }

    fn word(value: Value) -> String {
        match value {
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
            ("2020-1-2 3:4:5.6", "time"),
            ("2020-01-02T03:04:05", "text"),
            ("2020-01-02 03:04:05Z", "text"),
            ("2020-13-02", "text"),
            ("2021-02-29", "text"),
            ("1e400", "text"),
            ("._5", "text"),
            ("+18446744073709551615", "float 18446744073709552000"),
            ("0b-1", "int -1"),
            ("1-2", "text"),
            ("True", "bool true"),
            ("~", "null"),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
    }

    #[test]
    fn quotes_and_tags_choose_the_type() {
        let quoted = resolve("1", ScalarStyle::DoubleQuoted, None);
        assert_eq!(quoted.map(word), Ok("text".into()));
        for (text, tag, want) in [
            ("1", "str", Ok("text")),
            ("0x10", "int", Ok("int 16")),
            ("1", "float", Ok("float 1")),
            ("true", "bool", Ok("bool true")),
            ("", "null", Ok("null")),
            ("2001-01-02", "timestamp", Ok("time")),
            ("1", "own", Ok("text")),
            ("1.5", "int", Err("`1.5` is no !!int")),
            ("yes", "bool", Err("`yes` is no !!bool")),
            ("1", "timestamp", Err("`1` is no !!timestamp")),
        ] {
            let tag = format!("{CORE}{tag}");
            let value = resolve(text, ScalarStyle::Plain, Some(&tag)).map(word);
            assert_eq!(
                value,
                want.map(str::to_owned).map_err(str::to_owned),
                "{text} {tag}"
            );
        }
        assert_eq!(
            resolve("1", ScalarStyle::Plain, Some("!own")).map(word),
            Ok("text".into())
        );
        assert_eq!(
            resolve("1", ScalarStyle::Plain, Some("!")).map(word),
            Ok("int 1".into())
        );
    }

    #[test]
    fn timestamps_and_base_64_are_decoded() {
        for (text, want) in [
            ("2001-1-2", Some("2001-01-02T00:00:00Z")),
            (
                "2001-01-02t3:4:5.600+01:00",
                Some("2001-01-02T03:04:05.6+01:00"),
            ),
            ("2001-01-02T24:00:00Z", None),
            ("20010-1-2", None),
            ("2001-é-2", None),
        ] {
            assert_eq!(timestamp(text).as_deref(), want, "{text}");
        }
        for (text, want) in [
            ("aGVsbG8=", Ok("hello")),
            ("aGVs\nbG8h", Ok("hello!")),
            ("", Ok("")),
            ("a!b=", Err(())),
            ("aGVsbG8", Err(())),
            ("a===", Err(())),
        ] {
            assert_eq!(binary(text).as_deref().map_err(|_| ()), want, "{text}");
        }
    }
}
