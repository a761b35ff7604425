//! Datagrams of a socket for all addresses: which of the host's own each came to, so that answers come from there.
//!
//! Imports: nothing of ours. Source: ip(7), `IP_PKTINFO`; ipv6(7), `IPV6_PKTINFO`.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};

/// The host's side of a datagram: its address there, and the device of an address that is one cable's only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    address: IpAddr,
    device: u32,
}

/// Has the kernel tell where each datagram came to.
///
/// # Errors
/// The kernel's.
pub fn watch(socket: &UdpSocket) -> io::Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// Takes a datagram without waiting: its length, its sender, and where it came to.
///
/// # Errors
/// The kernel's; `WouldBlock` when there is none.
pub fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<Local>)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let fd = socket.as_raw_fd();
    let got = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let local = got.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local {
            address: Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into(),
            device: 0,
        }),
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let here_only = address.is_unicast_link_local();
            Some(Local {
                address: address.into(),
                device: if here_only { info.ipi6_ifindex } else { 0 },
            })
        }
        _ => None,
    });
    let sender = got.address.as_ref().and_then(|sender| {
        let v4 = sender
            .as_sockaddr_in()
            .map(|v4| SocketAddrV4::from(*v4).into());
        v4.or_else(|| {
            sender
                .as_sockaddr_in6()
                .map(|v6| SocketAddrV6::from(*v6).into())
        })
    });
    let sender = sender.ok_or(Errno::EAFNOSUPPORT)?;
    Ok((got.bytes, sender, local))
}

/// Sends a datagram from the address that one came to.
///
/// # Errors
/// The kernel's.
pub fn send(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    local: Option<Local>,
) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    let to = SockaddrStorage::from(to);
    let fd = socket.as_raw_fd();
    let with = |control: &[ControlMessage<'_>]| {
        sendmsg(fd, &parts, control, MsgFlags::MSG_DONTWAIT, Some(&to)).map(drop)
    };
    match local.map(|local| (local.address, local.device)) {
        None => with(&[])?,
        Some((IpAddr::V4(address), _)) => {
            let nowhere = in_addr { s_addr: 0 };
            let info = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr {
                    s_addr: address.to_bits().to_be(),
                },
                ipi_addr: nowhere,
            };
            with(&[ControlMessage::Ipv4PacketInfo(&info)])?;
        }
        Some((IpAddr::V6(address), device)) => {
            let info = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: device,
            };
            with(&[ControlMessage::Ipv6PacketInfo(&info)])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        let server = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        watch(&server).unwrap();
        let port = server.local_addr().unwrap().port();
        for asked in ["127.0.0.1", "127.0.0.77"] {
            let client = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
            // Answers from elsewhere do not reach a connected socket.
            client.connect((asked, port)).unwrap();
            client.send(b"?").unwrap();
            let mut bytes = [0; 4];
            let (count, from, local) = receive(&server, &mut bytes).unwrap();
            assert_eq!((count, from), (1, client.local_addr().unwrap()));
            send(&server, b"!", from, local).unwrap();
            client
                .set_read_timeout(Some(std::time::Duration::from_secs(5)))
                .unwrap();
            assert_eq!(client.recv(&mut bytes).unwrap(), 1);
        }
        let none = receive(&server, &mut [0]).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}
