//! Images for other processors: their arguments, their configuration, what can't run here.

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    an_image_for_another_platform_is_assembled_without_running_anything,
    arguments_say_what_is_built_and_where,
    a_run_for_another_processor_is_refused_before_anything_ran,
    an_image_of_another_platform_is_no_base_unless_asked_for,
    several_platforms_each_get_their_image,
    a_platform_that_is_none_is_an_error_with_a_place,
);

/// One that this machine is not, and whose programs it does not run either where there is a choice: interpreters for
/// what is known may all be registered here, but for the last.
fn foreign() -> &'static str {
    let known = ["s390x", "riscv64"];
    let mut known = known
        .into_iter()
        .filter(|arch| *arch != std::env::consts::ARCH);
    known.find(|arch| !is_registered(arch)).unwrap_or("sparc64")
}

fn own() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn is_registered(arch: &str) -> bool {
    let entries = std::fs::read_dir("/proc/sys/fs/binfmt_misc");
    entries.is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains(arch))
        })
    })
}

fn config(hoist: &Sandbox, image: &str) -> Value {
    let text = hoist.global(&["image", "inspect", image]).ok().out;
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all.get(0).cloned().unwrap_or(all)
}

fn platform_of(hoist: &Sandbox, image: &str) -> (String, String) {
    let found = config(hoist, image);
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("Architecture"), text("Variant"))
}

fn an_image_for_another_platform_is_assembled_without_running_anything() {
    let hoist = Sandbox::new();
    hoist.file("a", "1\n");
    hoist.file(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM tiny AS build\nARG TARGETARCH\nRUN echo for $TARGETARCH > /out\n\
         FROM scratch\nCOPY --from=build /out /out\nCOPY a /a\nENV A=b\nWORKDIR /w\nCMD [\"/out\"]\n",
    );
    let arch = foreign();
    hoist.ok(&format!("image build --platform linux/{arch} -t cross ."));
    assert_eq!(
        platform_of(&hoist, "cross"),
        (arch.to_owned(), String::new())
    );
    hoist.file(
        "Dockerfile",
        "FROM tiny\nCOPY --from=cross /out /\nRUN cat /out\n",
    );
    hoist
        .run("image build --progress plain --build-context cross=docker-image://cross .")
        .code(1)
        .says("the image here is for linux/");
    hoist.file(
        "Dockerfile",
        "FROM --platform=linux/arm/v6 scratch\nCOPY a /\n",
    );
    hoist.ok("image build -t small .");
    assert_eq!(
        platform_of(&hoist, "small"),
        ("arm".to_owned(), "v6".to_owned())
    );
    hoist.compose(&format!(
        "services:\n  a:\n    image: composed\n    build: {{context: ., platforms: [linux/{arch}]}}\n"
    ));
    hoist.file("Dockerfile", "FROM scratch\nCOPY a /\n");
    hoist.ok("build");
    assert_eq!(platform_of(&hoist, "composed").0, arch);
}

fn arguments_say_what_is_built_and_where() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM tiny AS one\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETOSVERSION TARGETSTAGE\n\
         ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT BUILDOSVERSION\n\
         RUN echo \"[$TARGETPLATFORM|$TARGETOS|$TARGETARCH|$TARGETVARIANT|$TARGETOSVERSION|$TARGETSTAGE|$BUILDPLATFORM|$BUILDOS|$BUILDARCH|$BUILDVARIANT$BUILDOSVERSION]\"\n\
         RUN echo \"none [$TARGETFOO]\"\n",
    );
    let host = own();
    let said = |flags: &str, expected: &str| {
        hoist
            .run(&format!(
                "image build --progress plain --no-cache {flags} ."
            ))
            .ok()
            .says(&format!("[{expected}|linux/{host}|linux|{host}|]"));
    };
    said("", &format!("linux/{host}|linux|{host}|||one"));
    said("--platform linux/arm", "linux/arm/v7|linux|arm|v7||one");
    said(
        "--platform linux/arm64/v8 --target one",
        "linux/arm64|linux|arm64|||one",
    );
    said(
        "--platform local --build-arg TARGETOSVERSION=7",
        &format!("linux/{host}|linux|{host}||7|one"),
    );
}

