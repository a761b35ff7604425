//! Addresses that a project asks for: whether they can be had, as far as that is known without asking the host.
//!
//! In: a project. Out: faults with their places, all at once, before anything is made. What others on the host use
//! comes to light when the network is made. Imports: `base`, `compose::model`, `engine::{spec, subnet}`.
//! As Docker: `api/types/network/ipam.go`; an address or hardware address given twice is refused here already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::key::KeyPath;
use crate::base::span::{Span, Spanned};
use crate::compose::model::{IpamConfig, Network, Project, Service, ServiceNetwork};
use crate::engine::spec::{Subnet, SubnetPart};
use crate::engine::subnet::{is_common, overlap};

/// A range of addresses as the engine takes it; `None` where it is none.
pub(super) fn subnet(config: &IpamConfig) -> Option<Subnet> {
    let range = config.ip_range.as_ref();
    Some(Subnet {
        cidr: config.subnet.as_ref()?.value.parse().ok()?,
        gateway: config.gateway.as_ref().map(|gateway| gateway.value),
        ip_range: range.and_then(|range| range.value.parse().ok()),
        reserved: config
            .aux_addresses
            .iter()
            .map(|(name, address)| (name.clone(), address.value))
            .collect(),
    })
}

/// Looks at all networks that services use, and at the places of the services on them.
pub(super) fn check(project: &Project, faults: &mut Diagnostics) {
    let used: BTreeSet<&String> = project
        .services
        .values()
        .flat_map(|service| service.networks.keys())
        .collect();
    let mut seen = Seen::default();
    for network in project.networks.values() {
        if used.contains(&network.key) && !network.external {
            check_network(network, &mut seen, faults);
        }
    }
    for service in project.services.values() {
        for (key, place) in &service.networks {
            if let Some(network) = project.networks.get(key) {
                let at = Place {
                    service,
                    network,
                    place,
                };
                at.check(&mut seen, faults);
            }
        }
    }
}

/// What was given out already, and where.
#[derive(Default)]
struct Seen {
    subnets: Vec<(IpNet, String, Option<Span>)>,
    /// By full name of the network.
    addresses: BTreeMap<(String, IpAddr), (String, Option<Span>)>,
    /// By full name of the network, in lower case.
    macs: BTreeMap<(String, String), (String, Option<Span>)>,
}

fn ipam(network: &Network, at: usize) -> KeyPath {
    let path = KeyPath::root().key("networks").key(&network.key);
    path.key("ipam").key("config").index(at)
}

fn check_network(network: &Network, seen: &mut Seen, faults: &mut Diagnostics) {
    if network.enable_ipv4 == Some(false) && !network.enable_ipv6 {
        let path = KeyPath::root().key("networks").key(&network.key);
        let fault = Diagnostic::error("the network has neither IPv4 nor IPv6");
        let fault = fault.at(network.span).path(&path.key("enable_ipv4"));
        faults.push(fault.hint("leave `enable_ipv4` out, or set `enable_ipv6: true`"));
    }
    for (at, config) in network.subnets.iter().enumerate() {
        let path = ipam(network, at);
        let Some(text) = &config.subnet else {
            let said = config.gateway.is_some()
                || config.ip_range.is_some()
                || !config.aux_addresses.is_empty();
            if said {
                let fault = Diagnostic::error("a range of addresses needs its `subnet`");
                faults.push(
                    fault
                        .at(config.span)
                        .path(&path)
                        .hint("add `subnet: 10.5.0.0/24`"),
                );
            }
            continue;
        };
        no_network(config.ip_range.as_ref(), &path.key("ip_range"), faults);
        if no_network(Some(text), &path.key("subnet"), faults) {
            continue;
        }
        let Some(wanted) = subnet(config) else {
            continue;
        };
        for (part, fault) in wanted.faults() {
            let (path, span) = part_of(config, &path, &part);
            faults.push(Diagnostic::error(fault).at(span).path(&path));
        }
        let is_ipv4 = wanted.cidr.addr().is_ipv4();
        let path = path.key("subnet");
        if is_ipv4 && network.enable_ipv4 == Some(false) || !is_ipv4 && !network.enable_ipv6 {
            // As Docker, which leaves it out in silence.
            let warning = Diagnostic::warning(unused(&wanted.cidr, is_ipv4));
            faults.push(warning.at(text.span).path(&path));
            continue;
        }
        apart(network, &wanted.cidr, text.span, &path, seen, faults);
    }
}

fn unused(subnet: &IpNet, is_ipv4: bool) -> String {
    if is_ipv4 {
        format!("the subnet {subnet} is not used: `enable_ipv4` is false")
    } else {
        format!("the subnet {subnet} is not used: `enable_ipv6` is not true")
    }
}

/// Pushes a fault where a text is no network; gives whether it is none.
fn no_network(text: Option<&Spanned<String>>, path: &KeyPath, faults: &mut Diagnostics) -> bool {
    let Some(text) = text.filter(|text| text.value.parse::<IpNet>().is_err()) else {
        return false;
    };
    let fault = Diagnostic::error(format!("`{}` is no network", text.value));
    let fault = fault.at(text.span).path(path);
    faults
        .push(fault.label("expected an address and a length, such as 10.5.0.0/24 or fd00:5::/64"));
    true
}

