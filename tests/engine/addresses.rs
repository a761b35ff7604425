//! Address plans: subnets and addresses of both versions of IP, seen from inside and from another machine; what can't be
//! had; networks that change, and that projects share.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::leftovers::children;
use crate::harness::outside::{Outside, has_v6};
use crate::harness::{Need, Sandbox, eventually};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Busybox,
    Need::Program("ip"),
    Need::Program("unshare"),
    Need::Program("nsenter"),
];

crate::cases!(NEEDS;
    a_plan_of_both_versions_is_kept_to_the_letter,
    a_service_has_the_addresses_it_asks_for,
    enable_ipv6_alone_gives_a_subnet_of_this_machines_own,
    without_ipv6_a_container_has_no_trace_of_it,
    a_network_may_have_ipv6_only,
    the_first_device_is_that_of_the_highest_priority,
    each_version_of_ip_leaves_by_its_own_best_network,
    aliases_hold_on_their_own_network_only,
    addresses_that_cannot_be_had_are_told_all_at_once_with_their_places,
    a_subnet_of_somebody_else_is_refused_and_nothing_is_left,
    a_changed_network_is_made_anew_with_its_containers,
    a_network_has_the_name_it_is_given,
    projects_share_a_network_until_the_last_of_them_is_gone,
    an_external_network_must_be_there_and_is_never_removed,
    a_shared_namespace_is_followed_when_its_owner_is_made_anew_or_restarted,
    network_mode_joins_a_container_of_another_project,
    network_mode_bridge_is_one_network_for_all_projects,
    fifty_networks_come_and_go,
    both_versions_lead_outside_and_nobody_comes_in,
    an_internal_network_leads_nowhere_in_both_versions,
);

/// The record of a network of the sandbox.
fn network(hoist: &Sandbox, name: &str) -> Value {
    let path = hoist
        .data()
        .join("networks")
        .join(name)
        .join("network.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// Global addresses of a device, with lengths: `10.5.0.2/24`.
fn addresses(hoist: &Sandbox, service: &str, device: &str) -> Vec<String> {
    let text = hoist.sh(
        service,
        &format!("ip -o addr show dev {device} scope global"),
    );
    let word = |line: &str| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| !word.starts_with("inet"));
        words.nth(1).map(str::to_owned)
    };
    text.lines().filter_map(word).collect()
}

fn default_routes(hoist: &Sandbox, service: &str) -> Vec<String> {
    let text = hoist.sh(service, "ip route; ip -6 route");
    let way = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["default", "via", gateway, "dev", device, ..] => Some(format!("{gateway} {device}")),
            _ => None,
        }
    };
    text.lines().filter_map(way).collect()
}

fn a_plan_of_both_versions_is_kept_to_the_letter() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [n]}\nnetworks:\n  n:\n    enable_ipv6: true\n    ipam:\n      driver: default\n      config:\n        \
         - {subnet: 10.213.1.0/24, ip_range: 10.213.1.128/25, gateway: 10.213.1.254, aux_addresses: {printer: 10.213.1.128}}\n        \
         - {subnet: 'fd13:1::/64', ip_range: 'fd13:1:0:0:1::/80', gateway: 'fd13:1::fe', aux_addresses: {printer: 'fd13:1::1:0:0:0'}}\n",
    );
    hoist.ok("up -d");
    assert_eq!(
        addresses(&hoist, "a", "eth0"),
        ["10.213.1.129/24", "fd13:1::1:0:0:1/64"]
    );
    assert_eq!(
        default_routes(&hoist, "a"),
        ["10.213.1.254 eth0", "fd13:1::fe eth0"]
    );
    hoist.sh(
        "a",
        "ping -c1 -W2 10.213.1.254 && ping -6 -c1 -W2 fd13:1::fe",
    );
    // Routers of the link are found where Docker has them.
    hoist.sh("a", "ping -6 -c1 -W2 fe80::1%eth0");
    let bridge = network(&hoist, &format!("{}_n", hoist.name))["bridge"].clone();
    let bridge = bridge.as_str().expect("a name");
    let read = |what: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{bridge}/{what}");
        std::fs::read_to_string(path)
            .expect("a setting")
            .trim()
            .to_owned()
    };
    assert_eq!(
        read("accept_ra"),
        "0",
        "a container is no router of the host's"
    );
    hoist.ok("down -t 0");
    assert!(!Path::new("/sys/class/net").join(bridge).exists());
}

