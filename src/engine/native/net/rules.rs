//! The firewall rules of a network: what leaves it, what may come in.
//!
//! Imports: `engine::driver`, `sys::nft`, `net::{beside, ipam, record}`. As Docker's `bridge` driver, each rule says why it is there.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use nix::errno::Errno;

use super::beside;
use super::ipam::Pool;
use super::record::NetworkRecord;
use crate::engine::driver::{self, GatewayMode};
use crate::sys::nft::{Batch, Direction, Hook, Interface, Nft, Rule, Table};

/// What `ping` speaks, and all that IPv6 needs to tell a sender.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
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
    beside::ensure(&mut nft, record);
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
    let driver = record.driver();
    let default = driver::Bridge::default();
    let options = driver.bridge().unwrap_or(&default);
    if record.spec.internal {
        // Of the host, only its address here is on this network; a route of the container's own leads to no other.
        let from = || Rule::new().device(Direction::In, Interface::Is(bridge));
        for pool in &record.subnets {
            batch.append(table, "raw", &from().to(pool.subnet).accept());
        }
        batch.append(table, "raw", &from().to_local().drop());
    }
    batch.chain(table, "forward", Hook::Forward);
    let into = || Rule::new().device(Direction::Out, Interface::Is(bridge));
    let within = into().device(Direction::In, Interface::Is(bridge));
    if options.between {
        batch.append(table, "forward", &within.accept());
    }
    if record.spec.internal {
        batch.append(table, "forward", &into().drop());
        let out = Rule::new().device(Direction::In, Interface::Is(bridge));
        batch.append(table, "forward", &out.drop());
    } else {
        batch.append(table, "forward", &into().established().accept());
        // Published ports; all else from other networks and from outside ends here.
        batch.append(table, "forward", &into().translated().accept());
        for pool in &record.subnets {
            let to = into().to(pool.subnet);
            match options.mode(pool.is_ipv4()) {
                GatewayMode::NatUnprotected => batch.append(table, "forward", &to.accept()),
                GatewayMode::Routed => {
                    let ping = to.protocol(if pool.is_ipv4() { ICMP } else { ICMPV6 });
                    batch.append(table, "forward", &ping.accept());
                }
                GatewayMode::Nat | GatewayMode::Isolated => {}
            }
        }
        batch.append(table, "forward", &into().drop());
        leave(batch, table, record, options);
    }
}

/// What leaves gets a source that answers come back to.
fn leave(batch: &mut Batch, table: Table<'_>, record: &NetworkRecord, options: &driver::Bridge) {
    let translated = |pool: &&Pool| {
        let mode = options.mode(pool.is_ipv4());
        options.masquerade && matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected)
    };
    let pools: Vec<&Pool> = record.subnets.iter().filter(translated).collect();
    if pools.is_empty() {
        return;
    }
    batch.chain(table, "postrouting", Hook::NatPostrouting);
    for pool in pools {
        let rule = Rule::new()
            .from(pool.subnet)
            .device(Direction::Out, Interface::IsNot(&record.bridge));
        let source = match pool.is_ipv4() {
            true => options.source_v4.map(IpAddr::V4),
            false => options.source_v6.map(IpAddr::V6),
        };
        let rule = match source {
            Some(source) => rule.translate_from(source),
            None => rule.masquerade(),
        };
        batch.append(table, "postrouting", &rule);
    }
}

/// Takes the rules of a network away; missing ones are fine.
pub(super) fn remove(id: &str, bridge: &str) -> io::Result<()> {
    let name = table(id);
    let mut nft = Nft::open()?;
    beside::release(&mut nft, bridge);
    // An older hoist's was of family `ip`.
    let tables = [Table::inet(&name), Table::ip(&name)];
    // The kernel makes whoever deletes wait, but for a batch only once.
    let mut batch = Batch::default();
    for table in tables {
        if nft.has_table(table)? {
            batch.delete_table(table);
        }
    }
    beside::withdraw(&mut nft, &mut batch, &name);
    match nft.commit(batch) {
        // Somebody was faster with one of them: each for itself then.
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {
            nft.delete_tables(&tables)?;
            let mut rest = Batch::default();
            beside::withdraw(&mut nft, &mut rest, &name);
            match nft.commit(rest) {
                Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
                other => other,
            }
        }
        other => other,
    }
}
