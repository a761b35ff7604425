//! Which files make up the project, and which variables they see.
//!
//! In: [`LoadRequest`] and the environment. Out: [`Found`]. It reads env files, no compose file.
//! Imports: `base`, `dotenv`, `expand` (variables), `join` (env files), `remote`, `session`.
//! Rules: Docker documentation, "Set, use, and manage variables", "How Compose finds its file"; as Compose (`cli/options.go`).

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::LoadRequest;
use super::expand::Vars;
use super::remote::{self, RemoteRef};
use super::session::{Session, absolute};
use super::{dotenv, join};
use crate::base::diag::Diagnostic;
use crate::base::env::Env;

/// Names looked for, best first; each with the override file that is loaded beside it.
pub(super) const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// A compose file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// A file, absolute.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// What discovery found.
#[derive(Debug)]
pub(super) struct Found {
    /// Compose files in merge order.
    pub(super) inputs: Vec<Input>,
    /// The project directory, absolute.
    pub(super) dir: PathBuf,
    /// The directory that names the project, absolute: `dir`, but never that of a remote file.
    pub(super) home: PathBuf,
    /// Variables: the environment over the env files.
    pub(super) vars: Rc<Vars>,
    /// Env files that were read, absolute.
    pub(super) env_files: Vec<PathBuf>,
    /// Active profiles.
    pub(super) profiles: Vec<String>,
}

/// Finds the files; `None` when a finding says why that failed.
pub(super) fn discover(
    request: &LoadRequest,
    env: &Env,
    session: &mut Session<'_>,
) -> Option<Found> {
    session.remotes.fetch_with(request.remote.as_ref());
    let local =
        |file: &&PathBuf| *file != Path::new("-") && !RemoteRef::is_one(&file.to_string_lossy());
    let first = request.files.first().filter(local);
    let start = match (&request.project_dir, first) {
        (Some(dir), _) => at(env, dir),
        (None, Some(file)) => parent(&at(env, file)),
        (None, None) => env.cwd.clone(),
    };
    let (mut vars, mut env_files) = variables(request, env, session, &start)?;
    let (inputs, remote) = inputs(request, env, session, &vars, &start)?;
    let dir = match (&request.project_dir, inputs.first()) {
        (Some(dir), _) => at(env, dir),
        (None, Some(Input::File(file))) if remote.is_none() => parent(file),
        (None, _) => start.clone(),
    };
    if env_files.is_empty() && dir != start {
        (vars, env_files) = variables(request, env, session, &dir)?;
    }
    // As Compose, no profile at all is the profile without a name.
    let profiles = match request.profiles.is_empty() {
        true => vars
            .get("COMPOSE_PROFILES")
            .map_or("", String::as_str)
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect(),
        false => request.profiles.clone(),
    };
    Some(Found {
        inputs,
        // As Compose: the first remote file's directory, even where another one is asked for.
        dir: remote.unwrap_or_else(|| dir.clone()),
        home: dir,
        vars: Rc::new(vars),
        env_files,
        profiles,
    })
}

/// The variable that keeps the default env file from being read.
const SWITCH: &str = "COMPOSE_DISABLE_ENV_FILE";

/// Whether the switch is on; `None` when a finding says that it is neither on nor off.
fn switched_off(text: Option<&String>, session: &mut Session<'_>) -> Option<bool> {
    match text.map(String::as_str) {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Some(false),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Some(true),
        Some(text) => {
            let fault = Diagnostic::error(format!("{SWITCH} is `{text}`, which is no boolean"));
            session
                .diags
                .push(fault.hint("write 1 or true to switch the file off, 0 or false to read it"));
            None
        }
    }
}

