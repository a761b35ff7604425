//! Attacks on neighbours, on other projects and on the host over the network.
//!
//! A container has root and the default capabilities inside, so that it may send any frame. What arrives is read where
//! it would do harm. Imports: `harness`. Sources of the frames: RFC 826 (ARP), RFC 791, RFC 768, RFC 8200, RFC 4861
//! (neighbour discovery), IEEE 802.1D (spanning tree) and 802.1Q (VLAN tags).

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::{PROBE, probe};
use crate::harness::outside::{Outside, has_v6};
use crate::harness::{Need, Sandbox, eventually, patience, ports};

crate::cases!(PROBE;
    a_container_speaks_for_itself_only,
    a_container_between_two_networks_forwards_nothing_unless_it_is_told_to,
    another_projects_names_and_addresses_are_out_of_reach,
    the_hosts_loopback_is_out_of_reach_whatever_routes_a_container_has,
    of_the_host_an_internal_network_has_one_address_only,
    without_ipv6_the_host_is_not_there_by_ipv6_either,
    nobody_on_the_link_tells_a_container_or_the_host_where_routers_are,
);

/// Cases with another machine beside this one.
pub const OUTSIDE: &[crate::harness::Case] = &[crate::harness::Case {
    name: concat!(
        module_path!(),
        "::another_machine_reaches_published_ports_and_nothing_else"
    ),
    needs: &[
        Need::Root,
        Need::Busybox,
        Need::Program("ip"),
        Need::Program("nsenter"),
    ],
    run: another_machine_reaches_published_ports_and_nothing_else,
}];

type Mac = [u8; 6];

const ALL: Mac = [0xff; 6];
/// Numbers of `socket` and `sendto`.
#[cfg(target_arch = "x86_64")]
const CALLS: (u32, u32) = (41, 44);
#[cfg(not(target_arch = "x86_64"))]
const CALLS: (u32, u32) = (198, 206);
/// Begins the name that each frame carries at its end.
const TAG: &[u8] = b"hst!";
/// The name of the last frame, which nothing is wrong with.
const LAST: &str = "last";

/// Who has a place on a network.
struct Station {
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    index: u32,
}

impl Station {
    fn of(hoist: &Sandbox, service: &str) -> Self {
        let text = hoist.sh(
            service,
            "cat /sys/class/net/eth0/address /sys/class/net/eth0/ifindex",
        );
        let mut lines = text.lines();
        let mut mac = [0; 6];
        let parts = lines.next().expect("an address").split(':');
        for (byte, part) in mac.iter_mut().zip(parts) {
            *byte = u8::from_str_radix(part, 16).expect("hexadecimal");
        }
        let addresses = hoist.sh(service, "ip -o addr show eth0");
        let words: Vec<&str> = addresses.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|found| *found == word)?;
            words.get(at + 1)?.split('/').next()
        };
        Self {
            mac,
            v4: after("inet")
                .and_then(|text| text.parse().ok())
                .expect("IPv4"),
            v6: after("inet6").map_or(Ipv6Addr::UNSPECIFIED, |text| text.parse().expect("IPv6")),
            index: lines
                .next()
                .and_then(|text| text.trim().parse().ok())
                .expect("a number"),
        }
    }
    fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac;
        let pair = |high, low| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            pair(a ^ 2, b),
            pair(c, 0xff),
            pair(0xfe, d),
            pair(e, f),
        )
    }
}

fn frame(to: Mac, from: Mac, kind: u16, rest: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), rest].concat()
}

fn arp(from: Mac, says: Mac, address: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 2];
    let octets = address.octets();
    frame(
        ALL,
        from,
        0x0806,
        &[&head[..], &says, &octets, &ALL, &octets].concat(),
    )
}

fn sum(header: &[u8]) -> u16 {
    let pairs = header
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let total: u32 = pairs.sum();
    !((total & 0xffff) + (total >> 16)) as u16
}

/// An IPv4 datagram from a port to a port.
fn v4(mac: Mac, from: Ipv4Addr, to: Ipv4Addr, ports: [u16; 2]) -> Vec<u8> {
    let mut head = [
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    head[12..16].copy_from_slice(&from.octets());
    head[16..20].copy_from_slice(&to.octets());
    let [source, target] = ports.map(u16::to_be_bytes);
    frame(
        ALL,
        mac,
        0x0800,
        &[&head[..], &source, &target, &[0, 24, 0, 0], &[0; 16]].concat(),
    )
}

fn v6(mac: Mac, from: Ipv6Addr, next: u8, hops: u8, rest: &[u8]) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let head = [0x60, 0, 0, 0, 0, 0, next, hops];
    let body = [&head[..], &from.octets(), &all_nodes.octets(), rest].concat();
    frame([0x33, 0x33, 0, 0, 0, 1], mac, 0x86dd, &body)
}

