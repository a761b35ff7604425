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

/// Merges files in order. `check` sees what each file but the last makes of those before it: a fault counts
/// even where a later file covers it. `written` is whether the result is printed as it was written.
pub(super) fn merge(
    files: Vec<Joined>,
    written: bool,
    diags: &mut Diagnostics,
    check: impl Fn(&mut Node, &mut Diagnostics),
) -> Merged {
    let documents = files.into_iter().flat_map(|file| file.documents);
    Merged {
        root: stack(documents, written, diags, check),
    }
}

/// Merges trees in order; nothing in the result is marked.
pub(super) fn stack(
    trees: impl IntoIterator<Item = Node>,
    written: bool,
    diags: &mut Diagnostics,
    check: impl Fn(&mut Node, &mut Diagnostics),
) -> Option<Node> {
    let mut trees = trees.into_iter();
    let mut root = trees.next()?;
    strip(&mut root);
    for above in trees {
        check(&mut root, diags);
        let mut merge = Merge {
            diags,
            path: KeyPath::root(),
            raw: false,
            written,
        };
        root = merge.node(root, above);
        strip(&mut root);
    }
    Some(root)
}

/// Merges a service on top of the one it extends. What that one's tags removed, they removed in its own file.
/// Short forms are still as written where both are of the same file.
pub(super) fn service(
    name: &str,
    (mut below, above): (Node, Node),
    same_file: bool,
    written: bool,
    diags: &mut Diagnostics,
) -> Node {
    strip(&mut below);
    below.tag = Tag::Plain;
    let mut merge = Merge {
        diags,
        path: KeyPath::root().key("services").key(name),
        raw: same_file,
        written,
    };
    merge.node(below, above)
}

/// Removes what `!reset` marks, and forgets what `!override` marked.
pub(super) fn strip(node: &mut Node) {
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
            for entry in entries.values_mut() {
                entry.tag = Tag::Plain;
                strip(entry);
            }
            for (key, entry) in removed {
                node.lost(key, entry);
            }
        }
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            for item in items {
                item.tag = Tag::Plain;
                strip(item);
            }
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
    /// A number and `{soft, hard}` replace each other.
    Ulimit,
    /// `all` stands for a list of one.
    Devices,
    /// Mappings merge; a list can't be added to what another file says.
    Agents,
    /// The old `external: {name}` is a name and `external: true`.
    Resource,
}

impl How {
    /// Whether a value says nothing in any form of its key, so that what stands below stays as it is.
    fn is_deaf_to(self, above: &Node) -> bool {
        match (self, &above.value) {
            (Self::Pairs | Self::Append | Self::Hosts, value) => {
                !matches!(value, Value::Text(_) | Value::List(_) | Value::Map(_))
            }
            (Self::Names | Self::Dependencies, value) => {
                !matches!(value, Value::List(_) | Value::Map(_))
            }
            (Self::Build, value) => !matches!(value, Value::Text(_) | Value::Map(_)),
            _ => false,
        }
    }
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
        ["services" | "jobs", _, rest @ ..] => match rest {
            ["command" | "entrypoint"] | ["healthcheck", "test"] => How::Replace,
            ["build"] => How::Build,
            ["depends_on"] => How::Dependencies,
            ["networks" | "models"] => How::Names,
            ["extra_hosts"] | ["build", "extra_hosts"] => How::Hosts,
            ["logging"] => How::Logging,
            ["annotations" | "environment" | "labels" | "sysctls"]
            | ["build", "args" | "additional_contexts" | "labels"]
            | ["deploy", "labels"] => How::Pairs,
            ["build", "ssh"] => How::Agents,
            ["ulimits", _] => How::Ulimit,
            ["gpus"] => How::Devices,
            ["dns" | "dns_opt" | "dns_search" | "env_file" | "label_file" | "tmpfs"] => How::Append,
            _ => How::Deep,
        },
        ["networks" | "volumes" | "configs" | "secrets", _] => How::Resource,
        ["networks", _, "ipam", "config"] => How::Pools,
        ["networks" | "volumes" | "configs" | "secrets", _, "labels"] => How::Pairs,
        _ => How::Deep,
    }
}

