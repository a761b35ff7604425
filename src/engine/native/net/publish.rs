//! Ports of a container on the host's addresses.
//!
//! Each host port is held by a bound socket for as long as it is published, so that a second user is told who has it.
//! Packets are translated before they reach that socket, by one table a container; what no rule can translate
//! ends there and is passed on by [`Doors`].
//!
//! | to | by |
//! |---|---|
//! | an IPv4 address of the host, `127.0.0.1` too | a rule, where the container has IPv4 |
//! | an IPv6 address of the host | a rule, where the container has IPv6 |
//! | `::1`, a link-local address, all else | the socket: neither can leave the host, or reach the other version of IP |
//!
//! Imports: `base`, `engine`, `sys::{netlink, nft}`, `net::{holder, record, relay}`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen,
    setsockopt, socket, sockopt,
};

use super::holder;
use super::record::NetworkRecord;
use super::relay::{Doors, Holder};
use crate::base::name::ContainerId;
use crate::engine::spec::{PortMapping, Protocol};
use crate::engine::state::PublishedPort;
use crate::engine::{EngineError, Result};
use crate::sys::nft::conntrack::{self, Which};
use crate::sys::nft::{Batch, Direction, Hook, Interface, Nft, Rule, Table, Transport};

/// The host's own addresses for itself.
const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
/// What packets can be sent to and from on one cable only.
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
    10,
));
const LOCALHOST6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// How often any free port is asked for: one that is free for IPv4 may not be for IPv6.
const TRIES: u32 = 32;
/// Connections that wait for [`Doors`].
const BACKLOG: i32 = 128;

/// A way to the container.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// The network that packets take to it.
    pub network: &'a NetworkRecord,
    /// Its address there.
    pub target: IpAddr,
}

/// What is to be published.
#[derive(Debug, Clone, Copy)]
pub struct PublishRequest<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// Its name.
    pub name: &'a str,
    /// Its ports.
    pub ports: &'a [PortMapping],
    /// One way of each version of IP that it has.
    pub ways: &'a [Way<'a>],
}

/// What was published.
#[derive(Debug)]
pub struct Published {
    /// What holds the host's ports; to be kept until [`unpublish`].
    pub doors: Doors,
    /// The ports as they are now, in the order asked for.
    pub ports: Vec<PublishedPort>,
}

/// Ports that are published no more.
///
/// The kernel frees what was deleted after all CPUs have passed by, and makes whoever closes the socket
/// wait for that, some 10 ms. Who has better things to do keeps this until then.
#[derive(Debug)]
pub struct Withdrawn {
    _socket: Nft,
}

fn table(container: &ContainerId) -> String {
    format!("hoist-p-{}", container.short())
}

pub(super) fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    }
}

