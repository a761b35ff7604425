//! One line of a log file: JSON in the form of Docker's `json-file`, and back.
//!
//! Bytes that are no UTF-8 are written as the escapes `\udc80` to `\udcff`, one a byte: other readers of JSON show a
//! replacement character for them, as for what Docker writes, and hoist gives the bytes back as they came.
//! Imports: `base`, `engine`. Source: moby `daemon/logger/jsonfilelog/jsonlog`; RFC 8259, 7.

use crate::base::clock::Timestamp;
use crate::engine::LogRecord;

/// What stands behind a line's text: `","stream":"stdout","time":"…"}` and a line end.
pub(super) fn tail(stderr: bool, attributes: &str, time: Timestamp) -> Vec<u8> {
    let stream = if stderr { "stderr" } else { "stdout" };
    let time = time.rfc3339();
    format!("\",\"stream\":\"{stream}\",{attributes}\"time\":\"{time}\"}}\n").into_bytes()
}

/// Attributes as they stand in each line: `"attrs":{"a":"b"},`, or nothing when there are none.
pub(super) fn attributes(all: &crate::engine::spec::Labels) -> String {
    if all.is_empty() {
        return String::new();
    }
    // Text to text can't fail; a line without attributes would still be a line.
    serde_json::to_string(all).map_or_else(|_| String::new(), |text| format!("\"attrs\":{text},"))
}

/// Appends one line; `tail` is what [`tail`] made.
pub(super) fn encode(out: &mut Vec<u8>, line: &[u8], tail: &[u8]) {
    out.extend_from_slice(b"{\"log\":\"");
    if line.is_ascii() {
        escape(out, line);
    } else {
        for chunk in line.utf8_chunks() {
            escape(out, chunk.valid().as_bytes());
            for byte in chunk.invalid() {
                unicode(out, 0xdc00 | u16::from(*byte));
            }
        }
    }
    out.extend_from_slice(tail);
}

/// Whether a byte stands for itself in JSON.
const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f
}

const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = is_plain(at as u8);
        at += 1;
    }
    table
};

fn escape(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = text.iter().position(|byte| !PLAIN[usize::from(*byte)]) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        match rest.first() {
            Some(b'\n') => out.extend_from_slice(b"\\n"),
            Some(b'\r') => out.extend_from_slice(b"\\r"),
            Some(b'\t') => out.extend_from_slice(b"\\t"),
            Some(b'"') => out.extend_from_slice(b"\\\""),
            Some(b'\\') => out.extend_from_slice(b"\\\\"),
            Some(byte) => unicode(out, u16::from(*byte)),
            None => {}
        }
        text = rest.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(text);
}

fn unicode(out: &mut Vec<u8>, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Turns lines back into records. It remembers the last time, since many lines in a row have the same.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    text: Vec<u8>,
    time: Timestamp,
}

impl Decoder {
    /// Reads one line; `None` when it is not well formed.
    pub(super) fn decode(&mut self, line: &[u8]) -> Option<LogRecord> {
        let mut text = Text(line);
        let mut record = LogRecord {
            time: Timestamp(0),
            stderr: false,
            line: Vec::new(),
        };
        let (mut has_line, mut has_time) = (false, false);
        text.expect(b'{')?;
        loop {
            let mut key = Vec::new();
            text.string(&mut key)?;
            text.expect(b':')?;
            match key.as_slice() {
                b"log" => {
                    record.line.reserve_exact(line.len());
                    text.string(&mut record.line)?;
                    has_line = true;
                }
                b"stream" => {
                    let mut stream = Vec::new();
                    text.string(&mut stream)?;
                    record.stderr = stream == b"stderr";
                }
                b"time" => {
                    let mut time = Vec::new();
                    text.string(&mut time)?;
                    record.time = self.time(time)?;
                    has_time = true;
                }
                _ => text.skip()?,
            }
            if text.expect(b',').is_none() {
                break;
            }
        }
        text.expect(b'}')?;
        (has_line && has_time).then_some(record)
    }

    fn time(&mut self, text: Vec<u8>) -> Option<Timestamp> {
        if text != self.text {
            self.time = Timestamp::parse(std::str::from_utf8(&text).ok()?)?;
            self.text = text;
        }
        Some(self.time)
    }
}

