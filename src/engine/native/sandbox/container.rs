//! A build step as a container: what the runtime is told of it.
//!
//! Imports: `engine`, `runtime`, `cdi`. Rights of a step as Docker's builder: the default ones, or all of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::Connection;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar;
use crate::engine::Result;
use crate::engine::native::cdi::Edits;
use crate::engine::native::layout::Layout;
use crate::engine::native::runtime::{BirthMount, BirthSource, ReadOnly};
use crate::engine::native::supervisor::described;
use crate::engine::sandbox::{SandboxMount, SandboxNetwork, SandboxSource, SandboxSpec};
use crate::engine::spec::*;
use crate::image::digest::Digest;

/// The step as a container.
pub(super) fn container(spec: &SandboxSpec) -> ContainerSpec {
    ContainerSpec {
        id: ContainerId::new(spec.id.clone()),
        name: spec.id.clone(),
        project: ProjectName::normalized("build").expect("a literal of letters is a project name"),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        image: ImageRef {
            name: String::new(),
            id: Digest::of(b""),
            layers: spec.layers.clone(),
        },
        // Rights come from `insecure` alone.
        process: Process {
            privileged: false,
            ..spec.process.clone()
        },
        stdio: Stdio {
            tty: spec.process.tty,
            stdin: spec.process.tty,
            stdin_once: false,
        },
        init: false,
        hostname: spec.hostname.clone(),
        domainname: None,
        read_only: false,
        mounts: Vec::new(),
        shm_size: spec.shm_size,
        namespaces: Namespaces::default(),
        network: if spec.network == SandboxNetwork::Host {
            NetworkMode::Host
        } else {
            NetworkMode::None
        },
        dns: DnsConfig::default(),
        extra_hosts: spec.extra_hosts.clone(),
        ports: Vec::new(),
        exposed: Vec::new(),
        resources: spec.limits.clone(),
        security: Security {
            privileged: spec.insecure,
            ..Security::default()
        },
        devices: Vec::new(),
        named_devices: Default::default(),
        device_cgroup_rules: Vec::new(),
        sysctls: BTreeMap::new(),
        ulimits: spec.ulimits.clone(),
        oom_score_adj: None,
        restart: RestartPolicy::No,
        restart_pace: Default::default(),
        stop_signal: scalar::Signal::KILL,
        stop_grace: Duration::ZERO,
        healthcheck: None,
        ready: None,
        on_unhealthy: Default::default(),
        log: LogConfig::default(),
        files: Vec::new(),
    }
}

/// All mounts of a step, those nearer to the root first.
///
/// # Errors
/// [`EngineError`](crate::engine::EngineError) for what a device's description asks and can't be had.
pub(super) fn mounts(
    spec: &SandboxSpec,
    layout: &Layout,
    network: &Connection,
    edits: Option<&Edits>,
) -> Result<Vec<BirthMount>> {
    let file = |target: &str, content: String| BirthMount {
        target: target.to_owned(),
        source: BirthSource::Bytes {
            content: content.into_bytes(),
            uid: 0,
            gid: 0,
            mode: 0o644,
        },
        read_only: ReadOnly::Whole,
    };
    let mut all = vec![
        file("/etc/resolv.conf", network.resolv_conf.clone()),
        file("/etc/hosts", hosts(spec, network.gateway)),
    ];
    all.retain(|own| !spec.mounts.iter().any(|mount| mount.target == own.target));
    all.extend(spec.mounts.iter().map(|mount| birth_mount(mount, layout)));
    for edit in edits.into_iter().flat_map(|edits| &edits.mounts) {
        let mount = described(edit)?;
        all.retain(|have| have.target != mount.target);
        all.push(mount);
    }
    // Those nearer to the root first, or they would hide the deeper ones.
    all.sort_by_key(|mount| {
        crate::sys::fs::clean(Path::new(&mount.target))
            .components()
            .count()
    });
    Ok(all)
}

fn birth_mount(mount: &SandboxMount, layout: &Layout) -> BirthMount {
    let source = match &mount.source {
        SandboxSource::Host { root, path } => BirthSource::Beneath {
            root: root.clone(),
            path: path.clone(),
        },
        SandboxSource::Layers {
            layers: digests,
            path,
            changes,
        } => BirthSource::ImageView {
            lower: layout.lower(digests),
            subpath: path.clone(),
            changes: changes.clone(),
        },
        SandboxSource::Tmpfs { size } => BirthSource::Tmpfs {
            size: *size,
            mode: None,
            // As BuildKit: programs may be run from there.
            options: ["exec", "dev"].map(str::to_owned).to_vec(),
        },
        SandboxSource::Bytes {
            content,
            uid,
            gid,
            mode,
        } => BirthSource::Bytes {
            content: content.clone(),
            uid: *uid,
            gid: *gid,
            mode: *mode,
        },
    };
    BirthMount {
        target: mount.target.clone(),
        source,
        read_only: match mount.read_only {
            true => ReadOnly::Whole,
            false => ReadOnly::No,
        },
    }
}

fn hosts(spec: &SandboxSpec, gateway: Option<IpAddr>) -> String {
    // As BuildKit.
    let mut text = format!(
        "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        spec.hostname
    );
    for (name, address) in &spec.extra_hosts {
        let address = match address {
            HostAddr::Ip(address) => Some(*address),
            HostAddr::Gateway => gateway,
        };
        if let Some(address) = address {
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    text
}
