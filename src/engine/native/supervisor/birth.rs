//! From a container's record to everything its birth needs: mounts, files below `/etc`, network, cgroup.
//!
//! Imports: `base`, `engine`, `sys`; beside it `layout`, `volumes`, `net`, `dns`, `cgroup`, `runtime`.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{self, Missing};
use crate::base::name::ContainerId;
use crate::engine::native::cdi::{self, Edits, MountEdit};
use crate::engine::native::dns::{Answerer, Upstream, Zone};
use crate::engine::native::idmap;
use crate::engine::native::layout::{ContainerDir, Layout};
use crate::engine::native::net::{
    self, Lease, LeaseRequest, Link, NetworkRecord, Networks, PublishRequest,
    files::{Hosts, Resolver, hosts, resolv_conf},
};
use crate::engine::native::records::{self, InitProcess, Live, Record, Standing};
use crate::engine::native::runtime::{self, BirthMount, BirthSource, ReadOnly};
use crate::engine::native::volumes;
use crate::engine::spec::{
    ContainerSpec, Endpoint, Ipc, Mount, MountSource, NetworkMode, PortMapping, Share,
};
use crate::engine::state::Attachment;
use crate::engine::{EngineError, Result};

/// What of the network lives in the supervisor while the container is up.
#[derive(Debug, Default)]
pub(super) struct Connected {
    /// The namespace to be born in; `None` is the host's.
    pub netns: Option<OwnedFd>,
    /// Hold the published ports.
    pub doors: net::Doors,
    /// Answers the container's name look-ups, on networks of its own.
    pub answerer: Option<Answerer>,
    /// Addresses and ports.
    pub live: Live,
}

/// Makes the container's network: namespace, addresses, ports, names.
///
/// # Errors
/// [`EngineError`]; what was made so far is taken away by [`disconnect`].
pub(super) fn connect(layout: &Layout, spec: &ContainerSpec) -> Result<Connected> {
    let dir = layout.container(&spec.project, &spec.id);
    let endpoints = match &spec.network {
        NetworkMode::Host => {
            write_etc(layout, spec, &[], None)?;
            return Ok(Connected::default());
        }
        NetworkMode::Container(other) => {
            let netns = open_file(&layout.netns(other)).map_err(|_| EngineError::NotRunning {
                name: other.short().to_owned(),
            })?;
            std::fs::write(layout.joined(other), "")
                .map_err(|error| EngineError::failed("join a network namespace", error))?;
            return Ok(Connected {
                netns: Some(netns),
                ..Connected::default()
            });
        }
        NetworkMode::None => &[],
        NetworkMode::Networks(endpoints) => endpoints.as_slice(),
    };
    let netns = net::new_netns(Some(&dir.netns()))?;
    let places = places(layout, spec, endpoints)?;
    let best4 = way_out(&places, endpoints, |lease| lease.gateway4().is_some());
    let best6 = way_out(&places, endpoints, |lease| lease.gateway6().is_some());
    let links: Vec<Link<'_>> = places
        .iter()
        .zip(endpoints)
        .enumerate()
        .map(|(at, (place, endpoint))| Link {
            record: &place.record,
            lease: &place.lease,
            endpoint,
            default4: best4 == Some(at),
            default6: best6 == Some(at),
        })
        .collect();
    if !links.is_empty() {
        net::connect(netns.as_fd(), &spec.id, &links)?;
    }
    let best = best4.or(best6).and_then(|best| places.get(best));
    write_etc(layout, spec, &places, best)?;
    let mut live = Live {
        networks: attachments(&places, endpoints),
        ports: Vec::new(),
    };
    let mut doors = net::Doors::default();
    if !spec.ports.is_empty() {
        let mut ways = ways(&places, best4, best6);
        net::open(&spec.id, &ways, &spec.ports)?;
        ways.retain(|way| !net::is_routed(way.network, way.target.is_ipv4()));
        let published = net::publish(&PublishRequest {
            container: &spec.id,
            name: &spec.name,
            ports: &bound(&spec.ports, &ways),
            ways: &ways,
        })?;
        doors = published.doors;
        live.ports = published.ports;
    }
    let answerer = answerer(layout, spec, netns.as_fd(), &places)?;
    Ok(Connected {
        netns: Some(netns),
        doors,
        answerer,
        live,
    })
}

