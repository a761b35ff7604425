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
    yaml_is_written_as_docker_compose_writes_it,
    flags_ask_for_one_thing_in_a_fixed_order,
    names_narrow_down_only_what_heeds_them,
    what_is_left_undone_can_be_chosen,
    a_name_is_shown_as_it_is_written_where_that_is_asked,
    an_image_that_a_variable_leaves_empty_is_an_error,
    the_working_directory_is_a_variable_without_a_shell_too,
    variables_are_told_in_three_formats,
    variables_stay_whole_in_short_forms,
    findings_are_json_where_the_answer_is,
    digests_that_are_there_need_no_registry,
    a_broken_project_is_refused_whatever_is_asked_of_it,
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

fn yaml_is_written_as_docker_compose_writes_it() {
    let hoist = Sandbox::empty();
    hoist.compose(
        r#"x-z: {b10: 1.0e6, b9: '1:2', b: [[1, {}], []]}
services:
  web:
    volumes: ['vol:/d']
    image: i
    x-own: 1
    build: {dockerfile: D, context: /c}
    ports: ['127.0.0.1:80:81']
    labels: {a: "x\ny\n", b: 'yes', c: ' #', d: "t\tt", e: '0x1'}
volumes: {vol: }
"#,
    );
    let want = r#"name: demo
services:
  web:
    build:
      context: /c
      dockerfile: D
    image: i
    labels:
      a: |
        x
        y
      b: "yes"
      c: ' #'
      d: "t\tt"
      e: "0x1"
    networks:
      default: null
    ports:
      - mode: ingress
        host_ip: 127.0.0.1
        target: 81
        published: "80"
        protocol: tcp
    volumes:
      - type: volume
        source: vol
        target: /d
        volume: {}
    x-own: 1
networks:
  default:
    name: demo_default
volumes:
  vol:
    name: demo_vol
x-z:
  b:
    - - 1
      - {}
    - []
  b9: "1:2"
  b10: 1e+06
"#;
    assert_eq!(hoist.global(&["-p", "demo", "config"]).ok().out, want);
    let json = hoist
        .global(&["-p", "demo", "convert", "--format", "json"])
        .ok()
        .out;
    assert!(json.contains("\"ipam\": {}") && !json.contains("x-own") && json.ends_with('}'));
}

/// A project with one of everything.
fn project_of_everything(hoist: &Sandbox) {
    hoist.compose(
        r"services:
  b: {image: ib, depends_on: [a], volumes: ['vol:/v'], models: [m]}
  a: {image: 'ia:${T:-1}', networks: [n]}
  t: {build: ., profiles: [tools]}
volumes: {vol: , unused: }
networks: {n: }
models: {m: {model: ai/m}}
",
    );
}

fn flags_ask_for_one_thing_in_a_fixed_order() {
    let hoist = Sandbox::empty();
    project_of_everything(&hoist);
    let asked = |flags: &str| {
        let flags: Vec<&str> = ["config"].into_iter().chain(flags.split(' ')).collect();
        hoist.global(&flags).ok().out
    };
    for (flags, want) in [
        ("--networks --services", "a\nb\n"),
        ("--networks --volumes", "vol\n"),
        ("--models --networks", "default\nn\n"),
        ("--hash * --models", "ai/m\n"),
        ("--images --profiles", "tools\n"),
        ("--variables --images", "ia:1\nib\n"),
        ("--services -q", "a\nb\n"),
        ("--services -o out", "a\nb\n"),
        ("--environment -q", ""),
        ("-q -o out", ""),
        ("--no-interpolate --images", "ia:${T:-1}\nib\n"),
        ("--no-interpolate --services", "a\nb\nt\n"),
    ] {
        assert_eq!(asked(flags), want, "{flags}");
    }
    hoist
        .global(&["config", "--format", "xml", "-q"])
        .code(1)
        .says("xml");
}

fn names_narrow_down_only_what_heeds_them() {
    let hoist = Sandbox::empty();
    project_of_everything(&hoist);
    hoist.global(&["config", "--services", "nope"]).ok();
    hoist
        .global(&["config", "--images", "a"])
        .ok()
        .prints("ia:1");
    for flags in [&["config", "nope"][..], &["config", "--images", "nope"]] {
        hoist.global(flags).code(1).says("no such service: nope");
    }
    let hash = |names: &str| hoist.global(&["config", "--hash", names]);
    let both = hash("*").ok().out;
    assert!(both.starts_with("a ") && both.contains("\nb "), "{both}");
    let failed = hash("nope,a").code(1);
    assert!(failed.out.starts_with("a "), "{}", failed.story());
    hash("t").code(1).says("no such service: t");
}

