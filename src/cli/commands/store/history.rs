//! `image history`.
//!
//! Imports: `image`, `ui::rows`. As Docker: `cli/command/image/formatter_history.go`.

use serde_json::{Map, Value};

use super::super::containers::cut;
use super::super::format;
use super::{find, since, template_failure};
use crate::base::clock::Timestamp;
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::ImageHistoryArgs;
use crate::cli::exit::Outcome;
use crate::image::store::{Image, Store};
use crate::ui::rows::Fields;
use crate::ui::write_out;

const FIELDS: Fields = Fields {
    kind: "*image.historyContext",
    all: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    width: 10,
};

/// Longest command in a table.
const LONGEST: usize = 45;

pub(in crate::cli::commands) fn run(app: &App, args: &ImageHistoryArgs) -> Outcome {
    let format = format::rows(app, &args.format).map_err(|fault| template_failure(&fault))?;
    let store = app.store()?;
    let image = find(&store, &args.image, args.platform.as_deref())?;
    let rows = rows(&store, &image, args, Timestamp::now());
    if args.quiet {
        let ids = rows.iter().filter_map(|row| row.get("ID")?.as_str());
        write_out(ids.map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let shown = match args.human() {
        true => ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
        false => ["ID", "CreatedAt", "CreatedBy", "Size", "Comment"],
    };
    let text = format.text(&FIELDS, &shown, &rows);
    write_out(text.map_err(|fault| template_failure(&fault))?)?;
    Ok(0)
}

fn rows(
    store: &Store,
    image: &Image,
    args: &ImageHistoryArgs,
    now: Timestamp,
) -> Vec<Map<String, Value>> {
    let mut layers = image.layers().iter();
    let mut rows = Vec::new();
    for step in &image.config.history {
        let layer = if step.empty_layer {
            None
        } else {
            layers.next()
        };
        let size = layer.and_then(|id| store.layers().record(id).ok());
        let size = size.map_or(0, |record| record.content);
        let created = step.created.as_deref().and_then(Timestamp::parse);
        let by = step
            .created_by
            .clone()
            .unwrap_or_default()
            .replace('\t', " ");
        let at = |at: Timestamp| {
            let text = at.rfc3339();
            text.split('.').next().map_or(text.clone(), |whole| {
                format!("{}Z", whole.trim_end_matches('Z'))
            })
        };
        let fields = [
            ("ID", "<missing>".to_owned()),
            ("CreatedSince", since(created, now)),
            ("CreatedAt", created.map_or_else(|| "N/A".to_owned(), at)),
            (
                "CreatedBy",
                if args.no_trunc { by } else { cut(&by, LONGEST) },
            ),
            (
                "Size",
                match args.human() {
                    true => ByteSize(size).decimal(),
                    false => size.to_string(),
                },
            ),
            ("Comment", step.comment.clone().unwrap_or_default()),
        ];
        rows.push(
            fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), Value::from(value)))
                .collect::<Map<_, _>>(),
        );
    }
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        let id = match args.no_trunc {
            true => image.id.to_string(),
            false => image.id.short(),
        };
        newest.insert("ID".to_owned(), Value::from(id));
    }
    rows
}
