//! Ports of a container on the host's addresses.
//!
//! Each host port is held by a bound socket for as long as it is published, so that a second user is told
//! who has it. Packets never reach that socket: one table a container translates them before.
//! Imports: `base`, `engine`, `sys::{netlink, nft}`, `net::{holder, record}`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

use ipnet::{IpNet, Ipv4Net};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, bind, getsockname,
    listen, setsockopt, socket, sockopt,
};

use super::holder;
use super::record::NetworkRecord;
use crate::base::name::ContainerId;
use crate::engine::spec::{PortMapping, Protocol};
use crate::engine::state::PublishedPort;
use crate::engine::{EngineError, Result};
use crate::sys::nft::conntrack::{self, Which};
use crate::sys::nft::{Batch, Direction, Hook, Interface, Nft, Rule, Table, Transport};

/// The host's own addresses for itself.
const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

/// What is to be published.
#[derive(Debug, Clone, Copy)]
pub struct PublishRequest<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// Its name.
    pub name: &'a str,
    /// Its ports.
    pub ports: &'a [PortMapping],
    /// The network that packets take to it.
    pub network: &'a NetworkRecord,
    /// Its address there.
    pub target: Ipv4Addr,
}

/// What was published.
#[derive(Debug)]
pub struct Published {
    /// Sockets that hold the host's ports; to be kept until [`unpublish`].
    pub held: Vec<OwnedFd>,
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

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    }
}

/// Publishes all ports of a container, or none. IPv4 only: a port for all addresses is `0.0.0.0`.
///
/// # Errors
/// [`EngineError::PortTaken`] with who has it, [`EngineError::Unsupported`] for an IPv6 address,
/// [`EngineError::Failed`].
pub fn publish(request: &PublishRequest<'_>) -> Result<Published> {
    let mut published = Published {
        held: Vec::new(),
        ports: Vec::new(),
    };
    for mapping in request.ports {
        let (socket, port) = hold(mapping)?;
        published.held.extend(socket);
        published.ports.push(port);
    }
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
    for port in published
        .ports
        .iter()
        .filter(|port| port.protocol == Protocol::Udp)
    {
        let _ = conntrack::forget(Which::To(Transport::Udp, port.host));
    }
    Ok(published)
}

fn fill(batch: &mut Batch, request: &PublishRequest<'_>, ports: &[PublishedPort]) {
    let name = table(request.container);
    let table = Table::inet(&name);
    let (target, bridge) = (IpAddr::V4(request.target), request.network.bridge.as_str());
    batch.chain(table, "prerouting", Hook::NatPrerouting);
    batch.chain(table, "output", Hook::NatOutput);
    batch.chain(table, "postrouting", Hook::NatPostrouting);
    for port in ports {
        let IpAddr::V4(host) = port.host_ip else {
            continue;
        };
        let rule = if host.is_unspecified() {
            Rule::new().version_of(port.host_ip).to_local()
        } else {
            Rule::new().to(port.host_ip)
        };
        let rule = rule
            .port(transport(port.protocol), port.host)
            .translate_to(target, port.container)
            .named(&format!(
                "{} {target} {}",
                transport_name(port.protocol),
                request.name
            ));
        batch.append(table, "output", &rule);
        if !host.is_loopback() {
            batch.append(table, "prerouting", &rule);
        }
    }
    // The container must answer to the host, not to 127.0.0.1, which is itself.
    let towards = || {
        Rule::new()
            .device(Direction::Out, Interface::Is(bridge))
            .to(target)
    };
    let local = towards().from(LOOPBACK).masquerade();
    batch.append(table, "postrouting", &local);
    // Neighbours, and the container itself, must be answered through the host, which translates back.
    for pool in request.network.subnets.iter().filter(|pool| pool.is_ipv4()) {
        let neighbour = towards().from(pool.subnet);
        batch.append(table, "postrouting", &neighbour.translated().masquerade());
    }
}

/// Binds the ports of a running container again, for a supervisor that adopts it: its rules are in the kernel
/// still, only the sockets went with their owner.
///
/// # Errors
/// [`EngineError::PortTaken`].
pub fn hold_again(ports: &[PublishedPort]) -> Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    for port in ports {
        let mapping = PortMapping {
            host_ip: Some(port.host_ip),
            host: (port.host, port.host),
            container: port.container,
            protocol: port.protocol,
        };
        held.extend(hold(&mapping)?.0);
    }
    Ok(held)
}

