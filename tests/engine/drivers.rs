//! Drivers of networks, their options, and what a service may ask of its place on a network.

use std::net::Ipv4Addr;

use crate::harness::outside::Outside;
use crate::harness::process::{Done, LIMIT, finish};
use crate::harness::{ENGINE, Need, Sandbox, eventually, ports, program};

crate::cases!(ENGINE;
    a_hardware_address_is_the_services_or_that_of_its_place,
    devices_inside_are_called_as_asked_and_the_others_take_free_names,
    addresses_beside_the_networks_are_added_and_answer,
    settings_of_a_device_are_set_and_no_others,
    a_bridge_has_the_name_and_size_and_its_devices_the_prefix_that_options_say,
    without_icc_neighbours_reach_each_other_by_published_ports_only,
    ports_are_bound_where_the_network_says,
    a_bridge_without_an_ipv4_address_of_its_own_is_somebody_elses_to_number,
    faults_of_drivers_and_places_are_told_at_once_with_their_lines,
    an_unknown_option_is_a_warning_with_a_guess,
);

/// Cases with another machine beside this one.
pub const OUTSIDE: &[crate::harness::Case] = &[
    crate::harness::Case {
        name: concat!(
            module_path!(),
            "::what_leaves_has_the_source_that_options_say"
        ),
        needs: BESIDE,
        run: what_leaves_has_the_source_that_options_say,
    },
    crate::harness::Case {
        name: concat!(
            module_path!(),
            "::gateway_modes_say_who_reaches_a_containers_own_address"
        ),
        needs: BESIDE,
        run: gateway_modes_say_who_reaches_a_containers_own_address,
    },
];

/// Cases on devices that not every kernel has.
pub const DEVICES: &[crate::harness::Case] = &[
    crate::harness::Case {
        name: concat!(
            module_path!(),
            "::macvlan_puts_containers_on_a_device_of_the_host"
        ),
        needs: &[
            Need::Root,
            Need::Busybox,
            Need::Program("ip"),
            Need::Device("macvlan"),
        ],
        run: macvlan_puts_containers_on_a_device_of_the_host,
    },
    crate::harness::Case {
        name: concat!(module_path!(), "::macvlan_modes_say_who_reaches_whom"),
        needs: &[
            Need::Root,
            Need::Busybox,
            Need::Program("ip"),
            Need::Device("macvlan"),
        ],
        run: macvlan_modes_say_who_reaches_whom,
    },
    crate::harness::Case {
        name: concat!(
            module_path!(),
            "::ipvlan_shares_the_hardware_address_of_a_device_of_the_host"
        ),
        needs: &[
            Need::Root,
            Need::Busybox,
            Need::Program("ip"),
            Need::Device("ipvlan"),
        ],
        run: ipvlan_shares_the_hardware_address_of_a_device_of_the_host,
    },
    crate::harness::Case {
        name: concat!(
            module_path!(),
            "::a_parent_that_is_a_vlan_or_none_is_made_and_removed"
        ),
        needs: &[
            Need::Root,
            Need::Busybox,
            Need::Program("ip"),
            Need::Device("macvlan"),
            Need::Device("vlan"),
            Need::Device("dummy"),
        ],
        run: a_parent_that_is_a_vlan_or_none_is_made_and_removed,
    },
];

const BESIDE: &[Need] = &[
    Need::Root,
    Need::Busybox,
    Need::Program("ip"),
    Need::Program("nsenter"),
    Need::Program("unshare"),
];

/// A server on port 80.
const WEB: &str = "image: tiny, stop_signal: SIGKILL, command: httpd -f -p 80 -h /bin";

fn ip(arguments: &str) -> Done {
    let path = program("ip").expect("it was looked for");
    let mut command = std::process::Command::new(path);
    command.args(arguments.split_whitespace());
    finish(command, None, LIMIT)
}

/// Whether a container connects to a port.
fn calls(hoist: &Sandbox, service: &str, address: &str, port: u16) -> bool {
    let line = format!("nc -w2 {address} {port} -e /bin/true");
    hoist.exec(service, &line).code == 0
}