/// Ports that name no address of the host are those of the one that their network says.
fn bound(ports: &[PortMapping], ways: &[net::Way<'_>]) -> Vec<PortMapping> {
    let binding = ways.iter().find_map(|way| {
        let driver = way.network.driver();
        driver.bridge().and_then(|options| options.host_binding)
    });
    let one = |port: &PortMapping| PortMapping {
        host_ip: port.host_ip.or(binding),
        ..port.clone()
    };
    ports.iter().map(one).collect()
}

/// How published ports reach the container: over the network that it answers by, of each version of IP. Only a bridge
/// publishes ports; the plan has warned of others.
fn ways(places: &[Place], best4: Option<usize>, best6: Option<usize>) -> Vec<net::Way<'_>> {
    let way = |best: Option<usize>, target: fn(&Lease) -> Option<IpAddr>| {
        let place = places.get(best?).filter(|place| place.record.has_host())?;
        Some(net::Way {
            network: &place.record,
            target: target(&place.lease)?,
        })
    };
    let v4 = way(best4, |lease| lease.ipv4().map(IpAddr::V4));
    let v6 = way(best6, |lease| lease.ipv6().map(IpAddr::V6));
    v4.into_iter().chain(v6).collect()
}

/// The network that packets of one version of IP leave by: the highest `gw_priority`, of equals the first by name,
/// never an internal network. As Docker; `priority` says nothing about it.
fn way_out(
    places: &[Place],
    endpoints: &[Endpoint],
    has_gateway: impl Fn(&Lease) -> bool,
) -> Option<usize> {
    let each = places.iter().zip(endpoints).enumerate();
    each.filter(|(_, (place, _))| place.record.leads_outside() && has_gateway(&place.lease))
        .max_by_key(|(_, (_, one))| (one.gw_priority, std::cmp::Reverse(&one.network)))
        .map(|(at, _)| at)
}

/// Finds a running container's network again for a supervisor that adopts it.
///
/// # Errors
/// [`EngineError`].
pub(super) fn reconnect(layout: &Layout, spec: &ContainerSpec) -> Result<Connected> {
    let dir = layout.container(&spec.project, &spec.id);
    // A loss of it is a loss of words in lists, and of the sockets that hold ports.
    let live = records::read::<Live>(&dir.live()).ok().flatten();
    let live = live.unwrap_or_default();
    let NetworkMode::Networks(endpoints) = &spec.network else {
        return Ok(Connected {
            live,
            ..Connected::default()
        });
    };
    let netns = own_netns(layout, &dir, &spec.id)?;
    let places = places(layout, spec, endpoints)?;
    // The rules are in the kernel still; only the sockets that hold the ports went with their owner.
    let best4 = way_out(&places, endpoints, |lease| lease.gateway4().is_some());
    let best6 = way_out(&places, endpoints, |lease| lease.gateway6().is_some());
    let doors = net::hold_again(&live.ports, &ways(&places, best4, best6))?;
    let answerer = answerer(layout, spec, netns.as_fd(), &places)?;
    Ok(Connected {
        netns: Some(netns),
        doors,
        answerer,
        live,
    })
}

/// A running container's network namespace: what was pinned, or where somebody has taken the pin off, that of its
/// process, which is pinned again.
fn own_netns(layout: &Layout, dir: &ContainerDir, id: &ContainerId) -> Result<OwnedFd> {
    const NSFS: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x6e73_6673);
    let pinned = open_file(&dir.netns()).ok().filter(|found| {
        nix::sys::statfs::fstatfs(found).is_ok_and(|found| found.filesystem_type() == NSFS)
    });
    if let Some(pinned) = pinned {
        return Ok(pinned);
    }
    let found = namespace(layout, id, "net")?;
    net::unpin(&dir.netns())?;
    net::pin(found.as_fd(), &dir.netns())?;
    Ok(found)
}

