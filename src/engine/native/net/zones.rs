//! firewalld beside us: the zone of a network's bridge.
//!
//! firewalld rejects what is forwarded between devices of different zones, in a table of its own that nobody else may
//! change. A bridge goes into the zone that Docker has made for its own, or into `trusted`, for as long as it is there;
//! this is no change of firewalld's files. Loading its rules again or restarting it forgets that: the next start of a
//! container sets it again. Ports that are translated pass its chains by themselves.
//!
//! Never: fails anything. `hoist doctor` tells what is missing. Imports: `sys::{bus, nft}`.
//! Source: firewalld.dbus(5); as Docker, `daemon/libnetwork/iptables/firewalld.go`.

use std::io;

use crate::sys::bus::{self, Call};
use crate::sys::nft::{Nft, Table};

/// The zones that take a bridge, the first that there is.
const ZONES: [&str; 2] = ["docker", "trusted"];

/// Whether firewalld has rules in the kernel.
pub(in crate::engine::native) fn is_on(nft: &mut Nft) -> bool {
    nft.has_table(Table::inet("firewalld")).unwrap_or(false) && bus::is_there()
}

fn ask(method: &str, texts: &[&str]) -> io::Result<String> {
    let call = Call {
        service: "org.fedoraproject.FirewallD1",
        path: "/org/fedoraproject/FirewallD1",
        interface: "org.fedoraproject.FirewallD1.zone",
        method,
    };
    bus::ask(call, texts)
}

/// The zone that a device is in; `None` where it is in none, or firewalld does not say.
pub(in crate::engine::native) fn of(device: &str) -> Option<String> {
    let zone = ask("getZoneOfInterface", &[device]).ok()?;
    (!zone.is_empty()).then_some(zone)
}

/// Puts a bridge into a zone, unless it is in one.
pub(super) fn bind(nft: &mut Nft, bridge: &str) {
    if is_on(nft) && of(bridge).is_none() {
        let _ = ZONES
            .iter()
            .any(|zone| ask("addInterface", &[zone, bridge]).is_ok());
    }
}

/// Takes a bridge out of its zone.
pub(super) fn release(nft: &mut Nft, bridge: &str) {
    if is_on(nft) {
        // No zone's name: the one it is in.
        let _ = ask("removeInterface", &["", bridge]);
    }
}
