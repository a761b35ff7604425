//! `commit`, `export`: the files of a running container as an image or as an archive.
//!
//! Imports: `engine`, `image`, `build::change` by way of `image_archive`. As Compose: `pkg/compose/{commit,export}.go`; as Docker:
//! moby `daemon/commit.go`, `daemon/export.go`.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use super::containers::of_service;
use super::image_archive::changes;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventSink as _, Kind, Status};
use crate::cli::app::{App, Work};
use crate::cli::args::{CommitArgs, ExportArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::engine::spec::Process;
use crate::engine::state::{ObservedContainer, State};
use crate::image::config::{History, ImageConfig, RunConfig};
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::image::store::Image;
use crate::image::tree::pack::{self, Holes, Opening, Source};
use crate::sys::fs::fd_path;
use crate::sys::newfile::NewFile;

/// Bytes written at a time.
const BLOCK: usize = 1 << 20;
/// How labels of Compose and of hoist itself begin; they say nothing of an image.
const LABELS: [&str; 2] = ["com.docker.compose.", "io.hoist."];

fn tell(work: &Work, container: &ObservedContainer, status: Status) {
    work.progress.send(Event::Resource {
        kind: Kind::Container,
        name: container.name.clone(),
        status,
        detail: None,
    });
}

pub(super) fn export(app: &App, args: &ExportArgs) -> Outcome {
    if args.output.is_none() && io::stdout().is_terminal() {
        let text = "output option is required when exporting to terminal";
        return Err(Failure::new(text).hint("name a file with -o, or redirect the output"));
    }
    let work = app.work(args.output.is_none())?;
    let container = of_service(app, work.context.engine.as_ref(), &args.service, args.index)?;
    if app.globals.dry_run {
        tell(&work, &container, Status::Done("Exported"));
        work.progress.finish();
        return Ok(0);
    }
    let view = work.context.engine.view(&container.id)?;
    let Some(path) = &args.output else {
        let archive = written(&view, BufWriter::with_capacity(BLOCK, io::stdout().lock()));
        archive.map_err(|error| Failure::new(format!("cannot export: {error}")))?;
        return Ok(0);
    };
    let path = app.env.cwd.join(path);
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new(format!("cannot write {}: {why}", path.display()))
    };
    tell(&work, &container, Status::Working("Exporting"));
    let new = NewFile::create(&path, 0o600).map_err(|error| cannot(&error))?;
    let done = written(&view, BufWriter::with_capacity(BLOCK, new.file()));
    done.map_err(|error| cannot(&error))?;
    new.finish().map_err(|error| cannot(&error))?;
    tell(&work, &container, Status::Done("Exported"));
    work.progress.finish();
    Ok(0)
}

fn written(view: &OwnedFd, out: impl io::Write) -> Result<(), pack::PackError> {
    // As Docker's, its names begin with no dot.
    let listed = std::fs::read_dir(fd_path(view).join(".")).map_err(pack::PackError::Out)?;
    let names = listed.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<OsString> = names
        .collect::<Result<_, _>>()
        .map_err(pack::PackError::Out)?;
    names.sort();
    let sources: Vec<Source<'_>> = names
        .iter()
        .map(|name| Source {
            dir: view.as_fd(),
            name,
            stored_as: name.as_bytes(),
        })
        .collect();
    pack::write_all(&sources, Opening::Twice, Holes::Filled, out)
}

pub(super) fn commit(app: &App, args: &CommitArgs) -> Outcome {
    let name = args.reference.as_deref().filter(|text| !text.is_empty());
    let name = name.map(Reference::parse).transpose()?;
    if let Some(name) = name.as_ref().filter(|name| name.digest.is_some()) {
        let text = format!("invalid reference `{name}`: a digest follows from the content");
        return Err(Failure::new(text).hint("name a tag instead"));
    }
    // What is wrong with them is told before anything is done.
    changes(RunConfig::default(), &args.change)?;
    let work = app.work(false)?;
    let engine = work.context.engine.as_ref();
    let container = of_service(app, engine, &args.service, args.index)?;
    if app.globals.dry_run {
        tell(&work, &container, Status::Done("Committed"));
        work.progress.finish();
        return Ok(0);
    }
    tell(&work, &container, Status::Working("Committing"));
    let image = image_of(&work, args, &container, name);
    match &image {
        Ok(image) => {
            tell(&work, &container, Status::Done("Committed"));
            work.progress.finish();
            crate::ui::write_out(format!("{}\n", image.id))?;
        }
        Err(_) => work.progress.finish(),
    }
    image.map(|_| 0)
}

