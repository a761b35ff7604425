//! The supervisor's entry and its one loop: wait, read, reap, serve, tick.
//!
//! Imports: `base`, `engine`, `sys`; beside it `life`, `clients`.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::client;
use super::clients::Clients;
use super::life::{Life, Turn};
use super::wire::{self, Failure, Reply};
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::native::layout::{ContainerDir, Layout};
use crate::engine::native::logs::Stream;
use crate::engine::native::net;
use crate::engine::{EngineError, Result, Roots};
use crate::sys::lock::{Hold, Lock};
use crate::sys::stream;

/// The descriptor on which the starting command waits for one [`Reply`].
pub(super) const READY_FD: i32 = 3;

/// How long attached clients have to read the last output after the container's end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long the last output waits for a disk that is full.
const LAST_TRY: Duration = Duration::from_secs(2);

/// Reads of one stream in one turn.
const READS: usize = 4;

/// How long a predecessor may take to begin or to end.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(20);

/// How often is looked whether it has.
const GLANCE: Duration = Duration::from_millis(2);

/// Place of the container's name server among what is waited for: after signals and clients.
const ANSWERER: usize = 2;

/// What has ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Questions for names, and nothing else: they are answered at once.
    ByNamesOnly,
    /// Anything.
    ByMore,
}

/// What a supervisor does first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Start the container.
    Start,
    /// Wait for clients and for [`super::wire::Request::Start`].
    Hold,
    /// Take over a container that runs without one.
    Adopt,
}

impl First {
    /// The word on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Hold => "hold",
            Self::Adopt => "adopt",
        }
    }
    fn parse(text: &str) -> Option<Self> {
        [Self::Start, Self::Hold, Self::Adopt]
            .into_iter()
            .find(|first| first.as_str() == text)
    }
}

/// Runs a supervisor: `DATA RUN PROJECT ID start|hold|adopt NAME`, and a [`Reply`] on descriptor 3.
pub fn main(args: &[OsString]) -> i32 {
    let ready = crate::sys::stream::inherited(READY_FD);
    let outcome = begin(args).map_err(Failure::from);
    let reply = match &outcome {
        Ok(_) => Reply::Done,
        Err(failure) => Reply::Failed(failure.clone()),
    };
    if let Some(ready) = ready {
        let mut text = serde_json::to_vec(&reply).unwrap_or_default();
        text.push(b'\n');
        let _ = nix::unistd::write(&ready, &text);
    }
    match outcome {
        Ok(Some(supervisor)) => supervisor.run(),
        Ok(None) => 0,
        Err(_) => 1,
    }
}

struct Supervisor {
    life: Life,
    clients: Clients,
    listener: OwnedFd,
    signals: SignalFd,
    run_dir: PathBuf,
    /// Whether the container was never started, so that the last client's leaving ends this.
    holding: bool,
    _lock: Lock,
}

/// Sets up; `None` when another supervisor was there first and does it.
fn begin(args: &[OsString]) -> Result<Option<Supervisor>> {
    let usage = || {
        EngineError::failed(
            "read the supervisor's arguments",
            "they are not well formed",
        )
    };
    let [data, run, project, id, first, _name] = args else {
        return Err(usage());
    };
    let text = |arg: &OsString| arg.to_str().map(str::to_owned).ok_or_else(usage);
    let project = ProjectName::new(&text(project)?).map_err(|_| usage())?;
    let id = ContainerId::new(text(id)?);
    let first = First::parse(&text(first)?).ok_or_else(usage)?;
    let layout = Layout::new(Roots {
        data: PathBuf::from(data),
        run: PathBuf::from(run),
    });
    let dir = layout.container(&project, &id);

    let failed = |error: std::io::Error| EngineError::failed("set up the supervisor", error);
    let mut mask = SigSet::empty();
    mask.add(NixSignal::SIGCHLD);
    mask.thread_block().map_err(|errno| failed(errno.into()))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&mask, flags).map_err(|errno| failed(errno.into()))?;

    // Whoever goes in order takes this directory along.
    let left_over = dir.run.exists();
    let Some(lock) = take_lock(&dir, first)? else {
        return Ok(None);
    };
    let listener = stream::listen_at(&dir.socket()).map_err(failed)?;
    let mut life = Life::open(layout, dir.clone()).inspect_err(|_| {
        if !dir.record().exists() {
            // It was removed meanwhile.
            let _ = crate::sys::fs::remove_tree(&dir.run);
        }
    })?;
    if left_over && first != First::Adopt {
        life.clear();
    }
    match first {
        First::Start => {
            if let Err(error) = life.start() {
                if !life.is_unclean() {
                    let _ = crate::sys::fs::remove_tree(&dir.run);
                }
                return Err(error);
            }
        }
        First::Adopt => {
            life.adopt()?;
        }
        First::Hold => {}
    }
    Ok(Some(Supervisor {
        life,
        clients: Clients::default(),
        listener,
        signals,
        run_dir: dir.run,
        holding: first == First::Hold,
        _lock: lock,
    }))
}

