//! What a build makes besides an image in the store: directories, archives, files about the result.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;

use super::pull::{REGISTRY, Registry};
use crate::harness::{ENGINE, Need, Sandbox, http};

crate::cases!(ENGINE;
    files_of_an_image_come_into_a_directory_and_as_an_archive,
    several_platforms_have_a_directory_each,
    archives_of_an_image_are_made_without_keeping_it,
    an_output_that_cannot_be_is_refused_before_anything_is_built,
    nothing_half_made_stays_where_an_output_should_be,
    what_is_known_of_the_result_is_written_to_files,
    what_docker_takes_is_taken,
);

/// Cases with a registry.
pub const PUSHES: &[crate::harness::Case] = &[crate::harness::Case {
    name: concat!(module_path!(), "::an_output_is_pushed_under_its_names"),
    needs: &[Need::Root, Need::Busybox, Need::Program(REGISTRY)],
    run: an_output_is_pushed_under_its_names,
}];

/// Names of images, and how many have none.
fn images(hoist: &Sandbox) -> Vec<String> {
    let text = hoist.global(&["image", "ls", "--format", "json"]).ok().out;
    let rows = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.map(|row| row["Repository"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn listing(hoist: &Sandbox, archive: &str) -> Vec<String> {
    let path = hoist.dir().join(archive);
    let done = std::process::Command::new("tar")
        .arg("-tf")
        .arg(path)
        .output();
    let text = String::from_utf8(done.expect("tar runs").stdout).expect("names are text");
    text.lines().map(str::to_owned).collect()
}

fn files_of_an_image_come_into_a_directory_and_as_an_archive() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny AS build\nRUN mkdir -p /o/d && echo hi > /o/d/a && chmod 640 /o/d/a && ln -s d/a /o/link && ln /o/d/a /o/b && \
         chown -R 1234:1234 /o && touch -d '2020-02-02 02:02:02' /o/d/a\nFROM scratch\nCOPY --from=build /o /\n",
    );
    let before = images(&hoist);
    hoist.file("out/mine", "stays\n");
    hoist.file("out/b", "goes\n");
    let done = hoist.ok("image build --progress plain -o out .");
    let done = done.says("exporting to client directory");
    let done = done.says_nothing_of("exporting to image");
    assert_eq!(done.out, "", "there is no image to name");
    let read = |path: &str| std::fs::read_to_string(hoist.dir().join(path)).expect(path);
    for (path, text) in [
        ("out/d/a", "hi\n"),
        ("out/link", "hi\n"),
        ("out/b", "hi\n"),
        ("out/mine", "stays\n"),
    ] {
        assert_eq!(read(path), text, "{path}");
    }
    let found = std::fs::symlink_metadata(hoist.dir().join("out/d/a")).expect("it is there");
    assert_eq!(found.permissions().mode() & 0o7777, 0o640);
    assert_eq!(
        (found.uid(), found.mtime()),
        (0, 1_580_608_922),
        "the caller's, from then"
    );
    let again = std::fs::metadata(hoist.dir().join("out/b")).expect("it is there");
    assert_eq!(again.ino(), found.ino(), "two names of one file");
    hoist.ok("image build -o type=local,dest=new/deep .");
    assert_eq!(read("new/deep/d/a"), "hi\n");
    hoist.ok("image build -o type=tar,dest=o.tar .");
    assert_eq!(listing(&hoist, "o.tar"), ["b", "d/", "d/a", "link"]);
    let piped = hoist.ok("image build -o - .");
    let archive = std::fs::read(hoist.dir().join("o.tar")).expect("it is there");
    assert_eq!(piped.out.len(), archive.len());
    assert_eq!(images(&hoist), before, "nothing of it is in the store");
    hoist.ok("image build -o type=local,dest=again -o type=tar,dest=again.tar -t kept --load .");
    assert_eq!(read("again/d/a"), "hi\n");
    assert_eq!(listing(&hoist, "again.tar").len(), 4);
    assert!(images(&hoist).contains(&"kept".to_owned()));
}

fn several_platforms_have_a_directory_each() {
    let hoist = Sandbox::new();
    hoist.file("a", "1\n");
    hoist.file(
        "Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY a /for-$TARGETARCH\n",
    );
    let flags = "--platform linux/amd64 --platform linux/arm/v6";
    hoist.ok(&format!("image build {flags} -o out ."));
    for path in ["out/linux_amd64/for-amd64", "out/linux_arm_v6/for-arm"] {
        assert!(hoist.dir().join(path).is_file(), "{path}");
    }
    hoist.ok(&format!("image build {flags} -o type=tar,dest=o.tar ."));
    assert_eq!(
        listing(&hoist, "o.tar"),
        [
            "linux_amd64/",
            "linux_amd64/for-amd64",
            "linux_arm_v6/",
            "linux_arm_v6/for-arm"
        ]
    );
    hoist.ok(&format!(
        "image build {flags} -o type=local,dest=one,platform-split=false ."
    ));
    for path in ["one/for-amd64", "one/for-arm"] {
        assert!(hoist.dir().join(path).is_file(), "{path}");
    }
    hoist
        .run(&format!("image build {flags} -o type=docker,dest=d.tar ."))
        .code(1)
        .says("use type=oci for several");
    assert!(!hoist.dir().join("d.tar").exists());
}

fn archives_of_an_image_are_made_without_keeping_it() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo hi > /hi\n");
    let before = images(&hoist);
    hoist.ok("image build -t app:1 -o type=oci,dest=o.tar .");
    hoist.ok("image build -o type=docker,name=app:2,dest=d.tar .");
    hoist.ok("image build -t app:3 -o type=oci,tar=false,dest=layout .");
    assert_eq!(images(&hoist), before);
    hoist.ok("image load -i o.tar").says("Loaded image: app:1");
    hoist.ok("image load -i d.tar").says("Loaded image: app:2");
    let index = std::fs::read(hoist.dir().join("layout/index.json")).expect("it is there");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
    hoist.file("Dockerfile", "FROM layout\nRUN [ \"$(cat /hi)\" = hi ]\n");
    hoist.ok("image build --build-context layout=oci-layout://layout:3 -o type=cacheonly .");
}

