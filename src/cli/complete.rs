//! What may stand for a word of a command line that is being typed: commands and flags from the grammar, names of
//! services, profiles, projects and images from the files and from what runs.
//!
//! In: the words so far. Out: candidates, with a word on each. It is asked at every press of a key, so that it is quick,
//! changes nothing, says nothing of what is wrong, and answers as well as it can where files are broken.
//! Imports: `args`, `help`, `roots`, `compose`, `engine`. Source: bash(1), `COMP_WORDS`; cobra, `ShellCompDirective`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, OnceLock};

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use clap_complete::env::Shells;

use super::args::{Cli, Globals, ShellArg};
use super::{help, roots};
use crate::base::env::Env;
use crate::base::name::ProjectName;
use crate::compose::model::Project;
use crate::compose::{self, LoadRequest};
use crate::engine::{self, Engine};
use crate::image::store::Store;
use crate::plan::labels;

/// The variable in which a shell's script says for which shell it asks.
pub const VARIABLE: &str = "HOIST_COMPLETE";

fn name_of(shell: ShellArg) -> &'static str {
    match shell {
        ShellArg::Bash => "bash",
        ShellArg::Zsh => "zsh",
        ShellArg::Fish => "fish",
        ShellArg::Powershell => "powershell",
    }
}

/// The script that a shell reads, for a program of this name.
///
/// # Errors
/// When there is none for the shell.
pub fn script(shell: ShellArg, program: &str) -> io::Result<Vec<u8>> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(name_of(shell))
        .ok_or(io::ErrorKind::Unsupported)?;
    let mut script = Vec::new();
    let function = program.replace('-', "_");
    shell.write_registration(VARIABLE, &function, program, program, &mut script)?;
    Ok(script)
}

/// Answers a shell's script: the words behind `--`, in that shell's form. Nothing is an answer as well.
pub fn answer(shell: &str, words: &[OsString], env: &Env) -> Vec<u8> {
    let begin = words.iter().position(|word| word == "--");
    let typed = words
        .get(begin.map_or(0, |at| at + 1)..)
        .unwrap_or_default();
    let mut command = grammar(typed, env);
    let mut answer = Vec::new();
    let shells = Shells::builtins();
    let known = shells.completer(shell);
    let written = known.map(|shell| {
        shell.write_complete(&mut command, typed.to_vec(), Some(&env.cwd), &mut answer)
    });
    match written {
        Some(Ok(())) => answer,
        _ => Vec::new(),
    }
}

