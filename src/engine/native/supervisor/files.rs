//! Configs and secrets of a container as mounts of its birth.
//!
//! What is small lies in memory of the container's own, with the owner and mode that were asked for; a directory, or a
//! file too large for that, is shown as it lies on the host, as Compose does with each.
//! Imports: `engine`, `sys`; beside it `birth`, `layout`, `held`, `idmap`, `runtime`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::birth::bind;
use crate::engine::native::layout::Layout;
use crate::engine::native::runtime::{BirthMount, BirthSource, ReadOnly};
use crate::engine::native::{held, idmap};
use crate::engine::spec::{ContainerSpec, FileContent, InjectedFile, LARGEST_FILE};
use crate::engine::{EngineError, Result};

/// What is made of a content that is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::native) enum Missing {
    /// The container can't start.
    Refused,
    /// Its file is left out, as nothing runs.
    LeftOut,
}

/// Configs and secrets.
///
/// # Errors
/// [`EngineError`] when one can't be read.
pub(in crate::engine::native) fn injected(
    layout: &Layout,
    spec: &ContainerSpec,
    missing: Missing,
) -> Result<Vec<BirthMount>> {
    let mut mounts = Vec::new();
    let owner = owner(layout, spec)?;
    for file in &spec.files {
        let source = match &file.content {
            FileContent::Inline(text) => bytes(file, owner, text.clone().into_bytes(), 0o444),
            FileContent::Given(name) => match held::read(layout, &spec.id, name)? {
                Some(content) => bytes(file, owner, content, 0o444),
                None if missing == Missing::LeftOut => continue,
                None => return Err(gone(name)),
            },
            FileContent::Host(path) => of_host(file, owner, path)?,
        };
        mounts.push(BirthMount {
            target: file.target.clone(),
            source,
            read_only: ReadOnly::Whole,
        });
    }
    Ok(mounts)
}

fn gone(name: &str) -> EngineError {
    EngineError::Unsupported {
        what: format!(
            "the content of {name} was kept in memory only and is gone since a restart of the machine; start it with \
             the project's compose file, or let `hoist up` do so"
        ),
    }
}

fn bytes(file: &InjectedFile, owner: (u32, u32), content: Vec<u8>, mode: u32) -> BirthSource {
    BirthSource::Bytes {
        content,
        uid: file.uid.unwrap_or(owner.0),
        gid: file.gid.unwrap_or(owner.1),
        mode: file.mode.unwrap_or(mode),
    }
}

fn of_host(file: &InjectedFile, owner: (u32, u32), path: &Path) -> Result<BirthSource> {
    let step = format!("read {} for the container", path.display());
    let failed = |error: std::io::Error| EngineError::failed(&step, error);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if meta.is_dir() || meta.is_file() && meta.len() > LARGEST_FILE {
        return Ok(bind(path.to_owned()));
    }
    if !meta.is_file() {
        return Err(EngineError::failed(&step, "it is no file"));
    }
    let content = std::fs::read(path).map_err(failed)?;
    let mode = meta.permissions().mode() & 0o7777;
    Ok(bytes(file, owner, content, mode))
}

/// The container's own user, who owns files that name no owner.
fn owner(layout: &Layout, spec: &ContainerSpec) -> Result<(u32, u32)> {
    let unsaid = spec
        .files
        .iter()
        .any(|file| file.uid.is_none() || file.gid.is_none());
    match unsaid {
        true => idmap::container_user(layout, spec),
        false => Ok((0, 0)),
    }
}