fn a_hardware_address_is_the_services_or_that_of_its_place() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, mac_address: '02:00:00:00:aa:01', networks: {x: {priority: 9}, y: }}\n  \
         b: {SLEEP, networks: {x: {mac_address: '02-00-00-00-BB-02'}}}\n  \
         c: {SLEEP, networks: [x]}\nnetworks: {x: , y: }\n",
    );
    hoist.ok("up -d");
    let mac = |service: &str, device: &str| {
        hoist.sh(service, &format!("cat /sys/class/net/{device}/address"))
    };
    assert_eq!(mac("a", "eth0"), "02:00:00:00:aa:01");
    assert_ne!(
        mac("a", "eth1"),
        "02:00:00:00:aa:01",
        "the main network's only"
    );
    assert_eq!(mac("b", "eth0"), "02:00:00:00:bb:02");
    // The guard lets what has such an address through.
    hoist.sh("c", "ping -c1 -W5 a && ping -c1 -W5 b");
    let before = mac("a", "eth0");
    hoist.ok("restart -t 0 a");
    assert_eq!(mac("a", "eth0"), before);
    hoist.ok("down -t 0");
}

fn devices_inside_are_called_as_asked_and_the_others_take_free_names() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    networks:\n      \
         n1: {interface_name: web0}\n      n2: {driver_opts: {com.docker.network.endpoint.ifname: eth0}}\n      n3:\n      \
         n4: {priority: 5}\n  b: {SLEEP, networks: [n1, n2, n3, n4]}\nnetworks: {n1: , n2: , n3: , n4: }\n",
    );
    hoist.ok("up -d");
    let names = hoist.sh("a", "ls /sys/class/net | grep -v lo | tr '\\n' ' '");
    assert_eq!(names, "eth0 eth1 eth2 web0");
    for (network, device) in [
        ("n1", "web0"),
        ("n2", "eth0"),
        ("n4", "eth1"),
        ("n3", "eth2"),
    ] {
        let own = hoist.sh("a", &format!("ip -o -4 addr show {device}"));
        let subnet = own
            .split_whitespace()
            .nth(3)
            .expect("an address")
            .to_owned();
        let prefix = subnet.rsplit_once('.').expect("IPv4").0.to_owned();
        let record = hoist
            .data()
            .join(format!("networks/{}_{network}/network.json", hoist.name));
        let record = std::fs::read_to_string(record).expect("the network is there");
        assert!(record.contains(&prefix), "{device} is not on {network}");
    }
    hoist.sh("b", "ping -c1 -W5 a");
    hoist.ok("down -t 0");
}

fn addresses_beside_the_networks_are_added_and_answer() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {default: {link_local_ips: ['169.254.8.8', 'fe80::8', '57.123.22.11']}}}\n  \
         b: {SLEEP, networks: {default: {link_local_ips: ['169.254.8.9', 'fe80::9']}}}\n",
    );
    hoist.ok("up -d");
    let all = hoist.sh("a", "ip -o addr show eth0");
    let v6 = crate::harness::outside::has_v6();
    for address in ["169.254.8.8/16", "57.123.22.11/16"]
        .into_iter()
        .chain(v6.then_some("fe80::8/64"))
    {
        assert!(all.contains(address), "{address}: {all}");
    }
    hoist.sh("b", "ping -c1 -W5 169.254.8.8");
    hoist.ok("down -t 0");
}

fn settings_of_a_device_are_set_and_no_others() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    networks:\n      n:\n        interface_name: x1\n        \
         driver_opts:\n          com.docker.network.endpoint.sysctls: net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.gc_stale_time=77\n\
         networks: {n: }\n",
    );
    hoist.ok("up -d");
    let read = |path: &str| hoist.sh("a", &format!("cat /proc/sys/net/ipv4/{path}"));
    assert_eq!(read("conf/x1/log_martians"), "1");
    assert_eq!(read("neigh/x1/gc_stale_time"), "77");
    assert_eq!(
        read("conf/lo/log_martians"),
        read("conf/default/log_martians")
    );
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {n: {driver_opts: {com.docker.network.endpoint.sysctls: net.ipv4.conf.IFNAME.nosuch=1}}}}\nnetworks: {n: }\n",
    );
    hoist.run("up -d").code(1).says("ipv4/conf/eth0/nosuch");
    hoist.ok("down -t 0");
}

