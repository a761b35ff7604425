//! Published ports, seen from the host, from another machine, and from inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use crate::harness::outside::{BIG, Outside, has_v6};
use crate::harness::{Need, Running, Sandbox, eventually, http, ports, program};

/// What all of these need.
const TOOLS: [Need; 5] = [
    Need::Root,
    Need::Busybox,
    Need::Program("ip"),
    Need::Program("unshare"),
    Need::Program("nft"),
];

/// Cases that ask as another machine would.
pub mod asked {
    use super::*;

    crate::cases!(&[TOOLS[0], TOOLS[1], TOOLS[2], TOOLS[3], TOOLS[4], Need::Program("dig")];
        the_other_machine_serves_and_asks,
    );
}

/// Cases that look at the connections that the kernel knows of.
pub mod tracked {
    use super::*;

    crate::cases!(&[TOOLS[0], TOOLS[1], TOOLS[2], TOOLS[3], TOOLS[4], Need::Program("conntrack")];
        rules_and_connections_go_with_the_container,
    );
}

/// Cases about IPv6 alone.
pub mod six {
    use super::*;

    crate::cases!(&[TOOLS[0], TOOLS[1], TOOLS[2], TOOLS[3], TOOLS[4], Need::Ipv6];
        localhost_is_both_of_its_addresses,
        a_supervisor_that_takes_over_passes_on_as_before,
    );
}

crate::cases!(&TOOLS;
    another_machine_reaches_published_ports_with_its_own_address,
    another_machine_reaches_nothing_that_is_not_published,
    a_port_of_one_address_is_reached_there_only,
    a_published_port_is_shown_as_docker_does,
    an_address_that_the_host_does_not_have_is_an_error,
    datagrams_are_answered_over_both_versions_of_ip,
    replicas_take_a_port_of_the_range_each,
    everyone_on_the_machine_reaches_a_published_port,
    a_taken_port_names_its_holder,
    two_services_with_one_port_are_told_before_anything_starts,
    networks_that_publish_nothing_say_so,
    a_shared_network_is_reached_by_the_owners_ports,
    traffic_to_a_container_passes_no_process,
    ports_are_published_while_the_rules_are_gone,
);

/// A service that answers its name at `/i` on port 80, and the caller's address at `/cgi-bin/who`.
fn web(name: &str) -> String {
    format!(
        "image: tiny, stop_signal: SIGKILL, command: sh -c 'mkdir -p /www/cgi-bin; echo {name} > /www/i; \
         echo \"#!/bin/sh\" > /www/cgi-bin/who; echo \"echo; echo \\$$REMOTE_ADDR\" >> /www/cgi-bin/who; \
         chmod +x /www/cgi-bin/who; exec httpd -f -p 80 -h /www'"
    )
}

/// Waits until an address answers with a text at `/i`.
fn says(address: impl Into<SocketAddr>, name: &str) {
    let address = address.into();
    eventually(&format!("{address} answers {name}"), || {
        let answer = http::get(address, "/i").ok()?;
        (answer.text().trim() == name).then_some(())
    });
}

/// Whom a service sees as its caller.
fn caller(address: impl Into<SocketAddr>) -> String {
    let answer = http::get(address.into(), "/cgi-bin/who").expect("it answered before");
    canonical(answer.text().trim())
}

/// An address as busybox writes it.
fn canonical(text: &str) -> String {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare
        .parse()
        .unwrap_or_else(|_| panic!("no address: {text}"));
    address.to_canonical().to_string()
}

fn localhost6(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

fn the_other_machine_serves_and_asks() {
    let outside = Outside::new();
    let seen = http::get(outside.web(), "/").expect("it answers").text();
    assert_eq!(seen.trim(), outside.host_v4.to_string());
    if let (Some(v6), Some(host)) = (outside.v6, outside.host_v6) {
        let seen = http::get((v6, 80).into(), "/").expect("it answers").text();
        assert_eq!(seen.trim(), host.to_string());
    }
    let itself = outside.get((outside.v4, 80), "/");
    assert_eq!(itself, Some(outside.v4.to_string()));
    let dig = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        outside.run("dig", &words).ok().out
    };
    let at = format!("@{}", outside.v4);
    let address = dig(&format!("{at} +short www.outside.test"));
    assert_eq!(address.trim(), outside.v4.to_string());
    let many = dig(&format!("{at} +short +noedns big.outside.test"));
    assert_eq!(many.lines().count(), usize::from(BIG), "over TCP: {many}");
    let cut = dig(&format!("{at} +notcp +ignore +noedns big.outside.test"));
    assert!(cut.contains(" tc "), "{cut}");
    let missing = dig(&format!("{at} no.outside.test"));
    assert!(missing.contains("NXDOMAIN"), "{missing}");
}

