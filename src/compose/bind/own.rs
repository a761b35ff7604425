//! `x-hoist`: what hoist has beyond the specification.
//!
//! Other programs take such keys as they are, and so do the phases before: here they are held to their shapes.
//! In: values as written, variables replaced (so that each scalar may be text). Out: their typed form.
//! Imports: `base`, `model`, `schema`, `tree`.

use std::time::Duration;

use super::Binder;
use crate::base::diag::nearest;
use crate::base::line::LinePattern;
use crate::base::scalar::parse_duration;
use crate::base::span::Spanned;
use crate::base::term::{IdMap, OnUnhealthy};
use crate::compose::model::{ReadyHttp, ReadySpec, TimingSpec};
use crate::compose::schema::{
    FILE_HOIST, HOIST, MOUNT_HOIST, READY, READY_HTTP, READY_TCP, SERVICE_HOIST, Shape,
};
use crate::compose::tree::{Node, Value};

/// The key.
const KEY: &str = "x-hoist";

/// `x-hoist` of a service.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) trust_host_ca: bool,
    pub(super) ready: Option<ReadySpec>,
    pub(super) on_unhealthy: OnUnhealthy,
}

impl Binder<'_, '_> {
    /// `x-hoist` of a service.
    pub(super) fn own(&mut self, node: &Node) -> Own {
        let own = self.part(node, KEY, &SERVICE_HOIST, |binder, node| Own {
            trust_host_ca: binder.truth(node, "trust_host_ca"),
            ready: binder.ready(node),
            on_unhealthy: binder.on_unhealthy(node),
        });
        own.unwrap_or_default()
    }

    /// `x-hoist.trust_host_ca` of a build.
    pub(super) fn own_of_build(&mut self, node: &Node) -> bool {
        let own = self.part(node, KEY, &HOIST, |binder, node| {
            binder.truth(node, "trust_host_ca")
        });
        own.unwrap_or_default()
    }

    /// `x-hoist.idmap` of a mount.
    pub(super) fn idmap(&mut self, node: &Node) -> Option<IdMap> {
        let expected = "whose files they are on the host; write host-user, or a user and a group such as 1000:1000";
        let own = self.part(node, KEY, &MOUNT_HOIST, |binder, node| {
            binder.value(node, "idmap", expected, |value| idmap(&value.scalar()?))
        });
        own.flatten()
    }

    /// `x-hoist.command` of a config or secret.
    pub(super) fn command_of(&mut self, node: &Node) -> Option<Spanned<Vec<String>>> {
        let own = self.part(node, KEY, &FILE_HOIST, |binder, node| {
            let words = binder.value(node, "command", "a command of one line", |value| {
                let words = match value.items() {
                    Some(items) => items.iter().map(Node::scalar).collect::<Option<Vec<_>>>()?,
                    None => shell_words::split(&value.scalar()?).ok()?,
                };
                let named = words.first().is_some_and(|program| !program.is_empty());
                let whole = words.iter().all(|word| !word.contains('\0'));
                (named && whole).then_some(words)
            });
            let span = node.get("command").map_or(node.span, |value| value.span);
            words.map(|words| Spanned::new(words, span))
        });
        own.flatten()
    }

    /// A mapping under a key, of which only known keys are read.
    fn part<T>(
        &mut self,
        node: &Node,
        key: &str,
        shape: &'static Shape,
        read: impl FnOnce(&mut Self, &Node) -> T,
    ) -> Option<T> {
        let value = node.get(key)?;
        self.under(key, |binder| {
            let Some(entries) = value.entries() else {
                binder.unexpected(value, "a mapping");
                return None;
            };
            for (name, entry) in entries {
                if shape.field(name).is_none() && !name.starts_with("x-") {
                    binder.unknown(name, entry, shape);
                }
            }
            for name in shape
                .required
                .iter()
                .filter(|name| value.get(name).is_none())
            {
                binder.fault(value, format!("`{name}` is missing"));
            }
            Some(read(binder, value))
        })
    }

    fn unknown(&mut self, name: &str, entry: &Node, shape: &Shape) {
        let known: Vec<&str> = shape.names().collect();
        let text = match known.as_slice() {
            [one] => format!("unknown key `{name}`; the key is {one}"),
            all => format!("unknown key `{name}`; the keys are {}", all.join(", ")),
        };
        let near = nearest(name, known.iter().copied());
        let fault = self.faulty(entry, text);
        self.session.diags.push(match near {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault,
        });
    }

    fn unexpected(&mut self, value: &Node, expected: &str) {
        let text = format!("expected {expected}, but this is {}", value.kind());
        self.fault(value, text);
    }

