//! Services that a program of the host stands in for, and models that the Docker Model plugin serves.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_provider_runs_before_its_dependents_and_gives_them_variables,
    a_dependent_is_made_anew_when_its_variables_change,
    a_provider_gets_only_the_options_it_knows,
    a_provider_that_fails_or_talks_nonsense_ends_the_run,
    a_provider_that_is_not_there_is_told_before_anything_starts,
    models_are_pulled_configured_and_named_to_their_services,
);

fn program(hoist: &Sandbox, path: &str, text: &str) -> PathBuf {
    let path = hoist.file(path, format!("#!/bin/sh\n{text}\n"));
    let run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, run).expect("the owner may change the mode");
    path
}

/// A sandbox where programs below `bin` are found, and a plugin directory of the docker command is `docker/cli-plugins`.
fn sandbox() -> Sandbox {
    let hoist = Sandbox::new();
    let bin = hoist.dir().join("bin");
    hoist.set(
        "PATH",
        &format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()),
    );
    hoist.set("DOCKER_CONFIG", "docker");
    hoist
}

fn calls(hoist: &Sandbox) -> Vec<String> {
    let text = std::fs::read_to_string(hoist.dir().join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const CLOUD: &str = r#"
[ "$2" = metadata ] && exit 1
echo "$@" >> calls
[ "$3" = up ] || exit 0
printf '%s\n' '{"type":"info","message":"making it\nmore"}'
echo '{"type":"debug","message":"quiet"}'
echo '{"type":"get-service-config"}'
read config
case $config in *'"type":"cloud"'*) echo '{"type":"setenv","message":"ASKED=yes"}';; esac
echo '{"type":"setenv","message":"URL=db://host?a=b"}'
echo "{\"type\":\"rawsetenv\",\"message\":\"OWN=$(cat value)\"}"
"#;

const PROJECT: &str = "\
services:
  db: {provider: {type: cloud, options: {size: 5, zones: [x, y]}}}
  a: {SLEEP, depends_on: [db], environment: {OWN: mine}}
  n: {SLEEP}
";

fn a_provider_runs_before_its_dependents_and_gives_them_variables() {
    let hoist = sandbox();
    program(&hoist, "bin/cloud", CLOUD);
    hoist.file("value", "one");
    hoist.compose(PROJECT);
    let told = hoist.ok("up -d").all();
    assert!(told.contains("making it"), "{told}");
    assert!(
        told.contains("overrides environment variable \"OWN\" in service \"a\""),
        "{told}"
    );
    let vars = "echo $DB_URL $DB_ASKED $OWN";
    assert_eq!(hoist.sh("a", vars), "db://host?a=b yes one");
    assert_eq!(hoist.sh("n", vars), "");
    let up = format!(
        "compose --project-name={} up --size=5 --zones=x --zones=y db",
        hoist.name
    );
    assert_eq!(calls(&hoist), [up.as_str()]);
    // A container of `run` gets them too.
    assert_eq!(
        hoist.ok("run --rm -T a sh -c 'echo $DB_URL'").out.trim(),
        "db://host?a=b"
    );
    assert_eq!(calls(&hoist).len(), 2);
    assert!(
        hoist
            .ok("ps --all")
            .out
            .lines()
            .all(|line| !line.contains(" db "))
    );
    hoist.ok("down -t 0");
    let down = format!(
        "compose --project-name={} down --size=5 --zones=x --zones=y db",
        hoist.name
    );
    assert_eq!(calls(&hoist).last(), Some(&down));
}

fn a_dependent_is_made_anew_when_its_variables_change() {
    let hoist = sandbox();
    program(&hoist, "docker/cli-plugins/docker-cloud", CLOUD);
    hoist.file("value", "one");
    hoist.compose(PROJECT);
    hoist.ok("up -d");
    let before = (hoist.id("a"), hoist.id("n"));
    hoist.ok("up -d");
    assert_eq!((hoist.id("a"), hoist.id("n")), before, "the same variables");
    hoist.file("value", "two");
    let plan = hoist.ok("up -d --dry-run").all();
    assert!(plan.contains("db"), "{plan}");
    assert_eq!(hoist.id("a"), before.0);
    hoist.ok("up -d");
    assert_ne!(hoist.id("a"), before.0);
    assert_eq!(hoist.id("n"), before.1);
    assert_eq!(hoist.sh("a", "echo $OWN"), "two");
}

fn a_provider_gets_only_the_options_it_knows() {
    let hoist = sandbox();
    program(
        &hoist,
        "bin/cloud",
        r#"
if [ "$2" = metadata ]; then
  echo '{"description":"x","up":{"parameters":[{"name":"size","required":true,"type":"string"}]},"down":{"parameters":[]}}'
  exit
fi
echo "$@" >> calls"#,
    );
    hoist.compose(PROJECT);
    hoist.ok("up -d");
    hoist.ok("down -t 0");
    let name = &hoist.name;
    assert_eq!(
        calls(&hoist),
        [
            format!("compose --project-name={name} up --size=5 db"),
            format!("compose --project-name={name} down db")
        ]
    );
    hoist.compose("services: {db: {provider: {type: cloud}}}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("required parameter \"size\" is missing from provider \"cloud\" definition");
}

fn a_provider_that_fails_or_talks_nonsense_ends_the_run() {
    let hoist = sandbox();
    hoist.compose(PROJECT);
    for (does, told) in [
        (
            r#"echo '{"type":"error","message":"no credit"}'"#,
            "service `db`: no credit",
        ),
        (
            "echo nonsense",
            "invalid response from its provider: nonsense",
        ),
        (
            r#"echo '{"type":"setenv","message":"none"}'"#,
            "invalid response from its provider: none",
        ),
        (
            r#"echo '{"type":"other"}'"#,
            "invalid response from its provider: other",
        ),
        (
            "echo broken >&2; exit 3",
            "its provider failed (exit status: 3): broken",
        ),
    ] {
        program(
            &hoist,
            "bin/cloud",
            &format!("[ \"$2\" = metadata ] && exit 1\n[ \"$3\" = down ] && exit 0\n{does}"),
        );
        hoist.run("up -d").code(1).says(told);
        assert!(hoist.ps().iter().all(|row| row["Service"] != "a"), "{does}");
    }
}

fn a_provider_that_is_not_there_is_told_before_anything_starts() {
    let hoist = sandbox();
    hoist.compose(PROJECT);
    let done = hoist
        .run("up -d")
        .code(1)
        .says("service `db`: there is no provider `cloud` on this machine");
    assert!(done.all().contains("compose.yaml:2:"), "{}", done.all());
    assert!(hoist.ps().is_empty());
    let done = hoist.ok("down");
    assert!(
        done.all().contains("there is no provider `cloud`"),
        "{}",
        done.all()
    );
    hoist.compose("services: {db: {provider: {type: compose}}}\n");
    hoist.run("up -d").code(1).says("`compose` is no provider");
}

fn models_are_pulled_configured_and_named_to_their_services() {
    let hoist = sandbox();
    let project = "\
models:
  small: {model: ai/small, context_size: 512, runtime_flags: [--a, b]}
  the-big: {model: ai/big}
  unused: {model: ai/unused}
services:
  a: {SLEEP, models: [small, the-big]}
  b: {SLEEP, models: {small: {model_var: NAME, endpoint_var: WHERE}}}
  n: {SLEEP}
";
    hoist.compose(project);
    let done = hoist
        .run("up -d")
        .code(1)
        .says("service `a` uses a model, which needs the Docker Model plugin");
    assert!(done.all().contains("compose.yaml:6:"), "{}", done.all());
    program(
        &hoist,
        "docker/cli-plugins/docker-model",
        r#"
echo "$@" >> calls
case $1 in
  status) echo '{"running":true,"endpoint":"http://models/v1/"}';;
  ls) echo '[{"id":"x","tags":["ai/big"],"created":1}]';;
esac"#,
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh(
            "a",
            "echo $SMALL_MODEL $SMALL_URL $THE_BIG_MODEL $THE_BIG_URL"
        ),
        "ai/small http://models/v1/ ai/big http://models/v1/"
    );
    assert_eq!(
        hoist.sh("b", "echo $NAME $WHERE $SMALL_MODEL"),
        "ai/small http://models/v1/"
    );
    assert_eq!(hoist.sh("n", "env | grep models | wc -l"), "0");
    assert_eq!(
        calls(&hoist),
        [
            "status --json",
            "ls --json",
            "pull ai/small",
            "configure --context-size 512 ai/small -- --a b",
            "configure ai/big",
        ]
    );
}
