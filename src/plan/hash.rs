//! What a container was made from, as one hash and as a document to compare with later.
//!
//! | counts | does not count |
//! |---|---|
//! | every key of the service in the canonical document | `build`, `pull_policy`, `scale`, `deploy.{replicas,update_config,rollback_config}`, `depends_on`, `profiles`, `attach`, `develop` |
//! | full names of its networks and volumes | the image behind the name: its id is compared apart |
//! | content of its configs and secrets (by fingerprint), and of a seccomp profile | everything of other services |
//! | `x-hoist.trust_host_ca`, `x-hoist.ready`, `x-hoist.on_unhealthy` | |
//!
//! Imports: `base`, `compose::model`, `image::digest`, `cause`.
//! Source: Docker Compose, `pkg/compose/hash.go`; it does not hash the content of configs and secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::cause::Change;
use super::desired::Facts;
use crate::base::scalar::format_duration;
use crate::base::term::OnUnhealthy;
use crate::compose::model::{Project, Service, VolumeSource};
use crate::image::digest::Digest;

/// Keys of a service that do not count.
const IGNORED: [&str; 7] = [
    "build",
    "pull_policy",
    "scale",
    "depends_on",
    "profiles",
    "attach",
    "develop",
];

/// What a container is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecHash {
    /// 64 hex digits.
    pub hash: String,
    /// Compact JSON: the hashed document, with digests in place of secret values.
    pub document: String,
}

/// The hash of one service.
pub fn of_service(project: &Project, service: &Service, facts: &Facts) -> SpecHash {
    let declared = project
        .document
        .get("services")
        .and_then(|all| all.get(service.name.as_str()));
    let mut document = declared
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for key in IGNORED {
        document.shift_remove(key);
    }
    if let Some(Value::Object(deploy)) = document.get_mut("deploy") {
        for key in ["replicas", "update_config", "rollback_config"] {
            deploy.shift_remove(key);
        }
        if deploy.is_empty() {
            document.shift_remove("deploy");
        }
    }
    document.insert("resolved".into(), resolved(project, service, facts));
    let full = canonical(&Value::Object(document), false);
    let hash = Digest::of(full.to_string().as_bytes()).hex();
    SpecHash {
        hash,
        document: canonical(&full, true).to_string(),
    }
}

/// The hash of a network's or volume's declaration.
pub fn of_resource(declaration: &Value) -> String {
    Digest::of(canonical(declaration, false).to_string().as_bytes()).hex()
}

/// What stands behind names the service uses.
fn resolved(project: &Project, service: &Service, facts: &Facts) -> Value {
    let networks: BTreeMap<&str, &str> = service
        .networks
        .keys()
        .filter_map(|key| Some((key.as_str(), project.networks.get(key)?.name.as_str())))
        .collect();
    let volumes: BTreeMap<&str, &str> = service
        .volumes
        .iter()
        .filter_map(|mount| match &mount.value.source {
            VolumeSource::Volume { key: Some(key), .. } => {
                Some((key.as_str(), project.volumes.get(key)?.name.as_str()))
            }
            _ => None,
        })
        .collect();
    let digest = |kind: &str, key: &str| {
        let name = format!("{kind}.{key}");
        let told = facts.contents.get(&name);
        // A content that was not asked for has a place in the document, so that only this differs.
        let untold = || {
            facts
                .untold
                .contains(&name)
                .then(|| Value::String("untold".into()))
        };
        told.map(|d| Value::String(d.to_string())).or_else(untold)
    };
    let configs: BTreeMap<&str, Value> = service
        .configs
        .iter()
        .filter_map(|grant| Some((grant.source.as_str(), digest("configs", &grant.source)?)))
        .collect();
    let secrets: BTreeMap<&str, Value> = service
        .secrets
        .iter()
        .filter_map(|grant| Some((grant.source.as_str(), digest("secrets", &grant.source)?)))
        .collect();
    let profiles: BTreeMap<&str, String> = service
        .security_opt
        .iter()
        .filter_map(|opt| {
            let text = facts.profiles.get(opt.value.as_str())?;
            Some((opt.value.as_str(), Digest::of(text.as_bytes()).to_string()))
        })
        .collect();
    let mut all = Map::new();
    for (key, value) in [
        ("networks", json!(networks)),
        ("volumes", json!(volumes)),
        ("configs", json!(configs)),
        ("secrets", json!(secrets)),
        ("seccomp", json!(profiles)),
    ] {
        if value.as_object().is_some_and(|map| !map.is_empty()) {
            all.insert(key.into(), value);
        }
    }
    if service.trust_host_ca {
        all.insert("trust_host_ca".into(), Value::Bool(true));
    }
    let own = own(service);
    if !own.is_empty() {
        all.insert("x-hoist".into(), Value::Object(own));
    }
    Value::Object(all)
}

/// What `x-hoist` says and the canonical document leaves out: a supervisor reads it when its container is made.
fn own(service: &Service) -> Map<String, Value> {
    let mut all = Map::new();
    if let Some(ready) = &service.ready {
        let mut said = Map::new();
        let mut say = |key: &str, value: Option<Value>| {
            value.and_then(|value| said.insert(key.to_owned(), value));
        };
        let http = ready.http.as_ref().map(|http| {
            let headers: BTreeMap<_, _> = http.headers.iter().cloned().collect();
            json!({"port": http.port, "path": http.path, "status": http.status, "headers": headers})
        });
        let time = |time: Option<std::time::Duration>| time.map(|t| json!(format_duration(t)));
        let timing = &ready.timing;
        say("http", http);
        say("tcp", ready.tcp.map(|port| json!({"port": port})));
        say("log", ready.log.as_ref().map(|log| json!(log.to_string())));
        say("interval", time(timing.interval));
        say("timeout", time(timing.timeout));
        say("retries", timing.retries.map(|retries| json!(retries)));
        say("start_period", time(timing.start_period));
        say("start_interval", time(timing.start_interval));
        all.insert("ready".to_owned(), Value::Object(said));
    }
    if service.on_unhealthy != OnUnhealthy::default() {
        all.insert("on_unhealthy".to_owned(), json!(service.on_unhealthy));
    }
    all
}

