//! Compose files that lie elsewhere: git repositories and OCI artifacts, and what their files may read.
//!
//! In: the texts of `-f`, `include` and `extends.file`, and a [`Fetch`] handed in by the caller. Out: paths on this
//! machine. It opens no connection itself. What came from elsewhere is not trusted: its files may read only what lies
//! below the directory they came in, links followed, and the `project_directory` that a local file gave them.
//! Imports: `base`, `discover` (names of files), `load`, `session`, `template`, `sys::fs`.
//! Rules: Docker documentation, "Use Compose files from remote sources"; which texts are references as Compose
//! (`pkg/remote`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;

use super::discover::NAMES;
use super::expand::Vars;
use super::load::{Given, LIMIT, Unreadable};
use super::session::Session;
use super::template::{self, Variable};
use super::tree::{Node, Value};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::gitref::{GitRef, GitRefError};
use crate::base::span::{SourceId, Span};
use crate::sys::fs::{Root, is_kind};

/// Most references that one run follows.
const MOST: usize = 64;

/// A compose file that lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteRef {
    /// In a git repository.
    Git(GitRef),
    /// An artifact in a registry: what follows `oci://`.
    Oci(String),
}

impl std::fmt::Display for RemoteRef {
    /// Without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Git(git) => write!(f, "{git}"),
            Self::Oci(name) => write!(f, "oci://{name}"),
        }
    }
}

impl RemoteRef {
    /// Parses a reference; `None` when the text names a local file.
    ///
    /// # Errors
    /// When it is a reference that must not be used.
    pub fn parse(text: &str) -> Result<Option<Self>, GitRefError> {
        match text.strip_prefix("oci://") {
            Some(name) => Ok(Some(Self::Oci(name.to_owned()))),
            None => Ok(GitRef::parse(text)?.map(Self::Git)),
        }
    }
    /// Whether a text is a reference, usable or not.
    pub fn is_one(text: &str) -> bool {
        !matches!(Self::parse(text), Ok(None))
    }
    fn has_credentials(&self) -> bool {
        matches!(self, Self::Git(git) if git.has_credentials())
    }
}

/// What a reference has brought here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The directory that holds all of it, absolute and without links. Nothing else writes there.
    pub root: PathBuf,
    /// The compose file, or the directory to look for one in, relative to `root`; empty is `root`.
    pub entry: String,
    /// The commit or digest that names the content for good.
    pub pin: String,
    /// As messages name the content: `https://host/repo.git#1b2c3d4e5f60`.
    pub name: String,
}

/// Why a reference could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// Lower case, no final stop, no credentials.
    pub message: String,
    /// What the user can do.
    pub hints: Vec<String>,
}

impl FetchError {
    /// An error with nothing but its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
        }
    }
    /// Adds an act the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Brings remote files to this machine.
pub trait Fetch: std::fmt::Debug + Send + Sync {
    /// Brings what a reference names; content that is here already is not asked for again.
    ///
    /// # Errors
    /// [`FetchError`].
    fn fetch(&self, reference: &RemoteRef) -> Result<Fetched, FetchError>;
}

/// A remote source that a project is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSource {
    /// The reference as written, without credentials.
    pub reference: String,
    /// What it has brought.
    pub fetched: Fetched,
}

/// A variable that remote files refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteVariable {
    /// The reference to it.
    pub variable: Variable,
    /// Its value, if it has one.
    pub value: Option<String>,
}

/// All that a project has from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// The sources, in the order they were met.
    pub sources: Vec<RemoteSource>,
    /// The variables that their files refer to, by name.
    pub variables: Vec<RemoteVariable>,
    /// Their texts among the project's.
    pub texts: BTreeSet<SourceId>,
}

/// What one run of the pipeline has fetched, and what may read what.
#[derive(Debug, Default)]
pub(super) struct Remotes {
    fetcher: Option<Arc<dyn Fetch>>,
    known: BTreeMap<String, Fetched>,
    found: Remote,
    /// Directories that the file of a source may read from; sources without an entry are local.
    bounds: BTreeMap<SourceId, Rc<Vec<PathBuf>>>,
}

