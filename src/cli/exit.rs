//! How a command ends: an exit code, and before it what went wrong, told once.
//!
//! In: errors of all stages. Out: text on standard error and a number.
//! Imports: `ui`, `apply`, `build`, `compose`, `engine`, `image`. Codes as docker compose: 0, 1, 130 when ended by a
//! signal, 141 when nobody reads the output, and the process's own for `run`, `exec` and `up --exit-code-from`.

use std::borrow::Cow;
use std::io;

use crate::apply::ApplyError;
use crate::base::diag::Diagnostic;
use crate::base::span::SourceMap;
use crate::build::BuildError;
use crate::engine::EngineError;
use crate::ui::{Screen, events, json, render, write_err};

/// Exit code when nobody reads what is written: that of a program which SIGPIPE has ended, as shells show it.
pub const PIPE: i32 = 128 + 13;

/// How the error begins that output could not be written.
const OUTPUT: &str = "cannot write the output";

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    what: What,
    code: i32,
    json: bool,
}

#[derive(Debug)]
enum What {
    /// Everything has been said.
    Said,
    Message {
        text: String,
        hints: Vec<String>,
        /// What stands before it.
        report: String,
    },
    Faults {
        faults: Vec<Diagnostic>,
        sources: Box<SourceMap>,
    },
    Apply(ApplyError),
}

/// Result of a command: its exit code.
pub type Outcome = Result<i32, Failure>;

impl Failure {
    /// An error with exit code 1.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            what: What::Message {
                text: text.into(),
                hints: Vec::new(),
                report: String::new(),
            },
            code: 1,
            json: false,
        }
    }
    /// Faults in the user's files.
    pub fn faults(faults: Vec<Diagnostic>, sources: SourceMap) -> Self {
        Self {
            what: What::Faults {
                faults,
                sources: Box::new(sources),
            },
            code: 1,
            json: false,
        }
    }
    /// Nothing more to say.
    pub fn said(code: i32) -> Self {
        Self {
            what: What::Said,
            code,
            json: false,
        }
    }
    /// Adds an act the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        match self.what {
            What::Message { ref mut hints, .. } => hints.push(hint.into()),
            What::Apply(error) => self.what = What::Apply(error.hint(hint)),
            What::Said | What::Faults { .. } => {}
        }
        self
    }
    /// Whether it is that the disk has no room left. Stages pass the system's words on, not its number.
    pub fn is_full_disk(&self) -> bool {
        // What standard output leads to is not where images are.
        let full =
            |text: &str| text.contains("No space left on device") && !text.starts_with(OUTPUT);
        match &self.what {
            What::Message { text, report, .. } => full(text) || full(report),
            What::Apply(error) => {
                full(error.message()) || error.others().iter().any(|other| full(other.message()))
            }
            What::Said | What::Faults { .. } => false,
        }
    }
    /// Puts a text before the message, as it is.
    fn report_of(mut self, before: String) -> Self {
        if let What::Message { report, .. } = &mut self.what {
            *report = before;
        }
        self
    }
    /// Tells it as JSON, whatever the progress of other commands would be.
    #[must_use]
    pub fn in_json(mut self, json: bool) -> Self {
        self.json |= json;
        self
    }
    /// Another exit code.
    #[must_use]
    pub fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }
    /// Tells it on standard error and gives the exit code. `as_json` is for `--progress json`.
    pub fn report(self, screen: Screen, as_json: bool) -> i32 {
        write_err(self.told(screen, as_json));
        self.code
    }
    /// What is told of it on standard error.
    pub fn told(&self, screen: Screen, as_json: bool) -> String {
        let text = self.text(screen.err_colour);
        if !(as_json || self.json) || text.is_empty() {
            return text;
        }
        let (found, sources) = self.found();
        events::failure(self.text(false).trim_end(), &found, &sources)
    }
    /// Tells it on standard error as findings in JSON and gives the exit code, for commands with `--format json`.
    pub fn report_findings(self) -> i32 {
        let said = match &self.what {
            What::Said => false,
            What::Apply(error) => !error.is_cancelled(),
            _ => true,
        };
        if said {
            let (found, sources) = self.found();
            write_err(json::findings(&found, &sources));
        }
        self.code
    }
    /// Its findings with the texts that their places are in.
    fn found(&self) -> (Vec<Diagnostic>, Cow<'_, SourceMap>) {
        let none = || Cow::Owned(SourceMap::default());
        match &self.what {
            What::Faults { faults, sources } => (faults.clone(), Cow::Borrowed(sources)),
            What::Apply(error) => match error.diagnostics() {
                ([], _) => (bare(error.message(), error.hints()), none()),
                (faults, sources) => (faults.to_vec(), Cow::Borrowed(sources)),
            },
            What::Message { text, hints, .. } => (bare(text, hints), none()),
            What::Said => (Vec::new(), none()),
        }
    }
    fn text(&self, colour: bool) -> String {
        match &self.what {
            What::Said => String::new(),
            What::Message {
                text,
                hints,
                report,
            } => before(report) + &render::error(text, hints, colour),
            What::Faults { faults, sources } => render::diagnostics(faults, sources, colour),
            What::Apply(error) => apply_text(error, colour),
        }
    }
}

