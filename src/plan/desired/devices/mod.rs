//! What a container gets of the machine's devices: nodes, devices by name, GPUs, rules; and which runtime is meant.
//!
//! In: a service, what is known of the machine. Out: values of a spec, faults with their places. Names come from the
//! compose file alone, never from labels or annotations; an image's environment counts only for `runtime: nvidia`, and
//! there names no other kind of device. Imports: `base`, `compose::model`, `engine::{spec, state}`.
//! Source: moby `daemon/devices*.go`, `cdi.go`; Compose, `pkg/compose/create.go` (`getDeployResources`, `toDeviceRequests`).

use std::collections::BTreeSet;

use super::Facts;
use crate::base::device::{DeviceName, DeviceRule, is_access};
use crate::base::diag::{Diagnostic, Diagnostics, nearest};
use crate::base::span::{Span, Spanned};
use crate::compose::model::{DeviceCount, DeviceRequest, DeviceSpec, Service};
use crate::engine::spec::{Device, NamedDevices};
use crate::engine::state::DeviceCatalog;

/// The kind of device that `gpus` means, by driver.
const NVIDIA: &str = "nvidia.com/gpu";
const AMD: &str = "amd.com/gpu";

/// What a request for GPUs may ask of them. Source: moby `daemon/devices_nvidia_linux.go`.
const ABILITIES: [&str; 9] = [
    "gpu", "nvidia", "amd", "compute", "compat32", "graphics", "utility", "video", "display",
];

/// The command that describes NVIDIA's devices.
const DESCRIBE: &str = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";

/// Names of what runs a container that mean the usual way.
const USUAL: [&str; 5] = ["", "runc", "io.containerd.runc.v2", "crun", "youki"];

/// Whether a service asks for devices by name, so that the machine's descriptions must be read.
pub fn names_devices(service: &Service) -> bool {
    let nvidia = |runtime: &Spanned<String>| runtime.value == "nvidia";
    !service.gpus.is_empty()
        || !reservations(service).is_empty()
        || service
            .devices
            .iter()
            .any(|device| full_name(&device.value).is_some())
        || service.runtime.as_ref().is_some_and(nvidia)
}

fn reservations(service: &Service) -> &[Spanned<DeviceRequest>] {
    let deploy = service.deploy.as_ref();
    deploy.map_or(&[], |deploy| &deploy.reservations.devices)
}

/// The full name that an entry of `devices` means. The short form splits names that hold a colon.
fn full_name(device: &DeviceSpec) -> Option<String> {
    let (source, target) = (&device.source, &device.target);
    if !DeviceName::is_meant(source) {
        return None;
    }
    match target == source || target.starts_with('/') {
        true => Some(source.clone()),
        false => Some(format!("{source}:{target}")),
    }
}

/// Nodes of the host.
pub(super) fn nodes(service: &Service, facts: &Facts, found: &mut Diagnostics) -> Vec<Device> {
    let mut devices = Vec::new();
    for device in service
        .devices
        .iter()
        .filter(|d| full_name(&d.value).is_none())
    {
        let DeviceSpec {
            source,
            target,
            permissions,
        } = &device.value;
        let mut wrong = |text: String, hint: &str| {
            let fault = Diagnostic::error(format!("device `{source}`: {text}"));
            found.push(fault.at(device.span.or(service.span)).hint(hint));
        };
        if !source.starts_with('/') {
            let hint = "write a path of the host, or a full name such as `vendor.com/class=name`";
            wrong(
                "it is neither an absolute path nor a device's full name".to_owned(),
                hint,
            );
        } else if !target.starts_with('/') {
            wrong(
                format!("`{target}` is not an absolute path"),
                "write `SOURCE:/PATH/INSIDE`",
            );
        } else if !is_access(permissions) {
            let hint = "write some of r (read), w (write) and m (make the node)";
            wrong(format!("`{permissions}` are no permissions"), hint);
        } else if let Some(why) = facts.absent.get(source) {
            wrong(
                why.clone(),
                "make it available on this machine, or leave it out",
            );
        } else {
            devices.push(Device {
                source: source.into(),
                target: target.clone(),
                permissions: permissions.clone(),
            });
        }
    }
    devices
}

