//! Copies of a project's volumes: `<data>/snapshots/<project>/<name>/`, a record and a directory for each volume.
//!
//! In: names and directories. Out: [`Snapshot`]s. What is half made or half removed has a hidden name; whoever changes something
//! holds `<data>/snapshots/.lock`, and takes away first what another has left. Containers that are down or frozen for a copy are
//! written down before, so that the next command brings them back when this one was killed.
//! Imports: `base`, `engine`, `sys`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::exit::Failure;
use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::Engine;
use crate::engine::spec::VolumeSpec;
use crate::engine::state::State;
use crate::sys::fs::{Durability, make_dirs, remove_tree, settle, write_atomic};
use crate::sys::lock::{Hold, Lock};

/// The version of records.
const VERSION: u32 = 1;
/// Longest name of a snapshot.
const LONGEST: usize = 64;

/// Copies of volumes, made at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    /// Its name.
    pub name: String,
    /// The project's name then.
    pub project: ProjectName,
    /// When it was made.
    pub created: Timestamp,
    /// What the user said of it.
    pub comment: String,
    /// What the containers did meanwhile: `stopped`, `paused`, or `idle` where none used the volumes.
    pub containers: String,
    /// By key in the compose file; the full name where it has none.
    pub volumes: BTreeMap<String, Copied>,
}

/// The copy of one volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    /// What the volume was.
    pub spec: VolumeSpec,
    /// The directory of its files.
    dir: String,
    /// Bytes in its files.
    pub bytes: u64,
    /// So many files.
    pub files: u64,
}

/// Containers that must be brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Those that were stopped, in the order they are started in.
    pub stopped: Vec<ContainerId>,
    /// Those that were frozen.
    pub paused: Vec<ContainerId>,
}

/// The snapshots of all projects.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Says that something is being changed; dropping it lets go.
#[derive(Debug)]
pub struct Change<'s> {
    store: &'s Store,
    _lock: Lock,
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {verb} {}: {error}", path.display()))
}

/// Checks a name.
///
/// # Errors
/// When it could not be a file's, or would be hidden.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match first && name.len() <= LONGEST && name.chars().all(plain) {
        true => Ok(()),
        false => Err(Failure::new(format!("invalid snapshot name `{name}`")).hint(format!(
            "write letters, digits, `_`, `.` and `-`, a letter or digit first, at most {LONGEST}"
        ))),
    }
}

impl Store {
    /// That of a data directory.
    pub fn new(data: &Path) -> Self {
        Self {
            dir: data.join("snapshots"),
        }
    }

    fn project(&self, project: &str) -> PathBuf {
        self.dir.join(project)
    }

    /// A project's snapshots, the oldest first.
    ///
    /// # Errors
    /// When a record can't be read.
    pub fn list(&self, project: &ProjectName) -> Result<Vec<Snapshot>, Failure> {
        let dir = self.project(project.as_str());
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot("read", &dir, &error)),
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let names = names.filter(|name| !name.starts_with('.'));
        let mut all: Vec<Snapshot> = names
            .map(|name| self.get(project, &name))
            .collect::<Result<_, _>>()?;
        all.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(all)
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of this name, or its record can't be read.
    pub fn get(&self, project: &ProjectName, name: &str) -> Result<Snapshot, Failure> {
        check_name(name)?;
        let path = self
            .project(project.as_str())
            .join(name)
            .join("snapshot.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(
                    Failure::new(format!("project {project} has no snapshot `{name}`"))
                        .hint("`hoist snapshot ls` lists them"),
                );
            }
            Err(error) => return Err(cannot("read", &path, &error)),
        };
        let broken = |why: String| {
            Failure::new(format!(
                "the record of snapshot `{name}` can't be read: {why}"
            ))
            .hint(format!(
                "its files are in {}",
                path.with_file_name("").display()
            ))
        };
        let found: Snapshot =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        match found.version {
            VERSION => Ok(found),
            other => Err(broken(format!("it is of version {other}"))),
        }
    }

    /// The directory of a copy.
    pub fn files(&self, snapshot: &Snapshot, copied: &Copied) -> PathBuf {
        let dir = self.project(snapshot.project.as_str()).join(&snapshot.name);
        dir.join(&copied.dir)
    }

    /// Waits until nobody else changes anything, and clears up what was left.
    ///
    /// # Errors
    /// The system's.
    pub fn change(&self) -> Result<Change<'_>, Failure> {
        make_dirs(&self.dir, 0o700).map_err(|error| cannot("make", &self.dir, &error))?;
        let path = self.dir.join(".lock");
        let lock = Lock::acquire(&path, Hold::Exclusive);
        let change = Change {
            store: self,
            _lock: lock.map_err(|error| cannot("lock", &path, &error))?,
        };
        change.sweep()?;
        Ok(change)
    }
}

