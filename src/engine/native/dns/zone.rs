//! What is known without asking anybody: neighbours, links, the host.
//!
//! In: a question. Out: an answer, or that it must be forwarded. Files are read again only when they have
//! changed. Imports: `base`, `net`. As Docker: `libnetwork/sandbox_dns_unix.go`, `resolver.go`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::base::name::ContainerId;
use crate::engine::native::net::files::ResolvConf;
use crate::engine::native::net::{LeaseRecord, leases_path, read_leases};

/// Seconds an answer may be kept: replicas come and go.
const TTL: u32 = 5;
/// Longest answer over UDP for those who do not say otherwise, in bytes. Source: RFC 1035, 4.2.1.
const PLAIN: u16 = 512;
/// Names of the host, as Docker Desktop has them.
const HOST_NAMES: [&str; 2] = ["host.docker.internal", "gateway.docker.internal"];

/// Who is asked about names that are not in the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// The resolvers of this file, as it is at the time.
    File(PathBuf),
    /// These.
    Servers(Vec<IpAddr>),
    /// Nobody: all its networks are internal.
    Nobody,
}

/// What a container's names are made of.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The directory of all networks, [`Networks::dir`](crate::engine::native::net::Networks::dir).
    pub dir: PathBuf,
    /// Its networks, in order.
    pub networks: Vec<String>,
    /// Its own id.
    pub container: ContainerId,
    /// Its extra names for others: name → container name.
    pub links: Vec<(String, String)>,
    /// The host, as it sees it.
    pub gateway: Option<Ipv4Addr>,
    /// Who knows the rest.
    pub upstream: Upstream,
}

/// What is to be done about a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask these, in order.
    Forward(Vec<SocketAddr>),
    /// It is no question.
    Ignore,
}

