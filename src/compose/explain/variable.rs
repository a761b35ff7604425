//! Which source sets a variable, and which sources lost.
//!
//! In: a name and the texts whose variables are meant. Out: all sources by weight, references, containers.
//! Imports: `base`, `dotenv`, `expand` (variables), `session`, `template`.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value as Json;

use super::origin::{Lower, Provenance};
use super::path::{self, Target};
use super::{Explainer, Place};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::key::Key;
use crate::base::span::{SourceId, Span};
use crate::compose::dotenv;
use crate::compose::expand::Vars;
use crate::compose::session::{Asked, Reason, Scope};
use crate::compose::template;

/// The variable that hoist sets itself.
const PROJECT: &str = "COMPOSE_PROJECT_NAME";

/// A kind of source of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// The environment hoist was called with.
    Environment,
    /// A line of an env file.
    EnvFile,
    /// Set by hoist to the project's name.
    ProjectName,
}

/// One source that sets a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What it is.
    pub source: SettingKind,
    /// The line of the env file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The value it gives.
    pub value: String,
    /// Whether this value counts.
    pub wins: bool,
}

/// A variable in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Its name.
    pub name: String,
    /// The reference as written: `${TAG:-latest}`.
    pub text: String,
    /// Its value; `None` if nothing sets it.
    pub value: Option<String>,
    /// The source whose value counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Setting>,
    /// The default in the text, if that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

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
    pub(super) fn variable(&self, name: &str) -> Result<VariableExplanation, Diagnostic> {
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
            false => Err(self.unknown(name)),
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
        let root = self.session.scopes().iter().find(|s| s.include.is_none());
        scopes.push(scope_of(None, self.settings(root, name)));
        for scope in self.session.scopes() {
            let Some(include) = scope.include else {
                continue;
            };
            let own = !self
                .in_files(scope, name, &self.vars(include.source))
                .is_empty();
            if own {
                let sources = self.settings(Some(scope), name);
                scopes.push(scope_of(Some(self.place(include)), sources));
            }
        }
        scopes
    }

    fn vars(&self, source: SourceId) -> Vars {
        let origin = self.session.origin(source);
        origin
            .map(|origin| (*origin.vars).clone())
            .unwrap_or_default()
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
                value: node.to_json(),
                provenance: self.provenance(&target),
                overrode: self.overrode(&target),
            });
        }
        containers
    }

    /// The variables a text refers to; those in a default that does not count are left out.
    pub(super) fn used_in(&self, source: SourceId, text: &str) -> Vec<Used> {
        let mut used = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let tail = rest.get(at..).unwrap_or_default();
            let Some((name, whole)) = template::reference(tail) else {
                let skip = if tail.starts_with("$$") { 2 } else { 1 };
                rest = tail.get(skip..).unwrap_or_default();
                continue;
            };
            rest = tail.get(whole.len()..).unwrap_or_default();
            let default = template::variables(whole).into_iter().next();
            let default = default.and_then(|variable| variable.default);
            let found = self.used(source, name, whole, default);
            let nested = found.default.clone();
            used.push(found);
            if let Some(nested) = nested {
                used.extend(self.used_in(source, &nested));
            }
        }
        used
    }

    /// A variable as a text sees it; `default` is what the text gives for one that is not set.
    pub(super) fn used(
        &self,
        source: SourceId,
        name: &str,
        text: &str,
        default: Option<String>,
    ) -> Used {
        let settings = self.settings(self.scope_of(source), name);
        let from = settings.into_iter().next();
        let empty = from.as_ref().is_none_or(|from| from.value.is_empty());
        let counts = match &from {
            None => true,
            Some(_) => empty && text.contains(":-"),
        };
        Used {
            name: name.to_owned(),
            text: text.to_owned(),
            value: from.as_ref().map(|from| from.value.clone()),
            from,
            default: default.filter(|_| counts),
        }
    }

    /// `COMPOSE_PROJECT_NAME`, if it gives the project its name.
    pub(super) fn name_variable(&self) -> Option<Used> {
        let root = self.session.scopes().iter().find(|s| s.include.is_none());
        let mut settings = self.settings(root, PROJECT);
        settings.retain(|setting| setting.source != SettingKind::ProjectName);
        let from = settings
            .into_iter()
            .next()
            .filter(|s| !s.value.is_empty())?;
        Some(Used {
            name: PROJECT.to_owned(),
            text: PROJECT.to_owned(),
            value: Some(from.value.clone()),
            from: Some(Setting { wins: true, ..from }),
            default: None,
        })
    }

    /// The scope whose variables a text sees.
    fn scope_of(&self, mut source: SourceId) -> Option<&Scope> {
        // A text is named by one that was read before it, so the way ends.
        loop {
            match self.session.asked(source)? {
                Asked {
                    reason: Reason::Include,
                    at: Some(at),
                } => {
                    let holds = |scope: &&Scope| {
                        scope.include.is_some_and(|include| {
                            include.source == at.source
                                && include.start <= at.start
                                && at.end <= include.end
                        })
                    };
                    return self.session.scopes().iter().find(holds);
                }
                Asked { at: Some(at), .. } => source = at.source,
                Asked { at: None, .. } => {
                    return self.session.scopes().iter().find(|s| s.include.is_none());
                }
            }
        }
    }

    /// Everything that sets a variable in a scope, the weightiest first.
    fn settings(&self, scope: Option<&Scope>, name: &str) -> Vec<Setting> {
        let mut all = Vec::new();
        match scope.and_then(|scope| scope.include) {
            Some(include) => {
                all = self.settings(self.scope_of(include.source), name);
                if let Some(scope) = scope {
                    let files = self.in_files(scope, name, &self.vars(include.source));
                    all.extend(files.into_iter().rev());
                }
            }
            None => {
                if name == PROJECT {
                    all.push(Setting {
                        source: SettingKind::ProjectName,
                        place: None,
                        value: self.stage.name.to_string(),
                        wins: false,
                    });
                }
                let env = &self.session.env().vars;
                all.extend(env.get(name).map(|value| Setting {
                    source: SettingKind::Environment,
                    place: None,
                    value: value.clone(),
                    wins: false,
                }));
                if let Some(scope) = scope {
                    all.extend(self.in_files(scope, name, env).into_iter().rev());
                }
            }
        }
        for (at, setting) in all.iter_mut().enumerate() {
            setting.wins = at == 0;
        }
        all
    }

    /// The lines of a scope's env files that set a variable, in order; `above` are the variables that outweigh them.
    fn in_files(&self, scope: &Scope, name: &str, above: &Vars) -> Vec<Setting> {
        let mut found = Vec::new();
        let mut below = Vars::new();
        for id in &scope.files {
            let text = self.session.text(*id);
            let lookup = |name: &str| above.get(name).or_else(|| below.get(name)).cloned();
            for line in dotenv::assignments(&text) {
                if line.name != name {
                    continue;
                }
                let head = text.get(..line.end).unwrap_or_default();
                let values = dotenv::parse(head, &lookup, &mut Vec::new());
                let Some(value) = values.ok().and_then(|mut all| all.shift_remove(name)) else {
                    continue;
                };
                let shown = text
                    .get(line.start..line.end)
                    .unwrap_or_default()
                    .trim_end();
                let span = Span::new(*id, line.start, line.start + shown.len());
                found.push(Setting {
                    source: SettingKind::EnvFile,
                    place: Some(self.place(span)),
                    value,
                    wins: false,
                });
            }
            let all = dotenv::parse(&text, &lookup, &mut Vec::new());
            below.extend(all.unwrap_or_default());
        }
        found
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
