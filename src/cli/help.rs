//! What `hoist --help` prints beyond clap's own: commands in groups.
//!
//! Imports: `args`, `examples`.

use clap::{Command, CommandFactory as _};

use super::args::Cli;
use super::examples;

/// Commands as `--help` lists them. A test checks that each is in exactly one group.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "Run",
        &[
            "up", "down", "create", "start", "stop", "restart", "kill", "pause", "unpause",
            "scale", "rm", "run", "exec", "attach", "wait", "cp", "commit", "export", "watch",
        ],
    ),
    (
        "Look",
        &[
            "ps", "logs", "top", "stats", "live", "events", "port", "images", "volumes", "ls",
        ],
    ),
    (
        "Project",
        &[
            "init", "snapshot", "enable", "disable", "build", "pull", "push", "publish", "lock",
            "config", "explain", "plan", "graph", "schema",
        ],
    ),
    (
        "More",
        &[
            "image",
            "login",
            "logout",
            "cache",
            "system",
            "doctor",
            "alpha",
            "bridge",
            "plugin",
            "completion",
            "man",
            "version",
        ],
    ),
];

/// The command line's grammar, with examples at each command.
pub fn plain() -> Command {
    Cli::command().mut_subcommands(|sub| with_examples(sub, ""))
}

fn with_examples(command: Command, above: &str) -> Command {
    let path = format!("{above} {}", command.get_name());
    let path = path.trim_start();
    let text = examples::text(path);
    let command = match text.is_empty() {
        true => command,
        false => command.after_help(text),
    };
    match command.has_subcommands() {
        true => command.mut_subcommands(|sub| with_examples(sub, path)),
        false => command,
    }
}

/// The command line's grammar with grouped help.
pub fn command() -> Command {
    let plain = plain();
    let mut text = String::new();
    for (group, names) in GROUPS {
        text.push_str(&format!("{group}:\n"));
        for name in names {
            let about = plain.find_subcommand(name).and_then(Command::get_about);
            text.push_str(&format!(
                "  {name:<10} {}\n",
                about.map(ToString::to_string).unwrap_or_default()
            ));
        }
        text.push('\n');
    }
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{text}Options:\n{{options}}\n\n\
         Run `hoist COMMAND --help` for more on a command.\n"
    );
    plain.help_template(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_of_the_help() {
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        grouped.sort_unstable();
        let plain = Cli::command();
        let mut all: Vec<&str> = plain.get_subcommands().map(Command::get_name).collect();
        all.sort_unstable();
        assert_eq!(grouped, all);
        let help = command().render_help().to_string();
        assert!(
            help.contains("\nLook:\n  ps         List containers\n"),
            "{help}"
        );
        assert!(help.contains("--project-directory"), "{help}");
    }
}
