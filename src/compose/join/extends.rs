//! `extends`: a service gets what another one says below its own keys.
//!
//! In: the services of one document. Out: the same without `extends`. Each file that `extends.file` names is read
//! once a run, and each service in it is resolved once. Imports: as `join`.
//! Rules: Compose Specification, "extends".

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Known, load};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::key::KeyPath;
use crate::base::span::Span;
use crate::compose::remote::Bounds;
use crate::compose::session::{Origin, Reason, Session};
use crate::compose::trace::{By, Step};
use crate::compose::tree::{Entries, Node, Tag, Value};
use crate::compose::{merge, remote};

/// The files that `extends.file` has named so far.
#[derive(Debug, Default)]
pub(super) struct Pools(BTreeMap<PathBuf, Vec<Extended>>);

/// A file that was read for `extends`, and what it was read as.
#[derive(Debug)]
struct Extended {
    /// What it was read as.
    origin: Origin,
    /// What those may read who named it.
    bounds: Bounds,
    services: Rc<Pool>,
}

impl Pools {
    /// The services of a file that was read with the same meaning of paths and variables, by one that may read as much.
    fn find(&self, path: &Path, origin: &Origin, bounds: &Bounds) -> Option<Rc<Pool>> {
        let same = |known: &&Extended| {
            known.origin.dir == origin.dir
                && Rc::ptr_eq(&known.origin.vars, &origin.vars)
                && known.bounds == *bounds
        };
        let known = self.0.get(path)?.iter().find(same)?;
        Some(known.services.clone())
    }
}

/// The services of one file while `extends` is resolved in it.
#[derive(Debug)]
struct Pool {
    path: PathBuf,
    services: Entries,
    /// Services that are resolved already.
    done: RefCell<BTreeMap<String, Node>>,
}

/// Services that may extend each other in a row.
const ROW: usize = 200;

/// Resolves `extends` of all services of a document of the file at `path`.
pub(super) fn all(
    session: &mut Session<'_>,
    known: &mut Known,
    document: &mut Node,
    path: PathBuf,
) {
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
            known: &mut known.extended,
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
    /// The files read so far.
    known: &'c mut Pools,
}

impl Trail<'_> {
    /// The finding that the way leads back to a service on it, if it does.
    fn round(&mut self, path: &Path, name: &str) -> Option<Diagnostic> {
        let mut visited = self.visited.iter();
        let start = visited.position(|(p, n, _)| p == path && n == name)?;
        let round = self.visited.get(start..)?;
        let names: Vec<&str> = round.iter().map(|(_, name, _)| name.as_str()).collect();
        let text = format!(
            "services extend each other: {} -> {name}",
            names.join(" -> ")
        );
        let path = KeyPath::root().key("services").key(name).key("extends");
        let mut fault = Diagnostic::error(text)
            .at(round.first().map(|(_, _, place)| *place))
            .path(&path)
            .label(format!("`{name}` extends the next"));
        for (_, name, place) in round.iter().skip(1) {
            fault = fault.related(*place, format!("`{name}` extends the next"));
        }
        self.cyclic.extend(names.into_iter().map(str::to_owned));
        Some(fault.hint("remove one of these `extends`"))
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
        Some(file) => pool_of(session, file, pool, trail.known)?,
        None => pool.clone(),
    };
    let target_name = target.as_text()?.to_owned();
    trail
        .visited
        .push((pool.path.clone(), name.to_owned(), target.place()));
    if let Some(fault) = trail.round(&base.path, &target_name) {
        session.diags.push(fault);
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
    let merged = {
        let written = !session.interpolate;
        let same_file = Rc::ptr_eq(&base, pool);
        merge::service(
            name,
            (below, service),
            same_file,
            written,
            &mut session.diags,
        )
    };
    let merged = Node { key, ..merged };
    let mut done = pool.done.borrow_mut();
    done.insert(name.to_owned(), merged.clone());
    Some(merged)
}

/// The services of the file that `extends.file` names.
fn pool_of(
    session: &mut Session<'_>,
    file: &Node,
    from: &Rc<Pool>,
    known: &mut Pools,
) -> Option<Rc<Pool>> {
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
    let bounds = session.remotes.bounds_of(file.span.source);
    if let Some(services) = known.find(&path, &origin, &bounds) {
        return Some(services);
    }
    let id = session.read_file(&path, asked, origin.clone())?;
    session.sources.set_named_at(id, Some(file.place()));
    session.set_reason(id, Reason::Extends);
    let expanded = load(session, id, &vars);
    let root = merge::stack(
        expanded.documents,
        !session.interpolate,
        &mut session.diags,
        |_, _| {},
    );
    let services = root
        .as_ref()
        .and_then(|root| root.get("services"))
        .and_then(Node::entries);
    let services = Rc::new(Pool {
        path: path.clone(),
        services: services.cloned().unwrap_or_default(),
        done: RefCell::default(),
    });
    known.0.entry(path).or_default().push(Extended {
        origin,
        bounds,
        services: services.clone(),
    });
    Some(services)
}