    /// The value of a key read by `read`; `expected` says what it should have been.
    fn value<T>(
        &mut self,
        node: &Node,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Node) -> Option<T>,
    ) -> Option<T> {
        let value = node.get(key)?;
        let found = read(value);
        if found.is_none() {
            self.under(key, |binder| match value.scalar() {
                Some(text) => binder.fault(value, format!("`{text}` is not {expected}")),
                None => binder.unexpected(value, expected),
            });
        }
        found
    }

    fn truth(&mut self, node: &Node, key: &str) -> bool {
        let Some(value) = node.get(key) else {
            return false;
        };
        match &value.value {
            Value::Bool(truth) => return *truth,
            Value::Text(text) if text == "true" || text == "false" => return text == "true",
            _ => self.under(key, |binder| binder.unexpected(value, "a boolean")),
        }
        false
    }

    fn on_unhealthy(&mut self, node: &Node) -> OnUnhealthy {
        let expected = "a reaction; write restart or none";
        let word = self.value(node, "on_unhealthy", expected, |value| {
            Some(match value.as_text()? {
                "restart" => OnUnhealthy::Restart,
                "none" => OnUnhealthy::Tell,
                _ => return None,
            })
        });
        word.unwrap_or_default()
    }

    fn ready(&mut self, node: &Node) -> Option<ReadySpec> {
        self.part(node, "ready", &READY, |binder, node| {
            if ["http", "tcp", "log"]
                .iter()
                .all(|key| node.get(key).is_none())
            {
                binder.fault(node, "nothing is looked at; write http, tcp or log");
            }
            let tcp = binder.part(node, "tcp", &READY_TCP, Self::port_of);
            let log = binder.value(node, "log", "text", Node::scalar);
            ReadySpec {
                http: binder.part(node, "http", &READY_HTTP, Self::ready_http),
                tcp: tcp.flatten(),
                log: log.and_then(|text| binder.line(node, &text)),
                timing: binder.timing(node),
            }
        })
    }

    fn line(&mut self, node: &Node, text: &str) -> Option<LinePattern> {
        match LinePattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                let value = node.get("log").unwrap_or(node);
                let text = format!("`{text}` can't be looked for in the log: {why}");
                self.under("log", |binder| binder.fault(value, text));
                None
            }
        }
    }

    fn timing(&mut self, node: &Node) -> TimingSpec {
        let mut time = |key: &str| -> Option<Duration> {
            let expected = "a duration; write 10s or 1m30s";
            self.value(node, key, expected, |value| {
                parse_duration(value.as_text()?)
            })
        };
        let (interval, timeout) = (time("interval"), time("timeout"));
        let (start_period, start_interval) = (time("start_period"), time("start_interval"));
        TimingSpec {
            interval,
            timeout,
            retries: self.value(node, "retries", "a number of retries", whole),
            start_period,
            start_interval,
        }
    }

    fn port_of(&mut self, node: &Node) -> Option<u16> {
        let port = |value: &Node| whole(value).filter(|port| *port > 0);
        self.value(node, "port", "a port from 1 to 65535", port)
    }

    fn ready_http(&mut self, node: &Node) -> ReadyHttp {
        let port = self.port_of(node).unwrap_or_default();
        let expected = "a path that begins with / and has no spaces";
        let path = self.value(node, "path", expected, |value| {
            let text = value.as_text()?;
            let plain = text.chars().all(|c| c.is_ascii_graphic());
            (text.starts_with('/') && plain).then(|| text.to_owned())
        });
        let status = self.value(node, "status", "a status from 100 to 599", |value| {
            whole(value).filter(|status| (100..=599).contains(status))
        });
        ReadyHttp {
            port,
            path: path.unwrap_or_else(|| "/".to_owned()),
            status,
            headers: self.headers(node),
        }
    }

    fn headers(&mut self, node: &Node) -> Vec<(String, String)> {
        let Some(headers) = node.get("headers") else {
            return Vec::new();
        };
        self.under("headers", |binder| {
            let Some(entries) = headers.entries() else {
                binder.unexpected(headers, "a mapping of names to values");
                return Vec::new();
            };
            let mut all = Vec::new();
            for (name, value) in entries {
                let text = value
                    .scalar()
                    .filter(|text| !text.contains(['\r', '\n', '\0']));
                match text {
                    Some(text) if is_token(name) => all.push((name.clone(), text)),
                    _ => {
                        let text = format!("`{name}` is not a header of one line");
                        binder.under(name, |binder| binder.fault(value, text));
                    }
                }
            }
            all
        })
    }
}

/// A number without a sign, or text that says one.
fn whole<T: TryFrom<i64>>(value: &Node) -> Option<T> {
    let number = match &value.value {
        Value::Int(number) => i64::try_from(*number).ok()?,
        Value::Text(text) => text.parse().ok()?,
        _ => return None,
    };
    T::try_from(number).ok()
}

/// Whether a header may have this name. Source: RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(good)
}

/// `host-user`, `1000` or `1000:100`.
fn idmap(text: &str) -> Option<IdMap> {
    if text == "host-user" {
        return Some(IdMap::HostUser);
    }
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    let id = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX);
    Some(IdMap::Ids {
        uid: id(uid)?,
        gid: id(gid)?,
    })
}
