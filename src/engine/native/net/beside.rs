//! Beside other firewalls: what lets packets of containers through where those would drop them.
//!
//! A packet must be let through by every table it passes, so that a rule of ours in a table of ours can't overrule a drop
//! elsewhere. What has `iptables` as its back end (Docker, ufw, rules by hand) shares one chain, `FORWARD` of the table
//! `filter`; there two rules a network go in where they are needed. All that our own table refuses stays refused.
//!
//! | there | packets into the bridge | packets out of it |
//! |---|---|---|
//! | Docker | head of `DOCKER-USER`, its place for others | in `FORWARD` behind Docker's own, which keep its networks apart |
//! | others: a policy, or rules | head of `FORWARD` | head of `FORWARD` |
//! | firewalld | a zone ([`zones`]) | the same |
//! | nothing | | |
//!
//! An internal network has one rule instead, for packets that come from it and go to it.
//!
//! Never: touches a rule of another's. All is best effort: what is there may be unreadable, and `hoist doctor` says what
//! it does to a published port. Imports: `sys::nft`, `net::{record, zones}`. As Docker, which is not stopped by ufw either.

use std::io;

use super::record::NetworkRecord;
use super::zones;
use crate::sys::nft::{Batch, Direction, Family, FoundRule, Interface, Nft, Policy, Rule, Table};

/// The table of iptables, of each version of IP.
const TABLES: [Table<'_>; 2] = [
    Table {
        family: Family::Ip,
        name: "filter",
    },
    Table {
        family: Family::Ip6,
        name: "filter",
    },
];
const FORWARD: &str = "FORWARD";
/// Docker's chain for others' rules.
const DOCKER_USER: &str = "DOCKER-USER";

/// Puts a network's rules in where they are needed and missing.
pub(super) fn ensure(nft: &mut Nft, record: &NetworkRecord) {
    for table in TABLES {
        if table.family == Family::Ip || record.has_ipv6() {
            let _ = let_through(nft, table, record);
        }
    }
    zones::bind(nft, &record.bridge);
}

fn is_ours(rule: &FoundRule, name: &str) -> bool {
    rule.comment.as_deref() == Some(name)
}

fn let_through(nft: &mut Nft, table: Table<'_>, record: &NetworkRecord) -> io::Result<()> {
    let Some(policy) = nft.policy(table, FORWARD)? else {
        return Ok(());
    };
    let name = record.table();
    let rule = |direction| {
        let rule = Rule::new().device(direction, Interface::Is(&record.bridge));
        rule.counted().accept().named(&name)
    };
    let forward = nft.rules(table, Some(FORWARD))?;
    let missing = |rules: &[FoundRule]| !rules.iter().any(|rule| is_ours(rule, &name));
    let mut batch = Batch::default();
    if record.spec.internal {
        // Only frames from one port to another, where the kernel shows those to packet filters (`br_netfilter`).
        let within = Rule::new().device(Direction::In, Interface::Is(&record.bridge));
        let within = within.device(Direction::Out, Interface::Is(&record.bridge));
        let within = within.counted().accept().named(&name);
        let docker = nft.has_chain(table, DOCKER_USER)?;
        let chain = if docker { DOCKER_USER } else { FORWARD };
        let wanted = docker || policy == Policy::Drop || !forward.is_empty();
        if wanted && missing(&nft.rules(table, Some(chain))?) {
            batch.insert(table, chain, &within);
        }
    } else if nft.has_chain(table, DOCKER_USER)? {
        if missing(&nft.rules(table, Some(DOCKER_USER))?) {
            batch.insert(table, DOCKER_USER, &rule(Direction::Out));
        }
        if missing(&forward) {
            let of_docker = |rule: &&FoundRule| {
                let jump = rule.jump.as_deref();
                jump.is_some_and(|chain| chain.starts_with("DOCKER"))
            };
            match forward.iter().rfind(of_docker) {
                Some(last) => batch.append_behind(last, &rule(Direction::In)),
                None => batch.insert(table, FORWARD, &rule(Direction::In)),
            }
        }
    } else if missing(&forward) && (policy == Policy::Drop || !forward.is_empty()) {
        batch.insert(table, FORWARD, &rule(Direction::In));
        batch.insert(table, FORWARD, &rule(Direction::Out));
    }
    nft.commit(batch)
}

/// Takes a network's bridge out of its zone again, where there is one.
pub(super) fn release(nft: &mut Nft, bridge: &str) {
    zones::release(nft, bridge);
}

/// Adds to a batch what takes a network's rules out again; missing ones are fine.
pub(super) fn withdraw(nft: &mut Nft, batch: &mut Batch, name: &str) {
    for table in TABLES {
        if !nft.has_chain(table, FORWARD).unwrap_or(false) {
            continue;
        }
        for chain in [FORWARD, DOCKER_USER] {
            let Ok(rules) = nft.rules(table, Some(chain)) else {
                continue;
            };
            for rule in rules.iter().filter(|rule| is_ours(rule, name)) {
                batch.delete_rule(rule);
            }
        }
    }
}