/// Takes the container's network away, as far as it is there; goes on after a failure and gives the first. The kernel
/// takes the devices with the namespace, whose last reference goes here. What comes back besides is best kept to the
/// end.
pub(super) fn disconnect(
    layout: &Layout,
    spec: &ContainerSpec,
) -> (Option<net::Withdrawn>, Result<()>) {
    let dir = layout.container(&spec.project, &spec.id);
    let mut withdrawn = Ok(None);
    let mut direct = false;
    if let NetworkMode::Networks(endpoints) = &spec.network {
        if !spec.ports.is_empty() {
            withdrawn = net::unpublish(&spec.id);
        }
        if let Ok(Some(live)) = records::read::<Live>(&dir.live()) {
            let places = live.networks.into_iter();
            net::forget(&places.flat_map(|place| place.addresses).collect::<Vec<_>>());
        }
        if let Ok(networks) = Networks::open(layout.roots()) {
            for endpoint in endpoints {
                let record = networks.get(&endpoint.network).ok().flatten();
                if let (Some(record), false) = (&record, spec.ports.is_empty()) {
                    // A rule that stays leads to an address that nobody has; it goes with the network.
                    let _ = net::close(&spec.id, record);
                }
                direct |= record.is_some_and(|record| !record.has_host());
                // A place that can't be given back is nobody's once the container is gone.
                let _ = networks.release(&endpoint.network, &spec.id);
            }
        }
    }
    if direct && let Ok(netns) = open_file(&dir.netns()) {
        // Their hardware addresses are needed again at once where the container is started again.
        let _ = net::empty(netns.as_fd());
    }
    let mut unpinned = net::unpin(&dir.netns());
    if let NetworkMode::Networks(endpoints) = &spec.network {
        unpinned = unpinned.and(net::unplug(&spec.id, endpoints.len()));
    }
    // Whoever was let in keeps the namespace, but its addresses are others' from now on.
    if std::fs::remove_file(dir.joined()).is_ok() {
        unpinned = unpinned.and(net::disconnect(&spec.id));
    }
    match withdrawn {
        Ok(withdrawn) => (withdrawn, unpinned),
        Err(error) => (None, Err(error)),
    }
}

fn open_file(path: &Path) -> nix::Result<OwnedFd> {
    use nix::fcntl::OFlag;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())
}

/// A container's place on one network, with its addresses.
struct Place {
    record: NetworkRecord,
    lease: Lease,
}

fn places(layout: &Layout, spec: &ContainerSpec, endpoints: &[Endpoint]) -> Result<Vec<Place>> {
    let networks = Networks::open(layout.roots())?;
    let place = |endpoint: &Endpoint| {
        let name = &endpoint.network;
        let missing = || EngineError::NotFound {
            kind: "network",
            name: name.clone(),
        };
        let record = networks.get(name)?.ok_or_else(missing)?;
        let request = LeaseRequest {
            container: &spec.id,
            name: &spec.name,
            endpoint,
        };
        let lease = networks.lease(name, &request)?;
        Ok(Place { record, lease })
    };
    endpoints.iter().map(place).collect()
}

fn attachments(places: &[Place], endpoints: &[Endpoint]) -> Vec<Attachment> {
    let each = places.iter().zip(endpoints);
    each.map(|(place, endpoint)| Attachment {
        network: endpoint.network.clone(),
        addresses: place.lease.hosts().collect(),
        aliases: endpoint.aliases.clone(),
    })
    .collect()
}

