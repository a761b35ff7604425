//! What `config` prints.
//!
//! In: a project that `select` has narrowed down. Out: text. It writes to no terminal.
//! Imports: `base`, `model`. Rules: as Compose (`cmd/compose/config.go`): `$` is written `$$`, so that the
//! text read again means the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::model::Project;

/// The project as JSON, indented by two.
pub fn json(project: &Project) -> String {
    json_document(&project.document, true)
}

/// The project as YAML.
pub fn yaml(project: &Project) -> String {
    yaml_document(&project.document, true)
}

/// A document as JSON; `escape` writes `$` as `$$`.
pub fn json_document(document: &Map<String, Value>, escape: bool) -> String {
    let mut value = Value::Object(document.clone());
    without_extensions(&mut value, "");
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    if escape {
        text.replace('$', "$$")
    } else {
        text
    }
}

/// Mappings whose keys are the user's own words; `x-` means nothing there.
const FREE: [&str; 21] = [
    "",
    "services",
    "networks",
    "volumes",
    "configs",
    "secrets",
    "models",
    "jobs",
    "environment",
    "labels",
    "annotations",
    "args",
    "sysctls",
    "options",
    "driver_opts",
    "storage_opt",
    "additional_contexts",
    "depends_on",
    "ulimits",
    "aux_addresses",
    "extra_hosts",
];

/// Drops `x-*` keys below the top level, as Compose's JSON has none of them there.
fn without_extensions(value: &mut Value, name: &str) {
    match value {
        Value::Object(entries) => {
            if !FREE.contains(&name) {
                entries.retain(|key, _| !key.starts_with("x-"));
            }
            if name == "bind" {
                // as Compose, which writes no flag that is off
                entries.retain(|key, on| key != "create_host_path" || *on == Value::Bool(true));
            }
            for (key, value) in entries {
                if !(name.is_empty() && key.starts_with("x-")) {
                    without_extensions(value, key);
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| without_extensions(item, "[]")),
        _ => {}
    }
}

/// A document as YAML; `escape` writes `$` as `$$`.
pub fn yaml_document(document: &Map<String, Value>, escape: bool) -> String {
    let mut out = String::new();
    let order = |key: &str| usize::from(key != "name");
    let mut keys: Vec<(&String, &Value)> = document.iter().collect();
    keys.sort_by_key(|(key, _)| order(key));
    for (key, value) in keys {
        entry(&mut out, 0, key, value);
    }
    if escape { out.replace('$', "$$") } else { out }
}

/// Names of the services.
pub fn services(project: &Project) -> Vec<String> {
    project
        .services
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect()
}

/// Keys of the volumes.
pub fn volumes(project: &Project) -> Vec<String> {
    project.volumes.keys().cloned().collect()
}

/// Keys of the networks.
pub fn networks(project: &Project) -> Vec<String> {
    project.networks.keys().cloned().collect()
}

/// The image of each service; `<project>-<service>` for one that is only built.
pub fn images(project: &Project) -> Vec<String> {
    let default = |name: &str| format!("{}-{name}", project.name);
    project
        .services
        .iter()
        .map(|(name, service)| match &service.image {
            Some(image) => image.value.clone(),
            None => default(name.as_str()),
        })
        .collect()
}

/// Profiles that services belong to, sorted.
pub fn profiles(project: &Project) -> Vec<String> {
    let all: BTreeSet<&String> = project
        .services
        .values()
        .flat_map(|service| &service.profiles)
        .collect();
    all.into_iter().cloned().collect()
}

/// A SHA-256 of each service's document without the keys that change no container; in hex.
pub fn hashes(project: &Project) -> BTreeMap<String, String> {
    let services = project.document.get("services").and_then(Value::as_object);
    let hash = |(name, service): (&String, &Value)| {
        let mut service = service.clone();
        if let Some(service) = service.as_object_mut() {
            for key in ["build", "pull_policy", "scale", "depends_on", "profiles"] {
                service.remove(key);
            }
            if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
                deploy.remove("replicas");
            }
        }
        let digest = Sha256::digest(service.to_string().as_bytes());
        let hex = digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        (name.clone(), hex)
    };
    services.into_iter().flatten().map(hash).collect()
}

fn entry(out: &mut String, depth: usize, key: &str, value: &Value) {
    let _ = write!(out, "{:1$}{2}:", "", depth * 2, scalar_text(key));
    after(out, depth, value);
}

/// Writes a value behind `key:` or `-`.
fn after(out: &mut String, depth: usize, value: &Value) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            out.push('\n');
            for (key, value) in entries {
                entry(out, depth + 1, key, value);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for value in items {
                item(out, depth + 1, value);
            }
        }
        Value::String(text) if is_block(text) => block(out, depth, text),
        _ => {
            out.push(' ');
            out.push_str(&inline(value));
            out.push('\n');
        }
    }
}

fn item(out: &mut String, depth: usize, value: &Value) {
    let _ = write!(out, "{:1$}-", "", depth * 2);
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (at, (key, value)) in entries.iter().enumerate() {
                if at == 0 {
                    let _ = write!(out, " {}:", scalar_text(key));
                    after(out, depth + 1, value);
                } else {
                    entry(out, depth + 1, key, value);
                }
            }
        }
        _ => after(out, depth, value),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar_text(text),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// Whether a text can stand as a literal block.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text
            .chars()
            .all(|c| c == '\n' || c == '\t' || !c.is_control())
        && !text.lines().any(|line| line.ends_with([' ', '\t']))
        && !text.ends_with("\n\n")
}

fn block(out: &mut String, depth: usize, text: &str) {
    out.push_str(if text.ends_with('\n') {
        " |\n"
    } else {
        " |-\n"
    });
    for line in text.lines() {
        if !line.is_empty() {
            let _ = write!(out, "{:1$}{line}", "", (depth + 1) * 2);
        }
        out.push('\n');
    }
}

/// A text as a plain scalar where every YAML reader takes it for text, else in double quotes.
fn scalar_text(text: &str) -> String {
    let resolved = super::scalar::plain(text);
    let plain = matches!(resolved, super::tree::Value::Text(_))
        && !text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@`=~< ".contains(c))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.chars().any(char::is_control)
        && !is_word(text)
        && !is_sexagesimal(text);
    match plain {
        true => text.to_owned(),
        false => Value::String(text.to_owned()).to_string(),
    }
}

/// `22:22` and `1_0`: numbers to readers of YAML 1.1.
fn is_sexagesimal(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b':' | b'_' | b'+' | b'-' | b'.'))
        && text.bytes().any(|b| matches!(b, b':' | b'_'))
}

/// Words that some YAML reader takes for a boolean or null.
fn is_word(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null" | "nan" | "inf"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_reads_back_as_what_was_written() {
        let json = serde_json::json!({
            "name": "x",
            "a": {"list": [{"k": 1, "l": ["x: y", "0440", "yes", ""]}, {}], "text": "a\nb\n", "n": null},
            "b": {"deep": [[1, 2], "t\n u"], "s": "# no", "t": "22:22", "d2": "1m30s", "ip": "1.2.3.4", "p": "./a b", "d": "$X"},
        });
        let Value::Object(document) = json.clone() else {
            unreachable!()
        };
        let text = yaml_document(&document, false);
        let mut diags = crate::base::diag::Diagnostics::default();
        let raw = super::super::read::read(crate::base::span::SourceId(0), &text, &mut diags);
        assert!(diags.is_empty(), "{text}\n{diags:?}");
        let sorted: Value = serde_json::from_str(&raw.documents[0].to_json().to_string()).unwrap();
        assert_eq!(sorted, json, "{text}");
    }
}
