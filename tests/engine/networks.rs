//! Networks: names, isolation, published ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::harness::outside::Outside;
use crate::harness::{ENGINE, Need, Running, Sandbox, eventually, http, ports};

/// Cases in which another machine falls silent.
pub mod silent {
    use super::*;

    crate::cases!(&[ENGINE[0], ENGINE[1], Need::Program("ip"), Need::Program("unshare"), Need::Program("nft")];
        what_a_container_left_open_is_no_rival_to_its_successor,
    );
}

crate::cases!(ENGINE;
    services_find_each_other_by_name_and_alias,
    services_without_a_common_network_cannot_reach_each_other,
    published_ports_answer_on_loopback_and_on_the_hosts_address,
    a_port_bound_to_loopback_does_not_answer_elsewhere,
    a_free_port_is_chosen_and_shown,
    udp_ports_are_published_beside_tcp_ones,
    a_port_already_taken_names_the_process_that_has_it,
    a_container_reaches_its_own_published_port_and_others_through_the_host,
    none_and_host_networks,
    a_service_can_share_anothers_network,
    internal_networks_lead_nowhere,
    a_container_has_hosts_and_resolver_files_that_name_it,
    ports_come_back_after_a_restart,
);

/// A service that answers `hello` at `/i` on port 8080.
const WEB: &str = "image: tiny, stop_signal: SIGKILL, command: sh -c 'mkdir /www; echo hello > /www/i; exec httpd -f -p 8080 \
                   -h /www'";

fn says_hello(address: SocketAddr) {
    eventually(&format!("{address} answers"), || {
        http::get(address, "/i")
            .ok()
            .filter(|answer| answer.text().contains("hello"))
            .map(drop)
    });
}

/// An address of this machine that is not loopback, as a route to the outside would use it.
fn host_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // TEST-NET-1; nothing is sent by connecting.
    socket.connect(("192.0.2.1", 9)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) if !address.ip().is_loopback() => Some(*address.ip()),
        _ => None,
    }
}

fn services_find_each_other_by_name_and_alias() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, hostname: own-name, container_name: fixed-CN, networks: {n: {aliases: [nick, other.example]}}}\n  \
         b: {SLEEP, networks: [n], links: ['a:linked']}\nnetworks: {n: }\n"
            .replace("CN", "cn")
            .as_str(),
    );
    hoist.ok("up -d");
    let address = hoist.sh("a", "hostname -i");
    for name in ["a", "nick", "other.example", "fixed-cn", "linked", "NICK"] {
        assert!(
            hoist
                .exec("b", &format!("nslookup {name}"))
                .all()
                .contains(&address),
            "{name} is not {address}"
        );
    }
    hoist.sh("b", "ping -c1 -W2 nick");
    assert_ne!(hoist.exec("b", "nslookup nosuchname.invalid").code, 0);
    assert_eq!(hoist.sh("a", "hostname"), "own-name");
}

fn services_without_a_common_network_cannot_reach_each_other() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [x]}\n  b: {SLEEP, networks: [y]}\n  c: {SLEEP, networks: [x, y]}\nnetworks: {x: , y: }\n",
    );
    hoist.ok("up -d");
    let address = hoist.sh("b", "hostname -i");
    assert_ne!(hoist.exec("a", "ping -c1 -W1 b").code, 0, "by name");
    assert_ne!(
        hoist.exec("a", &format!("ping -c1 -W1 {address}")).code,
        0,
        "by address"
    );
    hoist.sh("c", "ping -c1 -W2 a && ping -c1 -W2 b");
}

fn published_ports_answer_on_loopback_and_on_the_hosts_address() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['{port}:8080']}}\n"
    ));
    hoist.ok("up -d");
    says_hello((Ipv4Addr::LOCALHOST, port).into());
    if let Some(address) = host_address() {
        says_hello((address, port).into());
    }
    hoist.ok("port w 8080").prints(&format!("0.0.0.0:{port}"));
    hoist.ok("ps").says(&format!("{port}->8080/tcp"));
    hoist.ok("down -t 0");
    TcpListener::bind(("0.0.0.0", port)).expect("the port is free again");
}

