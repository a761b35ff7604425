//! What a terminal shows after the bytes that a command wrote to it, as text.
//!
//! In: bytes, a size. Out: lines without white space at their ends, with what differs from run to run masked.
//! Imports: nothing. The terminal is the `vt100` crate's.

use std::num::NonZeroU16;

/// The lines of a terminal of this size; those above the last one that is not empty.
pub fn lines(bytes: &[u8], rows: u16, columns: u16) -> Vec<String> {
    let size = |count| NonZeroU16::new(count).expect("a terminal has rows and columns");
    let mut terminal = vt100::Parser::new(size(rows), size(columns), 0);
    terminal.process(bytes);
    let rows = terminal.screen().rows(0, columns);
    let mut lines: Vec<String> = rows.map(|row| masked(row.trim_end())).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// A line in which numbers that say how long something took, and digests, are masked; every other character stays where it is.
fn masked(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for part in line.split_inclusive(' ') {
        let word = part.trim_end_matches(' ');
        if is_time(word) {
            let mask = |c: char| if c.is_ascii_digit() { '#' } else { c };
            shown.extend(word.chars().map(mask));
        } else if let Some((before, hex)) = word.split_once("sha256:") {
            shown.push_str(before);
            shown.push_str("sha256:");
            let mask = |c: char| if c.is_ascii_hexdigit() { '#' } else { c };
            shown.extend(hex.chars().map(mask));
        } else {
            shown.push_str(word);
        }
        shown.push_str(&part[word.len()..]);
    }
    // Numbers that stand before a unit.
    for unit in [" second", " minute"] {
        let ends: Vec<usize> = shown.match_indices(unit).map(|(at, _)| at).collect();
        for end in ends {
            let digits = shown[..end].bytes().rev().take_while(u8::is_ascii_digit);
            let digits = digits.count();
            shown.replace_range(end - digits..end, &"#".repeat(digits));
        }
    }
    shown
}

/// `0.3s`, `(12.0s)`.
fn is_time(word: &str) -> bool {
    let inner = word.trim_matches(['(', ')', ',', '.', ':']);
    inner.strip_suffix('s').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    })
}
