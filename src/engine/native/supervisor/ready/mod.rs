//! `x-hoist.ready`: probes that need nothing in the image, as they are made from here.
//!
//! In: what the spec asks for, the container's output, its init. Out: a [`Probe`] each time. Sockets are made in the
//! container's network namespace and never block; one thing is done in each turn of the supervisor's loop. What the
//! container answers is a stranger's: only the beginning is read, and only for so long.
//! Imports: `base`, `engine`, `sys`; beside it `health`.

mod http;
mod lines;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, getsockopt, recv, send,
    socket, sockopt,
};

use crate::base::clock::Timestamp;
use crate::base::scalar::format_duration;
use crate::engine::Result;
use crate::engine::spec::{HttpProbe, Ready};
use crate::engine::state::Probe;
use crate::sys::ns;
use lines::Lines;

/// Where a server of the container is looked for, in turn: what listens everywhere is found at the first.
const PLACES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Most bytes of an answer that are read.
const ANSWER: usize = 4096;

/// What a probe has told.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The result.
    pub(super) probe: Probe,
    /// When it began.
    pub(super) began: Instant,
    /// Whether it is the last: nothing it looks at can change any more.
    pub(super) last: bool,
}

/// The probes of one run of a container.
#[derive(Debug)]
pub(super) struct Runner {
    wanted: Ready,
    /// `None` where no line is waited for.
    lines: Option<Lines>,
    run: Option<Run>,
}

/// A probe that is under way.
#[derive(Debug)]
struct Run {
    start: Timestamp,
    began: Instant,
    deadline: Option<Instant>,
    /// The container's init.
    init: OwnedFd,
    stage: Stage,
    /// What holds already.
    good: Vec<String>,
}

/// Where it stands. HTTP is asked first, then TCP; then it is told whether the line was there.
#[derive(Debug)]
enum Stage {
    Http(Talk),
    Tcp(Talk),
    Failed(String),
    Over,
}

/// One connection, or the attempt to make it.
#[derive(Debug)]
struct Talk {
    port: u16,
    place: usize,
    socket: OwnedFd,
    /// Bytes that are to be sent; empty once they were, or for a mere connection.
    out: Vec<u8>,
    connected: bool,
    answer: Vec<u8>,
}

/// What came of a turn.
enum Step {
    Wait,
    Good(String),
    Bad(String),
}

