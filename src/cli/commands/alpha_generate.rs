//! `alpha generate`: a compose file from containers of any project.
//!
//! In: parts of names or ids. Out: what docker compose writes of such containers: images, variables, mounts, networks and
//! ports, no commands and no limits. Imports: `engine`, `plan::labels`, `compose::print`. As Compose: `cmd/compose/generate.go`,
//! `pkg/compose/generate.go`; a `$` is written `$$`, so that the file says the same when it is read.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::containers::{is_oneoff, label};
use super::format;
use crate::cli::app::App;
use crate::cli::args::GenerateArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::print::{self, Format};
use crate::engine::Engine;
use crate::engine::spec::{Mount, MountSource};
use crate::engine::state::ObservedContainer;
use crate::plan::labels;
use crate::ui::{write_err, write_out};

/// Where secrets are mounted.
const SECRETS: &str = "/run/secrets";
/// Variables that a container gets at its start, whatever it is made from.
const GIVEN: [&str; 2] = ["HOSTNAME", "TERM"];
/// Labels of Docker Desktop.
const DESKTOP: &str = "desktop.docker.io";
/// What a service that is generated can take from the document that its container was made from.
const KEPT: [&str; 1] = ["healthcheck"];

pub(super) fn run(app: &App, args: &GenerateArgs) -> Outcome {
    write_err("generate command is EXPERIMENTAL\n");
    if args.containers.is_empty() {
        let text = "at least one container must be specified";
        return Err(Failure::new(text).hint("`hoist ps -a` lists those of a project"));
    }
    let format = match args.format.as_str() {
        "yaml" => Format::Yaml,
        "json" => Format::Json,
        other => return Err(format::unsupported(other, &["yaml", "json"])),
    };
    let engine = app.engine()?;
    let found = find(engine.as_ref(), &args.containers)?;
    if found.is_empty() {
        return Err(Failure::new(format!(
            "no container(s) found with the following name(s): {}",
            args.containers.join(",")
        )));
    }
    let mut draft = Draft::default();
    for container in &found {
        draft.add(engine.as_ref(), container, format)?;
    }
    let document = draft.document(args.name.as_deref(), format);
    write_out(print::typed(&document, format) + "\n")?;
    Ok(0)
}

/// Containers of all projects with one of these texts in their names or ids; as Docker, a text is a regular expression.
fn find(engine: &dyn Engine, texts: &[String]) -> Result<Vec<ObservedContainer>, Failure> {
    let patterns: Vec<Regex> = texts
        .iter()
        .map(|text| Regex::new(text).or_else(|_| Regex::new(&regex::escape(text))))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(format!("a name can't be looked for: {error}")))?;
    let mut found = Vec::new();
    for project in engine.projects()? {
        let containers = engine.observe(&project)?.containers;
        found.extend(containers.into_iter().filter(|c| {
            let fits = |p: &Regex| p.is_match(&c.name) || p.is_match(c.id.as_str());
            patterns.iter().any(fits)
        }));
    }
    Ok(found)
}

/// The file as far as it is known.
#[derive(Default)]
struct Draft {
    services: BTreeMap<String, Map<String, Value>>,
    networks: Map<String, Value>,
    volumes: Map<String, Value>,
    secrets: Map<String, Value>,
}

impl Draft {
    /// Adds a container to its service, or makes one of its name.
    fn add(
        &mut self,
        engine: &dyn Engine,
        container: &ObservedContainer,
        format: Format,
    ) -> Result<(), Failure> {
        let name = match label(container, "service") {
            "" => container.name.clone(),
            service => service.to_owned(),
        };
        let made_from = container.labels.get(labels::SPEC).map(String::as_str);
        let made_from: Map<String, Value> = made_from
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let mut service = self.services.remove(&name).unwrap_or_default();
        if format == Format::Json {
            service.insert("command".to_owned(), Value::Null);
            service.insert("entrypoint".to_owned(), Value::Null);
        }
        service.insert("image".to_owned(), container.image.as_str().into());
        let scale = service.get("scale").and_then(Value::as_u64).unwrap_or(0);
        service.insert("scale".to_owned(), (scale + 1).into());
        let mut put = |key: &str, value: Value| {
            let nothing = value.as_object().is_some_and(Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty);
            if !nothing {
                service.insert(key.to_owned(), value);
            }
        };
        let env = engine.process(&container.id)?.env;
        put("environment", variables(&env, &made_from));
        put("labels", own_labels(container));
        for key in KEPT {
            if let Some(value) = made_from.get(key) {
                put(key, value.clone());
            }
        }
        put("networks", self.networks_of(container));
        self.services.insert(name.clone(), service);
        for mount in engine.mounts(&container.id)? {
            self.mount(&name, &mount, engine)?;
        }
        self.extend(&name, "ports", ports(container, &made_from));
        Ok(())
    }

