//! Compose projects in a hostile registry. They are told apart by what they try: to write beside themselves
//! (CVE-2025-62725), to read files of the host, to fill it, to act without being asked, to speak to the terminal.
//!
//! Imports: `harness`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Canary;
use crate::harness::server::{Reply, Server};
use crate::harness::{Need, Sandbox, leftovers::children};

crate::cases!(&[Need::Root];
    an_artifact_writes_beside_itself,
    an_artifact_fills_the_disk,
    an_artifact_is_something_else,
    an_artifact_reads_files_of_the_host,
    an_artifact_acts_without_a_word,
    an_env_file_of_an_artifact_is_odd,
    an_artifact_speaks_to_the_terminal,
);

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PROJECT: &str = "application/vnd.docker.compose.project";
const FILE: &str = "application/vnd.docker.compose.file+yaml";
const ENV: &str = "application/vnd.docker.compose.envfile";

fn digest(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{}", hex.concat())
}

/// A layer: its kind, what it says of itself, its content.
type Layer<'a> = (&'a str, Value, &'a [u8]);

fn compose(text: &str) -> Layer<'_> {
    (
        FILE,
        json!({"com.docker.compose.file": "compose.yaml"}),
        text.as_bytes(),
    )
}

fn env_file<'a>(name: &str, text: &'a [u8]) -> Layer<'a> {
    (ENV, json!({"com.docker.compose.envfile": name}), text)
}

/// A registry with one artifact, whose manifest is changed before it is told; gives its name for `-f`.
fn registry(layers: &[Layer<'_>], change: impl FnOnce(&mut Value)) -> (Server, String) {
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut entries = Vec::new();
    for (kind, remarks, bytes) in layers {
        let digest = digest(bytes);
        entries.push(json!({"mediaType": kind, "digest": digest, "size": bytes.len(), "annotations": remarks}));
        blobs.insert(digest, bytes.to_vec());
    }
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": PROJECT,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": entries,
    });
    change(&mut manifest);
    let manifest = manifest.to_string().into_bytes();
    let server = Server::start(move |request| match request.path.as_str() {
        "/v2/" => Reply::ok("application/json", "{}"),
        "/v2/a/b/manifests/1" => Reply::ok(MANIFEST, manifest.clone()),
        path => path
            .strip_prefix("/v2/a/b/blobs/")
            .and_then(|name| blobs.get(name))
            .map_or_else(
                || Reply::status(404),
                |bytes| Reply::ok("application/octet-stream", bytes.clone()),
            ),
    });
    let name = format!("oci://{}/a/b:1", server.address);
    (server, name)
}

/// Nothing of a refused artifact is kept.
fn nothing_kept(hoist: &Sandbox) {
    let kept = children(&hoist.data().join("artifacts"));
    let kept: Vec<_> = kept.iter().filter(|path| !path.ends_with("lock")).collect();
    assert!(kept.is_empty(), "something is left: {kept:?}");
}

const PLAIN: &str = "services: {a: {image: x}}\n";

fn an_artifact_writes_beside_itself() {
    let hoist = Sandbox::empty();
    let canary = Canary::new(&hoist);
    let song = canary.song();
    let far = format!("../../../../../../../../../..{song}");
    let extended =
        |name: &str| json!({"com.docker.compose.file": name, "com.docker.compose.extends": "true"});
    for name in [song.as_str(), &far, "..", "a/b", "a\\b", "a\u{0}b", "a\nb"] {
        for layer in [env_file(name, b"E=1\n"), (FILE, extended(name), b"x: 1\n")] {
            let (_server, name) = registry(&[compose(PLAIN), layer], |_| {});
            hoist
                .global(&["-f", &name, "config"])
                .code(1)
                .says("which is refused");
        }
    }
    canary.sings();
    nothing_kept(&hoist);
}

fn an_artifact_fills_the_disk() {
    let hoist = Sandbox::empty();
    let refused = |layers: &[Layer<'_>], change: &dyn Fn(&mut Value), words: &str| {
        let (_server, name) = registry(layers, change);
        hoist.global(&["-f", &name, "config"]).code(1).says(words);
    };
    let large = |m: &mut Value| m["layers"][0]["size"] = json!((16 << 20) + 1);
    refused(&[compose(PLAIN)], &large, "at most");
    // More comes than was said, and a size that no sum can hold.
    refused(
        &[compose(PLAIN)],
        &|m| m["layers"][0]["size"] = json!(3),
        "instead of sha256",
    );
    let huge = |m: &mut Value| m["layers"][0]["size"] = json!(u64::MAX);
    refused(&[compose(PLAIN), env_file("e", b"")], &huge, "at most");
    let many = |m: &mut Value| {
        let one = m["layers"][0].clone();
        m["layers"] = Value::Array(vec![one; 129]);
    };
    refused(&[compose(PLAIN)], &many, "129 layers");
    nothing_kept(&hoist);
}

