//! `build --print`: the file that would make `docker buildx bake` build the same.
//!
//! In: a project's document. Out: JSON, byte for byte as Docker Compose 2.40 prints it, but for the order of lists that
//! Compose leaves to chance: here that of names.
//! Imports: `compose::model`, `plan::labels`, `sys::fs` (clean paths).
//! Rules: Docker Compose, `pkg/compose/build_bake.go`; buildx, "Bake file reference".

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::apply::BuildTweaks;
use crate::base::env::Env;
use crate::base::name::ServiceName;
use crate::compose::model::Project;
use crate::plan::labels;
use crate::sys::fs::clean;

/// The release of Compose that this prints as.
const RELEASE: &str = "2.40.3";

/// What is printed beside what the project says.
#[derive(Debug, Clone, Default)]
pub struct Print<'a> {
    /// Services that are built; others of the project are described only.
    pub services: Vec<ServiceName>,
    /// What the command line asks.
    pub tweaks: BuildTweaks,
    /// Checks instead of builds.
    pub check: bool,
    /// Where arguments without a value have theirs.
    pub env: Option<&'a Env>,
}

#[derive(Serialize)]
struct File {
    group: BTreeMap<&'static str, Group>,
    target: BTreeMap<String, Target>,
}

#[derive(Serialize)]
struct Group {
    targets: Vec<String>,
}

/// One build. Fields stand in the order in which they are printed.
#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    context: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    contexts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    dockerfile: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dockerfile_inline: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_from: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_to: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secret: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pull: bool,
    #[serde(skip_serializing_if = "is_false")]
    no_cache: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    network: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    no_cache_filter: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    shm_size: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ulimits: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    call: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entitlements: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra_hosts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    output: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attest: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands references to it"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The text for a project with its document; `None` where nothing is built.
pub fn text(project: &Project, print: &Print<'_>) -> Option<String> {
    let names = target_names(project);
    let built = |name: &ServiceName| project.buildable(name.as_str()).is_some();
    let chosen: BTreeSet<&ServiceName> = print.services.iter().filter(|name| built(name)).collect();
    let targets: Vec<String> = chosen
        .iter()
        .filter_map(|name| names.get(*name).cloned())
        .collect();
    if targets.is_empty() {
        return None;
    }
    let services = project.document.get("services").and_then(Value::as_object);
    let target = services
        .into_iter()
        .flatten()
        .filter_map(|(name, service)| {
            let name = ServiceName::new(name.as_str());
            let build = service.get("build")?.as_object()?;
            let target = Making {
                project,
                print,
                names: &names,
                build,
            };
            Some((names.get(&name)?.clone(), target.target(&name)?))
        })
        .collect();
    let file = File {
        group: BTreeMap::from([("default", Group { targets })]),
        target,
    };
    let text = serde_json::to_string_pretty(&file).ok()?;
    Some(escaped(&text))
}

/// As Go's encoder, which has the text stand in a web page unharmed.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

/// Names of targets have no dots.
fn target_names(project: &Project) -> BTreeMap<ServiceName, String> {
    let all = project.buildables();
    all.map(|(service, _)| {
        (
            service.name.clone(),
            service.name.as_str().replace('.', "_"),
        )
    })
    .collect()
}

/// Bake would take `${` for a variable of its own.
fn quoted(text: &str) -> String {
    text.replace("${", "$${")
}

/// One target in the making.
struct Making<'a> {
    project: &'a Project,
    print: &'a Print<'a>,
    names: &'a BTreeMap<ServiceName, String>,
    build: &'a Map<String, Value>,
}