/// Answers docker's own completion: a line a candidate, and what the shell is to do besides.
pub fn answer_docker(words: &[OsString], env: &Env) -> String {
    let mut command = grammar(words, env);
    let last = words.len().saturating_sub(1);
    let found = clap_complete::engine::complete(&mut command, words.to_vec(), last, Some(&env.cwd));
    let found = found.unwrap_or_default();
    let mut text = String::new();
    // Bits of cobra: 2 for no space behind it, 4 for no names of files.
    let mut directive = 4;
    for candidate in &found {
        let value = candidate.get_value().to_string_lossy();
        if value.ends_with(['/', ':', '=']) {
            directive |= 2;
        }
        text.push_str(&value);
        if let Some(help) = candidate.get_help() {
            let help = help.to_string();
            text.push('\t');
            text.push_str(help.lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    text.push_str(&format!(":{directive}\n"));
    text
}

/// The grammar, with what lives.
fn grammar(words: &[OsString], env: &Env) -> Command {
    let live = Arc::new(Live {
        dashed: words
            .last()
            .is_some_and(|word| word.to_string_lossy().starts_with('-')),
        globals: globals(words),
        env: env.clone(),
        world: OnceLock::new(),
    });
    let plain = help::plain().disable_help_flag(!live.dashed);
    let plain = plain
        .disable_version_flag(true)
        .mut_args(|arg| adorn(arg, "", &live));
    plain.mut_subcommands(|sub| adorned(sub, &live))
}

fn adorned(command: Command, live: &Arc<Live>) -> Command {
    let name = command.get_name().to_owned();
    let command = command.disable_help_flag(!live.dashed);
    let command = command.mut_args(|arg| adorn(arg, &name, live));
    match command.has_subcommands() {
        true => command.mut_subcommands(|sub| adorned(sub, live)),
        false => command,
    }
}

/// The global flags among words that may not be whole.
fn globals(words: &[OsString]) -> Globals {
    let typed = words
        .get(..words.len().saturating_sub(1))
        .unwrap_or_default();
    let matches = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(typed);
    let globals = matches
        .ok()
        .and_then(|found| Globals::from_arg_matches(&found).ok());
    globals.unwrap_or_default()
}

/// Values that a flag knows of, though it takes others.
fn usual(command: &str, id: &str) -> &'static [&'static str] {
    match (command, id) {
        ("config", "format") => &["yaml", "json"],
        ("graph", "format") => &["text", "mermaid", "dot", "svg"],
        ("version" | "explain" | "doctor", "format") => &["pretty", "text", "json"],
        ("ps" | "images" | "volumes" | "ls" | "stats", "format") => &["table", "json"],
        ("up" | "create" | "run", "pull") => &["always", "missing", "never", "build"],
        ("down", "rmi") => &["local", "all"],
        ("ps", "status") => &[
            "created",
            "dead",
            "exited",
            "paused",
            "removing",
            "restarting",
            "running",
        ],
        (_, "signal") => &[
            "SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGSTOP",
            "SIGCONT",
        ],
        _ => &[],
    }
}

fn adorn(arg: Arg, command: &str, live: &Arc<Live>) -> Arg {
    // Flags are told of when one is begun, or where nothing else may stand.
    let flag = arg.get_long().is_some() || arg.get_short().is_some();
    let arg = match flag && !live.dashed {
        true => arg.hide(true),
        false => arg,
    };
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if !takes || !arg.get_possible_values().is_empty() {
        return arg;
    }
    let id = arg.get_id().to_string();
    let ask = |what: fn(&Live, &str) -> Vec<Candidate>| {
        let (live, command) = (Arc::clone(live), command.to_owned());
        ArgValueCompleter::new(move |typed: &OsStr| matching(what(&live, &command), typed))
    };
    match (command, id.as_str()) {
        ("config" | "ps", "names") => arg.add(ask(Live::services)),
        (_, "services" | "service" | "attach" | "no_attach" | "exit_code_from" | "hash") => {
            arg.add(ask(Live::services))
        }
        (_, "profile") => arg.add(ask(Live::profiles)),
        (_, "project_name") => arg.add(ask(Live::projects)),
        ("cp", "source" | "destination" | "from" | "to" | "dest") => arg.add(copied(live)),
        (_, "images" | "image" | "transformation")
        | ("ls", "name")
        | ("build" | "import" | "commit", "tag" | "name")
        | ("tag", "source" | "target")
        | ("create", "from") => arg.add(ask(Live::images)),
        (command, id) if !usual(command, id).is_empty() => {
            let values: Vec<Candidate> = usual(command, id)
                .iter()
                .map(|v| ((*v).to_owned(), None))
                .collect();
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
                matching(values.clone(), typed)
            }))
        }
        _ if is_path(&arg) => arg.value_hint(ValueHint::AnyPath),
        _ => arg.value_hint(ValueHint::Other),
    }
}

/// Whether files may stand there.
fn is_path(arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    let named = arg.get_value_names().unwrap_or_default();
    let file = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["file", "dir", "path", "context", "tar", "input", "output"]
            .iter()
            .any(|word| name.contains(word))
    };
    file(id) || named.iter().any(|name| file(name))
}

/// A service with its colon, or a path of this machine.
fn copied(live: &Arc<Live>) -> ArgValueCompleter {
    let live = Arc::clone(live);
    ArgValueCompleter::new(move |typed: &OsStr| {
        let services = live.services("cp").into_iter();
        let services = services
            .map(|(name, help)| (format!("{name}:"), help))
            .collect();
        let mut found = matching(services, typed);
        found.extend(
            PathCompleter::any()
                .current_dir(&live.env.cwd)
                .complete(typed),
        );
        found
    })
}

