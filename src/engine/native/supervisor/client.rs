//! The command's side of the control socket.
//!
//! Imports: `base`, `engine`, `sys`.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::main::{First, READY_FD, await_ready};
use super::wire::{self, Filled, Inbox, Reply, Request};
use crate::base::scalar::Signal;
use crate::engine::native::layout::{ContainerDir, Layout};
use crate::engine::native::records::Found;
use crate::engine::spec::ExecSpec;
use crate::engine::{EngineError, ExecIo, ExecSession, Result};
use crate::sys::{process, stream};

/// A connection to one container's supervisor.
#[derive(Debug)]
pub(in crate::engine::native) struct Connection {
    socket: OwnedFd,
    inbox: Inbox,
    name: String,
}

fn lost(name: &str) -> EngineError {
    EngineError::failed(
        format!("talk to the supervisor of {name}"),
        "it ended before it answered",
    )
}

/// Whether a connection failed as there is nobody on the other side: no socket, or one that its maker has left. Anything else (no descriptor, no memory)
/// says nothing about the supervisor. Source: connect(2), unix(7).
fn nobody_listens(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

/// Starts a supervisor and waits until it has done what it should do first.
fn launch(layout: &Layout, found: &Found, first: First) -> Result<()> {
    let spec = &found.record.spec;
    let failed = |error: io::Error| EngineError::failed("start the supervisor", error);
    let (ready, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| failed(e.into()))?;
    let complaints = std::fs::File::options()
        .append(true)
        .create(true)
        .open(found.dir.data.join("supervisor.log"))
        // A full or read-only disk must not keep a supervisor from stopping its container.
        .ok();
    let roots = layout.roots();
    let (data, run) = (roots.data.to_string_lossy(), roots.run.to_string_lossy());
    let name = &found.standing.name;
    let args = [
        "__supervise",
        &*data,
        &*run,
        spec.project.as_str(),
        spec.id.as_str(),
        first.as_str(),
        name,
    ];
    let pass = [(READY_FD, theirs.as_fd())];
    let stdio = [None, None, complaints.as_ref().map(|file| file.as_fd())];
    process::spawn_self("hoist", &args, stdio, &pass, true).map_err(failed)?;
    drop(theirs);
    match await_ready(&ready) {
        Some(Reply::Failed(failure)) => Err(failure.into()),
        Some(_) => Ok(()),
        None => Err(lost(name)),
    }
}

impl Connection {
    /// Connects to the supervisor that is there.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`] when there is none, the system's when that can't be said.
    pub(in crate::engine::native) fn open(found: &Found) -> Result<Self> {
        Self::to(&found.dir, &found.standing.name)
    }

    /// Connects to the supervisor of the container in `dir`, which `name` stands for in messages.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`] when there is none, the system's when that can't be said.
    pub(in crate::engine::native) fn to(dir: &ContainerDir, name: &str) -> Result<Self> {
        let name = name.to_owned();
        match stream::connect_to(&dir.socket()) {
            Ok(socket) => Ok(Self {
                socket,
                inbox: Inbox::default(),
                name,
            }),
            Err(error) if nobody_listens(&error) => Err(EngineError::NotRunning { name }),
            Err(error) => Err(EngineError::failed(
                format!("reach the supervisor of {name}"),
                error,
            )),
        }
    }

    /// Starts the container: through the supervisor that is there, or through a new one.
    ///
    /// # Errors
    /// What the start itself met.
    pub(in crate::engine::native) fn start(layout: &Layout, found: &Found) -> Result<()> {
        if found.supervised
            && let Ok(mut connection) = Self::open(found)
        {
            match connection.ask(&Request::Start, &[]) {
                Ok(_) => return Ok(()),
                // It was on its way out.
                Err(EngineError::Failed { step, .. }) if step.starts_with("talk to") => {}
                Err(error) => return Err(error),
            }
        }
        launch(layout, found, First::Start)
    }

    /// Starts a supervisor that takes over a container which runs without one.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(in crate::engine::native) fn adopt(layout: &Layout, found: &Found) -> Result<()> {
        launch(layout, found, First::Adopt)
    }

    /// Connects to the container's streams, also before its start.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(in crate::engine::native) fn attach(layout: &Layout, found: &Found) -> Result<OwnedFd> {
        let mut connection = match Self::open(found) {
            Ok(connection) => connection,
            Err(EngineError::NotRunning { .. }) => {
                launch(layout, found, First::Hold)?;
                Self::open(found)?
            }
            Err(error) => return Err(error),
        };
        connection.ask(&Request::Attach, &[])?;
        Ok(connection.socket)
    }

    /// Stops the container and waits until its supervisor has taken everything down; `false` when that has died
    /// before it said so.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(in crate::engine::native) fn stop(mut self, timeout: Option<Duration>) -> Result<bool> {
        let millis = timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        self.send(&Request::Stop(millis), &[])?;
        let reply = wire::receive::<Reply>(self.socket.as_fd(), &mut self.inbox);
        Ok(matches!(reply, Ok(Some(Reply::Done))))
    }

    /// Sends the container's process a signal.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`].
    pub(in crate::engine::native) fn kill(mut self, signal: Signal) -> Result<()> {
        self.ask(&Request::Kill(signal), &[]).map(drop)
    }

    /// Freezes the container, or lets it go on.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`]; [`EngineError::Unsupported`] when it is so already.
    pub(in crate::engine::native) fn pause(mut self, frozen: bool) -> Result<()> {
        self.ask(&Request::Pause(frozen), &[]).map(drop)
    }

    /// Gives the container another name.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(in crate::engine::native) fn rename(mut self, name: &str) -> Result<()> {
        self.ask(&Request::Rename(name.to_owned()), &[]).map(drop)
    }

    /// Asks to be told of changes.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(in crate::engine::native) fn watch(&mut self) -> Result<()> {
        self.send(&Request::Watch, &[])
    }

    /// Waits for a change at most until `timeout`; `false` when the supervisor has ended.
    pub(in crate::engine::native) fn changed(&mut self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => true,
            Ok(_) => {
                let more = self.inbox.fill(self.socket.as_fd());
                self.inbox.bytes.clear();
                !matches!(more, Ok(Filled::End) | Err(_))
            }
            Err(_) => false,
        }
    }

    fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        wire::send(self.socket.as_fd(), request, fds).map_err(|_| lost(&self.name))
    }

    fn ask(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
        self.send(request, fds)?;
        match wire::receive::<Reply>(self.socket.as_fd(), &mut self.inbox) {
            Ok(Some(Reply::Failed(failure))) => Err(failure.into()),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) | Err(_) => Err(lost(&self.name)),
        }
    }
}