fn a_bridge_has_the_name_and_size_and_its_devices_the_prefix_that_options_say() {
    let hoist = Sandbox::new();
    let name = format!("hstt{}", std::process::id());
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP}}\nnetworks:\n  default:\n    driver: bridge\n    driver_opts:\n      \
         com.docker.network.bridge.name: {name}\n      com.docker.network.driver.mtu: 1234\n      \
         com.docker.network.container_iface_prefix: lan\n      com.docker.network.bridge.default_bridge: 'false'\n"
    ));
    hoist.ok("up -d");
    let file = |file: &str| {
        let text = std::fs::read_to_string(format!("/sys/class/net/{name}/{file}"));
        text.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(file("mtu"), "1234");
    assert_eq!(hoist.sh("a", "cat /sys/class/net/lan0/mtu"), "1234");
    hoist.ok("down -t 0");
    assert_eq!(file("mtu"), "", "the bridge is gone");
}

fn without_icc_neighbours_reach_each_other_by_published_ports_only() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['{port}:80']}}\n  b: {{SLEEP}}\nnetworks:\n  default:\n    driver_opts:\n      \
         com.docker.network.bridge.enable_icc: 'false'\n"
    ));
    hoist.ok("up -d");
    let target = hoist.sh("w", "hostname -i");
    let gateway = hoist.sh("b", "ip route | grep ^default");
    let gateway = gateway
        .split_whitespace()
        .nth(2)
        .expect("a gateway")
        .to_owned();
    eventually("the published port answers", || {
        calls(&hoist, "b", &gateway, port).then_some(())
    });
    assert!(!calls(&hoist, "b", &target, 80), "directly");
    assert_ne!(hoist.exec("b", &format!("ping -c1 -W1 {target}")).code, 0);
    hoist.ok("down -t 0");
}

fn ports_are_bound_where_the_network_says() {
    let hoist = Sandbox::new();
    let (one, two) = (ports::free(), ports::free());
    hoist.compose(&format!(
        "services:\n  w: {{{WEB}, ports: ['{one}:80', '0.0.0.0:{two}:80']}}\nnetworks:\n  default:\n    driver_opts:\n      \
         com.docker.network.bridge.host_binding_ipv4: 127.0.0.1\n"
    ));
    hoist.ok("up -d");
    let rows = hoist.ok("ps").all();
    assert!(rows.contains(&format!("127.0.0.1:{one}->80/tcp")), "{rows}");
    assert!(!rows.contains(&format!("0.0.0.0:{one}")), "{rows}");
    assert!(rows.contains(&format!("0.0.0.0:{two}->80/tcp")), "{rows}");
    hoist.ok("down -t 0");
}

fn a_bridge_without_an_ipv4_address_of_its_own_is_somebody_elses_to_number() {
    let hoist = Sandbox::new();
    let name = format!("hstn{}", std::process::id());
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP}}\n  b: {{SLEEP}}\nnetworks:\n  default:\n    driver_opts:\n      \
         com.docker.network.bridge.name: {name}\n      com.docker.network.bridge.inhibit_ipv4: 'true'\n"
    ));
    hoist.ok("up -d");
    hoist.sh("a", "ping -c1 -W5 b");
    let own = hoist.sh("a", "ip route | grep ^default");
    let gateway = own.split_whitespace().nth(2).expect("a gateway").to_owned();
    let local = std::fs::read_to_string("/proc/net/fib_trie").expect("there is one");
    assert!(
        !local.contains(&format!("{gateway}\n           /32 host LOCAL")),
        "{gateway}"
    );
    assert_ne!(hoist.exec("a", &format!("ping -c1 -W1 {gateway}")).code, 0);
    hoist.ok("down -t 0");
}

