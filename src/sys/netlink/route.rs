//! Links, addresses and routes of one network namespace.
//!
//! Requests are values; [`Route::run`] sends any number at once. Imports: `sys::netlink`.
//! Source: rtnetlink(7), `include/uapi/linux/if_link.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::Socket;

/// One change to links, addresses or routes.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
}

/// The two ends of a [`veth`].
#[derive(Debug, Clone, Copy)]
pub struct VethEnds<'a> {
    /// Name of the end in the socket's namespace.
    pub name: &'a str,
    /// Index of the bridge that end belongs to.
    pub bridge: u32,
    /// Name of the other end.
    pub peer: &'a str,
    /// Namespace the other end is born in.
    pub netns: BorrowedFd<'a>,
    /// Hardware address of the other end.
    pub mac: [u8; 6],
    /// Largest packet in bytes, both ends.
    pub mtu: u32,
}

fn link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn make_up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

/// Makes a bridge that forwards at once, up. Without an address of its own it would take that of one of
/// its ports, and change it as these come and go.
pub fn bridge(name: &str, mtu: u32, mac: [u8; 6]) -> Request {
    let mut message = link(name);
    make_up(&mut message);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message
        .attributes
        .push(LinkAttribute::Address(mac.to_vec()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::ForwardDelay(0)])),
    ]));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags,
    }
}

/// Makes a pair of devices: one end up and in a bridge, the other born in another namespace, down.
pub fn veth(ends: &VethEnds<'_>) -> Request {
    let mut peer = link(ends.peer);
    peer.attributes.push(LinkAttribute::Mtu(ends.mtu));
    peer.attributes
        .push(LinkAttribute::Address(ends.mac.to_vec()));
    peer.attributes
        .push(LinkAttribute::NetNsFd(ends.netns.as_raw_fd()));
    let mut message = link(ends.name);
    make_up(&mut message);
    message.attributes.push(LinkAttribute::Mtu(ends.mtu));
    message
        .attributes
        .push(LinkAttribute::Controller(ends.bridge));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags,
    }
}

/// Lets a bridge send a packet back out of the port it came in by.
pub fn hairpin(name: &str) -> Request {
    port(name, InfoBridgePort::HairpinMode(true))
}

fn port(name: &str, setting: InfoBridgePort) -> Request {
    let mut message = link(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![setting])),
    ]));
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: 0,
    }
}

/// Brings a device up.
pub fn up(name: &str) -> Request {
    let mut message = link(name);
    make_up(&mut message);
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
    }
}

/// Takes a device down; `ENODEV` when there is none.
pub fn down(name: &str) -> Request {
    let mut message = link(name);
    message.header.change_mask = LinkFlags::Up;
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
    }
}

/// Deletes a device; `ENODEV` when there is none.
pub fn delete(name: &str) -> Request {
    Request {
        message: RouteNetlinkMessage::DelLink(link(name)),
        flags: 0,
    }
}

/// Puts a device into a group.
pub fn group(name: &str, group: u32) -> Request {
    let mut message = link(name);
    message.attributes.push(LinkAttribute::Group(group));
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
    }
}

/// Deletes all devices of a group at once; `ENODEV` when it has none.
///
/// Source: rtnetlink(7) and the kernel's `rtnl_group_dellink`.
pub fn delete_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    Request {
        message: RouteNetlinkMessage::DelLink(message),
        flags: 0,
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Gives a device an address of a network; one that is there already is replaced. An IPv6 address is usable at once:
/// nobody is asked first whether they have it (RFC 4862, 5.4), since whoever gives it out knows.
pub fn address(index: u32, address: IpNet) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Address(address.addr()),
        AddressAttribute::Local(address.addr()),
    ];
    match address {
        IpNet::V4(address) => message
            .attributes
            .push(AddressAttribute::Broadcast(address.broadcast())),
        IpNet::V6(address) => {
            message.header.flags = AddressHeaderFlags::Nodad;
            if address.addr().is_unicast_link_local() {
                message.header.scope = AddressScope::Link;
            }
        }
    }
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    Request {
        message: RouteNetlinkMessage::NewAddress(message),
        flags,
    }
}

fn unicast_route(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message
}

fn new_route(message: RouteMessage) -> Request {
    Request {
        message: RouteNetlinkMessage::NewRoute(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// Sets the default route of the gateway's version of IP.
pub fn default_route(gateway: IpAddr) -> Request {
    let mut message = unicast_route(family(gateway));
    message
        .attributes
        .push(RouteAttribute::Gateway(match gateway {
            IpAddr::V4(gateway) => RouteAddress::Inet(gateway),
            IpAddr::V6(gateway) => RouteAddress::Inet6(gateway),
        }));
    new_route(message)
}

/// Sets the route to a network: by a gateway, or straight out of a device where there is none.
pub fn route_to(network: IpNet, gateway: Option<IpAddr>, device: u32) -> Request {
    let mut message = unicast_route(family(network.addr()));
    message.header.destination_prefix_length = network.prefix_len();
    let address = |address| match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    if network.prefix_len() > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(address(network.network())));
    }
    match gateway {
        Some(gateway) => message
            .attributes
            .push(RouteAttribute::Gateway(address(gateway))),
        None if network.addr().is_ipv4() => message.header.scope = RouteScope::Link,
        None => {}
    }
    message.attributes.push(RouteAttribute::Oif(device));
    new_route(message)
}

/// A device as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLink {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Whether it can send and receive (RFC 2863 operational state "up").
    pub ready: bool,
    /// Its hardware address, if it has one.
    pub mac: Vec<u8>,
    /// Its group; 0 for none.
    pub group: u32,
}

