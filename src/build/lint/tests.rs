//! Each rule on files that break it and on files that don't. What the reference says of them: `docker build --call
//! check,format=json`.

use super::*;
use crate::build::call::{Answer, Call};
use crate::build::tests::World;
use crate::build::{BuildError, BuildRequest};

/// `line rule: detail` of what is found, in order.
fn found(world: &World, request: &BuildRequest) -> Vec<String> {
    let answer = ask(world, request);
    let list = answer.json["warnings"]
        .as_array()
        .expect("warnings")
        .clone();
    let line = |warning: &serde_json::Value| {
        let rows = warning["location"]["ranges"].as_array().expect("ranges");
        let rows: Vec<String> = rows
            .iter()
            .map(|row| row["start"]["line"].to_string())
            .collect();
        let (rule, detail) = (warning["ruleName"].as_str(), warning["detail"].as_str());
        format!(
            "{} {}: {}",
            rows.join(","),
            rule.expect("a name"),
            detail.expect("a detail")
        )
    };
    list.iter().map(line).collect()
}

fn ask(world: &World, request: &BuildRequest) -> Answer {
    world.ask(Call::Check, request).expect("an answer")
}

/// What a file gives, each with the files of the context it needs.
fn all(name: &str, cases: &[(&str, &[&str])]) {
    let Some(world) = World::new(name) else {
        return;
    };
    for (text, want) in cases {
        assert_eq!(found(&world, &world.request(text)), *want, "{text}");
    }
}

#[test]
fn names_of_stages_are_in_lower_case_unique_and_not_reserved() {
    all(
        "lint-stages",
        &[
            (
                "FROM base AS Two",
                &["1 StageNameCasing: Stage name 'Two' should be lowercase"],
            ),
            ("FROM base AS two", &[]),
            (
                "FROM base AS a\nFROM base AS b\nFROM base AS A\n",
                &[
                    "3 StageNameCasing: Stage name 'A' should be lowercase",
                    "3 DuplicateStageName: Duplicate stage name \"a\", stage names should be unique",
                ],
            ),
            (
                "FROM base AS scratch\nFROM base AS context",
                &[
                    "1 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
                    "2 ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
                ],
            ),
        ],
    );
}

#[test]
fn words_are_in_one_case() {
    let other = |line: u32, word: &str, case: &str| {
        format!(
            "{line} ConsistentInstructionCasing: Command '{word}' should match the case of the command majority ({case})"
        )
    };
    all(
        "lint-case",
        &[
            (
                "FROM base as two",
                &["1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"],
            ),
            (
                "from base AS two",
                &["1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"],
            ),
            ("from base as two\nenv a=b", &[]),
            // A word in no case at all is told by the other rule alone.
            ("From base as two", &[&other(1, "From", "uppercase")]),
            ("FROM base\nenv a=b", &[&other(2, "env", "uppercase")]),
            (
                "FROM base\nenv a=b\nuser x",
                &[&other(1, "FROM", "lowercase")],
            ),
            (
                "FROM base\nEnv a=b\nONBUILD user x",
                &[&other(2, "Env", "uppercase")],
            ),
            ("arg a\nFROM base\nUSER x", &[]),
        ],
    );
}

#[test]
fn an_empty_row_in_an_instruction_is_told_at_its_end() {
    let told = "NoEmptyContinuation: Empty continuation line";
    all(
        "lint-gap",
        &[
            (
                "FROM base\nENV a=b \\\n\n  \\\n c=d\n",
                &[&format!("5 {told}")],
            ),
            ("FROM base\nENV a=b \\\n# told\n c=d\n", &[]),
        ],
    );
}

#[test]
fn a_command_that_a_shell_runs_is_told_unless_the_image_names_its_shell() {
    let told = |line: u32, name: &str| {
        format!(
            "{line} JSONArgsRecommended: JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
        )
    };
    all(
        "lint-json",
        &[
            (
                "FROM base\nCMD x\nENTRYPOINT y",
                &[&told(2, "CMD"), &told(3, "ENTRYPOINT")],
            ),
            ("FROM base\nRUN x\nCMD [\"x\"]\nENTRYPOINT [\"y\"]", &[]),
            ("FROM base\nSHELL [\"/bin/bash\", \"-c\"]\nCMD x", &[]),
        ],
    );
}

