//! The order of keys in what `config` prints.
//!
//! In: an object of the document and its [`Form`]. Out: its entries, in the order they are printed.
//! It writes nothing. Imports: nothing of ours.
//! Rules: as Compose: known keys stand in the order of its model, `x-*` keys behind them; mappings with the user's own
//! keys are sorted, in YAML so that `a2` comes before `a10`.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// What is known of a value's keys.
#[derive(Debug)]
pub(super) enum Form {
    /// Nothing: keys are sorted.
    Free,
    /// The value of a known key without known keys of its own.
    Leaf,
    /// A mapping with the user's own keys.
    Each(&'static Self),
    /// A list.
    Items(&'static Self),
    /// A mapping with known keys.
    Keys(&'static [Field]),
    /// As `Free`, but some keys have a form.
    Sorted(&'static [Field]),
    /// As `Keys`, and left out of YAML when it says nothing.
    Part(&'static [Field]),
}

/// A known key.
#[derive(Debug)]
pub(super) struct Field {
    key: &'static str,
    form: &'static Form,
}

/// An entry to print.
pub(super) type Entry<'v> = (&'v str, &'v Value, &'static Form);

/// An extension, or a document that is bound to no types.
pub(super) static FREE: Form = Form::Free;
static LEAF: Form = Form::Leaf;

/// A key that Compose allows and never prints.
const UNPRINTED: &str = "pull_refresh_after";

macro_rules! keys {
    (@form) => { &LEAF };
    (@form $form:expr) => { $form };
    ($($key:literal $(=> $form:expr)?),* $(,)?) => {
        &[$(Field { key: $key, form: keys!(@form $($form)?) }),*]
    };
}

/// A document of `config`.
pub(super) static PROJECT: Form = Form::Keys(keys![
    "name",
    "services" => &Form::Each(&SERVICE),
    "networks" => &Form::Each(&NETWORK),
    "volumes" => &Form::Each(&VOLUME),
    "secrets" => &Form::Each(&OBJECT),
    "configs" => &Form::Each(&OBJECT),
    "models" => &Form::Each(&MODEL),
    "jobs" => &Form::Each(&SERVICE),
]);

/// What `config --variables` prints.
pub(super) static VARIABLES: Form = Form::Each(&Form::Keys(keys![
    "name",
    "Name",
    "defaultvalue",
    "DefaultValue",
    "presencevalue",
    "PresenceValue",
    "required",
    "Required",
]));

/// A document that is bound to no types: lists whose items are held apart stay lists when they are empty.
pub(super) static RAW: Form = Form::Sorted(keys![
    "services" => &Form::Each(&RAW_SERVICE),
    "networks" => &Form::Each(&RAW_LABELS),
]);
static RAW_LABELS: Form = Form::Sorted(keys!["labels" => &LIST]);
static RAW_SERVICE: Form = Form::Sorted(keys![
    "annotations" => &LIST, "cap_add" => &LIST, "cap_drop" => &LIST, "configs" => &LIST, "devices" => &LIST,
    "dns" => &LIST, "dns_opt" => &LIST, "dns_search" => &LIST, "env_file" => &LIST, "expose" => &LIST,
    "labels" => &LIST, "links" => &LIST, "ports" => &LIST, "profiles" => &LIST, "secrets" => &LIST,
    "sysctls" => &LIST, "tmpfs" => &LIST, "volumes" => &LIST,
    "build" => &Form::Sorted(keys!["labels" => &LIST, "tags" => &LIST]),
    "deploy" => &RAW_LABELS,
    "networks" => &Form::Each(&Form::Sorted(keys!["aliases" => &LIST, "link_local_ips" => &LIST])),
]);
static LIST: Form = Form::Items(&FREE);

/// A service.
pub(super) static SERVICE: Form = Form::Keys(keys![
    "profiles", "annotations", "attach",
    "build" => &BUILD,
    "develop" => &Form::Keys(keys!["watch" => &Form::Items(&TRIGGER)]),
    "blkio_config" => &BLKIO,
    "cap_add", "cap_drop", "cgroup_parent", "cgroup", "cpu_count", "cpu_percent", "cpu_period",
    "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpus", "cpuset", "cpu_shares", "command",
    "configs" => &Form::Items(&GRANT),
    "container_name",
    "credential_spec" => &Form::Keys(keys!["config", "file", "registry"]),
    "depends_on" => &Form::Each(&Form::Keys(keys!["condition", "restart", "required"])),
    "deploy" => &DEPLOY,
    "device_cgroup_rules",
    "devices" => &Form::Items(&Form::Keys(keys!["source", "target", "permissions"])),
    "dns", "dns_opt", "dns_search", "dockerfile", "domainname", "entrypoint",
    "provider" => &Form::Keys(keys!["type", "options"]),
    "environment",
    "env_file" => &Form::Items(&Form::Keys(keys!["path", "required", "format"])),
    "expose",
    "extends" => &Form::Keys(keys!["file", "service"]),
    "external_links", "extra_hosts", "group_add",
    "gpus" => &Form::Items(&DEVICE_REQUEST),
    "hostname",
    "healthcheck" => &Form::Keys(keys![
        "test", "timeout", "interval", "retries", "start_period", "start_interval", "disable",
    ]),
    "image", "init", "ipc", "isolation", "labels", "label_file", "links",
    "logging" => &Form::Keys(keys!["driver", "options"]),
    "log_driver", "log_opt", "mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "mac_address",
    "models" => &Form::Each(&Form::Keys(keys!["endpoint_var", "model_var"])),
    "net", "network_mode",
    "networks" => &Form::Each(&ATTACHMENT),
    "oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "platform",
    "ports" => &Form::Items(&Form::Keys(keys![
        "name", "mode", "host_ip", "target", "published", "protocol", "app_protocol",
    ])),
    "privileged", "pull_policy", "read_only", "restart", "runtime", "scale",
    "secrets" => &Form::Items(&GRANT),
    "security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt", "sysctls",
    "tmpfs", "tty",
    "ulimits" => &Form::Each(&ULIMIT),
    "use_api_socket", "user", "userns_mode", "uts", "volume_driver",
    "volumes" => &Form::Items(&MOUNT),
    "volumes_from", "working_dir",
    "pre_start" => &Form::Items(&HOOK),
    "post_start" => &Form::Items(&HOOK),
    "pre_stop" => &Form::Items(&HOOK),
]);

static BUILD: Form = Form::Keys(keys![
    "context", "dockerfile", "dockerfile_inline", "entitlements", "args", "provenance", "sbom", "ssh", "labels",
    "cache_from", "cache_to", "no_cache", "no_cache_filter", "additional_contexts", "pull", "extra_hosts",
    "isolation", "network", "target",
    "secrets" => &Form::Items(&GRANT),
    "shm_size", "tags",
    "ulimits" => &Form::Each(&ULIMIT),
    "platforms", "privileged",
]);

static BLKIO: Form = Form::Keys(keys![
    "weight",
    "weight_device" => &Form::Items(&WEIGHT),
    "device_read_bps" => &Form::Items(&RATE),
    "device_read_iops" => &Form::Items(&RATE),
    "device_write_bps" => &Form::Items(&RATE),
    "device_write_iops" => &Form::Items(&RATE),
]);
static WEIGHT: Form = Form::Keys(keys!["Path", "Weight"]);
static RATE: Form = Form::Keys(keys!["Path", "Rate"]);

static DEPLOY: Form = Form::Keys(keys![
    "mode", "replicas", "labels",
    "update_config" => &UPDATE,
    "rollback_config" => &UPDATE,
    "resources" => &Form::Part(keys!["limits" => &RESOURCE, "reservations" => &RESOURCE]),
    "restart_policy" => &Form::Keys(keys!["condition", "delay", "max_attempts", "window"]),
    "placement" => &Form::Part(keys![
        "constraints",
        "preferences" => &Form::Items(&Form::Keys(keys!["spread"])),
        "max_replicas_per_node",
    ]),
    "endpoint_mode",
]);
static UPDATE: Form = Form::Keys(keys![
    "parallelism",
    "delay",
    "failure_action",
    "monitor",
    "max_failure_ratio",
    "order",
]);
static RESOURCE: Form = Form::Keys(keys![
    "cpus", "memory", "pids",
    "devices" => &Form::Items(&DEVICE_REQUEST),
    "generic_resources" => &Form::Items(&Form::Keys(keys![
        "discrete_resource_spec" => &Form::Keys(keys!["kind", "value"]),
    ])),
]);
static DEVICE_REQUEST: Form = Form::Keys(keys![
    "capabilities",
    "driver",
    "count",
    "device_ids",
    "options"
]);
static TRIGGER: Form = Form::Keys(keys![
    "path", "action", "target", "exec" => &EXEC, "include", "ignore", "initial_sync",
]);
static HOOK: Form = Form::Keys(keys![
    "command",
    "user",
    "privileged",
    "working_dir",
    "environment"
]);
static EXEC: Form = Form::Part(keys![
    "command",
    "user",
    "privileged",
    "working_dir",
    "environment"
]);
static GRANT: Form = Form::Keys(keys!["source", "target", "uid", "gid", "mode"]);
static ULIMIT: Form = Form::Keys(keys!["single", "soft", "hard"]);
static ATTACHMENT: Form = Form::Keys(keys![
    "aliases",
    "driver_opts",
    "gw_priority",
    "interface_name",
    "ipv4_address",
    "ipv6_address",
    "link_local_ips",
    "mac_address",
    "priority",
]);
static MOUNT: Form = Form::Keys(keys![
    "type", "source", "target", "read_only", "consistency",
    "bind" => &Form::Keys(keys!["selinux", "propagation", "create_host_path", "recursive"]),
    "volume" => &Form::Keys(keys!["labels", "nocopy", "subpath"]),
    "tmpfs" => &Form::Keys(keys!["size", "mode"]),
    "image" => &Form::Keys(keys!["subpath"]),
]);
static NETWORK: Form = Form::Keys(keys![
    "name", "driver", "driver_opts",
    "ipam" => &Form::Part(keys![
        "driver",
        "config" => &Form::Items(&Form::Keys(keys!["subnet", "gateway", "ip_range", "aux_addresses"])),
    ]),
    "external", "internal", "attachable", "labels", "enable_ipv4", "enable_ipv6",
]);
static VOLUME: Form = Form::Keys(keys!["name", "driver", "driver_opts", "external", "labels"]);
static OBJECT: Form = Form::Keys(keys![
    "name",
    "file",
    "environment",
    "content",
    "external",
    "labels",
    "driver",
    "driver_opts",
    "template_driver",
]);
static MODEL: Form = Form::Keys(keys!["name", "model", "context_size", "runtime_flags"]);

impl Form {
    /// The form of a list's items.
    pub(super) fn item(&self) -> &'static Self {
        match self {
            Self::Items(form) => form,
            Self::Free => &FREE,
            _ => &LEAF,
        }
    }

    /// The entries of an object as YAML has them.
    pub(super) fn in_yaml<'v>(&self, object: &'v Map<String, Value>) -> Vec<Entry<'v>> {
        let entries = match self {
            Self::Keys(fields) | Self::Part(fields) => {
                let mut known = known(fields, object);
                known.retain(|(_, value, form)| !value.is_null() && !says_nothing(value, form));
                known.iter_mut().for_each(|entry| entry.0 = small(entry.0));
                let others = others(fields, object);
                known.extend(sorted(others, |a, b| natural(a.0, b.0)));
                return known;
            }
            Self::Each(form) => each(object, form),
            Self::Sorted(fields) => formed(object, fields),
            Self::Free => each(object, &FREE),
            Self::Leaf | Self::Items(_) => each(object, &LEAF),
        };
        sorted(entries, |a, b| natural(a.0, b.0))
    }

    /// The entries of an object as JSON has them: `x-*` keys beside known ones are left out.
    pub(super) fn in_json<'v>(&self, object: &'v Map<String, Value>) -> Vec<Entry<'v>> {
        let mut entries = match self {
            Self::Keys(fields) | Self::Part(fields) => {
                let mut known = known(fields, object);
                known.extend(others(fields, object).filter(|(key, ..)| !key.starts_with("x-")));
                return known;
            }
            Self::Each(form) => each(object, form),
            Self::Sorted(fields) => formed(object, fields),
            Self::Free => each(object, &FREE),
            Self::Leaf | Self::Items(_) => each(object, &LEAF),
        };
        entries.sort_unstable_by_key(|(key, ..)| *key);
        entries
    }

    /// The entries of the whole document as JSON has them: sorted, `x-*` keys too, but no models.
    pub(super) fn top_in_json<'v>(&self, object: &'v Map<String, Value>) -> Vec<Entry<'v>> {
        let Self::Keys(fields) = self else {
            return self.in_json(object);
        };
        let mut entries: Vec<Entry<'v>> = known(fields, object);
        entries.retain(|(key, ..)| *key != "models");
        entries.extend(others(fields, object));
        entries.sort_unstable_by_key(|(key, ..)| *key);
        entries
    }
}

