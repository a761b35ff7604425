//! Other firewalls: what each does to a published port, and the command that opens it.
//!
//! | who | how it meets our packets | what we do about it |
//! |---|---|---|
//! | Docker | `FORWARD` of iptables, a policy of drop | rules of ours (`net::beside`) |
//! | ufw | the same | the same, so that it does not stop published ports, as it does not stop Docker's |
//! | firewalld | a table of its own | a zone (`net::zones`) |
//! | one of these, started after a network | the same | told here |
//! | rules by hand in nftables | a chain with a policy of drop | told here |
//! | iptables-legacy | rules that nothing else sees | told here |
//!
//! Imports: `engine::host`, `net::zones`, `sys::nft`. Sources: ufw(8), firewalld.conf(5), nft(8).

use std::path::Path;

use super::{is_root, text};
use crate::engine::host::{Row, Standing};
use crate::engine::native::net::zones;
use crate::sys::nft::{Family, Gate, Nft, Policy, Table};

/// One row for each that is there; none where nobody else sets rules.
pub(super) fn rows() -> Vec<Row> {
    let mut nft = match is_root() {
        true => Nft::open().ok(),
        false => None,
    };
    let mut rows: Vec<Row> = [docker(), ufw(), legacy()].into_iter().flatten().collect();
    rows.extend(firewalld(nft.as_mut()));
    if let Some(nft) = &mut nft {
        rows.extend(iptables(nft));
        rows.extend(gates(&nft.gates().unwrap_or_default()));
    }
    rows
}

fn docker() -> Option<Row> {
    let sockets = ["/run/docker.sock", "/var/run/docker.sock"];
    let there = sockets.iter().any(|path| Path::new(path).exists());
    let means =
        "both publish side by side: what it drops, rules of hoist in `DOCKER-USER` let through";
    there.then(|| Row::ok("Docker", "beside us", means))
}

fn ufw() -> Option<Row> {
    let conf = text("/etc/ufw/ufw.conf")?;
    let on = conf.lines().any(|line| line.trim() == "ENABLED=yes");
    let means = "does not stop published ports, as it does not stop Docker's: publish on 127.0.0.1 what only \
                 this machine may reach. What containers want of the machine itself it does stop; to open a port \
                 to them: ufw allow from 172.16.0.0/12 to any port PORT";
    on.then(|| Row::ok("ufw", "on", means))
}

/// A chain of iptables that drops, and was not there when a network was made.
fn iptables(nft: &mut Nft) -> Option<Row> {
    let table = Table::ip("filter");
    if nft.policy(table, "FORWARD").ok()?? != Policy::Drop {
        return None;
    }
    let rules = nft.rules(table, None).ok()?;
    let lost = bridges().into_iter().find(|bridge| {
        let id = bridge.trim_start_matches("hst");
        let ours = |comment: &str| comment.trim_start_matches("hoist-").starts_with(id);
        !rules
            .iter()
            .any(|rule| rule.comment.as_deref().is_some_and(ours))
    })?;
    let means = "a firewall was started after the network: published ports of it are closed, and its containers \
                 can't get out";
    let row = Row::ok(
        "iptables",
        format!("FORWARD drops packets of {lost}"),
        means,
    );
    Some(
        row.stands(Standing::Degraded)
            .mend("hoist -p PROJECT restart"),
    )
}

/// What the old iptables has set can neither be seen nor changed over nftables.
fn legacy() -> Option<Row> {
    let tables = text("/proc/net/ip_tables_names")?;
    let filters = tables.lines().any(|line| line.trim() == "filter");
    let means = "rules of iptables-legacy hold for published ports, and hoist can't see them: where its `FORWARD` \
                 drops, ports are closed and containers can't get out";
    filters.then(|| {
        let row = Row::ok("iptables-legacy", "in use", means).stands(Standing::Degraded);
        row.mend("iptables-legacy -I FORWARD -i hst+ -j ACCEPT && iptables-legacy -I FORWARD -o hst+ -j ACCEPT")
    })
}

