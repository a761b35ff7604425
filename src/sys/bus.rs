//! One question to a service on the system's message bus (D-Bus): texts in, a text out.
//!
//! In: names and texts. Out: the first text of the answer. No service is started for it, nothing is waited for longer than
//! [`LIMIT`]. Must not know: any service. Imports: nothing of ours.
//! Source: the D-Bus Specification, "Authentication Protocol" and "Message Format".

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where the system's bus listens.
const BUS: &str = "/run/dbus/system_bus_socket";
/// How long each step may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest message that is read: answers to what is asked here have some 100 bytes.
const LONGEST: usize = 1 << 20;

const CALL: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;
const NO_AUTO_START: u8 = 2;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_TO: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Whom to ask, and what.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The service's name on the bus.
    pub service: &'a str,
    /// The object's path.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub method: &'a str,
}

/// Whether there is a bus.
pub fn is_there() -> bool {
    Path::new(BUS).exists()
}

/// Asks; gives the text that the answer begins with, or an empty one.
///
/// # Errors
/// The kernel's, and the service's own with its name.
pub fn ask(call: Call<'_>, texts: &[&str]) -> io::Result<String> {
    let mut bus = UnixStream::connect(BUS)?;
    bus.set_read_timeout(Some(LIMIT))?;
    bus.set_write_timeout(Some(LIMIT))?;
    greet(&mut bus)?;
    let hello = Call {
        service: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        method: "Hello",
    };
    bus.write_all(&message(1, hello, &[]))?;
    bus.write_all(&message(2, call, texts))?;
    loop {
        let answer = read(&mut bus)?;
        if answer.reply_to == Some(2) {
            return match answer.kind {
                ERROR => Err(io::Error::other(answer.text)),
                _ => Ok(answer.text),
            };
        }
    }
}

/// Says who asks: the kernel tells the bus the same.
fn greet(bus: &mut UnixStream) -> io::Result<()> {
    let uid = nix::unistd::geteuid().to_string();
    let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
    bus.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") && line.len() < 512 {
        let mut byte = [0];
        bus.read_exact(&mut byte)?;
        line.extend(byte);
    }
    if !line.starts_with(b"OK ") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    bus.write_all(b"BEGIN\r\n")
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn number(bytes: &mut Vec<u8>, value: usize) {
    pad(bytes, 4);
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    bytes.extend(value.to_le_bytes());
}

fn text(bytes: &mut Vec<u8>, value: &str) {
    number(bytes, value.len());
    bytes.extend(value.as_bytes());
    bytes.push(0);
}

/// A method call with texts.
fn message(serial: usize, call: Call<'_>, texts: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    texts.iter().for_each(|value| text(&mut body, value));
    let mut fields = Vec::new();
    let named = [
        (PATH, "o", call.path),
        (INTERFACE, "s", call.interface),
        (MEMBER, "s", call.method),
        (DESTINATION, "s", call.service),
    ];
    for (code, kind, value) in named {
        pad(&mut fields, 8);
        fields.extend([code, 1]);
        fields.extend(kind.as_bytes());
        fields.push(0);
        text(&mut fields, value);
    }
    if let (false, Ok(count)) = (texts.is_empty(), u8::try_from(texts.len())) {
        pad(&mut fields, 8);
        fields.extend([SIGNATURE, 1, b'g', 0, count]);
        fields.extend("s".repeat(count.into()).as_bytes());
        fields.push(0);
    }
    let mut bytes = vec![b'l', CALL, NO_AUTO_START, 1];
    number(&mut bytes, body.len());
    number(&mut bytes, serial);
    number(&mut bytes, fields.len());
    bytes.extend(fields);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

/// What came from the bus.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    kind: u8,
    reply_to: Option<u32>,
    text: String,
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no message of D-Bus")
}

fn read(bus: &mut UnixStream) -> io::Result<Answer> {
    let mut head = [0; 16];
    bus.read_exact(&mut head)?;
    let (body, fields) = lengths(&head).ok_or_else(broken)?;
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    bus.read_exact(&mut rest)?;
    parse(&head, &rest, fields).ok_or_else(broken)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// Lengths of the body and of the header's fields. A bus answers in the order of bytes that it was asked in.
fn lengths(head: &[u8; 16]) -> Option<(usize, usize)> {
    let length = |at| {
        usize::try_from(word(head, at)?)
            .ok()
            .filter(|l| *l < LONGEST)
    };
    (head[0] == b'l').then_some((length(4)?, length(12)?))
}

fn parse(head: &[u8; 16], rest: &[u8], fields: usize) -> Option<Answer> {
    let mut answer = Answer {
        kind: head[1],
        ..Answer::default()
    };
    let (mut at, mut has_text) = (0usize, false);
    while at < fields {
        at = at.next_multiple_of(8);
        let code = *rest.get(at)?;
        // A field's type is one character each here, but the signature's own value.
        let kind = *rest.get(at + 2)?;
        at += 4;
        match kind {
            b'u' => {
                let value = word(rest, at)?;
                if code == REPLY_TO {
                    answer.reply_to = Some(value);
                }
                at += 4;
            }
            b'g' => {
                let length = usize::from(*rest.get(at)?);
                has_text |= code == SIGNATURE && rest.get(at + 1) == Some(&b's');
                at += 1 + length + 1;
            }
            b's' | b'o' => {
                let length = usize::try_from(word(rest, at)?).ok()?;
                at = at.checked_add(length)?.checked_add(5)?;
            }
            _ => return None,
        }
    }
    if has_text && matches!(answer.kind, ANSWER | ERROR) {
        let body = rest.get(fields.next_multiple_of(8)..)?;
        let length = usize::try_from(word(body, 0)?).ok()?;
        // A zero stands behind each text.
        let (_, text) = body.get(4..=4usize.checked_add(length)?)?.split_last()?;
        answer.text = String::from_utf8_lossy(text).into_owned();
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLED: Call<'_> = Call {
        service: "org.example.S",
        path: "/a",
        interface: "org.example.I",
        method: "M",
    };

    #[test]
    fn a_call_has_its_lengths_and_its_texts_where_they_belong() {
        let bytes = message(7, CALLED, &["one", ""]);
        let head: &[u8; 16] = bytes[..16].try_into().unwrap();
        let (body, fields) = lengths(head).unwrap();
        assert_eq!(bytes.len(), 16 + fields.next_multiple_of(8) + body);
        assert_eq!(word(&bytes, 8), Some(7));
        assert_eq!(&bytes[bytes.len() - body..], b"\x03\0\0\0one\0\0\0\0\0\0");
    }

    #[test]
    fn an_answer_is_read_and_a_broken_one_is_not() {
        // A call is read as an answer of the same shape.
        let mut bytes = message(1, CALLED, &["done"]);
        bytes[1] = ANSWER;
        let head: [u8; 16] = bytes[..16].try_into().unwrap();
        let (_, fields) = lengths(&head).unwrap();
        let answer = parse(&head, &bytes[16..], fields).unwrap();
        assert_eq!((answer.kind, answer.text.as_str()), (ANSWER, "done"));
        for end in 16..bytes.len() {
            assert!(parse(&head, &bytes[16..end], fields).is_none_or(|a| a.text != "done"));
        }
        assert_eq!(lengths(&[0xff; 16]), None);
    }
}
