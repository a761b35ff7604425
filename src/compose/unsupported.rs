//! Valid keys that hoist does not act on yet: each is reported by name, so that nothing is ignored in silence.
//!
//! In: a checked tree. Out: warnings. Keys that are hints only (`cache_from`, `attachable`, `consistency`) are not here:
//! ignoring them changes nothing that runs. A key leaves this table when its behaviour lands.
//! Imports: `base`, `tree`.

use super::tree::{Entries, Node, Value};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::{Key, KeyPath};

/// Paths of the keys, and what ignoring them means; `*` is any name, `[]` any item.
const KEYS: &[(&str, &str)] = &[
    ("jobs", "no job is run"),
    ("models", "no model is started"),
    (
        "services.*.blkio_config.device_read_bps",
        "the device is not limited",
    ),
    (
        "services.*.blkio_config.device_read_iops",
        "the device is not limited",
    ),
    (
        "services.*.blkio_config.device_write_bps",
        "the device is not limited",
    ),
    (
        "services.*.blkio_config.device_write_iops",
        "the device is not limited",
    ),
    (
        "services.*.blkio_config.weight_device",
        "the device gets no weight of its own",
    ),
    (
        "services.*.build.entitlements",
        "the build gets no further rights",
    ),
    ("services.*.build.isolation", "it is for Windows only"),
    ("services.*.build.cache_to", "no build cache is exported"),
    (
        "services.*.build.no_cache_filter",
        "all stages use the cache",
    ),
    ("services.*.build.sbom", "no bill of materials is made"),
    ("services.*.build.ssh", "no SSH agent is forwarded"),
    ("services.*.cpu_count", "it is for Windows only"),
    ("services.*.cpu_percent", "it is for Windows only"),
    ("services.*.cpu_rt_period", "no real-time budget is set"),
    ("services.*.cpu_rt_runtime", "no real-time budget is set"),
    ("services.*.credential_spec", "it is for Windows only"),
    (
        "services.*.deploy.resources.reservations.devices",
        "no device is handed in",
    ),
    (
        "services.*.deploy.resources.reservations.generic_resources",
        "nothing is reserved",
    ),
    ("services.*.external_links", "the names do not resolve"),
    ("services.*.gpus", "no GPU is handed in"),
    ("services.*.isolation", "it is for Windows only"),
    ("services.*.models", "the service gets no model"),
    (
        "services.*.networks.*.driver_opts",
        "the options have no effect",
    ),
    (
        "services.*.networks.*.link_local_ips",
        "the addresses are not added",
    ),
    ("services.*.post_start", "the hooks do not run"),
    ("services.*.pre_start", "the hooks do not run"),
    ("services.*.pre_stop", "the hooks do not run"),
    ("services.*.provider", "nothing is provided"),
    ("services.*.runtime", "hoist runs the container itself"),
    (
        "services.*.storage_opt",
        "the container's disk use is not limited",
    ),
    ("services.*.use_api_socket", "no engine socket is handed in"),
    (
        "services.*.volumes[].bind.selinux",
        "the directory is not relabelled",
    ),
    ("networks.*.ipam.options", "the options have no effect"),
    ("configs.*.template_driver", "the content is used as it is"),
    ("secrets.*.template_driver", "the content is used as it is"),
    ("secrets.*.driver", "the secret has no content"),
];

/// Keys with one value that is acted on.
const VALUES: &[(&str, &str, &str)] = &[(
    "services.*.userns_mode",
    "host",
    "the container stays in the engine's user namespace",
)];

/// Reports the keys of the table that a project uses.
pub(super) fn warn(root: &Entries, diags: &mut Diagnostics) {
    let mut path = KeyPath::root();
    for (key, node) in root {
        path.0.push(Key::Name(key.clone()));
        walk(node, &mut path, diags);
        path.0.pop();
    }
}

fn walk(node: &Node, path: &mut KeyPath, diags: &mut Diagnostics) {
    let known = KEYS
        .iter()
        .find(|(pattern, _)| path.matches(pattern))
        .map(|(_, effect)| *effect);
    let value = VALUES
        .iter()
        .find(|(pattern, good, _)| path.matches(pattern) && node.as_text() != Some(good))
        .map(|(_, _, effect)| *effect);
    if let Some(effect) = known.or(value) {
        if !is_empty(node) {
            diags.push(warning(node, path, effect));
        }
        return;
    }
    match &node.value {
        Value::Map(entries) => {
            for (key, entry) in entries.iter().filter(|(key, _)| !key.starts_with("x-")) {
                path.0.push(Key::Name(key.clone()));
                walk(entry, path, diags);
                path.0.pop();
            }
        }
        Value::List(items) => {
            for (at, item) in items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.entries().is_some())
            {
                path.0.push(Key::Index(at));
                walk(item, path, diags);
                path.0.pop();
            }
        }
        _ => {}
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::Map(entries) => entries.is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

fn warning(node: &Node, path: &KeyPath, effect: &str) -> Diagnostic {
    let name = match path.0.last() {
        Some(Key::Name(name)) => name.as_str(),
        _ => "value",
    };
    Diagnostic::warning(format!(
        "`{name}` is not supported by hoist yet and is ignored: {effect}"
    ))
    .at(node.key_place())
    .path(path)
}
