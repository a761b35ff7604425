//! Lock files: which digests the images of a project have, beside its compose file.
//!
//! In: a file. Out: [`Pins`], and back. `compose.lock.json` lies beside `compose.yaml`, `other.lock.json` beside
//! `other.yaml`: whoever chooses another first file chooses another lock. The text is the same for the same content:
//! names sorted, one thing a line, so that differences are readable.
//! Imports: `base`, `compose::model`, `image`, `plan::pins`, `sys::fs`. Rules: hoist's own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::exit::Failure;
use crate::compose::model::Project;
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::plan::pins::{ImageUse, Pin, Pins};
use crate::sys::fs::{Durability, write_atomic};

/// The version of the format.
const VERSION: u32 = 1;
/// Longest file in bytes.
const LONGEST: u64 = 16 << 20;

/// The text, as JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Text {
    version: u32,
    /// The compose files it was made for, as they lie to it.
    #[serde(default)]
    files: Vec<String>,
    images: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    digest: Digest,
    #[serde(default)]
    used_by: Vec<String>,
}

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The compose files it was made for, as they lie to it.
    pub files: Vec<String>,
    /// What it says.
    pub pins: Pins,
}

impl LockFile {
    /// The empty lock of a project: where it lies, which files it is for.
    ///
    /// # Errors
    /// A project that comes from elsewhere has no place for one.
    pub fn of(app: &App, project: &Project) -> Result<Self, Failure> {
        let first = project.files.first().filter(|file| *file != Path::new("-"));
        let remote = &project.remote.sources;
        if first.is_some_and(|file| remote.iter().any(|at| file.starts_with(&at.fetched.root))) {
            let text = "a project from elsewhere has no lock file";
            let hint = "name it by its digest (`oci://…@sha256:…`, `…git#COMMIT`), and publish it with --resolve-image-digests";
            return Err(Failure::new(text).hint(hint));
        }
        let (dir, stem) = match first {
            Some(file) => (
                file.parent().unwrap_or(&project.dir),
                file.file_stem().unwrap_or_default().to_string_lossy(),
            ),
            None => (project.dir.as_path(), "compose".into()),
        };
        let path = dir.join(format!("{stem}.lock.json"));
        let files = project
            .files
            .iter()
            .map(|file| lies_to(dir, file))
            .collect();
        let file = shown(app, &path);
        Ok(Self {
            path,
            files,
            pins: Pins {
                file,
                ..Pins::default()
            },
        })
    }

    /// What the file says that lies there; `None` when there is none.
    ///
    /// # Errors
    /// A file that can't be read, or that is no lock.
    pub fn read(&self) -> Result<Option<Self>, Failure> {
        let name = &self.pins.file;
        let failed = |why: String| Failure::new(format!("{name}: {why}"));
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(format!("cannot be read: {error}"))),
        };
        let broken = |line: usize, column: usize, why: String| {
            Failure::new(format!("{name}:{line}:{column}: {why}"))
                .hint("take the file from version control, or remove it and run `hoist lock`")
        };
        let parsed: Text = serde_json::from_str(&text).map_err(|error| {
            let why = error.to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            broken(error.line(), error.column().max(1), why.to_owned())
        })?;
        if parsed.version != VERSION {
            let text = format!(
                "it has version {}; this hoist reads {VERSION}",
                parsed.version
            );
            return Err(failed(text));
        }
        let mut images = BTreeMap::new();
        for (image, entry) in parsed.images {
            if !Reference::parse(&image).is_ok_and(|known| known.canonical() == image) {
                let at = text
                    .lines()
                    .position(|line| line.contains(&format!("{image:?}")));
                let why = format!("`{}` is no full name of an image", image.escape_debug());
                return Err(broken(at.map_or(1, |at| at + 1), 1, why));
            }
            let pin = Pin {
                digest: entry.digest,
                used_by: entry.used_by,
            };
            images.insert(image, pin);
        }
        Ok(Some(Self {
            path: self.path.clone(),
            files: parsed.files,
            pins: Pins {
                file: name.clone(),
                images,
            },
        }))
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let entry = |(name, pin): (&String, &Pin)| {
            let entry = Entry {
                digest: pin.digest,
                used_by: pin.used_by.clone(),
            };
            (name.clone(), entry)
        };
        let text = Text {
            version: VERSION,
            files: self.files.clone(),
            images: self.pins.images.iter().map(entry).collect(),
        };
        serde_json::to_string_pretty(&text).unwrap_or_default() + "\n"
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self) -> Result<(), Failure> {
        let written = write_atomic(
            &self.path,
            self.text().as_bytes(),
            0o644,
            Durability::Synced,
        );
        written.map_err(|error| Failure::new(format!("cannot write {}: {error}", self.pins.file)))
    }
}

/// The names that a project uses, each with the keys that use it.
pub fn names(uses: &[ImageUse]) -> BTreeMap<String, (&ImageUse, BTreeSet<String>)> {
    let mut all: BTreeMap<String, (&ImageUse, BTreeSet<String>)> = BTreeMap::new();
    for used in uses {
        let (_, keys) = all
            .entry(used.image.canonical())
            .or_insert_with(|| (used, BTreeSet::new()));
        keys.insert(used.path().to_string());
    }
    all
}

/// The digests that `--locked` lets through; `None` without it.
///
/// # Errors
/// A lock file that is not there or can't be read.
pub fn pins(app: &App, project: &Project) -> Result<Option<Arc<Pins>>, Failure> {
    if !app.globals.locked {
        return Ok(None);
    }
    let place = LockFile::of(app, project)?;
    let found = place.read()?;
    let missing = || {
        let text = format!("--locked: there is no {}", place.pins.file);
        Failure::new(text).hint("run `hoist lock`, which writes it")
    };
    Ok(Some(Arc::new(found.ok_or_else(missing)?.pins)))
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut text = String::new();
    let read = file.take(LONGEST + 1).read_to_string(&mut text)?;
    match read as u64 > LONGEST {
        true => Err(io::Error::other(format!(
            "it is longer than {LONGEST} bytes"
        ))),
        false => Ok(text),
    }
}

/// A compose file as it lies to the lock.
fn lies_to(dir: &Path, file: &Path) -> String {
    let below = file.strip_prefix(dir).unwrap_or(file);
    below.display().to_string()
}

fn shown(app: &App, path: &Path) -> String {
    let below = path.strip_prefix(&app.env.cwd).unwrap_or(path);
    below.display().to_string()
}
