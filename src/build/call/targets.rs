//! `--call targets`: the stages that can be built.
//!
//! Imports: the siblings.

use serde_json::{Value, json};

use super::{Answer, Definition, table};
use crate::base::span::SourceMap;
use crate::build::lint::report;

pub(super) fn answer(definition: &Definition, sources: &SourceMap) -> Answer {
    let stages = &definition.file.stages;
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    let mut list = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let default = index + 1 == stages.len();
        let name = stage.name.clone();
        let shown = match (&name, default) {
            (Some(name), true) => format!("{name} (default)"),
            (None, true) => "(default)".to_owned(),
            (name, false) => name.clone().unwrap_or_default(),
        };
        rows.push(vec![shown, stage.description.clone().unwrap_or_default()]);
        let mut entry = json!({});
        let mut set = |key: &str, value: Value| {
            entry[key] = value;
        };
        if let Some(name) = name {
            set("name", name.into());
        }
        if default {
            set("default", true.into());
        }
        if let Some(description) = &stage.description {
            set("description", description.as_str().into());
        }
        set("base", stage.base.as_str().into());
        if let Some(platform) = &stage.platform {
            set("platform", platform.as_str().into());
        }
        set(
            "location",
            json!({ "ranges": report::ranges(stage.span, sources) }),
        );
        list.push(entry);
    }
    let text = sources
        .get(definition.source)
        .map(|source| report::base64(source.text.as_bytes()));
    let json = json!({ "targets": list, "sources": [text.unwrap_or_default()] });
    Answer::plain(table(&rows, 1), json)
}
