//! Why a plan could not be made or carried out, with everything the user needs to act.
//!
//! Imports: `base`, `engine`, `image`, `build`, `plan`.

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::SourceMap;
use crate::build::BuildError;
use crate::engine::EngineError;
use crate::plan::PlanError;

/// Why a plan could not be made or carried out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.first_line())]
pub struct ApplyError {
    inner: Box<Inner>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    message: String,
    hints: Vec<String>,
    notes: Vec<Note>,
    faults: Vec<Diagnostic>,
    sources: SourceMap,
    report: String,
    others: Vec<ApplyError>,
    code: Option<i32>,
    cancelled: bool,
}

/// A titled block of text below an error: the last probes, the last log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// `last log lines of demo-db-1`.
    pub title: String,
    /// The lines, without line ends.
    pub lines: Vec<String>,
}

impl ApplyError {
    /// An error with nothing but its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                message: message.into(),
                ..Inner::default()
            }),
        }
    }
    /// Faults in the user's files, with the texts their places point into.
    pub fn faults(faults: Diagnostics, sources: &SourceMap) -> Self {
        let faults = faults.sorted();
        let message = faults
            .first()
            .map(|f| f.message.clone())
            .unwrap_or_default();
        Self {
            inner: Box::new(Inner {
                message,
                faults,
                sources: sources.clone(),
                ..Inner::default()
            }),
        }
    }
    /// The user ended the run.
    pub fn cancelled() -> Self {
        let inner = Inner {
            message: "cancelled".into(),
            code: Some(130),
            cancelled: true,
            ..Inner::default()
        };
        Self {
            inner: Box::new(inner),
        }
    }
    /// Adds an act the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hints.push(hint.into());
        self
    }
    /// Adds a block of text.
    #[must_use]
    pub fn note(mut self, title: impl Into<String>, lines: Vec<String>) -> Self {
        if !lines.is_empty() {
            self.inner.notes.push(Note {
                title: title.into(),
                lines,
            });
        }
        self
    }
    /// Sets the exit code of the command.
    #[must_use]
    pub fn code(mut self, code: i32) -> Self {
        self.inner.code = Some(code);
        self
    }
    /// Says whether it only ends what was under way, so that another error tells what happened.
    #[must_use]
    pub fn ending(mut self, ending: bool) -> Self {
        self.inner.cancelled = ending;
        self
    }
    /// Puts a name in front of the message: `Container demo-a-1: …`.
    #[must_use]
    pub fn on(mut self, what: &str) -> Self {
        self.inner.message = format!("{what}: {}", self.inner.message);
        self
    }
    /// Puts a text before the error, as it is: what a step printed, where it stands.
    #[must_use]
    pub fn report(mut self, report: String) -> Self {
        self.inner.report = report;
        self
    }
    /// Adds other errors of the same run.
    #[must_use]
    pub fn with(mut self, others: Vec<Self>) -> Self {
        self.inner.others.extend(others);
        self
    }
    /// The message, lower case, no final stop.
    pub fn message(&self) -> &str {
        &self.inner.message
    }
    /// Acts the user can do.
    pub fn hints(&self) -> &[String] {
        &self.inner.hints
    }
    /// Blocks of text that belong to it.
    pub fn notes(&self) -> &[Note] {
        &self.inner.notes
    }
    /// The text that stands before the error; may be empty.
    pub fn before(&self) -> &str {
        &self.inner.report
    }
    /// Faults in the user's files; when there are some, show them instead of the message.
    pub fn diagnostics(&self) -> (&[Diagnostic], &SourceMap) {
        (&self.inner.faults, &self.inner.sources)
    }
    /// For a line beside what it is about: faults in files are shown in full where the command ends, so here are their places.
    pub fn short(&self) -> String {
        let places = self.inner.faults.iter().filter_map(|fault| fault.span);
        let mut places: Vec<String> = places.map(|span| self.inner.sources.place(span)).collect();
        places.dedup();
        match places.split_first() {
            None => self.to_string(),
            Some((first, [])) => format!("at {first}"),
            Some((first, more)) => format!("at {first} and {} more", more.len()),
        }
    }
    /// Errors of other actions of the same run.
    pub fn others(&self) -> &[Self] {
        &self.inner.others
    }
    /// Whether the user ended the run.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled
    }
    /// The exit code of the command: 1, or 130 when the user ended it.
    pub fn exit_code(&self) -> i32 {
        self.inner.code.unwrap_or(1)
    }
    fn first_line(&self) -> &str {
        self.inner.message.lines().next().unwrap_or_default()
    }
}

impl From<EngineError> for ApplyError {
    fn from(error: EngineError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<BuildError> for ApplyError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Cancelled => Self::cancelled(),
            BuildError::Invalid {
                diagnostics,
                sources,
            } => {
                let mut faults = Diagnostics::default();
                diagnostics.into_iter().for_each(|fault| faults.push(fault));
                Self::faults(faults, &sources)
            }
            BuildError::Step(failure) => {
                let error = Self::new(failure.headline()).report(failure.report());
                failure.hints.iter().fold(error, Self::hint)
            }
            other => Self::new(super::images::with_causes(&other)),
        }
    }
}

impl From<PlanError> for ApplyError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Faults { faults, sources } => Self::faults(faults, &sources),
            PlanError::Refused(text) => Self::new(text),
        }
    }
}
