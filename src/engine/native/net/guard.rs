//! The guard of a cable: a container speaks for itself only.
//!
//! What it sends passes a filter at the host's end of its cable, before the bridge sees it. Let through are frames from
//! its own hardware address, with IPv4, ARP or IPv6, in the name of its own addresses. So it cannot take the address
//! of a neighbour or of the gateway, in packets, in ARP or in neighbour discovery, and cannot act as a router (router
//! advertisements, redirects), as a DHCP server or as a switch (spanning tree, VLAN tags).
//!
//! A container that may configure its network (`NET_ADMIN`) has addresses that nobody here knows: VPN gateways,
//! routers, shared addresses. It gets no guard. Docker has none at all.
//!
//! Pure but for the kernel's program type. Imports: `sys::netlink::traffic`. Source: RFC 826, RFC 791, RFC 8200,
//! RFC 4861 (7.1: neighbour discovery has hop limit 255), RFC 6980, RFC 3810.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sys::netlink::traffic::{Program, Size, Test};

/// Length of an Ethernet header.
const ETHERNET: u32 = 14;
const IPV4: u32 = 0x0800;
const ARP: u32 = 0x0806;
const IPV6: u32 = 0x86dd;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;
/// Next headers of IPv6 that ask something of routers or hosts on the way: nothing needs them, much hides behind them.
const EXTENSIONS: [u32; 5] = [0, 43, 60, 135, 139];
const FRAGMENT: u32 = 44;
/// Ports that DHCP servers send from, IPv4 and IPv6.
const DHCP: (u32, u32) = (67, 547);
/// Where sender addresses are.
const SENDER_V4: u32 = ETHERNET + 12;
const SENDER_V6: u32 = ETHERNET + 8;
/// Where the next header and the hop limit of IPv6 are, what follows its header, and the address that a neighbour
/// advertisement or solicitation is about.
const NEXT: u32 = ETHERNET + 6;
const HOPS: u32 = ETHERNET + 7;
const AFTER_V6: u32 = ETHERNET + 40;
const SUBJECT: u32 = AFTER_V6 + 8;

/// The link-local address that a device of this hardware address gives itself (RFC 4291, appendix A).
pub(super) fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let id = [pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f)];
    Ipv6Addr::new(0xfe80, 0, 0, 0, id[0], id[1], id[2], id[3])
}

/// Who a container is on a network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    /// Its hardware address.
    pub(super) mac: [u8; 6],
    /// Its addresses.
    pub(super) addresses: &'a [IpAddr],
}

/// What a cable lets through: with `host`, only what is for that hardware address and what asks for it; with `own`, only
/// what a container sends in its own name. `None` when all passes.
pub(super) fn program(own: Option<Own<'_>>, host: Option<[u8; 6]>) -> Option<Program> {
    let mut code = Program::new();
    if let Some(host) = host {
        only_to(&mut code, host);
    }
    match (own, host) {
        (Some(own), _) => own_name(&mut code, own),
        (None, Some(_)) => code.pass(),
        (None, None) => return None,
    }
    Some(code)
}

/// Drops what is for others than the host. A port that the bridge itself isolates would not get what is for a published
/// port of a neighbour: where `br_netfilter` is loaded, the bridge hands that on itself.
fn only_to(code: &mut Program, host: [u8; 6]) {
    let (group, done) = (code.label(), code.label());
    code.load(Size::Byte, 0);
    code.go_if(Test::Has(1), group);
    own_mac(code, 0, host);
    code.go(done);
    code.here(group);
    code.load(Size::Half, 12);
    code.go_if(Test::Is(ARP), done);
    code.drop_unless(Test::Is(IPV6));
    at_least(code, AFTER_V6);
    // Neighbour discovery, and which groups are listened to.
    code.load(Size::Byte, HOPS);
    code.go_if(Test::Is(255), done);
    code.drop_unless(Test::Is(1));
    code.here(done);
}

fn own_name(code: &mut Program, own: Own<'_>) {
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    for address in own.addresses {
        match address {
            IpAddr::V4(address) => v4.push(*address),
            IpAddr::V6(address) => v6.push(*address),
        }
    }
    if !v6.is_empty() {
        v6.push(link_local(own.mac));
    }
    let (arp, ipv4, ipv6) = (code.label(), code.label(), code.label());
    code.load_tagged();
    code.drop_unless(Test::Is(0));
    own_mac(code, 6, own.mac);
    code.load(Size::Half, 12);
    code.go_if(Test::Is(IPV4), ipv4);
    code.go_if(Test::Is(ARP), arp);
    code.go_if(Test::Is(IPV6), ipv6);
    code.refuse();
    code.here(ipv4);
    guard_v4(code, &v4);
    code.here(arp);
    guard_arp(code, own.mac, &v4);
    code.here(ipv6);
    guard_v6(code, &v6);
}

