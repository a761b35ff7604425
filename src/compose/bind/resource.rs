//! Top-level networks, volumes, configs and secrets.
//!
//! In: canonical entries. Out: their typed form. Imports: `base`, `model`, `tree`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{Binder, flag, labels, text};
use crate::base::key::KeyPath;
use crate::compose::model::{FileObject, FileSource, IpamConfig, Network, Volume};
use crate::compose::tree::Node;

impl Binder<'_, '_> {
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
            driver: text(node, "driver"),
            driver_opts: labels(node, "driver_opts"),
            subnets,
            internal: flag(node, "internal"),
            enable_ipv6: flag(node, "enable_ipv6"),
            labels: labels(node, "labels"),
        }
    }

    fn pool(&mut self, node: &Node) -> Option<IpamConfig> {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let gateway = self.parse(node, "gateway", "an IP address", address);
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
                        aux_addresses.insert(name.clone(), ip);
                    }
                }
            });
        }
        let (subnet, ip_range) = (text(node, "subnet"), text(node, "ip_range"));
        Some(IpamConfig {
            subnet,
            ip_range,
            gateway,
            aux_addresses,
        })
    }

    pub(super) fn volume(&mut self, key: &str, node: &Node) -> Volume {
        Volume {
            key: key.to_owned(),
            span: node.key,
            name: text(node, "name").unwrap_or_else(|| key.to_owned()),
            external: flag(node, "external"),
            driver: text(node, "driver"),
            driver_opts: labels(node, "driver_opts"),
            labels: labels(node, "labels"),
        }
    }

    pub(super) fn file_object(&mut self, key: &str, node: &Node) -> FileObject {
        self.path = KeyPath::root();
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
        } else {
            FileSource::Content(text(node, "content").unwrap_or_default())
        };
        let name = text(node, "name").unwrap_or_else(|| key.to_owned());
        FileObject {
            key: key.to_owned(),
            span: node.key,
            name,
            source,
        }
    }
}
