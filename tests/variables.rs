//! The table `variables.txt`: each variable that docker compose heeds, and the case that uses it.
//!
//! It is checked against the cases, and against the sources: a variable of Compose that hoist reads has a row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;

use crate::commands::source;
use crate::harness::{Case, ENGINE, Sandbox, repository};

crate::cases!(&[];
    each_variable_names_a_case_that_uses_it,
    files_profiles_and_names_come_from_the_environment,
    env_files_come_from_the_environment,
    a_wrong_value_is_what_it_is_to_docker_compose,
);
/// With containers.
pub const CONTAINERS: &[Case] = &[
    Case {
        name: concat!(
            module_path!(),
            "::orphans_are_left_or_removed_as_the_environment_says"
        ),
        needs: ENGINE,
        run: orphans_are_left_or_removed_as_the_environment_says,
    },
    Case {
        name: concat!(
            module_path!(),
            "::progress_goes_to_standard_output_if_that_is_asked_for"
        ),
        needs: ENGINE,
        run: progress_goes_to_standard_output_if_that_is_asked_for,
    },
];

/// Variables, each with its case, or with `!` and why there is none.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("variables.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once("  ").unwrap_or((line, "")))
        .map(|(name, case)| (name, case.trim()))
        .collect()
}

/// Names of Compose's variables in all sources below a directory.
fn named(dir: &Path, pattern: &Regex, names: &mut BTreeSet<String>) {
    for path in crate::harness::leftovers::children(dir) {
        if path.is_dir() {
            named(&path, pattern, names);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            names.extend(
                pattern
                    .captures_iter(&text)
                    .map(|found| found[1].to_owned()),
            );
        }
    }
}

