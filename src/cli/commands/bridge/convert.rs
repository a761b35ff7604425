//! `bridge convert`: runs transformations over the project, one after the other.
//!
//! Imports: `bridge`, `compose::print`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Bind, USUAL, project, pull, section, with_container};
use crate::apply::RunOptions;
use crate::cli::app::{App, Deps, Work, narrow};
use crate::cli::args::BridgeConvertArgs;
use crate::cli::ask;
use crate::cli::commands::run::attached;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::Project;
use crate::compose::print::{self, Format};
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &BridgeConvertArgs) -> Outcome {
    let whole = narrow(app.load_document()?, &[], Deps::Include, Vec::new())?;
    let usual = [USUAL.to_owned()];
    let images = match args.transformation.is_empty() {
        true => &usual[..],
        false => &args.transformation[..],
    };
    let out = app.env.cwd.join(&args.output);
    if app.globals.dry_run {
        for image in images {
            write_out(format!(
                "run {image} over the project into {}\n",
                out.display()
            ))?;
        }
        return Ok(0);
    }
    let work = app.work(false)?;
    let result = convert(app, args, (&whole, &out), images, &work);
    work.progress.finish();
    result
}

fn convert(
    app: &App,
    args: &BridgeConvertArgs,
    (whole, out): (&Project, &Path),
    images: &[String],
    work: &Work,
) -> Outcome {
    // Those that are only built are looked for here and nowhere else.
    let mut named = whole.clone();
    named
        .services
        .retain(|_, service| service.build.is_none() || service.image.is_some());
    pull(app, work, &named)?;
    let model = model(app, work, whole)?;
    empty(out, args.yes)?;
    let input = Input::write(&model)?;
    let templates = args.templates.as_ref().map(|dir| app.env.cwd.join(dir));
    let mut binds = vec![Bind(&input.0, "/in"), Bind(out, "/out")];
    if let Some(templates) = &templates {
        if !templates.is_dir() {
            let text = format!("there is no directory {}", templates.display());
            return Err(Failure::new(text).hint("--templates names one with templates"));
        }
        binds.push(Bind(templates, "/templates"));
    }
    for image in images {
        let project = project(app, image, &binds)?;
        pull(app, work, &project)?;
        let code = with_container(work, &project, |id| {
            attached(&work.context.engine, id, &RunOptions::default(), work)
        })?;
        if code != 0 {
            return Err(Failure::said(code));
        }
    }
    Ok(0)
}

/// What a transformation reads: the project with the images of all services, the ports that those expose, and the contents
/// of configs and secrets.
fn model(app: &App, work: &Work, project: &Project) -> Result<String, Failure> {
    let mut document = project.document.clone();
    for (key, entry) in section(&mut document, "services") {
        let Some(service) = project.service(key) else {
            continue;
        };
        let image = project.image_of(service);
        let mut ports = Vec::new();
        match work.context.store.find(&image) {
            Ok(found) => {
                let exposed = &found.config.config.exposed_ports;
                ports.extend(exposed.iter().map(|port| {
                    port.split_once('/').map_or(port.as_str(), |(number, _)| number).to_owned()
                }));
            }
            Err(_) => app.warn(&format!(
                "image {image} for service {key} not found locally; ports that its Dockerfile exposes will not be included: \
                 run `hoist build` first to include them"
            )),
        }
        ports.extend(
            service
                .ports
                .iter()
                .map(|port| port.value.target.to_string()),
        );
        expose(entry, ports);
        entry.insert("image".to_owned(), Value::from(image));
    }
    for kind in ["secrets", "configs"] {
        for (key, entry) in section(&mut document, kind) {
            if let Some(content) = content(app, entry).map_err(|(path, error)| {
                Failure::new(format!("{kind}.{key}: cannot read {path}: {error}"))
            })? {
                entry.insert("content".to_owned(), Value::from(content));
            }
        }
    }
    Ok(print::raw(&document, Format::Yaml))
}

/// Adds ports to those that a service says it exposes, each once.
fn expose(service: &mut Map<String, Value>, ports: Vec<String>) {
    let said = service.get("expose").and_then(Value::as_array);
    let said = said.into_iter().flatten().map(|port| match port {
        Value::String(port) => port.clone(),
        other => other.to_string(),
    });
    let mut seen = BTreeSet::new();
    let all: Vec<Value> = said
        .chain(ports)
        .filter(|port| seen.insert(port.clone()))
        .map(Value::from)
        .collect();
    if !all.is_empty() {
        service.insert("expose".to_owned(), Value::Array(all));
    }
}

/// The content of a config or secret that comes from a variable or a file.
fn content(app: &App, entry: &Map<String, Value>) -> Result<Option<String>, (String, io::Error)> {
    let said = |key: &str| entry.get(key).and_then(Value::as_str);
    if entry.get("external") == Some(&Value::Bool(true)) {
        return Ok(None);
    }
    match (said("environment"), said("file")) {
        (Some(name), _) => Ok(Some(app.env.get(name).unwrap_or_default().to_owned())),
        (None, Some(path)) => match fs::read(app.env.cwd.join(path)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => Err((path.to_owned(), error)),
        },
        (None, None) => Ok(None),
    }
}

/// Has a directory be there and empty; asks before something in it goes.
fn empty(dir: &Path, yes: bool) -> Result<(), Failure> {
    let shown = dir.display();
    let cannot =
        |verb: &str, error: &io::Error| Failure::new(format!("cannot {verb} {shown}: {error}"));
    let make = || {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o744).create(dir);
        made.map_err(|error| cannot("make", &error))
    };
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(),
        Err(error) => return Err(cannot("read", &error)),
        Ok(true) => return Ok(()),
        Ok(false) => {}
    }
    let question = format!(
        "Output directory '{shown}' is not empty, all its content will be permanently deleted. Continue?"
    );
    if !yes && !ask::agreed(&question)? {
        let text = format!("deletion of output directory '{shown}' was not confirmed");
        return Err(Failure::new(text).hint("--yes answers the question"));
    }
    fs::remove_dir_all(dir).map_err(|error| cannot("remove", &error))?;
    make()
}

/// The directory with the model; it goes with the value.
struct Input(PathBuf);

impl Input {
    fn write(model: &str) -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("compose-convert-{}", std::process::id()));
        let cannot =
            |error: io::Error| Failure::new(format!("cannot write {}: {error}", dir.display()));
        // It holds secrets; one that is there already is somebody else's.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(cannot)?;
        let input = Self(dir.clone());
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let mut file = file.open(dir.join("compose.yaml")).map_err(cannot)?;
        io::Write::write_all(&mut file, model.as_bytes()).map_err(cannot)?;
        Ok(input)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // The system's own cleaning takes what stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}
