//! `include`: other files' services and resources become the project's own.
//!
//! In: a document. Out: the same without `include`, with the entries of the files it names. A file that is included
//! again and again in the same way is read twice at most. Imports: as `join`.
//! Rules: Compose Specification, "include".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Known, Link, load, one};
use crate::base::diag::Diagnostic;
use crate::base::key::KeyPath;
use crate::base::span::{SourceId, Span};
use crate::compose::expand::{self, Vars};
use crate::compose::remote::Bounds;
use crate::compose::session::{Origin, Reason, Session};
use crate::compose::tree::{Entries, Node, Tag, Value};
use crate::compose::{check, dotenv, merge, remote};

/// Sections whose entries an included file brings in.
const IMPORTED: [&str; 7] = [
    "services", "jobs", "networks", "volumes", "configs", "secrets", "models",
];

/// What `include` has brought in so far.
#[derive(Debug, Default)]
pub(super) struct Models {
    entries: BTreeMap<Entry, Vec<Met>>,
    vars: BTreeMap<(Vec<PathBuf>, Bounds), Vec<Env>>,
}

/// An entry that was met with some variables.
#[derive(Debug)]
struct Met {
    vars: Rc<Vars>,
    /// What it brought in, if that was kept.
    model: Option<Node>,
}

/// What an entry of `include` means, but for its variables.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    paths: Vec<PathBuf>,
    dir: PathBuf,
    /// What the including file may read.
    bounds: Bounds,
}

/// Variables that were made of others and of env files.
#[derive(Debug)]
struct Env {
    above: Rc<Vars>,
    files: Vec<SourceId>,
    made: Rc<Vars>,
}

impl Models {
    /// Whether an entry was met before, and what it brought in if it was kept.
    fn find(&self, entry: &Entry, vars: &Rc<Vars>) -> Option<&Option<Node>> {
        let known = self.entries.get(entry)?;
        let twin = known.iter().rev().find(|met| Rc::ptr_eq(&met.vars, vars))?;
        Some(&twin.model)
    }
    /// Notes an entry, with what it brought in if that is to be kept.
    fn note(&mut self, entry: Entry, vars: Rc<Vars>, model: Option<Node>) {
        let met = self.entries.entry(entry).or_default();
        met.push(Met { vars, model });
    }
}

/// Files that may include each other in a row.
const ROW: usize = 100;

/// Resolves `include` of a document. `chain` holds the files being included, the document's own last.
pub(super) fn all(
    session: &mut Session<'_>,
    known: &mut Known,
    document: &mut Node,
    chain: &[Link],
) {
    let Some(include) = document
        .entries_mut()
        .and_then(|root| root.shift_remove("include"))
        .filter(|include| include.tag != Tag::Reset)
    else {
        return;
    };
    let Value::List(items) = &include.value else {
        if !include.is_null() {
            let fault = format!("`include` must be a list, but this is {}", include.kind());
            let fault = Diagnostic::error(fault)
                .at(include.place())
                .path(&KeyPath::root().key("include"))
                .label("expected a list of paths");
            session.diags.push(match include.scalar() {
                Some(path) => fault.hint(format!("write it as a list: `- {path}`")),
                None => fault.hint("start each entry with `- `"),
            });
        }
        return;
    };
    // What could not be filled in has been told.
    for item in items.iter().filter(|item| item.tag != Tag::Reset) {
        if let Some(model) = include_one(session, known, item, chain) {
            import(session, document, model, item.place());
        }
    }
}

/// One text, or the texts of a list.
fn texts(node: Option<&Node>) -> Vec<&Node> {
    match node.map(|node| &node.value) {
        Some(Value::Text(_)) => node.into_iter().collect(),
        Some(Value::List(items)) => items
            .iter()
            .filter(|item| item.as_text().is_some())
            .collect(),
        _ => Vec::new(),
    }
}

/// The files that an entry names.
fn files_of<'n>(session: &mut Session<'_>, item: &'n Node) -> Vec<&'n Node> {
    match &item.value {
        Value::Text(_) => vec![item],
        Value::Map(entries) => {
            for (key, value) in entries {
                if !matches!(key.as_str(), "path" | "env_file" | "project_directory") {
                    if key.starts_with("x-") {
                        continue;
                    }
                    let fault = format!("unknown key `{key}` in `include` is ignored");
                    session.diags.push(
                        Diagnostic::warning(fault)
                            .at(value.key_place())
                            .hint("the keys are path, env_file and project_directory"),
                    );
                }
            }
            texts(entries.get("path"))
        }
        _ => Vec::new(),
    }
}

/// A file to include: its path, the place it is asked for at unless it was fetched, the place that names it.
type Asked = (PathBuf, Option<Span>, Span);