fn a_port_bound_to_loopback_does_not_answer_elsewhere() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['127.0.0.1:{port}:8080']}}\n"
    ));
    hoist.ok("up -d");
    says_hello((Ipv4Addr::LOCALHOST, port).into());
    if let Some(address) = host_address() {
        assert!(http::get((address, port).into(), "/i").is_err());
    }
}

fn a_free_port_is_chosen_and_shown() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['8080', '127.0.0.1::8080']}}\n"
    ));
    hoist.ok("up -d");
    let publishers = hoist.one("w")["Publishers"].clone();
    let chosen: Vec<u16> = publishers
        .as_array()
        .expect("a list of ports")
        .iter()
        .filter_map(|row| {
            row["PublishedPort"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
        })
        .filter(|port| *port != 0)
        .collect();
    assert!(chosen.len() >= 2, "{publishers}");
    for port in chosen {
        says_hello((Ipv4Addr::LOCALHOST, port).into());
    }
    hoist.run("port w 9999").code(1);
}

fn udp_ports_are_published_beside_tcp_ones() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  u: {{SLEEP, ports: ['127.0.0.1:{port}:5353/udp', '127.0.0.1:{port}:5353/tcp']}}\n"
    ));
    hoist.ok("up -d");
    hoist
        .ok("port --protocol udp u 5353")
        .prints(&format!("127.0.0.1:{port}"));
    hoist.ok("port u 5353").prints(&format!("127.0.0.1:{port}"));
    let mut server = std::process::Command::new("nsenter");
    server.arg(format!("--net=/proc/{}/ns/net", hoist.init("u")));
    server.arg(std::env::current_exe().expect("this program has a path"));
    server.args([ports::ECHO, "5353"]);
    let _server = Running::start(server);
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a time limit");
    socket.connect(("127.0.0.1", port)).expect("an address");
    let text = eventually("a reply over UDP", || {
        let mut bytes = [0; 64];
        // Refused as long as nobody listens inside.
        socket.send(b"hello").ok()?;
        let count = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    });
    assert_eq!(text, "hello");
}

fn a_port_already_taken_names_the_process_that_has_it() {
    let hoist = Sandbox::new();
    let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['{port}:8080']}}\n"
    ));
    let me = std::process::id().to_string();
    hoist.run("up -d").code(1).says(&port.to_string()).says(&me);
    assert!(hoist.ps().iter().all(|row| row["State"] != "running"));
    drop(listener);
    hoist.ok("up -d");
    says_hello((Ipv4Addr::LOCALHOST, port).into());
}

fn a_container_reaches_its_own_published_port_and_others_through_the_host() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['{port}:8080'], networks: [x]}}\n  c: {{SLEEP, networks: [y], extra_hosts: \
         ['machine:host-gateway']}}\nnetworks: {{x: , y: }}\n"
    ));
    hoist.ok("up -d");
    says_hello((Ipv4Addr::LOCALHOST, port).into());
    assert_eq!(
        hoist.sh("c", &format!("wget -qO- http://machine:{port}/i")),
        "hello"
    );
    if let Some(address) = host_address() {
        assert_eq!(
            hoist.sh("w", &format!("wget -qO- http://{address}:{port}/i")),
            "hello"
        );
    }
}

fn none_and_host_networks() {
    let hoist = Sandbox::new();
    hoist
        .compose("services:\n  n: {SLEEP, network_mode: none}\n  h: {SLEEP, network_mode: host}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.sh("n", "ls /sys/class/net"), "lo");
    let host = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    assert_eq!(
        hoist.sh("h", "readlink /proc/self/ns/net"),
        host.to_string_lossy()
    );
}

fn a_service_can_share_anothers_network() {
    let hoist = Sandbox::new();
    let file = |value| {
        format!(
            "services:\n  a: {{SLEEP, environment: {{V: '{value}'}}}}\n  b: {{SLEEP, network_mode: 'service:a'}}\n"
        )
    };
    let same = |hoist: &Sandbox| {
        let line = "readlink /proc/1/ns/net";
        assert_eq!(hoist.sh("b", line), hoist.sh("a", line));
    };
    hoist.compose(&file(1));
    hoist.ok("up -d");
    same(&hoist);
    hoist.compose(&file(2));
    hoist.ok("up -d");
    same(&hoist);
}

fn internal_networks_lead_nowhere() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, networks: [in]}}\n  b: {{SLEEP, networks: [in]}}\n  w: {{{WEB}, ports: ['{port}:8080']}}\n\
         networks: {{in: {{internal: true}}}}\n"
    ));
    hoist.ok("up -d");
    hoist.sh("a", "ping -c1 -W2 b");
    assert_eq!(hoist.sh("a", "ip route | grep -c ^default || true"), "0");
    let other = hoist.sh("w", "hostname -i");
    assert_ne!(
        hoist
            .exec("a", &format!("wget -T 2 -qO- http://{other}:8080/i"))
            .code,
        0
    );
}