/// A remote compose file on this machine.
#[derive(Debug, Clone)]
pub(super) struct Located {
    /// The file.
    pub(super) file: PathBuf,
    /// The directory of all that came with it.
    pub(super) root: PathBuf,
}

/// Directories that a file may read from; `None` is all of this machine's.
pub(super) type Bounds = Option<Rc<Vec<PathBuf>>>;

impl Remotes {
    /// Sets who fetches.
    pub(super) fn fetch_with(&mut self, fetcher: Option<&Arc<dyn Fetch>>) {
        self.fetcher = fetcher.cloned();
    }

    /// All that was fetched.
    pub(super) fn take_found(&mut self) -> Remote {
        self.found.texts = self.bounds.keys().copied().collect();
        std::mem::take(&mut self.found)
    }

    /// What the file of a source may read.
    pub(super) fn bounds_of(&self, source: SourceId) -> Bounds {
        self.bounds.get(&source).cloned()
    }

    /// Whether a file is asked for by one that may not read it, wherever it lies and whether or not it is there.
    pub(super) fn bars(&self, path: &Path, asked: Span) -> bool {
        let bounds = self.bounds.get(&asked.source);
        bounds.is_some_and(|bounds| !bounds.iter().any(|root| path.starts_with(root)))
    }

    /// Reads a file if it belongs to a remote project, or is asked for by a file that does; `None` otherwise: it is
    /// read as any other.
    pub(super) fn read(&self, path: &Path, asked: Option<Span>) -> Given {
        if self.known.is_empty() {
            return None;
        }
        let bounds = asked.and_then(|span| self.bounds.get(&span.source));
        let root = match bounds {
            Some(bounds) => match bounds.iter().find(|root| path.starts_with(root)) {
                Some(root) => root,
                None => return Some(Err(Unreadable::Outside)),
            },
            None => self.root_of(path)?,
        };
        let inner = path.strip_prefix(root).unwrap_or(path);
        let bytes = Root::open(root).and_then(|root| root.read_beneath(inner, LIMIT));
        Some(bytes.map_err(|errno| match errno {
            Errno::EXDEV => Unreadable::Outside,
            Errno::EFBIG => Unreadable::Large,
            Errno::EINVAL => Unreadable::Kind,
            other => Unreadable::Io(other.into()),
        }))
    }

    /// Notes what the file of a source may read, which is what the file that named it may read.
    pub(super) fn bind(&mut self, id: SourceId, path: &Path, asked: Option<Span>) {
        if self.known.is_empty() {
            return;
        }
        let inherited = asked.and_then(|span| self.bounds.get(&span.source));
        let bounds = match (self.root_of(path), inherited) {
            (Some(root), Some(bounds)) if !bounds.contains(root) => Rc::new(vec![root.clone()]),
            (_, Some(bounds)) => bounds.clone(),
            (Some(root), None) => Rc::new(vec![root.clone()]),
            (None, None) => return,
        };
        self.bounds.insert(id, bounds);
    }

    /// Lets a remote file read below a directory that a local file names for it.
    pub(super) fn allow(&mut self, id: SourceId, dir: &Path, asked: Span) {
        if self.bounds.contains_key(&asked.source) {
            return;
        }
        if let Some(bounds) = self.bounds.get_mut(&id) {
            Rc::make_mut(bounds).push(dir.to_path_buf());
        }
    }

    /// A path as the user should read it, if it lies in a remote project: `https://host/repo.git#1b2c3d:sub/x.yaml`.
    pub(super) fn show(&self, path: &Path) -> Option<String> {
        let inside = |fetched: &&Fetched| path.starts_with(&fetched.root);
        let fetched = self.known.values().find(inside)?;
        let inner = path.strip_prefix(&fetched.root).unwrap_or(path);
        Some(format!("{}:{}", fetched.name, inner.display()))
    }