fn what_is_left_undone_can_be_chosen() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services: {a: {build: {context: ./c}, command: a b, mem_limit: 64m, environment: [A=1, B], volumes: ['./d:/d'], depends_on: [x]}}\n",
    );
    hoist.global(&["config"]).code(1).says("`x`");
    let text = |flag: &str| hoist.global(&["config", "--no-consistency", flag]).ok().out;
    let bare = text("--no-normalize");
    assert!(
        !bare.contains("networks") && !bare.contains("dockerfile"),
        "{bare}"
    );
    let relative = text("--no-path-resolution");
    for part in ["context: ./c\n", "source: ./d\n"] {
        assert!(relative.contains(part), "no {part} in {relative}");
    }
    let written = hoist.global(&["config", "--no-interpolate"]).ok().out;
    for part in [
        "command: a b\n",
        "mem_limit: 64m\n",
        "- A=1\n",
        "- B\n",
        "type: bind\n",
    ] {
        assert!(written.contains(part), "no {part} in {written}");
    }
}

fn a_name_is_shown_as_it_is_written_where_that_is_asked() {
    let hoist = Sandbox::empty();
    hoist.compose("name: My ${U:-App}\nservices: {a: {image: '${COMPOSE_PROJECT_NAME}'}}\n");
    let head = |flags: &[&str]| {
        let text = hoist
            .global(&[flags, &["--format", "json"]].concat())
            .ok()
            .out;
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let image = json["services"]["a"]["image"].clone();
        (json["name"].clone(), image, json["networks"].is_null())
    };
    let (raw, variable) = ("My ${U:-App}", "${COMPOSE_PROJECT_NAME}");
    for (flags, name, image, bare) in [
        (&["config"][..], "myapp", "myapp", false),
        (&["config", "--no-normalize"], "My App", "My App", true),
        (&["--compatibility", "config"], "My App", "My App", true),
        (
            &["-p", "given", "config", "--no-normalize"],
            "given",
            "given",
            true,
        ),
        (&["config", "--no-interpolate"], "myu-app", variable, false),
        (
            &[
                "-p",
                "given",
                "config",
                "--no-interpolate",
                "--no-normalize",
            ],
            raw,
            variable,
            true,
        ),
    ] {
        assert_eq!(head(flags), (name.into(), image.into(), bare), "{flags:?}");
    }
}

fn an_image_that_a_variable_leaves_empty_is_an_error() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a:\n    image: ${NO}\n");
    for question in ["--quiet", "--services", "--images", "--no-path-resolution"] {
        let done = hoist.global(&["config", question]).code(1);
        for text in [
            "compose.yaml:2:3: services.a: the service has neither an image nor a build context",
            "compose.yaml:3:12: services.a.image: The \"NO\" variable is not set",
        ] {
            assert!(done.err.contains(text), "no {text:?}: {}", done.story());
        }
    }
    for question in ["--no-consistency", "--no-interpolate", "--variables"] {
        hoist.global(&["config", question]).ok();
    }
}

fn the_working_directory_is_a_variable_without_a_shell_too() {
    let hoist = Sandbox::empty();
    hoist.compose("services: {a: {image: '${PWD}'}}\n");
    let told = hoist.global(&["config", "--images"]).ok().out;
    assert_eq!(told.trim(), hoist.dir().to_string_lossy());
    hoist.file(".env", "PWD=elsewhere\n");
    let told = hoist.global(&["config", "--images"]).ok().out;
    assert_eq!(told.trim(), hoist.dir().to_string_lossy());
}

fn variables_are_told_in_three_formats() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services: {a: {image: '${I:?}', command: '${C:-x}', extends: {file: e.yaml, service: e}}}\n",
    );
    hoist.file("e.yaml", "services: {e: {hostname: '$H'}}\n");
    let told = |format: &[&str]| {
        let flags = [&["config", "--variables"], format].concat();
        hoist.global(&flags).ok().out
    };
    let yaml =
        "C:\n    name: C\n    defaultvalue: x\n    presencevalue: \"\"\n    required: false\n";
    let text = told(&["--format", "yaml"]);
    assert!(text.starts_with(yaml), "{text}");
    let json: Value = serde_json::from_str(&told(&["--format", "json"])).expect("JSON");
    assert_eq!(json["I"]["Required"], true);
    let table = told(&[]);
    let names: Vec<&str> = table.lines().skip(1).map(|line| &line[..1]).collect();
    assert_eq!(names, ["C", "H", "I"]);
}