fn each_variable_names_a_case_that_uses_it() {
    let rows = rows();
    let cases: BTreeSet<&str> = crate::cases().map(|case| case.short_name()).collect();
    let mut faults = Vec::new();
    for (name, case) in &rows {
        if let Some(why) = case.strip_prefix('!') {
            if why.trim().is_empty() {
                faults.push(format!("{name} is left out without a reason"));
            }
        } else if !cases.contains(case) {
            faults.push(format!("{name}: there is no case `{case}`"));
        } else if !source(case, &cases).is_some_and(|text| text.contains(name)) {
            faults.push(format!("{name}: case `{case}` does not use it"));
        }
    }
    let pattern = Regex::new("\"(COMPOSE_[A-Z_]*[A-Z])\"").expect("a pattern");
    let mut read = BTreeSet::new();
    named(&repository().join("src"), &pattern, &mut read);
    assert!(read.contains("COMPOSE_FILE"), "{read:?}");
    for name in &read {
        match rows.get(name.as_str()) {
            None => faults.push(format!("{name} has no row: add `{name}  module::case`")),
            Some(case) if case.starts_with('!') => {
                faults.push(format!("{name} is read: name a case in its row"));
            }
            Some(_) => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

const ONE: &str = "services:\n  one: {image: x}\n  off: {image: x, profiles: [extra]}\n";

fn files_profiles_and_names_come_from_the_environment() {
    let hoist = Sandbox::empty();
    hoist.file("a.yaml", ONE);
    hoist.file("b.yaml", "services:\n  two: {image: x}\n");
    hoist.file("c.yaml", "services:\n  built: {build: .}\n");
    let services = || hoist.global(&["config", "--services"]).ok().out;
    hoist
        .global(&["config", "-q"])
        .code(1)
        .says("no configuration file provided");
    hoist.set("COMPOSE_FILE", "a.yaml:b.yaml");
    assert_eq!(services(), "one\ntwo\n");
    hoist.set("COMPOSE_PATH_SEPARATOR", ",");
    hoist.set("COMPOSE_FILE", "a.yaml,b.yaml");
    assert_eq!(services(), "one\ntwo\n");
    hoist.set("COMPOSE_PROFILES", "extra");
    assert!(services().contains("off\n"), "{}", services());
    hoist.set("COMPOSE_PROJECT_NAME", "named");
    hoist.global(&["config"]).ok().says("name: named\n");
    hoist.set("COMPOSE_PROJECT_NAME", "Bad Name");
    hoist
        .global(&["config"])
        .code(1)
        .says("invalid project name");
    hoist.set("COMPOSE_PROJECT_NAME", "named");
    hoist.set("COMPOSE_COMPATIBILITY", "1");
    hoist
        .global(&["-f", "c.yaml", "config", "--images"])
        .ok()
        .prints("named_built");
    // What takes the project away reads them, too.
    hoist.set("COMPOSE_FILE", "");
}

fn env_files_come_from_the_environment() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a: {image: 'x:${TAG:-none}'}\n");
    hoist.file(".env", "TAG=usual\n");
    hoist.file("other.env", "TAG=other\n");
    hoist.file("more.env", "TAG=more\n");
    let image = || hoist.run("config --images").ok().out;
    assert_eq!(image(), "x:usual\n");
    hoist.set("COMPOSE_ENV_FILES", "other.env,more.env");
    assert_eq!(image(), "x:more\n");
    hoist.set("COMPOSE_ENV_FILES", "nosuch.env");
    hoist.run("config").code(1).says("nosuch.env");
    hoist.set("COMPOSE_ENV_FILES", "");
    hoist.set("COMPOSE_DISABLE_ENV_FILE", "true");
    assert_eq!(image(), "x:none\n");
    hoist.set("COMPOSE_DISABLE_ENV_FILE", "maybe");
    hoist.run("config").code(1).says("COMPOSE_DISABLE_ENV_FILE");
    // What takes the project away reads it, too.
    hoist.set("COMPOSE_DISABLE_ENV_FILE", "false");
}

fn a_wrong_value_is_what_it_is_to_docker_compose() {
    let hoist = Sandbox::empty();
    hoist.compose(ONE);
    for value in ["abc", "1.5", ""] {
        hoist.set("COMPOSE_PARALLEL_LIMIT", value);
        let text = format!("COMPOSE_PARALLEL_LIMIT must be an integer (found: {value:?})");
        hoist.run("config -q").code(1).says(&text);
        // A flag goes before it.
        hoist.ok("--parallel 2 config -q");
    }
    hoist.set("COMPOSE_PARALLEL_LIMIT", "-5");
    hoist.set("COMPOSE_ANSI", "x");
    assert_eq!(hoist.ok("config --services").all(), "one\n");
    hoist.set("COMPOSE_PROGRESS", "x");
    hoist.run("config -q").code(1).says("COMPOSE_PROGRESS `x`");
    hoist.set("COMPOSE_PROGRESS", "plain");
    // One that stands for a switch and says neither on nor off is off.
    for name in [
        "COMPOSE_IGNORE_ORPHANS",
        "COMPOSE_REMOVE_ORPHANS",
        "COMPOSE_COMPATIBILITY",
    ] {
        hoist.set(name, "maybe");
    }
    assert_eq!(hoist.ok("config --services").all(), "one\n");
}

fn orphans_are_left_or_removed_as_the_environment_says() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  gone: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d").says("orphan");
    hoist.set("COMPOSE_IGNORE_ORPHANS", "true");
    hoist.ok("up -d").says_nothing_of("orphan");
    assert_eq!(hoist.ps().len(), 2);
    hoist.set("COMPOSE_IGNORE_ORPHANS", "false");
    hoist.set("COMPOSE_REMOVE_ORPHANS", "true");
    hoist.ok("up -d").says("gone-1");
    assert_eq!(hoist.ps().len(), 1);
}

fn progress_goes_to_standard_output_if_that_is_asked_for() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  b: {image: tiny, command: echo hello}\n");
    let streams = |arguments: &str| {
        let done = hoist.ok(arguments);
        (done.out, done.err)
    };
    hoist.set("COMPOSE_STATUS_STDOUT", "0");
    let (out, err) = streams("up -d a");
    assert!(out.is_empty() && err.contains("Started"), "{out}{err}");
    hoist.set("COMPOSE_STATUS_STDOUT", "1");
    let (out, err) = streams("restart");
    assert!(out.contains("Started") && err.is_empty(), "{out}{err}");
    let (out, err) = streams("--dry-run down");
    assert!(out.contains("Removed") && err.is_empty(), "{out}{err}");
    let (out, _) = streams("--progress json restart a");
    assert!(out.contains("\"status\":\"Started\""), "{out}");
    let (out, err) = streams("up b");
    assert!(
        out.contains("b-1  Created") && out.contains("b-1  | hello"),
        "{out}"
    );
    assert!(err.is_empty(), "{err}");
    // A word about the command is no progress.
    let wrong = hoist.run("start nosuch").code(1);
    assert!(wrong.out.is_empty() && wrong.err.contains("nosuch"));
    let (out, err) = streams("rm -sf");
    let (removed, said) = (out.find("Removed"), out.find("Going to remove"));
    assert!(
        said.is_some() && said < removed && err.is_empty(),
        "{out}{err}"
    );
    assert_eq!(streams("rm -f").0, "No stopped containers\n");
    let screen = hoist.on_terminal("up -d a");
    screen.says("\u{1b}[").says("Started");
    assert_eq!(screen.end(), 0);
}
