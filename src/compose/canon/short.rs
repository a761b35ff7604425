//! The short forms of ports, mounts and devices.
//!
//! In: the text. Out: the mapping it stands for. Imports: `base`, `tree`.
//! Rules: Compose Specification, `ports`, `volumes`, `devices`; one-letter sources are Windows drives, as Compose.

use super::Canon;
use super::lists::clean;
use super::unit::Wrong;
use crate::base::diag::nearest;
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
            entries: Entries::default(),
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
        Err(mut wrong) => {
            // A dash in another column is text to YAML, and its line goes on with the item above.
            if text.contains(" -") {
                let hint = "start each item in the column of the first dash";
                wrong.hint.get_or_insert_with(|| hint.to_owned());
            }
            canon.wrong(node, &text, wrong);
            Vec::new()
        }
    }
}

fn parse_ports<'t>(node: &Node, text: &'t str) -> Result<Vec<Node>, Wrong<'t>> {
    let form = "write [ADDRESS:][HOST:]CONTAINER[/PROTOCOL], for example `- \"8080:80/tcp\"`";
    let (body, said) = text.split_once('/').unwrap_or((text, "tcp"));
    // nothing behind the slash is tcp, as is nothing at all
    let said = if said.is_empty() { "tcp" } else { said };
    let protocol = said.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        let part = if said.is_empty() { text } else { said };
        let fault = format!("unknown protocol `{protocol}`");
        let near = nearest(&protocol, ["tcp", "udp", "sctp"]).unwrap_or("tcp");
        return Err(Wrong::of(part, fault, "the protocols are tcp, udp, sctp")
            .hint(format!("write `- \"{body}/{near}\"`")));
    }
    let (address, host, container) = match body.strip_prefix('[').and_then(|b| b.split_once("]:")) {
        Some((address, rest)) => match rest.split_once(':') {
            Some((host, container)) => (address, host, container),
            None => return Err(Wrong::of(text, "the container port is missing", form)),
        },
        None => match body.split(':').collect::<Vec<_>>().as_slice() {
            [container] => ("", "", *container),
            [host, container] => ("", *host, *container),
            [address, host, container] => (*address, *host, *container),
            _ => {
                let fault = "a port has at most two colons";
                return Err(Wrong::of(text, fault, "too many colons")
                    .hint("put an IPv6 address in brackets: `- \"[::1]:8080:80\"`"));
            }
        },
    };
    if container.is_empty() {
        let hint = match host.parse::<u16>() {
            Ok(port) => format!("write `- \"{port}:{port}\"`, the second for the container"),
            Err(_) => form.to_owned(),
        };
        return Err(Wrong::of(
            text,
            "the container port is missing",
            "nothing behind the colon",
        )
        .hint(hint));
    }
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        let fault = format!("`{address}` is not an IP address");
        let wrong = Wrong::of(address, fault, "expected an address such as 127.0.0.1");
        return Err(match address {
            "localhost" => {
                wrong.hint(text.replacen("localhost", "write `- \"127.0.0.1", 1) + "\"`")
            }
            _ => wrong,
        });
    }
    let inside = range(container)?;
    if inside.0 == 0 {
        let fault = "a container has no port 0";
        return Err(Wrong::of(
            container,
            fault,
            "expected a number from 1 to 65535",
        ));
    }
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
        Some((first, last)) => {
            let fault = format!("the ranges `{host}` and `{container}` have different lengths");
            let label = format!("{} ports to {}", last - first + 1, count + 1);
            let wrong = Wrong::of(body, fault, label);
            Err(match first.checked_add(count) {
                Some(last) => wrong.hint(format!("write `- \"{first}-{last}:{container}\"`")),
                None => wrong,
            })
        }
    }
}

/// `80` or `80-90`.
pub(in crate::compose) fn read_range(text: &str) -> Option<(u16, u16)> {
    range(text).ok()
}