    /// Notes the variables that a remote file refers to.
    pub(super) fn note_variables(&mut self, id: SourceId, documents: &[Node], vars: &Vars) {
        if !self.bounds.contains_key(&id) {
            return;
        }
        let mut all = BTreeSet::new();
        for document in documents {
            collect(document, &mut all);
            bare_names(document, &mut all);
        }
        for variable in all {
            let value = vars.get(&variable.name).cloned();
            let entry = RemoteVariable { variable, value };
            let list = &mut self.found.variables;
            if let Err(at) = list.binary_search_by(|known| known.variable.cmp(&entry.variable)) {
                list.insert(at, entry);
            }
        }
    }

    fn root_of(&self, path: &Path) -> Option<&PathBuf> {
        let mut roots = self.known.values().map(|fetched| &fetched.root);
        roots.find(|root| path.starts_with(root))
    }
}

/// The variables that the texts of a tree refer to.
pub(super) fn collect(node: &Node, all: &mut BTreeSet<Variable>) {
    match &node.value {
        Value::Text(text) => all.extend(template::variables(text)),
        Value::List(items) => items.iter().for_each(|item| collect(item, all)),
        Value::Map(entries) => entries.values().for_each(|entry| collect(entry, all)),
        _ => {}
    }
}

/// The names without values in `environment` and `build.args`: they take the values of the variables.
fn bare_names(document: &Node, all: &mut BTreeSet<Variable>) {
    let services = document.get("services").and_then(Node::entries);
    let lists = services.into_iter().flatten().flat_map(|(_, service)| {
        let args = service.get("build").and_then(|build| build.get("args"));
        [service.get("environment"), args]
    });
    for list in lists.flatten() {
        let names: Vec<&str> = match &list.value {
            Value::List(items) => {
                let texts = items.iter().filter_map(Node::as_text);
                texts.filter(|text| !text.contains('=')).collect()
            }
            Value::Map(entries) => {
                let bare = entries.iter().filter(|(_, value)| value.is_null());
                bare.map(|(name, _)| name.as_str()).collect()
            }
            _ => Vec::new(),
        };
        all.extend(names.into_iter().map(|name| Variable {
            name: name.to_owned(),
            required: false,
            default: None,
            alternate: None,
        }));
    }
}

const OUTSIDE: &str =
    "it lies outside of the remote project, whose files may read only what came with them";

fn why_not(errno: Errno) -> String {
    match errno {
        Errno::EXDEV => OUTSIDE.to_owned(),
        other => other.desc().to_lowercase(),
    }
}

/// Fetches the compose file that a text names, if the text is a remote reference. `key` is where the text stands:
/// `include`.
///
/// # Errors
/// `Err(())` when a finding says what failed.
pub(super) fn locate(
    session: &mut Session<'_>,
    key: &str,
    text: &str,
    place: Option<Span>,
) -> Result<Option<Located>, ()> {
    let reference = match RemoteRef::parse(text) {
        Ok(None) if text.contains("://") => {
            session.diags.push(unknown(key, text, place));
            return Err(());
        }
        Ok(None) => return Ok(None),
        Ok(Some(reference)) => reference,
        Err(error) => {
            let message =
                format!("`{key}` names a git repository in a way that is refused: {error}");
            session.diags.push(Diagnostic::error(message).at(place));
            return Err(());
        }
    };
    let located = fetch(&mut session.remotes, text, &reference)
        .and_then(|fetched| find_file(&fetched, &reference));
    located.map(Some).map_err(|error| {
        let mut message = format!("`{key}` names {reference}: {}", error.message);
        let mut place = place;
        if let Some(at) = place.filter(|_| reference.has_credentials()) {
            // The line must not be shown: it holds the credentials.
            message = format!("{}: {message}", session.sources.place(at));
            place = None;
        }
        let fault = Diagnostic::error(message).at(place);
        let fault = error.hints.into_iter().fold(fault, Diagnostic::hint);
        session.diags.push(fault);
    })
}

