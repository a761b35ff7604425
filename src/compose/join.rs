//! Phase 3: `extends` and `include` bring other files in.
//!
//! In: [`Expanded`]. Out: [`Joined`]: no `extends`, no `include`. What lies elsewhere `remote` fetches.
//! Relative paths stay as written: each value's source knows its directory (`session::Origin`).
//! Imports: `base`, `check`, `dotenv`, `expand`, `merge`, `read`, `remote`, `session`, `trace`, `tree`.
//! Rules: Compose Specification, "extends", "include"; cycles are shown as the path that closes them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::expand::{self, Expanded, Vars};
use super::session::{Origin, Reason, Session};
use super::trace::{By, Step};
use super::tree::{Entries, Node, Tag, Value};
use super::{check, dotenv, merge, read, remote};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::key::KeyPath;
use crate::base::span::{SourceId, Span};

/// Sections whose entries an included file brings in.
const IMPORTED: [&str; 7] = [
    "services", "jobs", "networks", "volumes", "configs", "secrets", "models",
];

/// One file with everything it refers to.
#[derive(Debug)]
pub(super) struct Joined {
    /// Documents in file order.
    pub(super) documents: Vec<Node>,
}

/// Resolves `extends` and `include` of a file. `chain` holds the files being included, outermost first, this one last.
pub(super) fn join(session: &mut Session<'_>, file: Expanded, chain: &[PathBuf]) -> Joined {
    let mut documents = file.documents;
    for document in &mut documents {
        if document.entries().is_none() {
            let fault = format!(
                "the top level must be a mapping, but this is {}",
                document.kind()
            );
            session.diags.push(
                Diagnostic::error(fault)
                    .at(document.span)
                    .label("expected keys such as `services:`")
                    .hint("start the file with `services:`"),
            );
            continue;
        }
        extend_all(session, document, chain);
        include_all(session, document, chain);
    }
    documents.retain(|document| document.entries().is_some());
    Joined { documents }
}

/// The services of one file while `extends` is resolved in it.
struct Pool {
    path: PathBuf,
    services: Entries,
    /// Services that are resolved already.
    done: RefCell<BTreeMap<String, Node>>,
}

/// Services that may extend each other in a row.
const ROW: usize = 200;

fn extend_all(session: &mut Session<'_>, document: &mut Node, chain: &[PathBuf]) {
    if let Some(services) = document
        .get("services")
        .filter(|services| services.is_null())
    {
        let fault = Diagnostic::error("expected a mapping, but this is empty")
            .at(services.place())
            .path(&KeyPath::root().key("services"))
            .label("expected the names of services, each with its keys below")
            .hint("indent the keys of `services` deeper than `services` itself, or remove it");
        session.diags.push(fault);
        if let Some(root) = document.entries_mut() {
            root.shift_remove("services");
        }
        return;
    }
    let Some(services) = document.get("services").and_then(Node::entries) else {
        return;
    };
    let extending: Vec<String> = services
        .iter()
        .filter(|(_, service)| service.tag != Tag::Reset && service.get("extends").is_some())
        .map(|(name, _)| name.clone())
        .collect();
    if extending.is_empty() {
        return;
    }
    let path = chain.last().cloned().unwrap_or_default();
    let pool = Rc::new(Pool {
        path,
        services: services.clone(),
        done: RefCell::default(),
    });
    let mut cyclic = BTreeSet::new();
    for name in extending {
        if cyclic.contains(&name) {
            continue;
        }
        let mut trail = Trail {
            visited: Vec::new(),
            cyclic: &mut cyclic,
        };
        let extended = extend(session, &pool, &name, &mut trail);
        let slot = document
            .entries_mut()
            .and_then(|root| root.get_mut("services"));
        if let (Some(node), Some(services)) = (extended, slot.and_then(Node::entries_mut)) {
            services.insert(name, node);
        }
    }
}

/// The services on the way from the one that is being resolved.
struct Trail<'c> {
    /// File, name, and the place of the reference to the next.
    visited: Vec<(PathBuf, String, Span)>,
    /// Services that a reported cycle runs through.
    cyclic: &'c mut BTreeSet<String>,
}

impl Trail<'_> {
    /// The names from an earlier visit of a service up to here.
    fn round(&self, path: &Path, name: &str) -> Option<Vec<String>> {
        let start = self
            .visited
            .iter()
            .position(|(p, n, _)| p == path && n == name)?;
        Some(
            self.visited
                .iter()
                .skip(start)
                .map(|(_, name, _)| name.clone())
                .collect(),
        )
    }
}

