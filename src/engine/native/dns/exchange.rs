//! One question on its way to the resolvers.
//!
//! Each has a socket, thus a port, and an id of its own, both random, and takes an answer only from the
//! address it asked and to the question it asked. Imports: `sys` through `nix`. Source: RFC 5452.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

/// How long a resolver has while there is another one to ask.
const TRY: Duration = Duration::from_secs(2);
/// How long the last resolver has.
const LAST_TRY: Duration = Duration::from_secs(5);

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// One packet.
    Udp,
    /// A connection; messages have their length in front.
    Tcp,
}

#[derive(Debug)]
enum Channel {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        output: Vec<u8>,
        input: Vec<u8>,
    },
}

/// A forwarded question.
#[derive(Debug)]
pub(super) struct Exchange {
    question: Vec<u8>,
    id: [u8; 2],
    servers: std::vec::IntoIter<SocketAddr>,
    way: Way,
    channel: Channel,
    deadline: Instant,
}

/// What has come of an exchange.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing yet.
    Waiting,
    /// This answer, with the asker's id.
    Answer(Vec<u8>),
    /// This resolver will not answer.
    Lost,
}

impl Exchange {
    /// Asks the first of `servers` that can be asked.
    pub(super) fn begin(
        question: &[u8],
        servers: Vec<SocketAddr>,
        way: Way,
        now: Instant,
    ) -> Option<Self> {
        let mut servers = servers.into_iter();
        let id = Message::query().metadata.id.to_be_bytes();
        let (channel, deadline) = next(&mut servers, question, id, way, now)?;
        Some(Self {
            question: question.to_vec(),
            id,
            servers,
            way,
            channel,
            deadline,
        })
    }
    /// Asks the next resolver; `false` when there is none left.
    pub(super) fn again(&mut self, now: Instant) -> bool {
        self.id = Message::query().metadata.id.to_be_bytes();
        match next(&mut self.servers, &self.question, self.id, self.way, now) {
            Some((channel, deadline)) => {
                self.channel = channel;
                self.deadline = deadline;
                true
            }
            None => false,
        }
    }
    /// The question as the asker sent it.
    pub(super) fn question(&self) -> &[u8] {
        &self.question
    }
    /// When the resolver's time is up.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
    /// What to wait for.
    pub(super) fn interest(&self) -> EpollFlags {
        match &self.channel {
            Channel::Tcp { output, .. } if !output.is_empty() => EpollFlags::EPOLLOUT,
            _ => EpollFlags::EPOLLIN,
        }
    }
    /// Goes on as far as it can without waiting.
    pub(super) fn turn(&mut self) -> Progress {
        let answers = match &mut self.channel {
            Channel::Udp(socket) => receive(socket),
            Channel::Tcp {
                stream,
                output,
                input,
            } => converse(stream, output, input),
        };
        match answers {
            Ok(answers) => answers
                .into_iter()
                .find(|answer| fits(answer, &self.question, self.id))
                .map_or(Progress::Waiting, |mut answer| {
                    if let (Some(to), Some(from)) = (answer.get_mut(..2), self.question.get(..2)) {
                        to.copy_from_slice(from);
                    }
                    Progress::Answer(answer)
                }),
            Err(_) => Progress::Lost,
        }
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Channel::Udp(socket) => socket.as_fd(),
            Channel::Tcp { stream, .. } => stream.as_fd(),
        }
    }
}

fn next(
    servers: &mut std::vec::IntoIter<SocketAddr>,
    question: &[u8],
    id: [u8; 2],
    way: Way,
    now: Instant,
) -> Option<(Channel, Instant)> {
    let mut message = question.to_vec();
    message.get_mut(..2)?.copy_from_slice(&id);
    while let Some(server) = servers.next() {
        let channel = match way {
            Way::Udp => ask(server, &message),
            Way::Tcp => dial(server, &message),
        };
        if let Ok(channel) = channel {
            let time = if servers.as_slice().is_empty() {
                LAST_TRY
            } else {
                TRY
            };
            return Some((channel, now + time));
        }
    }
    None
}

fn ask(server: SocketAddr, message: &[u8]) -> io::Result<Channel> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    // Connected: the kernel lets only this server's packets in, and tells when nobody listens there.
    socket.connect(server)?;
    socket.send(message)?;
    Ok(Channel::Udp(socket))
}

fn dial(server: SocketAddr, message: &[u8]) -> io::Result<Channel> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(Channel::Tcp {
        stream: fd.into(),
        output: framed(message),
        input: Vec::new(),
    })
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
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut answers = Vec::new();
    // More than a few packets to one question are somebody's attempt to guess.
    while answers.len() < 16 {
        match socket.recv(&mut buffer) {
            Ok(length) => answers.push(buffer.get(..length).unwrap_or_default().to_vec()),
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

/// Whether a message answers a question: the id, the answer bit, the question itself.
fn fits(answer: &[u8], question: &[u8], id: [u8; 2]) -> bool {
    const HEADER: usize = 12;
    let is_answer = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let Some(asked) = question.get(HEADER..question_end(question).unwrap_or(HEADER)) else {
        return false;
    };
    // Some servers leave the question out of an error.
    let repeats = answer
        .get(HEADER..HEADER + asked.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(asked))
        || answer.get(4..6) == Some(&[0, 0]);
    answer.get(..2) == Some(&id) && is_answer && repeats
}

/// Where the only question of a message ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 5).filter(|end| *end <= message.len()),
            // Nothing stands before the first name that it could point to.
            length if length >= 0xc0 => return None,
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";

    #[test]
    fn only_an_answer_to_the_question_with_the_id_is_taken() {
        let mut answer = QUESTION.to_vec();
        answer[2] = 0x81;
        assert!(fits(&answer, QUESTION, [0x12, 0x34]));
        assert!(!fits(&answer, QUESTION, [0x12, 0x35]));
        assert!(!fits(QUESTION, QUESTION, [0x12, 0x34]));
        answer[13] = b'x';
        assert!(!fits(&answer, QUESTION, [0x12, 0x34]));
        assert!(!fits(&[], QUESTION, [0x12, 0x34]));
    }

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
