//! What is known without asking anybody: neighbours, links, the host.
//!
//! In: a question. Out: an answer, or that it must be forwarded. Files are read again only when they have
//! changed. Imports: `base`, `net`, `dns::resolvers`. As Docker: `libnetwork/sandbox_dns_unix.go`, `resolver.go`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;

use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use super::resolvers::{Stamp, Upstream, stamp};
use crate::engine::native::net::{leases_path, read_leases};

/// Seconds an answer may be kept: replicas come and go.
const TTL: u32 = 5;
/// Longest answer over UDP for those who do not say otherwise, in bytes. Source: RFC 1035, 4.2.1.
const PLAIN: u16 = 512;
/// Longest answer over UDP that is given, in bytes: no more fits into one packet everywhere.
const LONGEST: u16 = 4096;
/// Names of the host, as Docker Desktop has them.
const HOST_NAMES: [&str; 2] = ["host.docker.internal", "gateway.docker.internal"];

/// So many answers are kept for a while, to questions of at most so many bytes.
const RECENT: usize = 16;
const SHORT: usize = 128;

/// What a container's names are made of.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The directory of all networks, [`Networks::dir`](crate::engine::native::net::Networks::dir).
    pub dir: PathBuf,
    /// Its networks, in order: the first that knows a name answers for it.
    pub networks: Vec<String>,
    /// Its extra names for others: name → container name.
    pub links: Vec<(String, String)>,
    /// The host, as it sees it; without any there is no way to it.
    pub gateways: Vec<IpAddr>,
    /// Who knows the rest.
    pub upstream: Upstream,
}

/// What is to be done about a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask resolvers.
    Forward,
    /// It is no question.
    Ignore,
}

/// A container on a network, as far as names go.
#[derive(Debug)]
struct Neighbour {
    /// In small letters; the first is the container's own.
    names: Vec<Box<str>>,
    addresses: Vec<IpAddr>,
    /// Its own name as it is written.
    name: Box<str>,
}

#[derive(Debug)]
struct Neighbours {
    network: String,
    stamp: Option<Stamp>,
    all: Vec<Neighbour>,
}

impl Neighbours {
    fn refresh(&mut self, dir: &std::path::Path) {
        let now = stamp(&leases_path(dir, &self.network));
        if now == self.stamp && now.is_some() {
            return;
        }
        // A file that can't be read leaves what was known.
        if let Ok(leases) = read_leases(dir, &self.network) {
            let one = |lease: crate::engine::native::net::LeaseRecord| Neighbour {
                names: std::iter::once(&lease.name)
                    .chain(&lease.aliases)
                    .map(|name| name.to_ascii_lowercase().into())
                    .collect(),
                addresses: lease.lease.hosts().collect(),
                name: lease.name.into(),
            };
            self.all = leases.into_iter().map(one).collect();
            self.stamp = now;
        }
    }
    /// `web` of `web.demo_default`, if this is `demo_default`.
    fn inside<'n>(&self, name: &'n str) -> Option<&'n str> {
        let at = name.len().checked_sub(self.network.len() + 1)?;
        let (host, network) = (name.get(..at)?, name.get(at + 1..)?);
        let is_here =
            name.as_bytes().get(at) == Some(&b'.') && network.eq_ignore_ascii_case(&self.network);
        is_here.then_some(host)
    }
}

/// A [`Zone`] with what was read for it.
#[derive(Debug)]
pub(super) struct Names {
    zone: Zone,
    neighbours: Vec<Neighbours>,
    turn: usize,
    recent: VecDeque<Told>,
}

/// An answer that was given, to be given again while the networks are as they were.
#[derive(Debug)]
struct Told {
    /// The question behind its id, with all that an answer depends on.
    question: Box<[u8]>,
    limit: Limit,
    answer: Box<[u8]>,
    /// What the networks' files were.
    stamps: Box<[Option<Stamp>]>,
}

