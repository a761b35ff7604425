//! `build --print`: the file with which `docker buildx bake` would build the same.

use serde_json::Value;

use crate::harness::{ENGINE, Need, Sandbox};

crate::cases!(ENGINE;
    print_writes_the_file_for_bake,
);

/// Against Docker's own.
pub const PEER: &[crate::harness::Case] = &[crate::harness::Case {
    name: concat!(module_path!(), "::print_is_what_compose_prints"),
    needs: &[Need::Root, Need::Busybox, Need::Peer],
    run: print_is_what_compose_prints,
}];

fn print_writes_the_file_for_bake() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist.compose(
        "services:\n  a.b: {image: 'reg.example/x:1', build: {context: ., dockerfile_inline: 'FROM tiny AS <a>&', privileged: true, ulimits: {nofile: 5}}}\n  \
         c: {build: {context: ., additional_contexts: {x: 'service:a.b'}, args: {P: '$${HOME}'}}}\n",
    );
    let dir = hoist.dir().canonicalize().expect("it is there");
    let dir = dir.display();
    let done = hoist.ok("build --print --push --no-cache --build-arg Q=1 c");
    let project: Value = serde_json::from_str(&done.out).expect("it prints JSON");
    let project = &project["target"]["c"]["labels"]["com.docker.compose.project"];
    let project = project.as_str().expect("a name");
    let labels = |service: &str| {
        format!(
            "\"labels\": {{\n        \"com.docker.compose.project\": \"{project}\",\n        \"com.docker.compose.service\": \"{service}\",\n        \
             \"com.docker.compose.version\": \"2.40.3\"\n      }}"
        )
    };
    let expected = format!(
        "{{\n  \"group\": {{\n    \"default\": {{\n      \"targets\": [\n        \"a_b\",\n        \"c\"\n      ]\n    }}\n  }},\n  \"target\": {{\n    \
         \"a_b\": {{\n      \"context\": \"{dir}\",\n      \"dockerfile-inline\": \"FROM tiny AS \\u003ca\\u003e\\u0026\",\n      \"args\": {{\n        \
         \"Q\": \"1\"\n      }},\n      {},\n      \"tags\": [\n        \"reg.example/x:1\"\n      ],\n      \"no-cache\": true,\n      \"ulimits\": [\n        \
         \"nofile=5\"\n      ],\n      \"entitlements\": [\n        \"security.insecure\"\n      ],\n      \"output\": [\n        \"type=registry\"\n      ]\n    \
         }},\n    \"c\": {{\n      \"context\": \"{dir}\",\n      \"contexts\": {{\n        \"x\": \"target:a_b\"\n      }},\n      \
         \"dockerfile\": \"{dir}/Dockerfile\",\n      \"args\": {{\n        \"P\": \"$${{HOME}}\",\n        \"Q\": \"1\"\n      }},\n      {},\n      \
         \"tags\": [\n        \"{project}-c\"\n      ],\n      \"no-cache\": true,\n      \"output\": [\n        \"type=docker\"\n      ]\n    }}\n  }}\n}}\n",
        labels("a.b"),
        labels("c"),
    );
    assert_eq!(done.out, expected);
    hoist
        .ok("build --print --check")
        .says("\"call\": \"lint\"")
        .says_nothing_of("output");
}

/// Projects whose files for bake are compared.
const PROJECTS: &[&str] = &[
    "services:\n  a: {build: .}\n",
    "services:\n  a:\n    build:\n      context: .\n      dockerfile: sub/../Dockerfile\n      target: t\n      args: [A=1, B, 'C=a$$b']\n      \
     labels: [x=y, z]\n      tags: [one, two/three:4]\n      cache_from: [x, 'type=local,src=/y']\n      cache_to: ['type=inline']\n      \
     extra_hosts: {h: 1.2.3.4}\n      ulimits: {nofile: {soft: 1, hard: 2}}\n      shm_size: 64m\n      network: host\n      no_cache: true\n      \
     pull: true\n      platforms: [linux/amd64]\n      provenance: mode=max\n      sbom: true\n      ssh: ['k=/x']\n      privileged: true\n      \
     entitlements: [network.host]\n    image: named:5\n",
    "services:\n  a: {build: {context: 'https://example.com/x.git#main:sub', dockerfile: D}}\n  \
     b.c: {build: {dockerfile_inline: \"FROM <x>\\nRUN echo $${HOME} $$A\\n\"}}\n  \
     d: {build: {context: ., additional_contexts: {s: 'service:b.c', p: ., i: 'docker-image://x', u: 'https://example.com/y.git'}}}\n",
    "services:\n  a: {build: {context: ., secrets: [s, {source: t, target: u}], platforms: [linux/amd64, linux/arm64]}, image: x}\n\
     secrets: {s: {file: ./Dockerfile}, t: {environment: T}}\n",
];

fn print_is_what_compose_prints() {
    let hoist = Sandbox::empty();
    hoist.file("Dockerfile", "FROM tiny AS t\n");
    hoist.file("sub/x", "");
    for (at, project) in PROJECTS.iter().enumerate() {
        for flags in [
            "",
            "--check",
            "--push --no-cache --pull --build-arg Q=1",
            "a",
        ] {
            hoist.compose(project);
            let line = format!(
                "cd {} && docker compose -p one build --print {flags}",
                hoist.dir().display()
            );
            let peer = crate::harness::peer();
            let theirs = std::process::Command::new(peer)
                .args(["run", &line])
                .output();
            let theirs = String::from_utf8(theirs.expect("it runs").stdout).expect("JSON is text");
            let words: Vec<&str> = ["-p", "one", "build", "--print"]
                .into_iter()
                .chain(flags.split_whitespace())
                .collect();
            let ours = hoist.global(&words).ok().out;
            // Compose takes the order of targets from chance.
            let sorted = |text: &str| {
                let mut json: Value = serde_json::from_str(text).expect("it is JSON");
                let targets = json["group"]["default"]["targets"].as_array_mut();
                targets.expect("a list").sort_by_key(ToString::to_string);
                serde_json::to_string_pretty(&json).expect("it was JSON")
            };
            assert_eq!(sorted(&ours), sorted(&theirs), "project {at} {flags}");
            assert_eq!(ours.len(), theirs.len(), "project {at} {flags}");
        }
    }
}
