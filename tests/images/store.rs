//! `image import | ls | inspect | history | tag | save | load | rm | prune`, `system df | prune | check`, `volumes`.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    an_imported_image_is_listed_inspected_and_removed,
    a_saved_image_can_be_loaded_elsewhere_and_runs,
    an_image_in_use_is_not_removed,
    a_broken_archive_is_refused_and_leaves_nothing,
    a_name_that_is_no_name_is_an_error_that_says_why,
    lists_of_images_are_filtered_and_filled_into_templates_as_docker_does,
    what_is_removed_is_told_as_docker_tells_it,
    a_prune_takes_what_nothing_uses_and_leaves_what_a_stopped_container_needs,
    disk_use_is_told_by_kind_and_by_service_and_all_of_it_can_be_freed,
    a_budget_takes_what_was_used_least_recently,
    prunes_of_other_processes_take_nothing_that_a_command_needs,
    volumes_of_a_project_are_listed_as_compose_lists_them,
);

fn an_imported_image_is_listed_inspected_and_removed() {
    let hoist = Sandbox::new();
    hoist
        .global(&["image", "ls"])
        .ok()
        .says("tiny")
        .says("latest");
    let text = hoist.global(&["image", "inspect", "tiny"]).ok().out;
    let inspected: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        inspected[0]["Config"]["Cmd"],
        serde_json::json!(["sh"]),
        "{text}"
    );
    assert_eq!(
        inspected[0]["Config"]["Env"],
        serde_json::json!(["PATH=/bin"]),
        "{text}"
    );
    hoist.global(&["image", "tag", "tiny", "other:1.2"]).ok();
    hoist.global(&["image", "rm", "tiny"]).ok();
    hoist
        .global(&["image", "inspect", "tiny"])
        .code(1)
        .says("tiny");
    hoist.global(&["image", "inspect", "other:1.2"]).ok();
    hoist.global(&["image", "rm", "other:1.2"]).ok();
    hoist.global(&["image", "ls", "-q"]).ok().prints("");
    hoist.global(&["image", "rm", "tiny"]).code(1).says("tiny");
}

fn a_saved_image_can_be_loaded_elsewhere_and_runs() {
    let hoist = Sandbox::new();
    let file = hoist.dir().join("saved.tar").to_string_lossy().into_owned();
    hoist.global(&["image", "save", "tiny", "-o", &file]).ok();
    let other = Sandbox::empty();
    other.global(&["image", "load", "-i", &file]).ok();
    other.compose("services:\n  a: {image: tiny, command: cat /seed/grain}\n");
    other.ok("run --rm -T a").prints("from the image");
    other
        .ok("run --rm -T a stat -c '%u %a' /seed")
        .prints("1000 750");
}

fn an_image_in_use_is_not_removed() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist
        .global(&["image", "rm", "tiny"])
        .code(1)
        .says(&format!("{}-a-1", hoist.name));
    assert_eq!(hoist.sh("a", "echo works"), "works");
}

fn a_broken_archive_is_refused_and_leaves_nothing() {
    let hoist = Sandbox::empty();
    let broken = hoist.file(
        "broken.tar",
        "this is no archive, and it is long enough to be taken for one\n".repeat(40),
    );
    hoist
        .global(&["image", "import", &broken.to_string_lossy(), "broken"])
        .code(1)
        .says("broken.tar");
    hoist.global(&["image", "ls", "-q"]).ok().prints("");
    hoist
        .global(&["image", "import", "nosuch.tar", "broken"])
        .code(1)
        .says("nosuch.tar");
}

fn a_name_that_is_no_name_is_an_error_that_says_why() {
    let hoist = Sandbox::empty();
    for name in ["UPPER/case", "a b", "-x:", "a@sha256:short"] {
        hoist
            .global(&["image", "inspect", "--", name])
            .code(1)
            .says(name.split(['@', ':']).next().unwrap_or(name));
    }
}