/// Binds the first free host port of a mapping.
fn hold(mapping: &PortMapping) -> Result<(Option<OwnedFd>, PublishedPort)> {
    let host = match mapping.host_ip {
        None => Ipv4Addr::UNSPECIFIED,
        Some(IpAddr::V4(address)) => address,
        Some(IpAddr::V6(address)) => {
            let what = format!(
                "port {} cannot be published on [{address}]: hoist cannot do IPv6 yet; use an IPv4 \
                 address, or none",
                mapping.container
            );
            return Err(EngineError::Unsupported { what });
        }
    };
    let (first, last) = mapping.host;
    let mut refused = None;
    for wanted in first..=last.max(first) {
        let address = SocketAddrV4::new(host, wanted);
        match bind_one(address, mapping.protocol) {
            Ok((socket, port)) => {
                let port = PublishedPort {
                    host_ip: IpAddr::V4(host),
                    host: port,
                    container: mapping.container,
                    protocol: mapping.protocol,
                };
                return Ok((socket, port));
            }
            Err(errno) => {
                refused.get_or_insert((wanted, errno));
            }
        }
    }
    let (wanted, errno) = refused.unwrap_or((first, Errno::EADDRINUSE));
    let protocol = transport_name(mapping.protocol);
    let range = if last > first {
        format!("{first}-{last}")
    } else {
        wanted.to_string()
    };
    let address = format!("{host}:{range}/{protocol}");
    Err(match errno {
        Errno::EADDRINUSE => {
            let holder = holder::of(mapping.protocol, host.into(), wanted)
                .unwrap_or_else(|| "another process".to_owned());
            EngineError::PortTaken { address, holder }
        }
        Errno::EADDRNOTAVAIL => EngineError::failed(
            format!("publish port {address}"),
            format!("the host has no address {host}"),
        ),
        errno => EngineError::failed(format!("publish port {address}"), errno.desc()),
    })
}

fn transport_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn bind_one(
    address: SocketAddrV4,
    protocol: Protocol,
) -> std::result::Result<(Option<OwnedFd>, u16), Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        // The kernel may lack SCTP sockets; the translation does not need one.
        Protocol::Sctp if address.port() != 0 => return Ok((None, address.port())),
        Protocol::Sctp => return Err(Errno::EPROTONOSUPPORT),
    };
    let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, number)?;
    let stream = protocol == Protocol::Tcp;
    if stream {
        // Connections of an earlier user that are running out (TIME_WAIT) are not in the way; a
        // listener is, whatever options it has.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    if stream {
        // Only a listener keeps other users of SO_REUSEADDR out, and only a listener is listed in
        // /proc/net/tcp, where the next one looks for the holder. Nothing ever reaches it.
        listen(&fd, Backlog::new(1)?)?;
    }
    let bound: SockaddrIn = getsockname(fd.as_raw_fd())?;
    Ok((Some(fd), bound.port()))
}

/// The container's address in the comment of a rule for a UDP port.
fn udp_target(comment: &str) -> Option<Ipv4Addr> {
    comment
        .strip_prefix("udp ")?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// Takes all published ports of a container away; the sockets that hold the ports are the caller's.
/// What sends packets to a UDP port goes on to wherever they went before, so that is forgotten; a TCP
/// connection ends with the container, and a new one is looked at anew.
/// A container without published ports is fine.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn unpublish(container: &ContainerId) -> Result<Withdrawn> {
    let table = table(container);
    let delete = || -> io::Result<Withdrawn> {
        let mut nft = Nft::open()?;
        // An older hoist's was of family `ip`.
        let tables = [Table::inet(&table), Table::ip(&table)];
        if !nft.has_table(tables[0])? && !nft.has_table(tables[1])? {
            return Ok(Withdrawn { _socket: nft });
        }
        let mut rules = nft.rules(tables[0], Some("output"))?;
        rules.extend(nft.rules(tables[1], Some("output"))?);
        nft.delete_tables(&tables)?;
        let target = rules
            .iter()
            .find_map(|rule| udp_target(rule.comment.as_deref()?));
        if let Some(target) = target {
            // Best effort: an entry that stays runs out by itself.
            let _ = conntrack::forget(Which::Of(IpAddr::V4(target)));
        }
        Ok(Withdrawn { _socket: nft })
    };
    delete().map_err(|error| {
        EngineError::failed(
            format!("withdraw the ports of container {}", container.short()),
            error,
        )
    })
}
