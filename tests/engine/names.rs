//! Names: what answers to which name, seen from inside the containers.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::harness::outside::has_v6;
use crate::harness::resolver::{
    Resolver, Way, addresses, ask, found_inside, in_order, names, question, send,
};
use crate::harness::{ENGINE, Need, Sandbox, eventually};

/// Cases about both versions of IP.
pub mod both {
    use super::*;

    crate::cases!(&[Need::Root, Need::Busybox, Need::Ipv6];
        a_name_has_the_addresses_of_both_versions_or_an_empty_answer,
    );
}

crate::cases!(ENGINE;
    a_container_answers_to_all_its_names,
    replicas_take_turns_and_names_go_with_their_containers,
    addresses_have_names,
    many_replicas_take_a_connection_or_a_larger_packet,
    links_are_names_for_one_service,
    external_links_lead_to_containers_of_other_projects,
    projects_that_share_nothing_have_no_names_for_each_other,
    projects_on_one_network_find_each_other_there,
    extra_hosts_have_forms_and_an_order,
    the_host_has_names,
    internal_networks_have_names_and_ask_nobody,
    who_shares_a_network_shares_its_names,
    names_that_are_wrong_are_told_with_their_place,
);

/// The container's address as it sees it itself.
fn own(hoist: &Sandbox, service: &str) -> IpAddr {
    let text = hoist.sh(
        service,
        "ip -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1",
    );
    text.parse()
        .unwrap_or_else(|_| panic!("no address: {text}"))
}

fn a_container_answers_to_all_its_names() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, hostname: own-name, domainname: dom.test, container_name: fixed-CN, volumes: ['.:/gate'], networks: {n: {aliases: [nick, \
         other.example]}}}\n  b: {SLEEP, networks: [n]}\nnetworks: {n: }\n"
            .replace("CN", &hoist.name)
            .as_str(),
    );
    hoist.ok("up -d");
    let (address, pid) = (own(&hoist, "a"), hoist.init("b"));
    let id = hoist.id("a");
    let (fixed, network) = (
        format!("fixed-{}", hoist.name),
        format!("a.{}_n", hoist.name),
    );
    let known = [
        "a",
        "A",
        "nick",
        "Other.Example",
        &fixed,
        &id[..12],
        "own-name",
        &network,
        "a.",
    ];
    for name in known {
        assert_eq!(addresses(pid, name, RecordType::A), [address], "{name}");
    }
    // The programs inside find it as well.
    for name in ["nick", "other.example", "own-name"] {
        assert_eq!(found_inside(&hoist, "b", name), address, "{name}");
    }
    hoist.sh("b", "nslookup other.example");
    assert_eq!(hoist.sh("a", "hostname"), "own-name");
    // A container of `run` answers to its own name, and to the service's only where that is asked for.
    let until = "a sh -c 'until [ -e /gate/end ]; do sleep 0.1; done'";
    hoist.ok(&format!("run --rm -d --name single {until}"));
    assert_eq!(addresses(pid, "a", RecordType::A), [address]);
    assert_eq!(addresses(pid, "own-name", RecordType::A), [address]);
    assert_eq!(addresses(pid, "single", RecordType::A).len(), 1);
    hoist.ok(&format!("run --rm -d --use-aliases --name both {until}"));
    assert_eq!(addresses(pid, "nick", RecordType::A).len(), 2);
    hoist.file("end", "");
    eventually("they are gone", || {
        let none = addresses(pid, "single", RecordType::A).is_empty();
        (none && addresses(pid, "both", RecordType::A).is_empty()).then_some(())
    });
}

fn replicas_take_turns_and_names_go_with_their_containers() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  w: {SLEEP, scale: 3}\n  c: {SLEEP}\n");
    hoist.ok("up -d");
    let pid = hoist.init("c");
    let answers: Vec<Vec<IpAddr>> = (0..3)
        .map(|_| in_order(&ask(pid, "w", RecordType::A)))
        .collect();
    let firsts: std::collections::BTreeSet<_> = answers.iter().map(|all| all[0]).collect();
    assert_eq!(firsts.len(), 3, "each is first once: {answers:?}");
    assert!(answers.iter().all(|all| all.len() == 3));
    let second = addresses(pid, &format!("{}-w-2", hoist.name), RecordType::A);
    assert!(second.len() == 1 && firsts.contains(&second[0]));
    hoist.ok("up -d --scale w=2");
    assert_eq!(addresses(pid, "w", RecordType::A).len(), 2);
    hoist.ok("stop -t 0 w");
    eventually("the name is gone", || {
        addresses(pid, "w", RecordType::A).is_empty().then_some(())
    });
    hoist.ok("start w");
    assert_eq!(addresses(pid, "w", RecordType::A).len(), 2);
    // What is only frozen is still there.
    hoist.ok("kill -s STOP w");
    assert_eq!(addresses(pid, "w", RecordType::A).len(), 2);
}