/// Drops what has another hardware address at a place.
fn own_mac(code: &mut Program, at: u32, mac: [u8; 6]) {
    let [a, b, c, d, e, f] = mac;
    code.load(Size::Word, at);
    code.drop_unless(Test::Is(u32::from_be_bytes([a, b, c, d])));
    code.load(Size::Half, at + 4);
    code.drop_unless(Test::Is(u32::from_be_bytes([0, 0, e, f])));
}

fn at_least(code: &mut Program, length: u32) {
    code.load_length();
    code.drop_unless(Test::AtLeast(length));
}

fn guard_arp(code: &mut Program, mac: [u8; 6], own: &[Ipv4Addr]) {
    at_least(code, ETHERNET + 28);
    // Ethernet and IPv4, with addresses of that length, so that they are where they are looked for.
    code.load(Size::Word, ETHERNET);
    code.drop_unless(Test::Is(0x0001_0800));
    code.load(Size::Half, ETHERNET + 4);
    code.drop_unless(Test::Is(0x0604));
    own_mac(code, ETHERNET + 8, mac);
    code.load(Size::Word, ETHERNET + 14);
    let pass = code.label();
    // Who has no address yet asks whether it is taken (RFC 5227).
    code.go_if(Test::Is(0), pass);
    for address in own {
        code.go_if(Test::Is(address.to_bits()), pass);
    }
    code.refuse();
    code.here(pass);
    code.pass();
}

fn guard_v4(code: &mut Program, own: &[Ipv4Addr]) {
    at_least(code, ETHERNET + 20);
    code.load(Size::Word, SENDER_V4);
    let (mine, pass) = (code.label(), code.label());
    for address in own {
        code.go_if(Test::Is(address.to_bits()), mine);
    }
    code.refuse();
    code.here(mine);
    code.load(Size::Byte, ETHERNET + 9);
    code.go_unless(Test::Is(UDP), pass);
    // Only the first fragment has the ports.
    code.load(Size::Half, ETHERNET + 6);
    code.go_if(Test::Has(0x1fff), pass);
    code.load_behind(ETHERNET, Size::Half, ETHERNET);
    code.drop_if(Test::Is(DHCP.0));
    code.here(pass);
    code.pass();
}

/// Drops what has none of these IPv6 addresses at a place, and goes on.
fn one_of(code: &mut Program, at: u32, own: &[Ipv6Addr]) {
    let found = code.label();
    for address in own {
        let next = code.label();
        for (offset, word) in (0..).step_by(4).zip(words(*address)) {
            code.load(Size::Word, at + offset);
            code.go_unless(Test::Is(word), next);
        }
        code.go(found);
        code.here(next);
    }
    code.refuse();
    code.here(found);
}

fn words(address: Ipv6Addr) -> [u32; 4] {
    let bits = address.to_bits();
    [96, 64, 32, 0].map(|shift| u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or(0))
}

