//! Bridges, and containers' cables into them.
//!
//! Imports: `base`, `engine`, `sys::netlink`, `net::{direct, forwarding, guard, ipam, record, rules}`. Source: veth(4), ip-link(8).

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;

use super::ipam::Pool;
use super::record::{Lease, NetworkRecord, hash};
use super::{direct, forwarding, guard, rules};
use crate::base::name::ContainerId;
use crate::engine::driver::{self, Driver, GatewayMode, IpvlanMode};
use crate::engine::spec::Endpoint;
use crate::engine::{EngineError, Result};
use crate::sys::netlink::netns;
use crate::sys::netlink::route::{self, Request, Route, VethEnds};
use crate::sys::netlink::traffic;

/// Names of cables' ends on the host begin so.
const CABLE: &str = "hsv";
/// Most networks of one container.
const CABLES: usize = 32;

/// A container's cable into one network.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The network.
    pub record: &'a NetworkRecord,
    /// What the container has there.
    pub lease: &'a Lease,
    /// What the container asked for there.
    pub endpoint: &'a Endpoint,
    /// Whether IPv4 packets to elsewhere leave by it; an internal network leads nowhere whatever this says.
    pub default4: bool,
    /// As `default4`, of IPv6.
    pub default6: bool,
}

/// Name of the bridge of a network.
pub(super) fn bridge_name(id: &str) -> String {
    format!("hst{}", id.get(..11).unwrap_or(id))
}

fn cable_name(container: &ContainerId, index: usize) -> String {
    let hash = hash(&[container.as_str().as_bytes()]);
    format!("{CABLE}{}{index:02}", hash.get(..10).unwrap_or(&hash))
}

/// Writes a setting below `/proc/sys/net` of the calling thread's network namespace.
pub(super) fn sysctl(path: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/net/{path}"), value)
}

/// Makes a network's bridge and rules where they are missing: after a reboot, or when another program
/// has cleared the rules.
pub(super) fn ensure(record: &NetworkRecord) -> Result<u32> {
    if !record.has_host() {
        return direct::ensure(record);
    }
    let made = make_bridge(record).map_err(|error| {
        EngineError::failed(
            format!(
                "make bridge {} of network {}",
                record.bridge, record.spec.name
            ),
            error,
        )
    });
    let index = made?;
    rules::ensure(record).map_err(|error| {
        EngineError::failed(
            format!("set the firewall rules of network {}", record.spec.name),
            error,
        )
    })?;
    Ok(index)
}

fn make_bridge(record: &NetworkRecord) -> io::Result<u32> {
    let mut route = Route::open()?;
    let name = &record.bridge;
    let link = match route.link(name)? {
        Some(found) => found,
        None => {
            match route.run(vec![route::bridge(
                name,
                record.mtu,
                bridge_mac(&record.id),
            )]) {
                Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
                other => other?,
            }
            route.link(name)?.ok_or(Errno::ENODEV)?
        }
    };
    // Done each time: whoever made the bridge may have been killed before it came to this.
    if record.has_ipv6() {
        // Before there is a cable: a container must not tell the host where its routers are.
        sysctl(&format!("ipv6/conf/{name}/accept_ra"), "0").map_err(no_ipv6)?;
        sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "0").map_err(no_ipv6)?;
    } else {
        // Without it a host that was not made for IPv6 could be reached over the bridge's link-local address.
        let _ = sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1");
    }
    let driver = record.driver();
    let addressed = |pool: &&Pool| {
        driver.bridge().is_none_or(|options| {
            let inhibited = options.inhibit_v4 && pool.is_ipv4();
            !inhibited && options.mode(pool.is_ipv4()) != GatewayMode::Isolated
        })
    };
    let own = record
        .subnets
        .iter()
        .filter(addressed)
        .filter_map(Pool::gateway_net);
    let own = own.chain(record.has_ipv6().then_some(LINK_LOCAL));
    route.run(own.map(|own| route::address(link.index, own)).collect())?;
    // Lets a packet that the host sends to 127.0.0.1 go to a container; `rules` keeps containers out.
    sysctl(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
    if !record.spec.internal {
        forwarding::allow(&mut route, record)?;
    }
    Ok(link.index)
}

/// The bridge's address for whoever looks for a router on the link, as Docker's bridges have it.
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    64,
));

fn no_ipv6(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(
            "this host's kernel has no IPv6 (`ipv6.disable=1`?); leave `enable_ipv6` out",
        ),
        _ => error,
    }
}