impl Runner {
    /// For one run of a container.
    ///
    /// # Errors
    /// [`crate::engine::EngineError`] when the log line's expression is none, which the plan has seen to.
    pub(super) fn new(wanted: &Ready) -> Result<Self> {
        let lines = wanted.log.as_ref().map(Lines::new).transpose()?;
        Ok(Self {
            wanted: wanted.clone(),
            lines,
            run: None,
        })
    }
    /// Whether the awaited line was seen.
    pub(super) fn has_seen(&self) -> bool {
        self.lines.as_ref().is_some_and(Lines::has_seen)
    }
    /// Knows that the awaited line was seen by another supervisor.
    pub(super) fn set_seen(&mut self) {
        if let Some(lines) = &mut self.lines {
            lines.set_seen();
        }
    }
    /// Looks for the awaited line; `true` when it has just come. `stream` is 0 or 1.
    pub(super) fn feed(&mut self, stream: usize, bytes: &[u8]) -> bool {
        let lines = self.lines.as_mut();
        lines.is_some_and(|lines| lines.feed(stream, bytes))
    }
    /// Whether a probe is under way.
    pub(super) fn is_running(&self) -> bool {
        self.run.is_some()
    }
    /// When the probe that is under way has taken too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.run.as_ref()?.deadline
    }
    /// What the probe that is under way waits for.
    pub(super) fn socket(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.run.as_ref()?.stage {
            Stage::Http(talk) | Stage::Tcp(talk) => {
                let wanted = match talk.connected && talk.out.is_empty() {
                    true => PollFlags::POLLIN,
                    false => PollFlags::POLLOUT,
                };
                Some((talk.socket.as_fd(), wanted))
            }
            Stage::Failed(_) | Stage::Over => None,
        }
    }
    /// Begins a probe of the container with this init.
    pub(super) fn begin(&mut self, init: BorrowedFd<'_>, now: Instant, deadline: Option<Instant>) {
        let Ok(init) = init.try_clone_to_owned() else {
            return;
        };
        let stage = Stage::Over;
        self.run = Some(Run {
            start: Timestamp::now(),
            began: now,
            deadline,
            init,
            stage,
            good: Vec::new(),
        });
        let first = self.next_stage(None);
        self.enter(first);
    }

    /// Goes on as far as that is possible now.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Outcome> {
        loop {
            let run = self.run.as_mut()?;
            let step = match &mut run.stage {
                Stage::Http(talk) => talk.http(&run.init, self.wanted.http.as_ref()),
                Stage::Tcp(talk) => talk.tcp(&run.init),
                Stage::Failed(text) => Step::Bad(std::mem::take(text)),
                Stage::Over => return self.finish(Ok(())),
            };
            match step {
                Step::Good(text) => {
                    run.good.push(text);
                    let after = std::mem::replace(&mut run.stage, Stage::Over);
                    let next = self.next_stage(Some(&after));
                    self.enter(next);
                }
                Step::Bad(text) => return self.finish(Err((1, text))),
                Step::Wait if run.deadline.is_some_and(|at| now >= at) => {
                    let limit = format_duration(self.wanted.timing.timeout);
                    let what = run.stage.name();
                    return self.finish(Err((-1, format!("{what}: no answer within {limit}"))));
                }
                Step::Wait => return None,
            }
        }
    }

    /// The port to talk to after a stage, and whether by HTTP.
    fn next_stage(&self, after: Option<&Stage>) -> Option<(u16, bool)> {
        let http = self.wanted.http.as_ref().map(|http| (http.port, true));
        let tcp = self.wanted.tcp.map(|port| (port, false));
        match after {
            None => http.or(tcp),
            Some(Stage::Http(_)) => tcp,
            Some(_) => None,
        }
    }

    fn enter(&mut self, next: Option<(u16, bool)>) {
        let Some(run) = &mut self.run else { return };
        run.stage = match next {
            None => Stage::Over,
            Some((port, by_http)) => {
                let out = match &self.wanted.http {
                    Some(wanted) if by_http => http::request(wanted),
                    _ => Vec::new(),
                };
                match Talk::begin(&run.init, port, out) {
                    Ok(talk) if by_http => Stage::Http(talk),
                    Ok(talk) => Stage::Tcp(talk),
                    Err(errno) => Stage::Failed(format!("port {port}: {}", errno.desc())),
                }
            }
        };
    }

    fn finish(&mut self, outcome: std::result::Result<(), (i32, String)>) -> Option<Outcome> {
        let run = self.run.take()?;
        let missing = self.lines.as_ref().filter(|lines| !lines.has_seen());
        let failed = outcome.err().or_else(|| {
            let wanted = self.wanted.log.as_ref().filter(|_| missing.is_some())?;
            Some((1, format!("no line of its output has `{wanted}` yet")))
        });
        let mut good = run.good;
        if let Some(wanted) = self.wanted.log.as_ref().filter(|_| missing.is_none()) {
            good.push(format!("a line of its output has `{wanted}`"));
        }
        let (code, output) = failed.unwrap_or_else(|| (0, good.join("\n")));
        Some(Outcome {
            probe: Probe {
                start: run.start,
                end: Timestamp::now(),
                code,
                output,
            },
            began: run.began,
            last: code == 0 && self.wanted.http.is_none() && self.wanted.tcp.is_none(),
        })
    }
}

impl Stage {
    fn name(&self) -> String {
        match self {
            Self::Http(talk) => format!("HTTP on port {}", talk.port),
            Self::Tcp(talk) => format!("port {}", talk.port),
            Self::Failed(_) | Self::Over => "the log".to_owned(),
        }
    }
}

/// Begins to connect to a place of the container's network.
fn dial(init: &OwnedFd, port: u16, place: IpAddr) -> std::result::Result<OwnedFd, Errno> {
    let family = match place {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    ns::in_net_of(init.as_fd(), || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None)?;
        let address = SockaddrStorage::from(SocketAddr::new(place, port));
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
            Err(errno) => Err(errno),
        }
    })
}

impl Talk {
    /// Begins at the first place that can be tried.
    fn begin(init: &OwnedFd, port: u16, out: Vec<u8>) -> std::result::Result<Self, Errno> {
        let mut last = Errno::ECONNREFUSED;
        for (place, address) in PLACES.iter().enumerate() {
            match dial(init, port, *address) {
                Ok(socket) => {
                    return Ok(Self {
                        port,
                        place,
                        socket,
                        out,
                        connected: false,
                        answer: Vec::new(),
                    });
                }
                // What the first place says is what is told: a host without IPv6 would only confuse.
                Err(errno) if place == 0 => last = errno,
                Err(_) => {}
            }
        }
        Err(last)
    }

    /// Whether the connection is there, or what became of it.
    fn connect(&mut self, init: &OwnedFd) -> std::result::Result<bool, Errno> {
        if self.connected {
            return Ok(true);
        }
        loop {
            match getsockopt(&self.socket, sockopt::SocketError)? {
                0 => break,
                number => {
                    let errno = Errno::from_raw(number);
                    let next = PLACES.iter().enumerate().skip(self.place + 1);
                    let dialled = next
                        .map(|(at, place)| (at, dial(init, self.port, *place)))
                        .find_map(|(at, dialled)| Some((at, dialled.ok()?)));
                    let Some((place, socket)) = dialled else {
                        return Err(errno);
                    };
                    self.place = place;
                    self.socket = socket;
                }
            }
        }
        // Without an error it is connected once it can be written to.
        self.connected =
            nix::sys::socket::getpeername::<SockaddrStorage>(self.socket.as_raw_fd()).is_ok();
        Ok(self.connected)
    }