fn guard_v6(code: &mut Program, own: &[Ipv6Addr]) {
    if own.is_empty() {
        code.refuse();
        return;
    }
    at_least(code, AFTER_V6);
    let (mine, subject, reports) = (code.label(), code.label(), code.label());
    for offset in (0..16).step_by(4) {
        code.load(Size::Word, SENDER_V6 + offset);
        code.go_unless(Test::Is(0), mine);
    }
    // Without an address: who asks whether its own to be is taken, or says which groups it listens to.
    code.load(Size::Byte, NEXT);
    code.go_if(Test::Is(0), reports);
    code.drop_unless(Test::Is(ICMPV6));
    at_least(code, AFTER_V6 + 1);
    code.load(Size::Byte, AFTER_V6);
    code.go_if(Test::Is(135), subject);
    code.refuse();

    code.here(mine);
    one_of(code, SENDER_V6, own);
    code.load(Size::Byte, NEXT);
    for extension in EXTENSIONS {
        code.go_if(Test::Is(extension), reports);
    }
    let (discovery, fragment, pass) = (code.label(), code.label(), code.label());
    code.go_if(Test::Is(ICMPV6), discovery);
    code.go_if(Test::Is(FRAGMENT), fragment);
    code.go_if(Test::Is(TCP), pass);
    code.go_unless(Test::Is(UDP), fragment);
    at_least(code, AFTER_V6 + 2);
    code.load(Size::Half, AFTER_V6);
    code.drop_if(Test::Is(DHCP.1));
    code.here(pass);
    code.pass();

    code.here(discovery);
    at_least(code, AFTER_V6 + 1);
    code.load(Size::Byte, AFTER_V6);
    // Router advertisement, redirect.
    code.drop_if(Test::Is(134));
    code.drop_if(Test::Is(137));
    code.go_if(Test::Is(136), subject);
    code.pass();

    // Neighbour discovery counts only with the highest hop limit: nothing with it may hide what it is.
    code.here(fragment);
    code.load(Size::Byte, HOPS);
    code.drop_if(Test::Is(255));
    code.pass();

    // Reports of multicast listeners stand behind a header for routers; they go one hop.
    code.here(reports);
    code.load(Size::Byte, HOPS);
    code.drop_unless(Test::Is(1));
    code.pass();

    code.here(subject);
    at_least(code, SUBJECT + 16);
    one_of(code, SUBJECT, own);
    code.pass();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::traffic::tests::passes;

    const MAC: [u8; 6] = [2, 0x42, 10, 5, 0, 2];
    const OTHER: [u8; 6] = [2, 0x42, 10, 5, 0, 3];
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 2);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 1);
    const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    const OTHER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);

    fn of(addresses: &[IpAddr]) -> Program {
        let own = Own {
            mac: MAC,
            addresses,
        };
        program(Some(own), None).expect("it has something to say")
    }

    fn through(frame: &[u8]) -> bool {
        passes(&of(&[OWN.into(), OWN6.into()]), frame, false)
    }

    fn frame(from: [u8; 6], kind: u32, rest: &[u8]) -> Vec<u8> {
        let kind = (kind as u16).to_be_bytes();
        [&[0xff; 6], &from[..], &kind, rest].concat()
    }

    fn arp(from: [u8; 6], says: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
        let head = [0, 1, 8, 0, 6, 4, 0, 2];
        let parts = [&head[..], &says, &address.octets(), &[0; 6], &[10, 5, 0, 9]];
        frame(from, ARP, &parts.concat())
    }

    fn v4(from: Ipv4Addr, protocol: u8, fragment: u16, options: usize, rest: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 20 + options];
        head[0] = 0x45 + (options / 4) as u8;
        head[6..8].copy_from_slice(&fragment.to_be_bytes());
        head[9] = protocol;
        head[12..16].copy_from_slice(&from.octets());
        head.extend_from_slice(rest);
        frame(MAC, IPV4, &head)
    }

    fn v6(from: Ipv6Addr, next: u8, hops: u8, rest: &[u8]) -> Vec<u8> {
        let head = [
            &[0x60, 0, 0, 0, 0, 0, next, hops][..],
            &from.octets(),
            &[0xff; 16],
            rest,
        ];
        frame(MAC, IPV6, &head.concat())
    }

    fn about(kind: u8, address: Ipv6Addr) -> Vec<u8> {
        [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &address.octets()].concat()
    }

    #[test]
    fn arp_is_let_through_in_the_own_name_only() {
        assert!(through(&arp(MAC, MAC, OWN)));
        assert!(through(&arp(MAC, MAC, Ipv4Addr::UNSPECIFIED)), "a probe");
        for bad in [
            arp(MAC, MAC, GATEWAY),
            arp(MAC, OTHER, OWN),
            arp(OTHER, OTHER, OWN),
            arp(OTHER, MAC, OWN),
        ] {
            assert!(!through(&bad), "{bad:x?}");
        }
        let mut odd = arp(MAC, MAC, OWN);
        odd[18] = 8;
        assert!(!through(&odd), "addresses of another length");
        assert!(!through(&arp(MAC, MAC, OWN)[..40]), "cut off");
    }

    #[test]
    fn packets_have_the_own_address_and_come_from_no_dhcp_server() {
        let dns = [0x12, 0x34, 0, 53];
        let dhcp = [0, 67, 0, 68];
        assert!(through(&v4(OWN, 6, 0, 0, &dhcp)), "TCP");
        assert!(through(&v4(OWN, 17, 0, 0, &dns)));
        assert!(through(&v4(OWN, 17, 0x2001, 0, &dhcp)), "a later fragment");
        assert!(!through(&v4(GATEWAY, 6, 0, 0, &dns)));
        assert!(!through(&v4(Ipv4Addr::LOCALHOST, 17, 0, 0, &dns)));
        for options in [0, 8] {
            assert!(!through(&v4(OWN, 17, 0, options, &dhcp)), "{options}");
            assert!(
                !through(&v4(OWN, 17, 0x2000, options, &dhcp)),
                "first fragment"
            );
        }
    }

    #[test]
    fn other_kinds_of_frames_and_tagged_ones_are_dropped() {
        assert!(!through(&frame(MAC, 0x0027, &[0x42; 60])), "spanning tree");
        assert!(!through(&frame(MAC, 0x8035, &[0; 60])), "reverse ARP");
        let tagged = v4(OWN, 6, 0, 0, &[0; 20]);
        let own = of(&[OWN.into()]);
        assert!(passes(&own, &tagged, false) && !passes(&own, &tagged, true));
        assert!(!passes(
            &own,
            &v6(link_local(MAC), 58, 255, &about(135, OWN6)),
            false
        ));
    }

    #[test]
    fn ipv6_is_let_through_in_the_own_name_only() {
        let own = link_local(MAC);
        assert_eq!(own.to_string(), "fe80::42:aff:fe05:2");
        for from in [OWN6, own] {
            assert!(through(&v6(from, 6, 64, &[0; 20])), "{from}");
            assert!(through(&v6(from, 58, 64, &[128, 0, 0, 0])), "echo");
            assert!(through(&v6(from, 58, 255, &about(135, OTHER6))), "who has?");
            assert!(through(&v6(from, 58, 255, &about(136, OWN6))), "I have");
            assert!(!through(&v6(from, 58, 255, &about(136, OTHER6))), "not I");
            assert!(!through(&v6(from, 58, 255, &about(134, OWN6))), "router");
            assert!(!through(&v6(from, 58, 255, &about(137, OWN6))), "redirect");
            assert!(!through(&v6(from, 17, 64, &[2, 35, 2, 34])), "DHCP");
            assert!(through(&v6(from, 17, 64, &[2, 36, 2, 34])));
            assert!(through(&v6(from, 44, 64, &[17, 0, 0, 1])), "fragment");
            assert!(through(&v6(from, 0, 1, &[58, 0])), "listener report");
        }
        assert!(!through(&v6(OTHER6, 6, 64, &[0; 20])));
        assert!(!through(&v6(
            link_local(OTHER),
            58,
            255,
            &about(136, OTHER6)
        )));
        let nobody = Ipv6Addr::UNSPECIFIED;
        assert!(
            through(&v6(nobody, 58, 255, &about(135, OWN6))),
            "is it taken?"
        );
        assert!(
            !through(&v6(nobody, 58, 255, &about(135, OTHER6))),
            "mind your own"
        );
        assert!(through(&v6(nobody, 0, 1, &[58, 0])));
        assert!(!through(&v6(nobody, 17, 64, &[0; 20])));
    }

    #[test]
    fn who_is_kept_apart_speaks_to_the_host_only() {
        let host = [2, 0x42, 9, 9, 9, 9];
        let apart = program(None, Some(host)).expect("it has something to say");
        let frame = |to: [u8; 6], kind, rest: &[u8]| {
            let mut frame = frame(MAC, kind, rest);
            frame[..6].copy_from_slice(&to);
            frame
        };
        let pass = |to, kind, rest: &[u8]| passes(&apart, &frame(to, kind, rest), false);
        let hops = |hops| [&[0x60, 0, 0, 0, 0, 0, 58, hops][..], &[0; 40]].concat();
        assert!(pass(host, IPV4, &[0; 30]));
        assert!(!pass(OTHER, IPV4, &[0; 30]));
        assert!(pass([0xff; 6], ARP, &[0; 30]));
        assert!(!pass([0xff; 6], IPV4, &[0; 30]), "a broadcast");
        assert!(!pass(OTHER, ARP, &[0; 30]));
        let group = [0x33, 0x33, 0, 0, 0, 1];
        assert!(pass(group, IPV6, &hops(255)) && pass(group, IPV6, &hops(1)));
        assert!(!pass(group, IPV6, &hops(64)));
        assert!(program(None, None).is_none());
    }

    #[test]
    fn a_router_advertisement_cannot_hide_behind_other_headers() {
        let hidden = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &about(134, OWN6)].concat();
        for next in [0, 43, 44, 60, 135] {
            assert!(!through(&v6(link_local(MAC), next, 255, &hidden)), "{next}");
        }
    }
}