/// An address as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundAddress {
    /// The address with the prefix length of its network.
    pub address: IpNet,
    /// The device that has it.
    pub device: u32,
    /// Whether it stays until somebody takes it away; one that a router has advertised does not.
    pub permanent: bool,
}

/// A route as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundRoute {
    /// Where it leads; `0.0.0.0/0` or `::/0` for a default route.
    pub destination: IpNet,
    /// The device it leaves by.
    pub device: Option<u32>,
    /// Whether the kernel has it from a router's advertisement.
    pub advertised: bool,
}

/// A socket for [`Request`]s and look-ups.
#[derive(Debug)]
pub struct Route {
    socket: Socket,
}

impl Route {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open(SockProtocol::NetlinkRoute)?,
        })
    }
    fn encode(&mut self, request: Request, flags: u16) -> Result<(Vec<u8>, u32), Errno> {
        let sequence = self.socket.next_sequence();
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | request.flags | flags;
        header.sequence_number = sequence;
        let mut message =
            NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.message));
        message.finalize();
        // No attribute in it can be longer then.
        if message.buffer_len() > usize::from(u16::MAX) {
            return Err(Errno::EMSGSIZE);
        }
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok((bytes, sequence))
    }
    /// Carries all requests out, each on its own, and gives each one's result.
    ///
    /// # Errors
    /// The kernel's for the sending itself.
    pub fn try_all(&mut self, requests: Vec<Request>) -> io::Result<Vec<Result<(), Errno>>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Vec::new();
        let mut sequences = Vec::new();
        for request in requests {
            let (bytes, sequence) = self.encode(request, NLM_F_ACK)?;
            batch.extend(bytes);
            sequences.push(sequence);
        }
        self.socket.request(&batch, &sequences)
    }
    /// Carries all requests out; the first failure is given after all were tried.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&mut self, requests: Vec<Request>) -> io::Result<()> {
        for result in self.try_all(requests)? {
            result?;
        }
        Ok(())
    }
    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let (bytes, sequence) = self.encode(Request { message, flags: 0 }, flags)?;
        let answers = self.socket.query(&bytes, sequence)?;
        Ok(answers
            .iter()
            .filter_map(|answer| decode(answer.kind, &answer.payload))
            .collect())
    }
    /// A device by name.
    ///
    /// # Errors
    /// The kernel's; a missing one is `None`.
    pub fn link(&mut self, name: &str) -> io::Result<Option<FoundLink>> {
        match self.ask(RouteNetlinkMessage::GetLink(link(name)), 0) {
            Ok(found) => Ok(found.into_iter().find_map(found_link)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }
    /// All devices.
    ///
    /// # Errors
    /// The kernel's.
    pub fn links(&mut self) -> io::Result<Vec<FoundLink>> {
        let found = self.ask(
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            NLM_F_DUMP,
        )?;
        Ok(found.into_iter().filter_map(found_link).collect())
    }
    /// All addresses of both versions of IP.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&mut self) -> io::Result<Vec<FoundAddress>> {
        let query = AddressMessage::default();
        let found = self.ask(RouteNetlinkMessage::GetAddress(query), NLM_F_DUMP)?;
        let address = |message| {
            let RouteNetlinkMessage::NewAddress(message) = message else {
                return None;
            };
            let header = message.header;
            // On a cable between two, `Address` is the other end's.
            let mut own = None;
            for attribute in message.attributes {
                match attribute {
                    AddressAttribute::Local(address) => own = Some(address),
                    AddressAttribute::Address(address) => own = own.or(Some(address)),
                    _ => {}
                }
            }
            Some(FoundAddress {
                address: IpNet::new(own?, header.prefix_len).ok()?,
                device: header.index,
                permanent: header.flags.contains(AddressHeaderFlags::Permanent),
            })
        };
        Ok(found.into_iter().filter_map(address).collect())
    }
    /// All routes of both versions of IP, of all tables but `local`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn routes(&mut self) -> io::Result<Vec<FoundRoute>> {
        const LOCAL: u8 = 255;
        let query = RouteMessage::default();
        let found = self.ask(RouteNetlinkMessage::GetRoute(query), NLM_F_DUMP)?;
        let route = |message| {
            let RouteNetlinkMessage::NewRoute(message) = message else {
                return None;
            };
            let header = message.header;
            if header.table == LOCAL {
                return None;
            }
            let mut to = match header.address_family {
                AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                _ => return None,
            };
            let mut device = None;
            for attribute in message.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(found)) => to = found.into(),
                    RouteAttribute::Destination(RouteAddress::Inet6(found)) => to = found.into(),
                    RouteAttribute::Oif(index) => device = Some(index),
                    _ => {}
                }
            }
            Some(FoundRoute {
                destination: IpNet::new(to, header.destination_prefix_length).ok()?,
                device,
                advertised: header.protocol == RouteProtocol::Ra,
            })
        };
        Ok(found.into_iter().filter_map(route).collect())
    }
}

fn found_link(message: RouteNetlinkMessage) -> Option<FoundLink> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut found = FoundLink {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        ready: false,
        mac: Vec::new(),
        group: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name = name,
            LinkAttribute::Mtu(mtu) => found.mtu = mtu,
            LinkAttribute::OperState(state) => found.ready = state == State::Up,
            LinkAttribute::Address(mac) => found.mac = mac,
            LinkAttribute::Group(group) => found.group = group,
            _ => {}
        }
    }
    Some(found)
}

/// Reads one answer; what the crate cannot read (a newer kernel's attribute) is passed over.
fn decode(kind: u16, payload: &[u8]) -> Option<RouteNetlinkMessage> {
    use netlink_packet_core::NetlinkDeserializable as _;
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    RouteNetlinkMessage::deserialize(&header, payload).ok()
}
