//! Resolvers: who is asked about names that no container has, when they fail, and how questions and answers travel.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record, RecordType};

use crate::harness::resolver::{
    ANSWERER, Resolver, Way, addresses, ask, at, found_inside, in_order, inside, no_such_name,
    question, read_framed, send, with_address, write_framed,
};
use crate::harness::{ENGINE, Sandbox, eventually, patience, slowness};

crate::cases!(ENGINE;
    the_hosts_resolvers_are_followed_when_they_change,
    servers_of_a_service_are_asked_from_inside_it,
    resolvers_are_asked_in_order_and_in_turns,
    a_dead_resolver_delays_neither_neighbours_nor_many_questions,
    a_resolver_that_fails_sends_the_question_to_the_next_one,
    search_domains_and_options_are_those_asked_for,
    questions_and_answers_pass_unchanged_whatever_their_size,
    no_resolver_overrules_a_name_of_the_project,
    nonsense_and_floods_leave_the_name_server_and_its_container_alive,
    slow_clients_do_not_keep_others_out,
);

const ONE: &str = "services: {c: {SLEEP}}\n";

fn v4(last: u8) -> [u8; 4] {
    [192, 0, 2, last]
}

fn is(pid: i32, name: &str, last: u8) -> bool {
    addresses(pid, name, RecordType::A) == [std::net::IpAddr::from(v4(last))]
}

/// Replaces a file as a program does that is careful.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("it is ours");
    std::fs::rename(&beside, path).expect("it is ours");
}

fn the_hosts_resolvers_are_followed_when_they_change() {
    let mut hoist = Sandbox::new();
    let etc = hoist.own_etc();
    let conf = etc.join("resolv.conf");
    let [one, two, three] = [1, 2, 3].map(|last| Resolver::always(v4(last)));
    let line = |resolver: &Resolver| format!("nameserver {}\nsearch corp.test\n", resolver.address);
    std::fs::write(&conf, line(&one)).expect("it is ours");
    hoist.compose(ONE).ok("up -d");
    let pid = hoist.init("c");
    assert!(is(pid, "a.test", 1));
    // A VPN comes up: the file is replaced.
    replace(&conf, &line(&two));
    assert!(is(pid, "a.test", 2), "after a file was replaced");
    // It goes down: the file is rewritten in place.
    std::fs::write(&conf, line(&one)).expect("it is ours");
    assert!(is(pid, "a.test", 1), "after a file was rewritten");
    // A link is put in its place, and then leads elsewhere.
    for (name, resolver, last) in [("stub", &two, 2), ("full", &three, 3)] {
        std::fs::write(etc.join(name), line(resolver)).expect("it is ours");
        let link = etc.join("link");
        std::os::unix::fs::symlink(name, &link).expect("it is ours");
        std::fs::rename(&link, &conf).expect("it is ours");
        assert!(is(pid, "a.test", last), "after a link led to {name}");
    }
    // It goes, and comes back; without it this machine itself is asked, as the C library does.
    std::fs::remove_file(&conf).expect("it is ours");
    let began = Instant::now();
    let answer = ask(pid, "a.test", RecordType::A);
    assert!(
        in_order(&answer)
            .iter()
            .all(|address| *address != std::net::IpAddr::from(v4(3)))
    );
    assert!(began.elapsed() < Duration::from_secs(20) * slowness());
    replace(&conf, &line(&one));
    assert!(is(pid, "a.test", 1), "after a file came back");
    assert_eq!(
        hoist.sh("c", "cat /etc/resolv.conf"),
        "nameserver 127.0.0.11\nsearch corp.test\noptions ndots:0"
    );
    // A container may start before there are resolvers.
    std::fs::remove_file(&conf).expect("it is ours");
    hoist.ok("up -d --force-recreate");
    replace(&conf, &line(&two));
    assert!(
        is(hoist.init("c"), "a.test", 2),
        "of a file that came later"
    );
}

