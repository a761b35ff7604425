//! What one run of the pipeline has read so far: texts, where their paths start, their variables, and the findings.
//!
//! In: files. Out: registered texts. It interprets nothing. Imports: `base`, `expand` (variables).

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::expand::Vars;
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
    origins: Vec<Origin>,
    asked: Vec<Asked>,
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
            origins: Vec::new(),
            asked: Vec::new(),
            scopes: Vec::new(),
            env,
        }
    }
    /// Registers a text of the project itself.
    pub(super) fn add(&mut self, name: String, text: String, origin: Origin) -> SourceId {
        self.origins.push(origin);
        self.asked.push(Asked {
            reason: Reason::Project,
            at: None,
        });
        self.sources.add(name, text)
    }
    /// Says what a text was read for, and adds to its scope what is an env file.
    pub(super) fn set_reason(&mut self, id: SourceId, reason: Reason) {
        if let Some(asked) = self.asked.get_mut(id.0 as usize) {
            asked.reason = reason;
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
        self.asked.get(id.0 as usize).copied()
    }
    /// The texts read for a reason, in order.
    pub(super) fn read_for(&self, reason: Reason) -> impl Iterator<Item = SourceId> {
        let ids = self.asked.iter().zip(0u32..);
        ids.filter(move |(asked, _)| asked.reason == reason)
            .map(|(_, id)| SourceId(id))
    }
    /// The places that lead to a text, the nearest first, each with what it does.
    pub(super) fn chain(&self, id: SourceId) -> Vec<(Span, Reason)> {
        let mut chain = Vec::new();
        let mut next = self.asked(id);
        // A text is named by one that was read before it, so the way ends.
        while let Some(Asked {
            reason,
            at: Some(at),
        }) = next
        {
            chain.push((at, reason));
            next = self.asked(at.source);
        }
        chain
    }
    /// Reads and registers a file; a failure is a finding at `asked`, the place that names it.
    pub(super) fn read_file(
        &mut self,
        path: &Path,
        asked: Option<Span>,
        origin: Origin,
    ) -> Option<SourceId> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let id = self.add(self.show(path), text, origin);
                if let Some(entry) = self.asked.last_mut() {
                    entry.at = asked;
                }
                Some(id)
            }
            Err(error) => {
                let text = format!("cannot read `{}`: {}", self.show(path), plain(&error));
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
