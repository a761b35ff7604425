//! Log lines of several containers on one screen: coloured, padded prefixes, and nothing that steers the terminal.
//!
//! In: records and the names they belong to. Out: bytes for standard output and error.
//! Imports: `base`. As Compose: `cmd/formatter/{logs,colors}.go`.

use std::collections::BTreeMap;

use super::paint;
use crate::base::clock::Timestamp;

/// Colours of prefixes, in the order containers appear. As Compose: `cmd/formatter/colors.go`.
const RAINBOW: [&str; 10] = [
    "36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1",
];
/// A line without end is shown when it has grown to so many bytes.
const LONGEST: usize = 1 << 20;

/// How lines are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// The container's name before each line.
    pub prefix: bool,
    /// Prefixes in colours.
    pub colour: bool,
    /// The time before each line.
    pub timestamps: bool,
    /// Output is a terminal: sequences that move or write elsewhere are dropped.
    pub terminal: bool,
}

/// Formats lines; remembers names, their colours, and lines that are not complete yet.
#[derive(Debug, Default)]
pub struct Lines {
    look: Look,
    names: BTreeMap<String, usize>,
    width: usize,
    pending: BTreeMap<(String, bool), (Timestamp, Vec<u8>)>,
}

impl Lines {
    /// No names yet.
    pub fn new(look: Look) -> Self {
        Self {
            look,
            ..Self::default()
        }
    }

    /// Makes a name known, so that prefixes are padded to the longest of all.
    pub fn add(&mut self, name: &str) {
        let next = self.names.len();
        self.names.entry(name.to_owned()).or_insert(next);
        self.width = self.width.max(console::measure_text_width(name));
    }

    /// The text of a record; empty while its line is not complete.
    pub fn record(&mut self, name: &str, stderr: bool, time: Timestamp, bytes: &[u8]) -> Vec<u8> {
        self.add(name);
        let key = (name.to_owned(), stderr);
        let (begun, mut line) = self.pending.remove(&key).unwrap_or((time, Vec::new()));
        line.extend_from_slice(bytes);
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() < LONGEST {
            self.pending.insert(key, (begun, line));
            return Vec::new();
        }
        self.format(name, begun, &line)
    }

    /// Lines of a container that never got an end: standard output's, then standard error's.
    pub fn flush(&mut self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let mut rest = |stderr| {
            let pending = self.pending.remove(&(name.to_owned(), stderr));
            pending
                .map(|(time, line)| self.format(name, time, &line))
                .unwrap_or_default()
        };
        (rest(false), rest(true))
    }

    /// `api-1 exited with code 0`, in the container's colour.
    pub fn status(&mut self, name: &str, what: &str) -> String {
        self.add(name);
        let text = format!("{name} {what}");
        format!("{}\n", paint(self.look.colour, self.code(name), &text))
    }

    /// A line of the command's own, marked where names stand before the others.
    pub fn own(&self, text: &str) -> String {
        if !self.look.prefix {
            return format!("{text}\n");
        }
        let mark = format!("{:width$}  ⦿ ", "", width = self.width);
        format!("{}{text}\n", paint(self.look.colour, "92", &mark))
    }

    fn code(&self, name: &str) -> &'static str {
        let at = self.names.get(name).copied().unwrap_or(0);
        RAINBOW.get(at % RAINBOW.len()).copied().unwrap_or("36")
    }

    fn format(&self, name: &str, time: Timestamp, line: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(line.len() + self.width + 32);
        if self.look.prefix {
            let gap = self.width.saturating_sub(console::measure_text_width(name));
            let prefix = format!("{name}{:gap$}  | ", "");
            text.extend_from_slice(paint(self.look.colour, self.code(name), &prefix).as_bytes());
        }
        if self.look.timestamps {
            text.extend_from_slice(time.rfc3339().as_bytes());
            text.push(b' ');
        }
        if self.look.terminal && (self.look.prefix || self.names.len() > 1) {
            text.extend(sanitise(line));
        } else {
            text.extend_from_slice(line);
        }
        text.push(b'\n');
        text
    }
}

/// A line as it may be shown on a terminal beside others: colours (SGR) stay, every other control sequence and
/// control character goes. Of text overwritten by carriage returns the last part stays.
///
/// Source: ECMA-48, 5.4 (control sequences) and 5.6 (control strings).
pub fn sanitise(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line
        .rsplit(|b| *b == b'\r')
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    // Bytes that are no text could be controls, also joined with what stands beside those that are dropped.
    let line = String::from_utf8_lossy(line);
    let line = line.as_bytes();
    let mut kept = Vec::with_capacity(line.len());
    let (mut at, mut coloured) = (0, false);
    while let Some(&byte) = line.get(at) {
        let rest = line.get(at..).unwrap_or_default();
        match byte {
            0x1b => {
                let (length, colour) = escape(rest);
                if colour {
                    kept.extend_from_slice(rest.get(..length).unwrap_or_default());
                    coloured = true;
                }
                at += length;
            }
            // C1 controls in UTF-8.
            0xc2 if rest.get(1).is_some_and(|b| (0x80..=0x9f).contains(b)) => at += 2,
            b'\t' | 0x20..=0x7e | 0x80.. => {
                kept.push(byte);
                at += 1;
            }
            _ => at += 1,
        }
    }
    if coloured {
        kept.extend_from_slice(b"\x1b[0m");
    }
    kept
}

