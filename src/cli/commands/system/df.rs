//! `system df`.
//!
//! Imports: `engine`, `image`, `build::cache`, `ui::rows`. As Docker: `cli/command/formatter/disk_usage.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::projects;
use crate::base::clock::{Timestamp, human_duration};
use crate::base::scalar::ByteSize;
use crate::build::cache::list::{Entry, Kind};
use crate::cli::app::App;
use crate::cli::args::SystemDfArgs;
use crate::cli::commands::cache::{Here, reclaimable};
use crate::cli::commands::containers;
use crate::cli::commands::ps::{command, created_at};
use crate::cli::commands::store::{ls, since};
use crate::cli::commands::volumes;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::state::{ContainerUsage, Usage};
use crate::image::digest::Digest;
use crate::image::store::Listed;
use crate::ui::rows::{Fields, Format};
use crate::ui::template::{Fault, Filling, Template, go_json};
use crate::ui::write_out;

const FIELDS: Fields = Fields {
    kind: "*formatter.diskUsageContext",
    all: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    width: 10,
};

const CONTAINERS: Fields = Fields {
    kind: "*formatter.ContainerContext",
    all: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    width: 10,
};

const CACHE: Fields = Fields {
    kind: "*formatter.buildCacheContext",
    all: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
    width: 10,
};

type Row = Map<String, Value>;

/// Everything that is counted.
struct Counted {
    listed: Vec<Listed>,
    /// Repository digests of each image.
    digests: BTreeMap<Digest, Vec<String>>,
    shared: BTreeMap<Digest, u64>,
    /// Bytes of all layers that images have, each once.
    layers: u64,
    usage: Usage,
    entries: Vec<Entry>,
}

impl Counted {
    fn of(app: &App) -> Result<Self, Failure> {
        let here = Here::of(app)?;
        let listed = here.store.list()?;
        let mut layers = BTreeSet::new();
        let mut digests = BTreeMap::new();
        for one in &listed {
            layers.extend(one.image.layers().iter().copied());
            digests.insert(one.image.id, here.store.repo_digests(&one.image.id)?);
        }
        let size = |id: &Digest| {
            here.store
                .layers()
                .record(id)
                .map_or(0, |record| record.content)
        };
        Ok(Self {
            shared: ls::shared(&here.store, &listed),
            layers: layers.iter().map(size).sum(),
            listed,
            digests,
            usage: app.engine()?.usage()?,
            entries: here.places().list()?,
        })
    }
    fn users(&self, id: &Digest) -> usize {
        let own = |one: &&ContainerUsage| one.container.image_id == *id;
        self.usage.containers.iter().filter(own).count()
    }
}

pub(super) fn run(app: &App, args: &SystemDfArgs) -> Outcome {
    let failed = |fault: Fault| Failure::new(fault.to_string());
    let format = super::super::format::rows(app, &args.format).map_err(failed)?;
    let text = if args.project {
        let rows = projects::rows(app, &app.engine()?.usage()?)?;
        format.text(&projects::FIELDS, &projects::SHOWN, &rows)
    } else {
        let counted = Counted::of(app)?;
        match args.verbose {
            true => verbose(&counted, &format, &args.format),
            false => format.text(
                &FIELDS,
                &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
                &summary(&counted),
            ),
        }
    };
    write_out(text.map_err(failed)?)?;
    Ok(0)
}

