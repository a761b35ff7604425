//! The sockets that hold a container's ports, and what reaches them all the same.
//!
//! Rules translate packets before any socket sees them, but not all: nothing turns IPv6 into IPv4, and what the host
//! sends to its own `::1` can't leave it. That is passed on here, as bytes, by whoever polls this; also everything
//! else as long as somebody has cleared the rules. It never waits, has no threads, and costs nothing while nobody calls.
//!
//! In: bound sockets and addresses of the container. Out: connections and datagrams at the container, which sees its
//! gateway as their sender. Must not know: rules, records. Imports: `sys` nothing; std and epoll(7) only.
//! As Docker's `docker-proxy`, whose 90 s for a silent sender of datagrams are kept.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

/// Most connections at once, of two descriptors each; more wait in the kernel.
const CONNECTIONS: usize = 256;
/// Most senders of datagrams at once; the one that was silent for longest makes room.
const SENDERS: usize = 128;
/// How long a sender of datagrams may be silent.
const SILENCE: Duration = Duration::from_secs(90);
/// How long nothing is accepted after the process had no descriptor left.
const PAUSE: Duration = Duration::from_secs(1);
/// Most events and most pieces of one socket in one turn, so that the owner gets its own turn.
const EVENTS: usize = 32;
const PIECES: usize = 4;
/// Bytes taken at once.
const PIECE: usize = 16 * 1024;

/// What holds a port.
#[derive(Debug)]
pub(super) enum Holder {
    /// A listener.
    Tcp(TcpListener),
    /// A socket for datagrams.
    Udp(UdpSocket),
}

/// The held ports of one container; poll its descriptor for reading and call [`Doors::turn`].
#[derive(Debug, Default)]
pub struct Doors {
    epoll: Option<Epoll>,
    doors: Vec<(Holder, SocketAddr)>,
    calls: BTreeMap<u64, Call>,
    senders: BTreeMap<u64, Sender>,
    next: u64,
    /// Until when nothing is accepted.
    closed: Option<Instant>,
}

/// One side of a connection, and what it has said that the other has not taken yet.
#[derive(Debug)]
struct Side {
    stream: TcpStream,
    said: Vec<u8>,
    /// Whether it has said everything.
    ended: bool,
    /// Whether the other side was told so.
    told: bool,
    /// What is waited for at it.
    watched: EpollFlags,
}

