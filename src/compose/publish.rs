//! The files of a project as others can load them: what they name beside themselves comes along under another name.
//!
//! In: compose files as they were found. Out: their texts with the names of env files and extended files changed, and
//! nothing else, so that comments and variables stay; those files; every text that stands in them, for whoever looks
//! for secrets. It changes no file. Imports: `base`, `read`, `remote`, `tree`.
//! Rules: Compose (`pkg/compose/publish.go`): the new name is the SHA-256 of the path, with `.yaml` or `.env`. That paths
//! in an extended file start from where it lies is Compose's rule for loading it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::read;
use super::remote::RemoteRef;
use super::tree::{Node, Value};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::KeyPath;
use crate::base::span::{SourceMap, Span};

/// Longest file in bytes; as long as those of artifacts that are read.
const LONGEST: u64 = 16 << 20;
/// Most files.
const MOST: usize = 128;

/// A compose file as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name there.
    pub name: String,
    /// Whether other files extend it, and it is not loaded by itself.
    pub extended: bool,
    /// Its text.
    pub text: String,
}

/// An env file as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// Its name there.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A text in a file, by its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// `services.web.environment.TOKEN`.
    pub path: String,
    /// The text.
    pub value: String,
}

/// All that is published of a project.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// Compose files in merge order, then extended ones.
    pub files: Vec<File>,
    /// Env files in the order they are named.
    pub env_files: Vec<EnvFile>,
    /// Every text of the files, in their order.
    pub texts: Vec<Text>,
    /// What is declared and does not come along.
    pub warnings: Diagnostics,
    /// The texts that places point into.
    pub sources: SourceMap,
}

/// Reads what is to be published of the compose files of a project. `dir` is where their paths start from, `cwd` where
/// those in messages do.
///
/// # Errors
/// Everything that can't be published, with its place, and the texts that the places point into.
pub fn publication(
    files: &[PathBuf],
    (dir, cwd): (&Path, &Path),
) -> Result<Publication, (Diagnostics, Box<SourceMap>)> {
    let mut work = Work {
        cwd: cwd.to_owned(),
        ..Work::default()
    };
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        work.file(path, dir, name.into_owned(), false);
    }
    // What is extended may extend further.
    let mut at = 0;
    while let Some(path) = work.extended.get(at).cloned() {
        at += 1;
        if at > MOST {
            let text = format!("more than {MOST} files are extended");
            work.faults.push(Diagnostic::error(text));
            break;
        }
        let dir = path.parent().unwrap_or(dir).to_owned();
        work.file(&path, &dir, hashed(&path, "yaml"), true);
    }
    match work.faults.has_errors() {
        true => Err((work.faults, Box::new(work.done.sources))),
        false => Ok(work.done),
    }
}

/// The name that stands for a path.
fn hashed(path: &Path, end: &str) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.{end}")
}

/// A path from a file, without `.` and `..`, as Compose joins it.
fn joined(dir: &Path, text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in dir.join(text).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path
}

#[derive(Default)]
struct Work {
    done: Publication,
    cwd: PathBuf,
    faults: Diagnostics,
    /// Files that are extended, in the order they are named.
    extended: Vec<PathBuf>,
    /// Env files that are known.
    env_files: BTreeSet<PathBuf>,
    /// What is written in place of what, in the file at hand.
    edits: BTreeMap<usize, (usize, String)>,
}

