//! Gets images: from the store, from a registry. Builds have their own place beside it.
//!
//! In: names and services. Out: [`ImageFacts`]. Imports: `base`, `compose::model`, `image`, `plan`.
//! Rules: which image is got in which way is decided in `plan::images`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{ApplyError, Context};
use crate::base::clock::Timestamp;
use crate::base::event::{EventSink, Silent};
use crate::base::name::ServiceName;
use crate::compose::model::{Project, Service};
use crate::image::digest::Digest;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::registry::{self, PullError, PullOptions, pull as pull_image};
use crate::image::store::Image;
use crate::plan::Plan;
use crate::plan::action::Action;
use crate::plan::images::{ImageFacts, WantedImage};

impl From<&Image> for ImageFacts {
    fn from(image: &Image) -> Self {
        Self {
            id: Some(image.id),
            layers: image.layers().to_vec(),
            run: image.config.config.clone(),
            platform: (image.config.os.clone(), image.config.architecture.clone()),
        }
    }
}

/// What the store has under a name, or under an id.
pub(super) fn resolve(context: &Context, name: &str) -> Result<Option<ImageFacts>, ApplyError> {
    let failed = |error: &dyn std::fmt::Display| ApplyError::new(error.to_string());
    if Digest::parse(name).is_ok() {
        let id = context.store.find(name).ok().map(|found| found.id);
        let found = id.and_then(|id| context.store.take_id(&id).ok().flatten());
        return Ok(found.as_ref().map(ImageFacts::from));
    }
    let reference = Reference::parse(name).map_err(|error| failed(&error))?;
    let reference = locked(context, reference);
    let found = context
        .store
        .take(&reference)
        .map_err(|error| failed(&error))?;
    Ok(found.as_ref().map(ImageFacts::from))
}

/// A name with the digest that the lock has for it, if there is a lock.
fn locked(context: &Context, name: Reference) -> Reference {
    match &context.pins {
        Some(pins) => pins.pinned(&name),
        None => name,
    }
}

/// Whether an image is made for a platform. Variants of an architecture are the registry's affair.
pub(super) fn fits(image: &ImageFacts, platform: &Platform) -> bool {
    let (os, architecture) = &image.platform;
    // An image that does not say what it is for was made here.
    (os.is_empty() || *os == platform.os)
        && (architecture.is_empty() || *architecture == platform.architecture)
}

/// Images that run nowhere but on another machine, and that nobody asked for as such. As Docker.
pub(super) fn strange(
    project: &Project,
    images: &BTreeMap<ServiceName, WantedImage>,
) -> Vec<String> {
    let host = Platform::host();
    let here = images
        .iter()
        .filter_map(|(name, image)| Some((name, image.here.as_ref()?)));
    here.filter(|(name, image)| {
        let asked = project.services.get(*name).is_some_and(|service| service.platform.is_some());
        !asked && !fits(image, &host)
    })
    .map(|(name, image)| {
        let (os, architecture) = &image.platform;
        format!(
            "service `{name}`: the requested image's platform ({os}/{architecture}) does not match the detected host platform \
             ({host}) and no specific platform was requested"
        )
    })
    .collect()
}

/// Where the time of an image's last pull is kept.
fn stamp(context: &Context, name: &str) -> PathBuf {
    context
        .roots
        .data
        .join("images/pulls")
        .join(Digest::of(name.as_bytes()).hex())
}

/// Whether the last pull of an image is older than `age`, or not known.
pub(super) fn is_stale(context: &Context, name: &str, age: Duration) -> bool {
    let text = std::fs::read_to_string(stamp(context, name)).unwrap_or_default();
    let then = text.trim().parse().map(Timestamp);
    then.map_or(true, |then| then.until(Timestamp::now()) > age)
}

/// Notes that an image was pulled now; only `pull_policy: every_…` reads it, so a failure costs a pull.
fn note_pull(context: &Context, name: &str) {
    let path = stamp(context, name);
    if let Some(dir) = path.parent() {
        let _ = std::fs::create_dir_all(dir);
    }
    let _ = std::fs::write(path, Timestamp::now().0.to_string());
}

/// Looks at the settings of registries before a plan moves images, since each of these would say the same of them.
pub(super) fn check_settings(context: &Context, plan: &Plan) -> Result<(), ApplyError> {
    let moved = |action: &Action| match action {
        Action::Pull {
            image,
            tolerate: false,
            ..
        }
        | Action::Push {
            image,
            tolerate: false,
        } => Reference::parse(image).ok(),
        _ => None,
    };
    let steps = plan.steps.nodes();
    let images: Vec<Reference> = steps.filter_map(|(_, step)| moved(&step.action)).collect();
    match images.is_empty() {
        true => Ok(()),
        false => registry::check_settings(&images, &context.env).map_err(|text| {
            ApplyError::new(text).hint("no image is pulled or pushed until it is mended")
        }),
    }
}

/// Pulls an image.
pub(super) fn pull(
    context: &Context,
    plan: &Plan,
    image: &str,
    platform: Option<&str>,
) -> Result<ImageFacts, ApplyError> {
    let reference = Reference::parse(image).map_err(|error| ApplyError::new(error.to_string()))?;
    let reference = locked(context, reference);
    if context.pins.is_some() && reference.digest.is_none() {
        return Err(ApplyError::new(format!("`{image}` is not locked"))
            .hint("run `hoist lock`, or leave out --locked"));
    }
    let options = PullOptions {
        platform: platform.map(str::to_owned),
        env: context.env.clone(),
        cancel: context.cancel.clone(),
        ..PullOptions::default()
    };
    let events: &dyn EventSink = if plan.quiet_pull {
        &Silent
    } else {
        &*context.events
    };
    let pulled =
        pull_image(&context.store, &reference, &options, events).map_err(|error| match error {
            PullError::Cancelled(_) => ApplyError::cancelled(),
            other => ApplyError::new(with_causes(&other)),
        })?;
    // From here on nobody else removes it.
    (context.store.take_id(&pulled.id)).map_err(|error| ApplyError::new(error.to_string()))?;
    note_pull(context, image);
    Ok(ImageFacts::from(&pulled))
}

/// An error and what caused it, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

/// The host's CA bundle for a service that asks for it.
///
/// # Errors
/// When this host has none.
pub(super) fn host_ca(context: &Context, service: &Service) -> Result<PathBuf, ApplyError> {
    context.host_ca.clone().ok_or_else(|| {
        let name = &service.name;
        ApplyError::new(format!(
            "service `{name}` trusts the host's CA, but the host has no bundle"
        ))
        .hint("install ca-certificates, or name a bundle in SSL_CERT_FILE")
    })
}
