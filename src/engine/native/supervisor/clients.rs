//! Connections to the control socket: requests in, replies and frames out.
//!
//! Imports: `base`, `engine`; beside it `life`, `wire`.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::life::{Life, Turn};
use super::wire::{self, Filled, Inbox, Reply, Request};
use crate::base::scalar::Signal;
use crate::engine::native::logs::Stream;
use crate::engine::native::runtime::BirthStdio;
use crate::engine::sandbox::frame;
use crate::engine::spec::ExecSpec;
use crate::engine::{EngineError, Result};
use crate::sys::pidfd;

/// Most bytes that are read from one client before it is the others' turn.
const INPUT_SHARE: usize = 64 * 1024;

/// Most bytes that wait for one attached client before the container's output is no longer read.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// What a connection is for.
#[derive(Debug)]
enum Role {
    /// Nothing long: requests and replies.
    Control,
    /// Waits for the container's end.
    Stopping,
    /// Wants to know of changes.
    Watching,
    /// Carries the container's streams.
    Attached(VecDeque<u8>),
    /// Runs a command.
    Running {
        pid: i32,
        pidfd: OwnedFd,
        /// As events name it.
        id: String,
    },
    /// Nothing more to do.
    Over,
}

/// One connection.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    inbox: Inbox,
    role: Role,
    /// Whether the other side is gone while its command goes on.
    gone: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: Vec<Client>,
}

impl Clients {
    /// Takes a new connection.
    pub(super) fn add(&mut self, socket: OwnedFd) {
        self.all.push(Client {
            socket,
            inbox: Inbox::default(),
            role: Role::Control,
            gone: false,
        });
    }
    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.all.iter().all(|client| client.gone)
    }
    /// Whether a client waits for the container to be down.
    pub(super) fn wait_for_end(&self) -> bool {
        self.all
            .iter()
            .any(|client| matches!(client.role, Role::Stopping))
    }
    /// Whether an attached client has more waiting than it should.
    pub(super) fn is_congested(&self) -> bool {
        self.all
            .iter()
            .any(|c| matches!(&c.role, Role::Attached(out) if out.len() > OUTPUT_LIMIT))
    }
    /// Whether output waits for attached clients.
    pub(super) fn has_output(&self) -> bool {
        self.all
            .iter()
            .any(|c| matches!(&c.role, Role::Attached(out) if !out.is_empty()))
    }
    /// Each connection that something is expected of: input, or room for output. With `full` no attached client
    /// is read, as its input has no place; one that nothing waits for must not wake the supervisor then.
    pub(super) fn sockets(&self, full: bool) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.all
            .iter()
            .filter(|client| !client.gone)
            .filter_map(move |client| {
                let mut wanted = PollFlags::POLLIN;
                if let Role::Attached(out) = &client.role {
                    wanted.set(PollFlags::POLLIN, !full);
                    wanted.set(PollFlags::POLLOUT, !out.is_empty());
                }
                (!wanted.is_empty()).then_some((client.socket.as_fd(), wanted))
            })
    }
    /// Descriptors of running commands, readable when they have ended.
    pub(super) fn pidfds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all.iter().filter_map(|client| match &client.role {
            Role::Running { pidfd, .. } => Some(pidfd.as_fd()),
            _ => None,
        })
    }

    /// Reads every connection and does what is asked.
    pub(super) fn serve(&mut self, life: &mut Life) -> Turn {
        let mut turn = Turn::Same;
        for client in &mut self.all {
            if client.gone {
                continue;
            }
            // Input that the container does not read must not pile up here.
            if matches!(client.role, Role::Attached(_)) && life.streams_ref().is_full() {
                client.flush();
                continue;
            }
            let mut gone = false;
            loop {
                match client.inbox.fill(client.socket.as_fd()) {
                    Ok(Filled::Some) if client.inbox.bytes.len() < INPUT_SHARE => {}
                    Ok(Filled::Some | Filled::Nothing) => break,
                    Ok(Filled::End) | Err(_) => {
                        gone = true;
                        break;
                    }
                }
            }
            if client.handle(life).is_ok_and(|t| t == Turn::Changed) {
                turn = Turn::Changed;
            }
            if gone {
                client.leave(life);
            }
            client.flush();
        }
        self.all.retain(|client| !matches!(client.role, Role::Over));
        turn
    }

    /// Gives bytes of the container to attached clients.
    pub(super) fn give(&mut self, stream: Stream, bytes: &[u8]) {
        let kind = if stream == Stream::Out {
            frame::STDOUT
        } else {
            frame::STDERR
        };
        for client in &mut self.all {
            if let Role::Attached(out) = &mut client.role {
                for part in bytes.chunks(frame::MAX) {
                    push_frame(out, kind, part);
                }
                client.flush();
            }
        }
    }

    /// Looks which commands have ended and tells their clients.
    pub(super) fn reap(&mut self, life: &Life) {
        for client in &mut self.all {
            let Role::Running { pid, id, .. } = &client.role else {
                continue;
            };
            let code = match waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => code,
                Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
                Ok(_) => continue,
                Err(_) => 255,
            };
            life.note_exec_end(id, code);
            let _ = wire::send(client.socket.as_fd(), &Reply::Exited(code), &[]);
            client.role = Role::Over;
        }
        self.all.retain(|client| !matches!(client.role, Role::Over));
    }

    /// Tells watchers that something changed.
    pub(super) fn changed(&mut self) {
        for client in &mut self.all {
            if matches!(client.role, Role::Watching)
                && !wire::tell(client.socket.as_fd(), &Reply::Changed)
            {
                client.role = Role::Over;
            }
        }
        self.all.retain(|client| !matches!(client.role, Role::Over));
    }

    /// Tells everybody that the container has ended for good.
    pub(super) fn finish(&mut self, life: &Life, code: i32) {
        for client in &mut self.all {
            match &mut client.role {
                Role::Attached(out) => push_frame(out, frame::EXIT, &code.to_be_bytes()),
                Role::Stopping => {
                    let _ = wire::send(client.socket.as_fd(), &Reply::Done, &[]);
                }
                Role::Watching => {
                    let _ = wire::send(client.socket.as_fd(), &Reply::Changed, &[]);
                }
                Role::Running { pid, id, .. } => {
                    // Its namespace's init is gone, so it is too; the kernel needs a moment to say so.
                    let code = match waitpid(Pid::from_raw(*pid), None) {
                        Ok(WaitStatus::Exited(_, code)) => code,
                        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
                        _ => 137,
                    };
                    life.note_exec_end(id, code);
                    let _ = wire::send(client.socket.as_fd(), &Reply::Exited(code), &[]);
                }
                Role::Control | Role::Over => {}
            }
            client.flush();
        }
        self.all
            .retain(|c| matches!(&c.role, Role::Attached(out) if !out.is_empty()));
    }
}

