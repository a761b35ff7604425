//! Lists of a service whose items have keys: ports, mounts, devices, configs, secrets.
//!
//! In: items in their long form. Out: defaults filled in, each key once. Imports: `base`, `tree`.

use std::collections::BTreeMap;

use super::Canon;
use super::value::drop_bare;
use crate::base::diag::Diagnostic;
use crate::base::key::KeyPath;
use crate::base::span::Span;
use crate::compose::tree::{Entries, Node, Value};

impl Canon<'_, '_> {
    /// Reports a key that is missing, unless what was said there was refused.
    pub(super) fn missing(&mut self, path: &KeyPath, key: &str, place: Span, hint: &str) {
        if !self.session.diags.is_faulty(path) {
            let fault = Diagnostic::error(format!("the key `{key}` is missing"))
                .at(place)
                .path(path)
                .label(format!("`{key}:` is needed here"));
            self.session.diags.push(fault.hint(hint));
        }
    }

    pub(super) fn ports(&mut self, entries: &mut Entries) {
        let Some(ports) = entries.get_mut("ports") else {
            return;
        };
        if let Value::List(items) = &mut ports.value {
            for (at, item) in items.iter_mut().enumerate() {
                let (span, place) = (item.span, item.place());
                let Some(port) = item.entries_mut() else {
                    continue;
                };
                for (key, value) in [("mode", "ingress"), ("protocol", "tcp")] {
                    port.entry(key.to_owned())
                        .or_insert_with(|| Node::text(span, value));
                }
                let address = port.get("host_ip");
                let address = address.map(|node| node.as_text().unwrap_or_default());
                if let Some(address) = address
                    && address.parse::<std::net::IpAddr>().is_err()
                    && !self.raw(address)
                {
                    let path = self.path.key("ports").index(at).key("host_ip");
                    let fault = Diagnostic::error(format!("`{address}` is not an IP address"))
                        .at(port.get("host_ip").map_or(place, Node::place))
                        .path(&path)
                        .label("expected an address such as 127.0.0.1");
                    self.session.diags.push(fault);
                }
                if !port.contains_key("target") {
                    let path = self.path.key("ports").index(at);
                    let hint = "add `target:` with the port of the container";
                    self.missing(&path, "target", place, hint);
                }
            }
        }
        unique(Some(ports), |port| {
            port.entries()?;
            let part = |key: &str| port.get(key).and_then(Node::scalar).unwrap_or_default();
            let address = port.text_of("host_ip").unwrap_or("0.0.0.0").to_owned();
            // As Compose, a number and the same number in quotes are two.
            let number = port.get("published").is_some_and(|n| n.as_text().is_none());
            let kind = if number { "number" } else { "text" }.to_owned();
            let parts = [part("published"), part("target"), part("protocol")];
            Some([&[address, kind], &parts[..]].concat().join(" "))
        });
        let Value::List(items) = &mut ports.value else {
            return;
        };
        for port in items.iter_mut().filter_map(Node::entries_mut) {
            drop_bare(port, &["host_ip", "mode", "protocol", "target"]);
            if let Some(published) = port.get_mut("published").filter(|_| !self.as_written)
                && let Some(text) = published.scalar()
            {
                published.value = Value::Text(text);
            }
        }
    }

    pub(super) fn mounts(&mut self, entries: &mut Entries, normalize: bool) {
        let Some(mounts) = entries.get_mut("volumes") else {
            return;
        };
        if let Value::List(items) = &mut mounts.value {
            for (at, item) in items.iter_mut().enumerate() {
                let place = item.place();
                let Some(mount) = item.entries_mut() else {
                    continue;
                };
                let path = self.path.key("volumes").index(at);
                let bind = mount.get("type").and_then(Node::as_text) == Some("bind");
                match mount.get_mut("source") {
                    Some(source) if bind => {
                        let text = source.as_text().unwrap_or_default();
                        let path = self.resolve(source.span, text);
                        source.value = match path.is_empty() {
                            true => Value::Null,
                            false => Value::Text(path),
                        };
                    }
                    None if bind => {
                        let hint = "a bind mount needs `source:` with a path of this machine";
                        self.missing(&path, "source", place, hint);
                    }
                    _ => {}
                }
                match mount.get_mut("target") {
                    Some(target) => {
                        let text = target.as_text().unwrap_or_default();
                        if normalize && (text.starts_with('/') || !self.raw(text)) {
                            target.value = Value::Text(clean(text));
                        }
                    }
                    None => {
                        let hint = "add `target:` with a path in the container";
                        self.missing(&path, "target", place, hint);
                    }
                }
                drop_bare(mount, &["source", "target"]);
            }
        }
        unique(Some(mounts), |mount| {
            mount.text_of("target").map(str::to_owned)
        });
    }

    pub(super) fn devices(&mut self, entries: &mut Entries) {
        let Some(devices) = entries.get_mut("devices") else {
            return;
        };
        unique(Some(devices), |device| {
            device.text_of("target").map(str::to_owned)
        });
    }

