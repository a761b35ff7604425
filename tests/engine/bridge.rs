//! `bridge` and `alpha generate`: what a transformation image makes of a project, and a compose file of containers.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox, ports};

crate::cases!(ENGINE;
    a_transformation_makes_something_of_the_project,
    transformations_are_listed_and_made_from_others,
    a_compose_file_is_generated_from_containers,
);

/// A project with a transformation that copies what it is given, and says what it sees.
fn project() -> Sandbox {
    let hoist = Sandbox::new();
    hoist.file(
        "image/Dockerfile",
        "FROM tiny\nLABEL com.docker.compose.bridge=transformation\nCOPY templates /templates\n\
         CMD [\"sh\", \"-c\", \"cp /in/compose.yaml /out/model.yaml; cat /templates/a; echo \\\"license $LICENSE_AGREEMENT, user $(id -u)\\\"; \
         echo word >&2; exit $(cat /templates/code)\"]\n",
    );
    hoist.file("image/templates/a", "own\n");
    hoist.file("image/templates/code", "0\n");
    hoist.file("image/templates/sub/b", "deep\n");
    hoist.file("built/Dockerfile", "FROM tiny\nEXPOSE 7000\n");
    hoist.file("secret", "of the file");
    hoist.set("FROM_HERE", "of the variable");
    hoist.compose(
        "services:\n  web: {image: tiny, command: 'echo $$X', ports: ['8080:80'], expose: [9000], secrets: [s, e], configs: [c]}\n  \
         built: {build: built}\n  off: {image: nosuch, profiles: [p]}\nsecrets: {s: {file: ./secret}, e: {environment: FROM_HERE}}\n\
         configs: {c: {content: 'a$$b'}}\nvolumes: {unused: }\n",
    );
    hoist
        .global(&["image", "build", "-q", "-t", "local/change:v2", "image"])
        .ok();
    hoist
}

fn a_transformation_makes_something_of_the_project() {
    let hoist = project();
    let out = hoist.dir().join("made");
    hoist
        .ok("--dry-run bridge convert -t local/change:v2 -o made")
        .says("run local/change:v2");
    assert!(!out.exists());
    let done = hoist.ok("bridge convert -t local/change:v2 -o made");
    assert_eq!(done.out, "own\nlicense true, user 0\n");
    // What it writes to its standard error is there, and that an image is not built yet.
    done.says("word\n").says("not found locally");
    let model = std::fs::read_to_string(out.join("model.yaml")).expect("it was written");
    for part in [
        "\n      - echo\n      - $X\n",
        "    expose:\n      - \"9000\"\n      - \"80\"\n",
        "content: a$b\n",
        "content: of the file\n",
        "content: of the variable\n",
        &format!("image: {}-built\n", hoist.name),
    ] {
        assert!(model.contains(part), "no {part:?} in {model}");
    }
    for part in ["unused", "off", "nosuch", "7000"] {
        assert!(!model.contains(part), "{part} in {model}");
    }
    // What is in the directory goes only when the user agrees.
    hoist.file("made/precious", "kept");
    hoist
        .pipe("bridge convert -t local/change:v2 -o made", b"n\n")
        .code(1)
        .says("was not confirmed");
    assert!(out.join("precious").exists());
    hoist.ok("build built");
    hoist.file("mine/a", "other\n");
    hoist.file("mine/code", "5\n");
    hoist
        .run("bridge convert --transformation local/change:v2 --output made --templates mine --yes")
        .code(5)
        .says("other\n");
    assert!(!out.join("precious").exists());
    let model = std::fs::read_to_string(out.join("model.yaml")).expect("it was written");
    assert!(model.contains("- \"7000\""), "{model}");
    hoist
        .run("bridge convert -y -t local/change:v2 --templates nosuch")
        .code(1)
        .says("nosuch");
    let port = ports::free();
    hoist
        .run(&format!("bridge convert -y -t localhost:{port}/x"))
        .code(1)
        .says(&format!("localhost:{port}"));
    // Nothing of it is left: no container, no project.
    assert_eq!(hoist.ok("ls -a -q").out, "");
}