/// A hardware address for the bridge of a network: of one station, made up here.
fn bridge_mac(id: &str) -> [u8; 6] {
    let mut mac = [0x02, 0x42, 0, 0, 0, 0];
    for (at, byte) in mac.iter_mut().skip(2).enumerate() {
        let digits = id.get(at * 2..at * 2 + 2).unwrap_or("00");
        *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    mac
}

/// Whether there is a device of that name.
pub(super) fn exists(name: &str) -> Result<bool> {
    Route::open()
        .and_then(|mut route| route.link(name))
        .map(|found| found.is_some())
        .map_err(|error| EngineError::failed(format!("look for device {name}"), error))
}

/// What the bridge of a network is called now: somebody may have given it another name, but not its hardware address.
pub(super) fn called(name: &str, id: &str) -> Result<String> {
    let look = || -> io::Result<String> {
        let mut route = Route::open()?;
        if route.link(name)?.is_some() {
            return Ok(name.to_owned());
        }
        let mac = bridge_mac(id);
        let found = route.links()?.into_iter().find(|link| link.mac == mac);
        Ok(found.map_or_else(|| name.to_owned(), |link| link.name))
    };
    look().map_err(|error| EngineError::failed(format!("look for device {name}"), error))
}

/// Group of bridges that are about to be deleted, whoever deletes them. Groups mean nothing to the kernel; this
/// number is as unlikely as any in use elsewhere: the letters `hst` and a zero.
const DOOMED: u32 = u32::from_be_bytes(*b"hst\0");

/// Removals that start together have so long to join the group: far less than what one more deletion takes.
const MUSTER: std::time::Duration = std::time::Duration::from_millis(2);

/// Takes a network's bridge and rules away; missing ones are fine.
pub(super) fn remove(bridge: &str, id: &str, network: &str) -> Result<()> {
    let gone = |outcome: io::Result<()>| match outcome {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
        other => other,
    };
    let delete = || -> io::Result<()> {
        let mut route = Route::open()?;
        // The kernel waits some 40 ms for its readers after each deletion, but only once for a whole group:
        // of several removals side by side the first takes all that are in the group by then.
        let mut doomed = vec![route::group(bridge, DOOMED)];
        doomed.extend(cables(bridge).map(|cable| route::group(&cable, DOOMED)));
        if route
            .try_all(doomed)
            .is_ok_and(|done| done.first() == Some(&Ok(())))
        {
            std::thread::sleep(MUSTER);
            let _ = route.run(vec![route::delete_group(DOOMED)]);
        }
        gone(route.run(vec![route::delete(bridge)]))
    };
    // The kernel waits for all CPUs on both; waiting at the same time halves it.
    let (link, rules) = std::thread::scope(|scope| {
        let beside = std::thread::Builder::new().spawn_scoped(scope, || rules::remove(id, bridge));
        let link = delete();
        let rules = match beside {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))),
            Err(_) => rules::remove(id, bridge),
        };
        (link, rules)
    });
    link.and(rules)
        .map_err(|error| EngineError::failed(format!("remove network {network}"), error))
}

/// Cables that are in a bridge still, although their containers are gone: a connection that was cut and whose other end
/// does not answer keeps a namespace for minutes.
fn cables(bridge: &str) -> impl Iterator<Item = String> {
    let ports = std::fs::read_dir(format!("/sys/class/net/{bridge}/brif"));
    let names = ports.into_iter().flatten().flatten();
    names
        .filter_map(|port| port.file_name().into_string().ok())
        .filter(|name| name.starts_with(CABLE))
}

/// Makes a network namespace with its loopback device up. With `pin` it is kept by that file until
/// [`unpin`], whatever becomes of this process.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn new_netns(pin: Option<&Path>) -> Result<OwnedFd> {
    let made = netns::create(|| {
        // No half of IPv6 on devices to come; where a network has it, it is switched on.
        let _ = sysctl("ipv6/conf/default/disable_ipv6", "1");
        Route::open()?.run(vec![route::up("lo")])
    });
    let made = made.and_then(|made| {
        use std::os::fd::AsFd as _;
        if let Some(path) = pin {
            netns::pin(made.as_fd(), path)?;
        }
        Ok(made)
    });
    made.map_err(|error| EngineError::failed("make a network namespace", error))
}

/// Keeps a namespace by a file until [`unpin`].
///
/// # Errors
/// [`EngineError::Failed`].
pub fn pin(netns: BorrowedFd<'_>, path: &Path) -> Result<()> {
    netns::pin(netns, path)
        .map_err(|error| EngineError::failed(format!("hold on to {}", path.display()), error))
}

/// Lets a namespace go that [`new_netns`] has pinned; a missing one is fine.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn unpin(path: &Path) -> Result<()> {
    netns::unpin(path)
        .map_err(|error| EngineError::failed(format!("let go of {}", path.display()), error))
}

