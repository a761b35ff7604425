//! `explain`: where values and variables come from, and what they replaced.

use serde_json::Value;

use crate::harness::{Sandbox, repository};

crate::cases!(&[];
    every_path_of_the_ml_workspace_has_its_value_and_a_place_or_a_rule,
    a_value_shows_its_line_its_variables_and_what_it_overrode,
    a_value_shows_the_alias_and_the_merge_key_it_came_through,
    a_value_shows_the_chain_of_extends_and_include,
    a_variable_of_a_service_shows_its_env_file_and_what_lost,
    a_list_shows_each_item_after_merge_with_its_place,
    what_no_file_says_names_its_rule,
    a_variable_shows_its_sources_its_references_and_its_services,
    included_files_have_sources_of_their_own,
    answers_are_json_for_programs,
    a_path_or_variable_that_is_not_there_says_what_is,
    what_reset_removes_is_told,
    a_variable_that_only_an_env_file_of_a_service_sets_gets_a_hint,
    errors_show_the_files_and_aliases_that_lead_to_them,
);

/// What `explain` prints.
fn explain(hoist: &Sandbox, what: &str) -> String {
    hoist.global(&["explain", what]).ok().out
}

/// The paths of all single values of a document, quoted as `explain` takes them.
fn leaves(value: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let key = match key.contains('.') {
                    true => format!("{key:?}"),
                    false => key.clone(),
                };
                let dot = if path.is_empty() { "" } else { "." };
                leaves(value, &format!("{path}{dot}{key}"), out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                leaves(value, &format!("{path}[{at}]"), out);
            }
        }
        _ => out.push((path.to_owned(), value.clone())),
    }
}

fn every_path_of_the_ml_workspace_has_its_value_and_a_place_or_a_rule() {
    let hoist = Sandbox::empty();
    let file = repository().join("compose-examples/ml-workspace/compose.yaml");
    let file = file.to_string_lossy();
    hoist.set("NOTEBOOK_TOKEN", "t");
    let config = ["-f", &file, "--profile", "*", "config", "--format", "json"];
    let document: Value = serde_json::from_str(&hoist.global(&config).ok().out).expect("JSON");
    let mut paths = Vec::new();
    leaves(&document, "", &mut paths);
    assert!(paths.len() > 150, "{}", paths.len());
    for (path, value) in paths {
        let ask = [
            "-f",
            &file,
            "--profile",
            "*",
            "explain",
            "--format",
            "json",
            &path,
        ];
        let found: Value = serde_json::from_str(&hoist.global(&ask).ok().out).expect("JSON");
        // `config` doubles each dollar sign, so that its text read again means the same.
        let value = match value {
            Value::String(text) => Value::String(text.replace("$$", "$")),
            other => other,
        };
        assert_eq!(found["path"], *path);
        assert_eq!(found["value"], value, "{path}");
        let line = found["place"]["line"].as_u64();
        let rule = found["default"].as_str();
        assert!(line.is_some() || rule.is_some(), "{path}: {found}");
        assert_ne!(rule, Some("filled in as docker compose does"), "{path}");
    }
}

fn a_value_shows_its_line_its_variables_and_what_it_overrode() {
    let hoist = Sandbox::empty();
    hoist.file(".env", "# c\nTAG=1\nTAG=2\n");
    hoist.compose("services:\n  a:\n    image: low:1\n    command: run it\n");
    hoist.file(
        "compose.override.yaml",
        "services:\n  a: {image: \"x:${TAG}-${B:-none}\", command: !override [go]}\n",
    );
    assert_eq!(
        explain(&hoist, "services.a.image"),
        "\
services.a.image: x:2-none
compose.override.yaml:2:14
  |
2 |   a: {image: \"x:${TAG}-${B:-none}\", command: !override [go]}
  |              ^^^^^^^^^^^^^^^^^^^^^
written as: x:${TAG}-${B:-none}
  TAG: 2, from .env:3:1
  B: neither the environment nor an env file sets it; its default counts: none
over low:1  (compose.yaml:3:12)
"
    );
    let text = explain(&hoist, "services.a.command[0]");
    assert!(
        text.ends_with("over services.a.command: run it  (compose.yaml:4:14)\n"),
        "{text}"
    );
}

fn a_value_shows_the_alias_and_the_merge_key_it_came_through() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "x-e: &e\n  LOG: info\n  TZ: UTC\nx-all: &all\n  <<: *e\n  A: 1\nx-img: &img busybox\n\
         services:\n  a:\n    image: *img\n    environment:\n      <<: *all\n      LOG: debug\n",
    );
    assert_eq!(
        explain(&hoist, "services.a.image"),
        "\
services.a.image: busybox
compose.yaml:7:13
  |
7 | x-img: &img busybox
  |             ^^^^^^^
through the alias at compose.yaml:10:12: *img
"
    );
    let text = explain(&hoist, "services.a.environment.TZ");
    assert!(
        text.ends_with(
            "through the merge key `<<` at compose.yaml:5:7: *e\nthrough the merge key `<<` at compose.yaml:12:11: *all\n"
        ),
        "{text}"
    );
    let text = explain(&hoist, "services.a.environment.LOG");
    assert!(
        text.contains("\nover info  (compose.yaml:2:8)\n  through the merge key"),
        "{text}"
    );
}

