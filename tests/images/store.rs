//! `image import | ls | inspect | tag | save | load | rm`.

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    an_imported_image_is_listed_inspected_and_removed,
    a_saved_image_can_be_loaded_elsewhere_and_runs,
    an_image_in_use_is_not_removed,
    a_broken_archive_is_refused_and_leaves_nothing,
    a_name_that_is_no_name_is_an_error_that_says_why,
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