/// What is left of a line.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn blank(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.blank();
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.expect(b'"')?;
        loop {
            let at = self.0.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            let (plain, rest) = self.0.split_at(at);
            out.extend_from_slice(plain);
            self.0 = rest.get(1..)?;
            if rest.first() == Some(&b'"') {
                return Some(());
            }
            self.escaped(out)?;
        }
    }

    fn escaped(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let (kind, rest) = self.0.split_first()?;
        self.0 = rest;
        let byte = match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'"' | b'\\' | b'/' => *kind,
            b'u' => return self.unit(out),
            _ => return None,
        };
        out.push(byte);
        Some(())
    }

    fn hex(&mut self) -> Option<u32> {
        let (digits, rest) = self.0.split_first_chunk::<4>()?;
        let mut unit = 0;
        for digit in digits {
            unit = unit << 4 | char::from(*digit).to_digit(16)?;
        }
        self.0 = rest;
        Some(unit)
    }

    fn unit(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let mut code = self.hex()?;
        if (0xdc80..=0xdcff).contains(&code) {
            out.push((code & 0xff) as u8);
            return Some(());
        }
        if (0xd800..0xdc00).contains(&code)
            && let Some(rest) = self.0.strip_prefix(b"\\u")
        {
            let before = self.0;
            self.0 = rest;
            let low = self.hex()?;
            match (0xdc00..0xe000).contains(&low) {
                true => code = 0x10000 + ((code & 0x3ff) << 10 | low & 0x3ff),
                false => self.0 = before,
            }
        }
        let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }

    /// Passes over any value.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            self.blank();
            match self.0.first()? {
                b'"' => self.string(&mut Vec::new())?,
                b'{' | b'[' => {
                    depth += 1;
                    self.0 = self.0.get(1..)?;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.0 = self.0.get(1..)?;
                }
                b',' | b':' if depth > 0 => {
                    self.0 = self.0.get(1..)?;
                    continue;
                }
                _ => {
                    let end = self.0.iter().position(|b| b",:{}[]\" ".contains(b))?;
                    if end == 0 {
                        return None;
                    }
                    self.0 = self.0.get(end..)?;
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(line: &[u8]) -> LogRecord {
        let mut out = Vec::new();
        let time = Timestamp(1_500_000_000_123_456_789);
        encode(
            &mut out,
            line,
            &tail(true, "\"attrs\":{\"a\":\"}\\\"\"},", time),
        );
        let record = Decoder::default().decode(out.trim_ascii_end());
        let record = record.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out)));
        assert_eq!((record.time, record.stderr), (time, true));
        record
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(there_and_back(&all).line, all);
        let text = "ä€😀 \" \\ \u{7f} \u{2028}\r\n".as_bytes();
        assert_eq!(there_and_back(text).line, text);
        // A character cut in two at a part's end.
        assert_eq!(there_and_back(&text[..1]).line, &text[..1]);
        assert_eq!(there_and_back(b"").line, b"");
    }

    #[test]
    fn a_line_is_what_docker_writes() {
        let mut out = Vec::new();
        let labels = [("b".to_owned(), "1".to_owned())].into();
        let tail = tail(false, &attributes(&labels), Timestamp(1_000_000_001));
        encode(&mut out, b"a\x1b[31m \"x\"\n", &tail);
        let want = "{\"log\":\"a\\u001b[31m \\\"x\\\"\\n\",\"stream\":\"stdout\",\"attrs\":{\"b\":\"1\"},\"time\":\"1970-01-01T00:00:01.000000001Z\"}\n";
        assert_eq!(String::from_utf8_lossy(&out), want);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["log"], "a\u{1b}[31m \"x\"\n");
    }

    #[test]
    fn what_others_write_is_read_and_what_is_broken_is_not() {
        let mut decoder = Decoder::default();
        let mut read = |text: &str| decoder.decode(text.as_bytes()).map(|r| r.line);
        let time = "\"time\":\"2026-11-22T06:39:08.861271922Z\"";
        assert_eq!(
            read(&format!(
                "{{ \"x\": [1, {{\"y\": null}}], {time} , \"log\": \"\\ud83d\\ude00\\u003c\\/\\ud83d\" }}"
            )),
            Some("😀</\u{fffd}".into())
        );
        for broken in [
            String::new(),
            "\0\0\0\0".into(),
            "{}".into(),
            "{\"log\":\"a\\n\"}".into(),
            format!("{{\"log\":\"a,{time}}}"),
            format!("{{\"log\":\"\\x\",{time}}}"),
            format!("{{\"log\":\"\\u12\",{time}}}"),
            format!("{{\"log\":\"a\",{time}"),
            format!("{{\"log\":\"a\",\"q\":],{time}}}"),
            "{\"log\":\"a\",\"time\":\"yesterday\"}".into(),
        ] {
            assert_eq!(read(&broken), None, "{broken}");
        }
    }
}
