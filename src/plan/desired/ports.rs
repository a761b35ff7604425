//! The ports of a container: what is published on the host, what is only said to be there.
//!
//! Imports: `base`, `compose::model`, `engine::spec`. Source: compose-spec, `ports` and `expose`; who has no network of its
//! own publishes nothing, as Docker.

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::Span;
use crate::compose::model::{NetworkModeSpec, Port, Project, Service};
use crate::engine::spec::{PortMapping, Protocol};
use crate::image::config::RunConfig;

/// Ports on the host, with a word about those that nobody will reach.
pub(super) fn published(
    project: &Project,
    service: &Service,
    found: &mut Diagnostics,
) -> Vec<PortMapping> {
    let Some(first) = service.ports.first() else {
        return Vec::new();
    };
    let span = first.span.or(service.span);
    let mode = service.network_mode.as_ref().map(|mode| &mode.value);
    let discarded = |mode: &str| {
        let text = format!(
            "service `{}` publishes no ports: it has `network_mode: {mode}`",
            service.name
        );
        Diagnostic::warning(text).at(span)
    };
    match mode {
        Some(NetworkModeSpec::Host) => {
            let hint = "it listens on the ports of the host itself; leave `ports` out";
            found.push(discarded("host").hint(hint));
            return Vec::new();
        }
        Some(NetworkModeSpec::None) => {
            found.push(discarded("none").hint("leave `ports` out, or `network_mode`"));
            return Vec::new();
        }
        Some(NetworkModeSpec::Service(other)) => {
            let owner = project.services.get(other).and_then(|other| other.span);
            found.push(borrowed(
                service,
                &format!("service `{other}`"),
                span,
                owner,
            ));
        }
        Some(NetworkModeSpec::Container(other)) => {
            found.push(borrowed(
                service,
                &format!("container `{other}`"),
                span,
                None,
            ));
        }
        _ => warn_of_internal(project, service, span, found),
    }
    let one = |port: &Port| PortMapping {
        host_ip: port.host_ip,
        host: port.published.unwrap_or((0, 0)),
        container: port.target,
        protocol: port.protocol,
    };
    service.ports.iter().map(|port| one(&port.value)).collect()
}

fn borrowed(service: &Service, whose: &str, span: Option<Span>, owner: Option<Span>) -> Diagnostic {
    let text = format!(
        "service `{}` publishes ports, but its network is that of {whose}",
        service.name
    );
    Diagnostic::error(text)
        .at(span)
        .hint(format!("publish them at {whose}"))
        .related(owner, "the network's owner")
}

fn warn_of_internal(
    project: &Project,
    service: &Service,
    span: Option<Span>,
    found: &mut Diagnostics,
) {
    let internal = |key: &String| {
        project
            .networks
            .get(key)
            .is_some_and(|network| network.internal)
    };
    if !service.networks.is_empty() && service.networks.keys().all(internal) {
        let text = format!(
            "service `{}` publishes no ports: all its networks are internal",
            service.name
        );
        let hint = "give it a network that leads outside, too";
        found.push(Diagnostic::warning(text).at(span).hint(hint));
    }
}

/// Ports the container is said to listen on, by the service or its image.
pub(super) fn exposed(
    service: &Service,
    image: &RunConfig,
    found: &mut Diagnostics,
) -> Vec<(u16, Protocol)> {
    let mut ports = Vec::new();
    for text in &service.expose {
        match read(text) {
            Some(read) => ports.extend(read),
            None => {
                let fault = format!("service `{}`: expose: `{text}` is not a port", service.name);
                let hint = "write a port or a range, such as 8080, 8080/udp or 8080-8090";
                found.push(Diagnostic::error(fault).at(service.span).hint(hint));
            }
        }
    }
    // What an image says is not the user's fault.
    ports.extend(
        image
            .exposed_ports
            .iter()
            .filter_map(|text| read(text))
            .flatten(),
    );
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Reads `80`, `80/udp`, `80-90/tcp`.
fn read(text: &str) -> Option<Vec<(u16, Protocol)>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(protocol))?;
    let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
    let (first, last): (u16, u16) = match range.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(range)?, port(range)?),
    };
    (first <= last).then(|| (first..=last).map(|port| (port, protocol)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposed_ports_are_numbers_ranges_and_protocols() {
        assert_eq!(read("80"), Some(vec![(80, Protocol::Tcp)]));
        assert_eq!(
            read("80-81/UDP"),
            Some(vec![(80, Protocol::Udp), (81, Protocol::Udp)])
        );
        for wrong in ["", "0", "81-80", "80/x", "a", "80:80", "70000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
