//! The build cache: why a step is not cached, steps that builds share, what is carried elsewhere, making room.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::pull::{REGISTRY, Registry};
use crate::harness::{ENGINE, Need, Sandbox, process::Done};

crate::cases!(ENGINE;
    a_step_that_is_not_cached_says_which_input_changed,
    secrets_are_in_no_reason_and_no_record,
    a_step_that_two_builds_need_is_done_once,
    a_build_that_was_killed_holds_nobody_up,
    a_base_of_the_same_layers_with_another_config_lends_nothing,
    a_cache_goes_to_another_machine_with_its_cache_mounts,
    a_cache_archive_that_is_cut_off_changes_nothing,
    the_cache_is_listed_and_pruned_and_images_stay_whole,
    a_directory_keeps_a_cache_and_a_damaged_one_is_no_harm,
    a_cache_option_that_is_wrong_is_refused_with_what_to_write,
);

/// Cases with a registry.
pub mod registry {
    use super::*;

    crate::cases!(&[Need::Root, Need::Busybox, Need::Program(REGISTRY)];
        a_registry_carries_the_cache_and_only_layers_of_steps_that_hit_are_fetched,
        an_image_carries_its_own_cache,
    );

    fn a_registry_carries_the_cache_and_only_layers_of_steps_that_hit_are_fetched() {
        let hoist = Sandbox::new();
        let registry = Registry::start(&hoist);
        stages(&hoist);
        let place = registry.name("cache:1");
        build(
            &hoist,
            &["--cache-to", &format!("type=registry,ref={place},mode=max")],
        );
        let other = Sandbox::new();
        stages(&other);
        let second = build(&other, &["--cache-from", &place]);
        assert_eq!(
            second.all().matches("CACHED").count(),
            5,
            "{}",
            second.story()
        );
        assert_eq!(layers(&other), layers(&hoist));
        // Of another beginning only what does not stand on it fits, and only its layer is fetched.
        let third = Sandbox::new();
        stages(&third);
        let changed = build(&third, &["--cache-from", &place, "--build-arg", "V=2"]);
        assert_eq!(
            changed.all().matches("CACHED").count(),
            1,
            "{}",
            changed.story()
        );
        let fetched = std::fs::read_dir(third.data().join("images/blobs/sha256"));
        let fetched = fetched.expect("there are blobs").filter(|entry| {
            let path = entry.as_ref().expect("it can be read").path();
            let bytes = std::fs::read(path).expect("it can be read");
            bytes.first() == Some(&0x1f)
        });
        assert_eq!(fetched.count(), 1);
        // Without the stages behind the image, only these run.
        let least = registry.name("cache:min");
        build(
            &hoist,
            &["--cache-to", &format!("type=registry,ref={least}")],
        );
        let fourth = Sandbox::new();
        stages(&fourth);
        let text = build(&fourth, &["--cache-from", &least]);
        assert_eq!(text.all().matches("CACHED").count(), 1, "{}", text.story());
        // What is not there, or no cache, is told, and the build goes on.
        let fifth = Sandbox::new();
        stages(&fifth);
        build(&fifth, &["--cache-from", &registry.name("nothing:1")]).says("is not used: no image");
    }

    fn an_image_carries_its_own_cache() {
        let hoist = Sandbox::new();
        let registry = Registry::start(&hoist);
        hoist.file(
            "Dockerfile",
            "FROM tiny\nRUN echo one > /one\nENV A=1\nRUN echo two > /two\n",
        );
        let name = registry.name("app:1");
        let context = hoist.dir().display().to_string();
        let text = [
            "image",
            "build",
            "-t",
            &name,
            "--build-arg",
            "BUILDKIT_INLINE_CACHE=1",
            &context,
        ];
        hoist.global(&text).ok();
        hoist.global(&["image", "push", &name]).ok();
        let other = Sandbox::new();
        other.file(
            "Dockerfile",
            "FROM tiny\nRUN echo one > /one\nENV A=1\nRUN echo two > /two\n",
        );
        let second = build(&other, &["--cache-from", &name]);
        assert_eq!(
            second.all().matches("CACHED").count(),
            2,
            "{}",
            second.story()
        );
        // What is built on such an image does not carry its cache on.
        let third = Sandbox::new();
        third.file(
            "Dockerfile",
            format!("FROM {name}\nRUN echo three > /three\n"),
        );
        build(&third, &[]).ok();
        let config = third.global(&["image", "save", "-o", "saved.tar", "x"]);
        config.ok();
        let saved = std::fs::read(third.dir().join("saved.tar")).expect("it was just written");
        let word = b"hoist.buildcache";
        assert!(!saved.windows(word.len()).any(|part| part == word));
    }
}