/// Neighbour discovery of a kind about an address, in the name of a hardware address.
fn discovery(kind: u8, about: Ipv6Addr, mac: Mac) -> Vec<u8> {
    [
        &[kind, 0, 0, 0, 0x20, 0, 0, 0][..],
        &about.octets(),
        &[2, 1],
        &mac,
    ]
    .concat()
}

/// What `a` tries on its neighbour `b`.
fn hostile(a: &Station, b: &Station, gateway: Ipv4Addr) -> Vec<(&'static str, Vec<u8>)> {
    let (local, target) = (a.link_local(), b.v4);
    let hidden = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &discovery(134, b.v6, a.mac)].concat();
    let mut rows = vec![
        ("arp-neighbour", arp(a.mac, a.mac, b.v4)),
        ("arp-gateway", arp(a.mac, a.mac, gateway)),
        ("arp-mac", arp(a.mac, b.mac, a.v4)),
        ("ip-neighbour", v4(a.mac, b.v4, target, [5353, 53])),
        ("ip-gateway", v4(a.mac, gateway, target, [53, 4444])),
        (
            "ip-loopback",
            v4(a.mac, Ipv4Addr::new(127, 0, 0, 11), target, [53, 4444]),
        ),
        (
            "ip-outside",
            v4(a.mac, Ipv4Addr::new(192, 0, 2, 9), target, [53, 4444]),
        ),
        ("dhcp", v4(a.mac, a.v4, Ipv4Addr::BROADCAST, [67, 68])),
        (
            "stp",
            frame(
                [0x01, 0x80, 0xc2, 0, 0, 0],
                a.mac,
                38,
                &[0x42, 0x42, 3, 0, 0, 0, 0],
            ),
        ),
        ("vlan", frame(ALL, a.mac, 0x8100, &[0, 7, 8, 0, 0x45, 0])),
    ];
    if b.v6 != Ipv6Addr::UNSPECIFIED {
        let ip6 = |from, kind, about| v6(a.mac, from, 58, 255, &discovery(kind, about, a.mac));
        rows.extend([
            ("ra", ip6(local, 134, b.v6)),
            ("redirect", ip6(local, 137, b.v6)),
            ("na-neighbour", ip6(a.v6, 136, b.v6)),
            ("ip6-neighbour", ip6(b.v6, 128, b.v6)),
            ("ip6-neighbour-local", ip6(b.link_local(), 128, b.v6)),
            ("duplicate", ip6(Ipv6Addr::UNSPECIFIED, 135, b.v6)),
            (
                "dhcp6",
                v6(a.mac, local, 17, 64, &[2, 35, 2, 34, 0, 24, 0, 0]),
            ),
            ("ra-hidden", v6(a.mac, local, 60, 255, &hidden)),
        ]);
    }
    // Last: a switch that believes it sends what is for `b` elsewhere.
    rows.push(("mac", v4(b.mac, a.v4, target, [5353, 53])));
    rows
}

/// Writes how long a packet is into its header: what lies behind its end may be cut off on the way.
fn measure(frame: &mut [u8]) {
    let length = |bytes: usize| u16::try_from(bytes).expect("a short frame").to_be_bytes();
    match frame[12..14] {
        [0x08, 0] => {
            let whole = length(frame.len() - 14);
            frame[16..18].copy_from_slice(&whole);
            frame[24..26].fill(0);
            let check = sum(&frame[14..34]).to_be_bytes();
            frame[24..26].copy_from_slice(&check);
        }
        [0x86, 0xdd] => {
            let rest = length(frame.len() - 54);
            frame[18..20].copy_from_slice(&rest);
        }
        _ => {}
    }
}