fn addresses_have_names() {
    let hoist = Sandbox::new();
    let v6 = if has_v6() { "enable_ipv6: true" } else { "" };
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP}}\n  c: {{SLEEP}}\nnetworks: {{default: {{{v6}}}}}\n"
    ));
    hoist.ok("up -d");
    let pid = hoist.init("c");
    let wanted = format!("{0}-a-1.{0}_default.", hoist.name);
    let kinds: &[RecordType] = if has_v6() {
        &[RecordType::A, RecordType::AAAA]
    } else {
        &[RecordType::A]
    };
    for kind in kinds {
        let address = addresses(pid, "a", *kind)[0];
        let name = hickory_proto::rr::Name::from(address).to_ascii();
        assert_eq!(
            names(&ask(pid, &name, RecordType::PTR)),
            std::slice::from_ref(&wanted),
            "{address}"
        );
    }
    let gateway = hoist.sh("c", "ip route | awk '/^default/ {print $3}'");
    let gateway: IpAddr = gateway.parse().expect("an address");
    let name = hickory_proto::rr::Name::from(gateway).to_ascii();
    assert_eq!(
        names(&ask(pid, &name, RecordType::PTR)),
        ["host.docker.internal."]
    );
}

fn a_name_has_the_addresses_of_both_versions_or_an_empty_answer() {
    let hoist = Sandbox::new();
    let resolver = Resolver::always([192, 0, 2, 1]);
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, networks: [two]}}\n  b: {{SLEEP, networks: [one]}}\n  c: {{SLEEP, networks: [one, two], dns: \
         [{}]}}\nnetworks: {{one: , two: {{enable_ipv6: true}}}}\n",
        resolver.address
    ));
    hoist.ok("up -d");
    let pid = hoist.init("c");
    let (fourth, sixth) = (
        addresses(pid, "a", RecordType::A),
        addresses(pid, "a", RecordType::AAAA),
    );
    assert!(fourth.len() == 1 && fourth[0].is_ipv4(), "{fourth:?}");
    assert!(sixth.len() == 1 && sixth[0].is_ipv6(), "{sixth:?}");
    assert_eq!(found_inside(&hoist, "c", "-6 a"), sixth[0]);
    assert_eq!(in_order(&ask(pid, "a", RecordType::ANY)).len(), 2);
    // No such record is not the same as no such name: some C libraries give up at the latter.
    for kind in [
        RecordType::AAAA,
        RecordType::MX,
        RecordType::TXT,
        RecordType::SRV,
        RecordType::HTTPS,
    ] {
        let answer = ask(pid, "b", kind);
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NoError,
            "{kind}"
        );
        assert!(answer.answers.is_empty(), "{kind}: {answer:?}");
    }
}

fn many_replicas_take_a_connection_or_a_larger_packet() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  w: {SLEEP, scale: 33}\n  c: {SLEEP}\n");
    hoist.ok("up -d");
    let pid = hoist.init("c");
    let short = ask(pid, "w", RecordType::A);
    assert!(short.metadata.truncation && short.answers.is_empty());
    let whole = |message: &hickory_proto::op::Message, way| {
        let bytes = message.to_vec().expect("it is short");
        let answer = send(pid, &bytes, way).expect("an answer");
        hickory_proto::op::Message::from_vec(&answer).expect("a message")
    };
    let mut asked = question("w", RecordType::A);
    assert_eq!(whole(&asked, Way::Tcp).answers.len(), 33);
    let mut edns = hickory_proto::op::Edns::new();
    edns.set_max_payload(1232);
    asked.set_edns(edns);
    let answer = whole(&asked, Way::Udp);
    assert_eq!(answer.answers.len(), 33);
    assert!(
        answer.edns.is_some(),
        "who speaks of extensions is answered in kind"
    );
    // The library inside asks again by itself.
    found_inside(&hoist, "c", "w");
}

