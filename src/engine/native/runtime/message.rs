//! What the two sides of a birth or an exec say to each other: typed packets over a socket pair.
//!
//! Imports: `engine`, `sys`. An error keeps its type on the way, with the name of the step.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serde::{Deserialize, Serialize};

use crate::engine::{EngineError, Result};
use crate::sys::socket;

/// One packet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// Child to parent: files and directories made below the root for mounts, in order.
    Made(Vec<PathBuf>),
    /// Child to parent, with the master side of the new terminal.
    Terminal,
    /// The one in between to the parent, with a pidfd: the process that will run the command.
    Process(i32),
    /// Child to parent: mounts are there, hooks of the host may run now. It waits for the next.
    Hooks,
    /// Parent to child: they have run.
    GoOn,
    /// Child to parent: the next step is the execution. The end of the connection then means success.
    Ready,
    /// Child to parent: it will not run.
    Failed(Report),
}

/// An [`EngineError`] that travels.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::engine::native) enum Report {
    /// [`EngineError::CannotRun`]
    CannotRun { code: i32, message: String },
    /// [`EngineError::Unsupported`]
    Unsupported(String),
    /// [`EngineError::Failed`]
    Failed { step: String, cause: String },
}

impl From<EngineError> for Report {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::CannotRun { code, message } => Self::CannotRun { code, message },
            EngineError::Unsupported { what } => Self::Unsupported(what),
            EngineError::Failed { step, cause } => Self::Failed { step, cause },
            other => Self::Unsupported(other.to_string()),
        }
    }
}

impl From<Report> for EngineError {
    fn from(report: Report) -> Self {
        match report {
            Report::CannotRun { code, message } => Self::CannotRun { code, message },
            Report::Unsupported(what) => Self::Unsupported { what },
            Report::Failed { step, cause } => Self::Failed { step, cause },
        }
    }
}

/// Makes a failed step of an error number, in the kernel's words.
pub(in crate::engine::native) fn step(
    what: impl Into<String>,
) -> impl FnOnce(Errno) -> EngineError {
    move |errno| EngineError::failed(what, words(errno))
}

/// An error number in words, lower case.
pub(super) fn words(errno: Errno) -> String {
    errno.desc().to_lowercase()
}

/// One end of the connection.
#[derive(Debug)]
pub(super) struct Wire(OwnedFd);

impl Wire {
    /// Both ends.
    pub(super) fn pair() -> Result<(Self, Self)> {
        let (a, b) = socket::pair().map_err(step("make a socket pair"))?;
        Ok((Self(a), Self(b)))
    }
    /// Sends a message, with descriptors if it has any.
    pub(super) fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = serde_json::to_vec(message).map_err(|e| EngineError::failed("encode", e))?;
        socket::send(&self.0, &bytes, fds).map_err(step("talk to the container's process"))
    }
    /// Makes [`Wire::receive`] fail when nothing has come for so long.
    pub(super) fn give_up_after(&self, limit: Duration) -> Result<()> {
        let limit = TimeVal::milliseconds(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
        setsockopt(&self.0, sockopt::ReceiveTimeout, &limit)
            .map_err(step("limit the wait for the container's process"))
    }
    /// Waits for the next message; `None` at the end.
    pub(super) fn receive(&self) -> Result<Option<(Message, Vec<OwnedFd>)>> {
        let got = match socket::receive(&self.0) {
            Err(Errno::EAGAIN) => {
                let cause = "it was held up on its way into the container";
                return Err(EngineError::failed("run the command", cause));
            }
            other => other.map_err(step("listen to the container's process"))?,
        };
        let Some((bytes, fds)) = got else {
            return Ok(None);
        };
        let message = serde_json::from_slice(&bytes);
        message
            .map(|message| Some((message, fds)))
            .map_err(|e| EngineError::failed("decode", e))
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
