//! Address management: which subnet a network gets, which address an endpoint gets.
//!
//! Pure: what is taken comes in as values. Imports: `engine`, `net::record`.
//! As Docker: gateway first, lowest free address first. Default subnets are small, so that they fit between those of
//! a host with VPNs. Source: RFC 1918, RFC 4193 (unique local addresses).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::record::hash;
use crate::engine::spec::{NetworkSpec, Subnet};
use crate::engine::subnet::{first_host, is_common, overlap};
use crate::engine::{EngineError, Result};

/// A subnet of a network, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// All of it.
    pub subnet: IpNet,
    /// The host's own address in it, where packets to elsewhere go.
    pub gateway: Option<IpAddr>,
    /// Where addresses are handed out.
    pub range: IpNet,
    /// What is never handed out.
    pub reserved: Vec<IpAddr>,
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of a number, of the version that another address has.
fn address_of(number: u128, like: IpAddr) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => Some(Ipv4Addr::from_bits(u32::try_from(number).ok()?).into()),
        IpAddr::V6(_) => Some(Ipv6Addr::from_bits(number).into()),
    }
}

impl Pool {
    /// A whole subnet, its first address the gateway's.
    pub fn whole(subnet: IpNet) -> Self {
        let subnet = subnet.trunc();
        Self {
            subnet,
            gateway: Some(first_host(&subnet)),
            range: subnet,
            reserved: Vec::new(),
        }
    }
    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.subnet.addr().is_ipv4()
    }
    /// The gateway with the length of the subnet's prefix.
    pub fn gateway_net(&self) -> Option<IpNet> {
        IpNet::new(self.gateway?, self.subnet.prefix_len()).ok()
    }
    fn usable(&self, address: IpAddr) -> bool {
        !is_common(&self.subnet, address)
            && Some(address) != self.gateway
            && !self.reserved.contains(&address)
    }
    /// The lowest address that nobody has.
    fn free(&self, taken: &dyn Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let (first, last) = (self.range.network(), self.range.broadcast());
        (number(first)..=number(last))
            .filter_map(|number| address_of(number, first))
            .find(|address| self.usable(*address) && !taken(*address))
    }
}

/// Whether a route leads to the world rather than to a network: those of VPNs that take everything are a few halves
/// or quarters of it. Private networks are no wider than this.
pub(super) fn is_the_world(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        // All unique local addresses are fc00::/7, those in use fd00::/8.
        IpNet::V6(network) => network.prefix_len() <= 8,
    }
}

/// The IPv4 subnets that networks are given when they ask for none, in order: some four thousand.
///
/// They begin as Docker's do, but are as small as Podman's. Those of homes and offices come late, those of large
/// companies last.
fn default_ipv4() -> impl Iterator<Item = IpNet> {
    let seconds = (17..=31u8).map(|second| (172, second));
    let seconds = seconds.chain(std::iter::once((192, 168)));
    let seconds = seconds.chain((201..=254u8).map(|second| (10, second)));
    seconds.flat_map(|(first, second)| {
        (0..=255u8).map(move |third| {
            IpNet::V4(Ipv4Net::new_assert(
                Ipv4Addr::new(first, second, third, 0),
                24,
            ))
        })
    })
}

/// The IPv6 network that a host's networks have their parts of: always the same for one machine and data directory,
/// and nobody else's. Source: RFC 4193, 3.2.
pub(super) fn own_ipv6(machine: &[u8], directory: &[u8]) -> Ipv6Net {
    let digits = hash(&[b"ipv6", machine, directory]);
    let global = digits
        .get(..10)
        .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .unwrap_or(0);
    let prefix = (0xfd << 120) | (global << 80);
    Ipv6Net::new_assert(Ipv6Addr::from_bits(prefix), 48)
}

fn default_ipv6(own: Ipv6Net) -> impl Iterator<Item = IpNet> {
    (0..=0xffffu128).map(move |part| {
        let bits = own.network().to_bits() | (part << 64);
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64))
    })
}

/// What a new network must keep clear of.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Subnets of other networks and the host's own addresses: nobody else may have them.
    pub(super) used: Vec<IpNet>,
    /// Networks that the host is on or has routes to: not to be chosen, but to be had by who asks for them.
    pub(super) known: Vec<IpNet>,
    /// So many free ones are passed over, where more are free: another engine chooses at the same moment.
    pub(super) passed_over: usize,
}