fn servers_of_a_service_are_asked_from_inside_it() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  s: {SLEEP, networks: {n: {ipv4_address: 10.213.7.53}}}\n  a: {SLEEP, networks: [n], dns: [10.213.7.53]}\n  b: \
         {SLEEP, networks: [n], dns: [127.0.0.1]}\n  i: {SLEEP, networks: [in], dns: [127.0.0.1]}\nnetworks: {n: {ipam: {config: \
         [{subnet: 10.213.7.0/24}]}}, in: {internal: true}}\n",
    );
    hoist.ok("up -d");
    let neighbour = inside(hoist.init("s"), || {
        Resolver::at(Ipv4Addr::UNSPECIFIED, |question, _| {
            Some(with_address(question, v4(4)))
        })
    });
    assert!(is(hoist.init("a"), "away.test", 4));
    assert_eq!(neighbour.asked(), ["away.test."]);
    // Itself: also where it is shut in, since that leads nowhere.
    for service in ["b", "i"] {
        let pid = hoist.init(service);
        let own = inside(pid, || {
            Resolver::at(Ipv4Addr::LOCALHOST, |question, _| {
                Some(with_address(question, v4(5)))
            })
        });
        assert!(is(pid, "away.test", 5), "{service}");
        assert!(addresses(pid, service, RecordType::A).len() == 1);
        assert_eq!(own.asked(), ["away.test."]);
    }
}

fn resolvers_are_asked_in_order_and_in_turns() {
    let mut hoist = Sandbox::new();
    let etc = hoist.own_etc();
    let some: Vec<Resolver> = (1..=4).map(|last| Resolver::always(v4(last))).collect();
    let lines: String = some
        .iter()
        .map(|one| format!("nameserver {}\n", one.address))
        .collect();
    replace(&etc.join("resolv.conf"), &lines);
    hoist.compose(ONE).ok("up -d");
    let pid = hoist.init("c");
    assert!((0..4).all(|_| is(pid, "a.test", 1)), "the first answers");
    replace(
        &etc.join("resolv.conf"),
        &format!("{lines}options rotate\n"),
    );
    for _ in 0..8 {
        ask(pid, "b.test", RecordType::A);
    }
    let each: Vec<usize> = some.iter().map(|one| one.asked().len()).collect();
    assert!(each.iter().all(|count| *count >= 2), "{each:?}");
}

fn a_dead_resolver_delays_neither_neighbours_nor_many_questions() {
    let mut hoist = Sandbox::new();
    let etc = hoist.own_etc();
    let (dead, alive) = (Resolver::silent(), Resolver::always(v4(1)));
    let lines = format!(
        "nameserver {}\nnameserver {}\n",
        dead.address, alive.address
    );
    replace(&etc.join("resolv.conf"), &lines);
    hoist
        .compose("services: {c: {SLEEP}, d: {SLEEP}}\n")
        .ok("up -d");
    let pid = hoist.init("c");
    let began = Instant::now();
    assert!(is(pid, "a.test", 1));
    let first = began.elapsed();
    assert!(
        first < Duration::from_secs(2) * slowness(),
        "the next one was asked after {first:?}"
    );
    // Once it has been silent for long it is asked last.
    eventually("the dead one is passed over", || {
        let began = Instant::now();
        assert!(is(pid, "b.test", 1));
        (began.elapsed() < Duration::from_millis(200) * slowness()).then_some(())
    });
    drop(alive);
    replace(
        &etc.join("resolv.conf"),
        &format!("nameserver {}\n", dead.address),
    );
    // Questions that nobody answers are under way; neighbours answer, and so does the supervisor.
    let flood = inside(pid, || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        for number in 0..400 {
            let bytes = question(&format!("n{number}.test"), RecordType::A).to_vec();
            let _ = socket.send_to(&bytes.expect("it is short"), at(ANSWERER));
        }
        socket
    });
    dead.is_asked("n9.test.");
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(addresses(pid, "d", RecordType::A).len(), 1);
            began.elapsed()
        })
        .collect();
    times.sort();
    assert!(
        times[10] < Duration::from_millis(200) * slowness(),
        "{times:?}"
    );
    hoist.sh("c", "true");
    // Those that were too many are told so at once.
    flood
        .set_read_timeout(Some(patience()))
        .expect("a time limit");
    let mut bytes = [0; 512];
    let length = flood.recv(&mut bytes).expect("an answer");
    let answer = Message::from_vec(&bytes[..length]).expect("a message");
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

