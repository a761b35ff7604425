//! Checks of Dockerfiles and questions about them: what the program prints, and that nothing is built.

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    check_prints_what_it_finds_and_builds_nothing,
    a_build_lists_what_the_checks_found_at_its_end,
    checks_of_services_stand_below_their_names,
    targets_are_listed,
    another_language_is_refused_with_a_reason,
    a_fault_is_shown_where_its_word_stands,
);

fn check_prints_what_it_finds_and_builds_nothing() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny as x\nRUN exit 9\nWORKDIR a\n");
    let found = hoist
        .global(&["image", "build", "-t", "never", "--check", "."])
        .code(1);
    assert_eq!(
        found.out,
        "Check complete, 2 warnings have been found!\n\n\
         WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n\
         'as' and 'FROM' keywords' casing do not match\n\
         Dockerfile:1\n--------------------\n   1 | >>> FROM tiny as x\n   2 |     RUN exit 9\n   3 |     WORKDIR a\n--------------------\n\n\
         WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/\n\
         Relative workdir \"a\" can have unexpected results if the base image changes\n\
         Dockerfile:3\n--------------------\n   1 |     FROM tiny as x\n   2 |     RUN exit 9\n   3 | >>> WORKDIR a\n   4 |     \n--------------------\n"
    );
    let json = hoist
        .global(&["image", "build", "--call", "check,format=json", "."])
        .code(1);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["warnings"][1]["ruleName"], "WorkdirRelativePath");
    hoist
        .global(&["image", "build", "--call", "check,ignorestatus=true", "."])
        .ok();
    hoist.global(&["image", "inspect", "never"]).code(1);
    hoist.file("Dockerfile", "FROM tiny AS x\n");
    let clean = hoist.global(&["image", "build", "--check", "."]).ok();
    assert_eq!(clean.out, "Check complete, no warnings found.\n");
    // What would end a build is told behind what was found.
    hoist.file("Dockerfile", "FROM tiny as x\nCOPY ${ /x\n");
    let faulty = hoist
        .global(&["image", "build", "--check", "."])
        .code(1)
        .says("Dockerfile:2:6");
    assert!(
        faulty
            .out
            .starts_with("Check complete, 1 warning has been found!\n")
    );
}

fn a_build_lists_what_the_checks_found_at_its_end() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny as x\nENV A b\n");
    let built = hoist
        .global(&["image", "build", "--progress", "plain", "-t", "listed", "."])
        .ok();
    built
        .says("2 warnings")
        .says("FromAsCasing: 'as' and 'FROM' keywords' casing do not match")
        .says("LegacyKeyValueFormat");
    hoist.file("Dockerfile", "# check=error=true\nFROM tiny as x\n");
    hoist
        .global(&["image", "build", "-t", "listed", "."])
        .code(1)
        .says("lint violation found for rules: FromAsCasing");
    hoist.file("Dockerfile", "# check=skip=all\nFROM tiny as x\n");
    hoist
        .global(&["image", "build", "--progress", "plain", "-t", "listed", "."])
        .ok()
        .says_nothing_of("FromAsCasing");
}

fn checks_of_services_stand_below_their_names() {
    let hoist = Sandbox::new();
    hoist.file("one/Dockerfile", "FROM tiny as x\nRUN exit 9\n");
    hoist.file("two/Dockerfile", "FROM tiny\n");
    hoist.compose("services:\n  a: {build: one}\n  b: {build: two}\n  c: {image: tiny}\n");
    let found = hoist.run("build --check").code(1);
    assert!(
        found
            .out
            .starts_with("a\n\nCheck complete, 1 warning has been found!\n"),
        "{}",
        found.out
    );
    assert!(
        found
            .out
            .ends_with("\nb\n\nCheck complete, no warnings found.\n"),
        "{}",
        found.out
    );
    assert_eq!(
        hoist.ok("build --check b").out,
        "b\n\nCheck complete, no warnings found.\n"
    );
}

fn targets_are_listed() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "# one does things\nFROM tiny AS one\nFROM nosuch AS two\n",
    );
    let listed = hoist
        .global(&["image", "build", "--call", "targets", "."])
        .ok();
    assert_eq!(
        listed.out,
        "TARGET        DESCRIPTION\none           does things\ntwo (default) \n"
    );
    hoist
        .global(&["image", "build", "--call", "target", "."])
        .code(1)
        .says("did you mean targets?");
}

fn another_language_is_refused_with_a_reason() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "# syntax=docker/dockerfile:1.7-labs\nFROM tiny\n",
    );
    hoist.global(&["image", "build", "-q", "."]).ok();
    hoist
        .global(&[
            "image",
            "build",
            "--build-arg",
            "BUILDKIT_SYNTAX=me/mine",
            ".",
        ])
        .code(1)
        .says("the syntax image `me/mine` can't be used")
        .says("BUILDKIT_SYNTAX is a build argument");
    hoist.file("Dockerfile", "// syntax = me/mine:2\nimport x\n");
    hoist
        .global(&["image", "build", "."])
        .code(1)
        .says("Dockerfile:1:1")
        .says("the syntax image `me/mine:2` can't be used")
        .says_nothing_of("unknown instruction");
    // The argument takes the place of what the file says.
    hoist.file("Dockerfile", "# syntax=me/mine\nFROM tiny\n");
    hoist
        .global(&[
            "image",
            "build",
            "-q",
            "--build-arg",
            "BUILDKIT_SYNTAX=dockerfile.v0",
            ".",
        ])
        .ok()
        .says_nothing_of("not consumed");
}

fn a_fault_is_shown_where_its_word_stands() {
    let hoist = Sandbox::new();
    for (file, place) in [
        (
            "FROM tiny\nCOPY a \\\n  # note\n  ${B:?gone} /x\n",
            "Dockerfile:4:3",
        ),
        ("FROM tiny\nENV A=1 B=${A\n", "Dockerfile:2:11"),
        (
            "FROM tiny\nRUN --mount=type=bind,target=/a --mount=type=cache,target=${N:?no} true\n",
            "Dockerfile:2:41",
        ),
        ("FROM tiny AS a\nFROM ${X:?no} AS b\n", "Dockerfile:2:6"),
    ] {
        hoist.file("Dockerfile", file);
        hoist
            .global(&["image", "build", "-t", "x", "."])
            .code(1)
            .says(place);
    }
}