/// Builds the project's directory as `x`, with plain progress.
fn build(hoist: &Sandbox, flags: &[&str]) -> Done {
    let context = hoist.dir().display().to_string();
    let mut arguments = vec!["image", "build", "--progress", "plain", "-t", "x"];
    arguments.extend(flags);
    arguments.push(&context);
    hoist.global(&arguments).ok()
}

/// Names of layers that are there.
fn layers(hoist: &Sandbox) -> Vec<String> {
    let entries = std::fs::read_dir(hoist.data().join("layers")).expect("there are layers");
    let names = entries.map(|entry| entry.expect("it can be read").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.retain(|name| name.len() == 64);
    names.sort();
    names
}

/// Rows of `cache ls`.
fn rows(hoist: &Sandbox) -> Vec<Value> {
    let text = hoist.global(&["cache", "ls", "--format", "json"]).ok().out;
    let row = |line: &str| serde_json::from_str(line).expect("each line is JSON");
    text.lines().map(row).collect()
}

/// A stage with three steps, and one that takes a file of it.
fn stages(hoist: &Sandbox) {
    hoist.file(
        "Dockerfile",
        "FROM tiny AS made\nARG V=1\nRUN echo one $V > /one\nCOPY file /file\nRUN cat /one /file > /two\n\
         FROM tiny\nCOPY file /early\nCOPY --from=made /two /two\nCMD [\"cat\", \"/two\"]\n",
    );
    hoist.file("file", "f\n");
}

fn a_step_that_is_not_cached_says_which_input_changed() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny AS made\nARG VERSION=1\nCOPY src /src\nRUN echo $VERSION > /v\nFROM tiny\nCOPY --from=made /v /v\n",
    );
    hoist.file("src/a", "1");
    hoist.file("src/b", "1");
    build(&hoist, &[]).says("not cached: never built here");
    build(&hoist, &[]).says_nothing_of("not cached");
    hoist.file("src/a", "2");
    let text = build(&hoist, &[]);
    text.says("not cached: src/a changed")
        .says("not cached: the step above ran again")
        .says_nothing_of("never built");
    hoist.file("src/b", "2");
    hoist.file("src/c", "2");
    build(&hoist, &[]).says("not cached: 2 files changed: src/b, src/c");
    build(&hoist, &["--build-arg", "VERSION=2"])
        .says("not cached: build argument VERSION: 1 → 2")
        .says("not cached: stage made has other files");
    build(&hoist, &["--no-cache"]).says("not cached: --no-cache");
    hoist.file(
        "Dockerfile",
        "FROM tiny AS made\nARG VERSION=1\nCOPY src /src\nRUN echo other > /v\nFROM tiny\nCOPY --from=made /v /v\n",
    );
    build(&hoist, &[]).says("not cached: the instruction changed");
    hoist.file("Dockerfile", "FROM tiny\nRUN exit 3\n");
    let context = hoist.dir().display().to_string();
    let failing = ["image", "build", "--progress", "plain", "-t", "x", &context];
    hoist.global(&failing).code(1);
    hoist
        .global(&failing)
        .code(1)
        .says("not cached: it did not succeed the last time");
    // Another base, by name the same.
    hoist.file("Dockerfile", "FROM base\nRUN echo x > /x\n");
    for text in ["one", "two"] {
        hoist.file(
            "Dockerfile.base",
            format!("FROM tiny\nRUN echo {text} > /base\n"),
        );
        let file = hoist.dir().join("Dockerfile.base").display().to_string();
        hoist
            .global(&["image", "build", "-t", "base", "-f", &file, &context])
            .ok();
        let said = build(&hoist, &[]);
        if text == "two" {
            said.says("not cached: base image base is now sha256:");
        }
    }
}

