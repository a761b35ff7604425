//! Where a container is reached: networks, names, shared namespaces.
//!
//! Imports: `base`, `compose::model`, `engine::spec`. Source: compose-spec, `networks`, `network_mode`.

use super::{Facts, Replica, container_name};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::name::ContainerId;
use crate::base::span::{Span, Spanned};
use crate::compose::model::{CgroupSpec, NetworkModeSpec, Project, Service, ShareSpec};
use crate::engine::driver;
use crate::engine::spec::{DnsConfig, Endpoint, HostAddr, Ipc, Namespaces, NetworkMode, Share};
use crate::plan::networks::{bare, by_priority};

/// The network of `network_mode: bridge`: one for the whole machine, without names.
pub(crate) const BRIDGE: &str = "bridge";

pub(super) fn mode(
    project: &Project,
    service: &Service,
    replica: &Replica<'_>,
    facts: &Facts,
    found: &mut Diagnostics,
) -> NetworkMode {
    let Some(mode) = &service.network_mode else {
        return NetworkMode::Networks(endpoints(project, service, replica, facts, found));
    };
    refuse_names(service, mode, found);
    match &mode.value {
        NetworkModeSpec::None => NetworkMode::None,
        NetworkModeSpec::Host => NetworkMode::Host,
        NetworkModeSpec::Bridge => NetworkMode::Networks(vec![Endpoint {
            network: BRIDGE.to_owned(),
            links: links(project, service, &[BRIDGE], facts, found),
            forwards: forwards(project, service),
            ..Endpoint::default()
        }]),
        NetworkModeSpec::Service(name) => {
            NetworkMode::Container(peer_id(name.as_str(), replica, mode.span, found))
        }
        NetworkModeSpec::Container(name) => {
            NetworkMode::Container(foreign_id(name, facts, mode.span, found))
        }
    }
}

fn peer_id(
    name: &str,
    replica: &Replica<'_>,
    span: Option<Span>,
    found: &mut Diagnostics,
) -> ContainerId {
    match (replica.peer)(name).and_then(|peer| peer.id) {
        Some(id) => id,
        None => {
            found.push(Diagnostic::error(format!("service `{name}` has no container")).at(span));
            ContainerId::new("")
        }
    }
}

fn foreign_id(
    name: &str,
    facts: &Facts,
    span: Option<Span>,
    found: &mut Diagnostics,
) -> ContainerId {
    match facts.containers.get(name) {
        Some(other) => other.id.clone(),
        None => {
            found.push(Diagnostic::error(format!("no such container: {name}")).at(span));
            ContainerId::new("")
        }
    }
}

/// As Docker: who has another's network has its names too, and there are no links on the host's.
fn refuse_names(service: &Service, mode: &Spanned<NetworkModeSpec>, found: &mut Diagnostics) {
    let owner = match &mode.value {
        NetworkModeSpec::Service(name) => format!("service `{name}`"),
        NetworkModeSpec::Container(name) => format!("container `{name}`"),
        NetworkModeSpec::Host => "the host".to_owned(),
        NetworkModeSpec::None | NetworkModeSpec::Bridge => return,
    };
    let on_host = mode.value == NetworkModeSpec::Host;
    type Make = fn(String) -> Diagnostic;
    let keys: [(&str, bool, Make); 6] = [
        ("dns", service.dns.is_empty() || on_host, Diagnostic::error),
        (
            "dns_search",
            service.dns_search.is_empty() || on_host,
            Diagnostic::warning,
        ),
        (
            "dns_opt",
            service.dns_opt.is_empty() || on_host,
            Diagnostic::warning,
        ),
        (
            "extra_hosts",
            service.extra_hosts.is_empty() || on_host,
            Diagnostic::error,
        ),
        ("links", service.links.is_empty(), Diagnostic::error),
        (
            "external_links",
            service.external_links.is_empty(),
            Diagnostic::error,
        ),
    ];
    for (key, _, make) in keys.into_iter().filter(|(_, is_fine, _)| !is_fine) {
        let text = format!("`{key}` does not go with the network of {owner}, whose names are used");
        let fault = make(text).at(mode.span);
        found.push(fault.hint(format!("take `{key}` away, or say it where the network is")));
    }
}