fn what_leaves_has_the_source_that_options_say() {
    let outside = Outside::new();
    let hoist = Sandbox::new();
    let other = Ipv4Addr::new(192, 0, 2, outside.host_v4.octets()[3]);
    // Another address of this machine on the same cable, and the way back to a network that is not translated.
    let link = &outside.link;
    ip(&format!("addr add {other}/32 dev {link}")).ok();
    hoist.compose(&format!(
        "services:\n  plain: {{SLEEP, networks: [plain]}}\n  open: {{SLEEP, networks: [open]}}\n  named: {{SLEEP, networks: [named]}}\n\
         networks:\n  plain:\n  open: {{driver_opts: {{com.docker.network.bridge.enable_ip_masquerade: 'false'}}}}\n  \
         named: {{driver_opts: {{com.docker.network.host_ipv4: {other}}}}}\n"
    ));
    hoist.ok("up -d");
    let seen = |service: &str| {
        let line = format!(
            "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w5 {} 80 | tail -n1",
            outside.v4
        );
        hoist.sh(service, &line)
    };
    assert_eq!(seen("plain"), outside.host_v4.to_string());
    let way = |service: &str| {
        vec![
            "route".to_owned(),
            "replace".into(),
            format!("{}/32", hoist.sh(service, "hostname -i")),
            "via".into(),
            outside.host_v4.to_string(),
        ]
    };
    for service in ["open", "named"] {
        let words = way(service);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        outside.run("ip", &words).ok();
    }
    assert_eq!(seen("open"), hoist.sh("open", "hostname -i"));
    assert_eq!(seen("named"), other.to_string());
    hoist.ok("down -t 0");
}

fn gateway_modes_say_who_reaches_a_containers_own_address() {
    let outside = Outside::new();
    let hoist = Sandbox::new();
    let key = "com.docker.network.bridge.gateway_mode_ipv4";
    let trusted = format!(
        "com.docker.network.bridge.trusted_host_interfaces: {}",
        outside.link
    );
    let (one, two) = (ports::free(), ports::free());
    let serve = "image: tiny, stop_signal: SIGKILL, command: sh -c 'httpd -p 81 -h /bin; exec httpd -f -p 80 -h /bin'";
    hoist.compose(&format!(
        "services:\n  nat: {{{serve}, networks: [nat], ports: ['80']}}\n  open: {{{serve}, networks: [open], ports: ['80']}}\n  \
         routed: {{{serve}, networks: [routed], ports: ['{one}:80']}}\n  trusted: {{{serve}, networks: [trusted], ports: ['{two}:80']}}\n  \
         alone: {{SLEEP, networks: [alone]}}\n\
         networks:\n  nat: {{driver_opts: {{{key}: nat}}}}\n  open: {{driver_opts: {{{key}: nat-unprotected}}}}\n  \
         routed: {{driver_opts: {{{key}: routed}}}}\n  trusted: {{driver_opts: {{{trusted}}}}}\n  \
         alone: {{internal: true, driver_opts: {{{key}: isolated}}}}\n"
    ));
    hoist.ok("up -d");
    let reaches = |service: &str, port: u16| {
        let address: Ipv4Addr = hoist
            .sh(service, "hostname -i")
            .parse()
            .expect("an address");
        outside.there(|| {
            let limit = std::time::Duration::from_secs(1) * crate::harness::slowness();
            std::net::TcpStream::connect_timeout(&(address, port).into(), limit).is_ok()
        })
    };
    for service in ["nat", "open", "routed", "trusted"] {
        hoist.sh(service, "until nc -w2 127.0.0.1 80 -e /bin/true; do :; done; until nc -w2 127.0.0.1 81 -e /bin/true; do :; done");
    }
    let of = |service: &str| (reaches(service, 80), reaches(service, 81));
    assert_eq!(of("nat"), (false, false), "nat: published, not published");
    assert_eq!(of("open"), (true, true), "nat-unprotected");
    assert_eq!(of("routed"), (true, false), "routed");
    assert_eq!(of("trusted"), (true, false), "a trusted device");
    // A routed network takes no port of the host.
    std::net::TcpListener::bind(("0.0.0.0", one)).expect("the port is free");
    assert!(std::net::TcpListener::bind(("0.0.0.0", two)).is_err());
    hoist.ok("stop -t 0 routed");
    assert_eq!(hoist.sh("alone", "ip route | wc -l"), "1");
    let own = hoist.sh("alone", "hostname -i");
    let gateway = own.rsplit_once('.').expect("IPv4").0.to_owned() + ".1";
    assert_ne!(
        hoist.exec("alone", &format!("ping -c1 -W1 {gateway}")).code,
        0
    );
    hoist.ok("down -t 0");
}

