//! Images that stages stand on: from the store, else pulled, several at a time.
//!
//! An image of another platform than this machine's takes no name away: which one a name means there is kept in
//! `<cache>/bases/`, one small file each. Imports: `image`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::Builder;
use super::attest::Used;
use super::sources::layout::Layout;
use super::told::{Teller, Told};
use crate::base::event::{BuildStep, Event, internal};
use crate::image::digest::Digest;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::registry::PullError;
use crate::image::store::Image;
use crate::image::store::layout::Which;
use crate::sys::fs::{Durability, make_dirs, write_atomic};

/// A name of an image, and the platform it is wanted for.
pub(super) type Wanted = (String, Platform);

/// Images by the name that the Dockerfile gives them; an image that could not be had is its error.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// So many were asked for, as far as users were told.
    count: AtomicU32,
    /// Digests that full names stand for, if only these may be taken.
    pins: Option<BTreeMap<String, Digest>>,
    found: BTreeMap<Wanted, Result<Image, String>>,
}

/// Images fetched at the same time.
const AT_ONCE: usize = 4;

impl Images {
    /// None yet. With `pins` no other is taken.
    pub(super) fn new(pins: Option<BTreeMap<String, Digest>>) -> Self {
        Self {
            pins,
            ..Self::default()
        }
    }
    /// Those that were had, by name.
    pub(super) fn used(&self) -> Vec<Used> {
        let found = self.found.iter();
        let found = found.filter_map(|((name, platform), image)| {
            Some(Used {
                name: name.clone(),
                platform: platform.clone(),
                id: image.as_ref().ok()?.id,
            })
        });
        found.collect()
    }
    /// Gets all of them.
    pub(super) fn prefetch(
        &mut self,
        all: BTreeSet<Wanted>,
        (builder, teller): (&Builder<'_>, Teller<'_>),
        pull: bool,
    ) {
        let todo = Mutex::new(all);
        let done = Mutex::new(&mut self.found);
        let (count, pins) = (&self.count, self.pins.as_ref());
        let work = || {
            loop {
                let wanted = todo.lock().ok().and_then(|mut todo| todo.pop_first());
                let Some(wanted) = wanted else { return };
                let image = fetch(&wanted, (builder, teller, count), pins, pull);
                if let Ok(mut done) = done.lock() {
                    done.insert(wanted, image);
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
        wanted: Wanted,
        (builder, teller): (&Builder<'_>, Teller<'_>),
        pull: bool,
    ) -> Result<Image, String> {
        let (count, pins) = (&self.count, self.pins.as_ref());
        let fetched = |wanted: &Wanted| fetch(wanted, (builder, teller, count), pins, pull);
        self.found.entry(wanted).or_insert_with_key(fetched).clone()
    }
    /// An image of an OCI layout, taken into the store if that was not done yet.
    ///
    /// # Errors
    /// The words of the store.
    pub(super) fn layout(
        &mut self,
        layout: &Layout,
        platform: &Platform,
        builder: &Builder<'_>,
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
        let wanted = (format!("oci-layout://{layout}"), platform.clone());
        self.found.entry(wanted).or_insert_with(take).clone()
    }
}

/// What an image says it is for.
fn platform_of(image: &Image) -> Option<Platform> {
    let config = &image.config;
    if config.architecture.is_empty() {
        return None;
    }
    let variant = config.variant.iter().map(|variant| format!("/{variant}"));
    let text = format!("{}/{}", config.os, config.architecture);
    Platform::parse(&(text + &variant.collect::<String>())).ok()
}

/// Whether an image is made for a platform; one that does not say what it is for was made here.
fn fits(image: &Image, platform: &Platform) -> bool {
    platform_of(image).is_none_or(|own| platform.takes(&own))
}

fn fetch(
    wanted: &Wanted,
    (builder, teller, count): (&Builder<'_>, Teller<'_>, &AtomicU32),
    pins: Option<&BTreeMap<String, Digest>>,
    pull: bool,
) -> Result<Image, String> {
    let reference = Reference::parse(&wanted.0).map_err(|error| error.to_string())?;
    let reference = match pins {
        Some(pins) => pinned(reference, pins)?,
        None => reference,
    };
    // What a lock says does not change at the registry.
    let pull = pull && pins.is_none();
    let number = internal::metadata(count.fetch_add(1, Ordering::Relaxed));
    let title = format!("[internal] load metadata for {reference}");
    let found = || found(wanted, reference, builder, pull);
    teller
        .during(number, &title, found)
        .map_err(|lack| lack.whole)
}

/// Why an image could not be had.
struct Lack {
    /// What its step says: the whole comes with the error.
    short: String,
    whole: String,
}

impl From<String> for Lack {
    fn from(whole: String) -> Self {
        Self {
            short: whole.clone(),
            whole,
        }
    }
}

impl Told for Lack {
    fn told(&self) -> BuildStep {
        self.short.told()
    }
}

/// A name with the digest that a lock has for it.
fn pinned(mut name: Reference, pins: &BTreeMap<String, Digest>) -> Result<Reference, String> {
    let digest = pins.get(&name.canonical());
    let digest = digest.ok_or_else(|| {
        format!("`{name}` is not locked; run `hoist lock`, or leave out --locked")
    })?;
    name.digest = Some(*digest);
    Ok(name)
}

fn found(
    (name, platform): &Wanted,
    reference: Reference,
    builder: &Builder<'_>,
    pull: bool,
) -> Result<Image, Lack> {
    let here = builder
        .store
        .resolve(&reference)
        .map_err(|error| error.to_string())?;
    let own = Platform::host().takes(platform);
    if !pull {
        let fitting = here.as_ref().filter(|image| fits(image, platform)).cloned();
        let known = || {
            if own {
                None
            } else {
                remembered(&reference, platform, builder)
            }
        };
        if let Some(image) = fitting.or_else(known) {
            return Ok(image);
        }
    }
    let image = (builder.pull)(&reference, platform).map_err(|error| {
        let other = here.as_ref().and_then(platform_of);
        let other = other.filter(|other| !platform.takes(other));
        let other =
            other.map(|other| format!("; the image here is for {other}, not for {platform}"));
        let other = other.unwrap_or_default();
        let short = match &error {
            PullError::Unreachable { registry, .. } => {
                format!("registry {registry} is not in reach")
            }
            other => other.to_string(),
        };
        let whole = format!("{name}: failed to resolve source metadata: {error}{other}");
        Lack { short, whole }
    })?;
    if let Some(found) = platform_of(&image).filter(|found| !platform.takes(found)) {
        let text =
            format!("base image {name} was pulled with platform {found}, expected {platform}");
        builder.events.send(Event::Warn(text));
    }
    if !own {
        remember(&reference, platform, &image, builder);
    }
    Ok(image)
}

/// Which image a name means on another platform.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    id: Digest,
}

fn place(reference: &Reference, platform: &Platform, builder: &Builder<'_>) -> PathBuf {
    let text = format!("{} {platform}", reference.canonical());
    builder
        .cache_dir
        .join("bases")
        .join(Digest::of(text.as_bytes()).hex())
}

fn remembered(reference: &Reference, platform: &Platform, builder: &Builder<'_>) -> Option<Image> {
    let bytes = std::fs::read(place(reference, platform, builder)).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    let image = builder.store.find(&record.id.to_string()).ok()?;
    (record.version == 1 && fits(&image, platform)).then_some(image)
}

/// Notes what a name means on another platform; a failure costs another pull.
fn remember(reference: &Reference, platform: &Platform, image: &Image, builder: &Builder<'_>) {
    let path = place(reference, platform, builder);
    let record = Record {
        version: 1,
        id: image.id,
    };
    let Ok(bytes) = serde_json::to_vec(&record) else {
        return;
    };
    if let Some(dir) = path.parent() {
        let _ = make_dirs(dir, 0o700);
    }
    let _ = write_atomic(&path, &bytes, 0o600, Durability::Renamed);
}