fn an_artifact_is_something_else() {
    let hoist = Sandbox::empty();
    let refused = |layers: &[Layer<'_>], change: &dyn Fn(&mut Value), words: &str| {
        let (_server, name) = registry(layers, change);
        hoist.global(&["-f", &name, "config"]).code(1).says(words);
    };
    let image =
        |m: &mut Value| m["artifactType"] = json!("application/vnd.oci.image.config.v1+json");
    refused(&[compose(PLAIN)], &image, "no compose project");
    refused(
        &[("text/plain", json!({}), PLAIN.as_bytes())],
        &|_| {},
        "no compose file",
    );
    refused(&[], &|_| {}, "no compose file");
    refused(
        &[(ENV, json!({}), b"E=1\n")],
        &|_| {},
        "does not say which file",
    );
    // An env file must not become the compose file.
    refused(
        &[compose(PLAIN), env_file("compose.yaml", b"x: 1")],
        &|_| {},
        "two of its layers",
    );
    refused(&[compose(PLAIN)], &|m| *m = json!([]), "malformed");
    let index = |m: &mut Value| *m = json!({"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": digest(b""), "size": 0}]});
    refused(&[compose(PLAIN)], &index, "names nothing of the type");
    nothing_kept(&hoist);
}

fn an_artifact_reads_files_of_the_host() {
    let hoist = Sandbox::empty();
    let canary = Canary::new(&hoist);
    std::fs::write(canary.dir.join("song"), "SECRET=melody\n").expect("writable");
    let song = canary.song();
    for text in [
        format!("services: {{a: {{image: x, env_file: '{song}'}}}}"),
        format!("services: {{a: {{image: x, env_file: '../../../../../../../../../..{song}'}}}}"),
        format!("services: {{a: {{image: x, label_file: '{song}'}}}}"),
        format!("services: {{a: {{extends: {{file: '{song}', service: b}}}}}}"),
        format!("include: ['{song}']\nservices: {{a: {{image: x}}}}"),
        format!(
            "include: [{{path: compose2.yaml, env_file: '{song}'}}]\nservices: {{a: {{image: x}}}}"
        ),
    ] {
        let (_server, name) = registry(&[compose(&text)], |_| {});
        hoist
            .global(&["-f", &name, "config"])
            .code(1)
            .says_nothing_of("melody");
    }
}

fn an_artifact_acts_without_a_word() {
    let hoist = Sandbox::empty();
    let text = "services:\n  a:\n    image: x\n    pull_policy: never\n    privileged: true\n    pid: host\n    network_mode: host\n    \
                volumes: ['/:/host', '/var/run/docker.sock:/s']\n    configs: [c]\n    secrets: [s]\n    environment: {HOME: '${HOME}', OWN: '${TOKEN:-none}'}\n\
                configs: {c: {file: /etc/shadow}}\nsecrets: {s: {environment: TOKEN}}\n";
    let (_server, name) = registry(&[compose(text)], |_| {});
    hoist.set("TOKEN", "of the user");
    for command in [&["up", "-d"][..], &["create"], &["run", "a"]] {
        hoist
            .global(&[&["-f", &name], command].concat())
            .code(1)
            .says("a: x\n")
            .says("a: privileged: all rights over this machine")
            .says("a: this machine's process namespace")
            .says("a: this machine's network")
            .says("a: bind mount of / (writable)")
            .says("a: the engine's socket /var/run/docker.sock")
            .says("config c: the file /etc/shadow")
            .says("secret s: the variable TOKEN of your environment")
            .says("TOKEN")
            .says("there is no terminal to ask on");
    }
    assert_eq!(
        children(&hoist.data().join("projects")),
        Vec::<std::path::PathBuf>::new()
    );
    // A dependency of an own project is asked about as well.
    hoist.compose(&format!("include: ['{name}']\n"));
    hoist.run("up -d").code(1).says("a: privileged");
}

fn an_env_file_of_an_artifact_is_odd() {
    let hoist = Sandbox::empty();
    let text = "services: {a: {image: x, env_file: e.env}}\n";
    let long = [b"L=".to_vec(), vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
    for bytes in [
        &b"A=b\0c\n"[..],
        b"\xff\xfe=1\n",
        b"=\n",
        b"A\n=\n'\"\n${${${\n",
        b"A=$(touch /tmp/hoist-odd)\n",
        b"A=`touch /tmp/hoist-odd`\n",
        &long,
    ] {
        let (_server, name) = registry(&[compose(text), env_file("e.env", bytes)], |_| {});
        let done = hoist.global(&["-f", &name, "config", "-q"]);
        done.says_nothing_of("panicked");
    }
    assert!(!std::path::Path::new("/tmp/hoist-odd").exists());
}

fn an_artifact_speaks_to_the_terminal() {
    let hoist = Sandbox::empty();
    let text = "services:\n  a:\n    image: x\n    pull_policy: never\n    volumes: [\"/etc\\e[2J\\e]0;owned\\a:/e\"]\n    \
                command: ['${X:-\\e[31m}']\n";
    let (_server, name) = registry(&[compose(text)], |_| {});
    let done = hoist.global(&["-f", &name, "create"]).code(1);
    let told = done.all();
    assert!(
        !told.contains('\u{1b}') && !told.contains('\u{7}'),
        "{told:?}"
    );
}