/// Connects a namespace to networks: devices, addresses, the default route.
///
/// # Errors
/// [`EngineError::Failed`] with the network's name; nothing stays connected then.
pub fn connect(netns: BorrowedFd<'_>, container: &ContainerId, links: &[Link<'_>]) -> Result<()> {
    if links.len() > CABLES {
        let what = format!("a container can be on at most {CABLES} networks");
        return Err(EngineError::Unsupported { what });
    }
    let names = device_names(links)?;
    let connected = links
        .iter()
        .zip(&names)
        .enumerate()
        .try_for_each(|(at, (link, device))| {
            let driver = link.record.driver();
            let Some(options) = driver.bridge() else {
                let names = (cable_name(container, at), device.as_str());
                return direct::plug(netns, (&names.0, names.1), link.record, link.lease.mac);
            };
            let bridge = ensure(link.record)?;
            let step = || format!("connect to network {}", link.record.spec.name);
            plug(netns, &cable_name(container, at), device, bridge, link)
                .and_then(|()| guard(&cable_name(container, at), link, options.between))
                .map_err(|error| EngineError::failed(step(), error))
        })
        .and_then(|()| {
            netns::within(netns, || configure(links, &names))
                .and_then(|()| settle(container, links))
                .map_err(|error| EngineError::failed("set the container's addresses", error))
        });
    if connected.is_err() {
        let _ = disconnect(container);
    }
    connected
}

