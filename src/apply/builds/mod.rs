//! Builds the images of services, and finds out before which of other services they need.
//!
//! In: services with a `build`. Out: images in the store; faults of all builds together, before any of them begins.
//! Which image is built is decided in `plan::images` and `plan::builds`.
//! Imports: `base`, `compose::model`, `build`, `image`, `plan`.

mod check;
mod recipe;

use std::collections::BTreeMap;

pub use check::ask_builds;
use recipe::Recipe;

use super::images::{resolve, with_causes};
use super::{ApplyError, Context, push};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::event::{Event, EventSink, Silent};
use crate::base::key::KeyPath;
use crate::base::name::ServiceName;
use crate::base::span::Span;
use crate::build::{BuildError, Builder, build, images_named};
use crate::compose::model::{BuildSpec, ContextRef, Project, Service};
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::registry::{PullError, PullOptions, pull as pull_image};
use crate::image::store::Image;
use crate::plan::builds::{BuildNeed, Role, build_for, is_built_for};
use crate::plan::desired::Desired;
use crate::plan::images::{Fetch, ImageFacts, WantedImage};
use crate::plan::{BuildTweaks, Plan};

/// Leaves out what steps of a build print.
struct Quiet<'a>(&'a dyn EventSink);

impl EventSink for Quiet<'_> {
    fn send(&self, event: Event) {
        if !matches!(event, Event::Build { .. }) {
            self.0.send(event);
        }
    }
}

/// Looks at all builds that are wanted: what they take of other services is built too, and what is wrong with any of
/// them becomes a fault of the plan.
///
/// # Errors
/// The store's.
pub(super) fn complete(
    context: &Context,
    desired: &mut Desired,
    tweaks: &BuildTweaks,
) -> Result<(), ApplyError> {
    let builds = |image: &WantedImage| matches!(image.fetch, Some((Fetch::Build { .. }, _)));
    let wanted = desired.images.iter().filter(|(_, image)| builds(image));
    let mut queue: Vec<ServiceName> = wanted.map(|(name, _)| name.clone()).collect();
    let providers = providers(&desired.project);
    let mut at = 0;
    while let Some(name) = queue.get(at).cloned() {
        at += 1;
        let Some((service, spec)) = desired.project.buildable(name.as_str()) else {
            continue;
        };
        let (service, spec) = (service.clone(), spec.clone());
        let mut found = Diagnostics::default();
        let needs = examine(
            context,
            desired,
            (&service, &spec),
            tweaks,
            &providers,
            &mut found,
        );
        // Where the registry is asked first there may be nothing to build.
        let pulls = desired.images.get(&name).is_some_and(|image| {
            matches!(image.fetch, Some((Fetch::Build { pull_first: true }, _)))
        });
        if !pulls {
            desired.unread.append(found);
        }
        for need in &needs {
            if !desired.images.contains_key(&need.service) {
                let image = of_other(context, &desired.project, &need.service)?;
                desired
                    .images
                    .extend(image.map(|image| (need.service.clone(), image)));
            }
            if let Some(image) = desired.images.get_mut(&need.service)
                && is_built_for(need, image)
            {
                build_for(&name, image);
                queue.push(need.service.clone());
            }
        }
        desired.facts.builds.insert(name, needs);
    }
    Ok(())
}

/// Services by the names that their builds give to images.
pub(super) fn providers(project: &Project) -> BTreeMap<String, ServiceName> {
    let mut all = BTreeMap::new();
    for (service, spec) in project.buildables() {
        let own = project.image_of(service);
        for name in std::iter::once(&own).chain(spec.tags.iter().map(|tag| &tag.value)) {
            if let Ok(name) = Reference::parse(name) {
                all.entry(name.canonical())
                    .or_insert_with(|| service.name.clone());
            }
        }
    }
    all
}

/// The image of a service that the command was not asked about.
fn of_other(
    context: &Context,
    project: &Project,
    name: &ServiceName,
) -> Result<Option<WantedImage>, ApplyError> {
    let Some((service, _)) = project.buildable(name.as_str()) else {
        return Ok(None);
    };
    let name = project.image_of(service);
    let here = resolve(context, &name)?;
    Ok(Some(WantedImage {
        name,
        platform: service
            .platform
            .as_ref()
            .map(|platform| platform.value.clone()),
        here,
        fetch: None,
    }))
}

/// What a build takes of other services; what is wrong with it goes to `found`.
fn examine(
    context: &Context,
    desired: &mut Desired,
    (service, spec): (&Service, &BuildSpec),
    tweaks: &BuildTweaks,
    providers: &BTreeMap<String, ServiceName>,
    found: &mut Diagnostics,
) -> Vec<BuildNeed> {
    let mut needs: Vec<BuildNeed> = spec
        .additional_contexts
        .iter()
        .filter_map(|(name, value)| match &value.value {
            ContextRef::Service(other) => Some(BuildNeed {
                service: other.clone(),
                role: Role::Context(name.clone()),
                place: value.span,
            }),
            _ => None,
        })
        .collect();
    let of = (service, spec);
    let named = named_by_build(context, &mut desired.project, of, tweaks, found);
    for (name, place) in named.unwrap_or_default() {
        let canonical = Reference::parse(&name).map(|name| name.canonical());
        let provider = canonical.ok().and_then(|name| providers.get(&name));
        // Who builds upon an image of the name that it gives means the one of the registry.
        if let Some(provider) = provider.filter(|provider| **provider != service.name) {
            needs.push(BuildNeed {
                service: provider.clone(),
                role: Role::Image(name),
                place: Some(place),
            });
        }
    }
    needs
}

