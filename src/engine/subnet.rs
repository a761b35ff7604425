//! A subnet as it is asked for, and what can be wrong with it.
//!
//! Pure: it knows of no host and no other network. Who plans points at the faults in the file, who makes networks
//! refuses them. Imports: nothing of ours. As Docker: `api/types/network/ipam.go`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// One address range of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `10.5.0.0/16`.
    pub cidr: IpNet,
    /// The bridge's own address; the first one when `None`.
    pub gateway: Option<IpAddr>,
    /// Addresses are handed out of this part only.
    pub ip_range: Option<IpNet>,
    /// Names and addresses that are never handed out.
    pub reserved: BTreeMap<String, IpAddr>,
}

/// The part of a subnet that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubnetPart {
    /// The subnet itself.
    Cidr,
    /// `gateway`.
    Gateway,
    /// `ip_range`.
    Range,
    /// One of the reserved addresses, by name.
    Reserved(String),
}

/// Whether two networks share an address.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether an address means all of a network, or whichever router it has: its first, and of IPv4 its last.
/// Source: RFC 1122, 3.2.1.3; RFC 4291, 2.6.1.
pub fn is_common(network: &IpNet, address: IpAddr) -> bool {
    address == network.network() || (address.is_ipv4() && address == network.broadcast())
}

/// The first address of a network that one host can have.
pub fn first_host(network: &IpNet) -> IpAddr {
    match network.network() {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().saturating_add(1)).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().saturating_add(1)).into(),
    }
}

impl Subnet {
    /// The host's own address in it.
    pub fn own_address(&self) -> IpAddr {
        self.gateway.unwrap_or_else(|| first_host(&self.cidr))
    }
    /// All that is wrong with it, each with the part that is meant.
    pub fn faults(&self) -> Vec<(SubnetPart, String)> {
        let mut found = Vec::new();
        let subnet = self.cidr.trunc();
        if subnet != self.cidr {
            let text = format!(
                "{} is an address; the subnet that holds it is {subnet}",
                self.cidr
            );
            found.push((SubnetPart::Cidr, text));
        }
        if subnet.max_prefix_len() - subnet.prefix_len() < 2 || subnet.prefix_len() == 0 {
            let text = match subnet.prefix_len() {
                0 => format!("{subnet} is the whole world"),
                _ => format!("{subnet} has no room for a gateway and a container"),
            };
            found.push((SubnetPart::Cidr, text));
        }
        if let Some(range) = self.ip_range.filter(|range| !subnet.contains(range)) {
            let text = format!("the range {range} is not inside {subnet}");
            found.push((SubnetPart::Range, text));
        }
        if let Some(gateway) = self.gateway {
            if !subnet.contains(&gateway) {
                let text = format!("the gateway {gateway} is not inside {subnet}");
                found.push((SubnetPart::Gateway, text));
            } else if is_common(&subnet, gateway) {
                let text = format!("{gateway} is no host's address in {subnet}");
                found.push((SubnetPart::Gateway, text));
            }
        }
        for (name, address) in &self.reserved {
            if !subnet.contains(address) {
                let text = format!("the reserved address {address} is not inside {subnet}");
                found.push((SubnetPart::Reserved(name.clone()), text));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_that_is_wrong_is_named() {
        let whole = Subnet {
            cidr: "10.5.0.0/24".parse().unwrap(),
            gateway: Some([10, 5, 0, 254].into()),
            ip_range: Some("10.5.0.128/25".parse().unwrap()),
            reserved: [("printer".to_owned(), IpAddr::from([10, 5, 0, 200]))].into(),
        };
        assert_eq!(whole.faults(), []);
        let wrong = Subnet {
            cidr: "10.5.0.1/24".parse().unwrap(),
            gateway: Some([10, 6, 0, 1].into()),
            ip_range: Some("10.5.0.0/16".parse().unwrap()),
            reserved: [("printer".to_owned(), IpAddr::from([10, 6, 0, 200]))].into(),
        };
        let parts: Vec<SubnetPart> = wrong.faults().into_iter().map(|(part, _)| part).collect();
        assert_eq!(
            parts,
            [
                SubnetPart::Cidr,
                SubnetPart::Range,
                SubnetPart::Gateway,
                SubnetPart::Reserved("printer".to_owned())
            ]
        );
        for (cidr, fits) in [
            ("10.5.0.0/30", true),
            ("10.5.0.0/31", false),
            ("0.0.0.0/0", false),
            ("fd00::/126", true),
            ("fd00::/127", false),
        ] {
            let subnet = Subnet {
                cidr: cidr.parse().unwrap(),
                gateway: None,
                ip_range: None,
                reserved: BTreeMap::new(),
            };
            assert_eq!(subnet.faults().is_empty(), fits, "{cidr}");
        }
        let gateway = |last: u8| Subnet {
            gateway: Some([10, 5, 0, last].into()),
            ..whole.clone()
        };
        assert_eq!(gateway(255).faults().len(), 1);
        assert_eq!(gateway(0).faults().len(), 1);
    }
}
