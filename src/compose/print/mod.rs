//! What `config` prints.
//!
//! In: a project that `select` has narrowed down. Out: text. It writes to no terminal.
//! Imports: `base`, `model`. Rules: as Compose (`cmd/compose/config.go`): `$` is written `$$`, so that the
//! text read again means the same.

mod form;
mod json;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::model::Project;
use super::template::Variable;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// The project as JSON.
pub fn json(project: &Project) -> String {
    typed(&project.document, Format::Json)
}

/// The project as YAML.
pub fn yaml(project: &Project) -> String {
    typed(&project.document, Format::Yaml)
}

/// A document in its long form: known keys in their order, a `$` written `$$`.
pub fn typed(document: &Map<String, Value>, format: Format) -> String {
    dollars(&match format {
        Format::Yaml => yaml::document(document, &form::PROJECT, 2),
        Format::Json => json::document(document, &form::PROJECT, 2),
    })
}

/// A document in which variables stand as they were written: all keys sorted; a `$` is the file's own and stays.
pub fn raw(document: &Map<String, Value>, format: Format) -> String {
    match format {
        Format::Yaml => yaml::document(document, &form::FREE, 2),
        Format::Json => json::document(document, &form::RAW, 2),
    }
}

/// What an override file needs to fix the images of a document: its services with nothing but their images.
pub fn images_only(document: &Map<String, Value>, format: Format) -> Map<String, Value> {
    let services = document.get("services").and_then(Value::as_object);
    // JSON tells a project's name, commands and entry points even where there are none.
    let said = |key: &str, value: Value| (format == Format::Json).then(|| (key.to_owned(), value));
    let only = |(name, service): (&String, &Value)| {
        let image = service.get("image").cloned();
        let entries = [
            image.map(|image| ("image".to_owned(), image)),
            said("command", Value::Null),
            said("entrypoint", Value::Null),
        ];
        let entries: Map<String, Value> = entries.into_iter().flatten().collect();
        (name.clone(), Value::Object(entries))
    };
    let services: Map<String, Value> = services.into_iter().flatten().map(only).collect();
    let services = ("services".to_owned(), Value::Object(services));
    let name = said("name", Value::String(String::new()));
    name.into_iter().chain([services]).collect()
}

/// Variables that files refer to, as YAML.
pub fn variables_yaml(variables: &[Variable]) -> String {
    let keys = ["name", "defaultvalue", "presencevalue", "required"];
    yaml::document(&variable_map(variables, keys), &form::VARIABLES, 4)
}

/// Variables that files refer to, as JSON.
pub fn variables_json(variables: &[Variable]) -> String {
    let keys = ["Name", "DefaultValue", "PresenceValue", "Required"];
    json::document(&variable_map(variables, keys), &form::VARIABLES, 4)
}

fn variable_map(variables: &[Variable], keys: [&str; 4]) -> Map<String, Value> {
    let text = |text: &Option<String>| Value::String(text.clone().unwrap_or_default());
    let entry = |variable: &Variable| {
        let values = [
            Value::String(variable.name.clone()),
            text(&variable.default),
            text(&variable.alternate),
            Value::Bool(variable.required),
        ];
        let entries = keys.iter().map(|key| (*key).to_owned()).zip(values);
        (variable.name.clone(), Value::Object(entries.collect()))
    };
    variables.iter().map(entry).collect()
}

fn dollars(text: &str) -> String {
    text.replace('$', "$$")
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
    let services = project.services.values();
    services.map(|service| project.image_of(service)).collect()
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

/// The models that services use.
pub fn models(project: &Project) -> Vec<String> {
    let models = project.document.get("models").and_then(Value::as_object);
    let name = |model: &Value| model.get("model")?.as_str().map(str::to_owned);
    models
        .into_iter()
        .flat_map(Map::values)
        .filter_map(name)
        .collect()
}

/// A SHA-256 of each service's JSON without the keys that change no container; in hex, the same as docker compose's.
pub fn hashes(project: &Project) -> BTreeMap<String, String> {
    let services = project.document.get("services").and_then(Value::as_object);
    let hash = |(name, service): (&String, &Value)| {
        let mut service = service.as_object().cloned().unwrap_or_default();
        for key in ["build", "pull_policy", "scale", "depends_on", "profiles"] {
            service.remove(key);
        }
        if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
            deploy.remove("replicas");
        }
        let digest = Sha256::digest(json::compact(&service, &form::SERVICE).as_bytes());
        let hex = digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        (name.clone(), hex)
    };
    services.into_iter().flatten().map(hash).collect()
}