fn transformations_are_listed_and_made_from_others() {
    let hoist = project();
    hoist
        .ok("bridge transformations list")
        .says("IMAGE ID            REPO                TAGS                SIZE\n")
        .says("local/change        v2");
    hoist
        .ok("bridge transformations ls -q")
        .prints("local/change:v2");
    let json: Value =
        serde_json::from_str(&hoist.ok("bridge transformations list --format json").out)
            .expect("JSON");
    assert_eq!(json[0]["RepoTags"], serde_json::json!(["local/change:v2"]));
    assert_eq!(
        json[0]["Labels"]["com.docker.compose.bridge"],
        "transformation"
    );
    assert_eq!(json.as_array().map(Vec::len), Some(1), "{json}");
    hoist
        .run("bridge transformations list --format jsn")
        .code(1)
        .says("format value \"jsn\" could not be parsed")
        .says("did you mean `json`?");
    let made = hoist.dir().join("new");
    hoist
        .ok("--dry-run bridge transformations create --from local/change:v2 new")
        .says("write the templates");
    assert!(!made.exists());
    hoist
        .ok("bridge transformations create --from local/change:v2 new")
        .prints(&format!("Transformer created in \"{}\"", made.display()));
    let read = |path: &str| std::fs::read_to_string(made.join(path)).expect("it was written");
    assert_eq!(read("templates/a"), "own\n");
    assert_eq!(read("templates/sub/b"), "deep\n");
    assert!(read("Dockerfile").contains("\nCOPY templates /templates\n"));
    let mode = std::fs::metadata(made.join("Dockerfile")).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o700);
    hoist
        .run("bridge transformations create --from local/change:v2 new")
        .code(1)
        .says("already exists");
    hoist
        .run("bridge transformations create --from tiny other")
        .code(1)
        .says("Could not find the file /templates");
    assert!(!hoist.dir().join("other").exists());
    assert_eq!(hoist.ok("ls -a -q").out, "");
}

fn a_compose_file_is_generated_from_containers() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  web: {{SLEEP, ports: ['127.0.0.1:{port}:80', '9000'], environment: {{A: '1', B: 'two $$words'}}, \
         volumes: ['data:/data', './:/src:ro'], labels: {{my: label}}, networks: {{default: {{aliases: [al]}}}}}}\n  \
         more: {{SLEEP, scale: 2}}\nvolumes: {{data: }}\n"
    ));
    hoist.ok("up -d");
    let name = &hoist.name;
    let done = hoist.ok(&format!("alpha generate {name}-web-1 --project-dir ."));
    assert_eq!(done.err, "generate command is EXPERIMENTAL\n");
    // As docker compose 2.40 of the same project, but for variables that this image has.
    let want = format!(
        "services:\n  web:\n    environment:\n      A: \"1\"\n      B: two $$words\n      PATH: /bin\n    image: tiny\n    labels:\n      my: label\n    \
         networks:\n      {name}_default:\n        aliases:\n          - {name}-web-1\n          - web\n          - al\n    ports:\n      \
         - host_ip: 127.0.0.1\n        target: 80\n        published: \"{port}\"\n        protocol: tcp\n      - target: 9000\n        \
         protocol: tcp\n    scale: 1\n    volumes:\n      - type: volume\n        source: {name}_data\n        target: /data\n      - type: bind\n        \
         source: {}\n        target: /src\n        read_only: true\nnetworks:\n  {name}_default: {{}}\nvolumes:\n  {name}_data: {{}}\n\n",
        hoist.dir().display()
    );
    assert_eq!(done.out, want);
    // It is a compose file.
    hoist.file("made/compose.yaml", &done.out);
    hoist.ok("-f made/compose.yaml config -q");
    hoist.ok("stop more");
    let line = format!("alpha generate {name}-more --name other --format json");
    let json: Value = serde_json::from_str(&hoist.ok(&line).out).expect("JSON");
    assert_eq!(json["name"], "other");
    assert_eq!(json["services"]["more"]["scale"], 2);
    assert_eq!(json["services"]["more"]["command"], Value::Null);
    hoist
        .run("alpha generate")
        .code(1)
        .says("at least one container must be specified");
    hoist
        .run("alpha generate nosuch,one")
        .code(1)
        .says("no container(s) found with the following name(s): nosuch,one");
    hoist
        .run(&format!("alpha generate {name} --format jsn"))
        .code(1)
        .says("unsupported format `jsn`")
        .says("did you mean `json`?");
}
