//! `COPY --link`: a layer that stands alone, and is used again when what is below it changes.
//!
//! In: the step and the layers below. Out: the few facts of them that the result depends on: which folders on the way to the
//! destination are there, with owner and mode, since a layer repeats them; and the numbers of a name in `--chown`. A
//! link on the way is not followed: a folder takes its place.
//! Imports: `sys::fs`, `image`. Rules: Dockerfile reference, "COPY --link". Existing folders keep their metadata, as with
//! an ordinary `COPY`; BuildKit's merged layers reset it.

use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::copy::CopyStep;
use super::write::{Meta, Writer};
use super::{StepError, owner};
use crate::build::key::Key;
use crate::image::digest::Digest;
use crate::image::store::Store;
use crate::sys::fs::{Root, is_kind};

/// What `--link` knows of the layers below.
#[derive(Debug)]
pub struct Facts {
    folders: Vec<(PathBuf, Meta)>,
    owner: Option<(u32, u32)>,
}

impl Facts {
    /// Looks at the layers below.
    ///
    /// # Errors
    /// [`StepError`] when they can't be looked at, or a name of `--chown` is unknown.
    pub fn find(step: &CopyStep, store: &Store, layers: &[Digest]) -> Result<Self, StepError> {
        let view = match layers {
            [] => None,
            layers => Some(Root::from_fd(store.layers().view(layers)?)),
        };
        let owner = match &step.chown {
            Some(text) => Some(owner::find(text, view.as_ref())?),
            None => None,
        };
        let mut folders = Vec::new();
        let mut path = PathBuf::new();
        for part in Path::new(&step.dest).components() {
            let (Component::Normal(name), Some(view)) = (part, &view) else {
                continue;
            };
            path.push(name);
            let stat = match view.lstat(&path) {
                Ok(stat) if is_kind(&stat, libc::S_IFDIR) => stat,
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => break,
                Err(errno) => return Err(StepError::file("look up", &path, errno)),
            };
            let meta = Meta {
                owner: (stat.st_uid, stat.st_gid),
                mode: stat.st_mode & 0o7777,
                modified: None,
            };
            folders.push((path.clone(), meta));
        }
        Ok(Self { folders, owner })
    }
    /// Begins the step's key.
    pub fn key(&self) -> Key {
        let mut key = Key::of_step("copy --link", &[]);
        for (path, meta) in &self.folders {
            let (uid, gid) = meta.owner;
            key.text(&path.to_string_lossy());
            key.text(&format!("{uid}:{gid} {:o}", meta.mode));
        }
        key.text(&format!("{:?}", self.owner));
        key
    }
    /// The owner that `--chown` means.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }
    /// Makes the folders that are there below.
    ///
    /// # Errors
    /// [`StepError`].
    pub(super) fn prepare(&self, root: &Root) -> Result<(), StepError> {
        let mut writer = Writer::new(root);
        for (path, meta) in &self.folders {
            let made = writer.folder(path);
            made.and_then(|_| writer.meta(path, meta, false))
                .map_err(|errno| StepError::file("create", path, errno))?;
        }
        Ok(())
    }
}