fn links_are_names_for_one_service() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  db: {SLEEP, scale: 2}\n  one: {SLEEP, links: ['db:database', db]}\n  two: {SLEEP}\n",
    );
    hoist.ok("up -d");
    let (one, two) = (hoist.init("one"), hoist.init("two"));
    let all = addresses(one, "db", RecordType::A);
    assert_eq!(all.len(), 2);
    let full = format!("database.{}_default", hoist.name);
    for name in ["database", "DATABASE", &full] {
        assert_eq!(addresses(one, name, RecordType::A), all, "{name}");
    }
    assert_eq!(
        addresses(two, "database", RecordType::A),
        Vec::<IpAddr>::new()
    );
}

fn external_links_lead_to_containers_of_other_projects() {
    let hoist = Sandbox::new();
    let (other, name) = (format!("{}o", hoist.name), &hoist.name);
    let file = hoist.file(
        "other.yaml",
        "services: {db: {image: tiny, command: sleep 3600, stop_signal: SIGKILL, networks: [n]}}\nnetworks: {n: }\n",
    );
    let file = file.to_string_lossy();
    let mine = |links: &str, network: &str| {
        hoist.compose(&format!(
            "services:\n  a:\n    image: tiny\n    command: sleep 3600\n    stop_signal: SIGKILL\n    external_links: {links}\n    \
             networks: [n]\nnetworks: {{n: {network}}}\n"
        ));
    };
    mine(&format!("['{other}-db-1:db']"), "{}");
    hoist
        .ok("up -d")
        .says("compose.yaml:6:22")
        .says(&format!("no such container: {other}-db-1"));
    assert!(addresses(hoist.init("a"), "db", RecordType::A).is_empty());
    hoist.global(&["-p", &other, "-f", &file, "up", "-d"]).ok();
    hoist.ok("up -d --force-recreate").says(&format!(
        "container `{other}-db-1` is on no network of service `a`"
    ));
    assert!(addresses(hoist.init("a"), "db", RecordType::A).is_empty());
    mine(
        &format!("['{other}-db-1:db', {other}-db-1]"),
        &format!("{{external: true, name: {other}_n}}"),
    );
    hoist.ok("up -d").says_nothing_of("is on no network");
    let pid = hoist.init("a");
    let found = addresses(pid, "db", RecordType::A);
    assert_eq!(found.len(), 1);
    assert_eq!(
        addresses(pid, &format!("{other}-db-1"), RecordType::A),
        found
    );
    assert_eq!(found_inside(&hoist, "a", "db"), found[0]);
    assert_eq!(hoist.sh("a", "hostname").len(), 12, "{name}");
    hoist.ok("down -t 0");
}

fn projects_that_share_nothing_have_no_names_for_each_other() {
    let hoist = Sandbox::new();
    let other = format!("{}o", hoist.name);
    hoist.compose("services: {a: {SLEEP, networks: {default: {aliases: [mine]}}}, c: {SLEEP, dns: [127.0.0.1]}}\n");
    hoist.ok("up -d");
    hoist.global(&["-p", &other, "up", "-d"]).ok();
    let pid = hoist.init("c");
    let theirs: IpAddr = {
        let done = hoist
            .global(&["-p", &other, "exec", "-T", "a", "hostname", "-i"])
            .ok();
        done.out.trim().parse().expect("an address")
    };
    for name in [
        format!("{other}-a-1"),
        format!("a.{other}_default"),
        format!("mine.{other}_default"),
    ] {
        let answer = ask(pid, &name, RecordType::A);
        assert!(in_order(&answer).is_empty(), "{name}: {answer:?}");
    }
    let address = hickory_proto::rr::Name::from(theirs).to_ascii();
    assert!(names(&ask(pid, &address, RecordType::PTR)).is_empty());
    let found = addresses(pid, "mine", RecordType::A);
    assert!(found.len() == 1 && found[0] != theirs);
}

