//! hoist among the tools of a machine: called as docker compose, as docker's plugin, asked by shells, in manual pages.
//!
//! What docker asks of its plugins, and their answers, were seen on docker 28 with docker compose 2.40.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::{self, Done};
use crate::harness::{Case, Need, Sandbox, hoist as binary};

crate::cases!(&[];
    under_the_name_of_docker_compose_it_answers_as_that_does,
    docker_finds_a_plugin_and_its_words_are_understood,
    a_plugin_that_is_there_is_never_lost,
    docker_completes_names_of_services,
    every_command_shows_examples,
    a_typo_in_a_command_a_flag_or_a_service_names_the_right_one,
);
/// With shells, and with who reads manual pages.
pub const SHELLS: &[Case] = &[
    with(
        concat!(
            module_path!(),
            "::bash_completes_commands_flags_services_and_profiles"
        ),
        &[Need::Program("bash")],
        bash_completes_commands_flags_services_and_profiles,
    ),
    with(
        concat!(
            module_path!(),
            "::completion_says_nothing_where_files_are_broken"
        ),
        &[Need::Program("bash")],
        completion_says_nothing_where_files_are_broken,
    ),
    with(
        concat!(
            module_path!(),
            "::a_plugin_for_all_users_is_installed_and_removed"
        ),
        &[Need::Root, Need::Program("unshare")],
        a_plugin_for_all_users_is_installed_and_removed,
    ),
    with(
        concat!(module_path!(), "::fish_completes_services"),
        &[Need::Program("fish")],
        fish_completes_services,
    ),
    with(
        concat!(module_path!(), "::zsh_reads_its_script"),
        &[Need::Program("zsh")],
        zsh_reads_its_script,
    ),
    with(
        concat!(
            module_path!(),
            "::manual_pages_of_all_commands_are_well_formed"
        ),
        &[Need::Program("groff")],
        manual_pages_of_all_commands_are_well_formed,
    ),
];

const fn with(name: &'static str, needs: &'static [Need], run: fn()) -> Case {
    Case { name, needs, run }
}

const PROJECT: &str =
    "services:\n  web: {image: w}\n  worker: {image: w, profiles: [nightly]}\n  db: {image: d}\n";

/// A project, and hoist in its directory under another name.
fn project(name: &str) -> (Sandbox, PathBuf) {
    let hoist = Sandbox::empty();
    hoist.compose(PROJECT);
    let bin = hoist.dir().join("bin");
    fs::create_dir_all(&bin).expect("made");
    symlink(binary(), bin.join(name)).expect("linked");
    (hoist, bin.join(name))
}

