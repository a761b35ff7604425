//! Where a value of the document comes from, and which source sets a variable: what `hoist explain` shows.
//!
//! In: a [`LoadRequest`] and the path or name that is asked for. Out: [`PathExplanation`], [`VariableExplanation`].
//! It changes nothing and prints nothing; values are given as they are, secret ones too, since they were asked for.
//! Imports: `base`, all phases up to `canon`. Rules: the same as the phases': it looks at what they noted (`trace`,
//! `session`) and reads the registered texts again for what they replaced.

mod defaults;
mod origin;
mod path;
mod settings;
mod variable;
mod written;

pub use origin::{Entry, Hop, Lower, PathExplanation, Provenance};
pub(super) use settings::Settings;
pub use settings::{Setting, SettingKind, Used};
pub use variable::{Container, ReferenceAt, ScopeOf, VariableExplanation};

use serde::Serialize;
use serde_json::Value as Json;

use super::session::Session;
use super::tree::{Entries, Node, Value};
use super::{LoadError, LoadRequest, Stage, canonical, failed, report};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::env::Env;
use crate::base::span::{SourceId, SourceMap, Span};
use written::Index;

/// A place as users read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, relative to where hoist was called.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The place among the texts of the run.
    #[serde(skip)]
    pub span: Span,
}

impl Place {
    /// A place of a run's texts.
    fn of(session: &Session<'_>, span: Span) -> Self {
        let (line, column) = session.sources.line_col(span);
        let file = session.sources.get(span.source);
        Self {
            file: file.map_or_else(String::new, |source| source.name.clone()),
            line,
            column,
            span,
        }
    }
}

impl std::fmt::Display for Place {
    /// `compose.yaml:12:7`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An answer.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Explanation {
    /// To a path.
    Path(Box<PathExplanation>),
    /// To a variable.
    Variable(Box<VariableExplanation>),
}

/// A loaded project that answers questions about its values.
#[derive(Debug)]
pub struct Explainer<'e> {
    session: Session<'e>,
    stage: Stage,
    /// `-p`.
    given_name: Option<String>,
    /// The document as nodes.
    root: Node,
    index: Index,
}

impl<'e> Explainer<'e> {
    /// Loads a project; services that are off are in it, too.
    ///
    /// # Errors
    /// Every fault in the files.
    pub fn load(request: &LoadRequest, env: &'e Env) -> Result<Self, LoadError> {
        let mut session = Session::new(env, true);
        let Some((stage, canonical)) = canonical(request, env, &mut session, false) else {
            return Err(failed(session));
        };
        if session.diags.has_errors() {
            return Err(failed(session));
        }
        report::finish(&mut session);
        let top = Span::new(SourceId(0), 0, 0);
        let mut entries = Entries::default();
        let name = Node::text(top, stage.name.to_string());
        entries.insert("name".to_owned(), name);
        let (sections, extensions) = canonical.into_parts();
        for (key, section) in sections {
            if !section.is_empty() || key == "services" {
                entries.insert(key.to_owned(), Node::new(top, Value::Map(section)));
            }
        }
        entries.extend(extensions);
        Ok(Self {
            index: Index::of(&session),
            given_name: request.project_name.clone(),
            root: Node::new(top, Value::Map(entries)),
            session,
            stage,
        })
    }

    /// Explains a path (`services.api.ports[1]`) or a variable (`DATABASE_URL`, `$DATABASE_URL`).
    ///
    /// A word without dots is a variable unless the document has it as a top-level key.
    ///
    /// # Errors
    /// Nothing is there, with the nearest that is.
    pub fn explain(&self, asked: &str) -> Result<Explanation, LoadError> {
        if let Some(name) = variable::name(asked, |word| self.root.get(word).is_some()) {
            let found = self.variable(name).map_err(|fault| self.fails(*fault))?;
            return Ok(Explanation::Variable(Box::new(found)));
        }
        let target = path::find(&self.root, asked)
            .map_err(|missing| self.fails(missing.diagnostic(asked)))?;
        Ok(Explanation::Path(Box::new(self.of_target(&target))))
    }

    /// The texts that places point into.
    pub fn sources(&self) -> &SourceMap {
        &self.session.sources
    }

    /// Warnings found while loading.
    pub fn warnings(&self) -> &Diagnostics {
        &self.session.diags
    }

    fn fails(&self, fault: Diagnostic) -> LoadError {
        LoadError {
            diagnostics: fault.into(),
            sources: self.session.sources.clone(),
        }
    }

    fn place(&self, span: Span) -> Place {
        Place::of(&self.session, span)
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            session: &self.session,
            project: Some(self.stage.name.as_str()),
        }
    }
}

/// A value as `config --format json` prints it: a whole number has no fraction.
fn value_of(node: &Node) -> Json {
    let mut value = node.to_json();
    whole(&mut value);
    value
}

fn whole(value: &mut Json) {
    match value {
        Json::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            // Beyond this a float is not exact, and is printed with an exponent.
            if float.fract() == 0.0 && float.abs() < 9e15 {
                *value = Json::from(float as i64);
            }
        }
        Json::Array(items) => items.iter_mut().for_each(whole),
        Json::Object(entries) => entries.values_mut().for_each(whole),
        _ => {}
    }
}

/// A value as one line of text: a string as it is, everything else as JSON.
pub fn one_line(value: &Json) -> String {
    match value {
        Json::String(text) if !text.is_empty() && !text.contains('\n') => text.clone(),
        other => other.to_string(),
    }
}
