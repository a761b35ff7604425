//! Networks on devices of the host: macvlan and ipvlan.
//!
//! Their containers are on the host's own link, with addresses that others hand out: no bridge, no translation, no rules,
//! no published ports. What is made here is at most a parent: the device of a VLAN (`eth0.10`), or one that leads
//! nowhere where none is named. Such a parent carries the network in its group, so that it is known again without a
//! record. As Docker's drivers `macvlan` and `ipvlan`, which make the same parents.
//!
//! Imports: `base`, `engine`, `sys::netlink`, `net::{bridge, record}`.

use std::io;
use std::os::fd::BorrowedFd;

use netlink_packet_route::link::{IpVlanFlags, IpVlanMode, MacVlanMode};
use nix::errno::Errno;

use super::bridge::exists;
use super::record::NetworkRecord;
use crate::engine::driver::{Driver, IpvlanFlag, IpvlanMode, MacvlanMode};
use crate::engine::{EngineError, Result};
use crate::sys::netlink::device::{self, Child, Kind};
use crate::sys::netlink::netns;
use crate::sys::netlink::route::{self, Route};

/// Name of the device of a network that leads nowhere.
fn nowhere(id: &str) -> String {
    format!("hsd{}", id.get(..11).unwrap_or(id))
}

/// Group of the parent that was made for a network.
fn group(id: &str) -> u32 {
    let digits = id.get(..8).unwrap_or_default();
    // Group 0 is everybody's.
    u32::from_str_radix(digits, 16).unwrap_or(1).max(1)
}

/// The parent and the tag in `eth0.10`.
fn tagged(name: &str) -> Option<(&str, u16)> {
    let (parent, tag) = name.rsplit_once('.')?;
    let tag = tag.parse().ok().filter(|tag| (1..=4094).contains(tag))?;
    (!parent.is_empty()).then_some((parent, tag))
}

/// The parent of a new network, by name.
///
/// # Errors
/// [`EngineError::Failed`] when there is none and none can be made.
pub(super) fn parent_for(network: &str, driver: &Driver, id: &str) -> Result<String> {
    let Some(name) = driver.parent() else {
        return Ok(nowhere(id));
    };
    if exists(name)? {
        return Ok(name.to_owned());
    }
    let refuse = |cause: String| EngineError::failed(format!("make network {network}"), cause);
    match tagged(name) {
        Some((parent, _)) if exists(parent)? => Ok(name.to_owned()),
        Some((parent, tag)) => Err(refuse(format!(
            "its parent `{name}` is VLAN {tag} of `{parent}`, and this host has no device `{parent}`"
        ))),
        None => Err(refuse(format!(
            "this host has no device `{name}` (`parent`); a VLAN's is written as eth0.10"
        ))),
    }
}

/// Gives the parent's index; makes it where it is the network's own.
pub(super) fn ensure(record: &NetworkRecord) -> Result<u32> {
    let name = &record.bridge;
    let step = || format!("make {name}, the parent of network {}", record.spec.name);
    let made = make(record).map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::EOPNOTSUPP as i32 => EngineError::Unsupported {
            what: format!(
                "network {}: this kernel makes no devices as {name} is (module `8021q` or `dummy`)",
                record.spec.name
            ),
        },
        _ => EngineError::failed(step(), error),
    })?;
    made.ok_or_else(|| EngineError::failed(step(), "there is no such device"))
}