/// Highest `priority` first, then by key; with each, the names it answers to.
fn endpoints(
    project: &Project,
    service: &Service,
    replica: &Replica<'_>,
    facts: &Facts,
    found: &mut Diagnostics,
) -> Vec<Endpoint> {
    let keys = service.networks.keys();
    let places = keys.filter_map(|key| project.networks.get(key));
    let networks: Vec<&str> = places.map(|network| network.name.as_str()).collect();
    let links = links(project, service, &networks, facts, found);
    let forwards = forwards(project, service);
    let mut endpoints = Vec::new();
    for (at, (key, place)) in by_priority(service).into_iter().enumerate() {
        let Some(network) = project.networks.get(key) else {
            continue;
        };
        let mut aliases = vec![replica.name.clone()];
        // A container of `run` answers to its own name only, unless `--use-aliases` says otherwise;
        // then `oneoff` leaves the service's name among the aliases itself.
        if replica.slug.is_none() {
            aliases.push(service.name.to_string());
            // As Docker.
            aliases.extend(service.hostname.clone());
        }
        aliases.extend(place.aliases.iter().cloned());
        aliases.push(replica.id.short().to_owned());
        let mut seen = std::collections::BTreeSet::new();
        aliases.retain(|alias| seen.insert(alias.clone()));
        let (options, ..) = driver::endpoint(&bare(&place.driver_opts));
        let main = service.mac_address.as_ref().filter(|_| at == 0);
        let mac = place.mac_address.as_ref().or(main);
        let interface = place.interface_name.as_ref().map(|name| name.value.clone());
        endpoints.push(Endpoint {
            network: network.name.clone(),
            aliases,
            ipv4: place.ipv4_address.as_ref().map(|address| address.value),
            ipv6: place.ipv6_address.as_ref().map(|address| address.value),
            mac: mac.map(|mac| mac.value.clone()),
            interface: interface.or(options.interface),
            gw_priority: place.gw_priority,
            links: links.clone(),
            extra: place.link_local_ips.clone(),
            sysctls: options.sysctls,
            forwards,
        });
    }
    endpoints
}

/// Whether what a service sends may have addresses that nobody here knows of: it, or who shares its network, configures
/// the network or is told to forward.
fn forwards(project: &Project, service: &Service) -> bool {
    let shares = |other: &&Service| match other.network_mode.as_ref().map(|mode| &mode.value) {
        Some(NetworkModeSpec::Service(name)) => *name == service.name,
        _ => false,
    };
    let mut all = project.services.values().filter(shares);
    let routes = |service: &Service| {
        let grants = |name: &String| matches!(name.as_str(), "NET_ADMIN" | "ALL");
        service.privileged
            || super::security::capabilities(&service.cap_add)
                .iter()
                .any(grants)
            || service.sysctls.iter().any(|(name, value)| {
                let forwarding = name.ends_with(".forwarding") || name == "net.ipv4.ip_forward";
                forwarding && value.trim() != "0"
            })
    };
    routes(service) || all.any(routes)
}

/// Names a service has for others: alias → container. `networks` are the full names of those it is on.
fn links(
    project: &Project,
    service: &Service,
    networks: &[&str],
    facts: &Facts,
    found: &mut Diagnostics,
) -> Vec<(String, String)> {
    let mut links = Vec::new();
    for (name, alias) in &service.links {
        let Some(other) = project.services.get(name) else {
            continue;
        };
        for number in 1..=other.scale {
            links.push((alias.clone(), container_name(project, other, number)));
        }
    }
    for link in &service.external_links {
        let (name, alias) = &link.value;
        let is_ours = |other: &Service| {
            (1..=other.scale).any(|number| container_name(project, other, number) == *name)
        };
        if project.services.values().any(is_ours) {
            links.push((alias.clone(), name.clone()));
            continue;
        }
        let Some(other) = facts.containers.get(name) else {
            let text = format!("external_links: no such container: {name}");
            if networks == [BRIDGE] {
                let fault = Diagnostic::error(text).at(link.span);
                found.push(fault.hint("start it before this project"));
                continue;
            }
            // As Docker on a network of one's own, where names are looked up when they are asked for.
            let fault = Diagnostic::warning(text).at(link.span);
            found.push(fault.hint("its name leads nowhere until it runs"));
            links.push((alias.clone(), name.clone()));
            continue;
        };
        if !other
            .networks
            .iter()
            .any(|one| networks.contains(&one.as_str()))
        {
            let text = format!(
                "container `{name}` is on no network of service `{}`",
                service.name
            );
            let fault = Diagnostic::warning(text).at(link.span);
            found.push(
                fault.hint("put both on one network, which is `external` in one of the projects"),
            );
        }
        links.push((alias.clone(), other.name.clone()));
    }
    links
}

