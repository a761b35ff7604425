//! `image …`: the images of the store.
//!
//! Imports: `image`, `engine` (which images containers use). As Docker: `docker image`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::base::clock::{Timestamp, human_duration};
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::{ImageCommand, ImageLsArgs, ImageRmArgs, InspectArgs, TagArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::image::store::{Image, Listed, Removal, Store};
use crate::ui::table::Table;
use crate::ui::write_out;

pub(super) fn run(app: &App, command: &ImageCommand) -> Outcome {
    match command {
        ImageCommand::Build(args) => super::image_build::run(app, args),
        ImageCommand::Import(args) => super::image_archive::import(app, args),
        ImageCommand::Inspect(args) => inspect(app, args),
        ImageCommand::Load(args) => super::image_archive::load(app, args),
        ImageCommand::Ls(args) => ls(app, args),
        ImageCommand::Pull(args) => super::image_transfer::pull(app, args),
        ImageCommand::Push(args) => super::image_transfer::push(app, args),
        ImageCommand::Rm(args) => rm(app, args),
        ImageCommand::Save(args) => super::image_archive::save(app, args),
        ImageCommand::Tag(args) => tag(app, args),
    }
}

fn tag(app: &App, args: &TagArgs) -> Outcome {
    let store = app.store()?;
    let image = store.find(&args.source)?;
    store.tag(&image.id, &Reference::parse(&args.target)?)?;
    Ok(0)
}

/// Images that containers use with the names of those containers, and the layers these need.
pub(super) fn used(
    app: &App,
    store: &Store,
) -> Result<(BTreeMap<Digest, String>, BTreeSet<Digest>), Failure> {
    let engine = app.engine()?;
    let (mut users, mut layers) = (BTreeMap::new(), BTreeSet::new());
    for project in engine.projects()? {
        for container in engine.observe(&project)?.containers {
            users
                .entry(container.image_id)
                .or_insert_with(|| format!("container {}", container.name));
        }
    }
    for id in engine.images_in_use()? {
        users.entry(id).or_insert_with(|| "a container".to_owned());
    }
    for id in users.keys() {
        // An image that was removed by force has no layers to protect any more but those its containers hold.
        if let Ok(image) = store.find(&id.to_string()) {
            layers.extend(image.layers().iter().copied());
        }
    }
    Ok((users, layers))
}

fn rm(app: &App, args: &ImageRmArgs) -> Outcome {
    let store = app.store()?;
    let (in_use, mut keep) = used(app, &store)?;
    // The build cache is cleared by its own command.
    keep.extend(crate::build::cache::list::layers(
        &app.roots()?.data.join("cache"),
    ));
    let how = Removal {
        force: args.force,
        in_use: &in_use,
        keep: &keep,
    };
    let mut failed = Vec::new();
    for text in &args.images {
        match store.remove(text, &how) {
            Ok(removed) => {
                let untagged = removed
                    .untagged
                    .iter()
                    .map(|name| format!("Untagged: {name}\n"));
                let deleted = removed.images.iter().map(|id| format!("Deleted: {id}\n"));
                write_out(untagged.chain(deleted).collect::<String>())?;
            }
            Err(error) => failed.push(Failure::from(error)),
        }
    }
    match failed.pop() {
        None => Ok(0),
        Some(last) => {
            for failure in failed {
                failure.report(app.screen, app.json_progress());
            }
            Err(last)
        }
    }
}

fn inspect(app: &App, args: &InspectArgs) -> Outcome {
    let store = app.store()?;
    let listed = store.list()?;
    let mut found = Vec::new();
    let mut missing = None;
    for text in &args.images {
        match store.find(text) {
            Ok(image) => {
                let size = listed
                    .iter()
                    .find(|l| l.image.id == image.id)
                    .map_or(0, |l| l.size);
                found.push(object(
                    &image,
                    &store.names(&image.id)?,
                    &store.repo_digests(&image.id)?,
                    size,
                ));
            }
            Err(error) => missing = Some(error),
        }
    }
    let text = serde_json::to_string_pretty(&Value::Array(found)).unwrap_or_default();
    // Docker indents by four.
    let text: String = text
        .lines()
        .map(|line| {
            let depth = line.len() - line.trim_start().len();
            format!("{}{line}\n", " ".repeat(depth))
        })
        .collect();
    write_out(text)?;
    missing.map_or(Ok(0), |error| Err(error.into()))
}

/// An image with Docker's keys.
fn object(image: &Image, names: &[Reference], digests: &[String], size: u64) -> Value {
    let tags: Vec<String> = names
        .iter()
        .filter(|name| name.tag.is_some())
        .map(ToString::to_string)
        .collect();
    let comment = image
        .config
        .history
        .last()
        .and_then(|last| last.comment.clone());
    json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": comment.unwrap_or_default(),
        "Created": image.config.created,
        "Author": image.config.author.clone().unwrap_or_default(),
        "Config": serde_json::to_value(&image.config.config).unwrap_or(Value::Null),
        "Architecture": image.config.architecture,
        "Variant": image.config.variant.clone().unwrap_or_default(),
        "Os": image.config.os,
        "Size": size,
        "RootFS": {
            "Type": image.config.rootfs.kind,
            "Layers": image.layers().iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    })
}

