//! Answers from text, and an answerer in a container of its own with a resolver outside.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::zone::{Limit, Names, Step};
use super::*;
use crate::engine::native::net::tests::lab;
use crate::sys::netlink::netns;

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query.to_vec().unwrap()
}

fn zone(dir: &Path, upstream: Upstream) -> Zone {
    Zone {
        dir: dir.to_owned(),
        networks: vec!["demo_default".to_owned()],
        links: vec![("database".to_owned(), "demo-db-1".to_owned())],
        gateways: vec![v4(1), v6(1)],
        upstream,
    }
}

/// A directory with one network of three containers; removed when dropped.
struct Records(PathBuf);

impl Records {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-dns-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("demo_default")).unwrap();
        let records = Self(dir);
        records.write(&[
            ("demo-web-1", "web", 2),
            ("demo-web-2", "web", 3),
            ("demo-db-1", "db", 4),
        ]);
        records
    }
    /// Containers whose number is odd have an IPv6 address too.
    fn write(&self, leases: &[(&str, &str, u8)]) {
        let addresses = |last: u8| match last % 2 {
            0 => vec![v4(last)],
            _ => vec![v4(last), v6(last)],
        };
        let lease = |(name, alias, last): &(&str, &str, u8)| {
            serde_json::json!({
                "container": name, "name": name, "aliases": [alias],
                "addresses": addresses(*last), "prefix": 16,
                "gateway": "10.5.0.1", "mac": [2, 66, 10, 5, 0, last],
            })
        };
        let leases: Vec<_> = leases.iter().map(lease).collect();
        let text = serde_json::json!({ "version": 1, "leases": leases }).to_string();
        let path = self.0.join("demo_default/leases.json");
        let how = crate::sys::fs::Durability::Renamed;
        crate::sys::fs::write_atomic(&path, text.as_bytes(), 0o600, how).unwrap();
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The answer's code and the addresses in it.
fn read(bytes: &[u8]) -> (ResponseCode, Vec<IpAddr>) {
    let answer = Message::from_vec(bytes).unwrap();
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    (
        answer.metadata.response_code,
        answer.answers.iter().filter_map(address).collect(),
    )
}

fn ask(names: &mut Names, name: &str, kind: RecordType) -> (ResponseCode, Vec<IpAddr>) {
    match names.decide(&question(name, kind), Limit::UDP) {
        Step::Reply(bytes) => read(&bytes),
        other => panic!("{other:?}"),
    }
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([10, 5, 0, last])
}

fn v6(last: u8) -> IpAddr {
    IpAddr::from([0xfd05, 0, 0, 0, 0, 0, 0, u16::from(last)])
}

fn reply(step: Step) -> Message {
    match step {
        Step::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn neighbours_are_known_by_name_alias_link_and_network() {
    let records = Records::new("names");
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    let known = |address| (ResponseCode::NoError, vec![address]);
    for name in ["db.", "DB.", "demo-db-1.", "database.", "db.demo_default."] {
        assert_eq!(ask(&mut names, name, RecordType::A), known(v4(4)), "{name}");
    }
    assert_eq!(
        ask(&mut names, "host.docker.internal.", RecordType::A),
        known(v4(1))
    );
    assert_eq!(
        ask(&mut names, "db.", RecordType::AAAA),
        (ResponseCode::NoError, vec![])
    );
    let forwarded =
        |names: &mut Names, name| names.decide(&question(name, RecordType::A), Limit::UDP);
    assert_eq!(forwarded(&mut names, "nobody."), Step::Forward);
    assert_eq!(forwarded(&mut names, "db.other_default."), Step::Forward);
}

#[test]
fn a_known_name_is_never_asked_for_elsewhere_whatever_the_type() {
    let records = Records::new("types");
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    let nothing = (ResponseCode::NoError, vec![]);
    for kind in [
        RecordType::AAAA,
        RecordType::MX,
        RecordType::TXT,
        RecordType::SRV,
        RecordType::HTTPS,
    ] {
        assert_eq!(ask(&mut names, "db.", kind), nothing, "{kind}");
    }
    assert_eq!(ask(&mut names, "demo-web-2.", RecordType::AAAA).1, [v6(3)]);
    assert_eq!(ask(&mut names, "demo-web-2.", RecordType::ANY).1.len(), 2);
    assert_eq!(
        ask(&mut names, "host.docker.internal.", RecordType::AAAA).1,
        [v6(1)]
    );
    assert_eq!(
        ask(&mut names, "gateway.docker.internal.", RecordType::TXT),
        nothing
    );
    let mut internal = zone(&records.0, Upstream::Nobody);
    internal.gateways.clear();
    let gone = (ResponseCode::NXDomain, vec![]);
    assert_eq!(
        ask(
            &mut Names::new(internal),
            "host.docker.internal.",
            RecordType::A
        ),
        gone
    );
}

#[test]
fn the_first_network_that_knows_a_name_answers_for_it() {
    let records = Records::new("first");
    std::fs::create_dir_all(records.0.join("second")).unwrap();
    let path = records.0.join("demo_default/leases.json");
    let text = std::fs::read_to_string(path)
        .unwrap()
        .replace("10.5.0", "10.6.0");
    std::fs::write(
        records.0.join("second/leases.json"),
        text.replace("demo-db-1", "other"),
    )
    .unwrap();
    let mut zone = zone(&records.0, Upstream::Nobody);
    zone.networks.push("second".to_owned());
    let mut names = Names::new(zone);
    assert_eq!(ask(&mut names, "db.", RecordType::A).1, [v4(4)]);
    let there = IpAddr::from([10, 6, 0, 4]);
    assert_eq!(ask(&mut names, "db.second.", RecordType::A).1, [there]);
    assert_eq!(ask(&mut names, "other.", RecordType::A).1, [there]);
}

#[test]
fn a_link_leads_to_the_container_of_that_name_and_no_other() {
    let records = Records::new("links");
    // Somebody else answers to the name of the container.
    records.write(&[("demo-db-1", "db", 4), ("evil", "demo-db-1", 6)]);
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    assert_eq!(ask(&mut names, "database.", RecordType::A).1, [v4(4)]);
    assert_eq!(
        ask(&mut names, "database.demo_default.", RecordType::A).1,
        [v4(4)]
    );
}

#[test]
fn who_speaks_of_extensions_is_answered_in_kind() {
    let records = Records::new("edns");
    let many: Vec<_> = (2..60).map(|last| ("demo-web-1", "web", last)).collect();
    records.write(&many);
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    let mut asked = Message::from_vec(&question("web.", RecordType::A)).unwrap();
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(true);
    asked.set_edns(edns.clone());
    let answer = reply(names.decide(&asked.to_vec().unwrap(), Limit::UDP));
    assert_eq!(answer.answers.len(), 58);
    assert!(
        answer
            .edns
            .as_ref()
            .is_some_and(|edns| edns.flags().dnssec_ok)
    );
    edns.set_max_payload(600);
    asked.set_edns(edns.clone());
    let answer = reply(names.decide(&asked.to_vec().unwrap(), Limit::UDP));
    assert!(answer.metadata.truncation && answer.edns.is_some());
    edns.set_version(1);
    asked.set_edns(edns);
    let answer = reply(names.decide(&asked.to_vec().unwrap(), Limit::UDP));
    // 16 has two names.
    assert_eq!(
        u16::from(answer.metadata.response_code),
        u16::from(ResponseCode::BADVERS)
    );
}

#[test]
fn replicas_take_turns_at_being_first() {
    let records = Records::new("turns");
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    let first = ask(&mut names, "web.", RecordType::A).1;
    let second = ask(&mut names, "web.", RecordType::A).1;
    assert_eq!(first.len(), 2);
    assert_eq!(first, second.iter().rev().copied().collect::<Vec<_>>());
}

#[test]
fn a_changed_file_is_read_again() {
    let records = Records::new("changed");
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    assert_eq!(ask(&mut names, "db.", RecordType::A).1, [v4(4)]);
    records.write(&[("demo-db-1", "db", 9)]);
    assert_eq!(ask(&mut names, "db.", RecordType::A).1, [v4(9)]);
}

#[test]
fn an_answer_that_was_given_is_given_again_as_long_as_it_holds_and_to_that_question_only() {
    let records = Records::new("again");
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    let mut asked = question("Db.", RecordType::A);
    for id in [7u8, 8, 9] {
        asked[1] = id;
        let answer = reply(names.decide(&asked, Limit::UDP));
        assert_eq!(answer.metadata.id.to_be_bytes(), [asked[0], id]);
        assert_eq!(answer.queries[0].name().to_ascii(), "Db.");
        assert_eq!(answer.answers.len(), 1);
    }
    let nothing = (ResponseCode::NoError, vec![]);
    assert_eq!(ask(&mut names, "Db.", RecordType::AAAA), nothing);
    records.write(&[("demo-db-1", "db", 9)]);
    let moved = (ResponseCode::NoError, vec![v4(9)]);
    assert_eq!(ask(&mut names, "Db.", RecordType::A), moved);
    records.write(&[]);
    let gone = names.decide(&question("Db.", RecordType::A), Limit::UDP);
    assert_eq!(gone, Step::Forward);
}

#[test]
fn addresses_of_neighbours_have_names_and_others_are_asked_for_elsewhere() {
    let records = Records::new("reverse");
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    let mut reverse = |name| names.decide(&question(name, RecordType::PTR), Limit::UDP);
    let mut name = |name| {
        let answer = reply(reverse(name));
        match &answer.answers[0].data {
            RData::PTR(name) => name.0.to_ascii(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(name("4.0.5.10.in-addr.arpa."), "demo-db-1.demo_default.");
    let sixth = format!("3.{}5.0.d.f.ip6.arpa.", "0.".repeat(27));
    assert_eq!(name(&sixth), "demo-web-2.demo_default.");
    assert_eq!(name("1.0.5.10.in-addr.arpa."), "host.docker.internal.");
    for other in [
        "9.9.5.10.in-addr.arpa.",
        "5.10.in-addr.arpa.",
        "x.in-addr.arpa.",
    ] {
        assert_eq!(reverse(other), Step::Forward, "{other}");
    }
}

#[test]
fn an_answer_that_is_too_long_for_a_packet_says_so() {
    let records = Records::new("long");
    let many: Vec<_> = (2..60).map(|last| ("demo-web-1", "web", last)).collect();
    records.write(&many);
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    let asked = question("web.", RecordType::A);
    let Step::Reply(short) = names.decide(&asked, Limit::UDP) else {
        panic!()
    };
    assert!(Message::from_vec(&short).unwrap().metadata.truncation);
    let Step::Reply(whole) = names.decide(&asked, Limit::TCP) else {
        panic!()
    };
    assert_eq!(read(&whole).1.len(), 58);
}

#[test]
fn what_is_no_question_gets_no_answer() {
    let records = Records::new("junk");
    let mut names = Names::new(zone(&records.0, Upstream::Nobody));
    assert_eq!(names.decide(b"", Limit::UDP), Step::Ignore);
    assert_eq!(names.decide(&[0xff; 40], Limit::UDP), Step::Ignore);
    // A name that points to itself, one that goes on beyond the end, two questions, another operation.
    let header = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let code = |names: &mut Names, tail: &[u8], at: usize, byte: u8| {
        let mut bytes = [&header[..], tail].concat();
        bytes[at] = byte;
        let answer = reply(names.decide(&bytes, Limit::UDP));
        assert_eq!(answer.metadata.id, 0x0707);
        answer.metadata.response_code
    };
    let whole = b"\x02db\0\0\x01\0\x01";
    for (tail, at, byte, wanted) in [
        (&b"\xc0\x0c\0\x01\0\x01"[..], 0, 7, ResponseCode::FormErr),
        (b"\x3fdb", 0, 7, ResponseCode::FormErr),
        (b"", 0, 7, ResponseCode::FormErr),
        (whole, 5, 2, ResponseCode::FormErr),
        (whole, 11, 1, ResponseCode::FormErr),
        (whole, 2, 0x29, ResponseCode::NotImp),
        (whole, 0, 7, ResponseCode::NoError),
    ] {
        assert_eq!(
            code(&mut names, tail, at, byte),
            wanted,
            "{tail:?} {at} {byte}"
        );
    }
    let mut answer = question("db.", RecordType::A);
    answer[2] |= 0x80;
    assert_eq!(names.decide(&answer, Limit::UDP), Step::Ignore);
}

/// Answers over UDP and TCP, with 203.0.113.7, until the test is over.
fn resolver(outside: &std::os::fd::OwnedFd) {
    fn answer(question: &[u8]) -> Vec<u8> {
        let mut answer = Message::from_vec(question).unwrap().into_response();
        let name = answer.queries[0].name().clone();
        let data = RData::A(A(Ipv4Addr::new(203, 0, 113, 7)));
        answer.add_answer(Record::from_rdata(name, 60, data));
        answer.to_vec().unwrap()
    }
    let (packets, listener) = netns::within(outside.as_fd(), || {
        let packets = UdpSocket::bind((lab::OUTSIDE, 53))?;
        Ok((packets, std::net::TcpListener::bind((lab::OUTSIDE, 53))?))
    })
    .unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = packets.recv_from(&mut buffer) {
            packets.send_to(&answer(&buffer[..length]), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            stream
                .write_all(&super::link::framed(&answer(&question)))
                .unwrap();
        }
    });
}

/// Drives the answerer until `done` has something.
#[track_caller]
fn drive<T>(answerer: &mut Answerer, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(Instant::now() < end, "no answer came");
        let mut fds = [PollFd::new(answerer.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(5u8)).unwrap();
        answerer.turn();
    }
}

#[test]
fn a_container_asks_its_answerer_over_udp_and_tcp_and_may_be_a_name_server_itself() {
    lab::on_own_host(|lab| {
        lab.networks.create(&lab::spec("one")).unwrap();
        let (web, db) = (lab.container("web", "one"), lab.container("db", "one"));
        resolver(&lab.outside);
        // The first resolver is nobody: the next one is asked.
        let upstream = Upstream::Servers {
            addresses: vec![IpAddr::from([127, 0, 0, 2]), IpAddr::V4(lab::OUTSIDE)],
            rotate: false,
        };
        let mut zone = zone(lab.networks.dir(), upstream);
        zone.networks = vec!["one".to_owned()];
        let mut answerer = Answerer::open(web.netns.as_fd(), zone.clone()).unwrap();
        let server = SocketAddr::from(([127, 0, 0, 11], 53));
        let (packets, mut stream, _own) = netns::within(web.netns.as_fd(), || {
            let own = UdpSocket::bind("127.0.0.1:53")?;
            let packets = UdpSocket::bind("127.0.0.1:0")?;
            packets.connect(server)?;
            packets.set_nonblocking(true)?;
            let stream = TcpStream::connect(server)?;
            stream.set_nonblocking(true)?;
            Ok((packets, stream, own))
        })
        .unwrap();
        let far = (ResponseCode::NoError, vec![IpAddr::from([203, 0, 113, 7])]);
        let near = (ResponseCode::NoError, db.lease.hosts().collect());
        for (name, wanted) in [("db.", &near), ("example.test.", &far)] {
            packets.send(&question(name, RecordType::A)).unwrap();
            let mut buffer = [0; 512];
            let length = drive(&mut answerer, || packets.recv(&mut buffer).ok());
            assert_eq!(read(&buffer[..length]), *wanted, "{name}");
        }
        for (name, wanted) in [("db.", &near), ("example.test.", &far)] {
            stream
                .write_all(&super::link::framed(&question(name, RecordType::A)))
                .unwrap();
            let mut input = Vec::new();
            let answer = drive(&mut answerer, || {
                let mut buffer = [0; 512];
                if let Ok(length) = stream.read(&mut buffer) {
                    input.extend_from_slice(&buffer[..length]);
                }
                super::link::unframe(&mut input)
            });
            assert_eq!(read(&answer), *wanted, "{name}");
        }
        assert!(
            answerer
                .deadline()
                .is_some_and(|left| left <= Duration::from_secs(10))
        );
        // After its supervisor was killed the next one takes over.
        drop(answerer);
        let mut answerer = Answerer::open(web.netns.as_fd(), zone).unwrap();
        packets.send(&question("db.", RecordType::A)).unwrap();
        let mut buffer = [0; 512];
        let length = drive(&mut answerer, || {
            packets.recv(&mut buffer).ok().or_else(|| {
                let _ = packets.send(&question("db.", RecordType::A));
                None
            })
        });
        assert_eq!(read(&buffer[..length]), near);
    });
}
