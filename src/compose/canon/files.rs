//! What `env_file` and `label_file` bring into a service.
//!
//! In: a service whose values are canonical each. Out: its `environment` and `labels` with the files' below its own.
//! Imports: `base`, `dotenv`, `merge` (replacing), `session`, `tree`.

use std::path::PathBuf;
use std::rc::Rc;

use super::Canon;
use crate::base::diag::Diagnostic;
use crate::base::key::Key;
use crate::base::span::Span;
use crate::compose::dotenv;
use crate::compose::merge;
use crate::compose::session::{Origin, Reason};
use crate::compose::tree::{Entries, Node, Value};

impl Canon<'_, '_> {
    pub(super) fn env_files(&mut self, entries: &mut Entries) {
        let Some(files) = entries.shift_remove("env_file") else {
            return;
        };
        let own = entries
            .get("environment")
            .and_then(Node::entries)
            .cloned()
            .unwrap_or_default();
        let mut merged = Entries::new();
        for file in files.items().unwrap_or_default() {
            let Some(path) = file.text_of("path") else {
                continue;
            };
            let place = file.get("path").map_or(file.span, |node| node.span);
            let required = !matches!(
                file.get("required").map(|n| &n.value),
                Some(Value::Bool(false))
            );
            let raw = file.text_of("format") == Some("raw");
            let path = PathBuf::from(self.resolve(place, path));
            if !required && !self.session.remotes.bars(&path, place) && !path.exists() {
                continue;
            }
            let own = own.clone();
            let found = self.under_found("env_file", &path, place, raw, Some(&own));
            for (name, value) in found {
                let entry = Node {
                    key: Some(place),
                    ..Node::text(place, value)
                };
                merge::insert_over(&mut merged, &name, entry);
            }
        }
        for (name, entry) in own {
            merge::insert_over(&mut merged, &name, entry);
        }
        if !merged.is_empty() {
            let node = entries.get("environment").map_or_else(
                || Node {
                    key: files.key,
                    ..Node::new(files.span, Value::Null)
                },
                |node| node.with(Value::Null),
            );
            entries.insert("environment".to_owned(), node.with(Value::Map(merged)));
        }
    }

    fn under_found(
        &mut self,
        key: &str,
        path: &std::path::Path,
        place: Span,
        raw: bool,
        own: Option<&Entries>,
    ) -> dotenv::Variables {
        self.path.0.push(Key::Name(key.to_owned()));
        let found = self.variables_file(path, place, raw, own);
        self.path.0.pop();
        found
    }

    /// Reads an env or label file; `own` answers for references in it after the project's variables, without `own` only
    /// the file itself does.
    fn variables_file(
        &mut self,
        path: &std::path::Path,
        place: Span,
        raw: bool,
        own: Option<&Entries>,
    ) -> dotenv::Variables {
        let vars = self
            .session
            .origin(place.source)
            .map(|o| o.vars.clone())
            .unwrap_or_default();
        if !self.session.remotes.bars(path, place) && !path.is_file() {
            let shown = self.session.show(path);
            let text = format!("env file `{shown}` not found");
            let hint = "create it, or write `path:` and `required: false` if it may be missing";
            let fault = match self.off {
                true => Diagnostic::warning(text),
                false => Diagnostic::error(text),
            };
            self.session
                .diags
                .push(fault.at(place).path(&self.path).hint(hint));
            return dotenv::Variables::new();
        }
        let origin = Origin {
            dir: PathBuf::from("/"),
            vars: Rc::default(),
        };
        let Some(id) = self.session.read_env(path, Some(place), origin) else {
            return dotenv::Variables::new();
        };
        let labels = self.path.0.last() == Some(&Key::Name("label_file".to_owned()));
        let reason = if labels {
            Reason::Labels
        } else {
            Reason::Service
        };
        self.session.set_reason(id, reason);
        let text = self.session.text(id);
        let lookup = |name: &str| {
            vars.get(name)
                .cloned()
                .or_else(|| own?.get(name).and_then(Node::scalar))
                .filter(|_| own.is_some())
        };
        let mut unset = Vec::new();
        let found = match raw {
            true => dotenv::parse_raw(&text, &lookup),
            false => dotenv::parse(&text, &lookup, &mut unset),
        };
        match found {
            Ok(found) => {
                for name in unset {
                    if self.session.warned.insert(name.clone()) {
                        let text = format!(
                            "The \"{name}\" variable is not set. Defaulting to a blank string."
                        );
                        self.session
                            .diags
                            .push(Diagnostic::warning(text).at(Span::new(id, 0, 0)));
                    }
                }
                found
            }
            Err(error) => {
                let at = Span::new(id, error.at, error.at);
                let fault = Diagnostic::error(error.fault.to_string()).at(at);
                self.session.diags.push(fault.hint(error.fault.hint()));
                dotenv::Variables::new()
            }
        }
    }

    pub(super) fn label_files(&mut self, entries: &mut Entries) {
        let Some(files) = entries.shift_remove("label_file") else {
            return;
        };
        let mut merged = Entries::new();
        for file in files.items().unwrap_or_default() {
            let Some(path) = file.as_text() else { continue };
            let path = PathBuf::from(self.resolve(file.span, path));
            for (name, value) in self.under_found("label_file", &path, file.span, false, None) {
                merge::insert_over(&mut merged, &name, Node::text(file.span, value));
            }
        }
        if merged.is_empty() {
            return;
        }
        let labels = entries.entry("labels".to_owned()).or_insert_with(|| Node {
            key: files.key,
            ..Node::new(files.span, Value::Map(Entries::new()))
        });
        if let Some(own) = labels.entries_mut() {
            for (name, entry) in std::mem::take(own) {
                merge::insert_over(&mut merged, &name, entry);
            }
            *own = merged;
        }
    }
}
