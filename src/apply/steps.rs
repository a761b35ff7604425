//! Does one step of a plan: calls the engine, tells what happens.
//!
//! Imports: `base`, `engine`, `image`, `plan`, `images`, `wait`. The words of the events are Compose's.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use super::run::{Present, Run, tell};
use super::{ApplyError, Context, builds, images, provide, report, secrets, wait};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::event::{Event, Kind, Status};
use crate::base::name::{ContainerId, ServiceName};
use crate::base::scalar::Signal;
use crate::compose::model::{Project, Service};
use crate::engine::spec::{ContainerSpec, Mount, MountSource};
use crate::engine::{AnonymousVolumes, EngineError, Force, Until};
use crate::image::store::{Removal, StoreError};
use crate::plan::action::{Action, Old, Step, WaitFor, Who};
use crate::plan::cause::Cause;
use crate::plan::desired::{Desired, Peer, Replica, passing_name};
use crate::plan::settle;

type Done = Result<(), ApplyError>;

/// A new container id.
pub(super) fn new_id() -> Result<ContainerId, ApplyError> {
    let failed = |error| ApplyError::new(format!("cannot read /dev/urandom: {error}"));
    let mut source = std::fs::File::open("/dev/urandom").map_err(failed)?;
    loop {
        let mut bytes = [0; 32];
        source.read_exact(&mut bytes).map_err(failed)?;
        let id = crate::image::digest::Digest::from_bytes(bytes).hex();
        if is_hostname(&id) {
            return Ok(ContainerId::new(id));
        }
    }
}

/// Whether an id's beginning can be the name of a host: one of digits alone is taken for an address. As Docker.
fn is_hostname(id: &str) -> bool {
    id.bytes().take(12).any(|byte| !byte.is_ascii_digit())
}

/// What is told of a dependency that may fail. As Compose words it.
fn optional(who: &Who, error: &ApplyError) -> String {
    let (text, service) = (error.message(), who.service.as_str());
    let completed = format!("service \"{service}\" ");
    if let Some(rest) = text.strip_prefix(&completed) {
        return format!("optional dependency \"{service}\" {rest}");
    }
    let rest = text.strip_prefix("dependency failed to start: ");
    format!(
        "optional dependency \"{service}\" failed to start: {}",
        rest.unwrap_or(text)
    )
}

/// Why a container is replaced, as it is told once it is.
fn change(cause: &Cause) -> String {
    match cause {
        Cause::ImagePending => "image changed".to_owned(),
        cause => cause.to_string(),
    }
}

