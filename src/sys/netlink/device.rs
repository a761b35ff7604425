//! Devices on devices: macvlan, ipvlan, VLANs, and devices that lead nowhere.
//!
//! Imports: `sys::netlink::route`. Source: ip-link(8), `include/uapi/linux/if_link.h`, kernel documentation
//! `networking/ipvlan.rst`.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::route::Request;

/// What a device is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A hardware address of its own on the parent.
    Macvlan(MacVlanMode),
    /// Addresses of its own behind the parent's hardware address.
    Ipvlan(IpVlanMode, IpVlanFlags),
}

/// A device in a namespace, on a parent in the socket's namespace.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// Index of the parent.
    pub parent: u32,
    /// Its name.
    pub name: &'a str,
    /// Namespace it is born in, down.
    pub netns: BorrowedFd<'a>,
    /// Its hardware address; the parent's when `None`.
    pub mac: Option<[u8; 6]>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// What it is.
    pub kind: Kind,
}

fn made(message: LinkMessage) -> Request {
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

fn named(name: &str, info: Vec<LinkInfo>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(info),
    ];
    message
}

/// Makes a device of a namespace on a device of the host.
pub fn child(child: &Child<'_>) -> Request {
    let (kind, data) = match child.kind {
        Kind::Macvlan(mode) => (
            InfoKind::MacVlan,
            InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]),
        ),
        Kind::Ipvlan(mode, flags) => (
            InfoKind::IpVlan,
            InfoData::IpVlan(vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(flags)]),
        ),
    };
    let mut message = named(child.name, vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]);
    let attributes = &mut message.attributes;
    attributes.push(LinkAttribute::Link(child.parent));
    attributes.push(LinkAttribute::Mtu(child.mtu));
    attributes.push(LinkAttribute::NetNsFd(child.netns.as_raw_fd()));
    attributes.extend(child.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    made(message)
}

/// Gives a device that is down another name.
pub fn rename(index: u32, name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
    }
}

fn up_in(message: &mut LinkMessage, group: u32) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::Group(group));
}

/// Makes a device that leads nowhere, up, in a group.
pub fn dummy(name: &str, group: u32) -> Request {
    let mut message = named(name, vec![LinkInfo::Kind(InfoKind::Dummy)]);
    up_in(&mut message, group);
    made(message)
}

/// Makes the device of a VLAN on a parent, up, in a group.
pub fn vlan(name: &str, parent: u32, tag: u16, group: u32) -> Request {
    let data = InfoData::Vlan(vec![InfoVlan::Id(tag)]);
    let mut message = named(
        name,
        vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)],
    );
    up_in(&mut message, group);
    message.attributes.push(LinkAttribute::Link(parent));
    made(message)
}