fn ls(app: &App, args: &ImageLsArgs) -> Outcome {
    let mut listed = app.store()?.list()?;
    if let Some(name) = &args.name {
        let wanted = Reference::parse(name)?;
        let tagged = name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains([':', '@']));
        let same = |one: &Reference| {
            one.registry == wanted.registry
                && one.repository == wanted.repository
                && (!tagged || one.tag == wanted.tag)
        };
        for one in &mut listed {
            one.names.retain(same);
        }
        listed.retain(|one| !one.names.is_empty());
    }
    write_out(list_text(&listed, args, Timestamp::now())?)?;
    Ok(0)
}

fn list_text(listed: &[Listed], args: &ImageLsArgs, now: Timestamp) -> Result<String, Failure> {
    let id = |id: &Digest| {
        if args.no_trunc {
            id.to_string()
        } else {
            id.short()
        }
    };
    if args.quiet {
        return Ok(listed
            .iter()
            .map(|one| format!("{}\n", id(&one.image.id)))
            .collect());
    }
    let mut table = Table::new(10, &["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    let mut objects = String::new();
    for one in listed {
        let names: Vec<Words> = match one.names.is_empty() {
            true => vec![Words::none()],
            false => one.names.iter().map(Words::of).collect(),
        };
        let ago = |at: Timestamp| format!("{} ago", human_duration(at.until(now)));
        let created = one.image.created().map_or_else(|| "N/A".to_owned(), ago);
        for words in names {
            let object = json!({
                "CreatedAt": one.image.config.created, "CreatedSince": created, "Digest": "<none>",
                "ID": id(&one.image.id), "Repository": words.repository, "Size": ByteSize(one.size).decimal(),
                "Tag": words.tag,
            });
            objects.push_str(&format!("{object}\n"));
            table.row([
                words.repository,
                words.tag,
                id(&one.image.id),
                created.clone(),
                ByteSize(one.size).decimal(),
            ]);
        }
    }
    match args.format.as_str() {
        "table" => Ok(table.text()),
        "json" => Ok(objects),
        other => Err(Failure::new(format!(
            "unknown format `{other}`; write table or json"
        ))),
    }
}

/// An image's name as lists show it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) repository: String,
    pub(super) tag: String,
}

impl Words {
    fn none() -> Self {
        Self {
            repository: "<none>".into(),
            tag: "<none>".into(),
        }
    }
    fn of(name: &Reference) -> Self {
        Self {
            repository: name.familiar_name(),
            tag: name.tag.clone().unwrap_or_else(|| "<none>".into()),
        }
    }
    /// Of a name that a spec holds; text that is none is shown as it is.
    pub(super) fn of_text(text: &str) -> Self {
        match Reference::parse(text) {
            Ok(name) => Self::of(&name),
            Err(_) => Self {
                repository: text.to_owned(),
                tag: "<none>".into(),
            },
        }
    }
}

/// `linux/amd64`, `linux/arm64/v8`.
pub(super) fn platform(config: &ImageConfig) -> String {
    let variant = config
        .variant
        .as_deref()
        .map(|v| format!("/{v}"))
        .unwrap_or_default();
    format!("{}/{}{variant}", config.os, config.architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_base_1000() {
        let shown: Vec<String> = [0, 999, 1000, 1_984_132, 74_800_000, 1_100_000_000]
            .map(|bytes| ByteSize(bytes).decimal())
            .into();
        assert_eq!(shown, ["0B", "999B", "1kB", "1.98MB", "74.8MB", "1.1GB"]);
    }

    #[test]
    fn the_list_is_that_of_docker() {
        let config = ImageConfig {
            created: Some("1970-01-01T00:00:00Z".into()),
            ..ImageConfig::default()
        };
        let image = Image {
            id: Digest::of(b""),
            config,
        };
        let names = Reference::parse("busybox").into_iter().collect();
        let listed = [
            Listed {
                image: image.clone(),
                names,
                size: 1_984_132,
            },
            Listed {
                image,
                names: vec![],
                size: 5,
            },
        ];
        let args = ImageLsArgs {
            format: "table".into(),
            ..ImageLsArgs::default()
        };
        let want = "\
REPOSITORY   TAG       IMAGE ID       CREATED         SIZE
busybox      latest    e3b0c44298fc   7 seconds ago   1.98MB
<none>       <none>    e3b0c44298fc   7 seconds ago   5B
";
        assert_eq!(
            list_text(&listed, &args, Timestamp(7_000_000_000))
                .ok()
                .as_deref(),
            Some(want)
        );
    }
}
