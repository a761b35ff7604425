//! Checks of Dockerfiles: what works and should be different.
//!
//! In: a parsed file ([`file`]), its `FROM`s ([`from`]), and each stage while it is worked out ([`stage`]). Out: [`Finding`]s, in
//! the order they are made, for progress and for [`report`]. It refuses nothing but what `error=true` asks for.
//! Imports: `base`, `build::dockerfile`, `image::reference`, `image::manifest`. Rules: BuildKit's checks, by name.

pub mod file;
pub mod from;
pub mod report;
pub mod rules;
pub mod stage;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeSet;

pub use rules::Rule;

use crate::base::diag::Diagnostic;
use crate::base::event::{BuildStep, BuildWarning, Event, EventSink, internal};
use crate::base::span::{SourceMap, Span};

/// The build argument that takes the place of the file's own `check` directive.
pub const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Something that works and should be different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule says so.
    pub rule: Rule,
    /// What is found.
    pub detail: String,
    /// The whole instruction; its rows are what is shown.
    pub span: Span,
}

/// Which rules count, and whether they end the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    skip: BTreeSet<String>,
    skip_all: bool,
    experimental: BTreeSet<String>,
    experimental_all: bool,
    /// A finding is an error.
    pub error: bool,
}

impl Settings {
    /// Reads `skip=A,B;error=true;experimental=C`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for option in text.split(';').filter(|_| !text.trim().is_empty()) {
            let Some((key, value)) = option.split_once('=') else {
                return Err(format!("invalid check option {option:?}"));
            };
            let value = value.trim();
            let names = || {
                value
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect()
            };
            match key.trim() {
                "skip" if value == "all" => settings.skip_all = true,
                "skip" => settings.skip = names(),
                "experimental" if value == "all" => settings.experimental_all = true,
                "experimental" => settings.experimental = names(),
                "error" => {
                    settings.error = truth(value).ok_or_else(|| {
                        format!("failed to parse check option {option:?}: write true or false")
                    })?;
                }
                key => return Err(format!("invalid check option {key:?}")),
            }
        }
        Ok(settings)
    }
    fn wants(&self, rule: Rule) -> bool {
        let name = rule.name();
        let asked =
            !rule.is_experimental() || self.experimental_all || self.experimental.contains(name);
        asked && !self.skip_all && !self.skip.contains(name)
    }
}

/// A truth value as Go reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// What the checks of one build found.
#[derive(Debug, Default)]
pub struct Lints {
    settings: Settings,
    found: RefCell<Vec<Finding>>,
}

impl Lints {
    /// Nothing found yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            found: RefCell::default(),
        }
    }
    /// Adds a finding, unless its rule is off.
    pub fn add(&self, rule: Rule, span: Span, detail: impl Into<String>) {
        if self.settings.wants(rule) {
            self.found.borrow_mut().push(Finding {
                rule,
                detail: detail.into(),
                span,
            });
        }
    }
    /// All that was found so far, in order.
    pub fn findings(&self) -> Vec<Finding> {
        self.found.borrow().clone()
    }
    /// Puts the findings from `first` on in the order of the file; those of one place stay in theirs.
    pub fn sort_from(&self, first: usize) {
        if let Some(findings) = self.found.borrow_mut().get_mut(first..) {
            findings.sort_by_key(|finding| (finding.span.source, finding.span.start));
        }
    }
    /// The error that findings are when the file asks for it.
    pub fn error(&self) -> Option<Diagnostic> {
        let found = self.found.borrow();
        let first = found.first().filter(|_| self.settings.error)?;
        let mut rules: Vec<&str> = Vec::new();
        for finding in found.iter() {
            if !rules.contains(&finding.rule.name()) {
                rules.push(finding.rule.name());
            }
        }
        let what = format!("lint violation found for rules: {}", rules.join(", "));
        let hint = "change what the checks found, or leave rules out with `# check=skip=NAME`";
        Some(Diagnostic::error(what).at(first.span).hint(hint))
    }
}

/// Tells progress what was found, as part of the step that reads the file.
pub fn tell(findings: &[Finding], target: &str, sources: &SourceMap, events: &dyn EventSink) {
    let send = |what| {
        events.send(Event::Build {
            target: target.to_owned(),
            step: internal::DEFINITION,
            what,
        });
    };
    for finding in findings {
        let source = sources.get(finding.span.source);
        let (first, last) = rows(finding.span, sources);
        let line = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
        send(BuildStep::Warned(BuildWarning {
            rule: finding.rule.name().to_owned(),
            message: finding.detail.clone(),
            detail: finding.rule.description().to_owned(),
            url: finding.rule.url(),
            file: source.map(|source| source.name.clone()).unwrap_or_default(),
            text: source
                .map(|source| source.text.to_string())
                .unwrap_or_default(),
            lines: (line(first), line(last)),
        }));
    }
}

/// First and last row of a place, from 1.
pub fn rows(span: Span, sources: &SourceMap) -> (usize, usize) {
    let first = sources.line_col(span).0;
    let end = Span {
        start: span.end,
        ..span
    };
    (first, sources.line_col(end).0.max(first))
}

/// The option nearest to a word, as far as a slip of two letters; of equals the first.
fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for option in options
        .into_iter()
        .filter(|option| option.len().abs_diff(word.len()) < 3)
    {
        let far = strsim::levenshtein(word, option);
        if far == 0 {
            return None;
        }
        if far < best.map_or(3, |(known, _)| known) {
            best = Some((far, option));
        }
    }
    best.map(|(_, option)| option)
}