fn a_run_for_another_processor_is_refused_before_anything_ran() {
    let hoist = Sandbox::new();
    let arch = foreign();
    hoist.file(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM tiny AS build\nRUN echo ran > /out\nFROM scratch\nCOPY --from=build /out /\nRUN [\"/x\"]\n",
    );
    hoist
        .run(&format!(
            "image build --progress plain --platform linux/{arch} ."
        ))
        .code(1)
        .says("Dockerfile:5:1")
        .says(&format!("RUN for linux/{arch} can't run on this machine"))
        .says("apt-get install qemu-user-static binfmt-support")
        .says("--platform=$BUILDPLATFORM")
        .says_nothing_of("RUN echo ran > /out\n");
}

fn an_image_of_another_platform_is_no_base_unless_asked_for() {
    let hoist = Sandbox::new();
    let arch = foreign();
    hoist.file("a", "1\n");
    hoist.file("Dockerfile", "FROM scratch\nCOPY a /a\n");
    hoist.ok(&format!(
        "image build --platform linux/{arch} -t localhost:1/other ."
    ));
    hoist.file("Dockerfile", "FROM localhost:1/other\nCOPY a /b\n");
    hoist
        .run("image build .")
        .code(1)
        .says("Dockerfile:1:6")
        .says(&format!(
            "the image here is for linux/{arch}, not for linux/{}",
            own()
        ));
    hoist.ok(&format!("image build --platform linux/{arch} -t more ."));
    assert_eq!(platform_of(&hoist, "more").0, arch);
    hoist.file(
        "Dockerfile",
        format!("FROM --platform=linux/{arch} localhost:1/other\nCOPY a /b\n"),
    );
    hoist.ok("image build -t more .");
    assert_eq!(platform_of(&hoist, "more").0, arch);
}

fn several_platforms_each_get_their_image() {
    let hoist = Sandbox::new();
    let (host, arch) = (own(), foreign());
    hoist.file("a", "1\n");
    hoist.file(
        "Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n",
    );
    hoist.ok(&format!(
        "image build --platform linux/{arch},linux/{host} -t several ."
    ));
    assert_eq!(platform_of(&hoist, "several").0, host);
    let all = hoist.global(&["image", "ls", "-q", "-a"]).ok().out;
    let found: Vec<String> = all
        .lines()
        .map(|id| platform_of(&hoist, id).0)
        .filter(|found| found == arch)
        .collect();
    assert_eq!(found, [arch], "one image of the other platform");
    hoist
        .pipe(
            &format!("image build --platform linux/{arch},linux/{host} -t piped -"),
            b"FROM scratch\nARG TARGETARCH\nCOPY <<a /$TARGETARCH\na\n",
        )
        .ok();
    assert_eq!(platform_of(&hoist, "piped").0, host);
    hoist.compose(&format!(
        "services:\n  a:\n    image: two\n    build: {{context: ., platforms: [linux/{arch}, linux/{host}]}}\n"
    ));
    hoist.ok("build");
    assert_eq!(platform_of(&hoist, "two").0, host);
}

fn a_platform_that_is_none_is_an_error_with_a_place() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "ARG P=linux/a/b/c\nFROM --platform=$P tiny\n");
    hoist
        .run("image build .")
        .code(1)
        .says("Dockerfile:2:1")
        .says("invalid platform \"linux/a/b/c\"");
    hoist
        .run("image build --platform windows/amd64 .")
        .code(1)
        .says("hoist builds for Linux");
    hoist
        .run("image build --platform '' --build-arg P=local .")
        .ok();
}