/// Lets a supervisor that was there first do what another was to do: start the container, or just be there.
/// `false` when it went away instead.
///
/// # Errors
/// What the start itself met.
pub(super) fn defer_to(other: &OwnedFd, first: First) -> Result<bool> {
    if first != First::Start {
        return Ok(true);
    }
    let sent = wire::send(other.as_fd(), &Request::Start, &[]);
    let mut inbox = Inbox::default();
    match sent.and_then(|()| wire::receive::<Reply>(other.as_fd(), &mut inbox)) {
        Ok(Some(Reply::Failed(failure))) => Err(failure.into()),
        Ok(Some(_)) => Ok(true),
        Ok(None) | Err(_) => Ok(false),
    }
}

/// A command that runs inside a container.
#[derive(Debug)]
struct Session {
    connection: Connection,
    master: Option<OwnedFd>,
}

/// Runs a command in a container through its supervisor.
///
/// # Errors
/// [`EngineError::NotRunning`], [`EngineError::CannotRun`].
pub(in crate::engine::native) fn exec_in(
    found: &Found,
    spec: &ExecSpec,
    io: &ExecIo,
) -> Result<Box<dyn ExecSession>> {
    let mut connection = Connection::open(found)?;
    let streams = [io.input.as_fd(), io.output.as_fd(), io.error.as_fd()];
    let fds: &[BorrowedFd<'_>] = if spec.process.tty { &[] } else { &streams };
    connection.ask(&Request::Exec(Box::new(spec.clone())), fds)?;
    let master = connection.inbox.fds.pop();
    Ok(Box::new(Session { connection, master }))
}

impl ExecSession for Session {
    fn master(&mut self) -> Option<OwnedFd> {
        self.master.take()
    }
    fn wait(&mut self) -> Result<i32> {
        let name = self.connection.name.clone();
        match wire::receive(self.connection.socket.as_fd(), &mut self.connection.inbox) {
            Ok(Some(Reply::Exited(code))) => Ok(code),
            _ => Err(lost(&name)),
        }
    }
    fn wait_for(&mut self, limit: Duration) -> Result<Option<i32>> {
        let name = self.connection.name.clone();
        let Connection { socket, inbox, .. } = &mut self.connection;
        // Its end may have come with the answer before.
        if let Ok(Some(Reply::Exited(code))) = inbox.take() {
            return Ok(Some(code));
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(None),
            Ok(_) => self.wait().map(Some),
            Err(_) => Err(lost(&name)),
        }
    }
    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.connection.send(&Request::ExecSignal(signal), &[])
    }
}
