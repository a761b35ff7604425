//! A way outside for one build step.
//!
//! All steps share the network `hoist-build`, made for the first and removed after the last of them.
//! Imports: `base`, `engine`, `dns`, `net`.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::bridge::{self, Link};
use super::files::{self, Resolver};
use super::networks::{LeaseRequest, Networks};
use super::record::Lease;
use crate::base::name::ContainerId;
use crate::engine::native::dns::{Answerer, Upstream, Zone};
use crate::engine::spec::{DnsConfig, Endpoint, NetworkSpec};
use crate::engine::{EngineError, Result};

/// Name of the network all build steps share.
const NETWORK: &str = "hoist-build";
/// The host's resolvers.
const RESOLVERS: &str = "/etc/resolv.conf";

/// What a build step has got; [`Networks::leave_outside`] takes it back.
#[derive(Debug)]
pub struct Outside {
    /// Its address.
    pub lease: Lease,
    /// The host, as it sees it: `host-gateway`.
    pub gateway: Option<Ipv4Addr>,
    /// Its `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Its name server; whoever waits for the step must drive it.
    pub answerer: Answerer,
}

fn spec() -> NetworkSpec {
    NetworkSpec {
        name: NETWORK.to_owned(),
        project: None,
        driver: "bridge".to_owned(),
        options: Default::default(),
        subnets: Vec::new(),
        internal: false,
        ipv4: true,
        ipv6: false,
        labels: Default::default(),
    }
}

impl Networks {
    /// Connects a build step's namespace to the outside. `id` is the step's, unique on this machine.
    ///
    /// # Errors
    /// [`EngineError::Failed`]; nothing stays connected then.
    pub fn outside(&self, id: &str, netns: BorrowedFd<'_>) -> Result<Outside> {
        let container = ContainerId::from(id);
        let endpoint = Endpoint {
            network: NETWORK.to_owned(),
            ..Endpoint::default()
        };
        let _held = self.lock()?;
        let record = match self.get(NETWORK)? {
            Some(record) => record,
            None => self.create_locked(&spec())?,
        };
        self.forget_lost_steps()?;
        let name = format!("build step {id}");
        let request = LeaseRequest {
            container: &container,
            name: &name,
            endpoint: &endpoint,
        };
        let lease = self.lease_locked(NETWORK, &request)?;
        let connected = || -> Result<Outside> {
            let link = Link {
                record: &record,
                lease: &lease,
                endpoint: &endpoint,
                default4: true,
                default6: true,
            };
            bridge::connect(netns, &container, &[link])?;
            let zone = Zone {
                dir: self.dir().to_owned(),
                networks: Vec::new(),
                links: Vec::new(),
                gateways: lease.gateways.clone(),
                upstream: Upstream::File(PathBuf::from(RESOLVERS)),
            };
            let host = std::fs::read_to_string(RESOLVERS).unwrap_or_default();
            Ok(Outside {
                gateway: lease.gateway4(),
                resolv_conf: files::resolv_conf(&host, &DnsConfig::default(), Resolver::Answerer),
                answerer: Answerer::open(netns, zone)?,
                lease: lease.clone(),
            })
        };
        connected().inspect_err(|_| {
            let _ = bridge::disconnect(&container);
            let _ = self.leave_locked(&container);
        })
    }
    /// Releases the places of steps whose builder was killed: those without a cable. A step is given
    /// both under one lock.
    fn forget_lost_steps(&self) -> Result<()> {
        for lease in self.leases(NETWORK)? {
            if !bridge::is_connected(&lease.container)? {
                self.release_locked(NETWORK, &lease.container)?;
            }
        }
        Ok(())
    }
    /// Takes a build step's place away, and the network when it was the last one. A missing one is fine.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn leave_outside(&self, id: &str) -> Result<()> {
        let container = ContainerId::from(id);
        bridge::disconnect(&container)?;
        let _held = self.lock()?;
        self.leave_locked(&container)
    }
    fn leave_locked(&self, container: &ContainerId) -> Result<()> {
        self.release_locked(NETWORK, container)?;
        self.forget_lost_steps()?;
        match self.remove_locked(NETWORK, &|_| true) {
            Err(EngineError::InUse { .. }) => Ok(()),
            other => other,
        }
    }
}