/// A cable whose one end is the parent of a network; the other is outside. It is gone when this is dropped.
struct Parent {
    name: String,
    /// The other end, in this machine.
    other: String,
}

impl Parent {
    fn new(letter: char) -> Self {
        let number = std::process::id() % 100_000;
        let (name, other) = (
            format!("hsm{letter}{number}"),
            format!("hsn{letter}{number}"),
        );
        ip(&format!("link add {name} type veth peer name {other}")).ok();
        for end in [&name, &other] {
            ip(&format!("link set {end} up")).ok();
        }
        Self { name, other }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        drop(ip(&format!("link delete {}", self.name)));
    }
}

fn macvlan_puts_containers_on_a_device_of_the_host() {
    let hoist = Sandbox::new();
    let parent = Parent::new('a');
    // TEST-NET-3, of which this machine's other end has an address, as a router outside would.
    ip(&format!("addr add 203.0.113.1/24 dev {}", parent.other)).ok();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, networks: {{lan: {{ipv4_address: 203.0.113.20, mac_address: '02:00:00:00:cc:01'}}}}, ports: ['{port}:80']}}\n  \
         b: {{SLEEP, networks: [lan]}}\n  c: {{SLEEP, networks: [in]}}\n  d: {{SLEEP, networks: [in]}}\n\
         networks:\n  lan:\n    driver: macvlan\n    driver_opts: {{parent: {0}, macvlan_mode: bridge}}\n    ipam:\n      config: [{{subnet: 203.0.113.0/24, gateway: 203.0.113.1, ip_range: 203.0.113.128/25}}]\n  \
         in:\n    driver: macvlan\n    internal: true\n    driver_opts: {{parent: {0}, com.docker.network.driver.mtu: '1300'}}\n",
        parent.name
    ));
    hoist
        .ok("up -d")
        .says("ports of service `a` are not published");
    assert_eq!(
        hoist.sh("a", "cat /sys/class/net/eth0/address"),
        "02:00:00:00:cc:01"
    );
    let address = |service: &str| {
        let text = hoist.sh(service, "ip -o -4 addr show eth0");
        let address = text.split_whitespace().nth(3).expect("an address");
        address.split('/').next().expect("an address").to_owned()
    };
    assert_eq!(address("a"), "203.0.113.20");
    assert_eq!(address("b"), "203.0.113.128");
    assert!(
        hoist
            .sh("a", "ip route")
            .contains("default via 203.0.113.1")
    );
    hoist.sh("b", "ping -c1 -W5 a && ping -c1 -W5 203.0.113.1");
    hoist.sh("c", "ping -c1 -W5 d");
    assert!(!hoist.sh("c", "ip route").contains("default"), "internal");
    assert_eq!(hoist.sh("c", "cat /sys/class/net/eth0/mtu"), "1300");
    ip(&format!("neigh flush dev {}", parent.other)).ok();
    std::net::TcpListener::bind(("0.0.0.0", port)).expect("no port of the host is taken");
    hoist.ok("down -t 0");
    ip(&format!("link show {}", parent.name)).ok();
}

