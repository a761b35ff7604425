//! What one run of the pipeline has read so far: texts, where their paths start, their variables, and the findings.
//!
//! In: files. Out: registered texts. It interprets nothing. Imports: `base`, `expand` (variables), `load`, `remote`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::expand::Vars;
use super::load::{self, Unreadable};
use super::remote::Remotes;
use crate::base::diag::{Diagnostic, Diagnostics, nearest};
use crate::base::env::Env;
use crate::base::span::{SourceId, SourceMap, Span};

/// What the relative paths and bare variable names of a text mean.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// Directory that relative paths start from, absolute.
    pub(super) dir: PathBuf,
    /// Variables for interpolation and for bare names in `environment`.
    pub(super) vars: Rc<Vars>,
}

/// What a text was read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is one of the project's compose files.
    Project,
    /// `include` names it.
    Include,
    /// `extends` names it.
    Extends,
    /// Variables for interpolation: `.env`, `--env-file`, `include.env_file`.
    EnvFile,
    /// `env_file`: variables of a service.
    Service,
    /// `label_file`: labels of a service.
    Labels,
}

/// Why and from where a text was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// What for.
    pub(super) reason: Reason,
    /// The place that names it; `None` for what is found without being named in a file.
    pub(super) at: Option<Span>,
}

/// The env files that the variables of some texts come from.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// The entry of `include` they belong to; `None` for the project's own.
    pub(super) include: Option<Span>,
    /// The files, the weightiest last.
    pub(super) files: Vec<SourceId>,
}

/// One run of the pipeline.
#[derive(Debug)]
pub(super) struct Session<'e> {
    /// All texts.
    pub(super) sources: SourceMap,
    /// Findings of all phases.
    pub(super) diags: Diagnostics,
    /// Variable names a warning was given for.
    pub(super) warned: BTreeSet<String>,
    /// Whether variables are replaced.
    pub(super) interpolate: bool,
    /// Variables of the project, which files named by `env_file` see wherever they are named.
    pub(super) vars: Rc<Vars>,
    /// What was fetched, and what its files may read.
    pub(super) remotes: Remotes,
    /// Whether a file could not be read to its end: what seems undefined may stand in the rest.
    pub(super) partial: bool,
    origins: Vec<Origin>,
    reasons: Vec<Reason>,
    scopes: Vec<Scope>,
    env: &'e Env,
}