fn answerer(
    layout: &Layout,
    spec: &ContainerSpec,
    netns: std::os::fd::BorrowedFd<'_>,
    places: &[Place],
) -> Result<Option<Answerer>> {
    let NetworkMode::Networks(endpoints) = &spec.network else {
        return Ok(None);
    };
    if endpoints.is_empty() {
        return Ok(None);
    }
    let outside = places.iter().find(|place| !place.record.spec.internal);
    let host = places
        .iter()
        .find(|place| !place.record.spec.internal && place.record.has_host());
    let zone = Zone {
        dir: layout.roots().data.join("networks"),
        networks: endpoints
            .iter()
            .map(|endpoint| endpoint.network.clone())
            .collect(),
        links: endpoints
            .first()
            .map(|endpoint| endpoint.links.clone())
            .unwrap_or_default(),
        gateways: host
            .map(|place| place.lease.gateways.clone())
            .unwrap_or_default(),
        upstream: match (outside, spec.dns.servers.as_slice()) {
            (None, []) => Upstream::Nobody,
            (Some(_), []) => Upstream::File(PathBuf::from("/etc/resolv.conf")),
            // Asked from inside: who is on internal networks only gets no further by that.
            (_, servers) => Upstream::Servers {
                addresses: servers.to_vec(),
                rotate: spec.dns.options.iter().any(|option| option == "rotate"),
            },
        },
    };
    Answerer::open(netns, zone).map(Some)
}

/// Writes `hosts`, `hostname` and `resolv.conf`.
fn write_etc(
    layout: &Layout,
    spec: &ContainerSpec,
    places: &[Place],
    best: Option<&Place>,
) -> Result<()> {
    use crate::sys::fs::{Durability, make_dirs, write_atomic};
    let dir = layout.container(&spec.project, &spec.id).etc();
    let failed = |error: std::io::Error| EngineError::failed("write /etc/hosts", error);
    make_dirs(&dir, 0o755).map_err(failed)?;
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = matches!(spec.network, NetworkMode::Host);
    let host_file = host.then(|| text("/etc/hosts"));
    let addresses: Vec<IpAddr> = places
        .iter()
        .flat_map(|place| place.lease.hosts())
        .collect();
    let hosts_text = hosts(&Hosts {
        host: host_file.as_deref(),
        hostname: &spec.hostname,
        domainname: spec.domainname.as_deref(),
        addresses: &addresses,
        extra: &spec.extra_hosts,
        gateways: &match best {
            Some(best) if !best.record.has_host() => Vec::new(),
            Some(best) => best.lease.gateways.clone(),
            None if host => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            None => Vec::new(),
        },
    });
    let resolver = if places.is_empty() {
        Resolver::Host
    } else {
        Resolver::Answerer
    };
    let resolver_text = resolv_conf(&text("/etc/resolv.conf"), &spec.dns, resolver);
    let hostname = format!("{}\n", spec.hostname);
    for (name, text) in [
        ("hosts", hosts_text),
        ("resolv.conf", resolver_text),
        ("hostname", hostname),
    ] {
        write_atomic(&dir.join(name), text.as_bytes(), 0o644, Durability::Renamed)
            .map_err(failed)?;
    }
    Ok(())
}

