//! Name servers of this program, and questions asked from inside containers.
//!
//! In: what a server says to a question. Out: what it was asked, byte for byte. Servers listen on addresses of loopback
//! that nobody else uses, or in a container's network; they end when they are dropped. Imports: `harness`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use nix::sched::{CloneFlags, setns};

use super::{Sandbox, eventually, patience};

/// Where a container asks.
pub const ANSWERER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One packet.
    Udp,
    /// A connection.
    Tcp,
}

/// Calls a function in the network of a process.
///
/// # Panics
/// As the function does.
pub fn inside<T: Send>(pid: i32, function: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("the process lives");
    // A namespace belongs to a thread, so that it takes one of its own.
    let there = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may");
        function()
    };
    std::thread::scope(|scope| match scope.spawn(there).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A question as a program would send it.
pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(name).expect("a name");
    message.add_query(Query::query(name, kind));
    message
}

/// Sends bytes to the name server of the container that a process is in; gives the answer's.
///
/// # Errors
/// When there is none in time.
pub fn send(pid: i32, bytes: &[u8], way: Way) -> io::Result<Vec<u8>> {
    inside(pid, || match way {
        Way::Udp => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect((ANSWERER, PORT))?;
            socket.set_read_timeout(Some(patience()))?;
            socket.send(bytes)?;
            let mut answer = vec![0; 65_536];
            let length = socket.recv(&mut answer)?;
            answer.truncate(length);
            Ok(answer)
        }
        Way::Tcp => {
            let mut stream = TcpStream::connect((ANSWERER, PORT))?;
            stream.set_read_timeout(Some(patience()))?;
            write_framed(&mut stream, bytes)?;
            read_framed(&mut stream)
        }
    })
}

/// Asks the name server of the container that a process is in.
///
/// # Panics
/// When there is no answer.
pub fn ask(pid: i32, name: &str, kind: RecordType) -> Message {
    let bytes = question(name, kind).to_vec().expect("it is short");
    let answer = send(pid, &bytes, Way::Udp).unwrap_or_else(|error| panic!("{name}: {error}"));
    Message::from_vec(&answer).expect("an answer")
}

/// The addresses of a name, sorted; also no name at all has none.
pub fn addresses(pid: i32, name: &str, kind: RecordType) -> Vec<IpAddr> {
    let mut found = in_order(&ask(pid, name, kind));
    found.sort();
    found
}

/// The address that the C library finds for a name inside a service's container. Whether anybody answers there is another
/// matter: two cases at once may have the same subnet.
///
/// # Panics
/// When it finds none.
pub fn found_inside(hoist: &Sandbox, service: &str, name: &str) -> IpAddr {
    let said = hoist.exec(service, &format!("ping -c1 -W1 {name}")).all();
    let address = said
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    address
        .and_then(|(address, _)| address.parse().ok())
        .unwrap_or_else(|| panic!("no address of {name}: {said}"))
}

/// The addresses in an answer.
pub fn in_order(answer: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    answer.answers.iter().filter_map(address).collect()
}

/// The names in an answer.
pub fn names(answer: &Message) -> Vec<String> {
    let name = |record: &Record| match &record.data {
        RData::PTR(name) => Some(name.0.to_ascii()),
        _ => None,
    };
    answer.answers.iter().filter_map(name).collect()
}

/// Writes a message with its length in front.
///
/// # Errors
/// The kernel's.
pub fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())
}

/// Reads a message with its length in front.
///
/// # Errors
/// The kernel's.
pub fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

type Answer = dyn Fn(&Message, Way) -> Option<Message> + Send + Sync;

/// Questions in the order they came, and the way of each.
type Seen = Arc<Mutex<Vec<(Way, Vec<u8>)>>>;

/// A name server.
pub struct Resolver {
    /// Where it listens, on port 53.
    pub address: Ipv4Addr,
    seen: Seen,
    over: Arc<AtomicBool>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// An address of loopback that no other case of this run has.
    pub fn free_address() -> Ipv4Addr {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(
            127,
            64 | high & 63,
            low,
            NEXT.fetch_add(1, Ordering::Relaxed),
        )
    }

