//! The vocabulary of the Compose Specification as typed rules: which key may stand where and what it holds.
//!
//! In: nothing. Out: [`PROJECT`], walked by `check` (is it allowed?) and by `canon` (what is its long form?).
//! It holds no code but lookups. Imports: nothing.
//! Source: Compose Specification (services, build, deploy, develop, networks, volumes, configs, secrets, models).

/// What a value may be, and by that what its canonical form is.
#[derive(Debug)]
pub(super) enum Rule {
    /// Anything; kept as it is.
    Any,
    /// Text; left out when empty.
    Text,
    /// Text or a number; canonical as text.
    TextOrNumber,
    /// A boolean, or text that says one; left out when false.
    Bool,
    /// As `Bool`, but false is kept: it differs from nothing.
    Flag,
    /// An integer, or text that says one; left out when zero.
    Int,
    /// As `Int`, but zero is kept.
    Count,
    /// A number, or text that says one; left out when zero.
    Float,
    /// A byte size; canonical as text with the number of bytes.
    Bytes,
    /// A duration; canonical as Go prints it.
    Duration,
    /// A file mode; canonical as octal text.
    Mode,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of texts or numbers, each once; canonical as texts.
    Set,
    /// One text or a list of them, each once.
    TextOrSet,
    /// `key: value` or a list of `key=value`; nothing stands for empty text.
    Labels,
    /// As `Labels`, but a bare name takes its value from the environment.
    Vars,
    /// A mapping to texts, numbers or nothing.
    Options,
    /// `extra_hosts`.
    Hosts,
    /// A command line as text, list or null.
    Command,
    /// `healthcheck.test`.
    Test,
    /// A number or `{soft, hard}`.
    Ulimit,
    /// `external`: a boolean or the old `{name}`.
    External,
    /// A number of devices or `all`.
    DeviceCount,
    /// A provider's options: scalars or lists of them.
    ProviderOptions,
    /// A mapping with known keys.
    Object(&'static Shape),
    /// The rule or nothing.
    Nullable(&'static Self),
    /// A mapping from any name to the rule.
    Each(&'static Self),
    /// A list of the rule.
    List(&'static Self),
    /// A short form, or the mapping that it stands for.
    Short(Short, &'static Shape),
    /// A list of names, or a mapping from names to the rule.
    Named(Named, &'static Self),
    /// A text, or a list of the rule.
    OneOrList(&'static Self),
}

/// How a scalar is turned into the mapping it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// `build: ./dir`
    Build,
    /// `8080:80/tcp`, or a number
    Port,
    /// `./dir:/data:ro`
    Volume,
    /// `/dev/a:/dev/b:rwm`
    Device,
    /// A secret's or config's name.
    Grant,
    /// A path.
    EnvFile,
    /// A service's name.
    Extends,
    /// A path.
    Include,
}

/// What a bare name in a list stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// Nothing.
    Null,
    /// `{condition: service_started, required: true}`.
    Dependency,
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Shape {
    /// Its keys.
    pub(super) keys: &'static [(&'static str, Rule)],
    /// Keys that must be there.
    pub(super) required: &'static [&'static str],
}

impl Shape {
    /// The rule of a key.
    pub(super) fn rule(&self, key: &str) -> Option<&'static Rule> {
        self.keys
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, rule)| rule)
    }
}

use Rule::{
    Any, Bool, Bytes, Choice, Command, Count, DeviceCount, Duration, Each, External, Flag, Float,
    Hosts, Int, Labels, List, Mode, Named as NamedOf, Nullable, Object, OneOrList, Options,
    ProviderOptions, Set, Short as ShortOf, Test, Text, TextOrNumber, TextOrSet, Texts, Ulimit,
    Vars,
};

macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($key:literal: $rule:expr),* $(,)? } $(requires $($need:literal),+)?) => {
        $(#[$doc])*
        pub(super) static $name: Shape =
            Shape { keys: &[$(($key, $rule)),*], required: &[$($($need),+)?] };
    };
}