impl Run<'_> {
    /// Does one step.
    pub(super) fn step(&self, step: &Step) -> Done {
        if !step.only_if.is_empty() && !settle::needed(step, &self.image_ids()) {
            if let (Action::Start { .. } | Action::Roll(_), Some(who)) =
                (&step.action, step.action.who())
            {
                self.tell(Kind::Container, &who.name, Status::Done("Running"), None);
            }
            return Ok(());
        }
        match &step.action {
            Action::Pull {
                image,
                platform,
                tolerate,
            } => self.pull(image, platform.as_deref(), *tolerate),
            Action::Push { image, tolerate } => self.push(image, *tolerate),
            Action::Build {
                service,
                image,
                pull_first,
            } => self.build(service, image, *pull_first),
            Action::CreateNetwork(spec) => self.told(
                Kind::Network,
                &spec.name,
                ("Creating", "Created"),
                None,
                || Ok(self.context.engine.create_network(spec)?),
            ),
            Action::CreateVolume(spec) => self.told(
                Kind::Volume,
                &spec.name,
                ("Creating", "Created"),
                None,
                || Ok(self.context.engine.create_volume(spec)?),
            ),
            Action::RemoveNetwork { name } => self.release(Kind::Network, name, || {
                self.context.engine.remove_network(name)
            }),
            Action::RemoveVolume { name } => self.release(Kind::Volume, name, || {
                self.context.engine.remove_volume(name)
            }),
            Action::RemoveImage { image } => self.remove_image(image),
            Action::Provide { service, program } => self.provide(service, program),
            Action::Withdraw { service, program } => self.withdraw(service, program),
            Action::Models { program } => self.models(program),
            Action::Create { who, anonymous } => self.told(
                Kind::Container,
                &who.name,
                ("Creating", "Created"),
                None,
                || self.create(who, anonymous, None),
            ),
            Action::Replace {
                who,
                old,
                anonymous,
                timeout,
            } => {
                let detail = Some(change(&step.cause));
                self.told(
                    Kind::Container,
                    &who.name,
                    ("Recreate", "Recreated"),
                    detail,
                    || self.replace(who, old, anonymous, *timeout),
                )
            }
            Action::Rename { who } => {
                let id = self.id(who)?;
                Ok(self.context.engine.rename(&id, &who.name)?)
            }
            Action::Roll(roll) => self.roll(roll, &change(&step.cause)),
            Action::Conclude {
                service,
                total,
                policy,
                back,
            } => self.conclude(service, *total, policy, back),
            Action::PreStart { who, at } => self.pre_start(who, *at),
            Action::Hook { who, hook } => self.hook(who, hook),
            Action::Wait {
                who,
                until,
                required,
            } => self.wait(who, *until, *required),
            Action::Start { who }
            | Action::Stop { who, .. }
            | Action::Kill { who, .. }
            | Action::Freeze { who, .. }
            | Action::Remove { who, .. } => self.on_container(&step.action, who),
        }
    }

    fn on_container(&self, action: &Action, who: &Who) -> Done {
        let engine = &self.context.engine;
        let id = self.id(who)?;
        if let Action::Freeze { frozen, .. } = action {
            // As Compose: it takes no time that would be worth a word before.
            engine.pause(&id, *frozen)?;
            let done = Status::Done(if *frozen { "Paused" } else { "Unpaused" });
            self.tell(Kind::Container, &who.name, done, None);
            return Ok(());
        }
        let words = match action {
            Action::Start { .. } => ("Starting", "Started"),
            Action::Stop { .. } => ("Stopping", "Stopped"),
            Action::Kill { .. } => ("Killing", "Killed"),
            _ => ("Removing", "Removed"),
        };
        self.told(Kind::Container, &who.name, words, None, || match action {
            Action::Start { .. } => {
                self.supply(&who.service, &id)?;
                engine
                    .start(&id)
                    .map_err(|error| self.not_started(who, &id, error))
            }
            Action::Stop { timeout, .. } => {
                Ok(self.stop((&who.service, &who.name), &id, *timeout)?)
            }
            Action::Kill { signal, .. } => {
                engine.kill(&id, *signal)?;
                if *signal == Signal::KILL {
                    // As Docker: nobody can be told that it has ended before it has.
                    engine.wait(&id, Until::Exited, &self.context.cancel)?;
                }
                Ok(())
            }
            Action::Remove { volumes, .. } => {
                let volumes = if *volumes {
                    AnonymousVolumes::Remove
                } else {
                    AnonymousVolumes::Keep
                };
                // A restart policy may have started it again meanwhile: it goes all the same.
                engine.remove(&id, Force::Yes, volumes)?;
                self.forget(who, &id);
                Ok(())
            }
            _ => Ok(()),
        })
    }

    fn tell(&self, kind: Kind, name: &str, status: Status, detail: Option<String>) {
        tell(self.context, kind, name, status, detail);
    }

    /// Tells the beginning and the end of some work.
    fn told(
        &self,
        kind: Kind,
        name: &str,
        (begins, ends): (&'static str, &'static str),
        detail: Option<String>,
        work: impl FnOnce() -> Done,
    ) -> Done {
        self.tell(kind, name, Status::Working(begins), detail.clone());
        let result = work();
        match &result {
            Ok(()) => self.tell(kind, name, Status::Done(ends), detail),
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.tell(kind, name, Status::Failed(error.short()), None),
        }
        result
    }

    /// Why a container did not start, with what is known of it.
    fn not_started(&self, who: &Who, id: &ContainerId, error: EngineError) -> ApplyError {
        let project = self.plan.desired.as_ref().map(|desired| &desired.project);
        let error = match (error, project) {
            (error @ EngineError::VolumeUnavailable { .. }, Some(project)) => {
                placed(error, project)
            }
            (error, _) => ApplyError::new(format!("container {}: {error}", who.name)),
        };
        report::of_failure(self.context, who, id, None, error)
    }

    pub(super) fn id(&self, who: &Who) -> Result<ContainerId, ApplyError> {
        let id = who.id.clone().or_else(|| self.find(who)?.id);
        id.ok_or_else(|| ApplyError::new(format!("container {} is not there", who.name)))
    }

    fn pull(&self, image: &str, platform: Option<&str>, tolerate: bool) -> Done {
        self.tell(Kind::Image, image, Status::Working("Pulling"), None);
        match images::pull(self.context, self.plan, image, platform) {
            Ok(facts) => {
                self.pulled(image, platform, &facts);
                self.tell(Kind::Image, image, Status::Done("Pulled"), None);
                Ok(())
            }
            Err(error) if tolerate => {
                self.tell(Kind::Image, image, Status::Warning(error.to_string()), None);
                Ok(())
            }
            Err(error) => {
                self.tell(Kind::Image, image, Status::Failed(error.to_string()), None);
                let built = self.builder_of(image).filter(|_| !error.is_cancelled());
                Err(match built {
                    Some(service) => error.hint(format!("build it: hoist build {service}")),
                    None => error,
                })
            }
        }
    }

    /// A service that builds an image of this name.
    fn builder_of(&self, image: &str) -> Option<&crate::base::name::ServiceName> {
        let services = self.plan.desired.as_ref()?.project.services.values();
        let mut builds = services.filter(|service| service.build.is_some());
        let named = builds.find(|s| s.image.as_ref().is_some_and(|own| own.value == image))?;
        Some(&named.name)
    }

    fn build(&self, name: &crate::base::name::ServiceName, image: &str, pull_first: bool) -> Done {
        if pull_first {
            self.tell(Kind::Image, image, Status::Working("Pulling"), None);
            let platform = self
                .desired()?
                .images
                .get(name)
                .and_then(|image| image.platform.clone());
            match images::pull(self.context, self.plan, image, platform.as_deref()) {
                Ok(facts) => {
                    self.built(name, &facts);
                    self.tell(Kind::Image, image, Status::Done("Pulled"), None);
                    return Ok(());
                }
                Err(error) => {
                    let text = format!("{error}; it is built instead");
                    self.tell(Kind::Image, image, Status::Warning(text), None);
                }
            }
        }
        self.told(Kind::Image, image, ("Building", "Built"), None, || {
            let facts = builds::build_service(self.context, self.plan, name)?;
            self.built(name, &facts);
            Ok(())
        })
    }

    pub(super) fn desired(&self) -> Result<&Desired, ApplyError> {
        self.plan
            .desired
            .as_deref()
            .ok_or_else(|| ApplyError::new("the plan wants no container"))
    }

    pub(super) fn service<'d>(
        &self,
        desired: &'d Desired,
        name: &crate::base::name::ServiceName,
    ) -> Result<&'d Service, ApplyError> {
        let missing = || ApplyError::new(format!("no such service: {name}"));
        desired.project.services.get(name).ok_or_else(missing)
    }

    /// A network or volume that others use stays, with a warning. As Compose.
    fn release(
        &self,
        kind: Kind,
        name: &str,
        remove: impl FnOnce() -> Result<(), EngineError>,
    ) -> Done {
        self.tell(kind, name, Status::Working("Removing"), None);
        match remove() {
            Ok(()) => {
                self.tell(kind, name, Status::Done("Removed"), None);
                Ok(())
            }
            Err(EngineError::InUse { users, .. }) => {
                let text = format!("Resource is still in use by {}", users.join(", "));
                self.tell(kind, name, Status::Warning(text), None);
                Ok(())
            }
            Err(error) => {
                self.tell(kind, name, Status::Failed(error.to_string()), None);
                Err(error.into())
            }
        }
    }

    fn remove_image(&self, image: &str) -> Done {
        self.tell(Kind::Image, image, Status::Working("Removing"), None);
        let cache = self.context.roots.data.join("cache");
        let how = Removal {
            force: false,
            needs: &|| super::needs::needs(&*self.context.engine, Some(&cache)),
        };
        match self.context.store.remove(image, &how) {
            Ok(_) => self.tell(Kind::Image, image, Status::Done("Removed"), None),
            Err(StoreError::NotFound(_)) => {
                self.tell(
                    Kind::Image,
                    image,
                    Status::Warning("No such image".into()),
                    None,
                );
            }
            Err(StoreError::Conflict { .. }) => {
                let text = "Resource is still in use".to_owned();
                self.tell(Kind::Image, image, Status::Warning(text), None);
            }
            Err(error) => {
                self.tell(Kind::Image, image, Status::Failed(error.to_string()), None);
                return Err(ApplyError::new(error.to_string()));
            }
        }
        Ok(())
    }

    /// Makes a container; `passing` is a name it has until it takes its own.
    pub(super) fn create(
        &self,
        who: &Who,
        anonymous: &BTreeMap<String, String>,
        passing: Option<String>,
    ) -> Done {
        let desired = self.desired()?;
        let service = self.service(desired, &who.service)?;
        let image = self.image(&who.service);
        let image = image.ok_or_else(|| {
            ApplyError::new(format!(
                "the image of service `{}` is not here",
                who.service
            ))
        })?;
        let peer = |name: &str| self.peer(desired, name);
        let replica = Replica {
            number: who.number,
            id: new_id()?,
            name: who.name.clone(),
            image: &image,
            mount_images: &self.mount_images(),
            anonymous,
            peer: &peer,
            slug: None,
        };
        let (mut spec, _) = make(self.context, desired, service, &replica)?;
        provide::give(
            self.context,
            &desired.project,
            service,
            &self.given(),
            &mut spec,
        );
        let name = passing.unwrap_or_else(|| who.name.clone());
        spec.name = name.clone();
        let made = self.context.engine.create_container(&spec);
        made.map_err(|error| placed(error, &desired.project))?;
        self.supply(&who.service, &spec.id)?;
        let anonymous = Some(anonymous_of(&spec));
        self.note(
            who,
            Present {
                id: Some(spec.id),
                name,
                anonymous,
            },
        );
        Ok(())
    }

    /// Has the engine hold the configs and secrets of a service's container that live in memory only.
    pub(super) fn supply(&self, service: &ServiceName, id: &ContainerId) -> Done {
        let (project, known) = match (&self.plan.desired, &self.plan.files) {
            (Some(desired), _) => (&desired.project, Some(&desired.facts.given)),
            (None, Some(project)) => (project.as_ref(), None),
            (None, None) => return Ok(()),
        };
        match project.services.get(service) {
            Some(service) => secrets::supply(self.context, project, service, known, id),
            None => Ok(()),
        }
    }

    /// As Compose: the new one first, so that a fault in it leaves the old one running.
    fn replace(
        &self,
        who: &Who,
        old: &Old,
        anonymous: &BTreeMap<String, String>,
        timeout: Option<Duration>,
    ) -> Done {
        let engine = &self.context.engine;
        let passing = passing_name(&old.id, &who.name);
        self.create(who, anonymous, Some(passing))?;
        self.stop((&who.service, &who.name), &old.id, timeout)?;
        engine.remove(&old.id, Force::Yes, AnonymousVolumes::Keep)?;
        let id = self.id(who)?;
        engine.rename(&id, &who.name)?;
        if let Some(there) = self.find(who) {
            self.note(
                who,
                Present {
                    name: who.name.clone(),
                    ..there
                },
            );
        }
        Ok(())
    }

    /// The first container of another service, wherever it comes from.
    pub(super) fn peer(&self, desired: &Desired, service: &str) -> Option<Peer> {
        if let Some(Present {
            id: Some(id),
            anonymous,
            ..
        }) = self.first(service)
        {
            let from_engine = || {
                let found = self.context.engine.container(&id).ok();
                found
                    .map(|found| found.anonymous.into_iter().collect())
                    .unwrap_or_default()
            };
            let anonymous = anonymous.unwrap_or_else(from_engine);
            return Some(Peer {
                id: Some(id),
                anonymous,
            });
        }
        peer_of_engine(self.context, desired, service)
    }

    fn wait(&self, who: &Who, until: WaitFor, required: bool) -> Done {
        let id = self.id(who)?;
        self.tell(Kind::Container, &who.name, Status::Working("Waiting"), None);
        match wait::wait(self.context, who, &id, until, &self.waits) {
            Ok(word) => {
                self.tell(Kind::Container, &who.name, Status::Done(word), None);
                Ok(())
            }
            Err(error) if error.is_cancelled() && self.is_expired() => {
                let text = format!("container {} is not healthy yet", who.name);
                let late = ApplyError::new(text);
                Err(report::of_failure(self.context, who, &id, None, late).ending(true))
            }
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) if !required => {
                self.tell(
                    Kind::Container,
                    &who.name,
                    Status::Warning(error.to_string()),
                    None,
                );
                self.context.events.send(Event::Warn(optional(who, &error)));
                Ok(())
            }
            Err(error) => {
                self.tell(
                    Kind::Container,
                    &who.name,
                    Status::Failed(error.to_string()),
                    None,
                );
                Err(error)
            }
        }
    }
}

