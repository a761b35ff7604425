//! `publish`: a project in a registry, and loaded from there again.

use serde_json::Value;

use super::pull::{REGISTRY, Registry};
use crate::harness::{Need, Sandbox, http};

crate::cases!(&[Need::Root, Need::Busybox, Need::Program(REGISTRY), Need::Program("curl")];
    a_published_project_is_loaded_as_it_was,
    what_others_could_not_load_is_not_published,
    what_may_be_secret_needs_a_word,
);

fn manifest(registry: &Registry, path: &str) -> Value {
    let answer = registry.manifest(path);
    serde_json::from_str(&answer).expect("a manifest")
}

fn a_published_project_is_loaded_as_it_was() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    hoist.file("sub/x.env", "FROM_FILE=1\n");
    hoist.file(
        "sub/base.yaml",
        "services: {b: {hostname: h, extends: {file: deep.yaml, service: d}}}\n",
    );
    hoist.file("sub/deep.yaml", "services: {d: {working_dir: /w}}\n");
    hoist.file("more.yaml", "services: {a: {labels: {l: more}}}\n");
    hoist.compose(
        "# kept\nservices:\n  a:\n    image: x:${TAG:-1}\n    extends: {file: sub/base.yaml, service: b}\n    \
         env_file: [sub/x.env, {path: gone.env, required: false}]\n    environment: {OWN: '2'}\n",
    );
    let to = registry.name("team/project:1");
    let files = ["-f", "compose.yaml", "-f", "more.yaml"];
    let publish = [&files[..], &["publish", "-y", &to]].concat();
    hoist.global(&publish).ok().says("published (sha256:");
    let found = manifest(&registry, "team/project/manifests/1");
    assert_eq!(
        found["artifactType"],
        "application/vnd.docker.compose.project"
    );
    assert_eq!(
        found["config"]["mediaType"],
        "application/vnd.oci.empty.v1+json"
    );
    let kinds: Vec<&str> = found["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .filter_map(|layer| layer["mediaType"].as_str()?.split('.').next_back())
        .collect();
    assert_eq!(
        kinds,
        [
            "file+yaml",
            "file+yaml",
            "file+yaml",
            "file+yaml",
            "envfile"
        ]
    );
    let config = |files: &[&str]| {
        let done = hoist
            .global(&[files, &["config", "--format", "json"]].concat())
            .ok();
        let found: Value = serde_json::from_str(&done.out).expect("JSON");
        found["services"].clone()
    };
    let remote = format!("oci://{to}");
    assert_eq!(config(&["-f", &remote]), config(&files));
    let old = registry.name("team/project:old");
    hoist
        .global(&[&files[..], &["publish", "-y", "--oci-version", "1.0", &old]].concat())
        .ok();
    let found = manifest(&registry, "team/project/manifests/old");
    assert_eq!(found["artifactType"], Value::Null);
    assert_eq!(config(&["-f", &format!("oci://{old}")]), config(&files));
    hoist
        .run(&format!("publish -y --oci-version 2 {old}"))
        .code(1)
        .says("1.0 or 1.1");
    hoist
        .run(&format!("publish -y {old}@sha256:{}", "a".repeat(64)))
        .code(1)
        .says("name a tag");
}

fn what_others_could_not_load_is_not_published() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let to = registry.name("project:1");
    hoist.file("other.yaml", "services: {o: {image: x}}\n");
    hoist.file("l.labels", "a=b\n");
    for (text, place, words) in [
        (
            "services:\n  a:\n    build: .\n",
            "compose.yaml:3:",
            "only contains a build section",
        ),
        (
            "include: [other.yaml]\nservices: {a: {image: x}}\n",
            "compose.yaml:1:11",
            "local includes",
        ),
        (
            "services: {a: {image: x, label_file: l.labels}}\n",
            "compose.yaml:1:",
            "label_file",
        ),
        (
            "services:\n  a:\n    image: x\n    env_file: none.env\n",
            "compose.yaml:4:15",
            "none.env",
        ),
        (
            "services:\n  a:\n    image: x\n    env_file: ${X:-l}.labels\n",
            "compose.yaml:4:15",
            "variable",
        ),
    ] {
        hoist.compose(text);
        hoist
            .run(&format!("publish -y {to}"))
            .code(1)
            .says(place)
            .says(words);
    }
    let answer = http::get(registry.address(), "/v2/project/tags/list").expect("an answer");
    assert_eq!(answer.status, 404, "{}", answer.text());
}

fn what_may_be_secret_needs_a_word() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let to = registry.name("project:1");
    let publish = |flags: &str| hoist.run(&format!("publish {flags} {to}"));
    let token = "ghp_016C7HY1Lq0Zs3cQpUb4iQk1Xv2Yz3Ab4Cd5";
    hoist.compose("services: {a: {image: x, volumes: ['/etc:/e:ro']}}\n");
    publish("").code(1).says("/etc:/e:ro").says("with -y");
    hoist.compose(&format!(
        "services: {{a: {{image: x, labels: {{l: {token}}}}}}}\n"
    ));
    publish("--with-env")
        .code(1)
        .says("Github authentication\n\"services.a.labels.l\": ghp_")
        .says_nothing_of(token);
    hoist.compose("services: {a: {image: x, environment: {MODE: fast}}}\n");
    publish("").code(1).says("--with-env");
    publish("--with-env")
        .code(1)
        .says("MODE=fast")
        .says("with -y");
    publish("--dry-run --with-env").ok().says("published");
    let answer = http::get(registry.address(), "/v2/project/tags/list").expect("an answer");
    assert_eq!(answer.status, 404, "{}", answer.text());
    publish("-y").ok();
}