impl Taken {
    /// The subnet to take of those that there are.
    fn choose(&self, all: impl Iterator<Item = IpNet>) -> Option<IpNet> {
        let mut free = all.filter(|subnet| !self.overlaps(subnet));
        let first = free.next()?;
        match self.passed_over {
            0 => Some(first),
            further => free.nth(further - 1).or(Some(first)),
        }
    }
    fn overlaps(&self, subnet: &IpNet) -> bool {
        self.used
            .iter()
            .chain(&self.known)
            .any(|other| overlap(other, subnet))
    }
}

/// The subnets of a new network: those it asks for, and one of the host's choice for a version of IP that it wants
/// and asks no subnet of. `own` is where IPv6 subnets are chosen from.
///
/// # Errors
/// [`EngineError::Failed`] when one overlaps or is malformed, or none is free.
pub(super) fn pools(spec: &NetworkSpec, taken: &Taken, own: Ipv6Net) -> Result<Vec<Pool>> {
    let mut pools: Vec<Pool> = Vec::new();
    for (wanted, is_ipv4) in [(spec.ipv4, true), (spec.ipv6, false)] {
        let given = spec
            .subnets
            .iter()
            .filter(|subnet| wanted && subnet.cidr.addr().is_ipv4() == is_ipv4);
        let before = pools.len();
        for subnet in given {
            let pool = given_pool(&spec.name, subnet)?;
            unused(&spec.name, &pool, taken, &pools)?;
            pools.push(pool);
        }
        if wanted && pools.len() == before {
            let found = match is_ipv4 {
                true => taken.choose(default_ipv4()),
                false => taken.choose(default_ipv6(own)),
            };
            pools.push(
                found
                    .map(Pool::whole)
                    .ok_or_else(|| none_free(&spec.name, is_ipv4))?,
            );
        }
    }
    Ok(pools)
}

fn none_free(network: &str, is_ipv4: bool) -> EngineError {
    let all = if is_ipv4 {
        "172.17.0.0 to 172.31.255.255, 192.168.0.0/16 and 10.201.0.0 to 10.254.255.255"
    } else {
        "this host's own unique local addresses"
    };
    EngineError::failed(
        format!("find a free subnet for network {network}"),
        format!(
            "networks and routes of this host take up all of {all}; give it one with \
             `ipam.config.subnet`, or remove unused networks"
        ),
    )
}

fn unused(network: &str, pool: &Pool, taken: &Taken, own: &[Pool]) -> Result<()> {
    let own = own.iter().map(|pool| &pool.subnet);
    match taken
        .used
        .iter()
        .chain(own)
        .find(|other| overlap(other, &pool.subnet))
    {
        None => Ok(()),
        Some(other) => Err(EngineError::failed(
            format!("make network {network}"),
            format!(
                "its subnet {} overlaps with {}, which another network or the host uses; \
                 choose another one",
                pool.subnet,
                other.trunc()
            ),
        )),
    }
}

fn given_pool(network: &str, wanted: &Subnet) -> Result<Pool> {
    if let Some((_, fault)) = wanted.faults().into_iter().next() {
        return Err(EngineError::failed(
            format!("make network {network}"),
            fault,
        ));
    }
    Ok(Pool {
        subnet: wanted.cidr,
        gateway: Some(wanted.own_address()),
        range: wanted.ip_range.unwrap_or(wanted.cidr).trunc(),
        reserved: wanted.reserved.values().copied().collect(),
    })
}

/// Gives an endpoint an address of one version of IP: the one it asks for, else the lowest free one. `pools` are of
/// that version. `holder` names the container that has an address.
///
/// # Errors
/// [`EngineError::Failed`] when the wanted one is taken or outside, or none is left.
pub(super) fn address(
    network: &str,
    pools: &[&Pool],
    wanted: Option<IpAddr>,
    holder: &dyn Fn(IpAddr) -> Option<String>,
) -> Result<(IpNet, Option<IpAddr>)> {
    let place = |address: IpAddr, pool: &Pool| {
        let net = IpNet::new(address, pool.subnet.prefix_len()).unwrap_or_else(|_| address.into());
        (net, pool.gateway)
    };
    if let Some(wanted) = wanted {
        let pool = wanted_pool(pools, wanted, holder).map_err(|cause| {
            EngineError::failed(format!("use address {wanted} on network {network}"), cause)
        })?;
        return Ok(place(wanted, pool));
    }
    let taken = |address| holder(address).is_some();
    pools
        .iter()
        .find_map(|pool| Some(place(pool.free(&taken)?, pool)))
        .ok_or_else(|| {
            let subnets: Vec<String> = pools.iter().map(|pool| pool.range.to_string()).collect();
            let cause = format!(
                "no address of {} is left; stop containers, or give it a larger `ipam.config.subnet`",
                subnets.join(", ")
            );
            EngineError::failed(format!("find an address on network {network}"), cause)
        })
}

