//! Instructions that change the configuration of an image and nothing else, as `import --change` and `commit --change` take them.
//!
//! In: lines of a Dockerfile. Out: a configuration, or all that is wrong with them. Runs nothing and reads no file.
//! Imports: `dockerfile`, `settings`, `image::config`. As Docker: moby `builder/dockerfile/builder.go`, `BuildFromConfig`.

use std::path::Path;

use super::dockerfile::ast::{CommandLine, Instruction, Kind};
use super::dockerfile::parse::parse_triggers;
use super::dockerfile::vars::Expander;
use super::settings;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::SourceId;
use crate::image::config::RunConfig;

/// The configuration that `text` makes of another one.
///
/// # Errors
/// All faults.
pub fn changed(
    mut config: RunConfig,
    text: &str,
    source: SourceId,
) -> Result<RunConfig, Diagnostics> {
    let mut found = Diagnostics::default();
    for instruction in parse_triggers(text, source, '\\')? {
        if let Err(why) = apply(&mut config, &instruction) {
            found.push(Diagnostic::error(why).at(instruction.span));
        }
    }
    found.or_value(config).map(|(config, _)| config)
}

fn apply(config: &mut RunConfig, instruction: &Instruction) -> Result<(), String> {
    let env = config.env.clone();
    let lookup = |name: &str| {
        let of = |pair: &String| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| value.to_owned())
        };
        env.iter().find_map(of)
    };
    let one = |text: &str| {
        let word = Expander::new('\\', &lookup).word(text);
        word.map_err(|why| format!("failed to process {text:?}: {why}"))
    };
    match &instruction.kind {
        Kind::Env(pairs) => {
            for (name, value) in pairs {
                set_env(&mut config.env, &one(name)?, &one(value)?);
            }
        }
        Kind::Label(pairs) => {
            for (name, value) in pairs {
                config.labels.insert(one(name)?, one(value)?);
            }
        }
        Kind::Expose(words) => {
            for word in words {
                let words = Expander::new('\\', &lookup).words(word);
                for word in words.map_err(|why| format!("failed to process {word:?}: {why}"))? {
                    config.exposed_ports.extend(settings::ports(&word)?);
                }
            }
        }
        Kind::Volume(paths) => {
            for path in paths {
                config.volumes.insert(one(path)?);
            }
        }
        Kind::User(user) => config.user = one(user)?,
        Kind::Workdir(path) => {
            let path = Path::new("/").join(&config.working_dir).join(one(path)?);
            config.working_dir = crate::sys::fs::clean(&path).to_string_lossy().into_owned();
        }
        Kind::StopSignal(signal) => {
            let signal = one(signal)?;
            if !settings::is_signal(&signal) {
                return Err(format!("invalid signal: {signal}"));
            }
            config.stop_signal = Some(signal);
        }
        Kind::Healthcheck(check) => config.healthcheck = Some(check.clone()),
        Kind::Onbuild(text) => config.on_build.push(text.clone()),
        Kind::Cmd(command) => config.cmd = Some(in_form(command)),
        Kind::Entrypoint(command) => config.entrypoint = Some(in_form(command)),
        Kind::Run(_)
        | Kind::Copy(_)
        | Kind::Add(_)
        | Kind::Arg(_)
        | Kind::Maintainer(_)
        | Kind::Shell(_) => {
            let name = instruction.name.to_uppercase();
            return Err(format!("{name} is not a valid change command"));
        }
    }
    Ok(())
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let begin = format!("{name}=");
    let pair = format!("{name}={value}");
    match env.iter_mut().find(|known| known.starts_with(&begin)) {
        Some(known) => *known = pair,
        None => env.push(pair),
    }
}

fn in_form(command: &CommandLine) -> Vec<String> {
    match command {
        CommandLine::Exec(words) => words.clone(),
        CommandLine::Shell(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::SourceMap;

    fn of(text: &str) -> Result<RunConfig, String> {
        let source = SourceMap::default().add("--change", text);
        changed(RunConfig::default(), text, source).map_err(|all| {
            let all = all.sorted();
            all.iter()
                .map(|one| one.message.clone())
                .collect::<Vec<_>>()
                .join("; ")
        })
    }

    #[test]
    fn changes_are_applied_as_instructions() {
        let text = "cmd [\"a\", \"b\"]\nentrypoint echo hi\nENV A=1 B=\"two words\"\nENV A 2 $A\nEXPOSE 80 53/udp 8000-8001\n\
                    WORKDIR /srv\nWORKDIR app\nVOLUME /data /more\nLABEL x.y=z\nUSER $A\nSTOPSIGNAL SIGINT\nONBUILD RUN x\n\
                    HEALTHCHECK --interval=5s --retries=2 CMD true";
        let config = of(text).unwrap();
        assert_eq!(config.cmd, Some(vec!["a".to_owned(), "b".to_owned()]));
        let entry = config.entrypoint.map(|words| words.join(" "));
        assert_eq!(entry.as_deref(), Some("/bin/sh -c echo hi"));
        assert_eq!(config.env, ["A=2 1", "B=two words"]);
        let ports: Vec<_> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        assert_eq!(
            (config.working_dir.as_str(), config.user.as_str()),
            ("/srv/app", "2 1")
        );
        assert_eq!(config.on_build, ["RUN x"]);
        let check = config.healthcheck.unwrap();
        assert_eq!(
            (check.interval, check.retries, check.test.join(" ")),
            (5_000_000_000, 2, "CMD-SHELL true".to_owned())
        );
    }

    #[test]
    fn what_changes_more_than_the_configuration_is_refused_with_all_else() {
        assert_eq!(
            of("RUN x\nSHELL [\"a\"]\nSTOPSIGNAL SIGFOO").unwrap_err(),
            "RUN is not a valid change command; SHELL is not a valid change command; invalid signal: SIGFOO"
        );
        for wrong in [
            "FOO x",
            "EXPOSE abc",
            "ENV A",
            "WORKDIR",
            "FROM x",
            "ONBUILD FROM x",
            "VOLUME []",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