fn a_value_shows_the_chain_of_extends_and_include() {
    let hoist = Sandbox::empty();
    hoist.compose("include:\n  - sub/compose.yaml\n");
    hoist.file(
        "sub/compose.yaml",
        "services:\n  a:\n    extends: {file: ../common.yaml, service: web}\n    mem_limit: 2g\n",
    );
    hoist.file(
        "common.yaml",
        "services:\n  root: {image: r, mem_limit: 1g}\n  web: {extends: root}\n",
    );
    assert_eq!(
        explain(&hoist, "services.a.image"),
        "\
services.a.image: r
common.yaml:2:17
  |
2 |   root: {image: r, mem_limit: 1g}
  |                 ^
through extends at common.yaml:3:18: root
through extends at sub/compose.yaml:3:46: web
through include at compose.yaml:2:5: sub/compose.yaml
"
    );
    let text = explain(&hoist, "services.a.mem_limit");
    assert!(text.contains("\nwritten as: 2g\n"), "{text}");
    assert!(text.contains("\nover 1g  (common.yaml:2:31)\n"), "{text}");
}

fn a_variable_of_a_service_shows_its_env_file_and_what_lost() {
    let hoist = Sandbox::empty();
    hoist.file("a.env", "A=1\nB=one\n");
    hoist.file("b.env", "# c\nB=\"two $HOST_\"\n");
    hoist.file("l.env", "l=file\n");
    hoist.set("HOST_", "h");
    hoist.compose(
        "services:\n  a:\n    image: i\n    env_file: [a.env, b.env]\n    label_file: l.env\n    \
         environment: {A: 2, HOST_: }\n    labels: [l=own]\n",
    );
    assert_eq!(
        explain(&hoist, "services.a.environment.B"),
        "\
services.a.environment.B: two h
b.env:2:1
  |
2 | B=\"two $HOST_\"
  | ^^^^^^^^^^^^^^
written as: B=\"two $HOST_\"
  HOST_: h, from the environment
through env_file at compose.yaml:4:23: b.env
over one  (a.env:2:1)
  through env_file at compose.yaml:4:16: a.env
"
    );
    let text = explain(&hoist, "services.a.environment.A");
    assert!(text.contains("\ncompose.yaml:6:22\n"), "{text}");
    assert!(text.contains("\nover 1  (a.env:1:1)\n"), "{text}");
    let text = explain(&hoist, "services.a.environment.HOST_");
    assert!(
        text.contains("\n  HOST_: h, from the environment\n"),
        "{text}"
    );
    let text = explain(&hoist, "services.a.labels.l");
    assert!(text.contains("\nover file  (l.env:1:1)\n"), "{text}");
}

fn a_list_shows_each_item_after_merge_with_its_place() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a: {image: i, ports: ['8080:80', '90']}\n");
    hoist.file(
        "compose.override.yaml",
        "services:\n  a:\n    ports:\n      - {target: 80, published: '8080', name: web}\n",
    );
    assert_eq!(
        explain(&hoist, "services.a.ports"),
        "\
services.a.ports
compose.override.yaml:3:5
  |
3 |     ports:
  |     ^^^^^
holds:
  [0].mode: ingress  (compose.override.yaml:4:9, default of the specification)
  [0].name: web  (compose.override.yaml:4:47)
  [0].protocol: tcp  (compose.override.yaml:4:9, default of the specification)
  [0].published: 8080  (compose.override.yaml:4:33)
  [0].target: 80  (compose.override.yaml:4:18)
  [1].mode: ingress  (compose.yaml:2:36, default of the specification)
  [1].protocol: tcp  (compose.yaml:2:36, default of the specification)
  [1].target: 90  (compose.yaml:2:36)
"
    );
    let text = explain(&hoist, "services.a.ports[0].target");
    assert!(text.contains("\nover 80  (compose.yaml:2:25)\n"), "{text}");
    let text = explain(&hoist, "services.a.ports[1].target");
    assert!(
        text.contains("\nwritten as: 90\n") || text.contains(": 90\n"),
        "{text}"
    );
}