fn a_service_has_the_addresses_it_asks_for() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {n: {ipv4_address: 10.213.2.77, ipv6_address: 'fd13:2::77'}}}\n  b: {SLEEP, networks: [n]}\n\
         networks: {n: {enable_ipv6: true, ipam: {config: [{subnet: 10.213.2.0/24}, {subnet: 'fd13:2::/64'}]}}}\n",
    );
    hoist.ok("up -d");
    for _ in 0..2 {
        assert_eq!(
            addresses(&hoist, "a", "eth0"),
            ["10.213.2.77/24", "fd13:2::77/64"]
        );
        hoist.sh(
            "b",
            "ping -c1 -W2 10.213.2.77 && ping -6 -c1 -W2 fd13:2::77",
        );
        let own = hoist.sh("a", "hostname");
        let hosts = hoist.sh("a", "cat /etc/hosts");
        for line in [format!("10.213.2.77\t{own}"), format!("fd13:2::77\t{own}")] {
            assert!(hosts.contains(&line), "no {line} in {hosts}");
        }
        // The same again after a restart.
        hoist.ok("restart -t 0");
    }
}

fn enable_ipv6_alone_gives_a_subnet_of_this_machines_own() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [m, n]}\n  b: {SLEEP, networks: [n]}\nnetworks: {m: {enable_ipv6: true}, n: {enable_ipv6: true}}\n",
    );
    let subnets = || -> Vec<String> {
        let name = |key| format!("{}_{key}", hoist.name);
        let subnet = |key| network(&hoist, &name(key))["subnets"][1]["subnet"].clone();
        ["m", "n"]
            .map(|key| subnet(key).as_str().expect("a subnet").to_owned())
            .into()
    };
    hoist.ok("up -d");
    let first = subnets();
    assert_ne!(first[0], first[1]);
    for subnet in &first {
        assert!(
            subnet.starts_with("fd") && subnet.ends_with("/64"),
            "{subnet}"
        );
        assert_eq!(subnet[..12], first[0][..12], "of one network of 48 bits");
    }
    let address = addresses(&hoist, "a", "eth1")[1].clone();
    let address = address.trim_end_matches("/64");
    hoist.sh("b", &format!("ping -6 -c1 -W2 {address}"));
    hoist.ok("down -t 0");
    hoist.ok("up -d");
    let mut again = subnets();
    let mut first = first;
    again.sort();
    first.sort();
    assert_eq!(again, first, "what was given back is given out again");
}

fn without_ipv6_a_container_has_no_trace_of_it() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    assert_eq!(
        hoist.sh("a", "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6"),
        "1"
    );
    assert_eq!(hoist.sh("a", "ip -6 addr show dev eth0"), "");
    let bridge = network(&hoist, &format!("{}_default", hoist.name))["bridge"].clone();
    let path = format!(
        "/proc/sys/net/ipv6/conf/{}/disable_ipv6",
        bridge.as_str().expect("a name")
    );
    assert_eq!(
        std::fs::read_to_string(path).expect("a setting").trim(),
        "1"
    );
}

fn a_network_may_have_ipv6_only() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {n: {ipv6_address: 'fd13:3::9'}}}\n  b: {SLEEP, networks: [n]}\n\
         networks: {n: {enable_ipv4: false, enable_ipv6: true, ipam: {config: [{subnet: 'fd13:3::/64'}]}}}\n",
    );
    hoist.ok("up -d");
    assert_eq!(addresses(&hoist, "a", "eth0"), ["fd13:3::9/64"]);
    assert_eq!(addresses(&hoist, "b", "eth0"), ["fd13:3::2/64"]);
    assert_eq!(default_routes(&hoist, "b"), ["fd13:3::1 eth0"]);
    assert_eq!(hoist.sh("b", "ip -4 -o addr show dev eth0"), "");
    hoist.sh("b", "ping -6 -c1 -W2 fd13:3::9");
    hoist.compose("services:\n  a: {SLEEP, networks: [n]}\nnetworks: {n: {enable_ipv4: false}}\n");
    hoist
        .run("up -d")
        .code(1)
        .says("neither IPv4 nor IPv6")
        .says("compose.yaml:3:12");
}