fn push_frame(out: &mut VecDeque<u8>, kind: u8, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.push_back(kind);
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

impl Client {
    fn handle(&mut self, life: &mut Life) -> Result<Turn> {
        if matches!(self.role, Role::Attached(_)) {
            self.frames(life);
            return Ok(Turn::Same);
        }
        let mut turn = Turn::Same;
        loop {
            match self.inbox.take::<Request>() {
                Ok(Some(request)) => {
                    if self.act(request, life)? == Turn::Changed {
                        turn = Turn::Changed;
                    }
                    if matches!(self.role, Role::Attached(_)) {
                        self.frames(life);
                        return Ok(turn);
                    }
                }
                Ok(None) => return Ok(turn),
                Err(_) => {
                    self.role = Role::Over;
                    return Ok(turn);
                }
            }
        }
    }

    fn reply(&mut self, outcome: Result<()>) {
        let reply = match outcome {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(error.into()),
        };
        let _ = wire::send(self.socket.as_fd(), &reply, &[]);
    }

    fn act(&mut self, request: Request, life: &mut Life) -> Result<Turn> {
        match request {
            Request::Start => {
                let outcome = if life.is_live() { Ok(()) } else { life.start() };
                self.reply(outcome);
                return Ok(Turn::Changed);
            }
            Request::Stop(millis) => {
                self.role = Role::Stopping;
                return life.stop(millis.map(Duration::from_millis));
            }
            Request::Kill(signal) => {
                let outcome = life.signal(signal);
                if signal == Signal::KILL && outcome.is_ok() {
                    // As Docker: what is killed is down when the command says so.
                    self.role = Role::Stopping;
                    return outcome;
                }
                let turn = *outcome.as_ref().unwrap_or(&Turn::Same);
                self.reply(outcome.map(drop));
                return Ok(turn);
            }
            Request::Exec(spec) => self.exec(&spec, life),
            Request::ExecSignal(signal) => {
                if let Role::Running { pidfd, .. } = &self.role {
                    let _ = pidfd::send_signal(pidfd, signal.0);
                }
            }
            Request::Attach => {
                self.role = Role::Attached(VecDeque::new());
                life.note("attach", &[]);
                let _ = wire::send(self.socket.as_fd(), &Reply::Done, &[]);
            }
            Request::Watch => {
                self.role = Role::Watching;
                let _ = wire::send(self.socket.as_fd(), &Reply::Changed, &[]);
            }
            Request::Pause(frozen) => {
                let outcome = life.pause(frozen);
                let turn = *outcome.as_ref().unwrap_or(&Turn::Same);
                self.reply(outcome.map(drop));
                return Ok(turn);
            }
            Request::Rename(name) => {
                let outcome = life.rename(name);
                self.reply(outcome);
            }
        }
        Ok(Turn::Same)
    }

    fn exec(&mut self, spec: &ExecSpec, life: &Life) {
        let fds: Vec<OwnedFd> = self.inbox.fds.drain(..).collect();
        let stdio = match (spec.process.tty, fds.as_slice()) {
            (true, _) => BirthStdio::Terminal,
            (false, [input, output, error]) => BirthStdio::Streams {
                stdin: input.as_fd(),
                stdout: output.as_fd(),
                stderr: error.as_fd(),
            },
            (false, _) => {
                let cause = "three descriptors must come along";
                return self.reply(Err(EngineError::failed("run the command", cause)));
            }
        };
        match life.exec(&spec.process, stdio) {
            Ok(born) => {
                let master: Vec<BorrowedFd<'_>> = born.master.iter().map(|fd| fd.as_fd()).collect();
                let id = life.note_exec(&spec.process.args);
                let sent = wire::send(self.socket.as_fd(), &Reply::Started, &master);
                if sent.is_err() {
                    let _ = pidfd::send_signal(&born.pidfd, libc::SIGHUP);
                }
                self.role = Role::Running {
                    pid: born.pid,
                    pidfd: born.pidfd,
                    id,
                };
            }
            Err(error) => self.reply(Err(error)),
        }
    }

    /// Takes whole frames out of the inbox.
    fn frames(&mut self, life: &mut Life) {
        loop {
            let bytes = &self.inbox.bytes;
            let Some((kind, length)) = frame_head(bytes) else {
                return;
            };
            if length > frame::MAX {
                self.role = Role::Over;
                return;
            }
            let Some(payload) = bytes.get(5..5 + length) else {
                return;
            };
            match kind {
                frame::STDIN => life.streams().push_input(payload),
                frame::STDIN_END => life.streams().close_input(),
                frame::RESIZE => {
                    if let [a, b, c, d] = *payload {
                        let (rows, columns) =
                            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                        life.streams().resize(rows, columns);
                        let size = [("height", rows.to_string()), ("width", columns.to_string())];
                        life.note("resize", &size);
                    }
                }
                _ => {}
            }
            self.inbox.bytes.drain(..5 + length);
        }
    }

    /// The other side is gone.
    fn leave(&mut self, life: &mut Life) {
        match &self.role {
            Role::Attached(_) => {
                life.note("detach", &[]);
                if life.spec().stdio.stdin_once {
                    life.streams().close_input();
                }
            }
            // As Docker: the command goes on without its client, and is reaped at its end.
            Role::Running { .. } => {
                self.gone = true;
                return;
            }
            _ => {}
        }
        self.role = Role::Over;
    }

    fn flush(&mut self) {
        let Role::Attached(out) = &mut self.role else {
            return;
        };
        while !out.is_empty() {
            match crate::sys::stream::send(self.socket.as_fd(), out.as_slices().0, &[]) {
                Ok(sent) => {
                    out.drain(..sent);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.role = Role::Over;
                    return;
                }
            }
        }
    }
}

fn frame_head(bytes: &[u8]) -> Option<(u8, usize)> {
    let [kind, a, b, c, d] = *bytes.first_chunk::<5>()?;
    Some((kind, u32::from_be_bytes([a, b, c, d]) as usize))
}