fn a_resolver_that_fails_sends_the_question_to_the_next_one() {
    let mut hoist = Sandbox::new();
    let conf = hoist.own_etc().join("resolv.conf");
    let alive = Resolver::always(v4(1));
    let failing = [ResponseCode::ServFail, ResponseCode::Refused].map(Resolver::failing);
    // Nobody listens there.
    let closed = Resolver::free_address();
    let first = [closed, failing[0].address, failing[1].address];
    replace(
        &conf,
        &format!("nameserver {}\nnameserver {}\n", first[0], alive.address),
    );
    hoist.compose(ONE).ok("up -d");
    let pid = hoist.init("c");
    for address in first {
        replace(
            &conf,
            &format!("nameserver {address}\nnameserver {}\n", alive.address),
        );
        let times: Vec<Duration> = (0..5)
            .map(|_| {
                let began = Instant::now();
                assert!(is(pid, "a.test", 1), "{address}");
                began.elapsed()
            })
            .collect();
        // Sooner than one that says nothing is given up.
        let quick = Duration::from_millis(300) * slowness();
        assert!(
            times.iter().any(|time| *time < quick),
            "{address}: {times:?}"
        );
    }
    // One that only knows less than the one before it is not believed first.
    let slow = Resolver::new(|question, _| {
        std::thread::sleep(Duration::from_millis(700));
        Some(with_address(question, v4(2)))
    });
    let ignorant = Resolver::new(|question, _| Some(no_such_name(question)));
    replace(
        &conf,
        &format!(
            "nameserver {}\nnameserver {}\n",
            slow.address, ignorant.address
        ),
    );
    assert!(is(pid, "inner.test", 2), "the slow one knows");
    // What all say is said.
    replace(&conf, &format!("nameserver {}\n", failing[1].address));
    assert_eq!(
        ask(pid, "a.test", RecordType::A).metadata.response_code,
        ResponseCode::Refused
    );
    replace(&conf, &format!("nameserver {closed}\n"));
    let began = Instant::now();
    assert_eq!(
        ask(pid, "a.test", RecordType::A).metadata.response_code,
        ResponseCode::ServFail
    );
    assert!(
        began.elapsed() < Duration::from_secs(1) * slowness(),
        "nobody is there, which is known at once"
    );
}

fn search_domains_and_options_are_those_asked_for() {
    let mut hoist = Sandbox::new();
    let conf = hoist.own_etc().join("resolv.conf");
    let resolver = Resolver::new(|question, _| {
        let name = question.queries[0].name().to_ascii();
        Some(if name.ends_with("corp.test.") {
            with_address(question, v4(1))
        } else {
            no_such_name(question)
        })
    });
    let text = format!(
        "nameserver {}\nsearch host.test\noptions timeout:3 edns0 trust-ad\n",
        resolver.address
    );
    replace(&conf, &text);
    let many: Vec<String> = (0..12).map(|number| format!("d{number}.test")).collect();
    hoist.compose(&format!(
        "services:\n  plain: {{SLEEP}}\n  own: {{SLEEP, dns_search: [corp.test], dns_opt: ['ndots:2', use-vc, 'timeout:1', \
         'attempts:1', rotate]}}\n  none: {{SLEEP, dns_search: ['.']}}\n  one: {{SLEEP, dns_search: corp.test}}\n  many: {{SLEEP, \
         dns_search: [{}]}}\n",
        many.join(", ")
    ));
    hoist.ok("up -d");
    let file = |service: &str| hoist.sh(service, "cat /etc/resolv.conf");
    assert_eq!(
        file("plain"),
        "nameserver 127.0.0.11\nsearch host.test\noptions timeout:3 ndots:0"
    );
    assert_eq!(
        file("own"),
        "nameserver 127.0.0.11\nsearch corp.test\noptions ndots:2 use-vc timeout:1 attempts:1 rotate"
    );
    assert!(!file("none").contains("search"));
    assert!(file("one").contains("search corp.test"));
    assert!(file("many").contains(&format!("search {}\n", many.join(" "))));
    // The library inside acts on them: a name with a dot is a short one where two are asked for.
    hoist.sh("one", "ping -c1 -W1 api; true");
    resolver.is_asked("api.corp.test.");
    hoist.sh("own", "ping -c1 -W1 api.v1; true");
    resolver.is_asked("api.v1.corp.test.");
    let by_connection = |(way, bytes): &(Way, Vec<u8>)| {
        let name = Message::from_vec(bytes)
            .ok()
            .map(|asked| asked.queries[0].name().to_ascii());
        *way == Way::Tcp && name.as_deref() == Some("api.v1.corp.test.")
    };
    assert!(
        resolver.seen().iter().any(by_connection),
        "use-vc asks by connections"
    );
    let order = resolver.asked();
    let place = |name: &str| order.iter().position(|asked| asked == name);
    assert!(
        place("api.v1.").is_none_or(|at| Some(at) > place("api.v1.corp.test.")),
        "{order:?}"
    );
    // A service is found whatever is searched.
    for service in ["plain", "own", "none", "many"] {
        found_inside(&hoist, service, "one");
    }
}