fn the_first_device_is_that_of_the_highest_priority() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {x: {priority: 1}, y: {priority: 1000}, z: }}\nnetworks:\n  x: {ipam: {config: [{subnet: 10.213.11.0/24}]}}\n  \
         y: {ipam: {config: [{subnet: 10.213.12.0/24}]}}\n  z: {ipam: {config: [{subnet: 10.213.13.0/24}]}}\n",
    );
    hoist.ok("up -d");
    for (device, subnet) in [
        ("eth0", "10.213.12."),
        ("eth1", "10.213.11."),
        ("eth2", "10.213.13."),
    ] {
        let found = addresses(&hoist, "a", device);
        assert!(found[0].starts_with(subnet), "{device}: {found:?}");
    }
    // As Docker: only `gw_priority` chooses the way out, and of equals it is the first by name.
    assert_eq!(default_routes(&hoist, "a"), ["10.213.11.1 eth1"]);
}

fn each_version_of_ip_leaves_by_its_own_best_network() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {four: {gw_priority: 1}, six: {gw_priority: -5}, both: {gw_priority: -9}, in: {gw_priority: 99}}}\n  \
         b: {SLEEP, networks: {four: , both: {gw_priority: 7}}}\nnetworks:\n  \
         four: {ipam: {config: [{subnet: 10.213.21.0/24}]}}\n  \
         six: {enable_ipv4: false, enable_ipv6: true, ipam: {config: [{subnet: 'fd13:22::/64'}]}}\n  \
         both: {enable_ipv6: true, ipam: {config: [{subnet: 10.213.23.0/24}, {subnet: 'fd13:23::/64'}]}}\n  \
         in: {internal: true, enable_ipv6: true, ipam: {config: [{subnet: 10.213.24.0/24}, {subnet: 'fd13:24::/64'}]}}\n",
    );
    hoist.ok("up -d");
    // In alphabetical order: both, four, in, six.
    assert_eq!(
        default_routes(&hoist, "a"),
        ["10.213.21.1 eth1", "fd13:22::1 eth3"]
    );
    assert_eq!(
        default_routes(&hoist, "b"),
        ["10.213.23.1 eth0", "fd13:23::1 eth0"]
    );
}

fn aliases_hold_on_their_own_network_only() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: {x: {aliases: [one, shared]}, y: {aliases: [two]}}}\n  b: {SLEEP, networks: [x]}\n  c: {SLEEP, networks: [y]}\n\
         networks: {x: , y: }\n",
    );
    hoist.ok("up -d");
    hoist.sh(
        "b",
        "ping -c1 -W2 one && ping -c1 -W2 shared && ping -c1 -W2 a",
    );
    hoist.sh("c", "ping -c1 -W2 two && ping -c1 -W2 a");
    for (service, name) in [("b", "two"), ("c", "one"), ("c", "shared")] {
        assert_ne!(
            hoist.exec(service, &format!("nslookup {name}")).code,
            0,
            "{service} knows {name}"
        );
    }
}

fn addresses_that_cannot_be_had_are_told_all_at_once_with_their_places() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:
  a:
    SLEEP
    networks:
      good: {ipv4_address: 10.213.31.9, mac_address: '02:42:00:00:00:07'}
      plain: {ipv4_address: 172.30.0.9}
  b:
    SLEEP
    networks:
      good: {ipv4_address: 10.213.31.9, mac_address: '02:42:00:00:00:07', ipv6_address: 'fd13::9'}
  c:
    SLEEP
    networks:
      good: {ipv4_address: 10.213.32.9}
  d:
    SLEEP
    networks: {good: {ipv4_address: 10.213.31.1}, w1: , w2: , w3: , w4: , w5: , w6: }
  e:
    SLEEP
    scale: 2
    networks: {good: {ipv4_address: 10.213.31.20}}
