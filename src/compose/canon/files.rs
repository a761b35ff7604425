//! What `env_file` and `label_file` bring into a service.
//!
//! In: a service whose values are canonical each. Out: its `environment` and `labels` with the files' below its own.
//! Imports: `base`, `dotenv`, `session`, `tree`.

use std::path::PathBuf;
use std::rc::Rc;

use super::Canon;
use crate::base::diag::Diagnostic;
use crate::base::key::Key;
use crate::base::span::Span;
use crate::compose::dotenv;
use crate::compose::session::Origin;
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
        let listed = files.items().filter(|_| self.resolve_env);
        for file in listed.unwrap_or_default() {
            let Some(path) = file.text_of("path") else {
                continue;
            };
            let place = file.get("path").map_or(file.span, |node| node.span);
            let required = !matches!(
                file.get("required").map(|n| &n.value),
                Some(Value::Bool(false))
            );
            let raw = file.text_of("format") == Some("raw");
            let path = PathBuf::from(self.located(place, path));
            if !required && !path.exists() {
                continue;
            }
            let own = own.clone();
            let found = self.under_found("env_file", &path, place, raw, &own);
            for (name, value) in found {
                merged.insert(
                    name,
                    Node {
                        key: Some(place),
                        ..Node::text(place, value)
                    },
                );
            }
        }
        merged.extend(own);
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
        own: &Entries,
    ) -> dotenv::Variables {
        self.path.0.push(Key::Name(key.to_owned()));
        let found = self.variables_file(path, place, raw, own);
        self.path.0.pop();
        found
    }

    /// Reads an env or label file; `own` answers for references in it after the project's variables.
    fn variables_file(
        &mut self,
        path: &std::path::Path,
        place: Span,
        raw: bool,
        own: &Entries,
    ) -> dotenv::Variables {
        let vars = self
            .session
            .origin(place.source)
            .map(|o| o.vars.clone())
            .unwrap_or_default();
        if !path.is_file() {
            let shown = self.session.show(path);
            let text = format!("env file `{shown}` not found");
            let hint = "create it, or write `required: false` if it may be missing";
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
        let Some(id) = self.session.read_file(path, Some(place), origin) else {
            return dotenv::Variables::new();
        };
        let text = self.session.text(id);
        if raw {
            return dotenv::parse_raw(&text);
        }
        let lookup = |name: &str| {
            vars.get(name)
                .cloned()
                .or_else(|| own.get(name).and_then(Node::scalar))
        };
        let mut unset = Vec::new();
        match dotenv::parse(&text, &lookup, &mut unset) {
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
                self.session
                    .diags
                    .push(fault.related(place, "the file is named here"));
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
            let path = PathBuf::from(self.located(file.span, path));
            for (name, value) in
                self.under_found("label_file", &path, file.span, false, &Entries::new())
            {
                merged.insert(name, Node::text(file.span, value));
            }
        }
        let labels = entries.entry("labels".to_owned()).or_insert_with(|| Node {
            key: files.key,
            ..Node::new(files.span, Value::Map(Entries::new()))
        });
        if let Some(own) = labels.entries_mut() {
            merged.extend(std::mem::take(own));
            *own = merged;
        }
    }
}