impl Work {
    fn file(&mut self, path: &Path, dir: &Path, name: String, extended: bool) {
        let text = match content(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                let text = format!("{} is not UTF-8 text", path.display());
                return self.faults.push(Diagnostic::error(text));
            }
            Err(error) => {
                let text = format!("cannot read {}: {error}", path.display());
                return self.faults.push(Diagnostic::error(text));
            }
        };
        let shown = path.strip_prefix(&self.cwd).unwrap_or(path).display();
        let source = self.done.sources.add(shown.to_string(), text.as_str());
        let raw = read::read(source, &text, &mut self.faults);
        self.edits.clear();
        for document in &raw.documents {
            self.include(document);
            let services = document.get("services").and_then(Node::entries);
            for (service, node) in services.into_iter().flatten() {
                self.service(service, node, dir);
            }
            self.objects(document);
            self.texts(document, &KeyPath::root());
        }
        let text = edited(&text, &self.edits);
        self.done.files.push(File {
            name,
            extended,
            text,
        });
    }

    /// Refuses files of this machine that would not come along.
    fn include(&mut self, document: &Node) {
        let Some(include) = document.get("include") else {
            return;
        };
        let mut local = Vec::new();
        for item in include.items().unwrap_or_default() {
            let paths = item.get("path").unwrap_or(item);
            let each = paths.items().unwrap_or(std::slice::from_ref(paths));
            let named = each
                .iter()
                .filter(|path| path.as_text().is_some_and(|text| !RemoteRef::is_one(text)));
            local.extend(named.map(Node::place));
        }
        for place in local {
            let fault = Diagnostic::error("cannot publish compose file with local includes")
                .at(place)
                .path(&KeyPath::root().key("include"))
                .hint("publish that file, too, and include it as oci://…, or name both with -f");
            self.faults.push(fault);
        }
    }

    fn service(&mut self, name: &str, service: &Node, dir: &Path) {
        let at = KeyPath::root().key("services").key(name);
        if let Some(file) = service
            .get("extends")
            .and_then(|extends| extends.get("file"))
            && let Some(text) = file.as_text().filter(|text| !RemoteRef::is_one(text))
            && let Some(path) = self.path(file.span, text, dir, &at.key("extends").key("file"))
        {
            self.edit(file.span, hashed(&path, "yaml"));
            if !self.extended.contains(&path) {
                self.extended.push(path);
            }
        }
        if let Some(files) = service.get("env_file") {
            let each = files.items().unwrap_or(std::slice::from_ref(files));
            for item in each {
                self.env_file(item, dir, &at.key("env_file"));
            }
        }
        if let Some(file) = service.get("label_file") {
            let fault = Diagnostic::error("a `label_file` can't be published")
                .at(file.place())
                .path(&at.key("label_file"))
                .hint("write the labels into the compose file");
            self.faults.push(fault);
        }
    }

    fn env_file(&mut self, item: &Node, dir: &Path, at: &KeyPath) {
        let node = item.get("path").unwrap_or(item);
        let required = item.get("required").map(|required| &required.value);
        let required = !matches!(required, Some(Value::Bool(false)));
        let Some(text) = node.as_text() else { return };
        let Some(path) = self.path(node.span, text, dir, at) else {
            return;
        };
        let name = hashed(&path, "env");
        self.edit(node.span, name.clone());
        if !self.env_files.insert(path.clone()) {
            return;
        }
        match content(&path) {
            Ok(bytes) => {
                for line in String::from_utf8_lossy(&bytes).lines() {
                    if let Some((key, value)) = line.split_once('=') {
                        self.done.texts.push(Text {
                            path: format!("{text}: {}", key.trim()),
                            value: value.trim().trim_matches(['"', '\'']).to_owned(),
                        });
                    }
                }
                self.done.env_files.push(EnvFile { name, bytes });
            }
            Err(_) if !required => {}
            Err(error) => {
                let text = format!("cannot read the env file {}: {error}", path.display());
                self.faults
                    .push(Diagnostic::error(text).at(node.span).path(at));
            }
        }
    }

    /// Configs and secrets of files are only declared.
    fn objects(&mut self, document: &Node) {
        for kind in ["configs", "secrets"] {
            let all = document.get(kind).and_then(Node::entries);
            for (name, object) in all.into_iter().flatten() {
                if let Some(file) = object.get("file") {
                    let text = "the content of this file is not published";
                    let path = KeyPath::root().key(kind).key(name).key("file");
                    let warning = Diagnostic::warning(text).at(file.place()).path(&path);
                    self.done.warnings.push(warning);
                }
            }
        }
    }

    /// The file that a text names; none where only a variable says which.
    fn path(&mut self, place: Span, text: &str, dir: &Path, at: &KeyPath) -> Option<PathBuf> {
        if text.contains('$') {
            let fault = Diagnostic::error("a file that a variable names can't be published")
                .at(place)
                .path(at)
                .hint("write its name here");
            self.faults.push(fault);
            return None;
        }
        Some(joined(dir, text))
    }

    fn edit(&mut self, place: Span, text: String) {
        self.edits
            .insert(place.start as usize, (place.end as usize, text));
    }

    fn texts(&mut self, node: &Node, at: &KeyPath) {
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    self.texts(value, &at.key(key.as_str()));
                }
            }
            Value::List(items) => {
                for item in items {
                    match item.as_text().and_then(|text| text.split_once('=')) {
                        Some((key, value)) => self.done.texts.push(Text {
                            path: at.key(key).to_string(),
                            value: value.to_owned(),
                        }),
                        None => self.texts(item, at),
                    }
                }
            }
            _ => {
                if let Some(value) = node.scalar() {
                    self.done.texts.push(Text {
                        path: at.to_string(),
                        value,
                    });
                }
            }
        }
    }
}

/// A text with parts of it replaced.
fn edited(text: &str, edits: &BTreeMap<usize, (usize, String)>) -> String {
    let mut out = String::new();
    let mut at = 0;
    for (start, (end, new)) in edits {
        if let Some(before) = text.get(at..*start) {
            out.push_str(before);
            out.push_str(new);
            at = *end;
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(std::io::Error::other(format!(
            "it is longer than {LONGEST} bytes"
        ))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_files_change() {
        let dir = std::env::temp_dir().join(format!("hoist-publish-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        write("x.env", "A=1\n");
        write(
            "compose.yaml",
            "# kept\nservices:\n  a:  # kept\n    env_file: [x.env, {path: \"gone.env\", required: false}, x.env]\n    \
             extends: {file: ./sub/b.yaml, service: b}\n    command: ['${X:-y}']\n",
        );
        write(
            "sub/b.yaml",
            "services: {b: {extends: {file: ../sub/c.yaml, service: c}}}\n",
        );
        write("sub/c.yaml", "services: {c: {image: x}}\n");
        let done = publication(&[dir.join("compose.yaml")], (&dir, &dir)).unwrap();
        let name = |path: &str, end: &str| hashed(&dir.join(path), end);
        let (x, gone) = (name("x.env", "env"), name("gone.env", "env"));
        let (b, c) = (name("sub/b.yaml", "yaml"), name("sub/c.yaml", "yaml"));
        let first = format!(
            "# kept\nservices:\n  a:  # kept\n    env_file: [{x}, {{path: {gone}, required: false}}, {x}]\n    \
             extends: {{file: {b}, service: b}}\n    command: ['${{X:-y}}']\n"
        );
        let names: Vec<&str> = done.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(done.files[0].text, first);
        assert_eq!(names, ["compose.yaml", b.as_str(), c.as_str()]);
        assert_eq!(
            done.files[1].text,
            format!("services: {{b: {{extends: {{file: {c}, service: c}}}}}}\n")
        );
        assert_eq!(done.env_files.len(), 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
