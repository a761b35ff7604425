//! The connection over which log lines go: it comes back by itself when it was lost.
//!
//! Imports: `engine`, `sys`. Source: moby `daemon/logger/syslog`, srslog: what `syslog-address` may say, and the
//! places where a host's own syslog listens.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, UnixAddr, connect, getsockopt,
    recv, socket, sockopt,
};

use crate::engine::spec::SyslogAddress;

/// Where journald takes messages. Source: systemd, "Native Journal Protocol".
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where a host's own syslog may listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// How long a start waits for a server.
const PATIENCE: Duration = Duration::from_secs(5);

/// First and longest time between two attempts.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Where it leads.
#[derive(Debug)]
enum To {
    Journal,
    Local,
    Unix(PathBuf, SockType),
    Net {
        host: String,
        port: u16,
        kind: SockType,
        /// Of the host, once it is known: a name is looked up by starts only, since that may take its time.
        address: Option<SocketAddr>,
    },
}

#[derive(Debug)]
enum State {
    Down {
        again: Option<Instant>,
        wait: Duration,
    },
    Connecting(OwnedFd),
    Up(OwnedFd, SockType),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It went.
    Whole,
    /// It did not go, or not whole, and must be given again.
    Later,
    /// It can never go.
    TooLong,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    to: To,
    state: State,
    /// Bytes of the message that a stream has taken.
    taken: usize,
}

impl Link {
    fn new(to: To) -> Self {
        Self {
            to,
            // At once.
            state: State::Down {
                again: None,
                wait: AGAIN.0,
            },
            taken: 0,
        }
    }

    /// To the journal.
    pub(super) fn journal() -> Self {
        Self::new(To::Journal)
    }

    /// To a syslog server; `address` is what its name meant before.
    pub(super) fn syslog(to: &SyslogAddress, address: Option<SocketAddr>) -> Self {
        let net = |host: &String, port: u16, kind| To::Net {
            host: host.clone(),
            port,
            kind,
            address,
        };
        Self::new(match to {
            SyslogAddress::Local => To::Local,
            SyslogAddress::Udp(host, port) => net(host, *port, SockType::Datagram),
            SyslogAddress::Tcp(host, port) => net(host, *port, SockType::Stream),
            SyslogAddress::Unix(path) => To::Unix(path.clone(), SockType::Stream),
            SyslogAddress::Unixgram(path) => To::Unix(path.clone(), SockType::Datagram),
        })
    }

    /// What it leads to, for people.
    pub(super) fn name(&self) -> String {
        match &self.to {
            To::Journal => format!("the journal ({JOURNAL})"),
            To::Local => format!("this host's syslog ({})", LOCAL.join(", ")),
            To::Unix(path, _) => format!("the syslog socket {}", path.display()),
            To::Net {
                host, port, kind, ..
            } => {
                let kind = if *kind == SockType::Stream {
                    "tcp"
                } else {
                    "udp"
                };
                format!("the syslog server {kind}://{host}:{port}")
            }
        }
    }