/// The images that the Dockerfile of a service names, with the first place of each; what is wrong with it goes to
/// `found`. `None` where it lies elsewhere, so that it can't be read here and now.
pub(super) fn named_by_build(
    context: &Context,
    project: &mut Project,
    (service, spec): (&Service, &BuildSpec),
    tweaks: &BuildTweaks,
    found: &mut Diagnostics,
) -> Option<BTreeMap<String, Span>> {
    let mut recipe = Recipe::new(context, project, (service, spec), tweaks);
    let request = recipe.outline();
    let dockerfile = recipe.dockerfile_place();
    found.append(recipe.found);
    if recipe::misses_context(&request) {
        return Some(BTreeMap::new());
    }
    if !recipe::has_local_dockerfile(&request) {
        return None;
    }
    let inline = spec.dockerfile_inline.as_ref().and_then(|text| text.span);
    let sources = &mut project.sources;
    let named = with_builder(context, true, |builder| {
        images_named(&request, builder, sources, inline)
    });
    match named {
        Ok(named) => return Some(named),
        Err(BuildError::Invalid { diagnostics, .. }) => {
            for fault in diagnostics {
                found.push(placed(fault, (service, spec), dockerfile));
            }
        }
        Err(other) => found.push(Diagnostic::error(with_causes(&other)).at(dockerfile)),
    }
    Some(BTreeMap::new())
}

/// A fault without a place in a file has one in the compose file: the key that asks for what can't be.
fn placed(
    fault: Diagnostic,
    (service, spec): (&Service, &BuildSpec),
    dockerfile: Option<Span>,
) -> Diagnostic {
    if fault.span.is_some() {
        return fault;
    }
    let path = KeyPath::root().key("services").key(service.name.as_str());
    let path = path.key("build");
    let about_target = fault.message.starts_with("target stage");
    match spec.target.as_ref().filter(|_| about_target) {
        Some(target) => fault.at(target.span).path(&path.key("target")),
        None => fault.at(dockerfile).path(&path.key("dockerfile")),
    }
}

/// Works with a builder. `quiet` leaves out what steps print.
fn with_builder<T>(context: &Context, quiet: bool, work: impl FnOnce(&Builder<'_>) -> T) -> T {
    let silent = Quiet(&*context.events);
    let pull = |reference: &Reference, platform: &Platform| -> Result<Image, PullError> {
        let options = PullOptions {
            platform: Some(platform.to_string()),
            nameless: !Platform::host().takes(platform),
            env: context.env.clone(),
            cancel: context.cancel.clone(),
            ..PullOptions::default()
        };
        let events: &dyn EventSink = if quiet { &Silent } else { &*context.events };
        pull_image(&context.store, reference, &options, events)
    };
    work(&Builder {
        store: &context.store,
        sandbox: &*context.sandbox,
        events: if quiet { &silent } else { &*context.events },
        cancel: &context.cancel,
        pull: &pull,
        cache_dir: context.roots.data.join("cache"),
        slots: &context.slots,
        debugger: context.debugger.as_deref(),
    })
}

/// Builds a service's image. What it takes of other services has been built before.
///
/// # Errors
/// The builder's.
pub(super) fn build_service(
    context: &Context,
    plan: &Plan,
    name: &ServiceName,
) -> Result<ImageFacts, ApplyError> {
    let desired = plan
        .desired
        .as_ref()
        .ok_or_else(|| ApplyError::new("nothing is wanted"))?;
    let found = desired.project.buildable(name.as_str());
    let of = found.ok_or_else(|| ApplyError::new(format!("service `{name}` has no build")))?;
    let needs = desired
        .facts
        .builds
        .get(name)
        .map_or(&[][..], Vec::as_slice);
    let builds = |image: &&WantedImage| matches!(image.fetch, Some((Fetch::Build { .. }, _)));
    let several = desired.images.values().filter(builds).count() > 1;
    let (built, names, pushed) = loop {
        let mut request =
            Recipe::new(context, &desired.project, of, &plan.tweaks).request(needs)?;
        if several {
            request.label = Some(name.to_string());
        }
        let built = with_builder(context, plan.quiet_build, |builder| {
            build(&request, builder)
        });
        // The user has changed the Dockerfile to go on with it.
        if !matches!(built, Err(BuildError::ReadAgain)) {
            let pushed = !request.outputs.is_empty();
            break (built, request.tags, pushed);
        }
    };
    match built {
        Ok(image) => {
            // As Compose: an image that only hoist has named is nowhere to be pushed.
            if plan.tweaks.push && of.0.image.is_some() && !pushed {
                for name in &names {
                    push::push(context, &image, name)?;
                }
            }
            // From here on nobody else removes it.
            let held = context.store.take_id(&image.id);
            held.map_err(|error| ApplyError::new(error.to_string()))?;
            Ok(ImageFacts::from(&image))
        }
        Err(error) => Err(error.into()),
    }
}
