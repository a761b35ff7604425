//! `image inspect`.
//!
//! Imports: `image`, `ui::template`. As Docker: `GET /images/{name}/json`, `cli/command/inspect/inspector.go`.

use serde_json::{Map, Value, json};

use super::{find, template_failure};
use crate::cli::app::App;
use crate::cli::args::InspectArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::image::store::{Image, Listed, Store};
use crate::ui::template::{Filling, Template};
use crate::ui::write_out;

pub(in crate::cli::commands) fn run(app: &App, args: &InspectArgs) -> Outcome {
    let template = match args.format.as_deref() {
        None | Some("json" | "") => None,
        Some(text) => {
            let parsed = Template::parse(text);
            Some(parsed.map_err(|fault| template_failure(&fault).code(64))?)
        }
    };
    let store = app.store()?;
    let listed = store.list()?;
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for text in &args.images {
        match find(&store, text, args.platform.as_deref()) {
            Ok(image) => {
                let known = listed.iter().find(|one| one.image.id == image.id);
                found.push(object(&store, &image, known)?);
            }
            Err(failure) => failures.push(failure),
        }
    }
    let text = match &template {
        Some(template) => {
            let mut text = String::new();
            for one in found {
                let filled = template.fill(&for_template(one), None, Filling::Value);
                text += &filled.map_err(|fault| template_failure(&fault))?;
                text.push('\n');
            }
            text
        }
        None if args.format.as_deref() == Some("json") => format!("{}\n", Value::Array(found)),
        None => pretty(&Value::Array(found)),
    };
    write_out(text)?;
    let Some(last) = failures.pop() else {
        return Ok(0);
    };
    for failure in failures {
        failure.report(app.screen, app.json_progress());
    }
    Err(last)
}

/// Docker indents by four.
fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines()
        .map(|line| {
            let depth = line.len() - line.trim_start().len();
            format!("{}{line}\n", " ".repeat(depth))
        })
        .collect()
}

/// What docker leaves out of the JSON when it is empty, templates have all the same.
fn for_template(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.entry("Variant").or_insert(Value::from(""));
    }
    object
}

/// An image with Docker's keys in Docker's order.
fn object(store: &Store, image: &Image, listed: Option<&Listed>) -> Result<Value, Failure> {
    let names = store.names(&image.id)?;
    let tags = names.iter().filter(|name| name.tag.is_some());
    let tags: Vec<String> = tags.map(ToString::to_string).collect();
    let mut digests = store.repo_digests(&image.id)?;
    let pinned = names.iter().filter(|name| name.tag.is_none());
    digests.extend(pinned.map(ToString::to_string));
    digests.sort();
    digests.dedup();
    let last = image.config.history.last();
    let layers = store.layers().lower(image.layers());
    let paths: Vec<String> = layers
        .iter()
        .rev()
        .map(|path| path.display().to_string())
        .collect();
    let (top, below) = match paths.split_first() {
        Some((top, below)) => (top.clone(), below.join(":")),
        None => Default::default(),
    };
    let mut driver = Map::new();
    if !below.is_empty() {
        driver.insert("LowerDir".to_owned(), Value::from(below));
    }
    driver.insert("UpperDir".to_owned(), Value::from(top));
    let mut object = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": last.and_then(|last| last.comment.clone()).unwrap_or_default(),
        "Created": image.config.created,
        "DockerVersion": "",
        "Author": image.config.author.clone().unwrap_or_default(),
        "Architecture": image.config.architecture,
    });
    let rest = json!({
        "Os": image.config.os,
        "Size": listed.map_or(0, |one| one.size),
        "GraphDriver": {"Data": driver, "Name": "overlay2"},
        "RootFS": {
            "Type": image.config.rootfs.kind,
            "Layers": image.layers().iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "Metadata": {
            "LastTagTime": listed.and_then(|one| one.tagged).map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.rfc3339()),
        },
        "Config": run_config(image),
    });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        if let Some(variant) = image
            .config
            .variant
            .as_deref()
            .filter(|text| !text.is_empty())
        {
            object.insert("Variant".to_owned(), Value::from(variant));
        }
        object.extend(rest);
    }
    Ok(object)
}

/// How containers run, with the keys that docker always has, in order.
fn run_config(image: &Image) -> Value {
    let mut config: Map<String, Value> = match json!({
        "Cmd": null, "Entrypoint": null, "Env": null, "Labels": null, "OnBuild": null, "User": "", "Volumes": null,
        "WorkingDir": "",
    }) {
        Value::Object(config) => config,
        _ => Map::new(),
    };
    if let Ok(Value::Object(said)) = serde_json::to_value(&image.config.config) {
        config.extend(said);
    }
    config.sort_keys();
    Value::Object(config)
}
