//! `ls`: the projects that have containers.
//!
//! Imports: `engine::state`. As Compose: `cmd/compose/list.go`, `pkg/compose/ls.go`.

use std::collections::BTreeMap;

use serde_json::json;

use super::containers::{label, will_print};
use crate::cli::app::App;
use crate::cli::args::LsArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::state::ObservedContainer;
use crate::ui::table::Table;
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &LsArgs) -> Outcome {
    let mut part = None;
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("name", text)) => part = Some(text),
            _ => {
                return Err(Failure::new(format!(
                    "unknown filter `{filter}`; write name=TEXT"
                )));
            }
        }
    }
    let engine = app.engine()?;
    let mut rows = Vec::new();
    for name in engine.projects()? {
        if part.is_some_and(|part| !name.as_str().contains(part)) {
            continue;
        }
        let containers = engine.observe(&name)?.containers;
        let up = containers.iter().any(will_print);
        if !containers.is_empty() && (args.all || up) {
            rows.push((
                name.to_string(),
                states(&containers, args.all),
                files(&containers),
            ));
        }
    }
    write_out(text(&rows, args)?)?;
    Ok(0)
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

fn text(rows: &[(String, String, String)], args: &LsArgs) -> Result<String, Failure> {
    if args.quiet {
        return Ok(rows.iter().map(|(name, ..)| format!("{name}\n")).collect());
    }
    match args.format.as_str() {
        "json" => {
            let object = |(name, status, files): &(String, String, String)| json!({ "Name": name, "Status": status, "ConfigFiles": files });
            let all: Vec<_> = rows.iter().map(object).collect();
            Ok(format!("{}\n", serde_json::Value::Array(all)))
        }
        "table" => {
            let mut table = Table::new(20, &["NAME", "STATUS", "CONFIG FILES"]);
            for (name, status, files) in rows {
                table.row([name.clone(), status.clone(), files.clone()]);
            }
            Ok(table.text())
        }
        other => Err(Failure::new(format!(
            "unknown format `{other}`; write table or json"
        ))),
    }
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
