//! What is attested of images and annotated on them, where they leave the store.

use std::path::Path;

use serde_json::Value;

use super::pull::{REGISTRY, Registry};
use crate::harness::{ENGINE, Need, Sandbox};

crate::cases!(ENGINE;
    how_an_image_was_built_goes_along_with_its_archive,
    what_could_be_a_secret_is_told_only_when_all_is_asked_for,
    statements_lie_beside_files,
    a_generator_says_what_is_in_an_image,
    a_generator_that_makes_nothing_fails_the_build,
    what_is_attested_is_checked_and_told_where_it_has_no_place,
    annotations_are_on_the_level_they_are_meant_for,
);

/// Cases with a registry.
pub const PUSHES: &[crate::harness::Case] = &[
    crate::harness::Case {
        name: concat!(
            module_path!(),
            "::an_image_is_pushed_with_statements_and_pulled_without"
        ),
        needs: &[Need::Root, Need::Busybox, Need::Program(REGISTRY)],
        run: an_image_is_pushed_with_statements_and_pulled_without,
    },
    crate::harness::Case {
        name: concat!(module_path!(), "::a_service_is_pushed_with_what_it_attests"),
        needs: &[Need::Root, Need::Busybox, Need::Program(REGISTRY)],
        run: a_service_is_pushed_with_what_it_attests,
    },
];

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// A document of a layout.
fn blob(layout: &Path, said: &Value) -> Value {
    let digest = said["digest"].as_str().expect("a digest");
    read(&layout.join("blobs").join(digest.replace(':', "/")))
}

