//! `image save`, `load` and `import`, with skopeo and a registry as judges of what comes and goes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::pull::{REGISTRY, Registry};
use crate::harness::leftovers::children;
use crate::harness::process::{Done, Running, finish};
use crate::harness::{ENGINE, Need, Sandbox, eventually, image, peer};

crate::cases!(ENGINE;
    names_choose_what_is_saved_and_archives_say_what_they_hold,
    what_is_written_appears_whole_and_nothing_else_does,
    archives_are_loaded_however_they_are_compressed,
    an_image_of_several_platforms_is_saved_and_loaded_with_all_or_one_of_them,
    a_load_that_is_killed_leaves_nothing_half,
    an_imported_root_file_system_has_the_digest_of_its_archive,
    terminals_get_no_archives,
);

/// With those who know archives too.
pub const JUDGED: &[crate::harness::Case] = &[crate::harness::Case {
    name: concat!(
        module_path!(),
        "::digests_survive_the_way_through_registries_and_archives"
    ),
    needs: &[
        Need::Root,
        Need::Busybox,
        Need::Program(REGISTRY),
        Need::Program("curl"),
        Need::Program("skopeo"),
    ],
    run: digests_survive_the_way_through_registries_and_archives,
}];

/// Against Docker's own.
pub const PEER: &[crate::harness::Case] = &[crate::harness::Case {
    name: concat!(module_path!(), "::beside_docker_images_go_both_ways"),
    needs: &[Need::Root, Need::Busybox, Need::Peer],
    run: beside_docker_images_go_both_ways,
}];

fn id(hoist: &Sandbox, image: &str) -> String {
    let text = hoist.global(&["image", "inspect", image]).ok().out;
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0]["Id"].as_str().expect("an id").to_owned()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// One file of an archive.
fn member(archive: &Path, name: &str) -> Value {
    let mut tar = tar::Archive::new(std::fs::File::open(archive).expect("it was written"));
    let entries = tar.entries().expect("an archive");
    for entry in entries {
        let entry = entry.expect("an entry");
        if entry.path().expect("a path") == Path::new(name) {
            return serde_json::from_reader(entry).expect("JSON");
        }
    }
    panic!("no {name} in {}", archive.display());
}

fn names_choose_what_is_saved_and_archives_say_what_they_hold() {
    let hoist = Sandbox::new();
    let own = id(&hoist, "tiny");
    for name in ["many:one", "many:two", "localhost:5000/x/y:z"] {
        hoist.ok(&format!("image tag tiny {name}"));
    }
    hoist.ok("image save many localhost:5000/x/y:z -o a.tar");
    let archive = hoist.dir().join("a.tar");
    let listed = member(&archive, "manifest.json");
    assert_eq!(
        listed[0]["RepoTags"],
        serde_json::json!(["many:one", "many:two", "localhost:5000/x/y:z"])
    );
    let index = member(&archive, "index.json");
    assert_eq!(
        index["manifests"][2]["annotations"],
        serde_json::json!({"io.containerd.image.name": "localhost:5000/x/y:z", "org.opencontainers.image.ref.name": "z"})
    );
    assert_eq!(
        member(&archive, "repositories")["many"]["one"],
        listed[0]["Layers"][0].as_str().expect("a name")[13..]
    );
    let other = Sandbox::empty();
    other
        .global(&["image", "load", "-q", "-i", &text(&archive)])
        .ok()
        .prints(
            "Loaded image: many:one\nLoaded image: many:two\nLoaded image: localhost:5000/x/y:z",
        );
    // By id it has no name.
    hoist.ok(&format!("image save {own} -o b.tar"));
    assert_eq!(
        member(&hoist.dir().join("b.tar"), "manifest.json")[0]["RepoTags"],
        Value::Null
    );
    let bare = Sandbox::empty();
    bare.global(&["image", "load", "-i", &text(&hoist.dir().join("b.tar"))])
        .ok()
        .prints(&format!("Loaded image ID: {own}"));
    // A name that is taken away is said.
    hoist.ok("image import --message other a.tar many:one");
    let had = id(&hoist, "many:one");
    hoist.run("image load -i a.tar").ok().says(&format!(
        "The image many:one already exists, renaming the old one with ID {had} to empty string"
    ));
}