shape! {
    /// The top level.
    PROJECT {
        "version": Text,
        "name": Text,
        "include": List(&ShortOf(Short::Include, &INCLUDE)),
        "services": Each(&Object(&SERVICE)),
        "networks": Each(&Nullable(&Object(&NETWORK))),
        "volumes": Each(&Nullable(&Object(&VOLUME))),
        "configs": Each(&Object(&CONFIG)),
        "secrets": Each(&Object(&SECRET)),
        "models": Each(&Object(&MODEL)),
    }
}
shape! {
    /// One entry of `include`.
    INCLUDE { "path": TextOrSet, "env_file": TextOrSet, "project_directory": Text }
}
shape! {
    /// One service.
    SERVICE {
        "annotations": Labels,
        "attach": Flag,
        "blkio_config": Object(&BLKIO),
        "build": ShortOf(Short::Build, &BUILD),
        "cap_add": Set,
        "cap_drop": Set,
        "cgroup": Choice(&["host", "private"]),
        "cgroup_parent": Text,
        "command": Command,
        "configs": List(&ShortOf(Short::Grant, &GRANT)),
        "container_name": Text,
        "cpu_count": Int,
        "cpu_percent": Int,
        "cpu_period": Int,
        "cpu_quota": Int,
        "cpu_rt_period": Int,
        "cpu_rt_runtime": Int,
        "cpu_shares": Int,
        "cpus": Float,
        "cpuset": Text,
        "credential_spec": Object(&CREDENTIAL),
        "depends_on": NamedOf(Named::Dependency, &Object(&DEPENDENCY)),
        "deploy": Nullable(&Object(&DEPLOY)),
        "develop": Nullable(&Object(&DEVELOP)),
        "device_cgroup_rules": Set,
        "devices": List(&ShortOf(Short::Device, &DEVICE)),
        "dns": TextOrSet,
        "dns_opt": Set,
        "dns_search": TextOrSet,
        "domainname": Text,
        "entrypoint": Command,
        "env_file": OneOrList(&ShortOf(Short::EnvFile, &ENV_FILE)),
        "environment": Vars,
        "expose": Set,
        "extends": ShortOf(Short::Extends, &EXTENDS),
        "external_links": Set,
        "extra_hosts": Hosts,
        "gpus": OneOrList(&Object(&GPU)),
        "group_add": Set,
        "healthcheck": Object(&HEALTHCHECK),
        "hostname": Text,
        "image": Text,
        "init": Flag,
        "ipc": Text,
        "isolation": Text,
        "label_file": TextOrSet,
        "labels": Labels,
        "links": Set,
        "logging": Object(&LOGGING),
        "mac_address": Text,
        "mem_limit": Bytes,
        "mem_reservation": Bytes,
        "mem_swappiness": Bytes,
        "memswap_limit": Bytes,
        "models": NamedOf(Named::Null, &Nullable(&Object(&MODEL_GRANT))),
        "network_mode": Text,
        "networks": NamedOf(Named::Null, &Nullable(&Object(&ATTACHMENT))),
        "oom_kill_disable": Bool,
        "oom_score_adj": Int,
        "pid": Nullable(&Text),
        "pids_limit": Int,
        "platform": Text,
        "ports": List(&ShortOf(Short::Port, &PORT)),
        "post_start": List(&Object(&HOOK)),
        "pre_start": List(&Object(&PRE_START)),
        "pre_stop": List(&Object(&HOOK)),
        "privileged": Bool,
        "profiles": Set,
        "provider": Object(&PROVIDER),
        "pull_policy": Text,
        "pull_refresh_after": Text,
        "read_only": Bool,
        "restart": Text,
        "runtime": Text,
        "scale": Count,
        "secrets": List(&ShortOf(Short::Grant, &GRANT)),
        "security_opt": Set,
        "shm_size": Bytes,
        "stdin_open": Bool,
        "stop_grace_period": Duration,
        "stop_signal": Text,
        "storage_opt": Options,
        "sysctls": Labels,
        "tmpfs": TextOrSet,
        "tty": Bool,
        "ulimits": Each(&Ulimit),
        "use_api_socket": Bool,
        "user": Text,
        "userns_mode": Text,
        "uts": Text,
        "volumes": List(&ShortOf(Short::Volume, &MOUNT)),
        "volumes_from": Set,
        "working_dir": Text,
    }
}
shape! {
    /// `build`.
    BUILD {
        "additional_contexts": Labels,
        "args": Vars,
        "cache_from": Texts,
        "cache_to": Texts,
        "context": Text,
        "dockerfile": Text,
        "dockerfile_inline": Text,
        "entitlements": Texts,
        "extra_hosts": Hosts,
        "isolation": Text,
        "labels": Labels,
        "network": Text,
        "no_cache": Bool,
        "no_cache_filter": TextOrSet,
        "platforms": Set,
        "privileged": Bool,
        "provenance": TextOrNumber,
        "pull": Bool,
        "sbom": TextOrNumber,
        "secrets": List(&ShortOf(Short::Grant, &GRANT)),
        "shm_size": Bytes,
        "ssh": Labels,
        "tags": Set,
        "target": Text,
        "ulimits": Each(&Ulimit),
    }
}
shape! {
    /// `blkio_config`.
    BLKIO {
        "device_read_bps": List(&Object(&BLKIO_RATE)),
        "device_read_iops": List(&Object(&BLKIO_RATE)),
        "device_write_bps": List(&Object(&BLKIO_RATE)),
        "device_write_iops": List(&Object(&BLKIO_RATE)),
        "weight": Int,
        "weight_device": List(&Object(&BLKIO_WEIGHT)),
    }
}
shape! {
    /// A device's limit.
    BLKIO_RATE { "path": Text, "rate": Bytes }
}
shape! {
    /// A device's weight.
    BLKIO_WEIGHT { "path": Text, "weight": Int }
}
shape! {
    /// An entry of `configs` or `secrets` of a service or a build.
    GRANT { "source": Text, "target": Text, "uid": Text, "gid": Text, "mode": Mode }
}
shape! {
    /// `credential_spec`.
    CREDENTIAL { "config": Text, "file": Text, "registry": Text }
}
shape! {
    /// An entry of `depends_on`.
    DEPENDENCY {
        "condition":
            Choice(&["service_started", "service_healthy", "service_completed_successfully"]),
        "required": Flag,
        "restart": Bool,
    } requires "condition"
}
shape! {
    /// `deploy`.
    DEPLOY {
        "endpoint_mode": Text,
        "labels": Labels,
        "mode": Text,
        "placement": Object(&PLACEMENT),
        "replicas": Count,
        "resources": Object(&RESOURCES),
        "restart_policy": Object(&RESTART),
        "rollback_config": Object(&UPDATE),
        "update_config": Object(&UPDATE),
    }
}
shape! {
    /// `deploy.placement`.
    PLACEMENT {
        "constraints": Texts,
        "max_replicas_per_node": Int,
        "preferences": List(&Object(&PREFERENCE)),
    }
}
shape! {
    /// An entry of `deploy.placement.preferences`.
    PREFERENCE { "spread": Text }
}
shape! {
    /// `deploy.resources`.
    RESOURCES { "limits": Object(&LIMITS), "reservations": Object(&RESERVATIONS) }
}
shape! {
    /// `deploy.resources.limits`.
    LIMITS { "cpus": Float, "memory": Bytes, "pids": Int }
}
shape! {
    /// `deploy.resources.reservations`.
    RESERVATIONS {
        "cpus": Float,
        "devices": List(&Object(&DEVICE_REQUEST)),
        "generic_resources": List(&Object(&GENERIC)),
        "memory": Bytes,
    }
}
shape! {
    /// An entry of `generic_resources`.
    GENERIC { "discrete_resource_spec": Object(&DISCRETE) }
}
shape! {
    /// `discrete_resource_spec`.
    DISCRETE { "kind": Text, "value": Int }
}
shape! {
    /// An entry of `deploy.resources.reservations.devices`.
    DEVICE_REQUEST {
        "capabilities": Set,
        "count": DeviceCount,
        "device_ids": Set,
        "driver": Text,
        "options": Labels,
    } requires "capabilities"
}
shape! {
    /// An entry of `gpus`.
    GPU {
        "capabilities": Set,
        "count": DeviceCount,
        "device_ids": Set,
        "driver": Text,
        "options": Labels,
    }
}
shape! {
    /// `deploy.restart_policy`.
    RESTART { "condition": Text, "delay": Duration, "max_attempts": Count, "window": Duration }
}
shape! {
    /// `deploy.update_config`, `deploy.rollback_config`.
    UPDATE {
        "delay": Duration,
        "failure_action": Text,
        "max_failure_ratio": Float,
        "monitor": Duration,
        "order": Choice(&["start-first", "stop-first"]),
        "parallelism": Count,
    }
}
shape! {
    /// `develop`.
    DEVELOP { "watch": List(&Object(&WATCH)) }
}
shape! {
    /// An entry of `develop.watch`.
    WATCH {
        "action": Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        "exec": Object(&HOOK),
        "ignore": TextOrSet,
        "include": TextOrSet,
        "initial_sync": Bool,
        "path": Text,
        "target": Text,
    } requires "path", "action"
}
shape! {
    /// `post_start`, `pre_stop`, `develop.watch[].exec`.
    HOOK {
        "command": Command,
        "environment": Vars,
        "privileged": Bool,
        "user": Text,
        "working_dir": Text,
    } requires "command"
}
shape! {
    /// `pre_start`.
    PRE_START {
        "command": Command,
        "environment": Vars,
        "image": Text,
        "per_replica": Bool,
        "privileged": Bool,
        "user": Text,
        "working_dir": Text,
    }
}
shape! {
    /// An entry of `devices`.
    DEVICE { "permissions": Text, "source": Text, "target": Text } requires "source"
}
shape! {
    /// An entry of `env_file`.
    ENV_FILE { "format": Text, "path": Text, "required": Flag } requires "path"
}
shape! {
    /// `extends`.
    EXTENDS { "file": Text, "service": Text } requires "service"
}
shape! {
    /// `healthcheck`.
    HEALTHCHECK {
        "disable": Bool,
        "interval": Duration,
        "retries": Count,
        "start_interval": Duration,
        "start_period": Duration,
        "test": Test,
        "timeout": Duration,
    }
}
shape! {
    /// `logging`.
    LOGGING { "driver": Text, "options": Options }
}
shape! {
    /// An entry of a service's `models`.
    MODEL_GRANT { "endpoint_var": Text, "model_var": Text }
}
shape! {
    /// An entry of a service's `networks`.
    ATTACHMENT {
        "aliases": Set,
        "driver_opts": Options,
        "gw_priority": Int,
        "interface_name": Text,
        "ipv4_address": Text,
        "ipv6_address": Text,
        "link_local_ips": Set,
        "mac_address": Text,
        "priority": Int,
    }
}
shape! {
    /// An entry of `ports`.
    PORT {
        "app_protocol": Text,
        "host_ip": Text,
        "mode": Text,
        "name": Text,
        "protocol": Text,
        "published": TextOrNumber,
        "target": Int,
    }
}
shape! {
    /// `provider`.
    PROVIDER { "options": ProviderOptions, "type": Text } requires "type"
}
shape! {
    /// An entry of a service's `volumes`.
    MOUNT {
        "bind": Object(&BIND),
        "consistency": Text,
        "image": Object(&IMAGE_MOUNT),
        "read_only": Bool,
        "source": Text,
        "target": Text,
        "tmpfs": Object(&TMPFS),
        "type": Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        "volume": Object(&VOLUME_MOUNT),
    } requires "type"
}
shape! {
    /// `volumes[].bind`.
    BIND {
        "create_host_path": Flag,
        "propagation": Text,
        "recursive": Choice(&["enabled", "disabled", "writable", "readonly"]),
        "selinux": Choice(&["z", "Z"]),
    }
}
shape! {
    /// `volumes[].image`.
    IMAGE_MOUNT { "subpath": Text }
}
shape! {
    /// `volumes[].tmpfs`.
    TMPFS { "mode": Int, "size": Bytes }
}
shape! {
    /// `volumes[].volume`.
    VOLUME_MOUNT { "labels": Labels, "nocopy": Bool, "subpath": Text }
}
shape! {
    /// An entry of the top-level `networks`.
    NETWORK {
        "attachable": Bool,
        "driver": Text,
        "driver_opts": Options,
        "enable_ipv4": Flag,
        "enable_ipv6": Flag,
        "external": External,
        "internal": Bool,
        "ipam": Object(&IPAM),
        "labels": Labels,
        "name": Text,
    }
}
shape! {
    /// `ipam`.
    IPAM { "config": List(&Object(&POOL)), "driver": Text, "options": Options }
}
shape! {
    /// An entry of `ipam.config`.
    POOL { "aux_addresses": Options, "gateway": Text, "ip_range": Text, "subnet": Text }
}
shape! {
    /// An entry of the top-level `volumes`.
    VOLUME {
        "driver": Text,
        "driver_opts": Options,
        "external": External,
        "labels": Labels,
        "name": Text,
    }
}
shape! {
    /// An entry of the top-level `configs`.
    CONFIG {
        "content": Text,
        "environment": Text,
        "external": External,
        "file": Text,
        "labels": Labels,
        "name": Text,
        "template_driver": Text,
    }
}
shape! {
    /// An entry of the top-level `secrets`.
    SECRET {
        "driver": Text,
        "driver_opts": Options,
        "environment": Text,
        "external": External,
        "file": Text,
        "labels": Labels,
        "name": Text,
        "template_driver": Text,
    }
}
shape! {
    /// An entry of the top-level `models`.
    MODEL { "context_size": Int, "model": Text, "name": Text, "runtime_flags": Texts } requires "model"
}

/// The rule of `x-*` keys.
pub(super) static EXTENSION: Rule = Any;
