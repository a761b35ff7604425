//! Why a value is in the document though no file says it.
//!
//! In: the path of a value that was filled in. Out: the rule that did it, as a sentence. Imports: `base`.
//! Rules: Compose Specification; where it is silent as Compose fills in (`loader/normalize.go`, `transform/`).

use crate::base::key::KeyPath;

/// Rules by the path they fill in, the first that fits counts.
const RULES: &[(&str, &str)] = &[
    ("name", "the name of the project's directory"),
    ("services", "no file has a service"),
    ("*.*.external", "a mapping under `external` says so"),
    (
        "networks",
        "the project's own network, since a service names no other one",
    ),
    (
        "networks.default",
        "the project's own network, since a service names no other one",
    ),
    ("networks.*.ipam", "empty unless the file says more"),
    (
        "networks.*.name",
        "the project's name and the network's key",
    ),
    ("volumes.*.name", "the project's name and the volume's key"),
    ("configs.*.name", "the project's name and the config's key"),
    ("secrets.*.name", "the project's name and the secret's key"),
    ("models.*.name", "the model's key"),
    (
        "services.*.networks",
        "a service that names no network and no `network_mode` is on the network `default`",
    ),
    (
        "services.*.networks.default",
        "a service that names no network and no `network_mode` is on the network `default`",
    ),
    ("services.*.command", "the image's own command counts"),
    ("services.*.entrypoint", "the image's own entrypoint counts"),
    (
        "services.*.build.context",
        "the directory of the compose file",
    ),
    (
        "services.*.build.dockerfile",
        "default of the specification",
    ),
    ("services.*.ports[].mode", "default of the specification"),
    (
        "services.*.ports[].protocol",
        "default of the specification",
    ),
    (
        "services.*.depends_on",
        "another key of the service implies that it depends on a service",
    ),
    (
        "services.*.depends_on.*",
        "another key of the service implies that it depends on this one",
    ),
    (
        "services.*.depends_on.*.condition",
        "default of the specification",
    ),
    (
        "services.*.depends_on.*.required",
        "default of the specification",
    ),
    (
        "services.*.depends_on.*.restart",
        "implied by the key that makes the service depend on this one",
    ),
    (
        "services.*.volumes[].bind.create_host_path",
        "the short form creates a directory that is missing",
    ),
    (
        "services.*.secrets[].target",
        "default of the specification",
    ),
    (
        "services.*.devices[].permissions",
        "default of the specification",
    ),
    (
        "services.*.devices[].target",
        "the path on the host, as the short form has no other",
    ),
    (
        "services.*.deploy.placement",
        "empty unless the file says more",
    ),
    (
        "services.*.deploy.resources",
        "empty unless the file says more",
    ),
    (
        "services.*.develop.watch[].exec",
        "empty unless the file says more",
    ),
    (
        "services.*.develop.watch[].exec.command",
        "empty unless the file says more",
    ),
    (
        "services.*.gpus",
        "all devices, unless the file says how many",
    ),
    (
        "services.*.gpus[].count",
        "all devices, unless the file says how many or which",
    ),
    (
        "services.*.deploy.resources.reservations.devices[].count",
        "all devices, unless the file says how many or which",
    ),
];

/// Values that a short form stands for without its text saying them; the rest is a part of the text.
const SILENT: &[&str] = &[
    "services.*.ports[].mode",
    "services.*.volumes[].bind.create_host_path",
    "services.*.depends_on.*.condition",
    "services.*.depends_on.*.required",
    "services.*.secrets[].target",
];

/// The rule that filled a value in.
pub(super) fn rule(path: &KeyPath) -> &'static str {
    RULES
        .iter()
        .find(|(pattern, _)| path.matches(pattern))
        .map_or("filled in as docker compose does", |(_, rule)| rule)
}

/// The rule behind a part of a short form that its text does not say.
pub(super) fn silent(path: &KeyPath, text: &str) -> Option<&'static str> {
    let protocol = path.matches("services.*.ports[].protocol") && !text.contains('/');
    let rights = path.matches("services.*.devices[].permissions") && !names_rights(text);
    let said = !SILENT.iter().any(|pattern| path.matches(pattern)) && !protocol && !rights;
    (!said).then(|| rule(path))
}

/// Whether the short form of a device ends with permissions.
fn names_rights(text: &str) -> bool {
    let last = text.rsplit_once(':').map_or("", |(_, last)| last);
    !last.is_empty() && last.chars().all(|c| "rwm".contains(c))
}
