//! Compose files become a [`Project`]: named phases, one type out of each.
//!
//! ```text
//! discover ─▶ read ─Raw▶ expand ─Expanded▶ join ─Joined▶ merge ─Merged▶ check ─Checked▶ canon ─Canonical▶ bind ─▶ Project ─▶ select
//! ```
//! In: a [`LoadRequest`], the environment, files; others' files through [`remote::Fetch`]. Out: a project, or every finding of the run with its place.
//! It knows no image and no engine, and opens no connection. Imports: `base`, `sys::fs`.
//! Rules: Compose Specification; where it is silent as Compose 2.40.

mod advice;
mod bind;
mod canon;
mod check;
mod discover;
pub mod dotenv;
mod expand;
pub mod explain;
mod join;
mod json_schema;
mod load;
mod mend;
mod merge;
pub mod model;
pub mod print;
pub mod publish;
mod read;
pub mod remote;
mod report;
mod scalar;
mod schema;
pub mod select;
mod session;
pub mod template;
mod trace;
mod tree;
mod unsupported;
mod yaml;

pub use json_schema::json_schema;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::env::Env;
use crate::base::key::KeyPath;
use crate::base::name::ProjectName;
use crate::base::span::{SourceId, SourceMap};
use canon::{Canonical, Frame};
use discover::{Found, Input};
use expand::Expanded;
use join::Joined;
use model::Project;
use read::Raw;
use session::{Origin, Session};
use template::Variable;
use tree::Node;