/// An answer of so many addresses, cut where the asker takes less.
fn large(question: &Message, way: Way) -> Message {
    let mut answer = question.clone().into_response();
    let name = question.queries[0].name().clone();
    let count = if question.queries[0].query_type() == RecordType::A {
        120
    } else {
        0
    };
    for last in 0..count {
        answer.add_answer(Record::from_rdata(
            name.clone(),
            60,
            RData::A(A(v4(last).into())),
        ));
    }
    // Without it the C library takes an empty answer for that of a server that knows nothing.
    answer.metadata.recursion_available = true;
    answer.edns = question.edns.clone();
    let room = match way {
        Way::Udp => question
            .edns
            .as_ref()
            .map_or(512, |edns| usize::from(edns.max_payload())),
        Way::Tcp => usize::MAX,
    };
    if answer.to_vec().map_or(0, |bytes| bytes.len()) > room {
        answer = answer.truncate();
    }
    answer
}

fn questions_and_answers_pass_unchanged_whatever_their_size() {
    let hoist = Sandbox::new();
    hoist
        .compose("services: {c: {SLEEP, dns: [127.0.0.1]}}\n")
        .ok("up -d");
    let pid = hoist.init("c");
    let resolver = inside(pid, || {
        Resolver::at(Ipv4Addr::LOCALHOST, |question, way| {
            Some(large(question, way))
        })
    });
    let exchange = |asked: &Message, way| {
        let bytes = asked.to_vec().expect("it is short");
        Message::from_vec(&send(pid, &bytes, way).expect("an answer")).expect("a message")
    };
    let mut asked = question("big.test", RecordType::A);
    let short = exchange(&asked, Way::Udp);
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(exchange(&asked, Way::Tcp).answers.len(), 120);
    // The library inside asks again by itself.
    let found = found_inside(&hoist, "c", "big.test").to_string();
    assert!(found.starts_with("192.0.2."), "{found}");
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    let cookie = EdnsOption::Unknown(EdnsCode::Cookie.into(), vec![1, 2, 3, 4, 5, 6, 7, 8]);
    edns.options_mut().insert(cookie.clone());
    asked.set_edns(edns);
    asked.metadata.checking_disabled = true;
    asked.metadata.authentic_data = true;
    let answer = exchange(&asked, Way::Udp);
    assert_eq!(
        answer.answers.len(),
        120,
        "in one packet of nearly 2000 bytes"
    );
    assert_eq!(answer.metadata.id, asked.metadata.id);
    let edns = answer.edns.expect("it speaks of extensions");
    assert!(edns.flags().dnssec_ok);
    assert_eq!(edns.option(EdnsCode::Cookie), Some(&cookie));
    // All but the id is what was sent.
    let sent = asked.to_vec().expect("it is short");
    let seen = resolver.seen();
    let (_, last) = seen.last().expect("a question");
    assert_eq!(last[2..], sent[2..]);
    // Where packets only are answered, those who come by a connection are helped too.
    drop(resolver);
    let packets = eventually("the port is free again", || {
        inside(pid, || UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).ok())
    });
    packets
        .set_read_timeout(Some(patience()))
        .expect("a time limit");
    let server = std::thread::spawn(move || {
        let mut bytes = [0; 512];
        let (length, from) = packets.recv_from(&mut bytes).expect("a question");
        let asked = Message::from_vec(&bytes[..length]).expect("a message");
        let answer = with_address(&asked, v4(9)).to_vec().expect("it is short");
        packets.send_to(&answer, from).expect("it is sent");
    });
    let answer = eventually("an answer by packet", || {
        let answer = exchange(&question("small.test", RecordType::A), Way::Tcp);
        (!answer.answers.is_empty()).then_some(answer)
    });
    assert_eq!(in_order(&answer), [std::net::IpAddr::from(v4(9))]);
    server.join().expect("the server was asked");
}

fn no_resolver_overrules_a_name_of_the_project() {
    let mut hoist = Sandbox::new();
    let conf = hoist.own_etc().join("resolv.conf");
    let liar = Resolver::always([10, 66, 66, 66]);
    replace(&conf, &format!("nameserver {}\n", liar.address));
    hoist
        .compose("services: {a: {SLEEP}, c: {SLEEP, links: ['a:linked']}}\n")
        .ok("up -d");
    let pid = hoist.init("c");
    let lie = std::net::IpAddr::from([10, 66, 66, 66]);
    let full = format!("{0}-a-1.{0}_default", hoist.name);
    for name in [
        "a",
        "linked",
        &full,
        "host.docker.internal",
        "gateway.docker.internal",
    ] {
        for kind in [
            RecordType::A,
            RecordType::AAAA,
            RecordType::HTTPS,
            RecordType::MX,
        ] {
            assert!(!addresses(pid, name, kind).contains(&lie), "{name}");
        }
    }
    assert_eq!(
        liar.asked(),
        Vec::<String>::new(),
        "none of them is asked for elsewhere"
    );
    // Of other names it may say what it likes: private networks live by that.
    assert_eq!(addresses(pid, "nas.home.test", RecordType::A), [lie]);
}

