//! `images`: the images that a project's containers were made from.
//!
//! Imports: `engine::state`, `image::store`. As Compose: `cmd/compose/images.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::containers::{known_or_made, label};
use super::format;
use super::image::{Words, platform};
use super::store::template_failure;
use crate::base::clock::{Timestamp, human_duration};
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::ImagesArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::state::ObservedContainer;
use crate::image::digest::Digest;
use crate::image::store::Listed;
use crate::ui::rows::{Fields, Format};
use crate::ui::template::go_json;
use crate::ui::write_out;

/// What a list of a project's images can show.
const FIELDS: Fields = Fields {
    kind: "*formatter.imageContext",
    all: &[
        ("ContainerName", "CONTAINER"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Platform", "PLATFORM"),
        ("ID", "IMAGE ID"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastTagTime", "LAST TAG TIME"),
    ],
    width: 20,
};

/// Columns of the usual table.
const COLUMNS: [&str; 7] = [
    "ContainerName",
    "Repository",
    "Tag",
    "Platform",
    "ID",
    "Size",
    "CreatedSince",
];

pub(super) fn run(app: &App, args: &ImagesArgs) -> Outcome {
    let format = match args.format.as_str() {
        "json" => Format::Json,
        "" | "table" => Format::Table,
        text if text.contains("{{") => {
            Format::parse(text).map_err(|fault| template_failure(&fault))?
        }
        other => return Err(format::neither(other)),
    };
    let (name, project) = app.project_or_name()?;
    let world = app.engine()?.observe(&name)?;
    known_or_made(app, project.as_ref(), &world, &args.services)?;
    let asked = |c: &&ObservedContainer| {
        args.services.is_empty() || args.services.iter().any(|name| name == label(c, "service"))
    };
    let shown: Vec<_> = world.containers.iter().filter(asked).collect();
    if args.quiet {
        let mut ids: Vec<String> = shown.iter().map(|c| c.image_id.to_string()).collect();
        ids.sort();
        ids.dedup();
        let bare = ids.iter().map(|id| id.trim_start_matches("sha256:"));
        write_out(bare.map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let listed = listed(app, &shown)?;
    let now = Timestamp::now();
    let text = match format {
        Format::Json => {
            let objects = shown.iter().map(|c| object(c, listed.get(&c.image_id)));
            // As Compose: with an empty line behind it.
            format!("{}\n\n", go_json(&Value::Array(objects.collect())))
        }
        format => {
            let rows = shown.iter().map(|c| row(c, listed.get(&c.image_id), now));
            let rows: Vec<_> = rows.collect();
            let text = format.text(&FIELDS, &COLUMNS, &rows);
            text.map_err(|fault| template_failure(&fault))?
        }
    };
    write_out(text)?;
    Ok(0)
}

/// The images of containers, as far as they are still there.
fn listed(
    app: &App,
    containers: &[&ObservedContainer],
) -> Result<BTreeMap<Digest, Listed>, Failure> {
    if containers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let all = app.store()?.list()?.into_iter();
    Ok(all.map(|listed| (listed.image.id, listed)).collect())
}

fn platform_of(found: Option<&Listed>) -> String {
    found.map_or_else(|| "-".to_owned(), |found| platform(&found.image.config))
}

fn object(container: &ObservedContainer, found: Option<&Listed>) -> Value {
    let words = Words::of_text(&container.image);
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| object.insert(key.to_owned(), value);
    set("ID", container.image_id.to_string().into());
    set("ContainerName", container.name.as_str().into());
    set("Repository", words.repository.into());
    set("Tag", words.tag.into());
    set("Platform", platform_of(found).into());
    set("Size", found.map_or(0, |found| found.size).into());
    if let Some(created) = found.and_then(|found| found.image.created()) {
        set("Created", created.rfc3339().into());
    }
    if let Some(tagged) = found.and_then(|found| found.tagged) {
        set("LastTagTime", tagged.rfc3339().into());
    }
    Value::Object(object)
}

fn row(
    container: &ObservedContainer,
    found: Option<&Listed>,
    now: Timestamp,
) -> Map<String, Value> {
    let words = Words::of_text(&container.image);
    let size = found.map_or(0, |found| found.size);
    // As Compose: since when it has its name.
    let tagged = found.and_then(|found| found.tagged);
    let since = tagged.map(|at| format!("{} ago", human_duration(at.until(now))));
    let fields = [
        ("ContainerName", container.name.clone()),
        ("Repository", words.repository),
        ("Tag", words.tag),
        ("Platform", platform_of(found)),
        ("ID", container.image_id.short()),
        ("Size", ByteSize(size).decimal()),
        ("CreatedSince", since.unwrap_or_else(|| "N/A".to_owned())),
        (
            "LastTagTime",
            tagged.map(Timestamp::rfc3339).unwrap_or_default(),
        ),
    ];
    let fields = fields.into_iter();
    fields
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect()
}
