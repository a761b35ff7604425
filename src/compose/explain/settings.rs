//! Which sources set a variable, by weight.
//!
//! In: a name and the text that refers to it. Out: every line and environment that sets it, the winner first.
//! Imports: `base`, `dotenv`, `expand` (variables), `session`, `template`.

use serde::Serialize;

use super::Place;
use crate::base::span::{SourceId, Span};
use crate::compose::dotenv;
use crate::compose::expand::Vars;
use crate::compose::session::{Asked, Reason, Scope, Session};
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

/// The sources of variables of one run.
#[derive(Debug, Clone, Copy)]
pub(in crate::compose) struct Settings<'s> {
    /// The run.
    pub(in crate::compose) session: &'s Session<'s>,
    /// The project's name, once it is known.
    pub(in crate::compose) project: Option<&'s str>,
}

impl<'s> Settings<'s> {
    fn vars(&self, source: SourceId) -> Vars {
        let origin = self.session.origin(source);
        origin
            .map(|origin| (*origin.vars).clone())
            .unwrap_or_default()
    }

    /// The scope of the project's own files.
    pub(super) fn root(&self) -> Option<&'s Scope> {
        self.session.scopes().iter().find(|s| s.include.is_none())
    }

    /// The lines of an included file's own env files that set a variable.
    pub(super) fn own(&self, scope: &Scope, include: Span, name: &str) -> Vec<Setting> {
        self.in_files(scope, name, &self.vars(include.source))
    }

    /// The variables a text refers to; those in a default that does not count are left out.
    pub(in crate::compose) fn used_in(&self, source: SourceId, text: &str) -> Vec<Used> {
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
        let settings = self.all(self.scope_of(source), name);
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
        let mut settings = self.all(self.root(), PROJECT);
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
    fn scope_of(&self, mut source: SourceId) -> Option<&'s Scope> {
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
                    return self.root();
                }
            }
        }
    }

    /// Everything that sets a variable in a scope, the weightiest first.
    pub(super) fn all(&self, scope: Option<&Scope>, name: &str) -> Vec<Setting> {
        let mut all = Vec::new();
        match scope.and_then(|scope| scope.include) {
            Some(include) => {
                all = self.all(self.scope_of(include.source), name);
                if let Some(scope) = scope {
                    let files = self.in_files(scope, name, &self.vars(include.source));
                    all.extend(files.into_iter().rev());
                }
            }
            None => {
                if let Some(project) = self.project.filter(|_| name == PROJECT) {
                    all.push(Setting {
                        source: SettingKind::ProjectName,
                        place: None,
                        value: project.to_owned(),
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
                    place: Some(Place::of(self.session, span)),
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