fn lists_of_images_are_filtered_and_filled_into_templates_as_docker_does() {
    let hoist = Sandbox::new();
    hoist.global(&["image", "tag", "tiny", "st/one:1"]).ok();
    hoist.global(&["image", "tag", "tiny", "st/one:2"]).ok();
    let ls = |more: &[&str]| hoist.global(&[&["image", "ls"], more].concat());
    ls(&[
        "--format",
        "table {{.Repository}}:{{.Tag}}\\t{{len .ID}}",
        "st/*",
    ])
    .ok()
    .prints("REPOSITORY:TAG   8\nst/one:1         12\nst/one:2         12");
    ls(&[
        "-f",
        "reference=*:latest",
        "--format",
        "{{json .Repository}}",
    ])
    .ok()
    .prints("\"tiny\"");
    ls(&["-f", "dangling=true", "-q"]).ok().prints("");
    ls(&["-f", "until=1h", "-q", "st/one"]).ok().prints("");
    ls(&["--format", "{{.Nope}}"])
        .code(1)
        .says("can't evaluate field Nope in type *formatter.imageContext");
    ls(&["--format", "{{.ID"])
        .code(1)
        .says("template parsing error: template: :1: unclosed action");
    ls(&["-f", "bogus=1"])
        .code(1)
        .says("invalid filter 'bogus'");
    ls(&["-f", "since=nope"])
        .code(1)
        .says("no such image: nope:latest");
    let inspect = |more: &[&str]| hoist.global(&[&["image", "inspect"], more].concat());
    inspect(&[
        "-f",
        "{{index .RepoTags 2}} {{.Config.Cmd}} {{json .Config.User}}",
        "tiny",
        "nope",
    ])
    .code(1)
    .prints("st/one:2 [sh] \"\"")
    .says("no such image: nope:latest");
    inspect(&["--platform", "linux/s390x", "tiny"])
        .code(1)
        .says("does not match the specified platform (linux/s390x)");
    hoist
        .global(&[
            "image",
            "history",
            "--format",
            "{{.ID}} {{.Size}}",
            "--no-trunc",
            "tiny",
        ])
        .ok()
        .says("sha256:");
    hoist
        .global(&["image", "history", "-H=false", "tiny"])
        .ok()
        .says("CREATED AT");
}

