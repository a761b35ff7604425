//! One service.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    AllOrList, Bool, Bytes, Choice, Command, Count, Duration, Each, Exposed, Flag, Float, Groups,
    Hosts, Int, Labels, List, LogOptions, Named as NamedOf, Natural, Nullable, Number, Object,
    OneOrList, Own, Set, Short as ShortOf, Strict, Text, TextOrSet, Ulimit, Unique, Vars,
    WholeBytes,
};
use super::build::BUILD;
use super::deploy::DEPLOY;
use super::develop::{DEVELOP, HOOK, PRE_START};
use super::parts::{
    ATTACHMENT, BLKIO, CREDENTIAL, DEPENDENCY, DEVICE, ENV_FILE, EXTENDS, GPU, HEALTHCHECK,
    LOGGING, MODEL_GRANT, PROVIDER, SERVICE_HOIST,
};
use super::storage::{GRANT, MOUNT, PORT};
use super::{Named, Short, shape};

shape! {
    /// A service: one image, run as one or more equal containers.
    SERVICE {
        /// Annotations for the container's runtime configuration, as a mapping or a list of `KEY=VALUE`.
        "annotations": Labels,
        /// Whether `up` shows the output of this service.
        "attach": Flag => "true",
        /// Weights and limits of the containers' block device I/O.
        "blkio_config": Object(&BLKIO),
        /// How the image is built: the directory of the context, or everything about the build.
        "build": ShortOf(Short::Build, &BUILD),
        /// Linux capabilities that are added, such as `NET_ADMIN`; `ALL` is all.
        "cap_add": Set,
        /// Linux capabilities that are taken away, such as `CHOWN`; `ALL` is all.
        "cap_drop": Set,
        /// The cgroup namespace: the host's, or one of its own.
        "cgroup": Choice(&["host", "private"]),
        /// The cgroup below which the containers' cgroups are made.
        "cgroup_parent": Text,
        /// Arguments that replace the image's `CMD`; an empty list clears it, null keeps it.
        "command": Command,
        /// Entries of the top-level `configs` that the service gets as files.
        "configs": List(&ShortOf(Short::Grant, &GRANT)),
        /// A fixed name for the container; the service can't be scaled then.
        "container_name": Text,
        /// Number of usable CPUs, on Windows only.
        "cpu_count": Natural,
        /// Usable percentage of the CPUs, on Windows only.
        "cpu_percent": Natural,
        /// Length of the CPU scheduler's period in microseconds.
        "cpu_period": Number,
        /// CPU time in microseconds that the container may use in each `cpu_period`.
        "cpu_quota": Number,
        /// Period of the real-time scheduler, in microseconds or as a duration.
        "cpu_rt_period": Number,
        /// Time in each `cpu_rt_period` for real-time tasks, in microseconds or as a duration.
        "cpu_rt_runtime": Number,
        /// Weight of the container's CPU time beside other containers; 1024 is usual.
        "cpu_shares": Number,
        /// How many CPUs the container may use at most; fractions are allowed.
        "cpus": Float,
        /// CPUs that the container may run on, such as `0-3` or `0,1`.
        "cpuset": Text,
        /// Credentials of a managed service account, on Windows only.
        "credential_spec": Object(&CREDENTIAL),
        /// Services that are started before this one and stopped after it, and what must hold of them.
        "depends_on": NamedOf(Named::Dependency, &Object(&DEPENDENCY)),
        /// Number of containers, their resources, and how an orchestrator places and updates them.
        "deploy": Nullable(&Object(&DEPLOY)),
        /// What happens when source files change while `watch` runs.
        "develop": Nullable(&Object(&DEVELOP)),
        /// Rules for device access as the kernel writes them, such as `c 1:3 mr`.
        "device_cgroup_rules": Unique,
        /// Devices of the host that the containers get, as `HOST[:CONTAINER[:rwm]]` or a CDI name.
        "devices": List(&ShortOf(Short::Device, &DEVICE)),
        /// Addresses of the DNS servers that the containers ask.
        "dns": TextOrSet,
        /// Options for the containers' `resolv.conf`.
        "dns_opt": Set,
        /// Domains in which short host names are searched.
        "dns_search": TextOrSet,
        /// Domain part of the containers' host name.
        "domainname": Text,
        /// Program that replaces the image's `ENTRYPOINT`; the image's `CMD` is dropped then.
        "entrypoint": Command,
        /// Files with environment variables for the containers; later files win, `environment` wins over all.
        "env_file": OneOrList(&ShortOf(Short::EnvFile, &ENV_FILE)),
        /// Environment variables of the containers; a name without a value is taken from the shell.
        "environment": Vars,
        /// Ports that other services can reach, without publishing them on the host.
        "expose": Exposed,
        /// A service, of this or another file, that this one builds upon.
        "extends": ShortOf(Short::Extends, &EXTENDS),
        /// Containers outside of the project that are reachable by name, as `CONTAINER[:ALIAS]`.
        "external_links": Unique,
        /// Lines for `/etc/hosts`, as a mapping or as `HOST=ADDRESS`; `host-gateway` is the host.
        "extra_hosts": Hosts,
        /// GPUs that the containers get: `all`, or a list of requests.
        "gpus": AllOrList(&Object(&GPU)),
        /// Further groups of the container's user, by name or number.
        "group_add": Groups,
        /// A command that tells whether a container is healthy.
        "healthcheck": Object(&HEALTHCHECK),
        /// Host name of the containers.
        "hostname": Text,
        /// The image to run, such as `nginx:1.29`; with `build` also the name of what is built.
        "image": Text,
        /// Whether a small init process runs first, which forwards signals and reaps processes.
        "init": Flag,
        /// The IPC namespace: `private`, `shareable`, `host`, `service:NAME` or `container:NAME`.
        "ipc": Text,
        /// Isolation technology of the container, on Windows only.
        "isolation": Text,
        /// Files with labels for the containers; `labels` wins over them.
        "label_file": TextOrSet,
        /// Labels of the containers, as a mapping or a list of `KEY=VALUE`.
        "labels": Labels,
        /// Services that are reachable under another name too, as `SERVICE[:ALIAS]`.
        "links": Set,
        /// Where the output of the containers is kept.
        "logging": Object(&LOGGING),
        /// MAC address of the container.
        "mac_address": Text,
        /// Memory that the container may use at most, such as `512m`.
        "mem_limit": Bytes,
        /// Memory that the container keeps when the host runs short of it.
        "mem_reservation": WholeBytes,
        /// How willingly the container's memory is swapped out, 0 to 100.
        "mem_swappiness": WholeBytes,
        /// Memory and swap together that the container may use; -1 is no limit.
        "memswap_limit": Bytes,
        /// Entries of the top-level `models` that the service uses.
        "models": NamedOf(Named::Null, &Nullable(&Object(&MODEL_GRANT))),
        /// Instead of `networks`: `none`, `host`, `bridge`, `service:NAME` or `container:NAME`.
        "network_mode": Text,
        /// Networks that the containers join; the project's `default` where none is said.
        "networks": NamedOf(Named::Null, &Nullable(&Object(&ATTACHMENT))),
        /// Whether the container is spared when memory runs out.
        "oom_kill_disable": Bool,
        /// How readily the container is killed when memory runs out, -1000 to 1000.
        "oom_score_adj": Int,
        /// The process namespace: `host`, `service:NAME` or `container:NAME`.
        "pid": Nullable(&Text),
        /// How many processes the container may have; -1 is no limit.
        "pids_limit": Number,
        /// Platform of the image, as `OS/ARCH[/VARIANT]`.
        "platform": Text,
        /// Ports that are published on the host, as `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]` or a mapping.
        "ports": List(&ShortOf(Short::Port, &PORT)),
        /// Commands that run in a container right after its start.
        "post_start": List(&Object(&HOOK)),
        /// Containers that run to their end, one after the other, before the service's container starts.
        "pre_start": List(&Object(&PRE_START)),
        /// Commands that run in a container right before it is stopped.
        "pre_stop": List(&Object(&HOOK)),
        /// Whether the containers get all devices and capabilities of the host.
        "privileged": Bool,
        /// The service is on only while one of these profiles is; without any it is always on.
        "profiles": Set,
        /// An external program that provides what this service stands for, instead of a container.
        "provider": Object(&PROVIDER),
        /// When the image is fetched: `always`, `never`, `missing`, `build`, `daily`, `weekly` or `every_12h`.
        "pull_policy": Text => "missing",
        /// Age at which an image counts as outdated, for `pull_policy: refresh`.
        "pull_refresh_after": Text,
        /// Whether the root file system of the containers is read-only.
        "read_only": Bool,
        /// What happens when a container ends: `no`, `always`, `unless-stopped` or `on-failure[:COUNT]`.
        "restart": Text => "no",
        /// The OCI runtime that runs the containers, such as `runc`.
        "runtime": Text,
        /// Number of containers.
        "scale": Count,
        /// Entries of the top-level `secrets` that the service gets as files.
        "secrets": List(&ShortOf(Short::Grant, &GRANT)),
        /// Security options such as `no-new-privileges:true` or `seccomp=FILE`.
        "security_opt": Unique,
        /// Size of `/dev/shm`, such as `64m`.
        "shm_size": Bytes,
        /// Whether the standard input of the containers stays open.
        "stdin_open": Bool,
        /// Time between the stop signal and the kill, such as `1m30s`.
        "stop_grace_period": Duration => "10s",
        /// Signal that asks the container to stop.
        "stop_signal": Text,
        /// Options of the storage driver, such as `size`.
        "storage_opt": LogOptions,
        /// Kernel parameters of the containers, as a mapping or a list of `KEY=VALUE`.
        "sysctls": Labels,
        /// Directories of the containers that are kept in memory, as `PATH[:OPTIONS]`.
        "tmpfs": TextOrSet,
        /// Whether the containers get a terminal.
        "tty": Bool,
        /// Limits of the processes, each one number or a soft and a hard limit.
        "ulimits": Each(&Ulimit),
        /// Whether the containers may talk to the container engine.
        "use_api_socket": Strict(&Bool),
        /// User that the process runs as, as `USER[:GROUP]` by name or number.
        "user": Text,
        /// The user namespace; `host` is the engine's own.
        "userns_mode": Text,
        /// The namespace of the host name; `host` shares the host's.
        "uts": Text,
        /// What is mounted into the containers, as `[SOURCE:]TARGET[:OPTIONS]` or a mapping.
        "volumes": List(&ShortOf(Short::Volume, &MOUNT)),
        /// Services or containers whose mounts are taken over, as `NAME[:ro]` or `container:NAME[:ro]`.
        "volumes_from": Unique,
        /// Directory that the process starts in.
        "working_dir": Text,
        /// What hoist has beyond the specification.
        "x-hoist": Own(&SERVICE_HOIST),
    }
}
