//! `publish`: puts the files of a project into a registry, for `-f oci://…` of hoist and docker compose.
//!
//! Before that it shows what leaves this machine and asks: binds, variables, what looks like a secret.
//! Imports: `apply`, `compose::publish`, `image::registry`. As Compose: `pkg/compose/publish.go`, `internal/oci/push.go`:
//! checks, questions, media types, remarks, the order of layers.

mod artifact;
mod secrets;

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use artifact::{Layer, OciVersion};
use serde_json::Value;

use super::config::pin;
use crate::apply::{self, PushOptions};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::event::{Event, EventSink as _, Kind, Status};
use crate::base::key::KeyPath;
use crate::cli::app::{App, load_failure};
use crate::cli::args::PublishArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::{Project, VolumeSource};
use crate::compose::print::{self, Format};
use crate::compose::publish::{Publication, publication};
use crate::compose::{self, LoadRequest};
use crate::image::reference::Reference;
use crate::ui::logs::sanitise;
use crate::ui::{render, write_err};

pub(super) fn run(app: &App, args: &PublishArgs) -> Outcome {
    let to = Reference::parse(&args.repository)?;
    let version = args.oci_version.as_deref().map(OciVersion::parse);
    let version = version.transpose()?;
    let request = LoadRequest {
        resolve_env: false,
        name_env_files: true,
        ..app.request()?
    };
    let mut project = compose::load(&request, &app.env).map_err(load_failure)?;
    app.show_warnings(&project.warnings, &project.sources);
    refuse_builds(&project)?;
    let published = files(app, &project)?;
    if !published.warnings.is_empty() {
        let warnings = published.warnings.clone().sorted();
        let colour = app.screen.err_colour;
        write_err(render::diagnostics(&warnings, &published.sources, colour));
    }
    if !args.yes {
        ask(app, args, &project, &published)?;
    }
    push_images(app, &project)?;
    let mut layers = artifact::layers(published);
    if args.resolve_image_digests {
        layers.push(digests(app, &mut project)?);
    }
    send(app, args, (&to, version), &layers)
}

/// Refuses services whose images nobody else could get.
fn refuse_builds(project: &Project) -> Result<(), Failure> {
    let mut faults = Diagnostics::default();
    for service in project.services.values().filter(|s| s.image.is_none()) {
        if let Some(build) = &service.build {
            let path = KeyPath::root().key("services").key(service.name.as_str());
            let text = format!(
                "your Compose stack cannot be published as it only contains a build section for service \"{}\"",
                service.name
            );
            let fault = Diagnostic::error(text).at(build.span.or(service.span));
            let hint = "name the image that is built: `image: registry/repository:tag`";
            faults.push(fault.path(&path.key("build")).hint(hint));
        }
    }
    match faults.has_errors() {
        true => Err(Failure::faults(faults.sorted(), project.sources.clone())),
        false => Ok(()),
    }
}

/// The files of the project as they are published.
fn files(app: &App, project: &Project) -> Result<Publication, Failure> {
    if project.files.iter().any(|file| file == Path::new("-")) {
        let text = "what comes from standard input can't be published";
        return Err(Failure::new(text).hint("write it to a file and name that with -f"));
    }
    publication(&project.files, (&project.dir, &app.env.cwd))
        .map_err(|(faults, sources)| Failure::faults(faults.sorted(), *sources))
}

/// Shows what leaves this machine beside services and images, and asks.
fn ask(
    app: &App,
    args: &PublishArgs,
    project: &Project,
    published: &Publication,
) -> Result<(), Failure> {
    let binds = binds(project);
    if !binds.is_empty() {
        let head = "you are about to publish bind mounts declaration within your OCI artifact.\n\
                    only the bind mount declarations will be added to the OCI artifact (not content)\n\
                    please double check that you are not mounting potential user's sensitive directories or data\n";
        confirm(
            app,
            &format!("{head}{binds}"),
            "Are you ok to publish these bind mount declarations?",
        )?;
    }
    let mut found = String::new();
    for text in &published.texts {
        if let Some(kind) = secrets::kind(&text.path, &text.value) {
            let shown = secrets::masked(&text.value);
            found.push_str(&format!("{kind}\n\"{}\": {shown}\n", text.path));
        }
    }
    if !found.is_empty() {
        let head = "you are about to publish sensitive data within your OCI artifact.\n\
                    please double check that you are not leaking sensitive data\n";
        confirm(
            app,
            &format!("{head}{found}"),
            "Are you ok to publish these sensitive data?",
        )?;
    }
    let (declared, shown) = variables(project);
    if declared.is_empty() {
        return Ok(());
    }
    if !args.with_env {
        let text = format!(
            "{declared}To avoid leaking sensitive data, you must either explicitly allow the sending of environment variables by \
             using the --with-env flag,\nor remove sensitive data from your Compose configuration"
        );
        return Err(Failure::new(text));
    }
    if shown.is_empty() {
        return Ok(());
    }
    let head = "you are about to publish environment variables within your OCI artifact.\n\
                please double check that you are not leaking sensitive data\n";
    confirm(
        app,
        &format!("{head}{shown}"),
        "Are you ok to publish these environment variables?",
    )
}