fn another_machine_reaches_published_ports_with_its_own_address() {
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['{port}:80']}}\n  d: {{{}, ports: ['{}:80'], networks: [two]}}\n\
         networks: {{two: {{enable_ipv6: {}}}}}\n",
        web("w"),
        web("d"),
        port + 1,
        has_v6()
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, port), "w");
    says((Ipv4Addr::LOCALHOST, port + 1), "d");
    let who = "/cgi-bin/who";
    for port in [port, port + 1] {
        let seen = outside
            .get((outside.host_v4, port), who)
            .expect("it answers");
        assert_eq!(canonical(&seen), outside.v4.to_string());
    }
    // From the host itself it is the gateway, as with Docker.
    let gateway = hoist.sh("w", "ip route | awk '/^default/ {print $3}'");
    assert_eq!(caller((Ipv4Addr::LOCALHOST, port)), gateway);
    assert_eq!(caller((outside.host_v4, port)), outside.host_v4.to_string());
    let (Some(v6), Some(host)) = (outside.v6, outside.host_v6) else {
        return;
    };
    // IPv6 ends in the container where it has it, with the sender's address, and is passed on where it has not.
    let seen = outside.get((host, port + 1), who).expect("it answers");
    assert_eq!(canonical(&seen), v6.to_string());
    let seen = outside.get((host, port), who).expect("it answers");
    assert_eq!(canonical(&seen), gateway);
}

fn another_machine_reaches_nothing_that_is_not_published() {
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['127.0.0.1:{port}:80', '[::1]:{port}:80']}}\n",
        web("w")
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, port), "w");
    says(localhost6(port), "w");
    assert_eq!(outside.get((outside.host_v4, port), "/i"), None);
    if let Some(host) = outside.host_v6 {
        assert_eq!(outside.get((host, port), "/i"), None);
    }
    // The host routes for it, but not to what a container has for its neighbours only.
    let inside: Ipv4Addr = hoist.sh("w", "hostname -i").parse().expect("an address");
    says((inside, 80), "w");
    let silent = |address: SocketAddr| {
        let limit = Duration::from_millis(500);
        outside
            .there(|| std::net::TcpStream::connect_timeout(&address, limit))
            .is_err()
    };
    assert!(silent((inside, 80).into()), "the container's own address");
    // Nor does a packet to 127.0.0.1 get in by the cable.
    let link = ["route", "replace", "table", "local", "127.9.9.0/24", "via"];
    let via = outside.host_v4.to_string();
    let told = outside.run("ip", &[&link[..], &[&via, "dev", "eth0"]].concat());
    if told.code == 0 {
        assert!(
            silent(([127, 9, 9, 9], port).into()),
            "the loopback address"
        );
    }
}

fn localhost_is_both_of_its_addresses() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['{port}:80', '{}:81']}}\n",
        web("w"),
        port + 1
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, port), "w");
    // The container has no IPv6.
    assert_eq!(hoist.sh("w", "ip -6 addr show dev eth0 scope global"), "");
    says(localhost6(port), "w");
    // Much goes both ways, and the end of what one side says is told to the other.
    hoist.sh("w", "head -c 3000000 /dev/zero > /www/big");
    let big = http::get(localhost6(port), "/big").expect("it answers");
    assert_eq!(big.body.len(), 3_000_000);
    // Nobody listens there inside: the caller is told so at once.
    let refused = http::get(localhost6(port + 1), "/i").expect_err("nobody is there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
}