networks:
  plain:
  good: {ipam: {config: [{subnet: 10.213.31.0/24}]}}
  w1: {ipam: {config: [{subnet: 10.213.31.128/25}]}}
  w2: {ipam: {config: [{subnet: 10.213.33.1/24}]}}
  w3: {ipam: {config: [{subnet: ten}]}}
  w4: {ipam: {config: [{subnet: 10.213.34.0/31}]}}
  w5: {ipam: {config: [{subnet: 10.213.35.0/24, ip_range: 10.213.36.0/25, gateway: 10.213.37.1, aux_addresses: {x: 10.213.38.1}}]}}
  w6: {ipam: {config: [{gateway: 10.213.39.1}]}}
"
        .replace("    SLEEP\n", "    image: tiny\n    command: sleep 3600\n")
        .as_str(),
    );
    let mut done = hoist.run("up -d").code(1);
    for text in [
        "compose.yaml:7:29: services.a.networks.plain.ipv4_address: network `plain` has no IPv4 subnet of its own",
        "compose.yaml:12:28: services.b.networks.good.ipv4_address: service `a` has 10.213.31.9 already",
        "compose.yaml:12:54: services.b.networks.good.mac_address: service `a` has 02:42:00:00:00:07 already",
        "services.b.networks.good.ipv6_address: network `good` has no IPv6",
        "compose.yaml:17:28: services.c.networks.good.ipv4_address: 10.213.32.9 is not inside 10.213.31.0/24",
        "services.d.networks.good.ipv4_address: 10.213.31.1 is the gateway's",
        "services.e.networks.good.ipv4_address: only one container can have 10.213.31.20, not 2",
        "networks.w1.ipam.config[0].subnet: the subnet 10.213.31.128/25 overlaps with 10.213.31.0/24 of network `good`",
        "networks.w2.ipam.config[0].subnet: 10.213.33.1/24 is an address; the subnet that holds it is 10.213.33.0/24",
        "networks.w3.ipam.config[0].subnet: `ten` is no network",
        "networks.w4.ipam.config[0].subnet: 10.213.34.0/31 has no room",
        "networks.w5.ipam.config[0].ip_range: the range 10.213.36.0/25 is not inside",
        "networks.w5.ipam.config[0].gateway: the gateway 10.213.37.1 is not inside",
        "networks.w5.ipam.config[0].aux_addresses.x: the reserved address 10.213.38.1 is not inside",
        "networks.w6.ipam.config[0]: a range of addresses needs its `subnet`",
    ] {
        done = done.says(text);
    }
    // Nothing was begun; and the model takes it all, as the reference does.
    hoist.is_gone();
    hoist.ok("config -q");
}

fn a_subnet_of_somebody_else_is_refused_and_nothing_is_left() {
    let hoist = Sandbox::new();
    let other = Sandbox::new();
    let file = "services:\n  a: {SLEEP, networks: [n]}\nnetworks: {n: {ipam: {config: [{subnet: 10.213.41.0/24}]}}}\n";
    hoist.compose(file).ok("up -d");
    other.compose(&file.replace("41.0/24", "41.128/25"));
    other
        .run("up -d")
        .code(1)
        .says("10.213.41.128/25 overlaps with")
        .says("choose another one");
    assert!(
        children(&other.data().join("networks"))
            .iter()
            .all(|path| path.ends_with(".lock"))
    );
    hoist.ok("down -t 0");
    other.ok("up -d");
}

fn a_changed_network_is_made_anew_with_its_containers() {
    let hoist = Sandbox::new();
    let up = |network: &str| {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, networks: [n]}}\n  b: {{SLEEP}}\nnetworks: {{n: {network}}}\n"
        ));
        hoist.ok("up -d");
        (hoist.id("a"), hoist.id("b"))
    };
    let name = format!("{}_n", hoist.name);
    let mut before = up("{}");
    for changed in [
        "{ipam: {config: [{subnet: 10.213.51.0/24}]}}",
        "{ipam: {config: [{subnet: 10.213.51.0/24, gateway: 10.213.51.9}]}}",
        "{enable_ipv6: true}",
        "{internal: true}",
        "{labels: {color: red}}",
        "{driver_opts: {com.docker.network.driver.mtu: '1280'}}",
    ] {
        let after = up(changed);
        assert_ne!(after.0, before.0, "{changed}");
        assert_eq!(
            after.1, before.1,
            "{changed}: the other is on another network"
        );
        assert_eq!(hoist.state("a"), "running", "{changed}");
        before = after;
        assert_eq!(
            up(changed),
            before,
            "{changed}: the second time nothing is done"
        );
        let lines = match changed {
            _ if changed.contains("gateway") => ("ip route", "default via 10.213.51.9"),
            _ if changed.contains("51.0/24") => ("ip route", "10.213.51.0/24"),
            _ if changed.contains("ipv6") => ("ip -6 route", "default via fd"),
            _ if changed.contains("mtu") => ("ip link show eth0", "mtu 1280"),
            _ if changed.contains("internal") => {
                ("ip route | grep -q default || echo closed", "closed")
            }
            _ => ("echo red", "red"),
        };
        assert!(hoist.sh("a", lines.0).contains(lines.1), "{changed}");
    }
    up("{labels: {color: red}}");
    assert_eq!(network(&hoist, &name)["spec"]["labels"]["color"], "red");
}