pub(super) fn namespaces(
    project: &Project,
    service: &Service,
    replica: &Replica<'_>,
    facts: &Facts,
    found: &mut Diagnostics,
) -> Namespaces {
    let host = |yes: bool| if yes { Share::Host } else { Share::Own };
    let pid = service.pid.as_ref().map(|spec| match &spec.value {
        ShareSpec::Host => Share::Host,
        ShareSpec::Private | ShareSpec::Shareable | ShareSpec::None => Share::Own,
        ShareSpec::Service(name) => {
            Share::Container(peer_id(name.as_str(), replica, spec.span, found))
        }
        ShareSpec::Container(name) => Share::Container(foreign_id(name, facts, spec.span, found)),
    });
    let ipc = service.ipc.as_ref().map(|spec| match &spec.value {
        ShareSpec::Host => Ipc::Host,
        ShareSpec::Private => Ipc::Own,
        ShareSpec::Shareable => Ipc::Shareable,
        ShareSpec::None => Ipc::None,
        ShareSpec::Service(name) => {
            if let Some(other) = project.services.get(name) {
                check_shareable(other, spec.span, found);
            }
            Ipc::Container(peer_id(name.as_str(), replica, spec.span, found))
        }
        ShareSpec::Container(name) => Ipc::Container(foreign_id(name, facts, spec.span, found)),
    });
    Namespaces {
        pid: pid.unwrap_or_default(),
        ipc: ipc.unwrap_or_default(),
        uts: host(service.uts_host),
        cgroup: host(service.cgroup == Some(CgroupSpec::Host)),
    }
}

/// As Docker: only who says so lets others into its IPC namespace.
fn check_shareable(other: &Service, span: Option<Span>, found: &mut Diagnostics) {
    let own = other.ipc.as_ref().map(|ipc| &ipc.value);
    if matches!(own, None | Some(ShareSpec::Private) | Some(ShareSpec::None)) {
        let name = &other.name;
        let text = format!("service `{name}` does not share its IPC namespace");
        let hint = format!("write `ipc: shareable` in service `{name}`");
        let fault = Diagnostic::error(text).at(span).hint(hint);
        found.push(fault.related(other.span, "it is private unless said otherwise"));
    }
}

pub(super) fn dns(service: &Service, found: &mut Diagnostics) -> DnsConfig {
    let mut texts = |key: &str, items: &[Spanned<String>]| {
        let one = |item: &Spanned<String>| {
            one_line(key, &item.value, item.span, found).then(|| item.value.clone())
        };
        items.iter().filter_map(one).collect()
    };
    DnsConfig {
        servers: service.dns.clone(),
        search: texts("dns_search", &service.dns_search),
        options: texts("dns_opt", &service.dns_opt),
    }
}

/// Whether a text stays within the line of a file it is written to; a fault if not.
fn one_line(key: &str, text: &str, span: Option<Span>, found: &mut Diagnostics) -> bool {
    let stays = !text.contains(char::is_control);
    if !stays {
        let fault = Diagnostic::error(format!("{key}: {text:?} is more than one line"));
        found.push(fault.at(span).hint("write each as an item of its own"));
    }
    stays
}

/// Reads an address of `extra_hosts`: brackets around IPv6 are allowed.
pub(crate) fn host_address(text: &str) -> Option<HostAddr> {
    if text == "host-gateway" {
        return Some(HostAddr::Gateway);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok().map(HostAddr::Ip)
}

pub(super) fn extra_hosts(service: &Service, found: &mut Diagnostics) -> Vec<(String, HostAddr)> {
    let mut hosts = Vec::new();
    for host in &service.extra_hosts {
        let (name, address) = &host.value;
        if !one_line("extra_hosts", name, host.span, found) {
            continue;
        }
        match host_address(address) {
            Some(address) => hosts.push((name.clone(), address)),
            None => found.push(
                Diagnostic::error(format!(
                    "extra_hosts: `{address}` of `{name}` is not an address"
                ))
                .at(host.span)
                .hint("write an IPv4 or IPv6 address, or host-gateway"),
            ),
        }
    }
    hosts
}
