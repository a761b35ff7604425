//! Sizes, durations, signals and platforms as users write them.
//!
//! Imports: nothing. Source: Compose Specification, "Specifying byte values", "Specifying durations".

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Why a text is no byte size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No number in front.
    #[error("`{0}` is not a size; write a number and a unit: 512m, 1.5gb, 4096")]
    Number(String),
    /// Another suffix than `b k m g t p` with an optional `b`.
    #[error("unknown unit `{0}`; the units are b, k, kb, m, mb, g, gb, t, tb")]
    Unit(String),
}

/// Parses a byte size: `"64m"` is 67 108 864 bytes.
///
/// Any case, base 1024, an optional `b` or `ib`; a bare number is bytes; fractions are allowed.
///
/// # Errors
/// [`SizeError`] when there is no number or an unknown unit.
///
/// Source: compose-spec "Specifying byte values" (units). It names no base: 1024, as Compose.
pub fn parse_size(text: &str) -> Result<ByteSize, SizeError> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| SizeError::Number(text.to_owned()))?;
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(SizeError::Unit(unit)),
    };
    Ok(ByteSize((number * 1024f64.powi(power)) as u64))
}

impl fmt::Display for ByteSize {
    /// `64MiB`: three significant digits, base 1024.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&digits(self.0, 1024.0, &BINARY, 3))
    }
}

const BINARY: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

const DECIMAL: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

impl ByteSize {
    /// `1.98MB`: three significant digits, base 1000. As Docker: `go-units`, `HumanSizeWithPrecision(size, 3)`.
    pub fn decimal(self) -> String {
        digits(self.0, 1000.0, &DECIMAL, 3)
    }
    /// `23.54GiB`: four significant digits, base 1024. As Docker: `go-units`, `BytesSize`.
    pub fn binary(self) -> String {
        digits(self.0, 1024.0, &BINARY, 4)
    }
    /// `1.984MB`: four significant digits, base 1000. As Docker: `go-units`, `HumanSize`.
    pub fn decimal4(self) -> String {
        digits(self.0, 1000.0, &DECIMAL, 4)
    }
}

/// As C's `%.<digits>g` with a unit behind it.
fn digits(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let (mut value, mut at) = (bytes as f64, 0);
    while value >= base && at + 1 < units.len() {
        value /= base;
        at += 1;
    }
    let before = match value {
        _ if at == 0 || value >= 1000.0 => digits,
        _ if value >= 100.0 => 3,
        _ if value >= 10.0 => 2,
        _ => 1,
    };
    let fraction = digits.saturating_sub(before);
    let text = format!("{value:.fraction$}");
    let text = match fraction {
        0 => &text,
        _ => text.trim_end_matches('0').trim_end_matches('.'),
    };
    format!("{text}{}", units.get(at).copied().unwrap_or_default())
}

/// What files take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of the files, holes included.
    pub content: u64,
    /// Bytes that are allocated for files and directories.
    pub disk: u64,
}

impl std::ops::AddAssign for Measure {
    fn add_assign(&mut self, other: Self) {
        self.content = self.content.saturating_add(other.content);
        self.disk = self.disk.saturating_add(other.disk);
    }
}

/// Parses a duration in Go's grammar: `1h30m`, `10s`, `1.5s`, `500ms`, `250us`, `0`.
///
/// Returns `None` when the text is none, is negative or is too large.
///
/// Source: compose-spec "Specifying durations"; a bare number other than 0 has no unit and is refused.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos: f64 = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let (unit, factor) = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 60e9),
            ("h", 3600e9),
            ("d", 86_400e9),
            ("w", 604_800e9),
        ]
        .into_iter()
        .filter(|(unit, _)| tail.starts_with(unit))
        .max_by_key(|(unit, _)| unit.len())?;
        nanos += number * factor;
        rest = tail.strip_prefix(unit)?;
    }
    (nanos.is_finite() && nanos < 9_223_372_036_854_775_807.0)
        .then(|| Duration::from_nanos(nanos.round() as u64))
}

/// Writes a duration as Go prints it: `1h30m0s`, `1m0s`, `1.5s`, `500ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, size) = match nanos {
            0..1_000 => ("ns", 1u32),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", nanos as f64 / f64::from(size));
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let tail = seconds % 60;
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    let fraction = format!("{:09}", duration.subsec_nanos());
    let fraction = fraction.trim_end_matches('0');
    match fraction {
        "" => text.push_str(&format!("{tail}s")),
        _ => text.push_str(&format!("{tail}.{fraction}s")),
    }
    text
}

/// A signal number of this kernel, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub i32);

/// Signal names of Linux on x86-64 and arm64. Source: signal(7).
const SIGNALS: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

impl Signal {
    /// Sent first by `stop` when nothing else is said.
    pub const TERM: Self = Self(15);
    /// Ends any process.
    pub const KILL: Self = Self(9);

    /// Parses `SIGTERM`, `term`, `15`, `SIGRTMIN+3`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return (1..=SIGRTMAX).contains(&number).then_some(Self(number));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
            return Some(Self(*number));
        }
        let real = |tail: &str, base: i32, sign: i32| -> Option<Self> {
            let off: i32 = if tail.is_empty() {
                0
            } else {
                tail.get(1..)?.parse().ok()?
            };
            let number = base + sign * off;
            (SIGRTMIN..=SIGRTMAX)
                .contains(&number)
                .then_some(Self(number))
        };
        name.strip_prefix("RTMIN")
            .and_then(|tail| real(tail, SIGRTMIN, 1))
            .or_else(|| {
                name.strip_prefix("RTMAX")
                    .and_then(|tail| real(tail, SIGRTMAX, -1))
            })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The words that Go's `strconv.ParseBool` takes, which is what Docker reads options with.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_base_1024_and_any_case() {
        assert_eq!(parse_size("64m"), Ok(ByteSize(64 << 20)));
        assert_eq!(parse_size("1.5GB"), Ok(ByteSize(3 << 29)));
        assert_eq!(parse_size("4096"), Ok(ByteSize(4096)));
        assert_eq!(parse_size("1x"), Err(SizeError::Unit("x".into())));
        assert!(parse_size("m").is_err());
        assert_eq!(ByteSize(64 << 20).to_string(), "64MiB");
    }

    #[test]
    fn durations_read_and_print_as_go_does() {
        for (text, printed) in [
            ("1h30m", "1h30m0s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("500ms", "500ms"),
            ("0", "0s"),
            ("2m3s4ms", "2m3.004s"),
        ] {
            assert_eq!(
                parse_duration(text).map(format_duration).as_deref(),
                Some(printed)
            );
        }
        assert_eq!(parse_duration("10"), None);
        assert_eq!(parse_duration("s"), None);
        assert_eq!(parse_duration(""), None);
    }

    #[test]
    fn signals_have_names_numbers_and_real_time_offsets() {
        assert_eq!(Signal::parse("sigterm"), Some(Signal::TERM));
        assert_eq!(Signal::parse("9"), Some(Signal::KILL));
        assert_eq!(Signal::parse("SIGRTMIN+3"), Some(Signal(37)));
        assert_eq!(Signal::parse("SIGFOO"), None);
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
    }
}
