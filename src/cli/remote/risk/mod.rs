//! What a project that comes from elsewhere asks for beyond its own files and containers.
//!
//! In: a [`Project`]. Out: a list to show, in the order of the services. It judges nothing: whoever runs the project
//! does. Values that a local file holds are its owner's own and are left out where their place is known.
//! Imports: `compose::model`. Rules: what of a compose file reaches the host: paths, devices, namespaces, rights,
//! ports, other projects' resources.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::base::span::Span;
use crate::compose::model::{
    CgroupSpec, ContextRef, FileSource, NetworkModeSpec, Project, Service, ShareSpec, VolumeMount,
    VolumeSource, VolumesFrom,
};

/// Names of sockets that give all rights over an engine.
const ENGINES: [&str; 4] = ["docker.sock", "podman.sock", "containerd.sock", "crio.sock"];

/// What a project asks for: `web: bind mount of /etc (writable)`.
pub(super) fn risks(project: &Project) -> Vec<String> {
    let mut list = List {
        project,
        items: Vec::new(),
    };
    for (name, service) in &project.services {
        list.service(name.as_str(), service);
    }
    list.resources();
    list.items
}

struct List<'p> {
    project: &'p Project,
    items: Vec<String>,
}

impl List<'_> {
    fn add(&mut self, who: &str, what: impl std::fmt::Display) {
        let item = format!("{who}: {what}");
        if !self.items.contains(&item) {
            self.items.push(item);
        }
    }

    /// Whether a value is not known to stand in a local file.
    fn foreign(&self, span: Option<Span>) -> bool {
        span.is_none_or(|span| self.project.remote.texts.contains(&span.source))
    }

    /// Whether a path leads out of what was fetched, links followed.
    fn outside(&self, path: &Path) -> bool {
        let sources = &self.project.remote.sources;
        let inside = |path: &Path| {
            sources
                .iter()
                .any(|source| path.starts_with(&source.fetched.root))
        };
        inside_of(path).is_none_or(|real| !inside(&real)) || !inside(path)
    }

    fn service(&mut self, name: &str, service: &Service) {
        self.rights(name, service);
        self.shared(name, service);
        for mount in &service.volumes {
            if self.foreign(mount.span) {
                self.mount(name, &mount.value);
            }
        }
        for device in &service.devices {
            if self.foreign(device.span) {
                self.add(name, format!("device {}", device.value.source));
            }
        }
        for port in &service.ports {
            let own = port.value.host_ip.is_some_and(|ip| ip.is_loopback());
            if let Some((first, last)) = port.value.published
                && self.foreign(port.span)
                && !own
            {
                let range = match first == last {
                    true => first.to_string(),
                    false => format!("{first}-{last}"),
                };
                let host = port.value.host_ip.map(|ip| format!(" of {ip}"));
                let host = host.unwrap_or_else(|| " of all addresses".to_owned());
                self.add(name, format!("port {range}{host}"));
            }
        }
        self.build(name, service);
        self.programs(name);
    }

    fn rights(&mut self, name: &str, service: &Service) {
        if service.privileged {
            self.add(name, "privileged: all rights over this machine");
        }
        if !service.cap_add.is_empty() {
            self.add(name, format!("capabilities {}", service.cap_add.join(", ")));
        }
        for option in &service.security_opt {
            if self.foreign(option.span) {
                self.add(name, format!("security option {}", option.value));
            }
        }
        for rule in &service.device_cgroup_rules {
            self.add(name, format!("devices {}", rule.value));
        }
        let reserved = service
            .deploy
            .iter()
            .flat_map(|deploy| &deploy.reservations.devices);
        for request in service.gpus.iter().chain(reserved) {
            if self.foreign(request.span) {
                let ids = request.value.device_ids.join(", ");
                let which = if ids.is_empty() { "GPUs" } else { &ids };
                self.add(name, format!("devices by request: {which}"));
            }
        }
        if service
            .runtime
            .as_ref()
            .is_some_and(|runtime| runtime.value == "nvidia")
        {
            self.add(name, "the GPUs its image chooses (runtime nvidia)");
        }
        if !service.models.is_empty() {
            self.add(name, "runs the program docker-model on this machine");
        }
        if let Some(parent) = &service.cgroup_parent {
            self.add(name, format!("control group {}", parent.value));
        }
    }

    fn shared(&mut self, name: &str, service: &Service) {
        let whole = [
            (service.uts_host, "uts"),
            (service.cgroup == Some(CgroupSpec::Host), "cgroup"),
            (service.userns_mode.as_deref() == Some("host"), "user"),
        ];
        for (_, kind) in whole.iter().filter(|(on, _)| *on) {
            self.add(name, format!("this machine's {kind} namespace"));
        }
        match service.network_mode.as_ref().map(|mode| &mode.value) {
            Some(NetworkModeSpec::Host) => self.add(name, "this machine's network"),
            Some(NetworkModeSpec::Container(other)) => {
                self.add(name, format!("the network of container {other}"));
            }
            _ => {}
        }
        for (kind, share) in [("process", &service.pid), ("ipc", &service.ipc)] {
            match share.as_ref().map(|share| &share.value) {
                Some(ShareSpec::Host) => self.add(name, format!("this machine's {kind} namespace")),
                Some(ShareSpec::Container(other)) => {
                    self.add(name, format!("the {kind} namespace of container {other}"));
                }
                _ => {}
            }
        }
        for from in &service.volumes_from {
            if let VolumesFrom::Container(other, _) = from {
                self.add(name, format!("the volumes of container {other}"));
            }
        }
    }

    fn mount(&mut self, name: &str, mount: &VolumeMount) {
        let VolumeSource::Bind { path, .. } = &mount.source else {
            return;
        };
        let shown = path.display();
        let socket = path.file_name().and_then(|name| name.to_str());
        if socket.is_some_and(|socket| ENGINES.contains(&socket)) {
            self.add(
                name,
                format!("the engine's socket {shown}: all rights over this machine"),
            );
        } else if self.outside(path) {
            let how = if mount.read_only {
                "read-only"
            } else {
                "writable"
            };
            self.add(name, format!("bind mount of {shown} ({how})"));
        } else if !mount.read_only {
            self.add(name, format!("may change what was fetched: {shown}"));
        }
    }

    fn build(&mut self, name: &str, service: &Service) {
        let Some(build) = &service.build else { return };
        let contexts = build
            .context
            .iter()
            .chain(build.additional_contexts.values());
        for context in contexts {
            if !self.foreign(context.span) {
                continue;
            }
            match &context.value {
                ContextRef::Dir(path) if self.outside(path) => {
                    self.add(name, format!("builds from {}", path.display()));
                }
                ContextRef::Remote(text) => self.add(name, format!("builds from {text}")),
                _ => {}
            }
        }
        if build.privileged {
            self.add(name, "builds with all rights over this machine");
        }
        if build
            .network
            .as_ref()
            .is_some_and(|mode| mode.value == "host")
        {
            self.add(name, "builds in this machine's network");
        }
    }

    /// What runs beside the container's own command.
    fn programs(&mut self, name: &str) {
        let services = self.project.document.get("services");
        let Some(service) = services.and_then(|services| services.get(name)) else {
            return;
        };
        let kind = service
            .get("provider")
            .and_then(|provider| provider.get("type"));
        if let Some(kind) = kind.and_then(Json::as_str) {
            self.add(name, format!("runs the program {kind} on this machine"));
        }
        if service.get("use_api_socket") == Some(&Json::Bool(true)) {
            self.add(name, "the engine's socket: all rights over this machine");
        }
        for key in ["pre_start", "post_start", "pre_stop"] {
            let hooks = service.get(key).and_then(Json::as_array);
            if hooks.is_some_and(|hooks| !hooks.is_empty()) {
                self.add(name, format!("runs hooks ({key})"));
            }
        }
    }

    fn resources(&mut self) {
        let project = self.project;
        for (kind, all) in [("config", &project.configs), ("secret", &project.secrets)] {
            for (key, object) in all
                .iter()
                .filter(|(_, object)| self.foreign(object.span))
                .collect::<Vec<_>>()
            {
                let who = format!("{kind} {key}");
                match &object.source {
                    FileSource::File(path) if self.outside(path) => {
                        self.add(&who, format!("the file {}", path.display()));
                    }
                    FileSource::Environment(name, _) => {
                        self.add(&who, format!("the variable {name} of your environment"));
                    }
                    FileSource::Command(words) => {
                        let words = words.value.join(" ");
                        self.add(&who, format!("runs `{words}` on this machine"));
                    }
                    _ => {}
                }
            }
        }
        for (key, volume) in &project.volumes {
            if !self.foreign(volume.span) {
                continue;
            }
            let who = format!("volume {key}");
            if volume.external {
                self.add(&who, format!("the existing volume {}", volume.name));
            }
            if let Some(device) = volume.driver_opts.get("device") {
                self.add(&who, format!("mount of {device}"));
            }
        }
        for (key, network) in &project.networks {
            if network.external && self.foreign(network.span) {
                self.add(
                    &format!("network {key}"),
                    format!("the existing network {}", network.name),
                );
            }
        }
    }
}

/// A path with its links followed, as far as it exists.
fn inside_of(path: &Path) -> Option<PathBuf> {
    let existing = path
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok())?;
    let rest = path.strip_prefix(existing).ok()?;
    Some(existing.canonicalize().ok()?.join(rest))
}

#[cfg(test)]
mod tests;
