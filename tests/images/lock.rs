//! What moves a project's images: `push`, `pull` of services, and lock files.

use serde_json::Value;

use super::pull::{REGISTRY, Registry};
use crate::harness::{Need, Sandbox};

crate::cases!(&[Need::Root, Need::Busybox, Need::Program(REGISTRY), Need::Program("curl")];
    what_is_locked_is_used_and_nothing_newer,
    what_is_not_locked_is_refused_with_its_place,
    bases_mounts_and_contexts_are_locked_too,
    a_lock_file_that_is_broken_is_told_with_its_place,
    services_are_pushed_as_far_as_they_are_built,
    a_pull_says_what_it_leaves_out_and_why,
);

/// Puts an image into the registry that says which one it is.
fn publish(hoist: &Sandbox, name: &str, version: &str) {
    let archive = crate::harness::image::archive().display().to_string();
    let label = format!("LABEL v={version}");
    let path = "ENV PATH=/bin";
    hoist
        .global(&["image", "import", "-c", path, "-c", &label, &archive, name])
        .ok();
    hoist.global(&["image", "push", "-q", name]).ok();
    hoist.global(&["image", "rm", "-f", name]).ok();
}

fn lock(hoist: &Sandbox) -> Value {
    let text = std::fs::read(hoist.dir().join("compose.lock.json")).expect("a lock");
    serde_json::from_slice(&text).expect("JSON")
}

fn version(hoist: &Sandbox) -> String {
    let id = hoist.field("a", "Labels");
    let found = id.split(',').find_map(|label| label.strip_prefix("v="));
    found.unwrap_or("none").to_owned()
}

fn what_is_locked_is_used_and_nothing_newer() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let name = registry.name("app:1");
    publish(&hoist, &name, "one");
    let sleep = "command: sleep 3600, stop_signal: SIGKILL";
    hoist.compose(&format!(
        "services:\n  a: {{image: '{name}', pull_policy: always, {sleep}}}\n"
    ));
    hoist.run("up -d --locked").code(1).says("hoist lock");
    hoist.run("lock --check").code(2).says("compose.lock.json");
    hoist
        .ok("lock --dry-run")
        .says(&format!("+ {name} sha256:"));
    assert!(!hoist.dir().join("compose.lock.json").exists());
    hoist.ok("lock").says("compose.lock.json: 1 image\n");
    let first = lock(&hoist);
    assert_eq!(first["images"][&name]["used-by"][0], "services.a.image");
    publish(&hoist, &name, "two");
    // Locked again without a reason, it stays as it is.
    hoist.ok("lock");
    assert_eq!(lock(&hoist), first);
    hoist.ok("up -d --locked");
    assert_eq!(version(&hoist), "one");
    hoist.ok("up -d").says("Pulled");
    assert_eq!(version(&hoist), "two");
    hoist.ok("lock --check");
    drop(registry);
    // All is here: nobody is asked.
    hoist.ok("up -d --locked");
    assert_eq!(version(&hoist), "one");
    hoist.ok("create --locked --force-recreate");
    hoist.ok("pull --locked");
    hoist.ok("run --locked --rm -T a true");
    hoist
        .run("lock --update")
        .code(1)
        .says("cannot lock")
        .says("compose.yaml:2:");
    assert_eq!(lock(&hoist), first);
}

fn what_is_not_locked_is_refused_with_its_place() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let name = registry.name("app");
    publish(&hoist, &format!("{name}:1"), "one");
    publish(&hoist, &format!("{name}:2"), "two");
    let with = |tag: &str| {
        let other = registry.name("other");
        hoist.compose(&format!(
            "services:\n  a:\n    image: {name}:{tag}\n  b:\n    image: {other}\n    profiles: [more]\n"
        ));
    };
    hoist.compose(&format!("services:\n  a:\n    image: {name}:1\n"));
    hoist.ok("lock -q");
    with("2");
    hoist
        .run("up -d --locked")
        .code(1)
        .says("compose.yaml:3:12: services.a.image")
        .says(&format!("has `{name}:1`"))
        .says_nothing_of("services.b");
    hoist
        .run("--profile more create --locked")
        .code(1)
        .says("compose.yaml:5:12: services.b.image")
        .says("hoist lock");
    hoist
        .run("lock --check")
        .code(2)
        .says("compose.yaml:3:12")
        .says("out of date");
    // Another digest than the lock's is another image.
    with("1");
    let digest = "a".repeat(64);
    hoist.compose(&format!(
        "services:\n  a:\n    image: {name}:1@sha256:{digest}\n"
    ));
    hoist
        .run("up -d --locked")
        .code(1)
        .says("compose.yaml:3:12");
    assert_eq!(hoist.ps(), Vec::<Value>::new());
}

