//! Odd Dockerfiles, and what the reference makes of each: the image's configuration and history, or the line it refuses.
//!
//! `reference.json` holds the answers of `docker build` (Engine 28.5) to these files, asked once: fields of the configuration that
//! differ from the base's, the history behind the base's, or the line of the error (0 where it names none). Where hoist's place is
//! better than the reference's, hoist's stands there.

use serde_json::Value;

use super::tests::World;
use super::*;

/// Checks all files of a group.
fn group(name: &str) {
    let cases: Vec<Value> = serde_json::from_str(include_str!("reference.json")).expect("JSON");
    let cases: Vec<&Value> = cases.iter().filter(|case| case["group"] == name).collect();
    assert!(!cases.is_empty(), "there is no group {name}");
    let Some(world) = World::new(&format!("reference-{name}")) else {
        return;
    };
    let context = world.dir.join("ctx");
    for (path, text) in [("a", "a"), ("b", "b"), ("d/x", "x")] {
        let path = context.join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let mut faults = Vec::new();
    for case in cases {
        let text = case["text"].as_str().expect("a text");
        if let Err(fault) = compare(&world.build(text), case) {
            faults.push(format!("{text:?}\n    {fault}"));
        }
    }
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

fn compare(built: &Result<Image, BuildError>, case: &Value) -> Result<(), String> {
    let image = match (built, case["line"].as_u64()) {
        (
            Err(BuildError::Invalid {
                diagnostics,
                sources,
            }),
            Some(line),
        ) => {
            let places = diagnostics.iter().filter_map(|item| item.span);
            let lines: Vec<u64> = places.map(|span| sources.line_col(span).0 as u64).collect();
            let same = line == 0 || lines.contains(&line);
            return same
                .then_some(())
                .ok_or_else(|| format!("line {line} is not among {lines:?}"));
        }
        (Err(error), _) => return Err(format!("refused: {error}")),
        (Ok(_), Some(line)) => return Err(format!("line {line} is not refused")),
        (Ok(image), None) => image,
    };
    let config = serde_json::to_value(&image.config.config).map_err(|error| error.to_string())?;
    let names = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "Shell",
        "OnBuild",
    ];
    for name in names {
        let (mut found, wanted) = (config[name].clone(), &case["config"][name]);
        if let (Value::Array(items), "Env") = (&mut found, name) {
            items.retain(|item| !item.as_str().is_some_and(|item| item.starts_with("PATH=")));
        }
        let nothing = |value: &Value| value.is_null() || *value == serde_json::json!([]);
        if found != *wanted && !(nothing(&found) && nothing(wanted)) {
            return Err(format!("{name} is {found}, not {wanted}"));
        }
    }
    let history = image.config.history.iter();
    // The reference's client shows blanks for tabs.
    let history = history.filter_map(|line| Some(line.created_by.as_ref()?.replace('\t', " ")));
    let history = serde_json::json!(history.collect::<Vec<_>>());
    match history == case["history"] {
        true => Ok(()),
        false => Err(format!("the history is {history}, not {}", case["history"])),
    }
}

#[test]
fn directives_are_read_as_the_reference_reads_them() {
    group("directives");
}

#[test]
fn rows_are_joined_as_the_reference_joins_them() {
    group("rows");
}

#[test]
fn stages_begin_as_the_reference_begins_them() {
    group("stages");
}

#[test]
fn variables_are_worked_out_as_the_reference_does() {
    group("variables");
}

#[test]
fn arguments_have_the_scopes_of_the_reference() {
    group("arguments");
}

#[test]
fn labels_are_those_of_the_reference() {
    group("labels");
}

#[test]
fn commands_have_the_forms_of_the_reference() {
    group("commands");
}

#[test]
fn ports_are_those_of_the_reference() {
    group("ports");
}

#[test]
fn users_are_those_of_the_reference() {
    group("users");
}

#[test]
fn working_directories_are_those_of_the_reference() {
    group("directories");
}

#[test]
fn volumes_are_those_of_the_reference() {
    group("volumes");
}

#[test]
fn stop_signals_are_those_of_the_reference() {
    group("signals");
}

#[test]
fn maintainers_are_those_of_the_reference() {
    group("maintainers");
}

#[test]
fn triggers_are_kept_and_run_as_the_reference_does() {
    group("triggers");
}

#[test]
fn health_checks_are_those_of_the_reference() {
    group("health");
}

#[test]
fn copies_are_written_down_as_the_reference_does() {
    group("copies");
}

#[test]
fn runs_are_written_down_as_the_reference_does() {
    group("runs");
}

#[test]
fn all_other_oddities_are_those_of_the_reference() {
    group("others");
}
