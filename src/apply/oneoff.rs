//! `run`: one container of a service with another command, behind the service's dependencies.
//!
//! In: a project, a service, options. Out: a created container; the caller attaches, starts, waits, and
//! removes it. Imports: `base`, `compose::model`, `engine`, `plan`, `images`, `steps`.
//! Source: Docker Compose, `pkg/compose/run.go`.

use std::collections::BTreeMap;

use super::{
    ApplyError, BuildTweaks, Context, Outcome, RunOptions, UpOptions, builds, files, images,
    observe, provide, run, secrets, steps,
};
use crate::base::name::ContainerId;
use crate::base::span::Spanned;
use crate::base::term::RestartPolicy;
use crate::compose::model::{Condition, Labels, Project, Service, Volume, VolumeSource};
use crate::engine::spec::VolumeSpec;
use crate::plan::action::{Action, Step, WaitFor, When, Who};
use crate::plan::cause::Cause;
use crate::plan::desired::{Desired, Peer, Replica};
use crate::plan::images::{Fetch, ImageFacts};
use crate::plan::policy::{ImagePolicy, UpPolicy};
use crate::plan::{Plan, hash, reconcile};

/// A container of `run`, created and not started.
#[derive(Debug, Clone)]
pub struct OneOff {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// The dependencies' run.
    pub outcome: Outcome,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Starts what the service depends on, gets its image, and creates the container. The caller holds the
/// project's lock. `project` is the selection of the service and its dependencies.
///
/// # Errors
/// As [`super::plan_up`] and [`super::run`].
pub fn prepare(
    context: &Context,
    project: &Project,
    service: &str,
    options: &RunOptions,
) -> Result<OneOff, ApplyError> {
    let missing = || ApplyError::new(format!("no such service: {service}"));
    let asked = project.service(service).ok_or_else(missing)?.clone();
    let plan = plan(context, project, &asked, options)?;
    let outcome = run(context, &plan)?;
    let one = changed(context, &asked, options);
    let mut single = project.clone();
    single.services.insert(one.name.clone(), one.clone());
    own_volumes(context, &mut single, options)?;
    let (id, name, found) = create(context, &single, &one, options, &outcome)?;
    Ok(OneOff {
        id,
        name,
        outcome,
        warnings: [plan.warnings, found].concat(),
    })
}

/// Makes the volumes that only the command line names. As Compose: by the name that is written, and nobody's.
fn own_volumes(
    context: &Context,
    project: &mut Project,
    options: &RunOptions,
) -> Result<(), ApplyError> {
    for mount in &options.volumes {
        let VolumeSource::Volume { key: Some(key), .. } = &mount.source else {
            continue;
        };
        if project.volumes.contains_key(key) {
            continue;
        }
        context.engine.create_volume(&VolumeSpec {
            name: key.clone(),
            project: None,
            driver: "local".to_owned(),
            options: BTreeMap::new(),
            labels: BTreeMap::default(),
        })?;
        let volume = Volume {
            key: key.clone(),
            span: None,
            name: key.clone(),
            external: true,
            driver: None,
            driver_opts: BTreeMap::new(),
            places: BTreeMap::new(),
            labels: Labels::default(),
        };
        project.volumes.insert(key.clone(), volume);
    }
    Ok(())
}

/// The plan of everything before the container: dependencies up and waited for, images, networks, volumes.
fn plan(
    context: &Context,
    project: &Project,
    asked: &Service,
    options: &RunOptions,
) -> Result<Plan, ApplyError> {
    let mut around = project.clone();
    if options.no_deps {
        let (stay, left) = std::mem::take(&mut around.services)
            .into_iter()
            .partition(|(name, _)| *name == asked.name);
        around.services = stay;
        // Its build may still take their images.
        around.others.extend::<indexmap::IndexMap<_, _>>(left);
    }
    // No container of the service itself: only its image, networks and volumes.
    if let Some(service) = around.services.get_mut(&asked.name) {
        service.scale = 0;
    }
    let up = UpOptions {
        ask: true,
        policy: UpPolicy {
            services: vec![asked.name.to_string()],
            declared: options.declared.clone(),
            remove_orphans: options.remove_orphans,
            ignore_orphans: options.ignore_orphans,
            ..UpPolicy::default()
        },
        images: ImagePolicy {
            build: options.build,
            pull: options.pull,
        },
        ..UpOptions::default()
    };
    let mut desired = observe::desired(context, &around, &up)?;
    builds::complete(context, &mut desired, &BuildTweaks::default())?;
    let mut world = observe::world(context, &project.name, Some(&around))?;
    // Its other containers are nobody's business here.
    world
        .observed
        .containers
        .retain(|c| crate::plan::labels::service(c).as_ref() != Some(&asked.name));
    let mut plan = reconcile::reconcile(desired, &world, &up.policy)?;
    plan.quiet_pull = options.quiet_pull;
    plan.quiet_build = options.quiet_build;
    if !options.no_deps {
        wait_for_needs(&mut plan, asked);
    }
    Ok(plan)
}

/// Adds the waits that the service's own start would have.
fn wait_for_needs(plan: &mut Plan, asked: &Service) {
    for (name, need) in &asked.depends_on {
        let until = match need.condition {
            Condition::Started => continue,
            Condition::Healthy => WaitFor::Healthy,
            Condition::Completed => WaitFor::Completed,
        };
        let starts: Vec<_> = plan
            .steps
            .nodes()
            .filter_map(|(id, step)| match &step.action {
                Action::Start { who } if who.service == *name => Some((Some(id), who.clone())),
                _ => None,
            })
            .collect();
        let kept: Vec<(_, Who)> = plan
            .unchanged
            .iter()
            .filter(|who| who.service == *name)
            .map(|who| (None, who.clone()))
            .collect();
        for (start, who) in starts.into_iter().chain(kept) {
            let action = Action::Wait {
                who,
                until,
                required: need.required,
            };
            let node = plan.steps.add(Step::new(
                action,
                Cause::NeededBy {
                    service: asked.name.clone(),
                },
            ));
            if let Some(start) = start {
                plan.steps.need(node, start, When::Done);
            }
        }
    }
}

/// The service with what the command line changes.
fn changed(context: &Context, asked: &Service, options: &RunOptions) -> Service {
    let mut one = asked.clone();
    if !options.command.is_empty() {
        one.command = Some(options.command.clone());
    }
    if let Some(entrypoint) = &options.entrypoint {
        one.entrypoint = Some(entrypoint.clone());
        if options.command.is_empty() {
            one.command = None;
        }
    }
    for (name, value) in &options.env {
        let value = value
            .clone()
            .or_else(|| context.env.get(name).map(str::to_owned));
        // As Compose: a name without a value anywhere changes nothing.
        if let Some(value) = value {
            one.environment
                .insert(name.clone(), Some(Spanned::bare(value)));
        }
    }
    one.user = options.user.clone().or(one.user);
    one.working_dir = options.workdir.clone().or(one.working_dir);
    for mount in &options.volumes {
        one.volumes.retain(|have| have.value.target != mount.target);
        one.volumes.push(Spanned::bare(mount.clone()));
    }
    if !options.service_ports {
        one.ports.clear();
    }
    one.ports
        .extend(options.publish.iter().cloned().map(Spanned::bare));
    one.labels.extend(options.labels.iter().cloned());
    one.cap_add.extend(options.cap_add.iter().cloned());
    one.cap_drop.extend(options.cap_drop.iter().cloned());
    one.tty = options.tty;
    one.stdin_open = options.stdin;
    one.restart = RestartPolicy::No;
    one.container_name = None;
    one.scale = 1;
    for place in one.networks.values_mut() {
        if options.use_aliases {
            place.aliases.push(asked.name.to_string());
        } else {
            place.aliases.clear();
        }
        // The service's own container may have it.
        place.ipv4_address = None;
        place.ipv6_address = None;
        place.mac_address = None;
    }
    one
}

fn create(
    context: &Context,
    project: &Project,
    one: &Service,
    options: &RunOptions,
    before: &Outcome,
) -> Result<(ContainerId, String, Vec<String>), ApplyError> {
    let mut faults = crate::base::diag::Diagnostics::default();
    let mut facts = files::facts(context, project, true, &mut faults)?;
    facts.devices = observe::devices(context, project);
    if faults.has_errors() {
        return Err(ApplyError::faults(faults, &project.sources));
    }
    let image_name = project.image_of(one);
    let not_here = || ApplyError::new(format!("image `{image_name}` is not here"));
    let image = images::resolve(context, &image_name)?.ok_or_else(not_here)?;
    let mut mounts = BTreeMap::new();
    for mount in &one.volumes {
        if let VolumeSource::Image { image, .. } = &mount.value.source {
            let found: Option<ImageFacts> = images::resolve(context, image)?;
            mounts.extend(found.map(|facts| (image.clone(), facts)));
        }
    }
    let hash = hash::of_service(project, one, &facts);
    let wanted = crate::plan::images::WantedImage {
        name: image_name,
        platform: None,
        here: Some(image.clone()),
        fetch: None::<(Fetch, Cause)>,
    };
    let desired = Desired {
        project: project.clone(),
        images: BTreeMap::from([(one.name.clone(), wanted)]),
        hashes: BTreeMap::from([(one.name.clone(), hash)]),
        facts,
        unread: faults,
    };
    let slug = steps::new_id()?;
    let slug = slug.short().to_owned();
    let mark = project.separator;
    let made = || format!("{}{mark}{}{mark}run{mark}{slug}", project.name, one.name);
    let name = options.name.clone().unwrap_or_else(made);
    let peer =
        |service: &str| -> Option<Peer> { steps::peer_of_engine(context, &desired, service) };
    let replica = Replica {
        number: 1,
        id: steps::new_id()?,
        name: name.clone(),
        image: &image,
        mount_images: &mounts,
        anonymous: &BTreeMap::new(),
        peer: &peer,
        slug: Some(slug),
    };
    let (mut spec, warnings) = steps::make(context, &desired, one, &replica)?;
    provide::give(context, project, one, &before.given, &mut spec);
    // Nothing is told of it, as Compose: what it prints is what the user wants to see.
    context.engine.create_container(&spec)?;
    let given = Some(&desired.facts.given);
    secrets::supply(context, project, one, given, &spec.id)?;
    Ok((spec.id, name, warnings))
}
