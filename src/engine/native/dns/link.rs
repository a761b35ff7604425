//! One socket that asks one resolver, and the framing of messages on connections.
//!
//! Each has a port of its own, which the kernel chooses at random, and is connected: only packets of the
//! address that was asked come in, and the kernel tells when nobody listens there. Imports: `sys::netlink`.
//! Source: RFC 1035, 4.2; RFC 5452.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, socket,
};

use crate::sys::netlink::netns;

/// Sockets made at once in the container's namespace: going there is a thread's work.
const BATCH: usize = 8;

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// One packet.
    Udp,
    /// A connection; messages have their length in front.
    Tcp,
}

/// The namespace that resolvers are asked from.
#[derive(Debug)]
pub(super) enum Origin {
    /// The calling thread's, which is the host's.
    Host,
    /// The container's, and sockets that wait there for their first use.
    Container {
        /// The namespace.
        netns: OwnedFd,
        /// Sockets of one kind.
        spare: Vec<OwnedFd>,
        /// Their kind.
        kind: (AddressFamily, SockType),
    },
}

impl Origin {
    pub(super) fn container(netns: OwnedFd) -> Self {
        Self::Container {
            netns,
            spare: Vec::new(),
            kind: (AddressFamily::Inet, SockType::Datagram),
        }
    }
    fn socket(&mut self, wanted: (AddressFamily, SockType)) -> io::Result<OwnedFd> {
        let make = || -> io::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            Ok(socket(wanted.0, wanted.1, flags, None)?)
        };
        let Self::Container { netns, spare, kind } = self else {
            return make();
        };
        if *kind != wanted {
            spare.clear();
            *kind = wanted;
        }
        if let Some(socket) = spare.pop() {
            return Ok(socket);
        }
        let made = || (0..BATCH).map(|_| make()).collect::<io::Result<Vec<_>>>();
        *spare = netns::within(netns.as_fd(), made)?;
        spare.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A question under way to one resolver.
#[derive(Debug)]
pub(super) enum Link {
    /// By packets.
    Udp(UdpSocket),
    /// By a connection.
    Tcp {
        /// The connection.
        stream: TcpStream,
        /// What is still to be sent.
        output: Vec<u8>,
        /// What has come of the answer.
        input: Vec<u8>,
    },
}

impl Link {
    /// Sends a message on its way.
    ///
    /// # Errors
    /// The kernel's, when the resolver can't be reached from here.
    pub(super) fn open(
        origin: &mut Origin,
        server: SocketAddr,
        way: Way,
        message: &[u8],
    ) -> io::Result<Self> {
        let family = match server {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let address = SockaddrStorage::from(server);
        if way == Way::Udp {
            let fd = origin.socket((family, SockType::Datagram))?;
            connect(fd.as_raw_fd(), &address)?;
            let socket = UdpSocket::from(fd);
            socket.send(message)?;
            return Ok(Self::Udp(socket));
        }
        let fd = origin.socket((family, SockType::Stream))?;
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(Self::Tcp {
            stream: fd.into(),
            output: framed(message),
            input: Vec::new(),
        })
    }
    /// What to wait for.
    pub(super) fn interest(&self) -> EpollFlags {
        match self {
            Self::Tcp { output, .. } if !output.is_empty() => EpollFlags::EPOLLOUT,
            _ => EpollFlags::EPOLLIN,
        }
    }
    /// Goes on as far as it can without waiting; gives the messages that have come.
    ///
    /// # Errors
    /// The kernel's, when nothing more will come.
    pub(super) fn turn(&mut self) -> io::Result<Vec<Vec<u8>>> {
        match self {
            Self::Udp(socket) => receive(socket),
            Self::Tcp {
                stream,
                output,
                input,
            } => converse(stream, output, input),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tcp { stream, .. } => stream.as_fd(),
        }
    }
}

/// A message with its length in front, for TCP. Source: RFC 1035, 4.2.2.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let message = message.get(..usize::from(length)).unwrap_or(message);
    [&length.to_be_bytes(), message].concat()
}

/// Takes the first whole message out of received bytes.
pub(super) fn unframe(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(input.first_chunk::<2>().copied()?));
    let message = input.get(2..2 + length)?.to_vec();
    input.drain(..2 + length);
    Some(message)
}

fn receive(socket: &UdpSocket) -> io::Result<Vec<Vec<u8>>> {
    let mut answers = Vec::new();
    // More than a few packets to one question are somebody's attempt to guess.
    while answers.len() < 16 {
        // Its length first: most are short, and some are as long as a packet can be.
        let length = match recv(
            socket.as_raw_fd(),
            &mut [],
            MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC,
        ) {
            Ok(length) => length,
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let mut answer = vec![0; length];
        match socket.recv(&mut answer) {
            Ok(length) => {
                answer.truncate(length);
                answers.push(answer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

fn converse(
    stream: &mut TcpStream,
    output: &mut Vec<u8>,
    input: &mut Vec<u8>,
) -> io::Result<Vec<Vec<u8>>> {
    while !output.is_empty() {
        match stream.write(output) {
            Ok(sent) => drop(output.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => input.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if let Some(message) = unframe(input) {
            return Ok(vec![message]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_of_a_stream_whole() {
        let mut input = framed(b"abc");
        input.extend(framed(b"de"));
        let last = input.pop();
        assert_eq!(unframe(&mut input), Some(b"abc".to_vec()));
        assert_eq!(unframe(&mut input), None);
        input.extend(last);
        assert_eq!(unframe(&mut input), Some(b"de".to_vec()));
        assert!(input.is_empty());
    }
}
