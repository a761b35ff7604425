//! `build`.
//!
//! In: a canonical `build`. Out: [`BuildSpec`]. Imports: `base`, `canon` (what is an address), `model`, `tree`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;

use super::{Binder, bytes, flag, labels, spanned, text, texts};
use crate::base::name::ServiceName;
use crate::base::span::Spanned;
use crate::compose::canon::is_address;
use crate::compose::model::{Attestation, BuildSecret, BuildSpec, ContextRef};
use crate::compose::tree::{Node, Value};

impl Binder<'_, '_> {
    pub(super) fn build(&mut self, node: &Node) -> BuildSpec {
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
            let octal = |text: String| u32::from_str_radix(&text, 8).ok();
            Some(BuildSecret {
                id,
                source,
                uid: text(item, "uid"),
                gid: text(item, "gid"),
                mode: text(item, "mode").and_then(octal),
                span: Some(item.span),
            })
        });
        BuildSpec {
            span: node.key,
            context: spanned(node, "context").map(|text| text.map(|text| context(&text))),
            dockerfile: spanned(node, "dockerfile"),
            dockerfile_inline: spanned(node, "dockerfile_inline"),
            target: spanned(node, "target"),
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
            network: spanned(node, "network"),
            shm_size: bytes(node, "shm_size"),
            extra_hosts: hosts(node).into_iter().map(|host| host.value).collect(),
            ulimits: ulimits(node),
            platforms: list("platforms"),
            privileged: flag(node, "privileged"),
            cache_from: list("cache_from"),
            cache_to: list("cache_to"),
            no_cache_filter: texts(node, "no_cache_filter"),
            ssh: ssh(node),
            entitlements: list("entitlements"),
            provenance: spanned(node, "provenance").map(|text| text.map(attestation)),
            sbom: spanned(node, "sbom").map(|text| text.map(attestation)),
            isolation: spanned(node, "isolation"),
            trust_host_ca: self.own_of_build(node),
        }
    }
}

/// Entries `id[=path]`.
fn ssh(node: &Node) -> IndexMap<String, Spanned<Option<String>>> {
    let items = node.get("ssh").and_then(Node::items).unwrap_or_default();
    let entry = |item: &Node| {
        let text = item.scalar()?;
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id.to_owned(), Some(path.to_owned())),
            None => (text, None),
        };
        Some((id, Spanned::new(path, item.span)))
    };
    items.iter().filter_map(entry).collect()
}

fn attestation(text: String) -> Attestation {
    match text.as_str() {
        "true" | "1" => Attestation::On,
        "false" | "0" => Attestation::Off,
        _ => Attestation::With(text),
    }
}

fn context(text: &str) -> ContextRef {
    if let Some(image) = text.strip_prefix("docker-image://") {
        ContextRef::Image(image.to_owned())
    } else if let Some(service) = text.strip_prefix("service:") {
        ContextRef::Service(ServiceName::from(service))
    } else if is_address(text) || text.starts_with("target:") {
        ContextRef::Remote(text.to_owned())
    } else {
        ContextRef::Dir(PathBuf::from(text))
    }
}

/// `extra_hosts` as pairs, in the order they were written: the first address of a name is tried first.
pub(super) fn hosts(node: &Node) -> Vec<Spanned<(String, String)>> {
    let items = node
        .get("extra_hosts")
        .and_then(Node::items)
        .unwrap_or_default();
    let pair = |item: &Node| {
        let (name, address) = item.as_text()?.split_once('=')?;
        Some(Spanned::new(
            (name.to_owned(), address.to_owned()),
            item.span,
        ))
    };
    let mut hosts: Vec<_> = items.iter().filter_map(pair).collect();
    hosts.sort_by_key(|host| host.span);
    hosts
}

/// `ulimits` as soft and hard. A limit that canonical form has dropped is one of zero.
pub(super) fn ulimits(node: &Node) -> BTreeMap<String, (i64, i64)> {
    let entries = node.get("ulimits").and_then(Node::entries);
    let limit = |(name, node): (&String, &Node)| {
        let number = |node: &Node| match node.value {
            Value::Int(value) => i64::try_from(value).ok(),
            _ => None,
        };
        let both = match number(node) {
            Some(both) => (both, both),
            None => {
                let part = |key: &str| node.get(key).map_or(Some(0), number);
                (part("soft")?, part("hard")?)
            }
        };
        Some((name.clone(), both))
    };
    entries.into_iter().flatten().filter_map(limit).collect()
}