struct Merge<'d> {
    diags: &'d mut Diagnostics,
    path: KeyPath,
    /// Whether short forms are still as written; between files they are not.
    raw: bool,
    /// Whether merged pairs become lists of `key=value`, which Compose prints where nothing is interpolated.
    written: bool,
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
        if how.is_deaf_to(&above) {
            self.ignored(&below, &above);
            return below;
        }
        let listed = below.items().is_some();
        let lines = self.written && how == How::Pairs && !self.at("additional_contexts");
        let (below, above) = match lines {
            true => (sorted(below), sorted(above)),
            false => (below, above),
        };
        let (below, mut above) = (normal(below, how), normal(above, how));
        if how == How::Hosts {
            without_said(&below, &mut above);
        }
        match how {
            How::Logging if other_driver(&below, &above) => return above.over(below),
            How::Pools => return self.pools(below, above),
            How::Pairs if lines => return as_lines(self.pairs(below, above, listed)),
            How::Pairs => return self.pairs(below, above, listed),
            How::Ulimit if below.entries().is_none() || above.entries().is_none() => {
                return above.over(below);
            }
            How::Agents if !self.raw && above.items().is_some() => {
                self.mismatch(&below, &above);
                return below;
            }
            How::Resource => return self.values(named_outside(below), above),
            How::Devices if !self.raw => return self.devices(below, above),
            How::Names | How::Dependencies if above.entries().is_none() => return above,
            _ => {}
        }
        self.values(below, above)
    }

    /// Whether the value at hand is that of a key.
    fn at(&self, key: &str) -> bool {
        matches!(self.path.0.last(), Some(Key::Name(name)) if name == key)
    }

    /// Merges two values by their kinds.
    fn values(&mut self, below: Node, above: Node) -> Node {
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

    /// Merges two mappings of names to scalars: each name is replaced, by nothing as well.
    fn pairs(&mut self, mut below: Node, above: Node, listed: bool) -> Node {
        let (Some(lower), Value::Map(upper)) = (below.entries_mut(), &above.value) else {
            return above;
        };
        let mut resets = Vec::new();
        for (name, entry) in upper {
            match entry.tag {
                Tag::Reset if listed => resets.push(entry.key_place()),
                _ => insert_over(lower, name, entry.clone()),
            }
        }
        for place in resets {
            let fault = "`!reset` has no effect here: what stands below is a list";
            let hint = "replace the whole value with `!override`";
            self.diags.push(
                Diagnostic::warning(fault)
                    .at(place)
                    .path(&self.path)
                    .related(below.place(), "the list")
                    .hint(hint),
            );
        }
        Node {
            key: above.key.or(below.key),
            span: above.span,
            tag: below.tag,
            notes: trace::joined(below.notes, above.notes),
            value: below.value,
        }
    }

    /// Merges device requests; `all` is one of them, and nothing can be added by the word.
    fn devices(&mut self, mut below: Node, above: Node) -> Node {
        if matches!(above.value, Value::Text(_)) {
            self.mismatch(&below, &above);
            return below;
        }
        if matches!(below.value, Value::Text(_)) {
            let count = Node::new(below.span, Value::Int(-1));
            let request = Value::Map([("count".to_owned(), count)].into_iter().collect());
            below.value = Value::List(vec![Node::new(below.span, request)]);
        }
        self.values(below, above)
    }

    /// Warns about a value that changes nothing.
    fn ignored(&mut self, below: &Node, above: &Node) {
        let fault = format!(
            "{} adds nothing to {} and is ignored",
            above.kind(),
            below.kind()
        );
        self.diags.push(
            Diagnostic::warning(fault)
                .at(above.place())
                .path(&self.path)
                .related(below.place(), "this stays as it is")
                .hint("remove it, or replace the value with `!override`"),
        );
    }

    /// Reports two kinds that can't become one value.
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

    /// Merges address pools as Compose: a pool below stays only when one above has its subnet.
    fn pools(&mut self, below: Node, above: Node) -> Node {
        let (Some(lower), Some(upper)) = (below.items(), above.items()) else {
            self.mismatch(&below, &above);
            return below;
        };
        let mut pools: Vec<Node> = Vec::new();
        for pool in lower {
            let mut pool = pool.clone();
            for other in upper {
                let twin = pools.iter().position(|known| same_subnet(known, other));
                if twin.is_none() && !same_subnet(&pool, other) {
                    pools.push(other.clone());
                    continue;
                }
                pool = self.node_at(pool, other.clone());
                match pools.iter_mut().find(|known| same_subnet(known, &pool)) {
                    Some(known) => *known = pool.clone(),
                    None => pools.push(pool.clone()),
                }
            }
        }
        above.with(Value::List(pools)).over(below)
    }

    fn node_at(&mut self, below: Node, above: Node) -> Node {
        self.path.0.push(Key::Index(0));
        let merged = self.node(below, above);
        self.path.0.pop();
        merged
    }
}

