//! `system df --project`: what each service takes of the disk, as it is allocated; what several use is counted once, apart.
//!
//! In: images, containers, volumes, the build cache. Out: rows. Sizes of layers, which never change, are measured once and
//! kept in `<data>/layers/.sizes`. Imports: `engine`, `image`, `sys::measure`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::base::scalar::ByteSize;
use crate::build::cache::list::Kind;
use crate::cli::app::App;
use crate::cli::commands::cache::Here;
use crate::cli::commands::containers::label;
use crate::cli::exit::Failure;
use crate::engine::state::Usage;
use crate::image::digest::Digest;
use crate::image::store::Store;
use crate::ui::rows::Fields;

pub(super) const FIELDS: Fields = Fields {
    kind: "*formatter.projectContext",
    all: &[
        ("Project", "PROJECT"),
        ("Service", "SERVICE"),
        ("Containers", "CONTAINERS"),
        ("Images", "IMAGES"),
        ("Shared", "SHARED"),
        ("Written", "WRITTEN"),
        ("Logs", "LOGS"),
        ("Volumes", "VOLUMES"),
        ("Cache", "CACHE"),
        ("Total", "TOTAL"),
    ],
    width: 10,
};

pub(super) const SHOWN: [&str; 9] = [
    "Project",
    "Service",
    "Containers",
    "Images",
    "Shared",
    "Written",
    "Logs",
    "Volumes",
    "Total",
];

/// What a service takes; all in bytes of the disk.
#[derive(Debug, Default)]
struct Share {
    containers: usize,
    layers: BTreeSet<Digest>,
    written: u64,
    logs: u64,
    volumes: u64,
}

pub(super) fn rows(app: &App, usage: &Usage) -> Result<Vec<Map<String, Value>>, Failure> {
    let here = Here::of(app)?;
    let sizes = here.store.layers().disk_sizes()?;
    let size = |layers: &mut dyn Iterator<Item = &Digest>| -> u64 {
        layers.filter_map(|layer| sizes.get(layer)).sum()
    };
    let shares = shares(&here.store, usage);
    let mut count: BTreeMap<Digest, usize> = BTreeMap::new();
    for layer in shares.values().flat_map(|share| &share.layers) {
        *count.entry(*layer).or_default() += 1;
    }
    let alone = |layer: &&Digest| count.get(layer) == Some(&1);
    let mut rows = Vec::new();
    for ((project, service), share) in &shares {
        let own = size(&mut share.layers.iter().filter(alone));
        let shared = size(&mut share.layers.iter().filter(|layer| !alone(layer)));
        let total = own + share.written + share.logs + share.volumes;
        rows.push(row(
            [project, service],
            share.containers,
            [
                own,
                shared,
                share.written,
                share.logs,
                share.volumes,
                0,
                total,
            ],
        ));
    }
    let common = size(
        &mut count
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(layer, _)| layer),
    );
    let mut of_images = BTreeSet::new();
    for one in here.store.list()? {
        of_images.extend(one.image.layers().iter().copied());
    }
    let idle = size(&mut of_images.iter().filter(|layer| !count.contains_key(layer)));
    let rest = sizes
        .keys()
        .filter(|layer| !count.contains_key(layer) && !of_images.contains(layer));
    let mut cache = size(&mut rest.collect::<Vec<_>>().into_iter());
    let entries = here.places().list()?;
    cache += entries
        .iter()
        .filter(|entry| entry.kind != Kind::Step)
        .map(|entry| entry.size)
        .sum::<u64>();
    for (name, images, cache) in [
        ("(shared)", common, 0),
        ("(unused images)", idle, 0),
        ("(build cache)", 0, cache),
    ] {
        if images + cache > 0 {
            rows.push(row(
                [name, ""],
                0,
                [images, 0, 0, 0, 0, cache, images + cache],
            ));
        }
    }
    Ok(rows)
}

/// What each service of each project has. Volumes belong to the first service that mounts them, or to none.
fn shares(store: &Store, usage: &Usage) -> BTreeMap<(String, String), Share> {
    let mut shares: BTreeMap<(String, String), Share> = BTreeMap::new();
    let mut mounts: BTreeMap<&str, String> = BTreeMap::new();
    for one in &usage.containers {
        let container = &one.container;
        let service = label(container, "service").to_owned();
        for (volume, _) in &container.volumes {
            let first = mounts
                .entry(volume.as_str())
                .or_insert_with(|| service.clone());
            if service < *first {
                *first = service.clone();
            }
        }
        let share = shares
            .entry((container.project.to_string(), service))
            .or_default();
        share.containers += 1;
        share.written += one.written.disk;
        share.logs += one.log.disk;
        if let Ok(image) = store.find(&container.image_id.to_string()) {
            share.layers.extend(image.layers().iter().copied());
        }
    }
    for one in &usage.volumes {
        let project = one.volume.project.as_ref().map(ToString::to_string);
        let service = mounts
            .get(one.volume.name.as_str())
            .cloned()
            .unwrap_or_default();
        let share = shares
            .entry((project.unwrap_or_else(|| "-".to_owned()), service))
            .or_default();
        share.volumes += one.size.unwrap_or_default().disk;
    }
    shares
}

fn row([project, service]: [&str; 2], containers: usize, sizes: [u64; 7]) -> Map<String, Value> {
    let [images, shared, written, logs, volumes, cache, total] =
        sizes.map(|size| ByteSize(size).decimal4());
    let fields = [
        ("Project", project.to_owned()),
        (
            "Service",
            if service.is_empty() {
                "-".to_owned()
            } else {
                service.to_owned()
            },
        ),
        ("Containers", containers.to_string()),
        ("Images", images),
        ("Shared", shared),
        ("Written", written),
        ("Logs", logs),
        ("Volumes", volumes),
        ("Cache", cache),
        ("Total", total),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect()
}
