//! What `env_file` and `label_file` bring into a service.
//!
//! In: a service whose values are canonical each. Out: its `environment` and `labels` with the files' below its own.
//! Imports: `base`, `dotenv`, `expand` (what is not set), `merge` (replacing), `session`, `tree`.

use std::path::PathBuf;
use std::rc::Rc;

use super::Canon;
use super::lists::unique;
use crate::base::diag::Diagnostic;
use crate::base::key::Key;
use crate::base::span::Span;
use crate::compose::dotenv;
use crate::compose::expand;
use crate::compose::merge;
use crate::compose::session::{Origin, Reason};
use crate::compose::tree::{Entries, Node, Value};

/// Who knows a variable.
type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

impl Canon<'_, '_> {
    pub(super) fn env_files(&mut self, entries: &mut Entries) {
        let Some(mut files) = entries.shift_remove("env_file") else {
            return;
        };
        unique(Some(&mut files), |file| {
            let path = file.text_of("path")?;
            let place = file.get("path").map_or(file.span, |node| node.span);
            let dir = &self.session.origin(place.source)?.dir;
            Some(format!("{}\0{path}", dir.display()))
        });
        if self.name_env_files {
            let named = self.named_files(&files);
            entries.insert("env_file".to_owned(), named);
        }
        let own = entries
            .get("environment")
            .and_then(Node::entries)
            .cloned()
            .unwrap_or_default();
        let mut merged = Entries::default();
        let mut below = dotenv::Variables::new();
        let vars = self.session.vars.clone();
        let listed = files.items().filter(|_| self.resolve_env);
        for file in listed.unwrap_or_default() {
            let Some(path) = file.get("path") else {
                continue;
            };
            let (place, path) = (path.span, path.as_text().unwrap_or_default());
            let required = !matches!(
                file.get("required").map(|n| &n.value),
                Some(Value::Bool(false))
            );
            let format = file.get("format");
            let raw = format.and_then(Node::as_text) == Some("raw");
            if let Some(format) = format.filter(|_| !raw) {
                let text = format.scalar().unwrap_or_default();
                let fault = Diagnostic::error(format!("`{text}` is no format of an env file"))
                    .at(format.place())
                    .path(&self.path.key("env_file"))
                    .label("expected `raw`")
                    .hint("write `raw`, or remove the key for the usual format");
                self.session.diags.push(fault);
            }
            let empty = path.is_empty();
            let path = PathBuf::from(self.located(place, path));
            let gone = empty || !self.session.remotes.bars(&path, place) && !path.exists();
            if !required && gone {
                continue;
            }
            // As Compose, the project's own variables answer here, also in a file that is included.
            let lookup = |name: &str| {
                let set = vars.get(name).cloned();
                set.or_else(|| own.get(name).and_then(Node::scalar))
            };
            let around = (&lookup as Lookup<'_>, &below);
            let found = self.under_found("env_file", &path, place, raw, around);
            for (name, value) in found {
                below.insert(name.clone(), value.clone());
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

    /// Env files as Compose's hash of a service counts them: the path alone of those that must be there.
    fn named_files(&self, files: &Node) -> Node {
        let named = files.items().unwrap_or_default().iter().map(|file| {
            let Some(text) = file.text_of("path") else {
                return file.clone();
            };
            let place = file.get("path").map_or(file.span, |node| node.span);
            let path = Node::text(place, self.located(place, text));
            let required = file.get("required").map(|node| &node.value);
            if !matches!(required, Some(Value::Bool(false))) {
                return path;
            }
            let mut file = file.clone();
            if let Some(entries) = file.entries_mut() {
                entries.insert("path".to_owned(), path);
            }
            file
        });
        files.with(Value::List(named.collect()))
    }

    fn under_found(
        &mut self,
        key: &str,
        path: &std::path::Path,
        place: Span,
        raw: bool,
        around: (Lookup<'_>, &dotenv::Variables),
    ) -> dotenv::Variables {
        self.path.0.push(Key::Name(key.to_owned()));
        let found = self.variables_file(path, place, raw, around);
        self.path.0.pop();
        found
    }

    /// Reads an env or label file.
    ///
    /// `around` answers for references in the file: the first before the file itself, the second after it.
    fn variables_file(
        &mut self,
        path: &std::path::Path,
        place: Span,
        raw: bool,
        around: (Lookup<'_>, &dotenv::Variables),
    ) -> dotenv::Variables {
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
        let (lookup, below) = around;
        let mut unset = Vec::new();
        let found = match raw {
            true => dotenv::parse_raw(&text, lookup),
            false => dotenv::parse_over(&text, lookup, below, &mut unset),
        };
        match found {
            Ok(found) => {
                for name in unset {
                    if self.session.warned.insert(name.clone()) {
                        let fault = expand::unset(&name).at(Span::new(id, 0, 0));
                        self.session.diags.push(fault);
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
        let mut merged = Entries::default();
        let (mut earlier, none) = (dotenv::Variables::new(), dotenv::Variables::new());
        for file in files.items().unwrap_or_default() {
            let Some(path) = file.as_text() else { continue };
            let path = PathBuf::from(self.located(file.span, path));
            let lookup = |name: &str| earlier.get(name).cloned();
            let around = (&lookup as Lookup<'_>, &none);
            let found = self.under_found("label_file", &path, file.span, false, around);
            for (name, value) in found {
                earlier.insert(name.clone(), value.clone());
                merge::insert_over(&mut merged, &name, Node::text(file.span, value));
            }
        }
        if merged.is_empty() {
            return;
        }
        let labels = entries.entry("labels".to_owned()).or_insert_with(|| Node {
            key: files.key,
            ..Node::new(files.span, Value::Map(Entries::default()))
        });
        if let Some(own) = labels.entries_mut() {
            for (name, entry) in std::mem::take(own) {
                merge::insert_over(&mut merged, &name, entry);
            }
            *own = merged;
        }
    }
}