/// What an entry of `include` brings in.
fn include_one(
    session: &mut Session<'_>,
    known: &mut Known,
    item: &Node,
    chain: &[Link],
) -> Option<Node> {
    let mut paths: Vec<Asked> = Vec::new();
    for file in files_of(session, item) {
        let text = file.as_text()?;
        // What was fetched is read whatever the including file may read.
        let at = file.place();
        paths.push(
            match remote::locate(session, "include", text, Some(at)).ok()? {
                Some(located) => (located.file, None, at),
                None => (session.absolute(file.span, text), Some(at), at),
            },
        );
    }
    let Some((first, ..)) = paths.first() else {
        let fault = format!(
            "an entry of `include` must be a path or a mapping with `path`, but this is {}",
            item.kind()
        );
        session
            .diags
            .push(Diagnostic::error(fault).at(item.place()));
        return None;
    };
    if let Some(fault) = endless(session, item, chain, first) {
        session.diags.push(fault);
        return None;
    }
    let dir = match item.get("project_directory").and_then(Node::as_text) {
        Some(text) => session.absolute(item.span, text),
        None => first.parent().unwrap_or(Path::new("/")).to_path_buf(),
    };
    let vars = include_vars(session, known, item, &dir)?;
    let entry = Entry {
        paths: paths.iter().map(|(path, ..)| path.clone()).collect(),
        dir,
        bounds: session.remotes.bounds_of(item.span.source),
    };
    // Most files are included once, and keeping their trees would copy them. What comes a second time may come any
    // number of times: files that include the same ones double the number with each level.
    let again = match known.included.find(&entry, &vars) {
        Some(Some(model)) => return Some(model.clone()),
        found => found.is_some(),
    };
    let mut chain = chain.to_vec();
    chain.push(Link {
        path: first.clone(),
        at: Some(item.place()),
    });
    let mut documents = Vec::new();
    for (path, asked, at) in paths {
        let origin = Origin {
            dir: entry.dir.clone(),
            vars: vars.clone(),
        };
        let id = session.read_file(&path, asked, origin)?;
        session.remotes.allow(id, &entry.dir, item.place());
        session.sources.set_named_at(id, Some(at));
        session.set_reason(id, Reason::Include);
        let expanded = load(session, id, &vars);
        documents.extend(one(session, known, expanded, &chain).documents);
    }
    let mut root = merge::stack(
        documents,
        !session.interpolate,
        &mut session.diags,
        check::early,
    )?;
    check::early(&mut root, &mut session.diags);
    let kept = again.then(|| root.clone());
    known.included.note(entry, vars, kept);
    Some(root)
}

/// The finding that a file is being included already, or that too many are.
fn endless(session: &Session<'_>, item: &Node, chain: &[Link], first: &Path) -> Option<Diagnostic> {
    let path = KeyPath::root().key("include");
    let Some(start) = chain.iter().position(|link| link.path == first) else {
        let text = format!("more than {ROW} files include each other in a row");
        let fault = Diagnostic::error(text).at(item.place()).path(&path);
        let hint = "include this file in one nearer to the beginning of the row";
        return (chain.len() > ROW).then(|| fault.hint(hint));
    };
    let shown = chain.iter().map(|link| link.path.as_path()).chain([first]);
    let shown: Vec<String> = shown.map(|path| session.show(path)).collect();
    let mut fault = Diagnostic::error(format!("files include each other: {}", shown.join(" -> ")))
        .at(item.place())
        .path(&path)
        .label("this file is being included already");
    for (link, shown) in chain.iter().zip(&shown).skip(start + 1) {
        fault = fault.related(link.at, format!("`{shown}` is included here"));
    }
    Some(fault.hint("remove one of these includes"))
}

/// The including file's variables, and below them those of the env files.
fn include_vars(
    session: &mut Session<'_>,
    known: &mut Known,
    item: &Node,
    dir: &Path,
) -> Option<Rc<Vars>> {
    let above = session
        .origin(item.span.source)
        .map(|origin| origin.vars.clone())
        .unwrap_or_default();
    let files = env_files(session, item, dir);
    session.begin_scope(Some(item.span));
    if files.is_empty() {
        return Some(above);
    }
    let paths = files.iter().map(|(path, _)| path.clone()).collect();
    let key = (paths, session.remotes.bounds_of(item.span.source));
    let made = known.included.vars.get(&key);
    let made = made.and_then(|all| all.iter().find(|env| Rc::ptr_eq(&env.above, &above)));
    if let Some(env) = made {
        for id in &env.files {
            session.set_reason(*id, Reason::EnvFile);
        }
        return Some(env.made.clone());
    }
    let mut below = dotenv::Variables::new();
    for (path, place) in files {
        let found = env_file(session, &path, place, &above, &below)?;
        below.extend(found);
    }
    let mut vars = (*above).clone();
    for (name, value) in below {
        vars.entry(name).or_insert(value);
    }
    let made = Rc::new(vars);
    let scope = session.scopes().last();
    known.included.vars.entry(key).or_default().push(Env {
        above,
        files: scope.map_or_else(Vec::new, |scope| scope.files.clone()),
        made: made.clone(),
    });
    Some(made)
}

