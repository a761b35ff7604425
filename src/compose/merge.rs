//! Phase 4: several trees become one.
//!
//! In: [`Joined`] trees, the later ones on top. Out: [`Merged`], one tree without merge tags.
//! Mappings merge, lists append, what has a rule of its own follows it ([`how`]). Items that replace each other
//! by key (ports, mounts) are still all here: `canon` drops the earlier ones once it knows their long form.
//! Imports: `base`, `join`, `trace`, `tree`. Rules: Compose Specification, "Merge"; where it is silent as Compose (`override/merge.go`).

use super::join::Joined;
use super::trace;
use super::tree::{Entries, Node, Tag, Value};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::{Key, KeyPath};

/// The whole project as one tree.
#[derive(Debug)]
pub(super) struct Merged {
    /// Its root; `None` when all files are empty.
    pub(super) root: Option<Node>,
}

/// Merges files in order.
pub(super) fn merge(files: Vec<Joined>, diags: &mut Diagnostics) -> Merged {
    let mut root = stack(files.into_iter().flat_map(|file| file.documents), diags);
    if let Some(root) = &mut root {
        strip(root);
    }
    Merged { root }
}

/// Merges trees in order and keeps their tags.
pub(super) fn stack(
    trees: impl IntoIterator<Item = Node>,
    diags: &mut Diagnostics,
) -> Option<Node> {
    trees.into_iter().reduce(|below, above| {
        Merge {
            diags,
            path: KeyPath::root(),
        }
        .node(below, above)
    })
}

/// Merges a service on top of the one it extends.
pub(super) fn service(name: &str, below: Node, above: Node, diags: &mut Diagnostics) -> Node {
    let path = KeyPath::root().key("services").key(name);
    Merge { diags, path }.node(below, above)
}

/// Removes what `!reset` marks.
fn strip(node: &mut Node) {
    match &mut node.value {
        Value::Map(entries) => {
            let mut removed = Vec::new();
            entries.retain(|key, entry| {
                let keep = entry.tag != Tag::Reset;
                if !keep {
                    removed.push((key.clone(), entry.clone()));
                }
                keep
            });
            entries.values_mut().for_each(strip);
            for (key, entry) in removed {
                node.lost(key, entry);
            }
        }
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(strip);
        }
        _ => {}
    }
}

/// How the values of a key merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Mappings merge, lists append, the rest is replaced.
    Deep,
    /// The later value replaces the earlier.
    Replace,
    /// Lists of `key=value` and mappings merge as mappings.
    Pairs,
    /// Single values and lists append.
    Append,
    /// Host lists and mappings append as `name=address`.
    Hosts,
    /// Lists of names and mappings merge as mappings.
    Names,
    /// As `Names`; a bare name is a dependency on the start.
    Dependencies,
    /// Text is the context of a build.
    Build,
    /// Options of another driver are dropped.
    Logging,
    /// Pools merge by their subnet.
    Pools,
}

/// The rule of a key path.
fn how(path: &KeyPath) -> How {
    let names: Vec<&str> = path
        .0
        .iter()
        .map(|key| match key {
            Key::Name(name) => name.as_str(),
            Key::Index(_) => "[]",
        })
        .collect();
    match names.as_slice() {
        ["services", _, rest @ ..] => match rest {
            ["command" | "entrypoint"] | ["healthcheck", "test"] => How::Replace,
            ["build"] => How::Build,
            ["depends_on"] => How::Dependencies,
            ["networks" | "models"] => How::Names,
            ["extra_hosts"] | ["build", "extra_hosts"] => How::Hosts,
            ["logging"] => How::Logging,
            ["annotations" | "environment" | "labels" | "sysctls"]
            | ["build", "args" | "additional_contexts" | "labels" | "ssh"]
            | ["deploy", "labels"] => How::Pairs,
            ["dns" | "dns_opt" | "dns_search" | "env_file" | "label_file" | "tmpfs"] => How::Append,
            _ => How::Deep,
        },
        ["networks", _, "ipam", "config"] => How::Pools,
        ["networks" | "volumes" | "configs" | "secrets", _, "labels"] => How::Pairs,
        [.., last] if last.starts_with("x-") => How::Replace,
        _ => How::Deep,
    }
}

struct Merge<'d> {
    diags: &'d mut Diagnostics,
    path: KeyPath,
}

