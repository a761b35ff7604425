//! A project as one checkout has it: what two checkouts would fight over gets another name or address; what can't is told.
//!
//! Imports: `compose::model`, `base`. Names inside the project's networks stay as they are.

use std::net::IpAddr;

use super::Checkout;
use crate::base::span::Spanned;
use crate::compose::model::{NetworkModeSpec, Project, Service};

/// Changes a project; gives what stays shared with other checkouts, a line each.
pub fn rewrite(project: &mut Project, checkout: &Checkout) -> Vec<String> {
    let mut shared = Vec::new();
    let (suffix, prefix) = (&checkout.suffix, format!("{}_", project.name));
    for service in project.services.values_mut() {
        ports(service, checkout, &mut shared);
        container_name(service, suffix);
        if let Some(mode) = &service.network_mode
            && mode.value == NetworkModeSpec::Host
        {
            shared.push(format!(
                "service `{}` uses the host's network: its ports are the same in each checkout",
                service.name
            ));
        }
    }
    images(project, suffix);
    for (key, network) in &mut project.networks {
        match network.external {
            true => shared.push(format!("the external network `{}`", network.name)),
            false if !network.name.starts_with(&prefix) => {
                network.name = format!("{}-{suffix}", network.name);
            }
            false => {}
        }
        if !network.external && network.subnets.iter().any(|pool| pool.subnet.is_some()) {
            shared.push(format!(
                "the network `{key}` has a fixed subnet: only one checkout at a time can have it"
            ));
        }
    }
    for volume in project.volumes.values_mut() {
        match volume.external {
            true => shared.push(format!("the external volume `{}`", volume.name)),
            false if !volume.name.starts_with(&prefix) => {
                volume.name = format!("{}-{suffix}", volume.name);
            }
            false => {}
        }
    }
    shared.sort();
    shared.dedup();
    shared
}

/// What is published for this machine, or for all, goes to the checkout's address.
fn ports(service: &mut Service, checkout: &Checkout, shared: &mut Vec<String>) {
    let address = IpAddr::V4(checkout.address);
    for port in &mut service.ports {
        match port.value.host_ip {
            Some(ip) if !ip.is_loopback() && !ip.is_unspecified() => shared.push(format!(
                "service `{}` publishes a port on {ip}: only one checkout at a time can have it",
                service.name
            )),
            _ => port.value.host_ip = Some(address),
        }
    }
    let mut seen = Vec::new();
    service.ports.retain(|port| {
        let new = !seen.contains(&port.value);
        seen.push(port.value.clone());
        new
    });
}

/// A fixed name gets the suffix; inside its networks it is found by both.
fn container_name(service: &mut Service, suffix: &str) {
    let Some(name) = &mut service.container_name else {
        return;
    };
    let new = format!("{}-{suffix}", name.value);
    let before = std::mem::replace(&mut name.value, new);
    for network in service.networks.values_mut() {
        if !network.aliases.contains(&before) {
            network.aliases.push(before.clone());
        }
    }
}

/// `app:1` → `app:1-3fa2c1`; `None` for what is pinned by its digest.
fn tagged(image: &str, suffix: &str) -> Option<String> {
    if image.contains('@') {
        return None;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    Some(match last.contains(':') {
        true => format!("{image}-{suffix}"),
        false => format!("{image}:latest-{suffix}"),
    })
}

/// Images that are built here under a name of their own: one checkout must not run what another has built.
fn images(project: &mut Project, suffix: &str) {
    let built: Vec<String> = project
        .services
        .values()
        .filter(|service| service.build.is_some())
        .filter_map(|service| Some(service.image.as_ref()?.value.clone()))
        .collect();
    for service in project.services.values_mut() {
        let Some(image) = &mut service.image else {
            continue;
        };
        let Some(new) = tagged(&image.value, suffix).filter(|_| built.contains(&image.value))
        else {
            continue;
        };
        let before = std::mem::replace(&mut image.value, new);
        if let Some(build) = &mut service.build
            && !build.tags.iter().any(|tag| tag.value == before)
        {
            // `FROM` in another Dockerfile of the project may name it.
            build.tags.push(Spanned::bare(before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Env;
    use crate::compose::{LoadRequest, load};

    #[test]
    fn what_two_checkouts_would_fight_over_gets_another_name_or_address() {
        let text = "
name: shop
services:
  web:
    image: app:1
    build: .
    container_name: web
    ports: ['8080:80', '[::1]:8080:80', '10.0.0.9:81:81', '90']
  worker: {image: 'app:1', network_mode: host}
  db: {image: postgres}
networks:
  default: {name: lan}
  fixed: {ipam: {config: [{subnet: 10.77.0.0/24}]}}
  shared: {external: true, name: all}
volumes:
  data: {name: data}
  own: {}
";
        let request = LoadRequest {
            files: vec!["-".into()],
            stdin: Some(text.to_owned()),
            project_name: Some("shop-abc123".to_owned()),
            ..LoadRequest::default()
        };
        let mut project = load(&request, &Env::default()).expect("a project");
        let checkout = Checkout {
            dir: "/a".into(),
            project: "shop-abc123".into(),
            address: [127, 20, 3, 4].into(),
            suffix: "abc123".into(),
        };
        let shared = rewrite(&mut project, &checkout);
        let web = &project.services["web"];
        let ports: Vec<String> = web
            .ports
            .iter()
            .map(|port| format!("{:?} {:?}", port.host_ip, port.published))
            .collect();
        assert_eq!(
            ports,
            [
                "Some(127.20.3.4) Some((8080, 8080))",
                "Some(10.0.0.9) Some((81, 81))",
                "Some(127.20.3.4) None"
            ]
        );
        let name = web.container_name.as_ref().map(|name| name.value.as_str());
        assert_eq!(name, Some("web-abc123"));
        assert_eq!(web.networks["default"].aliases, ["web"]);
        let image = |name: &str| {
            project.services[name]
                .image
                .as_ref()
                .map(|i| i.value.clone())
        };
        assert_eq!(image("web").as_deref(), Some("app:1-abc123"));
        assert_eq!(image("worker").as_deref(), Some("app:1-abc123"));
        assert_eq!(image("db").as_deref(), Some("postgres"));
        assert_eq!(project.networks["default"].name, "lan-abc123");
        assert_eq!(project.networks["shared"].name, "all");
        assert_eq!(project.volumes["data"].name, "data-abc123");
        assert_eq!(project.volumes["own"].name, "shop-abc123_own");
        assert_eq!(shared.len(), 4, "{shared:?}");
    }
}