fn same_subnet(a: &Node, b: &Node) -> bool {
    a.text_of("subnet") == b.text_of("subnet")
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
        How::Pairs => pairs(one(node)),
        How::Append => lines(one(node)),
        How::Hosts => match node.value {
            Value::Map(_) => by_text(hosts(node)),
            _ => hosts(one(node)),
        },
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
        How::Deep
        | How::Replace
        | How::Logging
        | How::Pools
        | How::Ulimit
        | How::Devices
        | How::Resource
        | How::Agents => node,
    }
}

/// Writes the old `external: {name}` as the two keys it stands for.
fn named_outside(mut node: Node) -> Node {
    let Some(entries) = node.entries_mut() else {
        return node;
    };
    let Some(Value::Map(old)) = entries.get("external").map(|external| &external.value) else {
        return node;
    };
    let name = old.get("name").cloned();
    if let Some(external) = entries.get_mut("external") {
        external.value = Value::Bool(true);
    }
    if let Some(name) = name {
        entries.entry("name".to_owned()).or_insert(name);
    }
    node
}

/// A text as a list of it.
fn one(node: Node) -> Node {
    if node.as_text().is_none() {
        return node;
    }
    let item = Node {
        key: None,
        ..node.clone()
    };
    node.with(Value::List(vec![item]))
}

/// A mapping as a list of `key=value`, sorted.
fn lines(node: Node) -> Node {
    match node.value {
        Value::Map(_) => by_text(as_lines(node)),
        _ => node,
    }
}

/// A mapping as a list of `key=value`.
fn as_lines(node: Node) -> Node {
    let Value::Map(entries) = &node.value else {
        return node;
    };
    let line = |(key, entry): (&String, &Node)| {
        let text = entry.scalar().map(|value| format!("{key}={value}"));
        Node {
            tag: entry.tag,
            ..Node::text(entry.span, text.unwrap_or_else(|| key.clone()))
        }
    };
    let items = entries.iter().map(line).collect();
    node.with(Value::List(items))
}

/// A list with its texts in order.
fn by_text(mut node: Node) -> Node {
    if let Value::List(items) = &mut node.value {
        items.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
    }
    node
}

/// A mapping with its keys in order.
fn sorted(mut node: Node) -> Node {
    if let Value::Map(entries) = &mut node.value {
        entries.sort_keys();
    }
    node
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
    let mut entries = Entries::default();
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
    let mut entries = Entries::default();
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
                            let pair = format!("{name}={address}");
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

/// Takes the hosts out of a list that the other list says too; within one file each line stays.
fn without_said(below: &Node, above: &mut Node) {
    let said: std::collections::BTreeSet<&str> = below
        .items()
        .unwrap_or_default()
        .iter()
        .filter_map(Node::as_text)
        .collect();
    if let Value::List(items) = &mut above.value {
        items.retain(|item| item.as_text().is_none_or(|text| !said.contains(text)));
    }
}

#[cfg(test)]
mod tests;