/// The environment with the env files of `dir` below it.
pub(super) fn variables(
    request: &LoadRequest,
    env: &Env,
    session: &mut Session<'_>,
    dir: &Path,
) -> Option<(Vars, Vec<PathBuf>)> {
    let mut vars = env.vars.clone();
    let asked: Vec<PathBuf> = match request.env_files.is_empty() {
        true => split(vars.get("COMPOSE_ENV_FILES"), ","),
        false => request.env_files.clone(),
    };
    let files: Vec<PathBuf> = if !asked.is_empty() {
        asked.iter().map(|file| at(env, file)).collect()
    } else if switched_off(vars.get(SWITCH), session)? {
        Vec::new()
    } else {
        Some(dir.join(".env"))
            .filter(|file| file.is_file())
            .into_iter()
            .collect()
    };
    session.begin_scope(None);
    let mut below = dotenv::Variables::new();
    for file in &files {
        let found = join::env_file(session, file, None, &vars, &below)?;
        below.extend(found);
    }
    // As Compose, a default env file that switches itself off still gives the variables of the program.
    if asked.is_empty() && !vars.contains_key(SWITCH) && switched_off(below.get(SWITCH), session)? {
        below.retain(|name, _| name.starts_with("COMPOSE_"));
    }
    for (name, value) in below {
        vars.entry(name).or_insert(value);
    }
    Some((vars, files))
}

/// The files that `-f` or `COMPOSE_FILE` name, as written.
fn named(request: &LoadRequest, vars: &Vars) -> Vec<PathBuf> {
    if !request.files.is_empty() {
        return request.files.clone();
    }
    let files = vars.get("COMPOSE_FILE");
    // The usual separator is a part of every address.
    if let Some(one) = files.map(|text| text.trim())
        && RemoteRef::is_one(one)
    {
        return vec![PathBuf::from(one)];
    }
    let separator = vars
        .get("COMPOSE_PATH_SEPARATOR")
        .map_or(":", String::as_str);
    split(files, separator)
}

/// The named files, remote ones fetched, and the directory of the first remote one.
fn named_inputs(
    named: &[PathBuf],
    env: &Env,
    session: &mut Session<'_>,
) -> Option<(Vec<Input>, Option<PathBuf>)> {
    let mut inputs = Vec::new();
    let mut dir = None;
    for file in named {
        if file == Path::new("-") {
            inputs.push(Input::Stdin);
            continue;
        }
        inputs.push(Input::File(
            match remote::locate(session, "-f", &file.to_string_lossy(), None).ok()? {
                Some(located) => {
                    dir.get_or_insert_with(|| parent(&located.file));
                    located.file
                }
                None => at(env, file),
            },
        ));
    }
    Some((inputs, dir))
}

/// The compose files, and the directory of the first one that is remote.
fn inputs(
    request: &LoadRequest,
    env: &Env,
    session: &mut Session<'_>,
    vars: &Vars,
    start: &Path,
) -> Option<(Vec<Input>, Option<PathBuf>)> {
    let named = named(request, vars);
    if !named.is_empty() {
        return named_inputs(&named, env, session);
    }
    for dir in start.ancestors() {
        let candidates: Vec<PathBuf> = NAMES
            .iter()
            .map(|name| dir.join(name))
            .filter(|file| file.exists())
            .collect();
        let Some(chosen) = candidates.first() else {
            continue;
        };
        if candidates.len() > 1 {
            let others: Vec<String> = candidates
                .iter()
                .skip(1)
                .map(|file| session.show(file))
                .collect();
            let text = format!(
                "several compose files here; using `{}`",
                session.show(chosen)
            );
            let hint = format!(
                "name the one you mean with -f; not read: {}",
                others.join(", ")
            );
            session.diags.push(Diagnostic::warning(text).hint(hint));
        }
        let above = OVERRIDES
            .iter()
            .map(|name| dir.join(name))
            .find(|file| file.exists());
        let files = [Some(chosen.clone()), above].into_iter().flatten();
        return Some((files.map(Input::File).collect(), None));
    }
    session.diags.push(
        Diagnostic::error("no configuration file provided: not found")
            .hint("run it in a directory with a compose.yaml, or name the file with -f"),
    );
    None
}

fn at(env: &Env, path: &Path) -> PathBuf {
    absolute(&env.cwd, env.home.as_deref(), &path.to_string_lossy())
}

fn parent(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_path_buf()
}

/// The paths in a variable; blanks belong to them.
fn split(text: Option<&String>, separator: &str) -> Vec<PathBuf> {
    let text = text.map_or("", String::as_str);
    let separator = if separator.is_empty() { ":" } else { separator };
    let parts = text.split(separator).filter(|part| !part.is_empty());
    parts.map(PathBuf::from).collect()
}