/// The env files of an entry, with the places that name them.
fn env_files(session: &Session<'_>, item: &Node, dir: &Path) -> Vec<(PathBuf, Option<Span>)> {
    let named = texts(item.get("env_file"));
    if named.is_empty() {
        let default = dir.join(".env");
        // No file names it, unless that is why it must not be read.
        let barred = session.remotes.bars(&default, item.place());
        let found = default.is_file();
        let found = found.then(|| (default, barred.then_some(item.place())));
        return found.into_iter().collect();
    }
    let named = named.into_iter().map(|node| {
        let path = session.absolute(node.span, node.as_text().unwrap_or(""));
        (path, Some(node.place()))
    });
    named.collect()
}

/// Reads an env file for interpolation, above the files `below`; faults are findings.
pub(in crate::compose) fn env_file(
    session: &mut Session<'_>,
    path: &Path,
    asked: Option<Span>,
    vars: &Vars,
    below: &dotenv::Variables,
) -> Option<dotenv::Variables> {
    let origin = Origin {
        dir: PathBuf::from("/"),
        vars: Rc::default(),
    };
    let id = session.read_env(path, asked, origin)?;
    session.set_reason(id, Reason::EnvFile);
    let mut unset = Vec::new();
    let text = session.text(id);
    let found = dotenv::parse_over(&text, &|name| vars.get(name).cloned(), below, &mut unset);
    for name in unset {
        if session.warned.insert(name.clone()) {
            let fault = expand::unset(&name).at(Span::new(id, 0, 0));
            session.diags.push(fault);
        }
    }
    match found {
        Ok(found) => Some(found),
        Err(error) => {
            let place = Span::new(id, error.at, error.at);
            session.diags.push(
                Diagnostic::error(error.fault.to_string())
                    .at(place)
                    .hint(error.fault.hint()),
            );
            None
        }
    }
}

/// Keys whose text is a path.
const PATHS: [&str; 6] = ["build", "context", "env_file", "file", "label_file", "path"];

/// Whether two definitions mean the same: equal values, and equal paths where relative ones start elsewhere.
fn same_meaning(session: &Session<'_>, a: &Node, b: &Node, key: &str) -> bool {
    match (&a.value, &b.value) {
        (Value::Map(x), Value::Map(y)) => {
            let twin = |(key, a): (&String, &Node)| {
                y.get(key).is_some_and(|b| same_meaning(session, a, b, key))
            };
            x.len() == y.len() && x.iter().all(twin)
        }
        (Value::List(x), Value::List(y)) => {
            let twin = |(a, b): (&Node, &Node)| same_meaning(session, a, b, key);
            x.len() == y.len() && x.iter().zip(y).all(twin)
        }
        (Value::Text(x), Value::Text(y)) => {
            let path = x.starts_with('.') || PATHS.contains(&key) && !x.contains("://");
            x == y && (!path || session.absolute(a.span, x) == session.absolute(b.span, y))
        }
        _ => a.same(b),
    }
}

/// Copies the entries of an included model; two different definitions of a name are an error.
fn import(session: &mut Session<'_>, document: &mut Node, model: Node, place: Span) {
    let Value::Map(sections) = model.value else {
        return;
    };
    let Some(root) = document.entries_mut() else {
        return;
    };
    for (section, node) in sections {
        if !IMPORTED.contains(&section.as_str()) {
            continue;
        }
        let key = node.key;
        let empty = Node {
            key,
            ..Node::new(node.span, Value::Map(Entries::default()))
        };
        let Value::Map(imported) = node.value else {
            continue;
        };
        let target = root.entry(section.clone()).or_insert(empty);
        if target.is_null() {
            target.value = Value::Map(Entries::default());
        }
        let Some(target) = target.entries_mut() else {
            continue;
        };
        for (name, node) in imported {
            match target.get(&name) {
                Some(known) if !same_meaning(session, known, &node, "") => session.diags.push(
                    Diagnostic::error(format!(
                        "`{section}.{name}` conflicts with an included definition"
                    ))
                    .at(known.key_place())
                    .related(node.key_place(), "the included definition")
                    .related(place, "included here")
                    .hint("rename one of them, or change it in an override file"),
                ),
                Some(_) => {}
                None => {
                    target.insert(name, node);
                }
            }
        }
    }
}