/// `device_cgroup_rules`.
pub(super) fn rules(service: &Service, found: &mut Diagnostics) -> Vec<String> {
    for rule in &service.device_cgroup_rules {
        if DeviceRule::parse(&rule.value).is_none() {
            let fault = Diagnostic::error(format!("invalid device cgroup rule `{}`", rule.value));
            let fault = fault.at(rule.span.or(service.span));
            found.push(fault.hint("write it like `c 1:3 rwm`: a, b or c; major and minor number or `*`; some of r, w, m"));
        }
    }
    service
        .device_cgroup_rules
        .iter()
        .map(|rule| rule.value.clone())
        .collect()
}

/// Devices by name: entries of `devices`, `gpus`, reservations, and those of `runtime: nvidia`. `env` is the
/// environment of the process, the image's part included.
pub(super) fn named(
    service: &Service,
    facts: &Facts,
    env: &[String],
    found: &mut Diagnostics,
) -> NamedDevices {
    let Some(catalog) = facts.devices.as_ref().filter(|_| names_devices(service)) else {
        return NamedDevices::default();
    };
    let mut asked = Asked {
        service,
        catalog,
        found,
        names: Vec::new(),
    };
    for device in &service.devices {
        if let Some(name) = full_name(&device.value) {
            asked.written(&name, device.span);
        }
    }
    for gpu in &service.gpus {
        let mut request = gpu.value.clone();
        request.capabilities.push("gpu".to_owned());
        asked.request(&request, gpu.span);
    }
    for device in reservations(service) {
        asked.request(&device.value, device.span);
    }
    if let Some(runtime) = service
        .runtime
        .as_ref()
        .filter(|runtime| runtime.value == "nvidia")
    {
        asked.visible(env, runtime.span);
    }
    let mut seen = BTreeSet::new();
    asked.names.retain(|name| seen.insert(name.clone()));
    NamedDevices {
        names: asked.names,
        dirs: catalog.dirs.clone(),
    }
}

/// The devices that one service asks for.
struct Asked<'a> {
    service: &'a Service,
    catalog: &'a DeviceCatalog,
    found: &'a mut Diagnostics,
    names: Vec<DeviceName>,
}