fn firewalld(nft: Option<&mut Nft>) -> Option<Row> {
    if !Path::new("/run/firewalld").exists() && !Path::new("/run/firewalld.pid").exists() {
        return None;
    }
    let row = Row::ok(
        "firewalld",
        "on",
        "bridges of hoist are in its zone `docker` or `trusted`, and published ports are open, as Docker's; \
         publish on 127.0.0.1 what only this machine may reach",
    );
    let conf = text("/etc/firewalld/firewalld.conf").unwrap_or_default();
    if conf
        .lines()
        .any(|line| line.trim() == "StrictForwardPorts=yes")
    {
        let row = Row {
            found: "on, with StrictForwardPorts".to_owned(),
            means: "closes published ports, those of Docker too, but for ports it forwards itself"
                .to_owned(),
            ..row
        };
        return Some(row.stands(Standing::Degraded).mend(
            "sed -i s/^StrictForwardPorts=.*/StrictForwardPorts=no/ /etc/firewalld/firewalld.conf && firewall-cmd --reload",
        ));
    }
    let Some(true) = nft.map(zones::is_on) else {
        return Some(row);
    };
    let Some(lost) = bridges().into_iter().find(|name| zones::of(name).is_none()) else {
        return Some(row);
    };
    let row = Row {
        found: format!("on, and {lost} is in no zone of it"),
        means: "it has loaded its rules since: containers may not get out. The next start of a container sets the zone, too"
            .to_owned(),
        ..row
    };
    let mend = format!("firewall-cmd --zone=trusted --add-interface={lost}");
    Some(row.stands(Standing::Degraded).mend(mend))
}

/// Bridges of networks.
fn bridges() -> Vec<String> {
    let links = std::fs::read_dir("/sys/class/net");
    let links = links.into_iter().flatten().flatten();
    let named = links.filter(|link| link.path().join("bridge").exists());
    let mut names: Vec<String> = named
        .filter_map(|link| link.file_name().into_string().ok())
        .filter(|name| name.starts_with("hst"))
        .collect();
    names.sort();
    names
}

/// Whether rules of ours lie in a chain, or somebody else has said what it does.
fn is_known(gate: &Gate) -> bool {
    let iptables = matches!(gate.family, Family::Ip | Family::Ip6) && gate.table == "filter";
    gate.table.starts_with("hoist-") || gate.table == "firewalld" || (gate.through && iptables)
}

/// Chains that drop what their rules do not name.
fn gates(gates: &[Gate]) -> Vec<Row> {
    let closed = gates
        .iter()
        .filter(|gate| gate.policy == Policy::Drop && !is_known(gate));
    let mut rows = Vec::new();
    for gate in closed {
        let family = match gate.family {
            Family::Inet => "inet",
            Family::Ip6 => "ip6",
            _ => "ip",
        };
        let place = format!("{family} {} {}", gate.table, gate.chain);
        let found = format!("chain {place} drops by default");
        let insert = |side: &str| format!("nft insert rule {place} {side} \"hst*\" accept");
        if gate.through {
            let means = "published ports are closed and containers can't get out, unless a rule of it lets them; \
                         no other table can overrule that";
            let row = Row::ok("nftables forward", found, means).stands(Standing::Degraded);
            rows.push(row.mend(format!("{} && {}", insert("iifname"), insert("oifname"))));
        } else {
            let means = format!(
                "published ports pass it by, but for IPv6 to containers without it; containers reach nothing of the \
                 machine itself. To let them: {}",
                insert("iifname")
            );
            rows.push(Row::ok("nftables input", found, means));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(family: Family, table: &str, through: bool, policy: Policy) -> Gate {
        Gate {
            family,
            table: table.to_owned(),
            chain: "c".to_owned(),
            through,
            policy,
        }
    }

    #[test]
    fn a_chain_that_drops_is_told_with_the_command_that_opens_it() {
        let rows = gates(&[
            gate(Family::Inet, "mine", true, Policy::Drop),
            gate(Family::Inet, "mine", false, Policy::Drop),
            gate(Family::Inet, "open", true, Policy::Accept),
            gate(Family::Ip, "filter", true, Policy::Drop),
            gate(Family::Inet, "firewalld", true, Policy::Drop),
        ]);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(rows[0].standing, Standing::Degraded);
        let mend = rows[0].mend.clone().unwrap_or_default();
        assert!(
            mend.contains("nft insert rule inet mine c oifname \"hst*\" accept"),
            "{mend}"
        );
        assert_eq!(rows[1].standing, Standing::Ok);
    }
}