fn a_port_of_one_address_is_reached_there_only() {
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    let port = ports::free();
    let address = outside.host_v4;
    let sixth = outside.host_v6;
    let more = sixth.map_or_else(String::new, |v6| format!(", '[{v6}]:{port}:80'"));
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['{address}:{port}:80'{more}]}}\n  all: {{{}, ports: ['0.0.0.0:{}:80']}}\n",
        web("w"),
        web("all"),
        port + 1
    ));
    hoist.ok("up -d");
    says((address, port), "w");
    assert_eq!(outside.get((address, port), "/i"), Some("w".to_owned()));
    assert!(http::get((Ipv4Addr::LOCALHOST, port).into(), "/i").is_err());
    says((Ipv4Addr::LOCALHOST, port + 1), "all");
    assert!(http::get(localhost6(port + 1), "/i").is_err(), "IPv4 only");
    if let Some(v6) = sixth {
        assert_eq!(outside.get((v6, port), "/i"), Some("w".to_owned()));
        assert!(http::get(localhost6(port), "/i").is_err());
        assert_eq!(outside.get((v6, port + 1), "/i"), None, "IPv4 only");
    }
}

fn publishers(hoist: &Sandbox, service: &str) -> Vec<(String, u16, u16, String)> {
    let number = |row: &Value, key: &str| {
        let number = row[key].as_u64().expect("a number");
        u16::try_from(number).expect("a port")
    };
    let rows = hoist.one(service)["Publishers"].clone();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().expect("a text").to_owned();
        let (host, inside) = (number(row, "PublishedPort"), number(row, "TargetPort"));
        (text("URL"), host, inside, text("Protocol"))
    };
    rows.as_array().expect("a list").iter().map(row).collect()
}

fn a_published_port_is_shown_as_docker_does() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{SLEEP, ports: ['127.0.0.1:{port}:80', '{port}:80/udp', '80', {{target: 81, published: '{}', \
         protocol: tcp, host_ip: 0.0.0.0, mode: host, name: web, app_protocol: http}}], \
         expose: [9000, '9001-9002', '9003/udp', 80]}}\n",
        port + 1
    ));
    hoist.ok("up -d");
    let text = |text: &str| text.to_owned();
    let rows = publishers(&hoist, "w");
    let free = rows
        .iter()
        .find(|row| row.0 == "0.0.0.0" && row.2 == 80 && row.3 == "tcp");
    let free = free.expect("a free port was chosen").1;
    let mut want = vec![
        (text("0.0.0.0"), free, 80, text("tcp")),
        (text("0.0.0.0"), port, 80, text("udp")),
        (text("127.0.0.1"), port, 80, text("tcp")),
        (text("0.0.0.0"), port + 1, 81, text("tcp")),
    ];
    let mut shown = vec![
        format!("0.0.0.0:{free}->80/tcp"),
        format!("0.0.0.0:{port}->80/udp"),
        format!("127.0.0.1:{port}->80/tcp"),
        format!("0.0.0.0:{}->81/tcp", port + 1),
        text("9000-9002/tcp"),
        text("9003/udp"),
    ];
    if has_v6() {
        want.push((text("::"), free, 80, text("tcp")));
        want.push((text("::"), port, 80, text("udp")));
        shown.push(format!("[::]:{free}->80/tcp"));
        shown.push(format!("[::]:{port}->80/udp"));
    }
    for inside in [9000, 9001, 9002] {
        want.push((String::new(), 0, inside, text("tcp")));
    }
    want.push((String::new(), 0, 9003, text("udp")));
    let mut found = rows;
    found.sort();
    want.sort();
    assert_eq!(found, want);
    let cell = hoist.field("w", "Ports");
    let mut found: Vec<&str> = cell.split(", ").collect();
    found.sort_unstable();
    shown.sort_unstable();
    assert_eq!(found, shown);
    // A port that is only said to be there is no port of the host. As Compose, which does not say why.
    let exposed = hoist.ok("port w 9000").prints(":0");
    assert!(exposed.err.contains("published nowhere"), "{}", exposed.err);
    // A container that does not run holds none.
    hoist.ok("stop -t 0");
    assert_eq!(hoist.field("w", "Ports"), "");
    TcpListener::bind(("0.0.0.0", port + 1)).expect("the port is free again");
}

