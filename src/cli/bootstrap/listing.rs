//! What lies in a directory: names, and the texts of small files. Symbolic links are not followed, since they may lead
//! anywhere.
//!
//! Imports: nothing. Bounded: what a project has thousands of is no manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::Path;

/// So deep is looked; 0 is the directory itself.
const DEPTH: usize = 3;
/// So many entries at most.
const ENTRIES: usize = 5_000;
/// Longest text that is read, in bytes.
const LONGEST: u64 = 256 * 1024;
/// Directories whose files are somebody else's, or made.
const PASSED: [&str; 12] = [
    "node_modules",
    "venv",
    "env",
    "target",
    "vendor",
    "dist",
    "build",
    "__pycache__",
    "site-packages",
    "tests",
    "test",
    "testdata",
];
/// What is read of the files: manifests, sources that say where they listen, files that others have made.
const READ: [&str; 15] = [
    ".py", ".txt", ".toml", ".json", ".js", ".mjs", ".cjs", ".ts", ".rs", ".go", ".mod", ".yaml",
    ".lock", ".prisma", ".cfg",
];

/// The files of a directory, by relative path.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    files: BTreeMap<String, Option<String>>,
    directories: BTreeSet<String>,
}

impl Listing {
    /// Reads a directory.
    ///
    /// # Errors
    /// When it can't be read; what can't be read below it is left out.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut waiting = vec![(String::new(), 0)];
        let mut seen = 0;
        while let Some((below, depth)) = waiting.pop() {
            let entries = match std::fs::read_dir(dir.join(&below)) {
                Ok(entries) => entries,
                Err(error) if below.is_empty() => return Err(error),
                Err(_) => continue,
            };
            let mut entries: Vec<_> = entries.flatten().collect();
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                seen += 1;
                let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type())
                else {
                    continue;
                };
                if seen > ENTRIES {
                    return Ok(listing);
                }
                let path = match below.is_empty() {
                    true => name.clone(),
                    false => format!("{below}/{name}"),
                };
                if kind.is_dir() {
                    let known = name.starts_with('.') || PASSED.contains(&name.as_str());
                    if !known && depth < DEPTH {
                        listing.directories.insert(path.clone());
                        waiting.push((path, depth + 1));
                    }
                } else if kind.is_file() {
                    let text = is_read(&name).then(|| text(&entry.path())).flatten();
                    listing.files.insert(path, text);
                }
            }
        }
        Ok(listing)
    }

    /// A listing of these texts.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut listing = Self::default();
        for (path, text) in files {
            for (at, _) in path.match_indices('/') {
                listing.directories.insert(path[..at].to_owned());
            }
            let text = Some((*text).to_owned());
            listing.files.insert((*path).to_owned(), text);
        }
        listing
    }

    /// The part below a directory.
    pub(super) fn below(&self, dir: &str) -> Self {
        if dir.is_empty() {
            return self.clone();
        }
        let inside = |path: &str| Some(path.strip_prefix(dir)?.strip_prefix('/')?.to_owned());
        let files = self.files.iter();
        Self {
            files: files
                .filter_map(|(path, text)| Some((inside(path)?, text.clone())))
                .collect(),
            directories: self.directories.iter().filter_map(|d| inside(d)).collect(),
        }
    }

    /// Directories directly in it, sorted.
    pub(super) fn directories(&self) -> impl Iterator<Item = &str> {
        let top = self.directories.iter().filter(|dir| !dir.contains('/'));
        top.map(String::as_str)
    }
    /// Whether there is a file of this name.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
    /// The text of a file, if it is one that is read.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }
    /// Files whose names end so, by path: those nearer to the top first.
    pub(super) fn ending(&self, end: &str) -> Vec<&str> {
        let ends = self.files.keys().filter(|path| path.ends_with(end));
        let mut all: Vec<&str> = ends.map(String::as_str).collect();
        all.sort_by_key(|path| (path.matches('/').count(), *path));
        all
    }
    /// Files directly in it.
    pub(super) fn top(&self) -> impl Iterator<Item = &str> {
        let top = self.files.keys().filter(|path| !path.contains('/'));
        top.map(String::as_str)
    }
}

fn is_read(name: &str) -> bool {
    let whole = [
        ".python-version",
        ".nvmrc",
        ".node-version",
        "Pipfile",
        "rust-toolchain",
    ];
    READ.iter().any(|end| name.ends_with(end))
        || whole.contains(&name)
        || name.to_ascii_lowercase().contains("dockerfile")
}

/// The text of a regular file; `None` when it is long, or no text.
fn text(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LONGEST)
        .then(|| String::from_utf8(bytes).ok())
        .flatten()
}
