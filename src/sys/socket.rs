//! Packets with descriptors between processes of ours.
//!
//! Imports: nothing of ours. Source: unix(7), `SOCK_SEQPACKET` and `SCM_RIGHTS`.
#![expect(unsafe_code, reason = "received descriptors come as plain numbers")]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

/// Longest packet in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// One packet: its bytes, and the descriptors that came with it.
pub type Packet = (Vec<u8>, Vec<OwnedFd>);

/// Two connected packet sockets.
///
/// # Errors
/// The kernel's.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends one packet, with descriptors if any.
///
/// # Errors
/// The kernel's; `EPIPE` when the other side is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() {
        &rights[..0]
    } else {
        &rights[..]
    };
    let parts = [IoSlice::new(bytes)];
    let fd = socket.as_fd().as_raw_fd();
    loop {
        match sendmsg::<()>(fd, &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one packet with at most four descriptors; `None` when the other side is gone.
///
/// # Errors
/// The kernel's; `EMSGSIZE` for a packet over [`MAX_PACKET`].
pub fn receive(socket: impl AsFd) -> Result<Option<Packet>, Errno> {
    let mut buffer = vec![0; MAX_PACKET];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let fd = socket.as_fd().as_raw_fd();
    let (length, fds, flags) = loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let got = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
        match got {
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(errno) => return Err(errno),
            Ok(message) => {
                let mut fds = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        // SAFETY: the kernel has just made these descriptors for us.
                        fds.extend(
                            raw.into_iter()
                                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                        );
                    }
                }
                break (message.bytes, fds, message.flags);
            }
        }
    };
    if flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    buffer.truncate(length);
    Ok((length > 0).then_some((buffer, fds)))
}
