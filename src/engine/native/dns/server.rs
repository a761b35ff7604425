//! The sockets of an answerer and what happens on them.
//!
//! Imports: `engine`, `dns::{zone, exchange, link, resolvers}`, `net::files`, `sys::{netlink, nft}`. Source: epoll(7).

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};

use super::exchange::{Exchange, Next};
use super::link::{Origin, Way, framed, unframe};
use super::resolvers::{Resolvers, Upstream};
use super::zone::{Limit, Names, Step, Zone, server_failure};
use crate::engine::native::net::files::ANSWERER;
use crate::engine::{EngineError, Result};
use crate::sys::netlink::netns;
use crate::sys::nft::conntrack::{self, Which};
use crate::sys::nft::{Hook, Nft, Rule, Table, Transport};

/// Most questions that wait for resolvers at once.
const PENDING: usize = 256;
/// Most sockets to resolvers at once.
const SOCKETS: usize = 256;
/// Bytes of questions that wait for a turn.
const BURST: usize = 1 << 20;
/// Longest question in a packet, in bytes. Longer ones do not occur.
const QUESTION: usize = 4096;
/// Most connections of askers at once.
const CONNECTIONS: usize = 32;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
/// Most bytes kept for an asker that does not read.
const BACKLOG: usize = 256 * 1024;
/// Most events handled in one turn, so that the owner gets its own turn.
const EVENTS: usize = 64;
const PACKETS: u64 = 0;
const LISTENER: u64 = 1;
/// Tokens of one exchange: the first, and one for each attempt after it.
const ATTEMPTS: u64 = 16;
/// The translation in the container's own namespace.
const TABLE: &str = "hoist-dns";

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Packet(SocketAddr),
    Connection(u64),
}

/// An asker's connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Questions of it that wait for resolvers.
    waiting: usize,
    /// Whether it has said its last word.
    ended: bool,
    deadline: Instant,
}

