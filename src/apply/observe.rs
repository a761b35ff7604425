//! Takes the pictures that decisions are made from: the engine's state once, the store's images, files.
//!
//! In: a context and a project. Out: `World` and `Desired`. It changes nothing.
//! Imports: `base`, `compose::model`, `engine`, `image`, `plan`.

use std::collections::BTreeMap;

use super::{ApplyError, Context, UpOptions, files, images, pins, provide};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::name::ProjectName;
use crate::compose::model::{
    NetworkModeSpec, Project, PullPolicy, Service, ShareSpec, VolumeSource, VolumesFrom,
};
use crate::engine::spec::Mount;
use crate::engine::state::{DeviceCatalog, Observed};
use crate::image::manifest::Platform;
use crate::plan::World;
use crate::plan::desired::{Desired, Facts, Foreign, names_devices};
use crate::plan::images::{Fetch, ImageFacts, WantedImage, wanted};
use crate::plan::{cause::Cause, hash};

/// One picture of a project.
///
/// # Errors
/// The engine's.
pub fn observe_project(context: &Context, project: &ProjectName) -> Result<Observed, ApplyError> {
    Ok(context.engine.observe(project)?)
}

/// The engine's state: the project's things, and those of others that it names.
pub(super) fn world(
    context: &Context,
    name: &ProjectName,
    project: Option<&Project>,
) -> Result<World, ApplyError> {
    let mut world = World {
        observed: context.engine.observe(name)?,
        ..World::default()
    };
    let Some(project) = project else {
        return Ok(world);
    };
    world.programs = provide::programs(&context.env, project);
    let broken = world.observed.broken_networks.clone();
    let whole = |name: &String| !broken.contains(name);
    for network in project.networks.values().filter(|n| whole(&n.name)) {
        if !world
            .observed
            .networks
            .iter()
            .any(|have| have.name == network.name)
            && let Some(found) = context.engine.network(&network.name)?
        {
            world.networks.insert(network.name.clone(), found);
        }
    }
    let bridge = |service: &Service| {
        service
            .network_mode
            .as_ref()
            .is_some_and(|mode| mode.value == NetworkModeSpec::Bridge)
    };
    if project.services.values().any(bridge)
        && let Some(found) = context.engine.network("bridge")?
    {
        world.networks.insert(found.name.clone(), found);
    }
    let broken = world.observed.broken_volumes.clone();
    let whole = |name: &String| !broken.contains(name);
    for volume in project.volumes.values().filter(|v| whole(&v.name)) {
        if !world
            .observed
            .volumes
            .iter()
            .any(|have| have.name == volume.name)
            && let Some(found) = context.engine.volume(&volume.name)?
        {
            world.volumes.insert(volume.name.clone(), found);
        }
    }
    Ok(world)
}

/// What is wanted: the project with its images as far as they are here, and files read.
pub(super) fn desired(
    context: &Context,
    project: &Project,
    options: &UpOptions,
) -> Result<Desired, ApplyError> {
    let mut faults = Diagnostics::default();
    let policy = pins::policy(context, options.images);
    let mut unread = Diagnostics::default();
    let mut facts = files::facts(context, project, options.ask, &mut unread)?;
    facts.containers = foreign_containers(context, project)?;
    facts.mounts_of = mounts_of(context, project, &facts.containers)?;
    facts.devices = devices(context, project);
    let mut known: BTreeMap<String, Option<ImageFacts>> = BTreeMap::new();
    let mut resolve = |name: &str| -> Result<Option<ImageFacts>, ApplyError> {
        if let Some(found) = known.get(name) {
            return Ok(found.clone());
        }
        let found = images::resolve(context, name)?;
        known.insert(name.to_owned(), found.clone());
        Ok(found)
    };
    let mut wanted_images = BTreeMap::new();
    // A service that a program provides has no container, and so no image.
    let containers = |service: &&Service| service.provider.is_none();
    for service in project.services.values().filter(containers) {
        let name = project.image_of(service);
        let here = match resolve(&name) {
            Ok(here) => here,
            Err(error) => {
                let span = service
                    .image
                    .as_ref()
                    .and_then(|image| image.span)
                    .or(service.span);
                faults.push(Diagnostic::error(error.message()).at(span));
                continue;
            }
        };
        let here = match platform(service) {
            Ok(Some(platform)) => here.filter(|image| images::fits(image, &platform)),
            Ok(None) => here,
            Err(fault) => {
                faults.push(*fault);
                continue;
            }
        };
        let every = policy
            .pull
            .or_else(|| service.pull_policy.as_ref().map(|policy| policy.value));
        let stale = match every {
            Some(PullPolicy::Every(age)) => images::is_stale(context, &name, age),
            _ => false,
        };
        match wanted(project, service, here, policy, stale) {
            Ok(image) => drop(wanted_images.insert(service.name.clone(), image)),
            Err(fault) => faults.push(*fault),
        }
        mount_images(project, service, &mut facts, &mut resolve)?;
    }
    let sources = pins::check(context, project, &mut faults);
    if faults.has_errors() {
        faults.append(unread);
        return Err(ApplyError::faults(faults, &sources));
    }
    let hashes = project
        .services
        .values()
        .map(|service| {
            (
                service.name.clone(),
                hash::of_service(project, service, &facts),
            )
        })
        .collect();
    Ok(Desired {
        project: project.clone(),
        images: wanted_images,
        hashes,
        facts,
        unread,
    })
}

