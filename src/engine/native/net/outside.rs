//! A way outside for one build step.
//!
//! All steps share the network `hoist-build`, made for the first and removed after the last of them, but not as long as a
//! build holds it: to make and remove a bridge and its rules takes ten times as long as a step.
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
use crate::engine::{EngineError, Result, Roots};
use crate::sys::lock::{Hold, Lock};

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

/// Keeps the network of build steps while there is none. The one of a build that was killed goes after the next step, or with
/// the next network that is removed.
#[derive(Debug)]
pub struct BetweenSteps {
    networks: Networks,
    held: Option<Lock>,
}

impl Drop for BetweenSteps {
    fn drop(&mut self) {
        self.held = None;
        // What can't be removed now goes after the next step.
        let _ = self.networks.end_steps();
    }
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
    /// Keeps the network of steps, once it is made, until the value is dropped.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn keep_between_steps(roots: &Roots) -> Result<BetweenSteps> {
        let networks = Self::open(roots)?;
        let held = Lock::acquire(&networks.holders(), Hold::Shared)
            .map_err(|error| EngineError::failed("lock the network of build steps", error))?;
        Ok(BetweenSteps {
            networks,
            held: Some(held),
        })
    }
    /// What whoever keeps the network of steps holds a lock on.
    fn holders(&self) -> PathBuf {
        self.dir().with_file_name("steps.lock")
    }
    /// Removes the network of steps, unless somebody needs it or keeps it.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub(super) fn end_steps(&self) -> Result<()> {
        if self.get(NETWORK)?.is_none() {
            return Ok(());
        }
        let _held = self.lock()?;
        self.forget_lost_steps()?;
        self.remove_unless_kept()
    }
    fn leave_locked(&self, container: &ContainerId) -> Result<()> {
        self.release_locked(NETWORK, container)?;
        self.forget_lost_steps()?;
        self.remove_unless_kept()
    }
    fn remove_unless_kept(&self) -> Result<()> {
        let alone = Lock::try_acquire(&self.holders(), Hold::Exclusive)
            .map_err(|error| EngineError::failed("lock the network of build steps", error))?;
        if alone.is_none() {
            return Ok(());
        }
        match self.remove_locked(NETWORK, &|_| true) {
            Err(EngineError::InUse { .. }) => Ok(()),
            other => other,
        }
    }
}
