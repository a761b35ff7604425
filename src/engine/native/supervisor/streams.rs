//! The container's standard streams: FIFOs (or a terminal) on one side, the log and attached clients on the other.
//!
//! Imports: `base`, `engine`, `sys`. Source: fifo(7): a FIFO opened for reading and writing never ends and never
//! breaks, so writers survive the death of whoever reads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::engine::native::layout::ContainerDir;
use crate::engine::native::logs::Stream;
use crate::engine::spec::Stdio;

/// Most bytes of input that wait for the container before clients are no longer read.
const INPUT_LIMIT: usize = 1 << 20;

/// Room that an empty input queue may keep, in bytes.
const KEPT_ROOM: usize = 64 * 1024;

/// The supervisor's side of the streams.
#[derive(Debug)]
pub(super) struct Streams {
    out: OwnedFd,
    err: OwnedFd,
    /// Where input goes; `None` when it is `/dev/null` or was closed.
    input: Option<OwnedFd>,
    /// Bytes that wait for the container to read.
    pending: VecDeque<u8>,
    /// Close the input once `pending` is empty.
    closing: bool,
    /// The terminal's master, if the container has one.
    master: Option<OwnedFd>,
}

/// The container's side of the streams, for one birth.
#[derive(Debug)]
pub(super) struct Ends {
    /// Standard input.
    pub input: OwnedFd,
    /// Standard output.
    pub output: OwnedFd,
    /// Standard error.
    pub error: OwnedFd,
}

fn fifo(dir: &ContainerDir, name: &str) -> io::Result<OwnedFd> {
    let path = dir.fifo(name);
    // Any user of the container may open /dev/stdout again; the directory around it is root's alone.
    let mode = Mode::from_bits_truncate(0o666);
    match nix::unistd::mkfifo(&path, mode) {
        Ok(()) => nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            &path,
            mode,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )?,
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(&path, flags, Mode::empty())?)
}

fn reopen(fd: impl AsFd, flags: OFlag) -> io::Result<OwnedFd> {
    let path = crate::sys::fs::fd_path(fd);
    Ok(nix::fcntl::open(
        &path,
        flags | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

impl Streams {
    /// Makes (or finds again) the FIFOs in the container's run directory.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(dir: &ContainerDir, stdio: Stdio) -> io::Result<Self> {
        let input = match stdio.stdin && !stdio.tty {
            true => Some(fifo(dir, "stdin")?),
            false => None,
        };
        Ok(Self {
            out: fifo(dir, "stdout")?,
            err: fifo(dir, "stderr")?,
            input,
            pending: VecDeque::new(),
            closing: false,
            master: None,
        })
    }
    /// Ends for a container that is about to start.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn ends(&mut self, dir: &ContainerDir, stdio: Stdio) -> io::Result<Ends> {
        let input = match stdio.stdin && !stdio.tty {
            false => crate::sys::mount::open_null()?,
            true if stdio.stdin_once => {
                // A FIFO held open for both would never end; this input must.
                let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                self.input = Some(write);
                read
            }
            true => {
                let held = fifo(dir, "stdin")?;
                let read = reopen(&held, OFlag::O_RDONLY)?;
                self.input = Some(held);
                read
            }
        };
        // For reading, too: a FIFO whose only reader is a killed supervisor would fail the container's writes.
        let output = reopen(&self.out, OFlag::O_RDWR)?;
        Ok(Ends {
            input,
            output,
            error: reopen(&self.err, OFlag::O_RDWR)?,
        })
    }
    /// Takes the master of the terminal the container was born with.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn set_master(&mut self, master: OwnedFd) -> io::Result<()> {
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.master = Some(master);
        Ok(())
    }
    /// What can be read from: descriptors and the stream each is.
    pub(super) fn readers(&self) -> Vec<(BorrowedFd<'_>, Stream)> {
        match &self.master {
            Some(master) => vec![(master.as_fd(), Stream::Out)],
            None => vec![
                (self.out.as_fd(), Stream::Out),
                (self.err.as_fd(), Stream::Err),
            ],
        }
    }
    /// The pipe of a stream; `None` when the container has a terminal.
    pub(super) fn pipe(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match (&self.master, stream) {
            (Some(_), _) => None,
            (None, Stream::Out) => Some(self.out.as_fd()),
            (None, Stream::Err) => Some(self.err.as_fd()),
        }
    }
    /// Reads once from the container's terminal; `None` when nothing is there now.
    pub(super) fn read_terminal(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match nix::unistd::read(self.master.as_ref()?, buffer) {
            Ok(0) => None,
            Ok(length) => Some(length),
            // EIO: every process of the terminal is gone.
            Err(Errno::EIO) => {
                self.master = None;
                None
            }
            Err(_) => None,
        }
    }
    /// Takes input for the container.
    pub(super) fn push_input(&mut self, bytes: &[u8]) {
        if self.input.is_some() || self.master.is_some() {
            self.pending.extend(bytes);
            self.pump();
        }
    }
    /// No more input will come: the container's read ends once it has read what waits.
    pub(super) fn close_input(&mut self) {
        self.closing = true;
        self.pump();
    }
    /// Whether clients should not be read for now.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() > INPUT_LIMIT
    }
    /// The descriptor to wait on for room, if input waits.
    pub(super) fn writer(&self) -> Option<BorrowedFd<'_>> {
        if self.pending.is_empty() {
            None
        } else {
            self.sink()
        }
    }
    fn sink(&self) -> Option<BorrowedFd<'_>> {
        self.master
            .as_ref()
            .or(self.input.as_ref())
            .map(AsFd::as_fd)
    }
    /// Writes what waits, as far as there is room.
    pub(super) fn pump(&mut self) {
        while !self.pending.is_empty() {
            let Some(sink) = self.sink() else {
                self.pending.clear();
                break;
            };
            match nix::unistd::write(sink, self.pending.as_slices().0) {
                Ok(written) => {
                    self.pending.drain(..written);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The container has closed its input.
                Err(_) => {
                    self.input = None;
                    self.pending.clear();
                }
            }
        }
        if self.pending.is_empty() && self.pending.capacity() > KEPT_ROOM {
            self.pending = VecDeque::new();
        }
        if self.closing && self.pending.is_empty() {
            match &self.master {
                // A terminal ends by its end-of-file character.
                Some(master) => {
                    let _ = nix::unistd::write(master, &[4]);
                }
                None => self.input = None,
            }
            self.closing = false;
        }
    }
    /// Sets the terminal's size.
    pub(super) fn resize(&self, rows: u16, columns: u16) {
        if let Some(master) = &self.master {
            let _ = crate::sys::tty::resize(master, rows, columns);
        }
    }
    /// Lets go of a terminal whose container has ended.
    pub(super) fn drop_master(&mut self) {
        self.master = None;
    }
}
