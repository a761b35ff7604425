//! Address management: which subnet a network gets, which address an endpoint gets.
//!
//! Pure: what is taken comes in as values. Imports: `engine`, `net::cidr`.
//! As Docker: default address pools, gateway first, lowest free address first.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::cidr::Cidr;
use crate::engine::spec::Subnet;
use crate::engine::{EngineError, Result};

/// A subnet of a network, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// All of it.
    pub subnet: Cidr,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// Where addresses are handed out.
    pub range: Cidr,
    /// What is never handed out.
    pub reserved: Vec<Ipv4Addr>,
}

impl Pool {
    fn whole(subnet: Cidr) -> Self {
        let gateway = Ipv4Addr::from_bits(subnet.first().to_bits() + 1);
        Self {
            subnet,
            gateway,
            range: subnet,
            reserved: Vec::new(),
        }
    }
    fn usable(&self, address: Ipv4Addr) -> bool {
        address != self.subnet.first()
            && address != self.subnet.last()
            && address != self.gateway
            && !self.reserved.contains(&address)
    }
    /// The lowest address that nobody has.
    fn free(&self, taken: &dyn Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let (first, last) = (self.range.first().to_bits(), self.range.last().to_bits());
        (first..=last)
            .map(Ipv4Addr::from_bits)
            .find(|address| self.usable(*address) && !taken(*address))
    }
}

/// The subnets that networks are given when they ask for none, in order.
///
/// As Docker: `daemon/libnetwork/ipamutils`, local scope.
fn default_subnets() -> impl Iterator<Item = Cidr> {
    let large = (17..=31).map(|second| Cidr::new(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16u8).map(|part| Cidr::new(Ipv4Addr::new(192, 168, part * 16, 0), 20));
    large.chain(small)
}

/// Chooses a free subnet.
///
/// # Errors
/// [`EngineError::Failed`] when all overlap with `taken`.
pub(super) fn choose(network: &str, taken: &[Cidr]) -> Result<Pool> {
    default_subnets()
        .find(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)))
        .map(Pool::whole)
        .ok_or_else(|| {
            EngineError::failed(
                format!("find a free subnet for network {network}"),
                "all of 172.17.0.0/16 to 172.31.0.0/16 and 192.168.0.0/16 are in use; give it one \
                 with `ipam.config.subnet`, or remove unused networks",
            )
        })
}

fn v4(network: &str, what: &str, address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(EngineError::Unsupported {
            what: format!("network {network}: {what} {address} is IPv6, which hoist cannot do yet"),
        }),
    }
}

/// Checks the subnets a network asks for. `taken` are those of other networks and of the host.
///
/// # Errors
/// [`EngineError::Failed`] when one overlaps or is malformed, [`EngineError::Unsupported`] for IPv6.
pub(super) fn check(network: &str, wanted: &[Subnet], taken: &[Cidr]) -> Result<Vec<Pool>> {
    let mut pools: Vec<Pool> = Vec::new();
    for subnet in wanted {
        let pool = checked(network, subnet)?;
        let clash = taken
            .iter()
            .copied()
            .chain(pools.iter().map(|pool| pool.subnet));
        if let Some(other) = clash.into_iter().find(|other| other.overlaps(pool.subnet)) {
            return Err(EngineError::failed(
                format!("make network {network}"),
                format!(
                    "its subnet {} overlaps with {other}, which another network or the host uses; \
                     choose another one",
                    pool.subnet
                ),
            ));
        }
        pools.push(pool);
    }
    Ok(pools)
}

fn checked(network: &str, wanted: &Subnet) -> Result<Pool> {
    if wanted.cidr.contains(':') {
        let what = format!(
            "network {network}: subnet {} is IPv6, which hoist cannot do yet",
            wanted.cidr
        );
        return Err(EngineError::Unsupported { what });
    }
    let wrong = |cause: String| EngineError::failed(format!("make network {network}"), cause);
    let subnet: Cidr = wanted.cidr.parse().map_err(|e| wrong(format!("{e}")))?;
    if subnet.prefix() > 30 || subnet.prefix() == 0 {
        return Err(wrong(format!(
            "subnet {subnet} has no room for a gateway and a container"
        )));
    }
    let mut pool = Pool::whole(subnet);
    if let Some(range) = &wanted.ip_range {
        pool.range = range.parse().map_err(|e| wrong(format!("ip_range: {e}")))?;
        if !subnet.contains(pool.range.first()) || pool.range.prefix() < subnet.prefix() {
            return Err(wrong(format!(
                "ip_range {} is not inside {subnet}",
                pool.range
            )));
        }
    }
    if let Some(gateway) = wanted.gateway {
        pool.gateway = v4(network, "gateway", gateway)?;
        if !subnet.contains(pool.gateway) {
            return Err(wrong(format!("gateway {gateway} is not inside {subnet}")));
        }
    }
    for address in wanted.reserved.values() {
        pool.reserved
            .push(v4(network, "auxiliary address", *address)?);
    }
    Ok(pool)
}