fn a_network_has_the_name_it_is_given() {
    let hoist = Sandbox::new();
    let name = format!("{}-named.net", hoist.name);
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, networks: [n]}}\nnetworks: {{n: {{name: {name}, attachable: true, labels: {{color: red}}}}}}\n"
    ));
    hoist.ok("up -d").says(&name);
    assert_eq!(network(&hoist, &name)["spec"]["labels"]["color"], "red");
    hoist.ok("down -t 0").says(&name);
    hoist.is_gone();
}

/// Runs a command for another project of the sandbox, whose file is `<project>.yaml`.
fn other(hoist: &Sandbox, project: &str, words: &str) -> crate::harness::process::Done {
    let file = format!("{project}.yaml");
    let mut arguments = vec!["-p", project, "-f", &file];
    arguments.extend(words.split(' '));
    hoist.global(&arguments)
}

fn projects_share_a_network_until_the_last_of_them_is_gone() {
    let hoist = Sandbox::new();
    for (project, network) in [
        ("one", "{name: sh, attachable: true}"),
        ("two", "{name: sh, external: true}"),
        ("three", "{external: {name: sh}}"),
    ] {
        let text = format!(
            "services:\n  {project}: {{image: tiny, command: sleep 3600, stop_signal: SIGKILL, networks: [n]}}\nnetworks: {{n: {network}}}\n"
        );
        hoist.file(&format!("{project}.yaml"), text);
    }
    other(&hoist, "two", "up -d")
        .code(1)
        .says("could not be found");
    for project in ["one", "two", "three"] {
        other(&hoist, project, "up -d").ok();
    }
    let sees = |project: &str, name: &str| {
        other(
            &hoist,
            project,
            &format!("exec -T {project} ping -c1 -W2 {name}"),
        )
        .ok();
    };
    sees("two", "one");
    sees("one", "three");
    // Whoever made it goes: it stays for the others, who are named.
    other(&hoist, "one", "down -t 0")
        .ok()
        .says("still in use")
        .says("two-two-1");
    sees("two", "three");
    other(&hoist, "two", "restart -t 0").ok();
    sees("two", "three");
    other(&hoist, "two", "down -t 0").ok();
    assert!(hoist.data().join("networks/sh").exists());
    // A container that stands still has its place all the same.
    other(&hoist, "three", "stop -t 0").ok();
    assert!(hoist.data().join("networks/sh").exists());
    other(&hoist, "three", "down -t 0").ok();
    assert!(
        !hoist.data().join("networks/sh").exists(),
        "the last takes it along"
    );
}

fn an_external_network_must_be_there_and_is_never_removed() {
    let hoist = Sandbox::new();
    let file = |project: &str, network: &str| {
        let text = format!(
            "services:\n  a: {{image: tiny, command: sleep 3600, stop_signal: SIGKILL, networks: [n]}}\nnetworks: {{n: {network}}}\n"
        );
        hoist.file(&format!("{project}.yaml"), text);
    };
    file("user", "{external: true, name: ext}");
    other(&hoist, "user", "up -d")
        .code(1)
        .says("user.yaml:3:12")
        .says("network ext declared as external, but could not be found");
    file("owner", "{name: ext}");
    other(&hoist, "owner", "up -d").ok();
    other(&hoist, "user", "up -d").ok();
    let id = network(&hoist, "ext")["created"].clone();
    other(&hoist, "user", "down -t 0")
        .ok()
        .says_nothing_of("Network ext");
    assert_eq!(network(&hoist, "ext")["created"], id);
    // A name that another project has is used, but with a warning.
    file("third", "{name: ext}");
    other(&hoist, "third", "up -d").ok().says("external: true");
    other(&hoist, "third", "down -t 0").ok();
    other(&hoist, "owner", "down -t 0").ok();
    assert!(!hoist.data().join("networks/ext").exists());
}

