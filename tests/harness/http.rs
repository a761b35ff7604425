//! The smallest HTTP client that the cases need: one request a connection, the body as bytes.
//!
//! Imports: nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Status and body of an answer.
#[derive(Debug)]
pub struct Answer {
    /// Three digits.
    pub status: u16,
    /// As it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for a path.
///
/// # Errors
/// When nobody answers within 10 s, or not in HTTP.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    request(
        address,
        &format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n"),
        &[],
    )
}

/// Sends a body.
///
/// # Errors
/// As [`get`].
pub fn post(address: SocketAddr, path: &str, kind: &str, body: &[u8]) -> std::io::Result<Answer> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: test\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    request(address, &head, body)
}

fn request(address: SocketAddr, head: &str, body: &[u8]) -> std::io::Result<Answer> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let broken = || std::io::Error::other("not an HTTP answer");
    // Scripts end their headers with lines of their own kind.
    let ends: [&[u8]; 2] = [b"\r\n\r\n", b"\r\n\n"];
    let find = |end: &[u8]| {
        let at = bytes.windows(end.len()).position(|part| part == end)?;
        Some((at, at + end.len()))
    };
    let (end, body) = ends
        .iter()
        .filter_map(|end| find(end))
        .min()
        .ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(broken)?;
    Ok(Answer {
        status,
        body: bytes.split_off(body),
    })
}
