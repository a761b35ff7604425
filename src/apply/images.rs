//! Gets images: from the store, from a registry, from a build.
//!
//! In: names and services. Out: [`ImageFacts`]. Imports: `base`, `compose::model`, `build`, `image`, `plan`.
//! Rules: which image is got in which way is decided in `plan::images`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::secrets::{self, Answer};
use super::{ApplyError, Context};
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventSink, Silent};
use crate::base::name::ServiceName;
use crate::build::{
    BuildRequest, Builder, ContextSource, DockerfileSource, NamedContext, SecretSource, build,
};
use crate::compose::model::{BuildSpec, ContextRef, FileSource, Project, Service};
use crate::engine::sandbox::SandboxNetwork;
use crate::image::digest::Digest;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::registry::{PullError, PullOptions, pull as pull_image};
use crate::image::store::Image;
use crate::plan::Plan;
use crate::plan::desired::files::content_name;
use crate::plan::desired::host_address;
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
        return Ok(context.store.find(name).ok().as_ref().map(ImageFacts::from));
    }
    let reference = Reference::parse(name).map_err(|error| failed(&error))?;
    let found = context
        .store
        .resolve(&reference)
        .map_err(|error| failed(&error))?;
    Ok(found.as_ref().map(ImageFacts::from))
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

/// Pulls an image.
pub(super) fn pull(
    context: &Context,
    plan: &Plan,
    image: &str,
    platform: Option<&str>,
) -> Result<ImageFacts, ApplyError> {
    let reference = Reference::parse(image).map_err(|error| ApplyError::new(error.to_string()))?;
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

/// Leaves out what steps of a build print.
struct Quiet<'a>(&'a dyn EventSink);

impl EventSink for Quiet<'_> {
    fn send(&self, event: Event) {
        if !matches!(event, Event::Build { .. }) {
            self.0.send(event);
        }
    }
}

/// Builds a service's image; `built` are images of this run that it may take as contexts.
pub(super) fn build_service(
    context: &Context,
    plan: &Plan,
    service: &Service,
    built: &BTreeMap<ServiceName, String>,
) -> Result<ImageFacts, ApplyError> {
    let Some(desired) = &plan.desired else {
        return Err(ApplyError::new("nothing is wanted"));
    };
    let Some(spec) = &service.build else {
        return Err(ApplyError::new(format!(
            "service `{}` has no build",
            service.name
        )));
    };
    let request = request(context, plan, &desired.project, (service, spec), built)?;
    let pull = |reference: &Reference| -> Result<Image, PullError> {
        let options = PullOptions {
            platform: request.platform.clone(),
            env: context.env.clone(),
            cancel: context.cancel.clone(),
            ..PullOptions::default()
        };
        let events: &dyn EventSink = if plan.quiet_pull {
            &Silent
        } else {
            &*context.events
        };
        pull_image(&context.store, reference, &options, events)
    };
    let quiet = Quiet(&*context.events);
    let builder = Builder {
        store: &context.store,
        sandbox: &*context.sandbox,
        events: if plan.quiet_build {
            &quiet
        } else {
            &*context.events
        },
        cancel: &context.cancel,
        pull: &pull,
        cache_dir: context.roots.data.join("cache"),
        slots: &context.slots,
    };
    match build(&request, &builder) {
        Ok(image) => Ok(ImageFacts::from(&image)),
        Err(error) => Err(error.into()),
    }
}