/// A value, and a word on it.
type Candidate = (String, Option<String>);

fn matching(all: Vec<Candidate>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    // What controls a terminal has no place in names; a file may say anything.
    let fits = |value: &str| value.starts_with(&*typed) && !value.contains(char::is_control);
    all.into_iter()
        .filter(|(value, _)| fits(value))
        .map(|(value, help)| CompletionCandidate::new(value).help(help.map(Into::into)))
        .collect()
}

/// What the files say and what runs, looked at when it is first asked for.
struct Live {
    /// Whether the word being typed begins as flags do.
    dashed: bool,
    globals: Globals,
    env: Env,
    world: OnceLock<World>,
}

#[derive(Default)]
struct World {
    project: Option<Project>,
    /// States of each service's containers.
    states: BTreeMap<String, BTreeSet<&'static str>>,
}

impl Live {
    fn request(&self) -> LoadRequest {
        let globals = &self.globals;
        // What lies elsewhere is not fetched for a press of a key.
        LoadRequest {
            files: globals.file.iter().map(Into::into).collect(),
            project_dir: globals.project_directory.clone(),
            project_name: globals.project_name.clone(),
            env_files: globals.env_file.clone(),
            profiles: globals.profile.clone(),
            resolve_env: false,
            print_only: true,
            ..LoadRequest::default()
        }
    }

    fn engine(&self) -> Option<Arc<dyn Engine>> {
        let roots = roots::usable(&self.env).ok()?;
        if !roots.data.exists() || !roots.run.exists() {
            return None;
        }
        let store = Arc::new(Store::open(&roots.data).ok()?);
        engine::open(&roots, store).ok()
    }

    fn world(&self) -> &World {
        self.world.get_or_init(|| {
            let request = self.request();
            // What standard input says is for the command itself.
            let readable = !self.globals.file.iter().any(|file| file == "-");
            let project = readable.then(|| compose::load(&request, &self.env).ok());
            let project = project.flatten();
            let name: Option<ProjectName> = match &project {
                Some(project) => Some(project.name.clone()),
                // A broken file does not keep anybody from what runs.
                None => compose::project_name_only(&request, &self.env)
                    .ok()
                    .flatten(),
            };
            let name = name.or_else(|| {
                let dir = self.env.cwd.file_name()?.to_string_lossy().to_lowercase();
                ProjectName::new(&dir).ok()
            });
            let states = name.map(|name| self.states(&name)).unwrap_or_default();
            World { project, states }
        })
    }