fn what_no_file_says_names_its_rule() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a:\n    build: .\n    profiles: [off]\n");
    assert_eq!(
        explain(&hoist, "services.a.build.dockerfile"),
        "\
services.a.build.dockerfile: Dockerfile
  the service is off: profiles off
compose.yaml:3:5
  |
3 |     build: .
  |     ^^^^^
no file says it: default of the specification
"
    );
    let text = explain(&hoist, "name");
    assert!(
        text.ends_with("\nno file says it: the name of the project's directory\n"),
        "{text}"
    );
    let text = hoist.global(&["-p", "x", "explain", "name"]).ok().out;
    assert_eq!(text, "name: x\nno file says it: -p on the command line\n");
    hoist.set("COMPOSE_PROJECT_NAME", "y");
    let text = explain(&hoist, "name");
    assert_eq!(
        text,
        "name: y\n  COMPOSE_PROJECT_NAME: y, from the environment\n"
    );
}

fn a_variable_shows_its_sources_its_references_and_its_services() {
    let hoist = Sandbox::empty();
    hoist.file(".env", "DB=file\n");
    hoist.file("a.env", "DB=inside\n");
    hoist.set("DB", "shell");
    hoist.compose(
        "services:\n  a: {image: 'i:${DB:-none}', env_file: a.env}\n  b: {image: i, environment: [DB]}\n",
    );
    let want = "\
DB: shell
  set by the environment
  over .env:1:1: file
referred to by:
  compose.yaml:2:17: ${DB:-none} in services.a.image
in the environment of:
  a: inside  (a.env:1:1)
    through env_file at compose.yaml:2:41: a.env
  b: shell  (compose.yaml:3:31)
    written as: DB
      DB: shell, from the environment
";
    for asked in ["DB", "$DB", "${DB}"] {
        assert_eq!(explain(&hoist, asked), want, "{asked}");
    }
    let text = explain(&hoist, "COMPOSE_PROJECT_NAME");
    assert!(
        text.contains("\n  set by hoist: the project's name\n"),
        "{text}"
    );
}

fn included_files_have_sources_of_their_own() {
    let hoist = Sandbox::empty();
    hoist.file(".env", "A=root\n");
    hoist.compose(
        "include:\n  - {path: sub/c.yaml, env_file: [sub/v.env]}\nservices: {a: {image: 'i:$A'}}\n",
    );
    hoist.file("sub/v.env", "A=sub\nB=sub\n");
    hoist.file("sub/c.yaml", "services: {s: {image: 'i:$A-$B'}}\n");
    assert_eq!(
        explain(&hoist, "A"),
        "\
A: root
  set by .env:1:1
A: root, in the files included by compose.yaml:2:5
  set by .env:1:1
  over sub/v.env:1:1: sub
referred to by:
  compose.yaml:3:26: $A in services.a.image
  sub/c.yaml:1:26: $A in services.s.image
no service has it in its environment
"
    );
    let text = explain(&hoist, "B");
    assert!(
        text.starts_with("B is not set for the compose files\n")
            && text.contains("\n  set by sub/v.env:2:1\n"),
        "{text}"
    );
    let text = explain(&hoist, "services.s.image");
    assert!(
        text.contains("\n  A: root, from .env:1:1\n  B: sub, from sub/v.env:2:1\nthrough include at compose.yaml:2:12"),
        "{text}"
    );
}

fn answers_are_json_for_programs() {
    let hoist = Sandbox::empty();
    hoist.file(".env", "T=1\n");
    hoist.compose("x-i: &i 'b:$T'\nservices:\n  a: {image: *i, ports: ['80']}\n");
    hoist.file("compose.override.yaml", "services: {a: {image: c}}\n");
    let done = hoist.global(&["explain", "services.a.image", "--format", "json"]);
    let want = r#"{
  "path": "services.a.image",
  "value": "c",
  "place": {
    "file": "compose.override.yaml",
    "line": 1,
    "column": 23
  },
  "overrode": [
    {
      "value": "b:1",
      "place": {
        "file": "compose.yaml",
        "line": 1,
        "column": 9
      },
      "text": "b:$T",
      "variables": [
        {
          "name": "T",
          "text": "$T",
          "value": "1",
          "from": {
            "source": "env_file",
            "place": {
              "file": ".env",
              "line": 1,
              "column": 1
            },
            "value": "1",
            "wins": true
          }
        }
      ],
      "via": [
        {
          "by": "alias",
          "text": "*i",
          "place": {
            "file": "compose.yaml",
            "line": 3,
            "column": 14
          }
        }
      ]
    }
  ]
}
"#;
    assert_eq!(done.ok().out, want);
    let done = hoist.global(&["explain", "--format", "json", "T"]).ok();
    let found: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(found["scopes"][0]["sources"][0]["place"]["file"], ".env");
    assert_eq!(found["references"][0]["text"], "$T");
    let _ = hoist
        .global(&["explain", "--format", "xml", "T"])
        .code(1)
        .says("text or json");
}

