//! One rule: matches, then what is done, as nf_tables expressions.
//!
//! Imports: `sys::netlink`. Source: `include/uapi/linux/netfilter/nf_tables.h`; the byte layouts are those
//! nft(8) sends (`nft --debug=netlink`).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::sys::netlink::Writer;

const LIST_ELEMENT: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG_2: u32 = 2;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
/// Where a payload is counted from.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Which way a packet passes a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came in by it.
    In,
    /// It leaves by it.
    Out,
}

/// Which devices are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface<'a> {
    /// The one of this name.
    Is(&'a str),
    /// All but the one of this name.
    IsNot(&'a str),
    /// All whose names begin so.
    Begins(&'a str),
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// The number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// A rule being written; the methods add to its end. All that it matches must hold.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    expressions: Writer,
    comment: Option<String>,
}

impl Rule {
    /// An empty rule.
    pub fn new() -> Self {
        Self::default()
    }
    pub(super) fn expressions(&self) -> &Writer {
        &self.expressions
    }
    pub(super) fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }
    fn add(mut self, name: &str, data: impl FnOnce(&mut Writer)) -> Self {
        self.expressions.nest(LIST_ELEMENT, |w| {
            w.text(EXPR_NAME, name);
            w.nest(EXPR_DATA, data);
        });
        self
    }
    fn compare(self, equal: bool, value: &[u8]) -> Self {
        self.add("cmp", |w| {
            w.be32(1, REG_1);
            w.be32(2, u32::from(!equal));
            w.nest(3, |w| w.put(DATA_VALUE, value));
        })
    }
    fn meta(self, key: u32) -> Self {
        self.add("meta", |w| {
            w.be32(1, REG_1);
            w.be32(2, key);
        })
    }
    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        self.add("payload", |w| {
            w.be32(1, REG_1);
            w.be32(2, base);
            w.be32(3, offset);
            w.be32(4, length);
        })
    }
    fn mask(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(4);
        let zero = vec![0; mask.len()];
        self.add("bitwise", |w| {
            w.be32(1, REG_1);
            w.be32(2, REG_1);
            w.be32(3, length);
            w.nest(4, |w| w.put(DATA_VALUE, mask));
            w.nest(5, |w| w.put(DATA_VALUE, &zero));
        })
    }
    fn immediate(self, register: u32, value: &[u8]) -> Self {
        self.add("immediate", |w| {
            w.be32(1, register);
            w.nest(2, |w| w.put(DATA_VALUE, value));
        })
    }
    fn verdict(self, code: u32) -> Self {
        self.add("immediate", |w| {
            w.be32(1, REG_VERDICT);
            w.nest(2, |w| w.nest(DATA_VERDICT, |w| w.be32(VERDICT_CODE, code)));
        })
    }
    /// Matches the device.
    #[must_use]
    pub fn device(self, direction: Direction, interface: Interface<'_>) -> Self {
        let (equal, mut value) = match interface {
            Interface::Is(name) => (true, [name.as_bytes(), &[0]].concat()),
            Interface::IsNot(name) => (false, [name.as_bytes(), &[0]].concat()),
            Interface::Begins(name) => (true, name.as_bytes().to_vec()),
        };
        // IFNAMSIZ: the register holds no more.
        value.truncate(16);
        let key = match direction {
            Direction::In => META_IIFNAME,
            Direction::Out => META_OIFNAME,
        };
        self.meta(key).compare(equal, &value)
    }
    /// Matches packets of one version of IP only: what follows is read as of that version's header.
    #[must_use]
    pub fn version_of(self, address: IpAddr) -> Self {
        const NFPROTO_IPV4: u8 = 2;
        const NFPROTO_IPV6: u8 = 10;
        let version = match address {
            IpAddr::V4(_) => NFPROTO_IPV4,
            IpAddr::V6(_) => NFPROTO_IPV6,
        };
        self.meta(META_NFPROTO).compare(true, &[version])
    }
    /// Compares the bytes of an address in a header with a network.
    fn bytes_of(self, header: u32, offset: u32, equal: bool, network: IpNet) -> Self {
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let length = u32::from(network.max_prefix_len()) / 8;
        let rule = self.payload(header, offset, length);
        let rule = if network.prefix_len() < network.max_prefix_len() {
            rule.mask(&octets(network.netmask()))
        } else {
            rule
        };
        rule.compare(equal, &octets(network.network()))
    }
    fn sender(self, equal: bool, network: IpNet) -> Self {
        let offset = if network.addr().is_ipv4() { 12 } else { 8 };
        self.version_of(network.addr())
            .bytes_of(NETWORK_HEADER, offset, equal, network)
    }
    fn receiver(self, equal: bool, network: IpNet) -> Self {
        let offset = if network.addr().is_ipv4() { 16 } else { 24 };
        self.version_of(network.addr())
            .bytes_of(NETWORK_HEADER, offset, equal, network)
    }
    /// Matches packets of the network's version of IP from the network, or from the one address.
    #[must_use]
    pub fn from(self, network: impl Into<IpNet>) -> Self {
        self.sender(true, network.into())
    }
    /// Matches packets of the network's version of IP from anywhere else.
    #[must_use]
    pub fn not_from(self, network: impl Into<IpNet>) -> Self {
        self.sender(false, network.into())
    }
    /// Matches packets of the network's version of IP to the network, or to the one address.
    #[must_use]
    pub fn to(self, network: impl Into<IpNet>) -> Self {
        self.receiver(true, network.into())
    }
    /// Matches packets of the network's version of IP to anywhere else.
    #[must_use]
    pub fn not_to(self, network: impl Into<IpNet>) -> Self {
        self.receiver(false, network.into())
    }
    /// Matches packets to any of the host's own addresses.
    #[must_use]
    pub fn to_local(self) -> Self {
        const FIB_ADDRTYPE: u32 = 3;
        const FIB_DADDR: u32 = 2;
        const RTN_LOCAL: u32 = 2;
        self.add("fib", |w| {
            w.be32(1, REG_1);
            w.be32(2, FIB_ADDRTYPE);
            w.be32(3, FIB_DADDR);
        })
        .compare(true, &RTN_LOCAL.to_ne_bytes())
    }
    /// Matches transport and receiving port.
    #[must_use]
    pub fn port(self, transport: Transport, port: u16) -> Self {
        self.meta(META_L4PROTO)
            .compare(true, &[transport.number()])
            .payload(TRANSPORT_HEADER, 2, 2)
            .compare(true, &port.to_be_bytes())
    }
    /// Matches what the packet carries, by the number in the IP header.
    #[must_use]
    pub fn protocol(self, number: u8) -> Self {
        self.meta(META_L4PROTO).compare(true, &[number])
    }
    fn conntrack(self, key: u32, bits: u32) -> Self {
        self.add("ct", |w| {
            w.be32(1, REG_1);
            w.be32(2, key);
        })
        .mask(&bits.to_ne_bytes())
        .compare(false, &[0; 4])
    }
    /// Matches packets of, or related to, connections that both sides have spoken on.
    #[must_use]
    pub fn established(self) -> Self {
        const ESTABLISHED: u32 = 2;
        const RELATED: u32 = 4;
        self.conntrack(CT_STATE, ESTABLISHED | RELATED)
    }
    /// Matches packets whose receiver was changed.
    #[must_use]
    pub fn translated(self) -> Self {
        const DST_NAT: u32 = 1 << 5;
        self.conntrack(CT_STATUS, DST_NAT)
    }
    /// Counts; iptables(8) can list a rule only when it counts.
    #[must_use]
    pub fn counted(self) -> Self {
        self.add("counter", |w| {
            w.put(1, &0u64.to_be_bytes());
            w.put(2, &0u64.to_be_bytes());
        })
    }
    /// Names the rule, at most 127 bytes.
    #[must_use]
    pub fn named(mut self, comment: &str) -> Self {
        self.comment = Some(comment.to_owned());
        self
    }
    /// Ends with: the packet may go on.
    #[must_use]
    pub fn accept(self) -> Self {
        self.verdict(ACCEPT)
    }
    /// Ends with: the packet is dropped.
    #[must_use]
    pub fn drop(self) -> Self {
        self.verdict(DROP)
    }
    /// Ends with: the source becomes the leaving device's address.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.add("masq", |_| {})
    }
    /// Ends with: the source becomes this address. Packets of the other version of IP are left alone.
    #[must_use]
    pub fn translate_from(self, address: IpAddr) -> Self {
        const SNAT: u32 = 0;
        let (octets, family) = match address {
            IpAddr::V4(address) => (address.octets().to_vec(), super::Family::Ip),
            IpAddr::V6(address) => (address.octets().to_vec(), super::Family::Ip6),
        };
        self.immediate(REG_1, &octets).add("nat", |w| {
            w.be32(1, SNAT);
            w.be32(2, u32::from(family.number()));
            w.be32(3, REG_1);
        })
    }
    /// Ends with: the packet goes to this address and port. Packets of the other version of IP are left alone.
    #[must_use]
    pub fn translate_to(self, address: IpAddr, port: u16) -> Self {
        const DNAT: u32 = 1;
        let (octets, family) = match address {
            IpAddr::V4(address) => (address.octets().to_vec(), super::Family::Ip),
            IpAddr::V6(address) => (address.octets().to_vec(), super::Family::Ip6),
        };
        self.immediate(REG_1, &octets)
            .immediate(REG_2, &port.to_be_bytes())
            .add("nat", |w| {
                w.be32(1, DNAT);
                w.be32(2, u32::from(family.number()));
                w.be32(3, REG_1);
                w.be32(5, REG_2);
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::attributes;

    /// Names of the expressions in order, and the value compared or set by each, if any.
    fn shape(rule: &Rule) -> Vec<(String, Vec<u8>)> {
        let value = |bytes: &[u8], at: u16| {
            let (_, nest) = attributes(bytes).find(|(kind, _)| *kind == at)?;
            Some(
                attributes(nest)
                    .find(|(kind, _)| *kind == DATA_VALUE)?
                    .1
                    .to_vec(),
            )
        };
        attributes(rule.expressions().bytes())
            .map(|(_, element)| {
                let mut parts = attributes(element);
                let name = super::super::text(parts.next().map_or(&[], |(_, name)| name));
                let data = parts.next().map_or(&[][..], |(_, data)| data);
                let at = match name.as_str() {
                    "cmp" => 3,
                    "bitwise" => 4,
                    "immediate" => 2,
                    _ => return (name, Vec::new()),
                };
                (name, value(data, at).unwrap_or_default())
            })
            .collect()
    }

    #[test]
    fn a_whole_address_is_compared_and_a_network_is_masked_first() {
        let host = Rule::new().from(IpAddr::from([10, 0, 0, 7]));
        assert_eq!(shape(&host)[1], ("cmp".to_owned(), vec![2]));
        assert_eq!(shape(&host)[3], ("cmp".to_owned(), vec![10, 0, 0, 7]));
        let network = Rule::new().from("10.1.2.3/16".parse::<IpNet>().unwrap());
        let found = shape(&network);
        assert_eq!(found[3], ("bitwise".to_owned(), vec![255, 255, 0, 0]));
        assert_eq!(found[4], ("cmp".to_owned(), vec![10, 1, 0, 0]));
        let v6 = Rule::new().to("fd00:1::/32".parse::<IpNet>().unwrap());
        let found = shape(&v6);
        assert_eq!(found[1].1, [10]);
        assert_eq!(found[4].1[..4], [0xfd, 0, 0, 1]);
        assert_eq!(found[4].1.len(), 16);
    }

    #[test]
    fn a_device_prefix_has_no_nul_and_a_name_has() {
        let exact = Rule::new().device(Direction::In, Interface::Is("br"));
        assert_eq!(shape(&exact)[1].1, b"br\0");
        let prefix = Rule::new().device(Direction::Out, Interface::Begins("hst"));
        assert_eq!(shape(&prefix)[1].1, b"hst");
    }

    #[test]
    fn a_translation_loads_address_and_port_first() {
        let rule = Rule::new()
            .port(Transport::Tcp, 8080)
            .translate_to(IpAddr::from([127, 0, 0, 1]), 80);
        let names: Vec<String> = shape(&rule).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "meta",
                "cmp",
                "payload",
                "cmp",
                "immediate",
                "immediate",
                "nat"
            ]
        );
        assert_eq!(shape(&rule)[3].1, 8080u16.to_be_bytes());
        assert_eq!(shape(&rule)[5].1, 80u16.to_be_bytes());
    }
}