fn what_is_removed_is_told_as_docker_tells_it() {
    let hoist = Sandbox::new();
    let id = hoist
        .global(&["image", "ls", "-q", "--no-trunc", "tiny"])
        .ok()
        .out;
    let id = id.trim();
    let short = &id[7..19];
    hoist.global(&["image", "tag", "tiny", "b:1"]).ok();
    hoist
        .global(&["image", "tag", "tiny", &format!("c@{id}")])
        .code(1)
        .says("with a digest reference");
    hoist
        .global(&["image", "tag", "tiny", id])
        .code(1)
        .says("refusing to create an ambiguous tag using digest algorithm as name");
    hoist.global(&["image", "rm", short]).code(1).says(&format!(
        "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    ));
    hoist
        .global(&["image", "rm", "-f", "nope"])
        .ok()
        .says("no such image: nope:latest");
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist
        .global(&["image", "rm", "-f", short])
        .code(1)
        .says("(cannot be forced) - image is being used by running container");
    hoist.ok("stop -t 0");
    hoist
        .global(&["image", "rm", "b:1"])
        .ok()
        .prints("Untagged: b:1");
    hoist
        .global(&["image", "rm", "tiny"])
        .code(1)
        .says("(must force) - container");
    // By force the image goes, and its layers stay for the container that is left.
    let gone = hoist.global(&["image", "rm", "-f", short]).ok().out;
    assert_eq!(gone, format!("Untagged: tiny:latest\nDeleted: {id}\n"));
    hoist
        .global(&["image", "prune", "-af"])
        .ok()
        .prints("Total reclaimed space: 0B");
    hoist.ok("start");
    assert_eq!(hoist.sh("a", "echo works"), "works");
    hoist.ok("down -t 0");
    let freed = hoist.global(&["system", "prune", "-af"]).ok().out;
    assert!(
        freed.contains("Total reclaimed space:") && !freed.ends_with(" 0B\n"),
        "{freed}"
    );
    assert_eq!(layers(&hoist), Vec::<String>::new());
}

/// Layers that are there.
fn layers(hoist: &Sandbox) -> Vec<String> {
    names(&hoist.data().join("layers"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn a_prune_takes_what_nothing_uses_and_leaves_what_a_stopped_container_needs() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nLABEL a=b\nRUN echo 1 > /one\n");
    let dir = hoist.dir().to_string_lossy().into_owned();
    hoist
        .global(&["image", "build", "-q", "-t", "made", &dir])
        .ok();
    hoist.file("Dockerfile", "FROM tiny\nLABEL a=b\nRUN echo 2 > /one\n");
    hoist
        .global(&["image", "build", "-q", "-t", "made", &dir])
        .ok();
    hoist.compose("services:\n  a: {image: tiny, command: 'true'}\n");
    hoist.ok("up");
    let asked = hoist.global(&["image", "prune"]).ok();
    asked.says(
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N]",
    );
    let pruned = hoist.global(&["image", "prune", "-f"]).ok().out;
    assert!(
        pruned.starts_with("Deleted Images:\ndeleted: sha256:"),
        "{pruned}"
    );
    hoist
        .global(&["image", "prune", "-af", "--filter", "label=none"])
        .ok()
        .prints("Total reclaimed space: 0B");
    let pruned = hoist
        .global(&["image", "prune", "-af", "--filter", "label=a=b"])
        .ok()
        .out;
    assert!(
        pruned.starts_with("Deleted Images:\nuntagged: made:latest\ndeleted: sha256:"),
        "{pruned}"
    );
    hoist
        .global(&["image", "prune", "-af"])
        .ok()
        .prints("Total reclaimed space: 0B");
    hoist.global(&["image", "inspect", "tiny"]).ok();
    hoist
        .global(&["system", "check", "--deep"])
        .ok()
        .says("all whole");
    hoist.ok("start");
}

fn disk_use_is_told_by_kind_and_by_service_and_all_of_it_can_be_freed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, volumes: ['vol:/v', /anonymous]}\n  b: {SLEEP}\nvolumes: {vol: }\n",
    );
    hoist.ok("up -d");
    hoist.sh("a", "dd if=/dev/zero of=/v/x bs=1024 count=100 2>/dev/null; dd if=/dev/zero of=/y bs=1024 count=50 2>/dev/null");
    let df = |more: &[&str]| hoist.global(&[&["system", "df"], more].concat()).ok().out;
    let text = df(&[
        "--format",
        "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
    ]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Images|1|1|"), "{text}");
    assert_eq!(
        lines[1..],
        [
            "Containers|2|2|51.2kB|0B (0%)",
            "Local Volumes|2|2|102.4kB|0B (0%)",
            "Build Cache|0|0|0B|0B"
        ]
    );
    assert!(
        df(&["-v"]).contains("Local Volumes space usage:\n\nVOLUME NAME"),
        "no volumes"
    );
    let all: Value = serde_json::from_str(&df(&["-v", "--format", "json"])).expect("JSON");
    assert_eq!(
        (
            all["Containers"].as_array().map(Vec::len),
            &all["Images"][0]["Repository"]
        ),
        (Some(2), &Value::from("tiny"))
    );
    let text = df(&[
        "--project",
        "--format",
        "{{.Project}}|{{.Service}}|{{.Images}}|{{.Written}}|{{.Volumes}}",
    ]);
    let name = &hoist.name;
    let row = |begin: String| text.lines().any(|line| line.starts_with(&begin));
    assert!(
        row(format!("{name}|a|0B|"))
            && row(format!("{name}|b|0B|"))
            && row("(shared)|-|".to_owned()),
        "{text}"
    );
    hoist.ok("down -t 0");
    let pruned = hoist
        .global(&["system", "prune", "-af", "--volumes"])
        .ok()
        .out;
    assert!(
        pruned.contains("untagged: tiny:latest") && pruned.contains("Total reclaimed space:"),
        "{pruned}"
    );
    assert_eq!(layers(&hoist), Vec::<String>::new());
    hoist.ok("volumes -q").prints(&format!("{name}_vol"));
}

fn a_budget_takes_what_was_used_least_recently() {
    let hoist = Sandbox::new();
    let dir = hoist.dir().to_string_lossy().into_owned();
    for (name, size) in [("one", 300), ("two", 300), ("three", 300)] {
        hoist.file("Dockerfile", format!("FROM scratch\nCOPY {name} /\n"));
        hoist.file(name, vec![name.as_bytes()[1]; size * 1000]);
        hoist
            .global(&["image", "build", "-q", "-t", name, &dir])
            .ok();
    }
    hoist.global(&["cache", "prune", "-af"]).ok();
    let used = |name: &str, age: u64| {
        let id = hoist
            .global(&["image", "inspect", "-f", "{{.Id}}", name])
            .ok()
            .out;
        let blob = hoist
            .data()
            .join("images/blobs/sha256")
            .join(&id.trim()[7..]);
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        std::fs::File::open(blob)
            .and_then(|file| file.set_modified(at))
            .expect("a document");
    };
    for (name, age) in [("one", 1000), ("two", 5000), ("three", 3000), ("tiny", 10)] {
        used(name, age);
    }
    let before = hoist
        .global(&["system", "df", "--format", "{{.Size}}"])
        .ok()
        .out;
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let prune = |budget: &str| {
        hoist
            .global(&["system", "prune", "-af", "--max-used-space", budget])
            .ok()
            .out
    };
    assert!(!prune("1gb").contains("deleted:"), "{before}");
    // All but what a container uses fits into no budget.
    let text = prune("1");
    let order: Vec<_> = ["two", "three", "one"]
        .map(|name| text.contains(&format!("untagged: {name}:latest")))
        .into();
    assert_eq!(order, [true; 3], "{text}");
    hoist.global(&["image", "inspect", "tiny"]).ok();
    hoist.ok("down -t 0");
}

fn prunes_of_other_processes_take_nothing_that_a_command_needs() {
    let hoist = Sandbox::new();
    hoist.file("ctx/Dockerfile", "FROM tiny\nARG n\nRUN echo $n > /n\n");
    hoist.compose("services:\n  a: {image: tiny, command: 'true'}\n  b: {build: ctx, image: made, command: 'true'}\n");
    let mut prune = hoist.command(&["image", "prune", "-af"]);
    prune.stdout(Stdio::null()).stderr(Stdio::piped());
    let done = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruning = scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let ended = prune.output().expect("hoist runs");
                assert!(
                    ended.status.success(),
                    "{}",
                    String::from_utf8_lossy(&ended.stderr)
                );
            }
        });
        for n in 0..4 {
            // Between two commands nothing needs it, so a prune may have it.
            let archive = crate::harness::image::archive()
                .to_string_lossy()
                .into_owned();
            let held = hoist
                .command(&["image", "import", &archive, "tiny"])
                .output();
            assert!(held.is_ok_and(|held| held.status.success()));
            let built = hoist.run(&format!("build -q --build-arg n={n}"));
            let text = built.story();
            assert!(built.code == 0 || text.contains("tiny"), "{text}");
            let up = hoist.run("up --no-build --pull never");
            let text = up.story();
            let gone_before = text.contains("tiny") || text.contains("made");
            assert!(up.code == 0 || gone_before, "{text}");
            assert!(
                !text.contains("is not in the store") && !text.contains("layer"),
                "{text}"
            );
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        pruning.join().expect("every prune succeeds");
    });
    hoist.global(&["system", "check", "--deep"]).ok();
}

fn volumes_of_a_project_are_listed_as_compose_lists_them() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['one:/1', /anonymous]}\n  b: {SLEEP, volumes: ['two:/2']}\nvolumes: {one: {labels: {x: y}}, two: }\n");
    hoist.ok("up -d");
    let name = hoist.name.clone();
    hoist.ok("volumes").prints(&format!(
        "DRIVER    VOLUME NAME\nlocal     {name}_one\nlocal     {name}_two"
    ));
    hoist.ok("volumes -q b").prints(&format!("{name}_two"));
    let one: Value = serde_json::from_str(&hoist.ok("volumes --format json a").out).expect("JSON");
    assert_eq!(
        (&one["Scope"], &one["Size"]),
        (&Value::from("local"), &Value::from("N/A"))
    );
    assert!(
        one["Labels"]
            .as_str()
            .is_some_and(|labels| labels.contains("x=y")),
        "{one}"
    );
    hoist
        .ok("volumes --format '{{.Name}} {{.Driver}}' b")
        .prints(&format!("{name}_two local"));
    hoist
        .run("volumes nope")
        .code(1)
        .says("no such service: nope");
    hoist.ok("down -v -t 0");
    hoist.ok("volumes").prints("DRIVER    VOLUME NAME");
}