fn an_address_that_the_host_does_not_have_is_an_error() {
    let hoist = Sandbox::new();
    let port = ports::free();
    for address in ["203.0.113.77", "[2001:db8:ffff::77]"] {
        hoist.compose(&format!(
            "services:\n  w: {{SLEEP, ports: ['{port}:80', '{address}:{}:81']}}\n",
            port + 1
        ));
        let bare = address.trim_matches(['[', ']']);
        hoist
            .run("up -d")
            .code(1)
            .says(&format!("the host has no address {bare}"));
        assert!(hoist.ps().iter().all(|row| row["State"] != "running"));
        TcpListener::bind(("0.0.0.0", port)).expect("nothing half-made stays");
    }
}

/// Runs the echo of this program in a container.
fn echo_in(hoist: &Sandbox, service: &str, port: u16) -> Running {
    let mut server = std::process::Command::new("nsenter");
    server.arg(format!("--net=/proc/{}/ns/net", hoist.init(service)));
    server.arg(std::env::current_exe().expect("this program has a path"));
    server.args([ports::ECHO, &port.to_string()]);
    Running::start(server)
}

/// Whether an echo answers.
fn echoes(address: SocketAddr, text: &str) -> Option<()> {
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .ok()?;
    socket.connect(address).ok()?;
    socket.send(text.as_bytes()).ok()?;
    let mut bytes = [0; 64];
    let count = socket.recv(&mut bytes).ok()?;
    (bytes.get(..count) == Some(text.as_bytes())).then_some(())
}

fn datagrams_are_answered_over_both_versions_of_ip() {
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  u: {{SLEEP, ports: ['{port}:53/udp', '{port}:53/tcp', '{}:54/sctp']}}\n",
        port + 1
    ));
    hoist.ok("up -d");
    let _server = echo_in(&hoist, "u", 53);
    let mut addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST), outside.host_v4.into()];
    if let Some(host) = outside.host_v6 {
        addresses.extend([IpAddr::from(Ipv6Addr::LOCALHOST), host.into()]);
    }
    for address in addresses {
        let address = SocketAddr::new(address, port);
        eventually(&format!("{address} echoes"), || echoes(address, "hello"));
        if !address.ip().is_loopback() {
            let there = || outside.there(|| echoes(address, "from outside"));
            eventually(&format!("{address} echoes from outside"), there);
        }
    }
    hoist
        .ok("port --protocol sctp u 54")
        .prints(&format!("0.0.0.0:{}", port + 1));
    let rules = tables(&hoist, "u");
    let want = format!("sctp dport {} dnat ip to", port + 1);
    assert!(rules.contains(&want), "no {want}: {rules}");
}

/// The rules of a container's published ports.
fn tables(hoist: &Sandbox, service: &str) -> String {
    let name = format!("hoist-p-{}", hoist.id(service));
    let done = std::process::Command::new(program("nft").expect("asked for"))
        .args(["list", "table", "inet", &name])
        .output()
        .expect("it can be run");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn replicas_take_a_port_of_the_range_each() {
    let hoist = Sandbox::new();
    // Three in a row: the one in the middle is somebody else's.
    let (first, _taken) = (0..100)
        .find_map(|_| {
            let first = ports::free();
            let bind = |port: u16| TcpListener::bind(("0.0.0.0", port)).ok();
            let all = [first, first.checked_add(1)?, first.checked_add(2)?].map(bind);
            let [Some(_), Some(taken), Some(_)] = all else {
                return None;
            };
            Some((first, taken))
        })
        .expect("three free ports in a row");
    hoist.compose(&format!(
        "services:\n  w: {{{}, scale: 2, ports: ['{first}-{}:80']}}\n  \
         r: {{SLEEP, ports: ['127.0.0.1:{}-{}:7000-7001']}}\n",
        web("w"),
        first + 2,
        first + 3,
        first + 4,
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, first), "w");
    says((Ipv4Addr::LOCALHOST, first + 2), "w");
    let at = |index: u32| {
        hoist
            .ok(&format!("port --index {index} w 80"))
            .out
            .trim()
            .to_owned()
    };
    let mut both = [at(1), at(2)];
    both.sort();
    assert_eq!(
        both,
        [format!("0.0.0.0:{first}"), format!("0.0.0.0:{}", first + 2)]
    );
    hoist
        .ok("port r 7001")
        .prints(&format!("127.0.0.1:{}", first + 4));
    hoist
        .run("up -d --scale w=3")
        .code(1)
        .says(&format!("{first}-{}", first + 2));
}

fn everyone_on_the_machine_reaches_a_published_port() {
    let hoist = Sandbox::new();
    let outside = Outside::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{1}, ports: ['{port}:80'], networks: {{x: , y: {{gw_priority: 1}}}}}}\n  \
         near: {{SLEEP, networks: [x]}}\n  far: {{SLEEP, networks: [z]}}\n\
         networks: {{x: {{enable_ipv6: {0}}}, y: {{enable_ipv6: {0}}}, z: {{enable_ipv6: {0}}}}}\n",
        has_v6(),
        web("w"),
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, port), "w");
    let mut addresses = vec![outside.host_v4.to_string()];
    addresses.extend(outside.host_v6.map(|address| format!("[{address}]")));
    for address in &addresses {
        for service in ["w", "near", "far"] {
            let line = format!("wget -qO- http://{address}:{port}/i");
            assert_eq!(hoist.sh(service, &line), "w", "{service} to {address}");
        }
    }
    // It is the second network that leads outside; the first has no part in it.
    let rules = tables(&hoist, "w");
    let second = hoist.sh(
        "w",
        "ip -4 route get 198.51.100.1 | sed 's/.*src //; s/ .*//' | head -n1",
    );
    assert!(
        rules.contains(&format!("dnat ip to {second}:80")),
        "{rules}"
    );
}

