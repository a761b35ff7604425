//! `images`: the images that a project's containers were made from.
//!
//! Imports: `engine::state`, `image::store`. As Compose: `cmd/compose/images.go`.

use std::collections::BTreeMap;

use serde_json::json;

use super::containers::label;
use super::image::{Words, platform};
use crate::base::clock::{Timestamp, human_duration};
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::ImagesArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::image::digest::Digest;
use crate::image::store::Listed;
use crate::ui::table::Table;
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &ImagesArgs) -> Outcome {
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    let world = app.engine()?.observe(&name)?;
    let listed: BTreeMap<Digest, Listed> = app
        .store()?
        .list()?
        .into_iter()
        .map(|listed| (listed.image.id, listed))
        .collect();
    let shown = world.containers.iter().filter(|c| {
        args.services.is_empty() || args.services.iter().any(|name| name == label(c, "service"))
    });
    let now = Timestamp::now();
    let mut table = Table::new(
        20,
        &[
            "CONTAINER",
            "REPOSITORY",
            "TAG",
            "PLATFORM",
            "IMAGE ID",
            "SIZE",
            "CREATED",
        ],
    );
    let (mut objects, mut ids) = (Vec::new(), Vec::new());
    for container in shown {
        let words = Words::of_text(&container.image);
        let found = listed.get(&container.image_id);
        let size = found.map_or(0, |found| found.size);
        let platform = found.map_or_else(|| "-".to_owned(), |found| platform(&found.image.config));
        let created = found.and_then(|found| found.image.created());
        ids.push(container.image_id.to_string());
        objects.push(json!({
            "ID": container.image_id.to_string(), "ContainerName": container.name,
            "Repository": words.repository, "Tag": words.tag, "Platform": platform, "Size": size,
            "Created": created.map(Timestamp::rfc3339),
        }));
        table.row([
            container.name.clone(),
            words.repository,
            words.tag,
            platform,
            container.image_id.short(),
            ByteSize(size).decimal(),
            created.map_or_else(
                || "N/A".to_owned(),
                |at| format!("{} ago", human_duration(at.until(now))),
            ),
        ]);
    }
    ids.sort();
    ids.dedup();
    let text = match (args.quiet, args.format.as_str()) {
        (true, _) => ids
            .iter()
            .map(|id| format!("{}\n", id.trim_start_matches("sha256:")))
            .collect(),
        (_, "json") => format!("{}\n", serde_json::Value::Array(objects)),
        (_, "table") => table.text(),
        (_, other) => {
            return Err(Failure::new(format!(
                "unknown format `{other}`; write table or json"
            )));
        }
    };
    write_out(text)?;
    Ok(0)
}