fn nonsense_and_floods_leave_the_name_server_and_its_container_alive() {
    let hoist = Sandbox::new();
    hoist
        .compose("services: {a: {SLEEP}, c: {SLEEP, dns: [127.0.0.1]}}\n")
        .ok("up -d");
    let pid = hoist.init("c");
    let code = |bytes: &[u8]| {
        let answer = send(pid, bytes, Way::Udp).expect("an answer");
        assert_eq!(answer[..2], bytes[..2]);
        answer[3] & 15
    };
    let good = question("a", RecordType::A).to_vec().expect("it is short");
    let mut circle = good.clone();
    circle.splice(12.., [0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(code(&circle), 1, "a name that points to itself");
    assert_eq!(code(&good[..14]), 1, "a name that ends too early");
    let mut two = good.clone();
    two[5] = 2;
    assert_eq!(code(&two), 1, "more questions than there are");
    let mut update = good.clone();
    update[2] |= 5 << 3;
    assert_eq!(code(&update), 4, "another operation");
    // Packets without a sense, the longest there are, and answers nobody asked for.
    inside(pid, || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        for round in 0..2000u32 {
            let length = [0, 1, 11, 12, 13, 40, 512, 4095, 4096, 9000][round as usize % 10];
            let bytes: Vec<u8> = (0..length)
                .map(|at| (at as u32 * 31 + round * 17) as u8)
                .collect();
            let _ = socket.send_to(&bytes, at(ANSWERER));
            let mut answer = good.clone();
            answer[2] |= 0x80;
            let _ = socket.send_to(&answer, at(ANSWERER));
        }
        let mut stream = TcpStream::connect((ANSWERER, 53)).expect("it listens");
        let _ = std::io::Write::write_all(&mut stream, &[0xff; 300_000]);
    });
    let began = Instant::now();
    assert_eq!(addresses(pid, "a", RecordType::A).len(), 1);
    hoist.sh("c", "true");
    assert!(began.elapsed() < Duration::from_secs(10) * slowness());
    assert_eq!(hoist.state("c"), "running");
}

fn slow_clients_do_not_keep_others_out() {
    let hoist = Sandbox::new();
    hoist
        .compose("services: {a: {SLEEP}, c: {SLEEP}}\n")
        .ok("up -d");
    let pid = hoist.init("c");
    let bytes = question("a", RecordType::A).to_vec().expect("it is short");
    inside(pid, || {
        let connect = || TcpStream::connect((ANSWERER, 53)).expect("it listens");
        // Some say nothing, some half a question.
        let mut idle: Vec<TcpStream> = (0..60).map(|_| connect()).collect();
        for stream in idle.iter_mut().step_by(2) {
            let _ = std::io::Write::write_all(stream, &[0]);
        }
        let mut stream = connect();
        stream
            .set_read_timeout(Some(patience()))
            .expect("a time limit");
        write_framed(&mut stream, &bytes).expect("it is sent");
        let answer = read_framed(&mut stream).expect("an answer in spite of the others");
        assert_eq!(
            Message::from_vec(&answer).expect("a message").answers.len(),
            1
        );
        // One asks and asks without reading; then it reads, and all is there.
        for _ in 0..500 {
            write_framed(&mut stream, &bytes).expect("it is sent");
        }
        for number in 0..500 {
            let answer = read_framed(&mut stream);
            assert!(answer.is_ok(), "{number}: {answer:?}");
        }
        // A question by halves is one question.
        let framed = [
            &[0, u8::try_from(bytes.len()).expect("it is short")][..],
            &bytes,
        ]
        .concat();
        for part in framed.chunks(5) {
            std::io::Write::write_all(&mut stream, part).expect("it is sent");
        }
        assert!(read_framed(&mut stream).is_ok());
        // Who says nothing for long is let go.
        let mut end = [0; 1];
        stream
            .set_read_timeout(Some(patience() * 2))
            .expect("a time limit");
        assert_eq!(stream.read(&mut end).expect("an end"), 0);
    });
}