fn a_taken_port_names_its_holder() {
    let (hoist, other) = (Sandbox::new(), Sandbox::new());
    let me = format!("(pid {})", std::process::id());
    let up = |ports: &str| {
        hoist.compose(&format!("services:\n  w: {{SLEEP, ports: [{ports}]}}\n"));
        hoist.run("up -d").code(1)
    };
    let udp = UdpSocket::bind(("0.0.0.0", 0)).expect("a free port");
    let port = udp.local_addr().expect("bound").port();
    up(&format!("'{port}:80/udp'"))
        .says(&format!("0.0.0.0:{port}/udp"))
        .says(&me);
    if has_v6() {
        let listener = TcpListener::bind(localhost6(0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        up(&format!("'{port}:80'"))
            .says(&format!("[::]:{port}/tcp"))
            .says(&me);
        up(&format!("'[::1]:{port}:80'"))
            .says(&format!("[::1]:{port}/tcp"))
            .says(&me);
    }
    // A process of another world has another number there; here it has the one of ours.
    let port = ports::free();
    other.compose(&format!("services:\n  h: {{image: tiny, network_mode: host, stop_signal: SIGKILL, command: httpd -f -p {port}}}\n"));
    other.ok("up -d");
    let init = other.init("h");
    eventually("it listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    up(&format!("'{port}:80'")).says(&format!("httpd (pid {init})"));
    other.compose(&format!(
        "services:\n  o: {{SLEEP, ports: ['{port}:80']}}\n"
    ));
    other.ok("up -d --remove-orphans");
    let who = format!("container {0}-o-1 of project {0}", other.name);
    up(&format!("'{port}:80'")).says(&who);
    up(&format!("'127.0.0.1:{port}:80'")).says(&who);
    assert!(hoist.ps().iter().all(|row| row["State"] != "running"));
}

fn two_services_with_one_port_are_told_before_anything_starts() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  a:\n    image: tiny\n    ports:\n      - '{port}:80'\n  b:\n    image: tiny\n    ports:\n      \
         - '127.0.0.1:{port}:81'\n      - '{port}:81/udp'\n"
    ));
    let told = hoist.run("up -d").code(1);
    told.says(&format!(
        "services `a` and `b` both publish port {port}/tcp"
    ))
    .says("compose.yaml:9:9")
    .says("compose.yaml:5:9: it is taken here")
    .says_nothing_of(&format!("{port}/udp"));
    assert_eq!(hoist.ps().len(), 0, "nothing is made");
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, ports: ['{port}:80', '{port}:81']}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says(&format!("publishes port {port}/tcp of the host twice"));
    // Different addresses, protocols, or a service that is not there, are no reason.
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, ports: ['127.0.0.1:{port}:80']}}\n  b: {{SLEEP, ports: ['127.0.0.2:{port}:80', '{port}:80/udp']}}\n  \
         c: {{SLEEP, profiles: [off], ports: ['{port}:80']}}\n  d: {{SLEEP, scale: 0, ports: ['{port}:80']}}\n"
    ));
    hoist.ok("up -d");
}

