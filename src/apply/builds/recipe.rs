//! What one service's `build` asks of the builder.
//!
//! In: a service and what the command line asks besides. Out: a [`BuildRequest`]; everything that is wrong with the keys
//! of `build`, each with its place. It looks whether files are there, and opens none but those of secrets.
//! Imports: `base`, `compose::model`, `build`, `image`, `plan`. Rules: Compose Build Specification.

use std::path::{Path, PathBuf};

use super::super::images::host_ca;
use super::super::secrets::{self, Answer};
use super::super::{ApplyError, Context};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::KeyPath;
use crate::base::span::Span;
use crate::build::cache::spec::{CacheFrom, CacheTo};
use crate::build::grants::{Entitlements, SshSource};
use crate::build::output::{Kept, Output};
use crate::build::{BuildRequest, ContextSource, DockerfileSource, NamedContext, SecretSource};
use crate::compose::model::{
    Attestation, BuildSecret, BuildSpec, ContextRef, FileSource, Project, Service,
};
use crate::engine::sandbox::SandboxNetwork;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::plan::BuildTweaks;
use crate::plan::builds::{BuildNeed, Role};
use crate::plan::desired::files::content_name;
use crate::plan::desired::host_address;
use crate::plan::labels;

/// Caches that only their own service has.
const CI_CACHES: [&str; 3] = ["type=gha", "type=s3", "type=azblob"];

/// A request in the making, and what is wrong with it.
pub(super) struct Recipe<'a> {
    context: &'a Context,
    project: &'a Project,
    service: &'a Service,
    spec: &'a BuildSpec,
    tweaks: &'a BuildTweaks,
    /// What was found wrong so far.
    pub(super) found: Diagnostics,
}

/// Whether the instructions of a request can be read here and now.
pub(super) fn has_local_dockerfile(request: &BuildRequest) -> bool {
    match (&request.dockerfile, &request.context) {
        (DockerfileSource::Inline(_), _) => true,
        (DockerfileSource::Path(path), _) => path.is_absolute(),
        (DockerfileSource::InContext(_), _) => false,
    }
}

/// Whether the context is a directory that is not there, so that nothing of it can be read either.
pub(super) fn misses_context(request: &BuildRequest) -> bool {
    matches!(&request.context, ContextSource::Dir(dir) if !dir.is_dir())
}

impl<'a> Recipe<'a> {
    pub(super) fn new(
        context: &'a Context,
        project: &'a Project,
        (service, spec): (&'a Service, &'a BuildSpec),
        tweaks: &'a BuildTweaks,
    ) -> Self {
        Self {
            context,
            project,
            service,
            spec,
            tweaks,
            found: Diagnostics::default(),
        }
    }

    /// Where the compose file says which Dockerfile is meant.
    pub(super) fn dockerfile_place(&self) -> Option<Span> {
        let spec = self.spec;
        let named = spec.dockerfile.as_ref().or(spec.dockerfile_inline.as_ref());
        let named = named.and_then(|text| text.span);
        named
            .or_else(|| spec.context.as_ref().and_then(|context| context.span))
            .or(spec.span)
            .or(self.service.span)
    }

    fn tell(&mut self, key: &str, at: Option<Span>, item: Diagnostic) {
        let path = KeyPath::root()
            .key("services")
            .key(self.service.name.as_str());
        let path = path.key("build").key(key);
        let at = at.or(self.spec.span).or(self.service.span);
        self.found.push(item.at(at).path(&path));
    }

    fn fault(&mut self, key: &str, at: Option<Span>, text: impl Into<String>) {
        self.tell(key, at, Diagnostic::error(text));
    }

    /// The whole request. Images that it takes of other services are in the store by now.
    ///
    /// # Errors
    /// Whatever is wrong with the keys; a secret that can't be read.
    pub(super) fn request(mut self, needs: &[BuildNeed]) -> Result<BuildRequest, ApplyError> {
        let mut request = self.outline();
        self.take_images(needs, &mut request);
        for secret in &self.spec.secrets {
            if let Some(source) = self.secret(secret)? {
                request.secrets.insert(secret.id.clone(), source);
            }
        }
        if self.context.trust_host_ca || self.spec.trust_host_ca {
            request.trust_host_ca = Some(host_ca(self.context, self.service)?);
        }
        if self.found.has_errors() {
            return Err(ApplyError::faults(self.found, &self.project.sources));
        }
        Ok(request)
    }