fn each<'v>(object: &'v Map<String, Value>, form: &'static Form) -> Vec<Entry<'v>> {
    let entry = |(key, value): (&'v String, &'v Value)| (key.as_str(), value, form);
    object.iter().map(entry).collect()
}

fn formed<'v>(object: &'v Map<String, Value>, fields: &'static [Field]) -> Vec<Entry<'v>> {
    let entry = |(key, value): (&'v String, &'v Value)| {
        let field = fields.iter().find(|field| field.key == key.as_str());
        (key.as_str(), value, field.map_or(&FREE, |field| field.form))
    };
    object.iter().map(entry).collect()
}

fn known<'v>(
    fields: &'static [Field],
    object: &'v Map<String, Value>,
) -> Vec<(&'static str, &'v Value, &'static Form)> {
    let entry = |field: &'static Field| Some((field.key, object.get(field.key)?, field.form));
    // As Compose, which prints this one only where it is true.
    let said = |entry: &(&str, &Value, _)| entry.0 != "create_host_path" || entry.1 != false;
    fields.iter().filter_map(entry).filter(said).collect()
}

fn others<'v>(
    fields: &'static [Field],
    object: &'v Map<String, Value>,
) -> impl Iterator<Item = Entry<'v>> {
    object
        .iter()
        .filter(|(key, _)| key.as_str() != UNPRINTED)
        .filter(|(key, _)| !fields.iter().any(|field| field.key == key.as_str()))
        .map(|(key, value)| (key.as_str(), value, &FREE))
}