/// A snapshot that is being made; one that is not finished goes away again.
#[derive(Debug)]
pub struct Draft<'c> {
    change: &'c Change<'c>,
    dir: PathBuf,
    finished: bool,
    snapshot: Snapshot,
}

impl<'s> Change<'s> {
    /// Takes away what has a hidden name: it was half made or half removed when its command was killed.
    fn sweep(&self) -> Result<(), Failure> {
        let below = |dir: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let hidden = |path: &Path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        };
        for project in below(&self.store.dir) {
            if hidden(&project) || !project.is_dir() {
                continue;
            }
            for path in below(&project).into_iter().filter(|path| hidden(path)) {
                remove_tree(&path).map_err(|error| cannot("remove", &path, &error))?;
            }
            // Only an empty one goes.
            let _ = fs::remove_dir(&project);
        }
        Ok(())
    }

    fn journal(&self) -> PathBuf {
        self.store.dir.join(".held.json")
    }

    /// Writes down which containers are to be brought back, before they are held.
    ///
    /// # Errors
    /// The system's.
    pub fn hold(&self, held: &Held) -> Result<(), Failure> {
        let text = serde_json::to_vec(held).unwrap_or_default();
        write_atomic(&self.journal(), &text, 0o600, Durability::Synced)
            .map_err(|error| Failure::new(format!("cannot write {error}")))
    }

    /// What a killed command held.
    pub fn left_held(&self) -> Option<Held> {
        serde_json::from_slice(&fs::read(self.journal()).ok()?).ok()
    }

    /// Nothing is held any more.
    pub fn release(&self) {
        // What is left says that something is held which is not: bringing it back does nothing.
        let _ = fs::remove_file(self.journal());
    }

    /// Begins a snapshot.
    ///
    /// # Errors
    /// When there is one of this name; the system's.
    pub fn begin(
        &'s self,
        project: &ProjectName,
        name: &str,
        comment: &str,
    ) -> Result<Draft<'s>, Failure> {
        check_name(name)?;
        let dir = self.store.project(project.as_str());
        if dir.join(name).exists() {
            return Err(
                Failure::new(format!("project {project} has a snapshot `{name}` already")).hint(
                    format!("take another name, or remove it: hoist snapshot rm {name}"),
                ),
            );
        }
        let draft = dir.join(format!(".{name}"));
        make_dirs(&draft, 0o700).map_err(|error| cannot("make", &draft, &error))?;
        Ok(Draft {
            change: self,
            dir: draft,
            finished: false,
            snapshot: Snapshot {
                version: VERSION,
                name: name.to_owned(),
                project: project.clone(),
                created: Timestamp::now(),
                comment: comment.to_owned(),
                containers: String::new(),
                volumes: BTreeMap::new(),
            },
        })
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// When there is none; the system's.
    pub fn remove(&self, project: &ProjectName, name: &str) -> Result<(), Failure> {
        check_name(name)?;
        let dir = self.store.project(project.as_str());
        let (path, doomed) = (dir.join(name), dir.join(format!(".{name}")));
        match fs::rename(&path, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(
                    Failure::new(format!("project {project} has no snapshot `{name}`"))
                        .hint("`hoist snapshot ls` lists them"),
                );
            }
            other => other.map_err(|error| cannot("remove", &path, &error))?,
        }
        remove_tree(&doomed).map_err(|error| cannot("remove", &doomed, &error))?;
        let _ = fs::remove_dir(&dir);
        Ok(())
    }
}