/// The container's address for packets to an address of the host: of the same version of IP, else the other.
fn target(ways: &[Way<'_>], host: IpAddr) -> Option<IpAddr> {
    let same = ways
        .iter()
        .find(|way| way.target.is_ipv4() == host.is_ipv4());
    same.or(ways.first()).map(|way| way.target)
}

/// Publishes all ports of a container, or none. A port for all addresses is one for those of IPv4 and one for those
/// of IPv6, as Docker.
///
/// # Errors
/// [`EngineError::PortTaken`] with who has it, [`EngineError::Failed`].
pub fn publish(request: &PublishRequest<'_>) -> Result<Published> {
    let mut held = Vec::new();
    if !request.ways.is_empty() {
        for mapping in request.ports {
            held.extend(hold(mapping, request.ways)?);
        }
    }
    let ports: Vec<PublishedPort> = held.iter().map(|(_, port)| port.clone()).collect();
    let published = Published {
        doors: open(held, request.ways)?,
        ports,
    };
    if published.ports.is_empty() {
        return Ok(published);
    }
    let set = Nft::open().and_then(|mut nft| {
        nft.set_table(Table::inet(&table(request.container)), |batch| {
            fill(batch, request, &published.ports);
        })
    });
    set.map_err(|error| {
        EngineError::failed(format!("publish the ports of {}", request.name), error)
    })?;
    // A sender that was there before goes on to where its first packet went, unless that is forgotten.
    let mut datagrams: Vec<u16> = published
        .ports
        .iter()
        .filter(|port| port.protocol == Protocol::Udp)
        .map(|port| port.host)
        .collect();
    datagrams.dedup();
    for port in datagrams {
        let _ = conntrack::forget(Which::To(Transport::Udp, port));
    }
    Ok(published)
}

/// What packets to a published port are known by; `None` where no rule can translate them.
fn arriving(host: IpAddr) -> Option<Rule> {
    match host {
        _ if host == LOCALHOST6 => None,
        IpAddr::V6(_) if LINK_LOCAL.contains(&host) => None,
        IpAddr::V4(address) if address.is_unspecified() => {
            Some(Rule::new().version_of(host).to_local())
        }
        IpAddr::V6(address) if address.is_unspecified() => {
            let rule = Rule::new().not_to(LOCALHOST6).not_to(LINK_LOCAL);
            Some(rule.to_local())
        }
        address => Some(Rule::new().to(address)),
    }
}

fn fill(batch: &mut Batch, request: &PublishRequest<'_>, ports: &[PublishedPort]) {
    let name = table(request.container);
    let table = Table::inet(&name);
    batch.chain(table, "prerouting", Hook::NatPrerouting);
    batch.chain(table, "output", Hook::NatOutput);
    batch.chain(table, "postrouting", Hook::NatPostrouting);
    for way in request.ways {
        let same = |port: &&PublishedPort| port.host_ip.is_ipv4() == way.target.is_ipv4();
        for port in ports.iter().filter(same) {
            let Some(rule) = arriving(port.host_ip) else {
                continue;
            };
            let rule = rule
                .port(transport(port.protocol), port.host)
                .translate_to(way.target, port.container)
                .named(request.name);
            batch.append(table, "output", &rule);
            if !port.host_ip.is_loopback() {
                batch.append(table, "prerouting", &rule);
            }
        }
        let bridge = Interface::Is(way.network.bridge.as_str());
        let towards = || Rule::new().device(Direction::Out, bridge).to(way.target);
        if way.target.is_ipv4() {
            // The container must answer to the host, not to 127.0.0.1, which is itself.
            let local = towards().from(LOOPBACK).masquerade();
            batch.append(table, "postrouting", &local);
        }
        // Neighbours, and the container itself, must be answered through the host, which translates back.
        let pools = way.network.subnets.iter();
        for pool in pools.filter(|pool| pool.is_ipv4() == way.target.is_ipv4()) {
            let neighbour = towards().from(pool.subnet).translated();
            batch.append(table, "postrouting", &neighbour.masquerade());
        }
    }
}

/// Binds the ports of a running container again, for a supervisor that adopts it: its rules are in the kernel
/// still, only the sockets went with their owner.
///
/// # Errors
/// [`EngineError::PortTaken`].
pub fn hold_again(ports: &[PublishedPort], ways: &[Way<'_>]) -> Result<Doors> {
    let mut held = Vec::new();
    for port in ports {
        let mapping = PortMapping {
            host_ip: Some(port.host_ip),
            host: (port.host, port.host),
            container: port.container,
            protocol: port.protocol,
        };
        held.extend(hold(&mapping, ways)?);
    }
    open(held, ways)
}

fn open(held: Vec<(Option<Holder>, PublishedPort)>, ways: &[Way<'_>]) -> Result<Doors> {
    let door = |(holder, port): (Option<Holder>, PublishedPort)| {
        let target = target(ways, port.host_ip)?;
        Some((holder?, SocketAddr::new(target, port.container)))
    };
    Doors::open(held.into_iter().filter_map(door).collect())
        .map_err(|error| EngineError::failed("watch the published ports", error))
}

/// Binds the first free host port of a mapping, on each of its addresses.
fn hold(mapping: &PortMapping, ways: &[Way<'_>]) -> Result<Vec<(Option<Holder>, PublishedPort)>> {
    let addresses = match mapping.host_ip {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    // No socket passes SCTP on.
    let reaches = |address: &IpAddr| {
        mapping.protocol != Protocol::Sctp
            || ways
                .iter()
                .any(|way| way.target.is_ipv4() == address.is_ipv4())
    };
    let addresses: Vec<IpAddr> = addresses.into_iter().filter(reaches).collect();
    let (first, last) = mapping.host;
    let wanted: Vec<u16> = match mapping.host {
        (0, _) => (0..TRIES).map(|_| 0).collect(),
        (first, last) => (first..=last.max(first)).collect(),
    };
    let mut refused = None;
    for port in wanted {
        match bind_all(&addresses, port, mapping) {
            Ok(held) => return Ok(held),
            Err(fault) => {
                // One that is taken is the best reason; the first of these counts.
                refused.get_or_insert(fault);
            }
        }
    }
    let unknown = (Ipv4Addr::UNSPECIFIED.into(), first, Errno::EADDRINUSE);
    let (address, port, errno) = refused.unwrap_or(unknown);
    Err(fault(mapping.protocol, address, (port, last), errno))
}

fn fault(protocol: Protocol, address: IpAddr, ports: (u16, u16), errno: Errno) -> EngineError {
    let (first, last) = ports;
    let range = if last > first {
        format!("{first}-{last}")
    } else {
        first.to_string()
    };
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let shown = format!("{host}:{range}/{}", protocol.as_str());
    let step = format!("publish port {shown}");
    match errno {
        Errno::EADDRINUSE => {
            let holder = holder::of(protocol, address, first)
                .unwrap_or_else(|| "another process".to_owned());
            EngineError::PortTaken {
                address: shown,
                holder,
            }
        }
        Errno::EADDRNOTAVAIL => EngineError::failed(
            step,
            format!(
                "the host has no address {address}; use one that `ip address` lists, or none for all"
            ),
        ),
        Errno::EPROTONOSUPPORT if protocol == Protocol::Sctp => EngineError::failed(
            step,
            "a free port is found for tcp and udp only; name one of the host, such as \"7000:7000/sctp\"",
        ),
        Errno::EAFNOSUPPORT => EngineError::failed(step, "the host has no IPv6"),
        errno => EngineError::failed(step, errno.desc()),
    }
}

type Fault = (IpAddr, u16, Errno);

/// Binds one port on all addresses.
fn bind_all(
    addresses: &[IpAddr],
    wanted: u16,
    mapping: &PortMapping,
) -> std::result::Result<Vec<(Option<Holder>, PublishedPort)>, Fault> {
    let mut held = Vec::new();
    let mut number = wanted;
    for address in addresses {
        let refused = |errno| (*address, number, errno);
        let holder = match bind_one(SocketAddr::new(*address, number), mapping.protocol) {
            // A host without IPv6 has nothing to publish there, unless it was asked for.
            Err(Errno::EAFNOSUPPORT) if mapping.host_ip.is_none() => continue,
            other => other.map_err(refused)?,
        };
        let bound = match &holder {
            Some(Holder::Tcp(socket)) => socket.local_addr(),
            Some(Holder::Udp(socket)) => socket.local_addr(),
            None => Ok(SocketAddr::new(*address, number)),
        };
        number = bound.map_err(|_| refused(Errno::EIO))?.port();
        let port = PublishedPort {
            host_ip: *address,
            host: number,
            container: mapping.container,
            protocol: mapping.protocol,
        };
        held.push((holder, port));
    }
    Ok(held)
}

fn bind_one(address: SocketAddr, protocol: Protocol) -> std::result::Result<Option<Holder>, Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        // The kernel may lack SCTP sockets; the translation does not need one.
        Protocol::Sctp if address.port() != 0 => return Ok(None),
        Protocol::Sctp => return Err(Errno::EPROTONOSUPPORT),
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd: OwnedFd = socket(family, kind, SockFlag::SOCK_CLOEXEC, number)?;
    if family == AddressFamily::Inet6 {
        // IPv4 has a socket of its own, or somebody else's.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier user that are running out (TIME_WAIT) are not in the way; a
        // listener is, whatever options it has.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if protocol == Protocol::Udp {
        return Ok(Some(Holder::Udp(UdpSocket::from(fd))));
    }
    // Only a listener keeps other users of SO_REUSEADDR out, and only a listener is listed in
    // /proc/net/tcp, where the next one looks for the holder.
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(Some(Holder::Tcp(TcpListener::from(fd))))
}

/// Takes all published ports of a container away; what holds the ports is the caller's.
/// A container without published ports is fine.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn unpublish(container: &ContainerId) -> Result<Option<Withdrawn>> {
    let name = table(container);
    let delete = || -> io::Result<Option<Withdrawn>> {
        let mut nft = Nft::open()?;
        // An older hoist's was of family `ip`.
        let there = nft.delete_tables(&[Table::inet(&name), Table::ip(&name)])?;
        Ok(there.then_some(Withdrawn { _socket: nft }))
    };
    delete().map_err(|error| {
        EngineError::failed(
            format!("withdraw the ports of container {}", container.short()),
            error,
        )
    })
}

/// Forgets the connections of addresses that a container has had: what is still sent on them must not reach the next one
/// that gets the address, nor go out in its name.
pub fn forget(addresses: &[IpAddr]) {
    if !addresses.is_empty() {
        // An entry that stays runs out by itself.
        let _ = conntrack::forget(Which::Of(addresses));
    }
}
