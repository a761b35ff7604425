//! `--progress json`: each line of each command is as `schema --events` says, from the first to the last.

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    each_line_of_each_command_follows_the_schema,
    a_failure_is_told_with_its_place_and_the_last_line_has_the_code,
    a_command_that_only_looks_writes_no_stream,
);

/// Whether a value follows a schema; of the language only what the schema of events uses.
fn follows(schema: &Value, value: &Value) -> Result<(), String> {
    let fault = |text: &str| Err(format!("{text}: {value} against {schema}"));
    if let Some(all) = schema["oneOf"].as_array() {
        let fit = all.iter().filter(|one| follows(one, value).is_ok()).count();
        return if fit == 1 {
            Ok(())
        } else {
            fault(&format!("{fit} forms fit"))
        };
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return fault("another value");
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|all| !all.contains(value))
    {
        return fault("none of the values");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        return fault("another type");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if name.as_str().is_none_or(|name| value.get(name).is_none()) {
            return fault(&format!("lacks {name}"));
        }
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            follows(below, value)?;
        }
    }
    for item in value
        .as_array()
        .filter(|_| schema.get("items").is_some())
        .into_iter()
        .flatten()
    {
        follows(&schema["items"], item)?;
    }
    Ok(())
}

/// The lines of a command's stream; each follows the schema, the first and the last are what they have to be.
fn stream(hoist: &Sandbox, schema: &Value, command: &str, code: i32) -> Vec<Value> {
    let done = hoist.run(&format!("--progress json {command}")).code(code);
    let read = |line: &str| {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{command}: {error}: {line}"));
        if let Err(fault) = follows(schema, &value) {
            panic!("{command}: {fault}");
        }
        value
    };
    let lines: Vec<Value> = done.err.lines().map(read).collect();
    let (first, last) = (
        lines.first().expect("a line"),
        lines.last().expect("a line"),
    );
    assert_eq!(
        (&first["event"], &first["version"]),
        (&"start".into(), &1.into()),
        "{command}"
    );
    assert_eq!(
        (&last["event"], &last["code"], &last["ok"]),
        (&"result".into(), &code.into(), &(code == 0).into()),
        "{command}"
    );
    lines
}

fn schema(hoist: &Sandbox) -> Value {
    serde_json::from_str(&hoist.ok("schema --events").out).expect("a schema")
}

fn each_line_of_each_command_follows_the_schema() {
    let hoist = Sandbox::new();
    let schema = schema(&hoist);
    hoist.file("Dockerfile", "FROM tiny\nRUN echo out\n");
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['vol:/v']}\n  b: {build: ., image: made, command: sleep 3600, stop_signal: SIGKILL, depends_on: [a]}\n\
         volumes: {vol: }\n",
    );
    hoist.file("f", "text");
    for command in [
        "--dry-run up -d",
        "up -d",
        "up -d",
        "build --no-cache",
        "restart a",
        "stop a",
        "start a",
        "cp f a:/f",
        "run --rm -T a true",
        "kill b",
        "rm -fs b",
        "create",
        "push --ignore-push-failures a",
        "up -d --force-recreate --wait",
        "down -v",
    ] {
        stream(&hoist, &schema, command, 0);
    }
    let lines = stream(&hoist, &schema, "up -d", 0);
    let started = lines
        .iter()
        .find(|line| line["status"] == "Started" && line["name"] == format!("{}-a-1", hoist.name));
    let started = started.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(started["id"], format!("Container {}-a-1", hoist.name));
    assert_eq!(
        (&started["kind"], &started["state"]),
        (&"container".into(), &"done".into())
    );
    stream(&hoist, &schema, "image tag tiny other", 0);
    let built = hoist.run("build --progress json").code(0).err;
    assert!(
        built.starts_with("{\"event\":\"start\",\"version\":1,\"command\":\"build\""),
        "{built}"
    );
}

fn a_failure_is_told_with_its_place_and_the_last_line_has_the_code() {
    let hoist = Sandbox::new();
    let schema = schema(&hoist);
    hoist.compose("services:\n  a: {image: tiny, command: /none}\n");
    let lines = stream(&hoist, &schema, "up -d", 1);
    assert!(
        lines.iter().any(|line| line["state"] == "failed"),
        "{lines:?}"
    );
    let error = |lines: &[Value]| {
        let found = lines.iter().find(|line| line["error"] == true);
        found.cloned().unwrap_or_else(|| panic!("{lines:?}"))
    };
    assert!(
        error(&lines)["message"]
            .as_str()
            .is_some_and(|text| text.contains("/none"))
    );
    hoist.compose("services:\n  a: {image: tiny,\n      imag: x}\n");
    let error = error(&stream(&hoist, &schema, "up -d", 1));
    let place = &error["diagnostics"][0];
    assert_eq!(
        (&place["file"], &place["line"], &place["column"]),
        (&"compose.yaml".into(), &3.into(), &7.into())
    );
    stream(&hoist, &schema, "image pull -q registry.invalid/x", 1);
}

fn a_command_that_only_looks_writes_no_stream() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    for command in ["ps", "config -q", "graph", "ls", "images"] {
        let done = hoist.ok(&format!("--progress json {command}"));
        assert_eq!(done.err, "", "{command}");
    }
}