fn macvlan_modes_say_who_reaches_whom() {
    let hoist = Sandbox::new();
    let parent = Parent::new('b');
    let network = |mode: &str| {
        let name = &parent.name;
        format!(
            "  {mode}: {{driver: macvlan, driver_opts: {{parent: {name}, macvlan_mode: {mode}}}}}\n"
        )
    };
    let services = |mode: &str| {
        format!(
            "  {mode}-a: {{SLEEP, networks: [{mode}]}}\n  {mode}-b: {{SLEEP, networks: [{mode}]}}\n"
        )
    };
    let modes = ["bridge", "private", "vepa"];
    let (networks, all): (String, String) =
        (modes.map(network).concat(), modes.map(services).concat());
    hoist.compose(&format!("services:\n{all}networks:\n{networks}"));
    hoist.ok("up -d");
    for (mode, reached) in [("bridge", true), ("private", false), ("vepa", false)] {
        let done = hoist.exec(&format!("{mode}-a"), &format!("ping -c1 -W1 {mode}-b"));
        // No switch outside sends vepa's packets back.
        assert_eq!(done.code == 0, reached, "{mode}: {}", done.story());
    }
    hoist.ok("down -t 0");
    let parent = Parent::new('e');
    let name = &parent.name;
    let passthru = format!(
        "  p: {{driver: macvlan, driver_opts: {{parent: {name}, macvlan_mode: passthru}}}}\n"
    );
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, networks: [p]}}\nnetworks:\n{passthru}"
    ));
    hoist.ok("up -d");
    hoist.ok("restart -t 0 a");
    let own = std::fs::read_to_string(format!("/sys/class/net/{}/address", parent.name));
    assert_eq!(
        hoist.sh("a", "cat /sys/class/net/eth0/address"),
        own.expect("it is there").trim()
    );
    hoist.ok("down -t 0");
}

fn ipvlan_shares_the_hardware_address_of_a_device_of_the_host() {
    let hoist = Sandbox::new();
    let parent = Parent::new('c');
    let mac = std::fs::read_to_string(format!("/sys/class/net/{}/address", parent.name));
    let mac = mac.expect("it is there").trim().to_owned();
    for (mode, flag, reached) in [
        ("l2", "bridge", true),
        ("l3", "bridge", true),
        ("l3s", "bridge", true),
        ("l2", "private", false),
        ("l2", "vepa", false),
    ] {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, networks: [n]}}\n  b: {{SLEEP, networks: [n]}}\nnetworks:\n  n: {{driver: ipvlan, driver_opts: \
             {{parent: {}, ipvlan_mode: {mode}, ipvlan_flag: {flag}}}}}\n",
            parent.name
        ));
        hoist.ok("up -d");
        assert_eq!(hoist.sh("a", "cat /sys/class/net/eth0/address"), mac);
        let route = hoist.sh("a", "ip route | grep ^default");
        assert_eq!(route.contains("via"), mode == "l2", "{mode}: {route}");
        let done = hoist.exec("a", "ping -c1 -W2 b");
        assert_eq!(done.code == 0, reached, "{mode} {flag}: {}", done.story());
        hoist.ok("down -t 0");
    }
}

fn a_parent_that_is_a_vlan_or_none_is_made_and_removed() {
    let hoist = Sandbox::new();
    let parent = Parent::new('d');
    let vlan = format!("{}.7", parent.name);
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, networks: [v, none]}}\n  b: {{SLEEP, networks: [w, none]}}\nnetworks:\n  \
         v: {{driver: macvlan, driver_opts: {{parent: {vlan}}}}}\n  w: {{driver: macvlan, driver_opts: {{parent: {vlan}}}}}\n  \
         none: {{driver: macvlan}}\n"
    ));
    hoist.ok("up -d");
    let details = ip(&format!("-d link show {vlan}")).ok().all();
    assert!(details.contains("vlan protocol 802.1Q id 7"), "{details}");
    hoist.sh("a", "ping -c1 -W5 b");
    assert!(
        !hoist
            .sh("b", "ip route")
            .lines()
            .any(|line| line.starts_with("default") && line.contains("eth0"))
            || hoist.sh("b", "ip route").contains("eth1")
    );
    hoist.ok("down -t 0");
    assert_ne!(
        ip(&format!("link show {vlan}")).code,
        0,
        "the VLAN's device is gone"
    );
    ip(&format!(
        "link add link {0} name {vlan} type vlan id 7",
        parent.name
    ))
    .ok();
    hoist.ok("up -d");
    hoist.ok("down -t 0");
    ip(&format!("link show {vlan}")).ok();
    let links = ip("link show type dummy").ok().all();
    assert!(!links.contains("hsd"), "{links}");
}