fn make(record: &NetworkRecord) -> io::Result<Option<u32>> {
    let mut route = Route::open()?;
    let name = &record.bridge;
    if let Some(found) = route.link(name)? {
        return Ok(Some(found.index));
    }
    let group = group(&record.id);
    let request = match tagged(name) {
        _ if *name == nowhere(&record.id) => device::dummy(name, group),
        Some((parent, tag)) => match route.link(parent)? {
            Some(parent) => device::vlan(name, parent.index, tag, group),
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    match route.run(vec![request]) {
        // Another container of the network was faster.
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
        other => other?,
    }
    Ok(route.link(name)?.map(|found| found.index))
}

/// Takes the parent away where it was made for this network. `heir` is the id of another network on it, which has it
/// from then on.
pub(super) fn remove(record: &NetworkRecord, heir: Option<&str>) -> Result<()> {
    let name = &record.bridge;
    let take = || -> io::Result<()> {
        let mut route = Route::open()?;
        let own = route
            .link(name)?
            .is_some_and(|found| found.group == group(&record.id));
        if !own {
            return Ok(());
        }
        let request = match heir {
            Some(id) => route::group(name, group(id)),
            None => route::delete(name),
        };
        match route.run(vec![request]) {
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
            other => other,
        }
    };
    take()
        .map_err(|error| EngineError::failed(format!("remove network {}", record.spec.name), error))
}

/// Takes the devices of a namespace away now, and not when the kernel comes to it.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn empty(netns: BorrowedFd<'_>) -> Result<()> {
    let delete = || -> io::Result<()> {
        let mut route = Route::open()?;
        let links = route.links()?.into_iter().filter(|link| link.name != "lo");
        let requests = links.map(|link| route::delete(&link.name)).collect();
        route.try_all(requests).map(drop)
    };
    netns::within(netns, delete)
        .map_err(|error| EngineError::failed("take devices of a container away", error))
}

fn kind(driver: &Driver) -> Option<Kind> {
    match driver {
        Driver::Bridge(_) => None,
        Driver::Macvlan(options) => Some(Kind::Macvlan(match options.mode {
            MacvlanMode::Bridge => MacVlanMode::Bridge,
            MacvlanMode::Vepa => MacVlanMode::Vepa,
            MacvlanMode::Private => MacVlanMode::Private,
            MacvlanMode::Passthru => MacVlanMode::Passthrough,
        })),
        Driver::Ipvlan(options) => {
            let mode = match options.mode {
                IpvlanMode::L2 => IpVlanMode::L2,
                IpvlanMode::L3 => IpVlanMode::L3,
                IpvlanMode::L3s => IpVlanMode::L3S,
            };
            let flags = match options.flag {
                IpvlanFlag::Bridge => IpVlanFlags::empty(),
                IpvlanFlag::Private => IpVlanFlags::Private,
                IpvlanFlag::Vepa => IpVlanFlags::Vepa,
            };
            Some(Kind::Ipvlan(mode, flags))
        }
    }
}

/// Makes a container's device on the parent; it has the first name until it is there, and then the other one.
///
/// # Errors
/// The kernel's, worded where it says something of the parent.
pub(super) fn plug(
    netns: BorrowedFd<'_>,
    (born, name): (&str, &str),
    record: &NetworkRecord,
    mac: [u8; 6],
) -> Result<()> {
    let driver = record.driver();
    let Some(kind) = kind(&driver) else {
        return Ok(());
    };
    let parent = ensure(record)?;
    // In passthru mode the device is the parent in all but name; ipvlan's have the parent's address.
    let own = matches!(kind, Kind::Macvlan(mode) if mode != MacVlanMode::Passthrough);
    let request = device::child(&Child {
        parent,
        name: born,
        netns,
        mac: own.then_some(mac),
        mtu: record.mtu,
        kind,
    });
    // Older kernels look for its first name among the host's devices, where most have an `eth0`.
    let rename = || -> io::Result<()> {
        let mut route = Route::open()?;
        let index = route.link(born)?.ok_or(Errno::ENODEV)?.index;
        route.run(vec![device::rename(index, name)])
    };
    let made = Route::open()
        .and_then(|mut route| route.run(vec![request]))
        .and_then(|()| netns::within(netns, rename));
    let network = &record.spec.name;
    made.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EOPNOTSUPP) => EngineError::Unsupported {
            what: format!(
                "network {network}: this kernel has no driver `{}`",
                record.spec.driver
            ),
        },
        Some(Errno::EBUSY | Errno::EINVAL) => EngineError::failed(
            format!("connect to network {network}"),
            format!(
                "device {} is used in another way already: a bridge's port, macvlan beside ipvlan, or given to \
                 one container (`passthru`)",
                record.bridge
            ),
        ),
        _ => EngineError::failed(format!("connect to network {network}"), error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_read_from_the_name_of_its_device() {
        assert_eq!(tagged("eth0.10"), Some(("eth0", 10)));
        assert_eq!(tagged("a.b.7"), Some(("a.b", 7)));
        for name in ["eth0", "eth0.0", "eth0.4095", "eth0.x", ".5"] {
            assert_eq!(tagged(name), None, "{name}");
        }
    }
}