fn range(text: &str) -> Result<(u16, u16), Wrong<'_>> {
    fn port(part: &str) -> Result<u16, Wrong<'_>> {
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| digits).ok_or_else(|| {
            let fault = format!("`{part}` is not a port");
            Wrong::of(part, fault, "expected a number from 1 to 65535")
        })
    }
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => match (port(first)?, port(last)?) {
            (first, last) if first <= last => Ok((first, last)),
            (first, last) => {
                let fault = format!("the port range `{text}` ends before it starts");
                Err(Wrong::of(text, fault, "expected the lower port first")
                    .hint(format!("write {last}-{first}")))
            }
        },
    }
}

/// A mount's short form as its long form.
pub(super) fn volume(canon: &mut Canon<'_, '_>, node: &Node, text: &str) -> Option<Node> {
    if text.is_empty() {
        let label = "expected [SOURCE:]TARGET[:OPTIONS]";
        canon.wrong(node, text, Wrong::of(text, "the mount is empty", label));
        return None;
    }
    if text.len() <= 2 {
        let long = Long::new(node).text("type", "volume").text("target", text);
        return Some(long.done());
    }
    let parts = parts(text);
    if parts.iter().any(|part| part.is_empty()) {
        let fault = "a part of the mount is empty";
        let wrong = Wrong::of(text, fault, "expected [SOURCE:]TARGET[:OPTIONS]");
        canon.wrong(
            node,
            text,
            wrong.hint("write for example `- ./data:/data:ro`"),
        );
        return None;
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => {
            let fault = "a mount has at most two colons";
            let wrong = Wrong::of(text, fault, "expected [SOURCE:]TARGET[:OPTIONS]");
            let hint = "write a path that holds a colon in the long form: `source:` and `target:`";
            canon.wrong(node, text, wrong.hint(hint));
            return None;
        }
    };
    let bind = is_path(source);
    let mut inner = Entries::default();
    let mut set = |key: &str, value| inner.insert(key.to_owned(), Node::new(node.span, value));
    if bind {
        set("create_host_path", Value::Bool(true));
    }
    let (mut read_only, mut nocopy) = (false, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "nocopy" if !bind => {
                set("nocopy", Value::Bool(true));
            }
            "nocopy" => nocopy = true,
            "z" | "Z" if bind => {
                set("selinux", Value::Text(option.to_owned()));
            }
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" if bind => {
                set("propagation", Value::Text(option.to_owned()));
            }
            _ => {}
        }
    }
    let target = match canon.raw(target) && !target.starts_with('/') {
        true => target.to_owned(),
        false => clean(target),
    };
    let kind = if bind { "bind" } else { "volume" };
    let long = Long::new(node)
        .text("type", kind)
        .text("source", source)
        .text("target", &target);
    let long = if read_only {
        long.set("read_only", Value::Bool(true))
    } else {
        long
    };
    let long = match nocopy {
        true => {
            let on = Node::new(node.span, Value::Bool(true));
            let volume = [("nocopy".to_owned(), on)].into_iter().collect();
            long.set("volume", Value::Map(volume))
        }
        false => long,
    };
    Some(long.set(kind, Value::Map(inner)).done())
}

/// Splits at colons, but not behind the letter of a Windows drive, nor between the braces of a variable.
fn parts(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut open) = (Vec::new(), 0, 0_usize);
    let mut before = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if before == b'$' => open += 1,
            b'}' => open = open.saturating_sub(1),
            b':' if open == 0 => {
                let part = &text[start..at];
                let drive = part.chars().count() == 1 && part.starts_with(char::is_alphabetic);
                if !drive {
                    out.push(part);
                    start = at + 1;
                }
            }
            _ => {}
        }
        before = byte;
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
pub(super) fn device(canon: &mut Canon<'_, '_>, node: &Node, text: &str) -> Option<Node> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] | [source, ""] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => {
            let target = if target.is_empty() { source } else { target };
            (*source, *target, *permissions)
        }
        _ => {
            let fault = "a device has at most two colons";
            let wrong = Wrong::of(text, fault, "expected SOURCE[:TARGET[:PERMISSIONS]]");
            let hint = "write a path that holds a colon in the long form: `source:` and `target:`";
            canon.wrong(node, text, wrong.hint(hint));
            return None;
        }
    };
    let long = Long::new(node)
        .text("source", source)
        .text("target", target)
        .text("permissions", permissions);
    Some(long.done())
}
