//! Invocations that must be understood, and some that must not.

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(shell_words::split(line).unwrap_or_default())
}

#[test]
fn the_grammar_has_no_contradiction() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn invocations_of_docker_compose_are_understood() {
    let lines = [
        "hoist -f a.yaml --file b.yaml -p demo --profile x --profile y --env-file e up -d --wait --wait-timeout 30",
        "hoist --project-directory /d --ansi never --progress plain --parallel -1 up --build --remove-orphans a b",
        "hoist up --dry-run",
        "hoist --dry-run up --force-recreate --always-recreate-deps -V -t 5 --pull always --quiet-pull",
        "hoist up --scale web=3 --scale db=1 --no-deps --no-start -y",
        "hoist up --abort-on-container-exit --timestamps --no-color --no-log-prefix --menu=false",
        "hoist up --exit-code-from test --attach a --no-attach b",
        "hoist down -v -t 0 --rmi local --remove-orphans",
        "hoist ps -a --format json --status running --filter status=exited --no-trunc --orphans=false web",
        "hoist logs -f --tail=10 -t --since 5m --until 2026-01-01 --index 2 --no-log-prefix web",
        "hoist exec -T -e A=1 -u root -w /x --index 1 --privileged web sh -c 'echo -n x'",
        "hoist run --rm -T -i=false -e A -p 80:80 -v a:/b --entrypoint '' --name n -P -l a=b web ls -la --color",
        "hoist build --build-arg A=1 --no-cache --pull -q --with-dependencies web",
        "hoist config -q",
        "hoist explain services.web.ports[1] --format json",
        "hoist --env-file x config --format json --no-interpolate -o out",
        "hoist image build -t x -f D --build-arg A --target t --secret id=s,src=f --label a=b --network none .",
        "hoist image import -c 'CMD [\"sh\"]' -m msg - busybox:latest",
        "hoist image rm -f a b c",
        "hoist version --short",
        "hoist --progress none stop -t -1",
        "hoist kill -s HUP web",
        "hoist login -u me --password-stdin r.example:5000",
        "hoist login -p x",
        "hoist logout r.example",
    ];
    for line in lines {
        assert!(
            parse(line).is_ok(),
            "{line}: {:?}",
            parse(line).err().map(|error| error.to_string())
        );
    }
}

#[test]
fn everything_behind_the_service_belongs_to_the_command() {
    let Ok(Cli {
        command: Command::Exec(args),
        ..
    }) = parse("hoist exec -T web ls -la -T --index 3")
    else {
        panic!("exec is not understood")
    };
    assert_eq!(args.command, ["ls", "-la", "-T", "--index", "3"]);
    assert_eq!(args.index, None);
    let Ok(Cli {
        command: Command::Run(args),
        ..
    }) = parse("hoist run --rm web --version")
    else {
        panic!("run is not understood")
    };
    assert_eq!(
        (args.rm, args.command),
        (true, vec!["--version".to_owned()])
    );
}

#[test]
fn a_flag_that_is_said_twice_counts_as_it_was_said_last() {
    let Ok(cli) = parse("hoist -p a --project-name b ps -a --all --format json --format table")
    else {
        panic!("it is not understood")
    };
    assert_eq!(cli.globals.project_name.as_deref(), Some("b"));
    let Command::Ps(args) = cli.command else {
        panic!("it is another command")
    };
    assert_eq!((args.all, args.format.as_str()), (true, "table"));
    let Ok(Cli { globals, .. }) = parse("hoist -f a -f b ps") else {
        panic!("it is not understood")
    };
    assert_eq!(globals.file, ["a", "b"]);
}

#[test]
fn contradictions_and_unknown_words_are_refused_with_a_suggestion() {
    let lines = [
        "hoist up --build --no-build",
        "hoist up --force-recreate --no-recreate",
        "hoist up -d --abort-on-container-exit",
        "hoist exec web",
        "hoist -x up",
        "hoist foo",
    ];
    for line in lines {
        assert!(parse(line).is_err(), "{line}");
    }
    let text = parse("hoist up --force-recraete")
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(text.contains("--force-recreate"), "{text}");
    let text = parse("hoist donw")
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(text.contains("down"), "{text}");
}