impl<'e> Session<'e> {
    /// A run that has read nothing.
    pub(super) fn new(env: &'e Env, interpolate: bool) -> Self {
        Self {
            sources: SourceMap::default(),
            diags: Diagnostics::default(),
            warned: BTreeSet::new(),
            interpolate,
            vars: Rc::default(),
            remotes: Remotes::default(),
            partial: false,
            origins: Vec::new(),
            reasons: Vec::new(),
            scopes: Vec::new(),
            env,
        }
    }
    /// Registers a text of the project itself.
    pub(super) fn add(&mut self, name: String, text: String, origin: Origin) -> SourceId {
        self.origins.push(origin);
        self.reasons.push(Reason::Project);
        self.sources.add(name, text)
    }
    /// Says what a text was read for, and adds to its scope what is an env file.
    pub(super) fn set_reason(&mut self, id: SourceId, reason: Reason) {
        if let Some(known) = self.reasons.get_mut(id.0 as usize) {
            *known = reason;
        }
        if reason == Reason::EnvFile
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.files.push(id);
        }
    }
    /// Begins the env files of the project or of an entry of `include`; the project's begin anew when looked for twice.
    pub(super) fn begin_scope(&mut self, include: Option<Span>) {
        if include.is_none() {
            self.scopes.clear();
        }
        self.scopes.push(Scope {
            include,
            files: Vec::new(),
        });
    }
    /// The env files of all scopes, in the order in which they were read.
    pub(super) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
    /// Why and from where a text was read.
    pub(super) fn asked(&self, id: SourceId) -> Option<Asked> {
        let reason = *self.reasons.get(id.0 as usize)?;
        let at = self.sources.get(id)?.named_at;
        Some(Asked { reason, at })
    }
    /// The texts read for a reason, in order.
    pub(super) fn read_for(&self, reason: Reason) -> impl Iterator<Item = SourceId> {
        let ids = self.reasons.iter().zip(0u32..);
        ids.filter(move |(known, _)| **known == reason)
            .map(|(_, id)| SourceId(id))
    }
    /// Reads and registers a compose file; a failure is a finding at `asked`, the place that names it.
    pub(super) fn read_file(
        &mut self,
        path: &Path,
        asked: Option<Span>,
        origin: Origin,
    ) -> Option<SourceId> {
        let read = load::yaml(path, self.remotes.read(path, asked));
        self.register(path, read, asked, origin)
    }
    /// As [`Self::read_file`], for env and label files.
    pub(super) fn read_env(
        &mut self,
        path: &Path,
        asked: Option<Span>,
        origin: Origin,
    ) -> Option<SourceId> {
        let read = load::env(path, self.remotes.read(path, asked));
        self.register(path, read, asked, origin)
    }
    fn register(
        &mut self,
        path: &Path,
        read: Result<String, Unreadable>,
        asked: Option<Span>,
        origin: Origin,
    ) -> Option<SourceId> {
        match read {
            Ok(text) => {
                let id = self.add(self.show(path), text, origin);
                self.sources.set_named_at(id, asked);
                self.remotes.bind(id, path, asked);
                Some(id)
            }
            Err(Unreadable::Encoding(text, at, byte)) => {
                let id = self.add(self.show(path), text, origin);
                self.sources.set_named_at(id, asked);
                let place = Span::new(id, at, at + '\u{fffd}'.len_utf8());
                let text = format!("the file is not UTF-8 text: the byte 0x{byte:02X} stands here");
                let fault = Diagnostic::error(text).at(place).label("no UTF-8");
                let hint = "save the file as UTF-8 (in most editors: “save with encoding”)";
                self.diags.push(fault.hint(hint));
                self.partial = true;
                None
            }
            Err(fault) => {
                let fault = self.unreadable(path, &fault).at(asked);
                self.diags.push(fault);
                self.partial = true;
                None
            }
        }
    }
    fn unreadable(&self, path: &Path, fault: &Unreadable) -> Diagnostic {
        let shown = self.show(path);
        let because = |why: &str| Diagnostic::error(format!("cannot read `{shown}`: {why}"));
        match fault {
            Unreadable::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let fault = because(&plain(error));
                match self.neighbour(path) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint(format!(
                        "create it, or correct the path; it is looked for in `{}`",
                        path.parent().unwrap_or(path).display()
                    )),
                }
            }
            Unreadable::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                because(&plain(error)).hint(format!("make it readable: chmod a+r {shown}"))
            }
            Unreadable::Io(error) => because(&plain(error)),
            Unreadable::Directory => because("it is a directory")
                .hint(format!("name the file in it: {shown}/compose.yaml")),
            Unreadable::Kind => because("it is no file").hint("name a file"),
            Unreadable::Silent => because("no program writes to this named pipe")
                .hint("start the program that writes to it first, or name a file"),
            Unreadable::Large => because("it is larger than 64 MiB")
                .hint("is it the right file? split it with `include` if it is"),
            Unreadable::Outside => because(
                "it lies outside of the remote project, whose files may read only what came with them",
            )
            .hint("keep the file in the project, or name it in a file of your own"),
            Unreadable::Encoding(..) => because("it is not UTF-8 text"),
        }
    }
    /// The file beside a missing one whose name is nearest to it.
    fn neighbour(&self, path: &Path) -> Option<String> {
        let name = path.file_name()?.to_str()?;
        let dir = path.parent()?;
        let entries = std::fs::read_dir(dir).ok()?.take(1000).flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        let names = files.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        let near = nearest(name, names.iter().map(String::as_str))?;
        Some(self.show(&dir.join(near)))
    }
    /// The place of a word in what stands at `span`.
    pub(super) fn find(&self, span: Span, word: &str) -> Option<Span> {
        let source = self.sources.get(span.source)?;
        let written = source.text.get(span.start as usize..span.end as usize)?;
        let start = span.start as usize + written.find(word)?;
        Some(Span::new(span.source, start, start + word.len()))
    }
    /// The place of a part of the text at `span`, where the file holds that text as it is: `abc` of `8080:abc`.
    ///
    /// `part` must be a slice of `text`.
    pub(super) fn part(&self, span: Span, text: &str, part: &str) -> Option<Span> {
        let source = self.sources.get(span.source)?;
        let written = source.text.get(span.start as usize..span.end as usize)?;
        let within = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        let start = span.start as usize + written.find(text)? + within;
        let end = start + part.len();
        let inside = within + part.len() <= text.len() && !part.is_empty();
        inside.then(|| Span::new(span.source, start, end))
    }
    /// Changes the variables that a source sees.
    pub(super) fn set_vars(&mut self, id: SourceId, vars: Rc<Vars>) {
        if let Some(origin) = self.origins.get_mut(id.0 as usize) {
            origin.vars = vars;
        }
    }
    /// The environment of the run.
    pub(super) fn env(&self) -> &'e Env {
        self.env
    }
    /// The text of a source.
    pub(super) fn text(&self, id: SourceId) -> std::sync::Arc<str> {
        self.sources
            .get(id)
            .map_or_else(|| "".into(), |source| source.text.clone())
    }
    /// What the paths and names of a source mean.
    pub(super) fn origin(&self, id: SourceId) -> Option<&Origin> {
        self.origins.get(id.0 as usize)
    }
    /// Makes a path of the source that holds `span` absolute.
    pub(super) fn absolute(&self, span: Span, path: &str) -> PathBuf {
        let dir = self
            .origin(span.source)
            .map_or(self.env.cwd.as_path(), |o| o.dir.as_path());
        absolute(dir, self.env.home.as_deref(), path)
    }
    /// A path as the user should read it: relative to the working directory where that is shorter.
    pub(super) fn show(&self, path: &Path) -> String {
        if let Some(shown) = self.remotes.show(path) {
            return shown;
        }
        path.strip_prefix(&self.env.cwd)
            .ok()
            .filter(|rest| !rest.as_os_str().is_empty())
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// Makes a path absolute: `~` is the home directory, `.` and `..` are resolved by name.
pub(super) fn absolute(dir: &Path, home: Option<&Path>, path: &str) -> PathBuf {
    let path = match (path.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_path_buf(),
        // Compose knows no other users' homes: what follows is a name below one's own
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    };
    let mut out = PathBuf::new();
    for part in dir.join(path).components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// An I/O error without the number that the standard library adds.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text.to_lowercase(),
    }
}
