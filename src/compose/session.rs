//! What one run of the pipeline has read so far: texts, where their paths start, their variables, and the findings.
//!
//! In: files. Out: registered texts. It interprets nothing. Imports: `base`, `expand` (variables), `remote`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::expand::Vars;
use super::remote::Remotes;
use crate::base::diag::{Diagnostic, Diagnostics};
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
    /// What was fetched, and what its files may read.
    pub(super) remotes: Remotes,
    origins: Vec<Origin>,
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
            remotes: Remotes::default(),
            origins: Vec::new(),
            env,
        }
    }
    /// Registers a text.
    pub(super) fn add(&mut self, name: String, text: String, origin: Origin) -> SourceId {
        self.origins.push(origin);
        self.sources.add(name, text)
    }
    /// Reads and registers a file; a failure is a finding at `asked`, the place that names it.
    pub(super) fn read_file(
        &mut self,
        path: &Path,
        asked: Option<Span>,
        origin: Origin,
    ) -> Option<SourceId> {
        let read = match self.remotes.read(path, asked) {
            Some(read) => read,
            None => std::fs::read_to_string(path).map_err(|error| plain(&error)),
        };
        match read {
            Ok(text) => {
                let id = self.add(self.show(path), text, origin);
                self.remotes.bind(id, path, asked);
                Some(id)
            }
            Err(error) => {
                let text = format!("cannot read `{}`: {error}", self.show(path));
                self.diags.push(Diagnostic::error(text).at(asked));
                None
            }
        }
    }
    /// Changes the variables that a source sees.
    pub(super) fn set_vars(&mut self, id: SourceId, vars: Rc<Vars>) {
        if let Some(origin) = self.origins.get_mut(id.0 as usize) {
            origin.vars = vars;
        }
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
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
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
