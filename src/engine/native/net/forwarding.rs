//! The host as a router: packets may pass from one of its devices to another.
//!
//! No more of the host is changed than that. A setting that is on stays on when the network goes: somebody else may
//! have come to rely on it. Imports: `sys::netlink`, `net::{bridge, record}`.
//! Source: the kernel's Documentation/networking/ip-sysctl.rst (`forwarding`, `accept_ra`).

use std::collections::BTreeSet;
use std::io;

use super::bridge::sysctl;
use super::record::NetworkRecord;
use crate::sys::netlink::route::Route;

/// Lets the packets of a network pass, for each version of IP that it has.
pub(super) fn allow(route: &mut Route, record: &NetworkRecord) -> io::Result<()> {
    let has_ipv4 = record.subnets.iter().any(super::ipam::Pool::is_ipv4);
    if has_ipv4 && !is_on("ipv4/ip_forward")? {
        sysctl("ipv4/ip_forward", "1")?;
    }
    if record.has_ipv6() && !is_on("ipv6/conf/all/forwarding")? {
        keep_advertised(route)?;
        sysctl("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

fn is_on(path: &str) -> io::Result<bool> {
    Ok(std::fs::read(format!("/proc/sys/net/{path}"))?.first() == Some(&b'1'))
}

/// A router does not listen to other routers: a host that has its own address or its way outside from one would lose
/// them. Devices where that is so go on listening (`accept_ra` 2).
fn keep_advertised(route: &mut Route) -> io::Result<()> {
    let routes = route.routes()?;
    let advertised = routes.iter().filter(|route| route.advertised);
    let mut devices: BTreeSet<u32> = advertised.filter_map(|route| route.device).collect();
    for found in route.addresses()? {
        if found.address.addr().is_ipv6() && !found.permanent {
            devices.insert(found.device);
        }
    }
    if devices.is_empty() {
        return Ok(());
    }
    for link in route.links()? {
        if devices.contains(&link.index) {
            let path = format!("ipv6/conf/{}/accept_ra", link.name);
            // 0 is a host whose addresses come to it by a program of its own.
            if is_on(&path)? {
                sysctl(&path, "2")?;
            }
        }
    }
    Ok(())
}