fn a_path_or_variable_that_is_not_there_says_what_is() {
    let hoist = Sandbox::empty();
    hoist.file(".env", "DATABASE_URL=x\n");
    hoist.compose("services:\n  api: {image: i, ports: ['80'], labels: {a.b: 'c'}}\n");
    for (asked, want) in [
        (
            "services.api.port",
            "error: nothing is at `services.api.port`: `services.api` has no `port`\nhint: did you mean `services.api.ports`?\n\
             hint: `services.api` has: command, entrypoint, image, labels, networks, ports\n",
        ),
        (
            "services.api.ports[1]",
            "error: nothing is at `services.api.ports[1]`: `services.api.ports` is a list with one item, [0]\n",
        ),
        (
            "services.api.labels.a.c",
            "error: nothing is at `services.api.labels.a.c`: `services.api.labels` has no `a`\n\
             hint: did you mean `services.api.labels.\"a.b\"`?\nhint: `services.api.labels` has: a.b\n",
        ),
        (
            "DATABASE_UR",
            "error: nothing sets the variable `DATABASE_UR`, no compose file refers to it, and no service has it\n\
             hint: did you mean `DATABASE_URL`?\n",
        ),
    ] {
        assert_eq!(hoist.global(&["explain", asked]).code(1).err, want);
    }
    for path in ["services.api.labels.a.b", "services.api.labels[\"a.b\"]"] {
        let text = explain(&hoist, path);
        assert!(
            text.starts_with("services.api.labels.\"a.b\": c\n"),
            "{text}"
        );
    }
}

fn what_reset_removes_is_told() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a: {image: i, ports: ['80']}\n");
    hoist.file(
        "compose.override.yaml",
        "services:\n  a:\n    ports: !reset []\n",
    );
    let text = hoist.global(&["explain", "services.a.ports"]).code(1).err;
    assert!(
        text.starts_with(
            "compose.override.yaml:3:5: nothing is at `services.a.ports`: `!reset` removes it\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("compose.yaml:2:17: what it removes\n"),
        "{text}"
    );
}

fn a_variable_that_only_an_env_file_of_a_service_sets_gets_a_hint() {
    let hoist = Sandbox::empty();
    hoist.file("api.env", "# c\nTAG=1\n");
    let hint = "hint: api.env:2:1 sets `TAG`, but an `env_file` only reaches the inside of containers: put it in .env, or pass a file with --env-file\n";
    hoist.compose("services:\n  a: {image: 'i:${TAG}', env_file: api.env}\n");
    let text = hoist.global(&["config", "-q"]).ok().err;
    assert!(
        text.contains("The \"TAG\" variable is not set.") && text.ends_with(hint),
        "{text}"
    );
    hoist.compose("services:\n  a: {image: 'i:${TAG:?give one}', env_file: api.env}\n");
    let text = hoist.global(&["config", "-q"]).code(1).err;
    assert!(text.ends_with(hint), "{text}");
    hoist.compose("services:\n  a: {image: 'i:${OTHER}', env_file: api.env}\n");
    let _ = hoist
        .global(&["config", "-q"])
        .ok()
        .says_nothing_of("hint:");
}

fn errors_show_the_files_and_aliases_that_lead_to_them() {
    let hoist = Sandbox::empty();
    hoist.compose("include:\n  - a.yaml\n");
    hoist.file("a.yaml", "include: [b.yaml]\n");
    hoist.file("b.yaml", "services: {s: {imag: x}}\n");
    let text = hoist.global(&["config", "-q"]).code(1).err;
    let places: Vec<&str> = text.lines().filter(|line| line.contains("yaml:")).collect();
    assert_eq!(places.len(), 3, "{text}");
    assert!(
        places[0].starts_with("b.yaml:1:16: services.s.imag: "),
        "{text}"
    );
    assert_eq!(
        places[1..],
        [
            "  in a file named at a.yaml:1:11",
            "  in a file named at compose.yaml:2:5"
        ]
    );
    hoist.set("BAD", "abc");
    hoist.compose("x-p: &p\n  - \"${BAD}:80\"\nservices:\n  s:\n    image: i\n    ports: *p\n");
    let text = hoist.global(&["config", "-q"]).code(1).err;
    assert!(
        text.starts_with("compose.yaml:2:5: services.s.ports[0]: "),
        "{text}"
    );
    assert!(
        text.contains("\ncompose.yaml:6:12: used here through an alias\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\nhint: `BAD` is set by the environment\n"),
        "{text}"
    );
}