/// Runs a program with what the sandbox's commands have.
fn call(hoist: &Sandbox, program: &Path, arguments: &[&str]) -> Done {
    let like = hoist.command(&[]);
    let mut command = Command::new(program);
    command.env_clear().current_dir(hoist.dir()).args(arguments);
    command.envs(
        like.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = hoist.dir().join("bin");
    command.env("PATH", format!("{}:{path}", bin.display()));
    process::finish(command, None, Duration::from_secs(60))
}

fn under_the_name_of_docker_compose_it_answers_as_that_does() {
    let (hoist, compose) = project("docker-compose");
    let called = |arguments: &[&str]| call(&hoist, &compose, arguments);
    for words in [["version"], ["--version"], ["-v"]] {
        let out = called(&words).ok().out;
        assert!(out.starts_with("Docker Compose version 2."), "{out}");
    }
    let short = called(&["version", "--short"]).ok().out;
    assert!(
        short.starts_with("2.") && short.lines().count() == 1,
        "{short}"
    );
    called(&["-h"]).ok().says("Usage: docker-compose");
    let services = called(&["-f", "compose.yaml", "config", "--services"])
        .ok()
        .out;
    assert_eq!(services.lines().count(), 2, "{services}");
    called(&["--verbose", "--log-level", "error", "config", "-q"]).ok();
    called(&["--host", "tcp://far:2375", "config", "-q"])
        .code(1)
        .says("--host tcp://far:2375: hoist runs containers on this machine");
    called(&["completion", "bash"]).ok().says("docker-compose");
}

fn docker_finds_a_plugin_and_its_words_are_understood() {
    let (hoist, compose) = project("docker-compose");
    let text = call(&hoist, &compose, &["docker-cli-plugin-metadata"])
        .ok()
        .out;
    let metadata: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(metadata["SchemaVersion"], "0.1.0");
    for key in ["Vendor", "Version", "ShortDescription"] {
        assert!(
            metadata[key].as_str().is_some_and(|text| !text.is_empty()),
            "{text}"
        );
    }
    for words in [
        &["compose", "config", "-q"][..],
        &["-D", "--context", "default", "compose", "config", "-q"],
        &[
            "--config=/x",
            "compose",
            "--profile",
            "nightly",
            "config",
            "-q",
        ],
    ] {
        call(&hoist, &compose, words).ok();
    }
    call(&hoist, &compose, &["compose", "--help"])
        .ok()
        .says("Usage: docker compose");
    call(&hoist, &compose, &["--context", "far", "compose", "ps"])
        .code(1)
        .says("--context far");
    hoist.global(&["compose", "config", "-q"]).ok();
}

/// In a mount namespace of its own, where nothing of the machine is touched.
fn a_plugin_for_all_users_is_installed_and_removed() {
    let script = "mount -t tmpfs none /usr/local/lib && $0 plugin install --system && \
                  readlink /usr/local/lib/docker/cli-plugins/docker-compose && $0 plugin remove --system && \
                  ls /usr/local/lib/docker/cli-plugins";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.arg(binary());
    let done = process::finish(command, None, Duration::from_secs(60)).ok();
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(
        lines.iter().any(|line| line.ends_with("/hoist")),
        "{lines:?}"
    );
    assert!(!lines.contains(&"docker-compose"), "{lines:?}");
}

fn a_plugin_that_is_there_is_never_lost() {
    let hoist = Sandbox::empty();
    let dir = hoist.dir().join("docker/cli-plugins");
    hoist.set(
        "DOCKER_CONFIG",
        &hoist.dir().join("docker").to_string_lossy(),
    );
    let plugin = dir.join("docker-compose");
    hoist
        .global(&["plugin", "remove"])
        .code(1)
        .says("there is no");
    hoist
        .global(&["plugin", "install"])
        .ok()
        .says("`docker compose` calls hoist");
    call(&hoist, &plugin, &["compose", "version"])
        .ok()
        .says("Docker Compose version");
    // Once more is no fault: hoist may lie elsewhere by now.
    hoist.global(&["plugin", "install"]).ok();
    hoist.global(&["plugin", "remove"]).ok().says("is gone");
    assert!(fs::symlink_metadata(&plugin).is_err());

    fs::write(&plugin, "another").expect("written");
    hoist
        .global(&["plugin", "install"])
        .code(1)
        .says("is another plugin")
        .says("--force");
    hoist
        .global(&["plugin", "remove"])
        .code(1)
        .says("is another plugin, and stays");
    assert_eq!(fs::read_to_string(&plugin).expect("there"), "another");
    hoist
        .global(&["plugin", "install", "--force"])
        .ok()
        .says("before-hoist");
    call(&hoist, &plugin, &["docker-cli-plugin-metadata"]).ok();
    hoist
        .global(&["plugin", "remove"])
        .ok()
        .says("is what it was before");
    assert_eq!(fs::read_to_string(&plugin).expect("there"), "another");
    assert_eq!(fs::read_dir(&dir).expect("there").count(), 1);
}

fn docker_completes_names_of_services() {
    let (hoist, compose) = project("docker-compose");
    let asked = |words: &[&str]| call(&hoist, &compose, words).ok().out;
    assert_eq!(
        asked(&["__complete", "compose", "up", "w"]),
        "web\nworker\n:4\n"
    );
    assert_eq!(
        asked(&["__complete", "compose", "--profile", ""]),
        "nightly\n:4\n"
    );
}

/// What bash would offer for a line, its last word being typed.
fn bash(hoist: &Sandbox, words: &[&str]) -> Vec<String> {
    let line = r#"source <(hoist completion bash) || exit
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_hoist "$1" "${@: -1}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut arguments = vec!["--norc", "-c", line, "bash", "hoist"];
    arguments.extend(words);
    let done = call(hoist, Path::new("/bin/bash"), &arguments).ok();
    assert_eq!(done.err, "", "the shell's line is disturbed");
    let lines = done.out.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

fn bash_completes_commands_flags_services_and_profiles() {
    let (hoist, _) = project("hoist");
    assert_eq!(bash(&hoist, &["up", "w"]), ["web", "worker"]);
    assert_eq!(bash(&hoist, &["logs", "-f", "d"]), ["db"]);
    assert_eq!(bash(&hoist, &["--profile", ""]), ["nightly"]);
    assert_eq!(bash(&hoist, &["wat"]), ["watch"]);
    assert_eq!(bash(&hoist, &["up", "--detac"]), ["--detach"]);
    hoist.file("other.yaml", "services: {solo: {image: a}}\n");
    assert_eq!(bash(&hoist, &["-f", "other.yaml", "exec", ""]), ["solo"]);
    let files = bash(&hoist, &["-f", "oth"]);
    assert_eq!(files, ["other.yaml"]);
}

fn completion_says_nothing_where_files_are_broken() {
    let (hoist, _) = project("hoist");
    for text in [
        "services: [",
        "",
        "services: {web: {image: '${NOT:?here}'}}",
        "\u{0}",
    ] {
        hoist.file("compose.yaml", text);
        assert_eq!(bash(&hoist, &["up", "w"]), [""; 0], "{text}");
        assert_eq!(bash(&hoist, &["restar"]), ["restart"], "{text}");
    }
    assert_eq!(bash(&hoist, &["-f", "none.yaml", "up", "w"]), [""; 0]);
    // A pipe nobody writes to must not keep the shell waiting.
    assert_eq!(bash(&hoist, &["-f", "-", "up", "w"]), [""; 0]);
}

fn fish_completes_services() {
    let (hoist, _) = project("hoist");
    let line = "hoist completion fish | source; complete -C 'hoist up w'";
    let shell = Path::new("/usr/bin/fish");
    let done = call(&hoist, shell, &["--no-config", "-c", line]).ok();
    let names: Vec<&str> = done
        .out
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(names, ["web", "worker"], "{}", done.out);
}

fn zsh_reads_its_script() {
    let (hoist, _) = project("hoist");
    let line =
        "autoload -U compinit; compinit -D; eval \"$(hoist completion zsh)\"; echo $_comps[hoist]";
    let shell = Path::new("/bin/zsh");
    let done = call(&hoist, shell, &["-f", "-c", line]).ok();
    assert_eq!(done.out, "_clap_dynamic_completer_hoist\n", "{}", done.err);
}

fn every_command_shows_examples() {
    let hoist = Sandbox::empty();
    for words in [
        &["up", "--help"][..],
        &["image", "build", "--help"],
        &["plugin", "install", "--help"],
    ] {
        hoist.global(words).ok().says("Examples:\n  ");
    }
}

fn manual_pages_of_all_commands_are_well_formed() {
    let hoist = Sandbox::empty();
    hoist.global(&["man", "pages"]).ok();
    let dir = hoist.dir().join("pages");
    let mut pages: Vec<PathBuf> = fs::read_dir(&dir)
        .expect("there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    pages.sort();
    assert!(pages.len() > 40, "{pages:?}");
    let pages: Vec<String> = pages
        .iter()
        .map(|page| page.display().to_string())
        .collect();
    let mut arguments = vec!["-man", "-ww", "-Kutf8", "-Tutf8", "-z"];
    arguments.extend(pages.iter().map(String::as_str));
    let done = call(&hoist, Path::new("/usr/bin/groff"), &arguments).ok();
    assert_eq!(done.err, "");
    let up = fs::read_to_string(dir.join("hoist-up.1")).expect("there");
    for text in [
        ".SH NAME",
        ".SH SYNOPSIS",
        ".SH OPTIONS",
        ".SH EXAMPLES",
        ".BR hoist (1)",
    ] {
        assert!(up.contains(text), "{text}: {up}");
    }
    let first = hoist.global(&["man"]).ok().out;
    assert_eq!(
        first,
        fs::read_to_string(dir.join("hoist.1")).expect("there")
    );
}

fn a_typo_in_a_command_a_flag_or_a_service_names_the_right_one() {
    let hoist = Sandbox::empty();
    hoist.compose(PROJECT);
    hoist.global(&["donw"]).code(1).says("'down'");
    hoist.global(&["image", "bulid"]).code(1).says("'build'");
    hoist.global(&["up", "--detahc"]).code(1).says("'--detach'");
    hoist
        .global(&["--profile", "nihgtly", "graph"])
        .ok()
        .says("no service has the profile `nihgtly`; did you mean `nightly`?");
    hoist
        .global(&["--profile", "other", "graph"])
        .ok()
        .says_nothing_of("profile");
    for command in ["config", "graph"] {
        hoist
            .global(&[command, "wbe"])
            .code(1)
            .says("no such service: wbe")
            .says("did you mean `web`?");
    }
}