/// Every mount beyond the default ones: volumes found, files below `/etc`, injected files.
///
/// # Errors
/// [`EngineError`] when a volume or bind source is missing.
pub(super) fn mounts(
    layout: &Layout,
    spec: &ContainerSpec,
    edits: Option<&Edits>,
) -> Result<Vec<BirthMount>> {
    let owner = match &spec.network {
        NetworkMode::Container(other) => other,
        _ => &spec.id,
    };
    let etc = layout.etc(owner);
    let taken = |target: &str| spec.mounts.iter().any(|mount| mount.target == target);
    // As Docker: nothing of a read-only root can be written, these files neither.
    let read_only = match spec.read_only {
        true => ReadOnly::Whole,
        false => ReadOnly::No,
    };
    let mut mounts: Vec<BirthMount> = ["hosts", "hostname", "resolv.conf"]
        .into_iter()
        .map(|name| (format!("/etc/{name}"), etc.join(name)))
        .filter(|(target, _)| !taken(target))
        .map(|(target, path)| BirthMount {
            target,
            source: bind(path),
            read_only,
        })
        .collect();
    for mount in &spec.mounts {
        if let MountSource::Volume { name, .. } = &mount.source {
            volumes::hold(layout, name, &spec.id)?;
        }
        mounts.push(own_mount(layout, spec, mount)?);
    }
    if let Ipc::Container(other) = &spec.namespaces.ipc {
        let process = init_of(layout, other)?;
        let container = crate::sys::pidfd::open(process.pid)
            .ok()
            // Only now is it sure that the number was still that process's.
            .filter(|_| process.is_alive())
            .ok_or_else(|| not_running(other))?;
        let tree = runtime::shared_memory(container.as_fd())?;
        let source = BirthSource::Tree(Arc::new(tree));
        mounts.push(BirthMount {
            target: "/dev/shm".to_owned(),
            source,
            read_only: ReadOnly::No,
        });
    }
    mounts.extend(files::injected(layout, spec, Missing::Refused)?);
    for edit in edits.into_iter().flat_map(|edits| &edits.mounts) {
        let mount = described(edit)?;
        mounts.retain(|have| have.target != mount.target);
        mounts.push(mount);
    }
    Ok(mounts)
}

/// A mount that the user has asked for. The caller is single-threaded.
///
/// # Errors
/// [`EngineError`] when its volume is missing.
pub(in crate::engine::native) fn own_mount(
    layout: &Layout,
    spec: &ContainerSpec,
    mount: &Mount,
) -> Result<BirthMount> {
    let mut below = mount.read_only;
    let source = match &mount.source {
        MountSource::Bind {
            path,
            propagation,
            recursive,
            writable_below,
            idmap,
            ..
        } => {
            below &= !writable_below;
            match idmap {
                Some(map) => {
                    let tree = idmap::mapped(layout, spec, path, *recursive, *map)?;
                    BirthSource::Tree(Arc::new(tree))
                }
                None => BirthSource::Path {
                    path: path.clone(),
                    propagation: *propagation,
                    recursive: *recursive,
                },
            }
        }
        MountSource::Volume { name, subpath, .. } => {
            volumes::source(layout, name, subpath.as_deref())?
        }
        MountSource::Tmpfs {
            size,
            mode,
            options,
        } => BirthSource::Tmpfs {
            size: *size,
            mode: *mode,
            options: options.clone(),
        },
        MountSource::Image { image, subpath } => BirthSource::ImageView {
            lower: layout.lower(&image.layers),
            subpath: subpath.clone().unwrap_or_default().into(),
            changes: None,
        },
    };
    Ok(BirthMount {
        target: mount.target.clone(),
        source,
        read_only: match (mount.read_only, below) {
            (false, _) => ReadOnly::No,
            (true, false) => ReadOnly::Top,
            (true, true) => ReadOnly::Whole,
        },
    })
}

/// What devices of a container bring along that it names by their full names; `None` without any. Where hooks are
/// among it, the bundle they read is written.
///
/// # Errors
/// [`EngineError::Unsupported`] for a device that is not described or can't be had.
pub(super) fn edits(dir: &ContainerDir, spec: &ContainerSpec) -> Result<Option<Edits>> {
    let named = &spec.named_devices;
    let edits = cdi::resolve(&named.dirs, &named.names)?;
    if !edits.hooks.is_empty() {
        runtime::hooks::write_bundle(&dir.bundle(), &dir.upper(), spec)?;
    }
    Ok((!edits.is_empty()).then_some(edits))
}

