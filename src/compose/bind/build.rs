//! `build`.
//!
//! In: a canonical `build`. Out: [`BuildSpec`]. Imports: `base`, `canon` (what is an address), `model`, `tree`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Binder, flag, labels, text};
use crate::base::name::ServiceName;
use crate::base::scalar::ByteSize;
use crate::base::span::Spanned;
use crate::compose::canon::is_address;
use crate::compose::model::{BuildSecret, BuildSpec, ContextRef};
use crate::compose::tree::{Node, Value};

impl Binder<'_, '_> {
    pub(super) fn build(&mut self, node: &Node) -> BuildSpec {
        let spanned = |key: &str| {
            let value = node.get(key)?;
            Some(Spanned::new(value.scalar()?, value.span))
        };
        let list = |key: &str| {
            let items = node.get(key).and_then(Node::items).unwrap_or_default();
            items
                .iter()
                .filter_map(|item| Some(Spanned::new(item.scalar()?, item.span)))
                .collect()
        };
        let contexts = node.get("additional_contexts").and_then(Node::entries);
        let additional_contexts = contexts
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                Some((
                    name.clone(),
                    Spanned::new(context(value.as_text()?), value.span),
                ))
            })
            .collect();
        let args = node.get("args").and_then(Node::entries);
        let secrets = self.items(node, "secrets", |_, item| {
            let source = text(item, "source")?;
            let id = text(item, "target").unwrap_or_else(|| source.clone());
            Some(BuildSecret { id, source })
        });
        BuildSpec {
            span: node.key,
            context: spanned("context").map(|text| text.map(|text| context(&text))),
            dockerfile: spanned("dockerfile"),
            dockerfile_inline: spanned("dockerfile_inline"),
            target: spanned("target"),
            args: args
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.scalar()))
                .collect(),
            labels: labels(node, "labels"),
            tags: list("tags"),
            additional_contexts,
            secrets,
            no_cache: flag(node, "no_cache"),
            pull: flag(node, "pull"),
            network: spanned("network"),
            shm_size: text(node, "shm_size")
                .and_then(|text| text.parse().ok())
                .map(ByteSize),
            extra_hosts: hosts(node),
            ulimits: ulimits(node),
            platforms: list("platforms"),
            privileged: flag(node, "privileged"),
            trust_host_ca: self.trust_host_ca(node),
        }
    }

    /// `x-hoist.trust_host_ca` of a service or a build; other keys under `x-hoist` are refused.
    pub(super) fn trust_host_ca(&mut self, node: &Node) -> bool {
        let Some(own) = node.get("x-hoist") else {
            return false;
        };
        self.under("x-hoist", |binder| {
            let Some(entries) = own.entries() else {
                binder.fault(
                    own,
                    format!("expected a mapping, but this is {}", own.kind()),
                );
                return false;
            };
            let mut on = false;
            for (key, value) in entries {
                match (key.as_str(), &value.value) {
                    ("trust_host_ca", Value::Bool(value)) => on = *value,
                    ("trust_host_ca", _) => {
                        let fault = format!("expected a boolean, but this is {}", value.kind());
                        binder.under(key, |binder| binder.fault(value, fault));
                    }
                    _ => binder.fault(
                        value,
                        format!("unknown key `{key}`; the key is trust_host_ca"),
                    ),
                }
            }
            on
        })
    }
}

fn context(text: &str) -> ContextRef {
    if let Some(image) = text.strip_prefix("docker-image://") {
        ContextRef::Image(image.to_owned())
    } else if let Some(service) = text.strip_prefix("service:") {
        ContextRef::Service(ServiceName::from(service))
    } else if is_address(text) {
        ContextRef::Remote(text.to_owned())
    } else {
        ContextRef::Dir(PathBuf::from(text))
    }
}

/// `extra_hosts` as pairs.
pub(super) fn hosts(node: &Node) -> Vec<(String, String)> {
    let items = node
        .get("extra_hosts")
        .and_then(Node::items)
        .unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.as_text()?.split_once('='))
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect()
}

/// `ulimits` as soft and hard.
pub(super) fn ulimits(node: &Node) -> BTreeMap<String, (i64, i64)> {
    let entries = node.get("ulimits").and_then(Node::entries);
    let limit = |(name, node): (&String, &Node)| {
        let number = |node: &Node| match node.value {
            Value::Int(value) => i64::try_from(value).ok(),
            _ => None,
        };
        let both = match number(node) {
            Some(both) => (both, both),
            None => (number(node.get("soft")?)?, number(node.get("hard")?)?),
        };
        Some((name.clone(), both))
    };
    entries.into_iter().flatten().filter_map(limit).collect()
}