/// The platform a service asks for.
fn platform(service: &Service) -> Result<Option<Platform>, Box<Diagnostic>> {
    let Some(asked) = &service.platform else {
        return Ok(None);
    };
    Platform::parse(&asked.value).map(Some).map_err(|_| {
        let fault = Diagnostic::error(format!("`{}` is no platform", asked.value));
        Box::new(
            fault
                .at(asked.span.or(service.span))
                .hint("write it like linux/amd64 or linux/arm/v7"),
        )
    })
}

/// What the machine's descriptions of devices say. Reads them only if a service asks for one by name.
pub(super) fn devices(context: &Context, project: &Project) -> Option<DeviceCatalog> {
    let asks = project.services.values().any(names_devices);
    asks.then(|| context.engine.devices(&context.device_dirs))
}

/// Images that a service needs beside its own.
fn mount_images(
    project: &Project,
    service: &Service,
    facts: &mut Facts,
    resolve: &mut dyn FnMut(&str) -> Result<Option<ImageFacts>, ApplyError>,
) -> Result<(), ApplyError> {
    let mounts = service.volumes.iter();
    let mounts = mounts.filter_map(|mount| match &mount.value.source {
        VolumeSource::Image { image, .. } => Some(image),
        _ => None,
    });
    let inits = service.pre_start.iter();
    let inits = inits.filter_map(|init| init.value.image.as_ref().map(|image| &image.value));
    // What a service of the project builds is there once it was built.
    let built = |image: &&String| {
        let mut builds = project.services.values().filter(|s| s.build.is_some());
        builds.any(|service| project.image_of(service) == **image)
    };
    for image in mounts.chain(inits.filter(|image| !built(image))) {
        let here = resolve(image)?;
        let fetch = here.is_none().then_some((Fetch::Pull, Cause::Missing));
        let wanted = WantedImage {
            name: image.clone(),
            platform: None,
            here,
            fetch,
        };
        facts.mount_images.insert(image.clone(), wanted);
    }
    Ok(())
}

/// Containers whose volumes a service wants.
fn volume_givers(service: &Service) -> impl Iterator<Item = &String> {
    service.volumes_from.iter().filter_map(|from| match from {
        VolumesFrom::Container(name, _) => Some(name),
        VolumesFrom::Service(..) => None,
    })
}

/// What the containers mount whose volumes a service wants.
fn mounts_of(
    context: &Context,
    project: &Project,
    known: &BTreeMap<String, Foreign>,
) -> Result<BTreeMap<String, Vec<Mount>>, ApplyError> {
    let mut all = BTreeMap::new();
    for name in project.services.values().flat_map(volume_givers) {
        if let Some(other) = known.get(name) {
            all.insert(name.clone(), context.engine.mounts(&other.id)?);
        }
    }
    Ok(all)
}

/// Containers of any project that this one names by `container:NAME` or in `external_links`. Looks only if it
/// names one.
fn foreign_containers(
    context: &Context,
    project: &Project,
) -> Result<BTreeMap<String, Foreign>, ApplyError> {
    let mut names: Vec<&String> = Vec::new();
    for service in project.services.values() {
        if let Some(NetworkModeSpec::Container(name)) =
            service.network_mode.as_ref().map(|m| &m.value)
        {
            names.push(name);
        }
        names.extend(service.external_links.iter().map(|link| &link.value.0));
        for share in [&service.pid, &service.ipc].into_iter().flatten() {
            if let ShareSpec::Container(name) = &share.value {
                names.push(name);
            }
        }
        names.extend(volume_givers(service));
    }
    let mut found = BTreeMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    for other in context.engine.projects()? {
        for container in context.engine.observe(&other)?.containers {
            let fits = |name: &&&String| {
                container.name == ***name
                    || (name.len() >= 12 && container.id.as_str().starts_with(name.as_str()))
            };
            for name in names.iter().filter(fits) {
                let networks = container.networks.iter().map(|place| place.network.clone());
                let foreign = Foreign {
                    id: container.id.clone(),
                    name: container.name.clone(),
                    networks: networks.collect(),
                };
                found.insert((*name).clone(), foreign);
            }
        }
    }
    Ok(found)
}
