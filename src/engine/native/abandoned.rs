//! Networks whose project is gone while containers of others are on them: the last container takes them along.
//!
//! A container counts as long as it is there, running or not. Imports: `base`, `engine`, `net`.

use super::Native;
use super::net::Networks;
use crate::base::name::ContainerId;
use crate::engine::spec::{ContainerSpec, Endpoint, NetworkMode};
use crate::engine::{EngineError, Result};

fn endpoints(spec: &ContainerSpec) -> &[Endpoint] {
    match &spec.network {
        NetworkMode::Networks(endpoints) => endpoints,
        _ => &[],
    }
}

impl Native {
    /// Requires that a new container's networks are there; those of its own project are its project's again.
    pub(super) fn claim_networks(&self, spec: &ContainerSpec) -> Result<()> {
        let networks = Networks::open(self.layout.roots())?;
        for endpoint in endpoints(spec) {
            let name = &endpoint.network;
            let Some(record) = networks.get(name)? else {
                return Err(EngineError::NotFound {
                    kind: "network",
                    name: name.clone(),
                });
            };
            if record.abandoned && record.spec.project.as_ref() == Some(&spec.project) {
                networks.abandon(name, false)?;
            }
        }
        Ok(())
    }

    /// Takes away the abandoned networks that a container was the last one on; it is gone already.
    pub(super) fn leave_networks(&self, spec: &ContainerSpec) -> Result<()> {
        let networks = Networks::open(self.layout.roots())?;
        for endpoint in endpoints(spec) {
            let name = &endpoint.network;
            // Whether a network with a broken record was abandoned nobody knows; `down` of its project takes it away.
            let record = networks.get(name).ok().flatten();
            if record.is_some_and(|record| record.abandoned) && !self.is_wanted(name)? {
                match self.take_network(name) {
                    // Somebody came to it at this moment.
                    Err(EngineError::InUse { .. }) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    fn is_wanted(&self, network: &str) -> Result<bool> {
        let on = |spec: &ContainerSpec| endpoints(spec).iter().any(|e| e.network == network);
        Ok(self
            .everywhere()?
            .iter()
            .any(|found| on(&found.record.spec)))
    }

    /// Removes a network that no container which is there has a place on.
    pub(super) fn take_network(&self, name: &str) -> Result<()> {
        let is_there = |id: &ContainerId| {
            !matches!(
                super::records::locate(&self.layout, id),
                Err(EngineError::NotFound { .. })
            )
        };
        Networks::open(self.layout.roots())?.remove(name, &is_there)
    }
}
