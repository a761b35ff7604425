//! Another machine: a network namespace with a cable to this one, its own web server and its own resolver.
//!
//! In: nothing. Out: addresses of both ends, and whatever is run over there. The namespace lives as long as one process,
//! which ends when this program does: nothing stays, however a case ends.
//!
//! | name | types | answer |
//! |---|---|---|
//! | `www.outside.test` | A, AAAA | the other machine |
//! | `big.outside.test` | A | [`BIG`] addresses: over UDP cut off, over TCP whole |
//! | what else | | `NXDOMAIN` |
//!
//! Imports: `harness`. Sources: RFC 5737 and RFC 3849 (addresses nobody has), RFC 1035, section 4.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::process::{Done, LIMIT, finish};
use super::resolver::inside;
use super::{http, program};

/// First argument that makes this program the other machine.
pub const SERVE: &str = "__outside";
/// How many addresses `big.outside.test` has.
pub const BIG: u8 = 120;
/// Cables begin so; a digit or two follow.
const CABLE: &str = "hso";

/// The other machine; it is gone when this is dropped.
#[derive(Debug)]
pub struct Outside {
    /// Its address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address; `None` where this machine has no IPv6.
    pub v6: Option<Ipv6Addr>,
    /// This machine, as it is seen from there.
    pub host_v4: Ipv4Addr,
    /// This machine's IPv6 address there.
    pub host_v6: Option<Ipv6Addr>,
    /// This machine's end of the cable.
    pub link: String,
    process: Child,
    /// Its end tells the process to end.
    _stdin: ChildStdin,
}

/// What cables of this run are called beside their names.
pub fn mark() -> String {
    format!("hoist-test-{}", std::process::id())
}

fn tool(name: &str, arguments: &str) -> Done {
    let path = program(name).unwrap_or_else(|| panic!("no program {name}"));
    let mut command = Command::new(path);
    command.args(arguments.split_whitespace());
    finish(command, None, LIMIT)
}

impl Outside {
    /// Makes it: its cable's name is the claim to its addresses, as others may run on this machine.
    ///
    /// # Panics
    /// When the kernel refuses, or all addresses are in use.
    pub fn new() -> Self {
        for slot in 0..64u8 {
            let v4 = |last: u8| Ipv4Addr::new(198, 51, 100, slot * 4 + last);
            let v6 = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, slot.into(), 0, 0, 0, last);
            let link = format!("{CABLE}{slot}");
            let (process, stdin) = serve_beside(v4(2), v6(2));
            let made = tool(
                "ip",
                &format!(
                    "link add {link} type veth peer name eth0 netns {}",
                    process.id()
                ),
            );
            let mut outside = Self {
                v4: v4(2),
                v6: has_v6().then(|| v6(2)),
                host_v4: v4(1),
                host_v6: has_v6().then(|| v6(1)),
                link,
                process,
                _stdin: stdin,
            };
            if made.code == 0 {
                outside.plug();
                return outside;
            }
            assert!(made.err.contains("exists"), "{}", made.story());
            // The name is somebody else's: not to be deleted.
            outside.link.clear();
        }
        panic!("no address of 198.51.100.0/24 is free");
    }

    fn plug(&self) {
        let link = &self.link;
        let ip = |arguments: &str| tool("ip", arguments).ok();
        let there = |arguments: &str| {
            let words: Vec<&str> = arguments.split_whitespace().collect();
            self.run("ip", &words).ok()
        };
        ip(&format!("link set {link} alias {}", mark()));
        ip(&format!("addr add {}/30 dev {link}", self.host_v4));
        there(&format!("addr add {}/30 dev eth0", self.v4));
        if let (Some(here), Some(other)) = (self.host_v6, self.v6) {
            ip(&format!("addr add {here}/64 dev {link} nodad"));
            there(&format!("addr add {other}/64 dev eth0 nodad"));
        }
        ip(&format!("link set {link} up"));
        there("link set lo up");
        there("link set eth0 up");
        there(&format!("route add default via {}", self.host_v4));
        if let Some(here) = self.host_v6 {
            there(&format!("-6 route add default via {here}"));
        }
        super::eventually("the other machine answers", || {
            http::get(self.web(), "/").ok().map(drop)
        });
    }

    /// Where its web server listens; it answers with the client's address.
    pub fn web(&self) -> SocketAddr {
        (self.v4, 80).into()
    }

    /// Process whose namespace it is.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A program that is to run there.
    pub fn command(&self, name: &str) -> Command {
        let path = program(name).unwrap_or_else(|| panic!("no program {name}"));
        let mut command = Command::new(program("nsenter").expect("util-linux"));
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid()))
            .arg(path);
        command
    }

    /// Runs a program there to its end.
    #[must_use = "look at the exit code or the output"]
    pub fn run(&self, name: &str, arguments: &[&str]) -> Done {
        let mut command = self.command(name);
        command.args(arguments);
        finish(command, None, LIMIT)
    }

    /// Calls a function there.
    ///
    /// # Panics
    /// As the function does.
    pub fn there<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        inside(self.pid().cast_signed(), function)
    }

    /// Asks for a path from there; `None` when nobody answers.
    pub fn get(&self, address: impl Into<SocketAddr>, path: &str) -> Option<String> {
        let address = address.into();
        let answer = self.there(|| http::get(address, path)).ok()?;
        Some(answer.text().trim().to_owned())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if !self.link.is_empty() {
            // Now, and not when the kernel comes to it: the next one may want the name.
            drop(tool("ip", &format!("link delete {}", self.link)));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether this machine has IPv6.
pub fn has_v6() -> bool {
    let off = std::fs::read("/proc/sys/net/ipv6/conf/default/disable_ipv6");
    off.is_ok_and(|text| text.starts_with(b"0"))
}

/// Starts the process that is the other machine, and waits until it listens.
fn serve_beside(v4: Ipv4Addr, v6: Ipv6Addr) -> (Child, ChildStdin) {
    let mut command = Command::new(program("unshare").expect("util-linux"));
    command
        .arg("-n")
        .arg(std::env::current_exe().expect("this program has a path"))
        .args([SERVE, &v4.to_string(), &v6.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = command.spawn().expect("programs can be started");
    let stdin = process.stdin.take().expect("it is a pipe");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("it is a pipe"))
        .read_line(&mut line)
        .expect("it is text");
    assert_eq!(line.trim(), "ready", "the other machine does not listen");
    (process, stdin)
}

/// The other machine's process: serves until its standard input ends.
pub fn serve(arguments: &[String]) {
    let addresses: Vec<IpAddr> = arguments
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect();
    let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    // Where there is no IPv6 at all, that of IPv4 must do.
    let listen = |port| {
        TcpListener::bind(any(port)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
    };
    let web = listen(80).expect("nobody else is here");
    let questions = listen(53).expect("nobody else is here");
    let datagrams = UdpSocket::bind(any(53))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)))
        .expect("nobody else is here");
    std::thread::spawn(move || each(&web, tell_client));
    let known = addresses.clone();
    std::thread::spawn(move || each(&questions, |stream| answer_stream(stream, &known)));
    std::thread::spawn(move || answer_datagrams(&datagrams, &addresses));
    let mut out = std::io::stdout();
    let told = out.write_all(b"ready\n").and_then(|()| out.flush());
    told.expect("somebody waits for it");
    let mut rest = Vec::new();
    // Whatever ends it.
    drop(std::io::stdin().read_to_end(&mut rest));
}

fn each(listener: &TcpListener, serve: impl Fn(TcpStream) -> std::io::Result<()> + Sync) {
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let limit = Some(Duration::from_secs(10));
            let set = stream
                .set_read_timeout(limit)
                .and(stream.set_write_timeout(limit));
            let serve = &serve;
            // A client that goes away early is its own business.
            scope.spawn(move || drop(set.and_then(|()| serve(stream))));
        }
    });
}