    /// Adds items to a list of a service.
    fn extend(&mut self, service: &str, key: &str, items: Vec<Value>) {
        let Some(service) = self.services.get_mut(service).filter(|_| !items.is_empty()) else {
            return;
        };
        let list = service
            .entry(key)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.extend(items);
        }
    }

    fn networks_of(&mut self, container: &ObservedContainer) -> Value {
        let mut all = Map::new();
        for place in &container.networks {
            self.networks
                .insert(place.network.clone(), Value::Object(Map::new()));
            // Docker's own name for a container on a network is no alias that anybody gave it.
            let aliases = place.aliases.iter();
            let aliases: Vec<&str> = aliases
                .map(String::as_str)
                .filter(|alias| *alias != container.id.short())
                .collect();
            all.insert(place.network.clone(), json!({ "aliases": aliases }));
        }
        Value::Object(all)
    }

    fn mount(&mut self, service: &str, mount: &Mount, engine: &dyn Engine) -> Result<(), Failure> {
        let (kind, source) = match &mount.source {
            MountSource::Volume { name, .. } => {
                let driver = engine.volume(name)?.map(|volume| volume.driver);
                let about = match driver.filter(|driver| driver != "local") {
                    Some(driver) => json!({ "driver": driver, "name": name }),
                    None => json!({}),
                };
                self.volumes.insert(name.clone(), about);
                ("volume", name.clone())
            }
            MountSource::Bind { path, .. } => ("bind", path.display().to_string()),
            // As Compose: what is in memory, and of images, is left out.
            _ => return Ok(()),
        };
        if kind == "bind" && mount.target.starts_with(SECRETS) {
            let name = mount.target.rsplit('/').next().unwrap_or_default();
            self.secrets
                .insert(name.to_owned(), json!({ "name": name, "file": source }));
            let grant = json!({ "source": name, "target": mount.target });
            self.extend(service, "secrets", vec![grant]);
            return Ok(());
        }
        let mut item = json!({ "type": kind, "source": source, "target": mount.target });
        if let Some(item) = item.as_object_mut().filter(|_| mount.read_only) {
            item.insert("read_only".to_owned(), true.into());
        }
        self.extend(service, "volumes", vec![item]);
        Ok(())
    }

    fn document(self, name: Option<&str>, format: Format) -> Map<String, Value> {
        let mut document = Map::new();
        match name {
            Some(name) => document.insert("name".to_owned(), name.into()),
            None if format == Format::Json => document.insert("name".to_owned(), "".into()),
            None => None,
        };
        let services: Map<String, Value> = self
            .services
            .into_iter()
            .map(|(name, service)| (name, Value::Object(service)))
            .collect();
        for (key, all) in [
            ("services", services),
            ("networks", self.networks),
            ("volumes", self.volumes),
            ("secrets", self.secrets),
        ] {
            if !all.is_empty() {
                document.insert(key.to_owned(), Value::Object(all));
            }
        }
        document
    }
}

/// `NAME=value` as a mapping; a name without a value has none. What each container has of its own at its start is left out.
fn variables(env: &[String], made_from: &Map<String, Value>) -> Value {
    let said = made_from.get("environment").and_then(Value::as_object);
    let own = |entry: &&String| {
        let name = entry.split('=').next().unwrap_or_default();
        !GIVEN.contains(&name) || said.is_some_and(|said| said.contains_key(name))
    };
    let sorted: BTreeMap<&str, Value> = env
        .iter()
        .filter(own)
        .map(|entry| match entry.split_once('=') {
            Some((name, value)) => (name, Value::from(value)),
            None => (entry.as_str(), Value::Null),
        })
        .collect();
    json!(sorted)
}

/// Labels that are neither hoist's, nor Compose's, nor Docker's.
fn own_labels(container: &ObservedContainer) -> Value {
    let own = |key: &str| !labels::is_ours(key) && !key.starts_with(DESKTOP);
    let all = container.labels.iter().filter(|(key, _)| own(key));
    let all: BTreeMap<&String, &String> = all.collect();
    json!(all)
}

/// Ports as they were asked for; of a container of `run`, whose own are not written down, those it has now.
fn ports(container: &ObservedContainer, made_from: &Map<String, Value>) -> Vec<Value> {
    if !is_oneoff(container) {
        let asked = made_from.get("ports").and_then(Value::as_array);
        let known = ["host_ip", "target", "published", "protocol"];
        let only = |port: &Value| {
            let port = port.as_object()?.iter();
            let port = port.filter(|(key, _)| known.contains(&key.as_str()));
            Some(Value::Object(
                port.map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            ))
        };
        return asked.into_iter().flatten().filter_map(only).collect();
    }
    let now = container.ports.iter().map(|port| {
        json!({
            "host_ip": port.host_ip.to_string(), "target": port.container,
            "published": port.host.to_string(), "protocol": port.protocol.as_str(),
        })
    });
    now.collect()
}