/// What a project without fault is told to be wrong with, before anything is made.
fn faults_of_drivers_and_places_are_told_at_once_with_their_lines() {
    let hoist = Sandbox::new();
    hoist.file(
        "compose.yaml",
        r#"services:
  a:
    image: tiny
    networks:
      one:
        mac_address: "01:02:03:04:05:06"
        interface_name: much-too-long-a-name
      two:
        mac_address: "02:00:00:00:00:01"
        driver_opts: {com.docker.network.endpoint.sysctls: net.ipv4.ip_forward=1}
  b:
    image: tiny
    networks:
      two: {mac_address: "02-00-00-00-00-01", interface_name: same}
      three: {interface_name: same}
  c:
    image: tiny
    scale: 2
    networks:
      two: {mac_address: "02:00:00:00:00:09"}
networks:
  one:
    driver: bridg
  two:
    driver_opts:
      com.docker.network.bridge.enable_icc: perhaps
      com.docker.network.bridge.gateway_mode_ipv4: isolated
      com.docker.network.bridge.name: same0
  three:
    ipam: {driver: infoblox}
    driver_opts: {com.docker.network.bridge.name: same0}
  four: {driver: macvlan, driver_opts: {parent: no/such, macvlan_mode: passthru}}
"#,
    );
    let done = hoist.run("up -d").code(1);
    for part in [
        "compose.yaml:6:22: `01:02:03:04:05:06` is no hardware address of one device",
        "compose.yaml:7:25: `much-too-long-a-name` cannot be the name of a device",
        "compose.yaml:10:60: option `com.docker.network.endpoint.sysctls` is `net.ipv4.ip_forward=1`",
        "compose.yaml:14:26: two services have hardware address 02-00-00-00-00-01 on network `two`",
        "two devices of service `b` are called `same`",
        "compose.yaml:20:26: 2 containers of service `c` cannot have one hardware address",
        "compose.yaml:23:13: there is no network driver `bridg`",
        "did you mean `bridge`?",
        "compose.yaml:26:45: option `com.docker.network.bridge.enable_icc` is `perhaps`",
        "compose.yaml:27:52: gateway mode `isolated` is for internal networks",
        "there is no address plan driver `infoblox`",
        "two networks want a bridge called `same0`",
    ] {
        assert!(done.all().contains(part), "{part}\n{}", done.story());
    }
    assert!(
        !done.all().contains("passthru"),
        "a network that nobody uses: {}",
        done.story()
    );
    assert!(hoist.ps().is_empty());
    assert!(
        !hoist
            .data()
            .join("networks")
            .join(format!("{}_two", hoist.name))
            .exists()
    );
    // Devices that are not there are told where they are looked for.
    hoist.compose("services:\n  a: {SLEEP, networks: [n]}\nnetworks:\n  n: {driver: macvlan, driver_opts: {parent: nosuch0}}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("this host has no device `nosuch0`");
    hoist.ok("down -t 0");
}

fn an_unknown_option_is_a_warning_with_a_guess() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {default: {driver_opts: {com.docker.network.endpoint.ifnam: x}}}}\nnetworks:\n  default:\n    \
         driver_opts: {com.docker.network.bridge.enable_ic: 'false', com.docker.network.enable_ipv4: 'true', com.docker.network.enable_ipv6: 'false'}\n    ipam: {driver: default, options: {foo: bar}}\n",
    );
    let done = hoist.ok("up -d");
    for part in [
        "option `com.docker.network.bridge.enable_ic` means nothing to the driver `bridge`",
        "option `com.docker.network.endpoint.ifnam` means nothing on a service's network",
        "networks.default.ipam.options",
    ] {
        assert!(done.all().contains(part), "{part}\n{}", done.story());
    }
    assert!(!done.all().contains("enable_ipv4"), "{}", done.story());
    hoist.ok("down -t 0");
}