    /// The address that the server's name meant.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.to {
            To::Net { address, .. } => *address,
            _ => None,
        }
    }

    /// Whether one message may hold many lines.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.state, State::Up(_, SockType::Stream))
    }

    /// Whether it is connected.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(..))
    }

    /// Whether it waits for the other side's word.
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(_))
    }

    /// Its descriptor, while it has one.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Down { .. } => None,
            State::Connecting(fd) | State::Up(fd, _) => Some(fd.as_fd()),
        }
    }

    /// When the next attempt is due.
    pub(super) fn again(&self) -> Option<Instant> {
        match &self.state {
            State::Down { again, .. } => *again,
            _ => None,
        }
    }

    /// Connects as a start does it: it waits, looks names up, and a failure is one.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn connect_first(&mut self) -> io::Result<()> {
        if self.is_up() {
            return Ok(());
        }
        if let To::Net {
            host,
            port,
            kind,
            address,
        } = &mut self.to
        {
            let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            let found: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs()?.collect();
            *address = found.first().copied();
            if *kind == SockType::Stream {
                for one in found {
                    match TcpStream::connect_timeout(&one, PATIENCE) {
                        Ok(stream) => {
                            stream.set_nonblocking(true)?;
                            *address = Some(one);
                            self.state = State::Up(stream.into(), SockType::Stream);
                            return Ok(());
                        }
                        Err(why) => error = why,
                    }
                }
                return Err(error);
            }
            if address.is_none() {
                return Err(error);
            }
        }
        self.state = self.attempt()?;
        Ok(())
    }

    /// One attempt that waits for nobody.
    fn attempt(&self) -> io::Result<State> {
        match &self.to {
            To::Journal => local(&PathBuf::from(JOURNAL), SockType::Datagram),
            To::Unix(path, kind) => local(path, *kind),
            To::Local => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for path in LOCAL.map(PathBuf::from) {
                    for kind in [SockType::Datagram, SockType::Stream] {
                        match local(&path, kind) {
                            Ok(state) => return Ok(state),
                            Err(error) => last = error,
                        }
                    }
                }
                Err(last)
            }
            To::Net { address, kind, .. } => {
                let address = address.ok_or(io::ErrorKind::NotFound)?;
                let family = match address {
                    SocketAddr::V4(_) => AddressFamily::Inet,
                    SocketAddr::V6(_) => AddressFamily::Inet6,
                };
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let fd = socket(family, *kind, flags, None)?;
                match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
                    Ok(()) => Ok(State::Up(fd, *kind)),
                    Err(Errno::EINPROGRESS) => Ok(State::Connecting(fd)),
                    Err(errno) => Err(errno.into()),
                }
            }
        }
    }

    /// Gets it ready to send, as far as that goes without waiting.
    pub(super) fn is_ready(&mut self) -> bool {
        match &self.state {
            State::Up(fd, SockType::Stream) if is_closed(fd.as_fd()) => self.lose(),
            State::Up(..) => return true,
            State::Connecting(fd) => match outcome(fd.as_fd()) {
                None => return false,
                Some(true) => {
                    self.established();
                    return self.is_up();
                }
                Some(false) => self.lose(),
            },
            State::Down { again, .. } if again.is_some_and(|at| at > Instant::now()) => {
                return false;
            }
            State::Down { .. } => {}
        }
        match self.attempt() {
            Ok(state) => self.state = state,
            Err(_) => self.later(),
        }
        self.is_up()
    }

    fn established(&mut self) {
        let state = std::mem::replace(
            &mut self.state,
            State::Down {
                again: None,
                wait: AGAIN.0,
            },
        );
        self.state = match state {
            State::Connecting(fd) => State::Up(fd, SockType::Stream),
            other => other,
        };
    }

    /// The connection is gone; what a stream took of the message is not known to have arrived.
    fn lose(&mut self) {
        self.taken = 0;
        let wait = AGAIN.0;
        self.state = State::Down { again: None, wait };
    }

    fn later(&mut self) {
        let wait = match &self.state {
            State::Down { wait, .. } => *wait,
            _ => AGAIN.0,
        };
        self.state = State::Down {
            again: Some(Instant::now() + wait),
            wait: (wait * 2).min(AGAIN.1),
        };
    }

    /// Sends a message, or more of the one that was given before.
    pub(super) fn send(&mut self, message: &[u8]) -> Sent {
        let mut refused = false;
        loop {
            let State::Up(fd, kind) = &self.state else {
                return Sent::Later;
            };
            let rest = message.get(self.taken..).unwrap_or_default();
            match crate::sys::stream::send(fd.as_fd(), rest, &[]) {
                Ok(sent) if *kind == SockType::Stream => {
                    self.taken += sent;
                    if self.taken >= message.len() {
                        self.taken = 0;
                        return Sent::Whole;
                    }
                }
                Ok(_) => return Sent::Whole,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Sent::Later,
                Err(Errno::EMSGSIZE) => return self.send_long(message),
                // Of a datagram that went before: nobody may listen now, but nobody ever says that he does.
                Err(Errno::ECONNREFUSED)
                    if matches!(self.to, To::Net { .. }) && *kind == SockType::Datagram =>
                {
                    if refused {
                        return Sent::Whole;
                    }
                    refused = true;
                }
                Err(_) => {
                    self.lose();
                    self.later();
                    return Sent::Later;
                }
            }
        }
    }

    /// A message that is too long for a datagram: the journal takes it as a file.
    fn send_long(&self, message: &[u8]) -> Sent {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let (To::Journal, State::Up(fd, _)) = (&self.to, &self.state) else {
            return Sent::TooLong;
        };
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let sent = memfd_create("hoist-log", flags)
            .map(std::fs::File::from)
            .and_then(|file| {
                io::Write::write_all(&mut &file, message).map_err(|_| Errno::EIO)?;
                fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
                crate::sys::stream::send(fd.as_fd(), &[], &[file.as_fd()])
            });
        match sent {
            Ok(_) => Sent::Whole,
            Err(Errno::EAGAIN) => Sent::Later,
            Err(_) => Sent::TooLong,
        }
    }
}

fn local(path: &std::path::Path, kind: SockType) -> io::Result<State> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, kind, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(State::Up(fd, kind))
}

/// Whether the other side has closed a stream.
fn is_closed(fd: BorrowedFd<'_>) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    !matches!(
        recv(fd.as_raw_fd(), &mut [0], flags),
        Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR)
    )
}

/// How an attempt ended, if it has.
fn outcome(fd: BorrowedFd<'_>) -> Option<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    match nix::poll::poll(&mut fds, PollTimeout::ZERO) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(getsockopt(&fd, sockopt::SocketError).is_ok_and(|error| error == 0)),
    }
}
