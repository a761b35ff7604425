//! What a command and the process among a container's files say to each other: one packet a question, one an answer.
//!
//! Imports: `engine`, `runtime`, `sys`. Paths are bytes, since names need not be text.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::files::{FileKind, FilesError, FilesResult, Ownership, Placing};
use crate::engine::native::runtime::message::Report;
use crate::sys::socket;

/// Command to process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Go to the files of this container, from where there is no way back. The first question, and only once.
    Enter { project: String, id: String },
    /// What is at a path.
    Info { path: Vec<u8> },
    /// Write an archive to the pipe that comes along.
    Read {
        path: Vec<u8>,
        name: Vec<u8>,
        holes: bool,
    },
    /// Unpack the archive from the pipe that comes along.
    Write {
        directory: Vec<u8>,
        ownership: Ownership,
        placing: Placing,
    },
    /// Remove what is at these paths.
    Remove { paths: Vec<Vec<u8>> },
}

/// Process to command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// It is among the files.
    Ready,
    /// It could not get there; nothing more comes.
    Lost(Report),
    /// What is at the path, and where a link leads.
    Info(FileKind, Option<Vec<u8>>),
    /// Done.
    Done,
    /// Not done.
    Failed(FilesError),
}

fn cannot(step: &str, cause: impl std::fmt::Display) -> FilesError {
    FilesError::Failed {
        step: step.to_owned(),
        cause: cause.to_string(),
    }
}

/// Sends one packet, with descriptors if any.
///
/// # Errors
/// [`FilesError::Failed`].
pub(super) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> FilesResult<()> {
    let step = "talk to the process that copies";
    let bytes = serde_json::to_vec(message).map_err(|error| cannot(step, error))?;
    socket::send(socket, &bytes, fds).map_err(|errno| cannot(step, errno.desc()))
}

/// Waits for one packet; `None` when the other side is gone.
///
/// # Errors
/// [`FilesError::Failed`].
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> FilesResult<Option<(T, Vec<OwnedFd>)>> {
    let step = "listen to the process that copies";
    let Some((bytes, fds)) = socket::receive(socket).map_err(|e| cannot(step, e.desc()))? else {
        return Ok(None);
    };
    let message = serde_json::from_slice(&bytes).map_err(|error| cannot(step, error))?;
    Ok(Some((message, fds)))
}
