//! Words of an image's history, as the reference writes them.
//!
//! Imports: `image::config`. As BuildKit: `dockerfile2llb`, `commitToHistory`, which prints values with Go's `%q`.

use crate::base::scalar::format_duration;
use crate::image::config::HealthConfig;

/// `["a" "b"]`
pub(super) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// `&{["CMD" "a"] "5s" "0s" "0s" "0s" '\x03'}`: a structure whose last field is a number, which is printed as a character.
pub(super) fn health(health: &HealthConfig) -> String {
    let times = [
        health.interval,
        health.timeout,
        health.start_period,
        health.start_interval,
    ];
    let times = times.map(|time| {
        let time = std::time::Duration::from_nanos(u64::try_from(time).unwrap_or_default());
        format!("\"{}\"", format_duration(time))
    });
    let retries = character(health.retries);
    format!(
        "&{{{} {} {retries}}}",
        quoted_list(&health.test),
        times.join(" ")
    )
}

/// A number as Go's `%q` prints it. Source: Go `strconv.QuoteRune`.
fn character(number: i64) -> String {
    let known = u32::try_from(number).ok().and_then(char::from_u32);
    let shown = match known.unwrap_or(char::REPLACEMENT_CHARACTER) {
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\'' => "\\'".to_owned(),
        ch @ (' '..='~') => ch.to_string(),
        ch if ch.is_ascii() => format!("\\x{:02x}", u32::from(ch)),
        ch if ch.is_control() || ch.is_whitespace() || ch == '\u{ad}' => {
            format!("\\u{:04x}", u32::from(ch))
        }
        ch => ch.to_string(),
    };
    format!("'{shown}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_is_written_as_go_prints_it() {
        let check = HealthConfig {
            test: vec!["CMD".into(), "a".into()],
            interval: 3_661_500_000_000,
            timeout: 100_000_000,
            start_period: 1_500_000,
            start_interval: 0,
            retries: 3,
        };
        assert_eq!(
            health(&check),
            "&{[\"CMD\" \"a\"] \"1h1m1.5s\" \"100ms\" \"1.5ms\" \"0s\" '\\x03'}"
        );
        for (number, want) in [
            (0, "'\\x00'"),
            (10, "'\\n'"),
            (39, "'\\''"),
            (65, "'A'"),
            (127, "'\\x7f'"),
            (160, "'\\u00a0'"),
            (300, "'Ĭ'"),
        ] {
            assert_eq!(character(number), want, "{number}");
        }
    }
}
