//! The firewall rules of a network: what leaves it, what may come in.
//!
//! Imports: `sys::nft`, `net::record`. As Docker's `bridge` driver, each rule says why it is there.

use std::io;

use nix::errno::Errno;

use super::record::NetworkRecord;
use crate::sys::nft::{Batch, Direction, Hook, Interface, Nft, Rule};

/// Docker's table, and its chain for others' rules.
const DOCKER_TABLE: &str = "filter";
const DOCKER_CHAIN: &str = "DOCKER-USER";

fn table(id: &str) -> String {
    format!("hoist-{}", id.get(..12).unwrap_or(id))
}

/// Makes the rules of a network where they are missing.
pub(super) fn ensure(record: &NetworkRecord) -> io::Result<()> {
    let mut nft = Nft::open()?;
    if !nft.has_table(&record.table())? {
        match nft.set_table(&record.table(), |batch| fill(batch, record)) {
            // Another container of the network was faster.
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
            other => drop(other?),
        }
    }
    if !record.spec.internal {
        // Best effort: without Docker there is nothing to do, and what it has may be unreadable.
        let _ = beside_docker(&mut nft, record);
    }
    Ok(())
}

fn fill(batch: &mut Batch, record: &NetworkRecord) {
    let table = record.table();
    let bridge = record.bridge.as_str();
    // The bridge has route_localnet: a container must not reach what the host has on 127.0.0.1.
    batch.chain(&table, "raw", Hook::RawPrerouting);
    let loopback = std::net::Ipv4Addr::new(127, 0, 0, 0);
    let local = Rule::new()
        .device(Direction::In, Interface::Is(bridge))
        .to(loopback, 8);
    batch.append(&table, "raw", &local.drop());
    batch.chain(&table, "forward", Hook::Forward);
    let into = || Rule::new().device(Direction::Out, Interface::Is(bridge));
    let within = into().device(Direction::In, Interface::Is(bridge));
    batch.append(&table, "forward", &within.accept());
    if record.spec.internal {
        batch.append(&table, "forward", &into().drop());
        let out = Rule::new().device(Direction::In, Interface::Is(bridge));
        batch.append(&table, "forward", &out.drop());
    } else {
        batch.append(&table, "forward", &into().established().accept());
        // Published ports; all else from other networks and from outside ends here.
        batch.append(&table, "forward", &into().translated().accept());
        batch.append(&table, "forward", &into().drop());
        let masquerade = record
            .spec
            .options
            .get("com.docker.network.bridge.enable_ip_masquerade");
        if masquerade.is_none_or(|value| value != "false") {
            batch.chain(&table, "postrouting", Hook::NatPostrouting);
            for pool in &record.subnets {
                let rule = Rule::new()
                    .from(pool.subnet.first(), pool.subnet.prefix())
                    .device(Direction::Out, Interface::IsNot(bridge))
                    .masquerade();
                batch.append(&table, "postrouting", &rule);
            }
        }
    }
}

/// Docker sets the policy of `FORWARD` to drop, which no other table can take back. Its chain for
/// others' rules ends in `return`, so that ours go to the head.
fn beside_docker(nft: &mut Nft, record: &NetworkRecord) -> io::Result<()> {
    if !nft.has_chain(DOCKER_TABLE, DOCKER_CHAIN)? {
        return Ok(());
    }
    let name = record.table();
    let there = nft.rules(DOCKER_TABLE, Some(DOCKER_CHAIN))?;
    if there
        .iter()
        .any(|rule| rule.comment.as_deref() == Some(&name))
    {
        return Ok(());
    }
    let mut batch = Batch::default();
    for direction in [Direction::In, Direction::Out] {
        let rule = Rule::new().device(direction, Interface::Is(&record.bridge));
        batch.insert(
            DOCKER_TABLE,
            DOCKER_CHAIN,
            &rule.counted().accept().named(&name),
        );
    }
    nft.commit(batch)
}

/// Takes the rules of a network away; missing ones are fine.
pub(super) fn remove(id: &str) -> io::Result<()> {
    let name = table(id);
    let mut nft = Nft::open()?;
    nft.delete_table(&name)?;
    if !nft.has_chain(DOCKER_TABLE, DOCKER_CHAIN).unwrap_or(false) {
        return Ok(());
    }
    let Ok(rules) = nft.rules(DOCKER_TABLE, Some(DOCKER_CHAIN)) else {
        return Ok(());
    };
    let mut batch = Batch::default();
    for rule in rules
        .iter()
        .filter(|rule| rule.comment.as_deref() == Some(&name))
    {
        batch.delete_rule(rule);
    }
    match nft.commit(batch) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
        other => other,
    }
}