impl Draft<'_> {
    /// An empty directory for the next volume's files.
    ///
    /// # Errors
    /// The system's.
    pub fn place(&self) -> Result<PathBuf, Failure> {
        let dir = self.dir.join(format!("v{}", self.snapshot.volumes.len()));
        make_dirs(&dir, 0o700).map_err(|error| cannot("make", &dir, &error))?;
        Ok(dir)
    }

    /// The copy in the last [`Draft::place`] is whole.
    pub fn add(&mut self, key: String, spec: VolumeSpec) {
        let dir = format!("v{}", self.snapshot.volumes.len());
        let (bytes, files) = measure(&self.dir.join(&dir));
        let copied = Copied {
            spec,
            dir,
            bytes,
            files,
        };
        self.snapshot.volumes.insert(key, copied);
    }

    /// Puts it on disk under its name.
    ///
    /// # Errors
    /// The system's.
    pub fn finish(mut self, containers: &str) -> Result<Snapshot, Failure> {
        self.snapshot.containers = containers.to_owned();
        let text = serde_json::to_vec_pretty(&self.snapshot).unwrap_or_default();
        let record = self.dir.join("snapshot.json");
        write_atomic(&record, &text, 0o600, Durability::Synced)
            .map_err(|error| Failure::new(format!("cannot write {error}")))?;
        let sync = |dir: &Path| settle(&[dir]).map_err(|error| cannot("write", dir, &error));
        sync(&self.dir)?;
        let path = self.dir.with_file_name(&self.snapshot.name);
        fs::rename(&self.dir, &path).map_err(|error| cannot("make", &path, &error))?;
        self.finished = true;
        sync(&self.change.store.dir)?;
        Ok(self.snapshot.clone())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // What can't be removed now goes with the next sweep.
            let _ = remove_tree(&self.dir);
            let _ = self.dir.parent().map(fs::remove_dir);
        }
    }
}

/// Bytes and number of the files below a directory; what can't be read counts nothing.
fn measure(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let mut waiting = vec![dir.to_owned()];
    let mut seen = std::collections::BTreeSet::new();
    let (mut bytes, mut files) = (0u64, 0u64);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                waiting.push(entry.path());
            } else {
                files += 1;
                if about.is_file() && (about.nlink() == 1 || seen.insert(about.ino())) {
                    bytes = bytes.saturating_add(about.len());
                }
            }
        }
    }
    (bytes, files)
}

/// Brings containers back; one that is gone, or is up already, needs nothing.
pub fn bring_back(engine: &dyn Engine, held: &Held) -> Vec<Failure> {
    let mut failures = Vec::new();
    for id in &held.paused {
        let Ok(container) = engine.container(id) else {
            continue;
        };
        // One that has ended meanwhile, or that somebody else has let go on, is as it should be.
        if !matches!(container.state, State::Paused { .. }) {
            continue;
        }
        if let Err(error) = engine.pause(id, false) {
            let text = format!("container {} stays paused: {error}", container.name);
            let hint = "let it go on by `hoist unpause`";
            failures.push(Failure::new(text).hint(hint));
        }
    }
    for id in &held.stopped {
        let Ok(container) = engine.container(id) else {
            continue;
        };
        if let Err(error) = engine.start(id) {
            failures.push(Failure::new(format!(
                "container {} does not start again: {error}",
                container.name
            )));
        }
    }
    failures
}
