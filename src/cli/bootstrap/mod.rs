//! `init`: what lies in a directory → files that bring it up. Nothing is run, nothing is asked of a network.
//!
//! In: a [`Listing`]. Out: [`Draft`]: texts of files with what was seen and why. The same directory gives the same
//! texts, byte for byte. It writes nothing: `commands::init` does. A kind a file: `python`, `node`, `compiled` (Rust, Go),
//! `notebook`, `present` (a Dockerfile that is there already); `databases` knows drivers, `render` writes the texts.
//! Imports: `listing`. Sources: documentation of pip, uv, Poetry, npm, Yarn, pnpm, Cargo, Go, JupyterLab; Dockerfile and
//! compose references of Docker.

mod compiled;
mod databases;
mod listing;
mod node;
mod notebook;
mod present;
mod python;
mod render;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use listing::Listing;

use databases::Database;

/// Names of compose files, best first; one that is there is never passed over.
pub const COMPOSE_NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// A part of the project that becomes one service.
#[derive(Debug, Default, Clone, PartialEq)]
struct Component {
    /// Name of the service.
    service: String,
    /// Its directory, relative; empty for the one that was looked at.
    dir: String,
    /// What it is: `a FastAPI application`.
    what: String,
    /// What was seen, and what follows from it, a line each.
    seen: Vec<String>,
    /// What the user should know or do, a line each.
    notes: Vec<String>,
    /// Text of its Dockerfile; `None` where there is one already.
    dockerfile: Option<String>,
    /// Name of the Dockerfile that is there, where it is not `Dockerfile`.
    named: Option<String>,
    /// Lines of its `.dockerignore` beside those that all have.
    ignore: Vec<&'static str>,
    /// Where it listens.
    port: Option<u16>,
    /// How one sees that it does.
    probe: Probe,
    /// Variables of the container.
    environment: Vec<(String, String)>,
    /// Databases whose drivers it has.
    databases: BTreeSet<Database>,
    /// Rules of `develop.watch`.
    watch: Vec<Rule>,
    /// A line of `volumes`, with what it is for.
    bind: Option<(String, String)>,
    /// `user`, where it is not the image's, with the reason.
    user: Option<(String, String)>,
}

/// How one sees that a service listens.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Probe {
    /// Nothing is known, or the Dockerfile says it.
    #[default]
    None,
    /// A command in the container.
    Command(Vec<String>),
    /// hoist asks from outside; the image may have no program for it.
    Outside,
}

/// A rule of `develop.watch`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Why.
    why: &'static str,
    /// What is followed, below the component's directory; empty is all of it.
    path: String,
    /// `sync`, `sync+restart`, `rebuild`.
    action: &'static str,
    /// Where it goes.
    target: Option<&'static str>,
    /// What is left out.
    ignore: Vec<&'static str>,
}

impl Rule {
    fn rebuild(path: &str, why: &'static str) -> Self {
        Self {
            why,
            path: path.to_owned(),
            action: "rebuild",
            target: None,
            ignore: Vec::new(),
        }
    }
    fn sync(action: &'static str, why: &'static str, ignore: &[&'static str]) -> Self {
        Self {
            why,
            path: String::new(),
            action,
            target: Some("/app"),
            ignore: ignore.to_vec(),
        }
    }
}

/// Files to write, and what led to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Files by relative path, in the order they are written; the compose file comes last.
    pub files: Vec<(String, String)>,
    /// What was found and what follows from it.
    pub story: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Drafts the files for a directory; `None` when nothing in it is known. `project` is the directory's name, `owner` who it
/// belongs to.
pub fn draft(listing: &Listing, project: &str, owner: (u32, u32)) -> Option<Draft> {
    let mut components = at(listing, "", project, owner).map_or_else(Vec::new, |one| vec![one]);
    if components.is_empty() {
        components = present::named(listing);
    }
    if components.is_empty() {
        let below = listing.directories();
        components = below
            .filter_map(|dir| at(listing, dir, dir, owner))
            .collect();
    }
    if components.is_empty() {
        return None;
    }
    distinct(&mut components);
    Some(render::draft(listing, &components))
}

/// The component in one directory, best-known kind first: what is built already, then what has a manifest.
fn at(listing: &Listing, dir: &str, project: &str, owner: (u32, u32)) -> Option<Component> {
    let here = listing.below(dir);
    let mut found = present::dockerfile(&here)
        .or_else(|| python::look(&here))
        .or_else(|| node::look(&here))
        .or_else(|| compiled::rust(&here))
        .or_else(|| compiled::go(&here))
        .or_else(|| notebook::look(&here, owner))
        .or_else(|| python::script(&here))?;
    found.dir = dir.to_owned();
    if found.service.is_empty() {
        found.service = match dir {
            "" => "app".to_owned(),
            _ => service_name(project),
        };
    }
    Some(found)
}

/// A text as a service's name.
fn service_name(text: &str) -> String {
    let keep = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '_') => c,
        _ => '-',
    };
    let name: String = text.chars().map(keep).collect();
    match name.trim_matches(['-', '_']) {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}

/// Two directories may give one name, and the databases have names too.
fn distinct(components: &mut [Component]) {
    let taken = components.iter().flat_map(|one| &one.databases);
    let mut names: BTreeSet<String> = taken.map(|one| one.service().to_owned()).collect();
    for component in components {
        let base = component.service.clone();
        let mut number = 2;
        while !names.insert(component.service.clone()) {
            component.service = format!("{base}-{number}");
            number += 1;
        }
    }
}

/// A command as the exec form of a Dockerfile.
fn exec_form<S: AsRef<str>>(words: &[S]) -> String {
    let quoted = words
        .iter()
        .map(|word| serde_json::Value::from(word.as_ref()).to_string());
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

/// The first group of the first match.
fn first(pattern: &str, text: &str) -> Option<String> {
    let found = regex::Regex::new(pattern).ok()?.captures(text)?;
    Some(found.get(1)?.as_str().to_owned())
}
