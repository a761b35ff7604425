//! `ls`: the projects that have containers.
//!
//! Imports: `engine::state`. As Compose: `cmd/compose/list.go`, `pkg/compose/ls.go`.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::containers::{label, will_print};
use super::format;
use super::store::template_failure;
use crate::cli::app::App;
use crate::cli::args::LsArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::isolate;
use crate::engine::state::ObservedContainer;
use crate::ui::rows::{Fields, Format};
use crate::ui::template::go_json;
use crate::ui::write_out;

/// What a list of projects can show.
const FIELDS: Fields = Fields {
    kind: "*formatter.stackContext",
    all: &[
        ("Name", "NAME"),
        ("Status", "STATUS"),
        ("ConfigFiles", "CONFIG FILES"),
        ("Address", "ADDRESS"),
        ("Enabled", "BOOT"),
    ],
    width: 20,
};

pub(super) fn run(app: &App, args: &LsArgs) -> Outcome {
    let names = names(&args.filter)?;
    let engine = app.engine()?;
    let checkouts = isolate::all(&app.roots()?.data)?;
    let mut rows = Vec::new();
    for name in engine.projects()? {
        if !names.is_empty() && !names.iter().any(|wanted| wanted.is(name.as_str())) {
            continue;
        }
        let containers = engine.observe(&name)?.containers;
        let up = containers.iter().any(will_print);
        if !containers.is_empty() && (args.all || up) {
            rows.push((
                name.to_string(),
                states(&containers, args.all),
                files(&containers),
                Extra {
                    address: checkouts
                        .iter()
                        .find(|checkout| checkout.project == name.as_str())
                        .map(|checkout| checkout.address.to_string()),
                    enabled: super::enable::is_enabled(app, &name),
                },
            ));
        }
    }
    write_out(text(&rows, args)?)?;
    Ok(0)
}

/// A name that is asked for. As Docker: in full, or as a regular expression.
struct Wanted<'a> {
    text: &'a str,
    expression: Option<Regex>,
}

impl Wanted<'_> {
    fn is(&self, name: &str) -> bool {
        let fits = |expression: &Regex| expression.is_match(name);
        name == self.text || self.expression.as_ref().is_some_and(fits)
    }
}

/// The names of `--filter`; any of them will do.
fn names(filters: &[String]) -> Result<Vec<Wanted<'_>>, Failure> {
    let one = |filter: &'_ String| match filter.split_once('=') {
        Some(("name", _)) => Ok(()),
        Some((other, _)) => {
            Err(Failure::new(format!("invalid filter '{other}'"))
                .hint("the one filter is name=TEXT"))
        }
        None => Err(Failure::new(format!(
            "invalid argument \"{filter}\" for \"--filter\" flag: bad format of filter (expected name=value)"
        ))),
    };
    filters.iter().try_for_each(one)?;
    let named = filters.iter().filter_map(|filter| filter.split_once('='));
    Ok(named
        .map(|(_, text)| Wanted {
            text,
            expression: Regex::new(text).ok(),
        })
        .collect())
}

/// `exited(1), running(2)`. Without `--all` only what runs is counted.
fn states(containers: &[ObservedContainer], all: bool) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for c in containers.iter().filter(|c| all || will_print(c)) {
        *counts.entry(c.state.as_str()).or_default() += 1;
    }
    counts
        .iter()
        .map(|(state, count)| format!("{state}({count})"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn files(containers: &[ObservedContainer]) -> String {
    containers
        .iter()
        .map(|c| label(c, "project.config_files"))
        .find(|f| !f.is_empty())
        .unwrap_or("N/A")
        .to_owned()
}

/// What docker compose does not tell of a project, shown only where there is something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Extra {
    /// Where an isolated checkout publishes its ports.
    address: Option<String>,
    /// Whether it comes back after a boot.
    enabled: bool,
}

type Row = (String, String, String, Extra);

fn text(rows: &[Row], args: &LsArgs) -> Result<String, Failure> {
    if args.quiet {
        return Ok(rows.iter().map(|(name, ..)| format!("{name}\n")).collect());
    }
    let object = |(name, status, files, extra): &Row| -> Map<String, Value> {
        let fields = [("Name", name), ("Status", status), ("ConfigFiles", files)];
        let fields = fields.into_iter();
        let mut object: Map<String, Value> = fields
            .map(|(key, value)| (key.to_owned(), Value::from(value.as_str())))
            .collect();
        if let Some(address) = &extra.address {
            object.insert("Address".to_owned(), address.as_str().into());
        }
        if extra.enabled {
            object.insert("Enabled".to_owned(), true.into());
        }
        object
    };
    let mut columns = vec!["Name", "Status", "ConfigFiles"];
    columns.extend(
        rows.iter()
            .any(|(.., extra)| extra.address.is_some())
            .then_some("Address"),
    );
    columns.extend(
        rows.iter()
            .any(|(.., extra)| extra.enabled)
            .then_some("Enabled"),
    );
    let objects: Vec<_> = rows.iter().map(object).collect();
    let worded = |mut object: Map<String, Value>| {
        if object.contains_key("Enabled") {
            object.insert("Enabled".to_owned(), "enabled".into());
        }
        object
    };
    let format = match args.format.as_str() {
        "json" => {
            let all = objects.into_iter().map(Value::Object).collect();
            return Ok(format!("{}\n", go_json(&Value::Array(all))));
        }
        "" | "table" => Ok(Format::Table),
        text if text.contains("{{") => Format::parse(text),
        other => return Err(format::neither(other)),
    };
    let objects: Vec<_> = objects.into_iter().map(worded).collect();
    format
        .and_then(|format| format.text(&FIELDS, &columns, &objects))
        .map_err(|fault| template_failure(&fault))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::container;
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::engine::state::{Exit, State};

    #[test]
    fn states_are_counted_and_rows_print_as_docker_compose_does() {
        let up = State::Running {
            since: Timestamp(0),
        };
        let ended = State::Exited {
            exit: Exit {
                code: Some(0),
                oom: false,
                at: Timestamp(0),
            },
        };
        let all = [
            container("a", &[], up),
            container("b", &[], up),
            container("c", &[], ended),
        ];
        assert_eq!(states(&all, false), "running(2)");
        assert_eq!(states(&all, true), "exited(1), running(2)");
        let rows = [(
            "cref".to_owned(),
            states(&all, false),
            "/tmp/compose.yaml".to_owned(),
            Extra::default(),
        )];
        let table = LsArgs {
            format: "table".into(),
            ..LsArgs::default()
        };
        let want = "NAME                STATUS              CONFIG FILES\n\
                    cref                running(2)          /tmp/compose.yaml\n";
        assert_eq!(text(&rows, &table).ok().as_deref(), Some(want));
        let json = LsArgs {
            format: "json".into(),
            ..LsArgs::default()
        };
        let want = "[{\"Name\":\"cref\",\"Status\":\"running(2)\",\"ConfigFiles\":\"/tmp/compose.yaml\"}]\n";
        assert_eq!(text(&rows, &json).ok().as_deref(), Some(want));
    }
}
