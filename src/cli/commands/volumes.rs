//! `volumes`: the volumes that a project has.
//!
//! Imports: `engine`, `ui::rows`. As Compose: `cmd/compose/volumes.go`; as Docker: `cli/command/formatter/volume.go`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::containers::label;
use super::format;
use super::store::template_failure;
use crate::cli::app::App;
use crate::cli::args::VolumesArgs;
use crate::cli::exit::Outcome;
use crate::engine::state::VolumeUsage;
use crate::ui::rows::{Fields, LABEL};
use crate::ui::write_out;

/// What a list of volumes can show.
pub(super) const FIELDS: Fields = Fields {
    kind: "*formatter.volumeContext",
    all: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Group", "GROUP"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    width: 10,
};

pub(super) fn run(app: &App, args: &VolumesArgs) -> Outcome {
    let format = format::rows(app, &args.format).map_err(|fault| template_failure(&fault))?;
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    let engine = app.engine()?;
    let wanted: Option<BTreeSet<String>> = (!args.services.is_empty())
        .then(|| -> Result<_, crate::cli::exit::Failure> {
            let world = engine.observe(&name)?;
            let of = |service: &str| args.services.iter().any(|asked| asked == service);
            let containers = world.containers.iter().filter(|c| of(label(c, "service")));
            Ok(containers
                .flat_map(|c| c.volumes.iter().map(|(name, _)| name.clone()))
                .collect())
        })
        .transpose()?;
    let mut found = engine.volumes()?;
    found.retain(|one| {
        // As Compose: anonymous ones have no label of the project.
        one.volume.project.as_ref() == Some(&name)
            && !one.anonymous
            && wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&one.volume.name))
    });
    found.sort_by(|a, b| a.volume.name.cmp(&b.volume.name));
    if args.quiet {
        write_out(
            found
                .iter()
                .map(|one| format!("{}\n", one.volume.name))
                .collect::<String>(),
        )?;
        return Ok(0);
    }
    let rows: Vec<_> = found
        .iter()
        .map(|one| row(one, "N/A".to_owned(), "N/A".to_owned()))
        .collect();
    let text = format.text(&FIELDS, &["Driver", "Name"], &rows);
    write_out(text.map_err(|fault| template_failure(&fault))?)?;
    Ok(0)
}

/// A volume as docker lists it.
pub(super) fn row(one: &VolumeUsage, links: String, size: String) -> Map<String, Value> {
    let labels = one.volume.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let fields = [
        ("Name", one.volume.name.clone()),
        ("Driver", one.volume.driver.clone()),
        ("Scope", "local".to_owned()),
        ("Availability", "N/A".to_owned()),
        ("Mountpoint", one.place.display().to_string()),
        ("Labels", labels.join(",")),
        ("Group", "N/A".to_owned()),
        ("Links", links),
        ("Size", size),
        ("Status", "N/A".to_owned()),
    ];
    let by_name = one.volume.labels.iter();
    let by_name = by_name.map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .chain([(LABEL.to_owned(), Value::Object(by_name.collect()))])
        .collect()
}