fn what_is_written_appears_whole_and_nothing_else_does() {
    let hoist = Sandbox::new();
    let before = children(&hoist.dir()).len();
    hoist
        .run("image save tiny nosuch -o a.tar")
        .code(1)
        .says("no such image: nosuch");
    hoist
        .run("image save tiny -o .")
        .code(1)
        .says("cannot write to a directory");
    hoist
        .run("image save tiny -o missing/a.tar")
        .code(1)
        .says("invalid output path: stat")
        .says("no such file or directory");
    hoist
        .run("image save tiny --platform linux/nosuch -o a.tar")
        .code(1)
        .says("no suitable export target found for platform linux/nosuch");
    hoist
        .run("image save tiny --format oci-dir")
        .code(1)
        .says("-o");
    assert_eq!(children(&hoist.dir()).len(), before);
    for format in ["oci-dir", "docker-dir"] {
        hoist.ok(&format!("image save tiny --format {format} -o {format}"));
        hoist
            .run(&format!("image save tiny --format {format} -o {format}"))
            .code(1)
            .says("is there already and not empty");
        let other = Sandbox::empty();
        other
            .global(&["image", "load", "-i", &text(&hoist.dir().join(format))])
            .ok();
        assert_eq!(
            other
                .global(&["image", "ls", "-q", "--no-trunc"])
                .ok()
                .out
                .trim(),
            id(&hoist, "tiny")
        );
    }
    // A layer that is no more what it was is no archive.
    let layers = hoist.data().join("layers");
    let layer = children(&layers)
        .into_iter()
        .find(|path| path.join("seed").is_dir());
    std::fs::write(
        layer.expect("the layer").join("seed/grain"),
        "from elsewhere\n",
    )
    .expect("it is writable");
    hoist
        .run("image save tiny -o a.tar")
        .code(1)
        .says("was changed on disk");
    assert!(!hoist.dir().join("a.tar").exists());
}

fn archives_are_loaded_however_they_are_compressed() {
    let hoist = Sandbox::new();
    let own = id(&hoist, "tiny");
    for how in ["none", "gzip", "zstd"] {
        hoist.ok(&format!(
            "image save tiny --compression-format {how} -o {how}.tar"
        ));
        let archive =
            std::fs::read(hoist.dir().join(format!("{how}.tar"))).expect("it was written");
        let other = Sandbox::empty();
        other
            .pipe("image load", &archive)
            .ok()
            .prints("Loaded image: tiny:latest");
        assert_eq!(id(&other, "tiny"), own, "{how}");
        other.ok("image save tiny -o again.tar");
        let again = std::fs::read(other.dir().join("again.tar")).expect("it was written");
        assert!(
            again == archive,
            "{how}: the archive of what was loaded is the one it came from"
        );
        // The archive as a whole.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &archive).expect("memory");
        let mut packed = gzip.finish().expect("memory");
        packed.extend([0; 700]);
        Sandbox::empty()
            .pipe("image load", &packed)
            .ok()
            .prints("Loaded image: tiny:latest");
    }
}

fn an_image_of_several_platforms_is_saved_and_loaded_with_all_or_one_of_them() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n",
    );
    hoist.ok("image build --platform linux/s390x,linux/amd64,linux/arm64 -t several .");
    hoist.ok("image save several -o all.tar");
    hoist.ok("image save several --platform linux/s390x --format oci-archive -o one.tar");
    let all = text(&hoist.dir().join("all.tar"));
    let count = |hoist: &Sandbox| {
        hoist
            .global(&["image", "ls", "-q", "-a"])
            .ok()
            .out
            .lines()
            .count()
    };
    let architecture = |hoist: &Sandbox| {
        let text = hoist.global(&["image", "inspect", "several"]).ok().out;
        let found: Value = serde_json::from_str(&text).expect("JSON");
        found[0]["Architecture"].as_str().expect("one").to_owned()
    };
    let other = Sandbox::empty();
    other
        .global(&["image", "load", "-i", &all])
        .ok()
        .prints("Loaded image: several:latest");
    assert_eq!(count(&other), 3);
    let again = other.dir().join("again.tar");
    other.ok("image save several -o again.tar");
    assert!(
        std::fs::read(again).ok() == std::fs::read(&all).ok(),
        "all of it went both ways"
    );
    let other = Sandbox::empty();
    other
        .global(&["image", "load", "-i", &all, "--platform", "linux/arm64"])
        .ok();
    assert_eq!(
        (count(&other), architecture(&other)),
        (1, "arm64".to_owned())
    );
    other
        .global(&["image", "load", "-i", &all, "--platform", "linux/riscv64"])
        .code(1)
        .says("no image of the archive is for linux/riscv64");
    other
        .global(&["image", "load", "-i", &all, "--platform", "a/b/c/d"])
        .code(1)
        .says("invalid platform: \"a/b/c/d\": cannot parse platform specifier");
    let other = Sandbox::empty();
    other
        .global(&["image", "load", "-i", &text(&hoist.dir().join("one.tar"))])
        .ok();
    assert_eq!(
        (count(&other), architecture(&other)),
        (1, "s390x".to_owned())
    );
}

