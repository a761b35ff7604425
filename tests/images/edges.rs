//! Rough edges of builds: what is told, how often, and what helps.

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_certificate_that_a_step_does_not_trust_is_told_with_what_helps,
    a_quiet_build_tells_nothing_of_what_the_checks_find,
    an_image_out_of_reach_is_told_in_full_once,
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