fn secrets_are_in_no_reason_and_no_record() {
    let hoist = Sandbox::new();
    hoist.set("https_proxy", "http://user:hunter2@proxy.example:1");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nARG https_proxy\nARG API_TOKEN\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null; echo > /x\n",
    );
    for secret in ["hunter2", "hunter3"] {
        let path = hoist
            .file("secret", format!("{secret}\n"))
            .display()
            .to_string();
        let text = format!("id=s,src={path}");
        let token = format!("API_TOKEN={secret}");
        let said = build(&hoist, &["--secret", &text, "--build-arg", &token]);
        let reasons: String = said
            .all()
            .lines()
            .filter(|line| line.contains("not cached"))
            .collect();
        assert!(
            !reasons.is_empty() && !reasons.contains(secret),
            "{reasons}"
        );
    }
    for dir in ["cache/seen", "cache/steps", "cache/lists"] {
        let found = Command::new("grep")
            .args(["-rl", "hunter"])
            .arg(hoist.data().join(dir))
            .output()
            .expect("grep runs");
        assert!(
            found.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&found.stdout)
        );
    }
}

fn a_step_that_two_builds_need_is_done_once() {
    let hoist = Sandbox::new();
    let slow =
        "RUN --mount=type=cache,id=c,target=/c echo run >> /c/runs; sleep 1; date +%s%N > /made";
    hoist.file("Dockerfile", format!("FROM tiny\n{slow}\n"));
    hoist.compose("services:\n  a: {build: ., image: a}\n  b: {build: ., image: b}\n");
    // Two processes, and two builds in each.
    let mut both = [hoist.start("build"), hoist.start("build")];
    for one in &mut both {
        assert_eq!(one.wait(), 0, "{}", one.text());
    }
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN --mount=type=cache,id=c,target=/c cat /c/runs > /runs\nCMD [\"cat\", \"/runs\"]\n",
    );
    hoist.ok("build a");
    let runs = hoist.ok("run --rm -T a").out;
    assert_eq!(runs.trim(), "run");
}

fn a_build_that_was_killed_holds_nobody_up() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo begun; test -e /never || sleep ${T:-0}\nARG T=3600\nRUN echo begun; sleep $T\n");
    hoist.compose("services:\n  a: {build: .}\n");
    let running = hoist.start("--progress plain build");
    running.says("RUN echo begun; sleep");
    running.signal(nix::sys::signal::Signal::SIGKILL);
    drop(running);
    hoist.ok("--progress plain build --build-arg T=0");
    // The same step as the one that was killed is free too.
    let again = hoist.start("--progress plain build");
    again.says("RUN echo begun; sleep");
    again.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(again.end(), 130);
    hoist.global(&["cache", "prune", "-f", "-a"]).ok();
    assert_eq!(rows(&hoist), Vec::<Value>::new());
}

fn a_base_of_the_same_layers_with_another_config_lends_nothing() {
    let hoist = Sandbox::new();
    for (base, more) in [
        ("one", "ENV X=1"),
        ("two", "ENV X=2"),
        ("three", "ENV X=1\nUSER 7"),
        ("four", "ENV X=1\nWORKDIR /tmp"),
        ("five", "ENV X=1\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]"),
    ] {
        hoist.file(
            "Dockerfile",
            format!("FROM tiny\nRUN mkdir -p /tmp && chmod 1777 /tmp\n{more}\n"),
        );
        let context = hoist.dir().display().to_string();
        hoist.global(&["image", "build", "-t", base, &context]).ok();
        hoist.file(
            "Dockerfile",
            format!("FROM {base}\nRUN echo $X $(id -u) $(pwd) > /tmp/made\n"),
        );
        build(&hoist, &[]).says_nothing_of("CACHED");
    }
}

