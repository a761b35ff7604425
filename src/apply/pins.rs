//! Which images a project takes from registries, for whoever locks them, and that nothing else is taken.
//!
//! In: a project. Out: every place that names an image the project does not build itself. It reads Dockerfiles and
//! opens no connection. Imports: `base`, `compose::model`, `build`, `image`, `plan`.

use super::builds::{named_by_build, providers};
use super::{ApplyError, Context};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::name::ServiceName;
use crate::base::span::{SourceMap, Span};
use crate::compose::model::{BuildSpec, ContextRef, Project, PullPolicy, Service, VolumeSource};
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::plan::BuildTweaks;
use crate::plan::pins::ImageUse;
use crate::plan::policy::{BuildChoice, ImagePolicy};

/// The key of what Dockerfiles name.
const BUILD: &str = "build";

/// What was found of a project.
#[derive(Debug, Default)]
pub struct Uses {
    /// Every place that names an image, in the order of the services.
    pub images: Vec<ImageUse>,
    /// Builds whose Dockerfile lies elsewhere, so that nobody knows yet what they stand on: a fault for whoever
    /// accepts nothing unknown.
    pub unknown: Vec<Diagnostic>,
}

/// The images that a project takes from registries. Texts of Dockerfiles are added to its sources.
///
/// # Errors
/// Names that are none; Dockerfiles that can't be read.
pub fn images_used(context: &Context, project: &mut Project) -> Result<Uses, ApplyError> {
    let mut faults = Diagnostics::default();
    let uses = gather(context, project, &mut faults);
    match faults.has_errors() {
        true => Err(ApplyError::faults(faults, &project.sources)),
        false => Ok(uses),
    }
}

/// Adds a fault for whatever the lock does not cover, if there is a lock. Gives the
/// texts that places point into: Dockerfiles besides those of the project.
pub(super) fn check(context: &Context, project: &Project, faults: &mut Diagnostics) -> SourceMap {
    let Some(pins) = &context.pins else {
        return project.sources.clone();
    };
    let mut project = project.clone();
    let uses = gather(context, &mut project, faults);
    let bad = uses.images.iter().filter_map(|used| pins.fault(used));
    bad.chain(uses.unknown).for_each(|fault| faults.push(fault));
    project.sources
}

/// What the user asked of images, as far as a lock leaves him the choice: what is locked is not asked for again, and
/// what can be built is built from what is locked.
pub(super) fn policy(context: &Context, asked: ImagePolicy) -> ImagePolicy {
    if context.pins.is_none() {
        return asked;
    }
    ImagePolicy {
        build: match asked.build {
            BuildChoice::Missing => BuildChoice::Always,
            other => other,
        },
        pull: Some(match asked.pull {
            Some(PullPolicy::Never) => PullPolicy::Never,
            _ => PullPolicy::Missing,
        }),
    }
}

fn gather(context: &Context, project: &mut Project, faults: &mut Diagnostics) -> Uses {
    let providers = providers(project);
    let mut found = Gathering {
        uses: Uses::default(),
        is_built: |image: &Reference, by: Option<&ServiceName>| {
            let provider = providers.get(&image.canonical());
            // Who builds upon an image of the name that it gives means the one of the registry.
            provider.is_some_and(|provider| Some(provider) != by)
        },
        faults,
    };
    let services: Vec<Service> = project.services.values().cloned().collect();
    for service in &services {
        found.service(project, service);
    }
    for service in &services {
        if let Some(spec) = &service.build {
            found.build(context, project, (service, spec));
        }
    }
    found.uses
}

struct Gathering<'a, F> {
    uses: Uses,
    is_built: F,
    faults: &'a mut Diagnostics,
}

impl<F: Fn(&Reference, Option<&ServiceName>) -> bool> Gathering<'_, F> {
    fn add(&mut self, service: &Service, key: &'static str, name: &str, place: Option<Span>) {
        let builder = Some(&service.name).filter(|_| key == BUILD);
        // An id is the content itself.
        if Digest::parse(name).is_ok() {
            return;
        }
        match Reference::parse(name) {
            Ok(image) if (self.is_built)(&image, builder) => {}
            Ok(image) => self.uses.images.push(ImageUse {
                image,
                service: service.name.clone(),
                key,
                place: place.or(service.span),
            }),
            Err(error) => {
                let fault = Diagnostic::error(error.to_string());
                self.faults.push(fault.at(place.or(service.span)));
            }
        }
    }

    fn service(&mut self, project: &Project, service: &Service) {
        if service.provider.is_none() && service.build.is_none() {
            let name = project.image_of(service);
            let place = service.image.as_ref().and_then(|image| image.span);
            self.add(service, "image", &name, place);
        }
        for mount in &service.volumes {
            if let VolumeSource::Image { image, .. } = &mount.value.source {
                self.add(service, "volumes", image, mount.span);
            }
        }
        for init in &service.pre_start {
            if let Some(image) = &init.value.image {
                self.add(service, "pre_start", &image.value, image.span);
            }
        }
    }

    fn build(
        &mut self,
        context: &Context,
        project: &mut Project,
        (service, spec): (&Service, &BuildSpec),
    ) {
        for other in spec.additional_contexts.values() {
            if let ContextRef::Image(name) = &other.value {
                self.add(service, BUILD, name, other.span);
            }
        }
        match named_by_build(
            context,
            project,
            (service, spec),
            &BuildTweaks::default(),
            self.faults,
        ) {
            Some(named) => {
                for (name, place) in named {
                    self.add(service, BUILD, &name, Some(place));
                }
            }
            None => {
                let place = spec.context.as_ref().and_then(|context| context.span);
                let text = format!(
                    "the Dockerfile of service `{}` lies elsewhere: the images it stands on can't be locked",
                    service.name
                );
                let fault = Diagnostic::error(text).at(place.or(spec.span).or(service.span));
                let hint = "build from a directory, or leave out --locked";
                self.uses.unknown.push(fault.hint(hint));
            }
        }
    }
}