/// Waits until the new cables and their bridges carry packets.
///
/// The kernel tells a bridge from a work queue that a port has come up, and then the bridge's own device
/// that it may send. What is sent before is lost, and a lost address question (ARP) is asked again only
/// after a second. Since Linux 6.9 looking at the device
/// does that work at once, before it is a matter of microseconds to milliseconds.
fn settle(container: &ContainerId, links: &[Link<'_>]) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_micros(200);
    const LIMIT: u32 = 500;
    let mut route = Route::open()?;
    let bridged = |link: &&Link<'_>| link.record.has_host();
    let bridges = links.iter().filter(bridged);
    let cables = (0..links.len()).map(|at| cable_name(container, at));
    for name in cables.chain(bridges.map(|link| link.record.bridge.clone())) {
        for _ in 0..LIMIT {
            if route.link(&name)?.is_none_or(|link| link.ready) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Names of the devices inside: those that are asked for, and for the others `eth` or what the network says, with the
/// lowest number that is free.
fn device_names(links: &[Link<'_>]) -> Result<Vec<String>> {
    let asked = |link: &Link<'_>| link.endpoint.interface.clone();
    let mut taken: Vec<String> = links.iter().filter_map(asked).collect();
    let mut names = Vec::new();
    for link in links {
        let name = asked(link).unwrap_or_else(|| {
            let driver = link.record.driver();
            let all = (0..).map(|number: u32| format!("{}{number}", driver.prefix()));
            let mut free = all.filter(|name| !taken.contains(name));
            free.next().unwrap_or_default()
        });
        if !driver::is_device_name(&name) || names.contains(&name) {
            let step = format!("connect to network {}", link.record.spec.name);
            let cause = format!("`{name}` cannot be the name of its device");
            return Err(EngineError::failed(step, cause));
        }
        taken.push(name.clone());
        names.push(name);
    }
    Ok(names)
}

/// Sets what a cable lets through. Ends with the cable.
fn guard(cable: &str, link: &Link<'_>, between: bool) -> io::Result<()> {
    let extra = link.endpoint.extra.iter().copied();
    let addresses: Vec<IpAddr> = link.lease.hosts().chain(extra).collect();
    let own = guard::Own {
        mac: link.lease.mac,
        addresses: &addresses,
    };
    let own = Some(own).filter(|_| !link.endpoint.forwards);
    let host = Some(bridge_mac(&link.record.id)).filter(|_| !between);
    let Some(program) = guard::program(own, host) else {
        return Ok(());
    };
    let mut route = Route::open()?;
    let index = route.link(cable)?.ok_or(Errno::ENODEV)?.index;
    match route.run(traffic::filter(index, &program).into()) {
        // A kernel without such filters (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF): as Docker on any; `doctor` says it.
        Err(error) if is_one_of(&error, &[Errno::ENOENT, Errno::EOPNOTSUPP]) => Ok(()),
        other => other,
    }
}

fn is_one_of(error: &io::Error, all: &[Errno]) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    number.is_some_and(|number| all.contains(&number))
}

/// Makes one cable.
fn plug(
    netns: BorrowedFd<'_>,
    name: &str,
    peer: &str,
    bridge: u32,
    link: &Link<'_>,
) -> io::Result<()> {
    let ends = VethEnds {
        name,
        bridge,
        peer,
        netns,
        mac: link.lease.mac,
        mtu: link.record.mtu,
    };
    // A bridge sends nothing back where it came from: hairpin mode lets a container reach its own
    // published port.
    let requests = || vec![route::veth(&ends), route::hairpin(name)];
    let mut route = Route::open()?;
    let is = |error: &io::Error, errno: Errno| error.raw_os_error() == Some(errno as i32);
    match route.run(requests()) {
        // Left over from a container that ended without cleaning up, or of its last run: the kernel takes a
        // namespace's cables some time after its end, and may do so before this does.
        Err(error) if is(&error, Errno::EEXIST) => match route.run(vec![route::delete(name)]) {
            Err(error) if !is(&error, Errno::ENODEV) => return Err(error),
            _ => route.run(requests())?,
        },
        other => other?,
    }
    let _ = sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1");
    Ok(())
}

/// Inside the namespace: addresses first, so that the device is whole when it comes up.
fn configure(links: &[Link<'_>], names: &[String]) -> io::Result<()> {
    let mut route = Route::open()?;
    let mut requests = Vec::new();
    let mut routes = Vec::new();
    for (link, name) in links.iter().zip(names) {
        let index = route.link(name)?.ok_or(Errno::ENODEV)?.index;
        let extra = link.endpoint.extra.iter().filter_map(|ip| extra_net(*ip));
        let addresses = link.lease.addresses.iter().copied().chain(extra);
        let addresses: Vec<IpNet> = addresses.collect();
        if addresses.iter().any(|address| address.addr().is_ipv6()) {
            // Its addresses and routes are given to it: nobody on the link has a say in them.
            sysctl(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
            sysctl(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
            sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
        }
        for (path, value) in &link.endpoint.sysctls {
            let path = path.replace("IFNAME", name);
            sysctl(&path, value).map_err(|error| {
                io::Error::other(format!(
                    "/proc/sys/net/{path} does not take `{value}`: {error}"
                ))
            })?;
        }
        let addresses = addresses.into_iter();
        requests.extend(addresses.map(|address| route::address(index, address)));
        requests.push(route::up(name));
        if link.record.leads_outside() {
            routes.extend(default_routes(link, index));
        }
    }
    requests.extend(routes);
    route.run(requests)
}

/// An extra address with the prefix that Docker gives it.
fn extra_net(address: IpAddr) -> Option<IpNet> {
    IpNet::new(address, if address.is_ipv4() { 16 } else { 64 }).ok()
}

fn default_routes(link: &Link<'_>, index: u32) -> Vec<route::Request> {
    let gateway4 = link.lease.gateway4().filter(|_| link.default4);
    let gateway6 = link.lease.gateway6().filter(|_| link.default6);
    let gateways = [gateway4.map(IpAddr::V4), gateway6.map(IpAddr::V6)];
    let gateways = gateways.into_iter().flatten();
    let by = |gateway: IpAddr| match link.record.driver() {
        // The host routes for them: there is nobody to ask for a gateway.
        Driver::Ipvlan(options) if options.mode != IpvlanMode::L2 => {
            let all = match gateway {
                IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
                IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
            };
            route::route_to(all, None, index)
        }
        _ => route::default_route(gateway),
    };
    gateways.map(by).collect()
}

/// Has the bridges learn nothing more from a container's cables, of which there are `count`, and send nothing there.
/// Connections that its processes have left half closed keep the namespace for minutes, and it answers to addresses
/// that are others' by then; the kernel takes the cables when it goes. Source: tcp(7), `tcp_orphan_retries`.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn unplug(container: &ContainerId, count: usize) -> Result<()> {
    each_cable(container, count, route::down)
}

/// Removes what [`connect`] has left on the host's side; missing cables are fine. Not needed where the
/// namespace goes away: the kernel takes its cables with it.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn disconnect(container: &ContainerId) -> Result<()> {
    each_cable(container, CABLES, route::delete)
}

/// Asks for the same of a container's first cables; missing ones are fine.
fn each_cable(container: &ContainerId, count: usize, what: fn(&str) -> Request) -> Result<()> {
    let ask = || -> io::Result<()> {
        let requests = (0..count).map(|at| what(&cable_name(container, at)));
        for result in Route::open()?.try_all(requests.collect())? {
            match result {
                Ok(()) | Err(Errno::ENODEV) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    };
    ask().map_err(|error| {
        EngineError::failed(format!("disconnect container {}", container.short()), error)
    })
}

/// Whether a container's first cable is there.
pub(super) fn is_connected(container: &ContainerId) -> Result<bool> {
    exists(&cable_name(container, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_fit_into_a_device_name() {
        let id = "0123456789abcdef";
        assert_eq!(bridge_name(id), "hst0123456789a");
        let cable = cable_name(&ContainerId::from("x"), 31);
        assert!(
            driver::is_device_name(&cable) && cable.len() == 15,
            "{cable}"
        );
        assert!(!driver::is_device_name("a/b"));
        assert!(!driver::is_device_name("abcdefghijklmnop"));
    }
}