    /// The request without what only the build itself needs: secrets, and images of other services, whose contexts are
    /// empty directories here.
    pub(super) fn outline(&mut self) -> BuildRequest {
        let (spec, tweaks) = (self.spec, self.tweaks);
        let image = self.project.image_of(self.service);
        let mut request = BuildRequest {
            target_name: image.clone(),
            target: spec.target.as_ref().map(|target| target.value.clone()),
            args: self.args(),
            labels: self.labels(),
            no_cache: spec.no_cache || tweaks.no_cache,
            no_cache_filter: spec.no_cache_filter.clone(),
            pull: spec.pull || tweaks.pull,
            shm_size: spec.shm_size.map(|size| size.0),
            ulimits: spec
                .ulimits
                .iter()
                .map(|(k, v)| (k.clone(), limits(*v)))
                .collect(),
            env: self.context.env.clone(),
            proxies: self.context.proxies.clone(),
            device_dirs: self.context.device_dirs.clone(),
            pins: self.context.pins.as_ref().map(|pins| pins.digests()),
            ..BuildRequest::default()
        };
        request.limits.memory = tweaks.memory;
        self.contexts(&mut request);
        self.tags(&image, &mut request);
        self.network(&mut request);
        self.hosts(&mut request);
        self.platform(&mut request);
        self.grants(&mut request);
        self.ssh(&mut request);
        self.caches(&mut request);
        self.secret_files();
        self.attestations(&mut request);
        request
    }

    fn args(&self) -> Vec<(String, Option<String>)> {
        let own = self.spec.args.iter();
        let mut args: Vec<_> = own
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in &self.tweaks.args {
            args.retain(|(have, _)| have != name);
            args.push((name.clone(), value.clone()));
        }
        args
    }