fn a_shared_namespace_is_followed_when_its_owner_is_made_anew_or_restarted() {
    let hoist = Sandbox::new();
    let file = |value| {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, environment: {{V: '{value}'}}}}\n  b: {{SLEEP, network_mode: 'service:a'}}\n"
        ));
    };
    let same = |when: &str| {
        let line = "readlink /proc/1/ns/net; ip -o addr show dev eth0; cat /etc/hosts";
        assert_eq!(hoist.sh("b", line), hoist.sh("a", line), "{when}");
        assert!(hoist.sh("b", line).contains("eth0"), "{when}");
    };
    file(1);
    hoist.ok("up -d");
    same("up");
    hoist.ok("restart -t 0 a");
    same("restart of its owner");
    hoist.ok("restart -t 0 b");
    same("restart of itself");
    hoist.ok("stop -t 0");
    hoist.ok("start");
    same("stop and start");
    file(2);
    hoist.ok("up -d");
    same("a new owner");
    // Only what is named is looked at: what joined the old one has no network until it is looked at as well.
    hoist.ok("up -d --force-recreate a");
    assert_eq!(hoist.sh("b", "ls /sys/class/net"), "lo");
    hoist.ok("up -d");
    same("an owner that was made anew alone");
}

fn network_mode_joins_a_container_of_another_project() {
    let hoist = Sandbox::new();
    hoist.file(
        "one.yaml",
        "services: {a: {image: tiny, command: sleep 3600, stop_signal: SIGKILL, container_name: named}}\n",
    );
    hoist.file(
        "two.yaml",
        "services: {b: {image: tiny, command: sleep 3600, stop_signal: SIGKILL, network_mode: 'container:named'}}\n",
    );
    other(&hoist, "two", "up -d")
        .code(1)
        .says("two.yaml:1:")
        .says("no such container: named");
    other(&hoist, "one", "up -d").ok();
    other(&hoist, "two", "up -d").ok();
    let line = "readlink /proc/1/ns/net";
    let seen = |project, service| {
        other(&hoist, project, &format!("exec -T {service} {line}"))
            .ok()
            .out
    };
    assert_eq!(seen("two", "b"), seen("one", "a"));
    other(&hoist, "two", "down -t 0").ok();
    other(&hoist, "one", "down -t 0").ok();
}

fn network_mode_bridge_is_one_network_for_all_projects() {
    let hoist = Sandbox::new();
    for project in ["one", "two"] {
        let text = "services: {NAME: {image: tiny, command: sleep 3600, stop_signal: SIGKILL, network_mode: bridge}}\n";
        hoist.file(&format!("{project}.yaml"), text.replace("NAME", project));
        other(&hoist, project, "up -d").ok();
    }
    let address = other(&hoist, "one", "exec -T one hostname -i").ok().out;
    let ping = |name: &str| other(&hoist, "two", &format!("exec -T two ping -c1 -W2 {name}"));
    ping(address.trim()).ok();
    assert_ne!(ping("one").code, 0, "there are addresses but no names");
    for project in ["one", "two"] {
        other(&hoist, project, "down -t 0").ok();
    }
    assert!(
        !hoist.data().join("networks/bridge").exists(),
        "the last takes it along"
    );
}

