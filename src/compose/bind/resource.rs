//! Top-level networks, volumes, configs, secrets, models and jobs.
//!
//! In: canonical entries. Out: their typed form. Imports: `base`, `model`, `tree`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{Binder, flag, integer, labels, spanned, text, texts};
use crate::base::key::KeyPath;
use crate::base::span::Spanned;
use crate::compose::model::{FileObject, FileSource, IpamConfig, Job, Model, Network, Volume};
use crate::compose::tree::{Node, Value};

impl Binder<'_, '_> {
    /// What runs is bound as a service is.
    pub(super) fn job(&mut self, key: &str, node: &Node) -> Job {
        let triggers = node.get("triggers");
        let manual = triggers.and_then(|triggers| triggers.get("manual"));
        Job {
            key: key.to_owned(),
            span: node.key,
            schedule: triggers.and_then(|triggers| spanned(triggers, "schedule")),
            manual: !matches!(manual.map(|node| &node.value), Some(Value::Bool(false))),
            container: self.service(key, node),
        }
    }

    pub(super) fn network(&mut self, key: &str, node: &Node) -> Network {
        let subnets = match node.get("ipam") {
            Some(ipam) => self.under("ipam", |binder| binder.items(ipam, "config", Self::pool)),
            None => Vec::new(),
        };
        Network {
            key: key.to_owned(),
            span: node.key,
            name: text(node, "name").unwrap_or_else(|| key.to_owned()),
            external: flag(node, "external"),
            driver: spanned(node, "driver"),
            driver_opts: super::options(node, "driver_opts"),
            subnets,
            ipam_driver: node.get("ipam").and_then(|ipam| spanned(ipam, "driver")),
            ipam_options: node
                .get("ipam")
                .map(|ipam| labels(ipam, "options"))
                .unwrap_or_default(),
            attachable: flag(node, "attachable"),
            enable_ipv4: match node.get("enable_ipv4").map(|node| &node.value) {
                Some(Value::Bool(on)) => Some(*on),
                _ => None,
            },
            internal: flag(node, "internal"),
            enable_ipv6: flag(node, "enable_ipv6"),
            labels: labels(node, "labels"),
        }
    }

    fn pool(&mut self, node: &Node) -> Option<IpamConfig> {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let place = |node: &Node, key: &str| node.get(key).map(|value| value.span);
        let gateway = self.parse(node, "gateway", "an IP address", address);
        let gateway = gateway.map(|gateway| Spanned::new(gateway, place(node, "gateway")));
        let mut aux_addresses = BTreeMap::new();
        if let Some(entries) = node.get("aux_addresses") {
            self.under("aux_addresses", |binder| {
                for name in entries
                    .entries()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name)
                {
                    if let Some(ip) = binder.parse(entries, name, "an IP address", address) {
                        let ip = Spanned::new(ip, place(entries, name));
                        aux_addresses.insert(name.clone(), ip);
                    }
                }
            });
        }
        Some(IpamConfig {
            span: Some(node.place()),
            subnet: spanned(node, "subnet"),
            ip_range: spanned(node, "ip_range"),
            gateway,
            aux_addresses,
        })
    }

    pub(super) fn volume(&mut self, key: &str, node: &Node) -> Volume {
        let options = node.get("driver_opts").and_then(Node::entries);
        let options = options.into_iter().flatten();
        let driver = node.get("driver").map(|entry| ("driver", entry));
        let all = options
            .map(|(key, entry)| (key.as_str(), entry))
            .chain(driver);
        let place = |(key, entry): (&str, &Node)| (key.to_owned(), entry.span);
        Volume {
            key: key.to_owned(),
            span: node.key,
            name: text(node, "name").unwrap_or_else(|| key.to_owned()),
            external: flag(node, "external"),
            driver: text(node, "driver"),
            driver_opts: labels(node, "driver_opts"),
            places: all.map(place).collect(),
            labels: labels(node, "labels"),
        }
    }

    /// A config or secret of a section.
    pub(super) fn file_object(&mut self, section: &str, key: &str, node: &Node) -> FileObject {
        self.path = KeyPath::root().key(section).key(key);
        let command = self.command_of(node);
        let source = if flag(node, "external") {
            FileSource::External
        } else if let Some(file) = text(node, "file") {
            FileSource::File(PathBuf::from(file))
        } else if let Some(variable) = node.get("environment") {
            let name = variable.scalar().unwrap_or_default();
            let vars = self
                .session
                .origin(variable.span.source)
                .map(|origin| origin.vars.clone());
            let value = vars.and_then(|vars| vars.get(&name).cloned());
            FileSource::Environment(name, value)
        } else if let Some(command) = command {
            FileSource::Command(command)
        } else {
            FileSource::Content(text(node, "content").unwrap_or_default())
        };
        let name = text(node, "name").unwrap_or_else(|| key.to_owned());
        FileObject {
            key: key.to_owned(),
            span: node.key,
            name,
            source,
            labels: labels(node, "labels"),
            template_driver: spanned(node, "template_driver"),
            driver: spanned(node, "driver"),
            driver_opts: labels(node, "driver_opts"),
        }
    }
}

pub(super) fn model(key: &str, node: &Node) -> Model {
    Model {
        key: key.to_owned(),
        span: node.key,
        name: text(node, "name").unwrap_or_else(|| key.to_owned()),
        model: spanned(node, "model").unwrap_or_default(),
        context_size: integer(node, "context_size").and_then(|n| u64::try_from(n).ok()),
        runtime_flags: texts(node, "runtime_flags"),
    }
}
