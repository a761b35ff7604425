//! Links, addresses and routes of one network namespace.
//!
//! Requests are values; [`Route::run`] sends any number at once. Imports: `sys::netlink`.
//! Source: rtnetlink(7), `include/uapi/linux/if_link.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
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
    let mut message = link(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(
            true,
        )])),
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

/// Gives a device an address; one that is there already is replaced.
pub fn address(index: u32, address: Ipv4Addr, prefix: u8) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let broadcast = Ipv4Addr::from_bits(address.to_bits() | host);
    message.attributes = vec![
        AddressAttribute::Address(IpAddr::V4(address)),
        AddressAttribute::Local(IpAddr::V4(address)),
        AddressAttribute::Broadcast(broadcast),
    ];
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    Request {
        message: RouteNetlinkMessage::NewAddress(message),
        flags,
    }
}

/// Sets the default route.
pub fn default_route(gateway: Ipv4Addr) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message
        .attributes
        .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    Request {
        message: RouteNetlinkMessage::NewRoute(message),
        flags,
    }
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
}

/// An IPv4 route as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundRoute {
    /// Where it leads; `0.0.0.0/0` for the default route.
    pub destination: (Ipv4Addr, u8),
    /// The device it leaves by.
    pub device: Option<u32>,
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
    /// All IPv4 addresses with their prefix lengths.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&mut self) -> io::Result<Vec<(Ipv4Addr, u8)>> {
        let mut query = AddressMessage::default();
        query.header.family = AddressFamily::Inet;
        let found = self.ask(RouteNetlinkMessage::GetAddress(query), NLM_F_DUMP)?;
        let address = |message| {
            let RouteNetlinkMessage::NewAddress(message) = message else {
                return None;
            };
            let prefix = message.header.prefix_len;
            message
                .attributes
                .into_iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Address(IpAddr::V4(address)) => Some((address, prefix)),
                    _ => None,
                })
        };
        Ok(found.into_iter().filter_map(address).collect())
    }
    /// All IPv4 routes of all tables but `local`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn routes(&mut self) -> io::Result<Vec<FoundRoute>> {
        const LOCAL: u8 = 255;
        let mut query = RouteMessage::default();
        query.header.address_family = AddressFamily::Inet;
        let found = self.ask(RouteNetlinkMessage::GetRoute(query), NLM_F_DUMP)?;
        let route = |message| {
            let RouteNetlinkMessage::NewRoute(message) = message else {
                return None;
            };
            if message.header.table == LOCAL {
                return None;
            }
            let mut route = FoundRoute {
                destination: (
                    Ipv4Addr::UNSPECIFIED,
                    message.header.destination_prefix_length,
                ),
                device: None,
            };
            for attribute in message.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(to)) => route.destination.0 = to,
                    RouteAttribute::Oif(index) => route.device = Some(index),
                    _ => {}
                }
            }
            Some(route)
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
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name = name,
            LinkAttribute::Mtu(mtu) => found.mtu = mtu,
            LinkAttribute::OperState(state) => found.ready = state == State::Up,
            LinkAttribute::Address(mac) => found.mac = mac,
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