fn a_cache_goes_to_another_machine_with_its_cache_mounts() {
    let hoist = Sandbox::new();
    let file = "FROM tiny AS made\nRUN --mount=type=cache,id=m,target=/m echo kept > /m/file; ln -s file /m/link; echo x > /x; echo z > /z\n\
                FROM tiny\nCOPY --from=made /x /x\nWORKDIR /w\n";
    hoist.file("Dockerfile", file);
    build(&hoist, &[]);
    let archive = hoist.dir().join("cache");
    std::fs::create_dir(&archive).expect("the directory is writable");
    let archive = archive.display().to_string();
    hoist
        .global(&["cache", "export", &archive])
        .ok()
        .says("3 steps, 3 layers, 1 cache mounts");
    let other = Sandbox::new();
    other.file("Dockerfile", file);
    other
        .global(&["cache", "import", &archive])
        .ok()
        .says("3 steps, 3 layers, 1 cache mounts");
    let second = build(&other, &[]);
    assert_eq!(
        second.all().matches("CACHED").count(),
        3,
        "{}",
        second.story()
    );
    // Once more changes nothing.
    other
        .global(&["cache", "import", &archive])
        .ok()
        .says("stay as they are");
    other.file(
        "Dockerfile",
        "FROM tiny\nRUN --mount=type=cache,id=m,target=/m cat /m/link > /out\nCMD [\"cat\", \"/out\"]\n",
    );
    build(&other, &[]);
    other.compose("services:\n  a: {image: x}\n");
    other.ok("run --rm -T a").prints("kept");
    // Through a pipe, only what one image is made of, without mounts.
    hoist.file("Dockerfile", "FROM tiny\nRUN echo y > /y\n");
    let context = hoist.dir().display().to_string();
    hoist.global(&["image", "build", "-t", "y", &context]).ok();
    let to = hoist.dir().join("y.tar.zst").display().to_string();
    hoist
        .global(&["cache", "export", "--tag", "x", "--mounts", "none", &to])
        .ok()
        .says("3 steps, 3 layers, 0 cache mounts");
}

fn a_cache_archive_that_is_cut_off_changes_nothing() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN --mount=type=cache,id=m,target=/m echo kept > /m/file; echo x > /x\n",
    );
    build(&hoist, &[]);
    let path = hoist.dir().join("cache.tar.zst");
    let archive = path.display().to_string();
    hoist.global(&["cache", "export", &archive]).ok();
    let bytes = std::fs::read(&path).expect("it was just written");
    let other = Sandbox::new();
    for length in [0, 100, bytes.len() / 2, bytes.len() - 20] {
        std::fs::write(&path, &bytes[..length]).expect("it is writable");
        other.global(&["cache", "import", &archive]).code(1);
        assert_eq!(rows(&other), Vec::<Value>::new());
    }
    // An archive that was changed is refused where it was.
    for at in (200..bytes.len()).step_by(bytes.len() / 7 + 1) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        std::fs::write(&path, &changed).expect("it is writable");
        let done = other.global(&["cache", "import", &archive]);
        assert!(
            done.code == 1 || !rows(&other).is_empty(),
            "{}",
            done.story()
        );
    }
}