/// The pool of an address that was asked for, or why it can't be had.
fn wanted_pool<'a>(
    pools: &[&'a Pool],
    wanted: IpAddr,
    holder: &dyn Fn(IpAddr) -> Option<String>,
) -> std::result::Result<&'a Pool, String> {
    let version = if wanted.is_ipv4() { "IPv4" } else { "IPv6" };
    if pools.is_empty() {
        return Err(format!("the network has no {version}"));
    }
    let Some(pool) = pools.iter().find(|pool| pool.subnet.contains(&wanted)) else {
        let subnets: Vec<String> = pools.iter().map(|pool| pool.subnet.to_string()).collect();
        return Err(format!("it is not inside {}", subnets.join(", ")));
    };
    if Some(wanted) == pool.gateway {
        return Err("it is the gateway's".to_owned());
    }
    // A reserved address may be asked for by name: that is what it is reserved for.
    if is_common(&pool.subnet, wanted) {
        return Err("it is the network's own or its broadcast address".to_owned());
    }
    match holder(wanted) {
        Some(holder) => Err(format!("it is already in use by container {holder}")),
        None => Ok(pool),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn subnet(cidr: &str) -> Subnet {
        Subnet {
            cidr: net(cidr),
            gateway: None,
            ip_range: None,
            reserved: BTreeMap::new(),
        }
    }

    fn spec(subnets: Vec<Subnet>) -> NetworkSpec {
        NetworkSpec {
            subnets,
            ..super::super::tests::lab::spec("n")
        }
    }

    fn known(networks: &[&str]) -> Taken {
        Taken {
            known: networks.iter().map(|text| net(text)).collect(),
            ..Taken::default()
        }
    }

    fn used(networks: &[&str]) -> Taken {
        Taken {
            used: networks.iter().map(|text| net(text)).collect(),
            ..Taken::default()
        }
    }

    fn chosen(taken: &[&str]) -> Result<Vec<Pool>> {
        pools(&spec(Vec::new()), &known(taken), own_ipv6(b"m", b"d"))
    }

    fn checked(subnets: Vec<Subnet>, taken: &Taken) -> Result<Vec<Pool>> {
        pools(&spec(subnets), taken, own_ipv6(b"m", b"d"))
    }

    #[test]
    fn the_first_small_subnet_that_nobody_uses_is_chosen() {
        let found = chosen(&["172.17.0.0/16", "172.18.0.0/24", "172.18.1.128/25"]).unwrap();
        assert_eq!(found, [Pool::whole(net("172.18.2.0/24"))]);
        assert_eq!(found[0].gateway, Some(ip("172.18.2.1")));
        let found = chosen(&["172.16.0.0/12", "192.168.0.0/19"]).unwrap();
        assert_eq!(found[0].subnet, net("192.168.32.0/24"));
        let found = chosen(&["172.16.0.0/12", "192.168.0.0/16"]).unwrap();
        assert_eq!(found[0].subnet, net("10.201.0.0/24"));
        assert!(chosen(&["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"]).is_err());
        assert!(default_ipv4().count() > 1000);
        let taken = Taken {
            passed_over: 3,
            ..known(&["172.17.0.0/16", "172.18.1.0/24"])
        };
        let found = checked(Vec::new(), &taken).unwrap();
        assert_eq!(found[0].subnet, net("172.18.4.0/24"));
    }

    #[test]
    fn ipv6_subnets_are_parts_of_one_that_is_the_machines_own() {
        let own = own_ipv6(b"m", b"d");
        assert_eq!(own, own_ipv6(b"m", b"d"));
        assert_ne!(own, own_ipv6(b"n", b"d"));
        assert_eq!(
            (own.prefix_len(), own.network().segments()[0] >> 8),
            (48, 0xfd)
        );
        let mut both = spec(Vec::new());
        both.ipv6 = true;
        let first = pools(&both, &Taken::default(), own).unwrap();
        assert_eq!(first.len(), 2);
        assert!(own.contains(&match first[1].subnet {
            IpNet::V6(subnet) => subnet,
            IpNet::V4(_) => panic!("IPv4"),
        }));
        both.ipv4 = false;
        let taken = Taken {
            used: vec![first[1].subnet],
            ..Taken::default()
        };
        let second = pools(&both, &taken, own).unwrap();
        assert_eq!(second.len(), 1);
        assert!(!overlap(&second[0].subnet, &first[1].subnet));
    }

    #[test]
    fn a_subnet_that_overlaps_is_refused_with_both_named() {
        let error = checked(vec![subnet("10.5.0.0/16")], &used(&["10.0.0.0/8"]));
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("10.5.0.0/16 overlaps with 10.0.0.0/8"),
            "{text}"
        );
        let twice = vec![subnet("10.5.0.0/16"), subnet("10.5.1.0/24")];
        assert!(checked(twice, &Taken::default()).is_err());
        let inside_a_route = checked(vec![subnet("10.5.0.0/16")], &known(&["10.0.0.0/8"]));
        assert_eq!(inside_a_route.unwrap()[0].subnet, net("10.5.0.0/16"));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let with = |change: &dyn Fn(&mut Subnet)| {
            let mut wanted = subnet("10.5.0.0/24");
            change(&mut wanted);
            checked(vec![wanted], &Taken::default())
        };
        assert!(with(&|_| {}).is_ok());
        assert!(with(&|s| s.gateway = Some(ip("fd00::1"))).is_err());
    }

    #[test]
    fn addresses_are_handed_out_lowest_first_inside_the_range() {
        let mut wanted = subnet("10.5.0.0/24");
        wanted.ip_range = Some(net("10.5.0.128/25"));
        wanted.reserved.insert("printer".into(), ip("10.5.0.128"));
        let pools = checked(vec![wanted], &Taken::default()).unwrap();
        let pools: Vec<&Pool> = pools.iter().collect();
        let none = |_| None;
        let (given, gateway) = address("n", &pools, None, &none).unwrap();
        assert_eq!(
            (given, gateway),
            (net("10.5.0.129/24"), Some(ip("10.5.0.1")))
        );
        let holder = |address| (address == ip("10.5.0.129")).then(|| "web-1".to_owned());
        let (given, _) = address("n", &pools, None, &holder).unwrap();
        assert_eq!(given.addr(), ip("10.5.0.130"));
        let error = address("n", &pools, Some(ip("10.5.0.129")), &holder).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use address 10.5.0.129 on network n: it is already in use by container web-1"
        );
        assert!(address("n", &pools, Some(ip("10.6.0.1")), &none).is_err());
        assert!(address("n", &pools, Some(ip("10.5.0.1")), &none).is_err());
        assert!(address("n", &pools, Some(ip("10.5.0.255")), &none).is_err());
        assert!(address("n", &pools, Some(ip("10.5.0.128")), &none).is_ok());
        assert!(address("n", &[], Some(ip("fd00::2")), &none).is_err());
    }

    #[test]
    fn ipv6_addresses_follow_the_gateway() {
        let pool = Pool::whole(net("fd00:1::/64"));
        assert_eq!(pool.gateway_net(), Some(net("fd00:1::1/64")));
        let (given, gateway) = address("n", &[&pool], None, &|_| None).unwrap();
        assert_eq!(given, net("fd00:1::2/64"));
        assert_eq!(gateway, Some(ip("fd00:1::1")));
    }

    #[test]
    fn a_full_subnet_is_an_error() {
        let pools = checked(vec![subnet("10.5.0.0/30")], &Taken::default()).unwrap();
        let pools: Vec<&Pool> = pools.iter().collect();
        let (given, _) = address("n", &pools, None, &|_| None).unwrap();
        assert_eq!(given.addr(), ip("10.5.0.2"));
        assert!(address("n", &pools, None, &|_| Some("x".into())).is_err());
    }
}