fn projects_on_one_network_find_each_other_there() {
    let hoist = Sandbox::new();
    let other = format!("{}o", hoist.name);
    let file = hoist.file(
        "other.yaml",
        format!(
            "services: {{web: {{image: tiny, command: sleep 3600, stop_signal: SIGKILL, networks: [default, n]}}}}\nnetworks: {{n: \
             {{external: true, name: {}_n}}}}\n",
            hoist.name
        ),
    );
    hoist.compose(
        "services:\n  web: {SLEEP, networks: {own: , n: }}\n  c: {SLEEP, networks: {own: {priority: 10}, n: }}\nnetworks: {own: , n: \
         }\n",
    );
    hoist.ok("up -d");
    hoist
        .global(&["-p", &other, "-f", &file.to_string_lossy(), "up", "-d"])
        .ok();
    let pid = hoist.init("c");
    let theirs = addresses(pid, &format!("{other}-web-1"), RecordType::A);
    assert_eq!(theirs.len(), 1);
    // The first network that knows the name answers; by the network's name each is found.
    let own = addresses(pid, &format!("web.{}_own", hoist.name), RecordType::A);
    assert_eq!(addresses(pid, "web", RecordType::A), own);
    let both = addresses(pid, &format!("web.{}_n", hoist.name), RecordType::A);
    assert!(both.len() == 2 && both.contains(&theirs[0]), "{both:?}");
    // Not by what lies behind it.
    assert!(addresses(pid, &format!("web.{other}_default"), RecordType::A).is_empty());
    hoist
        .global(&[
            "-p",
            &other,
            "-f",
            &file.to_string_lossy(),
            "down",
            "-t",
            "0",
        ])
        .ok();
}

fn extra_hosts_have_forms_and_an_order() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, extra_hosts: ['z.test=192.0.2.9', 'z.test:192.0.2.1', 'six=[2001:db8::1]', 'bare:2001:db8::2']}\n  \
         b: {SLEEP, extra_hosts: {z.test: [192.0.2.9, 192.0.2.1], one: 192.0.2.3}}\n  \
         c: {SLEEP, network_mode: host, extra_hosts: ['h=192.0.2.4', 'me=host-gateway']}\n",
    );
    hoist.ok("up -d");
    let lines = |service: &str, name: &str| {
        hoist.sh(
            service,
            &format!("awk '$2 == \"{name}\" {{print $1}}' /etc/hosts"),
        )
    };
    for service in ["a", "b"] {
        assert_eq!(
            lines(service, "z.test"),
            "192.0.2.9\n192.0.2.1",
            "as they were written"
        );
    }
    assert_eq!(lines("a", "six"), "2001:db8::1");
    assert_eq!(lines("a", "bare"), "2001:db8::2");
    assert_eq!(lines("b", "one"), "192.0.2.3");
    assert_eq!(found_inside(&hoist, "b", "one").to_string(), "192.0.2.3");
    // On the host's network the host's names are there, and the host is at home.
    assert_eq!(lines("c", "h"), "192.0.2.4");
    assert_eq!(lines("c", "me"), "127.0.0.1");
    let host = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    assert!(hoist.sh("c", "cat /etc/hosts").starts_with(host.trim_end()));
}

fn the_host_has_names() {
    let hoist = Sandbox::new();
    let v6 = if has_v6() { "enable_ipv6: true" } else { "" };
    hoist.compose(&format!(
        "services:\n  a: {{SLEEP, extra_hosts: ['machine:host-gateway', 'host.docker.internal=host-gateway']}}\nnetworks: {{default: \
         {{{v6}}}}}\n"
    ));
    hoist.ok("up -d");
    let gateway = hoist.sh("a", "ip route | awk '/^default/ {print $3}'");
    let pid = hoist.init("a");
    for name in ["host.docker.internal", "gateway.docker.internal"] {
        let fourth = addresses(pid, name, RecordType::A);
        assert_eq!(
            fourth.iter().map(ToString::to_string).collect::<Vec<_>>(),
            std::slice::from_ref(&gateway)
        );
        assert_eq!(
            addresses(pid, name, RecordType::AAAA).len(),
            usize::from(has_v6()),
            "{name}"
        );
    }
    let lines = hoist.sh("a", "awk '$2 == \"machine\" {print $1}' /etc/hosts");
    assert_eq!(lines.lines().count(), 1 + usize::from(has_v6()), "{lines}");
    assert!(lines.starts_with(&gateway));
    for name in ["machine", "host.docker.internal"] {
        assert_eq!(found_inside(&hoist, "a", name).to_string(), gateway);
    }
}

