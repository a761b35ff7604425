//! The command's side: starts the process, asks it, carries archives over a pipe.
//!
//! Imports: `engine`, `sys`. A cancelled copy ends within a moment, also when the container keeps the process from
//! going on: what does not end by itself is killed.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::main::CONTROL;
use super::wire::{self, Reply, Request};
use crate::engine::files::{
    Drain, Feed, FileInfo, Files, FilesError, FilesResult, Ownership, Placing,
};
use crate::engine::native::layout::Layout;
use crate::engine::spec::ContainerSpec;
use crate::engine::{Cancel, EngineError, Result};
use crate::sys::process::{self, Spawned};
use crate::sys::{pidfd, socket};

/// How often a wait looks whether it was cancelled.
const GLANCE: u8 = 50;
/// How long the process may take to tidy up after a cancelled copy.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes a pipe is asked to hold.
const PIPE: i32 = 1 << 20;
/// Paths named in one packet have this many bytes together, and one more path.
const PACKET: usize = 16 << 10;

/// A process that can go to the files of any container, but has not yet: it holds nothing, and ends with its owner.
#[derive(Debug)]
pub(in crate::engine::native) struct Spare {
    control: OwnedFd,
    child: Spawned,
}

impl Spare {
    /// Starts one.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::engine::native) fn start(layout: &Layout) -> io::Result<Self> {
        let (control, theirs) = socket::pair()?;
        let roots = layout.roots();
        let (data, run) = (roots.data.to_string_lossy(), roots.run.to_string_lossy());
        let args = ["__copy", &*data, &*run];
        let pass = [(CONTROL, theirs.as_fd())];
        let child = process::spawn_self("hoist copy", &args, [None, None, None], &pass, true)?;
        Ok(Self { control, child })
    }

    /// Whether it still waits to be used.
    pub(in crate::engine::native) fn is_there(&self) -> bool {
        matches!(
            pidfd::has_ended(&self.child.pidfd, Some(Duration::ZERO)),
            Ok(false)
        )
    }
}

/// A process among one container's files.
#[derive(Debug)]
pub(in crate::engine::native) struct Session {
    process: Spare,
    cancel: Cancel,
    /// The container's name.
    name: String,
}

impl Session {
    /// Has a process go to the files, a new one where there is no `spare`, and waits until it is there.
    ///
    /// # Errors
    /// [`EngineError`], also what kept the process from getting there.
    pub(in crate::engine::native) fn open(
        layout: &Layout,
        spec: &ContainerSpec,
        (name, spare): (&str, Option<Spare>),
        cancel: &Cancel,
    ) -> Result<Self> {
        let step = format!("reach the files of {name}");
        let process = match spare {
            Some(spare) => spare,
            None => Spare::start(layout).map_err(|error| EngineError::failed(&step, error))?,
        };
        let session = Self {
            process,
            cancel: cancel.clone(),
            name: name.to_owned(),
        };
        let enter = Request::Enter {
            project: spec.project.to_string(),
            id: spec.id.as_str().to_owned(),
        };
        let sent = wire::send(&session.process.control, &enter, &[]);
        match sent.and_then(|()| session.answer()) {
            Ok(Reply::Ready) => Ok(session),
            Ok(Reply::Lost(report)) => Err(report.into()),
            Ok(_) => Err(EngineError::failed(
                &step,
                "its process gave a wrong answer",
            )),
            Err(error) => Err(EngineError::failed(&step, error)),
        }
    }

    fn failed(&self, cause: impl std::fmt::Display) -> FilesError {
        FilesError::Failed {
            step: format!("reach the files of {}", self.name),
            cause: cause.to_string(),
        }
    }

    /// Waits for the next answer, or the end of patience with a cancelled copy.
    fn answer(&self) -> FilesResult<Reply> {
        let mut patience = GRACE;
        let glance = Duration::from_millis(GLANCE.into());
        while !ready(&self.process.control, PollFlags::POLLIN)
            .map_err(|errno| self.failed(errno.desc()))?
        {
            if self.cancel.is_cancelled() {
                patience = patience.saturating_sub(glance);
                if patience.is_zero() {
                    return Err(FilesError::BrokenOff);
                }
            }
        }
        match wire::receive::<Reply>(&self.process.control)? {
            Some((reply, _)) => Ok(reply),
            None => Err(self.failed("its process ended before it was done")),
        }
    }

    /// Asks a question to which the process's end of a new pipe belongs; gives our end.
    fn pipe(&self, request: &Request, ours: End) -> FilesResult<OwnedFd> {
        let made = nix::unistd::pipe2(OFlag::O_CLOEXEC).and_then(|(reads, writes)| {
            // A smaller pipe serves as well.
            let _ = fcntl(&writes, FcntlArg::F_SETPIPE_SZ(PIPE));
            let (ours, theirs) = match ours {
                End::Reads => (reads, writes),
                End::Writes => (writes, reads),
            };
            fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok((ours, theirs))
        });
        let (ours, theirs) = made.map_err(|errno| self.failed(errno.desc()))?;
        wire::send(&self.process.control, request, &[theirs.as_fd()])?;
        Ok(ours)
    }

