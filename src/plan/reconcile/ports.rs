//! Ports of the host that two containers of one project can't both have, told before anything starts.
//!
//! Imports: `base`, `compose::model`. Who else may have a port only the host knows, when it is asked for it.

use std::net::IpAddr;

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::Spanned;
use crate::compose::model::{NetworkModeSpec, Port, Service};

/// Faults of a service's ports, by itself and with services that were looked at before.
pub(super) fn faults<'p>(
    service: &'p Service,
    before: impl Iterator<Item = &'p Service> + Clone,
    found: &mut Diagnostics,
) {
    if !publishes(service) {
        return;
    }
    for (at, port) in service.ports.iter().enumerate() {
        room(service, port, found);
        let others = before.clone().filter(|other| publishes(other));
        let others = others.flat_map(|other| other.ports.iter().map(move |port| (other, port)));
        let own = service.ports.iter().take(at).map(|port| (service, port));
        if let Some((other, taken)) = others
            .chain(own)
            .find(|(_, o)| clash(&o.value, &port.value))
        {
            found.push(twice(service, port, other, taken));
        }
    }
}

/// Whether its ports are on the host at all.
fn publishes(service: &Service) -> bool {
    let mode = service.network_mode.as_ref().map(|mode| &mode.value);
    service.scale > 0 && matches!(mode, None | Some(NetworkModeSpec::Bridge))
}

/// A range must have a port for each container.
fn room(service: &Service, port: &Spanned<Port>, found: &mut Diagnostics) {
    let Some((first, last)) = port.value.published else {
        return;
    };
    let room = u32::from(last.saturating_sub(first)) + 1;
    if room >= service.scale || first == 0 {
        return;
    }
    let range = match first == last {
        true => format!("port {first}"),
        false => format!("ports {first}-{last}"),
    };
    let text = format!(
        "service `{}` has {} containers, but {range} of the host can be given to {room} only",
        service.name, service.scale
    );
    let hint = format!(
        "publish a range of {} ports, or only `{}` for any free port",
        service.scale, port.value.target
    );
    let fault = Diagnostic::error(text).at(port.span.or(service.span));
    found.push(fault.hint(hint));
}

/// The one port of the host that a mapping wants and no other.
fn fixed(port: &Port) -> Option<u16> {
    let (first, last) = port.published?;
    (first == last && first != 0).then_some(first)
}

fn clash(a: &Port, b: &Port) -> bool {
    let same = fixed(a).is_some() && fixed(a) == fixed(b) && a.protocol == b.protocol;
    same && match (a.host_ip, b.host_ip) {
        // No address is all of both kinds.
        (None, _) | (_, None) => true,
        (Some(a), Some(b)) => {
            let any = |address: IpAddr| address.is_unspecified();
            a.is_ipv4() == b.is_ipv4() && (a == b || any(a) || any(b))
        }
    }
}

fn twice<'p>(
    mut service: &'p Service,
    mut port: &'p Spanned<Port>,
    mut other: &'p Service,
    mut taken: &'p Spanned<Port>,
) -> Diagnostic {
    // The one that is written later is at fault, whichever starts first.
    if port.span < taken.span {
        (service, other) = (other, service);
        (port, taken) = (taken, port);
    }
    let number = fixed(&port.value).unwrap_or_default();
    let protocol = port.value.protocol.as_str();
    let text = match other.name == service.name {
        true => format!(
            "service `{}` publishes port {number}/{protocol} of the host twice",
            service.name
        ),
        false => format!(
            "services `{}` and `{}` both publish port {number}/{protocol} of the host",
            other.name, service.name
        ),
    };
    let hint = format!(
        "choose another port, or only `{}` for any free port",
        port.value.target
    );
    Diagnostic::error(text)
        .at(port.span.or(service.span))
        .hint(hint)
        .related(taken.span.or(other.span), "it is taken here")
}