#[test]
fn what_counts_once_is_said_once() {
    let told = |line: &str, name: &str| {
        format!(
            "{line} MultipleInstructionsDisallowed: Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        )
    };
    all(
        "lint-once",
        &[
            (
                "FROM base\nCMD [\"x\", \\\n \"y\"]\nCMD [\"y\"]",
                &[&told("2,3", "CMD")],
            ),
            (
                "FROM base\nENTRYPOINT [\"x\"]\nENTRYPOINT [\"y\"]",
                &[&told("2", "ENTRYPOINT")],
            ),
            (
                "FROM base\nHEALTHCHECK CMD x\nHEALTHCHECK NONE",
                &[&told("2", "HEALTHCHECK")],
            ),
            (
                "FROM base AS a\nCMD [\"x\"]\nFROM a\nCMD [\"y\"]\nUSER a\nUSER b",
                &[],
            ),
        ],
    );
}

#[test]
fn old_forms_are_told() {
    all(
        "lint-old",
        &[
            (
                "FROM base\nMAINTAINER me\nENV a b\nLABEL c d\nENV e=f\n",
                &[
                    "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
                    "3 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
                    "4 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
                ],
            ),
            ("FROM base\nENV a=b c=d\nLABEL maintainer=me\n", &[]),
        ],
    );
}

#[test]
fn the_first_working_directory_does_not_depend_on_the_base() {
    let told = "WorkdirRelativePath: Relative workdir \"a\" can have unexpected results if the base image changes";
    all(
        "lint-workdir",
        &[
            (
                "FROM base AS x\nWORKDIR a\nWORKDIR b\nFROM x\nWORKDIR c",
                &[&format!("2 {told}")],
            ),
            ("FROM base\nENV D=a\nWORKDIR $D", &[&format!("3 {told}")]),
            ("FROM base\nWORKDIR /a\nWORKDIR a", &[]),
        ],
    );
}

#[test]
fn a_variable_that_nobody_sets_is_told_with_the_one_that_was_meant() {
    let told =
        |line: u32, rest: &str| format!("{line} UndefinedVar: Usage of undefined variable '{rest}");
    all(
        "lint-vars",
        &[
            (
                "FROM base\nENV NAME=x\nCOPY $NAMES $PAHT /\nUSER ${U:-root}\nARG A=$B",
                &[
                    &told(3, "$NAMES' (did you mean $NAME?)"),
                    &told(3, "$PAHT' (did you mean $PATH?)"),
                    &told(4, "$U'"),
                    &told(5, "$B'"),
                ],
            ),
            // Each word tells of its own; a text tells too.
            (
                "FROM base\nCOPY $X/$X $X/\nCOPY <<A <<'B' /\n$Y\nA\n$Z\nB\n",
                &[
                    &told(2, "$X'"),
                    &told(2, "$X'"),
                    &told(3, "$Y'").replacen('3', "3,4,5,6,7", 1),
                ],
            ),
            // An argument without a value is declared; what the shell and the base's children work out is theirs.
            (
                "FROM base\nARG A\nENV B=$A\nRUN $C\nCMD [\"$D\"]\nONBUILD USER $E\nEXPOSE $F 80",
                &[],
            ),
            (
                "FROM base\nRUN --mount=type=cache,target=/$G x",
                &[&told(2, "$G'")],
            ),
        ],
    );
}

#[test]
fn from_names_arguments_that_are_declared() {
    let undefined =
        |line: u32, rest: &str| format!("{line} UndefinedArgInFrom: FROM argument {rest}");
    let empty = |line: u32, name: &str| {
        format!(
            "{line} InvalidDefaultArgInFrom: Default value for ARG {name} results in empty or invalid base image name"
        )
    };
    all(
        "lint-from",
        &[
            (
                "ARG NAME=base\nFROM ${NAMES:-base}\n",
                &[&undefined(
                    2,
                    "'NAMES' is not declared (did you mean NAME?)",
                )],
            ),
            (
                "ARG NAME=base\nFROM $NAME\nFROM --platform=$BUILDPLATFORM base",
                &[],
            ),
            ("ARG TAG\nFROM base:$TAG", &[&empty(2, "base:$TAG")]),
            ("ARG TAG\nFROM base:${TAG:-latest}", &[]),
        ],
    );
    let Some(world) = World::new("lint-from-given") else {
        return;
    };
    let mut request = world.request("ARG NAME\nFROM $NAME\n");
    request.args = vec![("NAME".into(), Some("base".into()))];
    let answer = ask(&world, &request);
    assert!(answer.fault.is_none(), "{:?}", answer.fault);
    assert_eq!(found(&world, &request), [empty(2, "$NAME")]);
}

#[test]
fn platforms_of_stages_are_no_constants_and_not_what_they_are_anyway() {
    let host = crate::image::manifest::Platform::host().to_string();
    let (os, arch) = host.split_once('/').expect("a platform");
    let constant = format!(
        "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"{host}\""
    );
    let redundant = |word: &str| {
        format!(
            "1 RedundantTargetPlatform: Setting platform to predefined {word} in FROM is redundant as this is the default behavior"
        )
    };
    let named =
        format!("FROM --platform={host} base AS build-{arch}\nFROM --platform={host} base AS {os}");
    all(
        "lint-platforms",
        &[
            (&format!("FROM --platform={host} base AS x"), &[&constant]),
            (&named, &[]),
            (
                "FROM --platform=$TARGETPLATFORM base",
                &[&redundant("$TARGETPLATFORM")],
            ),
            (
                "FROM --platform=${TARGETPLATFORM} base",
                &[&redundant("${TARGETPLATFORM}")],
            ),
            ("FROM --platform=$BUILDPLATFORM base", &[]),
            ("FROM --platform=$TARGETOS/$TARGETARCH base", &[]),
        ],
    );
}

#[test]
fn an_image_for_another_platform_is_told() {
    let host = crate::image::manifest::Platform::host();
    let told = |found: (&str, &str)| {
        let lints = Lints::default();
        from::base_image(
            "img",
            &host,
            found,
            Span::new(crate::base::span::SourceId(0), 0, 1),
            &lints,
        );
        lints.findings()
    };
    let other = told(("linux", "mips"));
    assert_eq!(other[0].rule, Rule::InvalidBaseImagePlatform);
    assert_eq!(
        other[0].detail,
        format!(
            "Base image img was pulled with platform \"linux/mips\", expected \"{host}\" for current build"
        )
    );
    assert!(told((&host.os, &host.architecture)).is_empty());
    // An image of a file system alone does not say what it is for.
    assert!(told(("", "")).is_empty());
}

#[test]
fn names_of_secrets_are_told_but_for_those_of_public_things() {
    let told = |line: u32, name: &str| {
        let (kind, _) = name.split_once(' ').expect("two words");
        let name = name.trim_start_matches(kind).trim();
        format!(
            "{line} SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({kind} \"{name}\")"
        )
    };
    all(
        "lint-secrets",
        &[
            (
                "FROM base\nARG TOKEN github_token\nENV API_KEY_ID=1 Db_Password=2",
                &[
                    &told(2, "ARG TOKEN"),
                    &told(2, "ARG github_token"),
                    &told(3, "ENV API_KEY_ID"),
                    &told(3, "ENV Db_Password"),
                ],
            ),
            (
                "FROM base\nARG PUBLIC_KEY TOKEN_FILE KEY_VERSION MYTOKEN\nENV MONKEY=1 keys=2\nLABEL token=x",
                &[],
            ),
        ],
    );
    for word in [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "passwd",
        "pword",
        "secret",
    ] {
        let Some(world) = World::new("lint-secret-words") else {
            return;
        };
        let request = world.request(&format!("FROM base\nARG {word}\nARG x{word}"));
        assert_eq!(found(&world, &request), [told(2, &format!("ARG {word}"))]);
    }
}

#[test]
fn a_copy_of_what_is_ignored_is_told() {
    let Some(world) = World::new("lint-ignored") else {
        return;
    };
    let ignore =
        |text: &str| std::fs::write(world.dir.join("ctx/.dockerignore"), text).expect("written");
    let told = |line: u32, verb: &str, path: &str| {
        format!(
            "{line} CopyIgnoredFile: Attempting to {verb} file \"{path}\" that is excluded by .dockerignore"
        )
    };
    let request = world.request(
        "FROM base\nCOPY a.txt dir/b.txt /x/\nADD ./a.txt /\nCOPY . /\nCOPY --from=base a.txt /y",
    );
    ignore("a.txt\nother");
    assert_eq!(
        found(&world, &request),
        [told(2, "Copy", "a.txt"), told(3, "Add", "./a.txt")]
    );
    ignore("dir\n");
    assert_eq!(found(&world, &request), [told(2, "Copy", "dir/b.txt")]);
    // What is taken back in can't be told without looking at the files.
    ignore("*\n!a.txt\n");
    assert!(found(&world, &request).is_empty());
}

#[test]
fn ports_are_numbers_with_a_protocol_in_lower_case() {
    all(
        "lint-ports",
        &[
            (
                "FROM base\nENV P=81\nEXPOSE 80/TCP\nEXPOSE 127.0.0.1:80:$P 90:91",
                &[
                    "3 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
                    "4 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:81'",
                    "4 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '90:91'",
                ],
            ),
            ("FROM base\nEXPOSE 80 81/udp 8000-8002", &[]),
        ],
    );
}

#[test]
fn comments_are_descriptions_when_that_is_asked_for() {
    let told = |line: u32, kind: &str, name: &str| {
        format!(
            "{line} InvalidDefinitionDescription: Comment for {kind} should follow the format: `# {name} <description>`"
        )
    };
    let body = "\n\n# A is a\nARG A\n# b\nARG B\n# c\n\nFROM base AS d\n# e\nARG E=1 F\n# base\nFROM base AS g\n# h\nFROM d\n# no\nUSER x\n";
    all(
        "lint-comments",
        &[
            (body, &[]),
            (
                &format!("# check=experimental=all{body}"),
                &[
                    &told(6, "ARG", "B"),
                    &told(11, "ARG", "<arg_key>"),
                    &told(13, "FROM", "g"),
                ],
            ),
            (
                &format!(
                    "# check=experimental=InvalidDefinitionDescription;skip=UndefinedVar{body}"
                ),
                &[
                    &told(6, "ARG", "B"),
                    &told(11, "ARG", "<arg_key>"),
                    &told(13, "FROM", "g"),
                ],
            ),
        ],
    );
}

#[test]
fn checks_are_left_out_and_made_errors_by_the_file_or_an_argument() {
    let Some(world) = World::new("lint-settings") else {
        return;
    };
    let body = "FROM base as X\nWORKDIR a\n";
    let rules = |head: &str, argument: Option<&str>| {
        let mut request = world.request(&format!("{head}{body}"));
        request
            .args
            .extend(argument.map(|text| (ARGUMENT.to_owned(), Some(text.to_owned()))));
        let answer = ask(&world, &request);
        let found = found(&world, &request);
        let rules = found
            .iter()
            .filter_map(|line| line.split([' ', ':']).nth(1));
        let fault = answer.fault.map(|fault| {
            fault
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        (rules.map(str::to_owned).collect::<Vec<_>>(), fault)
    };
    let three = ["StageNameCasing", "FromAsCasing", "WorkdirRelativePath"].map(str::to_owned);
    assert_eq!(rules("", None), (three.to_vec(), None));
    assert_eq!(rules("# check=skip=all\n", None), (Vec::new(), None));
    assert_eq!(
        rules("# check=skip=FromAsCasing , StageNameCasing\n", None),
        (three[2..].to_vec(), None)
    );
    assert_eq!(
        rules("# check=skip=FromAsCasing;error=true\n", None),
        (
            vec![three[0].clone(), three[2].clone()],
            Some("Dockerfile:2:1: lint violation found for rules: StageNameCasing, WorkdirRelativePath".into())
        )
    );
    // The argument takes the place of the directive.
    assert_eq!(
        rules("# check=skip=all\n", Some("error=false")),
        (three.to_vec(), None)
    );
    assert_eq!(rules("", Some("skip=all")), (Vec::new(), None));
    for bad in ["foo=bar", "skip", "error=maybe"] {
        let (_, fault) = rules(&format!("# check={bad}\n"), None);
        let fault = fault.expect("a fault");
        assert!(
            fault.starts_with("Dockerfile:1:1: failed to parse check options: "),
            "{fault}"
        );
    }
}

#[test]
fn a_build_tells_what_the_checks_found_and_fails_where_the_file_wants_that() {
    let Some(world) = World::new("lint-build") else {
        return;
    };
    world
        .build("FROM base as x\nRUN say hi\nWORKDIR a\nFROM base AS Unused\n")
        .expect("a build");
    // Of stages that are not built only the names are looked at.
    let two = ["Dockerfile:1 FromAsCasing", "Dockerfile:4 StageNameCasing"];
    assert_eq!(world.warned(), two);
    world.build("FROM base as x\nWORKDIR a\n").expect("a build");
    assert_eq!(
        world.warned(),
        [
            "Dockerfile:1 FromAsCasing",
            "Dockerfile:2 WorkdirRelativePath"
        ]
    );
    let strict = world.build("# check=error=true\nFROM base as x\nRUN say hi\n");
    let fault = strict.expect_err("an error").to_string();
    assert!(
        fault.contains("lint violation found for rules: FromAsCasing"),
        "{fault}"
    );
    assert_eq!(world.warned(), ["Dockerfile:2 FromAsCasing"]);
    assert!(world.build("# check=error=true\nFROM base AS x\n").is_ok());
    // A file at fault is checked as far as it can be.
    let faulty = world.build("FROM base as x\nRUM x\n");
    assert!(matches!(faulty, Err(BuildError::Invalid { .. })));
    assert_eq!(world.warned(), ["Dockerfile:1 FromAsCasing"]);
}

#[test]
fn what_a_base_image_triggers_is_told_at_its_from() {
    let Some(world) = World::new("lint-triggers") else {
        return;
    };
    world
        .build("FROM base\nONBUILD WORKDIR a\n")
        .expect("a base");
    world.warned();
    let request = world.request("ARG A\nFROM out\n");
    assert_eq!(
        found(&world, &request),
        [
            "2 WorkdirRelativePath: Relative workdir \"a\" can have unexpected results if the base image changes"
        ]
    );
}

#[test]
fn every_rule_has_a_page_of_its_own() {
    let mut pages = std::collections::BTreeSet::new();
    for rule in Rule::ALL {
        assert!(!rule.description().is_empty());
        assert!(pages.insert(rule.url()), "{rule:?}");
        let name = rule.name().to_lowercase();
        let page = rule.url().replace('-', "");
        assert!(page.ends_with(&format!("/{name}/")), "{rule:?}: {page}");
    }
    assert_eq!(Rule::ALL.len(), 22);
}

#[test]
fn the_report_shows_rows_and_marks_as_the_reference_does() {
    let Some(world) = World::new("lint-report") else {
        return;
    };
    let text = |file: &str| ask(&world, &world.request(file)).text;
    assert_eq!(text("FROM base\n"), "Check complete, no warnings found.\n");
    assert_eq!(
        text("FROM base as x\n# two\n"),
        "Check complete, 1 warning has been found!\n\n\
         WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n\
         'as' and 'FROM' keywords' casing do not match\n\
         Dockerfile:1\n--------------------\n   1 | >>> FROM base as x\n   2 |     # two\n   3 |     \n--------------------\n"
    );
    let several = "FROM base\n# 2\n# 3\nENV A \\\n  b\n# 6\n# 7\n# 8\nWORKDIR a\n# 10\n# 11\n# 12";
    assert_eq!(
        text(several),
        "Check complete, 2 warnings have been found!\n\n\
         WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/\n\
         \"ENV key=value\" should be used instead of legacy \"ENV key value\" format\n\
         Dockerfile:4\n--------------------\n   3 |     # 3\n   4 | >>> ENV A \\\n   5 | >>>   b\n   6 |     # 6\n--------------------\n\n\
         WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/\n\
         Relative workdir \"a\" can have unexpected results if the base image changes\n\
         Dockerfile:9\n--------------------\n   7 |     # 7\n   8 |     # 8\n   9 | >>> WORKDIR a\n  10 |     # 10\n  11 |     # 11\n--------------------\n"
    );
    let answer = ask(&world, &world.request("FROM base as x\nRUM y\n"));
    assert_eq!(
        answer.json["buildError"]["message"],
        "unknown instruction: RUM"
    );
    assert_eq!(
        answer.json["buildError"]["location"]["ranges"][0]["start"]["line"],
        2
    );
    assert_eq!(answer.json["sources"][0]["filename"], "Dockerfile");
    assert_eq!(
        answer.json["sources"][0]["data"],
        "RlJPTSBiYXNlIGFzIHgKUlVNIHkK"
    );
    assert!(answer.fault.is_some() && answer.text.contains("1 warning has been found"));
}
