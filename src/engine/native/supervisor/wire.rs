//! What commands and supervisors say to each other: one JSON document a line over a Unix socket, descriptors
//! beside the first line. After [`Request::Attach`] the connection carries frames instead.
//!
//! Imports: `base`, `engine`.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::base::scalar::Signal;
use crate::engine::EngineError;
use crate::engine::spec::ExecSpec;
use crate::sys::stream;

/// Longest line of the protocol in bytes.
pub(super) const LINE_LIMIT: usize = 4 << 20;

/// What a command asks of a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Start the container; answered by [`Reply::Done`] or [`Reply::Failed`].
    Start,
    /// Stop it for good; answered when it has ended. Milliseconds; the spec's own when `None`.
    Stop(Option<u64>),
    /// Send its process a signal.
    Kill(Signal),
    /// Run a command in it. Three descriptors come along, in order; none with a terminal.
    Exec(Box<ExecSpec>),
    /// Send a signal to the command that this connection runs.
    ExecSignal(Signal),
    /// Connect to its own streams: frames follow.
    Attach,
    /// Tell every change: [`Reply::Changed`] at once and after each.
    Watch,
    /// Change its name.
    Rename(String),
    /// Freeze it, or let it go on.
    Pause(bool),
}

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// It is done.
    Done,
    /// It could not be done.
    Failed(Failure),
    /// The command runs; its terminal's master comes along if it has one.
    Started,
    /// The command ended.
    Exited(i32),
    /// State or health on disk is new.
    Changed,
}

/// An [`EngineError`] on its way through a socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    /// [`EngineError::NotFound`]
    NotFound(String, String),
    /// [`EngineError::PortTaken`]
    PortTaken(String, String),
    /// [`EngineError::VolumeUnavailable`]
    VolumeUnavailable(String, String),
    /// [`EngineError::NotRunning`]
    NotRunning(String),
    /// [`EngineError::CannotRun`]
    CannotRun(i32, String),
    /// [`EngineError::Unsupported`]
    Unsupported(String),
    /// Everything else.
    Failed(String, String),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound { kind, name } => Self::NotFound(kind.to_owned(), name),
            EngineError::PortTaken { address, holder } => Self::PortTaken(address, holder),
            EngineError::VolumeUnavailable { name, why } => Self::VolumeUnavailable(name, why),
            EngineError::NotRunning { name } => Self::NotRunning(name),
            EngineError::CannotRun { code, message } => Self::CannotRun(code, message),
            EngineError::Unsupported { what } => Self::Unsupported(what),
            EngineError::Failed { step, cause } => Self::Failed(step, cause),
            other => Self::Failed("do it".to_owned(), other.to_string()),
        }
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(kind, name) => {
                let known = ["container", "network", "volume", "image"];
                let kind = known
                    .into_iter()
                    .find(|known| *known == kind)
                    .unwrap_or("object");
                Self::NotFound { kind, name }
            }
            Failure::PortTaken(address, holder) => Self::PortTaken { address, holder },
            Failure::VolumeUnavailable(name, why) => Self::VolumeUnavailable { name, why },
            Failure::NotRunning(name) => Self::NotRunning { name },
            Failure::CannotRun(code, message) => Self::CannotRun { code, message },
            Failure::Unsupported(what) => Self::Unsupported { what },
            Failure::Failed(step, cause) => Self::Failed { step, cause },
        }
    }
}

/// Sends one document, with descriptors beside its first byte.
///
/// # Errors
/// The system's; a reader that is gone is `BrokenPipe`, never a signal.
pub(super) fn send<T: Serialize>(
    to: BorrowedFd<'_>,
    value: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let beside = if rest.len() == bytes.len() { fds } else { &[] };
        match stream::send(to, rest, beside) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_writable(to)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sends one document if there is room: who has not read the last notices needs no more of them. `false` when the
/// other side is gone.
pub(super) fn tell<T: Serialize>(to: BorrowedFd<'_>, value: &T) -> bool {
    let Ok(mut bytes) = serde_json::to_vec(value) else {
        return false;
    };
    bytes.push(b'\n');
    matches!(
        stream::send(to, &bytes, &[]),
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR)
    )
}

/// Replies are small and clients read them: five seconds of a full buffer mean a client that hangs.
fn wait_writable(to: BorrowedFd<'_>) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
    match poll(&mut fds, 5_000u16) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Bytes and descriptors that came over one connection but were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Bytes.
    pub bytes: Vec<u8>,
    /// Descriptors, in order.
    pub fds: Vec<OwnedFd>,
}

/// What [`Inbox::fill`] met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// New bytes.
    Some,
    /// Nothing there now.
    Nothing,
    /// The other side is gone.
    End,
}

impl Inbox {
    /// Reads once.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn fill(&mut self, from: BorrowedFd<'_>) -> io::Result<Filled> {
        let mut buffer = [0u8; 16 * 1024];
        let got = match stream::receive(from, &mut buffer, &mut self.fds) {
            Ok(got) => got,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Filled::Nothing),
            Err(Errno::ECONNRESET) => return Ok(Filled::End),
            Err(errno) => return Err(errno.into()),
        };
        if got == 0 {
            return Ok(Filled::End);
        }
        self.bytes
            .extend_from_slice(buffer.get(..got).unwrap_or_default());
        Ok(Filled::Some)
    }

    /// Takes the next whole line as a document.
    ///
    /// # Errors
    /// `InvalidData` when it is none or too long.
    pub(super) fn take<T: for<'de> Deserialize<'de>>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            return match self.bytes.len() > LINE_LIMIT {
                true => Err(io::ErrorKind::InvalidData.into()),
                false => Ok(None),
            };
        };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(io::Error::from)
    }
}

/// Waits for the next document of a blocking connection; `None` when the other side is gone.
///
/// # Errors
/// The system's.
pub(super) fn receive<T: for<'de> Deserialize<'de>>(
    from: BorrowedFd<'_>,
    inbox: &mut Inbox,
) -> io::Result<Option<T>> {
    loop {
        if let Some(value) = inbox.take()? {
            return Ok(Some(value));
        }
        if inbox.fill(from)? == Filled::End {
            return Ok(None);
        }
    }
}