impl Merge<'_> {
    fn node(&mut self, below: Node, above: Node) -> Node {
        if above.tag != Tag::Plain || below.tag == Tag::Reset {
            return above.over(below);
        }
        let how = how(&self.path);
        if how == How::Replace {
            return above.over(below);
        }
        if above.is_null() {
            return below;
        }
        if below.is_null() {
            return above;
        }
        let (below, above) = (normal(below, how), normal(above, how));
        match how {
            How::Logging if other_driver(&below, &above) => return above.over(below),
            How::Pools => return self.pools(below, above),
            _ => {}
        }
        let (key, span) = (above.key, above.span);
        match (below.value, above.value) {
            (Value::Map(lower), Value::Map(upper)) => Node {
                key: key.or(below.key),
                span,
                tag: below.tag,
                notes: trace::joined(below.notes, above.notes),
                value: Value::Map(self.entries(lower, upper)),
            },
            (Value::List(mut lower), Value::List(upper)) => {
                lower.extend(upper);
                Node {
                    key: key.or(below.key),
                    span,
                    tag: below.tag,
                    notes: trace::joined(below.notes, above.notes),
                    value: Value::List(lower),
                }
            }
            (lower @ (Value::Map(_) | Value::List(_)), upper) => {
                let lower = Node {
                    key: below.key,
                    span: below.span,
                    tag: below.tag,
                    notes: below.notes,
                    value: lower,
                };
                let upper = Node {
                    key,
                    span,
                    tag: Tag::Plain,
                    notes: above.notes,
                    value: upper,
                };
                self.mismatch(&lower, &upper);
                lower
            }
            (lower, value) => {
                let tag = below.tag;
                let lower = Node {
                    key: below.key,
                    span: below.span,
                    tag,
                    notes: below.notes,
                    value: lower,
                };
                let upper = Node {
                    key,
                    span,
                    tag,
                    notes: above.notes,
                    value,
                };
                upper.over(lower)
            }
        }
    }

    fn entries(&mut self, mut lower: Entries, upper: Entries) -> Entries {
        for (key, above) in upper {
            let Some(slot) = lower.get_mut(&key) else {
                lower.insert(key, above);
                continue;
            };
            let below = std::mem::replace(slot, above.with(Value::Null));
            self.path.0.push(Key::Name(key.clone()));
            let merged = self.node(below, above);
            self.path.0.pop();
            lower.insert(key, merged);
        }
        lower
    }

    /// A number and a `{soft, hard}` may replace each other; other kinds may not.
    fn mismatch(&mut self, below: &Node, above: &Node) {
        let fault = format!("{} can't be merged with {}", above.kind(), below.kind());
        self.diags.push(
            Diagnostic::error(fault)
                .at(above.place())
                .path(&self.path)
                .related(below.place(), format!("{} here", below.kind()))
                .hint("use the same form in both files, or replace it with `!override`"),
        );
    }

    fn pools(&mut self, below: Node, above: Node) -> Node {
        let (Value::List(mut lower), Value::List(upper)) =
            (below.value.clone(), above.value.clone())
        else {
            self.mismatch(&below, &above);
            return below;
        };
        for pool in upper {
            let subnet = pool.text_of("subnet").map(str::to_owned);
            let twin = lower
                .iter_mut()
                .find(|known| subnet.is_some() && known.text_of("subnet") == subnet.as_deref());
            match twin {
                Some(known) => {
                    let old = known.clone();
                    *known = self.node_at(old, pool);
                }
                None => lower.push(pool),
            }
        }
        above.with(Value::List(lower))
    }

    fn node_at(&mut self, below: Node, above: Node) -> Node {
        self.path.0.push(Key::Index(0));
        let merged = self.node(below, above);
        self.path.0.pop();
        merged
    }
}

fn other_driver(below: &Node, above: &Node) -> bool {
    match (below.text_of("driver"), above.text_of("driver")) {
        (Some(below), Some(above)) => below != above,
        _ => false,
    }
}

/// Brings a value to the form in which its key merges; what does not fit stays for `check` to report.
fn normal(node: Node, how: How) -> Node {
    match how {
        How::Pairs => pairs(node),
        How::Append => match node.value {
            Value::Text(_) => {
                let item = Node {
                    key: None,
                    ..node.clone()
                };
                node.with(Value::List(vec![item]))
            }
            _ => node,
        },
        How::Hosts => hosts(node),
        How::Names => named(node, |item| item.with(Value::Null)),
        How::Dependencies => named(node, dependency),
        How::Build => match node.value {
            Value::Text(_) => {
                let context = Node {
                    key: None,
                    ..node.clone()
                };
                node.with(Value::Map(
                    [("context".to_owned(), context)].into_iter().collect(),
                ))
            }
            _ => node,
        },
        How::Deep | How::Replace | How::Logging | How::Pools => node,
    }
}

/// What a bare name under `depends_on` stands for.
pub(super) fn dependency(item: &Node) -> Node {
    let entries = [
        (
            "condition".to_owned(),
            Node::text(item.span, "service_started"),
        ),
        (
            "required".to_owned(),
            Node::new(item.span, Value::Bool(true)),
        ),
    ];
    item.with(Value::Map(entries.into_iter().collect()))
}

/// A list of `key=value` as a mapping; the later of two equal keys wins.
pub(super) fn pairs(node: Node) -> Node {
    let Value::List(items) = &node.value else {
        return node;
    };
    let mut entries = Entries::new();
    for item in items {
        let Value::Text(text) = &item.value else {
            return node;
        };
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Value::Text(value.to_owned())),
            None => (text.as_str(), Value::Null),
        };
        let entry = Node {
            key: Some(item.span),
            ..item.with(value)
        };
        insert_over(&mut entries, key, entry);
    }
    node.with(Value::Map(entries))
}

