//! The short forms of ports, mounts and devices.
//!
//! In: the text. Out: the mapping it stands for. Imports: `base`, `tree`.
//! Rules: Compose Specification, `ports`, `volumes`, `devices`; one-letter sources are Windows drives, as Compose.

use super::Canon;
use crate::compose::tree::{Entries, Node, Value};

/// Builds a mapping at the place of the text it was written as.
struct Long<'n> {
    at: &'n Node,
    entries: Entries,
}

impl<'n> Long<'n> {
    fn new(at: &'n Node) -> Self {
        Self {
            at,
            entries: Entries::new(),
        }
    }
    fn set(mut self, key: &str, value: Value) -> Self {
        self.entries
            .insert(key.to_owned(), Node::new(self.at.span, value));
        self
    }
    fn text(self, key: &str, text: &str) -> Self {
        if text.is_empty() {
            self
        } else {
            self.set(key, Value::Text(text.to_owned()))
        }
    }
    fn done(self) -> Node {
        self.at.with(Value::Map(self.entries))
    }
}

/// A port's short form as its long forms, one a container port; faults are reported.
pub(super) fn ports(canon: &mut Canon<'_, '_>, node: &Node) -> Vec<Node> {
    let Some(text) = node.scalar() else {
        return Vec::new();
    };
    if canon.raw(&text) {
        return vec![node.clone()];
    }
    match parse_ports(node, &text) {
        Ok(ports) => ports,
        Err(fault) => {
            canon.fault(node, fault);
            Vec::new()
        }
    }
}

fn parse_ports(node: &Node, text: &str) -> Result<Vec<Node>, String> {
    let form = "write [ADDRESS:][HOST:]CONTAINER[/PROTOCOL], for example 8080:80/tcp";
    let (body, protocol) = match text.split_once('/') {
        Some((body, protocol)) => (body, protocol.to_ascii_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!(
            "unknown protocol `{protocol}` in `{text}`; the protocols are tcp, udp, sctp"
        ));
    }
    let (address, host, container) = match body.strip_prefix('[').and_then(|b| b.split_once("]:")) {
        Some((address, rest)) => match rest.split_once(':') {
            Some((host, container)) => (address, host, container),
            None => return Err(format!("`{text}` has no container port; {form}")),
        },
        None => match body.split(':').collect::<Vec<_>>().as_slice() {
            [container] => ("", "", *container),
            [host, container] => ("", *host, *container),
            [address, host, container] => (*address, *host, *container),
            _ => {
                return Err(format!(
                    "`{text}` has too many colons; put an IPv6 address in brackets"
                ));
            }
        },
    };
    if container.is_empty() {
        return Err(format!("`{text}` names no container port; {form}"));
    }
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("`{address}` is not an IP address"));
    }
    let inside = range(container)?;
    let outside = if host.is_empty() {
        None
    } else {
        Some(range(host)?)
    };
    let count = inside.1 - inside.0;
    let long = |target: u16, published: Option<String>| {
        let long = Long::new(node)
            .text("mode", "ingress")
            .text("host_ip", address)
            .set("target", Value::Int(i128::from(target)));
        let long = match published {
            Some(published) => long.set("published", Value::Text(published)),
            None => long,
        };
        long.text("protocol", &protocol).done()
    };
    match outside {
        None => Ok((inside.0..=inside.1)
            .map(|target| long(target, None))
            .collect()),
        Some((first, last)) if last - first == count => Ok((inside.0..=inside.1)
            .zip(first..=last)
            .map(|(target, published)| long(target, Some(published.to_string())))
            .collect()),
        Some(_) if count == 0 => Ok(vec![long(inside.0, Some(host.to_owned()))]),
        Some(_) => Err(format!(
            "the ranges `{host}` and `{container}` have different lengths"
        )),
    }
}

/// `80` or `80-90`.
pub(in crate::compose) fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |part: &str| {
        part.parse::<u16>()
            .map_err(|_| format!("`{part}` is not a port; ports are 1 to 65535"))
    };
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => match (port(first)?, port(last)?) {
            (first, last) if first <= last => Ok((first, last)),
            _ => Err(format!("the port range `{text}` ends before it starts")),
        },
    }
}

/// A mount's short form as its long form.
pub(super) fn volume(canon: &mut Canon<'_, '_>, node: &Node, text: &str) -> Option<Node> {
    if text.is_empty() {
        canon.fault(node, "the mount is empty; write [SOURCE:]TARGET[:OPTIONS]");
        return None;
    }
    if text.len() <= 2 {
        let long = Long::new(node).text("type", "volume").text("target", text);
        return Some(long.done());
    }
    let parts = parts(text);
    if parts.iter().any(|part| part.is_empty()) {
        canon.fault(node, format!("`{text}` has nothing between its colons"));
        return None;
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => {
            canon.fault(
                node,
                format!("`{text}` has too many colons; write [SOURCE:]TARGET[:OPTIONS]"),
            );
            return None;
        }
    };
    let bind = is_path(source);
    let mut inner = Entries::new();
    let mut set = |key: &str, value| inner.insert(key.to_owned(), Node::new(node.span, value));
    if bind {
        set("create_host_path", Value::Bool(true));
    }
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "nocopy" if !bind => {
                set("nocopy", Value::Bool(true));
            }
            "z" | "Z" if bind => {
                set("selinux", Value::Text(option.to_owned()));
            }
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" if bind => {
                set("propagation", Value::Text(option.to_owned()));
            }
            _ => {}
        }
    }
    let kind = if bind { "bind" } else { "volume" };
    let long = Long::new(node)
        .text("type", kind)
        .text("source", source)
        .text("target", target);
    let long = if read_only {
        long.set("read_only", Value::Bool(true))
    } else {
        long
    };
    Some(long.set(kind, Value::Map(inner)).done())
}

/// Splits at colons, but not behind the letter of a Windows drive.
fn parts(text: &str) -> Vec<&str> {
    let (mut out, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(':') {
        let part = &text[start..at];
        if part.len() == 1 && part.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        out.push(part);
        start = at + 1;
    }
    out.push(&text[start..]);
    out
}

fn is_path(source: &str) -> bool {
    let drive = || {
        let mut chars = source.chars();
        chars.next().is_some_and(|c| c.is_alphabetic()) && chars.next() == Some(':')
    };
    source.starts_with(['.', '/', '~']) || source.starts_with("\\\\") || drive()
}

/// A device's short form as its long form.
pub(super) fn device(node: &Node, text: &str) -> Node {
    let mut parts = text.splitn(3, ':');
    let source = parts.next().unwrap_or_default();
    let second = parts.next();
    let (target, permissions) = match (second, parts.next()) {
        (Some(rights), None) if !rights.is_empty() && rights.chars().all(|c| "rwm".contains(c)) => {
            (source, rights)
        }
        (Some(target), rights) => (target, rights.unwrap_or("rwm")),
        (None, _) => (source, "rwm"),
    };
    Long::new(node)
        .text("source", source)
        .text("target", target)
        .text("permissions", permissions)
        .done()
}
