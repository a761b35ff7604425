//! Images that stages stand on: from the store, else pulled, several at a time.
//!
//! Imports: `image`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::Builder;
use super::sources::layout::Layout;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::store::Image;
use crate::image::store::layout::Which;

/// Images by the name that the Dockerfile gives them; an image that could not be had is its error.
#[derive(Debug, Default)]
pub(super) struct Images {
    found: BTreeMap<String, Result<Image, String>>,
}

/// Images fetched at the same time.
const AT_ONCE: usize = 4;

impl Images {
    /// Gets all of them.
    pub(super) fn prefetch(&mut self, names: BTreeSet<String>, builder: &Builder<'_>, pull: bool) {
        let todo = Mutex::new(names);
        let done = Mutex::new(&mut self.found);
        let work = || {
            loop {
                let name = todo.lock().ok().and_then(|mut todo| todo.pop_first());
                let Some(name) = name else { return };
                let image = fetch(&name, builder, pull);
                if let Ok(mut done) = done.lock() {
                    done.insert(name, image);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..AT_ONCE {
                scope.spawn(work);
            }
            work();
        });
    }
    /// One image, fetched if that was not done yet.
    ///
    /// # Errors
    /// The words of the store or the registry.
    pub(super) fn get(
        &mut self,
        name: &str,
        builder: &Builder<'_>,
        pull: bool,
    ) -> Result<Image, String> {
        self.found
            .entry(name.to_owned())
            .or_insert_with(|| fetch(name, builder, pull))
            .clone()
    }
}

impl Images {
    /// An image of an OCI layout, taken into the store if that was not done yet.
    ///
    /// # Errors
    /// The words of the store.
    pub(super) fn layout(
        &mut self,
        layout: &Layout,
        builder: &Builder<'_>,
        platform: &Platform,
    ) -> Result<Image, String> {
        let which = Which {
            tag: layout.tag.as_deref(),
            digest: layout.digest,
            platform,
        };
        let take = || {
            let taken = builder.store.from_layout(&layout.dir, &which);
            taken.map_err(|error| format!("oci-layout://{layout}: {error}"))
        };
        let name = format!("oci-layout://{layout} {platform}");
        self.found.entry(name).or_insert_with(take).clone()
    }
}

fn fetch(name: &str, builder: &Builder<'_>, pull: bool) -> Result<Image, String> {
    let reference = Reference::parse(name).map_err(|error| error.to_string())?;
    if !pull
        && let Some(image) = builder
            .store
            .resolve(&reference)
            .map_err(|error| error.to_string())?
    {
        return Ok(image);
    }
    (builder.pull)(&reference)
        .map_err(|error| format!("{name}: failed to resolve source metadata: {error}"))
}