fn bases_mounts_and_contexts_are_locked_too() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let names = ["base", "from", "mount", "context"].map(|name| registry.name(name));
    for name in &names {
        publish(&hoist, name, "one");
    }
    let [base, from, mount, context] = &names;
    hoist.file(
        "Dockerfile",
        format!("FROM {base}\nCOPY --from={from} /seed/grain /a\nCOPY --from=c /seed/grain /b\n"),
    );
    hoist.compose(&format!(
        "services:\n  a:\n    command: sleep 3600\n    stop_signal: SIGKILL\n    build:\n      context: .\n      \
         additional_contexts: {{c: 'docker-image://{context}'}}\n    volumes: [{{type: image, source: '{mount}', target: /m}}]\n"
    ));
    hoist.ok("lock -q");
    let images = lock(&hoist);
    let images = images["images"].as_object().expect("a mapping");
    let found: Vec<&String> = images.keys().collect();
    let mut wanted: Vec<String> = names.iter().map(|name| format!("{name}:latest")).collect();
    wanted.sort();
    assert_eq!(found, wanted.iter().collect::<Vec<_>>());
    for name in &names {
        publish(&hoist, name, "two");
    }
    hoist.ok("up -d --locked");
    assert_eq!(version(&hoist), "one");
    drop(registry);
    hoist.ok("up -d --locked --force-recreate");
    hoist.ok("build --locked --pull -q");
    hoist.file("Dockerfile", format!("FROM {base}:other\n"));
    hoist
        .run("build --locked -q")
        .code(1)
        .says("Dockerfile:1:6")
        .says("services.a.build")
        .says("not");
}

fn a_lock_file_that_is_broken_is_told_with_its_place() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a: {image: 'localhost:1/a'}\n");
    for (text, words) in [
        ("{\n  \"version\": 1,\n", "compose.lock.json:3:1"),
        (
            "{\"version\": 2, \"files\": [], \"images\": {}}",
            "version 2",
        ),
        (
            "{\"version\": 1, \"images\": {\n\"a\": {\"digest\": \"sha256:00\"}}}",
            "compose.lock.json:2:",
        ),
        ("[]", "compose.lock.json:1:"),
    ] {
        hoist.file("compose.lock.json", text);
        hoist.run("up -d --locked").code(1).says(words);
        hoist.run("lock").code(1).says(words);
    }
    let short = format!(
        "{{\"version\": 1, \"images\": {{\n\"a\": {{\"digest\": \"sha256:{}\"}}}}}}",
        "0".repeat(64)
    );
    hoist.file("compose.lock.json", short);
    hoist
        .run("up -d --locked")
        .code(1)
        .says("compose.lock.json:2:1: `a` is no full name");
}

fn services_are_pushed_as_far_as_they_are_built() {
    let hoist = Sandbox::new();
    let registry = Registry::start(&hoist);
    let (one, two, tag) = (
        registry.name("one:1"),
        registry.name("two:1"),
        registry.name("one:tag"),
    );
    let build =
        |tags: &str| format!("build: {{dockerfile_inline: \"FROM tiny\\nLABEL a=b\\n\"{tags}}}");
    hoist.compose(&format!(
        "services:\n  one: {{image: '{one}', {}}}\n  two: {{image: '{two}', {}, depends_on: [one]}}\n  \
         bare: {{{}}}\n  plain: {{image: tiny}}\n",
        build(&format!(", tags: ['{tag}']")),
        build(""),
        build("")
    ));
    hoist
        .run("push one")
        .code(1)
        .says("is here")
        .says("hoist build");
    hoist.ok("build -q one");
    hoist
        .run("push")
        .code(1)
        .says(&two)
        .says(&format!("Image {one}  Pushed"));
    hoist
        .ok("push --ignore-push-failures")
        .says(&format!("{two}  Warning"));
    hoist.ok("build -q two");
    let told = hoist.ok("push two").all();
    assert!(
        told.contains(&format!("Image {two}  Pushed")) && !told.contains(&one),
        "{told}"
    );
    hoist
        .ok("push --include-deps two")
        .says(&format!("Image {one}  Pushed"));
    hoist
        .ok("push bare plain")
        .says("Skipped")
        .says_nothing_of("Pushing");
    assert_eq!(hoist.ok("push -q").all(), "");
    hoist
        .run("push nosuch")
        .code(1)
        .says("no such service: nosuch");
    for name in [&one, &two, &tag] {
        hoist.global(&["image", "rm", "-f", name]).ok();
        hoist.global(&["image", "pull", "-q", name]).ok();
    }
}

fn a_pull_says_what_it_leaves_out_and_why() {
    let hoist = Sandbox::empty();
    let registry = Registry::start(&hoist);
    let here = registry.name("here");
    publish(&hoist, &here, "one");
    hoist.compose(&format!(
        "services:\n  here: {{image: '{here}', pull_policy: missing}}\n  never: {{image: '{0}', pull_policy: never}}\n  \
         built: {{image: '{1}', build: .}}\n  bare: {{build: .}}\n  gone: {{image: '{2}', depends_on: [here]}}\n",
        registry.name("never"),
        registry.name("built"),
        registry.name("gone"),
    ));
    hoist.ok("pull here").says(&format!("Image {here}  Pulled"));
    hoist
        .ok("pull here never bare")
        .says(&format!(
            "Image {here}  Skipped (Image is already present locally)"
        ))
        .says(&format!("Image {}  Skipped\n", registry.name("never")))
        .says("Image bare  Skipped (No image to be pulled)");
    hoist.ok("pull --policy always here").says("Pulled");
    hoist
        .ok("pull --ignore-buildable built")
        .says("Skipped (Image can be built)");
    hoist.run("pull built").code(1).says("hoist build built");
    hoist.run("pull gone").code(1).says(&registry.name("gone"));
    hoist.ok("pull --ignore-pull-failures gone").says("Warning");
    hoist
        .ok("pull --include-deps --ignore-pull-failures gone")
        .says(&format!("Image {here}  Skipped"));
    hoist
        .run("pull --policy sometimes")
        .code(1)
        .says("sometimes");
}