/// Sends frames from inside, each with its name at the end, and one that nothing is wrong with.
fn send(hoist: &Sandbox, service: &str, from: &Station, rows: &[(&str, Vec<u8>)]) {
    let last = (LAST, v4(from.mac, from.v4, Ipv4Addr::BROADCAST, [9, 9]));
    let words = |bytes: &[u8]| {
        let words = bytes.chunks(4).map(|part| {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            u32::from_le_bytes(word).to_string()
        });
        words.collect::<Vec<_>>().join(",")
    };
    // `AF_PACKET`, `SOCK_RAW`, nothing to be received.
    let mut line = format!("{} 17 3 0", CALLS.0);
    for (name, bytes) in rows.iter().chain([&last]) {
        let mut bytes = bytes.clone();
        bytes.resize(bytes.len().max(60), 0);
        bytes.extend([TAG, name.as_bytes(), b"."].concat());
        measure(&mut bytes);
        // `struct sockaddr_ll`: family, device, length of the address.
        let place = format!("17,{},{},0,0", from.index, 6 << 24);
        line += &format!(
            " + {} 3 :{} {} 0 :{place} 20",
            CALLS.1,
            words(&bytes),
            bytes.len()
        );
    }
    let done = hoist.run(&format!("exec -T {service} /probe {line}")).ok();
    let gave: Vec<i64> = done
        .out
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(gave.len(), rows.len() + 2, "{}", done.story());
    assert!(
        gave.iter().all(|count| *count > 0),
        "not sent: {}",
        done.story()
    );
}

/// What comes in at a container.
struct Tap(OwnedFd);

impl Tap {
    fn on(hoist: &Sandbox, service: &str) -> Self {
        let namespace = File::open(format!("/proc/{}/ns/net", hoist.init(service)));
        let namespace = namespace.expect("the container runs");
        let open = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may");
            let (flags, all) = (SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
            socket(AddressFamily::Packet, SockType::Raw, flags, all).expect("root may")
        };
        let fd = std::thread::spawn(open).join().expect("no panic");
        let limit = TimeVal::seconds(i64::try_from(patience().as_secs()).expect("a short time"));
        setsockopt(&fd, sockopt::ReceiveTimeout, &limit).expect("it is a socket");
        Self(fd)
    }
    /// Names of the frames that came in, up to the last one.
    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut bytes = [0; 4096];
        loop {
            let count = match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other.expect("the last frame comes"),
            };
            let frame = &bytes[..count];
            let Some(at) = frame.windows(TAG.len()).position(|part| part == TAG) else {
                continue;
            };
            let name = frame[at + TAG.len()..].split(|byte| *byte == b'.').next();
            let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            if name == LAST {
                return names;
            }
            names.insert(name);
        }
    }
}

/// Writes the project: `PROBED` is a service with the probe.
fn project(hoist: &Sandbox, text: &str) {
    probe(hoist);
    hoist.compose(&text.replace("PROBED", "SLEEP, volumes: ['./probe:/probe:ro']"));
    hoist.ok("up -d");
}

fn gateway(hoist: &Sandbox, service: &str) -> Ipv4Addr {
    let route = hoist.sh(service, "ip route | grep ^default");
    let word = route.split_whitespace().nth(2).expect("a gateway");
    word.parse().expect("an address")
}

/// Other runtimes let a container with default rights take its neighbours' and the gateway's addresses.
fn a_container_speaks_for_itself_only() {
    let hoist = Sandbox::new();
    let services = "services:\n  a: {PROBED}\n  b: {SLEEP}\n  free: {PROBED, cap_add: [NET_ADMIN]}\n  \
                    forwards: {PROBED, sysctls: {net.ipv4.ip_forward: 1}}\n";
    let networks = format!("networks: {{default: {{enable_ipv6: {}}}}}\n", has_v6());
    project(&hoist, &format!("{services}{networks}"));
    let tap = Tap::on(&hoist, "b");
    let (b, gateway) = (Station::of(&hoist, "b"), gateway(&hoist, "b"));
    let rows = |of: &Station| hostile(of, &b, gateway);
    let a = Station::of(&hoist, "a");
    send(&hoist, "a", &a, &rows(&a));
    assert_eq!(tap.names(), BTreeSet::new(), "came through");
    hoist.sh("b", "ping -c1 -W5 a && ping -c1 -W5 free");
    // Who may configure its network is no longer known by its addresses; so the frames are good ones.
    for service in ["forwards", "free"] {
        let free = Station::of(&hoist, service);
        let mut rows = rows(&free);
        if service == "forwards" {
            rows.pop();
        }
        send(&hoist, service, &free, &rows);
        let sent: BTreeSet<String> = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(tap.names(), sent, "{service}");
    }
    hoist.ok("down -t 0");
}