/// Makes the image.
fn image_of(
    work: &Work,
    args: &CommitArgs,
    container: &ObservedContainer,
    name: Option<Reference>,
) -> Result<Image, Failure> {
    let (engine, store) = (work.context.engine.as_ref(), &work.context.store);
    let base = store.find(&container.image_id.to_string())?;
    let process = engine.process(&container.id)?;
    let stands = args.pause && matches!(container.state, State::Running { .. });
    if stands {
        engine.pause(&container.id, true)?;
    }
    let layer = layer_of(work, container);
    if stands {
        // One that has ended meanwhile needs no word to go on.
        let _ = engine.pause(&container.id, false);
    }
    let layer = layer?;
    let run = configured(&base.config.config, container, &process);
    let command = run.cmd.clone().unwrap_or_default().join(" ");
    let created = Some(Timestamp::now().rfc3339());
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut config = ImageConfig {
        created: created.clone(),
        author: said(&args.author).or_else(|| base.config.author.clone()),
        config: changes(run, &args.change)?,
        build_cache: None,
        ..base.config.clone()
    };
    config.rootfs.diff_ids.extend(layer);
    config.history.push(History {
        created,
        created_by: Some(command),
        author: said(&args.author),
        comment: said(&args.message),
        empty_layer: layer.is_none(),
    });
    Ok(store.put(&config, name.as_slice())?)
}

/// What the container has changed, as a layer; none if that is nothing.
fn layer_of(work: &Work, container: &ObservedContainer) -> Result<Option<Digest>, Failure> {
    let layers = work.context.store.layers();
    let staging = layers.staging()?;
    let upper = staging.upper();
    work.context.engine.changes(&container.id, &upper)?;
    let mut entries = std::fs::read_dir(&upper)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", upper.display())))?;
    match entries.next() {
        None => Ok(None),
        Some(_) => Ok(Some(layers.commit(staging)?)),
    }
}

/// How the container runs, as the configuration of an image.
fn configured(image: &RunConfig, container: &ObservedContainer, process: &Process) -> RunConfig {
    let mut run = image.clone();
    let entry = image.entrypoint.as_deref().unwrap_or_default();
    // What it runs is one list: where it begins as the image's does, that is still the entry point.
    match process.args.strip_prefix(entry) {
        Some(rest) => run.cmd = Some(rest.to_vec()).filter(|rest| !rest.is_empty()),
        None => {
            run.entrypoint = None;
            run.cmd = Some(process.args.clone());
        }
    }
    run.env.clone_from(&process.env);
    run.working_dir.clone_from(&process.cwd);
    run.user.clone_from(&process.user);
    let labels = container.labels.iter();
    let own = labels.filter(|(name, _)| !LABELS.iter().any(|own| name.starts_with(own)));
    run.labels
        .extend(own.map(|(name, value)| (name.clone(), value.clone())));
    let exposed = container.exposed.iter();
    run.exposed_ports
        .extend(exposed.map(|(port, protocol)| format!("{port}/{}", protocol.as_str())));
    run.on_build.clear();
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::fixture;

    #[test]
    fn what_a_container_runs_is_split_where_the_image_splits_it() {
        let image = RunConfig {
            entrypoint: Some(vec!["/init".into()]),
            cmd: Some(vec!["serve".into()]),
            ..RunConfig::default()
        };
        let container = fixture::container("web", &[], State::Created);
        let run = |args: &[&str]| {
            let process = Process {
                args: args.iter().map(|word| (*word).to_owned()).collect(),
                ..Process::default()
            };
            let run = configured(&image, &container, &process);
            (
                run.entrypoint.unwrap_or_default(),
                run.cmd.unwrap_or_default(),
            )
        };
        let words = |all: &[&str]| {
            all.iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            run(&["/init", "x", "y"]),
            (words(&["/init"]), words(&["x", "y"]))
        );
        assert_eq!(
            run(&["/bin/sh", "x"]),
            (words(&[]), words(&["/bin/sh", "x"]))
        );
    }
}