impl Side {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            said: Vec::new(),
            ended: false,
            told: false,
            watched: EpollFlags::empty(),
        }
    }
    /// Has it waited for. What nothing is wanted of is not watched at all: an end or an error would be told again
    /// and again.
    fn watch(&mut self, epoll: &Epoll, flags: EpollFlags, token: u64) -> nix::Result<()> {
        let mut event = EpollEvent::new(flags, token);
        match (self.watched.is_empty(), flags.is_empty()) {
            (true, false) => epoll.add(&self.stream, event)?,
            (false, true) => epoll.delete(&self.stream)?,
            (false, false) if flags != self.watched => epoll.modify(&self.stream, &mut event)?,
            _ => {}
        }
        self.watched = flags;
        Ok(())
    }
    fn wants(&self, other: &Self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, !self.ended && self.said.is_empty());
        flags.set(EpollFlags::EPOLLOUT, !other.said.is_empty());
        flags
    }
    /// Carries what this side says to the other, as far as both can at once.
    fn carry(&mut self, other: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
        give(other, &mut self.said)?;
        for _ in 0..PIECES {
            if self.ended || !self.said.is_empty() {
                break;
            }
            match self.stream.read(buffer) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    let piece = buffer.get(..length).unwrap_or_default();
                    let sent = put(other, piece)?;
                    self.said
                        .extend_from_slice(piece.get(sent..).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.ended && self.said.is_empty() && !self.told {
            self.told = true;
            // Who is gone already need not be told.
            let _ = other.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}

/// Writes as much as is taken now; gives how much.
fn put(to: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Writes as much of what waits as is taken now.
fn give(to: &mut TcpStream, waiting: &mut Vec<u8>) -> io::Result<()> {
    let sent = put(to, waiting)?;
    drop(waiting.drain(..sent));
    if waiting.is_empty() {
        *waiting = Vec::new();
    }
    Ok(())
}

/// A connection that is passed on.
#[derive(Debug)]
struct Call {
    caller: Side,
    server: Side,
    /// Whether the container has not answered yet.
    connecting: bool,
}

impl Call {
    /// Moves what can be moved; an error ends it.
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if self.connecting {
            if let Some(error) = self.server.stream.take_error()? {
                return Err(error);
            }
            if self.server.stream.peer_addr().is_err() {
                return Ok(());
            }
            self.connecting = false;
        }
        self.caller.carry(&mut self.server.stream, buffer)?;
        self.server.carry(&mut self.caller.stream, buffer)
    }
    fn is_over(&self) -> bool {
        self.caller.told && self.server.told
    }
    /// What is waited for at the caller and at the server.
    fn wants(&self) -> [EpollFlags; 2] {
        match self.connecting {
            true => [EpollFlags::empty(), EpollFlags::EPOLLOUT],
            false => [
                self.caller.wants(&self.server),
                self.server.wants(&self.caller),
            ],
        }
    }
    /// Ends it as a machine does where nobody listens.
    fn reset(&self) {
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // It ends in any case; this says only how.
        let _ = setsockopt(&self.caller.stream, sockopt::Linger, &at_once);
    }
}

/// A sender of datagrams, and the socket that answers to it come back to.
#[derive(Debug)]
struct Sender {
    door: usize,
    address: SocketAddr,
    socket: UdpSocket,
    heard: Instant,
}

/// Starts to connect, without waiting for it.
fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Tokens of doors are their places; a connection has two, an even one for the caller.
const FIRST: u64 = 1 << 16;

impl Doors {
    /// Takes over sockets, each with the container's address that it leads to.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn open(doors: Vec<(Holder, SocketAddr)>) -> io::Result<Self> {
        if doors.is_empty() {
            return Ok(Self::default());
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (token, (holder, _)) in (0..).zip(&doors) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
            match holder {
                Holder::Tcp(listener) => {
                    listener.set_nonblocking(true)?;
                    epoll.add(listener, event)?;
                }
                Holder::Udp(socket) => {
                    socket.set_nonblocking(true)?;
                    epoll.add(socket, event)?;
                }
            }
        }
        Ok(Self {
            epoll: Some(epoll),
            doors,
            next: FIRST,
            ..Self::default()
        })
    }

    /// How many ports are held.
    pub fn len(&self) -> usize {
        self.doors.len()
    }

    /// Whether no port is held.
    pub fn is_empty(&self) -> bool {
        self.doors.is_empty()
    }

    /// What to poll for reading; nothing where no port is held.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().map(|epoll| epoll.0.as_fd())
    }

    /// How long [`Doors::turn`] may be put off when nothing becomes readable.
    pub fn deadline(&self) -> Option<Duration> {
        let heard = self.senders.values().map(|sender| sender.heard + SILENCE);
        let first = heard.chain(self.closed).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Does what can be done without waiting.
    pub fn turn(&mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let Some(epoll) = &self.epoll else { return };
        let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let now = Instant::now();
        for event in events.iter().take(count) {
            let token = event.data();
            match usize::try_from(token) {
                Ok(door) if token < FIRST => self.knock(door, now),
                _ if self.senders.contains_key(&token) => self.answers(token, now),
                _ => self.converse(token & !1),
            }
        }
        self.senders
            .retain(|_, sender| now.saturating_duration_since(sender.heard) < SILENCE);
        if self.closed.is_some_and(|until| until <= now) {
            let full = self.calls.len() >= CONNECTIONS;
            self.close(full.then(|| now + PAUSE));
        }
    }

    fn knock(&mut self, door: usize, now: Instant) {
        match self.doors.get(door) {
            Some((Holder::Tcp(_), _)) => self.accept(door, now),
            Some((Holder::Udp(_), _)) => self.datagrams(door, now),
            None => {}
        }
    }

    /// Stops accepting until then, or begins again.
    fn close(&mut self, until: Option<Instant>) {
        self.closed = until;
        let Some(epoll) = &self.epoll else { return };
        let flags = match until {
            Some(_) => EpollFlags::empty(),
            None => EpollFlags::EPOLLIN,
        };
        for (token, (holder, _)) in (0..).zip(&self.doors) {
            if let Holder::Tcp(listener) = holder {
                // It is watched as long as it lives.
                let _ = epoll.modify(listener, &mut EpollEvent::new(flags, token));
            }
        }
    }

    fn accept(&mut self, door: usize, now: Instant) {
        for _ in 0..EVENTS {
            if self.calls.len() >= CONNECTIONS {
                return self.close(Some(now + PAUSE));
            }
            let Some((Holder::Tcp(listener), target)) = self.doors.get(door) else {
                return;
            };
            let target = *target;
            match listener.accept() {
                Ok((caller, _)) => self.call(caller, target),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                // No descriptor, no memory: that passes.
                Err(_) => return self.close(Some(now + PAUSE)),
            }
        }
    }

    fn call(&mut self, caller: TcpStream, target: SocketAddr) {
        let token = self.next;
        self.next += 2;
        let ready = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            // A caller that vanished is noticed some time, as Docker's does.
            setsockopt(stream, sockopt::KeepAlive, &true).map_err(io::Error::from)
        };
        let Some(epoll) = &self.epoll else { return };
        let made = ready(&caller).and_then(|()| dial(target));
        let made = made.and_then(|server| {
            ready(&server)?;
            let mut server = Side::new(server);
            server.watch(epoll, EpollFlags::EPOLLOUT, token + 1)?;
            Ok(server)
        });
        // Closing the caller is all that can be done for it.
        let Ok(server) = made else { return };
        let call = Call {
            caller: Side::new(caller),
            server,
            connecting: true,
        };
        self.calls.insert(token, call);
    }

    fn converse(&mut self, token: u64) {
        let (Some(call), Some(epoll)) = (self.calls.get_mut(&token), &self.epoll) else {
            return;
        };
        let mut buffer = [0; PIECE];
        let went = call.turn(&mut buffer);
        if went.is_err() {
            call.reset();
        }
        let [caller, server] = call.wants();
        let goes_on = went.is_ok()
            && !call.is_over()
            && call.caller.watch(epoll, caller, token).is_ok()
            && call.server.watch(epoll, server, token + 1).is_ok();
        if !goes_on {
            self.calls.remove(&token);
        }
    }

    fn datagrams(&mut self, door: usize, now: Instant) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        for _ in 0..EVENTS {
            let Some((Holder::Udp(socket), target)) = self.doors.get(door) else {
                return;
            };
            let target = *target;
            let Ok((length, address)) = socket.recv_from(&mut buffer) else {
                return;
            };
            let known = |(token, sender): (&u64, &Sender)| {
                (sender.door == door && sender.address == address).then_some(*token)
            };
            let known = self.senders.iter().find_map(known);
            let Some(token) = known.or_else(|| self.sender(door, address, target, now)) else {
                continue;
            };
            if let Some(sender) = self.senders.get_mut(&token) {
                sender.heard = now;
                // A datagram that can't be sent is as good as lost on the way.
                let _ = sender.socket.send(buffer.get(..length).unwrap_or_default());
            }
        }
    }

    fn sender(
        &mut self,
        door: usize,
        address: SocketAddr,
        target: SocketAddr,
        now: Instant,
    ) -> Option<u64> {
        if self.senders.len() >= SENDERS {
            let (oldest, _) = self.senders.iter().min_by_key(|(_, sender)| sender.heard)?;
            let oldest = *oldest;
            self.senders.remove(&oldest);
        }
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0; 16], 0).into(),
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(target).ok()?;
        socket.set_nonblocking(true).ok()?;
        let token = self.next;
        self.next += 2;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        self.epoll.as_ref()?.add(&socket, event).ok()?;
        let sender = Sender {
            door,
            address,
            socket,
            heard: now,
        };
        self.senders.insert(token, sender);
        Some(token)
    }

    fn answers(&mut self, token: u64, now: Instant) {
        let Some(sender) = self.senders.get_mut(&token) else {
            return;
        };
        let Some((Holder::Udp(door), _)) = self.doors.get(sender.door) else {
            return;
        };
        let mut buffer = vec![0; usize::from(u16::MAX)];
        for _ in 0..EVENTS {
            match sender.socket.recv(&mut buffer) {
                Ok(length) => {
                    sender.heard = now;
                    let _ = door.send_to(buffer.get(..length).unwrap_or_default(), sender.address);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Nobody listens inside: the next datagram is tried again.
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    /// Lets doors work until a thread has ended.
    fn drive<T: Send + 'static>(doors: &mut Doors, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(work);
        while !thread.is_finished() {
            doors.turn();
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().unwrap()
    }

    fn any() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    fn door() -> (TcpListener, SocketAddr) {
        let at = (Ipv6Addr::LOCALHOST, 0);
        let door = TcpListener::bind(at).or_else(|_| TcpListener::bind(any()));
        let door = door.unwrap();
        let address = door.local_addr().unwrap();
        (door, address)
    }

    #[test]
    fn much_is_carried_both_ways_and_each_side_may_end_first() {
        let server = TcpListener::bind(any()).unwrap();
        let (door, address) = door();
        let target = server.local_addr().unwrap();
        let mut doors = Doors::open(vec![(Holder::Tcp(door), target)]).unwrap();
        assert_eq!(doors.deadline(), None, "nothing is due while nobody calls");
        // An echo that answers only when all was said: more than the kernel keeps for it.
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let bytes: Vec<u8> = (0..20_000_000u32).map(|at| at.to_le_bytes()[0]).collect();
        let sent = bytes.clone();
        let back = drive(&mut doors, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            back
        });
        assert!(back == bytes, "{} bytes came back", back.len());
        assert!(doors.calls.is_empty());
    }

    #[test]
    fn a_port_where_nobody_listens_inside_resets_the_caller() {
        let target = TcpListener::bind(any()).unwrap().local_addr().unwrap();
        let (door, address) = door();
        let mut doors = Doors::open(vec![(Holder::Tcp(door), target)]).unwrap();
        let read = drive(&mut doors, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.read(&mut [0; 1]).map_err(|error| error.kind())
        });
        assert_eq!(read, Err(ErrorKind::ConnectionReset));
        assert!(doors.calls.is_empty());
    }

    #[test]
    fn datagrams_find_their_way_back_to_each_sender() {
        let server = UdpSocket::bind(any()).unwrap();
        let target = server.local_addr().unwrap();
        let door = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).or_else(|_| UdpSocket::bind(any()));
        let door = door.unwrap();
        let address = door.local_addr().unwrap();
        let mut doors = Doors::open(vec![(Holder::Udp(door), target)]).unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 8];
            while let Ok((count, from)) = server.recv_from(&mut bytes) {
                server.send_to(&bytes[..count], from).unwrap();
            }
        });
        let answers = drive(&mut doors, move || {
            let open = || {
                let own: SocketAddr = if address.is_ipv6() {
                    (Ipv6Addr::LOCALHOST, 0).into()
                } else {
                    any()
                };
                let socket = UdpSocket::bind(own).unwrap();
                socket.connect(address).unwrap();
                socket
            };
            let (a, b) = (open(), open());
            a.send(b"a").unwrap();
            b.send(b"b").unwrap();
            let answer = |socket: &UdpSocket| {
                let mut byte = [0];
                socket.recv(&mut byte).unwrap();
                byte[0]
            };
            [answer(&a), answer(&b)]
        });
        assert_eq!(&answers, b"ab");
        assert_eq!(doors.senders.len(), 2);
        assert!(doors.deadline().is_some_and(|due| due <= SILENCE));
    }
}