/// The index of a layout's only image, and the statements in it.
fn statements(layout: &Path) -> (Value, Vec<Value>) {
    let index = blob(layout, &read(&layout.join("index.json"))["manifests"][0]);
    let entries = index["manifests"].as_array().expect("entries").clone();
    let beside = entries.iter().filter(|entry| {
        entry["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    });
    let mut found = Vec::new();
    for entry in beside {
        assert_eq!(entry["platform"]["os"], "unknown");
        assert_eq!(
            entry["annotations"]["vnd.docker.reference.digest"],
            entries[0]["digest"]
        );
        for layer in blob(layout, entry)["layers"].as_array().expect("layers") {
            let statement = blob(layout, layer);
            assert_eq!(
                layer["annotations"]["in-toto.io/predicate-type"],
                statement["predicateType"]
            );
            found.push(statement);
        }
    }
    (index, found)
}

fn how_an_image_was_built_goes_along_with_its_archive() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo hi > /hi\n");
    hoist.ok("image build --provenance=true -t app:1 -o type=oci,tar=false,dest=out .");
    let layout = hoist.dir().join("out");
    let (index, found) = statements(&layout);
    let [statement] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v0.1");
    assert_eq!(
        statement["predicateType"],
        "https://slsa.dev/provenance/v0.2"
    );
    let subject = &statement["subject"][0];
    let name = subject["name"].as_str().expect("a name");
    assert!(
        name.starts_with("pkg:docker/app@1?platform=linux%2F"),
        "{name}"
    );
    let digest = format!(
        "sha256:{}",
        subject["digest"]["sha256"].as_str().expect("hex")
    );
    assert_eq!(index["manifests"][0]["digest"], digest);
    let said = &statement["predicate"];
    assert_eq!(
        said["invocation"]["configSource"]["entryPoint"],
        "Dockerfile"
    );
    assert_eq!(said["metadata"]["completeness"]["materials"], false);
    let material = said["materials"][0]["uri"].as_str().expect("an address");
    assert!(
        material.starts_with("pkg:docker/tiny@latest?platform="),
        "{material}"
    );
    assert_eq!(said["buildConfig"], Value::Null);
    // The other form, by the other way to ask for it, in an archive that is read again.
    let form = "type=provenance,mode=max,version=v1,builder-id=https://ci.example/7";
    hoist.ok(&format!(
        "image build --attest {form} -t app:2 -o type=oci,dest=out.tar ."
    ));
    hoist.ok("image load -i out.tar");
    hoist.ok("image inspect app:2");
    hoist.ok(&format!(
        "image build --attest {form} -o type=oci,tar=false,dest=max ."
    ));
    let (_, found) = statements(&hoist.dir().join("max"));
    assert_eq!(found[0]["predicateType"], "https://slsa.dev/provenance/v1");
    let said = &found[0]["predicate"];
    assert_eq!(said["runDetails"]["builder"]["id"], "https://ci.example/7");
    let steps = &said["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"];
    let steps = steps.to_string();
    assert!(
        steps.contains("echo hi > /hi") && steps.contains("docker-image://docker.io/library/tiny"),
        "{steps}"
    );
}

fn what_could_be_a_secret_is_told_only_when_all_is_asked_for() {
    let hoist = Sandbox::new();
    hoist.file("secret", "never-told\n");
    hoist.file(
        "Dockerfile",
        "FROM tiny\nARG GIVEN\nRUN --mount=type=secret,id=key,env=KEY test -n \"$KEY\" && echo $GIVEN > /a\n",
    );
    for mode in ["min", "max"] {
        hoist.ok(&format!(
            "image build --provenance=mode={mode} --build-arg GIVEN=told-word --secret id=key,src=secret -o \
             type=oci,tar=false,dest={mode} ."
        ));
        let (_, found) = statements(&hoist.dir().join(mode));
        let text = found[0].to_string();
        assert!(!text.contains("never-told"), "{text}");
        assert_eq!(text.contains("told-word"), mode == "max", "{text}");
        let said = &found[0]["predicate"];
        assert_eq!(
            said["metadata"]["completeness"]["parameters"],
            mode == "max"
        );
        let secrets = &said["invocation"]["parameters"]["secrets"][0]["id"];
        assert_eq!(*secrets == "key", mode == "max");
    }
}

fn statements_lie_beside_files() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM scratch\nCOPY hi /d/hi\n");
    hoist.file("hi", "hello\n");
    hoist.ok("image build --provenance=true -o out .");
    let said = read(&hoist.dir().join("out/provenance.json"));
    assert_eq!(said["subject"][0]["name"], "d/hi");
    let digest = super::pull::digest(b"hello\n");
    assert_eq!(
        said["subject"][0]["digest"]["sha256"],
        digest.trim_start_matches("sha256:")
    );
    hoist.ok("image build --provenance=inline-only=true -o none .");
    assert!(!hoist.dir().join("none/provenance.json").exists());
    hoist.file("Dockerfile", "FROM scratch\nCOPY hi /provenance.json\n");
    hoist
        .run("image build --provenance=true -o taken .")
        .code(1)
        .says("the image has a file /provenance.json already");
    hoist.ok("image build --provenance=filename=how.json -o named .");
    read(&hoist.dir().join("named/how.json"));
}

/// A generator: it lists the files it is shown.
const GENERATOR: &str = "FROM tiny\nWORKDIR /w\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"sh scan.sh\"]\nCOPY <<'EOF' scan.sh\n\
    say() {\n  cd $1 && files=$(find . -type f -name 'mark*' | tr '\\n' ' ')\n  echo '{\"predicateType\": \"https://spdx.dev/Document\", \
    \"predicate\": {\"files\": \"'\"$files$BUILDKIT_SCAN_LEVEL\"'\"}}' > $BUILDKIT_SCAN_DESTINATION/$2.spdx.json\n}\nsay $BUILDKIT_SCAN_SOURCE sbom\n\
    test -z \"$BUILDKIT_SCAN_SOURCE_EXTRAS\" || for d in $BUILDKIT_SCAN_SOURCE_EXTRAS*; do say $d $(basename $d); done\nEOF\n";

fn a_generator_says_what_is_in_an_image() {
    let hoist = Sandbox::new();
    hoist.file("scan/Dockerfile", GENERATOR);
    hoist.ok("image build -t scan scan");
    hoist.file("app/mark-context", "");
    hoist.file(
        "app/Dockerfile",
        "FROM tiny AS made\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nRUN touch /mark-made /mark-final\n\
         FROM tiny\nCOPY --from=made /mark-final /\n",
    );
    hoist.ok("image build --sbom=generator=scan,level=7 -o out app");
    let said = |name: &str| {
        let said = read(&hoist.dir().join("out").join(name));
        assert_eq!(said["predicateType"], "https://spdx.dev/Document");
        let files = said["predicate"]["files"].as_str();
        files.expect("a text").to_owned()
    };
    assert_eq!(said("sbom.spdx.json"), "./mark-final 7");
    assert_eq!(said("sbom-context.spdx.json"), "./mark-context 7");
    let made = said("sbom-made.spdx.json");
    assert!(
        made.contains("./mark-made") && made.contains("./mark-final"),
        "{made}"
    );
    // The second time it is known.
    hoist
        .ok("image build --progress plain --sbom=generator=scan,level=7 --provenance=true -o type=oci,tar=false,dest=oci app")
        .says("CACHED");
    let (_, found) = statements(&hoist.dir().join("oci"));
    assert_eq!(found.len(), 4, "{found:?}");
}

fn a_generator_that_makes_nothing_fails_the_build() {
    let hoist = Sandbox::new();
    hoist.file("none/Dockerfile", "FROM tiny\nENTRYPOINT [\"/bin/true\"]\n");
    hoist.ok("image build -t none none");
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist
        .run("image build --sbom=generator=none -o out .")
        .code(1)
        .says("the generator none:latest has written no *.spdx.json");
    hoist.file(
        "wrong/Dockerfile",
        "FROM tiny\nENTRYPOINT [\"/bin/sh\", \"-c\", \"echo no > /run/out/a.spdx.json\"]\n",
    );
    hoist.ok("image build -t wrong wrong");
    hoist
        .run("image build --sbom=generator=wrong -o out .")
        .code(1)
        .says("the bill of materials a.spdx.json can't be used");
    assert!(!hoist.dir().join("out").exists());
}

fn what_is_attested_is_checked_and_told_where_it_has_no_place() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist
        .ok("image build --provenance=true -t app .")
        .says("provenance goes along with an image that is pushed");
    hoist
        .run("image build --provenance=mode=all .")
        .code(1)
        .says("invalid --provenance `mode=all`: invalid provenance mode \"all\": use min or max");
    hoist.compose(
        "services:\n  a:\n    build:\n      context: .\n      provenance: mode=all\n      sbom: what=\n",
    );
    hoist
        .run("build")
        .code(1)
        .says("compose.yaml:5:19")
        .says("invalid provenance mode \"all\"");
    hoist.compose("services:\n  a: {build: {context: ., provenance: true, sbom: false}}\n");
    hoist.ok("build").says("provenance goes along with");
    hoist
        .ok("build --provenance=false")
        .says_nothing_of("provenance");
}

