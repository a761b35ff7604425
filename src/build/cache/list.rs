//! What the cache holds, for those who look at it and for those who clear it.
//!
//! In: the directories. Out: [`Entry`]s: results of steps, cache mounts, what was fetched. A step's size is that of the
//! layer it made; of several that made the same one, the one used last has it. Imports: `image`, `cache`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Record;
use crate::image::digest::Digest;
use crate::image::store::{Store, StoreError};
use crate::sys::lock::Lock;

/// File of a cache mount that says what it is.
const ABOUT: &str = "about.json";

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The result of a step.
    Step,
    /// A directory of `RUN --mount=type=cache`.
    Mount,
    /// A repository or another source that was fetched for a build.
    Source,
    /// A repository or artifact that a project was read from. Its containers may use files of it.
    Project,
}

impl Kind {
    /// As `docker buildx du` names it, where it has a name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "regular",
            Self::Mount => "exec.cachemount",
            Self::Source => "source",
            Self::Project => "project",
        }
    }
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Step, Self::Mount, Self::Source, Self::Project];
}

/// One thing that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unique among entries of its kind: a key, a directory's name.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The instruction, the mount's id, where it is from.
    pub description: String,
    /// Bytes of its files.
    pub size: u64,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it was used last.
    pub used: Option<SystemTime>,
    /// An image has the same layer, so that nothing is won by removing it.
    pub shared: bool,
    /// It is in use just now.
    pub busy: bool,
    /// The layer of a step.
    pub layer: Option<Digest>,
    /// Where it lies.
    pub path: PathBuf,
}

/// The directories that are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// `<data>/cache`
    pub cache: &'a Path,
    /// `<data>`
    pub data: &'a Path,
    /// Images and layers.
    pub store: &'a Store,
}

impl Places<'_> {
    /// Everything that is kept, least recently used first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let failed = |error| StoreError::Io {
            step: "list the build cache".to_owned(),
            source: error,
        };
        let mut found = self.steps()?;
        found.extend(self.mounts().map_err(failed)?);
        for (kind, dir) in self.fetched() {
            found.extend(directories(kind, &dir).map_err(failed)?);
        }
        found.sort_by(|a, b| (a.used, &a.id).cmp(&(b.used, &b.id)));
        self.only_once(&mut found);
        Ok(found)
    }
    fn steps(&self) -> Result<Vec<Entry>, StoreError> {
        let mut in_images = BTreeSet::new();
        for listed in self.store.list()? {
            in_images.extend(listed.image.layers().iter().copied());
        }
        let mut found = Vec::new();
        for (key, path, record) in records(self.cache) {
            let used = path.metadata().and_then(|meta| meta.modified()).ok();
            let made = u64::try_from(record.made).ok();
            let made =
                made.map(|nanos| SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(nanos));
            let size = record.layer.and_then(|layer| {
                let known = self.store.layers().record(&layer).ok()?;
                Some(known.content)
            });
            found.push(Entry {
                id: key.hex(),
                kind: Kind::Step,
                description: record.title,
                size: size.unwrap_or_default(),
                created: made,
                used,
                shared: record.layer.is_some_and(|layer| in_images.contains(&layer)),
                busy: Lock::is_held(&self.cache.join("running").join(key.hex())).unwrap_or(true),
                layer: record.layer,
                path,
            });
        }
        Ok(found)
    }
    fn mounts(&self) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for path in children(&self.cache.join("mounts"))? {
            let mut size = 0;
            let mut used = None;
            let mut busy = false;
            for part in children(&path)? {
                let name = part.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with("lock.") {
                    used = used.max(modified(&part));
                    busy |= is_held(&part);
                } else if name.starts_with("data.") {
                    size += content_of(&part);
                    used = used.max(modified(&part));
                }
            }
            found.push(Entry {
                id: name_of(&path),
                kind: Kind::Mount,
                description: format!("cache mount {}", mount_id(&path).unwrap_or_default()),
                size,
                created: modified(&path.join(ABOUT)),
                used,
                shared: false,
                busy,
                layer: None,
                path,
            });
        }
        Ok(found)
    }
    /// Directories whose directories were fetched.
    fn fetched(&self) -> Vec<(Kind, PathBuf)> {
        let mut dirs: Vec<(Kind, PathBuf)> = ["git", "artifacts"]
            .into_iter()
            .map(|name| (Kind::Project, self.data.join(name)))
            .collect();
        for dir in children(&self.cache.join("sources")).unwrap_or_default() {
            let files = dir.join("files");
            dirs.push((Kind::Source, if files.is_dir() { files } else { dir }));
        }
        dirs
    }
    /// Leaves the size of a layer to the entry that used it last.
    fn only_once(&self, found: &mut [Entry]) {
        let mut counted = BTreeSet::new();
        for entry in found.iter_mut().rev() {
            if let Some(layer) = entry.layer
                && !counted.insert(layer)
            {
                entry.size = 0;
            }
        }
    }
}

/// All records: keys, where they lie, and what they say. What is none is passed over.
pub fn records(cache: &Path) -> Vec<(Digest, PathBuf, Record)> {
    let paths = children(&cache.join("steps")).unwrap_or_default();
    let read = |path: PathBuf| {
        let key = Digest::parse(&format!("sha256:{}", name_of(&path))).ok()?;
        let record = Record::parse(&std::fs::read(&path).ok()?)?;
        Some((key, path, record))
    };
    paths.into_iter().filter_map(read).collect()
}

/// The layers that results of steps are kept in.
pub fn layers(cache: &Path) -> BTreeSet<Digest> {
    let records = records(cache).into_iter();
    records.filter_map(|(_, _, record)| record.layer).collect()
}

/// The id of a cache mount, by its directory.
pub fn mount_id(dir: &Path) -> Option<String> {
    let bytes = std::fs::read(dir.join(ABOUT)).ok()?;
    let about: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes).ok()?;
    Some(about.get("id")?.as_str()?.to_owned())
}

fn directories(kind: Kind, dir: &Path) -> io::Result<Vec<Entry>> {
    let label = name_of(dir);
    let label = match label.as_str() {
        "files" => name_of(dir.parent().unwrap_or(dir)),
        _ => label,
    };
    let of = |path: PathBuf| Entry {
        id: name_of(&path),
        kind,
        description: label.clone(),
        size: content_of(&path),
        created: modified(&path),
        used: modified(&path),
        shared: false,
        busy: false,
        layer: None,
        path,
    };
    let is_one = |path: &PathBuf| {
        !name_of(path).starts_with('.')
            && std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
    };
    Ok(children(dir)?.into_iter().filter(is_one).map(of).collect())
}

/// What lies in a directory, sorted; nothing when it is not there.
pub(super) fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

/// Whether anybody holds a lock, alone or with others.
fn is_held(path: &Path) -> bool {
    let taken = std::fs::File::open(path).map(|file| file.try_lock().is_ok());
    !taken.unwrap_or(true)
}

fn content_of(dir: &Path) -> u64 {
    crate::sys::measure::tree(dir).content
}