/// Adds an entry; one that is there already is replaced and noted.
pub(super) fn insert_over(entries: &mut Entries, key: &str, entry: Node) {
    match entries.get_mut(key) {
        Some(slot) => {
            let old = std::mem::replace(slot, entry);
            slot.replaces(old);
        }
        None => {
            entries.insert(key.to_owned(), entry);
        }
    }
}

/// A list of names as a mapping.
fn named(node: Node, value: impl Fn(&Node) -> Node) -> Node {
    let Value::List(items) = &node.value else {
        return node;
    };
    let mut entries = Entries::new();
    for item in items {
        let Value::Text(name) = &item.value else {
            return node;
        };
        entries.insert(
            name.clone(),
            Node {
                key: Some(item.span),
                ..value(item)
            },
        );
    }
    node.with(Value::Map(entries))
}

/// `extra_hosts` as a list of `name=address`.
pub(super) fn hosts(node: Node) -> Node {
    let mut list = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for (name, entry) in entries {
                let addresses = match &entry.value {
                    Value::List(items) => items.as_slice(),
                    _ => std::slice::from_ref(entry),
                };
                for address in addresses {
                    let Some(text) = address.as_text() else {
                        return node;
                    };
                    list.push(Node::text(address.span, format!("{name}={text}")));
                }
            }
        }
        Value::List(items) => {
            for item in items {
                let Some(text) = item.as_text() else {
                    return node;
                };
                let split = text.split_once('=').or_else(|| text.split_once(':'));
                match split {
                    Some((name, addresses)) => {
                        list.extend(addresses.split(',').map(|address| {
                            let pair = format!("{}={}", name.trim(), address.trim());
                            Node::text(item.span, pair)
                        }));
                    }
                    None => list.push(Node::text(item.span, text)),
                }
            }
        }
        _ => return node,
    }
    node.with(Value::List(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::SourceMap;
    use crate::compose::read::read;

    fn merged(files: &[&str]) -> (String, Vec<String>) {
        let (mut sources, mut diags) = (SourceMap::default(), Diagnostics::default());
        let files = files
            .iter()
            .enumerate()
            .map(|(at, text)| {
                let id = sources.add(format!("{at}.yaml"), *text);
                Joined {
                    documents: read(id, text, &mut diags).documents,
                }
            })
            .collect();
        let root = merge(files, &mut diags).root.unwrap();
        let services = root
            .get("services")
            .unwrap()
            .get("a")
            .unwrap()
            .to_json()
            .to_string();
        (
            services,
            diags
                .sorted()
                .iter()
                .map(|d| d.headline(&sources))
                .collect(),
        )
    }

    fn both(below: &str, above: &str) -> String {
        let file = |body: &str| format!("services: {{a: {{{body}}}}}");
        let (json, faults) = merged(&[&file(below), &file(above)]);
        assert_eq!(faults, Vec::<String>::new());
        json
    }

    #[test]
    fn each_key_merges_by_its_own_rule() {
        assert_eq!(both("command: [a]", "command: [b]"), r#"{"command":["b"]}"#);
        assert_eq!(both("dns: a", "dns: [b]"), r#"{"dns":["a","b"]}"#);
        assert_eq!(
            both("labels: {x: 1}", "labels: [y=2, x=3]"),
            r#"{"labels":{"x":"3","y":"2"}}"#
        );
        assert_eq!(
            both("build: ./a", "build: {target: t}"),
            r#"{"build":{"context":"./a","target":"t"}}"#
        );
        assert_eq!(
            both("networks: [n]", "networks: {m: {}}"),
            r#"{"networks":{"m":{},"n":null}}"#
        );
        assert_eq!(
            both("ulimits: {n: 1}", "ulimits: {n: {soft: 1, hard: 2}}"),
            r#"{"ulimits":{"n":{"hard":2,"soft":1}}}"#
        );
        assert_eq!(both("hostname: h", "hostname: "), r#"{"hostname":"h"}"#);
        assert_eq!(
            both("extra_hosts: {a: 1.1.1.1}", "extra_hosts: ['b:2.2.2.2']"),
            r#"{"extra_hosts":["a=1.1.1.1","b=2.2.2.2"]}"#
        );
        assert_eq!(
            both(
                "logging: {driver: a, options: {x: 1}}",
                "logging: {driver: b, options: {y: 2}}"
            ),
            r#"{"logging":{"driver":"b","options":{"y":2}}}"#
        );
    }

    #[test]
    fn reset_removes_and_override_replaces() {
        assert_eq!(
            both("ports: [1], image: x", "ports: !reset []"),
            r#"{"image":"x"}"#
        );
        assert_eq!(
            both("ports: [1]", "ports: !override [2]"),
            r#"{"ports":[2]}"#
        );
        assert_eq!(
            both("environment: {A: 1, B: 2}", "environment: {A: !reset null}"),
            r#"{"environment":{"B":2}}"#
        );
    }

    #[test]
    fn kinds_that_can_not_merge_are_reported_with_both_places() {
        let (_, faults) = merged(&["services: {a: {ports: [1]}}", "services: {a: {ports: x}}"]);
        assert_eq!(
            faults,
            ["1.yaml:1:23: services.a.ports: a string can't be merged with a list"]
        );
    }
}
