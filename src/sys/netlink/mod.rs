//! Netlink sockets: requests in, acknowledgements and dumps out, without threads and without waiting.
//!
//! The kernel works a request off inside `sendmsg`, so every answer lies in the socket's queue when the
//! call returns, and a batch costs one system call. A socket belongs to the network namespace it was
//! made in, wherever it is used later.
//!
//! Imports: nothing of ours. Source: netlink(7), rtnetlink(7), Documentation/userspace-api/netlink.

pub mod device;
pub mod netns;
pub mod route;
pub mod traffic;

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};

/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// Message type of an acknowledgement or error.
const ERROR: u16 = 2;
/// Message type of a dump's end.
const DONE: u16 = 3;
/// Largest answer that is read at once; the kernel fills dumps in pieces of at most 32 KiB.
const ANSWER: usize = 64 * 1024;

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// One message the kernel has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u16,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// What came back for a batch.
#[derive(Debug, Default)]
struct Answers {
    /// Sequence number and result of each acknowledgement.
    acks: Vec<(u32, Result<(), Errno>)>,
    /// Everything else.
    messages: Vec<Message>,
    /// Whether a dump came to its end.
    done: bool,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }
    /// A sequence number nobody has used on this socket.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = sendto(
            self.fd.as_raw_fd(),
            bytes,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }
    /// Reads what lies in the queue, without waiting.
    fn drain(&self) -> io::Result<Answers> {
        let mut answers = Answers::default();
        let mut buffer = vec![0; ANSWER];
        loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(answers),
                Ok(length) => parse(buffer.get(..length).unwrap_or_default(), &mut answers),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    /// Sends a batch of requests that ask for acknowledgements. The results are in the order of
    /// `sequences`.
    ///
    /// # Errors
    /// The kernel's for the sending itself; `EPROTO` when an acknowledgement is missing.
    pub fn request(
        &mut self,
        batch: &[u8],
        sequences: &[u32],
    ) -> io::Result<Vec<Result<(), Errno>>> {
        self.send(batch)?;
        let answers = self.drain()?;
        let refused = answers.acks.iter().find_map(|(_, result)| result.err());
        let find = |wanted: &u32| {
            answers
                .acks
                .iter()
                .find(|(sequence, _)| sequence == wanted)
                .map(|(_, result)| *result)
        };
        // A refused nftables batch is acknowledged in part only, some errors carry the batch's own number.
        Ok(sequences
            .iter()
            .map(|wanted| find(wanted).unwrap_or(Err(refused.unwrap_or(Errno::EPROTO))))
            .collect())
    }
    /// Sends one request and gives all messages that answer it.
    ///
    /// # Errors
    /// The kernel's; `EPROTO` when a dump has no end.
    pub fn query(&mut self, request: &[u8], sequence: u32) -> io::Result<Vec<Message>> {
        self.send(request)?;
        let answers = self.drain()?;
        match answers.acks.iter().find(|(seen, _)| *seen == sequence) {
            Some((_, Err(errno))) => Err((*errno).into()),
            None if !answers.done && answers.messages.is_empty() => Err(Errno::EPROTO.into()),
            _ => Ok(answers.messages),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads a native-endian number at an offset.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

/// Reads a native-endian number at an offset.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

/// Takes the messages of one datagram apart; a broken rest is dropped.
fn parse(mut bytes: &[u8], into: &mut Answers) {
    while let (Some(length), Some(kind), Some(sequence)) =
        (u32_at(bytes, 0), u16_at(bytes, 4), u32_at(bytes, 8))
    {
        let Some(payload) = bytes.get(HEADER..length as usize) else {
            return;
        };
        match kind {
            ERROR => {
                let code = u32_at(payload, 0).map_or(0, u32::cast_signed);
                let result = if code == 0 {
                    Ok(())
                } else {
                    Err(Errno::from_raw(code.saturating_neg()))
                };
                into.acks.push((sequence, result));
            }
            DONE => into.done = true,
            kind => into.messages.push(Message {
                kind,
                payload: payload.to_vec(),
            }),
        }
        bytes = bytes
            .get((length as usize).next_multiple_of(4)..)
            .unwrap_or_default();
    }
}

/// Walks the attributes in `bytes` as (type without flags, value); a broken rest is dropped.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Writes netlink messages and attributes.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
    /// An attribute did not fit into its 16-bit length, and was left out.
    too_long: bool,
}

impl Writer {
    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// What was written, if all of it could be: a length that wraps around would have the kernel read values as
    /// attributes.
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn whole(&self) -> Result<&[u8], Errno> {
        if self.too_long {
            Err(Errno::EMSGSIZE)
        } else {
            Ok(&self.bytes)
        }
    }
    /// Appends what another has written.
    pub fn append(&mut self, other: &Self) {
        self.raw(&other.bytes);
        self.too_long |= other.too_long;
    }
    /// Writes a message: its header, then what `body` writes.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        body(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }
    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    /// Writes an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.with(kind, |writer| writer.raw(value));
    }
    /// Writes an attribute whose value is a NUL-terminated text.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.with(kind, |writer| {
            writer.raw(value.as_bytes());
            writer.raw(&[0]);
        });
    }
    /// Writes an attribute whose value is a big-endian number.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }
    /// Writes an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        const NLA_F_NESTED: u16 = 1 << 15;
        self.with(kind | NLA_F_NESTED, body);
    }
    fn with(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => {
                self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
                self.pad();
            }
            Err(_) => {
                self.bytes.truncate(start);
                self.too_long = true;
            }
        }
    }
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let mut writer = Writer::default();
        writer.text(1, "ab");
        writer.nest(2, |inner| inner.be32(3, 7));
        assert_eq!(writer.bytes().len(), 8 + 4 + 8);
        let read: Vec<_> = attributes(writer.bytes()).collect();
        assert_eq!(read[0], (1, b"ab\0".as_slice()));
        assert_eq!(read[1].0, 2);
        assert_eq!(
            attributes(read[1].1).next(),
            Some((3, [0, 0, 0, 7].as_slice()))
        );
    }

    #[test]
    fn an_attribute_longer_than_its_length_field_is_an_error_and_never_wraps_around() {
        for (length, fits) in [
            (0, true),
            (65_531, true),
            (65_532, false),
            (65_537, false),
            (1 << 20, false),
        ] {
            let mut writer = Writer::default();
            writer.put(1, &vec![b'x'; length]);
            assert_eq!(writer.whole().is_ok(), fits, "{length}");
            let mut nested = Writer::default();
            nested.nest(2, |inner| {
                inner.put(1, &vec![b'x'; length / 2]);
                inner.put(1, &vec![b'x'; length - length / 2]);
            });
            assert_eq!(nested.whole().is_ok(), length < 65_525, "{length}");
            let mut outer = Writer::default();
            outer.message(1, 0, 1, |body| body.append(&nested));
            assert_eq!(outer.whole().is_ok(), nested.whole().is_ok(), "{length}");
        }
    }

    #[test]
    fn a_cut_off_answer_is_read_up_to_the_cut() {
        let mut writer = Writer::default();
        writer.message(20, 0, 5, |body| body.raw(&[1, 2, 3]));
        let whole = writer.bytes().len();
        writer.message(21, 0, 6, |body| body.raw(&[4; 8]));
        let mut answers = Answers::default();
        parse(&writer.bytes()[..whole + 18], &mut answers);
        assert_eq!(
            answers.messages,
            [Message {
                kind: 20,
                payload: vec![1, 2, 3]
            }]
        );
    }
}
