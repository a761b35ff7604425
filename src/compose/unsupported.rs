//! Valid keys that hoist does not act on yet: each is reported by name, so that nothing is ignored in silence.
//!
//! In: a checked tree. Out: warnings. Keys that are hints only (`attachable`, `consistency`) are not here:
//! ignoring them changes nothing that runs. A key leaves this table when its behaviour lands.
//! Imports: `base`, `tree`.

use super::tree::{Entries, Node, Value};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::{Key, KeyPath};

/// Paths of the keys, and what ignoring them means; `*` is any name, `[]` any item.
const KEYS: &[(&str, &str)] = &[
    ("jobs", "no job is run"),
    ("services.*.build.isolation", "it is for Windows only"),
    ("services.*.cpu_count", "it is for Windows only"),
    ("services.*.cpu_percent", "it is for Windows only"),
    ("services.*.credential_spec", "it is for Windows only"),
    (
        "services.*.deploy.resources.reservations.generic_resources",
        "nothing is reserved",
    ),
    ("services.*.isolation", "it is for Windows only"),
    ("networks.*.ipam.options", "the options have no effect"),
];

/// A row of the table whose path is looked for step by step.
struct Row {
    steps: Vec<&'static str>,
    effect: &'static str,
}

impl Row {
    fn new(path: &'static str, effect: &'static str) -> Self {
        let part = |part: &'static str| {
            let name = part.trim_end_matches("[]");
            let items = std::iter::repeat_n("[]", (part.len() - name.len()) / 2);
            std::iter::once(name).chain(items)
        };
        Self {
            steps: path.split('.').flat_map(part).collect(),
            effect,
        }
    }
    /// Whether a key may stand at a depth.
    fn fits(&self, depth: usize, key: Step<'_>) -> bool {
        match (self.steps.get(depth), key) {
            (Some(step), Step::Name(name)) => *step == "*" || *step == name,
            (Some(step), Step::Index(_)) => *step == "[]",
            (None, _) => false,
        }
    }
}

/// A key that is looked at; it becomes a part of a path only where a row may need it.
#[derive(Clone, Copy)]
enum Step<'k> {
    Name(&'k str),
    Index(usize),
}

/// Reports the keys of the table that a project uses.
pub(super) fn warn(root: &Entries, diags: &mut Diagnostics) {
    let rows = KEYS.iter().map(|(path, effect)| Row::new(path, effect));
    let rows: Vec<Row> = rows.collect();
    let rows: Vec<&Row> = rows.iter().collect();
    let mut walk = Walk {
        diags,
        path: KeyPath::root(),
    };
    for (key, node) in root {
        walk.step(Step::Name(key), node, &rows);
    }
}

struct Walk<'d> {
    diags: &'d mut Diagnostics,
    path: KeyPath,
}

impl Walk<'_> {
    /// Looks at a value under a key; `rows` are those that fit the path up to it.
    fn step(&mut self, key: Step<'_>, node: &Node, rows: &[&Row]) {
        let depth = self.path.0.len();
        let rows = rows.iter().copied();
        let rows: Vec<&Row> = rows.filter(|row| row.fits(depth, key)).collect();
        if rows.is_empty() {
            return;
        }
        self.path.0.push(match key {
            Step::Name(name) => Key::Name(name.to_owned()),
            Step::Index(at) => Key::Index(at),
        });
        self.node(node, &rows);
        self.path.0.pop();
    }

    fn node(&mut self, node: &Node, rows: &[&Row]) {
        let depth = self.path.0.len();
        let known = rows.iter().find(|row| row.steps.len() == depth);
        if let Some(row) = known {
            if !is_empty(node) {
                self.diags.push(warning(node, &self.path, row.effect));
            }
            return;
        }
        match &node.value {
            Value::Map(entries) => {
                for (key, entry) in entries.iter().filter(|(key, _)| !key.starts_with("x-")) {
                    self.step(Step::Name(key), entry, rows);
                }
            }
            Value::List(items) => {
                let maps = items.iter().enumerate();
                for (at, item) in maps.filter(|(_, item)| item.entries().is_some()) {
                    self.step(Step::Index(at), item, rows);
                }
            }
            _ => {}
        }
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::Map(entries) => entries.is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

fn warning(node: &Node, path: &KeyPath, effect: &str) -> Diagnostic {
    let name = match path.0.last() {
        Some(Key::Name(name)) => name.as_str(),
        _ => "value",
    };
    Diagnostic::warning(format!(
        "`{name}` is not supported by hoist yet and is ignored: {effect}"
    ))
    .at(node.key_place())
    .path(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::schema::{PROJECT, Rule, Shape};

    /// The shape that the entries of a rule have.
    fn inside(rule: &'static Rule) -> Option<&'static Shape> {
        match rule {
            Rule::Object(shape) | Rule::Short(_, shape) => Some(shape),
            Rule::Nullable(rule)
            | Rule::Each(rule)
            | Rule::List(rule)
            | Rule::Named(_, rule)
            | Rule::AllOrList(rule) => inside(rule),
            _ => None,
        }
    }

    #[test]
    fn each_path_of_the_table_leads_to_a_key() {
        for (path, _) in KEYS {
            let mut shape = Some(&PROJECT);
            for name in path.split('.').filter(|name| *name != "*") {
                let name = name.trim_end_matches("[]");
                let rule = shape.and_then(|shape| shape.rule(name));
                shape = inside(rule.unwrap_or_else(|| panic!("{path}: no key {name}")));
            }
        }
    }
}
