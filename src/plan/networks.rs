//! What is wrong with a project's networks and its services' places on them, told before anything is made: drivers,
//! their options, hardware addresses, names of devices.
//!
//! In: a project, and what is there of others. Out: faults and warnings, each with its place. Address plans are not
//! looked at here. Imports: `base`, `compose::model`, `engine::driver`, `World`.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::{Span, Spanned};
use crate::compose::model::{Network, Project, Service, ServiceNetwork};
use crate::engine::driver::{self, Driver, Fault, GatewayMode, MacvlanMode, Reading};

/// The option that names a bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The option that names a device inside.
const DEVICE_NAME: &str = "com.docker.network.endpoint.ifname";

/// Options without their places.
pub(super) fn bare(options: &BTreeMap<String, Spanned<String>>) -> BTreeMap<String, String> {
    let pair = |(key, value): (&String, &Spanned<String>)| (key.clone(), value.value.clone());
    options.iter().map(pair).collect()
}

/// Checks the networks that services use, and the services' places on them.
pub(super) fn check(project: &Project, world: &World, found: &mut Diagnostics) {
    let services = project.services.values();
    let used: BTreeSet<&String> = services.flat_map(|one| one.networks.keys()).collect();
    let mut bridges = BTreeMap::new();
    for network in project.networks.values() {
        if network.external || !used.contains(&network.key) {
            continue;
        }
        let driver = check_network(network, found);
        if let Some(name) = driver.bridge().and_then(|bridge| bridge.name.clone()) {
            let span = place_of(network, Some(BRIDGE_NAME));
            let text = format!("two networks want a bridge called `{name}`");
            let hint = "give each a name of its own, or leave the option out";
            unique(&mut bridges, name, span, text, hint, found);
        }
    }
    let mut macs = BTreeMap::new();
    for service in project.services.values() {
        check_devices(service, found);
        check_macs(service, &mut macs, found);
        check_ports(project, world, service, found);
    }
}

/// Notes a thing that there may be only one of; tells the second with the first.
fn unique<K: Ord>(
    seen: &mut BTreeMap<K, Option<Span>>,
    key: K,
    span: Option<Span>,
    text: String,
    hint: &str,
    found: &mut Diagnostics,
) {
    match seen.get(&key) {
        Some(first) => {
            let fault = Diagnostic::error(text).at(span).hint(hint);
            found.push(fault.related(*first, "the other one"));
        }
        None => {
            seen.insert(key, span);
        }
    }
}

/// Where an option is written, or the driver, or the network.
fn place_of(network: &Network, option: Option<&str>) -> Option<Span> {
    let option = option.and_then(|key| network.driver_opts.get(key)?.span);
    let driver = || network.driver.as_ref().and_then(|driver| driver.span);
    option.or_else(driver).or(network.span)
}

fn tell(fault: &Fault, error: bool, span: Option<Span>, found: &mut Diagnostics) {
    let item = if error {
        Diagnostic::error(&fault.text)
    } else {
        Diagnostic::warning(&fault.text)
    };
    let item = item.at(span);
    found.push(match &fault.hint {
        Some(hint) => item.hint(hint),
        None => item,
    });
}

fn check_network(network: &Network, found: &mut Diagnostics) -> Driver {
    let name = network
        .driver
        .as_ref()
        .map_or("", |name| name.value.as_str());
    let Reading {
        driver,
        faults,
        unknown,
    } = Driver::read(name, &bare(&network.driver_opts));
    for (fault, error) in faults
        .iter()
        .map(|fault| (fault, true))
        .chain(unknown.iter().map(|fault| (fault, false)))
    {
        tell(
            fault,
            error,
            place_of(network, fault.option.as_deref()),
            found,
        );
    }
    if let Some(ipam) = &network.ipam_driver
        && !matches!(ipam.value.as_str(), "" | "default")
    {
        let text = format!("there is no address plan driver `{}`", ipam.value);
        let hint = "leave `ipam.driver` out; addresses are given by the driver `default`";
        found.push(Diagnostic::error(text).at(ipam.span).hint(hint));
    }
    if let Some((option, text, hint)) = contradiction(network, &driver) {
        let span = place_of(network, option);
        found.push(Diagnostic::error(text).at(span).hint(hint));
    }
    driver
}

