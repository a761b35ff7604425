//! One service and the parts that only it has.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bool, Bytes, Choice, Command, Count, DeviceCount, Duration, Each, Flag, Float, Hosts, Int,
    Labels, List, Named as NamedOf, Nullable, Object, OneOrList, Options, ProviderOptions, Set,
    Short as ShortOf, Test, Text, TextOrSet, Ulimit, Vars,
};
use super::build::BUILD;
use super::deploy::DEPLOY;
use super::develop::{DEVELOP, HOOK, PRE_START};
use super::storage::{GRANT, MOUNT, PORT};
use super::{Named, Short, shape};

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
    /// `provider`.
    PROVIDER { "options": ProviderOptions, "type": Text } requires "type"
}
shape! {
    /// One of the `ulimits`, in its long form.
    ULIMIT { "hard": Int, "soft": Int } requires "soft", "hard"
}