/// A service with what it extends below it.
fn extend(
    session: &mut Session<'_>,
    pool: &Rc<Pool>,
    name: &str,
    trail: &mut Trail<'_>,
) -> Option<Node> {
    if let Some(done) = pool.done.borrow().get(name) {
        return Some(done.clone());
    }
    let mut service = pool.services.get(name)?.clone();
    let extends = service
        .entries_mut()
        .and_then(|entries| entries.shift_remove("extends"))
        .filter(|extends| extends.tag != Tag::Reset);
    let Some(extends) = extends else {
        return Some(service);
    };
    let unfilled = |node: &Node| node.tag == Tag::Reset;
    if unfilled(&extends)
        || extends
            .entries()
            .is_some_and(|entries| entries.values().any(unfilled))
    {
        return Some(service);
    }
    let (target, file) = match &extends.value {
        Value::Text(text) => (
            Node {
                key: None,
                ..extends.with(Value::Text(text.clone()))
            },
            None,
        ),
        Value::Map(entries) => match entries.get("service") {
            Some(target) => (target.clone(), entries.get("file").cloned()),
            None => {
                let path = KeyPath::root().key("services").key(name).key("extends");
                let fault = Diagnostic::error("`extends` needs the key `service`")
                    .at(extends.place())
                    .path(&path)
                    .hint("write `service: NAME` below it");
                session.diags.push(fault);
                return Some(service);
            }
        },
        _ => {
            let fault = format!(
                "`extends` must be a service's name or a mapping, but this is {}",
                extends.kind()
            );
            session
                .diags
                .push(Diagnostic::error(fault).at(extends.place()));
            return Some(service);
        }
    };
    let base = match &file {
        Some(file) => pool_of(session, file, pool)?,
        None => pool.clone(),
    };
    let target_name = target.as_text()?.to_owned();
    trail
        .visited
        .push((pool.path.clone(), name.to_owned(), target.place()));
    if let Some(names) = trail.round(&base.path, &target_name) {
        let fault = format!(
            "services extend each other: {} -> {target_name}",
            names.join(" -> ")
        );
        let path = KeyPath::root().key("services").key(&target_name);
        let place = trail
            .visited
            .iter()
            .find(|(_, known, _)| *known == target_name);
        let place = place.map_or(target.place(), |(_, _, place)| *place);
        session.diags.push(
            Diagnostic::error(fault)
                .at(place)
                .path(&path.key("extends"))
                .label("this leads back to a service on the way here")
                .hint("remove one of these `extends`"),
        );
        trail.cyclic.extend(names);
        return None;
    }
    if trail.visited.len() > ROW {
        let path = KeyPath::root().key("services").key(name).key("extends");
        let fault = format!("more than {ROW} services extend each other in a row");
        let fault = Diagnostic::error(fault).at(target.place()).path(&path);
        session
            .diags
            .push(fault.hint("extend a service nearer to the end of the row"));
        return None;
    }
    let defined = base.services.get(&target_name);
    if defined.is_none() && session.partial {
        return Some(service);
    }
    if defined.is_none_or(|base| base.tag == Tag::Reset) {
        let fault = format!(
            "service `{name}` extends `{target_name}`, which is not defined in {}",
            session.show(&base.path)
        );
        let near = nearest(&target_name, base.services.keys().map(String::as_str));
        let path = KeyPath::root().key("services").key(name).key("extends");
        let fault = Diagnostic::error(fault)
            .at(target.place())
            .path(&path)
            .label("no service of that file");
        session.diags.push(match near {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("name a service of that file, or the file that has it with `file:`"),
        });
        return Some(service);
    }
    let below = extend(session, &base, &target_name, trail)?;
    trail.visited.pop();
    let key = service.key;
    let mut below = Node { key: None, ..below };
    let of = match Rc::ptr_eq(&base, pool) {
        true => below.span,
        false => Span::new(below.span.source, 0, usize::MAX),
    };
    below.brought(Step {
        by: By::Extends,
        at: target.place(),
        of,
    });
    let merged = merge::service(name, below, service, &mut session.diags);
    let merged = Node { key, ..merged };
    let mut done = pool.done.borrow_mut();
    done.insert(name.to_owned(), merged.clone());
    Some(merged)
}