fn an_output_that_cannot_be_is_refused_before_anything_is_built() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo ran\n");
    hoist.file("dir/a", "");
    for (flags, said) in [
        ("-o Dockerfile", "/Dockerfile is a file"),
        ("-o type=tar,dest=dir", "destination file"),
        ("-o type=tar,dest=none/x.tar", "there is no directory"),
        ("-o type=foo", "exporter \"foo\" could not be found"),
        ("-o type=local", "dest is required for local exporter"),
        ("--push", "tag is needed when pushing to registry"),
        ("-o out --iidfile id", "incompatible with image ID file"),
        ("-o - -o type=oci", "both"),
        ("--builder other", "no builder \"other\" found"),
    ] {
        hoist
            .run(&format!("image build --progress plain {flags} ."))
            .code(1)
            .says(said)
            .says_nothing_of("load build definition");
    }
}

fn nothing_half_made_stays_where_an_output_should_be() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN false\n");
    hoist.file("o.tar", "as it was\n");
    hoist
        .run("image build -o type=tar,dest=o.tar .")
        .code(1)
        .says("exit code: 1");
    let text = std::fs::read_to_string(hoist.dir().join("o.tar")).expect("it is there");
    assert_eq!(text, "as it was\n");
    // A file of the image where the user has a directory, and the other way round.
    hoist.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /a/b\n");
    hoist.file("out/a", "");
    hoist.run("image build -o out .").code(1).says("out/a");
    hoist.file("other/a/b/c", "");
    hoist
        .run("image build -o other .")
        .code(1)
        .says("other/a/b");
    // A link in the directory leads nowhere.
    std::fs::create_dir_all(hoist.dir().join("linked")).expect("directories can be made");
    let target = hoist.dir().join("target");
    std::fs::create_dir_all(&target).expect("directories can be made");
    std::os::unix::fs::symlink(&target, hoist.dir().join("linked/a")).expect("links can be made");
    hoist.run("image build -o linked .").code(1);
    assert!(!target.join("b").exists());
    let names = std::fs::read_dir(hoist.dir()).expect("it is there");
    let hidden =
        names.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let hidden: Vec<String> = hidden.filter(|name| name.starts_with('.')).collect();
    assert_eq!(hidden, Vec::<String>::new());
}

fn json(path: &Path) -> BTreeMap<String, Value> {
    serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("JSON")
}

fn what_is_known_of_the_result_is_written_to_files() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist.ok("image build -q --metadata-file md.json --iidfile id -t app .");
    let id = std::fs::read_to_string(hoist.dir().join("id")).expect("it is there");
    let found = json(&hoist.dir().join("md.json"));
    assert_eq!(
        found["containerimage.config.digest"],
        Value::from(id.clone())
    );
    assert_eq!(found["containerimage.digest"], Value::from(id));
    assert_eq!(found["image.name"], "docker.io/library/app:latest");
    hoist.ok("image build --metadata-file none.json -o out .");
    assert!(json(&hoist.dir().join("none.json")).is_empty());
}

fn what_docker_takes_is_taken() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny AS a\nRUN date +%N > /a\nFROM tiny\nCOPY --from=a /a /\n",
    );
    hoist
        .ok("image build --provenance=false --sbom=false --attest type=sbom,disabled=true --rm --force-rm --compress=false \
             --builder default -t app .")
        .says_nothing_of("provenance");
    hoist
        .ok("image build --progress plain --no-cache-filter a -t app .")
        .says("not cached: --no-cache");
    hoist
        .run("image build --attest foo .")
        .code(1)
        .says("invalid --attest");
}

fn an_output_is_pushed_under_its_names() {
    let hoist = Sandbox::new();
    let registry = Registry::start(&hoist);
    hoist.file("Dockerfile", "FROM tiny\nRUN echo hi > /hi\n");
    let (one, two) = (registry.name("one:1"), registry.name("two:2"));
    hoist.ok(&format!(
        "image build -t {one} --push --metadata-file md.json ."
    ));
    hoist.ok(&format!(
        "image build -o type=registry,name={two},compression=zstd ."
    ));
    let three = registry.name("three");
    hoist.ok(&format!(
        "image build -o type=image,name={three},push-by-digest=true,push=true --metadata-file by.json ."
    ));
    let by = json(&hoist.dir().join("by.json"))["containerimage.digest"].clone();
    let path = format!("three/manifests/{}", by.as_str().expect("a digest"));
    assert_eq!(registry.digest(&path), by);
    let tags = http::get(registry.address(), "/v2/three/tags/list").expect("an answer");
    assert!(!tags.text().contains("latest"), "{}", tags.text());
    let digest = json(&hoist.dir().join("md.json"))["containerimage.digest"].clone();
    for name in [&one, &two] {
        hoist.ok(&format!("image rm {name}"));
        hoist.ok(&format!("image pull -q {name}"));
    }
    let text = hoist.ok(&format!("image inspect {one}")).out;
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let known = found[0]["RepoDigests"].to_string();
    assert!(
        known.contains(digest.as_str().expect("a digest")),
        "{known} {digest}"
    );
}