fn a_container_between_two_networks_forwards_nothing_unless_it_is_told_to() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [x], cap_add: [NET_ADMIN]}\n  b: {SLEEP, networks: [y], cap_add: [NET_ADMIN]}\n  \
         plain: {SLEEP, networks: [x, y]}\n  \
         router: {SLEEP, networks: [x, y], sysctls: {net.ipv4.ip_forward: 1}}\nnetworks: {x: , y: }\n",
    );
    hoist.ok("up -d");
    let address = |service: &str, other: &str| {
        let text = hoist.exec(other, &format!("nslookup {service}")).all();
        let line = text
            .lines()
            .rfind(|line| line.starts_with("Address"))
            .expect("an answer")
            .to_owned();
        line.split_whitespace()
            .last()
            .expect("an address")
            .to_owned()
    };
    let (to, from) = (hoist.sh("b", "hostname -i"), hoist.sh("a", "hostname -i"));
    for (way, passes) in [("plain", false), ("router", true)] {
        let (by, back) = (address(way, "a"), address(way, "b"));
        hoist.sh("a", &format!("ip route replace {to}/32 via {by}"));
        hoist.sh("b", &format!("ip route replace {from}/32 via {back}"));
        let done = hoist.exec("a", &format!("ping -c1 -W1 {to}"));
        assert_eq!(done.code == 0, passes, "{way}: {}", done.story());
    }
    hoist.ok("down -t 0");
}

fn another_projects_names_and_addresses_are_out_of_reach() {
    let (one, two) = (Sandbox::new(), Sandbox::new());
    let web = "image: tiny, stop_signal: SIGKILL, command: httpd -f -p 80 -h /bin";
    let (open, local) = (ports::free(), ports::free());
    let name = format!("secret-{open}");
    one.compose(&format!(
        "services:\n  db: {{{web}, container_name: {name}, networks: {{default: {{aliases: [secret.test]}}}}, \
         ports: ['{open}:80', '127.0.0.1:{local}:80']}}\n"
    ));
    two.compose("services:\n  a: {SLEEP, cap_add: [NET_ADMIN]}\n");
    one.ok("up -d");
    two.ok("up -d");
    let (target, host) = (one.sh("db", "hostname -i"), gateway(&one, "db"));
    let call = |from: &Sandbox, service: &str, address: &str, port: u16| {
        let line = format!("nc -w2 {address} {port} -e /bin/true");
        from.exec(service, &line).code == 0
    };
    eventually("it serves", || call(&one, "db", &target, 80).then_some(()));
    for name in [
        "db",
        name.as_str(),
        "secret.test",
        one.id("db").get(..12).expect("an id"),
    ] {
        assert_ne!(two.exec("a", &format!("nslookup {name}")).code, 0, "{name}");
    }
    assert!(!call(&two, "a", &target, 80), "by address");
    // By ways of its own making, also over the host's address on the other network.
    let own = gateway(&two, "a");
    for way in [own, host] {
        two.sh(
            "a",
            &format!("ip route replace {way}/32 dev eth0; ip route replace {target}/32 via {way}"),
        );
        assert!(!call(&two, "a", &target, 80), "via {way}");
    }
    for address in [own, host] {
        assert!(
            !call(&two, "a", &address.to_string(), local),
            "{address}:{local} is published on 127.0.0.1 only"
        );
    }
    // What is published to the world is published to it, too.
    assert!(call(&two, "a", &own.to_string(), open));
    one.ok("down -t 0");
    two.ok("down -t 0");
}

/// CVE-2020-8558: with `route_localnet`, neighbours of a host reached what listens on its 127.0.0.1.
fn the_hosts_loopback_is_out_of_reach_whatever_routes_a_container_has() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let published = ports::free();
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, cap_add: [NET_ADMIN], sysctls: {{net.ipv4.conf.all.route_localnet: 1}}}}\n  \
         w: {{image: tiny, stop_signal: SIGKILL, command: httpd -f -p 80 -h /bin, ports: ['127.0.0.1:{published}:80']}}\n"
    ));
    hoist.ok("up -d");
    let to = |port: u16| std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    assert!(to(port).is_ok(), "the host's own");
    eventually("the published one listens", || to(published).ok().map(drop));
    let way = gateway(&hoist, "a");
    hoist.sh(
        "a",
        &format!(
            "ip addr del 127.0.0.1/8 dev lo; ip route flush table local type local 127.0.0.0/8; \
             ip route add 127.0.0.0/8 via {way} src $(hostname -i)"
        ),
    );
    for address in [
        format!("127.0.0.1 {port}"),
        format!("127.0.0.1 {published}"),
        format!("{way} {port}"),
    ] {
        let done = hoist.exec("a", &format!("nc -w2 {address} -e /bin/true"));
        assert_ne!(done.code, 0, "{address}: {}", done.story());
    }
    hoist.ok("down -t 0");
}

