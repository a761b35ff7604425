//! A proxy in front of a registry that spoils what a case wants spoilt, and counts what it lets through.
//!
//! One request a connection: both sides are told to close, so that an answer ends where its connection does and nothing has
//! to be understood of bodies. What is spoilt is decided by the request's line.
//! Imports: nothing.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is done to an answer, or to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends after so many bytes of the body.
    Cut(u64),
    /// It ends after so many bytes of the request's body.
    CutRequest(u64),
    /// After so many bytes of the body nothing more comes.
    Stall(u64),
    /// So many bytes at a time, with a pause between.
    Slow(usize, Duration),
    /// The byte at this place is another one.
    Flip(u64),
    /// The header says that the body is so many bytes longer, or shorter.
    Length(i64),
    /// There is no length, and the body never ends.
    Endless,
    /// The header that asks for a range does not arrive.
    NoRange,
    /// Another answer in its place: status line, headers, body.
    Instead(String, String, String),
}

/// What is seen of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`.
    pub method: String,
    /// `/v2/app/blobs/sha256:…`.
    pub path: String,
    /// All of its headers, as they came.
    pub head: String,
    /// How many with this method and path came before.
    pub earlier: usize,
    /// Bytes of the answer's body that were let through.
    pub served: u64,
}

impl Seen {
    /// Whether it fetches content.
    pub fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha256:")
    }
}

type Decide = dyn Fn(&Seen) -> Fault + Send + Sync;

/// The proxy; it ends with the process.
pub struct Proxy {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Proxy {
    /// In front of `registry`.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(
        registry: SocketAddr,
        decide: impl Fn(&Seen) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it has one");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ours, decide): (_, Arc<Decide>) = (Arc::clone(&log), Arc::new(decide));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (log, decide) = (Arc::clone(&ours), Arc::clone(&decide));
                // A side that goes away ends its exchange; that is what the cases are about.
                std::thread::spawn(move || drop(exchange(client, registry, &log, &*decide)));
            }
        });
        Self { address, log }
    }
    /// A name of an image behind it.
    pub fn name(&self, image: &str) -> String {
        format!("localhost:{}/{image}", self.address.port())
    }
    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().expect("no thread panics with it").clone()
    }
    /// Forgets all requests so far.
    pub fn forget(&self) {
        self.log.lock().expect("no thread panics with it").clear();
    }
    /// Bytes of blobs so far.
    pub fn served(&self) -> u64 {
        let seen = self.seen();
        seen.iter()
            .filter(|one| one.is_blob())
            .map(|one| one.served)
            .sum()
    }
}

/// Reads until the empty line.
fn head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// A head without some of its headers, and with others.
fn edited(head: &str, without: &[&str], with: &str) -> String {
    let keep = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        !line.is_empty()
            && !without
                .iter()
                .any(|name| lower.starts_with(&format!("{name}:")))
    };
    let lines: Vec<&str> = head.trim_end().split("\r\n").filter(keep).collect();
    format!("{}\r\n{with}Connection: close\r\n\r\n", lines.join("\r\n"))
}

fn value(head: &str, name: &str) -> Option<u64> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    value.trim().parse().ok()
}

fn exchange(
    mut client: TcpStream,
    registry: SocketAddr,
    log: &Mutex<Vec<Seen>>,
    decide: &Decide,
) -> io::Result<()> {
    let (asked, begun) = head(&mut client)?;
    let mut words = asked.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let at = {
        let mut log = log.lock().expect("no thread panics with it");
        let same = |one: &&Seen| one.method == method && one.path == path;
        let earlier = log.iter().filter(same).count();
        log.push(Seen {
            method: method.to_owned(),
            path: path.to_owned(),
            head: asked.clone(),
            earlier,
            served: 0,
        });
        log.len() - 1
    };
    let fault = decide(&log.lock().expect("no thread panics with it")[at].clone());
    if let Fault::Instead(status, headers, body) = &fault {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        client.write_all(text.as_bytes())?;
        return client.shutdown(Shutdown::Write);
    }
    let mut server = TcpStream::connect(registry)?;
    let without: &[&str] = match fault {
        Fault::NoRange => &["connection", "range"],
        _ => &["connection"],
    };
    server.write_all(edited(&asked, without, "").as_bytes())?;
    let length = value(&asked, "content-length").unwrap_or(0);
    let limit = match fault {
        Fault::CutRequest(after) => after.min(length),
        _ => length,
    };
    let body = begun.as_slice().chain(client.try_clone()?).take(limit);
    copy(body, &mut server, |_| {})?;
    if limit < length {
        return Ok(());
    }
    let (answer, begun) = head(&mut server)?;
    let said = value(&answer, "content-length");
    let headers = match fault {
        Fault::Length(more) => {
            let said = said.unwrap_or(0).saturating_add_signed(more);
            edited(
                &answer,
                &["connection", "content-length"],
                &format!("Content-Length: {said}\r\n"),
            )
        }
        Fault::Endless => edited(&answer, &["connection", "content-length"], ""),
        _ => edited(&answer, &["connection"], ""),
    };
    client.write_all(headers.as_bytes())?;
    if method == "HEAD" {
        return Ok(());
    }
    let served = |bytes: u64| log.lock().expect("no thread panics with it")[at].served += bytes;
    spoilt(&fault, begun.as_slice().chain(server), &mut client, served)
}

/// Passes a body on as the fault wants it.
fn spoilt(
    fault: &Fault,
    mut body: impl Read,
    client: &mut TcpStream,
    served: impl Fn(u64),
) -> io::Result<()> {
    match *fault {
        Fault::Cut(after) => copy(body.take(after), client, served),
        Fault::Stall(after) => {
            copy(body.by_ref().take(after), client, &served)?;
            // Until the other side has enough of it.
            client.read(&mut [0]).map(drop)
        }
        Fault::Slow(bytes, pause) => {
            let mut buffer = vec![0; bytes];
            loop {
                match body.read(&mut buffer)? {
                    0 => return Ok(()),
                    read => {
                        client.write_all(&buffer[..read])?;
                        served(read as u64);
                    }
                }
                std::thread::sleep(pause);
            }
        }
        Fault::Flip(place) => {
            copy(body.by_ref().take(place), client, &served)?;
            let mut one = [0];
            body.read_exact(&mut one)?;
            client.write_all(&[one[0] ^ 1])?;
            copy(body, client, served)
        }
        Fault::Endless => {
            copy(body, client, &served)?;
            copy(io::repeat(0), client, served)
        }
        _ => copy(body, client, served),
    }
}

fn copy(mut from: impl Read, to: &mut TcpStream, count: impl Fn(u64)) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => {
                to.write_all(&buffer[..read])?;
                count(read as u64);
            }
        }
    }
}
