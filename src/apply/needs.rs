//! What containers and the build cache need of the image store, as removals must know it.
//!
//! In: the engine, the cache's records. Out: [`Needs`]. Imports: `build::cache`, `engine`, `image::store`.

use std::path::Path;

use crate::build::cache::list;
use crate::engine::Engine;
use crate::image::store::{Needs, StoreError, User};

/// Images that containers use, and layers that these or results of build steps are in.
///
/// # Errors
/// [`StoreError::Io`] when a container's record can't be read: nobody knows what it needs then.
pub fn needs(engine: &dyn Engine, cache: Option<&Path>) -> Result<Needs, StoreError> {
    let users = engine.image_users().map_err(|error| StoreError::Io {
        step: "see which images containers use".to_owned(),
        source: std::io::Error::other(error.to_string()),
    })?;
    let mut needs = Needs::default();
    for found in users {
        needs.layers.extend(found.layers);
        let user = User {
            id: found.id.short().to_owned(),
            name: found.name,
            running: found.running,
        };
        let known = needs
            .images
            .entry(found.image)
            .or_insert_with(|| user.clone());
        if user.running && !known.running {
            *known = user;
        }
    }
    if let Some(cache) = cache {
        needs.layers.extend(list::layers(cache));
    }
    Ok(needs)
}