fn a_load_that_is_killed_leaves_nothing_half() {
    let hoist = Sandbox::new();
    hoist.ok("image save tiny -o a.tar");
    let archive = std::fs::read(hoist.dir().join("a.tar")).expect("it was written");
    let other = Sandbox::empty();
    other
        .pipe("image load", &archive[..archive.len() / 2])
        .code(1)
        .says("the archive");
    let staging = other.data().join("layers/.staging");
    assert_eq!(
        children(&staging),
        Vec::<PathBuf>::new(),
        "a cut leaves nothing"
    );
    let mut command = other.command(&["image", "load"]);
    command.stdin(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut pipe = child.stdin.take().expect("asked for");
    std::io::Write::write_all(&mut pipe, &archive[..archive.len() / 2]).expect("it reads");
    eventually("it is at work", || {
        (!children(&staging).is_empty()).then_some(())
    });
    child.kill().expect("it runs");
    child.wait().expect("it ran");
    other.global(&["image", "ls", "-q"]).ok().prints("");
    assert_eq!(
        children(&staging),
        Vec::<PathBuf>::new(),
        "the next command clears it away"
    );
    other.pipe("image load", &archive).ok();
    assert_eq!(id(&other, "tiny"), id(&hoist, "tiny"));
}

fn an_imported_root_file_system_has_the_digest_of_its_archive() {
    let hoist = Sandbox::empty();
    let archive = std::fs::read(image::archive()).expect("it is there");
    hoist
        .pipe("image import --platform linux/arm/v6 - piped", &archive)
        .ok();
    let text = hoist.global(&["image", "inspect", "piped"]).ok().out;
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let digits: String = Sha256::digest(&archive)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(found[0]["RootFS"]["Layers"][0], format!("sha256:{digits}"));
    assert_eq!(
        (&found[0]["Architecture"], &found[0]["Variant"]),
        (&"arm".into(), &"v6".into())
    );
    assert_eq!(found[0]["Comment"], "Imported from -");
    hoist
        .global(&[
            "image",
            "import",
            "-c",
            "RUN x",
            "-c",
            "ENV A=b\nSHELL [\"x\"]",
            "-",
            "x",
        ])
        .code(1)
        .says("--change:1:1: RUN is not a valid change command")
        .says("--change:3:1: SHELL is not a valid change command");
    hoist
        .pipe("image import --platform windows/amd64 -", &archive)
        .code(1)
        .says("operating system is not supported");
    hoist
        .pipe(&format!("image import - x@sha256:{digits}"), &archive)
        .code(1)
        .says("cannot import digest reference");
    hoist
        .run("image import http://127.0.0.1:1/x.tar")
        .code(1)
        .says("cannot import http://127.0.0.1:1/x.tar");
}

fn terminals_get_no_archives() {
    let hoist = Sandbox::new();
    let says = |arguments: &[&str], text: &str| {
        let running = Running::on_terminal(&hoist.command(arguments), 24, 200);
        running.says(text);
        assert_eq!(running.end(), 1);
    };
    says(
        &["image", "save", "tiny"],
        "cowardly refusing to save to a terminal. Use the -o flag or redirect",
    );
    says(
        &["image", "load"],
        "requested load from stdin, but stdin is empty",
    );
}

fn skopeo(dir: &Path, arguments: &str) -> Done {
    let mut command = Command::new("skopeo");
    command.current_dir(dir).args(["--insecure-policy"]);
    command.args(arguments.split_whitespace());
    finish(command, None, Duration::from_secs(60))
}

/// Digest of the manifest that a place of skopeo's has.
fn digest_at(dir: &Path, place: &str) -> String {
    let tls = if place.starts_with("docker:") {
        "--tls-verify=false"
    } else {
        ""
    };
    let raw = skopeo(dir, &format!("inspect --raw {tls} {place}"))
        .ok()
        .out;
    Sha256::digest(raw.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn digests_survive_the_way_through_registries_and_archives() {
    let hoist = Sandbox::new();
    let registry = Registry::start(&hoist);
    let own = id(&hoist, "tiny");
    hoist.ok("image save tiny -o tiny.tar");
    let dir = hoist.dir();
    for (tag, flags) in [
        ("schema2", "--format v2s2"),
        ("oci", "--format oci"),
        ("plain", "--preserve-digests"),
        (
            "zstd",
            "--format oci --dest-compress-format zstd --dest-compress",
        ),
    ] {
        let name = registry.name(&format!("way:{tag}"));
        let from = match tag {
            // On its way to a registry skopeo compresses what it may change.
            "plain" => {
                skopeo(&dir, "copy --dest-oci-accept-uncompressed-layers docker-archive:tiny.tar:tiny:latest oci:plain").ok();
                "oci:plain"
            }
            _ => "docker-archive:tiny.tar:tiny:latest",
        };
        skopeo(
            &dir,
            &format!("copy --dest-tls-verify=false {flags} {from} docker://{name}"),
        )
        .ok();
        let there = digest_at(&dir, &format!("docker://{name}"));
        let other = Sandbox::empty();
        other.ok(&format!("image pull {name}"));
        let pulled = id(&other, &name);
        assert!(
            tag != "schema2" || pulled == own,
            "the id is the same everywhere"
        );
        for format in ["docker-archive", "oci-archive", "oci-dir"] {
            other.ok(&format!("image save --format {format} {name} -o {format}"));
            let last = Sandbox::empty();
            let path = other.dir().join(format);
            last.global(&["image", "load", "-i", &text(&path)])
                .ok()
                .prints(&format!("Loaded image: {name}"));
            assert_eq!(id(&last, &name), pulled, "{tag} {format}");
            last.ok(&format!("image save --format oci-dir {name} -o back"));
            assert_eq!(digest_at(&last.dir(), "oci:back"), there, "{tag} {format}");
        }
        let place = if tag == "schema2" {
            "oci:oci-dir"
        } else {
            "oci-archive:oci-archive"
        };
        let back = registry.name(&format!("back:{tag}"));
        skopeo(
            &other.dir(),
            &format!("copy --dest-tls-verify=false --preserve-digests {place} docker://{back}"),
        )
        .ok();
        assert_eq!(digest_at(&dir, &format!("docker://{back}")), there, "{tag}");
        // And to another registry by ourselves, from where it was pulled.
        let again = registry.name(&format!("again/{tag}:1"));
        other.ok(&format!("image tag {name} {again}"));
        other.ok(&format!("image push {again}"));
        assert_eq!(
            digest_at(&dir, &format!("docker://{again}")),
            there,
            "{tag}"
        );
    }
    // What skopeo makes of ours, and back.
    for place in [
        "docker-archive:made",
        "oci-archive:made",
        "oci:made",
        "dir:made",
    ] {
        let made = hoist.dir().join("made");
        drop(std::fs::remove_file(&made));
        drop(std::fs::remove_dir_all(&made));
        skopeo(&dir, &format!("copy docker-archive:tiny.tar {place}")).ok();
        let other = Sandbox::empty();
        other
            .global(&["image", "load", "-i", &text(&made)])
            .ok()
            .says("Loaded image ID: sha256:");
    }
}

fn beside_docker_images_go_both_ways() {
    let hoist = Sandbox::new();
    let dir = hoist.dir();
    let docker = |line: &str| {
        let mut command = Command::new(peer());
        command.current_dir(&dir).args(["run", line]);
        finish(command, None, Duration::from_secs(120))
    };
    let name = format!("hsd-{}-{}", std::process::id(), hoist.name);
    let own = id(&hoist, "tiny");
    hoist.ok(&format!("image tag tiny {name}:ours"));
    hoist.file(
        "Dockerfile",
        format!("FROM {name}:ours\nRUN rm /seed/grain && ln /etc/passwd /etc/again\nCMD [\"x\"]\n"),
    );
    for how in ["none", "gzip", "zstd"] {
        hoist.ok(&format!(
            "image save {name}:ours --compression-format {how} -o ours.tar"
        ));
        docker("docker load -i ours.tar")
            .ok()
            .prints(&format!("Loaded image: {name}:ours"));
        let seen = docker(&format!(
            "docker image inspect {name}:ours --format '{{{{.Id}}}}'"
        ))
        .ok()
        .out;
        assert_eq!(seen.trim(), own, "{how}");
        docker(&format!("docker rmi {name}:ours")).ok();
    }
    // And Docker's to here and back.
    docker("docker load -i ours.tar").ok();
    docker(&format!("docker build -q -t {name}:theirs .")).ok();
    let theirs = docker(&format!(
        "docker image inspect {name}:theirs --format '{{{{.Id}}}}'"
    ))
    .ok()
    .out;
    docker(&format!("docker save {name}:theirs -o theirs.tar && chmod 644 theirs.tar && docker rmi {name}:theirs")).ok();
    hoist
        .ok("image load -i theirs.tar")
        .prints(&format!("Loaded image: {name}:theirs"));
    assert_eq!(id(&hoist, &format!("{name}:theirs")), theirs.trim());
    hoist.ok(&format!("image save {name}:theirs -o back.tar"));
    let (came, went) = (dir.join("theirs.tar"), dir.join("back.tar"));
    assert_eq!(
        member(&went, "index.json")["manifests"][0]["digest"],
        member(&came, "index.json")["manifests"][0]["digest"]
    );
    assert_eq!(
        member(&went, "manifest.json"),
        member(&came, "manifest.json")
    );
    docker("docker load -i back.tar").ok();
    let again = docker(&format!(
        "docker image inspect {name}:theirs --format '{{{{.Id}}}}'"
    ))
    .ok()
    .out;
    assert_eq!(again, theirs);
    docker(&format!("docker rmi {name}:theirs {name}:ours")).ok();
}
