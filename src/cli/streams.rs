//! Connects this command's own streams to one process: a terminal's master side, or an attached stream.
//!
//! In: descriptors. Out: bytes both ways until the process ends. Knows no container.
//! Imports: `sys::tty`, `engine::sandbox::frame`. Source: termios(3), poll(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use super::detach::Keys;
use crate::engine::sandbox::frame;
use crate::sys::tty;

/// Bytes copied at a time.
const BLOCK: usize = 32 * 1024;

/// The terminal of this command with every key passed on as it is; dropping it brings the old settings back.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Switches standard input's terminal; `None` when it is none.
    pub fn enter() -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; then nobody needs the settings.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Gives a terminal the size of this command's own, if it has one.
pub fn follow_size(master: impl AsFd) {
    if let Some((rows, columns)) = window() {
        // A process that has just ended has no size.
        let _ = tty::resize(master, rows, columns);
    }
}

/// Rows and columns of this command's terminal.
pub fn window() -> Option<(u16, u16)> {
    console::Term::stdout().size_checked()
}

/// Copies between this command's terminal and another one's master side until that hangs up.
///
/// # Errors
/// When this command's own output is closed.
pub fn terminal(master: &OwnedFd) -> io::Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut input_open = true;
    let mut buffer = vec![0; BLOCK];
    loop {
        let mut fds = vec![PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if input_open {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        wait(&mut fds)?;
        let (from_master, from_stdin) = (ready(&fds, 0), ready(&fds, 1));
        if from_master {
            match read(master, &mut buffer) {
                // A master whose other side has no user left answers EIO.
                Ok(0) | Err(Errno::EIO) => return Ok(()),
                Ok(count) => all(stdout.as_fd(), buffer.get(..count).unwrap_or_default())?,
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if from_stdin {
            let count = read(&stdin, &mut buffer).unwrap_or(0);
            if count == 0 {
                // End of file in the terminal's own language: Ctrl-D.
                input_open = false;
                let _ = all(master.as_fd(), &[4]);
            } else if all(master.as_fd(), buffer.get(..count).unwrap_or_default()).is_err() {
                input_open = false;
            }
        }
    }
}

/// Copies between this command's streams and an attached container until it ends; gives its exit code, or `None`
/// when the connection broke first. The end of the input is passed on.
///
/// # Errors
/// When this command's own output is closed.
pub fn attached(socket: &OwnedFd, input: bool) -> io::Result<Option<i32>> {
    match copy(socket, input, true, None, None)? {
        Ended::Code(code) => Ok(Some(code)),
        Ended::Broken | Ended::Detached | Ended::Left => Ok(None),
    }
}

/// How a time at a container's streams ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The container ended, with this code.
    Code(i32),
    /// The connection broke.
    Broken,
    /// The user typed the keys for it.
    Detached,
    /// `left` hung up.
    Left,
}

/// As [`attached`], for a container that others may be attached to as well: the end of the input ends nothing but itself,
/// `keys` take this command off, and so does the end of `left`.
///
/// # Errors
/// When this command's own output is closed.
pub fn attached_until(
    socket: &OwnedFd,
    input: bool,
    keys: Option<Keys>,
    left: Option<&OwnedFd>,
) -> io::Result<Ended> {
    copy(socket, input, false, keys, left)
}

fn copy(
    socket: &OwnedFd,
    input: bool,
    pass_end: bool,
    mut keys: Option<Keys>,
    left: Option<&OwnedFd>,
) -> io::Result<Ended> {
    let stdin = io::stdin();
    let mut input_open = input;
    let mut buffer = vec![0; BLOCK];
    let mut frames = Frames::default();
    loop {
        let mut fds = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if let Some(left) = left {
            fds.push(PollFd::new(left.as_fd(), PollFlags::POLLIN));
        }
        let at = fds.len();
        if input_open {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        wait(&mut fds)?;
        let (from_socket, from_stdin) = (ready(&fds, 0), ready(&fds, at));
        if left.is_some() && ready(&fds, 1) {
            return Ok(Ended::Left);
        }
        if from_socket {
            let count = match read(socket, &mut buffer) {
                Ok(0) | Err(Errno::ECONNRESET) => return Ok(Ended::Broken),
                Ok(count) => count,
                Err(Errno::EINTR | Errno::EAGAIN) => 0,
                Err(errno) => return Err(errno.into()),
            };
            frames.push(buffer.get(..count).unwrap_or_default());
            while let Some((kind, bytes)) = frames.next()? {
                match kind {
                    frame::STDOUT => all(io::stdout().as_fd(), &bytes)?,
                    frame::STDERR => all(io::stderr().as_fd(), &bytes)?,
                    frame::EXIT => {
                        let code = bytes.as_slice().try_into().map(i32::from_be_bytes);
                        return Ok(code.map_or(Ended::Broken, Ended::Code));
                    }
                    _ => {}
                }
            }
        }
        if from_stdin {
            let count = read(&stdin, &mut buffer).unwrap_or(0);
            let typed = buffer.get(..count).unwrap_or_default();
            let (bytes, off) = match &mut keys {
                Some(keys) => keys.take(typed),
                None => (typed.to_vec(), false),
            };
            let kind = if count == 0 {
                frame::STDIN_END
            } else {
                frame::STDIN
            };
            let silent = match count {
                0 => !pass_end,
                _ => bytes.is_empty(),
            };
            // The container may have ended already; its exit code is still to come.
            let sent = silent || send_frame(socket, kind, &bytes).is_ok();
            input_open = sent && count > 0;
            if off {
                return Ok(Ended::Detached);
            }
        }
    }
}

/// Copies this command's input to a pipe until either ends. For a thread of its own: a process that reads no more must
/// not end this command by a signal.
pub fn input(pipe: &OwnedFd) {
    let mut broken = SigSet::empty();
    broken.add(Signal::SIGPIPE);
    if broken.thread_block().is_err() {
        return;
    }
    let stdin = io::stdin();
    let mut buffer = vec![0; BLOCK];
    loop {
        match read(&stdin, &mut buffer) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                if wait(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)]).is_err() {
                    return;
                }
            }
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                // A process that reads no more, or is no more, needs nothing.
                if all(pipe.as_fd(), bytes).is_err() {
                    return;
                }
            }
        }
    }
}