/// Takes the container's lock; `None` when another supervisor has it and does what this one was to do.
fn take_lock(dir: &ContainerDir, first: First) -> Result<Option<Lock>> {
    let failed = |error: std::io::Error| EngineError::failed("lock the container", error);
    let deadline = Instant::now() + PREDECESSOR_LIMIT;
    loop {
        crate::sys::fs::make_dirs(&dir.run, 0o700).map_err(failed)?;
        match Lock::try_acquire(&dir.lock(), Hold::Exclusive) {
            // A predecessor on its way out may have taken the file along.
            Ok(Some(lock)) if lock.is_at(&dir.lock()) => return Ok(Some(lock)),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => {
                if let Ok(other) = stream::connect_to(&dir.socket())
                    && client::defer_to(&other, first)?
                {
                    return Ok(None);
                }
            }
        }
        if Instant::now() > deadline {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        // Neither the making of a socket nor the end of a process of another's can be waited for.
        std::thread::sleep(GLANCE);
    }
}

impl Supervisor {
    fn run(mut self) -> i32 {
        let mut seen_client = false;
        loop {
            // Also before the first wait: what was adopted may have ended long ago.
            if !self.life.is_live() && !self.keeps_holding(seen_client) {
                return self.end();
            }
            if self.wait() == Woken::ByNamesOnly {
                self.answer();
                continue;
            }
            while let Ok(Some(_)) = self.signals.read_signal() {}
            while let Ok(Some(socket)) = stream::accept(self.listener.as_fd()) {
                seen_client = true;
                self.clients.add(socket);
            }
            let mut turn = self.clients.serve(&mut self.life);
            // Right here: what was started just now may have ended when it is looked at next.
            self.holding &= !self.life.is_live();
            self.life.streams().pump();
            self.life.read_probe();
            self.answer();
            // Order matters: the end is seen first, then the last output is read, then the end is told.
            let reaped = self.life.reap().unwrap_or(Turn::Changed);
            self.read_output(reaped == Turn::Changed);
            if reaped == Turn::Changed {
                let _ = self.life.settle();
            }
            self.life.tend_log();
            self.clients.reap(&self.life);
            let ticked = self.life.tick().unwrap_or(Turn::Same);
            if reaped == Turn::Changed || ticked == Turn::Changed {
                turn = Turn::Changed;
            }
            if turn == Turn::Changed {
                self.clients.changed();
            }
        }
    }

    /// Answers questions for names, and passes on what has come to published ports.
    fn answer(&mut self) {
        let Some(network) = self.life.network() else {
            return;
        };
        if let Some(answerer) = &mut network.answerer {
            answerer.turn();
        }
        network.doors.turn();
    }

    /// Whether it waits for a start that may still come.
    fn keeps_holding(&self, seen_client: bool) -> bool {
        let left = seen_client && self.clients.is_empty();
        self.holding && !left && !self.clients.wait_for_end()
    }

    fn read_output(&mut self, all: bool) {
        if self.clients.is_congested() && !all {
            return;
        }
        for stream in [Stream::Out, Stream::Err] {
            let mut turns = 0;
            let mut give = |bytes: &[u8]| self.clients.give(stream, bytes);
            while (all || turns < READS) && self.life.read(stream, &mut give) {
                turns += 1;
            }
        }
    }

    fn wait(&self) -> Woken {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        let network = self.life.network_ref();
        let answerer = network.and_then(|network| network.answerer.as_ref());
        let doors = network.map(|network| &network.doors);
        let mut readable: Vec<BorrowedFd<'_>> = Vec::new();
        // First, for its place is looked at below.
        readable.extend(answerer.map(|a| a.as_fd()));
        readable.extend(self.life.pidfd());
        readable.extend(self.life.probe_output());
        readable.extend(doors.and_then(net::Doors::descriptor));
        if !self.clients.is_congested() && !self.life.is_held() {
            readable.extend(
                self.life
                    .streams_ref()
                    .readers()
                    .into_iter()
                    .map(|(fd, _)| fd),
            );
        }
        readable.extend(self.clients.pidfds());
        fds.extend(
            readable
                .into_iter()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        if let Some((fd, wanted)) = self.life.ready_socket() {
            fds.push(PollFd::new(fd, wanted));
        }
        let sockets = self.clients.sockets(self.life.streams_ref().is_full());
        fds.extend(sockets.map(|(fd, wanted)| PollFd::new(fd, wanted)));
        fds.extend(
            self.life
                .sending()
                .map(|(fd, wanted)| PollFd::new(fd, wanted)),
        );
        if let Some(fd) = self.life.streams_ref().writer() {
            fds.push(PollFd::new(fd, PollFlags::POLLOUT));
        }
        let due = self.life.deadline();
        let left = due.map(|at| at.saturating_duration_since(Instant::now()));
        let doors = doors.and_then(net::Doors::deadline);
        let wait = [left, doors, answerer.and_then(|a| a.deadline())]
            .into_iter()
            .flatten()
            .min();
        // A millisecond more, so that what is due is due when poll returns.
        let timeout = wait.map_or(PollTimeout::NONE, |wait| {
            PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let ready = poll(&mut fds, timeout).unwrap_or(0);
        let names = fds.get(ANSWERER).and_then(PollFd::any);
        let on_time = due.is_none_or(|at| at > Instant::now());
        if answerer.is_some() && ready == 1 && names == Some(true) && on_time {
            Woken::ByNamesOnly
        } else {
            Woken::ByMore
        }
    }

    /// The container is down for good: last words, then everything in the run directory goes, unless something is left
    /// in the kernel: the directory tells the next command to try again.
    fn end(mut self) -> i32 {
        let deadline = Instant::now() + LAST_TRY;
        while self.life.is_held() && Instant::now() < deadline {
            let _ = poll(&mut [], 100u16);
            self.read_output(true);
            self.life.flush_log();
        }
        let code = self.life.exit().map_or(0, |exit| exit.code());
        if !self.life.is_unclean() {
            let _ = crate::sys::fs::remove_tree(&self.run_dir);
        }
        self.clients.finish(&self.life, code);
        let deadline = Instant::now() + LAST_WORDS;
        while (self.clients.has_output() || self.life.is_sending()) && Instant::now() < deadline {
            let sockets = self.clients.sockets(false);
            let mut fds: Vec<PollFd<'_>> = sockets
                .map(|(fd, _)| fd)
                .chain(self.life.sending().map(|(fd, _)| fd))
                .map(|fd| PollFd::new(fd, PollFlags::POLLOUT))
                .collect();
            let _ = poll(&mut fds, 100u16);
            drop(fds);
            self.clients.serve(&mut self.life);
            self.life.tend_log();
        }
        0
    }
}

/// Reads the one reply a new supervisor gives; `None` when it died before.
pub(super) fn await_ready(pipe: &OwnedFd) -> Option<Reply> {
    let mut inbox = wire::Inbox::default();
    let mut buffer = [0u8; 4096];
    loop {
        match nix::unistd::read(pipe, &mut buffer) {
            Ok(0) => return None,
            Ok(length) => inbox.bytes.extend_from_slice(buffer.get(..length)?),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return None,
        }
        if let Ok(Some(reply)) = inbox.take() {
            return Some(reply);
        }
    }
}