/// The first container of a service that no step of the plan is about.
pub(super) fn peer_of_engine(context: &Context, desired: &Desired, service: &str) -> Option<Peer> {
    let observed = context.engine.observe(&desired.project.name).ok()?;
    let ours = |c: &&crate::engine::state::ObservedContainer| {
        !crate::plan::labels::is_oneoff(c)
            && crate::plan::labels::service(c).is_some_and(|name| name.as_str() == service)
    };
    let found = observed
        .containers
        .iter()
        .filter(ours)
        .min_by_key(|c| crate::plan::labels::number(c))?;
    Some(Peer {
        id: Some(found.id.clone()),
        anonymous: found.anonymous.iter().cloned().collect(),
    })
}

/// One spec, and what the user should know; its faults are the error.
pub(super) fn make(
    context: &Context,
    desired: &Desired,
    service: &Service,
    replica: &Replica<'_>,
) -> Result<(ContainerSpec, Vec<String>), ApplyError> {
    let mut found = Diagnostics::default();
    let mut spec = desired.container_spec(service, replica, &mut found);
    if found.has_errors() {
        return Err(ApplyError::faults(found, &desired.project.sources));
    }
    trust_host(context, service, &mut spec)?;
    let sources = &desired.project.sources;
    let warnings = found.iter().map(|warning| warning.headline(sources));
    Ok((spec, warnings.collect()))
}