    /// One on loopback that says what `answer` says; nothing where that is `None`.
    pub fn new(answer: impl Fn(&Message, Way) -> Option<Message> + Send + Sync + 'static) -> Self {
        Self::at(Self::free_address(), answer)
    }

    /// One at an address of this thread's network.
    ///
    /// # Panics
    /// When somebody is there already.
    pub fn at(
        address: Ipv4Addr,
        answer: impl Fn(&Message, Way) -> Option<Message> + Send + Sync + 'static,
    ) -> Self {
        let packets = UdpSocket::bind((address, PORT)).expect("nobody else is here");
        let listener = TcpListener::bind((address, PORT)).expect("nobody else is here");
        let resolver = Self {
            address,
            seen: Arc::default(),
            over: Arc::default(),
        };
        let answer: Arc<Answer> = Arc::new(answer);
        // Neither waits for ever, so that both see the end.
        packets
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time limit");
        listener.set_nonblocking(true).expect("a flag");
        let (seen, over, says) = (resolver.seen.clone(), resolver.over.clone(), answer.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while !over.load(Ordering::Relaxed) {
                if let Ok((length, from)) = packets.recv_from(&mut buffer)
                    && let Some(answer) = reply(&buffer[..length], Way::Udp, &seen, &*says)
                {
                    drop(packets.send_to(&answer, from));
                }
            }
        });
        let (seen, over) = (resolver.seen.clone(), resolver.over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        let set = stream.set_nonblocking(false);
                        let set = set.and(stream.set_read_timeout(Some(Duration::from_secs(1))));
                        while set.is_ok()
                            && let Ok(bytes) = read_framed(&mut stream)
                            && let Some(answer) = reply(&bytes, Way::Tcp, &seen, &*answer)
                        {
                            drop(write_framed(&mut stream, &answer));
                        }
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        resolver
    }

    /// One that gives every name the same address.
    pub fn always(address: [u8; 4]) -> Self {
        Self::new(move |question, _| Some(with_address(question, address)))
    }

    /// One that hears and says nothing.
    pub fn silent() -> Self {
        Self::new(|_, _| None)
    }

    /// One that answers every question with a code.
    pub fn failing(code: ResponseCode) -> Self {
        Self::new(move |question, _| {
            let mut answer = question.clone().into_response();
            answer.metadata.response_code = code;
            Some(answer)
        })
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<(Way, Vec<u8>)> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The names it was asked for.
    pub fn asked(&self) -> Vec<String> {
        let name = |(_, bytes): &(Way, Vec<u8>)| {
            let message = Message::from_vec(bytes).ok()?;
            Some(message.queries.first()?.name().to_ascii())
        };
        self.seen().iter().filter_map(name).collect()
    }

    /// Waits until it was asked for a name.
    pub fn is_asked(&self, name: &str) {
        eventually(&format!("a question for {name}"), || {
            self.asked().iter().any(|asked| asked == name).then_some(())
        });
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn reply(
    bytes: &[u8],
    way: Way,
    seen: &Mutex<Vec<(Way, Vec<u8>)>>,
    answer: &Answer,
) -> Option<Vec<u8>> {
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((way, bytes.to_vec()));
    let question = Message::from_vec(bytes).ok()?;
    answer(&question, way)?.to_vec().ok()
}

/// The answer of one address; nothing to questions for other types.
pub fn with_address(question: &Message, address: [u8; 4]) -> Message {
    let mut answer = question.clone().into_response();
    answer.metadata.recursion_available = true;
    let asked = question.queries.first().expect("a question");
    if asked.query_type() == RecordType::A {
        let data = RData::A(A(address.into()));
        answer.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
    }
    answer
}

/// The answer that there is no such name.
pub fn no_such_name(question: &Message) -> Message {
    let mut answer = question.clone().into_response();
    answer.metadata.response_code = ResponseCode::NXDomain;
    answer
}

/// The port of a name server, for those who ask one themselves.
pub fn at(address: Ipv4Addr) -> SocketAddr {
    (address, PORT).into()
}