    fn states(&self, name: &ProjectName) -> BTreeMap<String, BTreeSet<&'static str>> {
        let observed = self.engine().and_then(|engine| engine.observe(name).ok());
        let mut states: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        for container in observed.iter().flat_map(|world| &world.containers) {
            if let Some(service) = labels::service(container)
                && !labels::is_oneoff(container)
            {
                let of = states.entry(service.to_string()).or_default();
                of.insert(container.state.as_str());
            }
        }
        states
    }

    /// Services that a command can do something with, all if there are none.
    fn services(&self, command: &str) -> Vec<Candidate> {
        let world = self.world();
        let declared = world
            .project
            .iter()
            .flat_map(|project| project.services.keys());
        let mut names: BTreeSet<String> = declared.map(ToString::to_string).collect();
        names.extend(world.states.keys().cloned());
        let has = |name: &String, wanted: &[&str]| {
            world
                .states
                .get(name)
                .is_some_and(|states| wanted.iter().any(|state| states.contains(state)))
        };
        let fits = |name: &&String| match command {
            "start" => has(name, &["created", "exited"]),
            "stop" | "kill" | "exec" | "attach" | "top" | "port" | "pause" | "stats" => {
                has(name, &["running", "restarting"])
            }
            "unpause" => has(name, &["paused"]),
            "rm" => has(name, &["created", "exited"]),
            "build" => world
                .project
                .as_ref()
                .and_then(|project| project.service(name))
                .is_some_and(|service| service.build.is_some()),
            _ => true,
        };
        let fitting: Vec<&String> = names.iter().filter(fits).collect();
        let chosen = match fitting.is_empty() {
            true => names.iter().collect(),
            false => fitting,
        };
        let told = |name: &String| {
            let states = world.states.get(name)?;
            Some(states.iter().copied().collect::<Vec<_>>().join(", "))
        };
        chosen
            .into_iter()
            .map(|name| (name.clone(), told(name)))
            .collect()
    }

    fn profiles(&self, _command: &str) -> Vec<Candidate> {
        let services = self
            .world()
            .project
            .iter()
            .flat_map(|project| project.services.values());
        let names: BTreeSet<&String> = services.flat_map(|service| &service.profiles).collect();
        names.into_iter().map(|name| (name.clone(), None)).collect()
    }

    /// Names of the images that are here; files of its own only of who may open the store.
    fn images(&self, _command: &str) -> Vec<Candidate> {
        let roots = roots::usable(&self.env).ok();
        let roots = roots.filter(|roots| roots.data.exists());
        let listed = roots.and_then(|roots| Store::look(&roots.data).list().ok());
        let mut names: Vec<String> = listed
            .into_iter()
            .flatten()
            .flat_map(|one| one.names)
            .map(|name| name.to_string())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| (name, None)).collect()
    }

    fn projects(&self, _command: &str) -> Vec<Candidate> {
        let names = self.engine().and_then(|engine| engine.projects().ok());
        names
            .into_iter()
            .flatten()
            .map(|name| (name.to_string(), None))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn ask(line: &[&str], dir: &Path) -> String {
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        let env = Env {
            cwd: dir.to_owned(),
            vars: [("HOIST_DATA_ROOT".to_owned(), "/nowhere".to_owned())].into(),
            ..Env::default()
        };
        answer_docker(&words, &env)
    }

    #[test]
    fn services_profiles_commands_and_values_are_offered_also_beside_broken_files() {
        let dir = std::env::temp_dir().join(format!("hoist-complete-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("made");
        let file = dir.join("compose.yaml");
        let text =
            "services: {web: {image: a}, worker: {image: a, profiles: [dev]}, db: {build: .}}\n";
        std::fs::write(&file, text).expect("written");
        assert_eq!(ask(&["hoist", "up", "w"], &dir), "web\nworker\n:4\n");
        assert_eq!(ask(&["hoist", "build", ""], &dir), "db\n:4\n");
        assert_eq!(ask(&["hoist", "--profile", ""], &dir), "dev\n:4\n");
        assert_eq!(
            ask(&["hoist", "config", "--format", "j"], &dir),
            "json\n:4\n"
        );
        assert_eq!(ask(&["hoist", "cp", "d"], &dir), "db:\n:6\n");
        assert!(
            ask(&["hoist", "do"], &dir).starts_with("doctor\t")
                || ask(&["hoist", "do"], &dir).starts_with("down\t")
        );
        assert!(ask(&["hoist", "up", "--det"], &dir).starts_with("--detach\t"));
        let other = dir.join("other.yaml");
        std::fs::write(&other, "services: {solo: {image: a}}\n").expect("written");
        assert_eq!(
            ask(&["hoist", "-f", "other.yaml", "logs", ""], &dir),
            "solo\n:4\n"
        );
        std::fs::write(&file, "services: [").expect("written");
        assert_eq!(ask(&["hoist", "up", "w"], &dir), ":4\n");
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn every_shell_has_its_script() {
        for shell in [
            ShellArg::Bash,
            ShellArg::Zsh,
            ShellArg::Fish,
            ShellArg::Powershell,
        ] {
            let script = script(shell, "hoist").expect("made");
            let script = String::from_utf8(script).expect("text");
            assert!(script.contains(VARIABLE), "{script}");
        }
    }
}