impl Connection {
    fn interest(&self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        // Who does not read is not listened to.
        flags.set(EpollFlags::EPOLLIN, !self.ended && self.output.is_empty());
        flags.set(EpollFlags::EPOLLOUT, !self.output.is_empty());
        flags
    }
    fn is_over(&self) -> bool {
        self.ended && self.waiting == 0 && self.output.is_empty()
    }
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        // A peer that sends faster than this is read again in the next turn, one that does not read not at all.
        let turns = if self.output.is_empty() { 4 } else { 0 };
        for _ in 0..turns {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(length) => self
                    .input
                    .extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Answers one container's questions; poll its descriptor for reading and call [`Answerer::turn`].
#[derive(Debug)]
pub struct Answerer {
    epoll: Epoll,
    packets: UdpSocket,
    listener: TcpListener,
    names: Names,
    resolvers: Resolvers,
    origin: Origin,
    /// Questions on their way. Who asked; nobody once it has been answered, while one is only listened for.
    exchanges: BTreeMap<u64, (Exchange, Option<Asker>)>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

impl Answerer {
    /// Opens the sockets in the container's namespace. Those to the resolvers are made later by the
    /// thread that calls [`Answerer::turn`], which should be in the host's.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn open(netns: BorrowedFd<'_>, zone: Zone) -> Result<Self> {
        let failed = |error| EngineError::failed("open the container's name server", error);
        let (packets, listener) = netns::within(netns, sockets).map_err(failed)?;
        let epoll = || -> io::Result<Epoll> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            epoll.add(&packets, EpollEvent::new(EpollFlags::EPOLLIN, PACKETS))?;
            epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
            Ok(epoll)
        };
        let resolvers = Resolvers::new(zone.upstream.clone());
        let origin = match zone.upstream {
            Upstream::Servers { .. } => {
                Origin::container(netns.try_clone_to_owned().map_err(failed)?)
            }
            Upstream::File(_) | Upstream::Nobody => Origin::Host,
        };
        Ok(Self {
            epoll: epoll().map_err(failed)?,
            packets,
            listener,
            resolvers,
            origin,
            names: Names::new(zone),
            exchanges: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: ATTEMPTS,
        })
    }
    /// How long [`Answerer::turn`] may be put off when nothing becomes readable.
    pub fn deadline(&self) -> Option<Duration> {
        let exchanges = self
            .exchanges
            .values()
            .map(|(exchange, _)| exchange.deadline());
        let connections = self
            .connections
            .values()
            .map(|connection| connection.deadline);
        let first = exchanges.chain(connections).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }
    /// Does what can be done without waiting.
    pub fn turn(&mut self) {
        let now = Instant::now();
        // Packets first, without asking whether there are any: that is what nearly every turn is for. What else has
        // come, if anything can have, makes another turn.
        let came = self.packets(now);
        if came && self.exchanges.is_empty() && self.connections.is_empty() {
            return;
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        for event in events.iter().take(count) {
            match event.data() {
                PACKETS => {}
                LISTENER => self.accept(now),
                token if token % ATTEMPTS == 0 => self.serve(token, now),
                token => self.progress(token, now),
            }
        }
        self.expire(now);
    }
    fn token(&mut self) -> u64 {
        self.next += ATTEMPTS;
        self.next
    }
    /// Takes the questions that have come as packets; whether there were any, and not more than that.
    fn packets(&mut self, now: Instant) -> bool {
        let mut buffer = [0; QUESTION];
        for taken in 0..EVENTS {
            let Ok((length, from)) = self.packets.recv_from(&mut buffer) else {
                return taken > 0;
            };
            // One that fills it was longer.
            if length < QUESTION {
                let question = buffer.get(..length).unwrap_or_default();
                self.question(question, Asker::Packet(from), now);
            }
        }
        false
    }
    fn accept(&mut self, now: Instant) {
        for _ in 0..CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else {
                return;
            };
            if self.connections.len() >= CONNECTIONS {
                self.make_room();
            }
            // One too many is closed at once.
            if self.connections.len() >= CONNECTIONS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let token = self.token();
            if self
                .epoll
                .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .is_ok()
            {
                let connection = Connection {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    waiting: 0,
                    ended: false,
                    deadline: now + IDLE,
                };
                self.connections.insert(token, connection);
            }
        }
    }
    /// Closes the connection that has said nothing for longest and waits for nothing.
    fn make_room(&mut self) {
        let idle = self.connections.iter().filter(|(_, one)| one.waiting == 0);
        let longest = idle
            .min_by_key(|(_, one)| one.deadline)
            .map(|(token, _)| *token);
        if let Some(token) = longest {
            self.connections.remove(&token);
        }
    }
    fn question(&mut self, question: &[u8], asker: Asker, now: Instant) {
        let (limit, way) = match asker {
            Asker::Packet(_) => (Limit::UDP, Way::Udp),
            Asker::Connection(_) => (Limit::TCP, Way::Tcp),
        };
        match self.names.decide(question, limit) {
            Step::Reply(answer) => self.reply(&answer, asker),
            Step::Ignore => {}
            Step::Forward => self.forward(question, asker, way, now),
        }
    }
    fn forward(&mut self, question: &[u8], asker: Asker, way: Way, now: Instant) {
        let repeated = |(exchange, who): &(Exchange, Option<Asker>)| {
            *who == Some(asker) && exchange.question() == question
        };
        if way == Way::Udp && self.exchanges.values().any(repeated) {
            // Who asks again while the question is on its way waits on.
            return;
        }
        let servers = self.resolvers.order(now);
        if servers.is_empty() || self.exchanges.len() >= PENDING {
            self.fail(question, asker);
            return;
        }
        let token = self.token();
        if let Asker::Connection(token) = asker
            && let Some(connection) = self.connections.get_mut(&token)
        {
            connection.waiting += 1;
        }
        let exchange = Exchange::new(question, &servers, way, now);
        self.exchanges.insert(token, (exchange, Some(asker)));
        self.advance(token, now);
    }
    /// Does what an exchange needs now.
    fn advance(&mut self, token: u64, now: Instant) {
        loop {
            let sockets: usize = self.exchanges.values().map(|(one, _)| one.sockets()).sum();
            let Some((exchange, _)) = self.exchanges.get_mut(&token) else {
                return;
            };
            match exchange.next(now) {
                Next::Wait => return,
                Next::Over(answer) => return self.finish(token, answer.as_deref(), now),
                Next::Ask if sockets >= SOCKETS => return exchange.put_off(now),
                Next::Ask => {
                    if let Some((slot, link)) = exchange.ask(&mut self.origin, now) {
                        let event = EpollEvent::new(link.interest(), token + 1 + u64::from(slot));
                        // One that can't be watched goes unheard, and the next one is asked.
                        let _ = self.epoll.add(link, event);
                    }
                }
            }
        }
    }
    fn fail(&mut self, question: &[u8], asker: Asker) {
        if let Some(answer) = server_failure(question) {
            self.reply(&answer, asker);
        }
    }
    fn reply(&mut self, answer: &[u8], asker: Asker) {
        match asker {
            // A packet that can't be sent is as good as lost on the way.
            Asker::Packet(to) => drop(self.packets.send_to(answer, to)),
            Asker::Connection(token) => {
                if let Some(connection) = self.connections.get_mut(&token) {
                    connection.output.extend(framed(answer));
                    self.flush(token);
                }
            }
        }
    }
    /// Sends what can be sent on a connection and closes it when it is over or broken.
    fn flush(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let broken = connection.write().is_err() || connection.output.len() > BACKLOG;
        let mut event = EpollEvent::new(connection.interest(), token);
        if broken
            || connection.is_over()
            || self.epoll.modify(&connection.stream, &mut event).is_err()
        {
            self.connections.remove(&token);
        }
    }
    fn serve(&mut self, token: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if connection.write().is_err() || connection.read().is_err() {
            self.connections.remove(&token);
            return;
        }
        connection.deadline = now + IDLE;
        // The rest of the questions waits until answers have been read.
        while let Some(connection) = self.connections.get_mut(&token)
            && connection.output.len() < BACKLOG / 2
            && let Some(question) = unframe(&mut connection.input)
        {
            self.question(&question, Asker::Connection(token), now);
        }
        self.flush(token);
    }
    fn progress(&mut self, event: u64, now: Instant) {
        let slot = event % ATTEMPTS - 1;
        let (token, Ok(slot)) = (event - slot - 1, u8::try_from(slot)) else {
            return;
        };
        let Some((exchange, _)) = self.exchanges.get_mut(&token) else {
            return;
        };
        let heard = exchange.progress(slot, now);
        if let Some(link) = exchange.link(slot) {
            let mut event = EpollEvent::new(link.interest(), event);
            let _ = self.epoll.modify(link, &mut event);
        }
        if let Some(server) = heard {
            self.resolvers.heard(server);
        }
        self.advance(token, now);
    }
    fn finish(&mut self, token: u64, answer: Option<&[u8]>, now: Instant) {
        let Some((mut exchange, asker)) = self.exchanges.remove(&token) else {
            return;
        };
        for server in exchange.silent(now) {
            self.resolvers.silent(server, now);
        }
        let Some(asker) = asker else {
            return;
        };
        if let Asker::Connection(token) = asker
            && let Some(connection) = self.connections.get_mut(&token)
        {
            connection.waiting -= 1;
        }
        match answer {
            Some(answer) => self.reply(answer, asker),
            None => self.fail(exchange.question(), asker),
        }
        if self.exchanges.len() < PENDING / 2 && exchange.linger(now) {
            self.exchanges.insert(token, (exchange, None));
        }
    }
    fn expire(&mut self, now: Instant) {
        let late = |(token, (exchange, _)): (&u64, &(Exchange, Option<Asker>))| {
            (exchange.deadline() <= now).then_some(*token)
        };
        let late: Vec<u64> = self.exchanges.iter().filter_map(late).collect();
        for token in late {
            self.advance(token, now);
        }
        self.connections
            .retain(|_, connection| connection.waiting > 0 || connection.deadline > now);
        for connection in self.connections.values_mut().filter(|c| c.deadline <= now) {
            connection.deadline = now + IDLE;
        }
    }
}

impl AsFd for Answerer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Runs inside the container's namespace.
fn sockets() -> io::Result<(UdpSocket, TcpListener)> {
    const PORT: u16 = 53;
    let packets = UdpSocket::bind((ANSWERER, 0))?;
    packets.set_nonblocking(true)?;
    // A burst must not push out a question that can be answered at once; with less it works as well.
    let _ = setsockopt(&packets, sockopt::RcvBufForce, &BURST);
    let listener = TcpListener::bind((ANSWERER, 0))?;
    listener.set_nonblocking(true)?;
    let ports = [
        (Transport::Udp, packets.local_addr()?.port()),
        (Transport::Tcp, listener.local_addr()?.port()),
    ];
    let there = Nft::open()?.set_table(Table::ip(TABLE), |batch| {
        batch.chain(Table::ip(TABLE), "output", Hook::NatOutput);
        for (transport, port) in ports {
            let rule = Rule::new()
                .to(std::net::IpAddr::V4(ANSWERER))
                .port(transport, PORT);
            batch.append(
                Table::ip(TABLE),
                "output",
                &rule.translate_to(ANSWERER.into(), port),
            );
        }
    })?;
    if there {
        // An asker that keeps its socket would go on to the port of the server that was here before.
        let _ = conntrack::forget(Which::To(Transport::Udp, PORT));
    }
    Ok((packets, listener))
}
