//! Images that stages stand on: from the store, else pulled, several at a time.
//!
//! Imports: `image`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Builder;
use super::told::Teller;
use crate::base::event::internal;
use crate::image::reference::Reference;
use crate::image::store::Image;

/// Images by the name that the Dockerfile gives them; an image that could not be had is its error.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// So many were asked for, as far as users were told.
    count: AtomicU32,
    found: BTreeMap<String, Result<Image, String>>,
}

/// Images fetched at the same time.
const AT_ONCE: usize = 4;

impl Images {
    /// Gets all of them.
    pub(super) fn prefetch(
        &mut self,
        names: BTreeSet<String>,
        (builder, teller): (&Builder<'_>, Teller<'_>),
        pull: bool,
    ) {
        let todo = Mutex::new(names);
        let (done, count) = (Mutex::new(&mut self.found), &self.count);
        let work = || {
            loop {
                let name = todo.lock().ok().and_then(|mut todo| todo.pop_first());
                let Some(name) = name else { return };
                let image = fetch(&name, (builder, teller, count), pull);
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
        (builder, teller): (&Builder<'_>, Teller<'_>),
        pull: bool,
    ) -> Result<Image, String> {
        let count = &self.count;
        self.found
            .entry(name.to_owned())
            .or_insert_with(|| fetch(name, (builder, teller, count), pull))
            .clone()
    }
}

fn fetch(
    name: &str,
    (builder, teller, count): (&Builder<'_>, Teller<'_>, &AtomicU32),
    pull: bool,
) -> Result<Image, String> {
    let reference = Reference::parse(name).map_err(|error| error.to_string())?;
    let number = internal::metadata(count.fetch_add(1, Ordering::Relaxed));
    let title = format!("[internal] load metadata for {reference}");
    teller.during(number, &title, || found(name, &reference, builder, pull))
}

fn found(
    name: &str,
    reference: &Reference,
    builder: &Builder<'_>,
    pull: bool,
) -> Result<Image, String> {
    if !pull
        && let Some(image) = builder
            .store
            .resolve(reference)
            .map_err(|error| error.to_string())?
    {
        return Ok(image);
    }
    (builder.pull)(reference)
        .map_err(|error| format!("{name}: failed to resolve source metadata: {error}"))
}