/// A message as a finding without a place.
fn bare(text: &str, hints: &[String]) -> Vec<Diagnostic> {
    let fault = Diagnostic {
        hints: hints.to_vec(),
        ..Diagnostic::error(text.trim_end())
    };
    vec![fault]
}

/// What stands before an error, with its line end.
fn before(report: &str) -> String {
    match report {
        "" => String::new(),
        report => format!("{}\n", render::clean(report)),
    }
}

/// An error of a run with all that belongs to it, then the errors of other actions.
fn apply_text(error: &ApplyError, colour: bool) -> String {
    if error.is_cancelled() {
        return String::new();
    }
    let (faults, sources) = error.diagnostics();
    let mut text = before(error.before());
    text += &if faults.is_empty() {
        render::error(error.message(), &[], colour)
    } else {
        render::diagnostics(faults, sources, colour)
    };
    for note in error.notes() {
        text.push_str(&format!("{}:\n", note.title));
        for line in &note.lines {
            let line = crate::ui::logs::sanitise(line.as_bytes());
            text.push_str(&format!("  {}\n", String::from_utf8_lossy(&line)));
        }
    }
    text.push_str(&render::hints(error.hints(), colour));
    for other in error.others() {
        text.push_str(&apply_text(other, colour));
    }
    text
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self {
            code: error.exit_code(),
            what: What::Apply(error),
            json: false,
        }
    }
}
impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let code = if let EngineError::CannotRun { code, .. } = &error {
            *code
        } else {
            1
        };
        Self::new(error.to_string()).code(code)
    }
}
impl From<crate::image::store::StoreError> for Failure {
    fn from(error: crate::image::store::StoreError) -> Self {
        Self::new(error.to_string())
    }
}
impl From<crate::image::reference::ReferenceError> for Failure {
    fn from(error: crate::image::reference::ReferenceError) -> Self {
        Self::new(error.to_string())
    }
}
impl From<crate::image::registry::PullError> for Failure {
    fn from(error: crate::image::registry::PullError) -> Self {
        Self::new(error.to_string())
    }
}
impl From<crate::image::registry::PushError> for Failure {
    fn from(error: crate::image::registry::PushError) -> Self {
        Self::new(error.to_string())
    }
}
impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Invalid {
                diagnostics,
                sources,
            } => Self::faults(diagnostics, sources),
            BuildError::Cancelled => Self::said(130),
            BuildError::Step(failure) => {
                let error = Self::new(failure.headline()).report_of(failure.report());
                failure.hints.iter().fold(error, Self::hint)
            }
            other => Self::new(other.to_string()),
        }
    }
}
impl From<io::Error> for Failure {
    /// Only writing to the terminal or a pipe gets here without a name.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::said(PIPE);
        }
        Self::new(format!("{OUTPUT}: {error}"))
    }
}