/// Tells whether a file is another one than before.
type Stamp = (u64, i64, i64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

#[derive(Debug)]
struct Neighbours {
    network: String,
    stamp: Option<Stamp>,
    leases: Vec<LeaseRecord>,
}

/// A [`Zone`] with what was read for it.
#[derive(Debug)]
pub(super) struct Names {
    zone: Zone,
    neighbours: Vec<Neighbours>,
    servers: (Option<Stamp>, Vec<SocketAddr>),
    turn: usize,
}

impl Names {
    pub(super) fn new(zone: Zone) -> Self {
        let neighbours = |network: &String| Neighbours {
            network: network.clone(),
            stamp: None,
            leases: Vec::new(),
        };
        let neighbours = zone.networks.iter().map(neighbours).collect();
        Self {
            zone,
            neighbours,
            servers: (None, Vec::new()),
            turn: 0,
        }
    }
    fn refresh(&mut self) {
        for neighbours in &mut self.neighbours {
            let now = stamp(&leases_path(&self.zone.dir, &neighbours.network));
            if now == neighbours.stamp && now.is_some() {
                continue;
            }
            // A file that can't be read leaves what was known.
            if let Ok(leases) = read_leases(&self.zone.dir, &neighbours.network) {
                neighbours.leases = leases;
                neighbours.stamp = now;
            }
        }
    }
    fn servers(&mut self) -> Vec<SocketAddr> {
        const PORT: u16 = 53;
        let addresses = |servers: &[IpAddr]| -> Vec<SocketAddr> {
            servers
                .iter()
                .take(3)
                .map(|server| SocketAddr::new(*server, PORT))
                .collect()
        };
        match &self.zone.upstream {
            Upstream::Nobody => Vec::new(),
            Upstream::Servers(servers) => addresses(servers),
            Upstream::File(path) => {
                let now = stamp(path);
                if now != self.servers.0 || now.is_none() {
                    let text = std::fs::read_to_string(path).unwrap_or_default();
                    self.servers = (now, addresses(&ResolvConf::parse(&text).servers));
                }
                self.servers.1.clone()
            }
        }
    }
    /// Decides about one question. `limit` is the longest answer the transport can carry.
    pub(super) fn decide(&mut self, question: &[u8], limit: Limit) -> Step {
        let Ok(query) = Message::from_vec(question) else {
            return Step::Ignore;
        };
        if query.metadata.message_type != MessageType::Query {
            return Step::Ignore;
        }
        if query.metadata.op_code != OpCode::Query {
            return reply(&refuse(&query, ResponseCode::NotImp), limit);
        }
        if query.queries.len() != 1 {
            return reply(&refuse(&query, ResponseCode::FormErr), limit);
        }
        self.refresh();
        if let Some(answer) = self.answer(&query) {
            return reply(&answer, limit.of(&query));
        }
        let servers = self.servers();
        if servers.is_empty() {
            return reply(&refuse(&query, ResponseCode::ServFail), limit);
        }
        Step::Forward(servers)
    }
    fn answer(&mut self, query: &Message) -> Option<Message> {
        let asked = query.queries.first()?;
        if asked.query_class() != DNSClass::IN {
            return None;
        }
        let mut answer = refuse(query, ResponseCode::NoError);
        let mut add = |data| {
            answer.add_answer(Record::from_rdata(asked.name().clone(), TTL, data));
        };
        if asked.query_type() == RecordType::PTR {
            let net = asked.name().parse_arpa_name().ok()?;
            let IpAddr::V4(address) = net.addr() else {
                return None;
            };
            if net.prefix_len() != 32 {
                return None;
            }
            add(RData::PTR(PTR(self.name_of(address)?)));
        } else {
            let name = asked.name().to_ascii().to_ascii_lowercase();
            let addresses = self.addresses(name.trim_end_matches('.'))?;
            if matches!(asked.query_type(), RecordType::A | RecordType::ANY) {
                for address in addresses {
                    add(RData::A(A(address)));
                }
            }
        }
        Some(answer)
    }
    /// The addresses of a known name, each time beginning with another one.
    fn addresses(&mut self, name: &str) -> Option<Vec<Ipv4Addr>> {
        if HOST_NAMES.contains(&name) {
            return self.zone.gateway.map(|gateway| vec![gateway]);
        }
        let link = self
            .zone
            .links
            .iter()
            .find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        let wanted = link.map_or(name, |(_, container)| container.as_str());
        let mut found: Vec<Ipv4Addr> = Vec::new();
        for neighbours in &self.neighbours {
            // `web.demo_default` is `web` on that network only.
            let inside = wanted
                .len()
                .checked_sub(neighbours.network.len() + 1)
                .filter(|at| wanted.as_bytes().get(*at) == Some(&b'.'))
                .filter(|at| {
                    wanted
                        .get(at + 1..)
                        .is_some_and(|n| n.eq_ignore_ascii_case(&neighbours.network))
                })
                .and_then(|at| wanted.get(..at));
            for lease in &neighbours.leases {
                let has = |name: &str| {
                    lease.name.eq_ignore_ascii_case(name)
                        || lease
                            .aliases
                            .iter()
                            .any(|alias| alias.eq_ignore_ascii_case(name))
                };
                if has(wanted) || inside.is_some_and(has) {
                    found.extend(lease.lease.ipv4());
                }
            }
        }
        if found.is_empty() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let by = self.turn % found.len();
        found.rotate_left(by);
        Some(found)
    }
    fn name_of(&self, address: Ipv4Addr) -> Option<Name> {
        if Some(address) == self.zone.gateway {
            return Name::from_ascii(format!("{}.", HOST_NAMES[0])).ok();
        }
        self.neighbours.iter().find_map(|neighbours| {
            let lease = neighbours
                .leases
                .iter()
                .find(|lease| lease.lease.ipv4() == Some(address))?;
            Name::from_ascii(format!("{}.{}.", lease.name, neighbours.network)).ok()
        })
    }
}

/// Longest answer that a transport carries, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(u16);

impl Limit {
    /// What any asker over UDP takes.
    pub(super) const UDP: Self = Self(PLAIN);
    /// All that a length in front can tell.
    pub(super) const TCP: Self = Self(u16::MAX);
    fn of(self, query: &Message) -> Self {
        let said = query.edns.as_ref().map_or(PLAIN, |edns| edns.max_payload());
        Self(self.0.max(said.min(4096)))
    }
}

/// An answer without records.
fn refuse(query: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::error_msg(query.metadata.id, query.metadata.op_code, code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(query.queries.iter().cloned());
    answer
}

fn reply(answer: &Message, limit: Limit) -> Step {
    match answer.to_vec() {
        Ok(bytes) if bytes.len() <= usize::from(limit.0) => Step::Reply(bytes),
        Ok(_) => {
            let mut short = answer.clone();
            short.answers.clear();
            short.metadata.truncation = true;
            short.to_vec().map_or(Step::Ignore, Step::Reply)
        }
        Err(_) => Step::Ignore,
    }
}

/// The answer that nothing could be learned, to a question that was forwarded.
pub(super) fn server_failure(question: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(question).ok()?;
    refuse(&query, ResponseCode::ServFail).to_vec().ok()
}