/// An error with the place in the file that it is about, as far as that is known.
fn placed(error: EngineError, project: &Project) -> ApplyError {
    let EngineError::VolumeUnavailable { name, .. } = &error else {
        return error.into();
    };
    let Some(volume) = project.volumes.values().find(|volume| volume.name == *name) else {
        return error.into();
    };
    let place = volume.places.get("device").copied().or(volume.span);
    let fault = Diagnostic::error(error.to_string()).at(place);
    ApplyError::faults(fault.into(), &project.sources)
}

/// Shows a container the host's CA bundle where its service asks for it.
pub(super) fn trust_host(
    context: &Context,
    service: &Service,
    spec: &mut ContainerSpec,
) -> Result<(), ApplyError> {
    if service.trust_host_ca {
        trust(spec, super::images::host_ca(context, service)?);
    }
    Ok(())
}

/// Shows a container the host's CA bundle; variables that it sets itself stay as they are.
fn trust(spec: &mut ContainerSpec, bundle: PathBuf) {
    use crate::base::authorities::{PATH, VARIABLES};
    let source = MountSource::Bind {
        path: bundle,
        create: false,
        propagation: None,
        recursive: false,
        writable_below: false,
        idmap: None,
    };
    spec.mounts.push(Mount {
        target: PATH.to_owned(),
        source,
        read_only: true,
    });
    for name in VARIABLES {
        let set = |entry: &String| {
            entry
                .split_once('=')
                .is_some_and(|(known, _)| known == name)
        };
        if !spec.process.env.iter().any(set) {
            spec.process.env.push(format!("{name}={PATH}"));
        }
    }
}

/// Anonymous volumes of a spec: target → volume.
pub(super) fn anonymous_of(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let one = |mount: &crate::engine::spec::Mount| match &mount.source {
        MountSource::Volume {
            name,
            anonymous: true,
            ..
        } => Some((mount.target.clone(), name.clone())),
        _ => None,
    };
    spec.mounts.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::is_hostname;

    #[test]
    fn an_id_of_digits_alone_names_no_host() {
        assert!(!is_hostname("993304559544abc"));
        assert!(is_hostname("99330455954f000"));
    }
}