/// What options say against each other.
fn contradiction(
    network: &Network,
    driver: &Driver,
) -> Option<(Option<&'static str>, &'static str, &'static str)> {
    match driver {
        Driver::Bridge(bridge) => {
            let isolated = |mode| mode == GatewayMode::Isolated && !network.internal;
            let key = if isolated(bridge.mode_v4) {
                "com.docker.network.bridge.gateway_mode_ipv4"
            } else if isolated(bridge.mode_v6) {
                "com.docker.network.bridge.gateway_mode_ipv6"
            } else {
                return None;
            };
            Some((
                Some(key),
                "gateway mode `isolated` is for internal networks",
                "write `internal: true`, or another mode",
            ))
        }
        Driver::Macvlan(options) => {
            let alone = options.mode == MacvlanMode::Passthru && options.parent.is_none();
            alone.then_some((
                Some("macvlan_mode"),
                "mode `passthru` gives away a device of the host, and none is named",
                "name it with the option `parent`",
            ))
        }
        Driver::Ipvlan(_) => None,
    }
}

fn check_devices(service: &Service, found: &mut Diagnostics) {
    let mut names = BTreeMap::new();
    for place in service.networks.values() {
        let (options, faults, unknown) = driver::endpoint(&bare(&place.driver_opts));
        let at = |key: &str| place.driver_opts.get(key).and_then(|value| value.span);
        let span = |fault: &Fault| fault.option.as_deref().and_then(at).or(place.span);
        for fault in &faults {
            tell(fault, true, span(fault), found);
        }
        for fault in &unknown {
            tell(fault, false, span(fault), found);
        }
        let named = place.interface_name.clone();
        let option = options.interface;
        let option = option.map(|name| Spanned::new(name, at(DEVICE_NAME)));
        let Some(name) = named.or(option) else {
            continue;
        };
        if !driver::is_device_name(&name.value) || name.value == "lo" {
            let text = format!("`{}` cannot be the name of a device", name.value);
            let hint =
                "write at most 15 characters without spaces, `/`, `:` and `%`; `lo` is taken";
            found.push(Diagnostic::error(text).at(name.span).hint(hint));
            continue;
        }
        let text = format!(
            "two devices of service `{}` are called `{}`",
            service.name, name.value
        );
        let hint = "give each a name of its own";
        unique(&mut names, name.value, name.span, text, hint, found);
    }
}

/// Hardware addresses by network: each is one device's.
fn check_macs(
    service: &Service,
    seen: &mut BTreeMap<(String, [u8; 6]), Option<Span>>,
    found: &mut Diagnostics,
) {
    for (at, (key, place)) in by_priority(service).into_iter().enumerate() {
        let main = service.mac_address.as_ref().filter(|_| at == 0);
        let Some(text) = place.mac_address.as_ref().or(main) else {
            continue;
        };
        let Some(mac) = driver::mac(&text.value) else {
            let fault = format!("`{}` is no hardware address of one device", text.value);
            let hint = "write six bytes as 02:42:ac:11:00:02; the first one is even";
            found.push(Diagnostic::error(fault).at(text.span).hint(hint));
            continue;
        };
        if service.scale > 1 {
            let (name, scale) = (&service.name, service.scale);
            let fault =
                format!("{scale} containers of service `{name}` cannot have one hardware address");
            let hint = "leave it out; each gets its own";
            found.push(Diagnostic::error(fault).at(text.span).hint(hint));
            continue;
        }
        let fault = format!(
            "two services have hardware address {} on network `{key}`",
            text.value
        );
        let hint = "give each an address of its own, or leave them out";
        unique(seen, (key.clone(), mac), text.span, fault, hint, found);
    }
}

/// A service's places in the order in which they are connected.
pub(super) fn by_priority(service: &Service) -> Vec<(&String, &ServiceNetwork)> {
    let mut places: Vec<(&String, &ServiceNetwork)> = service.networks.iter().collect();
    places.sort_by(|a, b| b.1.priority.cmp(&a.1.priority).then(a.0.cmp(b.0)));
    places
}

/// As with Docker, only bridges publish ports; unlike Docker, that is said.
fn check_ports(project: &Project, world: &World, service: &Service, found: &mut Diagnostics) {
    let Some(first) = service.ports.first() else {
        return;
    };
    let driver_of = |key: &String| {
        let network = project.networks.get(key)?;
        let name = network.driver.as_ref().map(|driver| driver.value.clone());
        match world.network(&network.name) {
            Some(there) if network.external => Some(there.driver.clone()),
            _ => name,
        }
    };
    let drivers = service.networks.keys().map(driver_of);
    let direct = |driver: &Option<String>| matches!(driver.as_deref(), Some("macvlan" | "ipvlan"));
    let drivers: Vec<Option<String>> = drivers.collect();
    if !drivers.is_empty() && drivers.iter().all(direct) {
        let text = format!("ports of service `{}` are not published", service.name);
        let hint = "its networks are on devices of the host: it is reached at its own address, on all ports";
        found.push(Diagnostic::warning(text).at(first.span).hint(hint));
    }
}