fn fifty_networks_come_and_go() {
    const COUNT: usize = 50;
    let hoist = Sandbox::new();
    let mut text = "services:\n".to_owned();
    // A container is on at most 32 networks.
    for (service, range) in [("a", 0..25), ("b", 25..COUNT)] {
        let names: Vec<String> = range.map(|at| format!("n{at}")).collect();
        text.push_str(&format!(
            "  {service}: {{SLEEP, networks: [{}]}}\n",
            names.join(", ")
        ));
    }
    text.push_str("networks:\n");
    for at in 0..COUNT {
        text.push_str(&format!("  n{at}:\n"));
    }
    hoist.compose(&text);
    hoist.ok("up -d");
    let subnets: std::collections::BTreeSet<String> = (0..COUNT)
        .map(|at| {
            network(&hoist, &format!("{}_n{at}", hoist.name))["subnets"][0]["subnet"].to_string()
        })
        .collect();
    assert_eq!(subnets.len(), COUNT, "each has one of its own");
    assert!(
        subnets.iter().all(|subnet| subnet.ends_with("/24\"")),
        "{subnets:?}"
    );
    let devices = hoist.sh("a", "ls /sys/class/net | grep -c ^eth");
    assert_eq!(devices, "25");
    hoist.ok("down -t 0");
    hoist.is_gone();
}

fn both_versions_lead_outside_and_nobody_comes_in() {
    let outside = Outside::new();
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: httpd -f -p 8080, networks: [n]}\n  b: {SLEEP, networks: [m]}\n\
         networks: {n: {enable_ipv6: true}, m: {enable_ipv6: true}}\n",
    );
    hoist.ok("up -d");
    let fetch = |service: &str, address: IpAddr| {
        let url = match address {
            IpAddr::V4(address) => format!("http://{address}/"),
            IpAddr::V6(address) => format!("http://[{address}]/"),
        };
        hoist.exec(service, &format!("timeout 5 wget -qO- {url}"))
    };
    // Packets that leave carry the host's address.
    let seen = eventually("an answer from outside", || {
        Some(fetch("a", outside.v4.into())).filter(|done| done.code == 0)
    });
    assert_eq!(seen.out.trim(), outside.host_v4.to_string());
    if let (Some(v6), Some(host)) = (outside.v6, outside.host_v6) {
        assert_eq!(fetch("a", v6.into()).ok().out.trim(), host.to_string());
    }
    // Neither the other machine, which sends all it has to this host, nor another network gets in.
    let own = addresses(&hoist, "a", "eth0");
    assert_eq!(own.len(), 2, "{own:?}");
    for own in own {
        let address = own.split('/').next().unwrap_or_default();
        let address: IpAddr = address.parse().expect("an address");
        let to = SocketAddr::from((address, 8080));
        eventually("the host gets in", || TcpStream::connect(to).ok());
        if address.is_ipv6() && !has_v6() {
            continue;
        }
        let tried = outside.there(|| TcpStream::connect_timeout(&to, Duration::from_millis(700)));
        assert!(tried.is_err(), "the other machine reaches {to}");
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let from_b = hoist.exec("b", &format!("timeout 1 wget -qO- http://{host}:8080/"));
        assert_ne!(from_b.code, 0, "another network reaches {to}");
    }
}

fn an_internal_network_leads_nowhere_in_both_versions() {
    let outside = Outside::new();
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [in], cap_add: [NET_ADMIN]}\n  b: {SLEEP, networks: [in]}\nnetworks: {in: {internal: true, enable_ipv6: true}}\n",
    );
    hoist.ok("up -d");
    assert_eq!(default_routes(&hoist, "a"), Vec::<String>::new());
    let b = addresses(&hoist, "b", "eth0")[1].clone();
    hoist.sh(
        "a",
        &format!(
            "ping -c1 -W2 b && ping -6 -c1 -W2 {}",
            b.trim_end_matches("/64")
        ),
    );
    // Not even with routes of its own making.
    let subnets = network(&hoist, &format!("{}_in", hoist.name))["subnets"].clone();
    for (at, flag, target) in [
        (0, "-4", Some(IpAddr::V4(outside.v4))),
        (1, "-6", outside.v6.map(IpAddr::V6)),
    ] {
        let Some(target) = target else { continue };
        let gateway = subnets[at]["gateway"]
            .as_str()
            .expect("a gateway")
            .to_owned();
        hoist.sh("a", &format!("ip {flag} route add default via {gateway}"));
        assert_ne!(
            hoist
                .exec("a", &format!("ping {flag} -c1 -W1 {target}"))
                .code,
            0,
            "{target}"
        );
    }
}