/// A mount as a device's description wants it. Options as `mount(8)`; a word that is none is refused.
pub(in crate::engine::native) fn described(edit: &MountEdit) -> Result<BirthMount> {
    use crate::engine::spec::Propagation as P;
    use crate::sys::mount::attr;
    let refused = |what: String| EngineError::Unsupported {
        what: format!("mount of {} for a device: {what}", edit.host_path.display()),
    };
    let (target, read_only) = (edit.container_path.clone(), ReadOnly::No);
    if edit.kind == "tmpfs" {
        let source = BirthSource::Tmpfs {
            size: None,
            mode: None,
            options: edit.options.clone(),
        };
        return Ok(BirthMount {
            target,
            source,
            read_only,
        });
    }
    if !matches!(edit.kind.as_str(), "" | "bind" | "none") {
        return Err(refused(format!(
            "the type `{}` is none of bind and tmpfs",
            edit.kind
        )));
    }
    let (mut attrs, mut recursive, mut propagation) = (0, false, None);
    for option in &edit.options {
        match option.as_str() {
            "ro" => attrs |= attr::RDONLY,
            "nosuid" => attrs |= attr::NOSUID,
            "nodev" => attrs |= attr::NODEV,
            "noexec" => attrs |= attr::NOEXEC,
            "rbind" => recursive = true,
            "rw" | "bind" | "suid" | "dev" | "exec" | "relatime" | "" => {}
            "private" => propagation = Some(P::Private),
            "rprivate" => propagation = Some(P::Rprivate),
            "shared" => propagation = Some(P::Shared),
            "rshared" => propagation = Some(P::Rshared),
            "slave" => propagation = Some(P::Slave),
            "rslave" => propagation = Some(P::Rslave),
            other => return Err(refused(format!("the option `{other}` is not known"))),
        }
    }
    let path = edit.host_path.clone();
    let source = BirthSource::Described {
        path,
        propagation,
        recursive,
        attrs,
    };
    Ok(BirthMount {
        target,
        source,
        read_only,
    })
}

pub(super) fn bind(path: PathBuf) -> BirthSource {
    BirthSource::Path {
        path,
        propagation: None,
        recursive: true,
    }
}

/// A running container's init, for sharing its namespaces.
///
/// # Errors
/// [`EngineError::NotRunning`].
pub(super) fn init_of(layout: &Layout, id: &ContainerId) -> Result<InitProcess> {
    let (_, dir) = records::locate(layout, id)?;
    records::read::<Standing>(&dir.state())?
        .and_then(|standing| standing.process)
        .filter(InitProcess::is_alive)
        .ok_or_else(|| not_running(id))
}

/// Opens the process namespace of another container; `None` when it is not shared with one.
///
/// # Errors
/// [`EngineError::NotRunning`].
pub(super) fn shared_processes(layout: &Layout, share: &Share) -> Result<Option<OwnedFd>> {
    match share {
        Share::Own | Share::Host => Ok(None),
        Share::Container(id) => namespace(layout, id, "pid").map(Some),
    }
}

/// Opens the IPC namespace of another container; `None` when it is not shared with one.
///
/// # Errors
/// [`EngineError::NotRunning`]; [`EngineError::Unsupported`] when the other does not share it.
pub(super) fn shared_ipc(layout: &Layout, ipc: &Ipc) -> Result<Option<OwnedFd>> {
    let Ipc::Container(id) = ipc else {
        return Ok(None);
    };
    let (_, dir) = records::locate(layout, id)?;
    let other = records::read::<Record>(&dir.record())?;
    if let Some(other) = other.filter(|other| !other.spec.namespaces.ipc.is_shared()) {
        let what = format!(
            "container `{}` does not share its IPC namespace: give it `ipc: shareable`",
            other.spec.name
        );
        return Err(EngineError::Unsupported { what });
    }
    namespace(layout, id, "ipc").map(Some)
}

fn namespace(layout: &Layout, id: &ContainerId, kind: &str) -> Result<OwnedFd> {
    let process = init_of(layout, id)?;
    let path = format!("/proc/{}/ns/{kind}", process.pid);
    let opened = open_file(Path::new(&path))
        .map_err(|error| EngineError::failed(format!("open {path}"), error))?;
    // Only now is it sure that the number was still that process's.
    if process.is_alive() {
        Ok(opened)
    } else {
        Err(not_running(id))
    }
}

fn not_running(id: &ContainerId) -> EngineError {
    EngineError::NotRunning {
        name: id.short().to_owned(),
    }
}