/// The value with sorted keys; `masked` puts digests in place of values that may be secrets.
fn canonical(value: &Value, masked: bool) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let entry = |(key, value): (&String, &Value)| match value {
                Value::String(text) if masked && is_secret(key) && !is_mask(text) => {
                    (key.clone(), Value::String(mask(text)))
                }
                other => (key.clone(), canonical(other, masked)),
            };
            Value::Object(sorted.into_iter().map(entry).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|v| canonical(v, masked)).collect()),
        other => other.clone(),
    }
}

fn mask(text: &str) -> String {
    format!("sha256:{}", Digest::of(text.as_bytes()).short())
}

/// Whether a `NAME=value` of the document has a digest in place of its value.
pub(super) fn is_masked(entry: &str) -> bool {
    let parts = entry.split_once('=');
    parts.is_some_and(|(name, value)| is_secret(name) && is_mask(value))
}

fn is_mask(text: &str) -> bool {
    text.starts_with("sha256:")
}

/// Whether a key's value is not for showing.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "pass",
        "secret",
        "token",
        "key",
        "credential",
        "auth",
        "private",
    ]
    .iter()
    .any(|w| key.contains(w))
}

/// What differs between two documents of [`SpecHash`], by path. Empty when one of them is none.
pub fn changes(was: &str, now: &str) -> Vec<Change> {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    let (Some(was), Some(now)) = (parsed(was), parsed(now)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    differ("", "", Some(&was), Some(&now), &mut found);
    found
}

fn differ(
    path: &str,
    key: &str,
    was: Option<&Value>,
    now: Option<&Value>,
    found: &mut Vec<Change>,
) {
    if was == now {
        return;
    }
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match (was, now) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                differ(&below(key), key, a.get(key), b.get(key), found);
            }
        }
        // Each variable and each label is a word of its own, also where there was none before.
        (None, Some(Value::Object(all))) | (Some(Value::Object(all)), None)
            if matches!(path, "environment" | "labels") && !all.is_empty() =>
        {
            let (a, b) = (was.and(Some(all)), now.and(Some(all)));
            for key in all.keys() {
                differ(
                    &below(key),
                    key,
                    a.and_then(|all| all.get(key)),
                    b.and_then(|all| all.get(key)),
                    found,
                );
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differ(&format!("{path}[{at}]"), key, Some(a), Some(b), found);
            }
        }
        _ => {
            let shown = |value: Option<&Value>| value.filter(|_| !is_secret(key)).and_then(plain);
            let path = path
                .strip_prefix("resolved.")
                .map_or_else(|| path.to_owned(), resolved_path);
            let digests = [was, now]
                .iter()
                .any(|v| v.and_then(Value::as_str).is_some_and(is_mask));
            let (was, now) = if digests {
                (None, None)
            } else {
                (shown(was), shown(now))
            };
            found.push(Change { path, was, now });
        }
    }
}

/// The changes without those of these contents: `secrets.db`.
pub(super) fn without_contents(changes: &[Change], names: &BTreeSet<String>) -> Vec<Change> {
    let other = |change: &&Change| {
        let path = change.path.strip_prefix("content of ");
        path.is_none_or(|name| !names.contains(name))
    };
    changes.iter().filter(other).cloned().collect()
}

/// `configs.app` → `content of configs.app`.
fn resolved_path(path: &str) -> String {
    match path.split('.').next() {
        Some("configs" | "secrets" | "seccomp") => format!("content of {path}"),
        Some("networks" | "volumes") => format!("name of {path}"),
        _ => path.to_owned(),
    }
}

/// A value short enough for one line.
fn plain(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    };
    (text.chars().count() <= 60 && !text.contains('\n')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(was: &Value, now: &Value) -> Vec<String> {
        let masked = |v: &Value| canonical(v, true).to_string();
        changes(&masked(was), &masked(now))
            .iter()
            .map(Change::to_string)
            .collect()
    }

    #[test]
    fn a_change_names_its_path_old_and_new() {
        assert_eq!(
            texts(
                &json!({"environment": {"V": "1", "OLD": "x"}, "command": ["a", "b"]}),
                &json!({"environment": {"V": "2"}, "command": ["a", "c"]}),
            ),
            [
                "command[1] changed: b → c",
                "environment.OLD removed: x",
                "environment.V changed: 1 → 2"
            ]
        );
    }

    #[test]
    fn values_of_secrets_are_neither_kept_nor_shown_but_compared() {
        let (was, now) = (
            json!({"environment": {"DB_PASSWORD": "old"}}),
            json!({"environment": {"DB_PASSWORD": "new"}}),
        );
        assert!(!canonical(&was, true).to_string().contains("old"));
        assert_eq!(texts(&was, &now), ["environment.DB_PASSWORD changed"]);
        assert!(texts(&was, &was).is_empty());
    }

    #[test]
    fn the_order_of_keys_does_not_count() {
        assert_eq!(
            of_resource(&json!({"a": 1, "b": 2})),
            of_resource(&json!({"b": 2, "a": 1}))
        );
    }
}