fn of_the_host_an_internal_network_has_one_address_only() {
    let hoist = Sandbox::new();
    let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [in], cap_add: [NET_ADMIN]}\n  b: {SLEEP, networks: [out]}\n\
         networks: {in: {internal: true}, out: }\n",
    );
    hoist.ok("up -d");
    let subnet = hoist.sh("a", "ip route");
    assert!(!subnet.contains("default"), "{subnet}");
    let network = subnet.split('/').next().expect("a network").to_owned();
    let network: Ipv4Addr = network.parse().expect("an address");
    let own = Ipv4Addr::from_bits(network.to_bits() + 1);
    let call =
        |address: Ipv4Addr| hoist.exec("a", &format!("nc -w2 {address} {port} -e /bin/true"));
    assert_eq!(call(own).code, 0, "{}", call(own).story());
    hoist.sh("a", &format!("ip route add default via {own}"));
    let other = gateway(&hoist, "b");
    assert_ne!(call(other).code, 0, "the host's address on another network");
    hoist.ok("down -t 0");
}

/// The bridges of the networks of a sandbox.
fn bridges(hoist: &Sandbox) -> Vec<String> {
    let dirs = crate::harness::leftovers::children(&hoist.data().join("networks"));
    let record = |dir: &std::path::PathBuf| {
        let text = std::fs::read_to_string(dir.join("network.json")).ok()?;
        let record: serde_json::Value = serde_json::from_str(&text).ok()?;
        record["bridge"].as_str().map(str::to_owned)
    };
    dirs.iter().filter_map(record).collect()
}

fn without_ipv6_the_host_is_not_there_by_ipv6_either() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, cap_add: [NET_ADMIN]}\n");
    hoist.ok("up -d");
    let all = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    for bridge in bridges(&hoist) {
        assert!(
            !all.contains(&bridge),
            "{bridge} has an IPv6 address:\n{all}"
        );
    }
    assert!(!all.contains("hsv"), "a cable has an IPv6 address:\n{all}");
    assert_eq!(
        hoist.sh("a", "cat /proc/net/if_inet6 | grep -v ' lo$' || true"),
        ""
    );
    hoist.ok("down -t 0");
}

/// CVE-2020-13401: a container's router advertisements were taken by the host.
fn nobody_on_the_link_tells_a_container_or_the_host_where_routers_are() {
    let hoist = Sandbox::new();
    let ipv6 = has_v6();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP}}\nnetworks: {{default: {{enable_ipv6: {ipv6}}}}}\n"
    ));
    hoist.ok("up -d");
    if ipv6 {
        let inside = hoist.sh("a", "cat /proc/sys/net/ipv6/conf/eth0/accept_ra");
        assert_eq!(inside, "0");
        for bridge in bridges(&hoist) {
            let path = format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra");
            let host = std::fs::read_to_string(path).expect("it has IPv6");
            assert_eq!(host.trim(), "0");
        }
    }
    hoist.ok("down -t 0");
}

/// CVE-2025-54388 and Docker before 28: machines beside the host reached containers' addresses, published or not.
fn another_machine_reaches_published_ports_and_nothing_else() {
    let outside = Outside::new();
    let hoist = Sandbox::new();
    let (open, local) = (ports::free(), ports::free());
    hoist.compose(&format!(
        "services:\n  w: {{image: tiny, stop_signal: SIGKILL, command: httpd -f -p 80 -h /bin, \
         ports: ['{open}:80', '127.0.0.1:{local}:80']}}\n"
    ));
    hoist.ok("up -d");
    let target: Ipv4Addr = hoist.sh("w", "hostname -i").parse().expect("an address");
    let reaches = |address: Ipv4Addr, port: u16| {
        outside.there(|| {
            let limit = std::time::Duration::from_secs(2) * crate::harness::slowness();
            std::net::TcpStream::connect_timeout(&(address, port).into(), limit).is_ok()
        })
    };
    eventually("it is published", || {
        reaches(outside.host_v4, open).then_some(())
    });
    assert!(
        !reaches(outside.host_v4, local),
        "published on loopback only"
    );
    // Its default route leads here, so that it knows the way.
    assert!(!reaches(target, 80), "by the container's own address");
    let lie = format!("127.0.0.0/8 via {}", outside.host_v4);
    let words: Vec<&str> = lie.split_whitespace().collect();
    let route = [&["route", "add"][..], &words].concat();
    // A packet for 127.0.0.1 from outside; not every kernel lets it be sent.
    drop(outside.run("ip", &["addr", "del", "127.0.0.1/8", "dev", "lo"]));
    drop(outside.run("ip", &route));
    assert!(
        !reaches(Ipv4Addr::LOCALHOST, local),
        "by a route to loopback"
    );
    hoist.ok("down -t 0");
}
