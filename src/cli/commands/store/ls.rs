//! `image ls`.
//!
//! Imports: `image`, `ui::rows`. As Docker: `cli/command/image/list.go`, `cli/command/formatter/image.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::format;
use super::super::image::platform;
use super::super::ps::created_at;
use super::{Filters, since, template_failure};
use crate::base::clock::Timestamp;
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::ImageLsArgs;
use crate::cli::exit::Outcome;
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::image::store::{Listed, Store};
use crate::ui::rows::Fields;
use crate::ui::table::Table;
use crate::ui::write_out;

/// Filters of `image ls`.
const FILTERS: [&str; 7] = [
    "before",
    "dangling",
    "label",
    "label!",
    "reference",
    "since",
    "until",
];

/// What a list of images can show.
pub(in crate::cli::commands) const FIELDS: Fields = Fields {
    kind: "*formatter.imageContext",
    all: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
    width: 10,
};

/// What is not there.
const NONE: &str = "<none>";

/// A name as a row shows it: repository, tag, digest.
pub(in crate::cli::commands) type Words = (String, String, String);

pub(in crate::cli::commands) fn run(app: &App, args: &ImageLsArgs) -> Outcome {
    let store = app.store()?;
    let now = Timestamp::now();
    let mut filters = Filters::parse(&args.filter, &FILTERS, &store, now)?;
    if let Some(name) = &args.name {
        filters.reference(name)?;
    }
    let format = format::rows(app, &args.format).map_err(|fault| template_failure(&fault))?;
    let all = store.list()?;
    let mut listed = all.clone();
    filters.narrow(&mut listed);
    if args.tree {
        write_out(tree(&listed, &all, &users(app)?))?;
        return Ok(0);
    }
    // Of an image for several platforms the one with the name stands for all.
    listed.retain(|one| args.all || one.behind.is_none());
    let users = users(app)?;
    let mut rows = Vec::new();
    for one in &listed {
        let head = one
            .behind
            .and_then(|id| all.iter().find(|head| head.image.id == id));
        let mut names = one.clone();
        if let Some(head) = head.filter(|_| one.names.is_empty()) {
            names.names.clone_from(&head.names);
        }
        let digests = store.repo_digests(&names.image.id)?;
        for words in words(
            &names.names,
            &digests,
            args.digests || args.format.contains(".Digest"),
        ) {
            let count = users.get(&one.image.id).map_or(0, BTreeSet::len);
            rows.push(row(one, words, args.no_trunc, count, now));
        }
    }
    if args.quiet && args.format == "table" {
        let ids = rows.iter().filter_map(|row| row.get("ID")?.as_str());
        write_out(ids.map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let mut shown = vec!["Repository", "Tag", "ID", "CreatedSince", "Size"];
    if args.digests {
        shown.insert(2, "Digest");
    }
    let text = format.text(&FIELDS, &shown, &rows);
    write_out(text.map_err(|fault| template_failure(&fault))?)?;
    Ok(0)
}

/// Names of the containers that use each image.
fn users(app: &App) -> Result<BTreeMap<Digest, BTreeSet<String>>, crate::cli::exit::Failure> {
    let mut users: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    for user in app.engine()?.image_users()? {
        users.entry(user.image).or_default().insert(user.name);
    }
    Ok(users)
}

/// The rows of one image.
pub(in crate::cli::commands) fn words(
    names: &[Reference],
    digests: &[String],
    with_digests: bool,
) -> Vec<Words> {
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        match (&name.tag, name.digest) {
            (Some(tag), _) => tags
                .entry(name.familiar_name())
                .or_default()
                .push(tag.clone()),
            (None, Some(digest)) => {
                known
                    .entry(name.familiar_name())
                    .or_default()
                    .insert(digest.to_string());
            }
            (None, None) => {}
        }
    }
    for text in digests {
        if let Some((repository, digest)) = text.split_once('@') {
            known
                .entry(repository.to_owned())
                .or_default()
                .insert(digest.to_owned());
        }
    }
    let none = || NONE.to_owned();
    let mut rows = Vec::new();
    for (repository, tags) in tags {
        let digests = known.remove(&repository).filter(|_| with_digests);
        for tag in tags {
            match &digests {
                Some(digests) => {
                    let row = |digest: &String| (repository.clone(), tag.clone(), digest.clone());
                    rows.extend(digests.iter().map(row));
                }
                None => rows.push((repository.clone(), tag, none())),
            }
        }
    }
    for (repository, digests) in known {
        match with_digests {
            true => rows.extend(
                digests
                    .into_iter()
                    .map(|digest| (repository.clone(), none(), digest)),
            ),
            false => rows.push((repository, none(), none())),
        }
    }
    if rows.is_empty() {
        rows.push((none(), none(), none()));
    }
    rows
}

/// One row.
fn row(
    one: &Listed,
    words: Words,
    whole: bool,
    users: usize,
    now: Timestamp,
) -> Map<String, Value> {
    let id = match whole {
        true => one.image.id.to_string(),
        false => one.image.id.short(),
    };
    let created = one.image.created();
    let (repository, tag, digest) = words;
    let fields = [
        ("ID", id),
        ("Repository", repository),
        ("Tag", tag),
        ("Digest", digest),
        ("CreatedSince", since(created, now)),
        (
            "CreatedAt",
            created.map_or_else(|| "N/A".to_owned(), created_at),
        ),
        ("Size", ByteSize(one.size).decimal()),
        ("Containers", users.to_string()),
        ("VirtualSize", ByteSize(one.size).decimal4()),
        ("SharedSize", "N/A".to_owned()),
        ("UniqueSize", "N/A".to_owned()),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect()
}

/// Images with the platforms they were built for below them.
fn tree(listed: &[Listed], all: &[Listed], users: &BTreeMap<Digest, BTreeSet<String>>) -> String {
    let mut table = Table::new(0, &["IMAGE", "ID", "DISK USAGE", "EXTRA"]);
    let extra = |id: &Digest| match users.contains_key(id) {
        true => "U".to_owned(),
        false => String::new(),
    };
    let cells = |title: String, one: &Listed| {
        [
            title,
            one.image.id.short(),
            ByteSize(one.size).decimal(),
            extra(&one.image.id),
        ]
    };
    let shown = |one: &&Listed| one.behind.is_none() && !one.names.is_empty();
    for one in listed.iter().filter(shown) {
        let Some((last, before)) = one.names.split_last() else {
            continue;
        };
        for name in before {
            table.row([name.to_string()]);
        }
        table.row(cells(last.to_string(), one));
        let others: Vec<&Listed> = all
            .iter()
            .filter(|other| other.behind == Some(one.image.id))
            .collect();
        if others.is_empty() {
            continue;
        }
        let count = others.len();
        table.row(cells(format!("├─ {}", platform(&one.image.config)), one));
        for (at, other) in others.into_iter().enumerate() {
            let branch = if at + 1 == count { "└─" } else { "├─" };
            table.row(cells(
                format!("{branch} {}", platform(&other.image.config)),
                other,
            ));
        }
    }
    table.text()
}

/// Bytes of the layers that several images have, by image. What is counted once elsewhere is shared here.
pub(in crate::cli::commands) fn shared(store: &Store, listed: &[Listed]) -> BTreeMap<Digest, u64> {
    let mut count: BTreeMap<Digest, usize> = BTreeMap::new();
    for one in listed {
        let own: BTreeSet<&Digest> = one.image.layers().iter().collect();
        for layer in own {
            *count.entry(*layer).or_default() += 1;
        }
    }
    let size = |layer: &&Digest| match count.get(layer) {
        Some(2..) => store
            .layers()
            .record(layer)
            .map_or(0, |record| record.content),
        _ => 0,
    };
    let of = |one: &Listed| {
        (
            one.image.id,
            one.image.layers().iter().map(|layer| size(&layer)).sum(),
        )
    };
    listed.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::config::ImageConfig;
    use crate::image::store::Image;
    use crate::ui::rows::Format;

    #[test]
    fn the_list_is_that_of_docker() {
        let config = ImageConfig {
            created: Some("1970-01-01T00:00:00Z".into()),
            ..ImageConfig::default()
        };
        let one = |names: &[&str], size| Listed {
            image: Image {
                id: Digest::of(b""),
                config: config.clone(),
            },
            names: names
                .iter()
                .filter_map(|name| Reference::parse(name).ok())
                .collect(),
            behind: None,
            tagged: None,
            size,
        };
        let digest = Digest::of(b"x");
        let listed = [
            one(&["busybox", "busybox:1"], 1_984_132),
            one(&[], 5),
            one(&[&format!("pinned@{digest}")], 5),
        ];
        let rows = |digests: bool| -> Vec<_> {
            let of = |one: &Listed| {
                let all = words(&one.names, &[], digests);
                all.into_iter()
                    .map(|words| row(one, words, false, 0, Timestamp(7_000_000_000)))
                    .collect::<Vec<_>>()
            };
            listed.iter().flat_map(of).collect()
        };
        let want = "\
REPOSITORY   TAG       IMAGE ID       CREATED         SIZE
busybox      latest    e3b0c44298fc   7 seconds ago   1.98MB
busybox      1         e3b0c44298fc   7 seconds ago   1.98MB
<none>       <none>    e3b0c44298fc   7 seconds ago   5B
pinned       <none>    e3b0c44298fc   7 seconds ago   5B
";
        let usual = ["Repository", "Tag", "ID", "CreatedSince", "Size"];
        let text = Format::Table.text(&FIELDS, &usual, &rows(false)).unwrap();
        assert_eq!(text, want);
        let text = Format::Table
            .text(&FIELDS, &["Repository", "Tag", "Digest"], &rows(true))
            .unwrap();
        assert!(
            text.ends_with(&format!("\npinned       <none>    {digest}\n")),
            "{text}"
        );
        let json = "{\"Containers\":\"0\",\"CreatedAt\":\"1970-01-01 00:00:00 +0000 UTC\",\"CreatedSince\":\"7 seconds ago\",\"Digest\":\"\\u003cnone\\u003e\",\"ID\":\"e3b0c44298fc\",\"Repository\":\"busybox\",\"SharedSize\":\"N/A\",\"Size\":\"1.98MB\",\"Tag\":\"latest\",\"UniqueSize\":\"N/A\",\"VirtualSize\":\"1.984MB\"}\n";
        assert!(
            Format::Json
                .text(&FIELDS, &[], &rows(false))
                .unwrap()
                .starts_with(json)
        );
    }
}
