//! One batch of changes into one container's files, written from outside: nothing of the image is run or needed.
//!
//! In: changes below a rule's path. Out: the same files in the container, owned by its user.
//! Imports: `rules`, `files`, `engine::files`, `image::tree`.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::files::{Change, Changes};
use super::rules::Rule;
use crate::base::name::ContainerId;
use crate::engine::files::{Files, FilesError, Ownership, Placing};
use crate::engine::{Cancel, Engine, EngineError};
use crate::image::tree::pack::{self, PackError};

/// Files that are to be copied, and paths in the container that are to go first.
#[derive(Debug, Default)]
pub(super) struct Batch {
    removed: Vec<PathBuf>,
    written: Vec<(PathBuf, PathBuf)>,
}

impl Batch {
    /// Adds what has changed below a rule's path.
    pub(super) fn add(&mut self, rule: &Rule, changes: &Changes) {
        for (path, change) in changes {
            let Some(inside) = rule.inside(path) else {
                continue;
            };
            if *change != Change::Written {
                self.removed.push(inside.clone());
            }
            if *change != Change::Removed {
                let whole = match path.as_os_str().is_empty() {
                    true => rule.root.clone(),
                    false => rule.root.join(path),
                };
                self.written.push((whole, inside));
            }
        }
    }
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.written.is_empty()
    }
}

/// Why a batch did not get into a container.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    /// A file of the host can't be read.
    #[error("cannot read {0}")]
    Read(String),
    /// The container can't be reached.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// Its files can't be written.
    #[error("{0}")]
    Files(#[from] FilesError),
}

/// Carries a batch into a container that runs, or one that does not while the caller holds the project's lock. Gives
/// besides who lets go of the container's files, which may take longer than what the container waits for.
///
/// # Errors
/// [`SyncError`]; what was done until then stays.
pub(super) fn carry(
    engine: &dyn Engine,
    id: &ContainerId,
    batch: &Batch,
    cancel: &Cancel,
) -> (Result<(), SyncError>, Option<Leaving>) {
    let mut files = match engine.files(id, cancel) {
        Ok(files) => files,
        Err(error) => return (Err(error.into()), None),
    };
    let carried = carry_into(files.as_mut(), batch);
    (carried, Some(std::thread::spawn(move || drop(files))))
}

/// Somebody who lets go of a container's files.
pub(super) type Leaving = std::thread::JoinHandle<()>;

fn carry_into(files: &mut dyn Files, batch: &Batch) -> Result<(), SyncError> {
    let removed = match batch.removed.is_empty() {
        true => Ok(()),
        false => files.remove(&batch.removed),
    };
    if batch.written.is_empty() {
        return Ok(removed?);
    }
    let mut own = None;
    let how = (Ownership::ContainerUser, Placing::AtOnce);
    let pairs = || {
        let pairs = batch.written.iter();
        pairs.map(|(whole, inside)| (whole.as_path(), name(inside)))
    };
    let done = files.write(Path::new("/"), how, &mut |out| {
        pack::write_files(pairs(), out).map_err(|error| {
            let text = error.to_string();
            if matches!(error, PackError::Entry { .. }) {
                own = Some(text.clone());
            }
            io::Error::other(text)
        })
    });
    match (done, own) {
        (Err(FilesError::BrokenOff), Some(text)) => return Err(SyncError::Read(text)),
        (done, _) => done?,
    }
    Ok(removed?)
}

/// A path in a container as archives name it.
fn name(inside: &Path) -> &[u8] {
    let bytes = inside.as_os_str().as_bytes();
    let start = bytes.iter().take_while(|byte| **byte == b'/').count();
    let rest = bytes.get(start..).unwrap_or_default();
    let end = rest.iter().rev().take_while(|byte| **byte == b'/').count();
    rest.get(..rest.len() - end).unwrap_or_default()
}
