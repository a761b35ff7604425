//! `bridge`: what a transformation image makes of the project.
//!
//! In: the model as a file, an image. Out: what its container writes into a directory.
//! Imports: `apply::oneoff`, `engine`, `image`. As Compose: `pkg/bridge`; that the user is asked before a directory is
//! emptied, and that an image that is not built yet is no failure, as its version 5.

mod convert;
mod transformations;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::apply::{self, DownOptions, PullOptions, RunOptions, oneoff};
use crate::base::event::Silent;
use crate::base::name::ContainerId;
use crate::cli::app::{App, Work, load_failure};
use crate::cli::args::{BridgeCommand, TransformationsCommand};
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::{Project, PullPolicy};
use crate::compose::{self, LoadRequest};

/// The transformation that is meant when none is named.
const USUAL: &str = "docker/compose-bridge-kubernetes";
/// The label of transformation images, and its value.
const LABEL: (&str, &str) = ("com.docker.compose.bridge", "transformation");

pub(super) fn run(app: &App, command: &BridgeCommand) -> Outcome {
    match command {
        BridgeCommand::Convert(args) => convert::run(app, args),
        BridgeCommand::Transformations(args) => match &args.command {
            TransformationsCommand::Create(args) => transformations::create(app, args),
            TransformationsCommand::List(args) => transformations::list(app, args),
        },
    }
}

/// The service that a transformation's container is of.
const SERVICE: &str = "transformation";

/// A directory of the host, and where the container sees it.
struct Bind<'a>(&'a Path, &'a str);

/// A project of one service, which lives as long as its container.
fn project(app: &App, image: &str, binds: &[Bind<'_>]) -> Result<Project, Failure> {
    // The text is a compose file: a `$` would be a variable's.
    let plain = |text: &str| text.replace('$', "$$");
    let mut volumes = Vec::new();
    for Bind(source, target) in binds {
        let Some(source) = source.to_str() else {
            let text = format!("the path {} is not UTF-8", source.display());
            return Err(Failure::new(text).hint("a transformation can't be given it"));
        };
        let bind = json!({ "create_host_path": false });
        volumes.push(
            json!({ "type": "bind", "source": plain(source), "target": target, "bind": bind }),
        );
    }
    let service = json!({
        "image": plain(image),
        "environment": { "LICENSE_AGREEMENT": "true" },
        "user": nix::unistd::geteuid().to_string(),
        "network_mode": "bridge",
        "volumes": volumes,
    });
    let request = LoadRequest {
        files: vec!["-".into()],
        stdin: Some(json!({ "services": { SERVICE: service } }).to_string()),
        project_dir: Some(app.roots()?.data),
        project_name: Some(format!("compose-bridge-{}", std::process::id())),
        ..LoadRequest::default()
    };
    // Nothing of what is around has a say in it.
    let env = crate::base::env::Env {
        vars: Default::default(),
        ..app.env.clone()
    };
    compose::load(&request, &env).map_err(load_failure)
}

/// Pulls the images of a project's services that are not here.
fn pull(app: &App, work: &Work, project: &Project) -> Result<(), Failure> {
    let mut missing = project.clone();
    missing.services.retain(|_, service| {
        let name = project.image_of(service);
        work.context.store.find(&name).is_err()
    });
    if missing.services.is_empty() {
        return Ok(());
    }
    let options = PullOptions {
        policy: Some(PullPolicy::Missing),
        ..PullOptions::default()
    };
    app.carry_out(work, &missing.name, |context| {
        apply::plan_pull(context, &missing, &options)
    })?;
    Ok(())
}

/// Makes a container of a transformation, has something done with it, and takes away whatever was made.
fn with_container<T>(
    work: &Work,
    project: &Project,
    act: impl FnOnce(&ContainerId) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // Nobody needs to be told of a container that goes at once.
    let quiet = work.context.telling(Arc::new(Silent));
    let _lock = apply::lock(&quiet, &project.name)?;
    let made = oneoff::prepare(&quiet, project, SERVICE, &RunOptions::default());
    let result = made.map_err(Failure::from).and_then(|one| act(&one.id));
    let options = DownOptions {
        remove_orphans: true,
        ignore_orphans: true,
        ..DownOptions::default()
    };
    // Also when it was cancelled.
    let last = crate::apply::Context {
        cancel: Default::default(),
        ..quiet
    };
    let removed = remove_all(&last, project, &options);
    let value = result?;
    removed?;
    Ok(value)
}

fn remove_all(
    context: &crate::apply::Context,
    project: &Project,
    options: &DownOptions,
) -> Result<(), Failure> {
    for container in context.engine.observe(&project.name)?.containers {
        use crate::engine::{AnonymousVolumes, Force};
        let id = &container.id;
        context
            .engine
            .remove(id, Force::Yes, AnonymousVolumes::Remove)?;
    }
    let plan = apply::plan_down(context, &project.name, Some(project), options)?;
    apply::run(context, &plan)?;
    Ok(())
}

/// JSON of a transformation's label.
fn is_transformation(labels: &std::collections::BTreeMap<String, String>) -> bool {
    labels.get(LABEL.0).map(String::as_str) == Some(LABEL.1)
}

/// A map of a document's section.
fn section<'d>(
    document: &'d mut serde_json::Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'d String, &'d mut serde_json::Map<String, Value>)> {
    let all = document.get_mut(name).and_then(Value::as_object_mut);
    all.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_object_mut()?)))
}