fn internal_networks_have_names_and_ask_nobody() {
    let mut hoist = Sandbox::new();
    let resolver = Resolver::always([192, 0, 2, 1]);
    let etc = hoist.own_etc();
    std::fs::write(
        etc.join("resolv.conf"),
        format!("nameserver {}\n", resolver.address),
    )
    .expect("it is ours");
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [in], extra_hosts: ['up=host-gateway']}\n  b: {SLEEP, networks: [in]}\n  c: {SLEEP, networks: \
         [in, out]}\nnetworks: {in: {internal: true}, out: }\n",
    );
    hoist.ok("up -d");
    let (inner, outer) = (hoist.init("a"), hoist.init("c"));
    assert_eq!(addresses(inner, "b", RecordType::A).len(), 1);
    let code = |name: &str| ask(inner, name, RecordType::A).metadata.response_code;
    assert_eq!(code("away.test"), ResponseCode::ServFail);
    assert_eq!(code("host.docker.internal"), ResponseCode::NXDomain);
    assert_eq!(hoist.sh("a", "grep -c up /etc/hosts || true"), "0");
    assert_eq!(resolver.asked(), Vec::<String>::new());
    assert_eq!(addresses(outer, "away.test", RecordType::A).len(), 1);
    assert_eq!(resolver.asked(), ["away.test."]);
}

fn who_shares_a_network_shares_its_names() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, hostname: owner, extra_hosts: ['x=192.0.2.7'], dns_search: [own.test]}\n  b: {SLEEP, network_mode: \
         'service:a'}\n  n: {SLEEP, network_mode: none, dns_search: [none.test], extra_hosts: ['x=192.0.2.8']}\n  h: {SLEEP, \
         network_mode: host, dns: [192.0.2.53], dns_search: [host.test], dns_opt: ['ndots:3']}\n",
    );
    hoist.ok("up -d");
    let read = "cat /etc/resolv.conf /etc/hosts";
    assert_eq!(hoist.sh("b", read), hoist.sh("a", read));
    assert!(hoist.sh("b", read).contains("search own.test"));
    found_inside(&hoist, "b", "a");
    let alone = hoist.sh("n", read);
    assert!(
        alone.contains("search none.test") && alone.contains("192.0.2.8\tx"),
        "{alone}"
    );
    let host = hoist.sh("h", "cat /etc/resolv.conf");
    assert_eq!(
        host,
        "nameserver 192.0.2.53\nsearch host.test\noptions ndots:3"
    );
    hoist.compose(
        "services:\n  a: {SLEEP}\n  b: {SLEEP, network_mode: 'service:a', dns: [192.0.2.1], extra_hosts: ['x=192.0.2.7'], dns_search: \
         [b.test]}\n  h: {SLEEP, network_mode: host, links: [a]}\n",
    );
    let done = hoist.run("up -d").code(1);
    for text in [
        "`dns` does not go with the network of service `a`",
        "`extra_hosts` does not go with the network of service `a`",
        "`dns_search` does not go with the network of service `a`",
        "`links` does not go with the network of the host",
        "compose.yaml:3:",
    ] {
        assert!(done.all().contains(text), "{text}: {}", done.story());
    }
}

fn names_that_are_wrong_are_told_with_their_place() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    dns_search: [\"a\\nnameserver 192.0.2.1\"]\n    dns_opt: [\"x\\ny\"]\n    \
         extra_hosts:\n    - x=nowhere\n    - \"a\\nb=192.0.2.1\"\n",
    );
    let done = hoist.run("up -d").code(1);
    for place in [
        "compose.yaml:4:18",
        "compose.yaml:5:15",
        "compose.yaml:7:7",
        "compose.yaml:8:7",
    ] {
        assert!(done.all().contains(place), "{place}: {}", done.story());
    }
    assert!(hoist.ps().is_empty());
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    dns:\n    - 192.0.2.1\n    - resolver.test\n",
    );
    hoist
        .run("up -d")
        .code(1)
        .says("compose.yaml:6:7")
        .says("resolver.test");
    hoist.compose("services: {a: {image: tiny, links: [nobody]}}\n");
    hoist.run("up -d").code(1).says("nobody");
}