impl Asked<'_> {
    fn wrong(&mut self, span: Option<Span>, text: impl Into<String>, hint: Option<String>) {
        let fault = Diagnostic::error(text).at(span.or(self.service.span));
        self.found.push(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
    }

    /// A full name as the user wrote it.
    fn written(&mut self, text: &str, span: Option<Span>) {
        match DeviceName::parse(text) {
            Ok(name) => self.known(name, span),
            Err(why) => self.wrong(span, format!("device `{text}`: {why}"), None),
        }
    }

    /// Takes a device that the machine has.
    fn known(&mut self, name: DeviceName, span: Option<Span>) {
        match self.catalog.devices.get(&name) {
            Some(None) => self.names.push(name),
            Some(Some(fault)) => self.wrong(span, format!("device `{name}`: {fault}"), None),
            None if self.of_kind(name.kind()).is_empty() => {
                self.undescribed(name.kind(), Some(&name), span);
            }
            None => {
                let all: Vec<String> = self
                    .of_kind(name.kind())
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                let text = name.to_string();
                let near = nearest(&text, all.iter().map(String::as_str));
                let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                let hint = format!("{near}known are: {}", all.join(", "));
                self.wrong(
                    span,
                    format!("this machine has no device `{name}`"),
                    Some(hint),
                );
            }
        }
    }

    fn of_kind(&self, kind: &str) -> Vec<&DeviceName> {
        self.catalog
            .devices
            .keys()
            .filter(|name| name.kind() == kind)
            .collect()
    }

    /// Says that no file describes a kind of device, and what to do.
    fn undescribed(&mut self, kind: &str, name: Option<&DeviceName>, span: Option<Span>) {
        let dirs: Vec<String> = self
            .catalog
            .dirs
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        let what = name.map_or_else(|| format!("`{kind}`"), |name| format!("`{name}`"));
        let text = format!(
            "no file in {} describes the device {what}",
            dirs.join(" or ")
        );
        let mut hints: Vec<String> = self.catalog.faults.clone();
        if kind == NVIDIA {
            let nodes: Vec<String> = self
                .catalog
                .nvidia
                .iter()
                .map(|node| node.display().to_string())
                .collect();
            hints.push(match nodes.is_empty() {
                true => format!(
                    "this machine shows no /dev/nvidia* device: install the driver and the NVIDIA Container Toolkit, then run `{DESCRIBE}`"
                ),
                false => format!("run `{DESCRIBE}`; this machine has {}", nodes.join(", ")),
            });
        } else if self.catalog.devices.is_empty() {
            hints.push("the vendor's tools make such a file".to_owned());
        } else {
            let all: Vec<String> = self
                .catalog
                .devices
                .keys()
                .map(ToString::to_string)
                .collect();
            hints.push(format!("known are: {}", all.join(", ")));
        }
        self.wrong(span, text, Some(hints.join("; ")));
    }

    /// An entry of `gpus` or of a reservation.
    fn request(&mut self, request: &DeviceRequest, span: Option<Span>) {
        let driver = request.driver.as_deref().unwrap_or_default();
        if driver == "cdi" {
            return self.by_name(request, span);
        }
        let Some(kind) = self.kind(driver, &request.capabilities) else {
            let abilities = request.capabilities.join(", ");
            let text = format!(
                "could not select device driver \"{driver}\" with capabilities: [{abilities}]"
            );
            let hint = "drivers are nvidia, amd and cdi; capabilities are gpu, compute, compat32, graphics, utility, video, display";
            return self.wrong(span, text, Some(hint.to_owned()));
        };
        if !request.options.is_empty() {
            let text = "`options` of a device request are read by no driver and have no effect";
            let warning = Diagnostic::warning(text).at(span.or(self.service.span));
            if !self.found.iter().any(|have| *have == warning) {
                self.found.push(warning);
            }
        }
        if !request.device_ids.is_empty() {
            for id in &request.device_ids {
                let full = if id.contains('=') {
                    id.clone()
                } else {
                    format!("{kind}={id}")
                };
                self.written(&full, span);
            }
            return;
        }
        match request.count {
            None | Some(DeviceCount::All) => self.all(kind, span),
            Some(DeviceCount::Number(count)) => self.first(kind, count, span),
        }
    }

    /// `driver: cdi`: full names, and nothing else counts. As Docker.
    fn by_name(&mut self, request: &DeviceRequest, span: Option<Span>) {
        if request.device_ids.is_empty() {
            let hint = "write `device_ids: [vendor.com/class=name]`".to_owned();
            return self.wrong(
                span,
                "driver `cdi` takes devices by name, not by count",
                Some(hint),
            );
        }
        if !request.options.is_empty() {
            return self.wrong(span, "driver `cdi` takes no options", None);
        }
        for id in &request.device_ids {
            self.written(id, span);
        }
    }

    /// The kind of device that a driver, or capabilities alone, mean.
    fn kind(&self, driver: &str, abilities: &[String]) -> Option<&'static str> {
        if abilities.is_empty()
            || !abilities
                .iter()
                .all(|ability| ABILITIES.contains(&ability.as_str()))
        {
            return None;
        }
        let asks = |word: &str| abilities.iter().any(|ability| ability == word);
        match driver {
            "nvidia" | "nvidia.cdi" => Some(NVIDIA),
            "amd" => Some(AMD),
            "" if asks("amd") => Some(AMD),
            "" if self.of_kind(NVIDIA).is_empty()
                && !self.of_kind(AMD).is_empty()
                && !asks("nvidia") =>
            {
                Some(AMD)
            }
            "" => Some(NVIDIA),
            _ => None,
        }
    }

    fn all(&mut self, kind: &str, span: Option<Span>) {
        let every: Vec<DeviceName> = self.of_kind(kind).into_iter().cloned().collect();
        match every.iter().find(|name| name.name() == "all") {
            Some(all) => self.known(all.clone(), span),
            None if every.is_empty() => self.undescribed(kind, None, span),
            None => every.into_iter().for_each(|name| self.known(name, span)),
        }
    }

    /// The first so many: by number as Docker, or in the order of their names where they have no numbers.
    fn first(&mut self, kind: &str, count: u64, span: Option<Span>) {
        let every: Vec<DeviceName> = self
            .of_kind(kind)
            .into_iter()
            .filter(|n| n.name() != "all")
            .cloned()
            .collect();
        if count > 0 && every.is_empty() {
            return self.undescribed(kind, None, span);
        }
        let numbered = |n: usize| every.iter().find(|name| name.name() == n.to_string());
        let listed: Vec<DeviceName> = match numbered(0) {
            Some(_) => (0..every.len())
                .map_while(|n| numbered(n).cloned())
                .collect(),
            None => every,
        };
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        if wanted > listed.len() {
            let all: Vec<String> = listed.iter().map(ToString::to_string).collect();
            let text = format!(
                "{count} devices of `{kind}` are asked for, but this machine has {}",
                listed.len()
            );
            return self.wrong(span, text, Some(format!("known are: {}", all.join(", "))));
        }
        listed
            .into_iter()
            .take(wanted)
            .for_each(|name| self.known(name, span));
    }

    /// `NVIDIA_VISIBLE_DEVICES`, as NVIDIA's runtime reads it.
    fn visible(&mut self, env: &[String], span: Option<Span>) {
        let value = env
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("NVIDIA_VISIBLE_DEVICES="));
        for id in value.unwrap_or_default().split(',').map(str::trim) {
            match id {
                "" | "void" | "none" => {}
                "all" => self.all(NVIDIA, span),
                // An image may choose among GPUs, and nothing else.
                id => {
                    match DeviceName::new(NVIDIA, id.strip_prefix("nvidia.com/gpu=").unwrap_or(id))
                    {
                        Ok(name) => self.known(name, span),
                        Err(why) => {
                            self.wrong(span, format!("NVIDIA_VISIBLE_DEVICES: {why}"), None);
                        }
                    }
                }
            }
        }
    }
}

