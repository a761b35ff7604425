//! The table `effects.txt`: each key that shapes a container, and the cases that see what it does.
//!
//! It is checked against hoist's own schema and against the list of cases, so that neither a new key nor a renamed
//! case goes unnoticed.

use std::collections::BTreeSet;

use serde_json::Value;

crate::cases!(&[];
    each_key_that_shapes_a_container_names_the_cases_that_see_its_effect,
);

/// Keys of the top level whose entries shape what containers find; their rows begin with `/`.
const TOP: &[&str] = &["networks", "volumes", "configs", "secrets"];

/// A line: the path of a key, and cases or the reason why there are none.
struct Row<'a> {
    path: &'a str,
    words: Vec<&'a str>,
}

fn rows() -> Vec<Row<'static>> {
    let lines = include_str!("effects.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &'static str| {
        let mut words = line.split_whitespace();
        Row {
            path: words.next().unwrap_or_default(),
            words: words.collect(),
        }
    };
    lines.map(row).collect()
}

/// Whether a path is another one, or lies below it.
fn covers(above: &str, path: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Collects the paths of all keys below a part of the schema: `a.b`, `a[].b`, `a.*.b`.
fn walk(schema: &Value, part: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = part["$ref"].as_str() {
        let shape = schema.pointer(name.trim_start_matches('#'));
        walk(schema, shape.expect("a definition"), path, found);
    }
    for one in ["anyOf", "oneOf", "allOf"] {
        for part in part[one].as_array().into_iter().flatten() {
            walk(schema, part, path, found);
        }
    }
    if part["items"].is_object() {
        walk(schema, &part["items"], &format!("{path}[]"), found);
    }
    if part["additionalProperties"].is_object() {
        walk(
            schema,
            &part["additionalProperties"],
            &format!("{path}.*"),
            found,
        );
    }
    let patterns = part["patternProperties"].as_object().into_iter().flatten();
    for (_, part) in patterns.filter(|(pattern, _)| !pattern.starts_with("^x-")) {
        walk(schema, part, &format!("{path}.*"), found);
    }
    for (key, part) in part["properties"].as_object().into_iter().flatten() {
        let path = match path {
            "" => key.clone(),
            above => format!("{above}.{key}"),
        };
        found.insert(path.clone());
        walk(schema, part, &path, found);
    }
}

fn each_key_that_shapes_a_container_names_the_cases_that_see_its_effect() {
    let schema = hoist::compose::json_schema();
    let mut paths = BTreeSet::new();
    walk(&schema, &schema["$defs"]["service"], "", &mut paths);
    for key in TOP {
        let part = &schema["properties"][key];
        walk(&schema, part, &format!("/{key}"), &mut paths);
    }
    assert!(paths.len() > 150, "only {} keys", paths.len());
    let rows = rows();
    let cases: BTreeSet<&str> = crate::cases().map(|case| case.short_name()).collect();
    let mut faults = Vec::new();
    // A key that only holds others is named by them.
    let holds = |path: &str| {
        paths
            .iter()
            .any(|other| other != path && covers(path, other))
    };
    for path in &paths {
        let named = rows.iter().any(|row| covers(row.path, path));
        if !named && !holds(path) {
            faults.push(format!("{path}: no line names it"));
        }
    }
    for row in &rows {
        if !paths.contains(row.path) {
            faults.push(format!("{}: there is no such key", row.path));
        }
        match &row.words[..] {
            [] | ["-"] | ["!"] => faults.push(format!("{}: no case is named", row.path)),
            ["!", ..] => {}
            names => faults.extend(
                names
                    .iter()
                    .filter(|name| !cases.contains(*name))
                    .map(|name| format!("{}: there is no case `{name}`", row.path)),
            ),
        }
    }
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}