fn part_of(config: &IpamConfig, path: &KeyPath, part: &SubnetPart) -> (KeyPath, Option<Span>) {
    let span = |text: &Option<Spanned<String>>| text.as_ref().and_then(|text| text.span);
    match part {
        SubnetPart::Cidr => (path.key("subnet"), span(&config.subnet)),
        SubnetPart::Range => (path.key("ip_range"), span(&config.ip_range)),
        SubnetPart::Gateway => {
            let gateway = config.gateway.as_ref();
            (
                path.key("gateway"),
                gateway.and_then(|gateway| gateway.span),
            )
        }
        SubnetPart::Reserved(name) => {
            let address = config.aux_addresses.get(name);
            let path = path.key("aux_addresses").key(name);
            (path, address.and_then(|address| address.span))
        }
    }
}

/// Two networks of one host can't have the same addresses.
fn apart(
    network: &Network,
    cidr: &IpNet,
    span: Option<Span>,
    path: &KeyPath,
    seen: &mut Seen,
    faults: &mut Diagnostics,
) {
    let other = seen.subnets.iter().find(|(other, ..)| overlap(other, cidr));
    if let Some((other, of, place)) = other {
        let text = format!("the subnet {cidr} overlaps with {other} of network `{of}`");
        let fault = Diagnostic::error(text).at(span).path(path);
        faults.push(fault.related(*place, format!("{other} is here")));
    }
    seen.subnets.push((*cidr, network.key.clone(), span));
}

/// A service's place on a network of the project.
struct Place<'a> {
    service: &'a Service,
    network: &'a Network,
    place: &'a ServiceNetwork,
}

impl Place<'_> {
    fn path(&self, key: &str) -> KeyPath {
        let path = KeyPath::root()
            .key("services")
            .key(self.service.name.as_str());
        path.key("networks").key(&self.network.key).key(key)
    }
    fn check(&self, seen: &mut Seen, faults: &mut Diagnostics) {
        let ipv4 = self.place.ipv4_address.as_ref();
        let ipv6 = self.place.ipv6_address.as_ref();
        let ipv4 = ipv4.map(|address| Spanned::new(IpAddr::V4(address.value), address.span));
        let ipv6 = ipv6.map(|address| Spanned::new(IpAddr::V6(address.value), address.span));
        for (key, address) in [("ipv4_address", ipv4), ("ipv6_address", ipv6)] {
            let Some(address) = address else {
                continue;
            };
            let mut push = |fault: Diagnostic| {
                faults.push(fault.at(address.span).path(&self.path(key)));
            };
            if let Some(fault) = self.unfit(address.value) {
                push(fault);
                continue;
            }
            let name = (self.network.name.clone(), address.value);
            if let Some(fault) = self.taken(&mut seen.addresses, name, address.span) {
                push(fault);
            }
        }
        if let Some(mac) = &self.place.mac_address {
            let name = (self.network.name.clone(), mac.value.to_ascii_lowercase());
            if let Some(fault) = self.taken(&mut seen.macs, name, mac.span) {
                faults.push(fault.at(mac.span).path(&self.path("mac_address")));
            }
        }
    }
    /// Why the network can't have an address; of a network of others that is not known here.
    fn unfit(&self, address: IpAddr) -> Option<Diagnostic> {
        let network = self.network;
        if network.external {
            return None;
        }
        let (version, enabled) = match address {
            IpAddr::V4(_) => ("IPv4", network.enable_ipv4 != Some(false)),
            IpAddr::V6(_) => ("IPv6", network.enable_ipv6),
        };
        if !enabled {
            let text = format!("network `{}` has no {version}", network.key);
            let fault = Diagnostic::error(text).related(network.span, "the network is here");
            return Some(match address {
                IpAddr::V4(_) => fault,
                IpAddr::V6(_) => fault.hint("set `enable_ipv6: true` there, and give it a subnet"),
            });
        }
        let subnets = network.subnets.iter().filter_map(subnet);
        let subnets = subnets.filter(|subnet| subnet.cidr.addr().is_ipv4() == address.is_ipv4());
        let subnets: Vec<Subnet> = subnets.collect();
        if subnets.is_empty() {
            let text = format!(
                "network `{}` has no {version} subnet of its own, so that nobody can know whether {address} is in it",
                network.key
            );
            let fault = Diagnostic::error(text).related(network.span, "the network is here");
            return Some(fault.hint(format!(
                "add `ipam.config` with a `subnet` that holds {address}"
            )));
        }
        let Some(subnet) = subnets.iter().find(|subnet| subnet.cidr.contains(&address)) else {
            let all: Vec<String> = subnets
                .iter()
                .map(|subnet| subnet.cidr.to_string())
                .collect();
            let text = format!("{address} is not inside {}", all.join(", "));
            return Some(Diagnostic::error(text).related(network.span, "the network is here"));
        };
        if is_common(&subnet.cidr, address) {
            return Some(Diagnostic::error(format!(
                "{address} is no host's address in {}",
                subnet.cidr
            )));
        }
        (subnet.own_address() == address).then(|| {
            Diagnostic::error(format!("{address} is the gateway's"))
                .hint("choose another address, or another `gateway` for the network")
        })
    }
    /// Claims what only one container can have.
    fn taken<T: Ord + Clone + std::fmt::Display>(
        &self,
        seen: &mut BTreeMap<(String, T), (String, Option<Span>)>,
        name: (String, T),
        span: Option<Span>,
    ) -> Option<Diagnostic> {
        let what = name.1.clone();
        if self.service.scale > 1 {
            let text = format!(
                "only one container can have {what}, not {}",
                self.service.scale
            );
            return Some(Diagnostic::error(text));
        }
        let own = (self.service.name.to_string(), span);
        let (other, place) = seen.insert(name, own)?;
        let text = format!("service `{other}` has {what} already");
        Some(Diagnostic::error(text).related(place, "it is here"))
    }
}
