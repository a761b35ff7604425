//! Why a build failed, as the user should read it.
//!
//! Imports: `base`, `image`.

use std::fmt;

use crate::base::diag::{Diagnostic, Severity};
use crate::base::span::{SourceMap, Span};
use crate::image::store::StoreError;

/// Lines of a failing step's output that the error repeats.
pub(super) const LAST_LINES: usize = 20;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile or the request is at fault.
    #[error("{}", invalid(diagnostics, sources))]
    Invalid {
        /// All that was found, in file order.
        diagnostics: Vec<Diagnostic>,
        /// The texts that their spans point into.
        sources: SourceMap,
    },
    /// A step failed.
    #[error("{0}")]
    Step(Box<StepFailure>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was built could not be brought to where it should go.
    #[error("{0}")]
    Output(String),
    /// A file could not be read or written.
    #[error("cannot {step}: {source}")]
    Io {
        /// `read /ctx/a`.
        step: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The user has changed something: all is to be read and done again.
    #[error("the build is to begin again")]
    ReadAgain,
    /// The caller ended it.
    #[error("the build was cancelled")]
    Cancelled,
}

/// A step that failed.
#[derive(Debug, Clone)]
pub struct StepFailure {
    /// `[build 2/4] RUN make`.
    pub title: String,
    /// What went wrong.
    pub message: String,
    /// What the user can do.
    pub hints: Vec<String>,
    /// The instruction's place.
    pub span: Option<Span>,
    /// The texts that the place points into.
    pub sources: SourceMap,
    /// The last lines of its output.
    pub output: Vec<String>,
    /// The exit code, if a process ended with one.
    pub code: Option<i32>,
}

impl BuildError {
    pub(super) fn io(step: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io {
            step: step.into(),
            source: source.into(),
        }
    }
}

/// One fault of an instruction: all faults of the user's that are found after parsing end here.
pub(super) fn fault(diagnostic: Diagnostic, sources: &SourceMap) -> BuildError {
    BuildError::Invalid {
        diagnostics: vec![diagnostic],
        sources: sources.clone(),
    }
}

fn invalid(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    let mut blocks = Vec::new();
    for item in diagnostics
        .iter()
        .filter(|item| item.severity == Severity::Error)
    {
        let mut block = item.headline(sources);
        if let Some(excerpt) = item.span.and_then(|span| excerpt(span, sources)) {
            block.push('\n');
            block.push_str(&excerpt);
        }
        for hint in &item.hints {
            block.push_str("\nhint: ");
            block.push_str(hint);
        }
        blocks.push(block);
    }
    blocks.join("\n")
}

impl StepFailure {
    /// What stands before the error: the last lines of output, and the instruction with its neighbours. As BuildKit.
    pub fn report(&self) -> String {
        let mut blocks = Vec::new();
        if !self.output.is_empty() {
            let lines = self.output.join("\n");
            blocks.push(format!("------\n > {}:\n{lines}\n------", self.title));
        }
        if let Some(span) = self.span {
            blocks.push(self.sources.place(span));
            blocks.extend(excerpt(span, &self.sources));
        }
        blocks.join("\n")
    }

    /// The error in one line.
    pub fn headline(&self) -> String {
        format!("failed to build: {}", self.message)
    }
}

impl fmt::Display for StepFailure {
    /// All of it, the message first: for those who show it in one piece.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for line in self.report().lines() {
            write!(f, "\n{line}")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Rows that an excerpt shows before and after those of the instruction.
const AROUND: usize = 2;
/// Rows of the instruction itself that are shown; of a longer one the first.
const LONGEST: usize = 20;

/// The rows of a span, marked, with their neighbours.
fn excerpt(span: Span, sources: &SourceMap) -> Option<String> {
    let source = sources.get(span.source)?;
    let row_of = |at: u32| {
        let before = source
            .text
            .as_bytes()
            .get(..at as usize)
            .unwrap_or(source.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count()
    };
    let (first, last) = (row_of(span.start), row_of(span.end));
    let cut = last.saturating_sub(first) >= LONGEST;
    let end = if cut {
        first + LONGEST - 1
    } else {
        last + AROUND
    };
    let rows = source.text.lines().enumerate();
    let shown = rows.filter(|(at, _)| (first.saturating_sub(AROUND)..=end).contains(at));
    let mut lines: Vec<String> = shown
        .map(|(at, row)| {
            let mark = match (first..=last).contains(&at) {
                true => ">>>",
                false => "   ",
            };
            format!("{:4} | {mark} {row}", at + 1).trim_end().to_owned()
        })
        .collect();
    if cut {
        lines.push(format!("     | >>> … and {} lines more", last - end));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_output_place_and_code() {
        let mut sources = SourceMap::default();
        let id = sources.add("Dockerfile", "FROM a\nRUN exit 7\nCMD x\n");
        let failure = StepFailure {
            title: "[2/2] RUN exit 7".into(),
            message: "process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7"
                .into(),
            hints: Vec::new(),
            span: Some(Span::new(id, 7, 17)),
            sources,
            output: vec!["boom".into()],
            code: Some(7),
        };
        let want = "------\n > [2/2] RUN exit 7:\nboom\n------\nDockerfile:2:1\n   1 |     FROM a\n   2 | >>> RUN exit 7\n   \
                    3 |     CMD x";
        assert_eq!(failure.report(), want);
        assert!(failure.headline().ends_with("successfully: exit code: 7"));
    }

    #[test]
    fn of_a_long_instruction_the_beginning_is_shown() {
        let mut sources = SourceMap::default();
        let text = format!("FROM a\nRUN <<E\n{}E\nCMD x\n", "true\n".repeat(50));
        let id = sources.add("Dockerfile", text.as_str());
        let shown = excerpt(Span::new(id, 7, text.len() - 7), &sources).unwrap();
        assert_eq!(shown.lines().count(), 1 + LONGEST + 1, "{shown}");
        assert!(
            shown.ends_with("\n     | >>> … and 32 lines more"),
            "{shown}"
        );
    }
}
