//! `config` and the choice of files, names and variables.

use serde_json::Value;

use crate::harness::{Sandbox, repository};

crate::cases!(&[];
    config_prints_the_whole_model_as_yaml_and_json,
    variables_come_from_the_environment_before_the_env_file,
    files_are_merged_in_order_and_anchors_are_followed,
    the_project_name_has_its_order_of_sources,
    config_answers_single_questions,
    quiet_config_only_judges,
    every_example_is_a_valid_project,
    a_file_can_come_from_standard_input,
    version_and_help_work_without_a_project,
    commands_outside_of_a_project_say_what_is_missing,
);

fn config_prints_the_whole_model_as_yaml_and_json() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  web:\n    image: nginx\n    command: run --now 'two words'\n    ports: ['8080:80']\n    mem_limit: 64m\n    \
         environment: [A=1]\n",
    );
    let yaml = hoist.global(&["-p", "demo", "config"]).ok().out;
    for line in [
        "name: demo",
        "    image: nginx",
        "      - two words",
        "        target: 80",
        "        published: \"8080\"",
        "      A: \"1\"",
    ] {
        assert!(yaml.contains(line), "no {line:?} in\n{yaml}");
    }
    let json: Value = serde_json::from_str(
        &hoist
            .global(&["-p", "demo", "config", "--format", "json"])
            .ok()
            .out,
    )
    .expect("JSON");
    let web = &json["services"]["web"];
    assert_eq!(
        web["command"],
        serde_json::json!(["run", "--now", "two words"])
    );
    assert_eq!(web["mem_limit"], "67108864");
    assert_eq!(web["ports"][0]["published"], "8080");
    // What is printed is a project again, and the same one.
    hoist.compose(&yaml);
    assert_eq!(hoist.global(&["config"]).ok().out, yaml);
}

fn variables_come_from_the_environment_before_the_env_file() {
    let hoist = Sandbox::empty();
    hoist.file(".env", "A=file\nB=file\n");
    hoist.file("other.env", "B=other\n");
    hoist.set("A", "shell");
    hoist.compose("services:\n  a: {image: 'i:${A}-${B:-none}-${C:-default}-${D:+set}-$$E'}\n");
    hoist
        .global(&["config", "--images"])
        .ok()
        .prints("i:shell-file-default--$E");
    hoist
        .global(&["--env-file", "other.env", "config", "--images"])
        .ok()
        .prints("i:shell-other-default--$E");
    hoist.compose("services:\n  a: {image: 'i:${MISSING:?set it in .env}'}\n");
    hoist
        .global(&["config", "-q"])
        .code(1)
        .says("MISSING")
        .says("set it in .env")
        .says("compose.yaml:2:19");
}

fn files_are_merged_in_order_and_anchors_are_followed() {
    let hoist = Sandbox::empty();
    hoist.file(
        "one.yaml",
        "x-env: &env {A: one, B: one}\nservices:\n  a: {image: one, environment: {<<: *env, B: own}, ports: ['1:1']}\n",
    );
    hoist.file(
        "two.yaml",
        "services:\n  a: {image: two, environment: {A: two}, ports: ['2:2']}\n",
    );
    let text = hoist
        .global(&[
            "-f", "one.yaml", "-f", "two.yaml", "config", "--format", "json",
        ])
        .ok()
        .out;
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let a = &json["services"]["a"];
    assert_eq!(a["image"], "two");
    assert_eq!(
        a["environment"],
        serde_json::json!({"A": "two", "B": "own"})
    );
    assert_eq!(a["ports"].as_array().map(Vec::len), Some(2));
    // An override beside the file is taken by itself.
    hoist.compose("services:\n  a: {image: base}\n");
    hoist.file("compose.override.yaml", "services:\n  a: {image: over}\n");
    hoist.global(&["config", "--images"]).ok().prints("over");
}

fn the_project_name_has_its_order_of_sources() {
    let hoist = Sandbox::empty();
    let name = |arguments: &[&str]| {
        let text = hoist
            .global(&[arguments, &["config", "--format", "json"]].concat())
            .ok()
            .out;
        let json: Value = serde_json::from_str(&text).expect("JSON");
        json["name"].as_str().expect("a name").to_owned()
    };
    hoist.compose("services:\n  a: {image: x}\n");
    assert_eq!(name(&[]), "p", "the directory");
    hoist.compose("name: in-file\nservices:\n  a: {image: x}\n");
    assert_eq!(name(&[]), "in-file");
    hoist.set("COMPOSE_PROJECT_NAME", "in-shell");
    assert_eq!(name(&[]), "in-shell");
    assert_eq!(name(&["-p", "in-flag"]), "in-flag");
    hoist
        .global(&["-p", "Not Good", "config", "-q"])
        .code(1)
        .says("Not Good");
}

fn config_answers_single_questions() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  b: {image: ib, depends_on: [a], volumes: ['vol:/v']}\n  a: {image: ia}\n  t: {image: it, profiles: [tools]}\n\
         volumes: {vol: }\n",
    );
    let lines = |flag: &str| {
        let mut lines: Vec<String> = hoist
            .global(&["config", flag])
            .ok()
            .out
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("--services"), ["a", "b"]);
    assert_eq!(lines("--images"), ["ia", "ib"]);
    assert_eq!(lines("--volumes"), ["vol"]);
    assert_eq!(lines("--profiles"), ["tools"]);
}

fn quiet_config_only_judges() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a: {image: x}\n");
    let done = hoist.global(&["config", "-q"]).ok();
    assert_eq!(done.all(), "");
}

fn every_example_is_a_valid_project() {
    let hoist = Sandbox::empty();
    let examples = crate::harness::leftovers::children(&repository().join("compose-examples"));
    let files: Vec<_> = examples
        .iter()
        .map(|dir| dir.join("compose.yaml"))
        .filter(|file| file.is_file())
        .collect();
    assert!(!files.is_empty());
    for file in files {
        let file = file.to_string_lossy();
        let done = hoist
            .global(&["-f", &file, "--profile", "*", "config", "-q"])
            .ok();
        assert_eq!(done.all(), "", "{file}");
        hoist
            .global(&["-f", &file, "graph", "--format", "svg"])
            .ok()
            .says("<svg");
    }
}

fn a_file_can_come_from_standard_input() {
    let hoist = Sandbox::empty();
    hoist
        .pipe("-f - config --images", b"services: {a: {image: piped}}\n")
        .ok()
        .prints("piped");
}

fn version_and_help_work_without_a_project() {
    let hoist = Sandbox::empty();
    hoist
        .global(&["version"])
        .ok()
        .says(env!("CARGO_PKG_VERSION"));
    hoist
        .global(&["version", "--short"])
        .ok()
        .prints(env!("CARGO_PKG_VERSION"));
    hoist
        .global(&["--help"])
        .ok()
        .says("up")
        .says("exec")
        .says("--project-name");
    hoist
        .global(&["up", "--help"])
        .ok()
        .says("--wait")
        .says("--remove-orphans");
    let done = hoist.global(&["upp"]);
    assert_ne!(done.code, 0);
    assert!(done.err.contains("upp"), "{}", done.story());
}

fn commands_outside_of_a_project_say_what_is_missing() {
    let hoist = Sandbox::empty();
    hoist.global(&["config"]).code(1).says("compose.yaml");
    hoist
        .global(&["-f", "nosuch.yaml", "config"])
        .code(1)
        .says("nosuch.yaml");
}
