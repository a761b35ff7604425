//! Steps: what changes a file system. Each stands on layers and makes one, or none if nothing changed.
//!
//! Imports: `base`, `sys`, `image`, `engine::{spec, sandbox}`, `build::context`.

pub mod agent;
mod ahead;
pub mod archive;
pub mod cache_mount;
mod copier;
pub mod copy;
mod crew;
pub mod debug;
mod file;
mod hints;
mod link;
pub mod mode;
pub mod mount;
pub mod output;
pub mod owner;
pub mod run;
mod write;

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::error::BuildError;
use super::sources::Remote;
use crate::image::digest::Digest;
use crate::image::layer::diff::Measure;
use crate::image::layer::{Early, Staging};
use crate::image::store::Store;
use crate::sys::fs::Root;
use crate::sys::mount::{Overlay, overlay_unsynced};

/// What a step does, all names worked out.
#[derive(Debug, Clone)]
pub enum Operation {
    /// `RUN`
    Run(Box<run::RunStep>),
    /// `COPY`, `ADD`
    Copy(Box<copy::CopyStep>),
    /// `WORKDIR`
    Folder {
        /// Absolute path.
        path: String,
        /// `user[:group]`; root when empty.
        user: String,
    },
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The build context.
    Context,
    /// A named directory.
    Named(PathBuf),
    /// Another stage, by index.
    Stage(usize),
    /// An image's layers.
    Layers(Vec<Digest>),
    /// What is fetched when a step needs it.
    Remote(Box<Remote>),
}

/// Why a step could not be done: `message`, and what the user can do.
#[derive(Debug)]
pub enum StepError {
    /// The user's fault or the step's own.
    Failed {
        /// What went wrong.
        message: String,
        /// What the user can do.
        hint: Option<String>,
        /// The last lines of its output.
        output: Vec<String>,
        /// Its exit code.
        code: Option<i32>,
    },
    /// Ours.
    Build(BuildError),
}

impl StepError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
            output: Vec::new(),
            code: None,
        }
    }
    pub(super) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: Some(hint.into()),
            output: Vec::new(),
            code: None,
        }
    }
    /// A file of the image that could not be read or written.
    pub(super) fn file(verb: &str, path: &Path, errno: Errno) -> Self {
        let path = Path::new("/").join(path);
        Self::new(format!(
            "cannot {verb} {}: {}",
            path.display(),
            errno.desc()
        ))
    }
}

impl<E: Into<BuildError>> From<E> for StepError {
    fn from(error: E) -> Self {
        Self::Build(error.into())
    }
}

/// Layers without repetitions: of equal ones only the uppermost counts, since it hides the others wholly.
/// Overlay refuses a directory that is given twice.
pub(super) fn distinct(layers: &[Digest]) -> Vec<Digest> {
    let last = |at: usize, layer: &Digest| !layers[at + 1..].contains(layer);
    layers
        .iter()
        .enumerate()
        .filter(|(at, layer)| last(*at, layer))
        .map(|(_, layer)| *layer)
        .collect()
}

/// A file system that is being changed; the changes become a layer.
#[derive(Debug)]
pub(super) struct Workbench {
    root: Root,
    staging: Staging,
}

impl Workbench {
    /// A writable view of stacked layers that nobody else sees.
    pub(super) fn open(store: &Store, layers: &[Digest]) -> Result<Self, StepError> {
        let staging = store.layers().staging()?;
        let upper = staging.upper();
        let root = if layers.is_empty() {
            Root::open(&upper)
                .map_err(|errno| BuildError::io(format!("open {}", upper.display()), errno))?
        } else {
            let lower = store.layers().lower(layers);
            let work = staging.work();
            let mount = overlay_unsynced(&Overlay {
                lower: &lower,
                upper: Some((&upper, &work)),
            })
            .map_err(|error| BuildError::io("stack layers", error))?;
            Root::from_fd(mount)
        };
        Ok(Self { root, staging })
    }
    pub(super) fn root(&self) -> &Root {
        &self.root
    }
    /// Where all changes are.
    pub(super) fn upper(&self) -> PathBuf {
        self.staging.upper()
    }
    /// The layer of all changes; `None` if there are none.
    pub(super) fn finish(
        self,
        store: &Store,
        early: Option<Early>,
    ) -> Result<Option<Digest>, StepError> {
        let Self { root, staging } = self;
        // What a mount remembers of many files takes a while to be forgotten.
        let unmounting = std::thread::Builder::new().spawn(move || drop(root));
        let hashed = match early {
            Some(early) => early.finish(&staging.upper()),
            None => Ok(None),
        };
        let hashed = hashed.map_err(|error| BuildError::io("read the new layer", error))?;
        if let Ok(unmounting) = unmounting {
            // It only drops something.
            let _ = unmounting.join();
        }
        commit(staging, store, hashed)
    }
}

/// Makes a layer of a staging place, unless nothing is in it; `hashed` is what its archive is known to be.
pub(super) fn commit(
    staging: Staging,
    store: &Store,
    hashed: Option<(Digest, Measure)>,
) -> Result<Option<Digest>, StepError> {
    let upper = staging.upper();
    let mut names = std::fs::read_dir(&upper)
        .map_err(|e| BuildError::io(format!("read {}", upper.display()), e))?;
    if names.next().is_none() {
        return Ok(None);
    }
    Ok(Some(store.layers().commit_hashed(staging, hashed)?))
}

/// Makes a directory and its missing parents; `None` if it is there.
///
/// # Errors
/// [`StepError`].
pub fn make_folder(
    store: &Store,
    layers: &[Digest],
    path: &str,
    user: &str,
) -> Result<Option<Digest>, StepError> {
    let bench = Workbench::open(store, layers)?;
    let path = Path::new(path);
    let owner = match user {
        "" => None,
        user => Some(owner::find(
            user,
            (!layers.is_empty()).then(|| bench.root()),
        )?),
    };
    bench
        .root()
        .mkdir_all(path, 0o755, owner)
        .map_err(|errno| StepError::file("create", path, errno))?;
    bench.finish(store, None)
}

#[cfg(test)]
mod tests;