impl Names {
    pub(super) fn new(zone: Zone) -> Self {
        let neighbours = |network: &String| Neighbours {
            network: network.clone(),
            stamp: None,
            all: Vec::new(),
        };
        let neighbours = zone.networks.iter().map(neighbours).collect();
        Self {
            zone,
            neighbours,
            turn: 0,
            recent: VecDeque::new(),
        }
    }
    /// Decides about one question. `limit` is the longest answer the transport can carry.
    pub(super) fn decide(&mut self, question: &[u8], limit: Limit) -> Step {
        if let Some(answer) = self.told(question, limit) {
            return Step::Reply(answer);
        }
        let mut decoder = BinDecoder::new(question);
        let Ok(header) = Header::read(&mut decoder) else {
            return Step::Ignore;
        };
        if header.metadata.message_type != MessageType::Query {
            return Step::Ignore;
        }
        let plain = |code| reply(&mut empty(&header.metadata, None, code), limit, None);
        if header.metadata.op_code != OpCode::Query {
            return plain(ResponseCode::NotImp);
        }
        let asked = match Query::read(&mut decoder) {
            Ok(asked) if header.counts.queries == 1 => asked,
            _ => return plain(ResponseCode::FormErr),
        };
        let known = if asked.query_class() == DNSClass::IN {
            self.answer(&header.metadata, &asked)
        } else {
            None
        };
        let Some(mut answer) = known else {
            return Step::Forward;
        };
        let edns = match header.counts.additionals {
            0 => None,
            _ => match Message::from_vec(question) {
                Ok(query) => query.edns,
                Err(_) => return plain(ResponseCode::FormErr),
            },
        };
        let step = reply(&mut answer, limit, edns.as_ref());
        // Several addresses take turns.
        if let (Step::Reply(bytes), [_]) = (&step, &answer.answers[..]) {
            self.keep(question, limit, bytes);
        }
        step
    }
    /// What was answered to the same question before, if it still holds.
    fn told(&mut self, question: &[u8], limit: Limit) -> Option<Vec<u8>> {
        let (id, asked) = question.split_at_checked(2)?;
        let same = |told: &&Told| *told.question == *asked && told.limit == limit;
        let told = self.recent.iter().find(same)?;
        for neighbours in &mut self.neighbours {
            neighbours.refresh(&self.zone.dir);
        }
        let now = self.neighbours.iter().map(|one| &one.stamp);
        let mut answer = now.eq(&told.stamps).then(|| told.answer.to_vec())?;
        answer.get_mut(..2)?.copy_from_slice(id);
        Some(answer)
    }
    fn keep(&mut self, question: &[u8], limit: Limit, answer: &[u8]) {
        let Some((_, asked)) = question
            .split_at_checked(2)
            .filter(|_| question.len() <= SHORT)
        else {
            return;
        };
        self.recent
            .retain(|told| *told.question != *asked || told.limit != limit);
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(Told {
            question: asked.into(),
            limit,
            answer: answer.into(),
            stamps: self.neighbours.iter().map(|one| one.stamp).collect(),
        });
    }
    /// What is known about a name; `None` when others must be asked.
    fn answer(&mut self, about: &Metadata, asked: &Query) -> Option<Message> {
        let found = if asked.query_type() == RecordType::PTR {
            let net = asked.name().parse_arpa_name().ok()?;
            if net.prefix_len() != net.max_prefix_len() {
                return None;
            }
            vec![RData::PTR(PTR(self.name_of(net.addr())?))]
        } else {
            let name = asked.name().to_ascii().to_ascii_lowercase();
            let name = name.trim_end_matches('.');
            if HOST_NAMES.contains(&name) && self.zone.gateways.is_empty() {
                return Some(empty(about, Some(asked), ResponseCode::NXDomain));
            }
            self.addresses(name, asked.query_type())?
        };
        let mut answer = empty(about, Some(asked), ResponseCode::NoError);
        for data in found {
            answer.add_answer(Record::from_rdata(asked.name().clone(), TTL, data));
        }
        Some(answer)
    }
    /// The addresses of a known name, each time beginning with another one. As Docker: the first network that
    /// has one of the wanted kind. Without any of that kind the name is known nevertheless.
    fn addresses(&mut self, name: &str, kind: RecordType) -> Option<Vec<RData>> {
        let fits = |address: &&IpAddr| match kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            kind => kind == RecordType::ANY,
        };
        let data = |address: &IpAddr| RData::from(*address);
        if HOST_NAMES.contains(&name) {
            return Some(self.zone.gateways.iter().filter(fits).map(data).collect());
        }
        let mut known = false;
        for neighbours in &mut self.neighbours {
            neighbours.refresh(&self.zone.dir);
            let inside = neighbours.inside(name);
            let is_link = |alias: &str| {
                alias.eq_ignore_ascii_case(name)
                    || inside.is_some_and(|name| alias.eq_ignore_ascii_case(name))
            };
            let links = &self.zone.links;
            let linked: Vec<&str> = links
                .iter()
                .filter(|(alias, _)| is_link(alias))
                .map(|(_, container)| container.as_str())
                .collect();
            let is_meant = |one: &&Neighbour| {
                if linked.is_empty() {
                    let has = |name: &str| one.names.iter().any(|own| **own == *name);
                    has(name) || inside.is_some_and(has)
                } else {
                    linked.contains(&&*one.name)
                }
            };
            let mut found = Vec::new();
            for one in neighbours.all.iter().filter(is_meant) {
                known = true;
                found.extend(one.addresses.iter().filter(fits).map(data));
            }
            if !found.is_empty() {
                self.turn = self.turn.wrapping_add(1);
                let by = self.turn % found.len();
                found.rotate_left(by);
                return Some(found);
            }
        }
        known.then(Vec::new)
    }
    fn name_of(&mut self, address: IpAddr) -> Option<Name> {
        if self.zone.gateways.contains(&address) {
            return Name::from_ascii(format!("{}.", HOST_NAMES[0])).ok();
        }
        self.neighbours.iter_mut().find_map(|neighbours| {
            neighbours.refresh(&self.zone.dir);
            let has = |one: &&Neighbour| one.addresses.contains(&address);
            let one = neighbours.all.iter().find(has)?;
            Name::from_ascii(format!("{}.{}.", one.name, neighbours.network)).ok()
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
    fn of(self, edns: Option<&Edns>) -> Self {
        let said = edns.map_or(PLAIN, Edns::max_payload);
        Self(self.0.max(said.min(LONGEST)))
    }
}

/// An answer without records.
fn empty(about: &Metadata, asked: Option<&Query>, code: ResponseCode) -> Message {
    let mut answer = Message::error_msg(about.id, about.op_code, code);
    answer.metadata.recursion_desired = about.recursion_desired;
    answer.metadata.checking_disabled = about.checking_disabled;
    answer.metadata.recursion_available = true;
    answer.add_queries(asked.cloned());
    answer
}

/// Finishes an answer: who speaks EDNS is answered in kind, and what is too long says so.
fn reply(answer: &mut Message, limit: Limit, edns: Option<&Edns>) -> Step {
    if let Some(asked) = edns {
        let mut own = Edns::new();
        own.set_max_payload(LONGEST);
        own.set_dnssec_ok(asked.flags().dnssec_ok);
        answer.set_edns(own);
        if asked.version() > 0 {
            answer.metadata.response_code = ResponseCode::BADVERS;
            answer.answers.clear();
        }
    }
    let limit = usize::from(limit.of(edns).0);
    match answer.to_vec() {
        Ok(bytes) if bytes.len() <= limit => Step::Reply(bytes),
        Ok(_) => {
            answer.answers.clear();
            answer.metadata.truncation = true;
            answer.to_vec().map_or(Step::Ignore, Step::Reply)
        }
        Err(_) => Step::Ignore,
    }
}

/// The answer that nothing could be learned, to a question that was forwarded.
pub(super) fn server_failure(question: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(question);
    let header = Header::read(&mut decoder).ok()?;
    let asked = Query::read(&mut decoder).ok();
    let failure = empty(&header.metadata, asked.as_ref(), ResponseCode::ServFail);
    failure.to_vec().ok()
}
