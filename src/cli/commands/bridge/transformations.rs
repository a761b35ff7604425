//! `bridge transformations`: images that convert, and directories to make more of them from.
//!
//! Imports: `bridge`, `image`, `ui::table`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde_json::{Value, json};

use super::{USUAL, is_transformation, project, pull, with_container};
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::{TransformationsCreateArgs, TransformationsListArgs};
use crate::cli::commands::{cp, format};
use crate::cli::exit::{Failure, Outcome};
use crate::image::store::{Listed, Store};
use crate::ui::table::Table;
use crate::ui::template::go_json;
use crate::ui::write_out;

/// Where a transformation has its templates.
const TEMPLATES: &str = "/templates";
/// What makes an image of them.
const DOCKERFILE: &str = "FROM docker/compose-bridge-transformer\n\
    LABEL com.docker.compose.bridge=transformation\n\
    COPY templates /templates\n";
/// Narrowest column. As Compose.
const WIDTH: usize = 20;

pub(super) fn list(app: &App, args: &TransformationsListArgs) -> Outcome {
    if !args.quiet && !format::ROWS.contains(&args.format.as_str()) {
        return Err(format::neither(&args.format));
    }
    let store = app.store()?;
    let mut all = store.list()?;
    all.retain(|one| one.behind.is_none() && is_transformation(&one.image.config.config.labels));
    let text = match (args.quiet, args.format.as_str()) {
        (true, _) => all.iter().map(|one| first(one) + "\n").collect(),
        (_, "json") => {
            let all: Result<_, Failure> = all.iter().map(|one| object(&store, one)).collect();
            go_json(&Value::Array(all?)) + "\n"
        }
        _ => table(&all),
    };
    write_out(text)?;
    Ok(0)
}

/// Its first name; its id where it has none.
fn first(one: &Listed) -> String {
    let name = one.names.first().map(ToString::to_string);
    name.unwrap_or_else(|| one.image.id.to_string())
}

fn table(all: &[Listed]) -> String {
    let mut table = Table::new(WIDTH, &["IMAGE ID", "REPO", "TAGS", "SIZE"]);
    for one in all {
        let none = || "<none>".to_owned();
        let name = one.names.first();
        table.row([
            one.image.id.short(),
            name.map_or_else(none, |name| name.familiar_name()),
            name.and_then(|name| name.tag.clone()).unwrap_or_else(none),
            ByteSize(one.size).decimal(),
        ]);
    }
    table.text()
}

/// As the Engine's API tells an image.
fn object(store: &Store, one: &Listed) -> Result<Value, Failure> {
    let names: Vec<String> = one.names.iter().map(ToString::to_string).collect();
    let created = one.image.created().map_or(0, |time| time.0 / 1_000_000_000);
    Ok(json!({
        "Containers": -1, "Created": created, "Id": one.image.id.to_string(),
        "Labels": one.image.config.config.labels, "ParentId": "",
        "RepoDigests": store.repo_digests(&one.image.id)?, "RepoTags": names,
        "SharedSize": -1, "Size": one.size,
    }))
}

pub(super) fn create(app: &App, args: &TransformationsCreateArgs) -> Outcome {
    let out = app.env.cwd.join(&args.path);
    let shown = out.display();
    if out.symlink_metadata().is_ok() {
        return Err(Failure::new(format!(
            "output folder {shown} already exists"
        )));
    }
    let image = args.from.as_deref().unwrap_or(USUAL);
    if app.globals.dry_run {
        write_out(format!("write the templates of {image} into {shown}\n"))?;
        return Ok(0);
    }
    let work = app.work(false)?;
    let written = project(app, image, &[]).and_then(|project| {
        pull(app, &work, &project)?;
        with_container(&work, &project, |id| {
            let cannot = |error: io::Error| {
                Failure::new(format!("cannot create output folder {shown}: {error}"))
            };
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o744)
                .create(&out)
                .map_err(cannot)?;
            cp::out_of(app, &work, id, (Path::new(TEMPLATES), &out))?;
            dockerfile(&out)
        })
    });
    work.progress.finish();
    if let Err(failure) = written {
        // Only an empty one goes.
        let _ = fs::remove_dir(&out);
        return Err(failure);
    }
    write_out(format!("Transformer created in \"{shown}\"\n"))?;
    Ok(0)
}

fn dockerfile(dir: &Path) -> Result<(), Failure> {
    let path = dir.join("Dockerfile");
    let cannot =
        |error: io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o700);
    let mut file = file.open(&path).map_err(cannot)?;
    io::Write::write_all(&mut file, DOCKERFILE.as_bytes()).map_err(cannot)
}