/// The name in YAML of the keys that JSON has in capitals.
fn small(key: &str) -> &str {
    match key {
        "Path" => "path",
        "Rate" => "rate",
        "Weight" => "weight",
        key => key,
    }
}

/// Whether a part holds nothing but parts that hold nothing.
fn says_nothing(value: &Value, form: &'static Form) -> bool {
    match (form, value) {
        (Form::Part(_), Value::Object(object)) => form.in_yaml(object).is_empty(),
        _ => false,
    }
}

/// Sorts by merging. The order of the standard library may panic where an order contradicts itself, as [`natural`]
/// does for numbers of more than 64 bit.
fn sorted<T>(items: impl IntoIterator<Item = T>, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let mut runs: Vec<Vec<T>> = items.into_iter().map(|item| vec![item]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut rest = runs.into_iter();
        while let Some(left) = rest.next() {
            merged.push(match rest.next() {
                Some(right) => merge(left, right, &order),
                None => left,
            });
        }
        runs = merged;
    }
    runs.pop().unwrap_or_default()
}

fn merge<T>(left: Vec<T>, right: Vec<T>, order: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let from = if order(b, a) == Ordering::Less {
            &mut right
        } else {
            &mut left
        };
        out.extend(from.next());
    }
    out.extend(left);
    out.extend(right);
    out
}

