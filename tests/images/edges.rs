//! Rough edges of builds: what is told, how often, and what helps.

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_certificate_that_a_step_does_not_trust_is_told_with_what_helps,
    a_quiet_build_tells_nothing_of_what_the_checks_find,
    an_image_out_of_reach_is_told_in_full_once,
    parents_of_copied_files_begin_at_the_pivot,
);

fn a_certificate_that_a_step_does_not_trust_is_told_with_what_helps() {
    let hoist = Sandbox::new();
    let said = "curl: (60) SSL certificate problem: self-signed certificate in certificate chain";
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nRUN echo '{said}' >&2; exit 60\n"),
    );
    hoist
        .run("image build .")
        .code(1)
        .says("exit code: 60")
        .says("with --trust-host-ca or HOIST_TRUST_HOST_CA=1");
    let bundle = hoist.file("ca.crt", "");
    hoist.set("SSL_CERT_FILE", &bundle.to_string_lossy());
    hoist
        .run("--trust-host-ca image build .")
        .code(1)
        .says("though steps trust what this machine trusts");
    hoist.file("Dockerfile", "FROM tiny\nRUN echo no; exit 60\n");
    hoist
        .run("image build .")
        .code(1)
        .says_nothing_of("certificate");
}

fn a_quiet_build_tells_nothing_of_what_the_checks_find() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "from tiny\nRUN true\n");
    let done = hoist.ok("image build -q --build-arg NONE=1 .");
    assert_eq!(done.all().lines().count(), 1, "{}", done.all());
    hoist
        .ok("image build --progress plain --build-arg NONE=1 .")
        .says("one or more build-args [NONE] were not consumed")
        .says("ConsistentInstructionCasing");
}

fn an_image_out_of_reach_is_told_in_full_once() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM localhost:1/none\n");
    let done = hoist.run("image build --progress plain .").code(1);
    let done = done.says("ERROR: registry localhost:1 is not in reach");
    assert_eq!(
        done.all().matches("check the network").count(),
        1,
        "{}",
        done.all()
    );
}

/// As the tests of BuildKit's own front end have it.
fn parents_of_copied_files_begin_at_the_pivot() {
    let hoist = Sandbox::new();
    for path in [
        "b/c/d/foo",
        "b/c/d/e/bay",
        "b2/c/d/e/bar",
        "b/c2/d/e/baz",
        "b/c2/d/e2/baz",
    ] {
        hoist.file(&format!("t/a/{path}"), path);
    }
    let cases = [
        ("/t/a/b/./c/d", "c/d/e/bay c/d/foo"),
        ("/t/a/b/c/d/.", "t/a/b/c/d/e/bay t/a/b/c/d/foo"),
        ("./t/a/b/c/d", "t/a/b/c/d/e/bay t/a/b/c/d/foo"),
        ("/t/a/./b/./c", "b/c/d/e/bay b/c/d/foo"),
        ("/t/a/./*/c", "b/c/d/e/bay b/c/d/foo b2/c/d/e/bar"),
        ("/t/a/b*/./c/**/e", "c/d/e/bar c/d/e/bay"),
        (
            "/t/a/b/c*/./d/**/baz /t/a/b*/./c/**/bar",
            "c/d/e/bar d/e/baz d/e2/baz",
        ),
        ("./t/./**/fo?", "a/b/c/d/foo"),
    ];
    let mut text = "FROM scratch AS base\nCOPY t /t\nFROM scratch\n".to_owned();
    for (number, (sources, _)) in cases.iter().enumerate() {
        text.push_str(&format!("COPY --parents {sources} /context/{number}/\n"));
        text.push_str(&format!(
            "COPY --parents --from=base {sources} /stage/{number}/\n"
        ));
    }
    hoist.file("Dockerfile", text);
    hoist.ok("image build -o ../out .");
    for (number, (sources, want)) in cases.iter().enumerate() {
        for origin in ["context", "stage"] {
            let dir = hoist.dir().join(format!("../out/{origin}/{number}"));
            let done = std::process::Command::new("find")
                .current_dir(&dir)
                .args([".", "-type", "f"])
                .output();
            let text = String::from_utf8(done.expect("find runs").stdout).expect("names are text");
            let mut found: Vec<&str> = text
                .lines()
                .map(|line| line.trim_start_matches("./"))
                .collect();
            found.sort_unstable();
            assert_eq!(found.join(" "), *want, "{sources} of the {origin}");
        }
    }
}