fn request(
    context: &Context,
    plan: &Plan,
    project: &Project,
    (service, spec): (&Service, &BuildSpec),
    built: &BTreeMap<ServiceName, String>,
) -> Result<BuildRequest, ApplyError> {
    let fault = |text: String, span| {
        let found = crate::base::diag::Diagnostic::error(text).at(span);
        ApplyError::faults(found.into(), &project.sources)
    };
    let dir = match spec.context.as_ref() {
        None => None,
        Some(at) => match &at.value {
            ContextRef::Dir(path) => Some(path.clone()),
            other => {
                let text = format!(
                    "build context {other:?} of `{}` is not available",
                    service.name
                );
                return Err(fault(text, at.span.or(spec.span)));
            }
        },
    };
    let dockerfile = match &spec.dockerfile_inline {
        Some(text) => DockerfileSource::Inline(text.value.clone()),
        None => {
            let name = spec
                .dockerfile
                .as_ref()
                .map_or("Dockerfile", |name| name.value.as_str());
            let base = dir.clone().unwrap_or_else(|| project.dir.clone());
            DockerfileSource::Path(base.join(name))
        }
    };
    let network = match spec
        .network
        .as_ref()
        .map(|network| (network.value.as_str(), network.span))
    {
        None | Some(("" | "default", _)) => SandboxNetwork::Default,
        Some(("none", _)) => SandboxNetwork::None,
        Some(("host", _)) => SandboxNetwork::Host,
        Some((other, span)) => {
            let text = format!("build network `{other}`: expected default, none or host");
            return Err(fault(text, span));
        }
    };
    let mut tags = Vec::new();
    let image = plan
        .desired
        .as_ref()
        .and_then(|d| d.images.get(&service.name))
        .map(|i| i.name.clone());
    let target_name = image.clone().unwrap_or_else(|| service.name.to_string());
    let more = spec.tags.iter().map(|tag| (tag.value.clone(), tag.span));
    for (name, span) in image
        .map(|name| (name, service.span))
        .into_iter()
        .chain(more)
    {
        tags.push(Reference::parse(&name).map_err(|error| fault(error.to_string(), span))?);
    }
    let mut args: Vec<(String, Option<String>)> = spec
        .args
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for (name, value) in &plan.tweaks.args {
        args.retain(|(have, _)| have != name);
        args.push((name.clone(), value.clone()));
    }
    let mut extra_hosts = Vec::new();
    for (name, address) in &spec.extra_hosts {
        let Some(address) = host_address(address) else {
            return Err(fault(
                format!("extra_hosts: `{address}` is not an address"),
                spec.span,
            ));
        };
        extra_hosts.push((name.clone(), address));
    }
    let platform = spec
        .platforms
        .first()
        .or(service.platform.as_ref())
        .map(|p| p.value.clone());
    Ok(BuildRequest {
        target_name,
        context: dir.map_or(ContextSource::Empty, ContextSource::Dir),
        dockerfile,
        target: spec.target.as_ref().map(|target| target.value.clone()),
        args,
        labels: spec.labels.clone(),
        tags,
        secrets: secrets(context, project, spec, &fault)?,
        no_cache: spec.no_cache || plan.tweaks.no_cache,
        pull: spec.pull || plan.tweaks.pull,
        network,
        extra_hosts,
        shm_size: spec.shm_size.map(|size| size.0),
        platform,
        named_contexts: contexts(context, project, spec, built, &fault)?,
        trust_host_ca: match context.trust_host_ca || spec.trust_host_ca {
            true => Some(host_ca(context, service)?),
            false => None,
        },
        env: context.env.clone(),
        ..BuildRequest::default()
    })
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

type Fault<'a> = &'a dyn Fn(String, Option<crate::base::span::Span>) -> ApplyError;

fn secrets(
    context: &Context,
    project: &Project,
    spec: &BuildSpec,
    fault: Fault<'_>,
) -> Result<BTreeMap<String, SecretSource>, ApplyError> {
    let mut all = BTreeMap::new();
    for secret in &spec.secrets {
        let Some(object) = project.secrets.get(&secret.source) else {
            return Err(fault(
                format!("undefined secret `{}`", secret.source),
                spec.span,
            ));
        };
        let source = match &object.source {
            FileSource::File(path) => SecretSource::File(path.clone()),
            FileSource::Content(text) | FileSource::Environment(_, Some(text)) => {
                SecretSource::Bytes(text.clone().into_bytes())
            }
            FileSource::Command(_) => {
                let name = content_name("secret", &object.key);
                match secrets::content(context, project, (&name, "secret", object), true)? {
                    Answer::Content(content) => SecretSource::Bytes(content.bytes().to_vec()),
                    Answer::Untold | Answer::None => continue,
                }
            }
            FileSource::Environment(name, None) => {
                let text = format!(
                    "environment variable `{name}` required by secret `{}` is not set",
                    object.key
                );
                return Err(fault(text, object.span));
            }
            FileSource::External => {
                return Err(fault(
                    format!("external secret `{}` is not available", object.key),
                    object.span,
                ));
            }
        };
        all.insert(secret.id.clone(), source);
    }
    Ok(all)
}

fn contexts(
    context: &Context,
    project: &Project,
    spec: &BuildSpec,
    built: &BTreeMap<ServiceName, String>,
    fault: Fault<'_>,
) -> Result<BTreeMap<String, NamedContext>, ApplyError> {
    let mut all = BTreeMap::new();
    for (name, value) in &spec.additional_contexts {
        let parsed =
            |text: &str| Reference::parse(text).map_err(|e| fault(e.to_string(), value.span));
        let found = match &value.value {
            ContextRef::Dir(path) => NamedContext::Dir(path.clone()),
            ContextRef::Image(image) => NamedContext::Image(parsed(image)?),
            ContextRef::Remote(text) => {
                return Err(fault(
                    format!("build context `{text}` is not available"),
                    value.span,
                ));
            }
            ContextRef::Service(service) => {
                let other = project.services.get(service);
                let image = built.get(service).cloned().or_else(|| {
                    other.map(|other| crate::plan::images::image_name(&project.name, other))
                });
                let found = match &image {
                    Some(image) => context.store.resolve(&parsed(image)?).ok().flatten(),
                    None => None,
                };
                let missing = || fault(format!("service `{service}` has no image yet"), value.span);
                NamedContext::Built(found.ok_or_else(missing)?)
            }
        };
        all.insert(name.clone(), found);
    }
    Ok(all)
}