fn of(fields: impl IntoIterator<Item = (&'static str, String)>) -> Row {
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect()
}

fn summary(counted: &Counted) -> Vec<Row> {
    let line = |kind: &str, total: usize, active: usize, size: u64, free: u64, percent: bool| {
        let mut text = ByteSize(free).decimal4();
        if percent && size > 0 {
            text += &format!(" ({}%)", free.saturating_mul(100) / size);
        }
        of([
            ("Type", kind.to_owned()),
            ("TotalCount", total.to_string()),
            ("Active", active.to_string()),
            ("Size", ByteSize(size).decimal4()),
            ("Reclaimable", text),
        ])
    };
    let used: Vec<&Listed> = counted
        .listed
        .iter()
        .filter(|one| counted.users(&one.image.id) > 0)
        .collect();
    let unique = |one: &&Listed| {
        one.size.saturating_sub(
            counted
                .shared
                .get(&one.image.id)
                .copied()
                .unwrap_or_default(),
        )
    };
    // As Docker: what images in use share with others counts as free.
    let in_use: u64 = used.iter().map(unique).sum();
    let containers = &counted.usage.containers;
    let written = |running: Option<bool>| -> u64 {
        let fits = |one: &&ContainerUsage| {
            running.is_none_or(|running| one.container.state.is_up() == running)
        };
        containers
            .iter()
            .filter(fits)
            .map(|one| one.written.content)
            .sum()
    };
    let volumes = &counted.usage.volumes;
    let size = |unused: bool| -> u64 {
        let fits =
            |one: &&crate::engine::state::VolumeUsage| !unused || one.volume.users.is_empty();
        volumes
            .iter()
            .filter(fits)
            .map(|one| one.size.unwrap_or_default().content)
            .sum()
    };
    let cached = |of: &dyn Fn(&&Entry) -> bool| -> u64 {
        counted
            .entries
            .iter()
            .filter(|entry| !entry.shared)
            .filter(of)
            .map(|entry| entry.size)
            .sum()
    };
    let running = containers
        .iter()
        .filter(|one| one.container.state.is_up())
        .count();
    let mounted = volumes
        .iter()
        .filter(|one| !one.volume.users.is_empty())
        .count();
    let busy = counted.entries.iter().filter(|entry| entry.busy).count();
    vec![
        line(
            "Images",
            counted.listed.len(),
            used.len(),
            counted.layers,
            counted.layers.saturating_sub(in_use),
            true,
        ),
        line(
            "Containers",
            containers.len(),
            running,
            written(None),
            written(Some(false)),
            true,
        ),
        line(
            "Local Volumes",
            volumes.len(),
            mounted,
            size(false),
            size(true),
            true,
        ),
        line(
            "Build Cache",
            counted.entries.len(),
            busy,
            cached(&|_| true),
            cached(&|entry| reclaimable(entry)),
            false,
        ),
    ]
}

fn images(counted: &Counted, now: Timestamp, whole: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for one in counted.listed.iter().filter(|one| one.behind.is_none()) {
        let digests = counted
            .digests
            .get(&one.image.id)
            .cloned()
            .unwrap_or_default();
        let shared = counted
            .shared
            .get(&one.image.id)
            .copied()
            .unwrap_or_default();
        for (repository, tag, _) in ls::words(&one.names, &digests, false) {
            rows.push(of([
                ("Containers", counted.users(&one.image.id).to_string()),
                (
                    "CreatedAt",
                    one.image
                        .created()
                        .map_or_else(|| "N/A".to_owned(), created_at),
                ),
                ("CreatedSince", since(one.image.created(), now)),
                ("Digest", String::new()),
                (
                    "ID",
                    if whole {
                        one.image.id.to_string()
                    } else {
                        one.image.id.short()
                    },
                ),
                ("Repository", repository),
                ("SharedSize", ByteSize(shared).decimal4()),
                ("Size", ByteSize(one.size).decimal()),
                ("Tag", tag),
                (
                    "UniqueSize",
                    ByteSize(one.size.saturating_sub(shared)).decimal4(),
                ),
                ("VirtualSize", ByteSize(one.size).decimal4()),
            ]));
        }
    }
    rows
}

fn container(one: &ContainerUsage, now: Timestamp) -> Row {
    let container = &one.container;
    of([
        ("ID", containers::id(&container.id, false)),
        ("Image", container.image.clone()),
        ("Command", command(container, false)),
        ("LocalVolumes", container.volumes.len().to_string()),
        ("Size", ByteSize(one.written.content).decimal()),
        (
            "RunningFor",
            format!("{} ago", human_duration(container.created.until(now))),
        ),
        ("Status", containers::status(container, now)),
        ("Names", container.name.clone()),
    ])
}

fn entry(entry: &Entry, now: Timestamp, whole: bool) -> Row {
    let ago = |at: Option<std::time::SystemTime>| {
        at.map(|at| format!("{} ago", human_duration(Timestamp::from(at).until(now))))
            .unwrap_or_default()
    };
    of([
        (
            "ID",
            if whole {
                entry.id.clone()
            } else {
                entry.id.chars().take(12).collect()
            },
        ),
        ("CacheType", entry.kind.name().to_owned()),
        ("Size", ByteSize(entry.size).decimal()),
        ("CreatedSince", ago(entry.created)),
        ("LastUsedSince", ago(entry.used)),
        ("UsageCount", "1".to_owned()),
        (
            "Shared",
            (entry.shared || entry.kind == Kind::Project).to_string(),
        ),
    ])
}

fn verbose(counted: &Counted, format: &Format, source: &str) -> Result<String, Fault> {
    let now = Timestamp::now();
    let whole = !matches!(format, Format::Table);
    let images = images(counted, now, whole);
    let containers: Vec<Row> = counted
        .usage
        .containers
        .iter()
        .map(|one| container(one, now))
        .collect();
    let volumes: Vec<Row> = (counted.usage.volumes.iter())
        .map(|one| {
            let size = one
                .size
                .map_or_else(|| "N/A".to_owned(), |size| ByteSize(size.content).decimal());
            volumes::row(one, one.volume.users.len().to_string(), size)
        })
        .collect();
    let cache: Vec<Row> = counted
        .entries
        .iter()
        .map(|one| entry(one, now, whole))
        .collect();
    if whole {
        let list =
            |rows: Vec<Row>| Value::from(rows.into_iter().map(Value::Object).collect::<Vec<_>>());
        let all: Row = [
            ("Images", images),
            ("Containers", containers),
            ("Volumes", volumes),
            ("BuildCache", cache),
        ]
        .into_iter()
        .map(|(key, rows)| (key.to_owned(), list(rows)))
        .collect();
        let all = Value::Object(all);
        return match format {
            Format::Json => Ok(go_json(&all) + "\n"),
            _ => Template::parse(source)?.fill(&all, Some(FIELDS.kind), Filling::Value),
        };
    }
    let table =
        |fields: &Fields, shown: &[&str], rows: &[Row]| Format::Table.text(fields, shown, rows);
    let used: u64 = counted
        .entries
        .iter()
        .filter(|entry| !entry.shared)
        .map(|entry| entry.size)
        .sum();
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
        table(
            &ls::FIELDS,
            &[
                "Repository",
                "Tag",
                "ID",
                "CreatedSince",
                "VirtualSize",
                "SharedSize",
                "UniqueSize",
                "Containers"
            ],
            &images
        )?,
        table(
            &CONTAINERS,
            &[
                "ID",
                "Image",
                "Command",
                "LocalVolumes",
                "Size",
                "RunningFor",
                "Status",
                "Names"
            ],
            &containers
        )?,
        table(&volumes::FIELDS, &["Name", "Links", "Size"], &volumes)?,
        ByteSize(used).decimal4(),
        table(
            &CACHE,
            &[
                "ID",
                "CacheType",
                "Size",
                "CreatedSince",
                "LastUsedSince",
                "UsageCount",
                "Shared"
            ],
            &cache
        )?,
    ))
}