fn networks_that_publish_nothing_say_so() {
    let hoist = Sandbox::new();
    let port = ports::free();
    let up = |keys: &str| {
        hoist.compose(&format!(
            "services:\n  w: {{SLEEP, ports: ['{port}:80'], {keys}}}\nnetworks: {{in: {{internal: true}}}}\n"
        ));
        let done = hoist.ok("up -d");
        assert_eq!(hoist.field("w", "Ports"), "");
        TcpListener::bind(("0.0.0.0", port)).expect("nobody has the port");
        done
    };
    up("network_mode: host").says("publishes no ports: it has `network_mode: host`");
    up("network_mode: none").says("publishes no ports: it has `network_mode: none`");
    up("networks: [in]").says("all its networks are internal");
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP}}\n  w: {{SLEEP, ports: ['{port}:80'], network_mode: 'service:a'}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says("its network is that of service `a`")
        .says("compose.yaml:3:");
}

fn a_shared_network_is_reached_by_the_owners_ports() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, ports: ['{port}:80']}}\n  b: {{{}, network_mode: 'service:a'}}\n",
        web("b")
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, port), "b");
    if has_v6() {
        says(localhost6(port), "b");
    }
}

/// Entries of tracked connections that name an address.
fn tracked(address: &str) -> Vec<String> {
    let mut found = Vec::new();
    let conntrack = program("conntrack").expect("asked for");
    for family in ["ipv4", "ipv6"] {
        let done = std::process::Command::new(&conntrack)
            .args(["-L", "-f", family])
            .output();
        let text = String::from_utf8_lossy(&done.expect("it can be run").stdout).into_owned();
        let names = |line: &&str| {
            line.split_whitespace()
                .any(|word| word.ends_with(&format!("={address}")))
        };
        found.extend(text.lines().filter(names).map(str::to_owned));
    }
    found
}

fn rules_and_connections_go_with_the_container() {
    use std::io::{Read as _, Write as _};
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    let port = ports::free();
    let file = |ports: &str| {
        let six = has_v6();
        hoist.compose(&format!(
            "services:\n  w: {{SLEEP, ports: [{ports}]}}\nnetworks: {{default: {{enable_ipv6: {six}}}}}\n"
        ));
    };
    file(&format!("'{port}:80', '{port}:80/udp'"));
    hoist.ok("up -d");
    let id = hoist.id("w");
    let own = |family: &str| {
        let line = format!(
            "ip {family} -o addr show dev eth0 scope global | awk '{{sub(\"/.*\", \"\", $4); print $4}}'"
        );
        hoist.sh("w", &line)
    };
    let (v4, v6) = (own("-4"), own("-6"));
    let first = echo_in(&hoist, "w", 80);
    let dial = |address: IpAddr| {
        let address = SocketAddr::new(address, port);
        eventually("it answers", || {
            let mut stream = outside
                .there(|| std::net::TcpStream::connect(address))
                .ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            stream.write_all(b"x").ok()?;
            let mut answer = [0];
            stream.read_exact(&mut answer).ok()?;
            Some(stream)
        })
    };
    let mut streams = vec![dial(outside.host_v4.into())];
    streams.extend(outside.host_v6.map(|host| dial(host.into())));
    let datagrams = outside.there(|| UdpSocket::bind((outside.v4, 0)).expect("a free port"));
    datagrams
        .connect((outside.host_v4, port))
        .expect("an address");
    let limit = Some(Duration::from_millis(500));
    datagrams.set_read_timeout(limit).expect("a time limit");
    let hears = |text: &[u8]| {
        let mut bytes = [0; 8];
        let answer = datagrams
            .send(text)
            .and_then(|_| datagrams.recv(&mut bytes));
        answer.is_ok_and(|count| bytes.get(..count) == Some(text))
    };
    eventually("a datagram comes back", || hears(b"first").then_some(()));
    // One that the container has opened.
    hoist.sh("w", &format!("wget -qO- http://{}/", outside.v4));
    let before = tracked(&v4);
    for want in ["tcp", "udp", "dport=80 "] {
        assert!(
            before.iter().any(|line| line.contains(want)),
            "{want}: {before:?}"
        );
    }
    assert!(!has_v6() || !tracked(&v6).is_empty(), "{v6}");
    // It is no process of the container's, and would keep its network.
    drop(first);
    file("");
    hoist.ok("up -d");
    assert_ne!(hoist.id("w"), id);
    assert_eq!(own("-4"), v4, "the next one has the address again");
    // Once the project is gone, another one may have its subnet: what is asked for is between these two.
    let between = |own: &str| -> Vec<String> {
        let others = [
            Some(outside.v4.to_string()),
            outside.v6.map(|v6| v6.to_string()),
        ];
        let other = |word: &str| {
            others
                .iter()
                .flatten()
                .any(|it| word.ends_with(&format!("={it}")))
        };
        let mut lines = tracked(own);
        lines.retain(|line| line.split_whitespace().any(other));
        lines
    };
    assert_eq!(between(&v4), Vec::<String>::new());
    // What was open does not reach it.
    let second = echo_in(&hoist, "w", 80);
    let inside: Ipv4Addr = v4.parse().expect("an address");
    eventually("the second one listens", || {
        echoes((inside, 80).into(), "second")
    });
    assert!(!hears(b"again"));
    for stream in &mut streams {
        let heard = stream.write_all(b"y").and_then(|()| stream.read(&mut [0]));
        assert!(
            !heard.is_ok_and(|count| count > 0),
            "an echo of the wrong one"
        );
    }
    drop((streams, second));
    hoist.ok("down -t 0");
    assert_eq!(between(&v4), Vec::<String>::new());
    assert_eq!(between(&v6), Vec::<String>::new());
    hoist.is_gone();
}

