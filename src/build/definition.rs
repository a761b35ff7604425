//! The Dockerfile of a build: read, parsed, checked.
//!
//! In: a request. Out: a [`Definition`] with everything that is wrong with it, and then its graph.
//! Imports: `dockerfile`, `lint`, `lower`.

use super::dockerfile::ast::Dockerfile;
use super::dockerfile::parse;
use super::error::{BuildError, fault};
use super::lint::{self, Lints, Settings};
use super::lower::{self, Graph};
use super::{BuildRequest, Builder, read_dockerfile};
use crate::base::diag::{Diagnostic, Diagnostics, Severity};
use crate::base::event::Event;
use crate::base::span::{SourceId, SourceMap};

/// The build argument that takes the place of the file's own `syntax` directive.
const SYNTAX: &str = "BUILDKIT_SYNTAX";

/// A Dockerfile, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) file: Dockerfile,
    /// The text.
    pub(super) source: SourceId,
    pub(super) lints: Lints,
    faults: Diagnostics,
}

/// What a build argument says, also where it only names a variable of the caller.
fn given<'a>(request: &'a BuildRequest, name: &str) -> Option<&'a str> {
    let found = request.args.iter().rev().find(|(known, _)| known == name)?;
    found.1.as_deref().or_else(|| request.env.get(name))
}

impl Definition {
    /// Reads the file.
    ///
    /// # Errors
    /// When there is no text: what is wrong with the text is told by [`Self::lower`].
    pub(super) fn read(
        request: &BuildRequest,
        sources: &mut SourceMap,
    ) -> Result<Self, BuildError> {
        let (name, text) = read_dockerfile(request)?;
        let source = sources.add(name, text.as_str());
        let syntax = given(request, SYNTAX).filter(|image| !image.is_empty());
        let (file, mut faults) = parse::read(&text, source, syntax);
        let own = file.directives.check.as_ref();
        let asked = given(request, lint::ARGUMENT)
            .map(|text| (text, None))
            .or_else(|| own.map(|(text, span)| (text.as_str(), Some(*span))));
        let (text, span) = asked.unwrap_or_default();
        let settings = Settings::parse(text).unwrap_or_else(|why| {
            let item = Diagnostic::error(format!("failed to parse check options: {why}"));
            let hint = "write skip=RULE,RULE or skip=all, error=true, with ; between them";
            faults.push(item.at(span).hint(hint));
            Settings::default()
        });
        let lints = Lints::new(settings);
        lint::file::check(&file, &lints);
        Ok(Self {
            file,
            source,
            lints,
            faults,
        })
    }
    /// Fails with all that is wrong with the text.
    pub(super) fn good(&self, sources: &SourceMap) -> Result<(), BuildError> {
        if !self.faults.has_errors() {
            return Ok(());
        }
        let faults = self.faults.clone().sorted().into_iter();
        Err(BuildError::Invalid {
            diagnostics: faults
                .filter(|item| item.severity == Severity::Error)
                .collect(),
            sources: sources.clone(),
        })
    }
    /// Fails when the file wants what the checks found to be errors.
    pub(super) fn strict(&self, sources: &SourceMap) -> Result<(), BuildError> {
        self.lints
            .error()
            .map_or(Ok(()), |item| Err(fault(item, sources)))
    }
    /// Finds out what must be built, and tells what the checks found.
    ///
    /// # Errors
    /// All that is wrong with the text, else what is wrong with an instruction.
    pub(super) fn lower(
        &self,
        request: &BuildRequest,
        builder: &Builder<'_>,
        sources: &mut SourceMap,
    ) -> Result<Graph, BuildError> {
        let graph = self
            .good(sources)
            .and_then(|()| lower::lower(&self.file, request, builder, sources, &self.lints));
        let warnings = self.faults.iter();
        for item in warnings.filter(|item| item.severity == Severity::Warning) {
            let event = Event::Warn(item.headline(sources));
            builder.events.send(event);
        }
        lint::tell(
            &self.lints.findings(),
            &request.target_name,
            sources,
            builder.events,
        );
        let graph = graph?;
        self.strict(sources)?;
        Ok(graph)
    }
}