/// Gives an endpoint an address: the one it asks for, else the lowest free one. `holder` names the
/// container that has an address.
///
/// # Errors
/// [`EngineError::Failed`] when the wanted one is taken or outside, or none is left.
pub(super) fn address(
    network: &str,
    pools: &[Pool],
    wanted: Option<Ipv4Addr>,
    holder: &dyn Fn(Ipv4Addr) -> Option<String>,
) -> Result<(Ipv4Addr, Pool)> {
    let wrong = |step: String, cause: String| Err(EngineError::failed(step, cause));
    if let Some(wanted) = wanted {
        let step = format!("use address {wanted} on network {network}");
        let Some(pool) = pools.iter().find(|pool| pool.subnet.contains(wanted)) else {
            let subnets: Vec<String> = pools.iter().map(|pool| pool.subnet.to_string()).collect();
            return wrong(step, format!("it is not inside {}", subnets.join(", ")));
        };
        if wanted == pool.gateway {
            return wrong(step, "it is the gateway's".to_owned());
        }
        // A reserved address may be asked for by name: that is what it is reserved for.
        if wanted == pool.subnet.first() || wanted == pool.subnet.last() {
            return wrong(
                step,
                "it is the network's own or its broadcast address".to_owned(),
            );
        }
        if let Some(holder) = holder(wanted) {
            return wrong(step, format!("it is already in use by container {holder}"));
        }
        return Ok((wanted, pool.clone()));
    }
    let taken = |address| holder(address).is_some();
    pools
        .iter()
        .find_map(|pool| Some((pool.free(&taken)?, pool.clone())))
        .ok_or_else(|| {
            let cause = "no free address is left; stop containers, or give it a larger subnet";
            EngineError::failed(format!("find an address on network {network}"), cause)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn subnet(cidr: &str) -> Subnet {
        Subnet {
            cidr: cidr.to_owned(),
            gateway: None,
            ip_range: None,
            reserved: BTreeMap::new(),
        }
    }

    #[test]
    fn the_first_default_subnet_that_nobody_uses_is_chosen() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        let pool = choose("n", &[cidr("172.17.0.0/16"), cidr("172.18.5.0/24")]).unwrap();
        assert_eq!(pool.subnet, cidr("172.19.0.0/16"));
        assert_eq!(pool.gateway, Ipv4Addr::new(172, 19, 0, 1));
        let pool = choose("n", &[cidr("172.16.0.0/12"), cidr("192.168.0.0/19")]).unwrap();
        assert_eq!(pool.subnet, cidr("192.168.32.0/20"));
        assert!(choose("n", &[cidr("0.0.0.0/0")]).is_err());
    }

    #[test]
    fn a_subnet_that_overlaps_is_refused_with_both_named() {
        let error = check(
            "n",
            &[subnet("10.5.0.0/16")],
            &["10.0.0.0/8".parse().unwrap()],
        );
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("10.5.0.0/16 overlaps with 10.0.0.0/8"),
            "{text}"
        );
        assert!(check("n", &[subnet("10.5.0.0/16"), subnet("10.5.1.0/24")], &[]).is_err());
        assert!(matches!(
            check("n", &[subnet("fd00::/64")], &[]),
            Err(EngineError::Unsupported { .. })
        ));
    }

    #[test]
    fn addresses_are_handed_out_lowest_first_inside_the_range() {
        let mut wanted = subnet("10.5.0.0/24");
        wanted.ip_range = Some("10.5.0.128/25".to_owned());
        wanted
            .reserved
            .insert("printer".into(), IpAddr::from([10, 5, 0, 128]));
        let pools = check("n", &[wanted], &[]).unwrap();
        let none = |_| None;
        assert_eq!(
            address("n", &pools, None, &none).unwrap().0,
            Ipv4Addr::new(10, 5, 0, 129)
        );
        let holder =
            |address| (address == Ipv4Addr::new(10, 5, 0, 129)).then(|| "web-1".to_owned());
        assert_eq!(
            address("n", &pools, None, &holder).unwrap().0,
            Ipv4Addr::new(10, 5, 0, 130)
        );
        let error = address("n", &pools, Some(Ipv4Addr::new(10, 5, 0, 129)), &holder).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use address 10.5.0.129 on network n: it is already in use by container web-1"
        );
        assert!(address("n", &pools, Some(Ipv4Addr::new(10, 6, 0, 1)), &none).is_err());
        assert!(address("n", &pools, Some(Ipv4Addr::new(10, 5, 0, 1)), &none).is_err());
    }

    #[test]
    fn a_full_subnet_is_an_error() {
        let pools = check("n", &[subnet("10.5.0.0/30")], &[]).unwrap();
        assert_eq!(
            address("n", &pools, None, &|_| None).unwrap().0,
            Ipv4Addr::new(10, 5, 0, 2)
        );
        assert!(address("n", &pools, None, &|_| Some("x".into())).is_err());
    }
}