    fn tcp(&mut self, init: &OwnedFd) -> Step {
        match self.connect(init) {
            Ok(true) => Step::Good(format!("port {} takes connections", self.port)),
            Ok(false) => Step::Wait,
            Err(errno) => Step::Bad(format!("port {}: {}", self.port, errno.desc())),
        }
    }

    fn http(&mut self, init: &OwnedFd, wanted: Option<&HttpProbe>) -> Step {
        let Some(wanted) = wanted else {
            return Step::Bad("nothing is asked for".to_owned());
        };
        match self.exchange(init) {
            Ok(whole) => http::verdict(wanted, &self.answer, whole),
            Err(errno) => Step::Bad(format!("{}: {}", http::name(wanted), errno.desc())),
        }
    }

    /// Sends and reads as far as possible; whether nothing more will come.
    fn exchange(&mut self, init: &OwnedFd) -> std::result::Result<bool, Errno> {
        if !self.connect(init)? {
            return Ok(false);
        }
        while !self.out.is_empty() {
            match send(self.socket.as_raw_fd(), &self.out, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        let mut buffer = [0u8; ANSWER];
        while self.answer.len() < ANSWER {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) => return Ok(true),
                Ok(length) => {
                    let room = length.min(ANSWER - self.answer.len());
                    self.answer
                        .extend_from_slice(buffer.get(..room).unwrap_or_default());
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::line::LinePattern;
    use crate::engine::spec::Timing;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(5);

    fn runner(http: Option<HttpProbe>, tcp: Option<u16>, log: Option<&str>) -> Runner {
        let timing = Timing {
            interval: LIMIT,
            timeout: LIMIT,
            retries: 1,
            start_period: LIMIT,
            start_interval: LIMIT,
        };
        let log = log.map(|text| LinePattern::parse(text).expect("a pattern"));
        Runner::new(&Ready {
            http,
            tcp,
            log,
            timing,
        })
        .expect("it is well formed")
    }

    fn http(port: u16) -> HttpProbe {
        HttpProbe {
            port,
            path: "/ok".into(),
            status: None,
            headers: vec![("X-Probe".into(), "1".into())],
        }
    }

    /// Drives a probe of this machine's own network to its end. Entering one's own namespace needs root.
    fn probe(runner: &mut Runner) -> Option<(i32, String)> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let own = ns::own("net").expect("we have one");
        let begun = Instant::now();
        runner.begin(own.as_fd(), begun, begun.checked_add(LIMIT));
        loop {
            if let Some(outcome) = runner.turn(Instant::now()) {
                return Some((outcome.probe.code, outcome.probe.output));
            }
            std::thread::yield_now();
        }
    }

    fn answering(text: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let Ok(mut stream) = stream else { return };
                let mut buffer = [0u8; 1024];
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(text.as_bytes());
            }
        });
        port
    }

    #[test]
    fn a_good_answer_is_good_and_others_are_told_with_their_beginning() {
        let good = answering("HTTP/1.1 204 No Content\r\n\r\n");
        let Some((code, output)) = probe(&mut runner(Some(http(good)), None, None)) else {
            return;
        };
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("204 No Content"), "{output}");
        let bad = answering("HTTP/1.1 503 Busy\r\nA: b\r\n\r\nthe \x1b[31mdatabase is away\nmore");
        let (code, output) = probe(&mut runner(Some(http(bad)), None, None)).expect("root");
        assert_eq!(code, 1);
        assert!(output.contains("503 Busy"), "{output}");
        assert!(output.contains("database is away"), "{output}");
        assert!(!output.contains('\x1b'), "{output:?}");
        let other = answering("220 mail.example ready\r\n");
        let (code, output) = probe(&mut runner(Some(http(other)), None, None)).expect("root");
        assert_eq!(code, 1);
        assert!(output.contains("not HTTP"), "{output}");
    }

    #[test]
    fn all_parts_must_hold() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let port = listener.local_addr().expect("it is bound").port();
        let mut both = runner(None, Some(port), Some("ready"));
        let Some((code, output)) = probe(&mut both) else {
            return;
        };
        assert_eq!(
            (code, output.contains("`ready` yet")),
            (1, true),
            "{output}"
        );
        assert!(!both.feed(0, b"not yet rea"));
        assert!(!both.feed(1, b"dy\n"));
        assert!(both.feed(0, b"dy\n"));
        assert_eq!(probe(&mut both).expect("root").0, 0);
        drop(listener);
        let (code, output) = probe(&mut both).expect("root");
        assert_eq!(code, 1);
        assert!(output.to_lowercase().contains("refused"), "{output}");
    }
}