fn the_cache_is_listed_and_pruned_and_images_stay_whole() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny AS made\nRUN --mount=type=cache,id=m,target=/m echo kept > /m/file; echo hidden > /x; echo z > /z\n\
         FROM tiny\nCOPY --from=made /x /x\nRUN echo shown > /y\nCMD [\"cat\", \"/y\"]\n",
    );
    build(&hoist, &[]);
    let kinds = |hoist: &Sandbox| {
        let mut kinds: Vec<String> = rows(hoist)
            .iter()
            .map(|row| format!("{} {}", row["Type"].as_str().unwrap_or(""), row["Shared"]))
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(
        kinds(&hoist),
        [
            "exec.cachemount false",
            "regular false",
            "regular true",
            "regular true"
        ]
    );
    hoist
        .global(&["cache", "ls"])
        .ok()
        .says("cache mount m")
        .says("RUN echo shown > /y")
        .says("Total:");
    hoist.global(&["cache", "prune"]).code(1).says("--force");
    hoist
        .global(&["cache", "prune", "-f", "--filter", "until=24h"])
        .ok();
    hoist
        .global(&["cache", "prune", "-f", "--keep-storage", "10GB"])
        .ok();
    assert_eq!(rows(&hoist).len(), 4);
    hoist
        .global(&["cache", "prune", "-f", "--filter", "type=exec.cachemount"])
        .ok()
        .says("cache mount m");
    let before = layers(&hoist).len();
    hoist.global(&["cache", "prune", "-f"]).ok();
    assert_eq!(kinds(&hoist), ["regular true", "regular true"]);
    assert_eq!(layers(&hoist).len(), before - 1);
    hoist.global(&["cache", "prune", "-af"]).ok();
    assert_eq!(rows(&hoist), Vec::<Value>::new());
    assert_eq!(layers(&hoist).len(), before - 1);
    hoist.compose("services:\n  a: {image: x}\n");
    hoist.ok("run --rm -T a").prints("shown");
    let again = build(&hoist, &[]);
    assert_eq!(
        again.all().matches("CACHED").count(),
        0,
        "{}",
        again.story()
    );
    // An image that goes leaves the cache, which is cleared by its own command.
    hoist.global(&["image", "rm", "x"]).ok();
    let cached = build(&hoist, &[]);
    assert_eq!(
        cached.all().matches("CACHED").count(),
        3,
        "{}",
        cached.story()
    );
    hoist
        .global(&["cache", "ls", "--filter", "nope=1"])
        .code(1)
        .says("the names are");
}

fn a_directory_keeps_a_cache_and_a_damaged_one_is_no_harm() {
    let hoist = Sandbox::new();
    stages(&hoist);
    let dir = hoist.dir().join("kept");
    let to = format!("type=local,dest={},mode=max", dir.display());
    let from = format!("type=local,src={}", dir.display());
    hoist.file(".dockerignore", "kept\n");
    build(&hoist, &["--cache-to", &to]);
    let other = Sandbox::new();
    stages(&other);
    let second = build(&other, &["--cache-from", &from]);
    assert_eq!(
        second.all().matches("CACHED").count(),
        5,
        "{}",
        second.story()
    );
    let blobs = |dir: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir.join("blobs/sha256")).expect("there are blobs");
        entries
            .map(|entry| entry.expect("it can be read").path())
            .collect()
    };
    let count = blobs(&dir).len();
    build(&hoist, &["--cache-to", &format!("{to},reset=true")]);
    assert_eq!(blobs(&dir).len(), count);
    // Layers that are not what they should be are not used, nor is what is no file.
    for path in blobs(&dir) {
        let bytes = std::fs::read(&path).expect("it can be read");
        if bytes.first() == Some(&0x1f) {
            std::fs::remove_file(&path).expect("it is writable");
            std::os::unix::fs::symlink("/dev/zero", &path).expect("it is writable");
        }
    }
    let third = Sandbox::new();
    stages(&third);
    let text = build(&third, &["--cache-from", &from]);
    // What a step copies from another that has made the same within the same second is known by then.
    assert!(
        text.all().matches("CACHED").count() <= 1,
        "{}",
        text.story()
    );
    text.says("is not used");
    third.compose("services:\n  a: {image: x}\n");
    third.ok("run --rm -T a").prints("one 1\nf");
    std::fs::write(dir.join("index.json"), "{").expect("it is writable");
    build(&third, &["--cache-from", &from, "--no-cache"]);
}

fn a_cache_option_that_is_wrong_is_refused_with_what_to_write() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\n");
    let context = hoist.dir().display().to_string();
    for (flag, text, said) in [
        ("--cache-from", "type=gha", "type=registry"),
        ("--cache-to", "type=s3,bucket=x", "not supported"),
        ("--cache-to", "type=azblob,name=x", "not supported"),
        ("--cache-to", "type=registry", "it needs `ref`"),
        ("--cache-from", "type=local,src=x,mode=max", "has no `mode`"),
    ] {
        hoist
            .global(&["image", "build", flag, text, &context])
            .code(1)
            .says(said);
    }
}