impl Making<'_> {
    fn text(&self, key: &str) -> String {
        self.build.get(key).and_then(scalar).unwrap_or_default()
    }
    fn list(&self, key: &str) -> Vec<String> {
        let items = self.build.get(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(scalar).collect()
    }
    fn map(&self, key: &str) -> BTreeMap<String, String> {
        let entries = self.build.get(key).and_then(Value::as_object);
        let entries = entries.into_iter().flatten();
        entries
            .filter_map(|(name, value)| Some((name.clone(), scalar(value)?)))
            .collect()
    }
    fn flag(&self, key: &str) -> bool {
        self.build.get(key) == Some(&Value::Bool(true))
    }

    fn target(&self, name: &ServiceName) -> Option<Target> {
        let (service, _) = self.project.buildable(name.as_str())?;
        let tweaks = &self.print.tweaks;
        let context = self.text("context");
        let mut labels = self.map("labels");
        labels.extend(labels::of_build(&self.project.name, name));
        labels.insert(labels::VERSION.to_owned(), RELEASE.to_owned());
        let mut tags = self.list("tags");
        tags.push(self.project.image_of(service));
        let mut entitlements = self.list("entitlements");
        if self.flag("privileged") {
            entitlements.push("security.insecure".to_owned());
        }
        let shm_size = self.text("shm_size");
        let push = tweaks.push && service.image.is_some();
        let platforms = self.list("platforms");
        let output = match (self.print.check, platforms.len() > 1) {
            (true, _) => Vec::new(),
            (false, true) => vec![format!("type=image,push={push}")],
            (false, false) if push => vec!["type=registry".to_owned()],
            (false, false) => vec!["type=docker".to_owned()],
        };
        Some(Target {
            contexts: self.contexts(),
            dockerfile: dockerfile(&context, &self.text("dockerfile")),
            dockerfile_inline: quoted(&self.text("dockerfile_inline")),
            args: self.args(),
            labels,
            tags,
            cache_from: self.list("cache_from"),
            cache_to: self.list("cache_to"),
            target: self.text("target"),
            secret: self.secrets(),
            ssh: self.ssh(),
            platforms,
            pull: self.flag("pull") || tweaks.pull,
            no_cache: self.flag("no_cache") || tweaks.no_cache,
            network: self.text("network"),
            no_cache_filter: self.list("no_cache_filter"),
            shm_size: if shm_size == "0" {
                String::new()
            } else {
                shm_size
            },
            ulimits: self.ulimits(),
            call: if self.print.check { "lint" } else { "" }.to_owned(),
            entitlements,
            extra_hosts: self.hosts(),
            output,
            attest: self.attest(),
            context,
        })
    }

    fn contexts(&self) -> BTreeMap<String, String> {
        let of_service = |text: &String| {
            let name = text.strip_prefix("service:")?;
            let target = self.names.get(&ServiceName::new(name));
            Some(format!("target:{}", target.map_or(name, String::as_str)))
        };
        let all = self.map("additional_contexts").into_iter();
        all.map(|(name, text)| (name, of_service(&text).unwrap_or(text)))
            .collect()
    }

    fn args(&self) -> BTreeMap<String, String> {
        let mut all = self.map("args");
        for (name, value) in &self.print.tweaks.args {
            let outside = || {
                self.print
                    .env
                    .and_then(|env| env.get(name))
                    .map(str::to_owned)
            };
            match value.clone().or_else(outside) {
                Some(value) => drop(all.insert(name.clone(), value)),
                None => drop(all.remove(name)),
            }
        }
        all.values_mut().for_each(|value| *value = quoted(value));
        all
    }

    fn secrets(&self) -> Vec<String> {
        let items = self.build.get("secrets").and_then(Value::as_array);
        let secrets = self
            .project
            .document
            .get("secrets")
            .and_then(Value::as_object);
        let line = |item: &Value| {
            let source = item
                .get("source")
                .and_then(Value::as_str)
                .or(item.as_str())?;
            let id = item.get("target").and_then(Value::as_str).unwrap_or(source);
            let object = secrets?.get(source)?;
            let part = |key: &str| object.get(key).and_then(Value::as_str);
            match (part("environment"), part("file")) {
                (Some(name), _) => Some(format!("id={id},type=env,env={name}")),
                (None, Some(path)) => Some(format!("id={id},type=file,src={path}")),
                (None, None) => None,
            }
        };
        items.into_iter().flatten().filter_map(line).collect()
    }

    fn ssh(&self) -> Vec<String> {
        let own = self
            .list("ssh")
            .into_iter()
            .map(|text| match text.contains('=') {
                true => text,
                false => format!("{text}="),
            });
        let asked = self.print.tweaks.ssh.iter().map(|(id, paths)| {
            let paths: Vec<_> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            format!("{id}={}", paths.join(","))
        });
        own.chain(asked).collect()
    }

    /// As Compose, a single limit that is not above 0 becomes a pair of zeros.
    fn ulimits(&self) -> Vec<String> {
        let all = self.build.get("ulimits").and_then(Value::as_object);
        let line = |(name, limit): (&String, &Value)| {
            let part = |key: &str| limit.get(key).and_then(Value::as_i64).unwrap_or(0);
            match limit.as_i64() {
                Some(both) if both > 0 => format!("{name}={both}"),
                _ => format!("{name}={}:{}", part("soft"), part("hard")),
            }
        };
        let mut lines: Vec<String> = all.into_iter().flatten().map(line).collect();
        lines.sort();
        lines
    }

    fn hosts(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for entry in self.list("extra_hosts") {
            let Some((name, address)) = entry.split_once('=') else {
                continue;
            };
            let known = all.entry(name.to_owned()).or_default();
            if !known.is_empty() {
                known.push(',');
            }
            known.push_str(address);
        }
        all
    }

    fn attest(&self) -> Vec<String> {
        let tweaks = &self.print.tweaks;
        let asked = |kind: &str| match kind {
            "sbom" => tweaks.sbom.clone(),
            _ => tweaks.provenance.clone(),
        };
        let text = |kind: &str| asked(kind).unwrap_or_else(|| self.text(kind));
        let line = |kind: &str| match text(kind).as_str() {
            "" | "false" => None,
            "true" => Some(format!("type={kind}")),
            more => Some(format!("type={kind},{more}")),
        };
        ["provenance", "sbom"]
            .into_iter()
            .filter_map(line)
            .collect()
    }
}

/// The text of a value that is one.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether Compose takes a context for a git repository.
fn is_git(context: &str) -> bool {
    let web = context.starts_with("http://") || context.starts_with("https://");
    let repository = context.split('#').next().unwrap_or_default();
    let known = ["git://", "github.com/", "git@"];
    web && repository.ends_with(".git") || known.iter().any(|start| context.starts_with(start))
}

/// The Dockerfile's path: absolute, its directory without links, unless the context is a repository.
fn dockerfile(context: &str, name: &str) -> String {
    if name.is_empty() || is_git(context) {
        return name.to_owned();
    }
    let path = match Path::new(name).is_absolute() {
        true => PathBuf::from(name),
        false => {
            let path = clean(&Path::new(context).join(name));
            // Of an address, Compose makes what looks like a relative path.
            let relative = path.strip_prefix("/").map(PathBuf::from);
            relative
                .ok()
                .filter(|_| !context.starts_with('/'))
                .unwrap_or(path)
        }
    };
    let real = path.parent().and_then(|dir| dir.canonicalize().ok());
    let path = match (real, path.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => path,
    };
    path.display().to_string()
}
