//! The firewall rules of a network: what leaves it, what may come in.
//!
//! Imports: `sys::nft`, `net::{beside, record}`. As Docker's `bridge` driver, each rule says why it is there.

use std::io;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use nix::errno::Errno;

use super::beside;
use super::record::NetworkRecord;
use crate::sys::nft::{Batch, Direction, Hook, Interface, Nft, Rule, Table};

/// What the host keeps for itself.
const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

fn table(id: &str) -> String {
    format!("hoist-{}", id.get(..12).unwrap_or(id))
}

/// Makes the rules of a network where they are missing.
pub(super) fn ensure(record: &NetworkRecord) -> io::Result<()> {
    let mut nft = Nft::open()?;
    let name = record.table();
    if !nft.has_table(Table::inet(&name))? {
        match nft.set_table(Table::inet(&name), |batch| fill(batch, record)) {
            // Another container of the network was faster.
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
            other => drop(other?),
        }
    }
    if !record.spec.internal {
        beside::ensure(&mut nft, record);
    }
    Ok(())
}

fn fill(batch: &mut Batch, record: &NetworkRecord) {
    let name = record.table();
    let table = Table::inet(&name);
    let bridge = record.bridge.as_str();
    // The bridge has route_localnet: a container must not reach what the host has on 127.0.0.1.
    batch.chain(table, "raw", Hook::RawPrerouting);
    let local = Rule::new()
        .device(Direction::In, Interface::Is(bridge))
        .to(LOOPBACK);
    batch.append(table, "raw", &local.drop());
    batch.chain(table, "forward", Hook::Forward);
    let into = || Rule::new().device(Direction::Out, Interface::Is(bridge));
    let within = into().device(Direction::In, Interface::Is(bridge));
    batch.append(table, "forward", &within.accept());
    if record.spec.internal {
        batch.append(table, "forward", &into().drop());
        let out = Rule::new().device(Direction::In, Interface::Is(bridge));
        batch.append(table, "forward", &out.drop());
    } else {
        batch.append(table, "forward", &into().established().accept());
        // Published ports; all else from other networks and from outside ends here.
        batch.append(table, "forward", &into().translated().accept());
        batch.append(table, "forward", &into().drop());
        let masquerade = record
            .spec
            .options
            .get("com.docker.network.bridge.enable_ip_masquerade");
        if masquerade.is_none_or(|value| value != "false") {
            batch.chain(table, "postrouting", Hook::NatPostrouting);
            for pool in &record.subnets {
                let rule = Rule::new()
                    .from(pool.subnet)
                    .device(Direction::Out, Interface::IsNot(bridge))
                    .masquerade();
                batch.append(table, "postrouting", &rule);
            }
        }
    }
}

/// Takes the rules of a network away; missing ones are fine.
pub(super) fn remove(id: &str, bridge: &str) -> io::Result<()> {
    let name = table(id);
    let mut nft = Nft::open()?;
    // An older hoist's was of family `ip`.
    nft.delete_tables(&[Table::inet(&name), Table::ip(&name)])?;
    beside::withdraw(&mut nft, &name, bridge)
}