/// The bind mounts of services, a line each below the service's name.
fn binds(project: &Project) -> String {
    let mut text = String::new();
    for service in project.services.values() {
        let mounts = service.volumes.iter().map(|mount| &mount.value);
        let mut lines = String::new();
        for mount in mounts {
            if let VolumeSource::Bind { path, .. } = &mount.source {
                let how = if mount.read_only { "ro" } else { "rw" };
                lines.push_str(&format!("{}:{}:{how}\n", path.display(), mount.target));
            }
        }
        if !lines.is_empty() {
            text.push_str(&format!("{}\n{lines}", service.name));
        }
    }
    text
}

/// Which services have variables of their own, and these.
fn variables(project: &Project) -> (String, String) {
    let services = project.document.get("services").and_then(Value::as_object);
    let (mut declared, mut shown) = (String::new(), String::new());
    for (name, service) in services.into_iter().flatten() {
        if service.get("env_file").is_some() {
            declared.push_str(&format!("service \"{name}\" has env_file declared.\n"));
        }
        let all = service.get("environment").and_then(Value::as_object);
        let all: BTreeMap<&String, &Value> = all.into_iter().flatten().collect();
        if all.is_empty() {
            continue;
        }
        declared.push_str(&format!(
            "service \"{name}\" has environment variable(s) declared.\n"
        ));
        shown.push_str(&format!("Service/Config  {name}\n"));
        for (key, value) in all {
            let value = value.as_str().unwrap_or_default();
            let value = match secrets::kind(key, value) {
                Some(_) => secrets::masked(value),
                None => value.to_owned(),
            };
            shown.push_str(&format!("{key}={value}\n"));
        }
    }
    (declared, shown)
}

/// Asks; anything but yes is an error, and so is nobody to ask.
fn confirm(app: &App, story: &str, question: &str) -> Result<(), Failure> {
    for line in story.lines() {
        let line = sanitise(line.as_bytes());
        write_err(format!("{}\n", String::from_utf8_lossy(&line)));
    }
    if app.globals.dry_run {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !app.screen.err_terminal {
        let text = "nothing was published: there is no terminal to ask on";
        return Err(
            Failure::new(text).hint("run the same command with -y if all this may be published")
        );
    }
    write_err(format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was published: the answer was no")),
    }
}

/// Pushes what services build, so that others find it. As Compose: a failure is only told.
fn push_images(app: &App, project: &Project) -> Result<(), Failure> {
    let options = PushOptions {
        ignore_failures: true,
        ..PushOptions::default()
    };
    let plan = apply::plan_push(project, &options)?;
    if plan.is_empty() {
        return Ok(());
    }
    let work = app.work(false)?;
    app.carry_out(&work, &project.name, |_| Ok(plan))?;
    Ok(())
}

/// The layer that gives images the digests they have now.
fn digests(app: &App, project: &mut Project) -> Result<Layer, Failure> {
    pin(app, &mut project.document)?;
    let only = print::images_only(&project.document, Format::Yaml);
    let text = print::typed(&only, Format::Yaml);
    Ok(Layer::compose("image-digests.yaml", false, text))
}

/// Sends the artifact.
fn send(
    app: &App,
    args: &PublishArgs,
    (to, version): (&Reference, Option<OciVersion>),
    layers: &[Layer],
) -> Outcome {
    let progress = app.new_progress(false);
    let shown = args.repository.clone();
    let tell = |status: Status, detail: Option<String>| {
        progress.send(Event::Resource {
            kind: Kind::Artifact,
            name: shown.clone(),
            status,
            detail,
        });
    };
    tell(Status::Working("publishing"), None);
    if app.globals.dry_run {
        tell(Status::Done("published"), None);
        progress.finish();
        return Ok(0);
    }
    let sender = artifact::Sender::new(app, args, to, &*progress)?;
    let sent = sender.send(version, layers);
    match &sent {
        Ok(digest) => tell(Status::Done("published"), Some(digest.to_string())),
        Err(error) => tell(Status::Failed(error.to_string()), None),
    }
    progress.finish();
    sent?;
    Ok(0)
}