fn tell_client(mut stream: TcpStream) -> std::io::Result<()> {
    let client = stream.peer_addr()?.ip().to_canonical();
    let lines = BufReader::new(stream.try_clone()?).lines();
    for line in lines.map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
    }
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{client}\n"
    )
}

fn answer_datagrams(socket: &UdpSocket, known: &[IpAddr]) {
    let mut bytes = [0; 4096];
    loop {
        if let Ok((count, client)) = socket.recv_from(&mut bytes)
            && let Some(mut reply) = answer(&bytes[..count], known)
        {
            // RFC 1035, 4.2.1: no more than 512 bytes; what is longer is cut off, and says so.
            if reply.len() > 512 {
                reply.truncate(12 + question(&bytes[12..count]).map_or(0, |(_, _, end)| end));
                reply[2] |= 2;
                reply[6..8].fill(0);
            }
            drop(socket.send_to(&reply, client));
        }
    }
}

fn answer_stream(mut stream: TcpStream, known: &[IpAddr]) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut bytes)?;
        let Some(reply) = answer(&bytes, known) else {
            return Ok(());
        };
        let length = u16::try_from(reply.len()).unwrap_or(u16::MAX).to_be_bytes();
        stream.write_all(&[&length, reply.as_slice()].concat())?;
    }
}

/// Name and type asked for, and where the question ends.
fn question(bytes: &[u8]) -> Option<(String, u16, usize)> {
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(bytes.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, at + 4))
}

/// The answer to a message, or nothing where it makes no sense.
fn answer(bytes: &[u8], known: &[IpAddr]) -> Option<Vec<u8>> {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const NO_NAME: u8 = 3;
    let (name, kind, end) = question(bytes.get(12..)?)?;
    let (addresses, code): (Vec<IpAddr>, u8) = match name.as_str() {
        "www.outside.test" => (known.to_vec(), 0),
        "big.outside.test" => ((0..BIG).map(|last| [203, 0, 113, last].into()).collect(), 0),
        _ => (Vec::new(), NO_NAME),
    };
    let fits = |address: &IpAddr| if address.is_ipv4() { A } else { AAAA } == kind;
    let addresses: Vec<IpAddr> = addresses.into_iter().filter(fits).collect();
    let count = u16::try_from(addresses.len()).ok()?.to_be_bytes();
    let mut reply = bytes.get(..2)?.to_vec();
    // An answer, of who knows, to whom wanted recursion or not.
    reply.extend([0x84 | bytes[2] & 1, 0x80 | code, 0, 1]);
    reply.extend(count);
    reply.extend([0; 4]);
    reply.extend(bytes.get(12..12 + end)?);
    for address in addresses {
        // The name of the question, the class IN, a minute.
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 60]);
        match address {
            IpAddr::V4(address) => reply.extend([&[0, 4][..], &address.octets()].concat()),
            IpAddr::V6(address) => reply.extend([&[0, 16][..], &address.octets()].concat()),
        }
    }
    Some(reply)
}