/// Length of the escape sequence at the start of `text`, and whether it sets colours.
fn escape(text: &[u8]) -> (usize, bool) {
    match text.get(1) {
        Some(b'[') => {
            let body = text.get(2..).unwrap_or_default();
            let length = body.iter().position(|b| !(0x20..=0x3f).contains(b));
            let Some(length) = length else {
                return (text.len(), false);
            };
            let plain = body
                .iter()
                .take(length)
                .all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
            // What can't be the end is what comes next.
            let end = body.get(length).copied().unwrap_or_default();
            let ends = usize::from((0x40..=0x7e).contains(&end));
            (length + 2 + ends, plain && end == b'm')
        }
        // Control strings: OSC, DCS, SOS, PM, APC. They end with BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = (2..text.len()).find(|at| {
                text.get(*at) == Some(&7) || text.get(*at..*at + 2) == Some(b"\x1b\\".as_slice())
            });
            let Some(end) = end else {
                return (text.len(), false);
            };
            (end + if text.get(end) == Some(&7) { 1 } else { 2 }, false)
        }
        Some(0x20..=0x2f) => {
            let length = text
                .iter()
                .skip(1)
                .take_while(|b| (0x20..=0x2f).contains(*b))
                .count();
            let end = text.get(length + 1).copied().unwrap_or_default();
            let ends = usize::from((0x30..=0x7e).contains(&end));
            (length + 1 + ends, false)
        }
        Some(0x30..=0x7e) => (2, false),
        Some(_) | None => (1, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look {
        prefix: true,
        colour: false,
        timestamps: false,
        terminal: false,
    };

    #[test]
    fn prefixes_are_padded_to_the_longest_name_and_lines_wait_for_their_end() {
        let mut lines = Lines::new(LOOK);
        lines.add("web-1");
        lines.add("database-1");
        let zero = Timestamp(0);
        assert_eq!(lines.record("web-1", false, zero, b"hel"), b"");
        assert_eq!(
            lines.record("web-1", true, zero, b"err\n"),
            b"web-1       | err\n"
        );
        assert_eq!(
            lines.record("web-1", false, zero, b"lo\n"),
            b"web-1       | hello\n"
        );
        assert_eq!(lines.record("web-1", false, zero, b"end"), b"");
        assert_eq!(
            lines.flush("web-1"),
            (b"web-1       | end\n".to_vec(), Vec::new())
        );
        assert_eq!(
            lines.status("web-1", "exited with code 3"),
            "web-1 exited with code 3\n"
        );
    }

    #[test]
    fn each_name_has_its_colour_and_times_stand_behind_the_prefix() {
        let mut lines = Lines::new(Look {
            colour: true,
            timestamps: true,
            ..LOOK
        });
        lines.add("a-1");
        let text = lines.record("b-1", false, Timestamp(1_500_000_000), b"x\n");
        let want = "\x1b[33mb-1  | \x1b[0m1970-01-01T00:00:01.500000000Z x\n";
        assert_eq!(String::from_utf8_lossy(&text), want);
    }

    #[test]
    fn colours_pass_and_everything_that_moves_or_writes_elsewhere_is_dropped() {
        let cases: [(&[u8], &[u8]); 13] = [
            (b"\xc2\x07\x9b2Jx", "\u{fffd}\u{fffd}2Jx".as_bytes()),
            (b"\x9d0;t\x07x", "\u{fffd}0;tx".as_bytes()),
            ("\x1bü\x1b[ü\x1b(ü".as_bytes(), "üüü".as_bytes()),
            (b"half \xe2\x82", "half \u{fffd}".as_bytes()),
            (b"\x1b[31mred\x1b[0m", b"\x1b[31mred\x1b[0m\x1b[0m"),
            (b"a\x1b[2Jb\x1b[1;1Hc", b"abc"),
            (b"\x1b]0;title\x07x\x1b]52;c;AAAA\x1b\\y", b"xy"),
            (b"\x1bPq#0\x1b\\z", b"z"),
            (b"10%\r20%\r", b"20%"),
            (b"\x1b(Bq\x1b7r\x1bMs", b"qrs"),
            ("\u{9b}2Jä".as_bytes(), "2Jä".as_bytes()),
            (b"\x1b]0;never ends", b""),
            (b"bell\x07 back\x08\ttab", b"bell back\ttab"),
        ];
        for (line, want) in cases {
            assert_eq!(sanitise(line), want, "{:?}", String::from_utf8_lossy(line));
        }
        let mut lines = Lines::new(Look {
            terminal: true,
            ..LOOK
        });
        assert_eq!(
            lines.record("a", false, Timestamp(0), b"\x1b[2Jx\n"),
            b"a  | x\n"
        );
        let mut raw = Lines::new(LOOK);
        assert_eq!(
            raw.record("a", false, Timestamp(0), b"\x1b[2Jx\n"),
            b"a  | \x1b[2Jx\n"
        );
    }
}
