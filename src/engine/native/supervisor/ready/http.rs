//! The little of HTTP that a probe needs: one request, the status of the answer.
//!
//! Imports: `engine`. Source: RFC 9112, sections 3, 4 and 9.6.

use super::Step;
use crate::engine::spec::HttpProbe;

/// Characters of an answer's body that are told.
const SHOWN: usize = 200;

/// What is asked, for people.
pub(super) fn name(wanted: &HttpProbe) -> String {
    format!("GET http://localhost:{}{}", wanted.port, wanted.path)
}

/// The request's bytes.
pub(super) fn request(wanted: &HttpProbe) -> Vec<u8> {
    let own = [
        ("Host", format!("localhost:{}", wanted.port)),
        ("User-Agent", "hoist".to_owned()),
        ("Accept", "*/*".to_owned()),
        ("Connection", "close".to_owned()),
    ];
    let given = |name: &str| {
        let mut names = wanted.headers.iter().map(|(given, _)| given);
        names.any(|given| given.eq_ignore_ascii_case(name))
    };
    let mut text = format!("GET {} HTTP/1.1\r\n", wanted.path);
    for (name, value) in own.iter().filter(|(name, _)| !given(name)) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    for (name, value) in &wanted.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// What an answer means as far as it has come; `whole` says that no more will.
pub(super) fn verdict(wanted: &HttpProbe, answer: &[u8], whole: bool) -> Step {
    let name = name(wanted);
    let Some(end) = answer.windows(2).position(|two| two == b"\r\n") else {
        return match (whole, answer.is_empty()) {
            (false, _) => Step::Wait,
            (true, true) => Step::Bad(format!(
                "{name}: the connection was closed without an answer"
            )),
            (true, false) => not_http(&name, answer),
        };
    };
    let line = answer.get(..end).unwrap_or_default();
    let Some((status, reason)) = status(line) else {
        return not_http(&name, line);
    };
    let good = match wanted.status {
        Some(one) => status == one,
        None => (200..400).contains(&status),
    };
    let told = format!("{name}: {status} {reason}").trim_end().to_owned();
    if good {
        return Step::Good(told);
    }
    let body = body(answer);
    if !whole && body.is_none() {
        // Why it is bad is in the body, which mostly comes with the head.
        return Step::Wait;
    }
    let told = match wanted.status {
        Some(one) => format!("{told}, but {one} is expected"),
        None => told,
    };
    match printable(body.unwrap_or_default()) {
        body if body.is_empty() => Step::Bad(told),
        body => Step::Bad(format!("{told}\n{body}")),
    }
}

fn not_http(name: &str, line: &[u8]) -> Step {
    Step::Bad(format!(
        "{name}: the answer is not HTTP: {}",
        printable(line)
    ))
}

/// Status and reason of `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<(u16, String)> {
    let line = String::from_utf8_lossy(line);
    let rest = line.strip_prefix("HTTP/")?;
    let (_, rest) = rest.split_once(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let known = status.len() == 3;
    let status = status.parse().ok().filter(|_| known)?;
    Some((status, printable(reason.as_bytes())))
}

/// What has come of the body; `None` before the head's end.
fn body(answer: &[u8]) -> Option<&[u8]> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    answer.get(head + 4..)
}

/// The beginning of a text, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.trim().lines().next().unwrap_or_default();
    let plain = |c: char| if c.is_control() { '?' } else { c };
    line.chars().take(SHOWN).map(plain).collect()
}