    /// The service's labels, and those that Compose gives to what it builds.
    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        let mut all = self.spec.labels.clone();
        all.extend(labels::of_build(&self.project.name, &self.service.name));
        all
    }

    fn contexts(&mut self, request: &mut BuildRequest) {
        let spec = self.spec;
        let mut dir = None;
        if let Some(context) = &spec.context {
            let at = context.span;
            match &context.value {
                ContextRef::Dir(path) => {
                    self.check_dir("context", path, at);
                    request.context = ContextSource::Dir(path.clone());
                    dir = Some(path.clone());
                }
                ContextRef::Remote(text) => {
                    match ContextSource::parse(text, &self.project.dir) {
                        Ok(context) => request.context = context,
                        Err(why) => self.fault("context", at, format!("the build context: {why}")),
                    }
                    let at = at.or(spec.span);
                    request.context_place = at.map(|at| (at, self.project.sources.clone()));
                }
                ContextRef::Image(_) | ContextRef::Service(_) => {
                    let text = "an image is no build context; name it under `additional_contexts`";
                    self.fault("context", at, text);
                }
            }
        }
        request.dockerfile = match &spec.dockerfile_inline {
            Some(text) => DockerfileSource::Inline(text.value.clone()),
            None => {
                let name = spec.dockerfile.as_ref();
                let name = name.map_or("Dockerfile", |name| name.value.as_str());
                let base = dir.unwrap_or_else(|| self.project.dir.clone());
                match &request.context {
                    ContextSource::Remote(_) => DockerfileSource::InContext(name.to_owned()),
                    _ => DockerfileSource::Path(base.join(name)),
                }
            }
        };
        for (name, value) in &spec.additional_contexts {
            let source = match &value.value {
                ContextRef::Dir(path) => {
                    self.check_dir("additional_contexts", path, value.span);
                    Some(NamedContext::Dir(path.clone()))
                }
                ContextRef::Service(_) => Some(NamedContext::Dir(PathBuf::new())),
                ContextRef::Image(image) => {
                    let image = Reference::parse(image);
                    let image = image.map_err(|error| {
                        self.fault("additional_contexts", value.span, error.to_string());
                    });
                    image.ok().map(NamedContext::Image)
                }
                ContextRef::Remote(text) => {
                    let parsed = NamedContext::parse(text, &self.project.dir);
                    let parsed = parsed.map_err(|why| {
                        let text = format!("the context `{name}`: {why}");
                        self.fault("additional_contexts", value.span, text);
                    });
                    parsed.ok()
                }
            };
            request
                .named_contexts
                .extend(source.map(|source| (name.clone(), source)));
        }
    }

    fn check_dir(&mut self, key: &str, path: &Path, at: Option<Span>) {
        let what = match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => return,
            Ok(_) => "is no directory".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "does not exist".to_owned()
            }
            Err(error) => format!("can't be used: {error}"),
        };
        let text = format!("the build context {} {what}", path.display());
        let item = Diagnostic::error(text)
            .hint("it is looked for below the directory of the compose file");
        self.tell(key, at, item);
    }

    /// As Compose, the service's own name comes last and counts first.
    fn tags(&mut self, image: &str, request: &mut BuildRequest) {
        let own = self.service.image.as_ref().and_then(|image| image.span);
        let more = self
            .spec
            .tags
            .iter()
            .map(|tag| (tag.value.as_str(), tag.span));
        for (name, at) in std::iter::once((image, own)).chain(more) {
            match Reference::parse(name) {
                Ok(name) => request.tags.push(name),
                Err(error) => self.fault("tags", at, error.to_string()),
            }
        }
    }

    fn network(&mut self, request: &mut BuildRequest) {
        let Some(network) = &self.spec.network else {
            return;
        };
        request.network = match network.value.as_str() {
            "" | "default" => SandboxNetwork::Default,
            "none" => SandboxNetwork::None,
            "host" => SandboxNetwork::Host,
            other => {
                let text = format!("build network `{other}`: expected default, none or host");
                return self.fault("network", network.span, text);
            }
        };
    }

    fn hosts(&mut self, request: &mut BuildRequest) {
        for (name, address) in &self.spec.extra_hosts {
            match host_address(address) {
                Some(address) => request.extra_hosts.push((name.clone(), address)),
                None => {
                    let text = format!("extra_hosts: `{address}` of `{name}` is not an address");
                    self.fault("extra_hosts", None, text);
                }
            }
        }
    }

    /// All platforms that are built. The image that the service runs with comes first: the one of the service's platform,
    /// the one the user prefers, this machine's, the first.
    fn platform(&mut self, request: &mut BuildRequest) {
        let spec = self.spec;
        for platform in &spec.platforms {
            if Platform::parse(&platform.value).is_err() {
                let item = Diagnostic::error(format!("`{}` is no platform", platform.value))
                    .hint("write it like linux/amd64 or linux/arm/v7");
                self.tell("platforms", platform.span, item);
            }
        }
        let preferred = self.context.env.non_empty("DOCKER_DEFAULT_PLATFORM");
        let host = Platform::host();
        let here = |text: &&str| Platform::parse(text).is_ok_and(|platform| platform == host);
        let listed = || {
            spec.platforms
                .iter()
                .map(|platform| platform.value.as_str())
        };
        let one = self
            .service
            .platform
            .as_ref()
            .map(|platform| platform.value.as_str());
        let one = one
            .or(preferred)
            .or_else(|| listed().find(here))
            .or_else(|| listed().next());
        request.platform = one.map(str::to_owned);
        // As Compose: what is started is built for one platform, what is only built for all.
        if self.tweaks.all_platforms {
            request.more_platforms = listed().map(str::to_owned).collect();
        }
    }

    fn grants(&mut self, request: &mut BuildRequest) {
        let mut given = Entitlements {
            insecure: self.spec.privileged,
            ..Entitlements::default()
        };
        for word in &self.spec.entitlements {
            if let Err(why) = given.allow(&word.value) {
                self.fault("entitlements", word.span, why);
            }
        }
        request.entitlements = given;
    }

    fn ssh(&mut self, request: &mut BuildRequest) {
        let own = self.spec.ssh.iter().map(|(id, path)| {
            let paths = path.value.iter().flat_map(|paths| paths.split(','));
            (
                id.clone(),
                paths.map(PathBuf::from).collect::<Vec<_>>(),
                path.span,
            )
        });
        let asked = self.tweaks.ssh.iter();
        let asked = asked.map(|(id, paths)| (id.clone(), paths.clone(), None));
        for (id, paths, at) in own.chain(asked) {
            let agent = paths.is_empty() || paths.iter().all(|path| path.as_os_str().is_empty());
            let paths: Vec<PathBuf> = match agent {
                true => Vec::new(),
                false => paths
                    .iter()
                    .map(|path| self.project.dir.join(path))
                    .collect(),
            };
            if agent && self.context.env.non_empty("SSH_AUTH_SOCK").is_none() {
                let text = format!("ssh `{id}`: there is no agent, as SSH_AUTH_SOCK is not set");
                let hint = format!("start one with ssh-agent, or name a key: {id}=FILE");
                self.tell("ssh", at, Diagnostic::error(text).hint(hint));
            }
            for path in paths.iter().filter(|path| !path.exists()) {
                let text = format!("ssh `{id}`: there is no file {}", path.display());
                self.fault("ssh", at, text);
            }
            request.ssh.insert(id, SshSource { paths });
        }
    }

    /// A cache that can't be read costs time and no more; as BuildKit, it is told and the build goes on.
    fn caches(&mut self, request: &mut BuildRequest) {
        let (spec, dir) = (self.spec, &self.project.dir);
        for text in &spec.cache_from {
            match CacheFrom::parse(&text.value, dir) {
                Ok(found) => request.cache_from.extend(found),
                Err(why) => self.tell("cache_from", text.span, Diagnostic::warning(why)),
            }
        }
        // Those of a CI system are nowhere else in use either, so that one file is right in both places.
        let of_ci = |text: &str| CI_CACHES.iter().any(|kind| text.contains(kind));
        for text in &spec.cache_to {
            match CacheTo::parse(&text.value, dir) {
                Ok(found) => request.cache_to.push(found),
                Err(why) if of_ci(&text.value) => {
                    self.tell("cache_to", text.span, Diagnostic::warning(why));
                }
                Err(why) => self.fault("cache_to", text.span, why),
            }
        }
    }

    /// Files of secrets that are not there; they are read by the step that asks for one.
    fn secret_files(&mut self) {
        for secret in &self.spec.secrets {
            let object = self.project.secrets.get(&secret.source);
            if let Some(object) = object
                && let FileSource::File(path) = &object.source
                && let Err(error) = std::fs::metadata(path)
            {
                let text = format!(
                    "secret `{}`: cannot read {}: {error}",
                    object.key,
                    path.display()
                );
                self.fault("secrets", object.span.or(secret.span), text);
            }
        }
    }

    fn secret(&mut self, secret: &BuildSecret) -> Result<Option<SecretSource>, ApplyError> {
        let Some(object) = self.project.secrets.get(&secret.source) else {
            let text = format!("the secret `{}` is not defined", secret.source);
            self.fault("secrets", secret.span, text);
            return Ok(None);
        };
        Ok(match &object.source {
            FileSource::File(path) => Some(SecretSource::File(path.clone())),
            FileSource::Content(text) | FileSource::Environment(_, Some(text)) => {
                Some(SecretSource::Bytes(text.clone().into_bytes()))
            }
            // As Compose: one of a variable that is not set is there and empty.
            FileSource::Environment(_, None) => Some(SecretSource::Bytes(Vec::new())),
            FileSource::Command(_) => {
                let name = content_name("secret", &object.key);
                let about = (name.as_str(), "secret", object);
                match secrets::content(self.context, self.project, about, true)? {
                    Answer::Content(content) => Some(SecretSource::Bytes(content.bytes().to_vec())),
                    Answer::Untold | Answer::None => None,
                }
            }
            FileSource::External => {
                let text = format!("the external secret `{}` is not available", object.key);
                self.fault("secrets", object.span.or(secret.span), text);
                None
            }
        })
    }

    /// What is attested about the image.
    fn attestations(&mut self, request: &mut BuildRequest) {
        let (spec, tweaks) = (self.spec, self.tweaks);
        for (key, said, tweak) in [
            ("provenance", &spec.provenance, &tweaks.provenance),
            ("sbom", &spec.sbom, &tweaks.sbom),
        ] {
            let own = said.as_ref().map(|said| match &said.value {
                Attestation::Off => "false",
                Attestation::On => "true",
                Attestation::With(text) => text.as_str(),
            });
            let Some(text) = tweak.as_deref().or(own) else {
                continue;
            };
            let read = match key {
                "sbom" => request.attest.sbom(text),
                _ => request.attest.provenance(text),
            };
            if let Err(why) = read {
                let span = said.as_ref().and_then(|said| said.span);
                self.tell(key, span, Diagnostic::error(why));
            }
        }
        // It goes along with what the builder itself pushes.
        if !request.attest.is_empty() && tweaks.push && self.service.image.is_some() {
            request.outputs = vec![Output::Image(Kept {
                push: true,
                ..Kept::default()
            })];
        }
    }

    /// Puts the images of other services where the build names them.
    fn take_images(&mut self, needs: &[BuildNeed], request: &mut BuildRequest) {
        for need in needs {
            let other = self.project.buildable(need.service.as_str());
            let name = other.map(|(other, _)| self.project.image_of(other));
            let name = match &need.role {
                Role::Image(name) => Some(name.clone()),
                Role::Context(_) => name,
            };
            let parsed = name.and_then(|name| Reference::parse(&name).ok());
            let image = parsed.and_then(|name| self.context.store.resolve(&name).ok().flatten());
            let (Role::Context(key) | Role::Image(key)) = &need.role;
            match image {
                Some(image) => {
                    request
                        .named_contexts
                        .insert(key.clone(), NamedContext::Built(image));
                }
                None => {
                    let text = format!("the image of service `{}` is not here", need.service);
                    self.fault("additional_contexts", need.place, text);
                }
            }
        }
    }
}

/// A limit and its hard bound; negative ones are none.
fn limits((soft, hard): (i64, i64)) -> (u64, u64) {
    let one = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    (one(soft), one(hard))
}