/// Copies two pipes to this command's output until `ended` hangs up; what is in them by then comes along.
///
/// # Errors
/// The system's. An output that is closed is no error: its pipe is closed, too, so that the writer learns of it.
pub fn outputs(output: OwnedFd, error: OwnedFd, ended: &OwnedFd) -> io::Result<()> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let mut open = [
        Some((output, stdout.as_fd())),
        Some((error, stderr.as_fd())),
    ];
    for (pipe, _) in open.iter().flatten() {
        nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let mut buffer = vec![0; BLOCK];
    loop {
        let pipes = open.iter().flatten();
        let mut fds: Vec<PollFd<'_>> = pipes
            .map(|(pipe, _)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
            .collect();
        fds.push(PollFd::new(ended.as_fd(), PollFlags::POLLIN));
        wait(&mut fds)?;
        // Looked at before the pipes are: all that was written before the end is in them.
        let last = ready(&fds, fds.len() - 1);
        drop(fds);
        for place in &mut open {
            while let Some((pipe, to)) = place {
                match read(&*pipe, &mut buffer) {
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Ok(0) | Err(_) => *place = None,
                    Ok(count) => {
                        let bytes = buffer.get(..count).unwrap_or_default();
                        if all(*to, bytes).is_err() {
                            *place = None;
                        } else if !last {
                            break;
                        }
                    }
                }
            }
        }
        if last {
            return Ok(());
        }
    }
}

/// Sends one frame to an attached container.
///
/// # Errors
/// When the connection is broken.
pub fn send_frame(socket: impl AsFd, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut text = Vec::with_capacity(bytes.len() + 5);
    text.push(kind);
    text.extend_from_slice(&length.to_be_bytes());
    text.extend_from_slice(bytes);
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        match send(socket.as_fd().as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                wait(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)])?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Tells an attached container the size of this command's terminal.
pub fn send_size(socket: impl AsFd) {
    if let Some((rows, columns)) = window() {
        let [a, b] = rows.to_be_bytes();
        let [c, d] = columns.to_be_bytes();
        // A container that has ended needs no size.
        let _ = send_frame(socket, frame::RESIZE, &[a, b, c, d]);
    }
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    fn next(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let Some((head, rest)) = self.bytes.split_at_checked(5) else {
            return Ok(None);
        };
        let [kind, a, b, c, d] = head else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if length > frame::MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the container's supervisor sent garbage",
            ));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let found = (*kind, body.to_vec());
        self.bytes.drain(..length + 5);
        Ok(Some(found))
    }
}

fn wait(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    match poll(fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn ready(fds: &[PollFd<'_>], at: usize) -> bool {
    fds.get(at).and_then(PollFd::any).unwrap_or(false)
}

/// Writes everything, also to a descriptor that does not block.
fn all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(&mut [PollFd::new(fd, PollFlags::POLLOUT)])?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_stream_is_cut() {
        let bytes = [
            &[1, 0, 0, 0, 2, b'h', b'i'][..],
            &[5, 0, 0, 0, 4, 0, 0, 0, 3],
        ]
        .concat();
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for byte in bytes {
            frames.push(&[byte]);
            seen.extend(frames.next().ok().flatten());
        }
        assert_eq!(
            seen,
            [
                (frame::STDOUT, b"hi".to_vec()),
                (frame::EXIT, vec![0, 0, 0, 3])
            ]
        );
        frames.push(&[1, 0xff, 0, 0, 0]);
        assert!(frames.next().is_err());
    }
}