/// An address that is no reference: what may be meant. The text itself may hold credentials.
fn unknown(key: &str, text: &str, place: Option<Span>) -> Diagnostic {
    let hint = match text.split_once("://").map(|(scheme, _)| scheme) {
        Some("http" | "https" | "HTTP" | "HTTPS") => {
            "a repository's address ends in `.git`, then comes what is meant: \
         https://host/repo.git#main:directory; a single file can't be fetched by its address"
        }
        Some("file") => "name the path alone",
        _ => {
            "repositories are named by https://host/repo.git, ssh://, git:// and git@host:repo.git, projects in \
         registries by oci://registry/repository:tag"
        }
    };
    let message = format!("`{key}` names an address that can't be fetched");
    let shown = place.filter(|_| !text.contains('@'));
    Diagnostic::error(message).at(shown).hint(hint)
}

fn fetch(remotes: &mut Remotes, text: &str, reference: &RemoteRef) -> Result<Fetched, FetchError> {
    if let Some(fetched) = remotes.known.get(text) {
        return Ok(fetched.clone());
    }
    let Some(fetcher) = &remotes.fetcher else {
        let error = FetchError::new("this command reads no files from elsewhere");
        return Err(error.hint("fetch it to this machine and name the local path"));
    };
    if remotes.known.len() >= MOST {
        let text = format!("the project has more than {MOST} remote sources");
        return Err(FetchError::new(text).hint("keep files that belong together in one repository"));
    }
    let fetched = fetcher.fetch(reference)?;
    remotes.known.insert(text.to_owned(), fetched.clone());
    remotes.found.sources.push(RemoteSource {
        reference: reference.to_string(),
        fetched: fetched.clone(),
    });
    Ok(fetched)
}

/// The compose file at the place that was asked for.
fn find_file(fetched: &Fetched, reference: &RemoteRef) -> Result<Located, FetchError> {
    let unreadable = |errno: Errno| {
        let shown = &fetched.entry;
        FetchError::new(format!("cannot read `{shown}` in it: {}", why_not(errno)))
    };
    let root = Root::open(&fetched.root).map_err(unreadable)?;
    let kind = |inner: &str, kind| {
        let stat = root.stat_beneath(Path::new(inner))?;
        Ok::<bool, Errno>(is_kind(&stat, kind))
    };
    let located = |inner: &str| Located {
        file: fetched.root.join(inner),
        root: fetched.root.clone(),
    };
    match kind(&fetched.entry, libc::S_IFDIR) {
        Ok(false) => return Ok(located(&fetched.entry)),
        Ok(true) => {}
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(missing(fetched, reference)),
        Err(errno) => return Err(unreadable(errno)),
    }
    for name in NAMES {
        let inner = match fetched.entry.as_str() {
            "" => name.to_owned(),
            dir => format!("{dir}/{name}"),
        };
        if matches!(kind(&inner, libc::S_IFREG), Ok(true)) {
            return Ok(located(&inner));
        }
    }
    let shown = match fetched.entry.as_str() {
        "" => "its root directory".to_owned(),
        dir => format!("its directory `{dir}`"),
    };
    let text = format!(
        "there is no compose file in {shown} (commit {})",
        fetched.pin
    );
    let hint = format!(
        "one is named {}; another place is named behind the reference: `#main:directory/file.yaml`",
        NAMES.join(", ")
    );
    Err(FetchError::new(text).hint(hint))
}

/// Says that a path is not there, and which one may be meant.
fn missing(fetched: &Fetched, reference: &RemoteRef) -> FetchError {
    let entry = Path::new(&fetched.entry);
    let kind = match reference {
        RemoteRef::Git(_) => "commit",
        RemoteRef::Oci(_) => "artifact",
    };
    let text = format!(
        "there is no `{}` in it ({kind} {})",
        fetched.entry, fetched.pin
    );
    let error = FetchError::new(text);
    let parent = entry.parent().unwrap_or(Path::new(""));
    // A link in the way must not have other directories listed.
    let inside = Root::open(&fetched.root).and_then(|root| root.stat_beneath(parent));
    let names: Vec<String> = inside
        .ok()
        .and_then(|_| std::fs::read_dir(fetched.root.join(parent)).ok())
        .into_iter()
        .flatten()
        .filter_map(|item| item.ok()?.file_name().into_string().ok())
        .collect();
    let wanted = entry.file_name().unwrap_or_default().to_string_lossy();
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{}`?", parent.join(near).display())),
        None => error,
    }
}

#[cfg(test)]
mod tests;