    /// A directory can't be a mount and a tmpfs both, nor two of them.
    pub(super) fn tmpfs_mounts(&mut self, entries: &Entries) {
        if self.off || !self.consistent {
            return;
        }
        let listed = |key: &str| entries.get(key).and_then(Node::items).unwrap_or_default();
        let tmpfs = listed("tmpfs");
        if tmpfs.is_empty() {
            return;
        }
        let path = |tmpfs: &Node| {
            let text = tmpfs.as_text().unwrap_or_default();
            text.split(':').next().unwrap_or_default().to_owned()
        };
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        let mut twice = Vec::new();
        for (at, node) in tmpfs.iter().enumerate() {
            match seen.get(&path(node)) {
                Some(first) => twice.push(("tmpfs", at, node, path(node), *first)),
                None => {
                    seen.insert(path(node), node.span);
                }
            }
        }
        for (at, node) in listed("volumes").iter().enumerate() {
            let target = node.text_of("target").unwrap_or_default();
            if let Some(first) = seen.get(target) {
                twice.push(("volumes", at, node, target.to_owned(), *first));
            }
        }
        for (key, at, node, target, first) in twice {
            let fault = format!("`{target}` is mounted twice");
            let diag = Diagnostic::error(fault)
                .at(node.place())
                .path(&self.path.key(key).index(at))
                .label("the mount")
                .related(first, "the tmpfs of the same path");
            self.session.diags.push(diag.hint("remove one of the two"));
        }
    }

    pub(super) fn grants(&mut self, entries: &mut Entries) {
        for (section, dir) in [("secrets", "/run/secrets/"), ("configs", "/")] {
            let Some(grants) = entries.get_mut(section) else {
                continue;
            };
            for (at, grant) in grants.items().unwrap_or_default().iter().enumerate() {
                if grant.entries().is_some() && grant.get("source").is_none() {
                    let path = self.path.key(section).index(at);
                    let hint = format!("add `source:` with a name of the top-level `{section}`");
                    self.missing(&path, "source", grant.place(), &hint);
                }
            }
            if let Value::List(items) = &mut grants.value
                && section == "secrets"
            {
                for item in items {
                    let span = item.span;
                    let target = format!("{dir}{}", item.text_of("source").unwrap_or_default());
                    if let Some(grant) = item.entries_mut() {
                        grant
                            .entry("target".to_owned())
                            .or_insert_with(|| Node::text(span, target));
                    }
                }
            }
            unique(Some(grants), |grant| match grant.get("target") {
                Some(target) => Some(target.as_text().unwrap_or_default().to_owned()),
                None => Some(format!("{dir}{}", grant.text_of("source")?)),
            });
            if let Value::List(items) = &mut grants.value {
                let grants = items.iter_mut().filter_map(Node::entries_mut);
                grants.for_each(|grant| drop_bare(grant, &["target"]));
            }
        }
    }

    pub(super) fn device_requests(&mut self, entries: &mut Entries) {
        let written = self.as_written;
        if let Some(gpus) = entries.get_mut("gpus")
            && let Value::List(items) = &mut gpus.value
        {
            for (at, item) in items.iter_mut().enumerate() {
                if item.get("count").is_some() && item.get("device_ids").is_some() {
                    let fault = "`count` and `device_ids` exclude each other";
                    let diag = Diagnostic::error(fault).at(item.place());
                    let diag = diag.path(&self.path.key("gpus").index(at));
                    self.session.diags.push(diag.hint("remove one of them"));
                }
                whole_device(item, written);
            }
        }
        if let Some(Value::Text(text)) = entries.get("gpus").map(|gpus| &gpus.value)
            && text == "all"
            && let Some(gpus) = entries.get_mut("gpus")
        {
            let count = all_devices(gpus.span, written);
            let request = [("count".to_owned(), count)].into_iter().collect();
            let request = Node::new(gpus.span, Value::Map(request));
            gpus.value = Value::List(vec![request]);
        }
        let requests = entries
            .get_mut("deploy")
            .and_then(Node::entries_mut)
            .and_then(|deploy| deploy.get_mut("resources"))
            .and_then(Node::entries_mut)
            .and_then(|resources| resources.get_mut("reservations"))
            .and_then(Node::entries_mut)
            .and_then(|reservations| reservations.get_mut("devices"));
        let Some(Value::List(items)) = requests.map(|node| &mut node.value) else {
            return;
        };
        for item in items {
            if item.get("count").is_some() && item.get("device_ids").is_some() {
                let path = self
                    .path
                    .key("deploy")
                    .key("resources")
                    .key("reservations")
                    .key("devices");
                let fault = "`count` and `device_ids` exclude each other";
                self.session
                    .diags
                    .push(Diagnostic::error(fault).at(item.place()).path(&path));
            }
            whole_device(item, written);
        }
    }
}

/// Resolves `.`, `..` and doubled slashes of a path by name.
pub(super) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|part| *part != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Of items with the same key the last one stays, at the place of the first.
pub(super) fn unique(list: Option<&mut Node>, key: impl Fn(&Node) -> Option<String>) {
    let Some(Value::List(items)) = list.map(|node| &mut node.value) else {
        return;
    };
    let mut kept: Vec<Node> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for item in std::mem::take(items) {
        match key(&item) {
            None => kept.push(item),
            Some(key) => match seen.get(&key) {
                Some(at) => {
                    let old = std::mem::replace(&mut kept[*at], item);
                    kept[*at].replaces(old);
                }
                None => {
                    seen.insert(key, kept.len());
                    kept.push(item);
                }
            },
        }
    }
    *items = kept;
}

/// The count that asks for all devices.
fn all_devices(span: Span, written: bool) -> Node {
    match written {
        true => Node::text(span, "all"),
        false => Node::new(span, Value::Int(-1)),
    }
}

/// A request that says neither how many nor which asks for all; none at all is not said.
fn whole_device(request: &mut Node, written: bool) {
    let span = request.span;
    let none = !written && matches!(request.get("count").map(|n| &n.value), Some(Value::Int(0)));
    let Some(entries) = request.entries_mut() else {
        return;
    };
    if none {
        entries.shift_remove("count");
    } else if !entries.contains_key("count") && !entries.contains_key("device_ids") {
        entries.insert("count".to_owned(), all_devices(span, written));
    }
    drop_bare(entries, &["device_ids"]);
}
