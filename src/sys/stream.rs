//! Unix sockets that carry descriptors beside bytes.
//!
//! Imports: nothing of ours. Source: unix(7), cmsg(3).
#![expect(
    unsafe_code,
    reason = "a received descriptor becomes owned exactly once, here"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, bind, connect, listen, recvmsg, sendmsg, socket,
};

/// Sends bytes once, with descriptors beside the first; gives how many bytes went.
///
/// # Errors
/// The kernel's; `EPIPE` instead of a signal.
pub fn send(to: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let slices = [IoSlice::new(bytes)];
    sendmsg::<UnixAddr>(
        to.as_raw_fd(),
        &slices,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
}

/// Receives bytes once, adding descriptors that came along to `fds`; 0 is the end.
///
/// # Errors
/// The kernel's.
pub fn receive(
    from: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<usize, Errno> {
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(from.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just installed these descriptors for us; nobody else owns them.
            fds.extend(
                received
                    .into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    Ok(message.bytes)
}

/// The short name of a socket below its directory: a socket's path has room for 107 bytes only.
fn short(path: &Path) -> io::Result<(OwnedFd, UnixAddr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
    let dir = nix::fcntl::open(parent, flags, nix::sys::stat::Mode::empty())?;
    let address = UnixAddr::new(&super::fs::fd_path(&dir).join(name))?;
    Ok((dir, address))
}

/// Listens on a path, replacing a socket that is there.
///
/// # Errors
/// The system's.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let (_dir, address) = short(path)?;
    bind(fd.as_raw_fd(), &address)?;
    listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// Connects to a path.
///
/// # Errors
/// The system's: `NotFound` or `ConnectionRefused` when nobody listens.
pub fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let (_dir, address) = short(path)?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Accepts one connection; `None` when there is none now. The connection does not block.
///
/// # Errors
/// The system's.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    match nix::sys::socket::accept4(listener.as_raw_fd(), flags) {
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes a descriptor that the process which started this one passed by number; `None` when there is none.
/// To be called once a number, before anything else is opened.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: asks about a number; no memory is involved.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: the descriptor is open, as the call above has shown, and by contract nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
