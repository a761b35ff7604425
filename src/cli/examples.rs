//! Examples of commands, for `--help` and the manual pages.
//!
//! In: the words of a command. Out: lines that work, with a word on each. A test parses every one of them, and demands
//! that every command has one. Imports: nothing.

/// A line, and what it does.
pub type Example = (&'static str, &'static str);

/// Examples of the command with these words (`image build`); of hoist itself for none.
pub fn of(path: &str) -> &'static [Example] {
    let found = ALL.iter().find(|(name, _)| *name == path);
    found.map_or(&[], |(_, examples)| *examples)
}

/// The examples as `--help` shows them below the options; empty where there are none.
pub fn text(path: &str) -> String {
    let examples = of(path);
    let width = examples
        .iter()
        .map(|(line, _)| line.len())
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = examples
        .iter()
        .map(|(line, what)| format!("\n  {line:<width$}  {what}"))
        .collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("Examples:{}", lines.concat()),
    }
}

const ALL: &[(&str, &[Example])] = &[
    (
        "",
        &[
            (
                "hoist up -d",
                "start the project in this directory, in the background",
            ),
            ("hoist logs -f", "follow what its containers print"),
            ("hoist down", "stop and remove them"),
        ],
    ),
    (
        "up",
        &[
            (
                "hoist up -d --wait",
                "in the background, until all are healthy",
            ),
            (
                "hoist up --build web",
                "build and start web and what it needs",
            ),
            ("hoist up --watch", "follow changes of files besides"),
        ],
    ),
    (
        "down",
        &[
            ("hoist down", "stop and remove containers and networks"),
            (
                "hoist down -v --rmi local",
                "and volumes, and images built here",
            ),
        ],
    ),
    (
        "create",
        &[(
            "hoist create --build",
            "build images, make containers, start nothing",
        )],
    ),
    (
        "start",
        &[("hoist start web", "start containers that were stopped")],
    ),
    (
        "stop",
        &[(
            "hoist stop -t 30 web",
            "stop web, and kill it after 30 seconds",
        )],
    ),
    ("restart", &[("hoist restart --no-deps web", "web alone")]),
    (
        "kill",
        &[("hoist kill -s HUP web", "have web read its settings again")],
    ),
    (
        "rm",
        &[("hoist rm -sf web", "stop and remove web without asking")],
    ),
    (
        "run",
        &[
            (
                "hoist run --rm web pytest -x",
                "one command in a new container",
            ),
            (
                "hoist run --rm --no-deps -e DEBUG=1 web sh",
                "a shell with a variable of its own",
            ),
        ],
    ),
    (
        "exec",
        &[
            ("hoist exec web sh", "a shell in the running container"),
            (
                "hoist exec -T db pg_dump app",
                "without a terminal, for pipes",
            ),
        ],
    ),
    (
        "cp",
        &[
            ("hoist cp web:/var/log/app.log .", "out of the container"),
            ("hoist cp ./fixtures web:/data", "into it"),
        ],
    ),
    (
        "watch",
        &[
            ("hoist watch", "start the services and follow their files"),
            ("hoist watch --no-up web", "only follow those of web"),
        ],
    ),
    (
        "attach",
        &[(
            "hoist attach web",
            "the output and input of a running container",
        )],
    ),
    (
        "wait",
        &[("hoist wait job", "until job has ended; its exit code")],
    ),
    (
        "pause",
        &[("hoist pause web", "freeze the processes of web")],
    ),
    ("unpause", &[("hoist unpause web", "have them go on")]),
    ("scale", &[("hoist scale web=3", "three containers of web")]),
    (
        "commit",
        &[(
            "hoist commit web snapshot:1",
            "an image of the container as it is",
        )],
    ),
    (
        "export",
        &[(
            "hoist export -o web.tar web",
            "the files of a container as an archive",
        )],
    ),
    (
        "events",
        &[(
            "hoist events --json",
            "what happens to containers, a line each",
        )],
    ),
    (
        "stats",
        &[("hoist stats --no-stream", "what containers use now")],
    ),
    (
        "live",
        &[
            ("hoist live", "all containers, until `q`"),
            (
                "hoist live --tail 0 web db",
                "of two services, only lines from now on",
            ),
        ],
    ),
    (
        "ps",
        &[
            ("hoist ps -a", "also those that have ended"),
            ("hoist ps --status running --format json", "for scripts"),
        ],
    ),
    (
        "logs",
        &[
            (
                "hoist logs -f --tail 20 web",
                "the last 20 lines of web and what follows",
            ),
            (
                "hoist logs --since 5m -t",
                "the last five minutes, with times",
            ),
        ],
    ),
    ("top", &[("hoist top web", "the processes of web")]),
    (
        "port",
        &[("hoist port web 80", "where port 80 of web is reached")],
    ),
    ("images", &[("hoist images --format json", "for scripts")]),
    (
        "volumes",
        &[("hoist volumes", "the volumes of this project")],
    ),
    ("ls", &[("hoist ls -a", "also projects that do not run")]),
    (
        "build",
        &[
            ("hoist build --pull web", "with base images as they are now"),
            (
                "hoist build --build-arg VERSION=2 --no-cache",
                "all images anew",
            ),
        ],
    ),
    (
        "pull",
        &[(
            "hoist pull --ignore-buildable",
            "images that are not built here",
        )],
    ),
    (
        "push",
        &[("hoist push web", "the image of web to its registry")],
    ),
    (
        "publish",
        &[(
            "hoist publish registry.example/team/app:1",
            "for -f oci://registry.example/team/app:1",
        )],
    ),
    (
        "lock",
        &[(
            "hoist lock",
            "write digests, so that up --locked runs the same images",
        )],
    ),
    (
        "config",
        &[
            ("hoist config", "the project as it is understood"),
            ("hoist config --services", "names of its services"),
        ],
    ),
    (
        "explain",
        &[("hoist explain services.web.ports", "which file says so")],
    ),
    (
        "graph",
        &[(
            "hoist graph --format svg -o project.svg",
            "a picture of the project",
        )],
    ),
    (
        "schema",
        &[("hoist schema", "for editors that check compose files")],
    ),
    ("image", &[("hoist image ls", "all images")]),
    (
        "image build",
        &[("hoist image build -t app .", "from the Dockerfile here")],
    ),
    (
        "image history",
        &[("hoist image history app", "the steps it was made by")],
    ),
    (
        "image import",
        &[(
            "hoist image import root.tar base:1",
            "from an archive of files",
        )],
    ),
    (
        "image inspect",
        &[(
            "hoist image inspect app",
            "all that is known of it, as JSON",
        )],
    ),
    (
        "image load",
        &[("hoist image load -i app.tar", "from docker save")],
    ),
    ("image ls", &[("hoist image ls", "all images")]),
    (
        "image prune",
        &[("hoist image prune -f", "remove those without a name")],
    ),
    (
        "image pull",
        &[("hoist image pull alpine:3", "from Docker Hub")],
    ),
    (
        "image push",
        &[("hoist image push registry.example/app:1", "to its registry")],
    ),
    (
        "image rm",
        &[(
            "hoist image rm app:old",
            "a name, and the image with its last one",
        )],
    ),
    (
        "image save",
        &[("hoist image save -o app.tar app", "for docker load")],
    ),
    (
        "image tag",
        &[(
            "hoist image tag app registry.example/app:1",
            "one more name",
        )],
    ),
    (
        "login",
        &[(
            "hoist login registry.example -u me --password-stdin",
            "the password from a pipe",
        )],
    ),
    (
        "logout",
        &[("hoist logout registry.example", "forget the password")],
    ),
    ("cache", &[("hoist cache ls", "what builds have kept")]),
    ("cache ls", &[("hoist cache ls", "what builds have kept")]),
    (
        "cache prune",
        &[("hoist cache prune", "what no build has used lately")],
    ),
    (
        "cache export",
        &[("hoist cache export cache.tar", "for another machine")],
    ),
    (
        "cache import",
        &[("hoist cache import cache.tar", "from another machine")],
    ),
    ("system", &[("hoist system df", "what takes the disk")]),
    (
        "system check",
        &[("hoist system check", "whether all that is stored is whole")],
    ),
    ("system df", &[("hoist system df", "what takes the disk")]),
    (
        "system prune",
        &[("hoist system prune", "remove what nothing uses")],
    ),
    (
        "doctor",
        &[("hoist doctor", "what this machine lacks, and what mends it")],
    ),
    (
        "plugin",
        &[(
            "hoist plugin install",
            "`docker compose` is hoist from now on",
        )],
    ),
    (
        "plugin install",
        &[
            ("hoist plugin install", "for you"),
            ("sudo hoist plugin install --system", "for all users"),
        ],
    ),
    (
        "plugin remove",
        &[(
            "hoist plugin remove",
            "`docker compose` is what it was before",
        )],
    ),
    (
        "completion",
        &[
            (
                "source <(hoist completion bash)",
                "in ~/.bashrc; zsh alike, in ~/.zshrc",
            ),
            (
                "hoist completion fish | source",
                "in ~/.config/fish/config.fish",
            ),
        ],
    ),
    (
        "man",
        &[(
            "sudo hoist man /usr/local/share/man/man1",
            "for `man hoist-up`",
        )],
    ),
    ("version", &[("hoist version --short", "the number alone")]),
    ("plan", &[("hoist plan", "what up would do, and why")]),
    (
        "init",
        &[("hoist init", "files to begin with, for what lies here")],
    ),
    (
        "enable",
        &[("hoist enable", "start the project after each boot")],
    ),
    ("disable", &[("hoist disable", "no more")]),
    (
        "snapshot",
        &[(
            "hoist snapshot save before-migration",
            "copy the volumes of the project",
        )],
    ),
    (
        "snapshot save",
        &[(
            "hoist snapshot save before-migration -m 'schema 41'",
            "all volumes, with a word on it",
        )],
    ),
    (
        "snapshot ls",
        &[("hoist snapshot ls", "what there is to go back to")],
    ),
    (
        "snapshot restore",
        &[(
            "hoist snapshot restore before-migration",
            "volumes as they were then",
        )],
    ),
    (
        "snapshot rm",
        &[(
            "hoist snapshot rm before-migration",
            "it is not needed any more",
        )],
    ),
    ("alpha", &[("hoist alpha viz", "the services for Graphviz")]),
    (
        "alpha viz",
        &[(
            "hoist alpha viz --networks --ports",
            "with more on each of them",
        )],
    ),
    (
        "alpha scale",
        &[("hoist alpha scale worker=3", "as `hoist scale`")],
    ),
    (
        "alpha generate",
        &[(
            "hoist alpha generate demo-web-1 --name demo",
            "a compose file of a container",
        )],
    ),
    (
        "bridge",
        &[(
            "hoist bridge convert -t example.org/to-kubernetes",
            "what an image makes of the project",
        )],
    ),
    (
        "bridge convert",
        &[
            (
                "hoist bridge convert",
                "Kubernetes manifests in ./out, by docker/compose-bridge-kubernetes",
            ),
            (
                "hoist bridge convert -t my/one -t my/other -o manifests --yes",
                "two of them, into another directory",
            ),
        ],
    ),
    (
        "bridge transformations",
        &[(
            "hoist bridge transformations list",
            "transformation images that are here",
        )],
    ),
    (
        "bridge transformations create",
        &[(
            "hoist bridge transformations create -f my/one templates",
            "its templates, to change them",
        )],
    ),
    (
        "bridge transformations list",
        &[("hoist bridge transformations list -q", "their names only")],
    ),
    (
        "alpha dry-run",
        &[("hoist alpha dry-run -- up -d", "as `hoist --dry-run up -d`")],
    ),
];

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;
    use crate::cli::help;

    /// Words of hoist's own in a line that a shell reads.
    fn words(line: &str) -> Vec<String> {
        let begin = line.find("hoist").unwrap_or(0);
        let own = line.get(begin..).unwrap_or_default();
        let end = own.find([')', '|']).unwrap_or(own.len());
        shell_words::split(own.get(..end).unwrap_or_default()).expect("well quoted")
    }

    fn paths(command: &Command, above: &str, all: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let path = format!("{above} {}", sub.get_name())
                .trim_start()
                .to_owned();
            paths(sub, &path, all);
            all.push(path);
        }
    }

    #[test]
    fn every_command_has_an_example_and_every_example_is_understood() {
        let mut known = vec![String::new()];
        paths(&help::plain(), "", &mut known);
        let lacking: Vec<&String> = known.iter().filter(|path| of(path).is_empty()).collect();
        assert!(lacking.is_empty(), "without an example: {lacking:?}");
        // Commands that are still to come have theirs already.
        let ours = ALL
            .iter()
            .filter(|(path, _)| known.iter().any(|known| known == path));
        for (path, examples) in ours {
            for (line, what) in *examples {
                let parsed = help::command().try_get_matches_from(words(line));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                assert!(line.contains(path), "{line} is no example of {path}");
                let width = line.len() + what.len();
                assert!(width < 110, "{line} is too long");
                assert!(!what.ends_with('.') && !what.is_empty(), "{what}");
            }
        }
    }

    #[test]
    fn help_shows_examples_in_a_column() {
        let text = text("ps");
        assert_eq!(
            text,
            "Examples:\n  hoist ps -a                              also those that have ended\n  hoist ps --status running --format json  for scripts"
        );
        assert_eq!(super::text("no such"), "");
    }
}
