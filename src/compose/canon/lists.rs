//! Lists of a service whose items have keys: ports, mounts, devices, configs, secrets.
//!
//! In: items in their long form. Out: defaults filled in, each key once. Imports: `base`, `tree`.

use std::collections::BTreeMap;

use super::Canon;
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
                let address = port.get("host_ip").and_then(Node::as_text);
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
            Some([address, part("published"), part("target"), part("protocol")].join(" "))
        });
    }

    pub(super) fn mounts(&mut self, entries: &mut Entries) {
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
                        if let Some(text) = source.as_text() {
                            source.value = Value::Text(self.resolve(source.span, text));
                        }
                    }
                    None if bind => {
                        let hint = "a bind mount needs `source:` with a path of this machine";
                        self.missing(&path, "source", place, hint);
                    }
                    _ => {}
                }
                match mount.get_mut("target") {
                    Some(target) => {
                        if let Some(text) = target.as_text().filter(|text| text.starts_with('/')) {
                            target.value = Value::Text(clean(text));
                        } else if let Some(text) =
                            target.as_text().and_then(|t| t.strip_prefix("./"))
                            && !text.is_empty()
                        {
                            target.value = Value::Text(text.to_owned());
                        }
                    }
                    None => {
                        let hint = "add `target:` with a path in the container";
                        self.missing(&path, "target", place, hint);
                    }
                }
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

    /// A directory can't be a mount and a tmpfs both, nor two of one kind.
    pub(super) fn tmpfs_mounts(&mut self, entries: &Entries) {
        let listed = |key: &str| entries.get(key).and_then(Node::items).unwrap_or_default();
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for (at, tmpfs) in listed("tmpfs").iter().enumerate() {
            let target = tmpfs.as_text().and_then(|text| text.split(':').next());
            let target = target.unwrap_or_default();
            let Some(first) = seen.insert(target, tmpfs.span) else {
                continue;
            };
            let fault = format!("`{target}` is mounted twice");
            let diag = Diagnostic::error(fault)
                .at(tmpfs.place())
                .path(&self.path.key("tmpfs").index(at))
                .label("mounted again")
                .related(first, "mounted first");
            self.session.diags.push(diag.hint("remove one of the two"));
        }
        for (at, mount) in listed("volumes").iter().enumerate() {
            let Some(target) = mount.text_of("target") else {
                continue;
            };
            let same = |tmpfs: &&Node| {
                let text = tmpfs.as_text().unwrap_or_default();
                text.split(':').next() == Some(target)
            };
            if let Some(tmpfs) = listed("tmpfs").iter().find(same) {
                let fault = format!("`{target}` is mounted twice");
                let diag = Diagnostic::error(fault)
                    .at(mount.place())
                    .path(&self.path.key("volumes").index(at))
                    .label("the mount")
                    .related(tmpfs.span, "the tmpfs of the same path");
                self.session.diags.push(diag.hint("remove one of the two"));
            }
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
            unique(Some(grants), |grant| match grant.text_of("target") {
                Some(target) => Some(target.to_owned()),
                None => Some(format!("{dir}{}", grant.text_of("source")?)),
            });
        }
    }

    pub(super) fn device_requests(&mut self, entries: &mut Entries) {
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
                whole_device(item);
            }
        }
        if let Some(Value::Text(text)) = entries.get("gpus").map(|gpus| &gpus.value)
            && text == "all"
            && let Some(gpus) = entries.get_mut("gpus")
        {
            let count = Node::new(gpus.span, Value::Int(-1));
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
            whole_device(item);
        }
    }
}

/// Resolves `.`, `..` and doubled slashes of an absolute path by name.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
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

/// A request that says neither how many nor which asks for all; none at all is not said.
fn whole_device(request: &mut Node) {
    let span = request.span;
    let none = matches!(request.get("count").map(|n| &n.value), Some(Value::Int(0)));
    if let Some(entries) = request.entries_mut().filter(|_| none) {
        entries.shift_remove("count");
        return;
    }
    if let Some(entries) = request.entries_mut()
        && !entries.contains_key("count")
        && !entries.contains_key("device_ids")
    {
        entries.insert("count".to_owned(), Node::new(span, Value::Int(-1)));
    }
}
