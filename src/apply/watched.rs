//! What `watch` does beside its plans: commands in containers, and images that a rebuild has left without a name.
//!
//! Imports: `base`, `compose::model`, `engine`, `image`, `plan`, `hooks`.

use super::hooks::{HookError, Output, execute};
use super::needs::needs;
use super::{ApplyError, Context};
use crate::base::name::ContainerId;
use crate::compose::model::Hook;
use crate::image::digest::Digest;
use crate::image::store::{Removal, StoreError};
use crate::plan::hooks::process;

/// Runs a command in a running container to its end. What it prints is told line by line; `name` is the
/// container's.
///
/// # Errors
/// When it can't be run, or fails.
pub fn exec(
    context: &Context,
    id: &ContainerId,
    name: &str,
    hook: &Hook,
) -> Result<(), ApplyError> {
    let output = Output::new(format!("{name} ->"), &context.events);
    match execute(context, id, &process(hook), &output) {
        Ok(0) => Ok(()),
        Ok(code) => Err(ApplyError::new(format!(
            "{name}: {:?} exited with status {code}",
            hook.command.join(" ")
        ))),
        Err(HookError::Cancelled) => Err(ApplyError::cancelled()),
        Err(HookError::Engine(error)) => Err(ApplyError::new(format!("{name}: {error}"))),
    }
}

/// Removes an image that has no name any more and that no container uses; every other is left as it is.
///
/// # Errors
/// Engine and store failures.
pub fn drop_unnamed(context: &Context, id: &Digest) -> Result<(), ApplyError> {
    let failed = |error: StoreError| ApplyError::new(error.to_string());
    if !context.store.names(id).map_err(failed)?.is_empty() {
        return Ok(());
    }
    let cache = context.roots.data.join("cache");
    let how = Removal {
        force: false,
        needs: &|| needs(&*context.engine, Some(&cache)),
    };
    match context.store.remove(&id.to_string(), &how) {
        Ok(_) | Err(StoreError::NotFound(_) | StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