fn annotations_are_on_the_level_they_are_meant_for() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\n");
    hoist.ok(
        "image build --annotation a=1 --annotation index,manifest-descriptor:b=2 -o \
         type=oci,tar=false,dest=out,annotation-index-descriptor.c=3,annotation.d=4 .",
    );
    let layout = hoist.dir().join("out");
    let top = read(&layout.join("index.json"));
    assert_eq!(top["manifests"][0]["annotations"]["c"], "3");
    let index = blob(&layout, &top["manifests"][0]);
    assert_eq!(index["annotations"]["b"], "2");
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["b"], "2");
    let manifest = blob(&layout, entry);
    assert_eq!(manifest["annotations"]["a"], "1");
    assert_eq!(manifest["annotations"]["d"], "4");
    hoist
        .run("image build --annotation what:a=1 .")
        .code(1)
        .says("unknown annotation type \"what\"");
}

fn an_image_is_pushed_with_statements_and_pulled_without() {
    let hoist = Sandbox::new();
    let registry = Registry::start(&hoist);
    hoist.file("Dockerfile", "FROM tiny\nRUN echo hi > /hi\n");
    let name = registry.name("app:1");
    hoist.ok(&format!(
        "image build -t {name} --provenance=true --annotation a=b --push --metadata-file md.json ."
    ));
    let pushed = registry.manifest("app/manifests/1");
    let index: Value = serde_json::from_str(&pushed).expect("JSON");
    let entries = index["manifests"].as_array().expect("entries");
    assert_eq!(entries.len(), 2, "{pushed}");
    let digest = super::pull::digest(pushed.as_bytes());
    let known = read(&hoist.dir().join("md.json"));
    assert_eq!(known["containerimage.digest"], digest);
    let own = entries[0]["digest"].as_str().expect("a digest");
    let manifest = registry.manifest(&format!("app/manifests/{own}"));
    assert!(
        manifest.contains(r#""annotations":{"a":"b"}"#),
        "{manifest}"
    );
    hoist.ok(&format!("image rm {name}"));
    hoist.ok(&format!("image pull -q {name}"));
    let text = hoist.ok(&format!("image inspect {name}")).out;
    assert!(text.contains(&digest), "{text}");
}

fn a_service_is_pushed_with_what_it_attests() {
    let hoist = Sandbox::new();
    let registry = Registry::start(&hoist);
    hoist.file("Dockerfile", "FROM tiny\n");
    let name = registry.name("web:1");
    hoist.compose(&format!(
        "services:\n  web:\n    image: '{name}'\n    build: {{context: ., provenance: 'version=v1'}}\n"
    ));
    hoist
        .ok("build --push")
        .says_nothing_of("the store keeps none");
    let pushed = registry.manifest("web/manifests/1");
    assert!(pushed.contains("attestation-manifest"), "{pushed}");
    hoist.ok("build --push --provenance=false");
    let pushed = registry.manifest("web/manifests/1");
    assert!(!pushed.contains("attestation-manifest"), "{pushed}");
}
