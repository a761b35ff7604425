//! Ports that are reached at the containers' own addresses: all published ones where a network is routed instead of
//! translated, and those for packets from devices that its options trust.
//!
//! Imports: `base`, `engine`, `sys::nft`, `net::{publish, record}`. Source: Docker's documentation of the bridge driver,
//! `gateway_mode_ipv4` and `trusted_host_interfaces`.

use std::io;

use super::publish::{Way, transport};
use super::record::NetworkRecord;
use crate::base::name::ContainerId;
use crate::engine::driver::GatewayMode;
use crate::engine::spec::PortMapping;
use crate::engine::{EngineError, Result};
use crate::sys::nft::{Batch, Direction, Interface, Nft, Rule, Table};

const CHAIN: &str = "forward";

fn mark(container: &ContainerId) -> String {
    format!("hoist-p-{}", container.short())
}

/// Whether a network's packets of one version of IP are routed as they are, so that no port of the host leads to it.
pub fn is_routed(record: &NetworkRecord, ipv4: bool) -> bool {
    let driver = record.driver();
    driver
        .bridge()
        .is_some_and(|bridge| bridge.mode(ipv4) == GatewayMode::Routed)
}

/// Opens a container's ports to who knows the way to its addresses, where its networks say so.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn open(container: &ContainerId, ways: &[Way<'_>], ports: &[PortMapping]) -> Result<()> {
    let mut batch = Batch::default();
    for way in ways {
        let driver = way.network.driver();
        let Some(options) = driver.bridge() else {
            continue;
        };
        let routed = is_routed(way.network, way.target.is_ipv4());
        let trusted = options
            .trusted
            .iter()
            .map(|name| Interface::Is(name.as_str()));
        let from: Vec<Option<Interface<'_>>> = match routed {
            true => vec![None],
            false => trusted.map(Some).collect(),
        };
        let table = way.network.table();
        for (from, port) in from
            .iter()
            .flat_map(|from| ports.iter().map(move |port| (from, port)))
        {
            let rule = Rule::new().device(Direction::Out, Interface::Is(&way.network.bridge));
            let rule = match from {
                Some(from) => rule.device(Direction::In, *from),
                None => rule,
            };
            let rule = rule
                .to(way.target)
                .port(transport(port.protocol), port.container);
            let rule = rule.accept().named(&mark(container));
            batch.insert(Table::inet(&table), CHAIN, &rule);
        }
    }
    Nft::open()
        .and_then(|mut nft| nft.commit(batch))
        .map_err(|error| {
            let step = format!("open the ports of container {}", container.short());
            EngineError::failed(step, error)
        })
}

/// Closes what [`open`] has opened on a network; on other networks there is nothing to do.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn close(container: &ContainerId, record: &NetworkRecord) -> Result<()> {
    let driver = record.driver();
    let opens = driver.bridge().is_some_and(|options| {
        !options.trusted.is_empty() || is_routed(record, true) || is_routed(record, false)
    });
    if !opens {
        return Ok(());
    }
    let withdraw = || -> io::Result<()> {
        let mut nft = Nft::open()?;
        let (table, mark) = (record.table(), mark(container));
        let mut batch = Batch::default();
        for rule in nft.rules(Table::inet(&table), Some(CHAIN))? {
            if rule.comment.as_deref() == Some(&mark) {
                batch.delete_rule(&rule);
            }
        }
        nft.commit(batch)
    };
    withdraw().map_err(|error| {
        let step = format!("close the ports of container {}", container.short());
        EngineError::failed(step, error)
    })
}