/// The order of keys in YAML: numbers in them by value, letters behind what is no letter.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let mut same = 0;
    let mut digits = false;
    for (x, y) in a.chars().zip(b.chars()) {
        if x != y {
            return differ((&a[same..], x), (&b[same..], y), &a[..same], digits);
        }
        digits = x.is_numeric();
        same += x.len_utf8();
    }
    a.len().cmp(&b.len())
}

/// The order of two texts by their first difference; `before` is what they share, `digits` whether it ends in one.
fn differ(a: (&str, char), b: (&str, char), before: &str, digits: bool) -> Ordering {
    let letters = (a.1.is_alphabetic(), b.1.is_alphabetic());
    match letters {
        (true, true) => return a.1.cmp(&b.1),
        (true, false) | (false, true) => {
            // Behind a digit a letter ends the number, so the shorter number comes first.
            return if letters.0 == digits {
                Ordering::Less
            } else {
                Ordering::Greater
            };
        }
        (false, false) => {}
    }
    let zero = a.1 == '0' || b.1 == '0';
    let run = before.chars().rev().take_while(char::is_ascii_digit);
    // A zero behind other digits lengthens a number that has begun before the difference.
    let begun = zero && run.into_iter().any(|c| c != '0');
    let number = |text: &str| {
        let start = i64::from(begun);
        let digits = text.bytes().take_while(u8::is_ascii_digit);
        digits.fold((start, 0), |(value, length): (i64, usize), digit| {
            let value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            (value, length + 1)
        })
    };
    number(a.0).cmp(&number(b.0)).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_with_their_numbers_by_value() {
        let keys = [
            "", "_", "1", "01", "2", "10", "A", "B1", "a 1", "a!", "a-b", "a.b", "a_b", "a~", "a1",
            "a1b", "a01", "a2", "a10", "aB", "ab", "b", "z", "é", "日",
        ];
        let mut mixed: Vec<&str> = keys.to_vec();
        mixed.reverse();
        assert_eq!(sorted(mixed, |a, b| natural(a, b)), keys);
        assert_eq!(
            sorted(["k105", "k12", "k1x", "k1", "k100", "k10"], |a, b| natural(
                a, b
            )),
            ["k1", "k1x", "k10", "k12", "k100", "k105"]
        );
    }

    #[test]
    fn numbers_beyond_64_bit_do_not_fail() {
        let keys: Vec<String> = (0..50)
            .map(|n| format!("k{}{n}", "9".repeat(n + 10)))
            .collect();
        assert_eq!(sorted(keys, |a, b| natural(a, b)).len(), 50);
    }

    #[test]
    fn known_keys_keep_their_order_and_extensions_come_last() {
        let value =
            serde_json::json!({"x-b": 1, "image": "i", "x-a": 1, "build": {}, "command": null});
        let object = value.as_object().expect("an object");
        let keys =
            |entries: Vec<Entry<'_>>| entries.iter().map(|e| e.0.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            keys(SERVICE.in_yaml(object)),
            ["build", "image", "x-a", "x-b"]
        );
        assert_eq!(keys(SERVICE.in_json(object)), ["build", "command", "image"]);
    }

    #[test]
    fn lists_whose_items_are_held_apart_are_known_without_types_too() {
        let value = serde_json::json!({"services": {"a": {"ports": [], "command": []}}});
        let printed = crate::compose::print::raw(
            value.as_object().expect("an object"),
            crate::compose::print::Format::Json,
        );
        let parsed: Value = serde_json::from_str(&printed).expect("JSON");
        let a = &parsed["services"]["a"];
        assert_eq!(
            (a["ports"].to_string(), a["command"].to_string()),
            ("[]".into(), "null".into())
        );
    }

    #[test]
    fn keys_that_compose_leaves_out_are_left_out() {
        let value = serde_json::json!({"bind": {"create_host_path": false}, "type": "bind"});
        let object = value.as_object().expect("an object");
        let entries = MOUNT.in_json(object);
        let (_, bind, form) = entries[1];
        assert_eq!(form.in_json(bind.as_object().expect("an object")).len(), 0);
        let value = serde_json::json!({"image": "i", "pull_refresh_after": "24h"});
        let object = value.as_object().expect("an object");
        assert_eq!(SERVICE.in_json(object).len(), 1);
        assert_eq!(SERVICE.in_yaml(object).len(), 1);
    }

    #[test]
    fn a_part_that_says_nothing_is_left_out_of_yaml_only() {
        let value = serde_json::json!({"ipam": {}, "name": "n"});
        let object = value.as_object().expect("an object");
        assert_eq!(NETWORK.in_yaml(object).len(), 1);
        assert_eq!(NETWORK.in_json(object).len(), 2);
    }
}