fn traffic_to_a_container_passes_no_process() {
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['{port}:80']}}\n",
        web("w")
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, port), "w");
    hoist.sh("w", "head -c 50000000 /dev/zero > /www/big");
    let supervisor = hoist.supervisor("w");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{supervisor}/stat")).expect("it runs");
        let rest = stat.rsplit(") ").next().expect("fields").to_owned();
        let field = |at: usize| {
            rest.split(' ')
                .nth(at)
                .and_then(|text| text.parse::<u64>().ok())
        };
        field(11).expect("time") + field(12).expect("time")
    };
    let before = ticks();
    for address in [outside.host_v4, Ipv4Addr::LOCALHOST] {
        let big = http::get((address, port).into(), "/big").expect("it answers");
        assert_eq!(big.body.len(), 50_000_000);
    }
    let there = outside
        .get((outside.host_v4, port), "/big")
        .expect("it answers");
    assert_eq!(there.len(), 50_000_000);
    assert!(ticks() - before <= 1, "its supervisor was busy");
}

fn ports_are_published_while_the_rules_are_gone() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['{port}:80']}}\n",
        web("w")
    ));
    hoist.ok("up -d");
    says((Ipv4Addr::LOCALHOST, port), "w");
    // As a firewall does that clears all rules when it is loaded.
    let name = format!("hoist-p-{}", hoist.id("w"));
    let nft = program("nft").expect("asked for");
    let done = std::process::Command::new(nft)
        .args(["delete", "table", "inet", &name])
        .status();
    assert!(done.expect("it can be run").success());
    says((Ipv4Addr::LOCALHOST, port), "w");
    // The next start makes them again.
    hoist.ok("restart -t 0");
    says((Ipv4Addr::LOCALHOST, port), "w");
    assert!(tables(&hoist, "w").contains("dnat ip to"));
}

fn a_supervisor_that_takes_over_passes_on_as_before() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{}, ports: ['{port}:80']}}\n",
        web("w")
    ));
    hoist.ok("up -d");
    says(localhost6(port), "w");
    crate::harness::process::kill_and_wait(hoist.supervisor("w"));
    hoist.ok("up -d");
    says(localhost6(port), "w");
    says((Ipv4Addr::LOCALHOST, port), "w");
}
