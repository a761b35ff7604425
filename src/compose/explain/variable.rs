//! A variable as a whole: who sets it, who refers to it, who gets it.
//!
//! In: its name. Out: its sources by weight, references, containers.
//! Imports: `base`, `session`.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value as Json;

use super::origin::{Lower, Provenance};
use super::path::{self, Target};
use super::settings::Setting;
use super::{Explainer, Place};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::key::Key;

/// The sources of a variable for some files.
#[derive(Debug, Clone, Serialize)]
pub struct ScopeOf {
    /// The entry of `include` whose files are meant; `None` for the project's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Place>,
    /// The value that counts; `None` if it is not set.
    pub value: Option<String>,
    /// All sources, the weightiest first.
    pub sources: Vec<Setting>,
}

/// A place that refers to a variable.
#[derive(Debug, Clone, Serialize)]
pub struct ReferenceAt {
    /// The place.
    pub place: Place,
    /// The reference as written.
    pub text: String,
    /// The path of the value in its file.
    pub path: String,
}

/// A service in whose containers a variable is set.
#[derive(Debug, Clone, Serialize)]
pub struct Container {
    /// The service.
    pub service: String,
    /// Its profiles, if they leave it off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<String>,
    /// The value inside; `null` takes it out.
    pub value: Json,
    /// Where it comes from.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// What it replaced, the oldest first.
    pub overrode: Vec<Lower>,
}

/// A variable: who sets it, who refers to it, who gets it.
#[derive(Debug, Clone, Serialize)]
pub struct VariableExplanation {
    /// Its name.
    pub variable: String,
    /// The sources for the project's files, and apart those of included files that have sources of their own.
    pub scopes: Vec<ScopeOf>,
    /// Where the compose files refer to it.
    pub references: Vec<ReferenceAt>,
    /// The services that have it in their environment.
    pub containers: Vec<Container>,
}

/// The variable that is asked for, unless a path is: `X`, `$X` or `${X}`; `taken` knows the top-level keys.
pub(super) fn name(asked: &str, taken: impl Fn(&str) -> bool) -> Option<&str> {
    if let Some(rest) = asked.strip_prefix('$') {
        let inner = rest.strip_prefix('{').and_then(|r| r.strip_suffix('}'));
        return Some(inner.unwrap_or(rest));
    }
    let word = !asked.is_empty() && !asked.contains(['.', '[', '"', '\'']);
    (word && !taken(asked)).then_some(asked)
}

impl Explainer<'_> {
    pub(super) fn variable(&self, name: &str) -> Result<VariableExplanation, Box<Diagnostic>> {
        let references: Vec<ReferenceAt> = self
            .index
            .references
            .iter()
            .filter(|reference| reference.name == name)
            .map(|reference| ReferenceAt {
                place: self.place(reference.span),
                text: reference.text.clone(),
                path: path::shown(&reference.path),
            })
            .collect();
        let found = VariableExplanation {
            variable: name.to_owned(),
            scopes: self.scopes(name),
            references: unique(references),
            containers: self.containers(name),
        };
        let set = found.scopes.iter().any(|scope| !scope.sources.is_empty());
        match set || !found.references.is_empty() || !found.containers.is_empty() {
            true => Ok(found),
            false => Err(Box::new(self.unknown(name))),
        }
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let mut known: BTreeSet<&str> = self.stage.found.vars.keys().map(String::as_str).collect();
        known.extend(self.index.references.iter().map(|r| r.name.as_str()));
        let services = self.root.get("services").and_then(|node| node.entries());
        for service in services.into_iter().flat_map(|all| all.values()) {
            let environment = service.get("environment").and_then(|node| node.entries());
            known.extend(
                environment
                    .into_iter()
                    .flat_map(|e| e.keys())
                    .map(String::as_str),
            );
        }
        let keys = self.root.entries().into_iter().flat_map(|e| e.keys());
        let text = format!(
            "nothing sets the variable `{name}`, no compose file refers to it, and no service has it"
        );
        let fault = Diagnostic::error(text);
        match nearest(name, known.into_iter().chain(keys.map(String::as_str))) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault
                .hint("ask for a variable's name, or for a path such as services.NAME.ports[0]"),
        }
    }

    fn scopes(&self, name: &str) -> Vec<ScopeOf> {
        let mut scopes = Vec::new();
        let settings = self.settings();
        scopes.push(scope_of(None, settings.all(settings.root(), name)));
        for scope in self.session.scopes() {
            let Some(include) = scope.include else {
                continue;
            };
            if !settings.own(scope, include, name).is_empty() {
                let sources = settings.all(Some(scope), name);
                scopes.push(scope_of(Some(self.place(include)), sources));
            }
        }
        scopes
    }

    /// The services that have a variable, sorted.
    fn containers(&self, name: &str) -> Vec<Container> {
        let Some(services) = self.root.get("services") else {
            return Vec::new();
        };
        let top = Target::top(&self.root).child(Key::Name("services".to_owned()), services);
        let mut containers = Vec::new();
        for service in top.children() {
            let environment = service.node().and_then(|node| node.get("environment"));
            let Some((environment, node)) =
                environment.and_then(|found| Some((found, found.get(name)?)))
            else {
                continue;
            };
            let target = service
                .child(Key::Name("environment".to_owned()), environment)
                .child(Key::Name(name.to_owned()), node);
            let Some(Key::Name(service)) = service.path.0.last() else {
                continue;
            };
            containers.push(Container {
                service: service.clone(),
                off: self.off(&target),
                value: super::value_of(node),
                provenance: self.provenance(&target),
                overrode: self.overrode(&target),
            });
        }
        containers
    }
}

fn scope_of(include: Option<Place>, sources: Vec<Setting>) -> ScopeOf {
    ScopeOf {
        include,
        value: sources.first().map(|first| first.value.clone()),
        sources,
    }
}

/// Places of a file that was read several times count once.
fn unique(references: Vec<ReferenceAt>) -> Vec<ReferenceAt> {
    let mut seen = BTreeSet::new();
    references
        .into_iter()
        .filter(|reference| seen.insert(reference.place.to_string()))
        .collect()
}