/// Keys that ask for what this engine has no part for.
pub(super) fn refusals(service: &Service, found: &mut Diagnostics) {
    if let Some(runtime) = &service.runtime
        && runtime.value != "nvidia"
        && !USUAL.contains(&runtime.value.as_str())
    {
        let fault = Diagnostic::error(format!(
            "unknown or invalid runtime name: {}",
            runtime.value
        ));
        let hint = "hoist runs containers itself, as runc does: leave `runtime` out; `nvidia` is known too";
        found.push(fault.at(runtime.span.or(service.span)).hint(hint));
    }
    if service.use_api_socket {
        let text = format!(
            "service `{}`: use_api_socket: hoist has no engine, and so no engine's socket to hand in",
            service.name
        );
        let hint = "where another engine runs on this machine, mount its socket: `/var/run/docker.sock:/var/run/docker.sock`";
        found.push(Diagnostic::error(text).at(service.span).hint(hint));
    }
    for name in service.resources.storage.keys() {
        let (text, hint) = match name.as_str() {
            "size" => (
                "storage_opt: size: a container's files lie in an overlay, which can't be limited without project quotas, and hoist sets none".to_owned(),
                "mount a volume of limited size where the container writes, or a tmpfs with `size`",
            ),
            other => (format!("storage_opt: unknown option `{other}`"), "Docker knows `size` only"),
        };
        let text = format!("service `{}`: {text}", service.name);
        found.push(Diagnostic::error(text).at(service.span).hint(hint));
    }
}

#[cfg(test)]
mod tests;