/// The services of the file that `extends.file` names.
fn pool_of(session: &mut Session<'_>, file: &Node, from: &Rc<Pool>) -> Option<Rc<Pool>> {
    let text = file.as_text()?;
    let located = remote::locate(session, "extends.file", text, Some(file.place())).ok()?;
    let path = match &located {
        Some(located) => located.file.clone(),
        None => session.absolute(file.span, text),
    };
    if path == from.path {
        return Some(from.clone());
    }
    let vars = session
        .origin(file.span.source)
        .map(|origin| origin.vars.clone())
        .unwrap_or_default();
    // As Compose: paths of a service of a remote file start from the root of what was fetched.
    let dir = match &located {
        Some(located) => located.root.clone(),
        None => path.parent().unwrap_or(Path::new("/")).to_path_buf(),
    };
    let asked = located.is_none().then_some(file.place());
    let origin = Origin {
        dir,
        vars: vars.clone(),
    };
    let id = session.read_file(&path, asked, origin)?;
    session.sources.set_named_at(id, Some(file.place()));
    session.set_reason(id, Reason::Extends);
    let expanded = load(session, id, &vars);
    let root = merge::stack(expanded.documents, &mut session.diags, |_, _| {});
    let services = root
        .as_ref()
        .and_then(|root| root.get("services"))
        .and_then(Node::entries);
    Some(Rc::new(Pool {
        path,
        services: services.cloned().unwrap_or_default(),
        done: RefCell::default(),
    }))
}

/// Reads and expands a registered text.
pub(super) fn load(session: &mut Session<'_>, id: SourceId, vars: &Vars) -> Expanded {
    let text = session.text(id);
    let raw = read::read(id, &text, &mut session.diags);
    session.remotes.note_variables(id, &raw.documents, vars);
    session.partial |= !raw.complete;
    match session.interpolate {
        true => expand::expand(raw, vars, &mut session.warned, &mut session.diags),
        false => expand::keep(raw),
    }
}

fn include_all(session: &mut Session<'_>, document: &mut Node, chain: &[PathBuf]) {
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
        if let Some(model) = include_one(session, item, chain) {
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

fn include_one(session: &mut Session<'_>, item: &Node, chain: &[PathBuf]) -> Option<Node> {
    let files = match &item.value {
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
    };
    let mut paths = Vec::new();
    for file in &files {
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
    if chain.contains(first) {
        let shown: Vec<String> = chain
            .iter()
            .chain([first])
            .map(|path| session.show(path))
            .collect();
        let fault = format!("files include each other: {}", shown.join(" -> "));
        session.diags.push(
            Diagnostic::error(fault)
                .at(item.place())
                .path(&KeyPath::root().key("include"))
                .label("this file is being included already")
                .hint("remove one of these includes"),
        );
        return None;
    }
    let dir = match item.get("project_directory").and_then(Node::as_text) {
        Some(text) => session.absolute(item.span, text),
        None => first.parent().unwrap_or(Path::new("/")).to_path_buf(),
    };
    let vars = Rc::new(include_vars(session, item, &dir)?);
    let mut chain = chain.to_vec();
    chain.push(first.clone());
    let mut documents = Vec::new();
    for (path, asked, at) in paths {
        let origin = Origin {
            dir: dir.clone(),
            vars: vars.clone(),
        };
        let id = session.read_file(&path, asked, origin)?;
        session.remotes.allow(id, &dir, item.place());
        session.sources.set_named_at(id, Some(at));
        session.set_reason(id, Reason::Include);
        let expanded = load(session, id, &vars);
        documents.extend(join(session, expanded, &chain).documents);
    }
    let mut root = merge::stack(documents, &mut session.diags, check::early)?;
    check::early(&mut root, &mut session.diags);
    Some(root)
}

/// The including file's variables, and below them those of the env files.
fn include_vars(session: &mut Session<'_>, item: &Node, dir: &Path) -> Option<Vars> {
    let mut vars = session
        .origin(item.span.source)
        .map(|o| (*o.vars).clone())
        .unwrap_or_default();
    let named = texts(item.get("env_file"));
    let files: Vec<(PathBuf, Option<Span>)> = if named.is_empty() {
        let default = dir.join(".env");
        // No file names it, unless that is why it must not be read.
        let barred = session.remotes.bars(&default, item.place());
        default
            .is_file()
            .then(|| (default, barred.then_some(item.place())))
            .into_iter()
            .collect()
    } else {
        let place = |node: &&Node| {
            (
                session.absolute(node.span, node.as_text().unwrap_or("")),
                Some(node.place()),
            )
        };
        named.iter().map(place).collect()
    };
    session.begin_scope(Some(item.span));
    let mut below = dotenv::Variables::new();
    for (path, place) in files {
        let found = env_file(session, &path, place, &vars, &below)?;
        below.extend(found);
    }
    for (name, value) in below {
        vars.entry(name).or_insert(value);
    }
    Some(vars)
}

/// Reads an env file for interpolation, above the files `below`; faults are findings.
pub(super) fn env_file(
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
            let text = format!("The \"{name}\" variable is not set. Defaulting to a blank string.");
            session
                .diags
                .push(Diagnostic::warning(text).at(Span::new(id, 0, 0)));
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