fn a_container_has_hosts_and_resolver_files_that_name_it() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, hostname: me, domainname: example.org, extra_hosts: ['fixed:10.1.2.3'], dns_search: [corp.example], \
         dns_opt: ['ndots:2']}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("a", "awk '$1 == \"10.1.2.3\" {print $2}' /etc/hosts"),
        "fixed"
    );
    assert_eq!(hoist.sh("a", "grep -c me /etc/hosts"), "1");
    let resolver = hoist.sh("a", "cat /etc/resolv.conf");
    for want in ["nameserver 127.0.0.11", "search corp.example", "ndots:2"] {
        assert!(resolver.contains(want), "no {want} in {resolver}");
    }
}

fn ports_come_back_after_a_restart() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['{port}:8080']}}\n"
    ));
    hoist.ok("up -d");
    let address = (Ipv4Addr::LOCALHOST, port).into();
    says_hello(address);
    hoist.ok("restart -t 0");
    says_hello(address);
    hoist.ok("stop -t 0");
    eventually("the port is closed", || {
        http::get(address, "/i").is_err().then_some(())
    });
}

fn what_a_container_left_open_is_no_rival_to_its_successor() {
    let (hoist, outside) = (Sandbox::new(), Outside::new());
    hoist.compose("services:\n  w: {SLEEP}\n");
    hoist.ok("up -d");
    let own = |service| hoist.sh(service, "cat /sys/class/net/eth0/address");
    let (id, mac, address) = (hoist.id("w"), own("w"), hoist.sh("w", "hostname -i"));
    let talk = format!("(sleep 100 | nc {} 53) > /dev/null 2>&1 &", outside.v4);
    hoist.sh("w", &talk);
    let tcp = format!("/proc/{}/net/tcp", hoist.init("w"));
    eventually("a connection is open", || {
        const ESTABLISHED: &str = "01";
        let text = std::fs::read_to_string(&tcp).ok()?;
        let states = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        states
            .into_iter()
            .any(|state| state == ESTABLISHED)
            .then_some(())
    });
    // From now on nobody says that the end of the connection was heard: the kernel repeats it for minutes.
    let silence = "add table ip silence; add chain ip silence in { type filter hook input priority 0; policy drop; }";
    outside.run("nft", &[silence]).ok();
    hoist.ok("up -d --force-recreate");
    assert_ne!(hoist.id("w"), id);
    assert_eq!((own("w"), hoist.sh("w", "hostname -i")), (mac, address));
    let record = hoist
        .data()
        .join(format!("networks/{}_default/network.json", hoist.name));
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON");
    let devices = std::path::Path::new("/sys/class/net");
    let bridge = devices.join(record["bridge"].as_str().expect("a name"));
    let ports: Vec<bool> = std::fs::read_dir(bridge.join("brif"))
        .expect("a bridge")
        .map(|port| {
            let flags = devices
                .join(port.expect("an entry").file_name())
                .join("flags");
            let flags = std::fs::read_to_string(flags).expect("flags");
            let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
            flags.expect("a number") & 1 == 1
        })
        .collect();
    assert_eq!(ports.len(), 2, "the first one's is kept by its connection");
    assert_eq!(
        ports.iter().filter(|up| **up).count(),
        1,
        "only the second one's is up"
    );
    outside.run("nft", &["delete table ip silence"]).ok();
    hoist.sh("w", &format!("wget -qO- http://{}/", outside.v4));
    hoist.ok("down -t 0");
    hoist.is_gone();
}