    /// The outcome of an archive: what the process says counts, then whether the other side has done its part.
    fn outcome(&self, carried: io::Result<()>) -> FilesResult<()> {
        match (self.answer()?, carried) {
            // Then the other side has stopped first.
            (Reply::Failed(FilesError::BrokenOff), _) => Err(FilesError::BrokenOff),
            (Reply::Failed(error), _) => Err(error),
            (Reply::Done, Ok(())) => Ok(()),
            (Reply::Done, Err(_)) => Err(FilesError::BrokenOff),
            _ => Err(self.failed("its process gave a wrong answer")),
        }
    }
}

/// Which end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Reads,
    Writes,
}

/// Waits a moment; whether there is something to do.
fn ready(fd: &OwnedFd, what: PollFlags) -> std::result::Result<bool, Errno> {
    let mut fds = [PollFd::new(fd.as_fd(), what)];
    match poll(&mut fds, PollTimeout::from(GLANCE)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Our end of a pipe: waits as long as nobody cancels.
struct Patient<'a> {
    fd: &'a OwnedFd,
    cancel: &'a Cancel,
}

impl Patient<'_> {
    fn attempt(
        &self,
        what: PollFlags,
        mut act: impl FnMut() -> std::result::Result<usize, Errno>,
    ) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                // Not `Interrupted`: that would only be tried again.
                return Err(io::Error::other("cancelled"));
            }
            match act() {
                Err(Errno::EAGAIN) => drop(ready(self.fd, what)?),
                Err(Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = self.fd;
        self.attempt(PollFlags::POLLIN, || nix::unistd::read(fd, buffer))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.fd;
        self.attempt(PollFlags::POLLOUT, || nix::unistd::write(fd, bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Files for Session {
    fn info(&mut self, path: &Path) -> FilesResult<FileInfo> {
        let path = path.as_os_str().as_bytes().to_vec();
        wire::send(&self.process.control, &Request::Info { path }, &[])?;
        match self.answer()? {
            Reply::Info(kind, target) => Ok(FileInfo {
                kind,
                target: target.map(|bytes| std::ffi::OsString::from_vec(bytes).into()),
            }),
            Reply::Failed(error) => Err(error),
            _ => Err(self.failed("its process gave a wrong answer")),
        }
    }

    fn read(
        &mut self,
        path: &Path,
        name: &[u8],
        holes: bool,
        drain: &mut Drain<'_>,
    ) -> FilesResult<()> {
        let request = Request::Read {
            path: path.as_os_str().as_bytes().to_vec(),
            name: name.to_vec(),
            holes,
        };
        let pipe = self.pipe(&request, End::Reads)?;
        let mut reader = Patient {
            fd: &pipe,
            cancel: &self.cancel,
        };
        let carried = drain(&mut reader).and_then(|()| {
            // What follows the end of an archive is nobody's, but its writer wants to get rid of it.
            io::copy(&mut reader, &mut io::sink()).map(drop)
        });
        drop(pipe);
        self.outcome(carried)
    }

    fn write(
        &mut self,
        directory: &Path,
        (ownership, placing): (Ownership, Placing),
        feed: &mut Feed<'_>,
    ) -> FilesResult<()> {
        let request = Request::Write {
            directory: directory.as_os_str().as_bytes().to_vec(),
            ownership,
            placing,
        };
        let pipe = self.pipe(&request, End::Writes)?;
        let writer = Patient {
            fd: &pipe,
            cancel: &self.cancel,
        };
        let mut writer = io::BufWriter::with_capacity(PIPE as usize / 4, writer);
        let carried = feed(&mut writer).and_then(|()| writer.flush());
        // What is still in the buffer after a failure is of no use to anybody.
        drop(writer.into_parts());
        drop(pipe);
        self.outcome(carried)
    }

    fn remove(&mut self, paths: &[PathBuf]) -> FilesResult<()> {
        let mut paths = paths
            .iter()
            .map(|path| path.as_os_str().as_bytes().to_vec());
        let mut first = Ok(());
        loop {
            let mut packet: Vec<Vec<u8>> = Vec::new();
            let mut bytes = 0;
            while bytes < PACKET
                && let Some(path) = paths.next()
            {
                bytes += path.len();
                packet.push(path);
            }
            if packet.is_empty() {
                return first;
            }
            wire::send(
                &self.process.control,
                &Request::Remove { paths: packet },
                &[],
            )?;
            let removed = match self.answer()? {
                Reply::Done => Ok(()),
                Reply::Failed(error) => Err(error),
                _ => return Err(self.failed("its process gave a wrong answer")),
            };
            first = first.and(removed);
        }
    }
}

impl Drop for Spare {
    /// Ends the process: a closed connection ends it, and what does not end so is killed.
    fn drop(&mut self) {
        let _ = nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&self.control),
            nix::sys::socket::Shutdown::Both,
        );
        if !matches!(pidfd::has_ended(&self.child.pidfd, Some(GRACE)), Ok(true)) {
            let _ = pidfd::send_signal(&self.child.pidfd, libc::SIGKILL);
        }
        // It is our child; nobody else waits for it.
        let _ = pidfd::wait(&self.child.pidfd);
    }
}
