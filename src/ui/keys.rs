//! What is typed on a terminal: single keys out of a stream of bytes, and a line that is being typed.
//!
//! In: bytes as a keyboard sends them. Out: [`Key`]s, [`Edit`]s. It reads no keyboard.
//! Imports: `ui::logs`. Source: ECMA-48, 5.4; XTerm Control Sequences, "PC-Style Function Keys".

use super::logs::sanitise;

/// Ctrl-C, where it is no signal.
pub const INTERRUPT: u8 = 0x03;

/// Ctrl-L: what is drawn is to be drawn once more.
pub const AGAIN: u8 = 0x0c;

/// Ctrl-Z.
pub const SUSPEND: u8 = 0x1a;

/// A typed line has at most so many bytes.
const LONGEST: usize = 256;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A byte of a character, or of a control key.
    Byte(u8),
    /// The escape key alone.
    Escape,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
}

/// Finds keys in bytes; remembers a sequence whose end has not come yet.
#[derive(Debug, Default)]
pub struct Decoder {
    escape: Escape,
    /// The number in the sequence.
    number: u8,
}

/// How far a sequence of an arrow or function key has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Inside,
}

impl Decoder {
    /// The keys in these bytes. Those that have no name here are left out.
    pub fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys: Vec<Key> = bytes.iter().filter_map(|byte| self.key(*byte)).collect();
        // The escape key alone comes as one byte.
        if bytes == [0x1b] {
            self.escape = Escape::None;
            keys.push(Key::Escape);
        }
        keys
    }

    fn key(&mut self, byte: u8) -> Option<Key> {
        let (key, next) = match (self.escape, byte) {
            (_, 0x1b) => (None, Escape::Begun),
            (Escape::Begun, b'[' | b'O') => {
                self.number = 0;
                (None, Escape::Inside)
            }
            (Escape::Begun, _) => (None, Escape::None),
            (Escape::Inside, b'0'..=b'9') => {
                let digit = byte - b'0';
                self.number = self.number.saturating_mul(10).saturating_add(digit);
                (None, Escape::Inside)
            }
            (Escape::Inside, 0x40..=0x7e) => (self.named(byte), Escape::None),
            (Escape::Inside, _) => (None, Escape::Inside),
            (Escape::None, _) => (Some(Key::Byte(byte)), Escape::None),
        };
        self.escape = next;
        key
    }

    /// The key of a sequence that ends so.
    fn named(&self, end: u8) -> Option<Key> {
        Some(match (end, self.number) {
            (b'A', _) => Key::Up,
            (b'B', _) => Key::Down,
            (b'H', _) | (b'~', 1 | 7) => Key::Home,
            (b'F', _) | (b'~', 4 | 8) => Key::End,
            (b'~', 5) => Key::PageUp,
            (b'~', 6) => Key::PageDown,
            _ => return None,
        })
    }
}

/// What a byte did to a line that is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Nothing.
    Nothing,
    /// It is another one now.
    Changed,
    /// It is complete, without blanks around it.
    Done(String),
}

/// A line that is being typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed(Vec<u8>);

impl Typed {
    /// Takes the next byte.
    pub fn take(&mut self, byte: u8) -> Edit {
        match byte {
            b'\r' | b'\n' => {
                return Edit::Done(String::from_utf8_lossy(&self.0).trim().to_owned());
            }
            // Ctrl-U
            0x15 => self.0.clear(),
            0x08 | 0x7f => {
                // A whole character goes, however many bytes it has.
                while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            0x00..=0x1f => return Edit::Nothing,
            _ if self.0.len() < LONGEST => self.0.push(byte),
            _ => return Edit::Nothing,
        }
        Edit::Changed
    }
    /// What was typed, without what would steer the terminal.
    pub fn shown(&self) -> String {
        plain(&self.0)
    }
}

/// Text without what would steer the terminal, and without colours.
pub fn plain(text: &[u8]) -> String {
    let text = sanitise(text);
    console::strip_ansi_codes(&String::from_utf8_lossy(&text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_keys_also_when_they_come_in_pieces() {
        let mut decoder = Decoder::default();
        let all = b"a\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[1~\x1b[F\x1b[1;5H\x1b[15~\x1bx\x1b[";
        assert_eq!(
            decoder.keys(all),
            [
                Key::Byte(b'a'),
                Key::Up,
                Key::Down,
                Key::PageUp,
                Key::PageDown,
                Key::Home,
                Key::End,
                Key::Home
            ]
        );
        assert_eq!(decoder.keys(b"A\x03"), [Key::Up, Key::Byte(INTERRUPT)]);
        assert_eq!(decoder.keys(b"\x1b"), [Key::Escape]);
        assert_eq!(decoder.keys(b"[A"), [Key::Byte(b'['), Key::Byte(b'A')]);
    }

    #[test]
    fn a_line_is_typed_mended_and_bounded() {
        let mut typed = Typed::default();
        for byte in "fä".bytes().chain([0x7f, b'o', 0x07]) {
            typed.take(byte);
        }
        assert_eq!(typed.shown(), "fo");
        assert_eq!(typed.take(b'\r'), Edit::Done("fo".to_owned()));
        assert_eq!(typed.take(0x15), Edit::Changed);
        for _ in 0..2 * LONGEST {
            typed.take(b'x');
        }
        assert_eq!(typed.take(b'x'), Edit::Nothing);
        assert_eq!(typed.shown().len(), LONGEST);
    }
}
