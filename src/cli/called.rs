//! What the words of the command line mean when hoist is called in docker compose's place: as `docker-compose`, or by
//! `docker` as its plugin.
//!
//! In: the words, program name first. Out: hoist's own words, or what `docker` wants to know.
//! Imports: nothing. Rules: docker/compose 2.40, `cmd/compatibility/convert.go`; docker/cli, `cli-plugins/metadata`;
//! cobra, `ShellCompDirective`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The name under which hoist stands in for docker compose, standalone and as a plugin.
pub const COMPOSE: &str = "docker-compose";
/// The docker compose whose commands and answers hoist has: scripts ask for it.
pub const STANDS_FOR: &str = "2.40.3";

/// Flags of `docker` that stand before `compose` and have no meaning here.
const SWITCHES: [&str; 5] = ["--debug", "-D", "--verbose", "--tls", "--tlsverify"];
/// Flags of `docker` that come with a value.
const VALUES: [&str; 10] = [
    "--config",
    "--context",
    "-c",
    "--host",
    "-H",
    "--log-level",
    "-l",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// A command, as hoist's own words; how the program is called in texts, where that is another name.
    Command(Vec<OsString>, Option<&'static str>),
    /// What kind of plugin it is.
    Metadata,
    /// What may stand for the last word, asked by docker's own completion.
    Complete(Vec<OsString>),
    /// It can't be: why.
    Refused(String),
}

/// Reads the words.
pub fn read(words: Vec<OsString>) -> Call {
    let name = words.first().map(Path::new).and_then(Path::file_stem);
    let compose = name == Some(OsStr::new(COMPOSE));
    let Some((program, rest)) = words.split_first() else {
        return Call::Command(words, None);
    };
    if !compose {
        // As with an alias `docker`.
        return match rest.split_first() {
            Some((first, rest)) if first == "compose" => {
                let own = std::iter::once(program).chain(rest).cloned();
                Call::Command(own.collect(), None)
            }
            _ => Call::Command(words, None),
        };
    }
    match rest.first().and_then(|word| word.to_str()) {
        Some("docker-cli-plugin-metadata") => Call::Metadata,
        Some("__complete" | "__completeNoDesc") => {
            match own(program, rest.get(1..).unwrap_or_default()) {
                Ok((words, _)) => Call::Complete(words),
                Err(why) => Call::Refused(why),
            }
        }
        _ => match own(program, rest) {
            Ok((words, name)) => Call::Command(words, Some(name)),
            Err(why) => Call::Refused(why),
        },
    }
}

/// hoist's words for those of `docker … compose …` or `docker-compose …`.
fn own(program: &OsStr, rest: &[OsString]) -> Result<(Vec<OsString>, &'static str), String> {
    let mut words = vec![program.to_owned()];
    let mut rest = rest.iter();
    let mut name = COMPOSE;
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        let (flag, value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (&*text, None),
        };
        match flag {
            "compose" if name == COMPOSE && value.is_none() => name = "docker compose",
            "-h" => words.push("--help".into()),
            "-v" | "--version" => words.push("version".into()),
            _ if SWITCHES.contains(&flag) => {}
            _ if VALUES.contains(&flag) => {
                let next = || rest.next().map(|word| word.to_string_lossy().into_owned());
                let value = value.or_else(next).unwrap_or_default();
                elsewhere(flag, &value)?;
            }
            _ if flag.starts_with('-') => {
                words.push(word.clone());
                let takes = matches!(
                    flag,
                    "-f" | "--file"
                        | "-p"
                        | "--project-name"
                        | "--profile"
                        | "--env-file"
                        | "--project-directory"
                        | "--workdir"
                        | "--ansi"
                        | "--progress"
                        | "--parallel"
                );
                if takes && value.is_none() {
                    words.extend(rest.next().cloned());
                }
            }
            // The command: from here on everything is its own.
            _ => {
                words.push(word.clone());
                words.extend(rest.by_ref().cloned());
            }
        }
    }
    Ok((words, name))
}

/// Refuses what would run containers on another machine.
fn elsewhere(flag: &str, value: &str) -> Result<(), String> {
    let here = match flag {
        "--host" | "-H" => value.starts_with("unix://"),
        "--context" | "-c" => value == "default",
        _ => true,
    };
    match here {
        true => Ok(()),
        false => Err(format!(
            "{flag} {value}: hoist runs containers on this machine, and asks no daemon elsewhere"
        )),
    }
}

/// What `docker` asks of each of its plugins.
pub fn metadata() -> String {
    let text = serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "hoist",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": "Docker Compose, by hoist without a daemon",
    });
    format!("{text:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(line: &str) -> Call {
        let words = shell_words::split(line).expect("well quoted");
        read(words.into_iter().map(OsString::from).collect())
    }

    fn command(line: &str) -> String {
        match called(line) {
            Call::Command(words, name) => {
                let words: Vec<_> = words.iter().skip(1).map(|w| w.to_string_lossy()).collect();
                format!("{}: {}", name.unwrap_or("hoist"), words.join(" "))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn words_of_docker_and_its_compose_become_own_ones() {
        for (line, want) in [
            ("hoist up -h", "hoist: up -h"),
            ("hoist compose up", "hoist: up"),
            (
                "/x/docker-compose -f a -v up",
                "docker-compose: -f a version up",
            ),
            ("docker-compose --version", "docker-compose: version"),
            ("docker-compose -h", "docker-compose: --help"),
            (
                "docker-compose run web sh -h -v",
                "docker-compose: run web sh -h -v",
            ),
            ("docker-compose compose ps -a", "docker compose: ps -a"),
            (
                "docker-compose -D --log-level info compose -p x up -d",
                "docker compose: -p x up -d",
            ),
            (
                "docker-compose -p compose up",
                "docker-compose: -p compose up",
            ),
            ("docker-compose -H unix:///x.sock ps", "docker-compose: ps"),
            ("docker-compose --context=default ps", "docker-compose: ps"),
            (
                "docker-compose exec compose ls",
                "docker-compose: exec compose ls",
            ),
            ("docker-compose", "docker-compose: "),
        ] {
            assert_eq!(command(line), want, "{line}");
        }
    }

    #[test]
    fn questions_of_docker_are_known_and_other_machines_are_refused() {
        assert_eq!(
            called("docker-compose docker-cli-plugin-metadata"),
            Call::Metadata
        );
        let words = ["docker-compose", "ps", ""].map(OsString::from).to_vec();
        assert_eq!(
            called("docker-compose __complete compose ps ''"),
            Call::Complete(words)
        );
        for line in [
            "docker-compose -H tcp://far:2375 up",
            "docker-compose --context far compose up",
            "docker-compose --host=ssh://far up",
        ] {
            assert!(matches!(called(line), Call::Refused(_)), "{line}");
        }
        assert!(metadata().contains("\"SchemaVersion\": \"0.1.0\""));
    }
}