/// What the command line says about the project.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// `-f`, in order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// The text of standard input, read by the caller when `files` holds `-`.
    pub stdin: Option<String>,
    /// `--project-directory`.
    pub project_dir: Option<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--env-file`, in order.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// Whether variables are replaced; false only for `config --no-interpolate`.
    pub interpolate: bool,
    /// Whether implied values are filled in; false only for `config --no-normalize`.
    pub normalize: bool,
    /// Whether what services refer to must be there; false only for `config --no-consistency`.
    pub consistent: bool,
    /// Whether paths are made absolute; false only for `config --no-path-resolution`.
    pub resolve_paths: bool,
    /// Whether `env_file`s are read; false where `config` prints only names.
    pub resolve_env: bool,
    /// Whether the document names the `env_file`s, which the hashes of services count.
    pub name_env_files: bool,
    /// Whether nothing will be run (`config`): values that only a container's start refuses are warnings then.
    pub print_only: bool,
    /// Whether the project comes with its document; what does not print it need not wait for it.
    pub document: bool,
    /// Whether networks and volumes that no service uses are meant, too.
    pub all_resources: bool,
    /// Whether names of containers and images are made as Compose v1 made them.
    pub compatible: bool,
    /// Who fetches files that lie elsewhere; without one they are refused.
    pub remote: Option<std::sync::Arc<dyn remote::Fetch>>,
}

impl Default for LoadRequest {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            stdin: None,
            project_dir: None,
            project_name: None,
            env_files: Vec::new(),
            profiles: Vec::new(),
            interpolate: true,
            normalize: true,
            consistent: true,
            resolve_paths: true,
            resolve_env: true,
            name_env_files: false,
            print_only: false,
            document: true,
            all_resources: false,
            compatible: false,
            remote: None,
        }
    }
}

/// Why no project could be loaded: findings, and the texts they point into.
#[derive(Debug, Clone, Default)]
pub struct LoadError {
    /// All findings of the run, warnings too.
    pub diagnostics: Diagnostics,
    /// Every text that was read.
    pub sources: SourceMap,
}

impl std::fmt::Display for LoadError {
    /// The headlines of the errors, one a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors = self.diagnostics.clone().sorted().into_iter();
        let errors = errors.filter(|d| d.severity == crate::base::diag::Severity::Error);
        let lines: Vec<String> = errors.map(|d| d.headline(&self.sources)).collect();
        f.write_str(&lines.join("\n"))
    }
}
impl std::error::Error for LoadError {}

/// A document that was not bound to types, for `config --no-interpolate` and `config --no-normalize`.
#[derive(Debug, Clone)]
pub struct Document {
    /// What `config` prints.
    pub json: Map<String, Json>,
    /// Warnings found on the way.
    pub warnings: Diagnostics,
    /// Every text that was read.
    pub sources: SourceMap,
}

/// Loads a project. All services are in it, those that are off by their profiles too: `select` narrows it down.
///
/// # Errors
/// [`LoadError`] with every error that the phases found in one run.
pub fn load(request: &LoadRequest, env: &Env) -> Result<Project, LoadError> {
    let mut session = Session::new(env, request.interpolate);
    let Some((stage, canonical)) = canonical(request, env, &mut session, false) else {
        return Err(failed(session));
    };
    let bound = bind::bind(&canonical, &stage.frame(request), &mut session);
    if session.diags.has_errors() {
        return Err(failed(session));
    }
    report::finish(&mut session);
    let files = stage.found.inputs.iter().map(|input| match input {
        Input::File(path) => path.clone(),
        Input::Stdin => PathBuf::from("-"),
    });
    Ok(Project {
        files: files.collect(),
        document: match request.document {
            true => document_of(canonical, stage.shown.as_deref(), true),
            false => Map::new(),
        },
        name: stage.name,
        dir: stage.found.dir,
        env_files: stage.found.env_files,
        profiles: stage.found.profiles,
        services: bound.services,
        others: Default::default(),
        networks: bound.networks,
        volumes: bound.volumes,
        configs: bound.configs,
        secrets: bound.secrets,
        models: bound.models,
        jobs: bound.jobs,
        all_resources: request.all_resources,
        separator: if request.compatible { '_' } else { '-' },
        remote: session.remotes.take_found(),
        sources: session.sources,
        warnings: session.diags,
    })
}

/// Loads a project's document without binding it to types: all services and everything else that the files hold.
///
/// # Errors
/// [`LoadError`] as [`load`].
pub fn document(request: &LoadRequest, env: &Env) -> Result<Document, LoadError> {
    let mut session = Session::new(env, request.interpolate);
    let Some((stage, canonical)) = canonical(request, env, &mut session, true) else {
        return Err(failed(session));
    };
    if session.diags.has_errors() {
        return Err(failed(session));
    }
    report::finish(&mut session);
    let none = canonical.services.is_empty();
    let mut json = document_of(canonical, stage.shown.as_deref(), false);
    if none {
        json.remove("services");
    }
    Ok(Document {
        json,
        warnings: session.diags,
        sources: session.sources,
    })
}

/// The project's name where no compose file is needed: `-p` or `COMPOSE_PROJECT_NAME`.
///
/// # Errors
/// [`LoadError`] when the name breaks its rule or an env file can't be read.
pub fn project_name_only(
    request: &LoadRequest,
    env: &Env,
) -> Result<Option<ProjectName>, LoadError> {
    let mut session = Session::new(env, true);
    let dir = request
        .project_dir
        .clone()
        .unwrap_or_else(|| env.cwd.clone());
    let Some((vars, _)) = discover::variables(request, env, &mut session, &dir) else {
        return Err(failed(session));
    };
    match given_name(request, &vars) {
        None => Ok(None),
        Some(Ok(name)) => Ok(Some(name)),
        Some(Err(fault)) => {
            session.diags.push(fault);
            Err(failed(session))
        }
    }
}

/// The directory that names the project, absolute: where its files are. `None` where there are none, or where finding them
/// fails; [`load`] tells why then.
pub fn home(request: &LoadRequest, env: &Env) -> Option<PathBuf> {
    let mut session = Session::new(env, true);
    discover::discover(request, env, &mut session).map(|found| found.home)
}

/// The variables that the project's files see, for `config --environment`.
///
/// # Errors
/// [`LoadError`] when no file is found or an env file can't be read.
pub fn environment(
    request: &LoadRequest,
    env: &Env,
) -> Result<BTreeMap<String, String>, LoadError> {
    let mut session = Session::new(env, true);
    match discover::discover(request, env, &mut session) {
        Some(found) => Ok((*found.vars).clone()),
        None => Err(failed(session)),
    }
}

/// The variables that the compose files refer to, by name, for `config --variables`.
///
/// # Errors
/// [`LoadError`] as [`load`].
pub fn variables(request: &LoadRequest, env: &Env) -> Result<Vec<Variable>, LoadError> {
    let request = LoadRequest {
        interpolate: false,
        resolve_env: false,
        ..request.clone()
    };
    let document = document(&request, env)?;
    let mut all = BTreeMap::new();
    for value in document.json.values() {
        collect(value, &mut all);
    }
    Ok(all.into_values().collect())
}

fn collect(value: &Json, all: &mut BTreeMap<String, Variable>) {
    match value {
        Json::String(text) => {
            for variable in template::variables(text) {
                all.entry(variable.name.clone()).or_insert(variable);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, all)),
        Json::Object(entries) => entries.values().for_each(|entry| collect(entry, all)),
        _ => {}
    }
}

fn failed(mut session: Session<'_>) -> LoadError {
    report::finish(&mut session);
    LoadError {
        diagnostics: session.diags,
        sources: session.sources,
    }
}

/// What the phases behind discovery know of the project.
#[derive(Debug)]
struct Stage {
    found: Found,
    name: ProjectName,
    /// The name as documents and `COMPOSE_PROJECT_NAME` show it.
    shown: Option<String>,
}

impl Stage {
    fn frame<'f>(&'f self, request: &LoadRequest) -> Frame<'f> {
        Frame {
            name: &self.name,
            normalize: request.normalize,
            consistent: request.consistent,
            relative_to: (!request.resolve_paths).then_some(self.found.dir.as_path()),
            resolve_env: request.resolve_env,
            name_env_files: request.name_env_files,
            as_written: false,
            print_only: request.print_only,
            profiles: &self.found.profiles,
        }
    }
}

/// The phases up to the canonical tree; `None` when a finding says why there is none.
fn canonical(
    request: &LoadRequest,
    env: &Env,
    session: &mut Session<'_>,
    as_written: bool,
) -> Option<(Stage, Canonical)> {
    let mut found = discover::discover(request, env, session)?;
    let files = read_all(&found, request, session);
    if files.is_empty() {
        return None;
    }
    // A project without a name has faults of its own, which are told in the same run.
    let name = project_name(request, &found, &files, session)
        .or_else(|| ProjectName::normalized("unnamed"))?;
    let shown = shown_name(request, &found, &files, &name);
    let mut vars = (*found.vars).clone();
    let seen = shown.clone().unwrap_or_else(|| name.to_string());
    vars.insert("COMPOSE_PROJECT_NAME".to_owned(), seen);
    found.vars = Rc::new(vars);
    session.vars = found.vars.clone();
    let mut joined: Vec<Joined> = Vec::new();
    let mut known = join::Known::default();
    for file in files {
        session.set_vars(file.id, found.vars.clone());
        let expanded: Expanded = match request.interpolate {
            true => expand::expand(
                file.raw,
                &session.text(file.id),
                &found.vars,
                &mut session.warned,
                &mut session.diags,
            ),
            false => expand::keep(file.raw),
        };
        joined.push(join::join(session, &mut known, expanded, file.path));
    }
    let merged = merge::merge(
        joined,
        !session.interpolate,
        &mut session.diags,
        check::early,
    );
    let checked = check::check(merged, &mut session.diags);
    let stage = Stage { found, name, shown };
    let frame = Frame {
        as_written,
        ..stage.frame(request)
    };
    let canonical = canon::canon(checked, &frame, session);
    Some((stage, canonical))
}

/// One file as read, not yet expanded.
struct ReadFile {
    id: SourceId,
    path: PathBuf,
    raw: Raw,
}

fn read_all(found: &Found, request: &LoadRequest, session: &mut Session<'_>) -> Vec<ReadFile> {
    let mut files = Vec::new();
    for input in &found.inputs {
        let origin = Origin {
            dir: found.dir.clone(),
            vars: found.vars.clone(),
        };
        let (id, path) = match input {
            Input::File(path) => (session.read_file(path, None, origin), path.clone()),
            Input::Stdin => {
                let text = request.stdin.clone().unwrap_or_default();
                (
                    Some(session.add("<stdin>".to_owned(), text, origin)),
                    PathBuf::from("-"),
                )
            }
        };
        let Some(id) = id else { continue };
        let text = session.text(id);
        let raw = read::read(id, &text, &mut session.diags);
        session.partial |= !raw.complete;
        session
            .remotes
            .note_variables(id, &raw.documents, &found.vars);
        files.push(ReadFile { id, path, raw });
    }
    files
}

/// The name given outside of the files.
fn given_name(
    request: &LoadRequest,
    vars: &expand::Vars,
) -> Option<Result<ProjectName, Diagnostic>> {
    let set = |text: &&str| !text.is_empty();
    let text = request.project_name.as_deref().filter(set).or_else(|| {
        let text = vars.get("COMPOSE_PROJECT_NAME").map(String::as_str);
        text.filter(set)
    })?;
    Some(ProjectName::new(text).map_err(|error| Diagnostic::error(error.to_string())))
}

/// The names in the files, the last one first.
fn written_names(files: &[ReadFile]) -> impl Iterator<Item = (&Node, &str)> {
    let documents = files
        .iter()
        .rev()
        .flat_map(|file| file.raw.documents.iter().rev());
    documents
        .filter_map(|document| document.get("name"))
        .filter_map(|node| Some((node, node.as_text()?)))
}

/// A text with its variables replaced, if they are to be; `None` where that can't be done.
fn filled(request: &LoadRequest, found: &Found, text: &str) -> Option<String> {
    if !request.interpolate {
        return Some(text.to_owned());
    }
    let lookup = |name: &str| found.vars.get(name).cloned();
    template::substitute(text, &lookup, &mut Vec::new()).ok()
}

/// The name as documents show it. Without normalization it is as it is written, of which Compose makes no difference
/// between a project's name and what variables see of it; without interpolation only what is written counts.
fn shown_name(
    request: &LoadRequest,
    found: &Found,
    files: &[ReadFile],
    name: &ProjectName,
) -> Option<String> {
    let mut written = written_names(files).map(|(_, text)| text);
    let text = match (request.normalize, request.interpolate) {
        (false, false) => return written.next().map(str::to_owned),
        (false, true) if given_name(request, &found.vars).is_none() => {
            written.find(|text| !text.is_empty())
        }
        _ => None,
    };
    text.and_then(|text| filled(request, found, text))
        .or_else(|| Some(name.to_string()))
}

/// `-p`, `COMPOSE_PROJECT_NAME`, the last `name:`, the name of the directory.
fn project_name(
    request: &LoadRequest,
    found: &Found,
    files: &[ReadFile],
    session: &mut Session<'_>,
) -> Option<ProjectName> {
    match given_name(request, &found.vars) {
        Some(Ok(name)) => return Some(name),
        Some(Err(fault)) => {
            session.diags.push(fault);
            return None;
        }
        None => {}
    }
    if let Some((node, text)) = written_names(files).find(|(_, text)| !text.is_empty()) {
        // What is wrong in it is told where variables are replaced.
        let filled = filled(request, found, text)?;
        if let Some(name) = ProjectName::normalized(&filled) {
            return Some(name);
        }
        let text = format!("no project name can be made of `{filled}`");
        let fault = Diagnostic::error(text)
            .at(node.span)
            .path(&KeyPath::root().key("name"))
            .label("expected lowercase letters, digits, `-` and `_`");
        session
            .diags
            .push(fault.hint("write a name such as `name: my-app`"));
        return None;
    }
    let base = found.home.file_name().unwrap_or_default().to_string_lossy();
    let name = ProjectName::normalized(&base);
    if name.is_none() {
        let shown = found.home.display();
        let text = format!("no project name can be made of the directory `{shown}`");
        session
            .diags
            .push(Diagnostic::error(text).hint("give one with -p or with `name:`"));
    }
    name
}

/// The document that `config` prints, of all services; `typed` when it has been bound to types.
fn document_of(canonical: Canonical, name: Option<&str>, typed: bool) -> Map<String, Json> {
    let mut document = Map::new();
    if let Some(name) = name {
        document.insert("name".to_owned(), Json::String(name.to_owned()));
    }
    let (sections, extensions) = canonical.into_parts();
    for (key, section) in &sections {
        if !section.is_empty() || *key == "services" {
            let section = Json::Object(tree::entries_json(section));
            document.insert((*key).to_owned(), section);
        }
    }
    if typed {
        without_ipam_options(document.get_mut("networks"));
    }
    for (key, value) in tree::entries_json(&extensions) {
        document.insert(key, value);
    }
    document
}

/// Compose's own model has no place for these options, so that its document lacks them.
fn without_ipam_options(networks: Option<&mut Json>) {
    let networks = networks.and_then(Json::as_object_mut);
    for network in networks.into_iter().flat_map(Map::values_mut) {
        if let Some(ipam) = network.get_mut("ipam").and_then(Json::as_object_mut) {
            ipam.remove("options");
        }
    }
}

#[cfg(test)]
mod tests;
