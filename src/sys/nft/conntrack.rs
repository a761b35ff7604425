//! Tracked connections: forgetting those of an address that is gone.
//!
//! Imports: `sys::netlink`. Source: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::{ACK, DUMP, Family, REQUEST, Transport, generic};
use crate::sys::netlink::{Message, Socket, Writer, attributes};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V6_SRC: u16 = 3;
const PROTO_NUMBER: u16 = 1;
const PROTO_DST_PORT: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
const FILTER_IP_SRC: u32 = 1;

/// Which connections are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// Those that one of these addresses answers or has opened.
    Of(&'a [IpAddr]),
    /// Those opened to a port, of any address.
    To(Transport, u16),
}

fn inner(bytes: &[u8], path: &[u16]) -> Option<Vec<u8>> {
    let mut here = bytes;
    for step in path {
        here = attributes(here).find(|(kind, _)| kind == step)?.1;
    }
    Some(here.to_vec())
}

/// An address as a sender in a tuple: the attribute's type and its value.
fn source(address: IpAddr) -> (u16, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (IP_V4_SRC, address.octets().to_vec()),
        IpAddr::V6(address) => (IP_V6_SRC, address.octets().to_vec()),
    }
}

impl Which<'_> {
    fn fits(self, entry: &[u8]) -> bool {
        let is =
            |path: &[u16], value: &[u8]| inner(entry, path).is_some_and(|found| found == value);
        match self {
            Self::Of(addresses) => addresses.iter().any(|address| {
                let (kind, octets) = source(*address);
                [TUPLE_ORIGINAL, TUPLE_REPLY]
                    .iter()
                    .any(|tuple| is(&[*tuple, TUPLE_IP, kind], &octets))
            }),
            Self::To(transport, port) => {
                is(
                    &[TUPLE_ORIGINAL, TUPLE_PROTO, PROTO_NUMBER],
                    &[transport.number()],
                ) && is(
                    &[TUPLE_ORIGINAL, TUPLE_PROTO, PROTO_DST_PORT],
                    &port.to_be_bytes(),
                )
            }
        }
    }
}

/// Forgets connections; gives how many.
///
/// # Errors
/// The kernel's, as when it tracks no connections at all.
pub fn forget(which: Which<'_>) -> io::Result<usize> {
    let mut socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
    let found = dump(&mut socket, which)?;
    let mut writer = Writer::default();
    let mut sequences = Vec::new();
    for message in &found {
        let (Some(family), Some(entry)) = (message.payload.first(), message.payload.get(4..))
        else {
            continue;
        };
        let Some(tuple) = inner(entry, &[TUPLE_ORIGINAL]).filter(|_| which.fits(entry)) else {
            continue;
        };
        let sequence = socket.next_sequence();
        sequences.push(sequence);
        writer.message(SUBSYSTEM << 8 | DELETE, REQUEST | ACK, sequence, |w| {
            generic(w, *family, 0);
            w.nest(TUPLE_ORIGINAL, |w| w.raw(&tuple));
        });
        // One datagram must stay below the socket's send buffer.
        if writer.bytes().len() > 16 * 1024 {
            socket.request(writer.whole()?, &sequences)?;
            writer = Writer::default();
        }
    }
    if !writer.bytes().is_empty() {
        socket.request(writer.whole()?, &sequences)?;
    }
    Ok(sequences.len())
}

/// Up to so many entries are read and looked at here: a walk through the kernel's table takes longer than that.
const FEW: u64 = 1000;

/// All entries that may fit. Kernels before 5.8 do not filter, so that the caller looks again.
fn dump(socket: &mut Socket, which: Which<'_>) -> io::Result<Vec<Message>> {
    const ALL_VERSIONS: u8 = 0;
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    let count = count.ok().and_then(|text| text.trim().parse::<u64>().ok());
    let addresses = match which {
        Which::Of(addresses) if count.is_none_or(|count| count > FEW) => addresses,
        _ => return dump_of(socket, ALL_VERSIONS, |_| {}),
    };
    let mut found = Vec::new();
    for address in addresses {
        let family = match address {
            IpAddr::V4(_) => Family::Ip.number(),
            IpAddr::V6(_) => Family::Ip6.number(),
        };
        let (kind, octets) = source(*address);
        let sides = [
            (TUPLE_ORIGINAL, FILTER_ORIGINAL_FLAGS),
            (TUPLE_REPLY, FILTER_REPLY_FLAGS),
        ];
        for (tuple, flags) in sides {
            found.extend(dump_of(socket, family, |w| {
                w.nest(tuple, |w| w.nest(TUPLE_IP, |w| w.put(kind, &octets)));
                w.nest(FILTER, |w| w.put(flags, &FILTER_IP_SRC.to_ne_bytes()));
            })?);
        }
    }
    Ok(found)
}

fn dump_of(
    socket: &mut Socket,
    family: u8,
    body: impl FnOnce(&mut Writer),
) -> io::Result<Vec<Message>> {
    let sequence = socket.next_sequence();
    let mut writer = Writer::default();
    writer.message(SUBSYSTEM << 8 | GET, REQUEST | DUMP, sequence, |w| {
        generic(w, family, 0);
        body(w);
    });
    match socket.query(writer.whole()?, sequence) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(Vec::new()),
        other => other,
    }
}