fn variables_stay_whole_in_short_forms() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  a:\n    build: ${B:-./b}\n    env_file: '${E:-e.env}'\n    ports: ['81:81', '${P:-80}:80']\n    \
         volumes: ['${V:-./v}:/v:ro', './${W:-w}:${X:-/x}', '/y:${Y:-/y}:${Z:-ro,z}']\n",
    );
    let told = |flags: &[&str]| {
        let flags = [&["config", "--format", "json"], flags].concat();
        let json: Value = serde_json::from_str(&hoist.global(&flags).ok().out).expect("JSON");
        json
    };
    let service = &told(&["--no-interpolate"])["services"]["a"];
    let here = |path: &str| hoist.dir().join(path).to_string_lossy().into_owned();
    assert_eq!(service["build"]["context"], here("${B:-./b}"));
    assert_eq!(service["env_file"][0]["path"], here("${E:-e.env}"));
    assert_eq!(
        service["ports"],
        serde_json::json!(["81:81", "${P:-80}:80"])
    );
    let volumes = &service["volumes"];
    for (at, source, target, read_only) in [
        (0, "${V:-./v}".to_owned(), "/v", true),
        (1, here("${W:-w}"), "${X:-/x}", false),
        (2, "/y".to_owned(), "${Y:-/y}", false),
    ] {
        let mount = &volumes[at];
        assert_eq!(mount["source"], source, "{volumes}");
        assert_eq!(mount["target"], target, "{volumes}");
        assert_eq!(mount["read_only"] == true, read_only, "{volumes}");
    }
    let names = told(&["--variables"]);
    let names: Vec<&String> = names.as_object().expect("a mapping").keys().collect();
    assert_eq!(names, ["B", "E", "P", "V", "W", "X", "Y"]);
}

fn findings_are_json_where_the_answer_is() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a: {imge: x}\n  b: {image: x, ports: [99999999]}\n");
    let failed = hoist.global(&["config", "--format", "json"]).code(1);
    assert_eq!(failed.out, "");
    let told: Value = serde_json::from_str(&failed.err).expect("JSON");
    assert_eq!(told["version"], 1);
    let first = &told["diagnostics"][0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["path"], "services.a.imge");
    assert_eq!(
        (first["line"].as_u64(), first["column"].as_u64()),
        (Some(2), Some(7))
    );
    assert!(
        told["diagnostics"]
            .as_array()
            .is_some_and(|all| all.len() > 1)
    );
    // Warnings of a run that succeeds, and errors without a place.
    hoist.compose("version: '3'\nservices: {a: {image: x}}\n");
    let warned = hoist.global(&["config", "--format", "json"]).ok();
    let told: Value = serde_json::from_str(&warned.err).expect("JSON");
    assert_eq!(told["diagnostics"][0]["severity"], "warning");
    let failed = hoist
        .global(&["config", "--format", "json", "-q", "nope"])
        .code(1);
    let last = failed.err.lines().last().unwrap_or_default();
    let told: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(told["diagnostics"][0]["file"], Value::Null);
}

fn digests_that_are_there_need_no_registry() {
    let hoist = Sandbox::empty();
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    hoist.compose(&format!(
        "services: {{a: {{image: 'busybox:1@{digest}'}}, b: {{build: .}}}}\n"
    ));
    let pinned = format!("docker.io/library/busybox@{digest}");
    let locked = format!("services:\n  a:\n    image: {pinned}\n  b: {{}}\n");
    assert_eq!(
        hoist.global(&["config", "--lock-image-digests"]).ok().out,
        locked
    );
    hoist
        .global(&["config", "--resolve-image-digests"])
        .ok()
        .says(&format!("    image: {pinned}\n"));
    // Nothing listens on port 1.
    hoist.compose("services: {a: {image: '127.0.0.1:1/x:tag'}}\n");
    hoist
        .global(&["config", "--resolve-image-digests"])
        .code(1)
        .says("failed to resolve digest for 127.0.0.1:1/x:tag");
}

fn a_broken_project_is_refused_whatever_is_asked_of_it() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  a: {image: x, profiles: [p]}\n  b: {image: y, depends_on: [a]}\n  c: {image: z}\n",
    );
    hoist
        .global(&["config", "c"])
        .code(1)
        .says("`a` is required by `b`");
    hoist.global(&["--profile", "p", "config", "c"]).ok();
    hoist.global(&["config", "--no-consistency", "-q"]).ok();
}

fn version_and_help_work_without_a_project() {
    let whole = Sandbox::empty().global(&["--version"]).ok().out;
    for letter in ["-v", "-V"] {
        assert_eq!(Sandbox::empty().global(&[letter]).ok().out, whole);
    }
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
